//! Commands that only look: `channels list|capabilities|resolve|logs`.

use serde_json::{Map, Value, json};

use crate::agents::auth_profiles::Profiles;
use crate::base::clock;
use crate::channels::channel::DEFAULT;
use crate::channels::manager::{self, SHARED_SECTIONS, account_ids};
use crate::channels::{kind, kinds};
use crate::cli::args::channels::{CapabilitiesArgs, ListArgs, LogsArgs, ResolveArgs};
use crate::cli::commands::channels::accounts::channel;
use crate::cli::commands::logs::local_file;
use crate::cli::context::Context;
use crate::cli::ui::log_line::{Form, Line};
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::logging::tail::{self, TailRequest};

const UNSUPPORTED: &str = "not supported by this gateway";

pub(super) fn list(context: &Context, args: &ListArgs) -> Outcome {
    let snapshot = context.config();
    let mut chat = Map::new();
    let mut page = Page::default();
    page.line(context.ui.out.heading("Chat channels:"));
    let sections = snapshot.config.channels.iter();
    for (id, section) in sections.filter(|(id, _)| !SHARED_SECTIONS.contains(&id.as_str())) {
        let Some(kind) = kind(id) else {
            let named = section["accounts"].as_object().into_iter().flatten();
            let mut ids: Vec<String> = named.map(|(id, _)| id.clone()).collect();
            if ids.is_empty() {
                ids.push("default".to_owned());
            }
            page.lines(ids.iter().map(|account| format!("- {id} {account}: {UNSUPPORTED}")));
            chat.insert(id.clone(), json!(ids));
            continue;
        };
        let ids = account_ids(kind, section, &snapshot.env);
        for account in &ids {
            let own = &section["accounts"][account];
            let off = section["enabled"] == false || own["enabled"] == false;
            let state = if off { "disabled" } else { "enabled" };
            page.line(format!("- {} {account}: configured, {state}", kind.label));
        }
        chat.insert(id.clone(), json!(ids));
    }
    if args.json {
        let dir = |agent: &str| context.paths.agent(agent).join("agent");
        let profiles = Profiles::read(&dir(snapshot.config.agents.default_id()), &dir("main"));
        let auth = profiles.stored().map(|stored| {
            json!({"id": stored.id, "provider": stored.provider, "type": stored.kind,
                "isExternal": false})
        });
        let mut document = json!({"chat": chat, "auth": auth.collect::<Vec<_>>()});
        if !args.no_usage {
            // Quotas of subscriptions; those of a key have none to ask for.
            document["usage"] = json!({"updatedAt": clock::now_ms(), "providers": []});
        }
        return Outcome::json(&document);
    }
    if chat.is_empty() {
        page.line("- none");
    }
    page.gap();
    page.line(format!(
        "Supported: {}",
        kinds().iter().map(|kind| kind.id).collect::<Vec<_>>().join(", ")
    ));
    page.line(format!("{} channels status --probe checks the accounts.", context.program()));
    Outcome::text(page)
}

pub(super) fn capabilities(context: &Context, args: &CapabilitiesArgs) -> CommandResult {
    let wanted = args.channel.as_deref().filter(|name| *name != "all");
    let snapshot = context.config();
    let shown: Vec<_> = match wanted {
        Some(name) => kinds().iter().filter(|kind| kind.id == name).collect(),
        None => kinds().iter().filter(|it| snapshot.config.channels.contains_key(it.id)).collect(),
    };
    if let Some(name) = wanted.filter(|_| shown.is_empty()) {
        return Err(Failure::new(format!("Channel {name} is {UNSUPPORTED}.")));
    }
    let mut page = Page::default();
    let mut all = Vec::new();
    for kind in shown {
        let section = snapshot.config.channels.get(kind.id).unwrap_or(&Value::Null);
        let can = &kind.capabilities;
        for account in account_ids(kind, section, &snapshot.env) {
            if args.account.as_deref().is_some_and(|wanted| wanted != account) {
                continue;
            }
            page.line(context.ui.out.heading(&format!("{} {account}", kind.label)));
            page.line(format!(
                "Support: chatTypes={} {}",
                can.chat_types.join(","),
                can.features.join(" ")
            ));
            page.line("Actions: send");
            page.line(format!("Text limit: {} characters a message", kind.text_limit));
            page.gap();
            let mut support = json!({"chatTypes": can.chat_types});
            for name in can.features {
                support[*name] = true.into();
            }
            all.push(json!({
                "channel": kind.id, "accountId": account,
                "configured": (kind.has_credentials)(section) || !section["accounts"].is_null(),
                "enabled": section["enabled"] != false, "support": support, "actions": ["send"],
            }));
        }
    }
    if args.json {
        return Ok(Outcome::json(&json!({"channels": all})));
    }
    Ok(Outcome::text(page))
}

pub(super) fn resolve(context: &Context, args: &ResolveArgs) -> CommandResult {
    let channel = channel(context, args.channel.as_deref())?;
    let account = args.account.as_deref().unwrap_or(DEFAULT);
    let opened = manager::open_account(context.config(), &context.paths, &channel, account);
    let opened = opened.map_err(|err| Failure::new(format!("Error: {err}")))?;
    let results = context.block_on(async {
        let mut results = Vec::new();
        for entry in &args.entries {
            results.push(match opened.resolve(entry).await {
                Ok(Some(found)) => json!({
                    "input": entry, "resolved": true, "id": found.id, "name": found.name,
                }),
                Ok(None) => json!({"input": entry, "resolved": false, "note": "not found"}),
                Err(err) => json!({"input": entry, "resolved": false, "note": err}),
            });
        }
        Ok(results)
    })?;
    if args.json {
        return Ok(Outcome::json(&results));
    }
    let mut page = Page::default();
    for result in &results {
        let input = result["input"].as_str().unwrap_or_default();
        let name = result["name"].as_str().map(|name| format!(" ({name})")).unwrap_or_default();
        page.line(match result["id"].as_str().filter(|_| result["resolved"] == true) {
            Some(id) => format!("{input} -> {id}{name}"),
            None => format!(
                "{input} -> unresolved ({})",
                result["note"].as_str().unwrap_or("not found")
            ),
        });
    }
    Ok(Outcome::text(page))
}

/// The lines of the log file that are about channels.
pub(super) fn logs(context: &Context, args: &LogsArgs) -> CommandResult {
    let wanted = args.channel.trim().to_lowercase();
    let most = args.lines.trim().parse::<usize>().ok().filter(|lines| *lines > 0);
    let most =
        most.ok_or_else(|| Failure::new("Error: --lines must be a positive whole number"))?;
    let path = local_file(context);
    let read = tail::read(&path, TailRequest { cursor: None, limit: 5000, max_bytes: 1_000_000 });
    let read = read.map_err(|err| Failure::new(format!("Error: {}: {err}", path.display())))?;
    let all = [wanted.as_str()];
    let ids: Vec<&str> =
        if wanted == "all" { kinds().iter().map(|kind| kind.id).collect() } else { all.to_vec() };
    let marks: Vec<String> =
        ids.iter().flat_map(|id| [format!("[{id}]"), format!("[{id}:")]).collect();
    let mut lines: Vec<String> = read
        .lines
        .into_iter()
        .filter(|line| marks.iter().any(|mark| line.contains(mark.as_str())))
        .collect();
    lines.drain(..lines.len().saturating_sub(most));
    if args.json {
        let document = json!({"file": path, "channel": wanted, "lines": lines});
        return Ok(Outcome::json(&document));
    }
    let mut page = Page::default();
    page.line(format!("Log file: {}", path.display()));
    if lines.is_empty() {
        page.line("No matching log lines.");
    }
    let form = Form { json: false, local_time: false, palette: context.ui.out };
    page.lines(lines.iter().map(|line| Line::parse(line).render(&form)));
    Ok(Outcome::text(page))
}
