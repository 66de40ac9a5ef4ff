//! SORT and SORT_RO: the elements of a list, a set or a sorted set in order of themselves or of values elsewhere, replied with or stored.
//!
//! In steps: what was asked for ([`Query`]), the elements ([`Query::load`]), the values of keys that patterns form ([`look_up`]), the order
//! ([`Query::order`]), the reply. The keys that patterns form may be on other cores; who runs the command then ([`looks_elsewhere`]) takes
//! the steps one by one, each where its keys are. Orders are those of Redis in the C locale.

use std::cmp::Ordering;
use std::ops::Range;

use super::options::int;
use super::scratch::with_scratch;
use super::{Ctx, Error, Outcome};
use crate::keyspace::{EventClass, Held, KeyView, ValueRef};
use crate::resp::{Args, Writer};
use crate::types::hash::{self, Hash};
use crate::types::list::{self, List, Side};
use crate::types::numbers::parse_f64;
use crate::types::packed::Item;
use crate::types::set::SetRef;
use crate::types::{Kind, Object, zset};

/// Texts one behind the other; some may be missing.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    bytes: Vec<u8>,
    spans: Vec<Option<Range<usize>>>,
}

impl Texts {
    pub fn push(&mut self, text: Option<&[u8]>) {
        let start = self.bytes.len();
        let span = text.map(|text| {
            self.bytes.extend_from_slice(text);
            start..self.bytes.len()
        });
        self.spans.push(span);
    }

    fn push_item(&mut self, item: Item<'_>) {
        self.push(Some(item.text(&mut [0; _])));
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.spans[index].clone().map(|span| &self.bytes[span])
    }

    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// An element, none of which is missing.
    pub fn element(&self, index: usize) -> &[u8] {
        self.get(index).unwrap_or_default()
    }
}

/// The name of a key, or of a field in a hash, in which an element takes the place of the star.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    before: Vec<u8>,
    after: Vec<u8>,
    field: Option<Vec<u8>>,
}

impl Pattern {
    /// `None` without a star: there is nothing to look up.
    fn parse(text: &[u8]) -> Option<Pattern> {
        let c_text = super::error::c_string(text);
        let star = c_text.iter().position(|byte| *byte == b'*')?;
        let arrow = c_text[star + 1..].windows(2).position(|pair| pair == b"->").map(|at| star + 1 + at);
        let arrow = arrow.filter(|at| c_text.len() > at + 2);
        Some(Pattern {
            before: text[..star].to_vec(),
            after: text[star + 1..arrow.unwrap_or(text.len())].to_vec(),
            field: arrow.map(|at| text[at + 2..].to_vec()),
        })
    }

    /// The field, if the key is that of a hash.
    pub fn field(&self) -> Option<&[u8]> {
        self.field.as_deref()
    }

    /// The key for an element.
    pub fn key(&self, element: &[u8]) -> Vec<u8> {
        [&self.before, element, &self.after].concat()
    }
}

/// What is replied for an element.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Get {
    /// `#`
    Element,
    /// Of a pattern without a star.
    Nothing,
    Value(Pattern),
}

/// What the elements are ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum By {
    /// They stay as they are.
    Nothing,
    Themselves,
    Value(Pattern),
}

/// A call of SORT.
#[derive(Clone, Debug)]
pub struct Query {
    by: By,
    is_alpha: bool,
    is_descending: bool,
    skip: i64,
    count: i64,
    gets: Vec<Get>,
    /// The argument that names where to.
    pub store: Option<usize>,
}

/// Which of the two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Sort,
    ReadOnly,
}

/// Whether a call names keys that only its elements tell.
pub fn looks_elsewhere(name: &str, args: &Args<'_>) -> bool {
    let variant = match name {
        "sort" => Variant::Sort,
        "sort_ro" => Variant::ReadOnly,
        _ => return false,
    };
    Query::parse(args, variant).is_ok_and(|query| query.patterns().next().is_some())
}

/// The argument of SORT that names the key it stores to.
pub fn store_at(args: &Args<'_>) -> Option<usize> {
    Query::parse(args, Variant::Sort).ok()?.store
}

impl Query {
    fn parse(args: &Args<'_>, variant: Variant) -> Result<Query, Error> {
        let mut query = Query {
            by: By::Themselves,
            is_alpha: false,
            is_descending: false,
            skip: 0,
            count: -1,
            gets: Vec::new(),
            store: None,
        };
        let mut i = 2;
        while i < args.len() {
            let left = args.len() - i - 1;
            if args.is(i, "asc") {
                query.is_descending = false;
            } else if args.is(i, "desc") {
                query.is_descending = true;
            } else if args.is(i, "alpha") {
                query.is_alpha = true;
            } else if args.is(i, "limit") && left >= 2 {
                (query.skip, query.count) = (int(args.get(i + 1))?, int(args.get(i + 2))?);
                i += 2;
            } else if variant == Variant::Sort && args.is(i, "store") && left >= 1 {
                query.store = Some(i + 1);
                i += 1;
            } else if args.is(i, "by") && left >= 1 {
                i += 1;
                // Whoever has once said that nothing is to be sorted has said so.
                if query.by != By::Nothing {
                    query.by = Pattern::parse(args.get(i)).map_or(By::Nothing, By::Value);
                }
            } else if args.is(i, "get") && left >= 1 {
                i += 1;
                query.gets.push(match args.get(i) {
                    b"#" => Get::Element,
                    pattern => Pattern::parse(pattern).map_or(Get::Nothing, Get::Value),
                });
            } else {
                return Err(Error::Syntax);
            }
            i += 1;
        }
        Ok(query)
    }

    /// The query of a command that [`looks_elsewhere`].
    pub fn of(name: &str, args: &Args<'_>) -> Result<Query, Error> {
        Query::parse(args, if name == "sort" { Variant::Sort } else { Variant::ReadOnly })
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let by = if let By::Value(pattern) = &self.by { Some(pattern) } else { None };
        by.into_iter().chain(self.gets())
    }

    /// What the elements are ordered by, if that is elsewhere.
    pub fn by(&self) -> Option<&Pattern> {
        if let By::Value(pattern) = &self.by { Some(pattern) } else { None }
    }

    /// What is to be looked up for each element that is replied.
    pub fn gets(&self) -> impl Iterator<Item = &Pattern> {
        self.gets.iter().filter_map(|get| if let Get::Value(pattern) = get { Some(pattern) } else { None })
    }

    /// Reads the elements: all that are to be sorted, or those that are asked for where nothing is.
    pub fn load(&mut self, keys: &mut KeyView<'_>, key: &[u8]) -> Result<Texts, Error> {
        let mut elements = Texts::default();
        // Counts as a hit or miss and as an access, as a read does.
        if !keys.touch(key) {
            return Ok(elements);
        }
        let Some(value) = keys.value(key) else { return Ok(elements) };
        let (kind, len) = match value {
            ValueRef::Packed(Kind::List, bytes) => (Kind::List, list::compact::len(bytes)),
            ValueRef::Packed(Kind::Set, bytes) => (Kind::Set, SetRef::Compact(bytes).len()),
            ValueRef::Packed(Kind::Zset, bytes) => (Kind::Zset, zset::compact::len(bytes)),
            ValueRef::Object(object @ (Object::List(_) | Object::Set(_) | Object::Zset(_))) => {
                (object.kind(), object.len())
            }
            ValueRef::Packed(..) | ValueRef::Object(_) | ValueRef::Str(_) => return Err(Error::WrongType),
        };
        // A set has no order that a replica could follow.
        if kind == Kind::Set && self.by == By::Nothing && self.store.is_some() {
            (self.by, self.is_alpha) = (By::Themselves, true);
        }
        let wanted = if self.by == By::Nothing { self.range(len) } else { 0..len };
        let side = if self.by == By::Nothing && self.is_descending { Side::Back } else { Side::Front };
        let ranks = match side {
            Side::Front => wanted.clone(),
            Side::Back => len - wanted.end..len - wanted.start,
        };
        let (skip, count) = (wanted.start, wanted.len());
        match value {
            ValueRef::Packed(Kind::List, bytes) => {
                list::compact::range(bytes, side, skip, count, |item| elements.push_item(item));
            }
            ValueRef::Object(Object::List(list)) => {
                list.range(side, skip as u64, count as u64, |item| elements.push_item(item));
            }
            ValueRef::Packed(Kind::Zset, bytes) => match side {
                Side::Front => zset::compact::ascending(bytes, ranks).for_each(|entry| elements.push_item(entry.name)),
                Side::Back => zset::compact::descending(bytes, ranks).for_each(|entry| elements.push_item(entry.name)),
            },
            ValueRef::Object(Object::Zset(zset)) => match side {
                Side::Front => zset.ascending(ranks).for_each(|element| elements.push(Some(element.name()))),
                Side::Back => zset.descending(ranks).for_each(|element| elements.push(Some(element.name()))),
            },
            ValueRef::Packed(_, bytes) => push_members(SetRef::Compact(bytes), wanted, &mut elements),
            ValueRef::Object(Object::Set(set)) => push_members(SetRef::Full(set), wanted, &mut elements),
            ValueRef::Object(_) | ValueRef::Str(_) => {}
        }
        Ok(elements)
    }

    /// LIMIT as a range of so many elements.
    fn range(&self, len: usize) -> Range<usize> {
        let clipped = |number: i64| usize::try_from(number.max(0)).map_or(len, |number| number.min(len));
        let start = clipped(self.skip);
        let count = if self.count < 0 { len } else { clipped(self.count) };
        start..start.saturating_add(count).min(len)
    }

    /// The elements that are replied, by index and in order. `weights` are the values of [`Query::by`], one an element.
    pub fn order(&self, elements: &Texts, weights: Option<&Texts>) -> Result<Vec<usize>, Error> {
        let mut order: Vec<usize> = (0..elements.len()).collect();
        if self.by == By::Nothing {
            return Ok(order);
        }
        let weight = |index: usize| weights.map_or_else(|| elements.get(index), |weights| weights.get(index));
        let directed = |ordering: Ordering| if self.is_descending { ordering.reverse() } else { ordering };
        if self.is_alpha {
            order.sort_by(|a, b| directed(weight(*a).cmp(&weight(*b))));
        } else {
            const NOT_NUMBERS: Error = Error::text("ERR One or more scores can't be converted into double");
            let numbers = order.iter().map(|index| weight(*index).map_or(Some(0.0), number));
            let numbers: Vec<f64> = numbers.collect::<Option<_>>().ok_or(NOT_NUMBERS)?;
            let by_text = |a: &usize, b: &usize| elements.element(*a).cmp(elements.element(*b));
            order.sort_by(|a, b| {
                let ordering = numbers[*a].partial_cmp(&numbers[*b]).unwrap_or(Ordering::Equal);
                directed(ordering.then_with(|| by_text(a, b)))
            });
        }
        let range = self.range(order.len());
        order.truncate(range.end);
        order.drain(..range.start);
        Ok(order)
    }

    /// Calls `f` with each part of the result. `values` are those of [`Query::gets`], each with one an index of the order.
    fn for_each(&self, elements: &Texts, order: &[usize], values: &[Texts], mut f: impl FnMut(Option<&[u8]>)) {
        for (place, index) in order.iter().enumerate() {
            if self.gets.is_empty() {
                f(elements.get(*index));
            }
            let mut values = values.iter();
            for get in &self.gets {
                match get {
                    Get::Element => f(elements.get(*index)),
                    Get::Nothing => f(None),
                    Get::Value(_) => f(values.next().and_then(|values| values.get(place))),
                }
            }
        }
    }

    fn parts(&self, order: &[usize]) -> usize {
        order.len() * self.gets.len().max(1)
    }

    /// Writes the reply of a query that stores nothing.
    pub fn write(&self, out: &mut Writer<'_>, elements: &Texts, order: &[usize], values: &[Texts]) {
        out.array(self.parts(order));
        self.for_each(elements, order, values, |part| match part {
            Some(text) => out.bulk(text),
            None => out.null(),
        });
    }

    /// The list that is stored.
    pub fn result(&self, elements: &Texts, order: &[usize], values: &[Texts]) -> Texts {
        let mut result = Texts::default();
        self.for_each(elements, order, values, |part| result.push(Some(part.unwrap_or_default())));
        result
    }
}

fn push_members(set: SetRef<'_>, wanted: Range<usize>, elements: &mut Texts) {
    set.iter().skip(wanted.start).take(wanted.len()).for_each(|member| elements.push_item(member));
}

/// A number as `strtod` reads it; nothing at all is 0.
fn number(text: &[u8]) -> Option<f64> {
    let text = super::error::c_string(text);
    if text.is_empty() {
        return Some(0.0);
    }
    let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    parse_f64(&text[blanks..])
}

/// Appends the value of a pattern's key for an element: a string, or a field of a hash.
pub fn look_up(keys: &mut KeyView<'_>, key: &[u8], field: Option<&[u8]>, values: &mut Texts) {
    let now_ms = keys.now_ms();
    match field {
        None => match keys.string(key) {
            Ok(Some(value)) => values.push(Some(super::string::bytes_of(value, &mut itoa::Buffer::new()))),
            Ok(None) | Err(_) => values.push(None),
        },
        Some(field) => match keys.collection::<Hash>(key) {
            Ok(Some(Held::Packed(bytes))) => match hash::compact::get(bytes, field, now_ms) {
                Some(value) => values.push_item(value),
                None => values.push(None),
            },
            Ok(Some(Held::Full(hash))) => values.push(hash.get(field, now_ms)),
            Ok(None) | Err(_) => values.push(None),
        },
    }
}

/// Replaces what is at the key with a list of the texts; none leave nothing there. Replies how many they are.
pub fn store(ctx: &mut Ctx<'_>, key: &[u8], result: &Texts) {
    let len = result.len();
    if len > 0 {
        let mut list = List::new(ctx.encodings.list_plain_ends);
        (0..len).for_each(|index| list.push(Side::Back, result.element(index)));
        list.after_loading(ctx.encodings.list);
        if list.may_be_compact() {
            with_scratch(|bytes| {
                list.write_compact(bytes);
                ctx.keys.set_packed::<List>(key, bytes);
            });
        } else {
            ctx.keys.set_full(key, list);
        }
        if let Some(Some(_)) = ctx.keys.expire_at_ms(key) {
            ctx.keys.set_expire_at_ms(key, None);
        }
        ctx.keys.event(key, EventClass::List, "sortstore");
        ctx.changed(len as u64);
    } else if ctx.keys.discard(key) {
        ctx.event(key, "del");
        ctx.changed(1);
    }
    ctx.out.int(len as i64);
}

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]
pub fn sort(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, Variant::Sort)
}

/// SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]
pub fn sort_ro(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, Variant::ReadOnly)
}

/// All keys are here.
fn run(ctx: &mut Ctx<'_>, args: &Args<'_>, variant: Variant) -> Outcome {
    let mut query = Query::parse(args, variant)?;
    let elements = query.load(&mut ctx.keys, args.get(1))?;
    let weights = query.by().map(|pattern| {
        let mut weights = Texts::default();
        for index in 0..elements.len() {
            look_up(&mut ctx.keys, &pattern.key(elements.element(index)), pattern.field(), &mut weights);
        }
        weights
    });
    let order = query.order(&elements, weights.as_ref())?;
    let mut values = Vec::new();
    for pattern in query.gets() {
        let mut found = Texts::default();
        for index in &order {
            look_up(&mut ctx.keys, &pattern.key(elements.element(*index)), pattern.field(), &mut found);
        }
        values.push(found);
    }
    match query.store {
        Some(at) => store(ctx, args.get(at), &query.result(&elements, &order, &values)),
        None => query.write(&mut ctx.out, &elements, &order, &values),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
