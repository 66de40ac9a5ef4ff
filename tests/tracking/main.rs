//! Client-side caching. Every scenario runs against redis-server and against Basalt with one, two and four shards, with the same
//! assertions; what only one of them promises says so.
//!
//! That nothing is told cannot be waited for. So a client that must not hear of something is told of something else afterwards, which
//! takes the same way: the first message it gets must be that.

#[path = "../common/mod.rs"]
mod common;

mod broadcast;
mod coherence;
mod gone;
mod harness;
mod reads;
mod redirect;
mod replies;
