//! How the node describes itself to cluster clients: each core a master with its own port and slots.
//!
//! Guarantee: the described nodes own all slots between them, each slot once, so a client can route every key. The view is made
//! for one client: the host is how *it* reaches this node, and "myself" is the core it talks to.
//!
//! Reply shapes are those of Redis 7.2's CLUSTER SLOTS, SHARDS, NODES, INFO and MYID.

use std::fmt::Write;
use std::ops::RangeInclusive;

use crate::keyspace::slot::SLOTS;
use crate::resp::Writer;

/// What Redis adds to a port for the one of its cluster bus.
const BUS_PORT_OFFSET: u16 = 10_000;

/// One described node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreNode {
    /// 40 hex digits.
    pub id: String,
    pub port: u16,
    pub slots: RangeInclusive<u16>,
}

/// The cluster as one client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    host: String,
    nodes: Vec<CoreNode>,
    myself: usize,
    replication_offset: u64,
}

impl ClusterView {
    /// `core-endpoints yes`: `nodes` by core number, `myself` the core that answers. An empty `host` tells the client to stay with the
    /// address it knows.
    pub fn of_cores(host: String, nodes: Vec<CoreNode>, myself: usize, replication_offset: u64) -> ClusterView {
        debug_assert!(myself < nodes.len());
        debug_assert!(covers_all_slots(&nodes));
        ClusterView { host, nodes, myself, replication_offset }
    }

    /// CLUSTER SLOTS.
    pub fn write_slots(&self, out: &mut Writer<'_>) {
        out.array(self.nodes.len());
        for node in &self.nodes {
            out.array(3);
            out.int(i64::from(*node.slots.start()));
            out.int(i64::from(*node.slots.end()));
            out.array(4);
            out.bulk_str(&self.host);
            out.int(i64::from(node.port));
            out.bulk_str(&node.id);
            // Further addresses of the node: none.
            out.map(0);
        }
    }

    /// CLUSTER SHARDS.
    pub fn write_shards(&self, out: &mut Writer<'_>) {
        out.array(self.nodes.len());
        for node in &self.nodes {
            out.map(2);
            out.bulk_str("slots");
            out.array(2);
            out.int(i64::from(*node.slots.start()));
            out.int(i64::from(*node.slots.end()));
            out.bulk_str("nodes");
            out.array(1);
            self.write_shard_node(out, node);
        }
    }

    fn write_shard_node(&self, out: &mut Writer<'_>, node: &CoreNode) {
        out.map(7);
        out.bulk_str("id");
        out.bulk_str(&node.id);
        out.bulk_str("port");
        out.int(i64::from(node.port));
        out.bulk_str("ip");
        out.bulk_str(&self.host);
        out.bulk_str("endpoint");
        out.bulk_str(&self.host);
        out.bulk_str("role");
        out.bulk_str("master");
        out.bulk_str("replication-offset");
        out.int(self.replication_offset as i64);
        out.bulk_str("health");
        out.bulk_str("online");
    }

    /// CLUSTER NODES.
    pub fn write_nodes(&self, out: &mut Writer<'_>) {
        out.verbatim(&self.nodes_text());
    }

    fn nodes_text(&self) -> String {
        let mut text = String::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let myself = if index == self.myself { "myself," } else { "" };
            // There is no bus; a port that would be out of range is shown as none.
            let bus_port = node.port.checked_add(BUS_PORT_OFFSET).unwrap_or(0);
            // Writing to a `String` cannot fail.
            let _ = write!(
                text,
                "{} {}:{}@{bus_port} {myself}master - 0 0 {} connected {}",
                node.id,
                self.host,
                node.port,
                epoch_of(index),
                node.slots.start()
            );
            if node.slots.end() > node.slots.start() {
                let _ = write!(text, "-{}", node.slots.end());
            }
            text.push('\n');
        }
        text
    }

    /// CLUSTER INFO.
    pub fn write_info(&self, out: &mut Writer<'_>) {
        out.verbatim(&self.info_text());
    }

    fn info_text(&self) -> String {
        let nodes = self.nodes.len();
        format!(
            "cluster_state:ok\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{SLOTS}\r\ncluster_slots_pfail:0\r\n\
             cluster_slots_fail:0\r\ncluster_known_nodes:{nodes}\r\ncluster_size:{nodes}\r\ncluster_current_epoch:{nodes}\r\n\
             cluster_my_epoch:{}\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
             total_cluster_links_buffer_limit_exceeded:0\r\n",
            epoch_of(self.myself)
        )
    }

    /// CLUSTER MYID.
    pub fn write_my_id(&self, out: &mut Writer<'_>) {
        out.bulk_str(&self.nodes[self.myself].id);
    }
}

/// Configuration epochs of masters differ in a settled cluster.
fn epoch_of(index: usize) -> usize {
    index + 1
}

fn covers_all_slots(nodes: &[CoreNode]) -> bool {
    let mut next = 0;
    for node in nodes {
        if *node.slots.start() != next || node.slots.is_empty() {
            return false;
        }
        next = *node.slots.end() + 1;
    }
    next == SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Proto, written};

    const ID: &str = "5e1f015ad5850f590020aaf09f62dbfa3b32462f";

    fn reply(view: &ClusterView, proto: Proto, write: fn(&ClusterView, &mut Writer<'_>)) -> String {
        written(proto, |out| write(view, out))
    }

    fn one() -> ClusterView {
        ClusterView::of_cores(String::new(), vec![CoreNode { id: ID.into(), port: 26918, slots: 0..=16383 }], 0, 0)
    }

    fn two() -> ClusterView {
        let nodes = vec![
            CoreNode { id: "a".repeat(40), port: 7000, slots: 0..=8191 },
            CoreNode { id: "b".repeat(40), port: 60000, slots: 8192..=16383 },
        ];
        ClusterView::of_cores("10.0.0.1".into(), nodes, 1, 77)
    }

    /// Replies of redis-server 7.0.15 in cluster mode, but for the slots (it was given half of them).
    #[test]
    fn one_node_reads_as_a_redis_of_its_own() {
        let slots =
            |map: &str| format!("*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$0\r\n\r\n:26918\r\n$40\r\n{ID}\r\n{map}0\r\n");
        assert_eq!(reply(&one(), Proto::Resp2, ClusterView::write_slots), slots("*"));
        assert_eq!(reply(&one(), Proto::Resp3, ClusterView::write_slots), slots("%"));
        let shards = |two: &str, seven: &str| {
            format!(
                "*1\r\n{two}\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n{seven}\r\n$2\r\nid\r\n$40\r\n{ID}\r\n\
                 $4\r\nport\r\n:26918\r\n$2\r\nip\r\n$0\r\n\r\n$8\r\nendpoint\r\n$0\r\n\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
                 $18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n"
            )
        };
        assert_eq!(reply(&one(), Proto::Resp2, ClusterView::write_shards), shards("*4", "*14"));
        assert_eq!(reply(&one(), Proto::Resp3, ClusterView::write_shards), shards("%2", "%7"));
        assert_eq!(
            reply(&one(), Proto::Resp2, ClusterView::write_nodes),
            format!("$94\r\n{ID} :26918@36918 myself,master - 0 0 1 connected 0-16383\n\r\n")
        );
        assert_eq!(reply(&one(), Proto::Resp2, ClusterView::write_my_id), format!("$40\r\n{ID}\r\n"));
    }

    #[test]
    fn cores_are_nodes() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        assert_eq!(
            two().nodes_text(),
            format!(
                "{a} 10.0.0.1:7000@17000 master - 0 0 1 connected 0-8191\n\
                 {b} 10.0.0.1:60000@0 myself,master - 0 0 2 connected 8192-16383\n"
            )
        );
        assert!(
            reply(&two(), Proto::Resp3, ClusterView::write_slots)
                .starts_with("*2\r\n*3\r\n:0\r\n:8191\r\n*4\r\n$8\r\n10.0.0.1\r\n:7000\r\n")
        );
        assert_eq!(reply(&two(), Proto::Resp3, ClusterView::write_my_id), format!("$40\r\n{b}\r\n"));
        assert!(reply(&two(), Proto::Resp2, ClusterView::write_shards).contains(":77\r\n"));
    }

    #[test]
    fn info_says_that_all_is_well() {
        let text = two().info_text();
        assert!(text.starts_with("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"));
        assert!(
            text.contains(
                "cluster_known_nodes:2\r\ncluster_size:2\r\ncluster_current_epoch:2\r\ncluster_my_epoch:2\r\n"
            )
        );
        let names: Vec<&str> = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        assert_eq!(names.len(), 12);
    }

    #[test]
    fn gaps_and_overlaps_are_seen() {
        let node = |slots| CoreNode { id: String::new(), port: 0, slots };
        assert!(covers_all_slots(&[node(0..=100), node(101..=16383)]));
        assert!(!covers_all_slots(&[node(0..=100), node(102..=16383)]));
        assert!(!covers_all_slots(&[node(0..=100), node(100..=16383)]));
        assert!(!covers_all_slots(&[node(0..=100)]));
        assert!(!covers_all_slots(&[]));
    }
}
