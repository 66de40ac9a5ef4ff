//! `maxmemory`: one budget for the node, kept by all cores.
//!
//! Before each command a core compares the process's exact memory use with the limit. Above it, the core evicts from its own part; when another
//! part is the fuller one, that core is asked to do its share too, so a skewed key space is not evicted early.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::fanout::with_shard;
use super::limits::{EVICTABLE_TOLD_MS, EVICTIONS_A_COMMAND};
use super::{Message, Shard, ShardIo};
use crate::commands::lookup::CommandId;
use crate::commands::{Error, Flags};
use crate::config::{Config, MaxmemoryPolicy};
use crate::keyspace::{Policy, PolicyKind, graveyard};
use crate::node::Node;
use crate::runtime::task::Queue;
use crate::runtime::{Core, memory};

/// The eviction policy of a configuration.
pub fn policy(config: &Config) -> Policy {
    let kind = match config.maxmemory_policy {
        MaxmemoryPolicy::Noeviction => PolicyKind::NoEviction,
        MaxmemoryPolicy::AllkeysLru => PolicyKind::AllKeysLru,
        MaxmemoryPolicy::AllkeysLfu => PolicyKind::AllKeysLfu,
        MaxmemoryPolicy::AllkeysRandom => PolicyKind::AllKeysRandom,
        MaxmemoryPolicy::VolatileLru => PolicyKind::VolatileLru,
        MaxmemoryPolicy::VolatileLfu => PolicyKind::VolatileLfu,
        MaxmemoryPolicy::VolatileRandom => PolicyKind::VolatileRandom,
        MaxmemoryPolicy::VolatileTtl => PolicyKind::VolatileTtl,
    };
    Policy {
        kind,
        samples: config.maxmemory_samples as usize,
        lfu_log_factor: config.lfu_log_factor,
        lfu_decay_time: config.lfu_decay_time,
        touches: true,
    }
}

/// Evicts until memory is within the limit, some entries a turn.
async fn evict_in_turns(core: Rc<Core<Node>>) {
    while with_shard(&core, |shard, io| shard.evict_turn(io)) {
        core.tasks.turn().await;
    }
}

impl Shard {
    /// Makes room for a command, or says why it must not run. Only called while `maxmemory` is set.
    ///
    /// The core evicts from its own keys, and asks fuller cores to do so too, whose share shrinks with their next tick. The command is
    /// refused only when no core has anything that could go and memory is still above the limit.
    pub(super) fn make_room(&mut self, id: CommandId) -> Result<(), Error> {
        self.make_room_for(self.commands.get(id).flags)
    }

    /// The same for anything with these flags.
    pub(super) fn make_room_for(&mut self, flags: Flags) -> Result<(), Error> {
        // While clients are paused the data stands still, as in Redis.
        if !self.above_limit() || self.gates.paused {
            return Ok(());
        }
        if self.policy.kind != PolicyKind::NoEviction {
            self.wants_eviction = true;
            self.evict();
        }
        if !flags.has(Flags::DENYOOM) || !self.above_limit() || self.others_can_evict() {
            return Ok(());
        }
        // What this core still has that could go does so beside the commands, which need not wait for that.
        if self.keyspace.evictable(self.policy.kind.is_volatile()) > 0 {
            self.meet_limit();
        }
        if self.evicting { Ok(()) } else { Err(Error::OutOfMemory) }
    }

    /// Whether this core keeps `maxmemory`: a replica leaves that to its primary.
    pub(super) fn has_limit(&self) -> bool {
        self.config.maxmemory > 0 && !(self.role.is_replica() && self.config.replica_ignore_maxmemory)
    }

    fn above_limit(&self) -> bool {
        if !self.gates.memory_limit {
            return false;
        }
        // Neither what is about to be freed, nor what waits for replicas: evicting would add to that.
        let uncounted = graveyard::bytes() + self.shared.uncounted_bytes.load(Ordering::Relaxed);
        memory::used_bytes().saturating_sub(uncounted) > self.config.maxmemory as usize
    }

    /// Evicts from this core until memory is within the limit, or enough was done for now; how many entries went.
    fn evict(&mut self) -> usize {
        let enough = self.eviction_share();
        let mut evicted = 0;
        while evicted < enough && self.above_limit() {
            if self.keyspace.evict_one(&self.policy, self.now_ms).is_none() {
                break;
            }
            evicted += 1;
        }
        evicted
    }

    /// How many entries this core evicts in one go: more, the more of all keys are its own, so that a skewed key space shrinks where it is
    /// large. One at least, so that no core grows while memory is above the limit.
    fn eviction_share(&self) -> usize {
        let count = |shard: usize| self.shared.evictable[shard].0.load(Ordering::Relaxed);
        let all: usize = (0..self.shared.shards).map(count).sum();
        if all == 0 {
            return EVICTIONS_A_COMMAND;
        }
        let even = (all / self.shared.shards).max(1);
        (EVICTIONS_A_COMMAND * count(self.id) / even).max(1)
    }

    fn others_can_evict(&self) -> bool {
        let has_keys = |shard: usize| self.shared.evictable[shard].0.load(Ordering::Relaxed) > 0;
        self.policy.kind != PolicyKind::NoEviction
            && (0..self.shared.shards).any(|shard| shard != self.id && has_keys(shard))
    }

    /// Starts to evict down to a limit that was lowered below what is in use, also if no client sends a command.
    pub(super) fn meet_limit(&mut self) {
        if self.evicting || self.policy.kind == PolicyKind::NoEviction || !self.above_limit() {
            return;
        }
        self.tell_evictable();
        if let (Some(core), Some(tasks)) = (self.core.upgrade(), self.tasks.clone()) {
            self.evicting = true;
            tasks.spawn(Queue::Background, evict_in_turns(core));
        }
    }

    /// One bounded step towards the limit; whether there is more to be done.
    fn evict_turn(&mut self, io: &mut ShardIo) -> bool {
        self.tell_evictable();
        if self.stands_still() {
            return self.evicting;
        }
        self.evicting = self.policy.kind != PolicyKind::NoEviction && self.evict_aside(io) > 0 && self.above_limit();
        self.evicting
    }

    /// Evicts beside all commands, none of which is then the author of it.
    fn evict_aside(&mut self, io: &mut ShardIo) -> usize {
        if self.stands_still() {
            return 0;
        }
        let evicted = self.evict();
        if !self.keyspace.changes.is_empty() {
            self.settle_changes(io, None);
        }
        evicted
    }

    /// Publishes how many keys could go from this core.
    fn tell_evictable(&mut self) {
        self.evictable_told_ms = self.now_ms;
        let keys = self.keyspace.evictable(self.policy.kind.is_volatile());
        self.shared.evictable[self.id].0.store(keys, Ordering::Relaxed);
    }

    /// Ends a tick while `maxmemory` is set: tells the others what could go here, and, if memory was above the limit, asks fuller cores
    /// to do their share.
    pub(super) fn share_eviction(&mut self, io: &mut ShardIo) {
        let wanted = std::mem::take(&mut self.wants_eviction);
        if wanted || self.now_ms - self.evictable_told_ms >= EVICTABLE_TOLD_MS {
            self.tell_evictable();
        }
        if !wanted {
            return;
        }
        let count = |shard: usize| self.shared.evictable[shard].0.load(Ordering::Relaxed);
        let own = count(self.id);
        for shard in (0..self.shared.shards).filter(|shard| *shard != self.id && count(*shard) > own) {
            io.post(
                shard,
                Message::Run(Box::new(|shard, io| {
                    shard.evict_aside(io);
                })),
            );
        }
    }
}
