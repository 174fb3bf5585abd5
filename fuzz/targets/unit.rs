//! The reader of unit files: no bytes make it panic, whatever an operator or a
//! broken disk left in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::supervise::systemd::unit::Unit;

fuzz_target!(|bytes: &[u8]| {
    let (unit, issues) = Unit::parse(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for entry in unit.entries() {
        assert!((1..=lines).contains(&entry.line), "an entry stands on a line of the file");
        unit.words(&entry.section, &entry.key);
    }
    for issue in issues {
        assert!(issue.line <= lines, "an issue stands on a line of the file");
    }
});
