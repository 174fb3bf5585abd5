//! systemd's word syntax: quoting, C escapes and `%` specifiers, in both
//! directions. What is written here is read back as the same words by systemd
//! and by [`split`].

use std::fmt::Write as _;

/// How a word will be interpreted after the unquoting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Part of a command line: `$` starts a variable.
    Command,
    /// Any other list: `$` is an ordinary character.
    List,
}

/// Why a value cannot be split into words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    #[error("a quote is not closed")]
    OpenQuote,
    #[error("the value ends in a backslash")]
    TrailingBackslash,
    #[error("unknown escape \\{0}")]
    UnknownEscape(char),
    #[error("the escape \\{0} is not a character")]
    BadEscape(char),
}

/// Writes `text` as one word that is taken literally.
pub fn quote(text: &str, used: Use) -> String {
    let mut body = String::with_capacity(text.len() + 2);
    let mut plain = !text.is_empty();
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                plain = false;
                body.push('\\');
                body.push(c);
            }
            '%' => body.push_str("%%"),
            '$' if used == Use::Command => body.push_str("$$"),
            '\n' => {
                plain = false;
                body.push_str("\\n");
            }
            '\t' => {
                plain = false;
                body.push_str("\\t");
            }
            c if c.is_ascii_control() => {
                plain = false;
                let _ = write!(body, "\\x{:02x}", u32::from(c));
            }
            c => {
                if matches!(c, ' ' | '\'' | ';' | '#') || (c.is_whitespace() || c == '\u{85}') {
                    plain = false;
                }
                body.push(c);
            }
        }
    }
    if plain { body } else { format!("\"{body}\"") }
}

/// Writes words that may contain specifiers such as `%h`, which stay as they are.
pub fn quote_raw(text: &str) -> String {
    let needs = text.is_empty()
        || text.chars().any(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ';'));
    if needs {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}

/// Splits a value into words, with systemd's quotes and escapes. Specifiers are
/// left alone; see [`expand`].
pub fn split(value: &str) -> Result<Vec<String>, WordError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '\\') => {
                let escaped = escape(&mut chars)?;
                word.get_or_insert_default().push(escaped);
            }
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n' | '\r') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(WordError::OpenQuote);
    }
    words.extend(word);
    Ok(words)
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<char, WordError> {
    let kind = chars.next().ok_or(WordError::TrailingBackslash)?;
    let mut number = |digits: usize, radix: u32, first: &str| {
        let text: String = first.chars().chain(chars.by_ref().take(digits)).collect();
        u32::from_str_radix(&text, radix)
            .ok()
            .filter(|code| *code != 0)
            .and_then(char::from_u32)
            .ok_or(WordError::BadEscape(kind))
    };
    Ok(match kind {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        's' => ' ',
        '\\' | '"' | '\'' => kind,
        'x' => number(2, 16, "")?,
        'u' => number(4, 16, "")?,
        'U' => number(8, 16, "")?,
        '0'..='7' => number(2, 8, &kind.to_string())?,
        other => return Err(WordError::UnknownEscape(other)),
    })
}

/// What specifiers stand for in one unit.
#[derive(Debug, Clone, Default)]
pub struct Specifiers {
    /// `%h`, the home directory of the manager's user.
    pub home: String,
    /// `%n`, the full unit name.
    pub unit: String,
    /// `%S`, the state directory root.
    pub state: String,
    /// `%t`, the runtime directory root.
    pub runtime: String,
}

impl Specifiers {
    /// Replaces the known specifiers; unknown ones stay readable as written.
    pub fn expand(&self, text: &str) -> String {
        if !text.contains('%') {
            return text.to_owned();
        }
        let prefix = self.unit.rsplit_once('.').map_or(self.unit.as_str(), |(name, _)| name);
        let (template, instance) = prefix.split_once('@').unwrap_or((prefix, ""));
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('%') | None => out.push('%'),
                Some('h') => out.push_str(&self.home),
                Some('n') => out.push_str(&self.unit),
                Some('N') => out.push_str(prefix),
                Some('p') => out.push_str(template),
                Some('i' | 'I') => out.push_str(instance),
                Some('S') => out.push_str(&self.state),
                Some('t') => out.push_str(&self.runtime),
                Some(other) => {
                    out.push('%');
                    out.push(other);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_split_as_systemd_does() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("a  b\tc", &["a", "b", "c"]),
            (r#""a b" 'c "d"'"#, &["a b", r#"c "d""#]),
            (r#"A="q z" ''"#, &["A=q z", ""]),
            (r"a\sb \x41\102 \u00e9", &["a b", "AB", "é"]),
            (r#""line\nbreak""#, &["line\nbreak"]),
        ];
        for (input, expected) in cases {
            assert_eq!(split(input).unwrap(), *expected, "{input}");
        }
    }

    #[test]
    fn malformed_values_say_what_is_wrong() {
        assert_eq!(split(r#""open"#), Err(WordError::OpenQuote));
        assert_eq!(split(r"a\"), Err(WordError::TrailingBackslash));
        assert_eq!(split(r"\q"), Err(WordError::UnknownEscape('q')));
        assert_eq!(split(r"\xzz"), Err(WordError::BadEscape('x')));
        assert_eq!(split(r"\ud800"), Err(WordError::BadEscape('u')));
    }

    #[test]
    fn specifiers_follow_the_unit() {
        let specifiers = Specifiers {
            home: "/home/claw".into(),
            unit: "openclaw-gateway@19001.service".into(),
            ..Specifiers::default()
        };
        assert_eq!(
            specifiers.expand("%h/.openclaw-%i 100%% %z"),
            "/home/claw/.openclaw-19001 100% %z"
        );
        assert_eq!(specifiers.expand("%p %N"), "openclaw-gateway openclaw-gateway@19001");
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^\0]{0,12}", 0..6)) {
            let line: Vec<String> = words.iter().map(|word| quote(word, Use::List)).collect();
            let back: Vec<String> = split(&line.join(" "))
                .unwrap()
                .iter()
                .map(|word| Specifiers::default().expand(word))
                .collect();
            prop_assert_eq!(back, words);
        }

        #[test]
        fn any_value_is_split_or_refused(value in ".{0,40}") {
            drop(split(&value));
        }
    }
}
