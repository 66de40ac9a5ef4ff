//! Bringing the entries of several keys into the cache at once, before the commands that want them run.
//!
//! A look-up in a large table waits for memory four times in a row: the segment, its marks, its entry pointer, the entry. For one key
//! these waits cannot overlap; for the keys of a pipeline they can. Each pass here asks for the next line of every key and waits for none.

use super::{KeyHash, Keyspace};
pub(super) use crate::runtime::prefetch::line;

/// Keys whose waits overlap: a core has about so many loads under way at most, and their lines fit the first-level cache.
pub(super) const AT_ONCE: usize = 16;

impl Keyspace {
    /// The place of a key of that slot among all, to be given to [`Keyspace::prefetch`] and `KeyView::know`.
    #[inline]
    pub fn hash(&self, key: &[u8], slot: u16) -> KeyHash {
        self.hasher.hash_in_slot(key, slot)
    }

    /// Brings the entries of these keys of a database close, as far as they exist. Changes nothing.
    pub fn prefetch(&self, db: usize, keys: &[KeyHash]) {
        if let Some(table) = self.tables.get(db) {
            table.prefetch(keys);
        }
    }
}
