//! What stands between the machines of a replica and its executor: the socket to the primary, the shards' messages, the clock.
//!
//! Invariants
//! - one socket at a time; events of an earlier one are ignored
//! - nothing is received while what was received last cannot be dealt with: the primary's sends are what waits then
//! - every byte of the stream that is handed to shards goes to the own backlog in the same tick
//! - a link has ended only when everything that it has brought is applied, and what was loaded of a snapshot is dropped

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::apply::{Applier, Ready, Stop};
use super::link::{Action, Event, Link, Position, Settings};
use super::stream::Stream;
use super::sync::Sync;
use crate::config::{Config, PrimaryAddress, PropagationErrors};
use crate::observe::info::REDIS_VERSION;
use crate::replication::primary::Event as PrimaryEvent;
use crate::replication::status::{LinkState, LinkStatus, Status};
use crate::replication::{Control, Replication};
use crate::resp::Out;
use crate::runtime::{Event as Happening, SocketId, clock, net};
use crate::shard::{Batch, Message, ShardIo};

/// Room for one receive of a snapshot.
pub const RECEIVE_BYTES: usize = 256 * 1024;
/// Bytes for the primary that may wait to be sent. Beyond, nothing more is said to it: what is left out, it would not have read.
const UNSENT_BYTES: usize = 64 * 1024;
const REPORT_INTERVAL_MS: u64 = 1000;

/// The connection to the primary.
struct Connection {
    socket: SocketId,
    client_id: u64,
    connected_ms: u64,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    /// A receive is under way, into memory that holds so many bytes already.
    receiving: Option<usize>,
    /// What waits for the send that is under way.
    unsent: Vec<u8>,
}

/// The replica's part of the replication executor.
pub struct ReplicaSide {
    started: Instant,
    target: Option<PrimaryAddress>,
    pub(super) link: Option<Link>,
    connection: Option<Connection>,
    /// Where the result of a name's resolution will be.
    resolving: Option<mpsc::Receiver<Result<SocketAddr, String>>>,
    /// Received and not dealt with, before the stream begins.
    input: Vec<u8>,
    stream: Stream,
    pub(super) applier: Applier,
    pub(super) sync: Option<Sync>,
    pub(super) next_sync: u64,
    /// Snapshots that were given up and that shards are still to drop.
    pub(super) aborting: usize,
    /// Whether the data are those of the node's history at its offset.
    pub(super) has_position: bool,
    /// There are units of the stream that shards are too busy for.
    behind: bool,
    /// Nothing is taken from the stream, until [`Replication::release_stream`].
    held: bool,
    /// What happens when everything that was taken is applied.
    when_still: Option<Control>,
    /// Who is told when the link has ended.
    ending: Option<Control>,
    /// Memory for files.
    pub(super) scratch: Vec<u8>,
    actions: Vec<Action>,
    input_bytes: u64,
    /// Failed commands that `propagation-error-behavior` was asked about.
    errors_seen: u64,
    reported_ms: u64,
    link_was_up: bool,
}

impl ReplicaSide {
    pub fn new(applier: Applier) -> ReplicaSide {
        ReplicaSide {
            started: Instant::now(),
            target: None,
            link: None,
            connection: None,
            resolving: None,
            input: Vec::new(),
            stream: Stream::new(0, 0),
            applier,
            sync: None,
            next_sync: 0,
            aborting: 0,
            has_position: true,
            behind: false,
            held: false,
            when_still: None,
            ending: None,
            scratch: Vec::new(),
            actions: Vec::new(),
            input_bytes: 0,
            errors_seen: 0,
            reported_ms: 0,
            link_was_up: false,
        }
    }

    /// Whom the node follows.
    pub fn target(&self) -> Option<&PrimaryAddress> {
        self.target.as_ref()
    }

    /// Whether this is the socket to the primary.
    pub fn has(&self, socket: SocketId) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.socket == socket)
    }

    pub(super) fn sync_of(&mut self, id: u64) -> Option<&mut Sync> {
        self.sync.as_mut().filter(|sync| sync.id() == id)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn is_streaming(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_streaming)
    }
}

fn settings(config: &Config) -> Settings {
    let password = config.masterauth.is_set().then(|| config.masterauth.expose().as_bytes().to_vec());
    Settings {
        timeout_ms: u64::from(config.repl_timeout) * 1000,
        user: config.masteruser.clone(),
        password,
        listening_port: if config.replica_announce_port > 0 { config.replica_announce_port } else { config.port },
        announce_ip: config.replica_announce_ip.clone(),
        frames: true,
        version: REDIS_VERSION.to_owned(),
    }
}

impl Replication {
    // Whom to follow

    /// Follows a primary. Only while no link is there: [`Replication::close_link`] comes before. In a failover it is asked to take over.
    pub fn follow(&mut self, io: &mut ShardIo, target: PrimaryAddress) {
        let now_ms = self.replica.now_ms();
        let mut link = Link::new(target.host.clone(), target.port, settings(&self.config), None, now_ms);
        link.failover = self.fails_over();
        self.replica.target = Some(target);
        self.replica.link = Some(link);
        self.resume_from_here();
        self.tell_link(io, Event::Tick { applied: 0 });
    }

    /// Ends the link to the primary, if there is one. `then` runs when everything that it has brought is applied.
    pub fn close_link(&mut self, io: &mut ShardIo, then: Control) {
        self.disconnect(io);
        self.replica.link = None;
        self.replica.target = None;
        self.note_link_state(io);
        self.replica.ending = Some(then);
        self.link_may_have_ended(io);
    }

    /// The node is a primary: what it has is where its own history stands.
    pub fn owns_position(&mut self) {
        self.replica.has_position = true;
    }

    /// The virtual client was refused a command of the stream.
    pub fn on_applied_error(&mut self, error: &[u8]) {
        self.replica.applier.failed(error, "(of several cores)");
    }

    pub(super) fn link_may_have_ended(&mut self, io: &mut ShardIo) {
        if self.replica.applier.is_idle()
            && self.replica.aborting == 0
            && let Some(then) = self.replica.ending.take()
        {
            then(self, io);
        }
    }

    /// Takes over a changed configuration.
    pub fn configure_replica(&mut self) {
        if let Some(link) = &mut self.replica.link {
            link.settings = settings(&self.config);
        }
        self.configure_stream();
    }

    fn configure_stream(&mut self) {
        let config = &self.config;
        let databases = u16::try_from(config.databases).unwrap_or(u16::MAX);
        self.replica.stream.configure(config.proto_max_bulk_len, config.client_query_buffer_limit, databases);
    }

    /// Tells the link from where the stream can go on.
    fn resume_from_here(&mut self) {
        let stream = self.primary.machine.stream();
        let history = stream.history();
        let known = self.replica.has_position && stream.backlog().is_some();
        let position = known.then(|| Position { id: history.id().to_owned(), offset: history.offset() });
        if let Some(link) = &mut self.replica.link {
            link.resume = position;
        }
    }

    // Time

    /// Ten times a second.
    pub fn tend_replica(&mut self, io: &mut ShardIo) {
        let now_ms = self.replica.now_ms();
        if now_ms.saturating_sub(self.replica.reported_ms) >= REPORT_INTERVAL_MS {
            self.replica.reported_ms = now_ms;
            self.replica.applier.report_errors();
        }
        self.replica.applier.relax();
        self.poll_resolver(io);
        let Some(link) = &mut self.replica.link else { return };
        let may_listen = matches!(link.state(), LinkState::Sync | LinkState::Connected);
        if may_listen && self.replica.connection.as_ref().is_some_and(|connection| connection.receiving.is_none()) {
            // It is we who do not listen.
            link.heard(now_ms);
        }
        let applied = self.replica.applier.applied();
        self.tell_link(io, Event::Tick { applied });
    }

    // The link

    /// Lets the link know of an event, and does what it says.
    pub(super) fn tell_link(&mut self, io: &mut ShardIo, event: Event<'_>) {
        let now_ms = self.replica.now_ms();
        let Some(link) = &mut self.replica.link else { return };
        let mut actions = std::mem::take(&mut self.replica.actions);
        link.handle(event, now_ms, &mut actions);
        self.act_for_link(io, &mut actions, &[]);
    }

    fn act_for_link(&mut self, io: &mut ShardIo, actions: &mut Vec<Action>, input: &[u8]) {
        for action in actions.drain(..) {
            match action {
                Action::Connect => self.connect(io),
                Action::Send(bytes) => self.say(io, &bytes),
                Action::Close => self.disconnect(io),
                Action::Continue { new_id } => self.continue_stream(io, new_id),
                Action::FullResync(position) => self.sync_asked(position),
                Action::Begin { size } => self.sync_begins(io, size),
                Action::Payload(range) => self.sync_payload(io, &input[range]),
                Action::End => self.sync_ended(io),
                Action::Failover { accepted } => self.tell_primary(io, PrimaryEvent::FailoverAnswered { accepted }),
            }
        }
        self.replica.actions = std::mem::take(actions);
        self.note_link_state(io);
    }

    /// Tells everybody when the link has come up or gone down.
    fn note_link_state(&mut self, io: &mut ShardIo) {
        let up = self.replica.is_streaming();
        if up == std::mem::replace(&mut self.replica.link_was_up, up) {
            return;
        }
        for shard in 0..self.shared.shards {
            io.post(shard, Message::Run(Box::new(move |shard, _| shard.set_link_up(up))));
        }
        self.tell_primary(io, PrimaryEvent::Upstream { up });
    }

    fn connect(&mut self, io: &mut ShardIo) {
        let Some(PrimaryAddress { host, port }) = &self.replica.target else { return };
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.connect_to(io, SocketAddr::new(address, *port));
        }
        // Asking for a name may take long: a thread of its own waits for it.
        let (sender, receiver) = mpsc::channel();
        let (host, port) = (host.clone(), *port);
        let resolve = move || {
            let resolved = (host.as_str(), port).to_socket_addrs().map_err(|error| error.to_string());
            let first = resolved.and_then(|mut all| all.next().ok_or_else(|| format!("{host} has no address")));
            // Nobody waits for it any more if that fails.
            let _ = sender.send(first);
        };
        match thread::Builder::new().name("resolver".into()).spawn(resolve) {
            Ok(_) => self.replica.resolving = Some(receiver),
            Err(error) => self.tell_link(io, Event::ConnectFailed(&error.to_string())),
        }
    }

    fn poll_resolver(&mut self, io: &mut ShardIo) {
        let Some(resolving) = &self.replica.resolving else { return };
        let result = match resolving.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err("the resolver has ended".to_owned()),
            Ok(result) => result,
        };
        self.replica.resolving = None;
        match result {
            Ok(address) => self.connect_to(io, address),
            Err(error) => self.tell_link(io, Event::ConnectFailed(&error)),
        }
    }

    fn connect_to(&mut self, io: &mut ShardIo, address: SocketAddr) {
        let source = &self.config.bind_source_addr;
        let from = source.parse().ok();
        if from.is_none() && !source.is_empty() {
            warn!("bind-source-addr '{source}' is not an IP address: the kernel chooses");
        }
        match io.connect(address, from) {
            Ok(socket) => {
                self.replica.connection = Some(Connection {
                    socket,
                    client_id: self.shared.next_client_id.fetch_add(1, Ordering::Relaxed),
                    connected_ms: clock::unix_ms(),
                    peer: Some(address),
                    local: None,
                    receiving: None,
                    unsent: Vec::new(),
                });
            }
            Err(error) => {
                warn!("Unable to connect to MASTER: {error}");
                self.tell_link(io, Event::ConnectFailed(&error.to_string()));
            }
        }
    }

    /// Gives up the connection, and what it has brought only in part.
    fn disconnect(&mut self, io: &mut ShardIo) {
        self.replica.resolving = None;
        if let Some(connection) = self.replica.connection.take() {
            io.close(connection.socket);
        }
        self.replica.input = Vec::new();
        self.replica.applier.forget_acknowledgement();
        let (offset, database) = (self.replica.stream.offset(), self.replica.stream.database());
        self.replica.stream = Stream::new(offset, database);
        self.configure_stream();
        self.sync_abort(io);
        self.resume_from_here();
    }

    /// Says something to the primary, behind what is being said.
    fn say(&mut self, io: &mut ShardIo, bytes: &[u8]) {
        let Some(connection) = &mut self.replica.connection else { return };
        if connection.unsent.len() < UNSENT_BYTES {
            connection.unsent.extend_from_slice(bytes);
        }
        if !io.is_sending(connection.socket) && !connection.unsent.is_empty() {
            io.send(connection.socket, Out { buf: std::mem::take(&mut connection.unsent), attached: Vec::new() });
        }
    }

    // Events of the socket

    /// Takes an event of the primary's socket; only for one that [`ReplicaSide::has`].
    pub fn on_primary_event(&mut self, io: &mut ShardIo, event: Happening<'_>) {
        match event {
            Happening::Connected { socket, error: None } => self.connected(io, socket),
            Happening::Connected { error: Some(error), .. } => {
                self.tell_link(io, Event::ConnectFailed(&error.to_string()));
            }
            Happening::ReceivedInto { buffer, .. } => self.received(io, buffer),
            Happening::Ended { error, .. } => {
                let error = error.map(|error| error.to_string());
                self.tell_link(io, Event::Ended(error.as_deref()));
            }
            Happening::SendFailed { error, .. } => self.tell_link(io, Event::Ended(Some(&error.to_string()))),
            Happening::Sent { .. } => self.say(io, &[]),
            Happening::SentPart { .. }
            | Happening::Received { .. }
            | Happening::Stopped { .. }
            | Happening::Accepted { .. }
            | Happening::AcceptFailed { .. }
            | Happening::Readable { .. } => {}
        }
    }

    fn connected(&mut self, io: &mut ShardIo, socket: SocketId) {
        if let (Some(fd), Some(connection)) = (io.borrow_fd(socket), &mut self.replica.connection) {
            if let Err(error) = net::prepare_tcp(&fd, Duration::from_secs(self.config.repl_timeout.into())) {
                warn!("Setting up the connection to the primary failed: {error}");
            }
            let ends = net::ends(&fd);
            connection.local = ends.local;
            connection.peer = ends.peer.or(connection.peer);
        }
        self.tell_link(io, Event::Connected);
        self.receive(io);
    }

    /// Receives more, if there is room for it.
    pub(super) fn receive(&mut self, io: &mut ShardIo) {
        let Some(Connection { socket, receiving: None, .. }) = self.replica.connection else { return };
        let Some(link) = &self.replica.link else { return };
        let (buffer, max) = if link.is_streaming() {
            if self.replica.behind {
                return;
            }
            self.replica.stream.lend()
        } else {
            let wanted = link.takes_input() && self.replica.sync.as_ref().is_none_or(Sync::wants_bytes);
            if !wanted {
                return;
            }
            let mut buffer = std::mem::take(&mut self.replica.input);
            buffer.reserve(RECEIVE_BYTES);
            (buffer, RECEIVE_BYTES)
        };
        if let Some(connection) = &mut self.replica.connection {
            connection.receiving = Some(buffer.len());
        }
        io.receive_into(socket, buffer, max);
    }

    fn received(&mut self, io: &mut ShardIo, buffer: Vec<u8>) {
        let held = self.replica.connection.as_mut().and_then(|connection| connection.receiving.take());
        self.replica.input_bytes += (buffer.len() - held.unwrap_or(0)) as u64;
        let now_ms = self.replica.now_ms();
        if self.replica.is_streaming() {
            self.replica.stream.put_back(buffer);
            if let Some(link) = &mut self.replica.link {
                link.heard(now_ms);
            }
            self.apply_stream(io);
        } else {
            self.take_input(io, buffer);
        }
        self.receive(io);
    }

    /// Gives the link what has come before the stream begins.
    fn take_input(&mut self, io: &mut ShardIo, mut input: Vec<u8>) {
        let now_ms = self.replica.now_ms();
        let mut start = 0;
        while let Some(link) = &mut self.replica.link
            && link.takes_input()
        {
            let mut actions = std::mem::take(&mut self.replica.actions);
            let consumed = link.handle(Event::Input(&input[start..]), now_ms, &mut actions);
            let had_actions = !actions.is_empty();
            self.act_for_link(io, &mut actions, &input[start..]);
            start += consumed;
            if consumed == 0 && !had_actions {
                break;
            }
            if self.replica.connection.is_none() {
                return; // it was given up
            }
        }
        input.drain(..start);
        if self.replica.is_streaming() {
            self.replica.stream.feed(&input);
            self.apply_stream(io);
        } else {
            self.replica.input = input;
        }
    }

    // The stream

    /// The primary goes on with the stream where we are.
    fn continue_stream(&mut self, io: &mut ShardIo, new_id: Option<String>) {
        let history = self.primary.machine.stream().history();
        let (id, offset) = (new_id.unwrap_or_else(|| history.id().to_owned()), history.offset());
        let database = self.replica.stream.database();
        self.tell_primary(io, PrimaryEvent::Continued { id });
        self.stream_begins(offset, database);
    }

    /// The stream goes on from this offset; what of it is here already is taken.
    pub(super) fn stream_begins(&mut self, offset: u64, database: u16) {
        self.replica.stream = Stream::new(offset, database);
        self.configure_stream();
        if self.replica.applier.is_idle() {
            self.replica.applier.begin_at(offset);
        }
        let input = std::mem::take(&mut self.replica.input);
        self.replica.stream.feed(&input);
    }

    /// Lets the stream stand still. `then` runs when everything that was taken from it is applied.
    pub fn hold_stream(&mut self, io: &mut ShardIo, then: Control) {
        self.replica.held = true;
        self.replica.when_still = Some(then);
        self.stream_may_be_still(io);
    }

    fn stream_may_be_still(&mut self, io: &mut ShardIo) {
        if self.replica.applier.is_idle()
            && let Some(then) = self.replica.when_still.take()
        {
            then(self, io);
        }
    }

    /// Lets the stream go on.
    pub fn release_stream(&mut self, io: &mut ShardIo) {
        if std::mem::take(&mut self.replica.held) {
            self.catch_up(io);
        }
    }

    /// While the stream stands still on a replica: at which offset, and in which database it goes on.
    pub fn stands_at(&self) -> Option<(u64, u16)> {
        let still = self.replica.held && self.target().is_some();
        still.then(|| (self.primary.machine.stream().offset(), self.replica.stream.database()))
    }

    /// Goes on with units that were left in the stream.
    fn catch_up(&mut self, io: &mut ShardIo) {
        if self.replica.behind && self.replica.is_streaming() {
            self.apply_stream(io);
            self.receive(io);
        }
    }

    /// Hands the units that are here to the shards.
    pub(super) fn apply_stream(&mut self, io: &mut ShardIo) {
        if self.replica.held {
            self.replica.behind = true;
            return;
        }
        let replica = &mut self.replica;
        let result = replica.applier.take(&mut replica.stream);
        replica.behind = matches!(result, Ok(Stop::Busy));
        let mut stream = std::mem::replace(&mut self.replica.stream, Stream::new(0, 0));
        stream.drain(|piece| self.on_stream(io, piece));
        self.replica.stream = stream;
        while let Some(ready) = self.replica.applier.ready.pop_front() {
            match ready {
                Ready::Batch(shard, batch) => io.post(shard, Message::Requests(batch)),
                Ready::Apply(bytes) => io.post(0, Message::Apply { bytes }),
            }
        }
        self.settle(io);
        if let Err(error) = result {
            error!("The stream of the primary cannot be followed: {error}");
            self.tell_link(io, Event::Failed);
        }
    }

    /// A shard has executed commands of the stream.
    pub fn on_applied_batch(&mut self, io: &mut ShardIo, batch: Box<Batch>) {
        self.replica.applier.answered(batch);
        self.applied(io);
    }

    /// The virtual client has run what it was given.
    pub fn on_applied_alone(&mut self, io: &mut ShardIo) {
        self.replica.applier.applied_alone();
        self.applied(io);
    }

    /// More of the stream is applied: what waited for that goes on.
    fn applied(&mut self, io: &mut ShardIo) {
        self.settle(io);
        self.catch_up(io);
        if self.replica.applier.is_idle() {
            self.stream_may_be_still(io);
            self.sync_decide(io);
            self.link_may_have_ended(io);
        }
    }

    /// Tells the primary how far we are, if it wants to know and we are that far.
    fn settle(&mut self, io: &mut ShardIo) {
        if self.replica.applier.take_acknowledgement() {
            let applied = self.replica.applier.applied();
            self.tell_link(io, Event::Acknowledge { applied });
        }
        let errors = self.replica.applier.errors;
        let more = errors > std::mem::replace(&mut self.replica.errors_seen, errors);
        if more && self.config.propagation_error_behavior != PropagationErrors::Ignore {
            error!("A command of the primary has failed, and propagation-error-behavior is panic: the process ends");
            std::process::abort();
        }
    }

    /// Ends the connection to the primary if it has one of these client IDs (CLIENT KILL); it is made anew. Whether it has.
    pub fn kill_primary(&mut self, io: &mut ShardIo, clients: &[u64]) -> bool {
        let connection = self.replica.connection.as_ref();
        let killed = connection.is_some_and(|connection| clients.contains(&connection.client_id));
        if killed {
            self.tell_link(io, Event::Ended(Some("killed by a client")));
        }
        killed
    }

    // What is told of it

    /// Adds what is known of the link to a primary to the status.
    pub fn describe_replica(&self, status: &mut Status) {
        let replica = &self.replica;
        status.counters.input_bytes = replica.input_bytes;
        status.counters.unexpected_errors = replica.applier.errors;
        status.loading = replica.sync.as_ref().and_then(Sync::status);
        let (Some(link), Some(target)) = (&replica.link, &replica.target) else { return };
        let now_ms = replica.now_ms();
        let seconds_since = |ms: u64| (now_ms.saturating_sub(ms) / 1000) as i64;
        let connection = replica.connection.as_ref();
        let idle_ms = now_ms.saturating_sub(link.last_io_ms());
        status.link = Some(LinkStatus {
            host: target.host.clone(),
            port: target.port,
            state: link.state(),
            last_io_s: if link.is_streaming() { seconds_since(link.last_io_ms()) } else { -1 },
            sync: link.sync_progress().map(|(size, received)| (size, received, seconds_since(link.last_io_ms()))),
            down_since_s: link.down_since_ms.map_or(-1, seconds_since),
            read_offset: replica.stream.received_offset(),
            applied_offset: replica.applier.applied(),
            client_id: connection.map_or(0, |connection| connection.client_id),
            peer: connection.and_then(|connection| connection.peer),
            local: connection.and_then(|connection| connection.local),
            connected_ms: connection.map_or(0, |connection| connection.connected_ms),
            active_ms: clock::unix_ms().saturating_sub(idle_ms),
        });
    }
}
