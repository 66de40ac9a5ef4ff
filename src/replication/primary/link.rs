//! One connection to a replica: where it stands, what it is to be sent, and what it says.
//!
//! Invariants
//! - one [`Action::Send`](super::Action::Send) is under way at a time; the next is made when all of it has left
//! - what is sent is, in this order: replies to its request, the snapshot, and the stream from the cut (or from where it was) on without a gap
//! - a replica in the stream says nothing but REPLCONF ACK and newlines; whoever makes us reply is no replica and is cut off, as in Redis

use super::snapshot::Snapshot;
use super::stream::Stream;
use super::{LinkId, Newcomer};
use crate::replication::status::{ReplicaState, ReplicaStatus};
use crate::resp::parser::{Limits, Parsed, Parser};
use crate::resp::{Args, Out};
use crate::types::numbers::parse_i64;

/// Bytes of one send: enough to keep a socket busy, little enough to see how a slow replica gets on.
const SEND_BYTES: usize = 512 << 10;

/// What a replica may send in one command. Its commands are short.
const LIMITS: Limits =
    Limits { max_bulk_bytes: 8 << 10, max_inline_bytes: 16 << 10, max_multibulk: 32, authenticated: true };

/// Bytes that a replica may send in one go before they are read; more cannot be one command.
const MAX_INPUT_BYTES: usize = 512 << 10;

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// For the next snapshot.
    Waiting { since_ms: u64 },
    /// Its snapshot is asked for, or goes to a file first.
    Chosen,
    /// It gets a snapshot as that is made; so many bytes of it were taken to be sent.
    Snapshot { taken: u64 },
    /// It gets a snapshot from a file.
    File { spool: u64, taken: u64, len: u64, asked: bool },
    /// It has all of a snapshot that ends with a mark. It will say when it has found the mark: nothing may follow before.
    Loading,
    /// In the stream.
    Online,
    /// It is closed when the last reply to it has left.
    Leaving,
}

/// What is under way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Replies,
    Snapshot,
    Stream,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    kind: Kind,
    left: usize,
}

/// What a replica has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A newline: it is busy, and there.
    Alive,
    Ack {
        offset: u64,
        fsynced: Option<u64>,
    },
    /// What needs no answer.
    Nothing,
    /// Something that a replica does not say; the command's name.
    Rogue(String),
    /// No protocol at all.
    Broken(String),
}

pub struct Link {
    pub id: LinkId,
    pub newcomer: Newcomer,
    pub phase: Phase,
    /// It came with SYNC: it may not know of acknowledgements.
    pub old: bool,
    /// Up to where the stream was taken to be sent; what follows is kept for it. `None` before the cut.
    pub position: Option<u64>,
    pub ack: u64,
    pub fsynced: u64,
    /// When it last said anything of its state.
    pub ack_ms: u64,
    /// When something of a snapshot last left to it.
    pub progress_ms: u64,
    /// Since when it is above the soft limit.
    pub soft_since_ms: Option<u64>,
    /// The last time anything came or went.
    pub active_ms: u64,
    replies: Vec<u8>,
    /// Bytes of its file, read and not sent.
    file_part: Option<bytes::Bytes>,
    flight: Option<Flight>,
    parser: Parser,
    input: Vec<u8>,
}

impl Link {
    pub fn new(id: LinkId, newcomer: Newcomer, old: bool, now_ms: u64) -> Link {
        Link {
            id,
            newcomer,
            phase: Phase::Waiting { since_ms: now_ms },
            old,
            position: None,
            ack: 0,
            fsynced: 0,
            ack_ms: now_ms,
            progress_ms: now_ms,
            soft_since_ms: None,
            active_ms: now_ms,
            replies: Vec::new(),
            file_part: None,
            flight: None,
            parser: Parser::default(),
            input: Vec::new(),
        }
    }

    /// How log lines call it.
    pub fn display(&self) -> String {
        match (self.ip(), self.newcomer.hello.listening_port) {
            (None, _) => format!("client id #{}", self.id),
            (Some(ip), 0) => format!("{ip}:<unknown-replica-port>"),
            (Some(ip), port) if ip.contains(':') => format!("[{ip}]:{port}"),
            (Some(ip), port) => format!("{ip}:{port}"),
        }
    }

    /// As it has announced itself, or where it comes from.
    pub fn ip(&self) -> Option<String> {
        let announced = &self.newcomer.hello.ip_address;
        if !announced.is_empty() {
            return Some(announced.clone());
        }
        self.newcomer.peer.map(|peer| peer.ip().to_string())
    }

    /// Whether it counts as a replica that follows, as Redis has it.
    pub fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online | Phase::Loading)
    }

    /// Seconds since it last acknowledged.
    pub fn lag_s(&self, now_ms: u64) -> u64 {
        if self.is_online() { now_ms.saturating_sub(self.ack_ms) / 1000 } else { 0 }
    }

    /// Bytes of the stream that have not left to it.
    pub fn pending(&self, end: u64) -> u64 {
        let in_flight = self.flight.filter(|flight| flight.kind == Kind::Stream).map_or(0, |flight| flight.left);
        self.position.map_or(0, |position| end - position) + in_flight as u64
    }

    pub fn status(&self, end: u64, now_ms: u64, now_unix_ms: u64) -> ReplicaStatus {
        ReplicaStatus {
            client_id: self.id,
            ip: self.ip().unwrap_or_default(),
            port: self.newcomer.hello.listening_port,
            state: match self.phase {
                Phase::Waiting { .. } | Phase::Chosen | Phase::Leaving => ReplicaState::Waiting,
                Phase::Snapshot { .. } | Phase::File { .. } => ReplicaState::Sending,
                Phase::Loading | Phase::Online => ReplicaState::Online,
            },
            offset: self.ack,
            lag_s: self.lag_s(now_ms),
            peer: self.newcomer.peer,
            local: self.newcomer.local,
            name: self.newcomer.name.clone(),
            fd: self.newcomer.fd,
            connected_ms: self.newcomer.connected_ms,
            active_ms: now_unix_ms.saturating_sub(now_ms.saturating_sub(self.active_ms)),
            output_bytes: self.pending(end),
        }
    }

    // Out

    /// Says something to it, before anything else that is not yet under way.
    pub fn reply(&mut self, text: &str) {
        self.replies.extend_from_slice(text.as_bytes());
    }

    pub fn reply_bytes(&mut self, bytes: &[u8]) {
        self.replies.extend_from_slice(bytes);
    }

    /// A sign of life while it waits. Nothing, if even the last one has not left.
    pub fn keep_alive(&mut self) {
        if self.flight.is_none() && self.replies.is_empty() {
            self.reply("\n");
        }
    }

    /// Whether all that was said to it has left.
    pub fn is_silent(&self) -> bool {
        self.flight.is_none() && self.replies.is_empty()
    }

    /// Whether something is on its way to it.
    pub fn is_sending(&self) -> bool {
        self.flight.is_some()
    }

    /// What was asked for of its file.
    pub fn file_part(&mut self, part: bytes::Bytes) {
        if let Phase::File { asked, .. } = &mut self.phase {
            *asked = false;
            self.file_part = Some(part);
        }
    }

    /// Where in its file the next part to be read begins, and how long it is.
    pub fn wants_file(&mut self) -> Option<(u64, usize)> {
        let Phase::File { taken, len, asked, .. } = &mut self.phase else { return None };
        if *asked || self.file_part.is_some() || taken == len {
            return None;
        }
        *asked = true;
        Some((*taken, (*len - *taken).min(SEND_BYTES as u64) as usize))
    }

    /// Fills `out` with what is to be sent next; leaves it empty if there is nothing, or the last has not left.
    pub fn take(&mut self, stream: &Stream, snapshot: Option<&Snapshot>, out: &mut Out) {
        if self.flight.is_some() {
            return;
        }
        let kind = self.fill(stream, snapshot, out);
        if !out.is_empty() {
            self.flight = Some(Flight { kind, left: out.len() });
        }
    }

    fn fill(&mut self, stream: &Stream, snapshot: Option<&Snapshot>, out: &mut Out) -> Kind {
        if !self.replies.is_empty() {
            out.buf.append(&mut self.replies);
            return Kind::Replies;
        }
        match &mut self.phase {
            Phase::Snapshot { taken } => {
                if let Some(snapshot) = snapshot {
                    *taken += snapshot.read(*taken, SEND_BYTES, out) as u64;
                }
                Kind::Snapshot
            }
            Phase::File { taken, .. } => {
                if let Some(part) = self.file_part.take() {
                    *taken += part.len() as u64;
                    out.attached.push((0, part));
                }
                Kind::Snapshot
            }
            Phase::Online => {
                if let (Some(position), Some(backlog)) = (&mut self.position, stream.bytes())
                    && *position < backlog.end()
                {
                    *position += backlog.read(*position, SEND_BYTES, out) as u64;
                }
                Kind::Stream
            }
            Phase::Waiting { .. } | Phase::Chosen | Phase::Loading | Phase::Leaving => Kind::Replies,
        }
    }

    /// Takes account of bytes that have left.
    pub fn sent(&mut self, bytes: usize, now_ms: u64) {
        self.active_ms = now_ms;
        let Some(flight) = &mut self.flight else { return };
        debug_assert!(bytes <= flight.left);
        flight.left = flight.left.saturating_sub(bytes);
        if flight.kind == Kind::Snapshot {
            self.progress_ms = now_ms;
        }
        if flight.left == 0 {
            self.flight = None;
        }
    }

    /// How far it has a snapshot that is sent as it is made.
    pub fn has_snapshot_to(&self) -> Option<u64> {
        let Phase::Snapshot { taken } = self.phase else { return None };
        let in_flight = self.flight.filter(|flight| flight.kind == Kind::Snapshot).map_or(0, |flight| flight.left);
        Some(taken - in_flight as u64)
    }

    /// Whether it has all of its file.
    pub fn has_file(&self) -> bool {
        matches!(self.phase, Phase::File { taken, len, .. } if taken == len) && self.is_silent()
    }

    // In

    /// Takes bytes from it, and gives what they say to `hear` until that returns false.
    pub fn received(&mut self, bytes: &[u8], now_ms: u64, mut hear: impl FnMut(&mut Link, Said) -> bool) {
        self.active_ms = now_ms;
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while at < input.len() {
            let (consumed, said) = match self.parser.parse(&input[at..], &LIMITS) {
                Ok(Parsed::Nothing { consumed }) => (consumed, Said::Alive),
                Ok(Parsed::Command { consumed }) => (consumed, said(&self.parser.args(&input[at..]))),
                Ok(Parsed::Incomplete) if input.len() - at <= MAX_INPUT_BYTES => break,
                Ok(Parsed::Incomplete | Parsed::Large { .. }) => (0, Said::Broken("too long a command".into())),
                Err(error) => (0, Said::Broken(error.to_string())),
            };
            at += consumed;
            let over = matches!(said, Said::Broken(_));
            if !hear(self, said) || over {
                return;
            }
        }
        self.input = input;
        self.input.drain(..at);
    }
}

/// What a command of a replica says.
fn said(args: &Args<'_>) -> Said {
    if args.is(0, "sync") || args.is(0, "psync") {
        return Said::Nothing; // as in Redis, whoever is a replica already
    }
    let rogue = || Said::Rogue(String::from_utf8_lossy(&args.get(0)[..args.get(0).len().min(64)]).into_owned());
    if !args.is(0, "replconf") || args.len() < 3 || args.len().is_multiple_of(2) {
        return rogue();
    }
    if args.is(1, "getack") {
        return Said::Nothing;
    }
    if !args.is(1, "ack") {
        return rogue();
    }
    let offset = |i: usize| args.opt(i).and_then(parse_i64).and_then(|offset| u64::try_from(offset).ok());
    let Some(acknowledged) = offset(2) else { return Said::Nothing };
    let fsynced = if args.len() > 4 && args.is(3, "fack") { offset(4) } else { None };
    Said::Ack { offset: acknowledged, fsynced }
}
