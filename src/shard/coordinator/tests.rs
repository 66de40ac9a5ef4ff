use super::Action::*;
use super::Answer::*;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A coordinator whose actions are taken after each event.
struct Driven(Coordinator);

fn start(participants: &[usize]) -> (Driven, Vec<Action>) {
    let mut actions = Vec::new();
    let coordinator = Coordinator::start(participants.iter().copied().collect(), &mut actions);
    (Driven(coordinator), actions)
}

impl Driven {
    fn answer(&mut self, shard: usize, answer: Answer) -> Vec<Action> {
        let mut actions = Vec::new();
        self.0.answer(shard, answer, &mut actions);
        actions
    }

    fn ran(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.0.ran(&mut actions);
        actions
    }
}

#[test]
fn granted_at_the_first_attempt() {
    let (mut driven, actions) = start(&[0, 2, 3]);
    assert_eq!(actions, [Try(0), Try(2), Try(3)]);
    assert_eq!(driven.answer(3, Granted), []);
    assert_eq!(driven.answer(0, Granted), []);
    assert_eq!(driven.answer(2, Granted), [Run]);
    assert_eq!(driven.0.granted().iter().collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(driven.ran(), [CheckIn(0), CheckIn(2), CheckIn(3), Done]);
}

#[test]
fn after_a_refusal_in_order() {
    let (mut driven, _) = start(&[0, 1, 2, 3]);
    assert_eq!(driven.answer(1, Refused), []);
    assert_eq!(driven.answer(3, Granted), []);
    assert_eq!(driven.answer(2, Refused), []);
    assert_eq!(driven.answer(0, Granted), [GiveBack(3), Wait(1)], "what is below the first refusal is kept");
    assert_eq!(driven.answer(1, Granted), [Wait(2)]);
    assert_eq!(driven.answer(2, Granted), [Wait(3)]);
    assert_eq!(driven.answer(3, Granted), [Run]);
    assert_eq!(driven.ran(), [CheckIn(0), CheckIn(1), CheckIn(2), CheckIn(3), Done]);
}

#[test]
fn one_core_is_waited_for_at_once() {
    let (mut driven, actions) = start(&[5]);
    assert_eq!(actions, [Wait(5)]);
    assert_eq!(driven.answer(5, Granted), [Run]);
    assert_eq!(driven.ran(), [CheckIn(5), Done]);
}

#[test]
fn without_keys_it_runs_at_once() {
    let (mut driven, actions) = start(&[]);
    assert_eq!(actions, [Run]);
    assert_eq!(driven.ran(), [Done]);
}

#[test]
fn a_client_that_goes_while_all_are_asked() {
    let (mut driven, _) = start(&[0, 1, 2]);
    assert_eq!(driven.answer(1, Granted), []);
    driven.0.abort();
    assert_eq!(driven.answer(0, Refused), []);
    assert_eq!(driven.answer(2, Granted), [GiveBack(1), GiveBack(2), Done]);
}

#[test]
fn a_client_that_goes_while_one_is_waited_for() {
    let (mut driven, _) = start(&[0, 1, 2]);
    driven.answer(0, Granted);
    driven.answer(1, Refused);
    assert_eq!(driven.answer(2, Granted), [GiveBack(2), Wait(1)]);
    driven.0.abort();
    assert_eq!(driven.answer(1, Granted), [GiveBack(0), GiveBack(1), Done]);
}

#[test]
fn handlers_that_run_are_not_interrupted() {
    let (mut driven, _) = start(&[0, 1]);
    driven.answer(0, Granted);
    assert_eq!(driven.answer(1, Granted), [Run]);
    driven.0.abort();
    assert_eq!(driven.ran(), [CheckIn(0), CheckIn(1), Done]);
}

#[test]
#[should_panic(expected = "what it was not asked")]
fn nobody_answers_twice() {
    let (mut driven, _) = start(&[0, 1]);
    driven.answer(0, Granted);
    driven.answer(0, Granted);
    driven.answer(1, Granted);
}

proptest! {
    #[test]
    fn sets_of_shards(shards in proptest::collection::btree_set(0usize..300, 0..40), cut in 0usize..300) {
        let mut set: ShardSet = shards.iter().copied().collect();
        prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), shards.clone());
        prop_assert!(set.iter().is_sorted());
        prop_assert_eq!((set.len(), set.is_empty()), (shards.len(), shards.is_empty()));
        prop_assert!((0..400).all(|shard| set.contains(shard) == shards.contains(&shard)));
        set.keep_below(cut);
        prop_assert_eq!(set.iter().collect::<Vec<_>>(), shards.range(..cut).copied().collect::<Vec<_>>());
    }

    /// Whatever is refused, and whenever the client goes: never two holds of one core, never waiting below what is held, and in the end
    /// nothing is held or outstanding.
    #[test]
    fn holds_and_returns(
        shards in proptest::collection::btree_set(0usize..100, 0..8),
        order in any::<Vec<prop::sample::Index>>(),
        refused in any::<u128>(),
        abort_at in 0usize..20,
    ) {
        let mut actions = Vec::new();
        let mut coordinator = Coordinator::start(shards.iter().copied().collect(), &mut actions);
        let (mut held, mut asked, mut runs, mut done) = (BTreeSet::new(), Vec::new(), 0, false);
        let mut order = order.into_iter();
        for step in 0.. {
            for action in std::mem::take(&mut actions) {
                prop_assert!(!done);
                match action {
                    Try(shard) => asked.push((shard, refused >> shard & 1 == 1)),
                    Wait(shard) => {
                        prop_assert!(asked.is_empty() && held.range(shard..).next().is_none());
                        asked.push((shard, false));
                    }
                    GiveBack(shard) | CheckIn(shard) => prop_assert!(held.remove(&shard)),
                    Run => {
                        prop_assert_eq!(&held, &shards);
                        runs += 1;
                        coordinator.ran(&mut actions);
                    }
                    Done => done = true,
                }
            }
            if !actions.is_empty() {
                continue;
            }
            if step == abort_at && !done {
                coordinator.abort();
            }
            if asked.is_empty() {
                break;
            }
            let at = order.next().map_or(0, |index| index.index(asked.len()));
            let (shard, refuses) = asked.swap_remove(at);
            if !refuses {
                prop_assert!(held.insert(shard));
            }
            coordinator.answer(shard, if refuses { Refused } else { Granted }, &mut actions);
        }
        prop_assert!(done && held.is_empty());
        prop_assert!(runs <= 1 && (runs == 1 || abort_at < 20));
    }
}
