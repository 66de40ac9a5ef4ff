//! What the kernel's completions mean: the state of a socket follows each, and the service is told of those that matter to it.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::{cqueue, opcode, types};

use super::{Event, GENERATION_MASK, Io, Listener, Op, SocketId, token_data, user_data};
use crate::runtime::limits::ACCEPT_PAUSE_MS;
use crate::runtime::mailbox;
use crate::runtime::socket::Receiving;

/// A completion, with received bytes still named by their buffer. A buffer goes back when the service has been told.
pub(in crate::runtime) enum Completed {
    Nothing,
    /// Of a socket that is gone.
    Unclaimed {
        buffer: Option<u16>,
    },
    Event {
        event: Event<'static>,
        buffer: Option<u16>,
    },
    /// To be told as [`Event::Received`], and [`Event::Stopped`] behind it.
    Received {
        socket: SocketId,
        buffer: u16,
        len: usize,
        stopped: bool,
    },
}

impl From<Event<'static>> for Completed {
    fn from(event: Event<'static>) -> Completed {
        Completed::Event { event, buffer: None }
    }
}

impl<M> Io<M> {
    /// Takes account of a completion and says what the service is to be told; a received buffer is named by its id.
    pub(in crate::runtime) fn complete(&mut self, completion: &cqueue::Entry) -> Completed {
        let data = completion.user_data();
        let id = SocketId { index: data as u32, generation: (data >> 32) as u32 & GENERATION_MASK };
        let result = completion.result();
        let flags = completion.flags();
        match (data >> 56) as u8 {
            op if op == Op::Receive as u8 => self.complete_receive(id, result, flags),
            op if op == Op::Send as u8 => self.complete_send(id, result),
            op if op == Op::ReceiveInto as u8 => self.complete_receive_into(id, result),
            op if op == Op::Connect as u8 => self.complete_connect(id, result),
            op if op == Op::Accept as u8 => self.complete_accept(id.index as usize, result, flags),
            op if op == Op::WakeUp as u8 => {
                // The kernel cannot post to that ring.
                let to = id.index as usize;
                self.slow_wake[to] = true;
                mailbox::signal(self.mailboxes.event_fd_of(to));
                Completed::Nothing
            }
            op if op == Op::Woken as u8 => {
                let event_fd = self.mailboxes.event_fd();
                mailbox::drain(event_fd);
                if !cqueue::more(flags) {
                    self.poll(event_fd, token_data(Op::Woken, 0));
                }
                Completed::Nothing
            }
            op if op == Op::Watch as u8 => {
                if !cqueue::more(flags)
                    && let Some((token, fd)) = self.watched.iter().find(|(token, _)| *token == id.index).copied()
                {
                    self.poll(fd, token_data(Op::Watch, token));
                }
                if result > 0 { Event::Readable { token: id.index }.into() } else { Completed::Nothing }
            }
            op if op == Op::Pause as u8 => {
                self.accept(id.index as usize);
                Completed::Nothing
            }
            _ => Completed::Nothing,
        }
    }

    fn complete_accept(&mut self, place: usize, result: i32, flags: u32) -> Completed {
        let ended = !cqueue::more(flags);
        self.unfinished -= ended as usize;
        let Listener { token: listener, ref fd } = self.listeners[place];
        let closed = fd.is_none();
        if result >= 0 {
            // SAFETY: the kernel has just made this descriptor for us.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            if ended {
                self.accept(place);
            }
            return Event::Accepted { listener, fd }.into();
        }
        // The client has given up before it was accepted: the next one is not to wait for that.
        let of_client = matches!(-result, libc::ECONNABORTED | libc::EPROTO | libc::EPERM | libc::EINTR | libc::EAGAIN);
        if closed || of_client {
            if ended {
                self.accept(place);
            }
            return Completed::Nothing;
        }
        // Out of descriptors or memory: accepting at once again would only spin.
        static PAUSE: types::Timespec = types::Timespec::new().nsec(ACCEPT_PAUSE_MS as u32 * 1_000_000);
        self.push(opcode::Timeout::new(&raw const PAUSE).build(), token_data(Op::Pause, place as u32));
        Event::AcceptFailed { listener, error: io::Error::from_raw_os_error(-result) }.into()
    }

    fn complete_receive(&mut self, id: SocketId, result: i32, flags: u32) -> Completed {
        let buffer = cqueue::buffer_select(flags);
        self.counters.receive_buffer_shortages += u64::from(result == -libc::ENOBUFS);
        let Some(socket) = self.socket(id) else { return Completed::Unclaimed { buffer } };
        let mut stopped = false;
        if !cqueue::more(flags) {
            stopped = matches!(socket.receiving, Receiving::Stopping);
            socket.receiving = Receiving::Idle;
        }
        if socket.closing {
            self.finish_close(id);
            return Completed::Unclaimed { buffer };
        }
        match result {
            _ if result > 0 => {
                let Some(buffer) = buffer else { return Completed::Nothing };
                if !cqueue::more(flags) && !stopped {
                    self.start_receiving(id);
                }
                if let Some(socket) = self.sockets.get_mut(id.index as usize) {
                    self.activity.note(&mut socket.seen);
                }
                Completed::Received { socket: id, buffer, len: result as usize, stopped }
            }
            0 => Completed::Event { event: Event::Ended { socket: id, error: None }, buffer },
            _ if result == -libc::ENOBUFS => {
                if stopped {
                    return Event::Stopped { socket: id }.into();
                }
                socket.receiving = Receiving::Starved;
                self.starved.push_back(id);
                Completed::Nothing
            }
            _ if result == -libc::ECANCELED => Event::Stopped { socket: id }.into(),
            _ => {
                let error = Some(io::Error::from_raw_os_error(-result));
                Completed::Event { event: Event::Ended { socket: id, error }, buffer }
            }
        }
    }

    fn complete_receive_into(&mut self, id: SocketId, result: i32) -> Completed {
        let Some(socket) = self.socket(id) else { return Completed::Nothing };
        let Receiving::Into(mut buffer) = std::mem::replace(&mut socket.receiving, Receiving::Idle) else {
            return Completed::Nothing;
        };
        if socket.closing {
            self.finish_close(id);
            return Completed::Nothing;
        }
        match result {
            _ if result > 0 => {
                // SAFETY: the kernel has written `result` bytes into the spare capacity.
                unsafe { buffer.set_len(buffer.len() + result as usize) };
                Event::ReceivedInto { socket: id, buffer }.into()
            }
            0 => Event::Ended { socket: id, error: None }.into(),
            _ => Event::Ended { socket: id, error: Some(io::Error::from_raw_os_error(-result)) }.into(),
        }
    }

    fn complete_connect(&mut self, id: SocketId, result: i32) -> Completed {
        let Some(socket) = self.socket(id) else { return Completed::Nothing };
        socket.connecting = None;
        if socket.closing {
            self.finish_close(id);
            return Completed::Nothing;
        }
        let error = (result < 0).then(|| io::Error::from_raw_os_error(-result));
        Event::Connected { socket: id, error }.into()
    }

    fn complete_send(&mut self, id: SocketId, result: i32) -> Completed {
        self.unfinished -= 1;
        let Some(socket) = self.socket(id) else { return Completed::Nothing };
        if socket.closing {
            socket.take_send();
            self.finish_close(id);
            return Completed::Nothing;
        }
        if result < 0 {
            socket.take_send();
            return Event::SendFailed { socket: id, error: io::Error::from_raw_os_error(-result) }.into();
        }
        let bytes = result as usize;
        match socket.sent(bytes) {
            Ok(buffer) => Event::Sent { socket: id, buffer, bytes }.into(),
            Err(rest) => {
                self.unfinished += 1;
                self.push(rest, user_data(Op::Send, id));
                Event::SentPart { socket: id, bytes }.into()
            }
        }
    }
}
