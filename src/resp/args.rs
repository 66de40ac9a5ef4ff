//! The arguments of one command, as slices into the buffer they were received in.
//!
//! A command is a list of [`Span`]s over one buffer, so it can be parsed in place, executed in place, or copied
//! whole (buffer and spans) into a message for another core without touching each argument. A large bulk string that
//! was received into an allocation of its own is referred to by index and can be taken over without a copy.
//!
//! Knows nothing of commands or connections.

use bytes::Bytes;

/// Where one argument lies: in the buffer, or, for a large one, in the list of separate allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

/// `start` of a span that names a separate allocation; its `len` is then the index into the list.
const SEPARATE: u32 = u32::MAX;

impl Span {
    /// An argument of `len` bytes that begins `start` bytes into the buffer.
    pub fn inline(start: usize, len: usize) -> Span {
        debug_assert!(start < SEPARATE as usize && len <= u32::MAX as usize);
        Span { start: start as u32, len: len as u32 }
    }

    /// An argument that is the `index`-th separate allocation.
    pub fn separate(index: usize) -> Span {
        Span { start: SEPARATE, len: index as u32 }
    }

    /// The index of the separate allocation, if this span names one.
    pub fn separate_index(self) -> Option<usize> {
        (self.start == SEPARATE).then_some(self.len as usize)
    }

    /// The byte range in the buffer; `None` for a separate allocation.
    pub fn range(self) -> Option<std::ops::Range<usize>> {
        (self.start != SEPARATE).then(|| self.start as usize..self.start as usize + self.len as usize)
    }

    /// The same argument after the buffer's content moved by `delta` bytes and `bigs` separate allocations were put before its own.
    pub fn moved(self, delta: isize, bigs: usize) -> Span {
        match self.separate_index() {
            Some(index) => Span::separate(index + bigs),
            None => Span { start: (self.start as isize + delta) as u32, len: self.len },
        }
    }
}

/// The arguments of one command; argument 0 is its name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
    bigs: &'a [Bytes],
    /// The command in RESP is `buf[..framed]`; 0 where it is not at hand like that.
    framed: usize,
}

impl<'a> Args<'a> {
    pub fn new(buf: &'a [u8], spans: &'a [Span], bigs: &'a [Bytes]) -> Args<'a> {
        Args { buf, spans, bigs, framed: 0 }
    }

    /// Arguments that lie in `frame`, which is the whole command as a multibulk request.
    pub fn framed(frame: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { buf: frame, spans, bigs: &[], framed: frame.len() }
    }

    /// The multibulk request that the arguments lie in, if it is whole and at hand.
    #[inline]
    pub fn frame(&self) -> Option<&'a [u8]> {
        (self.framed > 0).then(|| &self.buf[..self.framed])
    }

    /// [`Args::frame`], if every line in it ends as it should, which the parser does not insist on.
    #[inline]
    pub fn clean_frame(&self) -> Option<&'a [u8]> {
        const LINE_END: &[u8] = b"\r\n";
        let frame = self.frame()?;
        let ends_at = |at: usize| frame.get(at..at + LINE_END.len()) == Some(LINE_END);
        // Lengths have no superfluous digits; so the count's line is as long as the count.
        let count_digits = self.spans.len().checked_ilog10()? as usize + 1;
        let clean = |span: &Span| {
            let start = span.start as usize;
            ends_at(start - LINE_END.len()) && ends_at(start + span.len as usize)
        };
        (ends_at(1 + count_digits) && self.spans.iter().all(clean)).then_some(frame)
    }

    /// How many arguments there are, the command's name included.
    #[allow(clippy::len_without_is_empty)] // a command has at least its name
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The bytes of argument `i`. Panics when `i >= len()`; arity is checked before a handler runs.
    #[inline]
    pub fn get(&self, i: usize) -> &'a [u8] {
        let span = self.spans[i];
        match span.separate_index() {
            None => &self.buf[span.start as usize..span.start as usize + span.len as usize],
            Some(index) => &self.bigs[index],
        }
    }

    /// Argument `i`, if there is one.
    pub fn opt(&self, i: usize) -> Option<&'a [u8]> {
        (i < self.len()).then(|| self.get(i))
    }

    /// Argument `i` as an allocation that can be kept without a copy, if it was received into one of its own.
    pub fn separate(&self, i: usize) -> Option<&'a Bytes> {
        self.spans[i].separate_index().map(|index| &self.bigs[index])
    }

    /// Whether argument `i` equals `word`, ASCII case ignored; `word` is given in any case.
    pub fn is(&self, i: usize, word: &str) -> bool {
        self.get(i).eq_ignore_ascii_case(word.as_bytes())
    }

    /// The arguments from `from` on.
    pub fn iter_from(self, from: usize) -> impl ExactSizeIterator<Item = &'a [u8]> {
        (from..self.len()).map(move |i| self.get(i))
    }

    /// The parts a message to another core copies.
    pub fn parts(&self) -> (&'a [u8], &'a [Span], &'a [Bytes]) {
        (self.buf, self.spans, self.bigs)
    }

    /// An owned copy, for work that outlives the receive buffer. Separate allocations are shared, not copied.
    pub fn to_owned(&self) -> OwnedArgs {
        let mut owned = OwnedArgs::default();
        for i in 0..self.len() {
            match self.separate(i) {
                Some(big) => owned.push_separate(big.clone()),
                None => owned.push(self.get(i)),
            }
        }
        owned
    }
}

/// Arguments that own their bytes.
#[derive(Clone, Default)]
pub struct OwnedArgs {
    buf: Vec<u8>,
    spans: Vec<Span>,
    bigs: Vec<Bytes>,
}

impl OwnedArgs {
    pub fn push(&mut self, arg: &[u8]) {
        self.spans.push(Span::inline(self.buf.len(), arg.len()));
        self.buf.extend_from_slice(arg);
    }

    pub fn push_separate(&mut self, arg: Bytes) {
        self.spans.push(Span::separate(self.bigs.len()));
        self.bigs.push(arg);
    }

    pub fn args(&self) -> Args<'_> {
        Args::new(&self.buf, &self.spans, &self.bigs)
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> OwnedArgs {
        let mut owned = OwnedArgs::default();
        for arg in iter {
            owned.push(arg.as_ref());
        }
        owned
    }
}
