//! Redis's RDB format: how values are written down for DUMP, files and replicas.
//!
//! Guarantees: what is written is byte for byte what Redis 7.0 writes for the same value; what is read may be anything: it is
//! refused or understood, without a panic and without memory beyond what the bytes at hand can stand for.
//!
//! What there is
//! - [`write_record`] appends one key to a run of records; [`Records`] reads such a run back, [`Record::decode`] its values
//! - [`StreamWriter`] puts runs of records together to a stream or file that any Redis from 7.0 on loads
//! - [`Reader`] takes such a stream, of versions 1 to 12, in any pieces
//! - [`frame`] is what two Basalts exchange instead: runs of records in compressed frames, opened on the cores they go to
//! - [`dump`] and [`restore`] are the payloads of the commands of that name
//!
//! Knows nothing of connections, files or commands.

pub mod crc;
mod dump;
mod error;
pub mod frame;
mod hash;
mod large;
pub mod length;
mod list;
pub mod lzf;
mod packed_read;
mod packed_write;
mod reader;
mod record;
pub mod set;
mod stream;
pub mod string;
pub mod value;
mod writer;
mod zset;

pub use dump::{RestoreError, dump, restore};
pub use error::{Error, Reason};
pub use large::{LargeWriter, Piece, Pieces, append, is_large, unpacked};
pub use reader::{Item, Reader, library_name};
pub use record::{Access, Record, Records, write_record};
pub use string::{Compression, Text};
pub use writer::{Header, StreamPosition, StreamWriter};

use crate::keyspace::Value;
use crate::types::Encodings;

/// The version that is written: Redis 7.0's, which every later one reads.
pub const WRITE_VERSION: u16 = 10;

/// The newest version that is read.
pub const MAX_READ_VERSION: u16 = 12;

/// The value that all of `bytes` are, with strings of at most `max_string_bytes`.
pub fn decode_value(kind: u8, mut bytes: &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    let value = value::read(kind, &mut bytes, max_string_bytes, encodings)?;
    if bytes.is_empty() { Ok(value) } else { Err(Reason::Trailing) }
}

/// Takes the first `len` bytes off `input`.
#[inline]
pub fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], Reason> {
    let Some((taken, rest)) = input.split_at_checked(len) else {
        return Err(Reason::Incomplete { missing: (len - input.len()) as u64 });
    };
    *input = rest;
    Ok(taken)
}

/// Takes the first `N` bytes off `input`, as an array.
#[inline]
pub fn take_array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Reason> {
    let Some((taken, rest)) = input.split_first_chunk() else {
        return Err(Reason::Incomplete { missing: (N - input.len()) as u64 });
    };
    *input = rest;
    Ok(*taken)
}
