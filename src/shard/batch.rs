//! What crosses between cores.
//!
//! A [`Batch`] carries the commands that one core has for another in one tick, and comes back with their replies in the same memory: a steady
//! flow between two cores allocates nothing, and every batch is freed where it was made.

use std::any::Any;
use std::ops::Range;
use std::os::fd::OwnedFd;

use bytes::Bytes;

use super::checkout::CheckOut;
use super::publish::Publications;
use super::serving::Offer;
use super::watch::Watched;
use super::{Shard, ShardIo};
use crate::commands::lookup::CommandId;
use crate::keyspace::KeyHash;
use crate::replication::Control;
use crate::replication::log::LogBatch;
use crate::replication::status::Hello;
use crate::resp::{Args, Out, OwnedArgs, Proto, Span};
use crate::runtime::SocketId;
use crate::runtime::net::Ends;
use crate::tracking::Messages;

/// A function for another core to run.
pub type Job = Box<dyn FnOnce(&mut Shard, &mut ShardIo) + Send>;

/// A message from one executor to another.
pub enum Message {
    /// Execute these commands, and send the batch back.
    Requests(Box<Batch>),
    /// The batch with its replies.
    Replies(Box<Batch>),
    /// Hand out these keys.
    CheckOut(Box<CheckOut>),
    /// The keys with their entries, or not.
    CheckedOut(Box<CheckOut>),
    /// The entries come home.
    CheckIn(Box<CheckOut>),
    /// Messages for subscribers.
    Publications(Box<Publications>),
    /// The same with the numbers of those who got them.
    Published(Box<Publications>),
    /// A key is ready for a blocked client of that core.
    Offer(Box<Offer>),
    /// The key comes back.
    Offered(Box<Offer>),
    /// A connection accepted elsewhere, to be served here.
    Connection(Box<Arrival>),
    /// What has changed, for clients over there that track keys.
    Changed(Box<Messages>),
    /// Anything rare: runs over there.
    Run(Job),
    /// What a [`Message::Run`] answers; the token names who waits.
    Answer { token: usize, value: Box<dyn Any + Send> },
    /// To the replication executor: what the writes of a tick propagate.
    Log(Box<LogBatch>),
    /// To the replication executor: a connection that wants to be a replica.
    Handover(Box<Handover>),
    /// To the replication executor: a part of a snapshot.
    Chunk(Box<Chunk>),
    /// To the replication executor: anything rare, runs over there.
    Control(Control),
    /// From the replication executor to the first shard: commands of the primary's stream, in RESP, that concern more than one core. They run in order
    /// through the virtual client; when all have, a [`Message::Control`] says so.
    Apply { bytes: Vec<u8> },
    /// The process ends: finish this executor.
    Stop,
}

/// A connection on its way from a shard to the replication executor. Nothing of it is being received or sent.
pub struct Handover {
    pub fd: OwnedFd,
    pub ends: Ends,
    pub client_id: u64,
    pub name: String,
    pub connected_ms: u64,
    /// What it said with REPLCONF.
    pub hello: Hello,
    /// Its PSYNC or SYNC.
    pub request: OwnedArgs,
    /// What it sent behind that.
    pub rest: Vec<u8>,
}

/// A part of a snapshot.
pub struct Chunk {
    /// Which snapshot.
    pub id: u64,
    pub shard: usize,
    /// The database of all its records; of a frame it says so itself.
    pub db: u32,
    pub records: u64,
    /// Its last record goes on in the next chunk of the same core, before which no other core's may come.
    pub open: bool,
    pub data: Bytes,
    /// This core has no more.
    pub last: bool,
}

/// A freshly accepted connection.
pub struct Arrival {
    pub fd: OwnedFd,
    pub ends: Ends,
    /// Which listener it came from.
    pub listener: u32,
}

/// Where a command comes from.
#[derive(Clone, Copy)]
pub struct Origin {
    /// Who waits for the reply.
    pub socket: SocketId,
    /// Its place in the connection's reply queue.
    pub sequence: u32,
    pub database: u16,
    pub proto: Proto,
    /// Whether it counts as an access to its keys.
    pub touches: bool,
    /// Whether the keys it reads are to be remembered.
    pub tracks: bool,
    /// Whether it comes from this node's primary.
    pub applied: bool,
}

/// One command on its way to the core that owns its keys.
#[derive(Clone, Copy)]
pub struct Request {
    pub origin: Origin,
    pub command: CommandId,
    /// The slot of its key, if it has one and whoever sent it knew it.
    pub slot: Option<u16>,
    /// The hash of that key, once the core that executes it has looked.
    pub hash: Option<KeyHash>,
    /// Its bytes are the request as its client sent it.
    framed: bool,
    first_byte: u32,
    bytes: u32,
    first_span: u32,
    spans: u32,
    first_big: u32,
}

/// How a request went.
#[derive(Clone, Copy)]
pub struct Response {
    /// Where its reply ends in `replies.buf`; it begins where the one before ends.
    pub end: usize,
    pub nanoseconds: u64,
    pub failed: bool,
    /// It waits for a lock, and its reply comes in another batch.
    pub deferred: bool,
}

/// That a batch is one MULTI block, and runs as a whole or not at all.
pub struct Block {
    /// Keys that must not have changed since they were watched.
    pub watched: Vec<Watched>,
    /// One has.
    pub broken: bool,
}

#[derive(Default)]
pub struct Batch {
    data: Vec<u8>,
    spans: Vec<Span>,
    bigs: Vec<Bytes>,
    pub requests: Vec<Request>,
    pub replies: Out,
    pub responses: Vec<Response>,
    pub block: Option<Box<Block>>,
}

/// A batch whose buffers have grown beyond this is not kept for reuse.
const KEEP_BYTES: usize = 256 * 1024;

impl Batch {
    /// Appends a command. `slot` is that of its key, if it has one and that is known.
    pub fn push(&mut self, origin: Origin, command: CommandId, args: &Args<'_>, slot: Option<u16>) {
        let (first_byte, first_span, first_big) = (self.data.len(), self.spans.len(), self.bigs.len());
        if let Some(frame) = args.frame() {
            let (_, spans, _) = args.parts();
            self.data.extend_from_slice(frame);
            self.spans.extend_from_slice(spans);
        } else {
            for i in 0..args.len() {
                match args.separate(i) {
                    Some(big) => {
                        self.spans.push(Span::separate(self.bigs.len() - first_big));
                        self.bigs.push(big.clone());
                    }
                    None => {
                        let arg = args.get(i);
                        self.spans.push(Span::inline(self.data.len() - first_byte, arg.len()));
                        self.data.extend_from_slice(arg);
                    }
                }
            }
        }
        self.requests.push(Request {
            origin,
            command,
            slot,
            hash: None,
            framed: args.frame().is_some(),
            first_byte: first_byte as u32,
            bytes: (self.data.len() - first_byte) as u32,
            first_span: first_span as u32,
            spans: args.len() as u32,
            first_big: first_big as u32,
        });
    }

    /// Bytes of arguments it carries, large ones not counted.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Bytes it holds on to, large arguments included.
    pub fn held_bytes(&self) -> usize {
        let spans = self.spans.len() * size_of::<Span>();
        self.data.len() + spans + self.bigs.iter().map(Bytes::len).sum::<usize>()
    }

    /// The arguments of a request.
    pub fn args(&self, request: &Request) -> Args<'_> {
        let data = &self.data[request.first_byte as usize..(request.first_byte + request.bytes) as usize];
        let spans = &self.spans[request.first_span as usize..(request.first_span + request.spans) as usize];
        if request.framed {
            return Args::framed(data, spans);
        }
        Args::new(data, spans, &self.bigs[request.first_big as usize..])
    }

    /// Executes requests, those before them having been executed, with `execute`, which writes one reply and says how it went.
    pub fn execute(&mut self, which: Range<usize>, mut execute: impl FnMut(&Request, &Args<'_>, &mut Out) -> Response) {
        let mut replies = std::mem::take(&mut self.replies);
        let mut responses = std::mem::take(&mut self.responses);
        for request in &self.requests[which] {
            responses.push(execute(request, &self.args(request), &mut replies));
        }
        self.replies = replies;
        self.responses = responses;
    }

    /// Empties the batch for reuse; `None` if it has grown too large to keep.
    pub fn recycle(mut self: Box<Batch>) -> Option<Box<Batch>> {
        if self.data.capacity() + self.replies.buf.capacity() > KEEP_BYTES {
            return None;
        }
        self.data.clear();
        self.spans.clear();
        self.bigs.clear();
        self.requests.clear();
        self.replies.clear();
        self.responses.clear();
        self.block = None;
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::parser::{Limits, Parser};

    /// The frame of a request, and its arguments.
    type Carried<'a> = (Option<&'a [u8]>, Vec<&'a [u8]>);

    #[test]
    fn requests_carry_what_their_clients_sent() {
        let origin = Origin {
            socket: SocketId { index: 0, generation: 0 },
            sequence: 0,
            database: 0,
            proto: Proto::Resp2,
            touches: true,
            tracks: false,
            applied: false,
        };
        let frames: [&[u8]; 2] = [b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n12\r\n", b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"];
        let mut large = OwnedArgs::from_iter(["SET", "c"]);
        large.push_separate(Bytes::from(vec![b'x'; 100]));
        let mut batch = Batch::default();
        let mut parser = Parser::default();
        for frame in frames {
            assert!(parser.parse(frame, &Limits::default()).is_ok());
            batch.push(origin, CommandId(1), &parser.args(frame), None);
            batch.push(origin, CommandId(2), &large.args(), None);
            batch.push(origin, CommandId(3), &OwnedArgs::from_iter(["DEL", "d", ""]).args(), None);
        }
        let carried: Vec<Carried<'_>> = batch
            .requests
            .iter()
            .map(|request| batch.args(request))
            .map(|args| (args.frame(), (0..args.len()).map(|i| args.get(i)).collect()))
            .collect();
        let value = [b'x'; 100];
        let (set, del): (Vec<&[u8]>, Vec<&[u8]>) = (vec![b"SET", b"c", &value], vec![b"DEL", b"d", b""]);
        let expected = [
            (Some(frames[0]), vec![&b"SET"[..], b"a", b"12"]),
            (None, set.clone()),
            (None, del.clone()),
            (Some(frames[1]), vec![&b"GET"[..], b"b"]),
            (None, set),
            (None, del),
        ];
        assert_eq!(carried, expected);
    }
}
