//! What the node tells about itself: INFO, SLOWLOG, LATENCY, MEMORY, MONITOR, DEBUG DIGEST, CLUSTER's view of the cores; and what
//! an operator sees of the process: its log, and its life as a daemon.
//!
//! Guarantee: each core counts into an instance of its own, so counting is plain arithmetic without atomics; what a command
//! shows is the merge of all cores' instances, made by pure functions. Field names, reply shapes and error texts are Redis's.
//!
//! Knows counters, samples and reply writers; never connections, sockets, clocks or other cores: time comes in as an argument.

pub mod cluster_view;
pub mod daemon;
pub mod digest;
pub mod histogram;
pub mod info;
mod info_text;
pub mod latency;
pub mod latency_report;
pub mod logging;
pub mod lolwut;
pub mod memory;
pub mod monitor;
mod replication_text;
pub mod slowlog;
pub mod stats;
