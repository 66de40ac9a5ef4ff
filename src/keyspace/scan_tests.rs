use super::super::slot::{SLOTS, slot, slots_of};
use super::super::{Expiry, NewStr, Policy};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn put(space: &mut Keyspace, key: &str, expiry: Expiry) {
    let policy = Policy::default();
    space.view(0, 0, &policy).set_string(key.as_bytes(), NewStr::Int(1), expiry);
}

fn delete(space: &mut Keyspace, key: &str) -> bool {
    space.view(0, 0, &Policy::default()).remove(key.as_bytes())
}

fn scan_all(space: &Keyspace, count: usize, now_ms: u64) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = 0;
    loop {
        let next = space.scan(0, cursor, count, now_ms, |key, kind| {
            assert_eq!(kind, Kind::String);
            found.push(String::from_utf8(key.to_vec()).expect("text"));
        });
        match next {
            Next::At(at) => {
                assert!(at > cursor, "the cursor rises");
                cursor = at;
            }
            Next::End => return found,
        }
    }
}

#[test]
fn finds_everything_once_without_changes() {
    for (shard, shards) in [(0, 1), (1, 3), (2, 3), (6, 7)] {
        let slots = slots_of(shard, shards);
        let mut space = Keyspace::new(slots.clone(), 1, 5);
        let keys: Vec<String> = (0..20_000).map(|n| format!("key:{n}")).collect();
        let mut keys: Vec<String> = keys.into_iter().filter(|key| slots.contains(&slot(key.as_bytes()))).collect();
        keys.iter().for_each(|key| put(&mut space, key, Expiry::None));
        keys.sort();
        for count in [1, 10, 1000, usize::MAX] {
            let mut found = scan_all(&space, count, 0);
            found.sort();
            assert_eq!(found, keys, "count {count}");
        }
    }
}

#[test]
fn count_is_kept_to_the_entry() {
    let mut space = Keyspace::new(0..SLOTS, 1, 5);
    (0..10_000).for_each(|n| put(&mut space, &format!("key:{n}"), Expiry::None));
    let mut cursor = 0;
    for count in [1, 7, 10, 111, 113, 500] {
        let mut found = 0;
        let Next::At(next) = space.scan(0, cursor, count, 0, |_, _| found += 1) else { panic!("the end") };
        assert_eq!(found, count);
        cursor = next;
    }
}

#[test]
fn shows_no_expired_key() {
    let mut space = Keyspace::new(0..SLOTS, 1, 5);
    for n in 0..1000 {
        put(&mut space, &format!("key:{n}"), if n % 2 == 0 { Expiry::AtMs(10) } else { Expiry::None });
    }
    assert_eq!(scan_all(&space, 10, 10).len(), 1000);
    assert_eq!(scan_all(&space, 10, 11).len(), 500);
}

#[test]
fn slots_are_counted_and_listed() {
    let mut space = Keyspace::new(0..SLOTS, 1, 5);
    (0..5000).for_each(|n| put(&mut space, &format!("key:{n}"), Expiry::None));
    (0..3000).for_each(|n| put(&mut space, &format!("{{tag}}{n}"), Expiry::None));
    let mut total = 0;
    for wanted in 0..SLOTS {
        let spread = (0..5000).filter(|n| wanted % 97 == 0 && slot(format!("key:{n}").as_bytes()) == wanted).count();
        let count = space.count_in_slot(0, wanted);
        total += count;
        if wanted % 97 == 0 && wanted != slot(b"tag") {
            assert_eq!(count, spread);
        }
    }
    assert_eq!(total, 8000);
    assert!(space.count_in_slot(0, slot(b"tag")) >= 3000);
    let mut listed = BTreeSet::new();
    space.keys_in_slot(0, slot(b"tag"), 100, |key| {
        assert_eq!(slot(key), slot(b"tag"));
        listed.insert(key.to_vec());
    });
    assert_eq!(listed.len(), 100);
    space.keys_in_slot(0, slot(b"tag"), 0, |_| panic!("none was asked for"));
}

#[derive(Clone, Debug)]
enum Step {
    /// Keys from a number on come, or go.
    Add(usize, usize),
    Delete(usize, usize),
    Scan(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..6000usize, 1..1500usize).prop_map(|(from, count)| Step::Add(from, count)),
        2 => (0..6000usize, 1..1500usize).prop_map(|(from, count)| Step::Delete(from, count)),
        6 => prop_oneof![1..20usize, 100..2000usize].prop_map(Step::Scan),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Half of the keys share a slot, so that splits happen within and between slots.
fn name(n: usize) -> String {
    if n.is_multiple_of(2) { format!("{{tag}}{n}") } else { format!("key:{n}") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is there from the start of a scan to its end is returned; nothing is returned that never was there.
    #[test]
    fn keeps_the_guarantee(seed: u64, steps in steps()) {
        let mut space = Keyspace::new(0..SLOTS, 1, seed);
        let mut present: BTreeSet<usize> = (0..2000).collect();
        present.iter().for_each(|n| put(&mut space, &name(*n), Expiry::None));
        let (mut throughout, mut ever, mut found) = (present.clone(), present.clone(), BTreeSet::new());
        let mut cursor = Some(0);
        for step in steps.into_iter().chain(std::iter::repeat(Step::Scan(700))) {
            match step {
                Step::Add(from, count) => for n in from..from + count {
                    if present.insert(n) {
                        put(&mut space, &name(n), Expiry::None);
                    }
                    ever.insert(n);
                },
                Step::Delete(from, count) => for n in from..from + count {
                    prop_assert_eq!(delete(&mut space, &name(n)), present.remove(&n));
                    throughout.remove(&n);
                },
                Step::Scan(count) => {
                    let Some(at) = cursor else { break };
                    let next = space.scan(0, at, count, 0, |key, _| {
                        found.insert(String::from_utf8(key.to_vec()).expect("text"));
                    });
                    cursor = match next {
                        Next::At(next) => Some(next),
                        Next::End => None,
                    };
                }
            }
        }
        space.tables[0].check(&space.hasher);
        for n in throughout {
            prop_assert!(found.contains(&name(n)), "{} was there all the time", name(n));
        }
        let ever: BTreeSet<String> = ever.into_iter().map(name).collect();
        prop_assert!(found.is_subset(&ever));
    }

    #[test]
    fn any_number_is_a_cursor(cursor: u64, shard in 0..5usize, count in 0..50usize) {
        let slots = slots_of(shard, 5);
        let mut space = Keyspace::new(slots.clone(), 1, 5);
        let keys = (0..2000).map(|n| format!("key:{n}")).filter(|key| slots.contains(&slot(key.as_bytes())));
        keys.for_each(|key| put(&mut space, &key, Expiry::None));
        for cursor in [cursor, u64::MAX, 0, 1, super::super::first_position(slots.start), super::super::first_position(slots.start).wrapping_sub(1)] {
            if let Next::At(next) = space.scan(0, cursor, count, 0, |_, _| {}) {
                prop_assert!(next > cursor && next != 0);
            }
        }
    }
}
