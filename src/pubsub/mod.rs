//! Publish/subscribe as one core knows it: who listens here, and how many listen on each other core.
//!
//! Guarantees
//! - every subscription is held by the core of its client; all other cores know how many a name has there
//! - a name without subscribers on any core is not known
//! - subscribers of a name are served in the order in which they subscribed
//!
//! Knows sockets as opaque ids, and nothing of protocols, messages or how cores talk to each other.

mod registry;
#[cfg(test)]
mod tests;

pub use registry::{Change, Counts, Kind, Registry, Topic};
