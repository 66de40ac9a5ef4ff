//! Writers of the packed forms in which RDB data holds small collections, as Redis 7.0 writes and reads them: [`ListpackWriter`] for
//! hashes (type 16), sorted sets (17) and the nodes of lists (18, [`list`]).
//!
//! Guarantee: for the same elements the bytes are those of Redis. Knows nothing of RDB's strings, lengths and compression.

pub mod list;
mod listpack;

pub use listpack::ListpackWriter;
