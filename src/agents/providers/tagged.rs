//! Thinking that a model writes into its text: `<think>…</think>` in front of
//! the answer, as models on one's own machine do whose server does not set it
//! apart. It is taken out, so that nobody is sent it and no summary holds it.

use std::collections::VecDeque;

use crate::agents::providers::Part;

/// Names of the tags, in lower case.
const NAMES: [&str; 4] = ["think", "thinking", "thought", "antthinking"];
/// The longest opening tag.
const LONGEST: usize = "<antthinking>".len();

/// Where in an answer we are.
#[derive(Debug)]
enum Place {
    /// Nothing but a possible beginning of a tag so far.
    Front(String),
    /// Inside; the text is what may be the beginning of this closing tag.
    Inside {
        closing: String,
        held: String,
    },
    /// The blank lines between the thinking and the answer.
    Behind,
    Answer,
}

/// Takes the thinking out of one answer.
#[derive(Debug)]
pub(super) struct Tagged(Place);

impl Default for Tagged {
    fn default() -> Self {
        Self(Place::Front(String::new()))
    }
}

impl Tagged {
    /// Takes one part of the answer; appends what it has become.
    pub(super) fn take(&mut self, part: Part, out: &mut VecDeque<Part>) {
        match part {
            Part::Text(text) => self.text(&text, out),
            other => {
                if !matches!(other, Part::Thinking(_)) {
                    self.end(out);
                }
                out.push_back(other);
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut VecDeque<Part>) {
        match &mut self.0 {
            Place::Answer => out.push_back(Part::Text(text.to_owned())),
            Place::Front(held) => {
                held.push_str(text);
                let tag = held.trim_start();
                if let Some((name, rest)) = opened(tag) {
                    let (closing, rest) = (format!("</{name}>"), rest.to_owned());
                    self.0 = Place::Inside { closing, held: String::new() };
                    self.text(&rest, out);
                } else if !may_open(tag) {
                    let text = std::mem::take(held);
                    self.0 = Place::Answer;
                    out.push_back(Part::Text(text));
                }
            }
            Place::Inside { closing, held } => {
                held.push_str(text);
                if let Some(at) = find(held, closing) {
                    let rest = held.split_off(at);
                    let rest = rest[closing.len()..].to_owned();
                    think(std::mem::take(held), out);
                    self.0 = Place::Behind;
                    self.text(&rest, out);
                } else {
                    let kept = kept(held, closing);
                    let thought = held.drain(..held.len() - kept).collect();
                    think(thought, out);
                }
            }
            Place::Behind => {
                let text = text.trim_start();
                if !text.is_empty() {
                    self.0 = Place::Answer;
                    out.push_back(Part::Text(text.to_owned()));
                }
            }
        }
    }

    /// The text is over, for now: what was held back is what it looks like.
    fn end(&mut self, out: &mut VecDeque<Part>) {
        match &mut self.0 {
            Place::Front(held) if !held.is_empty() => {
                out.push_back(Part::Text(std::mem::take(held)));
                self.0 = Place::Answer;
            }
            Place::Inside { held, .. } => think(std::mem::take(held), out),
            Place::Front(_) | Place::Behind | Place::Answer => {}
        }
    }
}

fn think(text: String, out: &mut VecDeque<Part>) {
    if !text.is_empty() {
        out.push_back(Part::Thinking(text));
    }
}

/// The name of the tag that `text` begins with, and what follows it.
fn opened(text: &str) -> Option<(&'static str, &str)> {
    let (tag, rest) = text.strip_prefix('<')?.split_once('>')?;
    let name = NAMES.into_iter().find(|name| tag.trim().eq_ignore_ascii_case(name))?;
    Some((name, rest))
}

/// Whether more text could make a tag of it.
fn may_open(text: &str) -> bool {
    text.is_empty()
        || text.len() < LONGEST
            && text.strip_prefix('<').is_some_and(|start| {
                NAMES.iter().any(|name| {
                    name.get(..start.len()).is_some_and(|part| part.eq_ignore_ascii_case(start))
                })
            })
}

/// Where `tag` stands in `text`, in upper or lower case.
fn find(text: &str, tag: &str) -> Option<usize> {
    let (text, tag) = (text.as_bytes(), tag.as_bytes());
    text.windows(tag.len()).position(|part| part.eq_ignore_ascii_case(tag))
}

/// How many bytes at the end of `text` may be the beginning of `tag`.
fn kept(text: &str, tag: &str) -> usize {
    let (text, tag) = (text.as_bytes(), tag.as_bytes());
    (1..tag.len().min(text.len() + 1))
        .rev()
        .find(|len| text[text.len() - len..].eq_ignore_ascii_case(&tag[..*len]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Thinking and text of an answer that comes in these pieces.
    fn read(pieces: &[&str]) -> (String, String) {
        let mut tagged = Tagged::default();
        let mut out = VecDeque::new();
        for piece in pieces {
            tagged.take(Part::Text((*piece).to_owned()), &mut out);
        }
        tagged.end(&mut out);
        let mut read = (String::new(), String::new());
        for part in out {
            match part {
                Part::Thinking(text) => read.0.push_str(&text),
                Part::Text(text) => read.1.push_str(&text),
                other => panic!("{other:?}"),
            }
        }
        read
    }

    #[test]
    fn thinking_in_front_of_an_answer_is_told_apart() {
        let cases = [
            ("<think>a plan</think>\n\nDone.", ("a plan", "Done.")),
            ("\n<THINKING>x < y</Thinking>ok", ("x < y", "ok")),
            ("<think>cut off", ("cut off", "")),
            ("<think></think>", ("", "")),
            ("<think>1</think>a<think>2</think>", ("1", "a<think>2</think>")),
            ("Tags like <think> stay.", ("", "Tags like <think> stay.")),
            ("<thin", ("", "<thin")),
            ("<thinker>no</thinker>", ("", "<thinker>no</thinker>")),
            ("<b>bold</b>", ("", "<b>bold</b>")),
            ("< 5", ("", "< 5")),
            ("  plain", ("", "  plain")),
        ];
        for (text, (thinking, answer)) in cases {
            assert_eq!(read(&[text]), (thinking.to_owned(), answer.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_call_after_the_thinking_keeps_its_place() {
        let mut tagged = Tagged::default();
        let mut out = VecDeque::new();
        tagged.take(Part::Text("<think>so</thi".into()), &mut out);
        let call = Part::ToolCall { id: "1".into(), name: "x".into(), arguments: 1.into() };
        tagged.take(call.clone(), &mut out);
        assert_eq!(
            Vec::from(out),
            [Part::Thinking("so".into()), Part::Thinking("</thi".into()), call]
        );
    }

    proptest! {
        #[test]
        fn where_the_text_is_cut_never_matters(cuts in proptest::collection::vec(0usize..40, 0..9)) {
            let text = "\n<think>grüße </thi 🦞</think>\n\nHi <b> 🦞";
            let mut cuts: Vec<usize> =
                cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            pieces.push(&text[from..]);
            prop_assert_eq!(read(&pieces), ("grüße </thi 🦞".to_owned(), "Hi <b> 🦞".to_owned()));
        }
    }
}
