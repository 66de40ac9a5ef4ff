//! `maxmemory`: one budget for the node, kept by all cores.
//!
//! Before each write a core compares the process's exact memory use with the limit. Above it, the core evicts from its own part; when another
//! part is the fuller one, that core is asked to do its share too, so a skewed key space is not evicted early.

use super::limits::EVICTIONS_A_COMMAND;
use super::{Shard, ShardIo};
use crate::commands::lookup::CommandId;
use crate::commands::{Error, Flags};
use crate::config::{Config, MaxmemoryPolicy};
use crate::keyspace::{Policy, PolicyKind};
use crate::runtime::memory;

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
    }
}

impl Shard {
    /// Makes room for a command, or says why it must not run. Only called while `maxmemory` is set.
    ///
    /// The core evicts from its own keys. If that does not suffice, the fuller cores are asked: their share shrinks with their next tick, and
    /// this command is refused only when nothing here can go and memory is still above the limit.
    pub(super) fn make_room(&mut self, id: CommandId) -> Result<(), Error> {
        let limit = self.config.maxmemory as usize;
        if memory::used_bytes() <= limit {
            return Ok(());
        }
        let flags = self.commands.get(id).flags;
        if self.policy.kind != PolicyKind::NoEviction && flags.has(Flags::WRITE) {
            self.evict(limit);
        }
        if flags.has(Flags::DENYOOM) && memory::used_bytes() > limit && !self.others_can_evict() {
            return Err(Error::OutOfMemory);
        }
        Ok(())
    }

    /// Evicts from this core until memory is within the limit, or enough was done for now.
    fn evict(&mut self, limit: usize) {
        self.wants_eviction = true;
        for _ in 0..EVICTIONS_A_COMMAND {
            if memory::used_bytes() <= limit || self.keyspace.evict_one(&self.policy, self.now_ms).is_none() {
                break;
            }
        }
    }

    fn others_can_evict(&self) -> bool {
        self.policy.kind != PolicyKind::NoEviction
            && self.shared.shards > 1
            && self.shared.evictable.iter().any(|keys| keys.0.load(std::sync::atomic::Ordering::Relaxed) > 0)
    }

    /// Ends a tick in which memory was above the limit: publishes how much could still go here, and asks fuller cores to do their share.
    pub(super) fn share_eviction(&mut self, io: &mut ShardIo) {
        use std::sync::atomic::Ordering;
        let keys: usize = (0..self.config.databases as usize)
            .map(|db| {
                let stats = self.keyspace.db_stats(db, self.now_ms);
                if self.policy.kind.is_volatile() { stats.expires } else { stats.keys }
            })
            .sum();
        self.shared.evictable[self.id].0.store(keys, Ordering::Relaxed);
        if !std::mem::take(&mut self.wants_eviction) {
            return;
        }
        let limit = self.config.maxmemory as usize;
        for shard in (0..self.shared.shards).filter(|shard| *shard != self.id) {
            let theirs = self.shared.evictable[shard].0.load(Ordering::Relaxed);
            if theirs > keys {
                io.post(
                    shard,
                    super::Message::Run(Box::new(move |shard, _| {
                        shard.evict(limit);
                        shard.wants_eviction = false;
                    })),
                );
            }
        }
    }
}
