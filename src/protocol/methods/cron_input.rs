//! Jobs as people and older clients write them, brought into the one spelling
//! that the shapes of [`super::cron`] describe: what is missing but clear is
//! filled in, what is written in another case or place is moved.

use serde_json::{Map, Value, json};

type Fields = Map<String, Value>;

/// What a turn of an agent may say besides its message.
const TURN: [&str; 7] = [
    "model",
    "fallbacks",
    "thinking",
    "timeoutSeconds",
    "lightContext",
    "allowUnsafeExternalContent",
    "toolsAllow",
];

/// Parts of a delivery that used to stand in the payload.
const MOVED: [&str; 6] = ["deliver", "channel", "to", "threadId", "bestEffortDeliver", "provider"];

/// The parameters of `cron.add`, with everything that has a default.
pub(super) fn job(params: &Value) -> Option<Value> {
    let mut job = input(params)?;
    job.entry("wakeMode").or_insert_with(|| json!("now"));
    if !job.get("enabled").is_some_and(Value::is_boolean) {
        job.insert("enabled".into(), true.into());
    }
    if text(&job, "name").is_none()
        && let (Some(schedule), Some(payload)) = (object(&job, "schedule"), object(&job, "payload"))
    {
        let name = name_of(schedule, payload);
        job.insert("name".into(), name.into());
    }
    trim(&mut job, "name");
    if !job.contains_key("sessionTarget") {
        let kind = object(&job, "payload").and_then(|payload| text(payload, "kind"));
        match kind.as_deref() {
            Some("systemEvent") => job.insert("sessionTarget".into(), "main".into()),
            Some("agentTurn") => job.insert("sessionTarget".into(), "isolated".into()),
            _ => None,
        };
    }
    if job.get("sessionTarget").is_some_and(|target| target == "current") {
        let own = text(&job, "sessionKey");
        let target = own.map_or_else(|| "isolated".to_owned(), |key| format!("session:{key}"));
        job.insert("sessionTarget".into(), target.into());
    }
    Some(Value::Object(job))
}

/// The parameters of `cron.update`; what a patch does not say stays unsaid.
pub(super) fn update(params: &Value) -> Option<Value> {
    let patch = input(params.get("patch")?)?;
    let mut params = params.clone();
    params["patch"] = Value::Object(patch);
    Some(params)
}

fn input(value: &Value) -> Option<Fields> {
    let fields = value.as_object()?;
    let wrapped = object(fields, "data").or_else(|| object(fields, "job"));
    let mut job = wrapped.unwrap_or(fields).clone();
    for key in ["agentId", "sessionKey"] {
        if job.get(key).is_some_and(Value::is_string) {
            set_or_drop(&mut job, key, text);
        }
    }
    if let Some(enabled) = text(&job, "enabled").and_then(|text| text.to_lowercase().parse().ok()) {
        job.insert("enabled".into(), Value::Bool(enabled));
    }
    set_or_drop(&mut job, "sessionTarget", |job, key| session_target(&text(job, key)?));
    set_or_drop(&mut job, "wakeMode", |job, key| {
        Some(text(job, key)?.to_lowercase())
            .filter(|mode| ["now", "next-heartbeat"].contains(&&**mode))
    });
    if let Some(schedule) = object(&job, "schedule") {
        let schedule = schedule_of(schedule);
        job.insert("schedule".into(), Value::Object(schedule));
    }
    let payload = match object(&job, "payload") {
        Some(payload) => Some(payload_of(payload)),
        None => payload_beside(&job),
    };
    if let Some(mut payload) = payload {
        if payload.get("kind").is_some_and(|kind| kind == "agentTurn") {
            for key in TURN {
                if let (None, Some(value)) = (payload.get(key), job.get(key)) {
                    payload.insert(key.into(), value.clone());
                }
            }
        }
        job.insert("payload".into(), Value::Object(payload));
    }
    if let Some(delivery) = object(&job, "delivery") {
        let delivery = delivery_of(delivery);
        job.insert("delivery".into(), Value::Object(delivery));
    }
    for key in TURN.iter().chain(&MOVED).chain(&["message", "text", "isolation"]) {
        job.shift_remove(*key);
    }
    Some(job)
}

fn session_target(typed: &str) -> Option<String> {
    let lower = typed.to_lowercase();
    if ["main", "isolated", "current"].contains(&lower.as_str()) {
        return Some(lower);
    }
    let key = lower.strip_prefix("session:").map(|_| typed["session:".len()..].trim())?;
    (!key.is_empty()).then(|| format!("session:{key}"))
}

fn schedule_of(typed: &Fields) -> Fields {
    let mut schedule = typed.clone();
    let expr = text(typed, "expr").or_else(|| text(typed, "cron"));
    let at = text(typed, "at").or_else(|| match typed.get("atMs") {
        Some(Value::Number(ms)) => Some(ms.to_string()),
        _ => text(typed, "atMs"),
    });
    let kind = text(typed, "kind").map(|kind| kind.to_lowercase());
    let kind = match kind.as_deref() {
        Some(kind @ ("at" | "every" | "cron")) => Some(kind),
        _ if at.is_some() => Some("at"),
        _ if typed.get("everyMs").is_some_and(Value::is_number) => Some("every"),
        _ if expr.is_some() => Some("cron"),
        _ => None,
    };
    for key in ["atMs", "cron", "expr"] {
        schedule.shift_remove(key);
    }
    if !typed.get("staggerMs").is_some_and(Value::is_number) {
        schedule.shift_remove("staggerMs");
    }
    for (key, value) in [("kind", kind.map(str::to_owned)), ("at", at), ("expr", expr)] {
        if let Some(value) = value {
            schedule.insert(key.into(), value.into());
        }
    }
    let foreign: &[&str] = match kind {
        Some("at") => &["everyMs", "anchorMs", "expr", "tz", "staggerMs"],
        Some("every") => &["at", "expr", "tz", "staggerMs"],
        Some("cron") => &["at", "everyMs", "anchorMs"],
        _ => &[],
    };
    for key in foreign {
        schedule.shift_remove(*key);
    }
    schedule
}

fn payload_of(typed: &Fields) -> Fields {
    let mut payload = typed.clone();
    let kind = match text(typed, "kind").map(|kind| kind.to_lowercase()).as_deref() {
        Some("agentturn") => Some("agentTurn".to_owned()),
        Some("systemevent") => Some("systemEvent".to_owned()),
        Some(other) => Some(other.to_owned()),
        None if text(typed, "message").is_some() => Some("agentTurn".to_owned()),
        None if text(typed, "text").is_some() => Some("systemEvent".to_owned()),
        None if TURN.iter().any(|key| typed.contains_key(*key)) => Some("agentTurn".to_owned()),
        None => None,
    };
    if let Some(kind) = &kind {
        payload.insert("kind".into(), kind.as_str().into());
    }
    trim(&mut payload, "message");
    trim(&mut payload, "text");
    for key in ["model", "thinking"] {
        set_or_drop(&mut payload, key, text);
    }
    match kind.as_deref() {
        Some("systemEvent") => {
            for key in TURN.iter().chain(&["message"]) {
                payload.shift_remove(*key);
            }
        }
        Some("agentTurn") => {
            payload.shift_remove("text");
        }
        _ => {}
    }
    for key in MOVED {
        payload.shift_remove(key);
    }
    payload
}

/// A payload whose parts stand beside the job's other keys.
fn payload_beside(job: &Fields) -> Option<Fields> {
    let payload = match (text(job, "message"), text(job, "text")) {
        (Some(message), _) => json!({ "kind": "agentTurn", "message": message }),
        (None, Some(text)) => json!({ "kind": "systemEvent", "text": text }),
        (None, None) if TURN.iter().any(|key| job.contains_key(*key)) => {
            json!({ "kind": "agentTurn" })
        }
        (None, None) => return None,
    };
    payload.as_object().cloned()
}

fn delivery_of(typed: &Fields) -> Fields {
    let mut delivery = typed.clone();
    set_or_drop(&mut delivery, "mode", |delivery, key| {
        let mode = text(delivery, key)?.to_lowercase();
        Some(if mode == "deliver" { "announce".to_owned() } else { mode })
    });
    set_or_drop(&mut delivery, "channel", |delivery, key| {
        Some(text(delivery, key)?.to_lowercase())
    });
    for key in ["to", "accountId"] {
        set_or_drop(&mut delivery, key, text);
    }
    delivery
}

/// What a job without a name is called.
fn name_of(schedule: &Fields, payload: &Fields) -> String {
    const LONGEST: usize = 60;
    let said = match payload.get("kind").and_then(Value::as_str) {
        Some("systemEvent") => text(payload, "text"),
        Some("agentTurn") => text(payload, "message"),
        _ => None,
    };
    let first =
        said.as_deref().and_then(|said| said.lines().map(str::trim).find(|l| !l.is_empty()));
    if let Some(line) = first {
        return shortened(line, LONGEST);
    }
    match schedule.get("kind").and_then(Value::as_str) {
        Some("cron") => {
            format!("Cron: {}", shortened(&text(schedule, "expr").unwrap_or_default(), 52))
        }
        Some("every") => format!("Every: {}ms", schedule.get("everyMs").unwrap_or(&Value::Null)),
        Some("at") => "One-shot".to_owned(),
        _ => "Cron job".to_owned(),
    }
}

fn shortened(text: &str, longest: usize) -> String {
    if text.encode_utf16().count() <= longest {
        return text.to_owned();
    }
    let mut units = 0;
    let kept: String = text
        .chars()
        .take_while(|c| {
            units += c.len_utf16();
            units < longest
        })
        .collect();
    format!("{}…", kept.trim_end())
}

fn object<'f>(fields: &'f Fields, key: &str) -> Option<&'f Fields> {
    fields.get(key)?.as_object()
}

/// Text that is not blank, trimmed.
fn text(fields: &Fields, key: &str) -> Option<String> {
    let text = fields.get(key)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn trim(fields: &mut Fields, key: &str) {
    if let Some(text) = text(fields, key) {
        fields.insert(key.into(), text.into());
    }
}

/// Replaces a value that is there by its one spelling, or takes it away where it has none.
fn set_or_drop(
    fields: &mut Fields,
    key: &str,
    spelling: impl FnOnce(&Fields, &str) -> Option<String>,
) {
    if !fields.contains_key(key) {
        return;
    }
    match spelling(fields, key) {
        Some(value) => fields.insert(key.into(), value.into()),
        None => fields.shift_remove(key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clear_need_not_be_said() {
        let job = job(&json!({
            "schedule": {"everyMs": 60_000}, "payload": {"message": " Look at\nthe mail "},
        }));
        let expected = json!({
            "schedule": {"everyMs": 60_000, "kind": "every"},
            "payload": {"message": "Look at\nthe mail", "kind": "agentTurn"},
            "wakeMode": "now", "enabled": true, "name": "Look at", "sessionTarget": "isolated",
        });
        assert_eq!(job.unwrap(), expected);
    }

    #[test]
    fn older_spellings_are_read() {
        let older = job(&json!({"job": {
            "name": "n", "schedule": {"cron": "0 7 * * *", "tz": "UTC"}, "text": "up",
            "sessionTarget": "Current", "sessionKey": " agent:main:x ", "enabled": "False",
            "wakeMode": "NOW", "delivery": {"mode": "Deliver", "channel": "Telegram"},
        }}));
        let expected = json!({
            "name": "n", "schedule": {"tz": "UTC", "kind": "cron", "expr": "0 7 * * *"},
            "sessionTarget": "session:agent:main:x", "sessionKey": "agent:main:x",
            "enabled": false, "wakeMode": "now",
            "delivery": {"mode": "announce", "channel": "telegram"},
            "payload": {"kind": "systemEvent", "text": "up"},
        });
        assert_eq!(older.unwrap(), expected);
        let at = schedule_of(json!({"atMs": 5, "tz": "UTC"}).as_object().unwrap());
        assert_eq!(Value::Object(at), json!({"kind": "at", "at": "5"}));
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_left_for_the_check() {
        let odd = json!({"zzz": 1, "name": 3, "schedule": "daily", "payload": []});
        let read = job(&odd).unwrap();
        for (key, value) in odd.as_object().unwrap() {
            assert_eq!(read[key], *value);
        }
        assert!(job(&json!([])).is_none());
        let patch = json!({"id": "j", "patch": {"wakeMode": "never", "name": " n "}});
        assert_eq!(update(&patch).unwrap(), json!({"id": "j", "patch": {"name": " n "}}));
    }

    #[test]
    fn a_long_first_line_is_cut_by_whole_characters() {
        let name = shortened(&"ö😀".repeat(40), 60);
        assert!(name.ends_with('…') && name.encode_utf16().count() <= 60, "{name}");
    }
}
