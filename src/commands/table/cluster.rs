use super::*;

const fn cluster(name: &'static str, arity: i16) -> Command {
    Command::new(name, arity, Group::Cluster, Handler::Server(Server::Cluster)).flags(Flags::STALE.or(Flags::BARRIER))
}

const BY_NODES: &str = "O(N) where N is the number of nodes.";

pub const COMMANDS: &[Command] = &[Command::new("cluster", -2, Group::Cluster, Handler::Container)
    .about("3.0.0", BY_SUBCOMMAND, "Commands about hash slots and the nodes that serve them.")
    .subcommands(&[
        cluster("countkeysinslot", 3).about("3.0.0", CONSTANT, "Counts the keys of a hash slot.").syntax("slot"),
        cluster("getkeysinslot", 4)
            .about("3.0.0", "O(N) where N is the number of keys asked for.", "Returns keys of a hash slot.")
            .syntax("slot count")
            .tips(&[RANDOM]),
        cluster("info", 2).about("3.0.0", CONSTANT, "Describes the state of the cluster.").tips(&[RANDOM]),
        cluster("keyslot", 3)
            .about("3.0.0", "O(N) where N is the length of the key.", "Returns the hash slot of a key.")
            .syntax("key"),
        cluster("myid", 2).about("3.0.0", CONSTANT, "Returns the identifier of this node."),
        cluster("nodes", 2)
            .about("3.0.0", BY_NODES, "Lists the nodes in the format of the configuration file.")
            .tips(&[RANDOM]),
        cluster("shards", 2)
            .about("7.0.0", BY_NODES, "Lists the shards with their hash slots and nodes.")
            .flags(Flags::LOADING)
            .tips(&[RANDOM]),
        cluster("slots", 2)
            .about("3.0.0", BY_NODES, "Lists the ranges of hash slots with the nodes that serve them.")
            .flags(Flags::LOADING)
            .tips(&[RANDOM])
            .deprecated("7.0.0", "`CLUSTER SHARDS`"),
        help(Group::Cluster, Handler::Server(Server::Cluster), "5.0.0"),
    ])];
