//! One file a family of commands: what is generated, how it is compared, and which differences are meant.

pub mod bitmap;
pub mod connection;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod pubsub;
pub mod server;
pub mod set;
pub mod sort;
pub mod stream;
pub mod string;
pub mod transaction;
pub mod zset;

use crate::generator::{Args, Gen, with, words};

/// A SET that leaves values of every kind behind for the other commands of a family.
pub fn set_some_value(g: &mut Gen) -> Args {
    let (key, value) = (g.key(), g.value());
    with(words("SET"), [key, value])
}

/// A SET with a random choice of its options, sometimes contradictory.
pub fn set_with_options(g: &mut Gen) -> Args {
    let (key, value) = (g.key(), g.value());
    let mut args = with(words("SET"), [key, value]);
    for _ in 0..g.rng.below(3) {
        match g.rng.below(9) {
            0 => args.push(g.spelled("NX")),
            1 => args.push(g.spelled("XX")),
            2 => args.push(g.spelled("GET")),
            3 => args.push(g.spelled("KEEPTTL")),
            4 => args.extend([g.spelled("EX"), g.ttl(1000)]),
            5 => args.extend([g.spelled("PX"), g.ttl(1)]),
            6 => args.extend([g.spelled("EXAT"), g.time(1000)]),
            7 => args.extend([g.spelled("PXAT"), g.time(1)]),
            _ => args.push(g.spelled("BOGUS")),
        }
    }
    args
}
