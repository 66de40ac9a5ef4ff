//! `notify-keyspace-events`: which events are published, and in which of the two forms.

use super::fields::Field;
use super::values::Setting;
use crate::keyspace::EventClass;

/// The letter of each class, in the order in which CONFIG GET shows them.
const CLASSES: [(char, EventClass); 12] = [
    ('g', EventClass::Generic),
    ('$', EventClass::String),
    ('l', EventClass::List),
    ('s', EventClass::Set),
    ('h', EventClass::Hash),
    ('z', EventClass::SortedSet),
    ('x', EventClass::Expired),
    ('e', EventClass::Evicted),
    ('t', EventClass::Stream),
    ('d', EventClass::Module),
    ('n', EventClass::New),
    ('m', EventClass::KeyMiss),
];

const fn bit(class: EventClass) -> u16 {
    1 << class as u16
}

const KEYSPACE: u16 = 1 << 14;
const KEYEVENT: u16 = 1 << 15;
/// The letter `A`: every class but those of keys that are new or were missed.
const MOST: u16 = {
    let (mut all, mut i) = (0, 0);
    while i < CLASSES.len() {
        all |= bit(CLASSES[i].1);
        i += 1;
    }
    all & !bit(EventClass::New) & !bit(EventClass::KeyMiss)
};

/// The classes of keyspace events that are published, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(u16);

impl KeyspaceEvents {
    /// From the letters of redis.conf; `None` when there is an unknown one.
    pub(super) fn parse(letters: &str) -> Option<KeyspaceEvents> {
        let bits = |letter: char| match letter {
            'A' => Some(MOST),
            'K' => Some(KEYSPACE),
            'E' => Some(KEYEVENT),
            _ => CLASSES.iter().find(|(known, _)| *known == letter).map(|(_, class)| bit(*class)),
        };
        letters.chars().try_fold(0, |all, letter| bits(letter).map(|bits| all | bits)).map(KeyspaceEvents)
    }

    /// All letters, those of `A` taken together.
    pub(super) fn letters(self) -> String {
        let most = self.0 & MOST == MOST;
        let mut letters: String = if most { "A".into() } else { String::new() };
        let is_shown = |class: EventClass| self.0 & bit(class) != 0 && !(most && MOST & bit(class) != 0);
        letters.extend(CLASSES.iter().filter(|(letter, class)| *letter != 'm' && is_shown(*class)).map(|(l, _)| *l));
        for (form, letter) in [(KEYSPACE, 'K'), (KEYEVENT, 'E'), (bit(EventClass::KeyMiss), 'm')] {
            if self.0 & form != 0 {
                letters.push(letter);
            }
        }
        letters
    }

    /// What CONFIG GET shows, which as in Redis leaves out `n` beside `A`.
    pub(super) fn shown(self) -> String {
        let letters = self.letters();
        if letters.starts_with('A') { letters.replace('n', "") } else { letters }
    }

    /// Whether any event is published.
    pub fn any(self) -> bool {
        self.by_key() || self.by_event()
    }

    pub fn has(self, class: EventClass) -> bool {
        self.0 & bit(class) != 0
    }

    /// `K`: on a channel of the key, what happened to it.
    pub fn by_key(self) -> bool {
        self.0 & KEYSPACE != 0
    }

    /// `E`: on a channel of the event, the key.
    pub fn by_event(self) -> bool {
        self.0 & KEYEVENT != 0
    }
}

impl Field for KeyspaceEvents {
    fn load(&mut self, setting: &Setting) {
        if let Setting::Text(letters) = setting
            && let Some(events) = KeyspaceEvents::parse(letters)
        {
            *self = events;
        } else {
            panic!("the directive table gives this field a value of another kind: {setting:?}");
        }
    }

    fn store(&self) -> Setting {
        Setting::Text(self.letters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a redis-server 7.0.15 showed them.
    #[test]
    fn letters_are_shown_as_redis_shows_them() {
        for (set, shown) in [
            ("KEA", "AKE"),
            ("AKE", "AKE"),
            ("KEAmn", "AKEm"),
            ("n", "n"),
            ("Kn", "nK"),
            ("KEg$lshzxetd", "AKE"),
            ("Elg", "glE"),
            ("", ""),
            ("mK", "Km"),
            ("xx", "x"),
        ] {
            assert_eq!(KeyspaceEvents::parse(set).unwrap().shown(), shown, "{set}");
        }
        assert_eq!(KeyspaceEvents::parse("KEq"), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for set in ["KEAmn", "n", "gmn", "", "A"] {
            let events = KeyspaceEvents::parse(set).unwrap();
            assert_eq!(KeyspaceEvents::parse(&events.letters()), Some(events), "{set}");
        }
    }

    #[test]
    fn a_class_alone_publishes_nothing() {
        let events = KeyspaceEvents::parse("g$").unwrap();
        assert!(!events.any() && events.has(EventClass::String) && !events.has(EventClass::New));
        assert!(KeyspaceEvents::parse("K").unwrap().any());
    }
}
