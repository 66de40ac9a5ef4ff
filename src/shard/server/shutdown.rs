//! The end: SHUTDOWN, SIGTERM and SIGINT.
//!
//! Writers wait and replicas get what they miss first, unless NOW is said. Order then: accepting stops on every core, replies that are ready leave, then each executor ends after its tick. There is no data to be saved
//! yet, so SHUTDOWN SAVE is refused.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use tracing::warn;

use crate::commands::Error;
use crate::node::{LISTENER_CORE, LISTENER_TCP, LISTENER_UNIX};
use crate::resp::Out;
use crate::shard::fanout::{Call, ask_replication};
use crate::shard::{Message, Shard, ShardIo};

const NO_SAVE: Error = Error::text(
    "ERR Errors trying to SHUTDOWN. Check logs. (SAVE: this server has no persistence; use SHUTDOWN NOSAVE)",
);

pub async fn shutdown(call: Rc<Call>) -> Result<Out, Error> {
    let args = call.args();
    let has = |word: &str| (1..args.len()).any(|i| args.is(i, word));
    let known = |i: usize| ["save", "nosave", "now", "force", "abort"].iter().any(|word| args.is(i, word));
    if !(1..args.len()).all(known) || (has("save") && has("nosave")) || (has("abort") && args.len() > 2) {
        return Err(Error::Syntax);
    }
    if has("abort") {
        let aborted = ask_replication(&call.core, |replication, io, answer| {
            let aborted = replication.abort_shutdown(io);
            answer.send(io, aborted);
        });
        return match aborted.await {
            Some(true) => call.ok(),
            Some(false) | None => Err(Error::text("ERR No shutdown in progress.")),
        };
    }
    if has("save") {
        return Err(NO_SAVE);
    }
    warn!("User requested shutdown...");
    if has("now") {
        call.here(|shard, io| shard.shut_down(io));
        // No reply: the connection ends with the process.
        return Ok(Out::default());
    }
    let ends = ask_replication(&call.core, |replication, io, answer| replication.shut_down(io, Some(answer)));
    // Answered only if it was called off.
    ends.await.map_or(Ok(Out::default()), |_| Err(Error::text("ERR Errors trying to SHUTDOWN. Check logs.")))
}

impl Shard {
    /// Ends the process in order.
    pub fn shut_down(&mut self, io: &mut ShardIo) {
        if self.shared.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        let own = self.id;
        for executor in (0..io.executors()).filter(|executor| *executor != own) {
            io.post(executor, Message::Stop);
        }
        self.stop_serving(io);
    }

    /// Accepts nothing more and ends after this tick.
    pub fn stop_serving(&mut self, io: &mut ShardIo) {
        for token in [LISTENER_TCP, LISTENER_UNIX, LISTENER_CORE] {
            io.stop_listening(token);
        }
        self.stop();
        io.tick_again();
    }
}
