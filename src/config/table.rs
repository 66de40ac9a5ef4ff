//! The directive table: one row a directive, from which parsing, CONFIG GET, SET and REWRITE and the documentation come.
//!
//! The rows are in two parts: `directives` (what Basalt does, each with a typed field of `Config`) and `absent` (what
//! other Redis-like servers do: accepted where that changes nothing, refused where it would switch something on).

use super::absent;
use super::directives::{self, Config};
use super::values::{Kind, Reason, Setting};
use crate::types::quote::quote;

/// When a directive may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// By CONFIG SET, at any time.
    Runtime,
    /// By CONFIG SET, where `enable-protected-configs` allows it.
    Protected,
    /// Only in the configuration that the server starts with.
    Start,
}

/// What a directive belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    Threads,
    Network,
    Clients,
    Security,
    Memory,
    Expiry,
    Encodings,
    Observability,
    Process,
    Scripting,
    Persistence,
    Replication,
    Cluster,
    Notifications,
    Acl,
    Tls,
    Modules,
    Sentinel,
    Files,
}

impl Feature {
    /// In the order of the documentation.
    pub const ALL: [Feature; 19] = [
        Feature::Files,
        Feature::Threads,
        Feature::Network,
        Feature::Clients,
        Feature::Security,
        Feature::Memory,
        Feature::Expiry,
        Feature::Encodings,
        Feature::Observability,
        Feature::Process,
        Feature::Persistence,
        Feature::Replication,
        Feature::Cluster,
        Feature::Sentinel,
        Feature::Notifications,
        Feature::Scripting,
        Feature::Acl,
        Feature::Tls,
        Feature::Modules,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Feature::Threads => "Cores",
            Feature::Network => "Network",
            Feature::Clients => "Clients",
            Feature::Security => "Security",
            Feature::Memory => "Memory",
            Feature::Expiry => "Expiry and background work",
            Feature::Encodings => "Encodings of data types",
            Feature::Observability => "Logs, slow log, latency",
            Feature::Process => "Process",
            Feature::Scripting => "Scripting",
            Feature::Persistence => "Persistence",
            Feature::Replication => "Replication",
            Feature::Cluster => "Cluster",
            Feature::Notifications => "Keyspace notifications and client-side caching",
            Feature::Acl => "Access control lists",
            Feature::Tls => "TLS",
            Feature::Modules => "Modules",
            Feature::Sentinel => "Sentinel",
            Feature::Files => "Configuration files",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Directive {
    pub name: &'static str,
    /// Older names, equally good everywhere.
    pub aliases: &'static [&'static str],
    pub kind: Kind,
    /// As it would be written in a file.
    pub default: &'static str,
    pub change: Change,
    pub feature: Feature,
    /// One line.
    pub doc: &'static str,
    pub(super) slot: Slot,
}

/// Where a directive's value is.
#[derive(Debug)]
pub(super) enum Slot {
    /// In a field of `Config`.
    Field { store: fn(&Config) -> Setting, load: fn(&mut Config, &Setting) },
    /// Kept only so that it can be read and rewritten: it changes nothing.
    Kept,
    /// Kept, but only one of the values that leave something off which Basalt does not have.
    Off(Off),
    /// No value: a line that the file reader carries out, or refuses.
    Line,
}

/// The condition under which a directive of an absent feature is taken.
#[derive(Debug)]
pub(super) struct Off {
    /// The accepted values, as CONFIG GET prints them. The first is the one to recommend.
    pub values: &'static [&'static str],
    /// What any other value would need.
    pub needs: &'static str,
}

/// Every directive: those that work, then those of absent features.
pub fn all() -> impl Iterator<Item = &'static Directive> {
    directives::WORKING.iter().chain(absent::ABSENT)
}

/// The directive of this name or alias, in any case.
pub fn find(name: &str) -> Option<&'static Directive> {
    all().find(|directive| directive.names().any(|known| known.eq_ignore_ascii_case(name)))
}

impl Directive {
    /// Its name and aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether it holds a value, so that CONFIG GET and SET know it.
    pub fn has_value(&self) -> bool {
        !matches!(self.slot, Slot::Line)
    }

    /// Whether other values than those that change nothing would be refused.
    pub fn is_absent(&self) -> bool {
        matches!(self.slot, Slot::Off(_))
    }

    /// The current value.
    pub fn value(&self, config: &Config) -> Setting {
        match self.slot {
            Slot::Field { store, .. } => store(config),
            Slot::Kept | Slot::Off(_) => config.kept.get(self.name).cloned().unwrap_or_else(|| self.default_value()),
            Slot::Line => Setting::Words(Vec::new()),
        }
    }

    /// The current value as CONFIG GET prints it.
    pub fn show(&self, config: &Config) -> String {
        self.kind.show(&self.value(config))
    }

    /// Gives it the value that `words` say.
    pub(super) fn assign(&self, config: &mut Config, words: &[String]) -> Result<(), Reason> {
        let setting = self.kind.read(words, Some(&self.value(config)))?;
        self.check_off(&setting)?;
        match self.slot {
            Slot::Field { load, .. } => load(config, &setting),
            Slot::Kept | Slot::Off(_) => {
                config.kept.insert(self.name, setting);
            }
            Slot::Line => return Err("Bad directive or wrong number of arguments".into()),
        }
        config.hz = config.hz.clamp(directives::MIN_HZ, directives::MAX_HZ);
        config.repl_backlog_size = config.repl_backlog_size.max(directives::MIN_BACKLOG_BYTES);
        Ok(())
    }

    fn check_off(&self, setting: &Setting) -> Result<(), Reason> {
        let Slot::Off(off) = &self.slot else { return Ok(()) };
        let shown = self.kind.show(setting);
        if off.values.contains(&shown.as_str()) {
            return Ok(());
        }
        Err(format!(
            "'{} {}' needs {}, which this version of Basalt does not have: write '{} {}' or leave it out",
            self.name,
            written(&shown),
            off.needs,
            self.name,
            written(self.default),
        )
        .into())
    }

    /// The value that it has when nothing is said.
    pub fn default_value(&self) -> Setting {
        if let Kind::Directory = self.kind {
            let current = std::env::current_dir().ok().and_then(|path| path.into_os_string().into_string().ok());
            return Setting::Text(current.unwrap_or_else(|| ".".to_owned()));
        }
        let words: Vec<String> = match self.kind.takes_several_words() {
            true => self.default.split_whitespace().map(str::to_owned).collect(),
            false => vec![self.default.to_owned()],
        };
        self.kind.read(&words, None).unwrap_or_else(|reason| panic!("default of {}: {reason}", self.name))
    }
}

/// A shown value as it would stand in a file: only an empty one needs quotes here.
fn written(shown: &str) -> String {
    if shown.is_empty() { quote(b"") } else { shown.to_owned() }
}
