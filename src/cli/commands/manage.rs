//! Commands that show and change scheduled jobs. Each is one call.

use serde_json::{Value, json};

use crate::base::clock;
use crate::cli::args::manage::{CronCommand, CronListArgs};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call::call_or_fail;
use crate::cli::commands::jobs;
use crate::cli::context::Context;
use crate::cli::ui::age;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub fn cron(context: &Context, command: &CronCommand) -> CommandResult {
    let patch = |rpc: &Rpc, id: &str, enabled: bool| {
        let params = json!({ "id": id, "patch": { "enabled": enabled } });
        Ok(Outcome::json(&call_or_fail(context, rpc, "cron.update", Some(params))?))
    };
    match command {
        CronCommand::List(args) => cron_list(context, args),
        CronCommand::Add(args) => jobs::add(context, args),
        CronCommand::Edit(args) => jobs::edit(context, args),
        CronCommand::Status(args) => {
            Ok(Outcome::json(&call_or_fail(context, &args.rpc, "cron.status", Some(json!({})))?))
        }
        CronCommand::Rm(args) => {
            let params = json!({ "id": args.id });
            Ok(Outcome::json(&call_or_fail(context, &args.rpc, "cron.remove", Some(params))?))
        }
        CronCommand::Enable(args) => patch(&args.rpc, &args.id, true),
        CronCommand::Disable(args) => patch(&args.rpc, &args.id, false),
        CronCommand::Run(args) => {
            let mode = if args.due { "due" } else { "force" };
            let params = json!({ "id": args.id, "mode": mode });
            let answer = call_or_fail(context, &args.rpc, "cron.run", Some(params))?;
            let ran = answer["ran"] == json!(true) || answer["enqueued"] == json!(true);
            Ok(Outcome::json(&answer).with_code(u8::from(!ran)))
        }
        CronCommand::Runs(args) => {
            let limit: u64 =
                args.limit.trim().parse().ok().filter(|limit| *limit > 0).ok_or_else(|| {
                    Failure::new("Error: --limit must be a positive whole number")
                })?;
            let params = json!({ "id": args.id, "limit": limit });
            Ok(Outcome::json(&call_or_fail(context, &args.rpc, "cron.runs", Some(params))?))
        }
    }
}

fn cron_list(context: &Context, args: &CronListArgs) -> CommandResult {
    let params = json!({ "includeDisabled": args.all });
    let answer = call_or_fail(context, &args.rpc, "cron.list", Some(params))?;
    if args.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    let jobs = answer["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
    if jobs.is_empty() {
        return Ok(Outcome::text("No cron jobs."));
    }
    let now = clock::now_ms();
    let mut page = Page::default();
    let columns = |cells: [&str; 9]| {
        let widths = [36, 24, 32, 10, 10, 9, 9, 10, 20];
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join(" ").trim_end().to_owned()
    };
    page.line(columns([
        "ID", "Name", "Schedule", "Next", "Last", "Status", "Target", "Agent ID", "Model",
    ]));
    for job in jobs {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let state = &job["state"];
        let next = state["nextRunAtMs"].as_u64().map(|at| relative(at, now));
        let last = state["lastRunAtMs"].as_u64().map(|at| relative(at, now));
        let status = if job["enabled"] == json!(false) {
            "disabled"
        } else if state["runningAtMs"].is_u64() {
            "running"
        } else {
            state["lastRunStatus"].as_str().or(state["lastStatus"].as_str()).unwrap_or("idle")
        };
        page.line(columns([
            &text(&job["id"]),
            &text(&job["name"]),
            &schedule(&job["schedule"]),
            next.as_deref().unwrap_or("-"),
            last.as_deref().unwrap_or("-"),
            status,
            &text(&job["sessionTarget"]),
            &text(&job["agentId"]),
            &text(&job["payload"]["model"]),
        ]));
    }
    Ok(Outcome::text(page))
}

/// `in 5m` or `5m ago`.
fn relative(at: u64, now: u64) -> String {
    if at >= now {
        // Half a unit more, so that a fresh ten-minute timer reads `in 10m`.
        format!("in {}", age::short(at - now + 30_000))
    } else {
        age::ago(now - at)
    }
}

/// `every 10m`, `cron 0 9 * * * @ Europe/Berlin`, `at 2026-11-24T…`.
fn schedule(schedule: &Value) -> String {
    match schedule["kind"].as_str() {
        Some("every") => {
            format!("every {}", age::short(schedule["everyMs"].as_u64().unwrap_or(0)))
        }
        Some("cron") => {
            let zone = schedule["tz"].as_str().map(|tz| format!(" @ {tz}"));
            format!("cron {}{}", schedule["expr"].as_str().unwrap_or("?"), zone.unwrap_or_default())
        }
        Some("at") => format!("at {}", schedule["at"].as_str().unwrap_or("?")),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_reads_like_a_sentence() {
        let cases = [
            (json!({"kind": "every", "everyMs": 600_000}), "every 10m"),
            (json!({"kind": "cron", "expr": "0 9 * * *", "tz": "UTC"}), "cron 0 9 * * * @ UTC"),
            (json!({"kind": "at", "at": "2026-11-24T00:00:00Z"}), "at 2026-11-24T00:00:00Z"),
        ];
        for (value, text) in cases {
            assert_eq!(schedule(&value), text);
        }
        assert_eq!(relative(600_000, 1_000), "in 10m");
        assert_eq!(relative(0, 120_000), "2m ago");
    }
}
