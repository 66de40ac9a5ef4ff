//! The applier against shards that are played: they answer late, out of step with each other, and leave out what waits for locks.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::resp::write_command;
use crate::shard::Response;

const SHARDS: usize = 3;

type Data = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

/// What a command does to data; the value of a key tells which command wrote it.
fn run(data: &mut Data, args: &Args<'_>, database: u16) {
    if args.is(0, "set") {
        data.insert((database, args.get(1).into()), args.get(2).into());
    } else if args.is(0, "append") {
        data.entry((database, args.get(1).into())).or_default().extend_from_slice(args.get(2));
    } else if args.is(0, "del") {
        args.iter_from(1).for_each(|key| drop(data.remove(&(database, key.into()))));
    } else if args.is(0, "mset") {
        let words: Vec<&[u8]> = args.iter_from(1).collect();
        words.chunks(2).for_each(|pair| drop(data.insert((database, pair[0].into()), pair[1].into())));
    } else if args.is(0, "flushdb") {
        data.retain(|(db, _), _| *db != database);
    }
}

fn keys<'a>(args: &Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let count = if args.is(0, "del") || args.is(0, "mset") { args.len() - 1 } else { 1 };
    let step = if args.is(0, "mset") { 2 } else { 1 };
    args.iter_from(1).take(count).step_by(step).collect::<Vec<_>>().into_iter()
}

/// Runs a stream in order, as one client would.
fn run_stream(data: &mut Data, bytes: &[u8]) {
    let mut stream = Stream::new(0, 0);
    stream.feed(bytes);
    while let Some(unit) = stream.unit().expect("a valid stream") {
        match unit {
            Unit::Nothing | Unit::GetAck => {}
            Unit::Command { args, database } => run(data, &args, database),
            Unit::Block(block) => block.commands().for_each(|(args, database)| run(data, &args, database)),
        }
        stream.consume();
    }
    assert_eq!(stream.pending_bytes(), 0);
}

/// The node: what each shard has to do, and what is done.
struct Node {
    applier: Applier,
    data: Data,
    inbox: Vec<VecDeque<Box<Batch>>>,
    replies: VecDeque<Box<Batch>>,
    alone: Option<Vec<u8>>,
    /// Keys that are locked at this moment, with the commands that wait for them.
    locked: BTreeSet<Vec<u8>>,
    waiting: VecDeque<Box<Batch>>,
}

impl Node {
    fn new() -> Node {
        Node {
            applier: Applier::new(Arc::new(Commands::new()), SHARDS),
            data: Data::new(),
            inbox: (0..SHARDS).map(|_| VecDeque::new()).collect(),
            replies: VecDeque::new(),
            alone: None,
            locked: BTreeSet::new(),
            waiting: VecDeque::new(),
        }
    }

    fn collect(&mut self) {
        while let Some(ready) = self.applier.ready.pop_front() {
            match ready {
                Ready::Batch(shard, batch) => self.inbox[shard].push_back(batch),
                Ready::Apply(bytes) => {
                    // Batches may be on their way back that carry no answer, as all of theirs came in others.
                    let answers =
                        self.replies.iter().flat_map(|batch| &batch.responses).any(|response| !response.deferred);
                    let waits = self.inbox.iter().any(|batches| !batches.is_empty()) || !self.waiting.is_empty();
                    assert!(!answers && !waits && self.alone.is_none(), "it is not alone");
                    self.alone = Some(bytes);
                }
            }
        }
    }

    /// A shard executes a batch; commands of a locked key wait in a batch of their own.
    fn execute(&mut self, shard: usize) {
        let Some(mut batch) = self.inbox[shard].pop_front() else { return };
        let (data, waiting, locked) = (&mut self.data, &mut self.waiting, &self.locked);
        let is_block = batch.block.is_some();
        batch.execute(0..batch.requests.len(), |request, args, out| {
            assert!(request.origin.database < 16 && args.len() > 1);
            let of_key = |key: &[u8]| slot::shard_of(slot::slot(key), SHARDS);
            assert_eq!(of_key(args.get(1)), shard);
            let meets = |key: &[u8]| {
                locked.contains(key)
                    || waiting.iter().any(|batch| keys(&batch.args(&batch.requests[0])).any(|other| other == key))
            };
            let deferred = !is_block && keys(args).any(meets);
            if deferred {
                let mut later = Box::<Batch>::default();
                later.push(request.origin, request.command, args, request.slot);
                waiting.push_back(later);
            } else {
                run(data, args, request.origin.database);
                out.buf.extend_from_slice(b"+OK\r\n");
            }
            Response { end: out.buf.len(), nanoseconds: 0, failed: false, deferred }
        });
        self.replies.push_back(batch);
    }

    fn unlock(&mut self) {
        self.locked.clear();
        for mut batch in self.waiting.drain(..) {
            let data = &mut self.data;
            batch.execute(0..batch.requests.len(), |request, args, out| {
                run(data, args, request.origin.database);
                Response { end: out.buf.len(), nanoseconds: 0, failed: false, deferred: false }
            });
            self.replies.push_back(batch);
        }
    }

    fn run_alone(&mut self) {
        if let Some(bytes) = self.alone.take() {
            run_stream(&mut self.data, &bytes);
            self.applier.applied_alone();
        }
    }

    fn finish(&mut self) {
        for shard in 0..SHARDS {
            while !self.inbox[shard].is_empty() {
                self.execute(shard);
            }
        }
        self.unlock();
        while let Some(batch) = self.replies.pop_front() {
            self.applier.answered(batch);
        }
        self.run_alone();
    }
}

fn write(out: &mut Vec<u8>, text: &str) {
    let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    write_command(out, words.len(), words.iter().copied());
}

/// One unit of the stream; `n` makes its values unlike all others.
fn unit(kind: u8, keys: [u8; 3], n: usize) -> Vec<u8> {
    let [a, b, c] = keys.map(|key| key % 12);
    let mut out = Vec::new();
    match kind % 12 {
        0..=2 => write(&mut out, &format!("SET k{a} v{n}")),
        3 | 4 => write(&mut out, &format!("APPEND k{a} v{n}")),
        5 => write(&mut out, &format!("DEL k{a} k{b}")),
        6 => write(&mut out, &format!("MSET k{a} v{n} k{b} w{n} k{c} x{n}")),
        7 => write(&mut out, &format!("SELECT {}", a % 3)),
        8 => write(&mut out, if a % 2 == 0 { "PING" } else { "REPLCONF GETACK *" }),
        9 => write(&mut out, "FLUSHDB"),
        _ => {
            write(&mut out, "MULTI");
            write(&mut out, &format!("SET {{t{a}}}x v{n}"));
            if b % 4 == 0 {
                write(&mut out, &format!("SELECT {}", c % 3));
            }
            let other = if b % 3 == 0 { b } else { a };
            write(&mut out, &format!("APPEND {{t{other}}}y v{n}"));
            write(&mut out, "EXEC");
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_the_pace_the_result_is_that_of_one_client(
        units in proptest::collection::vec((any::<u8>(), any::<[u8; 3]>()), 1..80),
        steps in proptest::collection::vec((0u8..8, any::<u8>()), 1..400),
        chunk in 1usize..200,
    ) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0u64]);
        for (n, (kind, keys)) in units.iter().enumerate() {
            bytes.extend(unit(*kind, *keys, n));
            ends.push(bytes.len() as u64);
        }
        let (mut node, mut stream) = (Node::new(), Stream::new(0, 0));
        let (mut fed, mut applied) = (0, 0);
        let mut steps = steps.iter();
        while fed < bytes.len() || node.applier.applied() < bytes.len() as u64 {
            match steps.next() {
                Some((0 | 1, _)) => {
                    let end = (fed + chunk).min(bytes.len());
                    stream.feed(&bytes[fed..end]);
                    fed = end;
                    node.applier.take(&mut stream).expect("a valid stream");
                }
                Some((2 | 3, shard)) => node.execute(usize::from(*shard) % SHARDS),
                Some((4, key)) => drop(node.locked.insert(format!("k{}", key % 12).into_bytes())),
                Some((5, _)) => node.unlock(),
                Some((6, which)) => {
                    // Answers of different shards may come in any order.
                    let which = usize::from(*which) % node.replies.len().max(1);
                    if let Some(batch) = node.replies.remove(which) {
                        node.applier.answered(batch);
                    }
                }
                Some(_) => node.run_alone(),
                None => {
                    stream.feed(&bytes[fed..]);
                    fed = bytes.len();
                    node.applier.take(&mut stream).expect("a valid stream");
                    node.collect();
                    node.finish();
                }
            }
            node.collect();
            prop_assert!(node.applier.applied() >= applied, "the applied offset fell");
            applied = node.applier.applied();
            prop_assert!(ends.contains(&applied), "{applied} is within a unit");
            // What is said to be applied can be seen: nothing of it is still under way.
            if applied == bytes.len() as u64 {
                prop_assert!(node.applier.is_idle());
            }
        }
        let mut expected = Data::new();
        run_stream(&mut expected, &bytes);
        prop_assert_eq!(&node.data, &expected);
        prop_assert!(node.applier.is_idle());
        prop_assert_eq!(node.applier.errors, 0);
    }
}

#[test]
fn an_acknowledgement_waits_for_what_came_before() {
    let (mut node, mut stream, mut bytes) = (Node::new(), Stream::new(0, 0), Vec::new());
    write(&mut bytes, "SET a 1");
    let first = bytes.len() as u64;
    write(&mut bytes, "REPLCONF GETACK *");
    stream.feed(&bytes);
    assert_eq!(node.applier.take(&mut stream), Ok(Stop::Empty));
    node.collect();
    assert_eq!((node.applier.applied(), node.applier.take_acknowledgement()), (0, false));
    node.finish();
    assert!(node.applier.applied() >= first && node.applier.take_acknowledgement());
    assert!(!node.applier.take_acknowledgement());
}

#[test]
fn what_cannot_be_executed_counts_as_applied_and_as_an_error() {
    let (mut node, mut stream, mut bytes) = (Node::new(), Stream::new(7, 0), Vec::new());
    node.applier.begin_at(7);
    write(&mut bytes, "NOSUCHCOMMAND a");
    write(&mut bytes, "GET");
    stream.feed(&bytes);
    assert_eq!(node.applier.take(&mut stream), Ok(Stop::Empty));
    assert_eq!((node.applier.errors, node.applier.applied()), (2, 7 + bytes.len() as u64));
}

#[test]
fn a_stream_that_is_not_answered_is_not_taken() {
    let (mut node, mut stream, mut bytes) = (Node::new(), Stream::new(0, 0), Vec::new());
    for n in 0..IN_FLIGHT_UNITS + 10 {
        write(&mut bytes, &format!("SET k{} v{n}", n % 100));
    }
    stream.feed(&bytes);
    assert_eq!(node.applier.take(&mut stream), Ok(Stop::Busy));
    let held = stream.pending_bytes();
    assert!(held > 0);
    assert_eq!(node.applier.take(&mut stream), Ok(Stop::Busy));
    assert_eq!(stream.pending_bytes(), held);
    node.collect();
    assert!(node.inbox.iter().flatten().all(|batch| batch.requests.len() <= BATCH_COMMANDS));
    node.finish();
    assert_eq!(node.applier.take(&mut stream), Ok(Stop::Empty));
    node.collect();
    node.finish();
    assert_eq!(node.applier.applied(), bytes.len() as u64);
}
