//! The argument trees of COMMAND DOCS, read from the syntax lines of the command table.
//!
//! A line is written as the Redis command pages write theirs:
//!
//! - `WORD` in capitals is a token, `word` a value; a token takes the values behind it, or the choice behind it
//! - `[...]` is optional, `<...>` groups, `|` separates alternatives within either
//! - `...` says that what stands before it within its brackets repeats; `key [key ...]` and `key value [key value ...]` say
//!   the same of what stands before the bracket, and `[GET x [GET x ...]]` that the token is repeated too
//!
//! What the line cannot say follows from tables: the type of a value from its name, the name of a group from what is in it.

use std::borrow::Cow;

use super::Command;

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Key,
    String,
    Integer,
    Double,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl Kind {
    /// The name COMMAND DOCS prints.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Key => "key",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }

    /// Whether an argument of this type consists of others.
    pub fn is_group(self) -> bool {
        matches!(self, Kind::OneOf | Kind::Block)
    }
}

/// Whether an argument may be given several times, and whether its token then is, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Once,
    Values,
    TokenAndValues,
}

/// One argument, with those it consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: Cow<'static, str>,
    /// What a hint shows for a single value.
    pub display: Cow<'static, str>,
    pub kind: Kind,
    pub token: Option<&'static str>,
    /// Of a key: which of the command's key specifications finds it.
    pub key_spec: Option<usize>,
    pub optional: bool,
    pub repeat: Repeat,
    pub arguments: Vec<Argument>,
}

/// The arguments of a command. Panics when its syntax line is malformed, which a test rules out.
pub fn arguments(command: &Command) -> Vec<Argument> {
    match Parser::new(command.syntax).line() {
        Ok(line) => Builder { command, keys: 0 }.sequence(&line),
        Err(error) => panic!("syntax of {}: {error}", command.name),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Word(&'static str),
    Optional(Vec<Vec<Node>>),
    Choice(Vec<Vec<Node>>),
    /// `...`
    More,
}

#[derive(Debug, PartialEq, Eq)]
enum SyntaxError {
    UnexpectedEnd,
    Unexpected(char),
    Empty,
}

impl std::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SyntaxError::UnexpectedEnd => f.write_str("a bracket is not closed"),
            SyntaxError::Unexpected(c) => write!(f, "unexpected '{c}'"),
            SyntaxError::Empty => f.write_str("an alternative is empty"),
        }
    }
}

struct Parser {
    rest: &'static str,
}

impl Parser {
    fn new(line: &'static str) -> Parser {
        Parser { rest: line }
    }

    fn line(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let nodes = self.sequence()?;
        match self.peek() {
            None => Ok(nodes),
            Some(c) => Err(SyntaxError::Unexpected(c)),
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn sequence(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let mut nodes = Vec::new();
        loop {
            match self.peek() {
                Some('[') => nodes.push(Node::Optional(self.alternatives(']')?)),
                Some('<') => nodes.push(Node::Choice(self.alternatives('>')?)),
                None | Some(']' | '>' | '|') => return Ok(nodes),
                Some(_) => nodes.push(self.word()),
            }
        }
    }

    fn alternatives(&mut self, close: char) -> Result<Vec<Vec<Node>>, SyntaxError> {
        let mut alternatives = Vec::new();
        loop {
            self.rest = &self.rest[1..];
            let sequence = self.sequence()?;
            if sequence.is_empty() {
                return Err(SyntaxError::Empty);
            }
            alternatives.push(sequence);
            match self.peek() {
                Some('|') => {}
                Some(c) if c == close => break,
                Some(c) => return Err(SyntaxError::Unexpected(c)),
                None => return Err(SyntaxError::UnexpectedEnd),
            }
        }
        self.rest = &self.rest[1..];
        Ok(alternatives)
    }

    fn word(&mut self) -> Node {
        let end = self.rest.find(|c: char| c.is_whitespace() || "[]<>|".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word == "..." { Node::More } else { Node::Word(word) }
    }
}

fn is_token(word: &str) -> bool {
    symbol_name(word).is_some()
        || word.starts_with(|c: char| c.is_ascii_uppercase()) && !word.contains(|c: char| c.is_ascii_lowercase())
}

/// What a token is called that is a symbol.
fn symbol_name(word: &str) -> Option<&'static str> {
    match word {
        "*" => Some("auto-id"),
        "$" => Some("new-id"),
        "=" => Some("equal"),
        "~" => Some("approximately"),
        _ => None,
    }
}

struct Builder<'a> {
    command: &'a Command,
    /// How many keys were seen.
    keys: usize,
}

impl Builder<'_> {
    fn sequence(&mut self, nodes: &[Node]) -> Vec<Argument> {
        let mut arguments = Vec::new();
        // Where in `nodes` each argument begins, to find what a repetition repeats.
        let mut begins = Vec::new();
        let mut i = 0;
        while i < nodes.len() {
            if let Some(repeated) = repetition(nodes, i) {
                let from = begins.iter().rposition(|begin| *begin <= i - repeated).unwrap_or(0);
                // A token that is not repeated with its values stays outside.
                let with_token = matches!(nodes[i - repeated], Node::Word(word) if is_token(word));
                let repeat = if with_token { Repeat::TokenAndValues } else { Repeat::Values };
                self.repeat(&mut arguments, from, repeat);
                begins.truncate(from + 1);
                i += 1;
                continue;
            }
            begins.push(i);
            let (argument, used) = self.argument(&nodes[i..]);
            arguments.push(argument);
            i += used;
        }
        arguments
    }

    /// Makes the arguments from `from` on one that repeats.
    fn repeat(&mut self, arguments: &mut Vec<Argument>, from: usize, repeat: Repeat) {
        let mut repeated = one(arguments.split_off(from));
        repeated.repeat = repeat;
        arguments.push(repeated);
    }

    /// The argument at the begin of `nodes`, and how many of them it takes.
    fn argument(&mut self, nodes: &[Node]) -> (Argument, usize) {
        match &nodes[0] {
            Node::Word(word) if is_token(word) => self.behind_token(word, &nodes[1..]),
            Node::Word(word) => (self.value(word), 1),
            Node::Choice(alternatives) => (self.choice(alternatives), 1),
            Node::Optional(alternatives) => {
                let mut argument = self.choice(alternatives);
                argument.optional = true;
                (argument, 1)
            }
            Node::More => unreachable!("the caller takes repetitions"),
        }
    }

    fn choice(&mut self, alternatives: &[Vec<Node>]) -> Argument {
        let mut arguments = Vec::new();
        for alternative in alternatives {
            let sequence = self.sequence(alternative);
            arguments.push(one(sequence));
        }
        match arguments.len() {
            1 => arguments.remove(0),
            _ => group(Kind::OneOf, choice_name(&arguments), arguments),
        }
    }

    /// A token with the values, or else the choice, behind it.
    fn behind_token(&mut self, token: &'static str, nodes: &[Node]) -> (Argument, usize) {
        let mut values = Vec::new();
        for node in nodes {
            match node {
                Node::Word(word) if !is_token(word) => values.push(self.value(word)),
                Node::Word(_) | Node::Optional(_) | Node::Choice(_) | Node::More => break,
            }
        }
        let used = values.len();
        let (mut argument, used) = match (values.len(), nodes.first()) {
            (0, Some(Node::Choice(alternatives))) => {
                let mut argument = self.choice(alternatives);
                if argument.kind == Kind::Block {
                    argument.name = block_name(Some(token), &argument.arguments);
                }
                (argument, 1)
            }
            (0, _) => {
                let name = symbol_name(token).map_or_else(|| token.to_ascii_lowercase().into(), Cow::Borrowed);
                (leaf(name.clone(), name, Kind::PureToken), 0)
            }
            (1, _) => (values.remove(0), used),
            (_, _) => (group(Kind::Block, block_name(Some(token), &values), values), used),
        };
        argument.token = Some(token);
        // The repetition of the values alone, `ID client-id [client-id ...]`, is within the token's argument.
        let repeats = matches!(nodes.get(used), Some(Node::Optional(_))) && repetition(nodes, used) == Some(used);
        if repeats {
            argument.repeat = Repeat::Values;
            return (named_by_token(argument, token), used + 2);
        }
        (named_by_token(argument, token), used + 1)
    }

    fn value(&mut self, word: &'static str) -> Argument {
        let name = if word == "ip:port" { "old-format" } else { word };
        let mut argument = leaf(name.into(), word.into(), self.kind(word));
        if argument.kind == Kind::Key {
            // Keys come in the order of the specifications; the last one finds all that are left.
            argument.key_spec = Some(self.keys.min(self.command.keys.len() - 1));
            self.keys += 1;
        }
        argument
    }

    fn kind(&self, word: &str) -> Kind {
        let special = (self.command.name, word);
        if let Some((_, kind)) = SPECIAL_KINDS.iter().find(|(known, _)| *known == special) {
            return *kind;
        }
        match word {
            "key" | "key1" | "key2" | "source" | "destination" | "destkey" | "newkey"
                if !self.command.keys.is_empty() =>
            {
                Kind::Key
            }
            "unix-time-seconds" | "unix-time-milliseconds" => Kind::UnixTime,
            "pattern" => Kind::Pattern,
            _ if INTEGERS.contains(&word) => Kind::Integer,
            _ if DOUBLES.contains(&word) => Kind::Double,
            _ => Kind::String,
        }
    }
}

/// How many nodes before `nodes[at]` it says to repeat, when it does: `...` repeats all, `[x y ...]` an `x y` before it.
fn repetition(nodes: &[Node], at: usize) -> Option<usize> {
    match &nodes[at] {
        Node::More => Some(at),
        Node::Optional(alternatives) => match alternatives.as_slice() {
            [sequence] => {
                let (last, repeated) = sequence.split_last()?;
                (*last == Node::More && !repeated.is_empty() && nodes[..at].ends_with(repeated))
                    .then_some(repeated.len())
            }
            _ => None,
        },
        Node::Word(_) | Node::Choice(_) => None,
    }
}

fn leaf(name: Cow<'static, str>, display: Cow<'static, str>, kind: Kind) -> Argument {
    Argument {
        name,
        display,
        kind,
        token: None,
        key_spec: None,
        optional: false,
        repeat: Repeat::Once,
        arguments: Vec::new(),
    }
}

/// One argument for a sequence: itself if it is alone, else a block.
fn one(mut arguments: Vec<Argument>) -> Argument {
    match arguments.len() {
        1 => arguments.remove(0),
        _ => group(Kind::Block, block_name(None, &arguments), arguments),
    }
}

fn group(kind: Kind, name: Cow<'static, str>, arguments: Vec<Argument>) -> Argument {
    Argument { arguments, ..leaf(name, "".into(), kind) }
}

/// A value that is shown as `ip:port` is named by its token: a colon is for the eye only.
fn named_by_token(mut argument: Argument, token: &'static str) -> Argument {
    if argument.display.contains(':') {
        argument.name = token.to_ascii_lowercase().into();
    }
    argument
}

/// What an alternative begins with.
fn lead(argument: &Argument) -> &str {
    argument.token.or(argument.arguments.first().map(lead)).unwrap_or(&argument.name)
}

fn choice_name(alternatives: &[Argument]) -> Cow<'static, str> {
    let leads = alternatives.iter().map(lead).collect::<Vec<_>>().join("|");
    match CHOICE_NAMES.iter().find(|(begin, _)| leads.starts_with(begin)) {
        Some((_, name)) => (*name).into(),
        None => leads.to_ascii_lowercase().replace('|', "-").into(),
    }
}

fn block_name(token: Option<&str>, arguments: &[Argument]) -> Cow<'static, str> {
    let begin = token.or(arguments.first().map(lead)).unwrap_or_default();
    match BLOCK_NAMES.iter().find(|(known, _)| *known == begin) {
        Some((_, name)) => (*name).into(),
        None => arguments.iter().map(|argument| &*argument.name).collect::<Vec<_>>().join("-").into(),
    }
}

/// Values that are integers wherever they occur.
const INTEGERS: &[&str] = &[
    "bit",
    "client-id",
    "count",
    "cursor",
    "db",
    "decrement",
    "destination-db",
    "end",
    "entries-added",
    "entriesread",
    "frequency",
    "increment",
    "index",
    "limit",
    "milliseconds",
    "min-match-len",
    "ms",
    "numkeys",
    "offset",
    "protover",
    "seconds",
    "slot",
    "start",
    "timeout",
    "ttl",
    "version",
];

/// Values that are floating point numbers wherever they occur.
const DOUBLES: &[&str] = &["height", "latitude", "longitude", "radius", "score", "width"];

/// ((command, value), type) where the name alone misleads.
const SPECIAL_KINDS: &[((&str, &str), Kind)] = &[
    (("incrbyfloat", "increment"), Kind::Double),
    (("setbit", "value"), Kind::Integer),
    (("bitfield", "value"), Kind::Integer),
    (("bzmpop", "timeout"), Kind::Double),
    (("bzpopmax", "timeout"), Kind::Double),
    (("bzpopmin", "timeout"), Kind::Double),
    (("xautoclaim", "start"), Kind::String),
    (("xpending", "end"), Kind::String),
    (("xpending", "min-idle-time"), Kind::Integer),
    (("xpending", "start"), Kind::String),
    (("xrange", "end"), Kind::String),
    (("xrange", "start"), Kind::String),
    (("xrevrange", "end"), Kind::String),
    (("xrevrange", "start"), Kind::String),
    (("zincrby", "increment"), Kind::Double),
];

/// What a choice is called, by what its alternatives begin with.
const CHOICE_NAMES: &[(&str, &str)] = &[
    ("NX|", "condition"),
    ("GT|", "comparison"),
    ("BYSCORE|", "sortby"),
    ("MIN|MAX", "where"),
    ("SUM|MIN", "aggregate"),
    ("FROMMEMBER|", "from"),
    ("BYRADIUS|", "by"),
    ("ASC|", "order"),
    ("M|KM", "unit"),
    ("STORE|", "store"),
    ("EX|", "expiration"),
    ("BYTE|", "unit"),
    ("AND|", "operation"),
    ("GET|OVERFLOW", "operation"),
    ("SET|INCRBY", "write-operation"),
    ("WRAP|", "overflow-block"),
    ("ASYNC|", "flush-type"),
    ("NOSAVE|", "save-selector"),
    ("MODULE|", "filterby"),
    ("ON|OFF|SKIP", "action"),
    ("ON|OFF", "enabled"),
    ("YES|NO", "skipme"),
    ("NORMAL|", "client-type"),
    ("TIMEOUT|", "unblock-type"),
    ("WRITE|ALL", "mode"),
    ("LIB-NAME|", "attr"),
    ("ID|TYPE", "new-format"),
    ("old-format|", "filter"),
    ("MAXLEN|", "strategy"),
    ("=|", "operator"),
    ("*|", "id-selector"),
    ("id|$", "id-selector"),
];

/// What a block is called, by its token or what it begins with.
const BLOCK_NAMES: &[(&str, &str)] = &[
    ("key", "data"),
    ("parameter", "data"),
    ("score", "data"),
    ("longitude", "data"),
    ("LIMIT", "limit"),
    ("COUNT", "count-block"),
    ("FROMLONLAT", "fromlonlat"),
    ("BYRADIUS", "circle"),
    ("BYBOX", "box"),
    ("start", "range"),
    ("end", "end-unit-block"),
    ("GET", "get-block"),
    ("SET", "set-block"),
    ("INCRBY", "incrby-block"),
    ("OVERFLOW", "write"),
    ("AUTH", "auth"),
    ("protover", "arguments"),
    ("field", "data"),
    ("GROUP", "group-block"),
    ("IDLE", "filters"),
    ("MAXLEN", "trim"),
    ("STREAMS", "streams"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{Group, Handler, KeyAccess, KeySpec, Server, table};

    /// One argument on one line: `name:type`, `=TOKEN`, `#key specification`, `?` optional, `*` and `**` repeated.
    fn show(argument: &Argument) -> String {
        let mut text = format!("{}:{}", argument.name, argument.kind.name());
        if let Some(token) = argument.token.filter(|_| argument.kind != Kind::PureToken) {
            text += &format!("={token}");
        }
        if let Some(spec) = argument.key_spec {
            text += &format!("#{spec}");
        }
        if argument.kind.is_group() {
            text += &format!("({})", show_all(&argument.arguments));
        }
        if argument.optional {
            text += "?";
        }
        text + match argument.repeat {
            Repeat::Once => "",
            Repeat::Values => "*",
            Repeat::TokenAndValues => "**",
        }
    }

    fn show_all(arguments: &[Argument]) -> String {
        arguments.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    fn of(name: &str, sub: &str) -> String {
        let command = table::COMMANDS.iter().find(|command| command.name == name).expect(name);
        let sub = command.subcommands.iter().find(|command| command.name == sub);
        show_all(&arguments(sub.unwrap_or(command)))
    }

    fn line(syntax: &'static str) -> String {
        let command = Command::new("test", -1, Group::Generic, Handler::Server(Server::Ping))
            .syntax(syntax)
            .keys(const { &[KeySpec::one(1, KeyAccess::RO)] });
        show_all(&arguments(&command))
    }

    #[test]
    fn every_line_of_the_table_can_be_read() {
        for command in table::COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands)) {
            let parsed = arguments(command);
            assert_eq!(parsed.is_empty(), command.syntax.is_empty(), "{}", command.name);
            check(command, &parsed);
        }
    }

    fn check(command: &Command, arguments: &[Argument]) {
        for argument in arguments {
            assert!(!argument.name.is_empty() && !argument.name.contains(' '), "{}: {}", command.name, argument.name);
            assert_eq!(argument.kind.is_group(), !argument.arguments.is_empty(), "{}: {}", command.name, argument.name);
            if let Some(spec) = argument.key_spec {
                assert!(spec < command.keys.len(), "{}", command.name);
            }
            check(command, &argument.arguments);
        }
    }

    #[test]
    fn values_tokens_and_alternatives() {
        assert_eq!(
            of("set", ""),
            "key:key#0 value:string condition:oneof(nx:pure-token xx:pure-token)? get:pure-token? \
             expiration:oneof(seconds:integer=EX milliseconds:integer=PX unix-time-seconds:unix-time=EXAT \
             unix-time-milliseconds:unix-time=PXAT keepttl:pure-token)?"
        );
        assert_eq!(of("auth", ""), "username:string? password:string");
        assert_eq!(of("incrbyfloat", ""), "key:key#0 increment:double");
        assert_eq!(of("cluster", "keyslot"), "key:string");
        assert_eq!(of("copy", ""), "source:key#0 destination:key#1 destination-db:integer=DB? replace:pure-token?");
        assert_eq!(
            of("hello", ""),
            "arguments:block(protover:integer auth:block=AUTH(username:string password:string)? clientname:string=SETNAME?)?"
        );
        assert_eq!(
            of("bitpos", ""),
            "key:key#0 bit:integer range:block(start:integer end-unit-block:block(end:integer \
             unit:oneof(byte:pure-token bit:pure-token)?)?)?"
        );
        assert_eq!(line("count [ANY]"), "count:integer any:pure-token?");
    }

    #[test]
    fn repetitions() {
        assert_eq!(of("mget", ""), "key:key#0*");
        assert_eq!(of("mset", ""), "data:block(key:key#0 value:string)*");
        assert_eq!(
            of("bitop", ""),
            "operation:oneof(and:pure-token or:pure-token xor:pure-token not:pure-token) destkey:key#0 key:key#1*"
        );
        assert_eq!(of("info", ""), "section:string?*");
        assert_eq!(of("command", "getkeys"), "command:string arg:string?*");
        assert_eq!(of("bitfield_ro", ""), "key:key#0 get-block:block=GET(encoding:string offset:integer)?**");
        assert_eq!(
            of("client", "list"),
            "client-type:oneof=TYPE(normal:pure-token master:pure-token replica:pure-token pubsub:pure-token)? client-id:integer=ID?*"
        );
        assert_eq!(line("[key ...]"), "key:key#0?*");
        assert_eq!(line("[PREFIX prefix ...]"), "prefix:string=PREFIX?**");
        assert_eq!(line("ID id [id ...]"), "id:string=ID*");
        assert_eq!(line("a key [key ...] b"), "a:string key:key#0* b:string");
    }

    #[test]
    fn nested_groups() {
        assert_eq!(
            of("bitfield", ""),
            "key:key#0 operation:oneof(get-block:block=GET(encoding:string offset:integer) write:block(\
             overflow-block:oneof=OVERFLOW(wrap:pure-token sat:pure-token fail:pure-token)? \
             write-operation:oneof(set-block:block=SET(encoding:string offset:integer value:integer) \
             incrby-block:block=INCRBY(encoding:string offset:integer increment:integer))))?*"
        );
        assert_eq!(
            of("client", "kill"),
            "filter:oneof(old-format:string new-format:oneof(client-id:integer=ID? client-type:oneof=TYPE(normal:pure-token \
             master:pure-token slave:pure-token replica:pure-token pubsub:pure-token)? username:string=USER? addr:string=ADDR? \
             laddr:string=LADDR? skipme:oneof=SKIPME(yes:pure-token no:pure-token)?)*)"
        );
    }

    #[test]
    fn symbols_are_tokens() {
        assert_eq!(
            of("xadd", ""),
            "key:key#0 nomkstream:pure-token? trim:block(strategy:oneof(maxlen:pure-token minid:pure-token) \
             operator:oneof(equal:pure-token approximately:pure-token)? threshold:string count:integer=LIMIT?)? \
             id-selector:oneof(auto-id:pure-token id:string) data:block(field:string value:string)*"
        );
        assert_eq!(
            of("xreadgroup", ""),
            "group-block:block=GROUP(group:string consumer:string) count:integer=COUNT? milliseconds:integer=BLOCK? \
             noack:pure-token? streams:block=STREAMS(key:key#0* id:string*)"
        );
    }

    #[test]
    fn malformed_lines() {
        for (text, error) in [
            ("[a", SyntaxError::UnexpectedEnd),
            ("a]", SyntaxError::Unexpected(']')),
            ("[a>", SyntaxError::Unexpected('>')),
            ("a | b", SyntaxError::Unexpected('|')),
            ("[a |]", SyntaxError::Empty),
        ] {
            assert_eq!(Parser::new(text).line(), Err(error), "{text}");
        }
    }
}
