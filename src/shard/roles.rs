//! Changes of the node's role: REPLICAOF, and what a failover does.
//!
//! First the link to the old primary ends, and everything that came over it is applied; then all cores take the new role at one moment; then the
//! replication executor goes on with it. Of two changes at once the second waits for the first.

use std::rc::Rc;
use std::sync::Arc;

use super::cut::{at_moment, lock_all};
use super::fanout::{Call, ask_replication, with_shard};
use super::{Shard, ShardIo};
use crate::commands::Error;
use crate::config::PrimaryAddress;
use crate::node::Node;
use crate::runtime::task::Queue;
use crate::runtime::{Core, SocketId};

const WITH_KEYS: Error =
    Error::text("ERR the role of the node cannot change in a transaction that also has commands over keys");

/// REPLICAOF. Whether anything has changed.
pub async fn replica_of(call: &Call, target: Option<PrimaryAddress>) -> Result<bool, Error> {
    if call.here(|shard, _| shard.holds_locks(call.socket)) {
        // It would wait for its own locks.
        return Err(WITH_KEYS);
    }
    Ok(change_role(&call.core, target).await)
}

/// Makes the node a replica of `target`, or a primary without one. Whether that is a change.
pub async fn change_role(core: &Rc<Core<Node>>, target: Option<PrimaryAddress>) -> bool {
    let wanted = target.clone();
    let begun = ask_replication(core, move |replication, io, answer| {
        let begin = move |replication: &mut crate::replication::Replication, io: &mut ShardIo| {
            if replication.target() == wanted.as_ref() {
                replication.end_change(io);
                return answer.send(io, None);
            }
            replication.end_link(io, Box::new(|replication, io| answer.send(io, Some(replication.has_backlog()))));
        };
        replication.begin_change(io, Box::new(begin));
    });
    let Some(Some(logs)) = begun.await else { return false };
    let Some(lock) = lock_all(core).await else { return false };
    let role = target.clone();
    let take = move |shard: &mut Shard, io: &mut ShardIo| shard.take_role(io, role.as_ref(), logs);
    let number = at_moment(core, Box::new(take)).await;
    let done = ask_replication(core, move |replication, io, answer| {
        replication.change_role(io, target, number);
        replication.end_change(io);
        answer.send(io, ());
    });
    done.await;
    with_shard(core, |shard, io| shard.end_transaction(io, lock));
    true
}

impl Shard {
    /// The same without anybody who waits for it.
    pub fn begin_change(&mut self, target: Option<PrimaryAddress>) {
        let (Some(core), Some(tasks)) = (self.core.upgrade(), self.tasks.clone()) else {
            return; // the executor is ending
        };
        tasks.spawn(Queue::Coordinator, async move {
            change_role(&core, target).await;
        });
    }

    fn take_role(&mut self, io: &mut ShardIo, target: Option<&PrimaryAddress>, logs: bool) {
        match target {
            Some(_) => self.become_replica(io),
            None => self.become_primary(io, logs),
        }
        let mut config = (*self.config).clone();
        config.replicaof = target.cloned();
        self.set_config(Arc::new(config));
    }

    /// Whether a client's running block has locks.
    fn holds_locks(&mut self, socket: SocketId) -> bool {
        let connection = self.connection(socket);
        connection.and_then(|connection| connection.client.running.as_ref()?.transaction).is_some()
    }
}
