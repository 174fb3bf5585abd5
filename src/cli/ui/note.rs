//! Titled boxes, as the reference's longer commands print them.

use crate::cli::ui::page::Page;
use crate::cli::ui::paint::Palette;

/// Longest line inside a box.
const WIDTH: usize = 72;

/// Adds a box with a title. Lines are wrapped; a wrapped line continues below
/// the text of its bullet.
pub fn note(page: &mut Page, paint: Palette, title: &str, lines: &[String]) {
    let lines: Vec<String> = lines.iter().flat_map(|line| wrap(line)).collect();
    let longest = lines.iter().map(|line| columns(line)).chain([columns(title) + 2]).max();
    let inner = longest.unwrap_or(0) + 4;
    let rule = "─".repeat(inner.saturating_sub(columns(title) + 3));
    let bar = paint.dim("│");
    page.line(&bar);
    page.line(format!(
        "{}  {} {}",
        paint.good("◇"),
        paint.heading(title),
        paint.dim(&format!("{rule}╮"))
    ));
    page.line(format!("{bar}{}{bar}", " ".repeat(inner)));
    for line in &lines {
        let gap = " ".repeat(inner.saturating_sub(columns(line) + 2));
        page.line(format!("{bar}  {line}{gap}{bar}"));
    }
    page.line(format!("{bar}{}{bar}", " ".repeat(inner)));
    page.line(paint.dim(&format!("├{}╯", "─".repeat(inner))));
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

fn wrap(line: &str) -> Vec<String> {
    let indent = line.len() - line.trim_start().len();
    let bullet = if line.trim_start().starts_with("- ") { 2 } else { 0 };
    let hang = " ".repeat(indent + bullet);
    let mut out = Vec::new();
    let mut current = " ".repeat(indent);
    let mut empty = true;
    for word in line.split_whitespace() {
        if !empty && columns(&current) + 1 + columns(word) > WIDTH {
            out.push(std::mem::replace(&mut current, hang.clone()));
            empty = true;
        }
        if !empty {
            current.push(' ');
        }
        current.push_str(word);
        empty = false;
    }
    out.push(current);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_fits_its_longest_line_and_wraps_below_the_bullet() {
        let mut page = Page::default();
        let long = format!("- {}", "word ".repeat(20).trim());
        note(&mut page, Palette::default(), "Gateway", &["short".to_owned(), long]);
        let text = String::from(page);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("◇  Gateway ─") && lines[1].ends_with('╮'));
        assert_eq!(lines[3].trim_end_matches([' ', '│']), "│  short");
        assert!(lines[5].starts_with("│    word"), "{text}");
        let widths: Vec<usize> = lines[1..].iter().map(|line| columns(line)).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{widths:?}\n{text}");
    }
}
