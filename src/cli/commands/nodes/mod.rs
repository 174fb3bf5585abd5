//! `nodes …`: the devices that lend the gateway their commands.

mod canvas;
mod media;
mod tell;

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::base::clock;
use crate::base::duration::parse_ms;
use crate::base::id::uuid;
use crate::cli::args::nodes::{InvokeArgs, NodeListArgs, NodesCommand};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call::call;
use crate::cli::context::Context;
use crate::cli::link::CALL_MS;
use crate::cli::ui::age;
use crate::cli::ui::page::Page;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::cli::ui::{CommandResult, Failure, Outcome};

/// Commands of a node that only the agent's own tool may use.
const RESERVED: [&str; 2] = ["system.run", "system.run.prepare"];

pub fn run(context: &Context, command: &NodesCommand) -> CommandResult {
    match command {
        NodesCommand::Status(args) => status(context, args),
        NodesCommand::List(args) => list(context, args),
        NodesCommand::Pending(args) => {
            let asked = Asker::new(context, &args.rpc, "pending");
            let pending = asked.call("node.pair.list", json!({}))?["pending"].clone();
            if args.rpc.json {
                return Ok(Outcome::json(&pending));
            }
            let pending = items(&pending);
            if pending.is_empty() {
                return Ok(Outcome::text("No pending pairing requests."));
            }
            Ok(Outcome::text(pending_table(context, pending)))
        }
        NodesCommand::Approve(args) => {
            let asked = Asker::new(context, &args.rpc, "approve");
            let params = json!({ "requestId": args.request_id });
            Ok(Outcome::json(&asked.call("node.pair.approve", params)?))
        }
        NodesCommand::Reject(args) => {
            let asked = Asker::new(context, &args.rpc, "reject");
            let params = json!({ "requestId": args.request_id });
            Ok(Outcome::json(&asked.call("node.pair.reject", params)?))
        }
        NodesCommand::Rename(args) => {
            let asked = Asker::new(context, &args.of.rpc, "rename");
            let node = asked.node(&args.of.node)?;
            let name = args.name.trim();
            if name.is_empty() {
                return Err(Failure::new("--node and --name required"));
            }
            let params = json!({ "nodeId": node, "displayName": name });
            let answer = asked.call("node.rename", params)?;
            if args.of.rpc.json {
                return Ok(Outcome::json(&answer));
            }
            Ok(Outcome::text(format!("node rename ok: {node} -> {name}")))
        }
        NodesCommand::Describe(args) => {
            let asked = Asker::new(context, &args.rpc, "describe");
            let node = asked.node(&args.node)?;
            let answer = asked.call("node.describe", json!({ "nodeId": node }))?;
            if args.rpc.json {
                return Ok(Outcome::json(&answer));
            }
            Ok(Outcome::text(description(context, &answer)))
        }
        NodesCommand::Invoke(args) => invoke(context, args),
        NodesCommand::Camera(args) => media::camera(context, &args.command),
        NodesCommand::Screen(args) => media::screen(context, &args.command),
        NodesCommand::Canvas(args) => canvas::run(context, &args.command),
        NodesCommand::Location(args) => tell::location(context, &args.command),
        NodesCommand::Notify(args) => tell::notify(context, args),
        NodesCommand::Push(args) => tell::push(context, args),
    }
}

/// Calls of one command, whose failures name it.
struct Asker<'a> {
    context: &'a Context,
    rpc: &'a Rpc,
    what: &'static str,
    wait_ms: u64,
}

impl<'a> Asker<'a> {
    fn new(context: &'a Context, rpc: &'a Rpc, what: &'static str) -> Self {
        Self { context, rpc, what, wait_ms: CALL_MS }
    }

    /// The same, with more patience unless the caller said how much.
    fn waiting(mut self, wait_ms: u64) -> Self {
        self.wait_ms = wait_ms;
        self
    }

    fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let lead = format!("nodes {} failed: ", self.what);
        call(self.context, self.rpc, method, Some(params), self.wait_ms)?
            .map_err(|err| err.failure(&lead))
    }

    fn failure(&self, text: impl Display) -> Failure {
        Failure::new(format!("nodes {} failed: Error: {text}", self.what))
    }

    /// The node that somebody typed something of.
    fn find(&self, typed: &str) -> Result<Value, Failure> {
        let known = self.call("node.list", json!({}))?;
        pick(items(&known["nodes"]), typed).cloned().map_err(|text| self.failure(text))
    }

    fn node(&self, typed: &str) -> Result<String, Failure> {
        Ok(text(&self.find(typed)?, "nodeId").to_owned())
    }

    /// Has a node run a command; `limit` is what somebody typed for its patience.
    fn invoke(
        &self,
        node: &str,
        command: &str,
        params: Option<Value>,
        limit: Option<&str>,
    ) -> Result<Value, Failure> {
        let mut request = json!({ "nodeId": node, "command": command, "idempotencyKey": uuid() });
        if let Some(params) = params {
            request["params"] = params;
        }
        if let Some(limit) = self.whole("--invoke-timeout", limit)? {
            request["timeoutMs"] = limit.into();
        }
        self.call("node.invoke", request)
    }

    /// A whole number that somebody typed.
    fn whole(&self, option: &str, typed: Option<&str>) -> Result<Option<u64>, Failure> {
        self.number(option, typed, "a whole number, not negative")
    }

    fn number<T: FromStr>(
        &self,
        option: &str,
        typed: Option<&str>,
        kind: &str,
    ) -> Result<Option<T>, Failure> {
        let Some(typed) = typed.map(str::trim).filter(|typed| !typed.is_empty()) else {
            return Ok(None);
        };
        let number = typed.parse().map(Some);
        number.map_err(|_| self.failure(format!("{option} must be {kind}, not \"{typed}\"")))
    }

    /// A length of time that somebody typed, in milliseconds.
    fn duration(&self, typed: &str) -> Result<u64, Failure> {
        parse_ms(typed, "ms").ok_or_else(|| self.failure(format!("invalid duration: {typed}")))
    }
}

/// An object of the members that have a value.
fn members<const N: usize>(members: [(&str, Value); N]) -> Value {
    let given = members.into_iter().filter(|(_, value)| !value.is_null());
    given.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(node: &'a Value, name: &str) -> &'a str {
    node[name].as_str().unwrap_or_default()
}

/// Finds a node by its id, its address, its name, or how its id begins.
fn pick<'a>(nodes: &'a [Value], typed: &str) -> Result<&'a Value, String> {
    let typed = typed.trim();
    if typed.is_empty() {
        return Err("node required".to_owned());
    }
    let plain = |name: &str| -> String {
        let kept = name.to_lowercase();
        kept.chars().filter(|c| c.is_alphanumeric()).collect()
    };
    let name = plain(typed);
    let found: Vec<&Value> = nodes
        .iter()
        .filter(|node| {
            let id = text(node, "nodeId");
            id == typed
                || text(node, "remoteIp") == typed
                || (!name.is_empty() && plain(text(node, "displayName")) == name)
                || (typed.len() >= 6 && id.starts_with(typed))
        })
        .collect();
    let labels = |nodes: &[&Value]| {
        let label = |node: &&Value| match text(node, "displayName") {
            "" => text(node, "nodeId").to_owned(),
            name => name.to_owned(),
        };
        nodes.iter().map(label).collect::<Vec<_>>().join(", ")
    };
    let exact = found.iter().find(|node| text(node, "nodeId") == typed);
    match (exact, found.as_slice()) {
        (Some(node), _) | (None, [node]) => Ok(node),
        (None, []) => {
            let known = labels(&nodes.iter().collect::<Vec<_>>());
            let known = if known.is_empty() { known } else { format!(" (known: {known})") };
            Err(format!("unknown node: {typed}{known}"))
        }
        (None, several) => Err(format!("ambiguous node: {typed} (matches: {})", labels(several))),
    }
}

/// What `--connected` and `--last-connected` leave.
fn filtered(nodes: &[Value], args: &NodeListArgs) -> Result<Vec<Value>, Failure> {
    let within = args
        .last_connected
        .as_ref()
        .map(|text| parse_ms(text, "ms").ok_or_else(|| Failure::new("Invalid --last-connected")));
    let within = within.transpose()?;
    let now = clock::now_ms();
    let kept = nodes.iter().filter(|node| {
        let recent = within.is_none_or(|within| {
            let at = node["connectedAtMs"].as_u64().or_else(|| node["lastConnectedAtMs"].as_u64());
            at.is_some_and(|at| now.saturating_sub(at) <= within)
        });
        recent && (!args.connected || node["connected"] == json!(true))
    });
    Ok(kept.cloned().collect())
}

fn status(context: &Context, args: &NodeListArgs) -> CommandResult {
    let asked = Asker::new(context, &args.rpc, "status");
    let mut answer = asked.call("node.list", json!({}))?;
    let nodes = filtered(items(&answer["nodes"]), args)?;
    if args.rpc.json {
        answer["nodes"] = nodes.into();
        return Ok(Outcome::json(&answer));
    }
    let count = |key: &str| nodes.iter().filter(|node| node[key] == json!(true)).count();
    let mut page = Page::default();
    page.line(format!(
        "Known: {} · Paired: {} · Connected: {}",
        nodes.len(),
        count("paired"),
        count("connected")
    ));
    if !nodes.is_empty() {
        let mut table = Table::new(&[
            ("Node", Fit::Rest),
            ("ID", Fit::Rest),
            ("IP", Fit::Content),
            ("Detail", Fit::Rest),
            ("Status", Fit::Content),
            ("Caps", Fit::Rest),
        ]);
        for node in &nodes {
            let id = text(node, "nodeId");
            let name = Some(text(node, "displayName")).filter(|name| !name.is_empty());
            let detail = ["deviceFamily", "platform", "version"].map(|key| text(node, key));
            let detail: Vec<&str> =
                detail.into_iter().filter(|detail| !detail.is_empty()).collect();
            table.row([
                name.unwrap_or(id).to_owned(),
                id.to_owned(),
                text(node, "remoteIp").to_owned(),
                detail.join(" · "),
                state(node),
                words(&node["caps"]).join(", "),
            ]);
        }
        page.line(table.render(PIPE_WIDTH));
    }
    Ok(Outcome::text(page))
}

fn state(node: &Value) -> String {
    let paired = if node["paired"] == json!(true) { "paired" } else { "unpaired" };
    let connected = if node["connected"] == json!(true) { "connected" } else { "disconnected" };
    format!("{paired} · {connected}")
}

fn words(list: &Value) -> Vec<&str> {
    let mut words: Vec<&str> = items(list).iter().filter_map(Value::as_str).collect();
    words.sort_unstable();
    words
}

fn list(context: &Context, args: &NodeListArgs) -> CommandResult {
    let asked = Asker::new(context, &args.rpc, "list");
    let answer = asked.call("node.pair.list", json!({}))?;
    let narrow = args.connected || args.last_connected.is_some();
    let paired = items(&answer["paired"]);
    let mut kept = paired.to_vec();
    if narrow {
        let live = asked.call("node.list", json!({}))?;
        let live = filtered(items(&live["nodes"]), args)?;
        kept.retain(|node| live.iter().any(|other| other["nodeId"] == node["nodeId"]));
    }
    let pending = if narrow { &[] } else { items(&answer["pending"]) };
    if args.rpc.json {
        return Ok(Outcome::json(&json!({ "pending": pending, "paired": kept })));
    }
    let of =
        if kept.len() == paired.len() { String::new() } else { format!(" (of {})", paired.len()) };
    let mut page = Page::default();
    page.line(format!("Pending: {} · Paired: {}{of}", pending.len(), kept.len()));
    if !pending.is_empty() {
        page.line("");
        page.line(pending_table(context, pending));
    }
    if !kept.is_empty() {
        let now = clock::now_ms();
        let mut table = Table::new(&[
            ("Node", Fit::Rest),
            ("ID", Fit::Rest),
            ("IP", Fit::Content),
            ("Last Connect", Fit::Content),
        ]);
        for node in &kept {
            let id = text(node, "nodeId");
            let name = Some(text(node, "displayName")).filter(|name| !name.is_empty());
            let last = node["lastConnectedAtMs"].as_u64();
            table.row([
                name.unwrap_or(id).to_owned(),
                id.to_owned(),
                text(node, "remoteIp").to_owned(),
                last.map_or("unknown".to_owned(), |at| age::ago(now.saturating_sub(at))),
            ]);
        }
        page.line("");
        page.line(context.ui.out.heading("Paired"));
        page.line(table.render(PIPE_WIDTH));
    }
    Ok(Outcome::text(page))
}

fn pending_table(context: &Context, pending: &[Value]) -> String {
    let now = clock::now_ms();
    let mut table = Table::new(&[
        ("Request", Fit::Content),
        ("Node", Fit::Rest),
        ("IP", Fit::Content),
        ("Requested", Fit::Content),
        ("Repair", Fit::Content),
    ]);
    for request in pending {
        let name = Some(text(request, "displayName")).filter(|name| !name.is_empty());
        let at = request["ts"].as_u64();
        let repair = request["isRepair"] == json!(true);
        table.row([
            text(request, "requestId").to_owned(),
            name.unwrap_or_else(|| text(request, "nodeId")).to_owned(),
            text(request, "remoteIp").to_owned(),
            at.map_or("unknown".to_owned(), |at| age::ago(now.saturating_sub(at))),
            if repair { "yes".to_owned() } else { String::new() },
        ]);
    }
    format!("{}\n{}", context.ui.out.heading("Pending"), table.render(PIPE_WIDTH))
}

fn description(context: &Context, node: &Value) -> String {
    let mut table = Table::new(&[("Field", Fit::Content), ("Value", Fit::Rest)]);
    table.row(["ID", text(node, "nodeId")]);
    let fields = [
        ("Name", "displayName"),
        ("Client", "clientId"),
        ("IP", "remoteIp"),
        ("Device", "deviceFamily"),
        ("Model", "modelIdentifier"),
        ("Version", "version"),
        ("PATH", "pathEnv"),
    ];
    for (label, key) in fields {
        if !text(node, key).is_empty() {
            table.row([label, text(node, key)]);
        }
    }
    let caps = words(&node["caps"]).join(", ");
    table.row(["Status".to_owned(), state(node)]);
    table.row(["Caps".to_owned(), if node["caps"].is_array() { caps } else { "?".to_owned() }]);
    let mut page = Page::default();
    page.line(context.ui.out.heading("Node"));
    page.line(table.render(PIPE_WIDTH));
    page.line("");
    page.line(context.ui.out.heading("Commands"));
    let commands = words(&node["commands"]);
    if commands.is_empty() {
        page.line("- (none reported)");
    }
    page.lines(commands.iter().map(|command| format!("- {command}")));
    page.into()
}

fn invoke(context: &Context, args: &InvokeArgs) -> CommandResult {
    let asked = Asker::new(context, &args.of.rpc, "invoke");
    let node = asked.node(&args.of.node)?;
    let fail = |text: String| Failure::new(format!("nodes invoke failed: {text}"));
    let command = args.command.trim();
    if command.is_empty() {
        return Err(Failure::new("--node and --command required"));
    }
    if RESERVED.contains(&command.to_lowercase().as_str()) {
        return Err(fail(format!(
            "Error: command \"{command}\" is reserved for shell execution; use the exec tool with host=node instead"
        )));
    }
    let params: Value = serde_json::from_str(&args.params)
        .map_err(|err| fail(format!("SyntaxError: --params is not JSON: {err}")))?;
    let key = args.idempotency_key.clone().unwrap_or_else(uuid);
    let mut request =
        json!({ "nodeId": node, "command": command, "params": params, "idempotencyKey": key });
    if let Ok(limit) = args.invoke_timeout.trim().parse::<u64>() {
        request["timeoutMs"] = limit.into();
    }
    Ok(Outcome::json(&asked.call("node.invoke", request)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_whatever_names_one_alone() {
        let nodes = [
            json!({"nodeId": "abcdef0123", "displayName": "Kitchen Mac", "remoteIp": "10.0.0.4"}),
            json!({"nodeId": "abcdef9999", "displayName": "Phone"}),
        ];
        for typed in ["abcdef0123", "kitchen-mac", "10.0.0.4", "abcdef01"] {
            assert_eq!(pick(&nodes, typed).unwrap()["nodeId"], "abcdef0123", "{typed}");
        }
        assert_eq!(
            pick(&nodes, "abcdef").unwrap_err(),
            "ambiguous node: abcdef (matches: Kitchen Mac, Phone)"
        );
        assert_eq!(pick(&nodes, "tv").unwrap_err(), "unknown node: tv (known: Kitchen Mac, Phone)");
        assert_eq!(pick(&[], "tv").unwrap_err(), "unknown node: tv");
        assert_eq!(pick(&nodes, " ").unwrap_err(), "node required");
    }

    #[test]
    fn nodes_can_be_narrowed_to_those_that_are_here() {
        let now = clock::now_ms();
        let nodes = [
            json!({"nodeId": "a", "connected": true, "connectedAtMs": now}),
            json!({"nodeId": "b", "connected": false, "connectedAtMs": 5}),
        ];
        let connected = NodeListArgs { connected: true, ..NodeListArgs::default() };
        assert_eq!(filtered(&nodes, &connected).unwrap().len(), 1);
        let recent = NodeListArgs { last_connected: Some("1h".into()), ..NodeListArgs::default() };
        assert_eq!(filtered(&nodes, &recent).unwrap()[0]["nodeId"], "a");
        let bad = NodeListArgs { last_connected: Some("soon".into()), ..NodeListArgs::default() };
        assert!(filtered(&nodes, &bad).is_err());
    }
}
