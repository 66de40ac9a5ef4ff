use super::*;
use crate::keyspace::ValueRef;
use crate::rdb::value;
use proptest::prelude::*;

const MAX_BYTES: u64 = 1 << 20;

/// Field, value and expiry of each, in the order in which they stand.
type Fields = Vec<(Vec<u8>, Vec<u8>, Option<u64>)>;

fn fields_of(value: ValueRef<'_>) -> Fields {
    match value {
        ValueRef::Packed(Kind::Hash, bytes) => compact::fields(bytes)
            .map(|field| (field.name.to_vec(), field.value.to_vec(), field.expire_at_ms))
            .collect(),
        ValueRef::Object(Object::Hash(hash)) => {
            hash.iter().map(|pair| (pair.field().to_vec(), pair.value().to_vec(), pair.expire_at_ms())).collect()
        }
        _ => panic!("no hash"),
    }
}

fn decode(kind: u8, mut bytes: &[u8]) -> Result<Value, Reason> {
    let mut rest = bytes;
    let skipped = skip(kind, &mut rest, MAX_BYTES);
    let value = read(kind, &mut bytes, MAX_BYTES, &Encodings::default())?;
    assert_eq!((skipped, rest), (Ok(()), bytes));
    Ok(value)
}

fn texts(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec(), None)).collect()
}

fn compact_of(fields: &Fields) -> Vec<u8> {
    let mut bytes = compact::EMPTY.to_vec();
    fields.iter().for_each(|(field, value, at_ms)| compact::push(&mut bytes, field, value, *at_ms));
    bytes
}

/// As Redis 2.4, 2.6 and 7.0 write `{a: 1, b: xy}`.
#[test]
fn every_form_without_expiries() {
    let expected = texts(&[("a", "1"), ("b", "xy")]);
    let zipmap = b"\x0d\x02\x01a\x01\x001\x01b\x02\x00xy\xff";
    let ziplist = b"\x17\x17\0\0\0\x12\0\0\0\x04\0\0\x01a\x03\xf2\x02\x01b\x03\x02xy\xff";
    let listpack = b"\x13\x13\0\0\0\x04\0\x81a\x02\x01\x01\x81b\x02\x82xy\x03\xff";
    let plain = b"\x02\x01a\xc0\x01\x01b\x02xy";
    for (kind, bytes) in [(ZIPMAP, &zipmap[..]), (ZIPLIST, ziplist), (LISTPACK, listpack), (PLAIN, plain)] {
        let value = decode(kind, bytes).unwrap_or_else(|reason| panic!("type {kind}: {reason:?}"));
        assert!(matches!(value, Value::Packed(..)));
        assert_eq!(fields_of(value.as_ref()), expected, "type {kind}");
        for cut in 0..bytes.len() {
            assert!(decode_cut(kind, &bytes[..cut]).is_err(), "type {kind} cut to {cut}");
        }
    }
    let mut out = Vec::new();
    write_packed(&mut out, &compact_of(&expected), Compression::None);
    assert_eq!(out, listpack);
}

fn decode_cut(kind: u8, mut bytes: &[u8]) -> Result<Value, Reason> {
    read(kind, &mut bytes, MAX_BYTES, &Encodings::default())
}

#[test]
fn every_form_with_expiries() {
    let mut expected = texts(&[("a", "1"), ("b", "2")]);
    expected[1].2 = Some(258);
    let with_earliest = |bytes: &[u8]| [&258u64.to_le_bytes()[..], bytes].concat();
    let listpack = b"\x16\x16\0\0\0\x06\0\x81a\x02\x01\x01\x00\x01\x81b\x02\x02\x01\xc1\x02\x02\xff";
    let plain = b"\x02\x00\x01a\xc0\x01\x01\x01b\xc0\x02";
    let plain_early = b"\x02\x00\x01a\xc0\x01\x41\x02\x01b\xc0\x02";
    for (kind, bytes) in [
        (EXPIRING, with_earliest(plain)),
        (EXPIRING_EARLY, plain_early.to_vec()),
        (EXPIRING_LISTPACK, with_earliest(listpack)),
        (EXPIRING_LISTPACK_EARLY, listpack.to_vec()),
    ] {
        let value = decode(kind, &bytes).unwrap_or_else(|reason| panic!("type {kind}: {reason:?}"));
        assert_eq!(fields_of(value.as_ref()), expected, "type {kind}");
    }
    // Those with an expiry go first.
    let bytes = compact_of(&expected);
    assert_eq!(type_of_packed(&bytes), EXPIRING_LISTPACK);
    let mut out = Vec::new();
    write_packed(&mut out, &bytes, Compression::None);
    expected.swap(0, 1);
    assert_eq!(fields_of(decode(EXPIRING_LISTPACK, &out).expect("sound").as_ref()), expected);
}

#[test]
fn damaged_hashes_are_refused() {
    assert_eq!(decode_cut(PLAIN, b"\x00").err(), Some(Reason::Empty));
    assert_eq!(decode_cut(PLAIN, b"\x02\x01a\x01b\x01a\x01c").err(), Some(Reason::DuplicateElement));
    let dense = decode_cut(PLAIN, b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a");
    assert!(matches!(dense, Err(Reason::Incomplete { .. })));
    for (kind, bytes, reason) in [
        // An odd number of elements.
        (LISTPACK, &b"\x0a\x0a\0\0\0\x01\0\x81a\x02\xff"[..], Reason::Packed),
        (LISTPACK, b"\x07\x07\0\0\0\0\0\xff", Reason::Empty),
        // An expiry that is none.
        (EXPIRING_LISTPACK_EARLY, b"\x0f\x0f\0\0\0\x03\0\x81a\x02\x01\x01\x81b\x02\xff", Reason::Packed),
        (EXPIRING_EARLY, b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x01b", Reason::Packed),
        (EXPIRING, b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01a\x01b", Reason::Packed),
        (99, b"", Reason::Type(99)),
    ] {
        assert_eq!(decode_cut(kind, bytes).err(), Some(reason), "type {kind}: {}", bytes.escape_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_hash_comes_back(
        fields in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..80), ("[0-9]{1,3}|[a-c]{0,90}", prop::option::of(1u64..1 << 46)), 1..60),
        full: bool,
    ) {
        let fields: Fields = fields.into_iter().map(|(field, (value, at_ms))| (field, value.into_bytes(), at_ms)).collect();
        let bytes = compact_of(&fields);
        let object = Object::Hash(Hash::from_compact(&bytes));
        let value = if full { ValueRef::Object(&object) } else { ValueRef::Packed(Kind::Hash, &bytes) };
        let mut out = Vec::new();
        value::write(&mut out, value, Compression::Lzf);
        let back = decode(value::type_of(value), &out).expect("sound");
        let mut found = fields_of(back.as_ref());
        found.sort();
        prop_assert_eq!(found, fields);
    }

    #[test]
    fn any_bytes_are_understood_or_refused(kind in prop::sample::select(vec![4u8, 9, 13, 16, 22, 23, 24, 25]), bytes: Vec<u8>) {
        let _ = skip(kind, &mut &bytes[..], MAX_BYTES);
        let _ = read(kind, &mut &bytes[..], MAX_BYTES, &Encodings::default());
    }
}
