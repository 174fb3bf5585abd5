//! Cutting a byte stream into events while it arrives: server-sent events and
//! newline-delimited JSON.
//!
//! Bytes may be split anywhere, also inside a UTF-8 sequence; lines end in LF,
//! CRLF or CR. It does not read from sockets and knows nothing of what the JSON says.

use std::borrow::Cow;

use crate::base::json::without_lone_surrogates;

/// Longest line, and longest event, that is accepted; a peer that sends more is
/// not a model API.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// A line or an event grew beyond [`MAX_LINE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line or an event of the answer is longer than {MAX_LINE} bytes")]
pub struct LineTooLong;

/// Collects bytes and hands out whole lines.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Start of what has not been handed out.
    start: usize,
    /// Where the search for a line end goes on.
    searched: usize,
    /// The last line ended in CR, so that an LF that follows belongs to it.
    after_cr: bool,
}

impl Lines {
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > MAX_LINE && !self.buffer.contains(&b'\n') {
            return Err(LineTooLong);
        }
        Ok(())
    }

    /// The next whole line without its end.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        if self.after_cr && self.start < self.buffer.len() {
            self.after_cr = false;
            if self.buffer[self.start] == b'\n' {
                self.start += 1;
                self.searched = self.searched.max(self.start);
            }
        }
        let rest = &self.buffer[self.searched..];
        let Some(at) = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r') else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + at;
        let from = self.start;
        self.after_cr = self.buffer[end] == b'\r';
        self.start = end + 1;
        self.searched = self.start;
        Some(&self.buffer[from..end])
    }

    /// Bytes that wait to be handed out.
    fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// What is left when the stream ends without a line end.
    pub fn rest(&mut self) -> Option<&[u8]> {
        let from = std::mem::replace(&mut self.start, self.buffer.len());
        self.searched = self.buffer.len();
        let rest = &self.buffer[from..];
        (!rest.is_empty()).then_some(rest)
    }
}

/// How a provider frames its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `event:` and `data:` lines, a blank line closes an event.
    Sse,
    /// One JSON document per line.
    Ndjson,
    /// One JSON document in all.
    Document,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Empty when the event has no name.
    pub name: String,
    pub data: String,
}

impl Event {
    /// JavaScript's half emojis are mended: no JSON reader here takes them.
    fn new(name: String, data: Cow<'_, str>) -> Self {
        let data = without_lone_surrogates(&data).unwrap_or_else(|| data.into_owned());
        Self { name, data }
    }
}

/// Turns bytes into events.
#[derive(Debug)]
pub struct Splitter {
    framing: Framing,
    lines: Lines,
    name: String,
    data: String,
    has_data: bool,
}

impl Splitter {
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            lines: Lines::default(),
            name: String::new(),
            data: String::new(),
            has_data: false,
        }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        if self.data.len() > MAX_LINE || self.lines.held() > 2 * MAX_LINE {
            return Err(LineTooLong);
        }
        self.lines.push(bytes)
    }

    /// The next whole event.
    pub fn next_event(&mut self) -> Option<Event> {
        if self.framing == Framing::Document {
            return None;
        }
        loop {
            let line = self.lines.next_line()?;
            match self.framing {
                Framing::Ndjson | Framing::Document => {
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    return Some(Event::new(String::new(), String::from_utf8_lossy(line)));
                }
                Framing::Sse if line.is_empty() => {
                    if let Some(event) = self.take() {
                        return Some(event);
                    }
                }
                Framing::Sse => {
                    field(line, &mut self.name, &mut self.data, &mut self.has_data);
                }
            }
        }
    }

    /// The event that the end of the stream closes, if there is one.
    pub fn last_event(&mut self) -> Option<Event> {
        match (self.framing, self.lines.rest()) {
            (Framing::Ndjson | Framing::Document, Some(line))
                if !line.iter().all(u8::is_ascii_whitespace) =>
            {
                Some(Event::new(String::new(), String::from_utf8_lossy(line)))
            }
            (Framing::Ndjson | Framing::Document, _) => None,
            (Framing::Sse, rest) => {
                if let Some(line) = rest {
                    field(line, &mut self.name, &mut self.data, &mut self.has_data);
                }
                self.take()
            }
        }
    }

    fn take(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        std::mem::take(&mut self.has_data).then(|| Event::new(name, data.into()))
    }
}

fn field(line: &[u8], name: &mut String, data: &mut String, has_data: &mut bool) {
    let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
    let value = line.get(colon + 1..).unwrap_or_default();
    let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
    match &line[..colon] {
        b"event" => *name = value.into_owned(),
        b"data" => {
            if *has_data {
                data.push('\n');
            }
            data.push_str(&value);
            *has_data = true;
        }
        // Comments, ids and retry hints carry nothing a model says.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(framing: Framing, pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut splitter = Splitter::new(framing);
        let mut all = Vec::new();
        for piece in pieces {
            splitter.push(piece).unwrap();
            while let Some(event) = splitter.next_event() {
                all.push((event.name, event.data));
            }
        }
        all.extend(splitter.last_event().map(|event| (event.name, event.data)));
        all
    }

    fn pair(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    #[test]
    fn names_comments_and_several_data_lines_are_understood() {
        let text = b": hi\nevent: ping\ndata: {}\n\ndata:a\ndata: b\nid: 7\n\n\n\ndata: [DONE]\n\n";
        assert_eq!(
            events(Framing::Sse, &[text]),
            [pair("ping", "{}"), pair("", "a\nb"), pair("", "[DONE]")]
        );
    }

    #[test]
    fn an_event_that_the_end_cuts_short_still_counts() {
        assert_eq!(events(Framing::Sse, &[b"data: x"]), [pair("", "x")]);
        assert_eq!(events(Framing::Ndjson, &[b"{\"a\":1}\n\n{\"b\"", b":2}"]).len(), 2);
    }

    #[test]
    fn a_document_is_one_event_whatever_its_lines() {
        assert_eq!(
            events(Framing::Document, &[b"{\n \"a\":", b" 1\n}\n"]),
            [pair("", "{\n \"a\": 1\n}\n")]
        );
        assert_eq!(events(Framing::Document, &[b"\n"]), []);
    }

    #[test]
    fn half_an_emoji_does_not_spoil_the_event() {
        assert_eq!(events(Framing::Sse, &[b"data: \"\\ud83e\"\n\n"]), [pair("", "\"\\ufffd\"")]);
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1024 * 1024];
        let refused = (0..20).find_map(|_| lines.push(&piece).err());
        assert_eq!(refused, Some(LineTooLong));
    }

    #[test]
    fn an_event_without_end_is_refused_at_the_limit() {
        let mut splitter = Splitter::new(Framing::Sse);
        let line = format!("data: {}\n", "x".repeat(1024 * 1024));
        let refused = (0..20).find_map(|_| {
            let refused = splitter.push(line.as_bytes()).err();
            assert_eq!(splitter.next_event(), None);
            refused
        });
        assert_eq!(refused, Some(LineTooLong));
    }

    proptest! {
        #[test]
        fn where_bytes_are_cut_never_matters(cuts in proptest::collection::vec(0usize..70, 0..12)) {
            let text = "event: a\r\ndata: grüße 🦞\r\n\r\ndata: x\rdata: y\r\rdata: [DONE]\n\n";
            let whole = events(Framing::Sse, &[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&text.as_bytes()[from..]);
            prop_assert_eq!(events(Framing::Sse, &pieces), whole);
        }
    }
}
