//! What the replication suites share: a random write load, and the comparison of nodes that ought to hold the same.

#![allow(dead_code, unused_imports)] // each suite uses a part

pub mod fake;
pub mod load;
pub mod sync;

pub use load::{Load, Mix};
pub use sync::{wait_link_up, wait_synced, wait_synced_to};

/// Runs one case a thread; all of them, whatever becomes of the others, and names the ones that failed. `BASALT_REPLICATION_CASES` leaves
/// only those whose name, as a failure prints it, contains it.
#[track_caller]
pub fn at_once<C: std::fmt::Debug + Send>(cases: Vec<C>, run: impl Fn(&C) + Sync) {
    let only = std::env::var("BASALT_REPLICATION_CASES").unwrap_or_default();
    let cases = cases.into_iter().map(|case| (format!("{case:?}"), case)).filter(|(name, _)| name.contains(&only));
    let failed: Vec<String> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = cases.map(|(name, case)| (name, scope.spawn(move || run(&case)))).collect();
        threads.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed.join("; "));
}
