//! GEOSEARCH and GEOSEARCHSTORE, and the GEORADIUS commands that came before them.

use std::ops::ControlFlow;

use hashbrown::HashSet;

use super::{point, unit, write_distance, write_point};
use crate::commands::error::c_string;
use crate::commands::options::int;
use crate::commands::zset::{Collected, lookup, store};
use crate::commands::{Ctx, Error, Outcome};
use crate::resp::{Args, Writer};
use crate::types::geo::{Figure, Point, Unit};
use crate::types::numbers::parse_f64;
use crate::types::packed::{Item, MAX_INTEGER_TEXT};
use crate::types::zset::{ScoreBound, ZsetRef};

const NO_SUCH_MEMBER: Error = Error::text("ERR could not decode requested zset member");

/// How a command names the centre and the figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Longitude, latitude and radius at fixed places.
    Radius,
    /// A member and a radius at fixed places.
    RadiusByMember,
    /// By options.
    Search,
}

/// Where results may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Reply,
    /// To a key, if STORE or STOREDIST says so.
    Option,
    /// To the key at argument 1.
    First,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// The middle of the figure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Centre {
    Unsaid,
    Place(Point),
    Member(Point),
    /// A member of a key that is not there.
    Nowhere,
}

impl Centre {
    fn point(self) -> Option<Point> {
        match self {
            Centre::Place(point) | Centre::Member(point) => Some(point),
            Centre::Unsaid | Centre::Nowhere => None,
        }
    }
}

/// What a search is asked for.
struct Request<'a> {
    centre: Centre,
    figure: Option<(Figure, Unit)>,
    with_distance: bool,
    with_hash: bool,
    with_coordinates: bool,
    order: Option<Order>,
    /// Results at most.
    count: Option<usize>,
    /// ANY
    any: bool,
    store: Option<&'a [u8]>,
    /// The keys that STORE and STOREDIST have named.
    named: [Option<&'a [u8]>; 2],
    /// STOREDIST
    stores_distance: bool,
}

/// A number that is a length; `what` names it.
fn length(arg: &[u8], what: &str) -> Result<f64, Error> {
    parse_f64(arg).ok_or_else(|| Error::with(format!("ERR need numeric {what}")))
}

/// A radius and its unit.
fn circle(args: &Args<'_>, at: usize) -> Result<(Figure, Unit), Error> {
    let radius = length(args.get(at), "radius")?;
    if radius < 0.0 {
        return Err(Error::text("ERR radius cannot be negative"));
    }
    Ok((Figure::Circle { radius }, unit(args.get(at + 1))?))
}

/// Width, height and their unit.
fn rectangle(args: &Args<'_>, at: usize) -> Result<(Figure, Unit), Error> {
    let (width, height) = (length(args.get(at), "width")?, length(args.get(at + 1), "height")?);
    if width < 0.0 || height < 0.0 {
        return Err(Error::text("ERR height or width cannot be negative"));
    }
    Ok((Figure::Box { width, height }, unit(args.get(at + 2))?))
}

/// The place of a member.
fn place(set: ZsetRef<'_>, member: &[u8]) -> Result<Point, Error> {
    set.score(member).map(Point::of_score).ok_or(NO_SUCH_MEMBER)
}

impl<'a> Request<'a> {
    fn parse(args: &Args<'a>, form: Form, target: Target, set: Option<ZsetRef<'_>>) -> Result<Request<'a>, Error> {
        let mut request = Request {
            centre: Centre::Unsaid,
            figure: None,
            with_distance: false,
            with_hash: false,
            with_coordinates: false,
            order: None,
            count: None,
            any: false,
            store: (target == Target::First).then(|| args.get(1)),
            named: [None; 2],
            stores_distance: false,
        };
        let mut at = request.fixed(args, form, target, set)?;
        while at < args.len() {
            at += match request.take_common(args, at)? {
                0 if form == Form::Search => request.take_of_search(args, at, target, set)?,
                0 => request.take_of_radius(args, at, target)?,
                taken => taken,
            };
        }
        request.check(args, form, target)?;
        Ok(request)
    }

    /// What stands at fixed places. Returns where the options begin.
    fn fixed(&mut self, args: &Args<'a>, form: Form, target: Target, set: Option<ZsetRef<'_>>) -> Result<usize, Error> {
        match (form, set) {
            (Form::Search, _) => return Ok(if target == Target::First { 3 } else { 2 }),
            (Form::Radius, _) => {
                self.centre = Centre::Place(point(args, 2)?);
                self.figure = Some(circle(args, 4)?);
                return Ok(6);
            }
            // Without a key nothing is asked of member and radius.
            (Form::RadiusByMember, None) => {}
            (Form::RadiusByMember, Some(set)) => {
                self.centre = Centre::Member(place(set, args.get(2))?);
                self.figure = Some(circle(args, 3)?);
            }
        }
        Ok(5)
    }

    /// How many arguments the option at `at` takes; 0 if it is none that all commands have.
    fn take_common(&mut self, args: &Args<'a>, at: usize) -> Result<usize, Error> {
        if args.is(at, "withdist") {
            self.with_distance = true;
        } else if args.is(at, "withhash") {
            self.with_hash = true;
        } else if args.is(at, "withcoord") {
            self.with_coordinates = true;
        } else if args.is(at, "any") {
            self.any = true;
        } else if args.is(at, "asc") {
            self.order = Some(Order::Ascending);
        } else if args.is(at, "desc") {
            self.order = Some(Order::Descending);
        } else if args.is(at, "count") && at + 1 < args.len() {
            let count = usize::try_from(int(args.get(at + 1))?).ok().filter(|count| *count > 0);
            self.count = Some(count.ok_or(Error::text("ERR COUNT must be > 0"))?);
            return Ok(2);
        } else {
            return Ok(0);
        }
        Ok(1)
    }

    fn take_of_radius(&mut self, args: &Args<'a>, at: usize, target: Target) -> Result<usize, Error> {
        let by_distance = args.is(at, "storedist");
        if target != Target::Option || at + 1 >= args.len() || !(by_distance || args.is(at, "store")) {
            return Err(Error::Syntax);
        }
        let key = args.get(at + 1);
        // Of one word that is said twice only the first key is at hand; Redis takes the last.
        let named = &mut self.named[usize::from(by_distance)];
        if named.is_some_and(|other| other != key) {
            return Err(Error::Syntax);
        }
        *named = Some(key);
        self.store = Some(key);
        self.stores_distance = by_distance;
        Ok(2)
    }

    fn take_of_search(
        &mut self,
        args: &Args<'a>,
        at: usize,
        target: Target,
        set: Option<ZsetRef<'_>>,
    ) -> Result<usize, Error> {
        let behind = args.len() - at - 1;
        if behind >= 1 && args.is(at, "frommember") && !matches!(self.centre, Centre::Place(_)) {
            self.centre = match set {
                Some(set) => Centre::Member(place(set, args.get(at + 1))?),
                None => Centre::Nowhere,
            };
            return Ok(2);
        }
        if behind >= 2 && args.is(at, "fromlonlat") && !matches!(self.centre, Centre::Member(_) | Centre::Nowhere) {
            self.centre = Centre::Place(point(args, at + 1)?);
            return Ok(3);
        }
        if behind >= 2 && args.is(at, "byradius") && !matches!(self.figure, Some((Figure::Box { .. }, _))) {
            self.figure = Some(circle(args, at + 1)?);
            return Ok(3);
        }
        if behind >= 3 && args.is(at, "bybox") && !matches!(self.figure, Some((Figure::Circle { .. }, _))) {
            self.figure = Some(rectangle(args, at + 1)?);
            return Ok(4);
        }
        if target == Target::First && args.is(at, "storedist") {
            self.stores_distance = true;
            return Ok(1);
        }
        Err(Error::Syntax)
    }

    fn check(&self, args: &Args<'_>, form: Form, target: Target) -> Outcome {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_coordinates) {
            return Err(Error::text(match target {
                Target::First => "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                Target::Reply | Target::Option => {
                    "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
            }));
        }
        let exactly_one = |what: &[u8]| {
            Error::concat(&[b"ERR exactly one of ", what, b" can be specified for ", c_string(args.get(0))])
        };
        if form == Form::Search && matches!(self.centre, Centre::Unsaid) {
            return Err(exactly_one(b"FROMMEMBER or FROMLONLAT"));
        }
        if form == Form::Search && self.figure.is_none() {
            return Err(exactly_one(b"BYRADIUS and BYBOX"));
        }
        if self.any && self.count.is_none() {
            return Err(Error::text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// A count without ANY asks for the nearest.
    fn order(&self) -> Option<Order> {
        self.order.or((self.count.is_some() && !self.any).then_some(Order::Ascending))
    }
}

/// A member that was found.
#[derive(Clone, Copy, Debug)]
struct Hit<'s> {
    name: Item<'s>,
    score: f64,
    point: Point,
    distance_m: f64,
    /// How many were found before it.
    turn: usize,
}

/// Looks at all members in the cells that the figure touches, until there are `most`.
fn search<'s>(set: ZsetRef<'s>, figure: Figure, unit: Unit, centre: Point, most: usize) -> Vec<Hit<'s>> {
    let mut found = Vec::new();
    for cell in figure.cells(unit, centre) {
        if found.len() >= most {
            break;
        }
        set.for_each_from(ScoreBound::Included(cell.start), |name, score| {
            if score >= cell.end {
                return ControlFlow::Break(());
            }
            let point = Point::of_score(score);
            if let Some(distance_m) = figure.distance_within(unit, centre, point) {
                found.push(Hit { name, score, point, distance_m, turn: found.len() });
            }
            if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    found
}

/// Leaves the `most` first ones in order. Of the same distance the one that was found first comes first.
fn sort(found: &mut Vec<Hit<'_>>, order: Order, most: usize) {
    let compare = |a: &Hit<'_>, b: &Hit<'_>| {
        let ascending = a.distance_m.total_cmp(&b.distance_m);
        let by_distance = if order == Order::Ascending { ascending } else { ascending.reverse() };
        by_distance.then(a.turn.cmp(&b.turn))
    };
    if most == 0 {
        found.clear();
    } else if most < found.len() {
        found.select_nth_unstable_by(most - 1, compare);
        found.truncate(most);
    }
    found.sort_unstable_by(compare);
}

fn run(ctx: &mut Ctx<'_>, args: &Args<'_>, form: Form, target: Target) -> Outcome {
    let source = args.get(if target == Target::First { 2 } else { 1 });
    let Ctx { keys, out, .. } = &mut *ctx;
    let set = lookup(keys, source)?;
    let request = Request::parse(args, form, target, set)?;
    let unit = request.figure.map_or(Unit::Metres, |(_, unit)| unit);
    let most = request.count.filter(|_| request.any).unwrap_or(usize::MAX);
    let mut found = match (set, request.centre.point(), request.figure) {
        (Some(set), Some(centre), Some((figure, unit))) => search(set, figure, unit, centre, most),
        (_, _, _) => Vec::new(),
    };
    let count = request.count.unwrap_or(usize::MAX);
    match request.order() {
        Some(order) => sort(&mut found, order, count),
        None => found.truncate(count),
    }
    match request.store {
        Some(key) => {
            let name = if form == Form::Search { "geosearchstore" } else { "georadiusstore" };
            let result = to_be_stored(&found, unit, request.stores_distance);
            store(ctx, key, &result, name, result.len() as u64);
        }
        None => reply(out, &found, &request, unit),
    }
    Ok(())
}

/// What was found as a sorted set. A member that was found twice, as happens around the whole earth, is in it once.
fn to_be_stored(found: &[Hit<'_>], unit: Unit, distances: bool) -> Collected {
    let mut result = Collected::default();
    let mut seen = HashSet::with_capacity(found.len());
    for hit in found {
        if seen.insert(hit.name) {
            let score = if distances { hit.distance_m / unit.metres() } else { hit.score };
            result.push(hit.name, score);
        }
    }
    result.sort();
    result
}

fn reply(out: &mut Writer<'_>, found: &[Hit<'_>], request: &Request<'_>, unit: Unit) {
    let more = [request.with_distance, request.with_hash, request.with_coordinates].into_iter().filter(|with| *with);
    let more = more.count();
    out.array(found.len());
    for hit in found {
        if more > 0 {
            out.array(1 + more);
        }
        out.bulk(hit.name.text(&mut [0; MAX_INTEGER_TEXT]));
        if request.with_distance {
            write_distance(out, hit.distance_m / unit.metres());
        }
        if request.with_hash {
            out.int(hit.score as i64);
        }
        if request.with_coordinates {
            write_point(out, hit.point);
        }
    }
}

/// GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude
/// BYRADIUS radius M | KM | FT | MI | BYBOX width height M | KM | FT | MI
/// [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]
pub fn geosearch(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, Form::Search, Target::Reply)
}

/// GEOSEARCHSTORE destination source, then as GEOSEARCH, and [STOREDIST]
pub fn geosearchstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, Form::Search, Target::First)
}

/// GEORADIUS key longitude latitude radius M | KM | FT | MI [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]
pub fn georadius(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, Form::Radius, Target::Option)
}

/// GEORADIUS_RO: GEORADIUS that stores nothing
pub fn georadius_ro(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, Form::Radius, Target::Reply)
}

/// GEORADIUSBYMEMBER key member radius M | KM | FT | MI, then as GEORADIUS
pub fn georadiusbymember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, Form::RadiusByMember, Target::Option)
}

/// GEORADIUSBYMEMBER_RO: GEORADIUSBYMEMBER that stores nothing
pub fn georadiusbymember_ro(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, Form::RadiusByMember, Target::Reply)
}
