//! A node: cores that are played, around the machines of a primary and of a replica.
//!
//! What the cores do takes effect at once; what they tell the replication core waits in their mailboxes, out of step with each other. Of the
//! machines everything is real; what stands between them here is what stands between them in the executor.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::truth::{Effect, Key, Recorder, State, Truth, Writes, commands, flat};
use super::upstream::Upstream;
use super::wire::{Phase, Wires};
use crate::commands::lookup::Commands;
use crate::keyspace::{Dice, StrRef, slot};
use crate::rdb::frame::{Contents, FrameEncoder};
use crate::rdb::{Access, Compression, write_record};
use crate::replication::log::{Log, LogBatch, Sequencer};
use crate::replication::primary::{Action, CutAt, Event, Form, LinkId, Moment, Newcomer, Primary, Settings};
use crate::replication::replica::apply::Applier;
use crate::replication::replica::load::Parcel;
use crate::replication::replica::stream::Stream;
use crate::shard::{Batch, Chunk, Response};

/// Bytes that a core may send of a snapshot before it hears that they were taken.
const CREDIT_BYTES: i64 = 500;

/// What all nodes share.
pub struct World {
    pub dice: Dice,
    pub now_ms: u64,
    pub truth: Truth,
    pub wires: Wires,
    pub settings: Settings,
    pub timeout_ms: u64,
    pub frames: bool,
    /// A snapshot is loaded beside the data, and takes their place at the end; else they are dropped first.
    pub swaps: bool,
    pub commands: Arc<Commands>,
    /// Which nodes are there to be connected to.
    pub up: Vec<bool>,
    /// How often a replica went on, and how often it took everything.
    pub partial: u64,
    pub full: u64,
}

/// What a core tells the replication core.
pub enum Mail {
    Log(Box<LogBatch>),
    Cut {
        snapshot: u64,
        at: CutAt,
    },
    Chunk(Box<Chunk>),
    SnapshotOver {
        snapshot: u64,
    },
    LogIsOff,
    Demoted {
        number: u64,
    },
    Replies(Box<Batch>),
    AppliedAlone,
    /// A parcel of so many bytes, of this attempt at loading.
    TakenIn {
        attempt: u64,
        bytes: usize,
    },
    SpoolWritten {
        spool: u64,
        bytes: usize,
    },
    SpoolRead {
        spool: u64,
        link: LinkId,
        bytes: Bytes,
    },
}

/// What the replication core tells a core.
pub enum Work {
    Batch(Box<Batch>),
    Parcel { attempt: u64, parcel: Parcel },
}

/// A snapshot, as far as the cores have not sent it.
struct Source {
    id: u64,
    form: Form,
    shards: Vec<Part>,
}

struct Part {
    left: VecDeque<(Key, Bytes)>,
    credit: i64,
    is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    /// The stream is to end before it becomes a replica of that node.
    Demoting {
        to: usize,
    },
    Replica,
    /// What it has taken on is to be applied before it is a primary.
    Promoting,
}

pub struct Node {
    pub id: usize,
    pub is_up: bool,
    pub role: Role,
    pub machine: Primary,
    pub needs_flush: bool,
    logs: Vec<Log>,
    sequencer: Sequencer,
    pub data: Vec<State>,
    writes: Writes,
    recorder: Option<Recorder>,
    pub mail: Vec<VecDeque<Mail>>,
    source: Option<Source>,
    spools: BTreeMap<u64, Vec<u8>>,
    // As a replica
    pub upstream: Option<Upstream>,
    pub applier: Applier,
    /// The stream behind the data; whether they are of a history at all.
    pub stream: Stream,
    pub history: Option<String>,
    pub inbox: Vec<VecDeque<Work>>,
    pub alone: Option<Vec<u8>>,
    /// A snapshot waits for the moment at which everything that was taken is applied.
    wants_cut: Option<(u64, Form)>,
    pub last_ack: Option<(String, u64)>,
}

impl Node {
    pub fn new(id: usize, shards: usize, world: &World) -> Node {
        let mut settings = world.settings.clone();
        settings.shards = shards;
        let mut writes = Writes::default();
        writes.restart(0, State::new());
        Node {
            id,
            is_up: true,
            role: Role::Primary,
            machine: Primary::new(crate::node::random_hex(), settings, world.now_ms),
            needs_flush: false,
            logs: (0..shards).map(|_| Log::default()).collect(),
            sequencer: Sequencer::default(),
            data: vec![State::new(); shards],
            writes,
            recorder: None,
            mail: (0..shards).map(|_| VecDeque::new()).collect(),
            source: None,
            spools: BTreeMap::new(),
            upstream: None,
            applier: Applier::new(Arc::clone(&world.commands), shards),
            stream: Stream::new(0, 0),
            history: None,
            inbox: (0..shards).map(|_| VecDeque::new()).collect(),
            alone: None,
            wants_cut: None,
            last_ack: None,
        }
    }

    pub fn shards(&self) -> usize {
        self.data.len()
    }

    pub fn shard_of(&self, key: &[u8]) -> usize {
        slot::shard_of(slot::slot(key), self.shards())
    }

    /// All data.
    pub fn all(&self) -> State {
        self.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn apply(&mut self, effect: Effect) {
        match &effect {
            Effect::Set(key, _) | Effect::Delete(key) => {
                let shard = self.shard_of(&key.1);
                effect.apply(&mut self.data[shard]);
            }
            Effect::Flush(db) => self.data.iter_mut().for_each(|state| Effect::Flush(*db).apply(state)),
        }
    }

    // Cores of a primary

    /// A client writes, in one tick of one core.
    pub fn write(&mut self, world: &mut World, value_bytes: usize, number: u64) {
        let dice = &mut world.dice;
        let mut value = || {
            let mut value = format!("{number}:").into_bytes();
            value.resize(value.len() + dice.below(value_bytes + 1), b'v');
            value
        };
        let values = [value(), value(), value()];
        let mut key = || format!("k{}", dice.below(9)).into_bytes();
        let keys = [key(), key(), key()];
        let dbs = [dice.below(3) as u16, dice.below(3) as u16];
        let shard = self.shard_of(&keys[0]);
        match dice.below(20) {
            0..=9 => self.log(shard, &[(dbs[0], &[b"SET", &keys[0], &values[0]])]),
            10..=12 => self.log(shard, &[(dbs[0], &[b"DEL", &keys[0]])]),
            // A block of one core, which may change the database.
            13..=15 => {
                self.log(shard, &[(dbs[0], &[b"SET", &keys[0], &values[0]]), (dbs[1], &[b"SET", &keys[0], &values[1]])])
            }
            // What concerns several cores is logged by one of them, once all have closed what they had.
            16..=18 => {
                self.close_logs();
                let all = [&b"MSET"[..], &keys[0], &values[0], &keys[1], &values[1], &keys[2], &values[2]];
                self.log(dice.below(self.shards()), &[(dbs[0], &all)]);
                self.close_logs();
            }
            _ => {
                self.close_logs();
                self.log(dice.below(self.shards()), &[(dbs[0], &[b"FLUSHDB"])]);
                self.close_logs();
            }
        }
    }

    fn log(&mut self, shard: usize, commands: &[(u16, &[&[u8]])]) {
        for (db, words) in commands {
            let words: crate::resp::OwnedArgs = words.iter().collect();
            Effect::all(*db, &words.args()).into_iter().for_each(|effect| self.apply(effect));
        }
        if self.logs[shard].is_on() {
            self.logs[shard].enter(commands.len(), |batch| {
                commands.iter().for_each(|(db, words)| batch.words((*db).into(), words));
            });
        }
    }

    pub fn has_open_log(&self, shard: usize) -> bool {
        self.logs[shard].is_waiting()
    }

    /// A core's tick ends.
    pub fn close_log(&mut self, shard: usize) {
        if let Some(batch) = self.logs[shard].close(&self.sequencer) {
            self.writes.closed(&batch);
            self.mail[shard].push_back(Mail::Log(batch));
        }
    }

    fn close_logs(&mut self) {
        (0..self.shards()).for_each(|shard| self.close_log(shard));
    }

    /// At a moment when all locks are held: turns the logs on or off. Whatever is written before it turns them on is in no batch.
    fn turn_logs(&mut self, on: bool, truth: &mut Truth) -> u64 {
        self.close_logs();
        let (number, was_on) = (self.sequencer.next(), self.logs[0].is_on());
        self.logs.iter_mut().for_each(|log| log.turn(on));
        if on && !was_on {
            self.writes.restart(number, self.all());
            if let Some(recorder) = &mut self.recorder {
                recorder.restarted(number, &self.writes, truth);
            }
        } else if on {
            assert_eq!(*self.writes.state(), self.all(), "the batches tell all of the data");
        }
        number
    }

    // Snapshots

    fn start_snapshot(&mut self, snapshot: u64, form: Form, world: &mut World) {
        let number = match self.role {
            Role::Primary => self.turn_logs(true, &mut world.truth),
            // Nobody writes any more.
            Role::Demoting { .. } => self.sequencer.next(),
            Role::Replica | Role::Promoting => {
                self.wants_cut = Some((snapshot, form));
                return;
            }
        };
        self.freeze(snapshot, form);
        self.mail[0].push_back(Mail::Cut { snapshot, at: CutAt::Number(number) });
    }

    fn freeze(&mut self, id: u64, form: Form) {
        let part = |state: &State| Part {
            left: state.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            credit: CREDIT_BYTES,
            is_over: false,
        };
        self.source = Some(Source { id, form, shards: self.data.iter().map(part).collect() });
    }

    /// On a replica: nothing is taken from the stream before the cut.
    pub fn awaits_cut(&self) -> bool {
        self.wants_cut.is_some()
    }

    /// On a replica: cuts, if everything that was taken is applied.
    pub fn try_cut(&mut self, world: &mut World) {
        if self.applier.is_idle()
            && let Some((snapshot, form)) = self.wants_cut.take()
        {
            self.freeze(snapshot, form);
            let at = CutAt::Offset { offset: self.applier.applied(), db: self.stream.database().into() };
            self.cut(snapshot, at, world);
        }
    }

    fn cut(&mut self, snapshot: u64, at: CutAt, world: &mut World) {
        let moment =
            Moment { unix_s: 1, used_memory: 1, databases: 16, shards: self.shards() as u32, sizes: Vec::new() };
        self.tell(Event::Cut { snapshot, at, moment }, world);
    }

    fn abort_snapshot(&mut self, snapshot: u64) {
        self.source = None;
        self.wants_cut = None;
        self.mail[0].push_back(Mail::SnapshotOver { snapshot });
    }

    /// Whether a core may send something of a snapshot.
    pub fn can_send_chunk(&self, shard: usize) -> bool {
        self.source.as_ref().is_some_and(|source| {
            let part = &source.shards[shard];
            !part.is_over && part.credit > 0
        })
    }

    pub fn send_chunk(&mut self, shard: usize, dice: &mut Dice) {
        let Some(source) = &mut self.source else { return };
        let part = &mut source.shards[shard];
        let (mut run, mut records, db) = (Vec::new(), 0, part.left.front().map_or(0, |(key, _)| key.0));
        for _ in 0..=dice.below(4) {
            let Some((key, value)) = part.left.pop_front_if(|(key, _)| key.0 == db) else { break };
            let compression = if dice.below(2) == 0 { Compression::Lzf } else { Compression::None };
            write_record(&mut run, &key.1, StrRef::Inline(&value), None, Access::Unknown, compression);
            records += 1;
        }
        let data = match source.form {
            Form::Frames if records > 0 => {
                let of = slot::slots_of(shard, self.data.len());
                FrameEncoder::new().encode(&Contents { db, slots: of.start..=of.end - 1, records }, &run)
            }
            Form::Frames | Form::Rdb => run,
        };
        part.credit -= data.len() as i64;
        part.is_over = part.left.is_empty();
        let (id, last) = (source.id, part.is_over);
        let chunk = Chunk { id, shard, db: db.into(), records, open: false, data: data.into(), last };
        self.mail[shard].push_back(Mail::Chunk(Box::new(chunk)));
    }

    // The replication core

    /// What a core has told is heard.
    pub fn hear(&mut self, mail: Mail, world: &mut World) {
        match mail {
            Mail::Log(batch) => self.tell(Event::Log(batch), world),
            Mail::Cut { snapshot, at } => self.cut(snapshot, at, world),
            Mail::Chunk(chunk) => self.tell(Event::Chunk(chunk), world),
            Mail::SnapshotOver { snapshot } => self.tell(Event::SnapshotOver { snapshot, error: None }, world),
            Mail::LogIsOff => self.tell(Event::LogIsOff, world),
            Mail::Demoted { number } => self.tell(Event::Demoted { number }, world),
            Mail::SpoolWritten { spool, bytes } => {
                self.tell(Event::SpoolWritten { spool, result: Ok(bytes) }, world);
            }
            Mail::SpoolRead { spool, link, bytes } => {
                self.tell(Event::SpoolRead { spool, link, result: Ok(bytes) }, world);
            }
            Mail::Replies(batch) => {
                self.applier.answered(batch);
                self.applied_more(world);
            }
            Mail::AppliedAlone => {
                self.applier.applied_alone();
                self.applied_more(world);
            }
            Mail::TakenIn { attempt, bytes } => self.taken_in(attempt, bytes, world),
        }
    }

    /// Tells the machine of a primary something, and does what it says.
    pub fn tell(&mut self, event: Event<'_>, world: &mut World) {
        self.machine.handle(event, world.now_ms);
        self.needs_flush = true;
        self.act(world);
        if world.dice.below(2) == 0 {
            self.flush(world);
        }
    }

    pub fn flush(&mut self, world: &mut World) {
        self.needs_flush = false;
        self.observe(world);
        self.machine.flush(world.now_ms);
        self.act(world);
    }

    /// Reads along with what this node makes as a primary.
    fn observe(&mut self, world: &mut World) {
        let stream = self.machine.stream();
        let makes = matches!(self.role, Role::Primary | Role::Demoting { .. }) && stream.bytes().is_some();
        if !makes {
            self.recorder = None;
            return;
        }
        if self.recorder.as_ref().is_none_or(|recorder| recorder.id() != stream.history().id()) {
            self.recorder = Some(Recorder::begin(self.id, stream, &self.writes, &mut world.truth));
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.read(stream, &self.writes, &mut world.truth);
        }
    }

    fn act(&mut self, world: &mut World) {
        self.observe(world);
        for action in self.machine.take_actions() {
            self.act_on(action, world);
        }
    }

    fn act_on(&mut self, action: Action, world: &mut World) {
        match action {
            Action::Send { link, out } => {
                if let Some(wire) = world.wires.all.get_mut(&link) {
                    assert!(wire.unsent.is_empty(), "one send at a time");
                    wire.unsent.extend(flat(&out));
                }
            }
            Action::Close { link, .. } => world.wires.close_by_primary(link),
            Action::StartSnapshot { id, form } => self.start_snapshot(id, form, world),
            Action::AbortSnapshot { id } => self.abort_snapshot(id),
            Action::Grant { snapshot, shard, bytes } => {
                if let Some(source) = self.source.as_mut().filter(|source| source.id == snapshot) {
                    source.shards[shard].credit += bytes as i64;
                }
            }
            Action::TurnLogOff => {
                self.turn_logs(false, &mut world.truth);
                self.mail[0].push_back(Mail::LogIsOff);
            }
            Action::Merged { bytes } => drop(self.sequencer.merged(bytes)),
            Action::GoodReplicas(_) => {}
            Action::Answer { .. }
            | Action::PromoteSelf
            | Action::PauseWrites
            | Action::ResumeWrites
            | Action::FollowTarget { .. }
            | Action::FollowNobody => panic!("nobody has asked for it"),
            Action::Demoted => self.demoted(world),
            Action::SpoolOpen { spool } => drop(self.spools.insert(spool, Vec::new())),
            Action::SpoolWrite { spool, bytes } => {
                if let Some(file) = self.spools.get_mut(&spool) {
                    file.extend_from_slice(&bytes);
                    self.mail[0].push_back(Mail::SpoolWritten { spool, bytes: bytes.len() });
                }
            }
            Action::SpoolRead { spool, link, offset, len } => {
                if let Some(file) = self.spools.get(&spool) {
                    let part = 1 + world.dice.below(len);
                    let bytes = Bytes::copy_from_slice(&file[offset as usize..][..part]);
                    self.mail[0].push_back(Mail::SpoolRead { spool, link, bytes });
                }
            }
            Action::SpoolClose { spool } => drop(self.spools.remove(&spool)),
        }
    }

    // Roles

    /// REPLICAOF to a primary: its logs are turned off, and what is in them still is part of its history.
    pub fn demote(&mut self, to: usize, truth: &mut Truth) {
        let number = self.turn_logs(false, truth);
        self.role = Role::Demoting { to };
        self.mail[0].push_back(Mail::Demoted { number });
    }

    fn demoted(&mut self, world: &mut World) {
        let Role::Demoting { to } = self.role else { panic!("nobody has asked for it") };
        self.role = Role::Replica;
        self.recorder = None;
        let stream = self.machine.stream();
        // Without a backlog the offset says nothing of the data.
        let is_told = stream.backlog().is_some();
        self.history = is_told.then(|| stream.history().id().to_owned());
        // In which database the stream is nobody knows: whoever goes on with it selects one.
        self.stream = Stream::new(stream.offset(), 0);
        self.applier.begin_at(stream.offset());
        self.follow(to, world);
    }

    /// REPLICAOF NO ONE.
    pub fn promote(&mut self, world: &mut World) {
        self.leave_upstream(world);
        self.upstream = None;
        self.role = Role::Promoting;
        self.try_promote(world);
    }

    pub fn try_promote(&mut self, world: &mut World) {
        if self.role != Role::Promoting || !self.applier.is_idle() {
            return;
        }
        // A snapshot of it as a replica is cut before, or never.
        self.try_cut(world);
        self.role = Role::Primary;
        self.turn_logs(true, &mut world.truth);
        self.tell(Event::Promoted, world);
    }

    // Cores of a replica

    pub fn work(&mut self, shard: usize) {
        match self.inbox[shard].pop_front() {
            Some(Work::Batch(mut batch)) => {
                let data = &mut self.data[shard];
                batch.execute(0..batch.requests.len(), |request, args, out| {
                    let db = request.origin.database;
                    Effect::all(db, args).into_iter().for_each(|effect| effect.apply(data));
                    out.buf.extend_from_slice(b"+OK\r\n");
                    Response { end: out.buf.len(), nanoseconds: 0, failed: false, deferred: false }
                });
                self.mail[shard].push_back(Mail::Replies(batch));
            }
            Some(Work::Parcel { attempt, parcel }) => {
                let bytes = parcel.len();
                if let Some(loading) = self.upstream.as_mut().and_then(|upstream| upstream.loading_of(attempt)) {
                    loading.take_in(shard, &parcel);
                }
                self.mail[shard].push_back(Mail::TakenIn { attempt, bytes });
            }
            None => {}
        }
    }

    /// The virtual client.
    pub fn work_alone(&mut self) {
        let Some(bytes) = self.alone.take() else { return };
        let mut db = 0;
        let mut at = 0;
        for (end, words) in commands(&bytes) {
            let args = words.args();
            match args.get(0) {
                b"SELECT" => db = String::from_utf8_lossy(args.get(1)).parse().expect("a database"),
                b"MULTI" | b"EXEC" | b"PING" => {}
                _ => Effect::all(db, &args).into_iter().for_each(|effect| self.apply(effect)),
            }
            at = end;
        }
        assert_eq!(at, bytes.len(), "units are whole");
        self.mail[0].push_back(Mail::AppliedAlone);
    }

    /// Holds the data of a replica against the history that it claims to follow.
    pub fn check(&self, truth: &Truth) {
        let Some(id) = self.history.as_ref().filter(|_| self.role != Role::Primary && self.is_up) else { return };
        if matches!(self.role, Role::Demoting { .. }) {
            return;
        }
        let (applied, taken) = (self.applier.applied(), self.stream.offset());
        if self.applier.is_idle() {
            assert_eq!(applied, taken, "nothing is on its way");
            let told = truth.at(id, applied).unwrap_or_else(|| panic!("no data are told of {id} at {applied}"));
            assert_eq!(self.all(), **told, "node {} at {applied} of {id}", self.id);
            return;
        }
        let states: Vec<&Rc<State>> = truth.between(id, applied, taken);
        for (shard, data) in self.data.iter().enumerate() {
            let is_part =
                |state: &&Rc<State>| state.iter().filter(|(key, _)| self.shard_of(&key.1) == shard).eq(data.iter());
            let found = states.iter().any(is_part);
            assert!(found, "core {shard} of node {} is nowhere between {applied} and {taken} of {id}", self.id);
        }
    }

    // Replicas of this node

    /// Bytes of a replica that are for a core: it introduces itself, and asks to be one.
    pub fn front(&mut self, id: LinkId, bytes: &[u8], world: &mut World) {
        let Some(wire) = world.wires.all.get_mut(&id) else { return };
        let Phase::Front(held, hello) = &mut wire.phase else { return };
        held.extend_from_slice(bytes);
        let input = std::mem::take(held);
        let mut from = 0;
        for (end, words) in commands(&input) {
            let args = words.args();
            from = end;
            if args.is(0, "psync") {
                let newcomer = Newcomer { hello: hello.clone(), request: words.clone(), ..Newcomer::default() };
                wire.phase = Phase::Joined;
                self.join(id, newcomer, world);
                if from < input.len() {
                    self.tell(Event::Received { link: id, bytes: &input[from..] }, world);
                }
                return;
            }
            let reply: &[u8] = if args.is(0, "ping") { b"+PONG\r\n" } else { b"+OK\r\n" };
            for i in 1..args.len() {
                hello.eof |= args.is(i, "eof");
                hello.psync2 |= args.is(i, "psync2");
                hello.frames |= args.is(i, "basalt-frames");
            }
            wire.to_replica.push(reply);
        }
        held.extend_from_slice(&input[from..]);
    }

    /// Whether the stream goes on or not is known beforehand.
    fn join(&mut self, link: LinkId, newcomer: Newcomer, world: &mut World) {
        let request = newcomer.request.clone();
        let args = request.args();
        let (id, asked) = (String::from_utf8_lossy(args.get(1)).into_owned(), String::from_utf8_lossy(args.get(2)));
        let asked: i64 = asked.parse().expect("a number");
        let stream = self.machine.stream();
        let history = stream.history();
        let is_kept = stream
            .backlog()
            .is_some_and(|backlog| (backlog.start() as i64 + 1..=backlog.end() as i64 + 1).contains(&asked));
        let is_own = history.id() == id;
        let is_second = history.second().is_some_and(|(second, valid_to)| second == id && asked <= valid_to as i64);
        let serves = self.role == Role::Primary || self.upstream.as_ref().is_some_and(|upstream| upstream.is_up());
        let goes_on = serves && is_kept && (is_own || is_second);
        if goes_on {
            let offset = asked as u64 - 1;
            assert!(world.truth.are_one(history.id(), &id, offset), "{id} is another history at {offset}");
        }
        let before = self.machine.counters();
        self.tell(Event::Joined { link, newcomer: Box::new(newcomer) }, world);
        let counters = self.machine.counters();
        let went_on = counters.sync_partial_ok > before.sync_partial_ok;
        // The machine may not have heard yet that its stream ends.
        let goes_on =
            goes_on || (went_on && is_kept && (is_own || is_second) && matches!(self.role, Role::Demoting { .. }));
        assert_eq!(went_on, goes_on, "{id} at {asked}, where the backlog reaches: {is_kept}, as {:?}", self.role);
        world.partial += u64::from(went_on);
        world.full += counters.sync_full - before.sync_full;
    }
}
