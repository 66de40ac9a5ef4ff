//! Lists in DUMP payloads, between Redis and Basalt: what either dumps the other restores, small lists have the same bytes, and payloads of all
//! older forms restore to the same elements on both.

mod common;

use common::conn::{Conn, Reply};
use common::{Rng, Server, seed};

/// Redis's CRC-64 (Jones), bit by bit.
fn crc64(bytes: &[u8]) -> u64 {
    const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 })
    })
}

fn sealed(content: &[u8]) -> Vec<u8> {
    let mut payload = content.to_vec();
    payload.extend(10u16.to_le_bytes());
    payload.extend(crc64(&payload).to_le_bytes());
    payload
}

/// A string as RDB data, of less than 16384 bytes.
fn string(text: &[u8]) -> Vec<u8> {
    let mut out =
        if text.len() < 64 { vec![text.len() as u8] } else { vec![0x40 | (text.len() >> 8) as u8, text.len() as u8] };
    out.extend(text);
    out
}

/// A ziplist of strings, of less than 64 bytes each, and integers of 4 bytes.
fn ziplist(elements: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    let (mut before, mut tail) = (0, 10);
    for element in elements {
        tail = 10 + body.len();
        let start = body.len();
        body.push(before as u8);
        match element.parse::<i32>() {
            Ok(number) => {
                body.push(0xd0);
                body.extend(number.to_le_bytes());
            }
            Err(_) => {
                body.push(element.len() as u8);
                body.extend(element.as_bytes());
            }
        }
        before = body.len() - start;
    }
    let mut out = (11 + body.len() as u32).to_le_bytes().to_vec();
    out.extend((tail as u32).to_le_bytes());
    out.extend((elements.len() as u16).to_le_bytes());
    out.extend(body);
    out.push(0xff);
    out
}

fn range(conn: &mut Conn, key: &str) -> Reply {
    conn.cmd(&format!("LRANGE {key} 0 -1"))
}

fn restore(conn: &mut Conn, payload: &[u8]) -> Reply {
    conn.argv(&[b"RESTORE".as_slice(), b"copy", b"0", payload, b"REPLACE"])
}

/// Elements of every kind and length class.
fn elements(rng: &mut Rng, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| match rng.below(8) {
            0 => (rng.next() as i64 >> rng.below(64)).to_string().into_bytes(),
            1 => rng.between(-20, 200).to_string().into_bytes(),
            2 => {
                let len = rng.pick(&[0usize, 1, 63, 64, 65, 126, 127, 128, 4095, 4096, 9000]);
                vec![b'e'; if rng.chance(4) { len } else { len.min(128) }]
            }
            3 => {
                let len = rng.below(40);
                rng.bytes(len)
            }
            n => format!("element {n} {}", rng.below(50)).into_bytes(),
        })
        .collect()
}

#[test]
fn either_restores_what_the_other_dumps() {
    let debug = ["--enable-debug-command", "yes"];
    let (redis, basalt) = (Server::redis(&debug), Server::basalt(&debug));
    let (mut redis, mut basalt) = (redis.conn(), basalt.conn());
    let mut rng = Rng::new(seed());
    for count in [1usize, 2, 3, 10, 60, 100, 127, 128, 500, 3000, 70_000] {
        let texts = elements(&mut rng, count);
        let mut digests = Vec::new();
        for conn in [&mut redis, &mut basalt] {
            conn.cmd("DEL a");
            for part in texts.chunks(500) {
                let mut args: Vec<&[u8]> = vec![b"RPUSH", b"a"];
                args.extend(part.iter().map(Vec::as_slice));
                assert!(!conn.argv(&args).is_error());
            }
            digests.push(conn.cmd("DEBUG DIGEST-VALUE a"));
        }
        assert_eq!(digests[0], digests[1], "{count} elements");
        let (there, here) = (redis.cmd("DUMP a").bytes(), basalt.cmd("DUMP a").bytes());
        if texts.iter().map(|text| text.len() + 12).sum::<usize>() < 8000 {
            assert_eq!(there, here, "{count} elements in one node");
        }
        for (conn, payload) in [(&mut redis, &here), (&mut basalt, &there)] {
            assert_eq!(restore(conn, payload), Reply::Simple(b"OK".to_vec()), "{count} elements");
            assert_eq!(conn.cmd("DEBUG DIGEST-VALUE copy"), digests[0], "{count} elements");
        }
    }
}

#[test]
fn dumps_are_compressed_as_the_directive_says() {
    let (redis, basalt) = (Server::redis(&[]), Server::basalt(&[]));
    let (mut redis, mut basalt) = (redis.conn(), basalt.conn());
    let mut lengths = Vec::new();
    for compresses in ["yes", "no", "yes"] {
        let dumps = [&mut redis, &mut basalt].map(|conn| {
            assert_eq!(conn.cmd(&format!("CONFIG SET rdbcompression {compresses}")).text(), "OK");
            let long = vec![b'x'; 1000];
            assert_eq!(conn.argv(&[&b"SET"[..], b"a", &long]).text(), "OK");
            conn.cmd("DUMP a").bytes()
        });
        assert_eq!(dumps[0], dumps[1], "rdbcompression {compresses}");
        lengths.push(dumps[1].len());
    }
    assert!(lengths[0] < 100 && lengths[1] > 1000 && lengths[2] == lengths[0], "{lengths:?}");
}

#[test]
fn older_forms_are_read() {
    let (redis, basalt) = (Server::redis(&[]), Server::basalt(&[]));
    let (mut redis, mut basalt) = (redis.conn(), basalt.conn());
    let all = ["one", "2", "", "-300000", "three"];
    let plain: Vec<u8> = all.iter().flat_map(|text| string(text.as_bytes())).collect();
    let nodes = [string(&ziplist(&all[..2])), string(&ziplist(&all[2..]))].concat();
    for (name, content) in [
        ("plain", [vec![1, 5], plain].concat()),
        ("ziplist", [vec![10], string(&ziplist(&all))].concat()),
        ("quicklist", [vec![14, 2], nodes].concat()),
        ("large elements", [vec![18, 2, 1], string(b"7"), vec![1], string(&[b'x'; 300])].concat()),
    ] {
        let payload = sealed(&content);
        for (server, conn) in [("redis", &mut redis), ("basalt", &mut basalt)] {
            assert_eq!(restore(conn, &payload), Reply::Simple(b"OK".to_vec()), "{name} on {server}");
        }
        assert_eq!(range(&mut redis, "copy"), range(&mut basalt, "copy"), "{name}");
    }
}

#[test]
fn what_is_damaged_is_refused() {
    let basalt = Server::basalt(&[]);
    let mut conn = basalt.conn();
    let mut rng = Rng::new(seed());
    let all = ["one", "2", "three"];
    let sound = [
        [vec![10], string(&ziplist(&all))].concat(),
        [vec![14, 1], string(&ziplist(&all))].concat(),
        [vec![1, 2], string(b"a"), string(b"b")].concat(),
        [vec![18, 1, 2], string(b"\x0f\x00\x00\x00\x02\x00\x83one\x04\x02\x01\xff")].concat(),
    ];
    for content in
        [&[1u8, 0][..], &[14, 0], &[18, 0], &[18, 1, 1, 0], &[18, 1, 3, 1, b'a'], &[1, 0x80, 255, 255, 255, 255]]
    {
        assert_eq!(restore(&mut conn, &sealed(content)), Reply::Error(b"ERR Bad data format".to_vec()), "{content:?}");
    }
    for _ in 0..3000 {
        let mut content = sound[rng.below(sound.len())].clone();
        for _ in 0..1 + rng.below(3) {
            let at = 1 + rng.below(content.len() - 1);
            content[at] = rng.next() as u8;
        }
        let reply = restore(&mut conn, &sealed(&content));
        if !reply.is_error() {
            assert!(conn.cmd("LLEN copy").int() > 0, "{content:?}");
        }
    }
}
