//! Listening sockets and socket options.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tracing::warn;

/// A listener that could not be opened, with what to do.
#[derive(Debug)]
pub struct ListenError {
    pub at: String,
    pub error: io::Error,
}

impl ListenError {
    /// Whether this host simply does not have the address (or its family).
    pub fn is_missing_address(&self) -> bool {
        matches!(
            self.error.raw_os_error(),
            Some(
                libc::EADDRNOTAVAIL
                    | libc::EAFNOSUPPORT
                    | libc::EPROTONOSUPPORT
                    | libc::ENOPROTOOPT
                    | libc::EPFNOSUPPORT
            )
        )
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match self.error.kind() {
            io::ErrorKind::AddrInUse => ": another process listens there; stop it or choose another 'port'",
            io::ErrorKind::AddrNotAvailable => {
                ": this host has no such address; correct 'bind', or prefix it with '-' to make it optional"
            }
            io::ErrorKind::PermissionDenied => ": not permitted; ports below 1024 need CAP_NET_BIND_SERVICE",
            _ => "",
        };
        write!(f, "Could not create server listening socket {}: {}{hint}", self.at, self.error)
    }
}

impl std::error::Error for ListenError {}

/// Opens a TCP listener that shares its port with the other cores' listeners.
pub fn listen_tcp(address: SocketAddr, backlog: i32) -> Result<OwnedFd, ListenError> {
    let open = || -> io::Result<OwnedFd> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        Ok(socket.into())
    };
    open().map_err(|error| ListenError { at: address.to_string(), error })
}

/// Fails if some other process listens at the address, and does so for longer than `patience`: of one that was killed, the kernel closes the
/// listeners only a moment after its end. Cores of one node share a port, so the kernel alone would let a second node join in.
pub fn check_free(address: SocketAddr, patience: Duration) -> Result<(), ListenError> {
    const PAUSE: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + patience;
    loop {
        match probe(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(PAUSE);
            }
            result => return result.map_err(|error| ListenError { at: address.to_string(), error }),
        }
    }
}

fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

/// Opens a UNIX listener; a stale socket file is replaced.
pub fn listen_unix(path: &Path, permissions: u32, backlog: i32) -> Result<OwnedFd, ListenError> {
    let open = || -> io::Result<OwnedFd> {
        if std::os::unix::net::UnixStream::connect(path).is_err() {
            match std::fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(backlog)?;
        if permissions != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(permissions))?;
        }
        Ok(socket.into())
    };
    open().map_err(|error| ListenError { at: path.display().to_string(), error })
}

/// A socket to connect to `address` with, bound to `from` if that can be: as in Redis, it is better to connect from another address than not.
pub fn socket_for(address: SocketAddr, from: Option<IpAddr>) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    if let Some(from) = from
        && let Err(error) = socket.bind(&SocketAddr::new(from, 0).into())
    {
        warn!("bind-source-addr {from} cannot be used, the kernel chooses: {error}");
    }
    Ok(socket.into())
}

/// The two ends of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
}

/// The addresses of a connected descriptor; none for a UNIX socket.
pub fn ends(fd: &impl AsFd) -> Ends {
    let socket = SockRef::from(fd);
    Ends {
        peer: socket.peer_addr().ok().and_then(|address| address.as_socket()),
        local: socket.local_addr().ok().and_then(|address| address.as_socket()),
    }
}

/// Sets what a client's TCP connection needs: no delay, and probes after `keepalive` of silence (zero: none).
pub fn prepare_tcp(fd: &impl AsFd, keepalive: Duration) -> io::Result<()> {
    let socket = SockRef::from(fd);
    socket.set_tcp_nodelay(true)?;
    if !keepalive.is_zero() {
        // As Redis: a third of the time between probes, three probes.
        let probes =
            TcpKeepalive::new().with_time(keepalive).with_interval((keepalive / 3).max(Duration::from_secs(1)));
        socket.set_tcp_keepalive(&probes.with_retries(3))?;
    }
    Ok(())
}

/// Lets the kernel wait to fill packets of a connection.
pub fn allow_delay(fd: &OwnedFd) -> io::Result<()> {
    SockRef::from(fd).set_tcp_nodelay(false)
}

/// Writes a last line to a connection that is refused, as far as it goes without waiting.
pub fn refuse(fd: OwnedFd, line: &[u8]) {
    // SAFETY: the descriptor is open, the line alive. A peer that is gone already loses nothing.
    unsafe { libc::send(fd.as_raw_fd(), line.as_ptr().cast(), line.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
}
