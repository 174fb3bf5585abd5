//! Parameters of the methods about approvals.

use crate::protocol::shape::{
    NOTHING, POSITIVE, STR, STR1, Shape, UINT, int, list, may, need, text,
};

static EXEC_APPROVAL_REQUEST: Shape = Shape::Object(&[
    may("id", STR1),
    may("command", STR1),
    may("commandArgv", list(&STR)),
    may(
        "systemRunPlan",
        Shape::Object(&[
            need("argv", list(&STR)),
            need("cwd", Shape::AnyOf(&[STR, Shape::Null])),
            need("commandText", STR),
            may("commandPreview", Shape::AnyOf(&[STR, Shape::Null])),
            need("agentId", Shape::AnyOf(&[STR, Shape::Null])),
            need("sessionKey", Shape::AnyOf(&[STR, Shape::Null])),
            may(
                "mutableFileOperand",
                Shape::AnyOf(&[
                    Shape::Object(&[
                        need("argvIndex", UINT),
                        need("path", STR),
                        need("sha256", STR),
                    ]),
                    Shape::Null,
                ]),
            ),
        ]),
    ),
    may("env", Shape::Map(&STR)),
    may("cwd", Shape::AnyOf(&[STR, Shape::Null])),
    may("nodeId", Shape::AnyOf(&[STR1, Shape::Null])),
    may("host", Shape::AnyOf(&[STR, Shape::Null])),
    may("security", Shape::AnyOf(&[STR, Shape::Null])),
    may("ask", Shape::AnyOf(&[STR, Shape::Null])),
    may("agentId", Shape::AnyOf(&[STR, Shape::Null])),
    may("resolvedPath", Shape::AnyOf(&[STR, Shape::Null])),
    may("sessionKey", Shape::AnyOf(&[STR, Shape::Null])),
    may("turnSourceChannel", Shape::AnyOf(&[STR, Shape::Null])),
    may("turnSourceTo", Shape::AnyOf(&[STR, Shape::Null])),
    may("turnSourceAccountId", Shape::AnyOf(&[STR, Shape::Null])),
    may("turnSourceThreadId", Shape::AnyOf(&[STR, Shape::Num, Shape::Null])),
    may("timeoutMs", POSITIVE),
    may("twoPhase", Shape::Bool),
]);
static EXEC_APPROVAL_RESOLVE: Shape = Shape::Object(&[need("id", STR1), need("decision", STR1)]);
static EXEC_APPROVALS_NODE_GET: Shape = Shape::Object(&[need("nodeId", STR1)]);
static APPROVALS_FILE: Shape = Shape::Object(&[
    need("version", Shape::ConstInt(1)),
    may("socket", Shape::Object(&[may("path", STR), may("token", STR)])),
    may(
        "defaults",
        Shape::Object(&[
            may("security", STR),
            may("ask", STR),
            may("askFallback", STR),
            may("autoAllowSkills", Shape::Bool),
        ]),
    ),
    may(
        "agents",
        Shape::Map(&Shape::Object(&[
            may("security", STR),
            may("ask", STR),
            may("askFallback", STR),
            may("autoAllowSkills", Shape::Bool),
            may(
                "allowlist",
                list(&Shape::Object(&[
                    may("id", STR1),
                    need("pattern", STR),
                    may("argPattern", STR),
                    may("lastUsedAt", UINT),
                    may("lastUsedCommand", STR),
                    may("lastResolvedPath", STR),
                ])),
            ),
        ])),
    ),
]);
static EXEC_APPROVALS_SET: Shape =
    Shape::Object(&[need("file", Shape::As(&APPROVALS_FILE)), may("baseHash", STR1)]);
/// `native` is of protocol 4, and instead of `file`; the handler sees to it.
static EXEC_APPROVALS_NODE_SET: Shape = Shape::Object(&[
    need("nodeId", STR1),
    may("file", Shape::As(&APPROVALS_FILE)),
    may("native", Shape::Open(&[need("rules", list(&Shape::Any))])),
    may("baseHash", STR1),
]);
static PLUGIN_APPROVAL_REQUEST: Shape = Shape::Object(&[
    may("pluginId", STR1),
    need("title", text(1, 80)),
    need("description", text(1, 256)),
    may(
        "severity",
        Shape::AnyOf(&[Shape::Const("info"), Shape::Const("warning"), Shape::Const("critical")]),
    ),
    may("toolName", STR),
    may("toolCallId", STR),
    may("agentId", STR),
    may("sessionKey", STR),
    may("turnSourceChannel", STR),
    may("turnSourceTo", STR),
    may("turnSourceAccountId", STR),
    may("turnSourceThreadId", Shape::AnyOf(&[STR, Shape::Num])),
    may("timeoutMs", int(1, 600_000)),
    may("twoPhase", Shape::Bool),
]);
static PLUGIN_APPROVAL_RESOLVE: Shape = Shape::Object(&[need("id", STR1), need("decision", STR1)]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "exec.approval.request" => &EXEC_APPROVAL_REQUEST,
        "exec.approval.resolve" => &EXEC_APPROVAL_RESOLVE,
        "exec.approvals.get" => &NOTHING,
        "exec.approvals.node.get" => &EXEC_APPROVALS_NODE_GET,
        "exec.approvals.node.set" => &EXEC_APPROVALS_NODE_SET,
        "exec.approvals.set" => &EXEC_APPROVALS_SET,
        "plugin.approval.request" => &PLUGIN_APPROVAL_REQUEST,
        "plugin.approval.resolve" => &PLUGIN_APPROVAL_RESOLVE,
        _ => return None,
    })
}
