//! Configuration: the directives of redis.conf and Basalt's own.
//!
//! One table (`table`) names every directive with kind, bounds, default and documentation. From it come the typed `Config`,
//! the parser of files and command line (`parse`, `cli`), CONFIG GET and SET (`runtime`), CONFIG REWRITE (`rewrite`) and the
//! user's documentation (`document`).
//!
//! Guarantees
//! - a `Config` holds only values within their bounds; `set` yields a new one with all changes, or none
//! - what `rewrite` writes and `parse` reads again gives the same values
//! - a directive that would switch on what Basalt does not have is refused, never ignored
//! - secrets show in CONFIG GET and REWRITE alone
//!
//! Values are text: an argument that is not UTF-8 is refused. A memory size needs a digit: an empty `maxmemory`, which Redis
//! takes as no limit, is an error.
//!
//! Knows nothing of connections, commands or executors. Nothing here acts: who receives a `Config` does what it says.

mod absent;
pub mod cli;
mod directives;
pub mod document;
mod events;
mod fields;
mod parse;
mod paths;
mod rewrite;
mod runtime;
pub mod table;
pub mod template;
#[cfg(test)]
mod tests;
mod values;

pub use directives::{Config, Origin};
pub use events::KeyspaceEvents;
pub use fields::{
    BindAddress, DisklessLoad, LogLevel, MaxmemoryPolicy, OomScoreAdj, OutputLimit, OutputLimits, Permission,
    PrimaryAddress, PropagationErrors, Secret, Supervised,
};
pub use parse::{ConfigError, LineError, Origin as LineOrigin, Reader};
pub use rewrite::{rewrite, rewrite_to};
pub use runtime::{Changed, get, set};
pub use values::{Kind, Reason, Setting};
