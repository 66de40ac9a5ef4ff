//! Starting, configuring and ending a node, and how it spreads its connections.

mod common;

use common::conn::{Conn, Reply};
use common::{Flavour, Launch, Server, free_port, info_number, line_field, proc, shard_of, wait_until};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn pong() -> Reply {
    Reply::Simple(b"PONG".to_vec())
}

#[track_caller]
fn config(conn: &mut Conn, name: &str) -> String {
    conn.cmd(&format!("CONFIG GET {name}")).items().get(1).unwrap_or_else(|| panic!("no directive {name}")).text()
}

#[test]
fn a_port_in_use_is_named() {
    let port = free_port();
    let holder = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (status, said) = Launch::basalt().port(port).run();
    assert!(!status.success());
    assert!(said.contains(&port.to_string()) && said.to_lowercase().contains("in use"), "{said}");
    drop(holder);
}

#[test]
fn a_bad_directive_is_named_with_its_file_and_line() {
    for (line, named) in [
        ("maxmemory lots", "maxmemory"),
        ("no-such-directive yes", "no-such-directive"),
        ("maxmemory-policy sometimes", "maxmemory-policy"),
        ("timeout -5", "timeout"),
        ("port 70000", "port"),
        ("tcp-keepalive", "tcp-keepalive"),
        ("protected-mode perhaps", "protected-mode"),
        ("requirepass \"unbalanced", "requirepass"),
        ("client-output-buffer-limit normal 1mb", "client-output-buffer-limit"),
    ] {
        let launch = Launch::basalt().bare().config("bad.conf", &format!("# a comment\n\n{line}\nport {{port}}\n"));
        let (flavour, file) = (launch.flavour(), launch.dir().join("bad.conf"));
        let (status, said) = launch.run();
        assert_eq!(status.code(), Some(1), "{line}: {said}");
        assert!(said.contains(named), "{line}: {said}");
        assert!(said.contains("line 3") || said.contains("bad.conf:3"), "{line}: no line number in {said}");
        // A redis-server names the line only.
        if flavour == Flavour::Basalt {
            assert!(said.contains(&*file.to_string_lossy()), "{line}: no file in {said}");
        }
    }
}

#[test]
fn a_bad_value_says_what_is_allowed() {
    let launch = Launch::basalt().args(&["--maxmemory-policy", "sometimes"]);
    let flavour = launch.flavour();
    let (status, said) = launch.run();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("volatile-lru") || flavour == Flavour::Redis, "{said}");
    let launch = Launch::basalt().args(&["--no-such-directive", "1"]);
    let (status, said) = launch.run();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("no-such-directive"), "{said}");
}

#[test]
fn a_missing_configuration_file_is_named() {
    let launch = Launch::basalt().bare().config("there.conf", "include {dir}/missing.conf\nport {port}\n");
    let (status, said) = launch.run();
    assert!(!status.success());
    assert!(said.contains("missing.conf"), "{said}");
}

#[test]
fn basalts_own_options_are_checked() {
    for args in [["--shards", "-1"], ["--shards", "many"], ["--pin", "maybe"], ["--core-endpoints", "perhaps"]] {
        let launch = Launch::basalt().args(&args);
        if launch.flavour() == Flavour::Redis {
            println!("skipped: Basalt's own directives, and a redis-server plays Basalt here");
            return;
        }
        let (status, said) = launch.run();
        assert_eq!(status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains(args[0].trim_start_matches('-')), "{args:?}: {said}");
    }
}

/// What is not there yet may be configured off, never on.
#[test]
fn features_that_are_missing_are_refused_when_switched_on() {
    let launch = Launch::basalt().args(&["--cluster-enabled", "yes"]);
    if launch.flavour() == Flavour::Redis {
        println!("skipped: a redis-server plays Basalt here, and has all its features");
        return;
    }
    let (status, said) = launch.run();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("cluster-enabled"), "{said}");
    Server::basalt(&["--cluster-enabled", "no", "--appendonly", "no", "--save", ""]).assert_healthy();
}

#[test]
fn version_and_help() {
    let (status, said) = Launch::basalt().bare().args(&["--version"]).run();
    assert!(status.success() && said.contains("v="), "{said}");
    let (_, said) = Launch::basalt().bare().args(&["--help"]).run();
    assert!(said.contains("Usage") && said.contains("--port"), "{said}");
}

const FILE: &str = "# the operator's own words\nport {port}\nbind 127.0.0.1\ndir {dir}\nsave \"\"\n\nmaxmemory 5mb\n\
     maxmemory-policy \"allkeys-lru\"\ntimeout 300\nrequirepass 'se\"cret'\nslowlog-max-len 77\n";

#[test]
fn a_file_and_options_that_override_it() {
    let server =
        Launch::basalt().bare().config("node.conf", FILE).args(&["--timeout", "400", "--maxmemory", "1gb"]).start();
    let mut conn = server.conn();
    assert_eq!(conn.cmd("AUTH se\"cret"), ok());
    for (name, value) in [
        ("timeout", "400"),
        ("maxmemory", "1073741824"),
        ("maxmemory-policy", "allkeys-lru"),
        ("slowlog-max-len", "77"),
        ("requirepass", "se\"cret"),
        ("port", &server.port.to_string()),
    ] {
        assert_eq!(config(&mut conn, name), value, "{name}");
    }
    let file = conn.cmd("INFO server").text();
    assert!(file.contains(&format!("config_file:{}", server.dir().join("node.conf").display())), "{file}");
}

#[test]
fn a_configuration_on_standard_input() {
    let text = "port {port}\nbind 127.0.0.1\ndir {dir}\nsave \"\"\nmaxmemory 12mb\n";
    let server = Launch::basalt().bare().config_on_stdin(text).args(&["--timeout", "17"]).start();
    let mut conn = server.conn();
    assert_eq!(config(&mut conn, "maxmemory"), (12 << 20).to_string());
    assert_eq!(config(&mut conn, "timeout"), "17");
}

#[test]
fn included_files() {
    let server = Launch::basalt()
        .bare()
        .config(
            "main.conf",
            "port {port}\nbind 127.0.0.1\ndir {dir}\nsave \"\"\ntimeout 1\ninclude {dir}/more.conf\nhz 25\n",
        )
        .config("more.conf", "timeout 2\nhz 20\nmaxmemory 1g\n")
        .start();
    let mut conn = server.conn();
    assert_eq!(config(&mut conn, "timeout"), "2", "the later line counts");
    assert_eq!(config(&mut conn, "hz"), "25");
    assert_eq!(config(&mut conn, "maxmemory"), "1000000000");
}

#[test]
fn settings_survive_rewrite_and_restart() {
    let mut server = Launch::basalt().bare().config("node.conf", FILE).start();
    let path = server.dir().join("node.conf");
    let mut conn = server.conn();
    conn.ok("AUTH se\"cret");
    let changed = [
        ("timeout", "123"),
        ("maxmemory", "77mb"),
        ("maxmemory-policy", "volatile-ttl"),
        ("hz", "33"),
        ("client-output-buffer-limit", "normal 1mb 512kb 9"),
        ("latency-monitor-threshold", "55"),
        ("requirepass", "new \"pass\" word"),
    ];
    for (name, value) in changed {
        assert_eq!(conn.argv(&["CONFIG", "SET", name, value]), ok(), "{name}");
    }
    let before: Vec<String> = changed.iter().map(|(name, _)| config(&mut conn, name)).collect();
    assert_eq!(conn.cmd("CONFIG REWRITE"), ok());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# the operator's own words"), "comments stay:\n{text}");
    assert_eq!(text.matches("\ntimeout ").count(), 1, "a line is replaced, not repeated:\n{text}");
    assert_eq!(conn.cmd("CONFIG REWRITE"), ok());
    assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), text.trim_end(), "rewriting twice changes nothing");
    assert_eq!(server.stop().code(), Some(0));

    let again = Launch::basalt().bare().port(server.port).config("node.conf", &text).start();
    let mut conn = again.conn();
    assert_eq!(conn.argv(&["AUTH", "new \"pass\" word"]), ok());
    let after: Vec<String> = changed.iter().map(|(name, _)| config(&mut conn, name)).collect();
    assert_eq!(after, before);
    assert_eq!(config(&mut conn, "slowlog-max-len"), "77");
}

#[test]
fn rewriting_without_a_file_is_an_error() {
    let server = Server::basalt(&[]);
    let reply = server.conn().cmd("CONFIG REWRITE");
    assert_eq!(reply, Reply::Error(b"ERR The server is running without a config file".to_vec()));
}

#[test]
fn settings_that_cannot_change_say_so() {
    let server = Server::basalt(&[]);
    let mut conn = server.conn();
    for (sent, error) in [
        (
            "CONFIG SET databases 4",
            "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
        ),
        (
            "CONFIG SET maxmemory-policy x",
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument(s) must be one of the following: \
             volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction",
        ),
        ("CONFIG SET nosuch x", "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        (
            "CONFIG SET timeout x",
            "ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer",
        ),
    ] {
        let got = conn.cmd(sent);
        assert_eq!(got, Reply::Error(error.as_bytes().to_vec()), "{sent}");
    }
    // All or nothing.
    assert!(conn.cmd("CONFIG SET timeout 5 maxmemory-policy nosuch").is_error());
    assert_eq!(config(&mut conn, "timeout"), "0");
}

#[test]
fn a_listening_port_can_move() {
    let server = Server::basalt(&["--shards", "2"]);
    let mut conn = server.conn();
    let moved = free_port();
    conn.ok("SET k v");
    conn.ok(&format!("CONFIG SET port {moved}"));
    assert_eq!(conn.cmd("PING"), pong(), "connections that are open stay");
    for _ in 0..10 {
        assert_eq!(Conn::open(moved).cmd("GET k"), Reply::Bulk(b"v".to_vec()));
    }
    wait_until("the old port is closed", || Conn::try_open(&format!("127.0.0.1:{}", server.port)).is_err());
}

#[test]
fn signals_end_the_node_in_order() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        for shards in ["1", "2"] {
            let mut server = Launch::basalt().args(&["--shards", shards, "--pidfile", "{dir}/node.pid"]).start();
            let pidfile = server.dir().join("node.pid");
            assert_eq!(fs::read_to_string(&pidfile).unwrap().trim(), server.pid().to_string());
            let mut conns: Vec<Conn> = (0..20).map(|_| server.conn()).collect();
            conns.iter_mut().for_each(|c| assert_eq!(c.cmd("PING"), pong()));
            server.signal(signal);
            assert_eq!(server.wait_for_end().code(), Some(0), "{}", server.log());
            assert!(conns.iter_mut().all(Conn::closed));
            assert!(!pidfile.exists(), "the pid file is removed");
            assert!(TcpListener::bind(("127.0.0.1", server.port)).is_ok(), "the port is free again");
        }
    }
}

#[test]
fn shutdown_ends_the_node_in_order() {
    for command in ["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN NOSAVE NOW FORCE"] {
        let mut server = Server::basalt(&["--shards", "2"]);
        let mut conn = server.conn();
        for refused in ["SHUTDOWN BOGUS", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW"] {
            assert_eq!(conn.cmd(refused), Reply::Error(b"ERR syntax error".to_vec()), "{refused}");
        }
        assert_eq!(conn.cmd("SHUTDOWN ABORT"), Reply::Error(b"ERR No shutdown in progress.".to_vec()));
        conn.send(&command.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(conn.read_to_end().unwrap(), b"", "no reply, only the end");
        assert_eq!(server.wait_for_end().code(), Some(0), "{}", server.log());
    }
}

/// Ends a process that is no child of ours, should its test fail before it does.
struct Daemon(PathBuf);

impl Daemon {
    fn pid(&self) -> Option<u32> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = self.pid().filter(|&pid| pid > 1 && proc::alive(pid)) {
            // SAFETY: kill only takes numbers; the pid is from a file that only the daemon of this test writes and removes.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
    }
}

#[test]
fn a_daemon_with_its_pid_and_log_files() {
    let launch = Launch::basalt().args(&[
        "--daemonize",
        "yes",
        "--pidfile",
        "{dir}/node.pid",
        "--logfile",
        "{dir}/node.log",
        "--shards",
        "2",
    ]);
    let mut launcher = launch.spawn();
    let (pidfile, logfile) = (launcher.dir().join("node.pid"), launcher.dir().join("node.log"));
    let daemon = Daemon(pidfile.clone());
    assert_eq!(launcher.wait_for_end().code(), Some(0), "{}", launcher.log());
    wait_until("the daemon answers", || {
        Conn::try_open(&format!("127.0.0.1:{}", launcher.port)).is_ok_and(|mut conn| conn.cmd("PING") == pong())
    });
    let pid = daemon.pid().expect("a pid file");
    assert_ne!(pid, launcher.pid());
    assert_eq!(info_number(&mut Conn::open(launcher.port), "process_id"), u64::from(pid));
    // SAFETY: getsid only takes a number.
    assert_eq!(unsafe { libc::getsid(pid as libc::pid_t) }, pid as libc::pid_t, "it leads a session of its own");
    Conn::open(launcher.port).send(&["SHUTDOWN"]).unwrap();
    wait_until("the daemon ends", || !proc::alive(pid));
    assert!(!pidfile.exists());
    let log = fs::read_to_string(&logfile).unwrap();
    assert!(log.lines().count() >= 3, "{log}");
}

#[test]
fn a_log_file_takes_all_lines() {
    let server = Launch::basalt().args(&["--logfile", "{dir}/node.log"]).start();
    let log = fs::read_to_string(server.dir().join("node.log")).unwrap();
    assert!(!log.is_empty());
    let quiet = Server::basalt(&["--loglevel", "warning"]);
    let chatty = Server::basalt(&["--loglevel", "debug"]);
    chatty.conn().cmd("PING");
    wait_until("the debug level says more", || chatty.log().len() > quiet.log().len());
}

#[test]
fn several_addresses() {
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    let addresses = if has_ipv6 { "127.0.0.1 ::1 127.0.0.2" } else { "127.0.0.1 -::1 127.0.0.2" };
    let server = Server::basalt(&["--bind", addresses, "--shards", "2"]);
    for address in ["127.0.0.1", "127.0.0.2", "[::1]"].iter().take(if has_ipv6 { 3 } else { 2 }) {
        let mut conn =
            Conn::try_open(&format!("{address}:{}", server.port)).unwrap_or_else(|e| panic!("{address}: {e}"));
        assert_eq!(conn.cmd("PING"), pong(), "{address}");
    }
    assert!(Conn::try_open(&format!("127.0.0.3:{}", server.port)).is_err(), "an address that is not bound");
}

#[test]
fn passwords() {
    let server = Server::basalt(&["--requirepass", "secret"]);
    let error = |text: &str| Reply::Error(text.as_bytes().to_vec());
    let wrong = error("WRONGPASS invalid username-password pair or user is disabled.");
    let mut conn = server.conn();
    for command in ["PING", "GET k", "SET k v", "CONFIG GET x", "COMMAND", "INFO", "SELECT 1", "ECHO x", "CLIENT ID"] {
        assert_eq!(conn.cmd(command), error("NOAUTH Authentication required."), "{command}");
    }
    // Redis 7.2 has added the word `<proto>`.
    assert_eq!(
        conn.cmd("HELLO 3").text().replace(" <proto>", ""),
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
    );
    assert_eq!(conn.cmd("AUTH wrong"), wrong);
    assert_eq!(conn.cmd("AUTH nobody secret"), wrong);
    assert_eq!(conn.cmd("AUTH default secret"), ok());
    assert_eq!(conn.cmd("PING"), pong());
    assert_eq!(conn.cmd("AUTH wrong"), wrong);
    assert_eq!(conn.cmd("PING"), pong(), "a failed AUTH does not log out");
    assert_eq!(conn.cmd("RESET"), Reply::Simple(b"RESET".to_vec()));
    assert_eq!(conn.cmd("PING"), error("NOAUTH Authentication required."), "RESET does");
    assert!(!conn.cmd("HELLO 3 AUTH default secret").is_error());
    conn.ok("CONFIG SET requirepass \"\"");
    let mut other = server.conn();
    assert_eq!(other.cmd("PING"), pong());
    assert_eq!(
        other.cmd("AUTH secret"),
        error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
        )
    );
    assert_eq!(other.cmd("QUIT"), ok());
    assert!(other.closed());
}

#[test]
fn renamed_commands() {
    let text = "port {port}\nbind 127.0.0.1\ndir {dir}\nsave \"\"\nrename-command FLUSHALL \"\"\nrename-command CONFIG hidden-config\n";
    let server = Launch::basalt().bare().config("node.conf", text).start();
    let mut conn = server.conn();
    let unknown = |reply: Reply| matches!(reply, Reply::Error(text) if text.starts_with(b"ERR unknown command"));
    assert!(unknown(conn.cmd("FLUSHALL")));
    assert!(unknown(conn.cmd("CONFIG GET port")));
    assert_eq!(conn.cmd("HIDDEN-CONFIG GET port").items()[1].text(), server.port.to_string());
}

/// One connection reaches every key, wherever it lives; commands over all keys see all of them.
#[test]
fn one_connection_serves_every_shard() {
    const KEYS: usize = 500;
    for shards in [1, 2, 3, 5] {
        let mut server = Server::basalt(&["--shards", &shards.to_string()]);
        let mut conn = server.conn();
        let mut of_shard = vec![0; shards];
        for i in 0..KEYS {
            let key = format!("key:{i}");
            of_shard[shard_of(key.as_bytes(), shards)] += 1;
            assert_eq!(conn.argv(&["SET", &key, &i.to_string()]), ok());
        }
        assert!(of_shard.iter().all(|&n| n > 0), "keys on every shard: {of_shard:?}");
        for i in 0..KEYS {
            assert_eq!(conn.cmd(&format!("INCR key:{i}")), Reply::Int(i as i64 + 1));
        }
        assert_eq!(conn.cmd("DBSIZE"), Reply::Int(KEYS as i64));
        assert_eq!(conn.cmd("KEYS *").items().len(), KEYS);
        let all: Vec<String> = (0..KEYS).map(|i| format!("key:{i}")).collect();
        let values = conn.argv(&[vec!["MGET".to_owned()], all.clone()].concat()).items();
        assert!(values.iter().enumerate().all(|(i, v)| v.text() == (i + 1).to_string()), "MGET over {shards} shards");
        assert_eq!(conn.argv(&[vec!["EXISTS".to_owned()], all.clone()].concat()), Reply::Int(KEYS as i64));
        assert_eq!(conn.argv(&[vec!["DEL".to_owned()], all[..100].to_vec()].concat()), Reply::Int(100));
        conn.ok("SELECT 5");
        conn.ok("SET key:0 elsewhere");
        conn.ok("SELECT 0");
        assert_eq!(conn.cmd("FLUSHDB"), ok());
        assert_eq!(conn.cmd("DBSIZE"), Reply::Int(0));
        conn.ok("SELECT 5");
        assert_eq!(conn.cmd("GET key:0"), Reply::Bulk(b"elsewhere".to_vec()));
        conn.ok("FLUSHALL");
        assert_eq!(conn.cmd("DBSIZE"), Reply::Int(0));
        assert_eq!(server.stop().code(), Some(0));
    }
}

/// Also a few connections are spread evenly, as the field `shard` of CLIENT LIST shows.
#[test]
fn connections_are_spread_evenly() {
    for shards in [2usize, 3] {
        let server = Server::basalt(&["--shards", &shards.to_string()]);
        if !server.is_basalt_or_say("the spreading of connections over shards") {
            return;
        }
        wait_until("the harness's own connection is gone", || {
            info_number(&mut server.conn(), "connected_clients") == 1
        });
        for count in [2 * shards, 10 * shards] {
            let mut conns: Vec<Conn> = (0..count).map(|_| server.conn()).collect();
            conns.iter_mut().for_each(|c| assert_eq!(c.cmd("PING"), pong()));
            let list = conns[0].cmd("CLIENT LIST").text();
            let mut of_shard = vec![0usize; shards];
            for line in list.lines() {
                let shard: usize = line_field(line, "shard").expect("a field shard").parse().unwrap();
                of_shard[shard] += 1;
            }
            let (fewest, most) = (of_shard.iter().min().unwrap(), of_shard.iter().max().unwrap());
            assert!(most - fewest <= 2, "{count} connections over {shards} shards: {of_shard:?}");
            drop(conns);
            wait_until("they are gone", || info_number(&mut server.conn(), "connected_clients") == 1);
        }
    }
}

#[test]
fn more_shards_than_processors() {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut server = Server::basalt(&["--shards", &(cpus * 2 + 1).to_string()]);
    let mut conn = server.conn();
    for i in 0..2000 {
        assert_eq!(conn.cmd(&format!("SET key:{i} {i}")), ok());
    }
    assert_eq!(conn.cmd("DBSIZE"), Reply::Int(2000));
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
}

/// An idle node sleeps. The bound is a count, far above what timers need and far below a busy loop; the figure is printed.
#[test]
fn an_idle_node_sleeps() {
    const WATCHED: Duration = Duration::from_secs(2);
    let server = Server::basalt(&["--shards", "2"]);
    // Idle with clients connected and keys that expire one day is idle as well.
    let mut conns: Vec<Conn> = (0..10).map(|_| server.conn()).collect();
    for (i, conn) in conns.iter_mut().enumerate() {
        conn.ok(&format!("SET key:{i} v EX 100000"));
    }
    let (cpu, switches) = (server.cpu(), proc::voluntary_switches(server.pid()));
    std::thread::sleep(WATCHED);
    let (cpu, switches) = (server.cpu().since(cpu), proc::voluntary_switches(server.pid()) - switches);
    println!("in {WATCHED:?} idle: {:?} of processor time, {switches} wake-ups", cpu.total);
    assert!(switches < 2000, "{switches} wake-ups in {WATCHED:?}");
    assert!(cpu.total < WATCHED / 4, "{:?} of processor time in {WATCHED:?}", cpu.total);
}

/// Ends the test unless Basalt itself is tested.
fn is_basalt(launch: &Launch) -> bool {
    let basalt = launch.flavour() == Flavour::Basalt;
    if !basalt {
        println!("skipped: what Basalt needs of its host, and a redis-server plays Basalt here");
    }
    basalt
}

/// Both limits of a resource.
fn limit(resource: libc::__rlimit_resource_t, to: libc::rlim_t) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: to, rlim_max: to };
    // SAFETY: reads a live local.
    match unsafe { libc::setrlimit(resource, &limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn too_little_locked_memory_is_named() {
    let launch = Launch::basalt().prepare(|| limit(libc::RLIMIT_MEMLOCK, 64 * 1024));
    if is_basalt(&launch) {
        let (status, said) = launch.run();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("locked memory is 65536 bytes") && said.contains("ulimit -l"), "{said}");
    }
}

/// Makes io_uring_setup fail as a container's seccomp profile does.
fn forbid_io_uring() -> std::io::Result<()> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        // The number of the system call is the first field that a filter sees.
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which is alive during the call.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn a_forbidden_io_uring_is_named() {
    let launch = Launch::basalt().prepare(forbid_io_uring);
    if is_basalt(&launch) {
        let (status, said) = launch.run();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("io_uring is forbidden") && said.contains("seccomp"), "{said}");
    }
}

#[test]
fn too_few_open_files_are_named() {
    let launch = Launch::basalt().args(&["--shards", "2"]).prepare(|| limit(libc::RLIMIT_NOFILE, 40));
    if is_basalt(&launch) && !can_raise_limits() {
        let (status, said) = launch.run();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("open files is 40") && said.contains("ulimit -n"), "{said}");
    }
}

/// A privileged process raises its limits as it needs.
fn can_raise_limits() -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills and reads a live local; the soft limit stays what it is.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_max += 1;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
    };
    if raised {
        println!("skipped: this process may raise its own limits");
    }
    raised
}

/// What served a port a moment ago must not keep a successor from it, whatever its clients were doing.
#[test]
fn a_successor_gets_the_port_at_once() {
    let port = free_port();
    for shards in ["1", "2", "2", "1"] {
        let mut server = Launch::basalt().port(port).args(&["--shards", shards]).start();
        let mut conns: Vec<Conn> = (0..10).map(|_| server.conn()).collect();
        let value = "v".repeat(1_000_000);
        assert_eq!(conns[0].argv(&["SET", "k", &value]), ok());
        // Some have replies on the way that nobody reads.
        for conn in &mut conns[5..] {
            (0..20).for_each(|_| conn.send(&["GET", "k"]).unwrap());
        }
        assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    }
}

#[test]
fn unpinned_shards_serve() {
    let mut server = Server::basalt(&["--shards", "2", "--pin", "no"]);
    let mut conn = server.conn();
    for i in 0..100 {
        assert_eq!(conn.cmd(&format!("SET key:{i} {i}")), ok());
    }
    assert_eq!(conn.cmd("DBSIZE"), Reply::Int(100));
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
}

#[test]
fn bind_can_change_at_run_time() {
    let server = Server::basalt(&["--shards", "2"]);
    let mut conn = server.conn();
    let at = |address: &str| Conn::try_open(&format!("{address}:{}", server.port));
    assert!(at("127.0.0.2").is_err());
    assert_eq!(conn.argv(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2"]), ok());
    for _ in 0..10 {
        assert_eq!(at("127.0.0.2").unwrap().cmd("PING"), pong());
        assert_eq!(at("127.0.0.1").unwrap().cmd("PING"), pong());
    }
    assert_eq!(conn.argv(&["CONFIG", "SET", "bind", "127.0.0.1"]), ok());
    wait_until("the other address is closed", || at("127.0.0.2").is_err());
    assert_eq!(at("127.0.0.1").unwrap().cmd("PING"), pong());
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    assert_eq!(
        conn.cmd(&format!("CONFIG SET port {taken}")),
        Reply::Error(
            b"ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs."
                .to_vec()
        )
    );
    assert_eq!(config(&mut conn, "port"), server.port.to_string());
    assert_eq!(at("127.0.0.1").unwrap().cmd("PING"), pong());
}
