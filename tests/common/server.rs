//! Starting, watching and ending a server process.

use super::{Conn, PATIENCE, Reply, conn, proc};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Which program a binary turned out to be, whoever it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Basalt,
    Redis,
}

/// Directives that only Basalt knows, each with one value: left out when a redis-server plays Basalt.
const OWN_DIRECTIVES: [&str; 4] = ["--shards", "--pin", "--core-endpoints", "--core-port-base"];

/// Tests take their ports from below the range the kernel gives to outgoing connections, so that neither takes the other's.
const FIRST_PORT: u32 = 17_000;
const PORTS: u32 = 15_000;
/// A port given out must be clear of its neighbours: a test may use some following ones for per-core endpoints.
const PORT_STRIDE: u32 = 20;

/// A port that nobody listens on, with some free ones behind it: given to nobody else as long as this process lives.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    for _ in 0..PORTS / PORT_STRIDE {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 7;
        let port = (FIRST_PORT + step * PORT_STRIDE % PORTS) as u16;
        // A name that is a lock between processes, and that the kernel frees with them.
        let name = UnixAddr::from_abstract_name(format!("basalt-test-port-{port}")).expect("a short name");
        let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
        CLAIMS.lock().expect("nothing panics while it holds the claims").push(claim);
        if (port..port + 8).all(|p| TcpListener::bind(("127.0.0.1", p)).is_ok()) {
            return port;
        }
    }
    panic!("no free port between {FIRST_PORT} and {}", FIRST_PORT + PORTS);
}

fn basalt_binary() -> PathBuf {
    std::env::var_os("BASALT_TEST_SERVER").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_basalt")), PathBuf::from)
}

fn redis_binary() -> PathBuf {
    std::env::var_os("REDIS_SERVER").map_or_else(|| PathBuf::from("redis-server"), PathBuf::from)
}

fn flavour_of(binary: &Path) -> Flavour {
    static KNOWN: OnceLock<Mutex<HashMap<PathBuf, Flavour>>> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    *known.entry(binary.to_path_buf()).or_insert_with(|| {
        let said = Command::new(binary).arg("--version").stdin(Stdio::null()).output();
        match said {
            Ok(out) if out.stdout.starts_with(b"Redis server") || out.stdout.starts_with(b"Valkey") => Flavour::Redis,
            Ok(_) => Flavour::Basalt,
            Err(e) => panic!("{} cannot be run: {e}", binary.display()),
        }
    })
}

/// A directory that goes away with its value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("basalt-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("creating {}: {e}", path.display()));
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left over is in the system's temporary directory; nothing to gain from failing here.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command line being put together. `start` is for a server that must come up; `run` for one that may refuse.
pub struct Launch {
    binary: PathBuf,
    port: u16,
    /// A configuration file, or `-`, which comes before the options.
    file: Option<String>,
    args: Vec<String>,
    stdin: Option<Vec<u8>>,
    unix_socket: bool,
    defaults: bool,
    /// What stands before the server in the command line.
    through: Vec<String>,
    /// Run in the process before the program is.
    prepare: Option<fn() -> std::io::Result<()>>,
    dir: Arc<TempDir>,
}

impl Launch {
    pub fn basalt() -> Launch {
        Launch::of(basalt_binary())
    }

    pub fn redis() -> Launch {
        Launch::of(redis_binary())
    }

    /// The distribution's Sentinel, which takes its configuration file and nothing else.
    pub fn sentinel() -> Launch {
        let binary = std::env::var_os("REDIS_SENTINEL").map_or_else(|| PathBuf::from("redis-sentinel"), PathBuf::from);
        Launch::of(binary).bare()
    }

    fn of(binary: PathBuf) -> Launch {
        Launch {
            binary,
            port: free_port(),
            file: None,
            args: Vec::new(),
            stdin: None,
            unix_socket: false,
            defaults: true,
            through: Vec::new(),
            prepare: None,
            dir: Arc::new(TempDir::new()),
        }
    }

    pub fn args<A: AsRef<str>>(mut self, args: &[A]) -> Launch {
        self.args.extend(args.iter().map(|a| a.as_ref().to_owned()));
        self
    }

    pub fn port(mut self, port: u16) -> Launch {
        self.port = port;
        self
    }

    /// Writes a configuration file into the server's directory and passes it first. `{dir}` and `{port}` stand for the server's.
    pub fn config(mut self, name: &str, text: &str) -> Launch {
        let path = self.dir.path().join(name);
        fs::write(&path, self.fill_in(text)).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
        self.file.get_or_insert_with(|| path.to_string_lossy().into_owned());
        self
    }

    /// Takes the directory of another run, with all that is in it, and passes a configuration file from it first.
    pub fn again(mut self, dir: &Arc<TempDir>, file: &Path) -> Launch {
        self.dir = Arc::clone(dir);
        self.file = Some(file.to_string_lossy().into_owned());
        self
    }

    /// Passes `-` first and this text as standard input.
    pub fn config_on_stdin(mut self, text: &str) -> Launch {
        self.file = Some("-".to_owned());
        self.stdin = Some(self.fill_in(text).into_bytes());
        self
    }

    pub fn with_unix_socket(mut self) -> Launch {
        self.unix_socket = true;
        self
    }

    /// Leaves out the harness's own options (port, bind, dir, save), for tests of the configuration itself.
    pub fn bare(mut self) -> Launch {
        self.defaults = false;
        self
    }

    /// Lets `f` limit the process before the program runs in it. Only what is safe between fork and exec.
    pub fn prepare(mut self, f: fn() -> std::io::Result<()>) -> Launch {
        self.prepare = Some(f);
        self
    }

    fn fill_in(&self, text: &str) -> String {
        text.replace("{dir}", &self.dir.path().to_string_lossy()).replace("{port}", &self.port.to_string())
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory, to be used `again`.
    pub fn shared_dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    pub fn flavour(&self) -> Flavour {
        flavour_of(&self.binary)
    }

    fn command(&self) -> Command {
        let mut words = self.through.iter().map(OsString::from).chain([self.binary.clone().into_os_string()]);
        let mut command = Command::new(words.next().expect("at least the server itself"));
        command.args(words);
        command.args(&self.file);
        if self.defaults {
            command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            command.arg("--dir").arg(self.dir.path());
        }
        if self.unix_socket {
            command.arg("--unixsocket").arg(self.dir.path().join("server.sock"));
        }
        if let Some(prepare) = self.prepare {
            // SAFETY: the functions given make system calls only.
            unsafe { command.pre_exec(prepare) };
        }
        let mut args = self.args.iter().map(|a| self.fill_in(a));
        while let Some(arg) = args.next() {
            if self.flavour() == Flavour::Redis && OWN_DIRECTIVES.contains(&arg.as_str()) {
                args.next();
                continue;
            }
            command.arg(arg);
        }
        command
    }

    /// Runs the server by another program, which must become it: `ip netns exec`.
    pub fn through(mut self, words: &[&str]) -> Launch {
        self.through = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts the process, its output going to the end of `server.log` in its directory.
    pub fn spawn(self) -> Server {
        let log = self.dir.path().join("server.log");
        let out = File::options().create(true).append(true).open(&log);
        let out = out.unwrap_or_else(|e| panic!("creating {}: {e}", log.display()));
        let err = out.try_clone().expect("duplicating a descriptor");
        let mut command = self.command();
        command.stdout(out).stderr(err).stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().unwrap_or_else(|e| panic!("starting {}: {e}", self.binary.display()));
        if let (Some(text), Some(mut pipe)) = (&self.stdin, child.stdin.take()) {
            pipe.write_all(text).expect("the server reads its standard input");
        }
        Server { flavour: self.flavour(), port: self.port, child, log, ended: None, dir: self.dir }
    }

    /// Starts the process and waits until it answers.
    #[track_caller]
    pub fn start(self) -> Server {
        let mut server = self.spawn();
        server.wait_for_pong();
        server
    }

    /// Runs a process that is expected to end by itself; its status and all it said.
    #[track_caller]
    pub fn run(self) -> (ExitStatus, String) {
        let mut server = self.spawn();
        let status = server.wait_for_end();
        (status, server.log())
    }
}

pub struct Server {
    pub flavour: Flavour,
    pub port: u16,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    dir: Arc<TempDir>,
}

impl Server {
    #[track_caller]
    pub fn basalt(args: &[&str]) -> Server {
        Launch::basalt().args(args).start()
    }

    #[track_caller]
    pub fn redis(args: &[&str]) -> Server {
        Launch::redis().args(args).start()
    }

    /// Whether this is Basalt itself; a test of what only Basalt has says that it is skipped and returns when it is not.
    pub fn is_basalt_or_say(&self, what: &str) -> bool {
        if self.flavour == Flavour::Redis {
            println!("skipped: {what} is Basalt's own, and a redis-server plays Basalt here");
        }
        self.flavour == Flavour::Basalt
    }

    #[track_caller]
    fn wait_for_pong(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.poll_end() {
                panic!("the server ended with {status} instead of answering\n{}", self.log());
            }
            // A server that wants a password, or is still loading, is up as well.
            if let Ok(mut conn) = Conn::try_open(&format!("127.0.0.1:{}", self.port))
                && conn.send(&["PING"]).is_ok()
                && let Ok(Reply::Simple(_) | Reply::Error(_)) = conn.read()
            {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not answer\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn poll_end(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("waiting for a child of ours");
        }
        self.ended
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.poll_end() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    pub fn conn(&self) -> Conn {
        Conn::open(self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn running(&mut self) -> bool {
        self.poll_end().is_none()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn unix_socket(&self) -> PathBuf {
        self.dir.path().join("server.sock")
    }

    /// All the process has written to standard output and error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn rss(&self) -> u64 {
        proc::rss(self.pid())
    }

    pub fn cpu(&self) -> proc::Cpu {
        proc::cpu(self.pid())
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill only takes numbers; the child has not been reaped while `self.child` is unwaited.
        unsafe { libc::kill(self.pid() as libc::pid_t, signal) };
    }

    /// SIGTERM, and the status the process then ends with.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait_for_end()
    }

    /// The server still runs and answers: what must hold after every attack on it.
    #[track_caller]
    pub fn assert_healthy(&mut self) {
        if let Some(status) = self.poll_end() {
            panic!("the server ended with {status}\n{}", self.log());
        }
        let reply = self.conn().cmd("PING");
        assert_eq!(reply, Reply::Simple(b"PONG".to_vec()), "log:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.poll_end().is_none() {
            // It may end between the two calls, which is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(12).collect();
            eprintln!("--- last lines of the server on port {}:", self.port);
            tail.iter().rev().for_each(|line| eprintln!("{}", line.chars().take(300).collect::<String>()));
        }
    }
}

/// Sends raw bytes on a fresh connection and returns all that comes back until the server closes.
pub fn exchange(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut conn = Conn::open(port);
    match conn.send_raw(bytes) {
        Err(e) if !conn::is_gone(&e) => panic!("sending: {e}"),
        _ => {}
    }
    conn.finish_writing();
    conn.read_to_end().unwrap_or_else(|e| panic!("reading to the end: {e}"))
}
