//! MONITOR's lines, and which arguments of a command are secret.

use std::io::Write;

use crate::commands::Flags;
use crate::resp::Args;
use crate::types::quote::Quoted;

/// What is shown in place of a secret argument, in MONITOR and in the slow log.
pub const REDACTED: &[u8] = b"(redacted)";

/// Config directives whose values are secrets.
const SECRET_DIRECTIVES: [&str; 5] =
    ["requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"];

/// Where a monitored command came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A TCP client's address and port.
    Tcp(&'a str),
    /// The path of the Unix socket.
    Unix(&'a str),
    Script,
}

/// Whether monitors see a command of these flags: all but administrative ones and those marked.
pub fn is_shown(flags: Flags) -> bool {
    !flags.has(Flags::ADMIN) && !flags.has(Flags::SKIP_MONITOR)
}

/// Appends the line for a command: a simple string reply, ready to be sent.
pub fn write_line(line: &mut Vec<u8>, now_us: u64, db: usize, source: Source<'_>, args: &Args<'_>) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(line, "+{}.{:06} [{db} ", now_us / 1_000_000, now_us % 1_000_000);
    let _ = match source {
        Source::Tcp(addr) => write!(line, "{addr}"),
        Source::Unix(path) => write!(line, "unix:{path}"),
        Source::Script => write!(line, "lua"),
    };
    line.push(b']');
    let secrets = secrets(args);
    for i in 0..args.len() {
        let shown = if secrets.hides(i) { REDACTED } else { args.get(i) };
        let _ = write!(line, " {}", Quoted(shown));
    }
    line.extend_from_slice(b"\r\n");
}

/// The arguments of one command that must not be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(Hidden);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Hidden {
    #[default]
    None,
    From(usize),
    At(Vec<usize>),
}

impl Secrets {
    /// Whether argument `i` is one of them.
    pub fn hides(&self, i: usize) -> bool {
        match &self.0 {
            Hidden::None => false,
            Hidden::From(first) => i >= *first,
            Hidden::At(indices) => indices.contains(&i),
        }
    }
}

/// Finds passwords in AUTH, HELLO, MIGRATE, ACL SETUSER and CONFIG SET.
pub fn secrets(args: &Args<'_>) -> Secrets {
    // Nearly every command is none of these: one look at the length keeps it cheap.
    let hidden = match args.get(0).len() {
        3 if args.is(0, "acl") && args.len() > 2 && args.is(1, "setuser") => Hidden::From(2),
        4 if args.is(0, "auth") => Hidden::From(1),
        5 if args.is(0, "hello") => Hidden::At(after_words(args, 2, &[("auth", 2)])),
        6 if args.is(0, "config") && args.len() > 2 && args.is(1, "set") => Hidden::At(secret_values(args)),
        7 if args.is(0, "migrate") => Hidden::At(after_words(args, 6, &[("auth", 1), ("auth2", 2)])),
        _ => Hidden::None,
    };
    Secrets(hidden)
}

/// The arguments behind each of `words` (with how many), looked for from argument `from` on. Words with too few behind
/// them are an error of the client's and hide nothing.
fn after_words(args: &Args<'_>, from: usize, words: &[(&str, usize)]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut i = from;
    while i < args.len() {
        match words.iter().find(|(word, behind)| args.is(i, word) && i + behind < args.len()) {
            Some((_, behind)) => {
                found.extend(i + 1..=i + behind);
                i += behind + 1;
            }
            None => i += 1,
        }
    }
    found
}

fn secret_values(args: &Args<'_>) -> Vec<usize> {
    let names = (2..args.len()).step_by(2);
    names.filter(|&i| SECRET_DIRECTIVES.iter().any(|directive| args.is(i, directive))).map(|i| i + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn line(db: usize, source: Source<'_>, args: &[&[u8]]) -> String {
        let args: OwnedArgs = args.iter().collect();
        let mut line = Vec::new();
        write_line(&mut line, 1_795_221_921_119_641, db, source, &args.args());
        String::from_utf8(line).unwrap()
    }

    /// Lines of redis-server 7.0.15.
    #[test]
    fn lines_are_those_of_redis() {
        let tcp = Source::Tcp("127.0.0.1:49718");
        assert_eq!(line(0, tcp, &[b"keys", b"*"]), "+1795221921.119641 [0 127.0.0.1:49718] \"keys\" \"*\"\r\n");
        assert_eq!(
            line(0, tcp, &[b"set", b"a\x00\x07\x08\t\n\r\"\\\x7f\xff'", "\u{e9}".as_bytes()]),
            "+1795221921.119641 [0 127.0.0.1:49718] \"set\" \"a\\x00\\a\\b\\t\\n\\r\\\"\\\\\\x7f\\xff'\" \"\\xc3\\xa9\"\r\n"
        );
        assert_eq!(line(3, Source::Script, &[b"set", b""]), "+1795221921.119641 [3 lua] \"set\" \"\"\r\n");
        assert_eq!(line(0, Source::Unix("/s"), &[b"ping"]), "+1795221921.119641 [0 unix:/s] \"ping\"\r\n");
    }

    fn shown(words: &str) -> String {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let line = line(0, Source::Script, &words);
        line.trim_end().split_once("] ").unwrap().1.replace('"', "")
    }

    #[test]
    fn secrets_are_hidden_as_redis_hides_them() {
        for (command, text) in [
            ("auth x", "auth (redacted)"),
            ("AUTH default y", "AUTH (redacted) (redacted)"),
            ("hello 3 auth default zz", "hello 3 auth (redacted) (redacted)"),
            ("hello 3 setname a AUTH u p", "hello 3 setname a AUTH (redacted) (redacted)"),
            ("hello 2 auth u", "hello 2 auth u"),
            ("config set masterauth abc maxmemory 0", "config set masterauth (redacted) maxmemory 0"),
            ("acl setuser foo >pw on", "acl setuser (redacted) (redacted) (redacted)"),
            ("migrate h 1 k 0 10 AUTH2 u p KEYS nokey", "migrate h 1 k 0 10 AUTH2 (redacted) (redacted) KEYS nokey"),
            ("migrate h 1 k 0 10 AUTH p", "migrate h 1 k 0 10 AUTH (redacted)"),
            ("acl list", "acl list"),
            ("get auth", "get auth"),
        ] {
            assert_eq!(shown(command), text);
        }
    }

    #[test]
    fn administrative_commands_are_not_shown() {
        assert!(is_shown(Flags::FAST) && !is_shown(Flags::ADMIN | Flags::STALE) && !is_shown(Flags::SKIP_MONITOR));
    }
}
