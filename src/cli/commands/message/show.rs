//! What `message …` prints of an answer.

use serde_json::Value;

use crate::base::clock::iso8601;
use crate::channels::kind;
use crate::cli::ui::page::Page;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};

/// Rows of each table.
const MOST_ROWS: usize = 50;

/// What came of an action.
pub(super) fn payload(action: &str, label: &str, payload: &Value) -> Page {
    let mut page = Page::default();
    match action {
        "poll" => {
            page.line(sent("Poll sent", label, payload));
            if let Some(poll) = payload["pollId"].as_str() {
                page.line(format!("Poll id: {poll}"));
            }
        }
        "sticker" => page.line(sent("Sent", label, payload)),
        "react" => page.line(reacted(payload)),
        "reactions" => listed(&mut page, "Reactions", reactions(&payload["reactions"])),
        "read" => listed(&mut page, "Messages", messages(&payload["messages"])),
        "list-pins" => listed(&mut page, "Pinned messages", messages(&payload["events"])),
        _ => {
            page.line(format!("✅ {action} via {label}."));
            summary(&mut page, payload);
        }
    }
    page
}

pub(super) fn broadcast(results: &[Value]) -> Page {
    let good = results.iter().filter(|row| row["ok"] == true).count();
    let total = results.len();
    let mut page = Page::default();
    page.line(format!("✅ Broadcast complete ({good}/{total} succeeded, {} failed)", total - good));
    let mut table = Table::new(&[
        ("Channel", Fit::Content),
        ("Target", Fit::Rest),
        ("Status", Fit::Content),
        ("Error", Fit::Rest),
    ]);
    for row in results.iter().take(MOST_ROWS) {
        let channel = text(&row["channel"]);
        let label = kind(&channel).map_or(channel.as_str(), |kind| kind.label).to_owned();
        let status = if row["ok"] == true { "ok" } else { "error" };
        table.row([label, text(&row["to"]), status.to_owned(), text(&row["error"])]);
    }
    page.line(table.render(PIPE_WIDTH));
    page
}

fn sent(what: &str, label: &str, payload: &Value) -> String {
    match payload["messageId"].as_str() {
        Some(id) => format!("✅ {what} via {label}. Message ID: {id}"),
        None => format!("✅ {what} via {label}."),
    }
}

fn reacted(payload: &Value) -> String {
    match (&payload["added"], &payload["removed"]) {
        (Value::String(emoji), _) => format!("✅ Reaction added: {emoji}"),
        (_, Value::Number(count)) => format!("✅ Reactions removed: {count}"),
        (_, Value::Bool(true)) => "✅ Reactions removed".to_owned(),
        _ => "✅ Reaction updated.".to_owned(),
    }
}

fn listed(page: &mut Page, heading: &str, table: Option<Table>) {
    page.line(heading);
    page.line(match table {
        Some(table) => table.render(PIPE_WIDTH),
        None => format!("No {}.", heading.to_lowercase()),
    });
}

fn reactions(all: &Value) -> Option<Table> {
    let mut table =
        Table::new(&[("Emoji", Fit::Content), ("Count", Fit::Number), ("Users", Fit::Rest)]);
    let all = all.as_array().filter(|all| !all.is_empty())?;
    for row in all.iter().take(MOST_ROWS) {
        let users = row["users"].as_array().into_iter().flatten();
        let users: Vec<String> = users.map(text).collect();
        table.row([text(&row["key"]), text(&row["count"]), users.join(", ")]);
    }
    Some(table)
}

fn messages(all: &Value) -> Option<Table> {
    let mut table = Table::new(&[
        ("Time", Fit::Content),
        ("Author", Fit::Content),
        ("Text", Fit::Rest),
        ("Id", Fit::Content),
    ]);
    let all = all.as_array().filter(|all| !all.is_empty())?;
    for message in all.iter().take(MOST_ROWS) {
        let time = message["timestamp"].as_u64().map(iso8601).unwrap_or_default();
        let file = &message["attachment"];
        let said = match (message["body"].as_str(), file["filename"].as_str()) {
            (Some(body), None) => body.to_owned(),
            (body, Some(file)) => format!("[{file}] {}", body.unwrap_or_default()),
            (None, None) => String::new(),
        };
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        table.row([time, text(&message["sender"]), said, text(&message["eventId"])]);
    }
    Some(table)
}

/// The fields of an answer that has no table of its own.
fn summary(page: &mut Page, payload: &Value) {
    let mut table = Table::new(&[("Key", Fit::Content), ("Value", Fit::Rest)]);
    for (key, value) in payload.as_object().into_iter().flatten().take(20) {
        let shown = match value {
            Value::Array(all) => format!("{} items", all.len()),
            Value::Object(_) => "object".to_owned(),
            other => text(other),
        };
        table.row([key.clone(), shown]);
    }
    page.gap();
    page.line(table.render(PIPE_WIDTH));
    page.gap();
    page.line("Tip: use --json for full output.");
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_and_reactions_become_tables() {
        let read = json!({"messages": [{"eventId": "$1", "sender": "@a:b", "timestamp": 0,
            "body": "two\nlines"}]});
        let shown = String::from(payload("read", "Matrix", &read));
        assert!(
            shown.contains("1970-01-01T00:00:00.000Z") && shown.contains("two lines"),
            "{shown}"
        );
        let none = String::from(payload("reactions", "Matrix", &json!({"reactions": []})));
        assert!(none.contains("No reactions."), "{none}");
    }

    #[test]
    fn a_failed_target_is_named_with_its_reason() {
        let rows = [
            json!({"channel": "irc", "to": "#a", "ok": true}),
            json!({"channel": "irc", "to": "#b", "ok": false, "error": "no such channel"}),
        ];
        let shown = String::from(broadcast(&rows));
        assert!(shown.contains("(1/2 succeeded, 1 failed)"), "{shown}");
        assert!(shown.contains("no such channel"), "{shown}");
    }
}
