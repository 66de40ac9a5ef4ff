//! A snapshot on its way from the primary's bytes to the shards.
//!
//! Invariants
//! - every record goes to the shard that owns its key; those of one database that follow each other travel together
//! - bytes that shards have and have not taken in are bounded by [`IN_FLIGHT_BYTES`] and what one call of [`Loader::feed`] adds: whoever feeds
//!   asks [`Loader::is_full`] first
//! - a snapshot is complete only when [`Loader::finish`] has said so: up to its end mark, its checksum right
//!
//! The form is told by the first byte: an RDB stream, or the frames of a Basalt, which travel unopened.
//!
//! No sockets, no files, no clock.

use std::collections::VecDeque;

use tracing::{info, warn};

use crate::keyspace::slot;
use crate::rdb::frame::{Frame, FrameItem, FrameReader, decode_frame};
use crate::rdb::{Error, Item, Reader, Reason, Record};

/// Bytes of records that shards may hold and have not taken in.
pub const IN_FLIGHT_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of records that leave together.
const PARCEL_BYTES: usize = 128 * 1024;

/// What a frame of the other form begins with.
const FIRST_OF_FRAMES: u8 = b'B';

/// Why a snapshot is of no use.
#[derive(Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The bytes are not what they should be.
    Damaged(Error),
    /// It has keys in a database that this node does not have.
    NoSuchDatabase { database: u64, offset: u64 },
    /// There is something behind its end.
    Trailing { offset: u64 },
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Damaged(error) => error.fmt(f),
            LoadError::NoSuchDatabase { database, offset } => {
                write!(f, "at byte {offset}: database {database} is beyond what 'databases' allows; raise it")
            }
            LoadError::Trailing { offset } => write!(f, "at byte {offset}: the data goes on behind its end"),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<Error> for LoadError {
    fn from(error: Error) -> LoadError {
        LoadError::Damaged(error)
    }
}

/// What travels to a shard.
#[derive(Debug)]
pub enum Parcel {
    /// Records of keys that belong there.
    Records { database: u16, bytes: Vec<u8>, offset: u64 },
    /// All keys of it belong there.
    Frame(Box<Frame>),
}

impl Parcel {
    pub fn len(&self) -> usize {
        match self {
            Parcel::Records { bytes, .. } => bytes.len(),
            Parcel::Frame(frame) => frame.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Records for one shard that have not left.
#[derive(Default)]
struct Run {
    database: u16,
    bytes: Vec<u8>,
    /// Where in the snapshot the first of them is.
    offset: u64,
}

/// What is known of a snapshot that is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The database that the stream behind it is in.
    pub stream_database: u16,
    pub keys: u64,
}

enum Form {
    Unknown,
    Rdb(Box<Reader>),
    Frames(FrameReader),
}

pub struct Loader {
    form: Form,
    max_string_bytes: u64,
    verify: bool,
    databases: u16,
    database: u16,
    runs: Vec<Run>,
    /// What is to be posted, for each the shard.
    pub ready: VecDeque<(usize, Parcel)>,
    /// Bytes in `ready` and with the shards.
    in_flight: usize,
    /// Bytes of the snapshot that were taken.
    pub taken: u64,
    summary: Summary,
    /// For a frame that is opened here.
    scratch: Vec<u8>,
}

impl Loader {
    /// With `verify` (`rdbchecksum`) an RDB stream's checksum has to be right.
    pub fn new(shards: usize, databases: u16, max_string_bytes: u64, verify: bool) -> Loader {
        Loader {
            form: Form::Unknown,
            max_string_bytes,
            verify,
            databases,
            database: 0,
            runs: (0..shards).map(|_| Run::default()).collect(),
            ready: VecDeque::new(),
            in_flight: 0,
            taken: 0,
            summary: Summary::default(),
            scratch: Vec::new(),
        }
    }

    /// Whether nothing should be fed before shards have taken in more.
    pub fn is_full(&self) -> bool {
        self.in_flight >= IN_FLIGHT_BYTES
    }

    /// Whether shards have taken in everything that was posted.
    pub fn is_taken_in(&self) -> bool {
        self.in_flight == 0
    }

    /// A shard has taken in a parcel of so many bytes.
    pub fn taken_in(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.in_flight);
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Takes the next bytes of the snapshot. After an error nothing may be fed any more.
    pub fn feed(&mut self, input: &[u8]) -> Result<(), LoadError> {
        let Some(first) = input.first() else { return Ok(()) };
        if matches!(self.form, Form::Unknown) {
            self.form = if *first == FIRST_OF_FRAMES {
                Form::Frames(FrameReader::new(self.max_string_bytes))
            } else {
                Form::Rdb(Box::new(Reader::new(self.max_string_bytes, self.verify)))
            };
        }
        self.taken += input.len() as u64;
        let mut rest = input;
        // Taken out, as its items borrow from it.
        let mut form = std::mem::replace(&mut self.form, Form::Unknown);
        let fed = match &mut form {
            Form::Rdb(reader) => self.feed_rdb(reader, &mut rest),
            Form::Frames(reader) => self.feed_frames(reader, &mut rest),
            Form::Unknown => Ok(()),
        };
        self.form = form;
        fed?;
        if rest.is_empty() { Ok(()) } else { Err(LoadError::Trailing { offset: self.taken - rest.len() as u64 }) }
    }

    /// No more bytes come: what is left leaves for the shards.
    pub fn finish(&mut self) -> Result<Summary, LoadError> {
        // Taken out, as its items borrow from it.
        let mut form = std::mem::replace(&mut self.form, Form::Unknown);
        match &mut form {
            Form::Rdb(reader) => {
                while let Some(item) = reader.drain()? {
                    self.item(&item, self.taken)?;
                }
                reader.finish()?;
            }
            Form::Frames(reader) => reader.finish()?,
            Form::Unknown => {
                return Err(Error { offset: 0, reason: Reason::Incomplete { missing: 1 } }.into());
            }
        }
        self.form = form;
        for shard in 0..self.runs.len() {
            self.dispatch(shard);
        }
        Ok(self.summary)
    }

    fn feed_rdb(&mut self, reader: &mut Reader, rest: &mut &[u8]) -> Result<(), LoadError> {
        while let Some(item) = reader.next(rest)? {
            self.item(&item, self.taken - rest.len() as u64)?;
        }
        Ok(())
    }

    /// What stands in the snapshot up to an offset.
    #[inline]
    fn item(&mut self, item: &Item<'_>, end: u64) -> Result<(), LoadError> {
        match item {
            Item::Record { offset, record } => self.record(*offset, record),
            Item::SelectDb(database) => self.select(*database, end)?,
            Item::Aux { key, value } => self.note(key, value),
            Item::FunctionLibrary { .. } => warn!("A library of functions in the snapshot is left out"),
            Item::Version(_) | Item::Resize { .. } | Item::SlotInfo { .. } | Item::End => {}
        }
        Ok(())
    }

    fn feed_frames(&mut self, reader: &mut FrameReader, rest: &mut &[u8]) -> Result<(), LoadError> {
        while let Some(item) = reader.next(rest)? {
            match item {
                FrameItem::Preamble(preamble) => {
                    let database = u16::try_from(preamble.stream_db).ok().filter(|database| *database < self.databases);
                    self.summary.stream_database = database.unwrap_or(0);
                    info!("About {} keys come in frames, from {} shards", preamble.keys, preamble.shards);
                    let database = u16::try_from(preamble.stream_db).ok().filter(|known| *known < self.databases);
                    self.summary.stream_database = database.unwrap_or(0);
                }
                FrameItem::Frame(frame) => self.frame(frame)?,
                FrameItem::End(_) => {}
            }
        }
        Ok(())
    }

    fn select(&mut self, database: u64, offset: u64) -> Result<(), LoadError> {
        match u16::try_from(database) {
            Ok(known) if known < self.databases => {
                self.database = known;
                Ok(())
            }
            _ => Err(LoadError::NoSuchDatabase { database, offset }),
        }
    }

    /// Something the writer tells of itself.
    fn note(&mut self, key: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        match key {
            b"repl-stream-db" => {
                let database = text.parse().ok().filter(|database| *database < self.databases);
                self.summary.stream_database = database.unwrap_or(0);
            }
            b"redis-ver" => info!("Loading RDB produced by version {text}"),
            b"used-mem" => {
                let bytes: u64 = text.parse().unwrap_or(0);
                info!("RDB memory usage when created {:.2} Mb", bytes as f64 / (1024.0 * 1024.0));
            }
            _ => {}
        }
    }

    #[inline]
    fn record(&mut self, offset: u64, record: &Record<'_>) {
        let shard = slot::shard_of(slot::slot(&record.key), self.runs.len());
        if self.runs[shard].database != self.database {
            self.dispatch(shard);
            self.runs[shard].database = self.database;
        }
        let run = &mut self.runs[shard];
        if run.bytes.is_empty() {
            run.offset = offset;
        }
        run.bytes.extend_from_slice(record.raw);
        self.summary.keys += 1;
        if run.bytes.len() >= PARCEL_BYTES {
            self.dispatch(shard);
        }
    }

    /// A frame whose slots all belong to one shard goes there as it is; any other is opened here.
    fn frame(&mut self, frame: Frame) -> Result<(), LoadError> {
        let (offset, shards) = (frame.offset, self.runs.len());
        self.select(frame.db().into(), offset)?;
        let slots = frame.slots();
        if slots.is_empty() || *slots.end() >= slot::SLOTS {
            return Err(Error { offset, reason: Reason::FrameMagic }.into());
        }
        let shard = slot::shard_of(*slots.start(), shards);
        if shard == slot::shard_of(*slots.end(), shards) {
            self.summary.keys += frame.records();
            self.in_flight += frame.len();
            self.ready.push_back((shard, Parcel::Frame(Box::new(frame))));
            return Ok(());
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        for record in decode_frame(&frame, &mut scratch, self.max_string_bytes)? {
            self.record(offset, &record?);
        }
        self.scratch = scratch;
        Ok(())
    }

    fn dispatch(&mut self, shard: usize) {
        let run = &mut self.runs[shard];
        if run.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut run.bytes);
        self.in_flight += bytes.len();
        let parcel = Parcel::Records { database: run.database, bytes, offset: run.offset };
        self.ready.push_back((shard, parcel));
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
