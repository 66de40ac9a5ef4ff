use super::*;

/// A shard channel is routed like a key, but is none.
const SHARD_CHANNEL: &[KeySpec] = &[first(KeyAccess::NOT_KEY)];
const SHARD_CHANNELS: &[KeySpec] = &[KeySpec::range(1, -1, 1, KeyAccess::NOT_KEY)];

const PUBSUB: Flags = LOADING_STALE.or(Flags::PUBSUB).or(Flags::BARRIER);

const fn command(name: &'static str, arity: i16, server: Server) -> Command {
    Command::new(name, arity, Group::PubSub, Handler::Server(server)).flags(PUBSUB)
}

const fn subscription(name: &'static str, arity: i16, server: Server) -> Command {
    command(name, arity, server).flags(Flags::NOSCRIPT)
}

const fn publish(name: &'static str, server: Server) -> Command {
    command(name, 3, server).flags(Flags::FAST.or(Flags::MAY_REPLICATE))
}

const fn pubsub(name: &'static str, arity: i16) -> Command {
    command(name, arity, Server::PubSub)
}

const BY_CHANNELS: &str = "O(N) where N is the number of channels.";
const BY_ACTIVE: &str = "O(N) where N is the number of active channels.";
const BY_NAMED: &str = "O(N) where N is the number of channels asked for.";
const BY_SUBSCRIBERS: &str = "O(N) where N is the number of subscribers of the channel.";

pub const COMMANDS: &[Command] = &[
    subscription("psubscribe", -2, Server::Psubscribe)
        .about("2.0.0", "O(N) where N is the number of patterns.", "Subscribes to the channels that match patterns.")
        .syntax("pattern [pattern ...]"),
    publish("publish", Server::Publish)
        .about(
            "2.0.0",
            "O(N+M) where N is the number of subscribers of the channel and M the number of patterns of all clients.",
            "Sends a message to the subscribers of a channel.",
        )
        .syntax("channel message"),
    Command::new("pubsub", -2, Group::PubSub, Handler::Container)
        .about("2.8.0", BY_SUBCOMMAND, "Commands about channels and their subscribers.")
        .subcommands(&[
            pubsub("channels", -2)
                .about("2.8.0", BY_ACTIVE, "Lists the channels that are subscribed to.")
                .syntax("[pattern]"),
            pubsub("numpat", 2).about("2.8.0", CONSTANT, "Counts the different patterns that are subscribed to."),
            pubsub("numsub", -2)
                .about("2.8.0", BY_NAMED, "Counts the subscribers of channels.")
                .syntax("[channel [channel ...]]"),
            pubsub("shardchannels", -2)
                .about("7.0.0", BY_ACTIVE, "Lists the shard channels that are subscribed to.")
                .syntax("[pattern]"),
            pubsub("shardnumsub", -2)
                .about("7.0.0", BY_NAMED, "Counts the subscribers of shard channels.")
                .syntax("[shardchannel [shardchannel ...]]"),
            help(Group::PubSub, Handler::Server(Server::PubSub), "6.2.0"),
        ]),
    subscription("punsubscribe", -1, Server::Punsubscribe)
        .about("2.0.0", "O(N) where N is the number of patterns.", "Ends subscriptions to patterns.")
        .syntax("[pattern [pattern ...]]"),
    publish("spublish", Server::Spublish)
        .about("7.0.0", BY_SUBSCRIBERS, "Sends a message to the subscribers of a shard channel.")
        .syntax("shardchannel message")
        .keys(SHARD_CHANNEL),
    subscription("ssubscribe", -2, Server::Ssubscribe)
        .about("7.0.0", BY_CHANNELS, "Subscribes to shard channels.")
        .syntax("shardchannel [shardchannel ...]")
        .keys(SHARD_CHANNELS),
    subscription("subscribe", -2, Server::Subscribe)
        .about("2.0.0", BY_CHANNELS, "Subscribes to channels.")
        .syntax("channel [channel ...]"),
    subscription("sunsubscribe", -1, Server::Sunsubscribe)
        .about("7.0.0", BY_CHANNELS, "Ends subscriptions to shard channels.")
        .syntax("[shardchannel [shardchannel ...]]")
        .keys(SHARD_CHANNELS),
    subscription("unsubscribe", -1, Server::Unsubscribe)
        .about("2.0.0", BY_CHANNELS, "Ends subscriptions to channels.")
        .syntax("[channel [channel ...]]"),
];
