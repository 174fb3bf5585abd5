//! JSON5 with positions: a tree that remembers where each value stands.
//!
//! The tree serves two readers: the loader, which wants a [`Value`], and the
//! editor, which changes a few bytes and leaves comments and order alone.
//! Errors use the wording that the reference's parser shows, because operators
//! and clients match on it.

mod parse;

use std::fmt;

use serde_json::{Map, Number, Value};

pub use parse::parse;

/// Deeper nesting than any real configuration has; keeps recursion bounded.
pub const MAX_DEPTH: usize = 200;

/// A value and the bytes it occupies in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

/// What stands at a [`Node`].
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(f64),
    /// An integer literal that an IEEE double cannot hold exactly.
    BigInt(Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// One `key: value` of an object, in source order; duplicates are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub key: String,
    pub key_start: usize,
    /// Whether the key stands without quotes.
    pub bare: bool,
    pub value: Node,
}

/// A syntax error; line and column count from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    pub what: String,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyntaxError: JSON5: {} at {}:{}", self.what, self.line, self.column)
    }
}

impl std::error::Error for SyntaxError {}

impl Node {
    /// The plain value. The last duplicate of a key wins, `__proto__` is
    /// dropped, numbers that JSON cannot express become `null`.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => number(*value),
            Kind::BigInt(value) => Value::Number(value.clone()),
            Kind::String(value) => Value::String(value.clone()),
            Kind::Array(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Object(members) => {
                let mut object = Map::with_capacity(members.len());
                for member in members.iter().filter(|member| member.key != "__proto__") {
                    object.insert(member.key.clone(), member.value.to_value());
                }
                Value::Object(object)
            }
        }
    }

    /// The value of `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Member> {
        match &self.kind {
            Kind::Object(members) => members.iter().rev().find(|member| member.key == key),
            _ => None,
        }
    }
}

/// A number as JavaScript would print it: integral doubles without a fraction.
#[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53")]
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        Value::Number((value as i64).into())
    } else {
        Number::from_f64(value).map_or(Value::Null, Value::Number)
    }
}

/// Parses a text into a plain value.
pub fn value(text: &str) -> Result<Value, SyntaxError> {
    parse(text).map(|node| node.to_value())
}
