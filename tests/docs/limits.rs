//! The tables of limits, with the numbers of the code.

use basalt::config::table;
use basalt::keyspace::BACKLOG_BYTES;
use basalt::replication::log;
use basalt::replication::replica::{apply, load};
use basalt::resp::parser;
use basalt::runtime::limits as runtime;
use basalt::shard::limits as shard;

/// A size as people write it.
fn bytes(count: usize) -> String {
    match count {
        _ if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ if count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        _ => format!("{count} bytes"),
    }
}

/// A directive with its default.
fn directive(name: &str) -> String {
    let directive = table::find(name).unwrap_or_else(|| panic!("no directive {name}"));
    format!("`{name}`, default {}", directive.default)
}

fn table(rows: &[(&str, String, String)]) -> String {
    let mut text = "| what | limit | when it is reached |\n|---|---|---|\n".to_owned();
    for (what, limit, effect) in rows {
        text.push_str(&format!("| {what} | {limit} | {effect} |\n"));
    }
    text
}

/// What users of a node may meet.
pub fn of_a_node() -> String {
    let effect = str::to_owned;
    table(&[
        (
            "connections",
            directive("maxclients"),
            effect(
                "A further one is answered `ERR max number of clients reached` and closed. At start the limit of open files is raised to fit, as far as the system allows; the log says if that is not far enough.",
            ),
        ),
        (
            "file descriptors of the process",
            effect("`ulimit -n`"),
            format!(
                "Accepting pauses for {} ms and tries again; connections wait in the backlog (`tcp-backlog`).",
                runtime::ACCEPT_PAUSE_MS
            ),
        ),
        (
            "memory",
            directive("maxmemory"),
            format!(
                "Keys are evicted by `maxmemory-policy`, some {} of a core for one command. When no core has a key left that may go, commands that need memory answer `OOM command not allowed when used memory > 'maxmemory'.`",
                shard::EVICTIONS_A_COMMAND
            ),
        ),
        (
            "an argument, and so a key or a value",
            directive("proto-max-bulk-len"),
            effect(
                "`ERR Protocol error: invalid bulk length`, and the connection is closed. `APPEND` and `SETRANGE` beyond it answer `ERR string exceeds maximum allowed size (proto-max-bulk-len)`.",
            ),
        ),
        (
            "arguments of a command",
            parser::MAX_MULTIBULK.to_string(),
            effect("`ERR Protocol error: invalid multibulk length`, and the connection is closed."),
        ),
        (
            "an inline command",
            directive("proto-inline-max-size"),
            effect("`ERR Protocol error: too big inline request`, and the connection is closed."),
        ),
        (
            "before `AUTH`: arguments, and bytes of one",
            format!(
                "{}, {}",
                parser::UNAUTHENTICATED_MAX_MULTIBULK,
                bytes(parser::UNAUTHENTICATED_MAX_BULK_BYTES as usize)
            ),
            effect(
                "`ERR Protocol error: unauthenticated multibulk length` or `... bulk length`, and the connection is closed.",
            ),
        ),
        (
            "input that is not a whole command yet",
            directive("client-query-buffer-limit"),
            effect("The connection is closed; a line in the log."),
        ),
        (
            "input of a client that has to wait",
            bytes(shard::STALLED_INPUT_BYTES),
            effect("Its socket is not read until it can go on: TCP holds the sender back."),
        ),
        (
            "replies that a client does not read",
            directive("client-output-buffer-limit"),
            effect("Beyond the limit of class `normal` the connection is closed; a line in the log."),
        ),
        (
            "the same, where that limit is off or higher",
            bytes(shard::OUTPUT_PAUSE_BYTES),
            effect("The client's further commands wait until it has read half."),
        ),
        (
            "stream that a replica has not taken",
            effect("`client-output-buffer-limit`, class `replica`, but not below `repl-backlog-size`"),
            effect(
                "The replica is disconnected, and comes back by the backlog or a full synchronisation; a line in the log.",
            ),
        ),
        (
            "writes of all cores that the replication executor has not taken",
            bytes(log::BEHIND_BYTES),
            effect("Clients that write wait until half of it is taken."),
        ),
        (
            "records of a snapshot that writers of one core are ahead with",
            bytes(BACKLOG_BYTES),
            effect(
                "Clients that write wait, as long as the replicas take something now and then. Beyond their output buffer limit the snapshot is given up, and asked for again.",
            ),
        ),
        (
            "commands of a primary's stream that cores have not executed",
            format!("{}, {}", apply::IN_FLIGHT_UNITS, bytes(apply::IN_FLIGHT_BYTES)),
            effect("Its socket is not read until half are executed."),
        ),
        (
            "a snapshot's bytes that cores have not loaded",
            bytes(load::IN_FLIGHT_BYTES),
            effect("Its socket or file is not read until they have."),
        ),
        (
            "commands of one connection in one turn",
            shard::COMMANDS_A_TURN.to_string(),
            effect("The others of its core have their turn before it goes on."),
        ),
        (
            "replies of one connection that other cores owe",
            shard::REPLIES_WAITING.to_string(),
            effect("Its further commands wait until half of them have come."),
        ),
        (
            "batches waiting for one core to take them",
            shard::OUTBOX_BATCHES.to_string(),
            effect("Clients that have commands for that core wait until half of them have gone."),
        ),
        ("slow log", directive("slowlog-max-len"), effect("The oldest entries go.")),
    ])
}

/// What the runtime sets aside for an executor.
pub fn of_the_runtime() -> String {
    let effect = str::to_owned;
    table(&[
        (
            "submission queue entries",
            runtime::RING_ENTRIES.to_string(),
            effect(
                "The tick submits what there is with an `io_uring_enter` of its own and goes on. Counted in `ring_enters`.",
            ),
        ),
        (
            "completion queue entries",
            runtime::COMPLETION_ENTRIES.to_string(),
            effect("The kernel keeps what overflows in a list, and hands it over later, at a cost; nothing is lost."),
        ),
        (
            "receive buffers",
            format!("{} of {}", runtime::RECEIVE_BUFFERS, bytes(runtime::RECEIVE_BUFFER_BYTES)),
            format!(
                "A receive that finds none ends with `ENOBUFS`; such receives are armed again in turn, {} a tick. The bytes stay in the socket meanwhile.",
                runtime::RECEIVE_BUFFERS / 2
            ),
        ),
        (
            "messages in one mailbox",
            runtime::MAILBOX_MESSAGES.to_string(),
            format!(
                "The rest waits in the sender's outbox, and the sender does not sleep until it is empty. From {} messages on, clients that feed it are stalled.",
                shard::OUTBOX_BATCHES + 1
            ),
        ),
        (
            "messages taken from one mailbox in a tick",
            runtime::MESSAGES_A_TICK.to_string(),
            effect("The next tick follows without sleep."),
        ),
        (
            "commands, or bytes of arguments, in one batch",
            format!("{}, {}", shard::BATCH_COMMANDS, bytes(shard::BATCH_BYTES)),
            effect("The batch is posted, and the tick begins another one."),
        ),
        (
            "pieces, and bytes, of one send",
            format!("{}, {}", runtime::SEND_PIECES, bytes(runtime::SEND_BYTES)),
            effect("The rest is sent when these have left."),
        ),
        (
            "pause of accepting",
            format!("{} ms", runtime::ACCEPT_PAUSE_MS),
            effect(
                "After an accept that failed, as it does without file descriptors; connections wait in the backlog.",
            ),
        ),
    ])
}
