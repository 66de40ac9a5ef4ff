//! Streams against plain models.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

pub(crate) type Texts = Vec<(Vec<u8>, Vec<u8>)>;

/// What a stream has to hold.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Model {
    entries: BTreeMap<Id, Texts>,
    last_id: Id,
    pub(crate) max_deleted_id: Id,
    pub(crate) added: u64,
    groups: BTreeMap<Vec<u8>, ModelGroup>,
}

#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct ModelGroup {
    last_id: Id,
    pending: BTreeMap<Id, (Vec<u8>, i64, u32)>,
    consumers: BTreeMap<Vec<u8>, i64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append { ms: u64, seq: u64, texts: Texts },
    AppendAuto { now_ms: u64 },
    Delete { nth: usize },
    DeleteFirst,
    DeleteLast,
    TrimLast { keep: u64 },
    TrimFrom { nth: usize },
    TrimBlocks { keep: u64, limit: u64 },
    TrimBlocksFrom { nth: usize },
    SetLastId { up: u64 },
    CreateGroup { group: u8 },
    RemoveGroup { group: u8 },
    CreateConsumer { group: u8, consumer: u8 },
    DeleteConsumer { group: u8, consumer: u8 },
    Read { group: u8, consumer: u8, count: usize, now_ms: i64 },
    Acknowledge { group: u8, nth: usize },
    Claim { group: u8, consumer: u8, nth: usize, now_ms: i64 },
    Redeliver { group: u8, nth: usize, now_ms: i64 },
    Clone,
    Swap,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<i16>().prop_map(|number| number.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        4 => proptest::collection::vec(b'a'..b'f', 0..12),
        1 => (0..300usize).prop_map(|len| vec![b'x'; len]),
    ]
}

fn texts() -> impl Strategy<Value = Texts> {
    let field = prop_oneof![3 => Just(b"field".to_vec()), 2 => Just(b"17".to_vec()), 1 => text()];
    prop_oneof![
        3 => text().prop_map(|value| vec![(b"field".to_vec(), value)]),
        2 => (text(), text()).prop_map(|(a, b)| vec![(b"field".to_vec(), a), (b"17".to_vec(), b)]),
        1 => proptest::collection::vec((field, text()), 1..4),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let (group, consumer, nth) = (0..3u8, 0..4u8, 0..200usize);
    let step = prop_oneof![4 => Just(0u64), 3 => 1..70u64, 1 => any::<u32>().prop_map(u64::from)];
    let seq = prop_oneof![3 => 0..3u64, 1 => any::<u32>().prop_map(u64::from)];
    prop_oneof![
        20 => (step.clone(), seq, texts()).prop_map(|(ms, seq, texts)| Op::Append { ms, seq, texts }),
        8 => step.clone().prop_map(|now_ms| Op::AppendAuto { now_ms }),
        6 => nth.clone().prop_map(|nth| Op::Delete { nth }),
        2 => Just(Op::DeleteFirst),
        2 => Just(Op::DeleteLast),
        1 => (0..60u64).prop_map(|keep| Op::TrimLast { keep }),
        1 => nth.clone().prop_map(|nth| Op::TrimFrom { nth }),
        1 => (0..60u64, 0..30u64).prop_map(|(keep, limit)| Op::TrimBlocks { keep, limit }),
        1 => nth.clone().prop_map(|nth| Op::TrimBlocksFrom { nth }),
        1 => step.prop_map(|up| Op::SetLastId { up }),
        2 => group.clone().prop_map(|group| Op::CreateGroup { group }),
        1 => group.clone().prop_map(|group| Op::RemoveGroup { group }),
        3 => (group.clone(), consumer.clone()).prop_map(|(group, consumer)| Op::CreateConsumer { group, consumer }),
        1 => (group.clone(), consumer.clone()).prop_map(|(group, consumer)| Op::DeleteConsumer { group, consumer }),
        6 => (group.clone(), consumer.clone(), 1..20usize, any::<i32>())
            .prop_map(|(group, consumer, count, now)| Op::Read { group, consumer, count, now_ms: now.into() }),
        6 => (group.clone(), nth.clone()).prop_map(|(group, nth)| Op::Acknowledge { group, nth }),
        4 => (group.clone(), consumer, nth.clone(), any::<i32>())
            .prop_map(|(group, consumer, nth, now)| Op::Claim { group, consumer, nth, now_ms: now.into() }),
        2 => (group, nth, any::<i32>()).prop_map(|(group, nth, now)| Op::Redeliver { group, nth, now_ms: now.into() }),
        2 => Just(Op::Clone),
        2 => Just(Op::Swap),
    ]
}

fn name(of: u8) -> Vec<u8> {
    // One looks like a number, which RDB data stores in another way.
    if of == 1 { b"12".to_vec() } else { format!("name-{of}").into_bytes() }
}

pub(crate) const LIMITS: BlockLimits = BlockLimits { max_bytes: 200, max_entries: 6 };

pub(crate) fn pairs(texts: &Texts) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    texts.iter().map(|(field, value)| (&field[..], &value[..]))
}

fn nth_id(model: &Model, nth: usize) -> Option<Id> {
    model.entries.keys().nth(nth % model.entries.len().max(1)).copied()
}

fn nth_pending(model: &Model, group: &[u8], nth: usize) -> Option<Id> {
    let pending = &model.groups.get(group)?.pending;
    pending.keys().nth(nth % pending.len().max(1)).copied()
}

/// Does the same to both.
pub(crate) fn apply(stream: &mut Stream, model: &mut Model, op: &Op) {
    match op {
        Op::Append { .. } | Op::AppendAuto { .. } => append(stream, model, op),
        Op::Delete { .. } | Op::DeleteFirst | Op::DeleteLast => {
            let id = match op {
                Op::Delete { nth } => nth_id(model, *nth),
                Op::DeleteFirst => model.entries.keys().next().copied(),
                _ => model.entries.keys().next_back().copied(),
            };
            let id = id.unwrap_or(Id::new(3, 3));
            let was_there = model.entries.remove(&id).is_some();
            assert_eq!(stream.log_mut().delete(id), was_there);
            assert!(!stream.log_mut().delete(id));
            if was_there {
                model.max_deleted_id = model.max_deleted_id.max(id);
            }
        }
        Op::TrimLast { .. } | Op::TrimFrom { .. } | Op::TrimBlocks { .. } | Op::TrimBlocksFrom { .. } => {
            trim(stream, model, op)
        }
        Op::SetLastId { up } => {
            let id = Id::new(model.last_id.ms + up, 0);
            let top = model.entries.keys().next_back().copied();
            let result = stream.log_mut().set_last_id(id, Some(model.added + 1), Id::MIN);
            assert_eq!(result.is_ok(), top <= Some(id));
            if result.is_ok() {
                (model.last_id, model.added) = (id, model.added + 1);
            }
        }
        Op::Clone | Op::Swap => {}
        _ => apply_to_group(stream, model, op),
    }
}

fn append(stream: &mut Stream, model: &mut Model, op: &Op) {
    let plain = vec![(b"field".to_vec(), b"value".to_vec())];
    let (new, now_ms, texts) = match op {
        Op::Append { ms, seq, texts } => (NewId::Given(Id::new(model.last_id.ms + ms, *seq)), 0, texts),
        Op::AppendAuto { now_ms } => (NewId::Auto, model.last_id.ms + now_ms, &plain),
        _ => return,
    };
    let id = new.resolve(model.last_id, now_ms);
    assert_eq!(stream.log_mut().append(new, now_ms, pairs(texts), LIMITS).ok(), id);
    if let Some(id) = id {
        model.entries.insert(id, texts.clone());
        (model.last_id, model.added) = (id, model.added + 1);
    }
}

fn trim(stream: &mut Stream, model: &mut Model, op: &Op) {
    let len = model.entries.len() as u64;
    let from = |nth: usize| Keep::From(nth_id(model, nth).unwrap_or(Id::MAX));
    let (keep, precision) = match op {
        Op::TrimLast { keep } => (Keep::Last(*keep), Precision::Exact),
        Op::TrimFrom { nth } => (from(*nth), Precision::Exact),
        Op::TrimBlocks { keep, limit } => (Keep::Last(*keep), Precision::WholeBlocks { limit: *limit }),
        Op::TrimBlocksFrom { nth } => (from(*nth), Precision::WholeBlocks { limit: 0 }),
        _ => return,
    };
    let most = match keep {
        Keep::Last(entries) => len.saturating_sub(entries),
        Keep::From(id) => model.entries.range(..id).count() as u64,
    };
    let trimmed = stream.log_mut().trim(keep, precision);
    match precision {
        Precision::Exact => assert_eq!(trimmed, most),
        // Less than a block stays.
        Precision::WholeBlocks { limit: 0 } => {
            assert!(trimmed <= most && most - trimmed < u64::from(LIMITS.max_entries))
        }
        Precision::WholeBlocks { limit } => assert!(trimmed <= most.min(limit)),
    }
    for _ in 0..trimmed {
        model.entries.pop_first();
    }
}

fn apply_to_group(stream: &mut Stream, model: &mut Model, op: &Op) {
    match *op {
        Op::CreateGroup { group } => {
            let group = name(group);
            assert_eq!(stream.create_group(&group, Id::MIN, Some(0)), !model.groups.contains_key(&group));
            model.groups.entry(group).or_default();
        }
        Op::RemoveGroup { group } => {
            assert_eq!(stream.remove_group(&name(group)).is_some(), model.groups.remove(&name(group)).is_some());
        }
        Op::CreateConsumer { group, consumer } => {
            let Some(expected) = model.groups.get_mut(&name(group)) else { return };
            let group = stream.group_mut(&name(group)).unwrap();
            assert_eq!(
                group.create_consumer(&name(consumer), 7).is_some(),
                !expected.consumers.contains_key(&name(consumer))
            );
            expected.consumers.entry(name(consumer)).or_insert(7);
        }
        Op::DeleteConsumer { group, consumer } => {
            let Some(expected) = model.groups.get_mut(&name(group)) else { return };
            let group = stream.group_mut(&name(group)).unwrap();
            let before = expected.pending.len();
            let existed = expected.consumers.remove(&name(consumer)).is_some();
            expected.pending.retain(|_, (owner, _, _)| *owner != name(consumer));
            assert_eq!(group.delete_consumer(&name(consumer)), existed.then(|| before - expected.pending.len()));
        }
        Op::Read { group, consumer, count, now_ms } => {
            read(stream, model, &name(group), &name(consumer), count, now_ms)
        }
        Op::Acknowledge { group, nth } => {
            let Some(id) = nth_pending(model, &name(group), nth) else { return };
            let group_of_stream = stream.group_mut(&name(group)).unwrap();
            assert!(group_of_stream.acknowledge(id));
            assert!(!group_of_stream.acknowledge(id));
            model.groups.get_mut(&name(group)).unwrap().pending.remove(&id);
        }
        Op::Claim { group, consumer, nth, now_ms } => {
            let Some(id) = nth_pending(model, &name(group), nth) else { return };
            let group_of_stream = stream.group_mut(&name(group)).unwrap();
            let Some(owner) = group_of_stream.find_consumer(&name(consumer)) else { return };
            let old = group_of_stream.get_pending(id).unwrap();
            let entry = Pending { delivered_ms: now_ms, owner, deliveries: old.deliveries + 1 };
            group_of_stream.set_pending(id, entry);
            let expected = model.groups.get_mut(&name(group)).unwrap().pending.get_mut(&id).unwrap();
            *expected = (name(consumer), now_ms, expected.2 + 1);
        }
        Op::Redeliver { group, nth, now_ms } => {
            let Some(id) = nth_pending(model, &name(group), nth) else { return };
            stream.group_mut(&name(group)).unwrap().redeliver(id, now_ms);
            let expected = model.groups.get_mut(&name(group)).unwrap().pending.get_mut(&id).unwrap();
            (expected.1, expected.2) = (now_ms, expected.2 + 1);
        }
        _ => {}
    }
}

fn read(stream: &mut Stream, model: &mut Model, group: &[u8], consumer: &[u8], count: usize, now_ms: i64) {
    let Some(expected) = model.groups.get_mut(group) else { return };
    let (log, group) = stream.parts_mut(group).unwrap();
    let owner = group.find_consumer(consumer).or_else(|| group.create_consumer(consumer, 7)).unwrap();
    expected.consumers.entry(consumer.to_vec()).or_insert(7);
    let Some(start) = group.last_id.next() else { return };
    let ids: Vec<Id> = log.range(start, Id::MAX).map(|entry| entry.id).take(count).collect();
    assert_eq!(ids, model.entries.range(start..).map(|(&id, _)| id).take(count).collect::<Vec<_>>());
    for id in ids {
        group.advance(log, id);
        group.deliver(id, owner, now_ms);
        expected.last_id = id;
        expected.pending.insert(id, (consumer.to_vec(), now_ms, 1));
    }
}

pub(crate) fn texts_of(entry: &Entry<'_>) -> Texts {
    entry.fields().map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
}

/// What the stream holds.
pub(crate) fn model_of(stream: &Stream) -> Model {
    let group = |group: &Group| {
        let owner = |owner: Owner| group.consumer(owner).unwrap().name().to_vec();
        let pending = group.pending(Id::MIN, Id::MAX);
        ModelGroup {
            last_id: group.last_id,
            pending: pending
                .map(|(id, entry)| (id, (owner(entry.owner), entry.delivered_ms, entry.deliveries)))
                .collect(),
            consumers: group.consumers().map(|consumer| (consumer.name().to_vec(), consumer.seen_ms)).collect(),
        }
    };
    let log = stream.log();
    Model {
        entries: log.range(Id::MIN, Id::MAX).map(|entry| (entry.id, texts_of(&entry))).collect(),
        last_id: log.last_id(),
        max_deleted_id: log.max_deleted_id(),
        added: log.entries_added(),
        groups: stream.groups().map(|found| (found.name().to_vec(), group(found))).collect(),
    }
}

pub(crate) fn same(stream: &Stream, model: &Model) {
    stream.check();
    assert_eq!(model_of(stream), *model);
    assert_eq!(stream.len(), model.entries.len() as u64);
    assert_eq!(stream.log().first_id(), model.entries.keys().next().copied().unwrap_or_default());
    assert_eq!(stream.log().last_live_id(), model.entries.keys().next_back().copied());
    for group in stream.groups() {
        for consumer in group.consumers() {
            let owner = group.find_consumer(consumer.name()).unwrap();
            let own = group.pending_of(owner, Id::MIN, Id::MAX).inspect(|(_, entry)| assert_eq!(entry.owner, owner));
            assert_eq!(own.count(), consumer.pending_len());
        }
    }
}

fn ranges(stream: &Stream, model: &Model, start: Id, end: Id) {
    let expected: Vec<Id> =
        if start <= end { model.entries.range(start..=end).map(|(&id, _)| id).collect() } else { Vec::new() };
    let found: Vec<Id> = stream.log().range(start, end).map(|entry| entry.id).collect();
    assert_eq!(found, expected, "{start} to {end}");
    let mut found: Vec<Id> = stream.log().range_reversed(start, end).map(|entry| entry.id).collect();
    found.reverse();
    assert_eq!(found, expected, "{end} back to {start}");
    assert_eq!(stream.log().contains(start), model.entries.contains_key(&start));
}

pub(crate) fn built(ops: &[Op]) -> (Stream, Model) {
    let (mut stream, mut model) = (Stream::new(), Model::default());
    ops.iter().for_each(|op| apply(&mut stream, &mut model, op));
    (stream, model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn as_the_model(ops in proptest::collection::vec(op(), 0..250), probes in proptest::collection::vec((0..300usize, 0..4u64), 8)) {
        let (mut stream, mut model) = (Stream::new(), Model::default());
        let (mut other, mut other_model) = (stream.clone(), model.clone());
        for op in &ops {
            match op {
                Op::Clone => (other, other_model) = (stream.clone(), model.clone()),
                Op::Swap => {
                    std::mem::swap(&mut stream, &mut other);
                    std::mem::swap(&mut model, &mut other_model);
                }
                op => apply(&mut stream, &mut model, op),
            }
            stream.check();
        }
        same(&stream, &model);
        same(&other, &other_model);
        let probe = |(nth, near): (usize, u64)| {
            let id = nth_id(&model, nth).unwrap_or_default();
            Id::new(id.ms, (id.seq + near).saturating_sub(1))
        };
        for pair in probes.windows(2) {
            ranges(&stream, &model, probe(pair[0]), probe(pair[1]));
            ranges(&stream, &model, Id::MIN, probe(pair[0]));
            ranges(&stream, &model, probe(pair[0]), Id::MAX);
        }
        let mut rounds = 0;
        while stream.drop_some(7) {
            rounds += 1;
            prop_assert!(rounds < 2_000);
        }
        same(&other, &other_model);
    }
}

pub(crate) fn with_entries(count: u64) -> Stream {
    let mut stream = Stream::new();
    for ms in 1..=count {
        let fields = [(&b"field"[..], &b"value"[..])];
        stream.log_mut().append(NewId::Given(Id::new(ms, 0)), 0, fields.into_iter(), LIMITS).unwrap();
    }
    stream
}

#[test]
fn lag_as_redis_tells_it() {
    let mut stream = with_entries(10);
    stream.create_group(b"g", Id::MIN, None);
    let lag = |stream: &Stream| stream.group(b"g").unwrap().lag(stream.log());
    assert_eq!(lag(&stream), Some(10));
    let advance = |stream: &mut Stream, ms| {
        let (log, group) = stream.parts_mut(b"g").unwrap();
        group.advance(log, Id::new(ms, 0));
    };
    advance(&mut stream, 1);
    assert_eq!((lag(&stream), stream.group(b"g").unwrap().entries_read), (Some(9), Some(1)));
    advance(&mut stream, 2);
    assert_eq!(lag(&stream), Some(8));
    stream.log_mut().delete(Id::new(5, 0));
    assert_eq!(lag(&stream), None);
    advance(&mut stream, 3);
    assert_eq!(stream.group(b"g").unwrap().entries_read, None);
    advance(&mut stream, 10);
    assert_eq!((lag(&stream), stream.group(b"g").unwrap().entries_read), (Some(0), Some(10)));
    stream.log_mut().trim(Keep::Last(3), Precision::Exact);
    assert_eq!(entries_up_to(stream.log(), Id::new(8, 0)), Some(8));
    assert_eq!(entries_up_to(stream.log(), Id::new(1, 0)), Some(7));
    assert_eq!(entries_up_to(stream.log(), Id::new(9, 0)), None);
    assert_eq!(entries_up_to(stream.log(), Id::new(11, 0)), None);
    stream.log_mut().trim(Keep::Last(0), Precision::Exact);
    assert_eq!(entries_up_to(stream.log(), Id::new(1, 0)), Some(10));
    assert_eq!(Group::new(b"g", Id::MAX, None).lag(&Log::default()), Some(0));
}

#[test]
fn approximate_trims_drop_whole_blocks() {
    let mut stream = with_entries(20);
    assert_eq!(stream.log().blocks(), 4);
    assert_eq!(stream.log_mut().trim(Keep::Last(15), Precision::WholeBlocks { limit: 0 }), 0);
    assert_eq!(stream.log_mut().trim(Keep::Last(14), Precision::WholeBlocks { limit: 0 }), 6);
    assert_eq!(stream.log_mut().trim(Keep::Last(0), Precision::WholeBlocks { limit: 11 }), 6);
    assert_eq!(stream.log_mut().trim(Keep::From(Id::new(18, 0)), Precision::WholeBlocks { limit: 0 }), 0);
    assert_eq!(stream.log_mut().trim(Keep::From(Id::new(19, 0)), Precision::WholeBlocks { limit: 0 }), 6);
    assert_eq!((stream.log().first_block_id(), stream.len()), (Id::new(19, 0), 2));
}

#[test]
fn a_lower_last_id_leaves_no_deleted_entries_above() {
    let mut stream = with_entries(4);
    stream.log_mut().delete(Id::new(4, 0));
    stream.log_mut().delete(Id::new(3, 0));
    assert_eq!(stream.log_mut().set_last_id(Id::new(1, 0), None, Id::MIN), Err(SetIdError::BelowTop));
    assert_eq!(stream.log_mut().set_last_id(Id::new(2, 5), Some(1), Id::MIN), Err(SetIdError::FewerThanLength));
    assert_eq!(stream.log_mut().set_last_id(Id::new(2, 5), Some(2), Id::MIN), Ok(()));
    let fields = [(&b"field"[..], &b"value"[..])];
    let id = stream.log_mut().append(NewId::Auto, 0, fields.into_iter(), LIMITS);
    assert_eq!(id, Ok(Id::new(2, 6)));
    stream.check();
}

#[test]
fn ids_end() {
    let mut stream = Stream::new();
    let fields = [(&b"field"[..], &b"value"[..])];
    let mut add = |new| stream.log_mut().append(new, 0, fields.into_iter(), LIMITS);
    assert_eq!(add(NewId::Given(Id::MIN)), Err(AppendError::NotGreater));
    assert_eq!(add(NewId::Given(Id::new(u64::MAX, 3))), Ok(Id::new(u64::MAX, 3)));
    assert_eq!(add(NewId::Auto), Ok(Id::new(u64::MAX, 4)));
    assert_eq!(add(NewId::Given(Id::MAX)), Ok(Id::MAX));
    assert_eq!(add(NewId::Auto), Err(AppendError::Exhausted));
    stream.check();
    assert_eq!(stream.log().range(Id::MAX, Id::MAX).map(|_| ()).count(), 1);
    assert!(stream.log_mut().delete(Id::new(u64::MAX, 3)));
    stream.check();
}

#[test]
fn wide_entries() {
    let mut stream = Stream::new();
    let texts: Texts = (0..500).map(|n| (format!("field{n}").into_bytes(), vec![b'v'; n])).collect();
    for ms in [1, 2] {
        stream.log_mut().append(NewId::Given(Id::new(ms, 0)), 0, pairs(&texts), BlockLimits::default()).unwrap();
    }
    stream.check();
    assert_eq!(
        stream.log().range(Id::MIN, Id::MAX).map(|entry| texts_of(&entry)).collect::<Vec<_>>(),
        vec![texts.clone(), texts]
    );
}

#[test]
fn streams_move_between_cores() {
    fn movable<T: Send + Sync>() {}
    movable::<Stream>();
}

/// Which blocks are compressed, the tail left out.
fn compressed(stream: &Stream) -> Vec<bool> {
    stream.log().sealed.range(Id::MIN, Id::MAX).map(|(_, block)| block.is_compressed()).collect()
}

#[test]
fn blocks_between_the_first_and_the_last_are_compressed() {
    let mut stream = with_entries(60);
    let shape = |open: &[usize], blocks: usize| (0..blocks).map(|at| !open.contains(&at)).collect::<Vec<_>>();
    let blocks = compressed(&stream).len();
    assert_eq!(compressed(&stream), shape(&[0, blocks - 2, blocks - 1], blocks));
    let ids: Vec<Id> = stream.log().blocks_from(Id::MIN).map(|block| block.first()).collect();
    // Only the block that was changed last stays open.
    for at in [3, 4, 2] {
        assert!(stream.log_mut().delete(ids[at]));
        stream.check();
        assert_eq!(compressed(&stream), shape(&[0, at, blocks - 2, blocks - 1], blocks));
    }
    // What is first now is open, and stays so.
    assert!(stream.log_mut().trim(Keep::From(ids[5]), Precision::Exact) > 0);
    stream.check();
    assert_eq!(compressed(&stream), shape(&[0, blocks - 7, blocks - 6], blocks - 5));
    assert!(stream.log_mut().delete(ids[8]) && stream.log_mut().delete(ids[9]));
    assert_eq!(compressed(&stream), shape(&[0, 4, blocks - 7, blocks - 6], blocks - 5));
    stream.check();
}

#[test]
fn a_clone_keeps_what_the_stream_compresses_and_opens() {
    let mut stream = with_entries(60);
    let model = model_of(&stream);
    let copy = stream.clone();
    for ms in 61..=90 {
        let fields = [(&b"field"[..], &b"value"[..])];
        stream.log_mut().append(NewId::Given(Id::new(ms, 0)), 0, fields.into_iter(), LIMITS).unwrap();
    }
    for ms in (2..80).step_by(7) {
        assert!(stream.log_mut().delete(Id::new(ms, 0)));
    }
    stream.log_mut().trim(Keep::Last(40), Precision::Exact);
    stream.check();
    same(&copy, &model);
}
