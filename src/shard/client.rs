//! One connected client: its session, its unparsed input, its replies.

use std::net::SocketAddr;
use std::time::Instant;

use super::blocked::Blocked;
use super::limits::REPLIES_WAITING;
use super::multi::{Multi, Running};
use super::reply::Replies;
use super::watch::Watched;
use crate::commands::clients::ReplyMode;
use crate::commands::lookup::CommandId;
use crate::replication::status::Hello;
use crate::resp::parser::Parser;
use crate::resp::{Out, OwnedArgs, Proto};
use crate::runtime::SocketId;
use crate::runtime::net::Ends;
use crate::tracking::Settings;

/// Bytes in.
#[derive(Default)]
pub struct Input {
    pub parser: Parser,
    /// Bytes of an incomplete command, or of commands that wait for the client to go on.
    pub bytes: Vec<u8>,
    /// The command at the front of `bytes` is parsed already and this long.
    pub parsed: Option<usize>,
    /// The client sends no more.
    pub ended: bool,
}

/// A client with its input apart, so that a command can refer to the one while it changes the other.
pub struct Connection {
    pub input: Input,
    pub client: Client,
}

/// Why a client's next command does not run yet. A set; empty means go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall(u16);

impl Stall {
    /// The next command waits for the replies of all before it.
    pub const BARRIER: Stall = Stall(1);
    /// A coordinator task works on its command.
    pub const TASK: Stall = Stall(1 << 1);
    /// The way to another core is full.
    pub const OUTBOX: Stall = Stall(1 << 2);
    /// The client does not read what it asked for.
    pub const OUTPUT: Stall = Stall(1 << 3);
    /// CLIENT PAUSE.
    pub const PAUSE: Stall = Stall(1 << 4);
    /// It had its share of this tick.
    pub const TURN: Stall = Stall(1 << 5);
    /// Nothing more is read: the connection ends when its replies are out.
    pub const ENDING: Stall = Stall(1 << 6);
    /// Too many of its replies are still with other cores.
    pub const REPLIES: Stall = Stall(1 << 7);
    /// A command or block over several cores is under way.
    pub const TRANSACTION: Stall = Stall(1 << 8);
    /// Its command waits for a key, or for the time.
    pub const BLOCKED: Stall = Stall(1 << 9);
    /// It goes to the replication executor.
    pub const LEAVING: Stall = Stall(1 << 10);
    /// A command is at work that has not answered yet.
    pub const WORKING: Stall = Stall(Stall::TASK.0 | Stall::TRANSACTION.0);

    #[inline]
    pub fn any(self) -> bool {
        self.0 != 0
    }

    pub fn has(self, other: Stall) -> bool {
        self.0 & other.0 != 0
    }

    pub fn add(&mut self, other: Stall) {
        self.0 |= other.0;
    }

    pub fn remove(&mut self, other: Stall) {
        self.0 &= !other.0;
    }
}

/// What makes a client's commands go another way than straight to their execution. All false for nearly every client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// Commands are queued since MULTI.
    pub in_multi: bool,
    /// The commands of EXEC are running.
    pub in_block: bool,
    /// It is no client, but applies what a primary has propagated.
    pub applies: bool,
}

impl Modes {
    #[inline]
    pub fn any(self) -> bool {
        self != Modes::default()
    }
}

pub struct Client {
    pub id: u64,
    pub socket: SocketId,
    pub ends: Ends,
    /// The path of the UNIX socket it came through.
    pub unix_path: Option<String>,
    pub name: String,
    pub lib_name: String,
    pub lib_version: String,
    pub database: usize,
    pub proto: Proto,
    pub authenticated: bool,
    pub monitor: bool,
    /// It has subscriptions, to channels, patterns or shard channels.
    pub subscribed: bool,
    pub no_evict: bool,
    pub no_touch: bool,
    /// CLIENT TRACKING, while it is on.
    pub tracking: Option<Box<Settings>>,
    /// The keys that its next command reads are to be remembered.
    pub tracks: bool,
    pub reply_mode: ReplyMode,
    pub modes: Modes,
    /// What waits for EXEC.
    pub multi: Option<Box<Multi>>,
    /// What EXEC runs.
    pub running: Option<Box<Running>>,
    /// The command that waits.
    pub blocked: Option<Box<Blocked>>,
    /// The keys that the next EXEC depends on.
    pub watched: Vec<Watched>,
    /// The keys that the running EXEC depended on.
    pub unwatch_after: Vec<Watched>,
    /// The command at work is not to be answered.
    pub muted: bool,
    pub stall: Stall,
    pub replies: Replies,
    /// Replies to be sent next.
    pub out: Out,
    /// What follows the reply of the task at work.
    pub held: Option<Box<Out>>,
    /// Bytes of the send in flight.
    pub sending_bytes: usize,
    /// Whether the client is in the shard's list of those with something to send.
    pub queued: bool,
    /// Since when its output is above the soft limit.
    pub over_soft_limit: Option<Instant>,
    /// A message has taken its output above the hard limit: it gets no more, and is closed at the end of the tick.
    pub overflowed: bool,
    /// It is gone, and stays only until its block has run.
    pub leaving: bool,
    /// What it has said of itself with REPLCONF.
    pub hello: Option<Box<Hello>>,
    /// It is to be handed over, with its PSYNC.
    pub leaves: Option<Box<(OwnedArgs, Hello)>>,
    pub last_command: Option<CommandId>,
    /// It has sent a command that writes, so WAIT has something to wait for.
    pub wrote: bool,
    pub connected_ms: u64,
    pub active_ms: u64,
}

impl Client {
    pub fn new(
        id: u64,
        socket: SocketId,
        ends: Ends,
        unix_path: Option<String>,
        authenticated: bool,
        now_ms: u64,
    ) -> Client {
        Client {
            id,
            socket,
            ends,
            unix_path,
            name: String::new(),
            lib_name: String::new(),
            lib_version: String::new(),
            database: 0,
            proto: Proto::Resp2,
            authenticated,
            monitor: false,
            subscribed: false,
            no_evict: false,
            no_touch: false,
            tracking: None,
            tracks: false,
            reply_mode: ReplyMode::On,
            modes: Modes::default(),
            multi: None,
            running: None,
            blocked: None,
            watched: Vec::new(),
            unwatch_after: Vec::new(),
            muted: false,
            stall: Stall::default(),
            replies: Replies::default(),
            out: Out::default(),
            held: None,
            sending_bytes: 0,
            queued: false,
            over_soft_limit: None,
            overflowed: false,
            leaving: false,
            hello: None,
            leaves: None,
            last_command: None,
            wrote: false,
            connected_ms: now_ms,
            active_ms: now_ms,
        }
    }

    /// Keeps its next commands back while too many of its replies are with other cores.
    pub fn limit_replies(&mut self) {
        if self.replies.len() >= REPLIES_WAITING {
            self.stall.add(Stall::REPLIES);
        }
    }

    /// Output that the client has not taken yet, in bytes.
    pub fn output_bytes(&self) -> usize {
        let kept = self.running.as_ref().map_or(0, |running| running.later.len());
        let held = self.held.as_ref().map_or(0, |held| held.len());
        self.out.len() + held + self.sending_bytes + self.replies.stashed_bytes() + kept
    }

    /// Appends a message that comes beside its replies. `hard_limit` bounds its output in bytes, 0 does not. Returns whether it is to be
    /// put into the list of those with something to send.
    pub fn push(&mut self, message: &Out, hard_limit: u64) -> bool {
        if self.overflowed || self.stall.has(Stall::ENDING) {
            return false;
        }
        match &mut self.running {
            // The block is in the middle of its reply.
            Some(running) if self.modes.in_block => running.later.append(message),
            _ => self.out.append(message),
        }
        self.overflowed = hard_limit > 0 && self.output_bytes() as u64 > hard_limit;
        !std::mem::replace(&mut self.queued, true)
    }

    /// The peer as Redis prints it: `ip:port`, or `path:0` for a UNIX socket.
    pub fn address(&self) -> String {
        self.shown(self.ends.peer)
    }

    /// The local end, printed likewise.
    pub fn local_address(&self) -> String {
        self.shown(self.ends.local)
    }

    fn shown(&self, address: Option<SocketAddr>) -> String {
        match (address, &self.unix_path) {
            (Some(address), _) => address.to_string(),
            (None, Some(path)) => format!("{path}:0"),
            (None, None) => "?:0".into(),
        }
    }

    /// Back to the state of a new connection (RESET).
    pub fn reset(&mut self, authenticated: bool) {
        self.name.clear();
        self.database = 0;
        self.proto = Proto::Resp2;
        self.authenticated = authenticated;
        self.monitor = false;
        self.no_evict = false;
        self.no_touch = false;
        self.reply_mode = ReplyMode::On;
        self.muted = false;
    }
}
