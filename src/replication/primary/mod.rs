//! Being a primary: all links to replicas, as a machine that knows no sockets and no clock.
//!
//! Events go in with the time, actions come out; [`io`] is what stands between it and the executor. After the events of a tick comes one
//! [`Primary::flush`], which makes the sends.
//!
//! Guarantees
//! - a replica that was accepted gets either the stream from where it was, or a whole snapshot and the stream from its cut on; never a gap
//! - the stream is the same for all replicas, byte for byte, and so are its offsets
//! - a replica that cannot keep up costs memory up to its output buffer limit, and then its connection; the shards wait for no replica, except
//!   with the next part of a snapshot
//! - a replica of this node that is itself a replica gets its primary's stream verbatim
//!
//! Behaviour, names and texts are those of Redis 7.2's replication.

mod event;
mod failover;
pub mod io;
mod join;
mod link;
mod snapshot;
mod spool;
mod stream;
mod sync;
#[cfg(test)]
mod tests;
mod wait;

use std::collections::BTreeMap;

use tracing::{info, warn};

pub use event::{Action, CutAt, Event, Form, LinkId, Moment, Newcomer, Reason, Settings, WaitFor};
pub use failover::FailoverRequest;
use failover::{Failover, Successor};
use link::{Link, Phase, Said};
use snapshot::Snapshot;
pub use stream::Stream;
use wait::Waits;

use super::status::{BacklogStatus, Counters, ReplicaStatus};
use crate::resp::Out;

/// A ping in the stream.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// A demand in the stream to acknowledge at once.
const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// How often those that wait get a sign of life.
const KEEP_ALIVE_MS: u64 = 1000;

/// What this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    /// To be a replica, when all batches below the number are merged.
    Leaving {
        number: u64,
    },
    /// A replica, and whether its own primary is there.
    Replica {
        up: bool,
    },
}

pub struct Primary {
    settings: Settings,
    role: Role,
    stream: Stream,
    links: BTreeMap<LinkId, Link>,
    snapshot: Option<Snapshot>,
    /// The cut of the snapshot, while batches before it are missing.
    moment: Moment,
    next_snapshot: u64,
    waits: Waits,
    /// The next flush asks the replicas to acknowledge.
    wants_acks: bool,
    counters: Counters,
    /// Since when there are no replicas.
    alone_since_ms: u64,
    pinged_ms: u64,
    kept_alive_ms: u64,
    /// What was last said of [`Action::GoodReplicas`].
    good_replicas: usize,
    /// The shards are turning their logs off.
    turning_off: bool,
    failover: Failover,
    successor: Option<Successor>,
    spare: Vec<Out>,
    actions: Vec<Action>,
}

impl Primary {
    /// A primary without replicas, whose history has this ID.
    pub fn new(id: String, settings: Settings, now_ms: u64) -> Primary {
        Primary {
            stream: Stream::new(id, settings.backlog_bytes),
            settings,
            role: Role::Primary,
            links: BTreeMap::new(),
            snapshot: None,
            moment: Moment::default(),
            next_snapshot: 1,
            waits: Waits::default(),
            wants_acks: false,
            counters: Counters::default(),
            alone_since_ms: now_ms,
            pinged_ms: now_ms,
            kept_alive_ms: now_ms,
            good_replicas: 0,
            turning_off: false,
            failover: Failover::None,
            successor: None,
            spare: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Takes over a changed configuration.
    pub fn set_settings(&mut self, settings: Settings) {
        self.stream.set_backlog_bytes(settings.backlog_bytes);
        self.settings = settings;
    }

    /// What is to be done. To be asked for after each [`Primary::handle`] and [`Primary::flush`].
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Memory of a send that has left, to be used again.
    pub fn recycle(&mut self, mut out: Out) {
        const KEPT: usize = 16;
        const KEPT_BYTES: usize = 1 << 20;
        if self.spare.len() < KEPT && out.buf.capacity() <= KEPT_BYTES {
            out.clear();
            self.spare.push(out);
        }
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn backlog_status(&self) -> Option<BacklogStatus> {
        self.stream.backlog().map(|backlog| BacklogStatus {
            size: backlog.size(),
            bytes: backlog.memory(),
            first_offset: backlog.start() + 1,
            length: backlog.histlen(),
        })
    }

    pub fn replicas(&self, now_ms: u64, now_unix_ms: u64) -> Vec<ReplicaStatus> {
        let end = self.stream.offset();
        self.links
            .values()
            .filter(|link| link.phase != Phase::Leaving)
            .map(|link| link.status(end, now_ms, now_unix_ms))
            .collect()
    }

    /// Memory of stream that replicas have not taken, beyond what the backlog keeps anyway.
    pub fn replicas_bytes(&self) -> usize {
        self.stream.bytes().map_or(0, |backlog| backlog.memory().saturating_sub(backlog.size() as usize))
    }

    /// Closes a link (CLIENT KILL); whether there is one.
    pub fn kill(&mut self, id: LinkId, now_ms: u64) -> bool {
        let there = self.links.contains_key(&id);
        self.close(id, Reason::Killed, now_ms);
        there
    }

    /// Takes account of an event.
    pub fn handle(&mut self, event: Event<'_>, now_ms: u64) {
        match event {
            Event::Joined { link, newcomer } => self.join(link, *newcomer, now_ms),
            Event::Received { link, bytes } => self.received(link, bytes, now_ms),
            Event::Sent { link, bytes } => self.sent(link, bytes, now_ms),
            Event::Closed { link } => self.lost(link, now_ms),
            Event::Log(batch) => self.log(batch, now_ms),
            Event::Stream(bytes) => self.stream.append(bytes),
            Event::Cut { snapshot, at, moment } => self.cut(snapshot, at, moment, now_ms),
            Event::Chunk(chunk) => self.chunk(*chunk, now_ms),
            Event::SnapshotOver { snapshot, error } => self.snapshot_over(snapshot, error, now_ms),
            Event::SpoolWritten { spool, result } => self.spool_written(spool, result, now_ms),
            Event::SpoolRead { spool, link, result } => self.spool_read(spool, link, result, now_ms),
            Event::LogIsOff => {
                self.turning_off = false;
                self.start_snapshot(now_ms);
            }
            Event::Wait { who, replicas, target, deadline_ms } => self.wait(who, replicas, target, deadline_ms, now_ms),
            Event::WaitOver { who } => self.waits.remove(who),
            Event::Demoted { number } => self.demote(number, now_ms),
            Event::Promoted => self.promoted(now_ms),
            Event::Upstream { up } => self.upstream(up),
            Event::NewHistory { id, offset } => {
                self.drop_all(Reason::Resync, now_ms);
                self.stream.adopt(id, offset);
            }
            Event::Continued { id } => {
                if self.stream.follow(&id) {
                    // They learn the new ID when they come back, which costs them nothing but that.
                    self.drop_all(Reason::Resync, now_ms);
                }
            }
            Event::WritesPaused { number } => self.writes_paused(number, now_ms),
            Event::FailoverAnswered { accepted } => self.failover_answered(accepted),
            Event::Tick => self.tick(now_ms),
        }
    }

    /// Makes the sends, after the events of a tick.
    pub fn flush(&mut self, now_ms: u64) {
        let asks = self.role == Role::Primary && self.failover == Failover::None && !self.links.is_empty();
        if asks && std::mem::take(&mut self.wants_acks) {
            self.stream.append(GETACK);
        }
        let merged = self.stream.take_merged();
        if merged > 0 {
            self.actions.push(Action::Merged { bytes: merged });
        }
        self.check_output_limits(now_ms);
        self.send_all();
        let end = self.stream.offset();
        let needed = self.links.values().filter_map(|link| link.position).min();
        self.stream.trim(needed.unwrap_or(end));
    }

    fn send_all(&mut self) {
        let mut out = self.spare.pop().unwrap_or_default();
        for link in self.links.values_mut() {
            link.take(&self.stream, self.snapshot.as_ref(), &mut out);
            if !out.is_empty() {
                let next = self.spare.pop().unwrap_or_default();
                self.actions.push(Action::Send { link: link.id, out: std::mem::replace(&mut out, next) });
            }
            if let Phase::File { spool, .. } = link.phase
                && let Some((offset, len)) = link.wants_file()
            {
                self.actions.push(Action::SpoolRead { spool, link: link.id, offset, len });
            }
        }
        self.spare.push(out);
    }

    // The stream

    fn log(&mut self, batch: Box<super::log::LogBatch>, now_ms: u64) {
        if let Some(offset) = self.stream.push(batch) {
            self.begin_snapshot(offset, 0, now_ms);
        }
        self.resolve_waits();
        self.finish_demotion();
    }

    fn demote(&mut self, number: u64, now_ms: u64) {
        self.role = Role::Leaving { number };
        // Whoever has no place in the stream yet comes back when it is known what this node's data are.
        let apart = self.links.values().filter(|link| !link.is_online()).map(|link| link.id);
        for id in apart.collect::<Vec<_>>() {
            self.close(id, Reason::Resync, now_ms);
        }
        for who in self.waits.clear() {
            self.actions.push(Action::Answer { who, replicas: None });
        }
        self.finish_demotion();
    }

    fn finish_demotion(&mut self) {
        if let Role::Leaving { number } = self.role
            && self.stream.next_number() >= number
        {
            self.role = Role::Replica { up: false };
            self.actions.push(Action::Demoted);
        }
    }

    fn promoted(&mut self, now_ms: u64) {
        self.role = Role::Primary;
        self.stream.promote();
        let history = self.stream.history();
        if let Some((second, valid_to)) = history.second() {
            info!(
                "Setting secondary replication ID to {second}, valid up to offset: {valid_to}. New replication ID is {}",
                history.id()
            );
        }
        self.drop_all(Reason::Resync, now_ms);
        self.alone_since_ms = now_ms;
        if let Some((link, mut newcomer)) = self.successor.take() {
            // It has what it asked for, and is a replica like others from here on.
            newcomer.request = newcomer.request.args().iter_from(0).take(3).collect();
            self.join(link, newcomer, now_ms);
        }
    }

    fn upstream(&mut self, up: bool) {
        if let Role::Replica { up: was } = &mut self.role {
            *was = up;
        }
    }

    // Links

    fn received(&mut self, id: LinkId, bytes: &[u8], now_ms: u64) {
        let Some(mut link) = self.links.remove(&id) else { return };
        let mut bad = None;
        link.received(bytes, now_ms, |link, said| match said {
            Said::Alive => {
                link.ack_ms = now_ms;
                true
            }
            Said::Nothing => true,
            Said::Ack { offset, fsynced } => {
                link.ack = link.ack.max(offset);
                link.fsynced = link.fsynced.max(fsynced.unwrap_or(0));
                link.ack_ms = now_ms;
                if link.phase == Phase::Loading {
                    link.phase = Phase::Online;
                }
                true
            }
            Said::Rogue(command) => {
                bad = Some(format!("Replica generated a reply to command '{command}'"));
                false
            }
            Said::Broken(error) => {
                bad = Some(format!("Protocol error from replica: {error}"));
                false
            }
        });
        self.links.insert(id, link);
        if let Some(what) = bad {
            warn!("{what}, disconnecting it: {}", self.display(id));
            self.close(id, Reason::Protocol, now_ms);
        }
        self.answer_waits();
    }

    fn sent(&mut self, id: LinkId, bytes: usize, now_ms: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.sent(bytes, now_ms);
        self.counters.output_bytes += bytes as u64;
        match link.phase {
            Phase::Snapshot { .. } => self.snapshot_sent(now_ms),
            Phase::File { .. } if link.has_file() => self.file_sent(id, now_ms),
            Phase::Leaving if link.is_silent() => self.close(id, Reason::Done, now_ms),
            _ => {}
        }
    }

    /// How log lines call a link.
    pub fn display(&self, id: LinkId) -> String {
        self.links.get(&id).map_or_else(|| format!("client id #{id}"), Link::display)
    }

    /// Ends a link from here.
    pub(super) fn close(&mut self, id: LinkId, reason: Reason, now_ms: u64) {
        if self.links.contains_key(&id) {
            self.actions.push(Action::Close { link: id, reason });
            self.lost(id, now_ms);
        }
    }

    /// Takes account of the end of a link.
    fn lost(&mut self, id: LinkId, now_ms: u64) {
        self.successor.take_if(|(successor, _)| *successor == id);
        let Some(link) = self.links.remove(&id) else { return };
        if self.links.is_empty() {
            self.alone_since_ms = now_ms;
        }
        if let Phase::File { spool, .. } = link.phase {
            self.spool_left(spool);
        }
        self.snapshot_lost(now_ms);
        self.tell_good_replicas(now_ms);
    }

    fn drop_all(&mut self, reason: Reason, now_ms: u64) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.close(id, reason.clone(), now_ms);
        }
    }

    fn check_output_limits(&mut self, now_ms: u64) {
        let limit = self.settings.output_limit;
        let end = self.stream.offset();
        // A limit below the backlog would cut off a replica right after it was let in again.
        let hard = limit.hard_bytes.max(self.settings.backlog_bytes);
        let mut over = Vec::new();
        for link in self.links.values_mut() {
            let pending = link.pending(end);
            let soft = limit.soft_bytes > 0 && pending >= limit.soft_bytes;
            let since = *link.soft_since_ms.get_or_insert(now_ms);
            if !soft {
                link.soft_since_ms = None;
            }
            let soft_over = soft && now_ms - since > u64::from(limit.soft_seconds) * 1000;
            if soft_over || (limit.hard_bytes > 0 && pending >= hard) {
                over.push((link.id, pending));
            }
        }
        for (id, pending) in over {
            warn!(
                "Client {} closed for overcoming of output buffer limits: {pending} bytes of the replication stream wait for it.",
                self.display(id)
            );
            self.counters.output_limit_disconnections += 1;
            self.close(id, Reason::OutputLimit, now_ms);
        }
    }

    // Time

    fn tick(&mut self, now_ms: u64) {
        self.close_timed_out(now_ms);
        let is_primary = self.role == Role::Primary;
        // A ping would move the end of the stream that a replica is to reach for a failover.
        let pings = is_primary && self.failover == Failover::None && !self.links.is_empty();
        if pings && now_ms - self.pinged_ms >= self.settings.ping_period_s * 1000 {
            self.pinged_ms = now_ms;
            self.stream.append(PING);
        }
        if now_ms - self.kept_alive_ms >= KEEP_ALIVE_MS {
            self.kept_alive_ms = now_ms;
            self.keep_alive();
        }
        self.tend_failover(now_ms);
        self.free_backlog(now_ms);
        self.start_snapshot(now_ms);
        self.end_waits(now_ms);
        self.tell_good_replicas(now_ms);
    }

    /// Signs of life for those that wait. Nobody who is in the stream gets any: there every byte counts.
    fn keep_alive(&mut self) {
        for link in self.links.values_mut() {
            if matches!(link.phase, Phase::Waiting { .. } | Phase::Chosen) {
                link.keep_alive();
            }
        }
    }

    fn close_timed_out(&mut self, now_ms: u64) {
        let timeout_ms = self.settings.timeout_s * 1000;
        let mut late = Vec::new();
        for link in self.links.values() {
            let what = match link.phase {
                Phase::Online | Phase::Loading if !link.old && now_ms - link.ack_ms > timeout_ms => "streaming sync",
                Phase::Snapshot { .. } | Phase::File { .. }
                    if link.is_sending() && now_ms - link.progress_ms > timeout_ms =>
                {
                    "full sync"
                }
                _ => continue,
            };
            late.push((link.id, what));
        }
        for (id, what) in late {
            warn!("Disconnecting timedout replica ({what}): {}", self.display(id));
            self.close(id, Reason::TimedOut, now_ms);
        }
    }

    fn free_backlog(&mut self, now_ms: u64) {
        let ttl_s = self.settings.backlog_ttl_s;
        let idle = self.role == Role::Primary && self.links.is_empty() && self.snapshot.is_none();
        if !idle || ttl_s == 0 || self.stream.backlog().is_none() || now_ms - self.alone_since_ms <= ttl_s * 1000 {
            return;
        }
        self.stream.free();
        self.turning_off = true;
        self.actions.push(Action::TurnLogOff);
        info!("Replication backlog freed after {ttl_s} seconds without connected replicas.");
    }

    fn tell_good_replicas(&mut self, now_ms: u64) {
        let max_lag_s = self.settings.min_replicas_max_lag_s;
        let good = self.links.values().filter(|link| link.is_online() && link.lag_s(now_ms) <= max_lag_s).count();
        if good != self.good_replicas {
            self.good_replicas = good;
            self.actions.push(Action::GoodReplicas(good));
        }
    }
}
