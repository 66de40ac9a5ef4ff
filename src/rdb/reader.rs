//! An RDB stream, read as it arrives.
//!
//! Invariants
//! - an item is given out when all of its bytes are there: from the bytes at hand if it lies in them whole, else from a copy that grows as
//!   the bytes arrive, whatever length the data claims
//! - what has arrived of a large item is gone through again only when it has grown by half, so that an item costs a few times its length, in however
//!   many pieces and elements it comes. It may then be given out late: [`Reader::drain`] has what is left when nothing more comes
//! - every byte up to the end mark goes into the checksum once
//! - behind the end nothing is taken: what is left of the input belongs to whatever follows
//!
//! Knows nothing of where the bytes come from, nor of databases and keys that exist.

use super::crc::Crc64;
use super::large::PART;
use super::length;
use super::record::{FIRST_OPCODE, Record};
use super::string::{self, Text};
use super::{Error, MAX_READ_VERSION, Reason, take_array};

pub(super) const SLOT_INFO: u8 = FIRST_OPCODE;
pub(super) const FUNCTION: u8 = 0xf5;
const OLD_FUNCTION: u8 = 0xf6;
const MODULE_DATA: u8 = 0xf7;
pub(super) const AUX: u8 = 0xfa;
pub(super) const RESIZE: u8 = 0xfb;
pub(super) const SELECT_DB: u8 = 0xfe;
pub(super) const END: u8 = 0xff;

/// What every stream begins with, before its version in four digits.
pub(super) const SIGNATURE: &[u8; 5] = b"REDIS";
const VERSION_DIGITS: usize = 4;

/// The first version with a checksum at the end.
const CHECKSUM_SINCE: u32 = 5;
const END_MARK_BYTES: usize = 1;

/// Room for an item that came in pieces is not kept beyond this.
const KEEP_BYTES: usize = 64 << 10;

/// Up to this length an item is gone through again as soon as what it lacked at least has arrived.
const SHORT_BYTES: usize = 1 << 10;

/// One thing in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The first item.
    Version(u32),
    /// Something the writer tells of itself.
    Aux { key: Text<'a>, value: Text<'a> },
    /// The records that follow are in this database.
    SelectDb(u64),
    /// About how many keys the database has, and how many of them expire.
    Resize { keys: u64, expires: u64 },
    /// The same of a slot.
    SlotInfo { slot: u64, keys: u64, expires: u64 },
    /// A library of functions, which has no use here.
    FunctionLibrary { code: Text<'a> },
    /// A key, and how many bytes of the stream are before it.
    Record { offset: u64, record: Record<'a> },
    /// The last item. The checksum was right, or there is none.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Signature,
    Body { version: u32 },
    Ended,
}

/// Reads a stream of version 1 to [`MAX_READ_VERSION`].
///
/// ```
/// # use basalt::rdb::{Item, Reader};
/// let mut reader = Reader::new(512 << 20, true);
/// let mut items = 0;
/// for mut input in [&b"REDIS00"[..], b"03\xfe\x00\xff", b"behind"] {
///     while let Some(item) = reader.next(&mut input).unwrap() {
///         items += 1;
///     }
///     if reader.has_ended() {
///         assert_eq!(input, b"");
///         break;
///     }
/// }
/// assert_eq!(items, 3);
/// ```
pub struct Reader {
    max_string_bytes: u64,
    progress: Progress,
    /// What has arrived of items that did not arrive whole. Up to `given`, it has been given out.
    held: Vec<u8>,
    given: usize,
    /// Bytes that what is held lacks before it is worth going through; 0 when nothing is.
    missing: u64,
}

/// How far the stream has been given out.
struct Progress {
    state: State,
    offset: u64,
    /// `None` if it is of no interest.
    checksum: Option<Crc64>,
}

impl Reader {
    /// A reader that refuses strings beyond `max_string_bytes`, and with `verify` (`rdbchecksum`) streams with a wrong checksum.
    pub fn new(max_string_bytes: u64, verify: bool) -> Reader {
        let progress = Progress { state: State::Signature, offset: 0, checksum: verify.then(Crc64::new) };
        Reader { max_string_bytes, progress, held: Vec::new(), given: 0, missing: 0 }
    }

    /// Takes the next item off `input`, which goes on where the last input ended. `None`: all of the input is taken, or the stream has ended,
    /// and what is left of the input is not part of it.
    ///
    /// An error is final.
    #[inline]
    pub fn next<'a, 'b: 'a>(&'a mut self, input: &mut &'b [u8]) -> Result<Option<Item<'a>>, Error> {
        if self.progress.state == State::Ended || input.is_empty() {
            return Ok(None);
        }
        if self.holds() {
            return self.next_held(input);
        }
        let (all, mut rest) = (*input, *input);
        match self.progress.parse(&mut rest, self.max_string_bytes) {
            Ok(item) => {
                self.progress.advance(&all[..all.len() - rest.len()], &item)?;
                *input = rest;
                Ok(Some(item))
            }
            Err(Reason::Incomplete { missing }) => {
                self.hold(all, missing);
                *input = &[];
                Ok(None)
            }
            Err(reason) => Err(self.progress.error(all.len() - rest.len(), reason)),
        }
    }

    /// The next item of what has arrived already, when no more bytes come. `None`: there is none that is whole.
    pub fn drain(&mut self) -> Result<Option<Item<'_>>, Error> {
        if self.progress.state == State::Ended || !self.holds() {
            return Ok(None);
        }
        match self.parse_held() {
            Err(Reason::Incomplete { .. }) => Ok(None),
            Ok(_) | Err(_) => self.give_held().map(Some),
        }
    }

    /// Whether the next item begins in what is held.
    #[inline]
    fn holds(&self) -> bool {
        self.given < self.held.len()
    }

    /// Keeps the beginning of an item.
    fn hold(&mut self, bytes: &[u8], missing: u64) {
        self.held.clear();
        self.held.shrink_to(KEEP_BYTES);
        self.held.extend_from_slice(bytes);
        self.given = 0;
        self.missing = missing;
    }

    /// The next item, whose beginning is held.
    fn next_held<'a>(&'a mut self, input: &mut &[u8]) -> Result<Option<Item<'a>>, Error> {
        let all = *input;
        loop {
            if self.missing == 0 {
                match self.parse_held() {
                    Err(Reason::Incomplete { missing }) => {
                        self.held.drain(..self.given);
                        self.given = 0;
                        let length = self.held.len() as u64;
                        self.missing = if length < SHORT_BYTES as u64 { missing } else { missing.max(length / 2) };
                    }
                    Ok(length) => {
                        // What was taken beyond the item goes back, as far as it is still at hand.
                        let beyond = self.held.len() - self.given - length;
                        let back = beyond.min(all.len() - input.len());
                        *input = &all[all.len() - input.len() - back..];
                        self.held.truncate(self.held.len() - back);
                        return self.give_held().map(Some);
                    }
                    Err(_) => return self.give_held().map(Some),
                }
            }
            let take = input.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX));
            let (taken, rest) = input.split_at(take);
            *input = rest;
            self.held.extend_from_slice(taken);
            self.missing -= take as u64;
            if self.missing > 0 {
                return Ok(None);
            }
        }
    }

    /// The length of the item that is held.
    fn parse_held(&self) -> Result<usize, Reason> {
        let held = &self.held[self.given..];
        let mut rest = held;
        self.progress.parse(&mut rest, self.max_string_bytes)?;
        Ok(held.len() - rest.len())
    }

    /// Gives out the item that is held, or says what is wrong with it.
    fn give_held(&mut self) -> Result<Item<'_>, Error> {
        let held = &self.held[self.given..];
        let mut rest = held;
        match self.progress.parse(&mut rest, self.max_string_bytes) {
            Ok(item) => {
                let length = held.len() - rest.len();
                self.progress.advance(&held[..length], &item)?;
                self.given += length;
                self.missing = 0;
                Ok(item)
            }
            Err(reason) => Err(self.progress.error(held.len() - rest.len(), reason)),
        }
    }

    /// Whether [`Item::End`] was given out.
    pub fn has_ended(&self) -> bool {
        self.progress.state == State::Ended
    }

    /// Bytes that were taken so far.
    pub fn offset(&self) -> u64 {
        self.progress.offset + (self.held.len() - self.given) as u64
    }

    /// To be asked when no more bytes come and [`Reader::drain`] has given out what there was: an error unless the stream has ended.
    pub fn finish(&self) -> Result<(), Error> {
        if self.has_ended() && self.holds() {
            return Err(self.progress.error(0, Reason::Trailing));
        }
        if self.has_ended() {
            return Ok(());
        }
        Err(Error { offset: self.offset(), reason: Reason::Incomplete { missing: self.missing.max(1) } })
    }
}

impl Progress {
    /// Takes the next item off `input`.
    #[inline]
    fn parse<'a>(&self, input: &mut &'a [u8], max: u64) -> Result<Item<'a>, Reason> {
        match self.state {
            // Only frames have parts.
            State::Body { .. } if input.first() == Some(&PART) => take_array::<1>(input).and(Err(Reason::Type(PART))),
            State::Body { .. } if input.first().is_some_and(|&byte| Record::begins_with(byte)) => {
                Ok(Item::Record { offset: self.offset, record: Record::read(input, max)? })
            }
            State::Body { version } => parse_other(input, version, max),
            State::Signature => parse_signature(input).map(Item::Version),
            State::Ended => Err(Reason::Trailing),
        }
    }

    /// The item of these bytes is given out.
    #[inline]
    fn advance(&mut self, bytes: &[u8], item: &Item<'_>) -> Result<(), Error> {
        match item {
            Item::End => {
                self.verify(bytes)?;
                self.state = State::Ended;
            }
            Item::Version(version) => {
                self.state = State::Body { version: *version };
                self.sum(bytes);
            }
            _ => self.sum(bytes),
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    #[inline]
    fn sum(&mut self, bytes: &[u8]) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
    }

    /// Compares the checksum with the one behind the end mark.
    fn verify(&mut self, end: &[u8]) -> Result<(), Error> {
        let (mark, stored) = end.split_at(END_MARK_BYTES);
        let (Some(checksum), Some(stored)) = (&mut self.checksum, stored.first_chunk()) else { return Ok(()) };
        checksum.update(mark);
        let (computed, stored) = (checksum.finish(), u64::from_le_bytes(*stored));
        // The writer had them turned off.
        if stored == 0 || computed == stored {
            return Ok(());
        }
        Err(self.error(END_MARK_BYTES, Reason::Checksum { computed, stored }))
    }

    /// An error so many bytes into the item that comes next.
    fn error(&self, at: usize, reason: Reason) -> Error {
        Error { offset: self.offset + at as u64, reason }
    }
}

fn parse_signature(input: &mut &[u8]) -> Result<u32, Reason> {
    if take_array(input)? != *SIGNATURE {
        return Err(Reason::Magic);
    }
    let digits: [u8; VERSION_DIGITS] = take_array(input)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reason::Magic);
    }
    let version = digits.iter().fold(0, |version, digit| version * 10 + u32::from(digit - b'0'));
    if (1..=u32::from(MAX_READ_VERSION)).contains(&version) { Ok(version) } else { Err(Reason::Version(version)) }
}

/// Takes an item other than a record off `input`.
fn parse_other<'a>(input: &mut &'a [u8], version: u32, max: u64) -> Result<Item<'a>, Reason> {
    let [opcode] = take_array(input)?;
    Ok(match opcode {
        AUX => Item::Aux { key: string::read_text(input, max)?, value: string::read_text(input, max)? },
        SELECT_DB => Item::SelectDb(length::read_plain(input)?),
        RESIZE => Item::Resize { keys: length::read_plain(input)?, expires: length::read_plain(input)? },
        SLOT_INFO => Item::SlotInfo {
            slot: length::read_plain(input)?,
            keys: length::read_plain(input)?,
            expires: length::read_plain(input)?,
        },
        FUNCTION => Item::FunctionLibrary { code: string::read_text(input, max)? },
        END => {
            if version >= CHECKSUM_SINCE {
                take_array::<8>(input)?;
            }
            Item::End
        }
        OLD_FUNCTION => return Err(Reason::OldFunctions),
        MODULE_DATA => return Err(Reason::ModuleData { id: length::read_plain(input)? }),
        other => return Err(Reason::Type(other)),
    })
}

/// The name in the first line of a library of functions: `#!lua name=mylib`.
pub fn library_name(code: &[u8]) -> Option<&[u8]> {
    let line = code.split(|&byte| byte == b'\n').next()?;
    line.split(u8::is_ascii_whitespace).find_map(|word| word.strip_prefix(b"name="))
}

#[cfg(test)]
pub(super) mod tests;
