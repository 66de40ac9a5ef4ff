//! One level of an extendible-hash directory: from the next bits of a position to the kid that covers it.
//!
//! A spread of `bits` bits has a slot for each value of those bits. A kid that has fewer bits in common than the spread tells apart covers
//! several neighbouring slots and stands in the first of them; the others are empty. So the owner of a slot is found by clearing low bits
//! of its index until a kid stands there: one or two steps, nearly always in one cache line.
//!
//! Invariants
//! - the first slot holds a kid
//! - a kid of depth `d` stands at a multiple of 2^(used + bits - d), and so many slots from there on have no other kid
//! - doubling and halving copy the slots of one spread and touch no kid
//! - kids are shared between clones; whoever writes to a shared one gets a copy first
//!
//! Knows positions and depths only.

use std::sync::Arc;

/// What stands in a spread.
pub trait Deep {
    /// Bits of the position that everything in here has in common.
    fn depth(&self) -> u8;
}

#[derive(Debug)]
pub struct Spread<T> {
    slots: Vec<Option<Arc<T>>>,
    /// Slots that hold a kid.
    kids: u32,
    /// Bits of the position that come before those told apart here.
    used: u8,
    /// Bits told apart here.
    bits: u8,
}

impl<T> Clone for Spread<T> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone(), kids: self.kids, used: self.used, bits: self.bits }
    }
}

impl<T: Deep> Spread<T> {
    pub fn new(kid: T) -> Self {
        Self { used: kid.depth(), slots: vec![Some(Arc::new(kid))], kids: 1, bits: 0 }
    }

    #[inline]
    pub fn used(&self) -> u8 {
        self.used
    }

    #[inline]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Bits of the position that are told apart down to here.
    #[inline]
    pub fn reach(&self) -> u8 {
        self.used + self.bits
    }

    /// How many kids there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.kids as usize
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|kid| &**kid)
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        // Two shifts, since `bits` can be 0 and a shift by 64 is not defined.
        ((position << self.used) >> 1 >> (63 - self.bits)) as usize
    }

    /// The slot in which the kid that covers the position stands.
    #[inline]
    fn owner(&self, position: u64) -> usize {
        let mut index = self.index(position);
        while index > 0 && self.slots[index].is_none() {
            index &= index - 1;
        }
        index
    }

    /// The kid that covers the position.
    #[inline]
    pub fn get(&self, position: u64) -> &T {
        match &self.slots[self.owner(position)] {
            Some(kid) => kid,
            None => unreachable!("the first slot holds a kid"),
        }
    }

    /// The same to write to; if a clone of this spread has it too, a copy takes its place first.
    #[inline]
    pub fn get_mut(&mut self, position: u64) -> &mut T
    where
        T: Clone,
    {
        let owner = self.owner(position);
        match &mut self.slots[owner] {
            Some(kid) => Arc::make_mut(kid),
            None => unreachable!("the first slot holds a kid"),
        }
    }

    fn double(&mut self) {
        let mut slots = Vec::with_capacity(self.slots.len() * 2);
        for kid in self.slots.drain(..) {
            slots.push(kid);
            slots.push(None);
        }
        self.slots = slots;
        self.bits += 1;
    }

    fn halve_while_possible(&mut self) {
        while self.bits > 0 && self.slots.iter().skip(1).step_by(2).all(Option::is_none) {
            self.slots = self.slots.drain(..).step_by(2).collect();
            self.bits -= 1;
        }
    }

    /// The first slot of the upper half of what is covered at that depth around the position.
    fn upper_half(&self, position: u64, depth: u8) -> usize {
        let width = 1usize << (self.reach() - depth);
        (self.index(position) & !(width - 1)) + width / 2
    }

    /// Gives the upper half of what the kid at the position covers to another. `depth` is what the kid had until now.
    pub fn split(&mut self, position: u64, depth: u8, upper: T) {
        if self.reach() == depth {
            self.double();
        }
        let slot = self.upper_half(position, depth);
        debug_assert!(self.slots[slot].is_none());
        self.slots[slot] = Some(Arc::new(upper));
        self.kids += 1;
    }

    /// The kid that the one of that depth at the position was once split from, or the other way round, if it is of the same depth still.
    pub fn sibling(&self, position: u64, depth: u8) -> Option<&T> {
        if depth == self.used {
            return None;
        }
        let kid = self.get(position ^ 1 << (64 - depth));
        (kid.depth() == depth).then_some(kid)
    }

    /// Puts two siblings of that depth together: `join` moves the upper one's content to the lower one, and makes it one bit shallower.
    pub fn merge(&mut self, position: u64, depth: u8, join: impl FnOnce(&mut T, T))
    where
        T: Clone,
    {
        let slot = self.upper_half(position, depth - 1);
        if let Some(upper) = self.slots[slot].take() {
            self.kids -= 1;
            join(self.get_mut(position & !(1 << (64 - depth))), Arc::unwrap_or_clone(upper));
            self.halve_while_possible();
        }
    }

    /// Cuts the upper half of the slots off as a spread of its own; both are one bit deeper then. Not for a spread of one slot.
    pub fn cut(&mut self) -> Self {
        let slots = self.slots.split_off(self.slots.len() / 2);
        self.slots.shrink_to_fit();
        self.used += 1;
        self.bits -= 1;
        let kids = slots.iter().flatten().count() as u32;
        self.kids -= kids;
        let mut upper = Self { slots, kids, used: self.used, bits: self.bits };
        self.halve_while_possible();
        upper.halve_while_possible();
        upper
    }

    /// The reverse of [`Self::cut`].
    pub fn join(&mut self, mut upper: Self) {
        while self.bits < upper.bits {
            self.double();
        }
        while upper.bits < self.bits {
            upper.double();
        }
        self.slots.append(&mut upper.slots);
        self.kids += upper.kids;
        self.used -= 1;
        self.bits += 1;
    }

    /// Bytes of the slots.
    pub fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Arc<T>>>()
    }

    /// The slots, for taking all apart.
    pub fn into_slots(self) -> Vec<Option<Arc<T>>> {
        self.slots
    }
}

/// Frees some kids from the end on. `free` is told of each one that nobody shares and answers what that cost and whether the kid is now
/// empty; a shared one costs 1. Returns what is left of the budget; nothing is left of the kids if that is not 0.
pub fn drop_from_end<T>(
    slots: &mut Vec<Option<Arc<T>>>,
    mut budget: usize,
    mut free: impl FnMut(&mut T, usize) -> (usize, Emptied),
) -> usize {
    while budget > 0 {
        let Some(last) = slots.last_mut() else { return budget };
        let Some(kid) = last else {
            slots.pop();
            continue;
        };
        let (cost, emptied) = Arc::get_mut(kid).map_or((1, Emptied::Yes), |kid| free(kid, budget));
        budget = budget.saturating_sub(cost.max(1));
        if emptied == Emptied::Yes {
            slots.pop();
        }
    }
    0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    Yes,
    NotYet,
}

impl<T> Spread<T> {
    /// The slots, for [`drop_from_end`]; the spread is good for nothing else afterwards.
    pub fn slots_mut(&mut self) -> &mut Vec<Option<Arc<T>>> {
        &mut self.slots
    }
}
