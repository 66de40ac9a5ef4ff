//! DEBUG: what tests and operators need to look behind the curtain; switched on by `enable-debug-command`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::commands::Error;
use crate::commands::options::int;
use crate::keyspace::{Next, slot};
use crate::observe::digest::{self, Digest};
use crate::resp::Out;
use crate::shard::Shard;
use crate::shard::fanout::{Call, written};
use crate::shard::locks::{Claims, Mode};
use crate::types::numbers::parse_f64;

pub async fn debug(call: Rc<Call>) -> Result<Out, Error> {
    let args = call.args();
    let sub = args.get(1).to_ascii_lowercase();
    match (sub.as_slice(), args.len()) {
        (b"help", 2) => help(&call),
        (b"sleep", 3) => sleep(&call).await,
        (b"object", 3) => object(&call).await,
        (b"digest", 2) => whole_digest(&call).await,
        (b"digest-value", 2..) => value_digests(&call).await,
        (b"jmap", 2) => jmap(&call).await,
        (b"set-active-expire", 3) => set_active_expire(&call).await,
        (b"error", 3) => Err(Error::with(args.get(2))),
        (b"log", 3) => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.get(2)));
            call.ok()
        }
        _ => Err(Error::subcommand_syntax(&args)),
    }
}

const HELP: [&str; 21] = [
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "BLOCKPOP <key> [<key> ...] <timeout>",
    "    Take the first of the keys that exists, or wait for one.",
    "DIGEST",
    "    A 40 hex digit signature of all data, comparable between servers.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    The signature of each value.",
    "ERROR <string>",
    "    Answer with this error.",
    "JMAP",
    "    Tables of each core: keys, segments, bytes beside the entries.",
    "LOG <message>",
    "    Write a line to the log.",
    "OBJECT <key>",
    "    How a value is stored.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Stop or resume the search for expired keys.",
    "SLEEP <seconds>",
    "    Stop every core for so long; decimals allowed.",
    "HELP",
    "    Print this help.",
];

fn help(call: &Call) -> Result<Out, Error> {
    written(call.proto, |out| {
        out.array(HELP.len());
        for line in HELP {
            out.simple(line);
        }
        Ok(())
    })
}

/// The whole server stops, as Redis does: that is what the command is for.
async fn sleep(call: &Call) -> Result<Out, Error> {
    let args = call.args();
    let seconds = parse_f64(args.get(2)).filter(|seconds| (0.0..1e6).contains(seconds)).ok_or(Error::NotFloat)?;
    let pause = Duration::from_secs_f64(seconds);
    call.on_all(move |_, _| std::thread::sleep(pause)).await;
    call.ok()
}

async fn object(call: &Call) -> Result<Out, Error> {
    let key = call.args().get(2).to_vec();
    let owner = slot::shard_of(slot::slot(&key), call.shards());
    let database = call.database;
    let found =
        call.on_locked(owner, Claims::all(Mode::Shared), move |shard, _| shard.describe_object(database, &key)).await;
    let text = found.flatten().ok_or(Error::NoSuchKey)?;
    written(call.proto, |out| {
        out.simple(&text);
        Ok(())
    })
}

async fn value_digests(call: &Call) -> Result<Out, Error> {
    let keys: Vec<Vec<u8>> = call.args().iter_from(2).map(<[u8]>::to_vec).collect();
    let shards = call.shards();
    let database = call.database;
    let mut digests = Vec::new();
    for key in keys {
        let owner = slot::shard_of(slot::slot(&key), shards);
        let digest =
            call.on_locked(owner, Claims::all(Mode::Shared), move |shard, _| shard.value_digest(database, &key)).await;
        digests.push(digest.unwrap_or_default());
    }
    written(call.proto, |out| {
        out.array(digests.len());
        for digest in &digests {
            out.simple(&digest.hex());
        }
        Ok(())
    })
}

async fn whole_digest(call: &Call) -> Result<Out, Error> {
    let lock = call.lock_all(Mode::Shared).await;
    let parts = call.on_all(|shard, _| shard.database_digests()).await;
    call.unlock(lock);
    let mut databases: BTreeMap<u32, Digest> = BTreeMap::new();
    for (database, part) in parts.iter().flatten() {
        databases.entry(*database).or_default().join(part);
    }
    written(call.proto, |out| {
        out.simple(&digest::dataset_digest(databases).hex());
        Ok(())
    })
}

async fn jmap(call: &Call) -> Result<Out, Error> {
    let lines = call.on_all(|shard, _| shard.table_map()).await;
    written(call.proto, |out| {
        out.verbatim(&lines.concat());
        Ok(())
    })
}

async fn set_active_expire(call: &Call) -> Result<Out, Error> {
    let on = int(call.args().get(2))? != 0;
    call.on_all(move |shard, _| shard.active_expire = on).await;
    call.ok()
}

impl Shard {
    fn describe_object(&mut self, database: usize, key: &[u8]) -> Option<String> {
        let meta = self.keyspace.view(database, self.now_ms, &self.policy).meta(key)?;
        let idle_s = meta.idle_ms / 1000;
        Some(format!(
            "Value at:{:#x} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{idle_s}",
            meta.bytes,
            meta.encoding,
            meta.bytes,
            (self.now_ms / 1000).saturating_sub(idle_s) & 0x00ff_ffff,
        ))
    }

    fn value_digest(&mut self, database: usize, key: &[u8]) -> Digest {
        let mut view = self.keyspace.view(database, self.now_ms, &self.policy);
        let expires = view.expire_at_ms(key).flatten().into();
        view.value(key).map_or_else(Digest::default, |value| digest::value_digest(value, expires))
    }

    /// The joined digests of this core's keys, for each database that has any.
    fn database_digests(&self) -> Vec<(u32, Digest)> {
        let mut digests = Vec::new();
        for database in 0..self.keyspace.databases() {
            let mut joined = Digest::default();
            let mut any = false;
            let mut cursor = 0;
            loop {
                let next =
                    self.keyspace.for_each_from(database, cursor, usize::MAX, self.now_ms, |key, value, expiry| {
                        any = true;
                        joined.join(&digest::key_digest(key, value, expiry.into()));
                    });
                match next {
                    Next::At(at) => cursor = at,
                    Next::End => break,
                }
            }
            if any {
                digests.push((database as u32, joined));
            }
        }
        digests
    }

    fn table_map(&self) -> String {
        (0..self.keyspace.databases())
            .filter(|database| self.keyspace.len(*database) > 0)
            .map(|database| {
                format!(
                    "shard{}:db{database}:keys={},segments={},table_bytes={}\n",
                    self.id,
                    self.keyspace.len(database),
                    self.keyspace.segments(database),
                    self.keyspace.overhead_bytes(database)
                )
            })
            .collect()
    }
}
