//! The link against a scripted primary, its answers cut at every byte.

use super::*;
use crate::resp::parser::{Limits, Parsed, Parser};

const ID: &str = "0123456789012345678901234567890123456789";
const OTHER_ID: &str = "abcdefabcdefabcdefabcdefabcdefabcdefabcd";

/// Both ends of a link.
struct Peer {
    link: Link,
    now_ms: u64,
    /// Sent by the primary and not consumed.
    input: Vec<u8>,
    /// Sent by the replica, as words; and all other actions.
    said: Vec<String>,
    done: Vec<Action>,
    payload: Vec<u8>,
    piece: usize,
}

impl Peer {
    fn new(settings: Settings, resume: Option<Position>) -> Peer {
        let mut peer = Peer {
            link: Link::new("primary".into(), 6379, settings, resume, 0),
            now_ms: 0,
            input: Vec::new(),
            said: Vec::new(),
            done: Vec::new(),
            payload: Vec::new(),
            piece: usize::MAX,
        };
        peer.tick(0);
        assert_eq!(peer.take_done(), [Action::Connect]);
        peer.handle(Event::Connected);
        assert_eq!(peer.take_said(), ["PING"]);
        peer
    }

    fn handle(&mut self, event: Event<'_>) {
        let mut actions = Vec::new();
        self.link.handle(event, self.now_ms, &mut actions);
        self.note(actions);
    }

    fn note(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(bytes) => self.said.extend(commands(&bytes)),
                Action::Payload(range) => self.payload.extend_from_slice(&self.input[range]),
                action => self.done.push(action),
            }
        }
    }

    fn tick(&mut self, ms: u64) {
        self.now_ms += ms;
        self.handle(Event::Tick { applied: 77 });
    }

    /// The primary says something, which arrives in pieces.
    fn hear(&mut self, bytes: impl AsRef<[u8]>) {
        for piece in bytes.as_ref().chunks(self.piece) {
            self.input.extend_from_slice(piece);
            while self.link.takes_input() {
                let mut actions = Vec::new();
                let consumed = self.link.handle(Event::Input(&self.input), self.now_ms, &mut actions);
                self.note(actions);
                self.input.drain(..consumed);
                if consumed == 0 {
                    break;
                }
            }
        }
    }

    fn take_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    fn take_done(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.done)
    }

    /// Goes through the handshake up to PSYNC.
    fn greet(&mut self) -> String {
        self.hear("+PONG\r\n");
        let questions = self.take_said().len();
        for _ in 0..questions {
            self.hear("+OK\r\n");
        }
        self.take_said().pop().expect("PSYNC")
    }
}

fn commands(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut parser = Parser::default();
        let consumed = match parser.parse(bytes, &Limits::default()).expect("a valid command") {
            Parsed::Command { consumed } => {
                let words = parser.args(bytes).iter_from(0).map(|word| String::from_utf8_lossy(word).into_owned());
                found.push(words.collect::<Vec<_>>().join(" "));
                consumed
            }
            Parsed::Nothing { consumed } => {
                found.push(String::new());
                consumed
            }
            other => panic!("{other:?}"),
        };
        bytes = &bytes[consumed..];
    }
    found
}

fn settings() -> Settings {
    Settings { timeout_ms: 60_000, listening_port: 7000, version: "7.2.4".into(), ..Settings::default() }
}

fn position(offset: u64) -> Position {
    Position { id: ID.into(), offset }
}

#[test]
fn it_says_who_it_is_and_waits_for_each_answer() {
    let mut peer = Peer::new(
        Settings {
            password: Some(b"secret".to_vec()),
            user: "repl".into(),
            announce_ip: "10.0.0.9".into(),
            frames: true,
            ..settings()
        },
        None,
    );
    peer.piece = 1;
    peer.hear("-NOAUTH Authentication required.\r\n");
    assert_eq!(
        peer.take_said(),
        [
            "AUTH repl secret",
            "REPLCONF listening-port 7000",
            "REPLCONF ip-address 10.0.0.9",
            "REPLCONF capa eof capa psync2 capa basalt-frames",
            "REPLCONF version 7.2.4"
        ]
    );
    peer.hear("+OK\r\n-ERR unknown\r\n\r\n+OK\r\n+OK\r\n");
    assert_eq!(peer.take_said(), [""; 0]);
    peer.hear("-ERR Unrecognized REPLCONF option: version\r\n");
    assert_eq!(peer.take_said(), ["PSYNC ? -1"]);
    assert_eq!(peer.link.state(), LinkState::Handshake);
}

#[test]
fn a_full_resync_up_to_the_mark_cut_at_any_byte() {
    let mark = "m".repeat(40);
    let answer = format!("\n\n+FULLRESYNC {ID} 4711\r\n\n$EOF:{mark}\r\nREDIS body{mark}*1\r\n$4\r\nPING\r\n");
    for piece in 1..answer.len() {
        let mut peer = Peer::new(settings(), None);
        assert_eq!(peer.greet(), "PSYNC ? -1");
        peer.piece = piece;
        peer.hear(&answer);
        assert_eq!(
            peer.take_done(),
            [Action::FullResync(Some(position(4711))), Action::Begin { size: None }, Action::End],
            "pieces of {piece}"
        );
        assert_eq!(peer.payload, b"REDIS body");
        assert_eq!(peer.input, b"*1\r\n$4\r\nPING\r\n");
        assert_eq!((peer.link.state(), peer.link.sync_progress()), (LinkState::Sync, Some((0, 10))));
        peer.handle(Event::Installed);
        assert_eq!(peer.take_said(), ["REPLCONF ACK 4711"]);
        assert_eq!((peer.link.state(), peer.link.resume.clone()), (LinkState::Connected, Some(position(4711))));
    }
}

#[test]
fn a_full_resync_of_a_size() {
    let mut peer = Peer::new(settings(), Some(position(10)));
    assert_eq!(peer.greet(), format!("PSYNC {ID} 11"));
    peer.hear(format!("+FULLRESYNC {OTHER_ID} 0\r\n$5\r\nhel"));
    assert_eq!(peer.link.sync_progress(), Some((5, 3)));
    peer.hear("lo*");
    assert_eq!(peer.payload, b"hello");
    assert_eq!(peer.input, b"*");
    assert_eq!(peer.take_done().last(), Some(&Action::End));
}

#[test]
fn a_partial_resync_may_change_the_id() {
    for (answer, new_id) in [
        ("+CONTINUE\r\n".to_owned(), None),
        (format!("+CONTINUE {ID}\r\n"), None),
        (format!("+CONTINUE {OTHER_ID}\r\n"), Some(OTHER_ID.to_owned())),
    ] {
        let mut peer = Peer::new(settings(), Some(position(99)));
        assert_eq!(peer.greet(), format!("PSYNC {ID} 100"));
        peer.piece = 1;
        peer.hear(answer + "*1\r\n");
        assert_eq!(peer.take_done(), [Action::Continue { new_id }]);
        assert!(peer.link.is_streaming());
        assert_eq!(peer.input, b"*1\r\n");
        assert_eq!(peer.take_said(), [""; 0]);
        peer.tick(ACK_INTERVAL_MS);
        assert_eq!(peer.take_said(), ["REPLCONF ACK 77"]);
        peer.handle(Event::Acknowledge { applied: 80 });
        peer.tick(ACK_INTERVAL_MS - 1);
        assert_eq!(peer.take_said(), ["REPLCONF ACK 80"]);
    }
}

#[test]
fn a_primary_that_is_not_ready_is_asked_again() {
    for answer in ["-NOMASTERLINK Can't SYNC while not connected with my master\r\n", "-LOADING later\r\n"] {
        let mut peer = Peer::new(settings(), None);
        peer.greet();
        peer.hear(answer);
        assert_eq!(peer.take_done(), [Action::Close]);
        peer.tick(RETRY_MS - 1);
        assert_eq!(peer.take_done(), []);
        peer.tick(1);
        assert_eq!(peer.take_done(), [Action::Connect]);
    }
}

#[test]
fn a_primary_without_psync_gives_its_snapshot_all_the_same() {
    let mut peer = Peer::new(settings(), None);
    peer.greet();
    peer.hear("-ERR unknown command 'PSYNC'\r\n");
    assert_eq!(peer.take_said(), ["SYNC"]);
    assert_eq!(peer.take_done(), [Action::FullResync(None)]);
    peer.hear("\n$2\r\nab");
    assert_eq!(peer.take_done(), [Action::Begin { size: Some(2) }, Action::End]);
    peer.handle(Event::Installed);
    peer.tick(5 * ACK_INTERVAL_MS);
    assert_eq!(peer.take_said(), [""; 0], "it would not understand an offset");
    assert_eq!(peer.link.resume, None);
}

#[test]
fn what_is_wrong_ends_the_attempt() {
    let refused = |bytes: &str, settings: Settings| {
        let mut peer = Peer::new(settings, None);
        peer.hear(bytes);
        assert_eq!(peer.take_done().last(), Some(&Action::Close), "{bytes:?}");
        assert_eq!(peer.link.state(), LinkState::Connect);
    };
    refused("-ERR max number of clients reached\r\n", settings());
    refused("-WRONGPASS no\r\n", settings());
    refused(&"x".repeat(MAX_LINE_BYTES + 1), settings());
    refused("+PONG\r\n-WRONGPASS no\r\n", Settings { password: Some(b"x".to_vec()), ..settings() });
    for announcement in ["-ERR no\r\n", "+OK\r\n", "$x\r\n", "$EOF:short\r\n", "$-1\r\n"] {
        refused(&format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+FULLRESYNC {ID} 1\r\n{announcement}"), settings());
    }
}

#[test]
fn silence_ends_every_state() {
    let limit = settings().timeout_ms;
    let quiet = |stage: &[&str]| {
        let mut peer = Peer::new(settings(), Some(position(5)));
        for part in stage {
            peer.hear(part);
        }
        peer.take_done();
        peer.tick(limit);
        assert_eq!(peer.take_done(), [], "after {stage:?}");
        peer.tick(1);
        // A stream that was there is asked for again at once.
        let resumes = stage.contains(&"+CONTINUE\r\n").then_some(Action::Connect);
        let expected: Vec<Action> = std::iter::once(Action::Close).chain(resumes).collect();
        assert_eq!(peer.take_done(), expected, "after {stage:?}");
    };
    let greeted = "+PONG\r\n+OK\r\n+OK\r\n+OK\r\n";
    quiet(&[]);
    quiet(&["+PONG\r\n"]);
    quiet(&[greeted]);
    quiet(&[greeted, "+CONTINUE\r\n"]);
    quiet(&[greeted, "+FULLRESYNC ", ID, " 1\r\n"]);
    quiet(&[greeted, "+FULLRESYNC ", ID, " 1\r\n", "$10\r\nabc"]);
    let mut peer = Peer::new(settings(), None);
    peer.hear(format!("{greeted}+FULLRESYNC {ID} 1\r\n$1\r\na"));
    peer.take_done();
    peer.take_said();
    peer.tick(3 * limit);
    assert_eq!(peer.take_done(), [], "loading may take its time");
    assert_eq!(peer.take_said(), [""], "but says that it lives");
}

#[test]
fn a_lost_stream_is_resumed_at_once_and_a_lost_snapshot_after_a_pause() {
    let mut peer = Peer::new(settings(), Some(position(5)));
    peer.greet();
    peer.hear("+CONTINUE\r\n");
    peer.take_done();
    peer.handle(Event::Ended(None));
    assert_eq!((peer.take_done(), peer.link.down_since_ms), (vec![Action::Close, Action::Connect], Some(0)));
    peer.link.resume = Some(position(50));
    peer.handle(Event::Connected);
    peer.take_said();
    assert_eq!(peer.greet(), format!("PSYNC {ID} 51"));
    peer.hear(format!("+FULLRESYNC {ID} 1\r\n$10\r\nabc"));
    peer.take_done();
    peer.handle(Event::Ended(Some("reset")));
    assert_eq!(peer.take_done(), [Action::Close]);
    peer.tick(RETRY_MS - 1);
    assert_eq!(peer.take_done(), []);
    peer.tick(1);
    assert_eq!(peer.take_done(), [Action::Connect]);
}

#[test]
fn a_failover_is_asked_for_once() {
    for (answer, accepted) in [("+CONTINUE\r\n", true), ("-ERR no\r\n", false), ("-LOADING\r\n", false)] {
        let mut peer = Peer::new(settings(), Some(position(5)));
        peer.link.failover = true;
        assert_eq!(peer.greet(), format!("PSYNC {ID} 6 FAILOVER"));
        peer.hear(answer);
        assert!(peer.take_done().contains(&Action::Failover { accepted }));
        assert!(!peer.link.failover);
    }
}
