//! The Redis serialisation protocol, versions 2 and 3: requests in, replies out.
//!
//! Guarantees: a request is parsed in place and survives any fragmentation; no input makes the parser panic or hold more
//! than the configured limits; replies are byte for byte Redis's.
//!
//! Knows nothing of commands, connections or sockets.

mod args;
mod double;
pub mod parser;
mod writer;

pub use args::{Args, OwnedArgs, Span};
pub use double::DoubleText;
#[cfg(test)]
pub use writer::written;
pub use writer::{ATTACH_MIN_BYTES, Out, Proto, Writer, write_command};
