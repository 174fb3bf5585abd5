//! The frames around user messages, and what of a reply people see. Pure.

use serde_json::json;

use crate::agents::run::Frame;

/// Reply that means: say nothing.
const SILENT: &str = "NO_REPLY";

/// `[Sun 2026-11-22 12:07 UTC]`, in the user's time zone.
pub(crate) fn stamp(now_ms: u64, zone: &jiff::tz::TimeZone) -> String {
    zoned(now_ms, zone).strftime("[%a %Y-%m-%d %H:%M %Z]").to_string()
}

/// `System: [2026-11-22 12:22:04 UTC] text`, one line.
pub(crate) fn stamp_line(at_ms: u64, zone: &jiff::tz::TimeZone, text: &str) -> String {
    let time = zoned(at_ms, zone).strftime("[%Y-%m-%d %H:%M:%S %Z]").to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("System: {time} {line}")
}

fn zoned(at_ms: u64, zone: &jiff::tz::TimeZone) -> jiff::Zoned {
    i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default()
        .to_zoned(zone.clone())
}

/// The text the model sees: frame and message.
pub(crate) fn frame(frame: &Frame, text: &str, now_ms: u64, zone: &jiff::tz::TimeZone) -> String {
    match frame {
        Frame::Raw => text.to_owned(),
        Frame::Blocks { blocks, .. } => format!("{blocks}\n\n{text}"),
        Frame::Stamped => format!("{} {text}", stamp(now_ms, zone)),
        Frame::Sender(sender) => {
            let mut block = json!({"label": sender.label, "id": sender.id});
            for (name, value) in [("name", &sender.name), ("username", &sender.username)] {
                if let Some(value) = value {
                    block[name] = value.as_str().into();
                }
            }
            let block = serde_json::to_string_pretty(&block).unwrap_or_default();
            format!(
                "Sender (untrusted metadata):\n```json\n{block}\n```\n\n{} {text}",
                stamp(now_ms, zone)
            )
        }
    }
}

/// Whether a reply asks to stay silent.
pub(crate) fn is_silent(text: &str) -> bool {
    text.trim() == SILENT
}

/// What people see of a reply that may still grow: without reply tags, trimmed,
/// and nothing while it could become `NO_REPLY` or a tag.
pub(crate) fn visible_text(raw: &str) -> &str {
    let text = strip_reply_tag(raw);
    let text = text.trim_end();
    if SILENT.starts_with(text) || (text.starts_with("[[") && !text.contains("]]")) {
        return "";
    }
    text
}

/// The reply without a leading reply tag.
pub(crate) fn strip_reply_tag(raw: &str) -> &str {
    let text = raw.trim_start();
    let Some(rest) = text.strip_prefix("[[") else { return text };
    let Some((tag, rest)) = rest.split_once("]]") else { return text };
    let tag = tag.trim();
    if tag == "reply_to_current" || tag.starts_with("reply_to:") { rest.trim_start() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::run::Sender;

    const NOON: u64 = 1_795_349_241_877;

    #[test]
    fn frames_are_those_that_histories_strip() {
        let zone = jiff::tz::TimeZone::UTC;
        let sender = Sender {
            label: "probe (gateway-client)".into(),
            id: "gateway-client".into(),
            name: Some("probe".into()),
            username: Some("probe".into()),
        };
        assert_eq!(
            frame(&Frame::Sender(sender), "hi there", NOON, &zone),
            "Sender (untrusted metadata):\n```json\n{\n  \"label\": \"probe (gateway-client)\",\n  \"id\": \"gateway-client\",\n  \"name\": \"probe\",\n  \"username\": \"probe\"\n}\n```\n\n[Sun 2026-11-22 12:07 UTC] hi there"
        );
        assert_eq!(frame(&Frame::Stamped, "x", NOON, &zone), "[Sun 2026-11-22 12:07 UTC] x");
        assert_eq!(
            stamp_line(NOON, &zone, "two\nlines"),
            "System: [2026-11-22 12:07:21 UTC] two lines"
        );
    }

    #[test]
    fn a_reply_is_held_back_while_it_may_be_silent_or_a_tag() {
        let cases = [
            ("", ""),
            ("NO", ""),
            ("NO_REPLY", ""),
            ("NO_REPLY\n", ""),
            ("No", "No"),
            ("NO_REPLY!", "NO_REPLY!"),
            ("[[reply_to", ""),
            ("[[reply_to_current]] hi ", "hi"),
            ("[[reply_to: 5]]hi", "hi"),
            ("[[wiki]] link", "[[wiki]] link"),
            ("text ", "text"),
        ];
        for (raw, visible) in cases {
            assert_eq!(visible_text(raw), visible, "{raw:?}");
        }
    }
}
