//! Fifty clients driven by one loop: whoever has been answered in full sends next. The loop counts what it sends and receives, so
//! that the history has one exact order of these.
//!
//! A window ends when every script is through: then the commands of dropped clients are waited for, and all values are read.

use crate::checker::{BUDGET, Op, Verdict, check};
use crate::common::conn::{Conn, Reply, encode_into, escape, wait_readable};
use crate::common::{PATIENCE, Rng, Server, wait_until};
use crate::model::{Cmd, DATABASES, Data, KEYS, NONE, Out, SLOTS, Values, heard, slot};
use crate::workload::{Script, Take, Then, args, database_of, script};
use std::collections::VecDeque;
use std::time::Duration;

/// Replies that may be waited for at the same time: enough to keep four cores in each other's way, and few enough for an exact
/// search, which grows with the number of commands that overlap.
const MOST_UNDER_WAY: usize = 10;

struct Client {
    conn: Conn,
    script: Script,
    /// The next unit to send.
    unit: usize,
    /// Where its commands begin in the history.
    first_op: usize,
    waiting: VecDeque<Take>,
}

#[derive(Default, Debug)]
pub struct Tally {
    pub windows: usize,
    pub commands: usize,
    pub dropped: usize,
    pub aborted: usize,
    /// The most states that the check of a window went through.
    pub most_states: usize,
}

pub struct Driver<'a> {
    server: &'a Server,
    seed: u64,
    /// Picks who sends next.
    rng: Rng,
    clients: Vec<Client>,
    /// One connection in each database, for reading everything.
    readers: Vec<Conn>,
    /// The history of the window under way.
    history: Vec<Op>,
    /// What has been sent and received so far.
    events: u64,
    /// Addresses of dropped clients that the server may still know.
    dropped: Vec<String>,
    /// What the databases held when the last window ended.
    held: Vec<Vec<Reply>>,
    pub tally: Tally,
}

fn connect(server: &Server, database: u8) -> Conn {
    let mut conn = server.conn();
    conn.ok(&format!("SELECT {database}"));
    conn
}

impl<'a> Driver<'a> {
    pub fn new(server: &'a Server, seed: u64, clients: usize) -> Driver<'a> {
        let client = |i: usize| Client {
            conn: connect(server, database_of(i)),
            script: Script { planned: Vec::new(), units: Vec::new() },
            unit: 0,
            first_op: 0,
            waiting: VecDeque::new(),
        };
        let mut readers: Vec<Conn> = (0..DATABASES).map(|database| connect(server, database as u8)).collect();
        let held = readers.iter_mut().map(read_all).collect();
        Driver {
            server,
            seed,
            rng: Rng::new(seed),
            clients: (0..clients).map(client).collect(),
            readers,
            history: Vec::new(),
            events: 0,
            dropped: Vec::new(),
            held,
            tally: Tally::default(),
        }
    }

    /// Runs one window and judges it.
    pub fn window(&mut self) {
        let mut values = Values::new();
        let start = data(&self.held, &mut values);
        self.history.clear();
        self.plan(&mut values);
        while self.send_and_receive(&mut values) {}
        self.settle();
        self.held = self.readers.iter_mut().map(read_all).collect();
        let end = data(&self.held, &mut values);
        self.note_end(end);
        self.judge(&start, &mut values);
        self.tally.windows += 1;
    }

    fn plan(&mut self, values: &mut Values) {
        for (i, client) in self.clients.iter_mut().enumerate() {
            client.script = script(self.seed, self.tally.windows, i, values);
            client.unit = 0;
            client.first_op = self.history.len();
            let first = client.first_op;
            self.history.extend(client.script.planned.iter().map(|planned| Op {
                client: i,
                database: database_of(i),
                cmd: planned.cmd.clone(),
                sent: u64::MAX,
                answered: None,
                out: None,
                after: planned.after.iter().map(|at| first + at).collect(),
                watch: planned.watch.map(|at| first + at),
            }));
        }
    }

    /// Lets somebody send, as long as not too many wait, and takes what replies there are; whether anything is left to do.
    fn send_and_receive(&mut self, values: &mut Values) -> bool {
        let waiting: usize = self.clients.iter().map(|client| client.waiting.len()).sum();
        let may_send = |client: &Client| client.waiting.is_empty() && client.unit < client.script.units.len();
        let ready: Vec<usize> = (0..self.clients.len()).filter(|&i| may_send(&self.clients[i])).collect();
        let room = waiting < MOST_UNDER_WAY;
        if room && !ready.is_empty() {
            let i = ready[self.rng.below(ready.len())];
            self.send(i);
            // A reply that waits to be noticed makes a command look longer under way than it was, and the search longer.
            self.receive_within(Duration::ZERO, values);
            return true;
        }
        if waiting == 0 {
            return false;
        }
        let any = self.receive_within(PATIENCE, values);
        assert!(any, "no reply for {PATIENCE:?}; waited for:\n{}", self.waited_for());
        true
    }

    fn receive_within(&mut self, timeout: Duration, values: &mut Values) -> bool {
        let waiting: Vec<usize> = (0..self.clients.len()).filter(|&i| !self.clients[i].waiting.is_empty()).collect();
        let fds: Vec<_> = waiting.iter().map(|&i| self.clients[i].conn.fd()).collect();
        let ready = wait_readable(&fds, timeout).expect("polling sockets of ours");
        for (i, _) in waiting.into_iter().zip(&ready).filter(|(_, ready)| **ready) {
            self.receive(i, values);
        }
        ready.contains(&true)
    }

    fn send(&mut self, i: usize) {
        let client = &mut self.clients[i];
        let unit = &client.script.units[client.unit];
        client.unit += 1;
        let mut bytes = Vec::new();
        unit.requests.iter().for_each(|args| encode_into(&mut bytes, args));
        self.events += 1;
        for take in &unit.takes {
            if let Take::Reply(at) = take {
                self.history[client.first_op + at].sent = self.events;
            }
        }
        client.conn.send_raw(&bytes).unwrap_or_else(|e| panic!("sending for client {i}: {e}"));
        if unit.then == Then::Read {
            client.waiting.extend(&unit.takes);
            return;
        }
        let then = unit.then;
        self.dropped.push(client.conn.local_address());
        let leaving = std::mem::replace(&mut client.conn, connect(self.server, database_of(i)));
        if then == Then::Reset {
            leaving.reset()
        } else {
            drop(leaving)
        }
        self.tally.dropped += 1;
    }

    fn receive(&mut self, i: usize, values: &mut Values) {
        let client = &mut self.clients[i];
        while let Some(&take) = client.waiting.front() {
            let reply = client.conn.read_if_there().unwrap_or_else(|e| panic!("reading for client {i}: {e}"));
            let Some(reply) = reply else { break };
            client.waiting.pop_front();
            self.events += 1;
            match take {
                Take::Agreed => {
                    let agreed = matches!(&reply, Reply::Simple(text) if text == b"OK" || text == b"QUEUED");
                    assert!(agreed, "client {i} was told {reply:?} instead of OK or QUEUED");
                }
                Take::Reply(at) => {
                    let op = &mut self.history[client.first_op + at];
                    let out = heard(&op.cmd, &reply, values);
                    self.tally.aborted += usize::from(out == Out::Aborted);
                    op.answered = Some(self.events);
                    op.out = Some(out);
                }
            }
        }
    }

    fn waited_for(&self) -> String {
        let waiting = self.clients.iter().enumerate().filter(|(_, client)| !client.waiting.is_empty());
        let lines = waiting.map(|(i, client)| {
            let unit = &client.script.units[client.unit - 1];
            let sent: Vec<String> = unit.requests.iter().map(|args| escape(&args.join(&b' '))).collect();
            format!("  client {i}: {} of {} replies to {sent:?}", client.waiting.len(), unit.takes.len())
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Waits until the server is rid of the dropped clients, and every core has done what they had asked of it.
    fn settle(&mut self) {
        let reader = &mut self.readers[0];
        let dropped = std::mem::take(&mut self.dropped);
        wait_until("dropped clients are gone", || {
            let list = reader.cmd("CLIENT LIST").text();
            !dropped.iter().any(|address| list.contains(&format!("addr={address} ")))
        });
        // A command may have been on its way to another core when its client went. A question that each core answers goes
        // the same ways; the second is behind whatever the first has overtaken.
        for _ in 0..2 {
            reader.ok("DBSIZE");
        }
    }

    /// The last of the history: everything as it was found afterwards.
    fn note_end(&mut self, end: Data) {
        // Commands of scripts that ended early, behind a dropped client's EXEC, were never sent.
        assert!(self.history.iter().all(|op| op.sent != u64::MAX), "every planned command is sent");
        self.history.push(Op {
            client: 0,
            database: 0,
            cmd: Cmd::Snapshot,
            sent: self.events + 1,
            answered: Some(self.events + 2),
            out: Some(Out::Values(Box::new(end))),
            after: Vec::new(),
            watch: None,
        });
        self.events += 2;
        self.tally.commands += self.history.len();
    }

    fn judge(&mut self, start: &Data, values: &mut Values) {
        let what = match check(&self.history, start, values, BUDGET) {
            Verdict::Serialisable(states) => {
                self.tally.most_states = self.tally.most_states.max(states);
                return;
            }
            Verdict::Violation(longest) => ("no order explains the replies", longest),
            Verdict::Undecided(longest) => ("the search for an order took too long", longest),
        };
        let (what, longest) = what;
        let report = report(&self.history, start, &longest, values);
        panic!("window {} with seed {}: {what}\n{report}", self.tally.windows, self.seed);
    }
}

fn read_all(conn: &mut Conn) -> Vec<Reply> {
    let request: Vec<&str> = ["MGET"].into_iter().chain(KEYS).collect();
    conn.argv(&request).items()
}

fn data(held: &[Vec<Reply>], values: &mut Values) -> Data {
    let mut data = [NONE; SLOTS];
    for (database, replies) in held.iter().enumerate() {
        for (key, reply) in replies.iter().enumerate() {
            data[slot(database as u8, key as u8)] = match reply {
                Reply::Bulk(bytes) => values.id(bytes),
                _ => NONE,
            };
        }
    }
    data
}

/// A history as a reader can follow it: the longest order found, then what fits nowhere behind it.
pub fn report(ops: &[Op], start: &Data, longest: &[usize], values: &Values) -> String {
    let mut text = format!("at first: {}\n", show_data(start, values));
    text += "what could be put in order (sent-answered client database: command -> reply):\n";
    longest.iter().for_each(|&i| text += &show(&ops[i], values));
    text += "what was left:\n";
    // Most WATCHes take effect beside the order.
    let is_left = |i: &usize| !longest.contains(i) && !matches!(ops[*i].cmd, Cmd::Watch(_));
    let mut left: Vec<usize> = (0..ops.len()).filter(is_left).collect();
    left.sort_by_key(|&i| ops[i].sent);
    left.iter().for_each(|&i| text += &show(&ops[i], values));
    text
}

fn show(op: &Op, values: &Values) -> String {
    let line = |cmd: &Cmd| escape(&args(cmd, values).join(&b' '));
    let command = match &op.cmd {
        Cmd::Exec(cmds) => format!("EXEC of [{}]", cmds.iter().map(line).collect::<Vec<_>>().join(", ")),
        Cmd::Snapshot => "everything".to_owned(),
        cmd => line(cmd),
    };
    let answered = op.answered.map_or("never".to_owned(), |at| at.to_string());
    let out = op.out.as_ref().map_or("no reply".to_owned(), |out| show_out(out, values));
    format!("  {}-{answered} c{} db{}: {command} -> {out}\n", op.sent, op.client, op.database)
}

fn show_out(out: &Out, values: &Values) -> String {
    match out {
        Out::Value(id) => escape(values.bytes(*id)),
        Out::List(items) => {
            format!("[{}]", items.iter().map(|item| show_out(item, values)).collect::<Vec<_>>().join(", "))
        }
        Out::Values(data) => show_data(data, values),
        other => format!("{other:?}"),
    }
}

fn show_data(data: &Data, values: &Values) -> String {
    let held = (0..SLOTS).filter(|&s| data[s] != NONE);
    let shown = held.map(|s| format!("{}/{}={}", s / KEYS.len(), KEYS[s % KEYS.len()], escape(values.bytes(data[s]))));
    shown.collect::<Vec<_>>().join(" ")
}
