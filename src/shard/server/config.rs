//! CONFIG GET, SET, REWRITE, RESETSTAT. A changed configuration reaches every core before the reply leaves.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use tracing::{info, warn};

use crate::commands::Error;
use crate::commands::lookup::CommandId;
use crate::config::{self, Changed, Config, Origin};
use crate::node::{self, LISTENER_CORE, LISTENER_TCP, Listeners};
use crate::observe::logging;
use crate::resp::Out;
use crate::runtime::memory;
use crate::shard::fanout::{Call, written};
use crate::shard::{Client, Message, Shard, ShardIo};

pub async fn config(call: Rc<Call>, id: CommandId) -> Result<Out, Error> {
    let args = call.args();
    let name = call.here(|shard, _| shard.commands.get(id).name);
    match name {
        "get" => {
            let patterns: Vec<&[u8]> = args.iter_from(2).collect();
            let found = call.here(|shard, _| config::get(&shard.config, &patterns));
            return written(call.proto, |out| {
                out.map(found.len());
                for (name, value) in &found {
                    out.bulk_str(name);
                    out.bulk_str(value);
                }
                Ok(())
            });
        }
        "set" => set(&call).await?,
        "rewrite" => {
            let current = call.here(|shard, _| shard.config.clone());
            config::rewrite(&current).map_err(Error::with)?;
            info!("CONFIG REWRITE executed with success.");
        }
        "resetstat" => {
            call.here(|shard, io| {
                let reset = Message::Control(Box::new(|replication, _| replication.reset_figures()));
                io.post(shard.shared.shards, reset);
            });
            call.on_all(|shard, _| {
                shard.stats.reset();
                shard.keyspace.reset_stats();
            })
            .await;
        }
        _ => return Err(Error::Syntax),
    }
    call.ok()
}

async fn set(call: &Call) -> Result<(), Error> {
    let args = call.args();
    if args.len() % 2 == 1 {
        return Err(Error::Syntax);
    }
    let words: Vec<&[u8]> = args.iter_from(2).collect();
    let pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let origin = call.here(|shard, _| shard.origin_of(call.client_id));
    // One after the other: shard 0 makes each new configuration from the one before.
    let owned: Vec<(Vec<u8>, Vec<u8>)> = pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let changed = call.on(0, move |shard, _| shard.change_config(&owned, origin)).await;
    let (new, listeners) = changed.ok_or(Error::text("ERR server is shutting down"))?.map_err(Error::with)?;
    spread(call, new).await;
    for (shard, own) in listeners.into_iter().flatten().enumerate() {
        call.on(shard, move |_, io| listen_instead(io, own)).await;
    }
    Ok(())
}

/// Gives every executor a configuration.
pub async fn spread(call: &Call, config: Arc<Config>) {
    let of_replication = config.clone();
    call.here(|shard, io| {
        let take = Message::Control(Box::new(move |core, _| core.set_config(of_replication)));
        io.post(shard.shared.shards, take);
    });
    call.on_all(move |shard, _| shard.set_config(config.clone())).await;
}

/// Replaces a core's TCP listeners. Connections stay.
fn listen_instead(io: &mut ShardIo, listeners: Vec<(u32, OwnedFd)>) {
    io.stop_listening(LISTENER_TCP);
    io.stop_listening(LISTENER_CORE);
    for (token, fd) in listeners {
        io.listen(token, fd);
    }
}

impl Shard {
    /// Whether the asking client is on this machine.
    pub(super) fn origin_of(&self, client_id: u64) -> Origin {
        let client = self.clients().map(|connection| &connection.client).find(|client| client.id == client_id);
        match client {
            Some(client) if is_local(client) => Origin::Local,
            _ => Origin::Remote,
        }
    }

    /// Whether a client may call DEBUG.
    pub(in crate::shard) fn may_debug(&self, client: &Client) -> bool {
        let origin = if is_local(client) { Origin::Local } else { Origin::Remote };
        Config::permits(self.config.enable_debug_command, origin)
    }

    /// The configuration with changes made, after those that concern the whole process have taken effect, and new listeners for all cores
    /// if it says so. Runs on shard 0.
    fn change_config(
        &mut self,
        pairs: &[(Vec<u8>, Vec<u8>)],
        origin: Origin,
    ) -> Result<(Arc<Config>, Option<Listeners>), String> {
        let (new, changed) = config::set(&self.config, pairs, origin)?;
        // First, as it may fail.
        let listeners = self.listeners_for(&new, &changed)?;
        for change in &changed {
            match change.directive.name {
                "maxclients" => {
                    // One executor beside the shards.
                    let served = node::clients_served(new.maxclients, self.shared.shards + 1);
                    if served < new.maxclients {
                        return Err(format!(
                            "ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to \
                             handle the specified number of clients, try with {served}"
                        ));
                    }
                }
                "loglevel" => logging::set_level(new.loglevel),
                "dir" => std::env::set_current_dir(&new.dir)
                    .map_err(|error| format!("ERR CONFIG SET failed (possibly related to argument 'dir') - {error}"))?,
                "maxmemory" if new.maxmemory > 0 && (memory::used_bytes() as u64) > new.maxmemory => warn!(
                    "The new maxmemory value set via CONFIG SET ({}) is smaller than the current memory usage ({}). \
                     This will result in key eviction and/or the inability to accept new write commands depending on the maxmemory-policy.",
                    new.maxmemory,
                    memory::used_bytes()
                ),
                _ => {}
            }
        }
        let new = Arc::new(new);
        // The next change starts from this one, whichever core asks for it.
        self.set_config(new.clone());
        Ok((new, listeners))
    }

    fn listeners_for(&self, new: &Config, changed: &[Changed]) -> Result<Option<Listeners>, String> {
        let named = |name: &str| changed.iter().any(|change| change.directive.name == name);
        let (argument, reason) = match () {
            () if named("port") => ("port", "Unable to listen on this port. Check server logs."),
            () if named("bind") => ("bind", "Failed to bind to specified addresses."),
            () => return Ok(None),
        };
        let opened = node::reopen_tcp_listeners(new, &self.config, self.shared.shards);
        opened.map(Some).map_err(|error| {
            warn!("{error}");
            format!("ERR CONFIG SET failed (possibly related to argument '{argument}') - {reason}")
        })
    }
}

fn is_local(client: &Client) -> bool {
    client.unix_path.is_some() || client.ends.peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}
