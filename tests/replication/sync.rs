//! Waiting until replicas hold what their primary holds, and saying what differs when they never do.

use crate::common::node::{Info, Node};
use crate::common::{Conn, PATIENCE, Reply, wait_up_to};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// A full resync of a node under load on a busy machine.
const BOUND: Duration = PATIENCE.saturating_mul(3);
const DATABASES: usize = 16;

#[track_caller]
pub fn wait_link_up(replica: &Node) {
    wait_up_to(BOUND, &format!("port {} has its link up", replica.port), || {
        Info::of(replica.port).is_ok_and(|info| info.link_up())
    });
}

/// Waits until every replica has all that the primary wrote, then until both hold the same keys, values and times. The primary may
/// not be written to meanwhile, except by itself: it expires keys.
#[track_caller]
pub fn wait_synced(primary: &Node, replicas: &[&Node]) {
    let ports: Vec<u16> = replicas.iter().map(|node| node.port).collect();
    wait_synced_to(primary.port, &ports);
}

#[track_caller]
pub fn wait_synced_to(primary: u16, replicas: &[u16]) {
    let mut last = String::from("nothing was compared");
    let equal = |last: &mut String| {
        let compared = compare(primary, replicas);
        *last = match compared {
            Ok(None) => return true,
            Ok(Some(difference)) => difference,
            Err(e) => format!("a node did not answer: {e}"),
        };
        false
    };
    let start = std::time::Instant::now();
    while !equal(&mut last) {
        if start.elapsed() > BOUND {
            let details = replicas.iter().map(|&replica| differences(primary, replica)).collect::<Vec<_>>();
            panic!("not synced after {BOUND:?}: {last}\n{}", details.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What differs between the nodes just now, offsets first.
fn compare(primary: u16, replicas: &[u16]) -> io::Result<Option<String>> {
    let mut conn = patient(primary)?;
    // Keys that are due go now, so that no node has to be compared in the middle of it.
    for db in 0..DATABASES {
        ask(&mut conn, &["SELECT", &db.to_string()])?;
        ask(&mut conn, &["KEYS", "*"])?;
    }
    let offset = Info::from(&mut conn)?.offset();
    let mut others = Vec::new();
    for &replica in replicas {
        let mut other = patient(replica)?;
        let info = Info::from(&mut other)?;
        if !info.link_up() {
            return Ok(Some(format!("the link of {replica} is down")));
        }
        if info.offset() < offset {
            return Ok(Some(format!("{replica} is at {} of {offset}", info.offset())));
        }
        others.push((replica, other));
    }
    let times = times(&mut conn)?;
    for (replica, mut other) in others {
        if !is_comparable(&mut conn)? || !is_comparable(&mut other)? {
            let (here, there) = (values(&mut conn)?, values(&mut other)?);
            let differs = |key: &&Key| here.get(*key) != there.get(*key);
            if let Some(key) = here.keys().chain(there.keys()).find(differs) {
                let (name, here, there) = (crate::common::conn::escape(&key.1), here.get(key), there.get(key));
                return Ok(Some(format!(
                    "database {}, key {name}: {here:?} on {primary}, {there:?} on {replica}",
                    key.0
                )));
            }
        } else {
            let (digest, theirs) = (ask(&mut conn, &["DEBUG", "DIGEST"])?, ask(&mut other, &["DEBUG", "DIGEST"])?);
            if theirs != digest {
                return Ok(Some(format!("the digest of {primary} is {digest:?}, that of {replica} is {theirs:?}")));
            }
        }
        if self::times(&mut other)? != times {
            return Ok(Some(format!("expiry times of {primary} and {replica} differ")));
        }
    }
    Ok(None)
}

fn patient(port: u16) -> io::Result<Conn> {
    let conn = Conn::try_open(&format!("127.0.0.1:{port}"))?;
    conn.set_timeout(PATIENCE);
    Ok(conn)
}

fn ask(conn: &mut Conn, args: &[&str]) -> io::Result<Reply> {
    conn.send(args)?;
    match conn.read()? {
        reply if reply.is_error() => Err(io::Error::other(format!("{args:?}: {reply:?}"))),
        reply => Ok(reply),
    }
}

type Key = (usize, Vec<u8>);

/// What a command tells of every key that can be seen.
fn of_every_key(conn: &mut Conn, command: &str) -> io::Result<BTreeMap<Key, Reply>> {
    let mut all = BTreeMap::new();
    for db in 0..DATABASES {
        ask(conn, &["SELECT", &db.to_string()])?;
        let keys = ask(conn, &["KEYS", "*"])?.items();
        for some in keys.chunks(100) {
            let requests = some.iter().map(|key| crate::common::conn::encode(&[command.as_bytes(), &key.bytes()]));
            conn.send_raw(&requests.collect::<Vec<_>>().concat())?;
            for key in some {
                all.insert((db, key.bytes()), conn.read()?);
            }
        }
    }
    Ok(all)
}

/// Whether the node's digests are those of Redis 7.0: from 7.2 on, and so in Valkey, scores go into them in another form.
fn is_comparable(conn: &mut Conn) -> io::Result<bool> {
    Ok(!ask(conn, &["INFO", "server"])?.text().contains("valkey_version"))
}

/// Every key's value as digests would have it: sorted sets in full, of all others a digest each.
fn values(conn: &mut Conn) -> io::Result<BTreeMap<Key, Reply>> {
    let mut all = of_every_key(conn, "TYPE")?;
    for ((db, key), value) in &mut all {
        ask(conn, &["SELECT", &db.to_string()])?;
        let is_sorted_set = *value == Reply::Simple(b"zset".to_vec());
        let request: [&[u8]; 5] = [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"];
        let digest: [&[u8]; 3] = [b"DEBUG", b"DIGEST-VALUE", key];
        conn.send(if is_sorted_set { &request[..] } else { &digest[..] })?;
        *value = match conn.read()? {
            // Large scores are written as whole numbers by some and with an exponent by others.
            Reply::Array(items) => Reply::Array(items.into_iter().map(of_one_form).collect()),
            digest => digest,
        };
    }
    Ok(all)
}

/// Text that is a number, as Rust prints it.
fn of_one_form(item: Reply) -> Reply {
    let number = std::str::from_utf8(&item.bytes()).ok().and_then(|text| text.parse::<f64>().ok());
    number.map_or(item, |number| Reply::Bulk(number.to_string().into_bytes()))
}

/// The expiry time of every key; the digest only holds whether there is one.
fn times(conn: &mut Conn) -> io::Result<BTreeMap<Key, Reply>> {
    of_every_key(conn, "PEXPIRETIME")
}

/// For the message of a failure: some keys that are not the same.
fn differences(primary: u16, replica: u16) -> String {
    let contents = |port: u16| {
        let mut conn = patient(port)?;
        Ok::<_, io::Error>((of_every_key(&mut conn, "GET")?, times(&mut conn)?))
    };
    let (here, there) = match (contents(primary), contents(replica)) {
        (Ok(here), Ok(there)) => (here, there),
        (here, there) => return format!("{primary}: {:?}, {replica}: {:?}", here.err(), there.err()),
    };
    let mut keys: Vec<&Key> = here.0.keys().chain(there.0.keys()).collect();
    keys.sort();
    keys.dedup();
    let differ = |key: &&Key| here.0.get(*key) != there.0.get(*key) || here.1.get(*key) != there.1.get(*key);
    let found: Vec<&Key> = keys.into_iter().filter(differ).collect();
    let shown: Vec<String> = found
        .iter()
        .take(8)
        .map(|key| {
            let of = |values: &BTreeMap<Key, Reply>, times: &BTreeMap<Key, Reply>| {
                format!("{:?} until {:?}", values.get(*key), times.get(*key))
            };
            let name = crate::common::conn::escape(&key.1);
            format!("  {} {name}: {} / {}", key.0, of(&here.0, &here.1), of(&there.0, &there.1))
        })
        .collect();
    format!("{primary} / {replica}: {} keys differ\n{}", found.len(), shown.join("\n"))
}
