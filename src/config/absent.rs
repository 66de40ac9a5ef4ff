//! Directives of Redis that change nothing in Basalt.
//!
//! `kept`: tuning of something that Basalt does another way or not at all; any valid value is accepted, printed and
//! rewritten. `off`: accepted only with a value that leaves something switched off which Basalt does not have.
//! `line`: lines that are no values.

use super::table::Change::{Runtime, Start};
use super::table::Feature::*;
use super::table::{Change, Directive, Feature, Off, Slot};
use super::values::{Kind, MAX_SIGNED};

const YES_NO: Kind = Kind::YesNo;
const TEXT: Kind = Kind::Text;
const PORT: Kind = Kind::Number { min: 0, max: u16::MAX as i64 };
const INT: Kind = Kind::Number { min: 0, max: i32::MAX as i64 };
const LONG: Kind = Kind::Number { min: 0, max: i64::MAX };
const SIZE: Kind = Kind::Bytes { min: 0, max: MAX_SIGNED };
const POSITIVE_SIZE: Kind = Kind::Bytes { min: 1, max: MAX_SIGNED };
const SIGNAL: Kind = Kind::Choices(&["default", "save", "nosave", "now", "force"]);

type Names = &'static [&'static str];

/// `names`: the name, then its aliases.
const fn kept(
    names: Names,
    kind: Kind,
    default: &'static str,
    change: Change,
    feature: Feature,
    doc: &'static str,
) -> Directive {
    row(names, kind, default, change, feature, doc, Slot::Kept)
}

/// The default is the value that says off; `needs` completes "needs ..., which this version does not have".
const fn off(
    names: Names,
    kind: Kind,
    values: &'static [&'static str],
    change: Change,
    feature: Feature,
    needs: &'static str,
) -> Directive {
    row(names, kind, values[0], change, feature, needs, Slot::Off(Off { values, needs }))
}

const fn line(names: Names, syntax: &'static str, feature: Feature, doc: &'static str) -> Directive {
    row(names, Kind::Line(syntax), "", Start, feature, doc, Slot::Line)
}

const fn row(
    names: Names,
    kind: Kind,
    default: &'static str,
    change: Change,
    feature: Feature,
    doc: &'static str,
    slot: Slot,
) -> Directive {
    let Some((&name, aliases)) = names.split_first() else { panic!("a directive without a name") };
    Directive { name, aliases, kind, default, change, feature, doc, slot }
}

#[rustfmt::skip]
pub(super) static ABSENT: &[Directive] = &[
    line(&["include"], "include PATH", Files, "Reads another file, or all files that a pattern names, at this place."),
    line(&["rename-command"], "rename-command OLD NEW", Security, "Gives a command another name, or with \"\" none."),
    line(&["user"], "user NAME RULE...", Acl, "Only the unrestricted default user without a password is accepted."),
    line(&["loadmodule"], "loadmodule PATH ARGUMENT...", Modules, "Refused: there are no modules."),
    line(&["sentinel"], "sentinel ...", Sentinel, "Refused: there is no Sentinel mode."),

    kept(&["io-threads"], Kind::Number { min: 1, max: 128 }, "1", Start, Threads, "No effect: `shards` takes its place."),
    kept(&["io-threads-do-reads"], YES_NO, "no", Start, Threads, "No effect: every shard reads for itself."),
    off(&["server_cpulist"], TEXT, &[""], Start, Threads, "CPU lists (start it under taskset: shards take the CPUs of its mask)"),
    off(&["bio_cpulist"], TEXT, &[""], Start, Threads, "background I/O threads"),
    off(&["aof_rewrite_cpulist"], TEXT, &[""], Start, Threads, "a child process that rewrites the append-only file"),
    off(&["bgsave_cpulist"], TEXT, &[""], Start, Threads, "a child process that saves"),

    off(&["socket-mark-id"], Kind::Number { min: 0, max: u32::MAX as i64 }, &["0"], Start, Network, "marks on sockets"),
    off(&["maxmemory-clients"], TEXT, &["0"], Runtime, Clients, "eviction of clients"),

    kept(&["activerehashing"], YES_NO, "yes", Runtime, Memory, "No effect: tables grow by segments and never rehash."),
    off(&["activedefrag"], YES_NO, &["no"], Runtime, Memory, "active defragmentation"),
    kept(&["active-defrag-ignore-bytes"], POSITIVE_SIZE, "100mb", Runtime, Memory, "No effect."),
    kept(&["active-defrag-threshold-lower"], Kind::Number { min: 0, max: 1000 }, "10", Runtime, Memory, "No effect."),
    kept(&["active-defrag-threshold-upper"], Kind::Number { min: 0, max: 1000 }, "100", Runtime, Memory, "No effect."),
    kept(&["active-defrag-cycle-min"], Kind::Number { min: 1, max: 99 }, "1", Runtime, Memory, "No effect."),
    kept(&["active-defrag-cycle-max"], Kind::Number { min: 1, max: 99 }, "25", Runtime, Memory, "No effect."),
    kept(&["active-defrag-max-scan-fields"], Kind::Number { min: 1, max: i64::MAX }, "1000", Runtime, Memory, "No effect."),
    kept(&["jemalloc-bg-thread"], YES_NO, "yes", Runtime, Memory, "No effect: the allocator is another."),
    kept(&["disable-thp"], YES_NO, "yes", Start, Memory, "No effect: there is no fork that large pages would make dear."),

    off(&["syslog-enabled"], YES_NO, &["no"], Start, Observability, "logging to syslog"),
    kept(&["syslog-ident"], TEXT, "basalt", Start, Observability, "No effect."),
    kept(&["syslog-facility"], Kind::Choice(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]), "local0", Start, Observability, "No effect."),
    kept(&["crash-log-enabled"], YES_NO, "yes", Runtime, Observability, "No effect: a panic is always reported."),
    kept(&["crash-memcheck-enabled"], YES_NO, "yes", Runtime, Observability, "No effect."),
    kept(&["ignore-warnings"], TEXT, "", Runtime, Observability, "No effect."),

    kept(&["shutdown-on-sigint"], SIGNAL, "default", Runtime, Process, "No effect: there is nothing to save."),
    kept(&["shutdown-on-sigterm"], SIGNAL, "default", Runtime, Process, "No effect: there is nothing to save."),
    off(&["locale-collate"], TEXT, &[""], Runtime, Process, "collation by locale"),

    off(&["save"], Kind::SavePoints, &[""], Runtime, Persistence, "snapshots to disk"),
    kept(&["stop-writes-on-bgsave-error"], YES_NO, "yes", Runtime, Persistence, "No effect."),
    kept(&["rdb-save-incremental-fsync"], YES_NO, "yes", Runtime, Persistence, "No effect."),
    kept(&["rdb-del-sync-files"], YES_NO, "no", Runtime, Persistence, "No effect."),
    kept(&["sanitize-dump-payload"], Kind::Choice(&["no", "yes", "clients"]), "no", Runtime, Persistence, "No effect: payloads are always checked."),
    off(&["appendonly"], YES_NO, &["no"], Runtime, Persistence, "the append-only file"),
    kept(&["appendfilename"], Kind::FileName, "appendonly.aof", Start, Persistence, "No effect."),
    kept(&["appenddirname"], Kind::FileName, "appendonlydir", Start, Persistence, "No effect."),
    kept(&["appendfsync"], Kind::Choice(&["everysec", "always", "no"]), "everysec", Runtime, Persistence, "No effect."),
    kept(&["no-appendfsync-on-rewrite"], YES_NO, "no", Runtime, Persistence, "No effect."),
    kept(&["auto-aof-rewrite-percentage"], INT, "100", Runtime, Persistence, "No effect."),
    kept(&["auto-aof-rewrite-min-size"], SIZE, "64mb", Runtime, Persistence, "No effect."),
    kept(&["aof-load-truncated"], YES_NO, "yes", Runtime, Persistence, "No effect."),
    kept(&["aof-use-rdb-preamble"], YES_NO, "yes", Runtime, Persistence, "No effect."),
    kept(&["aof-timestamp-enabled"], YES_NO, "no", Runtime, Persistence, "No effect."),
    kept(&["aof-rewrite-incremental-fsync"], YES_NO, "yes", Runtime, Persistence, "No effect."),
    kept(&["aof-disable-auto-gc"], YES_NO, "no", Runtime, Persistence, "No effect."),

    kept(&["repl-diskless-sync-period"], INT, "0", Runtime, Replication, "No effect: how long a snapshot waits for replicas is what `repl-diskless-sync-delay` says."),

    off(&["cluster-enabled"], YES_NO, &["no"], Start, Cluster, "cluster mode (for direct access to cores write 'core-endpoints yes')"),
    kept(&["cluster-config-file"], TEXT, "nodes.conf", Start, Cluster, "No effect."),
    kept(&["cluster-port"], PORT, "0", Start, Cluster, "No effect."),
    kept(&["cluster-node-timeout"], LONG, "15000", Runtime, Cluster, "No effect."),
    kept(&["cluster-announce-port"], PORT, "0", Runtime, Cluster, "No effect."),
    kept(&["cluster-announce-tls-port"], PORT, "0", Runtime, Cluster, "No effect."),
    kept(&["cluster-announce-bus-port"], PORT, "0", Runtime, Cluster, "No effect."),
    kept(&["cluster-announce-hostname"], TEXT, "", Runtime, Cluster, "No effect."),
    kept(&["cluster-announce-human-nodename"], TEXT, "", Runtime, Cluster, "No effect."),
    kept(&["cluster-preferred-endpoint-type"], Kind::Choice(&["ip", "hostname", "unknown-endpoint"]), "ip", Runtime, Cluster, "No effect."),
    kept(&["cluster-replica-validity-factor", "cluster-slave-validity-factor"], INT, "10", Runtime, Cluster, "No effect."),
    kept(&["cluster-replica-no-failover", "cluster-slave-no-failover"], YES_NO, "no", Runtime, Cluster, "No effect."),
    kept(&["cluster-migration-barrier"], INT, "1", Runtime, Cluster, "No effect."),
    kept(&["cluster-allow-replica-migration"], YES_NO, "yes", Runtime, Cluster, "No effect."),
    kept(&["cluster-require-full-coverage"], YES_NO, "yes", Runtime, Cluster, "No effect."),
    kept(&["cluster-allow-reads-when-down"], YES_NO, "no", Runtime, Cluster, "No effect."),
    kept(&["cluster-allow-pubsubshard-when-down"], YES_NO, "yes", Runtime, Cluster, "No effect."),
    kept(&["cluster-link-sendbuf-limit"], Kind::Bytes { min: 0, max: u64::MAX }, "0", Runtime, Cluster, "No effect."),

    off(&["aclfile"], TEXT, &[""], Start, Acl, "access control lists (for one password write 'requirepass')"),
    kept(&["acllog-max-len"], LONG, "128", Runtime, Acl, "No effect."),
    kept(&["acl-pubsub-default"], Kind::Choice(&["allchannels", "resetchannels"]), "resetchannels", Runtime, Acl, "No effect."),

    off(&["enable-module-command"], Kind::Choice(&["no", "yes", "local"]), &["no"], Start, Modules, "modules"),

    off(&["tls-port"], PORT, &["0"], Runtime, Tls, "TLS"),
    off(&["tls-replication"], YES_NO, &["no"], Runtime, Tls, "TLS"),
    off(&["tls-cluster"], YES_NO, &["no"], Runtime, Tls, "TLS"),
    kept(&["tls-cert-file"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-key-file"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-key-file-pass"], Kind::Secret, "", Runtime, Tls, "No effect."),
    kept(&["tls-client-cert-file"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-client-key-file"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-client-key-file-pass"], Kind::Secret, "", Runtime, Tls, "No effect."),
    kept(&["tls-dh-params-file"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-ca-cert-file"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-ca-cert-dir"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-auth-clients"], Kind::Choice(&["no", "yes", "optional"]), "yes", Runtime, Tls, "No effect."),
    kept(&["tls-protocols"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-ciphers"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-ciphersuites"], TEXT, "", Runtime, Tls, "No effect."),
    kept(&["tls-prefer-server-ciphers"], YES_NO, "no", Runtime, Tls, "No effect."),
    kept(&["tls-session-caching"], YES_NO, "yes", Runtime, Tls, "No effect."),
    kept(&["tls-session-cache-size"], INT, "20480", Runtime, Tls, "No effect."),
    kept(&["tls-session-cache-timeout"], INT, "300", Runtime, Tls, "No effect."),
];
