//! The directive table as Markdown: what a directive does in tables, what has no effect in lists.

use super::table::{self, Change, Directive, Feature};

/// How the doc of a directive begins that nothing acts on.
const NO_EFFECT: &str = "No effect";

/// All directives, by feature: those that do something first, then those that are only accepted.
pub fn markdown() -> String {
    let mut text = String::new();
    for feature in Feature::ALL {
        let rows: Vec<&Directive> = of(feature).filter(|directive| directive.is_documented_in_full()).collect();
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
    text.push_str("### Accepted where they switch nothing on\n\n");
    text.push_str("| directive | values | default | can change | |\n|---|---|---|---|---|\n");
    for directive in Feature::ALL.into_iter().flat_map(of).filter(|directive| directive.is_absent()) {
        text.push_str(&row(directive));
    }
    text.push_str("\n### Accepted without effect\n\n");
    for feature in Feature::ALL {
        let names: Vec<String> = of(feature).filter(|directive| directive.has_no_effect()).map(names).collect();
        if !names.is_empty() {
            text.push_str(&format!("- {}: {}\n", feature.title(), names.join(", ")));
        }
    }
    text
}

fn of(feature: Feature) -> impl Iterator<Item = &'static Directive> {
    table::all().filter(move |directive| directive.feature == feature)
}

impl Directive {
    /// Whether a value of it changes nothing, and its documentation says so.
    pub fn has_no_effect(&self) -> bool {
        self.doc.starts_with(NO_EFFECT)
    }

    fn is_documented_in_full(&self) -> bool {
        !self.is_absent() && !self.has_no_effect()
    }
}

/// The name, and the aliases behind it.
fn names(directive: &Directive) -> String {
    let names: Vec<String> = directive.names().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn row(directive: &Directive) -> String {
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
        true => ("only the default".to_owned(), format!("More needs {}: not there.", directive.doc)),
        false => (directive.kind.allowed(), directive.doc.to_owned()),
    };
    // A bar would end the cell.
    let values = values.replace('|', "\\|");
    format!("| {} | {values} | {default} | {change} | {doc} |\n", names(directive))
}
