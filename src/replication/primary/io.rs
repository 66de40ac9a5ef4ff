//! What stands between the machine of a primary and its executor: sockets, the shards' messages, the clock.
//!
//! Invariants
//! - a link of the machine has exactly one socket here
//! - every event is followed, in the same tick, by the actions it caused

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing::{info, warn};

use super::spool::{Done, Spools};
use super::{Action, CutAt, Event, FailoverRequest, Form, LinkId, Moment, Newcomer, Primary, Settings, WaitFor};
use crate::config::{Config, PrimaryAddress};
use crate::replication::log::LogBatch;
use crate::replication::status::Status;
use crate::replication::{Control, Replication};
use crate::runtime::{Event as Happening, SocketId, clock, memory, net};
use crate::shard::snapshot::SnapshotForm;
use crate::shard::{Chunk, Handover, Message, Shard, ShardIo};

/// Token of the descriptor that tells of files.
pub const SPOOLS: u32 = 16;

/// Who is told how a WAIT ended: how many replicas have acknowledged, `None` when the node has become a replica.
pub type Answer = Box<dyn FnOnce(&mut ShardIo, Option<usize>) + Send>;

/// The machine with its sockets.
pub struct PrimarySide {
    pub machine: Primary,
    started: Instant,
    sockets: HashMap<SocketId, LinkId>,
    links: HashMap<LinkId, SocketId>,
    /// The clients that WAIT, by the number that the machine knows them by.
    waiting: HashMap<u64, Answer>,
    next_wait: u64,
    /// The snapshot whose cut is still to come, and what becomes of it then if it was given up meanwhile.
    to_be_cut: Option<u64>,
    over_with_cut: Option<Option<String>>,
    /// What happens when the stream of a primary that becomes a replica has ended.
    when_demoted: Option<Control>,
    /// A failover has made this node the replica of the one that is to take over.
    fails_over: bool,
    /// What each shard may send more of which snapshot, and has not been told.
    granted: Vec<usize>,
    granted_of: u64,
    /// Made when the first replica needs a file.
    spools: Option<Spools>,
}

impl PrimarySide {
    pub fn new(config: &Config, id: String, shards: usize) -> PrimarySide {
        PrimarySide {
            machine: Primary::new(id, settings(config, shards), 0),
            started: Instant::now(),
            sockets: HashMap::new(),
            links: HashMap::new(),
            waiting: HashMap::new(),
            next_wait: 0,
            to_be_cut: None,
            over_with_cut: None,
            when_demoted: None,
            fails_over: false,
            granted: vec![0; shards],
            granted_of: 0,
            spools: None,
        }
    }

    pub fn set_config(&mut self, config: &Config, shards: usize) {
        self.machine.set_settings(settings(config, shards));
    }

    /// Milliseconds since the executor began.
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Whether this is the socket of a replica.
    pub fn has(&self, socket: SocketId) -> bool {
        self.sockets.contains_key(&socket)
    }
}

fn settings(config: &Config, shards: usize) -> Settings {
    Settings {
        shards,
        backlog_bytes: config.repl_backlog_size,
        backlog_ttl_s: config.repl_backlog_ttl,
        ping_period_s: config.repl_ping_replica_period.into(),
        timeout_s: config.repl_timeout.into(),
        diskless: config.repl_diskless_sync,
        diskless_delay_s: config.repl_diskless_sync_delay.into(),
        diskless_max_replicas: config.repl_diskless_sync_max_replicas as usize,
        min_replicas_max_lag_s: config.min_replicas_max_lag.into(),
        output_limit: config.client_output_buffer_limit.replica,
    }
}

impl Replication {
    // What comes in

    /// A shard has handed over a connection that wants to be a replica.
    pub fn on_handover(&mut self, io: &mut ShardIo, handover: Handover) {
        let Handover { fd, ends, client_id, name, connected_ms, hello, request, rest } = handover;
        if self.config.repl_disable_tcp_nodelay
            && let Err(error) = net::allow_delay(&fd)
        {
            warn!("Letting packets to a replica fill up failed: {error}");
        }
        let newcomer =
            Newcomer { hello, request, peer: ends.peer, local: ends.local, name, fd: fd.as_raw_fd(), connected_ms };
        let socket = io.attach(fd);
        self.primary.sockets.insert(socket, client_id);
        self.primary.links.insert(client_id, socket);
        io.start_receiving(socket);
        self.tell_primary(io, Event::Joined { link: client_id, newcomer: Box::new(newcomer) });
        if !rest.is_empty() {
            self.tell_primary(io, Event::Received { link: client_id, bytes: &rest });
        }
    }

    /// The writes of a core's tick.
    pub fn on_log(&mut self, io: &mut ShardIo, batch: Box<LogBatch>) {
        self.tell_primary(io, Event::Log(batch));
    }

    /// As a replica: bytes of the own primary's stream.
    pub fn on_stream(&mut self, io: &mut ShardIo, bytes: &[u8]) {
        self.tell_primary(io, Event::Stream(bytes));
    }

    /// A snapshot was taken there, and the log is on.
    fn on_cut(&mut self, io: &mut ShardIo, snapshot: u64, at: CutAt, sizes: Vec<(u64, u64)>) {
        let moment = Moment {
            unix_s: clock::unix_ms() / 1000,
            used_memory: memory::used_bytes(),
            databases: self.config.databases,
            shards: self.shared.shards as u32,
            sizes,
        };
        self.primary.to_be_cut = None;
        self.tell_primary(io, Event::Cut { snapshot, at, moment });
        if let Some(error) = self.primary.over_with_cut.take() {
            self.tell_primary(io, Event::SnapshotOver { snapshot, error });
        }
    }

    /// A part of a snapshot.
    pub fn on_chunk(&mut self, io: &mut ShardIo, chunk: Box<Chunk>) {
        self.tell_primary(io, Event::Chunk(chunk));
    }

    /// Takes an event of a replica's socket; only for one that [`PrimarySide::has`].
    pub fn on_replica_event(&mut self, io: &mut ShardIo, event: Happening<'_>) {
        match event {
            Happening::Received { socket, data } => {
                if let Some(link) = self.primary.sockets.get(&socket).copied() {
                    self.tell_primary(io, Event::Received { link, bytes: data });
                }
            }
            Happening::SentPart { socket, bytes } => self.replica_took(io, socket, bytes),
            Happening::Sent { socket, bytes, buffer } => {
                self.primary.machine.recycle(buffer);
                self.replica_took(io, socket, bytes);
            }
            Happening::Ended { socket, error } => self.lose_replica(io, socket, error),
            Happening::SendFailed { socket, error } => self.lose_replica(io, socket, Some(error)),
            Happening::Stopped { .. }
            | Happening::ReceivedInto { .. }
            | Happening::Accepted { .. }
            | Happening::AcceptFailed { .. }
            | Happening::Connected { .. }
            | Happening::Readable { .. } => {}
        }
    }

    fn replica_took(&mut self, io: &mut ShardIo, socket: SocketId, bytes: usize) {
        if let Some(link) = self.primary.sockets.get(&socket).copied() {
            self.tell_primary(io, Event::Sent { link, bytes });
        }
    }

    fn lose_replica(&mut self, io: &mut ShardIo, socket: SocketId, error: Option<std::io::Error>) {
        let Some(link) = self.primary.sockets.remove(&socket) else { return };
        self.primary.links.remove(&link);
        io.close(socket);
        let why = error.map_or_else(|| "it was closed".to_owned(), |error| error.to_string());
        info!("Connection with replica {} lost: {why}.", self.primary.machine.display(link));
        self.tell_primary(io, Event::Closed { link });
    }

    /// Ten times a second.
    pub fn tend_primary(&mut self, io: &mut ShardIo) {
        self.tell_primary(io, Event::Tick);
    }

    /// A client waits for replicas to have what was written; `answer` is told. The number to call it off with.
    pub fn wait_for(
        &mut self,
        io: &mut ShardIo,
        replicas: usize,
        target: WaitFor,
        timeout_ms: u64,
        answer: Answer,
    ) -> u64 {
        let who = self.primary.next_wait;
        self.primary.next_wait += 1;
        self.primary.waiting.insert(who, answer);
        let deadline_ms = (timeout_ms > 0).then(|| self.primary.now_ms().saturating_add(timeout_ms));
        self.tell_primary(io, Event::Wait { who, replicas, target, deadline_ms });
        who
    }

    /// A client no longer waits.
    pub fn wait_over(&mut self, io: &mut ShardIo, who: u64) {
        self.primary.waiting.remove(&who);
        self.tell_primary(io, Event::WaitOver { who });
    }

    /// Closes the links of these clients (CLIENT KILL); how many there were.
    pub fn kill_replicas(&mut self, io: &mut ShardIo, clients: &[u64]) -> usize {
        let now_ms = self.primary.now_ms();
        let killed = clients.iter().filter(|id| self.primary.machine.kill(**id, now_ms)).count();
        self.act(io);
        killed
    }

    /// Lets the machine know of an event, and does what it says.
    pub fn tell_primary(&mut self, io: &mut ShardIo, event: Event<'_>) {
        let now_ms = self.primary.now_ms();
        self.primary.machine.handle(event, now_ms);
        self.act(io);
    }

    /// Makes the sends of this tick.
    pub fn flush_primary(&mut self, io: &mut ShardIo) {
        let now_ms = self.primary.now_ms();
        self.primary.machine.flush(now_ms);
        self.shared.uncounted_bytes.store(self.primary.machine.replicas_bytes(), Ordering::Relaxed);
        self.act(io);
        self.grant(io);
    }

    /// Adds what is known of replicas to the status.
    pub fn describe_primary(&self, status: &mut Status) {
        let machine = &self.primary.machine;
        let history = machine.stream().history();
        status.id = history.id().to_owned();
        status.second_id = history.second().map(|(id, offset)| (id.to_owned(), offset));
        status.offset = history.offset();
        status.backlog = machine.backlog_status();
        status.failover = machine.failover_status();
        status.replicas = machine.replicas(self.primary.now_ms(), clock::unix_ms());
        let counters = machine.counters();
        status.counters.sync_full = counters.sync_full;
        status.counters.sync_partial_ok = counters.sync_partial_ok;
        status.counters.sync_partial_err = counters.sync_partial_err;
        status.counters.output_bytes = counters.output_bytes;
        status.counters.output_limit_disconnections = counters.output_limit_disconnections;
        status.replicas_bytes = machine.replicas_bytes();
    }

    // What goes out

    fn act(&mut self, io: &mut ShardIo) {
        for action in self.primary.machine.take_actions() {
            self.act_on(io, action);
        }
    }

    fn act_on(&mut self, io: &mut ShardIo, action: Action) {
        match action {
            Action::Send { link, out } => {
                if let Some(socket) = self.primary.links.get(&link) {
                    io.send(*socket, out);
                }
            }
            Action::Close { link, .. } => {
                if let Some(socket) = self.primary.links.remove(&link) {
                    self.primary.sockets.remove(&socket);
                    io.close(socket);
                }
            }
            Action::Merged { bytes } => {
                if self.shared.sequencer.merged(bytes) {
                    self.wake_shards(io);
                }
            }
            Action::GoodReplicas(count) => self.shared.good_replicas.store(count, Ordering::Relaxed),
            Action::Answer { who, replicas } => {
                if let Some(answer) = self.primary.waiting.remove(&who) {
                    answer(io, replicas);
                }
            }
            Action::StartSnapshot { id, form } => self.start_snapshot(io, id, form),
            Action::AbortSnapshot { id } => self.abort_snapshot(io, id, None),
            Action::Grant { snapshot, shard, bytes } => {
                if self.primary.granted_of != snapshot {
                    self.grant(io);
                    self.primary.granted_of = snapshot;
                }
                self.primary.granted[shard] += bytes;
            }
            Action::TurnLogOff => self.cut(
                io,
                Box::new(|shard, _| shard.turn_log(false)),
                Box::new(|replication, io, _| replication.tell_primary(io, Event::LogIsOff)),
            ),
            Action::SpoolOpen { .. }
            | Action::SpoolWrite { .. }
            | Action::SpoolRead { .. }
            | Action::SpoolClose { .. } => self.spool(io, action),
            Action::Demoted => {
                if let Some(then) = self.primary.when_demoted.take() {
                    then(self, io);
                }
            }
            Action::PauseWrites => self.cut(
                io,
                Box::new(|shard, _| shard.hold_writes(true)),
                Box::new(|replication, io, number| replication.tell_primary(io, Event::WritesPaused { number })),
            ),
            Action::ResumeWrites => self.end_hold(io),
            Action::FollowTarget { host, port } => {
                self.primary.fails_over = true;
                io.post(
                    0,
                    Message::Run(Box::new(move |shard, _| shard.begin_change(Some(PrimaryAddress { host, port })))),
                );
            }
            Action::FollowNobody => {
                self.primary.fails_over = false;
                io.post(0, Message::Run(Box::new(|shard, _| shard.begin_change(None))));
            }
            Action::PromoteSelf => io.post(0, Message::Run(Box::new(|shard, _| shard.begin_change(None)))),
        }
    }

    /// Lets clients write again after a failover.
    fn end_hold(&mut self, io: &mut ShardIo) {
        self.primary.fails_over = false;
        self.cut(io, Box::new(|shard, _| shard.hold_writes(false)), Box::new(|_, _, _| ()));
    }

    /// The node is to be a replica: when all batches below `number` are in the stream, which ends there, `then` runs.
    pub fn end_stream(&mut self, io: &mut ShardIo, number: u64, then: Control) {
        self.primary.when_demoted = Some(then);
        self.tell_primary(io, Event::Demoted { number });
    }

    /// FAILOVER; the error reply where it cannot be.
    pub fn fail_over(&mut self, io: &mut ShardIo, request: FailoverRequest) -> Result<(), &'static str> {
        let now_ms = self.primary.now_ms();
        let result = self.primary.machine.fail_over(request, now_ms);
        self.act(io);
        result
    }

    /// FAILOVER ABORT; the error reply if there is nothing to abort.
    pub fn abort_failover(&mut self, io: &mut ShardIo) -> Result<(), &'static str> {
        let result = self.primary.machine.abort_failover();
        self.act(io);
        result
    }

    /// Whether the next PSYNC asks the primary to take over.
    pub fn fails_over(&self) -> bool {
        self.primary.fails_over
    }

    /// Lets all shards begin a snapshot at one moment, and log from there on. On a replica, that is a moment at which the stream of the own primary
    /// stands still, with everything applied.
    fn start_snapshot(&mut self, io: &mut ShardIo, id: u64, form: Form) {
        self.primary.to_be_cut = Some(id);
        if self.target().is_some() {
            self.hold_stream(io, Box::new(move |replication, io| replication.cut_snapshot(io, id, form)));
        } else {
            self.cut_snapshot(io, id, form);
        }
    }

    fn cut_snapshot(&mut self, io: &mut ShardIo, id: u64, form: Form) {
        let form = match form {
            Form::Rdb => SnapshotForm::Rdb,
            Form::Frames => SnapshotForm::Frames,
        };
        let databases = 0..self.config.databases as usize;
        let sizes: Arc<[_]> = databases.map(|_| (AtomicU64::new(0), AtomicU64::new(0))).collect();
        let counted = sizes.clone();
        let begin = move |shard: &mut Shard, _: &mut ShardIo| {
            if !shard.role().is_replica() {
                shard.turn_log(true);
            }
            for (db, (keys, expires)) in counted.iter().enumerate().filter(|(db, _)| !shard.keyspace.is_empty(*db)) {
                let stats = shard.keyspace.db_stats(db, shard.now());
                keys.fetch_add(stats.keys as u64, Ordering::Relaxed);
                expires.fetch_add(stats.expires as u64, Ordering::Relaxed);
            }
            shard.begin_snapshot(id, form);
        };
        let after = move |replication: &mut Replication, io: &mut ShardIo, number| {
            let at = match replication.stands_at() {
                Some((offset, db)) => CutAt::Offset { offset, db: db.into() },
                None => CutAt::Number(number),
            };
            let known = |(keys, expires): &(AtomicU64, AtomicU64)| {
                (keys.load(Ordering::Relaxed), expires.load(Ordering::Relaxed))
            };
            replication.on_cut(io, id, at, sizes.iter().map(known).collect());
            replication.release_stream(io);
        };
        self.cut(io, Box::new(begin), Box::new(after));
    }

    /// Lets the shards give a snapshot up. One that has not begun does not begin then, but its cut still comes.
    fn abort_snapshot(&mut self, io: &mut ShardIo, id: u64, error: Option<String>) {
        for shard in 0..self.shared.shards {
            io.post(shard, Message::Run(Box::new(move |shard, _| shard.abort_snapshot(id))));
        }
        if self.primary.to_be_cut == Some(id) {
            self.primary.over_with_cut = Some(error);
        } else {
            self.tell_primary(io, Event::SnapshotOver { snapshot: id, error });
        }
    }

    /// A core could not go on with a snapshot.
    pub fn on_snapshot_failed(&mut self, io: &mut ShardIo, id: u64, error: String) {
        self.abort_snapshot(io, id, Some(error));
    }

    /// Lets the shards know what they may send more, once a tick.
    fn grant(&mut self, io: &mut ShardIo) {
        let id = self.primary.granted_of;
        for (shard, granted) in self.primary.granted.iter_mut().enumerate() {
            let bytes = std::mem::take(granted);
            if bytes > 0 {
                io.post(shard, Message::Run(Box::new(move |shard, _| shard.grant_snapshot(id, bytes))));
            }
        }
    }

    fn spool(&mut self, io: &mut ShardIo, action: Action) {
        let spools = match &mut self.primary.spools {
            Some(spools) => spools,
            none => match Spools::new() {
                Ok(spools) => {
                    io.watch(SPOOLS, spools.fd());
                    none.insert(spools)
                }
                Err(error) => {
                    if let Action::SpoolWrite { spool, .. } = action {
                        let result = Err(error.to_string());
                        self.tell_primary(io, Event::SpoolWritten { spool, result });
                    }
                    return;
                }
            },
        };
        match action {
            Action::SpoolOpen { spool } => spools.open(spool),
            Action::SpoolWrite { spool, bytes } => spools.write(spool, bytes),
            Action::SpoolRead { spool, link, offset, len } => spools.read(spool, link, offset, len),
            Action::SpoolClose { spool } => spools.close(spool),
            _ => {}
        }
    }

    /// Something was done to a file.
    pub fn on_spools(&mut self, io: &mut ShardIo) {
        let Some(spools) = &mut self.primary.spools else { return };
        for done in spools.done() {
            let event = match done {
                Done::Written { spool, result } => Event::SpoolWritten { spool, result },
                Done::Read { spool, link, result } => Event::SpoolRead { spool, link, result },
            };
            self.tell_primary(io, event);
        }
    }
}
