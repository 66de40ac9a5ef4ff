//! The commands that are more than a function over keys: one file for each concern.
//!
//! What touches only the client or this core answers at once; what concerns several cores runs as a coordinator task (`fanout`).

mod clients;
mod cluster;
mod config;
mod debug;
mod info;
mod keys;
mod logs;
mod monitor;
mod pubsub;
mod replication;
mod session;
mod shutdown;
mod sort;
mod tracking;
mod transactions;

pub(super) use pubsub::is_for_subscribers;

use super::client::Client;
use super::{Shard, ShardIo};
use crate::commands::lookup::CommandId;
use crate::commands::{Outcome, Server, introspect};
use crate::node::random_u64;
use crate::observe::lolwut;
use crate::observe::stats::CallResult;
use crate::pubsub::Kind;
use crate::resp::{Args, Out, Writer};
use crate::runtime::clock;

impl Shard {
    pub(super) fn execute_server(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        id: CommandId,
        server: Server,
        args: &Args<'_>,
    ) {
        if self.commands.is_help(id) {
            let container = self.commands.container(id);
            return self.answer(client, id, args, |_, client, out| {
                introspect::write_help(container, &mut Writer::new(out, client.proto));
                Ok(())
            });
        }
        match server {
            Server::Ping => self.answer(client, id, args, |_, client, out| session::ping(client, args, out)),
            Server::Echo => self.answer(client, id, args, |_, client, out| {
                Writer::new(out, client.proto).bulk(args.get(1));
                Ok(())
            }),
            Server::Auth => self.answer(client, id, args, |shard, client, out| shard.auth(client, args, out)),
            Server::Hello => self.answer(client, id, args, |shard, client, out| shard.hello(client, args, out)),
            Server::Select => self.answer(client, id, args, |shard, client, out| shard.select(client, args, out)),
            Server::Reset => self.reset_client(io, client, id, args),
            Server::Quit => self.quit(client, id, args),
            Server::Client => self.client_command(io, client, id, args),
            Server::Monitor => self.start_monitor(io, client, id, args),
            Server::Subscribe => self.subscribe(client, id, Kind::Channel, args),
            Server::Psubscribe => self.subscribe(client, id, Kind::Pattern, args),
            Server::Ssubscribe => self.subscribe(client, id, Kind::ShardChannel, args),
            Server::Unsubscribe => self.unsubscribe(client, id, Kind::Channel, args),
            Server::Punsubscribe => self.unsubscribe(client, id, Kind::Pattern, args),
            Server::Sunsubscribe => self.unsubscribe(client, id, Kind::ShardChannel, args),
            Server::Publish => self.publish(io, client, id, Kind::Channel, args),
            Server::Spublish => self.publish(io, client, id, Kind::ShardChannel, args),
            Server::PubSub => {
                self.answer(client, id, args, |shard, client, out| shard.pubsub_command(client.proto, id, args, out))
            }
            Server::Wait => self.wait(io, client, id, args),
            Server::Time => self.answer(client, id, args, |_, client, out| session::time(client, out)),
            Server::LastSave => self.answer(client, id, args, |shard, client, out| {
                Writer::new(out, client.proto).int(shard.shared.last_save_s as i64);
                Ok(())
            }),
            Server::Lolwut => self.answer(client, id, args, |_, client, out| {
                lolwut::lolwut(&mut Writer::new(out, client.proto), args, random_u64())
            }),
            Server::Command => self.answer(client, id, args, |shard, client, out| {
                introspect::execute(&shard.commands, id, args, &mut Writer::new(out, client.proto))
            }),
            Server::Discard | Server::Exec | Server::Multi | Server::Unwatch | Server::Watch => {
                self.transaction_command(io, client, id, server, args);
            }
            Server::SwapDb => self.start_call(client, id, args, transactions::swap_db),
            Server::DbSize => self.start_call(client, id, args, keys::dbsize),
            Server::FlushAll => self.start_call(client, id, args, keys::flush_all),
            Server::FlushDb => self.start_call(client, id, args, keys::flush_db),
            Server::Keys => self.start_call(client, id, args, keys::keys),
            Server::RandomKey => self.start_call(client, id, args, keys::random_key),
            Server::Scan => self.start_call(client, id, args, keys::scan),
            Server::Cluster => self.start_call(client, id, args, move |call| cluster::cluster(call, id)),
            Server::Config => self.start_call(client, id, args, move |call| config::config(call, id)),
            Server::Debug => self.start_call(client, id, args, debug::debug),
            Server::Info => self.start_call(client, id, args, info::info),
            Server::Latency => self.start_call(client, id, args, move |call| logs::latency(call, id)),
            Server::SlowLog => self.start_call(client, id, args, move |call| logs::slowlog(call, id)),
            Server::Memory => self.start_call(client, id, args, move |call| info::memory(call, id)),
            Server::Psync => self.psync(client, args),
            Server::Failover => self.start_call(client, id, args, replication::failover),
            Server::ReplConf => self.replconf(client, id, args),
            Server::ReplicaOf => self.start_call(client, id, args, replication::replica_of),
            Server::Role => self.start_call(client, id, args, replication::role),
            Server::Shutdown => self.start_call(client, id, args, shutdown::shutdown),
        }
    }

    /// Runs a command that answers at once, and books it.
    fn answer(
        &mut self,
        client: &mut Client,
        id: CommandId,
        args: &Args<'_>,
        command: impl FnOnce(&mut Shard, &mut Client, &mut Out) -> Outcome,
    ) {
        let started = clock::ticks();
        let mut out = self.spare_outs.pop().unwrap_or_default();
        let outcome = command(self, client, &mut out);
        let result = match &outcome {
            Ok(()) => CallResult::Ok,
            Err(error) => {
                out.clear();
                Writer::new(&mut out, client.proto).error(error.message());
                self.stats.record_error(error.message());
                CallResult::Failed
            }
        };
        let nanoseconds = self.rate.nanoseconds(started, clock::ticks());
        self.stats.record_call(id.index(), nanoseconds, result);
        if self.is_slow(nanoseconds) {
            self.note_slow(client, id, nanoseconds, args);
        }
        if client.replies.is_empty() {
            self.ready_output(client);
            client.out.append(&out);
        } else {
            client.replies.stash(|stash| stash.append(&out));
        }
        self.spare_output(out);
        self.touch(client);
    }
}
