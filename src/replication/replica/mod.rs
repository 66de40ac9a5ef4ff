//! Being a replica: the link to a primary, its snapshot, and its stream of commands.
//!
//! What it promises
//! - the data are at every moment those of the primary at one offset, as far as each shard has come; what is told as applied is so on all shards
//! - keys change in the order of the stream, and a MULTI block or a command over several shards is seen as a whole or not at all
//! - a link may break at any byte: what is not whole has had no effect, and the next link goes on where the last whole unit ended
//! - a snapshot takes the place of the data on all shards at one moment, complete and checked, or not at all
//! - memory for what has come and is not dealt with is bounded; beyond, the primary is not read
//!
//! From the outside in: [`io`] has the socket, the shards' messages and the clock; `sync` takes a full resynchronisation from stage to stage, with
//! [`load`] for what is in the snapshot and `spool` for its file. [`link`] (with [`payload`]), [`stream`], [`apply`] and [`load`] are state machines
//! without sockets, clocks or threads.

pub mod apply;
pub mod io;
pub mod link;
pub mod load;
pub mod payload;
mod spool;
pub mod stream;
mod sync;
