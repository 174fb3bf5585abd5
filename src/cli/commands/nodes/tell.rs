//! `nodes location get`, `nodes notify`, `nodes push`: one question or message.

use serde_json::json;

use crate::cli::args::nodes::{LocationCommand, NotifyArgs, PushArgs};
use crate::cli::commands::nodes::{Asker, members};
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Outcome};

pub(super) fn location(context: &Context, command: &LocationCommand) -> CommandResult {
    let LocationCommand::Get(args) = command;
    let asked = Asker::new(context, &args.of.rpc, "location get");
    let node = asked.node(&args.of.node)?;
    let accuracy = match args.accuracy.as_deref().map(|typed| typed.trim().to_lowercase()) {
        Some(typed) if !["coarse", "balanced", "precise"].contains(&typed.as_str()) => {
            let text = format!("invalid accuracy: {typed} (expected coarse|balanced|precise)");
            return Err(asked.failure(text));
        }
        accuracy => accuracy,
    };
    let params = members([
        ("maxAgeMs", json!(asked.whole("--max-age", args.max_age.as_deref())?)),
        ("desiredAccuracy", json!(accuracy)),
        ("timeoutMs", json!(asked.whole("--location-timeout", Some(&args.location_timeout))?)),
    ]);
    let answer = asked.invoke(&node, "location.get", Some(params), Some(&args.invoke_timeout))?;
    let place = match &answer["payload"] {
        place if place.is_object() => place.clone(),
        _ => json!({}),
    };
    if args.of.rpc.json {
        return Ok(Outcome::json(&place));
    }
    let (lat, lon) = (&place["lat"], &place["lon"]);
    if !lat.is_number() || !lon.is_number() {
        return Ok(Outcome::text(place.to_string()));
    }
    let within = place["accuracyMeters"].as_f64().map(|metres| format!(" ±{metres:.1}m"));
    Ok(Outcome::text(format!("{lat},{lon}{}", within.unwrap_or_default())))
}

pub(super) fn notify(context: &Context, args: &NotifyArgs) -> CommandResult {
    let asked = Asker::new(context, &args.of.rpc, "notify");
    let node = asked.node(&args.of.node)?;
    let trimmed = |text: &Option<String>| text.as_deref().map_or("", str::trim).to_owned();
    let (title, body) = (trimmed(&args.title), trimmed(&args.body));
    if title.is_empty() && body.is_empty() {
        return Err(asked.failure("missing --title or --body"));
    }
    let params = members([
        ("title", json!(title)),
        ("body", json!(body)),
        ("sound", json!(args.sound)),
        ("priority", json!(args.priority)),
        ("delivery", json!(args.delivery)),
    ]);
    let answer = asked.invoke(&node, "system.notify", Some(params), Some(&args.invoke_timeout))?;
    if args.of.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    Ok(Outcome::text(context.ui.out.good("notify ok")))
}

pub(super) fn push(context: &Context, args: &PushArgs) -> CommandResult {
    let asked = Asker::new(context, &args.of.rpc, "push");
    let node = asked.node(&args.of.node)?;
    let title = Some(args.title.trim()).filter(|title| !title.is_empty()).unwrap_or("OpenClaw");
    let body = args.body.as_deref().map(str::trim).filter(|body| !body.is_empty());
    let environment = match args.environment.as_deref().map(|typed| typed.trim().to_lowercase()) {
        Some(typed) if !["sandbox", "production"].contains(&typed.as_str()) => {
            return Err(asked.failure("invalid --environment (use sandbox|production)"));
        }
        environment => environment,
    };
    let params = members([
        ("nodeId", json!(node)),
        ("title", json!(title)),
        ("body", json!(body.map_or_else(|| format!("Push test for node {node}"), str::to_owned))),
        ("environment", json!(environment)),
    ]);
    let answer = asked.call("push.test", params)?;
    if args.of.rpc.json {
        return Ok(Outcome::json(&answer));
    }
    let ok = answer["ok"] == true;
    let verdict = format!(
        "push.test status={} ok={ok} env={}",
        answer["status"].as_u64().unwrap_or(0),
        answer["environment"].as_str().unwrap_or("unknown")
    );
    let mut page = Page::default();
    page.line(if ok { context.ui.out.good(&verdict) } else { context.ui.out.bad(&verdict) });
    if let Some(reason) = answer["reason"].as_str().map(str::trim).filter(|r| !r.is_empty()) {
        page.line(format!("reason: {reason}"));
    }
    Ok(Outcome::text(page))
}
