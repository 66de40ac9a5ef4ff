use super::*;
use crate::keyspace::slot::{SLOTS, slots_of};
use std::time::Instant;

impl Table {
    /// Walks everything and holds it against the invariants.
    pub fn check(&self, hasher: &Hasher) {
        let (mut len, mut volatile, mut bytes, mut count, mut sum) = (0, 0, 0, 0, 0u128);
        let mut at = 0u64;
        let mut chunks = vec![0u32; self.volatile_in_chunk.len()];
        loop {
            let (number, last) = self.segment_at(at);
            let segment = self.segment(number);
            assert!(segment.depth <= self.directory.most_bits());
            assert_eq!(at & (last - at), 0, "a segment starts at a multiple of its width");
            assert_eq!(last - at, u64::MAX.checked_shr(segment.depth.into()).unwrap_or(0));
            if segment.depth < self.directory.most_bits() {
                assert!(segment.len() <= SEGMENT_ENTRIES);
            }
            for entry in segment.iter() {
                let hash = hasher.hash(entry.key());
                assert!((at..=last).contains(&self.local(hash.position())));
                assert_eq!(entry.tag(), hash.tag());
                if let Some(at_ms) = entry.expire_at_ms() {
                    assert!(segment.earliest_ms <= at_ms && self.next_due_ms <= at_ms);
                    sum += u128::from(at_ms);
                    chunks[number as usize / CHUNK_CELLS] += 1;
                }
            }
            let own = segment.iter().filter(|entry| entry.has_expiry()).count();
            assert_eq!(segment.volatile(), own);
            volatile += own;
            len += segment.len();
            bytes += segment.table_bytes();
            count += 1;
            match last.checked_add(1) {
                Some(next) => at = next,
                None => break,
            }
        }
        assert_eq!((self.len, self.volatile, self.segment_table_bytes), (len, volatile, bytes));
        assert_eq!((self.expiry_sum_ms, &self.volatile_in_chunk), (sum, &chunks));
        assert_eq!(self.segments.len(), count, "every segment is in the directory");
    }
}

fn fill(table: &mut Table, hasher: &Hasher, key: impl AsRef<[u8]>, expiry: Option<u64>) {
    let key = key.as_ref();
    let hash = hasher.hash(key);
    assert_eq!(table.find(hash, key), None);
    let place = table.insert(hasher, hash, Entry::new(hash.tag(), key, NewStr::Int(0), expiry, 0));
    assert_eq!(table.entry(place).key(), key);
}

fn empty(table: &mut Table, hasher: &Hasher, key: impl AsRef<[u8]>) {
    let hash = hasher.hash(key.as_ref());
    let place = table.find(hash, key.as_ref()).expect("the key");
    assert_eq!(table.remove(place, hash).key(), key.as_ref());
}

fn owned(slots: &Range<u16>, name: &str, count: usize) -> Vec<String> {
    let keys = (0..).map(|n| format!("{name}:{n}"));
    keys.filter(|key| slots.contains(&super::super::slot::slot(key.as_bytes()))).take(count).collect()
}

#[test]
fn grows_and_returns_to_nothing() {
    for (shard, shards) in [(0, 1), (1, 2), (0, 3), (2, 3), (4, 7)] {
        let slots = slots_of(shard, shards);
        let hasher = Hasher::new(shard as u64);
        let mut table = Table::new(&slots);
        let keys = owned(&slots, "key", 40_000);
        for (n, key) in keys.iter().enumerate() {
            fill(&mut table, &hasher, key, (n % 3 == 0).then_some(n as u64));
            if n % 8000 == 0 {
                table.check(&hasher);
            }
        }
        table.check(&hasher);
        assert!(table.segments() > keys.len() / SEGMENT_ENTRIES);
        let full = table.overhead_bytes();
        assert!(full < keys.len() * 20, "{full}");
        for (n, key) in keys.iter().enumerate() {
            empty(&mut table, &hasher, key);
            if n % 8000 == 0 {
                table.check(&hasher);
            }
        }
        table.check(&hasher);
        assert_eq!(table.segments(), 1);
        // A chunk of segments stays while one of them is in use.
        assert!(table.overhead_bytes() < 24 << 10, "{}", table.overhead_bytes());
    }
}

#[test]
fn an_empty_database_costs_almost_nothing() {
    let table = Table::new(&(0..SLOTS));
    assert!(size_of::<Table>() + table.overhead_bytes() < 1024);
}

#[test]
fn all_keys_in_one_slot() {
    let hasher = Hasher::new(3);
    let mut table = Table::new(&(0..SLOTS));
    let count = 500_000;
    for n in 0..count {
        fill(&mut table, &hasher, format!("{{tag}}{n}"), None);
    }
    table.check(&hasher);
    assert!(table.overhead_bytes() < count * 24);
    for n in 0..count {
        empty(&mut table, &hasher, format!("{{tag}}{n}"));
    }
    table.check(&hasher);
    assert_eq!(table.segments(), 1);
}

/// Keys whose positions collide cannot be found in reasonable time, so these entries share one key and differ in their tag.
#[test]
fn all_keys_at_one_position() {
    let hasher = Hasher::new(3);
    let mut table = Table::new(&(0..SLOTS));
    let at = hasher.hash(b"any");
    for n in 0..1000u16 {
        let hash = KeyHash { hash: at.hash & !0x3fff | u64::from(n), ..at };
        table.insert(&hasher, hash, Entry::new(hash.tag(), b"any", NewStr::Int(n.into()), None, 0));
    }
    assert_eq!(table.len(), 1000);
    assert!(table.segments() <= 65);
    for n in 0..1000u16 {
        let hash = KeyHash { hash: at.hash & !0x3fff | u64::from(n), ..at };
        let place = table.find(hash, b"any").expect("the entry");
        assert!(matches!(table.entry(place).string(), crate::keyspace::StrRef::Int(v) if v == i64::from(n)));
        table.remove(place, hash);
    }
    assert_eq!((table.len(), table.segments()), (0, 1));
}

#[test]
fn picks_are_fair() {
    let hasher = Hasher::new(3);
    let mut table = Table::new(&(0..SLOTS));
    // Half of the keys in one slot, half spread.
    let keys = 2000;
    for n in 0..keys {
        fill(&mut table, &hasher, if n % 2 == 0 { format!("{{tag}}{n}") } else { format!("spread:{n}") }, None);
    }
    let mut dice = Dice::new(11);
    let mut picked = std::collections::HashMap::<Vec<u8>, usize>::new();
    for _ in 0..keys * 50 {
        let place = table.pick(&mut dice).expect("a key");
        *picked.entry(table.entry(place).key().to_vec()).or_default() += 1;
    }
    assert_eq!(picked.len(), keys);
    let tagged: usize = picked.iter().filter(|(key, _)| key.starts_with(b"{")).map(|(_, count)| count).sum();
    assert!((40..60).contains(&(tagged * 100 / (keys * 50))), "{tagged}");
    assert!(*picked.values().max().expect("keys") < 150);
}

#[test]
fn rare_expiries_are_found() {
    let hasher = Hasher::new(3);
    let mut table = Table::new(&(0..SLOTS));
    for n in 0..50_000 {
        fill(&mut table, &hasher, format!("key:{n}"), (n == 31_000).then_some(7));
    }
    let number = table.find_volatile_segment(&mut Dice::new(1)).expect("the segment");
    assert_eq!(table.segment(number).volatile(), 1);
    empty(&mut table, &hasher, "key:31000");
    assert_eq!(table.find_volatile_segment(&mut Dice::new(1)), None);
}

/// Bytes a key beside key and value (resident ones count in the first line only, later ones reuse memory), and the longest insertion. `cargo test --release --lib million -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: two million keys"]
fn million_keys() {
    use crate::runtime::memory;
    let hasher = Hasher::new(99);
    for (count, shards) in [(1_000_000usize, 1), (1_000_000, 2), (2_000_000, 1)] {
        let keys: Vec<String> = (0..count).map(|n| format!("memtier-{n:012}")).collect();
        let before = (memory::used_bytes(), memory::resident_bytes().expect("statm"));
        let mut tables: Vec<Table> = (0..shards).map(|shard| Table::new(&slots_of(shard, shards))).collect();
        let (mut longest, start) = (0, Instant::now());
        for key in &keys {
            let hash = hasher.hash(key.as_bytes());
            let at = Instant::now();
            let entry = Entry::new(hash.tag(), key.as_bytes(), NewStr::Copy(&[b'x'; 64]), None, 0);
            tables[super::super::slot::shard_of(hash.slot, shards)].insert(&hasher, hash, entry);
            longest = longest.max(at.elapsed().as_micros());
        }
        let insert_ns = start.elapsed().as_nanos() as usize / count;
        let start = Instant::now();
        for key in &keys {
            let hash = hasher.hash(key.as_bytes());
            std::hint::black_box(tables[super::super::slot::shard_of(hash.slot, shards)].find(hash, key.as_bytes()));
        }
        let find_ns = start.elapsed().as_nanos() as usize / count;
        let per_key = |after: usize, before: usize| (after as f64 - before as f64) / count as f64 - 84.0;
        println!(
            "{count} keys, {shards} shards: {:.2} bytes a key over 84 ({:.2} resident), {:.2} of it tables, {} segments; \
             insert {insert_ns} ns (longest {longest} us), find {find_ns} ns",
            per_key(memory::used_bytes(), before.0),
            per_key(memory::resident_bytes().expect("statm"), before.1),
            tables.iter().map(Table::overhead_bytes).sum::<usize>() as f64 / count as f64,
            tables.iter().map(Table::segments).sum::<usize>(),
        );
        assert!(per_key(memory::used_bytes(), before.0) <= 30.0);
    }
}
