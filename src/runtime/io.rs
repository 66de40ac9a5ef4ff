//! What a service does with the outside: sockets, listeners, messages. Everything here only *queues*; the reactor's one
//! `io_uring_enter` a tick carries it out. What comes of it is read in `completion`.

mod completion;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, squeue, types};
use slab::Slab;

pub(super) use completion::Completed;

use super::ExecutorId;
use super::activity::Activity;
use super::limits::RECEIVE_BUFFERS;
use super::mailbox::{self, Mailboxes, WakeUp};
use super::net;
use super::ring::{Ring, Wait};
use super::socket::{Receiving, Socket};
use crate::resp::Out;

/// A socket of one executor. The generation tells it from an earlier socket in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub index: u32,
    pub generation: u32,
}

/// What a service is told.
pub enum Event<'a> {
    /// A connection was accepted at the listener with this token.
    Accepted {
        listener: u32,
        fd: OwnedFd,
    },
    /// Accepting failed; it goes on after a pause.
    AcceptFailed {
        listener: u32,
        error: io::Error,
    },
    Received {
        socket: SocketId,
        data: &'a [u8],
    },
    /// [`Io::receive_into`] has added bytes to the buffer.
    ReceivedInto {
        socket: SocketId,
        buffer: Vec<u8>,
    },
    /// [`Io::stop_receiving`] has taken effect.
    Stopped {
        socket: SocketId,
    },
    /// The peer has closed its side, or the connection broke.
    Ended {
        socket: SocketId,
        error: Option<io::Error>,
    },
    /// A part of the send has left; `bytes` of them since the last such event.
    SentPart {
        socket: SocketId,
        bytes: usize,
    },
    /// The send is done; the buffer comes back empty. `bytes` are those of its last part.
    Sent {
        socket: SocketId,
        buffer: Out,
        bytes: usize,
    },
    SendFailed {
        socket: SocketId,
        error: io::Error,
    },
    /// [`Io::connect`] has come to its end; a socket that failed is to be closed.
    Connected {
        socket: SocketId,
        error: Option<io::Error>,
    },
    /// A descriptor given to [`Io::watch`] is readable.
    Readable {
        token: u32,
    },
}

impl Event<'_> {
    /// The socket that it is about.
    pub fn socket(&self) -> Option<SocketId> {
        match self {
            Event::Received { socket, .. }
            | Event::ReceivedInto { socket, .. }
            | Event::Stopped { socket }
            | Event::Ended { socket, .. }
            | Event::SentPart { socket, .. }
            | Event::Sent { socket, .. }
            | Event::SendFailed { socket, .. }
            | Event::Connected { socket, .. } => Some(*socket),
            Event::Accepted { .. } | Event::AcceptFailed { .. } | Event::Readable { .. } => None,
        }
    }
}

/// Counters of one executor's kernel interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct IoCounters {
    pub enters: u64,
    pub ticks: u64,
    pub parks: u64,
    pub wake_ups_sent: u64,
    pub messages_sent: u64,
    pub receive_buffer_shortages: u64,
}

/// The kinds of operations, in the top byte of a completion's user data.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    /// Nothing to do on completion.
    Ignore = 0,
    Accept = 1,
    Receive = 2,
    ReceiveInto = 3,
    Send = 4,
    WakeUp = 5,
    Woken = 6,
    Watch = 7,
    Pause = 8,
    Connect = 9,
}

/// How long [`Io::wind_up`] waits, at most.
const WIND_UP: Duration = Duration::from_millis(100);

const GENERATION_MASK: u32 = 0x00ff_ffff;

fn user_data(op: Op, id: SocketId) -> u64 {
    (op as u64) << 56 | u64::from(id.generation & GENERATION_MASK) << 32 | u64::from(id.index)
}

fn token_data(op: Op, token: u32) -> u64 {
    user_data(op, SocketId { index: token, generation: 0 })
}

/// A listening descriptor.
struct Listener {
    token: u32,
    /// `None` once it is closed; the place is kept until the kernel has let go of the accept.
    fd: Option<OwnedFd>,
}

pub struct Io<M> {
    // Dropped before the buffers that `Reactor` holds.
    ring: Ring,
    sockets: Slab<Socket>,
    next_generation: u32,
    listeners: Slab<Listener>,
    watched: Vec<(u32, RawFd)>,
    /// Accepts and sends that the kernel has not finished.
    unfinished: usize,
    /// Sockets that found no receive buffer, in the order in which they get one.
    starved: VecDeque<SocketId>,
    /// The executor winds up: nothing more is received.
    ending: bool,
    mailboxes: Mailboxes<M>,
    /// Executors to which a ring message failed: woken by their event descriptor from then on.
    slow_wake: Vec<bool>,
    activity: Activity,
    /// Sends pushed since the ring was last entered.
    sends_pushed: u32,
    /// Whether the next tick has work that no event announces.
    again: bool,
    /// A kernel interface failure that the executor cannot outlive.
    broken: Option<io::Error>,
    pub counters: IoCounters,
}

impl<M> Io<M> {
    pub(super) fn new(ring: Ring, mailboxes: Mailboxes<M>) -> Io<M> {
        mailboxes.announce(ring.fd());
        let mut io = Io {
            ring,
            sockets: Slab::new(),
            next_generation: 0,
            listeners: Slab::new(),
            watched: Vec::new(),
            unfinished: 0,
            starved: VecDeque::new(),
            ending: false,
            slow_wake: vec![false; mailboxes.count()],
            mailboxes,
            activity: Activity::new(),
            sends_pushed: 0,
            again: false,
            broken: None,
            counters: IoCounters::default(),
        };
        let event_fd = io.mailboxes.event_fd();
        io.poll(event_fd, token_data(Op::Woken, 0));
        io
    }

    fn push(&mut self, entry: squeue::Entry, data: u64) {
        // SAFETY: every entry is built from memory owned by `Socket` (kept until the completion), or from none.
        if let Err(error) = unsafe { self.ring.push(&entry.user_data(data)) } {
            self.broken.get_or_insert(error);
        }
    }

    /// Asks for a completion each time that `fd` becomes readable.
    fn poll(&mut self, fd: RawFd, data: u64) {
        self.push(opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32).multi(true).build(), data);
    }

    /// This executor.
    pub fn executor(&self) -> ExecutorId {
        self.mailboxes.id()
    }

    // Listeners and other descriptors

    /// Starts accepting at `listener`; its connections come with `token`.
    pub fn listen(&mut self, token: u32, listener: OwnedFd) {
        let place = self.listeners.insert(Listener { token, fd: Some(listener) });
        self.accept(place);
    }

    /// Arms the accept of a listener, or forgets one that was closed.
    fn accept(&mut self, place: usize) {
        let Some(fd) = self.listeners[place].fd.as_ref().map(AsRawFd::as_raw_fd) else {
            self.listeners.remove(place);
            return;
        };
        let entry = opcode::AcceptMulti::new(types::Fd(fd)).flags(libc::SOCK_CLOEXEC).build();
        self.unfinished += 1;
        self.push(entry, token_data(Op::Accept, place as u32));
    }

    /// Closes all listeners with `token`.
    pub fn stop_listening(&mut self, token: u32) {
        let of_token = |(_, listener): &(usize, &mut Listener)| listener.token == token;
        let closed: Vec<(usize, OwnedFd)> = self
            .listeners
            .iter_mut()
            .filter(of_token)
            .filter_map(|(place, listener)| Some((place, listener.fd.take()?)))
            .collect();
        for (place, fd) in closed {
            let cancel = opcode::AsyncCancel::new(token_data(Op::Accept, place as u32)).build();
            self.push(cancel, token_data(Op::Ignore, 0));
            self.close_fd(fd.into_raw_fd());
        }
    }

    /// Reports with `token` each time that `fd` becomes readable. The descriptor stays the caller's and open.
    pub fn watch(&mut self, token: u32, fd: RawFd) {
        self.watched.push((token, fd));
        self.poll(fd, token_data(Op::Watch, token));
    }

    // Sockets

    /// Takes over a connected descriptor; nothing is received until [`Io::start_receiving`].
    pub fn attach(&mut self, fd: OwnedFd) -> SocketId {
        self.next_generation = (self.next_generation + 1) & GENERATION_MASK;
        let generation = self.next_generation;
        let index = self.sockets.insert(Socket::new(fd.into_raw_fd(), generation)) as u32;
        SocketId { index, generation }
    }

    /// A place among the sockets without a connection behind it, for a client of the process itself. Whatever is asked of it does nothing.
    pub fn reserve(&mut self) -> SocketId {
        let index = self.sockets.insert(Socket::closed()) as u32;
        SocketId { index, generation: 0 }
    }

    /// Connects a new socket to `address`, from an address of this host if that is given and fits; [`Event::Connected`] tells how that went. Until
    /// then it may only be closed.
    pub fn connect(&mut self, address: SocketAddr, from: Option<IpAddr>) -> io::Result<SocketId> {
        let fd = net::socket_for(address, from)?;
        let id = self.attach(fd);
        let Some(socket) = self.socket(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        let entry = socket.connect(address);
        self.push(entry, user_data(Op::Connect, id));
        Ok(id)
    }

    /// Takes a connection out of this executor, so that another can have it. Only while nothing is being received or sent; else it is closed.
    pub fn detach(&mut self, id: SocketId) -> Option<OwnedFd> {
        let socket = self.socket(id)?;
        if socket.busy() || socket.closing {
            self.close(id);
            return None;
        }
        let socket = self.sockets.remove(id.index as usize);
        // SAFETY: the socket owned the descriptor, and the kernel has no operation on it.
        Some(unsafe { OwnedFd::from_raw_fd(socket.fd) })
    }

    fn socket(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.get_mut(id.index as usize).filter(|socket| socket.generation == id.generation)
    }

    /// The descriptor, for socket options.
    pub fn fd(&mut self, id: SocketId) -> Option<RawFd> {
        self.socket(id).map(|socket| socket.fd)
    }

    /// The same, for as long as the socket cannot be closed.
    pub fn borrow_fd(&mut self, id: SocketId) -> Option<BorrowedFd<'_>> {
        let socket = self.socket(id).filter(|socket| !socket.closing)?;
        // SAFETY: the socket owns the descriptor, which nobody can close while `self` is borrowed.
        Some(unsafe { BorrowedFd::borrow_raw(socket.fd) })
    }

    /// Arms the receive, unless one is in flight.
    pub fn start_receiving(&mut self, id: SocketId) {
        let ending = self.ending;
        let Some(socket) = self.socket(id) else { return };
        if ending || socket.closing || !matches!(socket.receiving, Receiving::Idle) {
            return;
        }
        let entry = socket.arm();
        self.push(entry, user_data(Op::Receive, id));
    }

    /// Ends the multishot receive: at once, as [`Io::is_receiving`] then says, or [`Event::Stopped`] tells when. Bytes that arrived
    /// before are still delivered.
    pub fn stop_receiving(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else { return };
        match socket.receiving {
            Receiving::Armed => {
                socket.receiving = Receiving::Stopping;
                let cancel = opcode::AsyncCancel::new(user_data(Op::Receive, id)).build();
                self.push(cancel, token_data(Op::Ignore, 0));
            }
            // The kernel knows nothing of it.
            Receiving::Starved => socket.receiving = Receiving::Idle,
            Receiving::Idle | Receiving::Stopping | Receiving::Into(_) => {}
        }
    }

    /// Arms the receives of sockets that had found no buffer, as many as have a good chance now. All at once, most of them would only
    /// come back: with thousands of busy connections that would be quadratic.
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..usize::from(RECEIVE_BUFFERS / 2).min(self.starved.len()) {
            let Some(id) = self.starved.pop_front() else { break };
            if let Some(socket) = self.socket(id)
                && matches!(socket.receiving, Receiving::Starved)
            {
                socket.receiving = Receiving::Idle;
                self.start_receiving(id);
            }
        }
        self.again |= !self.starved.is_empty();
    }

    /// Whether a receive is in flight.
    pub fn is_receiving(&mut self, id: SocketId) -> bool {
        self.socket(id).is_some_and(|socket| !matches!(socket.receiving, Receiving::Idle))
    }

    /// Receives once, up to `max` bytes, straight into the spare capacity of `buffer`. Only while nothing else is being received.
    pub fn receive_into(&mut self, id: SocketId, buffer: Vec<u8>, max: usize) {
        let Some(socket) = self.socket(id) else { return };
        if socket.closing {
            return;
        }
        let entry = socket.receive_into(buffer, max);
        self.push(entry, user_data(Op::ReceiveInto, id));
    }

    /// Whether a send is in flight; a second one must wait for its [`Event::Sent`].
    pub fn is_sending(&mut self, id: SocketId) -> bool {
        self.socket(id).is_some_and(|socket| socket.sending.is_some())
    }

    /// Sends `out`, all of it. Only while no other send is in flight.
    pub fn send(&mut self, id: SocketId, out: Out) {
        let Some(socket) = self.socket(id) else { return };
        if socket.closing || out.is_empty() {
            return;
        }
        let entry = socket.send(out);
        self.unfinished += 1;
        self.sends_pushed += 1;
        self.push(entry, user_data(Op::Send, id));
    }

    /// Gives back memory kept for the socket's next send.
    pub fn shed(&mut self, id: SocketId) {
        if let Some(socket) = self.socket(id) {
            socket.shed();
        }
    }

    /// Ends the connection. No further event names this socket; the descriptor is closed as soon as the kernel lets go of it.
    pub fn close(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else { return };
        if socket.closing {
            return;
        }
        socket.closing = true;
        if matches!(socket.receiving, Receiving::Starved) {
            socket.receiving = Receiving::Idle;
        }
        let receiving = match socket.receiving {
            Receiving::Idle | Receiving::Starved | Receiving::Stopping => None,
            Receiving::Armed => Some(Op::Receive),
            Receiving::Into(_) => Some(Op::ReceiveInto),
        };
        let sending = socket.sending.as_ref().map(|_| Op::Send);
        let connecting = socket.connecting.as_ref().map(|_| Op::Connect);
        for op in [receiving, sending, connecting].into_iter().flatten() {
            let cancel = opcode::AsyncCancel::new(user_data(op, id)).build();
            self.push(cancel, token_data(Op::Ignore, 0));
        }
        self.finish_close(id);
    }

    fn finish_close(&mut self, id: SocketId) {
        if self.socket(id).is_some_and(|socket| socket.closing && !socket.busy()) {
            let socket = self.sockets.remove(id.index as usize);
            self.close_fd(socket.fd);
        }
    }

    fn close_fd(&mut self, fd: RawFd) {
        self.push(opcode::Close::new(types::Fd(fd)).build(), token_data(Op::Ignore, 0));
    }

    // Messages

    /// Queues a message for another executor; it leaves at the end of the tick.
    pub fn post(&mut self, to: ExecutorId, message: M) {
        self.counters.messages_sent += 1;
        self.mailboxes.post(to, message);
    }

    /// Messages for `to` that its mailbox had no room for, with those of this tick.
    pub fn outbox_len(&self, to: ExecutorId) -> usize {
        self.mailboxes.outbox_len(to)
    }

    /// How many executors there are.
    pub fn executors(&self) -> usize {
        self.mailboxes.count()
    }

    pub(super) fn take_message(&mut self, from: ExecutorId) -> Option<M> {
        self.mailboxes.take(from)
    }

    /// Whether messages wait for room in the mailbox of an executor that still runs.
    pub(super) fn messages_held(&self) -> bool {
        self.mailboxes.holding()
    }

    pub(super) fn messages_waiting(&self) -> bool {
        self.mailboxes.waiting() || self.mailboxes.holding()
    }

    pub(super) fn flush_messages(&mut self) {
        let Io { ring, mailboxes, slow_wake, broken, counters, .. } = self;
        let own_ring = ring.fd();
        let mut event_fds = Vec::new();
        mailboxes.flush(|to, way| {
            counters.wake_ups_sent += 1;
            match way {
                WakeUp::Ring(fd) if !slow_wake[to] && fd != own_ring => {
                    let entry = opcode::MsgRingData::new(types::Fd(fd), 0, token_data(Op::Ignore, 0), None)
                        .build()
                        .flags(squeue::Flags::SKIP_SUCCESS)
                        .user_data(token_data(Op::WakeUp, to as u32));
                    // SAFETY: the entry points to no memory.
                    if let Err(error) = unsafe { ring.push(&entry) } {
                        broken.get_or_insert(error);
                    }
                }
                WakeUp::Ring(_) => event_fds.push(to),
                WakeUp::EventFd(fd) => mailbox::signal(fd),
            }
        });
        for to in event_fds {
            mailbox::signal(self.mailboxes.event_fd_of(to));
        }
    }

    // The reactor's side

    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let sends = std::mem::take(&mut self.sends_pushed);
        let gather = match wait {
            Wait::No => 0,
            Wait::Event | Wait::EventOr(_) => self.activity.gather(Instant::now()),
        };
        self.ring.enter(wait, sends + gather)?;
        self.counters.enters = self.ring.enters;
        Ok(())
    }

    /// Ends an executor: what was sent last still leaves, and listeners are closed for good, so that a successor can have their ports
    /// at once. Bounded, as a peer may not read.
    pub(super) fn wind_up(&mut self) -> io::Result<()> {
        self.ending = true;
        let deadline = Instant::now() + WIND_UP;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.unfinished == 0 || left.is_zero() {
                // Once more for the closes that were pushed meanwhile.
                return self.enter(Wait::No);
            }
            self.enter(Wait::EventOr(left))?;
            while let Some(completion) = self.ring.next() {
                self.complete(&completion);
            }
        }
    }

    pub(super) fn completions(&mut self) -> usize {
        self.ring.completions()
    }

    pub(super) fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.next()
    }

    /// Does not let the executor sleep before the next tick.
    pub fn tick_again(&mut self) {
        self.again = true;
    }

    pub(super) fn take_again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }

    /// Raises the park flag; false if there is something to do after all.
    pub(super) fn park(&mut self) -> bool {
        self.mailboxes.park()
    }

    pub(super) fn unpark(&mut self) {
        self.mailboxes.unpark();
    }
}
