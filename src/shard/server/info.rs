//! INFO and MEMORY: one picture of the node from what every core reports.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::replication;
use crate::commands::Error;
use crate::commands::lookup::CommandId;
use crate::config::Config;
use crate::observe::info::{
    self, ClientsInfo, CpuInfo, DbInfo, Listener, NodeInfo, PersistenceInfo, ReplicationInfo, Sections, ServerInfo,
    ShardInfo, SnapshotInfo, StatGauges,
};
use crate::observe::memory::{self as memory_report, DbOverhead, MemoryInfo, ThreadAllocations};
use crate::observe::stats::ShardStats;
use crate::pubsub::Kind;
use crate::replication::status::{LinkState, Status};
use crate::resp::Out;
use crate::runtime::{clock, memory};
use crate::shard::fanout::{Call, written};
use crate::shard::{Connection, Shard, ShardIo};

/// What one core reports.
struct Report {
    stats: ShardStats,
    databases: Vec<DbInfo>,
    overhead: Vec<DbOverhead>,
    locks: usize,
    watched_keys: usize,
    clients: usize,
    blocked: usize,
    with_timeout: usize,
    blocking_keys: usize,
    client_bytes: u64,
    max_input: u64,
    max_output: u64,
    stale_basis_points: u64,
    changes: u64,
    garbage: usize,
    snapshot: Option<SnapshotInfo>,
    last_snapshot_s: Option<u64>,
    subscribers: usize,
    tracking_clients: usize,
    tracked_keys: usize,
    tracked_items: usize,
}

pub async fn info(call: Rc<Call>) -> Result<Out, Error> {
    let sections = Sections::parse(call.args().iter_from(1));
    let node = gather(&call).await?;
    written(call.proto, |out| {
        out.verbatim(&info::render(&node, &sections));
        Ok(())
    })
}

pub async fn memory(call: Rc<Call>, id: CommandId) -> Result<Out, Error> {
    let name = call.here(|shard, _| shard.commands.get(id).name);
    if name == "purge" {
        call.on_all(|_, _| memory::release()).await;
        return call.ok();
    }
    let figures = gather(&call).await?.memory;
    written(call.proto, |out| {
        match name {
            "stats" => memory_report::write_stats(out, &figures),
            "doctor" => out.verbatim(&memory_report::doctor(&figures)),
            "malloc-stats" => out.verbatim(&memory_report::malloc_stats(&figures, &threads())),
            _ => return Err(Error::Syntax),
        }
        Ok(())
    })
}

/// Asks every core and puts the picture together.
async fn gather(call: &Call) -> Result<NodeInfo, Error> {
    let status = replication::status(call).await?;
    let reports = call.on_all(|shard, io| shard.report(io)).await;
    Ok(call.here(|shard, _| shard.node_info(&reports, status)))
}

impl Shard {
    /// Full names by dense command index.
    pub(super) fn command_names(&self) -> Vec<String> {
        (0..self.commands.count()).map(|id| self.commands.full_name(CommandId(id as u16)).to_owned()).collect()
    }

    fn report(&mut self, io: &mut ShardIo) -> Report {
        let now_ms = self.now_ms;
        let mut stats = self.stats.clone();
        let keys = self.keyspace.stats();
        stats.counters.keyspace_hits += keys.hits;
        stats.counters.keyspace_misses += keys.misses;
        stats.counters.expired_keys += keys.expired;
        stats.counters.expired_fields += keys.expired_fields;
        stats.counters.evicted_keys += keys.evicted;
        stats.counters.ring_enters += io.counters.enters;
        stats.counters.ticks += io.counters.ticks;
        stats.counters.parks += io.counters.parks;
        stats.counters.wakeups_sent += io.counters.wake_ups_sent;
        stats.counters.messages_sent += io.counters.messages_sent;
        let mut report = Report {
            stats,
            databases: Vec::new(),
            overhead: Vec::new(),
            locks: self.locks.len(),
            watched_keys: self.watches.len(),
            clients: 0,
            blocked: self.blocked.len(),
            with_timeout: self.blocked.with_timeout(),
            blocking_keys: self.waiters.keys(),
            client_bytes: 0,
            max_input: 0,
            max_output: 0,
            stale_basis_points: keys.expired_stale_basis_points,
            changes: self.changes,
            garbage: self.waiting_to_be_freed(),
            snapshot: self.snapshot_info(),
            last_snapshot_s: self.last_snapshot_s(),
            subscribers: self.pubsub.registry.clients(),
            tracking_clients: self.caching.clients,
            tracked_keys: self.caching.table.keys(),
            tracked_items: self.caching.table.items(),
        };
        for db in 0..self.keyspace.databases() {
            let stats = self.keyspace.db_stats(db, now_ms);
            report.databases.push(DbInfo {
                db,
                keys: stats.keys as u64,
                expires: stats.expires as u64,
                avg_ttl_ms: stats.average_ttl_ms,
            });
            if stats.keys > 0 {
                let table_bytes = self.keyspace.overhead_bytes(db) as u64;
                report.overhead.push(DbOverhead { db, table_bytes, expires_bytes: 8 * stats.expires as u64 });
            }
        }
        for Connection { input, client } in self.clients() {
            let held = (input.bytes.capacity() + input.parser.held_bytes()) as u64;
            let output = client.output_bytes() as u64;
            report.clients += 1;
            report.client_bytes += size_of::<Connection>() as u64 + held + output;
            report.max_input = report.max_input.max(held);
            report.max_output = report.max_output.max(output);
        }
        report
    }

    fn node_info(&self, reports: &[Report], status: Status) -> NodeInfo {
        let mut stats = ShardStats::new(self.commands.count());
        for report in reports {
            stats.merge(&report.stats);
        }
        let total = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        let config: &Config = &self.config;
        NodeInfo {
            server: self.server_info(),
            clients: ClientsInfo {
                // As in Redis, a primary is a client of its replica.
                connected: total(|report| report.clients as u64) + u64::from(has_primary(&status)),
                maxclients: config.maxclients.into(),
                pubsub: total(|report| report.subscribers as u64),
                recent_max_input_buffer: reports.iter().map(|report| report.max_input).max().unwrap_or(0),
                recent_max_output_buffer: reports.iter().map(|report| report.max_output).max().unwrap_or(0),
                tracking: total(|report| report.tracking_clients as u64),
                blocked: total(|report| report.blocked as u64),
                in_timeout_table: total(|report| report.with_timeout as u64),
                blocking_keys: total(|report| report.blocking_keys as u64),
                ..ClientsInfo::default()
            },
            memory: self.memory_info(reports, &status),
            persistence: PersistenceInfo {
                changes_since_last_save: total(|report| report.changes),
                last_save_time: self.shared.last_save_s,
                snapshot: reports.iter().filter_map(|report| report.snapshot).reduce(SnapshotInfo::merge),
                last_snapshot_s: reports.iter().filter_map(|report| report.last_snapshot_s).max(),
                ..PersistenceInfo::default()
            },
            gauges: StatGauges {
                expired_stale_percent: total(|report| report.stale_basis_points) as f64 / 100.0 / reports.len() as f64,
                pubsub_channels: self.pubsub.registry.names(Kind::Channel).len() as u64,
                pubsub_patterns: self.pubsub.registry.names(Kind::Pattern).len() as u64,
                pubsub_shard_channels: self.pubsub.registry.names(Kind::ShardChannel).len() as u64,
                tracking_keys: total(|report| report.tracked_keys as u64),
                tracking_items: total(|report| report.tracked_items as u64),
                // Every core knows all of them.
                tracking_prefixes: self.caching.prefixes.len() as u64,
                ..StatGauges::default()
            },
            replication: self.replication_info(status),
            cpu: cpu_info(),
            command_names: self.command_names(),
            latency_percentiles: config.latency_tracking_info_percentiles.clone(),
            databases: info::merge_databases(reports.iter().map(|report| report.databases.clone())),
            shards: reports.iter().map(shard_info).collect(),
            stats,
        }
    }

    fn replication_info(&self, status: Status) -> ReplicationInfo {
        let config: &Config = &self.config;
        let counts = config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0;
        ReplicationInfo {
            good_replicas: counts.then(|| self.shared.good_replicas.load(Ordering::Relaxed) as u64),
            priority: config.replica_priority,
            read_only: config.replica_read_only,
            announced: config.replica_announced,
            backlog_size: config.repl_backlog_size,
            status,
        }
    }

    fn server_info(&self) -> ServerInfo {
        let config: &Config = &self.config;
        let now_us = clock::unix_us();
        let hz = u64::from(config.hz.clamp(1, 500));
        let mut listeners = Vec::new();
        if config.port != 0 {
            let bind = config.bind.iter().map(ToString::to_string).collect();
            listeners.push(Listener { name: "tcp".into(), bind, port: Some(config.port) });
        }
        if !config.unixsocket.is_empty() {
            listeners.push(Listener { name: "unix".into(), bind: vec![config.unixsocket.clone()], port: None });
        }
        ServerInfo {
            basalt_version: env!("CARGO_PKG_VERSION").into(),
            mode: self.mode(),
            os: operating_system(),
            monotonic_clock: if cfg!(target_arch = "x86_64") { "X86 TSC" } else { "POSIX clock_gettime" }.into(),
            process_id: std::process::id(),
            supervised: config.supervised.name().into(),
            run_id: self.shared.run_id.clone(),
            tcp_port: config.port,
            time_us: now_us,
            uptime_seconds: self.shared.started.elapsed().as_secs(),
            hz,
            configured_hz: config.hz.into(),
            lru_clock: (now_us / 1_000_000) as u32 & 0x00ff_ffff,
            executable: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
            config_file: config.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            listeners,
            ..ServerInfo::default()
        }
    }

    fn memory_info(&self, reports: &[Report], status: &Status) -> MemoryInfo {
        let used = memory::used_bytes() as u64;
        let rss = memory::resident_bytes().unwrap_or(0) as u64;
        let mut databases: Vec<DbOverhead> = Vec::new();
        for part in reports.iter().flat_map(|report| &report.overhead) {
            match databases.iter_mut().find(|known| known.db == part.db) {
                Some(known) => {
                    known.table_bytes += part.table_bytes;
                    known.expires_bytes += part.expires_bytes;
                }
                None => databases.push(*part),
            }
        }
        databases.sort_by_key(|database| database.db);
        MemoryInfo {
            used,
            rss,
            peak: memory::peak_bytes() as u64,
            startup: self.shared.startup_memory.load(Ordering::Relaxed) as u64,
            allocator_allocated: used,
            allocator_active: rss,
            allocator_resident: rss,
            total_system: total_system_bytes(),
            maxmemory: self.config.maxmemory,
            maxmemory_policy: self.config.maxmemory_policy.name(),
            allocator: "mimalloc",
            replication_backlog: status.backlog.map_or(0, |backlog| backlog.bytes as u64),
            replication_buffers: (status.replicas_bytes + status.backlog.map_or(0, |backlog| backlog.bytes)) as u64,
            clients_replicas: status.replicas_bytes as u64,
            not_counted_for_evict: status.replicas_bytes as u64,
            replicas: status.replicas.len() as u64,
            clients_normal: reports.iter().map(|report| report.client_bytes).sum(),
            lazyfree_pending_objects: reports.iter().map(|report| report.garbage as u64).sum(),
            lazyfreed_objects: reports.iter().map(|report| report.stats.counters.lazyfreed_objects).sum(),
            keys: reports.iter().flat_map(|report| &report.databases).map(|database| database.keys).sum(),
            databases,
            clients: reports.iter().map(|report| report.clients as u64).sum(),
            ..MemoryInfo::default()
        }
    }
}

fn has_primary(status: &Status) -> bool {
    status.link.as_ref().is_some_and(|link| link.state == LinkState::Connected)
}

fn shard_info(report: &Report) -> ShardInfo {
    ShardInfo {
        keys: report.databases.iter().map(|database| database.keys).sum(),
        expires: report.databases.iter().map(|database| database.expires).sum(),
        connections: report.clients as u64,
        used_memory: report.overhead.iter().map(|database| database.table_bytes).sum(),
        ops_per_second: report.stats.rates.commands.per_second(),
        locks: report.locks as u64,
        watched_keys: report.watched_keys as u64,
        counters: report.stats.counters.clone(),
    }
}

fn threads() -> Vec<ThreadAllocations> {
    memory::by_thread()
        .into_iter()
        .enumerate()
        .map(|(number, bytes)| ThreadAllocations { thread: format!("thread{number}"), net_bytes: bytes })
        .collect()
}

fn operating_system() -> String {
    // SAFETY: fills a live local; its fields are then terminated strings.
    let name = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        name
    };
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    format!("{} {} {}", text(&name.sysname), text(&name.release), text(&name.machine))
}

fn total_system_bytes() -> u64 {
    // SAFETY: plain calls; a negative answer means unknown.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(size).unwrap_or(0)
}

fn cpu_info() -> CpuInfo {
    let usage = |who: libc::c_int| {
        // SAFETY: fills a live local.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(who, &mut usage);
            usage
        };
        let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
        (micros(usage.ru_stime), micros(usage.ru_utime))
    };
    let (sys_us, user_us) = usage(libc::RUSAGE_SELF);
    let (children_sys_us, children_user_us) = usage(libc::RUSAGE_CHILDREN);
    CpuInfo { sys_us, user_us, children_sys_us, children_user_us, executors_sys_us: sys_us, executors_user_us: user_us }
}
