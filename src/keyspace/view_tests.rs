use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashMap;

use super::super::slot::SLOTS;
use super::super::{Policy, PolicyKind, SHARED_BYTES, Taken, Value};
use super::*;

const DBS: usize = 3;

fn text(string: StrRef<'_>) -> Vec<u8> {
    match string {
        StrRef::Int(number) => number.to_string().into_bytes(),
        StrRef::Inline(text) => text.to_vec(),
        StrRef::Shared(text) => text.to_vec(),
    }
}

fn value_text(value: &Value) -> Vec<u8> {
    match value {
        Value::Int(number) => number.to_string().into_bytes(),
        Value::Str(text) => text.to_vec(),
        Value::Packed(..) | Value::Object(_) => unreachable!("only strings are here"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Expiry),
    Take,
    Copy(usize),
    Put(Vec<u8>, Option<u64>),
    Write(usize, u8),
    Remove,
    Read,
    Peek,
    Expire(Option<u64>),
    ActiveExpire,
    Evict,
    Flush,
    Swap(usize),
    Later(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let long = (SHARED_BYTES - 2..SHARED_BYTES + 2).prop_map(|length| vec![b'l'; length]);
    let value = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..60),
        4 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => long,
    ];
    let expiry = prop_oneof![Just(Expiry::None), Just(Expiry::Keep), (0..300u64).prop_map(Expiry::AtMs)];
    let common = prop_oneof![
        12 => (value.clone(), expiry).prop_map(|(value, expiry)| Step::Set(value, expiry)),
        2 => Just(Step::Take),
        2 => (0..DBS).prop_map(Step::Copy),
        2 => (value, proptest::option::of(0..300u64)).prop_map(|(value, at)| Step::Put(value, at)),
        3 => (0..80usize, any::<u8>()).prop_map(|(length, byte)| Step::Write(length, byte)),
        2 => Just(Step::Remove),
        5 => Just(Step::Read),
        2 => Just(Step::Peek),
        3 => proptest::option::of(0..300u64).prop_map(Step::Expire),
        1 => Just(Step::ActiveExpire),
        1 => Just(Step::Evict),
        1 => (0..DBS).prop_map(Step::Swap),
        2 => (0..3u64).prop_map(Step::Later),
    ];
    prop_oneof![999 => common, 1 => Just(Step::Flush)]
}

type Model = Vec<HashMap<Vec<u8>, (Vec<u8>, Option<u64>)>>;

fn forget_due(model: &mut Model, now_ms: u64) {
    for db in model {
        db.retain(|_, (_, expiry)| !expiry.is_some_and(|at_ms| at_ms < now_ms));
    }
}

/// One step on both; panics where they differ.
fn apply(space: &mut Keyspace, model: &mut Model, db: usize, key: &[u8], step: Step, now_ms: &mut u64) {
    let policy = Policy { kind: PolicyKind::AllKeysLru, ..Policy::default() };
    let stats = space.stats();
    let mut view = space.view(db, *now_ms, &policy);
    let known = model[db].get(key).cloned();
    match step {
        Step::Set(value, expiry) => {
            let new =
                if value.len() % 2 == 0 { NewStr::Copy(&value) } else { NewStr::Take(Bytes::from(value.clone())) };
            view.set_string(key, new, expiry);
            let at_ms = match expiry {
                Expiry::None => None,
                Expiry::Keep => known.and_then(|(_, at_ms)| at_ms),
                Expiry::AtMs(at_ms) => Some(at_ms),
            };
            model[db].insert(key.to_vec(), (value, at_ms));
        }
        Step::Take => {
            let taken = view.take(key);
            assert_eq!(taken.map(|taken| (value_text(&taken.value), taken.expire_at_ms)), model[db].remove(key));
        }
        Step::Copy(to) => {
            let copied = view.copy(key);
            assert_eq!(copied.as_ref().map(|taken| (value_text(&taken.value), taken.expire_at_ms)), known);
            if let (Some(copied), Some(known)) = (copied, known) {
                let encoding = view.meta(key).expect("the key").encoding;
                let mut other = view.in_db(to);
                assert_eq!(other.db(), to);
                other.put(key, copied);
                assert_eq!(other.meta(key).map_or(encoding, |meta| meta.encoding), encoding);
                model[to].insert(key.to_vec(), known);
            }
        }
        Step::Put(value, expire_at_ms) => {
            view.put(key, Taken { value: Value::Str(Bytes::from(value.clone())), raw: false, expire_at_ms });
            model[db].insert(key.to_vec(), (value, expire_at_ms));
        }
        Step::Write(length, byte) => {
            let (mut old, expiry) = known.unwrap_or_default();
            old.resize(length.max(old.len()), 0);
            let bytes = view.string_bytes_mut(key, length).expect("a string");
            if let (Some(first), Some(same)) = (bytes.first_mut(), old.first_mut()) {
                (*first, *same) = (byte, byte);
            }
            assert_eq!(bytes, old);
            model[db].insert(key.to_vec(), (old, expiry));
            assert_eq!(view.meta(key).expect("the key").encoding, "raw");
        }
        Step::Remove => assert_eq!(view.remove(key), model[db].remove(key).is_some()),
        Step::Read => {
            let found = view.string(key).expect("a string").map(text);
            assert_eq!(found, known.as_ref().map(|(value, _)| value.clone()));
            assert_eq!(view.exists(key), known.is_some());
            let (hits, misses) = if known.is_some() { (2, 0) } else { (0, 2) };
            let now = space.stats();
            assert_eq!((now.hits - stats.hits, now.misses - stats.misses), (hits, misses));
        }
        Step::Peek => {
            assert_eq!(view.kind(key).is_some(), known.is_some());
            assert_eq!(view.expire_at_ms(key), known.as_ref().map(|(_, at_ms)| *at_ms));
            assert_eq!(view.meta(key).is_some(), known.is_some());
            assert_eq!(view.string_to_change(key).expect("a string").map(text), known.map(|(value, _)| value));
            let now = space.stats();
            assert_eq!((now.hits, now.misses), (stats.hits, stats.misses));
        }
        Step::Expire(at_ms) => {
            assert_eq!(view.set_expire_at_ms(key, at_ms), known.is_some());
            if let Some((_, expiry)) = model[db].get_mut(key) {
                *expiry = at_ms;
            }
        }
        Step::ActiveExpire => while !space.expire_some(*now_ms, 50).complete {},
        Step::Evict => {
            while !space.expire_some(*now_ms, 50).complete {}
            let evicted = space.evict_one(&policy, *now_ms);
            assert_eq!(evicted.is_none(), model.iter().all(HashMap::is_empty));
            if let Some(evicted) = evicted {
                assert!(model[evicted.db].remove(evicted.key()).is_some());
            }
        }
        Step::Flush => {
            model[db].clear();
            let mut garbage = space.flush(db);
            while garbage.drop_some(10) {}
        }
        Step::Swap(other) => {
            space.swap_db(db, other);
            model.swap(db, other);
        }
        Step::Later(ms) => *now_ms += ms,
    }
    forget_due(model, *now_ms);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn behaves_as_maps(seed: u64, steps in proptest::collection::vec((0..DBS, 0..600u32, step()), 1..2500)) {
        let mut space = Keyspace::new(0..SLOTS, DBS, seed);
        let mut model: Model = vec![HashMap::new(); DBS];
        let mut now_ms = 1;
        for (db, n, step) in steps {
            let key = if n % 3 == 0 { format!("a key that is too long to be remembered {n}") } else { format!("{n}") };
            apply(&mut space, &mut model, db, key.as_bytes(), step, &mut now_ms);
        }
        while !space.expire_some(now_ms, 50).complete {}
        for (db, model) in model.iter().enumerate() {
            space.tables[db].check(&space.hasher);
            let mut found = HashMap::new();
            let end = space.for_each_from(db, 0, usize::MAX, now_ms, |key, value, at_ms| {
                let ValueRef::Str(value) = value else { unreachable!("only strings are here") };
                found.insert(key.to_vec(), (text(value), at_ms));
            });
            prop_assert_eq!(end, super::super::Next::End);
            prop_assert_eq!(&found, model);
            let stats = space.db_stats(db, 0);
            let expiries: Vec<u64> = model.values().filter_map(|(_, at_ms)| *at_ms).collect();
            prop_assert_eq!((stats.keys, stats.expires), (model.len(), expiries.len()));
            prop_assert_eq!(stats.average_ttl_ms, expiries.iter().sum::<u64>().checked_div(expiries.len() as u64).unwrap_or(0));
        }
    }

    #[test]
    fn remembered_words_tell_keys_apart(a in proptest::collection::vec(0..3u8, 0..33), b in proptest::collection::vec(0..3u8, 0..33)) {
        let same = a.len() == b.len() && Recent::words(&a) == Recent::words(&b);
        prop_assert_eq!(same, a == b);
    }

    #[test]
    fn every_byte_is_in_the_words(key in proptest::collection::vec(any::<u8>(), 1..33), at: prop::sample::Index) {
        let mut other = key.clone();
        other[at.index(key.len())] ^= 1;
        prop_assert_ne!(Recent::words(&key), Recent::words(&other));
    }
}

#[test]
fn due_only_once_the_time_has_passed() {
    let mut space = Keyspace::new(0..SLOTS, 1, 1);
    let policy = Policy::default();
    space.view(0, 10, &policy).set_string(b"k", NewStr::Int(1), Expiry::AtMs(20));
    assert!(space.view(0, 20, &policy).exists(b"k"));
    assert!(!space.view(0, 21, &policy).exists(b"k"));
    assert_eq!((space.len(0), space.stats().expired), (0, 1));
}

#[test]
fn a_key_buffer_may_be_reused_within_a_view() {
    let mut space = Keyspace::new(0..SLOTS, 1, 1);
    let policy = Policy::default();
    let mut view = space.view(0, 0, &policy);
    let mut buffer = *b"key:0";
    for digit in b'0'..=b'9' {
        buffer[4] = digit;
        view.hint(&buffer, super::super::slot::slot(&buffer));
        view.set_string(&buffer, NewStr::Int(digit.into()), Expiry::None);
    }
    for digit in b'0'..=b'9' {
        buffer[4] = digit;
        assert!(matches!(view.string(&buffer), Ok(Some(StrRef::Int(number))) if number == i64::from(digit)));
    }
}

#[test]
fn clocks_and_idle_time() {
    let mut space = Keyspace::new(0..SLOTS, 1, 1);
    let lru = Policy { kind: PolicyKind::AllKeysLru, ..Policy::default() };
    let lfu = Policy { kind: PolicyKind::AllKeysLfu, ..Policy::default() };
    let mut view = space.view(0, 100_000, &lru);
    view.set_string(b"k", NewStr::Int(1), Expiry::None);
    view.set_idle_ms(b"k", 30_000);
    assert_eq!(view.meta(b"k").expect("the key").idle_ms, 30_000);
    assert!(view.exists(b"k"));
    assert_eq!(view.meta(b"k").expect("the key").idle_ms, 30_000);
    assert!(view.touch(b"k"));
    assert_eq!(view.meta(b"k").expect("the key").idle_ms, 0);
    assert!(!view.counts_frequency());
    let mut view = space.view(0, 600_000, &lfu);
    view.set_string(b"n", NewStr::Int(1), Expiry::None);
    assert_eq!(view.meta(b"n").expect("the key").frequency, 5);
    view.set_frequency(b"n", 200);
    assert_eq!(view.meta(b"n").expect("the key").frequency, 200);
    let mut later = space.view(0, 600_000 + 3 * 60_000, &lfu);
    assert_eq!(later.meta(b"n").expect("the key").frequency, 197);
}

#[test]
fn random_key_passes_over_the_expired() {
    let mut space = Keyspace::new(0..SLOTS, 1, 1);
    let policy = Policy::default();
    assert_eq!(space.random_key(0, 0), None);
    for n in 0..500 {
        let expiry = if n == 250 { Expiry::None } else { Expiry::AtMs(5) };
        space.view(0, 0, &policy).set_string(format!("{n}").as_bytes(), NewStr::Int(1), expiry);
    }
    assert_eq!(space.random_key(0, 10), Some(&b"250"[..]));
    assert!(space.view(0, 10, &policy).remove(b"250"));
    assert_eq!(space.random_key(0, 10), None);
    assert_eq!(space.len(0), 0);
}

#[test]
fn flushed_data_goes_in_steps() {
    let mut space = Keyspace::new(0..SLOTS, 2, 1);
    let policy = Policy::default();
    for n in 0..10_000 {
        space.view(n % 2, 0, &policy).set_string(format!("{n}").as_bytes(), NewStr::Int(1), Expiry::AtMs(50));
    }
    let mut garbage = space.flush_all();
    assert_eq!((space.len(0), space.len(1), space.db_stats(0, 0)), (0, 0, Default::default()));
    let mut steps = 0;
    while garbage.drop_some(100) {
        steps += 1;
    }
    assert!((45..110).contains(&steps), "{steps}");
    assert!(!garbage.drop_some(100));
}
