//! `plugins …`: the parts of this gateway that the Node gateway has as plugins,
//! and plugins of that gateway which the configuration or the disk names.

use std::fs;

use serde_json::{Value, json};

use crate::agents::models::catalog::VENDORS;
use crate::base::VERSION;
use crate::channels::kinds;
use crate::cli::args::plugins::{PluginInspectArgs, PluginsCommand, PluginsListArgs};
use crate::cli::commands::config;
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::gateway::http::prepared::has_plugin;

const FOREIGN: &str = "this gateway runs no plugins (JavaScript)";

/// Plugins whose work this gateway does itself once they are switched on.
const SWITCHED: [(&str, &str); 2] = [
    ("diagnostics-prometheus", "Metrics for Prometheus over HTTP"),
    ("admin-http-rpc", "Methods of the control plane over HTTP"),
];

/// Members of an entry that say what a plugin of the Node gateway registers.
const NOTHING: [&str; 11] = [
    "toolNames",
    "hookNames",
    "cliBackendIds",
    "speechProviderIds",
    "mediaUnderstandingProviderIds",
    "imageGenerationProviderIds",
    "webFetchProviderIds",
    "webSearchProviderIds",
    "gatewayMethods",
    "cliCommands",
    "services",
];

pub(super) fn run(context: &Context, command: &PluginsCommand) -> CommandResult {
    match command {
        PluginsCommand::List(args) => Ok(list(context, args)),
        PluginsCommand::Inspect(args) => inspect(context, args),
        PluginsCommand::Enable(args) => switch(context, &args.id, true),
        PluginsCommand::Disable(args) => switch(context, &args.id, false),
        PluginsCommand::Doctor => Ok(doctor(context)),
        PluginsCommand::Install(_) => Err(foreign("install")),
        PluginsCommand::Update(_) => Err(foreign("update")),
        PluginsCommand::Uninstall(_) => Err(foreign("uninstall")),
    }
}

fn foreign(what: &str) -> Failure {
    Failure::new(format!(
        "Error: plugins {what}: {FOREIGN}. What agents need beyond it can come from servers of \
         tools (openclaw mcp set) or skills; a Node gateway over the same files manages its own \
         plugins."
    ))
}

/// One part that is built in.
struct Part {
    id: &'static str,
    about: String,
    on: bool,
    /// Whether the configuration, rather than the program, says so.
    said: bool,
    reason: &'static str,
    channels: Vec<&'static str>,
    providers: Vec<&'static str>,
}

fn parts(context: &Context) -> Vec<Part> {
    let config = &context.config().config;
    let entries = config.plugins.get("entries").unwrap_or(&Value::Null);
    let off = |id: &str| entries[id]["enabled"] == false;
    let channels = kinds().iter().map(|kind| {
        let section = config.channels.get(kind.id);
        let on = section.is_some_and(|section| section["enabled"] != false) && !off(kind.id);
        Part {
            id: kind.id,
            about: format!("{} channel", kind.label),
            on,
            said: section.is_some() || off(kind.id),
            reason: if on { "channel is configured" } else { "channel is not configured" },
            channels: vec![kind.id],
            providers: Vec::new(),
        }
    });
    let providers = VENDORS.iter().map(|vendor| Part {
        id: vendor.id,
        about: format!("Models of {}", vendor.id),
        on: !off(vendor.id),
        said: off(vendor.id),
        reason: "built in",
        channels: Vec::new(),
        providers: vec![vendor.id],
    });
    let switched = SWITCHED.iter().map(|(id, about)| {
        let on = has_plugin(config, id);
        Part {
            id,
            about: (*about).to_owned(),
            on,
            said: on,
            reason: if on { "enabled in config" } else { "disabled by default" },
            channels: Vec::new(),
            providers: Vec::new(),
        }
    });
    let mut parts: Vec<Part> = channels.chain(providers).chain(switched).collect();
    parts.sort_by_key(|part| part.id);
    parts.dedup_by_key(|part| part.id);
    parts
}

/// Every entry of `plugins list --json`.
fn all(context: &Context) -> Vec<Value> {
    let program = std::env::current_exe().unwrap_or_default();
    let parts = parts(context);
    let mut all: Vec<Value> = parts
        .iter()
        .map(|part| {
            let mut shown = json!({
                "id": part.id, "name": part.id, "description": part.about, "version": VERSION,
                "format": "openclaw", "source": program, "rootDir": program.parent(),
                "origin": "bundled", "enabled": part.on, "explicitlyEnabled": part.said && part.on,
                "activated": part.on,
                "activationSource": if part.on { "auto" } else { "disabled" },
                "activationReason": part.reason,
                "status": if part.on { "loaded" } else { "disabled" },
            });
            registers(&mut shown, &part.channels, &part.providers);
            shown
        })
        .collect();
    let entries = context.config().config.plugins.get("entries").and_then(Value::as_object);
    let installed = fs::read_dir(context.paths.state.join("extensions"));
    let installed = installed.into_iter().flatten().flatten().filter_map(|entry| {
        let manifest = fs::read(entry.path().join("openclaw.plugin.json")).ok()?;
        let manifest: Value = serde_json::from_slice(&manifest).ok()?;
        Some((manifest["id"].as_str()?.to_owned(), entry.path().display().to_string()))
    });
    let mut strangers: Vec<(String, String)> = installed.collect();
    for id in entries.into_iter().flat_map(serde_json::Map::keys) {
        if !strangers.iter().any(|(known, _)| known == id) {
            strangers.push((id.clone(), String::new()));
        }
    }
    strangers.retain(|(id, _)| !parts.iter().any(|part| part.id == id));
    strangers.sort();
    for (id, root) in strangers {
        let on = entries.is_some_and(|entries| entries[&id]["enabled"] != false);
        let mut shown = json!({
            "id": id, "name": id, "format": "openclaw", "source": root, "rootDir": root,
            "origin": if root.is_empty() { "config" } else { "global" },
            "enabled": on, "explicitlyEnabled": on, "activated": false,
            "activationSource": "disabled", "activationReason": FOREIGN,
            "status": if on { "error" } else { "disabled" },
        });
        registers(&mut shown, &[], &[]);
        shown["error"] = json!(FOREIGN);
        all.push(shown);
    }
    all
}

fn registers(shown: &mut Value, channels: &[&str], providers: &[&str]) {
    for key in NOTHING {
        shown[key] = json!([]);
    }
    shown["channelIds"] = json!(channels);
    shown["providerIds"] = json!(providers);
    shown["commands"] = json!([]);
    shown["httpRoutes"] = json!(0);
    shown["hookCount"] = json!(0);
    shown["configSchema"] = json!(false);
    shown["imported"] = shown["activated"].clone();
}

fn text<'a>(plugin: &'a Value, key: &str) -> &'a str {
    plugin[key].as_str().unwrap_or_default()
}

fn diagnostics(plugins: &[Value]) -> Vec<Value> {
    let broken = plugins.iter().filter(|plugin| plugin["status"] == "error");
    broken
        .map(|plugin| {
            json!({ "level": "error", "pluginId": plugin["id"], "source": plugin["source"],
                "message": plugin["error"] })
        })
        .collect()
}

fn list(context: &Context, args: &PluginsListArgs) -> Outcome {
    let mut plugins = all(context);
    let diagnostics = diagnostics(&plugins);
    let (count, loaded) =
        (plugins.len(), plugins.iter().filter(|plugin| plugin["status"] == "loaded").count());
    if args.enabled {
        plugins.retain(|plugin| plugin["status"] == "loaded");
    }
    if args.json {
        let local = Local::open(context);
        return Outcome::json(&json!({ "workspaceDir": local.workspace(&local.default_id),
            "plugins": plugins, "diagnostics": diagnostics }));
    }
    if plugins.is_empty() {
        return Outcome::text("No plugins found.");
    }
    let mut page = Page::default();
    page.line(format!("{} ({loaded}/{count} loaded)", context.ui.out.heading("Plugins")));
    if args.verbose {
        for plugin in &plugins {
            page.line(lines(plugin));
        }
        return Outcome::text(page);
    }
    let mut table = Table::new(&[
        ("ID", Fit::Content),
        ("Status", Fit::Content),
        ("About", Fit::Rest),
        ("Version", Fit::Content),
    ]);
    for plugin in &plugins {
        let about = if plugin["error"].is_string() { "error" } else { "description" };
        table.row([
            text(plugin, "id"),
            text(plugin, "status"),
            text(plugin, about),
            text(plugin, "version"),
        ]);
    }
    page.line(table.render(PIPE_WIDTH));
    Outcome::text(page)
}

fn lines(plugin: &Value) -> String {
    let mut page = Page::default();
    page.line(format!("{} ({})", text(plugin, "id"), text(plugin, "status")));
    for (label, key) in [
        ("About", "description"),
        ("Version", "version"),
        ("Origin", "origin"),
        ("Source", "source"),
        ("Reason", "activationReason"),
    ] {
        if !text(plugin, key).is_empty() {
            page.line(format!("  {label}: {}", text(plugin, key)));
        }
    }
    page.into()
}

fn inspect(context: &Context, args: &PluginInspectArgs) -> CommandResult {
    let plugins = all(context);
    let wanted: Vec<&Value> = match (&args.id, args.all) {
        (Some(_), true) => {
            return Err(Failure::new("Pass either a plugin id or --all, not both."));
        }
        (None, false) => return Err(Failure::new("Provide a plugin id or use --all.")),
        (None, true) => plugins.iter().collect(),
        (Some(id), false) => plugins.iter().filter(|plugin| plugin["id"] == **id).collect(),
    };
    if let (Some(id), []) = (&args.id, wanted.as_slice()) {
        return Err(Failure::new(format!("Plugin not found: {id}")));
    }
    if !args.json {
        let shown: Vec<String> = wanted.iter().map(|plugin| lines(plugin)).collect();
        return Ok(Outcome::text(shown.concat()));
    }
    let reports: Vec<Value> = wanted
        .iter()
        .map(|plugin| {
            let lists = [("channelIds", "channel"), ("providerIds", "text-inference")];
            let capabilities = lists.iter().filter(|(key, _)| plugin[*key] != json!([]));
            let capabilities = capabilities
                .map(|(key, kind)| json!({ "kind": kind, "ids": plugin[*key] }))
                .collect::<Vec<_>>();
            json!({
                "workspaceDir": Local::open(context).workspace(&Local::open(context).default_id),
                "plugin": plugin,
                "shape": if capabilities.is_empty() { "non-capability" } else { "plain-capability" },
                "capabilityMode": if capabilities.is_empty() { "none" } else { "plain" },
                "capabilityCount": capabilities.len(),
                "capabilities": capabilities,
                "typedHooks": [], "customHooks": [], "tools": [], "commands": [],
                "cliCommands": [], "services": [], "gatewayMethods": [], "mcpServers": [],
                "lspServers": [], "httpRouteCount": 0, "bundleCapabilities": [],
                "diagnostics": diagnostics(std::slice::from_ref(*plugin)),
                "policy": { "allowedModels": [], "hasAllowedModelsConfig": false },
                "usesLegacyBeforeAgentStart": false, "compatibility": [],
            })
        })
        .collect();
    Ok(match (args.all, reports.as_slice()) {
        (false, [one]) => Outcome::json(one),
        _ => Outcome::json(&reports),
    })
}

fn doctor(context: &Context) -> Outcome {
    let found = diagnostics(&all(context));
    if found.is_empty() {
        return Outcome::text("No plugin issues detected.");
    }
    let mut page = Page::default();
    page.line("Plugin errors:");
    for finding in &found {
        page.line(format!("- {}: {}", text(finding, "pluginId"), text(finding, "message")));
    }
    Outcome::text(page)
}

fn switch(context: &Context, id: &str, on: bool) -> CommandResult {
    let known = all(context).into_iter().find(|plugin| plugin["id"] == id);
    if known.is_none() && on {
        return Err(Failure::new(format!("Error: Plugin not found: {id} ({FOREIGN})")));
    }
    let notes = config::change(context, |document| {
        document["plugins"]["entries"][id]["enabled"] = json!(on);
        Ok(())
    })?;
    let done = if on { "Enabled" } else { "Disabled" };
    let mut outcome =
        Outcome::text(format!("{done} plugin \"{id}\". Restart the gateway to apply."))
            .with_stderr(notes);
    if on && known.is_some_and(|plugin| plugin["origin"] != "bundled") {
        outcome.warn(format!("Note: {FOREIGN}; a Node gateway over the same files does."));
    }
    Ok(outcome)
}
