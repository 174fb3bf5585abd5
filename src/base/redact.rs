//! Hiding tokens in text that people or log files get to see.
//!
//! Works on words, not on patterns: a word is hidden when it looks like a key
//! that a known service issues, when it follows `Bearer`, or when it is the
//! value of a name that says what it is (`token=…`, `"apiKey": "…"`,
//! `--password …`).

use std::borrow::Cow;

/// What stands where a short secret was.
const MASK: &str = "***";

/// Beginnings of keys that services issue.
const ISSUED: &[&str] = &[
    "sk-",
    "sk_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "xoxc-",
    "xoxd-",
    "xapp-",
    "gsk_",
    "AIza",
    "AKIA",
    "ya29.",
    "pplx-",
    "npm_",
    "glpat-",
    "hf_",
    "rk_live_",
    "whsec_",
    "shpat_",
    "SG.",
    "eyJ",
];

/// Names whose values are secret, without `-` and `_`, lower case.
const NAMES: &[&str] = &[
    "token",
    "apikey",
    "secret",
    "password",
    "passwd",
    "authorization",
    "privatekey",
    "accesskey",
    "passphrase",
    "cookie",
];

/// How the last line of the head of a private key ends.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// Hides what looks like a secret. Borrows when there is nothing to hide.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let (mut secret_next, mut bot_next) = (false, false);
    for (start, word, separator) in words(text) {
        let whole = (secret_next && is_value(word)).then_some((0, word));
        if let Some((at, hidden)) = whole.or_else(|| issued_in(word, bot_next)) {
            out.push_str(&text[copied..start + at]);
            push_masked(&mut out, hidden);
            copied = start + at + hidden.len();
            secret_next = false;
        } else {
            secret_next = names_a_secret(word, separator, secret_next);
        }
        bot_next = names_a_bot(word, separator);
    }
    if let Some(begin) = text.find(PRIVATE_KEY) {
        return Cow::Owned(without_pem(text, begin));
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Whether [`redact`] would change the text.
pub fn hides_something(text: &str) -> bool {
    matches!(redact(text), Cow::Owned(_))
}

/// The text without these values, wherever they stand in it. Short ones occur by
/// chance and stay.
pub fn without<'t, 's>(text: &'t str, values: impl IntoIterator<Item = &'s str>) -> Cow<'t, str> {
    const SHORTEST: usize = 8;
    let mut clean = Cow::Borrowed(text);
    for value in values.into_iter().filter(|value| value.len() >= SHORTEST) {
        if clean.contains(value) {
            clean = Cow::Owned(clean.replace(value, MASK));
        }
    }
    clean
}

/// Keys in the text whose shape says which service issued them.
pub fn issued(text: &str) -> Vec<&str> {
    let mut bot_next = false;
    let mut found = Vec::new();
    for (_, word, separator) in words(text) {
        found.extend(issued_in(word, bot_next).map(|(_, key)| key));
        bot_next = names_a_bot(word, separator);
    }
    found
}

/// Whether the text holds a private key in PEM.
pub fn holds_private_key(text: &str) -> bool {
    text.contains(PRIVATE_KEY)
}

/// Words of `text` with their byte offset and the separators that follow.
fn words(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let skip = rest.find(is_word_char)?;
        let start = at + skip;
        let len = text[start..].find(|c| !is_word_char(c)).unwrap_or(text.len() - start);
        let end = start + len;
        let gap = text[end..].find(is_word_char).unwrap_or(text.len() - end);
        at = end;
        Some((start, &text[start..end], &text[end..end + gap]))
    })
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '~')
}

/// The issued key in a word, which may be a path, and where it begins there.
fn issued_in(word: &str, after_bot: bool) -> Option<(usize, &str)> {
    const BOT_SECRET: usize = 30;
    let mut at = 0;
    for (index, part) in word.split('/').enumerate() {
        let is_bots = after_bot
            && index == 0
            && part.len() >= BOT_SECRET
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if is_bots || looks_issued(part) {
            return Some((at, part));
        }
        at += part.len() + 1;
    }
    None
}

fn looks_issued(word: &str) -> bool {
    word.len() >= 16 && ISSUED.iter().any(|prefix| word.starts_with(prefix))
}

/// Whether the next word may be the secret half of a bot's token (`123456:…`).
fn names_a_bot(word: &str, separator: &str) -> bool {
    const DIGITS: usize = 6;
    separator == ":" && word.bytes().rev().take_while(u8::is_ascii_digit).count() >= DIGITS
}

/// A value worth hiding: not a number, a switch or a reason code.
fn is_value(word: &str) -> bool {
    word.len() >= 6
        && !matches!(
            word.to_ascii_lowercase().as_str(),
            "bearer" | "missing" | "mismatch" | "required" | "undefined" | "rotated" | "revoked"
        )
}

/// Whether the next word is the value of a secret's name.
fn names_a_secret(word: &str, separator: &str, after_name: bool) -> bool {
    let flag = word.starts_with("--");
    let assigns = separator.contains(['=', ':']) || (flag && separator == " ");
    let name: String =
        word.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if name == "bearer" || name == "basic" {
        return separator.starts_with(' ') && (after_name || word.starts_with(['B', 'b']));
    }
    assigns && NAMES.iter().any(|secret| name.ends_with(secret))
}

fn push_masked(out: &mut String, word: &str) {
    if word.len() < 18 || !word.is_ascii() {
        out.push_str(MASK);
        return;
    }
    out.push_str(&word[..6]);
    out.push('…');
    out.push_str(&word[word.len() - 4..]);
}

/// Everything from a private key's first line to its last is dropped.
fn without_pem(text: &str, marker: usize) -> String {
    let begin = text[..marker].rfind("-----BEGIN").unwrap_or(marker);
    let end = text[marker..]
        .find("-----END")
        .and_then(|at| text[marker + at + 8..].find("-----").map(|tail| marker + at + 8 + tail + 5))
        .unwrap_or(text.len());
    format!("{}{MASK}{}", &text[..begin], redact(&text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_their_name_or_shape_gives_them_away() {
        let cases = [
            ("key sk-proj-abcdefghijklmnop1234 used", "key sk-pro…1234 used"),
            ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer abcdef…cdef"),
            (r#"{"token":"short1"}"#, r#"{"token":"***"}"#),
            ("OPENAI_API_KEY=hunter2hunter2", "OPENAI_API_KEY=***"),
            ("run --password hunter22 now", "run --password *** now"),
            (
                "POST https://h/bot7123456789:AAEabcdefghijklmnopqrstuvwxyz012345/getMe: 401",
                "POST https://h/bot7123456789:AAEabc…2345/getMe: 401",
            ),
            ("GET https://h/v1/ghp_0123456789abcdefABCDEF/x", "GET https://h/v1/ghp_01…CDEF/x"),
            ("-----BEGIN PRIVATE KEY-----\nMC4\n-----END PRIVATE KEY----- x", "*** x"),
        ];
        for (input, expected) in cases {
            assert_eq!(redact(input), expected, "{input}");
        }
    }

    #[test]
    fn known_values_are_hidden_unless_they_are_short() {
        assert_eq!(without("key hunter2hunter2 of u1", ["hunter2hunter2", "u1"]), "key *** of u1");
        assert!(matches!(without("nothing", ["hunter2hunter2"]), Cow::Borrowed(_)));
    }

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        let lines = [
            "listening on ws://127.0.0.1:18789, ws://[::1]:18789 (PID 17)",
            "unauthorized: gateway token mismatch (provide gateway auth token)",
            "⇄ res ✓ agents.list 1ms id=r5",
            "reason=token_missing client=cli",
            "tokens=11 total=18 maxTokens: 4096",
            "2026-11-28T21:29:33.320 1764365373:agent:main:main conn=24e01bcb-de23-4f92-8028-e87c7520f549",
        ];
        for line in lines {
            assert!(matches!(redact(line), Cow::Borrowed(_)), "{line}: {}", redact(line));
        }
    }
}
