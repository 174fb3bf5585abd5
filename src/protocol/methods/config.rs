//! Parameters of the methods about configuration.

use crate::protocol::methods::shared::{CONFIG_PATH, matching};
use crate::protocol::shape::{NOTHING, STR, STR1, Shape, UINT, may, need};

static CONFIG_PATCH: Shape = Shape::Object(&[
    need("raw", STR1),
    may("baseHash", STR1),
    may("sessionKey", STR),
    may("note", STR),
    may("restartDelayMs", UINT),
]);
static CONFIG_SCHEMA_LOOKUP: Shape = Shape::Object(&[need("path", matching(1, 1024, CONFIG_PATH))]);
static CONFIG_SET: Shape = Shape::Object(&[need("raw", STR1), may("baseHash", STR1)]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "config.get" | "config.openFile" | "config.schema" => &NOTHING,
        "config.patch" | "config.apply" => &CONFIG_PATCH,
        "config.schema.lookup" => &CONFIG_SCHEMA_LOOKUP,
        "config.set" => &CONFIG_SET,
        _ => return None,
    })
}
