//! The lines of each INFO section.

use std::fmt::Write;

use super::info::{Mode, NodeInfo, REDIS_VERSION, Section, ServerInfo, bytes_to_human};
use super::replication_text;

/// Appends `name:value` lines. Writing to a `String` cannot fail, so the results are dropped.
macro_rules! lines {
    ($text:expr, $($name:literal: $format:literal $(, $value:expr)*;)*) => {
        $(let _ = write!($text, concat!($name, ":", $format, "\r\n") $(, $value)*);)*
    };
}

/// Appends one section with its header.
pub fn section(text: &mut String, node: &NodeInfo, section: Section) {
    match section {
        Section::Server => server(text, &node.server),
        Section::Clients => clients(text, node),
        Section::Memory => memory(text, node),
        Section::Persistence => persistence(text, node),
        Section::Stats => stats(text, node),
        Section::Replication => replication_text::section(text, &node.replication),
        Section::Cpu => cpu(text, node),
        Section::Modules => text.push_str("# Modules\r\n"),
        Section::Commandstats => commandstats(text, node),
        Section::Errorstats => errorstats(text, node),
        Section::Latencystats => latencystats(text, node),
        Section::Cluster => cluster(text, node),
        Section::Keyspace => keyspace(text, node),
        Section::Shards => shards(text, node),
    }
}

fn server(text: &mut String, server: &ServerInfo) {
    text.push_str("# Server\r\n");
    lines!(text,
        "redis_version": "{}", REDIS_VERSION;
        "basalt_version": "{}", server.basalt_version;
        "redis_git_sha1": "{}", server.git_sha1;
        "redis_git_dirty": "{}", u8::from(server.git_dirty);
        "redis_build_id": "{}", server.build_id;
        "redis_mode": "{}", server.mode.name();
        "os": "{}", server.os;
        "arch_bits": "{}", usize::BITS;
        "monotonic_clock": "{}", server.monotonic_clock;
        "multiplexing_api": "io_uring";
        "atomicvar_api": "rust-core-atomic";
        "process_id": "{}", server.process_id;
        "process_supervised": "{}", server.supervised;
        "run_id": "{}", server.run_id;
        "tcp_port": "{}", server.tcp_port;
        "server_time_usec": "{}", server.time_us;
        "uptime_in_seconds": "{}", server.uptime_seconds;
        "uptime_in_days": "{}", server.uptime_seconds / (24 * 3600);
        "hz": "{}", server.hz;
        "configured_hz": "{}", server.configured_hz;
        "lru_clock": "{}", server.lru_clock;
        "executable": "{}", server.executable;
        "config_file": "{}", server.config_file;
        "io_threads_active": "0";
    );
    if let Some(ms) = server.shutdown_in_milliseconds {
        lines!(text, "shutdown_in_milliseconds": "{}", ms;);
    }
    for (index, listener) in server.listeners.iter().enumerate() {
        let _ = write!(text, "listener{index}:name={}", listener.name);
        for bind in &listener.bind {
            let _ = write!(text, ",bind={bind}");
        }
        if let Some(port) = listener.port {
            let _ = write!(text, ",port={port}");
        }
        text.push_str("\r\n");
    }
}

fn clients(text: &mut String, node: &NodeInfo) {
    let clients = &node.clients;
    text.push_str("# Clients\r\n");
    lines!(text,
        "connected_clients": "{}", clients.connected;
        "cluster_connections": "{}", clients.cluster_connections;
        "maxclients": "{}", clients.maxclients;
        "client_recent_max_input_buffer": "{}", clients.recent_max_input_buffer;
        "client_recent_max_output_buffer": "{}", clients.recent_max_output_buffer;
        "blocked_clients": "{}", clients.blocked;
        "tracking_clients": "{}", clients.tracking;
        "pubsub_clients": "{}", clients.pubsub;
        "clients_in_timeout_table": "{}", clients.in_timeout_table;
        "total_blocking_keys": "{}", clients.blocking_keys;
        "total_blocking_keys_on_nokey": "{}", clients.blocking_keys_on_nokey;
    );
}

fn memory(text: &mut String, node: &NodeInfo) {
    let memory = &node.memory;
    let human = bytes_to_human;
    text.push_str("# Memory\r\n");
    lines!(text,
        "used_memory": "{}", memory.used;
        "used_memory_human": "{}", human(memory.used);
        "used_memory_rss": "{}", memory.rss;
        "used_memory_rss_human": "{}", human(memory.rss);
        "used_memory_peak": "{}", memory.peak_so_far();
        "used_memory_peak_human": "{}", human(memory.peak_so_far());
        "used_memory_peak_perc": "{:.2}%", memory.peak_percent();
        "used_memory_overhead": "{}", memory.overhead();
        "used_memory_startup": "{}", memory.startup;
        "used_memory_dataset": "{}", memory.dataset();
        "used_memory_dataset_perc": "{:.2}%", memory.dataset_percent();
        "allocator_allocated": "{}", memory.allocator_allocated;
        "allocator_active": "{}", memory.allocator_active;
        "allocator_resident": "{}", memory.allocator_resident;
        "total_system_memory": "{}", memory.total_system;
        "total_system_memory_human": "{}", human(memory.total_system);
        // No scripts, no functions: nothing that could use memory for them.
        "used_memory_lua": "0";
        "used_memory_vm_eval": "0";
        "used_memory_lua_human": "0B";
        "used_memory_scripts_eval": "0";
        "number_of_cached_scripts": "0";
        "number_of_functions": "0";
        "number_of_libraries": "0";
        "used_memory_vm_functions": "0";
        "used_memory_vm_total": "0";
        "used_memory_vm_total_human": "0B";
        "used_memory_functions": "0";
        "used_memory_scripts": "0";
        "used_memory_scripts_human": "0B";
        "maxmemory": "{}", memory.maxmemory;
        "maxmemory_human": "{}", human(memory.maxmemory);
        "maxmemory_policy": "{}", memory.maxmemory_policy;
        "allocator_frag_ratio": "{:.2}", memory.allocator_frag().0;
        "allocator_frag_bytes": "{}", memory.allocator_frag().1;
        "allocator_rss_ratio": "{:.2}", memory.allocator_rss().0;
        "allocator_rss_bytes": "{}", memory.allocator_rss().1;
        "rss_overhead_ratio": "{:.2}", memory.rss_overhead().0;
        "rss_overhead_bytes": "{}", memory.rss_overhead().1;
        "mem_fragmentation_ratio": "{:.2}", memory.fragmentation().0;
        "mem_fragmentation_bytes": "{}", memory.fragmentation().1;
        "mem_not_counted_for_evict": "{}", memory.not_counted_for_evict;
        "mem_replication_backlog": "{}", memory.replication_backlog;
        "mem_total_replication_buffers": "{}", memory.replication_buffers;
        "mem_clients_slaves": "{}", memory.clients_replicas;
        "mem_clients_normal": "{}", memory.clients_normal;
        "mem_cluster_links": "{}", memory.cluster_links;
        "mem_aof_buffer": "{}", memory.aof_buffer;
        "mem_allocator": "{}", memory.allocator;
        "active_defrag_running": "0";
        "lazyfree_pending_objects": "{}", memory.lazyfree_pending_objects;
        "lazyfreed_objects": "{}", memory.lazyfreed_objects;
    );
}

fn persistence(text: &mut String, node: &NodeInfo) {
    let (persistence, load) = (&node.persistence, &node.replication.status.loading);
    let snapshot = persistence.snapshot.unwrap_or_default();
    let seconds = |seconds: Option<u64>| seconds.map_or(-1, |seconds| seconds as i64);
    text.push_str("# Persistence\r\n");
    lines!(text,
        "loading": "{}", u8::from(load.as_ref().is_some_and(|load| !load.is_async));
        "async_loading": "{}", u8::from(load.as_ref().is_some_and(|load| load.is_async));
        // A snapshot never forks, so nothing is ever copied on write.
        "current_cow_peak": "0";
        "current_cow_size": "0";
        "current_cow_size_age": "0";
        "current_fork_perc": "0.00";
        "current_save_keys_processed": "{}", snapshot.keys_written;
        "current_save_keys_total": "{}", snapshot.keys;
        "rdb_changes_since_last_save": "{}", persistence.changes_since_last_save;
        "rdb_bgsave_in_progress": "{}", u8::from(persistence.snapshot.is_some());
        "rdb_last_save_time": "{}", persistence.last_save_time;
        "rdb_last_bgsave_status": "ok";
        "rdb_last_bgsave_time_sec": "{}", seconds(persistence.last_snapshot_s);
        "rdb_current_bgsave_time_sec": "{}", seconds(persistence.snapshot.map(|snapshot| snapshot.running_s));
        "rdb_saves": "{}", persistence.saves;
        "rdb_last_cow_size": "0";
        "rdb_last_load_keys_expired": "{}", persistence.load_keys_expired;
        "rdb_last_load_keys_loaded": "{}", persistence.load_keys_loaded;
        "aof_enabled": "0";
        "aof_rewrite_in_progress": "0";
        "aof_rewrite_scheduled": "0";
        "aof_last_rewrite_time_sec": "-1";
        "aof_current_rewrite_time_sec": "-1";
        "aof_last_bgrewrite_status": "ok";
        "aof_rewrites": "0";
        "aof_rewrites_consecutive_failures": "0";
        "aof_last_write_status": "ok";
        "aof_last_cow_size": "0";
        "module_fork_in_progress": "0";
        "module_fork_last_cow_size": "0";
    );
    if let Some(load) = load {
        replication_text::loading(text, load, node.server.time_us / 1000);
    }
}

fn stats(text: &mut String, node: &NodeInfo) {
    let (counters, rates, gauges) = (&node.stats.counters, &node.stats.rates, &node.gauges);
    let links = &node.replication.status.counters;
    let kbps = |bytes: u64| bytes as f64 / 1024.0;
    text.push_str("# Stats\r\n");
    lines!(text,
        "total_connections_received": "{}", counters.connections_received;
        "total_commands_processed": "{}", counters.commands_processed;
        "instantaneous_ops_per_sec": "{}", rates.commands.per_second();
        "total_net_input_bytes": "{}", counters.net_input_bytes + links.input_bytes;
        "total_net_output_bytes": "{}", counters.net_output_bytes + links.output_bytes;
        "total_net_repl_input_bytes": "{}", links.input_bytes;
        "total_net_repl_output_bytes": "{}", links.output_bytes;
        "instantaneous_input_kbps": "{:.2}", kbps(rates.input_bytes.per_second() + links.input_rate);
        "instantaneous_output_kbps": "{:.2}", kbps(rates.output_bytes.per_second() + links.output_rate);
        "instantaneous_input_repl_kbps": "{:.2}", kbps(links.input_rate);
        "instantaneous_output_repl_kbps": "{:.2}", kbps(links.output_rate);
        "rejected_connections": "{}", counters.connections_rejected;
        "sync_full": "{}", links.sync_full;
        "sync_partial_ok": "{}", links.sync_partial_ok;
        "sync_partial_err": "{}", links.sync_partial_err;
        "expired_keys": "{}", counters.expired_keys;
        "expired_subkeys": "{}", counters.expired_fields;
        "expired_stale_perc": "{:.2}", gauges.expired_stale_percent;
        "expired_time_cap_reached_count": "{}", counters.expired_time_cap_reached;
        "expire_cycle_cpu_milliseconds": "{}", counters.expire_cycle_nanos / 1_000_000;
        "evicted_keys": "{}", counters.evicted_keys;
        "evicted_clients": "{}", counters.evicted_clients;
        "total_eviction_exceeded_time": "{}", counters.eviction_exceeded_nanos / 1_000_000 + gauges.eviction_exceeded_ms;
        "current_eviction_exceeded_time": "{}", gauges.eviction_exceeded_ms;
        "keyspace_hits": "{}", counters.keyspace_hits;
        "keyspace_misses": "{}", counters.keyspace_misses;
        "pubsub_channels": "{}", gauges.pubsub_channels;
        "pubsub_patterns": "{}", gauges.pubsub_patterns;
        "pubsubshard_channels": "{}", gauges.pubsub_shard_channels;
        "latest_fork_usec": "0";
        "total_forks": "0";
        "migrate_cached_sockets": "0";
        "slave_expires_tracked_keys": "0";
        "active_defrag_hits": "0";
        "active_defrag_misses": "0";
        "active_defrag_key_hits": "0";
        "active_defrag_key_misses": "0";
        "total_active_defrag_time": "0";
        "current_active_defrag_time": "0";
        "tracking_total_keys": "{}", gauges.tracking_keys;
        "tracking_total_items": "{}", gauges.tracking_items;
        "tracking_total_prefixes": "{}", gauges.tracking_prefixes;
        "unexpected_error_replies": "{}", links.unexpected_errors;
        "total_error_replies": "{}", counters.error_replies;
        "dump_payload_sanitizations": "{}", counters.dump_payload_sanitizations;
        "total_reads_processed": "{}", counters.reads_processed;
        "total_writes_processed": "{}", counters.writes_processed;
        "io_threaded_reads_processed": "0";
        "io_threaded_writes_processed": "0";
        // From Redis 7.4; where they stand there.
        "client_query_buffer_limit_disconnections": "{}", counters.query_buffer_limit_disconnections;
        "client_output_buffer_limit_disconnections": "{}", counters.output_buffer_limit_disconnections + links.output_limit_disconnections;
        "reply_buffer_shrinks": "0";
        "reply_buffer_expands": "0";
        "eventloop_cycles": "{}", counters.ticks;
        "eventloop_duration_sum": "{}", counters.tick_nanos / 1000;
        "eventloop_duration_cmd_sum": "{}", counters.command_nanos / 1000;
        "instantaneous_eventloop_cycles_per_sec": "{}", rates.ticks.per_second();
        "instantaneous_eventloop_duration_usec": "{}", mean_tick_us(rates.tick_nanos.per_second(), rates.ticks.per_second());
        "acl_access_denied_auth": "{}", counters.auth_denied;
        "acl_access_denied_cmd": "{}", counters.command_denied;
        "acl_access_denied_key": "{}", counters.key_denied;
        "acl_access_denied_channel": "{}", counters.channel_denied;
    );
}

fn mean_tick_us(nanos_per_second: u64, ticks_per_second: u64) -> u64 {
    nanos_per_second.checked_div(ticks_per_second).unwrap_or(0) / 1000
}

fn cpu(text: &mut String, node: &NodeInfo) {
    let cpu = &node.cpu;
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.push_str("# CPU\r\n");
    lines!(text,
        "used_cpu_sys": "{}", seconds(cpu.sys_us);
        "used_cpu_user": "{}", seconds(cpu.user_us);
        "used_cpu_sys_children": "{}", seconds(cpu.children_sys_us);
        "used_cpu_user_children": "{}", seconds(cpu.children_user_us);
        "used_cpu_sys_main_thread": "{}", seconds(cpu.executors_sys_us);
        "used_cpu_user_main_thread": "{}", seconds(cpu.executors_user_us);
    );
}

/// Names and counters of the commands for which `wanted` holds.
fn commands<'a>(
    node: &'a NodeInfo,
    wanted: impl Fn(&super::stats::CommandStats) -> bool + 'a,
) -> impl Iterator<Item = (&'a str, &'a super::stats::CommandStats)> {
    let all = node.command_names.iter().map(String::as_str).zip(node.stats.commands());
    all.filter(move |(_, stats)| wanted(stats))
}

fn commandstats(text: &mut String, node: &NodeInfo) {
    text.push_str("# Commandstats\r\n");
    for (name, stats) in commands(node, |stats| stats.calls + stats.rejected_calls + stats.failed_calls > 0) {
        let per_call = if stats.calls == 0 { 0.0 } else { stats.nanos as f64 / 1000.0 / stats.calls as f64 };
        let _ = write!(
            text,
            "cmdstat_{name}:calls={},usec={},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}\r\n",
            stats.calls,
            stats.micros(),
            stats.rejected_calls,
            stats.failed_calls
        );
    }
}

fn errorstats(text: &mut String, node: &NodeInfo) {
    text.push_str("# Errorstats\r\n");
    for (code, count) in node.stats.errors.sorted() {
        let _ = write!(text, "errorstat_{}:count={count}\r\n", safe_name(code));
    }
}

/// A client can have a say in an error code; it must not be able to forge lines of INFO.
fn safe_name(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().map(|c| if matches!(c, '#' | ':' | '\n' | '\r') { '_' } else { c }).collect()
}

fn latencystats(text: &mut String, node: &NodeInfo) {
    text.push_str("# Latencystats\r\n");
    for (name, stats) in commands(node, |stats| !stats.latency.is_empty()) {
        let _ = write!(text, "latency_percentiles_usec_{name}:");
        for (index, percent) in node.latency_percentiles.iter().enumerate() {
            let micros = stats.latency.percentile_nanos(*percent) as f64 / 1000.0;
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(text, "{comma}p{}={micros:.3}", percent_name(*percent));
        }
        text.push_str("\r\n");
    }
}

/// `99.9`: six digits behind the point at most, no zeros at the end.
fn percent_name(percent: f64) -> String {
    let digits = format!("{percent:.6}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn cluster(text: &mut String, node: &NodeInfo) {
    text.push_str("# Cluster\r\n");
    lines!(text, "cluster_enabled": "{}", u8::from(node.server.mode == Mode::Cluster););
}

fn keyspace(text: &mut String, node: &NodeInfo) {
    text.push_str("# Keyspace\r\n");
    for db in &node.databases {
        let _ = write!(text, "db{}:keys={},expires={},avg_ttl={}\r\n", db.db, db.keys, db.expires, db.avg_ttl_ms);
    }
}

fn shards(text: &mut String, node: &NodeInfo) {
    text.push_str("# Shards\r\n");
    for (index, shard) in node.shards.iter().enumerate() {
        let counters = &shard.counters;
        let _ = write!(
            text,
            "shard{index}:keys={},expires={},connections={},used_memory={},commands={},ops_per_sec={},\
             remote_commands_sent={},remote_commands_executed={},messages_sent={},batches_sent={},\
             ticks={},ring_enters={},parks={},wakeups_sent={},transactions={},transactions_refused={},\
             transactions_waited={},lock_waits={},locks={},watched_keys={},net_input_bytes={},net_output_bytes={},\
             snapshot_walked_segments={},snapshot_forced_keys={},snapshot_bytes={}\r\n",
            shard.keys,
            shard.expires,
            shard.connections,
            shard.used_memory,
            counters.commands_processed,
            shard.ops_per_second,
            counters.remote_commands_sent,
            counters.remote_commands_executed,
            counters.messages_sent,
            counters.batches_sent,
            counters.ticks,
            counters.ring_enters,
            counters.parks,
            counters.wakeups_sent,
            counters.transactions,
            counters.transactions_refused,
            counters.transactions_waited,
            counters.lock_waits,
            shard.locks,
            shard.watched_keys,
            counters.net_input_bytes,
            counters.net_output_bytes,
            counters.snapshot_walked_segments,
            counters.snapshot_forced_keys,
            counters.snapshot_bytes,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_names() {
        for (percent, name) in [(50.0, "50"), (99.9, "99.9"), (100.0, "100"), (0.0, "0"), (99.99999, "99.99999")] {
            assert_eq!(percent_name(percent), name);
        }
    }

    #[test]
    fn error_codes_cannot_forge_lines() {
        assert_eq!(safe_name(b"A:b\r\n#c"), "A_b___c");
    }
}
