//! Commands over all keys: DBSIZE, SCAN, KEYS, RANDOMKEY, FLUSHALL, FLUSHDB.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use crate::commands::Error;
use crate::commands::options::int;
use crate::keyspace::slot;
use crate::keyspace::{Kind, Next, first_position, slot_at};
use crate::node::random_u64;
use crate::resp::{Args, Out, Writer};
use crate::shard::fanout::{Call, written};
use crate::shard::locks::{Claims, Mode};
use crate::shard::{Shard, ShardIo};
use crate::types::glob;
use crate::types::numbers::parse_u64;

const SHUTTING_DOWN: Error = Error::text("ERR server is shutting down");

/// How often a synchronous flush looks whether the memory is free.
const FLUSH_POLL: Duration = Duration::from_millis(1);

pub async fn dbsize(call: Rc<Call>) -> Result<Out, Error> {
    let database = call.database;
    let lock = call.lock_all(Mode::Shared).await;
    let sizes = call.on_all(move |shard, _| shard.keyspace.len(database)).await;
    call.unlock(lock);
    written(call.proto, |writer| {
        writer.int(sizes.iter().sum::<usize>() as i64);
        Ok(())
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Freeing {
    Now,
    Background,
}

/// The optional argument of FLUSHALL and FLUSHDB.
fn freeing(call: &Call) -> Result<Freeing, Error> {
    let args = call.args();
    let lazy = call.here(|shard, _| shard.config.lazyfree_lazy_user_flush);
    match args.len() {
        1 if lazy => Ok(Freeing::Background),
        1 => Ok(Freeing::Now),
        2 if args.is(1, "async") => Ok(Freeing::Background),
        2 if args.is(1, "sync") => Ok(Freeing::Now),
        _ => Err(Error::Syntax),
    }
}

pub async fn flush_all(call: Rc<Call>) -> Result<Out, Error> {
    let freeing = freeing(&call)?;
    let databases = call.here(|shard, _| shard.config.databases as usize);
    flush(&call, 0..databases, freeing).await
}

pub async fn flush_db(call: Rc<Call>) -> Result<Out, Error> {
    let freeing = freeing(&call)?;
    flush(&call, call.database..call.database + 1, freeing).await
}

/// Empties databases at once; their memory is freed bit by bit beside other work, and SYNC waits until it is.
async fn flush(call: &Call, databases: Range<usize>, freeing: Freeing) -> Result<Out, Error> {
    let lock = call.lock_all(Mode::Exclusive).await;
    let id = call.here(|shard, _| shard.begin_flush());
    call.on_all(move |shard, io| {
        shard.flush(databases.clone());
        shard.tell_flush(io, id);
    })
    .await;
    call.here(|shard, _| shard.log_call(call));
    call.unlock(lock);
    if freeing == Freeing::Now {
        while call.on_all(|shard, _| !shard.garbage.is_empty()).await.contains(&true) {
            call.core.tasks.sleep(FLUSH_POLL).await;
        }
    }
    written(call.proto, |writer| {
        writer.ok();
        Ok(())
    })
}

impl Shard {
    fn flush(&mut self, databases: Range<usize>) {
        for database in databases {
            self.database_changes(database, None);
            self.changes += self.keyspace.len(database) as u64;
            let garbage = self.keyspace.flush(database);
            self.discard(garbage);
            self.database_changed(database);
        }
    }
}

pub async fn keys(call: Rc<Call>) -> Result<Out, Error> {
    let pattern = call.args().get(1).to_vec();
    let database = call.database;
    let lock = call.lock_all(Mode::Shared).await;
    let found = call
        .on_all(move |shard, _| {
            let mut found = Vec::new();
            let mut cursor = 0;
            loop {
                let now_ms = shard.now();
                let next = shard.keyspace.scan(database, cursor, usize::MAX, now_ms, |key, _| {
                    if pattern == b"*" || glob::matches(&pattern, key, glob::Case::Sensitive) {
                        found.push(key.to_vec());
                    }
                });
                match next {
                    Next::At(at) => cursor = at,
                    Next::End => return found,
                }
            }
        })
        .await;
    call.unlock(lock);
    written(call.proto, |writer| {
        writer.array(found.iter().map(Vec::len).sum());
        for key in found.iter().flatten() {
            writer.bulk(key);
        }
        Ok(())
    })
}

pub async fn random_key(call: Rc<Call>) -> Result<Out, Error> {
    let database = call.database;
    let lock = call.lock_all(Mode::Shared).await;
    let sizes = call.on_all(move |shard, _| shard.keyspace.len(database)).await;
    let total: usize = sizes.iter().sum();
    let mut key = None;
    if total > 0 {
        let mut pick = random_u64() as usize % total;
        let mut chosen = 0;
        while pick >= sizes[chosen] {
            pick -= sizes[chosen];
            chosen += 1;
        }
        // The chosen part may hold nothing but expired keys; then any other will do.
        for shard in (0..sizes.len()).map(|i| (chosen + i) % sizes.len()) {
            let found = call.on(shard, move |shard, _| {
                let now_ms = shard.now();
                shard.keyspace.random_key(database, now_ms).map(<[u8]>::to_vec)
            });
            key = found.await.flatten();
            if key.is_some() {
                break;
            }
        }
    }
    call.unlock(lock);
    written(call.proto, |writer| {
        match &key {
            Some(key) => writer.bulk(key),
            None => writer.null(),
        }
        Ok(())
    })
}

/// The options of SCAN.
struct ScanOptions {
    pattern: Option<Vec<u8>>,
    kind: Option<Vec<u8>>,
    count: usize,
}

impl ScanOptions {
    fn parse(args: &Args<'_>) -> Result<ScanOptions, Error> {
        let mut options = ScanOptions { pattern: None, kind: None, count: 10 };
        let mut at = 2;
        while at < args.len() {
            let value = args.opt(at + 1).ok_or(Error::Syntax)?;
            if args.is(at, "count") {
                let count = int(value)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Error::Syntax)?;
            } else if args.is(at, "match") {
                options.pattern = (value != b"*").then(|| value.to_vec());
            } else if args.is(at, "type") {
                options.kind = Some(value.to_vec());
            } else {
                return Err(Error::Syntax);
            }
            at += 2;
        }
        Ok(options)
    }

    fn wants(&self, key: &[u8], kind: Kind) -> bool {
        self.kind.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(kind.name().as_bytes()))
            && self.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, key, glob::Case::Sensitive))
    }
}

pub async fn scan(call: Rc<Call>) -> Result<Out, Error> {
    let args = call.args();
    let cursor = parse_u64(args.get(1)).ok_or(Error::text("ERR invalid cursor"))?;
    let options = ScanOptions::parse(&args)?;
    let shards = call.shards();
    let owner = slot::shard_of(slot_at(cursor), shards);
    let database = call.database;
    // Not while keys of that core are on their way: those would be missed.
    let answer = call.on_locked(owner, Claims::all(Mode::Shared), move |shard: &mut Shard, _: &mut ShardIo| {
        let mut found = Vec::new();
        let now_ms = shard.now();
        let next = shard.keyspace.scan(database, cursor, options.count, now_ms, |key, kind| {
            if options.wants(key, kind) {
                found.push(key.to_vec());
            }
        });
        (next, found)
    });
    let (next, found) = answer.await.ok_or(SHUTTING_DOWN)?;
    let next = match next {
        Next::At(at) => at,
        Next::End if owner + 1 < shards => first_position(slot::slots_of(owner + 1, shards).start),
        Next::End => 0,
    };
    written(call.proto, |writer: &mut Writer<'_>| {
        writer.array(2);
        writer.bulk(next.to_string().as_bytes());
        writer.array(found.len());
        for key in &found {
            writer.bulk(key);
        }
        Ok(())
    })
}
