//! The primary's stream of commands, cut into units: a single command, or a MULTI block as a whole.
//!
//! Invariants
//! - the offset counts every byte of every unit that was consumed, as the primary counts them, and nothing of one that was not
//! - a unit is presented whole, again and again until it is consumed; bytes of an unfinished one have no effect, so that a link may be
//!   lost at any byte
//! - consumed bytes are handed out once and verbatim, by [`Stream::drain`]
//!
//! Bytes lie where they were received: the buffer is lent to the kernel, arguments are slices of it. A large value has an allocation of its own,
//! and is lent in turn.
//!
//! Knows nothing of keys, shards or sockets.

use bytes::Bytes;

use crate::resp::parser::{Limits, Parsed, Parser, ProtocolError};
use crate::resp::{Args, Span};

/// Room for one receive.
pub const RECEIVE_BYTES: usize = 128 * 1024;
/// A buffer that has grown beyond this is given back when it is empty.
const KEEP_BYTES: usize = 1024 * 1024;
/// Bytes of one unit that spans can address, less what a receive may add.
const MAX_UNIT_BYTES: usize = u32::MAX as usize / 2;

/// Why the stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    Protocol(ProtocolError),
    /// A MULTI block of more bytes than `client-query-buffer-limit`.
    TooLargeBlock(usize),
    /// SELECT of a database that this node does not have.
    NoSuchDatabase,
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StreamError::Protocol(error) => error.fmt(f),
            StreamError::TooLargeBlock(limit) => {
                write!(f, "a MULTI block of more than {limit} bytes (client-query-buffer-limit)")
            }
            StreamError::NoSuchDatabase => f.write_str("SELECT of a database beyond 'databases'"),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<ProtocolError> for StreamError {
    fn from(error: ProtocolError) -> StreamError {
        StreamError::Protocol(error)
    }
}

/// What the next unit is.
#[derive(Clone, Copy)]
pub enum Unit<'a> {
    /// It changes nothing here: PING, SELECT, an empty line.
    Nothing,
    /// The primary wants to be told how much of what came before this is applied.
    GetAck,
    Command {
        args: Args<'a>,
        database: u16,
    },
    Block(Block<'a>),
}

/// MULTI to EXEC.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    buf: &'a [u8],
    commands: &'a [Queued],
    spans: &'a [Span],
    bigs: &'a [Bytes],
    /// Only EXEC makes it happen.
    pub discarded: bool,
}

/// A command of a block.
#[derive(Clone, Copy)]
struct Queued {
    first_span: u32,
    spans: u32,
    first_big: u32,
    database: u16,
}

impl<'a> Block<'a> {
    /// The commands between MULTI and EXEC, SELECT left out.
    pub fn commands(self) -> impl Iterator<Item = (Args<'a>, u16)> {
        self.commands.iter().map(move |queued| {
            let spans = &self.spans[queued.first_span as usize..(queued.first_span + queued.spans) as usize];
            (Args::new(self.buf, spans, &self.bigs[queued.first_big as usize..]), queued.database)
        })
    }
}

/// What a word of the stream means to the stream itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Ping,
    Select,
    Multi,
    Exec,
    Discard,
    Replconf,
    Other,
}

#[inline]
fn word(name: &[u8]) -> Word {
    // Lengths that most commands do not have come first.
    let (name_of_length, meaning): (&[u8], Word) = match name.len() {
        4 if name[0] | 0x20 == b'p' => (b"ping", Word::Ping),
        4 => (b"exec", Word::Exec),
        5 => (b"multi", Word::Multi),
        6 => (b"select", Word::Select),
        7 => (b"discard", Word::Discard),
        8 => (b"replconf", Word::Replconf),
        _ => return Word::Other,
    };
    if name.eq_ignore_ascii_case(name_of_length) { meaning } else { Word::Other }
}

/// What has been found to be the next unit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    GetAck,
    Command,
    Block { discarded: bool },
}

/// The parsed commands of the block being read.
#[derive(Default)]
struct Queue {
    open: bool,
    commands: Vec<Queued>,
    spans: Vec<Span>,
    bigs: Vec<Bytes>,
}

impl Queue {
    fn begin(&mut self) {
        self.open = true;
        self.commands.clear();
        self.spans.clear();
        self.bigs.clear();
    }

    /// Adds a command whose arguments lie `offset` bytes behind the beginning of the block.
    fn push(&mut self, args: &Args<'_>, offset: usize, in_place: bool, database: u16) {
        let (first_span, first_big) = (self.spans.len(), self.bigs.len());
        let (_, spans, _) = args.parts();
        for (i, span) in spans.iter().enumerate() {
            match args.separate(i) {
                None if in_place => self.spans.push(span.moved(offset as isize, 0)),
                big => {
                    self.spans.push(Span::separate(self.bigs.len() - first_big));
                    self.bigs.push(big.cloned().unwrap_or_else(|| Bytes::copy_from_slice(args.get(i))));
                }
            }
        }
        self.commands.push(Queued {
            first_span: first_span as u32,
            spans: args.len() as u32,
            first_big: first_big as u32,
            database,
        });
    }
}

/// A large value that stands before the byte of the buffer at this place.
struct Splice {
    at: usize,
    bytes: Bytes,
}

#[derive(Clone, Copy)]
enum Lent {
    Buffer,
    LargeValue,
}

/// The stream behind the last consumed unit, and how far it is consumed.
pub struct Stream {
    buf: Vec<u8>,
    /// Bytes consumed and handed out, consumed, and parsed as the next unit: the borders within the buffer, ascending.
    drained: usize,
    start: usize,
    parsed: usize,
    splices: Vec<Splice>,
    /// Splices before `start`.
    consumed_splices: usize,
    /// Where the large values of the command being read stand.
    large_at: Vec<usize>,
    parser: Parser,
    queue: Queue,
    found: Option<Found>,
    failed: Option<StreamError>,
    /// Bytes consumed, and received, since the history began.
    offset: u64,
    received: u64,
    /// The database of what was consumed last, and of what is parsed last.
    database: u16,
    parsed_database: u16,
    limits: Limits,
    /// `client-query-buffer-limit`, as far as it can be kept.
    max_block_bytes: usize,
    databases: u16,
    /// What is lent out, and how many bytes it held.
    lent: Option<(Lent, usize)>,
}

impl Stream {
    /// The stream from `offset` on, where `database` is selected.
    pub fn new(offset: u64, database: u16) -> Stream {
        Stream {
            buf: Vec::new(),
            drained: 0,
            start: 0,
            parsed: 0,
            splices: Vec::new(),
            consumed_splices: 0,
            large_at: Vec::new(),
            parser: Parser::default(),
            queue: Queue::default(),
            found: None,
            failed: None,
            offset,
            received: offset,
            database,
            parsed_database: database,
            limits: Limits::default(),
            max_block_bytes: MAX_UNIT_BYTES,
            databases: u16::MAX,
            lent: None,
        }
    }

    /// Takes over what the configuration says: `proto-max-bulk-len`, `client-query-buffer-limit`, `databases`.
    pub fn configure(&mut self, max_bulk_bytes: u64, max_block_bytes: u64, databases: u16) {
        self.limits.max_bulk_bytes = max_bulk_bytes;
        self.max_block_bytes = usize::try_from(max_block_bytes).unwrap_or(usize::MAX).min(MAX_UNIT_BYTES);
        self.databases = databases;
    }

    /// Bytes consumed since the history began.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes received since the history began.
    pub fn received_offset(&self) -> u64 {
        self.received
    }

    /// The database selected at [`Stream::offset`].
    pub fn database(&self) -> u16 {
        self.database
    }

    /// Bytes received and not consumed.
    pub fn pending_bytes(&self) -> usize {
        (self.received - self.offset) as usize
    }

    // Receiving

    /// Lends the memory to receive into, and the most bytes to be received. Not before everything consumed is drained.
    pub fn lend(&mut self) -> (Vec<u8>, usize) {
        if let Some(large) = self.parser.large()
            && !large.is_full()
        {
            self.lent = Some((Lent::LargeValue, large.received()));
            let missing = large.missing();
            return (large.lend(), missing);
        }
        self.compact();
        self.buf.reserve(RECEIVE_BYTES);
        self.lent = Some((Lent::Buffer, self.buf.len()));
        (std::mem::take(&mut self.buf), RECEIVE_BYTES)
    }

    /// Takes back what was lent.
    pub fn put_back(&mut self, buffer: Vec<u8>) {
        let Some((lent, held)) = self.lent.take() else { return };
        self.received += (buffer.len() - held) as u64;
        match (lent, self.parser.large()) {
            (Lent::LargeValue, Some(large)) => large.put_back(buffer),
            _ => self.buf = buffer,
        }
    }

    /// Adds received bytes by copying them.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.received += bytes.len() as u64;
        if let Some(large) = self.parser.large() {
            bytes = &bytes[large.fill(bytes)..];
        }
        self.buf.extend_from_slice(bytes);
    }

    fn compact(&mut self) {
        debug_assert!(self.drained == self.start, "consumed bytes were not drained");
        if self.start == self.buf.len() {
            self.buf.clear();
            self.buf.shrink_to(KEEP_BYTES);
        } else if self.start > 0 {
            self.buf.drain(..self.start);
        }
        for splice in &mut self.splices {
            splice.at -= self.start;
        }
        for at in &mut self.large_at {
            *at -= self.start;
        }
        self.parsed -= self.start;
        (self.drained, self.start) = (0, 0);
    }

    // Units

    /// The next unit, if it is here in full. The same again until [`Stream::consume`].
    #[inline]
    pub fn unit(&mut self) -> Result<Option<Unit<'_>>, StreamError> {
        let found = match self.found {
            Some(found) => found,
            None => match self.find_or_fail()? {
                Some(found) => *self.found.insert(found),
                None => return Ok(None),
            },
        };
        Ok(Some(match found {
            Found::Nothing => Unit::Nothing,
            Found::GetAck => Unit::GetAck,
            Found::Command => {
                Unit::Command { args: self.parser.args(&self.buf[self.start..]), database: self.database }
            }
            Found::Block { discarded } => Unit::Block(Block {
                buf: &self.buf[self.start..],
                commands: &self.queue.commands,
                spans: &self.queue.spans,
                bigs: &self.queue.bigs,
                discarded,
            }),
        }))
    }

    /// Bytes of the unit that [`Stream::unit`] has found.
    #[inline]
    pub fn unit_bytes(&self) -> usize {
        let plain = self.parsed - self.start;
        if self.splices.len() == self.consumed_splices {
            return plain;
        }
        plain + self.splices[self.consumed_splices..].iter().map(|splice| splice.bytes.len()).sum::<usize>()
    }

    /// The unit that [`Stream::unit`] has found, verbatim.
    pub fn copy_unit(&self, out: &mut Vec<u8>) {
        let splices = &self.splices[self.consumed_splices..];
        pieces(&self.buf, self.start..self.parsed, splices, |piece| out.extend_from_slice(piece));
    }

    /// Goes on behind the unit that [`Stream::unit`] has found.
    #[inline]
    pub fn consume(&mut self) {
        debug_assert!(self.found.is_some());
        self.offset += self.unit_bytes() as u64;
        self.start = self.parsed;
        self.consumed_splices = self.splices.len();
        self.database = self.parsed_database;
        self.found = None;
    }

    /// Hands out, in order, the bytes of all units consumed since the last time.
    pub fn drain(&mut self, f: impl FnMut(&[u8])) {
        if self.drained < self.start {
            pieces(&self.buf, self.drained..self.start, &self.splices[..self.consumed_splices], f);
            self.drained = self.start;
        }
        self.splices.drain(..self.consumed_splices);
        self.consumed_splices = 0;
    }

    /// After an error nothing is found any more but that error.
    #[inline]
    fn find_or_fail(&mut self) -> Result<Option<Found>, StreamError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.find().inspect_err(|error| self.failed = Some(*error))
    }

    /// Reads on until a unit is whole.
    fn find(&mut self) -> Result<Option<Found>, StreamError> {
        loop {
            let command = self.parsed;
            match self.parse()? {
                None => return Ok(None),
                Some(Parsed::Command { .. }) => {
                    if let Some(found) = self.take_command(command)? {
                        return Ok(Some(found));
                    }
                }
                Some(_) if self.queue.open => {}
                Some(_) => return Ok(Some(Found::Nothing)),
            }
        }
    }

    /// Parses one more command, behind what is parsed already.
    #[inline]
    fn parse(&mut self) -> Result<Option<Parsed>, StreamError> {
        loop {
            let parsed = self.parser.parse(&self.buf[self.parsed..], &self.limits)?;
            match parsed {
                Parsed::Command { consumed } | Parsed::Nothing { consumed } => {
                    if !self.large_at.is_empty() {
                        self.place_large_values();
                    }
                    self.parsed += consumed;
                    return Ok(Some(parsed));
                }
                Parsed::Large { header } if self.take_large(self.parsed + header) => {}
                Parsed::Incomplete | Parsed::Large { .. } => {
                    self.check_block_size()?;
                    return Ok(None);
                }
            }
        }
    }

    /// Moves what the buffer holds of a large value into its own allocation; whether that is full now.
    fn take_large(&mut self, at: usize) -> bool {
        let Some(large) = self.parser.large() else { return false };
        if self.large_at.last() != Some(&at) {
            self.large_at.push(at);
        }
        let taken = large.fill(&self.buf[at..]);
        self.buf.drain(at..at + taken);
        large.is_full()
    }

    /// Notes where the large values of a command that is parsed whole stand among the bytes.
    #[cold]
    fn place_large_values(&mut self) {
        let args = self.parser.args(&self.buf[self.parsed..]);
        let (_, _, bigs) = args.parts();
        self.splices.extend(self.large_at.drain(..).zip(bigs).map(|(at, bytes)| Splice { at, bytes: bytes.clone() }));
    }

    fn check_block_size(&self) -> Result<(), StreamError> {
        let too_large = self.queue.open && self.pending_bytes() > self.max_block_bytes;
        if too_large { Err(StreamError::TooLargeBlock(self.max_block_bytes)) } else { Ok(()) }
    }

    /// Looks at a parsed command, which begins at `command`: a unit, or a part of a block.
    #[inline]
    fn take_command(&mut self, command: usize) -> Result<Option<Found>, StreamError> {
        let args = self.parser.args(&self.buf[command..]);
        let word = word(args.get(0));
        if word == Word::Select && args.len() == 2 {
            self.parsed_database = crate::types::numbers::parse_u64(args.get(1))
                .filter(|database| *database < u64::from(self.databases))
                .ok_or(StreamError::NoSuchDatabase)? as u16;
        }
        let in_block = self.queue.open;
        Ok(match word {
            Word::Multi if !in_block => {
                self.queue.begin();
                None
            }
            Word::Exec | Word::Discard if in_block => {
                self.queue.open = false;
                Some(Found::Block { discarded: word == Word::Discard })
            }
            Word::Select | Word::Ping if in_block => None,
            _ if in_block => {
                let in_place = self.buf[command] == b'*';
                self.queue.push(&args, command - self.start, in_place, self.parsed_database);
                None
            }
            Word::Select | Word::Ping => Some(Found::Nothing),
            Word::Replconf => {
                let asks = args.len() > 1 && args.is(1, "getack");
                Some(if asks { Found::GetAck } else { Found::Nothing })
            }
            Word::Multi | Word::Exec | Word::Discard | Word::Other => Some(Found::Command),
        })
    }
}

/// Calls `f` with the bytes of a range, large values in their places.
fn pieces(buf: &[u8], range: std::ops::Range<usize>, splices: &[Splice], mut f: impl FnMut(&[u8])) {
    let mut from = range.start;
    for splice in splices {
        f(&buf[from..splice.at]);
        f(&splice.bytes);
        from = splice.at;
    }
    f(&buf[from..range.end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resp(words: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        crate::resp::write_command(&mut out, words.len(), words.iter().copied());
        out
    }

    fn line(text: &str) -> Vec<u8> {
        resp(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    fn show(args: &Args<'_>, database: u16) -> String {
        let words = args.iter_from(0).map(|word| {
            if word.len() > 20 { format!("<{}>", word.len()) } else { String::from_utf8_lossy(word).into_owned() }
        });
        format!("{database}: {}", words.collect::<Vec<_>>().join(" "))
    }

    /// Takes all units that are there: what they are, and the offset behind each.
    fn take(stream: &mut Stream, raw: &mut Vec<u8>) -> Vec<(String, u64)> {
        let mut units = Vec::new();
        loop {
            let text = match stream.unit().expect("a valid stream") {
                None => break,
                Some(Unit::Nothing) => "nothing".to_owned(),
                Some(Unit::GetAck) => "getack".to_owned(),
                Some(Unit::Command { args, database }) => show(&args, database),
                Some(Unit::Block(block)) => {
                    let commands: Vec<String> = block.commands().map(|(args, db)| show(&args, db)).collect();
                    format!("{}[{}]", if block.discarded { "-" } else { "" }, commands.join(", "))
                }
            };
            let mut copy = Vec::new();
            stream.copy_unit(&mut copy);
            assert_eq!(copy.len(), stream.unit_bytes());
            let before = stream.offset();
            stream.consume();
            assert_eq!(stream.offset(), before + copy.len() as u64);
            units.push((text, stream.offset()));
        }
        stream.drain(|piece| raw.extend_from_slice(piece));
        units
    }

    fn sample() -> (Vec<u8>, Vec<(String, u64)>) {
        let large = vec![b'v'; 40_000];
        let parts: Vec<(Vec<u8>, &str)> = vec![
            (line("SELECT 0"), "nothing"),
            (line("set a 1"), "0: set a 1"),
            (b"\n".to_vec(), "nothing"),
            (line("PING"), "nothing"),
            (line("ZZZZ"), "0: ZZZZ"),
            (resp(&[b"SET", b"big", &large]), "0: SET big <40000>"),
            (line("REPLCONF GETACK *"), "getack"),
            (line("select 3"), "nothing"),
            (
                [
                    line("MULTI"),
                    line("SET x 1"),
                    resp(&[b"MSET", b"k", &large, b"l", &large[..20_000]]),
                    b"\r\n".to_vec(),
                    line("SELECT 5"),
                    b"del y\r\n".to_vec(),
                    line("exec"),
                ]
                .concat(),
                "[3: SET x 1, 3: MSET k <40000> l <20000>, 5: del y]",
            ),
            (line("DEL z"), "5: DEL z"),
            ([line("MULTI"), line("SET x 1"), line("DISCARD")].concat(), "-[5: SET x 1]"),
            (line("EXEC"), "5: EXEC"),
            (b"set inline yes\r\n".to_vec(), "5: set inline yes"),
        ];
        let mut offset = 100;
        let units = parts.iter().map(|(bytes, text)| {
            offset += bytes.len() as u64;
            ((*text).to_owned(), offset)
        });
        let units = units.collect();
        (parts.into_iter().flat_map(|(bytes, _)| bytes).collect(), units)
    }

    #[test]
    fn units_are_the_same_however_the_bytes_are_cut() {
        let (bytes, expected) = sample();
        for piece in [1, 2, 3, 7, 61, 1000, 17_000, 39_999, 50_000, bytes.len()] {
            let (mut stream, mut raw, mut units) = (Stream::new(100, 0), Vec::new(), Vec::new());
            for chunk in bytes.chunks(piece) {
                stream.feed(chunk);
                units.extend(take(&mut stream, &mut raw));
                let (buffer, _) = stream.lend();
                stream.put_back(buffer);
            }
            assert_eq!(units, expected, "in pieces of {piece}");
            assert!(raw == bytes, "in pieces of {piece}");
            assert_eq!((stream.database(), stream.pending_bytes()), (5, 0));
        }
    }

    #[test]
    fn units_are_received_in_place() {
        let (bytes, expected) = sample();
        let (mut stream, mut raw, mut units, mut from) = (Stream::new(100, 0), Vec::new(), Vec::new(), 0);
        while from < bytes.len() {
            let (mut buffer, max) = stream.lend();
            let room = (buffer.capacity() - buffer.len()).min(max).min(3000).min(bytes.len() - from);
            buffer.extend_from_slice(&bytes[from..from + room]);
            from += room;
            stream.put_back(buffer);
            assert_eq!(stream.received_offset(), 100 + from as u64);
            units.extend(take(&mut stream, &mut raw));
        }
        assert_eq!(units, expected);
        assert!(raw == bytes);
    }

    #[test]
    fn nothing_of_an_unfinished_unit_counts() {
        let (bytes, expected) = sample();
        let mut ends: Vec<u64> = expected.iter().map(|(_, end)| end - 100).collect();
        ends.insert(0, 0);
        for cut in (0..bytes.len()).step_by(13) {
            let (mut stream, mut raw) = (Stream::new(100, 0), Vec::new());
            stream.feed(&bytes[..cut]);
            take(&mut stream, &mut raw);
            let whole = *ends.iter().rfind(|end| **end <= cut as u64).expect("the first is 0");
            assert_eq!(stream.offset(), 100 + whole);
            assert!(raw == bytes[..whole as usize]);
        }
    }

    #[test]
    fn a_unit_stays_until_it_is_consumed() {
        let mut stream = Stream::new(0, 2);
        stream.feed(&line("SET a 1"));
        for _ in 0..3 {
            assert!(matches!(stream.unit(), Ok(Some(Unit::Command { args, database: 2 })) if args.get(1) == b"a"));
            stream.feed(&line("SET b 1"));
        }
        assert_eq!(stream.offset(), 0);
        stream.consume();
        assert!(matches!(stream.unit(), Ok(Some(Unit::Command { args, .. })) if args.get(1) == b"b"));
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        let error = |bytes: &[u8]| {
            let mut stream = Stream::new(0, 0);
            stream.configure(1 << 20, 1000, 16);
            stream.feed(bytes);
            while let Ok(Some(_)) = stream.unit() {
                stream.consume();
            }
            stream.unit().err()
        };
        assert_eq!(error(&line("SELECT 16")), Some(StreamError::NoSuchDatabase));
        assert_eq!(error(b"*1\r\n+PING\r\n"), Some(StreamError::Protocol(ProtocolError::ExpectedDollar(b'+'))));
        let block = [line("MULTI"), line("SET a 1").repeat(40)].concat();
        assert_eq!(error(&block), Some(StreamError::TooLargeBlock(1000)));
        assert_eq!(error(&[block, line("EXEC")].concat()), None);
    }
}
