//! The replication executor: the core beside the shards that owns what is one stream for the whole node.
//!
//! For now it receives the signals that end the process, so that no shard has to look for them. The write log, the backlog and the links to
//! replicas and masters belong here.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tracing::{error, warn};

use crate::runtime::Event;
use crate::shard::{Message, ShardIo};

/// Token of the signal descriptor.
const SIGNALS: u32 = 0;

pub struct Replication {
    signals: OwnedFd,
    stop: bool,
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
    pub fn new(io: &mut ShardIo, signals: OwnedFd) -> Replication {
        io.watch(SIGNALS, signals.as_raw_fd());
        Replication { signals, stop: false }
    }

    pub fn on_event(&mut self, io: &mut ShardIo, event: Event<'_>) {
        if let Event::Readable { token: SIGNALS } = event {
            while let Some(signal) = self.next_signal() {
                let name = if signal == libc::SIGINT as u32 { "SIGINT" } else { "SIGTERM" };
                warn!("Received {name} scheduling shutdown...");
                io.post(0, Message::Run(Box::new(|shard, io| shard.shut_down(io))));
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

    pub fn on_message(&mut self, message: Message) {
        match message {
            Message::Stop => self.stop = true,
            Message::Requests(_)
            | Message::Replies(_)
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
