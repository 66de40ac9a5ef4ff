use super::*;
use proptest::prelude::*;

const SPARSE_MAX_BYTES: usize = 3000;

fn filled(elements: impl IntoIterator<Item = u64>, sparse_max_bytes: usize) -> Vec<u8> {
    let mut value = create();
    for element in elements {
        add(&mut value, element.to_string().as_bytes(), sparse_max_bytes).expect("valid");
    }
    invalidate_cache(&mut value);
    value
}

fn registers(value: &[u8]) -> Registers {
    let mut union = Union::default();
    union.add(value).expect("valid");
    *union.registers()
}

/// What redis-server 7.0.15 has after PFADD of the numbers below each limit: the length of the value, its MurmurHash, the estimate.
#[test]
fn bytes_of_redis() {
    for (limit, length, hash, estimate) in GOLDEN {
        let value = filled(0..limit, SPARSE_MAX_BYTES);
        assert_eq!((value.len(), murmur_hash_64a(&value, 0), count(&value)), (length, hash, Ok(estimate)), "{limit}");
    }
}

const GOLDEN: [(u64, usize, u64, u64); 7] = [
    (0, 18, 0xeed3_22a9_c880_4f09, 0),
    (1, 21, 0x5518_2a1f_495a_242c, 1),
    (100, 287, 0xaed3_05d9_6724_e641, 100),
    (1000, 1923, 0x3e98_d553_3343_4e1e, 1001),
    (1600, 2926, 0x7ff6_bbd7_b62b_8969, 1611),
    (2500, 12_304, 0x5bbc_ff04_de14_24ff, 2517),
    (30_000, 12_304, 0x71ac_b562_b51f_aaf1, 29_850),
];

#[test]
fn an_empty_value() {
    let value = create();
    assert_eq!(value, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
    assert_eq!((validate(&value), cached_count(&value), count(&value)), (Ok(Encoding::Sparse), Some(0), Ok(0)));
    assert_eq!(decode(&value).as_deref(), Ok("Z:16384"));
}

#[test]
fn what_is_refused() {
    let dense = |length: usize| [b"HYLL\0".as_slice(), &vec![0; length - 5]].concat();
    for value in [
        b"".to_vec(),
        b"HYLL".to_vec(),
        b"HYLX\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff".to_vec(),
        dense(12_303),
        dense(12_305),
    ] {
        assert_eq!(validate(&value), Err(Error::NotHyperLogLog));
    }
    assert_eq!(validate(&dense(12_304)), Ok(Encoding::Dense));
    let mut two = create();
    two[4] = 2;
    assert_eq!(validate(&two), Err(Error::NotHyperLogLog));
}

#[test]
fn dense_registers_that_no_element_leads_to() {
    let mut value = filled([], 0);
    promote(&mut value).expect("valid");
    value[HEADER_BYTES..].fill(0xff);
    assert_eq!(count(&value), Ok(1 << 63));
}

#[test]
fn the_cache() {
    let mut value = filled(0..100, SPARSE_MAX_BYTES);
    assert_eq!(cached_count(&value), None);
    let estimate = count(&value).expect("valid");
    set_cached_count(&mut value, estimate);
    assert_eq!(cached_count(&value), Some(estimate));
    assert_eq!(promote(&mut value), Ok(true));
    assert_eq!((promote(&mut value), cached_count(&value), count(&value)), (Ok(false), Some(estimate), Ok(estimate)));
    invalidate_cache(&mut value);
    assert_eq!(cached_count(&value), None);
}

#[test]
fn the_estimate_is_near() {
    for limit in [10, 1000, 100_000] {
        let estimate = count(&filled(0..limit, SPARSE_MAX_BYTES)).expect("valid");
        assert!(estimate.abs_diff(limit) * 50 <= limit, "{estimate} of {limit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sparse_and_dense_agree(elements in prop::collection::vec(0u64..5000, 0..600), limit in 20usize..1200) {
        let mut model = [0u8; REGISTERS];
        let (mut mixed, mut dense) = (create(), create());
        promote(&mut dense).expect("valid");
        for element in elements {
            let text = element.to_string();
            let hit = Hit::of(text.as_bytes());
            let changes = model[hit.index] < hit.pattern;
            model[hit.index] = model[hit.index].max(hit.pattern);
            prop_assert_eq!(would_change(&mixed, text.as_bytes()), Ok(changes));
            prop_assert_eq!(add(&mut mixed, text.as_bytes(), limit), Ok(changes));
            prop_assert_eq!(add_in_place(&mut dense, text.as_bytes()), Some(changes));
            prop_assert!(mixed.len() <= limit || validate(&mixed) == Ok(Encoding::Dense));
        }
        prop_assert_eq!(registers(&mixed), model);
        prop_assert_eq!(registers(&dense), model);
        prop_assert_eq!(count(&mixed), count(&dense));
        promote(&mut mixed).expect("valid");
        prop_assert_eq!(&mixed[HEADER_BYTES..], &dense[HEADER_BYTES..]);
    }

    /// A merge ends with the bytes that raising one register after the other from the start gives.
    #[test]
    fn a_merge_is_many_raises(
        a in prop::collection::vec(any::<u64>(), 0..700),
        b in prop::collection::vec(any::<u64>(), 0..700),
        limit in prop_oneof![Just(3000usize), 20usize..1500],
    ) {
        let (mut a, b) = (filled(a, 3000), filled(b, 3000));
        let mut union = Union::default();
        union.add(&a).expect("valid");
        union.add(&b).expect("valid");
        let mut model = a.clone();
        for (index, pattern) in union.registers().iter().copied().enumerate().filter(|(_, pattern)| *pattern > 0) {
            match validate(&model).expect("valid") {
                Encoding::Dense => dense::raise(&mut model[HEADER_BYTES..], Hit { index, pattern }),
                Encoding::Sparse => sparse::raise(&mut model, Hit { index, pattern }, limit, &mut sparse::Trail::default()).expect("valid"),
            };
        }
        union.write_to(&mut a, limit).expect("valid");
        prop_assert_eq!(&a, &model);
        prop_assert_eq!(count(&a), Ok(union.count()));
    }

    #[test]
    fn any_bytes_are_taken(tail in prop::collection::vec(any::<u8>(), 0..300), elements: Vec<u64>, limit in 0usize..600) {
        let mut value = [&create()[..HEADER_BYTES], &tail].concat();
        let _ = (count(&value), decode(&value), Union::default().add(&value));
        for element in elements {
            let text = element.to_string();
            let _ = (would_change(&value, text.as_bytes()), add(&mut value, text.as_bytes(), limit));
        }
        let _ = promote(&mut value);
    }
}
