//! A snapshot on its way from the shards to the replicas that wait for it.
//!
//! Invariants
//! - one snapshot at a time; the shards are through with one before the next is asked for
//! - every replica of it gets the same bytes; a piece is kept until the slowest has it, and only then its shard may send more
//! - the stream that a replica reads behind it begins at the offset of the cut
//!
//! To a replica that does not take a stream with an end mark (`REPLCONF capa eof`), or with `repl-diskless-sync no`, the snapshot goes by way of a
//! file, as its length has to be said first.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Form, Moment};
use crate::observe::info::REDIS_VERSION;
use crate::rdb::frame::{Preamble, Totals};
use crate::rdb::{Header, StreamPosition, StreamWriter};
use crate::resp::{ATTACH_MIN_BYTES, Out};
use crate::shard::Chunk;

/// How a snapshot gets to its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As it is made, with this mark at its end.
    Direct { mark: String },
    /// Through a file.
    Spool,
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Asked for.
    Starting,
    /// Cut; the shards send it.
    Running,
    /// All of it is here.
    Whole,
    /// Nobody wants it; the shards have not confirmed yet.
    Aborting,
}

/// Some bytes of a snapshot.
struct Piece {
    /// Where it ends in the snapshot.
    end: u64,
    bytes: Bytes,
    /// Whose it is, and how many bytes of it count.
    credit: Option<(usize, usize)>,
}

/// What comes before, between and behind the chunks.
enum Framing {
    None,
    Rdb(Box<StreamWriter>),
    Frames(Totals),
}

pub struct Snapshot {
    pub id: u64,
    pub form: Form,
    pub delivery: Delivery,
    pub stage: Stage,
    /// Its place in the stream, once known.
    pub offset: Option<u64>,
    framing: Framing,
    pieces: VecDeque<Piece>,
    /// Where the first piece begins, and the last one ends.
    begin: u64,
    end: u64,
    /// The shard in whose record the last piece ends, and the chunks of others that came meanwhile.
    open: Option<usize>,
    waiting: VecDeque<Chunk>,
    /// Shards that have sent all they have.
    shards_done: usize,
    /// Chunks that came before the place of the cut was known.
    early: Vec<Chunk>,
    /// Bytes given to the spool's file, and those that are in it.
    spooled: u64,
    pub written: u64,
}

impl Snapshot {
    pub fn new(id: u64, form: Form, delivery: Delivery) -> Snapshot {
        Snapshot {
            id,
            form,
            delivery,
            stage: Stage::Starting,
            offset: None,
            framing: Framing::None,
            pieces: VecDeque::new(),
            begin: 0,
            end: 0,
            open: None,
            waiting: VecDeque::new(),
            shards_done: 0,
            early: Vec::new(),
            spooled: 0,
            written: 0,
        }
    }

    /// What it begins with, when the cut is known.
    pub fn begin(&mut self, moment: &Moment, replication_id: &str, offset: u64, db: u32) {
        debug_assert_eq!(self.stage, Stage::Starting);
        self.stage = Stage::Running;
        self.offset = Some(offset);
        match self.form {
            Form::Rdb => {
                let (writer, head) = rdb_head(moment, replication_id, offset, db);
                self.framing = Framing::Rdb(writer);
                self.push(head.into(), None);
            }
            Form::Frames => {
                let Moment { databases, shards, ref sizes, .. } = *moment;
                let keys = sizes.iter().map(|(keys, _)| keys).sum();
                self.framing = Framing::Frames(Totals::default());
                self.push(Preamble { databases, shards, stream_db: db, keys }.encode().into(), None);
            }
        }
    }

    /// Keeps a chunk until the place of the cut is known. Their number is bounded by the credit of the shards.
    pub fn put_off(&mut self, chunk: Chunk) {
        self.early.push(chunk);
    }

    pub fn take_early(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.early)
    }

    /// Takes a chunk in. `true` when it was the last of all.
    pub fn chunk(&mut self, chunk: Chunk, shards: usize) -> bool {
        // Their number is bounded by the credit of the shards.
        self.waiting.push_back(chunk);
        while let Some(next) = self.waiting.iter().position(|chunk| self.open.is_none_or(|shard| chunk.shard == shard))
            && let Some(chunk) = self.waiting.remove(next)
        {
            if self.take_in(chunk, shards) {
                return true;
            }
        }
        false
    }

    fn take_in(&mut self, chunk: Chunk, shards: usize) -> bool {
        let Chunk { shard, db, data, last, open, .. } = chunk;
        self.open = open.then_some(shard);
        if !data.is_empty() {
            match &mut self.framing {
                Framing::Rdb(writer) => {
                    let prefix = writer.chunk(db as u16, &data);
                    self.push(prefix.into(), None);
                }
                Framing::Frames(totals) => totals.add(&data),
                Framing::None => {}
            }
            let credit = (shard, data.len());
            self.push(data, Some(credit));
        }
        self.shards_done += usize::from(last);
        if self.shards_done < shards {
            return false;
        }
        match std::mem::replace(&mut self.framing, Framing::None) {
            Framing::Rdb(writer) => self.push(writer.finish().into(), None),
            Framing::Frames(totals) => self.push(totals.end_frame().into(), None),
            Framing::None => {}
        }
        if let Delivery::Direct { mark } = &self.delivery {
            let mark = Bytes::copy_from_slice(mark.as_bytes());
            self.push(mark, None);
        }
        self.stage = Stage::Whole;
        true
    }

    fn push(&mut self, bytes: Bytes, credit: Option<(usize, usize)>) {
        if !bytes.is_empty() {
            self.end += bytes.len() as u64;
            self.pieces.push_back(Piece { end: self.end, bytes, credit });
        }
    }

    /// The length so far; of a whole one, all of it.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether whoever has it up to there has all of it.
    pub fn ends_at(&self, to: u64) -> bool {
        self.stage == Stage::Whole && to == self.end
    }

    /// Appends up to `max` bytes from `from` on to `out`; how many.
    pub fn read(&self, from: u64, max: usize, out: &mut Out) -> usize {
        debug_assert!((self.begin..=self.end).contains(&from));
        let mut taken = 0;
        let first = self.pieces.partition_point(|piece| piece.end <= from);
        for piece in self.pieces.iter().skip(first) {
            let start = piece.bytes.len() - (piece.end - from - taken as u64) as usize;
            let len = (piece.bytes.len() - start).min(max - taken);
            if len >= ATTACH_MIN_BYTES {
                out.attached.push((out.buf.len(), piece.bytes.slice(start..start + len)));
            } else {
                out.buf.extend_from_slice(&piece.bytes[start..start + len]);
            }
            taken += len;
            if taken == max {
                break;
            }
        }
        taken
    }

    /// What is to be written to the file next.
    pub fn next_to_spool(&mut self) -> Option<Bytes> {
        let next = self.pieces.partition_point(|piece| piece.end <= self.spooled);
        let piece = self.pieces.get(next)?;
        self.spooled = piece.end;
        Some(piece.bytes.clone())
    }

    /// Drops what everybody has, which is all before `to`, and gives back the credit for it.
    pub fn release(&mut self, to: u64, mut grant: impl FnMut(usize, usize)) {
        while self.pieces.front().is_some_and(|piece| piece.end <= to)
            && let Some(piece) = self.pieces.pop_front()
        {
            self.begin = piece.end;
            if let Some((shard, bytes)) = piece.credit {
                grant(shard, bytes);
            }
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.early.clear();
        self.waiting.clear();
        self.begin = self.end;
    }
}

fn rdb_head(moment: &Moment, replication_id: &str, offset: u64, db: u32) -> (Box<StreamWriter>, Vec<u8>) {
    let mut writer = Box::new(StreamWriter::new(true));
    let head = writer.header(&Header {
        redis_version: REDIS_VERSION,
        created_s: moment.unix_s,
        used_memory_bytes: moment.used_memory as u64,
        position: Some(StreamPosition { db: db.into(), replication_id, offset }),
        sizes: &moment.sizes,
    });
    (writer, head)
}

/// A snapshot without data, for those that want no data.
pub fn empty_rdb(moment: &Moment, replication_id: &str, offset: u64) -> Vec<u8> {
    let (writer, mut bytes) = rdb_head(moment, replication_id, offset, 0);
    bytes.extend(writer.finish());
    bytes
}
