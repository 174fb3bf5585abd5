//! Parameters of the methods about speech.

use crate::protocol::shape::{STR, STR1, Shape, UINT, may, need};

static TALK_CONFIG: Shape = Shape::Object(&[may("includeSecrets", Shape::Bool)]);
static TALK_MODE: Shape = Shape::Object(&[need("enabled", Shape::Bool), may("phase", STR)]);
static TALK_SPEAK: Shape = Shape::Object(&[
    need("text", STR1),
    may("voiceId", STR),
    may("modelId", STR),
    may("outputFormat", STR),
    may("speed", Shape::Num),
    may("stability", Shape::Num),
    may("similarity", Shape::Num),
    may("style", Shape::Num),
    may("speakerBoost", Shape::Bool),
    may("seed", UINT),
    may("normalize", STR),
    may("language", STR),
]);

/// The shape of a method of this family.
pub(super) fn params(method: &str) -> Option<&'static Shape> {
    Some(match method {
        "talk.config" => &TALK_CONFIG,
        "talk.mode" => &TALK_MODE,
        "talk.speak" => &TALK_SPEAK,
        _ => return None,
    })
}
