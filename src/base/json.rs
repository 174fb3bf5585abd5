//! What JavaScript peers expect of JSON that `serde_json` does not do.

use serde_json::{Number, Value};

/// Rewrites `3.0` and `1e3` as integers, everywhere in `value`.
///
/// JavaScript has one kind of number; readers here ask for `as_u64`.
pub fn make_whole_numbers_integers(value: &mut Value) {
    /// Above it JavaScript cannot tell neighbours apart.
    const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            if float.fract() == 0.0 && float.abs() <= MAX_SAFE {
                #[expect(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
                let whole = float as i64;
                *number = Number::from(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole_numbers_integers),
        Value::Object(entries) => entries.values_mut().for_each(make_whole_numbers_integers),
        _ => {}
    }
}

/// Replaces escaped lone surrogates (`\ud800`) by U+FFFD.
///
/// JavaScript can emit them when a string was cut inside an emoji; `serde_json`
/// refuses the whole document. Returns `None` when the text has none.
pub fn without_lone_surrogates(text: &str) -> Option<String> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return None;
    }
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        let Some(unit) = escaped_unit(bytes, at) else {
            at += 2;
            continue;
        };
        let paired = (0xD800..0xDC00).contains(&unit)
            && escaped_unit(bytes, at + 6).is_some_and(|low| (0xDC00..0xE000).contains(&low));
        if paired {
            at += 12;
        } else if (0xD800..0xE000).contains(&unit) {
            out.push_str(&text[copied..at]);
            out.push_str("\\ufffd");
            at += 6;
            copied = at;
            changed = true;
        } else {
            at += 6;
        }
    }
    out.push_str(&text[copied..]);
    changed.then_some(out)
}

/// The UTF-16 unit written as `\uXXXX` at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    if !escape.starts_with(b"\\u") {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_floats_become_integers() {
        let mut value = json!({"a": [3.0, 1e3, 2.5, 1e300], "b": 7});
        make_whole_numbers_integers(&mut value);
        assert_eq!(value["a"][0].as_u64(), Some(3));
        assert_eq!(value["a"][1].as_u64(), Some(1000));
        assert_eq!(value["a"][2].as_f64(), Some(2.5));
        assert_eq!(value["a"][3].as_f64(), Some(1e300));
        assert_eq!(value["b"].as_u64(), Some(7));
    }

    #[test]
    fn only_lone_surrogates_are_replaced() {
        let cases = [
            (r#""plain""#, None),
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud800""#, None),
            (r#""a\ud83d""#, Some(r#""a\ufffd""#)),
            (r#""\ude00\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
        ];
        for (input, expected) in cases {
            assert_eq!(without_lone_surrogates(input).as_deref(), expected, "{input}");
        }
    }
}
