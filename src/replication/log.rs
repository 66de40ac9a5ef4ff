//! What the writes of one core propagate, on its way to the replication executor.
//!
//! Invariants
//! - what is appended is complete commands in RESP, in the form that replicas execute
//! - a batch is closed, and has its number, before any reply or message of its tick leaves; so whoever has seen a write's effect writes with a
//!   higher number
//! - numbers are taken from one counter for all cores, without gaps: every number that is taken is sent
//! - while the log is held, nothing is closed: what comes waits in the open batch
//!
//! Knows nothing of offsets: those come into being where batches are merged.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::resp::{Args, write_command};

/// The writes of one tick of one core.
#[derive(Debug, Default)]
pub struct LogBatch {
    /// Its place in the one order of all cores' batches; the first is 0.
    pub number: u64,
    /// Commands in RESP, one behind the other.
    pub bytes: Vec<u8>,
    /// Which database they are in: runs in the order of the bytes.
    pub runs: Vec<Run>,
}

/// Commands in one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub db: u16,
    /// Where the run ends in the batch's bytes.
    pub end: usize,
}

impl LogBatch {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends bytes of whole commands in a database.
    pub fn append(&mut self, db: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.end_run(db);
    }

    /// Appends one command; mostly that is the bytes its client has sent.
    pub fn command(&mut self, db: usize, args: &Args<'_>) {
        match args.clean_frame() {
            Some(frame) => self.bytes.extend_from_slice(frame),
            None => write_command(&mut self.bytes, args.len(), (0..args.len()).map(|i| args.get(i))),
        }
        self.end_run(db);
    }

    /// Appends one command of these words.
    pub fn words(&mut self, db: usize, words: &[&[u8]]) {
        write_command(&mut self.bytes, words.len(), words.iter().copied());
        self.end_run(db);
    }

    /// Appends everything of another batch.
    pub fn extend(&mut self, other: &LogBatch) {
        let mut from = 0;
        for run in &other.runs {
            self.append(run.db.into(), &other.bytes[from..run.end]);
            from = run.end;
        }
    }

    /// The runs with their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut from = 0;
        self.runs.iter().map(move |run| (run.db, &self.bytes[std::mem::replace(&mut from, run.end)..run.end]))
    }

    fn end_run(&mut self, db: usize) {
        let (db, end) = (db as u16, self.bytes.len());
        match self.runs.last_mut() {
            Some(run) if run.db == db => run.end = end,
            _ => self.runs.push(Run { db, end }),
        }
    }
}

/// The writes of one MULTI block, which replicas execute as one too.
#[derive(Debug, Default)]
pub struct LogBlock {
    writes: LogBatch,
    count: usize,
}

/// What the logs of all cores share: the order, and how far the replication executor is behind.
#[derive(Debug, Default)]
pub struct Sequencer {
    next: AtomicU64,
    /// Bytes that are closed and not merged yet.
    behind_bytes: AtomicUsize,
    /// Some core holds writers back until there is less.
    waited_for: AtomicBool,
}

/// Bytes that may wait for the replication executor. Beyond, clients that write are not read until half of it is merged.
pub const BEHIND_BYTES: usize = 16 << 20;

impl Sequencer {
    /// The number the next batch will get: all batches before are closed.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// The replication executor has taken over so many bytes of batches. Whether cores are to be told, as they wait for that.
    pub fn merged(&self, bytes: usize) -> bool {
        let left = self.behind_bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        left <= BEHIND_BYTES / 2
            && self.waited_for.load(Ordering::SeqCst)
            && self.waited_for.swap(false, Ordering::SeqCst)
    }

    /// Whether so much waits for the replication executor that writers have to.
    pub fn is_behind(&self) -> bool {
        self.behind_bytes.load(Ordering::Relaxed) > BEHIND_BYTES
    }

    /// Whether writers who were held back have to wait on. If so, [`Sequencer::merged`] will tell when to ask again.
    pub fn wait_on(&self) -> bool {
        self.waited_for.store(true, Ordering::SeqCst);
        self.behind_bytes.load(Ordering::SeqCst) > BEHIND_BYTES / 2
    }
}

/// Batches whose buffers have grown beyond this are not kept for reuse.
const KEEP_BYTES: usize = 256 << 10;

/// The write log of one core.
#[derive(Debug, Default)]
pub struct Log {
    on: bool,
    held: bool,
    open: LogBatch,
    /// Of the block at work.
    block: Option<LogBlock>,
}

impl Log {
    /// Whether anybody needs what is written.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Turns the log on or off. What is open is dropped where it is turned off: the caller closes first what is to be kept.
    pub fn turn(&mut self, on: bool) {
        self.on = on;
        if !on {
            self.open = LogBatch::default();
            self.block = None;
        }
    }

    /// Holds what comes until [`Log::release`].
    pub fn hold(&mut self) {
        self.held = true;
    }

    pub fn release(&mut self) {
        self.held = false;
    }

    /// Enters commands in one database, which belong together if they are several. Only while the log is on.
    #[inline]
    pub fn enter(&mut self, count: usize, write: impl FnOnce(&mut LogBatch)) {
        debug_assert!(self.on);
        match &mut self.block {
            Some(block) => {
                block.count += count;
                write(&mut block.writes);
            }
            None if count == 1 => write(&mut self.open),
            None => {
                let mut block = LogBlock { count, ..LogBlock::default() };
                write(&mut block.writes);
                self.enter_block(block);
            }
        }
    }

    /// What is entered from here on belongs to a block that has entered this already.
    pub fn begin_block(&mut self, block: LogBlock) {
        self.block = Some(block);
    }

    /// Whether a block is at work.
    #[inline]
    pub fn is_in_block(&self) -> bool {
        self.block.is_some()
    }

    /// What is entered from here on does not belong to the block any more; what the block has entered so far.
    pub fn leave_block(&mut self) -> LogBlock {
        self.block.take().unwrap_or_default()
    }

    /// Enters a whole block.
    pub fn enter_block(&mut self, block: LogBlock) {
        let LogBlock { writes, count } = block;
        let (Some(first), Some(last)) = (writes.runs.first(), writes.runs.last()) else { return };
        if count > 1 {
            self.open.words(first.db.into(), &[b"MULTI"]);
        }
        self.open.extend(&writes);
        if count > 1 {
            self.open.words(last.db.into(), &[b"EXEC"]);
        }
    }

    /// Whether [`Log::close`] has something to give.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.open.is_empty() && !self.held
    }

    /// Takes the open batch with its number.
    pub fn close(&mut self, sequencer: &Sequencer) -> Option<Box<LogBatch>> {
        if !self.is_waiting() {
            return None;
        }
        let keep = self.open.bytes.capacity().min(KEEP_BYTES);
        let mut batch = Box::new(std::mem::take(&mut self.open));
        // Most ticks of a busy core write about as much as the one before.
        self.open.bytes.reserve(keep.min(batch.bytes.len()));
        sequencer.behind_bytes.fetch_add(batch.bytes.len(), Ordering::Relaxed);
        batch.number = sequencer.next.fetch_add(1, Ordering::SeqCst);
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::parser::{Limits, Parsed, Parser};

    #[test]
    fn commands_of_one_database_are_one_run() {
        let mut batch = LogBatch::default();
        batch.words(0, &[b"SET", b"a", b"1"]);
        batch.words(0, &[b"DEL", b"a"]);
        batch.words(3, &[b"SET", b"b", b""]);
        batch.words(0, &[b"DEL", b"c"]);
        let runs: Vec<(u16, &[u8])> = batch.iter().collect();
        assert_eq!(
            runs,
            [
                (0, &b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n"[..]),
                (3, b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$0\r\n\r\n"),
                (0, b"*2\r\n$3\r\nDEL\r\n$1\r\nc\r\n"),
            ]
        );
        let mut other = LogBatch::default();
        other.words(3, &[b"DEL", b"x"]);
        other.extend(&batch);
        assert_eq!(other.iter().map(|(db, _)| db).collect::<Vec<_>>(), [3, 0, 3, 0]);
    }

    /// As its client sent it, unless a client that left line ends out would have that passed on, too.
    #[test]
    fn a_command_is_written_as_clients_should_send_it() {
        let clean: &[u8] = b"*3\r\n$3\r\nset\r\n$1\r\na\r\n$0\r\n\r\n";
        let sloppy: &[u8] = b"*3\r\n$3\rxset__$1\r\na\r\n$0\r\n__";
        let inline: &[u8] = b"set  'a' \"\"\r\n";
        for bytes in [clean, sloppy, inline] {
            let mut parser = Parser::default();
            assert_eq!(parser.parse(bytes, &Limits::default()), Ok(Parsed::Command { consumed: bytes.len() }));
            let mut batch = LogBatch::default();
            batch.command(7, &parser.args(bytes));
            assert_eq!(batch.iter().collect::<Vec<_>>(), [(7, clean)]);
        }
    }

    #[test]
    fn a_block_is_framed_where_it_is_more_than_one_command() {
        let mut log = Log::default();
        log.turn(true);
        log.begin_block(LogBlock::default());
        log.enter(1, |batch| batch.words(0, &[b"DEL", b"a"]));
        let block = log.leave_block();
        log.enter(1, |batch| batch.words(0, &[b"DEL", b"between"]));
        log.begin_block(block);
        log.enter(1, |batch| batch.words(1, &[b"DEL", b"b"]));
        let block = log.leave_block();
        log.enter_block(block);
        log.enter_block(LogBlock::default());
        log.enter(2, |batch| batch.append(1, b"(two)"));
        let sequencer = Sequencer::default();
        let batch = log.close(&sequencer).expect("has commands");
        let text: Vec<(u16, String)> =
            batch.iter().map(|(db, bytes)| (db, String::from_utf8_lossy(bytes).replace("\r\n", " "))).collect();
        let expected = [
            (0, "*2 $3 DEL $7 between *1 $5 MULTI *2 $3 DEL $1 a "),
            (1, "*2 $3 DEL $1 b *1 $4 EXEC *1 $5 MULTI (two)*1 $4 EXEC "),
        ];
        assert_eq!(text, expected.map(|(db, text)| (db, text.to_owned())));
    }

    #[test]
    fn what_is_held_keeps_its_place_behind_the_release() {
        let sequencer = Sequencer::default();
        let mut logs = [Log::default(), Log::default()];
        logs.iter_mut().for_each(|log| log.turn(true));
        logs[0].hold();
        logs[0].enter(1, |batch| batch.words(0, &[b"DEL", b"a"]));
        assert!(logs[0].close(&sequencer).is_none());
        logs[1].enter(1, |batch| batch.words(0, &[b"DEL", b"b"]));
        assert_eq!(logs[1].close(&sequencer).map(|batch| batch.number), Some(0));
        logs[0].release();
        let batch = logs[0].close(&sequencer).expect("was held");
        assert_eq!((batch.number, sequencer.next()), (1, 2));
        assert!(logs[0].close(&sequencer).is_none());
    }

    #[test]
    fn writers_wait_until_half_is_merged() {
        let sequencer = Sequencer::default();
        let mut log = Log::default();
        log.turn(true);
        let part = vec![b'x'; BEHIND_BYTES / 4];
        for _ in 0..5 {
            log.enter(1, |batch| batch.append(0, &part));
            assert!(log.close(&sequencer).is_some());
        }
        assert!(sequencer.is_behind() && sequencer.wait_on());
        assert!(!sequencer.merged(part.len()) && !sequencer.merged(part.len()));
        assert!(!sequencer.is_behind() && sequencer.wait_on());
        assert!(sequencer.merged(part.len()), "somebody waits");
        assert!(!sequencer.wait_on());
    }
}
