//! The mesh of mailboxes: one bounded queue for each ordered pair of executors, and the flags by which sleepers are woken.
//!
//! Invariants
//! - each queue has one producer and one consumer, so no lock is needed
//! - an executor that is about to sleep raises its flag and then looks into its mailboxes once more; a sender puts its message and then
//!   looks at the flag. Both orders are sequentially consistent, so one of the two sees the other.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering, fence};
use std::{io, mem};

use rtrb::{Consumer, Producer, RingBuffer};

use super::ExecutorId;
use super::limits::MAILBOX_MESSAGES;

/// What others need to know of an executor to wake it. Padded: the flag is written at each park.
#[repr(align(128))]
struct Sleeper {
    parked: AtomicBool,
    /// The ring that a wake-up is posted to; -1 until the executor runs.
    ring_fd: AtomicI32,
    /// Where a kernel that cannot post to another ring is told to wake the executor.
    event_fd: OwnedFd,
}

/// One executor's end of the mesh.
pub struct Mailboxes<M> {
    id: ExecutorId,
    sleepers: Arc<[Sleeper]>,
    /// To each executor; none to oneself.
    to: Vec<Option<Producer<M>>>,
    from: Vec<Option<Consumer<M>>>,
    /// What waits to be put into each mailbox, oldest first.
    outboxes: Vec<VecDeque<M>>,
}

/// How a sleeping executor is to be woken.
pub enum WakeUp {
    Ring(RawFd),
    EventFd(RawFd),
}

/// Makes the ends of a mesh of `count` executors.
pub fn mesh<M>(count: usize) -> io::Result<Vec<Mailboxes<M>>> {
    let sleepers: Arc<[Sleeper]> = (0..count)
        .map(|_| {
            // SAFETY: a plain system call; the descriptor is checked and then owned.
            let event_fd = unsafe {
                match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                    -1 => return Err(io::Error::last_os_error()),
                    fd => OwnedFd::from_raw_fd(fd),
                }
            };
            Ok(Sleeper { parked: AtomicBool::new(false), ring_fd: AtomicI32::new(-1), event_fd })
        })
        .collect::<io::Result<_>>()?;
    let mut ends: Vec<Mailboxes<M>> = (0..count)
        .map(|id| Mailboxes {
            id,
            sleepers: sleepers.clone(),
            to: (0..count).map(|_| None).collect(),
            from: (0..count).map(|_| None).collect(),
            outboxes: (0..count).map(|_| VecDeque::new()).collect(),
        })
        .collect();
    for sender in 0..count {
        for receiver in (0..count).filter(|receiver| *receiver != sender) {
            let (producer, consumer) = RingBuffer::new(MAILBOX_MESSAGES);
            ends[sender].to[receiver] = Some(producer);
            ends[receiver].from[sender] = Some(consumer);
        }
    }
    Ok(ends)
}

impl<M> Mailboxes<M> {
    pub fn id(&self) -> ExecutorId {
        self.id
    }

    pub fn count(&self) -> usize {
        self.sleepers.len()
    }

    /// Tells the others where this executor can be woken.
    pub fn announce(&self, ring_fd: RawFd) {
        self.sleepers[self.id].ring_fd.store(ring_fd, Ordering::Release);
    }

    /// The descriptor that becomes readable when this executor is woken the slow way.
    pub fn event_fd(&self) -> RawFd {
        self.sleepers[self.id].event_fd.as_raw_fd()
    }

    pub fn event_fd_of(&self, executor: ExecutorId) -> RawFd {
        self.sleepers[executor].event_fd.as_raw_fd()
    }

    /// Queues a message; it leaves at the end of the tick.
    pub fn post(&mut self, to: ExecutorId, message: M) {
        debug_assert_ne!(to, self.id, "a message to oneself is a function call");
        self.outboxes[to].push_back(message);
    }

    /// Messages that did not fit into the mailbox of `to` yet, or that were posted in this tick.
    pub fn outbox_len(&self, to: ExecutorId) -> usize {
        self.outboxes[to].len()
    }

    /// Whether any message waits for room.
    pub fn holding(&self) -> bool {
        self.outboxes.iter().any(|outbox| !outbox.is_empty())
    }

    /// Moves messages from the outboxes into the mailboxes, as many as fit, and calls `wake` for each sleeper that got one.
    pub fn flush(&mut self, mut wake: impl FnMut(ExecutorId, WakeUp)) {
        for to in 0..self.outboxes.len() {
            let Some(producer) = &mut self.to[to] else { continue };
            if producer.is_abandoned() {
                // That executor has ended.
                self.outboxes[to].clear();
                continue;
            }
            let mut moved = false;
            while let Some(message) = self.outboxes[to].pop_front() {
                if let Err(rtrb::PushError::Full(message)) = producer.push(message) {
                    self.outboxes[to].push_front(message);
                    break;
                }
                moved = true;
            }
            if moved {
                fence(Ordering::SeqCst);
                let sleeper = &self.sleepers[to];
                // The first to see the flag takes it down, so a sleeper gets one wake-up.
                if sleeper.parked.load(Ordering::Relaxed) && sleeper.parked.swap(false, Ordering::Relaxed) {
                    let way = match sleeper.ring_fd.load(Ordering::Acquire) {
                        -1 => WakeUp::EventFd(sleeper.event_fd.as_raw_fd()),
                        fd => WakeUp::Ring(fd),
                    };
                    wake(to, way);
                }
            }
        }
    }

    /// Takes the next message from `from`.
    pub fn take(&mut self, from: ExecutorId) -> Option<M> {
        self.from[from].as_mut()?.pop().ok()
    }

    /// Whether a message waits in a mailbox of this executor.
    pub fn waiting(&self) -> bool {
        self.from.iter().flatten().any(|consumer| !consumer.is_empty())
    }

    /// Raises the flag for a sleep. False if a message has come meanwhile: then do not sleep.
    pub fn park(&self) -> bool {
        self.sleepers[self.id].parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.waiting() {
            self.unpark();
            return false;
        }
        true
    }

    pub fn unpark(&self) {
        self.sleepers[self.id].parked.store(false, Ordering::Relaxed);
    }
}

/// Wakes an executor through its event descriptor.
pub fn signal(event_fd: RawFd) {
    let one = 1u64;
    // SAFETY: eight bytes of a live local are read. A full counter (EAGAIN) is a wake-up that is pending already.
    unsafe { libc::write(event_fd, (&raw const one).cast(), mem::size_of::<u64>()) };
}

/// Empties an event descriptor, so that it can become readable again.
pub fn drain(event_fd: RawFd) {
    let mut count = 0u64;
    // SAFETY: eight bytes are written to a live local. EAGAIN means that it is empty.
    unsafe { libc::read(event_fd, (&raw mut count).cast(), mem::size_of::<u64>()) };
}
