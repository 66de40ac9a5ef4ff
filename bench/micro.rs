//! What the parts of the hot path cost, each for itself: `cargo bench --bench micro [FILTER]`.
//!
//! - `parse`: requests from bytes to arguments
//! - `keyspace`: look-up, overwriting and insertion among a million keys, in random order
//! - `command`: a request from bytes to its reply: parser, command table, handler, keyspace, writer; all but the socket
//! - `hop`: a message to another core and back, between two executors. With one message in flight both cores sleep between
//!   messages, so a hop includes two wake-ups; with 64 they stay awake

use std::hint::black_box;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use basalt::commands::lookup::Commands;
use basalt::commands::{Ctx, Handler};
use basalt::keyspace::{Expiry, Keyspace, NewStr, Policy, slot};
use basalt::resp::parser::{Limits, Parsed, Parser};
use basalt::resp::{Args, Out, Proto, Writer};
use basalt::runtime::{self, Event, ExecutorId, Io, Service};
use basalt::types::Encodings;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: basalt::runtime::memory::Counting = basalt::runtime::memory::Counting;

const KEYS: usize = 1_000_000;
const KEY_BYTES: usize = 20;
const VALUE: [u8; 64] = [b'v'; 64];
const SEED: u64 = 0x5bd1_e995;
/// Some Unix time: no key here expires.
const NOW_MS: u64 = 1_700_000_000_000;

type Key = [u8; KEY_BYTES];

/// All keys, shuffled: no access tells the processor where the next one will be.
fn shuffled_keys() -> Vec<Key> {
    let mut keys: Vec<Key> =
        (0..KEYS).map(|n| format!("key:{n:016}").into_bytes().try_into().expect("20 bytes")).collect();
    let mut state = SEED;
    for i in (1..keys.len()).rev() {
        // Knuth's MMIX generator; its high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        keys.swap(i, (state >> 33) as usize % (i + 1));
    }
    keys
}

fn empty_keyspace() -> Keyspace {
    Keyspace::new(slot::slots_of(0, 1), 1, SEED)
}

fn set(keyspace: &mut Keyspace, policy: &Policy, key: &[u8]) {
    keyspace.view(0, NOW_MS, policy).set_string(key, NewStr::Copy(&VALUE), Expiry::None);
}

fn filled_keyspace(policy: &Policy, keys: &[Key]) -> Keyspace {
    let mut keyspace = empty_keyspace();
    keys.iter().for_each(|key| set(&mut keyspace, policy, key));
    keyspace
}

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Hands each command of `input` to `each`.
fn parse_all(parser: &mut Parser, input: &[u8], mut each: impl FnMut(&Args<'_>)) {
    let limits = Limits::default();
    let mut rest = input;
    while !rest.is_empty() {
        let Ok(Parsed::Command { consumed }) = parser.parse(rest, &limits) else { panic!("not a whole command") };
        each(&parser.args(rest));
        parser.reset();
        rest = &rest[consumed..];
    }
}

fn parse(c: &mut Criterion) {
    let set = request(&[b"SET", b"key:0000000000000001", &VALUE]);
    let mut group = c.benchmark_group("parse");
    for (name, commands) in [("SET", 1), ("16 SETs in a pipeline", 16)] {
        let input = set.repeat(commands);
        let mut parser = Parser::default();
        group.throughput(Throughput::Elements(commands as u64));
        group.bench_function(name, |b| {
            b.iter(|| parse_all(&mut parser, black_box(&input), |args| _ = black_box(*args)))
        });
    }
    group.finish();
}

fn keyspace(c: &mut Criterion) {
    let keys = shuffled_keys();
    let policy = Policy::default();
    let mut filled = filled_keyspace(&policy, &keys);
    let mut group = c.benchmark_group("keyspace");
    let mut next = keys.iter().cycle();
    group.bench_function("get", |b| {
        b.iter(|| {
            let key = next.next().expect("a cycle");
            let found = filled.view(0, NOW_MS, &policy).string(key).is_ok_and(|value| black_box(value).is_some());
            assert!(found);
        })
    });
    group.bench_function("set", |b| b.iter(|| set(&mut filled, &policy, next.next().expect("a cycle"))));
    drop(filled);
    // From nothing to a million keys, and again.
    group.bench_function("insert", |b| {
        b.iter_custom(|iterations| {
            let mut taken = Duration::ZERO;
            let mut left = iterations as usize;
            while left > 0 {
                let mut keyspace = empty_keyspace();
                let started = Instant::now();
                keys.iter().take(left).for_each(|key| set(&mut keyspace, &policy, key));
                taken += started.elapsed();
                left -= left.min(KEYS);
            }
            taken
        })
    });
    group.finish();
}

fn command(c: &mut Criterion) {
    let keys = shuffled_keys();
    let (policy, encodings) = (Policy::default(), Encodings::default());
    let mut keyspace = filled_keyspace(&policy, &keys);
    let commands = Commands::new();
    let mut parser = Parser::default();
    let mut out = Out::default();
    let mut next = keys.iter().cycle();
    let mut group = c.benchmark_group("command");
    for (name, mut input) in [("GET", request(&[b"GET", &keys[0]])), ("SET", request(&[b"SET", &keys[0], &VALUE]))] {
        let key_at = input.windows(KEY_BYTES).position(|window| window == keys[0]).expect("the key");
        group.bench_function(name, |b| {
            b.iter(|| {
                input[key_at..key_at + KEY_BYTES].copy_from_slice(next.next().expect("a cycle"));
                out.clear();
                parse_all(&mut parser, &input, |args| {
                    let (_, command) = commands.resolve(args).expect("a command");
                    let Handler::Data(handler) = command.handler else { unreachable!("GET and SET work on data") };
                    let view = keyspace.view(0, NOW_MS, &policy);
                    let mut ctx = Ctx::new(view, Writer::new(&mut out, Proto::Resp2), 512 << 20, &encodings);
                    handler(&mut ctx, args).expect("a reply");
                });
                black_box(&out.buf);
            })
        });
    }
    group.finish();
}

enum Message {
    Ball,
    Stop,
}

/// Executor 0 serves balls, executor 1 returns each.
enum Player {
    Serving(Rally),
    Returning,
    Done,
}

struct Rally {
    started: Option<Instant>,
    in_flight: u64,
    unserved: u64,
    unreturned: u64,
    report: mpsc::Sender<Duration>,
}

impl Rally {
    fn serve(&mut self, io: &mut Io<Message>, balls: u64) {
        self.unserved -= balls;
        (0..balls).for_each(|_| io.post(1, Message::Ball));
    }
}

impl Service for Player {
    type Message = Message;

    fn begin_tick(&mut self, io: &mut Io<Message>) {
        if let Player::Serving(rally) = self
            && rally.started.is_none()
        {
            rally.started = Some(Instant::now());
            rally.serve(io, rally.in_flight.min(rally.unserved));
        }
    }

    fn on_event(&mut self, _: &mut Io<Message>, _: Event<'_>) {}

    fn on_message(&mut self, io: &mut Io<Message>, from: ExecutorId, message: Message) {
        match (&mut *self, message) {
            (Player::Serving(rally), Message::Ball) => {
                rally.unreturned -= 1;
                rally.serve(io, rally.unserved.min(1));
                if rally.unreturned == 0 {
                    let taken = rally.started.expect("balls were served").elapsed();
                    rally.report.send(taken).expect("the measurement waits");
                    io.post(from, Message::Stop);
                    *self = Player::Done;
                }
            }
            (Player::Returning, Message::Ball) => io.post(from, Message::Ball),
            (_, Message::Stop) => *self = Player::Done,
            (Player::Done, Message::Ball) => unreachable!("all balls came back before the end"),
        }
    }

    fn end_tick(&mut self, _: &mut Io<Message>) {}

    fn after_tasks(&mut self, _: &mut Io<Self::Message>) {}

    fn stopping(&self) -> bool {
        matches!(self, Player::Done)
    }
}

/// How long `balls` take there and back, `in_flight` of them at a time.
fn rally(balls: u64, in_flight: u64) -> Duration {
    let cpus = runtime::available_cpus();
    let place = |executor: usize| cpus.get(executor).copied().filter(|_| cpus.len() > 1);
    let (report, taken) = mpsc::channel();
    let make = move |executor: ExecutorId, io: &mut Io<Message>| {
        // The first tick serves, or finds that it may sleep.
        io.tick_again();
        let report = report.clone();
        match executor {
            0 => Player::Serving(Rally { started: None, in_flight, unserved: balls, unreturned: balls, report }),
            _ => Player::Returning,
        }
    };
    let executors = runtime::start(&[place(0), place(1)], make, |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let taken = taken.recv().expect("a report");
    executors.join().unwrap_or_else(|error| panic!("{error}"));
    taken
}

fn hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop");
    for in_flight in [1, 64] {
        let id = BenchmarkId::new("there and back, in flight", in_flight);
        group.bench_function(id, |b| b.iter_custom(|balls| rally(balls, in_flight)));
    }
    group.finish();
}

criterion_group!(benches, parse, keyspace, command, hop);
criterion_main!(benches);
