//! Starting the executors: what has to be true of the machine, and a thread with its ring for each.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;

use glommio::{ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement};

use super::io::Io;
use super::mailbox::{self, Mailboxes};
use super::reactor::{self, Core, Service};
use super::ring::{Buffers, Ring};
use super::task::Tasks;
use super::{ExecutorId, clock, slice};

/// Why the executors could not be started, and what to do about it.
#[derive(Debug)]
pub enum StartError {
    /// Linux older than 6.1.
    Kernel {
        release: String,
    },
    /// io_uring is switched off or forbidden.
    Forbidden {
        sysctl: Option<String>,
    },
    /// RLIMIT_MEMLOCK does not suffice.
    MemoryLock {
        limit_bytes: u64,
    },
    Other {
        what: &'static str,
        error: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Kernel { release } => {
                write!(
                    f,
                    "Linux {release} is too old: Basalt needs 6.1 or newer for its io_uring sockets. Upgrade the kernel."
                )
            }
            StartError::Forbidden { sysctl: Some(value) } => write!(
                f,
                "io_uring is switched off on this host (kernel.io_uring_disabled = {value}). Run 'sysctl -w kernel.io_uring_disabled=0' as root."
            ),
            StartError::Forbidden { sysctl: None } => write!(
                f,
                "io_uring is forbidden to this process, most likely by the container's seccomp profile. \
                 Allow io_uring_setup, io_uring_enter and io_uring_register."
            ),
            StartError::MemoryLock { limit_bytes } => write!(
                f,
                "the limit of locked memory is {limit_bytes} bytes, too low for io_uring. Raise it to at least 8 MiB: \
                 'ulimit -l 8192', LimitMEMLOCK=8M in a systemd unit, or '--ulimit memlock=8388608' for a container."
            ),
            StartError::Other { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The CPUs this process may run on.
pub fn available_cpus() -> Vec<usize> {
    // SAFETY: an all-zero set is a valid one, and the call fills it up to its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        set
    };
    // SAFETY: the index is below the size of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// What glommio refuses to do without.
const MIN_MEMORY_LOCK_BYTES: u64 = 512 * 1024;

/// Checks what the kernel and the limits allow; to be called before anything is started.
pub fn check_host() -> Result<(), StartError> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 1) {
        return Err(StartError::Kernel { release });
    }
    let limit_bytes = memory_lock_limit();
    if limit_bytes < MIN_MEMORY_LOCK_BYTES {
        return Err(StartError::MemoryLock { limit_bytes });
    }
    Ring::new().map(drop).map_err(|error| ring_error("io_uring_setup", error))
}

fn ring_error(what: &'static str, error: io::Error) -> StartError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
            let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
            StartError::Forbidden { sysctl: sysctl.map(|value| value.trim().to_owned()).filter(|value| value != "0") }
        }
        Some(libc::ENOMEM) => StartError::MemoryLock { limit_bytes: memory_lock_limit() },
        _ => StartError::Other { what, error: error.to_string() },
    }
}

fn memory_lock_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills a live local.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    limit.rlim_cur
}

/// The running executors.
pub struct Executors(Vec<ExecutorJoinHandle<io::Result<()>>>);

impl Executors {
    /// Waits until all have ended.
    pub fn join(self) -> Result<(), String> {
        for handle in self.0 {
            handle.join().map_err(|error| error.to_string())?.map_err(|error| format!("io_uring failed: {error}"))?;
        }
        Ok(())
    }
}

/// Descriptors an executor keeps open: our ring, glommio's three, and what they wake each other with.
pub const FILES_AN_EXECUTOR: u64 = 8;

/// Memory glommio registers for its own I/O, of which we do next to none.
const GLOMMIO_IO_BYTES: usize = 64 * 1024;
/// Depth of glommio's own rings, likewise.
const GLOMMIO_RING_DEPTH: usize = 8;

/// Starts one executor for each entry of `cpus` (pinned to it, or free). `make` builds its service inside the thread; `started` runs once
/// the executor turns, and may spawn tasks. Returns when every one of them runs.
pub fn start<S: Service>(
    cpus: &[Option<usize>],
    make: impl Fn(ExecutorId, &mut Io<S::Message>) -> S + Clone + Send + 'static,
    started: impl Fn(&Rc<Core<S>>) + Clone + Send + 'static,
) -> Result<Executors, StartError> {
    clock::TickRate::measure();
    let mesh = mailbox::mesh::<S::Message>(cpus.len())
        .map_err(|error| StartError::Other { what: "eventfd", error: error.to_string() })?;
    let (ready, reports) = mpsc::channel();
    // Nobody serves before all are there; an executor whose start signal is dropped ends.
    let mut signals = Vec::new();
    let mut handles = Vec::new();
    for (mailboxes, cpu) in mesh.into_iter().zip(cpus) {
        let (make, started, ready) = (make.clone(), started.clone(), ready.clone());
        let (signal, go) = mpsc::channel();
        signals.push(signal);
        let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
        let handle = LocalExecutorBuilder::new(placement)
            .name(&format!("basalt-{}", mailboxes.id()))
            .io_memory(GLOMMIO_IO_BYTES)
            .ring_depth(GLOMMIO_RING_DEPTH)
            .spawn(move || run(mailboxes, make, started, ready, go))
            .map_err(glommio_error)?;
        handles.push(handle);
    }
    drop(ready);
    let mut runs = vec![false; cpus.len()];
    for _ in cpus {
        match reports.recv() {
            Ok((id, Ok(()))) => runs[id] = true,
            Ok((_, Err(error))) => return Err(ring_error("io_uring", error)),
            // Some thread has ended without a report: its executor could not be made.
            Err(_) => return Err(first_failure(handles, &runs)),
        }
    }
    for signal in signals {
        // An executor that has ended since is noticed when it is joined.
        let _ = signal.send(());
    }
    Ok(Executors(handles))
}

/// Why an executor that does not run could not be made.
fn first_failure(handles: Vec<ExecutorJoinHandle<io::Result<()>>>, runs: &[bool]) -> StartError {
    let silent = handles.into_iter().zip(runs).find(|(_, runs)| !**runs);
    match silent.map(|(handle, _)| handle.join()) {
        Some(Err(error)) => glommio_error(error),
        _ => StartError::Other { what: "executor", error: "ended at start".into() },
    }
}

fn glommio_error(error: GlommioError<()>) -> StartError {
    match error {
        GlommioError::IoError(error) => ring_error("executor", error),
        error => StartError::Other { what: "executor", error: error.to_string() },
    }
}

async fn run<S: Service>(
    mailboxes: Mailboxes<S::Message>,
    make: impl Fn(ExecutorId, &mut Io<S::Message>) -> S,
    started: impl Fn(&Rc<Core<S>>),
    ready: mpsc::Sender<(ExecutorId, io::Result<()>)>,
    go: mpsc::Receiver<()>,
) -> io::Result<()> {
    let id = mailboxes.id();
    if let Err(error) = slice::set(slice::Work::Serving) {
        // A sandbox may forbid it, and all it would do is to shorten waits.
        tracing::debug!("sched_setattr for executor {id}: {error}");
    }
    let made = Ring::new().and_then(|ring| Buffers::register(&ring).map(|buffers| (ring, buffers)));
    let (ring, buffers) = match made {
        Ok(made) => made,
        Err(error) => {
            let copy = io::Error::new(error.kind(), error.to_string());
            // Nobody listens only if the starter has given up already.
            let _ = ready.send((id, Err(error)));
            return Err(copy);
        }
    };
    let mut io = Io::new(ring, mailboxes);
    let service = make(id, &mut io);
    let core = Rc::new(Core { service: RefCell::new(service), io: RefCell::new(io), tasks: Tasks::new() });
    started(&core);
    let _ = ready.send((id, Ok(())));
    // The starter waits until every sender has reported or is gone.
    drop(ready);
    if go.recv().is_err() {
        return Ok(());
    }
    let ended = reactor::run(core, buffers).await;
    if let Err(error) = &ended {
        // Half a node is worse than none, and those that still run would wait for this one's answers for ever.
        tracing::error!("io_uring failed on executor {id}, the process ends: {error}");
        std::process::abort();
    }
    ended
}
