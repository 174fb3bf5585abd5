//! `channels status`: the gateway's view of its channels, or what the
//! configuration says when the gateway is away.

use serde_json::{Value, json};

use crate::base::clock;
use crate::cli::args::channels::StatusArgs;
use crate::cli::context::Context;
use crate::cli::link::{self, CallError, Link};
use crate::cli::ui::age;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::client::{Caller, Expect};

const TIP: &str = "Tip: https://docs.openclaw.ai/cli#status adds gateway health probes to status output (requires a reachable gateway).";

pub fn run(context: &Context, args: &StatusArgs) -> CommandResult {
    let limit = link::timeout(Some(&args.timeout), 10_000)?;
    let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let params = json!({ "probe": args.probe, "timeoutMs": timeout_ms });
    let answer = match Link::open(context, None, None, None) {
        Ok(link) => context.block_on(async {
            Ok::<_, Failure>(
                link.call(Caller::READER, "channels.status", Some(params), Expect::First, limit)
                    .await,
            )
        })?,
        Err(err) => Err(err),
    };
    let checking = if args.probe {
        "Checking channel status (probe)…"
    } else {
        "Checking channel status…"
    };
    match answer {
        Ok(answer) if args.json => Ok(Outcome::json(&answer)),
        Ok(answer) => Ok(Outcome::text(format!(
            "{checking}\nGateway reachable.\n{}\n{TIP}",
            render(&answer, clock::now_ms())
        ))),
        Err(err) => Ok(without_gateway(context, args.json, checking, &err)),
    }
}

/// What can be said without the gateway; this is no failure for scripts.
fn without_gateway(context: &Context, json: bool, checking: &str, err: &CallError) -> Outcome {
    let snapshot = context.config();
    let mode = snapshot.config.gateway.mode.as_deref().unwrap_or("local");
    let channels: Vec<&str> = snapshot
        .config
        .channels
        .iter()
        .filter(|(key, value)| *key != "defaults" && value["enabled"] != json!(false))
        .map(|(key, _)| key.as_str())
        .collect();
    let notice =
        format!("{}Gateway not reachable: {}", err.notice().unwrap_or_default(), err.classed());
    if json {
        let document = json!({
            "gatewayReachable": false,
            "error": err.text(),
            "configOnly": true,
            "configPath": context.paths.config,
            "mode": mode,
            "channels": channels.iter().map(|id| ((*id).to_owned(), json!({"configured": true})))
                .collect::<serde_json::Map<String, Value>>(),
        });
        return Outcome::json(&document).with_stderr(notice);
    }
    let mut page = Page::default();
    page.line(checking);
    page.line("Gateway not reachable; showing config-only status.");
    page.line(format!("Config: {}", context.paths.config.display()));
    page.line(format!("Mode: {mode}"));
    page.gap();
    page.lines(channels.iter().map(|id| format!("- {id}: configured")));
    page.gap();
    page.line(TIP);
    Outcome::text(page).with_stderr(notice)
}

/// One line per account.
fn render(answer: &Value, now: u64) -> String {
    let mut page = Page::default();
    let order = answer["channelOrder"].as_array().map(Vec::as_slice).unwrap_or_default();
    for id in order.iter().filter_map(Value::as_str) {
        let label = answer["channelLabels"][id].as_str().unwrap_or(id);
        let accounts = answer["channelAccounts"][id].as_array().map(Vec::as_slice);
        for account in accounts.unwrap_or_default() {
            page.line(format!("- {label} {}", account_line(account, now)));
        }
    }
    page.into()
}

fn account_line(account: &Value, now: u64) -> String {
    let id = account["accountId"].as_str().unwrap_or("default");
    let name = match account["name"].as_str() {
        Some(name) => format!("{id} ({name})"),
        None => id.to_owned(),
    };
    let flag = |key: &str, yes: &'static str, no: &'static str| {
        account[key].as_bool().map(|on| if on { yes } else { no }.to_owned())
    };
    let when = |key: &str, label: &str| {
        let at = account[key].as_u64()?;
        Some(format!("{label}:{}", age::ago(now.saturating_sub(at))))
    };
    let parts: Vec<String> = [
        flag("enabled", "enabled", "disabled"),
        flag("configured", "configured", "not configured"),
        flag("linked", "linked", "not linked"),
        flag("running", "running", "stopped"),
        flag("connected", "connected", "disconnected"),
        when("lastInboundAt", "in"),
        when("lastOutboundAt", "out"),
        account["mode"].as_str().map(|mode| format!("mode:{mode}")),
        account["dmPolicy"].as_str().map(|policy| format!("dm:{policy}")),
        account["tokenSource"].as_str().map(|source| format!("token:{source}")),
        account["probe"]["ok"]
            .as_bool()
            .map(|ok| if ok { "works" } else { "probe failed" }.to_owned()),
        account["lastError"].as_str().map(|error| format!("error:{error}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{name}: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_shows_what_it_reports_and_nothing_else() {
        let answer = json!({
            "channelOrder": ["irc"],
            "channelLabels": {"irc": "IRC"},
            "channelAccounts": {"irc": [{
                "accountId": "default", "enabled": true, "configured": true, "running": false,
                "lastError": "refused", "lastInboundAt": 1000, "linked": null, "probe": {"ok": false},
            }]},
        });
        assert_eq!(
            render(&answer, 601_000),
            "- IRC default: enabled, configured, stopped, in:10m ago, probe failed, error:refused\n"
        );
    }
}
