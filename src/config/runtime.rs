//! CONFIG GET and CONFIG SET, as functions of a configuration.

use std::collections::BTreeMap;

use super::directives::{Config, Origin};
use super::table::{self, Change, Directive};
use super::values::Reason;
use crate::types::glob::{self, Case};

/// A directive whose value CONFIG SET has changed.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    pub directive: &'static Directive,
}

/// The values of all directives whose name or alias matches one of the patterns, by name. Secrets are in clear.
pub fn get<P: AsRef<[u8]>>(config: &Config, patterns: &[P]) -> Vec<(String, String)> {
    let named = table::all().filter(|directive| directive.has_value());
    let named = named.flat_map(|directive| directive.names().map(move |name| (name, directive)));
    let asked = |name: &str| patterns.iter().find_map(|pattern| selects(pattern.as_ref(), name));
    let found: BTreeMap<_, _> = named.filter_map(|(name, directive)| Some((name, (asked(name)?, directive)))).collect();
    found.into_values().map(|(name, directive)| (name, directive.show(config))).collect()
}

/// What the directive is called in the answer to a pattern that selects it. Without a glob character a pattern is a name, repeated as
/// the client wrote it, and a backslash only a backslash.
fn selects(pattern: &[u8], name: &str) -> Option<String> {
    match pattern.iter().any(|byte| b"[*?".contains(byte)) {
        true => glob::matches(pattern, name.as_bytes(), Case::Insensitive).then(|| name.to_owned()),
        false => pattern.eq_ignore_ascii_case(name.as_bytes()).then(|| String::from_utf8_lossy(pattern).into_owned()),
    }
}

/// The configuration with all pairs set, and what that changed; or the error reply, and nothing is set. `origin` is where
/// the client is connected from: it decides about protected directives.
pub fn set<S: AsRef<[u8]>>(
    config: &Config,
    pairs: &[(S, S)],
    origin: Origin,
) -> Result<(Config, Vec<Changed>), String> {
    let directives = check_names(config, pairs, origin)?;
    let mut new = config.clone();
    for (directive, (name, value)) in directives.iter().zip(pairs) {
        let known = directive.names().find(|known| known.as_bytes().eq_ignore_ascii_case(name.as_ref()));
        assign(directive, &mut new, value.as_ref())
            .map_err(|reason| failure(known.unwrap_or(directive.name), &reason))?;
    }
    let changed = table::all().filter(|directive| directive.value(config) != directive.value(&new));
    let changed = changed.map(|directive| Changed { directive }).collect();
    Ok((new, changed))
}

/// All that can be wrong before any value is looked at; the first pair that is wrong is named, as the client wrote it.
fn check_names<S: AsRef<[u8]>>(
    config: &Config,
    pairs: &[(S, S)],
    origin: Origin,
) -> Result<Vec<&'static Directive>, String> {
    let mut directives = Vec::with_capacity(pairs.len());
    for (index, (name, _)) in pairs.iter().enumerate() {
        let shown = String::from_utf8_lossy(name.as_ref());
        let directive = table::find(&shown).filter(|directive| directive.has_value());
        let Some(directive) = directive else {
            return Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{shown}'"));
        };
        match directive.change {
            Change::Start => return Err(failure(&shown, "can't set immutable config")),
            Change::Protected if !Config::permits(config.enable_protected_configs, origin) => {
                return Err(failure(&shown, "can't set protected config"));
            }
            Change::Protected | Change::Runtime => {}
        }
        if pairs[..index].iter().any(|(earlier, _)| earlier.as_ref().eq_ignore_ascii_case(name.as_ref())) {
            return Err(failure(&shown, "duplicate parameter"));
        }
        directives.push(directive);
    }
    Ok(directives)
}

fn failure(name: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

fn assign(directive: &Directive, config: &mut Config, value: &[u8]) -> Result<(), Reason> {
    let value = std::str::from_utf8(value).map_err(|_| "argument must be valid UTF-8")?;
    let words: Vec<String> = match directive.kind.takes_several_words() {
        true if value.is_empty() => Vec::new(),
        true => value.split(' ').map(str::to_owned).collect(),
        false => vec![value.to_owned()],
    };
    directive.assign(config, &words)
}
