//! What a primary sends its replicas: the stream of Basalt beside that of redis-server, for the same commands.
//!
//! A connection of the test's own plays the replica. Where Basalt tells replicas the same in other words, the line says which, and
//! `src/commands/propagation/tests.rs` says why. Times are compared as what they are ahead of now.

mod common;

use common::conn::encode;
use common::{Conn, Kind, Node, Reply, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(20);

/// A replica that has its snapshot, and reads on.
struct Listener {
    conn: Conn,
    db: String,
    marks: u32,
}

impl Listener {
    fn join(port: u16) -> Listener {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // Without a capability the snapshot comes with its length, and the stream right behind it.
        stream.write_all(&encode(&["PSYNC", "?", "-1"])).expect("sending");
        let length = loop {
            let line = line(&mut stream);
            if let Some(length) = line.strip_prefix('$') {
                break length.parse().expect("a length");
            }
            assert!(line.is_empty() || line.starts_with("+FULLRESYNC"), "{line}");
        };
        stream.read_exact(&mut vec![0; length]).expect("the snapshot");
        Listener { conn: Conn::over(stream).expect("a connection"), db: String::new(), marks: 0 }
    }

    /// The stream up to a mark that is set now, each command behind its database, without pings.
    fn so_far(&mut self, client: &mut Conn) -> Vec<String> {
        self.marks += 1;
        let mark = format!("mark:{}", self.marks);
        assert!(!client.argv(&["PUBLISH", &mark, ""]).is_error());
        let mut commands = Vec::new();
        loop {
            let words: Vec<Vec<u8>> = self.conn.read().expect("the stream").items().iter().map(Reply::bytes).collect();
            match words[0].to_ascii_uppercase().as_slice() {
                b"PING" => {}
                b"REPLCONF" => {}
                b"SELECT" => self.db = String::from_utf8_lossy(&words[1]).into_owned(),
                b"PUBLISH" if words[1] == mark.as_bytes() => return commands,
                b"MULTI" | b"EXEC" => commands.push(shown(&words)),
                _ => commands.push(format!("{}: {}", self.db, shown(&words))),
            }
        }
    }
}

fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        stream.read_exact(&mut byte).expect("a line");
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// A command as one line. A Unix time in milliseconds that is near is shown as the hundreds of seconds that it is ahead, rounded up.
fn shown(words: &[Vec<u8>]) -> String {
    const NEAR_MS: i64 = 3_600_000;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let word = |word: &Vec<u8>| {
        let ahead_ms = std::str::from_utf8(word).ok().and_then(|text| text.parse::<i64>().ok()).map(|ms| ms - now_ms);
        match ahead_ms.filter(|ahead_ms| (-NEAR_MS..NEAR_MS).contains(ahead_ms)) {
            Some(..0) => "<past>".to_owned(),
            // A busy machine may be late by some of them.
            Some(ahead_ms) => format!("<now+{}s>", (ahead_ms + 99_999) / 100_000 * 100),
            None => common::conn::escape(word),
        }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Lines that both are told; behind `=>` what Basalt sends where redis-server sends other words. A line of several commands is separated by `;`, and
/// `~` waits until a key is gone.
const LINES: &[&str] = &[
    "SET k v",
    "SET k v EX 100",
    "SET k v PX 100000",
    "SET k v EXAT 4000000000",
    "SET k v PXAT 4000000000000",
    "SET k v NX",
    "SET k v XX KEEPTTL",
    "SET k v EX 100 XX GET",
    "SET k v GET",
    "SET k v XX GET => 0: SET k v",
    "SETNX k w",
    "SETNX kk w",
    "SETEX k 100 v",
    "PSETEX k 100000 v",
    "GETEX k EX 100",
    "GETEX k PX 100000",
    "GETEX k EXAT 4000000000",
    "GETEX k PERSIST",
    "GETEX k",
    "GETEX k PXAT 1",
    "SET k 1; GETDEL k",
    "GETDEL k",
    "GETSET k 5",
    "INCR k",
    "DECRBY k 3",
    "INCRBYFLOAT k 1.5",
    "EXPIRE k 100",
    "PEXPIRE k 200000",
    "EXPIRE k 100 NX",
    "EXPIRE k 100 LT => 0: PEXPIREAT k <now+100s>",
    "EXPIREAT k 4000000000",
    "EXPIRE k -1",
    "SET k v; PEXPIREAT k 1 XX",
    "EXPIREAT k 1",
    "SET k v EX 100; PERSIST k; PERSIST k",
    "APPEND k x",
    "SETRANGE k 3 yy",
    "SETRANGE k 3 \"\"",
    "SETBIT k 4 1; SETBIT k 4 1",
    "BITFIELD k GET u8 0",
    "BITFIELD k SET u8 0 5 GET u8 0 INCRBY u8 8 1",
    "BITOP NOT d k",
    "BITOP AND d nokey; BITOP AND d nokey",
    "MSET a 1 b 1; DEL a b c; DEL a",
    "SET a 1; UNLINK a c",
    "SET a 1; RENAME a b; RENAME b b",
    "SET a 1; RENAMENX a b",
    "COPY a c; COPY a c; COPY a c REPLACE; COPY a c DB 1",
    "MOVE a 1; MOVE b 2",
    "MSETNX x 1 y 2; MSETNX x 1 z 2",
    "TOUCH x; GET x; EXISTS x; TTL x",
    "SELECT 3; SET in3 v; SELECT 0; GET x",
    "MULTI; SET m 1; EXEC",
    "MULTI; SET m 1; SET n 2 EX 100; EXEC",
    "MULTI; GET m; EXEC",
    "MULTI; SET m 1; DISCARD",
    "MULTI; SET m 1; SELECT 2; SET n 1; SELECT 0; EXEC",
    "MULTI; SET m 1; PUBLISH c m; SPUBLISH c m; EXEC",
    "MULTI; SET m 1; INCR nonumber; SETNX m 2; EXEC",
    "MULTI; FLUSHDB; SET m 1; EXEC",
    "PUBLISH c hello",
    "SPUBLISH c hello",
    "SWAPDB 0 1",
    "SWAPDB 1 0",
    "SET short v PX 1; ~short",
    "SELECT 2; FLUSHDB; SELECT 0",
    "FLUSHDB ASYNC",
    "FLUSHALL",
    "FLUSHALL SYNC",
];

/// Runs the commands of a line, and gives what the replica was sent.
fn run(line: &str, client: &mut Conn, replica: &mut Listener) -> Vec<String> {
    for command in line.split("; ") {
        match command.strip_prefix('~') {
            Some(key) => wait_until("the key is gone", || client.cmd(&format!("GET {key}")).is_nil()),
            None => drop(client.cmd(command)),
        }
    }
    replica.so_far(client)
}

#[test]
fn the_stream_is_that_of_redis() {
    let (redis, basalt) = (Node::start(Kind::Redis, &[]), Node::start(Kind::Basalt(2), &[]));
    let [mut theirs, mut ours] = [&redis, &basalt].map(|node| (node.conn(), Listener::join(node.port)));
    let mut wrong = Vec::new();
    for line in LINES {
        let (commands, own) = line.split_once(" => ").map_or((*line, None), |(commands, own)| (commands, Some(own)));
        let expected = run(commands, &mut theirs.0, &mut theirs.1);
        let sent = run(commands, &mut ours.0, &mut ours.1);
        let wanted = own.map_or(expected.clone(), |own| own.split("; ").map(str::to_owned).collect());
        if own.is_some() {
            assert_ne!(wanted, expected, "{commands}: no difference any more");
        }
        if sent != wanted {
            wrong.push(format!("{commands}\n    Redis  {expected:?}\n    Basalt {sent:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// RESTORE carries a payload, which is no text.
#[test]
fn a_restored_key_comes_with_its_moment() {
    let sent = [Kind::Redis, Kind::Basalt(2)].map(|kind| {
        let node = Node::start(kind, &[]);
        let (mut client, mut replica) = (node.conn(), Listener::join(node.port));
        client.ok("SET k some-value");
        let payload = client.ok("DUMP k").bytes();
        for (ttl, options) in [
            ("0", &[][..]),
            ("100000", &["REPLACE"]),
            ("4000000000000", &["REPLACE", "ABSTTL"]),
            ("1", &["REPLACE", "ABSTTL"]),
        ] {
            let mut words: Vec<&[u8]> = vec![b"RESTORE", b"r", ttl.as_bytes(), &payload];
            words.extend(options.iter().map(|option| option.as_bytes()));
            assert_eq!(client.argv(&words).text(), "OK");
        }
        replica.so_far(&mut client)
    });
    assert_eq!(sent[0], sent[1]);
    assert_eq!(sent[0].len(), 5, "{sent:?}");
}

/// Requests that are understood although their lines end otherwise than they should: replicas get them as they should be. All keys are of one core,
/// for only those come in their order.
#[test]
fn sloppy_requests_are_passed_on_clean() {
    let requests: [&[u8]; 4] = [
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
        b"*3\r\n$3\rxSET__$1\r\na\r\n$1\r\n2__",
        b"SET a  '3'\r\n",
        b"*3\rx$3\r\nSET\r\n$4\r\n{a}b\r\n$1\r\n4\r\n",
    ];
    for kind in [Kind::Redis, Kind::Basalt(1), Kind::Basalt(2)] {
        let node = Node::start(kind, &[]);
        let (mut client, mut replica) = (node.conn(), Listener::join(node.port));
        client.send_raw(&requests.concat()).expect("sending");
        for _ in requests {
            assert_eq!(client.read().expect("a reply").text(), "OK");
        }
        assert_eq!(
            replica.so_far(&mut client),
            ["0: SET a 1", "0: SET a 2", "0: SET a 3", "0: SET {a}b 4"],
            "{kind:?}"
        );
    }
}
