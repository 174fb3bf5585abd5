//! Percent-decoding of path segments.

use std::borrow::Cow;

/// Decodes once; `None` when an escape or the UTF-8 behind it is broken.
pub fn decoded(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            out.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// A path with its `.` and `..` segments worked out, as URL parsers do.
pub fn normalized(path: &str) -> Cow<'_, str> {
    let is_dot = |part: &str| part == "." || part == "..";
    if !path.split('/').any(is_dot) {
        return Cow::Borrowed(path);
    }
    let mut parts: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for part in path.split('/').skip(1) {
        ends_open = is_dot(part);
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    if ends_open {
        parts.push("");
    }
    Cow::Owned(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_or_refused() {
        let cases = [
            ("openclaw", Some("openclaw")),
            ("openclaw%2Fdefault", Some("openclaw/default")),
            ("a%252F", Some("a%2F")),
            ("%E0%A4%A", None),
            ("%", None),
            ("%+1", None),
            ("%ff", None),
        ];
        for (raw, expected) in cases {
            assert_eq!(decoded(raw).as_deref(), expected, "{raw}");
        }
    }

    #[test]
    fn dot_segments_are_worked_out_and_never_lead_above_the_root() {
        let cases = [
            ("/v1/models/../models", "/v1/models"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/b", "/a/b"),
        ];
        for (path, expected) in cases {
            assert_eq!(normalized(path), expected, "{path}");
        }
    }
}
