use proptest::prelude::*;

use super::*;
use crate::rdb::reader::tests::{Known, any_known};
use crate::rdb::{Compression, Error};

const LIMIT: u64 = 1 << 20;

fn contents(db: u16, records: u64) -> Contents {
    Contents { db, slots: 100..=8191, records }
}

/// The stream that has these keys, so many a frame.
fn stream_of(keys: &[Known], per_frame: usize) -> Vec<u8> {
    let mut stream = Preamble { databases: 16, shards: 2, stream_db: 3, keys: keys.len() as u64 }.encode();
    let (mut encoder, mut totals) = (FrameEncoder::new(), Totals::default());
    for keys in keys.chunks(per_frame) {
        let mut run = Vec::new();
        keys.iter().for_each(|known| known.write(&mut run, Compression::None));
        let frame = encoder.encode(&contents(0, keys.len() as u64), &run);
        totals.add(&frame);
        stream.extend(frame);
    }
    stream.extend(totals.end_frame());
    stream
}

struct Outcome {
    keys: Vec<Known>,
    ended: bool,
    left: usize,
    result: Result<(), Error>,
}

/// What comes out of a stream in pieces; of a frame nothing, unless it is sound.
fn read_in(stream: &[u8], max: u64, mut piece: impl FnMut() -> usize) -> Outcome {
    let mut reader = FrameReader::new(max);
    let mut outcome = Outcome { keys: vec![], ended: false, left: 0, result: Ok(()) };
    let (mut at, mut scratch) = (0, Vec::new());
    while at < stream.len() && !outcome.ended {
        let end = (at + piece()).min(stream.len());
        let mut input = &stream[at..end];
        loop {
            let step = reader.next(&mut input).and_then(|item| {
                match &item {
                    Some(FrameItem::Frame(frame)) => {
                        for record in decode_frame(frame, &mut scratch, max)? {
                            outcome.keys.push(Known::of(frame.db().into(), &record?).unwrap());
                        }
                    }
                    Some(FrameItem::End(_)) => outcome.ended = true,
                    Some(FrameItem::Preamble(_)) | None => {}
                }
                Ok(item.is_some())
            });
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    outcome.result = Err(error);
                    return outcome;
                }
            }
        }
        at = end - input.len();
        assert_eq!(reader.offset(), at as u64);
        assert!(outcome.ended || input.is_empty());
    }
    outcome.left = stream.len() - at;
    outcome.result = reader.finish();
    outcome
}

fn read_whole(stream: &[u8]) -> Outcome {
    read_in(stream, LIMIT, || usize::MAX / 2)
}

fn noise() -> impl Iterator<Item = u8> {
    let step =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(1), step).map(|state: u64| (state >> 56) as u8)
}

/// Keys that compress well, and some that do not.
fn some_keys() -> Vec<Known> {
    let mut noise = noise();
    let mut text = |n: u8| if n % 8 < 6 { vec![n; 30] } else { noise.by_ref().take(30).collect() };
    (0..16)
        .map(&mut text)
        .enumerate()
        .map(|(n, value)| Known::plain(0, format!("key:{n}").as_bytes(), &value))
        .collect()
}

proptest! {
    #[test]
    fn what_is_sent_is_read_however_it_comes(
        keys in prop::collection::vec(any_known(1), 0..60),
        per_frame in 1..20usize,
        pieces in prop::collection::vec(1..400usize, 1..20),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut stream = stream_of(&keys, per_frame);
        stream.extend(&behind);
        let mut sizes = pieces.iter().cycle();
        let outcome = read_in(&stream, LIMIT, || *sizes.next().unwrap());
        prop_assert_eq!(outcome.result, Ok(()));
        prop_assert_eq!(&outcome.keys, &keys);
        prop_assert_eq!(outcome.left, behind.len());
        prop_assert_eq!(read_whole(&stream).keys, keys);
    }
}

#[test]
fn a_frame_says_what_is_in_it_and_is_compressed_if_that_gains() {
    let mut encoder = FrameEncoder::new();
    let run = |value: &[u8]| {
        let mut run = Vec::new();
        Known::plain(3, b"key", value).write(&mut run, Compression::None);
        run
    };
    let noise: Vec<u8> = noise().take(1000).collect();
    let mut totals = Totals::default();
    let mut stream = Preamble { databases: 16, shards: 4, stream_db: 3, keys: 3 }.encode();
    let mut lengths = Vec::new();
    for value in [&[b'x'; 1000][..], &noise, b"short"] {
        let frame = encoder.encode(&contents(3, 1), &run(value));
        totals.add(&frame);
        lengths.push(frame.len() - HEADER_BYTES);
        stream.extend(frame);
    }
    assert!(lengths[0] < 50 && lengths[1] == run(&noise).len() && lengths[2] == run(b"short").len());
    stream.extend(totals.end_frame());
    let (mut reader, mut input) = (FrameReader::new(LIMIT), &stream[..]);
    let preamble = Preamble { databases: 16, shards: 4, stream_db: 3, keys: 3 };
    assert_eq!(reader.next(&mut input), Ok(Some(FrameItem::Preamble(preamble))));
    for len in lengths {
        let Ok(Some(FrameItem::Frame(frame))) = reader.next(&mut input) else { panic!("no frame") };
        assert_eq!((frame.db(), frame.slots(), frame.records()), (3, 100..=8191, 1));
        assert_eq!(frame.len(), len + HEADER_BYTES);
    }
    assert_eq!(reader.next(&mut input), Ok(Some(FrameItem::End(Totals { frames: 3, records: 3 }))));
    assert!(reader.has_ended());
}

#[test]
fn cut_at_any_byte_the_end_is_missed() {
    let keys = some_keys();
    let stream = stream_of(&keys, 5);
    for len in 0..stream.len() {
        let outcome = read_whole(&stream[..len]);
        assert!(
            matches!(outcome.result, Err(Error { offset, reason: Reason::Incomplete { .. } }) if offset == len as u64)
        );
        assert_eq!(outcome.keys[..], keys[..outcome.keys.len()], "cut at {len}");
    }
}

#[test]
fn any_change_of_a_byte_is_an_error_before_a_wrong_key() {
    let keys = some_keys();
    let stream = stream_of(&keys, 5);
    for at in 0..stream.len() {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut damaged = stream.clone();
            damaged[at] ^= change;
            let outcome = read_whole(&damaged);
            assert!(outcome.result.is_err(), "byte {at} changed by {change:#x} goes unnoticed");
            assert_eq!(outcome.keys[..], keys[..outcome.keys.len()], "byte {at} changed by {change:#x}");
        }
    }
}

#[test]
fn frames_lost_or_doubled_are_missed_at_the_end() {
    let keys = some_keys();
    let (stream, frame) = (stream_of(&keys, 16), stream_of(&keys, 16).len() - PREAMBLE_BYTES - HEADER_BYTES);
    let [preamble, frame, end] =
        [&stream[..PREAMBLE_BYTES], &stream[PREAMBLE_BYTES..][..frame], &stream[PREAMBLE_BYTES + frame..]];
    let doubled = read_whole(&[preamble, frame, frame, end].concat()).result.unwrap_err();
    assert_eq!(doubled.reason, Reason::Totals { announced: (1, 16), counted: (2, 32) });
    let lost = read_whole(&[preamble, end].concat()).result.unwrap_err();
    assert_eq!(lost.to_string(), "RDB: at byte 36: 16 records in 1 frames were announced, 0 in 0 have come");
}

/// A stream of one frame with this header and payload, rightly sealed.
fn sealed(change: impl FnOnce(&mut FrameHeader), payload: &[u8]) -> Vec<u8> {
    let mut header = FrameHeader {
        payload_len: payload.len() as u64,
        mark: MARK,
        checksum: 0,
        db: 0,
        first_slot: 0,
        last_slot: 1,
        records_len: payload.len() as u64,
        records: 1,
    };
    change(&mut header);
    header.checksum = frame_checksum(&header.encode(), payload);
    [&Preamble { databases: 1, shards: 1, stream_db: 3, keys: 1 }.encode()[..], &header.encode(), payload].concat()
}

#[test]
fn headers_that_cannot_be_are_refused_before_their_payload() {
    let record = b"\x00\x01k\x01v";
    let reason = |stream: Vec<u8>| read_whole(&stream).result.unwrap_err().reason;
    assert!(matches!(reason(sealed(|_| {}, record)), Reason::Incomplete { .. }), "sound, but not the end");
    assert_eq!(reason(sealed(|header| header.mark = 7, record)), Reason::FrameMark(7));
    assert_eq!(reason(sealed(|header| header.mark |= 3, record)), Reason::FrameMark(MARK | 3));
    let max = 2 * LIMIT + RECORD_OVERHEAD + MAX_BEFORE_LAST_RECORD as u64;
    let endless = sealed(|header| (header.payload_len, header.records_len) = (max + 1, max + 1), record);
    assert_eq!(reason(endless), Reason::FrameLength { len: max + 1, max });
    let differs = sealed(|header| header.records_len += 1, record);
    assert_eq!(reason(differs), Reason::FrameLength { len: 6, max });
    assert_eq!(reason(sealed(|header| header.records = 2, record)), Reason::FrameRecords { announced: 2 });
    assert_eq!(reason(sealed(|header| header.records = 0, record)), Reason::FrameRecords { announced: 0 });
    let inflated = sealed(|header| (header.mark, header.records_len) = (MARK | FLAG_LZ4, 5 * 255 + 1), record);
    assert_eq!(reason(inflated), Reason::Lz4);
    assert_eq!(reason(sealed(|header| (header.mark, header.records_len) = (MARK | FLAG_LZ4, 50), record)), Reason::Lz4);
    assert_eq!(reason(sealed(|_| {}, b"\x06\x01k\x01v")), Reason::Type(6));
    assert_eq!(reason(b"REDIS0010 and so on, for more than a preamble".to_vec()), Reason::FrameMagic);
}

#[test]
fn a_claimed_length_takes_no_more_than_a_bounded_memory_before_it_comes() {
    let mut reader = FrameReader::new(u64::MAX);
    let stream = sealed(|header| (header.payload_len, header.records_len) = (1 << 60, 1 << 60), b"some");
    let mut input = &stream[..];
    while reader.next(&mut input).unwrap().is_some() {}
    assert!(input.is_empty() && reader.room() < 1 << 20);
}
