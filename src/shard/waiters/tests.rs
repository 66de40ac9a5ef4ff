use super::*;
use proptest::prelude::*;

const WANT: Want = Want { kind: Kind::String, wakes_when_gone: false };

fn name(n: u64) -> Name {
    Name { db: 0, slot: 1, hash: n }
}

fn waiter(n: u64) -> Waiter {
    Waiter { core: (n % 3) as usize, socket: SocketId { index: n as u32, generation: 0 }, serial: n }
}

fn wait(table: &mut WaiterTable, who: u64, keys: &[u64]) {
    for (argument, key) in keys.iter().enumerate() {
        table.wait(name(*key), &key.to_be_bytes(), Turn { waiter: waiter(who), argument }, WANT);
    }
}

fn next(table: &mut WaiterTable, key: u64) -> Option<u64> {
    table.next_turn(name(key), Some(Kind::String)).map(|turn| turn.waiter.serial)
}

#[test]
fn turns_in_order_of_arrival_and_once_a_round() {
    let mut table = WaiterTable::default();
    (1..4).for_each(|who| wait(&mut table, who, &[7]));
    assert!(table.is_wanted(name(7), Some(Kind::String)) && !table.is_wanted(name(8), Some(Kind::String)));
    assert!(table.begin_round(name(7)));
    assert!(!table.begin_round(name(7)) && !table.is_wanted(name(7), Some(Kind::String)), "a round is on");
    assert_eq!(next(&mut table, 7), Some(1));
    table.leave(waiter(1));
    assert_eq!(next(&mut table, 7), Some(2), "the second did not want it");
    assert_eq!(next(&mut table, 7), Some(3));
    table.leave(waiter(3));
    assert_eq!(next(&mut table, 7), None);
    assert!(table.begin_round(name(7)));
    assert_eq!(next(&mut table, 7), Some(2), "it kept its place");
}

#[test]
fn a_round_ends_when_the_value_is_gone() {
    let mut table = WaiterTable::default();
    wait(&mut table, 1, &[7]);
    wait(&mut table, 2, &[7]);
    table.begin_round(name(7));
    assert_eq!(next(&mut table, 7), Some(1));
    table.leave(waiter(1));
    assert_eq!(table.next_turn(name(7), None), None);
    assert!(table.is_wanted(name(7), Some(Kind::String)), "the second still waits");
}

#[test]
fn who_leaves_is_in_no_queue() {
    let mut table = WaiterTable::default();
    wait(&mut table, 1, &[7, 8, 7]);
    wait(&mut table, 2, &[8]);
    assert_eq!(table.keys(), 2);
    assert_eq!(table.key(name(7)), Some(&7u64.to_be_bytes()[..]));
    table.begin_round(name(7));
    assert_eq!(table.next_turn(name(7), Some(Kind::String)), Some(Turn { waiter: waiter(1), argument: 0 }));
    table.leave(waiter(1));
    table.leave(waiter(1));
    assert_eq!(table.keys(), 1);
    assert!(!table.is_empty() && table.key(name(7)).is_some(), "its round is still on");
    assert_eq!(next(&mut table, 7), None);
    assert_eq!(table.key(name(7)), None);
    table.begin_round(name(8));
    assert_eq!(next(&mut table, 8), Some(2));
    table.leave(waiter(2));
    assert_eq!(next(&mut table, 8), None);
    assert!(table.is_empty() && table.places.is_empty());
}

#[test]
fn some_are_served_when_the_key_is_gone() {
    let mut table = WaiterTable::default();
    wait(&mut table, 1, &[7]);
    for key in [7u64, 8] {
        let turn = Turn { waiter: waiter(key), argument: 0 };
        table.wait(name(7), &7u64.to_be_bytes(), turn, Want { kind: Kind::Stream, wakes_when_gone: key == 8 });
    }
    assert!(table.is_wanted(name(7), None) && table.is_wanted(name(7), Some(Kind::Hash)));
    for gone in [None, Some(Kind::Hash)] {
        assert!(table.begin_round(name(7)));
        assert_eq!(table.next_turn(name(7), gone).map(|turn| turn.waiter.serial), Some(8));
        assert_eq!(table.next_turn(name(7), gone), None, "it has had its turn");
    }
    table.leave(waiter(8));
    assert!(!table.is_wanted(name(7), None) && !table.is_wanted(name(7), Some(Kind::Hash)));
    assert!(table.is_wanted(name(7), Some(Kind::Stream)));
}

#[test]
fn a_round_that_is_broken_off_begins_anew() {
    let mut table = WaiterTable::default();
    (1..3).for_each(|who| wait(&mut table, who, &[7]));
    table.begin_round(name(7));
    assert_eq!(next(&mut table, 7), Some(1));
    table.break_off(name(7));
    assert!(table.begin_round(name(7)));
    assert_eq!(next(&mut table, 7), Some(1), "at the one it was broken off at");
    (1..3).for_each(|who| table.leave(waiter(who)));
    table.break_off(name(7));
    assert!(table.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64, Vec<u64>),
    Leave(u64),
    Begin(u64),
    Next(u64, bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..8, proptest::collection::vec(0u64..4, 0..4)).prop_map(|(who, keys)| Step::Wait(who, keys)),
        (0u64..8).prop_map(Step::Leave),
        (0u64..4).prop_map(Step::Begin),
        (0u64..4, any::<bool>()).prop_map(|(key, there)| Step::Next(key, there)),
    ]
}

/// Who waits for each key, in order, and who had a turn in the round that is on.
#[derive(Default)]
struct Model {
    waiting: [Vec<u64>; 4],
    tried: [Option<Vec<u64>>; 4],
}

proptest! {
    #[test]
    fn as_the_model(steps in proptest::collection::vec(any_step(), 0..100)) {
        let (mut table, mut model) = (WaiterTable::default(), Model::default());
        for step in steps {
            match step {
                // As a blocked client: it leaves before it waits again.
                Step::Wait(who, keys) => {
                    table.leave(waiter(who));
                    wait(&mut table, who, &keys);
                    for key in 0..4 {
                        model.waiting[key].retain(|other| *other != who);
                        if keys.contains(&(key as u64)) {
                            model.waiting[key].push(who);
                        }
                        // A new command has a turn of its own.
                        model.tried[key].iter_mut().for_each(|tried| tried.retain(|other| *other != who));
                    }
                }
                Step::Leave(who) => {
                    table.leave(waiter(who));
                    model.waiting.iter_mut().for_each(|queue| queue.retain(|other| *other != who));
                }
                Step::Begin(key) => {
                    let begins = !model.waiting[key as usize].is_empty() && model.tried[key as usize].is_none();
                    prop_assert_eq!(table.begin_round(name(key)), begins);
                    if begins {
                        model.tried[key as usize] = Some(Vec::new());
                    }
                }
                Step::Next(key, there) => {
                    let kind = there.then_some(Kind::String);
                    let turn = table.next_turn(name(key), kind).map(|turn| turn.waiter.serial);
                    let tried = &mut model.tried[key as usize];
                    let expected = tried.as_ref().filter(|_| there).and_then(|tried| {
                        model.waiting[key as usize].iter().copied().find(|who| !tried.contains(who))
                    });
                    prop_assert_eq!(turn, expected);
                    match (turn, &mut *tried) {
                        (Some(who), Some(had)) => had.push(who),
                        _ => *tried = None,
                    }
                }
            }
            prop_assert_eq!(table.keys(), model.waiting.iter().filter(|queue| !queue.is_empty()).count());
        }
    }
}
