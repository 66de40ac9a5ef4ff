//! The link to a primary: from the first connection to the stream of commands, and back to the beginning when it breaks.
//!
//! Invariants
//! - one connection at a time; what is heard belongs to it, and after `Action::Close` nothing of it is looked at any more
//! - a partial resynchronisation is asked for only with the position in `resume`, which names bytes that are applied or will be
//! - of the input, what a call does not consume is presented again, from its first byte, with what follows
//! - every state but the stream's start ends within `repl-timeout` if the primary says nothing
//!
//! No sockets, no clock, no threads: events come in with the time in milliseconds, actions go out. What is said and in which order,
//! and the log's lines, are Redis 7.2's (replication.c), so that any primary of that protocol is understood.

use std::ops::Range;

use tracing::{info, warn};

use super::payload::{MARK_BYTES, Payload};
use crate::replication::status::LinkState;
use crate::resp::write_command;

/// How long after a failure the next attempt is made.
pub const RETRY_MS: u64 = 1000;
/// How often the primary is told how far we are; and, while we are busy loading, that we are there.
pub const ACK_INTERVAL_MS: u64 = 1000;
/// The longest line that a primary may answer with. Redis's error lines are far shorter.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Length of a replication ID.
const ID_BYTES: usize = 40;

/// A position in a history of writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub id: String,
    /// Bytes of the stream up to here.
    pub offset: u64,
}

/// What the link needs of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub timeout_ms: u64,
    /// `masteruser` and `masterauth`.
    pub user: String,
    pub password: Option<Vec<u8>>,
    /// Where clients reach this node: the port, and the address if it is announced.
    pub listening_port: u16,
    pub announce_ip: String,
    /// Whether a snapshot in frames is welcome.
    pub frames: bool,
    pub version: String,
}

/// What the link is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// [`Action::Connect`] has succeeded.
    Connected,
    ConnectFailed(&'a str),
    /// Everything received that was not consumed yet. Not while the stream runs or a snapshot is being installed: see [`Link::heard`].
    Input(&'a [u8]),
    /// The connection has ended, for this reason if it is no orderly end.
    Ended(Option<&'a str>),
    /// Time has passed; to be told some ten times a second. The offset is what the primary may be told.
    Tick {
        applied: u64,
    },
    /// The snapshot is installed: the stream begins.
    Installed,
    /// The snapshot could not be loaded, or the stream cannot be understood; that is logged already.
    Failed,
    /// The primary has asked for an acknowledgement, and this is it.
    Acknowledge {
        applied: u64,
    },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Connect,
    Send(Vec<u8>),
    /// The connection is given up: close it if it is open, and forget what it has brought and is not applied.
    Close,
    /// The primary goes on with the stream where `resume` says; with a new ID the history has changed hands.
    Continue {
        new_id: Option<String>,
    },
    /// A snapshot will come, and it stands for this position; `None` from a primary that knows no positions.
    FullResync(Option<Position>),
    /// The payload begins. Its size, if known.
    Begin {
        size: Option<u64>,
    },
    /// These bytes of the input are of the payload.
    Payload(Range<usize>),
    /// The payload is here in full: say [`Event::Installed`] or [`Event::Failed`].
    End,
    /// PSYNC with FAILOVER was answered so.
    Failover {
        accepted: bool,
    },
}

/// An answer that the handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ping,
    Auth,
    /// A REPLCONF of this name, which may be refused.
    Replconf(&'static str),
    Psync,
}

enum State {
    /// Until this moment.
    Waiting {
        retry_ms: u64,
    },
    Connecting,
    /// The answers to come, the next one last.
    Handshake(Vec<Step>),
    /// Waiting for the line that announces the payload.
    Announcement,
    Payload(Payload),
    /// The payload is here; it is being loaded.
    Installing {
        size: Option<u64>,
        received: u64,
    },
    Stream,
}

/// The link to one primary.
pub struct Link {
    pub host: String,
    pub port: u16,
    pub settings: Settings,
    /// From where a partial resynchronisation is possible: what this node has applied, or has taken on to apply. Kept up to date by the
    /// owner while the link is down.
    pub resume: Option<Position>,
    /// What the snapshot on its way stands for.
    incoming: Option<Position>,
    /// Ask the primary with PSYNC to take over from us.
    pub failover: bool,
    /// When the link went down after it had been up.
    pub down_since_ms: Option<u64>,
    state: State,
    /// When anything last came, or the state began.
    last_io_ms: u64,
    last_ack_ms: u64,
    /// A primary that knows no PSYNC is told no offsets.
    knows_positions: bool,
}

impl Link {
    /// A link that connects at the next tick.
    pub fn new(host: String, port: u16, settings: Settings, resume: Option<Position>, now_ms: u64) -> Link {
        Link {
            host,
            port,
            settings,
            resume,
            incoming: None,
            failover: false,
            down_since_ms: None,
            state: State::Waiting { retry_ms: now_ms },
            last_io_ms: now_ms,
            last_ack_ms: now_ms,
            knows_positions: true,
        }
    }

    /// As ROLE names it.
    pub fn state(&self) -> LinkState {
        match self.state {
            State::Waiting { .. } => LinkState::Connect,
            State::Connecting => LinkState::Connecting,
            State::Handshake(_) => LinkState::Handshake,
            State::Announcement | State::Payload(_) | State::Installing { .. } => LinkState::Sync,
            State::Stream => LinkState::Connected,
        }
    }

    /// Whether input is for [`Event::Input`].
    pub fn takes_input(&self) -> bool {
        matches!(self.state, State::Handshake(_) | State::Announcement | State::Payload(_))
    }

    pub fn is_streaming(&self) -> bool {
        matches!(self.state, State::Stream)
    }

    pub fn last_io_ms(&self) -> u64 {
        self.last_io_ms
    }

    /// Of a snapshot on its way: its size (-1 while that is not announced, 0 if it never is), and what has come.
    pub fn sync_progress(&self) -> Option<(i64, u64)> {
        let (size, received) = match &self.state {
            State::Announcement => return Some((-1, 0)),
            State::Payload(payload) => (payload.size, payload.received),
            State::Installing { size, received } => (*size, *received),
            _ => return None,
        };
        Some((size.map_or(0, |size| i64::try_from(size).unwrap_or(i64::MAX)), received))
    }

    /// Something came from the primary that needed no `Event::Input`, or it had no chance to say something.
    #[inline]
    pub fn heard(&mut self, now_ms: u64) {
        self.last_io_ms = now_ms;
    }

    /// Takes account of an event; the bytes of an input that are dealt with.
    pub fn handle(&mut self, event: Event<'_>, now_ms: u64, actions: &mut Vec<Action>) -> usize {
        match event {
            Event::Connected if matches!(self.state, State::Connecting) => {
                info!("Non blocking connect for SYNC fired the event.");
                actions.push(send(&[b"PING"]));
                self.enter(State::Handshake(vec![Step::Ping]), now_ms);
            }
            Event::ConnectFailed(error) if matches!(self.state, State::Connecting) => {
                warn!("Error condition on socket for SYNC: {error}");
                self.give_up(now_ms, actions);
            }
            Event::Input(input) => return self.input(input, now_ms, actions),
            Event::Ended(reason) => self.ended(reason, now_ms, actions),
            Event::Tick { applied } => self.tick(applied, now_ms, actions),
            Event::Installed if matches!(self.state, State::Installing { .. }) => {
                info!("MASTER <-> REPLICA sync: Finished with success");
                self.enter(State::Stream, now_ms);
                // At once, as it puts us online over there.
                self.resume = self.incoming.take();
                let offset = self.resume.as_ref().map_or(0, |position| position.offset);
                self.acknowledge(offset, now_ms, actions);
            }
            Event::Failed => self.give_up(now_ms, actions),
            Event::Acknowledge { applied } if self.is_streaming() => self.acknowledge(applied, now_ms, actions),
            // Of a connection that was given up meanwhile.
            Event::Connected | Event::ConnectFailed(_) | Event::Installed | Event::Acknowledge { .. } => {}
        }
        0
    }

    fn enter(&mut self, state: State, now_ms: u64) {
        self.state = state;
        self.last_io_ms = now_ms;
    }

    // Time

    fn tick(&mut self, applied: u64, now_ms: u64, actions: &mut Vec<Action>) {
        let silent = now_ms.saturating_sub(self.last_io_ms) > self.settings.timeout_ms;
        match &self.state {
            State::Waiting { retry_ms } if now_ms >= *retry_ms => self.connect(now_ms, actions),
            State::Waiting { .. } => {}
            State::Connecting | State::Handshake(_) if silent => {
                warn!("Timeout connecting to the MASTER...");
                self.give_up(now_ms, actions);
            }
            State::Announcement | State::Payload(_) if silent => {
                warn!(
                    "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter to a larger value."
                );
                self.give_up(now_ms, actions);
            }
            State::Stream if silent => {
                warn!("MASTER timeout: no data nor PING received...");
                self.lost(now_ms, actions);
            }
            State::Connecting | State::Handshake(_) | State::Announcement => {}
            State::Payload(_) | State::Installing { .. } if self.ack_is_due(now_ms) => {
                // So that the primary sees that we live while we are busy.
                self.last_ack_ms = now_ms;
                actions.push(Action::Send(b"\n".to_vec()));
            }
            State::Payload(_) | State::Installing { .. } => {}
            State::Stream if self.ack_is_due(now_ms) => self.acknowledge(applied, now_ms, actions),
            State::Stream => {}
        }
    }

    fn ack_is_due(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ack_ms) >= ACK_INTERVAL_MS
    }

    fn acknowledge(&mut self, applied: u64, now_ms: u64, actions: &mut Vec<Action>) {
        self.last_ack_ms = now_ms;
        if self.knows_positions {
            actions.push(send(&[b"REPLCONF", b"ACK", applied.to_string().as_bytes()]));
        }
    }

    fn connect(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        info!("Connecting to MASTER {}:{}", self.host, self.port);
        info!("MASTER <-> REPLICA sync started");
        self.enter(State::Connecting, now_ms);
        actions.push(Action::Connect);
    }

    // Endings

    fn ended(&mut self, reason: Option<&str>, now_ms: u64, actions: &mut Vec<Action>) {
        let reason = reason.unwrap_or("connection lost");
        match self.state {
            State::Waiting { .. } => {}
            State::Connecting | State::Handshake(_) => {
                warn!("Master did not respond to command during SYNC handshake: {reason}");
                self.give_up(now_ms, actions);
            }
            State::Announcement | State::Payload(_) | State::Installing { .. } => {
                warn!("I/O error trying to sync with MASTER: {reason}");
                self.give_up(now_ms, actions);
            }
            State::Stream => self.lost(now_ms, actions),
        }
    }

    /// An attempt has failed: the next one is made after a pause.
    fn give_up(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Waiting { .. }) {
            return;
        }
        if self.is_streaming() {
            self.down_since_ms = Some(now_ms);
        }
        if matches!(&self.state, State::Handshake(steps) if steps.contains(&Step::Psync)) {
            self.refuse_failover(actions);
        }
        actions.push(Action::Close);
        self.enter(State::Waiting { retry_ms: now_ms + RETRY_MS }, now_ms);
    }

    fn refuse_failover(&mut self, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.failover) {
            actions.push(Action::Failover { accepted: false });
        }
    }

    /// A link that was up is down: the next attempt is made at once, before the primary's backlog has moved on.
    fn lost(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        warn!("Connection with master lost.");
        info!("Caching the disconnected master state.");
        self.down_since_ms = Some(now_ms);
        actions.push(Action::Close);
        self.connect(now_ms, actions);
    }

    // Input

    fn input(&mut self, input: &[u8], now_ms: u64, actions: &mut Vec<Action>) -> usize {
        self.last_io_ms = now_ms;
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            match &mut self.state {
                State::Payload(payload) => {
                    let taken = payload.take(rest);
                    if taken.payload > 0 {
                        actions.push(Action::Payload(consumed..consumed + taken.payload));
                    }
                    if taken.ended {
                        let (size, received) = (payload.size, payload.received);
                        actions.push(Action::End);
                        self.enter(State::Installing { size, received }, now_ms);
                    }
                    return consumed + taken.consumed;
                }
                State::Handshake(_) | State::Announcement => {}
                // The rest is the stream's, or nobody's.
                State::Waiting { .. } | State::Connecting | State::Installing { .. } | State::Stream => {
                    return consumed;
                }
            }
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                if rest.len() > MAX_LINE_BYTES {
                    warn!("Bad protocol from MASTER: an answer of more than {MAX_LINE_BYTES} bytes without a line end");
                    self.give_up(now_ms, actions);
                }
                return consumed;
            };
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            consumed += end + 1;
            // An empty line only says that the primary is still there.
            if !line.is_empty() {
                self.line(line, now_ms, actions);
            }
        }
    }

    fn line(&mut self, line: &[u8], now_ms: u64, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Announcement => self.announcement(line, now_ms, actions),
            State::Handshake(steps) => {
                let Some(step) = steps.pop() else { return };
                self.answer(step, line, now_ms, actions);
            }
            _ => {}
        }
    }

    fn answer(&mut self, step: Step, line: &[u8], now_ms: u64, actions: &mut Vec<Action>) {
        let text = String::from_utf8_lossy(line);
        match step {
            Step::Ping => {
                // A primary that wants a password is as good.
                let fine = ["+", "-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
                if !fine.iter().any(|start| text.starts_with(start)) {
                    warn!("Error reply to PING from master: '{text}'");
                    return self.give_up(now_ms, actions);
                }
                info!("Master replied to PING, replication can continue...");
                self.introduce(now_ms, actions);
            }
            Step::Auth if line[0] == b'-' => {
                warn!("Unable to AUTH to MASTER: {text}");
                self.give_up(now_ms, actions);
            }
            Step::Auth => {}
            Step::Replconf(name) => {
                if line[0] == b'-' {
                    info!("(Non critical) Master does not understand REPLCONF {name}: {text}");
                }
                if matches!(&self.state, State::Handshake(steps) if steps.is_empty()) {
                    self.ask(now_ms, actions);
                }
            }
            Step::Psync => self.answer_to_psync(&text, now_ms, actions),
        }
    }

    /// Says who we are and what we can.
    fn introduce(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let settings = &self.settings;
        let mut out = Vec::new();
        let mut steps = Vec::new();
        let mut say = |step: Step, words: &[&[u8]]| {
            write_command(&mut out, words.len(), words.iter().copied());
            steps.push(step);
        };
        match &settings.password {
            Some(password) if settings.user.is_empty() => say(Step::Auth, &[b"AUTH", password]),
            Some(password) => say(Step::Auth, &[b"AUTH", settings.user.as_bytes(), password]),
            None => {}
        }
        let port = settings.listening_port.to_string();
        say(Step::Replconf("listening-port"), &[b"REPLCONF", b"listening-port", port.as_bytes()]);
        if !settings.announce_ip.is_empty() {
            say(Step::Replconf("ip-address"), &[b"REPLCONF", b"ip-address", settings.announce_ip.as_bytes()]);
        }
        let capabilities: [&[u8]; 7] = [b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", b"basalt-frames"];
        say(Step::Replconf("capa"), &capabilities[..if settings.frames { 7 } else { 5 }]);
        say(Step::Replconf("version"), &[b"REPLCONF", b"version", settings.version.as_bytes()]);
        actions.push(Action::Send(out));
        steps.reverse();
        self.enter(State::Handshake(steps), now_ms);
    }

    /// Asks for the stream.
    fn ask(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let offset;
        let mut words: Vec<&[u8]> = match &self.resume {
            Some(position) => {
                // The first byte that we do not have, counted from 1.
                offset = (position.offset + 1).to_string();
                info!("Trying a partial resynchronization (request {}:{offset}).", position.id);
                vec![b"PSYNC", position.id.as_bytes(), offset.as_bytes()]
            }
            None => {
                info!("Partial resynchronization not possible (no cached master)");
                vec![b"PSYNC", b"?", b"-1"]
            }
        };
        if self.failover {
            words.push(b"FAILOVER");
        }
        actions.push(send(&words));
        self.enter(State::Handshake(vec![Step::Psync]), now_ms);
    }

    fn answer_to_psync(&mut self, text: &str, now_ms: u64, actions: &mut Vec<Action>) {
        let mut words = text.split_ascii_whitespace();
        let accepted = match words.next() {
            Some("+FULLRESYNC") => {
                self.full_resync(words.next(), words.next(), now_ms, actions);
                true
            }
            Some("+CONTINUE") if self.resume.is_some() => {
                self.continue_at(words.next(), now_ms, actions);
                true
            }
            _ => false,
        };
        if std::mem::take(&mut self.failover) {
            actions.push(Action::Failover { accepted });
        }
        if accepted {
            return;
        }
        if text.starts_with("-NOMASTERLINK") || text.starts_with("-LOADING") {
            info!("Master is currently unable to PSYNC but should be in the future: {text}");
            return self.give_up(now_ms, actions);
        }
        if text.starts_with("-ERR") {
            info!("Master does not support PSYNC or is in error state (reply: {text})");
        } else {
            warn!("Unexpected reply to PSYNC from master: {text}");
        }
        info!("Retrying with SYNC...");
        actions.push(Action::Send(b"SYNC\r\n".to_vec()));
        self.await_snapshot(None, now_ms, actions);
    }

    fn full_resync(&mut self, id: Option<&str>, offset: Option<&str>, now_ms: u64, actions: &mut Vec<Action>) {
        let id = id.filter(|id| id.len() == ID_BYTES);
        let offset = offset.and_then(|offset| offset.parse().ok());
        let position = id.zip(offset).map(|(id, offset)| Position { id: id.to_owned(), offset });
        match &position {
            Some(Position { id, offset }) => info!("Full resync from master: {id}:{offset}"),
            None => warn!("Master replied with wrong +FULLRESYNC syntax."),
        }
        self.await_snapshot(position, now_ms, actions);
    }

    fn await_snapshot(&mut self, position: Option<Position>, now_ms: u64, actions: &mut Vec<Action>) {
        self.knows_positions = position.is_some();
        self.incoming.clone_from(&position);
        actions.push(Action::FullResync(position));
        self.enter(State::Announcement, now_ms);
    }

    fn continue_at(&mut self, id: Option<&str>, now_ms: u64, actions: &mut Vec<Action>) {
        info!("Successful partial resynchronization with master.");
        let old = self.resume.as_ref().map(|position| position.id.as_str());
        let new_id = id.filter(|id| id.len() == ID_BYTES && Some(*id) != old).map(str::to_owned);
        if let Some(id) = &new_id {
            info!("Master replication ID changed to {id}");
        }
        info!("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
        self.knows_positions = true;
        if let (Some(id), Some(position)) = (&new_id, &mut self.resume) {
            position.id.clone_from(id);
        }
        actions.push(Action::Continue { new_id });
        self.enter(State::Stream, now_ms);
        self.last_ack_ms = now_ms;
    }

    /// The line before the payload.
    fn announcement(&mut self, line: &[u8], now_ms: u64, actions: &mut Vec<Action>) {
        let text = String::from_utf8_lossy(line);
        let payload = match line {
            [b'-', ..] => {
                warn!("MASTER aborted replication with an error: {}", &text[1..]);
                return self.give_up(now_ms, actions);
            }
            [b'$', b'E', b'O', b'F', b':', mark @ ..] => {
                mark.first_chunk::<MARK_BYTES>().map(|mark| Payload::until_mark(*mark))
            }
            [b'$', ..] => text[1..].parse().ok().map(Payload::of_length),
            _ => None,
        };
        let Some(payload) = payload else {
            warn!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{text}'), are you sure the host and port are right?"
            );
            return self.give_up(now_ms, actions);
        };
        actions.push(Action::Begin { size: payload.size });
        self.enter(State::Payload(payload), now_ms);
    }
}

fn send(words: &[&[u8]]) -> Action {
    let mut out = Vec::new();
    write_command(&mut out, words.len(), words.iter().copied());
    Action::Send(out)
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
