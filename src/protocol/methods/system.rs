//! Parameters of the methods about the gateway itself.

use crate::protocol::shape::{
    NOTHING, POSITIVE, STR, STR1, STR1_LIST, Shape, UINT, int, may, need,
};

static LOGS_TAIL: Shape = Shape::Object(&[
    may("cursor", UINT),
    may("limit", int(1, 5000)),
    may("maxBytes", int(1, 1_000_000)),
]);
static SECRETS_RESOLVE: Shape =
    Shape::Object(&[need("commandName", STR1), need("targetIds", STR1_LIST)]);
static UPDATE_RUN: Shape = Shape::Object(&[
    may("sessionKey", STR),
    may("note", STR),
    may("restartDelayMs", UINT),
    may("timeoutMs", POSITIVE),
]);
static WAKE: Shape = Shape::Object(&[
    need("mode", Shape::AnyOf(&[Shape::Const("now"), Shape::Const("next-heartbeat")])),
    need("text", STR1),
]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "logs.tail" => &LOGS_TAIL,
        "models.list" => &NOTHING,
        "secrets.resolve" => &SECRETS_RESOLVE,
        "update.run" => &UPDATE_RUN,
        "wake" => &WAKE,
        _ => return None,
    })
}
