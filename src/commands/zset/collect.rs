//! Elements outside of any set, on their way into a reply or a key.

use hashbrown::HashTable;

use crate::commands::Ctx;
use crate::commands::scratch::with_scratch;
use crate::types::dict::hash;
use crate::types::packed::{Item, MAX_INTEGER_TEXT};
use crate::types::zset::{Zset, compact};

/// A member, its bytes in [`Collected::names`], and its score.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    len: usize,
    score: f64,
}

/// Members and scores, each member once, in an order of the maker's.
#[derive(Debug, Default)]
pub struct Collected {
    /// The members' bytes one behind the other, of those too that were dropped.
    names: Vec<u8>,
    entries: Vec<Entry>,
}

impl Collected {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn push(&mut self, name: Item<'_>, score: f64) {
        let start = self.names.len();
        self.names.extend_from_slice(name.text(&mut [0; MAX_INTEGER_TEXT]));
        let len = self.names.len() - start;
        self.entries.push(Entry { start, len, score });
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.start..entry.start + entry.len]
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> {
        self.entries.iter().map(|entry| (self.name(entry), entry.score))
    }

    /// Makes of each score what `change` does; drops those it makes `None` of.
    pub fn retain(&mut self, mut change: impl FnMut(&[u8], f64) -> Option<f64>) {
        let names = &self.names;
        self.entries.retain_mut(|entry| {
            let changed = change(&names[entry.start..entry.start + entry.len], entry.score);
            entry.score = changed.unwrap_or(entry.score);
            changed.is_some()
        });
    }

    /// Brings them into the order of a sorted set.
    pub fn sort(&mut self) {
        let names = &self.names;
        let name = |entry: &Entry| &names[entry.start..entry.start + entry.len];
        // Adding zero makes 0 of -0, which is the same place.
        self.entries
            .sort_unstable_by(|a, b| (a.score + 0.0).total_cmp(&(b.score + 0.0)).then_with(|| name(a).cmp(name(b))));
    }
}

/// Where the members of a [`Collected`] are, by name.
#[derive(Default)]
pub struct Index {
    places: HashTable<u32>,
}

impl Index {
    /// Adds a member, or makes of its score what `aggregate` does.
    pub fn merge(&mut self, all: &mut Collected, name: Item<'_>, score: f64, aggregate: impl FnOnce(f64, f64) -> f64) {
        let mut room = [0; MAX_INTEGER_TEXT];
        let text = name.text(&mut room);
        let hash_of = |all: &Collected, place: u32| hash(all.name(&all.entries[place as usize]));
        let found = self.places.find(hash(text), |place| all.name(&all.entries[*place as usize]) == text).copied();
        if let Some(place) = found {
            let entry = &mut all.entries[place as usize];
            entry.score = aggregate(entry.score, score);
            return;
        }
        let Ok(place) = u32::try_from(all.entries.len()) else { panic!("a union of more than 2^32 members") };
        all.push(name, score);
        self.places.insert_unique(hash(text), place, |place| hash_of(all, *place));
    }
}

/// Stores them, which are in order, as a sorted set, and replies with their number. What was there goes, with its expiry. `changes`
/// is what a result counts that is not empty.
pub fn store(ctx: &mut Ctx<'_>, key: &[u8], result: &Collected, name: &'static str, changes: u64) {
    put(ctx, key, result, name, changes);
    ctx.out.int(result.len() as i64);
}

fn put(ctx: &mut Ctx<'_>, key: &[u8], result: &Collected, name: &'static str, changes: u64) {
    if result.len() == 0 {
        if ctx.keys.discard(key) {
            ctx.event(key, "del");
            ctx.changed(1);
        }
        return;
    }
    let limits = ctx.encodings.zset;
    if result.len() <= limits.entries && result.entries.iter().all(|entry| entry.len <= limits.value) {
        with_scratch(|run| {
            result.iter().for_each(|(name, score)| compact::push(run, score, name));
            ctx.keys.set_packed::<Zset>(key, run);
        });
    } else {
        let mut full = Zset::new();
        for (name, score) in result.iter() {
            full.insert(score, name);
        }
        ctx.keys.set_full(key, full);
    }
    if let Some(Some(_)) = ctx.keys.expire_at_ms(key) {
        ctx.keys.set_expire_at_ms(key, None);
    }
    super::event(ctx, key, name);
    ctx.changed(changes);
}
