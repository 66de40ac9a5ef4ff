//! RDB files between Redis and Basalt's reader and writer: what redis-server saves is read, what is written redis-server loads.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use basalt::keyspace::Value;
use basalt::rdb::{
    Access, Compression, Error, Header, Item, Reader, Record, StreamPosition, StreamWriter, library_name, write_record,
};
use basalt::types::Encodings;
use common::{Conn, Launch, Rng, Server, on_path, seed};

const MAX_STRING_BYTES: u64 = 512 << 20;
/// Far enough that nothing expires during a test: the year 2100.
const LATER_MS: u64 = 4_102_444_800_000;
const DATABASES: [u64; 3] = [0, 3, 15];

/// Value and expiry, as both sides tell them.
type Entry = (Vec<u8>, Option<u64>);
/// By database and key.
type Data = BTreeMap<(u64, Vec<u8>), Entry>;

/// Keys and values of every encoding and length class, in several databases.
fn some_data(rng: &mut Rng) -> Data {
    let mut texts: Vec<Vec<u8>> = [
        "",
        "0",
        "-1",
        "127",
        "128",
        "-129",
        "32767",
        "32768",
        "-2147483648",
        "2147483647",
        "2147483648",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "007",
        "+1",
        "1 ",
        "-0",
        "3.14",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for len in [1, 11, 12, 20, 21, 63, 64, 65, 200, 16_383, 16_384, 100_000] {
        texts.push(rng.bytes(len));
        texts.push(vec![b'a'; len]);
        texts.push(b"some words again ".iter().copied().cycle().take(len).collect());
    }
    let mut data = Data::new();
    for db in DATABASES {
        for text in &texts {
            let expiry = rng.chance(3).then(|| LATER_MS + rng.below(1 << 40) as u64);
            let key = if rng.chance(2) { text.clone() } else { rng.bytes(20) };
            data.insert((db, key), (text.clone(), expiry));
        }
    }
    data
}

/// Puts the data into a server, by its own commands.
fn fill(conn: &mut Conn, data: &Data) {
    for ((db, key), (value, expire_at_ms)) in data {
        assert_eq!(conn.argv(&[b"SELECT", db.to_string().as_bytes()]).text(), "OK");
        assert_eq!(conn.argv(&[b"SET".as_slice(), key, value]).text(), "OK");
        if let Some(at_ms) = expire_at_ms {
            assert_eq!(conn.argv(&[b"PEXPIREAT".as_slice(), key, at_ms.to_string().as_bytes()]).int(), 1);
        }
    }
    assert_eq!(conn.cmd("SELECT 0").text(), "OK");
}

/// Each item of a file, which comes in pieces.
fn for_each(file: &[u8], piece: usize, mut see: impl FnMut(&Item<'_>)) -> Result<(), Error> {
    let mut reader = Reader::new(MAX_STRING_BYTES, true);
    for mut input in file.chunks(piece) {
        while let Some(item) = reader.next(&mut input)? {
            see(&item);
        }
        assert_eq!(input, b"", "bytes are left over");
    }
    while let Some(item) = reader.drain()? {
        see(&item);
    }
    reader.finish()
}

fn entry_of(record: &Record<'_>) -> Entry {
    let bytes = match record.decode(MAX_STRING_BYTES, &Encodings::default()).expect("a sound value") {
        Value::Int(number) => number.to_string().into_bytes(),
        Value::Str(bytes) => bytes.to_vec(),
        Value::Packed(..) | Value::Object(_) => unreachable!("only strings are in these files"),
    };
    (bytes, record.expire_at_ms)
}

/// The data in a file. Each record, written again, has to have the same bytes.
fn data_of(file: &[u8], piece: usize, compression: Compression) -> Data {
    let (mut data, mut db) = (Data::new(), 0);
    let result = for_each(file, piece, |item| match item {
        Item::SelectDb(number) => db = *number,
        Item::Record { record, .. } => {
            data.insert((db, record.key.to_vec()), entry_of(record));
            let (mut again, value) =
                (Vec::new(), record.decode(MAX_STRING_BYTES, &Encodings::default()).expect("a sound value"));
            let value = value.as_ref();
            write_record(&mut again, &record.key, value, record.expire_at_ms, record.access, compression);
            assert_eq!(again.escape_ascii().to_string(), record.raw.escape_ascii().to_string());
        }
        _ => {}
    });
    assert_eq!(result, Ok(()));
    data
}

fn save(server: &Server, conn: &mut Conn) -> Vec<u8> {
    assert_eq!(conn.cmd("SAVE").text(), "OK");
    read(&server.dir().join("dump.rdb"))
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
}

/// Runs with and without compression and with every way of noting accesses.
#[test]
fn what_redis_saves_is_read_as_it_was() {
    let mut rng = Rng::new(seed());
    let data = some_data(&mut rng);
    for (policy, compression) in [
        ("noeviction", Compression::Lzf),
        ("noeviction", Compression::None),
        ("allkeys-lru", Compression::Lzf),
        ("allkeys-lfu", Compression::Lzf),
    ] {
        let compressed = if compression == Compression::Lzf { "yes" } else { "no" };
        let server = Server::redis(&["--maxmemory-policy", policy, "--rdbcompression", compressed]);
        let mut conn = Conn::open(server.port);
        fill(&mut conn, &data);
        let file = save(&server, &mut conn);
        for piece in [usize::MAX, 64 << 10, 1000, 1] {
            assert_eq!(data_of(&file, piece, compression), data, "{policy}, {compression:?}, in pieces of {piece}");
        }
        let mut accesses = Vec::new();
        for_each(&file, 4096, |item| {
            if let Item::Record { record, .. } = item {
                accesses.push(record.access);
            }
        })
        .expect("the same as before");
        assert!(accesses.iter().all(|access| matches!(
            (policy, access),
            ("noeviction", Access::Unknown)
                | ("allkeys-lru", Access::IdleSeconds(_))
                | ("allkeys-lfu", Access::Frequency(_))
        )));
    }
}

#[test]
fn the_rest_of_a_file_is_told() {
    let server = Server::redis(&[]);
    let mut conn = Conn::open(server.port);
    let code = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
    assert_eq!(conn.argv(&[b"FUNCTION".as_slice(), b"LOAD", code.as_bytes()]).text(), "mylib");
    assert_eq!(conn.cmd("SET a 1").text(), "OK");
    let file = save(&server, &mut conn);
    let (mut libraries, mut aux) = (vec![], BTreeMap::new());
    for_each(&file, 100, |item| match item {
        Item::FunctionLibrary { code } => libraries.push(library_name(code).map(<[u8]>::to_vec)),
        Item::Aux { key, value } => drop(aux.insert(key.to_vec(), value.to_vec())),
        _ => {}
    })
    .expect("functions are no error");
    assert_eq!(libraries, [Some(b"mylib".to_vec())]);
    assert_eq!(aux.get(&b"redis-bits"[..]), Some(&b"64".to_vec()));
}

/// A file of the data, its chunks of one to some keys going back and forth between the databases.
fn written(data: &Data, rng: &mut Rng, compression: Compression, checksum: bool) -> Vec<u8> {
    let mut writer = StreamWriter::new(checksum);
    let keys = DATABASES.map(|db| data.keys().filter(|(other, _)| *other == db).count() as u64);
    let mut sizes = [(0, 0); 16];
    DATABASES.iter().zip(keys).for_each(|(db, keys)| sizes[*db as usize] = (keys, 1));
    let position =
        StreamPosition { db: 0, replication_id: "0123456789abcdef0123456789abcdef01234567", offset: 1 << 40 };
    let mut file = writer.header(&Header {
        redis_version: "7.2.4",
        created_s: 1_700_000_000,
        used_memory_bytes: 1 << 33,
        position: Some(position),
        sizes: &sizes,
    });
    let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
    for ((db, key), (bytes, expire_at_ms)) in data {
        let mut record = Vec::new();
        let value = Value::Str(bytes.clone().into());
        write_record(&mut record, key, value.as_ref(), *expire_at_ms, Access::Unknown, compression);
        records.push((*db, record));
    }
    while !records.is_empty() {
        let (db, mut chunk) = records.swap_remove(rng.below(records.len()));
        while let Some(at) = records.iter().position(|(other, _)| *other == db).filter(|_| !rng.chance(4)) {
            chunk.extend(records.swap_remove(at).1);
        }
        file.extend(writer.chunk(db as u16, &chunk));
        file.extend(chunk);
    }
    file.extend(writer.finish());
    file
}

#[test]
fn what_is_written_redis_loads() {
    let mut rng = Rng::new(seed());
    let data = some_data(&mut rng);
    let filled = Server::redis(&["--enable-debug-command", "yes"]);
    let mut expected = Conn::open(filled.port);
    fill(&mut expected, &data);
    let digest = expected.cmd("DEBUG DIGEST").text();
    for (compression, checksum) in [(Compression::Lzf, true), (Compression::None, true), (Compression::Lzf, false)] {
        let launch = Launch::redis().args(&["--enable-debug-command", "yes", "--dbfilename", "ours.rdb"]);
        let path = launch.dir().join("ours.rdb");
        let file = written(&data, &mut rng, compression, checksum);
        assert_eq!(for_each(&file, 100, |_| {}), Ok(()));
        fs::write(&path, file).expect("the directory is there");
        if on_path("redis-check-rdb") {
            let check = Command::new("redis-check-rdb").arg(&path).output().expect("it is there");
            let said = String::from_utf8_lossy(&check.stdout).into_owned();
            assert!(check.status.success() && said.contains("RDB looks OK"), "{said}");
        }
        let server = launch.start();
        let mut conn = Conn::open(server.port);
        common::wait_until("the file is loaded", || !conn.cmd("GET a").is_error());
        assert_eq!(conn.cmd("DEBUG DIGEST").text(), digest, "{compression:?}, checksum {checksum}");
    }
}
