use std::collections::{BTreeMap, HashMap};

use super::super::hash::Dice;
use super::super::slot::{SLOTS, slot};
use super::super::{Expiry, HeldMut, NewStr, Value, Visit};
use super::*;
use crate::observe::digest::{Expires, value_digest};
use crate::rdb::Records;
use crate::types::set::Set;

const DATABASES: usize = 3;
const NOW_MS: u64 = 1_000_000;

/// Values and expiries by database and key.
type Contents = BTreeMap<(u32, Vec<u8>), (Value, Option<u64>)>;

fn text(value: StrRef<'_>) -> Value {
    match value {
        StrRef::Int(number) => Value::Int(number),
        StrRef::Inline(text) => Value::Str(text.to_vec().into()),
        StrRef::Shared(text) => Value::Str(text.clone()),
    }
}

fn contents(space: &Keyspace) -> Contents {
    let mut all = Contents::new();
    for db in 0..space.databases() {
        let next = space.walk(db, 0, usize::MAX, 0, |entry| {
            let value = (text(entry.string()), entry.expire_at_ms());
            assert!(all.insert((db as u32, entry.key().to_vec()), value).is_none());
        });
        assert_eq!(next, super::super::Next::End);
    }
    all
}

/// Adds what a chunk says; no key may come twice.
fn read(found: &mut Contents, chunk: &SnapshotChunk) {
    let mut records = 0;
    for record in Records::new(&chunk.bytes, u64::MAX) {
        let record = record.expect("sound");
        let value = record.decode(u64::MAX, &crate::types::Encodings::default()).expect("sound");
        assert!(chunk.slots.contains(&slot(&record.key)), "{:?} is not in {:?}", &record.key[..], chunk.slots);
        let old = found.insert((chunk.db, record.key.to_vec()), (value, record.expire_at_ms));
        assert!(old.is_none(), "{:?} comes twice", &record.key[..]);
        records += 1;
    }
    assert_eq!(records, chunk.records);
    assert!(records > 0, "an empty chunk");
}

fn finish(space: &mut Keyspace) -> Contents {
    while space.snapshot_some(10_000) == Walk::More {}
    let mut found = Contents::new();
    while let Some(chunk) = space.take_chunk() {
        read(&mut found, &chunk);
    }
    assert_eq!(space.queued_bytes(), 0);
    assert!(!space.end_snapshot().drop_some(usize::MAX));
    found
}

/// A keyspace, what is out of it at the moment, and the snapshot that runs.
struct World {
    space: Keyspace,
    guests: Keyspace,
    policy: Policy,
    now_ms: u64,
    dice: Dice,
    away: Vec<(usize, Vec<u8>, bool)>,
    lent: Vec<(usize, Vec<u8>)>,
    /// What was there at the cut, and what has come of it.
    cut: Option<(Contents, Contents)>,
    complete: usize,
    forced: u64,
    /// Snapshots that had to do without marks.
    unmarked: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let space = Keyspace::new(0..SLOTS, DATABASES, seed);
        let guests = space.for_guests();
        let policy = Policy { kind: PolicyKind::AllKeysRandom, ..Policy::default() };
        let dice = Dice::new(seed);
        World {
            space,
            guests,
            policy,
            now_ms: NOW_MS,
            dice,
            away: Vec::new(),
            lent: Vec::new(),
            cut: None,
            complete: 0,
            forced: 0,
            unmarked: 0,
        }
    }

    /// A key that is neither away nor lent; half of them share a hash tag.
    fn key(&mut self, db: usize) -> Vec<u8> {
        loop {
            let number = self.dice.below(3000);
            let key = if number.is_multiple_of(2) { format!("key:{number}") } else { format!("{{tag}}{number}") }
                .into_bytes();
            let away = self.away.iter().any(|(of, name, _)| (*of, name) == (db, &key));
            if !away && !self.lent.contains(&(db, key.clone())) {
                return key;
            }
        }
    }

    fn change(&mut self) {
        let db = self.dice.below(DATABASES);
        match self.dice.below(100) {
            0..30 => self.set(db),
            30..50 => self.change_one(db),
            50..54 => (0..self.dice.below(300)).for_each(|_| self.set(db)),
            54..58 => (0..self.dice.below(600)).for_each(|_| self.remove(db)),
            58..63 => {
                self.now_ms += self.dice.below(200) as u64;
                self.space.expire_some(self.now_ms, 300);
            }
            63..66 => drop(self.space.evict_one(&self.policy, self.now_ms)),
            66..75 => self.check_out(db),
            75..82 => self.check_in(),
            82..84 => self.whole(db),
            84..86 => self.begin(),
            86..99 => self.walk(),
            _ => drop(self.space.random_key(db, self.now_ms)),
        }
    }

    fn set(&mut self, db: usize) {
        let key = self.key(db);
        let expiry = match self.dice.below(3) {
            0 => Expiry::AtMs(self.now_ms + self.dice.below(1000) as u64),
            1 => Expiry::Keep,
            _ => Expiry::None,
        };
        let long = vec![b'x'; SHARED_BYTES + self.dice.below(100)];
        let number = self.dice.roll() as i64 >> self.dice.below(64);
        let value = match self.dice.below(50) {
            0 => NewStr::Copy(&long),
            1..20 => NewStr::Int(number),
            length => NewStr::Copy(&long[..length]),
        };
        self.space.view(db, self.now_ms, &self.policy).set_string(&key, value, expiry);
    }

    fn remove(&mut self, db: usize) {
        let key = self.key(db);
        self.space.view(db, self.now_ms, &self.policy).remove(&key);
    }

    /// Changes of one key but for SET.
    fn change_one(&mut self, db: usize) {
        let (key, other) = (self.key(db), self.key(db));
        let at_ms = self.now_ms + self.dice.below(500) as u64;
        let dice = self.dice.below(8);
        let mut view = self.space.view(db, self.now_ms, &self.policy);
        match dice {
            0 | 1 => {
                let length = view.string_to_change(&key).ok().flatten().map_or(0, |value| match value {
                    StrRef::Inline(text) => text.len(),
                    StrRef::Shared(text) => text.len(),
                    StrRef::Int(number) => number.to_string().len(),
                });
                let bytes = view.string_bytes_mut(&key, length + 3).expect("a string");
                bytes[length..].copy_from_slice(b"abc");
                bytes[0] = b'#';
            }
            2 => drop(view.set_expire_at_ms(&key, Some(at_ms))),
            3 => drop(view.set_expire_at_ms(&key, None)),
            4 => {
                if let Some(taken) = view.take(&key) {
                    view.put(&other, taken);
                }
            }
            5 => {
                if let Some(taken) = view.copy(&key) {
                    view.put(&other, taken);
                }
            }
            6 => drop(view.discard(&key)),
            _ => drop(view.touch(&key)),
        }
    }

    fn check_out(&mut self, db: usize) {
        let key = self.key(db);
        let hash = self.space.hasher().hash(&key);
        let changes = self.dice.below(2) == 0;
        let visit = self.space.check_out(db, hash, &key, self.now_ms, changes);
        match &visit {
            Visit::Lent(_) => self.lent.push((db, key)),
            _ if changes => self.away.push((db, key, matches!(visit, Visit::Moved(_)))),
            _ => {}
        }
        self.guests.welcome(db, hash, visit);
    }

    /// Something comes home, changed or not.
    fn check_in(&mut self) {
        if let Some((db, key)) = self.lent.pop() {
            let hash = self.space.hasher().hash(&key);
            drop(self.guests.see_off(db, hash, &key));
            self.space.end_lending(db, hash, &key);
        }
        let Some((db, key, was_there)) = self.away.pop() else { return };
        let hash = self.space.hasher().hash(&key);
        let mut view = self.guests.view(db, self.now_ms, &self.policy);
        match self.dice.below(3) {
            0 => view.set_string(&key, NewStr::Copy(b"from abroad"), Expiry::None),
            1 => drop(view.remove(&key)),
            _ => {}
        }
        let visit = self.guests.see_off(db, hash, &key);
        self.space.check_in(db, hash, visit, was_there);
    }

    fn all_home(&mut self) {
        while !self.away.is_empty() || !self.lent.is_empty() {
            self.check_in();
        }
    }

    /// What needs all locks.
    fn whole(&mut self, db: usize) {
        self.all_home();
        match self.dice.below(6) {
            0 => drop(self.space.flush(db)),
            1 => drop(self.space.flush_all()),
            _ => self.space.swap_db(db, (db + 1) % DATABASES),
        }
    }

    fn begin(&mut self) {
        if self.cut.is_some() {
            if self.dice.below(4) == 0 {
                drop(self.space.end_snapshot());
                self.cut = None;
            }
            return;
        }
        // Lent ones may stay.
        let lent = std::mem::take(&mut self.lent);
        self.all_home();
        self.lent = lent;
        self.cut = Some((contents(&self.space), Contents::new()));
        self.space.begin_snapshot(Compression::Lzf, crate::rdb::Pieces::Whole, &self.policy, self.now_ms);
        assert_eq!(self.space.snapshot_stats(), SnapshotStats::default(), "the cut writes nothing");
        self.unmarked += usize::from(self.space.snapshot.as_ref().is_some_and(|snapshot| snapshot.mark.is_none()));
    }

    fn walk(&mut self) {
        let walk = self.space.snapshot_some(1 + self.dice.below(20_000));
        let Some((_, found)) = &mut self.cut else { return };
        while let Some(chunk) = self.space.take_chunk() {
            read(found, &chunk);
        }
        if walk == Walk::Done {
            self.forced += self.space.snapshot_stats().forced_keys;
            assert_eq!(self.space.queued_bytes(), 0);
            drop(self.space.end_snapshot());
            let (expected, found) = self.cut.take().expect("runs");
            assert_eq!(found.len(), expected.len());
            assert!(found == expected, "other values");
            self.complete += 1;
        }
    }
}

#[test]
fn is_what_was_there_at_the_cut_whatever_happens_meanwhile() {
    let (mut complete, mut forced, mut unmarked) = (0, 0, 0);
    for seed in 0..60 {
        let world = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..1500).for_each(|_| world.change());
            world.all_home();
            (world.complete, world.forced, world.unmarked)
        });
        let Ok(counts) = world else { panic!("seed {seed}") };
        complete += counts.0;
        forced += counts.1;
        unmarked += counts.2;
    }
    assert!(complete > 60 && forced > 1000 && unmarked > 20, "too little was tried: {complete}, {forced}, {unmarked}");
}

fn filled(keys: usize) -> Keyspace {
    let mut space = Keyspace::new(0..SLOTS, DATABASES, 7);
    let policy = Policy::default();
    for n in 0..keys {
        let mut view = space.view(n % 2, 0, &policy);
        view.set_string(format!("key:{n}").as_bytes(), NewStr::Copy(format!("value:{n}").as_bytes()), Expiry::None);
    }
    space
}

#[test]
fn the_cut_touches_no_segment_and_empty_databases_end_at_once() {
    let mut space = filled(20_000);
    space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
    assert_eq!((space.queued_bytes(), space.snapshot_stats()), (0, SnapshotStats::default()));
    for table in &space.tables {
        let unwritten = (0..table.segments() as u32).filter(|number| table.is_unwritten(*number)).count();
        assert_eq!(unwritten, if table.len() > 0 { table.segments() } else { 0 });
        assert!((0..table.segments() as u32).all(|number| table.segment(number).version == 0));
    }
    assert_eq!(finish(&mut space).len(), 20_000);
    // Abandoned before anything was written.
    space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
    assert!(!space.end_snapshot().drop_some(1));
    assert_eq!(contents(&space).len(), 20_000);
    let mut empty = Keyspace::new(0..SLOTS, DATABASES, 7);
    empty.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
    assert_eq!(empty.snapshot_some(1 << 20), Walk::Done);
    assert!(empty.take_chunk().is_none());
}

#[test]
fn a_flushed_table_is_written_and_freed_bit_by_bit() {
    let mut space = filled(20_000);
    let before = contents(&space);
    space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
    space.snapshot_some(100_000);
    let mut garbage = space.flush_all();
    while garbage.drop_some(1000) {}
    assert_eq!((0..DATABASES).map(|db| space.len(db)).sum::<usize>(), 0);
    space.view(1, 0, &Policy::default()).set_string(b"new", NewStr::Int(1), Expiry::None);
    space.swap_db(0, 1);
    let held = |space: &Keyspace| -> usize {
        space.snapshot.iter().flat_map(|snapshot| &snapshot.detached).map(Table::segments_left).sum()
    };
    let (mut steps, mut last) = (0, held(&space));
    assert!(last > 100);
    while space.snapshot_some(10_000) == Walk::More {
        assert!(held(&space) < last, "nothing was freed");
        (steps, last) = (steps + 1, held(&space));
    }
    assert!(steps > 10);
    assert_eq!(held(&space), 0);
    assert_eq!(finish(&mut space), before);
    assert_eq!(space.len(0), 1);
}

#[test]
fn many_databases_are_open_at_a_bounded_price() {
    let mut space = Keyspace::new(0..SLOTS, 100, 7);
    let policy = Policy::default();
    for n in 0..1000 {
        space.view(n % 100, 0, &policy).set_string(format!("key:{n}").as_bytes(), NewStr::Int(1), Expiry::None);
    }
    let before = contents(&space);
    space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &policy, 0);
    for n in 0..1000 {
        space.view(n % 100, 0, &policy).set_string(format!("key:{n}").as_bytes(), NewStr::Int(2), Expiry::None);
    }
    assert!(space.snapshot.as_ref().is_some_and(|snapshot| snapshot.open.len() == OPEN_CHUNKS));
    assert_eq!(space.snapshot_stats().walked_segments, 0);
    assert_eq!(finish(&mut space), before);
}

#[test]
fn access_is_told_where_the_policy_goes_by_it() {
    use crate::rdb::Access;
    let told = |kind: PolicyKind, now_ms: u64| {
        let policy = Policy { kind, ..Policy::default() };
        let mut space = Keyspace::new(0..SLOTS, 1, 7);
        space.view(0, NOW_MS, &policy).set_string(b"key", NewStr::Int(1), Expiry::None);
        space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &policy, now_ms);
        while space.snapshot_some(1000) == Walk::More {}
        let chunk = space.take_chunk().expect("a key");
        let record = Records::new(&chunk.bytes, u64::MAX).next().expect("a key").expect("sound");
        record.access
    };
    assert_eq!(told(PolicyKind::NoEviction, NOW_MS), Access::Unknown);
    assert_eq!(told(PolicyKind::VolatileTtl, NOW_MS), Access::Unknown);
    assert_eq!(told(PolicyKind::AllKeysLru, NOW_MS + 7000), Access::IdleSeconds(7));
    assert_eq!(told(PolicyKind::VolatileLfu, NOW_MS), Access::Frequency(5));
}

#[test]
fn writers_ahead_of_the_consumer_are_seen() {
    let mut space = Keyspace::new(0..SLOTS, 1, 7);
    let policy = Policy::default();
    let value = vec![b'x'; 1 << 20];
    for n in 0..20 {
        space.view(0, 0, &policy).set_string(format!("key:{n}").as_bytes(), NewStr::Copy(&value), Expiry::None);
    }
    space.begin_snapshot(Compression::Lzf, crate::rdb::Pieces::Whole, &policy, 0);
    for n in 0..4 {
        assert!(!space.snapshot_backlogged());
        assert!(space.view(0, 0, &policy).remove(format!("key:{n}").as_bytes()));
    }
    assert!(space.snapshot_backlogged());
    while space.queued_bytes() >= BACKLOG_BYTES {
        assert!(space.take_chunk().is_some());
    }
    assert!(!space.snapshot_backlogged());
}

/// Changes the first keys.
fn overwrite(space: &mut Keyspace, keys: usize) {
    let policy = Policy::default();
    for n in 0..keys {
        space.view(n % 2, 0, &policy).set_string(format!("key:{n}").as_bytes(), NewStr::Int(1), Expiry::None);
    }
}

#[test]
fn a_change_writes_its_key_and_no_more() {
    let mut space = filled(10_000);
    let before = contents(&space);
    space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
    for _ in 0..3 {
        overwrite(&mut space, 100);
        assert_eq!((space.snapshot_stats().forced_keys, space.snapshot_stats().keys), (100, 100));
    }
    assert_eq!(finish(&mut space), before);
    assert_eq!(space.stale_marks, None);
}

#[test]
fn marks_that_are_left_behind_are_never_taken_for_new_ones() {
    let mut space = filled(5000);
    let mut with_marks = Vec::new();
    for _ in 0..8 {
        space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
        with_marks.push(space.snapshot.as_ref().is_some_and(|snapshot| snapshot.mark.is_some()));
        overwrite(&mut space, 1000);
        drop(space.end_snapshot());
    }
    assert_eq!(with_marks, [true, true, true, false, false, false, false, false]);
    for _ in 0..4 {
        let before = contents(&space);
        space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
        overwrite(&mut space, 2000);
        assert_eq!(finish(&mut space), before);
    }
    assert_eq!(space.stale_marks, None);
    // One that is lent when the walk comes by keeps its mark.
    space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
    overwrite(&mut space, 1);
    let hash = space.hasher().hash(b"key:0");
    let visit = space.check_out(0, hash, b"key:0", 0, false);
    assert_eq!(finish(&mut space).len(), 5000);
    assert_eq!(space.stale_marks, Some(space.epoch));
    drop(visit);
    space.end_lending(0, hash, b"key:0");
    for _ in 0..4 {
        let before = contents(&space);
        space.begin_snapshot(Compression::None, crate::rdb::Pieces::Whole, &Policy::default(), 0);
        assert_eq!(finish(&mut space), before);
    }
}

/// A set of many members.
fn large_set(space: &mut Keyspace, db: usize, key: &str, members: usize) {
    let mut set = Set::new();
    (0..members).for_each(|n| assert!(set.add(format!("member:{n}").as_bytes())));
    space.view(db, 0, &Policy::default()).set_full(key.as_bytes(), set);
}

fn digest(value: ValueRef<'_>) -> String {
    value_digest(value, Expires::Never).hex()
}

/// What the chunks say, with the parts of a key put together. Between the chunks of one record there is no other.
fn read_large(chunks: Vec<SnapshotChunk>) -> HashMap<(u32, Vec<u8>), Value> {
    let encodings = crate::types::Encodings::default();
    let mut found: HashMap<(u32, Vec<u8>), Value> = HashMap::new();
    let mut bytes = Vec::new();
    for chunk in chunks {
        bytes.extend(chunk.bytes);
        if chunk.open {
            continue;
        }
        for record in Records::new(&std::mem::take(&mut bytes), u64::MAX) {
            let record = record.expect("sound");
            let value = record.decode(u64::MAX, &encodings).expect("sound");
            let name = (chunk.db, record.key.to_vec());
            if record.part {
                let Some(Value::Object(whole)) = found.get_mut(&name) else { panic!("a part without a beginning") };
                crate::rdb::append(whole, &value, &encodings).expect("new members");
            } else {
                assert!(found.insert(name, value).is_none(), "a key comes twice");
            }
        }
    }
    assert!(bytes.is_empty(), "the last record is not whole");
    found
}

#[test]
fn large_values_go_piece_by_piece_as_they_were_at_the_cut() {
    let policy = Policy::default();
    for pieces in [Pieces::Whole, Pieces::Parts] {
        let mut space = filled(500);
        let sizes = [("a", 30_000), ("b", 20_000), ("c", 10_000), ("gone", 15_000)];
        sizes.iter().for_each(|(key, members)| large_set(&mut space, 0, key, *members));
        large_set(&mut space, 1, "flushed", 12_000);
        let mut expected = HashMap::new();
        for db in 0..2 {
            space.for_each_from(db, 0, usize::MAX, 0, |key, value, _| {
                expected.insert((db as u32, key.to_vec()), digest(value));
            });
        }
        space.begin_snapshot(Compression::None, pieces, &policy, 0);
        let (mut chunks, mut turn, mut largest) = (Vec::new(), 0, 0);
        loop {
            let walk = space.snapshot_some(1);
            while let Some(chunk) = space.take_chunk() {
                largest = largest.max(chunk.bytes.len());
                chunks.push(chunk);
            }
            if walk == Walk::Done {
                break;
            }
            turn += 1;
            let mut view = space.view(0, 0, &policy);
            view.set_string(format!("key:{}", turn * 2 % 500).as_bytes(), NewStr::Copy(&[b'x'; 30_000]), Expiry::None);
            if let Ok(Some(HeldMut::Full(set))) = view.collection_to_change::<Set>(b"b") {
                set.remove(format!("member:{turn}").as_bytes());
                set.add(format!("new:{turn}").as_bytes());
            }
            match turn {
                2 => assert!(view.remove(b"gone")),
                3 => drop(space.flush(1)),
                _ => {}
            }
        }
        assert!(turn > 10 && largest < 2 * CHUNK_BYTES, "{turn} turns, chunks of up to {largest} bytes");
        drop(space.end_snapshot());
        let found = read_large(chunks);
        assert_eq!(found.len(), expected.len());
        for (name, value) in &found {
            assert_eq!(digest(value.as_ref()), expected[name], "{pieces:?} {name:?}");
        }
    }
}
