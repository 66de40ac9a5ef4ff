//! The payload of one large bulk string on its way into the allocation it will live in.
//!
//! Invariants
//! - never holds more bytes than were announced
//! - until [`TRUSTED_BYTES`] have arrived, reserves at most [`FIRST_STEP_BYTES`] or twice what has arrived
//!
//! The trade-off: reserving the whole length on its announcement would never copy, but would let a client that sends twenty
//! bytes have 512 MB counted against `maxmemory`. Growing by doubling to the end would move hundreds of megabytes inside one
//! tick wherever the allocator cannot extend a block in place. So the buffer doubles while it is small, which moves
//! at most `TRUSTED_BYTES` twice over in all, and takes the rest in one step once the client has shown that it means it.

/// What is reserved when a large bulk string is announced.
pub const FIRST_STEP_BYTES: usize = 1024 * 1024;

/// After this many bytes have arrived, the whole announced length is reserved.
pub const TRUSTED_BYTES: usize = 32 * 1024 * 1024;

/// A large bulk string that is being received.
pub struct LargeBulk {
    buf: Vec<u8>,
    /// Bytes of `buf`, which may be lent out.
    received: usize,
    announced: usize,
}

impl LargeBulk {
    pub(super) fn new(announced: usize) -> LargeBulk {
        LargeBulk { buf: Vec::new(), received: 0, announced }
    }

    /// How many bytes are still to come.
    pub fn missing(&self) -> usize {
        self.announced - self.received
    }

    pub fn received(&self) -> usize {
        self.received
    }

    pub fn is_full(&self) -> bool {
        self.missing() == 0
    }

    /// Bytes reserved so far.
    pub fn reserved_bytes(&self) -> usize {
        self.buf.capacity()
    }

    /// Copies in what belongs to the payload, returns how many bytes of `bytes` that were.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.missing());
        let mut rest = &bytes[..taken];
        while !rest.is_empty() {
            self.grow_if_full();
            let room = rest.len().min(self.buf.capacity() - self.buf.len());
            self.buf.extend_from_slice(&rest[..room]);
            rest = &rest[room..];
            self.received += room;
        }
        taken
    }

    /// Lends out the allocation, with room behind what it holds, so that bytes can be received straight into it.
    pub fn lend(&mut self) -> Vec<u8> {
        self.grow_if_full();
        std::mem::take(&mut self.buf)
    }

    /// Takes the allocation back with what was received, at most [`Self::missing`] bytes more than before.
    pub fn put_back(&mut self, buf: Vec<u8>) {
        assert!(buf.len() >= self.received && buf.len() <= self.announced, "more received than was announced");
        self.received = buf.len();
        self.buf = buf;
    }

    fn grow_if_full(&mut self) {
        let len = self.buf.len();
        if len < self.buf.capacity() || self.is_full() {
            return;
        }
        let missing = self.missing();
        // Where even the whole rest cannot be had, what does arrive may still fit.
        if len >= TRUSTED_BYTES && self.buf.try_reserve_exact(missing).is_ok() {
            return;
        }
        self.buf.reserve_exact(missing.min(len.max(FIRST_STEP_BYTES)));
    }

    pub(super) fn into_bytes(self) -> bytes::Bytes {
        debug_assert!(self.is_full());
        self.buf.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_its_own_bytes_and_no_more() {
        let mut bulk = LargeBulk::new(5);
        assert_eq!(bulk.fill(b"abc"), 3);
        assert_eq!(bulk.missing(), 2);
        assert_eq!(bulk.fill(b"de\r\n*1"), 2);
        assert!(bulk.is_full());
        assert_eq!(bulk.fill(b"x"), 0);
        assert_eq!(bulk.into_bytes(), &b"abcde"[..]);
    }

    #[test]
    fn can_be_received_into() {
        let mut bulk = LargeBulk::new(3);
        let mut buf = bulk.lend();
        assert!(buf.capacity() >= 3);
        buf.extend_from_slice(b"ab");
        bulk.put_back(buf);
        assert_eq!((bulk.received(), bulk.missing()), (2, 1));
        assert_eq!(bulk.fill(b"c"), 1);
        assert_eq!(bulk.into_bytes(), &b"abc"[..]);
    }

    #[test]
    fn an_announcement_alone_reserves_little() {
        let announced = 512 * 1024 * 1024;
        let mut bulk = LargeBulk::new(announced);
        assert_eq!(bulk.reserved_bytes(), 0);
        let piece = vec![7; 300_000];
        while bulk.announced - bulk.missing() < TRUSTED_BYTES {
            bulk.fill(&piece);
            let received = announced - bulk.missing();
            assert!(bulk.reserved_bytes() <= FIRST_STEP_BYTES.max(2 * received) || received >= TRUSTED_BYTES);
        }
        bulk.fill(&piece);
        assert_eq!(bulk.reserved_bytes(), announced);
    }

    #[test]
    fn the_final_allocation_is_handed_over_without_a_copy() {
        let mut bulk = LargeBulk::new(100_000);
        bulk.fill(&[1; 100_000]);
        let address = bulk.buf.as_ptr();
        assert_eq!(bulk.into_bytes().as_ptr(), address);
    }
}
