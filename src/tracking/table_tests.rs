use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn tracker(core: ExecutorId, index: u32, generation: u32) -> Tracker {
    Tracker { core, socket: SocketId { index, generation } }
}

fn listed(readers: &Readers) -> BTreeMap<(ExecutorId, u32), u32> {
    let mut list = BTreeMap::new();
    readers.for_each(|Tracker { core, socket }| {
        assert_eq!(list.insert((core, socket.index), socket.generation), None, "each socket once");
    });
    assert_eq!(list.len(), readers.len());
    list
}

#[test]
fn a_client_that_left_makes_room_for_the_next_one_on_its_socket() {
    let mut table = Table::default();
    for generation in 0..1000 {
        for index in 0..20 {
            table.remember(b"k", tracker(0, index, generation));
        }
    }
    assert_eq!((table.keys(), table.items()), (1, 20));
    let readers = table.take(b"k").expect("it was read");
    assert!(listed(&readers).values().all(|generation| *generation == 999));
    assert!(table.take(b"k").is_none());
    assert_eq!((table.keys(), table.items()), (0, 0));
}

#[test]
fn every_key_can_be_drawn() {
    let mut drawn = BTreeSet::new();
    for dice in 0..10 {
        let mut table = Table::default();
        (0..10u8).for_each(|n| table.remember(&[n], tracker(0, 1, 1)));
        drawn.extend(table.take_any(dice).map(|(key, _)| key));
        assert_eq!(table.keys(), 9);
    }
    assert_eq!(drawn.len(), 10);
    assert!(Table::default().take_any(3).is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Remember(u8, Tracker),
    Take(u8),
    TakeAny(u64),
    Clear,
}

fn any_step() -> impl Strategy<Value = Step> {
    let tracker = (0usize..3, 0u32..12, 0u32..3).prop_map(|(core, index, generation)| tracker(core, index, generation));
    prop_oneof![
        20 => (0u8..40, tracker).prop_map(|(key, tracker)| Step::Remember(key, tracker)),
        3 => (0u8..40).prop_map(Step::Take),
        2 => any::<u64>().prop_map(Step::TakeAny),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn as_a_plain_map(steps in prop::collection::vec(any_step(), 0..400)) {
        let mut table = Table::default();
        let mut model: BTreeMap<Vec<u8>, BTreeMap<(ExecutorId, u32), u32>> = BTreeMap::new();
        let name = |n: u8| format!("key:{n}").into_bytes();
        for step in steps {
            match step {
                Step::Remember(key, tracker) => {
                    table.remember(&name(key), tracker);
                    let place = (tracker.core, tracker.socket.index);
                    model.entry(name(key)).or_default().insert(place, tracker.socket.generation);
                }
                Step::Take(key) => {
                    prop_assert_eq!(table.take(&name(key)).as_ref().map(listed), model.remove(&name(key)));
                }
                Step::TakeAny(dice) => match table.take_any(dice) {
                    Some((key, readers)) => prop_assert_eq!(Some(listed(&readers)), model.remove(&key.to_vec())),
                    None => prop_assert!(model.is_empty()),
                },
                Step::Clear => {
                    table.clear();
                    model.clear();
                }
            }
            prop_assert_eq!(table.keys(), model.len());
            prop_assert_eq!(table.items(), model.values().map(BTreeMap::len).sum::<usize>());
        }
        for (key, readers) in model {
            prop_assert_eq!(table.take(&key).as_ref().map(listed), Some(readers));
        }
        prop_assert!(table.is_empty() && table.index.is_empty());
    }
}
