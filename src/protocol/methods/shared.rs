//! Shapes that several families use.

use crate::protocol::shape::{POSITIVE, Pattern, STR, STR1, Shape, UINT, may, need};

/// Text of `min` to `max` characters that matches `pattern`.
pub(super) const fn matching(min: usize, max: usize, pattern: Pattern) -> Shape {
    Shape::Text { min, max, pattern: Some(pattern) }
}

/// A dotted path into the configuration.
pub(super) const CONFIG_PATH: Pattern = Pattern {
    source: r"^[A-Za-z0-9_./\[\]\-*]+$",
    matches: |text| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./[]-*".contains(c))
    },
};

/// A name without directory separators.
pub(super) const FILE_NAME: Pattern = Pattern {
    source: r"^[^/\\]+$",
    matches: |text| !text.is_empty() && !text.contains(['/', '\\']),
};

/// `YYYY-MM-DD`.
pub(super) const DATE: Pattern = Pattern {
    source: r"^\d{4}-\d{2}-\d{2}$",
    matches: |text| {
        text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    },
};

/// `UTC+2`, `UTC-3:30`.
pub(super) const UTC_OFFSET: Pattern =
    Pattern { source: r"^UTC[+-]\d{1,2}(?::[0-5]\d)?$", matches: is_utc_offset };

fn is_utc_offset(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("UTC+").or_else(|| text.strip_prefix("UTC-")) else {
        return false;
    };
    let (hours, minutes) = rest.split_once(':').map_or((rest, None), |(h, m)| (h, Some(m)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(hours.len(), 1 | 2)
        && digits(hours)
        && minutes.is_none_or(|m| m.len() == 2 && digits(m) && m.as_bytes()[0] < b'6')
}

/// A session that a job names itself.
const SESSION_NAME: Pattern = Pattern {
    source: "^session:.+",
    matches: |text| text.strip_prefix("session:").is_some_and(|key| !key.is_empty()),
};

pub(super) const INPUT_PROVENANCE: Shape = Shape::Object(&[
    need(
        "kind",
        Shape::AnyOf(&[
            Shape::Const("external_user"),
            Shape::Const("inter_session"),
            Shape::Const("internal_system"),
        ]),
    ),
    may("originSessionId", STR),
    may("sourceSessionKey", STR),
    may("sourceChannel", STR),
    may("sourceTool", STR),
]);

pub(super) const SCHEDULE: Shape = Shape::AnyOf(&[
    Shape::Object(&[need("kind", Shape::Const("at")), need("at", STR1)]),
    Shape::Object(&[
        need("kind", Shape::Const("every")),
        need("everyMs", POSITIVE),
        may("anchorMs", UINT),
    ]),
    Shape::Object(&[
        need("kind", Shape::Const("cron")),
        need("expr", STR1),
        may("tz", STR),
        may("staggerMs", UINT),
    ]),
]);

pub(super) const SESSION_TARGET: Shape = Shape::AnyOf(&[
    Shape::Const("main"),
    Shape::Const("isolated"),
    Shape::Const("current"),
    matching(0, usize::MAX, SESSION_NAME),
]);

const CHANNEL: Shape = Shape::AnyOf(&[Shape::Const("last"), STR1]);
const ALERT_MODE: Shape = Shape::AnyOf(&[Shape::Const("announce"), Shape::Const("webhook")]);

pub(super) const FAILURE_DESTINATION: Shape = Shape::Object(&[
    may("channel", CHANNEL),
    may("to", STR),
    may("accountId", STR1),
    may("mode", ALERT_MODE),
]);

pub(super) const DELIVERY: Shape = Shape::AnyOf(&[
    Shape::Object(&[
        need("mode", Shape::AnyOf(&[Shape::Const("none"), Shape::Const("announce")])),
        may("channel", CHANNEL),
        may("accountId", STR1),
        may("bestEffort", Shape::Bool),
        may("failureDestination", FAILURE_DESTINATION),
        may("to", STR),
    ]),
    Shape::Object(&[
        need("mode", Shape::Const("webhook")),
        may("channel", CHANNEL),
        may("accountId", STR1),
        may("bestEffort", Shape::Bool),
        may("failureDestination", FAILURE_DESTINATION),
        need("to", STR1),
    ]),
]);

pub(super) const FAILURE_ALERT: Shape = Shape::AnyOf(&[
    Shape::ConstFalse,
    Shape::Object(&[
        may("after", POSITIVE),
        may("channel", CHANNEL),
        may("to", STR),
        may("cooldownMs", UINT),
        may("mode", ALERT_MODE),
        may("accountId", STR1),
    ]),
]);
