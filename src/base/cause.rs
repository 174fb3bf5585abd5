//! What an error really was.

use std::error::Error;

/// The innermost cause: layers above it say what was tried, it says what
/// happened.
pub fn innermost(err: &dyn Error) -> String {
    let mut cause = err;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
