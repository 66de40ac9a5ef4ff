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
    /// Any other text, with its code (`ERR ...`). Bytes, as it may repeat what a client sent.
    Text(Cow<'static, [u8]>),
}

impl Error {
    /// The error with this fixed text, code included.
    pub const fn text(text: &'static str) -> Error {
        Error::Text(Cow::Borrowed(text.as_bytes()))
    }

    /// The error with this composed text, code included.
    pub fn with(text: impl Into<Vec<u8>>) -> Error {
        Error::Text(Cow::Owned(text.into()))
    }

    /// The error with the text made of these pieces, code included.
    pub fn concat(pieces: &[&[u8]]) -> Error {
        Error::with(pieces.concat())
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
        let container = c_string(args.get(0)).to_ascii_uppercase();
        let what: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
        Error::concat(&[what, clipped(args.get(1)), b"'. Try ", &container, b" HELP."])
    }

    /// The reply text without its leading `-`.
    pub fn message(&self) -> &[u8] {
        match self {
            Error::WrongType => b"WRONGTYPE Operation against a key holding the wrong kind of value",
            Error::NotInteger => b"ERR value is not an integer or out of range",
            Error::NotFloat => b"ERR value is not a valid float",
            Error::Syntax => b"ERR syntax error",
            Error::NoSuchKey => b"ERR no such key",
            Error::OutOfRange => b"ERR index out of range",
            Error::OutOfMemory => b"OOM command not allowed when used memory > 'maxmemory'.",
            Error::Text(text) => text,
        }
    }
}

/// The text of an error, as people read it.
impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.message()))
    }
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Error {
        Error::WrongType
    }
}

/// What a command handler returns: its reply is written, or this error is the reply.
pub type Outcome = Result<(), Error>;

/// How much of a word that it does not know an error repeats, and of the words behind it.
pub const ERROR_TEXT_BYTES: usize = 128;

/// `arg` as C reads it: up to its first zero byte.
pub fn c_string(arg: &[u8]) -> &[u8] {
    arg.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The part of a word that an error repeats.
pub fn clipped(word: &[u8]) -> &[u8] {
    let text = c_string(word);
    &text[..text.len().min(ERROR_TEXT_BYTES)]
}
