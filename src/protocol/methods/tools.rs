//! Parameters of the methods about tools and skills.

use crate::protocol::shape::{NOTHING, STR, STR1, Shape, int, may, need};

static SKILLS_INSTALL: Shape = Shape::AnyOf(&[
    Shape::Object(&[
        need("name", STR1),
        need("installId", STR1),
        may("dangerouslyForceUnsafeInstall", Shape::Bool),
        may("timeoutMs", int(1000, i64::MAX)),
    ]),
    Shape::Object(&[
        need("source", Shape::Const("clawhub")),
        need("slug", STR1),
        may("version", STR1),
        may("force", Shape::Bool),
        may("timeoutMs", int(1000, i64::MAX)),
    ]),
]);
static SKILLS_STATUS: Shape = Shape::Object(&[may("agentId", STR1)]);
static SKILLS_UPDATE: Shape = Shape::AnyOf(&[
    Shape::Object(&[
        need("skillKey", STR1),
        may("enabled", Shape::Bool),
        may("apiKey", STR),
        may("env", Shape::Map(&STR)),
    ]),
    Shape::Object(&[
        need("source", Shape::Const("clawhub")),
        may("slug", STR1),
        may("all", Shape::Bool),
    ]),
]);
static TOOLS_CATALOG: Shape =
    Shape::Object(&[may("agentId", STR1), may("includePlugins", Shape::Bool)]);
static TOOLS_EFFECTIVE: Shape = Shape::Object(&[may("agentId", STR1), need("sessionKey", STR1)]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "skills.bins" => &NOTHING,
        "skills.install" => &SKILLS_INSTALL,
        "skills.status" => &SKILLS_STATUS,
        "skills.update" => &SKILLS_UPDATE,
        "tools.catalog" => &TOOLS_CATALOG,
        "tools.effective" => &TOOLS_EFFECTIVE,
        _ => return None,
    })
}
