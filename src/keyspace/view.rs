//! What a command sees of the keyspace: named keys of one database, read, changed, put and removed.

mod collections;
mod whole;

use super::changes::{EventClass, What};
use super::entry::Entry;
use super::eviction::Policy;
use super::expiry::{ExpiryMode, is_due, note_expired};
use super::hash::{Dice, KeyHash};
use super::space::Keyspace;
use super::table::{Place, Table};
use super::value::{Expiry, Kind, NewStr, StrRef, ValueRef, WrongType};

/// The hash of the last key, with all of the key's bytes in four words, so that a match is exact.
#[derive(Clone, Copy)]
struct Recent {
    length: usize,
    words: [u64; 4],
    hash: KeyHash,
}

/// Keys up to this length are remembered.
const RECENT_BYTES: usize = 32;

impl Recent {
    const NONE: Self = Self { length: usize::MAX, words: [0; 4], hash: KeyHash { slot: 0, hash: 0 } };

    /// All bytes of a key of up to 32, in words that overlap where it is shorter.
    #[inline]
    fn words(key: &[u8]) -> [u64; 4] {
        if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
            let inner = key.len() - 8;
            let word = |at: usize| key[at..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            [u64::from_le_bytes(*first), word(inner.min(8)), word(inner.min(16)), u64::from_le_bytes(*last)]
        } else {
            let mut bytes = [0; 8];
            bytes[..key.len()].copy_from_slice(key);
            [u64::from_le_bytes(bytes), 0, 0, 0]
        }
    }
}

/// One database of one shard, at one moment.
///
/// A key whose time has passed is removed at first sight, so no method shows an expired value; other [`ExpiryMode`]s only hide it, or take it as
/// any other.
pub struct KeyView<'a> {
    space: &'a mut Keyspace,
    /// Where keys of other cores are, while a command runs that names some.
    guests: Option<&'a mut Keyspace>,
    /// The key named last is among the guests.
    visiting: bool,
    policy: &'a Policy,
    now_ms: u64,
    db: usize,
    recent: Recent,
    /// The key given to [`KeyView::know`]: address and length, and its hash.
    known: Option<(*const u8, usize, KeyHash)>,
}

impl<'v> KeyView<'v> {
    /// Panics if there is no such database.
    pub(super) fn new(space: &'v mut Keyspace, db: usize, now_ms: u64, policy: &'v Policy) -> Self {
        assert!(db < space.tables.len(), "database {db} of {}", space.tables.len());
        Self { space, guests: None, visiting: false, policy, now_ms, db, recent: Recent::NONE, known: None }
    }

    /// The same view, with the keys of other cores in `guests`, to which applies from then on what applies to this keyspace's own: whether keys
    /// expire, and whether removals are noted.
    pub fn with_guests(self, guests: &'v mut Keyspace) -> Self {
        guests.expiry_mode = self.space.expiry_mode;
        guests.removals.turn(self.space.removals.is_on());
        Self { guests: Some(guests), ..self }
    }
}

impl KeyView<'_> {
    /// Unix time in milliseconds, the same for the whole command.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whether a key that expires then goes at once. Never for what comes from a primary: the key may get another expiry further on in its stream,
    /// however late that is applied, and where it goes the primary says so.
    pub fn is_past(&self, at_ms: u64) -> bool {
        at_ms <= self.now_ms && self.space.expiry_mode != ExpiryMode::Ignored
    }

    /// Whether commands come from a primary, which has checked them: what clients may not say it may.
    pub fn obeys(&self) -> bool {
        self.space.expiry_mode == ExpiryMode::Ignored
    }

    /// The selected database.
    pub fn db(&self) -> usize {
        self.db
    }

    /// The number of databases.
    pub fn databases(&self) -> usize {
        self.space.tables.len()
    }

    /// The same keyspace, looking at another database. Panics if there is no such database.
    pub fn in_db(&mut self, db: usize) -> KeyView<'_> {
        let (recent, known) = (self.recent, self.known);
        let guests = self.guests.as_deref_mut();
        KeyView { guests, recent, known, ..KeyView::new(self.space, db, self.now_ms, self.policy) }
    }

    /// Tells the slot of the key that the next calls will name, when the router has it already.
    #[inline]
    pub fn hint(&mut self, key: &[u8], slot: u16) {
        debug_assert_eq!(slot, super::slot::slot(key));
        self.remember(key, Recent::words, slot);
    }

    /// Tells the hash of the key that the next calls will name, when it was computed before. The key is known again by where it lies, so it
    /// must stay in place as long as this view is used: true of a command's arguments.
    #[inline]
    pub fn know(&mut self, key: &[u8], hash: KeyHash) {
        debug_assert_eq!(hash, self.space.hasher.hash(key));
        self.known = Some((key.as_ptr(), key.len(), hash));
    }

    #[inline]
    fn remember(&mut self, key: &[u8], words: impl Fn(&[u8]) -> [u64; 4], slot: u16) -> KeyHash {
        let hash = self.space.hasher.hash_in_slot(key, slot);
        if key.len() <= RECENT_BYTES {
            self.recent = Recent { length: key.len(), words: words(key), hash };
        }
        hash
    }

    /// The key's hash; the methods that follow work on the keyspace that has the key.
    #[inline]
    fn hash(&mut self, key: &[u8]) -> KeyHash {
        let hash = self.find_hash(key);
        if self.guests.is_some() {
            self.visiting = !self.space.slots.contains(&hash.slot);
        }
        hash
    }

    #[inline]
    fn find_hash(&mut self, key: &[u8]) -> KeyHash {
        if let Some((at, length, hash)) = self.known
            && at == key.as_ptr()
            && length == key.len()
        {
            return hash;
        }
        if key.len() > RECENT_BYTES {
            return self.space.hasher.hash(key);
        }
        let words = Recent::words(key);
        if self.recent.length == key.len() && self.recent.words == words {
            return self.recent.hash;
        }
        self.remember(key, |_| words, super::slot::slot(key))
    }

    /// The keyspace that has the key named last.
    #[inline]
    fn space(&mut self) -> &mut Keyspace {
        match &mut self.guests {
            Some(guests) if self.visiting => guests,
            _ => self.space,
        }
    }

    /// A table in which the entry at a place is about to change.
    #[inline]
    fn table_to_change(&mut self, place: Place) -> &mut Table {
        let db = self.db;
        let space = self.space();
        space.before_change(db, place);
        &mut space.tables[db]
    }

    /// Takes out what is at a place.
    fn remove_at(&mut self, place: Place, hash: KeyHash) -> Entry {
        let db = self.db;
        self.space().remove(db, place, hash)
    }

    #[inline]
    fn table(&mut self) -> &mut Table {
        let db = self.db;
        &mut self.space().tables[db]
    }

    /// Notes that the key named last has changed.
    #[inline]
    fn modified(&mut self, hash: KeyHash, key: &[u8]) {
        let db = self.db;
        self.space().changes.note(db, hash, key, What::Modified);
    }

    /// Whether anybody may want to know of changes. Whether the owners of visiting keys do, only they know.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.guests.is_some() || self.space.changes.is_recording()
    }

    /// Notes a keyspace event of a key.
    #[inline]
    pub fn event(&mut self, key: &[u8], class: EventClass, name: &'static str) {
        if self.is_watched() {
            let hash = self.hash(key);
            let db = self.db;
            self.space().changes.note(db, hash, key, What::Event(class, name));
        }
    }

    /// Notes that the key named last is new.
    #[inline]
    fn created(&mut self, hash: KeyHash, key: &[u8]) {
        let db = self.db;
        self.space().changes.note(db, hash, key, What::Event(EventClass::New, "new"));
    }

    /// Where the key is, if it is there and has not expired.
    #[inline]
    fn look(&mut self, key: &[u8]) -> Option<Place> {
        let hash = self.hash(key);
        let place = self.table().find(hash, key)?;
        let (db, now_ms) = (self.db, self.now_ms);
        let gone = self.space().remove_if_due(db, place, now_ms);
        (!gone).then_some(place)
    }

    /// The same, counting a hit or a miss.
    #[inline]
    fn look_counted(&mut self, key: &[u8]) -> Option<Place> {
        let found = self.look(key);
        match found {
            Some(_) => self.space().stats.hits += 1,
            None => {
                self.space().stats.misses += 1;
                self.event(key, EventClass::KeyMiss, "keymiss");
            }
        }
        found
    }

    #[inline]
    fn touch_at(&mut self, place: Place) {
        if !self.policy.touches {
            return;
        }
        let (policy, now_ms, db) = (self.policy, self.now_ms, self.db);
        let space = self.space();
        let entry = space.tables[db].entry_mut(place);
        let touched = policy.touched(entry.clock(), now_ms, &mut space.dice);
        // Within one second an LRU clock stays as it is: no write to the entry's cache line.
        if touched != entry.clock() {
            entry.set_clock(touched);
        }
    }

    /// Whether the key exists; counts a hit or miss, does not touch the access clock.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.look_counted(key).is_some()
    }

    /// Whether the key exists; counts a hit or miss, and touches the access clock.
    pub fn touch(&mut self, key: &[u8]) -> bool {
        let found = self.look_counted(key);
        if let Some(place) = found {
            self.touch_at(place);
        }
        found.is_some()
    }

    /// The type of the value; no hit or miss, no touch.
    pub fn kind(&mut self, key: &[u8]) -> Option<Kind> {
        let place = self.look(key)?;
        Some(self.table().entry(place).kind())
    }

    /// The value, whatever its type; no hit or miss, no touch.
    pub fn value(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        let place = self.look(key)?;
        Some(self.table().entry(place).value())
    }

    /// The string at the key, for a reading command: counts a hit or miss, touches the access clock.
    #[inline]
    pub fn string(&mut self, key: &[u8]) -> Result<Option<StrRef<'_>>, WrongType> {
        match self.look_counted(key) {
            Some(place) => self.string_at(place).map(Some),
            None => Ok(None),
        }
    }

    /// The string at the key, for a command that goes on to change it: touches the access clock, counts nothing.
    #[inline]
    pub fn string_to_change(&mut self, key: &[u8]) -> Result<Option<StrRef<'_>>, WrongType> {
        match self.look(key) {
            Some(place) => self.string_at(place).map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn string_at(&mut self, place: Place) -> Result<StrRef<'_>, WrongType> {
        self.touch_at(place);
        let entry = self.table().entry_mut(place);
        if entry.kind() != Kind::String {
            return Err(WrongType);
        }
        entry.share();
        Ok(entry.string())
    }

    /// A die for a command that picks at random.
    pub fn dice(&mut self) -> Dice {
        Dice::new(self.space.dice.roll())
    }

    /// Puts an entry where nothing can be seen. What is there and hidden, as its time has passed, is replaced.
    fn insert_absent(&mut self, hash: KeyHash, key: &[u8], entry: Entry) {
        if let Some(place) = self.table().find(hash, key) {
            self.remove_at(place, hash);
        }
        self.insert_entry(hash, entry);
        self.created(hash, key);
    }

    /// Puts a string, whatever was there before.
    pub fn set_string(&mut self, key: &[u8], value: NewStr<'_>, expiry: Expiry) {
        let hash = self.hash(key);
        let Some(place) = self.table().find(hash, key) else { return self.insert(hash, key, value, expiry) };
        let entry = self.table().entry(place);
        debug_assert!(!entry.is_lent(), "a write to a key that was checked out to be read");
        let old = entry.expire_at_ms();
        let due = old.is_some_and(|at_ms| is_due(at_ms, self.now_ms));
        let replaced = !due || self.space().expiry_mode != ExpiryMode::Own;
        let expire_at_ms = match expiry {
            Expiry::None => None,
            Expiry::Keep => old.filter(|_| replaced),
            Expiry::AtMs(at_ms) => Some(at_ms),
        };
        let table = self.table_to_change(place);
        let fields = table.entry(place).field_expiry();
        table.field_dues.note(hash, fields, None);
        table.assign(place, value, expire_at_ms);
        if replaced {
            self.touch_at(place);
        } else {
            // What was there counts as gone, so this is a new key in its place.
            let db = self.db;
            let space = self.space();
            space.stats.expired += 1;
            space.removals.note(db, key);
            note_expired(&mut space.changes, &space.hasher, db, key);
            let clock = self.policy.new_clock(self.now_ms);
            self.table().entry_mut(place).set_clock(clock);
            self.created(hash, key);
        }
        self.modified(hash, key);
    }

    fn insert(&mut self, hash: KeyHash, key: &[u8], value: NewStr<'_>, expiry: Expiry) {
        let expire_at_ms = match expiry {
            Expiry::None | Expiry::Keep => None,
            Expiry::AtMs(at_ms) => Some(at_ms),
        };
        let entry = Entry::new(hash.tag(), key, value, expire_at_ms, self.policy.new_clock(self.now_ms));
        self.insert_entry(hash, entry);
        self.created(hash, key);
        self.modified(hash, key);
    }

    fn insert_entry(&mut self, hash: KeyHash, entry: Entry) -> Place {
        let db = self.db;
        self.space().insert(db, hash, entry)
    }

    /// The bytes of the string at the key, made at least `min_len` long by zero bytes; created when absent, unshared when shared,
    /// no longer an integer. Growth is amortised. Keeps the expiry. Whoever changes them says so with [`Self::changed`].
    pub fn string_bytes_mut(&mut self, key: &[u8], min_len: usize) -> Result<&mut [u8], WrongType> {
        let place = match self.look(key) {
            Some(place) => place,
            None => {
                let hash = self.hash(key);
                let clock = self.policy.new_clock(self.now_ms);
                let entry = Entry::new(hash.tag(), key, NewStr::Copy(b""), None, clock);
                self.created(hash, key);
                self.insert_entry(hash, entry)
            }
        };
        if self.table().entry(place).kind() != Kind::String {
            return Err(WrongType);
        }
        Ok(self.table_to_change(place).entry_mut(place).bytes_mut(min_len))
    }

    /// Whether the string at the key may be changed by a command that only reads: not if another core reads it, too, nor where it is the
    /// primary that changes things, or nobody while clients are paused.
    pub fn may_touch_up(&mut self, key: &[u8]) -> bool {
        self.space.expiry_mode != ExpiryMode::Hidden
            && self.look(key).is_some_and(|place| !self.table().entry(place).is_lent())
    }

    /// Random bits, for choices that need no secrecy.
    pub fn roll(&mut self) -> u64 {
        self.space.dice.roll()
    }

    /// Notes that the bytes at the key are others than before.
    #[inline]
    pub fn changed(&mut self, key: &[u8]) {
        if self.is_watched() {
            let hash = self.hash(key);
            self.modified(hash, key);
        }
    }

    /// Removes the key; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(place) = self.look(key) else { return false };
        let hash = self.hash(key);
        self.remove_at(place, hash);
        self.modified(hash, key);
        true
    }

    /// The same for a key that may have expired: nobody is told that it had, and it counts as having been there.
    pub fn discard(&mut self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let Some(place) = self.table().find(hash, key) else { return false };
        self.remove_at(place, hash);
        self.modified(hash, key);
        true
    }

    /// `None`: no such key. `Some(None)`: no expiry. Unix time in milliseconds otherwise. No touch.
    pub fn expire_at_ms(&mut self, key: &[u8]) -> Option<Option<u64>> {
        let place = self.look(key)?;
        Some(self.table().entry(place).expire_at_ms())
    }

    /// Sets or clears the expiry; whether the key is there. A time already passed is stored: the next look removes the key.
    pub fn set_expire_at_ms(&mut self, key: &[u8], at_ms: Option<u64>) -> bool {
        let Some(place) = self.look(key) else { return false };
        self.table_to_change(place).set_expire_at_ms(place, at_ms);
        self.changed(key);
        true
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
