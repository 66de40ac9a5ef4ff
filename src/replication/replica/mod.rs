//! Being a replica: the link to a primary, its snapshot, and its stream of commands.
//!
//! `link`, `payload`, `stream` and `apply` are state machines without sockets, clocks or threads.

pub mod apply;
pub mod io;
pub mod link;
pub mod load;
pub mod payload;
mod spool;
pub mod stream;
mod sync;
