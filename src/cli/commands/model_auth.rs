//! `models auth …`: stored credentials of an agent, and which of them goes
//! first. Nothing here prints a secret.

use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::agents::auth_profiles::{self, Profiles};
use crate::agents::models::reference;
use crate::base::{clock, duration};
use crate::cli::args::models::{AuthCommand, OrderCommand, OrderTarget, PasteArgs};
use crate::cli::commands::config;
use crate::cli::context::Context;
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
    }
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
