//! Values that move from key to key or leave and enter the keyspace, and what is told of a key beside its value.

use super::KeyView;
use crate::keyspace::entry::{EMBEDDED_BYTES, Entry, RAW};
use crate::keyspace::eviction::Policy;
use crate::keyspace::value::{Expiry, Meta, NewCollection, NewStr, Taken, Value};

impl KeyView<'_> {
    /// Removes the key and hands over its value and expiry.
    pub fn take(&mut self, key: &[u8]) -> Option<Taken> {
        let place = self.look(key)?;
        let hash = self.hash(key);
        let entry = self.remove_at(place, hash);
        self.modified(hash, key);
        let (raw, expire_at_ms) = (entry.encoding() == RAW, entry.expire_at_ms());
        Some(Taken { value: entry.into_value(), raw, expire_at_ms })
    }

    /// A copy of the key's value and expiry; large strings are shared. No touch, counts nothing.
    pub fn copy(&mut self, key: &[u8]) -> Option<Taken> {
        let place = self.look(key)?;
        let entry = self.table().entry_mut(place);
        let (raw, expire_at_ms) = (entry.encoding() == RAW, entry.expire_at_ms());
        Some(Taken { value: entry.shared_value(), raw, expire_at_ms })
    }

    /// Puts a value, whatever was there before, as a new key.
    pub fn put(&mut self, key: &[u8], taken: Taken) {
        self.discard(key);
        let expiry = taken.expire_at_ms.map_or(Expiry::None, Expiry::AtMs);
        match taken.value {
            Value::Int(number) => self.set_string(key, NewStr::Int(number), expiry),
            Value::Str(text) => {
                let short = text.len() <= EMBEDDED_BYTES;
                self.set_string(key, NewStr::Text(text), expiry);
                if taken.raw
                    && short
                    && let Some(place) = self.look(key)
                {
                    self.table_to_change(place).entry_mut(place).bytes_mut(0);
                }
            }
            Value::Packed(kind, bytes) => {
                self.put_collection(key, NewCollection::Packed(kind, &bytes), taken.expire_at_ms)
            }
            Value::Object(object) => self.put_collection(key, NewCollection::Object(object), taken.expire_at_ms),
        }
    }

    fn put_collection(&mut self, key: &[u8], value: NewCollection<'_>, expire_at_ms: Option<u64>) {
        let hash = self.hash(key);
        let entry = Entry::of_collection(hash.tag(), key, value, expire_at_ms, self.policy.new_clock(self.now_ms));
        self.insert_entry(hash, entry);
        self.created(hash, key);
        self.modified(hash, key);
    }

    /// What OBJECT and MEMORY USAGE tell; no touch, counts nothing.
    pub fn meta(&mut self, key: &[u8]) -> Option<Meta> {
        let place = self.look(key)?;
        let (policy, now_ms) = (self.policy, self.now_ms);
        let entry = self.table().entry(place);
        Some(Meta {
            kind: entry.kind(),
            encoding: entry.encoding(),
            idle_ms: Policy::idle_ms(entry.clock(), now_ms),
            frequency: policy.frequency(entry.clock(), now_ms),
            bytes: entry.heap_bytes() + TABLE_SLOT_BYTES,
        })
    }

    /// RESTORE's IDLETIME: sets the access clock that many milliseconds back (LRU policies only).
    pub fn set_idle_ms(&mut self, key: &[u8], idle_ms: u64) {
        if !self.counts_frequency() {
            self.set_clock(key, Policy::idle_clock(idle_ms, self.now_ms));
        }
    }

    /// RESTORE's FREQ: sets the LFU counter (LFU policies only).
    pub fn set_frequency(&mut self, key: &[u8], frequency: u8) {
        if self.counts_frequency() {
            self.set_clock(key, Policy::frequency_clock(frequency, self.now_ms));
        }
    }

    fn set_clock(&mut self, key: &[u8], clock: u32) {
        if let Some(place) = self.look(key) {
            self.table().entry_mut(place).set_clock(clock);
        }
    }

    /// Whether `maxmemory-policy` is an LFU one (OBJECT FREQ) or not (OBJECT IDLETIME).
    pub fn counts_frequency(&self) -> bool {
        self.policy.kind.counts_frequency()
    }
}

/// A pointer and a control byte.
const TABLE_SLOT_BYTES: usize = 9;
