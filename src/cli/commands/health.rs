//! `health`: the gateway's own report of itself.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::args::look::HealthArgs;
use crate::cli::context::Context;
use crate::cli::link::{self, Link};
use crate::cli::ui::age;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::client::{Caller, Expect};
use crate::config::Rejected;
use crate::config::standing::{self, Serving};

pub fn run(context: &Context, args: &HealthArgs) -> CommandResult {
    const LEAD: &str = "[openclaw] Failed to start CLI: ";
    let limit = link::timeout(Some(&args.timeout), 10_000)?;
    let link = Link::open(context, None, None, None).map_err(|err| err.failure(LEAD))?;
    // Asking for probes is a different question; without it the call has no parameters.
    let params = args.verbose.then(|| json!({ "probe": true }));
    let answer = context.block_on(async {
        link.call(Caller::READER, "health", params, Expect::First, limit)
            .await
            .map_err(|err| err.failure(LEAD))
    })?;
    if args.json {
        return Ok(Outcome::json(&answer));
    }
    let mut page = Page::default();
    if args.verbose {
        page.line("Gateway connection:");
        page.lines(link.target.details().lines().map(|line| format!("  {line}")));
    }
    page.line(render(&answer));
    if answer["ok"] == json!(false) {
        return Err(Failure::new(page));
    }
    Ok(Outcome::text(page))
}

/// The report in a few lines.
pub fn render(health: &Value) -> String {
    let mut lines: Vec<String> = degraded_config(health).into_iter().collect();
    let pending = Vec::deserialize(&health["configPendingRestart"]).unwrap_or_default();
    lines.extend(standing::pending(&pending).map(|text| format!("Config: {text}")));
    lines.extend(channel_lines(health));
    let agents = health["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |agent: &Value| {
        let id = agent["agentId"].as_str().unwrap_or("?");
        if agent["isDefault"] == json!(true) { format!("{id} (default)") } else { id.to_owned() }
    };
    if !agents.is_empty() {
        let names: Vec<String> = agents.iter().map(name).collect();
        lines.push(format!("Agents: {}", names.join(", ")));
        let beats: Vec<String> = agents
            .iter()
            .map(|agent| {
                let every = agent["heartbeat"]["every"].as_str().unwrap_or("disabled");
                format!("{every} ({})", agent["agentId"].as_str().unwrap_or("?"))
            })
            .collect();
        lines.push(format!("Heartbeat interval: {}", beats.join(", ")));
    }
    for agent in agents {
        let sessions = &agent["sessions"];
        lines.push(format!(
            "Session store ({}): {} ({} entries)",
            agent["agentId"].as_str().unwrap_or("?"),
            sessions["path"].as_str().unwrap_or("unknown"),
            sessions["count"].as_u64().unwrap_or(0)
        ));
        for recent in sessions["recent"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let key = recent["key"].as_str().unwrap_or("?");
            let when = recent["age"].as_u64().map_or("no activity".to_owned(), age::ago);
            lines.push(format!("- {key} ({when})"));
        }
    }
    lines.join("\n")
}

/// What the gateway says about a refused configuration file.
fn degraded_config(health: &Value) -> Option<String> {
    let config = &health["config"];
    let rejected = Rejected {
        hash: String::new(),
        reasons: Vec::deserialize(&config["reasons"]).ok()?,
        since: 0,
    };
    let serving = Serving::deserialize(&config["serving"]).unwrap_or_default();
    Some(format!("Config: degraded ({})", rejected.complaint(serving)))
}

/// One line per channel, in the gateway's order.
pub fn channel_lines(health: &Value) -> Vec<String> {
    let order = health["channelOrder"].as_array().map(Vec::as_slice).unwrap_or_default();
    order
        .iter()
        .filter_map(Value::as_str)
        .map(|id| {
            let label = health["channelLabels"][id].as_str().unwrap_or(id);
            format!("{label}: {}", channel_state(&health["channels"][id]))
        })
        .collect()
}

fn channel_state(channel: &Value) -> String {
    let probe = &channel["probe"];
    if probe["ok"] == json!(true) {
        let took = probe["elapsedMs"].as_u64().map(|ms| format!(" ({ms}ms)"));
        return format!("ok{}", took.unwrap_or_default());
    }
    if probe["ok"] == json!(false) {
        return format!("failed ({})", probe["error"].as_str().unwrap_or("unknown error"));
    }
    if channel["linked"] == json!(true) {
        let age = channel["authAgeMs"].as_u64().map(|ms| format!(" (auth age {})", age::short(ms)));
        return format!("linked{}", age.unwrap_or_default());
    }
    if channel["linked"] == json!(false) {
        return "not linked".to_owned();
    }
    if channel["configured"] == json!(true) { "configured" } else { "not configured" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_like_the_reference() {
        let health = json!({
            "channelOrder": ["irc", "telegram"],
            "channelLabels": {"irc": "IRC"},
            "channels": {
                "irc": {"configured": true, "probe": {"ok": true, "elapsedMs": 12}},
                "telegram": {"configured": true, "probe": {"ok": false, "error": "401"}},
            },
            "agents": [{
                "agentId": "main", "isDefault": true, "heartbeat": {"every": "30m"},
                "sessions": {"path": "/s.json", "count": 1, "recent": [{"key": "agent:main:main", "age": 130_000}]},
            }],
        });
        insta::assert_snapshot!(render(&health), @r"
        IRC: ok (12ms)
        telegram: failed (401)
        Agents: main (default)
        Heartbeat interval: 30m (main)
        Session store (main): /s.json (1 entries)
        - agent:main:main (2m ago)
        ");
    }
}
