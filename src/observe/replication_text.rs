//! INFO's section on replication, and the part of the section on persistence that is about loading. Fields and their order are Redis's.

use std::fmt::Write;

use super::info::ReplicationInfo;
use crate::replication::status::{LinkState, LinkStatus, LoadingStatus, ReplicaState, Status};

/// Of a node that never had another.
const NO_ID: &str = "0000000000000000000000000000000000000000";

/// Appends `name:value` lines. Writing to a `String` cannot fail, so the results are dropped.
macro_rules! lines {
    ($text:expr, $($name:literal: $value:expr;)*) => {
        $(let _ = write!($text, concat!($name, ":{}\r\n"), $value);)*
    };
}

/// Appends the section with its header.
pub fn section(text: &mut String, replication: &ReplicationInfo) {
    let status = &replication.status;
    text.push_str("# Replication\r\n");
    lines!(text, "role": if status.link.is_some() { "slave" } else { "master" };);
    if let Some(link) = &status.link {
        write_link(text, replication, status, link);
    }
    lines!(text, "connected_slaves": status.replicas.len(););
    if let Some(good) = replication.good_replicas {
        lines!(text, "min_slaves_good_slaves": good;);
    }
    for (index, replica) in status.replicas.iter().enumerate() {
        let lag = if replica.state == ReplicaState::Online { replica.lag_s } else { 0 };
        let _ = write!(
            text,
            "slave{index}:ip={},port={},state={},offset={},lag={lag}\r\n",
            replica.ip,
            replica.port,
            replica.state.name(),
            replica.offset,
        );
    }
    let second = status.second_id.as_ref();
    let backlog = status.backlog.unwrap_or_default();
    lines!(text,
        "master_failover_state": status.failover.name();
        "master_replid": status.id;
        "master_replid2": second.map_or(NO_ID, |(id, _)| id.as_str());
        "master_repl_offset": status.offset;
        "second_repl_offset": second.map_or(-1, |(_, offset)| *offset as i64);
        "repl_backlog_active": u8::from(status.backlog.is_some());
        "repl_backlog_size": replication.backlog_size;
        "repl_backlog_first_byte_offset": backlog.first_offset;
        "repl_backlog_histlen": backlog.length;
    );
}

fn write_link(text: &mut String, replication: &ReplicationInfo, status: &Status, link: &LinkStatus) {
    let is_up = link.state == LinkState::Connected;
    // Without a link the node stands where the last one has left it.
    let applied = link.applied_offset.max(status.offset);
    lines!(text,
        "master_host": link.host;
        "master_port": link.port;
        "master_link_status": if is_up { "up" } else { "down" };
        "master_last_io_seconds_ago": if is_up { link.last_io_s } else { -1 };
        "master_sync_in_progress": u8::from(link.sync.is_some());
        "slave_read_repl_offset": link.read_offset.max(applied);
        "slave_repl_offset": applied;
    );
    if let Some((total, read, idle_s)) = link.sync {
        // A snapshot that ends with a mark does not say how long it is.
        let total = total.max(0);
        lines!(text,
            "master_sync_total_bytes": total;
            "master_sync_read_bytes": read;
            "master_sync_left_bytes": total - read as i64;
            "master_sync_perc": format_args!("{:.2}", percent(read, total as u64));
            "master_sync_last_io_seconds_ago": idle_s;
        );
    }
    if !is_up {
        lines!(text, "master_link_down_since_seconds": link.down_since_s;);
    }
    lines!(text,
        "slave_priority": replication.priority;
        "slave_read_only": u8::from(replication.read_only);
        "replica_announced": u8::from(replication.announced);
    );
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// The lines on the load that is under way; `now_ms` is Unix time.
pub fn loading(text: &mut String, loading: &LoadingStatus, now_ms: u64) {
    let (total, loaded) = (loading.total_bytes, loading.loaded_bytes);
    let elapsed_s = (now_ms.saturating_sub(loading.started_ms)) / 1000;
    let eta_s = match elapsed_s {
        // Too early to tell.
        0 => 1,
        // As Redis, which counts with a byte more than none left where the size is not known.
        _ if total == 0 => elapsed_s / (loaded + 1),
        _ => elapsed_s.saturating_mul(total.saturating_sub(loaded)) / (loaded + 1),
    };
    lines!(text,
        "loading_start_time": loading.started_ms / 1000;
        "loading_total_bytes": total;
        "loading_rdb_used_mem": 0;
        "loading_loaded_bytes": loaded;
        "loading_loaded_perc": format_args!("{:.2}", percent(loaded, total));
        "loading_eta_seconds": eta_s;
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::status::{BacklogStatus, Failover, ReplicaStatus};

    fn shown(replication: &ReplicationInfo) -> String {
        let mut text = String::new();
        section(&mut text, replication);
        text
    }

    fn info(status: Status) -> ReplicationInfo {
        ReplicationInfo {
            status,
            backlog_size: 1_048_576,
            priority: 100,
            read_only: true,
            announced: true,
            good_replicas: None,
        }
    }

    fn replica(state: ReplicaState) -> ReplicaStatus {
        ReplicaStatus {
            client_id: 7,
            ip: "10.0.0.2".to_owned(),
            port: 6380,
            state,
            offset: 14,
            lag_s: 1,
            peer: None,
            local: None,
            name: String::new(),
            fd: 9,
            connected_ms: 0,
            active_ms: 0,
            output_bytes: 0,
        }
    }

    /// INFO replication of redis-server 7.0.15, its own ID replaced.
    #[test]
    fn a_lone_primary() {
        let text = shown(&info(Status { id: "b".repeat(40), ..Status::default() }));
        let expected = format!(
            "# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\nmaster_replid:{}\r\n\
             master_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:0\r\nsecond_repl_offset:-1\r\n\
             repl_backlog_active:0\r\nrepl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n",
            "b".repeat(40)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_primary_with_replicas() {
        let mut info = info(Status {
            replicas: vec![replica(ReplicaState::Online), replica(ReplicaState::Sending)],
            failover: Failover::WaitingForSync,
            second_id: Some(("c".repeat(40), 77)),
            offset: 90,
            backlog: Some(BacklogStatus { size: 1_048_576, bytes: 100, first_offset: 3, length: 88 }),
            ..Status::default()
        });
        info.good_replicas = Some(1);
        let text = shown(&info);
        assert!(text.contains(
            "connected_slaves:2\r\nmin_slaves_good_slaves:1\r\nslave0:ip=10.0.0.2,port=6380,state=online,offset=14,lag=1\r\n\
             slave1:ip=10.0.0.2,port=6380,state=send_bulk,offset=14,lag=0\r\nmaster_failover_state:waiting-for-sync\r\n"
        ), "{text}");
        assert!(text.ends_with(
            "master_repl_offset:90\r\nsecond_repl_offset:77\r\nrepl_backlog_active:1\r\nrepl_backlog_size:1048576\r\n\
             repl_backlog_first_byte_offset:3\r\nrepl_backlog_histlen:88\r\n"
        ), "{text}");
    }

    /// The names of INFO replication of redis-server 7.0.15, in its order.
    #[test]
    fn a_replica() {
        let link = LinkStatus {
            host: "db".to_owned(),
            port: 6379,
            state: LinkState::Sync,
            last_io_s: 3,
            sync: Some((200, 50, 1)),
            down_since_s: 9,
            ..LinkStatus::default()
        };
        let mut info = info(Status { link: Some(link), offset: 5, ..Status::default() });
        let text = shown(&info);
        assert!(text.starts_with(
            "# Replication\r\nrole:slave\r\nmaster_host:db\r\nmaster_port:6379\r\nmaster_link_status:down\r\n\
             master_last_io_seconds_ago:-1\r\nmaster_sync_in_progress:1\r\nslave_read_repl_offset:5\r\nslave_repl_offset:5\r\n\
             master_sync_total_bytes:200\r\nmaster_sync_read_bytes:50\r\nmaster_sync_left_bytes:150\r\nmaster_sync_perc:25.00\r\n\
             master_sync_last_io_seconds_ago:1\r\nmaster_link_down_since_seconds:9\r\nslave_priority:100\r\nslave_read_only:1\r\n\
             replica_announced:1\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n"
        ), "{text}");
        if let Some(link) = &mut info.status.link {
            (link.state, link.sync) = (LinkState::Connected, None);
            (link.read_offset, link.applied_offset) = (9, 7);
        }
        let text = shown(&info);
        assert!(text.contains(
            "master_link_status:up\r\nmaster_last_io_seconds_ago:3\r\nmaster_sync_in_progress:0\r\nslave_read_repl_offset:9\r\n\
             slave_repl_offset:7\r\nslave_priority:100\r\n"
        ), "{text}");
    }

    #[test]
    fn a_load_under_way() {
        let status = LoadingStatus { is_async: false, started_ms: 10_000, total_bytes: 1000, loaded_bytes: 249 };
        let mut text = String::new();
        loading(&mut text, &status, 12_000);
        assert_eq!(
            text,
            "loading_start_time:10\r\nloading_total_bytes:1000\r\nloading_rdb_used_mem:0\r\nloading_loaded_bytes:249\r\n\
             loading_loaded_perc:24.90\r\nloading_eta_seconds:6\r\n"
        );
        text.clear();
        loading(&mut text, &LoadingStatus { total_bytes: 0, ..status }, 10_500);
        assert!(text.contains("loading_loaded_perc:0.00\r\nloading_eta_seconds:1\r\n"), "{text}");
    }
}
