//! The CLIENT family. What concerns other clients asks every core.

use std::net::SocketAddr;
use std::rc::Rc;

use super::replication;
use crate::commands::clients::{
    ClientFlags, ClientInfo, Events, KillRequest, ListRequest, PauseMode, PauseRequest, ReplyMode, SetInfo, Switch,
    UnblockRequest, parse_name, redirection, set_caching, write_tracking_info,
};
use crate::commands::lookup::CommandId;
use crate::commands::{Error, Outcome};
use crate::replication::status::{LinkState, LinkStatus, ReplicaStatus};
use crate::resp::{Args, Out, Writer};
use crate::shard::client::{Client, Connection};
use crate::shard::fanout::{Call, ask_replication, written};
use crate::shard::{Pause, Shard, ShardIo, Stall};
use crate::tracking::Mode;

impl Shard {
    pub(super) fn client_command(&mut self, io: &mut ShardIo, client: &mut Client, id: CommandId, args: &Args<'_>) {
        match self.commands.get(id).name {
            "list" => self.start_call(client, id, args, list),
            "kill" => self.start_call(client, id, args, kill),
            "pause" => self.start_call(client, id, args, pause),
            "unpause" => self.start_call(client, id, args, unpause),
            "unblock" => self.start_call(client, id, args, unblock),
            "info" => {
                let fd = io.fd(client.socket).unwrap_or(-1);
                self.answer(client, id, args, |shard, client, out| {
                    let mut line = String::new();
                    shard.describe(client, fd, 0).write_line(&mut line);
                    Writer::new(out, client.proto).verbatim(&line);
                    Ok(())
                });
            }
            "reply" => self.client_reply(client, id, args),
            "tracking" => self.client_tracking(io, client, id, args),
            _ => self.answer(client, id, args, |shard, client, out| shard.client_attribute(client, id, args, out)),
        }
    }

    /// The subcommands that read or set something of the asking client itself.
    fn client_attribute(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>, out: &mut Out) -> Outcome {
        let mut writer = Writer::new(out, client.proto);
        match self.commands.get(id).name {
            "id" => writer.int(client.id as i64),
            "getname" if client.name.is_empty() => writer.null(),
            "getname" => writer.bulk_str(&client.name),
            "setname" => {
                client.name = parse_name(args.get(2))?;
                writer.ok();
            }
            "setinfo" => {
                match SetInfo::parse(args.get(2), args.get(3))? {
                    SetInfo::LibName(name) => client.lib_name = name,
                    SetInfo::LibVer(version) => client.lib_version = version,
                }
                writer.ok();
            }
            "no-evict" => {
                client.no_evict = Switch::parse(args.get(2))? == Switch::On;
                writer.ok();
            }
            "no-touch" => {
                client.no_touch = Switch::parse(args.get(2))? == Switch::On;
                writer.ok();
            }
            "caching" => {
                set_caching(args.get(2), client.tracking.as_deref_mut())?;
                client.tracks = client.tracking.as_ref().is_some_and(|settings| settings.remembers());
                writer.ok();
            }
            "getredir" => writer.int(redirection(client.tracking.as_deref())),
            "trackinginfo" => write_tracking_info(&mut writer, client.tracking.as_deref()),
            _ => return Err(Error::Syntax),
        }
        Ok(())
    }

    fn client_reply(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>) {
        let mode = match ReplyMode::parse(args.get(2)) {
            Ok(mode) => mode,
            Err(error) => return self.answer(client, id, args, |_, _, _| Err(error)),
        };
        let was_off = client.muted && client.reply_mode == ReplyMode::Off;
        match mode {
            ReplyMode::On => {
                client.reply_mode = ReplyMode::On;
                client.muted = false;
                self.answer(client, id, args, |_, client, out| {
                    Writer::new(out, client.proto).ok();
                    Ok(())
                });
            }
            ReplyMode::Off => client.reply_mode = ReplyMode::Off,
            ReplyMode::Skip if !was_off => client.reply_mode = ReplyMode::Skip,
            ReplyMode::Skip => {}
        }
    }

    /// What CLIENT LIST shows of a client. `input` is the length of its unparsed input.
    fn describe(&self, client: &Client, fd: i32, input: usize) -> ClientInfo {
        let mut flags = ClientFlags::NONE;
        let tracking = client.tracking.as_deref();
        for (on, flag) in [
            (client.multi.is_some() || client.running.is_some(), ClientFlags::MULTI),
            (client.monitor, ClientFlags::MONITOR.with(ClientFlags::REPLICA)),
            (client.subscribed, ClientFlags::PUBSUB),
            (client.unix_path.is_some(), ClientFlags::UNIX_SOCKET),
            (tracking.is_some(), ClientFlags::TRACKING),
            (tracking.is_some_and(|settings| settings.is_broken()), ClientFlags::TRACKING_BROKEN_REDIRECT),
            (tracking.is_some_and(|settings| settings.mode == Mode::Broadcast), ClientFlags::TRACKING_BROADCAST),
            (client.no_evict, ClientFlags::NO_EVICT),
            (client.no_touch, ClientFlags::NO_TOUCH),
            (client.stall.has(Stall::PAUSE) || client.blocked.is_some(), ClientFlags::BLOCKED),
            (client.stall.has(Stall::ENDING), ClientFlags::CLOSE_AFTER_REPLY),
        ] {
            if on {
                flags = flags.with(flag);
            }
        }
        let output = client.output_bytes();
        let subscriptions = self.pubsub.registry.counts(client.socket);
        ClientInfo {
            id: client.id,
            addr: client.address(),
            laddr: client.local_address(),
            fd,
            name: client.name.clone(),
            age: self.now_ms.saturating_sub(client.connected_ms) / 1000,
            idle: self.now_ms.saturating_sub(client.active_ms) / 1000,
            flags,
            db: client.database,
            subscriptions: subscriptions.channels,
            pattern_subscriptions: subscriptions.patterns,
            shard_subscriptions: subscriptions.shard_channels,
            multi: client.multi.as_ref().map(|multi| multi.len()),
            watch: client.watched.len(),
            query_buffer: input,
            query_buffer_free: 0,
            argv_memory: 0,
            multi_memory: client.multi.as_ref().map_or(0, |multi| multi.bytes()),
            reply_buffer_size: client.out.buf.capacity(),
            reply_buffer_peak: client.out.buf.capacity(),
            output_buffer: output,
            output_list: client.out.attached.len(),
            output_memory: output,
            total_memory: size_of::<Connection>() + input + output,
            events: Events { read: !client.stall.any(), write: client.sending_bytes > 0 },
            command: client.last_command.map(|id| self.commands.full_name(id).to_owned()),
            user: Some("default".to_owned()),
            redirect: Some(redirection(client.tracking.as_deref())),
            proto: client.proto,
            lib_name: client.lib_name.clone(),
            lib_ver: client.lib_version.clone(),
            shard: self.id,
        }
    }

    fn describe_all(&self, io: &mut ShardIo) -> Vec<ClientInfo> {
        self.clients()
            .map(|Connection { input, client }| {
                let fd = io.fd(client.socket).unwrap_or(-1);
                self.describe(client, fd, input.bytes.len())
            })
            .collect()
    }

    /// Closes the clients of this core that match; how many.
    fn kill(&mut self, io: &mut ShardIo, request: &KillRequest, asking: u64) -> u64 {
        let matching: Vec<u64> = self
            .describe_all(io)
            .into_iter()
            .filter(|client| request.matches(client, asking))
            .map(|client| client.id)
            .collect();
        let sockets: Vec<_> = self
            .clients()
            .filter(|connection| matching.contains(&connection.client.id))
            .map(|connection| (connection.client.id, connection.client.socket))
            .collect();
        for (id, socket) in sockets {
            if id == asking {
                // It still gets the reply to its command.
                self.with_connection(socket, |shard, connection| shard.end(&mut connection.client));
            } else {
                self.close(io, socket);
            }
        }
        matching.len() as u64
    }

    fn set_pause(&mut self, pause: Pause) {
        // As in Redis, a running pause is never made shorter or weaker.
        let pause = match self.pause {
            Some(old) => {
                Pause { until_ms: old.until_ms.max(pause.until_ms), writes_only: old.writes_only && pause.writes_only }
            }
            None => pause,
        };
        self.pause(pause);
    }
}

async fn list(call: Rc<Call>) -> Result<Out, Error> {
    let request = ListRequest::parse(&call.args())?;
    let links = links(&call).await?;
    let clients = call.on_all(|shard, io| shard.describe_all(io)).await;
    let text = request.render(clients.into_iter().flatten().chain(links).collect());
    written(call.proto, |out| {
        out.verbatim(&text);
        Ok(())
    })
}

/// The connections of the replication executor.
async fn links(call: &Call) -> Result<Vec<ClientInfo>, Error> {
    let status = replication::status(call).await?;
    let (now_ms, executor) = call.here(|shard, _| (shard.now(), shard.shared.shards));
    let mut links: Vec<ClientInfo> = status.replicas.iter().map(|replica| describe_replica(replica, now_ms)).collect();
    let connected = status.link.as_ref().filter(|link| link.state == LinkState::Connected);
    links.extend(connected.map(|link| describe_primary(link, now_ms)));
    links.iter_mut().for_each(|link| link.shard = executor);
    Ok(links)
}

fn describe_replica(replica: &ReplicaStatus, now_ms: u64) -> ClientInfo {
    let output = replica.output_bytes as usize;
    ClientInfo {
        id: replica.client_id,
        addr: shown(replica.peer),
        laddr: shown(replica.local),
        fd: replica.fd,
        name: replica.name.clone(),
        age: now_ms.saturating_sub(replica.connected_ms) / 1000,
        idle: now_ms.saturating_sub(replica.active_ms) / 1000,
        flags: ClientFlags::REPLICA,
        output_memory: output,
        total_memory: output,
        events: Events { read: true, write: output > 0 },
        command: Some("replconf".to_owned()),
        user: Some("default".to_owned()),
        ..ClientInfo::default()
    }
}

fn describe_primary(link: &LinkStatus, now_ms: u64) -> ClientInfo {
    ClientInfo {
        id: link.client_id,
        addr: shown(link.peer),
        laddr: shown(link.local),
        fd: -1,
        age: now_ms.saturating_sub(link.connected_ms) / 1000,
        idle: now_ms.saturating_sub(link.active_ms) / 1000,
        flags: ClientFlags::MASTER,
        events: Events { read: true, write: false },
        ..ClientInfo::default()
    }
}

fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "?:0".to_owned(), |address| address.to_string())
}

async fn kill(call: Rc<Call>) -> Result<Out, Error> {
    let request = KillRequest::parse(&call.args(), |user| user == b"default")?;
    let (wanted, asking) = (request.clone(), call.client_id);
    let links = links(&call).await?;
    let killed = call.on_all(move |shard, io| shard.kill(io, &wanted, asking)).await;
    let killed_links = kill_links(&call, links.into_iter().filter(|link| request.matches(link, asking))).await;
    written(call.proto, |out| {
        request.write_reply(out, killed.iter().sum::<u64>() + killed_links);
        Ok(())
    })
}

/// Closes connections of the replication executor; how many.
async fn kill_links(call: &Call, links: impl Iterator<Item = ClientInfo>) -> u64 {
    let ids: Vec<u64> = links.map(|link| link.id).collect();
    if ids.is_empty() {
        return 0;
    }
    let killed = ask_replication(&call.core, move |replication, io, answer| {
        let killed = replication.kill(io, &ids);
        answer.send(io, killed);
    });
    killed.await.unwrap_or(0) as u64
}

async fn pause(call: Rc<Call>) -> Result<Out, Error> {
    let now_ms = call.here(|shard, _| shard.now());
    let request = PauseRequest::parse(&call.args(), now_ms as i64)?;
    if request.until_ms > 0 {
        let pause = Pause { until_ms: request.until_ms as u64, writes_only: request.mode == PauseMode::Write };
        call.on_all(move |shard, _| shard.set_pause(pause)).await;
    }
    call.ok()
}

async fn unblock(call: Rc<Call>) -> Result<Out, Error> {
    let UnblockRequest { id, reason } = UnblockRequest::parse(&call.args())?;
    let unblocked = call.on_all(move |shard, io| shard.unblock(io, id, reason)).await;
    written(call.proto, |out| {
        out.int(i64::from(unblocked.contains(&true)));
        Ok(())
    })
}

async fn unpause(call: Rc<Call>) -> Result<Out, Error> {
    call.on_all(|shard, _| shard.unpause()).await;
    call.ok()
}
