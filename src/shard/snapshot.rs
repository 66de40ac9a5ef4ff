//! This core's part of a snapshot, on its way to the replication executor.
//!
//! A task of its own writes segments down and sends chunks, a bounded piece of work between two ticks. While commands come in it rests between its
//! turns, so that they and the rest of the machine (which has the snapshot to send, perhaps to load) keep most of the time. What writers are ahead
//! of it with waits in the keyspace.
//!
//! Invariants
//! - bytes that were sent and are not granted back are less than [`CREDIT_BYTES`] and one chunk
//! - while more than [`BACKLOG_BYTES`](crate::keyspace::BACKLOG_BYTES) wait to be sent, writers wait with them; but only as long as the consumer
//!   takes something now and then ([`PATIENCE_MS`]). If it does not, they go on, and the snapshot is given up when its share of the output limit for replicas is reached
//! - the last message of a snapshot says so; of one that was given up or aborted none does
//! - identifiers of snapshots rise: one that was aborted before it began never begins

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::warn;

use super::fanout::with_shard;
use super::{Chunk, Message, Shard, ShardIo};
use crate::keyspace::{BACKLOG_BYTES, SnapshotChunk, SnapshotStats, Walk};
use crate::node::Node;
use crate::observe::info::SnapshotInfo;
use crate::rdb::frame::{Contents, FrameEncoder};
use crate::rdb::{Compression, Pieces};
use crate::runtime::task::{Queue, Receiver, Sender};
use crate::runtime::{Core, clock};

/// Bytes of chunks that may be on their way to the consumer, or with it.
pub const CREDIT_BYTES: usize = 1 << 20;

/// Bytes of records that one turn writes down: some tens of microseconds.
const TURN_BYTES: usize = 16 << 10;

/// While commands run, the snapshot rests for so many times as long as a turn has taken: it gets an eighth of the time.
const REST_TURNS: u32 = 7;

/// After so long without a command there is nobody to rest for. Clients that share a processor with the snapshot's reader or other nodes may not get
/// to ask anything for some milliseconds.
const IDLE: Duration = Duration::from_millis(10);

/// The longest rest: a turn may have taken long only because another thread had the processor.
const MAX_REST: Duration = Duration::from_millis(1);

/// From so many bytes that wait to be sent on it does not rest: writers are ahead of it.
const RESTLESS_BYTES: usize = BACKLOG_BYTES / 4;

/// How long writers wait for a consumer that takes nothing.
const PATIENCE_MS: u64 = 300;

/// How records travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotForm {
    /// As they stand in an RDB file.
    Rdb,
    /// In compressed frames.
    Frames,
}

/// Sending the snapshot that runs.
struct Sending {
    id: u64,
    encoder: Option<FrameEncoder>,
    /// Bytes sent and not granted back.
    unacknowledged: usize,
    started_ms: u64,
    /// Keys at the cut.
    keys: u64,
    /// When the consumer last took something.
    granted_ms: u64,
    /// The task, while it waits for credit.
    waiting: Option<Sender<()>>,
    /// What the counters have of it.
    counted: SnapshotStats,
}

/// What this core knows of snapshots.
#[derive(Default)]
pub struct Snapshots {
    sending: Option<Sending>,
    /// No snapshot up to this one is wanted.
    aborted: Option<u64>,
    /// How long the last one took that was sent whole.
    last_took_ms: Option<u64>,
}

impl Snapshots {
    pub fn is_running(&self) -> bool {
        self.sending.is_some()
    }
}

/// What becomes of the task after a turn.
enum Turn {
    /// In the next tick.
    Again,
    /// When clients have had their share of the time.
    AfterRest,
    Wait(Receiver<()>),
    Over,
}

async fn send(core: Rc<Core<Node>>, id: u64) {
    loop {
        let began = Instant::now();
        match with_shard(&core, |shard, io| shard.snapshot_turn(io, id)) {
            Turn::Again => core.tasks.turn().await,
            Turn::AfterRest => core.tasks.sleep((began.elapsed() * REST_TURNS).min(MAX_REST)).await,
            Turn::Wait(credit) => drop(credit.await),
            Turn::Over => return,
        }
    }
}

impl Shard {
    /// Makes this moment the cut of a snapshot, and begins to send what was there. The caller holds all locks.
    pub fn begin_snapshot(&mut self, id: u64, form: SnapshotForm) {
        let (Some(core), Some(tasks)) = (self.core.upgrade(), self.tasks.clone()) else {
            return; // the executor is ending
        };
        if self.snapshots.aborted.is_some_and(|aborted| id <= aborted) {
            return;
        }
        self.end_snapshot();
        let (compression, pieces, encoder) = match form {
            SnapshotForm::Rdb => (Compression::from_directive(self.config.rdbcompression), Pieces::Whole, None),
            SnapshotForm::Frames => (Compression::None, Pieces::Parts, Some(FrameEncoder::new())),
        };
        self.keyspace.begin_snapshot(compression, pieces, &self.policy, self.now_ms);
        self.snapshots.sending = Some(Sending {
            id,
            encoder,
            unacknowledged: 0,
            started_ms: self.now_ms,
            keys: self.key_count() as u64,
            granted_ms: self.now_ms,
            waiting: None,
            counted: SnapshotStats::default(),
        });
        tasks.spawn(Queue::Snapshot, send(core, id));
    }

    /// The consumer has taken so many bytes of a snapshot.
    pub fn grant_snapshot(&mut self, id: u64, bytes: usize) {
        let now_ms = self.now_ms;
        let Some(sending) = self.snapshots.sending.as_mut().filter(|sending| sending.id == id) else {
            return; // sent, or aborted
        };
        debug_assert!(bytes <= sending.unacknowledged);
        sending.unacknowledged = sending.unacknowledged.saturating_sub(bytes);
        sending.granted_ms = now_ms;
        if sending.unacknowledged < CREDIT_BYTES
            && let Some(task) = sending.waiting.take()
        {
            task.send(());
        }
    }

    /// Nobody wants a snapshot any more, whether it has begun or not.
    pub fn abort_snapshot(&mut self, id: u64) {
        self.snapshots.aborted = self.snapshots.aborted.max(Some(id));
        if self.snapshots.sending.as_ref().is_some_and(|sending| sending.id <= id) {
            self.end_snapshot();
        }
    }

    /// One bounded piece of work for the snapshot.
    fn snapshot_turn(&mut self, io: &mut ShardIo, id: u64) -> Turn {
        let Some(sending) = self.snapshots.sending.as_mut().filter(|sending| sending.id == id) else {
            return Turn::Over;
        };
        if sending.unacknowledged >= CREDIT_BYTES {
            let Some(tasks) = &self.tasks else { return Turn::Over };
            let (sender, receiver) = tasks.oneshot();
            sending.waiting = Some(sender);
            return Turn::Wait(receiver);
        }
        let chunk = match self.keyspace.take_chunk() {
            Some(chunk) => chunk,
            None => {
                let walk = self.keyspace.snapshot_some(TURN_BYTES);
                match (walk, self.keyspace.take_chunk()) {
                    (_, Some(chunk)) => chunk,
                    (Walk::More, None) => return self.next_turn(),
                    (Walk::Done, None) => {
                        self.snapshots.last_took_ms = Some(self.now_ms.saturating_sub(sending.started_ms));
                        self.post_chunk(io, Chunk { last: true, ..empty(id, self.id) });
                        self.end_snapshot();
                        return Turn::Over;
                    }
                }
            }
        };
        self.send_chunk(io, chunk);
        self.count_snapshot();
        if self.gates.behind {
            // Writers may go on.
            io.tick_again();
        }
        self.next_turn()
    }

    /// When the snapshot goes on.
    fn next_turn(&mut self) -> Turn {
        let is_ahead = self.keyspace.queued_bytes() < RESTLESS_BYTES && !self.gates.behind;
        let idle = self.rate.nanoseconds(self.lap_started, clock::ticks());
        if is_ahead && idle < IDLE.as_nanos() as u64 { Turn::AfterRest } else { Turn::Again }
    }

    fn send_chunk(&mut self, io: &mut ShardIo, chunk: SnapshotChunk) {
        let shard = self.id;
        let Some(sending) = &mut self.snapshots.sending else { return };
        let SnapshotChunk { db, records, slots, open, bytes } = chunk;
        let data = match &mut sending.encoder {
            None => bytes,
            Some(encoder) => encoder.encode(&Contents { db: db as u16, slots, records }, &bytes),
        };
        sending.unacknowledged += data.len();
        let chunk = Chunk { db, records, open, data: Bytes::from(data), ..empty(sending.id, shard) };
        self.post_chunk(io, chunk);
    }

    fn post_chunk(&self, io: &mut ShardIo, chunk: Chunk) {
        io.post(self.shared.shards, Message::Chunk(Box::new(chunk)));
    }

    /// Forgets the snapshot that runs, if one does.
    fn end_snapshot(&mut self) {
        self.count_snapshot();
        if self.snapshots.sending.take().is_some() {
            let garbage = self.keyspace.end_snapshot();
            self.discard(garbage);
        }
    }

    /// Adds to the counters what the snapshot has done since the last time.
    fn count_snapshot(&mut self) {
        let Some(sending) = &mut self.snapshots.sending else { return };
        let now = self.keyspace.snapshot_stats();
        let before = std::mem::replace(&mut sending.counted, now);
        let counters = &mut self.stats.counters;
        counters.snapshot_walked_segments += now.walked_segments - before.walked_segments;
        counters.snapshot_forced_keys += now.forced_keys - before.forced_keys;
        counters.snapshot_bytes += now.bytes - before.bytes;
    }

    /// At the end of a tick while a snapshot runs: whether writers are too far ahead of it.
    pub(super) fn tend_snapshot(&mut self, io: &mut ShardIo) {
        if !self.keyspace.snapshot_backlogged() {
            return;
        }
        let queued = self.keyspace.queued_bytes();
        let limit = self.config.client_output_buffer_limit.replica.hard_bytes / self.shared.shards as u64;
        if limit > 0 && queued as u64 > limit {
            self.give_up_snapshot(io);
        } else if self.snapshot_holds_writers() {
            self.gates.behind = true;
        }
    }

    /// Whether writers that were held back have to wait on for the snapshot.
    pub(super) fn snapshot_holds_writers(&self) -> bool {
        let Some(sending) = &self.snapshots.sending else { return false };
        let patient = self.now_ms.saturating_sub(sending.granted_ms) < PATIENCE_MS;
        patient && self.keyspace.queued_bytes() >= BACKLOG_BYTES - BACKLOG_BYTES / 8
    }

    /// How far the snapshot is that runs.
    pub(super) fn snapshot_info(&self) -> Option<SnapshotInfo> {
        let sending = self.snapshots.sending.as_ref()?;
        let running_s = self.now_ms.saturating_sub(sending.started_ms) / 1000;
        Some(SnapshotInfo { running_s, keys_written: self.keyspace.snapshot_stats().keys, keys: sending.keys })
    }

    pub(super) fn last_snapshot_s(&self) -> Option<u64> {
        self.snapshots.last_took_ms.map(|ms| ms / 1000)
    }

    #[cold]
    fn give_up_snapshot(&mut self, io: &mut ShardIo) {
        let Some(sending) = &self.snapshots.sending else { return };
        let id = sending.id;
        warn!(
            "A snapshot was given up: writes are ahead of it by more than 'client-output-buffer-limit replica' allows. \
             Replicas will ask for another one; raise the limit if they take them too slowly."
        );
        self.abort_snapshot(id);
        let failed = "writes are too far ahead of it".to_owned();
        let tell = move |replication: &mut crate::replication::Replication, io: &mut ShardIo| {
            replication.on_snapshot_failed(io, id, failed);
        };
        io.post(self.shared.shards, Message::Control(Box::new(tell)));
    }
}

fn empty(id: u64, shard: usize) -> Chunk {
    Chunk { id, shard, db: 0, records: 0, open: false, data: Bytes::new(), last: false }
}
