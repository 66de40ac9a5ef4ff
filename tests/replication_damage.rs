//! A replica and primaries that send what no primary should: damaged snapshots, headers that make no sense, a stream that breaks off at
//! every byte or is none. The replica hangs up, tries again, stays whole, and takes the good one that comes in the end.

mod common;
#[path = "differential/families/mod.rs"]
#[allow(dead_code)]
mod families;
#[path = "differential/generator.rs"]
#[allow(dead_code)]
mod generator;
#[path = "replication/mod.rs"]
mod replication;

use common::conn::encode;
use common::{Kind, Node, Rng, seed, wait_until};
use replication::fake::{Answer, FakePrimary, Form, ID, full_resync, take_snapshot};
use replication::{at_once, wait_link_up};
use std::sync::{Arc, Mutex};

const OFFSET: i64 = 1000;

/// A node with strings of every encoding, in two databases, some with a time.
fn source() -> Node {
    let source = Node::start(Kind::Redis, &[]);
    let mut conn = source.conn();
    for db in ["0", "5"] {
        conn.ok(&format!("SELECT {db}"));
        for i in 0..40 {
            let values = [format!("{i}"), format!("-{i}00000"), format!("value {i}"), "compressible ".repeat(30)];
            conn.argv(&["SET", &format!("key:{i}"), &values[i % 4]]);
        }
        conn.ok("PEXPIREAT key:7 4102444800123");
    }
    source
}

/// What is wrong with an answer, and the answer.
type Case = (String, Vec<u8>);

fn damaged_snapshots(good: &[u8], form: Form, random: &mut Rng) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |what: String, snapshot: &[u8]| cases.push((what, full_resync(OFFSET, form, snapshot, b"")));
    // Each byte of the beginning and the end, some between.
    let edges = (0..60).chain(good.len() - 30..good.len());
    let between: Vec<usize> = (0..60).map(|_| random.below(good.len())).collect();
    for at in edges.chain(between) {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << random.below(8);
        case(format!("a bit of byte {at} of {} is flipped", good.len()), &bad);
    }
    for length in [0, 5, 9, 10, good.len() / 2, good.len() - 9, good.len() - 8, good.len() - 1] {
        case(format!("{length} of {} bytes", good.len()), &good[..length]);
    }
    let mut newer = good.to_vec();
    newer[5..9].copy_from_slice(b"0099");
    case("a version of the future".to_owned(), &newer);
    cases
}

fn odd_headers(good: &[u8]) -> Vec<Case> {
    let resync = format!("+FULLRESYNC {ID} {OFFSET}\r\n");
    let answers = [
        "+CONTINUE\r\n".to_owned(),
        "+FULLRESYNC\r\n".to_owned(),
        "+FULLRESYNC short 1\r\n$0\r\n".to_owned(),
        "$5\r\nhello\r\n".to_owned(),
        "*1\r\n$4\r\nPING\r\n".to_owned(),
        "-NOMASTERLINK Can't SYNC while not connected with my master\r\n".to_owned(),
        "-LOADING Redis is loading the dataset in memory\r\n".to_owned(),
        "-ERR no\r\n".to_owned(),
        "x".repeat(100_000),
        format!("{resync}-ERR no snapshot today\r\n"),
        format!("{resync}$abc\r\n"),
        format!("{resync}$-5\r\n"),
        format!("{resync}$EOF:short\r\nREDIS0010"),
        format!("{resync}hello\r\n"),
        format!("{resync}${}\r\n", u64::MAX),
        format!("{resync}{}", "9".repeat(100_000)),
    ];
    let mut cases: Vec<Case> = answers
        .into_iter()
        .map(|text| (common::conn::escape(&text.as_bytes()[..text.len().min(60)]), text.into()))
        .collect();
    // All there, but no end of it.
    let mut unending = full_resync(OFFSET, Form::EofMark, good, b"");
    unending.truncate(unending.len() - 1);
    cases.push(("no whole mark at the end".to_owned(), unending));
    cases
}

/// One replica, and every case in turn; at last the good snapshot.
fn takes_none_but_the_good(&(load, form): &(&str, Form), seed: u64) {
    let source = source();
    let good = take_snapshot(source.port).expect("a snapshot of a redis-server");
    let mut replica = Node::start(Kind::Basalt(2), &[("repl-diskless-load", load)]);
    let mut cases = odd_headers(&good);
    if replica.is_basalt() {
        cases.extend(damaged_snapshots(&good, form, &mut Rng::new(seed)));
    } else {
        println!("skipped: a redis-server ends when a snapshot that it got is damaged");
        if load != "swapdb" {
            return;
        }
    }
    let answer = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&answer);
    // Hanging up is left to the replica, unless it waits for what will never come.
    let fake = FakePrimary::start(move |_, _| {
        let bytes = given.lock().expect("no panic").clone();
        Answer { bytes, hang_up: true }
    });
    let mut conn = replica.conn();
    for (what, bytes) in cases {
        conn.ok("REPLICAOF NO ONE");
        conn.ok("FLUSHALL");
        conn.ok("SET mine 1");
        *answer.lock().expect("no panic") = bytes;
        let ended = fake.ended();
        conn.ok(&format!("REPLICAOF 127.0.0.1 {}", fake.port));
        wait_until(&format!("the link ends: {what}"), || fake.ended() > ended);
        wait_until(&format!("the replica is not syncing any more: {what}"), || {
            let info = replica.info();
            assert!(!info.link_up(), "{what}: the link is up");
            info.number("master_sync_in_progress") == 0 || fake.ended() > ended + 1
        });
        if load == "swapdb" {
            conn.ok("REPLICAOF NO ONE");
            assert_eq!(conn.cmd("GET mine").text_or_nil(), "1", "{what}: the old data is still there");
            assert_eq!(conn.cmd("DBSIZE").int(), 1, "{what}: and nothing else");
        }
    }
    replica.assert_healthy();
    conn.ok("REPLICAOF NO ONE");
    *answer.lock().expect("no panic") = b"-ERR none\r\n".to_vec();
    drop(fake);
    let fake = FakePrimary::start(move |_, _| Answer { bytes: full_resync(OFFSET, form, &good, b""), hang_up: false });
    replica.replicate(fake.port);
    wait_link_up(&replica);
    assert_eq!(conn.cmd("DEBUG DIGEST"), source.conn().cmd("DEBUG DIGEST"));
    assert_eq!(conn.cmd("PEXPIRETIME key:7").int(), 4_102_444_800_123);
    assert_eq!(replica.info().offset(), OFFSET);
    let left: Vec<String> = replica.files().into_iter().filter(|name| name.starts_with("temp-")).collect();
    assert!(left.is_empty(), "temporary files are taken away: {left:?}");
}

#[test]
fn damaged_snapshots_are_refused() {
    let seed = seed();
    let mut cases = Vec::new();
    for load in ["swapdb", "disabled", "on-empty-db"] {
        cases.extend([(load, Form::Length), (load, Form::EofMark)]);
    }
    at_once(cases, |case| takes_none_but_the_good(case, seed));
}

/// A stream with everything that counts as one, and where each of its commands ends outside of a block.
fn stream() -> (Vec<u8>, Vec<usize>) {
    let large = "x".repeat(300);
    let pieces: Vec<Vec<Vec<u8>>> = vec![
        vec![encode(&["SELECT", "1"])],
        vec![encode(&["INCR", "once"])],
        vec![encode(&["MULTI"]), encode(&["APPEND", "a", "x"]), encode(&["INCR", "b"]), encode(&["EXEC"])],
        vec![encode(&["PING"])],
        vec![encode(&["APPEND", "a", &large])],
        vec![encode(&["MSET", "m1", "1", "m2", "2", "m3", "3"])],
        vec![encode(&["SELECT", "2"])],
        vec![encode(&["APPEND", "c", "y"])],
        vec![
            encode(&["MULTI"]),
            encode(&["INCR", "d"]),
            encode(&["SELECT", "3"]),
            encode(&["INCR", "e"]),
            encode(&["EXEC"]),
        ],
        vec![encode(&["INCR", "f"])],
        vec![encode(&["MOVE", "f", "4"])],
    ];
    let (mut bytes, mut ends) = (Vec::new(), vec![0]);
    for piece in pieces {
        piece.iter().for_each(|command| bytes.extend_from_slice(command));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[derive(Default)]
struct Progress {
    /// Bytes of the stream sent so far.
    sent: usize,
    /// Where the replica last went on from.
    from: usize,
    wrong: Vec<String>,
}

/// The link ends after every single byte of the stream, a third of them in each case; the replica asks for what comes behind the last whole command that it has
/// applied, and applies each exactly once.
fn broken_at_every_byte(&(kind, first): &(Kind, usize)) {
    const STEP: usize = 3;
    let empty = take_snapshot(Node::start(Kind::Redis, &[]).port).expect("a snapshot of a redis-server");
    let (bytes, ends) = stream();
    let total = bytes.len();
    let progress = Arc::new(Mutex::new(Progress::default()));
    let seen = Arc::clone(&progress);
    let fake = FakePrimary::start(move |id, offset| {
        let mut progress = seen.lock().unwrap_or_else(|e| e.into_inner());
        if id != ID {
            if progress.sent > 0 {
                let note = format!("a full resync after {} bytes", progress.sent);
                progress.wrong.push(note);
            }
            progress.sent = first;
            return Answer { bytes: full_resync(OFFSET, Form::Length, &empty, &bytes[..first]), hang_up: true };
        }
        let from = usize::try_from(offset - OFFSET - 1).unwrap_or(usize::MAX);
        if id != ID || !ends.contains(&from) || from > progress.sent || from < progress.from {
            let note = format!("PSYNC {id} {offset}: {from} of {} sent, last from {}", progress.sent, progress.from);
            progress.wrong.push(note);
        }
        let from = from.min(progress.sent);
        progress.from = from;
        let sent = (progress.sent + STEP).min(total);
        progress.sent = sent;
        let mut answer = b"+CONTINUE\r\n".to_vec();
        answer.extend_from_slice(&bytes[from..sent]);
        Answer { bytes: answer, hang_up: sent < total }
    });
    let replica = Node::start(kind, &[("repl-diskless-load", "swapdb")]);
    replica.replicate(fake.port);
    common::wait_up_to(common::PATIENCE * 6, "all of the stream was applied", || {
        let progress = progress.lock().unwrap_or_else(|e| e.into_inner());
        assert!(progress.wrong.is_empty(), "{:?}", progress.wrong);
        progress.sent == total && replica.info().link_up() && replica.info().offset() == OFFSET + total as i64
    });
    let mut conn = replica.conn();
    let mut expect = |db: &str, command: &str, text: &str| {
        conn.ok(&format!("SELECT {db}"));
        assert_eq!(conn.cmd(command).text(), text, "{command} in database {db}");
    };
    expect("1", "GET once", "1");
    expect("1", "GET b", "1");
    expect("1", "STRLEN a", "301");
    expect("1", "EXISTS m1 m2 m3", "3");
    expect("2", "GET c", "y");
    expect("2", "GET d", "1");
    expect("3", "GET e", "1");
    expect("4", "GET f", "1");
    expect("3", "DBSIZE", "1");
}

#[test]
fn a_stream_that_breaks_at_every_byte() {
    at_once(vec![(Kind::Basalt(1), 1), (Kind::Basalt(2), 2), (Kind::Basalt(4), 3)], broken_at_every_byte);
}

/// Bytes that are no commands end the link, commands that fail do not, and neither ends the node.
#[test]
fn a_stream_of_nonsense() {
    let empty = take_snapshot(Node::start(Kind::Redis, &[]).port).expect("a snapshot of a redis-server");
    // Each round marks its data, for a replica shows those of the round before until it has loaded.
    let fine = |round: &str| {
        let commands = [
            encode(&["SET", "number", "abc"]),
            // What a primary of another version may send, and what fails here.
            encode(&["NOSUCHCOMMAND", "a", "b"]),
            encode(&["INCR", "number"]),
            encode(&["SET", "after", round]),
        ];
        commands.concat()
    };
    let broken: [&[u8]; 5] = [
        b"*1\r\n$-5\r\nhello\r\n",
        b"*2\r\n:5\r\n",
        b"*99999999999\r\n",
        b"*1\r\n$99999999999999\r\n",
        b"\0\0\r\n\xff",
    ];
    let mut replica = Node::start(Kind::Basalt(2), &[("repl-diskless-load", "swapdb")]);
    if !replica.is_basalt() {
        println!("skipped: a redis-server ends with a report when its primary sends bytes that are no commands");
        return;
    }
    for (round, bad) in broken.into_iter().enumerate() {
        let round = round.to_string();
        let stream = [fine(&round).as_slice(), bad].concat();
        let mut answers = vec![full_resync(OFFSET, Form::Length, &empty, &stream)];
        // Once only: a replica that comes again would begin anew, with nothing.
        let fake = FakePrimary::start(move |_, _| match answers.pop() {
            Some(bytes) => Answer { bytes, hang_up: false },
            None => Answer { bytes: b"-NOMASTERLINK not again\r\n".to_vec(), hang_up: true },
        });
        replica.replicate(fake.port);
        let shown = common::conn::escape(bad);
        if bad[0] == b'*' {
            wait_until(&format!("the link ends: {shown}"), || fake.ended() > 0);
        }
        wait_until("what came before was applied", || replica.conn().cmd("GET after").text_or_nil() == round);
        replica.promote();
        replica.assert_healthy();
        assert_eq!(replica.conn().cmd("GET number").text(), "abc");
    }
}
