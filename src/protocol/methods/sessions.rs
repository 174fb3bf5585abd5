//! Parameters of the methods about sessions.

use crate::protocol::methods::shared::{DATE, UTC_OFFSET, matching};
use crate::protocol::shape::{
    POSITIVE, STR, STR1, Shape, UINT, int, list, list_of, may, need, text,
};

static SESSIONS_ABORT: Shape = Shape::Object(&[need("key", STR1), may("runId", STR1)]);
static SESSIONS_COMPACT: Shape = Shape::Object(&[need("key", STR1), may("maxLines", POSITIVE)]);
static SESSIONS_CREATE: Shape = Shape::Object(&[
    may("key", STR1),
    may("agentId", STR1),
    may("label", text(1, 512)),
    may("model", STR1),
    may("parentSessionKey", STR1),
    may("task", STR),
    may("message", STR),
]);
static SESSIONS_DELETE: Shape = Shape::Object(&[
    need("key", STR1),
    may("deleteTranscript", Shape::Bool),
    may("emitLifecycleHooks", Shape::Bool),
]);
static SESSIONS_LIST: Shape = Shape::Object(&[
    may("limit", POSITIVE),
    may("activeMinutes", POSITIVE),
    may("includeGlobal", Shape::Bool),
    may("includeUnknown", Shape::Bool),
    may("includeDerivedTitles", Shape::Bool),
    may("includeLastMessage", Shape::Bool),
    may("label", text(1, 512)),
    may("spawnedBy", STR1),
    may("agentId", STR1),
    may("search", STR),
]);
static SESSIONS_MESSAGES_SUBSCRIBE: Shape = Shape::Object(&[need("key", STR1)]);
static SESSIONS_PATCH: Shape = Shape::Object(&[
    need("key", STR1),
    may("label", Shape::AnyOf(&[text(1, 512), Shape::Null])),
    may("thinkingLevel", Shape::AnyOf(&[STR1, Shape::Null])),
    may("fastMode", Shape::AnyOf(&[Shape::Bool, Shape::Null])),
    may("verboseLevel", Shape::AnyOf(&[STR1, Shape::Null])),
    may("reasoningLevel", Shape::AnyOf(&[STR1, Shape::Null])),
    may(
        "responseUsage",
        Shape::AnyOf(&[
            Shape::Const("off"),
            Shape::Const("tokens"),
            Shape::Const("full"),
            Shape::Const("on"),
            Shape::Null,
        ]),
    ),
    may("elevatedLevel", Shape::AnyOf(&[STR1, Shape::Null])),
    may("execHost", Shape::AnyOf(&[STR1, Shape::Null])),
    may("execSecurity", Shape::AnyOf(&[STR1, Shape::Null])),
    may("execAsk", Shape::AnyOf(&[STR1, Shape::Null])),
    may("execNode", Shape::AnyOf(&[STR1, Shape::Null])),
    may("model", Shape::AnyOf(&[STR1, Shape::Null])),
    may("spawnedBy", Shape::AnyOf(&[STR1, Shape::Null])),
    may("spawnedWorkspaceDir", Shape::AnyOf(&[STR1, Shape::Null])),
    may("spawnDepth", Shape::AnyOf(&[UINT, Shape::Null])),
    may(
        "subagentRole",
        Shape::AnyOf(&[Shape::Const("orchestrator"), Shape::Const("leaf"), Shape::Null]),
    ),
    may(
        "subagentControlScope",
        Shape::AnyOf(&[Shape::Const("children"), Shape::Const("none"), Shape::Null]),
    ),
    may("sendPolicy", Shape::AnyOf(&[Shape::Const("allow"), Shape::Const("deny"), Shape::Null])),
    may(
        "groupActivation",
        Shape::AnyOf(&[Shape::Const("mention"), Shape::Const("always"), Shape::Null]),
    ),
]);
static SESSIONS_PREVIEW: Shape = Shape::Object(&[
    need("keys", list_of(&STR1, 1, usize::MAX)),
    may("limit", POSITIVE),
    may("maxChars", int(20, i64::MAX)),
]);
static SESSIONS_RESET: Shape = Shape::Object(&[
    need("key", STR1),
    may("reason", Shape::AnyOf(&[Shape::Const("new"), Shape::Const("reset")])),
]);
static SESSIONS_RESOLVE: Shape = Shape::Object(&[
    may("key", STR1),
    may("sessionId", STR1),
    may("label", text(1, 512)),
    may("agentId", STR1),
    may("spawnedBy", STR1),
    may("includeGlobal", Shape::Bool),
    may("includeUnknown", Shape::Bool),
]);
static SESSIONS_SEND: Shape = Shape::Object(&[
    need("key", STR1),
    need("message", STR),
    may("thinking", STR),
    may("attachments", list(&Shape::Any)),
    may("timeoutMs", UINT),
    may("idempotencyKey", STR1),
]);
static SESSIONS_USAGE: Shape = Shape::Object(&[
    may("key", STR1),
    may("startDate", matching(0, usize::MAX, DATE)),
    may("endDate", matching(0, usize::MAX, DATE)),
    may(
        "mode",
        Shape::AnyOf(&[Shape::Const("utc"), Shape::Const("gateway"), Shape::Const("specific")]),
    ),
    may("utcOffset", matching(0, usize::MAX, UTC_OFFSET)),
    may("limit", POSITIVE),
    may("includeContextWeight", Shape::Bool),
]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "sessions.abort" => &SESSIONS_ABORT,
        "sessions.compact" => &SESSIONS_COMPACT,
        "sessions.create" => &SESSIONS_CREATE,
        "sessions.delete" => &SESSIONS_DELETE,
        "sessions.list" => &SESSIONS_LIST,
        "sessions.messages.subscribe" | "sessions.messages.unsubscribe" => {
            &SESSIONS_MESSAGES_SUBSCRIBE
        }
        "sessions.patch" => &SESSIONS_PATCH,
        "sessions.preview" => &SESSIONS_PREVIEW,
        "sessions.reset" => &SESSIONS_RESET,
        "sessions.resolve" => &SESSIONS_RESOLVE,
        "sessions.send" | "sessions.steer" => &SESSIONS_SEND,
        "sessions.usage" => &SESSIONS_USAGE,
        _ => return None,
    })
}
