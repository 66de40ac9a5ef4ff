//! Connections that leave this core for the replication executor, as they want to be replicas.
//!
//! A connection goes when nothing of it is on its way: all it was answered has left, and its receive has ended. What it sent behind its PSYNC goes
//! along.

use std::sync::atomic::Ordering;

use super::client::{Client, Connection, Stall};
use super::{Handover, Message, Shard, ShardIo};
use crate::replication::status::Hello;
use crate::resp::Args;
use crate::runtime::SocketId;

impl Shard {
    /// Hands a client over that has said PSYNC or SYNC, which all its earlier commands have answered before. It is not answered here any more.
    pub fn hand_over(&mut self, client: &mut Client, args: &Args<'_>, hello: Hello) {
        client.leaves = Some(Box::new((args.to_owned(), hello)));
        client.stall.add(Stall::LEAVING);
        self.touch(client);
    }

    /// Whether a client that is to be handed over can go now.
    pub(super) fn can_leave(&self, io: &mut ShardIo, client: &Client) -> bool {
        client.leaves.is_some() && client.output_bytes() == 0 && !io.is_receiving(client.socket)
    }

    /// Lets a client go that can.
    pub(super) fn finish_handover(&mut self, io: &mut ShardIo, socket: SocketId) {
        let Some(connection) = self.forget(io, socket) else { return };
        let Connection { mut input, client } = *connection;
        let (Some(leaves), Some(fd)) = (client.leaves, io.detach(socket)) else { return };
        let (request, hello) = *leaves;
        let handover = Handover {
            fd,
            ends: client.ends,
            client_id: client.id,
            name: client.name,
            connected_ms: client.connected_ms,
            hello,
            request,
            rest: std::mem::take(&mut input.bytes),
        };
        io.post(self.shared.shards, Message::Handover(Box::new(handover)));
    }

    /// Takes a connection out of everything that knows it on this core.
    pub(super) fn forget(&mut self, io: &mut ShardIo, socket: SocketId) -> Option<Box<Connection>> {
        self.connection(socket)?;
        let mut connection = self.connections[socket.index as usize].take()?;
        self.end_waiting(io, &mut connection.client);
        self.unwatch(io, &mut connection.client);
        self.stop_tracking(io, &mut connection.client);
        if !connection.client.modes.applies {
            self.shared.clients[self.id].0.fetch_sub(1, Ordering::Relaxed);
        }
        if connection.client.monitor {
            self.announce_monitors(io, -1);
        }
        if connection.client.subscribed {
            self.leave_all(io, socket);
        }
        Some(connection)
    }
}
