//! The replication stream: where the writes of all cores become bytes with offsets.
//!
//! Invariants
//! - the backlog's end is the history's offset
//! - the database that a command is in was selected before it in the stream, and once more behind every place where a replica may begin to
//!   read after a snapshot
//! - while a cut is awaited, the offset of every batch's beginning is known, and nothing from there on is dropped
//!
//! A node without replicas has no backlog: then nothing is written here, and the offset stands still.

use super::CutAt;
use crate::node::random_hex;
use crate::replication::backlog::Backlog;
use crate::replication::history::{History, Refusal};
use crate::replication::log::LogBatch;
use crate::replication::merge::Merge;
use crate::resp::write_command;

/// A batch of this size whose bytes are in one database is not copied.
const LARGE_BATCH_BYTES: usize = 32 << 10;

/// What is known of where a snapshot may be cut, until it is.
struct Awaited {
    /// The number of the batch at `begins[0]`.
    number: u64,
    /// The offset before each batch that came meanwhile.
    begins: Vec<u64>,
    /// The offset when the snapshot was asked for.
    from: u64,
    /// The cut is before this batch, which is still to come.
    at: Option<u64>,
}

pub struct Stream {
    history: History,
    merge: Merge,
    backlog: Option<Backlog>,
    backlog_bytes: u64,
    /// The backlog has everything from its start on; otherwise it was made for a cut that is still to come.
    live: bool,
    /// The database that the stream is in; `None` when that is not to be relied on.
    selected: Option<u16>,
    awaited: Option<Awaited>,
    /// Bytes of batches since [`Stream::take_merged`].
    merged: usize,
}

impl Stream {
    pub fn new(id: String, backlog_bytes: u64) -> Stream {
        Stream {
            history: History::new(id),
            merge: Merge::default(),
            backlog: None,
            backlog_bytes,
            live: false,
            selected: None,
            awaited: None,
            merged: 0,
        }
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    /// The backlog, if it can be relied on.
    pub fn backlog(&self) -> Option<&Backlog> {
        self.backlog.as_ref().filter(|_| self.live)
    }

    pub fn offset(&self) -> u64 {
        self.history.offset()
    }

    /// The number of the batch that comes next.
    pub fn next_number(&self) -> u64 {
        self.merge.next_number()
    }

    pub fn set_backlog_bytes(&mut self, bytes: u64) {
        self.backlog_bytes = bytes;
        if let Some(backlog) = &mut self.backlog {
            backlog.set_size(bytes);
        }
    }

    pub fn take_merged(&mut self) -> usize {
        std::mem::take(&mut self.merged)
    }

    // What comes in

    /// Takes the writes of a core in. Gives the offset of the cut if it was waiting for these.
    pub fn push(&mut self, batch: Box<LogBatch>) -> Option<u64> {
        self.merge.push(batch);
        let mut cut = self.cut_is_next();
        while let Some(batch) = self.merge.pop() {
            self.merged += batch.bytes.len();
            self.append_batch(*batch);
            cut = cut.or(self.cut_is_next());
        }
        cut
    }

    fn append_batch(&mut self, mut batch: LogBatch) {
        if let Some(awaited) = &mut self.awaited {
            awaited.begins.push(self.history.offset());
            // The cut may turn out to be before this batch.
            self.selected = None;
        }
        if self.backlog.is_none() {
            return;
        }
        if let [run] = batch.runs[..]
            && batch.bytes.len() >= LARGE_BATCH_BYTES
        {
            self.select(run.db);
            return self.append_owned(std::mem::take(&mut batch.bytes));
        }
        for (db, bytes) in batch.iter() {
            self.select(db);
            self.append(bytes);
        }
    }

    fn select(&mut self, db: u16) {
        if self.selected != Some(db) {
            self.selected = Some(db);
            let mut command = Vec::new();
            let digits = db.to_string();
            write_command(&mut command, 2, [&b"SELECT"[..], digits.as_bytes()].into_iter());
            self.append(&command);
        }
    }

    /// Appends whole commands, or any bytes of the own primary's stream.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(backlog) = &mut self.backlog {
            backlog.append(bytes);
            self.history.advance(bytes.len() as u64);
        }
    }

    fn append_owned(&mut self, bytes: Vec<u8>) {
        if let Some(backlog) = &mut self.backlog {
            self.history.advance(bytes.len() as u64);
            backlog.append_owned(bytes);
        }
    }

    /// A replica begins to read here that knows of no database.
    pub fn select_again(&mut self) {
        self.selected = None;
    }

    // Cuts

    /// A snapshot is asked for: from now on every batch may be the first behind the cut.
    pub fn await_cut(&mut self) {
        if self.backlog.is_none() {
            // What was written since the last backlog is not counted by offsets, so they mean nothing to anybody.
            self.history.renew(random_hex());
            self.backlog = Some(Backlog::new(self.backlog_bytes, self.history.offset()));
            self.live = false;
        }
        self.awaited =
            Some(Awaited { number: self.merge.next_number(), begins: Vec::new(), from: self.offset(), at: None });
    }

    /// The snapshot was taken there. Gives the offset if it is known already, otherwise [`Stream::push`] will.
    pub fn cut(&mut self, at: CutAt) -> Option<u64> {
        let awaited = self.awaited.as_mut()?;
        self.live = true;
        match at {
            CutAt::Offset { offset, .. } => {
                self.awaited = None;
                Some(offset)
            }
            CutAt::Number(number) => {
                let place = number.checked_sub(awaited.number).expect("a cut lies behind the moment it was asked for");
                if let Some(offset) = awaited.begins.get(place as usize) {
                    let offset = *offset;
                    self.awaited = None;
                    return Some(offset);
                }
                awaited.at = Some(number);
                self.cut_is_next()
            }
        }
    }

    /// The offset of the cut, if it is before the batch that comes next.
    fn cut_is_next(&mut self) -> Option<u64> {
        if self.awaited.as_ref()?.at? != self.merge.next_number() {
            return None;
        }
        self.awaited = None;
        self.selected = None;
        Some(self.history.offset())
    }

    /// There will be no cut.
    pub fn no_cut(&mut self) {
        self.awaited = None;
        if !self.live {
            self.backlog = None;
        }
    }

    // Roles

    /// Nobody has read from the backlog for long: the log will be turned off, so what follows is no part of this history.
    pub fn free(&mut self) {
        self.history.renew(random_hex());
        self.backlog = None;
        self.live = false;
    }

    /// The node is a primary from now on.
    pub fn promote(&mut self) {
        self.history.shift(random_hex());
        self.selected = None;
        if self.backlog.is_none() {
            self.start_backlog();
        }
    }

    /// The data are those of another history.
    pub fn adopt(&mut self, id: String, offset: u64) {
        self.awaited = None;
        self.history.adopt(id, offset);
        self.start_backlog();
    }

    /// The own primary goes on; whether it does so under a new ID.
    pub fn follow(&mut self, id: &str) -> bool {
        let before = self.history.id().to_owned();
        self.history.follow(id);
        if self.backlog.is_none() {
            self.start_backlog();
        }
        self.history.id() != before
    }

    fn start_backlog(&mut self) {
        self.backlog = Some(Backlog::new(self.backlog_bytes, self.history.offset()));
        self.live = true;
    }

    // What goes out

    /// Whether a replica can go on from byte `asked` of history `id`; the offset it is at.
    pub fn can_continue(&self, id: &[u8], asked: i64) -> Result<u64, Refusal> {
        let kept = self.backlog().map(|backlog| (backlog.start() + 1, backlog.end() + 1));
        self.history.can_continue(id, asked, kept)
    }

    /// For reading: also a backlog whose cut is still to come has what follows a cut.
    pub fn bytes(&self) -> Option<&Backlog> {
        self.backlog.as_ref()
    }

    /// Drops what nobody needs; `needed` is the lowest offset that a replica still has to read from.
    pub fn trim(&mut self, needed: u64) {
        let needed = self.awaited.as_ref().map_or(needed, |awaited| awaited.from.min(needed));
        if let Some(backlog) = &mut self.backlog {
            backlog.trim(needed);
        }
    }
}
