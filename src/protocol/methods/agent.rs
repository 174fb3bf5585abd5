//! Parameters of the methods about agents and their runs.

use crate::protocol::methods::shared::INPUT_PROVENANCE;
use crate::protocol::shape::{NOTHING, STR, STR1, Shape, UINT, list, may, need, text};

static AGENT: Shape = Shape::Object(&[
    need("message", STR1),
    may("agentId", STR1),
    may("provider", STR),
    may("model", STR),
    may("to", STR),
    may("replyTo", STR),
    may("sessionId", STR),
    may("sessionKey", STR),
    may("thinking", STR),
    may("deliver", Shape::Bool),
    may("attachments", list(&Shape::Any)),
    may("channel", STR),
    may("replyChannel", STR),
    may("accountId", STR),
    may("replyAccountId", STR),
    may("threadId", STR),
    may("groupId", STR),
    may("groupChannel", STR),
    may("groupSpace", STR),
    may("timeout", UINT),
    may("bestEffortDeliver", Shape::Bool),
    may("lane", STR),
    may("extraSystemPrompt", STR),
    may(
        "internalEvents",
        list(&Shape::Object(&[
            need("type", Shape::Const("task_completion")),
            need("source", Shape::AnyOf(&[Shape::Const("subagent"), Shape::Const("cron")])),
            need("childSessionKey", STR),
            may("childSessionId", STR),
            need("announceType", STR),
            need("taskLabel", STR),
            need(
                "status",
                Shape::AnyOf(&[
                    Shape::Const("ok"),
                    Shape::Const("timeout"),
                    Shape::Const("error"),
                    Shape::Const("unknown"),
                ]),
            ),
            need("statusLabel", STR),
            need("result", STR),
            may("statsLine", STR),
            need("replyInstruction", STR),
        ])),
    ),
    may("inputProvenance", INPUT_PROVENANCE),
    need("idempotencyKey", STR1),
    may("label", text(1, 512)),
]);
static AGENT_IDENTITY_GET: Shape = Shape::Object(&[may("agentId", STR1), may("sessionKey", STR)]);
static AGENT_WAIT: Shape = Shape::Object(&[need("runId", STR1), may("timeoutMs", UINT)]);
static AGENTS_CREATE: Shape = Shape::Object(&[
    need("name", STR1),
    need("workspace", STR1),
    may("emoji", STR),
    may("avatar", STR),
]);
static AGENTS_DELETE: Shape =
    Shape::Object(&[need("agentId", STR1), may("deleteFiles", Shape::Bool)]);
static AGENTS_FILES_GET: Shape = Shape::Object(&[need("agentId", STR1), need("name", STR1)]);
static AGENTS_FILES_LIST: Shape = Shape::Object(&[need("agentId", STR1)]);
static AGENTS_FILES_SET: Shape =
    Shape::Object(&[need("agentId", STR1), need("name", STR1), need("content", STR)]);
static AGENTS_UPDATE: Shape = Shape::Object(&[
    need("agentId", STR1),
    may("name", STR1),
    may("workspace", STR1),
    may("model", STR1),
    may("avatar", STR),
]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "agent" => &AGENT,
        "agent.identity.get" => &AGENT_IDENTITY_GET,
        "agent.wait" => &AGENT_WAIT,
        "agents.create" => &AGENTS_CREATE,
        "agents.delete" => &AGENTS_DELETE,
        "agents.files.get" => &AGENTS_FILES_GET,
        "agents.files.list" => &AGENTS_FILES_LIST,
        "agents.files.set" => &AGENTS_FILES_SET,
        "agents.list" => &NOTHING,
        "agents.update" => &AGENTS_UPDATE,
        _ => return None,
    })
}
