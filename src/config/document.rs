//! The directive table as Markdown.

use super::table::{self, Change, Directive, Feature};

/// One table a feature, with all directives of it.
pub fn markdown() -> String {
    let mut text = String::new();
    for feature in Feature::ALL {
        let rows: Vec<&Directive> = table::all().filter(|directive| directive.feature == feature).collect();
        if rows.is_empty() {
            continue;
        }
        text.push_str(&format!("### {}\n\n", feature.title()));
        text.push_str("| directive | values | default | can change | |\n|---|---|---|---|---|\n");
        for directive in rows {
            text.push_str(&row(directive));
        }
        text.push('\n');
    }
    text
}

fn row(directive: &Directive) -> String {
    let names: Vec<String> = directive.names().map(|name| format!("`{name}`")).collect();
    let default = match (directive.has_value(), directive.default) {
        (false, _) => String::new(),
        (true, "") => "`\"\"`".to_owned(),
        (true, default) => format!("`{default}`"),
    };
    let change = match directive.change {
        _ if !directive.has_value() => "",
        Change::Runtime => "at run time",
        Change::Protected => "at run time, if enabled",
        Change::Start => "at start",
    };
    let (values, doc) = match directive.is_absent() {
        true => ("only the default".to_owned(), format!("Not there yet: {}.", directive.doc)),
        false => (directive.kind.allowed(), directive.doc.to_owned()),
    };
    // A bar would end the cell.
    let values = values.replace('|', "\\|");
    format!("| {} | {values} | {default} | {change} | {doc} |\n", names.join(", "))
}
