//! Hashes between Redis and Basalt: DUMP payloads of each form restore on the other side to the same value, and the payloads that no Redis here
//! writes are read as Redis 7.4 writes them.

mod common;

use common::{Conn, Reply, Rng, Server, seed};

const FIELDS: [usize; 7] = [1, 5, 16, 17, 127, 512, 700];

fn fill(conn: &mut Conn, key: &str, fields: usize, rng: &mut Rng) {
    let mut args: Vec<Vec<u8>> = vec![b"HSET".to_vec(), key.as_bytes().to_vec()];
    for n in 0..fields {
        args.push(if rng.chance(3) { n.to_string() } else { format!("field:{n}") }.into_bytes());
        let most = if rng.chance(20) { 5000 } else { 60 };
        let len = rng.below(most);
        args.push(match rng.below(4) {
            0 => rng.between(-70_000, 70_000).to_string().into_bytes(),
            1 => (rng.next() as i64).to_string().into_bytes(),
            2 => vec![b'a'; len],
            _ => rng.bytes(len),
        });
    }
    assert_eq!(conn.argv(&args).int(), fields as i64);
}

fn digest(conn: &mut Conn, key: &str) -> Reply {
    conn.cmd(&format!("DEBUG DIGEST-VALUE {key}"))
}

#[test]
fn dumps_restore_on_the_other_side() {
    let debug = ["--enable-debug-command", "yes"];
    let (redis, basalt) = (Server::redis(&debug), Server::basalt(&debug));
    let (mut redis, mut basalt) = (redis.conn(), basalt.conn());
    let mut rng = Rng::new(seed());
    for fields in FIELDS {
        fill(&mut redis, "there", fields, &mut rng);
        let dump = redis.cmd("DUMP there").bytes();
        assert_eq!(basalt.argv::<&[u8]>(&[b"RESTORE", b"here", b"0", &dump]).text(), "OK");
        assert_eq!(digest(&mut redis, "there"), digest(&mut basalt, "here"), "{fields} fields");
        for command in ["OBJECT ENCODING", "HLEN"] {
            assert_eq!(
                redis.cmd(&format!("{command} there")),
                basalt.cmd(&format!("{command} here")),
                "{fields} fields"
            );
        }
        let back = basalt.cmd("DUMP here").bytes();
        if fields <= 512 && redis.cmd("OBJECT ENCODING there").text() == "listpack" {
            assert_eq!(back, dump, "a compact hash is written as Redis writes it");
        }
        assert_eq!(redis.argv::<&[u8]>(&[b"RESTORE", b"back", b"0", &back]).text(), "OK");
        assert_eq!(digest(&mut redis, "there"), digest(&mut redis, "back"), "{fields} fields");
        redis.ok("DEL there back");
        basalt.ok("DEL here");
    }
}

/// Redis 7.0 refuses what it does not know.
#[test]
fn fields_that_expire_go_by_dump_to_basalt_only() {
    let (redis, basalt) = (Server::redis(&[]), Server::basalt(&["--shards", "2"]));
    let (mut redis, mut basalt) = (redis.conn(), basalt.conn());
    for fields in [3, 600] {
        let pairs: String = (0..fields).map(|n| format!(" f{n} {n}")).collect();
        basalt.ok(&format!("HSET h{pairs}"));
        basalt.ok("HPEXPIREAT h 4102444800000 FIELDS 1 f2");
        basalt.ok("HPEXPIREAT h 4102444700000 FIELDS 1 f0");
        let dump = basalt.cmd("DUMP h").bytes();
        assert_eq!(dump[0], if fields == 3 { 25 } else { 24 });
        assert!(redis.argv::<&[u8]>(&[b"RESTORE", b"h", b"0", &dump]).is_error());
        assert_eq!(basalt.argv::<&[u8]>(&[b"RESTORE", b"copy", b"0", &dump]).text(), "OK");
        let times = basalt.cmd("HPEXPIRETIME copy FIELDS 3 f0 f1 f2");
        assert_eq!(
            times.items().iter().map(Reply::int).collect::<Vec<_>>(),
            [4_102_444_700_000, -1, 4_102_444_800_000]
        );
        assert_eq!(basalt.cmd("HLEN copy").int(), fields);
        basalt.ok("DEL h copy");
    }
}
