//! The command line: `basalt [file.conf] [--directive value ...] [-]`, with redis-server's rules.
//!
//! The options are turned into lines and read as a configuration file behind the file and standard input, so that the same
//! parser and the same errors serve all three.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{self, Path};

use super::directives::Config;
use super::parse::{ConfigError, Reader};
use crate::types::quote::{quote, split_quoted};

/// What the command line asks for.
#[derive(Debug)]
pub enum Startup {
    /// To serve with this configuration.
    Serve(Box<Config>),
    /// To print this on standard output and end with exit code 0.
    Print(String),
}

/// Why the server cannot start. `Display` is the whole message, for standard error.
#[derive(Debug)]
pub enum CliError {
    Config(ConfigError),
    /// The options that end at once were misused: clap's message.
    Usage(String),
}

impl CliError {
    /// The exit code of the process: 1, as redis-server's.
    pub fn exit_code(&self) -> u8 {
        1
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Config(error) => error.fmt(f),
            CliError::Usage(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for CliError {}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> CliError {
        CliError::Config(error)
    }
}

/// Reads the command line, program name first, and the files and standard input that it names.
pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Startup, CliError> {
    parse(args, &mut std::io::stdin().lock())
}

fn parse(args: impl IntoIterator<Item = OsString>, stdin: &mut dyn Read) -> Result<Startup, CliError> {
    let args: Vec<Vec<u8>> = args.into_iter().skip(1).map(OsString::into_vec).collect();
    match args.first().map(Vec::as_slice) {
        Some(b"-h" | b"--help" | b"-v" | b"--version") => answer(&args),
        _ => Ok(Startup::Serve(Box::new(read(&args, stdin)?))),
    }
}

/// Line of `--version`, in the form of redis-server's.
pub fn version_line() -> String {
    format!("Basalt server v={} malloc=mimalloc bits={}", env!("CARGO_PKG_VERSION"), usize::BITS)
}

const EXAMPLES: &str = "\
Every directive of the configuration file can be given as an option. Order: file, standard input, options; the last one
that names a directive wins.

Examples:
  basalt                                        the default configuration
  basalt /etc/basalt.conf --loglevel verbose
  basalt --port 7777 --maxmemory 2gb --maxmemory-policy allkeys-lfu
  basalt --bind 127.0.0.1 ::1 --shards 4 --core-endpoints yes
  echo 'maxmemory 128mb' | basalt -             the configuration is read from standard input
";

fn answer(args: &[Vec<u8>]) -> Result<Startup, CliError> {
    use clap::{Arg, ArgAction, Command};
    let command = Command::new("basalt")
        .about("A Redis-protocol cache node: all cores serve one key space")
        .override_usage("basalt [FILE] [--DIRECTIVE VALUE...]... [-]")
        .after_help(EXAMPLES)
        .disable_version_flag(true)
        .arg(Arg::new("FILE").help("Configuration file, as redis.conf"))
        .arg(
            Arg::new("DIRECTIVE")
                .long("DIRECTIVE")
                .value_name("VALUE")
                .num_args(1..)
                .help("Any directive, as --port 7777"),
        )
        .arg(Arg::new("version").short('v').long("version").action(ArgAction::SetTrue).help("Print version"));
    let words =
        std::iter::once("basalt".to_owned()).chain(args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()));
    match command.try_get_matches_from(words) {
        Ok(_) => Ok(Startup::Print(version_line() + "\n")),
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => Ok(Startup::Print(error.to_string())),
        Err(error) => Err(CliError::Usage(error.to_string())),
    }
}

fn read(args: &[Vec<u8>], stdin: &mut dyn Read) -> Result<Config, ConfigError> {
    let (file, options) = match args {
        [first, rest @ ..] if !first.starts_with(b"-") => (Some(first), rest),
        _ => (None, args),
    };
    let mut reader = Reader::new();
    let mut path = None;
    if let Some(file) = file {
        let given = OsString::from_vec(file.clone());
        let absolute =
            path::absolute(Path::new(&given)).map_err(|error| ConfigError::Open { path: given.into(), error })?;
        reader.file(&absolute)?;
        path = Some(absolute);
    }
    let options = Options::from_args(options, file.is_none());
    if options.reads_stdin {
        reader.stdin(stdin)?;
    }
    reader.options(options.lines.as_slice())?;
    let mut config = reader.finish()?;
    config.file = path;
    Ok(config)
}

/// The options as lines of a configuration file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    lines: Vec<u8>,
    reads_stdin: bool,
}

impl Options {
    /// `stdin_may_be_first`: there was no file before these arguments, so a leading `-` is standard input too.
    ///
    /// An argument that starts with `--` is an option name, except right behind an option name that has no value yet: then
    /// it is that value. So a password may start with dashes.
    fn from_args(args: &[Vec<u8>], stdin_may_be_first: bool) -> Options {
        let mut options = Options::default();
        let mut value_is_due = false;
        for (index, arg) in args.iter().enumerate() {
            let is_last = index + 1 == args.len();
            if arg == b"-" && (is_last || (index == 0 && stdin_may_be_first)) {
                options.reads_stdin = true;
                continue;
            }
            match arg.strip_prefix(b"--") {
                Some(name) if !value_is_due => {
                    options.start_line(name);
                    let next_is_name = args.get(index + 1).is_none_or(|next| next.starts_with(b"--"));
                    value_is_due = split_quoted(name).is_none_or(|words| words.len() == 1);
                    if value_is_due && next_is_name && name.trim_ascii().eq_ignore_ascii_case(b"save") {
                        // A bare --save means none, as Redis has always taken it.
                        options.add_word(b"");
                        value_is_due = false;
                    }
                }
                _ => {
                    options.add_word(arg);
                    value_is_due = false;
                }
            }
        }
        options
    }

    fn start_line(&mut self, name: &[u8]) {
        if !self.lines.is_empty() {
            self.lines.push(b'\n');
        }
        self.lines.extend_from_slice(name);
    }

    fn add_word(&mut self, word: &[u8]) {
        self.lines.push(b' ');
        self.lines.extend_from_slice(quote(word).as_bytes());
    }
}
