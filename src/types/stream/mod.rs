//! Streams: a log of entries, each an ID and fields with values, and groups of consumers that share the work of reading it.
//!
//! - [`Log`] has the entries, in [`block`]s of about a hundred, and the counters; [`iter`] walks over it
//! - [`Group`] has what a consumer group knows
//! - [`sealed`] keeps the blocks between the first and the last ones compressed
//! - [`ordered`] is the map from IDs that both are made of
//! - [`listpack`] knows what elements take in Redis's form of a block, which says when a block is full; [`load`] is for those who read and
//!   write that form
//!
//! Guarantees: a clone costs a pointer for some ten thousand entries and one for each group; after it, a write copies a block, a leaf or a
//! group's list of leaves, never a whole stream. No operation but a trim and the deletion of a consumer takes longer the more there is.
//!
//! Knows nothing of commands, replies and files.

mod block;
mod group;
mod id;
mod iter;
mod listpack;
mod log;
mod ordered;
mod sealed;
#[cfg(test)]
pub(crate) mod tests;

pub use block::{BlockLimits, Entry, EntryFields};
pub use group::{Consumer, Group, Owner, Pending, entries_up_to};
pub use id::{BoundError, Id, MAX_ID_TEXT, NewId};
pub use iter::{Entries, Range, RangeReversed};
pub use log::{AppendError, Keep, Log, Precision, SetIdError};

/// The parts of blocks.
pub mod load {
    pub use super::block::{Block, Delta, Fields, State, Stored, flags, read_flags};
    pub use super::sealed::Opened;
}

use std::mem::size_of;
use std::sync::Arc;

use block::Block;

/// A stream with its consumer groups.
#[derive(Clone, Default)]
pub struct Stream {
    log: Log,
    /// In the order of their names.
    groups: Vec<Arc<Group>>,
}

impl Stream {
    pub fn new() -> Self {
        Self::default()
    }

    /// The entries.
    #[inline]
    pub fn log(&self) -> &Log {
        &self.log
    }

    #[inline]
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> u64 {
        self.log.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| group.name().cmp(name))
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        let at = self.position(name).ok()?;
        Some(&self.groups[at])
    }

    /// A group to write to: if a clone shares it, its list of leaves is copied.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.parts_mut(name).map(|(_, group)| group)
    }

    /// A group to write to while entries are read.
    pub fn parts_mut(&mut self, name: &[u8]) -> Option<(&Log, &mut Group)> {
        let at = self.position(name).ok()?;
        Some((&self.log, Arc::make_mut(&mut self.groups[at])))
    }

    /// All groups, in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> + '_ {
        self.groups.iter().map(|group| &**group)
    }

    /// Adds a group; whether there was none of this name.
    pub fn create_group(&mut self, name: &[u8], last_id: Id, entries_read: Option<i64>) -> bool {
        let Err(at) = self.position(name) else { return false };
        self.groups.insert(at, Arc::new(Group::new(name, last_id, entries_read)));
        true
    }

    /// Adds a group that was loaded; whether there was none of its name.
    #[must_use]
    pub fn load_group(&mut self, group: Group) -> bool {
        let Err(at) = self.position(group.name()) else { return false };
        self.groups.insert(at, Arc::new(group));
        true
    }

    /// Adds what comes behind, as part of the same stream: its entries and groups; its counters are those of all from now on. Whether its IDs
    /// are beyond those that are there, and its groups new.
    #[must_use]
    pub fn append(&mut self, part: &Stream) -> bool {
        let (log, end) = (&mut self.log, &part.log);
        part.log.blocks_from(Id::MIN).all(|block| log.load_block(Block::clone(&block)))
            && log.load_counters(end.last_id(), end.max_deleted_id(), end.entries_added())
            && part.groups.iter().all(|group| self.load_group(Group::clone(group)))
    }

    /// Takes a group out: as all that a stream has, to be freed as one, bit by bit.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Stream> {
        let at = self.position(name).ok()?;
        Some(Stream { log: Log::default(), groups: vec![self.groups.remove(at)] })
    }

    /// Frees about `budget` entries, pending ones included; whether there is more. Leaves a stream that is good for nothing else.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        let mut freed = self.log.drop_some(budget);
        while freed < budget
            && let Some(group) = self.groups.last_mut()
        {
            let own = Arc::get_mut(group).map_or(0, |group| group.drop_some(budget - freed));
            freed += own.max(1);
            if own == 0 {
                self.groups.pop();
            }
        }
        self.log.blocks() > 0 || !self.groups.is_empty()
    }

    /// An estimate of the memory that it takes beside this itself; looks at every group and consumer.
    pub fn heap_bytes(&self) -> usize {
        let groups = self.groups.iter().map(|group| 16 + size_of::<Group>() + group.heap_bytes());
        self.log.heap_bytes() + self.groups.capacity() * size_of::<Arc<Group>>() + groups.sum::<usize>()
    }

    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.log.check();
        self.groups().for_each(Group::check);
        assert!(self.groups().map(Group::name).is_sorted_by(|a, b| a < b));
    }
}
