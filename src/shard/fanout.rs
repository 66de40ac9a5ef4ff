//! Work that concerns several cores: a coordinator task asks, the cores answer, the client gets one reply.
//!
//! A question is a function that runs over there between two commands; its answer comes back as a message. Nothing is shared.
//! This is the way of rare commands (INFO, CONFIG SET, FLUSHALL); commands over keys do not go through it.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::rc::Rc;

use super::batch::Job;
use super::client::{Client, Stall};
use super::locks::{Claims, Mode};
use super::{Message, Shard, ShardIo};
use crate::commands::lookup::CommandId;
use crate::commands::{Error, Outcome};
use crate::node::Node;
use crate::observe::stats::CallResult;
use crate::replication::Replication;
use crate::resp::{Args, Out, OwnedArgs, Proto, Writer};
use crate::runtime::task::Queue;
use crate::runtime::{Core, SocketId, clock};

/// One command at work in a task, and the core it was sent to.
pub struct Call {
    pub core: Rc<Core<Node>>,
    pub args: OwnedArgs,
    pub database: usize,
    pub proto: Proto,
    /// Whether it counts as an access to its keys.
    pub touches: bool,
    pub client_id: u64,
    pub socket: SocketId,
    /// It is part of a MULTI block, which holds all locks that it needs.
    pub locked: bool,
}

impl Call {
    pub fn args(&self) -> Args<'_> {
        self.args.args()
    }

    /// Runs `f` on this core.
    pub fn here<R>(&self, f: impl FnOnce(&mut Shard, &mut ShardIo) -> R) -> R {
        with_shard(&self.core, f)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.here(|shard, _| shard.shared.shards)
    }

    /// Runs `f` on one shard.
    pub async fn on<R: Send + 'static>(
        &self,
        shard: usize,
        f: impl FnOnce(&mut Shard, &mut ShardIo) -> R + Send + 'static,
    ) -> Option<R> {
        ask(&self.core, shard, f).await
    }

    /// Runs `f` on every shard at once; the answers in the order of the shards.
    pub async fn on_all<R: Send + 'static>(
        &self,
        f: impl Fn(&mut Shard, &mut ShardIo) -> R + Clone + Send + 'static,
    ) -> Vec<R> {
        on_all(&self.core, f).await
    }

    /// Runs `f` on one shard once it has that lock there.
    pub async fn on_locked<R: Send + 'static>(
        &self,
        shard: usize,
        claims: Claims,
        f: impl FnOnce(&mut Shard, &mut ShardIo) -> R + Send + 'static,
    ) -> Option<R> {
        if self.locked {
            return self.on(shard, f).await;
        }
        let answer =
            question(&self.core, shard, f, |job| Box::new(move |shard, io| shard.run_locked(io, &claims, job)));
        answer.await
    }

    /// Locks all keys of all cores. What it returns is for [`Call::unlock`].
    pub async fn lock_all(&self, mode: Mode) -> Option<usize> {
        if self.locked {
            return None;
        }
        let (sender, receiver) = self.core.tasks.oneshot();
        self.here(|shard, io| shard.lock_all(io, self.socket, mode, sender));
        receiver.await
    }

    /// Ends what [`Call::lock_all`] began.
    pub fn unlock(&self, lock: Option<usize>) {
        if let Some(transaction) = lock {
            self.here(|shard, io| shard.end_transaction(io, transaction));
        }
    }

    /// The reply `OK`.
    pub fn ok(&self) -> Result<Out, Error> {
        written(self.proto, |out| {
            out.ok();
            Ok(())
        })
    }
}

/// Runs `f` with the shard of this executor.
pub fn with_shard<R>(core: &Core<Node>, f: impl FnOnce(&mut Shard, &mut ShardIo) -> R) -> R {
    core.with(|node, io| match node {
        Node::Shard(shard) => f(shard, io),
        Node::Replication(_) => unreachable!("calls run on shard executors only"),
    })
}

/// Asks one shard. `None` only when the process ends before it answers.
pub fn ask<R: Send + 'static, F: FnOnce(&mut Shard, &mut ShardIo) -> R + Send + 'static>(
    core: &Rc<Core<Node>>,
    to: usize,
    f: F,
) -> impl Future<Output = Option<R>> + use<R, F> {
    question(core, to, f, |job| job)
}

/// The same, with the job put into another one on its way.
fn question<R, F, W>(core: &Rc<Core<Node>>, to: usize, f: F, wrap: W) -> impl Future<Output = Option<R>> + use<R, F, W>
where
    R: Send + 'static,
    F: FnOnce(&mut Shard, &mut ShardIo) -> R + Send + 'static,
    W: FnOnce(Job) -> Job,
{
    let answer = with_shard(core, |shard, io| {
        let (sender, receiver) = core.tasks.oneshot::<Box<dyn Any + Send>>();
        let from = shard.id;
        let token = shard.questions.insert(sender);
        let job = wrap(Box::new(move |shard: &mut Shard, io: &mut ShardIo| {
            let value: Box<dyn Any + Send> = Box::new(f(shard, io));
            if from == shard.id {
                shard.on_answer(token, value);
            } else {
                io.post(from, Message::Answer { token, value });
            }
        }));
        if to == from {
            job(shard, io);
        } else {
            io.post(to, Message::Run(job));
        }
        receiver
    });
    async move { answer.await.and_then(|value| value.downcast().ok()).map(|value| *value) }
}

/// Asks the replication executor, which answers now or later. `None` when the process ends before.
pub fn ask_replication<R, F>(core: &Rc<Core<Node>>, f: F) -> impl Future<Output = Option<R>> + use<R, F>
where
    R: Send + 'static,
    F: FnOnce(&mut Replication, &mut ShardIo, Answer<R>) + Send + 'static,
{
    let answer = with_shard(core, |shard, io| {
        let (sender, receiver) = core.tasks.oneshot::<Box<dyn Any + Send>>();
        let answer = Answer { shard: shard.id, token: shard.questions.insert(sender), of: PhantomData };
        let control = move |replication: &mut Replication, io: &mut ShardIo| f(replication, io, answer);
        io.post(shard.shared.shards, Message::Control(Box::new(control)));
        receiver
    });
    async move { answer.await.and_then(|value| value.downcast().ok()).map(|value| *value) }
}

/// Who waits for an answer of the replication executor.
pub struct Answer<R> {
    shard: usize,
    token: usize,
    of: PhantomData<fn(R)>,
}

impl<R: Send + 'static> Answer<R> {
    pub fn send(self, io: &mut ShardIo, value: R) {
        io.post(self.shard, Message::Answer { token: self.token, value: Box::new(value) });
    }
}

/// Asks every shard at once.
pub async fn on_all<R: Send + 'static>(
    core: &Rc<Core<Node>>,
    f: impl Fn(&mut Shard, &mut ShardIo) -> R + Clone + Send + 'static,
) -> Vec<R> {
    let shards = with_shard(core, |shard, _| shard.shared.shards);
    let questions: Vec<_> = (0..shards).map(|shard| ask(core, shard, f.clone())).collect();
    let mut answers = Vec::with_capacity(shards);
    for question in questions {
        answers.extend(question.await);
    }
    answers
}

impl Shard {
    /// An answer to a question of this core.
    pub(super) fn on_answer(&mut self, token: usize, value: Box<dyn Any + Send>) {
        if let Some(question) = self.questions.try_remove(token) {
            question.send(value);
        }
    }

    /// Tells every other shard to run `f`, without waiting.
    pub fn tell_others(&self, io: &mut ShardIo, f: impl Fn(&mut Shard, &mut ShardIo) + Clone + Send + 'static) {
        for shard in (0..self.shared.shards).filter(|shard| *shard != self.id) {
            io.post(shard, Message::Run(Box::new(f.clone())));
        }
    }

    /// Starts a task for a command. `work` writes the reply; until then nothing else of the client runs.
    pub(super) fn start_call<F>(
        &mut self,
        client: &mut Client,
        id: CommandId,
        args: &Args<'_>,
        work: impl FnOnce(Rc<Call>) -> F + 'static,
    ) where
        F: Future<Output = Result<Out, Error>> + 'static,
    {
        let (Some(core), Some(tasks)) = (self.core.upgrade(), self.tasks.clone()) else {
            return; // the executor is ending
        };
        debug_assert!(client.replies.is_empty(), "its reply would overtake those that other cores still owe");
        client.stall.add(Stall::TASK);
        let call = Rc::new(Call {
            core,
            args: args.to_owned(),
            database: client.database,
            proto: client.proto,
            touches: self.touches(client, id),
            client_id: client.id,
            socket: client.socket,
            locked: client.modes.in_block,
        });
        tasks.spawn(Queue::Coordinator, async move {
            let started = clock::ticks();
            let outcome = work(call.clone()).await;
            call.here(|shard, io| shard.finish_call(io, &call, id, outcome, started));
        });
    }

    /// The task of a command is done: its client gets the reply and goes on.
    fn finish_call(&mut self, io: &mut ShardIo, call: &Call, id: CommandId, outcome: Result<Out, Error>, started: u64) {
        let nanoseconds = self.rate.nanoseconds(started, clock::ticks());
        let result = if outcome.is_ok() { CallResult::Ok } else { CallResult::Failed };
        self.stats.record_call(id.index(), nanoseconds, result);
        if let Err(error) = &outcome {
            self.stats.record_error(error.message());
        }
        self.with_connection(call.socket, |shard, connection| {
            let client = &mut connection.client;
            if shard.is_slow(nanoseconds) {
                shard.note_slow(client, id, nanoseconds, &call.args());
            }
            let in_block = client.modes.in_block;
            if !client.muted {
                shard.ready_output(client);
                match &outcome {
                    Ok(out) => client.out.append(out),
                    Err(error) => Writer::new(&mut client.out, client.proto).error(error.message()),
                }
            }
            shard.touch(client);
            if in_block {
                client.stall.remove(Stall::TASK);
                shard.go_on_with_block(io, client);
            } else {
                client.muted = false;
                shard.release(client, Stall::TASK);
            }
        });
    }
}

/// Writes a reply into a buffer of its own.
pub fn written(proto: Proto, write: impl FnOnce(&mut Writer<'_>) -> Outcome) -> Result<Out, Error> {
    let mut out = Out::default();
    write(&mut Writer::new(&mut out, proto))?;
    Ok(out)
}
