//! What is told of a connection, and CLIENT LIST's line of it.

use std::fmt::Write;

use super::proto_number;
use crate::commands::Error;
use crate::commands::error::c_string;
use crate::resp::Proto;

/// A set of client flags, as CLIENT LIST's `flags=` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFlags(u32);

impl ClientFlags {
    pub const NONE: ClientFlags = ClientFlags(0);
    pub const MONITOR: ClientFlags = ClientFlags(1);
    pub const REPLICA: ClientFlags = ClientFlags(1 << 1);
    pub const MASTER: ClientFlags = ClientFlags(1 << 2);
    pub const PUBSUB: ClientFlags = ClientFlags(1 << 3);
    pub const MULTI: ClientFlags = ClientFlags(1 << 4);
    pub const BLOCKED: ClientFlags = ClientFlags(1 << 5);
    pub const TRACKING: ClientFlags = ClientFlags(1 << 6);
    pub const TRACKING_BROKEN_REDIRECT: ClientFlags = ClientFlags(1 << 7);
    pub const TRACKING_BROADCAST: ClientFlags = ClientFlags(1 << 8);
    /// A watched key has changed.
    pub const DIRTY_WATCH: ClientFlags = ClientFlags(1 << 9);
    pub const CLOSE_AFTER_REPLY: ClientFlags = ClientFlags(1 << 10);
    pub const UNBLOCKED: ClientFlags = ClientFlags(1 << 11);
    pub const CLOSE_NOW: ClientFlags = ClientFlags(1 << 12);
    pub const UNIX_SOCKET: ClientFlags = ClientFlags(1 << 13);
    /// READONLY of a cluster client.
    pub const READONLY: ClientFlags = ClientFlags(1 << 14);
    pub const NO_EVICT: ClientFlags = ClientFlags(1 << 15);
    pub const NO_TOUCH: ClientFlags = ClientFlags(1 << 16);

    /// In the order in which CLIENT LIST prints them.
    const LETTERS: [(ClientFlags, char); 17] = [
        (ClientFlags::MONITOR, 'O'),
        (ClientFlags::REPLICA, 'S'),
        (ClientFlags::MASTER, 'M'),
        (ClientFlags::PUBSUB, 'P'),
        (ClientFlags::MULTI, 'x'),
        (ClientFlags::BLOCKED, 'b'),
        (ClientFlags::TRACKING, 't'),
        (ClientFlags::TRACKING_BROKEN_REDIRECT, 'R'),
        (ClientFlags::TRACKING_BROADCAST, 'B'),
        (ClientFlags::DIRTY_WATCH, 'd'),
        (ClientFlags::CLOSE_AFTER_REPLY, 'c'),
        (ClientFlags::UNBLOCKED, 'u'),
        (ClientFlags::CLOSE_NOW, 'A'),
        (ClientFlags::UNIX_SOCKET, 'U'),
        (ClientFlags::READONLY, 'r'),
        (ClientFlags::NO_EVICT, 'e'),
        (ClientFlags::NO_TOUCH, 'T'),
    ];

    pub const fn has(self, other: ClientFlags) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn with(self, other: ClientFlags) -> ClientFlags {
        ClientFlags(self.0 | other.0)
    }

    /// `N` for none.
    pub fn letters(self) -> String {
        // A monitor is a kind of replica, but not shown as one.
        let shown =
            |flag: ClientFlags| self.has(flag) && !(flag == ClientFlags::REPLICA && self.has(ClientFlags::MONITOR));
        let letters: String = Self::LETTERS.iter().filter(|(flag, _)| shown(*flag)).map(|(_, letter)| letter).collect();
        if letters.is_empty() { "N".into() } else { letters }
    }

    /// What CLIENT LIST TYPE and CLIENT KILL TYPE take the client for. A monitor is a normal client.
    pub fn client_type(self) -> ClientType {
        if self.has(ClientFlags::MASTER) {
            ClientType::Master
        } else if self.has(ClientFlags::REPLICA) && !self.has(ClientFlags::MONITOR) {
            ClientType::Replica
        } else if self.has(ClientFlags::PUBSUB) {
            ClientType::PubSub
        } else {
            ClientType::Normal
        }
    }
}

/// The kinds of clients that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientType {
    Normal,
    Master,
    Replica,
    PubSub,
}

impl ClientType {
    pub(super) fn parse(name: &[u8]) -> Result<ClientType, Error> {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("normal") {
            Ok(ClientType::Normal)
        } else if is("master") {
            Ok(ClientType::Master)
        } else if is("replica") || is("slave") {
            Ok(ClientType::Replica)
        } else if is("pubsub") {
            Ok(ClientType::PubSub)
        } else {
            Err(Error::concat(&[b"ERR Unknown client type '", c_string(name), b"'"]))
        }
    }
}

/// What a connection waits for: the `events=` of CLIENT LIST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    pub read: bool,
    pub write: bool,
}

/// One connection, at one moment. Sizes in bytes, times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    pub id: u64,
    /// `ip:port`, or `path:0` of a Unix socket.
    pub addr: String,
    pub laddr: String,
    pub fd: i32,
    pub name: String,
    pub age: u64,
    pub idle: u64,
    pub flags: ClientFlags,
    pub db: usize,
    pub subscriptions: usize,
    pub pattern_subscriptions: usize,
    pub shard_subscriptions: usize,
    /// Commands queued since MULTI; None outside of a transaction.
    pub multi: Option<usize>,
    /// Watched keys. Redis prints these from 7.4 on, so they have no field in the line.
    pub watch: usize,
    pub query_buffer: usize,
    pub query_buffer_free: usize,
    pub argv_memory: usize,
    pub multi_memory: usize,
    pub reply_buffer_size: usize,
    pub reply_buffer_peak: usize,
    pub output_buffer: usize,
    /// Replies attached or queued beyond the output buffer, and their memory.
    pub output_list: usize,
    pub output_memory: usize,
    pub total_memory: usize,
    pub events: Events,
    /// Full name of the last command (`client|list`); None before the first.
    pub command: Option<String>,
    /// None before authentication.
    pub user: Option<String>,
    /// Client that gets the invalidation messages, while tracking.
    pub redirect: Option<i64>,
    pub proto: Proto,
    pub lib_name: String,
    pub lib_ver: String,
    /// The core that holds the connection.
    pub shard: usize,
}

impl ClientInfo {
    /// Appends the line of CLIENT LIST and CLIENT INFO, with its line break: Redis 7.2's fields, then `shard=`.
    pub fn write_line(&self, text: &mut String) {
        let events = match (self.events.read, self.events.write) {
            (true, true) => "rw",
            (true, false) => "r",
            (false, true) => "w",
            (false, false) => "",
        };
        // Writing to a `String` cannot fail.
        let _ = write!(
            text,
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} ",
            self.id,
            self.addr,
            self.laddr,
            self.fd,
            self.name,
            self.age,
            self.idle,
            self.flags.letters(),
            self.db,
            self.subscriptions,
            self.pattern_subscriptions,
            self.shard_subscriptions,
            self.multi.map_or(-1, |queued| queued as i64),
        );
        let _ = write!(
            text,
            "qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} tot-mem={} events={events} ",
            self.query_buffer,
            self.query_buffer_free,
            self.argv_memory,
            self.multi_memory,
            self.reply_buffer_size,
            self.reply_buffer_peak,
            self.output_buffer,
            self.output_list,
            self.output_memory,
            self.total_memory,
        );
        let _ = writeln!(
            text,
            "cmd={} user={} redir={} resp={} lib-name={} lib-ver={} shard={}",
            self.command.as_deref().unwrap_or("NULL"),
            self.user.as_deref().unwrap_or("(superuser)"),
            self.redirect.unwrap_or(-1),
            proto_number(self.proto),
            self.lib_name,
            self.lib_ver,
            self.shard,
        );
    }
}
