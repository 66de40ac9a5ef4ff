//! Writes an RDB stream around runs of records that come in any order of databases.
//!
//! Invariants
//! - the checksum runs over every byte of the stream in the order in which the caller sends them: header, then each chunk's prefix and the
//!   chunk, then the end

use super::crc::Crc64;
use super::reader::{AUX, END, RESIZE, SELECT_DB, SIGNATURE};
use super::string::{self, Compression};
use super::{WRITE_VERSION, length};

/// What the stream says at its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The version that INFO gives as `redis_version`.
    pub redis_version: &'a str,
    /// Unix time.
    pub created_s: u64,
    pub used_memory_bytes: u64,
    /// Where in the replication stream the data stands.
    pub position: Option<StreamPosition<'a>>,
    /// For each database, about how many keys it has and how many of them expire. May be empty.
    pub sizes: &'a [(u64, u64)],
}

#[derive(Clone, Copy, Debug)]
pub struct StreamPosition<'a> {
    /// The database selected in the replication stream.
    pub db: u64,
    pub replication_id: &'a str,
    pub offset: u64,
}

/// Gives the bytes that belong between runs of records.
pub struct StreamWriter {
    checksum: Option<Crc64>,
    /// The database of the last chunk.
    db: Option<u16>,
    /// Sizes that were not written yet.
    sizes: Vec<Option<(u64, u64)>>,
}

impl StreamWriter {
    /// Without `checksum` (`rdbchecksum`) the stream ends with a zero, which readers do not check.
    pub fn new(checksum: bool) -> StreamWriter {
        StreamWriter { checksum: checksum.then(Crc64::new), db: None, sizes: Vec::new() }
    }

    /// What the stream begins with.
    pub fn header(&mut self, header: &Header<'_>) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend_from_slice(format!("{WRITE_VERSION:04}").as_bytes());
        let mut number = itoa::Buffer::new();
        write_aux(&mut out, "redis-ver", header.redis_version);
        write_aux(&mut out, "redis-bits", "64");
        write_aux(&mut out, "ctime", number.format(header.created_s));
        write_aux(&mut out, "used-mem", number.format(header.used_memory_bytes));
        if let Some(position) = &header.position {
            write_aux(&mut out, "repl-stream-db", number.format(position.db));
            write_aux(&mut out, "repl-id", position.replication_id);
            write_aux(&mut out, "repl-offset", number.format(position.offset));
        }
        write_aux(&mut out, "aof-base", "0");
        self.sizes = header.sizes.iter().copied().map(Some).collect();
        self.sum(&out);
        out
    }

    /// What belongs before this run of records of database `db`; often nothing.
    pub fn chunk(&mut self, db: u16, records: &[u8]) -> Vec<u8> {
        let mut prefix = Vec::new();
        if self.db != Some(db) {
            self.db = Some(db);
            prefix.push(SELECT_DB);
            length::write(&mut prefix, db.into());
            if let Some((keys, expires)) = self.sizes.get_mut(usize::from(db)).and_then(Option::take) {
                prefix.push(RESIZE);
                length::write(&mut prefix, keys);
                length::write(&mut prefix, expires);
            }
        }
        self.sum(&prefix);
        self.sum(records);
        prefix
    }

    /// What the stream ends with.
    pub fn finish(mut self) -> Vec<u8> {
        let mut out = vec![END];
        self.sum(&out);
        let sum = self.checksum.map_or(0, |checksum| checksum.finish());
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    fn sum(&mut self, bytes: &[u8]) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
    }
}

fn write_aux(out: &mut Vec<u8>, key: &str, value: &str) {
    out.push(AUX);
    string::write_bytes(out, key.as_bytes(), Compression::None);
    string::write_bytes(out, value.as_bytes(), Compression::None);
}
