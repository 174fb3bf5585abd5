//! `hooks …`: the hooks of the Node gateway on this host, and their switches.

use serde_json::{Value, json};

use crate::agents::skills::hooks::{self, Hook};
use crate::cli::args::hooks::{HookArgs, HooksCommand, HooksListArgs};
use crate::cli::commands::config::{author, write_failure, written_notes};
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::edit;
use crate::config::write::{self, Before};

/// Keys of an entry of `hooks list --json`, in their order.
const LISTED: [&str; 15] = [
    "name",
    "description",
    "emoji",
    "eligible",
    "disabled",
    "enabledByConfig",
    "requirementsSatisfied",
    "loadable",
    "blockedReason",
    "source",
    "pluginId",
    "events",
    "homepage",
    "missing",
    "managedByPlugin",
];

pub(super) fn run(context: &Context, command: Option<&HooksCommand>) -> CommandResult {
    match command {
        None => Ok(list(context, &HooksListArgs::default())),
        Some(HooksCommand::List(args)) => Ok(list(context, args)),
        Some(HooksCommand::Info(args)) => Ok(info(context, args)),
        Some(HooksCommand::Check(args)) => Ok(check(context, args.json)),
        Some(HooksCommand::Enable(args)) => switch(context, &args.name, true),
        Some(HooksCommand::Disable(args)) => switch(context, &args.name, false),
        Some(HooksCommand::Install(_)) => Err(packs(context, "install")),
        Some(HooksCommand::Update(_)) => Err(packs(context, "update")),
    }
}

/// Packs are npm packages of JavaScript.
fn packs(context: &Context, what: &str) -> Failure {
    let dir = context.short(&hooks::managed_dir(&context.paths));
    Failure::new(format!(
        "Error: hooks {what}: {}, so it installs none. A pack that a Node gateway is to use can \
         be put into {dir} by hand; for native automation see `{} cron add` and the HTTP hooks \
         of docs/http.md.",
        hooks::NOT_RUN,
        context.program()
    ))
}

fn workspace_and_hooks(context: &Context) -> (std::path::PathBuf, Vec<Hook>) {
    let local = Local::open(context);
    let workspace = local.workspace(&local.default_id);
    let section = &context.config().config.hooks;
    let found = hooks::discover(&workspace, &context.paths, section);
    (workspace, found)
}

/// Every hook as `hooks info --json` shows it.
fn judged(context: &Context, found: &[Hook]) -> Vec<Value> {
    let config = context.config();
    let judge = |hook| {
        let mut status = hooks::status(hook, &config.env, &config.config.hooks, &config.resolved);
        status["eligible"] = status["loadable"].clone();
        status["disabled"] = json!(status["enabledByConfig"] == false);
        status
    };
    found.iter().map(judge).collect()
}

fn ready(hooks: &[Value]) -> usize {
    hooks.iter().filter(|hook| hook["loadable"] == true).count()
}

fn list(context: &Context, args: &HooksListArgs) -> Outcome {
    let (workspace, found) = workspace_and_hooks(context);
    let mut hooks = judged(context, &found);
    let (all, usable) = (hooks.len(), ready(&hooks));
    if args.eligible {
        hooks.retain(|hook| hook["loadable"] == true);
    }
    if args.json {
        let listed: Vec<Value> = hooks
            .iter()
            .map(|hook| {
                let keys = LISTED.iter().filter(|key| !hook[**key].is_null());
                keys.map(|key| ((*key).to_owned(), hook[*key].clone())).collect()
            })
            .collect();
        return Outcome::json(&json!({
            "workspaceDir": workspace,
            "managedHooksDir": hooks::managed_dir(&context.paths),
            "hooks": listed,
        }));
    }
    if hooks.is_empty() {
        return Outcome::text(if args.eligible {
            format!(
                "No eligible hooks found. Run `{} hooks list` to see all hooks.",
                context.program()
            )
        } else {
            "No hooks found.".to_owned()
        });
    }
    let mut columns = vec![
        ("Status", Fit::Content),
        ("Hook", Fit::Rest),
        ("Description", Fit::Rest),
        ("Source", Fit::Content),
    ];
    if args.verbose {
        columns.push(("Missing", Fit::Rest));
    }
    let mut table = Table::new(&columns);
    for hook in &hooks {
        let state = match () {
            () if hook["loadable"] == true => "✓ ready",
            () if hook["disabled"] == true => "⏸ disabled",
            () if hook["requirementsSatisfied"] == true => "✗ not run",
            () => "✗ missing",
        };
        table.row([
            state.to_owned(),
            titled(hook),
            text(hook, "description").to_owned(),
            text(hook, "source").to_owned(),
            missing(hook),
        ]);
    }
    let heading = context.ui.out.heading("Hooks");
    Outcome::text(format!("{heading} ({usable}/{all} ready)\n{}", table.render(PIPE_WIDTH)))
}

fn text<'a>(hook: &'a Value, key: &str) -> &'a str {
    hook[key].as_str().unwrap_or_default()
}

fn titled(hook: &Value) -> String {
    format!("{} {}", hook["emoji"].as_str().unwrap_or("🔗"), text(hook, "name"))
}

/// `bins: git; env: TOKEN`.
fn missing(hook: &Value) -> String {
    let kinds = ["bins", "anyBins", "env", "config", "os"].iter();
    let parts: Vec<String> = kinds
        .filter_map(|kind| {
            let names = hook["missing"][*kind].as_array()?;
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            (!names.is_empty()).then(|| format!("{kind}: {}", names.join(", ")))
        })
        .collect();
    parts.join("; ")
}

fn info(context: &Context, args: &HookArgs) -> Outcome {
    let (_, found) = workspace_and_hooks(context);
    let hooks = judged(context, &found);
    let named =
        |hook: &&Value| text(hook, "name") == args.name || text(hook, "hookKey") == args.name;
    let Some(hook) = hooks.iter().find(named) else {
        return if args.json {
            Outcome::json(&json!({ "error": "not found", "hook": args.name }))
        } else {
            let list = format!("{} hooks list", context.program());
            let name = &args.name;
            Outcome::text(format!(
                "Hook \"{name}\" not found. Run `{list}` to see available hooks."
            ))
        };
    };
    if args.json {
        return Outcome::json(hook);
    }
    let mut page = Page::default();
    page.line(context.ui.out.heading(&titled(hook)));
    page.gap();
    page.line(text(hook, "description"));
    page.gap();
    page.line("Details:");
    for (label, key) in [
        ("Source", "source"),
        ("Path", "filePath"),
        ("Handler", "handlerPath"),
        ("Homepage", "homepage"),
        ("Blocked reason", "blockedReason"),
    ] {
        if !text(hook, key).is_empty() {
            page.line(format!("  {label}: {}", text(hook, key)));
        }
    }
    let events: Vec<&str> =
        hook["events"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !events.is_empty() {
        page.line(format!("  Events: {}", events.join(", ")));
    }
    if !missing(hook).is_empty() {
        page.line(format!("  Missing: {}", missing(hook)));
    }
    Outcome::text(page)
}

fn check(context: &Context, as_json: bool) -> Outcome {
    let (_, found) = workspace_and_hooks(context);
    let hooks = judged(context, &found);
    let (usable, rest): (Vec<&Value>, Vec<&Value>) =
        hooks.iter().partition(|hook| hook["loadable"] == true);
    if as_json {
        let lacking = rest.iter().map(|hook| {
            json!({ "name": hook["name"], "blockedReason": hook["blockedReason"],
                "missing": hook["missing"] })
        });
        return Outcome::json(&json!({
            "total": hooks.len(),
            "eligible": usable.len(),
            "notEligible": rest.len(),
            "hooks": {
                "eligible": usable.iter().map(|hook| &hook["name"]).collect::<Vec<_>>(),
                "notEligible": lacking.collect::<Vec<_>>(),
            },
        }));
    }
    let mut page = Page::default();
    page.line(context.ui.out.heading("Hooks Status"));
    page.gap();
    page.line(format!("Total hooks: {}", hooks.len()));
    page.line(format!("Ready: {}", usable.len()));
    page.line(format!("Not ready: {}", rest.len()));
    if !rest.is_empty() {
        page.gap();
        page.line("Hooks not ready:");
        for hook in rest {
            let reason = match text(hook, "blockedReason") {
                "missing requirements" => missing(hook),
                reason => reason.to_owned(),
            };
            page.line(format!("  {} - {reason}", titled(hook)));
        }
    }
    Outcome::text(page)
}

/// Sets the switch that a Node gateway over the same files heeds.
fn switch(context: &Context, name: &str, on: bool) -> CommandResult {
    let (_, found) = workspace_and_hooks(context);
    let hook = found
        .iter()
        .find(|hook| hook.manifest.name == name)
        .ok_or_else(|| Failure::new(format!("Error: Hook \"{name}\" not found")))?;
    let status = judged(context, std::slice::from_ref(hook)).remove(0);
    if on && status["requirementsSatisfied"] != true {
        return Err(Failure::new(format!(
            "Error: Hook \"{name}\" is not eligible (missing requirements)"
        )));
    }
    let keys = |path: &[&str]| path.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    let written =
        write::update(&context.paths, &context.env, &author(), None, Before::Valid, |current| {
            let entry = keys(&["hooks", "internal", "entries", hook.key(), "enabled"]);
            let text = edit::set(write::source_text(current), &entry, &json!(on))?;
            if !on {
                return Ok(text);
            }
            Ok(edit::set(&text, &keys(&["hooks", "internal", "enabled"]), &json!(true))?)
        })
        .map_err(write_failure)?;
    let notes = written_notes(&written);
    let done = if on { "✓ Enabled" } else { "⏸ Disabled" };
    let mut outcome = Outcome::text(format!("{done} hook: {}", titled(&status))).with_stderr(notes);
    if on {
        outcome.warn(format!("Note: {}; a Node gateway over the same files does.", hooks::NOT_RUN));
    }
    Ok(outcome)
}
