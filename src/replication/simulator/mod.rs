//! A seeded simulation of replication: nodes with several cores each, write, lose connections, die and change roles.
//!
//! The machines are the real ones: write log, merge, primary, link, stream, applier, loader. Cores, network and time are played, and move in an order
//! that the seed decides; a connection may be cut at every byte.
//!
//! What must hold
//! - a primary's stream has the writes of its cores in the order of their numbers, and nothing else
//! - the data of a replica are those that the history it claims to follow had at the offset that it claims; while it executes, each core is somewhere
//!   between what is applied and what was taken
//! - what a replica acknowledges is applied, and on one history it never goes back, unless it takes the data of another replica that is behind
//! - a replica that comes back goes on whenever its history is known and the backlog reaches, and never otherwise
//! - when faults end, all nodes come to the same data
//!
//! `BASALT_SIM_HISTORIES` is the number of histories; `BASALT_TEST_SEED` repeats one.

mod node;
mod truth;
mod upstream;
mod wire;

use std::sync::Arc;

use self::node::{Node, Role, World};
use self::truth::Truth;
use self::wire::{Phase, Wires};
use crate::commands::lookup::Commands;
use crate::config::OutputLimit;
use crate::keyspace::Dice;
use crate::replication::primary::{Event as PrimaryEvent, Settings};
use crate::replication::replica::link::Event as LinkEvent;
use crate::shard::simulator::{number_from, seeds};

const TICK_MS: u64 = 100;

/// What the seed decides once for a history.
#[derive(Debug)]
struct Setting {
    nodes: usize,
    /// Steps before everything heals.
    steps: u64,
    /// The longest value, and the most bytes that arrive at once.
    value_bytes: usize,
    piece_bytes: usize,
    /// One step of so many is a write, lets time pass, does harm.
    write_every: usize,
    tick_every: usize,
    fault_every: usize,
}

impl Setting {
    fn roll(dice: &mut Dice) -> Setting {
        let (value_bytes, piece_bytes) = [(0, 4), (10, 50), (200, 3000), (6000, 40_000)][dice.below(4)];
        Setting {
            nodes: 2 + dice.below(3),
            steps: 300 + dice.below(1500) as u64,
            value_bytes,
            piece_bytes,
            write_every: 2 + dice.below(30),
            tick_every: [10, 30, 100][dice.below(3)],
            fault_every: [0, 200, 60, 20][dice.below(4)],
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Faults {
    /// As the seed will have it.
    Random,
    None,
    /// This one at this step.
    One {
        step: u64,
        fault: Fault,
    },
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    /// A connection passes nothing on for a while.
    Stall,
    /// A node loses all it has. It comes back, with the role it had.
    Die,
    /// A replica is promoted, and the others follow it.
    FailOver,
    /// A replica follows another node.
    Repoint,
}

const FAULTS: [Fault; 5] = [Fault::Cut, Fault::Stall, Fault::Die, Fault::FailOver, Fault::Repoint];

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Event {
    CloseLog { node: usize, shard: usize },
    Hear { node: usize, shard: usize },
    SendChunk { node: usize, shard: usize },
    Work { node: usize, shard: usize },
    WorkAlone { node: usize },
    Flush { node: usize },
    Wake { node: usize },
    Connect { wire: u64 },
    Transmit { wire: u64 },
    ToReplica { wire: u64 },
    ToPrimary { wire: u64 },
}

struct Simulation {
    setting: Setting,
    faults: Faults,
    world: World,
    nodes: Vec<Node>,
    steps: u64,
    written: u64,
    heals: bool,
}

impl Simulation {
    fn new(seed: u64, faults: Faults) -> Simulation {
        let mut dice = Dice::new(seed);
        let mut setting = Setting::roll(&mut dice);
        if !matches!(faults, Faults::Random) {
            setting.fault_every = 0;
            setting.steps = setting.steps.min(800);
        }
        let mut world = World {
            now_ms: 1000,
            truth: Truth::default(),
            wires: Wires::default(),
            settings: Settings {
                backlog_bytes: [1 << 14, 1 << 20][dice.below(2)],
                backlog_ttl_s: [0, 2, 3600][dice.below(3)],
                ping_period_s: 1 + dice.below(3) as u64,
                timeout_s: [5, 60][dice.below(2)],
                diskless: dice.below(4) > 0,
                diskless_delay_s: dice.below(2) as u64,
                output_limit: OutputLimit {
                    hard_bytes: [0, 40_000][dice.below(2)],
                    soft_bytes: [0, 10_000][dice.below(2)],
                    soft_seconds: 1,
                },
                ..Settings::default()
            },
            timeout_ms: 5000,
            frames: dice.below(2) == 0,
            swaps: dice.below(2) == 0,
            commands: Arc::new(Commands::new()),
            up: vec![true; setting.nodes],
            partial: 0,
            full: 0,
            dice,
        };
        let mut nodes = Vec::new();
        for id in 0..setting.nodes {
            let shards = 1 + world.dice.below(3);
            nodes.push(Node::new(id, shards, &world));
        }
        let mut simulation = Simulation { setting, faults, world, nodes, steps: 0, written: 0, heals: false };
        for id in 1..simulation.nodes.len() {
            let to = if simulation.world.dice.below(3) == 0 { id - 1 } else { 0 };
            simulation.nodes[id].demote(to, &mut simulation.world.truth);
        }
        simulation
    }

    /// Runs to the end, and checks everything.
    fn run(mut self) -> Summary {
        while self.steps < self.setting.steps {
            self.step();
        }
        self.heal();
        while !self.is_one() {
            self.step();
            assert!(self.steps < 1_000_000, "the nodes do not come to the same data");
        }
        Summary { steps: self.setting.steps, partial: self.world.partial, full: self.world.full }
    }

    fn step(&mut self) {
        self.steps += 1;
        self.harm();
        let Setting { write_every, tick_every, value_bytes, .. } = self.setting;
        if !self.heals && self.world.dice.below(write_every) == 0 {
            self.write(value_bytes);
        }
        let events = self.events();
        // What is to come may need time.
        if events.is_empty() || self.world.dice.below(tick_every) == 0 {
            return self.tick();
        }
        let event = events[self.world.dice.below(events.len())];
        self.perform(event);
    }

    fn write(&mut self, value_bytes: usize) {
        let primaries = self.nodes.iter().filter(|node| node.is_up && node.role == Role::Primary).map(|node| node.id);
        let primaries: Vec<usize> = primaries.collect();
        if !primaries.is_empty() {
            let node = primaries[self.world.dice.below(primaries.len())];
            self.written += 1;
            self.nodes[node].write(&mut self.world, value_bytes, self.written);
        }
    }

    fn tick(&mut self) {
        self.world.now_ms += TICK_MS;
        for node in self.nodes.iter_mut().filter(|node| node.is_up) {
            node.tell(PrimaryEvent::Tick, &mut self.world);
            let applied = node.applier.applied();
            node.tell_link(LinkEvent::Tick { applied }, &mut self.world);
        }
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_up) {
            let id = node.id;
            for shard in 0..node.shards() {
                let mut may = |is_possible: bool, event: Event| {
                    if is_possible {
                        events.push(event);
                    }
                };
                may(node.has_open_log(shard), Event::CloseLog { node: id, shard });
                may(!node.mail[shard].is_empty(), Event::Hear { node: id, shard });
                may(node.can_send_chunk(shard), Event::SendChunk { node: id, shard });
                may(!node.inbox[shard].is_empty(), Event::Work { node: id, shard });
            }
            if node.alone.is_some() {
                events.push(Event::WorkAlone { node: id });
            }
            if node.needs_flush {
                events.push(Event::Flush { node: id });
            }
            if node.awaits_cut() && node.applier.is_idle() {
                events.push(Event::Wake { node: id });
            }
        }
        self.wire_events(&mut events);
        events
    }

    fn wire_events(&self, events: &mut Vec<Event>) {
        for (id, wire) in &self.world.wires.all {
            if wire.stalled_until_ms > self.world.now_ms {
                continue;
            }
            let wire_id = *id;
            match wire.phase {
                Phase::Connecting | Phase::Refused if wire.replica_is_open => {
                    events.push(Event::Connect { wire: wire_id });
                    continue;
                }
                Phase::Connecting | Phase::Refused | Phase::Front(..) | Phase::Joined => {}
            }
            if !wire.unsent.is_empty() {
                events.push(Event::Transmit { wire: wire_id });
            }
            let upstream = &self.nodes[wire.replica].upstream;
            let is_full = upstream.as_ref().is_some_and(|upstream| upstream.is_full());
            if wire.replica_is_open && wire.to_replica.has_something() && !is_full {
                events.push(Event::ToReplica { wire: wire_id });
            }
            if wire.primary_is_open && wire.to_primary.has_something() {
                events.push(Event::ToPrimary { wire: wire_id });
            }
        }
    }

    fn perform(&mut self, event: Event) {
        let world = &mut self.world;
        let touched = match event {
            Event::CloseLog { node, shard } => {
                self.nodes[node].close_log(shard);
                node
            }
            Event::Hear { node, shard } => {
                let mail = self.nodes[node].mail[shard].pop_front().expect("it was looked at");
                self.nodes[node].hear(mail, world);
                node
            }
            Event::SendChunk { node, shard } => {
                self.nodes[node].send_chunk(shard, &mut world.dice);
                node
            }
            Event::Work { node, shard } => {
                self.nodes[node].work(shard);
                node
            }
            Event::WorkAlone { node } => {
                self.nodes[node].work_alone();
                node
            }
            Event::Flush { node } => {
                self.nodes[node].flush(world);
                node
            }
            Event::Wake { node } => {
                self.nodes[node].applied_more(world);
                node
            }
            Event::Connect { wire } => {
                let node = world.wires.all[&wire].replica;
                self.nodes[node].connected(wire, world);
                node
            }
            Event::Transmit { wire } => self.transmit(wire),
            Event::ToReplica { wire } => self.deliver_to_replica(wire),
            Event::ToPrimary { wire } => self.deliver_to_primary(wire),
        };
        self.nodes[touched].check(&self.world.truth);
    }

    // The network

    fn transmit(&mut self, id: u64) -> usize {
        let wire = self.world.wires.all.get_mut(&id).expect("it was looked at");
        let count = 1 + self.world.dice.below(self.setting.piece_bytes.min(wire.unsent.len()));
        let bytes: Vec<u8> = wire.unsent.drain(..count).collect();
        wire.to_replica.push(&bytes);
        let node = wire.primary;
        self.nodes[node].tell(PrimaryEvent::Sent { link: id, bytes: count }, &mut self.world);
        node
    }

    fn deliver_to_replica(&mut self, id: u64) -> usize {
        let wire = self.world.wires.all.get_mut(&id).expect("it was looked at");
        let node = wire.replica;
        if wire.to_replica.bytes.is_empty() {
            self.nodes[node].upstream_ended(id, &mut self.world);
            self.world.wires.close_by_replica(id);
            return node;
        }
        let count = 1 + self.world.dice.below(self.setting.piece_bytes.min(wire.to_replica.bytes.len()));
        let bytes: Vec<u8> = wire.to_replica.bytes.drain(..count).collect();
        self.nodes[node].heard_upstream(&bytes, &mut self.world);
        node
    }

    fn deliver_to_primary(&mut self, id: u64) -> usize {
        let wire = self.world.wires.all.get_mut(&id).expect("it was looked at");
        let node = wire.primary;
        let is_joined = matches!(wire.phase, Phase::Joined);
        if wire.to_primary.bytes.is_empty() {
            self.world.wires.close_by_primary(id);
            if is_joined {
                self.nodes[node].tell(PrimaryEvent::Closed { link: id }, &mut self.world);
            }
            return node;
        }
        let count = 1 + self.world.dice.below(self.setting.piece_bytes.min(wire.to_primary.bytes.len()));
        let bytes: Vec<u8> = wire.to_primary.bytes.drain(..count).collect();
        if is_joined {
            self.nodes[node].tell(PrimaryEvent::Received { link: id, bytes: &bytes }, &mut self.world);
        } else {
            self.nodes[node].front(id, &bytes, &mut self.world);
        }
        node
    }

    // Faults

    fn harm(&mut self) {
        match self.faults {
            _ if self.heals => {}
            Faults::Random if self.setting.fault_every > 0 && self.world.dice.below(self.setting.fault_every) == 0 => {
                let fault = FAULTS[self.world.dice.below(FAULTS.len())];
                self.inflict(fault);
            }
            Faults::One { step, fault } if step == self.steps => self.inflict(fault),
            Faults::Random | Faults::One { .. } | Faults::None => {}
        }
    }

    fn inflict(&mut self, fault: Fault) {
        let node = self.world.dice.below(self.nodes.len());
        match fault {
            Fault::Cut | Fault::Stall => {
                let ids: Vec<u64> = self.world.wires.all.keys().copied().collect();
                if ids.is_empty() {
                    return;
                }
                let id = ids[self.world.dice.below(ids.len())];
                if matches!(fault, Fault::Cut) {
                    self.world.wires.cut(id);
                } else if let Some(wire) = self.world.wires.all.get_mut(&id) {
                    wire.stalled_until_ms = self.world.now_ms + 100 * (1 + self.world.dice.below(100)) as u64;
                }
            }
            Fault::Die => self.die(node),
            Fault::FailOver => self.fail_over(node),
            Fault::Repoint => {
                let to = self.world.dice.below(self.nodes.len());
                self.repoint(node, to);
            }
        }
    }

    /// A node dies and is there again, with nothing but its configuration.
    fn die(&mut self, id: usize) {
        self.world.wires.died(id);
        let (role, shards) = (self.nodes[id].role, self.nodes[id].shards());
        let target = self.nodes[id].upstream.as_ref().map(|upstream| upstream.target);
        self.nodes[id] = Node::new(id, shards, &self.world);
        let to = match role {
            Role::Primary | Role::Promoting => None,
            Role::Demoting { to } => Some(to),
            Role::Replica => target,
        };
        if let Some(to) = to {
            self.nodes[id].demote(to, &mut self.world.truth);
        }
    }

    fn fail_over(&mut self, id: usize) {
        if self.nodes[id].role != Role::Replica {
            return;
        }
        self.nodes[id].promote(&mut self.world);
        for other in 0..self.nodes.len() {
            // Not all are told, or not yet.
            if other != id && (self.heals || self.world.dice.below(4) > 0) {
                self.point(other, id);
            }
        }
    }

    fn repoint(&mut self, id: usize, to: usize) {
        let mut above = Some(to);
        for _ in 0..=self.nodes.len() {
            match above {
                Some(node) if node == id => return, // it would follow itself
                Some(node) => above = self.target(node),
                None => break,
            }
        }
        if self.nodes[id].role == Role::Replica {
            self.point(id, to);
        }
    }

    fn target(&self, id: usize) -> Option<usize> {
        match self.nodes[id].role {
            Role::Primary | Role::Promoting => None,
            Role::Demoting { to } => Some(to),
            Role::Replica => self.nodes[id].upstream.as_ref().map(|upstream| upstream.target),
        }
    }

    /// REPLICAOF.
    fn point(&mut self, id: usize, to: usize) {
        let node = &mut self.nodes[id];
        match node.role {
            Role::Primary => node.demote(to, &mut self.world.truth),
            Role::Replica => node.follow(to, &mut self.world),
            Role::Demoting { .. } => node.role = Role::Demoting { to },
            // It would be a primary first, for a moment.
            Role::Promoting => node.role = Role::Replica,
        }
        if self.nodes[id].role == Role::Replica && self.nodes[id].upstream.is_none() {
            self.nodes[id].follow(to, &mut self.world);
        }
    }

    // The end

    /// One primary, and all others follow it.
    fn heal(&mut self) {
        self.heals = true;
        for wire in self.world.wires.all.values_mut() {
            wire.stalled_until_ms = 0;
        }
        let is_primary = |node: &&Node| matches!(node.role, Role::Primary | Role::Promoting);
        let primary = self.nodes.iter().find(is_primary).map(|node| node.id);
        let primary = primary.unwrap_or_else(|| {
            // A node that is on its way to be a replica has to get there first.
            while !self.nodes.iter().any(|node| node.role == Role::Replica) {
                self.step();
            }
            let replica = self.nodes.iter().find(|node| node.role == Role::Replica).map_or(0, |node| node.id);
            self.nodes[replica].promote(&mut self.world);
            replica
        });
        for id in 0..self.nodes.len() {
            if id != primary && (self.target(id).is_none() || self.root(id) != Some(primary)) {
                self.point(id, primary);
            }
        }
    }

    /// The node at the top of those that one follows; `None` if they go round.
    fn root(&self, id: usize) -> Option<usize> {
        let mut at = id;
        for _ in 0..self.nodes.len() {
            match self.target(at) {
                Some(above) => at = above,
                None => return Some(at),
            }
        }
        None
    }

    /// Whether all have the primary's data, by its history.
    fn is_one(&self) -> bool {
        let Some(primary) = self.nodes.iter().find(|node| node.role == Role::Primary) else { return false };
        let history = primary.machine.stream().history();
        let data = primary.all();
        self.nodes.iter().all(|node| {
            let upstream = node.upstream.as_ref();
            node.id == primary.id
                || (node.role == Role::Replica
                    && upstream.is_some_and(|upstream| upstream.is_up())
                    && node.history.as_deref() == Some(history.id())
                    && node.applier.is_idle()
                    && node.all() == data)
        })
    }
}

/// What a history was.
#[derive(Clone, Copy, Debug, Default)]
struct Summary {
    steps: u64,
    partial: u64,
    full: u64,
}

/// Tells the seed when a history fails.
struct Seed(u64, Faults);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with BASALT_TEST_SEED={} (faults: {:?})", self.0, self.1);
        }
    }
}

fn simulate(seed: u64, faults: Faults) -> Summary {
    let _told_on_failure = Seed(seed, faults);
    Simulation::new(seed, faults).run()
}

#[test]
fn random_histories() {
    let (mut partial, mut full) = (0, 0);
    for seed in seeds(number_from("BASALT_SIM_HISTORIES").unwrap_or(300)) {
        let summary = simulate(seed, Faults::Random);
        partial += summary.partial;
        full += summary.full;
    }
    if number_from("BASALT_TEST_SEED").is_none() {
        assert!(partial > 0 && full > 0, "both ways of synchronisation are tried: {partial} and {full}");
    }
}

/// Something goes wrong at each step of a history in turn.
#[test]
fn something_may_go_wrong_at_every_step() {
    let histories = number_from("BASALT_SIM_HISTORIES").unwrap_or(300);
    let mut run = 0;
    for seed in seeds(u64::MAX) {
        let steps = simulate(seed, Faults::None).steps;
        for step in 1..=steps {
            let fault = FAULTS[(seed + step) as usize % FAULTS.len()];
            simulate(seed, Faults::One { step, fault });
            run += 1;
            if run >= histories {
                return;
            }
        }
    }
}
