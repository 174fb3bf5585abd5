//! Markdown as the HTML that a network shows. Pure.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Whose HTML.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flavour {
    /// A handful of inline tags; everything else is text and line breaks.
    Telegram,
    /// `org.matrix.custom.html`.
    #[default]
    Matrix,
}

/// Renders a text; what has no form on the network keeps its words.
pub fn html(text: &str, flavour: Flavour) -> String {
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES;
    let mut writer = Writer { flavour, ..Writer::default() };
    for event in Parser::new_ext(text, options) {
        writer.event(event);
    }
    writer.out.trim_end().to_owned()
}

/// Escapes what would be read as markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[derive(Debug, Default)]
struct Writer {
    flavour: Flavour,
    out: String,
    /// Numbers of the open lists; `None` for bullets.
    lists: Vec<Option<u64>>,
    /// Cells of the table row that is being read.
    cells: Option<Vec<String>>,
    in_cell: bool,
}

impl Writer {
    fn is_telegram(&self) -> bool {
        self.flavour == Flavour::Telegram
    }

    fn text(&mut self, text: &str) {
        let escaped = escape(text);
        match self.cells.as_mut().filter(|_| self.in_cell) {
            Some(cells) => {
                if let Some(cell) = cells.last_mut() {
                    cell.push_str(&escaped);
                }
            }
            None => self.out.push_str(&escaped),
        }
    }

    fn tag(&mut self, tag: &str) {
        if !self.in_cell {
            self.out.push_str(tag);
        }
    }

    /// Starts a new block after what is there.
    fn block(&mut self, gap: &str) {
        let is_at_start =
            self.out.is_empty() || self.out.ends_with('\n') || self.out.ends_with("<blockquote>");
        if self.is_telegram() && !is_at_start {
            self.out.push_str(gap);
        }
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(text) => {
                self.tag("<code>");
                self.text(&text);
                self.tag("</code>");
            }
            Event::SoftBreak | Event::HardBreak => {
                let mark = if self.is_telegram() { "\n" } else { "<br>" };
                self.tag(mark);
            }
            Event::Rule => {
                self.block("\n");
                let mark = if self.is_telegram() { "———\n" } else { "<hr>" };
                self.tag(mark);
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        let telegram = self.is_telegram();
        match tag {
            Tag::Paragraph if self.lists.is_empty() => {
                self.block("\n\n");
                if !telegram {
                    self.tag("<p>");
                }
            }
            Tag::Heading { level, .. } => {
                self.block("\n\n");
                let open = if telegram { "<b>".to_owned() } else { format!("<{level}>") };
                self.tag(&open);
            }
            Tag::BlockQuote(_) => {
                self.block("\n");
                self.tag("<blockquote>");
            }
            Tag::CodeBlock(kind) => {
                self.block("\n");
                let language = match kind {
                    CodeBlockKind::Fenced(info) => {
                        info.split_whitespace().next().unwrap_or_default().to_owned()
                    }
                    CodeBlockKind::Indented => String::new(),
                };
                let open = if language.is_empty() {
                    "<pre><code>".to_owned()
                } else {
                    format!("<pre><code class=\"language-{}\">", escape(&language))
                };
                self.tag(&open);
            }
            Tag::List(first) => {
                self.block("\n");
                self.lists.push(first);
                if !telegram {
                    self.tag(if first.is_some() { "<ol>" } else { "<ul>" });
                }
            }
            Tag::Item => {
                if !telegram {
                    return self.tag("<li>");
                }
                self.block("\n");
                let depth = self.lists.len().saturating_sub(1);
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}{}. ", "  ".repeat(depth), *number - 1)
                    }
                    _ => format!("{}• ", "  ".repeat(depth)),
                };
                self.tag(&mark);
            }
            Tag::Emphasis => self.tag(if telegram { "<i>" } else { "<em>" }),
            Tag::Strong => self.tag(if telegram { "<b>" } else { "<strong>" }),
            Tag::Strikethrough => self.tag(if telegram { "<s>" } else { "<del>" }),
            Tag::Link { dest_url, .. } => {
                let open = format!("<a href=\"{}\">", escape(&dest_url));
                self.tag(&open);
            }
            Tag::Table(_) => {
                self.block("\n");
                self.tag("<pre>");
            }
            Tag::TableHead | Tag::TableRow => self.cells = Some(Vec::new()),
            Tag::TableCell => {
                if let Some(cells) = &mut self.cells {
                    cells.push(String::new());
                }
                self.in_cell = true;
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        let telegram = self.is_telegram();
        match tag {
            TagEnd::Paragraph if self.lists.is_empty() => {
                self.tag(if telegram { "\n\n" } else { "</p>" });
            }
            TagEnd::Heading(level) => {
                let close = if telegram { "</b>\n".to_owned() } else { format!("</{level}>") };
                self.tag(&close);
            }
            TagEnd::BlockQuote(_) => {
                self.out.truncate(self.out.trim_end().len());
                self.tag(if telegram { "</blockquote>\n" } else { "</blockquote>" });
            }
            TagEnd::CodeBlock => {
                self.tag(if telegram { "</code></pre>\n" } else { "</code></pre>" });
            }
            TagEnd::List(ordered) => {
                self.lists.pop();
                let close = if ordered { "</ol>" } else { "</ul>" };
                self.tag(if telegram { "\n" } else { close });
            }
            TagEnd::Item if !telegram => self.tag("</li>"),
            TagEnd::Emphasis => self.tag(if telegram { "</i>" } else { "</em>" }),
            TagEnd::Strong => self.tag(if telegram { "</b>" } else { "</strong>" }),
            TagEnd::Strikethrough => self.tag(if telegram { "</s>" } else { "</del>" }),
            TagEnd::Link => self.tag("</a>"),
            TagEnd::Table => self.tag(if telegram { "</pre>\n" } else { "</pre>" }),
            TagEnd::TableHead | TagEnd::TableRow => {
                let row = self.cells.take().unwrap_or_default().join(" | ");
                self.out.push_str(&row);
                self.out.push('\n');
            }
            TagEnd::TableCell => self.in_cell = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telegram_gets_its_handful_of_tags() {
        let cases = [
            ("group *hi* `x`", "group <i>hi</i> <code>x</code>"),
            ("**b** ~~s~~ <tag> & more", "<b>b</b> <s>s</s> &lt;tag&gt; &amp; more"),
            ("# Head\n\ntext", "<b>Head</b>\ntext"),
            ("- a\n- b\n\nend", "• a\n• b\nend"),
            ("1. a\n2. b", "1. a\n2. b"),
            ("> quoted\n\nafter", "<blockquote>quoted</blockquote>\nafter"),
            (
                "```rs\nlet x = 1 < 2;\n```",
                "<pre><code class=\"language-rs\">let x = 1 &lt; 2;\n</code></pre>",
            ),
            ("[t](https://e.x/?a=1&b=2)", "<a href=\"https://e.x/?a=1&amp;b=2\">t</a>"),
            ("one\ntwo\n\nthree", "one\ntwo\n\nthree"),
            ("| a | b |\n|---|---|\n| 1 | 2 |", "<pre>a | b\n1 | 2\n</pre>"),
        ];
        for (text, expected) in cases {
            assert_eq!(html(text, Flavour::Telegram), expected, "{text}");
        }
    }

    #[test]
    fn matrix_gets_html() {
        assert_eq!(
            html("**b**\n\n- a", Flavour::Matrix),
            "<p><strong>b</strong></p><ul><li>a</li></ul>"
        );
    }
}
