//! What people see of a transcript: envelopes stripped, long texts cut.

use serde_json::Value;
use serde_json::json;

use crate::agents::sessions::transcript::Stored;

/// Largest single message in a history.
const MOST_MESSAGE_BYTES: usize = 128 * 1024;
/// Largest history altogether.
const MOST_HISTORY_BYTES: usize = 6 * 1024 * 1024;
/// Part of the wire contract: stands for a message that was too large.
const OMITTED: &str = "[chat.history omitted: message too large]";
/// Part of the wire contract: ends a text that was cut.
const CUT_MARK: &str = "\n...(truncated)...";
/// Longest text of a message unless the client asks for another.
pub(crate) const DEFAULT_MAX_CHARS: usize = 12_000;

/// Headings of the blocks that surfaces put in front of a user's text.
const BLOCKS: &[&str] = &[
    "Conversation info (untrusted metadata):",
    "Sender (untrusted metadata):",
    "Thread starter (untrusted, for context):",
    "Replied message (untrusted, for context):",
    "Forwarded message context (untrusted metadata):",
    "Chat history since last reply (untrusted, for context):",
];

/// Shapes stored messages for `chat.history`.
pub(crate) fn shape(messages: Vec<Stored>, max_chars: Option<usize>, newer: bool) -> Vec<Value> {
    let max_chars = max_chars.unwrap_or(DEFAULT_MAX_CHARS);
    let mut shaped: Vec<(Value, usize)> = messages
        .into_iter()
        .map(|stored| {
            let message = shape_one(stored, max_chars, newer);
            let size = message.to_string().len();
            if size > MOST_MESSAGE_BYTES {
                let message = placeholder(&message);
                let size = message.to_string().len();
                (message, size)
            } else {
                (message, size)
            }
        })
        .collect();
    let mut total: usize = shaped.iter().map(|(_, size)| size + 1).sum();
    let mut first = 0;
    while total > MOST_HISTORY_BYTES && first + 1 < shaped.len() {
        total -= shaped[first].1 + 1;
        first += 1;
    }
    shaped.drain(..first);
    shaped.into_iter().map(|(message, _)| message).collect()
}

/// One message with its place in the transcript, as subscribers receive it.
/// Clients of the newer protocol get all parts of a price, and what was typed as text.
pub(crate) fn shape_one(stored: Stored, max_chars: usize, newer: bool) -> Value {
    let mut message = stored.message;
    let is_user = message["role"] == "user";
    if is_user {
        strip_user(&mut message);
    }
    if let Some(cost) = message.pointer_mut("/usage/cost").filter(|_| !newer) {
        let total = cost["total"].clone();
        *cost = json!({"total": total});
    }
    if let Some(fields) = message.as_object_mut() {
        // What a tool kept for itself: working directories, whole outputs.
        fields.shift_remove("details");
    }
    cut_texts(&mut message, max_chars);
    if newer
        && is_user
        && let Some([block]) = message["content"].as_array().map(Vec::as_slice)
        && let Some(text) = block["text"].as_str().map(str::to_owned)
    {
        message["content"] = text.into();
    }
    let label = message.as_object_mut().and_then(|fields| fields.shift_remove("senderLabel"));
    message["__openclaw"] = json!({"id": stored.id, "seq": stored.seq});
    if let Some(label) = label {
        message["senderLabel"] = label;
    }
    message
}

/// Removes the envelope of a user message; names the sender it contained.
fn strip_user(message: &mut Value) {
    let mut label = None;
    let mut clean = |text: &mut String| {
        if label.is_none() {
            label = sender_label(text);
        }
        if let Some(stripped) = strip_envelope(text) {
            *text = stripped;
        }
    };
    match &mut message["content"] {
        Value::String(text) => clean(text),
        Value::Array(blocks) => {
            for block in blocks {
                if let Some(Value::String(text)) = block.get_mut("text") {
                    clean(text);
                }
            }
        }
        _ => {}
    }
    if let Some(label) = label {
        message["senderLabel"] = label.into();
    }
}

/// The text without metadata blocks and time stamp; `None` if it has none.
pub(crate) fn strip_envelope(text: &str) -> Option<String> {
    let mut rest = text;
    let mut out = String::new();
    let mut changed = false;
    while let Some((before, after)) = next_block(rest) {
        out.push_str(before);
        rest = after;
        changed = true;
    }
    out.push_str(rest);
    let body = if changed { out.trim_start_matches('\n') } else { out.as_str() };
    let unstamped = strip_stamp(body);
    changed |= unstamped.len() != body.len();
    changed.then(|| unstamped.to_owned())
}

/// Splits around the first metadata block: what is before, what is after.
fn next_block(text: &str) -> Option<(&str, &str)> {
    let (at, heading) = BLOCKS
        .iter()
        .filter_map(|heading| {
            let at = text.find(heading)?;
            (at == 0 || text[..at].ends_with('\n')).then_some((at, *heading))
        })
        .min_by_key(|(at, _)| *at)?;
    let body = text[at + heading.len()..].strip_prefix("\n```json\n")?;
    let end = body.find("\n```")?;
    let after = body[end + 4..].trim_start_matches('\n');
    Some((&text[..at], after))
}

/// The `label` of the sender block.
fn sender_label(text: &str) -> Option<String> {
    let at = text.find("Sender (untrusted metadata):\n```json\n")?;
    let body = text[at..].split_once("```json\n")?.1;
    let json: Value = serde_json::from_str(body.split_once("\n```")?.0).ok()?;
    json["label"].as_str().map(str::to_owned)
}

/// Removes `[Sun 2026-11-22 12:07 UTC] ` from the start.
fn strip_stamp(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('[') else { return text };
    let Some((stamp, rest)) = inner.split_once(']') else { return text };
    let mut parts = stamp.split(' ');
    let is_stamp =
        matches!(parts.next(), Some("Mon" | "Tue" | "Wed" | "Thu" | "Fri" | "Sat" | "Sun"))
            && parts.next().is_some_and(|date| date.len() == 10 && date.as_bytes()[4] == b'-')
            && parts.next().is_some_and(|time| time.len() == 5 && time.as_bytes()[2] == b':');
    if is_stamp { rest.strip_prefix(' ').unwrap_or(rest) } else { text }
}

fn cut_texts(message: &mut Value, max_chars: usize) {
    match &mut message["content"] {
        Value::String(text) => cut(text, max_chars),
        Value::Array(blocks) => {
            for block in blocks {
                for key in ["text", "thinking", "partialJson"] {
                    if let Some(Value::String(text)) = block.get_mut(key) {
                        cut(text, max_chars);
                    }
                }
                if block["type"] == "image"
                    && let Some(fields) = block.as_object_mut()
                    && let Some(data) = fields.shift_remove("data")
                {
                    fields.insert("omitted".to_owned(), true.into());
                    fields.insert("bytes".to_owned(), data.as_str().map_or(0, str::len).into());
                }
            }
        }
        _ => {}
    }
}

fn cut(text: &mut String, max_chars: usize) {
    if text.len() > max_chars
        && let Some((at, _)) = text.char_indices().nth(max_chars)
    {
        text.truncate(at);
        text.push_str(CUT_MARK);
    }
}

fn placeholder(message: &Value) -> Value {
    json!({
        "role": message["role"],
        "timestamp": message["timestamp"],
        "content": [{"type": "text", "text": OMITTED}],
        "__openclaw": {"id": message["__openclaw"]["id"], "seq": message["__openclaw"]["seq"],
                       "truncated": true, "reason": "oversized"},
    })
}

/// The text blocks of a message, joined.
pub(crate) fn plain_text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks
            .iter()
            .filter(|block| block["type"] == "text")
            .filter_map(|block| block["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    }
}

/// Cuts to `max` characters with an ellipsis.
pub(crate) fn ellipsis(text: &str, max: usize) -> String {
    if text.char_indices().nth(max).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: &str = "Sender (untrusted metadata):\n```json\n{\n  \"label\": \"probe (gateway-client)\",\n  \"id\": \"gateway-client\"\n}\n```\n\n";

    #[test]
    fn people_see_the_text_alone() {
        let cases = [
            (format!("{SENDER}[Sun 2026-11-22 12:07 UTC] hi there"), "hi there"),
            ("[Sun 2026-11-22 12:08 UTC] SAY agent hello".to_owned(), "SAY agent hello"),
            ("[note] stays".to_owned(), "[note] stays"),
            (
                format!("System: [x] hello\n\n{SENDER}[Sun 2026-11-22 12:10 UTC] hello chat"),
                "System: [x] hello\n\n[Sun 2026-11-22 12:10 UTC] hello chat",
            ),
            (format!("quotes {SENDER}"), &format!("quotes {SENDER}")),
        ];
        for (text, seen) in cases {
            let stripped = strip_envelope(&text).unwrap_or_else(|| text.clone());
            assert_eq!(stripped, seen);
        }
    }

    #[test]
    fn a_history_names_sender_and_place_and_reduces_cost() {
        let stored = Stored {
            id: "ab".into(),
            seq: 3,
            message: json!({"role": "user", "content": [{"type": "text", "text": format!("{SENDER}hi")}],
                            "usage": {"input": 1, "cost": {"input": 0.1, "total": 0.2}}}),
        };
        assert_eq!(
            shape_one(stored, 100, false),
            json!({"role": "user", "content": [{"type": "text", "text": "hi"}],
                   "usage": {"input": 1, "cost": {"total": 0.2}},
                   "__openclaw": {"id": "ab", "seq": 3}, "senderLabel": "probe (gateway-client)"})
        );
    }

    #[test]
    fn an_oversized_message_is_replaced() {
        let big = "x".repeat(MOST_MESSAGE_BYTES + 1);
        let stored = Stored {
            id: "a".into(),
            seq: 1,
            message: json!({"role": "assistant", "content": big}),
        };
        let shaped = shape(vec![stored], Some(500_000), false);
        assert_eq!(shaped[0]["content"][0]["text"], OMITTED);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let mut text = "äöü".repeat(10);
        cut(&mut text, 4);
        assert_eq!(text, format!("äöüä{CUT_MARK}"));
    }
}
