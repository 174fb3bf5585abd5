//! Long texts in pieces that a network accepts. Pure.

/// Splits `text` into pieces of at most `limit` characters: at a paragraph, a
/// line, a space, in this order of preference. A code fence that has to be cut
/// is closed and opened again.
pub fn markdown(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(16);
    let mut pieces = Vec::new();
    let mut rest = text.trim().to_owned();
    while rest.chars().count() > limit {
        // Room for the closing fence.
        let room = limit - 4;
        let cut = best_cut(&rest, room);
        let (head, tail) = rest.split_at(cut);
        let (head, tail) = (head.trim_end(), tail.trim_start_matches('\n'));
        match open_fence(head) {
            // A longer one would leave no room to get ahead.
            Some(fence) if fence.chars().count() <= room / 4 => {
                pieces.push(format!("{head}\n```"));
                rest = format!("{fence}\n{tail}");
            }
            _ => {
                pieces.push(head.to_owned());
                rest = String::from(tail.trim_start_matches(' '));
            }
        }
    }
    if !rest.trim().is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// The paragraphs of a text; code fences are kept whole.
pub fn paragraphs(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for part in text.split("\n\n") {
        match all.last_mut().filter(|last| open_fence(last).is_some()) {
            Some(open) => {
                open.push_str("\n\n");
                open.push_str(part);
            }
            None => all.push(part.to_owned()),
        }
    }
    all.retain(|part| !part.trim().is_empty());
    all
}

/// Byte offset at which to cut, so that at most `room` characters come before.
fn best_cut(text: &str, room: usize) -> usize {
    let end = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
    let window = &text[..end];
    // A cut in the first half would make pieces needlessly small.
    let late = |at: usize| window[..at].chars().count() > room / 2;
    ["\n\n", "\n", " "]
        .iter()
        .find_map(|mark| window.rfind(mark).filter(|at| late(*at)))
        .unwrap_or(end)
}

/// The opening line of a code fence that `text` leaves open.
fn open_fence(text: &str) -> Option<&str> {
    let mut open = None;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            open = if open.is_some() { None } else { Some(line.trim()) };
        }
    }
    open
}

/// Splits `text` into lines of at most `limit` characters and `bytes` bytes,
/// for networks whose messages are lines.
pub fn lines(text: &str, limit: usize, bytes: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()) {
        let mut rest = line;
        loop {
            let mut taken = 0;
            let end = rest
                .char_indices()
                .find(|(at, c)| {
                    taken += 1;
                    taken > limit || at + c.len_utf8() > bytes
                })
                .map_or(rest.len(), |(at, _)| at);
            if end == rest.len() {
                break;
            }
            let cut = rest[..end].rfind(' ').filter(|at| *at > end / 2).unwrap_or(end.max(1));
            pieces.push(rest[..cut].trim_end().to_owned());
            rest = rest[cut..].trim_start();
        }
        if !rest.is_empty() {
            pieces.push(rest.to_owned());
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_one_piece_and_nothing_is_none() {
        assert_eq!(markdown(" hello ", 100), ["hello"]);
        assert!(markdown("  \n", 100).is_empty());
    }

    #[test]
    fn paragraphs_are_kept_together_where_they_fit() {
        let text = format!("{}\n\n{}", "a".repeat(40), "b".repeat(40));
        assert_eq!(markdown(&text, 60), ["a".repeat(40), "b".repeat(40)]);
    }

    #[test]
    fn a_cut_fence_is_closed_and_opened_again() {
        let text = format!("```rust\n{}```", "let x = 1;\n".repeat(12));
        let pieces = markdown(&text, 80);
        assert!(pieces.len() > 1);
        for piece in &pieces {
            assert!(piece.starts_with("```rust\n") && piece.ends_with("\n```"), "{piece}");
            assert!(piece.chars().count() <= 80, "{piece}");
        }
    }

    #[test]
    fn a_fence_as_long_as_a_piece_does_not_go_on_for_ever() {
        for length in [3, 10, 30, 60, 68, 75, 76, 200] {
            let text = format!("```{}\n{}\n```", "x".repeat(length), "y".repeat(200));
            let pieces = markdown(&text, 80);
            let longest = pieces.iter().map(|piece| piece.chars().count()).max();
            assert!(pieces.len() < 20 && longest <= Some(80), "{length}: {pieces:?}");
        }
    }

    #[test]
    fn a_blank_line_in_a_fence_ends_no_paragraph() {
        let text = "one\n\n```rs\na\n\nb\n```\n\n\n\ntwo";
        assert_eq!(paragraphs(text), ["one", "```rs\na\n\nb\n```", "two"]);
        assert_eq!(paragraphs("```\nopen\n\nend"), ["```\nopen\n\nend"]);
    }

    #[test]
    fn every_line_is_a_message_of_its_own() {
        assert_eq!(lines("one\n\n two \nthree", 350, 400), ["one", " two", "three"]);
        assert_eq!(lines("aaa bbb ccc", 7, 400), ["aaa bbb", "ccc"]);
    }

    proptest! {
        #[test]
        fn pieces_keep_every_word_and_the_limit(text in "[a-zé 漢`\n]{0,400}", limit in 20_usize..80) {
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            let pieces = markdown(&text, limit);
            prop_assert!(pieces.iter().all(|piece| piece.chars().count() <= limit));
            if !text.contains("```") {
                prop_assert_eq!(squeezed(&pieces.concat()), squeezed(&text));
            }
            let pieces = lines(&text, limit, 60);
            prop_assert!(pieces.iter().all(|it| it.chars().count() <= limit && it.len() <= 60));
            prop_assert_eq!(squeezed(&pieces.concat()), squeezed(&text));
        }
    }
}
