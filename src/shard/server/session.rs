//! The connection itself: PING, AUTH, HELLO, SELECT, RESET, QUIT.

use std::sync::atomic::Ordering;

use crate::commands::clients::{HELLO_NOAUTH, Hello, write_hello};
use crate::commands::lookup::CommandId;
use crate::commands::options::database;
use crate::commands::{Error, Outcome};
use crate::observe::info::Mode;
use crate::resp::{Args, Out, Proto, Writer};
use crate::runtime::clock;
use crate::shard::client::Client;
use crate::shard::{Shard, ShardIo};

const WRONGPASS: Error = Error::text("WRONGPASS invalid username-password pair or user is disabled.");
const NO_PASSWORD: Error = Error::text(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
);

pub fn ping(client: &Client, args: &Args<'_>, out: &mut Out) -> Outcome {
    let mut writer = Writer::new(out, client.proto);
    if client.subscribed && client.proto == Proto::Resp2 && args.len() <= 2 {
        writer.array(2);
        writer.bulk_str("pong");
        writer.bulk(args.opt(1).unwrap_or_default());
        return Ok(());
    }
    match args.len() {
        1 => writer.simple("PONG"),
        2 => writer.bulk(args.get(1)),
        _ => return Err(Error::arity("ping")),
    }
    Ok(())
}

pub fn time(client: &Client, out: &mut Out) -> Outcome {
    let now_us = clock::unix_us();
    let mut writer = Writer::new(out, client.proto);
    writer.array(2);
    writer.bulk_int((now_us / 1_000_000) as i64);
    writer.bulk_int((now_us % 1_000_000) as i64);
    Ok(())
}

impl Shard {
    pub(super) fn auth(&mut self, client: &mut Client, args: &Args<'_>, out: &mut Out) -> Outcome {
        match args.len() {
            2 if !self.config.requirepass.is_set() => return Err(NO_PASSWORD),
            2 => self.log_in(client, b"default", args.get(1))?,
            3 => self.log_in(client, args.get(1), args.get(2))?,
            _ => return Err(Error::Syntax),
        }
        Writer::new(out, client.proto).ok();
        Ok(())
    }

    /// There is one user, `default`; without a password it lets everyone in.
    fn log_in(&self, client: &mut Client, user: &[u8], password: &[u8]) -> Outcome {
        let right = !self.config.requirepass.is_set() || self.config.requirepass.matches(password);
        if user != b"default" || !right {
            return Err(WRONGPASS);
        }
        client.authenticated = true;
        Ok(())
    }

    pub(super) fn hello(&mut self, client: &mut Client, args: &Args<'_>, out: &mut Out) -> Outcome {
        let Hello { proto, auth, name } = Hello::parse(args)?;
        if let Some((user, password)) = auth {
            self.log_in(client, user, password)?;
        }
        if !client.authenticated {
            return Err(HELLO_NOAUTH);
        }
        client.name = name.unwrap_or_else(|| std::mem::take(&mut client.name));
        client.proto = proto.unwrap_or(client.proto);
        write_hello(&mut Writer::new(out, client.proto), client.id, self.mode());
        Ok(())
    }

    /// What clients are told this node is.
    pub fn mode(&self) -> Mode {
        if self.config.core_endpoints { Mode::Cluster } else { Mode::Standalone }
    }

    pub(super) fn select(&mut self, client: &mut Client, args: &Args<'_>, out: &mut Out) -> Outcome {
        client.database = database(self.config.databases as usize, args.get(1))?;
        Writer::new(out, client.proto).ok();
        Ok(())
    }

    pub(super) fn reset_client(&mut self, io: &mut ShardIo, client: &mut Client, id: CommandId, args: &Args<'_>) {
        if client.monitor {
            self.announce_monitors(io, -1);
        }
        self.forget_block(client);
        self.unwatch(io, client);
        self.stop_tracking(io, client);
        client.reset(!self.config.requirepass.is_set());
        if client.subscribed {
            return self.reset_subscriber(client, id, args);
        }
        self.answer(client, id, args, |_, client, out| {
            Writer::new(out, client.proto).simple("RESET");
            Ok(())
        });
    }

    pub(super) fn quit(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>) {
        self.answer(client, id, args, |_, client, out| {
            Writer::new(out, client.proto).ok();
            Ok(())
        });
        self.end(client);
    }

    /// Whether the process is ending; then nothing new is begun.
    pub fn ending(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }
}
