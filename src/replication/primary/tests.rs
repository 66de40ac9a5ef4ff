//! The machine alone: a test plays the shards, the sockets and the clock.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::config::OutputLimit;
use crate::rdb::{Item, Reader};
use crate::replication::log::LogBatch;
use crate::replication::status::{Hello, ReplicaState};
use crate::resp::OwnedArgs;
use crate::shard::Chunk;

const SHARDS: usize = 2;

/// The machine and all that it has done.
struct World {
    machine: Primary,
    now_ms: u64,
    next_number: u64,
    /// What each link was sent.
    sent: BTreeMap<LinkId, Vec<u8>>,
    closed: BTreeMap<LinkId, Reason>,
    /// Links whose peers read nothing, with what is on the way to them.
    stalled: BTreeMap<LinkId, usize>,
    snapshots: Vec<(u64, Form)>,
    aborted: BTreeSet<u64>,
    granted: BTreeMap<usize, usize>,
    answers: BTreeMap<u64, Option<usize>>,
    files: BTreeMap<u64, Vec<u8>>,
    good: usize,
    log_off: usize,
    demoted: usize,
    promote_self: usize,
    /// Writes are held up.
    paused: bool,
    /// Whose replica the node was told to become, `None` for nobody's.
    follows: Vec<Option<(String, u16)>>,
}

fn settings() -> Settings {
    Settings { shards: SHARDS, diskless_delay_s: 0, ..Settings::default() }
}

fn hello() -> Hello {
    Hello { listening_port: 7000, eof: true, psync2: true, ..Hello::default() }
}

impl World {
    fn new(settings: Settings) -> World {
        World {
            machine: Primary::new("a".repeat(40), settings, 0),
            now_ms: 0,
            next_number: 0,
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            stalled: BTreeMap::new(),
            snapshots: Vec::new(),
            aborted: BTreeSet::new(),
            granted: BTreeMap::new(),
            answers: BTreeMap::new(),
            files: BTreeMap::new(),
            good: 0,
            log_off: 0,
            demoted: 0,
            promote_self: 0,
            paused: false,
            follows: Vec::new(),
        }
    }

    fn tell(&mut self, event: Event<'_>) {
        self.machine.handle(event, self.now_ms);
        self.settle();
    }

    /// Does what the machine wants until it wants no more.
    fn settle(&mut self) {
        loop {
            self.machine.flush(self.now_ms);
            let actions = self.machine.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send { link, out } => {
                let bytes = flat(&out);
                self.machine.recycle(out);
                self.sent.entry(link).or_default().extend_from_slice(&bytes);
                match self.stalled.get_mut(&link) {
                    Some(on_the_way) => {
                        assert_eq!(*on_the_way, 0, "two sends at once");
                        *on_the_way = bytes.len();
                    }
                    None => self.machine.handle(Event::Sent { link, bytes: bytes.len() }, self.now_ms),
                }
            }
            Action::Close { link, reason } => assert_eq!(self.closed.insert(link, reason), None),
            Action::StartSnapshot { id, form } => self.snapshots.push((id, form)),
            Action::AbortSnapshot { id } => assert!(self.aborted.insert(id)),
            Action::Grant { shard, bytes, .. } => *self.granted.entry(shard).or_default() += bytes,
            Action::SpoolOpen { spool } => assert!(self.files.insert(spool, Vec::new()).is_none()),
            Action::SpoolWrite { spool, bytes } => {
                self.files.get_mut(&spool).expect("an open file").extend_from_slice(&bytes);
                self.machine.handle(Event::SpoolWritten { spool, result: Ok(bytes.len()) }, self.now_ms);
            }
            Action::SpoolRead { spool, link, offset, len } => {
                let part = Bytes::copy_from_slice(&self.files[&spool][offset as usize..offset as usize + len]);
                self.machine.handle(Event::SpoolRead { spool, link, result: Ok(part) }, self.now_ms);
            }
            Action::SpoolClose { spool } => assert!(self.files.remove(&spool).is_some()),
            Action::TurnLogOff => self.log_off += 1,
            Action::Merged { .. } => {}
            Action::GoodReplicas(count) => self.good = count,
            Action::Answer { who, replicas } => assert_eq!(self.answers.insert(who, replicas), None),
            Action::Demoted => self.demoted += 1,
            Action::PromoteSelf => self.promote_self += 1,
            Action::PauseWrites => self.paused = true,
            Action::ResumeWrites => self.paused = false,
            Action::FollowTarget { host, port } => self.follows.push(Some((host, port))),
            Action::FollowNobody => self.follows.push(None),
        }
    }

    fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.now_ms = until.min(self.now_ms + 100);
            self.tell(Event::Tick);
        }
    }

    // Replicas

    fn join_as(&mut self, link: LinkId, hello: Hello, request: &[&str]) {
        let peer = Some(([127, 0, 0, 1], 40000).into());
        let request: OwnedArgs = request.iter().collect();
        let newcomer = Newcomer { hello, request, peer, ..Newcomer::default() };
        self.tell(Event::Joined { link, newcomer: Box::new(newcomer) });
    }

    fn join(&mut self, link: LinkId) {
        self.join_as(link, hello(), &["PSYNC", "?", "-1"]);
    }

    fn hear(&mut self, link: LinkId, bytes: &[u8]) {
        self.tell(Event::Received { link, bytes });
    }

    fn ack(&mut self, link: LinkId, offset: u64) {
        let digits = offset.to_string();
        let text = format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${}\r\n{digits}\r\n", digits.len());
        self.hear(link, text.as_bytes());
    }

    fn stall(&mut self, link: LinkId) {
        self.stalled.insert(link, 0);
    }

    /// A stalled peer reads `bytes` of what is on the way.
    fn read(&mut self, link: LinkId, bytes: usize) {
        *self.stalled.get_mut(&link).expect("stalled") -= bytes;
        self.tell(Event::Sent { link, bytes });
    }

    /// What was sent since the last time.
    fn take(&mut self, link: LinkId) -> Vec<u8> {
        self.sent.remove(&link).unwrap_or_default()
    }

    fn take_text(&mut self, link: LinkId) -> String {
        String::from_utf8_lossy(&self.take(link)).into_owned()
    }

    // Shards

    fn batch(&mut self, db: usize, words: &[&str]) -> Box<LogBatch> {
        let mut batch = LogBatch { number: self.next_number, ..LogBatch::default() };
        self.next_number += 1;
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        batch.words(db, &words);
        Box::new(batch)
    }

    fn write(&mut self, db: usize, words: &[&str]) {
        let batch = self.batch(db, words);
        self.tell(Event::Log(batch));
    }

    fn cut(&mut self) {
        let snapshot = self.snapshots.last().expect("asked for").0;
        let at = CutAt::Number(self.next_number);
        self.tell(Event::Cut { snapshot, at, moment: Moment::default() });
    }

    fn chunk(&mut self, shard: usize, data: &[u8], last: bool) {
        let id = self.snapshots.last().expect("asked for").0;
        let data = Bytes::copy_from_slice(data);
        self.tell(Event::Chunk(Box::new(Chunk { id, shard, db: 0, records: 1, open: false, data, last })));
    }

    /// A chunk whose last record goes on in the shard's next one.
    fn open_chunk(&mut self, shard: usize, data: &[u8]) {
        let id = self.snapshots.last().expect("asked for").0;
        let data = Bytes::copy_from_slice(data);
        self.tell(Event::Chunk(Box::new(Chunk { id, shard, db: 0, records: 1, open: true, data, last: false })));
    }

    fn whole_snapshot(&mut self) {
        self.cut();
        for shard in 0..SHARDS {
            self.chunk(shard, b"", true);
        }
    }

    /// A replica that is in the stream.
    fn online(&mut self, link: LinkId) {
        self.join(link);
        self.whole_snapshot();
        let offset = self.offset();
        self.ack(link, offset);
        self.take(link);
    }

    fn offset(&self) -> u64 {
        self.machine.stream().offset()
    }

    fn id(&self) -> String {
        self.machine.stream().history().id().to_owned()
    }

    fn state(&self, link: LinkId) -> ReplicaState {
        let replicas = self.machine.replicas(self.now_ms, self.now_ms);
        replicas.iter().find(|replica| replica.client_id == link).expect("a replica").state
    }
}

fn flat(out: &Out) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = 0;
    for (offset, attached) in &out.attached {
        bytes.extend_from_slice(&out.buf[from..*offset]);
        bytes.extend_from_slice(attached);
        from = *offset;
    }
    bytes.extend_from_slice(&out.buf[from..]);
    bytes
}

fn command(words: &[&str]) -> String {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text
}

fn select(db: &str) -> String {
    command(&["SELECT", db])
}

/// Checks the reply of a full resynchronisation with an end mark: ID and offset, and that what it encloses is an RDB file.
fn check_full_sync(sent: &[u8], id: &str, offset: u64) -> Vec<u8> {
    let head = format!("+FULLRESYNC {id} {offset}\r\n$EOF:");
    let rest = sent.strip_prefix(head.as_bytes()).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(sent)));
    let (mark, rest) = rest.split_at(40);
    let rdb = rest.strip_prefix(b"\r\n").and_then(|rest| rest.strip_suffix(mark)).expect("enclosed by the mark");
    check_rdb(rdb);
    rdb.to_vec()
}

/// Checks that it is an RDB file and nothing else, with the right sum; the number of its records.
fn check_rdb(rdb: &[u8]) -> usize {
    let mut reader = Reader::new(1 << 20, true);
    let mut input = rdb;
    let mut records = 0;
    while let Some(item) = reader.next(&mut input).expect("an RDB file") {
        records += usize::from(matches!(item, Item::Record { .. }));
    }
    reader.finish().expect("a whole file");
    assert!(input.is_empty());
    records
}

/// Nothing comes between the pieces of a record, whoever else sends meanwhile.
#[test]
fn a_record_in_pieces_stays_together() {
    let mut world = World::new(settings());
    world.join(1);
    world.cut();
    let (a, b, c) = (record(b'a'), record(b'b'), record(b'c'));
    world.open_chunk(0, &a[..2]);
    world.open_chunk(1, &b[..3]);
    world.chunk(1, &b[3..], false);
    world.chunk(1, &c, true);
    world.open_chunk(0, &a[2..4]);
    world.chunk(0, &a[4..], true);
    let id = world.id();
    assert_eq!(check_rdb(&check_full_sync(&world.take(1), &id, 0)), 3);
}

/// A record of an RDB file: key `key`, value `v`.
fn record(key: u8) -> Vec<u8> {
    vec![0, 1, key, 1, b'v']
}

#[test]
fn a_replica_gets_a_snapshot_and_then_the_stream_from_its_cut_on() {
    let mut world = World::new(settings());
    world.join(1);
    assert_eq!((world.snapshots.as_slice(), world.state(1)), (&[(1, Form::Rdb)][..], ReplicaState::Waiting));
    assert_eq!(world.take_text(1), "");
    world.cut();
    assert_eq!(world.state(1), ReplicaState::Sending);
    world.chunk(0, &record(b'a'), false);
    world.write(3, &["SET", "x", "1"]);
    world.chunk(0, b"", true);
    world.chunk(1, &record(b'b'), true);
    let id = world.id();
    let rdb = check_full_sync(&world.take(1), &id, 0);
    assert_eq!(check_rdb(&rdb), 2);
    assert_eq!(world.granted, BTreeMap::from([(0, 5), (1, 5)]));
    // It has to find the mark first.
    world.write(3, &["SET", "y", "2"]);
    assert_eq!((world.take_text(1), world.state(1)), (String::new(), ReplicaState::Online));
    world.ack(1, 0);
    let stream = select("3") + &command(&["SET", "x", "1"]) + &command(&["SET", "y", "2"]);
    assert_eq!(world.take_text(1), stream);
    world.write(3, &["DEL", "x"]);
    world.write(0, &["DEL", "z"]);
    assert_eq!(world.take_text(1), command(&["DEL", "x"]) + &select("0") + &command(&["DEL", "z"]));
    let end = world.offset();
    world.ack(1, end);
    let replica = &world.machine.replicas(0, 0)[0];
    assert_eq!((replica.offset, replica.lag_s, replica.output_bytes), (end, 0, 0));
    assert_eq!((replica.ip.as_str(), replica.port), ("127.0.0.1", 7000));
}

#[test]
fn the_cut_is_found_whatever_comes_before_it_is_told() {
    let mut world = World::new(settings());
    world.online(1);
    let first = world.offset();
    world.join(2);
    // Numbers 0 and 1 are before the cut, 2 and 3 behind it; nothing comes in order.
    let batches: Vec<_> = ["a", "b", "c", "d"].iter().map(|key| world.batch(0, &["DEL", key])).collect();
    let [a, b, c, d] = batches.try_into().expect("four");
    world.tell(Event::Log(c));
    world.tell(Event::Log(a));
    let (snapshot, at) = (world.snapshots[1].0, CutAt::Number(2));
    world.tell(Event::Cut { snapshot, at, moment: Moment::default() });
    world.chunk(0, b"", true);
    assert_eq!(world.take_text(2), "", "the place of the cut is not known yet");
    world.tell(Event::Log(d));
    world.tell(Event::Log(b));
    world.chunk(1, b"", true);
    let stream = world.take_text(1);
    let cut = stream.find(&(select("0") + &command(&["DEL", "c"]))).expect("selected behind the cut");
    check_full_sync(&world.take(2), &world.id(), first + cut as u64);
    world.ack(2, 0);
    assert_eq!(world.take_text(2), stream[cut..]);
    assert_eq!(stream.replace(&select("0"), ""), ["a", "b", "c", "d"].map(|key| command(&["DEL", key])).concat());
}

#[test]
fn the_cut_is_found_among_batches_that_are_already_in_the_stream() {
    let mut world = World::new(settings());
    world.online(1);
    let first = world.offset();
    world.join(2);
    for key in ["a", "b", "c"] {
        world.write(0, &["DEL", key]);
    }
    let (snapshot, at) = (world.snapshots[1].0, CutAt::Number(1));
    world.tell(Event::Cut { snapshot, at, moment: Moment::default() });
    (0..SHARDS).for_each(|shard| world.chunk(shard, b"", true));
    let stream = world.take_text(1);
    let cut = (select("0") + &command(&["DEL", "a"])).len();
    check_full_sync(&world.take(2), &world.id(), first + cut as u64);
    world.ack(2, 0);
    assert_eq!(world.take_text(2), stream[cut..]);
}

#[test]
fn a_replica_that_comes_back_goes_on_where_it_was() {
    let mut world = World::new(settings());
    world.online(1);
    world.write(2, &["SET", "x", "1"]);
    let (id, position) = (world.id(), world.offset());
    world.tell(Event::Closed { link: 1 });
    world.write(2, &["SET", "y", "2"]);
    let asked = (position + 1).to_string();
    world.join_as(2, hello(), &["psync", &id.to_uppercase(), &asked]);
    assert_eq!(world.take_text(2), format!("+CONTINUE {id}\r\n{}", command(&["SET", "y", "2"])));
    assert_eq!(world.state(2), ReplicaState::Online);
    // An old one does not know of new IDs.
    world.join_as(3, Hello { psync2: false, ..hello() }, &["PSYNC", &id, &asked]);
    assert_eq!(world.take_text(3), format!("+CONTINUE\r\n{}", command(&["SET", "y", "2"])));
    let next = (world.offset() + 1).to_string();
    world.join_as(4, hello(), &["PSYNC", &id, &next]);
    assert_eq!(world.take_text(4), format!("+CONTINUE {id}\r\n"));
    let counters = world.machine.counters();
    assert_eq!((counters.sync_full, counters.sync_partial_ok, counters.sync_partial_err), (1, 3, 0));
    assert_eq!(world.snapshots.len(), 1);
}

#[test]
fn a_replica_that_cannot_go_on_gets_a_snapshot() {
    let mut world = World::new(Settings { backlog_bytes: 16 << 10, ..settings() });
    world.online(1);
    let id = world.id();
    let value = "v".repeat(1000);
    for _ in 0..200 {
        world.write(0, &["SET", "x", &value]);
    }
    let beyond = (world.offset() + 2).to_string();
    for (link, id, asked) in [(2, id.as_str(), "1"), (3, &"b".repeat(40), "1"), (4, id.as_str(), beyond.as_str())] {
        world.join_as(link, hello(), &["PSYNC", id, asked]);
        world.whole_snapshot();
        check_full_sync(&world.take(link), &world.id(), world.offset());
    }
    assert_eq!(world.machine.counters().sync_partial_err, 3);
    world.join_as(5, hello(), &["PSYNC", &id, "x"]);
    assert_eq!(world.take_text(5), "-ERR value is not an integer or out of range\r\n");
    assert_eq!(world.closed[&5], Reason::Done);
}

#[test]
fn a_slow_replica_keeps_its_part_of_the_stream_and_nothing_is_lost_to_it() {
    let mut world = World::new(Settings { backlog_bytes: 16 << 10, ..settings() });
    world.online(1);
    world.stall(1);
    let value = "v".repeat(1000);
    let before = world.offset();
    for _ in 0..300 {
        world.write(0, &["SET", "x", &value]);
    }
    assert!(world.machine.backlog_status().expect("live").length >= world.offset() - before - 2000);
    assert!(world.machine.replicas(0, 0)[0].output_bytes == world.offset() - before);
    while let Some(&bytes) = world.stalled.get(&1).filter(|bytes| **bytes > 0) {
        world.read(1, bytes.min(10_000));
    }
    assert_eq!(world.take(1).len() as u64, world.offset() - before);
    assert!(world.machine.backlog_status().expect("live").length < 100_000);
}

#[test]
fn replicas_that_come_in_time_share_a_snapshot_and_others_wait_for_the_next() {
    let mut world = World::new(Settings { diskless_delay_s: 5, ..settings() });
    world.join(1);
    world.pass(3000);
    world.join(2);
    assert_eq!(world.snapshots, []);
    assert_eq!(world.take_text(1), "\n\n\n", "a sign of life each second");
    world.pass(2000);
    assert_eq!(world.snapshots.len(), 1);
    world.cut();
    world.join(3);
    world.pass(10_000);
    assert_eq!(world.snapshots.len(), 1);
    let waiting = world.take_text(3);
    assert!(waiting.len() >= 9 && waiting.bytes().all(|byte| byte == b'\n'), "{waiting:?}");
    (0..SHARDS).for_each(|shard| world.chunk(shard, b"", true));
    assert_eq!(world.snapshots.len(), 2);
    let id = world.id();
    for link in [1, 2] {
        let sent = world.take(link);
        let newlines = sent.iter().take_while(|byte| **byte == b'\n').count();
        check_full_sync(&sent[newlines..], &id, 0);
    }
    world.whole_snapshot();
    assert!(world.take_text(3).starts_with("+FULLRESYNC"));
}

#[test]
fn a_snapshot_begins_at_once_when_as_many_as_are_expected_wait() {
    let mut world = World::new(Settings { diskless_delay_s: 50, diskless_max_replicas: 2, ..settings() });
    world.join(1);
    assert_eq!(world.snapshots.len(), 0);
    world.join(2);
    assert_eq!(world.snapshots.len(), 1);
}

#[test]
fn frames_are_for_those_who_all_understand_them() {
    let mut world = World::new(Settings { diskless_delay_s: 50, diskless_max_replicas: 2, ..settings() });
    let basalt = || Hello { frames: true, ..hello() };
    world.join_as(1, basalt(), &["PSYNC", "?", "-1"]);
    world.join(2);
    assert_eq!(world.snapshots.last(), Some(&(1, Form::Rdb)));
    world.whole_snapshot();
    world.join_as(3, basalt(), &["PSYNC", "?", "-1"]);
    world.join_as(4, basalt(), &["PSYNC", "?", "-1"]);
    assert_eq!(world.snapshots.last(), Some(&(2, Form::Frames)));
    world.whole_snapshot();
    for link in [3, 4] {
        let sent = world.take(link);
        let head = sent.windows(2).position(|pair| pair == b"\r\n").expect("a line") + 2;
        let body = &sent[head + b"$EOF:".len() + 40 + 2..];
        assert!(body.starts_with(b"BASALTF1"));
    }
}

#[test]
fn the_slowest_replica_governs_how_fast_shards_may_send() {
    let mut world = World::new(Settings { diskless_delay_s: 50, diskless_max_replicas: 2, ..settings() });
    world.join(1);
    world.join(2);
    world.cut();
    world.take(2);
    world.stall(2);
    world.chunk(0, &record(b'a'), false);
    assert_eq!(world.granted, BTreeMap::new());
    let on_the_way = world.stalled[&2];
    world.read(2, on_the_way - 1);
    assert_eq!(world.granted, BTreeMap::new());
    world.read(2, 1);
    let on_the_way = world.stalled[&2];
    if on_the_way > 0 {
        world.read(2, on_the_way);
    }
    assert_eq!(world.granted, BTreeMap::from([(0, 5)]));
    // When it goes, the others go on without it.
    world.chunk(1, &record(b'b'), false);
    assert_eq!(world.granted.get(&1), None);
    world.tell(Event::Closed { link: 2 });
    assert_eq!(world.granted.get(&1), Some(&5));
}

#[test]
fn a_snapshot_that_nobody_wants_any_more_is_called_off_before_the_next() {
    let mut world = World::new(settings());
    world.join(1);
    world.cut();
    world.chunk(0, &record(b'a'), false);
    world.tell(Event::Closed { link: 1 });
    assert_eq!(world.aborted, BTreeSet::from([1]));
    world.join(2);
    world.chunk(0, &record(b'b'), true);
    assert_eq!(world.snapshots.len(), 1, "the shards are not through with the first");
    world.tell(Event::SnapshotOver { snapshot: 1, error: None });
    assert_eq!(world.snapshots.len(), 2);
    world.whole_snapshot();
    check_full_sync(&world.take(2), &world.id(), 0);
}

#[test]
fn a_snapshot_that_is_called_off_before_its_cut_leaves_no_backlog_unless_it_was_cut() {
    let mut world = World::new(settings());
    world.join(1);
    world.tell(Event::Closed { link: 1 });
    world.tell(Event::SnapshotOver { snapshot: 1, error: None });
    assert!(world.machine.backlog_status().is_none());
    world.join(2);
    world.tell(Event::Closed { link: 2 });
    world.cut();
    world.write(0, &["DEL", "a"]);
    world.tell(Event::SnapshotOver { snapshot: 2, error: None });
    let backlog = world.machine.backlog_status().expect("the log is on");
    assert_eq!(backlog.length, (select("0") + &command(&["DEL", "a"])).len() as u64);
    world.join_as(3, hello(), &["PSYNC", &world.id(), "1"]);
    assert!(world.take_text(3).starts_with("+CONTINUE"));
}

#[test]
fn a_snapshot_that_fails_is_told_to_those_who_wait_and_closes_those_who_have_a_part() {
    let mut world = World::new(settings());
    world.join(1);
    world.tell(Event::SnapshotOver { snapshot: 1, error: Some("no memory".into()) });
    assert_eq!(world.take_text(1), "-ERR BGSAVE failed, replication can't continue\r\n");
    assert_eq!(world.closed[&1], Reason::Done);
    world.join(2);
    world.cut();
    world.chunk(0, &record(b'a'), false);
    world.tell(Event::SnapshotOver { snapshot: 2, error: Some("no memory".into()) });
    assert_eq!(world.closed[&2], Reason::SnapshotFailed);
    world.online(3);
    assert_eq!(world.state(3), ReplicaState::Online);
}

#[test]
fn who_needs_the_length_first_gets_the_snapshot_through_a_file() {
    let mut world = World::new(Settings { diskless_delay_s: 50, ..settings() });
    world.join(1);
    world.join_as(2, Hello::default(), &["SYNC"]);
    // Both share it, and it begins at once.
    assert_eq!(world.snapshots, [(1, Form::Rdb)]);
    world.cut();
    world.chunk(0, &record(b'a'), true);
    world.pass(1000);
    assert_eq!(world.take_text(1), format!("+FULLRESYNC {} 0\r\n\n", world.id()));
    assert_eq!(world.granted, BTreeMap::from([(0, 5)]), "what is in the file counts as taken");
    world.write(0, &["DEL", "a"]);
    world.chunk(1, &record(b'b'), true);
    let stream = select("0") + &command(&["DEL", "a"]);
    for link in [1, 2] {
        // The stream follows at once.
        let sent = world.take(link);
        let start = sent.iter().position(|byte| *byte == b'$').expect("a length");
        assert!(sent[..start].iter().all(|byte| *byte == b'\n'));
        let line = start + sent[start..].iter().position(|byte| *byte == b'\r').expect("a line");
        let len: usize = std::str::from_utf8(&sent[start + 1..line]).expect("text").parse().expect("a number");
        let (rdb, rest) = sent[line + 2..].split_at(len);
        assert_eq!(check_rdb(rdb), 2);
        assert_eq!(rest, stream.as_bytes());
        assert_eq!(world.state(link), ReplicaState::Online);
    }
    assert!(world.files.is_empty());
}

#[test]
fn a_file_that_cannot_be_written_ends_the_snapshot() {
    let mut world = World::new(Settings { diskless: false, ..settings() });
    world.join(1);
    world.cut();
    world.tell(Event::SpoolWritten { spool: 1, result: Err("No space left on device".into()) });
    assert_eq!(world.closed[&1], Reason::SnapshotFailed);
    assert!(world.files.is_empty());
    assert_eq!(world.aborted, BTreeSet::from([1]));
}

#[test]
fn who_wants_the_snapshot_only_gets_nothing_else() {
    let mut world = World::new(settings());
    world.join_as(1, Hello { rdb_only: true, ..hello() }, &["PSYNC", "?", "-1"]);
    world.whole_snapshot();
    check_full_sync(&world.take(1), &world.id(), 0);
    assert_eq!(world.closed[&1], Reason::Done);
    // Without data, it takes no snapshot at all.
    world.join_as(2, Hello { rdb_only: true, filtered: true, ..hello() }, &["SYNC"]);
    let sent = world.take(2);
    assert_eq!(check_rdb(&sent[b"$EOF:".len() + 42..sent.len() - 40]), 0);
    assert_eq!(world.closed[&2], Reason::Done);
    world.join_as(3, Hello { filtered: true, eof: false, ..hello() }, &["PSYNC", "?", "-1"]);
    assert_eq!(world.take_text(3), "-ERR Filtered replica requires EOF capability\r\n");
    assert_eq!(world.snapshots.len(), 1);
}

#[test]
fn replicas_that_do_not_acknowledge_are_closed_after_the_timeout() {
    let mut world = World::new(Settings { timeout_s: 10, ..settings() });
    world.online(1);
    world.online(2);
    world.join(3);
    world.cut();
    world.stall(3);
    world.chunk(0, &record(b'a'), false);
    for _ in 0..3 {
        world.pass(4000);
        world.ack(1, 0);
    }
    assert_eq!(world.closed, BTreeMap::from([(2, Reason::TimedOut), (3, Reason::TimedOut)]));
    // A newline is as good.
    for _ in 0..3 {
        world.pass(4000);
        world.hear(1, b"\n");
    }
    assert_eq!(world.closed.len(), 2);
    assert_eq!(world.good, 1);
}

#[test]
fn a_replica_that_has_all_there_is_of_a_snapshot_is_not_late() {
    let mut world = World::new(Settings { timeout_s: 10, ..settings() });
    world.join(1);
    world.cut();
    world.pass(60_000);
    world.stall(1);
    world.chunk(0, &record(b'a'), false);
    world.pass(9_000);
    assert!(world.closed.is_empty());
    world.pass(2_000);
    assert_eq!(world.closed[&1], Reason::TimedOut);
}

#[test]
fn a_replica_above_the_hard_limit_is_closed_at_once_and_above_the_soft_one_later() {
    let output_limit = OutputLimit { hard_bytes: 100_000, soft_bytes: 50_000, soft_seconds: 3 };
    let mut world = World::new(Settings { backlog_bytes: 16 << 10, output_limit, ..settings() });
    for link in [1, 2] {
        world.online(link);
        world.stall(link);
    }
    let value = "v".repeat(1000);
    let write = |world: &mut World, bytes: u64| {
        let end = world.offset() + bytes;
        while world.offset() < end {
            world.write(0, &["SET", "x", &value]);
        }
    };
    write(&mut world, 60_000);
    world.pass(2_000);
    // The second one catches up, which ends the time.
    while world.stalled[&2] > 0 {
        let bytes = world.stalled[&2];
        world.read(2, bytes);
    }
    write(&mut world, 20_000);
    world.pass(1_000);
    assert!(world.closed.is_empty());
    world.pass(200);
    assert_eq!(world.closed, BTreeMap::from([(1, Reason::OutputLimit)]));
    write(&mut world, 90_000);
    assert_eq!(world.closed.get(&2), Some(&Reason::OutputLimit));
    assert_eq!(world.machine.counters().output_limit_disconnections, 2);
}

#[test]
fn a_hard_limit_below_the_backlog_counts_as_the_backlog() {
    let output_limit = OutputLimit { hard_bytes: 1, soft_bytes: 0, soft_seconds: 0 };
    let mut world = World::new(Settings { backlog_bytes: 64 << 10, output_limit, ..settings() });
    world.online(1);
    world.stall(1);
    let value = "v".repeat(1000);
    while world.offset() < 60_000 {
        world.write(0, &["SET", "x", &value]);
    }
    assert!(world.closed.is_empty());
    while world.offset() < 70_000 {
        world.write(0, &["SET", "x", &value]);
    }
    assert_eq!(world.closed[&1], Reason::OutputLimit);
}

#[test]
fn pings_are_part_of_the_stream() {
    let mut world = World::new(Settings { ping_period_s: 2, ..settings() });
    world.pass(10_000);
    world.online(1);
    world.pass(5_000);
    assert_eq!(world.take_text(1), "*1\r\n$4\r\nPING\r\n".repeat(3));
}

#[test]
fn wait_is_answered_when_enough_replicas_have_acknowledged() {
    let mut world = World::new(settings());
    let wait = |world: &mut World, who, replicas, target, deadline_ms| {
        world.tell(Event::Wait { who, replicas, target, deadline_ms });
    };
    world.online(1);
    world.online(2);
    world.write(0, &["SET", "x", "1"]);
    let end = world.offset();
    world.take(1);
    let number = WaitFor::Number(world.next_number);
    wait(&mut world, 1, 2, number, None);
    assert_eq!(world.take_text(1), "*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");
    world.ack(1, end);
    assert_eq!(world.answers, BTreeMap::new());
    world.ack(2, end);
    assert_eq!(world.answers, BTreeMap::from([(1, Some(2))]));
    // Enough are there already: nobody is asked.
    world.take(1);
    wait(&mut world, 2, 1, WaitFor::Nothing, None);
    assert_eq!((world.answers[&2], world.take_text(1)), (Some(2), String::new()));
    // The write is still on its way here, and not enough come in time.
    let number = WaitFor::Number(world.next_number + 1);
    let deadline_ms = Some(world.now_ms + 500);
    wait(&mut world, 3, 3, number, deadline_ms);
    assert_eq!(world.take_text(1), "");
    world.write(0, &["SET", "y", "1"]);
    assert!(world.take_text(1).contains("GETACK"));
    let end = world.offset();
    world.ack(2, end);
    world.pass(400);
    assert!(!world.answers.contains_key(&3));
    world.pass(100);
    assert_eq!(world.answers[&3], Some(1));
    // Who does not wait any more is not answered, and who waits when the node becomes a replica is told.
    wait(&mut world, 4, 3, WaitFor::Nothing, None);
    wait(&mut world, 5, 3, WaitFor::Nothing, None);
    world.tell(Event::WaitOver { who: 4 });
    let number = world.next_number;
    world.tell(Event::Demoted { number });
    assert_eq!((world.answers.get(&4), world.answers[&5]), (None, None));
}

#[test]
fn a_replica_counts_as_good_while_its_lag_is_small() {
    let mut world = World::new(Settings { min_replicas_max_lag_s: 2, ..settings() });
    world.online(1);
    assert_eq!(world.good, 1);
    world.pass(2_900);
    assert_eq!(world.good, 1);
    world.pass(200);
    assert_eq!(world.good, 0);
    world.ack(1, 0);
    world.pass(100);
    assert_eq!(world.good, 1);
    world.tell(Event::Closed { link: 1 });
    assert_eq!(world.good, 0);
}

#[test]
fn without_replicas_the_backlog_goes_and_with_it_the_history() {
    let mut world = World::new(Settings { backlog_ttl_s: 30, ..settings() });
    world.online(1);
    let id = world.id();
    world.tell(Event::Closed { link: 1 });
    world.pass(30_000);
    assert_eq!((world.log_off, world.id()), (0, id.clone()));
    world.pass(1_100);
    assert_eq!(world.log_off, 1);
    assert_ne!(world.id(), id);
    assert!(world.machine.backlog_status().is_none());
    // Nobody gets a snapshot before the log is off, as it would be turned off under its stream.
    world.join(2);
    assert_eq!(world.snapshots.len(), 1);
    world.tell(Event::LogIsOff);
    assert_eq!(world.snapshots.len(), 2);

    world.whole_snapshot();
    check_full_sync(&world.take(2), &world.id(), world.offset());
}

#[test]
fn what_no_replica_says_ends_its_link() {
    for text in ["PING\r\n", "*1\r\n$4\r\nQUIT\r\n", "*x\r\n", "REPLCONF listening-port 1\r\n", "REPLCONF ack\r\n"] {
        let mut world = World::new(settings());
        world.online(1);
        world.hear(1, text.as_bytes());
        assert_eq!(world.closed.get(&1), Some(&Reason::Protocol), "{text}");
    }
    let mut world = World::new(settings());
    world.online(1);
    for text in ["\n", "PSYNC ? -1\r\n", "SYNC\r\n", "REPLCONF GETACK *\r\n", "REPLCONF ACK x\r\n", "\r\n"] {
        world.hear(1, text.as_bytes());
    }
    assert!(world.closed.is_empty());
    assert_eq!(world.take_text(1), "");
    // A command may come in any pieces.
    world.write(0, &["DEL", "x"]);
    for byte in "*5\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n5\r\n$4\r\nFACK\r\n$1\r\n4\r\n".bytes() {
        world.hear(1, &[byte]);
    }
    assert_eq!(world.machine.replicas(0, 0)[0].offset, 5);
    // What never ends is no command.
    world.hear(1, &vec![b'x'; 17 << 10]);
    assert_eq!(world.closed[&1], Reason::Protocol);
}

#[test]
fn acknowledged_offsets_never_go_back() {
    let mut world = World::new(settings());
    world.online(1);
    world.write(0, &["DEL", "x"]);
    world.ack(1, 20);
    world.ack(1, 10);
    assert_eq!(world.machine.replicas(0, 0)[0].offset, 20);
}

#[test]
fn a_replica_passes_its_primarys_stream_on() {
    let mut world = World::new(settings());
    world.tell(Event::Demoted { number: 0 });
    assert_eq!(world.demoted, 1);
    world.join(1);
    assert_eq!(world.take_text(1), "-NOMASTERLINK Can't SYNC while not connected with my master\r\n");
    let id = "f".repeat(40);
    world.tell(Event::NewHistory { id: id.clone(), offset: 1000 });
    world.tell(Event::Upstream { up: true });
    world.tell(Event::Stream(b"verbatim"));
    world.join(2);
    let (snapshot, at) = (world.snapshots[0].0, CutAt::Offset { offset: 1004, db: 5 });
    world.tell(Event::Cut { snapshot, at, moment: Moment::default() });
    (0..SHARDS).for_each(|shard| world.chunk(shard, b"", true));
    let rdb = check_full_sync(&world.take(2), &id, 1004);
    let aux = b"\x0erepl-stream-db\xc0\x05";
    assert!(rdb.windows(aux.len()).any(|bytes| bytes == aux));
    world.ack(2, 1004);
    assert_eq!(world.take_text(2), "atim");
    // No pings of our own: they would be no part of the primary's stream.
    world.pass(11_000);
    assert_eq!(world.take_text(2), "");
    // Without the primary, nothing either: a newline would count as a byte of the stream over there.
    world.tell(Event::Upstream { up: false });
    world.pass(11_000);
    assert_eq!(world.take_text(2), "");
    // The primary goes on, under its old ID, or under a new one.
    world.tell(Event::Continued { id: id.clone() });
    world.tell(Event::Upstream { up: true });
    world.tell(Event::Stream(b" and on"));
    assert_eq!(world.take_text(2), " and on");
    world.tell(Event::Continued { id: "e".repeat(40) });
    assert_eq!(world.closed[&2], Reason::Resync);
    world.join_as(3, hello(), &["PSYNC", &id, "1016"]);
    assert_eq!(world.take_text(3), format!("+CONTINUE {}\r\n", "e".repeat(40)));
}

#[test]
fn a_promoted_replica_serves_its_former_siblings() {
    let mut world = World::new(settings());
    world.tell(Event::Demoted { number: 0 });
    let id = "f".repeat(40);
    world.tell(Event::NewHistory { id: id.clone(), offset: 1000 });
    world.tell(Event::Upstream { up: true });
    world.tell(Event::Stream(b"0123456789"));
    world.join_as(1, hello(), &["PSYNC", &id, "1011"]);
    world.tell(Event::Promoted);
    assert_eq!(world.closed[&1], Reason::Resync);
    world.write(0, &["DEL", "x"]);
    let stream = select("0") + &command(&["DEL", "x"]);
    world.join_as(2, hello(), &["PSYNC", &id, "1006"]);
    let now = world.id();
    assert_ne!(now, id);
    assert_eq!(world.take_text(2), format!("+CONTINUE {now}\r\n56789{stream}"));
    // Who is ahead of what was here at the promotion has another history.
    world.join_as(3, hello(), &["PSYNC", &id, "1012"]);
    world.whole_snapshot();
    check_full_sync(&world.take(3), &now, world.offset());
}

#[test]
fn a_node_that_becomes_a_replica_ends_its_stream_with_its_last_write() {
    let mut world = World::new(settings());
    world.online(1);
    let (a, b) = (world.batch(0, &["DEL", "a"]), world.batch(0, &["DEL", "b"]));
    world.tell(Event::Log(b));
    let number = world.next_number;
    world.tell(Event::Demoted { number });
    assert_eq!(world.demoted, 0);
    world.tell(Event::Log(a));
    assert_eq!(world.demoted, 1);
    assert_eq!(world.take_text(1), select("0") + &command(&["DEL", "a"]) + &command(&["DEL", "b"]));
    // A full synchronisation makes its replicas begin anew.
    world.tell(Event::NewHistory { id: "f".repeat(40), offset: 7 });
    assert_eq!(world.closed[&1], Reason::Resync);
    assert_eq!(world.offset(), 7);
}

#[test]
fn a_killed_replica_is_gone() {
    let mut world = World::new(settings());
    world.online(1);
    assert!(world.machine.kill(1, 0));
    assert!(!world.machine.kill(1, 0));
    world.settle();
    assert_eq!(world.closed[&1], Reason::Killed);
}

fn failover(world: &mut World, request: FailoverRequest) -> Result<(), &'static str> {
    let result = world.machine.fail_over(request, world.now_ms);
    world.settle();
    result
}

fn to(port: i64) -> Option<(String, i64)> {
    Some(("127.0.0.1".into(), port))
}

#[test]
fn a_failover_waits_for_a_replica_that_has_everything_and_makes_it_the_primary() {
    let mut world = World::new(settings());
    world.online(1);
    world.join_as(2, Hello { listening_port: 7001, ..hello() }, &["PSYNC", "?", "-1"]);
    world.whole_snapshot();
    world.ack(2, 0);
    let late = world.batch(0, &["DEL", "a"]);
    assert_eq!(failover(&mut world, FailoverRequest::default()), Ok(()));
    assert!(world.paused);
    assert_eq!(world.machine.failover_status(), crate::replication::status::Failover::WaitingForSync);
    world.pass(20_000);
    assert!(world.follows.is_empty(), "writes may still be on the way");
    let number = world.next_number;
    world.tell(Event::WritesPaused { number });
    assert!(world.follows.is_empty(), "the last batch is still on the way");
    world.tell(Event::Log(late));
    let end = world.offset();
    world.ack(1, end - 1);
    world.ack(2, end);
    world.pass(100);
    assert_eq!(world.follows, [Some(("127.0.0.1".into(), 7001))]);
    world.join(3);
    assert_eq!(world.take_text(3), "-NOMASTERLINK Can't SYNC while failing over\r\n");
    world.tell(Event::Demoted { number });
    assert!(world.paused);
    world.tell(Event::FailoverAnswered { accepted: true });
    assert!(!world.paused);
    assert_eq!(world.machine.failover_status(), crate::replication::status::Failover::None);
    assert_eq!(world.offset(), end, "no ping has moved the end meanwhile");
}

#[test]
fn a_failover_that_cannot_be_is_refused_with_the_reason() {
    let mut world = World::new(settings());
    let refused = |world: &mut World, request, text: &str| assert_eq!(failover(world, request), Err(text));
    refused(&mut world, FailoverRequest::default(), "ERR FAILOVER requires connected replicas.");
    world.online(1);
    let force = FailoverRequest { force: true, to: to(7000), timeout_ms: None };
    refused(&mut world, force, "ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
    let elsewhere = FailoverRequest { to: to(7009), ..FailoverRequest::default() };
    refused(&mut world, elsewhere, "ERR FAILOVER target HOST and PORT is not a replica.");
    world.join_as(2, Hello { listening_port: 7001, ..hello() }, &["PSYNC", "?", "-1"]);
    let joining = FailoverRequest { to: to(7001), ..FailoverRequest::default() };
    refused(&mut world, joining, "ERR FAILOVER target replica is not online.");
    assert_eq!(world.machine.abort_failover(), Err("ERR No failover in progress."));
    assert_eq!(failover(&mut world, FailoverRequest { to: to(7000), ..FailoverRequest::default() }), Ok(()));
    refused(&mut world, FailoverRequest::default(), "ERR FAILOVER already in progress.");
    assert_eq!(world.machine.abort_failover(), Ok(()));
    world.settle();
    assert!(!world.paused);
    let number = world.next_number;
    world.tell(Event::Demoted { number });
    refused(&mut world, FailoverRequest::default(), "ERR FAILOVER is not valid when server is a replica.");
}

#[test]
fn a_failover_ends_with_its_time_or_is_forced_then() {
    let mut world = World::new(settings());
    world.online(1);
    world.write(0, &["DEL", "a"]);
    let number = world.next_number;
    let timed = FailoverRequest { to: to(7000), timeout_ms: Some(1000), force: false };
    assert_eq!(failover(&mut world, timed.clone()), Ok(()));
    world.tell(Event::WritesPaused { number });
    world.pass(1000);
    assert!(!world.paused && world.follows.is_empty());
    assert_eq!(failover(&mut world, FailoverRequest { force: true, ..timed }), Ok(()));
    world.pass(1000);
    assert_eq!(world.follows, [Some(("127.0.0.1".into(), 7000))]);
    // It will not have it: back to before.
    world.tell(Event::FailoverAnswered { accepted: false });
    assert_eq!(world.follows[1..], [None]);
    assert!(!world.paused);
}

#[test]
fn a_replica_that_is_asked_to_take_over_promotes_itself_and_then_lets_the_old_primary_in() {
    let mut world = World::new(settings());
    world.online(9);
    let own = world.id();
    world.join_as(1, hello(), &["PSYNC", &own, "1", "FAILOVER"]);
    assert_eq!(world.take_text(1), "-ERR PSYNC FAILOVER can't be sent to a master.\r\n");
    let number = world.next_number;
    world.tell(Event::Demoted { number });
    let id = "f".repeat(40);
    world.tell(Event::NewHistory { id: id.clone(), offset: 100 });
    world.join_as(2, hello(), &["PSYNC", &own, "101", "FAILOVER"]);
    assert_eq!(world.take_text(2), "-ERR PSYNC FAILOVER replid must match my replid.\r\n");
    world.join_as(3, hello(), &["PSYNC", &id, "101", "FAILOVER"]);
    assert_eq!((world.promote_self, world.take_text(3)), (1, String::new()));
    world.tell(Event::Promoted);
    assert_eq!(world.take_text(3), format!("+CONTINUE {}\r\n", world.id()));
    assert_eq!(world.state(3), ReplicaState::Online);
}
