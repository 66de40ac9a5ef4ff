use super::*;
use crate::commands::{BeginSearch, Ctx, FindKeys, Outcome, geo};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::Geo, Handler::Data(run))
}

/// The key behind a word that says that results are stored.
const fn behind(word: &'static str, from: i8) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Keyword(word, from),
        find: FindKeys::Range { last: 0, step: 1, limit: 0 },
        access: OW_UPDATE,
        notes: None,
    }
}

const BY_MEMBER: &str = "O(N) where N is the number of members asked for.";
const SEARCH: &str = "O(N+log(M)) with N places in the cells that cover the figure, of M in all.";

pub const COMMANDS: &[Command] = &[
    command("geoadd", -5, geo::geoadd)
        .about(
            "3.2.0",
            "O(log(N)) for each place, N being the size of the sorted set.",
            "Adds places to a sorted set, or moves them.",
        )
        .syntax("key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]")
        .flags(WRITE_OOM)
        .keys(&[first(RW_UPDATE)]),
    command("geodist", -4, geo::geodist)
        .about("3.2.0", CONSTANT, "Returns the distance between two places.")
        .syntax("key member1 member2 [M | KM | FT | MI]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("geohash", -2, geo::geohash)
        .about("3.2.0", BY_MEMBER, "Returns places as standard geohashes.")
        .syntax("key [member [member ...]]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("geopos", -2, geo::geopos)
        .about("3.2.0", BY_MEMBER, "Returns the longitudes and latitudes of places.")
        .syntax("key [member [member ...]]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("georadius", -6, geo::georadius)
        .about("3.2.0", SEARCH, "Returns or stores the places around a point.")
        .syntax(
            "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        )
        .flags(WRITE_OOM.or(Flags::MOVABLEKEYS))
        .keys(&[first(RO_ACCESS), behind("STORE", 6), behind("STOREDIST", 6)])
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    command("georadius_ro", -6, geo::georadius_ro)
        .about("3.2.10", SEARCH, "Returns the places around a point.")
        .syntax(
            "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        )
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    command("georadiusbymember", -5, geo::georadiusbymember)
        .about("3.2.0", SEARCH, "Returns or stores the places around another place.")
        .syntax(
            "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        )
        .flags(WRITE_OOM.or(Flags::MOVABLEKEYS))
        .keys(&[first(RO_ACCESS), behind("STORE", 5), behind("STOREDIST", 5)])
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    command("georadiusbymember_ro", -5, geo::georadiusbymember_ro)
        .about("3.2.10", SEARCH, "Returns the places around another place.")
        .syntax(
            "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        )
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    command("geosearch", -7, geo::geosearch)
        .about("6.2.0", SEARCH, "Returns the places in a circle or a box.")
        .syntax(
            "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        )
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("geosearchstore", -8, geo::geosearchstore)
        .about("6.2.0", SEARCH, "Stores the places in a circle or a box.")
        .syntax(
            "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        )
        .flags(WRITE_OOM)
        .keys(&[first(OW_UPDATE), KeySpec::one(2, RO_ACCESS)]),
];
