//! `gateway install`: from configuration and flags to a [`ServiceSpec`].

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::args::service::InstallArgs;
use crate::cli::commands::service::said::Said;
use crate::cli::commands::service::{configured_port, failed, invalid};
use crate::cli::context::Context;
use crate::config;
use crate::config::{Snapshot, edit, write};
use crate::secrets::resolve::{Resolver, SYSTEMD};
use crate::secrets::{self, Source};
use crate::supervise::addresses;
use crate::supervise::host::{self, Choice};
use crate::supervise::manager::{Force, InstallOutcome, Installed, ServiceManager};
use crate::supervise::report::ServiceSummary;
use crate::supervise::spec::{
    PROXY_VARS, RESERVED_PROFILES, Scope, ServiceSpec, SpecInput, has_credentials,
};

/// Installs, or says why not.
pub(super) fn run(context: &Context, args: &InstallArgs) -> Said {
    let said = Said::of("install");
    let context = &match of_account(context, args) {
        Ok(context) => context,
        Err(problem) => return said.failed(problem),
    };
    match prepare(context, args) {
        Err(problem) => said.failed(problem),
        Ok(plan) if args.dry_run => dry_run(said, &plan),
        Ok(plan) => {
            let force = if args.force { Force::Yes } else { Force::No };
            let outcome = plan.manager.install(&plan.spec, force);
            match outcome {
                Ok(done) => installed(said, context, &plan, done),
                Err(err) => failed(said, context, "install", &err).with_warnings(plan.warnings),
            }
        }
    }
}

/// The host as the account sees it that will run the gateway: its files are in
/// that account's home, not in root's.
fn of_account(context: &Context, args: &InstallArgs) -> Result<Context, String> {
    if !args.system {
        return Ok(context.with_variables([]));
    }
    let account = account(args)?;
    let own_home = context.paths.home.clone();
    if account.uid == nix::unistd::geteuid() || own_home == account.dir {
        return Ok(context.with_variables([]));
    }
    let home = account.dir.to_string_lossy().into_owned();
    // What `--profile` derived from root's home moves along.
    let moved: Vec<(&str, String)> = ["OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH"]
        .into_iter()
        .filter_map(|key| {
            let rest = Path::new(context.env.get(key)?).strip_prefix(&own_home).ok()?;
            Some((key, account.dir.join(rest).to_string_lossy().into_owned()))
        })
        .collect();
    let variables = moved.iter().map(|(key, value)| (*key, value.as_str()));
    Ok(context.with_variables(variables.chain([("HOME", home.as_str())])))
}

struct Plan {
    manager: Box<dyn ServiceManager>,
    spec: ServiceSpec,
    warnings: Vec<String>,
}

fn prepare(context: &Context, args: &InstallArgs) -> Result<Plan, String> {
    let env = &context.env;
    if env.is_on("OPENCLAW_NIX_MODE") {
        return Err("Nix mode detected; service install is disabled.".into());
    }
    let mut warnings = Vec::new();
    let wanted_port = args.port.as_deref().map(parse_port).transpose()?;
    match args.runtime.as_deref() {
        None => {}
        Some("node" | "bun") => {
            warnings.push("--runtime has no effect: this gateway is a native program".to_owned());
        }
        Some(_) => return Err("Invalid --runtime (use \"node\" or \"bun\")".into()),
    }
    if let Some(name) = &context.paths.profile
        && RESERVED_PROFILES.contains(&name.as_str())
    {
        return Err(format!("The profile name \"{name}\" is reserved for another service."));
    }
    let mut snapshot = config::load::read(&context.paths, env);
    if let Some(problem) = invalid(&snapshot) {
        return Err(format!("Gateway install failed: Error: {problem}"));
    }
    if args.token.is_some()
        && snapshot.config.gateway.auth.token.as_ref().is_some_and(Value::is_object)
    {
        return Err("Gateway install blocked: gateway.auth.token is a SecretRef; change what it refers to instead of passing --token.".into());
    }
    if !args.system && !args.force {
        refuse_unresolved(context, &snapshot)?;
    }
    if !args.dry_run {
        refuse_foreign_edit(context, args, wanted_port, &snapshot)?;
        snapshot = persist(context, args, wanted_port, snapshot, &mut warnings)?;
    }
    let port = wanted_port.unwrap_or_else(|| configured_port(context, &snapshot));
    for key in PROXY_VARS {
        if env.get(key).is_some_and(has_credentials) {
            warnings.push(format!(
                "{key} holds credentials and is left out of the service; put it into {}",
                context.paths.state.join(".env").display()
            ));
        }
    }
    let scope = if args.system { Scope::System { user: account(args)?.name } } else { Scope::User };
    let listen = addresses::wanted(&snapshot.config.gateway, port)?;
    let program = host::program().map_err(|err| format!("finding this program: {err}"))?;
    let spec = ServiceSpec::for_host(&SpecInput {
        env,
        paths: &context.paths,
        scope,
        program: &program,
        port,
        listen: &listen,
    });
    let choice = if args.system { Choice::System } else { Choice::User };
    if !args.force
        && let Some(other) = host::other(env, &context.paths, args.system)
    {
        return Err(format!(
            "Gateway install failed: Error: {other} runs this gateway already; remove it or use --force"
        ));
    }
    Ok(Plan { manager: host::manager(env, &context.paths, choice), spec, warnings })
}

/// A file or a program tells the service what it tells us, so a token that
/// cannot be had now would block the start. Variables and the service manager's
/// credentials may be the unit's alone; there the start has the word.
fn refuse_unresolved(context: &Context, snapshot: &Snapshot) -> Result<(), String> {
    let auth = &snapshot.config.gateway.auth;
    let token = auth.token.as_ref().filter(|_| auth.mode.as_deref() != Some("password"));
    let reference = token.and_then(|token| secrets::reference(token, &snapshot.resolved));
    let Some(reference) = reference.filter(|reference| {
        let path = &snapshot.resolved["secrets"]["providers"][&reference.provider]["path"];
        let credential = path.as_str().is_some_and(|path| path.starts_with("/run/credentials/"));
        reference.source != Source::Env && reference.provider != SYSTEMD && !credential
    }) else {
        return Ok(());
    };
    let resolver = Resolver::of(snapshot);
    let answer = context.block_on(async { Ok(resolver.resolve(&[reference]).await) });
    let Ok(Err(err)) = answer else { return Ok(()) };
    Err(format!(
        "Gateway install blocked: gateway.auth.token SecretRef is configured but unresolved ({}). With --force the service is installed all the same and waits for the secret.",
        err.detail()
    ))
}

/// Root does not write into another account's configuration: the file would
/// belong to root and the gateway could not read it.
fn refuse_foreign_edit(
    context: &Context,
    args: &InstallArgs,
    port: Option<u16>,
    snapshot: &Snapshot,
) -> Result<(), String> {
    if !args.system || account(args)?.uid == nix::unistd::geteuid() {
        return Ok(());
    }
    let user = account(args)?.name;
    let command = |key: &str, value: &str| {
        format!(
            "Gateway install blocked: {key} belongs into the configuration of {user}. Run as {user}: {} config set {key} {value}",
            context.program()
        )
    };
    let gateway = &snapshot.config.gateway;
    if let Some(port) = port.filter(|port| gateway.port != Some(u64::from(*port))) {
        return Err(command("gateway.port", &port.to_string()));
    }
    match &args.token {
        Some(token) if gateway.auth.token != Some(json!(token)) => {
            Err(command("gateway.auth.token", "TOKEN"))
        }
        _ => Ok(()),
    }
}

/// Writes port and token where the service and every client read them. A copy
/// in the unit alone would drift from the configuration.
fn persist(
    context: &Context,
    args: &InstallArgs,
    port: Option<u16>,
    snapshot: Snapshot,
    warnings: &mut Vec<String>,
) -> Result<Snapshot, String> {
    let gateway = &snapshot.config.gateway;
    let mut changes: Vec<(&[&str], Value)> = Vec::new();
    if let Some(port) = port.filter(|port| gateway.port != Some(u64::from(*port))) {
        changes.push((&["gateway", "port"], json!(port)));
    }
    if let Some(token) = &args.token
        && gateway.auth.token != Some(json!(token))
    {
        changes.push((&["gateway", "auth", "mode"], json!("token")));
        changes.push((&["gateway", "auth", "token"], json!(token)));
    }
    if changes.is_empty() {
        return Ok(snapshot);
    }
    let author = write::Author { argv: vec!["gateway".to_owned(), "install".to_owned()] };
    let (paths, env) = (&context.paths, &context.env);
    let written = write::update(paths, env, &author, None, write::Before::Valid, |current| {
        let mut text = write::source_text(current).to_owned();
        for (path, value) in &changes {
            let keys: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
            text = edit::set(&text, &keys, value)?;
        }
        Ok(text)
    });
    let written = written.map_err(|err| format!("Gateway install failed: Error: {err}"))?;
    warnings.extend(written.notes);
    Ok(written.snapshot)
}

fn installed(said: Said, context: &Context, plan: &Plan, done: Installed) -> Said {
    let summary = ServiceSummary { loaded: true, ..plan.manager.summary() };
    let mut warnings = plan.warnings.clone();
    warnings.extend(done.warnings);
    let said = said.with_service(summary).with_warnings(warnings).with_linger(done.linger);
    match done.outcome {
        InstallOutcome::AlreadyInstalled { drift } => {
            let said = said
                .done("already-installed", format!("Gateway service already {}.", "enabled"))
                .with_message();
            let reinstall =
                format!("Reinstall with: {} gateway install --force", context.program());
            said.append(&reinstall).with_drift(drift)
        }
        InstallOutcome::Installed => {
            let mut lines = vec![
                String::new(),
                format!("Installed {}: {}", plan.manager.noun(), done.path.display()),
            ];
            lines.extend(
                done.backups
                    .iter()
                    .map(|backup| format!("Previous unit backed up to: {}", backup.display())),
            );
            said.done("installed", lines.join("\n"))
        }
    }
}

fn dry_run(said: Said, plan: &Plan) -> Said {
    let files = match plan.manager.render(&plan.spec) {
        Ok(files) => files,
        Err(err) => return said.failed(format!("Gateway install failed: Error: {err}")),
    };
    let mut lines = Vec::new();
    let mut listed = Vec::new();
    for file in &files {
        let text = String::from_utf8_lossy(&file.text).into_owned();
        let state = match std::fs::read(&file.path) {
            Ok(bytes) if bytes == file.text => "unchanged",
            Ok(_) => "replace",
            Err(_) => "create",
        };
        lines.push(format!("# {} ({state})\n{text}", file.path.display()));
        listed.push(json!({"path": file.path, "change": state, "text": text}));
    }
    let actions = ["daemon-reload", "enable", "start", "wait until ready"];
    lines.push(format!("Then: {}", actions.join(", ")));
    said.done("dry-run", lines.join("\n"))
        .with_warnings(plan.warnings.clone())
        .with_plan(json!({"files": listed, "actions": actions}))
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.trim().parse().ok().filter(|port| *port > 0).ok_or_else(|| "Invalid port".to_owned())
}

/// The account that runs a system service: named, else the one behind sudo.
fn account(args: &InstallArgs) -> Result<nix::unistd::User, String> {
    let Some(name) = &args.user else {
        return Err("--system needs --user NAME: the account that runs the gateway".into());
    };
    let found = nix::unistd::User::from_name(name).ok().flatten();
    found.ok_or_else(|| format!("there is no account named {name}"))
}
