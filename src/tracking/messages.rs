//! What one core has to tell the clients of another in one tick.
//!
//! Invariants
//! - messages are in the order in which they were added
//! - once they are too many, each client is in the list at most once more, with [`Value::Anything`]: that covers every key, so nothing
//!   is lost but precision, and what waits is bounded by the number of clients
//!
//! A text that goes to several clients of a core is kept once.

use std::ops::Range;

use hashbrown::HashSet;

use crate::resp::{Out, Proto, Writer};
use crate::runtime::SocketId;

/// Bytes of messages that may wait for one core.
pub const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A text to be told to any number of clients, already in the form of the protocol, which is the same in RESP2 and RESP3.
#[derive(Debug)]
pub struct Text {
    bytes: Vec<u8>,
    /// Tells it from other texts of this core.
    serial: u64,
}

impl Text {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a client is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It has read the key.
    Read,
    /// It has read the key, and changed it itself.
    Own,
    /// It listens to all keys with a prefix.
    Broadcast,
    /// The client on this socket of the sending core redirects its messages to it.
    Redirected(SocketId),
}

/// One message to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub socket: SocketId,
    pub reason: Reason,
    /// Where its text is; `None` for [`Value::Anything`].
    text: Option<Range<usize>>,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An array of keys, or a null, as it is sent.
    Text(&'a [u8]),
    /// Any key.
    Anything,
}

#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    list: Vec<Notice>,
    /// The text added last, and where it is.
    last: Option<(u64, Range<usize>)>,
    /// Too many have come; those who were told so.
    crowded: Option<HashSet<(SocketId, Reason)>>,
}

impl Messages {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn add(&mut self, socket: SocketId, reason: Reason, text: &Text) {
        if let Some(told) = &mut self.crowded {
            // A client's own change is as good a reason as another's when any key may be meant.
            let reason = if reason == Reason::Own { Reason::Read } else { reason };
            if told.insert((socket, reason)) {
                self.list.push(Notice { socket, reason, text: None });
            }
            return;
        }
        let range = match &self.last {
            Some((serial, range)) if *serial == text.serial => range.clone(),
            Some(_) | None => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(&text.bytes);
                start..self.bytes.len()
            }
        };
        self.last = Some((text.serial, range.clone()));
        self.list.push(Notice { socket, reason, text: Some(range) });
        if self.bytes.len() + self.list.len() * size_of::<Notice>() > MESSAGE_BYTES {
            self.crowd();
        }
    }

    /// Replaces all messages by one that covers everything for each of their clients.
    fn crowd(&mut self) {
        let list = std::mem::take(&mut self.list);
        self.bytes = Vec::new();
        self.last = None;
        self.crowded = Some(HashSet::new());
        let nothing = Text { bytes: Vec::new(), serial: 0 };
        for notice in list {
            self.add(notice.socket, notice.reason, &nothing);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Notice, Value<'_>)> {
        self.range(0..self.list.len())
    }

    /// Those with these numbers, of which there may be fewer.
    pub fn range(&self, numbers: Range<usize>) -> impl Iterator<Item = (&Notice, Value<'_>)> {
        let end = numbers.end.min(self.list.len());
        let list = &self.list[numbers.start.min(end)..end];
        list.iter()
            .map(|notice| (notice, notice.text.clone().map_or(Value::Anything, |at| Value::Text(&self.bytes[at]))))
    }

    /// Takes the messages to one client from number `from` on out of the list, in their order.
    pub fn take_of(&mut self, socket: SocketId, from: usize) -> Option<Messages> {
        let is_mine = |notice: &Notice| notice.socket == socket;
        if !self.list.iter().skip(from).any(is_mine) {
            return None;
        }
        let mut mine = Messages::default();
        let mut at = from;
        while at < self.list.len() {
            if !is_mine(&self.list[at]) {
                at += 1;
                continue;
            }
            let mut notice = self.list.remove(at);
            notice.text = notice.text.map(|range| {
                let start = mine.bytes.len();
                mine.bytes.extend_from_slice(&self.bytes[range]);
                start..mine.bytes.len()
            });
            mine.list.push(notice);
        }
        Some(mine)
    }
}

/// Makes the texts of one core.
#[derive(Debug, Default)]
pub struct Texts {
    serial: u64,
}

impl Texts {
    /// An array of keys.
    pub fn keys<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> Text {
        let mut out = Out::default();
        let mut writer = Writer::new(&mut out, Proto::Resp2);
        let mut count = 0;
        for key in keys {
            writer.bulk(key);
            count += 1;
        }
        let items = std::mem::take(&mut out.buf);
        let mut writer = Writer::new(&mut out, Proto::Resp2);
        writer.array(count);
        writer.raw(&items);
        self.text(out.buf)
    }

    /// What is in the form of the protocol already.
    pub fn text(&mut self, bytes: Vec<u8>) -> Text {
        self.serial += 1;
        Text { bytes, serial: self.serial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(index: u32) -> SocketId {
        SocketId { index, generation: 0 }
    }

    fn listed(messages: &Messages) -> Vec<(u32, Reason, Option<String>)> {
        let text = |value: Value<'_>| match value {
            Value::Text(bytes) => Some(String::from_utf8_lossy(bytes).replace("\r\n", " ")),
            Value::Anything => None,
        };
        messages.iter().map(|(notice, value)| (notice.socket.index, notice.reason, text(value))).collect()
    }

    #[test]
    fn one_text_for_many() {
        let (mut texts, mut messages) = (Texts::default(), Messages::default());
        let both = texts.keys([&b"a"[..], b"bc"].into_iter());
        let one = texts.keys([&b"a"[..]].into_iter());
        messages.add(socket(1), Reason::Read, &both);
        messages.add(socket(2), Reason::Own, &both);
        let kept = messages.bytes.len();
        messages.add(socket(1), Reason::Broadcast, &one);
        assert_eq!((kept, messages.bytes.len()), (both.bytes.len(), both.bytes.len() + one.bytes.len()));
        let text = Some("*2 $1 a $2 bc ".to_owned());
        let last = (1, Reason::Broadcast, Some("*1 $1 a ".to_owned()));
        assert_eq!(listed(&messages), [(1, Reason::Read, text.clone()), (2, Reason::Own, text.clone()), last.clone()]);
        assert!(messages.take_of(socket(1), 3).is_none());
        let mine = messages.take_of(socket(1), 0).expect("two");
        assert_eq!(listed(&mine), [(1, Reason::Read, text.clone()), last]);
        assert_eq!(listed(&messages), [(2, Reason::Own, text)]);
    }

    #[test]
    fn too_many_become_one_a_client() {
        let (mut texts, mut messages) = (Texts::default(), Messages::default());
        let large = vec![b'k'; 1024 * 1024];
        for n in 0..40 {
            let text = texts.keys(std::iter::once(&large[..]));
            messages.add(socket(n % 2), if n % 4 == 0 { Reason::Own } else { Reason::Read }, &text);
        }
        messages.add(socket(2), Reason::Redirected(socket(7)), &texts.text(b"_\r\n".to_vec()));
        let expected = [(0, Reason::Read, None), (1, Reason::Read, None), (2, Reason::Redirected(socket(7)), None)];
        assert_eq!(listed(&messages), expected);
        assert!(messages.bytes.capacity() < MESSAGE_BYTES);
    }
}
