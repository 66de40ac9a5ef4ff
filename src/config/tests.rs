//! The table, reading, CONFIG GET, SET and REWRITE together.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::cli::{Startup, from_args};
use super::*;

/// A folder of a test's own, removed with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("basalt-config-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path.canonicalize().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(text: &str) -> Result<Config, String> {
    let mut reader = Reader::new();
    let mut input = text.as_bytes();
    reader.stdin(&mut input).and_then(|()| reader.finish()).map_err(|error| error.to_string())
}

fn read_file(path: &Path) -> Config {
    let mut reader = Reader::new();
    reader.file(path).and_then(|()| reader.finish()).unwrap()
}

fn start(args: &[&str]) -> Result<Config, String> {
    let args = std::iter::once("basalt").chain(args.iter().copied()).map(OsString::from);
    match from_args(args).map_err(|error| error.to_string())? {
        Startup::Serve(config) => Ok(*config),
        Startup::Print(text) => Err(text),
    }
}

fn value(config: &Config, name: &str) -> String {
    let found = get(config, &[name]);
    assert_eq!(found.len(), 1, "{name}");
    found[0].1.clone()
}

#[test]
fn every_default_is_valid_and_stored() {
    let config = Config::default();
    for directive in table::all().filter(|directive| directive.has_value()) {
        assert_eq!(directive.value(&config), directive.default_value(), "{}", directive.name);
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = table::all().flat_map(|directive| directive.names()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn every_bound_fits_its_field() {
    for directive in table::all() {
        let bounds = match directive.kind {
            Kind::Number { min, max } => [min.to_string(), max.to_string()],
            Kind::Bytes { min, max } => [min.to_string(), max.to_string()],
            Kind::Octal { max } => ["0".to_owned(), format!("{max:o}")],
            _ => continue,
        };
        if directive.is_absent() {
            continue;
        }
        for bound in bounds {
            let mut config = Config::default();
            directive.assign(&mut config, std::slice::from_ref(&bound)).unwrap();
            if !["hz", "repl-backlog-size"].contains(&directive.name) {
                assert_eq!(directive.show(&config), bound, "{}", directive.name);
            }
        }
    }
}

#[test]
fn every_choice_has_its_variant() {
    for directive in table::all().filter(|directive| !directive.is_absent()) {
        let Kind::Choice(names) = directive.kind else { continue };
        for name in names {
            let mut config = Config::default();
            directive.assign(&mut config, &[name.to_ascii_uppercase()]).unwrap();
            assert_eq!(directive.show(&config), *name, "{}", directive.name);
        }
    }
}

#[test]
fn defaults_are_those_of_redis() {
    let config = Config::default();
    let expected = [
        ("bind", "* -::*"),
        ("port", "6379"),
        ("maxclients", "10000"),
        ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
        ("client-query-buffer-limit", "1073741824"),
        ("proto-max-bulk-len", "536870912"),
        ("latency-tracking-info-percentiles", "50 99 99.9"),
        ("oom-score-adj-values", "0 200 800"),
        ("save", ""),
        ("appendonly", "no"),
        ("unixsocketperm", "0"),
        ("shutdown-on-sigterm", "default"),
        ("maxmemory-policy", "noeviction"),
        ("auto-aof-rewrite-min-size", "67108864"),
        ("replicaof", ""),
        ("lua-time-limit", "5000"),
        ("slave-priority", "100"),
    ];
    for (name, default) in expected {
        assert_eq!(value(&config, name), default, "{name}");
    }
}

#[test]
fn values_are_read_as_redis_reads_them() {
    let cases = [
        ("maxmemory 100", "maxmemory", "100"),
        ("maxmemory 5GB", "maxmemory", "5368709120"),
        ("maxmemory 1k", "maxmemory", "1000"),
        ("maxmemory 1Kb", "maxmemory", "1024"),
        ("maxmemory 2m\nMAXMEMORY 3b", "maxmemory", "3"),
        ("maxmemory 99999999999999999999gb", "maxmemory", "18446744073709551615"),
        ("hz 0", "hz", "1"),
        ("hz 1000", "hz", "500"),
        ("maxmemory-policy ALLKEYS-LRU", "maxmemory-policy", "allkeys-lru"),
        ("bind 127.0.0.1 -::1", "bind", "127.0.0.1 -::1"),
        ("bind 10.0.0.1\nbind *", "bind", "*"),
        ("unixsocketperm 700", "unixsocketperm", "700"),
        ("requirepass \"a b\\x41\"", "requirepass", "a bA"),
        ("requirepass 'a\\'b'", "requirepass", "a'b"),
        (
            "client-output-buffer-limit NORMAL 1mb 2 3\nclient-output-buffer-limit slave 4 5 6 pubsub 7 8 9",
            "client-output-buffer-limit",
            "normal 1048576 2 3 slave 4 5 6 pubsub 7 8 9",
        ),
        (
            "latency-tracking-info-percentiles 50 99.99999 1e1 0.1 33.333333333333",
            "latency-tracking-info-percentiles",
            "50 99.99999 10 0.1 33.333333",
        ),
        ("latency-tracking-info-percentiles \"\"", "latency-tracking-info-percentiles", ""),
        ("oom-score-adj-values 5 -2 1", "oom-score-adj-values", "5 -2 1"),
        ("slave-read-only no", "replica-read-only", "no"),
        ("list-max-ziplist-size -1", "list-max-listpack-size", "-1"),
        ("shutdown-on-sigterm now save", "shutdown-on-sigterm", "save now"),
        ("loglevel nothing", "loglevel", "nothing"),
        ("  # comment\n\n\tPORT   17393  \r\n", "port", "17393"),
        ("save \"\"", "save", ""),
        ("replicaof no one", "replicaof", ""),
        ("slaveof db.example 6380", "replicaof", "db.example 6380"),
        ("replicaof ::1 6380\nslaveof NO ONE", "slaveof", ""),
        ("primaryauth a\nmasterauth \"b c\"", "primaryauth", "b c"),
        ("min-slaves-to-write 2", "min-replicas-to-write", "2"),
        ("repl-backlog-size 1", "repl-backlog-size", "16384"),
        ("repl-backlog-size 10mb", "repl-backlog-size", "10485760"),
        ("user default on nopass sanitize-payload ~* &* +@all", "port", "6379"),
    ];
    for (text, name, expected) in cases {
        let config = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(value(&config, name), expected, "{text}");
    }
}

#[test]
fn errors_name_place_and_reason() {
    let cases = [
        ("foo bar", "Bad directive or wrong number of arguments"),
        ("port", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("port \"12", "Unbalanced quotes in configuration line"),
        ("maxclients abc", "argument couldn't be parsed into an integer"),
        ("maxclients +5", "argument couldn't be parsed into an integer"),
        ("maxclients 05", "argument couldn't be parsed into an integer"),
        ("maxclients 0", "argument must be between 1 and 4294967295 inclusive"),
        ("port 65536", "argument must be between 0 and 65535 inclusive"),
        ("maxmemory zz", "argument must be a memory value"),
        ("maxmemory 10%", "argument must be a memory value"),
        ("maxmemory -1", "argument must be a memory value"),
        ("maxmemory 1.5gb", "argument must be a memory value"),
        ("maxmemory \"\"", "argument must be a memory value"),
        (
            "maxmemory-policy x",
            "argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, \
             allkeys-lru, allkeys-lfu, allkeys-random, noeviction",
        ),
        ("protected-mode maybe", "argument must be 'yes' or 'no'"),
        ("client-output-buffer-limit normal 1", "Wrong number of arguments in buffer limit configuration."),
        ("client-output-buffer-limit master 1 2 3", "Invalid client class specified in buffer limit configuration."),
        (
            "client-output-buffer-limit normal 1 2 -3",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        ("unixsocketperm 999", "argument couldn't be parsed as an octal number"),
        ("unixsocketperm 1000", "argument must be between 0 and 777 inclusive"),
        ("proc-title-template {x}", "template format is invalid or contains unknown variables"),
        ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("dir /nonexistent", "No such file or directory"),
        ("save 1", "Invalid save parameters"),
        ("save a b", "Invalid save parameters"),
        ("oom-score-adj-values 1 2", "wrong number of arguments"),
        ("oom-score-adj-values 1 2 5000", "Invalid oom-score-adj-values, elements must be between -2000 and 2000."),
        (
            "latency-tracking-info-percentiles 101",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        ("latency-tracking-info-percentiles x", "Invalid latency-tracking-info-percentiles parameters"),
        ("notify-keyspace-events q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ("rename-command GET", "Bad directive or wrong number of arguments"),
        ("replicaof a", "wrong number of arguments"),
        ("replicaof a b c", "wrong number of arguments"),
        ("replicaof a 65536", "Invalid master port"),
        ("replicaof a x", "Invalid master port"),
        ("bind-source-addr localhost", "argument must be an IP address"),
        ("repl-timeout 0", "argument must be between 1 and 2147483647 inclusive"),
        ("repl-diskless-load yes", "argument(s) must be one of the following: disabled, on-empty-db, swapdb"),
        ("shutdown-on-sigint save nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
        ("syslog-ident \"\\xff\"", "argument must be valid UTF-8"),
    ];
    for (line, reason) in cases {
        let error = read(&format!("# head\n\n{line}\nport 1\n")).expect_err(line);
        let expected = format!(
            "\n*** FATAL CONFIG FILE ERROR (Basalt {}) ***\nReading the configuration file, at line 3 (standard \
             input)\n>>> '{line}'\n{reason}",
            env!("CARGO_PKG_VERSION")
        );
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn errors_say_what_is_allowed() {
    let cases = [
        ("maxclients x", "maxclients takes an integer from 1 to 4294967295"),
        ("pin x", "pin takes yes or no"),
        ("maxmemroy 1", "Did you mean 'maxmemory'?"),
        ("slave-priority x", "replica-priority takes an integer from 0 to 2147483647"),
    ];
    for (line, hint) in cases {
        let error = read(line).expect_err(line);
        assert_eq!(error.lines().last(), Some(hint), "{error}");
    }
}

#[test]
fn what_is_absent_is_refused_with_the_alternative() {
    let cases = [
        ("save 3600 1", "'save 3600 1' needs snapshots to disk", "write 'save \"\"'"),
        ("appendonly yes", "'appendonly yes' needs the append-only file", "write 'appendonly no'"),
        ("cluster-enabled yes", "'cluster-enabled yes' needs cluster mode", "'core-endpoints yes'"),
        ("tls-port 6380", "'tls-port 6380' needs TLS", "write 'tls-port 0'"),
        ("syslog-enabled yes", "needs logging to syslog", "write 'syslog-enabled no'"),
        ("aclfile /a", "needs access control lists", "write 'requirepass'"),
        ("user alice on", "access control lists", "'requirepass'"),
        ("loadmodule /a.so", "modules", "leave 'loadmodule' out"),
        ("sentinel monitor m 127.0.0.1 1 2", "sentinel mode", "leave it out"),
        ("activedefrag yes", "needs active defragmentation", "write 'activedefrag no'"),
        ("maxmemory-clients 5%", "needs eviction of clients", "write 'maxmemory-clients 0'"),
    ];
    for (line, reason, alternative) in cases {
        let error = read(line).expect_err(line);
        assert!(error.contains(reason) && error.contains(alternative), "{line}: {error}");
    }
}

#[test]
fn errors_and_debug_output_hide_secrets() {
    let error = read("requirepass s3cret extra").expect_err("two words");
    assert!(!error.contains("s3cret") && error.contains(">>> 'requirepass (redacted)'"), "{error}");
    let config = read("requirepass s3cret\nmasterauth s3cret\ntls-key-file-pass s3cret").unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(value(&config, "masterauth"), "s3cret");
    assert!(config.requirepass.matches(b"s3cret"));
    for wrong in [&b"s3cre"[..], b"s3cret\0", b"", b"S3cret"] {
        assert!(!config.requirepass.matches(wrong), "{wrong:?}");
    }
}

#[test]
fn includes_are_read_in_place() {
    let folder = Folder::new();
    folder.file("one.conf", "port 1\nmaxclients 11\n");
    folder.file("two.conf", "port 2\n");
    folder.file(".hidden.conf", "port 3\n");
    let main = folder.file(
        "main.cnf",
        &format!("maxclients 10\ninclude {0}/*.conf\ninclude {0}/none*.conf\ntimeout 7\n", folder.0.display()),
    );
    let config = read_file(&main);
    assert_eq!((config.port, config.maxclients, config.timeout), (2, 11, 7));

    let error = read("include /nonexistent.conf").expect_err("no such file");
    assert_eq!(error, "Fatal error, can't open config file '/nonexistent.conf': No such file or directory");
}

#[test]
fn includes_follow_the_working_directory() {
    let folder = Folder::new();
    folder.file("other.conf", "port 4\n");
    let config = read(&format!("dir {}\ninclude other.conf", folder.0.display())).unwrap();
    assert_eq!((config.port, config.dir), (4, folder.0.clone()));
}

#[test]
fn a_file_that_includes_itself_is_an_error() {
    let folder = Folder::new();
    let path = folder.0.join("loop.conf");
    folder.file("loop.conf", &format!("include {}\n", path.display()));
    let mut reader = Reader::new();
    let error = reader.file(&path).expect_err("endless").to_string();
    assert!(error.contains("includes are nested more than 16 deep"), "{error}");
}

#[test]
fn the_command_line_follows_redis() {
    let config = start(&["--port", "1", "--port", "2", "--bind", "127.0.0.1", "-::1", "--maxclients 5"]).unwrap();
    assert_eq!((config.port, config.maxclients), (2, 5));
    assert_eq!(value(&config, "bind"), "127.0.0.1 -::1");
    assert_eq!(config.file, None);

    let config = start(&["--requirepass", "--dashes", "--save", "--appendonly", "no", "--save", "", "--save"]).unwrap();
    assert!(config.requirepass.matches(b"--dashes"));
    let config = start(&["--rename-command", "FLUSHALL", "", "--proc-title-template", "a {port} \"b\""]).unwrap();
    assert_eq!(config.rename_command, [("FLUSHALL".to_owned(), String::new())]);
    assert_eq!(config.proc_title_template, "a {port} \"b\"");

    for (args, reason) in [
        (vec!["--foo"], "Bad directive or wrong number of arguments"),
        (vec!["--maxclients"], "wrong number of arguments"),
        (vec!["--maxclients", "x", "y"], ">>> 'maxclients \"x\" \"y\"'\nwrong number of arguments"),
        (vec!["--port", "1", "-x"], ">>> 'port \"1\" \"-x\"'\nwrong number of arguments"),
        (vec!["-x"], "Bad directive or wrong number of arguments"),
        (vec!["--port", "0"], "Configured to not listen anywhere"),
        (vec!["--bind", ""], "Configured to not listen anywhere"),
        (vec!["--core-endpoints", "yes", "--port", "65000"], "above 65535"),
        (vec!["/nonexistent.conf"], "Fatal error, can't open config file '/nonexistent.conf': No such file"),
    ] {
        let error = start(&args).expect_err("refused");
        assert!(error.contains(reason), "{args:?}: {error}");
    }
}

#[test]
fn the_command_line_comes_after_the_file() {
    let folder = Folder::new();
    let path = folder.file("a.conf", "port 1\nmaxclients 7\n");
    let config = start(&[path.to_str().unwrap(), "--port", "2"]).unwrap();
    assert_eq!((config.port, config.maxclients), (2, 7));
    assert_eq!(config.file, Some(path));
}

#[test]
fn help_and_version_are_printed() {
    for flag in ["-v", "--version"] {
        assert!(start(&[flag]).expect_err("printed").starts_with("Basalt server v=0."));
    }
    for flag in ["-h", "--help"] {
        assert!(start(&[flag]).expect_err("printed").contains("Usage: basalt [FILE]"));
    }
}

#[test]
fn get_takes_patterns() {
    let config = Config::default();
    let names = |patterns: &[&str]| get(&config, patterns).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(
        names(&["MAXMEMORY*", "maxm?mory"]),
        ["maxmemory", "maxmemory-clients", "maxmemory-eviction-tenacity", "maxmemory-policy", "maxmemory-samples"]
    );
    assert_eq!(names(&["slave-pri*", "hz"]), ["hz", "slave-priority"]);
    assert_eq!(names(&["include", "rename-command", "nothing"]), [""; 0]);
    assert!(names(&["*"]).len() > 190);
}

#[test]
fn set_changes_all_or_nothing() {
    let config = Config::default();
    let (new, changed) =
        set(&config, &[("maxclients", "77"), ("HZ", "10"), ("slave-priority", "5")], Origin::Remote).unwrap();
    assert_eq!((new.maxclients, value(&new, "replica-priority").as_str()), (77, "5"));
    let names: Vec<&str> = changed.iter().map(|changed| changed.directive.name).collect();
    assert_eq!(names, ["maxclients", "replica-priority"]);

    let (new, _) =
        set(&config, &[("client-output-buffer-limit", "pubsub 1 2 3"), ("requirepass", "a b")], Origin::Remote)
            .unwrap();
    let pubsub = OutputLimit { hard_bytes: 1, soft_bytes: 2, soft_seconds: 3 };
    assert_eq!(new.client_output_buffer_limit, OutputLimits { pubsub, ..config.client_output_buffer_limit });
    assert!(new.requirepass.matches(b"a b"));
}

#[test]
fn set_fails_as_in_redis() {
    let failed =
        |name: &str, reason: &str| format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}");
    let unknown = |name: &str| format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
    let integer = "argument couldn't be parsed into an integer";
    let cases: Vec<(&[(&str, &str)], String)> = vec![
        (&[("FOO", "bar")], unknown("FOO")),
        (&[("rename-command", "x")], unknown("rename-command")),
        (&[("maxclients", "zz"), ("foo", "1")], unknown("foo")),
        (&[("hz", "5"), ("MAXCLIENTS", "zz")], failed("maxclients", integer)),
        (&[("Slave-Priority", "x")], failed("slave-priority", integer)),
        (&[("DATABASES", "1")], failed("DATABASES", "can't set immutable config")),
        (&[("databases", "1"), ("foo", "1")], failed("databases", "can't set immutable config")),
        (&[("dir", "/")], failed("dir", "can't set protected config")),
        (&[("maxclients", "1"), ("maxclients", "2")], failed("maxclients", "duplicate parameter")),
        (&[("maxclients", " 5")], failed("maxclients", integer)),
        (
            &[("client-output-buffer-limit", "normal  1 2 3")],
            failed("client-output-buffer-limit", "Wrong number of arguments in buffer limit configuration."),
        ),
        (
            &[("client-query-buffer-limit", "5")],
            failed("client-query-buffer-limit", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ),
    ];
    for (pairs, expected) in cases {
        let error = set(&Config::default(), pairs, Origin::Remote).expect_err("refused");
        assert_eq!(error, expected);
    }
    let error = set(&Config::default(), &[("appendonly", "yes")], Origin::Local).expect_err("refused");
    assert!(error.contains("(possibly related to argument 'appendonly') - 'appendonly yes' needs"), "{error}");
}

#[test]
fn protected_directives_follow_the_origin() {
    for (mode, origin, allowed) in [
        ("no", Origin::Local, false),
        ("local", Origin::Local, true),
        ("local", Origin::Remote, false),
        ("yes", Origin::Remote, true),
    ] {
        let config = read(&format!("enable-protected-configs {mode}")).unwrap();
        let outcome = set(&config, &[("dbfilename", "other.rdb")], origin);
        assert_eq!(outcome.is_ok(), allowed, "{mode} {origin:?}");
    }
}

#[test]
fn rewrite_keeps_what_the_operator_wrote() {
    let folder = Folder::new();
    let dir = folder.0.display().to_string();
    let path = folder.file(
        "a.conf",
        &format!(
            "# head comment\nport 17394\nslave-read-only no\nmaxmemory 100MB\n\nbind 127.0.0.1 -::1\n\
             # about limits\nclient-output-buffer-limit pubsub 1mb 2mb 60\nhz 20\nrequirepass \"a b\"\n\
             rename-command GET \"\"\ntimeout 5\ntimeout 6\n\n\nloglevel verbose\nunixsocketperm 700\ndir {dir}\n"
        ),
    );
    let config = start(&[path.to_str().unwrap(), "--maxclients", "123"]).unwrap();
    let pairs = [
        ("hz", "10"),
        ("maxmemory", "0"),
        ("timeout", "0"),
        ("requirepass", ""),
        ("client-output-buffer-limit", "pubsub 33554432 8388608 60"),
        ("slowlog-max-len", "5"),
        ("proto-max-bulk-len", "2097152"),
        ("proc-title-template", "x \"y\" {title}"),
    ];
    let (config, _) = set(&config, &pairs, Origin::Remote).unwrap();
    rewrite(&config).unwrap();
    let expected = format!(
        "# head comment\nport 17394\nreplica-read-only no\nmaxmemory 0\n\nbind 127.0.0.1 -::1\n\
         # about limits\nclient-output-buffer-limit normal 0 0 0\nhz 10\n\n\
         rename-command GET \"\"\ntimeout 0\n\nloglevel verbose\nunixsocketperm 700\ndir \"{dir}\"\n\n\
         # Generated by CONFIG REWRITE\n\
         maxclients 123\nclient-output-buffer-limit replica 256mb 64mb 60\n\
         client-output-buffer-limit pubsub 32mb 8mb 60\nproto-max-bulk-len 2mb\nslowlog-max-len 5\n\
         proc-title-template \"x \\\"y\\\" {{title}}\"\n"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);

    rewrite(&config).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected, "a second time changes nothing");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "no temporary file is left");
}

/// What Sentinel relies on.
#[test]
fn rewrite_writes_the_role() {
    let folder = Folder::new();
    let path = folder.file("a.conf", "port 17394\nslaveof db.example 6380\nhz 20\n");
    let mut config = start(&[path.to_str().unwrap()]).unwrap();
    assert_eq!(config.replicaof, Some(PrimaryAddress { host: "db.example".to_owned(), port: 6380 }));
    let text = || std::fs::read_to_string(&path).unwrap();
    config.replicaof = None;
    rewrite(&config).unwrap();
    assert!(!text().contains("replicaof") && !text().contains("slaveof"), "{}", text());
    config.replicaof = Some(PrimaryAddress { host: "::1".to_owned(), port: 7 });
    rewrite(&config).unwrap();
    assert_eq!(text().lines().filter(|line| *line == "replicaof ::1 7").count(), 1, "{}", text());
    let error = set(&config, &[("slaveof", "no one")], Origin::Local).expect_err("REPLICAOF does that");
    assert!(error.ends_with("can't set immutable config"), "{error}");
}

#[test]
fn rewrite_needs_a_file_it_can_write() {
    let mut config = Config::default();
    assert_eq!(rewrite(&config), Err("ERR The server is running without a config file".to_owned()));
    config.file = Some(PathBuf::from("/nonexistent/a.conf"));
    assert_eq!(rewrite(&config), Err("ERR Rewriting config file: No such file or directory".to_owned()));
}

#[test]
fn rewrite_keeps_permissions_and_symbolic_links() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.file("real.conf", "hz 20\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.0.join("link.conf");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    rewrite_to(&read("hz 30").unwrap(), &link).unwrap();
    assert!(link.is_symlink());
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("hz 30\n"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

/// Lines that change one directive each.
fn any_line() -> impl Strategy<Value = String> {
    let password = "\\PC{0,12}".prop_map(|text| format!("requirepass {}", crate::types::quote::quote(text.as_bytes())));
    let fixed = prop::sample::select(vec![
        "bind 127.0.0.1 -::1",
        "bind * -::*",
        "maxmemory 100mb",
        "maxmemory 1001",
        "maxmemory-policy allkeys-lfu",
        "client-output-buffer-limit pubsub 1 2 3",
        "client-output-buffer-limit normal 1mb 0 0 slave 0 0 0",
        "latency-tracking-info-percentiles 1 2.5",
        "latency-tracking-info-percentiles \"\"",
        "oom-score-adj-values 1 2 3",
        "unixsocket /tmp/a.sock",
        "unixsocketperm 750",
        "shutdown-on-sigint now force",
        "slave-read-only no",
        "save \"\"",
        "replicaof no one",
        "replicaof 10.0.0.1 6380",
        "repl-diskless-load swapdb",
        "loglevel debug",
        "logfile \"\"",
        "logfile \"a b\"",
        "daemonize yes",
        "masterauth x",
        "core-endpoints yes",
        "list-max-ziplist-size -5",
        "# a comment",
        "",
    ]);
    prop_oneof![
        password,
        fixed.prop_map(str::to_owned),
        any::<u16>().prop_map(|n| format!("port {}", n.max(1))),
        any::<u32>().prop_map(|n| format!("maxclients {}", n.max(1))),
        (0u64..1 << 40).prop_map(|n| format!("stream-node-max-bytes {n}")),
        any::<i64>().prop_map(|n| format!("slowlog-log-slower-than {}", n.max(-1))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_rewrite_writes_is_read_back(
        before in prop::collection::vec(any_line(), 0..12),
        after in prop::collection::vec(any_line(), 0..12),
    ) {
        let folder = Folder::new();
        let path = folder.file("a.conf", &(before.join("\n") + "\n"));
        let config = read(&(after.join("\n") + "\ncore-port-base 7000\n")).unwrap();
        rewrite_to(&config, &path).unwrap();
        prop_assert_eq!(get(&read_file(&path), &["*"]), get(&config, &["*"]));
    }
}

/// The file that the distribution installs must do, but for what this machine's folders decide.
#[test]
fn the_stock_file_of_the_distribution_loads() {
    let Ok(text) = std::fs::read_to_string("/etc/redis/redis.conf") else { return };
    let text: String = text.lines().filter(|line| !line.starts_with("dir ")).map(|line| format!("{line}\n")).collect();
    let config = read(&text).unwrap();
    assert!(config.daemonize && config.protected_mode);
    assert_eq!((config.port, config.databases, value(&config, "bind").as_str()), (6379, 16, "127.0.0.1 -::1"));

    let folder = Folder::new();
    let path = folder.file("redis.conf", &text);
    rewrite_to(&config, &path).unwrap();
    assert_eq!(get(&read_file(&path), &["*"]), get(&config, &["*"]));
    let comments =
        |text: &str| text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    let rewritten = comments(&std::fs::read_to_string(&path).unwrap());
    let expected = [comments(&text), vec!["# Generated by CONFIG REWRITE".to_owned()]].concat();
    assert!(rewritten == expected, "comments have changed");
}

#[test]
fn the_documentation_has_every_directive() {
    let text = document::markdown();
    for directive in table::all() {
        for name in directive.names() {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
    }
    for line in text.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
    }
}
