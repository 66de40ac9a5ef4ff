//! CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO: what is asked for, what is refused, and what is told.

use crate::commands::Error;
use crate::commands::error::c_string;
use crate::commands::options::int;
use crate::resp::{Args, Writer};
use crate::tracking::{Mode, Settings};

/// CLIENT TRACKING ON and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    bcast: bool,
    optin: bool,
    optout: bool,
    noloop: bool,
    prefixes: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    On(Options),
    Off,
}

/// CLIENT TRACKING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingRequest {
    /// The client that is to get the messages. That it exists is to be seen to before anything else is found wrong.
    pub redirect: Option<i64>,
    pub wanted: Result<Wanted, Error>,
}

/// REDIRECT with a number that no client has.
pub const NO_SUCH_REDIRECT: Error = Error::text("ERR The client ID you want redirect to does not exist");

impl TrackingRequest {
    pub fn parse(args: &Args<'_>) -> TrackingRequest {
        let mut redirect = None;
        let wanted = parse(args, &mut redirect);
        TrackingRequest { redirect, wanted }
    }
}

fn parse(args: &Args<'_>, redirect: &mut Option<i64>) -> Result<Wanted, Error> {
    let mut options = Options::default();
    let mut i = 3;
    while i < args.len() {
        let has_value = i + 1 < args.len();
        if args.is(i, "redirect") && has_value {
            if redirect.is_some() {
                return Err(Error::text("ERR A client can only redirect to a single other client"));
            }
            *redirect = Some(int(args.get(i + 1))?);
            i += 1;
        } else if args.is(i, "prefix") && has_value {
            options.prefixes.push(args.get(i + 1).to_vec());
            i += 1;
        } else if args.is(i, "bcast") {
            options.bcast = true;
        } else if args.is(i, "optin") {
            options.optin = true;
        } else if args.is(i, "optout") {
            options.optout = true;
        } else if args.is(i, "noloop") {
            options.noloop = true;
        } else {
            return Err(Error::Syntax);
        }
        i += 1;
    }
    if args.is(2, "on") {
        Ok(Wanted::On(options))
    } else if args.is(2, "off") {
        Ok(Wanted::Off)
    } else {
        Err(Error::Syntax)
    }
}

impl Options {
    /// Whether prefixes are meant, which concern keys of all cores.
    pub fn is_broadcast(&self) -> bool {
        self.bcast
    }

    /// The settings of a client that had these before, if tracking was on. Where its messages go is left to the caller.
    pub fn apply(self, before: Option<&Settings>) -> Result<Settings, Error> {
        let mode = self.mode(before)?;
        let mut prefixes = before.map(|before| before.prefixes.clone()).unwrap_or_default();
        if mode == Mode::Broadcast {
            self.check_overlap(before)?;
            // As in Redis, the prefix of all keys comes on top of those of before.
            if self.prefixes.is_empty() {
                prefixes.insert(Vec::new());
            }
            prefixes.extend(self.prefixes);
        }
        let caching = before.is_some_and(|before| before.caching);
        Ok(Settings { mode, noloop: self.noloop, caching, redirect: None, prefixes })
    }

    fn mode(&self, before: Option<&Settings>) -> Result<Mode, Error> {
        if !self.bcast && !self.prefixes.is_empty() {
            return Err(Error::text("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        let before = before.map(|before| before.mode);
        if before.is_some_and(|before| (before == Mode::Broadcast) != self.bcast) {
            return Err(Error::text(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            ));
        }
        match (self.bcast, self.optin, self.optout) {
            (true, false, false) => Ok(Mode::Broadcast),
            (true, _, _) => Err(Error::text("ERR OPTIN and OPTOUT are not compatible with BCAST")),
            (false, true, true) => Err(Error::text("ERR You can't specify both OPTIN mode and OPTOUT mode")),
            (false, true, false) if before == Some(Mode::OptOut) => Err(OTHER_OPT),
            (false, false, true) if before == Some(Mode::OptIn) => Err(OTHER_OPT),
            (false, true, false) => Ok(Mode::OptIn),
            (false, false, true) => Ok(Mode::OptOut),
            (false, false, false) => Ok(Mode::Reads),
        }
    }

    /// No key may have two prefixes of one client.
    fn check_overlap(&self, before: Option<&Settings>) -> Result<(), Error> {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let refuse = |prefix: &[u8], what: &[u8], other: &[u8]| {
            let end = b"'. Prefixes for a single client must not overlap.";
            Error::concat(&[b"ERR Prefix '", c_string(prefix), b"' overlaps with ", what, c_string(other), end])
        };
        for (i, prefix) in self.prefixes.iter().enumerate() {
            let existing = before.iter().flat_map(|before| &before.prefixes).find(|known| overlap(known, prefix));
            if let Some(existing) = existing {
                return Err(refuse(prefix, b"an existing prefix '", existing));
            }
            // Redis lets such a request through behind its error unless this is the first prefix, and so answers twice.
            if let Some(other) = self.prefixes[i + 1..].iter().find(|other| overlap(prefix, other)) {
                return Err(refuse(prefix, b"another provided prefix '", other));
            }
        }
        Ok(())
    }
}

const OTHER_OPT: Error = Error::text(
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
     and then re-enabling it with a different mode.",
);

/// CLIENT CACHING: makes the next command an exception, or says why not.
pub fn set_caching(word: &[u8], settings: Option<&mut Settings>) -> Result<(), Error> {
    let Some(settings) = settings else {
        return Err(Error::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let yes = super::parse_word(word, "yes", "no")?;
    match settings.mode {
        Mode::OptIn if yes => settings.caching = true,
        Mode::OptOut if !yes => settings.caching = true,
        _ if yes => {
            return Err(Error::text("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."));
        }
        _ => {
            return Err(Error::text("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."));
        }
    }
    Ok(())
}

/// CLIENT GETREDIR, and `redir=` of CLIENT LIST.
pub fn redirection(settings: Option<&Settings>) -> i64 {
    match settings {
        None => -1,
        Some(settings) => settings.redirect.map_or(0, |redirect| redirect.id as i64),
    }
}

/// CLIENT TRACKINGINFO.
pub fn write_tracking_info(out: &mut Writer<'_>, settings: Option<&Settings>) {
    let mut flags = Vec::new();
    match settings {
        None => flags.push("off"),
        Some(settings) => {
            flags.push("on");
            match settings.mode {
                Mode::Reads => {}
                Mode::Broadcast => flags.push("bcast"),
                Mode::OptIn => flags.extend(["optin"].into_iter().chain(settings.caching.then_some("caching-yes"))),
                Mode::OptOut => flags.extend(["optout"].into_iter().chain(settings.caching.then_some("caching-no"))),
            }
            flags.extend(settings.noloop.then_some("noloop"));
            flags.extend(settings.is_broken().then_some("broken_redirect"));
        }
    }
    out.map(3);
    out.bulk_str("flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk_str(flag));
    out.bulk_str("redirect");
    out.int(redirection(settings));
    out.bulk_str("prefixes");
    let prefixes = settings.iter().flat_map(|settings| &settings.prefixes);
    out.array(prefixes.clone().count());
    prefixes.for_each(|prefix| out.bulk(prefix));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::clients::tests::args;
    use crate::resp::{Proto, written};
    use crate::tracking::Redirect;

    fn on(options: &str, before: Option<&Settings>) -> Result<Settings, String> {
        let words: Vec<&str> = ["client", "tracking", "on"].into_iter().chain(options.split_whitespace()).collect();
        let wanted = TrackingRequest::parse(&args(&words).args()).wanted;
        let result = wanted.and_then(|wanted| match wanted {
            Wanted::On(options) => options.apply(before),
            Wanted::Off => panic!("it says on"),
        });
        result.map_err(|error| String::from_utf8_lossy(error.message()).into_owned())
    }

    fn refused(options: &str, before: Option<&Settings>) -> String {
        on(options, before).expect_err(options)
    }

    #[test]
    fn what_comes_before_a_mistake() {
        let parse = |words: &[&str]| TrackingRequest::parse(&args(words).args());
        let request = parse(&["client", "tracking", "on", "redirect", "7", "foo"]);
        assert_eq!((request.redirect, request.wanted), (Some(7), Err(Error::Syntax)));
        let request = parse(&["client", "tracking", "on", "foo", "redirect", "7"]);
        assert_eq!((request.redirect, request.wanted), (None, Err(Error::Syntax)));
        let request = parse(&["client", "tracking", "on", "redirect", "x"]);
        assert_eq!((request.redirect, request.wanted), (None, Err(Error::NotInteger)));
        assert_eq!(parse(&["client", "tracking", "maybe"]).wanted, Err(Error::Syntax));
        assert_eq!(parse(&["client", "tracking", "OFF", "bcast", "optin", "prefix", "a"]).wanted, Ok(Wanted::Off));
        assert_eq!(refused("redirect 1 redirect 1", None), "ERR A client can only redirect to a single other client");
    }

    #[test]
    fn modes_do_not_mix() {
        assert!(refused("prefix a", None).starts_with("ERR PREFIX option requires"));
        assert!(refused("bcast optout", None).starts_with("ERR OPTIN and OPTOUT are not compatible"));
        assert!(refused("optin optout", None).starts_with("ERR You can't specify both"));
        let reads = on("noloop", None).unwrap();
        assert!(reads.noloop && reads.mode == Mode::Reads);
        assert!(refused("bcast", Some(&reads)).starts_with("ERR You can't switch BCAST mode"));
        let optin = on("optin", Some(&reads)).unwrap();
        assert!(!optin.noloop, "what is not said again is off");
        assert!(refused("optout", Some(&optin)).starts_with("ERR You can't switch OPTIN/OPTOUT mode"));
        let broadcast = on("bcast", None).unwrap();
        assert!(refused("", Some(&broadcast)).starts_with("ERR You can't switch BCAST mode"));
        assert!(refused("bcast optin", Some(&broadcast)).starts_with("ERR OPTIN and OPTOUT are not"));
    }

    #[test]
    fn prefixes_do_not_overlap() {
        let some = on("bcast prefix foo prefix bar", None).unwrap();
        assert_eq!(
            refused("bcast prefix x prefix foobar", Some(&some)),
            "ERR Prefix 'foobar' overlaps with an existing prefix 'foo'. Prefixes for a single client must not overlap."
        );
        assert_eq!(
            refused("bcast prefix x prefix b prefix ba", None),
            "ERR Prefix 'b' overlaps with another provided prefix 'ba'. Prefixes for a single client must not overlap."
        );
        let all = on("bcast", Some(&some)).unwrap();
        assert_eq!(all.prefixes.len(), 3);
        assert!(refused("bcast prefix z", Some(&all)).contains("existing prefix ''"));
    }

    #[test]
    fn caching_is_for_the_optional_modes() {
        let say = |word: &str, settings: Option<&mut Settings>| {
            set_caching(word.as_bytes(), settings)
                .map_err(|error| String::from_utf8_lossy(error.message()).into_owned())
        };
        assert!(say("foo", None).unwrap_err().starts_with("ERR CLIENT CACHING can be called only"));
        let mut optin = on("optin", None).unwrap();
        assert_eq!(say("foo", Some(&mut optin)).unwrap_err(), "ERR syntax error");
        assert!(say("no", Some(&mut optin)).unwrap_err().starts_with("ERR CLIENT CACHING NO is only valid"));
        assert!(!optin.remembers());
        say("YES", Some(&mut optin)).unwrap();
        assert!(optin.remembers());
        let mut reads = on("", Some(&optin)).unwrap();
        assert!(say("yes", Some(&mut reads)).unwrap_err().starts_with("ERR CLIENT CACHING YES is only valid"));
        let optout = on("optout", Some(&reads)).unwrap();
        assert!(!optout.remembers(), "what was said before still holds for the next command");
    }

    #[test]
    fn what_is_told() {
        assert_eq!(
            written(Proto::Resp3, |out| write_tracking_info(out, None)),
            "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n"
        );
        let mut settings = on("bcast noloop prefix b prefix a", None).unwrap();
        settings.redirect = Some(Redirect { id: 9, target: None });
        assert_eq!(
            written(Proto::Resp2, |out| write_tracking_info(out, Some(&settings))),
            "*6\r\n$5\r\nflags\r\n*4\r\n$2\r\non\r\n$5\r\nbcast\r\n$6\r\nnoloop\r\n$15\r\nbroken_redirect\r\n\
             $8\r\nredirect\r\n:9\r\n$8\r\nprefixes\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
        );
    }
}
