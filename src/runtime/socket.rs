//! One connected socket: what the kernel is doing with it, and the memory lent to the kernel meanwhile.
//!
//! Invariants
//! - at most one receive and one send are in flight
//! - the bytes of a send stay in `Sending` from its submission to its completion, and do not move
//! - the descriptor is closed only when neither is in flight

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::ptr;

use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use super::limits::{SEND_BYTES, SEND_PIECES};
use super::ring::BUFFER_GROUP;
use crate::resp::Out;

/// What the receiving side is doing.
pub enum Receiving {
    Idle,
    /// A multishot receive into provided buffers is armed.
    Armed,
    /// It found no buffer and will be armed again when there may be one.
    Starved,
    /// It is being cancelled; what arrives before the end is still delivered.
    Stopping,
    /// A receive into the spare capacity of this vector.
    Into(Vec<u8>),
}

/// A send in flight.
pub struct Sending {
    out: Out,
    /// Bytes that earlier submissions of this send have delivered.
    sent: usize,
    total: usize,
    pieces: Vec<libc::iovec>,
    header: libc::msghdr,
}

pub struct Socket {
    pub fd: RawFd,
    pub generation: u32,
    pub receiving: Receiving,
    /// Boxed, as the kernel keeps a pointer to the header.
    pub sending: Option<Box<Sending>>,
    /// The address that is being connected to. Boxed, as the kernel keeps a pointer to it.
    pub connecting: Option<Box<SockAddr>>,
    /// A finished send's memory, kept for the next one.
    spare: Option<Box<Sending>>,
    pub closing: bool,
    /// The window of activity in which it last received something.
    pub seen: u32,
}

impl Socket {
    pub fn new(fd: RawFd, generation: u32) -> Socket {
        Socket {
            fd,
            generation,
            receiving: Receiving::Idle,
            sending: None,
            connecting: None,
            spare: None,
            closing: false,
            seen: 0,
        }
    }

    /// A socket that nothing is behind, and that is never used.
    pub fn closed() -> Socket {
        Socket { closing: true, ..Socket::new(-1, 0) }
    }

    /// The entry that connects to `address`.
    pub fn connect(&mut self, address: SocketAddr) -> squeue::Entry {
        let address = self.connecting.insert(Box::new(address.into()));
        opcode::Connect::new(types::Fd(self.fd), address.as_ptr().cast(), address.len()).build()
    }

    /// The entry that arms the multishot receive.
    pub fn arm(&mut self) -> squeue::Entry {
        debug_assert!(matches!(self.receiving, Receiving::Idle));
        self.receiving = Receiving::Armed;
        opcode::RecvMulti::new(types::Fd(self.fd), BUFFER_GROUP).build()
    }

    /// The entry that receives into the spare capacity of `buffer`, up to `max` bytes.
    pub fn receive_into(&mut self, mut buffer: Vec<u8>, max: usize) -> squeue::Entry {
        debug_assert!(matches!(self.receiving, Receiving::Idle));
        let spare = buffer.spare_capacity_mut();
        let len = spare.len().min(max).min(i32::MAX as usize);
        debug_assert!(len > 0);
        let entry = opcode::Recv::new(types::Fd(self.fd), spare.as_mut_ptr().cast(), len as u32).build();
        self.receiving = Receiving::Into(buffer);
        entry
    }

    /// The entry that sends `out`, which is owned here until [`Socket::sent`] hands it back.
    pub fn send(&mut self, out: Out) -> squeue::Entry {
        debug_assert!(self.sending.is_none() && !out.is_empty());
        let mut sending = self.spare.take().unwrap_or_else(|| Box::new(Sending::new()));
        sending.total = out.len();
        sending.sent = 0;
        sending.out = out;
        let entry = sending.entry(self.fd);
        self.sending = Some(sending);
        entry
    }

    /// Takes account of `bytes` sent: an entry for the rest, or the finished buffer, emptied.
    pub fn sent(&mut self, bytes: usize) -> Result<Out, squeue::Entry> {
        let Some(sending) = &mut self.sending else { return Ok(Out::default()) };
        sending.sent += bytes;
        if sending.sent < sending.total {
            return Err(sending.entry(self.fd));
        }
        Ok(self.take_send())
    }

    /// Takes back the buffer of a send that has ended.
    pub fn take_send(&mut self) -> Out {
        let Some(mut sending) = self.sending.take() else { return Out::default() };
        let mut out = std::mem::take(&mut sending.out);
        out.clear();
        self.spare = Some(sending);
        out
    }

    /// Whether the kernel still holds memory or a reference of this socket.
    pub fn busy(&self) -> bool {
        !matches!(self.receiving, Receiving::Idle) || self.sending.is_some() || self.connecting.is_some()
    }

    /// Gives back memory that an idle connection does not need.
    pub fn shed(&mut self) {
        self.spare = None;
    }
}

impl Sending {
    fn new() -> Sending {
        // SAFETY: an all-zero msghdr is the documented empty one.
        let header = unsafe { std::mem::zeroed() };
        Sending { out: Out::default(), sent: 0, total: 0, pieces: Vec::new(), header }
    }

    fn entry(&mut self, fd: RawFd) -> squeue::Entry {
        // The kernel itself repeats a send until all of it is out, so a slow reader costs few completions.
        const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        if self.out.attached.is_empty() {
            let rest = &self.out.buf[self.sent..];
            let len = rest.len().min(SEND_BYTES) as u32;
            return opcode::Send::new(types::Fd(fd), rest.as_ptr(), len).flags(FLAGS).build();
        }
        self.pieces.clear();
        gather(&self.out, self.sent, &mut self.pieces);
        self.header.msg_name = ptr::null_mut();
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.pieces.len() as _;
        opcode::SendMsg::new(types::Fd(fd), &raw const self.header).flags(FLAGS as u32).build()
    }
}

/// The pieces of `out` from byte `skip` on, as many pieces and bytes as one send may have.
fn gather(out: &Out, mut skip: usize, pieces: &mut Vec<libc::iovec>) {
    let mut room = SEND_BYTES;
    let mut add = |slice: &[u8]| {
        if skip >= slice.len() {
            skip -= slice.len();
        } else if pieces.len() < SEND_PIECES && room > 0 {
            let piece = &slice[skip..slice.len().min(skip + room)];
            room -= piece.len();
            pieces.push(libc::iovec { iov_base: piece.as_ptr() as *mut _, iov_len: piece.len() });
            skip = 0;
        }
    };
    let mut from = 0;
    for (offset, bytes) in &out.attached {
        add(&out.buf[from..*offset]);
        add(bytes);
        from = *offset;
    }
    add(&out.buf[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn text(pieces: &[libc::iovec]) -> Vec<u8> {
        pieces
            .iter()
            // SAFETY: the pieces point into the `Out` of the test, which is alive.
            .flat_map(|piece| unsafe { std::slice::from_raw_parts(piece.iov_base as *const u8, piece.iov_len) })
            .copied()
            .collect()
    }

    #[test]
    fn a_send_resumes_at_any_byte() {
        let out = Out {
            buf: b"headtail".to_vec(),
            attached: vec![
                (4, Bytes::from_static(b"-big-")),
                (4, Bytes::from_static(b"+more+")),
                (8, Bytes::from_static(b"!")),
            ],
        };
        let whole = b"head-big-+more+tail!";
        for skip in 0..whole.len() {
            let mut pieces = Vec::new();
            gather(&out, skip, &mut pieces);
            assert_eq!(text(&pieces), &whole[skip..], "from byte {skip}");
        }
    }

    #[test]
    fn a_send_has_no_more_pieces_than_the_kernel_takes() {
        let attached = (0..3000).map(|i| (i, Bytes::from_static(b"x"))).collect();
        let out = Out { buf: vec![b'.'; 3000], attached };
        let mut pieces = Vec::new();
        gather(&out, 0, &mut pieces);
        assert_eq!(pieces.len(), SEND_PIECES);
    }

    #[test]
    fn a_send_has_no_more_bytes_than_its_bound() {
        let big = Bytes::from(vec![b'x'; SEND_BYTES]);
        let out = Out { buf: b"headtail".to_vec(), attached: vec![(4, big.clone()), (8, big)] };
        let mut sent = 0;
        while sent < out.len() {
            let mut pieces = Vec::new();
            gather(&out, sent, &mut pieces);
            let bytes = text(&pieces).len();
            assert!(bytes == SEND_BYTES || sent + bytes == out.len(), "{bytes} bytes from {sent} on");
            sent += bytes;
        }
        assert_eq!(sent, out.len());
    }
}
