use super::*;

const fn command(name: &'static str, arity: i16, server: Server) -> Command {
    Command::new(name, arity, Group::Connection, Handler::Server(server)).acl(Acl::CONNECTION)
}

const fn client(name: &'static str, arity: i16) -> Command {
    command(name, arity, Server::Client).flags(UNSCRIPTED.or(Flags::BARRIER))
}

/// The commands a client may send before it has authenticated.
const OPENING: Flags = UNSCRIPTED.or(Flags::FAST).or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY).or(Flags::BARRIER);

const BY_CLIENTS: &str = "O(N) where N is the number of connections.";

pub const COMMANDS: &[Command] = &[
    command("auth", -2, Server::Auth)
        .about("1.0.0", "O(N) where N is the number of passwords of the user.", "Authenticates the connection.")
        .syntax("[username] password")
        .flags(OPENING),
    Command::new("client", -2, Group::Connection, Handler::Container)
        .about("2.4.0", BY_SUBCOMMAND, "Commands about client connections.")
        .subcommands(CLIENT),
    command("echo", 2, Server::Echo)
        .about("1.0.0", CONSTANT, "Returns its argument.")
        .syntax("message")
        .flags(LOADING_STALE.or(Flags::FAST)),
    command("hello", -1, Server::Hello)
        .about("6.0.0", CONSTANT, "Chooses the protocol version, optionally authenticates, and describes the server.")
        .syntax("[protover [AUTH username password] [SETNAME clientname]]")
        .flags(OPENING),
    command("ping", -1, Server::Ping)
        .about("1.0.0", CONSTANT, "Answers PONG, or its argument.")
        .syntax("[message]")
        .flags(Flags::FAST)
        .tips(&[ALL_SHARDS, ALL_SUCCEEDED]),
    command("quit", -1, Server::Quit)
        .about("1.0.0", CONSTANT, "Closes the connection.")
        .flags(OPENING)
        .deprecated("7.2.0", "just closing the connection"),
    command("reset", 1, Server::Reset)
        .about("6.2.0", CONSTANT, "Puts the connection back into the state of a new one.")
        .flags(OPENING),
    command("select", 2, Server::Select)
        .about("1.0.0", CONSTANT, "Changes the database of the connection.")
        .syntax("index")
        .flags(LOADING_STALE.or(Flags::FAST).or(Flags::BARRIER)),
];

const CLIENT: &[Command] = &[
    client("caching", 3)
        .about(
            "6.0.0",
            CONSTANT,
            "Makes the next command an exception from how the keys of this connection are tracked.",
        )
        .syntax("<YES | NO>"),
    client("getname", 2).about("2.6.9", CONSTANT, "Returns the name of this connection."),
    client("getredir", 2).about(
        "6.0.0",
        CONSTANT,
        "Returns the number of the connection that gets the invalidation messages of this one.",
    ),
    client("id", 2).about("5.0.0", CONSTANT, "Returns the number of this connection."),
    client("info", 2).about("6.2.0", CONSTANT, "Describes this connection.").tips(&[RANDOM]),
    client("kill", -3)
        .about("2.4.0", BY_CLIENTS, "Closes the connections that match an address or all of the filters.")
        .syntax(
            "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | \
             [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>]> ...>",
        )
        .flags(Flags::ADMIN),
    client("list", -2)
        .about("2.4.0", BY_CLIENTS, "Describes all connections, or those of a type or with the given numbers.")
        .syntax("[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]")
        .flags(Flags::ADMIN)
        .tips(&[RANDOM]),
    client("no-evict", 3)
        .about("7.0.0", CONSTANT, "Exempts this connection from being closed to save memory.")
        .syntax("<ON | OFF>")
        .flags(Flags::ADMIN),
    client("no-touch", 3)
        .about("7.2.0", CONSTANT, "Chooses whether the commands of this connection count as use of their keys.")
        .syntax("<ON | OFF>"),
    client("pause", -3)
        .about("3.0.0", CONSTANT, "Holds back the commands, or only the writes, of all clients for some milliseconds.")
        .syntax("timeout [WRITE | ALL]")
        .flags(Flags::ADMIN),
    client("reply", 3)
        .about("3.2.0", CONSTANT, "Chooses whether this connection gets replies.")
        .syntax("<ON | OFF | SKIP>"),
    client("setinfo", 4)
        .about("7.2.0", CONSTANT, "Tells the server which client library this is.")
        .syntax("<LIB-NAME libname | LIB-VER libver>")
        .tips(&[ALL_NODES, ALL_SUCCEEDED]),
    client("setname", 3)
        .about("2.6.9", CONSTANT, "Names this connection.")
        .syntax("connection-name")
        .tips(&[ALL_NODES, ALL_SUCCEEDED]),
    client("tracking", -3)
        .about(
            "6.0.0",
            "O(1). Some options may introduce additional complexity.",
            "Switches messages about changed keys on or off, for clients that cache values.",
        )
        .syntax(
            "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
        ),
    client("trackinginfo", 2).about("6.2.0", CONSTANT, "Describes the tracking of this connection's keys."),
    client("unblock", -3)
        .about(
            "5.0.0",
            "O(log N) where N is the number of connections.",
            "Ends the wait of a connection in a blocking command.",
        )
        .syntax("client-id [TIMEOUT | ERROR]")
        .flags(Flags::ADMIN),
    client("unpause", 2)
        .about("6.2.0", "O(N) where N is the number of paused clients.", "Ends a pause of the clients.")
        .flags(Flags::ADMIN),
    help(Group::Connection, Handler::Server(Server::Client), "5.0.0").acl(Acl::CONNECTION),
];
