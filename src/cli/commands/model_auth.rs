//! `models auth …`: stored credentials of an agent, and which of them goes
//! first. Nothing here prints a secret.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::agents::auth_profiles::{self, Profiles};
use crate::agents::models::{catalog, reference};
use crate::base::{clock, duration};
use crate::cli::args::models::{AuthCommand, OrderCommand, OrderTarget, PasteArgs};
use crate::cli::commands::config;
use crate::cli::context::Context;
use crate::cli::ui::desk::Desk;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

/// Whose credentials, of which provider.
struct Target {
    agent: String,
    dir: PathBuf,
    provider: String,
}

pub fn run(context: &Context, agent: &str, dir: &Path, command: &AuthCommand) -> CommandResult {
    let target = |provider: &str| {
        let provider = reference::canonical(provider.trim());
        if provider.is_empty() {
            return Err(Failure::new("Error: Missing --provider."));
        }
        Ok(Target { agent: agent.to_owned(), dir: dir.to_owned(), provider })
    };
    match command {
        AuthCommand::PasteToken(args) => paste(context, &target(&args.provider)?, args),
        AuthCommand::Order(args) => match &args.command {
            OrderCommand::Get(args) => Ok(get(context, &target(&args.target.provider)?, args.json)),
            OrderCommand::Set(args) => {
                set(&target(&args.target.provider)?, Some(args.profile_ids.as_slice()))
            }
            OrderCommand::Clear(OrderTarget { provider }) => set(&target(provider)?, None),
        },
        AuthCommand::Add => {
            let mut desk = desk(context, "models auth add")?;
            let provider = desk.ask("Provider", "")?;
            let target = target(&provider)?;
            let kind = desk.choose("What is it", &["api-key", "token"], "api-key")?;
            let id = desk.ask("Profile id", &format!("{}:manual", target.provider))?;
            if kind == "token" {
                let expires = desk.ask("Expires in, e.g. 365d (empty: never)", "")?;
                let args = PasteArgs {
                    provider,
                    profile_id: Some(id),
                    expires_in: Some(expires).filter(|text| !text.is_empty()),
                };
                drop(desk);
                return paste(context, &target, &args);
            }
            let key = desk.ask("API key", "")?;
            keep_key(context, &target, &id, &key, false)
        }
        AuthCommand::Login(args) => {
            let mut desk = desk(context, "models auth login")?;
            let provider = match &args.provider {
                Some(provider) => provider.clone(),
                None => desk.ask("Provider", "")?,
            };
            let target = target(&provider)?;
            let method = args.method.as_deref().unwrap_or("api-key");
            if catalog::vendor_of(&target.provider).is_none() || method != "api-key" {
                return Err(Failure::new(format!(
                    "Error: {} with method \"{method}\" is signed into by a plugin of the Node \
                     gateway. This gateway takes API keys (`{1} models auth login --provider <id>`) \
                     and tokens (`{1} models auth paste-token --provider {0}`).",
                    target.provider,
                    context.program()
                )));
            }
            let key = desk.ask("API key", "")?;
            let id = format!("{}:default", target.provider);
            keep_key(context, &target, &id, &key, args.set_default)
        }
        AuthCommand::SetupToken(args) => {
            let mut desk = desk(context, "setup-token")?;
            let target = target(&args.provider)?;
            let go_on = format!("Continue with {} token auth? (y/n)", target.provider);
            if !args.yes && !desk.agree(&go_on, "y")? {
                return Ok(Outcome::default());
            }
            if target.provider == "anthropic" {
                context.ui.err("Run `claude setup-token` in another terminal and copy its token.");
            }
            drop(desk);
            let args = PasteArgs {
                provider: args.provider.clone(),
                profile_id: Some(format!("{}:default", target.provider)),
                expires_in: None,
            };
            paste(context, &target, &args)
        }
    }
}

/// A person to ask; without a terminal there is none.
fn desk<'c>(
    context: &'c Context,
    what: &str,
) -> Result<Desk<io::StdinLock<'static>, impl Fn(&str) + 'c>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(format!("Error: {what} requires an interactive TTY.")));
    }
    Ok(Desk {
        input: io::stdin().lock(),
        show: |text: &str| context.ui.err(text),
        cancelled: "Error: cancelled.",
    })
}

/// Stores an API key, and lets a model of its provider answer if that is wanted.
fn keep_key(
    context: &Context,
    target: &Target,
    id: &str,
    key: &str,
    answers: bool,
) -> CommandResult {
    let provider = &target.provider;
    if key.is_empty() {
        return Err(Failure::new("Error: no API key was given"));
    }
    let credential = json!({ "type": "api_key", "provider": provider, "key": key });
    auth_profiles::put(&target.dir, id, &credential).map_err(|err| failure(target, &err))?;
    let model = catalog::entries().iter().find(|entry| entry.provider == *provider);
    let notes = config::change(context, |document| {
        document["auth"]["profiles"][id] = json!({ "provider": provider, "mode": "api_key" });
        if let Some(model) = model.filter(|_| answers) {
            document["agents"]["defaults"]["model"] =
                json!({ "primary": format!("{provider}/{}", model.id) });
        }
        Ok(())
    })?;
    let file = context.short(&context.paths.config);
    Ok(Outcome::text(format!("Updated {file}\nAuth profile: {id} ({provider}/api_key)"))
        .with_stderr(notes))
}

fn paste(context: &Context, target: &Target, args: &PasteArgs) -> CommandResult {
    let provider = &target.provider;
    let id = args.profile_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
    let id = id.map_or_else(|| format!("{provider}:manual"), str::to_owned);
    let expires = match args.expires_in.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let wrong = || {
                Failure::new(format!(
                    "Error: Invalid --expires-in \"{text}\" (use a duration such as 365d or 12h)"
                ))
            };
            Some(clock::now_ms() + duration::parse_ms(text, "d").ok_or_else(wrong)?)
        }
    };
    if context.ui.interactive() {
        context.ui.err(&format!("Paste token for {provider}:"));
        io::stderr().flush()?;
    }
    let mut token = String::new();
    io::stdin().lock().read_line(&mut token)?;
    let token = token.trim();
    if token.is_empty() {
        return Err(Failure::new("Error: no token on standard input"));
    }
    let mut credential = json!({ "type": "token", "provider": provider, "token": token });
    if let Some(expires) = expires {
        credential["expires"] = expires.into();
    }
    let failed = |err: io::Error| failure(target, &err);
    auth_profiles::put(&target.dir, &id, &credential).map_err(failed)?;
    let notes = config::change(context, |document| {
        document["auth"]["profiles"][&id] = json!({ "provider": provider, "mode": "token" });
        Ok(())
    })?;
    let file = context.short(&context.paths.config);
    Ok(Outcome::text(format!("Updated {file}\nAuth profile: {id} ({provider}/token)"))
        .with_stderr(notes))
}

fn get(context: &Context, target: &Target, as_json: bool) -> Outcome {
    let profiles = Profiles::read(&target.dir, &target.dir);
    let order = profiles.order(&target.provider);
    let file = context.short(&auth_profiles::file(&target.dir));
    if as_json {
        let order = if order.is_empty() { Value::Null } else { json!(order) };
        return Outcome::json(&json!({
            "agentId": target.agent, "agentDir": target.dir, "provider": target.provider,
            "authStorePath": file, "order": order,
        }));
    }
    let mut page = Page::default();
    page.line(format!("Agent: {}", target.agent));
    page.line(format!("Provider: {}", target.provider));
    page.line(format!("Auth file: {file}"));
    let order = if order.is_empty() { "(none)".to_owned() } else { order.join(", ") };
    page.line(format!("Order override: {order}"));
    Outcome::text(page)
}

fn set(target: &Target, order: Option<&[String]>) -> CommandResult {
    let profiles = Profiles::read(&target.dir, &target.dir);
    for id in order.into_iter().flatten() {
        let stored = profiles.stored().find(|stored| stored.id == id);
        let stored = stored.ok_or_else(|| {
            let dir = target.dir.display();
            Failure::new(format!("Error: Auth profile \"{id}\" not found in {dir}."))
        })?;
        if reference::canonical(stored.provider) != target.provider {
            return Err(Failure::new(format!(
                "Error: Auth profile \"{id}\" is for {}, not {}.",
                stored.provider, target.provider
            )));
        }
    }
    auth_profiles::set_order(&target.dir, &target.provider, order)
        .map_err(|err| failure(target, &err))?;
    let mut page = Page::default();
    page.line(format!("Agent: {}", target.agent));
    page.line(format!("Provider: {}", target.provider));
    page.line(match order {
        Some(order) => format!("Order override: {}", order.join(", ")),
        None => "Cleared per-agent order override.".to_owned(),
    });
    Ok(Outcome::text(page))
}

fn failure(target: &Target, err: &io::Error) -> Failure {
    let file = auth_profiles::file(&target.dir);
    Failure::new(format!("Error: Failed to update {}: {err}", file.display()))
}
