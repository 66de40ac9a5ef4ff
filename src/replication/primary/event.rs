//! What the machine of a primary is told, and what it wants done.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::config::OutputLimit;
use crate::replication::log::LogBatch;
use crate::replication::status::Hello;
use crate::resp::{Out, OwnedArgs};
use crate::shard::Chunk;

/// A connection to a replica: the client ID that it had on its shard.
pub type LinkId = u64;

/// A connection that asks to be a replica.
#[derive(Clone, Default)]
pub struct Newcomer {
    pub hello: Hello,
    /// Its PSYNC or SYNC.
    pub request: OwnedArgs,
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub name: String,
    pub fd: i32,
    /// Unix time.
    pub connected_ms: u64,
}

/// Where in the stream a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAt {
    /// Everything in batches below this number is in the snapshot, nothing else.
    Number(u64),
    /// On a replica: everything up to this offset is, and the stream goes on in this database.
    Offset { offset: u64, db: u32 },
}

/// What the head of a snapshot tells of the moment of its cut.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    pub unix_s: u64,
    pub used_memory: usize,
    pub databases: u32,
    pub shards: u32,
    /// How many keys each database has, and how many of them expire: readers make room for them at once.
    pub sizes: Vec<(u64, u64)>,
}

/// From when on a WAIT counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// The client has written nothing.
    Nothing,
    /// All batches below this number.
    Number(u64),
}

/// What happens to the machine.
pub enum Event<'a> {
    /// A shard has handed over a connection.
    Joined {
        link: LinkId,
        newcomer: Box<Newcomer>,
    },
    Received {
        link: LinkId,
        bytes: &'a [u8],
    },
    /// So many bytes of the last [`Action::Send`] have left.
    Sent {
        link: LinkId,
        bytes: usize,
    },
    /// The connection is gone.
    Closed {
        link: LinkId,
    },
    /// The writes of a core.
    Log(Box<LogBatch>),
    /// As a replica: bytes of the own primary's stream.
    Stream(&'a [u8]),
    /// All locks were held, and the snapshot has begun. Also tells that the log is on.
    Cut {
        snapshot: u64,
        at: CutAt,
        moment: Moment,
    },
    Chunk(Box<Chunk>),
    /// The shards have done what [`Action::AbortSnapshot`] said, or cannot go on (or begin) for the reason given.
    SnapshotOver {
        snapshot: u64,
        error: Option<String>,
    },
    /// So many bytes of [`Action::SpoolWrite`] are in the file, or why not.
    SpoolWritten {
        spool: u64,
        result: Result<usize, String>,
    },
    /// What [`Action::SpoolRead`] asked for.
    SpoolRead {
        spool: u64,
        link: LinkId,
        result: Result<Bytes, String>,
    },
    /// What [`Action::TurnLogOff`] asked for is done.
    LogIsOff,
    /// A client waits for replicas, until `deadline_ms` if there is one.
    Wait {
        who: u64,
        replicas: usize,
        target: WaitFor,
        deadline_ms: Option<u64>,
    },
    /// A client no longer waits.
    WaitOver {
        who: u64,
    },
    /// The node is to be a replica; the shards have turned their logs off, all batches below this number are closed.
    Demoted {
        number: u64,
    },
    /// The node is a primary from now on; the log is on.
    Promoted,
    /// As a replica: the own primary is there and the data are in order, or not.
    Upstream {
        up: bool,
    },
    /// As a replica: the data are those of another history (a full resynchronisation is about to begin).
    NewHistory {
        id: String,
        offset: u64,
    },
    /// As a replica: the primary goes on, perhaps under a new ID.
    Continued {
        id: String,
    },
    /// What [`Action::PauseWrites`] asked for is done: all batches with writes are below this number.
    WritesPaused {
        number: u64,
    },
    /// The node that [`Action::FollowTarget`] named has taken over, or will not.
    FailoverAnswered {
        accepted: bool,
    },
    /// Time has passed; ten times a second.
    Tick,
}

/// The form of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Records of an RDB file.
    Rdb,
    /// Compressed frames, which shards make and take.
    Frames,
}

/// Why a link is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was told so, or got all it wanted.
    Done,
    /// It did not acknowledge, or not take the snapshot.
    TimedOut,
    OutputLimit,
    /// It sent what a replica does not send.
    Protocol,
    /// It has to synchronise anew with this node.
    Resync,
    /// The snapshot that it was to get failed.
    SnapshotFailed,
    Killed,
}

/// What the machine wants done.
pub enum Action {
    /// Send this. There is one at a time for a link, until all of it was reported by [`Event::Sent`].
    Send {
        link: LinkId,
        out: Out,
    },
    /// Close the connection; no event of it follows.
    Close {
        link: LinkId,
        reason: Reason,
    },
    /// Begin a snapshot of all shards, and turn the log on if it is off. [`Event::Cut`] or [`Event::SnapshotOver`] answers.
    StartSnapshot {
        id: u64,
        form: Form,
    },
    /// Nobody wants it any more; [`Event::SnapshotOver`] answers.
    AbortSnapshot {
        id: u64,
    },
    /// A shard may send so many bytes more of the snapshot.
    Grant {
        snapshot: u64,
        shard: usize,
        bytes: usize,
    },
    /// Make a temporary file for a snapshot that is sent with its length.
    SpoolOpen {
        spool: u64,
    },
    SpoolWrite {
        spool: u64,
        bytes: Bytes,
    },
    SpoolRead {
        spool: u64,
        link: LinkId,
        offset: u64,
        len: usize,
    },
    SpoolClose {
        spool: u64,
    },
    /// Nobody needs the log any more; [`Event::LogIsOff`] answers.
    TurnLogOff,
    /// So many bytes of batches are merged.
    Merged {
        bytes: usize,
    },
    /// How many replicas count for `min-replicas-to-write`.
    GoodReplicas(usize),
    /// WAIT is over: how many replicas have acknowledged; `None` when the node has become a replica.
    Answer {
        who: u64,
        replicas: Option<usize>,
    },
    /// What [`Event::Demoted`] asked for is done: the stream ends here.
    Demoted,
    /// Let no client write until [`Action::ResumeWrites`]; [`Event::WritesPaused`] answers.
    PauseWrites,
    ResumeWrites,
    /// Become a replica of that node, and ask it with PSYNC FAILOVER to take over; [`Event::FailoverAnswered`] tells how that went.
    FollowTarget {
        host: String,
        port: u16,
    },
    /// Be a primary again.
    FollowNobody,
    /// A PSYNC FAILOVER of the own primary: become a primary. [`Event::Promoted`] answers.
    PromoteSelf,
}

/// The configuration, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Settings {
    pub shards: usize,
    pub backlog_bytes: u64,
    /// 0 keeps it for ever.
    pub backlog_ttl_s: u64,
    pub ping_period_s: u64,
    pub timeout_s: u64,
    pub diskless: bool,
    pub diskless_delay_s: u64,
    pub diskless_max_replicas: usize,
    pub min_replicas_max_lag_s: u64,
    pub output_limit: OutputLimit,
}

impl Default for Settings {
    /// Redis's defaults.
    fn default() -> Settings {
        Settings {
            shards: 1,
            backlog_bytes: 1 << 20,
            backlog_ttl_s: 3600,
            ping_period_s: 10,
            timeout_s: 60,
            diskless: true,
            diskless_delay_s: 5,
            diskless_max_replicas: 0,
            min_replicas_max_lag_s: 10,
            output_limit: OutputLimit { hard_bytes: 256 << 20, soft_bytes: 64 << 20, soft_seconds: 60 },
        }
    }
}
