//! A raw RESP client for tests: one connection, blocking, RESP2 and RESP3, keeping the bytes of each reply for comparison.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A reply takes longer than this only when the server is stuck.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const READ_CHUNK_BYTES: usize = 64 * 1024;

#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    /// RESP2's `$-1`.
    NilBulk,
    /// RESP2's `*-1`.
    NilArray,
    Array(Vec<Reply>),
    /// RESP3 from here on.
    Null,
    Bool(bool),
    Double(Vec<u8>),
    BigNumber(Vec<u8>),
    Verbatim(Vec<u8>),
    BulkError(Vec<u8>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
}

impl Reply {
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_) | Reply::BulkError(_))
    }

    pub fn is_nil(&self) -> bool {
        matches!(self, Reply::NilBulk | Reply::NilArray | Reply::Null)
    }

    /// The text of anything that is text, or of a number.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Reply::Simple(b) | Reply::Error(b) | Reply::Bulk(b) | Reply::Double(b) => b.clone(),
            Reply::BigNumber(b) | Reply::BulkError(b) => b.clone(),
            Reply::Verbatim(b) => b.get(4..).unwrap_or_default().to_vec(),
            Reply::Int(n) => n.to_string().into_bytes(),
            other => panic!("no text in {other:?}"),
        }
    }

    /// As `text`, and "(nil)" where there is nothing.
    pub fn text_or_nil(&self) -> String {
        if self.is_nil() { "(nil)".to_owned() } else { self.text() }
    }

    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(n) => *n,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// The elements of an array, set or push; a map as its keys and values in turn.
    #[track_caller]
    pub fn items(&self) -> Vec<Reply> {
        match self {
            Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => items.clone(),
            Reply::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect(),
            other => panic!("not an array: {other:?}"),
        }
    }

    /// The value of a key in a map, or in a flat array of pairs.
    pub fn get(&self, key: &str) -> Option<Reply> {
        let items = self.items();
        items.chunks_exact(2).find(|pair| !pair[0].is_nil() && pair[0].text() == key).map(|pair| pair[1].clone())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(b) => write!(f, "+{}", escape(b)),
            Reply::Error(b) => write!(f, "-{}", escape(b)),
            Reply::BulkError(b) => write!(f, "!{}", escape(b)),
            Reply::Int(n) => write!(f, ":{n}"),
            Reply::Bulk(b) => write!(f, "\"{}\"", escape(b)),
            Reply::Verbatim(b) => write!(f, "=\"{}\"", escape(b)),
            Reply::Double(b) => write!(f, ",{}", escape(b)),
            Reply::BigNumber(b) => write!(f, "({}", escape(b)),
            Reply::Bool(b) => write!(f, "#{b}"),
            Reply::NilBulk => write!(f, "$-1"),
            Reply::NilArray => write!(f, "*-1"),
            Reply::Null => write!(f, "_"),
            Reply::Array(items) => f.debug_list().entries(items).finish(),
            Reply::Set(items) => f.debug_set().entries(items).finish(),
            Reply::Push(items) => write!(f, ">").and_then(|()| f.debug_list().entries(items).finish()),
            Reply::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
        }
    }
}

/// Bytes as a reader can take them in, long runs cut.
pub fn escape(bytes: &[u8]) -> String {
    const SHOWN: usize = 400;
    let shown: String = bytes.iter().take(SHOWN).flat_map(|&b| std::ascii::escape_default(b)).map(char::from).collect();
    if bytes.len() > SHOWN { format!("{shown}... ({} bytes)", bytes.len()) } else { shown }
}

/// A request as a client library would send it.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + args.iter().map(|a| a.as_ref().len() + 16).sum::<usize>());
    encode_into(&mut out, args);
    out
}

pub fn encode_into<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        out.extend_from_slice(arg.as_ref());
        out.extend_from_slice(b"\r\n");
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub struct Conn {
    stream: Stream,
    buf: Vec<u8>,
    /// Bytes of `buf` already given out.
    taken: usize,
}

impl Conn {
    #[track_caller]
    pub fn open(port: u16) -> Conn {
        Conn::try_open(&format!("127.0.0.1:{port}")).unwrap_or_else(|e| panic!("connecting to port {port}: {e}"))
    }

    pub fn try_open(address: &str) -> io::Result<Conn> {
        Conn::over(TcpStream::connect(address)?)
    }

    /// The other end of a connection that a server made: what it sends are requests, which read as arrays.
    pub fn over(stream: TcpStream) -> io::Result<Conn> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Conn { stream: Stream::Tcp(stream), buf: Vec::new(), taken: 0 })
    }

    pub fn open_unix(path: &Path) -> io::Result<Conn> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Conn { stream: Stream::Unix(stream), buf: Vec::new(), taken: 0 })
    }

    pub fn set_timeout(&self, timeout: Duration) {
        let set = match &self.stream {
            Stream::Tcp(s) => s.set_read_timeout(Some(timeout)).and_then(|()| s.set_write_timeout(Some(timeout))),
            Stream::Unix(s) => s.set_read_timeout(Some(timeout)).and_then(|()| s.set_write_timeout(Some(timeout))),
        };
        set.expect("a timeout above zero");
    }

    /// A second handle of the same socket, for a thread that only writes.
    pub fn writer(&self) -> Box<dyn Write + Send> {
        match &self.stream {
            Stream::Tcp(s) => Box::new(s.try_clone().expect("duplicating a socket")),
            Stream::Unix(s) => Box::new(s.try_clone().expect("duplicating a socket")),
        }
    }

    pub fn local_address(&self) -> String {
        match &self.stream {
            Stream::Tcp(s) => s.local_addr().map(|a| a.to_string()).unwrap_or_default(),
            Stream::Unix(_) => String::new(),
        }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(s) => s.write_all(bytes),
            Stream::Unix(s) => s.write_all(bytes),
        }
    }

    pub fn finish_writing(&self) {
        let done = match &self.stream {
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
        };
        // The peer may have closed already, which is as good.
        drop(done);
    }

    /// Closes so that the peer sees a reset instead of an orderly end.
    pub fn reset(self) {
        let Stream::Tcp(stream) = &self.stream else { return };
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the option's value is a `linger` of the size given, alive during the call.
        let done = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
        assert_eq!(done, 0, "SO_LINGER: {}", io::Error::last_os_error());
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        self.send_raw(&encode(args))
    }

    /// Sends the words of `line` and reads the reply. `""` is an empty word; for words with blanks use `argv`.
    #[track_caller]
    pub fn cmd(&mut self, line: &str) -> Reply {
        let words: Vec<&str> = line.split_whitespace().map(|w| if w == "\"\"" { "" } else { w }).collect();
        self.argv(&words)
    }

    #[track_caller]
    pub fn argv<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        let shown = || escape(&args.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(&b' '));
        if let Err(e) = self.send(args) {
            panic!("sending {}: {e}", shown());
        }
        self.read().unwrap_or_else(|e| panic!("no reply to {}: {e}", shown()))
    }

    /// As `cmd`, failing on an error reply.
    #[track_caller]
    pub fn ok(&mut self, line: &str) -> Reply {
        let reply = self.cmd(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
        reply
    }

    pub fn read(&mut self) -> io::Result<Reply> {
        let (reply, _) = self.read_with_len()?;
        Ok(reply)
    }

    /// A reply if a whole one is there already, without waiting for more.
    pub fn read_if_there(&mut self) -> io::Result<Option<Reply>> {
        loop {
            let mut at = self.taken;
            if !matches!(parse(&self.buf, &mut at), Parsed::Wants(_)) {
                return self.read().map(Some);
            }
            if !wait_readable(&[self.fd()], Duration::ZERO)?[0] {
                return Ok(None);
            }
            if self.fill(1)? == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by the server"));
            }
        }
    }

    pub fn fd(&self) -> RawFd {
        match &self.stream {
            Stream::Tcp(s) => s.as_raw_fd(),
            Stream::Unix(s) => s.as_raw_fd(),
        }
    }

    /// A reply and the very bytes it came as.
    pub fn read_raw(&mut self) -> io::Result<(Reply, Vec<u8>)> {
        let (reply, len) = self.read_with_len()?;
        Ok((reply, self.buf[self.taken - len..self.taken].to_vec()))
    }

    fn read_with_len(&mut self) -> io::Result<(Reply, usize)> {
        loop {
            let mut at = self.taken;
            match parse(&self.buf, &mut at) {
                Parsed::Whole(reply) => {
                    let len = at - self.taken;
                    self.taken = at;
                    return Ok((reply, len));
                }
                Parsed::Broken(why) => {
                    let shown = escape(&self.buf[self.taken..]);
                    return Err(io::Error::new(ErrorKind::InvalidData, format!("{why} in \"{shown}\"")));
                }
                Parsed::Wants(more) => {
                    if self.fill(more)? == 0 {
                        let shown = escape(&self.buf[self.taken..]);
                        let why = format!("closed by the server, after \"{shown}\"");
                        return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
                    }
                }
            }
        }
    }

    /// Reads at least once and up to `wanted` bytes more (a bulk's rest), so that a long value is not parsed again per chunk.
    fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        if self.taken > READ_CHUNK_BYTES && self.taken * 2 > self.buf.len() {
            self.buf.drain(..self.taken);
            self.taken = 0;
        }
        let mut got = 0;
        loop {
            let start = self.buf.len();
            self.buf.resize(start + wanted.saturating_sub(got).clamp(READ_CHUNK_BYTES, 16 * READ_CHUNK_BYTES), 0);
            let read = match &mut self.stream {
                Stream::Tcp(s) => s.read(&mut self.buf[start..]),
                Stream::Unix(s) => s.read(&mut self.buf[start..]),
            };
            self.buf.truncate(start + *read.as_ref().unwrap_or(&0));
            let n = match read {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            };
            got += n;
            if n == 0 || got >= wanted {
                return Ok(got);
            }
        }
    }

    /// Reads what is there, at least once, and drops it; how many bytes it was.
    pub fn skip(&mut self) -> io::Result<usize> {
        let got = self.fill(1)?;
        self.buf.clear();
        self.taken = 0;
        if got == 0 { Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by the server")) } else { Ok(got) }
    }

    /// Everything up to the end of the stream; a reset counts as the end.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill(1) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if is_gone(&e) => break,
                Err(e) => return Err(e),
            }
        }
        let rest = self.buf.split_off(self.taken);
        Ok(rest)
    }

    /// Whether the server has closed this connection, waiting up to the read timeout for it.
    pub fn closed(&mut self) -> bool {
        self.read_to_end().is_ok()
    }
}

/// Waits until there is something to read, or the end of a stream; which descriptors have it.
pub fn wait_readable(fds: &[RawFd], timeout: Duration) -> io::Result<Vec<bool>> {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the pointer and the count are those of one vector, alive during the call.
    let found =
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout.as_millis() as libc::c_int) };
    if found < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(polled.iter().map(|p| p.revents != 0).collect())
}

/// The peer is gone, in one of the ways TCP has of saying so.
pub fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

enum Parsed {
    Whole(Reply),
    /// At least so many bytes are missing.
    Wants(usize),
    Broken(&'static str),
}

fn parse(buf: &[u8], at: &mut usize) -> Parsed {
    let Some(rest) = buf.get(*at..) else { return Parsed::Wants(1) };
    let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else { return Parsed::Wants(1) };
    let (kind, line) = (rest.first().copied().unwrap_or(0), rest.get(1..end).unwrap_or_default());
    *at += end + 2;
    match kind {
        b'+' => Parsed::Whole(Reply::Simple(line.to_vec())),
        b'-' => Parsed::Whole(Reply::Error(line.to_vec())),
        b',' => Parsed::Whole(Reply::Double(line.to_vec())),
        b'(' => Parsed::Whole(Reply::BigNumber(line.to_vec())),
        b'_' if line.is_empty() => Parsed::Whole(Reply::Null),
        b'#' if line == b"t" || line == b"f" => Parsed::Whole(Reply::Bool(line == b"t")),
        b':' => number(line).map_or(Parsed::Broken("not a number"), |n| Parsed::Whole(Reply::Int(n))),
        b'$' | b'=' | b'!' => match number(line) {
            Some(-1) if kind == b'$' => Parsed::Whole(Reply::NilBulk),
            Some(len) if len >= 0 => parse_bulk(buf, at, kind, len as usize),
            _ => Parsed::Broken("a bad length"),
        },
        b'*' | b'~' | b'>' | b'%' => match number(line) {
            Some(-1) if kind == b'*' => Parsed::Whole(Reply::NilArray),
            Some(len) if len >= 0 => parse_items(buf, at, kind, len as usize),
            _ => Parsed::Broken("a bad count"),
        },
        _ => Parsed::Broken("an unknown reply type"),
    }
}

fn parse_bulk(buf: &[u8], at: &mut usize, kind: u8, len: usize) -> Parsed {
    let Some(body) = buf.get(*at..*at + len + 2) else { return Parsed::Wants(*at + len + 2 - buf.len()) };
    if &body[len..] != b"\r\n" {
        return Parsed::Broken("a bulk without its end");
    }
    *at += len + 2;
    let body = body[..len].to_vec();
    Parsed::Whole(match kind {
        b'=' => Reply::Verbatim(body),
        b'!' => Reply::BulkError(body),
        _ => Reply::Bulk(body),
    })
}

fn parse_items(buf: &[u8], at: &mut usize, kind: u8, len: usize) -> Parsed {
    let count = if kind == b'%' { len * 2 } else { len };
    let mut items = Vec::new();
    for _ in 0..count {
        match parse(buf, at) {
            Parsed::Whole(item) => items.push(item),
            other => return other,
        }
    }
    Parsed::Whole(match kind {
        b'~' => Reply::Set(items),
        b'>' => Reply::Push(items),
        b'%' => {
            let mut pairs = Vec::with_capacity(len);
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Reply::Map(pairs)
        }
        _ => Reply::Array(items),
    })
}

fn number(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}
