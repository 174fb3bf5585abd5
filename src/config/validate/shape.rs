//! Checks a value against its shape.
//!
//! Wording and order follow the reference's schema library, which clients and
//! the Control UI show verbatim.

use serde_json::{Map, Value};

use crate::base::nearest::nearest;
use crate::config::Issue;
use crate::config::schema::table::{Kind, Shape, Table};
use crate::config::validate::{secret_ref, text};

/// Above it JavaScript cannot tell whole numbers apart.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
/// How many allowed values a complaint lists before it only counts them.
const SHOWN_VALUES: usize = 12;

/// An issue, and whether the value at least had the right type.
///
/// A union reports the issues of an alternative only if that alternative is
/// the single one with nothing but soft issues.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) issue: Issue,
    pub(super) soft: bool,
}

/// Checks the whole document.
pub(super) fn check(table: &Table, document: &Value) -> Vec<Issue> {
    let mut walk = Walk { table, path: String::new(), found: Vec::new() };
    walk.value(table.root(), Some(document));
    walk.found.into_iter().map(|found| found.issue).collect()
}

/// Checks a part of one.
#[cfg(test)]
pub(super) fn check_part(table: &Table, shape: &Shape, value: &Value) -> Vec<Issue> {
    let mut walk = Walk { table, path: String::new(), found: Vec::new() };
    walk.value(shape, Some(value));
    walk.found.into_iter().map(|found| found.issue).collect()
}

struct Walk<'t> {
    table: &'t Table,
    path: String,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn hard(&mut self, message: impl Into<String>) {
        let issue = Issue::new(self.path.clone(), message);
        self.found.push(Found { issue, soft: false });
    }

    fn soft(&mut self, message: impl Into<String>) {
        let issue = Issue::new(self.path.clone(), message);
        self.found.push(Found { issue, soft: true });
    }

    fn below(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        check(self);
        self.path.truncate(length);
    }

    /// Checks one value; `None` stands for an absent one.
    fn value(&mut self, shape: &Shape, value: Option<&Value>) {
        match shape.kind {
            Kind::Any => {}
            Kind::Null if value == Some(&Value::Null) => {}
            Kind::Null => self.expected("null", value),
            Kind::Bool if value.is_some_and(Value::is_boolean) => {}
            Kind::Bool => self.with_values(
                format!("Invalid input: expected boolean, received {}", text::type_name(value)),
                &["true", "false"],
            ),
            Kind::Int | Kind::Number => self.number(shape, value),
            Kind::String => self.string(shape, value),
            Kind::Secret => match value {
                Some(Value::String(_)) => {}
                Some(Value::Object(object)) => match secret_ref::check(object) {
                    Some(issues) => self.reference(issues),
                    None => self.hard("Invalid input"),
                },
                _ => self.hard("Invalid input"),
            },
            Kind::Ref => match value.and_then(Value::as_object).map(secret_ref::check) {
                Some(Some(issues)) => self.reference(issues),
                _ => self.hard("Invalid input"),
            },
            Kind::Strict | Kind::Object => self.object(shape, value),
            Kind::Array => self.array(shape, value),
            Kind::Enum | Kind::Literals => self.listed(shape, value),
            Kind::Union => self.union(shape, value),
            Kind::OneOf => self.one_of(shape, value),
        }
    }

    fn expected(&mut self, wanted: &str, value: Option<&Value>) {
        let found = text::type_name(value);
        self.hard(format!("Invalid input: expected {wanted}, received {found}"));
    }

    fn number(&mut self, shape: &Shape, value: Option<&Value>) {
        let Some(number) = value.and_then(Value::as_f64) else {
            return self.expected("number", value);
        };
        if shape.kind == Kind::Int && number.fract() != 0.0 {
            return self.expected("int", value);
        }
        if shape.kind == Kind::Int && number.abs() > MAX_SAFE {
            let (word, sign) = if number > 0.0 { ("big", "<=") } else { ("small", ">=-") };
            self.soft(format!("Too {word}: expected int to be {sign}{MAX_SAFE}"));
        }
        for bound in shape.bounds.split(' ') {
            if let Some(message) = text::number_bound(bound, number) {
                self.soft(message);
            }
        }
    }

    fn string(&mut self, shape: &Shape, value: Option<&Value>) {
        match value {
            Some(Value::String(found)) => {
                for bound in shape.bounds.split(' ') {
                    if let Some(message) = text::string_bound(bound, found) {
                        self.soft(message);
                    }
                }
            }
            Some(Value::Number(id)) if self.is_discord_id() => {
                if id.as_u64().is_none_or(|id| id > 9_007_199_254_740_991) {
                    self.hard(text::discord_id(id));
                }
            }
            _ => self.expected("string", value),
        }
    }

    /// Discord's id lists also take numbers, as far as JavaScript can hold them.
    fn is_discord_id(&self) -> bool {
        self.path.starts_with("channels.discord.")
            && self.path.rsplit('.').next().is_some_and(|index| index.parse::<usize>().is_ok())
    }

    fn reference(&mut self, issues: Vec<(Option<&'static str>, String)>) {
        for (key, message) in issues {
            match key {
                Some(key) => self.below(key, |walk| walk.soft(message)),
                None => self.soft(message),
            }
        }
    }

    fn object(&mut self, shape: &Shape, value: Option<&Value>) {
        let Some(object) = value.and_then(Value::as_object) else {
            return self.expected("object", value);
        };
        for edge in shape.named() {
            let member = object.get(edge.key);
            if member.is_some() || edge.required {
                let table = self.table;
                self.below(edge.key, |walk| walk.value(table.shape(edge), member));
            }
        }
        let others = object.iter().filter(|(key, _)| !shape.named().any(|edge| edge.key == *key));
        if let Some(rest) = shape.rest() {
            for (key, member) in others {
                let table = self.table;
                self.below(key, |walk| walk.value(table.shape(rest), Some(member)));
            }
        } else if shape.kind == Kind::Strict && self.path != "gateway.tls" {
            let unknown: Vec<&str> = others.map(|(key, _)| key.as_str()).collect();
            self.unknown(shape, object, &unknown);
        }
    }

    fn unknown(&mut self, shape: &Shape, object: &Map<String, Value>, unknown: &[&str]) {
        let quoted: Vec<String> = unknown.iter().map(|key| format!("{key:?}")).collect();
        let message = match quoted.as_slice() {
            [] => return,
            [key] => format!("Unrecognized key: {key}"),
            keys => format!("Unrecognized keys: {}", keys.join(", ")),
        };
        let free = shape.named().map(|edge| edge.key).filter(|key| !object.contains_key(*key));
        let free: Vec<String> = free.map(str::to_owned).collect();
        let meant: Vec<String> = unknown
            .iter()
            .flat_map(|key| nearest(key, &free))
            .map(|name| format!("{name:?}"))
            .collect();
        let mut issue = Issue::new(self.path.clone(), message);
        issue.hint = (!meant.is_empty()).then(|| format!("did you mean {}?", meant.join(" or ")));
        self.found.push(Found { issue, soft: true });
    }

    fn array(&mut self, shape: &Shape, value: Option<&Value>) {
        let Some(items) = value.and_then(Value::as_array) else {
            return self.expected("array", value);
        };
        if let Some(edge) = shape.edges.first() {
            for (index, item) in items.iter().enumerate() {
                let table = self.table;
                self.below(&index.to_string(), |walk| walk.value(table.shape(edge), Some(item)));
            }
        }
        for bound in shape.bounds.split(' ') {
            if let Some(message) = text::array_bound(bound, items.len()) {
                self.soft(message);
            }
        }
    }

    fn listed(&mut self, shape: &Shape, value: Option<&Value>) {
        let allowed: Vec<&str> = shape.literals().collect();
        let fits = value.is_some_and(|value| {
            allowed.iter().any(|literal| text::equals_literal(literal, value))
        });
        if fits {
            return;
        }
        let message = match (shape.kind, allowed.as_slice()) {
            (_, [one]) => format!("Invalid input: expected {one}"),
            (Kind::Enum, _) => format!("Invalid option: expected one of {}", allowed.join("|")),
            _ => "Invalid input".to_owned(),
        };
        self.with_values(message, &allowed);
    }

    fn with_values(&mut self, message: impl Into<String>, literals: &[&str]) {
        let mut message = message.into();
        let shown = &literals[..literals.len().min(SHOWN_VALUES)];
        let hidden = literals.len() - shown.len();
        if !message.contains("expected one of") {
            let more = if hidden > 0 { format!(", ... (+{hidden} more)") } else { String::new() };
            message = format!("{message} (allowed: {}{more})", shown.join(", "));
        }
        let mut issue = Issue::new(self.path.clone(), message);
        issue.allowed_values =
            Some(shown.iter().map(|literal| Value::from(literal.trim_matches('"'))).collect());
        issue.allowed_values_hidden_count = (hidden > 0).then_some(hidden);
        self.found.push(Found { issue, soft: false });
    }

    fn union(&mut self, shape: &Shape, value: Option<&Value>) {
        let before = std::mem::take(&mut self.found);
        let mut soft = Vec::new();
        let mut values = Some(Vec::new());
        for edge in &shape.edges {
            let alternative = self.table.shape(edge);
            self.value(alternative, value);
            let found = std::mem::take(&mut self.found);
            if found.is_empty() {
                self.found = before;
                return;
            }
            match (alternative.kind, &mut values) {
                (Kind::Enum | Kind::Literals, Some(values)) => {
                    values.extend(alternative.literals());
                }
                (Kind::Bool, Some(values)) => values.extend(["true", "false"]),
                _ => values = None,
            }
            if found.iter().all(|found| found.soft) {
                soft.push(found);
            }
        }
        self.found = before;
        match (soft.pop(), soft.is_empty(), values) {
            (Some(found), true, _) => self.found.extend(found),
            (_, _, Some(values)) => self.with_values("Invalid input", &values),
            _ => self.hard("Invalid input"),
        }
    }

    fn one_of(&mut self, shape: &Shape, value: Option<&Value>) {
        let Some(object) = value.and_then(Value::as_object) else {
            return self.expected("object", value);
        };
        let table = self.table;
        let mut tags = Vec::new();
        let mut key = "";
        for alternative in shape.edges.iter().map(|edge| table.shape(edge)) {
            let tag = alternative
                .named()
                .find(|edge| edge.required && table.shape(edge).kind == Kind::Literals);
            let Some(tag) = tag else { continue };
            key = tag.key;
            let literal = table.shape(tag).values;
            if object.get(key).is_some_and(|value| text::equals_literal(literal, value)) {
                return self.value(alternative, value);
            }
            tags.push(literal.replace('"', "'"));
        }
        let message = format!("Invalid discriminator value. Expected {}", tags.join(" | "));
        self.below(key, |walk| walk.hard(message));
    }
}
