//! RDB data that Basalt does not write: other types, and what only Redis leaves behind.

use super::*;

/// The stream in the form of another type.
fn saved_as(kind: u8, stream: &Stream) -> Vec<u8> {
    use crate::rdb::{length, string};
    let (log, mut out) = (stream.log(), Vec::new());
    let write_id = |out: &mut Vec<u8>, id: Id| [id.ms, id.seq].map(|number| length::write(out, number));
    let write_text = |out: &mut Vec<u8>, text: &[u8]| string::write_bytes(out, text, Compression::None);
    length::write(&mut out, log.blocks() as u64);
    let mut place = log.front();
    while let Some(block) = place.and_then(|place| log.block(place)) {
        let mut listpack = Vec::new();
        block.write_listpack(&mut listpack);
        write_text(&mut out, &block.first().to_bytes());
        write_text(&mut out, &listpack);
        place = place.and_then(|place| log.next_place(place));
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
    for entry in log.range(Id::MIN, Id::MAX).take(20) {
        group.advance(log, entry.id);
        group.deliver(entry.id, owner, 77);
    }
    stream.log_mut().delete(Id::new(7, 0));
    stream.log_mut().delete(Id::new(1, 0));
    assert_eq!(saved_as(19, &stream), saved(&stream, Compression::None));
    for (kind, active_ms) in [(15, 1234), (19, 1234), (21, 99)] {
        let bytes = saved_as(kind, &stream);
        let (mut input, mut skipped) = (&bytes[..], &bytes[..]);
        let again = rdb_read(kind, &mut input, MAX_STRING).unwrap();
        rdb_skip(kind, &mut skipped, MAX_STRING).unwrap();
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
    assert_eq!(rdb_read(18, &mut &b""[..], MAX_STRING).err(), Some(LoadError::Data(crate::rdb::Reason::Type(18))));
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
    assert_eq!(loaded(&bytes).err(), Some(LoadError::LastId));
    bytes[at] = 3;
    assert_eq!(loaded(&bytes).err(), Some(LoadError::Length));
}
