//! Core endpoints: every core is a cluster node to a stock cluster client, and any core still answers for any key.
//!
//! Where a redis-server plays Basalt it runs as a cluster of one node, which has the same shapes.

mod common;

use common::conn::{Conn, Reply};
use common::{Flavour, Launch, Server, free_port, on_path, shard_of, slot_of, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const SLOTS: usize = 16384;

/// A node whose cores have endpoints, and how many there are.
struct Node {
    server: Server,
    ports: Vec<u16>,
}

fn node(shards: usize) -> Node {
    let port = free_port();
    let launch = Launch::basalt().port(port);
    if launch.flavour() == Flavour::Redis {
        let server = launch.args(&["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]).start();
        let mut conn = server.conn();
        conn.ok("CLUSTER ADDSLOTSRANGE 0 16383");
        wait_until("the cluster of one is up", || conn.cmd("CLUSTER INFO").text().contains("cluster_state:ok"));
        return Node { server, ports: vec![port] };
    }
    let (shards_arg, base) = (shards.to_string(), (port + 1).to_string());
    let args = ["--shards", &shards_arg, "--core-endpoints", "yes", "--core-port-base", &base];
    let server = launch.args(&args).start();
    Node { server, ports: (0..shards as u16).map(|shard| port + 1 + shard).collect() }
}

impl Node {
    fn owner(&self, key: &[u8]) -> u16 {
        self.ports[shard_of(key, self.ports.len())]
    }

    fn all_ports(&self) -> BTreeSet<u16> {
        self.ports.iter().copied().chain([self.server.port]).collect()
    }
}

#[test]
fn cluster_slots_gives_each_core_its_range() {
    for shards in [1, 2, 3] {
        let node = node(shards);
        for port in node.all_ports() {
            let mut owners = vec![0; SLOTS];
            let mut ids = BTreeMap::new();
            for range in Conn::open(port).cmd("CLUSTER SLOTS").items() {
                let range = range.items();
                let (first, last) = (range[0].int() as usize, range[1].int() as usize);
                assert_eq!(range.len(), 3, "a range and its only node");
                let owner = range[2].items();
                assert_eq!(owner[0].text(), "127.0.0.1");
                assert_eq!(owner[2].text().len(), 40);
                assert_eq!(owner[3], Reply::Array(vec![]), "metadata");
                ids.insert(owner[2].text(), owner[1].int());
                for slot in &mut owners[first..=last] {
                    assert_eq!(*slot, 0, "a slot in two ranges");
                    *slot = owner[1].int() as u16;
                }
            }
            assert_eq!(ids.len(), node.ports.len(), "an id a core: {ids:?}");
            for (slot, &owner) in owners.iter().enumerate() {
                assert_eq!(owner, node.ports[(slot * node.ports.len()) >> 14], "slot {slot}");
            }
        }
    }
}

#[test]
fn cluster_shards_tells_the_same() {
    let node = node(2);
    let mut conn = node.server.conn();
    for protocol in ["HELLO 2", "HELLO 3"] {
        conn.ok(protocol);
        let mut ports = Vec::new();
        for shard in conn.cmd("CLUSTER SHARDS").items() {
            let slots: Vec<i64> = shard.get("slots").unwrap().items().iter().map(Reply::int).collect();
            let nodes = shard.get("nodes").unwrap().items();
            assert_eq!(nodes.len(), 1);
            let port = nodes[0].get("port").unwrap().int() as u16;
            assert_eq!(nodes[0].get("id").unwrap().text().len(), 40);
            assert_eq!(nodes[0].get("ip").unwrap().text(), "127.0.0.1");
            assert_eq!(nodes[0].get("endpoint").unwrap().text(), "127.0.0.1");
            assert_eq!(nodes[0].get("role").unwrap().text(), "master");
            assert_eq!(nodes[0].get("health").unwrap().text(), "online");
            assert!(nodes[0].get("replication-offset").unwrap().int() >= 0);
            let index = node.ports.iter().position(|&p| p == port).expect("a port of a core");
            let count = node.ports.len();
            let first = (index * SLOTS).div_ceil(count) as i64;
            let last = ((index + 1) * SLOTS).div_ceil(count) as i64 - 1;
            assert_eq!(slots, [first, last]);
            ports.push(port);
        }
        ports.sort_unstable();
        assert_eq!(ports, node.ports, "{protocol}");
    }
}

#[test]
fn cluster_nodes_has_a_line_a_core_and_knows_itself() {
    let node = node(2);
    let mut ids = BTreeSet::new();
    for &port in &node.ports {
        let mut conn = Conn::open(port);
        let id = conn.cmd("CLUSTER MYID").text();
        assert!(id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        let text = conn.cmd("CLUSTER NODES").text();
        assert_eq!(text.lines().count(), node.ports.len(), "{text}");
        for line in text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            assert_eq!(fields.len(), 9, "id, address, flags, master, ping, pong, epoch, link, slots: {line}");
            let (address, bus) = fields[1].split_once('@').expect("address@bus port");
            assert!(bus.split(',').next().unwrap().parse::<u16>().is_ok(), "{line}");
            let line_port: u16 = address.strip_prefix("127.0.0.1:").expect("the node's address").parse().unwrap();
            let myself = fields[2].split(',').any(|flag| flag == "myself");
            assert_eq!(myself, line_port == port, "only the asked core is itself: {text}");
            assert_eq!(myself, fields[0] == id, "{text}");
            assert!(fields[2].split(',').any(|flag| flag == "master"), "{line}");
            assert_eq!((fields[3], fields[7]), ("-", "connected"), "{line}");
            assert!(fields[8].split_once('-').is_some(), "{line}");
        }
        ids.insert(id);
    }
    assert_eq!(ids.len(), node.ports.len());
    let info = node.server.conn().cmd("CLUSTER INFO").text();
    for line in [
        "cluster_state:ok",
        "cluster_slots_assigned:16384",
        "cluster_slots_ok:16384",
        "cluster_slots_pfail:0",
        "cluster_slots_fail:0",
        &format!("cluster_known_nodes:{}", node.ports.len()),
        &format!("cluster_size:{}", node.ports.len()),
    ] {
        assert!(info.lines().any(|l| l.trim() == line), "no {line} in {info}");
    }
    let info = node.server.conn().cmd("INFO cluster").text();
    assert!(info.contains("cluster_enabled:1"), "clients look here for cluster mode: {info}");
}

#[test]
fn ids_survive_as_long_as_the_node() {
    let node = node(2);
    let ask = || Conn::open(node.ports[0]).cmd("CLUSTER MYID").text();
    assert_eq!(ask(), ask());
}

#[test]
fn slots_and_their_keys() {
    let node = node(2);
    let mut conn = node.server.conn();
    for (key, slot) in
        [("foo", 12182), ("{user1000}.following", 3443), ("", 0), ("foo{}{bar}", 8363), ("{{bar}}", 4015)]
    {
        assert_eq!(conn.argv(&["CLUSTER", "KEYSLOT", key]), Reply::Int(slot), "{key}");
        assert_eq!(i64::from(slot_of(key.as_bytes())), slot, "{key}");
    }
    for tag in ["a", "b", "foo"] {
        let slot = slot_of(tag.as_bytes());
        for i in 0..25 {
            conn.ok(&format!("SET {{{tag}}}:{i} v"));
        }
        for port in node.all_ports() {
            let mut conn = Conn::open(port);
            assert_eq!(conn.cmd(&format!("CLUSTER COUNTKEYSINSLOT {slot}")), Reply::Int(25), "port {port}");
            let keys = conn.cmd(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).items();
            let expected: BTreeSet<String> = (0..25).map(|i| format!("{{{tag}}}:{i}")).collect();
            assert_eq!(keys.iter().map(Reply::text).collect::<BTreeSet<_>>(), expected);
            assert_eq!(conn.cmd(&format!("CLUSTER GETKEYSINSLOT {slot} 10")).items().len(), 10);
            assert_eq!(conn.cmd(&format!("CLUSTER GETKEYSINSLOT {slot} 0")).items().len(), 0);
        }
    }
    for (sent, error) in [
        ("CLUSTER COUNTKEYSINSLOT 16384", "ERR Invalid slot"),
        ("CLUSTER COUNTKEYSINSLOT -1", "ERR Invalid slot"),
        ("CLUSTER COUNTKEYSINSLOT x", "ERR value is not an integer or out of range"),
        ("CLUSTER GETKEYSINSLOT 16384 1", "ERR Invalid slot or number of keys"),
        ("CLUSTER GETKEYSINSLOT 1 -1", "ERR Invalid slot or number of keys"),
        ("CLUSTER KEYSLOT", "ERR wrong number of arguments for 'cluster|keyslot' command"),
        ("CLUSTER NOSUCH", "ERR unknown subcommand 'NOSUCH'. Try CLUSTER HELP."),
    ] {
        assert_eq!(conn.cmd(sent), Reply::Error(error.as_bytes().to_vec()), "{sent}");
    }
}

#[test]
fn any_core_answers_for_any_key() {
    let node = node(3);
    let mut conns: Vec<Conn> = node.all_ports().into_iter().map(Conn::open).collect();
    let count = conns.len();
    for i in 0..300 {
        let key = format!("key:{i}");
        assert_eq!(conns[i % count].argv(&["SET", &key, &i.to_string()]), Reply::Simple(b"OK".to_vec()));
        for conn in &mut conns {
            assert_eq!(conn.cmd(&format!("GET {key}")), Reply::Bulk(i.to_string().into_bytes()));
        }
    }
    for conn in &mut conns {
        assert_eq!(conn.cmd("DBSIZE"), Reply::Int(300));
    }
}

#[test]
fn redis_cli_in_cluster_mode() {
    assert!(on_path("redis-cli"), "redis-cli is missing: install the redis-tools package, or run tests/run.sh");
    let node = node(2);
    for i in 0..20 {
        let out = Command::new("redis-cli")
            .args(["-c", "-p", &node.server.port.to_string(), "SET", &format!("key:{i}"), &i.to_string()])
            .output()
            .unwrap();
        assert_eq!((out.stdout.as_slice(), out.stderr.as_slice()), (&b"OK\n"[..], &b""[..]));
    }
    let out =
        Command::new("redis-cli").args(["-c", "-p", &node.ports[0].to_string(), "GET", "key:7"]).output().unwrap();
    assert_eq!(out.stdout, b"7\n");
}

#[test]
fn redis_benchmark_in_cluster_mode() {
    assert!(
        on_path("redis-benchmark"),
        "redis-benchmark is missing: install the redis-tools package, or run tests/run.sh"
    );
    let mut node = node(2);
    if node.ports.len() < 2 {
        println!("skipped: redis-benchmark refuses a cluster of one node, which a redis-server playing Basalt is");
        return;
    }
    let out = Command::new("redis-benchmark")
        .args([
            "--cluster",
            "-p",
            &node.server.port.to_string(),
            "-n",
            "20000",
            "-r",
            "10000",
            "-t",
            "set,get",
            "-P",
            "4",
            "-q",
        ])
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && errors.is_empty(), "{said}\n{errors}");
    assert!(said.contains(&format!("Cluster has {} master nodes", node.ports.len())), "{said}");
    assert!(said.contains("SET: ") && said.contains("GET: "), "{said}");
    node.server.assert_healthy();
}

/// A stock cluster client learns of all cores from one of them and sends each key to its owner.
#[test]
fn a_cluster_client_of_the_field() {
    use redis::cluster::ClusterClient;
    let node = node(2);
    let seed = format!("redis://127.0.0.1:{}/", node.server.port);
    let client = ClusterClient::new(vec![seed]).unwrap();
    let mut conn = client.get_connection().unwrap();
    for i in 0..500 {
        let () = redis::cmd("SET").arg(format!("key:{i}")).arg(i).query(&mut conn).unwrap();
    }
    for i in 0..500 {
        let value: i64 = redis::cmd("GET").arg(format!("key:{i}")).query(&mut conn).unwrap();
        assert_eq!(value, i);
    }
    // Whose connections they were: each core saw SETs only of its own keys, had any core been asked for the others'.
    let mut owners = BTreeSet::new();
    for i in 0..500 {
        owners.insert(node.owner(format!("key:{i}").as_bytes()));
    }
    assert_eq!(owners, node.ports.iter().copied().collect());
    let list = node.server.conn().cmd("CLIENT LIST").text();
    for port in &node.ports {
        let served =
            list.lines().any(|line| line.contains(&format!("laddr=127.0.0.1:{port} ")) && line.contains("cmd=get"));
        assert!(served, "no client's GET came in through port {port}:\n{list}");
    }
}

#[test]
fn without_core_endpoints_there_is_no_cluster() {
    let server = Server::basalt(&["--shards", "2"]);
    let reply = server.conn().cmd("CLUSTER SLOTS");
    assert_eq!(reply, Reply::Error(b"ERR This instance has cluster support disabled".to_vec()));
    assert!(server.conn().cmd("INFO cluster").text().contains("cluster_enabled:0"));
}
