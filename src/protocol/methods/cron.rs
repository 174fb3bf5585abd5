//! Parameters of the methods about scheduled jobs.

use crate::protocol::methods::shared::{
    DELIVERY, FAILURE_ALERT, FAILURE_DESTINATION, FILE_NAME, SCHEDULE, SESSION_TARGET, matching,
};
use crate::protocol::shape::{NOTHING, STR, STR1, Shape, UINT, int, list, list_of, may, need};

const PATCH: Shape = Shape::Object(&[
    may("name", STR1),
    may("agentId", Shape::AnyOf(&[STR1, Shape::Null])),
    may("sessionKey", Shape::AnyOf(&[STR1, Shape::Null])),
    may("description", STR),
    may("enabled", Shape::Bool),
    may("deleteAfterRun", Shape::Bool),
    may("schedule", SCHEDULE),
    may("sessionTarget", SESSION_TARGET),
    may("wakeMode", Shape::AnyOf(&[Shape::Const("next-heartbeat"), Shape::Const("now")])),
    may(
        "payload",
        Shape::AnyOf(&[
            Shape::Object(&[need("kind", Shape::Const("systemEvent")), may("text", STR1)]),
            Shape::Object(&[
                need("kind", Shape::Const("agentTurn")),
                may("message", STR1),
                may("model", STR),
                may("fallbacks", list(&STR)),
                may("thinking", STR),
                may("timeoutSeconds", UINT),
                may("allowUnsafeExternalContent", Shape::Bool),
                may("lightContext", Shape::Bool),
                may("toolsAllow", Shape::AnyOf(&[list(&STR), Shape::Null])),
            ]),
        ]),
    ),
    may(
        "delivery",
        Shape::Object(&[
            may(
                "mode",
                Shape::AnyOf(&[
                    Shape::Const("none"),
                    Shape::Const("announce"),
                    Shape::Const("webhook"),
                ]),
            ),
            may("channel", Shape::AnyOf(&[Shape::Const("last"), STR1])),
            may("accountId", STR1),
            may("bestEffort", Shape::Bool),
            may("failureDestination", FAILURE_DESTINATION),
            may("to", STR),
        ]),
    ),
    may("failureAlert", FAILURE_ALERT),
    may(
        "state",
        Shape::Object(&[
            may("nextRunAtMs", UINT),
            may("runningAtMs", UINT),
            may("lastRunAtMs", UINT),
            may(
                "lastRunStatus",
                Shape::AnyOf(&[Shape::Const("ok"), Shape::Const("error"), Shape::Const("skipped")]),
            ),
            may(
                "lastStatus",
                Shape::AnyOf(&[Shape::Const("ok"), Shape::Const("error"), Shape::Const("skipped")]),
            ),
            may("lastError", STR),
            may(
                "lastErrorReason",
                Shape::AnyOf(&[
                    Shape::Const("auth"),
                    Shape::Const("format"),
                    Shape::Const("rate_limit"),
                    Shape::Const("billing"),
                    Shape::Const("timeout"),
                    Shape::Const("model_not_found"),
                    Shape::Const("unknown"),
                ]),
            ),
            may("lastDurationMs", UINT),
            may("consecutiveErrors", UINT),
            may("lastDelivered", Shape::Bool),
            may(
                "lastDeliveryStatus",
                Shape::AnyOf(&[
                    Shape::Const("delivered"),
                    Shape::Const("not-delivered"),
                    Shape::Const("unknown"),
                    Shape::Const("not-requested"),
                ]),
            ),
            may("lastDeliveryError", STR),
            may("lastFailureAlertAtMs", UINT),
        ]),
    ),
]);

static CRON_ADD: Shape = Shape::Object(&[
    need("name", STR1),
    may("agentId", Shape::AnyOf(&[STR1, Shape::Null])),
    may("sessionKey", Shape::AnyOf(&[STR1, Shape::Null])),
    may("description", STR),
    may("enabled", Shape::Bool),
    may("deleteAfterRun", Shape::Bool),
    need("schedule", SCHEDULE),
    need("sessionTarget", SESSION_TARGET),
    need("wakeMode", Shape::AnyOf(&[Shape::Const("next-heartbeat"), Shape::Const("now")])),
    need(
        "payload",
        Shape::AnyOf(&[
            Shape::Object(&[need("kind", Shape::Const("systemEvent")), need("text", STR1)]),
            Shape::Object(&[
                need("kind", Shape::Const("agentTurn")),
                need("message", STR1),
                may("model", STR),
                may("fallbacks", list(&STR)),
                may("thinking", STR),
                may("timeoutSeconds", UINT),
                may("allowUnsafeExternalContent", Shape::Bool),
                may("lightContext", Shape::Bool),
                may("toolsAllow", list(&STR)),
            ]),
        ]),
    ),
    may("delivery", DELIVERY),
    may("failureAlert", FAILURE_ALERT),
]);
static CRON_LIST: Shape = Shape::Object(&[
    may("includeDisabled", Shape::Bool),
    may("limit", int(1, 200)),
    may("offset", UINT),
    may("query", STR),
    may(
        "enabled",
        Shape::AnyOf(&[Shape::Const("all"), Shape::Const("enabled"), Shape::Const("disabled")]),
    ),
    may(
        "sortBy",
        Shape::AnyOf(&[
            Shape::Const("nextRunAtMs"),
            Shape::Const("updatedAtMs"),
            Shape::Const("name"),
        ]),
    ),
    may("sortDir", Shape::AnyOf(&[Shape::Const("asc"), Shape::Const("desc")])),
]);
static CRON_REMOVE: Shape =
    Shape::AnyOf(&[Shape::Object(&[need("id", STR1)]), Shape::Object(&[need("jobId", STR1)])]);
static CRON_RUN: Shape = Shape::AnyOf(&[
    Shape::Object(&[
        need("id", STR1),
        may("mode", Shape::AnyOf(&[Shape::Const("due"), Shape::Const("force")])),
    ]),
    Shape::Object(&[
        need("jobId", STR1),
        may("mode", Shape::AnyOf(&[Shape::Const("due"), Shape::Const("force")])),
    ]),
]);
static CRON_RUNS: Shape = Shape::Object(&[
    may("scope", Shape::AnyOf(&[Shape::Const("job"), Shape::Const("all")])),
    may("id", matching(1, usize::MAX, FILE_NAME)),
    may("jobId", matching(1, usize::MAX, FILE_NAME)),
    may("limit", int(1, 200)),
    may("offset", UINT),
    may(
        "statuses",
        list_of(
            &Shape::AnyOf(&[Shape::Const("ok"), Shape::Const("error"), Shape::Const("skipped")]),
            1,
            3,
        ),
    ),
    may(
        "status",
        Shape::AnyOf(&[
            Shape::Const("all"),
            Shape::Const("ok"),
            Shape::Const("error"),
            Shape::Const("skipped"),
        ]),
    ),
    may(
        "deliveryStatuses",
        list_of(
            &Shape::AnyOf(&[
                Shape::Const("delivered"),
                Shape::Const("not-delivered"),
                Shape::Const("unknown"),
                Shape::Const("not-requested"),
            ]),
            1,
            4,
        ),
    ),
    may(
        "deliveryStatus",
        Shape::AnyOf(&[
            Shape::Const("delivered"),
            Shape::Const("not-delivered"),
            Shape::Const("unknown"),
            Shape::Const("not-requested"),
        ]),
    ),
    may("query", STR),
    may("sortDir", Shape::AnyOf(&[Shape::Const("asc"), Shape::Const("desc")])),
]);
static CRON_UPDATE: Shape = Shape::AnyOf(&[
    Shape::Object(&[need("id", STR1), need("patch", PATCH)]),
    Shape::Object(&[need("jobId", STR1), need("patch", PATCH)]),
]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "cron.add" => &CRON_ADD,
        "cron.list" => &CRON_LIST,
        "cron.remove" => &CRON_REMOVE,
        "cron.run" => &CRON_RUN,
        "cron.runs" => &CRON_RUNS,
        "cron.status" => &NOTHING,
        "cron.update" => &CRON_UPDATE,
        _ => return None,
    })
}
