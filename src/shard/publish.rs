//! Messages to subscribers: written into the outputs of those here, posted once to each other core that has some.
//!
//! Guarantees
//! - messages that one core publishes reach a subscriber in the order in which they were published
//! - the reply to a publish leaves when every subscriber on every core has the message in its output. So whoever publishes
//!   after having seen that reply, on whatever core, cannot overtake it
//! - a message is encoded once a protocol; a large one is shared by all who get it
//! - what the client at work publishes to itself comes behind the reply to its command, and nothing comes within a reply

use std::collections::VecDeque;

use bytes::Bytes;
use slab::Slab;

use super::batch::Batch;
use super::client::{Client, Connection, Stall};
use super::limits::{BATCH_BYTES, BATCH_COMMANDS, GATHER_SUBSCRIBERS, GATHER_TICKS, KEEP_BUFFER_BYTES, SPARE_BUFFERS};
use super::{Message, Shard, ShardIo};
use crate::commands::lookup::CommandId;
use crate::keyspace::EventClass;
use crate::pubsub::{Kind, Registry};
use crate::resp::{ATTACH_MIN_BYTES, Args, Out, Proto, Span, Writer};
use crate::runtime::{ExecutorId, SocketId, clock};

/// A message on its way.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    /// The same bytes, when they are large enough to be shared instead of copied.
    shared: Option<&'a Bytes>,
}

impl<'a> Payload<'a> {
    /// A message that is copied to each subscriber.
    pub fn small(bytes: &'a [u8]) -> Payload<'a> {
        Payload { bytes, shared: None }
    }

    fn shared(bytes: &'a Bytes) -> Payload<'a> {
        Payload { bytes, shared: Some(bytes) }
    }

    fn write(self, out: &mut Writer<'_>) {
        match self.shared {
            Some(bytes) => out.bulk_shared(bytes),
            None => out.bulk(self.bytes),
        }
    }
}

/// A publish for another core.
struct Publication {
    kind: Kind,
    channel: Span,
    payload: Span,
    /// Who waits for the number of receivers, in [`PubSub::waiting`] of the core that published.
    ticket: Option<usize>,
}

/// What one core publishes to the subscribers of another in one tick. Comes back in the same memory, with the numbers of receivers, when
/// somebody waits for them.
#[derive(Default)]
pub struct Publications {
    data: Vec<u8>,
    bigs: Vec<Bytes>,
    items: Vec<Publication>,
    received: Vec<u32>,
    awaited: bool,
}

impl Publications {
    fn push(&mut self, kind: Kind, channel: &[u8], payload: Payload<'_>, ticket: Option<usize>) {
        let channel = self.copy(channel);
        let payload = match payload.shared {
            Some(bytes) => {
                self.bigs.push(bytes.clone());
                Span::separate(self.bigs.len() - 1)
            }
            None => self.copy(payload.bytes),
        };
        self.items.push(Publication { kind, channel, payload, ticket });
        self.awaited |= ticket.is_some();
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        self.data.extend_from_slice(bytes);
        Span::inline(self.data.len() - bytes.len(), bytes.len())
    }

    fn is_full(&self) -> bool {
        self.items.len() >= BATCH_COMMANDS || self.data.len() >= BATCH_BYTES
    }

    fn inline(&self, span: Span) -> &[u8] {
        span.range().map_or(&[], |range| &self.data[range])
    }

    fn payload(&self, publication: &Publication) -> Payload<'_> {
        match publication.payload.separate_index() {
            Some(index) => Payload::shared(&self.bigs[index]),
            None => Payload::small(self.inline(publication.payload)),
        }
    }

    fn clear(&mut self) {
        self.data.clear();
        self.bigs.clear();
        self.items.clear();
        self.received.clear();
        self.awaited = false;
    }
}

/// A publish whose reply waits for other cores.
struct Waiting {
    socket: SocketId,
    /// Its place in the publisher's reply queue.
    sequence: u32,
    receivers: i64,
    /// How many cores have not answered yet.
    cores: usize,
}

/// One core's part of publish/subscribe.
pub struct PubSub {
    pub registry: Registry,
    outgoing: Vec<Option<Box<Publications>>>,
    #[allow(clippy::vec_box)] // they travel boxed
    spare: Vec<Box<Publications>>,
    waiting: Slab<Waiting>,
    /// Subscribers that have been given something to be sent.
    pushed: Vec<SocketId>,
    /// There were some in this tick.
    pushes: bool,
    /// For how many ticks what was pushed has been kept to be sent with more.
    gathered: u32,
    /// How many subscribers the message at work has on each core.
    reach: Vec<u32>,
    /// The message at work as each protocol has it; kept for its memory.
    encoded: [Out; 2],
    /// What clients were told while their own commands were at work, in each protocol. Empty but for that time.
    late: Vec<(SocketId, [Out; 2])>,
    /// Commands of other cores, while their keyspace events could not leave for a core that does not keep up. Bounded by what the clients
    /// that wait for the answers may have under way.
    pub(super) held_back: VecDeque<(ExecutorId, Box<Batch>)>,
}

fn index(proto: Proto) -> usize {
    match proto {
        Proto::Resp2 => 0,
        Proto::Resp3 => 1,
    }
}

fn encode(out: &mut Out, proto: Proto, kind: Kind, pattern: Option<&Bytes>, channel: &[u8], payload: Payload<'_>) {
    let mut out = Writer::new(out, proto);
    match pattern {
        Some(pattern) => {
            out.push(4);
            out.bulk_str("pmessage");
            out.bulk(pattern);
        }
        None => {
            out.push(3);
            out.bulk_str(if kind == Kind::ShardChannel { "smessage" } else { "message" });
        }
    }
    out.bulk(channel);
    payload.write(&mut out);
}

impl PubSub {
    pub fn new(here: usize, cores: usize) -> PubSub {
        PubSub {
            registry: Registry::new(here, cores),
            outgoing: (0..cores).map(|_| None).collect(),
            spare: Vec::new(),
            waiting: Slab::new(),
            pushed: Vec::new(),
            pushes: false,
            gathered: 0,
            reach: vec![0; cores],
            encoded: Default::default(),
            late: Vec::new(),
            held_back: VecDeque::new(),
        }
    }

    /// Keeps what the client at work is to be told behind the reply to its command.
    pub(super) fn keep_for(&mut self, client: &Client, message: &Out) {
        late(&mut self.late, client.socket)[index(client.proto)].append(message);
    }

    /// What the client at work was told since it was asked last.
    #[inline]
    pub(super) fn take_late(&mut self, client: &Client) -> Option<Out> {
        let at = self.late.iter().position(|(socket, _)| *socket == client.socket)?;
        let (_, mut messages) = self.late.swap_remove(at);
        Some(std::mem::take(&mut messages[index(client.proto)]))
    }
}

fn late(late: &mut Vec<(SocketId, [Out; 2])>, client: SocketId) -> &mut [Out; 2] {
    let at = late.iter().position(|(socket, _)| *socket == client).unwrap_or_else(|| {
        late.push((client, Default::default()));
        late.len() - 1
    });
    &mut late[at].1
}

impl Shard {
    /// Writes a message into the outputs of its subscribers on this core; how many they are. Leaves in `reach` how many every core has.
    fn publish_here(&mut self, kind: Kind, channel: &[u8], payload: Payload<'_>) -> u32 {
        let Shard { pubsub, connections, spare_outs, config, .. } = self;
        let PubSub { registry, reach, encoded, late: kept, pushed, pushes, .. } = pubsub;
        let limit = config.client_output_buffer_limit.pubsub.hard_bytes;
        let mut receivers = 0;
        reach.fill(0);
        registry.reached(kind, channel, |pattern, topic| {
            reach.iter_mut().zip(topic.counts()).for_each(|(sum, count)| *sum += count);
            encoded.iter_mut().for_each(Out::clear);
            for socket in topic.subscribers() {
                receivers += 1;
                let connection = connections.get_mut(socket.index as usize).and_then(Option::as_deref_mut);
                match connection.filter(|connection| connection.client.socket == socket) {
                    Some(Connection { client, .. }) => {
                        let message = &mut encoded[index(client.proto)];
                        if message.is_empty() {
                            encode(message, client.proto, kind, pattern, channel, payload);
                        }
                        if client.out.buf.capacity() == 0
                            && let Some(spare) = spare_outs.pop()
                        {
                            client.out = spare;
                        }
                        if client.push(message, limit) {
                            pushed.push(socket);
                        }
                        *pushes = true;
                    }
                    // Of all subscribers, only the client at work is not among the connections.
                    None => {
                        let own = late(kept, socket);
                        for proto in [Proto::Resp2, Proto::Resp3] {
                            encode(&mut own[index(proto)], proto, kind, pattern, channel, payload);
                        }
                    }
                }
            }
        });
        for out in encoded {
            // A shared payload is not to be held on to, nor is much memory.
            out.clear();
            if out.buf.capacity() > KEEP_BUFFER_BYTES {
                *out = Out::default();
            }
        }
        receivers
    }

    /// Puts a message into the batches to the other cores that it reaches; how many these are.
    fn publish_elsewhere(
        &mut self,
        io: &mut ShardIo,
        kind: Kind,
        channel: &[u8],
        payload: Payload<'_>,
        ticket: Option<usize>,
    ) -> usize {
        let mut cores = 0;
        for core in 0..self.pubsub.reach.len() {
            if core == self.id || self.pubsub.reach[core] == 0 {
                continue;
            }
            cores += 1;
            let PubSub { outgoing, spare, .. } = &mut self.pubsub;
            let batch = outgoing[core].get_or_insert_with(|| spare.pop().unwrap_or_default());
            batch.push(kind, channel, payload, ticket);
            if batch.is_full() {
                self.post_publications_to(io, core);
            }
        }
        cores
    }

    fn reaches_others(&self) -> bool {
        self.pubsub.reach.iter().enumerate().any(|(core, count)| core != self.id && *count > 0)
    }

    /// PUBLISH and SPUBLISH: answers at once when no other core has a subscriber, else when they have answered.
    pub(super) fn publish(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        id: CommandId,
        kind: Kind,
        args: &Args<'_>,
    ) {
        let started = clock::ticks();
        let channel = args.get(1);
        self.log_command(client.database, args);
        if client.modes.in_block {
            let receivers = self.publish_now(io, kind, channel, args.get(2));
            return self.finish_publish(client, id, args, started, Some(receivers));
        }
        let large = args.get(2).len() >= ATTACH_MIN_BYTES;
        let shared = large.then(|| args.separate(2).cloned().unwrap_or_else(|| Bytes::copy_from_slice(args.get(2))));
        let payload = shared.as_ref().map_or(Payload::small(args.get(2)), Payload::shared);
        let receivers = i64::from(self.publish_here(kind, channel, payload));
        if self.reaches_others() {
            let sequence = client.replies.wait_for_publish(client.muted);
            let waiting = Waiting { socket: client.socket, sequence, receivers, cores: 0 };
            let ticket = self.pubsub.waiting.insert(waiting);
            self.pubsub.waiting[ticket].cores = self.publish_elsewhere(io, kind, channel, payload, Some(ticket));
            self.hold_back(io, client);
            self.finish_publish(client, id, args, started, None);
        } else {
            self.finish_publish(client, id, args, started, Some(receivers));
        }
    }

    fn finish_publish(
        &mut self,
        client: &mut Client,
        id: CommandId,
        args: &Args<'_>,
        started: u64,
        receivers: Option<i64>,
    ) {
        if let Some(receivers) = receivers {
            self.reply(client, |out| {
                out.int(receivers);
                Ok(())
            });
        }
        self.tell_late(client);
        self.book(client, id, args, started);
    }

    /// Publishes without waiting for anybody; how many receive it, where other cores are believed to have the subscribers that they
    /// have announced. For transactions, scripts and keyspace events.
    pub fn publish_now(&mut self, io: &mut ShardIo, kind: Kind, channel: &[u8], payload: &[u8]) -> i64 {
        let shared = (payload.len() >= ATTACH_MIN_BYTES).then(|| Bytes::copy_from_slice(payload));
        let payload = shared.as_ref().map_or(Payload::small(payload), Payload::shared);
        let receivers = i64::from(self.publish_here(kind, channel, payload));
        self.publish_elsewhere(io, kind, channel, payload, None);
        let others = self.pubsub.reach.iter().enumerate().filter(|(core, _)| *core != self.id);
        receivers + others.map(|(_, count)| i64::from(*count)).sum::<i64>()
    }

    /// Publishes a keyspace event, if `notify-keyspace-events` wants it.
    pub(super) fn publish_event(&mut self, io: &mut ShardIo, db: u16, class: EventClass, name: &str, key: &[u8]) {
        let wanted = self.config.notify_keyspace_events;
        if !wanted.has(class) || self.pubsub.registry.is_empty() {
            return;
        }
        let channel =
            |form: &str, rest: &[u8]| [form.as_bytes(), b"@", db.to_string().as_bytes(), b"__:", rest].concat();
        if wanted.by_key() {
            self.publish_now(io, Kind::Channel, &channel("__keyspace", key), name.as_bytes());
        }
        if wanted.by_event() {
            self.publish_now(io, Kind::Channel, &channel("__keyevent", name.as_bytes()), key);
        }
    }

    /// Gives the client at work, behind the reply to its command, what it was told during it. While a block of it runs, that is kept.
    #[inline]
    pub(super) fn tell_late(&mut self, client: &mut Client) {
        if !self.pubsub.late.is_empty() && !client.muted && !client.modes.in_block {
            self.tell_own_messages(client);
        }
    }

    #[cold]
    fn tell_own_messages(&mut self, client: &mut Client) {
        let Some(messages) = self.pubsub.take_late(client) else { return };
        if client.replies.is_empty() {
            self.ready_output(client);
            client.out.append(&messages);
        } else {
            client.replies.stash(|stash| stash.append(&messages));
        }
        self.touch(client);
    }

    pub(super) fn has_late(&self) -> bool {
        !self.pubsub.late.is_empty()
    }

    /// At the end of the tick nobody is at work: whoever was is given what was kept.
    #[cold]
    pub(super) fn tell_all_late(&mut self) {
        for (socket, messages) in std::mem::take(&mut self.pubsub.late) {
            self.with_connection(socket, |shard, connection| {
                let client = &mut connection.client;
                shard.tell(client, &messages[index(client.proto)]);
            });
        }
    }

    /// Gives a client a message that is no reply.
    pub(super) fn tell(&mut self, client: &mut Client, message: &Out) {
        self.ready_output(client);
        if client.push(message, self.config.client_output_buffer_limit.pubsub.hard_bytes) {
            self.to_send.push(client.socket);
        }
    }

    /// Whom to send what was pushed. To send to many subscribers costs far more than to look for what else is there for them: so they
    /// get their messages when a tick has brought no more, or after some.
    pub(super) fn send_pushed(&mut self, io: &mut ShardIo) {
        let PubSub { pushed, pushes, gathered, .. } = &mut self.pubsub;
        let more = std::mem::take(pushes);
        if more && pushed.len() >= GATHER_SUBSCRIBERS && *gathered < GATHER_TICKS {
            *gathered += 1;
            return io.tick_again();
        }
        *gathered = 0;
        self.to_send.append(pushed);
    }

    // Between cores

    fn post_publications_to(&mut self, io: &mut ShardIo, core: usize) {
        if let Some(batch) = self.pubsub.outgoing[core].take() {
            io.post(core, Message::Publications(batch));
        }
    }

    /// What was published in this tick leaves.
    pub(super) fn post_publications(&mut self, io: &mut ShardIo) {
        for core in 0..self.pubsub.outgoing.len() {
            self.post_publications_to(io, core);
        }
    }

    /// Serves the subscribers of this core with what another one publishes.
    pub(super) fn on_publications(&mut self, io: &mut ShardIo, from: usize, mut batch: Box<Publications>) {
        let mut received = std::mem::take(&mut batch.received);
        for item in &batch.items {
            received.push(self.publish_here(item.kind, batch.inline(item.channel), batch.payload(item)));
        }
        batch.received = received;
        if batch.awaited {
            io.post(from, Message::Published(batch));
        }
    }

    /// Another core has served its subscribers: the replies that waited only for it leave.
    pub(super) fn on_published(&mut self, mut batch: Box<Publications>) {
        for (item, received) in batch.items.iter().zip(&batch.received) {
            let Some(ticket) = item.ticket else { continue };
            let Some(waiting) = self.pubsub.waiting.get_mut(ticket) else { continue };
            waiting.receivers += i64::from(*received);
            waiting.cores -= 1;
            if waiting.cores == 0 {
                let waiting = self.pubsub.waiting.remove(ticket);
                self.answer_publish(&waiting);
            }
        }
        batch.clear();
        if self.pubsub.spare.len() < SPARE_BUFFERS && batch.data.capacity() <= KEEP_BUFFER_BYTES {
            self.pubsub.spare.push(batch);
        }
    }

    fn answer_publish(&mut self, waiting: &Waiting) {
        let mut reply = std::mem::take(&mut self.pubsub.encoded[0]);
        reply.clear();
        // The publisher may be gone.
        self.with_connection(waiting.socket, |shard, connection| {
            let client = &mut connection.client;
            Writer::new(&mut reply, client.proto).int(waiting.receivers);
            shard.ready_output(client);
            client.replies.answer(waiting.sequence, &reply, 0..reply.buf.len(), 0, &mut client.out);
            shard.replied_remotely(client);
        });
        self.pubsub.encoded[0] = reply;
    }

    /// A client whose command went to other cores waits when the way there is full, or too many of its replies are out.
    pub(super) fn hold_back(&mut self, io: &mut ShardIo, client: &mut Client) {
        if !client.stall.has(Stall::OUTBOX) && self.is_outbox_full(io) {
            client.stall.add(Stall::OUTBOX);
            self.waiting_outbox.push(client.socket);
        }
        client.limit_replies();
    }

    fn is_outbox_full(&self, io: &ShardIo) -> bool {
        (0..self.shared.shards).any(|core| io.outbox_len(core) > super::limits::OUTBOX_BATCHES)
    }

    /// Whether another core's commands have to wait, since their keyspace events or what they propagate could not leave, or others wait already.
    #[inline]
    pub(super) fn must_hold_back(&self, io: &ShardIo) -> bool {
        let publishes = self.config.notify_keyspace_events.any();
        !self.pubsub.held_back.is_empty() || self.gates.behind || (publishes && self.is_outbox_full(io))
    }

    /// Runs what was held back, as far as the way to all other cores is free.
    pub(super) fn run_held_back(&mut self, io: &mut ShardIo) {
        while !self.is_outbox_full(io)
            && !self.gates.behind
            && let Some((from, batch)) = self.pubsub.held_back.pop_front()
        {
            self.run_requests(io, from, batch);
        }
    }
}
