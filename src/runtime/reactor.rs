//! The reactor: one glommio task an executor that turns the ring.
//!
//! A tick: enter the ring, take every completion, take messages, let the service finish the tick, post messages. glommio gets a turn only
//! when a task of ours is runnable ([`super::task`] counts them), so a busy or an idle executor costs no glommio system call.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::ExecutorId;
use super::io::{Completed, Event, Io};
use super::limits::MESSAGES_A_TICK;
use super::ring::{Buffers, Wait};
use super::task::Tasks;

/// What an executor runs.
pub trait Service: Sized + 'static {
    /// What crosses between executors.
    type Message: Send + 'static;

    /// A tick begins; the clock is read once for it.
    fn begin_tick(&mut self, io: &mut Io<Self::Message>);

    fn on_event(&mut self, io: &mut Io<Self::Message>, event: Event<'_>);

    fn on_message(&mut self, io: &mut Io<Self::Message>, from: ExecutorId, message: Self::Message);

    /// Everything of this tick has been handled: hand over what is to be sent.
    fn end_tick(&mut self, io: &mut Io<Self::Message>);

    /// Tasks have run, between two ticks, and what they posted is about to leave.
    fn after_tasks(&mut self, io: &mut Io<Self::Message>);

    /// Whether the executor is to end after this tick.
    fn stopping(&self) -> bool;
}

/// One executor's service with its runtime; shared by the reactor and the executor's tasks, never borrowed over an `await`.
pub struct Core<S: Service> {
    pub service: RefCell<S>,
    pub io: RefCell<Io<S::Message>>,
    pub tasks: Tasks,
}

impl<S: Service> Core<S> {
    /// Runs `f` with the service and its I/O.
    pub fn with<R>(&self, f: impl FnOnce(&mut S, &mut Io<S::Message>) -> R) -> R {
        f(&mut self.service.borrow_mut(), &mut self.io.borrow_mut())
    }
}

/// Turns the ring until the service stops.
pub(super) async fn run<S: Service>(core: Rc<Core<S>>, mut buffers: Buffers) -> io::Result<()> {
    loop {
        enter(&core)?;
        {
            let mut service = core.service.borrow_mut();
            let mut io = core.io.borrow_mut();
            io.counters.ticks += 1;
            service.begin_tick(&mut io);
            deliver_completions(&mut *service, &mut io, &mut buffers);
            deliver_messages(&mut *service, &mut io);
            service.end_tick(&mut io);
            io.flush_messages();
            // Not before the others have what was said to them, which may be that they are to stop.
            if service.stopping() && !io.messages_held() {
                return io.wind_up();
            }
        }
        core.tasks.wake_due(Instant::now());
        if core.tasks.runnable() {
            glommio::executor().yield_task_queue_now().await;
            // What the tasks sent or posted leaves in the next tick, which must not sleep before.
            core.with(|service, io| {
                service.after_tasks(io);
                io.flush_messages();
            });
        }
    }
}

/// Enters the ring; sleeps in it if nothing is to be done.
fn enter<S: Service>(core: &Core<S>) -> io::Result<()> {
    let mut io = core.io.borrow_mut();
    let busy = io.take_again()
        || core.tasks.runnable()
        || core.tasks.wants_tick()
        || core.tasks.take_worked()
        || io.completions() > 0
        || io.messages_waiting();
    if busy || !io.park() {
        return io.enter(Wait::No);
    }
    let wait = match core.tasks.next_deadline() {
        Some(deadline) => {
            Wait::EventOr(deadline.saturating_duration_since(Instant::now()).max(Duration::from_micros(1)))
        }
        None => Wait::Event,
    };
    io.counters.parks += 1;
    let result = io.enter(wait);
    io.unpark();
    result
}

fn deliver_completions<S: Service>(service: &mut S, io: &mut Io<S::Message>, buffers: &mut Buffers) {
    // As many as there are now: completions that this work causes belong to the next tick.
    for _ in 0..io.completions() {
        let Some(completion) = io.next_completion() else { break };
        let mut back = None;
        match io.complete(&completion) {
            Completed::Nothing => {}
            Completed::Unclaimed { buffer } => back = buffer,
            Completed::Received { socket, buffer, len, stopped } => {
                service.on_event(io, Event::Received { socket, data: buffers.get(buffer, len) });
                back = Some(buffer);
                if stopped {
                    service.on_event(io, Event::Stopped { socket });
                }
            }
            Completed::Event { event, buffer } => {
                back = buffer;
                service.on_event(io, event);
            }
        }
        if let Some(buffer) = back {
            buffers.give_back(buffer);
        }
    }
    buffers.publish();
    io.feed_starved();
}

fn deliver_messages<S: Service>(service: &mut S, io: &mut Io<S::Message>) {
    for from in 0..io.executors() {
        for _ in 0..MESSAGES_A_TICK {
            let Some(message) = io.take_message(from) else { break };
            service.on_message(io, from, message);
        }
    }
}
