//! `approvals …`: reads and edits `exec-approvals.json`, on this host without a
//! gateway, or through one.

use std::io::Read as _;

use serde_json::{Map, Value, json};

use crate::base::{clock, id};
use crate::cli::args::approvals::{
    AllowlistCommand, ApprovalsCommand, ApprovalsSetArgs, PatternArgs, TargetArgs,
};
use crate::cli::commands::call::call_or_fail;
use crate::cli::context::Context;
use crate::cli::ui::age;
use crate::cli::ui::page::Page;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::json5;
use crate::store::exec_approvals;

pub fn run(context: &Context, command: &ApprovalsCommand) -> CommandResult {
    match command {
        ApprovalsCommand::Get(args) => get(context, args),
        ApprovalsCommand::Set(args) => set(context, args),
        ApprovalsCommand::Allowlist(args) => match &args.command {
            AllowlistCommand::Add(args) => edit(context, args, add),
            AllowlistCommand::Remove(args) => edit(context, args, remove),
        },
    }
}

/// Whose approvals a command is about.
struct Target<'a> {
    context: &'a Context,
    args: &'a TargetArgs,
}

impl Target<'_> {
    fn is_local(&self) -> bool {
        !self.args.gateway && self.node().is_none()
    }

    fn node(&self) -> Option<&str> {
        let node = self.args.node.as_deref().map(str::trim).filter(|node| !node.is_empty());
        node.filter(|_| !self.args.gateway)
    }

    fn label(&self) -> String {
        match self.node() {
            Some(node) => format!("node:{node}"),
            None if self.is_local() => "local".to_owned(),
            None => "gateway".to_owned(),
        }
    }

    fn call(&self, verb: &str, mut params: Value) -> Result<Value, Failure> {
        let method = match self.node() {
            Some(node) => {
                params["nodeId"] = node.into();
                format!("exec.approvals.node.{verb}")
            }
            None => format!("exec.approvals.{verb}"),
        };
        call_or_fail(self.context, &self.args.rpc, &method, Some(params))
    }

    fn read(&self) -> Result<Value, Failure> {
        if !self.is_local() {
            return self.call("get", json!({}));
        }
        exec_approvals::read(&self.context.paths.state)
            .map(|reading| reading.public())
            .map_err(|err| Failure::new(format!("Error: exec-approvals.json: {err}")))
    }

    fn write(&self, file: Value, hash: &str) -> Result<Value, Failure> {
        if !self.is_local() {
            return self.call("set", json!({ "file": file, "baseHash": hash }));
        }
        exec_approvals::replace(&self.context.paths.state, file, Some(hash))
            .map(|reading| reading.public())
            .map_err(|err| Failure::new(format!("Error: {err}")))
    }

    /// What a change ends with.
    fn written(&self, snapshot: &Value) -> Outcome {
        if self.args.rpc.json {
            return Outcome::json(snapshot);
        }
        let mut page = Page::default();
        if self.is_local() {
            page.line("Writing local approvals.");
        }
        page.line(format!("Target: {}", self.label()));
        page.line(picture(self.context, snapshot, &self.label()));
        Outcome::text(page)
    }
}

fn get(context: &Context, args: &TargetArgs) -> CommandResult {
    let target = Target { context, args };
    let mut snapshot = target.read()?;
    let config = if target.is_local() {
        Some(context.config().runtime.clone())
    } else {
        let config = call_or_fail(context, &args.rpc, "config.get", Some(json!({}))).ok();
        config.map(|mut config| config["config"].take()).filter(Value::is_object)
    };
    let policy = policy(&snapshot, config.as_ref(), target.node().is_some());
    if args.rpc.json {
        snapshot["effectivePolicy"] = policy;
        return Ok(Outcome::json(&snapshot));
    }
    let mut page = Page::default();
    if target.is_local() {
        page.line("Showing local approvals.");
        page.line("");
    }
    page.line(picture(context, &snapshot, &target.label()));
    page.line("");
    page.line(context.ui.out.heading("Effective Policy"));
    let scopes = policy["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !scopes.is_empty() {
        page.line(policy_table(scopes));
        page.line("");
    }
    page.line(format!("Precedence: {}", policy["note"].as_str().unwrap_or_default()));
    Ok(Outcome::text(page))
}

fn set(context: &Context, args: &ApprovalsSetArgs) -> CommandResult {
    let raw = match (&args.file, args.stdin) {
        (None, false) => return Err(Failure::new("Provide --file or --stdin.")),
        (Some(_), true) => return Err(Failure::new("Use either --file or --stdin (not both).")),
        (Some(path), false) => std::fs::read_to_string(path)
            .map_err(|err| Failure::new(format!("Error: {}: {err}", path.display())))?,
        (None, true) => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|err| Failure::new(format!("Error: standard input: {err}")))?;
            text
        }
    };
    let mut file: Value = json5::value(&raw)
        .map_err(|err| Failure::new(format!("Failed to parse approvals JSON: {err}")))?;
    if !file.is_object() {
        return Err(Failure::new("Failed to parse approvals JSON: it is no object"));
    }
    file["version"] = 1.into();
    let target = Target { context, args: &args.target };
    let hash = hash_of(&target.read()?)?;
    Ok(target.written(&target.write(file, &hash)?))
}

fn hash_of(snapshot: &Value) -> Result<String, Failure> {
    let hash = snapshot["hash"].as_str().filter(|hash| !hash.is_empty());
    let problem = || Failure::new("Exec approvals hash missing; reload and retry.");
    hash.map(str::to_owned).ok_or_else(problem)
}

/// What an edit did, or why there was nothing to do.
type Edited = Result<(), &'static str>;

fn edit(
    context: &Context,
    args: &PatternArgs,
    change: fn(&mut Value, &str, &str) -> Edited,
) -> CommandResult {
    let pattern = args.pattern.trim();
    if pattern.is_empty() {
        return Err(Failure::new("Pattern required."));
    }
    let agent = args.agent.as_deref().map(str::trim).filter(|agent| !agent.is_empty());
    let target = Target { context, args: &args.target };
    let snapshot = target.read()?;
    let hash = hash_of(&snapshot)?;
    let mut file = snapshot["file"].clone();
    file["version"] = 1.into();
    if let Err(nothing) = change(&mut file, agent.unwrap_or("*"), pattern) {
        return Ok(Outcome::text(nothing));
    }
    Ok(target.written(&target.write(file, &hash)?))
}

fn pattern_of(entry: &Value) -> &str {
    entry["pattern"].as_str().unwrap_or_default().trim()
}

fn add(file: &mut Value, agent: &str, pattern: &str) -> Edited {
    let list = &mut file["agents"][agent]["allowlist"];
    if !list.is_array() {
        *list = json!([]);
    }
    let list = list.as_array_mut().expect("it was just made one");
    if list.iter().any(|entry| pattern_of(entry) == pattern) {
        return Err("Already allowlisted.");
    }
    list.push(json!({ "id": id::uuid(), "pattern": pattern, "lastUsedAt": clock::now_ms() }));
    Ok(())
}

fn remove(file: &mut Value, agent: &str, pattern: &str) -> Edited {
    let section = &mut file["agents"][agent];
    let list = section["allowlist"].as_array_mut();
    let Some(list) = list.filter(|list| list.iter().any(|entry| pattern_of(entry) == pattern))
    else {
        return Err("Pattern not found.");
    };
    list.retain(|entry| pattern_of(entry) != pattern);
    let empty = list.is_empty();
    let section = section.as_object_mut().expect("it has a list");
    if empty {
        section.shift_remove("allowlist");
    }
    if section.is_empty()
        && let Some(agents) = file["agents"].as_object_mut()
    {
        agents.shift_remove(agent);
    }
    Ok(())
}

/// The file, and below it the lists of all agents.
fn picture(context: &Context, snapshot: &Value, label: &str) -> String {
    let file = &snapshot["file"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let defaults = &file["defaults"];
    let mut said: Vec<String> = ["security", "ask", "askFallback"]
        .iter()
        .filter_map(|name| Some(format!("{name}={}", defaults[*name].as_str()?)))
        .collect();
    if let Some(on) = defaults["autoAllowSkills"].as_bool() {
        said.push(format!("autoAllowSkills={}", if on { "on" } else { "off" }));
    }
    let agents = file["agents"].as_object().cloned().unwrap_or_default();
    let now = clock::now_ms();
    let mut lists = Table::new(&[
        ("Target", Fit::Content),
        ("Agent", Fit::Content),
        ("Pattern", Fit::Rest),
        ("Last Used", Fit::Content),
    ]);
    let mut count = 0;
    for (agent, section) in &agents {
        let entries = section["allowlist"].as_array().map(Vec::as_slice).unwrap_or_default();
        for entry in entries.iter().filter(|entry| !pattern_of(entry).is_empty()) {
            count += 1;
            let used = entry["lastUsedAt"].as_u64();
            lists.row([
                label.to_owned(),
                agent.clone(),
                pattern_of(entry).to_owned(),
                used.map_or("unknown".to_owned(), |at| age::ago(now.saturating_sub(at))),
            ]);
        }
    }
    let mut table = Table::new(&[("Field", Fit::Content), ("Value", Fit::Rest)]);
    table.row(["Target".to_owned(), label.to_owned()]);
    table.row(["Path".to_owned(), text(&snapshot["path"])]);
    let exists = snapshot["exists"] == json!(true);
    table.row(["Exists", if exists { "yes" } else { "no" }]);
    table.row(["Hash".to_owned(), text(&snapshot["hash"])]);
    table.row(["Version".to_owned(), file["version"].as_u64().unwrap_or(1).to_string()]);
    let socket = file["socket"]["path"].as_str().unwrap_or("default");
    table.row(["Socket", socket]);
    let said = if said.is_empty() { "none".to_owned() } else { said.join(", ") };
    table.row(["Defaults".to_owned(), said]);
    table.row(["Agents".to_owned(), agents.len().to_string()]);
    table.row(["Allowlist".to_owned(), count.to_string()]);
    let mut page = Page::default();
    page.line(context.ui.out.heading("Approvals"));
    page.line(table.render(PIPE_WIDTH));
    page.line("");
    if count == 0 {
        page.line("No allowlist entries.");
    } else {
        page.line(context.ui.out.heading("Allowlist"));
        page.line(lists.render(PIPE_WIDTH));
    }
    page.into()
}

fn policy_table(scopes: &[Value]) -> String {
    let mut table = Table::new(&[
        ("Scope", Fit::Content),
        ("Requested", Fit::Rest),
        ("Host", Fit::Rest),
        ("Effective", Fit::Content),
        ("Notes", Fit::Rest),
    ]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for scope in scopes {
        let both = |what: &str| {
            let of = |field: &str| {
                let value = text(&scope[field][what]);
                format!("{field}={value}")
            };
            format!("{} {}", of("security"), of("ask"))
        };
        let notes =
            format!("{}; {}", text(&scope["security"]["note"]), text(&scope["ask"]["note"]));
        let (wanted, host, done) = (both("requested"), both("host"), both("effective"));
        table.row([text(&scope["scopeLabel"]), wanted, host, done, notes]);
    }
    table.render(PIPE_WIDTH)
}

/// What follows from the file and the configuration together.
fn policy(snapshot: &Value, config: Option<&Value>, of_node: bool) -> Value {
    let note = match (of_node, config.is_some()) {
        (true, true) => {
            "Effective exec policy is the node host approvals file intersected with gateway tools.exec policy."
        }
        (true, false) => {
            "Gateway config unavailable. Node output above shows host approvals state only, and final runtime policy still intersects with gateway tools.exec."
        }
        (false, true) => {
            "Effective exec policy is the host approvals file intersected with requested tools.exec policy."
        }
        (false, false) => "Config unavailable.",
    };
    let Some(config) = config else { return json!({ "scopes": [], "note": note }) };
    let host = &snapshot["file"];
    let path = snapshot["path"].as_str().unwrap_or("~/.openclaw/exec-approvals.json");
    let list = config["agents"]["list"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_agent = |id: &str| list.iter().find(|agent| agent["id"] == id);
    let configured = list.iter().filter_map(|agent| {
        let id = agent["id"].as_str()?;
        (id != "main" || agent["tools"]["exec"].is_object()).then_some(id)
    });
    let approved = host["agents"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    let approved = approved.filter(|id| !matches!(*id, "*" | "default" | "main"));
    let mut ids: Vec<&str> = configured.chain(approved).collect();
    ids.sort_unstable();
    ids.dedup();
    let global = &config["tools"]["exec"];
    let mut scopes = vec![scope(None, &Value::Null, global, host, path)];
    for id in ids {
        let own = of_agent(id).map_or(&Value::Null, |agent| &agent["tools"]["exec"]);
        scopes.push(scope(Some(id), own, global, host, path));
    }
    json!({ "scopes": scopes, "note": note })
}

fn scope(agent: Option<&str>, own: &Value, global: &Value, host: &Value, path: &str) -> Value {
    let place = agent.map_or("tools.exec".to_owned(), |id| format!("agents.list.{id}.tools.exec"));
    let requested = |field: &str, default: &str| match (own[field].as_str(), global[field].as_str())
    {
        (Some(value), _) => (value.to_owned(), format!("{place}.{field}")),
        (None, Some(value)) => (value.to_owned(), format!("tools.exec.{field}")),
        (None, None) => (default.to_owned(), format!("OpenClaw default ({default})")),
    };
    let sections = [
        agent.map(|id| (&host["agents"][id], format!("agents.{id}"))),
        Some((&host["agents"]["*"], "agents.*".to_owned())),
        Some((&host["defaults"], "defaults".to_owned())),
    ];
    let on_host = |field: &str| {
        let mut said = sections.iter().flatten();
        said.find_map(|(section, name)| {
            Some((section[field].as_str()?.to_owned(), format!("{path} {name}.{field}")))
        })
    };
    let strictest = |order: [&'static str; 3], a: &str, b: &str| {
        let rank = |text: &str| order.iter().position(|level| *level == text).unwrap_or(0);
        order[rank(a).max(rank(b))]
    };
    let inherited = "inherits requested tool policy".to_owned();
    let (security, security_source) = requested("security", "full");
    let (host_security, host_security_source) =
        on_host("security").unwrap_or_else(|| (security.clone(), inherited.clone()));
    let allowed = strictest(["full", "allowlist", "deny"], &security, &host_security);
    let (ask, ask_source) = requested("ask", "off");
    let (host_ask, host_ask_source) =
        on_host("ask").unwrap_or_else(|| (ask.clone(), inherited.clone()));
    let asks = match host_ask.as_str() {
        "off" => "off",
        host => strictest(["off", "on-miss", "always"], &ask, host),
    };
    let ask_note = if host_ask == "off" && ask != "off" {
        "host ask=off suppresses prompts"
    } else if asks == ask {
        "requested ask applies"
    } else {
        "more aggressive ask wins"
    };
    let security_note = if allowed == security {
        "requested security applies"
    } else {
        "stricter host security wins"
    };
    // Ours denies where the Node gateway runs what nobody decided about.
    let (fallback, fallback_source) = on_host("askFallback")
        .unwrap_or_else(|| ("deny".to_owned(), "OpenClaw default (deny)".to_owned()));
    let decisions: &[&str] = match asks {
        "always" => &["allow-once", "deny"],
        _ => &["allow-once", "allow-always", "deny"],
    };
    let mut scope = Map::new();
    let label = agent.map_or("tools.exec".to_owned(), |id| format!("agent:{id}"));
    scope.insert("scopeLabel".into(), label.into());
    scope.insert("configPath".into(), place.into());
    if let Some(agent) = agent {
        scope.insert("agentId".into(), agent.into());
    }
    scope.insert(
        "security".into(),
        json!({ "requested": security, "requestedSource": security_source,
            "host": host_security, "hostSource": host_security_source,
            "effective": allowed, "note": security_note }),
    );
    scope.insert(
        "ask".into(),
        json!({ "requested": ask, "requestedSource": ask_source, "host": host_ask,
            "hostSource": host_ask_source, "effective": asks, "note": ask_note }),
    );
    scope.insert("askFallback".into(), json!({ "effective": fallback, "source": fallback_source }));
    scope.insert("allowedDecisions".into(), json!(decisions));
    Value::Object(scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_come_and_go_with_their_agent() {
        let mut file = json!({"version": 1, "agents": {}});
        assert_eq!(add(&mut file, "ops", "/usr/bin/uname"), Ok(()));
        assert_eq!(add(&mut file, "ops", "/usr/bin/uname"), Err("Already allowlisted."));
        assert_eq!(file["agents"]["ops"]["allowlist"][0]["pattern"], "/usr/bin/uname");
        assert_eq!(remove(&mut file, "main", "/usr/bin/uname"), Err("Pattern not found."));
        assert_eq!(remove(&mut file, "ops", "/usr/bin/uname"), Ok(()));
        assert!(file["agents"].get("ops").is_none(), "{file}");
    }

    #[test]
    fn the_policy_is_the_stricter_of_file_and_configuration() {
        let snapshot = json!({"path": "/s/exec-approvals.json", "file": {
            "defaults": {"security": "allowlist"}, "agents": {"ops": {"ask": "off"}}}});
        let config = json!({"tools": {"exec": {"ask": "on-miss"}}});
        let policy = policy(&snapshot, Some(&config), false);
        let everyone = &policy["scopes"][0];
        assert_eq!(everyone["security"]["effective"], "allowlist");
        assert_eq!(everyone["security"]["requestedSource"], "OpenClaw default (full)");
        assert_eq!(everyone["security"]["hostSource"], "/s/exec-approvals.json defaults.security");
        assert_eq!(everyone["ask"]["effective"], "on-miss");
        let ops = &policy["scopes"][1];
        assert_eq!((&ops["agentId"], &ops["ask"]["effective"]), (&json!("ops"), &json!("off")));
        assert_eq!(ops["ask"]["note"], "host ask=off suppresses prompts");
    }
}
