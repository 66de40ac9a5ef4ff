//! Sets of both forms against a model: a sorted list of scores and names.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

type Model = Vec<(f64, Vec<u8>)>;

fn sort(model: &mut Model) {
    model.sort_by(|(a_score, a), (b_score, b)| a_score.partial_cmp(b_score).expect("no NaN").then_with(|| a.cmp(b)));
}

fn insert_in_model(model: &mut Model, score: f64, name: &[u8]) -> Change {
    let change = match model.iter_mut().find(|(_, present)| present == name) {
        Some((old, _)) if *old == score => Change::None(Some(*old)),
        Some((old, _)) => Change::Moved { from: std::mem::replace(old, score), to: score },
        None => {
            model.push((score, name.to_vec()));
            Change::Added(score)
        }
    };
    sort(model);
    change
}

fn remove_from_model(model: &mut Model, name: &[u8]) -> Option<f64> {
    let at = model.iter().position(|(_, present)| present == name)?;
    Some(model.remove(at).0)
}

fn score_range_of(model: &Model, min: ScoreBound, max: ScoreBound) -> Range<usize> {
    let start = model.iter().take_while(|(score, _)| !min.admits_from_below(*score)).count();
    let end = model.iter().take_while(|(score, _)| max.admits_from_above(*score)).count();
    start..end.max(start)
}

fn lex_range_of(model: &Model, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
    let start = model.iter().take_while(|(_, name)| !min.admits_from_below(name)).count();
    let end = model.iter().take_while(|(_, name)| max.admits_from_above(name)).count();
    start..end.max(start)
}

fn elements<'a>(walk: impl Iterator<Item = ElementRef<'a>>) -> Model {
    walk.map(|element| (element.score(), element.name().to_vec())).collect()
}

/// To tell `-0.0` from `0.0`.
fn bits(model: &[(f64, Vec<u8>)]) -> Vec<(u64, Vec<u8>)> {
    model.iter().map(|(score, name)| (score.to_bits(), name.clone())).collect()
}

fn check(set: &Zset, model: &Model) {
    set.tree.check();
    assert_eq!(set.names.len(), set.len());
    assert_eq!(bits(&elements(set.ascending(0..usize::MAX))), bits(model));
    let mut reverse = elements(set.descending(0..usize::MAX));
    reverse.reverse();
    assert_eq!(bits(&reverse), bits(model));
    let mut scanned = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, 10, |name, score| scanned.push((score, name.to_vec())));
        if cursor == 0 {
            break;
        }
    }
    sort(&mut scanned);
    assert_eq!(bits(&scanned), bits(model));
    for (rank, (score, name)) in model.iter().enumerate() {
        assert_eq!(set.rank(name), Some((rank, *score)));
        assert_eq!(set.get(rank).map(ElementRef::name), Some(&name[..]));
    }
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => (0..10i32).prop_map(f64::from),
        3 => (0..100_000i32).prop_map(|number| f64::from(number) / 7.0),
        1 => prop_oneof![Just(0.0), Just(-0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(5e-324), Just(f64::MAX)],
        1 => any::<f64>().prop_filter("no NaN", |score| !score.is_nan()),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..2000u32).prop_map(|number| format!("member:{number:07}").into_bytes()),
        (0..300u32).prop_map(|number| number.to_string().into_bytes()),
        proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), any::<u8>()], 0..12),
        (250..260usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn score_bound() -> impl Strategy<Value = ScoreBound> {
    (score(), any::<bool>()).prop_map(
        |(score, excluded)| {
            if excluded { ScoreBound::Excluded(score) } else { ScoreBound::Included(score) }
        },
    )
}

#[derive(Clone, Debug)]
enum Op {
    Insert(f64, Vec<u8>),
    Remove(Vec<u8>),
    RemoveAt(prop::sample::Index),
    RemoveRange(prop::sample::Index, usize),
    Scores(ScoreBound, ScoreBound),
    Names(Vec<u8>, Vec<u8>, bool, bool),
    /// Many at once: first number, step, count; and whether the score counts on.
    Fill(u32, i32, u32, bool),
    Swap,
    Clone,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        20 => (score(), name()).prop_map(|(score, name)| Op::Insert(score, name)),
        5 => name().prop_map(Op::Remove),
        5 => index().prop_map(Op::RemoveAt),
        2 => (index(), 1..200usize).prop_map(|(at, count)| Op::RemoveRange(at, count)),
        3 => (score_bound(), score_bound()).prop_map(|(min, max)| Op::Scores(min, max)),
        3 => (name(), name(), any::<bool>(), any::<bool>()).prop_map(|(a, b, c, d)| Op::Names(a, b, c, d)),
        3 => (0..2000u32, -3..4i32, 1..300u32, any::<bool>()).prop_map(|(a, b, c, d)| Op::Fill(a, b, c, d)),
        2 => Just(Op::Swap),
        1 => Just(Op::Clone),
    ]
}

fn run(op: &Op, set: &mut Zset, model: &mut Model) {
    match op {
        Op::Insert(score, name) => assert_eq!(set.insert(*score, name), insert_in_model(model, *score, name)),
        Op::Remove(name) => assert_eq!(set.remove(name), remove_from_model(model, name)),
        Op::RemoveAt(at) if model.is_empty() => assert!(set.take(at.index(10)).is_none()),
        Op::RemoveAt(at) => {
            let at = at.index(model.len());
            let taken = set.take(at).map(|element| (element.score(), element.name().to_vec()));
            assert_eq!(taken, Some(model.remove(at)));
        }
        Op::RemoveRange(at, count) => {
            let start = at.index(model.len() + 1);
            let end = model.len().min(start + count);
            let mut removed = Vec::new();
            set.remove_range(start..start + count, |name, score| removed.push((score, name.to_vec())));
            assert_eq!(bits(&removed), bits(&model.drain(start..end).collect::<Model>()));
        }
        Op::Scores(min, max) => {
            let range = set.score_range(*min, *max);
            assert_eq!(range, score_range_of(model, *min, *max));
            assert_eq!(bits(&elements(set.ascending(range.clone()))), bits(&model[range]));
        }
        Op::Names(low, high, a, b) => {
            let bound = |name, excluded| if excluded { LexBound::Excluded(name) } else { LexBound::Included(name) };
            let uniform: Model = model.iter().map(|(_, name)| (1.0, name.clone())).collect();
            let mut uniform = uniform;
            sort(&mut uniform);
            let mut other = Zset::new();
            uniform.iter().for_each(|(score, name)| {
                other.insert(*score, name);
            });
            for (min, max) in [
                (bound(low, *a), bound(high, *b)),
                (LexBound::Lowest, bound(high, *b)),
                (bound(low, *a), LexBound::Highest),
                (LexBound::Lowest, LexBound::Highest),
                (LexBound::Highest, LexBound::Lowest),
            ] {
                assert_eq!(other.lex_range(min, max), lex_range_of(&uniform, min, max));
            }
            other.tree.check();
        }
        Op::Fill(from, step, count, with_score) => {
            for at in 0..*count as i32 {
                let number = *from as i32 + at * step;
                let score = if *with_score { f64::from(number) } else { 1.0 };
                let name = format!("member:{number:07}").into_bytes();
                set.insert(score, &name);
                match model.iter_mut().find(|(_, present)| *present == name) {
                    Some((old, _)) if *old == score => {}
                    Some((old, _)) => *old = score,
                    None => model.push((score, name)),
                }
            }
            sort(model);
        }
        Op::Swap | Op::Clone => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Two sets of which one is now and then replaced by a clone of the other, so that they share nodes.
    #[test]
    fn full_sets_and_their_clones(ops in proptest::collection::vec(op(), 1..120)) {
        let mut sets = [(Zset::new(), Model::new()), (Zset::new(), Model::new())];
        for op in &ops {
            match op {
                Op::Swap => sets.swap(0, 1),
                Op::Clone => sets[1] = sets[0].clone(),
                _ => {
                    let (set, model) = &mut sets[0];
                    run(op, set, model);
                }
            }
        }
        for (set, model) in &sets {
            check(set, model);
        }
        let [(mut first, _), (second, model)] = sets;
        while first.drop_some(37) {}
        check(&second, &model);
    }

    #[test]
    fn compact_sets(
        // Without minus zero, which is zero there.
        ops in proptest::collection::vec((score().prop_map(|score| score + 0.0), name(), any::<bool>()), 1..150),
        bounds in (score_bound(), score_bound()),
        lex in (name(), name()),
        cut in (0..160usize, 0..160usize),
    ) {
        let (mut run, mut model) = (Vec::new(), Model::new());
        for (score, name, remove) in ops {
            let mut out = Vec::new();
            if remove {
                let removed = compact::remove(&run, &name, &mut out);
                prop_assert_eq!(removed, remove_from_model(&mut model, &name));
                if removed.is_some() {
                    run = out;
                }
            } else {
                let change = compact::insert(&run, score, &name, &mut out);
                prop_assert_eq!(change, insert_in_model(&mut model, score, &name));
                if !matches!(change, Change::None(_)) {
                    run = out;
                }
            }
        }
        let of = |entry: compact::Entry<'_>| (entry.score, entry.name.to_vec());
        prop_assert_eq!(bits(&compact::entries(&run).map(of).collect::<Model>()), bits(&model));
        prop_assert_eq!(compact::len(&run), model.len());
        for (rank, (score, name)) in model.iter().enumerate() {
            prop_assert_eq!(compact::find(&run, name), Some((rank, *score)));
        }
        let range = compact::score_range(&run, bounds.0, bounds.1);
        let expected = score_range_of(&model, bounds.0, bounds.1);
        prop_assert!(range == expected || range.is_empty() && expected.is_empty());
        let range = expected;
        prop_assert_eq!(bits(&compact::ascending(&run, range.clone()).map(of).collect::<Model>()), bits(&model[range.clone()]));
        let mut reverse: Model = compact::descending(&run, range.clone()).map(of).collect::<Model>();
        reverse.reverse();
        prop_assert_eq!(bits(&reverse), bits(&model[range]));

        let full = Zset::from_compact(&run);
        check(&full, &model);
        let mut again = Vec::new();
        full.write_compact(&mut again);
        prop_assert_eq!(&again, &run);

        let (start, end) = (cut.0.min(model.len()), (cut.0 + cut.1).min(model.len()));
        let mut out = Vec::new();
        prop_assert_eq!(compact::remove_range(&run, cut.0..cut.0 + cut.1, &mut out), end - start);
        model.drain(start..end);
        prop_assert_eq!(bits(&compact::entries(&out).map(of).collect::<Model>()), bits(&model));

        model.iter_mut().for_each(|(score, _)| *score = 2.0);
        sort(&mut model);
        let mut run = Vec::new();
        model.iter().for_each(|(score, name)| compact::push(&mut run, *score, name));
        for (min, max) in [
            (LexBound::Included(&lex.0), LexBound::Excluded(&lex.1)),
            (LexBound::Excluded(&lex.0), LexBound::Included(&lex.1)),
            (LexBound::Lowest, LexBound::Highest),
            (LexBound::Highest, LexBound::Lowest),
        ] {
            let (range, expected) = (compact::lex_range(&run, min, max), lex_range_of(&model, min, max));
            prop_assert!(range == expected || range.is_empty() && expected.is_empty());
        }
    }
}

/// Deep enough for inner nodes below the root, with clones kept on the way.
#[test]
fn large_sets() {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut set = Zset::new();
    let mut model = HashMap::new();
    let mut frozen = Vec::new();
    for round in 0..400_000u64 {
        let number = next() % 150_000;
        let name = format!("m:{number}").into_bytes();
        if next() % 4 == 0 || round > 300_000 {
            assert_eq!(set.remove(&name), model.remove(&name));
        } else {
            let score = (next() % 1000) as f64 / 3.0;
            set.insert(score, &name);
            model.insert(name, score);
        }
        if round % 90_000 == 0 {
            frozen.push((set.clone(), model.clone()));
        }
    }
    frozen.push((set, model));
    let sorted = |model: &HashMap<Vec<u8>, f64>| {
        let mut sorted: Model = model.iter().map(|(name, score)| (*score, name.clone())).collect();
        sort(&mut sorted);
        sorted
    };
    for (set, model) in &frozen {
        check(set, &sorted(model));
    }
    let (mut set, model) = frozen.swap_remove(2);
    drop(frozen);
    check(&set, &sorted(&model));
    set.remove_range(100..set.len() - 100, |_, _| {});
    assert_eq!(set.len(), 200);
    set.tree.check();
    set.remove_range(0..200, |_, _| {});
    check(&set, &Model::new());
}

#[test]
fn filling_at_the_ends_leaves_full_leaves() {
    for step in [1i32, -1] {
        let mut set = Zset::new();
        (0..100_000).for_each(|at| {
            set.insert(f64::from(at * step), format!("m{at}").as_bytes());
        });
        set.tree.check();
        assert!(set.tree.heap_bytes() < 100_000 * 9, "{}", set.tree.heap_bytes());
    }
}

#[test]
fn minus_zero_is_zero() {
    let mut set = Zset::new();
    set.insert(-0.0, b"a");
    assert_eq!(set.insert(0.0, b"a"), Change::None(Some(-0.0)));
    assert!(set.score(b"a").is_some_and(|score| score.is_sign_negative()));
    assert_eq!(set.score_range(ScoreBound::Included(0.0), ScoreBound::Included(0.0)), 0..1);
}

#[test]
fn a_clone_is_read_on_another_thread_while_the_set_changes() {
    let mut set = Zset::new();
    (0..20_000).for_each(|at| {
        set.insert(f64::from(at), format!("m{at}").as_bytes());
    });
    let frozen = set.clone();
    let reader = std::thread::spawn(move || {
        let sum: f64 = (0..20).map(|_| frozen.ascending(0..usize::MAX).map(ElementRef::score).sum::<f64>()).sum();
        let mut frozen = frozen;
        while frozen.drop_some(1000) {}
        sum
    });
    for at in 0..20_000 {
        let name = format!("m{at}");
        if at % 3 == 0 {
            set.remove(name.as_bytes());
        } else {
            set.insert(f64::from(-at), name.as_bytes());
        }
    }
    assert_eq!(reader.join().expect("a sum"), 20.0 * (0..20_000).map(f64::from).sum::<f64>());
    set.tree.check();
}

/// Where names do not ascend: both forms find nothing if the first or the last is beyond the range, as Redis does.
#[test]
fn names_of_several_scores() {
    let elements: [(f64, &[u8]); 3] = [(1.0, b"m"), (2.0, b"a"), (3.0, b"p")];
    let (mut set, mut run) = (Zset::new(), Vec::new());
    for (score, name) in elements {
        set.insert(score, name);
        compact::push(&mut run, score, name);
    }
    for (min, max) in [
        (LexBound::Lowest, LexBound::Included(&b"l"[..])),
        (LexBound::Lowest, LexBound::Excluded(b"m")),
        (LexBound::Excluded(b"p"), LexBound::Highest),
        (LexBound::Included(b"q"), LexBound::Included(b"z")),
    ] {
        assert_eq!(set.lex_range(min, max), 0..0, "{min:?} {max:?}");
        assert_eq!(compact::lex_range(&run, min, max), 0..0, "{min:?} {max:?}");
    }
    assert_eq!(set.lex_range(LexBound::Lowest, LexBound::Highest), 0..3);
    assert_eq!(Zset::new().lex_range(LexBound::Lowest, LexBound::Highest), 0..0);
}
