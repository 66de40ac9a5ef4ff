use proptest::prelude::*;

use super::*;

type Words = Vec<Vec<u8>>;

fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend(format!("${}\r\n", arg.len()).bytes());
        out.extend(arg);
        out.extend(b"\r\n");
    }
    out
}

/// A connection: holds what the parser wants to see again, feeds large payloads to it, collects the commands.
struct Feeder {
    parser: Parser,
    limits: Limits,
    buf: Vec<u8>,
    commands: Vec<Words>,
    separate: usize,
    peak_input_bytes: usize,
}

/// All of the command, unless it is inline or has left large values elsewhere.
fn frame_expected<'a>(command: &'a [u8], args: &Args<'_>) -> Option<&'a [u8]> {
    let whole = command.starts_with(b"*") && (0..args.len()).all(|i| args.separate(i).is_none());
    whole.then_some(command)
}

impl Feeder {
    fn new(limits: Limits) -> Feeder {
        let (parser, buf) = (Parser::default(), Vec::new());
        Feeder { parser, limits, buf, commands: Vec::new(), separate: 0, peak_input_bytes: 0 }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ProtocolError> {
        if let Some(large) = self.parser.large() {
            let taken = large.fill(bytes);
            bytes = &bytes[taken..];
            if !large.is_full() {
                return Ok(());
            }
        }
        self.buf.extend(bytes);
        self.drain()
    }

    fn drain(&mut self) -> Result<(), ProtocolError> {
        loop {
            self.peak_input_bytes = self.peak_input_bytes.max(self.buf.len());
            match self.parser.parse(&self.buf, &self.limits)? {
                Parsed::Incomplete => return Ok(()),
                Parsed::Nothing { consumed } => {
                    assert!(consumed > 0);
                    self.buf.drain(..consumed);
                }
                Parsed::Command { consumed } => {
                    let args = self.parser.args(&self.buf[..consumed]);
                    self.separate += (0..args.len()).filter(|&i| args.separate(i).is_some()).count();
                    let words: Words = args.iter_from(0).map(<[u8]>::to_vec).collect();
                    assert_eq!(args.frame(), frame_expected(&self.buf[..consumed], &args));
                    assert_eq!(args.clean_frame(), args.frame().filter(|frame| *frame == encode(&words)));
                    self.commands.push(words);
                    self.buf.drain(..consumed);
                }
                Parsed::Large { header } => {
                    let large = self.parser.large().expect("Large without a bulk");
                    let taken = large.fill(&self.buf[header..]);
                    self.buf.drain(header..header + taken);
                    if !large.is_full() {
                        assert_eq!(self.buf.len(), header);
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn parse_all(bytes: &[u8], limits: Limits) -> Result<Vec<Words>, ProtocolError> {
    let mut feeder = Feeder::new(limits);
    feeder.feed(bytes)?;
    assert!(feeder.buf.is_empty(), "left over: {:?}", feeder.buf);
    Ok(feeder.commands)
}

/// The error that `bytes` cause, whole and byte by byte.
fn error_of(bytes: &[u8], limits: Limits) -> String {
    let whole = Feeder::new(limits).feed(bytes).expect_err("accepted");
    let mut feeder = Feeder::new(limits);
    let single = bytes.chunks(1).find_map(|byte| feeder.feed(byte).err());
    assert_eq!(single, Some(whole));
    whole.to_string()
}

fn unauthenticated() -> Limits {
    Limits { authenticated: false, ..Limits::default() }
}

fn words(list: &[&str]) -> Words {
    list.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn commands_of_both_kinds_in_one_stream() {
    let stream = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n\r\n*0\r\n*-1\r\n\nset \"a b\" 'c'\n*1\r\n$0\r\n\r\n";
    let expected = [words(&["GET", "k"]), words(&["PING"]), words(&["set", "a b", "c"]), words(&[""])];
    assert_eq!(parse_all(stream, Limits::default()).unwrap(), expected);
}

#[test]
fn arguments_are_spans_of_the_input() {
    let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nrest";
    let mut parser = Parser::default();
    assert_eq!(parser.parse(input, &Limits::default()), Ok(Parsed::Command { consumed: 20 }));
    assert_eq!(parser.args(input).get(1).as_ptr(), input[17..].as_ptr());
}

#[test]
fn line_ends_are_as_lax_as_in_redis() {
    // The byte behind a line's `\r` and the two behind a payload are skipped unseen.
    assert_eq!(parse_all(b"*1\rx$1\ryaZZ", Limits::default()).unwrap(), [words(&["a"])]);
}

#[test]
fn errors_are_redis_s() {
    let open = Limits::default();
    let cases: &[(&[u8], Limits, &str)] = &[
        (b"*abc\r\n", open, "invalid multibulk length"),
        (b"*\r\n", open, "invalid multibulk length"),
        (b"*01\r\n", open, "invalid multibulk length"),
        (b"*+1\r\n", open, "invalid multibulk length"),
        (b"*2147483648\r\n", open, "invalid multibulk length"),
        (b"*99999999999999999999\r\n", open, "invalid multibulk length"),
        (b"*11\r\n", unauthenticated(), "unauthenticated multibulk length"),
        (b"*1\r\nx\r\n", open, "expected '$', got 'x'"),
        (b"*1\r\n\r\n", open, "expected '$', got '\r'"),
        (b"*1\r\n$\r\n", open, "invalid bulk length"),
        (b"*1\r\n$-1\r\n", open, "invalid bulk length"),
        (b"*1\r\n$00\r\n", open, "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", open, "invalid bulk length"),
        (b"*1\r\n$9223372036854775808\r\n", open, "invalid bulk length"),
        (b"*1\r\n$16385\r\n", unauthenticated(), "unauthenticated bulk length"),
        (b"set \"a\r\n", open, "unbalanced quotes in request"),
        (b"set 'a'b\n", open, "unbalanced quotes in request"),
    ];
    for (bytes, limits, text) in cases {
        assert_eq!(error_of(bytes, *limits), format!("Protocol error: {text}"), "{bytes:?}");
    }
}

#[test]
fn endless_lines_are_cut_off() {
    for (start, text) in
        [("", "too big inline request"), ("*", "too big mbulk count string"), ("*1\r\n$", "too big bulk count string")]
    {
        let line_start = start.rfind('\n').map_or(0, |at| at + 1);
        let mut bytes = start.as_bytes().to_vec();
        bytes.resize(line_start + MAX_INLINE_BYTES_DEFAULT, b'1');
        let mut feeder = Feeder::new(Limits::default());
        assert_eq!(feeder.feed(&bytes), Ok(()), "at the bound");
        let error = feeder.feed(b"1").unwrap_err();
        assert_eq!(error.to_string(), format!("Protocol error: {text}"));
    }
}

#[test]
fn bounds_themselves_are_allowed() {
    let args = vec![vec![b'x'; UNAUTHENTICATED_MAX_BULK_BYTES as usize]; UNAUTHENTICATED_MAX_MULTIBULK as usize];
    assert_eq!(parse_all(&encode(&args), unauthenticated()).unwrap(), [args]);
    let mut feeder = Feeder::new(Limits::default());
    assert_eq!(feeder.feed(b"*2147483647\r\n$536870912\r\n"), Ok(()));
    assert!(feeder.parser.held_bytes() + feeder.parser.spans.capacity() < 2 * FIRST_STEP_BYTES);
}

#[test]
fn a_large_payload_never_enters_the_input() {
    let big = vec![b'v'; 3 * FIRST_STEP_BYTES + 7];
    let args = vec![b"SET".to_vec(), b"k".to_vec(), big, b"NX".to_vec()];
    let mut feeder = Feeder::new(Limits::default());
    for piece in encode(&args).chunks(10_000) {
        feeder.feed(piece).unwrap();
    }
    assert_eq!(feeder.commands, [args]);
    assert_eq!(feeder.separate, 1);
    assert!(feeder.peak_input_bytes <= 10_000 + 64);
    feeder.parser.reset();
    assert_eq!(feeder.parser.held_bytes(), 0);
}

#[test]
fn a_large_payload_that_is_already_here_stays_where_it_is() {
    let args = vec![b"ECHO".to_vec(), vec![b'v'; LARGE_MIN_BYTES]];
    let mut feeder = Feeder::new(Limits::default());
    let bytes = encode(&args);
    let (first, last) = bytes.split_at(bytes.len() - 2);
    feeder.feed(first).unwrap();
    feeder.feed(last).unwrap();
    assert_eq!((feeder.separate, feeder.commands), (0, vec![args]));
}

#[test]
fn parse_asks_again_until_the_large_payload_is_full() {
    let mut parser = Parser::default();
    let header = b"*1\r\n$20000\r\n";
    for _ in 0..2 {
        assert_eq!(parser.parse(header, &Limits::default()), Ok(Parsed::Large { header: header.len() }));
    }
    assert_eq!(parser.large().unwrap().fill(&[b'x'; 30_000]), 20_000);
    assert_eq!(parser.parse(header, &Limits::default()), Ok(Parsed::Incomplete));
    let whole = [&header[..], b"\r\n"].concat();
    assert_eq!(parser.parse(&whole, &Limits::default()), Ok(Parsed::Command { consumed: whole.len() }));
    assert_eq!(parser.args(&whole).separate(0).unwrap().len(), 20_000);
}

#[test]
fn what_a_long_command_left_behind_is_given_back() {
    let args = vec![b"x".to_vec(); 50 * KEEP_SPANS];
    let mut feeder = Feeder::new(Limits::default());
    feeder.feed(&encode(&args)).unwrap();
    feeder.parser.reset();
    assert!(feeder.parser.spans.capacity() <= KEEP_SPANS);
}

fn any_args() -> impl Strategy<Value = Words> {
    let len = prop_oneof![8 => 0..30usize, 2 => 0..2000usize, 1 => LARGE_MIN_BYTES - 2..LARGE_MIN_BYTES + 40_000];
    let arg = (len, any::<u8>()).prop_map(|(len, seed)| (0..len).map(|i| seed.wrapping_add(i as u8)).collect());
    prop::collection::vec(arg, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_cut_yields_the_same_arguments(
        commands in prop::collection::vec(any_args(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> = commands.iter().flat_map(|args| encode(args)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut feeder = Feeder::new(Limits::default());
        for cut in cuts.windows(2) {
            feeder.feed(&bytes[cut[0]..cut[1]]).unwrap();
        }
        prop_assert!(feeder.buf.is_empty());
        prop_assert_eq!(feeder.commands, commands);
    }

    #[test]
    fn small_commands_byte_by_byte(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)) {
        let mut feeder = Feeder::new(Limits::default());
        for byte in encode(&args).chunks(1) {
            feeder.feed(byte).unwrap();
        }
        prop_assert_eq!(feeder.commands, vec![args]);
    }

    #[test]
    fn quoted_inline_commands(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..6), cut in any::<prop::sample::Index>()) {
        let line = args.iter().map(|arg| crate::types::quote::quote(arg)).collect::<Vec<_>>().join(" ") + "\r\n";
        let (first, last) = line.as_bytes().split_at(cut.index(line.len()));
        let mut feeder = Feeder::new(Limits::default());
        feeder.feed(first).unwrap();
        feeder.feed(last).unwrap();
        prop_assert_eq!(feeder.commands, vec![args]);
    }
}

/// A small generator of our own, so that a run is named by its seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        const LIKELY: &[u8] = b"*$\r\n0123456789- \"'\\x\0\xff";
        if self.below(4) == 0 { self.below(256) as u8 } else { LIKELY[self.below(LIKELY.len())] }
    }

    fn garbage(&mut self) -> Vec<u8> {
        let len = self.below(200);
        (0..len).map(|_| self.byte()).collect()
    }

    fn stream(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..=self.below(3) {
            let args: Words = (0..=self.below(4))
                .map(|_| {
                    let len = if self.below(20) == 0 { self.below(40_000) } else { self.below(30) };
                    vec![self.byte(); len]
                })
                .collect();
            bytes.extend(encode(&args));
        }
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len().clamp(1, 64));
            match self.below(4) {
                0 if at < bytes.len() => bytes[at] = self.byte(),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                _ => bytes.insert(at.min(bytes.len()), self.byte()),
            }
        }
    }
}

#[test]
fn fuzz_no_stream_panics_or_holds_more_than_it_brought() {
    let iterations = std::env::var("BASALT_FUZZ_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(30_000);
    let limits = [
        Limits { max_inline_bytes: 100, max_bulk_bytes: 30_000, ..Limits::default() },
        Limits { max_inline_bytes: 100, ..unauthenticated() },
        Limits::default(),
    ];
    for seed in 0..iterations {
        let mut random = Random(seed);
        let mut bytes = if random.below(2) == 0 { random.garbage() } else { random.stream() };
        random.mutate(&mut bytes);
        let limits = limits[random.below(limits.len())];
        let mut feeder = Feeder::new(limits);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(1 + random.below(rest.len()));
            rest = tail;
            if feeder.feed(piece).is_err() {
                break;
            }
            let held = feeder.parser.held_bytes();
            assert!(held <= bytes.len().max(FIRST_STEP_BYTES), "seed {seed}: {held} bytes held for {}", bytes.len());
            assert!(feeder.parser.spans.len() <= bytes.len(), "seed {seed}");
        }
        let arguments: usize = feeder.commands.iter().flatten().map(Vec::len).sum();
        assert!(arguments <= bytes.len(), "seed {seed}: arguments longer than the input");
        if feeder.parser.large().is_none() {
            feeder.parser.reset();
            assert_eq!(feeder.parser.held_bytes(), 0, "seed {seed}");
        }
    }
}

#[test]
fn frames_are_clean_where_every_line_ends_well() {
    let eleven = encode(&vec![b"x".to_vec(); 11]);
    let cases: [(&[u8], bool); 7] = [
        (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", true),
        (b"*1\r\n$0\r\n\r\n", true),
        (&eleven, true),
        (b"*2\rx$3\r\nGET\r\n$1\r\nk\r\n", false),
        (b"*2\r\n$3\rxGET\r\n$1\r\nk\r\n", false),
        (b"*2\r\n$3\r\nGETxx$1\r\nk\r\n", false),
        (b"*2\r\n$3\r\nGET\r\n$1\r\nk\rx", false),
    ];
    for (bytes, clean) in cases {
        let mut parser = Parser::default();
        let parsed = parser.parse(bytes, &Limits::default());
        assert_eq!(parsed, Ok(Parsed::Command { consumed: bytes.len() }));
        let args = parser.args(bytes);
        assert_eq!(args.frame(), Some(bytes));
        assert_eq!(args.clean_frame(), Some(bytes).filter(|_| clean), "{}", bytes.escape_ascii());
    }
}
