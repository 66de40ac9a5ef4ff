//! What commands are made of: keys of a small pool, so that they meet, and values at the edges of what servers handle.

use crate::common::Rng;
use crate::common::conn::Reply;
use std::collections::VecDeque;

pub type Args = Vec<Vec<u8>>;

/// How many keys of each kind there are: few, so that commands meet existing values of every kind.
const KEYS: usize = 14;
/// One key in so many carries the common hash tag.
const TAGGED_ONE_IN: usize = 3;

pub struct Gen {
    pub rng: Rng,
    /// Steps that follow from one already made: the rest of a sequence.
    pub next: VecDeque<Step>,
    /// A key that every other command is to be about.
    pub focus: Option<Vec<u8>>,
    /// DUMP payloads of values of many kinds, made by the redis-server of this run.
    pub payloads: Vec<Vec<u8>>,
    /// Unix time in milliseconds when the run began.
    pub now_ms: i64,
}

impl Gen {
    pub fn new(rng: Rng, payloads: Vec<Vec<u8>>, now_ms: i64) -> Gen {
        Gen { rng, next: VecDeque::new(), focus: None, payloads, now_ms }
    }

    pub fn key(&mut self) -> Vec<u8> {
        if let Some(key) = &self.focus
            && self.rng.chance(2)
        {
            return key.clone();
        }
        if self.rng.chance(TAGGED_ONE_IN) { self.tagged_key() } else { self.free_key() }
    }

    fn tagged_key(&mut self) -> Vec<u8> {
        format!("{{t}}:{}", self.rng.below(KEYS)).into_bytes()
    }

    fn free_key(&mut self) -> Vec<u8> {
        match self.rng.below(30) {
            0 => Vec::new(),
            1 => b"bin\0\r\nkey".to_vec(),
            2 => b"{}empty tag".to_vec(),
            3 => vec![b'L'; 300],
            _ => format!("key:{}", self.rng.below(KEYS)).into_bytes(),
        }
    }

    /// Keys for one command: of one hash tag, of none, on one core or on several.
    pub fn keys(&mut self, count: usize) -> Args {
        (0..count).map(|_| self.key()).collect()
    }

    pub fn count(&mut self, most: usize) -> usize {
        1 + self.rng.below(most)
    }

    pub fn value(&mut self) -> Vec<u8> {
        match self.rng.below(16) {
            0 => Vec::new(),
            1 | 2 => self.int(),
            3 => self.float(),
            4 => {
                let len = self.rng.below(40);
                self.rng.bytes(len)
            }
            5 => {
                let len = self.rng.pick(&[43usize, 44, 45, 63, 64, 65, 127, 128, 255, 256]);
                vec![b'e'; len]
            }
            6 => {
                let len = 1000 + self.rng.below(3000);
                self.rng.bytes(len)
            }
            7 => {
                let len = self.rng.pick(&[16383usize, 16384, 16385, 20000]);
                vec![b'r'; len]
            }
            8 => b"\r\n$-1\r\n".to_vec(),
            9 => self.word().as_bytes().to_vec(),
            10 | 11 => self.rng.between(-20, 20).to_string().into_bytes(),
            _ => format!("value {}", self.rng.below(1000)).into_bytes(),
        }
    }

    /// A short value, for commands whose cost grows with length.
    pub fn short_value(&mut self) -> Vec<u8> {
        let mut value = self.value();
        value.truncate(64);
        value
    }

    pub fn word(&mut self) -> &'static str {
        self.rng.pick(&[
            "foobar",
            "abc",
            "ohmytext",
            "mynewtext",
            "NaN",
            "inf",
            "-inf",
            "nil",
            "0x10",
            "1e3",
            " 1",
            "1 ",
            "+5",
        ])
    }

    /// A decimal integer, often at a limit, sometimes written in a way that is none to Redis.
    pub fn int(&mut self) -> Vec<u8> {
        const EDGES: [&str; 26] = [
            "0",
            "1",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775806",
            "-9223372036854775807",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "2147483647",
            "-2147483648",
            "4294967296",
            "9999",
            "10000",
            "12345678901234567890",
            "007",
            "-0",
            "+1",
            "1.0",
            "",
            " 1",
            "1 ",
            "abc",
            "0x1",
            "100",
        ];
        match self.rng.below(3) {
            0 => self.rng.pick(&EDGES).as_bytes().to_vec(),
            1 => (self.rng.next() as i64 >> self.rng.below(64)).to_string().into_bytes(),
            _ => self.rng.between(-50, 50).to_string().into_bytes(),
        }
    }

    pub fn small_int(&mut self) -> Vec<u8> {
        self.rng.between(-10, 30).to_string().into_bytes()
    }

    pub fn float(&mut self) -> Vec<u8> {
        const EDGES: [&str; 24] = [
            "0",
            "-0",
            "0.1",
            "-0.1",
            "3.0",
            "1e10",
            "1E-5",
            "5.0e3",
            "1e300",
            "-1e308",
            "inf",
            "-inf",
            "nan",
            "1e4931",
            "1.5e",
            ".5",
            "5.",
            "0.0000000000000000001",
            "3.14159265358979",
            "123456789.123456789",
            "",
            " 1.5",
            "1.5 ",
            "0x1p3",
        ];
        match self.rng.below(3) {
            0 => self.rng.pick(&EDGES).as_bytes().to_vec(),
            1 => format!("{}.{}", self.rng.between(-1000, 1000), self.rng.below(100_000)).into_bytes(),
            _ => format!("{}", self.rng.between(-8000, 8000) as f64 / 16.0).into_bytes(),
        }
    }

    /// A time to live that is over at once or lasts the whole run, in the unit given.
    pub fn ttl(&mut self, unit_ms: i64) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.int_for_time(),
            1 => self.rng.between(-5, 0).to_string().into_bytes(),
            2 => (i64::MAX / unit_ms).to_string().into_bytes(),
            _ => (self.rng.between(100_000, 9_000_000) * 1000 / unit_ms).to_string().into_bytes(),
        }
    }

    /// A point in time, long ago or far ahead, in the unit given.
    pub fn time(&mut self, unit_ms: i64) -> Vec<u8> {
        match self.rng.below(10) {
            0 => self.int_for_time(),
            1 => self.rng.between(1, 1_000_000).to_string().into_bytes(),
            _ => ((self.now_ms + self.rng.between(100_000, 9_000_000) * 1000) / unit_ms).to_string().into_bytes(),
        }
    }

    /// An odd number that is no time near the present, where the outcome would depend on the clock.
    fn int_for_time(&mut self) -> Vec<u8> {
        const ODD: [&str; 11] = [
            "abc",
            "",
            "1.5",
            "-9223372036854775808",
            "9223372036854775807",
            "9223372036854775808",
            "9223372036854775",
            "9223372036854776",
            "-1",
            "0",
            " 100000",
        ];
        self.rng.pick(&ODD).as_bytes().to_vec()
    }

    /// The word in a letter case picked at random.
    pub fn spelled(&mut self, word: &str) -> Vec<u8> {
        let lower = self.rng.chance(3);
        if lower { word.to_ascii_lowercase().into_bytes() } else { word.as_bytes().to_vec() }
    }

    pub fn pattern(&mut self) -> Vec<u8> {
        const PATTERNS: [&str; 14] = [
            "*",
            "key:*",
            "key:?",
            "{t}:*",
            "key:[1-4]",
            "key:[^1-4]",
            "k*:1?",
            "nothing",
            "\\{t\\}:*",
            "*[",
            "?*?",
            "",
            "key:1\\",
            "**1",
        ];
        self.rng.pick(&PATTERNS).as_bytes().to_vec()
    }

    /// Sometimes spoils a well-formed command: one argument too many, too few, or replaced.
    pub fn maybe_spoil(&mut self, args: &mut Args) {
        // COMMAND without its last words lists a whole server, other commands included; a HELLO that fails on its last word has already
        // named the connection in Redis 7.0; SPOP without its count takes any member; a walk without its options ends somewhere.
        const WHOLE: [&[u8]; 6] = [b"COMMAND", b"HELLO", b"SPOP", b"SSCAN", b"HSCAN", b"ZSCAN"];
        if !self.rng.chance(25) || WHOLE.contains(&args[0].as_slice()) {
            return;
        }
        match self.rng.below(3) {
            0 if args.len() > 1 => {
                args.pop();
            }
            1 => args.push(b"EXTRA".to_vec()),
            _ => args[0].make_ascii_lowercase(),
        }
    }
}

/// A command line from words, and from pieces that are not text.
pub fn words(line: &str) -> Args {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

pub fn with(mut args: Args, more: impl IntoIterator<Item = Vec<u8>>) -> Args {
    args.extend(more);
    args
}

/// How the replies of a command are held against each other.
#[derive(Clone, Copy)]
pub enum Compare {
    /// Byte for byte.
    Exact,
    /// Integers that depend on the clock may differ by this much; anything else is exact.
    Within(i64),
    /// An array whose order is free.
    AnyOrder,
    /// The same type of reply, whatever it holds: an array also of the same length.
    Shape,
    /// The same type at the top only.
    Kind,
    /// After both replies went through the function, exact.
    Through(fn(Reply) -> Reply),
}

/// A difference that is meant: recognised by its command and both replies.
pub struct Known {
    pub reason: &'static str,
    pub matches: fn(args: &[Vec<u8>], redis: &Reply, basalt: &Reply) -> bool,
}

pub enum Step {
    /// One command, one reply.
    Command(Args, Compare),
    /// A whole iteration of SCAN with these options after the cursor: the sets of keys must be the same.
    Scan(Args),
    /// One command and one reply on another connection, when all replies are there that are due on the script's own.
    Aside(Args, Compare),
    /// One command, and all that comes back before the answer to a PING behind it: pub/sub has commands of several replies.
    Talk(Args),
    /// A PUBLISH on another connection, its reply, and as many messages on the script's own, in whatever order.
    Publish(Args),
    /// Bytes on a connection of their own, all that comes back until the server closes compared.
    Raw(Vec<u8>),
}

pub struct Rule {
    pub weight: usize,
    pub make: fn(&mut Gen) -> Args,
    pub compare: Compare,
}

pub const fn rule(weight: usize, make: fn(&mut Gen) -> Args) -> Rule {
    Rule { weight, make, compare: Compare::Exact }
}

pub const fn ruled(weight: usize, compare: Compare, make: fn(&mut Gen) -> Args) -> Rule {
    Rule { weight, make, compare }
}

/// One in how many steps, and how it is made.
type Special = (usize, fn(&mut Gen) -> Step);

pub struct Family {
    pub name: &'static str,
    pub rules: &'static [Rule],
    /// Steps that are more than a command, and one in how many steps is one.
    pub special: Option<Special>,
    pub known: &'static [Known],
    /// Whether every command of it leaves the state comparable (the connection family switches databases and protocols).
    pub check_dumps: bool,
}

impl Family {
    pub fn step(&self, make: &mut Gen) -> Step {
        if let Some(step) = make.next.pop_front() {
            return step;
        }
        if let Some((one_in, special)) = self.special
            && make.rng.chance(one_in)
        {
            return special(make);
        }
        let (args, compare) = self.command(make);
        Step::Command(args, compare)
    }

    /// A command by one of the rules.
    pub fn command(&self, make: &mut Gen) -> (Args, Compare) {
        let total: usize = self.rules.iter().map(|r| r.weight).sum();
        let mut at = make.rng.below(total);
        let rule = self.rules.iter().find(|rule| {
            let here = at < rule.weight;
            at = at.wrapping_sub(rule.weight);
            here
        });
        let rule = rule.expect("a number below the sum of all weights falls on a rule");
        let mut args = (rule.make)(make);
        make.maybe_spoil(&mut args);
        (args, rule.compare)
    }
}
