use super::layout::MAX_NARROW_VALUE;
use super::*;
use proptest::prelude::*;

const LARGE: usize = SHARED_BYTES;

fn text_of(entry: &Entry) -> Vec<u8> {
    match entry.string() {
        StrRef::Int(number) => number.to_string().into_bytes(),
        StrRef::Inline(text) => text.to_vec(),
        StrRef::Shared(text) => text.to_vec(),
    }
}

#[test]
fn canonical_integers() {
    let yes = ["0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808"];
    for text in yes {
        assert_eq!(parse_canonical(text.as_bytes()), Some(text.parse().expect("a number")), "{text}");
    }
    let no = [
        "",
        "-",
        "-0",
        "00",
        "01",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "9223372036854775808",
        "-9223372036854775809",
        "0x1",
        "--1",
    ];
    for text in no.into_iter().chain(["99999999999999999999", "18446744073709551616", "1e3", "-01"]) {
        assert_eq!(parse_canonical(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn encodings_are_those_of_redis() {
    let of = |value: NewStr<'_>| Entry::new(1, b"key", value, None, 0).encoding();
    assert_eq!(of(NewStr::Copy(b"123")), "int");
    assert_eq!(of(NewStr::Take(Bytes::from_static(b"-5"))), "int");
    assert_eq!(of(NewStr::Copy(b"0123")), "embstr");
    assert_eq!(of(NewStr::Copy(&[b'x'; 44])), "embstr");
    assert_eq!(of(NewStr::Copy(&[b'x'; 45])), "raw");
    assert_eq!(of(NewStr::Copy(&[b'x'; LARGE])), "raw");
    let mut entry = Entry::new(1, b"key", NewStr::Copy(b"abc"), None, 0);
    entry.bytes_mut(2)[0] = b'x';
    assert_eq!((entry.encoding(), text_of(&entry)), ("raw", b"xbc".to_vec()));
    entry.assign(NewStr::Copy(b"abc"), None);
    assert_eq!(entry.encoding(), "embstr");
    let mut entry = Entry::new(1, b"key", NewStr::Int(12), None, 0);
    entry.bytes_mut(0);
    assert_eq!((entry.encoding(), text_of(&entry)), ("raw", b"12".to_vec()));
}

#[test]
fn twenty_and_sixty_four_take_one_block_of_96() {
    let entry = Entry::new(1, &[b'k'; 20], NewStr::Copy(&[b'v'; 64]), None, 0);
    assert_eq!(entry.heap_bytes(), 96);
    assert_eq!(size_of::<Option<Entry>>(), 8);
}

#[test]
fn a_value_of_the_same_class_stays_in_place() {
    let mut entry = Entry::new(1, &[b'k'; 20], NewStr::Copy(&[b'v'; 64]), None, 0);
    let at = entry.key().as_ptr();
    for length in [64, 60, 58, 64] {
        entry.assign(NewStr::Copy(&vec![b'w'; length]), None);
        assert_eq!(entry.key().as_ptr(), at);
    }
}

#[test]
fn large_values_are_shared_and_unshared() {
    let text = Bytes::from(vec![b'a'; LARGE]);
    let mut entry = Entry::new(1, b"key", NewStr::Take(text.clone()), Some(5), 0);
    let StrRef::Shared(shared) = entry.string() else { panic!("not shared") };
    assert_eq!(shared.as_ptr(), text.as_ptr());
    entry.bytes_mut(0)[0] = b'b';
    assert_eq!((text[0], text_of(&entry)[0]), (b'a', b'b'));
    // Nobody shares it now: it becomes shareable and writable again where it is.
    let at = entry.bytes_mut(0).as_ptr();
    entry.share();
    assert!(matches!(entry.string(), StrRef::Shared(shared) if shared.as_ptr() == at));
    assert_eq!(entry.bytes_mut(0).as_ptr(), at);
}

#[test]
fn growth_is_amortised() {
    let mut entry = Entry::new(1, b"key", NewStr::Copy(b""), None, 0);
    let mut moves = 0;
    let mut at = std::ptr::null();
    for length in 1..100_000 {
        let now = entry.bytes_mut(length).as_ptr();
        moves += usize::from(now != at);
        at = now;
        if length % 1000 == 0 {
            entry.share();
        }
    }
    assert!(moves < 60, "{moves}");
    assert!(text_of(&entry).iter().all(|byte| *byte == 0));
}

#[derive(Clone, Debug)]
enum Step {
    Copy(Vec<u8>, Option<u64>),
    Take(usize, Option<u64>),
    Int(i64, Option<u64>),
    Expire(Option<u64>),
    Write(usize, u8),
    Share,
    Hold,
    Clock(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![0..100usize, LARGE - 20..LARGE + 20];
    let step = prop_oneof![
        (proptest::collection::vec(any::<u8>(), 0..120), any::<Option<u64>>())
            .prop_map(|(text, at)| Step::Copy(text, at)),
        (length.clone(), any::<Option<u64>>()).prop_map(|(length, at)| Step::Take(length, at)),
        (any::<i64>(), any::<Option<u64>>()).prop_map(|(number, at)| Step::Int(number, at)),
        any::<Option<u64>>().prop_map(Step::Expire),
        (length, any::<u8>()).prop_map(|(length, byte)| Step::Write(length, byte)),
        Just(Step::Share),
        Just(Step::Hold),
        (0..1u32 << 24).prop_map(Step::Clock),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Of a length with a narrow header, or with a wide one.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![0..40usize, 250..260usize].prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length))
}

/// A packed value may be larger than a narrow header can say, and smaller again.
#[test]
fn a_value_outgrows_its_header() {
    let of = |length: usize| vec![b'p'; length];
    for key in [&[b'k'; 3][..], &[b'k'; 254], &[b'k'; 255]] {
        for expiry in [None, Some(77)] {
            let mut entry = Entry::new(9, key, NewStr::Int(5), expiry, 3);
            entry.set_mark(2);
            for length in [10, MAX_NARROW_VALUE, MAX_NARROW_VALUE + 1, 10, MAX_NARROW_VALUE + 2] {
                let packed = of(length);
                entry.assign_collection(NewCollection::Packed(Kind::Hash, &packed), expiry);
                assert!(matches!(entry.value(), ValueRef::Packed(Kind::Hash, bytes) if bytes == packed));
                assert_eq!((entry.key(), entry.expire_at_ms(), entry.clock(), entry.mark()), (key, expiry, 3, 2));
                entry.set_expire_at_ms(Some(88));
                assert_eq!((entry.key(), entry.expire_at_ms(), entry.tag()), (key, Some(88), 9));
                entry.set_expire_at_ms(expiry);
            }
            entry.assign(NewStr::Copy(b"text"), expiry);
            assert_eq!((entry.key(), text_of(&entry), entry.expire_at_ms()), (key, b"text".to_vec(), expiry));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 5 } else { 300 }))]

    #[test]
    fn behaves_as_a_plain_string(key in key(), tag in 0..1u16 << 14, steps in steps()) {
        let mut entry = Entry::new(tag, &key, NewStr::Copy(b""), None, 0);
        let (mut text, mut expiry, mut clock) = (Vec::new(), None, 0);
        let mut held: Vec<(Value, Vec<u8>)> = Vec::new();
        for step in steps {
            match step {
                Step::Copy(new, at) => {
                    entry.assign(NewStr::Copy(&new), at);
                    (text, expiry) = (new, at);
                }
                Step::Take(length, at) => {
                    text = vec![b'z'; length];
                    entry.assign(NewStr::Take(Bytes::from(text.clone())), at);
                    expiry = at;
                }
                Step::Int(number, at) => {
                    entry.assign(NewStr::Int(number), at);
                    (text, expiry) = (number.to_string().into_bytes(), at);
                }
                Step::Expire(at) => {
                    entry.set_expire_at_ms(at);
                    expiry = at;
                }
                Step::Write(length, byte) => {
                    let long = length.max(text.len());
                    text.resize(long, 0);
                    let bytes = entry.bytes_mut(length);
                    prop_assert_eq!(bytes.len(), long);
                    if let (Some(last), Some(same)) = (bytes.last_mut(), text.last_mut()) {
                        (*last, *same) = (byte, byte);
                    }
                }
                Step::Share => entry.share(),
                Step::Hold => held.push((entry.shared_value(), text.clone())),
                Step::Clock(new) => {
                    entry.set_clock(new);
                    clock = new;
                }
            }
            prop_assert_eq!(text_of(&entry), &text[..]);
            prop_assert_eq!((entry.key(), entry.tag(), entry.expire_at_ms(), entry.clock()), (&key[..], tag, expiry, clock));
            prop_assert!(entry.heap_bytes() >= key.len() + 8);
        }
        // What was handed out is not changed by what came later.
        for (value, text) in held {
            match value {
                Value::Int(number) => prop_assert_eq!(number.to_string().into_bytes(), text),
                Value::Str(bytes) => prop_assert_eq!(&bytes[..], &text[..]),
                Value::Packed(..) | Value::Object(_) => unreachable!("only strings are put"),
            }
        }
        match entry.into_value() {
            Value::Int(number) => prop_assert_eq!(number.to_string().into_bytes(), text),
            Value::Str(bytes) => prop_assert_eq!(&bytes[..], &text[..]),
            Value::Packed(..) | Value::Object(_) => unreachable!("only strings are put"),
        }
    }
}
