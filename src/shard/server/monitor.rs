//! MONITOR: every core formats the commands of its clients and sends them to the cores that have a monitor.
//!
//! Each core knows how many monitors each core has. While there is none anywhere, a command pays one branch.

use crate::commands::Error;
use crate::commands::clients::ReplyMode;
use crate::commands::lookup::CommandId;
use crate::observe::monitor::{self, Source};
use crate::resp::{Args, Writer};
use crate::runtime::clock;
use crate::shard::client::Client;
use crate::shard::{Message, Shard, ShardIo};

impl Shard {
    pub(super) fn start_monitor(&mut self, io: &mut ShardIo, client: &mut Client, id: CommandId, args: &Args<'_>) {
        if client.modes.in_block {
            let refused = Error::text("ERR MONITOR isn't allowed for DENY BLOCKING client");
            return self.answer(client, id, args, |_, _, _| Err(refused));
        }
        if !client.monitor {
            client.monitor = true;
            self.announce_monitors(io, 1);
        }
        self.answer(client, id, args, |_, client, out| {
            Writer::new(out, client.proto).ok();
            Ok(())
        });
    }

    /// Tells every core that this one has one monitor more or less.
    pub(in crate::shard) fn announce_monitors(&mut self, io: &mut ShardIo, change: isize) {
        let owner = self.id;
        let apply = move |shard: &mut Shard, _: &mut ShardIo| {
            shard.monitors[owner] = shard.monitors[owner].saturating_add_signed(change);
            shard.set_gates();
        };
        apply(self, io);
        self.tell_others(io, apply);
    }

    /// Shows a command to the monitors of all cores.
    pub(in crate::shard) fn feed_monitors(&mut self, io: &mut ShardIo, client: &mut Client, args: &Args<'_>) {
        let mut line = Vec::new();
        let address = client.address();
        let source = match &client.unix_path {
            Some(path) => Source::Unix(path),
            None => Source::Tcp(&address),
        };
        monitor::write_line(&mut line, clock::unix_us(), client.database, source, args);
        if client.monitor {
            self.show(client, &line);
        }
        let monitors = self.monitors.clone();
        for (shard, _) in monitors.iter().enumerate().filter(|(_, count)| **count > 0) {
            if shard == self.id {
                self.show_to_monitors(&line);
            } else {
                let line = line.clone();
                io.post(shard, Message::Run(Box::new(move |shard, _| shard.show_to_monitors(&line))));
            }
        }
    }

    /// The client at work is not among the connections, and is shown its command apart.
    fn show_to_monitors(&mut self, line: &[u8]) {
        let sockets: Vec<_> = self
            .clients()
            .filter(|connection| connection.client.monitor)
            .map(|connection| connection.client.socket)
            .collect();
        for socket in sockets {
            self.with_connection(socket, |shard, connection| shard.show(&mut connection.client, line));
        }
    }

    fn show(&mut self, client: &mut Client, line: &[u8]) {
        if client.reply_mode == ReplyMode::On {
            self.ready_output(client);
            client.out.buf.extend_from_slice(line);
            self.touch(client);
        }
    }
}
