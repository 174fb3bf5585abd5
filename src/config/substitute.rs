//! `${VAR}` in configured strings.
//!
//! Only upper-case names are variables; `$${VAR}` stands for a literal
//! `${VAR}`. A missing variable leaves its text in place and is reported.

use serde_json::Value;

use crate::profile::env::Env;

/// A variable that had no value, and where it was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub name: String,
    /// Dotted, with `[i]` for array items.
    pub path: String,
}

/// Replaces the variables in every string below `value`.
pub fn substitute(value: &mut Value, env: &Env) -> Vec<Missing> {
    let mut missing = Vec::new();
    walk(value, env, &mut String::new(), &mut missing);
    missing
}

fn walk(value: &mut Value, env: &Env, path: &mut String, missing: &mut Vec<Missing>) {
    match value {
        Value::String(text) if text.contains('$') => {
            let replaced = expand(text, |name| {
                let found = env.raw(name).filter(|value| !value.is_empty()).map(str::to_owned);
                if found.is_none() {
                    missing.push(Missing { name: name.to_owned(), path: path.clone() });
                }
                found
            });
            *text = replaced;
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let length = path.len();
                path.push('[');
                path.push_str(&index.to_string());
                path.push(']');
                walk(item, env, path, missing);
                path.truncate(length);
            }
        }
        Value::Object(object) => {
            for (key, item) in object.iter_mut() {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                walk(item, env, path, missing);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Expands one string; `lookup` returning `None` keeps the text as it is.
fn expand(text: &str, mut lookup: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(name) = rest.strip_prefix('$').and_then(variable) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[..name.len() + 3]),
            }
            rest = &rest[name.len() + 3..];
        } else if let Some(name) = rest.strip_prefix("$$").and_then(variable) {
            out.push_str(&rest[1..name.len() + 4]);
            rest = &rest[name.len() + 4..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// The name in `{NAME}…`, if it is one.
fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.split_once('}')?.0;
    let first = name.bytes().next()?;
    let valid = (first.is_ascii_uppercase() || first == b'_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    valid.then_some(name)
}

/// The variable's name if the whole text is one `${NAME}`.
pub fn whole_variable(text: &str) -> Option<&str> {
    let name = variable(text.strip_prefix('$')?)?;
    (text.len() == name.len() + 3).then_some(name)
}

/// Whether the text mentions a variable anywhere.
pub fn mentions_variable(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| variable(&text[at + 1..]).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_upper_case_names_are_variables() {
        let env: Env = [("A", "1"), ("B_2", "two")].into_iter().collect();
        let mut value = json!({
            "many": "${A}-${B_2}", "lower": "${a}", "escaped": "$${A} $5 $$", "open": "${A",
            "list": ["x", "${NOPE}/y"]
        });
        let missing = substitute(&mut value, &env);
        assert_eq!(
            value,
            json!({
                "many": "1-two", "lower": "${a}", "escaped": "${A} $5 $$", "open": "${A",
                "list": ["x", "${NOPE}/y"]
            })
        );
        assert_eq!(missing, [Missing { name: "NOPE".into(), path: "list[1]".into() }]);
    }
}
