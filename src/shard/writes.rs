//! The write log of this core: what goes into it, and when it leaves.
//!
//! A command enters what it propagates as soon as it has run, a block when all of it has, under its locks. The log is closed right before anything
//! of a tick leaves this core (see [`replication::log`](crate::replication::log)).

use super::fanout::Call;
use super::{Message, Shard, ShardIo};
use crate::commands::propagation::Form;
use crate::replication::log::LogBlock;
use crate::resp::Args;

impl Shard {
    /// Enters what a command has propagated. `changed`: it has changed data itself, and not only met what had to go.
    #[inline(never)]
    pub(super) fn log_write(&mut self, database: usize, args: &Args<'_>, changed: bool) {
        self.log_removals();
        if !changed {
            return;
        }
        match self.propagation.form() {
            Form::Verbatim => self.log.enter(1, |batch| batch.command(database, args)),
            Form::Instead => {
                let (commands, count) = self.propagation.commands();
                self.log.enter(count, |batch| batch.append(database, commands));
            }
            Form::Nothing => {}
        }
    }

    /// Enters a command that is not one over keys, on behalf of the client of this core whose it is.
    pub(super) fn log_command(&mut self, database: usize, args: &Args<'_>) {
        if self.log.is_on() {
            self.log.enter(1, |batch| batch.command(database, args));
        }
    }

    /// The same for one that a task has carried out: in a block it belongs to that.
    pub(super) fn log_call(&mut self, call: &Call) {
        if !self.log.is_on() {
            return;
        }
        let entered = self.with_connection(call.socket, |shard, connection| {
            let Some(running) = connection.client.running.as_mut().filter(|_| call.locked) else { return false };
            shard.begin_block(std::mem::take(&mut running.log));
            shard.log_command(call.database, &call.args());
            running.log = shard.log.leave_block();
            true
        });
        if entered != Some(true) {
            self.log_command(call.database, &call.args());
        }
    }

    /// What is entered from here on belongs to a block that has entered this already. A block is ordered by its end, perhaps ticks from now: keys that
    /// went before and were not entered yet do not belong to it, or replicas would lose what has come in their place meanwhile.
    pub(super) fn begin_block(&mut self, block: LogBlock) {
        if self.log.is_on() {
            self.log_removals();
        }
        self.log.begin_block(block);
    }

    /// Closes the log, before anything leaves this core that others can know of its writes by.
    #[inline]
    pub fn close_log(&mut self, io: &mut ShardIo) {
        if self.log.is_on() {
            self.send_log(io);
        }
    }

    fn send_log(&mut self, io: &mut ShardIo) {
        self.log_removals();
        let Some(batch) = self.log.close(&self.shared.sequencer) else { return };
        io.post(self.shared.shards, Message::Log(batch));
        if self.shared.sequencer.is_behind() {
            self.gates.behind = true;
        }
    }

    /// Whether writers have to wait on for the replication executor.
    pub(super) fn is_log_behind(&mut self) -> bool {
        if self.gates.behind {
            self.gates.behind = self.shared.sequencer.wait_on() || self.snapshot_holds_writers();
        }
        self.gates.behind
    }

    /// Turns the log on or off.
    pub fn turn_log(&mut self, on: bool) {
        self.log.turn(on);
        self.keyspace.log_removals(on);
    }

    /// Enters the keys, and the fields of hashes, that have expired or were evicted.
    fn log_removals(&mut self) {
        let guests = self.guests.as_mut().map(|guests| &mut guests.removals);
        for removals in std::iter::once(&mut self.keyspace.removals).chain(guests) {
            removals.for_each_command(|db, words| self.log.enter(1, |batch| batch.words(db, words)));
            removals.clear();
        }
    }
}
