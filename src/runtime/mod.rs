//! The runtime: executors, rings, mailboxes and timers.
//!
//! Each executor is a thread of its own with a glommio executor and one io_uring ring of ours. The *reactor*, one glommio
//! task, enters that ring once a tick, hands what completed to a [`Service`], and parks in the ring when there is nothing
//! to do. Executors share nothing: what crosses goes through a [`mailbox`] as an owned message.
//!
//! Guarantees
//! - at most one `io_uring_enter` a tick carries all receives, sends and wake-ups of that tick
//! - memory that the kernel reads or writes is owned by this module until the kernel is done with it
//! - a message is never lost or reordered between two executors, and a sleeping executor is woken by one
//! - a full mailbox never blocks: the rest waits in the sender's outbox, whose length the service can see
//!
//! This is the only folder that names glommio or io_uring. It knows nothing of commands, keys or protocols, except that bytes
//! to be sent come as [`crate::resp::Out`].

mod activity;
pub mod clock;
mod executor;
mod io;
mod mailbox;
pub mod memory;
pub mod net;
pub mod prefetch;
mod reactor;
mod ring;
pub mod slice;
mod socket;
pub mod task;

pub use executor::{Executors, FILES_AN_EXECUTOR, StartError, available_cpus, check_host, start};
pub use io::{Event, Io, IoCounters, SocketId};
pub use reactor::{Core, Service};

/// Which executor: shards count from 0, the replication executor comes behind them.
pub type ExecutorId = usize;

/// The bounds of this folder's queues and buffers.
pub mod limits {
    /// Submission queue entries of one ring; a tick that needs more submits in between.
    pub const RING_ENTRIES: u32 = 1024;
    /// Completion queue entries of one ring. The kernel keeps what overflows, at a cost.
    pub const COMPLETION_ENTRIES: u32 = 16 * 1024;
    /// Provided receive buffers of one ring. Receives that find none are armed again in turn.
    pub const RECEIVE_BUFFERS: u16 = 256;
    /// Size of one provided receive buffer: a pipeline of some dozens of commands.
    pub const RECEIVE_BUFFER_BYTES: usize = 8 * 1024;
    /// Messages in one mailbox; what does not fit waits in the sender's outbox.
    pub const MAILBOX_MESSAGES: usize = 1024;
    /// Messages taken from one mailbox in a tick, so that one neighbour cannot starve the sockets.
    pub const MESSAGES_A_TICK: usize = 256;
    /// Pieces of one gathering send (the kernel's UIO_MAXIOV).
    pub const SEND_PIECES: usize = 1024;
    /// Bytes of one send; the rest follows when they have left, so that the service sees how a slow reader gets on.
    pub const SEND_BYTES: usize = 256 * 1024;
    /// How long accepting pauses when the process is out of file descriptors.
    pub const ACCEPT_PAUSE_MS: u64 = 100;
}
