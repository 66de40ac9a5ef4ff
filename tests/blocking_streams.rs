//! XREAD and XREADGROUP that wait, over keys of any core.

mod common;

use common::conn::{Conn, Reply};
use common::{Server, info_number, shard_of, wait_until};

const SHARDS: usize = 3;

fn server(shards: usize) -> Server {
    Server::basalt(&["--shards", &shards.to_string()])
}

/// A key on each shard.
fn keys() -> Vec<String> {
    let on = |shard: usize| (0..).map(|n| format!("key:{n}")).find(|key| shard_of(key.as_bytes(), SHARDS) == shard);
    (0..SHARDS).map(|shard| on(shard).unwrap()).collect()
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

/// What XREAD answers with one entry `f v`.
fn entry(key: &str, id: &str) -> Reply {
    let fields = Reply::Array(vec![bulk("f"), bulk("v")]);
    let entries = Reply::Array(vec![Reply::Array(vec![bulk(id), fields])]);
    Reply::Array(vec![Reply::Array(vec![bulk(key), entries])])
}

/// Sends a command that waits, and returns when it does.
fn block(conn: &mut Conn, admin: &mut Conn, line: &str) {
    let before = info_number(admin, "blocked_clients");
    conn.send(&line.split(' ').collect::<Vec<_>>()).unwrap();
    wait_until("the client is blocked", || info_number(admin, "blocked_clients") == before + 1);
}

#[test]
fn a_reader_gets_what_comes_after_it_asked() {
    for shards in [1, SHARDS] {
        let server = server(shards);
        let (mut admin, keys) = (server.conn(), keys());
        for key in &keys {
            for round in 0..3 {
                let mut conn = server.conn();
                admin.ok(&format!("DEL {key}"));
                if round > 0 {
                    admin.cmd(&format!("XADD {key} 5-1 f old"));
                }
                block(&mut conn, &mut admin, &format!("XREAD BLOCK 0 STREAMS {} none $ $", key));
                // Of no interest: another type, a deletion, and what was trimmed away at once.
                admin.cmd(&format!("XDEL {key} 5-1"));
                admin.cmd(&format!("XADD {key} MAXLEN 0 5-2 f gone"));
                assert_eq!(info_number(&mut admin, "blocked_clients"), 1);
                admin.cmd(&format!("XADD {key} 5-3 f v"));
                assert_eq!(conn.read().unwrap(), entry(key, "5-3"));
                assert_eq!(conn.cmd("PING"), Reply::Simple(b"PONG".to_vec()), "the client goes on");
                // The ID that it waits behind is the one of the moment it asked.
                block(&mut conn, &mut admin, &format!("XREAD COUNT 1 BLOCK 0 STREAMS {key} $"));
                admin.cmd("MULTI");
                admin.cmd(&format!("XADD {key} 6-1 f v"));
                admin.cmd(&format!("XADD {key} 6-2 f v"));
                admin.cmd("EXEC");
                assert_eq!(conn.read().unwrap(), entry(key, "6-1"));
            }
        }
    }
}

#[test]
fn the_last_entry_or_the_first_to_come() {
    let server = server(SHARDS);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    for key in keys() {
        block(&mut conn, &mut admin, &format!("XREAD BLOCK 0 STREAMS {key} +"));
        admin.cmd(&format!("XADD {key} 1-1 f v"));
        assert_eq!(conn.read().unwrap(), entry(&key, "1-1"));
        assert_eq!(conn.cmd(&format!("XREAD BLOCK 0 STREAMS {key} +")), entry(&key, "1-1"));
    }
}

#[test]
fn nothing_comes() {
    let server = server(SHARDS);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    let keys = keys().join(" ");
    assert_eq!(conn.cmd(&format!("XREAD BLOCK 20 STREAMS {keys} $ $ $")), Reply::NilArray);
    admin.cmd("XGROUP CREATE s g $ MKSTREAM");
    assert_eq!(conn.cmd("XREADGROUP GROUP g c BLOCK 20 STREAMS s >"), Reply::NilArray);
    assert_eq!(conn.cmd("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0").items().len(), 1, "history never waits");
    conn.cmd("MULTI");
    conn.cmd("XREAD BLOCK 0 STREAMS s $");
    assert_eq!(conn.cmd("EXEC"), Reply::Array(vec![Reply::NilArray]));
    assert_eq!(info_number(&mut admin, "blocked_clients"), 0);
}

#[test]
fn consumers_share_what_comes() {
    for shards in [1, SHARDS] {
        let server = server(shards);
        let (mut admin, keys) = (server.conn(), keys());
        for key in &keys {
            admin.ok(&format!("XGROUP CREATE {key} g $ MKSTREAM"));
            let mut consumers: Vec<Conn> = (0..4).map(|_| server.conn()).collect();
            for (n, conn) in consumers.iter_mut().enumerate() {
                block(conn, &mut admin, &format!("XREADGROUP GROUP g c{n} BLOCK 0 STREAMS {key} >"));
            }
            for (n, conn) in consumers.iter_mut().enumerate() {
                admin.cmd(&format!("XADD {key} {}-0 f v", n + 1));
                assert_eq!(conn.read().unwrap(), entry(key, &format!("{}-0", n + 1)));
            }
            assert_eq!(admin.cmd(&format!("XPENDING {key} g")).items()[0], Reply::Int(4));
            assert_eq!(info_number(&mut admin, "blocked_clients"), 0);
        }
    }
}

/// Whatever takes the group away, with its stream or alone: its readers hear of it, those of the stream itself go on waiting.
#[test]
fn a_group_that_is_gone_ends_the_wait() {
    const NO_GROUP: &[u8] = b"NOGROUP No such key '";
    const WRONG_TYPE: &[u8] = b"WRONGTYPE ";
    let ways = [
        ("XGROUP DESTROY KEY g", NO_GROUP),
        ("DEL KEY", NO_GROUP),
        ("UNLINK KEY", NO_GROUP),
        ("PEXPIRE KEY 1", NO_GROUP),
        ("RENAME KEY other", NO_GROUP),
        ("FLUSHDB", NO_GROUP),
        ("FLUSHALL ASYNC", NO_GROUP),
        ("SET KEY text", WRONG_TYPE),
        ("SORT none STORE KEY", NO_GROUP),
    ];
    for shards in [1, SHARDS] {
        let server = server(shards);
        let (mut admin, mut conn, mut reader) = (server.conn(), server.conn(), server.conn());
        for (key, (way, start)) in keys().iter().flat_map(|key| ways.map(|way| (key, way))) {
            admin.cmd(&format!("DEL {key}"));
            admin.ok(&format!("XGROUP CREATE {key} g $ MKSTREAM"));
            block(&mut conn, &mut admin, &format!("XREADGROUP GROUP g c BLOCK 0 STREAMS {key} >"));
            block(&mut reader, &mut admin, &format!("XREAD BLOCK 0 STREAMS {key} $"));
            admin.cmd(&way.replace("KEY", key));
            let Reply::Error(text) = conn.read().unwrap() else { panic!("{way}: no error") };
            assert!(text.starts_with(start), "{way}: {}", text.escape_ascii());
            assert_eq!(info_number(&mut admin, "blocked_clients"), 1, "{way}");
            admin.cmd(&format!("DEL {key}"));
            admin.cmd(&format!("XADD {key} 1-1 f v"));
            assert_eq!(reader.read().unwrap(), entry(key, "1-1"), "{way}");
        }
    }
}
