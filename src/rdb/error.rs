//! What can be wrong with RDB data, and where.

use std::fmt;

use super::stream::Flaw;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The data ends in the middle of something that is at least so many bytes longer. To the stream readers: more has to come.
    Incomplete {
        missing: u64,
    },
    Magic,
    Version(u32),
    /// A byte that begins no length.
    LengthForm(u8),
    /// A special encoding where only a length can stand.
    NotALength(u8),
    StringEncoding(u8),
    StringLength {
        len: u64,
        max: u64,
    },
    Lzf,
    /// A collection without elements, which no key can hold.
    Empty,
    /// A stream whose parts do not fit together.
    Stream(Flaw),
    /// A collection in a packed form that is damaged.
    Packed,
    NotAScore,
    /// A part of a value of which there is no beginning, or one of another type.
    PartOfAnother,
    /// An element stands twice in its collection.
    DuplicateElement,
    /// More bytes than the value takes.
    Trailing,
    /// A type of value that cannot be loaded here, or that does not exist.
    Type(u8),
    /// Data that a module keeps beside the keys.
    ModuleData {
        id: u64,
    },
    /// Functions in the form of a release candidate of Redis 7.
    OldFunctions,
    /// Expiry or access time, and then no key.
    NoKey(u8),
    Checksum {
        computed: u64,
        stored: u64,
    },
    FrameMagic,
    FrameMark(u32),
    FrameLength {
        len: u64,
        max: u64,
    },
    FrameChecksum {
        computed: u64,
        stored: u64,
    },
    Lz4,
    FrameRecords {
        announced: u64,
    },
    Totals {
        announced: (u64, u64),
        counted: (u64, u64),
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::Incomplete { missing } => write!(f, "the data ends at least {missing} bytes too early"),
            Reason::Magic => f.write_str("wrong signature, this is no RDB data"),
            Reason::Version(version) => write!(f, "can't handle RDB format version {version}"),
            Reason::LengthForm(byte) => write!(f, "no length begins with the byte {byte:#04x}"),
            Reason::NotALength(encoding) => write!(f, "a length was expected, not the special encoding {encoding}"),
            Reason::StringEncoding(encoding) => write!(f, "unknown string encoding {encoding}"),
            Reason::StringLength { len, max } => write!(f, "string length {len} exceeds proto-max-bulk-len {max}"),
            Reason::Lzf => f.write_str("a string's LZF compression is damaged"),
            Reason::Empty => f.write_str("a collection without elements"),
            Reason::Stream(flaw) => flaw.fmt(f),
            Reason::Packed => f.write_str("a packed collection is damaged"),
            Reason::PartOfAnother => f.write_str("a part of a value without its beginning"),
            Reason::NotAScore => f.write_str("a score that is no number"),
            Reason::DuplicateElement => f.write_str("an element stands twice in its collection"),
            Reason::Trailing => f.write_str("a value is followed by more bytes"),
            Reason::Type(kind) => match super::value::type_name(kind) {
                Some(name) => write!(f, "{name} values are not supported (RDB type {kind})"),
                None => write!(f, "unknown RDB type {kind}"),
            },
            Reason::ModuleData { id } => {
                write!(f, "data of the module '{}' is not supported", ModuleName(id))
            }
            Reason::OldFunctions => f.write_str("functions in a pre-release format are not supported"),
            Reason::NoKey(opcode) => {
                write!(f, "a key was expected behind its expiry or access time, not {opcode:#04x}")
            }
            Reason::Checksum { computed, stored } => {
                write!(f, "wrong checksum: the data has {computed:016x}, {stored:016x} was stored with it")
            }
            Reason::FrameMagic => f.write_str("the snapshot begins with no preamble of frames, or with a damaged one"),
            Reason::FrameMark(mark) => write!(f, "no frame begins with the mark {mark:#010x}"),
            Reason::FrameLength { len, max } => write!(f, "frame length {len} exceeds {max}"),
            Reason::FrameChecksum { computed, stored } => {
                write!(f, "wrong checksum of a frame: it has {computed:016x}, {stored:016x} was stored in it")
            }
            Reason::Lz4 => f.write_str("a frame's LZ4 compression is damaged"),
            Reason::FrameRecords { announced } => {
                write!(f, "a frame does not hold the {announced} records it announced")
            }
            Reason::Totals { announced, counted } => write!(
                f,
                "{} records in {} frames were announced, {} in {} have come",
                announced.1, announced.0, counted.1, counted.0
            ),
        }
    }
}

impl std::error::Error for Reason {}

/// A module's name, nine characters of six bits each, above ten bits of version.
struct ModuleName(u64);

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..9).try_for_each(|i| {
            let index = self.0 >> (10 + 6 * (8 - i)) & 63;
            write!(f, "{}", char::from(CHARACTERS[index as usize]))
        })
    }
}

/// What is wrong, and how many bytes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    pub offset: u64,
    pub reason: Reason,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RDB: at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where_and_what() {
        let long = Reason::StringLength { len: 5_000_000_000, max: 536_870_912 };
        let text = Error { offset: 1234, reason: long }.to_string();
        assert_eq!(text, "RDB: at byte 1234: string length 5000000000 exceeds proto-max-bulk-len 536870912");
        assert_eq!(Reason::Type(18).to_string(), "list values are not supported (RDB type 18)");
        assert_eq!(Reason::Type(99).to_string(), "unknown RDB type 99");
        // As RedisJSON's are.
        let id = b"ReJSON-RL".iter().fold(0u64, |id, &character| {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            id << 6 | alphabet.iter().position(|&other| other == character).unwrap() as u64
        });
        let text = Reason::ModuleData { id: id << 10 | 3 }.to_string();
        assert_eq!(text, "data of the module 'ReJSON-RL' is not supported");
    }
}
