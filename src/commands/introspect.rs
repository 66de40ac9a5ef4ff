//! COMMAND and the HELP of every container: what the server tells of its own commands.
//!
//! All of it is read from the command table. The shapes are those of Redis 7.2 in both protocols; `history` and the `since` of
//! single arguments, which are the history of Redis, are left out.
//!
//! Knows the table and the reply writer, nothing of connections.

use super::keys;
use super::lookup::{CommandId, Commands};
use super::spec::{Acl, BeginSearch, Command, FindKeys, Flags, Handler, KeyAccess, KeySpec};
use super::syntax::{self, Argument, Repeat};
use super::{Error, Outcome};
use crate::resp::{Args, Writer};
use crate::types::glob::{self, Case};

/// Executes COMMAND or one of its subcommands; `id` is what [`Commands::resolve`] found for `args`.
pub fn execute(commands: &Commands, id: CommandId, args: &Args<'_>, out: &mut Writer<'_>) -> Outcome {
    match commands.get(id).name {
        "count" => out.int(commands.named().len() as i64),
        "docs" => docs(commands, args, out),
        "getkeys" => return get_keys(commands, args, Detail::Keys, out),
        "getkeysandflags" => return get_keys(commands, args, Detail::KeysAndFlags, out),
        "info" => info(commands, args, out),
        "list" => return list(commands, args, out),
        _ => all(commands, out),
    }
    Ok(())
}

fn all(commands: &Commands, out: &mut Writer<'_>) {
    out.array(commands.named().len());
    commands.named().for_each(|id| write_info(commands, id, out));
}

fn info(commands: &Commands, args: &Args<'_>, out: &mut Writer<'_>) {
    if args.len() == 2 {
        return all(commands, out);
    }
    out.array(args.len() - 2);
    for name in args.iter_from(2) {
        match commands.find_full(name) {
            Some(id) => write_info(commands, id, out),
            None => out.null(),
        }
    }
}

fn docs(commands: &Commands, args: &Args<'_>, out: &mut Writer<'_>) {
    let ids: Vec<CommandId> = match args.len() {
        2 => commands.named().collect(),
        _ => args.iter_from(2).filter_map(|name| commands.find_full(name)).collect(),
    };
    out.map(ids.len());
    for id in ids {
        out.bulk_str(commands.full_name(id));
        write_docs(commands, id, out);
    }
}

enum Filter<'a> {
    None,
    /// There are no modules, so none of their commands.
    Module,
    /// `None`: no such category, no command in it.
    Category(Option<Acl>),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(args: &Args<'a>) -> Result<Filter<'a>, Error> {
        if args.len() == 2 {
            return Ok(Filter::None);
        }
        if args.len() != 5 || !args.is(2, "filterby") {
            return Err(Error::Syntax);
        }
        let value = args.get(4);
        if args.is(3, "module") {
            Ok(Filter::Module)
        } else if args.is(3, "aclcat") {
            Ok(Filter::Category(Acl::by_name(value)))
        } else if args.is(3, "pattern") {
            Ok(Filter::Pattern(value))
        } else {
            Err(Error::Syntax)
        }
    }

    fn passes(&self, command: &Command, full_name: &str) -> bool {
        match self {
            Filter::None => true,
            Filter::Module => false,
            Filter::Category(category) => category.is_some_and(|category| command.categories().has(category)),
            Filter::Pattern(pattern) => glob::matches(pattern, full_name.as_bytes(), Case::Insensitive),
        }
    }
}

fn list(commands: &Commands, args: &Args<'_>, out: &mut Writer<'_>) -> Outcome {
    let filter = Filter::parse(args)?;
    let names: Vec<&str> = commands
        .named()
        .flat_map(|id| std::iter::once(id).chain(commands.subcommands(id)))
        .filter(|id| filter.passes(commands.get(*id), commands.full_name(*id)))
        .map(|id| commands.full_name(id))
        .collect();
    out.array(names.len());
    names.into_iter().for_each(|name| out.bulk_str(name));
    Ok(())
}

enum Detail {
    Keys,
    KeysAndFlags,
}

fn get_keys(commands: &Commands, args: &Args<'_>, detail: Detail, out: &mut Writer<'_>) -> Outcome {
    let (buf, spans, bigs) = args.parts();
    let args = &Args::new(buf, &spans[2..], bigs);
    let command = commands.get(commands.lookup(args).ok_or(Error::text("ERR Invalid command specified"))?);
    if command.keys.iter().all(|spec| spec.access.has(KeyAccess::NOT_KEY)) {
        return Err(Error::text("ERR The command has no key arguments"));
    }
    if !command.takes(args.len()) {
        return Err(Error::text("ERR Invalid number of arguments specified for command"));
    }
    let found: Vec<(usize, KeyAccess)> = match keys::keys(command, args) {
        Ok(keys) => keys.collect(),
        Err(keys::InvalidKeys) => Vec::new(),
    };
    if found.is_empty() && !command.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(Error::text("ERR Invalid arguments specified for command"));
    }
    out.array(found.len());
    for (index, access) in found {
        match detail {
            Detail::Keys => out.bulk(args.get(index)),
            Detail::KeysAndFlags => {
                out.array(2);
                out.bulk(args.get(index));
                write_names(access.names(), out);
            }
        }
    }
    Ok(())
}

/// A set of status replies.
fn write_names<'n>(names: impl Iterator<Item = &'n str>, out: &mut Writer<'_>) {
    let names: Vec<&str> = names.collect();
    out.set(names.len());
    names.into_iter().for_each(|name| out.simple(name));
}

fn write_info(commands: &Commands, id: CommandId, out: &mut Writer<'_>) {
    let command = commands.get(id);
    out.array(10);
    out.bulk_str(commands.full_name(id));
    out.int(command.arity as i64);
    write_names(command.flags.names(), out);
    let (first, last, step) = command.legacy_key_range();
    out.int(first);
    out.int(last);
    out.int(step);
    let categories: Vec<String> = command.categories().names().map(|name| format!("@{name}")).collect();
    write_names(categories.iter().map(String::as_str), out);
    out.set(command.tips.len());
    command.tips.iter().for_each(|tip| out.bulk_str(tip));
    out.set(command.keys.len());
    command.keys.iter().for_each(|spec| write_key_spec(spec, out));
    let subcommands = commands.subcommands(id);
    if subcommands.len() == 0 {
        return out.set(0);
    }
    out.array(subcommands.len());
    subcommands.for_each(|sub| write_info(commands, sub, out));
}

fn write_key_spec(spec: &KeySpec, out: &mut Writer<'_>) {
    out.map(3 + spec.notes.is_some() as usize);
    if let Some(notes) = spec.notes {
        out.bulk_str("notes");
        out.bulk_str(notes);
    }
    out.bulk_str("flags");
    write_names(spec.access.names(), out);
    out.bulk_str("begin_search");
    match spec.begin {
        BeginSearch::Index(index) => write_search("index", &[("index", index as i64)], None, out),
        BeginSearch::Keyword(word, from) => write_search("keyword", &[("startfrom", from as i64)], Some(word), out),
        BeginSearch::Unknown | BeginSearch::SortStore => write_search("unknown", &[], None, out),
    }
    out.bulk_str("find_keys");
    match spec.find {
        FindKeys::Range { last, step, limit } => {
            let fields = [("lastkey", last as i64), ("keystep", step as i64), ("limit", limit as i64)];
            write_search("range", &fields, None, out);
        }
        FindKeys::Counted { count, first, step } => {
            let fields = [("keynumidx", count as i64), ("firstkey", first as i64), ("keystep", step as i64)];
            write_search("keynum", &fields, None, out);
        }
        FindKeys::Unknown => write_search("unknown", &[], None, out),
    }
}

fn write_search(kind: &str, fields: &[(&str, i64)], keyword: Option<&str>, out: &mut Writer<'_>) {
    out.map(2);
    out.bulk_str("type");
    out.bulk_str(kind);
    out.bulk_str("spec");
    out.map(fields.len() + keyword.is_some() as usize);
    if let Some(keyword) = keyword {
        out.bulk_str("keyword");
        out.bulk_str(keyword);
    }
    for (name, value) in fields {
        out.bulk_str(name);
        out.int(*value);
    }
}

fn write_docs(commands: &Commands, id: CommandId, out: &mut Writer<'_>) {
    let command = commands.get(id);
    let mut doc_flags = Vec::new();
    if command.deprecated.is_some() {
        doc_flags.push("deprecated");
    }
    if command.flags.has(Flags::SYSCMD) {
        doc_flags.push("syscmd");
    }
    let arguments = syntax::arguments(command);
    let subcommands = commands.subcommands(id);
    let mut fields = vec![("summary", command.summary), ("since", command.since), ("group", command.group.name())];
    if !command.complexity.is_empty() {
        fields.push(("complexity", command.complexity));
    }
    let deprecation = command.deprecated.map_or(0, |_| 2);
    let present = [!doc_flags.is_empty(), !arguments.is_empty(), subcommands.len() > 0];
    out.map(fields.len() + deprecation + present.into_iter().filter(|present| *present).count());
    for (name, value) in fields {
        write_field(name, value, out);
    }
    if !doc_flags.is_empty() {
        out.bulk_str("doc_flags");
        write_names(doc_flags.into_iter(), out);
    }
    if let Some(deprecated) = command.deprecated {
        write_field("deprecated_since", deprecated.since, out);
        write_field("replaced_by", deprecated.replaced_by, out);
    }
    if !arguments.is_empty() {
        out.bulk_str("arguments");
        write_arguments(&arguments, out);
    }
    if subcommands.len() > 0 {
        out.bulk_str("subcommands");
        out.map(subcommands.len());
        for sub in subcommands {
            out.bulk_str(commands.full_name(sub));
            write_docs(commands, sub, out);
        }
    }
}

fn write_field(name: &str, value: &str, out: &mut Writer<'_>) {
    out.bulk_str(name);
    out.bulk_str(value);
}

fn write_arguments(arguments: &[Argument], out: &mut Writer<'_>) {
    out.array(arguments.len());
    arguments.iter().for_each(|argument| write_argument(argument, out));
}

fn write_argument(argument: &Argument, out: &mut Writer<'_>) {
    let mut flags = Vec::new();
    if argument.optional {
        flags.push("optional");
    }
    match argument.repeat {
        Repeat::Once => {}
        Repeat::Values => flags.push("multiple"),
        Repeat::TokenAndValues => flags.extend(["multiple", "multiple_token"]),
    }
    // Name, type, and either the text to display or the arguments of the group.
    let present = [argument.key_spec.is_some(), argument.token.is_some(), !flags.is_empty()];
    out.map(3 + present.into_iter().filter(|present| *present).count());
    write_field("name", &argument.name, out);
    write_field("type", argument.kind.name(), out);
    if !argument.kind.is_group() {
        write_field("display_text", &argument.display, out);
    }
    if let Some(spec) = argument.key_spec {
        out.bulk_str("key_spec_index");
        out.int(spec as i64);
    }
    if let Some(token) = argument.token {
        write_field("token", token, out);
    }
    if !flags.is_empty() {
        out.bulk_str("flags");
        write_names(flags.into_iter(), out);
    }
    if argument.kind.is_group() {
        out.bulk_str("arguments");
        write_arguments(&argument.arguments, out);
    }
}

/// The HELP of a container, in Redis's form: a line that names the container, two a subcommand, HELP last.
pub fn help(container: &Command) -> Vec<String> {
    let name = container.name.to_ascii_uppercase();
    let mut lines = vec![format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    if !matches!(container.handler, Handler::Container) {
        lines.extend(["(no subcommand)".to_owned(), format!("    {}", container.summary)]);
    }
    let is_help = |sub: &&Command| sub.name == "help";
    let (own, help): (Vec<&Command>, Vec<&Command>) = container.subcommands.iter().partition(|sub| !is_help(sub));
    for sub in own.into_iter().chain(help) {
        lines.push(format!("{} {}", sub.name.to_ascii_uppercase(), sub.syntax).trim_end().to_owned());
        lines.push(format!("    {}", sub.summary));
    }
    lines
}

/// Replies with the HELP of a container.
pub fn write_help(container: &Command, out: &mut Writer<'_>) {
    let lines = help(container);
    out.array(lines.len());
    lines.iter().for_each(|line| out.simple(line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Out, OwnedArgs, Proto};

    /// The reply to a COMMAND, line breaks as spaces.
    fn ask_of(commands: &Commands, line: &str, proto: Proto) -> String {
        let args: OwnedArgs = line.split(' ').collect();
        let args = args.args();
        let mut out = Out::default();
        let mut writer = Writer::new(&mut out, proto);
        let (id, _) = commands.resolve(&args).expect(line);
        if let Err(error) = execute(commands, id, &args, &mut writer) {
            writer.error(error.message());
        }
        assert!(out.attached.is_empty());
        String::from_utf8(out.buf).expect("text").replace("\r\n", " ").trim_end().to_owned()
    }

    fn ask(line: &str) -> String {
        ask_of(&Commands::new(), line, Proto::Resp2)
    }

    fn ask3(line: &str) -> String {
        ask_of(&Commands::new(), line, Proto::Resp3)
    }

    #[test]
    fn info_in_both_protocols() {
        assert_eq!(
            ask("command info TTL"),
            "*1 *10 $3 ttl :2 *2 +readonly +fast :1 :1 :1 *3 +@keyspace +@read +@fast *1 $23 nondeterministic_output *1 *6 $5 flags \
             *2 +RO +access $12 begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 $9 find_keys *4 $4 type $5 range $4 spec *6 \
             $7 lastkey :0 $7 keystep :1 $5 limit :0 *0"
        );
        assert_eq!(
            ask3("command info ttl"),
            "*1 *10 $3 ttl :2 ~2 +readonly +fast :1 :1 :1 ~3 +@keyspace +@read +@fast ~1 $23 nondeterministic_output ~1 %3 $5 flags \
             ~2 +RO +access $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :1 $9 find_keys %2 $4 type $5 range $4 spec %3 \
             $7 lastkey :0 $7 keystep :1 $5 limit :0 ~0"
        );
        assert_eq!(
            ask("command info config|get foo client|"),
            "*3 *10 $10 config|get :-3 *4 +admin +noscript +loading +stale :0 :0 :0 *3 +@admin +@slow +@dangerous *0 *0 *0 $-1 $-1"
        );
        assert!(ask3("command info slowlog").starts_with(
            "*1 *10 $7 slowlog :-2 ~0 :0 :0 :0 ~1 +@slow ~0 ~0 *4 *10 $11 slowlog|get :-2 ~3 +admin +loading +stale :0"
        ));
        assert!(ask3("command info set").contains("~1 %4 $5 notes $"));
        assert_eq!(ask3("command info foo"), "*1 _");
    }

    #[test]
    fn docs_in_both_protocols() {
        let summary = "Returns the seconds that a key has left to live.";
        assert_eq!(
            ask("command docs ttl nosuch"),
            format!(
                "*2 $3 ttl *10 $7 summary ${} {summary} $5 since $5 1.0.0 $5 group $7 generic $10 complexity $4 O(1) $9 arguments \
                 *1 *8 $4 name $3 key $4 type $3 key $12 display_text $3 key $14 key_spec_index :0",
                summary.len()
            )
        );
        let getset = ask3("command docs getset");
        assert!(getset.starts_with("%1 $6 getset %8 $7 summary $"), "{getset}");
        assert!(
            getset.contains(
                "$10 complexity $4 O(1) $9 doc_flags ~1 +deprecated $16 deprecated_since $5 6.2.0 $11 replaced_by $30 `SET` with the `!GET` argument $9 arguments *2 %4 $4 name $3 key"
            ),
            "{getset}"
        );
        let samples = "%5 $4 name $5 count $4 type $7 integer $12 display_text $5 count $5 token $7 SAMPLES $5 flags ~1 +optional";
        assert!(ask3("command docs memory|usage").ends_with(samples));
        assert!(ask3("command docs object").contains("$11 subcommands %5 $15 object|encoding %5 $7 summary"));
        assert!(ask("command docs debug").contains("$9 doc_flags *1 +syscmd"));
        assert!(ask("command docs mget").ends_with("$14 key_spec_index :0 $5 flags *1 +multiple"));
        assert_eq!(ask3("command docs nosuch"), "%0");
    }

    #[test]
    fn list_and_its_filters() {
        let all = ask("command list");
        assert!(all.starts_with(&format!("*{} ", Commands::new().count())));
        assert!(all.contains("$11 client|kill"));
        assert_eq!(ask("command list filterby pattern STRLE*"), "*1 $6 strlen");
        assert_eq!(ask("command list filterby pattern memory|p*"), "*1 $12 memory|purge");
        assert_eq!(ask("command list FILTERBY aclcat nosuch"), "*0");
        assert_eq!(ask("command list filterby aclcat @read"), "*0");
        assert_eq!(ask("command list filterby module x"), "*0");
        let dangerous = ask("command list filterby ACLCAT Dangerous");
        assert!(
            dangerous.contains("$4 keys") && dangerous.contains("$11 client|kill") && !dangerous.contains("$3 get"),
            "{dangerous}"
        );
        for line in [
            "command list x",
            "command list filterby aclcat",
            "command list filterby x y",
            "command list filterby module x y",
        ] {
            assert_eq!(ask(line), "-ERR syntax error", "{line}");
        }
    }

    #[test]
    fn keys_of_a_command_line() {
        assert_eq!(ask("command getkeys MSET a 1 b 2"), "*2 $1 a $1 b");
        assert_eq!(ask("command getkeys object encoding k"), "*1 $1 k");
        assert_eq!(ask("command getkeysandflags ttl a"), "*1 *2 $1 a *2 +RO +access");
        assert_eq!(ask3("command getkeysandflags set a b get"), "*1 *2 $1 a ~3 +RW +access +update");
        assert_eq!(
            ask("command getkeysandflags rename a b"),
            "*2 *2 $1 a *3 +RW +access +delete *2 $1 b *2 +OW +update"
        );
        for line in ["command getkeys foo", "command getkeys object foo k", "command getkeys get|x a"] {
            assert_eq!(ask(line), "-ERR Invalid command specified", "{line}");
        }
        for line in ["command getkeys ping", "command getkeys client kill", "command getkeys client"] {
            assert_eq!(ask(line), "-ERR The command has no key arguments", "{line}");
        }
        for line in
            ["command getkeys get", "command getkeys get a b", "command getkeys mset a", "command getkeys bitop and a"]
        {
            assert_eq!(ask(line), "-ERR Invalid number of arguments specified for command", "{line}");
        }
    }

    #[test]
    fn renamed_commands_keep_their_own_name() {
        let mut commands = Commands::new();
        assert_eq!(commands.rename(b"get", b"fetch"), Ok(()));
        assert_eq!(commands.rename(b"del", b""), Ok(()));
        assert_eq!(ask_of(&commands, "command info get del", Proto::Resp2), "*2 $-1 $-1");
        assert!(ask_of(&commands, "command info fetch", Proto::Resp2).starts_with("*1 *10 $3 get :2"));
        let count = Commands::new().named().len();
        assert_eq!(ask("command count"), format!(":{count}"));
        assert_eq!(ask_of(&commands, "command count", Proto::Resp2), format!(":{}", count - 1));
        assert!(ask_of(&commands, "command", Proto::Resp2).starts_with(&format!("*{} *10 ", count - 1)));
        assert_eq!(ask("command info"), ask("command"));
    }

    #[test]
    fn help_of_containers() {
        let slowlog = help(super::super::table::find("slowlog").expect("slowlog"));
        assert_eq!(
            slowlog,
            [
                "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "GET [count]",
                "    Returns the latest slow commands.",
                "LEN",
                "    Counts the entries of the slow log.",
                "RESET",
                "    Empties the slow log.",
                "HELP",
                "    Print this help.",
            ]
        );
        let command = help(super::super::table::find("command").expect("command"));
        assert_eq!(command.len(), 17);
        assert_eq!(command[1], "(no subcommand)");
        let mut out = Out::default();
        write_help(super::super::table::find("command").expect("command"), &mut Writer::new(&mut out, Proto::Resp2));
        assert!(out.buf.starts_with(b"*17\r\n+COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n"));
        assert!(out.buf.ends_with(b"+HELP\r\n+    Print this help.\r\n"));
    }
}
