//! Connections under stress: slow readers, clients that are killed while they are served, a process out of descriptors.

mod common;

use common::conn::{Conn, Reply, encode, encode_into};
use common::{Rng, Server, info_number, line_field, seed, wait_until};
use std::io::Write;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

fn pong() -> Reply {
    Reply::Simple(b"PONG".to_vec())
}

/// The line of CLIENT LIST of a client, if it is there.
fn client_line(conn: &mut Conn, id: i64) -> Option<String> {
    let list = conn.cmd("CLIENT LIST").text();
    list.lines().find(|line| line.starts_with(&format!("id={id} "))).map(str::to_owned)
}

fn output_bytes(conn: &mut Conn, id: i64) -> u64 {
    client_line(conn, id).and_then(|line| line_field(&line, "omem")?.parse().ok()).unwrap_or(0)
}

/// A client with much more to read than the kernel buffers, and its id.
fn slow_reader(server: &Server, key: &str, replies: usize) -> (Conn, i64) {
    let mut slow = server.conn();
    let id = slow.cmd("CLIENT ID").int();
    slow.send_raw(&encode(&["GET", key]).repeat(replies)).unwrap();
    (slow, id)
}

#[test]
fn output_above_the_soft_limit_is_tolerated_for_its_time() {
    let server = Server::basalt(&["--shards", "2", "--client-output-buffer-limit", "normal 0 8mb 2"]);
    let mut conn = server.conn();
    conn.argv(&["SET", "k", &"v".repeat(100_000)]);
    let start = Instant::now();
    let (mut slow, id) = slow_reader(&server, "k", 300);
    wait_until("it is closed", || client_line(&mut conn, id).is_none());
    assert!(start.elapsed() >= Duration::from_secs(2), "closed after {:?}", start.elapsed());
    assert!(server.log().contains("output buffer limits"), "{}", server.log());
    if server.flavour == common::Flavour::Basalt {
        assert_eq!(info_number(&mut conn, "client_output_buffer_limit_disconnections"), 1);
    }
    assert!(slow.read_to_end().unwrap().len() < 30_000_000);
    // One that reads on gets below the limit in time, and stays.
    let (mut reader, id) = slow_reader(&server, "k", 300);
    for _ in 0..280 {
        assert_eq!(reader.read().unwrap().bytes().len(), 100_000);
    }
    wait_until("little is left of its output", || output_bytes(&mut conn, id) < 4 * MIB);
    let later = Instant::now() + Duration::from_secs(3);
    wait_until("more than the tolerated time has passed", || Instant::now() > later);
    for _ in 0..20 {
        assert_eq!(reader.read().unwrap().bytes().len(), 100_000);
    }
    assert_eq!(reader.cmd("PING"), pong());
}

/// With no limit set, output stops growing by itself: further commands wait in the socket until the client reads.
#[test]
fn output_without_a_limit_is_bounded_all_the_same() {
    const REPLIES: usize = 80_000;
    for shards in ["1", "2"] {
        let mut server = Server::basalt(&["--shards", shards]);
        if !server.is_basalt_or_say("pausing clients that do not read") {
            return;
        }
        let mut conn = server.conn();
        // Small enough to be copied into the output: 800 MB in all.
        let value = "v".repeat(10_000);
        for i in 0..4 {
            conn.argv(&["SET", &format!("k:{i}"), &value]);
        }
        let before = server.rss();
        let mut slow = server.conn();
        let id = slow.cmd("CLIENT ID").int();
        let mut pipeline = Vec::new();
        for i in 0..REPLIES {
            encode_into(&mut pipeline, &["GET", &format!("k:{}", i % 4)]);
        }
        let mut writer = slow.writer();
        let sender = std::thread::spawn(move || writer.write_all(&pipeline));
        wait_until("its output has reached the bound", || output_bytes(&mut conn, id) > 60 * MIB);
        for _ in 0..100 {
            assert_eq!(conn.cmd("PING"), pong());
        }
        let held = server.rss().saturating_sub(before);
        println!("{} MiB held for a client that does not read", held / MIB);
        assert!(held < 350 * MIB, "{} MiB held for a client that does not read", held / MIB);
        for i in 0..REPLIES {
            assert_eq!(slow.read().unwrap().bytes().len(), value.len(), "reply {i}");
        }
        sender.join().unwrap().unwrap();
        assert_eq!(slow.cmd("PING"), pong());
        wait_until("the memory is given back", || {
            conn.cmd("PING");
            server.rss() < before + 48 * MIB
        });
        server.assert_healthy();
    }
}

#[test]
fn clients_are_killed_while_a_send_is_in_flight() {
    let mut server = Server::basalt(&["--shards", "2"]);
    let mut conn = server.conn();
    let before = server.rss();
    for round in 0..10 {
        conn.argv(&["SET", "k", &"v".repeat(2_000_000)]);
        let (mut slow, id) = slow_reader(&server, "k", 50);
        wait_until("its output waits", || output_bytes(&mut conn, id) > MIB);
        // The value goes while the kernel still sends from it.
        if round % 2 == 0 {
            conn.ok("DEL k");
        }
        assert_eq!(conn.cmd(&format!("CLIENT KILL ID {id}")), Reply::Int(1));
        assert_eq!(client_line(&mut conn, id), None);
        assert!(slow.read_to_end().unwrap().len() < 100_000_000);
    }
    conn.ok("FLUSHALL");
    server.assert_healthy();
    wait_until("the memory is given back", || {
        conn.cmd("PING");
        server.rss() < before + 48 * MIB
    });
}

#[test]
fn a_client_may_end_its_side_and_still_read() {
    for shards in ["1", "2", "3"] {
        let server = Server::basalt(&["--shards", shards]);
        let mut pipeline = Vec::new();
        for i in 0..5000 {
            encode_into(&mut pipeline, &["SET", &format!("key:{i}"), &"v".repeat(100)]);
            encode_into(&mut pipeline, &["GET", &format!("key:{i}")]);
        }
        encode_into(&mut pipeline, &["DBSIZE"]);
        // The beginning of a command that never comes.
        pipeline.extend_from_slice(b"*2\r\n$3\r\nGE");
        let mut conn = server.conn();
        let mut writer = conn.writer();
        let sender = std::thread::spawn(move || writer.write_all(&pipeline));
        for i in 0..5000 {
            assert_eq!(conn.read().unwrap(), Reply::Simple(b"OK".to_vec()), "SET {i}");
            assert_eq!(conn.read().unwrap().bytes().len(), 100, "GET {i}");
        }
        sender.join().unwrap().unwrap();
        conn.finish_writing();
        assert_eq!(conn.read().unwrap(), Reply::Int(5000));
        assert_eq!(conn.read_to_end().unwrap(), b"");
    }
}

/// Values around the sizes at which they are received and sent another way, cut anywhere.
#[test]
fn values_of_every_boundary_cut_anywhere() {
    const SIZES: [usize; 14] =
        [0, 1, 8191, 8192, 8193, 16_383, 16_384, 16_385, 24_576, 32_768, 65_536, 262_144, 262_145, 1_100_000];
    let mut rng = Rng::new(seed());
    for shards in ["1", "2"] {
        let server = Server::basalt(&["--shards", shards]);
        for _ in 0..30 {
            let sizes: Vec<usize> = (0..20).map(|_| rng.pick(&SIZES)).collect();
            let mut pipeline = Vec::new();
            let mut expected = Vec::new();
            for (i, size) in sizes.iter().enumerate() {
                let (key, value) = (format!("k:{}", i % 7), rng.bytes(*size));
                encode_into(&mut pipeline, &[b"SET", key.as_bytes(), &value]);
                encode_into(&mut pipeline, &["GET", &key]);
                encode_into(&mut pipeline, &["STRLEN", &key]);
                expected.extend([Reply::Simple(b"OK".to_vec()), Reply::Bulk(value), Reply::Int(*size as i64)]);
            }
            let mut conn = server.conn();
            let mut writer = conn.writer();
            let mut cuts = rng.clone();
            let longest = rng.pick(&[1500, 9000, 70_000]);
            let sender = std::thread::spawn(move || {
                let mut rest = pipeline.as_slice();
                while !rest.is_empty() {
                    let (part, behind) = rest.split_at((1 + cuts.below(longest)).min(rest.len()));
                    writer.write_all(part)?;
                    rest = behind;
                }
                Ok::<(), std::io::Error>(())
            });
            for (i, wanted) in expected.into_iter().enumerate() {
                assert!(conn.read().unwrap() == wanted, "reply {i}, sizes {sizes:?}");
            }
            sender.join().unwrap().unwrap();
        }
    }
}

/// Out of descriptors, a node goes on with the clients it has, and takes others as soon as it can.
#[test]
fn out_of_descriptors() {
    let set_limit = |server: &Server, to: u64| {
        let limit = libc::rlimit { rlim_cur: to, rlim_max: common::raise_open_files(0) };
        // SAFETY: reads a live local; the process is a child of this one.
        let done = unsafe { libc::prlimit(server.pid() as i32, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    };
    for shards in ["1", "2"] {
        let mut server = Server::basalt(&["--shards", shards, "--maxclients", "100"]);
        let mut conn = server.conn();
        assert_eq!(conn.cmd("PING"), pong());
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
        set_limit(&server, open + 5);
        // An accept has the limit of the moment when it was armed.
        let port = common::free_port();
        conn.ok(&format!("CONFIG SET port {port}"));
        let mut others: Vec<Conn> = (0..20).map(|_| Conn::open(port)).collect();
        others.iter_mut().for_each(|other| other.send(&["PING"]).unwrap());
        wait_until("the log tells of it", || server.log().contains("Too many open files"));
        assert_eq!(conn.cmd("PING"), pong(), "a client that is in is served");
        // It tries again at a pace, not in a loop.
        let (start, cpu) = (Instant::now(), server.cpu());
        wait_until("a while has passed", || start.elapsed() > Duration::from_secs(1));
        let used = server.cpu().since(cpu).total;
        assert!(used < start.elapsed() / 4, "{used:?} of processor time in {:?}", start.elapsed());
        set_limit(&server, 1000);
        for other in &mut others {
            assert_eq!(other.read().unwrap(), pong());
        }
        assert_eq!(conn.cmd("PING"), pong());
        assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    }
}
