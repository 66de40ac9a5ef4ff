//! Keys, and fields of hashes, that went on their own, by expiry or eviction: what replicas have to be told beside the commands themselves.
//!
//! Off, it costs one branch a removal. While it is on, somebody takes the notes after each command and each step of expiry or eviction, so they are
//! never more than what one of those removed.

/// Notes in the order of the removals.
#[derive(Clone, Debug, Default)]
pub struct Removals {
    on: bool,
    names: Vec<u8>,
    /// Database of each, what it is, and where its name ends in `names`.
    list: Vec<(u16, What, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Key,
    /// A hash that has lost the fields that follow.
    Hash,
    Field,
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
            self.push(db, What::Key, key);
        }
    }

    /// Notes that a hash has lost fields.
    pub(super) fn note_fields<'a>(&mut self, db: usize, key: &[u8], fields: impl Iterator<Item = &'a [u8]>) {
        if self.on {
            self.push(db, What::Hash, key);
            fields.for_each(|field| self.push(db, What::Field, field));
        }
    }

    fn push(&mut self, db: usize, what: What, name: &[u8]) {
        self.names.extend_from_slice(name);
        self.list.push((db as u16, what, self.names.len()));
    }

    /// Calls `f` with database and words of the command that does the same.
    pub fn for_each_command(&self, mut f: impl FnMut(usize, &[&[u8]])) {
        let (mut from, mut words) = (0, Vec::new());
        for (at, (db, what, end)) in self.list.iter().enumerate() {
            let name = &self.names[std::mem::replace(&mut from, *end)..*end];
            match what {
                What::Key => words.extend([b"DEL".as_slice(), name]),
                What::Hash => words.extend([b"HDEL".as_slice(), name]),
                What::Field => words.push(name),
            }
            if self.list.get(at + 1).is_none_or(|(_, next, _)| *next != What::Field) {
                f(usize::from(*db), &words);
                words.clear();
            }
        }
    }

    pub fn clear(&mut self) {
        self.names.clear();
        self.list.clear();
    }
}
