//! The table against a map of the standard library, with hashes good and bad.

use super::*;
use crate::types::member::Member;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An element whose hash is its name's as a number: so tests choose where elements stand.
#[derive(Clone, Debug)]
struct Placed(Member);

impl Placed {
    fn new(hash: u64) -> Self {
        Self(Member::new(&hash.to_be_bytes()))
    }
}

impl Element for Placed {
    fn name(&self) -> &[u8] {
        self.0.name()
    }
    fn tag(&self) -> u16 {
        self.0.tag()
    }
    fn set_tag(&mut self, tag: u16) {
        self.0.set_tag(tag);
    }
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
    fn hash(&self) -> u64 {
        self.name().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

fn dice(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

fn name(n: usize) -> Vec<u8> {
    format!("member:{n}").into_bytes()
}

fn filled(count: usize) -> Dict<Member> {
    let mut dict = Dict::new();
    for n in 0..count {
        dict.insert(hash(&name(n)), Member::new(&name(n)));
    }
    dict
}

/// What the heads of the modules promise.
fn check<E: Element>(dict: &Dict<E>) {
    let mut elements = 0;
    let mut segments = 0;
    let mut bytes = 0;
    for node in dict.nodes.iter() {
        for segment in node.segments.iter() {
            assert!(segment.len() <= segment::SEGMENT_ELEMENTS || segment.depth() == MOST_DEPTH);
            assert!(segment.depth() >= node.depth() && segment.depth() <= MOST_DEPTH);
            segments += 1;
            elements += segment.len();
            for element in segment.elements() {
                let position = element.hash();
                assert!(std::ptr::eq(dict.segment(position), segment));
                assert!(dict.contains(position, element.name()));
                bytes += element.heap_bytes();
            }
        }
    }
    assert_eq!((dict.len, dict.segments, dict.element_bytes), (elements, segments, bytes));
}

fn names<E: Element>(dict: &Dict<E>) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = dict.iter().map(|element| element.name().to_vec()).collect();
    names.sort_unstable();
    names
}

#[test]
fn grows_and_shrinks() {
    const COUNT: usize = 60_000;
    let mut dict = filled(COUNT);
    check(&dict);
    assert!(dict.nodes.len() > 2, "several nodes");
    for n in 0..COUNT {
        assert!(dict.contains(hash(&name(n)), &name(n)));
        assert!(!dict.contains(hash(&name(n + COUNT)), &name(n + COUNT)));
    }
    for n in 0..COUNT {
        assert_eq!(dict.remove(hash(&name(n)), &name(n)).map(|member| member.name().to_vec()), Some(name(n)));
        assert!(dict.remove(hash(&name(n)), &name(n)).is_none());
        if n % 10_000 == 0 {
            check(&dict);
        }
    }
    check(&dict);
    assert_eq!((dict.len(), dict.segments, dict.nodes.len()), (0, 1, 1));
}

/// Hashes that agree in all bits that the directory tells apart, or in most.
#[test]
fn bad_hashes_only_cost_time() {
    let mut dict = Dict::new();
    let mut hashes: Vec<u64> = (0..300).map(|n| 0xabcd_ef01_2345_0000 + n * 7).collect();
    hashes.extend((0..300).map(|n| 0x1111_1111_0000_0000 + (n << 37)));
    for (done, hash) in hashes.iter().enumerate() {
        dict.insert(*hash, Placed::new(*hash));
        if done % 100 == 0 {
            check(&dict);
        }
    }
    check(&dict);
    let mut cursor = 0;
    let mut seen = HashSet::new();
    loop {
        cursor = dict.scan(cursor, 10, |element| assert!(seen.insert(element.hash())));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), hashes.len());
    for hash in hashes {
        assert!(dict.remove(hash, &hash.to_be_bytes()).is_some());
    }
    check(&dict);
    assert_eq!((dict.segments, dict.nodes.len()), (1, 1));
}

#[test]
fn clones_part_ways() {
    let mut dict = filled(30_000);
    let frozen = dict.clone();
    let mut other = dict.clone();
    let before = names(&dict);
    for n in 0..30_000 {
        if n % 3 == 0 {
            dict.remove(hash(&name(n)), &name(n));
        } else if n % 3 == 1 {
            let added = name(n + 100_000);
            assert!(other.insert_with(hash(&added), &added, || Member::new(&added)));
        }
    }
    for each in [&dict, &frozen, &other] {
        check(each);
    }
    assert_eq!((dict.len(), frozen.len(), other.len()), (20_000, 30_000, 40_000));
    assert_eq!(names(&frozen), before);
    drop(dict);
    drop(other);
    assert_eq!(names(&frozen), before);
}

#[test]
fn more_clones_than_a_block_counts() {
    let dict = filled(5);
    let mut clones: Vec<_> = (0..400).map(|_| dict.clone()).collect();
    for (n, clone) in clones.iter_mut().enumerate() {
        let added = name(1000 + n);
        clone.insert(hash(&added), Member::new(&added));
    }
    clones.iter().for_each(check);
    drop(dict);
    for (n, clone) in clones.iter().enumerate() {
        assert!(clone.contains(hash(&name(3)), &name(3)) && clone.contains(hash(&name(1000 + n)), &name(1000 + n)));
        assert_eq!(clone.len(), 6);
    }
}

#[test]
fn frees_in_steps() {
    let mut dict = filled(30_000);
    let kept = dict.clone();
    for n in 0..1000 {
        dict.remove(hash(&name(n)), &name(n));
    }
    let mut steps = 0;
    while dict.drop_some(100) {
        assert_eq!(dict.len(), 0);
        steps += 1;
    }
    assert!(steps > 3);
    check(&dict);
    check(&kept);
    let mut alone = filled(30_000);
    dict.insert(hash(b"x"), Member::new(b"x"));
    assert!(alone.drop_some(10));
    alone.insert(hash(b"x"), Member::new(b"x"));
    check(&alone);
    assert_eq!(alone.len(), 1);
    steps = 1;
    while alone.drop_some(100) {
        steps += 1;
    }
    assert!((250..600).contains(&steps), "{steps}");
    assert_eq!(kept.len(), 30_000);
}

#[test]
fn random_is_fair() {
    const COUNT: usize = 3000;
    const PICKS: usize = COUNT * 400;
    let dict = filled(COUNT);
    let mut roll = dice(1);
    let mut picked = HashMap::<Vec<u8>, usize>::new();
    for _ in 0..PICKS {
        let member = dict.random(&mut roll).expect("not empty");
        *picked.entry(member.name().to_vec()).or_default() += 1;
    }
    assert_eq!(picked.len(), COUNT);
    // 400 in the mean with a deviation of 20: five of them.
    let (least, most) = (picked.values().min(), picked.values().max());
    assert!(least >= Some(&290) && most <= Some(&510), "{least:?} {most:?}");
}

#[test]
fn random_takes_everything() {
    let mut dict = filled(5000);
    let mut roll = dice(2);
    let mut taken = HashSet::new();
    while let Some(member) = dict.take_random(&mut roll) {
        assert!(taken.insert(member.name().to_vec()));
        if taken.len() % 500 == 0 {
            check(&dict);
        }
    }
    assert_eq!(taken.len(), 5000);
}

/// A walk by a count returns about so many at a time, each once.
#[test]
fn scans_in_small_steps() {
    let dict = filled(20_000);
    for count in [1, 10, 100, 1000] {
        let (mut cursor, mut calls, mut seen) = (0, 0, HashSet::new());
        loop {
            let mut visited = 0;
            cursor = dict.scan(cursor, count, |member| {
                visited += 1;
                assert!(seen.insert(member.name().to_vec()));
            });
            calls += 1;
            assert!(visited <= 2 * count + 20, "{visited}");
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), 20_000);
        assert!(calls <= 20_000 / count + 1, "{calls} for {count}");
    }
    for wild in [1 << 36, u64::MAX] {
        assert_eq!(dict.scan(wild, 10, |_| panic!("nothing is there")), 0);
    }
}

/// How many elements are alive, to see that each is dropped once.
#[test]
fn frees_everything() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    struct Counted(Member);
    impl Counted {
        fn of(member: Member) -> Self {
            ALIVE.fetch_add(1, Ordering::Relaxed);
            Self(member)
        }
    }
    impl Clone for Counted {
        fn clone(&self) -> Self {
            Self::of(self.0.clone())
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    impl Element for Counted {
        fn name(&self) -> &[u8] {
            self.0.name()
        }
        fn tag(&self) -> u16 {
            self.0.tag()
        }
        fn set_tag(&mut self, tag: u16) {
            self.0.set_tag(tag);
        }
        fn heap_bytes(&self) -> usize {
            self.0.heap_bytes()
        }
    }
    let mut dict = Dict::new();
    for n in 0..10_000 {
        dict.insert(hash(&name(n)), Counted::of(Member::new(&name(n))));
    }
    let mut clone = dict.clone();
    for n in 0..3000 {
        clone.remove(hash(&name(n)), &name(n));
    }
    dict.drop_some(500);
    drop(dict);
    assert_eq!(ALIVE.load(Ordering::Relaxed), 7000);
    drop(clone);
    assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Remove(u64),
    RemoveMany(u64),
    Replace(u64),
    Freeze,
    Thaw,
    Scan,
}

/// Hashes of few leading bits, so that some segments go deep, with bits below that tell them apart.
fn hashes() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..4000u64).prop_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        (0..600u64).prop_map(|n| 0x7700_0000_0000_0000 | n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11),
        (0..200u64).prop_map(|n| 0x7700_0770_0000_0000 | n << 20),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => hashes().prop_map(Step::Insert),
        4 => hashes().prop_map(Step::Remove),
        1 => any::<u64>().prop_map(Step::RemoveMany),
        2 => hashes().prop_map(Step::Replace),
        1 => Just(Step::Freeze),
        1 => Just(Step::Thaw),
        4 => Just(Step::Scan),
    ];
    proptest::collection::vec(step, 1..3000)
}

/// A walk that goes on while the table changes.
#[derive(Default)]
struct Walk {
    cursor: u64,
    /// There since the walk began.
    expected: HashSet<u64>,
    seen: HashSet<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn behaves_as_a_set(steps in steps()) {
        let mut dict = Dict::new();
        let mut model = HashSet::new();
        let mut frozen: Vec<(Dict<Placed>, HashSet<u64>)> = Vec::new();
        let mut walk = Walk::default();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(hash) => {
                    let added = dict.insert_with(hash, &hash.to_be_bytes(), || Placed::new(hash));
                    prop_assert_eq!(added, model.insert(hash));
                }
                Step::Remove(hash) => {
                    let removed = dict.remove(hash, &hash.to_be_bytes()).is_some();
                    prop_assert_eq!(removed, model.remove(&hash));
                    walk.expected.remove(&hash);
                }
                Step::RemoveMany(salt) => {
                    if number % 5 == 0 {
                        let keep = |hash: &u64| (hash ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0;
                        for hash in model.iter().copied().filter(|hash| !keep(hash)).collect::<Vec<_>>() {
                            prop_assert!(dict.remove(hash, &hash.to_be_bytes()).is_some());
                        }
                        model.retain(keep);
                        walk.expected.retain(keep);
                    }
                }
                Step::Replace(hash) => {
                    let replaced = dict.replace(hash, Placed::new(hash)).is_some();
                    prop_assert_eq!(replaced, !model.insert(hash));
                    prop_assert!(dict.update(hash, &hash.to_be_bytes(), |_| ()).is_some());
                }
                Step::Freeze => frozen.push((dict.clone(), model.clone())),
                Step::Thaw => {
                    if frozen.len() > 1 {
                        std::mem::swap(&mut frozen[0].0, &mut dict);
                        std::mem::swap(&mut frozen[0].1, &mut model);
                        frozen.pop();
                        walk = Walk { expected: model.clone(), ..Walk::default() };
                    }
                }
                Step::Scan => {
                    if walk.cursor == 0 {
                        walk = Walk { expected: model.clone(), ..Walk::default() };
                    }
                    let count = number % 30 + 1;
                    walk.cursor = dict.scan(walk.cursor, count, |element| { walk.seen.insert(element.hash()); });
                    if walk.cursor == 0 {
                        prop_assert!(walk.expected.is_subset(&walk.seen));
                    }
                }
            }
        }
        frozen.push((dict, model));
        for (dict, model) in &frozen {
            check(dict);
            prop_assert_eq!(dict.len(), model.len());
            prop_assert!(model.iter().all(|hash| dict.contains(*hash, &hash.to_be_bytes())));
        }
    }
}
