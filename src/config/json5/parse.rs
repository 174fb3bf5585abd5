//! The JSON5 grammar (spec.json5.org), by recursive descent.

use serde_json::Number;

use crate::config::json5::{Kind, MAX_DEPTH, Member, Node, SyntaxError};

/// Parses a whole document.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut parser = Parser { text, at: 0 };
    parser.skip_space()?;
    let node = parser.value(0)?;
    parser.skip_space()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.unexpected()),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    /// The error for whatever stands here: a character or the end.
    fn unexpected(&self) -> SyntaxError {
        match self.peek() {
            Some(found) => self.error(format!("invalid character '{}'", spelled(found))),
            None => self.error("invalid end of input".to_owned()),
        }
    }

    fn error(&self, what: String) -> SyntaxError {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SyntaxError {
            what,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].encode_utf16().count() + 1,
        }
    }

    /// Skips white space and comments.
    fn skip_space(&mut self) -> Result<(), SyntaxError> {
        loop {
            match self.peek() {
                Some(found) if is_space(found) => self.at += found.len_utf8(),
                Some('/') => {
                    self.at += 1;
                    if self.eat('*') {
                        let Some(end) = self.text[self.at..].find("*/") else {
                            self.at = self.text.len();
                            return Err(self.unexpected());
                        };
                        self.at += end + 2;
                    } else if self.eat('/') {
                        let rest = &self.text[self.at..];
                        self.at += rest.find(is_line_end).unwrap_or(rest.len());
                    } else {
                        return Err(self.unexpected());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("nesting deeper than {MAX_DEPTH} levels")));
        }
        let start = self.at;
        let kind = match self.peek() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some(quote @ ('"' | '\'')) => Kind::String(self.string(quote)?),
            Some('n') => self.word("null", Kind::Null)?,
            Some('t') => self.word("true", Kind::Bool(true))?,
            Some('f') => self.word("false", Kind::Bool(false))?,
            Some('0'..='9' | '.' | '+' | '-' | 'I' | 'N') => self.number()?,
            _ => return Err(self.unexpected()),
        };
        Ok(Node { start, end: self.at, kind })
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, SyntaxError> {
        for letter in word.chars() {
            if !self.eat(letter) {
                return Err(self.unexpected());
            }
        }
        Ok(kind)
    }

    fn array(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        self.bump();
        let mut items = Vec::new();
        loop {
            self.skip_space()?;
            if self.eat(']') {
                return Ok(Kind::Array(items));
            }
            items.push(self.value(depth + 1)?);
            self.skip_space()?;
            if !self.eat(',') && self.peek() != Some(']') {
                return Err(self.unexpected());
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        self.bump();
        let mut members = Vec::new();
        loop {
            self.skip_space()?;
            if self.eat('}') {
                return Ok(Kind::Object(members));
            }
            let key_start = self.at;
            let bare = !matches!(self.peek(), Some('"' | '\''));
            let key = match self.peek() {
                Some(quote @ ('"' | '\'')) => self.string(quote)?,
                _ => self.identifier()?,
            };
            self.skip_space()?;
            if !self.eat(':') {
                return Err(self.unexpected());
            }
            self.skip_space()?;
            let value = self.value(depth + 1)?;
            members.push(Member { key, key_start, bare, value });
            self.skip_space()?;
            if !self.eat(',') && self.peek() != Some('}') {
                return Err(self.unexpected());
            }
        }
    }

    fn identifier(&mut self) -> Result<String, SyntaxError> {
        let mut name = String::new();
        while let Some(found) = self.peek() {
            let letter = if found == '\\' {
                self.at += 1;
                if !self.eat('u') {
                    return Err(self.unexpected());
                }
                char::from_u32(self.hex(4)?)
                    .ok_or_else(|| self.error("invalid identifier character".to_owned()))?
            } else {
                found
            };
            let fits = letter == '$'
                || letter == '_'
                || letter.is_alphabetic()
                || (!name.is_empty()
                    && (letter.is_alphanumeric() || matches!(letter, '\u{200C}' | '\u{200D}')));
            if !fits {
                break;
            }
            if found != '\\' {
                self.at += found.len_utf8();
            }
            name.push(letter);
        }
        if name.is_empty() { Err(self.unexpected()) } else { Ok(name) }
    }

    fn hex(&mut self, digits: usize) -> Result<u32, SyntaxError> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = self.peek().and_then(|found| found.to_digit(16));
            value = value * 16 + digit.ok_or_else(|| self.unexpected())?;
            self.at += 1;
        }
        Ok(value)
    }

    fn string(&mut self, quote: char) -> Result<String, SyntaxError> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.peek() {
                Some(found) if found == quote => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') => {
                    self.at += 1;
                    self.escape(&mut text)?;
                }
                Some('\n' | '\r') | None => return Err(self.unexpected()),
                Some(found) => {
                    self.at += found.len_utf8();
                    text.push(found);
                }
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<(), SyntaxError> {
        let Some(found) = self.peek() else { return Err(self.unexpected()) };
        if matches!(found, '1'..='9') {
            return Err(self.unexpected());
        }
        self.at += found.len_utf8();
        match found {
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'v' => text.push('\u{b}'),
            '0' if self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                return Err(self.unexpected());
            }
            '0' => text.push('\0'),
            'x' => {
                let code = self.hex(2)?;
                text.extend(char::from_u32(code));
            }
            'u' => {
                let unit = self.hex(4)?;
                text.push(self.surrogate(unit));
            }
            '\r' => {
                self.eat('\n');
            }
            '\n' | '\u{2028}' | '\u{2029}' => {}
            other => text.push(other),
        }
        Ok(())
    }

    /// Joins an escaped surrogate pair; a lone half becomes U+FFFD.
    fn surrogate(&mut self, unit: u32) -> char {
        if (0xD800..0xDC00).contains(&unit) && self.text[self.at..].starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            if let Ok(low) = self.hex(4)
                && (0xDC00..0xE000).contains(&low)
            {
                let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
            self.at = back;
        }
        char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn number(&mut self) -> Result<Kind, SyntaxError> {
        let sign = if self.eat('-') {
            -1.0
        } else {
            self.eat('+');
            1.0
        };
        match self.peek() {
            Some('I') => self.word("Infinity", Kind::Number(sign * f64::INFINITY)),
            Some('N') => self.word("NaN", Kind::Number(f64::NAN)),
            Some('0') if self.text[self.at + 1..].starts_with(['x', 'X']) => {
                self.at += 2;
                let mut value = f64::from(self.hex(1)?);
                while self.peek().is_some_and(|found| found.is_ascii_hexdigit()) {
                    value = value * 16.0 + f64::from(self.hex(1)?);
                }
                Ok(Kind::Number(sign * value))
            }
            _ => self.decimal(sign),
        }
    }

    fn decimal(&mut self, sign: f64) -> Result<Kind, SyntaxError> {
        let start = self.at;
        if self.eat('0') {
            if self.peek().is_some_and(|found| found.is_ascii_digit()) {
                return Err(self.unexpected());
            }
        } else {
            self.digits();
        }
        let whole = self.at - start;
        let mut integral = true;
        if self.eat('.') {
            integral = false;
            let fraction = self.at;
            self.digits();
            if whole == 0 && self.at == fraction {
                return Err(self.unexpected());
            }
        } else if whole == 0 {
            return Err(self.unexpected());
        }
        if self.eat('e') || self.eat('E') {
            integral = false;
            if !self.eat('-') {
                self.eat('+');
            }
            let exponent = self.at;
            self.digits();
            if self.at == exponent {
                return Err(self.unexpected());
            }
        }
        let literal = &self.text[start..self.at];
        let value: f64 = literal.parse().unwrap_or(f64::NAN);
        if integral && value > 9_007_199_254_740_992.0 {
            let signed = if sign < 0.0 { format!("-{literal}") } else { literal.to_owned() };
            let exact = signed
                .parse::<i64>()
                .map(Number::from)
                .or_else(|_| signed.parse::<u64>().map(Number::from));
            if let Ok(exact) = exact {
                return Ok(Kind::BigInt(exact));
            }
        }
        Ok(Kind::Number(sign * value))
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|found| found.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

fn is_line_end(found: char) -> bool {
    matches!(found, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

fn is_space(found: char) -> bool {
    matches!(
        found,
        '\t' | '\u{b}'
            | '\u{c}'
            | ' '
            | '\u{a0}'
            | '\n'
            | '\r'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
    ) || (!found.is_ascii() && found.is_whitespace() && found != '\u{85}')
}

/// A character as the reference's parser spells it in an error.
fn spelled(found: char) -> String {
    match found {
        '\'' => "\\'".to_owned(),
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\0' => "\\0".to_owned(),
        '\u{2028}' => "\\u2028".to_owned(),
        '\u{2029}' => "\\u2029".to_owned(),
        other if other < ' ' => format!("\\x{:02x}", u32::from(other)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::json5::value;

    #[track_caller]
    fn check(text: &str, expected: &Value) {
        assert_eq!(value(text).unwrap(), *expected, "{text}");
    }

    #[track_caller]
    fn refuses(text: &str, expected: &str) {
        assert_eq!(value(text).unwrap_err().to_string(), format!("SyntaxError: JSON5: {expected}"));
    }

    #[test]
    fn every_json5_liberty_is_understood() {
        check(
            "\u{feff}// c\n{a: 1, 'b': [2, 3,], /* x */ \"c\": null,}",
            &json!({"a":1,"b":[2,3],"c":null}),
        );
        check(
            "[0x1F, +1, -2, .5, 5., 1e3, 1.0, -0.25]",
            &json!([31, 1, -2, 0.5, 5, 1000, 1, -0.25]),
        );
        check("'a\\\nb\\x41\\u00e9\\'\\v'", &json!("abAé'\u{b}"));
        check("\"\\ud83d\\ude00\"", &json!("😀"));
        check("{$a_1: true, ünder: false}", &json!({"$a_1": true, "ünder": false}));
        check("123456789012345678", &json!(123_456_789_012_345_678_i64));
        check("{a:1, b:2, a:3, __proto__:{x:1}}", &json!({"a":3,"b":2}));
    }

    #[test]
    fn errors_name_the_line_and_the_column() {
        refuses("", "invalid end of input at 1:1");
        refuses("{gateway:{port:1}", "invalid end of input at 1:18");
        refuses("nope", "invalid character 'o' at 1:2");
        refuses("{\n  a: 1\n  b: 2\n}", "invalid character 'b' at 3:3");
        refuses("{} x", "invalid character 'x' at 1:4");
        refuses("/* never closed", "invalid end of input at 1:16");
        refuses("[1 2]", "invalid character '2' at 1:4");
    }

    #[test]
    fn endless_nesting_is_refused_without_a_stack_overflow() {
        let deep = "[".repeat(100_000);
        assert!(value(&deep).unwrap_err().what.contains("nesting"));
    }

    #[test]
    fn a_node_knows_its_bytes() {
        let text = "{ a: [1, 'x'] }";
        let node = parse(text).unwrap();
        let member = node.get("a").unwrap();
        assert_eq!(&text[member.value.start..member.value.end], "[1, 'x']");
        assert_eq!(&text[member.key_start..=member.key_start], "a");
    }
}
