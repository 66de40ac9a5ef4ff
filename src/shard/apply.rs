//! The virtual client: runs the commands of a primary's stream that concern more than one core, as a client of the first one.
//!
//! It has no socket. The replication executor gives it commands only when everything before them has been applied, and goes on when it hears that
//! these have been too.

use super::client::{Client, Connection, Input};
use super::{Message, Shard, ShardIo};
use crate::replication::Replication;
use crate::runtime::net::Ends;

impl Shard {
    /// Runs commands of the stream.
    pub(super) fn apply(&mut self, io: &mut ShardIo, bytes: &[u8]) {
        let socket = *self.applier.get_or_insert_with(|| io.reserve());
        if self.connection(socket).is_none() {
            let mut client = Client::new(0, socket, Ends { peer: None, local: None }, None, true, self.now_ms);
            client.modes.applies = true;
            self.seat(Connection { input: Input::default(), client });
        }
        self.applies = true;
        self.serve(io, socket, |shard, io, connection| shard.receive(io, connection, bytes));
    }

    /// The stream ends: the next one begins with a new client, in database 0.
    pub fn forget_applier(&mut self, io: &mut ShardIo) {
        if let Some(socket) = self.applier {
            self.forget(io, socket);
        }
    }

    /// Looks at what the virtual client was answered, and tells when it has run everything.
    pub(super) fn tend_applying(&mut self, io: &mut ShardIo, connection: &mut Connection) {
        let Connection { input, client } = connection;
        if let Some(error) = first_error(&client.out.buf) {
            let error = error.to_vec();
            let tell = move |replication: &mut Replication, _: &mut ShardIo| replication.on_applied_error(&error);
            io.post(self.shared.shards, Message::Control(Box::new(tell)));
        }
        client.out.clear();
        // It is looked at again after it was through, as what it waited for last lets it go on.
        let idle = !client.stall.any() && client.replies.is_empty() && input.bytes.is_empty() && input.parser.is_idle();
        if idle && std::mem::take(&mut self.applies) {
            io.post(self.shared.shards, Message::Control(Box::new(|replication, io| replication.on_applied_bytes(io))));
        }
    }
}

/// The first error among RESP2 replies.
fn first_error(replies: &[u8]) -> Option<&[u8]> {
    let mut rest = replies;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, behind) = (&rest[..end], &rest[end + 2..]);
        rest = match line.first() {
            Some(b'-') => return Some(&line[1..]),
            Some(b'$') => {
                let length = std::str::from_utf8(&line[1..]).ok()?.parse::<i64>().ok()?;
                behind.get(usize::try_from(length).map_or(0, |length| length + 2)..)?
            }
            _ => behind,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_errors_and_nothing_that_looks_like_one() {
        assert_eq!(first_error(b"+OK\r\n:1\r\n"), None);
        assert_eq!(first_error(b"$7\r\na\r\n-ERR\r\n$-1\r\n*2\r\n:1\r\n+OK\r\n"), None);
        assert_eq!(first_error(b"$-1\r\n*2\r\n:1\r\n-ERR no\r\n+OK\r\n"), Some(&b"ERR no"[..]));
    }
}
