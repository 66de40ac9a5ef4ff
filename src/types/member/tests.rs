//! Elements of every length class, changed, shared between threads and copied.

use super::*;
use proptest::prelude::*;

const LENGTHS: [usize; 12] = [0, 1, 5, 14, 63, 64, 127, 128, 200, 16_383, 16_384, 3_000_000];

fn text(length: usize, salt: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31) ^ salt).collect()
}

#[test]
fn every_length() {
    for length in LENGTHS {
        let name = text(length, 7);
        let mut member = Member::new(&name);
        member.set_tag(0xfedc);
        let clone = member.clone();
        assert_eq!((member.name(), clone.name(), clone.tag()), (&*name, &*name, 0xfedc));
        assert_eq!(member.heap_bytes(), good_size(HEAD_BYTES + with_length(length)));
        drop(member);
        assert_eq!(clone.0.copy().name_of_copy(), name);
    }
}

impl Block<MemberShape> {
    fn name_of_copy(self) -> Vec<u8> {
        assert_eq!(self.tag(), 0xfedc);
        Member(self).name().to_vec()
    }
}

#[test]
fn handles_are_small() {
    assert_eq!((size_of::<Member>(), size_of::<Option<Pair>>()), (8, 8));
    assert_eq!(Member::new(&[b'x'; 14]).heap_bytes(), 16);
    assert_eq!(Pair::new(b"field", b"value", None).heap_bytes(), 16);
}

#[test]
fn values_stay_in_place_within_a_class() {
    let mut pair = Pair::new(b"field", b"12345678", None);
    let block = pair.0.block();
    pair.set(b"1", None);
    assert_eq!((pair.0.block(), pair.value()), (block, &b"1"[..]));
    let clone = pair.clone();
    pair.set(b"2", None);
    assert_ne!(pair.0.block(), block);
    assert_eq!((pair.value(), clone.value(), clone.field()), (&b"2"[..], &b"1"[..], &b"field"[..]));
}

#[test]
fn owners_on_several_cores() {
    let pair = Pair::new(b"field", &text(100, 3), Some(5));
    std::thread::scope(|scope| {
        for salt in 0..4 {
            let mut mine = pair.clone();
            scope.spawn(move || {
                for round in 0..2000u64 {
                    let clones: Vec<_> = (0..round % 50).map(|_| mine.clone()).collect();
                    assert!(clones.iter().all(|clone| clone.value().len() == 100 && clone.field() == b"field"));
                    drop(clones);
                    if round % 500 == 499 {
                        mine.set(&text(100, salt), Some(round));
                    }
                }
            });
        }
    });
    assert_eq!((pair.value(), pair.expire_at_ms()), (&*text(100, 3), Some(5)));
    let mut pair = pair;
    assert!(pair.0.is_alone());
}

proptest! {
    #[test]
    fn pairs_change(
        field in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((0..300usize, any::<Option<u64>>(), any::<u8>()), 1..40),
    ) {
        let mut pair = Pair::new(&field, b"", None);
        pair.set_tag(0x8001);
        let mut model = (Vec::new(), None);
        let mut kept = Vec::new();
        for (length, expire_at_ms, choice) in changes {
            match choice % 4 {
                0 => pair.set_expire_at_ms(expire_at_ms),
                _ => {
                    model.0 = text(length, choice);
                    pair.set(&model.0, expire_at_ms);
                }
            }
            model.1 = expire_at_ms;
            if choice % 5 == 0 {
                kept.push((pair.clone(), model.clone()));
            }
            prop_assert_eq!((pair.field(), pair.value(), pair.expire_at_ms(), pair.tag()), (&*field, &*model.0, model.1, 0x8001));
            prop_assert_eq!(pair.heap_bytes(), good_size(pair_size(field.len(), model.0.len(), model.1)));
        }
        for (pair, (value, expire_at_ms)) in kept {
            prop_assert_eq!((pair.field(), pair.value(), pair.expire_at_ms()), (&*field, &*value, expire_at_ms));
        }
    }
}
