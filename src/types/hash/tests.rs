//! Both forms against a map of the standard library.

use super::*;
use crate::types::packed::Item;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Vec<u8>, bool),
    Delete(Vec<u8>),
    SetExpiry(Vec<u8>, Option<u64>),
    Expire(u64, usize),
    Read(Vec<u8>, u64),
    Fork,
}

/// Few enough fields that they are met again, many enough for several segments; texts of all sorts.
fn field(many: u32) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..many).prop_map(|number| format!("field:{number}").into_bytes()),
        1 => (-50i64..50).prop_map(|number| number.to_string().into_bytes()),
        1 => Just(Vec::new()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..70),
        prop::collection::vec(any::<u8>(), 180..270),
    ]
}

fn step(many: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (field(many), value(), any::<bool>()).prop_map(|(field, value, keep)| Step::Set(field, value, keep)),
        3 => field(many).prop_map(Step::Delete),
        4 => (field(many), prop::option::weighted(0.8, 1u64..100)).prop_map(|(field, at)| Step::SetExpiry(field, at)),
        1 => (1u64..100, 1usize..20).prop_map(|(now, budget)| Step::Expire(now, budget)),
        4 => (field(many), 0u64..100).prop_map(|(field, now)| Step::Read(field, now)),
        1 => Just(Step::Fork),
    ]
}

fn prior(model: &Model, field: &[u8]) -> Option<Prior> {
    model.get(field).map(|(_, expire_at_ms)| Prior { expire_at_ms: *expire_at_ms })
}

fn live<'a>(model: &'a Model, field: &[u8], now_ms: u64) -> Option<&'a [u8]> {
    model.get(field).filter(|(_, at_ms)| is_live(*at_ms, now_ms)).map(|(value, _)| &value[..])
}

fn change(model: &mut Model, step: &Step) -> Option<Prior> {
    match step {
        Step::Set(field, value, keep) => {
            let before = prior(model, field);
            let expiry = before.filter(|_| *keep).and_then(|prior| prior.expire_at_ms);
            model.insert(field.clone(), (value.clone(), expiry));
            before
        }
        Step::Delete(field) => model.remove(field).map(|(_, expire_at_ms)| Prior { expire_at_ms }),
        Step::SetExpiry(field, expiry) => {
            let before = prior(model, field)?;
            model.entry(field.clone()).and_modify(|(_, at_ms)| *at_ms = *expiry);
            Some(before)
        }
        Step::Expire(..) | Step::Read(..) | Step::Fork => None,
    }
}

fn earliest(model: &Model) -> Option<u64> {
    model.values().filter_map(|(_, at_ms)| *at_ms).min()
}

fn ttl(keep: bool) -> Ttl {
    if keep { Ttl::Keep } else { Ttl::Drop }
}

fn compact_model(bytes: &[u8]) -> Model {
    let fields = compact::fields(bytes).map(|field| (field.name.to_vec(), (field.value.to_vec(), field.expire_at_ms)));
    fields.collect()
}

fn full_model(hash: &Hash) -> Model {
    hash.iter().map(|pair| (pair.field().to_vec(), (pair.value().to_vec(), pair.expire_at_ms()))).collect()
}

fn check_full(hash: &Hash, model: &Model) {
    assert_eq!(&full_model(hash), model);
    assert_eq!(hash.earliest_expiry(), earliest(model));
    assert_eq!((hash.len(), hash.expiring_len()), (model.len(), model.values().filter(|(_, at)| at.is_some()).count()));
}

fn check_compact(bytes: &[u8], model: &Model) {
    assert_eq!(&compact_model(bytes), model);
    assert_eq!((compact::len(bytes), compact::fields(bytes).count()), (model.len(), model.len()));
    assert_eq!(compact::earliest_expiry(bytes), earliest(model));
}

fn run_compact(steps: &[Step]) -> (Vec<u8>, Model) {
    let (mut bytes, mut model) = (compact::EMPTY.to_vec(), Model::new());
    for step in steps {
        let expected = change(&mut model, step);
        match step {
            Step::Set(field, value, keep) => assert_eq!(compact::set(&mut bytes, field, value, ttl(*keep)), expected),
            Step::Delete(field) => assert_eq!(compact::delete(&mut bytes, field), expected),
            Step::SetExpiry(field, expiry) => assert_eq!(compact::set_expiry(&mut bytes, field, *expiry), expected),
            Step::Expire(now_ms, _) => {
                let mut gone = Vec::new();
                let count = compact::expire(&mut bytes, *now_ms, |field| gone.push(field.to_vec()));
                let due: Vec<_> =
                    model.extract_if(.., |_, (_, at)| !is_live(*at, *now_ms)).map(|(field, _)| field).collect();
                gone.sort();
                assert_eq!((count, gone), (due.len(), due));
            }
            Step::Read(field, now_ms) => {
                let got = compact::get(&bytes, field, *now_ms).map(Item::to_vec);
                assert_eq!(got.as_deref(), live(&model, field, *now_ms));
                assert_eq!(compact::contains(&bytes, field, *now_ms), got.is_some());
                let any = model.values().any(|(_, at)| is_live(*at, *now_ms));
                for random in [0, u64::MAX / 2, u64::MAX] {
                    let picked = compact::random(&bytes, random, *now_ms);
                    assert_eq!(picked.is_some(), any);
                    assert!(picked.is_none_or(|field| field.is_live(*now_ms)));
                }
            }
            Step::Fork => {}
        }
        check_compact(&bytes, &model);
    }
    (bytes, model)
}

fn expire_full(hash: &mut Hash, model: &mut Model, now_ms: u64, budget: usize) {
    let mut last = 0;
    let mut gone = 0;
    let expired = hash.expire_some(now_ms, budget, |field| {
        let at_ms = model.remove(field).and_then(|(_, at_ms)| at_ms).expect("a field with an expiry");
        assert!(last <= at_ms && at_ms < now_ms);
        last = at_ms;
        gone += 1;
    });
    let more = model.values().any(|(_, at)| !is_live(*at, now_ms));
    assert_eq!(expired, Expired { removed: gone, more });
    assert!(gone <= budget && (gone == budget || !more));
}

fn run_full(mut hash: Hash, mut model: Model, steps: &[Step]) -> Vec<(Hash, Model)> {
    let mut forks: Vec<(Hash, Model)> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let expected = change(&mut model, step);
        match step {
            Step::Set(field, value, keep) => assert_eq!(hash.set(field, value, ttl(*keep)), expected),
            Step::Delete(field) => assert_eq!(hash.delete(field), expected),
            Step::SetExpiry(field, expiry) => assert_eq!(hash.set_expiry(field, *expiry), expected),
            Step::Expire(now_ms, budget) => expire_full(&mut hash, &mut model, *now_ms, *budget),
            Step::Read(field, now_ms) => {
                assert_eq!(hash.get(field, *now_ms), live(&model, field, *now_ms));
                let mut state = at as u64 + 1;
                let picked = hash.random(*now_ms, || {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    state
                });
                assert_eq!(picked.is_some(), model.values().any(|(_, at)| is_live(*at, *now_ms)));
                assert!(picked.is_none_or(|pair| is_live(pair.expire_at_ms(), *now_ms)));
            }
            Step::Fork => {
                // The clone goes on, or the original.
                let mut other = (hash.clone(), model.clone());
                if at % 2 == 0 {
                    std::mem::swap(&mut other.0, &mut hash);
                }
                forks.push(other);
            }
        }
        assert_eq!((hash.len(), hash.earliest_expiry()), (model.len(), earliest(&model)));
    }
    forks.push((hash, model));
    forks
}

#[test]
fn many_fields_in_a_compact_hash() {
    let mut bytes = compact::EMPTY.to_vec();
    for count in 0..300 {
        assert_eq!(compact::len(&bytes), count);
        compact::set(&mut bytes, count.to_string().as_bytes(), b"x", Ttl::Drop);
    }
    compact::set_expiry(&mut bytes, b"7", Some(5));
    assert_eq!(
        (compact::len(&bytes), compact::get(&bytes, b"7", 6), compact::get(&bytes, b"7", 5)),
        (300, None, Some(Item::Str(b"x")))
    );
    for count in (0..300).rev() {
        compact::delete(&mut bytes, count.to_string().as_bytes());
        assert_eq!(compact::len(&bytes), count);
    }
    assert_eq!((compact::earliest_expiry(&bytes), compact::keeps_expiries(&bytes)), (None, true));
}

#[test]
fn a_large_hash() {
    let mut hash = Hash::new();
    for number in 0..20_000u64 {
        let at_ms = (number % 4 == 0).then_some(1 + number % 1000);
        assert!(hash.load(number.to_string().as_bytes(), b"value", at_ms));
    }
    assert!(!hash.load(b"0", b"other", None));
    let frozen = hash.clone();
    let mut seen = 0;
    while hash.expire_some(500, 100, |_| seen += 1).more {}
    assert_eq!((seen, hash.len(), hash.expiring_len()), (2500, 17_500, 2500));

    let (mut cursor, mut walked, mut scanned) = (0, 0, 0);
    loop {
        frozen.scan(cursor, 10, 500, |_| scanned += 1);
        cursor = frozen.walk(cursor, 10, |_| walked += 1);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!((walked, scanned, frozen.len()), (20_000, 17_500, 20_000));

    let mut frozen = frozen;
    let mut calls = 0;
    while frozen.drop_some(500) {
        calls += 1;
        assert!(calls < 1000);
    }
    assert!(calls >= 20 && frozen.is_empty() && frozen.earliest_expiry().is_none());
    assert_eq!(hash.iter().count(), 17_500);
}

#[test]
fn expiries_out_of_bounds() {
    for (wanted, kept) in [(0, 1), (u64::MAX, MOST_EXPIRE_AT_MS)] {
        let mut bytes = compact::EMPTY.to_vec();
        compact::push(&mut bytes, b"field", b"value", Some(wanted));
        let mut hash = Hash::from_compact(&bytes);
        assert_eq!((compact::earliest_expiry(&bytes), hash.earliest_expiry()), (Some(kept), Some(kept)));
        hash.set_expiry(b"field", None);
        hash.set_expiry(b"field", Some(wanted));
        assert_eq!(
            (hash.prior(b"field"), compact::prior(&bytes, b"field")),
            (Some(Prior { expire_at_ms: Some(kept) }), hash.prior(b"field"))
        );
    }
}

/// Hashes that agree are told apart by the expiry and the name.
#[test]
fn expiries_of_the_same_moment() {
    let mut hash = Hash::new();
    (0..1000u32).for_each(|number| assert!(hash.load(&number.to_le_bytes(), b"", Some(10))));
    let mut gone = Vec::new();
    hash.expire_some(11, usize::MAX, |field| gone.push(field.to_vec()));
    gone.sort();
    gone.dedup();
    assert_eq!((gone.len(), hash.len()), (1000, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn compact_as_a_map(steps in prop::collection::vec(step(30), 0..120)) {
        let (bytes, model) = run_compact(&steps);
        check_full(&Hash::from_compact(&bytes), &model);
    }

    #[test]
    fn full_as_a_map(
        before in prop::collection::vec(step(20), 0..30),
        steps in prop::collection::vec(step(400), 0..800),
        budget in 1usize..200,
    ) {
        let (bytes, model) = run_compact(&before);
        let mut forks = run_full(Hash::from_compact(&bytes), model, &steps);
        forks.iter().for_each(|(hash, model)| check_full(hash, model));
        while let Some((mut hash, _)) = forks.pop() {
            while hash.drop_some(budget) {}
            prop_assert!(hash.is_empty());
            forks.iter().for_each(|(hash, model)| check_full(hash, model));
        }
    }
}
