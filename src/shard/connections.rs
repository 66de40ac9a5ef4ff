//! Connections: where they come from, where their bytes go, and how they end.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::client::{Client, Connection, Input, Stall};
use super::limits::{
    KEEP_BUFFER_BYTES, OUTBOX_BATCHES, OUTPUT_PAUSE_BYTES, SPARE_BUFFERS, STALLED_INPUT_BYTES, SWEEP_PARTS,
};
use super::{Arrival, Message, Shard, ShardIo};
use crate::commands::Error;
use crate::commands::clients::ReplyMode;
use crate::config::OutputLimit;
use crate::keyspace::graveyard;
use crate::node::{LISTENER_CORE, LISTENER_UNIX};
use crate::resp::Out;
use crate::runtime::{Event, SocketId, net};

const REFUSED_FULL: &[u8] = b"-ERR max number of clients reached\r\n";
const REFUSED_PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n";

impl Shard {
    pub fn on_event(&mut self, io: &mut ShardIo, event: Event<'_>) {
        match event {
            Event::Received { socket, data } => self.on_received(io, socket, data),
            Event::SentPart { socket, bytes } => self.on_sent_part(socket, bytes),
            Event::Sent { socket, buffer, bytes } => self.on_sent(socket, buffer, bytes),
            Event::ReceivedInto { socket, buffer } => self.on_received_into(io, socket, buffer),
            Event::Stopped { socket } => self.on_stopped(io, socket),
            Event::Ended { socket, error: None } => self.on_ended(io, socket),
            Event::Ended { socket, error: Some(_) } | Event::SendFailed { socket, .. } => self.close(io, socket),
            Event::Accepted { listener, fd } => self.on_accepted(io, listener, fd),
            Event::AcceptFailed { error, .. } => {
                warn!("Accepting a connection failed: {error}. Raise the limit of open files if there are too many.");
            }
            Event::Readable { .. } | Event::Connected { .. } => {}
        }
    }

    // How they come

    fn on_accepted(&mut self, io: &mut ShardIo, listener: u32, fd: OwnedFd) {
        let ends = net::ends(&fd);
        if self.shared.client_count() >= self.config.maxclients as usize {
            self.stats.counters.connections_rejected += 1;
            return net::refuse(fd, REFUSED_FULL);
        }
        let open = |ip: IpAddr| !ip.to_canonical().is_loopback();
        if self.config.protected_mode
            && !self.config.requirepass.is_set()
            && ends.peer.is_some_and(|peer| open(peer.ip()))
        {
            self.stats.counters.connections_rejected += 1;
            return net::refuse(fd, REFUSED_PROTECTED);
        }
        let arrival = Box::new(Arrival { fd, ends, listener });
        // A client of a core's own port has chosen its core; any other goes where the fewest are.
        let target = if listener == LISTENER_CORE { self.id } else { self.emptiest() };
        self.shared.clients[target].0.fetch_add(1, Ordering::Relaxed);
        if target == self.id {
            self.on_arrival(io, *arrival);
        } else {
            io.post(target, Message::Connection(arrival));
        }
    }

    /// The shard with the fewest clients; this one if it is among them.
    fn emptiest(&self) -> usize {
        let count = |shard: usize| self.shared.clients[shard].0.load(Ordering::Relaxed);
        (0..self.shared.shards).min_by_key(|shard| (count(*shard), *shard != self.id)).unwrap_or(self.id)
    }

    /// Begins to serve a connection that was counted here already.
    pub fn on_arrival(&mut self, io: &mut ShardIo, arrival: Arrival) {
        let Arrival { fd, ends, listener } = arrival;
        let unix = listener == LISTENER_UNIX;
        if !unix && let Err(error) = net::prepare_tcp(&fd, Duration::from_secs(self.config.tcp_keepalive.into())) {
            info!("A connection was gone before it could be served: {error}");
            self.shared.clients[self.id].0.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.stats.counters.connections_received += 1;
        let socket = io.attach(fd);
        let id = self.shared.next_client_id.fetch_add(1, Ordering::Relaxed);
        let unix_path = unix.then(|| self.config.unixsocket.clone());
        let authenticated = !self.config.requirepass.is_set();
        let client = Client::new(id, socket, ends, unix_path, authenticated, self.now_ms);
        self.seat(Connection { input: Input::default(), client });
        io.start_receiving(socket);
    }

    pub(super) fn seat(&mut self, connection: Connection) {
        let index = connection.client.socket.index as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Box::new(connection));
    }

    // Bytes in

    fn on_received(&mut self, io: &mut ShardIo, socket: SocketId, data: &[u8]) {
        self.stats.counters.net_input_bytes += data.len() as u64;
        let now_ms = self.now_ms;
        self.serve(io, socket, |shard, io, connection| {
            connection.client.active_ms = now_ms;
            shard.receive(io, connection, data);
        });
    }

    /// Lets `f` work on a client's input, then decides how it goes on.
    #[inline]
    pub(super) fn serve(
        &mut self,
        io: &mut ShardIo,
        socket: SocketId,
        f: impl FnOnce(&mut Shard, &mut ShardIo, &mut Connection),
    ) {
        let fate = self.with_connection(socket, |shard, connection| {
            f(shard, io, connection);
            if connection.client.modes.applies {
                shard.touch(&mut connection.client);
            }
            shard.regulate(io, connection)
        });
        if fate == Some(Fate::Close) {
            self.close(io, socket);
        }
    }

    /// A part of a large value came straight into its place.
    fn on_received_into(&mut self, io: &mut ShardIo, socket: SocketId, buffer: Vec<u8>) {
        let now_ms = self.now_ms;
        self.serve(io, socket, |shard, io, connection| {
            connection.client.active_ms = now_ms;
            if let Some(large) = connection.input.parser.large() {
                let before = large.received();
                large.put_back(buffer);
                shard.stats.counters.net_input_bytes += (large.received() - before) as u64;
            }
            shard.receive(io, connection, &[]);
        });
    }

    fn on_stopped(&mut self, io: &mut ShardIo, socket: SocketId) {
        self.serve(io, socket, |_, _, _| ());
    }

    /// The client sends no more. What it has sent is still executed and answered, as it may go on to read.
    fn on_ended(&mut self, io: &mut ShardIo, socket: SocketId) {
        self.serve(io, socket, |_, _, connection| connection.input.ended = true);
    }

    /// Decides what the socket of a client is to receive next: nothing while it cannot go on, the rest of a large value
    /// straight into its place, or whatever comes.
    fn regulate(&mut self, io: &mut ShardIo, connection: &mut Connection) -> Fate {
        let Connection { input, client } = connection;
        if client.stall.has(Stall::ENDING) {
            input.bytes = Vec::new();
        }
        let queued = client.multi.as_ref().map_or(0, |multi| multi.bytes());
        let held = input.bytes.len() + input.parser.held_bytes() + queued;
        if held > self.config.client_query_buffer_limit as usize && !client.modes.applies {
            warn!("Closing client that reached max query buffer length: id={} addr={}", client.id, client.address());
            self.stats.counters.query_buffer_limit_disconnections += 1;
            return Fate::Close;
        }
        // Here as well as at the end of the tick, as the input of one tick can ask for any amount of output.
        if client.output_bytes() > OUTPUT_PAUSE_BYTES {
            client.stall.add(Stall::OUTPUT);
        }
        if client.stall.has(Stall::LEAVING) && !input.ended {
            io.stop_receiving(client.socket);
            self.touch(client);
            return Fate::Keep;
        }
        if input.ended {
            return self.finish_input(client);
        }
        let full = client.stall.any() && input.bytes.len() >= STALLED_INPUT_BYTES;
        let large = !client.stall.any() && input.parser.large().is_some_and(|large| !large.is_full());
        if full || large {
            io.stop_receiving(client.socket);
        }
        if io.is_receiving(client.socket) || full {
            return Fate::Keep;
        }
        match input.parser.large() {
            Some(large) if !client.stall.any() && !large.is_full() => {
                let missing = large.missing();
                let buffer = large.lend();
                io.receive_into(client.socket, buffer, missing);
            }
            _ => io.start_receiving(client.socket),
        }
        Fate::Keep
    }

    /// Ends a client that sends no more, once everything that it has sent is executed.
    fn finish_input(&mut self, client: &mut Client) -> Fate {
        if client.stall.has(Stall::PAUSE) || client.stall.has(Stall::BLOCKED) || client.stall.has(Stall::LEAVING) {
            // As Redis: who leaves before CLIENT PAUSE is over, or while it waits, leaves without an answer.
            return Fate::Close;
        }
        if !client.stall.any() {
            self.end(client);
        }
        Fate::Keep
    }

    /// Goes on with a client's input after a stall.
    pub(super) fn go_on(&mut self, io: &mut ShardIo, socket: SocketId) {
        self.serve(io, socket, |shard, io, connection| shard.receive(io, connection, &[]));
    }

    /// Removes a reason for a client to wait, and lets it go on in the next tick when none is left.
    pub(super) fn release(&mut self, client: &mut Client, stall: Stall) {
        if client.stall.has(stall) {
            client.stall.remove(stall);
            if stall.has(Stall::WORKING) && (client.held.is_some() || client.tracking.is_some()) {
                self.after_work(client, stall);
            }
            if !client.stall.any() {
                self.resume.push(client.socket);
            }
        }
    }

    // Bytes out

    /// The client has something to send, or has to be looked at, at the end of the tick.
    #[inline]
    pub(super) fn touch(&mut self, client: &mut Client) {
        if !client.queued {
            client.queued = true;
            self.to_send.push(client.socket);
        }
    }

    /// Gives a client without an output buffer a used one.
    #[inline]
    pub(super) fn ready_output(&mut self, client: &mut Client) {
        if client.out.buf.capacity() == 0
            && let Some(spare) = self.spare_outs.pop()
        {
            client.out = spare;
        }
    }

    /// A part of what is being sent has left.
    fn on_sent_part(&mut self, socket: SocketId, bytes: usize) {
        self.stats.counters.net_output_bytes += bytes as u64;
        let now_ms = self.now_ms;
        let Some(connection) = self.connection(socket) else { return };
        let client = &mut connection.client;
        client.sending_bytes -= bytes;
        client.active_ms = now_ms;
        let look = client.stall.any() || client.over_soft_limit.is_some();
        if look && !client.queued {
            client.queued = true;
            self.to_send.push(socket);
        }
    }

    fn on_sent(&mut self, socket: SocketId, buffer: Out, bytes: usize) {
        self.stats.counters.net_output_bytes += bytes as u64;
        let Some(connection) = self.connection(socket) else { return };
        let client = &mut connection.client;
        client.sending_bytes = 0;
        let look = !client.out.is_empty() || client.stall.any();
        if look && !client.queued {
            client.queued = true;
            self.to_send.push(socket);
        }
        self.spare_output(buffer);
    }

    /// Keeps a buffer that is no longer needed for the next client that needs one.
    pub(super) fn spare_output(&mut self, mut buffer: Out) {
        if self.spare_outs.len() < SPARE_BUFFERS && buffer.buf.capacity() <= KEEP_BUFFER_BYTES {
            buffer.clear();
            self.spare_outs.push(buffer);
        }
    }

    /// Ends the tick: replies and batches leave, those who waited go on.
    pub fn end_tick(&mut self, io: &mut ShardIo) {
        if self.gates.memory_limit {
            self.share_eviction(io);
        }
        if !self.keyspace.changes.is_empty() {
            // What expiry and eviction did beside commands.
            self.settle_changes(io, None);
        }
        if !graveyard::is_empty() {
            self.free_in_background();
        }
        if self.snapshots.is_running() {
            self.tend_snapshot(io);
        }
        self.run_unlocked(io);
        if self.has_late() {
            self.tell_all_late();
        }
        self.tell_changes(io);
        self.go_on_after_full_outbox(io);
        self.send_pushed(io);
        let mut to_send = std::mem::take(&mut self.to_send);
        for socket in to_send.drain(..) {
            let fate = self.with_connection(socket, |shard, connection| {
                connection.client.queued = false;
                if connection.client.modes.applies {
                    shard.tend_applying(io, connection);
                    return Fate::Keep;
                }
                shard.send(io, &mut connection.client)
            });
            match fate {
                Some(Fate::Close) => self.close(io, socket),
                Some(Fate::Leave) => self.finish_handover(io, socket),
                Some(Fate::Keep) | None => {}
            }
        }
        // Nothing above adds to the list but what belongs to the next tick.
        to_send.append(&mut self.to_send);
        self.to_send = to_send;
        // Before the commands: what a client published reaches subscribers before what it did afterwards.
        self.post_publications(io);
        self.post_batches(io);
        self.close_log(io);
        if !self.resume.is_empty() {
            io.tick_again();
        }
    }

    /// Those whose turn it is in this tick.
    pub fn resume_waiting(&mut self, io: &mut ShardIo) {
        if !self.pubsub.held_back.is_empty() {
            self.run_held_back(io);
        }
        for socket in std::mem::take(&mut self.resume) {
            if let Some(connection) = self.connection(socket) {
                connection.client.stall.remove(Stall::TURN);
                self.go_on(io, socket);
            }
        }
    }

    fn go_on_after_full_outbox(&mut self, io: &mut ShardIo) {
        if self.waiting_outbox.is_empty() && self.pubsub.held_back.is_empty() && !self.gates.behind {
            return;
        }
        if (0..self.shared.shards).any(|shard| io.outbox_len(shard) > OUTBOX_BATCHES / 2) || self.is_log_behind() {
            return;
        }
        if !self.pubsub.held_back.is_empty() {
            io.tick_again();
        }
        for socket in std::mem::take(&mut self.waiting_outbox) {
            self.with_connection(socket, |shard, connection| shard.release(&mut connection.client, Stall::OUTBOX));
        }
    }

    /// Hands over what a client is to get, and looks after its limits.
    fn send(&mut self, io: &mut ShardIo, client: &mut Client) -> Fate {
        if client.leaving {
            return Fate::Close;
        }
        if self.can_leave(io, client) {
            return Fate::Leave;
        }
        if !client.out.is_empty() && client.sending_bytes == 0 {
            let out = std::mem::take(&mut client.out);
            client.sending_bytes = out.len();
            io.send(client.socket, out);
        }
        let working = client.stall.has(Stall::WORKING) || !client.replies.is_empty();
        if client.stall.has(Stall::ENDING) && client.output_bytes() == 0 && !working {
            return Fate::Close;
        }
        let pending = client.output_bytes();
        let limits = &self.config.client_output_buffer_limit;
        let limit = if client.subscribed { limits.pubsub } else { limits.normal };
        if client.overflowed || over_limit(limit, pending, &mut client.over_soft_limit) {
            warn!(
                "Client id={} addr={} closed for overcoming of output buffer limits: {pending} bytes wait for it.",
                client.id,
                client.address()
            );
            self.stats.counters.output_buffer_limit_disconnections += 1;
            return Fate::Close;
        }
        if pending > OUTPUT_PAUSE_BYTES {
            client.stall.add(Stall::OUTPUT);
        } else if pending < OUTPUT_PAUSE_BYTES / 2 {
            self.release(client, Stall::OUTPUT);
        }
        Fate::Keep
    }

    // How they end

    /// Executes nothing more of the client and ends it when its replies are out. What it still sends is read and dropped: closing a
    /// socket with unread bytes would take the last replies back.
    pub(super) fn end(&mut self, client: &mut Client) {
        client.stall.add(Stall::ENDING);
        self.touch(client);
    }

    /// Answers a client that does not speak the protocol, and ends it.
    pub(super) fn refuse(&mut self, client: &mut Client, error: &Error) {
        if client.reply_mode == ReplyMode::On {
            self.reply_error(client, error);
        }
        self.end(client);
    }

    /// Ends a connection at once; one whose block has begun to run, when all of the block has run.
    pub(super) fn close(&mut self, io: &mut ShardIo, socket: SocketId) {
        match self.connection(socket) {
            Some(connection) if connection.client.modes.in_block => {
                connection.client.leaving = true;
                return;
            }
            Some(_) => {}
            None => return,
        }
        io.close(socket);
        self.forget(io, socket);
    }

    /// Closes clients that have been idle for longer than `timeout`, and lets idle ones give back memory. Each call looks at one part of the
    /// clients, so that thousands of them cost an idle core next to nothing.
    pub fn sweep_clients(&mut self, io: &mut ShardIo) {
        let part = self.connections.len().div_ceil(SWEEP_PARTS);
        let from = if self.sweep_from < self.connections.len() { self.sweep_from } else { 0 };
        let to = (from + part).min(self.connections.len());
        self.sweep_from = to;
        let timeout_ms = u64::from(self.config.timeout) * 1000;
        let now_ms = self.now_ms;
        let mut idle = Vec::new();
        for connection in self.connections[from..to].iter_mut().flatten() {
            let Connection { input, client } = &mut **connection;
            let silent_ms = now_ms.saturating_sub(client.active_ms);
            let exempt = client.monitor || client.subscribed || client.stall.any() || client.modes.applies;
            if timeout_ms > 0 && silent_ms > timeout_ms && !exempt {
                idle.push(client.socket);
            }
            if silent_ms > 1000 && client.sending_bytes == 0 {
                io.shed(client.socket);
                client.replies.shed();
                if input.bytes.is_empty() {
                    input.bytes = Vec::new();
                }
            }
            // Soft limits run out without any event of the client's own.
            if client.over_soft_limit.is_some() && !client.queued {
                client.queued = true;
                self.to_send.push(client.socket);
            }
        }
        for socket in idle {
            info!("Closing idle client");
            self.close(io, socket);
        }
    }
}

/// What becomes of a client at the end of a tick.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Close,
    /// It goes to the replication executor.
    Leave,
}

/// Whether output of `pending` bytes passes the limit: the hard one at once, the soft one when it lasts.
fn over_limit(limit: OutputLimit, pending: usize, over_since: &mut Option<Instant>) -> bool {
    if limit.hard_bytes > 0 && pending as u64 > limit.hard_bytes {
        return true;
    }
    if limit.soft_bytes == 0 || pending as u64 <= limit.soft_bytes {
        *over_since = None;
        return false;
    }
    let since = *over_since.get_or_insert_with(Instant::now);
    since.elapsed() > Duration::from_secs(limit.soft_seconds.into())
}
