//! Session rows in the shape that `status` and `sessions` share.

use serde_json::{Map, Value, json};

/// A row of `sessions.list` as `status` shows it.
pub fn row(row: &Value, agent: &str, now: u64) -> Value {
    let updated = row["updatedAt"].as_u64();
    let context = row["contextTokens"].as_u64();
    let total = row["totalTokens"].as_u64();
    let remaining = context.zip(total).map(|(context, total)| context.saturating_sub(total));
    let percent = context
        .zip(total)
        .filter(|(context, _)| *context > 0)
        .map(|(context, total)| (total * 100 + context / 2) / context);
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| {
        if !value.is_null() {
            out.insert(key.to_owned(), value);
        }
    };
    set("agentId", json!(agent));
    for key in ["key", "kind", "sessionId"] {
        set(key, row[key].clone());
    }
    set("updatedAt", json!(updated));
    set("age", json!(updated.map(|at| now.saturating_sub(at))));
    for key in [
        "thinkingLevel",
        "fastMode",
        "verboseLevel",
        "reasoningLevel",
        "elevatedLevel",
        "systemSent",
    ] {
        set(key, row[key].clone());
    }
    set("abortedLastRun", json!(row["abortedLastRun"].as_bool().unwrap_or(false)));
    for key in ["inputTokens", "outputTokens", "cacheRead", "cacheWrite", "totalTokens"] {
        set(key, row[key].clone());
    }
    set("totalTokensFresh", row["totalTokensFresh"].clone());
    set("remainingTokens", json!(remaining));
    set("percentUsed", json!(percent));
    set("model", row["model"].clone());
    set("contextTokens", json!(context));
    set("flags", json!(flags(row)));
    Value::Object(out)
}

/// What is set away from the default, and the session's id.
pub fn flags(row: &Value) -> Vec<String> {
    let named = [
        ("thinkingLevel", "think"),
        ("verboseLevel", "verbose"),
        ("reasoningLevel", "reasoning"),
        ("elevatedLevel", "elevated"),
    ];
    let mut flags: Vec<String> = named
        .iter()
        .filter_map(|(key, name)| Some(format!("{name}:{}", row[*key].as_str()?)))
        .collect();
    for (key, name) in
        [("fastMode", "fast"), ("systemSent", "system"), ("abortedLastRun", "aborted")]
    {
        if row[key] == json!(true) {
            flags.push(name.to_owned());
        }
    }
    flags.extend(row["sessionId"].as_str().map(|id| format!("id:{id}")));
    flags
}

/// `1.2k/32k (4%)`, or what is known of it.
pub fn tokens(row: &Value) -> String {
    let thousands = |tokens: u64| {
        if tokens < 10_000 {
            let tenths = tokens / 100;
            format!("{}.{}k", tenths / 10, tenths % 10)
        } else {
            format!("{}k", (tokens + 500) / 1000)
        }
    };
    let context = row["contextTokens"].as_u64();
    match (row["totalTokens"].as_u64(), context) {
        (Some(total), Some(context)) if context > 0 => {
            let percent = (total * 100 + context / 2) / context;
            format!("{}/{}k ({percent}%)", thousands(total), (context + 500) / 1000)
        }
        (Some(total), _) => thousands(total),
        (None, Some(context)) => format!("unknown/{}k (?%)", (context + 500) / 1000),
        (None, None) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_recorded_shape() {
        let listed = json!({
            "key": "agent:main:main", "kind": "direct", "sessionId": "90de", "updatedAt": 1000,
            "inputTokens": 11, "outputTokens": 7, "totalTokens": 11, "totalTokensFresh": true,
            "model": "tiny-1", "modelProvider": "fake", "contextTokens": 32_000, "systemSent": true,
        });
        assert_eq!(
            row(&listed, "main", 23_486),
            json!({
                "agentId": "main", "key": "agent:main:main", "kind": "direct", "sessionId": "90de",
                "updatedAt": 1000, "age": 22_486, "systemSent": true, "abortedLastRun": false,
                "inputTokens": 11, "outputTokens": 7, "totalTokens": 11, "totalTokensFresh": true,
                "remainingTokens": 31_989, "percentUsed": 0, "model": "tiny-1",
                "contextTokens": 32_000, "flags": ["system", "id:90de"],
            })
        );
    }

    #[test]
    fn tokens_say_how_full_the_context_is() {
        let cases = [
            (json!({"totalTokens": 11, "contextTokens": 32_000}), "0.0k/32k (0%)"),
            (json!({"totalTokens": 100_000, "contextTokens": 200_000}), "100k/200k (50%)"),
            (json!({"contextTokens": 200_000}), "unknown/200k (?%)"),
            (json!({}), "unknown"),
        ];
        for (row, text) in cases {
            assert_eq!(tokens(&row), text, "{row}");
        }
    }
}
