//! The frames of strangers; the check is shared with the tests.

#![no_main]

#[path = "../checks/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| frames::hold(bytes));
