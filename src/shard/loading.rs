//! A snapshot from a primary, on the core whose keys it brings.
//!
//! It goes into a data set of its own ([`Incoming`](crate::keyspace::Incoming)), which takes the place of the one in use at one moment on all cores. Until then
//! that one is served, or is empty, as whoever loads decides.
//!
//! Each data set has an identifier, so that what belongs to one that was given up is told from the next.

use super::role::Loading;
use super::{Shard, ShardIo};
use crate::keyspace::{Incoming, KeyHash, Kind, NewCollection, NewStr, Policy, Value};
use crate::rdb::frame::decode_frame;
use crate::rdb::{self, Reason, Record, Records, Text};
use crate::replication::replica::load::Parcel;
use crate::types::Encodings;

/// Records whose memory is asked for at once.
const AT_ONCE: usize = 16;

/// Scratch memory for frames is not kept beyond this.
const KEEP_BYTES: usize = 1 << 20;

/// Why records cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    Damaged(rdb::Error),
    /// The key is there already.
    Duplicate {
        offset: u64,
        database: u16,
        key: Vec<u8>,
    },
    /// The key belongs to another core, or the database does not exist: whoever wrote the frame's header has lied.
    Misplaced {
        offset: u64,
    },
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Damaged(error) => error.fmt(f),
            LoadError::Duplicate { offset, database, key } => {
                let key = String::from_utf8_lossy(key);
                write!(f, "RDB: from byte {offset} on: duplicate key '{key}' in database {database}")
            }
            LoadError::Misplaced { offset } => {
                write!(f, "RDB: from byte {offset} on: a key is not where its frame says")
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl From<rdb::Error> for LoadError {
    fn from(error: rdb::Error) -> LoadError {
        LoadError::Damaged(error)
    }
}

/// A data set that is being loaded.
pub struct Load {
    /// Which.
    id: u64,
    incoming: Incoming,
    /// For what frames hold.
    scratch: Vec<u8>,
}

impl Shard {
    /// Keys of all databases.
    pub fn key_count(&self) -> usize {
        (0..self.keyspace.databases()).map(|database| self.keyspace.len(database)).sum()
    }

    /// Begins to load a data set; one that was being loaded is dropped. `flush`: the data in use go now. The caller holds all locks and does this on all
    /// cores.
    pub fn begin_loading(&mut self, io: &mut ShardIo, id: u64, loading: Loading, flush: bool) {
        self.drop_load();
        self.load = Some(Box::new(Load { id, incoming: self.keyspace.incoming(), scratch: Vec::new() }));
        if flush {
            let garbage = self.keyspace.flush_all();
            self.discard(garbage);
            self.all_changed(io, 2 * id);
        }
        self.set_loading(loading);
    }

    /// Takes in a part of a data set, all of keys of this core; how many. Parts of another one than that which is being loaded are dropped.
    pub fn load(&mut self, id: u64, parcel: &Parcel) -> Result<u64, LoadError> {
        let Some(load) = self.load.as_mut().filter(|load| load.id == id) else { return Ok(0) };
        let max_string_bytes = self.config.proto_max_bulk_len;
        let run = |database: u16, offset: u64| Run {
            database,
            offset,
            policy: &self.policy,
            now_ms: self.now_ms,
            max_string_bytes,
            encodings: &self.encodings,
        };
        match parcel {
            Parcel::Records { database, bytes, offset } => {
                let damaged = |reason| rdb::Error { offset: *offset, reason };
                let records = Records::new(bytes, max_string_bytes).map(|record| record.map_err(damaged));
                insert_all(&mut load.incoming, &run(*database, *offset), records)
            }
            Parcel::Frame(frame) => {
                let records = decode_frame(frame, &mut load.scratch, max_string_bytes)?;
                let loaded = insert_all(&mut load.incoming, &run(frame.db(), frame.offset), records);
                if load.scratch.capacity() > KEEP_BYTES {
                    load.scratch = Vec::new();
                }
                loaded
            }
        }
    }

    /// The loaded data set takes the place of the one in use. The caller holds all locks and does this on all cores.
    pub fn finish_loading(&mut self, io: &mut ShardIo, id: u64) {
        let Some(load) = self.load.take_if(|load| load.id == id) else { return };
        let garbage = self.keyspace.adopt(load.incoming);
        self.discard(garbage);
        self.all_changed(io, 2 * id + 1);
        for database in 0..self.keyspace.databases() {
            self.database_changed(database);
        }
        self.set_loading(Loading::No);
    }

    /// Nothing comes of a data set: what was loaded of it is dropped. The data in use stay.
    pub fn abort_loading(&mut self, id: u64) {
        if self.load.as_ref().is_some_and(|load| load.id == id) {
            self.drop_load();
            self.set_loading(Loading::No);
        }
    }

    fn drop_load(&mut self) {
        if let Some(load) = self.load.take() {
            self.discard(load.incoming.into_garbage());
        }
    }

    /// Every key may be another now: whoever watches or has read one is told. `moment` is another one each time.
    fn all_changed(&mut self, io: &mut ShardIo, moment: u64) {
        for database in 0..self.keyspace.databases() {
            for hash in self.watches.in_database(database) {
                self.watches.modified(database, hash);
            }
        }
        // The replication executor stands for whoever begins a flush.
        self.tell_flush(io, (self.shared.shards, moment));
    }
}

/// What holds for a run of records.
struct Run<'a> {
    database: u16,
    offset: u64,
    policy: &'a Policy,
    now_ms: u64,
    max_string_bytes: u64,
    encodings: &'a Encodings,
}

impl Run<'_> {
    fn damaged(&self, reason: Reason) -> LoadError {
        LoadError::Damaged(rdb::Error { offset: self.offset, reason })
    }
}

/// Takes records in, some at a time, so that their waits for memory overlap.
fn insert_all<'a>(
    incoming: &mut Incoming,
    run: &Run<'_>,
    mut records: impl Iterator<Item = Result<Record<'a>, rdb::Error>>,
) -> Result<u64, LoadError> {
    let database = usize::from(run.database);
    if database >= incoming.databases() {
        return Err(LoadError::Misplaced { offset: run.offset });
    }
    let mut group: Vec<Record<'_>> = Vec::with_capacity(AT_ONCE);
    let mut hashes: Vec<KeyHash> = Vec::with_capacity(AT_ONCE);
    let mut count = 0;
    loop {
        group.clear();
        hashes.clear();
        for record in records.by_ref().take(AT_ONCE) {
            let record = record?;
            let hash = incoming.hash(&record.key);
            if !incoming.has_slot(hash.slot) {
                return Err(LoadError::Misplaced { offset: run.offset });
            }
            hashes.push(hash);
            group.push(record);
        }
        if group.is_empty() {
            return Ok(count);
        }
        incoming.prefetch(database, &hashes);
        for (record, hash) in group.iter().zip(&hashes) {
            insert(incoming, run, record, *hash)?;
        }
        count += group.len() as u64;
    }
}

#[inline]
fn insert(incoming: &mut Incoming, run: &Run<'_>, record: &Record<'_>, hash: KeyHash) -> Result<(), LoadError> {
    let clock = run.policy.loaded_clock(record.access, run.now_ms);
    let database = usize::from(run.database);
    let (key, expire_at_ms) = (&record.key, record.expire_at_ms);
    if record.part {
        let part = record.decode(run.max_string_bytes, run.encodings).map_err(|reason| run.damaged(reason))?;
        let unpack = |kind: Kind, bytes: &[u8]| rdb::unpacked(kind, bytes, run.encodings);
        let whole = incoming.object_mut(database, hash, key, unpack).ok_or(Reason::PartOfAnother);
        let appended = whole.and_then(|whole| rdb::append(whole, &part, run.encodings));
        return appended.map_err(|reason| run.damaged(reason));
    }
    let inserted = if record.kind == rdb::value::STRING {
        let mut bytes = record.value;
        let text = rdb::string::read_text(&mut bytes, run.max_string_bytes).map_err(|reason| run.damaged(reason))?;
        let value = match text {
            Text::Owned(text) => NewStr::Take(text.into()),
            Text::Borrowed(_) | Text::Number(_) => NewStr::Copy(&text),
        };
        incoming.insert(database, hash, key, value, expire_at_ms, clock)
    } else {
        let value = match record.decode(run.max_string_bytes, run.encodings) {
            Ok(value) => value,
            // As in Redis, such a key is left out.
            Err(Reason::Empty) => return Ok(()),
            Err(reason) => return Err(run.damaged(reason)),
        };
        match value {
            Value::Packed(kind, bytes) => {
                let value = NewCollection::Packed(kind, &bytes);
                incoming.insert_collection(database, hash, key, value, expire_at_ms, clock)
            }
            Value::Object(object) => {
                let value = NewCollection::Object(object);
                incoming.insert_collection(database, hash, key, value, expire_at_ms, clock)
            }
            Value::Int(number) => incoming.insert(database, hash, key, NewStr::Int(number), expire_at_ms, clock),
            Value::Str(text) => incoming.insert(database, hash, key, NewStr::Text(text), expire_at_ms, clock),
        }
    };
    inserted.map_err(|_| {
        let key = record.key.to_vec();
        LoadError::Duplicate { offset: run.offset, database: run.database, key }
    })
}

#[cfg(test)]
#[path = "loading_tests.rs"]
mod tests;
