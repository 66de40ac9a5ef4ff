//! Texts here are those of redis-server 7.0.15, or of 7.2 where 7.0 lacks the feature.

use super::*;
use crate::resp::{OwnedArgs, written};

pub fn args(words: &[&str]) -> OwnedArgs {
    words.iter().collect()
}

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

fn client(id: u64) -> ClientInfo {
    ClientInfo {
        id,
        addr: format!("127.0.0.1:{}", 40_000 + id),
        laddr: "127.0.0.1:6379".into(),
        age: id,
        user: Some("default".into()),
        ..ClientInfo::default()
    }
}

#[test]
fn a_line_is_that_of_redis_with_our_field_behind() {
    let client = ClientInfo {
        fd: 7,
        age: 10,
        flags: ClientFlags::NO_EVICT,
        query_buffer: 26,
        query_buffer_free: 20448,
        argv_memory: 10,
        reply_buffer_size: 1024,
        reply_buffer_peak: 86,
        total_memory: 22298,
        events: Events { read: true, write: false },
        command: Some("client|info".into()),
        shard: 3,
        ..client(4)
    };
    let mut text = String::new();
    client.write_line(&mut text);
    assert_eq!(
        text,
        "id=4 addr=127.0.0.1:40004 laddr=127.0.0.1:6379 fd=7 name= age=10 idle=0 flags=e db=0 sub=0 psub=0 ssub=0 multi=-1 \
         qbuf=26 qbuf-free=20448 argv-mem=10 multi-mem=0 rbs=1024 rbp=86 obl=0 oll=0 omem=0 tot-mem=22298 events=r \
         cmd=client|info user=default redir=-1 resp=2 lib-name= lib-ver= shard=3\n"
    );
    assert!(ClientInfo::default().command.is_none());
}

#[test]
fn flags_and_types() {
    assert_eq!(ClientFlags::NONE.letters(), "N");
    assert_eq!(ClientFlags::UNIX_SOCKET.with(ClientFlags::MULTI).with(ClientFlags::MONITOR).letters(), "OxU");
    let monitor = ClientFlags::MONITOR.with(ClientFlags::REPLICA);
    assert_eq!((monitor.letters(), monitor.client_type()), ("O".into(), ClientType::Normal));
    assert_eq!(ClientFlags::MONITOR.client_type(), ClientType::Normal);
    assert_eq!(ClientFlags::REPLICA.client_type(), ClientType::Replica);
    assert_eq!(ClientFlags::MASTER.with(ClientFlags::PUBSUB).client_type(), ClientType::Master);
}

#[test]
fn list_requests() {
    let parse = |words: &[&str]| ListRequest::parse(&args(words).args());
    assert_eq!(parse(&["client", "list"]), Ok(ListRequest::All));
    assert_eq!(parse(&["client", "list", "TYPE", "Slave"]), Ok(ListRequest::Type(ClientType::Replica)));
    assert_eq!(parse(&["client", "list", "id", "3", "1"]), Ok(ListRequest::Ids(vec![3, 1])));
    assert_eq!(message(parse(&["client", "list", "type", "x"])), "ERR Unknown client type 'x'");
    assert_eq!(message(parse(&["client", "list", "id", "x"])), "ERR Invalid client ID");
    assert_eq!(parse(&["client", "list", "id"]), Err(Error::Syntax));
    assert_eq!(parse(&["client", "list", "foo"]), Err(Error::Syntax));
}

#[test]
fn lists_are_by_age_or_as_asked() {
    let ids = |request: ListRequest| {
        let clients = vec![client(3), ClientInfo { flags: ClientFlags::PUBSUB, ..client(1) }, client(2)];
        let text = request.render(clients);
        text.lines().map(|line| line[3..4].to_owned()).collect::<String>()
    };
    assert_eq!(ids(ListRequest::All), "123");
    assert_eq!(ids(ListRequest::Type(ClientType::PubSub)), "1");
    assert_eq!(ids(ListRequest::Type(ClientType::Normal)), "23");
    assert_eq!(ids(ListRequest::Ids(vec![3, 9, -1, 1, 3])), "313");
}

fn kill(words: &[&str]) -> Result<KillRequest, Error> {
    let words: Vec<&str> = ["client", "kill"].iter().chain(words).copied().collect();
    KillRequest::parse(&args(&words).args(), |user| user == b"default")
}

#[test]
fn kill_errors() {
    for (words, text) in [
        (&["id", "0"][..], "ERR client-id should be greater than 0"),
        (&["id", "x"], "ERR client-id should be greater than 0"),
        (&["type", "x"], "ERR Unknown client type 'x'"),
        (&["user", "x"], "ERR No such user 'x'"),
        (&["skipme", "x"], "ERR syntax error"),
        (&["maxage", "x"], "ERR maxage is not an integer or out of range"),
        (&["maxage", "0"], "ERR maxage should be greater than 0"),
        (&["a", "b", "c"], "ERR syntax error"),
        (&["id", "1", "addr"], "ERR syntax error"),
        (&[], "ERR syntax error"),
    ] {
        assert_eq!(message(kill(words)), text, "{words:?}");
    }
}

#[test]
fn kill_matches() {
    let hits = |words: &[&str], me: u64| {
        let request = kill(words).unwrap();
        let clients = [
            client(1),
            ClientInfo { user: None, ..client(2) },
            ClientInfo { flags: ClientFlags::REPLICA, ..client(3) },
        ];
        clients.iter().filter(|client| request.matches(client, me)).map(|client| client.id).collect::<Vec<_>>()
    };
    assert_eq!(hits(&["127.0.0.1:40001"], 1), [1]);
    assert_eq!(hits(&["addr", "127.0.0.1:40001"], 1), Vec::<u64>::new());
    assert_eq!(hits(&["addr", "127.0.0.1:40001", "skipme", "no"], 1), [1]);
    assert_eq!(hits(&["laddr", "127.0.0.1:6379", "SKIPME", "yes"], 1), [2, 3]);
    assert_eq!(hits(&["id", "2", "id", "3"], 1), [3]);
    assert_eq!(hits(&["user", "default"], 9), [1, 3]);
    assert_eq!(hits(&["type", "normal"], 9), [1, 2]);
    assert_eq!(hits(&["maxage", "2"], 9), [2, 3]);
    assert_eq!(hits(&["maxage", "2", "type", "replica"], 9), [3]);
}

#[test]
fn kill_replies_follow_the_form() {
    let (old, new) = (kill(&["1.2.3.4:5"]).unwrap(), kill(&["id", "7"]).unwrap());
    assert_eq!(written(Proto::Resp2, |out| old.write_reply(out, 0)), "-ERR No such client\r\n");
    assert_eq!(written(Proto::Resp2, |out| old.write_reply(out, 1)), "+OK\r\n");
    assert_eq!(written(Proto::Resp2, |out| new.write_reply(out, 0)), ":0\r\n");
}

#[test]
fn pause() {
    let parse = |words: &[&str]| {
        let words: Vec<&str> = ["client", "pause"].iter().chain(words).copied().collect();
        PauseRequest::parse(&args(&words).args(), 1_000)
    };
    assert_eq!(parse(&["50"]), Ok(PauseRequest { mode: PauseMode::All, until_ms: 1_050 }));
    assert_eq!(parse(&["0", "WRITE"]), Ok(PauseRequest { mode: PauseMode::Write, until_ms: 0 }));
    for (words, text) in [
        (&["x"][..], "ERR timeout is not an integer or out of range"),
        (&["-1"], "ERR timeout is negative"),
        (&["9223372036854775807"], "ERR timeout is out of range"),
        (&["x", "foo"], "ERR CLIENT PAUSE mode must be WRITE or ALL"),
        (&["1", "all", "x"], "ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP."),
    ] {
        assert_eq!(message(parse(words)), text);
    }
}

#[test]
fn unblock() {
    let parse = |words: &[&str]| {
        let words: Vec<&str> = ["client", "unblock"].iter().chain(words).copied().collect();
        UnblockRequest::parse(&args(&words).args())
    };
    assert_eq!(parse(&["5"]), Ok(UnblockRequest { id: 5, reason: UnblockReason::Timeout }));
    assert_eq!(parse(&["-5", "ERROR"]), Ok(UnblockRequest { id: -5, reason: UnblockReason::Error }));
    assert_eq!(message(parse(&["x"])), "ERR value is not an integer or out of range");
    assert_eq!(message(parse(&["x", "y"])), "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    let text = "ERR unknown subcommand or wrong number of arguments for 'unblock'. Try CLIENT HELP.";
    assert_eq!(message(parse(&["1", "timeout", "x"])), text);
}

#[test]
fn names_and_attributes() {
    assert_eq!(parse_name(b"a-b~!"), Ok("a-b~!".into()));
    assert_eq!(parse_name(b""), Ok(String::new()));
    for bad in [&b"a b"[..], b"a\nb", b"a\0b", "\u{e9}".as_bytes(), b"\x7f"] {
        let text = "ERR Client names cannot contain spaces, newlines or special characters.";
        assert_eq!(message(parse_name(bad)), text);
    }
    assert_eq!(SetInfo::parse(b"LIB-NAME", b"redis-py"), Ok(SetInfo::LibName("redis-py".into())));
    assert_eq!(SetInfo::parse(b"lib-ver", b""), Ok(SetInfo::LibVer(String::new())));
    assert_eq!(message(SetInfo::parse(b"x", b"y")), "ERR Unrecognized option 'x'");
    let text = "ERR lib-Name cannot contain spaces, newlines or special characters.";
    assert_eq!(message(SetInfo::parse(b"lib-Name", b"a b")), text);
}

#[test]
fn words() {
    assert_eq!((Switch::parse(b"ON"), Switch::parse(b"off")), (Ok(Switch::On), Ok(Switch::Off)));
    assert_eq!(Switch::parse(b"x"), Err(Error::Syntax));
    assert_eq!(ReplyMode::parse(b"Skip"), Ok(ReplyMode::Skip));
    assert_eq!((ReplyMode::parse(b"on"), ReplyMode::parse(b"OFF")), (Ok(ReplyMode::On), Ok(ReplyMode::Off)));
    assert_eq!(ReplyMode::parse(b"x"), Err(Error::Syntax));
}

#[test]
fn hello() {
    let check = |words: &[&str], text: &str| assert_eq!(message(Hello::parse(&args(words).args())), text);
    check(&["hello", "4"], "NOPROTO unsupported protocol version");
    check(&["hello", "x"], "ERR Protocol version is not an integer or out of range");
    check(&["hello", "3", "foo"], "ERR Syntax error in HELLO option 'foo'");
    check(&["hello", "3", "auth", "a"], "ERR Syntax error in HELLO option 'auth'");
    check(&["hello", "3", "setname"], "ERR Syntax error in HELLO option 'setname'");
    check(&["hello", "3", "setname", "a b"], "ERR Client names cannot contain spaces, newlines or special characters.");
    let full = args(&["hello", "3", "AUTH", "default", "pw", "SetName", "joe"]);
    let expected =
        Hello { auth: Some((&b"default"[..], &b"pw"[..])), name: Some("joe".into()), proto: Some(Proto::Resp3) };
    assert_eq!(Hello::parse(&full.args()), Ok(expected));
    assert_eq!(Hello::parse(&args(&["hello"]).args()), Ok(Hello::default()));
}

#[test]
fn fixed_replies() {
    let hello = written(Proto::Resp3, |out| write_hello(out, 4, Mode::Standalone));
    assert_eq!(
        hello,
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:4\r\n\
         $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
    );
    assert!(written(Proto::Resp2, |out| write_hello(out, 4, Mode::Cluster)).starts_with("*14\r\n"));
}
