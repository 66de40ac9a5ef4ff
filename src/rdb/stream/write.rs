//! Streams as RDB data of type 19, which Redis 7.0 writes and every later one reads.
//!
//! Guarantee: byte for byte what Redis 7.0 writes for the same stream, apart from entries that it keeps out of order after XSETID, and
//! counts of deliveries that exceed 32 bits.

use crate::rdb::length;
use crate::rdb::packed_write::ListpackWriter;
use crate::rdb::string::{self, Compression};
use crate::types::packed::Item;
use crate::types::stream::load::{Block, Delta, Fields, flags};
use crate::types::stream::{Group, Id, Stream};

/// Appends a stream, without its type.
pub fn write(out: &mut Vec<u8>, stream: &Stream, compression: Compression) {
    length::write(out, stream.log().blocks() as u64);
    write_blocks(out, stream, Id::MIN, usize::MAX, compression);
    write_rest(out, stream, stream.len(), compression);
}

/// Appends some of the blocks, from an ID on and about `budget` bytes, as a stream of their own; the last part has the stream's counters and
/// groups. Where the next part begins, if there is one.
pub fn write_part(out: &mut Vec<u8>, stream: &Stream, from: Id, budget: usize, compression: Compression) -> Option<Id> {
    let mut blocks = Vec::new();
    let next = write_blocks(&mut blocks, stream, from, budget, compression);
    let (mut count, mut entries, mut last_id) = (0, 0, from);
    let written = stream.log().outlines_from(from);
    for block in written.take_while(|block| next.is_none_or(|next| block.first() < next)) {
        count += 1;
        entries += u64::from(block.live());
        last_id = block.last();
    }
    length::write(out, count);
    out.extend_from_slice(&blocks);
    if next.is_none() {
        write_rest(out, stream, entries, compression);
        return None;
    }
    length::write(out, entries);
    [last_id, from, Id::MIN].into_iter().for_each(|id| write_id(out, id));
    length::write(out, entries);
    length::write(out, 0);
    next
}

/// Appends blocks from an ID on, behind their number, until `out` is `enough` long. Where to go on, if there are more.
pub fn write_blocks(
    out: &mut Vec<u8>,
    stream: &Stream,
    from: Id,
    enough: usize,
    compression: Compression,
) -> Option<Id> {
    // Holds a listpack before it is compressed.
    let mut listpack = Vec::new();
    for block in stream.log().blocks_from(from) {
        if out.len() >= enough {
            return Some(block.first());
        }
        listpack.clear();
        write_block(&mut listpack, &block);
        string::write_bytes(out, &block.first().to_bytes(), compression);
        string::write_bytes(out, &listpack, compression);
    }
    None
}

/// Appends what comes behind the blocks, which have so many entries.
pub fn write_rest(out: &mut Vec<u8>, stream: &Stream, entries: u64, compression: Compression) {
    let log = stream.log();
    length::write(out, entries);
    write_id(out, log.last_id());
    write_id(out, log.first_id());
    write_id(out, log.max_deleted_id());
    length::write(out, log.entries_added());
    length::write(out, stream.groups().len() as u64);
    stream.groups().for_each(|group| write_group(out, group, compression));
}

/// Appends a block as the listpack that Redis has it in.
pub(super) fn write_block(out: &mut Vec<u8>, block: &Block) {
    let mut listpack = ListpackWriter::new(out);
    let int = |listpack: &mut ListpackWriter<'_>, number: i64| listpack.push(Item::Int(number));
    int(&mut listpack, block.live().into());
    int(&mut listpack, block.deleted().into());
    int(&mut listpack, block.names().count() as i64);
    block.names().for_each(|name| listpack.push(name));
    int(&mut listpack, 0);
    for entry in block.stored() {
        let delta = Delta::between(block.first(), entry.id);
        int(&mut listpack, flags(entry.state, entry.fields).into());
        int(&mut listpack, delta.ms);
        int(&mut listpack, delta.seq);
        let mut elements = 3 + entry.count;
        if entry.fields == Fields::Own {
            int(&mut listpack, entry.count as i64);
            elements += 1 + entry.count;
        }
        entry.items.for_each(|item| listpack.push(item));
        int(&mut listpack, elements as i64);
    }
    listpack.finish();
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    length::write(out, id.ms);
    length::write(out, id.seq);
}

fn write_group(out: &mut Vec<u8>, group: &Group, compression: Compression) {
    string::write_bytes(out, group.name(), compression);
    write_id(out, group.last_id);
    length::write(out, group.entries_read.unwrap_or(-1) as u64);
    length::write(out, group.pending_len() as u64);
    for (id, entry) in group.pending(Id::MIN, Id::MAX) {
        out.extend_from_slice(&id.to_bytes());
        out.extend_from_slice(&entry.delivered_ms.to_le_bytes());
        length::write(out, entry.deliveries.into());
    }
    length::write(out, group.consumers_len() as u64);
    for consumer in group.consumers() {
        string::write_bytes(out, consumer.name(), compression);
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        length::write(out, consumer.pending_len() as u64);
        consumer.pending_ids(Id::MIN, Id::MAX).for_each(|id| out.extend_from_slice(&id.to_bytes()));
    }
}
