//! Values: the structures of the collections, and leaf helpers for text: numbers, quoting, glob patterns, bit strings.
//!
//! Guarantee: no operation of a collection stalls, however large it is: each touches a bounded number of nodes, a clone shares them, and
//! freeing goes in steps. A helper reads and prints exactly what Redis 7 reads and prints, takes any bytes without panicking, and works in
//! time and memory that its arguments bound.
//!
//! Knows nothing of keys, commands, replies or configuration.

pub mod bits;
pub mod dict;
pub mod float_text;
pub mod geo;
pub mod glob;
pub mod hash;
pub mod hll;
pub mod list;
pub mod long_double;
mod lz4;
pub mod marks;
mod member;
pub mod numbers;
mod object;
pub mod packed;
pub mod quote;
mod scratch;
pub mod set;
pub mod stream;
pub mod zset;

pub use object::{Collection, Encodings, Kind, Object, packed_encoding};
