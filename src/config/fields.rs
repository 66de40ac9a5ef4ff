//! The types of `Config`'s fields, and how a setting gets in and out of them.
//!
//! Invariants
//! - the kind of a directive and the type of its field agree: a mistake panics, and the test of the table finds it
//! - a secret is printed by nothing but `Secret::expose`
//!
//! Knows nothing of text: a setting has been read and checked when it comes here.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::values::Setting;

/// A typed field of `Config`, and how a setting gets in and out of it.
pub(super) trait Field {
    fn load(&mut self, setting: &Setting);
    fn store(&self) -> Setting;
}

/// A directive's kind and its field's type disagree: a mistake in the table, which its test finds.
#[cold]
fn table_is_wrong(setting: &Setting) -> ! {
    panic!("the directive table gives this field a value of another kind: {setting:?}")
}

impl Field for bool {
    fn load(&mut self, setting: &Setting) {
        let Setting::Flag(flag) = setting else { table_is_wrong(setting) };
        *self = *flag;
    }

    fn store(&self) -> Setting {
        Setting::Flag(*self)
    }
}

macro_rules! integer_fields {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn load(&mut self, setting: &Setting) {
                let Setting::Number(number) = setting else { table_is_wrong(setting) };
                *self = <$type>::try_from(*number).unwrap_or_else(|_| table_is_wrong(setting));
            }

            fn store(&self) -> Setting {
                Setting::Number(i128::from(*self))
            }
        }
    )*};
}

integer_fields!(u16 u32 u64 i32 i64);

impl Field for String {
    fn load(&mut self, setting: &Setting) {
        let Setting::Text(text) = setting else { table_is_wrong(setting) };
        self.clone_from(text);
    }

    fn store(&self) -> Setting {
        Setting::Text(self.clone())
    }
}

impl Field for PathBuf {
    fn load(&mut self, setting: &Setting) {
        let Setting::Text(text) = setting else { table_is_wrong(setting) };
        *self = PathBuf::from(text);
    }

    fn store(&self) -> Setting {
        Setting::Text(self.to_string_lossy().into_owned())
    }
}

impl Field for Secret {
    fn load(&mut self, setting: &Setting) {
        let Setting::Secret(secret) = setting else { table_is_wrong(setting) };
        self.clone_from(secret);
    }

    fn store(&self) -> Setting {
        Setting::Secret(self.clone())
    }
}

impl Field for OutputLimits {
    fn load(&mut self, setting: &Setting) {
        let Setting::Limits(limits) = setting else { table_is_wrong(setting) };
        *self = *limits;
    }

    fn store(&self) -> Setting {
        Setting::Limits(*self)
    }
}

impl Field for Vec<BindAddress> {
    fn load(&mut self, setting: &Setting) {
        let Setting::Words(words) = setting else { table_is_wrong(setting) };
        *self = words.iter().map(|word| BindAddress::from_word(word)).collect();
    }

    fn store(&self) -> Setting {
        Setting::Words(self.iter().map(BindAddress::to_string).collect())
    }
}

impl Field for Vec<f64> {
    fn load(&mut self, setting: &Setting) {
        let Setting::Words(words) = setting else { table_is_wrong(setting) };
        *self = words.iter().map(|word| word.parse().unwrap_or_else(|_| table_is_wrong(setting))).collect();
    }

    fn store(&self) -> Setting {
        Setting::Words(self.iter().map(f64::to_string).collect())
    }
}

impl Field for [i32; 3] {
    fn load(&mut self, setting: &Setting) {
        let Setting::Words(words) = setting else { table_is_wrong(setting) };
        for (score, word) in self.iter_mut().zip(words) {
            *score = word.parse().unwrap_or_else(|_| table_is_wrong(setting));
        }
    }

    fn store(&self) -> Setting {
        Setting::Words(self.iter().map(i32::to_string).collect())
    }
}

/// A password or the like: it cannot be printed by accident.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    /// Whether there is one at all.
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether `candidate` is the secret, in a time that does not depend on where they differ.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let mut difference = secret.len() ^ candidate.len();
        for (index, byte) in candidate.iter().enumerate() {
            let ours = secret.get(index).copied().unwrap_or(0);
            difference |= usize::from(std::hint::black_box(ours ^ byte));
        }
        difference == 0
    }

    /// The secret itself, for CONFIG GET and REWRITE.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "\"(redacted)\"" } else { "\"\"" })
    }
}

/// One address of `bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// An IP address or host name; `*` is every IPv4 address, `::*` every IPv6 address.
    pub host: String,
    /// Written with a `-`: not having the address is no error.
    pub optional: bool,
}

impl BindAddress {
    fn from_word(word: &str) -> BindAddress {
        match word.strip_prefix('-') {
            Some(host) => BindAddress { host: host.to_owned(), optional: true },
            None => BindAddress { host: word.to_owned(), optional: false },
        }
    }

    /// The socket address to listen on. A host name is looked up, which may block.
    pub fn resolve(&self, port: u16) -> std::io::Result<SocketAddr> {
        let host = match self.host.as_str() {
            "*" => "0.0.0.0",
            "::*" => "::",
            host => host,
        };
        let first = (host, port).to_socket_addrs()?.next();
        first.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::AddrNotAvailable, "the name has no address"))
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.optional { "-" } else { "" }, self.host)
    }
}

/// Where the primary of a replica listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryAddress {
    pub host: String,
    pub port: u16,
}

impl Field for Option<PrimaryAddress> {
    fn load(&mut self, setting: &Setting) {
        let Setting::Words(words) = setting else { table_is_wrong(setting) };
        *self = match words.as_slice() {
            [] => None,
            [host, port] => {
                let port = port.parse().unwrap_or_else(|_| table_is_wrong(setting));
                Some(PrimaryAddress { host: host.clone(), port })
            }
            _ => table_is_wrong(setting),
        };
    }

    fn store(&self) -> Setting {
        let words = |address: &PrimaryAddress| vec![address.host.clone(), address.port.to_string()];
        Setting::Words(self.as_ref().map_or_else(Vec::new, words))
    }
}

/// When a client that does not read its replies is cut off; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    pub hard_bytes: u64,
    /// Passed for `soft_seconds` on end.
    pub soft_bytes: u64,
    pub soft_seconds: u32,
}

/// `client-output-buffer-limit`, by client class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    pub(super) fn class_mut(&mut self, name: &str) -> Option<&mut OutputLimit> {
        match name.to_ascii_lowercase().as_str() {
            "normal" => Some(&mut self.normal),
            "replica" | "slave" => Some(&mut self.replica),
            "pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }

    pub(super) fn show(&self, replica: &str, bytes: impl Fn(u64) -> String) -> Vec<String> {
        let classes = [("normal", self.normal), (replica, self.replica), ("pubsub", self.pubsub)];
        let show = |(name, limit): (&str, OutputLimit)| {
            format!("{name} {} {} {}", bytes(limit.hard_bytes), bytes(limit.soft_bytes), limit.soft_seconds)
        };
        classes.into_iter().map(show).collect()
    }
}

/// An enum whose variants are the words of a `Kind::Choice`.
macro_rules! choice_enum {
    ($(#[$meta:meta])* $name:ident { $first:ident = $first_word:literal, $($variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { #[default] $first, $($variant,)* }

        impl $name {
            /// The words, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$first_word, $($word,)*];

            /// The word of redis.conf.
            pub fn name(self) -> &'static str {
                match self { $name::$first => $first_word, $($name::$variant => $word,)* }
            }
        }

        impl Field for $name {
            fn load(&mut self, setting: &Setting) {
                *self = match setting {
                    Setting::Choice($first_word) => $name::$first,
                    $(Setting::Choice($word) => $name::$variant,)*
                    _ => table_is_wrong(setting),
                };
            }

            fn store(&self) -> Setting {
                Setting::Choice(self.name())
            }
        }
    };
}

choice_enum! {
    /// What happens to keys when `maxmemory` is reached.
    MaxmemoryPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        Noeviction = "noeviction",
    }
}

choice_enum! {
    /// The least important kind of line that is logged.
    LogLevel {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }
}

choice_enum! {
    /// Who may use a command or change a setting that could harm the machine.
    Permission {
        No = "no",
        Yes = "yes",
        Local = "local",
    }
}

choice_enum! {
    /// The service manager that is told about start and stop.
    Supervised {
        Upstart = "upstart",
        Systemd = "systemd",
        Auto = "auto",
        No = "no",
    }
}

choice_enum! {
    /// Whether and how `oom-score-adj-values` is used.
    OomScoreAdj {
        No = "no",
        Yes = "yes",
        Relative = "relative",
        Absolute = "absolute",
    }
}

choice_enum! {
    /// How a replica loads a snapshot of its primary.
    DisklessLoad {
        Disabled = "disabled",
        OnEmptyDb = "on-empty-db",
        Swapdb = "swapdb",
    }
}

choice_enum! {
    /// What a replica does when a command of its primary fails.
    PropagationErrors {
        Ignore = "ignore",
        Panic = "panic",
        PanicOnReplicas = "panic-on-replicas",
    }
}
