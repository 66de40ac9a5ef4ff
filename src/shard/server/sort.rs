//! SORT whose BY or GET lead to keys of other cores: a task that has locked everything asks core after core.

use std::rc::Rc;

use crate::commands::lookup::CommandId;
use crate::commands::sort::{Pattern, Query, Texts, look_up, store};
use crate::commands::{Ctx, Error};
use crate::keyspace::{ExpiryMode, KeyView, slot};
use crate::resp::{Args, Out, Proto, Writer};
use crate::runtime::SocketId;
use crate::shard::client::Client;
use crate::shard::fanout::{Call, written};
use crate::shard::locks::Mode;
use crate::shard::{Shard, ShardIo};

const SHUTTING_DOWN: Error = Error::text("ERR server is shutting down");

impl Shard {
    pub(in crate::shard) fn sort_elsewhere(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>) {
        self.start_call(client, id, args, move |call| sort(call, id));
    }

    /// Lets `f` work with this core's keys on behalf of a task of any core.
    fn for_task<R>(&mut self, io: &mut ShardIo, task: Task, f: impl FnOnce(&mut Shard) -> R) -> R {
        // As for any command that writes, where what others write is applied.
        let leaves_rest = task.writes && (self.role.is_replica() || self.gates.paused);
        if leaves_rest {
            let mode = if self.role.is_replica() { ExpiryMode::Ignored } else { ExpiryMode::Own };
            self.keyspace.set_expiry_mode(mode);
        }
        let result = f(self);
        if leaves_rest {
            self.rest_expiry_mode();
        }
        if !self.keyspace.changes.is_empty() {
            self.settle_changes(io, Some(task.author));
        }
        result
    }

    fn view(&mut self, database: usize) -> KeyView<'_> {
        self.keyspace.view(database, self.now_ms, &self.policy)
    }

    /// Stores a result; whether that changed anything.
    fn store_sorted(&mut self, database: usize, key: &[u8], result: &Texts) -> bool {
        let mut out = Out::default();
        let keys = self.keyspace.view(database, self.now_ms, &self.policy);
        let writer = Writer::new(&mut out, Proto::Resp2);
        let mut ctx = Ctx::new(keys, writer, self.config.proto_max_bulk_len, &self.encodings);
        store(&mut ctx, key, result);
        let changes = ctx.dirty;
        self.changes += changes;
        changes > 0
    }
}

/// On whose behalf cores are asked.
#[derive(Clone, Copy)]
struct Task {
    author: (usize, SocketId),
    database: usize,
    writes: bool,
}

async fn sort(call: Rc<Call>, id: CommandId) -> Result<Out, Error> {
    let (name, home) = call.here(|shard, _| (shard.commands.get(id).name, shard.id));
    call.here(|shard, _| if shard.gates.memory_limit && !call.locked { shard.make_room(id) } else { Ok(()) })?;
    let query = Query::of(name, &call.args())?;
    let writes = name == "sort";
    let lock = call.lock_all(if writes { Mode::Exclusive } else { Mode::Shared }).await;
    let task = Task { author: (home, call.socket), database: call.database, writes };
    let outcome = run(&call, task, query).await;
    call.unlock(lock);
    outcome
}

async fn run(call: &Call, task: Task, mut query: Query) -> Result<Out, Error> {
    let (args, shards) = (call.args(), call.shards());
    let key = args.get(1).to_vec();
    let loaded = call.on(slot::shard_of(slot::slot(&key), shards), move |shard, io| {
        let loaded = shard.for_task(io, task, |shard| query.load(&mut shard.view(task.database), &key));
        loaded.map(|elements| (query, elements))
    });
    let (query, elements) = loaded.await.ok_or(SHUTTING_DOWN)??;
    let weights = match query.by() {
        Some(pattern) => Some(values_of(call, task, pattern, &elements, 0..elements.len()).await?),
        None => None,
    };
    let order = query.order(&elements, weights.as_ref())?;
    let mut values = Vec::new();
    for pattern in query.gets() {
        values.push(values_of(call, task, pattern, &elements, order.iter().copied()).await?);
    }
    let Some(at) = query.store else {
        return written(call.proto, |out| {
            query.write(out, &elements, &order, &values);
            Ok(())
        });
    };
    let destination = args.get(at).to_vec();
    let result = query.result(&elements, &order, &values);
    let stored = result.len();
    let done = call.on(slot::shard_of(slot::slot(&destination), shards), move |shard, io| {
        shard.for_task(io, task, |shard| shard.store_sorted(task.database, &destination, &result))
    });
    if done.await.ok_or(SHUTTING_DOWN)? {
        call.here(|shard, _| shard.log_call(call));
    }
    written(call.proto, |out| {
        out.int(stored as i64);
        Ok(())
    })
}

/// The values of a pattern for some of the elements, in their order.
async fn values_of(
    call: &Call,
    task: Task,
    pattern: &Pattern,
    elements: &Texts,
    indexes: impl Iterator<Item = usize>,
) -> Result<Texts, Error> {
    let shards = call.shards();
    let mut asked: Vec<Vec<Vec<u8>>> = vec![Vec::new(); shards];
    let mut places = Vec::new();
    for index in indexes {
        let key = pattern.key(elements.element(index));
        let shard = slot::shard_of(slot::slot(&key), shards);
        places.push((shard, asked[shard].len()));
        asked[shard].push(key);
    }
    let mut answers = Vec::new();
    for (shard, keys) in asked.into_iter().enumerate() {
        let field = pattern.field().map(<[u8]>::to_vec);
        let answer = call.on(shard, move |shard, io| {
            shard.for_task(io, task, |shard| {
                let mut values = Texts::default();
                let mut view = shard.view(task.database);
                keys.iter().for_each(|key| look_up(&mut view, key, field.as_deref(), &mut values));
                values
            })
        });
        answers.push(answer.await.ok_or(SHUTTING_DOWN)?);
    }
    let mut values = Texts::default();
    places.into_iter().for_each(|(shard, place)| values.push(answers[shard].get(place)));
    Ok(values)
}
