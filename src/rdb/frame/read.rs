//! Takes frames off a stream, whole and unopened; opens them.

use std::ops::RangeInclusive;

use super::{FLAG_LZ4, FrameHeader, HEADER_BYTES, MARK, PREAMBLE_BYTES, Preamble, Totals, frame_checksum};
use crate::rdb::{Error, Reason, Record, Records};

/// Memory for a frame up to this size is taken at once, beyond that as the bytes arrive.
const RESERVE_BYTES: usize = 512 << 10;

/// No run of bytes in LZ4's block format stands for more than this many times as much.
const MAX_LZ4_EXPANSION: u64 = 255;

/// One thing in a stream of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameItem {
    /// The first item.
    Preamble(Preamble),
    Frame(Frame),
    /// The last item: as many frames and records have come as were sent.
    End(Totals),
}

/// A whole frame. What its payload is worth only [`decode_frame`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the stream before it.
    pub offset: u64,
    header: FrameHeader,
    bytes: Vec<u8>,
}

impl Frame {
    pub fn db(&self) -> u16 {
        self.header.db
    }

    /// The keys are in these, if the frame is sound.
    pub fn slots(&self) -> RangeInclusive<u16> {
        self.header.slots()
    }

    /// How many there are, if the frame is sound.
    pub fn records(&self) -> u64 {
        self.header.records
    }

    /// Bytes it takes in the stream.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn error(&self, reason: Reason) -> Error {
        Error { offset: self.offset, reason }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Header,
    Payload(FrameHeader),
    Ended,
}

/// Takes preamble and frames off a stream that comes in any pieces.
pub struct FrameReader {
    max_string_bytes: u64,
    state: State,
    /// Bytes of the preamble or frame that is arriving.
    arriving: Vec<u8>,
    /// Bytes of the stream before those.
    offset: u64,
    totals: Totals,
}

impl FrameReader {
    /// A reader that refuses frames that can only hold strings beyond `max_string_bytes`.
    pub fn new(max_string_bytes: u64) -> FrameReader {
        FrameReader {
            max_string_bytes,
            state: State::Preamble,
            arriving: Vec::new(),
            offset: 0,
            totals: Totals::default(),
        }
    }

    /// Takes the next item off `input`, which goes on where the last input ended. `None`: all of the input is taken, or the stream has ended,
    /// and what is left of the input is not part of it.
    ///
    /// An error is final.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<FrameItem>, Error> {
        loop {
            let wanted = match self.state {
                State::Preamble => PREAMBLE_BYTES as u64,
                State::Header => HEADER_BYTES as u64,
                State::Payload(header) => HEADER_BYTES as u64 + header.payload_len,
                State::Ended => return Ok(None),
            };
            if !self.take(input, wanted) {
                return Ok(None);
            }
            if let Some(item) = self.advance().map_err(|reason| Error { offset: self.offset, reason })? {
                return Ok(Some(item));
            }
        }
    }

    /// Whether so many bytes have arrived, with what `input` has.
    fn take(&mut self, input: &mut &[u8], wanted: u64) -> bool {
        let missing = wanted.saturating_sub(self.arriving.len() as u64);
        let take = input.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
        let (taken, rest) = input.split_at(take);
        *input = rest;
        self.arriving.extend_from_slice(taken);
        take as u64 == missing
    }

    /// What was wanted has arrived.
    fn advance(&mut self) -> Result<Option<FrameItem>, Reason> {
        match self.state {
            State::Preamble => {
                let preamble = Preamble::decode(self.arriving.first_chunk().ok_or(Reason::FrameMagic)?)?;
                self.state = State::Header;
                self.begin_next();
                Ok(Some(FrameItem::Preamble(preamble)))
            }
            State::Header => {
                let header = FrameHeader::decode(&self.arriving)?;
                header.check(self.max_string_bytes)?;
                let reserve = usize::try_from(header.payload_len).unwrap_or(usize::MAX).min(RESERVE_BYTES);
                self.arriving.reserve_exact(reserve);
                self.state = State::Payload(header);
                Ok(None)
            }
            State::Payload(header) if header.is_end() => {
                verify(&header, &self.arriving)?;
                self.state = State::Ended;
                let announced = Totals { frames: header.records_len, records: header.records };
                if announced != self.totals {
                    let pair = |totals: Totals| (totals.frames, totals.records);
                    return Err(Reason::Totals { announced: pair(announced), counted: pair(self.totals) });
                }
                self.begin_next();
                Ok(Some(FrameItem::End(announced)))
            }
            State::Payload(header) => {
                self.totals.frames += 1;
                self.totals.records = self.totals.records.saturating_add(header.records);
                self.state = State::Header;
                let offset = self.offset;
                let bytes = self.begin_next();
                Ok(Some(FrameItem::Frame(Frame { offset, header, bytes })))
            }
            State::Ended => Ok(None),
        }
    }

    /// What has arrived, which the next item comes behind.
    fn begin_next(&mut self) -> Vec<u8> {
        self.offset += self.arriving.len() as u64;
        std::mem::take(&mut self.arriving)
    }

    /// Whether [`FrameItem::End`] was given out.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Bytes that were taken so far.
    pub fn offset(&self) -> u64 {
        self.offset + self.arriving.len() as u64
    }

    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.arriving.capacity()
    }

    /// To be asked when no more bytes come: an error unless the stream has ended.
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::Ended => Ok(()),
            _ => Err(Error { offset: self.offset(), reason: Reason::Incomplete { missing: 1 } }),
        }
    }
}

fn verify(header: &FrameHeader, frame: &[u8]) -> Result<(), Reason> {
    let (head, payload) = frame.split_first_chunk().ok_or(Reason::FrameMark(header.mark))?;
    let computed = frame_checksum(head, payload);
    if computed == header.checksum { Ok(()) } else { Err(Reason::FrameChecksum { computed, stored: header.checksum }) }
}

/// Checks a frame and gives its records, uncompressed into `scratch` where needed.
pub fn decode_frame<'a>(
    frame: &'a Frame,
    scratch: &'a mut Vec<u8>,
    max_string_bytes: u64,
) -> Result<FrameRecords<'a>, Error> {
    verify(&frame.header, &frame.bytes).map_err(|reason| frame.error(reason))?;
    let payload = &frame.bytes[HEADER_BYTES..];
    let bytes = if frame.header.mark == MARK | FLAG_LZ4 {
        decompress(payload, frame.header.records_len, scratch).map_err(|reason| frame.error(reason))?
    } else {
        payload
    };
    Ok(FrameRecords { frame, records: Records::new(bytes, max_string_bytes), left: frame.header.records })
}

fn decompress<'a>(payload: &[u8], len: u64, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Reason> {
    // So much is only ever claimed by what was not compressed here.
    if len > (payload.len() as u64).saturating_mul(MAX_LZ4_EXPANSION) {
        return Err(Reason::Lz4);
    }
    let len = usize::try_from(len).map_err(|_| Reason::Lz4)?;
    scratch.clear();
    scratch.shrink_to(RESERVE_BYTES.max(len));
    scratch.resize(len, 0);
    match lz4_flex::block::decompress_into(payload, scratch) {
        Ok(written) if written == len => Ok(scratch),
        Ok(_) | Err(_) => Err(Reason::Lz4),
    }
}

/// The records of a frame. Nothing comes after an error.
pub struct FrameRecords<'a> {
    frame: &'a Frame,
    records: Records<'a>,
    left: u64,
}

impl<'a> Iterator for FrameRecords<'a> {
    type Item = Result<Record<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match (self.records.next(), self.left) {
            (None, 0) => None,
            (Some(Ok(record)), 1..) => {
                self.left -= 1;
                Some(Ok(record))
            }
            (Some(Err(reason)), _) => {
                self.left = 0;
                Some(Err(self.frame.error(reason)))
            }
            (None, 1..) | (Some(Ok(_)), 0) => {
                self.left = 0;
                self.records = Records::new(&[], 0);
                let announced = self.frame.header.records;
                Some(Err(self.frame.error(Reason::FrameRecords { announced })))
            }
        }
    }
}
