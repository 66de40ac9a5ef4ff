//! Keys that went on their own, by expiry or eviction: what replicas have to be told beside the commands themselves.
//!
//! Off, it costs one branch a removal. While it is on, somebody takes the notes after each command and each step of expiry or eviction, so they are
//! never more than what one of those removed.

/// Notes in the order of the removals.
#[derive(Clone, Debug, Default)]
pub struct Removals {
    on: bool,
    keys: Vec<u8>,
    /// Database of each, and where its key ends in `keys`.
    list: Vec<(u16, usize)>,
}

impl Removals {
    /// Whether notes are taken. Turned off, those that are there are dropped.
    pub(super) fn turn(&mut self, on: bool) {
        self.on = on;
        if !on {
            self.clear();
        }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[inline]
    pub(super) fn note(&mut self, db: usize, key: &[u8]) {
        if self.on {
            self.keys.extend_from_slice(key);
            self.list.push((db as u16, self.keys.len()));
        }
    }

    /// Database and key of each.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut from = 0;
        self.list.iter().map(move |(db, end)| (usize::from(*db), &self.keys[std::mem::replace(&mut from, *end)..*end]))
    }

    pub fn clear(&mut self) {
        self.keys.clear();
        self.list.clear();
    }
}
