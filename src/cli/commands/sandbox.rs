//! `sandbox …`: this gateway puts no agent into a container; these commands say
//! so in the shapes that scripts read, and what the configuration would want.

use serde_json::{Value, json};

use crate::base::id::SessionKey;
use crate::cli::args::sandbox::{SandboxCommand, SandboxExplainArgs, SandboxRecreateArgs};
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

const NONE_HERE: &str = "this gateway has no sandbox: commands of agents run on this host, within \
    the limits of the gateway's unit and of tools.exec";

pub(super) fn run(context: &Context, command: &SandboxCommand) -> CommandResult {
    match command {
        SandboxCommand::List(args) if args.json => {
            Ok(Outcome::json(&json!({ "containers": [], "browsers": [] })))
        }
        SandboxCommand::List(_) => {
            let mut outcome = Outcome::text("No sandbox runtimes found.");
            outcome.warn(format!("Note: {NONE_HERE}."));
            Ok(outcome)
        }
        SandboxCommand::Recreate(args) => recreate(args),
        SandboxCommand::Explain(args) => Ok(explain(context, args)),
    }
}

fn recreate(args: &SandboxRecreateArgs) -> CommandResult {
    match [args.all, args.session.is_some(), args.agent.is_some()].iter().filter(|on| **on).count()
    {
        0 => Err(Failure::new("Please specify --all, --session <key>, or --agent <id>")),
        1 => Ok(Outcome::text("No sandbox runtimes found matching the criteria.")),
        _ => Err(Failure::new("Please specify only one of: --all, --session, --agent")),
    }
}

fn explain(context: &Context, args: &SandboxExplainArgs) -> Outcome {
    let local = Local::open(context);
    let typed = |text: &Option<String>| {
        text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let session = typed(&args.session);
    let agent = typed(&args.agent)
        .or_else(|| SessionKey::new(session.as_deref()?).agent().map(str::to_owned))
        .unwrap_or_else(|| local.default_id.clone());
    let main = SessionKey::main(&agent, "main");
    let key = match session {
        None => main.as_str().to_owned(),
        Some(key) if key.starts_with("agent:") => key,
        Some(key) => format!("agent:{agent}:{key}"),
    };
    let resolved = &context.config().resolved;
    let of_agent = resolved["agents"]["list"].as_array().into_iter().flatten();
    let of_agent = of_agent.into_iter().find(|entry| entry["id"] == *agent);
    let setting = |name: &str| -> Value {
        let own = of_agent.map_or(&Value::Null, |entry| &entry["sandbox"][name]);
        if own.is_null() {
            resolved["agents"]["defaults"]["sandbox"][name].clone()
        } else {
            own.clone()
        }
    };
    let or = |name: &str, fallback: &str| {
        setting(name).as_str().map_or_else(|| fallback.to_owned(), str::to_owned)
    };
    let (wanted, scope) = (or("mode", "off"), or("scope", "agent"));
    let policy = &resolved["tools"]["sandbox"]["tools"];
    let source = |name: &str| {
        let source = if policy[name].is_null() { "default" } else { "global" };
        json!({ "source": source, "key": format!("tools.sandbox.tools.{name}") })
    };
    let elevated = resolved["tools"]["elevated"]["enabled"] != false;
    let failures = if elevated {
        json!([])
    } else {
        json!([{ "gate": "enabled", "key": "tools.elevated.enabled" }])
    };
    let list = |name: &str| policy[name].as_array().cloned().unwrap_or_default();
    let workspaces = context.paths.state.join("sandboxes");
    let root = setting("workspaceRoot");
    let document = json!({
        "docsUrl": "https://docs.openclaw.ai/sandbox",
        "agentId": agent,
        "sessionKey": key,
        "mainSessionKey": main.as_str(),
        "sandbox": {
            "mode": "off",
            "scope": scope,
            "perSession": scope == "session",
            "workspaceAccess": or("workspaceAccess", "none"),
            "workspaceRoot": if root.is_null() { json!(workspaces) } else { root },
            "sessionIsSandboxed": false,
            "tools": { "allow": list("allow"), "deny": list("deny"),
                "sources": { "allow": source("allow"), "deny": source("deny") } },
        },
        "elevated": { "enabled": elevated, "allowedByConfig": false,
            "alwaysAllowedByConfig": false, "allowFrom": {}, "failures": failures },
        "fixIt": ["agents.defaults.sandbox.mode=off"],
    });
    let warning = (wanted != "off").then(|| {
        format!("Note: the configuration asks for sandbox mode \"{wanted}\", but {NONE_HERE}.")
    });
    let mut outcome = if args.json {
        Outcome::json(&document)
    } else {
        let mut page = Page::default();
        page.line("Effective sandbox:");
        page.line(format!("  agentId: {agent}"));
        page.line(format!("  sessionKey: {key}"));
        page.line(format!("  mainSessionKey: {}", main.as_str()));
        page.line("  runtime: direct");
        page.line(format!("  mode: off (configured: {wanted}) scope: {scope}"));
        page.gap();
        page.line("Elevated:");
        page.line(format!("  enabled: {elevated}"));
        page.gap();
        page.line(format!("Why: {NONE_HERE}."));
        Outcome::text(page)
    };
    if let Some(warning) = warning {
        outcome.warn(warning);
    }
    outcome
}
