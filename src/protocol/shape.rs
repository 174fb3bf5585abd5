//! A small schema language for parameters: static tables, checked against
//! parsed JSON, every violation reported in the words operators know.
//!
//! It covers exactly what the protocol's closed parameter objects need and is
//! no general JSON Schema.

use serde_json::{Map, Value};

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Any,
    Bool,
    Null,
    Num,
    /// A whole number within inclusive bounds.
    Int {
        min: i64,
        max: i64,
    },
    /// Text whose length, in UTF-16 units as JavaScript counts, is within bounds.
    Text {
        min: usize,
        max: usize,
        pattern: Option<Pattern>,
    },
    /// One exact string.
    Const(&'static str),
    /// One exact whole number.
    ConstInt(i64),
    /// The value `false`.
    ConstFalse,
    /// Any of several shapes.
    AnyOf(&'static [Shape]),
    List {
        item: &'static Shape,
        min: usize,
        max: usize,
    },
    /// A shape that others use as well.
    As(&'static Shape),
    /// An object with free keys and uniform values.
    Map(&'static Shape),
    /// A closed object.
    Object(&'static [Field]),
    /// An object of which only some keys are known.
    Open(&'static [Field]),
}

/// A key of a closed object.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
}

/// A pattern that text must match.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    /// As it appears in messages.
    pub source: &'static str,
    pub matches: fn(&str) -> bool,
}

/// Any text.
pub const STR: Shape = text(0, usize::MAX);
/// Text that is not empty.
pub const STR1: Shape = text(1, usize::MAX);
/// A whole number from 0.
pub const UINT: Shape = int(0, i64::MAX);
/// A whole number from 1.
pub const POSITIVE: Shape = int(1, i64::MAX);
/// A list of text that is not empty.
pub const STR1_LIST: Shape = list(&STR1);
/// An object without keys.
pub const NOTHING: Shape = Shape::Object(&[]);

/// A key that must be there.
pub const fn need(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: true }
}

/// A key that may be there.
pub const fn may(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: false }
}

/// Text of `min` to `max` characters.
pub const fn text(min: usize, max: usize) -> Shape {
    Shape::Text { min, max, pattern: None }
}

/// A whole number from `min` to `max`.
pub const fn int(min: i64, max: i64) -> Shape {
    Shape::Int { min, max }
}

/// A list of any length.
pub const fn list(item: &'static Shape) -> Shape {
    Shape::List { item, min: 0, max: usize::MAX }
}

/// A list of `min` to `max` items.
pub const fn list_of(item: &'static Shape, min: usize, max: usize) -> Shape {
    Shape::List { item, min, max }
}

impl Shape {
    /// Returns every violation, joined by `; `, or `None` when `value` fits.
    pub fn check(&self, value: &Value) -> Option<String> {
        let mut found = Findings::default();
        self.visit(value, &mut found);
        (!found.parts.is_empty()).then(|| found.parts.join("; "))
    }

    /// As `check`, for a caller of a newer protocol: keys of its own beside the
    /// known ones are none of our business.
    pub fn check_known(&self, value: &Value) -> Option<String> {
        match self {
            Self::Object(fields) => Self::Open(fields).check(value),
            Self::AnyOf(shapes) if shapes.iter().any(|it| it.check_known(value).is_none()) => None,
            other => other.check(value),
        }
    }

    fn fits(&self, value: &Value) -> bool {
        let mut found = Findings::default();
        self.visit(value, &mut found);
        found.parts.is_empty()
    }

    fn visit(&self, value: &Value, found: &mut Findings) {
        match self {
            Self::Any => {}
            Self::Bool => found.expect(value.is_boolean(), "must be boolean"),
            Self::Null => found.expect(value.is_null(), "must be null"),
            Self::Num => found.expect(value.is_number(), "must be number"),
            Self::Int { min, max } => visit_int(value, *min, *max, found),
            Self::Text { min, max, pattern } => visit_text(value, *min, *max, *pattern, found),
            Self::Const(text) => {
                found.expect(value.is_string(), "must be string");
                found.expect(value.as_str() == Some(text), "must be equal to constant");
            }
            Self::ConstInt(number) => {
                found.expect(value.is_number(), "must be number");
                found.expect(value.as_i64() == Some(*number), "must be equal to constant");
            }
            Self::ConstFalse => {
                found.expect(value.is_boolean(), "must be boolean");
                found.expect(value == &Value::Bool(false), "must be equal to constant");
            }
            Self::As(shape) => shape.visit(value, found),
            Self::AnyOf(shapes) => {
                if !shapes.iter().any(|shape| shape.fits(value)) {
                    for shape in *shapes {
                        shape.visit(value, found);
                    }
                    found.add("must match a schema in anyOf");
                }
            }
            Self::List { item, min, max } => {
                let Value::Array(items) = value else {
                    found.add("must be array");
                    return;
                };
                if items.len() > *max {
                    found.add(&format!("must NOT have more than {max} items"));
                }
                if items.len() < *min {
                    found.add(&format!("must NOT have fewer than {min} items"));
                }
                for (index, entry) in items.iter().enumerate() {
                    found.within(&index.to_string(), |found| item.visit(entry, found));
                    if found.parts.len() >= MAX_PARTS {
                        return;
                    }
                }
            }
            Self::Map(item) => {
                let Some(entries) = found.object(value) else { return };
                for (key, entry) in entries {
                    found.within(key, |found| item.visit(entry, found));
                    if found.parts.len() >= MAX_PARTS {
                        return;
                    }
                }
            }
            Self::Object(fields) => visit_object(value, fields, true, found),
            Self::Open(fields) => visit_object(value, fields, false, found),
        }
    }
}

fn visit_int(value: &Value, min: i64, max: i64, found: &mut Findings) {
    let Value::Number(number) = value else {
        found.add("must be integer");
        return;
    };
    // JavaScript knows one kind of number: 3.0 and 1e3 are whole.
    let float = number.as_f64().unwrap_or(f64::NAN);
    found.expect(float.fract() == 0.0, "must be integer");
    #[expect(clippy::cast_precision_loss, reason = "bounds of the protocol are small")]
    let (low, high) = (min as f64, max as f64);
    if max != i64::MAX && float > high {
        found.add(&format!("must be <= {max}"));
    }
    if float < low {
        found.add(&format!("must be >= {min}"));
    }
}

fn visit_text(
    value: &Value,
    min: usize,
    max: usize,
    pattern: Option<Pattern>,
    found: &mut Findings,
) {
    let Value::String(text) = value else {
        found.add("must be string");
        return;
    };
    // Counting is needed only when the byte length leaves the answer open.
    if max != usize::MAX && text.len() > max && text.chars().count() > max {
        found.add(&format!("must NOT have more than {max} characters"));
    }
    if min > 0 && (text.len() < min || (min > 1 && text.chars().count() < min)) {
        found.add(&format!("must NOT have fewer than {min} characters"));
    }
    if let Some(pattern) = pattern
        && !(pattern.matches)(text)
    {
        found.add(&format!("must match pattern \"{}\"", pattern.source));
    }
}

fn visit_object(value: &Value, fields: &[Field], closed: bool, found: &mut Findings) {
    let Some(entries) = found.object(value) else { return };
    for field in fields {
        if field.required && !entries.contains_key(field.name) {
            found.add(&format!("must have required property '{}'", field.name));
        }
    }
    if closed {
        for key in entries.keys() {
            if !fields.iter().any(|field| field.name == key) {
                found.unexpected(key);
                if found.parts.len() >= MAX_PARTS {
                    return;
                }
            }
        }
    }
    for field in fields {
        if let Some(entry) = entries.get(field.name) {
            found.within(field.name, |found| field.shape.visit(entry, found));
        }
    }
}

/// A hostile document must not make an answer larger than itself.
const MAX_PARTS: usize = 50;

/// Longest key that a message repeats, in characters.
const MAX_KEY: usize = 120;

#[derive(Debug, Default)]
struct Findings {
    /// JSON pointer of the place being visited.
    path: String,
    parts: Vec<String>,
}

impl Findings {
    fn add(&mut self, message: &str) {
        let part = if self.path.is_empty() {
            message.to_owned()
        } else {
            format!("at {}: {message}", self.path)
        };
        self.push(part);
    }

    fn unexpected(&mut self, key: &str) {
        let key: String = key.chars().take(MAX_KEY).collect();
        let place = if self.path.is_empty() { "root" } else { &self.path };
        let part = format!("at {place}: unexpected property '{key}'");
        self.push(part);
    }

    fn push(&mut self, part: String) {
        if self.parts.len() < MAX_PARTS && !self.parts.contains(&part) {
            self.parts.push(part);
        }
    }

    fn expect(&mut self, holds: bool, message: &str) {
        if !holds {
            self.add(message);
        }
    }

    fn object<'v>(&mut self, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let object = value.as_object();
        self.expect(object.is_some(), "must be object");
        object
    }

    fn within(&mut self, key: &str, visit: impl FnOnce(&mut Self)) {
        let outer = self.path.len();
        self.path.push('/');
        // JSON pointers escape these two.
        for c in key.chars().take(MAX_KEY) {
            match c {
                '~' => self.path.push_str("~0"),
                '/' => self.path.push_str("~1"),
                _ => self.path.push(c),
            }
        }
        visit(self);
        self.path.truncate(outer);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MODE: Shape = Shape::AnyOf(&[Shape::Const("now"), Shape::Const("next-heartbeat")]);
    const WAKE: Shape = Shape::Object(&[need("mode", MODE), need("text", STR1)]);
    const NESTED: Shape = Shape::Object(&[
        need("client", Shape::Object(&[need("id", STR1), may("n", int(1, 5))])),
        may("tags", list_of(&STR1, 1, 2)),
        may("env", Shape::Map(&STR)),
        may("text", text(0, 3)),
    ]);

    #[test]
    fn a_newer_caller_may_add_keys_but_not_leave_out_or_bend_the_known_ones() {
        let said = |value: Value| WAKE.check_known(&value).unwrap_or_default();
        assert_eq!(said(json!({"mode": "now", "text": "hi", "agentId": "main"})), "");
        assert_eq!(
            said(json!({"mode": "now", "agentId": "main"})),
            "must have required property 'text'"
        );
        assert_eq!(said(json!({"mode": "now", "text": 3, "x": 1})), "at /text: must be string");
        let either = Shape::AnyOf(&[WAKE, NESTED]);
        assert_eq!(either.check_known(&json!({"mode": "now", "text": "hi", "x": 1})), None);
        assert!(either.check_known(&json!({"mode": "now", "x": 1})).is_some());
    }

    #[track_caller]
    fn check(shape: Shape, value: &Value, expected: &str) {
        assert_eq!(shape.check(value).unwrap_or_default(), expected, "{value}");
    }

    #[test]
    fn all_violations_are_reported_in_the_recorded_words() {
        check(
            WAKE,
            &json!({"mode": "later", "text": ""}),
            "at /mode: must be equal to constant; at /mode: must match a schema in anyOf; \
             at /text: must NOT have fewer than 1 characters",
        );
        check(
            WAKE,
            &json!({"x": 1}),
            "must have required property 'mode'; must have required property 'text'; \
             at root: unexpected property 'x'",
        );
        check(WAKE, &json!({"mode": "now", "text": "hi"}), "");
        check(WAKE, &json!([]), "must be object");
    }

    #[test]
    fn nested_places_are_named() {
        check(
            NESTED,
            &json!({"client": {"n": 9, "y": 0}, "tags": ["", 1, "c"], "env": {"a/b": 1}}),
            "at /client: must have required property 'id'; at /client: unexpected property 'y'; \
             at /client/n: must be <= 5; at /tags: must NOT have more than 2 items; \
             at /tags/0: must NOT have fewer than 1 characters; at /tags/1: must be string; \
             at /env/a~1b: must be string",
        );
        check(
            NESTED,
            &json!({"client": {"id": "a", "n": 1.5}, "tags": [], "text": "four"}),
            "at /client/n: must be integer; at /tags: must NOT have fewer than 1 items; \
             at /text: must NOT have more than 3 characters",
        );
        check(NESTED, &json!({"client": {"id": "a", "n": 2.0}, "text": "äöü"}), "");
    }

    #[test]
    fn a_hostile_document_gets_a_short_answer() {
        let keys: Map<String, Value> =
            (0..5000).map(|n| (format!("{n}{}", "k".repeat(500)), Value::Null)).collect();
        let answer = WAKE.check(&Value::Object(keys)).unwrap();
        assert!(answer.len() < 20_000, "{}", answer.len());
    }
}
