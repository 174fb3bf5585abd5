//! Parameters of the methods about the set-up wizard.

use crate::protocol::shape::{STR, STR1, Shape, may, need};

static WIZARD_CANCEL: Shape = Shape::Object(&[need("sessionId", STR1)]);
static WIZARD_NEXT: Shape = Shape::Object(&[
    need("sessionId", STR1),
    may("answer", Shape::Object(&[need("stepId", STR1), may("value", Shape::Any)])),
]);
static WIZARD_START: Shape = Shape::Object(&[
    may("mode", Shape::AnyOf(&[Shape::Const("local"), Shape::Const("remote")])),
    may("workspace", STR),
]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "wizard.cancel" | "wizard.status" => &WIZARD_CANCEL,
        "wizard.next" => &WIZARD_NEXT,
        "wizard.start" => &WIZARD_START,
        _ => return None,
    })
}
