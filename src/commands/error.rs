//! What a command can answer instead of a result. The texts are Redis's, byte for byte: clients match on them.

use std::borrow::Cow;

use crate::keyspace::WrongType;
use crate::resp::Args;

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    WrongType,
    NotInteger,
    NotFloat,
    Syntax,
    NoSuchKey,
    OutOfRange,
    OutOfMemory,
    /// Any other text, with its code (`ERR ...`).
    Text(Cow<'static, str>),
}

impl Error {
    /// The error with this fixed text, code included.
    pub const fn text(text: &'static str) -> Error {
        Error::Text(Cow::Borrowed(text))
    }

    /// The error with this composed text, code included.
    pub fn with(text: String) -> Error {
        Error::Text(Cow::Owned(text))
    }

    /// `ERR invalid expire time in 'NAME' command`.
    pub fn invalid_expire(command: &str) -> Error {
        Error::with(format!("ERR invalid expire time in '{command}' command"))
    }

    /// `ERR wrong number of arguments for 'NAME' command`; `name` in lower case, `container|sub` for a subcommand.
    pub fn arity(name: &str) -> Error {
        Error::with(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// A subcommand with a number of arguments that its arity lets through but its syntax does not.
    pub fn subcommand_syntax(args: &Args<'_>) -> Error {
        let (container, subcommand) = (shown(args.get(0)).to_ascii_uppercase(), shown(args.get(1)));
        Error::with(format!(
            "ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try {container} HELP."
        ))
    }

    /// The reply text without its leading `-`.
    pub fn message(&self) -> &str {
        match self {
            Error::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Error::NotInteger => "ERR value is not an integer or out of range",
            Error::NotFloat => "ERR value is not a valid float",
            Error::Syntax => "ERR syntax error",
            Error::NoSuchKey => "ERR no such key",
            Error::OutOfRange => "ERR index out of range",
            Error::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Error::Text(text) => text,
        }
    }
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Error {
        Error::WrongType
    }
}

/// What a command handler returns: its reply is written, or this error is the reply.
pub type Outcome = Result<(), Error>;

/// An argument in an error text: up to its first zero byte, as C prints it.
pub fn shown(arg: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(c_string(arg))
}

/// `arg` as C reads it: up to its first zero byte.
pub fn c_string(arg: &[u8]) -> &[u8] {
    arg.split(|byte| *byte == 0).next().unwrap_or_default()
}
