//! The inputs that the fuzzer found worth keeping, and those that once broke
//! something: `fuzz/run` starts from them, and every test run repeats them.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/checks/frames.rs"]
mod frames;

#[test]
fn what_the_fuzzer_has_found_holds() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz/frames");
    let mut inputs: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 20, "the inputs are there");
    for input in &inputs {
        let bytes = fs::read(input).unwrap();
        // The name stands before a panic, which says what broke but not with what.
        let held = std::panic::catch_unwind(|| frames::hold(&bytes));
        assert!(held.is_ok(), "{} breaks the conversation", input.display());
    }
}
