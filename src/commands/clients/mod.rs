//! The CLIENT family and HELLO without their connections: arguments in, decisions and text out.
//!
//! `shard/` holds the connections. It makes a [`ClientInfo`] of each for CLIENT LIST and KILL, which may come from several cores,
//! and does what the parsed requests here say.

mod info;
mod select;
#[cfg(test)]
mod tests;
mod tracking;

pub use info::{ClientFlags, ClientInfo, ClientType, Events};
pub use select::{KillForm, KillRequest, ListRequest};
pub use tracking::{
    NO_SUCH_REDIRECT, Options as TrackingOptions, TrackingRequest, Wanted as TrackingWanted, redirection, set_caching,
    write_tracking_info,
};

use super::Error;
use super::error::c_string;
use super::options::int;
use crate::observe::info::{Mode, REDIS_VERSION};
use crate::resp::{Args, Proto, Writer};
use crate::types::numbers::parse_i64;

fn proto_number(proto: Proto) -> i64 {
    match proto {
        Proto::Resp2 => 2,
        Proto::Resp3 => 3,
    }
}

/// Whether a word is `yes` or `no`, in any case; a syntax error otherwise.
fn parse_word(word: &[u8], yes: &str, no: &str) -> Result<bool, Error> {
    if word.eq_ignore_ascii_case(yes.as_bytes()) {
        Ok(true)
    } else if word.eq_ignore_ascii_case(no.as_bytes()) {
        Ok(false)
    } else {
        Err(Error::Syntax)
    }
}

/// The argument of CLIENT NO-EVICT and CLIENT NO-TOUCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    On,
    Off,
}

impl Switch {
    /// From `on` or `off`.
    pub fn parse(word: &[u8]) -> Result<Switch, Error> {
        parse_word(word, "on", "off").map(|on| if on { Switch::On } else { Switch::Off })
    }
}

/// The argument of CLIENT REPLY. Only `On` is answered itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The next command's reply is left out; no effect while replies are off.
    Skip,
}

impl ReplyMode {
    pub fn parse(word: &[u8]) -> Result<ReplyMode, Error> {
        if word.eq_ignore_ascii_case(b"skip") {
            return Ok(ReplyMode::Skip);
        }
        parse_word(word, "on", "off").map(|on| if on { ReplyMode::On } else { ReplyMode::Off })
    }
}

/// What CLIENT PAUSE holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseMode {
    All,
    Write,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseRequest {
    pub mode: PauseMode,
    /// Unix time; 0 for a timeout of 0, which pauses nobody.
    pub until_ms: i64,
}

impl PauseRequest {
    pub fn parse(args: &Args<'_>, now_ms: i64) -> Result<PauseRequest, Error> {
        let mode = match args.len() {
            3 => PauseMode::All,
            4 if args.is(3, "write") => PauseMode::Write,
            4 if args.is(3, "all") => PauseMode::All,
            4 => return Err(Error::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
            _ => return Err(Error::subcommand_syntax(args)),
        };
        let timeout_ms = parse_i64(args.get(2)).ok_or(Error::text("ERR timeout is not an integer or out of range"))?;
        let until_ms = match timeout_ms {
            ..0 => return Err(Error::text("ERR timeout is negative")),
            0 => 0,
            1.. => now_ms.checked_add(timeout_ms).ok_or(Error::text("ERR timeout is out of range"))?,
        };
        Ok(PauseRequest { mode, until_ms })
    }
}

/// How CLIENT UNBLOCK ends the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnblockReason {
    Timeout,
    /// The waiting command answers with an error.
    Error,
}

/// CLIENT UNBLOCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnblockRequest {
    /// An ID that no client has is answered with 0.
    pub id: i64,
    pub reason: UnblockReason,
}

impl UnblockRequest {
    pub fn parse(args: &Args<'_>) -> Result<UnblockRequest, Error> {
        let reason = match args.len() {
            3 => UnblockReason::Timeout,
            4 if args.is(3, "timeout") => UnblockReason::Timeout,
            4 if args.is(3, "error") => UnblockReason::Error,
            4 => return Err(Error::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
            _ => return Err(Error::subcommand_syntax(args)),
        };
        Ok(UnblockRequest { id: int(args.get(2))?, reason })
    }
}

/// Printable ASCII without blanks, so that a line of CLIENT LIST can be split at blanks.
fn attribute(value: &[u8]) -> Option<String> {
    let plain = value.iter().all(|byte| (b'!'..=b'~').contains(byte));
    if plain { String::from_utf8(value.to_vec()).ok() } else { None }
}

/// A client's name, for CLIENT SETNAME and HELLO; empty removes it.
pub fn parse_name(name: &[u8]) -> Result<String, Error> {
    attribute(name).ok_or(Error::text("ERR Client names cannot contain spaces, newlines or special characters."))
}

/// CLIENT SETINFO; an empty value removes the attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetInfo {
    LibName(String),
    LibVer(String),
}

impl SetInfo {
    /// From the option's name and value.
    pub fn parse(option: &[u8], value: &[u8]) -> Result<SetInfo, Error> {
        let set: fn(String) -> SetInfo = if option.eq_ignore_ascii_case(b"lib-name") {
            SetInfo::LibName
        } else if option.eq_ignore_ascii_case(b"lib-ver") {
            SetInfo::LibVer
        } else {
            return Err(Error::concat(&[b"ERR Unrecognized option '", c_string(option), b"'"]));
        };
        let refused = [b"ERR ", c_string(option), b" cannot contain spaces, newlines or special characters."];
        attribute(value).map(set).ok_or_else(|| Error::concat(&refused))
    }
}

/// What HELLO asks for; to be done in the order of the fields, and nothing of it if authentication fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// User and password.
    pub auth: Option<(&'a [u8], &'a [u8])>,
    pub name: Option<String>,
    /// None: as before.
    pub proto: Option<Proto>,
}

/// HELLO from a client that has to authenticate and did not.
pub const HELLO_NOAUTH: Error = Error::text(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> \
     option can be used to authenticate the client and select the RESP protocol version at the same time",
);

impl<'a> Hello<'a> {
    pub fn parse(args: &Args<'a>) -> Result<Hello<'a>, Error> {
        let mut hello = Hello::default();
        let Some(version) = args.opt(1) else { return Ok(hello) };
        hello.proto = match parse_i64(version) {
            Some(2) => Some(Proto::Resp2),
            Some(3) => Some(Proto::Resp3),
            Some(_) => return Err(Error::text("NOPROTO unsupported protocol version")),
            None => return Err(Error::text("ERR Protocol version is not an integer or out of range")),
        };
        let mut i = 2;
        while i < args.len() {
            if args.is(i, "auth") && i + 2 < args.len() {
                hello.auth = Some((args.get(i + 1), args.get(i + 2)));
                i += 3;
            } else if args.is(i, "setname") && i + 1 < args.len() {
                hello.name = Some(parse_name(args.get(i + 1))?);
                i += 2;
            } else {
                return Err(Error::concat(&[b"ERR Syntax error in HELLO option '", c_string(args.get(i)), b"'"]));
            }
        }
        Ok(hello)
    }
}

/// The reply to HELLO; `out` writes in the protocol agreed on.
pub fn write_hello(out: &mut Writer<'_>, client_id: u64, mode: Mode) {
    out.map(7);
    out.bulk_str("server");
    out.bulk_str("redis");
    out.bulk_str("version");
    out.bulk_str(REDIS_VERSION);
    out.bulk_str("proto");
    out.int(proto_number(out.proto()));
    out.bulk_str("id");
    out.int(client_id as i64);
    out.bulk_str("mode");
    out.bulk_str(mode.name());
    out.bulk_str("role");
    out.bulk_str("master");
    out.bulk_str("modules");
    out.array(0);
}
