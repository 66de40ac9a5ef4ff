//! The commands of replication: REPLICAOF, ROLE, FAILOVER, WAIT, and what a replica says to its primary before it is handed over.

use std::rc::Rc;

use tracing::info;

use crate::commands::Error;
use crate::commands::lookup::CommandId;
use crate::commands::replication::{Answered, primary_address, replconf};
use crate::replication::status::{Failover, LinkState, ReplicaState, Status};
use crate::resp::{Args, Out, Writer};
use crate::shard::client::Client;
use crate::shard::fanout::{Call, ask_replication, written};
use crate::shard::{Shard, roles};

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
}
