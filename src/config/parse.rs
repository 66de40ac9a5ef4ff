//! Reading configuration: files with their includes, standard input, and the command line, each as lines of words.
//!
//! Invariants
//! - a line is carried out when it is read, so the last one that names a directive wins
//! - the first line that cannot be carried out ends the reading, and its error says where it is and what is allowed
//! - nesting of includes and the size of a file are bounded

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::directives::Config;
use super::paths;
use super::table::{self, Directive};
use super::values::{Kind, Reason, system_error};
use crate::types::quote::split_quoted;

/// A file that includes itself ends here, not in a full stack.
const MAX_INCLUDE_DEPTH: usize = 16;
/// Far above any real configuration, far below what would hurt: the file may be a device by mistake.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Farther from every directive than this, an unknown name is not a slip of the pen.
const MAX_SUGGESTION_DISTANCE: usize = 2;

/// Where a line stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    StandardInput,
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::StandardInput => f.write_str("standard input"),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// Why the configuration could not be read.
#[derive(Debug)]
pub enum ConfigError {
    Open { path: PathBuf, error: io::Error },
    StandardInput(io::Error),
    TooLarge { origin: Origin },
    Line(Box<LineError>),
    NowhereToListen,
    CorePorts,
}

/// A line that could not be carried out.
#[derive(Debug)]
pub struct LineError {
    pub origin: Origin,
    /// From 1.
    pub number: usize,
    /// Without what may be a secret.
    pub text: String,
    pub reason: Reason,
    /// What the directive takes, or which name was probably meant.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Open { path, error } => {
                write!(f, "Fatal error, can't open config file '{}': {}", path.display(), system_error(error))
            }
            ConfigError::StandardInput(error) => {
                write!(f, "Fatal error, can't read the configuration from standard input: {}", system_error(error))
            }
            ConfigError::TooLarge { origin } => {
                write!(f, "Fatal error, the configuration in {origin} is larger than {MAX_FILE_BYTES} bytes")
            }
            ConfigError::Line(line) => line.fmt(f),
            ConfigError::NowhereToListen => f.write_str(
                "Configured to not listen anywhere, exiting. Give a 'port' above 0 and an address in 'bind', or a 'unixsocket'.",
            ),
            ConfigError::CorePorts => f.write_str(
                "The ports of the core endpoints would lie above 65535: give a lower 'core-port-base', or write 'core-endpoints no'.",
            ),
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Basalt {}) ***", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "Reading the configuration file, at line {} ({})", self.number, self.origin)?;
        writeln!(f, ">>> '{}'", self.text)?;
        write!(f, "{}", self.reason)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n{hint}"))
    }
}

impl std::error::Error for ConfigError {}

/// Applies sources to a configuration, in the order of the calls.
pub struct Reader {
    config: Config,
}

impl Reader {
    pub fn new() -> Reader {
        Reader { config: Config::default() }
    }

    /// Reads the file, or every file that a pattern names.
    pub fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        self.files(path, 0)
    }

    pub fn stdin(&mut self, input: &mut dyn Read) -> Result<(), ConfigError> {
        let text = read_bounded(input).map_err(|error| match error {
            Some(error) => ConfigError::StandardInput(error),
            None => ConfigError::TooLarge { origin: Origin::StandardInput },
        })?;
        self.text(&Origin::StandardInput, &text, 0)
    }

    /// Lines made of the command line's options.
    pub fn options(&mut self, lines: &[u8]) -> Result<(), ConfigError> {
        self.text(&Origin::CommandLine, lines, 0)
    }

    /// The configuration, after the checks that concern several directives.
    pub fn finish(self) -> Result<Config, ConfigError> {
        let config = self.config;
        if !config.listens_anywhere() {
            return Err(ConfigError::NowhereToListen);
        }
        if config.core_endpoints && config.core_port(config.shards.saturating_sub(1)).is_none() {
            return Err(ConfigError::CorePorts);
        }
        Ok(config)
    }

    fn files(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        if !paths::is_pattern(&path.to_string_lossy()) {
            return self.one_file(path, depth);
        }
        paths::existing(path).iter().try_for_each(|path| self.one_file(path, depth))
    }

    fn one_file(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        let open_error = |error| ConfigError::Open { path: path.to_owned(), error };
        let origin = Origin::File(path.to_owned());
        let mut file = std::fs::File::open(path).map_err(open_error)?;
        let text = read_bounded(&mut file).map_err(|error| match error {
            Some(error) => ConfigError::Open { path: path.to_owned(), error },
            None => ConfigError::TooLarge { origin: origin.clone() },
        })?;
        self.text(&origin, &text, depth)
    }

    fn text(&mut self, origin: &Origin, text: &[u8], depth: usize) -> Result<(), ConfigError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let at_line = |reason: Reason, hint| {
                let text = without_secrets(line);
                ConfigError::Line(Box::new(LineError { origin: origin.clone(), number: index + 1, text, reason, hint }))
            };
            let words = words_of(line).map_err(|reason| at_line(reason, None))?;
            match words.split_first() {
                None => {}
                Some((name, [path])) if name.eq_ignore_ascii_case("include") => {
                    if depth == MAX_INCLUDE_DEPTH {
                        let reason = format!("includes are nested more than {MAX_INCLUDE_DEPTH} deep");
                        return Err(at_line(reason.into(), Some("Does a file include itself?".to_owned())));
                    }
                    let path = self.config.dir.join(path);
                    self.files(&path, depth + 1)?;
                }
                Some((name, arguments)) => {
                    apply(&mut self.config, name, arguments).map_err(|reason| at_line(reason, hint(name)))?;
                }
            }
        }
        Ok(())
    }
}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new()
    }
}

/// All of the input, or `None` as error when it is too large.
fn read_bounded(input: &mut dyn Read) -> Result<Vec<u8>, Option<io::Error>> {
    let mut text = Vec::new();
    input.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(Some)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(None);
    }
    Ok(text)
}

/// The words of a line; values are text, so escapes must not give anything but UTF-8.
pub(super) fn words_of(line: &[u8]) -> Result<Vec<String>, Reason> {
    let words = split_quoted(line).ok_or("Unbalanced quotes in configuration line")?;
    let text = |word| String::from_utf8(word).map_err(|_| "argument must be valid UTF-8".into());
    words.into_iter().map(text).collect()
}

/// The line as it may be shown: a directive that holds a secret without its value.
fn without_secrets(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let name = line.split_ascii_whitespace().next().unwrap_or_default();
    let bare = name.trim_matches(['"', '\'']);
    let holds_secret = table::find(bare).is_some_and(|directive| matches!(directive.kind, Kind::Secret));
    if holds_secret || bare.eq_ignore_ascii_case("user") { format!("{name} (redacted)") } else { line.into_owned() }
}

fn apply(config: &mut Config, name: &str, arguments: &[String]) -> Result<(), Reason> {
    let directive = table::find(name).ok_or("Bad directive or wrong number of arguments")?;
    if directive.has_value() {
        // What takes several words may be given as one, as in `--bind "127.0.0.1 ::1"`.
        return match arguments {
            [all] if directive.kind.takes_several_words() && all.contains(' ') => {
                let words: Vec<String> = all.split(' ').map(str::to_owned).collect();
                directive.assign(config, &words)
            }
            _ => directive.assign(config, arguments),
        };
    }
    match (directive.name, arguments) {
        ("rename-command", [old, new]) => {
            config.rename_command.push((old.clone(), new.clone()));
            Ok(())
        }
        ("user", [name, rules @ ..]) if is_unrestricted_default(name, rules) => Ok(()),
        ("user", [_, _, ..]) => Err("access control lists are not in this version of Basalt: give one password with \
                                  'requirepass', and leave 'user' out"
            .into()),
        ("loadmodule", [_, ..]) => Err("modules are not in this version of Basalt: leave 'loadmodule' out".into()),
        ("sentinel", _) => Err("sentinel directive while not in sentinel mode, which this version of Basalt does not \
                                have: leave it out"
            .into()),
        _ => Err("Bad directive or wrong number of arguments".into()),
    }
}

/// The `user` line that Redis itself writes when no access control is configured.
fn is_unrestricted_default(name: &str, rules: &[String]) -> bool {
    const NO_RESTRICTION: [&str; 7] = ["on", "nopass", "sanitize-payload", "~*", "&*", "+@all", "allcommands"];
    const REQUIRED: [&str; 4] = ["on", "nopass", "~*", "+@all"];
    name == "default"
        && rules.iter().all(|rule| NO_RESTRICTION.contains(&rule.as_str()))
        && REQUIRED.iter().all(|rule| rules.iter().any(|given| given == rule))
}

/// What to write instead.
fn hint(name: &str) -> Option<String> {
    match table::find(name) {
        Some(directive) => Some(format!("{} takes {}", directive.name, directive.kind.allowed())),
        None => nearest(name).map(|directive| format!("Did you mean '{}'?", directive.name)),
    }
}

fn nearest(name: &str) -> Option<&'static Directive> {
    let name = name.to_ascii_lowercase();
    let rated = table::all().map(|directive| (distance(&name, directive.name), directive));
    let (distance, directive) = rated.min_by_key(|(distance, _)| *distance)?;
    (distance <= MAX_SUGGESTION_DISTANCE).then_some(directive)
}

/// Levenshtein distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
