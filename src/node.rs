//! The node: from a configuration to running executors.
//!
//! Opens the listeners, builds one shard an executor and the replication executor beside them, and waits until they end.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::commands::lookup::Commands;
use crate::config::Config;
use crate::config::cli::{self, Startup};
use crate::observe::daemon::{self, PidFile, Supervisor};
use crate::observe::logging;
use crate::replication::log::Sequencer;
use crate::replication::{self, Replication};
use crate::runtime::{self, Core, Event, ExecutorId, Service, clock, net};
use crate::shard::{Message, PaddedCount, Shard, ShardIo, Shared};

/// Tokens of the kinds of listeners.
pub const LISTENER_TCP: u32 = 0;
pub const LISTENER_UNIX: u32 = 1;
/// A shard's own port (`core-endpoints`).
pub const LISTENER_CORE: u32 = 2;

/// From this many CPUs on, the replication executor has one of its own.
const CPUS_FOR_REPLICATION: usize = 4;

/// What an executor of this process runs.
pub enum Node {
    Shard(Box<Shard>),
    Replication(Box<Replication>),
}

impl Service for Node {
    type Message = Message;

    fn begin_tick(&mut self, io: &mut ShardIo) {
        if let Node::Shard(shard) = self {
            shard.begin_tick();
            shard.resume_waiting(io);
        }
    }

    #[inline]
    fn on_event(&mut self, io: &mut ShardIo, event: Event<'_>) {
        match self {
            Node::Shard(shard) => shard.on_event(io, event),
            Node::Replication(replication) => replication.on_event(io, event),
        }
    }

    #[inline]
    fn on_message(&mut self, io: &mut ShardIo, from: ExecutorId, message: Message) {
        match self {
            Node::Shard(shard) => shard.on_message(io, from, message),
            Node::Replication(replication) => replication.on_message(io, from, message),
        }
    }

    #[inline]
    fn end_tick(&mut self, io: &mut ShardIo) {
        match self {
            Node::Shard(shard) => shard.end_tick(io),
            Node::Replication(replication) => replication.end_tick(io),
        }
    }

    fn after_tasks(&mut self, io: &mut ShardIo) {
        if let Node::Shard(shard) = self {
            shard.close_log(io);
        }
    }

    fn stopping(&self) -> bool {
        match self {
            Node::Shard(shard) => shard.stopping(),
            Node::Replication(replication) => replication.stopping(),
        }
    }
}

/// The whole process: command line, configuration, serving. Its exit code is redis-server's: 0 after an orderly end, 1 otherwise.
pub fn main() -> ExitCode {
    let config = match cli::from_args(std::env::args_os()) {
        Ok(Startup::Serve(config)) => *config,
        Ok(Startup::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(error.exit_code());
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until told to stop. The error is for the operator.
fn serve(mut config: Config) -> Result<(), String> {
    let commands = renamed_commands(&config)?;
    std::env::set_current_dir(&config.dir)
        .map_err(|error| format!("Can't chdir to '{}': {error}", config.dir.display()))?;
    let supervisor = Supervisor::detect(config.supervised);
    let in_background = config.daemonize && !supervisor.is_present();
    if in_background {
        // Before any thread exists.
        daemon::daemonize().map_err(|error| error.to_string())?;
    }
    logging::init(config.loglevel, &config.logfile).map_err(|error| error.to_string())?;
    let cpus = runtime::available_cpus();
    let placement = placement(&config, &cpus);
    runtime::check_host().map_err(|error| error.to_string())?;
    fit_file_limit(&mut config, placement.len())?;
    let shards = placement.len() - 1;
    info!(
        "Basalt {} starts: {shards} shard{} on {} CPUs, pid {}",
        env!("CARGO_PKG_VERSION"),
        if shards == 1 { "" } else { "s" },
        cpus.len(),
        std::process::id()
    );
    if config.file.is_none() {
        warn!("No config file given, using the default config. To give one, use: basalt /path/to/basalt.conf");
    }
    let listeners = open_listeners(&config, shards)?;
    let pidfile = config
        .pidfile_path(in_background)
        .and_then(|path| PidFile::create(&path).inspect_err(|error| warn!("Failed to write PID file: {error}")).ok());
    let signals = replication::take_signals().map_err(|error| format!("signalfd: {error}"))?;
    let shared = Arc::new(shared(shards));
    let config = Arc::new(config);
    let commands = Arc::new(commands);
    // Handed to the executors, each of which takes its own part.
    let listeners = Arc::new(Mutex::new(listeners));
    let signals = Arc::new(Mutex::new(Some(signals)));
    let seed = random_u64();
    let make = {
        let (shared, config) = (shared.clone(), config.clone());
        move |id: ExecutorId, io: &mut ShardIo| {
            if id == shards {
                let signals = take(&signals, |signals| signals.take());
                let signals = signals.expect("one replication executor");
                let (shared, config, commands) = (shared.clone(), config.clone(), commands.clone());
                return Node::Replication(Box::new(Replication::new(io, signals, shared, config, commands)));
            }
            for (token, fd) in take(&listeners, |listeners| std::mem::take(&mut listeners[id])) {
                io.listen(token, fd);
            }
            Node::Shard(Box::new(Shard::new(id, shared.clone(), config.clone(), commands.clone(), seed)))
        }
    };
    let executors = runtime::start(&placement, make, start_tasks).map_err(|error| error.to_string())?;
    shared.startup_memory.store(runtime::memory::used_bytes(), Ordering::Relaxed);
    for address in config.bind.iter().filter(|_| config.port != 0) {
        info!("Ready to accept connections tcp {address}:{}", config.port);
    }
    if !config.unixsocket.is_empty() {
        info!("Ready to accept connections unix {}", config.unixsocket);
    }
    if let Err(error) = supervisor.ready("Ready to accept connections") {
        warn!("{error}");
    }
    let outcome = executors.join();
    if let Err(error) = supervisor.stopping("Shutting down") {
        warn!("{error}");
    }
    if !config.unixsocket.is_empty() {
        // A file that someone else removed already is as good.
        let _ = std::fs::remove_file(&config.unixsocket);
    }
    if let Some(Err(error)) = pidfile.map(PidFile::remove) {
        warn!("{error}");
    }
    info!("Basalt is now ready to exit, bye bye...");
    outcome
}

fn take<T, R>(shared: &Mutex<T>, f: impl FnOnce(&mut T) -> R) -> R {
    f(&mut shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn start_tasks(core: &Rc<Core<Node>>) {
    core.with(|node, _| match node {
        Node::Shard(shard) => {
            shard.core = Rc::downgrade(core);
            shard.tasks = Some(core.tasks.clone());
        }
        Node::Replication(replication) => {
            replication.core = Rc::downgrade(core);
            replication.tasks = Some(core.tasks.clone());
        }
    });
    let is_shard = matches!(*core.service.borrow(), Node::Shard(_));
    if is_shard {
        crate::shard::start_background(core);
    } else {
        replication::start_background(core);
    }
}

fn renamed_commands(config: &Config) -> Result<Commands, String> {
    let mut commands = Commands::new();
    for (old, new) in &config.rename_command {
        commands
            .rename(old.as_bytes(), new.as_bytes())
            .map_err(|error| format!("rename-command \"{old}\" \"{new}\": {error}"))?;
    }
    Ok(commands)
}

/// The CPU of each executor, the replication executor last; `None` leaves it to the scheduler.
fn placement(config: &Config, cpus: &[usize]) -> Vec<Option<usize>> {
    let own_cpu = cpus.len() >= CPUS_FOR_REPLICATION;
    let shards = match config.shards as usize {
        0 => cpus.len() - own_cpu as usize,
        shards => shards,
    };
    // More shards than CPUs share them, and are better left to the scheduler.
    let pinned = config.pin && shards <= cpus.len();
    let mut placement: Vec<_> = (0..shards).map(|shard| pinned.then(|| cpus[shard])).collect();
    placement.push(cpus.get(shards).copied().filter(|_| pinned && own_cpu));
    placement
}

/// How long a start waits for an address that a predecessor has just had.
const FREE_WITHIN: Duration = Duration::from_secs(1);

/// The listeners of each shard, with their tokens.
pub type Listeners = Vec<Vec<(u32, OwnedFd)>>;

fn open_listeners(config: &Config, shards: usize) -> Result<Listeners, String> {
    let mut listeners = open_tcp_listeners(config, shards, &[], FREE_WITHIN)?;
    if !config.unixsocket.is_empty() {
        let backlog = config.tcp_backlog as i32;
        let fd = net::listen_unix(Path::new(&config.unixsocket), config.unixsocketperm, backlog)
            .map_err(|error| error.to_string())?;
        listeners[0].push((LISTENER_UNIX, fd));
    }
    if listeners.iter().all(Vec::is_empty) {
        return Err("Configured to not listen anywhere, exiting.".into());
    }
    Ok(listeners)
}

/// Opens the TCP listeners of a configuration that replaces `old`, beside the ones that are still open.
pub fn reopen_tcp_listeners(new: &Config, old: &Config, shards: usize) -> Result<Listeners, String> {
    let core_ports = (0..shards as u32).filter_map(|shard| old.core_port(shard));
    let ports: Vec<u16> = std::iter::once(old.port).chain(core_ports).collect();
    // Only these may be in use: by this node itself.
    let held: Vec<SocketAddr> =
        old.bind.iter().flat_map(|host| ports.iter().filter_map(|port| host.resolve(*port).ok())).collect();
    // The node serves already: it is not to stand still for this.
    open_tcp_listeners(new, shards, &held, Duration::ZERO)
}

/// `held` are the addresses at which this process listens already.
fn open_tcp_listeners(
    config: &Config,
    shards: usize,
    held: &[SocketAddr],
    free_within: Duration,
) -> Result<Listeners, String> {
    let mut listeners: Listeners = (0..shards).map(|_| Vec::new()).collect();
    let backlog = config.tcp_backlog as i32;
    let mut open = |port: u16, owners: std::ops::Range<usize>, token: u32| -> Result<usize, String> {
        let mut opened = 0;
        for host in &config.bind {
            let result = host
                .resolve(port)
                .map_err(|error| net::ListenError { at: format!("{host}:{port}"), error })
                .and_then(|address| open_shared(address, backlog, owners.len(), held, free_within));
            match result {
                Ok(fds) => {
                    opened += 1;
                    for (owner, fd) in owners.clone().zip(fds) {
                        listeners[owner].push((token, fd));
                    }
                }
                Err(error) if host.optional && error.is_missing_address() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(opened)
    };
    if config.port != 0 && !config.bind.is_empty() && open(config.port, 0..shards, LISTENER_TCP)? == 0 {
        return Err("Failed listening on any address of 'bind', aborting.".into());
    }
    if config.core_endpoints {
        for shard in 0..shards {
            let port = config.core_port(shard as u32).ok_or_else(|| {
                format!("core-port-base leaves no port for shard {shard}: ports end at 65535. Choose a lower one.")
            })?;
            open(port, shard..shard + 1, LISTENER_CORE)?;
        }
    }
    Ok(listeners)
}

/// `count` listeners that share one address, which nobody else may be using.
fn open_shared(
    address: SocketAddr,
    backlog: i32,
    count: usize,
    held: &[SocketAddr],
    free_within: Duration,
) -> Result<Vec<OwnedFd>, net::ListenError> {
    if !held.contains(&address) {
        net::check_free(address, free_within)?;
    }
    (0..count).map(|_| net::listen_tcp(address, backlog)).collect()
}

/// Descriptors beside those of clients and executors, as many as Redis keeps: listeners, files, what a library opens for a moment.
const RESERVED_FILES: u64 = 32;

/// How many of that many clients the limit of open files lets in, after it was raised as far as allowed.
pub fn clients_served(maxclients: u32, executors: usize) -> u32 {
    let reserved = reserved_files(executors);
    let served = raise_file_limit(u64::from(maxclients) + reserved).saturating_sub(reserved);
    maxclients.min(u32::try_from(served).unwrap_or(u32::MAX))
}

fn reserved_files(executors: usize) -> u64 {
    RESERVED_FILES + executors as u64 * runtime::FILES_AN_EXECUTOR
}

/// Raises the limit of open files to what `maxclients` needs. Where that is not allowed, `maxclients` is lowered to what is.
fn fit_file_limit(config: &mut Config, executors: usize) -> Result<(), String> {
    let reserved = reserved_files(executors);
    let wanted = u64::from(config.maxclients) + reserved;
    let limit = raise_file_limit(wanted);
    if limit >= wanted {
        return Ok(());
    }
    if limit <= reserved {
        return Err(format!(
            "The limit of open files is {limit}, too low for {executors} executors. Raise it to at least {wanted}: \
             'ulimit -n {wanted}', or LimitNOFILE={wanted} in a systemd unit."
        ));
    }
    let served = limit - reserved;
    warn!(
        "maxclients {} needs {wanted} open files, but the limit is {limit}: maxclients is now {served}. Raise the limit with 'ulimit -n'.",
        config.maxclients
    );
    // Lower than what it was, so it fits.
    config.maxclients = served as u32;
    Ok(())
}

/// Raises the limit of open files to `wanted` as far as allowed; the limit that then holds.
fn raise_file_limit(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills and reads a live local.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        if limit.rlim_cur >= wanted {
            return limit.rlim_cur;
        }
        let before = limit;
        // Who may raise the hard limit gets all, anybody else what the hard limit gives.
        for hard in [limit.rlim_max.max(wanted), limit.rlim_max] {
            limit = libc::rlimit { rlim_cur: hard.min(wanted), rlim_max: hard };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 {
                return limit.rlim_cur;
            }
        }
        before.rlim_cur
    }
}

fn shared(shards: usize) -> Shared {
    let started_ms = clock::unix_ms();
    Shared {
        shards,
        run_id: random_hex(),
        replication_id: random_hex(),
        node_ids: (0..shards).map(|_| random_hex()).collect(),
        started: Instant::now(),
        started_ms,
        clients: (0..shards).map(|_| PaddedCount::default()).collect(),
        evictable: (0..shards).map(|_| PaddedCount::default()).collect(),
        next_client_id: AtomicU64::new(1),
        next_slow_id: Arc::default(),
        sequencer: Sequencer::default(),
        good_replicas: AtomicUsize::new(0),
        uncounted_bytes: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
        startup_memory: AtomicUsize::new(0),
        last_save_s: started_ms / 1000,
    }
}

/// 64 random bits of the operating system.
pub fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds it from the operating system; each state differs.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// 40 random hex digits, as run and node ids have.
pub fn random_hex() -> String {
    let digits: String = (0..3).map(|_| format!("{:016x}", random_u64())).collect();
    digits[..40].to_owned()
}
