//! Work beside commands: expiry, lazy freeing, statistics, and clients that nobody hears of.
//!
//! Each runs as a task in the background queue and gives way after a bounded piece of work.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::fanout::with_shard;
use super::limits::FREE_A_TURN;
use super::{Pause, Shard, ShardIo, Stall};
use crate::keyspace::{Garbage, graveyard};
use crate::node::Node;
use crate::runtime::task::Queue;
use crate::runtime::{Core, clock, memory};

/// Sampling of per-second figures, and the soft output limits.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(100);

/// Freed memory of a core from which on it is given back to the system.
const GIVE_BACK_BYTES: i64 = 16 * 1024 * 1024;

/// Entries that an expiry turn looks at before others get one, for each step of `active-expire-effort`.
const EXPIRE_A_TURN: usize = 256;
/// Share of a core that searching for expired keys may take, in percent: as Redis, 25 and 2 more for each step of effort.
const EXPIRE_PERCENT: u32 = 25;

/// Starts the background tasks of a shard.
pub fn start_background(core: &Rc<Core<Node>>) {
    graveyard::open();
    core.tasks.spawn(Queue::Background, tend(core.clone()));
}

/// Searches for expired keys `hz` times a second, with a bounded share of the core, and keeps house as often as that is due. One task,
/// so that an idle core wakes up for both at once.
async fn tend(core: Rc<Core<Node>>) {
    let mut kept_house = Instant::now();
    loop {
        // A tenth early is as good, and at the default `hz` saves every second wake-up.
        if kept_house.elapsed() >= HOUSEKEEPING_INTERVAL * 9 / 10 {
            kept_house = Instant::now();
            with_shard(&core, |shard, io| shard.housekeep(io));
        }
        let (interval, effort) = with_shard(&core, |shard, _| {
            let hz = shard.config.hz.clamp(1, 500);
            // Keeping house sets the pace of an `hz` below ten.
            ((Duration::from_secs(1) / hz).min(HOUSEKEEPING_INTERVAL), shard.config.active_expire_effort)
        });
        core.tasks.sleep(interval).await;
        let share = interval * (EXPIRE_PERCENT + 2 * (effort - 1)) / 100;
        let started = Instant::now();
        loop {
            let more = with_shard(&core, |shard, io| shard.expire_some(io, EXPIRE_A_TURN * effort as usize));
            if !more {
                break;
            }
            if started.elapsed() >= share {
                with_shard(&core, |shard, _| shard.stats.counters.expired_time_cap_reached += 1);
                break;
            }
            core.tasks.turn().await;
        }
        let spent = started.elapsed();
        with_shard(&core, |shard, _| shard.stats.counters.expire_cycle_nanos += spent.as_nanos() as u64);
    }
}

/// Frees what was flushed, some entries a turn, until nothing is left.
async fn free(core: Rc<Core<Node>>) {
    while with_shard(&core, |shard, _| shard.free_some()) {
        core.tasks.turn().await;
    }
}

impl Shard {
    fn housekeep(&mut self, io: &mut ShardIo) {
        self.now_ms = clock::unix_ms();
        self.stats.sample_rates(clock::unix_us());
        memory::peak_bytes();
        // What a burst has left for reuse goes by and by; a steady flow makes up for it at next to no cost.
        self.spare_outs.truncate(self.spare_outs.len() / 2);
        self.spare_batches.truncate(self.spare_batches.len() / 2);
        self.give_back_memory();
        self.sweep_clients(io);
        self.tend_tracking();
        self.set_timer();
        if self.pause.is_some_and(|pause| pause.until_ms <= self.now_ms) {
            self.unpause();
        }
        // What the sweep found leaves in the next tick.
        io.tick_again();
    }

    /// After much was freed, the allocator is told to give its pages back to the system, which it puts off otherwise.
    fn give_back_memory(&mut self) {
        let used = self.mark_memory();
        if self.memory_mark - used >= GIVE_BACK_BYTES.max(used / 4) && self.garbage.is_empty() && graveyard::is_empty()
        {
            memory::release();
            self.memory_mark = used;
        }
    }

    /// Notes the present use if it is the highest yet, and returns it.
    fn mark_memory(&mut self) -> i64 {
        let used = memory::thread_bytes();
        self.memory_mark = self.memory_mark.max(used);
        used
    }

    /// Holds clients up, as CLIENT PAUSE says. The data stands still meanwhile.
    pub fn pause(&mut self, pause: Pause) {
        self.pause = Some(pause);
        self.rest_expiry_mode();
        self.set_gates();
    }

    /// Ends CLIENT PAUSE on this shard.
    pub fn unpause(&mut self) {
        self.pause = None;
        self.rest_expiry_mode();
        self.set_gates();
        self.unpark();
        for socket in std::mem::take(&mut self.waiting_pause) {
            self.with_connection(socket, |shard, connection| shard.release(&mut connection.client, Stall::PAUSE));
        }
    }

    /// Holds up whoever writes, for a failover, or no longer.
    pub fn hold_writes(&mut self, hold: bool) {
        self.writes_held = hold;
        if hold || self.pause.is_some() {
            self.rest_expiry_mode();
            self.set_gates();
        } else {
            self.unpause();
        }
    }

    /// Whether some clients are held up.
    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some() || self.writes_held
    }

    /// Whether nothing may change by itself: clients are paused, or somebody has the whole shard. That may be a SWAPDB, which is under way while it
    /// has happened here and has no place in the log yet: a key that went now would be another one on a replica.
    pub(super) fn stands_still(&self) -> bool {
        self.is_paused() || self.locks.is_held_whole()
    }

    /// One bounded step of active expiry; whether there is more to be done now.
    fn expire_some(&mut self, io: &mut ShardIo, entries: usize) -> bool {
        if self.stands_still() || !self.active_expire {
            return false;
        }
        let now_ms = clock::unix_ms();
        let progress = self.keyspace.expire_some(now_ms, entries);
        if !self.keyspace.changes.is_empty() {
            // Not left to the next command, which is not the author of this.
            self.settle_changes(io, None);
        }
        !progress.complete && progress.expired + progress.fields > 0
    }

    /// Leaves a dropped table to be freed bit by bit.
    pub(super) fn discard(&mut self, garbage: Garbage) {
        // Much may have come since the housekeeping last looked.
        self.mark_memory();
        self.garbage.push_back(garbage);
        self.free_in_background();
    }

    /// Has a task free what waits for that, unless one does already.
    #[cold]
    pub(super) fn free_in_background(&mut self) {
        if self.freeing {
            return;
        }
        if let (Some(core), Some(tasks)) = (self.core.upgrade(), self.tasks.clone()) {
            self.freeing = true;
            tasks.spawn(Queue::Background, free(core));
        }
    }

    fn free_some(&mut self) -> bool {
        // What is large in the garbage comes to the graveyard, and still waits.
        let before = self.waiting_to_be_freed();
        if let Some(garbage) = self.garbage.front_mut()
            && !garbage.drop_some(FREE_A_TURN)
        {
            self.garbage.pop_front();
        }
        self.freeing = graveyard::free_some(FREE_A_TURN) || !self.garbage.is_empty();
        self.stats.counters.lazyfreed_objects += (before - self.waiting_to_be_freed()) as u64;
        self.freeing
    }

    /// Keys and objects that wait to be freed.
    pub(super) fn waiting_to_be_freed(&self) -> usize {
        self.garbage.iter().map(Garbage::entries).sum::<usize>() + graveyard::len()
    }
}
