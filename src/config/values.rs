//! What a directive's value can be: its kinds, and how each is read from words and printed.
//!
//! Invariants
//! - a `Setting` that `Kind::read` returned is within the bounds of that kind
//! - `Kind::read` of the words of `Kind::lines` gives the same setting again (what CONFIG REWRITE depends on)
//!
//! Error texts are Redis 7's. Knows nothing of files, directive names or the command line.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;

use super::events::KeyspaceEvents;
use super::fields::{OutputLimit, OutputLimits, Secret};
use super::template;
use crate::types::numbers::{parse_i64, parse_memory};
use crate::types::quote::quote;

/// Why a value was not taken, in Redis's words.
pub type Reason = Cow<'static, str>;

/// As many addresses as Redis takes in one `bind`.
const MAX_BIND_ADDRESSES: usize = 16;
const OOM_SCORE_LIMIT: i32 = 2000;
const KEYSPACE_EVENT_CLASSES: &str = "Ag$lshzxeKEtmdn";

/// The form of a directive's value, with its bounds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    YesNo,
    Number {
        min: i64,
        max: i64,
    },
    /// Bytes, with the units of redis.conf.
    Bytes {
        min: u64,
        max: u64,
    },
    /// File permissions.
    Octal {
        max: u32,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Several of these words.
    Choices(&'static [&'static str]),
    Text,
    /// An IP address, or nothing.
    IpAddress,
    /// A name without a folder.
    FileName,
    /// An existing folder.
    Directory,
    TitleTemplate,
    Secret,
    Addresses,
    OutputLimits,
    Percentiles,
    OomScores,
    SavePoints,
    KeyspaceEvents,
    /// `host port`, or `no one`.
    Master,
    /// A line of a configuration file that is no value: its syntax.
    Line(&'static str),
}

/// A value, independent of the field that holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    Flag(bool),
    Number(i128),
    Choice(&'static str),
    Text(String),
    Secret(Secret),
    Words(Vec<String>),
    Limits(OutputLimits),
}

impl Kind {
    /// Whether a line may carry several words for it, and CONFIG SET splits its argument at spaces.
    pub fn takes_several_words(&self) -> bool {
        matches!(
            self,
            Kind::Choices(_)
                | Kind::Addresses
                | Kind::OutputLimits
                | Kind::Percentiles
                | Kind::OomScores
                | Kind::SavePoints
                | Kind::Master
        )
    }

    /// The value that `words` say. `current` is what the directive has so far: some kinds change only a part of it.
    pub fn read(&self, words: &[String], current: Option<&Setting>) -> Result<Setting, Reason> {
        if self.takes_several_words() {
            return self.read_several(words, current);
        }
        let [word] = words else { return Err("wrong number of arguments".into()) };
        self.read_one(word, current)
    }

    fn read_one(&self, word: &str, current: Option<&Setting>) -> Result<Setting, Reason> {
        match *self {
            Kind::YesNo => read_flag(word),
            Kind::Number { min, max } => read_number(word, min, max),
            Kind::Bytes { min, max } => read_bytes(word, min, max),
            Kind::Octal { max } => read_octal(word, max),
            Kind::Choice(names) => read_choice(word, names).map(Setting::Choice),
            Kind::Text => Ok(Setting::Text(word.to_owned())),
            Kind::IpAddress if !word.is_empty() && word.parse::<IpAddr>().is_err() => {
                Err("argument must be an IP address".into())
            }
            Kind::IpAddress => Ok(Setting::Text(word.to_owned())),
            Kind::FileName if word.is_empty() || word.contains('/') => {
                Err("dbfilename can't be a path, just a filename".into())
            }
            Kind::FileName => Ok(Setting::Text(word.to_owned())),
            Kind::Directory => read_directory(word, current),
            Kind::TitleTemplate if word.is_empty() || !template::is_valid(word) => {
                Err("template format is invalid or contains unknown variables".into())
            }
            Kind::TitleTemplate => Ok(Setting::Text(word.to_owned())),
            Kind::Secret => Ok(Setting::Secret(Secret::new(word))),
            Kind::KeyspaceEvents => match KeyspaceEvents::parse(word) {
                Some(events) => Ok(Setting::Text(events.letters())),
                None => Err(format!("Invalid event class character. Use '{KEYSPACE_EVENT_CLASSES}'.").into()),
            },
            Kind::Line(_)
            | Kind::Choices(_)
            | Kind::Addresses
            | Kind::OutputLimits
            | Kind::Percentiles
            | Kind::OomScores
            | Kind::SavePoints
            | Kind::Master => Err("wrong number of arguments".into()),
        }
    }

    fn read_several(&self, words: &[String], current: Option<&Setting>) -> Result<Setting, Reason> {
        match self {
            Kind::Choices(names) => read_choices(words, names),
            Kind::Addresses => read_addresses(words),
            Kind::OutputLimits => read_output_limits(words, current),
            Kind::Percentiles => read_percentiles(words),
            Kind::OomScores => read_oom_scores(words),
            Kind::SavePoints => read_save_points(words),
            Kind::Master => read_master(words),
            _ => Err("wrong number of arguments".into()),
        }
    }

    /// The value as CONFIG GET prints it.
    pub fn show(&self, setting: &Setting) -> String {
        match (self, setting) {
            (Kind::Octal { .. }, Setting::Number(number)) => format!("{number:o}"),
            (Kind::KeyspaceEvents, Setting::Text(letters)) => {
                KeyspaceEvents::parse(letters).unwrap_or_default().shown()
            }
            (_, Setting::Flag(flag)) => yes_no(*flag).to_owned(),
            (_, Setting::Number(number)) => number.to_string(),
            (_, Setting::Choice(name)) => (*name).to_owned(),
            (_, Setting::Text(text)) => text.clone(),
            (_, Setting::Secret(secret)) => secret.expose().to_owned(),
            (_, Setting::Words(words)) => words.join(" "),
            (_, Setting::Limits(limits)) => limits.show("slave", |bytes| bytes.to_string()).join(" "),
        }
    }

    /// The value as it is written to a configuration file: what follows the name, one item a line.
    pub fn lines(&self, setting: &Setting) -> Vec<String> {
        match (self, setting) {
            (Kind::Bytes { .. }, Setting::Number(number)) => {
                vec![u64::try_from(*number).map_or_else(|_| number.to_string(), write_bytes)]
            }
            (_, Setting::Text(text)) => vec![quote(text.as_bytes())],
            (_, Setting::Secret(secret)) => vec![quote(secret.expose().as_bytes())],
            (Kind::Master, Setting::Words(words)) if words.is_empty() => vec!["no one".to_owned()],
            (_, Setting::Words(words)) if words.is_empty() => vec![quote(b"")],
            (Kind::SavePoints, Setting::Words(words)) => words.chunks(2).map(|point| point.join(" ")).collect(),
            (_, Setting::Limits(limits)) => limits.show("replica", write_bytes),
            _ => vec![self.show(setting)],
        }
    }

    /// What a value may be, in words for an operator.
    pub fn allowed(&self) -> String {
        match self {
            Kind::YesNo => "yes or no".to_owned(),
            Kind::Number { min, max } => format!("an integer from {min} to {max}"),
            Kind::Bytes { min, max: u64::MAX } | Kind::Bytes { min, max: MAX_SIGNED } if *min == 0 => {
                "a size in bytes, or with a unit: 1k = 1000, 1kb = 1024, likewise m, mb, g, gb".to_owned()
            }
            Kind::Bytes { min, max: u64::MAX } | Kind::Bytes { min, max: MAX_SIGNED } => {
                format!("a size of {min} bytes or more, or with a unit: 1k = 1000, 1kb = 1024, likewise m, mb, g, gb")
            }
            Kind::Bytes { min, max } => format!("a size from {min} to {max} bytes, or with a unit such as 64kb"),
            Kind::Octal { max } => format!("octal permissions from 0 to {max:o}"),
            Kind::Choice(names) => format!("one of {}", names.join(", ")),
            Kind::Choices(names) => format!("some of {}", names.join(", ")),
            Kind::Text => "text".to_owned(),
            Kind::IpAddress => "an IP address; empty for none".to_owned(),
            Kind::FileName => "a file name without a path".to_owned(),
            Kind::Directory => "an existing directory".to_owned(),
            Kind::TitleTemplate => format!("text with the variables {}", template::VARIABLES.map(braced).join(", ")),
            Kind::Secret => "a password; empty for none".to_owned(),
            Kind::Addresses => {
                format!("up to {MAX_BIND_ADDRESSES} addresses; * and ::* stand for all, a leading - makes one optional")
            }
            Kind::OutputLimits => "normal|replica|pubsub HARD-LIMIT SOFT-LIMIT SOFT-SECONDS, several times".to_owned(),
            Kind::Percentiles => "percentiles from 0 to 100, or \"\" for none".to_owned(),
            Kind::OomScores => format!("three integers from -{OOM_SCORE_LIMIT} to {OOM_SCORE_LIMIT}"),
            Kind::SavePoints => "SECONDS CHANGES, several times, or \"\" for none".to_owned(),
            Kind::KeyspaceEvents => format!("letters of {KEYSPACE_EVENT_CLASSES}, or \"\" for none"),
            Kind::Master => "HOST PORT, or no one".to_owned(),
            Kind::Line(syntax) => (*syntax).to_owned(),
        }
    }
}

/// The largest size that Redis's signed 64-bit directives take.
pub(super) const MAX_SIGNED: u64 = i64::MAX as u64;

fn braced(name: &str) -> String {
    format!("{{{name}}}")
}

fn yes_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

fn read_flag(word: &str) -> Result<Setting, Reason> {
    match () {
        () if word.eq_ignore_ascii_case("yes") => Ok(Setting::Flag(true)),
        () if word.eq_ignore_ascii_case("no") => Ok(Setting::Flag(false)),
        () => Err("argument must be 'yes' or 'no'".into()),
    }
}

fn read_number(word: &str, min: i64, max: i64) -> Result<Setting, Reason> {
    let number = parse_i64(word.as_bytes()).ok_or("argument couldn't be parsed into an integer")?;
    within(i128::from(number), i128::from(min), i128::from(max))
}

fn within(number: i128, min: i128, max: i128) -> Result<Setting, Reason> {
    if (min..=max).contains(&number) {
        return Ok(Setting::Number(number));
    }
    Err(format!("argument must be between {min} and {max} inclusive").into())
}

fn read_bytes(word: &str, min: u64, max: u64) -> Result<Setting, Reason> {
    let bytes = parse_memory(word.as_bytes()).ok_or("argument must be a memory value")?;
    within(i128::from(bytes), i128::from(min), i128::from(max))
}

/// A size with the largest unit that divides it, as CONFIG REWRITE writes it.
fn write_bytes(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}gb", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}mb", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}kb", bytes >> 10),
        _ => bytes.to_string(),
    }
}

fn read_octal(word: &str, max: u32) -> Result<Setting, Reason> {
    let all_octal = !word.is_empty() && word.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let number = all_octal.then(|| u32::from_str_radix(word, 8).ok()).flatten();
    let number = number.ok_or("argument couldn't be parsed as an octal number")?;
    if number > max {
        return Err(format!("argument must be between 0 and {max:o} inclusive").into());
    }
    Ok(Setting::Number(i128::from(number)))
}

fn read_choice(word: &str, names: &'static [&'static str]) -> Result<&'static str, Reason> {
    let name = names.iter().find(|name| name.eq_ignore_ascii_case(word)).copied();
    name.ok_or_else(|| format!("argument(s) must be one of the following: {}", names.join(", ")).into())
}

/// Of the only kind that combines words: what a shutdown by signal does.
fn read_choices(words: &[String], names: &'static [&'static str]) -> Result<Setting, Reason> {
    if words.is_empty() {
        return Err("wrong number of arguments".into());
    }
    let chosen: Vec<&str> = words.iter().map(|word| read_choice(word, names)).collect::<Result<_, _>>()?;
    if chosen.contains(&"save") && chosen.contains(&"nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    let in_table_order = names.iter().filter(|name| chosen.contains(name)).map(|&name| name.to_owned());
    Ok(Setting::Words(in_table_order.collect()))
}

/// Redis changes its working directory at once, so a relative path is relative to the directory named last.
fn read_directory(word: &str, current: Option<&Setting>) -> Result<Setting, Reason> {
    let base = match current {
        Some(Setting::Text(directory)) => Path::new(directory),
        _ => Path::new("."),
    };
    let path = base.join(word).canonicalize().map_err(|error| system_error(&error))?;
    if !path.is_dir() {
        return Err("Not a directory".into());
    }
    let text = path.into_os_string().into_string().map_err(|_| "the path is not valid UTF-8")?;
    Ok(Setting::Text(text))
}

/// What the kernel says, without Rust's error number behind it.
pub(super) fn system_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn no_words(words: &[String]) -> bool {
    matches!(words, [] | [_] if words.iter().all(String::is_empty))
}

fn read_addresses(words: &[String]) -> Result<Setting, Reason> {
    if words.len() > MAX_BIND_ADDRESSES {
        return Err("Too many bind addresses specified.".into());
    }
    if no_words(words) {
        return Ok(Setting::Words(Vec::new()));
    }
    let well_formed = |word: &String| {
        let host = word.strip_prefix('-').unwrap_or(word);
        !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if !words.iter().all(well_formed) {
        return Err("argument must be a list of addresses".into());
    }
    Ok(Setting::Words(words.to_vec()))
}

fn read_output_limits(words: &[String], current: Option<&Setting>) -> Result<Setting, Reason> {
    let mut limits = match current {
        Some(Setting::Limits(limits)) => *limits,
        _ => OutputLimits::default(),
    };
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for group in words.chunks_exact(4) {
        let class =
            limits.class_mut(&group[0]).ok_or("Invalid client class specified in buffer limit configuration.")?;
        let read = (parse_memory(group[1].as_bytes()), parse_memory(group[2].as_bytes()), group[3].parse::<i32>().ok());
        let (Some(hard_bytes), Some(soft_bytes), Some(seconds @ 0..)) = read else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
        };
        *class = OutputLimit { hard_bytes, soft_bytes, soft_seconds: seconds.unsigned_abs() };
    }
    Ok(Setting::Limits(limits))
}

fn read_percentiles(words: &[String]) -> Result<Setting, Reason> {
    if no_words(words) {
        return Ok(Setting::Words(Vec::new()));
    }
    let read = |word: &String| -> Result<String, Reason> {
        let number: f64 = word.parse().map_err(|_| "Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&number) {
            return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
        }
        let text = format!("{number:.6}");
        Ok(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    };
    words.iter().map(read).collect::<Result<_, _>>().map(Setting::Words)
}

fn read_oom_scores(words: &[String]) -> Result<Setting, Reason> {
    if words.len() != 3 {
        return Err("wrong number of arguments".into());
    }
    let limits = -OOM_SCORE_LIMIT..=OOM_SCORE_LIMIT;
    if words.iter().all(|word| word.parse::<i32>().is_ok_and(|score| limits.contains(&score))) {
        return Ok(Setting::Words(words.to_vec()));
    }
    Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into())
}

fn read_save_points(words: &[String]) -> Result<Setting, Reason> {
    if no_words(words) {
        return Ok(Setting::Words(Vec::new()));
    }
    let valid = |point: &[String]| {
        let numbers = point.iter().map(|word| word.parse::<i64>().ok());
        numbers.zip([1, 0]).all(|(number, least)| number.is_some_and(|number| number >= least))
    };
    if words.len().is_multiple_of(2) && words.chunks(2).all(valid) {
        return Ok(Setting::Words(words.to_vec()));
    }
    Err("Invalid save parameters".into())
}

fn read_master(words: &[String]) -> Result<Setting, Reason> {
    let [host, port] = words else { return Err("wrong number of arguments".into()) };
    if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") {
        return Ok(Setting::Words(Vec::new()));
    }
    match port.parse::<u16>() {
        Ok(_) => Ok(Setting::Words(words.to_vec())),
        Err(_) => Err("Invalid master port".into()),
    }
}
