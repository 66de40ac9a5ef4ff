//! The process and its surroundings: going into the background, the pid file, and the service manager.
//!
//! Invariants
//! - `daemonize` runs while the process has one thread: a fork would lose the others
//! - a pid file is removed only while it names this process
//!
//! Knows nothing of what the process serves.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use crate::config::Supervised;

/// What could not be done, with the cure.
#[derive(Debug)]
pub enum DaemonError {
    /// `daemonize` came too late.
    Threads(usize),
    Fork(io::Error),
    Session(io::Error),
    NullDevice(io::Error),
    WritePidFile {
        path: PathBuf,
        error: io::Error,
    },
    RemovePidFile {
        path: PathBuf,
        error: io::Error,
    },
    Notify {
        socket: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonError::Threads(count) => {
                write!(f, "Can't daemonize: the process already has {count} threads, of which a fork would keep one.")
            }
            DaemonError::Fork(error) => write!(
                f,
                "Can't daemonize: fork failed: {error}. Raise the limit of processes (ulimit -u, TasksMax), or write 'daemonize no'."
            ),
            DaemonError::Session(error) => write!(f, "Can't daemonize: no session of its own: {error}."),
            DaemonError::NullDevice(error) => write!(f, "Can't daemonize: /dev/null cannot be used: {error}."),
            DaemonError::WritePidFile { path, error } => write!(
                f,
                "Failed to write PID file {}: {error}. Create its directory and let this user write there, or set 'pidfile'.",
                path.display()
            ),
            DaemonError::RemovePidFile { path, error } => {
                write!(f, "Failed to remove PID file {}: {error}.", path.display())
            }
            DaemonError::Notify { socket, error } => {
                write!(f, "Can't reach the service manager at NOTIFY_SOCKET={}: {error}.", socket.display())
            }
        }
    }
}

impl std::error::Error for DaemonError {}

/// Goes into the background: returns in a child with a session of its own and /dev/null as its standard streams. The
/// parent ends with exit code 0.
///
/// To be called before anything starts a thread, and before the log writes to standard output.
pub fn daemonize() -> Result<(), DaemonError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(DaemonError::Threads(threads));
    }
    detach()
}

fn detach() -> Result<(), DaemonError> {
    // Opened first: what can fail should fail while someone still reads the message.
    let null = fs::File::options().read(true).write(true).open("/dev/null").map_err(DaemonError::NullDevice)?;
    fork_and_leave()?;
    // SAFETY: no memory is involved. The child of a fork leads no process group, so a session can be had.
    if unsafe { libc::setsid() } < 0 {
        return Err(DaemonError::Session(io::Error::last_os_error()));
    }
    for stream in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: `null` is open. The standard streams are owned by nobody in Rust: replacing what they name is sound.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } < 0 {
            return Err(DaemonError::NullDevice(io::Error::last_os_error()));
        }
    }
    Ok(())
}

fn fork_and_leave() -> Result<(), DaemonError> {
    // SAFETY: `daemonize` has seen that this is the only thread, so the child is a whole copy: no lock is held by a thread
    // that it lacks.
    match unsafe { libc::fork() } {
        0 => Ok(()),
        // SAFETY: ends the process without the exit handlers, which are the child's to run now.
        pid if pid > 0 => unsafe { libc::_exit(0) },
        _ => Err(DaemonError::Fork(io::Error::last_os_error())),
    }
}

/// The file that tells other programs our process id. It is removed with this value, or by `remove`, which reports.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    removed: bool,
}

impl PidFile {
    /// Writes the id of this process to `path`; after daemonizing. A file left over by a crash is overwritten.
    pub fn create(path: &Path) -> Result<PidFile, DaemonError> {
        let failed = |error| DaemonError::WritePidFile { path: path.to_owned(), error };
        let path = std::path::absolute(path).map_err(failed)?;
        fs::write(&path, format!("{}\n", std::process::id())).map_err(failed)?;
        Ok(PidFile { path, removed: false })
    }

    /// Removes the file, unless another process has put its own there.
    pub fn remove(mut self) -> Result<(), DaemonError> {
        self.try_remove()
    }

    fn try_remove(&mut self) -> Result<(), DaemonError> {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        let removed = fs::read_to_string(&self.path).and_then(|text| match text.trim_ascii().parse::<u32>() {
            Ok(id) if std::process::id() == id => fs::remove_file(&self.path),
            _ => Ok(()),
        });
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DaemonError::RemovePidFile { path: self.path.clone(), error })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Whoever wants to hear of a failure calls `remove`.
        let _ = self.try_remove();
    }
}

/// The service manager that started the process, if it wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supervisor {
    None,
    /// Its datagram socket; a leading `@` is an abstract name.
    Systemd(PathBuf),
    /// It waits for the process to stop itself once.
    Upstart,
    /// `supervised` asks for one whose environment variable is not there. The name of that variable.
    Missing(&'static str),
}

const SYSTEMD_VARIABLE: &str = "NOTIFY_SOCKET";
const UPSTART_VARIABLE: &str = "UPSTART_JOB";

impl Supervisor {
    /// Who supervises this process, by `supervised` and the environment.
    pub fn detect(mode: Supervised) -> Supervisor {
        Supervisor::from_variables(mode, |name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_variables(mode: Supervised, variable: impl Fn(&str) -> Option<PathBuf>) -> Supervisor {
        let set = |name| variable(name).filter(|value| !value.as_os_str().is_empty());
        let upstart = || set(UPSTART_VARIABLE).map(|_| Supervisor::Upstart);
        let systemd = || set(SYSTEMD_VARIABLE).map(Supervisor::Systemd);
        match mode {
            Supervised::No => Supervisor::None,
            Supervised::Auto => upstart().or_else(systemd).unwrap_or(Supervisor::None),
            Supervised::Upstart => upstart().unwrap_or(Supervisor::Missing(UPSTART_VARIABLE)),
            Supervised::Systemd => systemd().unwrap_or(Supervisor::Missing(SYSTEMD_VARIABLE)),
        }
    }

    /// Whether there is one. Then the process stays in the foreground whatever `daemonize` says, as in Redis: the
    /// manager would lose sight of it.
    pub fn is_present(&self) -> bool {
        matches!(self, Supervisor::Systemd(_) | Supervisor::Upstart)
    }

    /// Tells that start-up is complete, with a line for `systemctl status`.
    pub fn ready(&self, status: &str) -> Result<(), DaemonError> {
        match self {
            Supervisor::Systemd(socket) => notify(socket, &format!("STATUS={}\nREADY=1\n", one_line(status))),
            Supervisor::Upstart => {
                // SAFETY: a signal to ourselves; upstart answers it with SIGCONT.
                unsafe { libc::raise(libc::SIGSTOP) };
                Ok(())
            }
            Supervisor::None | Supervisor::Missing(_) => Ok(()),
        }
    }

    /// Tells that shutting down has begun.
    pub fn stopping(&self, status: &str) -> Result<(), DaemonError> {
        match self {
            Supervisor::Systemd(socket) => notify(socket, &format!("STATUS={}\nSTOPPING=1\n", one_line(status))),
            Supervisor::None | Supervisor::Upstart | Supervisor::Missing(_) => Ok(()),
        }
    }
}

/// A newline would start another assignment.
fn one_line(status: &str) -> String {
    status.replace('\n', " ")
}

/// The protocol of sd_notify(3): one datagram of assignments.
fn notify(socket: &Path, message: &str) -> Result<(), DaemonError> {
    let send = || -> io::Result<usize> {
        let address = match socket.as_os_str().as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        };
        UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)
    };
    send().map(|_| ()).map_err(|error| DaemonError::Notify { socket: socket.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("basalt-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_pid_file_comes_and_goes() {
        let path = temporary("pidfile");
        let file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        file.remove().unwrap();
        assert!(!path.exists());
        drop(PidFile::create(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_of_another_process_stays() {
        let path = temporary("pidfile-other");
        let file = PidFile::create(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        file.remove().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_pid_file_that_cannot_be_written_is_named() {
        let error = PidFile::create(Path::new("/nonexistent/basalt.pid")).unwrap_err();
        assert!(error.to_string().starts_with("Failed to write PID file /nonexistent/basalt.pid: No such"), "{error}");
    }

    #[test]
    fn the_supervisor_follows_mode_and_environment() {
        let systemd = || Supervisor::Systemd(PathBuf::from("/run/notify"));
        let cases = [
            (Supervised::No, "NOTIFY_SOCKET", Supervisor::None),
            (Supervised::Auto, "NOTIFY_SOCKET", systemd()),
            (Supervised::Auto, "UPSTART_JOB", Supervisor::Upstart),
            (Supervised::Auto, "OTHER", Supervisor::None),
            (Supervised::Systemd, "NOTIFY_SOCKET", systemd()),
            (Supervised::Systemd, "UPSTART_JOB", Supervisor::Missing("NOTIFY_SOCKET")),
            (Supervised::Upstart, "NOTIFY_SOCKET", Supervisor::Missing("UPSTART_JOB")),
        ];
        for (mode, present, expected) in cases {
            let variable = |name: &str| (name == present).then(|| PathBuf::from("/run/notify"));
            assert_eq!(Supervisor::from_variables(mode, variable), expected, "{mode:?} {present}");
        }
    }

    #[test]
    fn systemd_is_told() {
        let path = temporary("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::Systemd(path.clone());
        supervisor.ready("Ready to\naccept").unwrap();
        supervisor.stopping("Bye").unwrap();
        let mut buffer = [0; 128];
        for expected in ["STATUS=Ready to accept\nREADY=1\n", "STATUS=Bye\nSTOPPING=1\n"] {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected.as_bytes());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(supervisor.ready("x"), Err(DaemonError::Notify { .. })));
    }

    #[test]
    fn systemd_is_told_through_an_abstract_socket() {
        let name = format!("basalt-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Supervisor::Systemd(PathBuf::from(format!("@{name}"))).ready("x").unwrap();
        let mut buffer = [0; 128];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STATUS=x\nREADY=1\n");
    }

    #[test]
    fn threads_forbid_daemonizing() {
        std::thread::scope(|scope| {
            let second = scope.spawn(std::thread::park);
            let refused = daemonize();
            second.thread().unpark();
            assert!(matches!(refused, Err(DaemonError::Threads(count)) if count > 1), "{refused:?}");
        });
    }

    const REPORT: &str = "BASALT_TEST_DAEMON_REPORT";

    /// Run by `daemonizes` in a process of its own. The harness keeps a second thread, which waits for this one and holds
    /// no lock, so the check for threads is left out.
    #[test]
    #[ignore = "only as the child process of another test"]
    fn daemon_child() {
        let Some(report) = std::env::var_os(REPORT) else { return };
        let outcome = detach();
        // SAFETY: asks for the session of this process.
        let session = unsafe { libc::getsid(0) };
        let stdout = fs::read_link("/proc/self/fd/1").unwrap_or_default();
        let leads_session = session.unsigned_abs() == std::process::id();
        let written = fs::write(report, format!("{outcome:?} {leads_session} {}", stdout.display()));
        // SAFETY: ends the copy of the test process, whose other thread is not there.
        unsafe { libc::_exit(i32::from(written.is_err())) }
    }

    #[test]
    fn daemonizes() {
        let report = temporary("daemon-report");
        let _ = fs::remove_file(&report);
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "observe::daemon::tests::daemon_child", "--ignored", "--test-threads=1"])
            .env(REPORT, &report)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let deadline = Instant::now() + Duration::from_secs(20);
        let complete = loop {
            let text = fs::read_to_string(&report).unwrap_or_default();
            if text.ends_with("null") || Instant::now() > deadline {
                break text;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        fs::remove_file(&report).unwrap();
        assert_eq!(complete, "Ok(()) true /dev/null");
    }
}
