use super::*;
use crate::observe::digest::{Expires, value_digest};
use crate::rdb::Records;
use crate::types::hash::Ttl;
use crate::types::list::PlainEnds;
use crate::types::stream::{BlockLimits, NewId, Stream};

const LONGEST: u64 = 1 << 20;
const ELEMENTS: usize = 10_000;

fn of_every_type() -> Vec<Object> {
    let (mut list, mut set, mut zset) = (List::new(PlainEnds::All), Set::new(), Zset::new());
    let (mut hash, mut stream) = (Hash::new(), Stream::new());
    for n in 0..ELEMENTS {
        let name = format!("element:{n}");
        list.push(Side::Back, name.as_bytes());
        set.add(name.as_bytes());
        zset.insert((n % 100) as f64, name.as_bytes());
        hash.set(name.as_bytes(), n.to_string().as_bytes(), Ttl::Drop);
        let fields = [(&b"field"[..], name.as_bytes())];
        stream
            .log_mut()
            .append(NewId::Auto, 1000 + n as u64, fields.into_iter(), BlockLimits::default())
            .expect("an ID");
    }
    vec![Object::List(list), Object::Set(set), Object::Zset(zset), Object::Hash(hash), Object::Stream(stream)]
}

fn digest(value: &Value) -> String {
    value_digest(value.as_ref(), Expires::Never).hex()
}

#[test]
fn one_record_in_many_pieces() {
    for object in of_every_type() {
        assert!(is_large(&object));
        let mut writer = LargeWriter::new(b"key", &object, Some(77), Access::IdleSeconds(5), Pieces::Whole);
        let (mut bytes, mut pieces) = (Vec::new(), 1);
        while writer.step(&mut bytes, 1000) == Piece::Open {
            pieces += 1;
        }
        assert!(pieces > 20, "{object:?} in {pieces} pieces");
        let mut records = Records::new(&bytes, LONGEST);
        let record = records.next().expect("a record").expect("a sound one");
        assert!(records.next().is_none() && !record.part);
        assert_eq!((&*record.key, record.expire_at_ms, record.access), (&b"key"[..], Some(77), Access::IdleSeconds(5)));
        let read = record.decode(LONGEST, &Encodings::default()).expect("a value");
        assert_eq!(digest(&read), digest(&Value::Object(Box::new(object))));
    }
}

#[test]
fn parts_become_what_they_came_from() {
    for object in of_every_type() {
        let mut writer = LargeWriter::new(b"key", &object, None, Access::Unknown, Pieces::Parts);
        let (mut bytes, mut pieces) = (Vec::new(), 1);
        while writer.step(&mut bytes, 5000) == Piece::Part {
            pieces += 1;
        }
        assert!(pieces > 5, "{object:?} in {pieces} pieces");
        let mut whole: Option<Box<Object>> = None;
        for record in Records::new(&bytes, LONGEST) {
            let record = record.expect("a sound record");
            assert_eq!((&*record.key, record.part), (&b"key"[..], whole.is_some()));
            let value = record.decode(LONGEST, &Encodings::default()).expect("a value");
            match &mut whole {
                Some(whole) => append(whole, &value, &Encodings::default()).expect("new elements"),
                None => {
                    whole = Some(match value {
                        Value::Object(object) => object,
                        Value::Packed(kind, bytes) => Box::new(unpacked(kind, &bytes, &Encodings::default())),
                        Value::Int(_) | Value::Str(_) => panic!("a string"),
                    });
                }
            }
        }
        let mut whole = whole.expect("some parts");
        let again = Value::Object(Box::new(object.clone()));
        let refused = match &*whole {
            Object::List(_) => None,
            Object::Stream(_) => Some(stream::Flaw::Order.into()),
            Object::Set(_) | Object::Zset(_) | Object::Hash(_) => Some(Reason::DuplicateElement),
        };
        if let Some(reason) = refused {
            assert_eq!(append(&mut whole, &again, &Encodings::default()), Err(reason));
        }
        assert_eq!(digest(&Value::Object(whole)), digest(&again));
    }
}

#[test]
fn a_part_of_another_type_is_refused() {
    let mut objects = of_every_type();
    let set = Value::Object(Box::new(objects.remove(1)));
    let mut list = objects.remove(0);
    assert_eq!(append(&mut list, &set, &Encodings::default()), Err(Reason::PartOfAnother));
}

/// The first writer that goes frees nothing that the other still writes.
#[test]
fn what_is_written_is_frozen() {
    for object in of_every_type() {
        let expected = digest(&Value::Object(Box::new(object.clone())));
        let mut writer = LargeWriter::new(b"key", &object, None, Access::Unknown, Pieces::Whole);
        let mut bytes = Vec::new();
        assert_eq!(writer.step(&mut bytes, 100), Piece::Open);
        let mut changed = object;
        match &mut changed {
            Object::List(list) => drop(list.trim(0..1)),
            Object::Set(set) => assert!(set.remove(b"element:7")),
            Object::Zset(zset) => drop(zset.insert(1e6, b"element:7")),
            Object::Hash(hash) => drop(hash.delete(b"element:7")),
            Object::Stream(stream) => {
                let first = stream.log().first_id();
                assert!(stream.log_mut().delete(first));
            }
        }
        while writer.step(&mut bytes, 100_000) == Piece::Open {}
        let record = Records::new(&bytes, LONGEST).next().expect("a record").expect("a sound one");
        let read = record.decode(LONGEST, &Encodings::default()).expect("a value");
        assert_eq!(digest(&read), expected);
    }
}

/// The counters, deleted entries and groups are those of the whole, wherever the parts end.
#[test]
fn parts_of_a_stream_keep_what_is_beside_its_entries() {
    let Some(Object::Stream(mut original)) = of_every_type().pop() else { panic!("a stream") };
    for n in (3..ELEMENTS as u64).step_by(7) {
        assert!(original.log_mut().delete(Id::new(1000 + n, 0)));
    }
    for name in [&b"first"[..], b"second"] {
        assert!(original.create_group(name, Id::new(1500, 0), None));
        let (_, group) = original.parts_mut(name).expect("it was created");
        let owner = group.create_consumer(b"consumer", 5).expect("a new one");
        (1000..1500).for_each(|ms| group.deliver(Id::new(ms, 0), owner, 6));
    }
    let written = |stream: &Stream| {
        let mut bytes = Vec::new();
        stream::write(&mut bytes, stream, Compression::None);
        bytes
    };
    let original = Object::Stream(original);
    for budget in [100, 5000, 50_000] {
        let mut writer = LargeWriter::new(b"key", &original, None, Access::Unknown, Pieces::Parts);
        let mut bytes = Vec::new();
        while writer.step(&mut bytes, budget) == Piece::Part {}
        let mut whole: Option<Box<Object>> = None;
        for record in Records::new(&bytes, LONGEST) {
            let value = record.and_then(|record| record.decode(LONGEST, &Encodings::default())).expect("a sound part");
            match (&mut whole, value) {
                (Some(whole), value) => append(whole, &value, &Encodings::default()).expect("what comes behind"),
                (None, Value::Object(object)) => whole = Some(object),
                (None, _) => panic!("not a stream"),
            }
        }
        let (Some(Object::Stream(whole)), Object::Stream(original)) = (whole.as_deref(), &original) else {
            panic!("not a stream");
        };
        assert!(written(whole) == written(original), "parts of {budget} bytes");
    }
}
