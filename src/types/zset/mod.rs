//! Sorted sets: [`compact`] runs of bytes while they are small, [`Zset`] beyond that.
//!
//! A `Zset` is a dictionary of names and a tree in order. Each element is one counted allocation, score and name ([`Scored`]).
//!
//! Who owns what
//! - the dictionary of a set owns a count of each element of the set, and is what keeps it alive; inner nodes of the tree own counts
//!   of their separators
//! - leaves of the tree own nothing: they hold plain addresses, so that a leaf is copied and freed without touching its elements
//! - so: **every element in a leaf that a set's tree can reach is in that set's dictionary.** An element is in the dictionary before it
//!   is in the tree, and in the tree no longer when it leaves the dictionary
//!
//! Clones share nodes of the tree and segments of the dictionary. A shared leaf holds what each of the sharing sets has, and each of
//! their dictionaries has a count of it: through a shared segment, or a segment of its own, whose making counted the elements again
//! instead of copying them. So an element that one set lets go stays as long as the leaf of another shows it. For the same reason a
//! score is written in place only when the dictionary has made its segment its own and the count is still 1: then no other set and
//! no separator knows the element. Otherwise a new element takes its place.
//!
//! Guarantees: a mutation touches one path of the tree and one segment; reads allocate nothing; ranks and counts take O(log n).
//! NaN never comes in.
//!
//! Knows nothing of keys, commands or replies.

pub mod compact;
mod element;
mod leaf;
mod node;
mod order;
#[cfg(test)]
mod tests;
mod tree;
mod view;
mod walk;

use std::ops::Range;

use crate::types::dict::{Dict, Element, hash};
use tree::Tree;

pub use element::{ElementRef, Scored};
pub use order::{LexBound, Probe, ScoreBound};
pub use view::{Direction, ZsetRef};
pub use walk::{Ascending, Descending};

/// A sorted set of any size. See the module.
#[derive(Clone, Debug)]
pub struct Zset {
    names: Dict<Scored>,
    tree: Tree,
}

/// What became of a name's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Added(f64),
    Moved {
        from: f64,
        to: f64,
    },
    /// The score it has, if it is there.
    None(Option<f64>),
}

impl Default for Zset {
    fn default() -> Self {
        Self::new()
    }
}

impl Zset {
    pub fn new() -> Self {
        Self { names: Dict::new(), tree: Tree::new() }
    }

    /// The full form of a [`compact`] value.
    pub fn from_compact(run: &[u8]) -> Self {
        let mut set = Self::new();
        let mut room = [0; crate::types::packed::MAX_INTEGER_TEXT];
        for entry in compact::entries(run) {
            set.insert(entry.score, entry.name.text(&mut room));
        }
        set
    }

    /// Appends the [`compact`] form.
    pub fn write_compact(&self, out: &mut Vec<u8>) {
        self.ascending(0..self.len()).for_each(|element| compact::push(out, element.score(), element.name()));
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of everything; what clones share counts in each.
    pub fn heap_bytes(&self) -> usize {
        self.names.heap_bytes() + self.tree.heap_bytes()
    }

    /// Frees about `budget` elements or their places in the tree, and tells whether more is left. The set is given up with the first call.
    pub fn drop_some(&mut self, mut budget: usize) -> bool {
        self.tree.drop_some(&mut budget) || self.names.drop_some(budget)
    }

    #[inline]
    pub fn score(&self, name: &[u8]) -> Option<f64> {
        self.names.get(hash(name), name).map(Scored::score)
    }

    /// Rank from the lowest, and the score.
    pub fn rank(&self, name: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(name)?;
        Some((self.tree.position(&Probe::of(score, name)), score))
    }

    /// The element of a rank.
    pub fn get(&self, rank: usize) -> Option<ElementRef<'_>> {
        self.tree.get(rank)
    }

    /// Sets a score; the way to load many, quickest in order.
    pub fn insert(&mut self, score: f64, name: &[u8]) -> Change {
        self.update(name, |_| Some(score))
    }

    /// Sets the score that `decide` makes of the present one; nothing changes for `None` or an equal score.
    pub fn update(&mut self, name: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) -> Change {
        let hash = hash(name);
        let present = self.names.get(hash, name);
        let old = present.map(Scored::score);
        match (present, decide(old)) {
            (None, Some(to)) => {
                self.add(hash, Scored::new(to, name));
                Change::Added(to)
            }
            (Some(element), Some(to)) if element.score() != to => {
                let from = element.score();
                self.tree.remove(element.borrow());
                self.move_to(hash, name, to);
                Change::Moved { from, to }
            }
            (None | Some(_), None) | (Some(_), Some(_)) => Change::None(old),
        }
    }

    /// An element whose name is not there.
    fn add(&mut self, hash: u64, element: Scored) {
        let owner = element.clone();
        self.names.insert(hash, element);
        // SAFETY: the dictionary owns the element, and so do the dictionaries of clones to come; see the module.
        unsafe { self.tree.insert(owner.borrow()) };
    }

    /// Changes the score of a name that is in the dictionary but not in the tree, and puts it there.
    fn move_to(&mut self, hash: u64, name: &[u8], score: f64) {
        let moved = self.names.update(hash, name, |element| {
            if !element.try_set_score(score) {
                let mut new = Scored::new(score, name);
                new.set_tag(element.tag());
                *element = new;
            }
            element.clone()
        });
        let Some(owner) = moved else { unreachable!("a name that was just found") };
        // SAFETY: as in `add`.
        unsafe { self.tree.insert(owner.borrow()) };
    }

    /// The score it had.
    pub fn remove(&mut self, name: &[u8]) -> Option<f64> {
        let hash = hash(name);
        let element = self.names.get(hash, name)?;
        let score = element.score();
        self.tree.remove(element.borrow());
        self.names.remove(hash, name);
        Some(score)
    }

    /// Takes the element of a rank out: 0 for ZPOPMIN, the last for ZPOPMAX.
    pub fn take(&mut self, rank: usize) -> Option<Scored> {
        let mut taken = None;
        if rank < self.len() {
            self.remove_leaf(rank..rank + 1, &mut |element| taken = Some(element));
        }
        taken
    }

    /// Removes elements by rank and tells `each` of them, lowest first. Takes time for each: see [`Zset::remove_some`] for many.
    pub fn remove_range(&mut self, range: Range<usize>, mut each: impl FnMut(&[u8], f64)) -> usize {
        let mut left = range.start..range.end.min(self.len());
        let mut removed = 0;
        while !left.is_empty() {
            let some = self.remove_leaf(left.clone(), &mut |element| each(element.name(), element.score()));
            left.end -= some;
            removed += some;
        }
        removed
    }

    /// Removes elements from the beginning of a range of ranks, one leaf's at most, and returns how many; 0 if there is none.
    /// What is left of the range then begins at the same rank.
    pub fn remove_some(&mut self, range: Range<usize>, mut each: impl FnMut(&[u8], f64)) -> usize {
        let range = range.start..range.end.min(self.len());
        if range.is_empty() {
            return 0;
        }
        self.remove_leaf(range, &mut |element| each(element.name(), element.score()))
    }

    fn remove_leaf(&mut self, range: Range<usize>, each: &mut dyn FnMut(Scored)) -> usize {
        let mut owners = Vec::with_capacity(range.len().min(leaf::MAX_LEN));
        let removed = self.tree.remove_some(range, &mut |element| owners.push(element.to_owner()));
        for owner in owners {
            self.names.remove(hash(owner.name()), owner.name());
            each(owner);
        }
        removed
    }

    /// The elements of these ranks, as far as there are any, lowest first.
    pub fn ascending(&self, ranks: Range<usize>) -> Ascending<'_> {
        Ascending::over(&self.tree, ranks)
    }

    /// The elements from a score on, lowest first.
    pub fn ascending_from(&self, min: ScoreBound) -> Ascending<'_> {
        Ascending::from(&self.tree, &min.start())
    }

    /// The elements of these ranks, as far as there are any, highest first.
    pub fn descending(&self, ranks: Range<usize>) -> Descending<'_> {
        Descending::over(&self.tree, ranks)
    }

    /// The ranks of the elements between two scores.
    pub fn score_range(&self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        let start = self.tree.position(&min.start());
        start..self.tree.position(&max.end()).max(start)
    }

    /// The ranks of the elements between two names. All scores should be the same; where they are not, the answer is somewhere between, but as in
    /// Redis it is nothing where the last name is before the range, or the first behind it.
    pub fn lex_range(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        let last = self.len().checked_sub(1).and_then(|last| self.get(last));
        let (Some(first), Some(last)) = (self.get(0), last) else { return 0..0 };
        let score = (first.score() == last.score()).then(|| first.score());
        let ends_admit = || min.admits_from_below(last.name()) && max.admits_from_above(first.name());
        if score.is_none() && !ends_admit() {
            return 0..0;
        }
        let start = self.first_refused(|name| !min.admits_from_below(name), min, score);
        start..self.first_refused(|name| max.admits_from_above(name), max, score).max(start)
    }

    /// How many elements at the beginning have a name that `before` accepts, which turns at the bound. `score`: that of all elements.
    fn first_refused(&self, before: impl Fn(&[u8]) -> bool, bound: LexBound<'_>, score: Option<f64>) -> usize {
        let name = match bound {
            LexBound::Included(name) | LexBound::Excluded(name) => name,
            LexBound::Lowest => return 0,
            LexBound::Highest => return self.len(),
        };
        let Some(score) = score else { return self.tree.position_by_name(before) };
        // Of one score: keys find the place without looking at many names.
        let place = self.tree.position(&Probe::of(score, name));
        let behind = self.get(place).is_some_and(|element| element.name() == name && before(name));
        place + usize::from(behind)
    }

    /// An element by chance, each with nearly the same; `random` gives 64 random bits at a time.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<&Scored> {
        self.names.random(random)
    }

    /// A piece of the walk that ZSCAN makes; see [`Dict::scan`].
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        self.names.scan(cursor, count, |element| visit(element.name(), element.score()))
    }

    /// Asks for what a look-up of that name reads first.
    pub fn prefetch(&self, name: &[u8]) {
        self.names.prefetch(hash(name));
    }
}
