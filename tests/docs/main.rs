//! The documents say what the code says. Their tables stand between marker comments and are made here from the tables of the
//! code; a document that differs fails its test. `env BASALT_WRITE_DOCS=1 cargo test --test docs` writes the tables anew.

mod commands;
mod limits;

use std::fs;
use std::path::{Path, PathBuf};

use basalt::config::{document, table};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `text` with `content` between the markers `<!-- name -->` and `<!-- /name -->`.
fn with_part(text: &str, name: &str, content: &str) -> Result<String, String> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&open).ok_or(format!("no {open}"))?;
    let (_, after) = rest.split_once(&close).ok_or(format!("no {close}"))?;
    Ok(format!("{before}{open}\n{}\n\n{close}{after}", content.trim()))
}

/// Fails when a part of a document is not what the code says, or writes it, when asked to.
fn check(file: &str, parts: &[(&str, String)]) {
    let path = root().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut wanted = text.clone();
    for (name, content) in parts {
        wanted = with_part(&wanted, name, content).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    if std::env::var_os("BASALT_WRITE_DOCS").is_some() {
        fs::write(&path, wanted).unwrap_or_else(|error| panic!("{file}: {error}"));
    } else if let Some((is, should_be)) = text.lines().zip(wanted.lines()).find(|(is, should_be)| is != should_be) {
        panic!("{file} differs from the code; env BASALT_WRITE_DOCS=1 cargo test --test docs\n- {is}\n+ {should_be}");
    } else {
        assert!(text == wanted, "{file} is cut short; env BASALT_WRITE_DOCS=1 cargo test --test docs");
    }
}

#[test]
fn the_readme_is_up_to_date() {
    check(
        "README.md",
        &[("commands", commands::markdown()), ("limits", limits::of_a_node()), ("directives", document::markdown())],
    );
}

#[test]
fn the_notes_are_up_to_date() {
    check("io_uring-notes.md", &[("limits", limits::of_the_runtime())]);
}

#[test]
fn parts_are_replaced_between_their_markers() {
    let text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
    assert_eq!(with_part(text, "x", "new\n").unwrap(), "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n");
    assert!(with_part(text, "y", "new").is_err());
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether `text` reads a field of that name of anything.
fn reads(text: &str, field: &str) -> bool {
    let access = format!(".{field}");
    let ends = |at: usize| !text[at..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(&access).any(|(at, _)| ends(at + access.len()))
}

/// A directive that nothing reads must not be documented as if something did, and the other way round.
#[test]
fn directives_without_effect_say_so() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    files.retain(|path| !path.ends_with("config/tests.rs"));
    let text: String = files.iter().map(|path| fs::read_to_string(path).expect("a source")).collect();
    for directive in table::all().filter(|directive| directive.has_value() && !directive.is_absent()) {
        let is_read = reads(&text, &directive.name.replace('-', "_"));
        assert_eq!(!is_read, directive.has_no_effect(), "{}: {}", directive.name, directive.doc);
    }
}
