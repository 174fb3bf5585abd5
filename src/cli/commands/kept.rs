//! `sessions`: read from this host's files, so that it works without a gateway.

use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::cli::args::manage::SessionsArgs;
use crate::cli::commands::status::sessions as rows;
use crate::cli::context::Context;
use crate::cli::local::{AgentSessions, Local};
use crate::cli::ui::age;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub fn sessions(context: &Context, args: &SessionsArgs) -> CommandResult {
    let active = match args.active.as_deref().map(str::trim) {
        None => None,
        Some(text) => Some(
            text.parse::<u64>()
                .ok()
                .filter(|minutes| *minutes > 0)
                .ok_or_else(|| Failure::new("--active must be a positive integer (minutes)"))?,
        ),
    };
    let local = Local::open(context);
    let ids = match args.agent.as_deref().map(str::trim) {
        Some(id) if !local.ids.iter().any(|known| known.eq_ignore_ascii_case(id)) => {
            return Err(Failure::new(format!(
                "Unknown agent id \"{id}\". Use \"{} agents list\" to see configured agents.",
                context.program()
            )));
        }
        Some(id) => vec![id.to_lowercase()],
        None if args.all_agents => local.ids.clone(),
        None => vec![local.default_id.clone()],
    };
    let stores = context.block_on(async {
        let mut stores = Vec::new();
        for id in &ids {
            stores.push(local.sessions(id, active).await?);
        }
        Ok(stores)
    })?;
    let now = clock::now_ms();
    if args.json {
        return Ok(Outcome::json(&document(&stores, args.all_agents, active, now)));
    }
    Ok(Outcome::text(render(&stores, now)))
}

fn document(stores: &[AgentSessions], all: bool, active: Option<u64>, now: u64) -> Value {
    let mut listed: Vec<Value> = stores
        .iter()
        .flat_map(|store| store.rows.iter().map(move |row| session(row, &store.agent, now)))
        .collect();
    listed.sort_by_key(|row| std::cmp::Reverse(row["updatedAt"].as_u64()));
    let mut document = Map::new();
    match stores {
        [one] if !all => {
            document.insert("path".to_owned(), json!(one.store));
        }
        many => {
            document.insert("path".to_owned(), Value::Null);
            let paths =
                many.iter().map(|store| json!({ "agentId": store.agent, "path": store.store }));
            document.insert("stores".to_owned(), paths.collect());
            document.insert("allAgents".to_owned(), json!(true));
        }
    }
    document.insert("count".to_owned(), json!(listed.len()));
    document.insert("activeMinutes".to_owned(), json!(active));
    document.insert("sessions".to_owned(), Value::Array(listed));
    Value::Object(document)
}

/// A row as this command shows it: the stored facts, with its age.
fn session(row: &Value, agent: &str, now: u64) -> Value {
    let mut out = Map::new();
    let updated = row["updatedAt"].as_u64();
    out.insert("key".to_owned(), row["key"].clone());
    out.insert("updatedAt".to_owned(), json!(updated));
    out.insert("ageMs".to_owned(), json!(updated.map(|at| now.saturating_sub(at))));
    let kept = [
        "sessionId",
        "systemSent",
        "abortedLastRun",
        "thinkingLevel",
        "verboseLevel",
        "reasoningLevel",
        "elevatedLevel",
        "responseUsage",
        "inputTokens",
        "outputTokens",
        "totalTokens",
        "totalTokensFresh",
        "model",
        "modelProvider",
        "contextTokens",
    ];
    for key in kept {
        if !row[key].is_null() {
            out.insert(key.to_owned(), row[key].clone());
        }
    }
    out.insert("agentId".to_owned(), json!(agent));
    out.insert("kind".to_owned(), row["kind"].clone());
    Value::Object(out)
}

fn render(stores: &[AgentSessions], now: u64) -> String {
    let mut page = Page::default();
    for store in stores {
        page.line(format!("Session store: {}", store.store.display()));
    }
    let count: usize = stores.iter().map(|store| store.rows.len()).sum();
    page.line(format!("Sessions listed: {count}"));
    if count == 0 {
        page.line("No sessions found.");
        return page.into();
    }
    let columns = |cells: [&str; 6]| {
        let [kind, key, age, model, tokens, flags] = cells;
        format!("{kind:<6} {key:<26} {age:<9} {model:<14} {tokens:<20} {flags}")
            .trim_end()
            .to_owned()
    };
    page.line(columns(["Kind", "Key", "Age", "Model", "Tokens (ctx %)", "Flags"]));
    for row in stores.iter().flat_map(|store| &store.rows) {
        let text = |key: &str| row[key].as_str().unwrap_or("-");
        let ago =
            row["updatedAt"].as_u64().map_or("-".to_owned(), |at| age::ago(now.saturating_sub(at)));
        page.line(columns([
            text("kind"),
            &shortened(text("key"), 26),
            &ago,
            &shortened(text("model"), 14),
            &rows::tokens(row),
            &rows::flags(row).join(" "),
        ]));
    }
    page.into()
}

/// Cuts the middle out of what is too long.
fn shortened(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= width {
        return text.to_owned();
    }
    let tail = (width - 1) / 2;
    let head: String = chars[..width - 1 - tail].iter().collect();
    let tail: String = chars[chars.len() - tail..].iter().collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> AgentSessions {
        AgentSessions {
            agent: "main".to_owned(),
            store: "/s.json".into(),
            rows: vec![json!({
                "key": "agent:main:main", "kind": "direct", "sessionId": "90de", "updatedAt": 60_000,
                "totalTokens": 11, "contextTokens": 32_000, "model": "tiny-1",
            })],
        }
    }

    #[test]
    fn sessions_line_up_under_their_headings() {
        assert_eq!(
            render(&[store()], 120_000),
            "Session store: /s.json\nSessions listed: 1\n\
             Kind   Key                        Age       Model          Tokens (ctx %)       Flags\n\
             direct agent:main:main            1m ago    tiny-1         0.0k/32k (0%)        id:90de\n"
        );
    }

    #[test]
    fn the_document_names_its_store_and_each_agent() {
        let one = document(&[store()], false, None, 120_000);
        assert_eq!((&one["path"], &one["count"]), (&json!("/s.json"), &json!(1)));
        assert_eq!(one["sessions"][0]["ageMs"], 60_000);
        let many = document(&[store(), store()], true, Some(5), 120_000);
        assert_eq!((&many["path"], &many["stores"][1]["agentId"]), (&Value::Null, &json!("main")));
        assert_eq!(many["activeMinutes"], 5);
    }

    #[test]
    fn long_keys_lose_their_middle() {
        assert_eq!(shortened("abcdefghij", 10), "abcdefghij");
        assert_eq!(shortened("abcdefghijk", 5), "ab…jk");
    }
}
