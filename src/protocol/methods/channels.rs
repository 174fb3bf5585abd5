//! Parameters of the methods about chat channels.

use crate::protocol::shape::{STR, STR1, Shape, UINT, may, need};

static CHANNELS_LOGOUT: Shape = Shape::Object(&[need("channel", STR1), may("accountId", STR)]);
static CHANNELS_STATUS: Shape = Shape::Object(&[may("probe", Shape::Bool), may("timeoutMs", UINT)]);
static WEB_LOGIN_START: Shape = Shape::Object(&[
    may("force", Shape::Bool),
    may("timeoutMs", UINT),
    may("verbose", Shape::Bool),
    may("accountId", STR),
]);
static WEB_LOGIN_WAIT: Shape = Shape::Object(&[may("timeoutMs", UINT), may("accountId", STR)]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "channels.logout" => &CHANNELS_LOGOUT,
        "channels.status" => &CHANNELS_STATUS,
        "web.login.start" => &WEB_LOGIN_START,
        "web.login.wait" => &WEB_LOGIN_WAIT,
        _ => return None,
    })
}
