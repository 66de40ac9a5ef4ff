//! Leaf helpers for values: numbers in text, quoting, glob patterns, bit strings.
//!
//! Guarantee: each reads and prints exactly what Redis 7 reads and prints, takes any bytes without panicking, and works in
//! time and memory that its arguments bound.
//!
//! Knows nothing of keys, commands, replies or configuration.

pub mod bits;
pub mod float_text;
pub mod glob;
pub mod long_double;
pub mod numbers;
pub mod quote;
