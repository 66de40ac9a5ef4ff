//! Requests in: a resumable parser for multibulk and inline commands, over the bytes where they were received.
//!
//! Invariants
//! - the arguments are spans into the input, which is presented from the command's first byte each time; what was parsed
//!   once is not parsed again, however the bytes are cut
//! - memory grows with the bytes that have arrived, never with a length that was merely announced
//! - the payload of a large bulk string that has not arrived whole is never part of the input: it goes to a [`LargeBulk`]
//!
//! What is accepted, and each error, is as in Redis 7: a line ends at its `\r` whatever byte follows, and the two bytes behind a
//! bulk string are not looked at. (Redis stops looking for a line's end at a NUL byte; this parser does not.)

mod large;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;

use super::{ATTACH_MIN_BYTES, Args, Span};
use crate::types::numbers::parse_i64;
use crate::types::quote::split_quoted_into;
pub use large::{FIRST_STEP_BYTES, LargeBulk, TRUSTED_BYTES};

/// Redis's `PROTO_INLINE_MAX_SIZE`: the bound of an inline command and of the line that announces a length.
pub const MAX_INLINE_BYTES_DEFAULT: usize = 64 * 1024;

/// The most arguments Redis 7 lets a request announce.
pub const MAX_MULTIBULK: i64 = i32::MAX as i64;

/// The most arguments a client may announce before it has authenticated.
pub const UNAUTHENTICATED_MAX_MULTIBULK: i64 = 10;

/// The longest bulk string a client may announce before it has authenticated.
pub const UNAUTHENTICATED_MAX_BULK_BYTES: u64 = 16 * 1024;

/// A bulk string of this many bytes or more is received into an allocation of its own.
pub const LARGE_MIN_BYTES: usize = ATTACH_MIN_BYTES;

/// Bytes that spans can address. Large payloads lie elsewhere, so it takes a quarter of a million arguments to get there.
const MAX_INPUT_BYTES: usize = u32::MAX as usize - 1;

/// What [`Parser::reset`] keeps of the capacity that an unusually long command left behind.
const KEEP_SPANS: usize = 1024;
const KEEP_SCRATCH_BYTES: usize = MAX_INLINE_BYTES_DEFAULT;

/// What a request may announce.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`.
    pub max_bulk_bytes: u64,
    /// The longest inline command, and the longest line that announces a length.
    pub max_inline_bytes: usize,
    /// The most arguments; Redis 7 has [`MAX_MULTIBULK`].
    pub max_multibulk: i64,
    /// Whether the client has authenticated, or need not; if not, the stricter bounds hold too.
    pub authenticated: bool,
}

impl Default for Limits {
    /// Redis's defaults for a client that may issue commands.
    fn default() -> Limits {
        Limits {
            max_bulk_bytes: 512 * 1024 * 1024,
            max_inline_bytes: MAX_INLINE_BYTES_DEFAULT,
            max_multibulk: MAX_MULTIBULK,
            authenticated: true,
        }
    }
}

/// The client does not speak the protocol; after the error reply the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    InvalidBulkLength,
    /// Something else than `$` where an argument begins.
    ExpectedDollar(u8),
    TooBigInline,
    TooBigMultibulkCount,
    TooBigBulkCount,
    UnbalancedQuotes,
    UnauthenticatedMultibulk,
    UnauthenticatedBulk,
    /// 4 GiB of small arguments; Redis has no such bound, its `client-query-buffer-limit` comes first by default, as ours does.
    TooBigCommand,
}

impl ProtocolError {
    /// The text behind `ERR `. Line breaks in it are for the reply writer to replace.
    pub fn message(&self) -> Cow<'static, [u8]> {
        let text = match self {
            ProtocolError::InvalidMultibulkLength => "Protocol error: invalid multibulk length",
            ProtocolError::InvalidBulkLength => "Protocol error: invalid bulk length",
            ProtocolError::ExpectedDollar(got) => {
                return [b"Protocol error: expected '$', got '", &[*got][..], b"'"].concat().into();
            }
            ProtocolError::TooBigInline => "Protocol error: too big inline request",
            ProtocolError::TooBigMultibulkCount => "Protocol error: too big mbulk count string",
            ProtocolError::TooBigBulkCount => "Protocol error: too big bulk count string",
            ProtocolError::UnbalancedQuotes => "Protocol error: unbalanced quotes in request",
            ProtocolError::UnauthenticatedMultibulk => "Protocol error: unauthenticated multibulk length",
            ProtocolError::UnauthenticatedBulk => "Protocol error: unauthenticated bulk length",
            ProtocolError::TooBigCommand => "Protocol error: too big request",
        };
        Cow::Borrowed(text.as_bytes())
    }
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.message()))
    }
}

impl std::error::Error for ProtocolError {}

/// What [`Parser::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole command in `input[..consumed]`; [`Parser::args`] has its arguments until the next `parse` or `reset`.
    Command { consumed: usize },
    /// An empty line, `*0` or `*-1`: nothing to execute.
    Nothing { consumed: usize },
    /// Not whole yet: present the same bytes again with more behind them.
    Incomplete,
    /// A large bulk string: keep `input[..header]`, give what follows to [`Parser::large`] until it is full, then go on
    /// with the kept bytes and, directly behind them, what came after the payload.
    Large { header: usize },
}

/// Where in a command the parser stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// At its first byte, or in the line that begins there.
    #[default]
    Start,
    /// In the line `$<length>` of an argument.
    Length,
    /// In a payload of that many bytes, which begins at `pos`.
    Payload(usize),
    /// In a payload that goes to `large`; the input goes on at `pos` with what follows the payload.
    Large,
    /// Behind it: the next byte is another command's.
    Done,
}

/// The state of the command being read.
#[derive(Default)]
pub struct Parser {
    stage: Stage,
    /// `input[..pos]` is parsed.
    pos: usize,
    /// Bytes from `pos` on that hold no line end.
    searched: usize,
    /// Arguments still to come.
    remaining: usize,
    spans: Vec<Span>,
    bigs: Vec<Bytes>,
    large: Option<LargeBulk>,
    /// The words of an inline command, unquoted.
    scratch: Vec<u8>,
    /// Whether the spans lie in `scratch`.
    in_scratch: bool,
}

impl Parser {
    /// Goes on reading the command that begins at `input[0]`. After an error only [`Self::reset`] makes the parser usable.
    #[inline]
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        match self.stage {
            Stage::Start => {}
            Stage::Length | Stage::Payload(_) | Stage::Large => return self.parse_arguments(input, limits),
            Stage::Done => self.reset(),
        }
        match input.first() {
            Some(b'*') => self.parse_multibulk(input, limits),
            Some(_) => self.parse_inline(input, limits),
            None => Ok(Parsed::Incomplete),
        }
    }

    /// The arguments of the command that `parse` has just found in `input`.
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        debug_assert_eq!(self.stage, Stage::Done);
        if self.in_scratch {
            Args::new(&self.scratch, &self.spans, &self.bigs)
        } else if self.bigs.is_empty() {
            Args::framed(&input[..self.pos], &self.spans)
        } else {
            Args::new(input, &self.spans, &self.bigs)
        }
    }

    /// Ready for another command; keeps the capacity that ordinary commands need.
    pub fn reset(&mut self) {
        self.stage = Stage::Start;
        self.pos = 0;
        self.searched = 0;
        self.remaining = 0;
        self.spans.clear();
        self.spans.shrink_to(KEEP_SPANS);
        self.bigs.clear();
        self.large = None;
        if self.in_scratch {
            self.in_scratch = false;
            self.scratch.clear();
            self.scratch.shrink_to(KEEP_SCRATCH_BYTES);
        }
    }

    /// Whether nothing of a command has been read yet.
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Done) || (matches!(self.stage, Stage::Start) && self.pos == 0 && self.searched == 0)
    }

    /// While a large bulk string is being received: where its bytes go.
    pub fn large(&mut self) -> Option<&mut LargeBulk> {
        self.large.as_mut()
    }

    /// Bytes of the current command that are held outside of the input, for `client-query-buffer-limit`.
    pub fn held_bytes(&self) -> usize {
        let whole: usize = self.bigs.iter().map(Bytes::len).sum();
        whole + self.large.as_ref().map_or(0, LargeBulk::reserved_bytes) + self.scratch.len()
    }

    fn parse_multibulk(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        let (count, next) = match short_length(input, 0, b'*') {
            Some((count, next)) => (count as i64, next),
            None => {
                let Some(end) = self.find_cr(input, limits, ProtocolError::TooBigMultibulkCount)? else {
                    return Ok(Parsed::Incomplete);
                };
                (parse_i64(&input[1..end]).ok_or(ProtocolError::InvalidMultibulkLength)?, end + 2)
            }
        };
        if count > limits.max_multibulk {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if count > UNAUTHENTICATED_MAX_MULTIBULK && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulk);
        }
        if count <= 0 {
            self.stage = Stage::Done;
            return Ok(Parsed::Nothing { consumed: next });
        }
        self.remaining = count as usize;
        self.advance(next, Stage::Length);
        self.parse_arguments(input, limits)
    }

    fn parse_arguments(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        debug_assert!(
            self.remaining > 0 && self.pos <= input.len(),
            "the input was not presented again from its start"
        );
        if input.len() > MAX_INPUT_BYTES {
            return Err(ProtocolError::TooBigCommand);
        }
        loop {
            if self.stage == Stage::Length {
                self.parse_whole_arguments(input, limits);
            }
            if self.remaining == 0 {
                break;
            }
            let stopped = match self.stage {
                Stage::Length => self.parse_length(input, limits)?,
                Stage::Payload(len) => self.parse_payload(input, len),
                Stage::Large => self.finish_large(input),
                Stage::Start | Stage::Done => unreachable!("no argument is read in {:?}", self.stage),
            };
            if let Some(parsed) = stopped {
                return Ok(parsed);
            }
        }
        self.stage = Stage::Done;
        Ok(Parsed::Command { consumed: self.pos })
    }

    /// The fast path: takes arguments as long as each is small, announced in the plainest form, and here in full.
    #[inline]
    fn parse_whole_arguments(&mut self, input: &[u8], limits: &Limits) {
        let max_len = limits.max_bulk_bytes.min(UNAUTHENTICATED_MAX_BULK_BYTES) as usize;
        let mut pos = self.pos;
        while self.remaining > 0 {
            let Some((len, start)) = short_length(input, pos, b'$') else { break };
            if len > max_len || input.len() - start < len + 2 {
                break;
            }
            self.spans.push(Span::inline(start, len));
            self.remaining -= 1;
            self.searched = 0;
            pos = start + len + 2;
        }
        self.pos = pos;
    }

    fn parse_length(&mut self, input: &[u8], limits: &Limits) -> Result<Option<Parsed>, ProtocolError> {
        let Some(end) = self.find_cr(input, limits, ProtocolError::TooBigBulkCount)? else {
            return Ok(Some(Parsed::Incomplete));
        };
        // The line may be empty: then its `\r` is what stands in place of the `$`.
        if input[self.pos] != b'$' {
            return Err(ProtocolError::ExpectedDollar(input[self.pos]));
        }
        let len = parse_i64(&input[self.pos + 1..end]).and_then(|len| u64::try_from(len).ok());
        let len = len.filter(|&len| len <= limits.max_bulk_bytes).ok_or(ProtocolError::InvalidBulkLength)?;
        if len > UNAUTHENTICATED_MAX_BULK_BYTES && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        let len = usize::try_from(len).map_err(|_| ProtocolError::InvalidBulkLength)?;
        self.advance(end + 2, Stage::Payload(len));
        if len >= LARGE_MIN_BYTES && input.len() - self.pos < len {
            self.large = Some(LargeBulk::new(len));
            self.stage = Stage::Large;
        }
        Ok(None)
    }

    fn parse_payload(&mut self, input: &[u8], len: usize) -> Option<Parsed> {
        if input.len() - self.pos < len + 2 {
            return Some(Parsed::Incomplete);
        }
        self.spans.push(Span::inline(self.pos, len));
        self.remaining -= 1;
        self.advance(self.pos + len + 2, Stage::Length);
        None
    }

    fn finish_large(&mut self, input: &[u8]) -> Option<Parsed> {
        if !self.large.as_ref().is_some_and(LargeBulk::is_full) {
            return Some(Parsed::Large { header: self.pos });
        }
        if input.len() - self.pos < 2 {
            return Some(Parsed::Incomplete);
        }
        self.spans.push(Span::separate(self.bigs.len()));
        self.bigs.extend(self.large.take().map(LargeBulk::into_bytes));
        self.remaining -= 1;
        self.advance(self.pos + 2, Stage::Length);
        None
    }

    fn parse_inline(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        let Some(offset) = input[self.searched..].iter().position(|&byte| byte == b'\n') else {
            self.searched = input.len();
            return if input.len() > limits.max_inline_bytes {
                Err(ProtocolError::TooBigInline)
            } else {
                Ok(Parsed::Incomplete)
            };
        };
        let end = self.searched + offset;
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_INPUT_BYTES {
            return Err(ProtocolError::TooBigInline);
        }
        self.split_line(line)?;
        self.stage = Stage::Done;
        let consumed = end + 1;
        Ok(if self.spans.is_empty() { Parsed::Nothing { consumed } } else { Parsed::Command { consumed } })
    }

    fn split_line(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        self.in_scratch = true;
        self.scratch.clear();
        let spans = &mut self.spans;
        split_quoted_into(line, &mut self.scratch, |word| spans.push(Span::inline(word.start, word.len())))
            .map_err(|_| ProtocolError::UnbalancedQuotes)
    }

    fn advance(&mut self, pos: usize, stage: Stage) {
        self.pos = pos;
        self.searched = 0;
        self.stage = stage;
    }

    /// The `\r` that ends the line at `pos`, once the byte behind it is here too. Fails with `too_big` when the line goes on
    /// for longer than a length is written.
    fn find_cr(
        &mut self,
        input: &[u8],
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let from = self.pos + self.searched;
        match input[from..].iter().position(|&byte| byte == b'\r') {
            Some(offset) => {
                self.searched += offset;
                let end = from + offset;
                Ok((end + 1 < input.len()).then_some(end))
            }
            None => {
                self.searched = input.len() - self.pos;
                if self.searched > limits.max_inline_bytes { Err(too_big) } else { Ok(None) }
            }
        }
    }
}

/// Reads `<marker><one to seven digits>\r` and the byte after it; the number and where the next byte is. `None` stands for
/// anything else, which is then looked at with more care.
#[inline(always)]
fn short_length(input: &[u8], pos: usize, marker: u8) -> Option<(usize, usize)> {
    const MAX_DIGITS: usize = 7;
    let line = input.get(pos..)?;
    if *line.first()? != marker {
        return None;
    }
    let mut value = 0;
    let mut at = 1;
    loop {
        let byte = *line.get(at)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let plain = byte == b'\r' && at > 1 && at + 1 < line.len() && (line[1] != b'0' || at == 2);
            return plain.then_some((value, pos + at + 2));
        }
        if at > MAX_DIGITS {
            return None;
        }
        value = value * 10 + usize::from(digit);
        at += 1;
    }
}
