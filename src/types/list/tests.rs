//! Lists against `VecDeque`: small nodes, so that splitting, joining and compressing happen all the time.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::encoding::{Encoding, Limit, entry_len};
use super::*;

type Model = VecDeque<Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Push(Side, Vec<Vec<u8>>),
    Pop(Side, u8),
    Set(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Side, Vec<u8>, u8),
    Trim(Index, Index),
    Fork,
    Switch,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Front), Just(Side::Back)]
}

/// Few different texts, so that some are found more than once; of all length classes.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..6i64).prop_map(|number| number.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        6 => vec(b'a'..b'c', 0..4),
        3 => (0..40usize).prop_map(|len| vec![b'x'; len]),
        1 => (40..400usize).prop_map(|len| vec![b'y'; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (side(), vec(text(), 0..12)).prop_map(|(side, texts)| Step::Push(side, texts)),
        4 => (side(), 0..20u8).prop_map(|(side, count)| Step::Pop(side, count)),
        3 => (any::<Index>(), text()).prop_map(|(index, text)| Step::Set(index, text)),
        4 => (any::<Index>(), text()).prop_map(|(index, text)| Step::Insert(index, text)),
        2 => (side(), text(), 0..5u8).prop_map(|(side, text, max)| Step::Remove(side, text, max)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Step::Trim(from, to)),
        1 => Just(Step::Fork),
        1 => Just(Step::Switch),
    ]
}

fn model_remove(model: &mut Model, side: Side, text: &[u8], max: usize) -> usize {
    let indexes: Vec<_> = (0..model.len()).filter(|index| model[*index] == text).collect();
    let removed: Vec<_> = match side {
        Side::Front => indexes.into_iter().take(max).collect(),
        Side::Back => indexes.into_iter().rev().take(max).rev().collect(),
    };
    removed.iter().rev().for_each(|index| drop(model.remove(*index)));
    removed.len()
}

fn model_push(model: &mut Model, side: Side, text: &[u8]) {
    match side {
        Side::Front => model.push_front(text.to_vec()),
        Side::Back => model.push_back(text.to_vec()),
    }
}

fn model_pop(model: &mut Model, side: Side) -> Option<Vec<u8>> {
    match side {
        Side::Front => model.pop_front(),
        Side::Back => model.pop_back(),
    }
}

/// A removal of all of it is written as 0, as in LREM.
fn most(max: u8) -> usize {
    if max == 0 { usize::MAX } else { usize::from(max) }
}

fn take_step(list: &mut List, model: &mut Model, step: &Step) {
    match step {
        Step::Push(side, texts) => texts.iter().for_each(|text| {
            list.push(*side, text);
            model_push(model, *side, text);
        }),
        Step::Pop(side, count) => (0..*count).for_each(|_| {
            assert_eq!(list.pop(*side, |item| item.to_vec()), model_pop(model, *side));
        }),
        Step::Set(index, text) if !model.is_empty() => {
            let index = index.index(model.len());
            assert!(list.set(index as u64, text));
            model[index].clone_from(text);
        }
        Step::Insert(index, text) => {
            let index = index.index(model.len() + 1);
            assert!(list.insert(index as u64, text));
            model.insert(index, text.clone());
        }
        Step::Remove(side, text, max) => {
            let max = most(*max);
            let expected = model_remove(model, *side, text, max);
            assert_eq!(list.remove(text, *side, max as u64), expected as u64);
        }
        Step::Trim(from, to) => {
            let (from, to) = (from.index(model.len() + 1), to.index(model.len() + 1));
            let (from, to) = (from.min(to), from.max(to));
            // A few at the ends only: the list is to grow.
            let (from, to) = if to - from > 10 { (from / 4, model.len() - (model.len() - to) / 4) } else { (from, to) };
            let mut debris = list.trim(from as u64..to as u64);
            while debris.drop_some(3) {}
            *model = model.range(from..to).cloned().collect();
        }
        Step::Set(..) | Step::Fork | Step::Switch => {}
    }
}

fn check(list: &List, model: &Model) {
    list.middle.check();
    assert_eq!(list.len(), model.len() as u64);
    let (mut nodes, mut packed_bytes) = (0, 0);
    let _ = list.runs(Side::Front, 0, |run, _| {
        nodes += 1;
        packed_bytes += run.len() as u64;
        ControlFlow::Continue(())
    });
    assert_eq!((list.nodes(), list.packed_bytes()), (nodes, packed_bytes));
    let listpack: u64 = model.iter().map(|text| entry_len(Item::of(text))).sum();
    assert_eq!(list.listpack_bytes(), listpack + 7);
    for side in [Side::Front, Side::Back] {
        let mut all = Vec::new();
        list.range(side, 0, u64::MAX, |item| all.push(item.to_vec()));
        if side == Side::Back {
            all.reverse();
        }
        assert!(all.iter().eq(model), "{side:?}: {all:?} {model:?}");
    }
}

fn check_reads(list: &List, model: &Model, index: usize, text: &[u8], count: usize) {
    assert_eq!(list.get(index as u64, |item| item.to_vec()).as_ref(), model.get(index));
    let indexed: Vec<_> = model.iter().enumerate().collect();
    for side in [Side::Front, Side::Back] {
        let mut expected = indexed.clone();
        if side == Side::Back {
            expected.reverse();
        }
        let mut seen = Vec::new();
        list.range(side, index as u64, count as u64, |item| seen.push(item.to_vec()));
        assert!(seen.iter().eq(expected.iter().skip(index).take(count).map(|(_, text)| *text)));
        let mut found = Vec::new();
        let _ = list.matches(text, side, count as u64, |index| {
            found.push(index as usize);
            ControlFlow::Continue(())
        });
        assert!(found.iter().eq(expected.iter().take(count).filter(|(_, other)| *other == text).map(|(at, _)| at)));
        let first = expected.iter().find(|(_, other)| *other == text).map(|(at, _)| *at as u64);
        assert_eq!(list.find(text, side), first);
        let mut visited = Vec::new();
        let _ = list.visit(side, index as u64, |at, item| {
            visited.push((at as usize, item.to_vec()));
            ControlFlow::Continue(())
        });
        assert!(visited.iter().map(|(at, text)| (*at, text)).eq(expected.iter().skip(index).copied()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_list_is_a_deque(
        steps in vec(step(), 1..60),
        plain in 0..4u32,
        reads in vec((any::<Index>(), text(), 0..30usize), 3),
    ) {
        let mut list = List::new(PlainEnds::from_directive(plain));
        let mut model = Model::new();
        let mut forks: Vec<(List, Model)> = Vec::new();
        for step in &steps {
            take_step(&mut list, &mut model, step);
            match step {
                Step::Fork => forks.push((list.clone(), model.clone())),
                Step::Switch => if let Some((other, other_model)) = forks.last_mut() {
                    std::mem::swap(&mut list, other);
                    std::mem::swap(&mut model, other_model);
                },
                _ => {}
            }
            check(&list, &model);
        }
        for (index, text, count) in &reads {
            check_reads(&list, &model, index.index(model.len() + 3), text, *count);
        }
        forks.iter().for_each(|(list, model)| check(list, model));
        // Freed little by little, while others share it.
        while list.drop_some(2) {}
        forks.iter().for_each(|(list, model)| check(list, model));
    }

    #[test]
    fn a_compact_list_is_a_deque(
        steps in vec(step(), 1..30),
        reads in vec((any::<Index>(), text(), 0..30usize), 3),
    ) {
        let mut value = compact::EMPTY.to_vec();
        let mut model = Model::new();
        let mut out = Vec::new();
        for step in &steps {
            match step {
                Step::Push(side, texts) => {
                    compact::push(&value, *side, texts.iter().map(Vec::as_slice), &mut out);
                    texts.iter().for_each(|text| model_push(&mut model, *side, text));
                }
                Step::Pop(side, count) => {
                    let count = usize::from(*count).min(model.len());
                    let mut popped = Vec::new();
                    compact::range(&value, *side, 0, count, |item| popped.push(item.to_vec()));
                    let keep = if *side == Side::Front { count..model.len() } else { 0..model.len() - count };
                    compact::trim(&value, keep, &mut out);
                    popped.into_iter().for_each(|text| assert_eq!(Some(text), model_pop(&mut model, *side)));
                }
                Step::Set(index, text) if !model.is_empty() => {
                    let index = index.index(model.len());
                    compact::set(&value, index, text, &mut out);
                    model[index].clone_from(text);
                }
                Step::Insert(index, text) => {
                    let index = index.index(model.len() + 1);
                    compact::insert(&value, index, text, &mut out);
                    model.insert(index, text.clone());
                }
                Step::Remove(side, text, max) => {
                    let expected = model_remove(&mut model, *side, text, most(*max));
                    assert_eq!(compact::remove(&value, text, *side, most(*max), &mut out), expected);
                }
                Step::Trim(from, to) => {
                    let (from, to) = (from.index(model.len() + 1), to.index(model.len() + 1));
                    let keep = from.min(to)..from.max(to);
                    compact::trim(&value, keep.clone(), &mut out);
                    model = model.range(keep).cloned().collect();
                }
                Step::Set(..) | Step::Fork | Step::Switch => out.clone_from(&value),
            }
            value.clone_from(&out);
            prop_assert_eq!(compact::len(&value), model.len());
            prop_assert!(packed::items(compact::run(&value)).map(Item::to_vec).eq(model.iter().cloned()));
        }
        let list = List::from_compact(&value, PlainEnds::Nodes(1));
        check(&list, &model);
        for (index, text, count) in &reads {
            let index = index.index(model.len() + 1);
            prop_assert_eq!(compact::get(&value, index).map(Item::to_vec), list.get(index as u64, |item| item.to_vec()));
            for side in [Side::Front, Side::Back] {
                let (mut seen, mut expected) = (Vec::new(), Vec::new());
                compact::range(&value, side, index, *count, |item| seen.push(item.to_vec()));
                list.range(side, index as u64, *count as u64, |item| expected.push(item.to_vec()));
                prop_assert_eq!(seen, expected);
                let (mut seen, mut expected) = (Vec::new(), Vec::new());
                let _ = compact::matches(&value, text, side, *count, |at| { seen.push(at as u64); ControlFlow::Continue(()) });
                let _ = list.matches(text, side, *count as u64, |at| { expected.push(at); ControlFlow::Continue(()) });
                prop_assert_eq!(seen, expected);
                prop_assert_eq!(compact::find(&value, text, side).map(|at| at as u64), list.find(text, side));
            }
        }
        prop_assert_eq!(compact::listpack_bytes(&value), list.listpack_bytes());
        if list.may_be_compact() {
            list.write_compact(&mut out);
            prop_assert_eq!(out, value);
        }
    }
}

#[test]
fn encodings_change_as_in_redis() {
    let limit = Limit::from_directive(4);
    let mut list = List::new(PlainEnds::All);
    for pushed in 1..=5 {
        list.before_growing(limit, 1, 1);
        list.push(Side::Back, b"x");
        assert_eq!(list.encoding() == Encoding::Quicklist, pushed > 4);
    }
    for left in (0..5).rev() {
        list.pop(Side::Front, |_| ());
        list.after_shrinking(limit);
        assert_eq!(list.encoding() == Encoding::Quicklist, left > 2, "{left}");
    }
    assert!(list.may_be_compact());
    assert!(!compact::fits(&compact::EMPTY, limit, 5, 5) && compact::fits(&compact::EMPTY, limit, 4, 4));
    assert!(!compact::fits(&compact::EMPTY, Limit::from_directive(-1), compact::MAX_BYTES, 1));
}

#[test]
fn queues_keep_their_memory_bounded() {
    for (to, from) in [(Side::Back, Side::Front), (Side::Front, Side::Back)] {
        for waiting in [0, 1, 5, 40] {
            let mut list = List::new(PlainEnds::Nodes(1));
            (0..waiting).for_each(|number| list.push(to, format!("job:{number}").as_bytes()));
            for number in waiting..5000 {
                list.push(to, format!("job:{number}").as_bytes());
                let expected = format!("job:{}", number - waiting).into_bytes();
                assert_eq!(list.pop(from, |item| item.to_vec()), Some(expected));
                assert!(list.heap_bytes() < 3000, "{} bytes", list.heap_bytes());
            }
        }
    }
}

#[test]
fn what_is_shared_is_freed_by_the_last() {
    let mut list = List::new(PlainEnds::Nodes(2));
    (0..5000).for_each(|number: u32| list.push(Side::Back, number.to_string().as_bytes()));
    let mut copy = list.clone();
    assert!(copy.set(2500, b"changed"));
    let mut steps = 0;
    while list.drop_some(100) {
        steps += 1;
    }
    assert!(steps < 50);
    assert_eq!(copy.get(2499, |item| item.to_vec()), Some(b"2499".to_vec()));
    let mut steps = 0;
    while copy.drop_some(100) {
        steps += 1;
    }
    assert!((40..60).contains(&steps), "{steps}");
}

#[test]
fn compression_leaves_the_ends_alone_and_gives_up_where_it_saves_nothing() {
    let packings = |list: &List| {
        let mut packings = Vec::new();
        let _ = list.middle.walk(Side::Front, 0, |node, _| {
            packings.push(node.packing());
            ControlFlow::Continue(())
        });
        packings
    };
    for side in [Side::Front, Side::Back] {
        let mut list = List::new(PlainEnds::Nodes(4));
        (0..1000).for_each(|_| list.push(side, b"the same again and again"));
        let packings = packings(&list);
        let depth = 3;
        let inner = depth..packings.len() - depth;
        for (at, packing) in packings.iter().enumerate() {
            assert_eq!(*packing == Packing::Compressed, inner.contains(&at), "{at} of {}", packings.len());
        }
    }
}

#[test]
fn an_element_read_from_one_list_can_be_pushed_to_another() {
    let mut lists = [List::new(PlainEnds::Nodes(1)), List::new(PlainEnds::Nodes(1))];
    (0..300).for_each(|number: u32| lists[0].push(Side::Back, format!("element:{number:08}").as_bytes()));
    let [from, to] = &mut lists;
    while from.pop(Side::Back, |item| to.push_item(Side::Front, item)).is_some() {}
    assert_eq!(to.len(), 300);
    assert_eq!(to.get(123, |item| item.to_vec()), Some(b"element:00000123".to_vec()));
}

#[test]
fn lists_move_between_cores() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<List>();
}
