//! Sets of every form against one of the standard library, and the limits between the forms as Redis 7.2 has them.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SMALL: Limits = Limits { intset_entries: 12, listpack_entries: 8, listpack_value: 6 };

fn texts(set: SetRef<'_>) -> Vec<Vec<u8>> {
    set.iter().map(Item::to_vec).collect()
}

fn draft(members: &[&str], limits: &Limits) -> Draft {
    let first = members.first().map_or(&b""[..], |first| first.as_bytes());
    let mut draft = Draft::for_members_in(Vec::new(), first, members.len(), limits);
    for member in members {
        draft.add(member.as_bytes(), limits);
    }
    draft
}

fn encoding(members: &[&str], limits: &Limits) -> &'static str {
    draft(members, limits).as_ref().encoding()
}

#[test]
fn encodings_are_those_of_redis() {
    let limits = Limits::default();
    assert_eq!(encoding(&["1", "2"], &limits), "intset");
    assert_eq!(encoding(&["1", "a"], &limits), "listpack");
    assert_eq!(encoding(&["a", "1"], &limits), "listpack");
    assert_eq!(encoding(&["01"], &limits), "listpack");
    assert_eq!(encoding(&[&"x".repeat(64)], &limits), "listpack");
    assert_eq!(encoding(&[&"x".repeat(65)], &limits), "hashtable");
    assert_eq!(encoding(&["1", &"x".repeat(65)], &limits), "hashtable");
}

fn numbers(count: usize) -> Draft {
    let limits = Limits::default();
    let mut draft = Draft::for_members_in(Vec::new(), b"0", 1, &limits);
    (0..count).for_each(|n| assert!(draft.add(n.to_string().as_bytes(), &limits)));
    draft
}

#[test]
fn limits_are_met_exactly() {
    let limits = Limits::default();
    assert_eq!(numbers(512).as_ref().encoding(), "intset");
    assert_eq!(numbers(513).as_ref().encoding(), "hashtable");
    for (count, then) in [(127, "listpack"), (128, "hashtable")] {
        let mut draft = numbers(count);
        assert!(draft.add(b"text", &limits));
        assert_eq!(draft.as_ref().encoding(), then);
        assert_eq!(draft.as_ref().len(), count + 1);
    }
    let mut draft = Draft::for_members_in(Vec::new(), b"a", 1, &limits);
    for n in 0..128 {
        draft.add(format!("a{n}").as_bytes(), &limits);
    }
    assert_eq!(draft.as_ref().encoding(), "listpack");
    assert!(!draft.add(b"a5", &limits));
    assert_eq!(draft.as_ref().encoding(), "listpack");
    draft.add(b"b", &limits);
    assert_eq!(draft.as_ref().encoding(), "hashtable");
    draft.remove(b"b");
    assert_eq!(draft.as_ref().encoding(), "hashtable", "for good");
}

#[test]
fn announced_counts_convert_at_once() {
    let limits = Limits::default();
    for (first, count, form) in [
        ("1", 512, "intset"),
        ("1", 513, "hashtable"),
        ("a", 128, "listpack"),
        ("a", 129, "hashtable"),
        ("1", 129, "intset"),
    ] {
        assert_eq!(Draft::for_members_in(Vec::new(), first.as_bytes(), count, &limits).as_ref().encoding(), form);
        let mut known = draft(&[first], &limits);
        known.expect(count, &limits);
        assert_eq!(known.as_ref().encoding(), form);
        assert_eq!(texts(known.as_ref()), [first.as_bytes()]);
    }
}

#[test]
fn integers_of_every_width() {
    let limits = Limits::default();
    let mut numbers = vec![0, 1, -1, 32_767, -32_768];
    let mut set = compact::intset();
    for (width, more) in
        [(2, vec![]), (4, vec![32_768, -32_769, i32::MAX.into()]), (8, vec![1 << 31, i64::MIN, i64::MAX])]
    {
        numbers.extend(more);
        for number in &numbers {
            compact::add(&mut set, Item::Int(*number), &limits);
        }
        numbers.sort_unstable();
        assert_eq!(
            compact::members(&set).collect::<Vec<_>>(),
            numbers.iter().map(|n| Item::Int(*n)).collect::<Vec<_>>()
        );
        assert_eq!((set.len(), compact::len(&set)), (1 + width * numbers.len(), numbers.len()));
        for number in &numbers {
            assert!(compact::contains(&set, Item::Int(*number)));
            assert_eq!(compact::add(&mut set, Item::Int(*number), &limits), Add::Present);
        }
        assert!(!compact::contains(&set, Item::Int(17)) && !compact::contains(&set, Item::Str(b"x")));
    }
}

#[test]
fn lists_of_integers_become_sorted() {
    let mut set = compact::list();
    for number in [5, -70_000, 3] {
        compact::add(&mut set, Item::Int(number), &Limits::default());
    }
    let mut mixed = set.clone();
    compact::add(&mut mixed, Item::Str(b"x"), &Limits::default());
    let before = mixed.clone();
    compact::to_integers(&mut set, &Limits::default());
    compact::to_integers(&mut mixed, &Limits::default());
    assert_eq!(mixed, before);
    assert_eq!(compact::encoding(&set), "intset");
    assert_eq!(compact::members(&set).collect::<Vec<_>>(), [Item::Int(-70_000), Item::Int(3), Item::Int(5)]);
}

fn members() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (-20..20i64).prop_map(|n| n.to_string().into_bytes()),
        (0..64u32, any::<bool>())
            .prop_map(|(shift, odd)| ((1i64 << shift).wrapping_sub(odd.into()) / 3).to_string().into_bytes()),
        (0..30u8).prop_map(|n| vec![b'a' + n % 5; usize::from(n / 4)]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn behaves_as_a_set(
        integers_only in any::<bool>(),
        steps in proptest::collection::vec((members(), 0..6u8, any::<u64>()), 1..120),
    ) {
        let mut draft = Draft::integers();
        let mut model = BTreeSet::new();
        for (member, step, random) in steps {
            if integers_only && matches!(Item::of(&member), Item::Str(_)) {
                continue;
            }
            match step {
                0..=2 => prop_assert_eq!(draft.add(&member, &SMALL), model.insert(member.clone())),
                3 => prop_assert_eq!(draft.remove(&member), model.remove(&member)),
                4 => prop_assert_eq!(draft.as_ref().contains(&member), model.contains(&member)),
                _ => {
                    let picked = draft.as_ref().random(|| random).map(Item::to_vec);
                    prop_assert_eq!(picked.is_none(), model.is_empty());
                    if let Some(picked) = picked {
                        prop_assert!(model.remove(&picked));
                        take(&mut draft, &picked, random);
                    }
                }
            }
            let set = draft.as_ref();
            let mut all = texts(set);
            all.sort_unstable();
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(all, model.iter().cloned().collect::<Vec<_>>());
            prop_assert!(set.iter().all(|member| set.contains_item(member)));
        }
    }
}

/// Takes a picked member out: from a compact set by its index.
fn take(draft: &mut Draft, picked: &[u8], random: u64) {
    match draft {
        Draft::Full(set) => assert!(set.remove(picked)),
        Draft::Compact(set) => {
            let index = ((u128::from(random) * compact::len(set) as u128) >> 64) as usize;
            assert_eq!(compact::nth(set, index).map(Item::to_vec).as_deref(), Some(picked));
            assert!(compact::remove_nth(set, index));
        }
    }
}
