//! A node's link to its primary, and what comes through it: what the executor does around the machines of a replica.

use super::node::{Node, Role, Work, World};
use super::truth::{State, commands};
use super::wire::Phase;
use crate::keyspace::Value;
use crate::rdb::frame::decode_frame;
use crate::rdb::{Record, Records};
use crate::replication::primary::Event as PrimaryEvent;
use crate::replication::replica::apply::Ready;
use crate::replication::replica::link::{Action, Event, Link, Position, Settings};
use crate::replication::replica::load::{Loader, Parcel};
use crate::replication::replica::stream::Stream;
use crate::types::Encodings;

const MAX_STRING_BYTES: u64 = 1 << 20;
const DATABASES: u16 = 16;

pub struct Upstream {
    pub target: usize,
    pub link: Link,
    pub wire: Option<u64>,
    /// What has come and is not consumed, while the stream does not run.
    input: Vec<u8>,
    loading: Option<Loading>,
    attempts: u64,
}

impl Upstream {
    /// Whether the primary is there, and the data are in order.
    pub fn is_up(&self) -> bool {
        self.link.is_streaming()
    }

    pub fn loading_of(&mut self, attempt: u64) -> Option<&mut Loading> {
        self.loading.as_mut().filter(|loading| loading.attempt == attempt)
    }

    /// Whether the cores have all they should have of a snapshot at the moment.
    pub fn is_full(&self) -> bool {
        self.loading.as_ref().is_some_and(|loading| loading.loader.is_full())
    }
}

/// A snapshot that is coming.
pub struct Loading {
    attempt: u64,
    loader: Loader,
    position: Position,
    has_ended: bool,
    /// The old data are to be dropped, as soon as they are at rest.
    flushes: bool,
    incoming: Vec<State>,
}

impl Loading {
    pub fn take_in(&mut self, shard: usize, parcel: &Parcel) {
        let incoming = &mut self.incoming[shard];
        let mut insert = |db: u16, record: Record<'_>| {
            let value = match record.decode(MAX_STRING_BYTES, &Encodings::default()).expect("a sound value") {
                Value::Str(bytes) => bytes,
                Value::Int(number) => number.to_string().into(),
                Value::Packed(..) | Value::Object(_) => unreachable!("the simulated nodes hold strings"),
            };
            let before = incoming.insert((db, record.key.to_vec()), value);
            assert!(before.is_none(), "a key comes twice in a snapshot");
        };
        match parcel {
            Parcel::Records { database, bytes, .. } => {
                Records::new(bytes, MAX_STRING_BYTES).for_each(|record| insert(*database, record.expect("sound")));
            }
            Parcel::Frame(frame) => {
                let mut scratch = Vec::new();
                let records = decode_frame(frame, &mut scratch, MAX_STRING_BYTES).expect("a sound frame");
                records.for_each(|record| insert(frame.db(), record.expect("sound")));
            }
        }
    }
}

impl Node {
    /// REPLICAOF, as a replica.
    pub fn follow(&mut self, target: usize, world: &mut World) {
        self.leave_upstream(world);
        let settings = Settings {
            timeout_ms: world.timeout_ms,
            listening_port: 1 + self.id as u16,
            frames: world.frames,
            version: "7.2.4".into(),
            ..Settings::default()
        };
        let link = Link::new("node".into(), target as u16, settings, self.resume(), world.now_ms);
        let attempts = self.upstream.as_ref().map_or(0, |upstream| upstream.attempts);
        self.upstream = Some(Upstream { target, link, wire: None, input: Vec::new(), loading: None, attempts });
    }

    fn resume(&self) -> Option<Position> {
        self.history.as_ref().map(|id| Position { id: id.clone(), offset: self.stream.offset() })
    }

    /// Gives up the connection to the primary: what it brought and was not taken is forgotten.
    pub fn leave_upstream(&mut self, world: &mut World) {
        let Some(upstream) = &mut self.upstream else { return };
        if let Some(wire) = upstream.wire.take() {
            world.wires.close_by_replica(wire);
        }
        upstream.input.clear();
        upstream.loading = None;
        self.stream = Stream::new(self.stream.offset(), self.stream.database());
        self.applier.forget_acknowledgement();
        let resume = self.resume();
        if let Some(upstream) = &mut self.upstream {
            upstream.link.resume = resume;
        }
        self.tell(PrimaryEvent::Upstream { up: false }, world);
    }

    /// Tells the link something, and does what it says.
    pub fn tell_link(&mut self, event: Event<'_>, world: &mut World) {
        let Some(upstream) = &mut self.upstream else { return };
        let mut actions = Vec::new();
        upstream.link.handle(event, world.now_ms, &mut actions);
        for action in actions {
            self.link_action(action, &[], world);
        }
    }

    /// Bytes of the primary have come.
    pub fn heard_upstream(&mut self, bytes: &[u8], world: &mut World) {
        let Some(upstream) = &mut self.upstream else { return };
        if upstream.is_up() {
            upstream.link.heard(world.now_ms);
            return self.feed(bytes, world);
        }
        upstream.input.extend_from_slice(bytes);
        self.take_input(world);
    }

    fn take_input(&mut self, world: &mut World) {
        while let Some(upstream) = &mut self.upstream
            && upstream.link.takes_input()
            && !upstream.input.is_empty()
        {
            let input = std::mem::take(&mut upstream.input);
            let mut actions = Vec::new();
            let consumed = upstream.link.handle(Event::Input(&input), world.now_ms, &mut actions);
            let gave_up = actions.contains(&Action::Close);
            for action in actions {
                self.link_action(action, &input, world);
            }
            let Some(upstream) = self.upstream.as_mut().filter(|_| !gave_up) else { return };
            upstream.input.extend_from_slice(&input[consumed..]);
            if consumed == 0 {
                break;
            }
        }
        if let Some(upstream) = &mut self.upstream
            && upstream.is_up()
            && !upstream.input.is_empty()
        {
            let input = std::mem::take(&mut upstream.input);
            self.feed(&input, world);
        }
    }

    fn link_action(&mut self, action: Action, input: &[u8], world: &mut World) {
        let Some(upstream) = &mut self.upstream else { return };
        match action {
            Action::Connect => {
                assert!(upstream.wire.is_none(), "one connection at a time");
                upstream.wire = Some(world.wires.connect(self.id, upstream.target, world.up[upstream.target]));
            }
            Action::Send(bytes) => self.say(&bytes, world),
            Action::Close => self.leave_upstream(world),
            Action::Continue { new_id } => {
                if let Some(id) = new_id {
                    self.history = Some(id);
                }
                let id = self.history.clone().expect("whoever goes on has a history");
                self.tell(PrimaryEvent::Continued { id }, world);
                self.tell(PrimaryEvent::Upstream { up: true }, world);
            }
            Action::FullResync(position) => {
                let position = position.expect("every primary knows positions");
                upstream.attempts += 1;
                upstream.loading = Some(Loading {
                    attempt: upstream.attempts,
                    loader: Loader::new(self.data.len(), DATABASES, MAX_STRING_BYTES, true),
                    position,
                    has_ended: false,
                    flushes: !world.swaps,
                    incoming: vec![State::new(); self.data.len()],
                });
            }
            Action::Begin { .. } => self.try_flush(world),
            Action::Payload(range) => {
                let loading = upstream.loading.as_mut().expect("a snapshot is coming");
                loading.loader.feed(&input[range]).expect("a sound snapshot");
                self.hand_out_parcels();
            }
            Action::End => {
                let loading = upstream.loading.as_mut().expect("a snapshot is coming");
                loading.loader.finish().expect("a whole snapshot");
                loading.has_ended = true;
                self.hand_out_parcels();
                self.try_install(world);
            }
            Action::Failover { .. } => panic!("nobody has asked for it"),
        }
    }

    fn say(&mut self, bytes: &[u8], world: &mut World) {
        for (_, words) in commands(bytes) {
            let args = words.args();
            if args.is(0, "replconf") && args.is(1, "ack") {
                let offset: u64 = String::from_utf8_lossy(args.get(2)).parse().expect("an offset");
                let id = self.history.clone().expect("whoever acknowledges has a history");
                assert_eq!(offset, self.applier.applied(), "what is acknowledged is applied, and all of it");
                if let Some((_, before)) = self.last_ack.as_ref().filter(|(last, _)| *last == id) {
                    assert!(*before <= offset, "{before} of {id} was acknowledged before {offset}");
                }
                self.last_ack = Some((id, offset));
            }
        }
        if let Some(wire) = self.upstream.as_ref().and_then(|upstream| upstream.wire)
            && let Some(wire) = world.wires.all.get_mut(&wire)
        {
            wire.to_primary.push(bytes);
        }
    }

    // Loading

    fn hand_out_parcels(&mut self) {
        let Some(loading) = self.upstream.as_mut().and_then(|upstream| upstream.loading.as_mut()) else { return };
        while let Some((shard, parcel)) = loading.loader.ready.pop_front() {
            self.inbox[shard].push_back(Work::Parcel { attempt: loading.attempt, parcel });
        }
    }

    pub fn taken_in(&mut self, attempt: u64, bytes: usize, world: &mut World) {
        if let Some(loading) = self.upstream.as_mut().and_then(|upstream| upstream.loading_of(attempt)) {
            loading.loader.taken_in(bytes);
            self.try_install(world);
        }
    }

    /// Drops the old data before new ones are here: from then on the node has no position.
    fn try_flush(&mut self, world: &mut World) {
        let Some(upstream) = &mut self.upstream else { return };
        let is_idle = self.applier.is_idle();
        if let Some(loading) = upstream.loading.as_mut().filter(|loading| loading.flushes && is_idle) {
            loading.flushes = false;
            upstream.link.resume = None;
            self.history = None;
            self.data.iter_mut().for_each(State::clear);
            self.tell(PrimaryEvent::NewHistory { id: crate::node::random_hex(), offset: 0 }, world);
        }
    }

    /// The new data take the place of the old, once both are at rest.
    pub fn try_install(&mut self, world: &mut World) {
        self.try_flush(world);
        let Some(upstream) = &mut self.upstream else { return };
        let is_whole = |loading: &mut Loading| loading.has_ended && loading.loader.is_taken_in();
        if !self.applier.is_idle() {
            return;
        }
        let Some(mut loading) = upstream.loading.take_if(is_whole) else { return };
        let Position { id, offset } = loading.position;
        let summary = loading.loader.finish().expect("it was whole before");
        if self.last_ack.as_ref().is_some_and(|(last, before)| *last == id && offset < *before) {
            // A snapshot of another replica that is behind; nobody else has so little.
            assert_ne!(world.truth.maker(&id), Some(upstream.target), "{id} goes back to {offset}");
            self.last_ack = None;
        }
        self.data = loading.incoming;
        self.history = Some(id.clone());
        self.stream = Stream::new(offset, summary.stream_database);
        self.applier.begin_at(offset);
        self.tell(PrimaryEvent::NewHistory { id, offset }, world);
        self.tell(PrimaryEvent::Upstream { up: true }, world);
        self.check(&world.truth);
        self.tell_link(Event::Installed, world);
        self.take_input(world);
    }

    // The stream

    fn feed(&mut self, mut bytes: &[u8], world: &mut World) {
        while !bytes.is_empty() {
            if world.dice.below(2) == 0 {
                self.stream.feed(bytes);
                bytes = &[];
            } else {
                let (mut buffer, max) = self.stream.lend();
                let (now, rest) = bytes.split_at(bytes.len().min(max));
                buffer.extend_from_slice(now);
                self.stream.put_back(buffer);
                bytes = rest;
            }
            self.take_units(world);
        }
    }

    /// Something that was taken from the stream is applied.
    pub fn applied_more(&mut self, world: &mut World) {
        self.try_cut(world);
        self.take_units(world);
        if self.applier.take_acknowledgement() {
            let applied = self.applier.applied();
            self.tell_link(Event::Acknowledge { applied }, world);
        }
        self.try_install(world);
        self.try_promote(world);
    }

    fn take_units(&mut self, world: &mut World) {
        let is_up = self.upstream.as_ref().is_some_and(Upstream::is_up);
        if !is_up || self.awaits_cut() || self.role != Role::Replica {
            return;
        }
        let offset = self.stream.offset();
        self.applier.take(&mut self.stream).expect("a stream that can be followed");
        let mut consumed = Vec::new();
        self.stream.drain(|piece| consumed.extend_from_slice(piece));
        assert_eq!(self.stream.offset(), offset + consumed.len() as u64);
        while let Some(ready) = self.applier.ready.pop_front() {
            match ready {
                Ready::Batch(shard, batch) => self.inbox[shard].push_back(Work::Batch(batch)),
                Ready::Apply(bytes) => assert!(self.alone.replace(bytes).is_none(), "one at a time runs alone"),
            }
        }
        if !consumed.is_empty() {
            let id = self.history.as_ref().expect("a stream is of a history");
            assert!(world.truth.has(id, offset, &consumed), "the stream of {id} behind {offset} is another one");
            self.tell(PrimaryEvent::Stream(&consumed), world);
            let ours = self.machine.stream();
            assert_eq!((ours.history().id(), ours.offset()), (id_of(&self.history), self.stream.offset()));
        }
        if self.applier.take_acknowledgement() {
            let applied = self.applier.applied();
            self.tell_link(Event::Acknowledge { applied }, world);
        }
    }

    /// The other end has closed the connection, or the network has.
    pub fn upstream_ended(&mut self, id: u64, world: &mut World) {
        if self.upstream.as_ref().is_some_and(|upstream| upstream.wire == Some(id)) {
            self.tell_link(Event::Ended(Some("it was cut")), world);
        }
    }

    /// A connection is made, or refused.
    pub fn connected(&mut self, id: u64, world: &mut World) {
        let Some(wire) = world.wires.all.get_mut(&id) else { return };
        if matches!(wire.phase, Phase::Refused) {
            return self.tell_link(Event::ConnectFailed("refused"), world);
        }
        wire.phase = Phase::Front(Vec::new(), Default::default());
        self.tell_link(Event::Connected, world);
    }
}

fn id_of(history: &Option<String>) -> &str {
    history.as_deref().unwrap_or_default()
}
