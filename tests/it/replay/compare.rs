//! Compares what the Node gateway said with what ours says.
//!
//! Ids, times, hashes, tokens, paths and ports differ by nature. An id is
//! replaced by what ours said in its place, and must stay that: the second
//! mention of a session has to be the same session.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// How two values differ at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The Node gateway says something here, ours does not.
    Missing,
    /// Ours says more.
    Extra,
    /// Both say something, not the same.
    Value,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Value => "value",
        })
    }
}

/// A difference at a place within a frame.
#[derive(Debug)]
pub struct Difference {
    pub kind: Kind,
    /// JSON pointer; `*` for a position in a list.
    pub pointer: String,
    pub recorded: Value,
    pub ours: Value,
}

/// What stands for what: a recorded id and ours.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    pub fn learn(&mut self, recorded: &str, ours: &str) {
        self.0.entry(recorded.to_owned()).or_insert_with(|| ours.to_owned());
    }

    /// Whether it is known what every id in a recorded text stands for.
    pub fn knows(&self, text: &str) -> bool {
        self.0.contains_key(text)
            || OPAQUE.find_iter(text).all(|found| self.0.contains_key(found.as_str()))
    }

    /// A recorded text with every known id replaced by ours.
    pub fn translate(&self, text: &str) -> String {
        if let Some(ours) = self.0.get(text) {
            return ours.clone();
        }
        let replaced = OPAQUE.replace_all(text, |found: &Captures<'_>| {
            self.0.get(&found[0]).cloned().unwrap_or_else(|| found[0].to_owned())
        });
        replaced.into_owned()
    }

    /// As [`Self::translate`], for every text within a value.
    pub fn translate_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.translate(text)),
            Value::Array(items) => items.iter().map(|item| self.translate_value(item)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (self.translate(key), self.translate_value(value)))
                .collect(),
            other => other.clone(),
        }
    }

    /// Pairs the ids of two texts; false when one is known as another.
    fn pair(&mut self, recorded: &str, ours: &str) -> bool {
        let of_recorded: Vec<&str> =
            OPAQUE.find_iter(recorded).map(|found| found.as_str()).collect();
        let of_ours: Vec<&str> = OPAQUE.find_iter(ours).map(|found| found.as_str()).collect();
        if of_recorded.len() != of_ours.len() {
            return false;
        }
        of_recorded.iter().zip(of_ours).all(|(recorded, ours)| {
            self.0.entry((*recorded).to_owned()).or_insert_with(|| ours.to_owned()) == ours
        })
    }
}

/// Ids, hashes, tokens: their value says nothing, their identity does.
static OPAQUE: LazyLock<Regex> = LazyLock::new(|| {
    let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let token = "[A-Za-z0-9_-]{42,43}";
    let hex = "[0-9a-f]{64}|[0-9a-f]{8}";
    Regex::new(&format!(r"^{token}$|\b(?:{uuid}|{hex}|{token})\b")).unwrap()
});

/// Where and when the gateway runs: replaced by what kind of thing it is.
static SURROUNDINGS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\d{4}-\d\d-\d\d(?:[T ]\d\d[:-]\d\d(?:[:-]\d\d(?:\.\d+)?)?)?(?: ?UTC|Z)?", "<time>"),
        (r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ", ""),
        (r"\b1[67]\d{11}\b", "<time>"),
        (r"/tmp/\.tmp[A-Za-z0-9]+", "/home/op"),
        (r"/tmp/openclaw/", "/home/op/log/"),
        (r"Gateway: \S+ \([^)]*\)", "Gateway: <host> (<ip>)"),
        (r"\b(?:127\.0\.0\.1|localhost):\d+", "<address>"),
        (r"linux \d+\.\d+[0-9A-Za-z.+-]*", "linux <release>"),
        (r"retry after \d+s", "retry after <n>s"),
        (r"manual:([^:]+):[^:]+:\d+", "manual:$1:<time>:<n>"),
    ]
    .map(|(pattern, plain)| (Regex::new(pattern).unwrap(), plain))
    .into()
});

/// Members whose number depends on the machine or the moment.
const MEASURED: &[&str] = &[
    "age",
    "ageMs",
    "avgMs",
    "cursor",
    "durationMs",
    "health",
    "latencyMs",
    "maxMs",
    "messageSeq",
    "minMs",
    "p95Ms",
    "pid",
    "presence",
    "retryAfterMs",
    "runtimeMs",
    "size",
    "uptimeMs",
];

/// Members whose text names this machine.
const LOCAL: &[&str] = &["host", "ip", "modelIdentifier", "deviceFamily"];

fn plain(text: &str) -> String {
    SURROUNDINGS.iter().fold(text.to_owned(), |text, (pattern, with)| {
        pattern.replace_all(&text, *with).into_owned()
    })
}

/// Compares two payloads and learns which id stands for which.
pub fn compare(recorded: &Value, ours: &Value, names: &mut Names) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(&mut String::new(), recorded, ours, names, &mut found);
    found
}

fn walk(
    at: &mut String,
    recorded: &Value,
    ours: &Value,
    names: &mut Names,
    found: &mut Vec<Difference>,
) {
    let differs = |kind, found: &mut Vec<Difference>, at: &str| {
        found.push(Difference {
            kind,
            pointer: at.to_owned(),
            recorded: recorded.clone(),
            ours: ours.clone(),
        });
    };
    match (recorded, ours) {
        (Value::Object(theirs), Value::Object(mine)) => {
            if theirs.contains_key("…") {
                return;
            }
            for (key, value) in theirs {
                let length = at.len();
                let known = names.translate(key);
                at.push('/');
                at.push_str(if known == *key { key } else { "*" });
                match mine.get(&known) {
                    Some(ours) => walk(at, value, ours, names, found),
                    None => found.push(Difference {
                        kind: Kind::Missing,
                        pointer: at.clone(),
                        recorded: value.clone(),
                        ours: Value::Null,
                    }),
                }
                at.truncate(length);
            }
            let known: Vec<String> = theirs.keys().map(|key| names.translate(key)).collect();
            for (key, value) in mine {
                if !known.contains(key) {
                    let pointer = format!("{at}/{}", OPAQUE.replace_all(key, "*"));
                    let ours = value.clone();
                    found.push(Difference {
                        kind: Kind::Extra,
                        pointer,
                        recorded: Value::Null,
                        ours,
                    });
                }
            }
        }
        (Value::Array(theirs), Value::Array(mine)) => {
            let cut =
                theirs.last().and_then(Value::as_str).is_some_and(|text| text.starts_with('…'));
            let whole = if cut { &theirs[..theirs.len() - 1] } else { &theirs[..] };
            if whole.len() > mine.len() || (!cut && whole.len() < mine.len()) {
                let kind = if whole.len() > mine.len() { Kind::Missing } else { Kind::Extra };
                differs(kind, found, &format!("{at}/*"));
            }
            for (recorded, ours) in whole.iter().zip(mine) {
                let length = at.len();
                at.push_str("/*");
                walk(at, recorded, ours, names, found);
                at.truncate(length);
            }
        }
        (Value::String(theirs), Value::String(mine)) => {
            if LOCAL.iter().any(|name| at.ends_with(&format!("/{name}"))) {
                return;
            }
            let text = match theirs.split_once('…') {
                Some((start, _)) => {
                    let count = start.chars().count();
                    let mine: String = mine.chars().take(count).collect();
                    same_text(start, &mine, names)
                }
                None => same_text(theirs, mine, names),
            };
            if !text {
                differs(Kind::Value, found, at);
            }
        }
        (Value::Number(theirs), Value::Number(mine)) => {
            let name = at.rsplit('/').next().unwrap_or_default();
            let is_time =
                |number: &serde_json::Number| number.as_f64().is_some_and(|number| number > 1.6e12);
            let same =
                theirs == mine || MEASURED.contains(&name) || (is_time(theirs) && is_time(mine));
            if !same {
                differs(Kind::Value, found, at);
            }
        }
        (theirs, mine) if theirs == mine => {}
        _ => differs(Kind::Value, found, at),
    }
}

fn same_text(recorded: &str, ours: &str, names: &mut Names) -> bool {
    if let Some(known) = names.0.get(recorded) {
        return known == ours;
    }
    recorded == ours
        || (names.pair(recorded, ours)
            && plain(&OPAQUE.replace_all(recorded, "<id>"))
                == plain(&OPAQUE.replace_all(ours, "<id>")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kinds(recorded: &Value, ours: &Value) -> Vec<(Kind, String)> {
        let found = compare(recorded, ours, &mut Names::default());
        found.into_iter().map(|difference| (difference.kind, difference.pointer)).collect()
    }

    #[test]
    fn ids_and_times_are_the_same_and_other_values_are_not() {
        let id = "7464150e-de27-48f2-bada-2485d09006ce";
        let other = "00000000-de27-48f2-bada-2485d09006ce";
        let theirs = json!({"id": id, "ts": 1_795_349_130_212_u64, "n": 1, "again": id});
        let good = json!({"id": other, "ts": 1_895_349_130_212_u64, "n": 1, "again": other});
        assert_eq!(kinds(&theirs, &good), []);
        let bad = json!({"id": other, "ts": 5, "n": 2, "again": id, "more": true});
        let found = kinds(&theirs, &bad);
        let expected = [
            (Kind::Value, "/ts"),
            (Kind::Value, "/n"),
            (Kind::Value, "/again"),
            (Kind::Extra, "/more"),
        ];
        assert_eq!(found, expected.map(|(kind, at)| (kind, at.to_owned())));
    }

    #[test]
    fn what_was_cut_from_a_recording_matches_anything() {
        let theirs =
            json!({"text": "a long …[300 chars]", "list": [1, "…[7 more]"], "any": {"…": "x"}});
        let ours = json!({"text": "a long story", "list": [1, 2, 3], "any": [1]});
        assert_eq!(kinds(&theirs, &ours), [(Kind::Value, "/any".to_owned())]);
        let ours = json!({"text": "another", "list": [], "any": {}});
        let found = kinds(&theirs, &ours);
        assert_eq!(
            found,
            [(Kind::Value, "/text".to_owned()), (Kind::Missing, "/list/*".to_owned())]
        );
    }
}
