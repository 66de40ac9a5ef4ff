//! Streams in RDB data: the types 15 (Redis 5.0), 19 (7.0, with counters) and 21 (7.2, with the consumers' active times), of which 19 is
//! written.
//!
//! A value is: the number of blocks, each block's ID and listpack; the counters; the number of groups, and each group with what is pending
//! and its consumers with the IDs that they own.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Flaw, read, skip};
pub use write::{write, write_blocks, write_part, write_rest};

const LISTPACKS: u8 = 15;
/// What is written.
pub const LISTPACKS_2: u8 = 19;
const LISTPACKS_3: u8 = 21;
