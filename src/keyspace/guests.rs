//! Entries on a visit: how keys of one core are handed to another for the time of one command or transaction.
//!
//! The owner *checks out* keys: of a key that may be changed the entry leaves its table and travels; of a key that is only read it stays, and
//! an alias travels. On the executing core the visitors live in a keyspace of their own, which a [`KeyView`](super::KeyView) uses for
//! all keys whose slot is another core's. Then each is *checked in*: whatever stands under the key now goes back, and the owner puts it into its
//! table.
//!
//! Locks (see `shard::locks`) make sure that a travelling key is asked for by nobody, and a lent one changed by nobody. What goes on without
//! locks (expiry, eviction) leaves lent entries alone.

use super::entry::Entry;
use super::expiry::ExpiryMode;
use super::hash::{Hasher, KeyHash};
use super::slot::SLOTS;
use super::space::Keyspace;

/// What travels of one key.
#[derive(Debug, Default)]
pub enum Visit {
    /// No such key, or not under way.
    #[default]
    None,
    /// The entry itself.
    Moved(Entry),
    /// An alias of an entry that stays with its owner. Only to be read, and never dropped.
    Lent(Lent),
}

/// Forgets its entry when dropped.
#[derive(Debug)]
pub struct Lent(Option<Entry>);

impl Drop for Lent {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

impl Keyspace {
    /// A keyspace for visitors from all other cores.
    pub fn for_guests(&self) -> Keyspace {
        let mut guests = Keyspace::new(0..SLOTS, self.tables.len(), 0);
        guests.hasher = self.hasher.clone();
        guests.changes.record(true);
        guests
    }

    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Hands a key of this core out; `changes`: it may be changed there. The caller holds its lock.
    pub fn check_out(&mut self, db: usize, hash: KeyHash, key: &[u8], now_ms: u64, changes: bool) -> Visit {
        let Some(place) = self.tables[db].find(hash, key) else { return Visit::None };
        // Where keys do not expire, it is the executing core's command that decides whether to see this one.
        if self.expiry_mode == ExpiryMode::Own && self.remove_if_due(db, place, now_ms) {
            return Visit::None;
        }
        if changes {
            self.away[db] += 1;
            Visit::Moved(self.remove(db, place, hash))
        } else {
            *self.lent.entry((db, hash.hash)).or_default() += 1;
            Visit::Lent(Lent(Some(self.tables[db].entry_mut(place).lend())))
        }
    }

    /// Takes back what stands under a key that could be changed, or nothing if it was removed. `was_there`: it was handed out as an entry.
    pub fn check_in(&mut self, db: usize, hash: KeyHash, visit: Visit, was_there: bool) {
        self.away[db] -= usize::from(was_there);
        if let Visit::Moved(mut entry) = visit {
            // It may be from a snapshot that has ended meanwhile.
            entry.set_mark(0);
            self.insert(db, hash, entry);
        }
    }

    /// One alias of a key is gone; with the last, the key's entry may change and go again.
    pub fn end_lending(&mut self, db: usize, hash: KeyHash, key: &[u8]) {
        if let Some(aliases) = self.lent.get_mut(&(db, hash.hash)) {
            *aliases -= 1;
            if *aliases > 0 {
                return;
            }
            self.lent.remove(&(db, hash.hash));
        }
        if let Some(place) = self.tables[db].find(hash, key) {
            self.tables[db].entry_mut(place).set_lent(false);
        }
    }

    /// Lets a visitor into this keyspace, which is one for guests.
    pub fn welcome(&mut self, db: usize, hash: KeyHash, visit: Visit) {
        let entry = match visit {
            Visit::None => return,
            Visit::Moved(entry) => entry,
            Visit::Lent(mut lent) => match lent.0.take() {
                Some(entry) => entry,
                None => return,
            },
        };
        self.insert(db, hash, entry);
    }

    /// Takes out what stands under the key in this keyspace, which is one for guests.
    pub fn see_off(&mut self, db: usize, hash: KeyHash, key: &[u8]) -> Visit {
        let Some(place) = self.tables[db].find(hash, key) else { return Visit::None };
        let entry = self.remove(db, place, hash);
        if entry.is_lent() { Visit::Lent(Lent(Some(entry))) } else { Visit::Moved(entry) }
    }

    /// Whether a key of that hash is there, expired or not.
    pub fn has_hash(&self, db: usize, hash: KeyHash) -> bool {
        self.tables[db].find_hash(&self.hasher, hash).is_some()
    }

    /// Whether a key's time has passed and it is not to be seen. Then it is removed, if that is this keyspace's to do.
    pub fn remove_due_key(&mut self, db: usize, hash: KeyHash, key: &[u8], now_ms: u64) -> bool {
        self.tables[db].find(hash, key).is_some_and(|place| self.remove_if_due(db, place, now_ms))
    }

    /// Adds the other's counts of hits, misses and expired keys to this one's, and clears them there.
    pub fn absorb_stats(&mut self, guests: &mut Keyspace) {
        let theirs = std::mem::take(&mut guests.stats);
        self.stats.hits += theirs.hits;
        self.stats.misses += theirs.misses;
        self.stats.expired += theirs.expired;
        self.stats.expired_fields += theirs.expired_fields;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expiry, NewStr, Policy, What};
    use super::*;

    const NOW_MS: u64 = 1_000_000;

    /// Two cores that share the slots, and the visitors on the first.
    fn cores() -> (Keyspace, Keyspace, Keyspace) {
        let one = Keyspace::new(0..SLOTS / 2, 2, 7);
        let two = Keyspace::new(SLOTS / 2..SLOTS, 2, 7);
        let guests = one.for_guests();
        (one, two, guests)
    }

    fn set(space: &mut Keyspace, key: &[u8], value: &[u8], expiry: Expiry) {
        space.view(0, NOW_MS, &Policy::default()).set_string(key, NewStr::Copy(value), expiry);
    }

    /// `foo` belongs to the second core, `bar` to the first.
    #[test]
    fn a_moved_entry_is_changed_abroad_and_comes_back() {
        let (mut one, mut two, mut guests) = cores();
        let policy = Policy::default();
        set(&mut two, b"foo", b"old", Expiry::None);
        let hash = two.hasher().hash(b"foo");
        let visit = two.check_out(0, hash, b"foo", NOW_MS, true);
        assert_eq!((two.len(0), two.db_stats(0, NOW_MS).keys), (0, 1));
        guests.welcome(0, hash, visit);
        {
            let mut view = one.view(0, NOW_MS, &policy).with_guests(&mut guests);
            let taken = view.take(b"foo").expect("visits");
            view.put(b"bar", taken);
            view.set_string(b"foo", NewStr::Copy(b"new value"), Expiry::AtMs(NOW_MS + 5));
        }
        two.check_in(0, hash, guests.see_off(0, hash, b"foo"), true);
        assert_eq!((one.len(0), two.len(0), guests.len(0)), (1, 1, 0));
        assert_eq!(two.db_stats(0, NOW_MS).keys, 1);
        assert_eq!(two.view(0, NOW_MS, &policy).expire_at_ms(b"foo"), Some(Some(NOW_MS + 5)));
        assert!(one.view(0, NOW_MS, &policy).exists(b"bar"));
    }

    /// Nobody watches keys of the executing core here; the owner of a visitor is told all the same.
    #[test]
    fn every_change_of_a_visitor_is_noted() {
        let (mut one, two, mut guests) = cores();
        let hash = two.hasher().hash(b"foo");
        let policy = Policy::default();
        let changes: [fn(&mut super::super::KeyView<'_>); 5] = [
            |view| view.set_string(b"foo", NewStr::Copy(b"value"), Expiry::None),
            |view| view.changed(b"foo"),
            |view| assert!(view.set_expire_at_ms(b"foo", Some(NOW_MS + 5))),
            |view| assert!(view.remove(b"foo")),
            |view| view.changed(b"foo"),
        ];
        for (number, change) in changes.iter().enumerate() {
            change(&mut one.view(0, NOW_MS, &policy).with_guests(&mut guests));
            let taken = guests.changes.take();
            let modified = taken.iter().filter(|(change, _)| change.what == What::Modified);
            let noted: Vec<KeyHash> = modified.map(|(change, _)| change.hash).collect();
            assert_eq!(noted, [hash], "change {number}");
        }
        assert!(one.changes.is_empty());
    }

    #[test]
    fn a_lent_entry_stays_whatever_expires_or_is_evicted() {
        let (mut one, mut two, mut guests) = cores();
        let policy = Policy { kind: super::super::PolicyKind::AllKeysRandom, ..Policy::default() };
        set(&mut two, b"foo", b"value", Expiry::AtMs(NOW_MS + 1));
        let hash = two.hasher().hash(b"foo");
        guests.welcome(0, hash, two.check_out(0, hash, b"foo", NOW_MS, false));
        let later = NOW_MS + 10;
        assert!(!two.view(0, later, &policy).exists(b"foo"), "its time has passed");
        assert_eq!(two.expire_some(later, 1000).expired, 0);
        assert!(two.evict_one(&policy, later).is_none());
        assert_eq!(two.len(0), 1);
        {
            let mut view = one.view(0, NOW_MS, &policy).with_guests(&mut guests);
            assert!(view.touch(b"foo"));
        }
        drop(guests.see_off(0, hash, b"foo"));
        two.end_lending(0, hash, b"foo");
        assert_eq!(two.expire_some(later, 1000).expired, 1);
        assert_eq!((two.len(0), guests.len(0)), (0, 0));
    }
}
