//! The commands: one table, and one file of handlers a family.
//!
//! Guarantee: a data command is written once, as a synchronous function over the keys it names. It cannot tell on which core it
//! runs, nor whether its keys were there before. Error texts and reply types are Redis's.
//!
//! Knows keys, values and replies; never connections, sockets or other cores.

pub mod bitmap;
pub mod blocking;
pub mod clients;
mod error;
#[cfg(test)]
mod expectations;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod introspect;
pub mod keys;
pub mod list;
pub mod lookup;
pub mod options;
pub mod propagation;
pub mod replication;
pub mod scan_options;
pub mod scratch;
pub mod set;
pub mod sort;
mod spec;
pub mod stream;
pub mod string;
pub mod syntax;
pub mod table;
#[cfg(test)]
mod testing;
pub mod zset;

pub use error::{Error, Outcome};
pub use spec::{Acl, BeginSearch, Command, FindKeys, Flags, Group, Handler, KeyAccess, KeySpec, Server};

use blocking::Blocking;
use propagation::Propagation;

use crate::keyspace::{EventClass, KeyView};
use crate::rdb::Compression;
use crate::resp::Writer;
use crate::types::Encodings;

/// What a data command works with.
pub struct Ctx<'a> {
    /// The keys, in the client's selected database.
    pub keys: KeyView<'a>,
    /// The reply.
    pub out: Writer<'a>,
    /// `proto-max-bulk-len`: no string value grows beyond it.
    pub max_bulk_bytes: u64,
    /// Where the compact forms of collections end.
    pub encodings: &'a Encodings,
    /// `rdbcompression`, for what DUMP writes.
    pub compression: Compression,
    /// Changes the command made to the data, counted as Redis counts `rdb_changes_since_last_save`. Zero: nothing to replicate.
    pub dirty: u64,
    /// Where the command may wait for a key: what it waits for.
    pub blocking: Option<&'a mut Blocking>,
    /// Where the command says what it tells replicas in place of itself; `None` while nobody listens.
    pub propagation: Option<&'a mut Propagation>,
}

impl<'a> Ctx<'a> {
    pub fn new(keys: KeyView<'a>, out: Writer<'a>, max_bulk_bytes: u64, encodings: &'a Encodings) -> Ctx<'a> {
        let compression = Compression::Lzf;
        Ctx { keys, out, max_bulk_bytes, encodings, compression, dirty: 0, blocking: None, propagation: None }
    }

    /// Every handler that changed data says so here, once a command has taken effect: `changes` is how many changes it made.
    /// The one place where a change becomes known outside of its handler.
    #[inline]
    pub fn changed(&mut self, changes: u64) {
        self.dirty += changes;
    }

    /// A keyspace event of a key of any type.
    #[inline]
    pub fn event(&mut self, key: &[u8], name: &'static str) {
        self.keys.event(key, EventClass::Generic, name);
    }

    /// A keyspace event of a string.
    #[inline]
    pub fn string_event(&mut self, key: &[u8], name: &'static str) {
        self.keys.event(key, EventClass::String, name);
    }
}
