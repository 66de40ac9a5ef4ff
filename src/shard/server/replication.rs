//! The commands of replication: REPLICAOF, ROLE, FAILOVER, WAIT, and what a replica says to its primary before it is handed over.

use std::rc::Rc;

use tracing::info;

use crate::commands::blocking::until_of_millis;
use crate::commands::lookup::CommandId;
use crate::commands::options::int;
use crate::commands::replication::{Answered, primary_address, replconf};
use crate::commands::{self, Error};
use crate::replication::Replication;
use crate::replication::primary::WaitFor;
use crate::replication::status::{Failover, LinkState, ReplicaState, Status};
use crate::resp::{Args, Out, Writer};
use crate::shard::client::Client;
use crate::shard::fanout::{Call, ask_replication, written};
use crate::shard::waiters::Waiter;
use crate::shard::{Message, Shard, ShardIo, roles};

const WAIT_ON_REPLICA: Error = Error::text(
    "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be \
     writable (which is not the default) writes to replicas are just local and are not propagated.",
);
const SHUTTING_DOWN: Error = Error::text("ERR server is shutting down");

/// What the replication executor says of itself.
pub async fn status(call: &Call) -> Result<Status, Error> {
    let asked = ask_replication(&call.core, |replication, io, answer| answer.send(io, replication.status()));
    asked.await.ok_or(SHUTTING_DOWN)
}

// REPLICAOF

/// REPLICAOF host port | NO ONE
pub async fn replica_of(call: Rc<Call>) -> Result<Out, Error> {
    let target = primary_address(&call.args())?;
    let now = status(&call).await?;
    if now.failover != Failover::None {
        return Err(Error::text("ERR REPLICAOF not allowed while failing over."));
    }
    let wanted = target.clone();
    let changed = roles::replica_of(&call, target).await?;
    let who = call.here(|shard, _| shard.describe_asking(&call));
    match (&wanted, changed) {
        (None, true) => info!("MASTER MODE enabled (user request from '{who}')"),
        (Some(primary), true) => {
            info!("REPLICAOF {}:{} enabled (user request from '{who}')", primary.host, primary.port);
        }
        (None, false) => {}
        (Some(_), false) => {
            info!(
                "REPLICAOF would result into synchronization with the master we are already connected with. No operation performed."
            );
            return written(call.proto, |out| {
                out.simple("OK Already connected to specified master");
                Ok(())
            });
        }
    }
    call.ok()
}

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]
pub async fn failover(call: Rc<Call>) -> Result<Out, Error> {
    let request = commands::replication::failover(&call.args())?;
    let done = ask_replication(&call.core, move |replication, io, answer| {
        let result = match request {
            Some(request) => replication.fail_over(io, request),
            None => replication.abort_failover(io),
        };
        answer.send(io, result);
    });
    done.await.ok_or(SHUTTING_DOWN)?.map_err(Error::text)?;
    call.ok()
}

// ROLE

pub async fn role(call: Rc<Call>) -> Result<Out, Error> {
    let status = status(&call).await?;
    written(call.proto, |out| {
        write_role(out, &status);
        Ok(())
    })
}

fn write_role(out: &mut Writer<'_>, status: &Status) {
    match &status.link {
        None => {
            let online = || status.replicas.iter().filter(|replica| replica.state == ReplicaState::Online);
            out.array(3);
            out.bulk_str("master");
            out.int(status.offset as i64);
            out.array(online().count());
            for replica in online() {
                out.array(3);
                out.bulk_str(&replica.ip);
                out.bulk_int(replica.port.into());
                out.bulk_int(replica.offset as i64);
            }
        }
        Some(link) => {
            out.array(5);
            out.bulk_str("slave");
            out.bulk_str(&link.host);
            out.int(link.port.into());
            out.bulk_str(link.state.name());
            out.int(if link.state == LinkState::Connected { link.applied_offset as i64 } else { -1 });
        }
    }
}

// REPLCONF, PSYNC and SYNC

impl Shard {
    pub(super) fn replconf(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>) {
        let mut hello = client.hello.take().unwrap_or_default();
        let outcome = replconf(&mut hello, args);
        client.hello = Some(hello);
        self.answer(client, id, args, |_, client, out| {
            if outcome? == Answered::Ok {
                Writer::new(out, client.proto).ok();
            }
            Ok(())
        });
    }

    /// PSYNC and SYNC: the replication executor takes the connection, and answers.
    pub(super) fn psync(&mut self, client: &mut Client, args: &Args<'_>) {
        // As in Redis, a monitor is a replica already, and gets no answer.
        if client.monitor {
            return;
        }
        let hello = client.hello.take().unwrap_or_default();
        self.hand_over(client, args, *hello);
    }

    /// The asking client, for a line in the log.
    fn describe_asking(&self, call: &Call) -> String {
        let asking = self.clients().map(|connection| &connection.client).find(|client| client.id == call.client_id);
        match asking {
            Some(client) => format!("id={} addr={} name={}", client.id, client.address(), client.name),
            None => format!("id={}", call.client_id),
        }
    }

    // WAIT

    /// WAIT. What a replica has to acknowledge is all that is written so far, by whomever: that takes in what this client has written.
    pub(super) fn wait(&mut self, io: &mut ShardIo, client: &mut Client, id: CommandId, args: &Args<'_>) {
        let parsed = self.parse_wait(args);
        match parsed {
            Err(error) => self.answer(client, id, args, |_, _, _| Err(error)),
            Ok(_) if client.modes.in_block => self.start_call(client, id, args, count_acknowledged),
            Ok((replicas, timeout_ms)) => {
                // Who has written nothing has nothing to wait for, as in Redis.
                let target = if client.wrote { self.written_so_far(io) } else { WaitFor::Nothing };
                let handed = self.wait_for_replicas(io, client, id, args);
                ask_for_acknowledgements(io, self.shared.shards, handed, replicas, target, timeout_ms);
            }
        }
    }

    /// Everything written by now, on whatever core. A client's own writes are: it has their replies.
    fn written_so_far(&mut self, io: &mut ShardIo) -> WaitFor {
        self.close_log(io);
        WaitFor::Number(self.shared.sequencer.next())
    }

    fn parse_wait(&self, args: &Args<'_>) -> Result<(usize, u64), Error> {
        if self.role().is_replica() {
            return Err(WAIT_ON_REPLICA);
        }
        let wanted = int(args.get(1))?;
        let until_ms = until_of_millis(args.get(2), self.now_ms)?;
        let timeout_ms = until_ms.map_or(0, |until_ms| until_ms - self.now_ms);
        Ok((usize::try_from(wanted).unwrap_or(0), timeout_ms))
    }
}

/// Lets the replication executor tell when enough replicas have acknowledged, or time is over.
fn ask_for_acknowledgements(
    io: &mut ShardIo,
    executor: usize,
    who: Waiter,
    replicas: usize,
    target: WaitFor,
    timeout_ms: u64,
) {
    let ask = move |replication: &mut Replication, io: &mut ShardIo| {
        let answer = move |io: &mut ShardIo, replicas: Option<usize>| {
            io.post(who.core, Message::Run(Box::new(move |shard, io| shard.end_wait(io, who, replicas))));
        };
        let wait = replication.wait_for(io, replicas, target, timeout_ms, Box::new(answer));
        io.post(who.core, Message::Run(Box::new(move |shard, io| shard.note_wait(io, who, wait))));
    };
    io.post(executor, Message::Control(Box::new(ask)));
}

/// WAIT in a block, which cannot wait.
async fn count_acknowledged(call: Rc<Call>) -> Result<Out, Error> {
    let (wanted, target) = call.here(|shard, io| (shard.parse_wait(&call.args()), shard.written_so_far(io)));
    wanted?;
    let count = ask_replication(&call.core, move |replication, io, answer| {
        // None have to: it is told at once how many have.
        replication.wait_for(io, 0, target, 0, Box::new(move |io, replicas| answer.send(io, replicas)));
    });
    let replicas = count.await.flatten().ok_or(WAIT_ON_REPLICA)?;
    written(call.proto, |out| {
        out.int(replicas as i64);
        Ok(())
    })
}
