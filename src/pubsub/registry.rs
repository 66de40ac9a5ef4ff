//! The subscriptions of one core's clients, and the counts that the other cores have announced.
//!
//! Invariants
//! - a client is among a topic's subscribers exactly when the topic is among the client's subscriptions
//! - a topic's count of this core is the number of its subscribers here
//! - no topic is without any count above zero, and no client without a subscription is known

use bytes::Bytes;
use hashbrown::HashMap;

use crate::runtime::{ExecutorId, SocketId};
use crate::types::glob::{self, Case};

/// What a name that is subscribed to stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Channel,
    /// A glob pattern over the names of channels.
    Pattern,
    /// A channel of its own name space, which no pattern reaches.
    ShardChannel,
}

/// One subscriber more or less on another core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Joined,
    Left,
}

/// How many subscriptions a client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub channels: usize,
    pub patterns: usize,
    pub shard_channels: usize,
}

impl Counts {
    pub fn total(self) -> usize {
        self.channels + self.patterns + self.shard_channels
    }

    /// The number that confirms a subscription: channels and patterns count together, shard channels apart.
    pub fn confirmed(self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.channels + self.patterns,
            Kind::ShardChannel => self.shard_channels,
        }
    }
}

/// A name that somebody is subscribed to.
pub struct Topic {
    /// Those here, by the number of their subscription, which ascends.
    subscribers: Vec<(u64, SocketId)>,
    /// How many there are on each core.
    counts: Box<[u32]>,
}

impl Topic {
    fn new(cores: usize) -> Topic {
        Topic { subscribers: Vec::new(), counts: vec![0; cores].into() }
    }

    /// The subscribers here, in order of subscription.
    pub fn subscribers(&self) -> impl ExactSizeIterator<Item = SocketId> + '_ {
        self.subscribers.iter().map(|(_, socket)| *socket)
    }

    /// How many subscribers each core has.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    fn is_unused(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

type Topics = HashMap<Bytes, Topic>;

/// The subscriptions of one client, with their numbers.
#[derive(Default)]
struct Subscriptions {
    channels: HashMap<Bytes, u64>,
    patterns: HashMap<Bytes, u64>,
    shard_channels: HashMap<Bytes, u64>,
}

impl Subscriptions {
    fn of(&self, kind: Kind) -> &HashMap<Bytes, u64> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::ShardChannel => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut HashMap<Bytes, u64> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::ShardChannel => &mut self.shard_channels,
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            channels: self.channels.len(),
            patterns: self.patterns.len(),
            shard_channels: self.shard_channels.len(),
        }
    }
}

pub struct Registry {
    here: ExecutorId,
    cores: usize,
    channels: Topics,
    patterns: Topics,
    shard_channels: Topics,
    clients: HashMap<SocketId, Subscriptions>,
    /// Number of the next subscription.
    next: u64,
}

impl Registry {
    /// The registry of core `here` of `cores`.
    pub fn new(here: ExecutorId, cores: usize) -> Registry {
        Registry {
            here,
            cores,
            channels: Topics::default(),
            patterns: Topics::default(),
            shard_channels: Topics::default(),
            clients: HashMap::default(),
            next: 0,
        }
    }

    fn topics(&self, kind: Kind) -> &Topics {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::ShardChannel => &self.shard_channels,
        }
    }

    fn topics_mut(&mut self, kind: Kind) -> &mut Topics {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::ShardChannel => &mut self.shard_channels,
        }
    }

    // Clients of this core

    /// Subscribes a client; whether it was not before.
    pub fn subscribe(&mut self, kind: Kind, name: Bytes, client: SocketId) -> bool {
        let number = self.next;
        let subscriptions = self.clients.entry(client).or_default().of_mut(kind);
        if subscriptions.try_insert(name.clone(), number).is_err() {
            return false;
        }
        self.next += 1;
        let (here, cores) = (self.here, self.cores);
        let topic = self.topics_mut(kind).entry(name).or_insert_with(|| Topic::new(cores));
        topic.subscribers.push((number, client));
        topic.counts[here] += 1;
        true
    }

    /// Ends a subscription; whether there was one.
    pub fn unsubscribe(&mut self, kind: Kind, name: &[u8], client: SocketId) -> bool {
        let Some(subscriptions) = self.clients.get_mut(&client) else { return false };
        let Some(number) = subscriptions.of_mut(kind).remove(name) else { return false };
        if subscriptions.counts().total() == 0 {
            self.clients.remove(&client);
        }
        self.remove_subscriber(kind, name, number);
        true
    }

    /// Ends all subscriptions of a client; what they were.
    pub fn leave(&mut self, client: SocketId) -> Vec<(Kind, Bytes)> {
        let Some(subscriptions) = self.clients.remove(&client) else { return Vec::new() };
        let mut left = Vec::with_capacity(subscriptions.counts().total());
        for kind in [Kind::Channel, Kind::Pattern, Kind::ShardChannel] {
            for (name, number) in subscriptions.of(kind) {
                self.remove_subscriber(kind, name, *number);
                left.push((kind, name.clone()));
            }
        }
        left
    }

    fn remove_subscriber(&mut self, kind: Kind, name: &[u8], number: u64) {
        let here = self.here;
        let topics = self.topics_mut(kind);
        let Some(topic) = topics.get_mut(name) else { return };
        if let Ok(index) = topic.subscribers.binary_search_by_key(&number, |(number, _)| *number) {
            topic.subscribers.remove(index);
            topic.counts[here] -= 1;
        }
        if topic.is_unused() {
            topics.remove(name);
        }
    }

    pub fn is_subscribed(&self, kind: Kind, name: &[u8], client: SocketId) -> bool {
        self.clients.get(&client).is_some_and(|subscriptions| subscriptions.of(kind).contains_key(name))
    }

    /// How many subscriptions a client has.
    pub fn counts(&self, client: SocketId) -> Counts {
        self.clients.get(&client).map(Subscriptions::counts).unwrap_or_default()
    }

    /// What a client is subscribed to, in order of subscription.
    pub fn subscriptions(&self, kind: Kind, client: SocketId) -> Vec<Bytes> {
        let Some(subscriptions) = self.clients.get(&client) else { return Vec::new() };
        let mut names: Vec<_> = subscriptions.of(kind).iter().collect();
        names.sort_unstable_by_key(|(_, number)| **number);
        names.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// How many clients of this core are subscribed to anything.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    // Other cores

    /// Takes note that another core has one subscriber more or less.
    pub fn announced(&mut self, kind: Kind, name: &Bytes, core: ExecutorId, change: Change) {
        debug_assert!(core != self.here, "a core counts its own subscribers itself");
        let cores = self.cores;
        let topics = self.topics_mut(kind);
        let topic = topics.entry(name.clone()).or_insert_with(|| Topic::new(cores));
        match change {
            Change::Joined => topic.counts[core] += 1,
            Change::Left => {
                debug_assert!(topic.counts[core] > 0, "who leaves was announced before");
                topic.counts[core] = topic.counts[core].saturating_sub(1);
            }
        }
        if topic.is_unused() {
            topics.remove(name);
        }
    }

    // Names

    /// Whether nobody on any core is subscribed to a channel or pattern.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }

    /// Calls `f` with the topics that a message reaches: that of its channel, then those of the patterns that match it.
    #[inline]
    pub fn reached(&self, kind: Kind, channel: &[u8], mut f: impl FnMut(Option<&Bytes>, &Topic)) {
        if let Some(topic) = self.topics(kind).get(channel) {
            f(None, topic);
        }
        if kind != Kind::Channel {
            return;
        }
        for (pattern, topic) in &self.patterns {
            if glob::matches(pattern, channel, Case::Sensitive) {
                f(Some(pattern), topic);
            }
        }
    }

    /// The names that anybody on any core is subscribed to.
    pub fn names(&self, kind: Kind) -> impl ExactSizeIterator<Item = &Bytes> {
        self.topics(kind).keys()
    }

    /// How many subscribers a name has on all cores.
    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> u64 {
        self.topics(kind).get(name).map_or(0, |topic| topic.counts.iter().map(|count| u64::from(*count)).sum())
    }
}
