//! FAILOVER: this primary and one of its replicas change places, without losing a write.
//!
//! The shards hold writes up; when a replica has acknowledged all that was written before, this node becomes its replica, and asks it with
//! `PSYNC ... FAILOVER` to be the primary from then on. The other side of it is here too: a replica that is asked so promotes itself first.
//!
//! Invariants
//! - writes are held up from the beginning to the end, whichever end that is
//! - nobody becomes a replica of this node meanwhile

use tracing::info;

use super::link::Link;
use super::{Action, LinkId, Newcomer, Primary, Reason, Role};
use crate::replication::status;

/// FAILOVER [TO host port [FORCE]] [TIMEOUT milliseconds]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverRequest {
    pub to: Option<(String, i64)>,
    pub timeout_ms: Option<u64>,
    /// At the end of the time, fail over to a replica that has not caught up.
    pub force: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Failover {
    #[default]
    None,
    WaitForSync {
        to: Option<(String, i64)>,
        deadline_ms: Option<u64>,
        force: bool,
        /// All batches below this number are all that was written; `None` until writes are held up.
        number: Option<u64>,
    },
    InProgress {
        to: (String, i64),
    },
}

/// A connection that waits for this node's promotion, which it has asked for.
pub(super) type Successor = (LinkId, Newcomer);

/// Whether a replica listens there.
fn is_at(link: &Link, (host, port): &(String, i64)) -> bool {
    i64::from(link.newcomer.hello.listening_port) == *port && link.ip().is_some_and(|ip| ip.eq_ignore_ascii_case(host))
}

impl Primary {
    pub fn failover_status(&self) -> status::Failover {
        match self.failover {
            Failover::None => status::Failover::None,
            Failover::WaitForSync { .. } => status::Failover::WaitingForSync,
            Failover::InProgress { .. } => status::Failover::InProgress,
        }
    }

    /// FAILOVER; the error reply where it cannot be.
    pub fn fail_over(&mut self, request: FailoverRequest, now_ms: u64) -> Result<(), &'static str> {
        let FailoverRequest { to, timeout_ms, force } = request;
        if self.failover != Failover::None {
            return Err("ERR FAILOVER already in progress.");
        }
        if self.role != Role::Primary {
            return Err("ERR FAILOVER is not valid when server is a replica.");
        }
        if self.links.is_empty() {
            return Err("ERR FAILOVER requires connected replicas.");
        }
        if force && (timeout_ms.is_none() || to.is_none()) {
            return Err("ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
        }
        match &to {
            Some(target) => {
                let replica = self.find(target).ok_or("ERR FAILOVER target HOST and PORT is not a replica.")?;
                if !replica.is_online() {
                    return Err("ERR FAILOVER target replica is not online.");
                }
                info!("FAILOVER requested to {}:{}.", target.0, target.1);
            }
            None => info!("FAILOVER requested to any replica."),
        }
        let deadline_ms = timeout_ms.map(|timeout_ms| now_ms.saturating_add(timeout_ms));
        self.failover = Failover::WaitForSync { to, deadline_ms, force, number: None };
        self.actions.push(Action::PauseWrites);
        Ok(())
    }

    /// FAILOVER ABORT; the error reply if there is nothing to abort.
    pub fn abort_failover(&mut self) -> Result<(), &'static str> {
        if self.failover == Failover::None {
            return Err("ERR No failover in progress.");
        }
        self.end_failover("Failover manually aborted");
        Ok(())
    }

    fn find(&self, target: &(String, i64)) -> Option<&Link> {
        self.links.values().find(|link| is_at(link, target))
    }

    /// Gives a failover up.
    fn end_failover(&mut self, why: &str) {
        match std::mem::take(&mut self.failover) {
            Failover::None => return,
            Failover::WaitForSync { to: None, .. } => info!("FAILOVER to any replica aborted: {why}"),
            Failover::WaitForSync { to: Some((host, port)), .. } => info!("FAILOVER to {host}:{port} aborted: {why}"),
            Failover::InProgress { to: (host, port) } => {
                info!("FAILOVER to {host}:{port} aborted: {why}");
                self.actions.push(Action::FollowNobody);
            }
        }
        self.actions.push(Action::ResumeWrites);
    }

    /// Writes are held up; all that there are have numbers below this one.
    pub(super) fn writes_paused(&mut self, below: u64, now_ms: u64) {
        if let Failover::WaitForSync { number, .. } = &mut self.failover {
            *number = Some(below);
        }
        self.tend_failover(now_ms);
    }

    /// The new primary has answered.
    pub(super) fn failover_answered(&mut self, accepted: bool) {
        if !matches!(self.failover, Failover::InProgress { .. }) {
            return;
        }
        if accepted {
            self.failover = Failover::None;
            self.actions.push(Action::ResumeWrites);
        } else {
            self.end_failover("Failover target rejected psync request");
        }
    }

    /// Goes on with a failover if its time is over, or a replica has everything.
    pub(super) fn tend_failover(&mut self, now_ms: u64) {
        let Failover::WaitForSync { to, deadline_ms, force, number } = &self.failover else { return };
        if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            match to.clone().filter(|_| *force) {
                Some(to) => {
                    info!("FAILOVER to {}:{} time out exceeded, failing over.", to.0, to.1);
                    self.change_places(to);
                }
                None => self.end_failover("Replica never caught up before timeout"),
            }
            return;
        }
        if number.is_none_or(|number| self.stream.next_number() < number) {
            return;
        }
        let end = self.stream.offset();
        let wanted = |link: &&Link| to.as_ref().is_none_or(|to| is_at(link, to));
        let has_all = |link: &&Link| link.is_online() && link.ack == end && link.ip().is_some();
        let Some(replica) = self.links.values().filter(wanted).find(has_all) else { return };
        let to = (replica.ip().unwrap_or_default(), i64::from(replica.newcomer.hello.listening_port));
        info!("Failover target {}:{} is synced, failing over.", to.0, to.1);
        self.change_places(to);
    }

    fn change_places(&mut self, to: (String, i64)) {
        self.actions.push(Action::FollowTarget { host: to.0.clone(), port: to.1 as u16 });
        self.failover = Failover::InProgress { to };
    }

    // The other side

    /// Whether a connection asks this node to take over, and what is to be said of that.
    pub(super) fn check_takeover(&self, newcomer: &Newcomer) -> Option<Result<(), &'static str>> {
        let args = newcomer.request.args();
        if !(args.is(0, "psync") && args.len() > 3 && args.is(3, "failover")) {
            return None;
        }
        let id = args.get(1);
        info!("Failover request received for replid {}.", String::from_utf8_lossy(&id[..id.len().min(64)]));
        Some(match self.role {
            Role::Primary => Err("ERR PSYNC FAILOVER can't be sent to a master."),
            Role::Leaving { .. } | Role::Replica { .. } => {
                if id.eq_ignore_ascii_case(self.stream.history().id().as_bytes()) {
                    Ok(())
                } else {
                    Err("ERR PSYNC FAILOVER replid must match my replid.")
                }
            }
        })
    }

    /// Lets a connection wait until this node is promoted.
    pub(super) fn take_over(&mut self, id: LinkId, newcomer: Newcomer) {
        if let Some((before, _)) = self.successor.replace((id, newcomer)) {
            self.actions.push(Action::Close { link: before, reason: Reason::Resync });
        }
        self.actions.push(Action::PromoteSelf);
    }
}
