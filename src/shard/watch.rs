//! WATCH: versions of the keys that somebody watches, on the core that owns them.
//!
//! A client remembers the version a key had when it began to watch it, and EXEC compares under the locks of its keys. Versions come from one
//! counter of the core, so a key that was forgotten and watched again never has an old one.

use hashbrown::HashMap;

use crate::keyspace::KeyHash;

/// A key that a client watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub db: usize,
    pub hash: KeyHash,
    pub key: Box<[u8]>,
    /// Zero until its owner has told.
    pub version: u64,
    /// On a replica: its time had passed already, and its primary had not removed it.
    pub expired: bool,
}

struct Version {
    version: u64,
    watchers: usize,
}

/// The watched keys of one core. Bounded by what clients hold in their own lists.
#[derive(Default)]
pub struct WatchTable {
    keys: HashMap<(usize, u16, u64), Version>,
    last: u64,
}

fn name(db: usize, hash: KeyHash) -> (usize, u16, u64) {
    (db, hash.slot, hash.hash)
}

impl WatchTable {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// One more client watches the key: its version now.
    pub fn watch(&mut self, db: usize, hash: KeyHash) -> u64 {
        self.last += 1;
        let version = self.keys.entry(name(db, hash)).or_insert(Version { version: self.last, watchers: 0 });
        version.watchers += 1;
        version.version
    }

    /// One client less.
    pub fn unwatch(&mut self, db: usize, hash: KeyHash) {
        if let Some(version) = self.keys.get_mut(&name(db, hash)) {
            version.watchers -= 1;
            if version.watchers == 0 {
                self.keys.remove(&name(db, hash));
            }
        }
    }

    pub fn modified(&mut self, db: usize, hash: KeyHash) {
        self.last += 1;
        if let Some(version) = self.keys.get_mut(&name(db, hash)) {
            version.version = self.last;
        }
    }

    pub fn is_unchanged(&self, watched: &Watched) -> bool {
        self.keys.get(&name(watched.db, watched.hash)).is_some_and(|version| version.version == watched.version)
    }

    /// The watched keys of a database, for what changes all of it at once.
    pub fn in_database(&self, db: usize) -> Vec<KeyHash> {
        let keys = self.keys.keys().filter(|(of, _, _)| *of == db);
        keys.map(|(_, slot, hash)| KeyHash { slot: *slot, hash: *hash }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_never_comes_again() {
        let mut table = WatchTable::default();
        let hash = KeyHash { slot: 1, hash: 2 };
        let watched = |version| Watched { db: 0, hash, key: Box::default(), version, expired: false };
        let first = table.watch(0, hash);
        assert!(table.is_unchanged(&watched(first)));
        assert_eq!(table.watch(0, hash), first);
        table.modified(0, hash);
        table.modified(1, hash);
        assert!(!table.is_unchanged(&watched(first)));
        let second = table.watch(0, hash);
        for _ in 0..3 {
            table.unwatch(0, hash);
        }
        assert!(table.is_empty() && !table.is_unchanged(&watched(second)));
        assert!(table.watch(0, hash) > second);
        assert_eq!((table.in_database(0), table.in_database(1)), (vec![hash], vec![]));
    }
}
