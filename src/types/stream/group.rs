//! Consumer groups: how far a group has read, and which entries were delivered to whom and not acknowledged yet.
//!
//! Invariants
//! - a pending entry has one owner, an existing consumer, and stands in that consumer's list; each ID in a consumer's list is pending
//! - a consumer keeps its number until it is deleted; `by_name` has the numbers of all in the order of their names
//!
//! Pending entries stand once per group, with the owner's number; a consumer's own list has IDs only. Both are shared with clones leaf by
//! leaf. A write to a group that a clone shares copies its list of leaves and one pointer a consumer.
//!
//! Times are Unix times in milliseconds.

use std::mem::size_of;
use std::sync::Arc;

use super::id::Id;
use super::log::Log;
use super::ordered::Ordered;

/// An `Arc`'s counters.
const ARC_BYTES: usize = 16;

/// A consumer's number within its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u32);

impl Owner {
    /// Nobody, while a group is loaded.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// An entry that was delivered and is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub delivered_ms: i64,
    pub owner: Owner,
    /// How often it was delivered. Stays at the greatest number when it gets there.
    pub deliveries: u32,
}

#[derive(Clone)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last tried anything.
    pub seen_ms: i64,
    /// When it last got an entry (Redis 7.2); -1 if it never did.
    pub active_ms: i64,
    pending: Ordered<()>,
}

impl Consumer {
    #[inline]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of its pending entries.
    #[inline]
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// IDs of its pending entries from `start` to `end`, both included.
    #[inline]
    pub fn pending_ids(&self, start: Id, end: Id) -> impl Iterator<Item = Id> + '_ {
        self.pending.range(start, end).map(|(id, _)| id)
    }
}

#[derive(Clone)]
pub struct Group {
    name: Box<[u8]>,
    /// The last entry that was delivered to anyone.
    pub last_id: Id,
    /// How many entries were added up to `last_id`, in the stream's whole life; `None` if that is not known.
    pub entries_read: Option<i64>,
    pending: Ordered<Pending>,
    /// By number.
    consumers: Vec<Option<Arc<Consumer>>>,
    by_name: Vec<u32>,
    vacant: Vec<u32>,
}

impl Group {
    pub fn new(name: &[u8], last_id: Id, entries_read: Option<i64>) -> Self {
        let (consumers, by_name, vacant) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.into(), last_id, entries_read, pending: Ordered::default(), consumers, by_name, vacant }
    }

    #[inline]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries are yet to be delivered; `None` if that cannot be told. Negative if `entries_read` was set too high.
    pub fn lag(&self, log: &Log) -> Option<i64> {
        if log.entries_added() == 0 {
            return Some(0);
        }
        let read = match self.entries_read {
            Some(read) if !deleted_from(log, self.last_id) => read,
            Some(_) | None => entries_up_to(log, self.last_id)?,
        };
        Some((log.entries_added() as i64).wrapping_sub(read))
    }

    /// An entry is delivered to one of the group's consumers: moves `last_id` and `entries_read`, if the entry is new to the group.
    pub fn advance(&mut self, log: &Log, id: Id) {
        if id <= self.last_id {
            return;
        }
        match &mut self.entries_read {
            Some(read) if !deleted_from(log, id) => *read = read.wrapping_add(1),
            _ if log.entries_added() > 0 => self.entries_read = entries_up_to(log, id),
            _ => {}
        }
        self.last_id = id;
    }

    /// The consumer of this name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<Owner> {
        let at = self.name_position(name).ok()?;
        Some(Owner(self.by_name[at]))
    }

    fn name_position(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|&number| self.consumer(Owner(number)).map_or(&[][..], Consumer::name).cmp(name))
    }

    /// Adds a consumer; `None` if there is one of this name.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<Owner> {
        let at = self.name_position(name).err()?;
        let consumer = Consumer { name: name.into(), seen_ms: now_ms, active_ms: -1, pending: Ordered::default() };
        let consumer = Some(Arc::new(consumer));
        let number = match self.vacant.pop() {
            Some(number) => {
                self.consumers[number as usize] = consumer;
                number
            }
            None => {
                self.consumers.push(consumer);
                (self.consumers.len() - 1) as u32
            }
        };
        self.by_name.insert(at, number);
        Some(Owner(number))
    }

    /// Deletes a consumer and what is pending with it; how much that was. `None` if there is none of this name.
    ///
    /// Takes time in proportion to what is pending with it, or with the group, whichever comes cheaper.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        /// Removing single entries costs about so much more than passing over one.
        const REMOVAL_COST: usize = 8;
        let number = self.by_name.remove(self.name_position(name).ok()?);
        self.vacant.push(number);
        let consumer = self.consumers.get_mut(number as usize)?.take()?;
        let pending = consumer.pending.len();
        if pending * REMOVAL_COST < self.pending.len() {
            for (id, _) in consumer.pending.range(Id::MIN, Id::MAX) {
                self.pending.remove(id);
            }
        } else {
            self.pending.retain(|_, entry| entry.owner != Owner(number));
        }
        Some(pending)
    }

    #[inline]
    pub fn consumer(&self, owner: Owner) -> Option<&Consumer> {
        self.consumers.get(owner.0 as usize)?.as_deref()
    }

    #[inline]
    pub fn consumer_mut(&mut self, owner: Owner) -> Option<&mut Consumer> {
        self.consumers.get_mut(owner.0 as usize)?.as_mut().map(Arc::make_mut)
    }

    #[inline]
    pub fn consumers_len(&self) -> usize {
        self.by_name.len()
    }

    /// All consumers, in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> + '_ {
        self.by_name.iter().filter_map(|&number| self.consumer(Owner(number)))
    }

    /// Number of pending entries.
    #[inline]
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The lowest and the greatest pending ID.
    pub fn pending_edges(&self) -> Option<(Id, Id)> {
        Some((self.pending.first()?.0, self.pending.last()?.0))
    }

    /// Pending entries from `start` to `end`, both included. To go on later, begin behind the last ID.
    #[inline]
    pub fn pending(&self, start: Id, end: Id) -> impl Iterator<Item = (Id, Pending)> + '_ {
        self.pending.range(start, end).map(|(id, &entry)| (id, entry))
    }

    /// The same of one consumer.
    #[inline]
    pub fn pending_of(&self, owner: Owner, start: Id, end: Id) -> impl Iterator<Item = (Id, Pending)> + '_ {
        let ids = self.consumer(owner).into_iter().flat_map(move |consumer| consumer.pending_ids(start, end));
        ids.filter_map(|id| Some((id, *self.pending.get(id)?)))
    }

    #[inline]
    pub fn get_pending(&self, id: Id) -> Option<Pending> {
        self.pending.get(id).copied()
    }

    /// Makes an entry pending, or changes what is pending, a new owner included. The owner must exist.
    #[inline]
    pub fn set_pending(&mut self, id: Id, entry: Pending) {
        debug_assert!(self.consumer(entry.owner).is_some());
        let old = self.pending.insert(id, entry);
        match old {
            Some(old) if old.owner == entry.owner => return,
            Some(old) => self.disown(old.owner, id),
            None => {}
        }
        if let Some(consumer) = self.consumer_mut(entry.owner) {
            consumer.pending.insert(id, ());
        }
    }

    /// XREADGROUP: an entry is delivered for the first time, or, after XGROUP SETID, anew.
    #[inline]
    pub fn deliver(&mut self, id: Id, owner: Owner, now_ms: i64) {
        self.set_pending(id, Pending { delivered_ms: now_ms, owner, deliveries: 1 });
    }

    /// A pending entry is given out once more.
    pub fn redeliver(&mut self, id: Id, now_ms: i64) {
        if let Some(entry) = self.pending.get_mut(id) {
            entry.delivered_ms = now_ms;
            entry.deliveries = entry.deliveries.saturating_add(1);
        }
    }

    /// XACK, or the entry is gone: it is pending no more. Whether it was.
    #[inline]
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some(entry) = self.pending.remove(id) else { return false };
        self.disown(entry.owner, id);
        true
    }

    fn disown(&mut self, owner: Owner, id: Id) {
        if let Some(consumer) = self.consumer_mut(owner) {
            consumer.pending.remove(id);
        }
    }

    /// Adds a pending entry whose owner comes later; whether it was not there yet.
    #[must_use]
    pub fn load_pending(&mut self, id: Id, delivered_ms: i64, deliveries: u64) -> bool {
        let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
        self.pending.insert(id, Pending { delivered_ms, owner: Owner::NONE, deliveries }).is_none()
    }

    /// Gives a pending entry its owner; whether it was there, and had none.
    #[must_use]
    pub fn load_owner(&mut self, id: Id, owner: Owner) -> bool {
        let Some(entry) = self.pending.get_mut(id).filter(|entry| entry.owner == Owner::NONE) else { return false };
        entry.owner = owner;
        self.consumer_mut(owner).is_some_and(|consumer| consumer.pending.insert(id, ()).is_none())
    }

    /// Frees about `budget` pending entries and consumers; how many. Leaves a group that is good for nothing else.
    pub fn drop_some(&mut self, budget: usize) -> usize {
        let mut freed = self.pending.drop_some(budget);
        while freed < budget
            && let Some(last) = self.consumers.last_mut()
        {
            let own =
                last.as_mut().and_then(Arc::get_mut).map_or(0, |consumer| consumer.pending.drop_some(budget - freed));
            freed += own;
            if own == 0 {
                self.consumers.pop();
                freed += 1;
            }
        }
        freed
    }

    /// An estimate of the memory, without this itself. Looks at every consumer.
    pub fn heap_bytes(&self) -> usize {
        let consumer = |consumer: &Consumer| {
            ARC_BYTES + size_of::<Consumer>() + consumer.name.len() + consumer.pending.heap_bytes()
        };
        let numbers = self.by_name.capacity() + self.vacant.capacity();
        self.name.len()
            + self.pending.heap_bytes()
            + self.consumers.capacity() * size_of::<Option<Arc<Consumer>>>()
            + numbers * size_of::<u32>()
            + self.consumers().map(consumer).sum::<usize>()
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.pending.check();
        let owned: usize = self.consumers().map(Consumer::pending_len).sum();
        assert_eq!(owned, self.pending.len());
        for (id, entry) in self.pending(Id::MIN, Id::MAX) {
            let owner = self.consumer(entry.owner).expect("an owner");
            assert_eq!(owner.pending_ids(id, id).next(), Some(id));
        }
        self.consumers().for_each(|consumer| consumer.pending.check());
        assert!(self.consumers().map(Consumer::name).is_sorted_by(|a, b| a < b));
        assert_eq!(self.by_name.len() + self.vacant.len(), self.consumers.len());
    }
}

/// How many entries were added up to the one with this ID, in the stream's whole life, as far as that can be told: for what lies before the
/// first entry, for the first and for the last, unless an entry was deleted in between. Redis: `streamEstimateDistanceFromFirstEverEntry`.
pub fn entries_up_to(log: &Log, id: Id) -> Option<i64> {
    let added = log.entries_added() as i64;
    if log.entries_added() == 0 {
        return Some(0);
    }
    if id == log.last_id() || (log.is_empty() && id < log.last_id()) {
        return Some(added);
    }
    if id > log.last_id() {
        return None;
    }
    let gaps = log.max_deleted_id() != Id::MIN && log.max_deleted_id() >= log.first_id();
    let before_first = added.wrapping_sub(log.len() as i64);
    match id.cmp(&log.first_id()) {
        std::cmp::Ordering::Less if !gaps => Some(before_first),
        std::cmp::Ordering::Equal if !gaps => Some(before_first.wrapping_add(1)),
        _ => None,
    }
}

/// Whether an entry from `start` on may have been deleted. Redis: `streamRangeHasTombstones`.
fn deleted_from(log: &Log, start: Id) -> bool {
    let deleted = log.max_deleted_id();
    !log.is_empty() && deleted != Id::MIN && log.first_id() <= deleted && start <= deleted
}
