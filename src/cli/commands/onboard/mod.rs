//! `onboard` and `configure`: from nothing to a gateway that answers. Options
//! and answers become one plan; the plan is written once.

mod ask;
mod plan;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agents::auth_profiles;
use crate::base::VERSION;
use crate::base::clock::{self, iso8601};
use crate::base::id::uuid;
use crate::cli::args::onboard::{ConfigureArgs, OnboardArgs};
use crate::cli::args::service::InstallArgs;
use crate::cli::args::upkeep::ResetArgs;
use crate::cli::commands::onboard::ask::Section;
use crate::cli::commands::onboard::plan::{Change, Door, Sign};
use crate::cli::commands::{cleanup, config, health, service, setup};
use crate::cli::context::Context;
use crate::cli::link::Link;
use crate::cli::local::Local;
use crate::cli::ui::desk::Desk;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::client::{Caller, Expect};
use crate::config::Config;
use crate::profile::paths;

/// How long a gateway that runs already, and one that was just installed, may
/// take to answer.
const RUNNING: Duration = Duration::from_secs(15);
const INSTALLED: Duration = Duration::from_secs(45);

const EVERYTHING: [Section; 4] =
    [Section::Workspace, Section::Model, Section::Gateway, Section::Daemon];

pub(super) fn run(context: &Context, args: &OnboardArgs) -> CommandResult {
    check(context, args)?;
    if let Some(complaint) = context.config_complaint() {
        context.ui.err(&complaint);
        return Err(Failure::new(format!(
            "Config invalid. Run `{} doctor` to repair it, then re-run setup.",
            context.program()
        )));
    }
    let mut args = args.clone();
    if !args.non_interactive {
        if !context.ui.interactive() {
            return Err(Failure::new(format!(
                "Error: onboard asks its questions on a terminal; without one use `{} onboard \
                 --non-interactive --accept-risk ...`",
                context.program()
            )));
        }
        questions(context, &mut args, &EVERYTHING)?;
    }
    if args.reset {
        let scope = args.reset_scope.clone().unwrap_or_else(|| "config+creds+sessions".to_owned());
        let wanted =
            ResetArgs { scope: Some(scope), yes: true, non_interactive: true, dry_run: false };
        let done = cleanup::reset(context, &wanted)?;
        context.ui.err(&format!("{}{}", done.stdout(), done.stderr()));
        if done.code != 0 {
            return Err(Failure::new("Error: not everything could be deleted"));
        }
    }
    // What was deleted must not be read again.
    let context = &context.with_variables([]);
    match args.mode.as_deref().map(str::trim) {
        None if args.remote_url.is_some() => remote(context, &args),
        None | Some("local") => local(context, &args),
        Some("remote") => remote(context, &args),
        Some(mode) => Err(Failure::new(format!("Invalid --mode \"{mode}\" (use local|remote)."))),
    }
}

/// What makes no sense, whatever the rest says.
fn check(context: &Context, args: &OnboardArgs) -> Result<(), Failure> {
    if args.secret_input_mode.as_deref().is_some_and(|mode| !["plaintext", "ref"].contains(&mode)) {
        return Err(Failure::new("Invalid --secret-input-mode. Use \"plaintext\" or \"ref\"."));
    }
    let scopes = ["config", "config+creds+sessions", "full"];
    if args.reset_scope.as_deref().is_some_and(|scope| !scopes.contains(&scope)) {
        return Err(Failure::new(
            "Invalid --reset-scope. Use \"config\", \"config+creds+sessions\", or \"full\".",
        ));
    }
    if args.non_interactive && !args.accept_risk {
        return Err(Failure::new(format!(
            "Non-interactive setup requires explicit risk acknowledgement.\n\
             Read: https://docs.openclaw.ai/security\n\
             Re-run with: {} onboard --non-interactive --accept-risk ...",
            context.program()
        )));
    }
    let managers = ["npm", "pnpm", "bun"];
    if args.node_manager.as_deref().is_some_and(|name| !managers.contains(&name)) {
        return Err(Failure::new("Invalid --node-manager (use npm, pnpm, or bun)"));
    }
    Ok(())
}

fn questions(
    context: &Context,
    args: &mut OnboardArgs,
    sections: &[Section],
) -> Result<(), Failure> {
    let mut desk = Desk {
        input: io::stdin().lock(),
        show: |text: &str| context.ui.err(text),
        cancelled: "Error: Setup cancelled.",
    };
    if sections.len() == EVERYTHING.len() && !args.accept_risk {
        let risk = "An agent runs commands on this host on behalf of whoever may talk to it. Read \
                    https://docs.openclaw.ai/security. Go on? (y/n)";
        if !desk.confirm(risk)? {
            return Err(Failure::new("Error: Setup cancelled."));
        }
    }
    if args.mode.as_deref() == Some("remote") || args.remote_url.is_some() {
        if args.remote_url.is_none() {
            args.remote_url = Some(desk.ask("Address of the gateway (ws:// or wss://)", "")?);
            args.remote_token = Some(desk.ask("Its token (empty: none)", "")?);
        }
        return Ok(());
    }
    let workspace = context.short(&workspace(context, args));
    let port = configured_port(context);
    for section in sections {
        desk.about(*section, args, &workspace, port)?;
    }
    Ok(())
}

fn workspace(context: &Context, args: &OnboardArgs) -> PathBuf {
    let configured = context.config().config.agents.defaults.workspace.clone();
    match args.workspace.as_deref().or(configured.as_deref()) {
        Some(dir) => paths::expand(dir, &context.paths.home),
        None => context.paths.workspace(),
    }
}

fn configured_port(context: &Context) -> u16 {
    service::configured_port(context, context.config())
}

fn put(document: &mut Value, (keys, value): &Change) {
    let mut place = document;
    for key in keys {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[key.as_str()];
    }
    *place = value.clone();
}

fn noted(document: &mut Value, command: &str, mode: &str) {
    let wizard = &mut document["wizard"];
    wizard["lastRunAt"] = json!(iso8601(clock::now_ms()));
    wizard["lastRunVersion"] = json!(VERSION);
    wizard["lastRunCommand"] = json!(command);
    wizard["lastRunMode"] = json!(mode);
}

fn remote(context: &Context, args: &OnboardArgs) -> CommandResult {
    let text = |text: &Option<String>| {
        text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let url = text(&args.remote_url)
        .ok_or_else(|| Failure::new("Missing --remote-url for remote mode."))?;
    let token = text(&args.remote_token);
    let notes = config::change(context, |document| {
        let gateway = &mut document["gateway"];
        gateway["mode"] = json!("remote");
        gateway["remote"] = json!({ "url": url });
        if let Some(token) = &token {
            gateway["remote"]["token"] = json!(token);
        }
        noted(document, "onboard", "remote");
        Ok(())
    })?;
    let auth = if token.is_some() { "token" } else { "none" };
    let outcome = if args.json {
        Outcome::json(&json!({ "mode": "remote", "remoteUrl": url, "auth": auth }))
    } else {
        Outcome::text(format!("Remote gateway: {url}\nAuth: {auth}"))
    };
    Ok(outcome.with_stderr(notes))
}

fn local(context: &Context, args: &OnboardArgs) -> CommandResult {
    let env = &context.config().env;
    let sign = plan::sign(args, env).map_err(Failure::new)?;
    let door = plan::door(args, env, configured_port(context), || kept_token(context))
        .map_err(Failure::new)?;
    let workspace = workspace(context, args);
    store(context, &sign)?;
    let notes = config::change(context, |document| {
        document["agents"]["defaults"]["workspace"] = json!(workspace);
        document["gateway"]["mode"] = json!("local");
        for (keys, value) in
            [(["session", "dmScope"], "per-channel-peer"), (["tools", "profile"], "coding")]
        {
            if document[keys[0]][keys[1]].is_null() {
                document[keys[0]][keys[1]] = json!(value);
            }
        }
        if !args.skip_skills {
            let manager = args.node_manager.as_deref().unwrap_or("npm");
            document["skills"]["install"]["nodeManager"] = json!(manager);
        }
        for change in sign.changes.iter().chain(&door.changes) {
            put(document, change);
        }
        choose_model(document, &sign);
        noted(document, "onboard", "local");
        Ok(())
    })?;
    context.ui.err(&notes);
    setup::make(&workspace)?;
    setup::make(&context.paths.agent("main").join("sessions"))?;
    finish(&context.with_variables([]), args, &sign, &door, &workspace)
}

/// The token that is configured, or a new one.
fn kept_token(context: &Context) -> String {
    let config: &Config = &context.config().config;
    let kept = config.gateway.auth.token.as_ref().and_then(Value::as_str).map(str::to_owned);
    kept.unwrap_or_else(|| format!("{}{}", uuid(), uuid()).replace('-', ""))
}

fn store(context: &Context, sign: &Sign) -> Result<(), Failure> {
    let Some((id, credential)) = &sign.credential else { return Ok(()) };
    let agent = Local::open(context).default_id;
    let dir = context.paths.agent(&agent).join("agent");
    auth_profiles::put(&dir, id, credential).map_err(|err| {
        let file = auth_profiles::file(&dir);
        Failure::new(format!("Error: Failed to update {}: {err}", file.display()))
    })
}

/// The provider's model answers where none was chosen before.
fn choose_model(document: &mut Value, sign: &Sign) {
    let slot = &mut document["agents"]["defaults"]["model"];
    if let Some(model) = sign.model.as_ref().filter(|_| !slot.is_string()) {
        if slot["primary"].is_null() {
            slot["primary"] = json!(model);
        }
    } else if slot.is_null() {
        document["agents"]["defaults"].as_object_mut().map(|fields| fields.shift_remove("model"));
    }
}

/// The service and the gateway's answer, as far as they are wanted.
fn finish(
    context: &Context,
    args: &OnboardArgs,
    sign: &Sign,
    door: &Door,
    workspace: &std::path::Path,
) -> CommandResult {
    let wanted = args.install_daemon && !args.no_install_daemon && !args.skip_daemon;
    let gateway = json!({ "port": door.port, "bind": door.bind, "authMode": door.auth,
        "tailscaleMode": door.tailscale });
    let mut report = json!({ "ok": true, "mode": "local", "workspace": workspace,
        "authChoice": sign.choice, "gateway": gateway, "installDaemon": wanted });
    let mut page = Page::default();
    page.line(format!("Updated {}", context.short(&context.paths.config)));
    page.line(format!("Workspace OK: {}", context.short(workspace)));
    if wanted {
        let installed = service::install(context, &InstallArgs::default()).and_then(|done| {
            if done.code == 0 { Ok(()) } else { Err(Failure::new(done.stderr())) }
        });
        report["daemonInstall"] = json!({ "requested": true, "installed": installed.is_ok() });
        if let Err(failure) = installed {
            let why = failure.to_string();
            return failed(
                context,
                args,
                report,
                "daemon-install",
                "Gateway service install did not complete successfully.",
                why.trim(),
            );
        }
        page.line("Gateway service installed.");
    }
    report["skipSkills"] = json!(args.skip_skills);
    report["skipHealth"] = json!(args.skip_health);
    if !args.skip_health && (wanted || args.non_interactive) {
        let limit = if wanted { INSTALLED } else { RUNNING };
        match answer(context, limit) {
            Ok(health) => page.line(health::render(&health)),
            Err(why) => {
                let scheme =
                    if context.config().config.gateway.tls.get("enabled") == Some(&json!(true)) {
                        "wss"
                    } else {
                        "ws"
                    };
                let message = format!(
                    "Gateway did not become reachable at {scheme}://127.0.0.1:{}.",
                    door.port
                );
                return failed(context, args, report, "gateway-health", &message, &why);
            }
        }
    }
    if args.json {
        return Ok(Outcome::json(&report));
    }
    let program = context.program();
    page.line(if wanted {
        format!("Next: {program} dashboard, or {program} agent --message hi")
    } else {
        format!("Next: {program} gateway install, or {program} gateway run in the foreground")
    });
    page.line(format!("Chat networks: {program} channels add --channel <name> ..."));
    Ok(Outcome::text(page))
}

/// Asks the gateway until it answers.
fn answer(context: &Context, limit: Duration) -> Result<Value, String> {
    let until = Instant::now() + limit;
    loop {
        let link = Link::open(context, None, None, None).map_err(|err| err.for_probe())?;
        let asked = context.block_on(async {
            let patience = Duration::from_secs(10);
            let asked = link.call(Caller::READER, "health", None, Expect::First, patience).await;
            if asked.is_err() {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Ok(asked)
        });
        match asked.map_err(|err| err.to_string())? {
            Err(err) if Instant::now() >= until => return Err(err.for_probe()),
            Err(_) => {}
            Ok(health) => return Ok(health),
        }
    }
}

fn failed(
    context: &Context,
    args: &OnboardArgs,
    mut report: Value,
    phase: &str,
    message: &str,
    detail: &str,
) -> CommandResult {
    let program = context.program();
    let hints = if report["installDaemon"] == true {
        vec![format!("Run `{program} gateway status --deep` for more detail.")]
    } else {
        vec![
            "Without --install-daemon the setup only waits for a gateway that runs already."
                .to_owned(),
            format!(
                "Fix: start `{program} gateway run`, re-run with `--install-daemon`, or use \
                 `--skip-health`."
            ),
        ]
    };
    if args.json {
        report["ok"] = json!(false);
        report["phase"] = json!(phase);
        report["message"] = json!(message);
        report["detail"] = json!(detail);
        report["hints"] = json!(hints);
        return Ok(Outcome::json(&report).with_code(1));
    }
    let mut lines = vec![message.to_owned(), format!("Last probe: {detail}")];
    lines.extend(hints);
    Err(Failure::new(lines.join("\n")))
}

/// `configure`: the same questions, one part at a time.
pub(super) fn configure(context: &Context, args: &ConfigureArgs) -> CommandResult {
    let program = context.program();
    let mut sections = Vec::new();
    for name in &args.section {
        sections.push(match name.trim() {
            "workspace" => Section::Workspace,
            "model" => Section::Model,
            "gateway" => Section::Gateway,
            "daemon" => Section::Daemon,
            other => {
                let instead = match other {
                    "channels" => format!("use `{program} channels add`"),
                    "skills" => format!("use `{program} skills list` and skills.entries"),
                    "web" => format!("use `{program} config set tools.web...`"),
                    "plugins" => format!("use `{program} plugins list`"),
                    "health" => format!("use `{program} health`"),
                    _ => "use workspace, model, gateway or daemon".to_owned(),
                };
                return Err(Failure::new(format!("Error: Invalid --section: {other} ({instead})")));
            }
        });
    }
    if !context.ui.interactive() {
        return Err(Failure::new(format!(
            "Error: configure asks its questions on a terminal; without one use `{program} config \
             set` or `{program} onboard --non-interactive --accept-risk ...`"
        )));
    }
    if sections.is_empty() {
        sections.extend(EVERYTHING);
    }
    let mut answers = OnboardArgs { accept_risk: true, ..OnboardArgs::default() };
    questions(context, &mut answers, &sections)?;
    let env = &context.config().env;
    let sign = plan::sign(&answers, env).map_err(Failure::new)?;
    let door = if sections.contains(&Section::Gateway) {
        plan::door(&answers, env, configured_port(context), || kept_token(context))
            .map_err(Failure::new)?
    } else {
        Door::default()
    };
    store(context, &sign)?;
    let workspace = answers.workspace.is_some().then(|| workspace(context, &answers));
    let notes = config::change(context, |document| {
        if let Some(workspace) = &workspace {
            document["agents"]["defaults"]["workspace"] = json!(workspace);
        }
        for change in sign.changes.iter().chain(&door.changes) {
            put(document, change);
        }
        if sign.model.is_some() {
            choose_model(document, &sign);
        }
        noted(document, "configure", "local");
        Ok(())
    })?;
    if let Some(workspace) = &workspace {
        setup::make(workspace)?;
    }
    let mut outcome = Outcome::text(format!("Updated {}", context.short(&context.paths.config)))
        .with_stderr(notes);
    if answers.install_daemon {
        let done = service::install(&context.with_variables([]), &InstallArgs::default())?;
        outcome.say(done.stdout().trim_end());
        outcome.warn(done.stderr().trim_end());
        outcome = outcome.with_code(done.code);
    }
    Ok(outcome)
}
