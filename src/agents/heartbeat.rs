//! What the reply to a heartbeat means.

const TOKEN: &str = "HEARTBEAT_OK";

/// What models put around the token.
const MARKS: [char; 3] = ['*', '`', '_'];

/// Whether a reply begins or ends with the token for "nothing", and what else
/// it says. In the middle of a sentence it is a word like others.
pub fn remark(text: &str) -> (bool, &str) {
    let mut rest = text.trim();
    let mut found = false;
    loop {
        let bare = rest.trim_start_matches(MARKS);
        let begins = bare.strip_prefix(TOKEN);
        let begins = begins.filter(|after| !after.starts_with(|c: char| c.is_alphanumeric()));
        if let Some(after) = begins {
            rest = after.trim_start_matches(MARKS).trim();
        } else if let Some(before) =
            rest.trim_end_matches(['.', '!']).trim_end_matches(MARKS).strip_suffix(TOKEN)
        {
            rest = before.trim_end_matches(MARKS).trim();
        } else {
            return (found, rest);
        }
        found = true;
    }
}

/// Whether a reply says that nothing needs attention, with at most so many
/// characters beside the token.
pub fn is_nothing(text: &str, most: u64) -> bool {
    let (has_token, rest) = remark(text);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if has_token { rest.chars().count() <= most } else { rest.is_empty() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_counts_at_the_edges_of_a_reply() {
        for nothing in [
            "",
            "HEARTBEAT_OK",
            "**HEARTBEAT_OK**.",
            "All calm. HEARTBEAT_OK",
            "HEARTBEAT_OK. Fine",
        ] {
            assert!(is_nothing(nothing, 20), "{nothing}");
        }
        for told in ["I cannot say HEARTBEAT_OK: the disk is full", "HEARTBEAT_OKAY", "Look!"] {
            assert!(!is_nothing(told, 300), "{told}");
        }
        assert!(!is_nothing("HEARTBEAT_OK but the disk is nearly full", 20));
        assert_eq!(remark("HEARTBEAT_OK\nBut look!"), (true, "But look!"));
    }
}
