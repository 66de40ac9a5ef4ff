//! Fields of hashes whose time has passed: taken out when a command comes to their hash, and by the active cycle.
//!
//! Each table knows its hashes with fields that expire, in the order of the earliest ([`FieldDues`]).
//!
//! Invariants
//! - a hash with such a field has a due of its earliest expiry, or an earlier one
//! - a due without a hash, or of another time than its hash's, is dropped when it comes up
//!
//! As with keys, fields are taken out only where that is this keyspace's to do ([`ExpiryMode::Own`]); reads pass over them everywhere but in the
//! stream of a primary.

use std::collections::BTreeSet;

use super::changes::{EventClass, What};
use super::entry::Entry;
use super::expiry::{ExpireProgress, ExpiryMode, is_due};
use super::hash::KeyHash;
use super::segment::NEVER;
use super::table::Place;
use super::{Keyspace, Kind, NewCollection, ValueRef};
use crate::types::hash::{Hash, compact};
use crate::types::{Collection, Object};

/// Fields that a command takes out of the hash it came for, beside those that it names.
pub(super) const FIELDS_ON_THE_WAY: usize = 256;

/// The hashes of a table that have fields which expire.
#[derive(Debug)]
pub(super) struct FieldDues {
    /// Earliest expiry, slot and hash of each.
    dues: BTreeSet<(u64, u16, u64)>,
    /// That of the first; [`NEVER`] if there is none.
    earliest_ms: u64,
}

impl Default for FieldDues {
    fn default() -> Self {
        Self { dues: BTreeSet::new(), earliest_ms: NEVER }
    }
}

impl FieldDues {
    /// Whether fields may have expired by now.
    #[inline]
    pub fn any(&self, now_ms: u64) -> bool {
        is_due(self.earliest_ms, now_ms)
    }

    /// The earliest expiry of a hash has changed.
    #[inline]
    pub fn note(&mut self, hash: KeyHash, before: Option<u64>, after: Option<u64>) {
        if before != after {
            self.replace(hash, before, after);
        }
    }

    #[inline(never)]
    fn replace(&mut self, hash: KeyHash, before: Option<u64>, after: Option<u64>) {
        if let Some(at_ms) = before {
            self.dues.remove(&(at_ms, hash.slot, hash.hash));
        }
        if let Some(at_ms) = after {
            self.dues.insert((at_ms, hash.slot, hash.hash));
        }
        self.earliest_ms = self.dues.first().map_or(NEVER, |due| due.0);
    }

    /// Takes the first due out if its time has passed.
    fn pop(&mut self, now_ms: u64) -> Option<KeyHash> {
        if !self.any(now_ms) {
            return None;
        }
        let (_, slot, hash) = self.dues.pop_first()?;
        self.earliest_ms = self.dues.first().map_or(NEVER, |due| due.0);
        Some(KeyHash { slot, hash })
    }

    /// Frees some `budget` dues of a table that nobody uses any more. Whether more are left.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        (0..budget).all(|_| self.dues.pop_first().is_some())
    }
}

/// When the first field of a value expires, which may be any.
#[inline]
pub(super) fn earliest_of(value: ValueRef<'_>) -> Option<u64> {
    match value {
        ValueRef::Packed(Kind::Hash, bytes) => compact::earliest_expiry(bytes),
        ValueRef::Object(Object::Hash(hash)) => hash.earliest_expiry(),
        ValueRef::Str(_) | ValueRef::Packed(..) | ValueRef::Object(_) => None,
    }
}

/// Names of fields, one behind the other.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut from, *end)..*end])
    }
}

/// Whether a hash has fields left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Some,
    None,
}

/// Takes expired fields out of an entry's hash: up to `budget` of the earliest, and the `named` ones; of a packed one all.
fn take_expired<'n>(
    entry: &mut Entry,
    now_ms: u64,
    budget: usize,
    named: impl Iterator<Item = &'n [u8]>,
    gone: &mut Names,
) -> Left {
    let key_expires_at_ms = entry.expire_at_ms();
    if let Some(full) = entry.object_mut().and_then(Hash::of_mut) {
        if full.expire_some(now_ms, budget, |field| gone.push(field)).more {
            for name in named {
                if full.prior(name).is_some_and(|prior| !prior.is_live(now_ms)) {
                    full.delete(name);
                    gone.push(name);
                }
            }
        }
        return if full.is_empty() { Left::None } else { Left::Some };
    }
    let ValueRef::Packed(Kind::Hash, bytes) = entry.value() else { return Left::Some };
    let mut rest = bytes.to_vec();
    compact::expire(&mut rest, now_ms, |field| gone.push(field.text(&mut [0; _])));
    if compact::len(&rest) == 0 {
        return Left::None;
    }
    entry.assign_collection(NewCollection::Packed(Kind::Hash, &rest), key_expires_at_ms);
    Left::Some
}

impl Keyspace {
    /// Takes expired fields out of the hash at a place, and the key with the last of them, if that is this keyspace's to do: up to `budget` of
    /// the earliest, and the `named` ones. How many went.
    pub(super) fn expire_fields<'n>(
        &mut self,
        db: usize,
        place: Place,
        hash: KeyHash,
        now_ms: u64,
        budget: usize,
        named: impl Iterator<Item = &'n [u8]>,
    ) -> usize {
        let entry = self.tables[db].entry(place);
        let before = entry.field_expiry();
        let due = before.is_some_and(|at_ms| is_due(at_ms, now_ms));
        // One that is lent to another core stays as it is until it is back.
        if !due || self.expiry_mode != ExpiryMode::Own || entry.is_lent() {
            return 0;
        }
        self.before_change(db, place);
        let mut gone = Names::default();
        let table = &mut self.tables[db];
        let entry = table.entry_mut(place);
        let left = take_expired(entry, now_ms, budget, named, &mut gone);
        let after = if left == Left::Some { entry.field_expiry() } else { None };
        self.stats.expired_fields += gone.ends.len() as u64;
        self.removals.note_fields(db, entry.key(), gone.iter());
        if self.changes.is_recording() {
            self.changes.note(db, hash, entry.key(), What::Modified);
            self.changes.note(db, hash, entry.key(), What::Event(EventClass::Hash, "hexpired"));
            if left == Left::None {
                self.changes.note(db, hash, entry.key(), What::Event(EventClass::Generic, "del"));
            }
        }
        // Also when the time is the same: the active cycle has taken the due out.
        table.field_dues.replace(hash, before, after);
        if left == Left::None {
            drop(table.remove(place, hash));
        }
        gone.ends.len()
    }

    /// The active cycle: takes out fields that have expired, for some `budget` steps. Whether none is left that is due.
    pub(super) fn expire_due_fields(&mut self, now_ms: u64, budget: usize, progress: &mut ExpireProgress) -> bool {
        let mut put_off = Vec::new();
        let mut complete = true;
        for db in 0..self.tables.len() {
            while progress.steps < budget
                && let Some(hash) = self.tables[db].field_dues.pop(now_ms)
            {
                progress.steps += 1;
                let Some(place) = self.tables[db].find_hash(&self.hasher, hash) else { continue };
                let gone = self.expire_fields(db, place, hash, now_ms, budget - progress.steps + 1, std::iter::empty());
                progress.steps += gone;
                progress.fields += gone;
                if gone == 0 {
                    put_off.push((db, hash, self.tables[db].entry(place).field_expiry()));
                }
            }
            complete &= !self.tables[db].field_dues.any(now_ms);
        }
        for (db, hash, at_ms) in put_off {
            self.tables[db].field_dues.note(hash, None, at_ms);
        }
        complete
    }
}
