//! Commands over keys of several cores that may be served key by key: MGET, MSET, DEL and their like.
//!
//! Each core gets the same command with its own keys; the replies are joined. Between cores the command is not atomic.

use std::rc::Rc;

use super::Shard;
use super::client::Client;
use super::fanout::Call;
use crate::commands::lookup::CommandId;
use crate::commands::{Ctx, Error, Handler, keys};
use crate::keyspace::slot;
use crate::resp::{Args, Out, OwnedArgs, Proto, Writer};

/// What the replies of the parts make together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Join {
    /// Each part counts keys: the sum.
    Sum,
    /// Each part answers OK.
    Ok,
    /// Each part is an array with one element a key: the elements in the order of the keys.
    Elements,
}

/// One core's part.
struct Part {
    args: OwnedArgs,
    /// The places of its keys among all keys of the command.
    places: Vec<usize>,
}

impl Shard {
    /// Starts the parts of a command whose keys are on several cores.
    pub(super) fn start_split(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>) {
        self.start_call(client, id, args, move |call| run(call, id));
    }

    /// Executes a part here; its reply, or its error.
    fn run_part(
        &mut self,
        id: CommandId,
        database: usize,
        proto: Proto,
        touches: bool,
        args: &Args<'_>,
    ) -> Result<Out, Error> {
        let Handler::Data(handler) = self.commands.get(id).handler else {
            unreachable!("only data commands are split");
        };
        if self.gates.memory_limit {
            self.make_room(id)?;
        }
        self.policy.touches = touches;
        let mut out = Out::default();
        let mut ctx = Ctx {
            keys: self.keyspace.view(database, self.now_ms, &self.policy),
            out: Writer::new(&mut out, proto),
            max_bulk_bytes: self.config.proto_max_bulk_len,
            dirty: 0,
        };
        let outcome = handler(&mut ctx, args);
        self.changes += ctx.dirty;
        outcome.map(|()| out)
    }
}

async fn run(call: Rc<Call>, id: CommandId) -> Result<Out, Error> {
    let shards = call.shards();
    let command = call.here(|shard, _| shard.commands.get(id));
    let join = match command.name {
        "mget" => Join::Elements,
        "mset" => Join::Ok,
        _ => Join::Sum,
    };
    // MSET's keys alternate with values.
    let stride = if join == Join::Ok { 2 } else { 1 };
    let args = call.args();
    if !(args.len() - 1).is_multiple_of(stride) {
        return Err(Error::arity(command.name));
    }
    let mut parts: Vec<Option<Part>> = (0..shards).map(|_| None).collect();
    let mut count = 0;
    let found = keys::for_each_key(command, &args, |index| {
        let part = parts[slot::shard_of(slot::slot(args.get(index)), shards)].get_or_insert_with(|| {
            let mut own = OwnedArgs::default();
            own.push(args.get(0));
            Part { args: own, places: Vec::new() }
        });
        for i in index..index + stride {
            match args.separate(i) {
                Some(large) => part.args.push_separate(large.clone()),
                None => part.args.push(args.get(i)),
            }
        }
        part.places.push(count);
        count += 1;
    });
    if found.is_err() {
        return Err(Error::Syntax);
    }
    let (database, proto, touches) = (call.database, call.proto, call.touches);
    let mut places = Vec::new();
    let mut questions = Vec::new();
    for (shard, part) in parts.into_iter().enumerate() {
        let Some(part) = part else { continue };
        places.push(part.places);
        questions.push(call.on(shard, move |shard, _| shard.run_part(id, database, proto, touches, &part.args.args())));
    }
    let mut replies = Vec::new();
    for question in join_all(questions).await {
        replies.push(question.ok_or(Error::text("ERR server is shutting down"))??);
    }
    Ok(join_replies(join, proto, count, &places, &replies))
}

/// Waits for all; each question is under way as soon as it is first looked at.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut all = std::task::Poll::Ready(());
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => all = std::task::Poll::Pending,
                }
            }
        }
        all
    })
    .await;
    pending.into_iter().filter_map(|(_, output)| output).collect()
}

fn join_replies(join: Join, proto: Proto, count: usize, places: &[Vec<usize>], replies: &[Out]) -> Out {
    let mut out = Out::default();
    let mut writer = Writer::new(&mut out, proto);
    match join {
        Join::Ok => writer.ok(),
        Join::Sum => writer.int(replies.iter().map(|reply| integer(&reply.buf)).sum()),
        Join::Elements => {
            writer.array(count);
            let mut elements: Vec<(usize, std::ops::Range<usize>)> = vec![(0, 0..0); count];
            for (part, reply) in replies.iter().enumerate() {
                let mut at = line_end(&reply.buf, 0);
                for place in &places[part] {
                    let end = element_end(reply, at);
                    elements[*place] = (part, at..end);
                    at = end;
                }
            }
            for (part, range) in elements {
                let reply = &replies[part];
                let first = reply.attached.partition_point(|(offset, _)| *offset < range.start);
                out.append_range(reply, range, first);
            }
        }
    }
    out
}

/// The number of an integer reply of our own.
fn integer(reply: &[u8]) -> i64 {
    let digits = reply.get(1..reply.len().saturating_sub(2)).unwrap_or_default();
    crate::types::numbers::parse_i64(digits).unwrap_or(0)
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| from + at + 1)
}

/// Where the string or null that begins at `at` ends. The payload of an attached value is not in the buffer.
fn element_end(reply: &Out, at: usize) -> usize {
    let header = line_end(&reply.buf, at);
    if reply.buf.get(at) != Some(&b'$') {
        return header;
    }
    let attached = reply.attached.binary_search_by_key(&header, |(offset, _)| *offset).is_ok();
    match crate::types::numbers::parse_i64(&reply.buf[at + 1..header - 2]) {
        Some(len) if len >= 0 => header + if attached { 0 } else { len as usize } + 2,
        _ => header,
    }
}
