//! Where a snapshot ends in what the primary sends: after so many bytes, or at a mark that it announced.
//!
//! Invariants
//! - bytes that may be the beginning of the mark are not taken: they are presented again with what follows them
//! - nothing behind the end is taken
//!
//! Knows nothing of what the bytes mean.

/// Length of the mark, Redis's `CONFIG_RUN_ID_SIZE`.
pub const MARK_BYTES: usize = 40;

/// A mark and how far a search may move on at each byte that stands in the place of its last one (Horspool): in a stream of
/// arbitrary bytes most steps are as long as the mark.
struct Mark {
    bytes: [u8; MARK_BYTES],
    steps: Box<[u8; 256]>,
}

impl Mark {
    fn new(bytes: [u8; MARK_BYTES]) -> Mark {
        let mut steps = Box::new([MARK_BYTES as u8; 256]);
        for (i, byte) in bytes[..MARK_BYTES - 1].iter().enumerate() {
            steps[usize::from(*byte)] = (MARK_BYTES - 1 - i) as u8;
        }
        Mark { bytes, steps }
    }

    fn find(&self, input: &[u8]) -> Option<usize> {
        let last = self.bytes[MARK_BYTES - 1];
        let mut at = 0;
        while let Some(&end) = input.get(at + MARK_BYTES - 1) {
            if end == last && input[at..at + MARK_BYTES] == self.bytes {
                return Some(at);
            }
            at += usize::from(self.steps[usize::from(end)]);
        }
        None
    }
}

enum End {
    /// So many bytes are still to come.
    Length(u64),
    Mark(Mark),
}

/// The payload of one snapshot.
pub struct Payload {
    end: End,
    /// Its size, if that was announced.
    pub size: Option<u64>,
    /// Bytes taken so far.
    pub received: u64,
}

/// What [`Payload::take`] found in the input.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of the payload, from the input's first on.
    pub payload: usize,
    /// Bytes that are dealt with, the mark included.
    pub consumed: usize,
    pub ended: bool,
}

impl Payload {
    pub fn of_length(size: u64) -> Payload {
        Payload { end: End::Length(size), size: Some(size), received: 0 }
    }

    pub fn until_mark(mark: [u8; MARK_BYTES]) -> Payload {
        Payload { end: End::Mark(Mark::new(mark)), size: None, received: 0 }
    }

    pub fn take(&mut self, input: &[u8]) -> Taken {
        let taken = match &mut self.end {
            End::Length(left) => {
                let payload = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= payload as u64;
                Taken { payload, consumed: payload, ended: *left == 0 }
            }
            End::Mark(mark) => match mark.find(input) {
                Some(payload) => Taken { payload, consumed: payload + MARK_BYTES, ended: true },
                None => {
                    let payload = input.len().saturating_sub(MARK_BYTES - 1);
                    Taken { payload, consumed: payload, ended: false }
                }
            },
        };
        self.received += taken.payload as u64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARK: &[u8; MARK_BYTES] = b"0123456789abcdef0123456789abcdef01234567";

    /// Feeds `input` in pieces; the payload, and how much was consumed in all.
    fn receive(mut payload: Payload, input: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<u8>, usize, bool) {
        let (mut got, mut from, mut to) = (Vec::new(), 0, 0);
        while to < input.len() {
            to = (to + piece()).min(input.len());
            let taken = payload.take(&input[from..to]);
            got.extend_from_slice(&input[from..from + taken.payload]);
            from += taken.consumed;
            assert_eq!(payload.received, got.len() as u64);
            if taken.ended {
                return (got, from, true);
            }
        }
        (got, from, false)
    }

    #[test]
    fn a_length_ends_where_it_says() {
        for piece in 1..8 {
            assert_eq!(receive(Payload::of_length(5), b"hello*1", || piece), (b"hello".to_vec(), 5, true));
        }
        assert_eq!(receive(Payload::of_length(9), b"hello", || 2), (b"hello".to_vec(), 5, false));
        assert_eq!(Payload::of_length(0).take(b"*1"), Taken { payload: 0, consumed: 0, ended: true });
    }

    #[test]
    fn a_mark_is_found_however_it_is_cut() {
        let body = b"REDIS0010 with a piece 0123456789abcdef0123456789abcdef0123456 of the mark";
        let input = [&body[..], MARK, b"*1\r\n"].concat();
        for piece in 1..input.len() {
            let (got, consumed, ended) = receive(Payload::until_mark(*MARK), &input, || piece);
            assert_eq!((&got[..], consumed, ended), (&body[..], body.len() + MARK_BYTES, true), "pieces of {piece}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_up_to_the_mark(
            body in proptest::collection::vec(prop_oneof![Just(b'0'), Just(b'1'), Just(b'7'), any::<u8>()], 0..300),
            pieces in proptest::collection::vec(1usize..60, 1..20),
        ) {
            let input = [&body[..], MARK, b"rest"].concat();
            let mut next = pieces.iter().cycle();
            let (got, consumed, ended) = receive(Payload::until_mark(*MARK), &input, || *next.next().unwrap_or(&1));
            prop_assert!(ended);
            prop_assert_eq!(consumed, body.len() + MARK_BYTES);
            prop_assert_eq!(got, body);
        }
    }
}
