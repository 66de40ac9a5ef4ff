//! Which servers there are on this machine, and how each is started.

use crate::Error;
use crate::conn::{Conn, Reply};
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Basalt,
    /// Redis and Valkey take the same options.
    Redis,
    Pogocache,
}

pub struct Peer {
    pub name: &'static str,
    pub kind: Kind,
    pub binary: PathBuf,
}

/// Where a process may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpus {
    Any,
    Only(usize),
}

/// How a server is to be started. Peers without shards take `shards` as their number of threads if they have threads at all.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub shards: usize,
    pub cpus: Cpus,
    pub core_endpoints: bool,
}

const STARTUP_BOUND: Duration = Duration::from_secs(20);

/// The program named by the environment variable, else the first of that name on PATH.
pub fn program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

pub fn find() -> Result<Vec<Peer>, Error> {
    let basalt =
        std::env::var_os("BASALT_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_basalt")), PathBuf::from);
    let mut peers = vec![Peer { name: "basalt", kind: Kind::Basalt, binary: basalt }];
    let others = [
        ("redis", Kind::Redis, "REDIS_SERVER", "redis-server"),
        ("valkey", Kind::Redis, "VALKEY_SERVER", "valkey-server"),
        ("pogocache", Kind::Pogocache, "POGOCACHE", "pogocache"),
    ];
    for (name, kind, variable, file) in others {
        match program(variable, file) {
            Some(binary) => peers.push(Peer { name, kind, binary }),
            None => println!("not measured: {name} ({file} is not on PATH and {variable} is not set)"),
        }
    }
    for peer in &peers {
        let out = Command::new(&peer.binary).arg("--version").stdin(Stdio::null()).output();
        let out = out.map_err(|e| format!("{} cannot be run: {e}", peer.binary.display()))?;
        let said = String::from_utf8_lossy(&out.stdout).lines().next().unwrap_or_default().to_owned();
        println!("{:<10} {} ({said})", peer.name, peer.binary.display());
    }
    Ok(peers)
}

/// A port with free ones behind it for per-core endpoints; below the range of outgoing connections.
fn free_port() -> Result<u16, Error> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..500 {
        let port = 14_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 150 * 20;
        if (port..port + 10).all(|p| TcpListener::bind(("127.0.0.1", p)).is_ok()) {
            return Ok(port);
        }
    }
    Err("no free port between 14000 and 17000".into())
}

/// Limits a command to one processor, from before it starts.
pub fn pin(command: &mut Command, cpus: Cpus) {
    let Cpus::Only(cpu) = cpus else { return };
    // SAFETY: between fork and exec only one system call is made, on a set that lives on the stack.
    unsafe {
        command.pre_exec(move || {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// Limits the calling thread, and those that it starts from now on, to one processor.
pub fn pin_this_thread(cpu: usize) -> Result<(), Error> {
    // SAFETY: the set lives on the stack for the call; 0 names the calling thread.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 { Ok(()) } else { Err(format!("pinning to CPU {cpu}: {}", std::io::Error::last_os_error()).into()) }
}

/// A server at work; ends with its value.
pub struct Running {
    child: Child,
    pub port: u16,
    dir: PathBuf,
    pub time_to_pong: Duration,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn conn(&self) -> Result<Conn, Error> {
        Ok(Conn::try_open(&format!("127.0.0.1:{}", self.port))?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is lost if it has ended already, or if its directory stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Peer {
    fn args(&self, setup: &Setup, port: u16, dir: &Path) -> Vec<String> {
        let text = |s: &str| s.to_owned();
        let mut args = match self.kind {
            Kind::Pogocache => {
                return vec![
                    text("-h"),
                    text("127.0.0.1"),
                    text("-p"),
                    port.to_string(),
                    text("-t"),
                    setup.shards.to_string(),
                ];
            }
            Kind::Basalt | Kind::Redis => vec![text("--port"), port.to_string(), text("--bind"), text("127.0.0.1")],
        };
        args.extend([
            text("--save"),
            text(""),
            text("--appendonly"),
            text("no"),
            text("--dir"),
            dir.display().to_string(),
        ]);
        if self.kind == Kind::Basalt {
            let pin = if setup.cpus == Cpus::Any { "no" } else { "yes" };
            args.extend([text("--shards"), setup.shards.to_string(), text("--pin"), text(pin)]);
            if setup.core_endpoints {
                args.extend([text("--core-endpoints"), text("yes"), text("--core-port-base"), (port + 1).to_string()]);
            }
        }
        args
    }

    pub fn start(&self, setup: &Setup) -> Result<Running, Error> {
        let port = free_port()?;
        let dir = std::env::temp_dir().join(format!("basalt-bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let log = File::create(dir.join("server.log"))?;
        let mut command = Command::new(&self.binary);
        command.args(self.args(setup, port, &dir)).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        pin(&mut command, setup.cpus);
        let start = Instant::now();
        let child = command.spawn().map_err(|e| format!("starting {}: {e}", self.binary.display()))?;
        let mut running = Running { child, port, dir, time_to_pong: Duration::ZERO };
        loop {
            if let Ok(mut conn) = Conn::try_open(&format!("127.0.0.1:{port}"))
                && conn.send(&["PING"]).is_ok()
                && matches!(conn.read(), Ok(Reply::Simple(_)))
            {
                running.time_to_pong = start.elapsed();
                return Ok(running);
            }
            let ended = running.child.try_wait()?;
            if ended.is_some() || start.elapsed() > STARTUP_BOUND {
                let log = fs::read_to_string(running.dir.join("server.log")).unwrap_or_default();
                return Err(format!("{} does not answer; it said:\n{log}", self.name).into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Sets `count` keys through one pipelined connection.
pub fn fill(conn: &mut Conn, count: u64, key: impl Fn(u64) -> String, value: &[u8]) -> Result<(), Error> {
    const BATCH: u64 = 200;
    let mut bytes = Vec::new();
    for first in (0..count).step_by(BATCH as usize) {
        let last = count.min(first + BATCH);
        bytes.clear();
        for i in first..last {
            crate::conn::encode_into(&mut bytes, &[b"SET", key(i).as_bytes(), value]);
        }
        conn.send_raw(&bytes)?;
        for _ in first..last {
            let reply = conn.read()?;
            if reply.is_error() {
                return Err(format!("SET: {reply:?}").into());
            }
        }
    }
    Ok(())
}

/// `used_memory` of INFO, for servers that tell.
pub fn used_memory(conn: &mut Conn) -> Option<u64> {
    conn.send(&["INFO", "memory"]).ok()?;
    let Ok(Reply::Bulk(text)) = conn.read() else { return None };
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
}
