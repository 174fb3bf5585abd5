//! Parameters of the methods about nodes.

use crate::protocol::shape::{NOTHING, STR, STR1, STR1_LIST, Shape, UINT, int, list_of, may, need};

static NODE_DESCRIBE: Shape = Shape::Object(&[need("nodeId", STR1)]);
static NODE_EVENT: Shape =
    Shape::Object(&[need("event", STR1), may("payload", Shape::Any), may("payloadJSON", STR)]);
static NODE_INVOKE: Shape = Shape::Object(&[
    need("nodeId", STR1),
    need("command", STR1),
    may("params", Shape::Any),
    may("timeoutMs", UINT),
    need("idempotencyKey", STR1),
]);
static NODE_INVOKE_RESULT: Shape = Shape::Object(&[
    need("id", STR1),
    need("nodeId", STR1),
    need("ok", Shape::Bool),
    may("payload", Shape::Any),
    may("payloadJSON", STR),
    may("error", Shape::Object(&[may("code", STR1), may("message", STR1)])),
]);
static NODE_PAIR_APPROVE: Shape = Shape::Object(&[need("requestId", STR1)]);
static NODE_PAIR_REQUEST: Shape = Shape::Object(&[
    need("nodeId", STR1),
    may("displayName", STR1),
    may("platform", STR1),
    may("version", STR1),
    may("coreVersion", STR1),
    may("uiVersion", STR1),
    may("deviceFamily", STR1),
    may("modelIdentifier", STR1),
    may("caps", STR1_LIST),
    may("commands", STR1_LIST),
    may("remoteIp", STR1),
    may("silent", Shape::Bool),
]);
static NODE_PAIR_VERIFY: Shape = Shape::Object(&[need("nodeId", STR1), need("token", STR1)]);
static NODE_PENDING_ACK: Shape = Shape::Object(&[need("ids", list_of(&STR1, 1, usize::MAX))]);
static NODE_PENDING_DRAIN: Shape = Shape::Object(&[may("maxItems", int(1, 10))]);
static NODE_PENDING_ENQUEUE: Shape = Shape::Object(&[
    need("nodeId", STR1),
    need("type", Shape::AnyOf(&[Shape::Const("status.request"), Shape::Const("location.request")])),
    may("priority", Shape::AnyOf(&[Shape::Const("normal"), Shape::Const("high")])),
    may("expiresInMs", int(1000, 86_400_000)),
    may("wake", Shape::Bool),
]);
static NODE_RENAME: Shape = Shape::Object(&[need("nodeId", STR1), need("displayName", STR1)]);
static PUSH_TEST: Shape = Shape::Object(&[
    need("nodeId", STR1),
    may("title", STR),
    may("body", STR),
    may("environment", Shape::AnyOf(&[Shape::Const("sandbox"), Shape::Const("production")])),
]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "node.describe" => &NODE_DESCRIBE,
        "node.event" => &NODE_EVENT,
        "node.invoke" => &NODE_INVOKE,
        "node.invoke.result" => &NODE_INVOKE_RESULT,
        "node.list" | "node.pair.list" => &NOTHING,
        "node.pair.approve" | "node.pair.reject" => &NODE_PAIR_APPROVE,
        "node.pair.request" => &NODE_PAIR_REQUEST,
        "node.pair.verify" => &NODE_PAIR_VERIFY,
        "node.pending.ack" => &NODE_PENDING_ACK,
        "node.pending.drain" => &NODE_PENDING_DRAIN,
        "node.pending.enqueue" => &NODE_PENDING_ENQUEUE,
        "node.rename" => &NODE_RENAME,
        "push.test" => &PUSH_TEST,
        _ => return None,
    })
}
