//! Parameters of the methods about paired devices.

use crate::protocol::shape::{NOTHING, STR1, STR1_LIST, Shape, may, need};

static DEVICE_PAIR_APPROVE: Shape = Shape::Object(&[need("requestId", STR1)]);
static DEVICE_PAIR_REMOVE: Shape = Shape::Object(&[need("deviceId", STR1)]);
static DEVICE_TOKEN_REVOKE: Shape = Shape::Object(&[need("deviceId", STR1), need("role", STR1)]);
static DEVICE_TOKEN_ROTATE: Shape =
    Shape::Object(&[need("deviceId", STR1), need("role", STR1), may("scopes", STR1_LIST)]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "device.pair.approve" | "device.pair.reject" => &DEVICE_PAIR_APPROVE,
        "device.pair.list" => &NOTHING,
        "device.pair.remove" => &DEVICE_PAIR_REMOVE,
        "device.token.revoke" => &DEVICE_TOKEN_REVOKE,
        "device.token.rotate" => &DEVICE_TOKEN_ROTATE,
        _ => return None,
    })
}
