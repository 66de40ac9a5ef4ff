//! The text of `proc-title-template`: `{variable}` is replaced, `{{` stands for a brace.

/// The variables that a process title may name.
pub const VARIABLES: [&str; 7] =
    ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];

/// `template` with each variable replaced by what `value` gives for it; `None` when it is malformed or names a variable
/// that `value` does not know.
pub fn expand(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        if let Some(behind) = behind.strip_prefix('{') {
            text.push('{');
            rest = behind;
            continue;
        }
        let (name, behind) = behind.split_once('}')?;
        text.push_str(&value(name)?);
        rest = behind;
    }
    text.push_str(rest);
    Some(text)
}

/// Whether `template` is well formed and names only known variables.
pub fn is_valid(template: &str) -> bool {
    expand(template, |name| VARIABLES.contains(&name).then(String::new)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_variables_and_braces() {
        let value = |name: &str| (name == "port").then(|| "6379".to_owned());
        assert_eq!(expand("a {port} {{b", value).as_deref(), Some("a 6379 {b"));
        assert_eq!(expand("{host}", value), None);
        assert_eq!(expand("{port", value), None);
        assert!(is_valid("{title} {listen-addr} {server-mode}") && is_valid("{{}}") && !is_valid("{x}"));
    }
}
