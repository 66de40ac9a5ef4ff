//! A link that can be cut: a TCP proxy in the test's own process, in front of a node.
//!
//! - `cut` ends all its connections, in order or by reset; new ones are taken at once, unless `refuse` was called
//! - `stall` lets nothing through any more, in either direction, and says nothing: a network that swallows packets
//! - `limit` cuts once, at a byte: when so many more have gone in a direction
//!
//! "Down" is from the node to who connected, "up" is towards the node.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const CHUNK_BYTES: usize = 64 * 1024;
/// How often a pump that waits looks whether it is to end.
const POLL: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Down,
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Orderly,
    Reset,
}

#[derive(Default)]
struct Way {
    passed: AtomicU64,
    /// The count of `passed` at which the link is to be cut once; none at the greatest number.
    cut_at: AtomicU64,
}

#[derive(Default)]
struct Shared {
    target: AtomicU16,
    closing: AtomicBool,
    refusing: AtomicBool,
    stalled: AtomicBool,
    down: Way,
    up: Way,
    /// Times that a limit was reached.
    cuts: AtomicU64,
    accepted: AtomicU64,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    dead: AtomicBool,
}

impl Connection {
    fn end(&self, ending: Ending) {
        if self.dead.swap(true, Ordering::SeqCst) {
            return;
        }
        for stream in [&self.client, &self.server] {
            match ending {
                // A peer that is gone already is as good.
                Ending::Orderly => drop(stream.shutdown(Shutdown::Both)),
                Ending::Reset => linger_zero(stream),
            }
        }
    }
}

/// Makes the last close of the socket a reset.
fn linger_zero(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is a `linger` of the size given, alive during the call.
    let done = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(done, 0, "SO_LINGER: {}", std::io::Error::last_os_error());
}

impl Shared {
    fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        }
    }

    fn end_all(&self, ending: Ending) {
        let mut connections = self.connections.lock().unwrap_or_else(|e| e.into_inner());
        connections.drain(..).for_each(|connection| connection.end(ending));
    }
}

pub struct Link {
    pub port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Link {
    /// A link to a port of this machine.
    pub fn to(target: u16) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port for the link");
        listener.set_nonblocking(true).expect("a listener that can be polled");
        let port = listener.local_addr().expect("a bound listener").port();
        let shared = Arc::new(Shared::default());
        shared.target.store(target, Ordering::SeqCst);
        shared.down.cut_at.store(u64::MAX, Ordering::SeqCst);
        shared.up.cut_at.store(u64::MAX, Ordering::SeqCst);
        let theirs = Arc::clone(&shared);
        let listener = Some(thread::spawn(move || accept(&listener, &theirs)));
        Link { port, shared, listener }
    }

    pub fn cut(&self, ending: Ending) {
        self.shared.end_all(ending);
    }

    /// From now on connections are closed as soon as they are made; those there are stay.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, Ordering::SeqCst);
    }

    /// Cuts all connections when `bytes` more have gone in this direction; once.
    pub fn limit(&self, direction: Direction, bytes: u64) {
        let way = self.shared.way(direction);
        way.cut_at.store(way.passed.load(Ordering::SeqCst) + bytes, Ordering::SeqCst);
    }

    /// How often a limit was reached.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// How many connections were taken.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.way(direction).passed.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.end_all(Ending::Orderly);
        if let Some(listener) = self.listener.take()
            && listener.join().is_err()
            && !thread::panicking()
        {
            panic!("the link's listener has panicked");
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.closing.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((client, _)) => connect(client, shared),
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(POLL),
            Err(e) => panic!("accepting on a link: {e}"),
        }
    }
}

fn connect(client: TcpStream, shared: &Arc<Shared>) {
    shared.accepted.fetch_add(1, Ordering::SeqCst);
    if shared.refusing.load(Ordering::SeqCst) {
        return;
    }
    // A target that is down looks the same through the link: closed at once.
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))) else { return };
    let prepared = client.set_nonblocking(false).and_then(|()| client.set_nodelay(true));
    if prepared.and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let connection = Arc::new(Connection { client, server, dead: AtomicBool::new(false) });
    shared.connections.lock().unwrap_or_else(|e| e.into_inner()).push(Arc::clone(&connection));
    for direction in [Direction::Down, Direction::Up] {
        let (shared, connection) = (Arc::clone(shared), Arc::clone(&connection));
        thread::spawn(move || {
            pump(&shared, &connection, direction);
            connection.end(Ending::Orderly);
            let mut connections = shared.connections.lock().unwrap_or_else(|e| e.into_inner());
            connections.retain(|other| !Arc::ptr_eq(other, &connection));
        });
    }
}

/// Passes bytes on until either end is gone or the link is cut.
fn pump(shared: &Shared, connection: &Connection, direction: Direction) {
    let way = shared.way(direction);
    let (mut from, mut to) = match direction {
        Direction::Down => (&connection.server, &connection.client),
        Direction::Up => (&connection.client, &connection.server),
    };
    if from.set_read_timeout(Some(POLL)).is_err() || to.set_write_timeout(Some(POLL)).is_err() {
        return;
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    while !connection.dead.load(Ordering::SeqCst) {
        if shared.stalled.load(Ordering::SeqCst) {
            thread::sleep(POLL);
            continue;
        }
        let got = match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(got) => got,
            Err(e) if is_pause(e.kind()) => continue,
            Err(_) => return,
        };
        let left = way.cut_at.load(Ordering::SeqCst).saturating_sub(way.passed.load(Ordering::SeqCst));
        let allowed = (got as u64).min(left) as usize;
        if !write_all(&mut to, &chunk[..allowed], connection) {
            return;
        }
        way.passed.fetch_add(allowed as u64, Ordering::SeqCst);
        if allowed as u64 == left {
            way.cut_at.store(u64::MAX, Ordering::SeqCst);
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            shared.end_all(Ending::Orderly);
            return;
        }
    }
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn write_all(to: &mut &TcpStream, mut bytes: &[u8], connection: &Connection) -> bool {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(e) if is_pause(e.kind()) && !connection.dead.load(Ordering::SeqCst) => {}
            Err(_) => return false,
        }
    }
    true
}
