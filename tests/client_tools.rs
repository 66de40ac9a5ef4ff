//! The tools people point at a Redis: redis-cli in all its modes, redis-benchmark. They must work unchanged and report no error.

mod common;

use common::{Server, on_path, wait_until};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a tool may take for what it does here.
const PATIENCE: Duration = Duration::from_secs(60);

struct Output {
    stdout: String,
    stderr: String,
    success: bool,
}

fn cli(server: &Server) -> Command {
    assert!(
        on_path("redis-cli"),
        "redis-cli is missing: install the redis-tools package, or run tests/run.sh, which does"
    );
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &server.port.to_string()]);
    command
}

/// Runs a tool to its end, with `input` on its standard input.
#[track_caller]
fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || {
        // The tool may end without having read all of it.
        let _ = stdin.write_all(input.as_bytes());
    });
    let killer = Killer::after(PATIENCE, &child);
    let out = child.wait_with_output().unwrap();
    assert!(!killer.fired(), "{command:?} did not end within {PATIENCE:?}");
    feeding.join().unwrap();
    Output {
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        success: out.status.success(),
    }
}

/// Ends a process that takes too long, so that no test hangs.
struct Killer {
    done: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Killer {
    fn after(bound: Duration, child: &Child) -> Killer {
        let pid = child.id() as libc::pid_t;
        let (done, waiting) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let late = waiting.recv_timeout(bound) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                // SAFETY: kill only takes numbers; the child is waited for only after this thread was joined or has fired.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            late
        });
        Killer { done, thread }
    }

    fn fired(self) -> bool {
        // It may have fired and gone already.
        let _ = self.done.send(());
        self.thread.join().unwrap()
    }
}

#[track_caller]
fn run_well(command: &mut Command, input: &str) -> String {
    let out = run(command, input);
    assert!(out.success && out.stderr.is_empty(), "{command:?}\nstdout: {}\nstderr: {}", out.stdout, out.stderr);
    out.stdout
}

fn server() -> Server {
    let server = Server::basalt(&["--shards", "2"]);
    let mut conn = server.conn();
    for i in 0..1000 {
        conn.argv(&["SET", &format!("key:{i}"), &"v".repeat(1 + i % 200)]);
    }
    conn.argv(&["SET", "the:largest", &"x".repeat(50_000)]);
    server
}

#[test]
fn commands_given_as_arguments() {
    let server = server();
    assert_eq!(run_well(cli(&server).args(["GET", "key:0"]), ""), "v\n");
    assert_eq!(run_well(cli(&server).args(["--no-raw", "GET", "none"]), ""), "(nil)\n");
    assert_eq!(run_well(cli(&server).args(["-x", "SET", "from:stdin"]), "piped value"), "OK\n");
    assert_eq!(run_well(cli(&server).args(["GET", "from:stdin"]), ""), "piped value\n");
    assert_eq!(run_well(cli(&server).args(["-n", "3", "DBSIZE"]), ""), "0\n");
    assert_eq!(run_well(cli(&server).args(["-r", "3", "INCR", "counter"]), ""), "1\n2\n3\n");
    let refused = run(cli(&server).args(["-e", "INCR", "key:0"]), "");
    assert!(!refused.success, "-e turns an error reply into a failure");
    assert!(
        refused.stdout.contains("ERR value is not an integer")
            || refused.stderr.contains("ERR value is not an integer")
    );
}

#[test]
fn resp3() {
    let server = server();
    let config = run_well(cli(&server).args(["-3", "--no-raw", "CONFIG", "GET", "maxmemory"]), "");
    assert_eq!(config, "1# \"maxmemory\" => \"0\"\n");
    assert_eq!(run_well(cli(&server).args(["-3", "--no-raw", "GET", "none"]), ""), "(nil)\n");
    assert!(run_well(cli(&server).args(["-3", "INFO", "server"]), "").contains("redis_version:"));
}

#[test]
fn commands_on_standard_input() {
    let server = server();
    let said = run_well(&mut cli(&server), "SET from:repl \"a b\"\nGET from:repl\nSELECT 2\nDBSIZE\nQUIT\n");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["OK", "a b", "OK", "0"]);
    let help = run_well(&mut cli(&server), "help get\nhelp setrange\n");
    for expected in ["GET", "key", "summary", "since", "group", "SETRANGE", "key offset value"] {
        assert!(help.contains(expected), "no {expected:?} in the help from COMMAND DOCS:\n{help}");
    }
}

#[test]
fn mass_insertion_through_a_pipe() {
    let server = server();
    let mut requests = Vec::new();
    for i in 0..5000 {
        common::conn::encode_into(&mut requests, &["SET", &format!("piped:{i}"), "value"]);
    }
    let out = run_well(cli(&server).arg("--pipe"), std::str::from_utf8(&requests).unwrap());
    assert!(out.contains("errors: 0, replies: 5000"), "{out}");
}

/// A terminal of our own, since hints appear only on one.
fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize { ws_row: 25, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both descriptors are written by the call, the unused pointers may be null, `size` lives through it.
    let opened =
        unsafe { libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), &raw const size) };
    assert_eq!(opened, 0, "no terminal: {}", std::io::Error::last_os_error());
    // SAFETY: the call succeeded, so both are open descriptors that nobody else owns.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

#[test]
fn hints_on_a_terminal() {
    let server = server();
    let (mut screen, theirs) = terminal();
    let mut command = cli(&server);
    command.env("TERM", "xterm").env("HOME", server.dir());
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut typing = screen.try_clone().unwrap();
    let (sender, shown) = mpsc::channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = screen.read(&mut chunk) {
            if sender.send(String::from_utf8_lossy(&chunk[..n]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut all = String::new();
    let mut see = |what: &str| {
        wait_until(&format!("the terminal shows {what:?}"), || {
            all.extend(shown.try_iter());
            all.contains(what)
        });
    };
    see(&format!("127.0.0.1:{}>", server.port));
    typing.write_all(b"setrange k ").unwrap();
    see("offset value");
    typing.write_all(b"0 abc\r").unwrap();
    see("(integer) 3");
    typing.write_all(b"quit\r").unwrap();
    wait_until("redis-cli ends", || child.try_wait().unwrap().is_some());
}

#[test]
fn scan_and_its_reports() {
    let server = server();
    let scanned = run_well(cli(&server).args(["--scan", "--pattern", "key:1*"]), "");
    let mut keys: Vec<&str> = scanned.lines().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 111);
    let report = run_well(cli(&server).arg("--bigkeys"), "");
    assert!(report.contains("Sampled 1001 keys in the keyspace!"), "{report}");
    assert!(report.contains("Biggest string found '\"the:largest\"' has 50000 bytes"), "{report}");
    let report = run_well(cli(&server).arg("--memkeys"), "");
    assert!(report.contains("Sampled 1001 keys in the keyspace!"), "{report}");
    assert!(report.contains("Biggest string found '\"the:largest\"' has"), "{report}");
}

#[test]
fn hot_keys_under_an_lfu_policy() {
    let server = server();
    let mut conn = server.conn();
    conn.ok("CONFIG SET maxmemory-policy allkeys-lfu");
    for _ in 0..2000 {
        conn.ok("GET key:77");
    }
    let report = run_well(cli(&server).arg("--hotkeys"), "");
    assert!(report.contains("hot key found with counter") && report.contains("key:77"), "{report}");
}

#[test]
fn latency_and_statistics() {
    let server = server();
    let latency = run_well(cli(&server).args(["--latency", "-i", "1", "--raw"]), "");
    let numbers: Vec<f64> = latency.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(numbers.len() == 4 && numbers[3] > 10.0, "minimum, maximum, average, samples: {latency}");

    let mut child = cli(&server).args(["--stat", "-i", "0.05"]).stdout(Stdio::piped()).spawn().unwrap();
    let killer = Killer::after(PATIENCE, &child);
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().take(5).map(Result::unwrap).collect();
    child.kill().unwrap();
    assert!(!killer.fired());
    child.wait().unwrap();
    assert!(lines[0].contains("data") && lines[1].starts_with("keys"), "{lines:?}");
    assert!(lines[2..].iter().all(|line| line.trim_start().starts_with("1001")), "{lines:?}");
}

#[test]
fn monitor_shows_what_others_do() {
    let server = server();
    let mut child = cli(&server).arg("MONITOR").stdout(Stdio::piped()).spawn().unwrap();
    let killer = Killer::after(PATIENCE, &child);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "OK");
    let mut conn = server.conn();
    conn.argv(&["SET", "seen", "a \"quoted\"\r\nvalue\x01"]);
    conn.cmd("SELECT 3");
    conn.cmd("GET seen");
    conn.cmd("NOSUCH command");
    conn.cmd("PING");
    let address = conn.local_address();
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        let end = line.ends_with("\"PING\"");
        seen.push(line);
        if end {
            break;
        }
    }
    child.kill().unwrap();
    assert!(!killer.fired());
    child.wait().unwrap();
    let tails = [
        format!(" [0 {address}] \"SET\" \"seen\" \"a \\\"quoted\\\"\\r\\nvalue\\x01\""),
        // Shown once it has run, so with the database it switched to.
        format!(" [3 {address}] \"SELECT\" \"3\""),
        format!(" [3 {address}] \"GET\" \"seen\""),
        format!(" [3 {address}] \"PING\""),
    ];
    assert_eq!(seen.len(), tails.len(), "{seen:?}");
    for (line, tail) in seen.iter().zip(&tails) {
        assert!(line.ends_with(tail.as_str()), "{line:?} does not end with {tail:?}");
        let stamp = &line[..line.len() - tail.len()];
        assert!(stamp.len() == 17 && stamp.parse::<f64>().is_ok(), "time stamp {stamp:?}");
    }
}

#[test]
fn redis_benchmark() {
    assert!(
        on_path("redis-benchmark"),
        "redis-benchmark is missing: install the redis-tools package, or run tests/run.sh"
    );
    const TESTS: [&str; 6] = ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"];
    for shards in ["1", "2"] {
        let mut server = Server::basalt(&["--shards", shards]);
        for options in
            [vec![], vec!["-P", "16"], vec!["-r", "100000", "-P", "4", "-d", "500"], vec!["-3"], vec!["--threads", "2"]]
        {
            let mut command = Command::new("redis-benchmark");
            command.args(["-p", &server.port.to_string(), "-n", "20000", "-c", "50", "--csv"]);
            command.args(["-t", "ping_inline,ping_mbulk,set,get,incr,mset"]).args(&options);
            let report = run_well(&mut command, "");
            for test in TESTS {
                let line = report.lines().find(|l| l.starts_with(&format!("\"{test}\",")));
                let rate = line.and_then(|l| l.split("\",\"").nth(1)).and_then(|n| n.parse::<f64>().ok());
                assert!(rate.is_some_and(|r| r > 0.0), "no {test} with {options:?}:\n{report}");
            }
        }
        server.assert_healthy();
    }
}
