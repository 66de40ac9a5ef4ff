use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::keyspace::StrRef;
use crate::keyspace::Value;
use crate::rdb::crc::crc64;
use crate::rdb::{Access, Compression, Header, StreamPosition, StreamWriter, write_record};
use crate::types::Encodings;
use crate::types::numbers::parse_i64;

const LIMIT: u64 = 1 << 20;

/// A key as a test means it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    db: u64,
    key: Vec<u8>,
    value: Value,
    expire_at_ms: Option<u64>,
    access: Access,
}

impl Known {
    pub(crate) fn plain(db: u64, key: &[u8], value: &[u8]) -> Known {
        let (key, value) = (key.to_vec(), Value::Str(Bytes::copy_from_slice(value)));
        Known { db, key, value, expire_at_ms: None, access: Access::Unknown }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, compression: Compression) {
        let value = self.value.as_ref();
        write_record(out, &self.key, value, self.expire_at_ms, self.access, compression);
    }

    pub(crate) fn of(db: u64, record: &Record<'_>) -> Result<Known, Reason> {
        let value = record.decode(LIMIT, &Encodings::default())?;
        let key = record.key.to_vec();
        Ok(Known { db, key, value, expire_at_ms: record.expire_at_ms, access: record.access })
    }
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), 1..60usize);
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        any::<i16>().prop_map(|number| number.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..80),
        prop::collection::vec(run, 0..20)
            .prop_map(|runs| runs.into_iter().flat_map(|(byte, len)| vec![byte; len]).collect()),
    ]
}

pub(crate) fn any_known(dbs: u64) -> impl Strategy<Value = Known> {
    let access = prop_oneof![
        Just(Access::Unknown),
        (0..1u64 << 40).prop_map(Access::IdleSeconds),
        any::<u8>().prop_map(Access::Frequency)
    ];
    (0..dbs, any_text(), any_text(), prop::option::of(0..i64::MAX as u64), access).prop_map(
        |(db, key, text, expire_at_ms, access)| {
            let value = parse_i64(&text).map_or(Value::Str(text.into()), Value::Int);
            Known { db, key, value, expire_at_ms, access }
        },
    )
}

/// The stream that has these keys, each in a chunk of its own.
fn stream_of(keys: &[Known], compression: Compression, checksum: bool) -> Vec<u8> {
    let mut writer = StreamWriter::new(checksum);
    let position = StreamPosition { db: 0, replication_id: "0123456789abcdef0123456789abcdef01234567", offset: 77 };
    let mut stream = writer.header(&Header {
        redis_version: "7.2.4",
        created_s: 1_700_000_000,
        used_memory_bytes: 1_000_000,
        position: Some(position),
        sizes: &[(keys.len() as u64, 0), (70_000, 3)],
    });
    for known in keys {
        let mut record = Vec::new();
        known.write(&mut record, compression);
        stream.extend(writer.chunk(known.db as u16, &record));
        stream.extend(record);
    }
    stream.extend(writer.finish());
    stream
}

/// What a reader gives out of a stream that comes in the pieces that `cut` makes: keys, other items, and what is left over.
struct Outcome {
    keys: Vec<Known>,
    others: Vec<String>,
    left: usize,
    result: Result<(), Error>,
}

fn read_in(stream: &[u8], max: u64, mut piece: impl FnMut() -> usize) -> Outcome {
    let mut reader = Reader::new(max, true);
    let mut outcome = Outcome { keys: vec![], others: vec![], left: 0, result: Ok(()) };
    let (mut at, mut db) = (0, 0);
    while at < stream.len() {
        let end = (at + piece()).min(stream.len());
        let mut input = &stream[at..end];
        loop {
            match reader.next(&mut input) {
                Ok(Some(Item::Record { record, .. })) => match Known::of(db, &record) {
                    Ok(known) => outcome.keys.push(known),
                    Err(reason) => outcome.result = outcome.result.and(Err(Error { offset: 0, reason })),
                },
                Ok(Some(Item::SelectDb(number))) => db = number,
                Ok(Some(other)) => outcome.others.push(format!("{other:?}")),
                Ok(None) => break,
                Err(error) => {
                    outcome.result = outcome.result.and(Err(error));
                    return outcome;
                }
            }
        }
        assert!(reader.held.len() <= stream.len(), "more is held than has come");
        assert!(reader.held.capacity() <= 2 * stream.len() + 64, "room for more than has come");
        at = end - input.len();
        if reader.has_ended() {
            outcome.left = stream.len() - at;
            break;
        }
        assert_eq!(input.len(), 0, "input is left before the end");
        assert_eq!(reader.offset(), at as u64);
    }
    loop {
        match reader.drain() {
            Ok(Some(Item::Record { record, .. })) => match Known::of(db, &record) {
                Ok(known) => outcome.keys.push(known),
                Err(reason) => outcome.result = outcome.result.and(Err(Error { offset: 0, reason })),
            },
            Ok(Some(other)) => outcome.others.push(format!("{other:?}")),
            Ok(None) => break,
            Err(error) => {
                outcome.result = outcome.result.and(Err(error));
                return outcome;
            }
        }
    }
    outcome.result = outcome.result.and(reader.finish());
    outcome
}

fn read_whole(stream: &[u8]) -> Outcome {
    read_in(stream, LIMIT, || usize::MAX / 2)
}

fn text(bytes: &'static [u8]) -> Value {
    Value::Str(Bytes::from_static(bytes))
}

/// Keys of every encoding, in three databases.
fn some_keys() -> Vec<Known> {
    let known =
        |db, key: &[u8], value, expire_at_ms, access| Known { db, key: key.to_vec(), value, expire_at_ms, access };
    vec![
        known(0, b"key", text(b"value"), None, Access::Unknown),
        known(0, b"12345", Value::Int(-7), Some(1_700_000_000_123), Access::Unknown),
        known(0, b"-70000", Value::Int(i64::MIN), None, Access::IdleSeconds(100_000)),
        known(9, &[b'k'; 40], text(&[b'v'; 70]), Some(1), Access::Frequency(255)),
        known(1, b"", text(b""), None, Access::Unknown),
        known(1, b"long", Value::Str(vec![7; 300].into()), None, Access::Unknown),
    ]
}

#[test]
fn a_stream_has_the_bytes_of_redis_s() {
    let keys = [some_keys().remove(0)];
    let stream = stream_of(&keys, Compression::Lzf, true);
    let expected = b"REDIS0010\xfa\x09redis-ver\x057.2.4\xfa\x0aredis-bits\xc0\x40\xfa\x05ctime\xc2\x00\xf1\x53\x65\
        \xfa\x08used-mem\xc2\x40\x42\x0f\x00\xfa\x0erepl-stream-db\xc0\x00\
        \xfa\x07repl-id\x280123456789abcdef0123456789abcdef01234567\xfa\x0brepl-offset\xc0\x4d\xfa\x08aof-base\xc0\x00\
        \xfe\x00\xfb\x01\x00\x00\x03key\x05value\xff";
    let (body, sum) = stream.split_last_chunk().unwrap();
    assert_eq!(body.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(u64::from_le_bytes(*sum), crc64(expected));
    let unsummed = stream_of(&keys, Compression::Lzf, false);
    assert_eq!(unsummed, [&expected[..], &[0; 8]].concat());
}

#[test]
fn databases_are_selected_where_they_change_and_sized_once() {
    let mut writer = StreamWriter::new(true);
    writer.header(&Header {
        redis_version: "7.2.4",
        created_s: 0,
        used_memory_bytes: 0,
        position: None,
        sizes: &[(1, 0), (70_000, 3)],
    });
    assert_eq!(writer.chunk(1, b""), b"\xfe\x01\xfb\x80\x00\x01\x11\x70\x03");
    assert_eq!(writer.chunk(1, b""), b"");
    assert_eq!(writer.chunk(700, b""), b"\xfe\x42\xbc");
    assert_eq!(writer.chunk(1, b""), b"\xfe\x01");
    assert_eq!(writer.chunk(0, b""), b"\xfe\x00\xfb\x01\x00");
}

/// A value of many elements that comes in small pieces is not gone through for each of them.
#[test]
fn a_long_item_in_small_pieces() {
    let mut set = crate::types::set::Set::new();
    (0..200_000).for_each(|n: u32| assert!(set.add(&n.to_be_bytes())));
    let set = Value::Object(Box::new(crate::types::Object::Set(set)));
    let mut record = Vec::new();
    write_record(&mut record, b"set", set.as_ref(), None, Access::Unknown, Compression::None);
    write_record(&mut record, b"behind", StrRef::Int(1), None, Access::Unknown, Compression::None);
    let mut writer = StreamWriter::new(true);
    let mut stream = writer.header(&Header {
        redis_version: "7.2.4",
        created_s: 0,
        used_memory_bytes: 0,
        position: None,
        sizes: &[],
    });
    stream.extend(writer.chunk(0, &record));
    stream.extend(record);
    stream.extend(writer.finish());
    for piece in [100, 4096, 1 << 20] {
        let outcome = read_in(&stream, LIMIT, || piece);
        assert_eq!(outcome.result, Ok(()));
        let keys: Vec<&[u8]> = outcome.keys.iter().map(|known| &known.key[..]).collect();
        assert_eq!(keys, [&b"set"[..], b"behind"]);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_comes(
        keys in prop::collection::vec(any_known(3), 0..40),
        lzf: bool,
        checksum: bool,
        pieces in prop::collection::vec(1..200usize, 1..20),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let compression = if lzf { Compression::Lzf } else { Compression::None };
        let mut stream = stream_of(&keys, compression, checksum);
        stream.extend(&behind);
        let mut sizes = pieces.iter().cycle();
        let outcome = read_in(&stream, LIMIT, || *sizes.next().unwrap());
        prop_assert_eq!(outcome.result, Ok(()));
        prop_assert_eq!(outcome.keys, keys);
        prop_assert_eq!(outcome.left, behind.len());
        let whole = read_whole(&stream);
        prop_assert_eq!(outcome.others, whole.others);
        prop_assert_eq!(whole.left, behind.len());
    }
}

#[test]
fn a_record_s_own_bytes_are_a_run_of_one() {
    let keys = some_keys();
    let stream = stream_of(&keys, Compression::Lzf, true);
    let mut reader = Reader::new(LIMIT, true);
    let (mut runs, mut count) = (Vec::new(), 0);
    let mut input = &stream[..];
    while let Some(item) = reader.next(&mut input).unwrap() {
        if let Item::Record { offset, record } = item {
            assert_eq!(&stream[offset as usize..][..record.raw.len()], record.raw);
            runs.extend_from_slice(record.raw);
            count += 1;
        }
    }
    let again: Vec<Known> = crate::rdb::Records::new(&runs, LIMIT)
        .zip(&keys)
        .map(|(record, known)| Known::of(known.db, &record.unwrap()).unwrap())
        .collect();
    assert_eq!((again, count), (keys.clone(), keys.len()));
}

#[test]
fn cut_at_any_byte_nothing_is_wrong_and_the_end_is_missed() {
    let keys = some_keys();
    let stream = stream_of(&keys, Compression::Lzf, true);
    for len in 0..stream.len() {
        let outcome = read_whole(&stream[..len]);
        let error = outcome.result.unwrap_err();
        assert!(matches!(error, Error { offset, reason: Reason::Incomplete { missing: 1.. } } if offset == len as u64));
        assert_eq!(outcome.keys[..], keys[..outcome.keys.len()], "cut at {len}");
    }
}

#[test]
fn any_change_of_a_byte_ends_in_an_error() {
    let stream = stream_of(&some_keys(), Compression::Lzf, true);
    for at in 0..stream.len() {
        for change in 1..=255 {
            let mut damaged = stream.clone();
            damaged[at] ^= change;
            let outcome = read_whole(&damaged);
            assert!(outcome.result.is_err(), "byte {at} changed by {change:#x} goes unnoticed");
        }
    }
}

#[test]
fn fuzz_no_stream_panics_or_ends_well_with_wrong_keys() {
    let rounds = std::env::var("BASALT_FUZZ_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let keys = some_keys();
    let stream = stream_of(&keys, Compression::Lzf, true);
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut below = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    for round in 0..rounds {
        let mut damaged = stream.clone();
        // The version stays: before 5 nothing would be checked.
        let from = 9;
        for _ in 0..=below(5) {
            let at = from + below(damaged.len() - from);
            match below(5) {
                _ if damaged.len() < from + 2 => {}
                0 => damaged[at] = below(256) as u8,
                1 => drop(damaged.remove(at)),
                2 => damaged.insert(at, [0x80, 0x81, 0xc3, 0xff, 0xfe, 0xfc, 0xf5, 0xf8, 0x00][below(9)]),
                3 => damaged.truncate(at.max(from + 1)),
                _ => {
                    let end = (at + below(30)).min(damaged.len());
                    let copied = damaged[at..end].to_vec();
                    let to = from + below(damaged.len() - from);
                    damaged.splice(to..to, copied);
                }
            }
        }
        let piece = 1 + below(90);
        let outcome = read_in(&damaged, u64::MAX, || piece);
        let unsummed = damaged.windows(9).any(|end| *end == [0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
        if outcome.result.is_ok() && !unsummed {
            assert_eq!(outcome.keys, keys, "round {round}: {}", damaged.escape_ascii());
        }
    }
}

#[test]
fn every_version_ends_as_it_did_then() {
    let body = b"\xfe\x00\xfd\x00\xf1\x53\x65\x00\x01a\x01b\x00\xc0\x05\xc3\x04\x04\x00a\x20\x00\xff";
    for version in 1..=12 {
        let mut stream = format!("REDIS{version:04}").into_bytes();
        stream.extend_from_slice(body);
        let sum = crc64(&stream).to_le_bytes();
        if version >= 5 {
            stream.extend(sum);
        }
        stream.extend_from_slice(b"*1\r\n");
        let outcome = read_whole(&stream);
        assert_eq!((outcome.result, outcome.left), (Ok(()), 4), "version {version}");
        let expiring = Known {
            db: 0,
            key: b"a".to_vec(),
            value: text(b"b"),
            expire_at_ms: Some(1_700_000_000_000),
            access: Access::Unknown,
        };
        let number =
            Known { db: 0, key: b"5".to_vec(), value: text(b"aaaa"), expire_at_ms: None, access: Access::Unknown };
        assert_eq!(outcome.keys, [expiring, number]);
    }
    for (version, reason) in [
        ("0000", Reason::Version(0)),
        ("0013", Reason::Version(13)),
        ("9999", Reason::Version(9999)),
        ("001x", Reason::Magic),
    ] {
        let stream = format!("REDIS{version}\u{0}");
        assert_eq!(read_whole(stream.as_bytes()).result, Err(Error { offset: 9, reason }));
    }
    let other = Error { offset: 5, reason: Reason::Magic };
    assert_eq!(read_whole(b"-ERR no such thing\r\n").result, Err(other));
}

fn error_of(body: &[u8]) -> String {
    let stream = [b"REDIS0012", body].concat();
    let whole = read_whole(&stream).result.expect_err("refused");
    let pieces = read_in(&stream, LIMIT, || 1).result.expect_err("refused");
    assert_eq!(whole, pieces, "the pieces make a difference");
    whole.to_string()
}

#[test]
fn what_cannot_be_loaded_is_refused_by_name() {
    for (body, message) in [
        (&b"\xfe\x00\x06\x01k\x01\x01a"[..], "RDB: at byte 12: module values are not supported (RDB type 6)"),
        (b"\x07\x01k", "RDB: at byte 10: module values are not supported (RDB type 7)"),
        (b"\xfc\x01\x02\x03\x04\x05\x06\x07\x08\x07", "RDB: at byte 19: module values are not supported (RDB type 7)"),
        (b"\x08\x01k", "RDB: at byte 10: unknown RDB type 8"),
        (b"\xf3", "RDB: at byte 10: unknown RDB type 243"),
        (
            b"\xf7\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x02\x00",
            "RDB: at byte 19: data of the module 'ReJSON-RL' is not supported",
        ),
        (b"\xf6", "RDB: at byte 10: functions in a pre-release format are not supported"),
        (
            b"\xfc\x01\x02\x03\x04\x05\x06\x07\x08\xff",
            "RDB: at byte 19: a key was expected behind its expiry or access time, not 0xff",
        ),
        (
            b"\x00\x01k\x81\x00\x00\x00\x01\x2a\x05\xf2\x00",
            "RDB: at byte 21: string length 5000000000 exceeds proto-max-bulk-len 1048576",
        ),
        (b"\x00\x01k\x90", "RDB: at byte 13: no length begins with the byte 0x90"),
        (b"\x00\x01k\xc9", "RDB: at byte 13: unknown string encoding 9"),
        (b"\xfe\xc0", "RDB: at byte 11: a length was expected, not the special encoding 0"),
        (b"\x00\xc3\x02\x05\x00a", "RDB: at byte 15: a string's LZF compression is damaged"),
    ] {
        assert_eq!(error_of(body), message);
    }
}

#[test]
fn what_has_no_use_here_is_told_and_passed_over() {
    let code = b"#!lua name=mylib\nredis.register_function('f', function() end)";
    let mut body = b"REDIS0012\xf4\x05\x02\x01\xf5".to_vec();
    string::write_bytes(&mut body, code, Compression::Lzf);
    body.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
    let outcome = read_in(&body, LIMIT, || 1);
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(outcome.others[1], "SlotInfo { slot: 5, keys: 2, expires: 1 }");
    assert!(outcome.others[2].starts_with("FunctionLibrary"), "{:?}", outcome.others);
    assert_eq!(library_name(code), Some(&b"mylib"[..]));
    assert_eq!(library_name(b"#!lua\nname=no"), None);
}

#[test]
fn a_wrong_checksum_is_told_with_both_and_a_zero_is_none() {
    let mut stream = stream_of(&some_keys(), Compression::None, true);
    let end = stream.len() - 8;
    let computed = crc64(&stream[..end]);
    stream[end] ^= 1;
    let stored = computed ^ 1;
    let error = Error { offset: end as u64, reason: Reason::Checksum { computed, stored } };
    assert_eq!(read_whole(&stream).result, Err(error));
    let text =
        format!("RDB: at byte {end}: wrong checksum: the data has {computed:016x}, {stored:016x} was stored with it");
    assert_eq!(error.to_string(), text);
    let mut unverified = Reader::new(LIMIT, false);
    let mut input = &stream[..];
    while unverified.next(&mut input).unwrap().is_some() {}
    assert!(unverified.has_ended());
    stream[end..].fill(0);
    assert_eq!(read_whole(&stream).result, Ok(()));
}

#[test]
fn a_claimed_length_takes_no_memory_before_it_comes() {
    let mut reader = Reader::new(u64::MAX, true);
    let mut input = &b"REDIS0010\x00\x01k\x81\x7f\xff\xff\xff\xff\xff\xff\xffsome"[..];
    while reader.next(&mut input).unwrap().is_some() {}
    assert!(reader.held.capacity() < 100 && !reader.has_ended());
    assert!(matches!(reader.finish().unwrap_err().reason, Reason::Incomplete { missing } if missing > 1 << 60));
}

#[test]
fn times_before_1970_are_long_ago() {
    let stream = b"REDIS0003\xfd\xff\xff\xff\xff\x00\x01a\x01b\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01a\x01b\xff";
    let outcome = read_whole(stream);
    assert_eq!(outcome.result, Ok(()));
    assert!(outcome.keys.len() == 2 && outcome.keys.iter().all(|known| known.expire_at_ms == Some(0)));
}
