//! What stands still on all cores for a moment: the cut that a snapshot begins with, and changes of the node's role.
//!
//! All of it runs on the first shard, as a task that locks every key of every core. Nobody changes anything then; should an eviction that had begun, it
//! enters the log as anybody; so the log is held meanwhile, and what it does counts as after the moment.

use std::rc::Rc;

use super::fanout::{on_all, with_shard};
use super::locks::Mode;
use super::{Message, Shard, ShardIo};
use crate::node::Node;
use crate::replication::Replication;
use crate::runtime::task::Queue;
use crate::runtime::{Core, SocketId};

/// The author of what no client has asked for.
const NOBODY: SocketId = SocketId { index: u32::MAX, generation: u32::MAX };

/// What every core does at the moment.
pub type AtCut = Box<dyn Fn(&mut Shard, &mut ShardIo) + Send + Sync>;

/// What the replication executor does when it is over, given the number that the first batch behind the moment has.
pub type AfterCut = Box<dyn FnOnce(&mut Replication, &mut ShardIo, u64) + Send>;

impl Shard {
    /// Lets every core do something at one moment: no write is half done, and each batch of the log is wholly before or wholly behind it.
    pub fn cut(&mut self, at_cut: AtCut, after: AfterCut) {
        let (Some(core), Some(tasks)) = (self.core.upgrade(), self.tasks.clone()) else {
            return; // the executor is ending
        };
        tasks.spawn(Queue::Coordinator, async move {
            let Some(lock) = lock_all(&core).await else { return };
            let number = at_moment(&core, at_cut).await;
            with_shard(&core, |shard, io| {
                let replication = shard.shared.shards;
                io.post(replication, Message::Control(Box::new(move |replication, io| after(replication, io, number))));
                shard.end_transaction(io, lock);
            });
        });
    }
}

/// Locks everything on all cores; the transaction to be ended then.
pub async fn lock_all(core: &Rc<Core<Node>>) -> Option<usize> {
    let (sender, receiver) = core.tasks.oneshot();
    with_shard(core, |shard, io| shard.lock_all(io, NOBODY, Mode::Exclusive, sender));
    receiver.await
}

/// Lets every core do something while all locks are held. The number that the first batch of the log behind it will have.
pub async fn at_moment(core: &Rc<Core<Node>>, at_cut: AtCut) -> u64 {
    let at_cut = std::sync::Arc::new(at_cut);
    on_all(core, move |shard, io| {
        shard.close_log(io);
        shard.log.hold();
        at_cut(shard, io);
    })
    .await;
    let number = with_shard(core, |shard, _| shard.shared.sequencer.next());
    on_all(core, |shard, _| shard.log.release()).await;
    number
}
