//! Seeded random scripts sent to Basalt and to the distribution's redis-server, every reply compared byte for byte.
//!
//! How it works
//! - a `Family` is a weighted list of rules; a `Rule` makes one command from the `Gen` (keys of a small pool, values of the kinds
//!   that break servers) and says how its replies are compared; a family may give up a reply only by naming a `Compare`
//! - commands go out in pipelines; every `CHECKPOINT` commands DEBUG DIGEST of both servers must agree; at the end also the
//!   keys, types, encodings and expiry times of every database, and each key's DUMP must restore on the other server
//! - a difference that is meant is listed in the family's `known`, with its reason; nothing else is forgiven
//! - the first failure is shrunk to a short script by replaying parts of it on emptied servers, and printed with the seed
//! - expiry times are far away or already past, so that no reply depends on how fast a server is
//!
//! - a family may make sequences of steps, and let a second connection do something in between
//!
//! Each family runs with one shard and with two, over the same keys: nothing may tell how many there are.
//!
//! `BASALT_DIFF_COMMANDS` (20000) is the number of commands a family; `BASALT_TEST_SEED` repeats a run.
//!
//! To add a family: write its rules in a file of `families/`, and add it to the list at the end of this one.

#[path = "../common/mod.rs"]
mod common;
mod families;
mod generator;
mod runner;

use runner::run;

macro_rules! family_tests {
    ($($(#[$attribute:meta])* $name:ident: $family:expr;)*) => {$(
        mod $name {
            $(#[$attribute])*
            #[test]
            fn one_shard() {
                super::run(&$family, 1);
            }

            $(#[$attribute])*
            #[test]
            fn two_shards() {
                super::run(&$family, 2);
            }
        }
    )*};
}

family_tests! {
    string: crate::families::string::FAMILY;
    list: crate::families::list::FAMILY;
    bitmap: crate::families::bitmap::FAMILY;
    generic: crate::families::generic::FAMILY;
    hash: crate::families::hash::FAMILY;
    hyperloglog: crate::families::hyperloglog::FAMILY;
    connection: crate::families::connection::FAMILY;
    server: crate::families::server::FAMILY;
    transaction: crate::families::transaction::FAMILY;
    pubsub: crate::families::pubsub::FAMILY;
    set: crate::families::set::FAMILY;
    sort: crate::families::sort::FAMILY;
    zset: crate::families::zset::FAMILY;
    geo: crate::families::geo::FAMILY;
    stream: crate::families::stream::FAMILY;
}
