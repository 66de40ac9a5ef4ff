//! INFO: one text from one plain struct.
//!
//! Whoever answers INFO fills a [`NodeInfo`] from all cores and asks for [`render`]. Names and order of the fields are Redis 7.2's;
//! fields for which Basalt has nothing that could ever count (forks, copy on write, active defragmentation, I/O threads) are
//! present with the value that says so, as monitoring tools look for them. `basalt_version` and the section `shards` are our own.

use super::info_text;
use super::memory::MemoryInfo;
use super::stats::ShardStats;
use crate::replication::status::Status;

/// The version that clients are to take for granted; some gate features on it.
pub const REDIS_VERSION: &str = "7.2.4";

/// What kind of node clients are told they are talking to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Standalone,
    Cluster,
}

impl Mode {
    /// As INFO and HELLO name it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Cluster => "cluster",
        }
    }
}

/// Everything INFO tells.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub server: ServerInfo,
    pub clients: ClientsInfo,
    pub memory: MemoryInfo,
    pub persistence: PersistenceInfo,
    /// Merged over the cores.
    pub stats: ShardStats,
    pub gauges: StatGauges,
    pub replication: ReplicationInfo,
    pub cpu: CpuInfo,
    /// Full names (`config|get`) by dense command index.
    pub command_names: Vec<String>,
    /// `latency-tracking-info-percentiles`.
    pub latency_percentiles: Vec<f64>,
    /// Merged over the cores; see [`merge_databases`].
    pub databases: Vec<DbInfo>,
    /// By core number.
    pub shards: Vec<ShardInfo>,
}

#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    pub basalt_version: String,
    pub git_sha1: String,
    pub git_dirty: bool,
    pub build_id: String,
    pub mode: Mode,
    /// `uname`: system name, release, machine.
    pub os: String,
    pub monotonic_clock: String,
    pub process_id: u32,
    /// `no`, `systemd`, ...
    pub supervised: String,
    /// 40 hex digits, new at every start.
    pub run_id: String,
    pub tcp_port: u16,
    pub time_us: u64,
    pub uptime_seconds: u64,
    pub hz: u64,
    pub configured_hz: u64,
    /// Seconds, modulo 2^24.
    pub lru_clock: u32,
    pub executable: String,
    pub config_file: String,
    /// While a shutdown waits for replicas.
    pub shutdown_in_milliseconds: Option<u64>,
    pub listeners: Vec<Listener>,
}

/// One `listenerN:` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// `tcp`, `unix`, `tls`.
    pub name: String,
    pub bind: Vec<String>,
    /// None for a Unix socket.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Default)]
pub struct ClientsInfo {
    /// Without replicas.
    pub connected: u64,
    pub cluster_connections: u64,
    pub maxclients: u64,
    pub recent_max_input_buffer: u64,
    pub recent_max_output_buffer: u64,
    pub blocked: u64,
    pub tracking: u64,
    pub pubsub: u64,
    pub in_timeout_table: u64,
    pub blocking_keys: u64,
    pub blocking_keys_on_nokey: u64,
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub running_s: u64,
    pub keys_written: u64,
    pub keys: u64,
}

impl SnapshotInfo {
    /// Of two cores together.
    pub fn merge(self, other: SnapshotInfo) -> SnapshotInfo {
        SnapshotInfo {
            running_s: self.running_s.max(other.running_s),
            keys_written: self.keys_written + other.keys_written,
            keys: self.keys + other.keys,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct PersistenceInfo {
    /// Of the snapshot that is being made.
    pub snapshot: Option<SnapshotInfo>,
    /// How long the last one took.
    pub last_snapshot_s: Option<u64>,
    pub changes_since_last_save: u64,
    pub last_save_time: u64,
    pub saves: u64,
    pub load_keys_expired: u64,
    pub load_keys_loaded: u64,
}

/// Momentary figures of the section `stats`; the rest of it are counters.
#[derive(Clone, Debug, Default)]
pub struct StatGauges {
    /// Estimated share of keys that have expired but are still there, in percent.
    pub expired_stale_percent: f64,
    /// How long memory has been above `maxmemory` now.
    pub eviction_exceeded_ms: u64,
    pub pubsub_channels: u64,
    pub pubsub_patterns: u64,
    pub pubsub_shard_channels: u64,
    /// Client-side caching: keys remembered, readers of them, prefixes listened to.
    pub tracking_keys: u64,
    pub tracking_items: u64,
    pub tracking_prefixes: u64,
}

#[derive(Clone, Debug, Default)]
pub struct ReplicationInfo {
    pub status: Status,
    /// Replicas with little enough lag; only with `min-replicas-to-write` on.
    pub good_replicas: Option<u64>,
    /// The directives `replica-priority`, `replica-read-only`, `replica-announced` and `repl-backlog-size`.
    pub priority: u32,
    pub read_only: bool,
    pub announced: bool,
    pub backlog_size: u64,
}

/// `getrusage`, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct CpuInfo {
    pub sys_us: u64,
    pub user_us: u64,
    pub children_sys_us: u64,
    pub children_user_us: u64,
    /// Of the shard executors; Redis names these after its main thread.
    pub executors_sys_us: u64,
    pub executors_user_us: u64,
}

/// One `dbN:` line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DbInfo {
    pub db: usize,
    pub keys: u64,
    pub expires: u64,
    /// Mean over the keys with an expiry.
    pub avg_ttl_ms: u64,
}

/// One `shardN:` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardInfo {
    pub keys: u64,
    pub expires: u64,
    pub connections: u64,
    pub used_memory: u64,
    pub ops_per_second: u64,
    /// Requests that hold or wait for locks of the core's keys.
    pub locks: u64,
    /// Keys of the core that clients watch.
    pub watched_keys: u64,
    /// Everything else comes from the core's own counters.
    pub counters: super::stats::Counters,
}

/// Joins the databases of several cores; those without keys are left out.
pub fn merge_databases(cores: impl IntoIterator<Item = Vec<DbInfo>>) -> Vec<DbInfo> {
    let mut merged: Vec<DbInfo> = Vec::new();
    for info in cores.into_iter().flatten().filter(|info| info.keys > 0) {
        match merged.iter_mut().find(|known| known.db == info.db) {
            None => merged.push(info),
            Some(known) => {
                let total_ms = u128::from(known.avg_ttl_ms) * u128::from(known.expires)
                    + u128::from(info.avg_ttl_ms) * u128::from(info.expires);
                known.keys += info.keys;
                known.expires += info.expires;
                known.avg_ttl_ms = total_ms.checked_div(u128::from(known.expires)).unwrap_or(0) as u64;
            }
        }
    }
    merged.sort_by_key(|info| info.db);
    merged
}

/// A section, in INFO's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    Commandstats,
    Errorstats,
    Latencystats,
    Cluster,
    Keyspace,
    Shards,
}

impl Section {
    pub const ALL: [Section; 14] = [
        Section::Server,
        Section::Clients,
        Section::Memory,
        Section::Persistence,
        Section::Stats,
        Section::Replication,
        Section::Cpu,
        Section::Modules,
        Section::Commandstats,
        Section::Errorstats,
        Section::Latencystats,
        Section::Cluster,
        Section::Keyspace,
        Section::Shards,
    ];

    fn names(self) -> &'static [&'static str] {
        match self {
            Section::Server => &["server"],
            Section::Clients => &["clients"],
            Section::Memory => &["memory"],
            Section::Persistence => &["persistence"],
            Section::Stats => &["stats"],
            Section::Replication => &["replication"],
            Section::Cpu => &["cpu"],
            Section::Modules => &["modules", "module_list"],
            Section::Commandstats => &["commandstats"],
            Section::Errorstats => &["errorstats"],
            Section::Latencystats => &["latencystats"],
            Section::Cluster => &["cluster"],
            Section::Keyspace => &["keyspace"],
            Section::Shards => &["shards"],
        }
    }

    fn in_default(self) -> bool {
        !matches!(self, Section::Commandstats | Section::Latencystats)
    }
}

/// The sections one INFO asks for, by place in [`Section::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections([bool; Section::ALL.len()]);

impl Sections {
    /// From INFO's arguments. Names in any case; names of nothing are ignored, as in Redis, whose modules may add sections.
    pub fn parse<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Sections {
        let mut wanted = Sections::default();
        let mut none = true;
        for arg in args {
            none = false;
            let is = |name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
            if is("all") || is("everything") {
                wanted.add(|_| true);
            } else if is("default") {
                wanted.add(Section::in_default);
            } else {
                wanted.add(|section| section.names().iter().any(|name| is(name)));
            }
        }
        if none {
            wanted.add(Section::in_default);
        }
        wanted
    }

    fn add(&mut self, chosen: impl Fn(Section) -> bool) {
        Section::ALL.into_iter().filter(|section| chosen(*section)).for_each(|section| self.0[section as usize] = true);
    }

    pub fn has(&self, section: Section) -> bool {
        self.0[section as usize]
    }
}

/// The text of INFO: the wanted sections with a blank line between them.
pub fn render(node: &NodeInfo, sections: &Sections) -> String {
    let mut text = String::with_capacity(8 * 1024);
    for section in Section::ALL.into_iter().filter(|section| sections.has(*section)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        info_text::section(&mut text, node, section);
    }
    text
}

/// `967.66K`, as INFO's `_human` fields.
pub fn bytes_to_human(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    for (index, unit) in UNITS.into_iter().enumerate() {
        let shift = 10 * (index as u32 + 1);
        if bytes >> shift < 1024 {
            return format!("{:.2}{unit}", bytes as f64 / (1u64 << shift) as f64);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::CallResult;

    fn parse(args: &[&str]) -> Sections {
        Sections::parse(args.iter().map(|arg| arg.as_bytes()))
    }

    fn node() -> NodeInfo {
        let mut stats = ShardStats::new(3);
        stats.record_call(0, 269_000, CallResult::Ok);
        stats.record_call(1, 6_000, CallResult::Ok);
        stats.record_call(1, 20_000, CallResult::Failed);
        stats.record_rejected(2);
        stats.record_error(b"ERR unknown command");
        NodeInfo {
            server: ServerInfo { basalt_version: "0.1.0".into(), run_id: "a".repeat(40), ..ServerInfo::default() },
            stats,
            command_names: vec!["config|get".into(), "set".into(), "get".into()],
            latency_percentiles: vec![50.0, 99.0, 99.9],
            databases: vec![DbInfo { db: 0, keys: 2, expires: 0, avg_ttl_ms: 0 }],
            shards: vec![ShardInfo { keys: 2, connections: 1, ..ShardInfo::default() }],
            ..NodeInfo::default()
        }
    }

    fn headers(text: &str) -> Vec<&str> {
        text.lines().filter(|line| line.starts_with('#')).collect()
    }

    #[test]
    fn sections_are_selected_as_redis_selects_them() {
        assert_eq!(parse(&[]), parse(&["default"]));
        assert_eq!(parse(&["all"]), parse(&["EVERYTHING"]));
        assert_eq!(parse(&["Default", "commandstats", "latencystats"]), parse(&["all"]));
        assert_eq!(parse(&["module_list"]), parse(&["modules"]));
        assert!(!parse(&[]).has(Section::Commandstats) && parse(&[]).has(Section::Errorstats));
        assert_eq!(render(&node(), &parse(&["nope"])), "");
        let two = render(&node(), &parse(&["keyspace", "cluster", "cluster"]));
        assert_eq!(two, "# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\ndb0:keys=2,expires=0,avg_ttl=0\r\n");
    }

    #[test]
    fn headers_come_in_redis_order() {
        let text = render(&node(), &parse(&["all"]));
        let order = [
            "# Server",
            "# Clients",
            "# Memory",
            "# Persistence",
            "# Stats",
            "# Replication",
            "# CPU",
            "# Modules",
            "# Commandstats",
            "# Errorstats",
            "# Latencystats",
            "# Cluster",
            "# Keyspace",
            "# Shards",
        ];
        assert_eq!(headers(&text), order);
        assert!(text.split("\r\n").all(|line| line.is_empty() || line.starts_with("# ") || line.contains(':')));
        assert!(text.ends_with("\r\n") && !text.ends_with("\r\n\r\n") && !text.contains("\r\n\r\n\r\n"));
    }

    #[test]
    fn command_sections_read_as_redis_prints_them() {
        assert_eq!(
            render(&node(), &parse(&["commandstats", "errorstats", "latencystats"])),
            "# Commandstats\r\n\
             cmdstat_config|get:calls=1,usec=269,usec_per_call=269.00,rejected_calls=0,failed_calls=0\r\n\
             cmdstat_set:calls=2,usec=26,usec_per_call=13.00,rejected_calls=0,failed_calls=1\r\n\
             cmdstat_get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n\r\n\
             # Errorstats\r\nerrorstat_ERR:count=1\r\n\r\n\
             # Latencystats\r\n\
             latency_percentiles_usec_config|get:p50=270.335,p99=270.335,p99.9=270.335\r\n\
             latency_percentiles_usec_set:p50=6.015,p99=20.095,p99.9=20.095\r\n"
        );
    }

    /// Every field of redis-server 7.0.15 is there, in its order; 7.2 and we only add.
    #[test]
    fn fields_and_their_order_are_those_of_redis() {
        let text = render(&node(), &parse(&["all"]));
        let ours: Vec<&str> =
            text.split("\r\n").filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        let mut rest = ours.iter();
        for name in include_str!("info_fields_7.0.15.txt").lines() {
            assert!(rest.any(|our| *our == name), "{name} is missing or out of order");
        }
        assert_eq!(ours.len(), ours.iter().collect::<std::collections::BTreeSet<_>>().len(), "a field is there twice");
    }

    #[test]
    fn listeners_and_versions() {
        let mut node = node();
        node.server.tcp_port = 6379;
        node.server.listeners = vec![
            Listener { name: "tcp".into(), bind: vec!["127.0.0.1".into(), "-::1".into()], port: Some(6379) },
            Listener { name: "unix".into(), bind: vec!["/run/basalt.sock".into()], port: None },
        ];
        let text = render(&node, &parse(&["server"]));
        assert!(text.starts_with("# Server\r\nredis_version:7.2.4\r\nbasalt_version:0.1.0\r\n"));
        assert!(text.ends_with(
            "listener0:name=tcp,bind=127.0.0.1,bind=-::1,port=6379\r\nlistener1:name=unix,bind=/run/basalt.sock\r\n"
        ));
    }

    #[test]
    fn databases_of_cores_are_joined() {
        let core = |keys, expires, avg_ttl_ms| vec![DbInfo { db: 1, keys, expires, avg_ttl_ms }, DbInfo::default()];
        let merged = merge_databases([core(10, 1, 100), core(5, 3, 500), core(1, 0, 0)]);
        assert_eq!(merged, [DbInfo { db: 1, keys: 16, expires: 4, avg_ttl_ms: 400 }]);
    }

    #[test]
    fn human_sizes() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (990_888, "967.66K"), (7_135_232, "6.80M"), (25_276_502_016, "23.54G")]
        {
            assert_eq!(bytes_to_human(bytes), text);
        }
    }
}
