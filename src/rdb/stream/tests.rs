//! Streams as RDB data there and back, whole and damaged, and in forms that only Redis writes.

use proptest::prelude::*;

use super::read::read_stream;
use super::write::write_block;
use super::{Flaw, LISTPACKS_2, read, skip, write};
use crate::rdb::string::Compression;
use crate::rdb::{Reason, length, string};
use crate::types::stream::tests::{LIMITS, apply, built, model_of, op, pairs, same, texts_of, with_entries};
use crate::types::stream::{Entries, Id, Keep, NewId, Precision, Stream};

fn saved(stream: &Stream, compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, stream, compression);
    out
}

const MAX_STRING: u64 = 1 << 20;

fn loaded(bytes: &[u8]) -> Result<Stream, Reason> {
    let mut input = bytes;
    let stream = read_stream(LISTPACKS_2, &mut input, MAX_STRING)?;
    let mut skipped = bytes;
    skip(LISTPACKS_2, &mut skipped, MAX_STRING).expect("what can be read can be skipped");
    assert_eq!(skipped.len(), input.len());
    Ok(stream)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn rdb_there_and_back(ops in proptest::collection::vec(op(), 0..200)) {
        let (stream, model) = built(&ops);
        let bytes = saved(&stream, Compression::None);
        let again = loaded(&bytes).expect("what was written");
        same(&again, &model);
        prop_assert_eq!(saved(&again, Compression::None), bytes.clone());
        let compressed = loaded(&saved(&stream, Compression::Lzf)).expect("what was written");
        same(&compressed, &model);
        for block in stream.log().blocks_from(Id::MIN) {
            let mut listpack = Vec::new();
            write_block(&mut listpack, &block);
            prop_assert_eq!(listpack.len(), block.listpack_bytes());
        }
        for cut in 0..bytes.len() {
            prop_assert!(matches!(loaded(&bytes[..cut]), Err(Reason::Incomplete { .. })), "cut at {}", cut);
        }
        // A loaded stream goes on where the other does.
        let (mut first, mut second, mut model_2) = (stream, again, model.clone());
        let mut model = model;
        for op in &ops {
            apply(&mut first, &mut model, op);
            apply(&mut second, &mut model_2, op);
        }
        same(&second, &model);
    }

    #[test]
    fn damaged_rdb_is_refused_or_sound(
        ops in proptest::collection::vec(op(), 0..120),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
        kind in prop::sample::select(vec![15u8, 19, 21]),
    ) {
        let (stream, _) = built(&ops);
        let mut bytes = saved(&stream, Compression::None);
        for (at, byte, how) in damage {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes[at] = bytes[at].wrapping_add(1),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let _ = skip(kind, &mut &bytes[..], MAX_STRING);
        if let Ok(mut stream) = read_stream(kind, &mut &bytes[..], MAX_STRING) {
            stream.check();
            let all: Vec<Id> = stream.log().range(Id::MIN, Id::MAX).map(|entry| texts_of(&entry).len().min(1)).map(|_| Id::MIN).collect();
            prop_assert_eq!(all.len() as u64, stream.len());
            loaded(&saved(&stream, Compression::None)).expect("what was written");
            let one = vec![(b"field".to_vec(), b"value".to_vec())];
            let _ = stream.log_mut().append(NewId::Auto, 5, pairs(&one), LIMITS);
            let _: Vec<_> = stream.groups().map(|group| group.lag(stream.log())).collect();
            stream.log_mut().trim(Keep::Last(1), Precision::Exact);
            stream.check();
        }
    }
}

/// The stream in the form of another type.
fn saved_as(kind: u8, stream: &Stream) -> Vec<u8> {
    let (log, mut out) = (stream.log(), Vec::new());
    let write_id = |out: &mut Vec<u8>, id: Id| [id.ms, id.seq].map(|number| length::write(out, number));
    let write_text = |out: &mut Vec<u8>, text: &[u8]| string::write_bytes(out, text, Compression::None);
    length::write(&mut out, log.blocks() as u64);
    for block in log.blocks_from(Id::MIN) {
        let mut listpack = Vec::new();
        write_block(&mut listpack, &block);
        write_text(&mut out, &block.first().to_bytes());
        write_text(&mut out, &listpack);
    }
    length::write(&mut out, log.len());
    write_id(&mut out, log.last_id());
    if kind > 15 {
        write_id(&mut out, log.first_id());
        write_id(&mut out, log.max_deleted_id());
        length::write(&mut out, log.entries_added());
    }
    length::write(&mut out, stream.groups().len() as u64);
    for group in stream.groups() {
        write_text(&mut out, group.name());
        write_id(&mut out, group.last_id);
        if kind > 15 {
            length::write(&mut out, group.entries_read.unwrap_or(-1) as u64);
        }
        length::write(&mut out, group.pending_len() as u64);
        for (id, entry) in group.pending(Id::MIN, Id::MAX) {
            out.extend(id.to_bytes());
            out.extend(entry.delivered_ms.to_le_bytes());
            length::write(&mut out, entry.deliveries.into());
        }
        length::write(&mut out, group.consumers_len() as u64);
        for consumer in group.consumers() {
            write_text(&mut out, consumer.name());
            out.extend(consumer.seen_ms.to_le_bytes());
            if kind > 19 {
                out.extend(consumer.active_ms.to_le_bytes());
            }
            length::write(&mut out, consumer.pending_len() as u64);
            consumer.pending_ids(Id::MIN, Id::MAX).for_each(|id| out.extend(id.to_bytes()));
        }
    }
    out
}

#[test]
fn older_and_newer_types() {
    let mut stream = with_entries(20);
    for name in [&b"group"[..], b"other"] {
        stream.create_group(name, Id::MIN, Some(0));
    }
    let (log, group) = stream.parts_mut(b"group").unwrap();
    let owner = group.create_consumer(b"consumer", 1234).unwrap();
    group.consumer_mut(owner).unwrap().active_ms = 99;
    let mut entries = log.range(Id::MIN, Id::MAX);
    while let Some(entry) = entries.next() {
        group.advance(log, entry.id);
        group.deliver(entry.id, owner, 77);
    }
    stream.log_mut().delete(Id::new(7, 0));
    stream.log_mut().delete(Id::new(1, 0));
    assert_eq!(saved_as(19, &stream), saved(&stream, Compression::None));
    for (kind, active_ms) in [(15, 1234), (19, 1234), (21, 99)] {
        let bytes = saved_as(kind, &stream);
        let (mut input, mut skipped) = (&bytes[..], &bytes[..]);
        let again = read_stream(kind, &mut input, MAX_STRING).unwrap();
        skip(kind, &mut skipped, MAX_STRING).unwrap();
        assert!(input.is_empty() && skipped.is_empty());
        let mut model = model_of(&stream);
        if kind == 15 {
            (model.added, model.max_deleted_id) = (18, Id::MIN);
        }
        same(&again, &model);
        let group = again.group(b"group").unwrap();
        assert_eq!(group.consumers().next().unwrap().active_ms, active_ms);
        // What type 15 does not tell is estimated.
        assert_eq!(group.entries_read, Some(if kind == 15 { 18 } else { 20 }));
        assert_eq!(again.group(b"other").unwrap().entries_read, Some(0));
    }
    assert_eq!(read(18, &mut &b""[..], MAX_STRING).err(), Some(Reason::Type(18)));
}

/// Redis leaves deleted entries where they are when XSETID goes back below them.
#[test]
fn deleted_entries_out_of_order() {
    let mut stream = with_entries(5);
    stream.log_mut().delete(Id::new(5, 0));
    let mut bytes = saved(&stream, Compression::None);
    // The last ID, behind the number of entries.
    let at = bytes.windows(3).rposition(|window| window == [4, 5, 0]).unwrap();
    bytes[at + 1] = 4;
    let mut again = loaded(&bytes).unwrap();
    again.check();
    assert_eq!((again.log().last_id(), again.len()), (Id::new(4, 0), 4));
    let fields = [(&b"field"[..], &b"value"[..])];
    assert_eq!(again.log_mut().append(NewId::Auto, 0, fields.into_iter(), LIMITS), Ok(Id::new(4, 1)));
    bytes[at + 1] = 3;
    assert_eq!(loaded(&bytes).err(), Some(Flaw::LastId.into()));
    bytes[at] = 3;
    assert_eq!(loaded(&bytes).err(), Some(Flaw::Length.into()));
}
