//! The directives that Basalt acts on, and the struct of their typed values.
//!
//! Each row gives the field, its type, and behind it: name in redis.conf, aliases, kind, default, when it may change, and
//! what it belongs to. The line above is its documentation, here and for users.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::events::KeyspaceEvents;
use super::fields::{
    BindAddress, DisklessLoad, Field, LogLevel, MaxmemoryPolicy, OomScoreAdj, OutputLimits, Permission, PrimaryAddress,
    PropagationErrors, Secret, Supervised,
};
use super::table::Change::{Protected, Runtime, Start};
use super::table::{Directive, Feature, Slot};
use super::values::{Kind, MAX_SIGNED, Setting};

/// Background work runs at least and at most so often a second; Redis's limits.
pub(super) const MIN_HZ: u32 = 1;
pub(super) const MAX_HZ: u32 = 500;

/// The smallest backlog; Redis's limit.
pub(super) const MIN_BACKLOG_BYTES: u64 = 16 << 10;

/// Far more shards than any machine has CPUs, within the 16384 slots that they share.
const MAX_SHARDS: i64 = 1024;
const DEFAULT_CORE_PORT_OFFSET: u16 = 1000;
const MIN_BUFFER_LIMIT: u64 = 1 << 20;

const INT: Kind = Kind::Number { min: 0, max: i32::MAX as i64 };
const POSITIVE_INT: Kind = Kind::Number { min: 1, max: i32::MAX as i64 };
const LONG: Kind = Kind::Number { min: 0, max: i64::MAX };
const PORT: Kind = Kind::Number { min: 0, max: u16::MAX as i64 };
const SIZE: Kind = Kind::Bytes { min: 0, max: MAX_SIGNED };

macro_rules! directives {
    ($(
        #[doc = $doc:literal]
        $field:ident: $type:ty = ($name:literal, $aliases:expr, $kind:expr, $default:literal, $change:ident, $feature:ident),
    )*) => {
        /// The configuration of the node. Each executor holds its own reference to one; a change makes a new one.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            /// The file that the server was started with: where CONFIG REWRITE writes.
            pub file: Option<PathBuf>,
            /// `rename-command` lines in order: old name, new name (empty: the command is removed).
            pub rename_command: Vec<(String, String)>,
            /// Values of directives that change nothing, where they are not the default.
            pub(super) kept: BTreeMap<&'static str, Setting>,
            $(#[doc = $doc] pub $field: $type,)*
        }

        pub(super) static WORKING: &[Directive] = &[$(Directive {
            name: $name,
            aliases: &$aliases,
            kind: $kind,
            default: $default,
            change: $change,
            feature: Feature::$feature,
            doc: $doc.trim_ascii(),
            slot: Slot::Field {
                store: |config| Field::store(&config.$field),
                load: |config, setting| Field::load(&mut config.$field, setting),
            },
        },)*];

        impl Default for Config {
            /// What an empty configuration file gives.
            fn default() -> Config {
                let mut config = Config {
                    file: None,
                    rename_command: Vec::new(),
                    kept: BTreeMap::new(),
                    $($field: Default::default(),)*
                };
                for directive in WORKING {
                    if let Slot::Field { load, .. } = directive.slot {
                        load(&mut config, &directive.default_value());
                    }
                }
                config
            }
        }
    };
}

directives! {
    /// Shards of the key space, one executor each; 0 is one for every CPU of the affinity mask, less one for the replication core from 4 CPUs up.
    shards: u32 = ("shards", [], Kind::Number { min: 0, max: MAX_SHARDS }, "0", Start, Threads),
    /// Whether each shard's executor is bound to one CPU.
    pin: bool = ("pin", [], Kind::YesNo, "yes", Start, Threads),
    /// Whether every shard also listens on a port of its own, which CLUSTER SLOTS and SHARDS then name, so that cluster clients reach the owning core directly.
    core_endpoints: bool = ("core-endpoints", [], Kind::YesNo, "no", Start, Threads),
    /// Port of the first shard's own endpoint, the others follow; 0 is `port` + 1000.
    core_port_base: u16 = ("core-port-base", [], PORT, "0", Start, Threads),
    /// Host that the core endpoints are announced with; empty is the address that the asking client connected to.
    cluster_announce_ip: String = ("cluster-announce-ip", [], Kind::Text, "", Runtime, Threads),

    /// Addresses to listen on.
    bind: Vec<BindAddress> = ("bind", [], Kind::Addresses, "* -::*", Runtime, Network),
    /// TCP port; 0 listens on no TCP port.
    port: u16 = ("port", [], PORT, "6379", Runtime, Network),
    /// Path of a Unix socket to listen on as well; empty for none.
    unixsocket: String = ("unixsocket", [], Kind::Text, "", Start, Network),
    /// Permissions of the Unix socket; 0 leaves what the umask gives.
    unixsocketperm: u32 = ("unixsocketperm", [], Kind::Octal { max: 0o777 }, "0", Start, Network),
    /// Whether, as long as no password is set, only clients of this machine are served.
    protected_mode: bool = ("protected-mode", [], Kind::YesNo, "yes", Runtime, Network),
    /// Connections that may wait to be accepted, on each listening socket.
    tcp_backlog: u32 = ("tcp-backlog", [], INT, "511", Start, Network),
    /// Address that the link to a primary comes from; empty lets the kernel choose.
    bind_source_addr: String = ("bind-source-addr", [], Kind::IpAddress, "", Runtime, Network),
    /// Seconds without traffic after which the kernel asks whether a client is still there; 0 never.
    tcp_keepalive: u32 = ("tcp-keepalive", [], INT, "300", Runtime, Network),

    /// Seconds after which an idle client is disconnected; 0 never.
    timeout: u32 = ("timeout", [], INT, "0", Runtime, Clients),
    /// Connected clients at most.
    maxclients: u32 = ("maxclients", [], Kind::Number { min: 1, max: u32::MAX as i64 }, "10000", Runtime, Clients),
    /// Replies waiting for a client that does not read them: hard limit, and soft limit with the seconds it may be passed, by class; 0 is no limit.
    client_output_buffer_limit: OutputLimits =
        ("client-output-buffer-limit", [], Kind::OutputLimits, "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60", Runtime, Clients),
    /// Bytes of commands that may be buffered for one client.
    client_query_buffer_limit: u64 =
        ("client-query-buffer-limit", [], Kind::Bytes { min: MIN_BUFFER_LIMIT, max: MAX_SIGNED }, "1gb", Runtime, Clients),
    /// Bytes of one argument of a command, and so of a value, at most.
    proto_max_bulk_len: u64 =
        ("proto-max-bulk-len", [], Kind::Bytes { min: MIN_BUFFER_LIMIT, max: MAX_SIGNED }, "512mb", Runtime, Clients),
    /// Bytes of an inline command, or of a length line of the protocol, at most.
    proto_inline_max_size: u64 =
        ("proto-inline-max-size", [], Kind::Bytes { min: 1 << 10, max: 1 << 30 }, "64kb", Runtime, Clients),

    /// Password that clients must give with AUTH or HELLO.
    requirepass: Secret = ("requirepass", [], Kind::Secret, "", Runtime, Security),
    /// Whether DEBUG may be used: local means by clients of this machine.
    enable_debug_command: Permission =
        ("enable-debug-command", [], Kind::Choice(Permission::NAMES), "no", Start, Security),
    /// Whether CONFIG SET may change dir and dbfilename: local means by clients of this machine.
    enable_protected_configs: Permission =
        ("enable-protected-configs", [], Kind::Choice(Permission::NAMES), "no", Start, Security),

    /// Bytes of memory for the whole node before keys are evicted or writes refused; 0 is no limit.
    maxmemory: u64 = ("maxmemory", [], Kind::Bytes { min: 0, max: u64::MAX }, "0", Runtime, Memory),
    /// Which keys are evicted when maxmemory is reached.
    maxmemory_policy: MaxmemoryPolicy =
        ("maxmemory-policy", [], Kind::Choice(MaxmemoryPolicy::NAMES), "noeviction", Runtime, Memory),
    /// Keys that an eviction compares: more is more exact and slower.
    maxmemory_samples: u32 =
        ("maxmemory-samples", [], Kind::Number { min: 1, max: i32::MAX as i64 }, "5", Runtime, Memory),
    /// No effect yet. How long one eviction run may hold up commands: 0 is least, 100 is without end.
    maxmemory_eviction_tenacity: u32 =
        ("maxmemory-eviction-tenacity", [], Kind::Number { min: 0, max: 100 }, "10", Runtime, Memory),
    /// How many hits it takes to raise the LFU counter: the higher, the more it can tell apart.
    lfu_log_factor: u32 = ("lfu-log-factor", [], INT, "10", Runtime, Memory),
    /// Minutes after which the LFU counter falls by one; 0 never.
    lfu_decay_time: u32 = ("lfu-decay-time", [], INT, "1", Runtime, Memory),
    /// No effect yet. Whether evicted values are freed in the background.
    lazyfree_lazy_eviction: bool = ("lazyfree-lazy-eviction", [], Kind::YesNo, "no", Runtime, Memory),
    /// No effect yet. Whether expired values are freed in the background.
    lazyfree_lazy_expire: bool = ("lazyfree-lazy-expire", [], Kind::YesNo, "no", Runtime, Memory),
    /// No effect yet. Whether overwritten values, as by RENAME, are freed in the background.
    lazyfree_lazy_server_del: bool = ("lazyfree-lazy-server-del", [], Kind::YesNo, "no", Runtime, Memory),
    /// No effect yet. Whether DEL frees in the background, as UNLINK does.
    lazyfree_lazy_user_del: bool = ("lazyfree-lazy-user-del", [], Kind::YesNo, "no", Runtime, Memory),
    /// Whether FLUSHALL and FLUSHDB without SYNC or ASYNC free in the background.
    lazyfree_lazy_user_flush: bool = ("lazyfree-lazy-user-flush", [], Kind::YesNo, "no", Runtime, Memory),
    /// No effect yet. How the process is rated for the kernel's out-of-memory killer: relative to its score at start (yes is the same), or absolute.
    oom_score_adj: OomScoreAdj = ("oom-score-adj", [], Kind::Choice(OomScoreAdj::NAMES), "no", Runtime, Memory),
    /// No effect yet. Out-of-memory scores of a master, a replica and a background child.
    oom_score_adj_values: [i32; 3] = ("oom-score-adj-values", [], Kind::OomScores, "0 200 800", Runtime, Memory),

    /// Keys that the table of client-side caching remembers on the whole node; 0 is no limit.
    tracking_table_max_keys: u64 = ("tracking-table-max-keys", [], LONG, "1000000", Runtime, Notifications),

    /// Background runs a second; what is below 1 or above 500 is taken as that.
    hz: u32 = ("hz", [], INT, "10", Runtime, Expiry),
    /// No effect yet. Whether background runs become more frequent with many clients.
    dynamic_hz: bool = ("dynamic-hz", [], Kind::YesNo, "yes", Runtime, Expiry),
    /// How hard expired keys are searched for, from 1 to 10.
    active_expire_effort: u32 =
        ("active-expire-effort", [], Kind::Number { min: 1, max: 10 }, "1", Runtime, Expiry),

    /// Databases that SELECT can choose from.
    databases: u32 = ("databases", [], Kind::Number { min: 1, max: i32::MAX as i64 }, "16", Start, Encodings),
    /// Fields of a hash in compact form at most.
    hash_max_listpack_entries: u64 =
        ("hash-max-listpack-entries", ["hash-max-ziplist-entries"], LONG, "512", Runtime, Encodings),
    /// Bytes of a field or value of a hash in compact form at most.
    hash_max_listpack_value: u64 =
        ("hash-max-listpack-value", ["hash-max-ziplist-value"], SIZE, "64", Runtime, Encodings),
    /// Entries of a list node; -1 to -5 is 4, 8, 16, 32 or 64 KiB.
    list_max_listpack_size: i32 =
        ("list-max-listpack-size", ["list-max-ziplist-size"], Kind::Number { min: i32::MIN as i64, max: i32::MAX as i64 }, "-2", Runtime, Encodings),
    /// Nodes at either end of a list that stay uncompressed; 0 compresses none. (Redis: 0. What is far from both ends is cold here.)
    list_compress_depth: u32 = ("list-compress-depth", [], INT, "16", Runtime, Encodings),
    /// Members of a set of integers in compact form at most.
    set_max_intset_entries: u64 = ("set-max-intset-entries", [], LONG, "512", Runtime, Encodings),
    /// Members of another set in compact form at most.
    set_max_listpack_entries: u64 = ("set-max-listpack-entries", [], LONG, "128", Runtime, Encodings),
    /// Bytes of a member of a set in compact form at most.
    set_max_listpack_value: u64 = ("set-max-listpack-value", [], SIZE, "64", Runtime, Encodings),
    /// Members of a sorted set in compact form at most.
    zset_max_listpack_entries: u64 =
        ("zset-max-listpack-entries", ["zset-max-ziplist-entries"], LONG, "128", Runtime, Encodings),
    /// Bytes of a member of a sorted set in compact form at most.
    zset_max_listpack_value: u64 =
        ("zset-max-listpack-value", ["zset-max-ziplist-value"], SIZE, "64", Runtime, Encodings),
    /// Bytes of a HyperLogLog in sparse form at most.
    hll_sparse_max_bytes: u64 = ("hll-sparse-max-bytes", [], SIZE, "3000", Runtime, Encodings),
    /// Bytes of a stream node at most; 0 is no limit.
    stream_node_max_bytes: u64 = ("stream-node-max-bytes", [], SIZE, "4096", Runtime, Encodings),
    /// Entries of a stream node at most; 0 is no limit.
    stream_node_max_entries: u64 = ("stream-node-max-entries", [], LONG, "100", Runtime, Encodings),

    /// The least important lines that are logged.
    loglevel: LogLevel = ("loglevel", [], Kind::Choice(LogLevel::NAMES), "notice", Runtime, Observability),
    /// File that the log is appended to; empty is standard output.
    logfile: String = ("logfile", [], Kind::Text, "", Start, Observability),
    /// No effect yet. Whether the logo is printed even where standard output is no terminal.
    always_show_logo: bool = ("always-show-logo", [], Kind::YesNo, "no", Start, Observability),
    /// Microseconds from which on a command is kept in the slow log; 0 keeps all, -1 none.
    slowlog_log_slower_than: i64 =
        ("slowlog-log-slower-than", [], Kind::Number { min: -1, max: i64::MAX }, "10000", Runtime, Observability),
    /// Entries of the slow log at most.
    slowlog_max_len: u64 = ("slowlog-max-len", [], LONG, "128", Runtime, Observability),
    /// Events of keys that are published: K, E or both for the channels they go to, and the classes that do, of Ag$lshzxetdmn.
    notify_keyspace_events: KeyspaceEvents =
        ("notify-keyspace-events", [], Kind::KeyspaceEvents, "", Runtime, Notifications),

    /// Milliseconds from which on an event is kept for LATENCY; 0 turns it off.
    latency_monitor_threshold: u64 = ("latency-monitor-threshold", [], LONG, "0", Runtime, Observability),
    /// Whether latencies are recorded by command.
    latency_tracking: bool = ("latency-tracking", [], Kind::YesNo, "yes", Runtime, Observability),
    /// Percentiles that INFO latencystats prints.
    latency_tracking_info_percentiles: Vec<f64> =
        ("latency-tracking-info-percentiles", [], Kind::Percentiles, "50 99 99.9", Runtime, Observability),

    /// Whether the server goes into the background.
    daemonize: bool = ("daemonize", [], Kind::YesNo, "no", Start, Process),
    /// The service manager to tell about start and stop.
    supervised: Supervised = ("supervised", [], Kind::Choice(Supervised::NAMES), "no", Start, Process),
    /// File that holds the process id while the server runs; empty is /var/run/basalt.pid with daemonize, else none.
    pidfile: String = ("pidfile", [], Kind::Text, "", Start, Process),
    /// Working directory.
    dir: PathBuf = ("dir", [], Kind::Directory, ".", Protected, Process),
    /// No effect yet. Whether the process title names address and mode.
    set_proc_title: bool = ("set-proc-title", [], Kind::YesNo, "yes", Start, Process),
    /// No effect yet. The process title.
    proc_title_template: String =
        ("proc-title-template", [], Kind::TitleTemplate, "{title} {listen-addr} {server-mode}", Runtime, Process),
    /// Seconds that a shutdown waits for replicas to catch up.
    shutdown_timeout: u32 = ("shutdown-timeout", [], INT, "10", Runtime, Process),

    /// No effect yet. Milliseconds after which a script that still runs is answered for with BUSY; 0 never.
    busy_reply_threshold: u64 = ("busy-reply-threshold", ["lua-time-limit"], LONG, "5000", Runtime, Scripting),

    /// No effect yet. Name of the snapshot file.
    dbfilename: String = ("dbfilename", [], Kind::FileName, "dump.rdb", Protected, Persistence),
    /// Whether strings are compressed in snapshots and by DUMP.
    rdbcompression: bool = ("rdbcompression", [], Kind::YesNo, "yes", Runtime, Persistence),
    /// Whether snapshots carry a checksum.
    rdbchecksum: bool = ("rdbchecksum", [], Kind::YesNo, "yes", Start, Persistence),

    /// Host and port of the primary to be a replica of. REPLICAOF changes it at run time, and CONFIG REWRITE writes it.
    replicaof: Option<PrimaryAddress> = ("replicaof", ["slaveof"], Kind::Master, "no one", Start, Replication),
    /// Password for the primary.
    masterauth: Secret = ("masterauth", ["primaryauth"], Kind::Secret, "", Runtime, Replication),
    /// User for the primary; empty is its default user.
    masteruser: String = ("masteruser", ["primaryuser"], Kind::Text, "", Runtime, Replication),
    /// Whether a replica without a link to its primary, or that takes its first snapshot, serves the data it has; else it answers with MASTERDOWN.
    replica_serve_stale_data: bool =
        ("replica-serve-stale-data", ["slave-serve-stale-data"], Kind::YesNo, "yes", Runtime, Replication),
    /// Whether a replica refuses writes of its clients.
    replica_read_only: bool = ("replica-read-only", ["slave-read-only"], Kind::YesNo, "yes", Runtime, Replication),
    /// No effect: what a new snapshot replaces is always freed in the background.
    replica_lazy_flush: bool = ("replica-lazy-flush", ["slave-lazy-flush"], Kind::YesNo, "no", Runtime, Replication),
    /// How willing Sentinel is to promote this replica: the lower the better, 0 is never.
    replica_priority: u32 = ("replica-priority", ["slave-priority"], INT, "100", Runtime, Replication),
    /// Whether Sentinel lists this replica to others.
    replica_announced: bool = ("replica-announced", [], Kind::YesNo, "yes", Runtime, Replication),
    /// Address that a replica gives its primary for others to reach it by; empty is the one that it connects from.
    replica_announce_ip: String =
        ("replica-announce-ip", ["slave-announce-ip"], Kind::Text, "", Runtime, Replication),
    /// Port that a replica gives its primary for others to reach it by; 0 is `port`.
    replica_announce_port: u16 =
        ("replica-announce-port", ["slave-announce-port"], PORT, "0", Runtime, Replication),
    /// Whether a replica leaves eviction to its primary.
    replica_ignore_maxmemory: bool =
        ("replica-ignore-maxmemory", ["slave-ignore-maxmemory"], Kind::YesNo, "yes", Runtime, Replication),
    /// No effect yet. Whether a replica goes on when it cannot write to disk.
    replica_ignore_disk_write_errors: bool =
        ("replica-ignore-disk-write-errors", [], Kind::YesNo, "no", Runtime, Replication),
    /// What happens when a command of the primary fails here: it is logged and counted, or the process ends (panic: in Redis, on a bad append-only file as well).
    propagation_error_behavior: PropagationErrors =
        ("propagation-error-behavior", [], Kind::Choice(PropagationErrors::NAMES), "ignore", Runtime, Replication),
    /// Whether a snapshot goes to replicas as it is made; else, and to replicas that take no end mark, through a temporary file.
    repl_diskless_sync: bool = ("repl-diskless-sync", [], Kind::YesNo, "yes", Runtime, Replication),
    /// Seconds that a snapshot for replicas waits for more of them.
    repl_diskless_sync_delay: u32 = ("repl-diskless-sync-delay", [], INT, "5", Runtime, Replication),
    /// Replicas that end that wait when they are there; 0 is the whole time.
    repl_diskless_sync_max_replicas: u32 =
        ("repl-diskless-sync-max-replicas", [], INT, "0", Runtime, Replication),
    /// How a replica loads a snapshot: disabled writes it to a file first; on-empty-db loads from the socket where there is no data; swapdb always does, and serves the old data meanwhile.
    repl_diskless_load: DisklessLoad =
        ("repl-diskless-load", [], Kind::Choice(DisklessLoad::NAMES), "on-empty-db", Runtime, Replication),
    /// Whether what goes to replicas may wait to fill packets.
    repl_disable_tcp_nodelay: bool = ("repl-disable-tcp-nodelay", [], Kind::YesNo, "no", Runtime, Replication),
    /// Seconds between the pings that a primary sends its replicas.
    repl_ping_replica_period: u32 =
        ("repl-ping-replica-period", ["repl-ping-slave-period"], POSITIVE_INT, "10", Runtime, Replication),
    /// Seconds without a sign of the other side after which a link counts as broken.
    repl_timeout: u32 = ("repl-timeout", [], POSITIVE_INT, "60", Runtime, Replication),
    /// Bytes of the stream that are kept for replicas that come back; what is below 16384 is taken as that.
    repl_backlog_size: u64 =
        ("repl-backlog-size", [], Kind::Bytes { min: 1, max: MAX_SIGNED }, "1mb", Runtime, Replication),
    /// Seconds after which a primary without replicas gives up the backlog; 0 never.
    repl_backlog_ttl: u64 = ("repl-backlog-ttl", [], LONG, "3600", Runtime, Replication),
    /// Replicas without which a primary refuses writes; 0 is none.
    min_replicas_to_write: u32 =
        ("min-replicas-to-write", ["min-slaves-to-write"], INT, "0", Runtime, Replication),
    /// Seconds since its last acknowledgement up to which a replica counts for that; 0 turns it off.
    min_replicas_max_lag: u32 =
        ("min-replicas-max-lag", ["min-slaves-max-lag"], INT, "10", Runtime, Replication),
}

const DEFAULT_PIDFILE: &str = "/var/run/basalt.pid";

impl Config {
    /// The port of the endpoint of `shard`, or `None` when it would lie above 65535.
    pub fn core_port(&self, shard: u32) -> Option<u16> {
        let base = match self.core_port_base {
            0 => self.port.checked_add(DEFAULT_CORE_PORT_OFFSET)?,
            base => base,
        };
        base.checked_add(u16::try_from(shard).ok()?)
    }

    /// Where the process id goes, if anywhere. `in_background`: the process has been daemonized.
    pub fn pidfile_path(&self, in_background: bool) -> Option<PathBuf> {
        match (self.pidfile.as_str(), in_background) {
            ("", false) => None,
            ("", true) => Some(PathBuf::from(DEFAULT_PIDFILE)),
            (path, _) => Some(PathBuf::from(path)),
        }
    }

    /// Whether the configuration gives any address at all to listen on.
    pub fn listens_anywhere(&self) -> bool {
        (self.port != 0 && !self.bind.is_empty()) || !self.unixsocket.is_empty()
    }

    /// Whether the right that `permission` describes belongs to a client that comes from `origin`.
    pub fn permits(permission: Permission, origin: Origin) -> bool {
        match permission {
            Permission::No => false,
            Permission::Yes => true,
            Permission::Local => origin == Origin::Local,
        }
    }
}

/// Where a client is connected from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This machine: a loopback address or the Unix socket.
    Local,
    Remote,
}
