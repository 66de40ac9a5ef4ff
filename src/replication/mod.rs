//! The replication executor: the core beside the shards that owns what is one stream for the whole node.
//!
//! It merges the write logs of all cores, keeps the backlog, and has the links to replicas and to a primary. It also receives the signals that
//! end the process, so that no shard has to look for them.
//!
//! Knows shards by their messages only.

pub mod backlog;
mod figures;
pub mod history;
pub mod log;
pub mod merge;
pub mod primary;
pub mod replica;
mod shutdown;
#[cfg(test)]
mod simulator;
pub mod status;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use crate::commands::lookup::Commands;
use crate::config::{Config, PrimaryAddress};
use crate::node::Node;
use crate::runtime::task::{self, Queue};
use crate::runtime::{Core, Event, ExecutorId, clock};
use crate::shard::cut::{AfterCut, AtCut};
use crate::shard::{Message, ShardIo, Shared};
use figures::Figures;
use primary::io::{PrimarySide, SPOOLS};
use replica::apply::Applier;
use replica::io::ReplicaSide;
use shutdown::Ending;

/// A function for the replication executor to run.
pub type Control = Box<dyn FnOnce(&mut Replication, &mut ShardIo) + Send>;

/// Token of the signal descriptor.
const SIGNALS: u32 = 0;

pub struct Replication {
    pub shared: Arc<Shared>,
    pub config: Arc<Config>,
    pub commands: Arc<Commands>,
    pub core: Weak<Core<Node>>,
    pub tasks: Option<task::Tasks>,
    /// What waits for the change of role that is under way; `None` if there is none.
    changes: Option<VecDeque<Control>>,
    /// Cuts that were asked for, the one at work first.
    cuts: VecDeque<(AtCut, AfterCut)>,
    cutting: bool,
    pub primary: PrimarySide,
    figures: Figures,
    pub replica: ReplicaSide,
    /// Whom to follow as soon as the node's own stream has ended.
    next_target: Option<PrimaryAddress>,
    /// The node ends as soon as its replicas have everything.
    ending: Option<Ending>,
    signals: OwnedFd,
    stop: bool,
}

/// How often the replication executor looks at what depends on time.
const TEND_INTERVAL: Duration = Duration::from_millis(100);

/// Starts the background task of the replication executor.
pub fn start_background(core: &Rc<Core<Node>>) {
    core.tasks.spawn(Queue::Background, tend(core.clone()));
}

async fn tend(core: Rc<Core<Node>>) {
    loop {
        core.tasks.sleep(TEND_INTERVAL).await;
        core.with(|node, io| {
            if let Node::Replication(replication) = node {
                replication.tend(io);
            }
        });
    }
}

/// Blocks the signals that end the process, in this thread and all that it starts, and gives the descriptor to read them from.
pub fn take_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is a live local, filled before use; the descriptor is checked and then owned.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGTERM, libc::SIGINT] {
            libc::sigaddset(&mut set, signal);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) {
            0 => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

impl Replication {
    pub fn new(
        io: &mut ShardIo,
        signals: OwnedFd,
        shared: Arc<Shared>,
        config: Arc<Config>,
        commands: Arc<Commands>,
    ) -> Replication {
        io.watch(SIGNALS, signals.as_raw_fd());
        let primary = PrimarySide::new(&config, shared.replication_id.clone(), shared.shards);
        let replica = ReplicaSide::new(Applier::new(commands.clone(), shared.shards));
        let mut replication = Replication {
            primary,
            replica,
            next_target: None,
            shared,
            config,
            commands,
            core: Weak::new(),
            tasks: None,
            changes: None,
            cuts: VecDeque::new(),
            cutting: false,
            figures: Figures::default(),
            ending: None,
            signals,
            stop: false,
        };
        if let Some(target) = replication.config.replicaof.clone() {
            // The shards begin in that role, too.
            replication.change_role(io, Some(target), 0);
        }
        replication
    }

    /// Takes over a changed configuration.
    pub fn set_config(&mut self, config: Arc<Config>) {
        self.primary.set_config(&config, self.shared.shards);
        self.config = config;
        self.configure_replica();
    }

    /// What INFO and others tell of replication.
    pub fn status(&self) -> status::Status {
        let mut status = self.raw_status();
        self.figures.show(&mut status.counters);
        status
    }

    /// The same with counters since the process began.
    fn raw_status(&self) -> status::Status {
        let mut status = status::Status::default();
        self.describe_primary(&mut status);
        self.describe_replica(&mut status);
        status
    }

    /// CLIENT KILL: closes the links with these client IDs; how many there were.
    pub fn kill(&mut self, io: &mut ShardIo, clients: &[u64]) -> usize {
        self.kill_replicas(io, clients) + usize::from(self.kill_primary(io, clients))
    }

    /// CONFIG RESETSTAT.
    pub fn reset_figures(&mut self) {
        let counters = self.raw_status().counters;
        self.figures.reset(&counters);
    }

    /// The virtual client has run what it was given.
    pub fn on_applied_bytes(&mut self, io: &mut ShardIo) {
        self.on_applied_alone(io);
    }

    // Moments at which all cores stand still

    /// Lets every shard do something at one moment, and then this executor, which is given the number of the first batch behind it. Several
    /// happen in the order in which they were asked for.
    pub fn cut(&mut self, io: &mut ShardIo, at_cut: AtCut, after: AfterCut) {
        self.cuts.push_back((at_cut, after));
        self.next_cut(io);
    }

    fn next_cut(&mut self, io: &mut ShardIo) {
        if self.cutting {
            return;
        }
        let Some((at_cut, after)) = self.cuts.pop_front() else { return };
        self.cutting = true;
        let after: AfterCut = Box::new(move |replication, io, number| {
            replication.cutting = false;
            after(replication, io, number);
            replication.next_cut(io);
        });
        io.post(0, Message::Run(Box::new(move |shard, _| shard.cut(at_cut, after))));
    }

    // Changes of role

    /// Begins a change of role as soon as no other is under way.
    pub fn begin_change(&mut self, io: &mut ShardIo, begin: Control) {
        match &mut self.changes {
            Some(waiting) => waiting.push_back(begin),
            None => {
                self.changes = Some(VecDeque::new());
                begin(self, io);
            }
        }
    }

    /// The change of role is done, or was none.
    pub fn end_change(&mut self, io: &mut ShardIo) {
        if let Some(mut waiting) = self.changes.take()
            && let Some(next) = waiting.pop_front()
        {
            self.changes = Some(waiting);
            next(self, io);
        }
    }

    /// Whom the node follows.
    pub fn target(&self) -> Option<&PrimaryAddress> {
        self.replica.target().or(self.next_target.as_ref())
    }

    /// Whether there is a backlog for replicas to go on from.
    pub fn has_backlog(&self) -> bool {
        self.primary.machine.stream().backlog().is_some()
    }

    /// Ends the link to a primary; then everything that it has brought is applied.
    pub fn end_link(&mut self, io: &mut ShardIo, then: Control) {
        self.next_target = None;
        self.close_link(io, then);
    }

    /// All cores have taken another role; `number` is that of the first batch behind it.
    pub fn change_role(&mut self, io: &mut ShardIo, target: Option<PrimaryAddress>, number: u64) {
        match target {
            Some(target) => {
                self.next_target = Some(target);
                self.end_stream(io, number, Box::new(Replication::follow_next));
            }
            None => {
                self.owns_position();
                self.tell_primary(io, primary::Event::Promoted);
            }
        }
    }

    /// The stream of the node's own writes has ended.
    fn follow_next(&mut self, io: &mut ShardIo) {
        if let Some(target) = self.next_target.take() {
            self.follow(io, target);
        }
    }

    /// Lets cores look again at what they wait for.
    fn wake_shards(&self, io: &mut ShardIo) {
        for shard in 0..self.shared.shards {
            io.post(shard, Message::Run(Box::new(|_, _| ())));
        }
    }

    /// The present moment has come ten times a second.
    pub fn tend(&mut self, io: &mut ShardIo) {
        let counters = self.raw_status().counters;
        self.figures.sample(clock::unix_us(), &counters);
        self.tend_primary(io);
        self.tend_replica(io);
        self.flush_primary(io);
    }

    /// Everything of this tick has been handled.
    pub fn end_tick(&mut self, io: &mut ShardIo) {
        self.flush_primary(io);
    }

    pub fn on_event(&mut self, io: &mut ShardIo, event: Event<'_>) {
        if event.socket().is_some_and(|socket| self.primary.has(socket)) {
            return self.on_replica_event(io, event);
        }
        if event.socket().is_some_and(|socket| self.replica.has(socket)) {
            return self.on_primary_event(io, event);
        }
        if let Event::Readable { token: SPOOLS } = event {
            return self.on_spools(io);
        }
        if let Event::Readable { token: SIGNALS } = event {
            while let Some(signal) = self.next_signal() {
                let name = if signal == libc::SIGINT as u32 { "SIGINT" } else { "SIGTERM" };
                warn!("Received {name} scheduling shutdown...");
                self.shut_down(io, None);
            }
        }
    }

    fn next_signal(&self) -> Option<u32> {
        // SAFETY: an all-zero record is valid, and at most its size is written to it.
        unsafe {
            let mut info: libc::signalfd_siginfo = mem::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            let read = libc::read(self.signals.as_raw_fd(), (&raw mut info).cast(), size);
            (read == size as isize).then_some(info.ssi_signo)
        }
    }

    pub fn on_message(&mut self, io: &mut ShardIo, _from: ExecutorId, message: Message) {
        match message {
            Message::Stop => self.stop = true,
            Message::Control(control) => control(self, io),
            Message::Log(batch) => self.on_log(io, batch),
            Message::Handover(handover) => self.on_handover(io, *handover),
            Message::Chunk(chunk) => self.on_chunk(io, chunk),
            Message::Replies(batch) => self.on_applied_batch(io, batch),
            Message::Apply { .. }
            | Message::Requests(_)
            | Message::CheckOut(_)
            | Message::CheckedOut(_)
            | Message::CheckIn(_)
            | Message::Publications(_)
            | Message::Published(_)
            | Message::Offer(_)
            | Message::Offered(_)
            | Message::Connection(_)
            | Message::Changed(_)
            | Message::Run(_)
            | Message::Answer { .. } => error!("The replication executor got a message that is for shards."),
        }
    }

    pub fn stopping(&self) -> bool {
        self.stop
    }
}
