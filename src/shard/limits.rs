//! The bounds of one core's queues and buffers, and what happens when they are reached.

/// Commands of one connection in one turn; the rest waits for the next tick, so that nobody waits behind one client's pipeline.
pub const COMMANDS_A_TURN: usize = 4096;

/// Replies that one connection may wait for from other cores. Beyond, its input is not parsed until half have come.
pub const REPLIES_WAITING: usize = 4096;

/// Commands in one batch to another core; a fuller one leaves before the end of the tick.
pub const BATCH_COMMANDS: usize = 1024;
/// Bytes of arguments in one batch, likewise.
pub const BATCH_BYTES: usize = 1024 * 1024;

/// Batches that may wait in the outbox to another core. Beyond, the clients that feed it are not read.
pub const OUTBOX_BATCHES: usize = 64;

/// Input kept of a client that cannot go on; beyond, its socket is not read until it can.
pub const STALLED_INPUT_BYTES: usize = 64 * 1024;

/// Unsent output from which on a client's further commands wait until it has read (only reached where
/// `client-output-buffer-limit` is higher or off).
pub const OUTPUT_PAUSE_BYTES: usize = 64 * 1024 * 1024;

/// Input and output buffers larger than this are not kept for reuse.
pub const KEEP_BUFFER_BYTES: usize = 64 * 1024;
/// How many output buffers and batches are kept for reuse.
pub const SPARE_BUFFERS: usize = 128;

/// Sweeps that together look at every client once: ten, as many as there are in a second.
pub const SWEEP_PARTS: usize = 10;

/// Entries freed in one go of lazy freeing.
pub const FREE_A_TURN: usize = 1024;

/// How old the other cores' view of a core's evictable keys may be while memory is within the limit.
pub const EVICTABLE_TOLD_MS: u64 = 10;

/// Evictions for one command, or in one turn of background eviction, on a core that holds its even share of the keys.
pub const EVICTIONS_A_COMMAND: usize = 128;

/// Keys that a tracked read of a new key makes the table forget at most, when it is above `tracking-table-max-keys`.
pub const FORGOTTEN_AT_ONCE: usize = 100;
/// The same in one round of housekeeping, of which there are ten a second.
pub const FORGOTTEN_IN_BACKGROUND: usize = 10_000;

/// From so many subscribers on, messages wait until a tick has brought no more of them, so that each subscriber is sent several at once.
pub const GATHER_SUBSCRIBERS: usize = 8;
/// Ticks that messages wait at most.
pub const GATHER_TICKS: u32 = 4;
