//! `{{expression}}` in hook mappings: lookups, nothing else.

use hyper::HeaderMap;
use serde_json::{Map, Value};

/// What expressions can name.
#[derive(Debug)]
pub struct Scope<'a> {
    pub path: &'a str,
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    pub headers: &'a HeaderMap,
    pub query: &'a str,
    pub payload: &'a Map<String, Value>,
}

/// Fills in a template; what cannot be found becomes nothing.
pub fn render(template: &str, scope: &Scope<'_>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((expression, tail)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            break;
        };
        out.push_str(&look_up(expression.trim(), scope));
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn look_up(expression: &str, scope: &Scope<'_>) -> String {
    if ["__proto__", "prototype", "constructor"].iter().any(|name| expression.contains(name)) {
        return String::new();
    }
    match expression.split_once('.') {
        None if expression == "path" => return scope.path.to_owned(),
        None if expression == "now" => return iso(scope.now),
        Some(("headers", name)) => {
            let value = scope.headers.get(name.to_lowercase());
            return value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        }
        Some(("query", name)) => {
            let pairs = scope.query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.into_iter().find(|(key, _)| *key == name);
            return found.map_or_else(String::new, |(_, value)| {
                let spaced = value.replace('+', " ");
                crate::gateway::http::percent::decoded(&spaced).unwrap_or_default().into_owned()
            });
        }
        _ => {}
    }
    let path = expression.strip_prefix("payload.").unwrap_or(expression);
    let mut steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']'));
    let first = steps.next().and_then(|key| scope.payload.get(key));
    let found = steps.try_fold(first, |value, step| {
        let value = value?;
        Some(match step.parse::<usize>() {
            Ok(index) if value.is_array() => value.get(index),
            _ => value.get(step),
        })
    });
    match found.flatten() {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn iso(now: u64) -> String {
    let millis = i64::try_from(now).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_look_things_up_and_never_fail() {
        let payload = json!({"repo": "r1", "user": {"name": "u"}, "items": [{"x": 7}]});
        let mut headers = HeaderMap::new();
        headers.insert("x-event", "push".parse().unwrap());
        let scope = Scope {
            path: "github",
            now: 0,
            headers: &headers,
            query: "k=q%20v",
            payload: payload.as_object().unwrap(),
        };
        let cases = [
            ("{{repo}}/{{payload.user.name}}", "r1/u"),
            ("{{items[0].x}} {{ items[1].x }}", "7 "),
            ("{{user}}", "{\"name\":\"u\"}"),
            ("{{headers.X-Event}} {{query.k}} {{path}}", "push q v github"),
            ("{{now}}", "1970-01-01T00:00:00.000Z"),
            ("{{constructor}}{{__proto__.x}}", ""),
            ("open {{ left", "open {{ left"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, &scope), expected, "{template}");
        }
    }
}
