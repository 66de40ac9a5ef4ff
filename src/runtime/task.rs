//! Tasks beside the reactor: what they may wait for, and the count of those that could run.
//!
//! Invariant: a task waits only for what this module offers (time, a turn, a [`oneshot`]). So the reactor knows from one counter whether
//! glommio has anything to run, and blocks in its own ring otherwise.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use glommio::{Latency, Shares, TaskQueueHandle};

/// The kinds of background work, each a glommio task queue with its shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Commands that several cores work on.
    Coordinator,
    /// Expiry, statistics, lazy freeing.
    Background,
    /// Writing down what a snapshot is of.
    Snapshot,
}

/// Shares of processor time beside the reactor's 1000, when all have work.
const COORDINATOR_SHARES: usize = 1000;
const BACKGROUND_SHARES: usize = 100;
const SNAPSHOT_SHARES: usize = 500;

/// The tasks of one executor.
#[derive(Clone)]
pub struct Tasks(Rc<Inner>);

struct Inner {
    coordinator: TaskQueueHandle,
    background: TaskQueueHandle,
    snapshot: TaskQueueHandle,
    /// Tasks that were woken and have not run since.
    runnable: Cell<usize>,
    /// Whether any task ran since the reactor asked.
    worked: Cell<bool>,
    /// Waits that end with the tick.
    next_tick: RefCell<Vec<Rc<Wake>>>,
    timers: RefCell<BinaryHeap<Reverse<Timer>>>,
    next_timer: Cell<u64>,
}

struct Timer {
    deadline: Instant,
    order: u64,
    wake: Rc<Wake>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Timer) -> bool {
        self.order == other.order
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Timer) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    fn cmp(&self, other: &Timer) -> std::cmp::Ordering {
        (self.deadline, self.order).cmp(&(other.deadline, other.order))
    }
}

/// One wait of one task.
struct Wake {
    tasks: Tasks,
    state: Cell<WakeState>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WakeState {
    Waiting,
    Woken,
    /// The task has seen it.
    Done,
}

impl Wake {
    fn new(tasks: &Tasks) -> Rc<Wake> {
        Rc::new(Wake { tasks: tasks.clone(), state: Cell::new(WakeState::Waiting), waker: RefCell::new(None) })
    }

    fn wake(&self) {
        if self.state.get() == WakeState::Waiting {
            self.state.set(WakeState::Woken);
            let runnable = &self.tasks.0.runnable;
            runnable.set(runnable.get() + 1);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.state.get() == WakeState::Waiting {
            *self.waker.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.finish();
        Poll::Ready(())
    }

    /// The task runs, or is gone: it no longer counts as runnable.
    fn finish(&self) {
        if self.state.replace(WakeState::Done) == WakeState::Woken {
            self.tasks.0.runnable.set(self.tasks.0.runnable.get() - 1);
            self.tasks.0.worked.set(true);
        }
    }
}

/// Waits for one [`Wake`]; one that is dropped is forgotten.
struct Waiting(Rc<Wake>);

impl Future for Waiting {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll(context)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl Tasks {
    /// Creates the task queues; call inside the executor.
    pub(super) fn new() -> Tasks {
        let executor = glommio::executor();
        Tasks(Rc::new(Inner {
            coordinator: executor.create_task_queue(
                Shares::Static(COORDINATOR_SHARES),
                Latency::NotImportant,
                "coordinator",
            ),
            background: executor.create_task_queue(
                Shares::Static(BACKGROUND_SHARES),
                Latency::NotImportant,
                "background",
            ),
            snapshot: executor.create_task_queue(Shares::Static(SNAPSHOT_SHARES), Latency::NotImportant, "snapshot"),
            runnable: Cell::new(0),
            worked: Cell::new(false),
            next_tick: RefCell::new(Vec::new()),
            timers: RefCell::new(BinaryHeap::new()),
            next_timer: Cell::new(0),
        }))
    }

    /// Starts a task. It may await only what this module offers.
    pub fn spawn(&self, queue: Queue, future: impl Future<Output = ()> + 'static) {
        let handle = match queue {
            Queue::Coordinator => self.0.coordinator,
            Queue::Background => self.0.background,
            Queue::Snapshot => self.0.snapshot,
        };
        let first = self.turn();
        let spawned = glommio::spawn_local_into(
            async move {
                first.await;
                future.await;
            },
            handle,
        );
        match spawned {
            Ok(task) => drop(task.detach()),
            // The queues live as long as the executor.
            Err(error) => unreachable!("task queue is gone: {error}"),
        }
    }

    /// Lets the reactor run before the task goes on: one whole tick. glommio's shares only say who comes first of those that may run; they would
    /// let a task that was idle for long keep the reactor waiting.
    pub fn turn(&self) -> impl Future<Output = ()> + use<> {
        let wake = Wake::new(self);
        self.0.next_tick.borrow_mut().push(wake.clone());
        Waiting(wake)
    }

    /// Waits at least that long.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + use<> {
        let wake = Wake::new(&self.clone());
        let order = self.0.next_timer.get();
        self.0.next_timer.set(order + 1);
        let timer = Timer { deadline: Instant::now() + duration, order, wake: wake.clone() };
        self.0.timers.borrow_mut().push(Reverse(timer));
        Waiting(wake)
    }

    /// A value that one part of the executor hands to another.
    pub fn oneshot<T>(&self) -> (Sender<T>, Receiver<T>) {
        let shared = Rc::new(Shared { wake: Wake::new(self), value: RefCell::new(None) });
        (Sender(shared.clone()), Receiver(shared))
    }

    pub(super) fn runnable(&self) -> bool {
        self.0.runnable.get() > 0
    }

    pub(super) fn take_worked(&self) -> bool {
        self.0.worked.replace(false)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.timers.borrow().peek().map(|Reverse(timer)| timer.deadline)
    }

    /// Whether some task waits for a tick and nothing else.
    pub(super) fn wants_tick(&self) -> bool {
        !self.0.next_tick.borrow().is_empty()
    }

    /// Ends the waits for a tick, and those whose time has come.
    pub(super) fn wake_due(&self, now: Instant) {
        self.0.next_tick.borrow_mut().drain(..).for_each(|wake| wake.wake());
        let mut timers = self.0.timers.borrow_mut();
        while timers.peek().is_some_and(|Reverse(timer)| timer.deadline <= now) {
            if let Some(Reverse(timer)) = timers.pop() {
                timer.wake.wake();
            }
        }
    }
}

struct Shared<T> {
    wake: Rc<Wake>,
    value: RefCell<Option<T>>,
}

pub struct Sender<T>(Rc<Shared<T>>);

impl<T> Sender<T> {
    pub fn send(self, value: T) {
        *self.0.value.borrow_mut() = Some(value);
        self.0.wake.wake();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.wake.wake();
    }
}

/// Resolves to the value, or to `None` when the sender is dropped without one.
pub struct Receiver<T>(Rc<Shared<T>>);

impl<T> Future for Receiver<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.wake.poll(context).map(|()| self.0.value.borrow_mut().take())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.wake.finish();
    }
}
