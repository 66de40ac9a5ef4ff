//! What the replication suites share: a random write load, and the comparison of nodes that ought to hold the same.

#![allow(dead_code, unused_imports)] // each suite uses a part

pub mod fake;
pub mod load;
pub mod sync;

pub use load::{Load, Mix};
pub use sync::{wait_link_up, wait_synced, wait_synced_to};

/// Runs one case a thread; all of them, whatever becomes of the others, and names the ones that failed.
#[track_caller]
pub fn at_once<C: std::fmt::Debug + Send>(cases: Vec<C>, run: impl Fn(&C) + Sync) {
    let failed: Vec<String> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> =
            cases.into_iter().map(|case| (format!("{case:?}"), scope.spawn(move || run(&case)))).collect();
        threads.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed.join("; "));
}
