//! The orderly end of a primary: writers wait, replicas get what they miss, then the process ends. As Redis does since 7.0.

use tracing::{info, warn};

use super::Replication;
use super::primary::WaitFor;
use super::status::ReplicaState;
use crate::shard::fanout::Answer;
use crate::shard::{Message, Pause, Shard, ShardIo};

/// A shutdown that waits for replicas.
pub struct Ending {
    wait: Option<u64>,
    /// Who has asked for it, unless it was a signal: whether it takes place.
    answer: Option<Answer<bool>>,
}

impl Replication {
    /// Ends the process as soon as all replicas have everything, or after `shutdown-timeout`. `answer` is told only if nothing comes of it.
    pub fn shut_down(&mut self, io: &mut ShardIo, answer: Option<Answer<bool>>) {
        if self.ending.is_some() {
            // It is under way; who asks twice is answered by the end of the connection.
            return;
        }
        let status = self.status();
        let online: Vec<_> = status.replicas.iter().filter(|replica| replica.state == ReplicaState::Online).collect();
        let lagging = online.iter().filter(|replica| replica.offset != status.offset).count();
        let timeout_ms = u64::from(self.config.shutdown_timeout) * 1000;
        if lagging == 0 || timeout_ms == 0 || status.link.is_some() {
            return self.end_process(io);
        }
        info!("{lagging} of {} replicas lag: waiting for them before shutting down.", online.len());
        self.ending = Some(Ending { wait: None, answer });
        let replicas = online.len();
        let after = move |replication: &mut Replication, io: &mut ShardIo, number| {
            if let Some(mut ending) = replication.ending.take() {
                let written = WaitFor::Number(number);
                ending.wait = Some(replication.wait_for(io, replicas, written, timeout_ms, Box::new(relay)));
                replication.ending = Some(ending);
            }
        };
        self.cut(io, Box::new(|shard, _| pause_writes(shard, u64::MAX)), Box::new(after));
    }

    fn end_waited(&mut self, io: &mut ShardIo, acknowledged: Option<usize>) {
        if self.ending.is_none() {
            return;
        }
        let status = self.status();
        for replica in status.replicas.iter().filter(|replica| replica.offset != status.offset) {
            warn!(
                "Lagging replica {}:{} reported offset {} behind master, lag={}, state={}.",
                replica.ip,
                replica.port,
                status.offset.saturating_sub(replica.offset),
                replica.lag_s,
                replica.state.name()
            );
        }
        let in_sync = acknowledged.unwrap_or(0);
        info!("{in_sync} of {} replicas are in sync when shutting down.", status.replicas.len());
        self.end_process(io);
    }

    fn end_process(&self, io: &mut ShardIo) {
        io.post(0, Message::Run(Box::new(|shard, io| shard.shut_down(io))));
    }

    /// SHUTDOWN ABORT. Whether there was a shutdown to be called off.
    pub fn abort_shutdown(&mut self, io: &mut ShardIo) -> bool {
        let Some(Ending { wait, answer }) = self.ending.take() else { return false };
        if let Some(wait) = wait {
            self.wait_over(io, wait);
        }
        self.resume_writes(io);
        if let Some(answer) = answer {
            answer.send(io, false);
        }
        warn!("Shutdown manually aborted.");
        true
    }

    /// Lets clients go on.
    pub fn resume_writes(&self, io: &mut ShardIo) {
        for shard in 0..self.shared.shards {
            io.post(shard, Message::Run(Box::new(|shard, _| shard.unpause())));
        }
    }
}

/// Lets no client write until that moment (Unix time).
pub fn pause_writes(shard: &mut Shard, until_ms: u64) {
    shard.pause(Pause { until_ms, writes_only: true });
}

/// Tells the replication executor that the wait is over, by way of a shard, as no executor sends to itself.
fn relay(io: &mut ShardIo, acknowledged: Option<usize>) {
    let end = move |replication: &mut Replication, io: &mut ShardIo| replication.end_waited(io, acknowledged);
    let tell = move |shard: &mut Shard, io: &mut ShardIo| {
        io.post(shard.shared.shards, Message::Control(Box::new(end)));
    };
    io.post(0, Message::Run(Box::new(tell)));
}
