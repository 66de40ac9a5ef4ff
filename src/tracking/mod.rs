//! Client-side caching: which clients of which cores are to be told that a key has changed.
//!
//! Guarantees
//! - each core keeps this for the keys that it owns: what was read by whom ([`Table`]), and who wants to know of all keys with a
//!   prefix ([`Prefixes`], the same on every core)
//! - a key that changes after a tracked read was answered is told to the reader, and never before that answer: messages take the
//!   way of the answers, behind them
//! - memory is bounded: the table by `tracking-table-max-keys`, with one reader a socket and key; what waits to be sent by
//!   [`MESSAGE_BYTES`], beyond which a client is told that anything may have changed
//!
//! Databases are not told apart, as in Redis: a message names keys only.
//!
//! Knows keys and sockets; never connections, commands or messages between cores.

mod messages;
mod prefixes;
mod settings;
mod table;

pub use messages::{MESSAGE_BYTES, Messages, Notice, Reason, Text, Texts, Value};
pub use prefixes::Prefixes;
pub use settings::{Mode, Redirect, Settings};
pub use table::{Readers, Table};

use crate::runtime::{ExecutorId, SocketId};

/// A client, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tracker {
    pub core: ExecutorId,
    pub socket: SocketId,
}
