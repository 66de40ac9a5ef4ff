//! Full resynchronisation: who shares a snapshot, when it is asked for, and how it gets to all of them.

use bytes::Bytes;
use tracing::{info, warn};

use super::link::{Link, Phase};
use super::snapshot::{Delivery, Snapshot, Stage};
use super::{Action, CutAt, Form, LinkId, Moment, Primary, Reason, Role};
use crate::node::random_hex;
use crate::shard::Chunk;

impl Primary {
    /// Asks for a snapshot if there is somebody to have it, and no reason to wait.
    pub(super) fn start_snapshot(&mut self, now_ms: u64) {
        if self.snapshot.is_some() || self.turning_off || matches!(self.role, Role::Leaving { .. }) {
            return;
        }
        let waiting: Vec<(&Link, u64)> = self
            .links
            .values()
            .filter_map(|link| match link.phase {
                Phase::Waiting { since_ms } => Some((link, since_ms)),
                _ => None,
            })
            .collect();
        let Some(first_ms) = waiting.iter().map(|(_, since_ms)| *since_ms).min() else { return };
        let direct = self.settings.diskless && waiting.iter().all(|(link, _)| link.newcomer.hello.eof);
        let max = self.settings.diskless_max_replicas;
        let due =
            !direct || (max > 0 && waiting.len() >= max) || now_ms - first_ms >= self.settings.diskless_delay_s * 1000;
        if !due {
            return;
        }
        let frames = direct && waiting.iter().all(|(link, _)| link.newcomer.hello.frames);
        let form = if frames { Form::Frames } else { Form::Rdb };
        let delivery = if direct { Delivery::Direct { mark: random_hex() } } else { Delivery::Spool };
        let id = self.next_snapshot;
        self.next_snapshot += 1;
        info!("Starting BGSAVE for SYNC with target: {}", if direct { "replicas sockets" } else { "disk" });
        for link in self.links.values_mut() {
            if matches!(link.phase, Phase::Waiting { .. }) {
                link.phase = Phase::Chosen;
            }
        }
        self.snapshot = Some(Snapshot::new(id, form, delivery));
        self.stream.await_cut();
        self.actions.push(Action::StartSnapshot { id, form });
    }

    /// The shards have begun.
    pub(super) fn cut(&mut self, id: u64, at: CutAt, moment: Moment, now_ms: u64) {
        if self.snapshot.as_ref().is_none_or(|snapshot| snapshot.id != id) {
            warn!("A snapshot was cut that nobody has asked for.");
            return;
        }
        if matches!(self.role, Role::Replica { .. }) && matches!(at, CutAt::Number(_)) {
            return; // cut as the primary that the node no longer is; it is given up already
        }
        self.moment = moment;
        let db = match at {
            CutAt::Number(_) => 0,
            CutAt::Offset { db, .. } => db,
        };
        if let Some(offset) = self.stream.cut(at) {
            self.begin_snapshot(offset, db, now_ms);
        }
    }

    /// The place of the cut in the stream is known: its replicas are told.
    pub(super) fn begin_snapshot(&mut self, offset: u64, db: u32, now_ms: u64) {
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.stage == Stage::Starting) else {
            return; // nobody wants it any more
        };
        let history = self.stream.history().id();
        snapshot.begin(&self.moment, history, offset, db);
        if snapshot.delivery == Delivery::Spool {
            self.actions.push(Action::SpoolOpen { spool: snapshot.id });
        }
        for link in self.links.values_mut().filter(|link| link.phase == Phase::Chosen) {
            if !link.old {
                link.reply(&format!("+FULLRESYNC {history} {offset}\r\n"));
            }
            if !link.newcomer.hello.rdb_only {
                link.position = Some(offset);
            }
            if let Delivery::Direct { mark } = &snapshot.delivery {
                link.reply(&format!("$EOF:{mark}\r\n"));
                link.phase = Phase::Snapshot { taken: 0 };
                link.progress_ms = now_ms;
            }
        }
        for chunk in snapshot.take_early() {
            self.chunk(chunk, now_ms);
        }
        self.write_spool();
    }

    pub(super) fn chunk(&mut self, chunk: Chunk, now_ms: u64) {
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.id == chunk.id) else { return };
        match snapshot.stage {
            Stage::Aborting => return,
            // The shards begin before the number of the cut has come, or all batches before it have.
            Stage::Starting => return snapshot.put_off(chunk),
            Stage::Running | Stage::Whole => {}
        }
        let had = snapshot.end();
        if snapshot.chunk(chunk, self.settings.shards) {
            info!("Background RDB transfer terminated with success");
        }
        for link in self.links.values_mut() {
            // Whoever had all there was begins anew to be late.
            if link.has_snapshot_to() == Some(had) {
                link.progress_ms = now_ms;
            }
        }
        self.write_spool();
        self.snapshot_sent(now_ms);
    }

    /// Replicas have more of the snapshot than before.
    pub(super) fn snapshot_sent(&mut self, now_ms: u64) {
        let Some(snapshot) = &mut self.snapshot else { return };
        if let Delivery::Direct { .. } = snapshot.delivery {
            let slowest = self.links.values().filter_map(Link::has_snapshot_to).min();
            let id = snapshot.id;
            let actions = &mut self.actions;
            if let Some(to) = slowest {
                snapshot.release(to, |shard, bytes| actions.push(Action::Grant { snapshot: id, shard, bytes }));
            }
        }
        let whole = |link: &&Link| link.has_snapshot_to().is_some_and(|to| snapshot.ends_at(to));
        let done: Vec<LinkId> = self.links.values().filter(whole).map(|link| link.id).collect();
        for id in done {
            self.snapshot_delivered(id, now_ms);
        }
        self.end_snapshot(now_ms);
    }

    /// A replica has all of its snapshot with the mark.
    fn snapshot_delivered(&mut self, id: LinkId, now_ms: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let name = link.display();
        link.ack_ms = now_ms;
        if link.newcomer.hello.rdb_only {
            info!("RDB transfer completed, rdb only replica ({name}) should be disconnected asap");
            return self.close(id, Reason::Done, now_ms);
        }
        link.phase = Phase::Loading;
        info!(
            "Streamed RDB transfer with replica {name} succeeded (socket). Waiting for REPLCONF ACK from replica to enable streaming"
        );
        self.tell_good_replicas(now_ms);
    }

    /// Lets go of a snapshot that all its replicas have.
    fn end_snapshot(&mut self, now_ms: u64) {
        let Some(snapshot) = &self.snapshot else { return };
        let wanted = match snapshot.delivery {
            Delivery::Direct { .. } => self.links.values().any(|link| matches!(link.phase, Phase::Snapshot { .. })),
            Delivery::Spool => self.links.values().any(|link| link.phase == Phase::Chosen),
        };
        if snapshot.stage == Stage::Whole && !wanted {
            if snapshot.delivery == Delivery::Spool {
                self.actions.push(Action::SpoolClose { spool: snapshot.id });
            }
            self.snapshot = None;
            self.start_snapshot(now_ms);
        }
    }

    /// A link has gone: if it was the last that wanted the snapshot, that is of no use any more.
    pub(super) fn snapshot_lost(&mut self, now_ms: u64) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let wants = |link: &Link| matches!(link.phase, Phase::Chosen | Phase::Snapshot { .. });
        if self.links.values().any(wants) {
            return self.snapshot_sent(now_ms);
        }
        match snapshot.stage {
            Stage::Starting | Stage::Running => {
                warn!("Diskless rdb transfer, last replica dropped, killing fork child.");
                snapshot.stage = Stage::Aborting;
                snapshot.clear();
                self.actions.push(Action::AbortSnapshot { id: snapshot.id });
                if snapshot.delivery == Delivery::Spool {
                    self.actions.push(Action::SpoolClose { spool: snapshot.id });
                }
            }
            Stage::Whole => self.end_snapshot(now_ms),
            Stage::Aborting => {}
        }
    }

    /// The shards are through with a snapshot that was given up, or have given it up themselves.
    pub(super) fn snapshot_over(&mut self, id: u64, error: Option<String>, now_ms: u64) {
        let Some(snapshot) = self.snapshot.take_if(|snapshot| snapshot.id == id) else { return };
        self.stream.no_cut();
        if snapshot.stage != Stage::Aborting {
            let error = error.unwrap_or_else(|| "it ended early".into());
            self.fail_snapshot(&snapshot, &error, now_ms);
        }
        self.start_snapshot(now_ms);
    }

    fn fail_snapshot(&mut self, snapshot: &Snapshot, error: &str, now_ms: u64) {
        warn!("BGSAVE for replication failed: {error}");
        if snapshot.delivery == Delivery::Spool && snapshot.offset.is_some() {
            self.actions.push(Action::SpoolClose { spool: snapshot.id });
        }
        for link in self.links.values_mut().filter(|link| link.phase == Phase::Chosen && link.position.is_none()) {
            link.reply("-ERR BGSAVE failed, replication can't continue\r\n");
            link.phase = Phase::Leaving;
        }
        let wants = |link: &&Link| matches!(link.phase, Phase::Chosen | Phase::Snapshot { .. });
        let failed: Vec<LinkId> = self.links.values().filter(wants).map(|link| link.id).collect();
        for id in failed {
            self.close(id, Reason::SnapshotFailed, now_ms);
        }
    }

    // By way of a file

    fn write_spool(&mut self) {
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.delivery == Delivery::Spool) else {
            return;
        };
        while let Some(bytes) = snapshot.next_to_spool() {
            self.actions.push(Action::SpoolWrite { spool: snapshot.id, bytes });
        }
    }

    pub(super) fn spool_written(&mut self, spool: u64, result: Result<usize, String>, now_ms: u64) {
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.id == spool) else { return };
        if snapshot.stage == Stage::Aborting {
            return;
        }
        match result {
            Ok(bytes) => {
                snapshot.written += bytes as u64;
                let to = snapshot.written;
                let actions = &mut self.actions;
                snapshot.release(to, |shard, bytes| actions.push(Action::Grant { snapshot: spool, shard, bytes }));
                if snapshot.ends_at(to) {
                    self.send_spool(spool, to, now_ms);
                }
            }
            Err(error) => self.spool_failed(&error, now_ms),
        }
    }

    fn spool_failed(&mut self, error: &str, now_ms: u64) {
        warn!(
            "Writing the snapshot for replicas to a temporary file failed: {error}. See that 'dir' has room and may be written to."
        );
        let ids: Vec<LinkId> =
            self.links.values().filter(|link| link.phase == Phase::Chosen).map(|link| link.id).collect();
        for id in ids {
            self.close(id, Reason::SnapshotFailed, now_ms);
        }
    }

    /// The file has all of the snapshot.
    fn send_spool(&mut self, spool: u64, len: u64, now_ms: u64) {
        let mut readers = 0;
        for link in self.links.values_mut().filter(|link| link.phase == Phase::Chosen) {
            link.reply(&format!("${len}\r\n"));
            link.phase = Phase::File { spool, taken: 0, len, asked: false };
            link.progress_ms = now_ms;
            readers += 1;
        }
        if readers == 0 {
            self.actions.push(Action::SpoolClose { spool });
        }
        self.snapshot = None;
        self.start_snapshot(now_ms);
    }

    pub(super) fn spool_read(&mut self, spool: u64, id: LinkId, result: Result<Bytes, String>, now_ms: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !matches!(link.phase, Phase::File { spool: of, .. } if of == spool) {
            return;
        }
        match result {
            Ok(part) if !part.is_empty() => link.file_part(part),
            Ok(_) => self.file_failed(id, "premature EOF", now_ms),
            Err(error) => self.file_failed(id, &error, now_ms),
        }
    }

    fn file_failed(&mut self, id: LinkId, error: &str, now_ms: u64) {
        warn!("Read error sending DB to replica: {error}");
        self.close(id, Reason::SnapshotFailed, now_ms);
    }

    /// A replica has all of its file: as it knew the length, the stream may follow at once.
    pub(super) fn file_sent(&mut self, id: LinkId, now_ms: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Phase::File { spool, .. } = link.phase else { return };
        if link.newcomer.hello.rdb_only {
            info!("RDB transfer completed, rdb only replica ({}) should be disconnected asap", link.display());
            return self.close(id, Reason::Done, now_ms);
        }
        link.phase = Phase::Online;
        link.ack_ms = now_ms;
        info!("Synchronization with replica {} succeeded", link.display());
        self.spool_left(spool);
        self.tell_good_replicas(now_ms);
    }

    /// A reader of a file is gone; the last one takes the file along.
    pub(super) fn spool_left(&mut self, spool: u64) {
        let reads = |link: &Link| matches!(link.phase, Phase::File { spool: of, .. } if of == spool);
        if !self.links.values().any(reads) {
            self.actions.push(Action::SpoolClose { spool });
        }
    }
}
