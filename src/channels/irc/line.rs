//! One line of the IRC protocol, read and written. Pure.

/// A line that a server sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tags: Vec<(String, String)>,
    /// `nick!user@host`, or a server's name.
    pub(super) prefix: String,
    pub(super) command: String,
    pub(super) params: Vec<String>,
}

impl Line {
    pub(super) fn parse(text: &str) -> Self {
        let mut line = Self::default();
        let mut rest = text.trim_end_matches(['\r', '\n']);
        if let Some(tagged) = rest.strip_prefix('@') {
            let (tags, after) = tagged.split_once(' ').unwrap_or((tagged, ""));
            line.tags = tags
                .split(';')
                .map(|tag| tag.split_once('=').unwrap_or((tag, "")))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            rest = after.trim_start_matches(' ');
        }
        if let Some(prefixed) = rest.strip_prefix(':') {
            let (prefix, after) = prefixed.split_once(' ').unwrap_or((prefixed, ""));
            prefix.clone_into(&mut line.prefix);
            rest = after.trim_start_matches(' ');
        }
        while !rest.is_empty() {
            if let Some(trailing) = rest.strip_prefix(':').filter(|_| !line.command.is_empty()) {
                line.params.push(trailing.to_owned());
                break;
            }
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            if line.command.is_empty() {
                line.command = word.to_ascii_uppercase();
            } else {
                line.params.push(word.to_owned());
            }
            rest = after.trim_start_matches(' ');
        }
        line
    }

    pub(super) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    pub(super) fn last(&self) -> &str {
        self.params.last().map_or("", String::as_str)
    }

    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        let (_, value) = self.tags.iter().find(|(key, _)| key == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// The nick of the prefix.
    pub(super) fn nick(&self) -> &str {
        self.prefix.split(['!', '@']).next().unwrap_or_default()
    }
}

/// A parameter that cannot end its line or the message.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect()
}

/// A text without the control codes for colours and styles.
pub(super) fn unstyled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{3}' => {
                for part in 0..2 {
                    if part == 1 && chars.next_if_eq(&',').is_none() {
                        break;
                    }
                    for _ in 0..2 {
                        if chars.next_if(char::is_ascii_digit).is_none() {
                            break;
                        }
                    }
                }
            }
            c if c.is_control() && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

/// Names and channels compare without case.
pub(super) fn same(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}

/// Whether `text` holds `nick` as a word.
pub(super) fn names(text: &str, nick: &str) -> bool {
    let (text, nick) = (text.to_lowercase(), nick.to_lowercase());
    let part = |c: char| c.is_alphanumeric() || "_-[]\\`^{}|".contains(c);
    text.match_indices(&nick).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + nick.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_tags_prefix_command_and_parameters() {
        let line = Line::parse("@msgid=7;x :al!a@h PRIVMSG #Claw :hi : there\r\n");
        assert_eq!(line.tag("msgid"), Some("7"));
        assert_eq!((line.nick(), line.prefix.as_str()), ("al", "al!a@h"));
        assert_eq!((line.command.as_str(), line.param(0)), ("PRIVMSG", "#Claw"));
        assert_eq!(line.last(), "hi : there");
        let ping = Line::parse("PING token");
        assert_eq!((ping.command.as_str(), ping.last()), ("PING", "token"));
        assert_eq!(Line::parse(""), Line::default());
        assert_eq!(Line::parse(":only.prefix").command, "");
    }

    #[test]
    fn colours_go_and_words_stay() {
        assert_eq!(unstyled("\u{2}bold\u{2} \u{3}04,11red\u{3} 5"), "bold red 5");
    }

    #[test]
    fn a_nick_is_a_word_in_any_case() {
        assert!(names("Hey CLAW: hello", "claw"));
        assert!(names("claw", "claw"));
        assert!(!names("clawbot: hello", "claw"));
        assert!(!names("my-claw", "claw"));
    }
}
