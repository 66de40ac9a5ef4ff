//! Keys that hold collections.

use super::KeyView;
use crate::keyspace::entry::Entry;
use crate::keyspace::expiry::ExpiryMode;
use crate::keyspace::field_expiry::FIELDS_ON_THE_WAY;
use crate::keyspace::hash::KeyHash;
use crate::keyspace::value::{Held, HeldMut, NewCollection, ValueRef, WrongType};
use crate::types::Collection;

impl KeyView<'_> {
    /// The collection at the key, for a reading command: counts a hit or miss, touches the access clock.
    #[inline]
    pub fn collection<T: Collection>(&mut self, key: &[u8]) -> Result<Option<Held<'_, T>>, WrongType> {
        let Some(place) = self.look_counted(key) else { return Ok(None) };
        self.touch_at(place);
        match self.table().entry(place).value() {
            ValueRef::Packed(kind, bytes) if kind == T::KIND => Ok(Some(Held::Packed(bytes))),
            ValueRef::Object(object) => T::of(object).map(|full| Some(Held::Full(full))).ok_or(WrongType),
            ValueRef::Packed(..) | ValueRef::Str(_) => Err(WrongType),
        }
    }

    /// What [`Self::collection`] has found at a key, for a command that reads several at a time. Counts and touches nothing.
    pub fn found<T: Collection>(&self, key: &[u8]) -> Option<Held<'_, T>> {
        let hash = self.space.hasher.hash(key);
        let space = match &self.guests {
            Some(guests) if !self.space.slots.contains(&hash.slot) => guests,
            Some(_) | None => &*self.space,
        };
        let table = &space.tables[self.db];
        match table.entry(table.find(hash, key)?).value() {
            ValueRef::Packed(kind, bytes) if kind == T::KIND => Some(Held::Packed(bytes)),
            ValueRef::Object(object) => T::of(object).map(Held::Full),
            ValueRef::Packed(..) | ValueRef::Str(_) => None,
        }
    }

    /// The collection at the key, for a command that may go on to change it: touches the access clock, counts nothing. Whoever changes a full one
    /// says so with [`Self::changed`], and removes the key when nothing is left in it.
    #[inline]
    pub fn collection_to_change<T: Collection>(&mut self, key: &[u8]) -> Result<Option<HeldMut<'_, T>>, WrongType> {
        let Some(place) = self.look(key) else { return Ok(None) };
        self.touch_at(place);
        let entry = self.table().entry(place);
        if entry.kind() != T::KIND {
            return Err(WrongType);
        }
        if let ValueRef::Object(_) = entry.value() {
            let entry = self.table_to_change(place).entry_mut(place);
            return entry.object_mut().and_then(T::of_mut).map(|full| Some(HeldMut::Full(full))).ok_or(WrongType);
        }
        match self.table().entry(place).value() {
            ValueRef::Packed(_, bytes) => Ok(Some(HeldMut::Packed(bytes))),
            ValueRef::Str(_) | ValueRef::Object(_) => Err(WrongType),
        }
    }

    /// Takes fields out of the hash at the key whose time has passed, and the key with the last of them, where keys expire as well. To be called
    /// before anything else is done with a hash: there may be more of them left than can go at once, but none of those `named`.
    #[inline]
    pub fn expire_fields<'n>(&mut self, key: &[u8], named: impl Iterator<Item = &'n [u8]>) {
        let hash = self.hash(key);
        let now_ms = self.now_ms;
        if self.table().field_dues.any(now_ms) {
            self.expire_fields_of(key, hash, named);
        }
    }

    #[cold]
    fn expire_fields_of<'n>(&mut self, key: &[u8], hash: KeyHash, named: impl Iterator<Item = &'n [u8]>) {
        let Some(place) = self.look(key) else { return };
        let (db, now_ms) = (self.db, self.now_ms);
        self.space().expire_fields(db, place, hash, now_ms, FIELDS_ON_THE_WAY, named);
    }

    /// The time by which fields of hashes are to be judged: those that expire earlier are not to be seen. Zero for what comes from a primary, as it says
    /// itself which fields go.
    pub fn fields_now_ms(&self) -> u64 {
        if self.space.expiry_mode == ExpiryMode::Ignored { 0 } else { self.now_ms }
    }

    /// The earliest expiry of a field of a full hash has changed. [`Self::set_packed`] sees to that itself.
    pub fn field_expiry_changed(&mut self, key: &[u8], before: Option<u64>, after: Option<u64>) {
        let hash = self.hash(key);
        self.table().field_dues.note(hash, before, after);
    }

    /// Puts the bytes of a packed collection, as a new key or in place of what was there, whose expiry it keeps.
    pub fn set_packed<T: Collection>(&mut self, key: &[u8], bytes: &[u8]) {
        self.set_collection(key, NewCollection::Packed(T::KIND, bytes));
    }

    /// Puts a full collection, likewise.
    pub fn set_full<T: Collection>(&mut self, key: &[u8], full: T) {
        self.set_collection(key, NewCollection::Object(Box::new(full.into_object())));
    }

    /// Puts a collection, likewise.
    pub fn set_collection(&mut self, key: &[u8], value: NewCollection<'_>) {
        let hash = self.hash(key);
        match self.look(key) {
            Some(place) => {
                self.table_to_change(place).assign_collection(place, hash, value);
            }
            None => {
                let clock = self.policy.new_clock(self.now_ms);
                let entry = Entry::of_collection(hash.tag(), key, value, None, clock);
                self.insert_absent(hash, key, entry);
            }
        }
        self.modified(hash, key);
    }
}
