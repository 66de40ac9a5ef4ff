use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::rdb::lzf;

fn restore(payload: &[u8], max_bulk_bytes: u64) -> Result<Value, RestoreError> {
    super::restore(payload, max_bulk_bytes, &Encodings::default())
}

const LIMIT: u64 = 1 << 20;

/// What redis-server 7.0.15 replied to DUMP.
fn recorded() -> Vec<(Vec<u8>, &'static [u8])> {
    vec![
        (b"".to_vec(), b"\x00\x00\x0a\x00]\x9b\x5c@\x0f\x7f\xa2\xda"),
        (b"0".to_vec(), b"\x00\xc0\x00\x0a\x00\x98@\xa7x\xf8P\x03\x08"),
        (b"-129".to_vec(), b"\x00\xc1\x7f\xff\x0a\x00\x17`\x82(T\x80\x84\x80"),
        (b"70000".to_vec(), b"\x00\xc2p\x11\x01\x00\x0a\x00\x01\xa4\x08\xfe\x950\x95\xa5"),
        (b"-2147483649".to_vec(), b"\x00\x0b-2147483649\x0a\x00\xc2a7y\x08\xf2\x02\x8c"),
        (b"9223372036854775807".to_vec(), b"\x00\x139223372036854775807\x0a\x00:e~\x94\x81\xe8_\x22"),
        (b"007".to_vec(), b"\x00\x03007\x0a\x00rX\xe2{Li\xba\xd9"),
        (b"hello".to_vec(), b"\x00\x05hello\x0a\x00cr\xdfve4 \x0a"),
        (vec![b'a'; 20], b"\x00\x14aaaaaaaaaaaaaaaaaaaa\x0a\x00\x83\xb4k^\x1b\x11\xac\xf1"),
        (vec![b'a'; 21], b"\x00\xc3\x06\x15\x01aa\xe0\x0a\x00\x0a\x00\xfd\x0c\xb3h\x07A?h"),
        (vec![b'x'; 300], b"\x00\xc3\x0cA,\x01xx\xe0\xff\x00\xe0\x17\x00\x01xx\x0a\x00\xf03\x19Z\x8bf\x0d\x84"),
        (b"abcab".repeat(30), b"\x00\xc3\x0d@\x96\x05abcaba\xe0\x85\x04\x01ab\x0a\x00\xe0\x9e\x9b\xe7m\xfaQ\xcb"),
        (
            b"the quick brown fox jumps over the quick brown dog; the quick brown fox".to_vec(),
            b"\x00\xc3.@G\x1fthe quick brown fox jumps over t\xe0\x06\x1e\x03dog;\xe0\x08\x14 3\x0a\x00\x05\xa4\x04B\x97Y\xc9\xb6",
        ),
    ]
}

fn value_of(bytes: &[u8]) -> Value {
    match crate::types::numbers::parse_i64(bytes) {
        Some(value) => Value::Int(value),
        None => Value::Str(Bytes::copy_from_slice(bytes)),
    }
}

fn sealed(content: &[u8], version: u16) -> Vec<u8> {
    let mut payload = content.to_vec();
    seal(&mut payload, version);
    payload
}

#[test]
fn payloads_are_those_of_redis() {
    for (bytes, payload) in recorded() {
        let value = value_of(&bytes);
        assert_eq!(dump(&value, Compression::Lzf), payload, "{bytes:?}");
        assert_eq!(dump(&Value::Str(bytes.into()), Compression::Lzf), payload, "as a string");
        assert_eq!(restore(payload, LIMIT), Ok(value));
    }
}

#[test]
fn the_trailer_is_always_checked() {
    let good = dump(&Value::Str("hello".into()), Compression::Lzf);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert_eq!(restore(&bad, LIMIT), Err(RestoreError::BadChecksumOrVersion), "byte {at}");
        assert_eq!(restore(&good[..at], LIMIT), Err(RestoreError::BadChecksumOrVersion), "cut at {at}");
    }
    let mut unsummed = good.clone();
    let len = unsummed.len();
    unsummed[len - CRC_BYTES..].fill(0);
    assert_eq!(restore(&unsummed, LIMIT), Err(RestoreError::BadChecksumOrVersion));
    for version in [0, MAX_READ_VERSION + 1, u16::MAX] {
        assert_eq!(restore(&sealed(b"\x00\x01a", version), LIMIT), Err(RestoreError::BadChecksumOrVersion));
    }
    for version in 1..=MAX_READ_VERSION {
        assert_eq!(restore(&sealed(b"\x00\x01a", version), LIMIT), Ok(Value::Str("a".into())));
    }
}

#[test]
fn other_types_and_malformed_content_are_bad_format() {
    for content in
        [&b""[..], b"\x00", b"\x06\x01\x01a", b"\x12\x01a", b"\x00\x02a", b"\x00\x01ab", b"\x00\xc4\x00", b"\x00\xc0"]
    {
        assert_eq!(restore(&sealed(content, 10), LIMIT), Err(RestoreError::BadFormat), "{content:?}");
    }
    let long = dump(&Value::Str(vec![b'a'; 1000].into()), Compression::Lzf);
    assert_eq!(restore(&long, 999), Err(RestoreError::BadFormat));
    assert!(restore(&long, 1000).is_ok());
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), 0..200usize);
    prop_oneof![
        any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(run, 0..40)
            .prop_map(|runs| runs.into_iter().flat_map(|(byte, len)| vec![byte; len]).collect()),
    ]
}

proptest! {
    #[test]
    fn any_value_comes_back(bytes in any_bytes(), compress: bool) {
        let compression = if compress { Compression::Lzf } else { Compression::None };
        let value = value_of(&bytes);
        prop_assert_eq!(restore(&dump(&value, compression), LIMIT), Ok(value));
    }
}

#[test]
fn fuzz_no_payload_panics_or_yields_more_than_it_can_stand_for() {
    let iterations = std::env::var("BASALT_FUZZ_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(30_000);
    let seeds = recorded();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    for round in 0..iterations {
        let payload = seeds[below(seeds.len())].1;
        let mut content = payload[..payload.len() - VERSION_BYTES - CRC_BYTES].to_vec();
        for _ in 0..=below(4) {
            let at = below(content.len() + 1);
            match below(4) {
                0 if at < content.len() => content[at] = below(256) as u8,
                1 if at < content.len() => drop(content.remove(at)),
                2 => content.truncate(at),
                _ => content.insert(at, [0x80, 0x81, 0xc3, 0xff, 0x00, 0x20, 0xe0][below(7)]),
            }
        }
        let plausible = content.len() * lzf::MAX_EXPANSION as usize;
        if let Ok(Value::Str(bytes)) = restore(&sealed(&content, 10), u64::MAX) {
            assert!(bytes.len() <= plausible, "round {round}: {} bytes from {content:?}", bytes.len());
        }
        // Without the right checksum nothing is even looked at.
        assert_eq!(restore(&content, u64::MAX), Err(RestoreError::BadChecksumOrVersion), "round {round}: {content:?}");
    }
}
