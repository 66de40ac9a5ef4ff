//! What one core runs: its part of the keyspace, its connections, and the way of a command through both.
//!
//! Guarantees
//! - replies leave in the order of their commands; commands on one key take effect in the order one connection sent them
//! - a command that needs all earlier ones (table flag BARRIER) starts only when they have answered
//! - a tick never waits: what another core is not ready for stays in an outbox, and the clients that feed it are not read
//! - memory for a client is bounded: its input by `client-query-buffer-limit`, its output by `client-output-buffer-limit`
//!
//! Knows the command table, the keyspace and the runtime's interface; never another core's data. What concerns several cores
//! goes through [`fanout`].

mod apply;
mod background;
mod batch;
mod blocked;
mod caching;
mod checkout;
mod client;
mod connections;
pub mod coordinator;
pub mod cut;
mod dispatch;
mod execute;
pub mod fanout;
mod guard;
mod handover;
pub mod limits;
pub mod loading;
pub mod locks;
mod lookahead;
mod memory;
mod multi;
mod publish;
mod remote;
mod reply;
pub mod role;
pub mod roles;
mod server;
mod serving;
mod settle;
#[cfg(test)]
pub(crate) mod simulator;
pub mod snapshot;
mod transaction;
mod waiters;
mod watch;
mod writes;

use std::any::Any;
use std::collections::VecDeque;
use std::rc::Weak;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use slab::Slab;

pub use background::start_background;
pub use batch::{Arrival, Batch, Block, Chunk, Handover, Message, Origin, Request, Response};
pub use client::{Client, Connection, Stall};
pub use execute::Route;
pub use publish::PubSub;

use locks::LockTable;
use transaction::{Transactions, Waiter};
use watch::WatchTable;

use blocked::BlockedClients;
use serving::Rounds;
use waiters::WaiterTable;

use crate::commands::blocking::Blocking;
use crate::commands::lookup::{CommandId, Commands};
use crate::commands::propagation::Propagation;
use crate::config::Config;
use crate::keyspace::{Garbage, Keyspace, Policy};
use crate::node::Node;
use crate::observe::latency::LatencyMonitor;
use crate::observe::slowlog::SlowLog;
use crate::observe::stats::{LatencyTracking, ShardStats};
use crate::replication::log::{Log, Sequencer};
use crate::resp::Out;
use crate::runtime::clock::{self, TickRate};
use crate::runtime::{Core, ExecutorId, Io, SocketId, task};
use crate::types::{Encodings, hash, list, set, stream, zset};

pub type ShardIo = Io<Message>;

/// What all executors may look at: identity, and a few counters that are written rarely.
pub struct Shared {
    pub shards: usize,
    pub run_id: String,
    pub replication_id: String,
    pub node_ids: Vec<String>,
    pub started: Instant,
    pub started_ms: u64,
    /// Clients of each shard; a connection is counted where it is placed before it gets there.
    pub clients: Vec<PaddedCount>,
    /// Keys of each shard that eviction could take, as of its last look; kept only while `maxmemory` is set.
    pub evictable: Vec<PaddedCount>,
    pub next_client_id: AtomicU64,
    pub next_slow_id: Arc<AtomicU64>,
    /// The order of all cores' writes.
    pub sequencer: Sequencer,
    /// Replicas whose lag is within `min-replicas-max-lag`.
    pub good_replicas: AtomicUsize,
    /// Bytes for replicas that `maxmemory` does not count.
    pub uncounted_bytes: AtomicUsize,
    /// Accepting has stopped: the process ends.
    pub stopping: AtomicBool,
    /// Memory in use when the node began to serve, in bytes.
    pub startup_memory: AtomicUsize,
    /// Unix time of the last save, which is the start of the process until there is persistence.
    pub last_save_s: u64,
}

/// A counter with a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
pub struct PaddedCount(pub AtomicUsize);

impl Shared {
    pub fn client_count(&self) -> usize {
        self.clients.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    pub until_ms: u64,
    pub writes_only: bool,
}

/// Things that rarely are on and cost each command one branch while all are off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    pub monitors: bool,
    /// Clients of this core track keys.
    pub tracking: bool,
    pub paused: bool,
    /// `maxmemory` is set.
    pub memory_limit: bool,
    /// Keys of this core are locked.
    pub locks: bool,
    /// The node's role, or the state of its data, may forbid commands.
    pub guarded: bool,
    /// The replication executor has so much to do that writers wait.
    pub behind: bool,
}

impl Gates {
    #[inline]
    fn any(self) -> bool {
        self.monitors | self.tracking | self.paused | self.memory_limit | self.locks | self.guarded | self.behind
    }
}

pub struct Shard {
    pub id: ExecutorId,
    pub shared: Arc<Shared>,
    pub core: Weak<Core<Node>>,
    pub tasks: Option<task::Tasks>,
    pub config: Arc<Config>,
    pub commands: Arc<Commands>,
    /// How each command finds its core, by id.
    routes: Vec<execute::Route>,
    pub keyspace: Keyspace,
    pub policy: Policy,
    pub encodings: Encodings,
    pub stats: ShardStats,
    pub slow_log: SlowLog,
    /// From this duration on a command is looked at by the slow log and the latency monitor.
    slow_nanoseconds: u64,
    pub latency: LatencyMonitor,
    pub gates: Gates,
    /// Off while DEBUG SET-ACTIVE-EXPIRE 0 is in force.
    pub active_expire: bool,
    pub pause: Option<Pause>,
    /// Writes are held up for a failover, as by CLIENT PAUSE WRITE.
    writes_held: bool,
    /// How many monitors each shard has.
    pub monitors: Vec<usize>,
    /// Changes to the data, as INFO's `rdb_changes_since_last_save`.
    pub changes: u64,
    pub(crate) caching: caching::Caching,
    pub now_ms: u64,
    rate: TickRate,
    /// When the command at work began, in clock ticks.
    lap_started: u64,
    /// This thread's memory in use at its highest since free pages were last given back.
    memory_mark: i64,
    connections: Vec<Option<Box<Connection>>>,
    /// Those that have something to send, or have to be looked at, at the end of the tick.
    to_send: Vec<SocketId>,
    /// What was read ahead of the connection at work; kept for its memory.
    lookahead: Option<Box<lookahead::Lookahead>>,
    /// Those that go on with their input in the next tick.
    resume: Vec<SocketId>,
    /// Those that wait for room on the way to another core.
    waiting_outbox: Vec<SocketId>,
    waiting_pause: Vec<SocketId>,
    outgoing: Vec<Option<Box<Batch>>>,
    #[allow(clippy::vec_box)] // they travel boxed
    spare_batches: Vec<Box<Batch>>,
    spare_outs: Vec<Out>,
    pub pubsub: PubSub,
    /// Who waits for a [`Message::Answer`].
    questions: Slab<task::Sender<Box<dyn Any + Send>>>,
    /// Dropped tables that are freed bit by bit.
    pub garbage: VecDeque<Garbage>,
    pub(self) locks: LockTable<Waiter>,
    transactions: Transactions,
    watches: WatchTable,
    /// Who waits for keys of this core.
    waiters: WaiterTable,
    rounds: Rounds,
    /// The clients of this core that wait.
    pub(in crate::shard) blocked: BlockedClients,
    /// What the command at work says of waiting.
    blocking: Blocking,
    /// What the command at work tells replicas in place of itself.
    propagation: Propagation,
    pub(in crate::shard) log: Log,
    role: role::Role,
    loading: role::Loading,
    /// The virtual client's place, once there was one.
    applier: Option<SocketId>,
    /// It has been given commands, and has not run all of them.
    applies: bool,
    /// Entries of other cores, while commands run here that name them.
    guests: Option<Box<Keyspace>>,
    snapshots: snapshot::Snapshots,
    load: Option<Box<loading::Load>>,
    exec_id: CommandId,
    freeing: bool,
    /// A task evicts down to a lowered limit.
    evicting: bool,
    /// When `Shared::evictable` was last told of this core.
    evictable_told_ms: u64,
    /// Where the next sweep over the clients begins.
    sweep_from: usize,
    /// A command of this tick found memory above the limit.
    wants_eviction: bool,
    stop: bool,
}

/// The limits of compact forms, of a configuration.
fn encodings(config: &Config) -> Encodings {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Encodings {
        hash: hash::Limits {
            max_fields: size(config.hash_max_listpack_entries),
            max_bytes: size(config.hash_max_listpack_value),
        },
        list: list::encoding::Limit::from_directive(config.list_max_listpack_size),
        list_plain_ends: list::PlainEnds::from_directive(config.list_compress_depth),
        zset: zset::compact::Limits {
            entries: size(config.zset_max_listpack_entries),
            value: size(config.zset_max_listpack_value),
        },
        set: set::compact::Limits {
            intset_entries: size(config.set_max_intset_entries),
            listpack_entries: size(config.set_max_listpack_entries),
            listpack_value: size(config.set_max_listpack_value),
        },
        hll_sparse_max_bytes: size(config.hll_sparse_max_bytes),
        stream: stream::BlockLimits {
            max_bytes: size(config.stream_node_max_bytes),
            max_entries: u32::try_from(config.stream_node_max_entries).unwrap_or(u32::MAX),
        },
    }
}

impl Shard {
    pub fn new(id: ExecutorId, shared: Arc<Shared>, config: Arc<Config>, commands: Arc<Commands>, seed: u64) -> Shard {
        let slots = crate::keyspace::slot::slots_of(id, shared.shards);
        let keyspace = Keyspace::new(slots, config.databases as usize, seed);
        let mut shard = Shard {
            id,
            core: Weak::new(),
            tasks: None,
            keyspace,
            policy: memory::policy(&config),
            encodings: encodings(&config),
            stats: ShardStats::new(commands.count()),
            slow_log: SlowLog::new(
                shared.next_slow_id.clone(),
                config.slowlog_log_slower_than,
                config.slowlog_max_len as usize,
            ),
            slow_nanoseconds: slow_nanoseconds(&config),
            latency: LatencyMonitor::new(config.latency_monitor_threshold),
            gates: Gates::default(),
            active_expire: true,
            pause: None,
            writes_held: false,
            monitors: vec![0; shared.shards],
            changes: 0,
            caching: caching::Caching::new(shared.shards),
            now_ms: clock::unix_ms(),
            rate: TickRate::measure(),
            lap_started: 0,
            memory_mark: 0,
            connections: Vec::new(),
            to_send: Vec::new(),
            lookahead: None,
            resume: Vec::new(),
            waiting_outbox: Vec::new(),
            waiting_pause: Vec::new(),
            outgoing: (0..shared.shards).map(|_| None).collect(),
            spare_batches: Vec::new(),
            spare_outs: Vec::new(),
            pubsub: PubSub::new(id, shared.shards),
            questions: Slab::new(),
            garbage: VecDeque::new(),
            locks: LockTable::new(),
            transactions: Transactions::default(),
            watches: WatchTable::default(),
            waiters: WaiterTable::default(),
            rounds: Rounds::default(),
            blocked: BlockedClients::default(),
            blocking: Blocking::default(),
            propagation: Propagation::default(),
            log: Log::default(),
            role: role::Role::Primary,
            loading: role::Loading::No,
            applier: None,
            applies: false,
            guests: None,
            snapshots: snapshot::Snapshots::default(),
            load: None,
            exec_id: commands.find(b"exec").unwrap_or(CommandId(0)),
            freeing: false,
            evicting: false,
            evictable_told_ms: 0,
            sweep_from: 0,
            wants_eviction: false,
            stop: false,
            routes: execute::Route::table(&commands),
            shared,
            config,
            commands,
        };
        shard.set_role(role::Role::of(&shard.config));
        shard.stats.set_latency_tracking(tracking(&shard.config));
        shard
    }

    /// Takes over a changed configuration.
    pub fn set_config(&mut self, config: Arc<Config>) {
        self.policy = memory::policy(&config);
        self.encodings = encodings(&config);
        self.slow_log.set_slower_than_us(config.slowlog_log_slower_than);
        self.slow_log.set_max_len(config.slowlog_max_len as usize);
        self.slow_nanoseconds = slow_nanoseconds(&config);
        self.latency.set_threshold_ms(config.latency_monitor_threshold);
        self.stats.set_latency_tracking(tracking(&config));
        self.config = config;
        self.set_gates();
        self.meet_limit();
    }

    /// Derives the gates from what is on.
    pub fn set_gates(&mut self) {
        self.gates = Gates {
            monitors: self.monitors.iter().any(|count| *count > 0),
            tracking: self.caching.clients > 0,
            paused: self.is_paused(),
            memory_limit: self.has_limit(),
            locks: !self.locks.is_idle(),
            guarded: self.is_guarded(),
            behind: self.gates.behind,
        };
        let watches = self.watches_keys();
        self.keyspace.changes.record(watches);
    }

    /// The clients of this shard.
    pub fn clients(&self) -> impl Iterator<Item = &Connection> {
        let connections = self.connections.iter().flatten().map(|connection| &**connection);
        connections.filter(|connection| !connection.client.modes.applies)
    }

    fn connection(&mut self, socket: SocketId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(socket.index as usize)?.as_deref_mut()?;
        (connection.client.socket == socket).then_some(connection)
    }

    /// Lets `f` work on a client and the shard at once. Returns `None` when the client is gone.
    fn with_connection<R>(&mut self, socket: SocketId, f: impl FnOnce(&mut Shard, &mut Connection) -> R) -> Option<R> {
        self.connection(socket)?;
        let mut connection = self.connections[socket.index as usize].take()?;
        let result = f(self, &mut connection);
        self.connections[socket.index as usize] = Some(connection);
        Some(result)
    }

    pub fn now(&self) -> u64 {
        self.now_ms
    }

    pub fn begin_tick(&mut self) {
        self.now_ms = clock::unix_ms();
    }

    /// The executor is to end after this tick.
    pub fn stop(&mut self) {
        self.stop = true;
    }

    pub fn stopping(&self) -> bool {
        self.stop
    }
}

/// The shortest duration that the slow log or the latency monitor takes notice of.
fn slow_nanoseconds(config: &Config) -> u64 {
    let log = u64::try_from(config.slowlog_log_slower_than).map_or(u64::MAX, |us| us.saturating_mul(1000));
    let monitor = match config.latency_monitor_threshold {
        0 => u64::MAX,
        ms => ms.saturating_mul(1_000_000),
    };
    log.min(monitor)
}

fn tracking(config: &Config) -> LatencyTracking {
    if config.latency_tracking { LatencyTracking::On } else { LatencyTracking::Off }
}
