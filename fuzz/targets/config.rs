//! The configuration reader: no text makes it panic, and every JSON document
//! without numbers out of a double's range means in JSON5 what it means in JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::config::json5;

fuzz_target!(|text: &str| {
    let read = json5::value(text);
    let strict = serde_json::from_str::<serde_json::Value>(text);
    if let (Ok(serde_json::Value::String(expected)), Ok(value)) = (&strict, &read) {
        assert_eq!(value.as_str(), Some(expected.as_str()));
    }
    if let Ok(value) = read {
        let again = json5::value(&value.to_string()).expect("what it read can be written and read");
        assert_eq!(again, value);
    }
});
