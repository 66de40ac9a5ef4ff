use crate::commands::testing::Node;
use crate::resp::Proto;

/// Runs lines one after the other and compares the replies.
fn check(node: &mut Node, steps: &[(&str, &str)]) {
    for (line, expected) in steps {
        assert_eq!(node.ask(line), *expected, "{line}");
    }
}

const ADD: &str = "geoadd sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania";

/// Replies of redis-server 7.0.15.
#[test]
fn places_of_the_redis_documentation() {
    let mut node = Node::new();
    check(
        &mut node,
        &[
            (ADD, ":2\r\n"),
            ("geoadd sicily ch 13.5 38 Palermo", ":1\r\n"),
            ("geoadd sicily xx ch 13.361389 38.115556 Palermo", ":1\r\n"),
            ("geoadd sicily nx 1 1 Palermo", ":0\r\n"),
            ("zscore sicily Palermo", "$16\r\n3479099956230698\r\n"),
            ("geodist sicily Palermo Catania", "$11\r\n166274.1516\r\n"),
            ("geodist sicily Palermo Catania km", "$8\r\n166.2742\r\n"),
            ("geodist sicily Palermo Foo", "$-1\r\n"),
            ("geohash sicily Palermo x", "*2\r\n$11\r\nsqc8b49rny0\r\n$-1\r\n"),
            (
                "geopos sicily Palermo x",
                "*2\r\n*2\r\n$20\r\n13.36138933897018433\r\n$20\r\n38.11555639549629859\r\n*-1\r\n",
            ),
            ("geosearch sicily fromlonlat 15 37 byradius 200 km asc", "*2\r\n$7\r\nCatania\r\n$7\r\nPalermo\r\n"),
            (
                "georadius sicily 15 37 200 km withdist withhash count 1",
                "*1\r\n*3\r\n$7\r\nCatania\r\n$7\r\n56.4413\r\n:3479447370796909\r\n",
            ),
            ("georadiusbymember sicily Palermo 1 m", "*1\r\n$7\r\nPalermo\r\n"),
            ("geosearch sicily fromlonlat 15 37 bybox 400 400 km desc count 1", "*1\r\n$7\r\nPalermo\r\n"),
            ("geosearchstore d sicily fromlonlat 15 37 byradius 100 km storedist", ":1\r\n"),
            ("zrange d 0 -1", "*1\r\n$7\r\nCatania\r\n"),
            ("georadius sicily 15 37 1 km store d", ":0\r\n"),
            ("exists d", ":0\r\n"),
        ],
    );
    node.proto = Proto::Resp3;
    check(
        &mut node,
        &[
            ("geopos sicily Palermo x", "*2\r\n*2\r\n,13.36138933897018433\r\n,38.11555639549629859\r\n_\r\n"),
            ("geodist sicily Palermo Catania", "$11\r\n166274.1516\r\n"),
        ],
    );
}

#[test]
fn what_is_refused() {
    let mut node = Node::new();
    node.run(ADD);
    node.run("set s x");
    check(
        &mut node,
        &[
            ("geoadd g 181 0 a", "-ERR invalid longitude,latitude pair 181.000000,0.000000\r\n"),
            ("geoadd g 1 x a", "-ERR value is not a valid float\r\n"),
            ("geoadd g nx xx 1 1 a", "-ERR syntax error\r\n"),
            ("geoadd g 1 1 a 2", "-ERR syntax error\r\n"),
            ("geodist sicily a b parsec", "-ERR unsupported unit provided. please use M, KM, FT, MI\r\n"),
            ("geodist sicily a b m x", "-ERR syntax error\r\n"),
            (
                "geosearch sicily fromlonlat 1 1 asc asc",
                "-ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch\r\n",
            ),
            (
                "GEOSEARCH sicily byradius 1 m asc asc",
                "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH\r\n",
            ),
            ("geosearch sicily frommember x byradius 1 m", "-ERR could not decode requested zset member\r\n"),
            ("geosearch sicily frommember Palermo byradius -1 m", "-ERR radius cannot be negative\r\n"),
            ("geosearch sicily frommember Palermo bybox 1 -1 m", "-ERR height or width cannot be negative\r\n"),
            ("geosearch sicily frommember Palermo bybox 1 x m", "-ERR need numeric height\r\n"),
            ("geosearch sicily frommember Palermo byradius 1 m count 0", "-ERR COUNT must be > 0\r\n"),
            (
                "geosearch sicily frommember Palermo byradius 1 m any",
                "-ERR the ANY argument requires COUNT argument\r\n",
            ),
            (
                "georadius sicily 1 1 1 m store d withdist",
                "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options\r\n",
            ),
            ("georadius_ro sicily 1 1 1 m store d", "-ERR syntax error\r\n"),
            ("georadiusbymember none x nonsense parsec", "*0\r\n"),
            ("geopos s a", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
            ("geosearch s nonsense", "-ERR wrong number of arguments for 'geosearch' command\r\n"),
        ],
    );
}

#[test]
fn changes_are_counted_as_redis_counts_them() {
    let mut node = Node::new();
    for (line, changes) in [
        (ADD, 2),
        (ADD, 0),
        ("geosearchstore d sicily fromlonlat 15 37 byradius 200 km", 2),
        ("geosearchstore d sicily fromlonlat 15 37 byradius 1 m", 1),
        ("geosearchstore d sicily fromlonlat 15 37 byradius 1 m", 0),
        ("georadius sicily 15 37 200 km", 0),
        ("georadiusbymember none x 1 m store sicily", 1),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
}

/// Searches of any figure find what a look at every place finds.
#[test]
fn a_search_finds_what_is_there() {
    let mut node = Node::new();
    let mut state = 7u64;
    let mut roll = |bound: f64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64 * bound
    };
    for n in 0..400 {
        node.run(&format!("geoadd all {} {} p{n}", 10.0 + roll(4.0), 50.0 + roll(4.0)));
    }
    for _ in 0..50 {
        let (longitude, latitude, radius) = (10.0 + roll(4.0), 50.0 + roll(4.0), 5.0 + roll(150.0));
        node.run(&format!("geoadd centre {longitude} {latitude} c"));
        let reply =
            node.ask(&format!("geosearch all fromlonlat {longitude} {latitude} byradius {radius} km asc withdist"));
        let found: Vec<&str> = reply.lines().filter(|line| line.starts_with('p')).collect();
        let distances: Vec<f64> =
            reply.lines().filter(|line| line.contains('.')).filter_map(|line| line.parse().ok()).collect();
        assert!(distances.is_sorted() && distances.iter().all(|distance| *distance <= radius), "{reply}");
        node.run("zunionstore both 2 all centre");
        let within = (0..400).filter(|n| {
            let distance = node.ask(&format!("geodist both p{n} c km"));
            let distance = distance.lines().nth(1).and_then(|line| line.parse::<f64>().ok());
            // The centre is in a cell now: some centimetres off.
            distance.is_some_and(|distance| distance < radius - 0.01)
        });
        assert!(found.len() >= within.count(), "{reply}");
    }
}

#[test]
fn distances_have_four_decimals() {
    use crate::resp::written;
    for (distance, text) in [
        (0.0, "0.0000"),
        (0.00005, "0.0000"),
        (56.4412578701582, "56.4413"),
        // One digit up by `printf`.
        (28_074_432.596_75, "28074432.5968"),
        (46_192_372.747_45, "46192372.7474"),
        (1e15, "1000000000000000.0000"),
    ] {
        let reply = written(Proto::Resp3, |out| super::write_distance(out, distance));
        assert_eq!(reply, format!("${}\r\n{text}\r\n", text.len()));
    }
}
