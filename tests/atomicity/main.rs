//! Whatever many clients do at once over keys of several cores looks as if one command ran after another.
//!
//! `BASALT_ATOMICITY_SECONDS` (4) is how long random histories are made and judged; `BASALT_TEST_SEED` repeats what was sent.

#[path = "../common/mod.rs"]
mod common;

mod checker;
mod checker_tests;
mod driver;
mod facts;
mod model;
mod whole;
mod workload;

use common::{Server, seed, shard_of};
use driver::Driver;
use std::time::{Duration, Instant};

const CLIENTS: usize = 50;

fn seconds() -> Duration {
    let text = std::env::var("BASALT_ATOMICITY_SECONDS").unwrap_or_else(|_| "4".to_owned());
    Duration::from_secs(text.parse().expect("BASALT_ATOMICITY_SECONDS must be a number"))
}

#[test]
fn histories_are_strictly_serialisable() {
    for shard in 0..workload::SHARDS {
        let keys = model::KEYS.iter().filter(|key| shard_of(key.as_bytes(), workload::SHARDS) == shard);
        assert!(keys.count() >= 2, "shard {shard} has keys of the workload");
    }
    let mut server = Server::basalt(&["--shards", &workload::SHARDS.to_string()]);
    let seed = seed();
    let mut driver = Driver::new(&server, seed, CLIENTS);
    let end = Instant::now() + seconds();
    while Instant::now() < end {
        driver.window();
    }
    println!("{:?}", driver.tally);
    server.assert_healthy();
}
