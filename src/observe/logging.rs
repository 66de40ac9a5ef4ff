//! The log: `tracing` events as lines in Redis's form, to standard output or a file.
//!
//! ```text
//! PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL message
//! ```
//!
//! | macro | level of redis.conf | mark |
//! |---|---|---|
//! | `error!`, `warn!` | warning | `#` |
//! | `info!` | notice | `*` |
//! | `debug!` | verbose | `-` |
//! | `trace!` | debug | `.` |
//!
//! Guarantees
//! - an event is one `write` to a file opened for appending: lines of several threads do not mix
//! - a file that was moved or removed (logrotate) is opened anew within a second of writing, without a signal
//! - a log that cannot be written stops nothing; the lines are counted as lost
//!
//! Knows nothing of what is logged.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogLevel;

/// How often at most the path of the log file is looked at.
const REOPEN_CHECK: Duration = Duration::from_secs(1);

/// What the process is, as the letter in its log lines says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Master,
    Replica,
    Sentinel,
}

impl Role {
    fn letter(self) -> u8 {
        match self {
            Role::Master => b'M',
            Role::Replica => b'S',
            Role::Sentinel => b'X',
        }
    }
}

/// Why the log could not be set up.
#[derive(Debug)]
pub enum LogError {
    Open { path: PathBuf, error: io::Error },
    AlreadySetUp,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Open { path, error } => write!(
                f,
                "Can't open the log file {}: {error}. Create its directory and let this user write there, or set 'logfile'.",
                path.display()
            ),
            LogError::AlreadySetUp => f.write_str("The log has already been set up in this process."),
        }
    }
}

impl std::error::Error for LogError {}

static ROLE: AtomicU8 = AtomicU8::new(b'M');
static LOST_LINES: AtomicU64 = AtomicU64::new(0);
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Sends the events of all threads to `logfile`, or to standard output when that is empty. Once a process, and after
/// daemonizing, which closes standard output.
pub fn init(level: LogLevel, logfile: &str) -> Result<(), LogError> {
    let sink = match logfile {
        "" => Sink::Stdout,
        path => Sink::File(Mutex::new(LogFile::open(Path::new(path))?)),
    };
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().event_format(RedisLine).with_ansi(false).with_writer(sink);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    subscriber.try_init().map_err(|_| LogError::AlreadySetUp)?;
    LEVEL.set(handle).map_err(|_| LogError::AlreadySetUp)
}

/// Changes the level of the whole process. Without effect before `init`.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // Fails only when the subscriber is gone, and with it the log.
        let _ = handle.reload(filter(level));
    }
}

/// Changes the role letter of the lines to come.
pub fn set_role(role: Role) {
    ROLE.store(role.letter(), Ordering::Relaxed);
}

/// Lines that could not be written since the start.
pub fn lost_lines() -> u64 {
    LOST_LINES.load(Ordering::Relaxed)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}

struct RedisLine;

impl<S, N> FormatEvent<S, N> for RedisLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let role = char::from(ROLE.load(Ordering::Relaxed));
        let mark = mark(event.metadata().level());
        write!(writer, "{}:{role} {} {mark} ", std::process::id(), LocalTime::of(SystemTime::now()))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn mark(level: &Level) -> char {
    match *level {
        Level::ERROR | Level::WARN => '#',
        Level::INFO => '*',
        Level::DEBUG => '-',
        Level::TRACE => '.',
    }
}

/// A moment in the time zone of the machine, printed as `21 Nov 2026 00:39:10.983`.
struct LocalTime {
    calendar: libc::tm,
    milliseconds: u32,
}

impl LocalTime {
    fn of(moment: SystemTime) -> LocalTime {
        let since_epoch = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = libc::time_t::try_from(since_epoch.as_secs()).unwrap_or(libc::time_t::MAX);
        // SAFETY: `tm` is a C struct of integers and one pointer, for which all zeroes is a valid value.
        let mut calendar: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live locals; the reentrant function keeps neither. It leaves the zeroes when the
        // year does not fit, which then print as the year 1900.
        unsafe { libc::localtime_r(&raw const seconds, &raw mut calendar) };
        LocalTime { calendar, milliseconds: since_epoch.subsec_millis() }
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let time = &self.calendar;
        let month = usize::try_from(time.tm_mon).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"???");
        let year = i64::from(time.tm_year) + 1900;
        let (day, hour, minute, second) = (time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec);
        write!(f, "{day:02} {month} {year} {hour:02}:{minute:02}:{second:02}.{:03}", self.milliseconds)
    }
}

/// Where lines go.
enum Sink {
    Stdout,
    File(Mutex<LogFile>),
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Sink;

    fn make_writer(&'a self) -> &'a Sink {
        self
    }
}

impl Write for &Sink {
    /// Takes a whole line. It always succeeds: nobody above could do more about a failure than count it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = match self {
            Sink::Stdout => io::stdout().lock().write_all(line).and_then(|()| io::stdout().lock().flush()),
            Sink::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).append(line, Instant::now()),
        };
        if written.is_err() {
            LOST_LINES.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log file that follows its path.
struct LogFile {
    path: PathBuf,
    file: File,
    checked: Instant,
}

impl LogFile {
    /// Opens `path`. A relative one is taken from the working directory of this moment, for good.
    fn open(path: &Path) -> Result<LogFile, LogError> {
        let failed = |error| LogError::Open { path: path.to_owned(), error };
        let absolute = std::path::absolute(path).map_err(failed)?;
        let file = append_to(&absolute).map_err(failed)?;
        Ok(LogFile { path: absolute, file, checked: Instant::now() })
    }

    fn append(&mut self, line: &[u8], now: Instant) -> io::Result<()> {
        if now.saturating_duration_since(self.checked) >= REOPEN_CHECK {
            self.checked = now;
            self.follow();
        }
        self.file.write_all(line)
    }

    /// Opens the path anew when another file, or none, is there. When that fails the old file goes on: its lines are at
    /// least somewhere.
    fn follow(&mut self) {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let at_path = std::fs::metadata(&self.path).map(identity).ok();
        let ours = self.file.metadata().map(identity).ok();
        if at_path.is_some() && at_path == ours {
            return;
        }
        if let Ok(file) = append_to(&self.path) {
            self.file = file;
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("basalt-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A subscriber of our own, so that the test does not depend on who set up the global one.
    fn logged(level: LogLevel, log: impl FnOnce(&dyn Fn(LogLevel))) -> String {
        let folder = folder(&format!("logging-{}", level.name()));
        let path = folder.join("log");
        let _ = std::fs::remove_file(&path);
        let sink = Sink::File(Mutex::new(LogFile::open(&path).unwrap()));
        let (filter_layer, handle) = reload::Layer::new(filter(level));
        let lines = tracing_subscriber::fmt::layer().event_format(RedisLine).with_ansi(false).with_writer(sink);
        let subscriber = tracing_subscriber::registry().with(filter_layer).with(lines);
        tracing::subscriber::with_default(subscriber, || log(&|level| handle.reload(filter(level)).unwrap()));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        text
    }

    #[test]
    fn lines_have_the_form_of_redis() {
        let text = logged(LogLevel::Debug, |_| {
            tracing::error!("one");
            tracing::warn!("two");
            tracing::info!(port = 6379, "three");
            tracing::debug!("four");
            tracing::trace!("five");
        });
        let lines: Vec<&str> = text.lines().collect();
        let expected = ["# one", "# two", "* three port=6379", "- four", ". five"];
        assert_eq!(lines.len(), expected.len(), "{text}");
        for (line, expected) in lines.iter().zip(expected) {
            let words: Vec<&str> = line.splitn(6, ' ').collect();
            let [process, day, month, year, time, rest] = words[..] else { panic!("{line}") };
            assert_eq!(process, format!("{}:M", std::process::id()));
            assert!(day.len() == 2 && month.len() == 3 && year.len() == 4 && time.len() == 12, "{line}");
            assert_eq!(rest, expected);
        }
    }

    #[test]
    fn the_level_changes_while_running() {
        let text = logged(LogLevel::Notice, |set_level| {
            tracing::debug!("hidden");
            tracing::info!("first");
            set_level(LogLevel::Verbose);
            tracing::debug!("second");
            set_level(LogLevel::Nothing);
            tracing::error!("hidden");
        });
        let messages: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(messages, ["first", "second"]);
    }

    #[test]
    fn a_moved_file_is_opened_anew() {
        let folder = folder("logging-moved");
        let path = folder.join("log");
        let mut log = LogFile::open(&path).unwrap();
        let start = Instant::now();
        log.append(b"one\n", start).unwrap();
        std::fs::rename(&path, folder.join("log.1")).unwrap();
        log.append(b"two\n", start + REOPEN_CHECK / 2).unwrap();
        log.append(b"three\n", start + REOPEN_CHECK * 2).unwrap();
        std::fs::remove_file(&path).unwrap();
        log.append(b"four\n", start + REOPEN_CHECK * 4).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("log.1")).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_disk_stops_nothing() {
        let before = lost_lines();
        let log = LogFile::open(Path::new("/dev/full")).unwrap();
        let sink = Sink::File(Mutex::new(log));
        assert_eq!((&sink).write(b"line\n").unwrap(), 5);
        assert_eq!(lost_lines(), before + 1);
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_named() {
        let Err(error) = LogFile::open(Path::new("/nonexistent/log")) else { panic!("opened") };
        assert!(error.to_string().starts_with("Can't open the log file /nonexistent/log: No such file"), "{error}");
    }
}
