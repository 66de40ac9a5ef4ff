//! The hash type: fields with values, each of which may expire.
//!
//! Small hashes are runs of bytes, see [`compact`]; a [`Hash`] takes any number of fields. Which one a value is in follows Redis:
//! compact until [`Limits`] are passed, and never again.
//!
//! Expiry of fields, as in Redis 7.4
//! - a field is there until it is taken out; from the millisecond after its expiry on, reads pass over it
//! - counts, and writes, see what is there: the length has expired fields in it, and setting one is not creating it. Who wants it otherwise
//!   lets `expire` take them out first
//! - a plain HSET takes a field's expiry away, HINCRBY and the like leave it: [`Ttl`]
//!
//! Times are Unix time in milliseconds; an expiry is kept as one of 1 to [`MOST_EXPIRE_AT_MS`]. Knows nothing of keys, commands or propagation.

pub mod compact;
mod dues;
#[cfg(test)]
mod tests;

use crate::types::dict::{self, Dict};
use crate::types::member::Pair;
use dues::{Due, Dues};

/// Random fields that are looked at for one that has not expired.
const RANDOM_TRIES: usize = 32;
/// Fields that are looked at one after the other when chance finds none.
const RANDOM_WALK: usize = 4096;

/// The latest expiry of a field, that of Redis 7.4: some 2200 years.
pub const MOST_EXPIRE_AT_MS: u64 = (1 << 46) - 1;

/// hash-max-listpack-entries and hash-max-listpack-value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_fields: usize,
    /// Bytes of a field or a value.
    pub max_bytes: usize,
}

impl Limits {
    /// Redis 7's defaults.
    pub const DEFAULT: Self = Self { max_fields: 512, max_bytes: 64 };

    /// Whether a compact hash may take these in.
    #[inline]
    pub fn allow(&self, field: &[u8], value: &[u8]) -> bool {
        field.len() <= self.max_bytes && value.len() <= self.max_bytes
    }

    /// Whether a compact hash may have that many fields.
    #[inline]
    pub fn allow_fields(&self, fields: usize) -> bool {
        fields <= self.max_fields
    }
}

/// What a write of a value does to the field's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    Drop,
    Keep,
}

/// What a field was before a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prior {
    pub expire_at_ms: Option<u64>,
}

impl Prior {
    #[inline]
    pub fn is_live(self, now_ms: u64) -> bool {
        is_live(self.expire_at_ms, now_ms)
    }
}

/// Whether a field with that expiry can be read.
#[inline]
pub fn is_live(expire_at_ms: Option<u64>, now_ms: u64) -> bool {
    expire_at_ms.is_none_or(|at_ms| at_ms >= now_ms)
}

/// The expiry that is kept for the one wanted.
fn kept_expiry(expire_at_ms: Option<u64>) -> Option<u64> {
    expire_at_ms.map(|at_ms| at_ms.clamp(1, MOST_EXPIRE_AT_MS))
}

/// What [`Hash::expire_some`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    pub removed: usize,
    /// Whether expired fields are left.
    pub more: bool,
}

/// The full form.
///
/// A clone costs a pointer for each 15 000 fields or so; after that each side copies what it writes to, a segment of some 80 pointers and a
/// field at a time.
///
/// Invariants
/// - `dues` has one due for each field that has an expiry, and no other
#[derive(Clone, Debug, Default)]
pub struct Hash {
    fields: Dict<Pair>,
    dues: Dues,
}

impl Hash {
    pub fn new() -> Self {
        Self::default()
    }

    /// All fields of a compact hash.
    pub fn from_compact(bytes: &[u8]) -> Self {
        let mut hash = Self::new();
        for field in compact::fields(bytes) {
            let (mut name, mut value) = (Default::default(), Default::default());
            let is_new = hash.load(field.name.text(&mut name), field.value.text(&mut value), field.expire_at_ms);
            debug_assert!(is_new);
        }
        hash
    }

    /// Number of fields, with those that have expired and are still there.
    #[inline]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Bytes of everything; what clones share counts in each.
    pub fn heap_bytes(&self) -> usize {
        self.fields.heap_bytes() + self.dues.heap_bytes()
    }

    /// When the first field expires; in the past if one has expired and is still there.
    #[inline]
    pub fn earliest_expiry(&self) -> Option<u64> {
        self.dues.first().map(|due| due.at_ms)
    }

    /// How many fields have an expiry.
    pub fn expiring_len(&self) -> usize {
        self.dues.len()
    }

    /// Asks the CPU for what a look-up of the field reads first.
    #[inline]
    pub fn prefetch(&self, field: &[u8]) {
        self.fields.prefetch(dict::hash(field));
    }

    /// A field that has not expired.
    #[inline]
    fn live(&self, field: &[u8], now_ms: u64) -> Option<&Pair> {
        self.fields.get(dict::hash(field), field).filter(|pair| is_live(pair.expire_at_ms(), now_ms))
    }

    /// The value of a field that has not expired.
    #[inline]
    pub fn get(&self, field: &[u8], now_ms: u64) -> Option<&[u8]> {
        self.live(field, now_ms).map(Pair::value)
    }

    #[inline]
    pub fn contains(&self, field: &[u8], now_ms: u64) -> bool {
        self.live(field, now_ms).is_some()
    }

    /// What is known of a field, expired or not. `None` if it is not there.
    pub fn prior(&self, field: &[u8]) -> Option<Prior> {
        self.fields.get(dict::hash(field), field).map(|pair| Prior { expire_at_ms: pair.expire_at_ms() })
    }

    /// Sets a field; tells what it was, `None` if it is new. An expired field counts as there, as in Redis.
    pub fn set(&mut self, field: &[u8], value: &[u8], ttl: Ttl) -> Option<Prior> {
        let hash = dict::hash(field);
        let replaced = self.fields.update(hash, field, |pair| {
            let before = pair.expire_at_ms();
            let after = if ttl == Ttl::Keep { before } else { None };
            pair.set(value, after);
            (before, after)
        });
        let Some((before, after)) = replaced else {
            self.fields.insert(hash, Pair::new(field, value, None));
            return None;
        };
        self.note(hash, before, after);
        Some(Prior { expire_at_ms: before })
    }

    /// Adds a field; the way to load many. Nothing happens if it is there already, of which it tells with `false`.
    pub fn load(&mut self, field: &[u8], value: &[u8], expire_at_ms: Option<u64>) -> bool {
        let hash = dict::hash(field);
        let expire_at_ms = kept_expiry(expire_at_ms);
        let is_new = self.fields.insert_with(hash, field, || Pair::new(field, value, expire_at_ms));
        if is_new {
            self.note(hash, None, expire_at_ms);
        }
        is_new
    }

    /// Takes a field out; tells what it was.
    pub fn delete(&mut self, field: &[u8]) -> Option<Prior> {
        let hash = dict::hash(field);
        let expire_at_ms = self.fields.remove(hash, field)?.expire_at_ms();
        self.note(hash, expire_at_ms, None);
        Some(Prior { expire_at_ms })
    }

    /// Gives a field an expiry, or takes it away; tells what the field was, `None` if it is not there.
    pub fn set_expiry(&mut self, field: &[u8], expire_at_ms: Option<u64>) -> Option<Prior> {
        let hash = dict::hash(field);
        let before = self.fields.get(hash, field)?.expire_at_ms();
        let expire_at_ms = kept_expiry(expire_at_ms);
        if before != expire_at_ms {
            self.fields.update(hash, field, |pair| pair.set_expire_at_ms(expire_at_ms));
            self.note(hash, before, expire_at_ms);
        }
        Some(Prior { expire_at_ms: before })
    }

    /// Keeps the dues in step with a field's expiry.
    #[inline]
    fn note(&mut self, hash: u64, before: Option<u64>, after: Option<u64>) {
        if before == after {
            return;
        }
        if let Some(at_ms) = before {
            self.dues.remove(Due { at_ms, hash });
        }
        if let Some(at_ms) = after {
            self.dues.insert(Due { at_ms, hash });
        }
    }

    /// Takes out up to `budget` fields that have expired, the earliest first, each shown to `removed`.
    pub fn expire_some(&mut self, now_ms: u64, budget: usize, mut removed: impl FnMut(&[u8])) -> Expired {
        let mut count = 0;
        while let Some(due) = self.dues.first().filter(|due| !is_live(Some(due.at_ms), now_ms)) {
            if count == budget {
                return Expired { removed: count, more: true };
            }
            self.dues.remove(due);
            let is_due = |pair: &Pair| pair.expire_at_ms() == Some(due.at_ms) && dict::hash(pair.field()) == due.hash;
            if let Some(pair) = self.fields.take_where(due.hash, is_due) {
                removed(pair.field());
                count += 1;
            }
        }
        Expired { removed: count, more: false }
    }

    /// All fields, expired or not.
    pub fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.fields.iter()
    }

    /// Visits some `count` fields from the cursor on, expired or not, and tells where to go on: 0 is the start and, as an answer, the end.
    /// Has the guarantee of SCAN while the hash changes; of a frozen clone each field is visited once.
    pub fn walk(&self, cursor: u64, count: usize, visit: impl FnMut(&Pair)) -> u64 {
        self.fields.scan(cursor, count, visit)
    }

    /// HSCAN: as [`Self::walk`], but for fields that have expired.
    pub fn scan(&self, cursor: u64, count: usize, now_ms: u64, mut visit: impl FnMut(&Pair)) -> u64 {
        self.walk(cursor, count, |pair| {
            if is_live(pair.expire_at_ms(), now_ms) {
                visit(pair);
            }
        })
    }

    /// A field by chance among those that have not expired, each with nearly the same; `random` gives 64 random bits at a time.
    /// Finds none only if there is none, or if nearly all of very many have expired and none was taken out yet.
    pub fn random(&self, now_ms: u64, mut random: impl FnMut() -> u64) -> Option<&Pair> {
        let is_live = |pair: &&Pair| is_live(pair.expire_at_ms(), now_ms);
        if self.earliest_expiry().is_none_or(|at_ms| at_ms >= now_ms) {
            return self.fields.random(random);
        }
        for _ in 0..RANDOM_TRIES {
            if let Some(pair) = self.fields.random(&mut random).filter(is_live) {
                return Some(pair);
            }
        }
        self.iter().take(RANDOM_WALK).find(is_live)
    }

    /// Makes the hash empty and frees about `budget` fields of what was in it; tells whether more are left to free.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        self.fields.drop_some(budget) || self.dues.drop_some(budget)
    }
}
