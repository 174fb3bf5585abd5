//! Tables in boxes. A terminal gets what fits its width; a pipe gets 120
//! columns, so that output does not depend on where it is captured.

use crate::cli::ui::page::Page;

/// Columns of a table that is not shown on a terminal.
pub const PIPE_WIDTH: usize = 120;

/// How a column is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As wide as its widest cell.
    Content,
    /// Takes what the others leave; long cells are wrapped.
    Rest,
    /// Like `Content`, flushed to the right.
    Number,
}

/// Columns with their headings, and rows.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(&'static str, Fit)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Fit)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, surplus ones dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    pub fn render(&self, width: usize) -> String {
        let widths = self.widths(width);
        let rule = |left: &str, middle: &str, right: &str| {
            let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            format!("{left}{}{right}", bars.join(middle))
        };
        let mut page = Page::default();
        page.line(rule("┌", "┬", "┐"));
        let headings: Vec<String> =
            self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        self.print(&mut page, &headings, &widths);
        page.line(rule("├", "┼", "┤"));
        for row in &self.rows {
            self.print(&mut page, row, &widths);
        }
        page.line(rule("└", "┴", "┘"));
        page.into()
    }

    fn widths(&self, width: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().map(|row| length(&row[at]));
                cells.max().unwrap_or(0).max(length(self.columns[at].0))
            })
            .collect();
        let frame = 3 * self.columns.len() + 1;
        let free = width.saturating_sub(frame);
        let flexible: Vec<usize> =
            (0..self.columns.len()).filter(|at| self.columns[*at].1 == Fit::Rest).collect();
        if flexible.is_empty() {
            return widths;
        }
        let fixed: usize = widths
            .iter()
            .enumerate()
            .filter(|(at, _)| !flexible.contains(at))
            .map(|(_, width)| *width)
            .sum();
        let rest = free.saturating_sub(fixed);
        for (nth, at) in flexible.iter().enumerate() {
            let share = rest / flexible.len() + usize::from(nth < rest % flexible.len());
            widths[*at] = share.max(length(self.columns[*at].0)).max(8);
        }
        widths
    }

    fn print(&self, page: &mut Page, cells: &[String], widths: &[usize]) {
        let wrapped: Vec<Vec<String>> =
            cells.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(1);
        for line in 0..height {
            let parts: Vec<String> = wrapped
                .iter()
                .enumerate()
                .map(|(at, lines)| {
                    let text = lines.get(line).map_or("", String::as_str);
                    let gap = " ".repeat(widths[at].saturating_sub(length(text)));
                    match self.columns[at].1 {
                        Fit::Number if line > 0 || cells[at] != self.columns[at].0 => {
                            format!("{gap}{text}")
                        }
                        _ => format!("{text}{gap}"),
                    }
                })
                .collect();
            page.line(format!("│ {} │", parts.join(" │ ")));
        }
    }
}

fn length(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

/// Breaks at spaces, and inside words that are longer than a line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            if !line.is_empty() && length(&line) + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
            }
            while word.len() > width {
                let rest = word.split_off(width);
                lines.push(word.iter().collect());
                word = rest;
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_column_fills_the_width_and_wraps() {
        let mut table =
            Table::new(&[("Item", Fit::Content), ("Value", Fit::Rest), ("N", Fit::Number)]);
        table.row(["Dashboard", "http://127.0.0.1:18789/ is where it is", "7"]);
        table.row(["OS", "linux", "12"]);
        insta::assert_snapshot!(table.render(44), @r"
        ┌───────────┬─────────────────────────┬────┐
        │ Item      │ Value                   │ N  │
        ├───────────┼─────────────────────────┼────┤
        │ Dashboard │ http://127.0.0.1:18789/ │  7 │
        │           │ is where it is          │    │
        │ OS        │ linux                   │ 12 │
        └───────────┴─────────────────────────┴────┘
        ");
    }

    #[test]
    fn a_word_longer_than_the_line_is_cut() {
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 3), [""]);
    }
}
