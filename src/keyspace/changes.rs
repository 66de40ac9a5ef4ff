//! What commands, expiry and eviction did to keys, for those who watch: WATCH, client-side caching, keyspace events, blocked clients.
//!
//! Off, it costs one branch a change. While it records, every change is noted with its key in the order it was made, and the shard
//! takes the notes after each command. So a list is never longer than what one command touches, and what one step of expiry removes.

use super::hash::KeyHash;

/// The kind of a keyspace event, as `notify-keyspace-events` tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventClass {
    Generic,
    String,
    List,
    Set,
    Hash,
    SortedSet,
    Stream,
    Module,
    Expired,
    Evicted,
    KeyMiss,
    New,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The key has another value or expiry than before, or came, or went.
    Modified,
    /// Something that a keyspace event tells.
    Event(EventClass, &'static str),
}

/// One note; its key is asked of the [`Changes`] it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub db: u16,
    pub hash: KeyHash,
    pub what: What,
    key_at: usize,
    key_length: usize,
}

/// Notes in the order of what happened.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    recording: bool,
    list: Vec<Change>,
    keys: Vec<u8>,
}

impl Changes {
    /// Switches recording on or off. Notes that are there stay.
    pub fn record(&mut self, on: bool) {
        self.recording = on;
    }

    #[inline]
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes a note, if there is anybody to read it.
    #[inline]
    pub fn note(&mut self, db: usize, hash: KeyHash, key: &[u8], what: What) {
        if self.recording {
            self.push(db as u16, hash, key, what);
        }
    }

    /// Takes a note in any case.
    #[cold]
    pub fn push(&mut self, db: u16, hash: KeyHash, key: &[u8], what: What) {
        self.list.push(Change { db, hash, what, key_at: self.keys.len(), key_length: key.len() });
        self.keys.extend_from_slice(key);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Change, &[u8])> {
        self.list.iter().map(|change| (change, &self.keys[change.key_at..change.key_at + change.key_length]))
    }

    /// The notes so far, which are gone from here.
    pub fn take(&mut self) -> Changes {
        let empty = Changes { recording: self.recording, ..Changes::default() };
        std::mem::replace(self, empty)
    }

    pub fn clear(&mut self) {
        self.list.clear();
        self.keys.clear();
    }
}
