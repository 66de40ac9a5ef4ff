//! Streams as RDB data of type 19, which Redis 7.0 writes and every later one reads.
//!
//! A value is: the number of blocks, each block's ID and listpack; the counters; the number of groups, and each group with what is pending
//! and its consumers with the IDs that they own.
//!
//! Guarantee: byte for byte what Redis 7.0 writes for the same stream, apart from entries that it keeps out of order after XSETID, and
//! counts of deliveries that exceed 32 bits.

use super::group::Group;
use super::id::Id;
use super::log::Place;
use super::ordered::Position;
use super::{Consumer, Stream};
use crate::rdb::length;
use crate::rdb::string::{self, Compression};

/// `RDB_TYPE_STREAM_LISTPACKS_2`.
pub const RDB_TYPE: u8 = 19;

/// Appends a stream, without its type.
pub fn rdb_write(out: &mut Vec<u8>, stream: &Stream, compression: Compression) {
    let mut saver = Saver::new();
    while saver.step(stream, out, compression, usize::MAX) {}
}

/// Writes a stream piece by piece. The stream must not change in between: a clone does not.
pub struct Saver {
    next: Next,
    /// Holds a listpack before it is compressed.
    scratch: Vec<u8>,
}

/// What is to be written next.
#[derive(Clone, Copy)]
enum Next {
    Start,
    Block(Place),
    Counters,
    Group(usize),
    Pending {
        group: usize,
        position: Position,
    },
    Consumer {
        group: usize,
        consumer: usize,
    },
    /// The IDs of a consumer from this one on.
    Owned {
        group: usize,
        consumer: usize,
        from: Id,
    },
    End,
}

/// Pending entries that are written in one go.
const PENDING_RUN: usize = 512;

impl Default for Saver {
    fn default() -> Self {
        Self::new()
    }
}

impl Saver {
    pub fn new() -> Self {
        Self { next: Next::Start, scratch: Vec::new() }
    }

    /// Appends about `budget` bytes more; whether there is more to come. A block is written whole.
    pub fn step(&mut self, stream: &Stream, out: &mut Vec<u8>, compression: Compression, budget: usize) -> bool {
        let enough = out.len().saturating_add(budget);
        while out.len() < enough {
            if let Next::End = self.next {
                return false;
            }
            self.next = self.write_next(stream, out, compression);
        }
        !matches!(self.next, Next::End)
    }

    fn write_next(&mut self, stream: &Stream, out: &mut Vec<u8>, compression: Compression) -> Next {
        let group = |index: usize| stream.groups.get(index).map(|group| &**group);
        match self.next {
            Next::Start => {
                length::write(out, stream.log.blocks() as u64);
                stream.log.front().map_or(Next::Counters, Next::Block)
            }
            Next::Block(place) => {
                self.write_block(stream, place, out, compression);
                stream.log.next_place(place).map_or(Next::Counters, Next::Block)
            }
            Next::Counters => {
                write_counters(out, stream);
                Next::Group(0)
            }
            Next::Group(index) => match group(index) {
                None => Next::End,
                Some(group) => {
                    write_group(out, group, compression);
                    Next::Pending { group: index, position: Position::FIRST }
                }
            },
            Next::Pending { group: index, position } => {
                match group(index).and_then(|group| write_pending(out, group, position)) {
                    Some(position) => Next::Pending { group: index, position },
                    None => {
                        length::write(out, group(index).map_or(0, Group::consumers_len) as u64);
                        Next::Consumer { group: index, consumer: 0 }
                    }
                }
            }
            Next::Consumer { group: index, consumer } => {
                match group(index).and_then(|group| group.nth_consumer(consumer)) {
                    None => Next::Group(index + 1),
                    Some(found) => {
                        write_consumer(out, found, compression);
                        Next::Owned { group: index, consumer, from: Id::MIN }
                    }
                }
            }
            Next::Owned { group: index, consumer, from } => {
                let found = group(index).and_then(|group| group.nth_consumer(consumer));
                match found.and_then(|found| write_owned(out, found, from)) {
                    Some(from) => Next::Owned { group: index, consumer, from },
                    None => Next::Consumer { group: index, consumer: consumer + 1 },
                }
            }
            Next::End => Next::End,
        }
    }

    fn write_block(&mut self, stream: &Stream, place: Place, out: &mut Vec<u8>, compression: Compression) {
        let Some(block) = stream.log.block(place) else { return };
        self.scratch.clear();
        block.write_listpack(&mut self.scratch);
        string::write_bytes(out, &block.first().to_bytes(), compression);
        string::write_bytes(out, &self.scratch, compression);
    }
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    length::write(out, id.ms);
    length::write(out, id.seq);
}

fn write_counters(out: &mut Vec<u8>, stream: &Stream) {
    let log = &stream.log;
    length::write(out, log.len());
    write_id(out, log.last_id());
    write_id(out, log.first_id());
    write_id(out, log.max_deleted_id());
    length::write(out, log.entries_added());
    length::write(out, stream.groups.len() as u64);
}

fn write_group(out: &mut Vec<u8>, group: &Group, compression: Compression) {
    string::write_bytes(out, group.name(), compression);
    write_id(out, group.last_id);
    length::write(out, group.entries_read.unwrap_or(-1) as u64);
    length::write(out, group.pending_len() as u64);
}

/// Writes a run of pending entries; where the next begins, `None` if these were the last.
fn write_pending(out: &mut Vec<u8>, group: &Group, mut position: Position) -> Option<Position> {
    for _ in 0..PENDING_RUN {
        let (id, entry) = group.pending_at(position)?;
        out.extend_from_slice(&id.to_bytes());
        out.extend_from_slice(&entry.delivered_ms.to_le_bytes());
        length::write(out, entry.deliveries.into());
        position = group.pending_after(position);
    }
    Some(position)
}

fn write_consumer(out: &mut Vec<u8>, consumer: &Consumer, compression: Compression) {
    string::write_bytes(out, consumer.name(), compression);
    out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
    length::write(out, consumer.pending_len() as u64);
}

/// Writes a run of a consumer's IDs; where the next begins.
fn write_owned(out: &mut Vec<u8>, consumer: &Consumer, from: Id) -> Option<Id> {
    let mut ids = consumer.pending_ids(from, Id::MAX);
    for id in ids.by_ref().take(PENDING_RUN) {
        out.extend_from_slice(&id.to_bytes());
    }
    ids.next()
}
