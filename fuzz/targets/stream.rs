//! The splitter of model answers: where the network cuts the bytes makes no
//! difference to the events.

#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::agents::providers::lines::{Event, Framing, Splitter};

fn events<'a>(framing: Framing, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut splitter = Splitter::new(framing);
    let mut events = Vec::new();
    for piece in pieces {
        splitter.push(piece).expect("the input is shorter than a line may be");
        events.extend(std::iter::from_fn(|| splitter.next_event()));
    }
    events.extend(splitter.last_event());
    events
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    for framing in [Framing::Sse, Framing::Ndjson] {
        let whole = events(framing, std::iter::once(bytes));
        let cut = events(framing, bytes.chunks(usize::from(size) + 1));
        assert_eq!(whole, cut);
    }
});
