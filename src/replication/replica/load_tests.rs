//! The loader over streams that are cut in pieces, damaged, or of another number of shards.

use super::*;
use crate::keyspace::StrRef;
use crate::rdb::frame::{Contents, FrameEncoder, Preamble, Totals};
use crate::rdb::{Access, Compression, Header, Records, StreamPosition, StreamWriter, write_record};

const SHARDS: usize = 3;
const MAX: u64 = 1 << 20;

fn key(n: usize) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

fn records(keys: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut out = Vec::new();
    for n in keys {
        let value = vec![b'v'; n % 300];
        write_record(&mut out, &key(n), StrRef::Inline(&value), None, Access::Unknown, Compression::Lzf);
    }
    out
}

fn rdb(keys: usize) -> Vec<u8> {
    let mut writer = StreamWriter::new(true);
    let position = StreamPosition { db: 5, replication_id: "x", offset: 1 };
    let header =
        Header { redis_version: "7.2.4", created_s: 0, used_memory_bytes: 0, position: Some(position), sizes: &[] };
    let mut out = writer.header(&header);
    for (db, run) in [(0, 0..keys / 2), (3, keys / 2..keys)] {
        let run = records(run);
        out.extend(writer.chunk(db, &run));
        out.extend(run);
    }
    out.extend(writer.finish());
    out
}

/// Keys with their databases.
type Loaded = Vec<(u16, Vec<u8>)>;

/// Loads in pieces; every key with its database, and the summary.
fn load(bytes: &[u8], piece: usize) -> Result<(Loaded, Summary), LoadError> {
    let mut loader = Loader::new(SHARDS, 16, MAX, true);
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        loader.feed(piece)?;
        take(&mut loader, &mut found);
    }
    let summary = loader.finish()?;
    take(&mut loader, &mut found);
    assert!(loader.is_taken_in());
    assert_eq!(loader.taken, bytes.len() as u64);
    found.sort();
    Ok((found, summary))
}

fn take(loader: &mut Loader, found: &mut Vec<(u16, Vec<u8>)>) {
    while let Some((shard, parcel)) = loader.ready.pop_front() {
        let mut scratch = Vec::new();
        let mut add = |database: u16, key: &[u8]| {
            assert_eq!(slot::shard_of(slot::slot(key), SHARDS), shard);
            found.push((database, key.to_vec()));
        };
        match &parcel {
            Parcel::Records { database, bytes, .. } => {
                Records::new(bytes, MAX).for_each(|record| add(*database, &record.expect("whole").key));
            }
            Parcel::Frame(frame) => decode_frame(frame, &mut scratch, MAX)
                .expect("sound")
                .for_each(|record| add(frame.db(), &record.expect("whole").key)),
        }
        loader.taken_in(parcel.len());
    }
}

fn expected(keys: usize) -> Vec<(u16, Vec<u8>)> {
    let mut all: Vec<_> = (0..keys).map(|n| (if n < keys / 2 { 0 } else { 3 }, key(n))).collect();
    all.sort();
    all
}

#[test]
fn an_rdb_stream_goes_to_the_shards_that_own_its_keys() {
    let bytes = rdb(2000);
    for piece in [1, 7, 1000, bytes.len()] {
        let (found, summary) = load(&bytes, piece).expect("sound");
        assert_eq!(found, expected(2000));
        assert_eq!(summary, Summary { stream_database: 5, keys: 2000 });
    }
}

#[test]
fn frames_travel_whole_or_are_opened() {
    let (mut encoder, mut totals) = (FrameEncoder::default(), Totals::default());
    let mut bytes = Preamble { databases: 16, shards: 2, keys: 10, stream_db: 7 }.encode();
    // One with keys of one shard, one with keys of all.
    let of_first: Vec<usize> = (0..1000).filter(|n| slot::shard_of(slot::slot(&key(*n)), SHARDS) == 0).collect();
    let rest: Vec<usize> = (0..1000).filter(|n| !of_first.contains(n)).collect();
    let last_of_first = slot::slots_of(0, SHARDS).end - 1;
    for (keys, slots) in [(&of_first, 0..=last_of_first), (&rest, 0..=slot::SLOTS - 1)] {
        let run = records(keys.iter().copied());
        let contents = Contents { db: 3, slots, records: keys.len() as u64 };
        let frame = encoder.encode(&contents, &run);
        totals.add(&frame);
        bytes.extend(frame);
    }
    bytes.extend(totals.end_frame());
    for piece in [1, 1000, bytes.len()] {
        let (found, summary) = load(&bytes, piece).expect("sound");
        let mut all: Vec<_> = (0..1000).map(|n| (3, key(n))).collect();
        all.sort();
        assert_eq!((found, summary), (all, Summary { stream_database: 7, keys: 1000 }));
    }
}

#[test]
fn what_is_cut_or_damaged_is_refused() {
    let bytes = rdb(50);
    for end in 0..bytes.len() {
        assert!(load(&bytes[..end], 100).is_err(), "cut at {end}");
    }
    for at in (9..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        assert!(load(&damaged, 100).is_err(), "damaged at {at}");
    }
    let behind = [&bytes[..], b"x"].concat();
    assert_eq!(load(&behind, 100).err(), Some(LoadError::Trailing { offset: bytes.len() as u64 }));
    let mut loader = Loader::new(SHARDS, 3, MAX, true);
    assert!(matches!(loader.feed(&bytes), Err(LoadError::NoSuchDatabase { database: 3, .. })));
}

#[test]
fn a_loader_says_when_it_has_given_out_enough() {
    let mut writer = StreamWriter::new(false);
    let header = Header { redis_version: "7", created_s: 0, used_memory_bytes: 0, position: None, sizes: &[] };
    let mut loader = Loader::new(SHARDS, 16, MAX, true);
    loader.feed(&writer.header(&header)).expect("sound");
    let mut fed = 0;
    while !loader.is_full() {
        let run = records((0..1000).map(|n| fed + n));
        loader.feed(&writer.chunk(0, &run)).expect("sound");
        loader.feed(&run).expect("sound");
        fed += 1000;
    }
    assert!(!loader.is_taken_in());
    let posted: usize = loader.ready.iter().map(|(_, parcel)| parcel.len()).sum();
    assert!((IN_FLIGHT_BYTES..2 * IN_FLIGHT_BYTES).contains(&posted));
    take(&mut loader, &mut Vec::new());
    assert!(loader.is_taken_in() && !loader.is_full());
}
