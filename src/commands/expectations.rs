//! Replies of redis-server 7.0.15, recorded, and what Basalt replies to the same commands.
//!
//! Each session starts on an empty keyspace. Only what does not depend on the time of day is in here, and nothing in which
//! Redis 7.2 differs from 7.0. To compare the table itself with a Redis:
//! `REDIS_ADDR=127.0.0.1:6379 cargo test --lib expectations -- --ignored`, which **empties all databases of that Redis**.

mod sessions;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sessions::SESSIONS;

use super::testing::Node;
use crate::resp::Proto;
use crate::types::quote::split_quoted;

struct Session {
    name: &'static str,
    proto: Proto,
    /// Command and reply; `select` chooses the database of what follows.
    steps: &'static [(&'static str, &'static [u8])],
}

fn words(line: &str) -> Vec<Vec<u8>> {
    split_quoted(line.as_bytes()).unwrap_or_else(|| panic!("quotes in {line:?}"))
}

#[test]
fn replies_are_those_of_redis() {
    let mut wrong = Vec::new();
    for session in SESSIONS {
        let mut node = Node::new();
        node.proto = session.proto;
        for (line, expected) in session.steps {
            let reply = match line.strip_prefix("select ") {
                Some(db) => {
                    node.db = db.parse().unwrap();
                    b"+OK\r\n".to_vec()
                }
                None => node.run(line),
            };
            if reply != *expected {
                let (reply, expected) = (reply.escape_ascii(), expected.escape_ascii());
                wrong.push(format!("{}: {line}\n    Redis  {expected}\n    Basalt {reply}\n", session.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
#[ignore = "needs a Redis that may be emptied, at REDIS_ADDR"]
fn recorded_replies_are_still_those_of_redis() {
    let address = std::env::var("REDIS_ADDR").expect("REDIS_ADDR names a Redis");
    for session in SESSIONS {
        let mut redis = TcpStream::connect(&address).unwrap();
        redis.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        send(&mut redis, "flushall");
        let mut ok = [0; 5];
        redis.read_exact(&mut ok).unwrap();
        if session.proto == Proto::Resp3 {
            send(&mut redis, "hello 3");
            // Its reply has no recorded length: what follows it is found by an ECHO.
            send(&mut redis, "echo end-of-hello");
            read_until(&mut redis, b"$12\r\nend-of-hello\r\n");
        }
        for (line, expected) in session.steps {
            send(&mut redis, line);
            let mut reply = vec![0; expected.len()];
            redis.read_exact(&mut reply).unwrap_or_else(|error| panic!("{}: {line}: {error}", session.name));
            assert_eq!(
                reply.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{}: {line}",
                session.name
            );
        }
    }
}

fn send(redis: &mut TcpStream, line: &str) {
    let words = words(line);
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(&word);
        request.extend_from_slice(b"\r\n");
    }
    redis.write_all(&request).unwrap();
}

fn read_until(redis: &mut TcpStream, end: &[u8]) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(end) {
        redis.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
}
