//! A snapshot between two Basalts: runs of records in frames that are compressed and checked each for itself, so that all cores of both
//! nodes work on them in parallel.
//!
//! | preamble | bytes |
//! |---|---|
//! | 8 | `BASALTF1` |
//! | 4 | number of databases |
//! | 4 | number of shards |
//! | 4 | the database that the stream behind the snapshot is in |
//! | 8 | about how many keys there are |
//! | 8 | CRC-64/XZ of the above |
//!
//! | frame | bytes |
//! |---|---|
//! | 8 | payload length, as sent |
//! | 4 | mark: [`MARK`] and flags |
//! | 8 | CRC-64/XZ of the rest of the header and the payload |
//! | 2, 2, 2 | database, first slot, last slot |
//! | 8 | payload length, uncompressed |
//! | 8 | number of records |
//! | | payload: a run of records, LZ4 in block format if it gains |
//!
//! All numbers are little-endian. The last frame has no payload, and instead of slots and records how many frames and records came before it.
//!
//! Invariants
//! - all records of a frame are of its database and in its range of slots
//! - no record of a frame is given out before the frame's checksum was found right
//! - memory for a frame grows with what has arrived of it, whatever length its header claims

mod encode;
mod read;

pub use encode::{Contents, FrameEncoder, Totals};
pub use read::{Frame, FrameItem, FrameReader, FrameRecords, decode_frame};

use std::ops::RangeInclusive;

use super::{Reason, take_array};

/// About how much of records, uncompressed, is best put into one frame: enough for LZ4 and for few messages, little enough for a tick.
pub const TARGET_BYTES: usize = 128 << 10;

/// A frame ends with the record that makes it larger than this, or before.
pub const MAX_BEFORE_LAST_RECORD: usize = 4 << 20;

/// Opcodes, types and lengths of a record, beside its two strings.
const RECORD_OVERHEAD: u64 = 64;

const PREAMBLE_MAGIC: &[u8; 8] = b"BASALTF1";
const PREAMBLE_BYTES: usize = 36;
const HEADER_BYTES: usize = 42;
/// Where the header goes on behind its checksum.
const CHECKSUM_AT: usize = 12;
const BEHIND_CHECKSUM: usize = 20;

/// The upper half of each frame's mark: tells a frame from bytes that are none.
pub const MARK: u32 = 0xba5a_0000;
const FLAG_LZ4: u32 = 1;
const FLAG_END: u32 = 2;

/// What the whole begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    pub databases: u32,
    pub shards: u32,
    /// The database that the stream behind the snapshot is in.
    pub stream_db: u32,
    /// About as many will come.
    pub keys: u64,
}

impl Preamble {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = PREAMBLE_MAGIC.to_vec();
        out.extend_from_slice(&self.databases.to_le_bytes());
        out.extend_from_slice(&self.shards.to_le_bytes());
        out.extend_from_slice(&self.stream_db.to_le_bytes());
        out.extend_from_slice(&self.keys.to_le_bytes());
        let sum = checksum(&[&out]);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; PREAMBLE_BYTES]) -> Result<Preamble, Reason> {
        let (mut input, stored) = bytes.split_last_chunk().ok_or(Reason::FrameMagic)?;
        if checksum(&[input]) != u64::from_le_bytes(*stored) || take_array(&mut input)? != *PREAMBLE_MAGIC {
            return Err(Reason::FrameMagic);
        }
        Ok(Preamble {
            databases: u32::from_le_bytes(take_array(&mut input)?),
            shards: u32::from_le_bytes(take_array(&mut input)?),
            stream_db: u32::from_le_bytes(take_array(&mut input)?),
            keys: u64::from_le_bytes(take_array(&mut input)?),
        })
    }
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameHeader {
    payload_len: u64,
    mark: u32,
    checksum: u64,
    db: u16,
    first_slot: u16,
    last_slot: u16,
    /// Uncompressed; at the end, the number of frames.
    records_len: u64,
    /// At the end, of the whole.
    records: u64,
}

impl FrameHeader {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&self.payload_len.to_le_bytes());
        out[8..12].copy_from_slice(&self.mark.to_le_bytes());
        out[12..20].copy_from_slice(&self.checksum.to_le_bytes());
        out[20..22].copy_from_slice(&self.db.to_le_bytes());
        out[22..24].copy_from_slice(&self.first_slot.to_le_bytes());
        out[24..26].copy_from_slice(&self.last_slot.to_le_bytes());
        out[26..34].copy_from_slice(&self.records_len.to_le_bytes());
        out[34..].copy_from_slice(&self.records.to_le_bytes());
        out
    }

    fn decode(mut input: &[u8]) -> Result<FrameHeader, Reason> {
        let input = &mut input;
        Ok(FrameHeader {
            payload_len: u64::from_le_bytes(take_array(input)?),
            mark: u32::from_le_bytes(take_array(input)?),
            checksum: u64::from_le_bytes(take_array(input)?),
            db: u16::from_le_bytes(take_array(input)?),
            first_slot: u16::from_le_bytes(take_array(input)?),
            last_slot: u16::from_le_bytes(take_array(input)?),
            records_len: u64::from_le_bytes(take_array(input)?),
            records: u64::from_le_bytes(take_array(input)?),
        })
    }

    fn slots(&self) -> RangeInclusive<u16> {
        self.first_slot..=self.last_slot
    }

    /// Whether this can be the header of a frame at all. The rest is told by the checksum.
    fn check(&self, max_string_bytes: u64) -> Result<(), Reason> {
        if !matches!(self.mark ^ MARK, 0 | FLAG_LZ4 | FLAG_END) {
            return Err(Reason::FrameMark(self.mark));
        }
        let longest_record = max_string_bytes.saturating_mul(2).saturating_add(RECORD_OVERHEAD);
        let max = longest_record.saturating_add(MAX_BEFORE_LAST_RECORD as u64);
        let (sent, records) = (self.payload_len, self.records_len);
        let fits = match self.mark ^ MARK {
            FLAG_END => sent == 0,
            FLAG_LZ4 => sent < records && records <= max,
            _ => sent == records && records <= max,
        };
        if fits { Ok(()) } else { Err(Reason::FrameLength { len: sent.max(records), max }) }
    }

    fn is_end(&self) -> bool {
        self.mark == MARK | FLAG_END
    }
}

/// The checksum of a frame: all of it but the checksum.
fn frame_checksum(header: &[u8; HEADER_BYTES], payload: &[u8]) -> u64 {
    checksum(&[&header[..CHECKSUM_AT], &header[BEHIND_CHECKSUM..], payload])
}

fn checksum(pieces: &[&[u8]]) -> u64 {
    let mut digest = crc64fast::Digest::new();
    pieces.iter().for_each(|piece| digest.write(piece));
    digest.sum64()
}

#[cfg(test)]
mod tests;
