//! The words of the schema complaints, and the small grammars behind them.

use serde_json::{Number, Value};

/// A value's type; `undefined` for an absent one.
pub(super) fn type_name(value: Option<&Value>) -> &'static str {
    match value {
        None => "undefined",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    }
}

/// Whether `literal`, a JSON text, is `value`.
pub(super) fn equals_literal(literal: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => {
            literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(text)
        }
        other => {
            let text = other.to_string();
            literal == text
        }
    }
}

/// The complaint if `number` breaks `bound`, for example `>=1`.
pub(super) fn number_bound(bound: &str, number: f64) -> Option<String> {
    let (side, digits) = split_bound(bound)?;
    let limit: f64 = digits.parse().ok()?;
    let (broken, word) = match side {
        ">=" => (number < limit, "small"),
        ">" => (number <= limit, "small"),
        "<=" => (number > limit, "big"),
        _ => (number >= limit, "big"),
    };
    broken.then(|| format!("Too {word}: expected number to be {side}{digits}"))
}

/// The complaint if a text breaks `bound`: a length, `/pattern/` or `format=uri`.
pub(super) fn string_bound(bound: &str, found: &str) -> Option<String> {
    if let Some(length) = bound.strip_prefix("len") {
        return count_bound(length, found.encode_utf16().count(), "string", "characters");
    }
    if bound == "format=uri" {
        return (!is_url(found)).then(|| "Invalid URL".to_owned());
    }
    let pattern = bound.strip_prefix('/')?.strip_suffix('/')?;
    (!matches_pattern(pattern, found)).then(|| match pattern {
        "^#?[0-9a-fA-F]{6}$" => "expected hex color (RRGGBB)".to_owned(),
        _ => format!("Invalid string: must match pattern /{pattern}/"),
    })
}

/// The complaint if an array of `length` items breaks `bound`, `items>=1`.
pub(super) fn array_bound(bound: &str, length: usize) -> Option<String> {
    count_bound(bound.strip_prefix("items")?, length, "array", "items")
}

/// Part of the contract: the text for a number that JavaScript would round.
pub(super) fn discord_id(id: &Number) -> String {
    let shown = id.as_f64().map_or_else(|| id.to_string(), |value| format!("{value}"));
    format!(
        "Discord ID \"{}\" is not a valid non-negative safe integer. Wrap it in quotes in your config file.",
        rounded(&shown)
    )
}

/// JavaScript prints at most 17 significant digits and pads with zeros.
fn rounded(digits: &str) -> String {
    let Ok(value) = digits.parse::<f64>() else { return digits.to_owned() };
    let short = format!("{value:e}");
    let Some((mantissa, exponent)) = short.split_once('e') else { return digits.to_owned() };
    let Ok(exponent) = exponent.parse::<usize>() else { return digits.to_owned() };
    if exponent > 20 {
        return digits.to_owned();
    }
    let (sign, mantissa) =
        mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let significant = mantissa.replace('.', "");
    let zeros = (exponent + 1).saturating_sub(significant.len());
    format!("{sign}{significant}{}", "0".repeat(zeros))
}

fn count_bound(bound: &str, count: usize, what: &str, of: &str) -> Option<String> {
    let (side, digits) = split_bound(bound)?;
    let limit: usize = digits.parse().ok()?;
    let (broken, word) =
        if side == ">=" { (count < limit, "small") } else { (count > limit, "big") };
    broken.then(|| format!("Too {word}: expected {what} to have {side}{limit} {of}"))
}

fn split_bound(bound: &str) -> Option<(&str, &str)> {
    [">=", "<=", ">", "<"]
        .into_iter()
        .find_map(|side| bound.strip_prefix(side).map(|digits| (side, digits)))
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.trim().split_once(':') else { return false };
    let scheme_ok = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'));
    let web = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https" | "ws" | "wss");
    let host = rest.trim_start_matches('/');
    scheme_ok && (!web || !host.is_empty()) && !text.trim().contains(char::is_whitespace)
}

/// The few patterns of the table, each written out.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let all = |rest: &str, fits: fn(u8) -> bool| rest.bytes().all(fits);
    match pattern {
        "^#?[0-9a-fA-F]{6}$" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            digits.len() == 6 && all(digits, |byte| byte.is_ascii_hexdigit())
        }
        "^[A-Z][A-Z0-9_]{0,127}$" => is_env_name(text),
        "^[a-z][a-z0-9_-]{0,63}$" => is_alias(text),
        r"^\+[1-9]\d{1,14}$" => text.strip_prefix('+').is_some_and(|digits| {
            (2..=15).contains(&digits.len())
                && !digits.starts_with('0')
                && all(digits, |byte| byte.is_ascii_digit())
        }),
        "^[Hh][Tt][Tt][Pp][Ss]?://" => {
            let lower = text.to_ascii_lowercase();
            lower.starts_with("http://") || lower.starts_with("https://")
        }
        r"^https:\/\/.*" => text.starts_with("https://"),
        _ => true,
    }
}

/// An upper-case environment variable name of at most 128 characters.
pub fn is_env_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A secret provider's name as references spell it.
pub fn is_alias(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_shown_as_javascript_rounds_it() {
        let id = Number::from(123_456_789_012_345_678_u64);
        assert!(discord_id(&id).contains("\"123456789012345680\""));
    }

    #[test]
    fn every_pattern_of_the_table_is_written_out() {
        for line in include_str!("../schema/paths.tsv").lines() {
            let bounds = line.trim_start().split('\t').nth(2).unwrap_or_default();
            for pattern in bounds.split(' ').filter(|bound| bound.starts_with('/')) {
                let pattern = pattern.trim_start_matches('/').strip_suffix('/').unwrap();
                assert!(!matches_pattern(pattern, "\u{0}"), "{pattern} is not checked");
            }
        }
    }
}
