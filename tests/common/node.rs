//! A node of a replication group: Basalt with some shards, or a redis-server, with a configuration file of its own, that can be
//! killed, stopped for a while, and started again where it was.
//!
//! The file is what makes a restart one: a node that rewrote its configuration comes back as what it was. Both kinds take the
//! same directives, so that a test is written once for all.

use super::conn::is_gone;
use super::server::TempDir;
use super::{Conn, Flavour, Launch, Reply, Server, free_port};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With so many shards.
    Basalt(usize),
    Redis,
}

/// What all nodes of these suites have: no waiting where it can be helped, and links that are given up after three seconds.
const DEFAULTS: &[(&str, &str)] = &[
    ("bind", "0.0.0.0"),
    ("protected-mode", "no"),
    ("save", "\"\""),
    ("enable-debug-command", "yes"),
    ("repl-diskless-sync", "yes"),
    ("repl-diskless-sync-delay", "0"),
    ("repl-ping-replica-period", "1"),
    ("repl-timeout", "3"),
];

pub struct Node {
    pub kind: Kind,
    pub port: u16,
    server: Option<Server>,
    dir: Arc<TempDir>,
    file: PathBuf,
}

/// One directive a line, as a configuration file has them.
fn config(kind: Kind, flavour: Flavour, port: u16, dir: &TempDir, directives: &[(&str, &str)]) -> String {
    let mut text = format!("port {port}\ndir {}\n", dir.path().display());
    if let (Kind::Basalt(shards), Flavour::Basalt) = (kind, flavour) {
        text += &format!("shards {shards}\n");
    }
    let given = |name: &str| directives.iter().any(|(directive, _)| *directive == name);
    for (name, value) in DEFAULTS.iter().filter(|(name, _)| !given(name)).chain(directives) {
        text += &format!("{name} {value}\n");
    }
    text
}

impl Kind {
    pub fn launch(self) -> Launch {
        match self {
            Kind::Basalt(_) => Launch::basalt(),
            Kind::Redis => Launch::redis(),
        }
    }
}

impl Node {
    #[track_caller]
    pub fn start(kind: Kind, directives: &[(&str, &str)]) -> Node {
        Node::start_on(free_port(), kind, directives)
    }

    #[track_caller]
    pub fn start_on(port: u16, kind: Kind, directives: &[(&str, &str)]) -> Node {
        let launch = kind.launch();
        let dir = launch.shared_dir();
        let file = dir.path().join("node.conf");
        let text = config(kind, launch.flavour(), port, &dir, directives);
        fs::write(&file, text).unwrap_or_else(|e| panic!("writing {}: {e}", file.display()));
        let mut node = Node { kind, port, server: None, dir, file };
        node.restart();
        node
    }

    /// Starts the process again after it ended, from its configuration file as it now is.
    #[track_caller]
    pub fn restart(&mut self) {
        self.server = None;
        let launch = self.kind.launch().bare().port(self.port).again(&self.dir, &self.file);
        self.server = Some(launch.start());
    }

    #[track_caller]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a node that was not killed")
    }

    #[track_caller]
    pub fn conn(&self) -> Conn {
        Conn::open(self.port)
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// SIGTERM; returns when the process has ended.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop();
        }
    }

    /// SIGSTOP: the node keeps its sockets and says nothing any more. Returns when all of its threads stand still, which they do when one of them
    /// has had the processor to see the signal.
    #[track_caller]
    pub fn pause(&self) {
        let server = self.server();
        server.signal(libc::SIGSTOP);
        super::wait_until("it stands still", || super::proc::is_stopped(server.pid()));
    }

    pub fn resume(&self) {
        self.server().signal(libc::SIGCONT);
    }

    #[track_caller]
    pub fn assert_healthy(&mut self) {
        self.server.as_mut().expect("a node that was not killed").assert_healthy();
    }

    /// Whether this is Basalt itself, not a redis-server that plays it.
    pub fn is_basalt(&self) -> bool {
        self.server().flavour == Flavour::Basalt
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    pub fn config_file(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_else(|e| panic!("reading {}: {e}", self.file.display()))
    }

    /// The names of the files in the node's directory.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[track_caller]
    pub fn info(&self) -> Info {
        // Sentinel ends all clients of a node when it gives it a role: asked again, it answers.
        for _ in 0..10 {
            match Info::of(self.port) {
                Err(e) if is_gone(&e) => {}
                other => return other.unwrap_or_else(|e| panic!("INFO of port {}: {e}", self.port)),
            }
        }
        panic!("port {} ends every connection that asks for INFO", self.port);
    }

    /// REPLICAOF a port of this machine: that of a node, or of a link to one.
    #[track_caller]
    pub fn replicate(&self, port: u16) {
        assert_eq!(self.conn().cmd(&format!("REPLICAOF 127.0.0.1 {port}")).text(), "OK");
    }

    #[track_caller]
    pub fn promote(&self) {
        assert_eq!(self.conn().cmd("REPLICAOF NO ONE").text(), "OK");
    }

    #[track_caller]
    pub fn set(&self, directive: &str, value: &str) {
        let reply = self.conn().argv(&["CONFIG", "SET", directive, value]);
        assert_eq!(reply.text(), "OK", "CONFIG SET {directive} {value}");
    }
}

/// The fields of INFO at one moment.
#[derive(Clone, Debug)]
pub struct Info(HashMap<String, String>);

impl Info {
    /// An error where nobody answers, in a moment's time, with INFO.
    pub fn of(port: u16) -> io::Result<Info> {
        let mut conn = Conn::try_open(&format!("127.0.0.1:{port}"))?;
        conn.set_timeout(Duration::from_secs(5));
        Info::from(&mut conn)
    }

    pub fn from(conn: &mut Conn) -> io::Result<Info> {
        conn.send(&["INFO"])?;
        let reply = conn.read()?;
        let (Reply::Bulk(_) | Reply::Verbatim(_)) = reply else {
            return Err(io::Error::other(format!("INFO was answered with {reply:?}")));
        };
        let text = reply.text();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Ok(Info(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()))
    }

    #[track_caller]
    pub fn text(&self, field: &str) -> &str {
        self.0.get(field).unwrap_or_else(|| panic!("INFO has no {field}"))
    }

    pub fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    #[track_caller]
    pub fn number(&self, field: &str) -> i64 {
        let text = self.text(field);
        text.parse().unwrap_or_else(|_| panic!("INFO {field} is {text:?}"))
    }

    pub fn is_replica(&self) -> bool {
        self.text("role") == "slave"
    }

    pub fn link_up(&self) -> bool {
        self.is_replica() && self.text("master_link_status") == "up"
    }

    /// What the node has of the stream: received and applied on a replica, written on a primary.
    pub fn offset(&self) -> i64 {
        self.number(if self.is_replica() { "slave_repl_offset" } else { "master_repl_offset" })
    }
}
