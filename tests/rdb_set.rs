//! Sets in RDB files and DUMP payloads between Redis and Basalt's reader and writer.

mod common;

use basalt::keyspace::Value;
use basalt::observe::digest::Expires;
use basalt::observe::digest::value_digest;
use basalt::rdb::{Access, Compression, Header, Item, Reader, StreamPosition, StreamWriter, write_record};
use basalt::types::Encodings;
use common::{Conn, Launch, Server};
use std::collections::BTreeMap;
use std::fs;

const MAX_STRING_BYTES: u64 = 512 << 20;

/// Names and members of sets of every encoding, at its limits and beyond.
fn some_sets() -> BTreeMap<String, Vec<Vec<u8>>> {
    let numbers = |numbers: &[i64]| numbers.iter().map(|number| number.to_string().into_bytes()).collect::<Vec<_>>();
    let texts = |count: usize, len: usize| (0..count).map(|i| format!("{i:0len$}x").into_bytes()).collect::<Vec<_>>();
    let many = |count: i64| (0..count).map(|i| (i * 7919).to_string().into_bytes()).collect::<Vec<_>>();
    let named = [
        ("int16", numbers(&[-32768, -1, 0, 1, 32767])),
        ("int32", numbers(&[-2147483648, 5, 2147483647])),
        ("int64", numbers(&[i64::MIN, 5, i64::MAX])),
        ("one", numbers(&[7])),
        ("ints at the limit", many(512)),
        ("ints beyond it", many(513)),
        ("texts", texts(3, 1)),
        ("texts at the limit", texts(128, 5)),
        ("texts beyond it", texts(129, 5)),
        ("long at the limit", texts(2, 63)),
        ("long beyond it", texts(2, 64)),
        ("mixed", [numbers(&[1, 2, 3]), texts(2, 4)].concat()),
        ("odd", vec![b"".to_vec(), b"007".to_vec(), b"-0".to_vec(), b"\0\xff\r\n".to_vec()]),
        ("compressible", vec![vec![b'a'; 4000], vec![b'b'; 40]]),
        ("large", (0..5000).map(|i| format!("member {i}").into_bytes()).collect()),
    ];
    named.into_iter().map(|(name, members)| (name.to_owned(), members)).collect()
}

fn fill(conn: &mut Conn, sets: &BTreeMap<String, Vec<Vec<u8>>>) {
    for (name, members) in sets {
        for some in members.chunks(1000) {
            let args: Vec<&[u8]> =
                [b"SADD".as_slice(), name.as_bytes()].into_iter().chain(some.iter().map(Vec::as_slice)).collect();
            assert_eq!(conn.argv(&args).int(), some.len() as i64);
        }
    }
}

/// The values in a file.
fn values(file: &[u8]) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    let mut reader = Reader::new(MAX_STRING_BYTES, true);
    let mut input = file;
    while let Some(item) = reader.next(&mut input).expect("a sound file") {
        if let Item::Record { record, .. } = item {
            let value = record.decode(MAX_STRING_BYTES, &Encodings::default()).expect("a sound value");
            values.insert(String::from_utf8(record.key.to_vec()).expect("a name"), value);
        }
    }
    values
}

#[test]
fn what_redis_saves_is_read() {
    let sets = some_sets();
    for compressed in ["yes", "no"] {
        let server = Server::redis(&["--enable-debug-command", "yes", "--rdbcompression", compressed]);
        let mut conn = Conn::open(server.port);
        fill(&mut conn, &sets);
        assert_eq!(conn.cmd("SAVE").text(), "OK");
        let file = fs::read(server.dir().join("dump.rdb")).expect("it was saved");
        let values = values(&file);
        assert_eq!(values.keys().collect::<Vec<_>>(), sets.keys().collect::<Vec<_>>());
        for (name, value) in &values {
            let digest = conn.argv(&[b"DEBUG".as_slice(), b"DIGEST-VALUE", name.as_bytes()]).items()[0].text();
            assert_eq!(value_digest(value.as_ref(), Expires::Never).hex(), digest, "{name}");
        }
    }
}

#[test]
fn what_is_written_redis_loads() {
    let sets = some_sets();
    let filled = Server::redis(&["--enable-debug-command", "yes"]);
    let mut expected = Conn::open(filled.port);
    fill(&mut expected, &sets);
    assert_eq!(expected.cmd("SAVE").text(), "OK");
    let values = values(&fs::read(filled.dir().join("dump.rdb")).expect("it was saved"));
    for compression in [Compression::Lzf, Compression::None] {
        let mut writer = StreamWriter::new(true);
        let mut sizes = [(0, 0); 16];
        sizes[0] = (values.len() as u64, 0);
        let position = StreamPosition { db: 0, replication_id: "0123456789abcdef0123456789abcdef01234567", offset: 1 };
        let mut file = writer.header(&Header {
            redis_version: "7.2.4",
            created_s: 1_700_000_000,
            used_memory_bytes: 1 << 20,
            position: Some(position),
            sizes: &sizes,
        });
        let mut records = Vec::new();
        for (name, value) in &values {
            write_record(&mut records, name.as_bytes(), value.as_ref(), None, Access::Unknown, compression);
        }
        file.extend(writer.chunk(0, &records));
        file.extend(records);
        file.extend(writer.finish());
        let launch = Launch::redis().args(&["--enable-debug-command", "yes", "--dbfilename", "ours.rdb"]);
        fs::write(launch.dir().join("ours.rdb"), file).expect("the directory is there");
        let server = launch.start();
        let mut conn = Conn::open(server.port);
        common::wait_until("the file is loaded", || !conn.cmd("SCARD one").is_error());
        assert_eq!(conn.cmd("DEBUG DIGEST").text(), expected.cmd("DEBUG DIGEST").text(), "{compression:?}");
        for (key, encoding) in [("one", "intset"), ("texts", "hashtable")] {
            assert_eq!(conn.cmd(&format!("OBJECT ENCODING {key}")).text(), encoding);
        }
    }
}

/// Every value is given to the other server and comes back.
#[test]
fn dumps_go_both_ways() {
    let sets = some_sets();
    let debug = ["--enable-debug-command", "yes"];
    let (redis, basalt) = (Server::redis(&debug), Server::basalt(&[debug[0], debug[1], "--shards", "2"]));
    let mut redis = Conn::open(redis.port);
    let mut basalt = Conn::open(basalt.port);
    fill(&mut redis, &sets);
    for name in sets.keys() {
        let key = name.as_bytes();
        let dump = redis.argv(&[b"DUMP".as_slice(), key]).bytes();
        assert_eq!(basalt.argv(&[b"RESTORE".as_slice(), key, b"0", &dump]).text(), "OK", "{name}");
        let digest = |conn: &mut Conn| conn.argv(&[b"DEBUG".as_slice(), b"DIGEST-VALUE", key]).items()[0].text();
        assert_eq!(digest(&mut basalt), digest(&mut redis), "{name}");
        let back = basalt.argv(&[b"DUMP".as_slice(), key]).bytes();
        let encoding = redis.argv(&[b"OBJECT".as_slice(), b"ENCODING", key]).text();
        if encoding == "intset" {
            assert_eq!(back, dump, "{name}");
        }
        assert_eq!(redis.argv(&[b"RESTORE".as_slice(), b"back", b"0", &back, b"REPLACE"]).text(), "OK", "{name}");
        let copy = redis.argv(&[b"DEBUG".as_slice(), b"DIGEST-VALUE", b"back"]).items()[0].text();
        assert_eq!(copy, digest(&mut redis), "{name}");
    }
}
