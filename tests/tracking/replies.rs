//! What CLIENT TRACKING and its like answer, and what is shown of it.

use super::common::{info_number, line_field, wait_until};
use super::harness::{Client, everywhere, info, words};

#[test]
fn what_is_refused() {
    everywhere(|server, _| {
        let mut client = Client::resp2(server);
        let switch = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.";
        let opt = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.";
        let no_mode = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
        let missing = "ERR The client ID you want redirect to does not exist";
        let steps = [
            ("CLIENT TRACKING", "ERR wrong number of arguments for 'client|tracking' command"),
            ("CLIENT TRACKING foo", "ERR syntax error"),
            ("CLIENT TRACKING on foo", "ERR syntax error"),
            ("CLIENT TRACKING on redirect", "ERR syntax error"),
            ("CLIENT TRACKING on bcast prefix", "ERR syntax error"),
            ("CLIENT TRACKING on redirect x", "ERR value is not an integer or out of range"),
            ("CLIENT TRACKING on redirect 99999 foo", missing),
            ("CLIENT TRACKING on redirect 0", missing),
            ("CLIENT TRACKING on redirect -1", missing),
            ("CLIENT TRACKING maybe redirect 99999", missing),
            ("CLIENT TRACKING off redirect 99999", missing),
            ("CLIENT TRACKING on prefix a", "ERR PREFIX option requires BCAST mode to be enabled"),
            ("CLIENT TRACKING on bcast optin", "ERR OPTIN and OPTOUT are not compatible with BCAST"),
            ("CLIENT TRACKING on optin optout", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
            (
                "CLIENT TRACKING on bcast prefix foo prefix foobar",
                "ERR Prefix 'foo' overlaps with another provided prefix 'foobar'. Prefixes for a single client must not overlap.",
            ),
            ("CLIENT CACHING", "ERR wrong number of arguments for 'client|caching' command"),
            ("CLIENT CACHING yes", no_mode),
            ("CLIENT CACHING foo", no_mode),
            ("CLIENT TRACKING on bcast prefix foo", "OK"),
            ("CLIENT TRACKING on", switch),
            (
                "CLIENT TRACKING on bcast prefix foobar",
                "ERR Prefix 'foobar' overlaps with an existing prefix 'foo'. Prefixes for a single client must not overlap.",
            ),
            ("CLIENT TRACKING on bcast prefix bar", "OK"),
            ("CLIENT TRACKING off", "OK"),
            ("CLIENT TRACKING off", "OK"),
            ("CLIENT TRACKING on optin", "OK"),
            ("CLIENT TRACKING on bcast", switch),
            ("CLIENT TRACKING on optout", opt),
            ("CLIENT CACHING no", "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
            ("CLIENT CACHING foo", "ERR syntax error"),
            ("CLIENT CACHING yes", "OK"),
            ("CLIENT TRACKING on", "OK"),
            ("CLIENT CACHING yes", "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."),
            ("CLIENT TRACKING on optout", "OK"),
            ("CLIENT TRACKING on optin", opt),
            ("RESET", "RESET"),
            ("CLIENT GETREDIR", "-1"),
        ];
        for (line, expected) in steps {
            assert_eq!(client.cmd(line).text(), expected, "{line}");
        }
        let id = client.id();
        let twice = client.refused(&format!("CLIENT TRACKING on redirect {id} redirect {id}"));
        assert_eq!(twice, "ERR A client can only redirect to a single other client");
        assert_eq!(info(&mut client), (words(&["off"]), -1, words(&[])));
    });
}

#[test]
fn what_is_shown() {
    everywhere(|server, _| {
        let mut other = Client::resp2(server);
        let id = other.id();
        let mut client = Client::resp2(server);
        let mut step = |line: &str, flags: &[&str], redirect: i64, prefixes: &[&str]| {
            client.ok(line);
            assert_eq!(info(&mut client), (words(flags), redirect, words(prefixes)), "{line}");
            assert_eq!(client.cmd("CLIENT GETREDIR").int(), redirect, "{line}");
            client.cmd("CLIENT INFO").text()
        };
        let line = step("CLIENT TRACKING on noloop", &["on", "noloop"], 0, &[]);
        assert_eq!((line_field(&line, "flags"), line_field(&line, "redir")), (Some("t"), Some("0")));
        step("CLIENT TRACKING on optin", &["on", "optin"], 0, &[]);
        step("CLIENT CACHING yes", &["on", "optin", "caching-yes"], 0, &[]);
        step("PING", &["on", "optin"], 0, &[]);
        step("CLIENT TRACKING off", &["off"], -1, &[]);
        step("CLIENT TRACKING on optout", &["on", "optout"], 0, &[]);
        step("CLIENT CACHING no", &["on", "optout", "caching-no"], 0, &[]);
        step("CLIENT TRACKING off", &["off"], -1, &[]);
        let line = step(&format!("CLIENT TRACKING on redirect {id}"), &["on"], id, &[]);
        assert_eq!((line_field(&line, "flags"), line_field(&line, "redir")), (Some("t"), Some(&*id.to_string())));
        step("CLIENT TRACKING off", &["off"], -1, &[]);
        let line = step("CLIENT TRACKING on bcast prefix b prefix a", &["on", "bcast"], 0, &["a", "b"]);
        assert_eq!(line_field(&line, "flags"), Some("tB"));
        step("CLIENT TRACKING on bcast prefix c noloop", &["on", "bcast", "noloop"], 0, &["a", "b", "c"]);
        let mut second = Client::resp2(server);
        second.ok("CLIENT TRACKING on bcast prefix c prefix d");
        assert_eq!(info_number(&mut other.conn, "tracking_total_prefixes"), 4);
        assert_eq!(info_number(&mut other.conn, "tracking_clients"), 2);
        step("RESET", &["off"], -1, &[]);
        drop(second);
        wait_until("the other one is gone", || info_number(&mut other.conn, "tracking_clients") == 0);
        wait_until("its prefixes are", || info_number(&mut other.conn, "tracking_total_prefixes") == 0);
    });
}
