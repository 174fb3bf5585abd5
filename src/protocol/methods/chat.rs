//! Parameters of the methods about chat and outbound messages.

use crate::protocol::methods::shared::INPUT_PROVENANCE;
use crate::protocol::shape::{
    POSITIVE, STR, STR1, Shape, UINT, int, list, list_of, may, need, text,
};

static CHAT_ABORT: Shape = Shape::Object(&[need("sessionKey", STR1), may("runId", STR1)]);
static CHAT_HISTORY: Shape = Shape::Object(&[
    need("sessionKey", STR1),
    may("limit", int(1, 1000)),
    may("maxChars", int(1, 500_000)),
]);
static CHAT_INJECT: Shape =
    Shape::Object(&[need("sessionKey", STR1), need("message", STR1), may("label", text(0, 100))]);
static CHAT_SEND: Shape = Shape::Object(&[
    need("sessionKey", text(1, 512)),
    need("message", STR),
    may("thinking", STR),
    may("deliver", Shape::Bool),
    may("originatingChannel", STR),
    may("originatingTo", STR),
    may("originatingAccountId", STR),
    may("originatingThreadId", STR),
    may("attachments", list(&Shape::Any)),
    may("timeoutMs", UINT),
    may("systemInputProvenance", INPUT_PROVENANCE),
    may("systemProvenanceReceipt", STR),
    need("idempotencyKey", STR1),
]);
static POLL: Shape = Shape::Object(&[
    need("to", STR1),
    need("question", STR1),
    need("options", list_of(&STR1, 2, 12)),
    may("maxSelections", int(1, 12)),
    may("durationSeconds", int(1, 604_800)),
    may("durationHours", POSITIVE),
    may("silent", Shape::Bool),
    may("isAnonymous", Shape::Bool),
    may("threadId", STR),
    may("channel", STR),
    may("accountId", STR),
    need("idempotencyKey", STR1),
]);
static MESSAGE_ACTION: Shape = Shape::Object(&[
    need("action", STR1),
    need("params", Shape::Map(&Shape::Any)),
    may("channel", STR),
    may("accountId", STR),
    need("idempotencyKey", STR1),
]);
static SEND: Shape = Shape::Object(&[
    need("to", STR1),
    may("message", STR),
    may("mediaUrl", STR),
    may("mediaUrls", list(&STR)),
    may("gifPlayback", Shape::Bool),
    may("channel", STR),
    may("accountId", STR),
    may("agentId", STR),
    may("threadId", STR),
    may("replyToId", STR),
    may("silent", Shape::Bool),
    may("sessionKey", STR),
    need("idempotencyKey", STR1),
]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "chat.abort" => &CHAT_ABORT,
        "chat.history" | "chat.startup" => &CHAT_HISTORY,
        "chat.inject" => &CHAT_INJECT,
        "chat.send" => &CHAT_SEND,
        "message.action" => &MESSAGE_ACTION,
        "poll" => &POLL,
        "send" => &SEND,
        _ => return None,
    })
}
