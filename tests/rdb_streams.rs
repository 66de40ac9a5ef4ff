//! Streams between Redis and Basalt as DUMP payloads: byte for byte the same, and restored on either side.

mod common;

use common::{Conn, Reply, Rng, Server, seed};

const STREAMS: usize = 40;

/// Fills a key of a redis-server with a stream of some shape: blocks of every size, deleted entries, groups with pending entries.
fn fill(redis: &mut Conn, rng: &mut Rng, key: &str) {
    redis.ok(&format!("CONFIG SET stream-node-max-entries {}", 1 + rng.below(30)));
    let (mut ms, entries) = (rng.below(1000) as u64, rng.below(200));
    for _ in 0..entries {
        ms += rng.below(3) as u64 * rng.below(1000) as u64;
        let mut args: Vec<Vec<u8>> =
            ["XADD".to_owned(), key.to_owned(), format!("{ms}-*")].map(String::into_bytes).to_vec();
        for field in 0..1 + rng.below(3) {
            let number = (rng.next() as i64 >> rng.below(64)).to_string().into_bytes();
            let text = rng.below(100);
            let value = if rng.chance(2) { number } else { rng.bytes(text) };
            args.extend([format!("field:{field}").into_bytes(), value]);
        }
        redis.argv(&args);
    }
    redis.cmd(&format!("XADD {key} MAXLEN = {} 99999999-1 last entry", rng.below(100)));
    for group in 0..rng.below(3) {
        redis.ok(&format!("XGROUP CREATE {key} group:{group} {}", rng.below(500)));
        for read in 0..rng.below(6) {
            let (consumer, count) = (rng.below(3), 1 + rng.below(30));
            redis.cmd(&format!("XREADGROUP GROUP group:{group} c{consumer} COUNT {count} STREAMS {key} >"));
            redis.cmd(&format!("XAUTOCLAIM {key} group:{group} c{read} 0 0 COUNT {count} JUSTID"));
        }
    }
    for entry in redis.cmd(&format!("XRANGE {key} - +")).items() {
        if rng.chance(5) {
            redis.cmd(&format!("XDEL {key} {}", entry.items()[0].text()));
        }
    }
}

/// Without the time that Redis 7.2 has added to consumers.
fn without_active_time(reply: Reply) -> Reply {
    let Reply::Array(items) = reply else { return reply };
    let mut items: Vec<Reply> = items.into_iter().map(without_active_time).collect();
    if let Some(at) = items.iter().position(|item| *item == Reply::Bulk(b"active-time".to_vec())) {
        items.drain(at..at + 2);
    }
    Reply::Array(items)
}

#[test]
fn there_and_back() {
    let mut rng = Rng::new(seed());
    let (redis, basalt) =
        (Server::redis(&["--enable-debug-command", "yes"]), Server::basalt(&["--enable-debug-command", "yes"]));
    let (mut redis, mut basalt) = (redis.conn(), basalt.conn());
    for n in 0..STREAMS {
        let key = format!("s:{n}");
        fill(&mut redis, &mut rng, &key);
        let payload = redis.cmd(&format!("DUMP {key}")).bytes();
        assert_eq!(basalt.argv::<&[u8]>(&[b"RESTORE", key.as_bytes(), b"0", &payload]).text(), "OK");
        let again = basalt.cmd(&format!("DUMP {key}")).bytes();
        assert_eq!(again.escape_ascii().to_string(), payload.escape_ascii().to_string());
        assert_eq!(redis.argv::<&[u8]>(&[b"RESTORE", b"copy", b"0", &again, b"REPLACE"]).text(), "OK");
        for line in [format!("XINFO STREAM {key} FULL COUNT 0"), format!("DEBUG DIGEST-VALUE {key}")] {
            assert_eq!(without_active_time(basalt.cmd(&line)), redis.cmd(&line), "{line}");
        }
    }
}

/// Streams of hundreds of blocks, most of which are compressed: read, trimmed and deleted from all over. The last entry of a block is only ever
/// trimmed: Redis keeps blocks that XDEL has emptied.
#[test]
fn long_streams_change_alike() {
    let mut rng = Rng::new(seed());
    const BLOCK: u64 = 10;
    let options = ["--enable-debug-command", "yes", "--stream-node-max-entries", "10"];
    let (redis, basalt) = (Server::redis(&options), Server::basalt(&options));
    let (mut redis, mut basalt) = (redis.conn(), basalt.conn());
    let mut both = |line: &str| {
        let (there, here) = (redis.cmd(line), basalt.cmd(line));
        assert_eq!(here, there, "{line}");
    };
    let (mut first, mut last) = (1, 0u64);
    for round in 0..30 {
        for _ in 0..200 {
            last += 1;
            both(&format!("XADD s {last}-0 field value:{last} other {}", rng.below(5)));
        }
        if round == 10 {
            both("COPY s copy");
        }
        let some = |rng: &mut Rng| first + rng.below((last - first + 1) as usize) as u64;
        for _ in 0..40 {
            let (id, to) = (some(&mut rng), some(&mut rng));
            match rng.below(6) {
                0 if id % BLOCK != 0 && to % BLOCK != 0 => both(&format!("XDEL s {id}-0 {to}-0 1-1")),
                0 | 1 => (id..id + 15).filter(|id| id % BLOCK != 0).for_each(|id| both(&format!("XDEL s {id}-0"))),
                2 => both(&format!("XRANGE s {id} + COUNT {}", 1 + rng.below(30))),
                3 => both(&format!("XREVRANGE s {id} - COUNT {}", 1 + rng.below(30))),
                4 => both(&format!("XRANGE s {id} {to}")),
                _ => both(&format!("XREAD COUNT 25 STREAMS s {id}")),
            }
        }
        first += rng.below(150) as u64;
        match rng.below(4) {
            0 => both(&format!("XTRIM s MINID {first}")),
            1 => both(&format!("XTRIM s MINID ~ {first}")),
            2 => both(&format!("XTRIM s MAXLEN ~ {}", last - first)),
            _ => both(&format!("XTRIM s MAXLEN {}", last - first)),
        }
        both("XINFO STREAM s");
        both("DEBUG DIGEST-VALUE s copy");
        both("DUMP s");
    }
    both("DUMP copy");
    both("XREVRANGE copy + -");
}
