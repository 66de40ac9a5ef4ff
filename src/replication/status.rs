//! What the replication executor tells of itself: plain data for INFO, ROLE, CLIENT LIST and WAIT.

use std::net::SocketAddr;

/// What a connection has said of itself with REPLCONF before it asked to be a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The port that it listens on for clients, 0 if it has not said.
    pub listening_port: u16,
    /// The address it wants to be known by.
    pub ip_address: String,
    /// It can take a snapshot that ends with a mark.
    pub eof: bool,
    /// It understands a new replication ID in the answer to PSYNC.
    pub psync2: bool,
    /// It takes a snapshot in frames (a Basalt).
    pub frames: bool,
    /// Its version, as it gave it.
    pub version: String,
    /// It wants nothing but the snapshot.
    pub rdb_only: bool,
    /// It wants a snapshot without data (`rdb-filter-only`).
    pub filtered: bool,
}

/// The state of the whole.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// `None` on a primary.
    pub link: Option<LinkStatus>,
    pub replicas: Vec<ReplicaStatus>,
    pub failover: Failover,
    /// The replication ID, and the one that was before a promotion with the first offset that it does not reach.
    pub id: String,
    pub second_id: Option<(String, u64)>,
    /// Bytes of the stream so far; on a replica those that are applied.
    pub offset: u64,
    pub backlog: Option<BacklogStatus>,
    pub counters: Counters,
    /// Loading a snapshot at this moment.
    pub loading: Option<LoadingStatus>,
    /// Memory of stream that replicas have not taken beyond the backlog, in bytes.
    pub replicas_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct BacklogStatus {
    /// `repl-backlog-size`, and the bytes it takes.
    pub size: u64,
    pub bytes: usize,
    pub first_offset: u64,
    pub length: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    /// Bytes from a primary, and to replicas.
    pub input_bytes: u64,
    pub output_bytes: u64,
    /// Replicas that were closed for their output buffer.
    pub output_limit_disconnections: u64,
    /// Commands of the primary that failed here.
    pub unexpected_errors: u64,
    /// The present rates of both kinds of bytes, a second.
    pub input_rate: u64,
    pub output_rate: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    #[default]
    None,
    WaitingForSync,
    InProgress,
}

impl Failover {
    /// INFO's word.
    pub fn name(self) -> &'static str {
        match self {
            Failover::None => "no-failover",
            Failover::WaitingForSync => "waiting-for-sync",
            Failover::InProgress => "failover-in-progress",
        }
    }
}

/// The link to a primary, as ROLE names its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// To be connected.
    #[default]
    Connect,
    Connecting,
    Handshake,
    /// Taking a snapshot.
    Sync,
    Connected,
}

impl LinkState {
    pub fn name(self) -> &'static str {
        match self {
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Sync => "sync",
            LinkState::Connected => "connected",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct LinkStatus {
    pub host: String,
    pub port: u16,
    pub state: LinkState,
    /// Seconds since anything came from it; -1 while there is no link.
    pub last_io_s: i64,
    /// While a snapshot comes: its size (-1 if not known), what has come, and the seconds since the last of it.
    pub sync: Option<(i64, u64, i64)>,
    /// Seconds since the link went down; -1 if it never was up.
    pub down_since_s: i64,
    /// Bytes of the stream that have been read, applied or not.
    pub read_offset: u64,
    pub applied_offset: u64,
    pub client_id: u64,
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub connected_ms: u64,
    pub active_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It waits for a snapshot to begin.
    Waiting,
    Sending,
    Online,
}

impl ReplicaState {
    /// INFO's word.
    pub fn name(self) -> &'static str {
        match self {
            ReplicaState::Waiting => "wait_bgsave",
            ReplicaState::Sending => "send_bulk",
            ReplicaState::Online => "online",
        }
    }
}

#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    pub client_id: u64,
    /// As it announced itself, or where it comes from.
    pub ip: String,
    pub port: u16,
    pub state: ReplicaState,
    /// What it has acknowledged.
    pub offset: u64,
    /// Seconds since its last acknowledgement.
    pub lag_s: u64,
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub name: String,
    pub fd: i32,
    pub connected_ms: u64,
    pub active_ms: u64,
    /// Stream that waits for it, in bytes.
    pub output_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct LoadingStatus {
    /// Old data is served meanwhile.
    pub is_async: bool,
    pub started_ms: u64,
    /// 0 if not known.
    pub total_bytes: u64,
    pub loaded_bytes: u64,
}
