//! What the commands of replication say: REPLICAOF's address, and what REPLCONF tells of the connection.

use super::Error;
use super::error::c_string;
use super::options::int;
use crate::config::PrimaryAddress;
use crate::replication::primary::FailoverRequest;
use crate::replication::status::Hello;
use crate::resp::Args;
use crate::types::numbers::parse_i64;
use crate::types::quote::split_quoted;

const BAD_PORT: Error = Error::text("ERR Invalid master port");
/// The longest host name or address that is taken.
const MAX_HOST_BYTES: usize = 255;

/// The arguments of REPLICAOF; `None` is NO ONE.
pub fn primary_address(args: &Args<'_>) -> Result<Option<PrimaryAddress>, Error> {
    if args.is(1, "no") && args.is(2, "one") {
        return Ok(None);
    }
    let port = parse_i64(args.get(2)).and_then(|port| u16::try_from(port).ok()).ok_or(BAD_PORT)?;
    let host = std::str::from_utf8(args.get(1))
        .ok()
        .filter(|host| is_host(host))
        .ok_or(Error::text("ERR Invalid master host"))?;
    Ok(Some(PrimaryAddress { host: host.to_owned(), port }))
}

/// Whether it can stand in a line of the configuration file.
fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= MAX_HOST_BYTES
        && host.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#'))
}

/// What FAILOVER asks for; `None` is ABORT.
pub fn failover(args: &Args<'_>) -> Result<Option<FailoverRequest>, Error> {
    let (mut request, mut abort) = (FailoverRequest::default(), false);
    let mut i = 1;
    while i < args.len() {
        if args.is(i, "timeout") && i + 1 < args.len() && request.timeout_ms.is_none() {
            let timeout_ms = u64::try_from(int(args.get(i + 1))?).ok().filter(|timeout_ms| *timeout_ms > 0);
            request.timeout_ms = Some(timeout_ms.ok_or(Error::text("ERR FAILOVER timeout must be greater than 0"))?);
            i += 2;
        } else if args.is(i, "to") && i + 2 < args.len() && request.to.is_none() {
            let port = int(args.get(i + 2))?;
            request.to = Some((String::from_utf8_lossy(args.get(i + 1)).into_owned(), port));
            i += 3;
        } else if args.is(i, "abort") && !abort {
            abort = true;
            i += 1;
        } else if args.is(i, "force") && !request.force {
            request.force = true;
            i += 1;
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok((!abort).then_some(request))
}

/// What REPLCONF has to be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    Ok,
    /// What only replicas say: a client that says it is not answered.
    Nothing,
}

/// Takes in what REPLCONF says. An error keeps what stood before it, as in Redis.
pub fn replconf(hello: &mut Hello, args: &Args<'_>) -> Result<Answered, Error> {
    if args.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    for i in (1..args.len()).step_by(2) {
        let value = args.get(i + 1);
        if args.is(i, "listening-port") {
            // Redis takes any number. What is no port counts as not said.
            hello.listening_port = u16::try_from(int(value)?).unwrap_or(0);
        } else if args.is(i, "ip-address") {
            hello.ip_address = announced_address(value)?;
        } else if args.is(i, "capa") {
            hello.eof |= value.eq_ignore_ascii_case(b"eof");
            hello.psync2 |= value.eq_ignore_ascii_case(b"psync2");
            hello.frames |= value.eq_ignore_ascii_case(b"basalt-frames");
        } else if args.is(i, "version") {
            hello.version = String::from_utf8_lossy(value).into_owned();
        } else if args.is(i, "rdb-only") {
            hello.rdb_only = match int(value)? {
                0 => false,
                1 => true,
                _ => return Err(Error::text("ERR value is out of range, value must between 0 and 1")),
            };
        } else if args.is(i, "rdb-filter-only") {
            check_filter(value)?;
            hello.filtered = true;
        } else if args.is(i, "ack") || args.is(i, "getack") {
            return Ok(Answered::Nothing);
        } else {
            let option = c_string(args.get(i));
            return Err(Error::concat(&[b"ERR Unrecognized REPLCONF option: ", option]));
        }
    }
    Ok(Answered::Ok)
}

/// Filters name what is to be left in. There are no functions, so what they leave is nothing.
fn check_filter(value: &[u8]) -> Result<(), Error> {
    let words = split_quoted(value).ok_or(Error::text("ERR Missing rdb-filter-only values"))?;
    match words.iter().find(|word| !word.eq_ignore_ascii_case(b"functions")) {
        Some(other) => Err(Error::concat(&[b"ERR Unsupported rdb-filter-only option: ", c_string(other)])),
        None => Ok(()),
    }
}

/// It goes into INFO and to Sentinels.
fn announced_address(value: &[u8]) -> Result<String, Error> {
    if value.len() > MAX_HOST_BYTES {
        let length = value.len();
        let text = format!("ERR REPLCONF ip-address provided by replica instance is too long: {length} bytes");
        return Err(Error::with(text));
    }
    let text = std::str::from_utf8(value).ok().filter(|text| !text.contains([',', '=', '\r', '\n']));
    text.map(str::to_owned).ok_or(Error::text("ERR REPLCONF ip-address provided by replica instance is invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn words(line: &str) -> OwnedArgs {
        line.split(' ').collect()
    }

    fn text<T>(result: Result<T, Error>) -> Result<T, String> {
        result.map_err(|error| String::from_utf8_lossy(error.message()).into_owned())
    }

    /// Errors of redis-server 7.0.15.
    #[test]
    fn replicaof_arguments() {
        let address = |line: &str| text(primary_address(&words(line).args()));
        let some = |host: &str, port| Ok(Some(PrimaryAddress { host: host.to_owned(), port }));
        assert_eq!(address("replicaof NO one"), Ok(None));
        assert_eq!(address("replicaof db.example 6380"), some("db.example", 6380));
        assert_eq!(address("slaveof ::1 0"), some("::1", 0));
        for port in ["x", "-1", "65536", "1.5"] {
            assert_eq!(address(&format!("replicaof h {port}")), Err("ERR Invalid master port".to_owned()), "{port}");
        }
        // It would not come back from the configuration file as it was.
        assert_eq!(address("replicaof a\nport 1"), Err("ERR Invalid master host".to_owned()));
        assert_eq!(address("replicaof a#b 1"), Err("ERR Invalid master host".to_owned()));
    }

    /// Errors of redis-server 7.0.15.
    #[test]
    fn failover_arguments() {
        let request = |line: &str| text(failover(&words(line).args()));
        assert_eq!(request("failover"), Ok(Some(FailoverRequest::default())));
        let all = FailoverRequest { to: Some(("a".to_owned(), 7)), timeout_ms: Some(5), force: true };
        assert_eq!(request("failover force TIMEOUT 5 to a 7"), Ok(Some(all)));
        assert_eq!(request("failover to a 7 Abort"), Ok(None));
        for line in ["x", "timeout", "to a", "force force", "timeout 1 timeout 2"] {
            assert_eq!(request(&format!("failover {line}")), Err("ERR syntax error".to_owned()), "{line}");
        }
        assert_eq!(request("failover timeout 0"), Err("ERR FAILOVER timeout must be greater than 0".to_owned()));
        assert_eq!(request("failover to a x"), Err("ERR value is not an integer or out of range".to_owned()));
    }

    /// Replies of redis-server 7.0.15.
    #[test]
    fn replconf_says_what_the_connection_is() {
        let mut hello = Hello::default();
        let mut said = |line: &str| text(replconf(&mut hello, &words(line).args()));
        assert_eq!(said("replconf"), Ok(Answered::Ok));
        assert_eq!(said("replconf listening-port 6380 IP-Address 10.0.0.9"), Ok(Answered::Ok));
        assert_eq!(said("replconf capa eof capa psync2 capa later capa basalt-frames version 8.1.0"), Ok(Answered::Ok));
        assert_eq!(said("replconf rdb-only 1"), Ok(Answered::Ok));
        let unsupported = "ERR Unsupported rdb-filter-only option: x".to_owned();
        assert_eq!(said("replconf rdb-filter-only x"), Err(unsupported));
        assert_eq!(said("replconf rdb-filter-only functions"), Ok(Answered::Ok));
        assert_eq!(said("replconf ack 5"), Ok(Answered::Nothing));
        assert_eq!(said("replconf getack *"), Ok(Answered::Nothing));
        assert_eq!(said("replconf capa"), Err("ERR syntax error".to_owned()));
        assert_eq!(said("replconf a b"), Err("ERR Unrecognized REPLCONF option: a".to_owned()));
        assert_eq!(said("replconf listening-port x"), Err("ERR value is not an integer or out of range".to_owned()));
        let out_of_range = "ERR value is out of range, value must between 0 and 1".to_owned();
        assert_eq!(said("replconf rdb-only 2"), Err(out_of_range));
        let long = "x".repeat(256);
        let too_long = "ERR REPLCONF ip-address provided by replica instance is too long: 256 bytes".to_owned();
        assert_eq!(said(&format!("replconf ip-address {long}")), Err(too_long));
        assert!(said("replconf ip-address 1,port=2").is_err());
        let expected = Hello {
            listening_port: 6380,
            ip_address: "10.0.0.9".to_owned(),
            eof: true,
            psync2: true,
            frames: true,
            version: "8.1.0".to_owned(),
            rdb_only: true,
            filtered: true,
        };
        assert_eq!(hello, expected);
    }
}
