//! Redis's RDB format: how values are written down for DUMP, files and replicas.
//!
//! Guarantees: what is written is byte for byte what Redis 7.0 writes for the same value; what is read may be anything: it is
//! refused or understood, without a panic and without memory beyond what the bytes at hand can stand for.
//!
//! Knows nothing of connections, files or commands.

pub mod crc;
mod dump;
pub mod length;
pub mod lzf;
pub mod string;

pub use dump::{MAX_READ_VERSION, RestoreError, WRITE_VERSION, dump, restore};
pub use string::Compression;

/// The bytes are not what the format says they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFormat;

impl std::fmt::Display for BadFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not valid RDB data")
    }
}

impl std::error::Error for BadFormat {}

/// Takes the first `len` bytes off `input`.
pub fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], BadFormat> {
    let (taken, rest) = input.split_at_checked(len).ok_or(BadFormat)?;
    *input = rest;
    Ok(taken)
}

/// Takes the first `N` bytes off `input`, as an array.
pub fn take_array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], BadFormat> {
    let (taken, rest) = input.split_first_chunk().ok_or(BadFormat)?;
    *input = rest;
    Ok(*taken)
}
