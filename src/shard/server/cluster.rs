//! CLUSTER as far as `core-endpoints` needs it: each core described as a cluster node of its own.

use std::rc::Rc;

use crate::commands::Error;
use crate::commands::lookup::CommandId;
use crate::commands::options::int;
use crate::keyspace::slot;
use crate::observe::cluster_view::{ClusterView, CoreNode};
use crate::resp::{Args, Out};
use crate::shard::Shard;
use crate::shard::fanout::{Call, written};
use crate::shard::locks::{Claims, Mode};

const NOT_ENABLED: Error = Error::text("ERR This instance has cluster support disabled");
const INVALID_SLOT: Error = Error::text("ERR Invalid slot");
const INVALID_SLOT_OR_COUNT: Error = Error::text("ERR Invalid slot or number of keys");

pub async fn cluster(call: Rc<Call>, id: CommandId) -> Result<Out, Error> {
    let args = call.args();
    let (command, enabled) = call.here(|shard, _| (shard.commands.get(id), shard.config.core_endpoints));
    if !enabled {
        return Err(NOT_ENABLED);
    }
    let integer = |n: i64| {
        written(call.proto, |out| {
            out.int(n);
            Ok(())
        })
    };
    match command.name {
        "keyslot" => integer(slot::slot(args.get(2)).into()),
        "countkeysinslot" => {
            let wanted = parse_slot(&args)?;
            let owner = slot::shard_of(wanted, call.shards());
            let count = call
                .on_locked(owner, Claims::all(Mode::Shared), move |shard, _| shard.keyspace.count_in_slot(0, wanted))
                .await;
            integer(count.unwrap_or(0) as i64)
        }
        "getkeysinslot" => {
            let numbers = (int(args.get(2))?, int(args.get(3))?);
            let (Ok(wanted @ 0..slot::SLOTS), Ok(max)) = (u16::try_from(numbers.0), usize::try_from(numbers.1)) else {
                return Err(INVALID_SLOT_OR_COUNT);
            };
            let owner = slot::shard_of(wanted, call.shards());
            let found = call.on_locked(owner, Claims::all(Mode::Shared), move |shard, _| {
                let mut found = Vec::new();
                shard.keyspace.keys_in_slot(0, wanted, max, |key| found.push(key.to_vec()));
                found
            });
            let found = found.await;
            let found = found.unwrap_or_default();
            written(call.proto, |out| {
                out.array(found.len());
                for key in &found {
                    out.bulk(key);
                }
                Ok(())
            })
        }
        name => {
            let host = local_host(&call);
            let view = call.here(|shard, _| shard.cluster_view(host));
            written(call.proto, |out| {
                match name {
                    "slots" => view.write_slots(out),
                    "shards" => view.write_shards(out),
                    "nodes" => view.write_nodes(out),
                    "info" => view.write_info(out),
                    "myid" => view.write_my_id(out),
                    _ => return Err(Error::Syntax),
                }
                Ok(())
            })
        }
    }
}

fn parse_slot(args: &Args<'_>) -> Result<u16, Error> {
    let slot = int(args.get(2))?;
    u16::try_from(slot).ok().filter(|slot| *slot < slot::SLOTS).ok_or(INVALID_SLOT)
}

/// The address at which the asking client reached this node: it will reach the other ports there too.
fn local_host(call: &Call) -> Option<String> {
    call.here(|shard, _| {
        let connection = shard.clients().find(|connection| connection.client.id == call.client_id)?;
        connection.client.ends.local.map(|local| local.ip().to_canonical().to_string())
    })
}

impl Shard {
    fn cluster_view(&self, local_host: Option<String>) -> ClusterView {
        let announced = &self.config.cluster_announce_ip;
        let host =
            if announced.is_empty() { local_host.unwrap_or_else(|| "127.0.0.1".into()) } else { announced.clone() };
        let nodes = (0..self.shared.shards).map(|shard| CoreNode {
            id: self.shared.node_ids[shard].clone(),
            // Start-up has refused a base that leaves no port.
            port: self.config.core_port(shard as u32).unwrap_or(0),
            slots: {
                let slots = slot::slots_of(shard, self.shared.shards);
                slots.start..=slots.end - 1
            },
        });
        ClusterView::of_cores(host, nodes.collect(), self.id, 0)
    }
}
