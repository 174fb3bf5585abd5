//! Readable text out of HTML, good enough for models: no scripts, no styles,
//! headings, lists and links kept as Markdown if wanted. Pure and lenient.

use std::fmt::Write as _;

/// Elements whose content is not text.
const SKIPPED: &[&str] = &["script", "style", "noscript", "template", "svg", "head", "iframe"];
/// Elements that begin a line of their own.
const BLOCKS: &[&str] = &[
    "p",
    "div",
    "section",
    "article",
    "header",
    "footer",
    "main",
    "nav",
    "aside",
    "ul",
    "ol",
    "table",
    "tr",
    "blockquote",
    "pre",
    "form",
    "figure",
    "figcaption",
    "dl",
    "dt",
    "dd",
    "hr",
    "br",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "li",
];
/// Characters by name.
const ENTITIES: &[(&str, &str)] = &[
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ndash", "–"),
    ("mdash", "—"),
    ("hellip", "…"),
    ("copy", "©"),
    ("reg", "®"),
    ("euro", "€"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("laquo", "«"),
    ("raquo", "»"),
    ("bull", "•"),
    ("middot", "·"),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("Auml", "Ä"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("szlig", "ß"),
    ("eacute", "é"),
    ("egrave", "è"),
];

/// Title and text of a page.
pub(crate) fn readable(html: &str, markdown: bool) -> (Option<String>, String) {
    let lower = html.to_ascii_lowercase();
    let title = between(html, &lower, "title").map(|text| squeeze(&decode(text)));
    let mut out =
        Writer { text: String::with_capacity(html.len() / 4), markdown, links: Vec::new() };
    let mut at = 0;
    while at < html.len() {
        let Some(open) = html[at..].find('<').map(|offset| at + offset) else {
            out.words(&html[at..]);
            break;
        };
        out.words(&html[at..open]);
        if html[open..].starts_with("<!--") {
            at = html[open..].find("-->").map_or(html.len(), |offset| open + offset + 3);
            continue;
        }
        let Some(close) = html[open..].find('>').map(|offset| open + offset) else { break };
        let tag = &html[open + 1..close];
        at = close + 1;
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        if name.is_empty() {
            continue;
        }
        let is_end = tag.starts_with('/');
        if !is_end && SKIPPED.contains(&name.as_str()) && !tag.ends_with('/') {
            let end = format!("</{name}");
            at = lower[at..].find(&end).map_or(html.len(), |offset| at + offset);
            continue;
        }
        out.tag(&name, is_end, tag);
    }
    (title.filter(|title| !title.is_empty()), out.finish())
}

struct Writer {
    text: String,
    markdown: bool,
    /// Targets of links that are open, with the length of the text before.
    links: Vec<(usize, String)>,
}

impl Writer {
    fn words(&mut self, raw: &str) {
        let text = decode(raw);
        for (index, word) in text.split_whitespace().enumerate() {
            let spaced = index > 0 || text.starts_with(char::is_whitespace);
            if spaced && !self.text.is_empty() && !self.text.ends_with(['\n', ' ']) {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
        if text.ends_with(char::is_whitespace) && !self.text.ends_with(['\n', ' ']) {
            self.text.push(' ');
        }
    }

    fn line(&mut self) {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn tag(&mut self, name: &str, is_end: bool, tag: &str) {
        // The next item, or the end of the list, begins the line.
        if BLOCKS.contains(&name) && !(name == "li" && is_end) {
            self.line();
        }
        if name == "td" || name == "th" {
            self.text.push_str(if is_end { " | " } else { "" });
        }
        if !self.markdown {
            return;
        }
        match (name, is_end) {
            ("li", false) => self.text.push_str("- "),
            ("h1" | "h2" | "h3" | "h4" | "h5" | "h6", false) => {
                let level = name.as_bytes().get(1).map_or(1, |digit| usize::from(digit - b'0'));
                self.line();
                self.text.push_str(&"#".repeat(level));
                self.text.push(' ');
            }
            ("a", false) => {
                if let Some(target) = attribute(tag, "href")
                    && target.starts_with("http")
                {
                    self.links.push((self.text.len(), decode(&target)));
                }
            }
            ("a", true) => {
                if let Some((start, target)) = self.links.pop()
                    && start <= self.text.len()
                    && self.text.is_char_boundary(start)
                {
                    let label = self.text.split_off(start);
                    let inner = label.trim();
                    if inner.is_empty() {
                        return;
                    }
                    let lead = if label.starts_with(' ') { " " } else { "" };
                    // Writing to a String cannot fail.
                    let _ = write!(self.text, "{lead}[{inner}]({target})");
                }
            }
            _ => {}
        }
    }

    fn finish(self) -> String {
        let mut lines: Vec<&str> = Vec::new();
        for line in self.text.lines().map(str::trim) {
            let blank = line.is_empty() || line == "-";
            if !blank || lines.last().is_some_and(|last| !last.is_empty()) {
                lines.push(if blank { "" } else { line });
            }
        }
        lines.join("\n").trim().to_owned()
    }
}

/// The content of the first element of that name. Lower-casing ASCII letters
/// keeps every byte in its place.
fn between<'a>(html: &'a str, lower: &str, name: &str) -> Option<&'a str> {
    let open = lower.find(&format!("<{name}"))?;
    let start = open + lower[open..].find('>')? + 1;
    let end = start + lower[start..].find(&format!("</{name}"))?;
    Some(&html[start..end])
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let at = tag.to_ascii_lowercase().find(&format!("{name}="))? + name.len() + 1;
    let rest = &tag[at..];
    let quote = rest.chars().next()?;
    if matches!(quote, '"' | '\'') {
        let inner = &rest[1..];
        Some(inner[..inner.find(quote)?].to_owned())
    } else {
        Some(rest.split_whitespace().next()?.to_owned())
    }
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Replaces character references.
fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(end, _)| end);
        if let Some((end, character)) = end.and_then(|end| Some((end, entity(&rest[1..end])?))) {
            out.push_str(&character);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).map(String::from);
    }
    ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = r#"<html><head><title> A &amp; B </title><style>p{}</style></head><body>
        <script>var x = "<p>no</p>";</script><h1>Head</h1><p>One <b>two</b>&nbsp;three.</p>
        <ul><li>first</li><li>see <a href="https://example.com/x?a=1&amp;b=2">this</a> page</li></ul>
        <!-- <p>hidden</p> --></body></html>"#;

    #[test]
    fn a_page_becomes_markdown() {
        let (title, text) = readable(PAGE, true);
        assert_eq!(title.as_deref(), Some("A & B"));
        assert_eq!(
            text,
            "# Head\n\nOne two three.\n\n- first\n- see [this](https://example.com/x?a=1&b=2) page"
        );
    }

    #[test]
    fn plain_text_has_no_marks() {
        let (_, text) = readable(PAGE, false);
        assert!(text.contains("see this page") && !text.contains('#') && !text.contains("hidden"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(html in "(<[a-z/!]{0,6}|[a-zä&;#0-9 >\"'=-]){0,60}") {
            readable(&html, true);
        }
    }
}
