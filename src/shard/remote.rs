//! Commands that cross between cores, or wait for locks: batches on their way there, and their replies on the way back.

use tracing::error;

use super::batch::{Batch, Message, Origin, Request, Response};
use super::checkout::{Plan, for_each_lock, lock_key};
use super::client::{Client, Stall};
use super::dispatch::Step;
use super::execute::{Call, Route};
use super::limits::{BATCH_BYTES, BATCH_COMMANDS, OUTBOX_BATCHES, REPLIES_WAITING};
use super::locks::{Claims, Mode};
use super::transaction::Waiter;
use super::{Shard, ShardIo, lookahead};
use crate::commands::Handler;
use crate::keyspace::{KeyHash, slot};
use crate::replication::log::LogBlock;
use crate::resp::{Args, Out};
use crate::runtime::clock;
use crate::tracking::Tracker;

impl Shard {
    /// A command with keys on several cores, which become one's for its time.
    pub(super) fn execute_many(&mut self, io: &mut ShardIo, client: &mut Client, call: &Call, args: &Args<'_>) -> Step {
        if !client.replies.is_empty() {
            client.stall.add(Stall::BARRIER);
            return Step::Wait;
        }
        let mut plan = Plan::new(self.shared.shards, client.socket);
        plan.command(&self.keyspace, self.commands.get(call.id), args, call.database);
        let batch = self.batch_of(client, call, 0, args);
        self.start_transaction(io, client, plan, batch);
        Step::Done
    }

    /// A batch of one command.
    pub(super) fn batch_of(&mut self, client: &Client, call: &Call, sequence: u32, args: &Args<'_>) -> Box<Batch> {
        let origin = origin_of(client, call, sequence);
        let mut batch = self.spare_batches.pop().unwrap_or_default();
        batch.push(origin, call.id, args, None);
        batch
    }

    /// A command on keys of this core that are locked: it waits for them.
    #[cold]
    pub(super) fn defer_here(&mut self, client: &mut Client, call: &Call, args: &Args<'_>) {
        let sequence = client.replies.wait(client.muted);
        let batch = self.batch_of(client, call, sequence, args);
        self.defer(self.id, batch);
        client.limit_replies();
    }

    /// Lets a batch wait for the locks of all its keys.
    #[cold]
    pub(super) fn defer(&mut self, from: usize, batch: Box<Batch>) {
        let mut claims = Claims::new();
        for request in &batch.requests {
            let command = self.commands.get(request.command);
            for_each_lock(command, &batch.args(request), self.keyspace.hasher(), |key, mode| claims.add(key, mode));
        }
        for watched in batch.block.iter().flat_map(|block| &block.watched) {
            claims.add(lock_key(watched.hash), Mode::Shared);
        }
        self.acquire(&claims, Waiter::Commands { from, batch });
    }

    /// Runs a command whose keys are on several cores and at hand now.
    pub(super) fn run_alone(&mut self, io: &mut ShardIo, client: &mut Client, batch: &Batch) {
        let (bytes, attached) = (client.out.buf.len(), client.out.attached.len());
        self.lap_started = clock::ticks();
        for request in &batch.requests {
            if let Some(call) = self.call_of(request, true) {
                let call = Call { blocks: true, ..call };
                self.execute_blocking(io, client, &call, &batch.args(request));
            }
        }
        if client.blocked.is_none() && std::mem::take(&mut client.muted) {
            client.out.buf.truncate(bytes);
            client.out.attached.truncate(attached);
        }
        self.touch(client);
        self.release(client, Stall::TRANSACTION);
    }

    /// A command that came in a batch. `None` if it is not one over keys, which no batch carries.
    pub(super) fn call_of(&self, request: &Request, visiting: bool) -> Option<Call> {
        let Handler::Data(handler) = self.commands.get(request.command).handler else { return None };
        let Origin { database, proto, touches, tracks, applied, .. } = request.origin;
        Some(Call {
            id: request.command,
            handler,
            database: usize::from(database),
            proto,
            touches,
            tracks,
            applied,
            hash: request.hash,
            visiting,
            blocks: false,
        })
    }

    // Commands for other cores

    pub(super) fn execute_there(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        call: &Call,
        shard: usize,
        args: &Args<'_>,
        slot: Option<u16>,
    ) {
        let sequence = client.replies.wait(client.muted);
        let origin = origin_of(client, call, sequence);
        let batch = self.outgoing[shard].get_or_insert_with(|| self.spare_batches.pop().unwrap_or_default());
        batch.push(origin, call.id, args, slot);
        self.stats.counters.remote_commands_sent += 1;
        if batch.requests.len() >= BATCH_COMMANDS || batch.bytes() >= BATCH_BYTES {
            self.post_batch(io, shard);
        }
        if io.outbox_len(shard) > OUTBOX_BATCHES {
            client.stall.add(Stall::OUTBOX);
            self.waiting_outbox.push(client.socket);
        }
        client.limit_replies();
    }

    pub(super) fn post_batch(&mut self, io: &mut ShardIo, shard: usize) {
        if let Some(batch) = self.outgoing[shard].take() {
            self.stats.counters.batches_sent += 1;
            io.post(shard, Message::Requests(batch));
        }
    }

    pub(super) fn post_batches(&mut self, io: &mut ShardIo) {
        for shard in 0..self.outgoing.len() {
            self.post_batch(io, shard);
        }
    }

    pub fn on_message(&mut self, io: &mut ShardIo, from: usize, message: Message) {
        match message {
            Message::Requests(batch) => self.on_requests(io, from, batch),
            Message::Replies(batch) => self.deliver(io, batch),
            Message::CheckOut(checkout) => self.on_check_out(io, from, checkout),
            Message::CheckedOut(checkout) => self.on_checked_out(io, from, checkout),
            Message::CheckIn(checkout) => self.on_check_in(io, from, checkout),
            Message::Publications(batch) => self.on_publications(io, from, batch),
            Message::Published(batch) => self.on_published(batch),
            Message::Changed(messages) => self.on_told(io, from, &messages),
            Message::Offer(offer) => self.on_offer(io, offer),
            Message::Offered(offer) => self.on_offered(io, from, *offer),
            Message::Connection(arrival) => self.on_arrival(io, *arrival),
            Message::Run(job) => job(self, io),
            Message::Answer { token, value } => self.on_answer(token, value),
            Message::Apply { bytes } => self.apply(io, &bytes),
            Message::Log(_) | Message::Handover(_) | Message::Chunk(_) | Message::Control(_) => {
                error!("A shard got a message that is for the replication executor.");
            }
            Message::Stop => self.stop_serving(io),
        }
        self.run_unlocked(io);
    }

    pub(super) fn on_requests(&mut self, io: &mut ShardIo, from: usize, batch: Box<Batch>) {
        if batch.block.is_none() && self.must_hold_back(io) {
            self.pubsub.held_back.push_back((from, batch));
        } else {
            self.run_requests(io, from, batch);
        }
    }

    pub(super) fn run_requests(&mut self, io: &mut ShardIo, from: usize, mut batch: Box<Batch>) {
        self.stats.counters.remote_commands_executed += batch.requests.len() as u64;
        if batch.block.is_none() {
            self.run_or_defer(io, from, &mut batch);
        } else if self.gates.locks {
            return self.defer(from, batch);
        } else {
            self.run_batch(io, from, &mut batch);
        }
        self.answer_batch(io, from, batch);
    }

    /// Sends a batch that was executed back to where it came from.
    pub(super) fn answer_batch(&mut self, io: &mut ShardIo, from: usize, batch: Box<Batch>) {
        if from == self.id {
            self.deliver(io, batch);
        } else {
            io.post(from, Message::Replies(batch));
        }
    }

    /// Executes commands of a batch whose locks are held, or a block that needs none.
    pub(super) fn run_batch(&mut self, io: &mut ShardIo, from: usize, batch: &mut Batch) {
        self.lap_started = clock::ticks();
        if batch.block.is_some() && !self.check_block(io, batch) {
            return;
        }
        let is_block = batch.block.is_some();
        if is_block {
            self.begin_block(LogBlock::default());
        }
        self.run_each(batch, |shard, request, args, out| shard.run_request(io, from, request, args, out));
        if is_block {
            let block = self.log.leave_block();
            self.log.enter_block(block);
        }
    }

    /// Executes another core's commands. One that meets a lock, which may be there since the command before it, waits in a batch of its own.
    pub(super) fn run_or_defer(&mut self, io: &mut ShardIo, from: usize, batch: &mut Batch) {
        self.lap_started = clock::ticks();
        self.run_each(batch, |shard, request, args, out| {
            if !shard.gates.locks || shard.is_free(request.command, args) {
                return shard.run_request(io, from, request, args, out);
            }
            let mut waiting = shard.spare_batches.pop().unwrap_or_default();
            waiting.push(request.origin, request.command, args, request.slot);
            shard.defer(from, waiting);
            Response { end: out.buf.len(), nanoseconds: 0, failed: false, deferred: true }
        });
    }

    /// Runs the commands of a batch, some of which have their keys fetched at a time.
    fn run_each(
        &mut self,
        batch: &mut Batch,
        mut run: impl FnMut(&mut Shard, &Request, &Args<'_>, &mut Out) -> Response,
    ) {
        let mut done = 0;
        while done < batch.requests.len() {
            let next = self.fetch_ahead(batch, done);
            batch.execute(done..next, |request, args, out| run(self, request, args, out));
            done = next;
        }
    }

    /// Asks for the memory of the keys of the next requests, so that the waits for it overlap. Where the requests end that can be executed now.
    fn fetch_ahead(&self, batch: &mut Batch, from: usize) -> usize {
        let next = batch.requests.len().min(from + lookahead::COMMANDS);
        let database = batch.requests[from].origin.database;
        let mut hashes = [KeyHash::default(); lookahead::COMMANDS];
        let mut count = 0;
        for at in from..next {
            let request = batch.requests[at];
            let Route::One(index) = self.routes[request.command.index()] else { continue };
            let args = batch.args(&request);
            let Some(key) = args.opt(index.into()) else { continue };
            let hash = self.keyspace.hash(key, request.slot.unwrap_or_else(|| slot::slot(key)));
            batch.requests[at].hash = Some(hash);
            if request.origin.database == database {
                hashes[count] = hash;
                count += 1;
            }
        }
        if count > 1 {
            self.keyspace.prefetch(database.into(), &hashes[..count]);
        }
        next
    }

    #[inline]
    pub(super) fn run_request(
        &mut self,
        io: &mut ShardIo,
        from: usize,
        request: &Request,
        args: &Args<'_>,
        out: &mut Out,
    ) -> Response {
        let Some(call) = self.call_of(request, false) else {
            unreachable!("only data commands are sent to other cores");
        };
        let response = self.run_handler(&call, args, out);
        if !self.keyspace.changes.is_empty() {
            self.settle_changes(io, Some((from, request.origin.socket)));
        }
        if call.tracks {
            self.remember_reads(io, call.id, args, Tracker { core: from, socket: request.origin.socket });
        }
        response
    }

    /// Hands another core's replies to the clients that wait for them.
    pub(super) fn deliver(&mut self, io: &mut ShardIo, batch: Box<Batch>) {
        if let Some(block) = &batch.block {
            self.deliver_block(io, &batch, block.broken);
            return self.recycle(batch);
        }
        let (mut start, mut attached) = (0, 0);
        for (request, response) in batch.requests.iter().zip(&batch.responses) {
            if response.deferred {
                continue;
            }
            let range = start..response.end;
            start = response.end;
            self.record(request.command, response);
            let next = self.with_connection(request.origin.socket, |shard, connection| {
                let client = &mut connection.client;
                if shard.is_slow(response.nanoseconds) {
                    shard.note_slow(client, request.command, response.nanoseconds, &batch.args(request));
                }
                shard.ready_output(client);
                let next =
                    client.replies.answer(request.origin.sequence, &batch.replies, range, attached, &mut client.out);
                shard.replied_remotely(client);
                next
            });
            // The client may be gone; its attachments are still to be passed over.
            attached = next.unwrap_or_else(|| batch.replies.attached.partition_point(|(offset, _)| *offset < start));
        }
        self.recycle(batch);
    }

    /// Keeps a batch for the next commands to other cores.
    pub(super) fn recycle(&mut self, batch: Box<Batch>) {
        if self.spare_batches.len() < super::limits::SPARE_BUFFERS
            && let Some(batch) = batch.recycle()
        {
            self.spare_batches.push(batch);
        }
    }

    /// Another core has answered: what waited for that goes on.
    pub(super) fn replied_remotely(&mut self, client: &mut Client) {
        self.touch(client);
        if client.replies.is_empty() {
            self.release(client, Stall::BARRIER);
        }
        if client.replies.len() < REPLIES_WAITING / 2 {
            self.release(client, Stall::REPLIES);
        }
    }
}

fn origin_of(client: &Client, call: &Call, sequence: u32) -> Origin {
    Origin {
        socket: client.socket,
        sequence,
        database: call.database as u16,
        proto: call.proto,
        touches: call.touches,
        tracks: call.tracks,
        applied: call.applied,
    }
}
