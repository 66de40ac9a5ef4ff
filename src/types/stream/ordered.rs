//! An ordered map from IDs to values in two levels: leaves of some hundred entries, and a list of the leaves.
//!
//! Invariants
//! - IDs rise strictly through the leaves; no leaf is empty; the list knows each leaf's first ID
//! - a leaf is shared by clones until one of them writes to it: a clone costs one pointer a leaf, a write to a shared leaf a copy of that one
//! - what is appended at the end leaves full leaves behind; a leaf below a quarter joins a neighbour when both fit in three quarters
//!
//! Three things are kept in one: the blocks of a stream, the pending entries of a group, and the pending IDs of a consumer.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;

use super::id::Id;

/// Entries of a leaf; few in tests so that leaves split and join.
pub const LEAF: usize = if cfg!(test) { 8 } else { 128 };
const SPARSE: usize = LEAF / 4;
const JOINED: usize = LEAF / 4 * 3;

/// Bytes of an `Arc`'s counters.
const ARC_BYTES: usize = 16;

#[derive(Clone)]
pub struct Ordered<V> {
    leaves: VecDeque<Top<V>>,
    len: usize,
}

struct Top<V> {
    first: Id,
    leaf: Arc<Leaf<V>>,
}

impl<V> Clone for Top<V> {
    fn clone(&self) -> Self {
        Self { first: self.first, leaf: Arc::clone(&self.leaf) }
    }
}

/// IDs apart from values, so that a search reads only IDs.
struct Leaf<V> {
    ids: Vec<Id>,
    values: Vec<V>,
}

impl<V> Leaf<V> {
    fn with_capacity(capacity: usize) -> Self {
        Self { ids: Vec::with_capacity(capacity), values: Vec::with_capacity(capacity) }
    }
}

impl<V: Clone> Clone for Leaf<V> {
    fn clone(&self) -> Self {
        // Room as pushing makes it, so that no leaf ever has room for more than LEAF.
        let mut copy = Self::with_capacity(self.ids.len().next_power_of_two().min(LEAF));
        copy.ids.extend_from_slice(&self.ids);
        copy.values.extend_from_slice(&self.values);
        copy
    }
}

/// Where an entry is. Valid until the map changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    leaf: usize,
    slot: usize,
}

impl Position {
    pub const FIRST: Self = Self { leaf: 0, slot: 0 };
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self { leaves: VecDeque::new(), len: 0 }
    }
}

impl<V: Clone> Ordered<V> {
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub fn first(&self) -> Option<(Id, &V)> {
        self.at(Position::FIRST)
    }

    #[inline]
    pub fn last(&self) -> Option<(Id, &V)> {
        self.at(self.last_position()?)
    }

    #[inline]
    pub fn last_position(&self) -> Option<Position> {
        let leaf = self.leaves.len().checked_sub(1)?;
        Some(Position { leaf, slot: self.leaves[leaf].leaf.ids.len() - 1 })
    }

    #[inline]
    pub fn at(&self, position: Position) -> Option<(Id, &V)> {
        let leaf = &self.leaves.get(position.leaf)?.leaf;
        Some((*leaf.ids.get(position.slot)?, &leaf.values[position.slot]))
    }

    /// The position behind; of no entry if it was the last.
    #[inline]
    pub fn next(&self, position: Position) -> Position {
        match self.leaves.get(position.leaf) {
            Some(top) if position.slot + 1 < top.leaf.ids.len() => Position { slot: position.slot + 1, ..position },
            Some(_) | None => Position { leaf: position.leaf + 1, slot: 0 },
        }
    }

    #[inline]
    pub fn prev(&self, position: Position) -> Option<Position> {
        if let Some(slot) = position.slot.checked_sub(1) {
            return Some(Position { slot, ..position });
        }
        let leaf = position.leaf.checked_sub(1)?;
        Some(Position { leaf, slot: self.leaves.get(leaf)?.leaf.ids.len() - 1 })
    }

    /// The leaf that has the ID if any has.
    #[inline]
    fn leaf_of(&self, id: Id) -> usize {
        self.leaves.partition_point(|top| top.first <= id).saturating_sub(1)
    }

    #[inline]
    pub fn find(&self, id: Id) -> Option<Position> {
        let leaf = self.leaf_of(id);
        let slot = self.leaves.get(leaf)?.leaf.ids.binary_search(&id).ok()?;
        Some(Position { leaf, slot })
    }

    /// The last entry with this ID or a lower one.
    #[inline]
    pub fn floor(&self, id: Id) -> Option<Position> {
        let leaf = self.leaf_of(id);
        let slot = self.leaves.get(leaf)?.leaf.ids.partition_point(|&other| other <= id).checked_sub(1)?;
        Some(Position { leaf, slot })
    }

    /// The first entry with this ID or a higher one; a position of no entry if there is none.
    #[inline]
    pub fn ceiling(&self, id: Id) -> Position {
        let leaf = self.leaf_of(id);
        let Some(top) = self.leaves.get(leaf) else { return Position::FIRST };
        let slot = top.leaf.ids.partition_point(|&other| other < id);
        if slot < top.leaf.ids.len() { Position { leaf, slot } } else { Position { leaf: leaf + 1, slot: 0 } }
    }

    #[inline]
    pub fn get(&self, id: Id) -> Option<&V> {
        let position = self.find(id)?;
        Some(&self.leaves[position.leaf].leaf.values[position.slot])
    }

    #[inline]
    pub fn get_mut(&mut self, id: Id) -> Option<&mut V> {
        let position = self.find(id)?;
        self.value_mut(position)
    }

    #[inline]
    pub fn value_mut(&mut self, position: Position) -> Option<&mut V> {
        let top = self.leaves.get_mut(position.leaf)?;
        Arc::make_mut(&mut top.leaf).values.get_mut(position.slot)
    }

    /// Puts a value in; the one that it replaces comes back.
    #[inline]
    pub fn insert(&mut self, id: Id, value: V) -> Option<V> {
        match self.last() {
            Some((last, _)) if last >= id => self.insert_within(id, value),
            Some(_) | None => {
                self.push(id, value);
                None
            }
        }
    }

    /// Appends an ID beyond the last.
    #[inline]
    fn push(&mut self, id: Id, value: V) {
        self.len += 1;
        if let Some(top) = self.leaves.back_mut()
            && top.leaf.ids.len() < LEAF
        {
            let leaf = Arc::make_mut(&mut top.leaf);
            leaf.ids.push(id);
            leaf.values.push(value);
            return;
        }
        // The first leaf begins small, later ones are going to be filled.
        let mut leaf = Leaf::with_capacity(if self.leaves.is_empty() { 1 } else { LEAF });
        leaf.ids.push(id);
        leaf.values.push(value);
        self.leaves.push_back(Top { first: id, leaf: Arc::new(leaf) });
    }

    fn insert_within(&mut self, id: Id, value: V) -> Option<V> {
        let mut at = self.leaf_of(id);
        let mut slot = match self.leaves[at].leaf.ids.binary_search(&id) {
            Ok(slot) => {
                let leaf = Arc::make_mut(&mut self.leaves[at].leaf);
                return Some(std::mem::replace(&mut leaf.values[slot], value));
            }
            Err(slot) => slot,
        };
        if self.leaves[at].leaf.ids.len() >= LEAF {
            self.split(at);
            let left = self.leaves[at].leaf.ids.len();
            if slot > left {
                at += 1;
                slot -= left;
            }
        }
        let top = &mut self.leaves[at];
        let leaf = Arc::make_mut(&mut top.leaf);
        leaf.ids.insert(slot, id);
        leaf.values.insert(slot, value);
        top.first = leaf.ids[0];
        self.len += 1;
        None
    }

    fn split(&mut self, at: usize) {
        let leaf = Arc::make_mut(&mut self.leaves[at].leaf);
        let mut right = Leaf::with_capacity(LEAF);
        right.ids.extend(leaf.ids.drain(LEAF / 2..));
        right.values.extend(leaf.values.drain(LEAF / 2..));
        self.leaves.insert(at + 1, Top { first: right.ids[0], leaf: Arc::new(right) });
    }

    #[inline]
    pub fn remove(&mut self, id: Id) -> Option<V> {
        let position = self.find(id)?;
        self.remove_at(position)
    }

    pub fn pop_last(&mut self) -> Option<(Id, V)> {
        let position = self.last_position()?;
        let (id, _) = self.at(position)?;
        Some((id, self.remove_at(position)?))
    }

    pub fn remove_at(&mut self, Position { leaf: at, slot }: Position) -> Option<V> {
        let top = self.leaves.get_mut(at)?;
        if slot >= top.leaf.ids.len() {
            return None;
        }
        let leaf = Arc::make_mut(&mut top.leaf);
        leaf.ids.remove(slot);
        let value = leaf.values.remove(slot);
        self.len -= 1;
        match leaf.ids.first() {
            None => drop(self.leaves.remove(at)),
            Some(&first) => {
                top.first = first;
                if leaf.ids.len() < SPARSE {
                    self.join(at);
                }
            }
        }
        Some(value)
    }

    /// Joins a sparse leaf with a neighbour if both are small enough.
    fn join(&mut self, at: usize) {
        let len = |at: usize| self.leaves.get(at).map_or(LEAF, |top| top.leaf.ids.len());
        let left = if len(at) + len(at + 1) <= JOINED {
            at
        } else if at > 0 && len(at - 1) + len(at) <= JOINED {
            at - 1
        } else {
            return;
        };
        if let Some(right) = self.leaves.remove(left + 1) {
            append(&mut self.leaves[left], right);
        }
    }

    /// Keeps the entries for which `keep` says so. Leaves that lose nothing are not written to.
    pub fn retain(&mut self, mut keep: impl FnMut(Id, &V) -> bool) {
        let mut kept = Self::default();
        for mut top in std::mem::take(&mut self.leaves) {
            let flags: Vec<bool> =
                top.leaf.ids.iter().zip(&top.leaf.values).map(|(&id, value)| keep(id, value)).collect();
            if flags.contains(&false) {
                let leaf = Arc::make_mut(&mut top.leaf);
                let (mut ids, mut values) = (flags.iter().copied(), flags.iter().copied());
                leaf.ids.retain(|_| ids.next().unwrap_or(true));
                leaf.values.retain(|_| values.next().unwrap_or(true));
                let Some(&first) = leaf.ids.first() else { continue };
                top.first = first;
            }
            kept.len += top.leaf.ids.len();
            match kept.leaves.back_mut() {
                Some(last) if last.leaf.ids.len() + top.leaf.ids.len() <= JOINED => append(last, top),
                Some(_) | None => kept.leaves.push_back(top),
            }
        }
        *self = kept;
    }

    /// The entries from `start` to `end`, both included.
    #[inline]
    pub fn range(&self, start: Id, end: Id) -> Range<'_, V> {
        Range { map: self, position: self.ceiling(start), end }
    }

    /// Frees about `budget` values; how many.
    pub fn drop_some(&mut self, budget: usize) -> usize {
        let mut freed = 0;
        while freed < budget
            && let Some(mut top) = self.leaves.pop_back()
        {
            // A leaf that a clone still has is let go of, it frees nothing.
            let Some(leaf) = Arc::get_mut(&mut top.leaf) else {
                self.len -= top.leaf.ids.len();
                freed += 1;
                continue;
            };
            let keep = leaf.ids.len().saturating_sub(budget - freed);
            freed += leaf.ids.len() - keep;
            self.len -= leaf.ids.len() - keep;
            leaf.ids.truncate(keep);
            leaf.values.truncate(keep);
            if keep > 0 {
                self.leaves.push_back(top);
            }
        }
        freed
    }

    /// An estimate of the memory, without what values own. Leaves are taken for allocated whole, which all but a lone one are.
    pub fn heap_bytes(&self) -> usize {
        let entry = size_of::<Id>() + size_of::<V>();
        let entries = match (self.leaves.len(), self.leaves.front()) {
            (1, Some(top)) => top.leaf.ids.capacity(),
            (leaves, _) => leaves * LEAF,
        };
        self.leaves.capacity() * size_of::<Top<V>>()
            + self.leaves.len() * (ARC_BYTES + size_of::<Leaf<V>>())
            + entries * entry
    }

    #[cfg(test)]
    pub fn check(&self) {
        let mut last = None;
        let mut len = 0;
        for top in &self.leaves {
            assert!(!top.leaf.ids.is_empty() && top.leaf.ids.len() <= LEAF && top.leaf.ids.capacity() <= LEAF);
            assert_eq!(top.leaf.ids.len(), top.leaf.values.len());
            assert_eq!(top.first, top.leaf.ids[0]);
            for &id in &top.leaf.ids {
                assert!(last < Some(id));
                last = Some(id);
            }
            len += top.leaf.ids.len();
        }
        assert_eq!(len, self.len);
    }
}

fn append<V: Clone>(left: &mut Top<V>, right: Top<V>) {
    let leaf = Arc::make_mut(&mut left.leaf);
    let together = leaf.ids.len() + right.leaf.ids.len();
    if leaf.ids.capacity() < together {
        let more = LEAF - leaf.ids.len();
        leaf.ids.reserve_exact(more);
        leaf.values.reserve_exact(more);
    }
    match Arc::try_unwrap(right.leaf) {
        Ok(mut right) => {
            leaf.ids.append(&mut right.ids);
            leaf.values.append(&mut right.values);
        }
        Err(shared) => {
            leaf.ids.extend_from_slice(&shared.ids);
            leaf.values.extend_from_slice(&shared.values);
        }
    }
}

/// See [`Ordered::range`].
pub struct Range<'a, V> {
    map: &'a Ordered<V>,
    position: Position,
    end: Id,
}

impl<'a, V: Clone> Iterator for Range<'a, V> {
    type Item = (Id, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (id, value) = self.map.at(self.position)?;
        if id > self.end {
            return None;
        }
        self.position = self.map.next(self.position);
        Some((id, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64, u32),
        Append(u32),
        Remove(u64),
        PopLast,
        RemoveFirst(u8),
        Update(u64, u32),
        Retain(u32),
        Swap,
        Clone,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let key = 0..80u64;
        let op = prop_oneof![
            6 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Op::Insert(key, value)),
            6 => any::<u32>().prop_map(Op::Append),
            6 => key.clone().prop_map(Op::Remove),
            1 => Just(Op::PopLast),
            2 => (1..12u8).prop_map(Op::RemoveFirst),
            3 => (key, any::<u32>()).prop_map(|(key, value)| Op::Update(key, value)),
            1 => (1..5u32).prop_map(Op::Retain),
            2 => Just(Op::Swap),
            1 => Just(Op::Clone),
        ];
        proptest::collection::vec(op, 0..300)
    }

    fn id(key: u64) -> Id {
        Id::new(key / 3, key % 3)
    }

    fn same(map: &Ordered<u32>, model: &BTreeMap<Id, u32>) {
        map.check();
        assert_eq!(map.len(), model.len());
        let all: Vec<_> = map.range(Id::MIN, Id::MAX).map(|(id, &value)| (id, value)).collect();
        assert_eq!(all, model.iter().map(|(&id, &value)| (id, value)).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn as_a_btree_map(ops in ops(), probe in 0..100u64) {
            let (mut map, mut model) = (Ordered::default(), BTreeMap::new());
            let (mut other, mut other_model) = (map.clone(), model.clone());
            for op in ops {
                match op {
                    Op::Insert(key, value) => prop_assert_eq!(map.insert(id(key), value), model.insert(id(key), value)),
                    Op::Append(value) => {
                        let next = model.last_key_value().map_or(Id::MIN, |(&last, _)| Id::new(last.ms + 1, 0));
                        map.insert(next, value);
                        model.insert(next, value);
                    }
                    Op::Remove(key) => prop_assert_eq!(map.remove(id(key)), model.remove(&id(key))),
                    Op::PopLast => prop_assert_eq!(map.pop_last(), model.pop_last()),
                    Op::RemoveFirst(times) => {
                        for _ in 0..times {
                            prop_assert_eq!(map.remove_at(Position::FIRST), model.pop_first().map(|(_, value)| value));
                        }
                    }
                    Op::Update(key, value) => {
                        if let Some(old) = map.get_mut(id(key)) {
                            *old = value;
                        }
                        model.entry(id(key)).and_modify(|old| *old = value);
                    }
                    Op::Retain(part) => {
                        map.retain(|_, value| value % part == 0);
                        model.retain(|_, value| *value % part == 0);
                    }
                    Op::Swap => {
                        std::mem::swap(&mut map, &mut other);
                        std::mem::swap(&mut model, &mut other_model);
                    }
                    Op::Clone => (other, other_model) = (map.clone(), model.clone()),
                }
                same(&map, &model);
            }
            same(&other, &other_model);
            let probe = id(probe);
            prop_assert_eq!(map.get(probe), model.get(&probe));
            let floor = map.floor(probe).and_then(|position| map.at(position)).map(|(id, _)| id);
            prop_assert_eq!(floor, model.range(..=probe).next_back().map(|(&id, _)| id));
            let ceiling = map.at(map.ceiling(probe)).map(|(id, _)| id);
            prop_assert_eq!(ceiling, model.range(probe..).next().map(|(&id, _)| id));
            let mut backwards = Vec::new();
            let mut position = map.last_position();
            while let Some(at) = position {
                backwards.extend(map.at(at).map(|(id, _)| id));
                position = map.prev(at);
            }
            prop_assert_eq!(backwards, model.keys().rev().copied().collect::<Vec<_>>());
            while map.drop_some(5) > 0 {
                map.check();
            }
            prop_assert!(map.is_empty());
            same(&other, &other_model);
        }
    }
}
