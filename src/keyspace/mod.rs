//! The keyspace of one shard: all keys of its slots, in all databases.
//!
//! What it promises
//! - no operation stalls: an insertion moves the entries of one segment at most (112), a directory doubles in microseconds,
//!   flushed data is dropped in steps of the caller's size
//! - an expired value is never shown; expired keys go at first sight, or when the active cycle comes by (what a replica does instead, says
//!   [`ExpiryMode`])
//! - a walk in the order of positions (SCAN, KEYS, DIGEST) meets whatever is present from its start to its end, at least once
//! - a snapshot is what was there at one moment, at the price of one branch a write while none runs
//! - overhead of 30 bytes or less a key, over key and value bytes
//!
//! From the outside in: [`Keyspace`] holds a `Table` for each database; a table is a `Directory` over `Segment`s; a segment is a small
//! table of `Entry` pointers; an entry is one allocation. Commands see none of that but a [`KeyView`].
//!
//! A keyspace is bound to the thread that made it. Knows nothing of commands, connections or replication.

mod arena;
mod changes;
mod directory;
mod entry;
mod eviction;
mod expiry;
mod field_expiry;
pub mod graveyard;
mod guests;
mod hash;
mod loading;
mod prefetch;
mod removals;
mod scan;
mod segment;
pub mod slot;
mod snapshot;
mod space;
mod table;
mod value;
mod view;

pub use changes::{Change, Changes, EventClass, What};
pub use entry::{EMBEDDED_BYTES, SHARED_BYTES, parse_canonical};
pub use eviction::{Evicted, Policy, PolicyKind};
pub use expiry::{ExpireProgress, ExpiryMode};
pub use guests::Visit;
pub use hash::{Dice, Hasher, KeyHash, first_position, slot_at};
pub use loading::{Duplicate, Incoming};
pub use removals::Removals;
pub use scan::Next;
pub use snapshot::{BACKLOG_BYTES, SnapshotChunk, SnapshotStats, Walk};
pub use space::{DbStats, Garbage, Keyspace, Stats};
pub use value::{Expiry, Held, HeldMut, Kind, Meta, NewCollection, NewStr, StrRef, Taken, Value, ValueRef, WrongType};
pub use view::KeyView;
