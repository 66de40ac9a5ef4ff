//! Single promises, each with a load of its own: an MSET is seen whole or not at all, a block of a client that goes runs whole or not
//! at all, and money is neither made nor lost.

use crate::common::conn::{Conn, Reply, encode_into};
use crate::common::{Rng, Server, seed, wait_until};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const SHARDS: &str = "4";

fn server() -> Server {
    Server::basalt(&["--shards", SHARDS])
}

fn request(verb: &str, args: impl IntoIterator<Item = String>) -> Vec<String> {
    [verb.to_owned()].into_iter().chain(args).collect()
}

fn pipeline(requests: &[Vec<String>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    requests.iter().for_each(|request| encode_into(&mut bytes, request));
    bytes
}

/// Counts a thread out when it ends in whatever way, so that the others do not wait for one that has failed.
struct Ends<'a>(&'a AtomicUsize);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Several clients write all keys at once, each MSET the same value everywhere; whoever reads finds one value.
#[test]
fn mget_never_sees_half_an_mset() {
    const KEYS: usize = 12;
    const WRITERS: usize = 4;
    const READERS: usize = 3;
    const READS: usize = 3000;
    let server = server();
    let names = || (0..KEYS).map(|key| format!("key:{key}"));
    let mget = request("MGET", names());
    let mset = |value: &str| request("MSET", names().flat_map(|key| [key, value.to_owned()]));
    server.conn().argv(&mset("first"));
    let (port, reading) = (server.port, AtomicUsize::new(READERS));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (mset, reading) = (&mset, &reading);
            scope.spawn(move || {
                let mut conn = Conn::open(port);
                let mut written = 0;
                while reading.load(Ordering::Relaxed) > 0 {
                    written += 1;
                    assert!(!conn.argv(&mset(&format!("{writer}:{written}"))).is_error());
                }
            });
        }
        for _ in 0..READERS {
            let (mget, reading) = (&mget, &reading);
            scope.spawn(move || {
                let _ends = Ends(reading);
                let mut conn = Conn::open(port);
                let mut seen = 0;
                let mut last = Reply::NilBulk;
                for _ in 0..READS {
                    let values = conn.argv(mget).items();
                    assert!(values.iter().all(|value| *value == values[0]), "half an MSET: {values:?}");
                    seen += usize::from(values[0] != last);
                    last = values[0].clone();
                }
                assert!(seen > 1, "nobody wrote meanwhile");
            });
        }
    });
}

/// A client sends a block and goes without waiting. DBSIZE makes the block one that asks every core in between.
#[test]
fn a_block_is_whole_when_its_client_goes() {
    const ROUNDS: usize = 300;
    const KEYS: usize = 8;
    let server = server();
    let mut reader = server.conn();
    let names = || (0..KEYS).map(|key| format!("key:{key}"));
    let mut rng = Rng::new(seed());
    let mut done = 0;
    for round in 0..ROUNDS {
        let mut requests = vec![request("MULTI", [])];
        for key in names() {
            requests.push(request("SET", [key, round.to_string()]));
            if rng.chance(2) {
                requests.push(request("DBSIZE", []));
            }
        }
        requests.push(request("EXEC", []));
        let mut leaving = server.conn();
        let address = format!("addr={} ", leaving.local_address());
        leaving.send_raw(&pipeline(&requests)).unwrap();
        if rng.chance(2) {
            leaving.reset()
        } else {
            drop(leaving)
        }
        wait_until("the client is gone", || !reader.cmd("CLIENT LIST").text().contains(&address));
        let values = reader.argv(&request("MGET", names())).items();
        assert!(values.iter().all(|value| *value == values[0]), "half a block in round {round}: {values:?}");
        done += usize::from(values[0] == Reply::Bulk(round.to_string().into_bytes()));
    }
    println!("{done} of {ROUNDS} blocks ran");
}

const ACCOUNTS: usize = 24;
const OPENING_BALANCE: i64 = 1000;

fn account(number: usize) -> String {
    format!("account:{number}")
}

fn sum(conn: &mut Conn) -> i64 {
    let balances = conn.argv(&request("MGET", (0..ACCOUNTS).map(account))).items();
    balances.iter().map(|balance| balance.text().parse::<i64>().expect("a balance")).sum()
}

/// One transfer; whether it went through. A client that is not patient goes somewhere on the way, and its connection with it.
fn transfer(conn: &mut Conn, rng: &mut Rng, patient: bool) -> bool {
    let from = rng.below(ACCOUNTS);
    let to = (from + 1 + rng.below(ACCOUNTS - 1)) % ACCOUNTS;
    let leaves_at = if patient { usize::MAX } else { rng.below(3) };
    conn.argv(&["WATCH", &account(from), &account(to)]);
    if leaves_at == 0 {
        return false;
    }
    let mut balance = |number: usize| conn.argv(&["GET", &account(number)]).text().parse::<i64>().expect("a balance");
    let (has, had) = (balance(from), balance(to));
    let amount = rng.between(1, 50).min(has);
    let set = |number: usize, balance: i64| request("SET", [account(number), balance.to_string()]);
    let block = [request("MULTI", []), set(from, has - amount), set(to, had + amount), request("EXEC", [])];
    let sent = if leaves_at == 1 { &block[..3] } else { &block };
    conn.send_raw(&pipeline(sent)).expect("the server is there");
    if !patient {
        return false;
    }
    for _ in 0..3 {
        assert!(!conn.read().expect("a reply").is_error());
    }
    match conn.read().expect("a reply") {
        Reply::Array(replies) => {
            assert!(replies.iter().all(|reply| *reply == Reply::Simple(b"OK".to_vec())), "{replies:?}");
            true
        }
        Reply::NilArray => false,
        other => panic!("EXEC replied {other:?}"),
    }
}

#[test]
fn a_bank_keeps_its_money() {
    const CLERKS: usize = 12;
    const TRANSFERS: usize = 250;
    const LEAVES_ONE_IN: usize = 8;
    let server = server();
    let (port, seed) = (server.port, seed());
    let all = OPENING_BALANCE * ACCOUNTS as i64;
    let mut reader = server.conn();
    reader.argv(&request("MSET", (0..ACCOUNTS).flat_map(|a| [account(a), OPENING_BALANCE.to_string()])));
    let (at_work, through) = (AtomicUsize::new(CLERKS), AtomicUsize::new(0));
    thread::scope(|scope| {
        for clerk in 0..CLERKS {
            let (at_work, through) = (&at_work, &through);
            scope.spawn(move || {
                let _ends = Ends(at_work);
                let mut rng = Rng::new(seed ^ clerk as u64);
                let mut conn = Conn::open(port);
                for _ in 0..TRANSFERS {
                    let patient = !rng.chance(LEAVES_ONE_IN);
                    through.fetch_add(usize::from(transfer(&mut conn, &mut rng, patient)), Ordering::Relaxed);
                    if !patient {
                        let gone = std::mem::replace(&mut conn, Conn::open(port));
                        if rng.chance(2) { gone.reset() } else { drop(gone) }
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut audits = 0;
            while at_work.load(Ordering::Relaxed) > 0 {
                assert_eq!(sum(&mut reader), all, "audit {audits} with seed {seed}");
                audits += 1;
            }
            println!("{audits} audits");
        });
    });
    let through = through.into_inner();
    println!("{through} of {} transfers went through", CLERKS * TRANSFERS);
    assert!(through > CLERKS * TRANSFERS / 20, "only {through} transfers went through");
    assert_eq!(sum(&mut server.conn()), all, "in the end, with seed {seed}");
}
