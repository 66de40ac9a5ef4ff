//! A caching client never keeps an old value.

use super::common::conn::{Reply, encode_into};
use super::common::{PATIENCE, Rng, Server, seed, wait_until};
use super::harness::{Client, everywhere, key, keys_of, last_keys};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A client that keeps what it reads, as a caching client does, from what comes on its connection alone.
struct Cache {
    client: Client,
    /// Which keys the next replies are about.
    asked: VecDeque<Vec<usize>>,
    values: BTreeMap<usize, Reply>,
}

impl Cache {
    fn ask(&mut self, rng: &mut Rng, hot: usize) {
        let mut bytes = Vec::new();
        for _ in 0..rng.below(20) + 1 {
            if rng.chance(6) {
                let some: Vec<usize> = (0..rng.below(3) + 1).map(|_| rng.below(hot)).collect();
                encode_into(&mut bytes, &["MULTI"]);
                some.iter().for_each(|one| encode_into(&mut bytes, &["GET".to_owned(), key(*one)]));
                encode_into(&mut bytes, &["EXEC"]);
                self.asked.extend(vec![Vec::new(); some.len() + 1]);
                self.asked.push_back(some);
            } else if rng.chance(4) {
                let some: Vec<usize> = (0..rng.below(4) + 2).map(|_| rng.below(hot)).collect();
                let words: Vec<String> = ["MGET".to_owned()].into_iter().chain(some.iter().copied().map(key)).collect();
                encode_into(&mut bytes, &words);
                self.asked.push_back(some);
            } else {
                let one = rng.below(hot);
                encode_into(&mut bytes, &["GET".to_owned(), key(one)]);
                self.asked.push_back(vec![one]);
            }
        }
        self.client.conn.send_raw(&bytes).expect("a server that reads");
    }

    /// Takes in one reply or message; the last keys it names, if it is a message.
    fn take_in(&mut self) -> Vec<String> {
        match self.client.conn.read().expect("something") {
            push @ Reply::Push(_) => {
                let told = keys_of(&push);
                for key in &told {
                    let number = key.strip_prefix("key:").and_then(|number| number.parse().ok());
                    number.map(|number: usize| self.values.remove(&number));
                }
                told
            }
            reply => {
                let asked = self.asked.pop_front().expect("a question");
                if asked.is_empty() {
                    assert!(matches!(reply, Reply::Simple(_)), "{reply:?}");
                    return Vec::new();
                }
                let values = if let Reply::Array(values) = reply { values } else { vec![reply] };
                assert_eq!(asked.len(), values.len());
                self.values.extend(asked.into_iter().zip(values));
                Vec::new()
            }
        }
    }
}

/// Readers keep values, writers change them all the while; in the end nobody holds an old one. Messages that overtake the reply to which they
/// belong, or get lost, would leave one behind.
#[test]
fn no_cache_keeps_an_old_value() {
    let seed = seed();
    let time: u64 = std::env::var("BASALT_TRACKING_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    everywhere(|server, shards| {
        let hot = 40;
        let end = Instant::now() + Duration::from_secs(time);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> =
                (0..3).map(|n| scope.spawn(move || write(server, n, Rng::new(seed ^ n), hot, end))).collect();
            let done = &done;
            let readers: Vec<_> =
                (0..4).map(|n| scope.spawn(move || read(server, Rng::new(seed ^ 64 ^ n), hot, done))).collect();
            writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
            done.store(true, Ordering::Relaxed);
            let caches: Vec<Cache> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
            settle_caches(server, shards, caches, hot);
        });
    });
}

fn write(server: &Server, writer: u64, mut rng: Rng, hot: usize, end: Instant) {
    let mut client = Client::resp2(server);
    let mut serial = 0;
    while Instant::now() < end {
        serial += 1;
        let (a, b) = (key(rng.below(hot)), key(rng.below(hot)));
        let line = match rng.below(5) {
            0 => format!("MSET {a} {writer}:{serial} {b} {writer}:{serial}"),
            1 => format!("DEL {a} {b}"),
            2 => format!("SET {a} {writer}:{serial} PX {}", rng.below(5) + 1),
            3 => format!("APPEND {a} x"),
            _ => format!("SET {a} {writer}:{serial}"),
        };
        client.ok(&line);
    }
}

/// Reads until nobody writes any more, and a little beyond: so something is left in the end.
fn read(server: &Server, mut rng: Rng, hot: usize, done: &AtomicBool) -> Cache {
    let client = Client::tracking(server, "");
    let mut cache = Cache { client, asked: VecDeque::new(), values: BTreeMap::new() };
    let mut last = false;
    while !last {
        last = done.load(Ordering::Relaxed);
        cache.ask(&mut rng, hot);
        while !cache.asked.is_empty() {
            cache.take_in();
        }
    }
    cache
}

fn settle_caches(server: &Server, shards: usize, caches: Vec<Cache>, hot: usize) {
    let mut other = Client::resp2(server);
    // Those that expire soon are gone then.
    let far = |reply: Reply| reply.int() < 0;
    wait_until("nothing expires any more", || (0..hot).all(|n| far(other.cmd(&format!("PTTL {}", key(n))))));
    let now: Vec<Reply> = {
        let mut client = Client::resp3(server);
        (0..hot).map(|n| client.cmd(&format!("GET {}", key(n)))).collect()
    };
    let mut kept = 0;
    for mut cache in caches {
        // One message more from each core: what was told before is here then.
        let last = last_keys(shards);
        for key in &last {
            cache.client.send(&format!("GET {key}"));
            cache.asked.push_back(vec![hot]);
        }
        while !cache.asked.is_empty() {
            cache.take_in();
        }
        for key in &last {
            other.ok(&format!("SET {key} x"));
        }
        let mut missing = last;
        let start = Instant::now();
        while !missing.is_empty() {
            assert!(start.elapsed() < PATIENCE, "no message about {missing:?}");
            for key in cache.take_in() {
                missing.remove(&key);
            }
        }
        cache.values.remove(&hot);
        for (n, value) in &cache.values {
            assert_eq!(*value, now[*n], "{} in a cache, and on the server", key(*n));
        }
        kept += cache.values.len();
    }
    println!("{kept} values were in caches");
    assert!(kept > 0);
}
