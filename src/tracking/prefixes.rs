//! Broadcasting: who wants to know of every change to a key with a prefix, and what has changed since that was last told.
//!
//! Every core has all registrations; the changes are those of its own keys. They are told once a tick, one message for each prefix
//! with the keys in their order, as Redis tells them once a turn of its event loop.
//!
//! Invariants
//! - a prefix is here as long as anybody wants it; `lengths` counts the prefixes of each length
//! - `changed` names exactly the prefixes that have keys to tell
//!
//! The keys collected are never more than the commands of one tick have changed.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::{Text, Texts, Tracker};

/// Who is told about the keys of a prefix.
#[derive(Clone, Copy, Debug)]
struct Listener {
    tracker: Tracker,
    /// What it changed itself is left out.
    noloop: bool,
}

#[derive(Debug, Default)]
struct Prefix {
    listeners: Vec<Listener>,
    /// Changed keys, and who changed each last; nobody in particular where it expired or was evicted.
    keys: BTreeMap<Box<[u8]>, Option<Tracker>>,
}

#[derive(Debug, Default)]
pub struct Prefixes {
    prefixes: HashMap<Box<[u8]>, Prefix>,
    lengths: BTreeMap<usize, usize>,
    changed: BTreeSet<Box<[u8]>>,
}

impl Prefixes {
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Registers a client for one more prefix.
    pub fn add(&mut self, prefix: &[u8], tracker: Tracker, noloop: bool) {
        if !self.prefixes.contains_key(prefix) {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        let listeners = &mut self.prefixes.entry(prefix.into()).or_default().listeners;
        match listeners.iter_mut().find(|listener| listener.tracker == tracker) {
            Some(listener) => listener.noloop = noloop,
            None => listeners.push(Listener { tracker, noloop }),
        }
    }

    /// Takes a registration back. What waits to be told of a prefix that nobody else wants is dropped.
    pub fn remove(&mut self, prefix: &[u8], tracker: Tracker) {
        let Some(known) = self.prefixes.get_mut(prefix) else { return };
        known.listeners.retain(|listener| listener.tracker != tracker);
        if !known.listeners.is_empty() {
            return;
        }
        self.prefixes.remove(prefix);
        self.changed.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// Notes that a key has changed, and by whom.
    pub fn note(&mut self, key: &[u8], author: Option<Tracker>) {
        for (&length, _) in self.lengths.range(..=key.len()) {
            let Some(prefix) = self.prefixes.get_mut(&key[..length]) else { continue };
            if prefix.keys.is_empty() {
                self.changed.insert(key[..length].into());
            }
            prefix.keys.insert(key.into(), author);
        }
    }

    /// Whether there is anything to tell.
    pub fn is_quiet(&self) -> bool {
        self.changed.is_empty()
    }

    /// Hands out what is to be told, prefix by prefix in their order: to whom, and which keys.
    pub fn tell(&mut self, texts: &mut Texts, mut tell: impl FnMut(Tracker, &Text)) {
        for prefix in std::mem::take(&mut self.changed) {
            let Some(Prefix { listeners, keys }) = self.prefixes.get_mut(&prefix) else { continue };
            let keys = std::mem::take(keys);
            let all = texts.keys(keys.keys().map(|key| &**key));
            for Listener { tracker, noloop } in listeners {
                let is_own = |author: &Option<Tracker>| *noloop && *author == Some(*tracker);
                if !keys.values().any(is_own) {
                    tell(*tracker, &all);
                    continue;
                }
                let mut others = keys.iter().filter(|(_, author)| !is_own(author)).map(|(key, _)| &**key).peekable();
                if others.peek().is_some() {
                    tell(*tracker, &texts.keys(others));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SocketId;
    use proptest::prelude::*;

    fn tracker(index: u32) -> Tracker {
        Tracker { core: index as usize % 2, socket: SocketId { index, generation: 0 } }
    }

    fn told(prefixes: &mut Prefixes) -> Vec<(u32, Vec<String>)> {
        let mut told = Vec::new();
        let mut texts = Texts::default();
        prefixes.tell(&mut texts, |tracker, text| {
            let words: Vec<&[u8]> = text.bytes().split(|byte| *byte == b'\n').collect();
            // Behind the count, a length and a key in turn, each with the rest of its line end.
            let keys = words[1..].chunks_exact(2).map(|pair| String::from_utf8_lossy(pair[1].trim_ascii_end()).into());
            told.push((tracker.socket.index, keys.collect()));
        });
        assert!(prefixes.is_quiet());
        told
    }

    #[test]
    fn each_prefix_tells_its_keys_once_and_in_order() {
        let mut prefixes = Prefixes::default();
        prefixes.add(b"b", tracker(1), false);
        prefixes.add(b"a", tracker(1), false);
        prefixes.add(b"", tracker(2), true);
        for (key, author) in [("a3", None), ("b", None), ("a1", Some(tracker(2))), ("a3", None), ("c", None)] {
            prefixes.note(key.as_bytes(), author);
        }
        let list = |keys: &[&str]| keys.iter().map(|key| key.to_string()).collect::<Vec<_>>();
        assert_eq!(told(&mut prefixes), [(2, list(&["a3", "b", "c"])), (1, list(&["a1", "a3"])), (1, list(&["b"]))]);
        assert_eq!(told(&mut prefixes), []);
        prefixes.note(b"x", Some(tracker(2)));
        assert_eq!(told(&mut prefixes), [], "its own change alone is no message");
        prefixes.note(b"a", None);
        prefixes.remove(b"a", tracker(1));
        assert_eq!(told(&mut prefixes), [(2, list(&["a"]))]);
        prefixes.remove(b"", tracker(2));
        prefixes.remove(b"b", tracker(1));
        assert!(prefixes.is_empty() && prefixes.lengths.is_empty());
    }

    proptest! {
        /// Against the plain definition: every client hears, per prefix, of the keys that begin with it and that others changed last.
        #[test]
        fn as_said(
            wants in prop::collection::btree_map(("[ab]{0,3}", 0u32..4), any::<bool>(), 0..12),
            gone in prop::collection::btree_set(("[ab]{0,3}", 0u32..4), 0..6),
            changes in prop::collection::vec(("[ab]{0,4}", prop::option::of(0u32..4)), 0..20),
        ) {
            let mut prefixes = Prefixes::default();
            for ((prefix, client), noloop) in &wants {
                prefixes.add(prefix.as_bytes(), tracker(*client), *noloop);
            }
            for (prefix, client) in &gone {
                prefixes.remove(prefix.as_bytes(), tracker(*client));
            }
            for (key, author) in &changes {
                prefixes.note(key.as_bytes(), author.map(tracker));
            }
            let last: BTreeMap<_, _> = changes.iter().cloned().collect();
            let mut expected: Vec<(String, u32, Vec<String>)> = wants
                .iter()
                .filter(|(want, _)| !gone.contains(*want))
                .map(|((prefix, client), noloop)| {
                    let mine = |author: &Option<u32>| *noloop && *author == Some(*client);
                    let keys = last.iter().filter(|(key, author)| key.starts_with(prefix) && !mine(author));
                    (prefix.clone(), *client, keys.map(|(key, _)| key.clone()).collect())
                })
                .filter(|(_, _, keys): &(_, _, Vec<String>)| !keys.is_empty())
                .collect();
            expected.sort();
            let expected: Vec<_> = expected.into_iter().map(|(_, client, keys)| (client, keys)).collect();
            prop_assert_eq!(told(&mut prefixes), expected);
        }
    }
}
