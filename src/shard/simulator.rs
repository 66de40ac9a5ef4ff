//! A seeded simulation of lock tables, coordinators and mailboxes: cores that exchange messages with delays, in any order that keeps the
//! order between two cores; clients of single commands, transactions and commands over whole shards, who may go at every step.
//!
//! Checked in every history: it comes to an end (no deadlock), every lock is free then, every entry is at home and was never in two
//! places, locks are granted in order of arrival, and what the clients saw is strictly serialisable.
//!
//! `BASALT_SIM_HISTORIES` (2000) is the number of histories; `BASALT_TEST_SEED` repeats one.

mod core;
mod history;

use std::collections::{BTreeMap, VecDeque};

use self::core::{Entry, Message, Number, Part, SimulatedCore, Visitors};
use self::history::{History, Key, MAX_OPERATIONS, Version};
use super::coordinator::{Action, Answer, Coordinator};
use super::locks::Mode;
use crate::keyspace::Dice;

/// What the seed decides once for a history.
#[derive(Debug)]
struct Setting {
    cores: usize,
    keys: usize,
    clients: usize,
    /// All clients together.
    operations: usize,
    /// In steps. Messages between some pairs of cores take many times that.
    delay: usize,
    /// Of a thousand operations, how many are single commands, and how many concern whole shards.
    single: usize,
    whole: usize,
    /// Of a thousand claims, how many are exclusive.
    writes: usize,
    /// One step of so many kills a client; 0: none.
    kill_every: usize,
}

impl Setting {
    fn roll(dice: &mut Dice) -> Setting {
        let clients = 1 + dice.below(10);
        Setting {
            cores: 1 + dice.below(6),
            keys: 1 + dice.below(8),
            clients,
            operations: (clients * (1 + dice.below(8))).min(MAX_OPERATIONS),
            delay: [0, 2, 10, 40][dice.below(4)],
            single: dice.below(800),
            whole: [0, 50, 200][dice.below(3)],
            writes: 100 + dice.below(900),
            kill_every: [0, 0, 300, 60, 15][dice.below(5)],
        }
    }
}

/// Which clients die.
#[derive(Clone, Copy, Debug)]
enum Deaths {
    /// As the seed will have it.
    Random,
    None,
    /// This client at this step.
    One {
        step: u64,
        client: usize,
    },
}

struct Client {
    core: usize,
    alive: bool,
    at_work: Option<Number>,
}

/// A transaction on its client's core.
struct Transaction {
    client: usize,
    coordinator: Coordinator,
    parts: BTreeMap<usize, Part>,
    /// What the cores have handed over.
    visitors: BTreeMap<usize, Visitors>,
}

/// What may happen next.
#[derive(Clone, Copy)]
enum Event {
    Begin { client: usize },
    Deliver { mailbox: usize },
    Finish { number: Number },
}

struct Simulation {
    setting: Setting,
    dice: Dice,
    now: u64,
    cores: Vec<SimulatedCore>,
    clients: Vec<Client>,
    transactions: BTreeMap<Number, Transaction>,
    /// Those whose handlers run.
    running: Vec<Number>,
    /// By sender and receiver: messages, and when each may arrive.
    mailboxes: Vec<VecDeque<(u64, Message)>>,
    slow: Vec<bool>,
    history: History,
    deaths: Deaths,
}

impl Simulation {
    fn new(seed: u64, deaths: Deaths) -> Simulation {
        let mut dice = Dice::new(seed);
        let mut setting = Setting::roll(&mut dice);
        if !matches!(deaths, Deaths::Random) {
            setting.kill_every = 0;
        }
        let Setting { cores, keys, clients, .. } = setting;
        let mut client = || Client { core: dice.below(cores), alive: true, at_work: None };
        Simulation {
            now: 0,
            clients: (0..clients).map(|_| client()).collect(),
            cores: (0..cores)
                .map(|core| SimulatedCore::new((0..keys).filter(move |key| key % cores == core)))
                .collect(),
            transactions: BTreeMap::new(),
            running: Vec::new(),
            mailboxes: (0..cores * cores).map(|_| VecDeque::new()).collect(),
            slow: (0..cores * cores).map(|_| dice.below(8) == 0).collect(),
            history: History::default(),
            deaths,
            setting,
            dice,
        }
    }

    /// Runs to the end, and checks everything; how many steps it took.
    fn run(mut self) -> u64 {
        while self.step() {
            assert!(self.now < 1_000_000, "it does not come to an end");
        }
        for (number, client) in self.clients.iter().enumerate() {
            assert!(!client.alive || client.at_work.is_none(), "client {number} waits and nothing moves");
        }
        assert!(self.transactions.is_empty(), "transactions are left: {:?}", self.transactions.keys());
        let mut last: BTreeMap<Key, Version> = BTreeMap::new();
        for (id, core) in self.cores.iter().enumerate() {
            assert!(core.is_at_rest(), "core {id} has locks left");
            for (key, entry) in &core.table {
                assert_eq!((key % self.setting.cores, *key), (id, entry.key), "each entry is where it belongs");
                last.insert(*key, entry.version);
            }
        }
        assert_eq!(last.len(), self.setting.keys, "an entry is lost");
        if let Err(problem) = self.history.check(&last) {
            panic!("{problem}");
        }
        self.now
    }

    /// One event. Whether there was any.
    fn step(&mut self) -> bool {
        self.now += 1;
        self.kill_someone();
        let mut events = Vec::new();
        let more = self.history.operations.len() < self.setting.operations;
        let idle = self.clients.iter().enumerate().filter(|(_, client)| client.alive && client.at_work.is_none());
        events.extend(idle.filter(|_| more).map(|(client, _)| Event::Begin { client }));
        events.extend(self.running.iter().map(|number| Event::Finish { number: *number }));
        let ready = |mailbox: &VecDeque<(u64, Message)>| mailbox.front().is_some_and(|(at, _)| *at <= self.now);
        let arrivals = self.mailboxes.iter().enumerate().filter(|(_, mailbox)| ready(mailbox));
        events.extend(arrivals.map(|(mailbox, _)| Event::Deliver { mailbox }));
        if events.is_empty() {
            return self.mailboxes.iter().any(|mailbox| !mailbox.is_empty());
        }
        match events[self.dice.below(events.len())] {
            Event::Begin { client } => self.begin(client),
            Event::Finish { number } => self.finish(number),
            Event::Deliver { mailbox } => {
                let (_, message) = self.mailboxes[mailbox].pop_front().expect("it was looked at");
                let cores = self.setting.cores;
                self.receive(mailbox / cores, mailbox % cores, message);
            }
        }
        true
    }

    fn kill_someone(&mut self) {
        let every = self.setting.kill_every;
        let victim = match self.deaths {
            Deaths::One { step, client } if step == self.now => client % self.clients.len(),
            Deaths::Random if every > 0 && self.dice.below(every) == 0 => self.dice.below(self.clients.len()),
            Deaths::One { .. } | Deaths::Random | Deaths::None => return,
        };
        let client = &mut self.clients[victim];
        client.alive = false;
        if let Some(transaction) = client.at_work.and_then(|number| self.transactions.get_mut(&number)) {
            transaction.coordinator.abort();
        }
    }

    // Clients

    fn begin(&mut self, client: usize) {
        let number = self.history.invoke(self.now);
        self.clients[client].at_work = Some(number);
        let core = self.clients[client].core;
        if self.dice.below(1000) < self.setting.single {
            let (key, mode) = (self.dice.below(self.setting.keys), self.mode());
            self.send(core, key % self.setting.cores, Message::Request { number, key, mode });
            return;
        }
        let parts = self.parts();
        let mut actions = Vec::new();
        let coordinator = Coordinator::start(parts.keys().copied().collect(), &mut actions);
        let transaction = Transaction { client, coordinator, parts, visitors: BTreeMap::new() };
        self.transactions.insert(number, transaction);
        self.perform(number, actions);
    }

    fn mode(&mut self) -> Mode {
        if self.dice.below(1000) < self.setting.writes { Mode::Exclusive } else { Mode::Shared }
    }

    /// What a transaction wants of each core: some keys, or whole shards, or both.
    fn parts(&mut self) -> BTreeMap<usize, Part> {
        let Setting { cores, keys, whole, .. } = self.setting;
        let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
        if self.dice.below(1000) < whole {
            let (mode, some) = (self.mode(), self.dice.below(2) == 0);
            for core in 0..cores {
                if !some || self.dice.below(2) == 0 {
                    parts.entry(core).or_default().whole = Some(mode);
                }
            }
            if self.dice.below(3) > 0 {
                return parts;
            }
        }
        for _ in 0..self.dice.below(5) {
            let (key, mode) = (self.dice.below(keys), self.mode());
            parts.entry(key % cores).or_default().keys.push((key, mode));
        }
        parts
    }

    fn answered(&mut self, number: Number) {
        let waits = |client: &&mut Client| client.at_work == Some(number);
        let client = self.clients.iter_mut().find(waits).expect("a command is answered once");
        client.at_work = None;
        if client.alive {
            self.history.returned(number, self.now);
        }
    }

    // Messages

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if from == to {
            return self.receive(from, to, message);
        }
        let mailbox = from * self.setting.cores + to;
        let longest = self.setting.delay * if self.slow[mailbox] { 20 } else { 1 };
        let at = self.now + self.dice.below(longest + 1) as u64;
        self.mailboxes[mailbox].push_back((at, message));
    }

    fn receive(&mut self, from: usize, to: usize, message: Message) {
        match message {
            Message::Request { number, key, mode } => {
                for number in self.cores[to].request(from, number, key, mode, &mut self.history) {
                    self.send(to, from, Message::Reply { number });
                }
            }
            Message::Reply { number } => self.answered(number),
            Message::CheckOut { number, part, waits } => {
                if let Some(answer) = self.cores[to].check_out(from, number, part, waits) {
                    self.send(to, from, answer);
                }
            }
            Message::CheckedOut { number, visitors } => self.checked_out(from, number, visitors),
            Message::CheckIn { number, entries } => {
                for (to_whom, message) in self.cores[to].check_in(number, entries, &mut self.history) {
                    self.send(to, to_whom, message);
                }
            }
        }
    }

    // Transactions

    fn transaction(&mut self, number: Number) -> &mut Transaction {
        self.transactions.get_mut(&number).expect("a transaction is there until it is done")
    }

    fn perform(&mut self, number: Number, actions: Vec<Action>) {
        let client = self.transaction(number).client;
        let core = self.clients[client].core;
        for action in actions {
            let transaction = self.transaction(number);
            match action {
                Action::Try(shard) | Action::Wait(shard) => {
                    let (part, waits) = (transaction.parts[&shard].clone(), matches!(action, Action::Wait(_)));
                    self.send(core, shard, Message::CheckOut { number, part, waits });
                }
                Action::GiveBack(shard) | Action::CheckIn(shard) => {
                    let visitors = transaction.visitors.remove(&shard).expect("only what came is returned");
                    self.send(core, shard, Message::CheckIn { number, entries: visitors.entries });
                }
                Action::Run => self.running.push(number),
                Action::Done => {
                    assert!(transaction.visitors.is_empty(), "entries stay behind");
                    self.transactions.remove(&number);
                    // Of one that did not run the client is gone.
                    assert!(self.history.operations[number].ran || !self.clients[client].alive);
                }
            }
        }
    }

    fn checked_out(&mut self, from: usize, number: Number, visitors: Option<Visitors>) {
        let transaction = self.transaction(number);
        let answer = if visitors.is_some() { Answer::Granted } else { Answer::Refused };
        if let Some(visitors) = visitors {
            let before = transaction.visitors.insert(from, visitors);
            assert!(before.is_none(), "a core hands over once");
        }
        let mut actions = Vec::new();
        transaction.coordinator.answer(from, answer, &mut actions);
        self.perform(number, actions);
    }

    /// The handlers run to their end: they read all there is, and write what they may. The client has its reply before the entries are home.
    fn finish(&mut self, number: Number) {
        self.running.retain(|running| *running != number);
        let Simulation { transactions, history, .. } = self;
        let transaction = transactions.get_mut(&number).expect("it runs");
        for visitors in transaction.visitors.values_mut() {
            visitors.values.iter().for_each(|(key, version)| history.read(number, *key, *version));
            for Entry { key, version } in &mut visitors.entries {
                *version = history.write(number, *key, *version);
            }
        }
        history.ran(number);
        let mut actions = Vec::new();
        transaction.coordinator.ran(&mut actions);
        self.answered(number);
        self.perform(number, actions);
    }
}

/// Tells the seed when a history fails.
struct Seed(u64, Deaths);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with BASALT_TEST_SEED={} (deaths: {:?})", self.0, self.1);
        }
    }
}

fn simulate(seed: u64, deaths: Deaths) -> u64 {
    let _told_on_failure = Seed(seed, deaths);
    Simulation::new(seed, deaths).run()
}

pub(crate) fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")))
}

/// The seeds to run: as many as are asked for, or the one that is to be repeated.
pub(crate) fn seeds(histories: u64) -> std::ops::Range<u64> {
    match number_from("BASALT_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..histories,
    }
}

#[test]
fn random_histories() {
    for seed in seeds(number_from("BASALT_SIM_HISTORIES").unwrap_or(2000)) {
        simulate(seed, Deaths::Random);
    }
}

/// A client dies at each step of a history in turn, and another in each.
#[test]
fn a_client_may_die_at_every_step() {
    let histories = number_from("BASALT_SIM_HISTORIES").unwrap_or(2000);
    let mut run = 0;
    for seed in seeds(u64::MAX) {
        let steps = simulate(seed, Deaths::None);
        for step in 1..=steps.min(200) {
            simulate(seed, Deaths::One { step, client: (seed + step) as usize });
        }
        run += steps.min(200) + 1;
        if run >= histories / 2 {
            break;
        }
    }
}
