//! The set type: compact runs for small sets, a table for the others, and one face for both.
//!
//! Guarantees
//! - encodings and their limits are those of Redis 7.2; a set that has become a table stays one
//! - a table's operations touch a bounded number of elements, see [`dict`](crate::types::dict)
//!
//! Knows nothing of keys, commands and replies.

pub mod compact;
#[cfg(test)]
mod tests;

use crate::types::dict::{Dict, hash};
use crate::types::member::Member;
use crate::types::packed::{Item, MAX_INTEGER_TEXT};
use compact::{Add, Limits};

/// Redis's name of the encoding of a full set.
pub const FULL: &str = "hashtable";

/// A set as a table.
#[derive(Clone, Debug, Default)]
pub struct Set {
    members: Dict<Member>,
}

impl Set {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn from_compact(set: &[u8]) -> Self {
        let mut full = Self::new();
        let mut room = [0; MAX_INTEGER_TEXT];
        compact::members(set).for_each(|member| full.push(member.text(&mut room)));
        full
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        self.members.contains(hash(member), member)
    }

    /// Whether it was added.
    #[inline]
    pub fn add(&mut self, member: &[u8]) -> bool {
        self.members.insert_with(hash(member), member, || Member::new(member))
    }

    /// Adds a member that is known not to be there; for loading what was a set before.
    #[inline]
    pub fn push(&mut self, member: &[u8]) {
        self.members.insert(hash(member), Member::new(member));
    }

    /// Whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        self.members.remove(hash(member), member).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.members.iter().map(Member::name)
    }

    /// Visits some `count` members from the cursor on and tells where to go on, with SCAN's guarantee; 0 is start and end.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8])) -> u64 {
        self.members.scan(cursor, count, |member| visit(member.name()))
    }

    /// A member by chance; `random` gives 64 random bits at a time.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<&[u8]> {
        self.members.random(random).map(Member::name)
    }

    /// Takes a member out by chance.
    pub fn pop_random(&mut self, random: impl FnMut() -> u64) -> Option<Member> {
        self.members.take_random(random)
    }

    pub fn heap_bytes(&self) -> usize {
        self.members.heap_bytes()
    }

    /// Empties the set and frees about `budget` members; whether more are left to free.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        self.members.drop_some(budget)
    }
}

/// A set of either form, to read.
#[derive(Clone, Copy, Debug)]
pub enum SetRef<'a> {
    Compact(&'a [u8]),
    Full(&'a Set),
}

impl<'a> SetRef<'a> {
    /// A set without members.
    pub const NONE: SetRef<'static> = SetRef::Compact(&compact::NO_INTEGERS);

    pub fn encoding(self) -> &'static str {
        match self {
            Self::Compact(set) => compact::encoding(set),
            Self::Full(_) => FULL,
        }
    }

    #[inline]
    pub fn len(self) -> usize {
        match self {
            Self::Compact(set) => compact::len(set),
            Self::Full(set) => set.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn contains(self, member: &[u8]) -> bool {
        match self {
            Self::Compact(set) => compact::contains(set, Item::of(member)),
            Self::Full(set) => set.contains(member),
        }
    }

    /// The same for what [`Self::iter`] gives, of this or another set.
    #[inline]
    pub fn contains_item(self, member: Item<'_>) -> bool {
        match (self, member) {
            (Self::Compact(set), Item::Int(_)) => compact::contains(set, member),
            _ => self.contains(member.text(&mut [0; MAX_INTEGER_TEXT])),
        }
    }

    /// All members. Those of a full set come as strings, even where an integer would say the same: compare their texts.
    pub fn iter(self) -> impl Iterator<Item = Item<'a>> {
        let (small, full) = match self {
            Self::Compact(set) => (Some(compact::members(set)), None),
            Self::Full(set) => (None, Some(set.iter().map(Item::Str))),
        };
        small.into_iter().flatten().chain(full.into_iter().flatten())
    }

    /// A member by chance; `random` gives 64 random bits at a time.
    pub fn random(self, mut random: impl FnMut() -> u64) -> Option<Item<'a>> {
        match self {
            Self::Compact(set) => {
                let index = (u128::from(random()) * compact::len(set) as u128) >> 64;
                compact::nth(set, index as usize)
            }
            Self::Full(set) => set.random(random).map(Item::Str),
        }
    }
}

/// A set that is being put together or changed, in whichever form it has got to.
#[derive(Clone, Debug)]
pub enum Draft {
    Compact(Vec<u8>),
    Full(Set),
}

impl Draft {
    /// An empty set of integers: what the results of SUNIONSTORE and SDIFFSTORE start as.
    pub fn integers() -> Self {
        Self::Compact(compact::intset())
    }

    /// What SADD makes for that many members, of which this is the first (`setTypeCreate`). Its bytes go to an empty vector that is there.
    pub fn for_members_in(mut room: Vec<u8>, first: &[u8], count: usize, limits: &Limits) -> Self {
        let is_integer = matches!(Item::of(first), Item::Int(_));
        if is_integer && count <= limits.intset_entries {
            room.extend_from_slice(&compact::NO_INTEGERS);
            Self::Compact(room)
        } else if count <= limits.listpack_entries {
            room.extend_from_slice(&compact::NO_LIST);
            Self::Compact(room)
        } else {
            Self::Full(Set::new())
        }
    }

    pub fn as_ref(&self) -> SetRef<'_> {
        match self {
            Self::Compact(set) => SetRef::Compact(set),
            Self::Full(set) => SetRef::Full(set),
        }
    }

    /// Before that many members are added: a compact set that could not even hold those becomes a table (`setTypeMaybeConvert`).
    pub fn expect(&mut self, count: usize, limits: &Limits) {
        if let Self::Compact(set) = self
            && needs_full(set, count, limits)
        {
            *self = Self::Full(Set::from_compact(set));
        }
    }

    /// Whether it was added.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        match self {
            Self::Full(set) => set.add(member),
            Self::Compact(set) => match compact::add(set, Item::of(member), limits) {
                Add::Added => true,
                Add::Present => false,
                Add::TooMuch => {
                    let mut full = Set::from_compact(set);
                    full.push(member);
                    *self = Self::Full(full);
                    true
                }
            },
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Self::Full(set) => set.remove(member),
            Self::Compact(set) => compact::remove(set, Item::of(member)),
        }
    }
}

/// Whether a compact set becomes a table before that many members are added to it, whatever they are.
pub fn needs_full(set: &[u8], count: usize, limits: &Limits) -> bool {
    let most = if compact::is_integers(set) { limits.intset_entries } else { limits.listpack_entries };
    count > most
}
