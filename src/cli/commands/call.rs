//! Commands that are one call and its answer: `gateway call`, `gateway
//! health`, `gateway usage-cost` and `system …`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::gateway::{CallArgs, RpcOnly, UsageCostArgs};
use crate::cli::args::rpc::Rpc;
use crate::cli::args::system::{EventArgs, HeartbeatCommand, SystemCommand};
use crate::cli::commands::health;
use crate::cli::context::Context;
use crate::cli::link::{self, CALL_MS, CallError, Link};
use crate::cli::ui::page::Page;
use crate::cli::ui::{self, CommandResult, Failure, Outcome};
use crate::client::Caller;

/// Milliseconds that the `gateway …` calls take at most by default.
const GATEWAY_CALL_MS: u64 = 10_000;

/// Calls `method` as an operator with all scopes.
pub fn call(
    context: &Context,
    rpc: &Rpc,
    method: &str,
    params: Option<Value>,
    default_ms: u64,
) -> Result<Result<Value, CallError>, Failure> {
    let limit: Duration = link::timeout(rpc.timeout.as_deref(), default_ms)?;
    let link = match Link::new(context, rpc) {
        Ok(link) => link,
        Err(err) => return Ok(Err(err)),
    };
    context.block_on(async {
        Ok(link.call(Caller::CLI, method, params, link::expect(rpc), limit).await)
    })
}

/// Calls and turns a failure into the plain `Error: …` of most commands.
pub fn call_or_fail(
    context: &Context,
    rpc: &Rpc,
    method: &str,
    params: Option<Value>,
) -> Result<Value, Failure> {
    call(context, rpc, method, params, CALL_MS)?.map_err(|err| err.failure(""))
}

pub fn gateway_call(context: &Context, args: &CallArgs) -> CommandResult {
    const LEAD: &str = "Gateway call failed: ";
    let params: Value = serde_json::from_str(&args.params)
        .map_err(|err| Failure::new(format!("{LEAD}SyntaxError: --params is not JSON: {err}")))?;
    let answer = call(context, &args.rpc, &args.method, Some(params), GATEWAY_CALL_MS)?
        .map_err(|err| err.failure(LEAD))?;
    if args.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    let heading = context.ui.out.heading(&format!("Gateway call: {}", args.method));
    Ok(Outcome::text(format!("{heading}\n{}", ui::json(&answer))))
}

pub fn gateway_health(context: &Context, args: &RpcOnly) -> CommandResult {
    let answer = call(context, &args.rpc, "health", None, GATEWAY_CALL_MS)?
        .map_err(|err| err.failure(""))?;
    if args.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    let verdict = if answer["ok"] == json!(false) { "Unhealthy" } else { "OK" };
    let mut page = Page::default();
    page.line(context.ui.out.heading("Gateway Health"));
    page.line(format!("{verdict} ({}ms)", answer["durationMs"].as_u64().unwrap_or(0)));
    page.lines(health::channel_lines(&answer));
    Ok(Outcome::text(page))
}

pub fn usage_cost(context: &Context, args: &UsageCostArgs) -> CommandResult {
    const LEAD: &str = "Gateway usage cost failed: ";
    let days: u32 = args.days.trim().parse().ok().filter(|days| *days > 0).ok_or_else(|| {
        Failure::new(format!("{LEAD}Error: --days must be a positive whole number"))
    })?;
    let answer =
        call(context, &args.rpc, "usage.cost", Some(json!({ "days": days })), GATEWAY_CALL_MS)?
            .map_err(|err| err.failure(LEAD))?;
    if args.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    let heading = context.ui.out.heading(&format!("Usage cost ({days} days)"));
    Ok(Outcome::text(format!("{heading}\n{}", usage_text(&answer))))
}

/// The totals and the latest day of a `usage.cost` result.
fn usage_text(answer: &Value) -> String {
    let amount = |of: &Value| {
        let missing = of["missingCostEntries"].as_u64().filter(|missing| *missing > 0);
        let partial = missing.map(|count| format!(" · {count} without a price"));
        format!(
            "${:.4} · {} tokens{}",
            of["totalCost"].as_f64().unwrap_or(0.0),
            count(of["totalTokens"].as_u64().unwrap_or(0)),
            partial.unwrap_or_default()
        )
    };
    let mut page = Page::default();
    page.line(format!("Total: {}", amount(&answer["totals"])));
    if let Some(day) = answer["daily"].as_array().and_then(|days| days.last()) {
        let date = day["date"].as_str().unwrap_or("unknown");
        page.line(format!("Latest day: {date} · {}", amount(day)));
    }
    page.into()
}

/// `950`, `12.3k`, `4.5m`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn count(tokens: u64) -> String {
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..10_000 => format!("{:.1}k", tokens as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0}k", tokens as f64 / 1e3),
        _ => format!("{:.1}m", tokens as f64 / 1e6),
    }
}

pub fn system(context: &Context, command: &SystemCommand) -> CommandResult {
    match command {
        SystemCommand::Event(args) => event(context, args),
        SystemCommand::Presence(args) => {
            let answer = call_or_fail(context, &args.rpc, "system-presence", None)?;
            Ok(Outcome::json(&answer))
        }
        SystemCommand::Heartbeat(args) => {
            let (rpc, method, params) = match &args.command {
                HeartbeatCommand::Last(args) => (&args.rpc, "last-heartbeat", None),
                HeartbeatCommand::Enable(args) => {
                    (&args.rpc, "set-heartbeats", Some(json!({ "enabled": true })))
                }
                HeartbeatCommand::Disable(args) => {
                    (&args.rpc, "set-heartbeats", Some(json!({ "enabled": false })))
                }
            };
            Ok(Outcome::json(&call_or_fail(context, rpc, method, params)?))
        }
    }
}

fn event(context: &Context, args: &EventArgs) -> CommandResult {
    let text = args.text.trim();
    if text.is_empty() {
        return Err(Failure::new("Error: --text is required"));
    }
    let mode = args.mode.trim();
    if !matches!(mode, "now" | "next-heartbeat") {
        return Err(Failure::new("Error: --mode must be now or next-heartbeat"));
    }
    let params = json!({ "mode": mode, "text": text });
    let answer = call_or_fail(context, &args.rpc, "wake", Some(params))?;
    Ok(if args.rpc.json { Outcome::json(&answer) } else { Outcome::text("ok") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_names_totals_and_the_latest_day() {
        let totals = json!({"totalCost": 0.12345, "totalTokens": 1234, "missingCostEntries": 2});
        let day = json!({"date": "2026-11-23", "totalCost": 0, "totalTokens": 72});
        assert_eq!(
            usage_text(&json!({"totals": totals, "daily": [day]})),
            "Total: $0.1235 · 1.2k tokens · 2 without a price\n\
             Latest day: 2026-11-23 · $0.0000 · 72 tokens\n"
        );
    }
}
