//! The registries of several cores beside a plain list of subscriptions.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::runtime::SocketId;
use crate::types::glob::{self, Case};

const CORES: usize = 3;
const CLIENTS: u32 = 4;
const NAMES: [&str; 6] = ["a", "ab", "abc", "a*", "?b*", "[a-c]"];
const KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::ShardChannel];

fn socket(n: u32) -> SocketId {
    SocketId { index: n, generation: 1 }
}

fn name(n: usize) -> Bytes {
    Bytes::from_static(NAMES[n].as_bytes())
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe {
        core: usize,
        client: u32,
        kind: usize,
        name: usize,
    },
    Unsubscribe {
        core: usize,
        client: u32,
        kind: usize,
        name: usize,
    },
    Leave {
        core: usize,
        client: u32,
    },
    /// One core takes the oldest announcement of another.
    Hear {
        from: usize,
        to: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let one = || (0..CORES, 0..CLIENTS, 0..KINDS.len(), 0..NAMES.len());
    prop_oneof![
        4 => one().prop_map(|(core, client, kind, name)| Step::Subscribe { core, client, kind, name }),
        3 => one().prop_map(|(core, client, kind, name)| Step::Unsubscribe { core, client, kind, name }),
        1 => (0..CORES, 0..CLIENTS).prop_map(|(core, client)| Step::Leave { core, client }),
        4 => (0..CORES, 0..CORES).prop_map(|(from, to)| Step::Hear { from, to }),
    ]
}

type Announcement = (Kind, Bytes, Change);

struct Cores {
    registries: Vec<Registry>,
    /// (from, to) and what is on its way.
    on_the_way: BTreeMap<(usize, usize), VecDeque<Announcement>>,
    /// Every subscription, oldest first.
    model: Vec<(usize, u32, Kind, Bytes)>,
}

impl Cores {
    fn new() -> Cores {
        let registries = (0..CORES).map(|core| Registry::new(core, CORES)).collect();
        Cores { registries, on_the_way: BTreeMap::new(), model: Vec::new() }
    }

    fn announce(&mut self, from: usize, kind: Kind, name: &Bytes, change: Change) {
        for to in (0..CORES).filter(|to| *to != from) {
            self.on_the_way.entry((from, to)).or_default().push_back((kind, name.clone(), change));
        }
    }

    fn hear(&mut self, from: usize, to: usize) -> bool {
        let Some((kind, name, change)) = self.on_the_way.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        self.registries[to].announced(kind, &name, from, change);
        true
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Subscribe { core, client, kind, name: n } => {
                let (kind, name) = (KINDS[kind], name(n));
                let is_new = !self.model.contains(&(core, client, kind, name.clone()));
                assert_eq!(self.registries[core].subscribe(kind, name.clone(), socket(client)), is_new);
                if is_new {
                    self.announce(core, kind, &name, Change::Joined);
                    self.model.push((core, client, kind, name));
                }
            }
            Step::Unsubscribe { core, client, kind, name: n } => {
                let (kind, name) = (KINDS[kind], name(n));
                let known = self.model.iter().position(|known| *known == (core, client, kind, name.clone()));
                assert_eq!(self.registries[core].unsubscribe(kind, &name, socket(client)), known.is_some());
                if let Some(index) = known {
                    self.model.remove(index);
                    self.announce(core, kind, &name, Change::Left);
                }
            }
            Step::Leave { core, client } => {
                let left = self.registries[core].leave(socket(client));
                let before = self.model.len();
                self.model.retain(|(on, who, _, _)| (*on, *who) != (core, client));
                assert_eq!(before - self.model.len(), left.len());
                for (kind, name) in left {
                    self.announce(core, kind, &name, Change::Left);
                }
            }
            Step::Hear { from, to } => {
                self.hear(from, to);
            }
        }
    }

    /// What a core knows of its own clients is exact at any time.
    fn check_own(&self, core: usize) {
        let registry = &self.registries[core];
        let own = || self.model.iter().filter(|(on, ..)| *on == core);
        for client in 0..CLIENTS {
            let of = |kind: Kind| own().filter(move |(_, who, of, _)| (*who, *of) == (client, kind));
            for kind in KINDS {
                let names: Vec<Bytes> = of(kind).map(|(.., name)| name.clone()).collect();
                assert_eq!(registry.subscriptions(kind, socket(client)), names);
                assert!(names.iter().all(|name| registry.is_subscribed(kind, name, socket(client))));
            }
            let counts = Counts {
                channels: of(Kind::Channel).count(),
                patterns: of(Kind::Pattern).count(),
                shard_channels: of(Kind::ShardChannel).count(),
            };
            assert_eq!(registry.counts(socket(client)), counts);
        }
        for channel in NAMES {
            let mut reached = Vec::new();
            registry.reached(Kind::Channel, channel.as_bytes(), |pattern, topic| {
                reached.push((pattern.cloned(), topic.subscribers().collect::<Vec<_>>()));
            });
            reached.retain(|(_, subscribers)| !subscribers.is_empty());
            let mut expected: Vec<(Option<Bytes>, Vec<SocketId>)> = Vec::new();
            for (_, client, kind, name) in own() {
                let pattern = match kind {
                    Kind::Channel if name == channel => None,
                    Kind::Pattern if glob::matches(name, channel.as_bytes(), Case::Sensitive) => Some(name.clone()),
                    _ => continue,
                };
                match expected.iter_mut().find(|(known, _)| *known == pattern) {
                    Some((_, subscribers)) => subscribers.push(socket(*client)),
                    None => expected.push((pattern, vec![socket(*client)])),
                }
            }
            // The channel comes first; which pattern comes before which is left open.
            assert!(reached.iter().skip(1).all(|(pattern, _)| pattern.is_some()));
            reached.sort_by_key(|(pattern, _)| pattern.clone());
            expected.sort_by_key(|(pattern, _)| pattern.clone());
            assert_eq!(reached, expected);
        }
    }

    /// When all has been heard, every core knows all counts, and no name that nobody is subscribed to.
    fn check_counts(&mut self) {
        for (from, to) in (0..CORES).flat_map(|from| (0..CORES).map(move |to| (from, to))) {
            while self.hear(from, to) {}
        }
        for registry in &self.registries {
            for kind in KINDS {
                let mut names: Vec<&Bytes> = registry.names(kind).collect();
                names.sort();
                let subscribed = self.model.iter().filter(|(_, _, of, _)| *of == kind);
                let mut expected: Vec<&Bytes> = subscribed.clone().map(|(.., name)| name).collect();
                expected.sort();
                expected.dedup();
                assert_eq!(names, expected);
                for name in names {
                    let count = subscribed.clone().filter(|(.., of)| of == name).count();
                    assert_eq!(registry.subscribers(kind, name), count as u64);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn registries_agree_with_the_list_of_subscriptions(steps in prop::collection::vec(step(), 1..150)) {
        let mut cores = Cores::new();
        for step in &steps {
            cores.run(step);
            (0..CORES).for_each(|core| cores.check_own(core));
        }
        cores.check_counts();
    }
}

#[test]
fn a_pattern_reaches_no_shard_channel() {
    let mut registry = Registry::new(0, 1);
    assert!(registry.subscribe(Kind::Pattern, Bytes::from_static(b"*"), socket(1)));
    assert!(registry.subscribe(Kind::ShardChannel, Bytes::from_static(b"x"), socket(2)));
    let mut reached = Vec::new();
    registry.reached(Kind::ShardChannel, b"x", |pattern, topic| {
        assert!(pattern.is_none());
        reached.extend(topic.subscribers());
    });
    assert_eq!(reached, [socket(2)]);
    registry.reached(Kind::ShardChannel, b"y", |_, _| panic!("nobody listens"));
}

#[test]
fn an_earlier_socket_in_the_same_place_is_another_client() {
    let mut registry = Registry::new(0, 1);
    let (old, new) = (SocketId { index: 7, generation: 1 }, SocketId { index: 7, generation: 2 });
    registry.subscribe(Kind::Channel, Bytes::from_static(b"x"), old);
    assert_eq!(registry.counts(new), Counts::default());
    assert!(!registry.unsubscribe(Kind::Channel, b"x", new));
    assert_eq!(registry.leave(old).len(), 1);
    assert_eq!((registry.clients(), registry.names(Kind::Channel).len()), (0, 0));
}
