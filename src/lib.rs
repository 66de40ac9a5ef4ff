//! Basalt: a Redis-protocol cache node for Linux, one keyspace shard per core, on io_uring.
//!
//! Imports point downwards: `runtime`, `resp` and `types` know nothing of commands; `commands` know nothing of connections;
//! `shard` brings them together; `node` starts it all.

pub mod commands;
pub mod config;
pub mod keyspace;
pub mod node;
pub mod observe;
pub mod pubsub;
pub mod rdb;
pub mod replication;
pub mod resp;
pub mod runtime;
pub mod shard;
pub mod tracking;
pub mod types;
