//! Makes frames of runs of records.

use std::ops::RangeInclusive;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::{FLAG_END, FLAG_LZ4, FrameHeader, HEADER_BYTES, MARK, frame_checksum};

/// Longer runs are large values, which are stored: the buffers to compress them would be as large again.
const MAX_COMPRESSED_BYTES: usize = 16 << 20;
/// Shorter ones cannot gain much.
const MIN_COMPRESSED_BYTES: usize = 64;
/// What compression has to save, as a part of the run: less is not worth the work at either end.
const MIN_GAIN: usize = 8;
/// Data that hardly compress are mostly followed by more of them: so many frames are stored before it is tried again.
const STORED_IN_BETWEEN: u32 = 15;
/// Scratch memory is not kept beyond this.
const KEEP_BYTES: usize = 1 << 20;

/// What a run of records is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub db: u16,
    /// The keys are all in these.
    pub slots: RangeInclusive<u16>,
    pub records: u64,
}

/// Makes frames, one after the other, in memory that it keeps.
pub struct FrameEncoder {
    table: CompressTable,
    compressed: Vec<u8>,
    /// Frames that are stored without a try.
    stores: u32,
}

impl Default for FrameEncoder {
    fn default() -> FrameEncoder {
        FrameEncoder { table: CompressTable::large(), compressed: Vec::new(), stores: 0 }
    }
}

impl FrameEncoder {
    pub fn new() -> FrameEncoder {
        FrameEncoder::default()
    }

    /// The frame of a run of records. Allocates nothing but the frame.
    pub fn encode(&mut self, contents: &Contents, records: &[u8]) -> Vec<u8> {
        let (payload, flags) = match self.compress(records) {
            Some(len) => (&self.compressed[..len], FLAG_LZ4),
            None => (records, 0),
        };
        let header = FrameHeader {
            payload_len: payload.len() as u64,
            mark: MARK | flags,
            checksum: 0,
            db: contents.db,
            first_slot: *contents.slots.start(),
            last_slot: *contents.slots.end(),
            records_len: records.len() as u64,
            records: contents.records,
        };
        let frame = sealed(header, payload);
        if self.compressed.len() > KEEP_BYTES {
            self.compressed = Vec::new();
        }
        frame
    }

    /// Compresses a run if that is worth it; how many bytes it then takes.
    fn compress(&mut self, records: &[u8]) -> Option<usize> {
        if !(MIN_COMPRESSED_BYTES..=MAX_COMPRESSED_BYTES).contains(&records.len()) {
            return None;
        }
        if self.stores > 0 {
            self.stores -= 1;
            return None;
        }
        let longest = get_maximum_output_size(records.len());
        if self.compressed.len() < longest {
            self.compressed.resize(longest, 0);
        }
        let len = compress_into_with_table(records, &mut self.compressed, &mut self.table).ok()?;
        if len > records.len() - records.len() / MIN_GAIN {
            self.stores = STORED_IN_BETWEEN;
            return None;
        }
        Some(len)
    }
}

/// How much has been sent, for the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub frames: u64,
    pub records: u64,
}

impl Totals {
    /// Counts a frame that [`FrameEncoder::encode`] has made.
    pub fn add(&mut self, frame: &[u8]) {
        if let Ok(header) = FrameHeader::decode(frame) {
            self.frames += 1;
            self.records += header.records;
        }
    }

    /// The frame that ends the snapshot.
    pub fn end_frame(&self) -> Vec<u8> {
        let header = FrameHeader {
            payload_len: 0,
            mark: MARK | FLAG_END,
            checksum: 0,
            db: 0,
            first_slot: 0,
            last_slot: 0,
            records_len: self.frames,
            records: self.records,
        };
        sealed(header, &[])
    }
}

fn sealed(mut header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    header.checksum = frame_checksum(&header.encode(), payload);
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&header.encode());
    frame.extend_from_slice(payload);
    frame
}
