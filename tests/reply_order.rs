//! Replies come in the order of their requests, and to the client that asked.

mod common;

use common::Server;
use common::conn::{Reply, encode_into};

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

/// A command that needs no key, or all of them, is answered behind those sent before it, however long their cores take.
#[test]
fn commands_without_keys_are_answered_in_their_turn() {
    const COMMANDS: [&str; 36] = [
        "PING",
        "ECHO x",
        "DBSIZE",
        "CONFIG HELP",
        "SLOWLOG HELP",
        "LATENCY HELP",
        "MEMORY HELP",
        "COMMAND HELP",
        "OBJECT HELP",
        "CLIENT HELP",
        "CONFIG GET maxmemory",
        "CONFIG SET timeout 0",
        "CONFIG SET nosuch 1",
        "COMMAND COUNT",
        "COMMAND DOCS get",
        "COMMAND INFO get",
        "COMMAND GETKEYS GET x",
        "CLIENT GETNAME",
        "CLIENT SETNAME x",
        "CLIENT ID",
        "CLIENT NO-EVICT off",
        "SELECT 0",
        "SELECT 99",
        "SLOWLOG LEN",
        "SLOWLOG GET 0",
        "LATENCY LATEST",
        "LATENCY RESET",
        "MEMORY USAGE nosuch",
        "LASTSAVE",
        "NOSUCH",
        "GET",
        "KEYS nosuch*",
        "MGET key:0 key:1 key:2",
        "EXISTS key:0 key:1 key:2",
        "OBJECT ENCODING nosuch",
        "DEBUG SLEEP 0",
    ];
    for shards in ["1", "2", "3"] {
        let server = Server::basalt(&["--shards", shards, "--enable-debug-command", "yes"]);
        let mut conn = server.conn();
        for i in 0..20 {
            conn.ok(&format!("SET key:{i} value:{i}"));
        }
        for command in COMMANDS {
            let alone = conn.cmd(command);
            let mut pipeline = Vec::new();
            for i in 0..20 {
                encode_into(&mut pipeline, &["GET", &format!("key:{i}")]);
                encode_into(&mut pipeline, &command.split(' ').collect::<Vec<_>>());
            }
            conn.send_raw(&pipeline).unwrap();
            for i in 0..20 {
                assert_eq!(conn.read().unwrap(), bulk(&format!("value:{i}")), "before {command}, {shards} shards");
                assert_eq!(conn.read().unwrap(), alone, "{command}, {shards} shards");
            }
            // Back to no name, for the next reply of CLIENT GETNAME.
            conn.ok("CLIENT SETNAME \"\"");
        }
    }
}

/// Replies on their way when a client leaves must not reach the client that comes next, whatever is reused for it.
#[test]
fn replies_of_clients_that_left_reach_nobody_else() {
    for shards in ["1", "2", "3"] {
        let server = Server::basalt(&["--shards", shards]);
        let mut conn = server.conn();
        for i in 0..20 {
            conn.ok(&format!("SET key:{i} value:{i}"));
        }
        let mut abandoned = Vec::new();
        for i in 0..40 {
            encode_into(&mut abandoned, &["GET", &format!("key:{}", i % 20)]);
            encode_into(&mut abandoned, &["SLOWLOG", "HELP"]);
            encode_into(&mut abandoned, &["MGET", &format!("key:{}", i % 20), "key:0", "key:1", "key:2"]);
            encode_into(&mut abandoned, &["DBSIZE"]);
        }
        for round in 0..400 {
            let mut leaving = server.conn();
            leaving.send_raw(&abandoned).unwrap();
            match round % 3 {
                0 => leaving.reset(),
                1 => drop(leaving),
                _ => {
                    leaving.read().unwrap();
                    drop(leaving);
                }
            }
            let mut next = server.conn();
            let mut pipeline = Vec::new();
            for i in 0..20 {
                encode_into(&mut pipeline, &["ECHO", &format!("{round}:{i}")]);
                encode_into(&mut pipeline, &["GET", &format!("key:{i}")]);
            }
            next.send_raw(&pipeline).unwrap();
            for i in 0..20 {
                assert_eq!(next.read().unwrap(), bulk(&format!("{round}:{i}")), "round {round}, {shards} shards");
                assert_eq!(next.read().unwrap(), bulk(&format!("value:{i}")), "round {round}, {shards} shards");
            }
        }
    }
}
