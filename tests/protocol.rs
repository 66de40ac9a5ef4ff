//! The wire: fragmentation, pipelines, inline commands, RESP3, protocol errors, limits, and clients that misbehave.
//!
//! After every attack the server must still answer, and what a client made it hold must be given back.

mod common;

use common::conn::{self, Conn, Reply, encode, encode_into};
use common::{Flavour, Launch, Server, available_memory, info_number, raise_open_files, server::exchange, wait_until};
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// How much a server may hold more than before once a test's load is gone: allocator slack, not data.
const SLACK_BYTES: u64 = 48 * MIB;

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn connected_clients(server: &Server) -> u64 {
    info_number(&mut server.conn(), "connected_clients")
}

#[track_caller]
fn wait_for_memory_to_return(server: &Server, before: u64, slack: u64) {
    wait_until(&format!("resident memory is back near {} KiB", before / 1024), || {
        // Freed pages go back to the kernel as an allocator sees fit, some of them only while the server works.
        server.conn().cmd("PING");
        server.rss() < before + slack
    });
}

/// Requests of every shape, and what must come back for all of them together.
fn mixed_script() -> Vec<u8> {
    let mut script = Vec::new();
    encode_into(&mut script, &["SET", "frag:a", "value with\r\nline end"]);
    encode_into(&mut script, &["GET", "frag:a"]);
    script.extend_from_slice(b"PING\r\n\r\nECHO \"in line\\x21\"\r\n");
    encode_into(&mut script, &["SET", "", ""]);
    encode_into(&mut script, &["GET", ""]);
    script.extend_from_slice(b"*0\r\n*-1\r\n");
    encode_into(&mut script, &["MGET", "frag:a", "frag:none", ""]);
    encode_into(&mut script, &["NOSUCH", "arg"]);
    encode_into(&mut script, &["DEL", "frag:a"]);
    script
}

const MIXED_REPLIES: &str = "+OK\r\n$20\r\nvalue with\r\nline end\r\n+PONG\r\n$8\r\nin line!\r\n+OK\r\n$0\r\n\r\n\
     *3\r\n$20\r\nvalue with\r\nline end\r\n$-1\r\n$0\r\n\r\n-ERR unknown command 'NOSUCH', with args beginning with: 'arg' \r\n:1\r\n";

#[test]
fn any_fragmentation_gives_the_same_replies() {
    for shards in ["1", "2"] {
        let server = Server::basalt(&["--shards", shards]);
        let script = mixed_script();
        assert_eq!(String::from_utf8_lossy(&exchange(server.port, &script)), MIXED_REPLIES, "at once");

        let mut conn = server.conn();
        for byte in &script {
            conn.send_raw(std::slice::from_ref(byte)).unwrap();
        }
        conn.finish_writing();
        assert_eq!(String::from_utf8_lossy(&conn.read_to_end().unwrap()), MIXED_REPLIES, "byte by byte");

        let mut other = server.conn();
        for cut in 1..script.len() {
            let mut conn = server.conn();
            conn.send_raw(&script[..cut]).unwrap();
            // The round trip of another client gives the server time to see the first part alone.
            other.cmd("PING");
            conn.send_raw(&script[cut..]).unwrap();
            conn.finish_writing();
            assert_eq!(String::from_utf8_lossy(&conn.read_to_end().unwrap()), MIXED_REPLIES, "cut at byte {cut}");
        }
    }
}

#[test]
fn a_value_larger_than_any_buffer_survives_fragmentation() {
    let server = Server::basalt(&["--shards", "2"]);
    let mut conn = server.conn();
    for len in [16383, 16384, 16385, 65535, 65536, 200_000, 3_000_001] {
        let value: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        for piece in [1009, 16384, 100_003] {
            let key = format!("big:{len}:{piece}");
            for part in encode(&[b"SET", key.as_bytes(), value.as_slice()]).chunks(piece) {
                conn.send_raw(part).unwrap();
            }
            assert_eq!(conn.read().unwrap(), ok());
            assert!(conn.argv(&["GET", &key]) == Reply::Bulk(value.clone()), "{len} bytes in pieces of {piece}");
        }
    }
}

/// Replies of a pipeline come in its order, whatever shard each key is on.
#[test]
fn pipelines_of_thousands_keep_their_order() {
    const COMMANDS: usize = 30_000;
    for shards in ["1", "2", "3"] {
        let server = Server::basalt(&["--shards", shards]);
        let mut conn = server.conn();
        let mut pipeline = Vec::new();
        for i in 0..COMMANDS {
            match i % 5 {
                0 => encode_into(&mut pipeline, &["SET", &format!("p:{i}"), &format!("v{i}")]),
                1 => encode_into(&mut pipeline, &["GET", &format!("p:{}", i - 1)]),
                2 => encode_into(&mut pipeline, &["ECHO", &i.to_string()]),
                3 => encode_into(&mut pipeline, &["INCRBY", &format!("n:{}", i % 7), "1"]),
                _ => encode_into(&mut pipeline, &["GET", &format!("absent:{i}")]),
            }
        }
        let mut writer = conn.writer();
        let sender = std::thread::spawn(move || writer.write_all(&pipeline));
        let mut counters = [0i64; 7];
        for i in 0..COMMANDS {
            let expected = match i % 5 {
                0 => ok(),
                1 => bulk(&format!("v{}", i - 1)),
                2 => bulk(&i.to_string()),
                3 => {
                    counters[i % 7] += 1;
                    Reply::Int(counters[i % 7])
                }
                _ => Reply::NilBulk,
            };
            assert_eq!(conn.read().unwrap(), expected, "reply {i} with {shards} shards");
        }
        sender.join().unwrap().unwrap();
    }
}

#[test]
fn many_pipelines_at_once_do_not_mix() {
    let server = Server::basalt(&["--shards", "2"]);
    let port = server.port;
    let clients: Vec<_> = (0..20)
        .map(|client| {
            std::thread::spawn(move || {
                let mut conn = Conn::open(port);
                for round in 0..50 {
                    let mut pipeline = Vec::new();
                    for i in 0..100 {
                        encode_into(
                            &mut pipeline,
                            &["SET", &format!("c{client}:{i}"), &format!("{client}-{round}-{i}")],
                        );
                        encode_into(&mut pipeline, &["GET", &format!("c{client}:{i}")]);
                    }
                    conn.send_raw(&pipeline).unwrap();
                    for i in 0..100 {
                        assert_eq!(conn.read().unwrap(), ok());
                        assert_eq!(conn.read().unwrap(), bulk(&format!("{client}-{round}-{i}")));
                    }
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
}

#[test]
fn inline_commands() {
    let server = Server::basalt(&[]);
    for (sent, expected) in [
        ("PING\r\n", "+PONG\r\n"),
        ("PING\n", "+PONG\r\n"),
        ("  ping   hello  \r\n", "$5\r\nhello\r\n"),
        ("\r\n\r\nPING\r\n", "+PONG\r\n"),
        ("   \r\nPING\r\n", "+PONG\r\n"),
        ("ECHO \"a b\\n\\x41\\\"\"\r\n", "$6\r\na b\nA\"\r\n"),
        ("ECHO 'it\\'s \\n'\r\n", "$7\r\nit's \\n\r\n"),
        ("ECHO \"\"\r\n", "$0\r\n\r\n"),
        ("set inline:k v\nget inline:k\n", "+OK\r\n$1\r\nv\r\n"),
        ("ECHO\r\n", "-ERR wrong number of arguments for 'echo' command\r\n"),
        ("QUIT\r\nPING\r\n", "+OK\r\n"),
    ] {
        assert_eq!(String::from_utf8_lossy(&exchange(server.port, sent.as_bytes())), expected, "sent {sent:?}");
    }
}

#[test]
fn hello_switches_the_protocol() {
    let server = Server::basalt(&[]);
    let mut conn = server.conn();
    let two = conn.cmd("HELLO");
    assert!(matches!(two, Reply::Array(ref items) if items.len() == 14), "{two:?}");
    assert_eq!(conn.cmd("GET none"), Reply::NilBulk);
    let three = conn.cmd("HELLO 3 SETNAME me");
    let Reply::Map(ref pairs) = three else { panic!("{three:?}") };
    let names: Vec<String> = pairs.iter().map(|(k, _)| k.text()).collect();
    assert_eq!(names, ["server", "version", "proto", "id", "mode", "role", "modules"]);
    assert_eq!(three.get("proto"), Some(Reply::Int(3)));
    assert_eq!(three.get("role"), Some(bulk("master")));
    assert_eq!(three.get("mode"), Some(bulk("standalone")));
    assert_eq!(three.get("id"), Some(conn.cmd("CLIENT ID")));
    assert_eq!(three.get("modules"), Some(Reply::Array(vec![])));
    assert_eq!(conn.cmd("CLIENT GETNAME"), bulk("me"));
    assert_eq!(conn.cmd("GET none"), Reply::Null);
    assert!(matches!(conn.cmd("CONFIG GET maxmemory"), Reply::Map(p) if p.len() == 1));
    assert!(matches!(conn.cmd("INFO server"), Reply::Verbatim(_)));
    conn.cmd("SET text abcd");
    assert!(matches!(conn.cmd("LCS text text IDX"), Reply::Map(_)));
    assert_eq!(conn.cmd("RESET"), Reply::Simple(b"RESET".to_vec()));
    assert_eq!(conn.cmd("GET none"), Reply::NilBulk, "RESET goes back to RESP2");
    for (sent, error) in [
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO 1", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 AUTH user", "ERR Syntax error in HELLO option 'AUTH'"),
        ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
        ("HELLO 3 AUTH nobody wrong", "WRONGPASS invalid username-password pair or user is disabled."),
    ] {
        assert_eq!(conn.cmd(sent), Reply::Error(error.as_bytes().to_vec()), "{sent}");
    }
}

/// Each violation gets exactly its error and then the end of the stream, also when valid commands follow.
#[test]
fn protocol_errors_say_what_is_wrong_and_close() {
    let mut server = Server::basalt(&["--proto-max-bulk-len", "1mb"]);
    let long = "x".repeat(70_000);
    let cases: Vec<(String, &str)> = vec![
        ("*abc\r\n".into(), "invalid multibulk length"),
        ("*\r\n".into(), "invalid multibulk length"),
        ("*1x\r\n".into(), "invalid multibulk length"),
        ("*2147483648\r\n".into(), "invalid multibulk length"),
        ("*99999999999999999999\r\n".into(), "invalid multibulk length"),
        ("*1\r\nfoo\r\n".into(), "expected '$', got 'f'"),
        ("*1\r\n:1\r\n".into(), "expected '$', got ':'"),
        ("*1\r\n\r\n".into(), "expected '$', got '\r'"),
        ("*1\r\n$abc\r\n".into(), "invalid bulk length"),
        ("*1\r\n$\r\n".into(), "invalid bulk length"),
        ("*1\r\n$-1\r\n".into(), "invalid bulk length"),
        ("*1\r\n$1048577\r\n".into(), "invalid bulk length"),
        ("*2\r\n$4\r\nECHO\r\n$99999999999\r\n".into(), "invalid bulk length"),
        ("SET a \"b\r\n".into(), "unbalanced quotes in request"),
        ("SET a \"b\"c\r\n".into(), "unbalanced quotes in request"),
        ("SET a 'b\r\n".into(), "unbalanced quotes in request"),
        (long.clone(), "too big inline request"),
        (format!("*{long}"), "too big mbulk count string"),
        (format!("*1\r\n${long}"), "too big bulk count string"),
    ];
    for (sent, error) in &cases {
        let got = exchange(server.port, sent.as_bytes());
        let expected = format!("-ERR Protocol error: {}\r\n", error.replace('\r', " "));
        assert_eq!(String::from_utf8_lossy(&got), expected, "sent {}", conn::escape(sent.as_bytes()));

        let got = exchange(server.port, format!("PING\r\n{sent}").as_bytes());
        assert_eq!(String::from_utf8_lossy(&got), format!("+PONG\r\n{expected}"), "behind a PING");
    }
    let got = exchange(server.port, b"*1\r\n$-1\r\nPING\r\nPING\r\n");
    assert_eq!(got, b"-ERR Protocol error: invalid bulk length\r\n", "nothing after the error is served");
    server.assert_healthy();
}

#[test]
fn clients_without_a_password_are_held_to_smaller_requests() {
    let server = Server::basalt(&["--requirepass", "secret"]);
    let error = |text: &str| format!("-ERR Protocol error: {text}\r\n");
    for (sent, expected) in [
        ("*11\r\n", error("unauthenticated multibulk length")),
        ("*2\r\n$4\r\nAUTH\r\n$16385\r\n", error("unauthenticated bulk length")),
        ("PING\r\n", "-NOAUTH Authentication required.\r\n".to_owned()),
        ("NOSUCH\r\n", "-ERR unknown command 'NOSUCH', with args beginning with: \r\n".to_owned()),
    ] {
        assert_eq!(String::from_utf8_lossy(&exchange(server.port, sent.as_bytes())), expected, "sent {sent:?}");
    }
    let mut conn = server.conn();
    assert_eq!(conn.cmd("AUTH secret"), ok());
    assert_eq!(conn.argv(&["ECHO", &"x".repeat(20_000)]), bulk(&"x".repeat(20_000)));
}

#[test]
fn bulk_and_inline_lengths_up_to_their_limits() {
    let server = Server::basalt(&["--proto-max-bulk-len", "1mb"]);
    let mut conn = server.conn();
    let value = "v".repeat(1024 * 1024);
    assert_eq!(conn.argv(&["SET", "limit", &value]), ok());
    assert_eq!(conn.cmd("STRLEN limit"), Reply::Int(1024 * 1024));
    let too_long = Reply::Error(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)".to_vec());
    assert_eq!(conn.cmd("APPEND limit x"), too_long);
    assert_eq!(conn.cmd("SETRANGE limit 1048576 x"), too_long);
    let argument = "i".repeat(60_000);
    let got = exchange(server.port, format!("ECHO {argument}\r\n").as_bytes());
    assert_eq!(got.len(), argument.len() + "$60000\r\n\r\n".len());
}

#[test]
fn the_query_buffer_is_limited() {
    let mut server = Server::basalt(&["--client-query-buffer-limit", "1mb"]);
    let before = server.rss();
    let mut conn = server.conn();
    conn.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8000000\r\n").unwrap();
    let part = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while sent < 7_000_000 && conn.send_raw(&part).is_ok() {
        sent += part.len();
    }
    assert!(conn.closed(), "the connection stays open after {sent} bytes of one request");
    wait_until("the log tells of it", || server.log().contains("query buffer"));
    assert_eq!(server.conn().cmd("EXISTS k"), Reply::Int(0));
    server.assert_healthy();
    wait_for_memory_to_return(&server, before, SLACK_BYTES);
}

#[test]
fn garbage_from_many_connections() {
    let mut server = Server::basalt(&["--shards", "2"]);
    let before = server.rss();
    let mut rng = common::Rng::new(common::seed());
    let openings: [&[u8]; 7] = [b"", b"*", b"*3\r\n", b"*1\r\n$", b"*2\r\n$3\r\nGET\r\n$", b"\x00\x00", b"GET "];
    for _ in 0..600 {
        let mut bytes = rng.pick(&openings).to_vec();
        let len = rng.below(4000);
        bytes.extend(rng.bytes(len));
        let mut conn = server.conn();
        // The server may close in the middle of it; that is its right.
        let _ = conn.send_raw(&bytes);
        match rng.below(3) {
            0 => conn.reset(),
            1 => drop(conn),
            _ => {
                conn.finish_writing();
                conn.read_to_end().expect("the server answers garbage with an end");
            }
        }
    }
    server.assert_healthy();
    wait_until("only the asking client is left", || connected_clients(&server) == 1);
    wait_for_memory_to_return(&server, before, SLACK_BYTES);
}

#[test]
fn clients_killed_in_the_middle_of_a_pipeline() {
    let mut server = Server::basalt(&["--shards", "2"]);
    let value = "v".repeat(20_000);
    for i in 0..16 {
        assert_eq!(server.conn().argv(&["SET", &format!("k:{i}"), &value]), ok());
    }
    let before = server.rss();
    for round in 0..150 {
        let mut pipeline = Vec::new();
        for i in 0..500 {
            encode_into(&mut pipeline, &["GET", &format!("k:{}", i % 16)]);
            encode_into(&mut pipeline, &["INCR", &format!("n:{}", i % 16)]);
        }
        // Also in the middle of a request.
        pipeline.truncate(pipeline.len() - round % 20);
        let mut conn = server.conn();
        conn.send_raw(&pipeline).unwrap();
        if round % 3 == 0 {
            conn.read().unwrap();
        }
        if round % 2 == 0 { conn.reset() } else { drop(conn) }
    }
    wait_until("only the asking client is left", || connected_clients(&server) == 1);
    server.assert_healthy();
    wait_for_memory_to_return(&server, before, SLACK_BYTES);
}

#[test]
fn a_value_of_512_mb() {
    const LEN: usize = 512 * 1024 * 1024;
    const NEEDED: u64 = 5 * 1024 * MIB;
    if available_memory() < NEEDED {
        println!("skipped: needs {} MiB of available memory", NEEDED / MIB);
        return;
    }
    let mut server = Server::basalt(&["--shards", "2"]);
    let before = server.rss();
    let mut conn = server.conn();
    conn.set_timeout(Duration::from_secs(120));
    let value: Vec<u8> = (0..LEN).map(|i| (i ^ (i >> 13)) as u8).collect();
    conn.send_raw(format!("*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n${LEN}\r\n").as_bytes()).unwrap();
    conn.send_raw(&value).unwrap();
    conn.send_raw(b"\r\n").unwrap();
    assert_eq!(conn.read().unwrap(), ok());
    assert_eq!(conn.cmd("STRLEN huge"), Reply::Int(LEN as i64));
    let held = server.rss();
    assert!(held < before + LEN as u64 * 5 / 2, "{} MiB for one value of 512 MiB", (held - before) / MIB);
    assert!(conn.cmd("GET huge") == Reply::Bulk(value), "the value comes back changed");
    assert_eq!(
        conn.cmd("APPEND huge x"),
        Reply::Error(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)".to_vec())
    );
    assert_eq!(conn.cmd("DEL huge"), Reply::Int(1));
    drop(conn);
    server.assert_healthy();
    wait_for_memory_to_return(&server, before, 96 * MIB);
}

#[test]
fn one_client_too_many() {
    let mut server = Server::basalt(&["--maxclients", "10", "--shards", "2"]);
    wait_until("the harness's own connection is gone", || connected_clients(&server) == 1);
    let mut held = Vec::new();
    let refusal = b"-ERR max number of clients reached\r\n";
    let mut refused = 0;
    for _ in 0..25 {
        let mut conn = server.conn();
        // The refusal comes unasked, then the end; writing first could turn it into a reset.
        conn.set_timeout(Duration::from_millis(300));
        match conn.read() {
            Ok(Reply::Error(text)) => {
                assert_eq!(text, refusal[1..refusal.len() - 2]);
                assert!(conn.closed());
                refused += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => held.push(conn),
        }
    }
    assert!(held.len() <= 10 && held.len() + refused == 25, "{} held, {refused} refused", held.len());
    assert!(held.len() >= 9, "only {} clients got in", held.len());
    for conn in &mut held {
        conn.set_timeout(Duration::from_secs(10));
        assert_eq!(conn.cmd("PING"), Reply::Simple(b"PONG".to_vec()));
    }
    assert_eq!(info_number(&mut held[0], "rejected_connections"), refused as u64);
    drop(held);
    wait_until("there is room again", || {
        let mut conn = server.conn();
        conn.send(&["PING"]).is_ok() && matches!(conn.read(), Ok(Reply::Simple(_)))
    });
    server.assert_healthy();
}

#[test]
fn a_reader_too_slow_for_its_output_buffer_limit_is_closed() {
    for shards in ["1", "2"] {
        let limit = ["--client-output-buffer-limit", "normal 2mb 0 0"];
        let mut server = Server::basalt(&["--shards", shards, limit[0], limit[1]]);
        for i in 0..4 {
            assert_eq!(server.conn().argv(&["SET", &format!("k:{i}"), &"v".repeat(100_000)]), ok());
        }
        let before = server.rss();
        let mut slow: Vec<Conn> = (0..5).map(|_| server.conn()).collect();
        for conn in &mut slow {
            let mut pipeline = Vec::new();
            for i in 0..2000 {
                encode_into(&mut pipeline, &["GET", &format!("k:{}", i % 4)]);
            }
            let _ = conn.send_raw(&pipeline);
        }
        wait_until("all slow readers are closed", || connected_clients(&server) == 1);
        assert!(server.log().contains("output buffer limits"), "the log names the reason:\n{}", server.log());
        // A field of Redis 7.2: absent in the 7.0 that may play Basalt here.
        if server.flavour == Flavour::Basalt {
            assert!(info_number(&mut server.conn(), "client_output_buffer_limit_disconnections") >= 5);
        }
        // What the kernel still holds for them is not read: the rest of a stalled stream comes at TCP's leisure.
        drop(slow);
        server.assert_healthy();
        wait_for_memory_to_return(&server, before, SLACK_BYTES);
    }
}

/// Without a limit a slow reader gets all of its replies once it reads, and other clients are served meanwhile.
#[test]
fn a_slow_reader_gets_everything_in_the_end() {
    let mut server = Server::basalt(&["--shards", "2"]);
    // 100 MB in all: far beyond what the kernel buffers for a connection.
    let value = "v".repeat(200_000);
    server.conn().argv(&["SET", "k", &value]);
    let mut slow = server.conn();
    let mut pipeline = Vec::new();
    for i in 0..500 {
        encode_into(&mut pipeline, &["GET", "k"]);
        encode_into(&mut pipeline, &["ECHO", &i.to_string()]);
    }
    slow.send_raw(&pipeline).unwrap();
    let mut other = server.conn();
    for _ in 0..1000 {
        assert_eq!(other.cmd("PING"), Reply::Simple(b"PONG".to_vec()));
    }
    for i in 0..500 {
        assert_eq!(slow.read().unwrap(), bulk(&value));
        assert_eq!(slow.read().unwrap(), bulk(&i.to_string()));
    }
    server.assert_healthy();
}

#[test]
fn ten_thousand_connections() {
    const WANTED: u64 = 10_000;
    let limit = raise_open_files(WANTED + 1000);
    let count = WANTED.min(limit.saturating_sub(200)) as usize;
    if (count as u64) < WANTED {
        println!("only {count} connections: the limit of open files is {limit}");
    }
    let mut server = Server::basalt(&["--maxclients", &(count + 50).to_string(), "--shards", "2"]);
    let before = server.rss();
    let mut conns: Vec<Conn> = (0..count)
        .map(|i| {
            Conn::try_open(&format!("127.0.0.1:{}", server.port)).unwrap_or_else(|e| panic!("connection {i}: {e}"))
        })
        .collect();
    for (i, conn) in conns.iter_mut().enumerate() {
        conn.send(&["SET", &format!("key:{i}"), &i.to_string()]).unwrap();
    }
    for conn in &mut conns {
        assert_eq!(conn.read().unwrap(), ok());
    }
    for (i, conn) in conns.iter_mut().enumerate().rev() {
        conn.send(&["GET", &format!("key:{}", (i * 7) % count)]).unwrap();
    }
    for (i, conn) in conns.iter_mut().enumerate() {
        assert_eq!(conn.read().unwrap(), bulk(&((i * 7) % count).to_string()));
    }
    assert!(connected_clients(&server) > count as u64);
    let each = server.rss().saturating_sub(before) / count as u64;
    println!("{count} connections, {each} bytes each");
    drop(conns);
    wait_until("all of them are gone", || connected_clients(&server) == 1);
    server.conn().ok("FLUSHALL");
    server.assert_healthy();
    wait_for_memory_to_return(&server, before, SLACK_BYTES);
}

/// An address of this machine that is not loopback, found without sending anything.
fn outer_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    let usable = !address.is_loopback() && !address.is_unspecified();
    (usable && TcpListener::bind((address, 0)).is_ok()).then(|| address.to_string())
}

#[test]
fn protected_mode_refuses_strangers() {
    let Some(address) = outer_address() else {
        println!("skipped: this machine has no address but loopback");
        return;
    };
    let mut server = Server::basalt(&["--bind", &format!("127.0.0.1 {address}")]);
    let outer = format!("{address}:{}", server.port);
    let mut conn = Conn::try_open(&outer).unwrap();
    let Ok(Reply::Error(text)) = conn.read() else { panic!("a stranger is let in") };
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("DENIED Redis is running in protected mode because protected mode is enabled"), "{text}");
    assert!(conn.closed());
    server.assert_healthy();
    server.conn().ok("CONFIG SET protected-mode no");
    assert_eq!(Conn::try_open(&outer).unwrap().cmd("PING"), Reply::Simple(b"PONG".to_vec()));
    server.conn().ok("CONFIG SET protected-mode yes");
    server.conn().ok("CONFIG SET requirepass secret");
    let mut conn = Conn::try_open(&outer).unwrap();
    assert_eq!(conn.cmd("AUTH secret"), ok(), "with a password, strangers may come");
}

#[test]
fn a_unix_socket_serves_too() {
    use std::os::unix::fs::PermissionsExt;
    let mut server = Launch::basalt().with_unix_socket().args(&["--unixsocketperm", "700", "--shards", "2"]).start();
    let path = server.unix_socket();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut conn = Conn::open_unix(&path).unwrap();
    for i in 0..20 {
        assert_eq!(conn.cmd(&format!("SET unix:{i} {i}")), ok());
    }
    assert_eq!(conn.cmd("DBSIZE"), Reply::Int(20));
    let list = conn.cmd("CLIENT LIST").text();
    let own = list.lines().find(|l| l.contains("cmd=client|list")).unwrap();
    assert!(own.contains(&format!("addr={}:0", path.display())) && own.contains("flags=U"), "{own}");
    drop(conn);
    assert_eq!(server.stop().code(), Some(0));
    assert!(!path.exists(), "the socket file is removed at shutdown");
}

#[test]
fn idle_clients_time_out() {
    let server = Server::basalt(&["--timeout", "1"]);
    let mut idle = server.conn();
    assert_eq!(idle.cmd("PING"), Reply::Simple(b"PONG".to_vec()));
    let mut busy = server.conn();
    let start = std::time::Instant::now();
    idle.set_timeout(Duration::from_millis(20));
    wait_until("the idle client is closed", || {
        assert_eq!(busy.cmd("PING"), Reply::Simple(b"PONG".to_vec()), "a client that talks stays");
        idle.closed()
    });
    assert!(start.elapsed() > Duration::from_millis(900), "closed after {:?}", start.elapsed());
    assert_eq!(busy.cmd("PING"), Reply::Simple(b"PONG".to_vec()));
}

/// The server's end of a connection has a keepalive timer, as the kernel's table of connections shows.
#[test]
fn connections_are_kept_alive() {
    let server = Server::basalt(&["--tcp-keepalive", "30"]);
    let mut conn = server.conn();
    conn.cmd("PING");
    let client_port = conn.local_address().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let (local, remote) = (format!("0100007F:{:04X}", server.port), format!("0100007F:{client_port:04X}"));
    wait_until("a keepalive timer runs on the server's socket", || {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
        tables.iter().flat_map(|t| t.lines()).any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Fields: number, local, remote, state, queues, timer:when; timer 2 is keepalive.
            fields.len() > 5
                && fields[1].ends_with(&local)
                && fields[2].ends_with(&remote)
                && fields[5].starts_with("02:")
        })
    });
}

/// A client library of the field, as a user would have it.
#[test]
fn the_redis_crate_as_a_client() {
    for shards in ["1", "2"] {
        let server = Server::basalt(&["--shards", shards]);
        for protocol in ["", "?protocol=resp3"] {
            let client = redis::Client::open(format!("redis://127.0.0.1:{}/{protocol}", server.port)).unwrap();
            let mut conn = client.get_connection().unwrap();
            let () = redis::cmd("SET").arg("crate:a").arg(41).query(&mut conn).unwrap();
            let n: i64 = redis::cmd("INCR").arg("crate:a").query(&mut conn).unwrap();
            assert_eq!(n, 42);
            let absent: Option<String> = redis::cmd("GET").arg("crate:none").query(&mut conn).unwrap();
            assert_eq!(absent, None);
            let mut pipe = redis::pipe();
            for i in 0..100 {
                pipe.cmd("SET").arg(format!("crate:{i}")).arg(i).ignore();
                pipe.cmd("GET").arg(format!("crate:{i}"));
            }
            let values: Vec<i64> = pipe.query(&mut conn).unwrap();
            assert_eq!(values, (0..100).collect::<Vec<_>>());
            let error = redis::cmd("INCR").arg("crate:1").arg("x").query::<i64>(&mut conn).unwrap_err();
            assert_eq!(error.detail(), Some("wrong number of arguments for 'incr' command"));
        }
    }
}

#[test]
fn half_a_request_is_not_answered() {
    let server = Server::basalt(&[]);
    let mut conn = server.conn();
    conn.set_timeout(Duration::from_millis(200));
    conn.send_raw(b"*1\r\n$4\r\nPING\r").unwrap();
    assert!(conn.read().is_err(), "a reply before the last byte");
    conn.set_timeout(Duration::from_secs(10));
    conn.send_raw(b"\n").unwrap();
    assert_eq!(conn.read().unwrap(), Reply::Simple(b"PONG".to_vec()));
}
