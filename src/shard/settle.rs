//! What follows from changes to keys, on the core that owns them.
//!
//! While anybody watches keys, the keyspace notes each change; the notes are worked off after the command that made them, in their order.

use super::caching::Cause;
use super::{Shard, ShardIo};
use crate::keyspace::{Changes, EventClass, What};
use crate::runtime::{ExecutorId, SocketId};

/// The client whose command made a change: its core and its socket there.
pub type Author = (ExecutorId, SocketId);

impl Shard {
    /// Whether changes to keys are of interest to anybody.
    pub(super) fn watches_keys(&self) -> bool {
        !self.watches.is_empty()
            || self.caching.watches_keys()
            || !self.waiters.is_empty()
            || self.config.notify_keyspace_events.any()
    }

    /// Works off the notes of what was done to this core's keys. `author` is who asked for it; expiry and eviction have none.
    #[cold]
    pub(super) fn settle_changes(&mut self, io: &mut ShardIo, author: Option<Author>) {
        let changes = self.keyspace.changes.take();
        self.settle(io, &changes, author);
    }

    /// The same for notes that another core has taken of this core's keys.
    pub(super) fn settle(&mut self, io: &mut ShardIo, changes: &Changes, author: Option<Author>) {
        let mut notes = changes.iter().peekable();
        while let Some((change, key)) = notes.next() {
            match change.what {
                What::Modified => {
                    self.watches.modified(usize::from(change.db), change.hash);
                    let cause = match notes.peek().map(|(next, _)| next.what) {
                        Some(What::Event(EventClass::Expired, _)) => Cause::Expiry,
                        Some(What::Event(EventClass::Evicted, _)) => Cause::Eviction,
                        _ => Cause::Command,
                    };
                    self.invalidate(key, author, cause);
                    if !self.waiters.is_empty() {
                        self.key_changed(usize::from(change.db), change.hash);
                    }
                }
                What::Event(class, name) => self.publish_event(io, change.db, class, name, key),
            }
        }
    }
}
