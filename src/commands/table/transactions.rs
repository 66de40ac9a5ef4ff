use super::*;

/// What a client in a MULTI block may say without its being queued.
const fn command(name: &'static str, arity: i16, server: Server) -> Command {
    Command::new(name, arity, Group::Transactions, Handler::Server(server))
        .flags(UNSCRIPTED.or(Flags::FAST).or(Flags::ALLOW_BUSY).or(Flags::BARRIER))
}

pub const COMMANDS: &[Command] = &[
    command("discard", 1, Server::Discard).about(
        "2.0.0",
        "O(N) where N is the number of queued commands.",
        "Drops the commands that were queued since MULTI.",
    ),
    Command::new("exec", 1, Group::Transactions, Handler::Server(Server::Exec))
        .about("1.2.0", "That of the queued commands.", "Runs the commands that were queued since MULTI, as one.")
        .flags(UNSCRIPTED.or(Flags::SKIP_SLOWLOG).or(Flags::BARRIER)),
    command("multi", 1, Server::Multi).about("1.2.0", CONSTANT, "Begins to queue commands for EXEC."),
    command("unwatch", 1, Server::Unwatch).about("2.2.0", CONSTANT, "Forgets the watched keys of the connection."),
    command("watch", -2, Server::Watch)
        .about("2.2.0", "O(1) for each key.", "Lets the next EXEC run only if these keys have not changed until then.")
        .syntax("key [key ...]")
        .keys(&[KeySpec::range(1, -1, 1, RO)]),
];
