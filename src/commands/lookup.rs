//! Finding a command by its name, at the pace of the hot path.
//!
//! Each command and subcommand has a dense [`CommandId`], the same in every [`Commands`] of a process: statistics are arrays
//! indexed by it. The subcommands of a command have the ids right behind its own. Names are found in an open-addressing table whose slots hold the whole name, folded to lower case, in two
//! words: a lookup is two loads of the name, a multiplication and, almost always, one comparison. Names over 16 bytes, which only
//! `rename-command` can make, are compared one by one.
//!
//! `rename-command` changes under which name a command is found, nothing else: its id and its full name stay.

use super::error::{ERROR_TEXT_BYTES, c_string, clipped};
use super::{Command, Error, Flags, table};
use crate::resp::Args;

/// The dense index of a command or subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u16);

impl CommandId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why a `rename-command` is refused; the texts are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameError {
    NoSuchCommand,
    TargetExists,
}

impl std::fmt::Display for RenameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RenameError::NoSuchCommand => "No such command in rename-command",
            RenameError::TargetExists => "Target command name already exists",
        })
    }
}

impl std::error::Error for RenameError {}

struct Entry {
    command: &'static Command,
    /// `get`, `client|list`.
    full_name: Box<str>,
    /// The container of a subcommand; any other command is its own.
    container: u16,
}

/// The commands as one server knows them.
pub struct Commands {
    entries: Vec<Entry>,
    /// The names in force, lower case, sorted, with the command each means.
    names: Vec<(Box<[u8]>, CommandId)>,
    index: NameIndex,
}

impl Default for Commands {
    fn default() -> Commands {
        Commands::new()
    }
}

impl Commands {
    /// The whole table, nothing renamed.
    pub fn new() -> Commands {
        let mut entries = Vec::new();
        let mut names: Vec<(Box<[u8]>, CommandId)> = Vec::new();
        for command in table::COMMANDS {
            let id = entries.len() as u16;
            names.push((command.name.as_bytes().into(), CommandId(id)));
            entries.push(Entry { command, full_name: command.name.into(), container: id });
            for sub in command.subcommands {
                let full_name = format!("{}|{}", command.name, sub.name).into();
                entries.push(Entry { command: sub, full_name, container: id });
            }
        }
        names.sort();
        let index = NameIndex::new(&names);
        Commands { entries, names, index }
    }

    /// What `rename-command old new` asks for; an empty `new` disables the command. Renames apply one after the other, so
    /// `old` is a name as it is now.
    pub fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), RenameError> {
        let id = self.find(old).ok_or(RenameError::NoSuchCommand)?;
        let old = old.to_ascii_lowercase();
        let new = new.to_ascii_lowercase();
        if !new.is_empty() && new != old && self.find(&new).is_some() {
            return Err(RenameError::TargetExists);
        }
        self.names.retain(|(name, _)| **name != *old);
        if !new.is_empty() {
            self.names.push((new.into(), id));
            self.names.sort();
        }
        self.index = NameIndex::new(&self.names);
        Ok(())
    }

    /// The command of this name, in any case. Subcommands are found by [`Commands::resolve`] and [`Commands::find_full`].
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<CommandId> {
        match Folded::new(name) {
            Some(folded) => self.index.find(folded),
            None => self.names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, id)| *id),
        }
    }

    /// The command or subcommand of this full name (`get`, `client|list`), in any case.
    pub fn find_full(&self, name: &[u8]) -> Option<CommandId> {
        let mut words = name.split(|byte| *byte == b'|');
        let top = self.find(words.next()?)?;
        match (words.next(), words.next()) {
            (None, _) => Some(top),
            (Some(sub), None) => self.find_subcommand(top, sub),
            (Some(_), Some(_)) => None,
        }
    }

    /// The subcommand of `container` with this name, in any case.
    #[inline]
    pub fn find_subcommand(&self, container: CommandId, name: &[u8]) -> Option<CommandId> {
        let position =
            self.get(container).subcommands.iter().position(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))?;
        Some(CommandId(container.0 + 1 + position as u16))
    }

    /// The command or subcommand that a client calls, or the error that it gets: unknown, or a wrong number of arguments.
    #[inline]
    pub fn resolve(&self, args: &Args<'_>) -> Result<(CommandId, &'static Command), Error> {
        let id = match self.lookup(args) {
            Some(id) => id,
            None => return Err(self.unknown(args)),
        };
        self.check(id, args)
    }

    /// As [`Commands::resolve`], for a command that [`Commands::lookup`] has found: only the number of arguments may be wrong.
    #[inline]
    pub fn check(&self, id: CommandId, args: &Args<'_>) -> Result<(CommandId, &'static Command), Error> {
        let command = self.get(id);
        if command.takes(args.len()) { Ok((id, command)) } else { Err(Error::arity(self.full_name(id))) }
    }

    /// As [`Commands::resolve`], but the number of arguments may be wrong. A container alone is itself.
    #[inline]
    pub fn lookup(&self, args: &Args<'_>) -> Option<CommandId> {
        let top = self.find(args.get(0))?;
        if args.len() == 1 || self.get(top).subcommands.is_empty() {
            return Some(top);
        }
        // DEBUG takes what it has no entry for as well.
        let own = self.get(top).flags.has(Flags::SYSCMD).then_some(top);
        self.find_subcommand(top, args.get(1)).or(own)
    }

    #[cold]
    fn unknown(&self, args: &Args<'_>) -> Error {
        match self.find(args.get(0)) {
            None => unknown_command(args),
            Some(_) => unknown_subcommand(args),
        }
    }

    #[inline]
    pub fn get(&self, id: CommandId) -> &'static Command {
        self.entries[id.index()].command
    }

    /// `get`, `client|list`: the name in statistics, errors and COMMAND INFO, whatever the command was renamed to.
    pub fn full_name(&self, id: CommandId) -> &str {
        &self.entries[id.index()].full_name
    }

    /// The container of a subcommand; a top-level command itself.
    pub fn container(&self, id: CommandId) -> &'static Command {
        self.get(CommandId(self.entries[id.index()].container))
    }

    /// Whether this is the HELP of a container.
    pub fn is_help(&self, id: CommandId) -> bool {
        self.entries[id.index()].container != id.0 && self.get(id).name == "help"
    }

    /// How many ids there are, those of subcommands and of disabled commands included.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The top-level commands that have a name, in the order of the names.
    pub fn named(&self) -> impl ExactSizeIterator<Item = CommandId> {
        self.names.iter().map(|(_, id)| *id)
    }

    /// The subcommands of a command, in the order of the table.
    pub fn subcommands(&self, id: CommandId) -> impl ExactSizeIterator<Item = CommandId> + use<> {
        let first = id.0 + 1;
        (first..first + self.get(id).subcommands.len() as u16).map(CommandId)
    }
}

fn unknown_command(args: &Args<'_>) -> Error {
    let mut shown: Vec<u8> = Vec::new();
    for arg in args.iter_from(1) {
        if shown.len() >= ERROR_TEXT_BYTES {
            break;
        }
        let text = c_string(arg);
        let text = &text[..text.len().min(ERROR_TEXT_BYTES - shown.len())];
        shown.push(b'\'');
        shown.extend_from_slice(text);
        shown.extend_from_slice(b"' ");
    }
    let name = clipped(args.get(0));
    Error::concat(&[b"ERR unknown command '", name, b"', with args beginning with: ", &shown])
}

fn unknown_subcommand(args: &Args<'_>) -> Error {
    let sub = clipped(args.get(1));
    let container = c_string(args.get(0)).to_ascii_uppercase();
    Error::concat(&[b"ERR unknown subcommand '", sub, b"'. Try ", &container, b" HELP."])
}

/// A name of 1 to 16 bytes in lower case: its first and its last bytes, which overlap unless they are needed, and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Folded {
    head: u64,
    tail: u64,
    len: u32,
}

impl Folded {
    const MAX_BYTES: usize = 16;

    #[inline]
    fn new(name: &[u8]) -> Option<Folded> {
        if name.len() > Folded::MAX_BYTES {
            return None;
        }
        let (head, tail) = if let (Some(head), Some(tail)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
        } else if let (Some(head), Some(tail)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (u32::from_le_bytes(*head) as u64, u32::from_le_bytes(*tail) as u64)
        } else {
            let (first, last) = (name.first()?, name.last()?);
            (u64::from_le_bytes([*first, name[name.len() / 2], 0, 0, 0, 0, 0, 0]), *last as u64)
        };
        Some(Folded { head: lower_case(head), tail: lower_case(tail), len: name.len() as u32 })
    }

    #[inline]
    fn hash(self) -> u64 {
        (self.head ^ self.tail.rotate_left(29) ^ self.len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The eight bytes with `A` to `Z` made `a` to `z`: no byte carries into the next, as only the low seven bits are added to.
#[inline]
fn lower_case(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = bytes & (0x7f * EACH);
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let behind_z = low + (0x7f - b'Z' as u64) * EACH;
    let upper = (from_a ^ behind_z) & !bytes & (0x80 * EACH);
    bytes | (upper >> 2)
}

#[derive(Clone, Copy)]
struct Slot {
    name: Folded,
    id: CommandId,
}

/// The names of up to 16 bytes. At most a quarter of the slots are taken, so a search ends soon.
struct NameIndex {
    slots: Box<[Option<Slot>]>,
    shift: u32,
}

impl NameIndex {
    fn new(names: &[(Box<[u8]>, CommandId)]) -> NameIndex {
        let size = (names.len() * 4).next_power_of_two().max(4);
        let mut index = NameIndex { slots: vec![None; size].into(), shift: 64 - size.trailing_zeros() };
        for (name, id) in names {
            if let Some(name) = Folded::new(name) {
                index.insert(Slot { name, id: *id });
            }
        }
        index
    }

    fn insert(&mut self, slot: Slot) {
        let mut at = (slot.name.hash() >> self.shift) as usize;
        while self.slots[at].is_some() {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Some(slot);
    }

    #[inline]
    fn find(&self, name: Folded) -> Option<CommandId> {
        let mut at = (name.hash() >> self.shift) as usize;
        while let Some(slot) = self.slots[at] {
            if slot.name == name {
                return Some(slot.id);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn full_name(commands: &Commands, args: &[&[u8]]) -> Result<String, String> {
        let args: OwnedArgs = args.iter().collect();
        match commands.resolve(&args.args()) {
            Ok((id, command)) => {
                assert!(std::ptr::eq(command, commands.get(id)));
                Ok(commands.full_name(id).to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn resolve(line: &str) -> Result<String, String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        full_name(&Commands::new(), &words)
    }

    #[test]
    fn every_name_is_found_in_any_case() {
        let commands = Commands::new();
        for (i, command) in table::COMMANDS.iter().enumerate() {
            let id = commands.find(command.name.as_bytes()).expect(command.name);
            let mixed: String = command
                .name
                .chars()
                .enumerate()
                .map(|(n, c)| if (n + i) % 2 == 0 { c.to_ascii_uppercase() } else { c })
                .collect();
            assert_eq!(commands.find(mixed.as_bytes()), Some(id));
            assert_eq!(commands.find(command.name.to_uppercase().as_bytes()), Some(id));
            assert_eq!(commands.full_name(id), command.name);
            for sub in command.subcommands {
                let full = format!("{}|{}", command.name, sub.name).to_uppercase();
                let id = commands.find_full(full.as_bytes()).expect(&full);
                assert_eq!(commands.full_name(id), full.to_lowercase());
                assert_eq!(commands.get(id).name, sub.name);
            }
        }
        let subcommands: usize = table::COMMANDS.iter().map(|command| command.subcommands.len()).sum();
        assert_eq!(commands.count(), table::COMMANDS.len() + subcommands);
    }

    #[test]
    fn what_is_no_name_is_not_found() {
        let commands = Commands::new();
        for name in [
            "",
            "g",
            "ge",
            "gett",
            "get\0",
            "\0get",
            "`et",
            "g\x05t",
            "{et",
            "expire\0",
            "bitfield-ro",
            "a-very-long-name-of-nothing",
        ] {
            assert_eq!(commands.find(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(commands.find(&[b'G', b'E', b'T' | 0x80]), None);
        for name in ["client|", "client|kill|x", "get|x", "|get"] {
            assert_eq!(commands.find_full(name.as_bytes()), None, "{name:?}");
        }
    }

    #[test]
    fn folding_is_ascii_lower_case() {
        for byte in 0..=255u8 {
            let name = [byte; 8];
            assert_eq!(lower_case(u64::from_le_bytes(name)), u64::from_le_bytes(name.map(|b| b.to_ascii_lowercase())));
        }
    }

    #[test]
    fn subcommands_and_arity() {
        assert_eq!(resolve("get a").as_deref(), Ok("get"));
        assert_eq!(resolve("Client LIST").as_deref(), Ok("client|list"));
        assert_eq!(resolve("command").as_deref(), Ok("command"));
        assert_eq!(resolve("command docs").as_deref(), Ok("command|docs"));
        let wrong = |name: &str| Err(format!("ERR wrong number of arguments for '{name}' command"));
        assert_eq!(resolve("get"), wrong("get"));
        assert_eq!(resolve("GET a b"), wrong("get"));
        assert_eq!(resolve("client"), wrong("client"));
        assert_eq!(resolve("client KILL"), wrong("client|kill"));
        assert_eq!(resolve("object help x"), wrong("object|help"));
        assert_eq!(resolve("debug"), wrong("debug"));
    }

    #[test]
    fn unknown_commands() {
        let error = |text: &str| Err(text.to_owned());
        assert_eq!(resolve("Client LIST2"), error("ERR unknown subcommand 'LIST2'. Try CLIENT HELP."));
        assert_eq!(resolve("FoO"), error("ERR unknown command 'FoO', with args beginning with: "));
        assert_eq!(resolve("foo a b"), error("ERR unknown command 'foo', with args beginning with: 'a' 'b' "));
        let long = "f".repeat(200);
        let cut = "f".repeat(128);
        assert_eq!(
            resolve(&format!("{long} {long} b")),
            Err(format!("ERR unknown command '{cut}', with args beginning with: '{cut}' "))
        );
        assert_eq!(
            resolve(&format!("foo {} {long} k", "h".repeat(100))),
            Err(format!(
                "ERR unknown command 'foo', with args beginning with: '{}' '{}' ",
                "h".repeat(100),
                "f".repeat(25)
            ))
        );
        assert_eq!(
            resolve(&format!("client {long}")),
            Err(format!("ERR unknown subcommand '{cut}'. Try CLIENT HELP."))
        );
        assert_eq!(
            full_name(&Commands::new(), &[b"fo\0o", b"x\xff"]),
            error("ERR unknown command 'fo', with args beginning with: 'x\u{fffd}' ")
        );
    }

    #[test]
    fn renamed_and_disabled_commands() {
        let mut commands = Commands::new();
        let id = commands.find(b"config").unwrap();
        let count = commands.count();
        let long = b"3f9c1a-a-name-that-nobody-can-guess".as_slice();
        assert_eq!(commands.rename(b"CONFIG", long), Ok(()));
        assert_eq!(commands.rename(b"flushall", b""), Ok(()));
        assert_eq!(commands.find(b"config"), None);
        assert_eq!(commands.find(b"FlushAll"), None);
        assert_eq!(commands.find(&long.to_ascii_uppercase()), Some(id));
        assert_eq!(full_name(&commands, &[long, b"get", b"x"]).as_deref(), Ok("config|get"));
        let upper = String::from_utf8_lossy(long).to_uppercase();
        assert_eq!(full_name(&commands, &[long, b"x"]), Err(format!("ERR unknown subcommand 'x'. Try {upper} HELP.")));
        assert_eq!(commands.rename(b"config", b"x"), Err(RenameError::NoSuchCommand));
        assert_eq!(commands.rename(b"get", b"SET"), Err(RenameError::TargetExists));
        assert_eq!(commands.rename(b"get", b"GET"), Ok(()));
        assert_eq!(commands.rename(b"get", b"flushall"), Ok(()));
        assert_eq!(full_name(&commands, &[b"FLUSHALL", b"k"]).as_deref(), Ok("get"));
        assert_eq!(commands.count(), count);
        assert_eq!(commands.named().count(), table::COMMANDS.len() - 1);
    }
}
