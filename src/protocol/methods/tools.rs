//! Parameters of the methods about tools, skills, hooks and tasks.

use crate::protocol::shape::{NOTHING, STR, STR1, Shape, int, list, may, need, text};

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

static TASK_STATUS: Shape = Shape::AnyOf(&[
    Shape::Const("queued"),
    Shape::Const("running"),
    Shape::Const("completed"),
    Shape::Const("failed"),
    Shape::Const("cancelled"),
    Shape::Const("timed_out"),
]);
static TASKS_LIST: Shape = Shape::Object(&[
    may("status", Shape::AnyOf(&[Shape::As(&TASK_STATUS), list(&TASK_STATUS)])),
    may("agentId", STR1),
    may("sessionKey", STR1),
    may("limit", int(1, 500)),
    may("cursor", text(0, 512)),
    may("sortBy", STR1),
]);
static TASKS_GET: Shape = Shape::Object(&[need("taskId", STR1)]);
static TASKS_CANCEL: Shape = Shape::Object(&[need("taskId", STR1), may("reason", STR)]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "skills.bins" => &NOTHING,
        "skills.install" => &SKILLS_INSTALL,
        "hooks.status" | "skills.status" => &SKILLS_STATUS,
        "skills.update" => &SKILLS_UPDATE,
        "tasks.cancel" => &TASKS_CANCEL,
        "tasks.get" => &TASKS_GET,
        "tasks.list" => &TASKS_LIST,
        "tools.catalog" => &TOOLS_CATALOG,
        "tools.effective" => &TOOLS_EFFECTIVE,
        _ => return None,
    })
}
