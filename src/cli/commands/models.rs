//! `models list` and `models status`: what the configuration, the catalogue
//! and the stored keys say. Asks neither the gateway nor a provider.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::agents::auth_profiles::{self, Profiles};
use crate::agents::models::listing::{self, Row};
use crate::agents::models::reference::{self, Named};
use crate::agents::models::{KeySource, Lookup, Resolved};
use crate::cli::args::models::{ListArgs, ModelsArgs, ModelsCommand, StatusArgs};
use crate::cli::commands::choose;
use crate::cli::commands::model_auth;
use crate::cli::commands::model_keys::{self, Counts, Health, Resting};
use crate::cli::commands::model_scan;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

pub fn run(context: &Context, args: &ModelsArgs) -> CommandResult {
    let snapshot = context.config();
    let agents = &snapshot.config.agents;
    let agent = match args.agent.as_deref().map(str::trim).filter(|id| !id.is_empty()) {
        Some(id)
            if agents.list.is_empty() && id != "main"
                || !agents.list.is_empty() && agents.get(id).is_none() =>
        {
            return Err(Failure::new(format!(
                "Error: Unknown agent id \"{id}\". Use \"{} agents list\" to see configured agents.",
                context.program()
            )));
        }
        Some(id) => id,
        None => agents.default_id(),
    };
    let lookup = context.lookup(agent);
    Ok(match &args.command {
        Some(ModelsCommand::Set(args)) => {
            return choose::set(context, choose::ANSWERS, &args.model);
        }
        Some(ModelsCommand::SetImage(args)) => {
            return choose::set(context, choose::IMAGES, &args.model);
        }
        Some(ModelsCommand::Aliases(args)) => return choose::aliases(context, &args.command),
        Some(ModelsCommand::Fallbacks(args)) => {
            return choose::fallbacks(context, choose::ANSWERS, &args.command);
        }
        Some(ModelsCommand::ImageFallbacks(args)) => {
            return choose::fallbacks(context, choose::IMAGES, &args.command);
        }
        Some(ModelsCommand::Auth(args)) => {
            return model_auth::run(context, agent, &lookup.agent_dir(), &args.command);
        }
        Some(ModelsCommand::Scan(args)) => return model_scan::run(context, &lookup, args),
        Some(ModelsCommand::List(args)) => list(&lookup, args),
        Some(ModelsCommand::Status(args)) => status(context, &lookup, args),
        None => status(
            context,
            &lookup,
            &StatusArgs { json: args.status_json, plain: args.status_plain, check: false },
        ),
    })
}

/// A row of `models list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    key: String,
    name: String,
    input: String,
    context_window: Option<u64>,
    local: bool,
    available: bool,
    tags: Vec<String>,
    missing: bool,
}

fn list(lookup: &Lookup<'_>, args: &ListArgs) -> Outcome {
    let provider = args.provider.as_deref().map(|name| reference::canonical(name.trim()));
    let wanted = |key: &str| {
        provider.as_deref().is_none_or(|provider| key.split('/').next() == Some(provider))
    };
    let rows = listing::rows(lookup);
    let chosen = configured(lookup);
    let mut listed: Vec<Listed> = Vec::new();
    for (key, tags) in &chosen {
        let row = rows.iter().find(|row| key_of(row) == *key);
        listed.push(describe(lookup, key, row, tags.clone()));
    }
    if args.all {
        let others = rows.iter().filter(|row| !chosen.iter().any(|(key, _)| *key == key_of(row)));
        listed.extend(others.map(|row| describe(lookup, &key_of(row), Some(row), Vec::new())));
    }
    listed.retain(|model| wanted(&model.key) && (!args.local || model.local));
    if args.json {
        return Outcome::json(&json!({ "count": listed.len(), "models": listed }));
    }
    let mut page = Page::default();
    if args.plain {
        page.lines(listed.iter().map(|model| &model.key));
    } else if listed.is_empty() {
        page.line("No models found.");
    } else {
        page.line(columns("Model", "Input", "Ctx", "Local", "Auth", "Tags"));
        page.lines(listed.iter().map(row_line));
    }
    Outcome::text(page)
}

fn key_of(row: &Row) -> String {
    format!("{}/{}", reference::canonical(&row.provider), row.id)
}

fn describe(lookup: &Lookup<'_>, key: &str, row: Option<&Row>, tags: Vec<String>) -> Listed {
    let resolved = lookup.resolve(key).ok();
    let local = resolved.as_ref().is_some_and(|found| is_local(&found.model.base_url));
    Listed {
        key: key.to_owned(),
        name: row.map_or_else(|| key.to_owned(), |row| row.name.clone()),
        input: row.map_or_else(|| "-".to_owned(), |row| row.input.join("+")),
        context_window: row.map(|row| row.context_window),
        local,
        available: resolved.is_some(),
        tags,
        missing: row.is_none(),
    }
}

/// Whether a model runs on this host. A model without an address is built in.
fn is_local(base_url: &str) -> bool {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    rest.is_empty()
        || ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].iter().any(|near| {
            host.strip_prefix(near).is_some_and(|port| port.is_empty() || port.starts_with(':'))
        })
}

fn row_line(model: &Listed) -> String {
    let window =
        model.context_window.map_or("-".to_owned(), |tokens| format!("{}k", (tokens + 512) / 1024));
    let word = |yes: bool| if yes { "yes" } else { "no" };
    columns(
        &model.key,
        &model.input,
        &window,
        word(model.local),
        word(model.available),
        &model.tags.join(","),
    )
}

fn columns(model: &str, input: &str, window: &str, local: &str, auth: &str, tags: &str) -> String {
    format!("{model:<42} {input:<10} {window:<8} {local:<5} {auth:<5} {tags}")
}

/// The models that the configuration names, with why.
fn configured(lookup: &Lookup<'_>) -> Vec<(String, Vec<String>)> {
    let mut chosen: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |text: &str, tag: Option<String>| {
        let text = reference::unaliased(lookup.config, text);
        let Some(key) = Named::parse(text, reference::DEFAULT_PROVIDER).map(|named| named.key())
        else {
            return;
        };
        let at = chosen.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            chosen.push((key, Vec::new()));
            chosen.len() - 1
        });
        chosen[at].1.extend(tag);
    };
    add(&default_model(lookup), Some("default".to_owned()));
    for (number, fallback) in fallbacks(lookup).iter().enumerate() {
        add(fallback, Some(format!("fallback#{}", number + 1)));
    }
    for (key, entry) in &lookup.config.agents.defaults.models {
        if key.ends_with("/*") {
            continue;
        }
        add(key, Some("configured".to_owned()));
        if let Some(alias) = entry["alias"].as_str() {
            add(key, Some(format!("alias:{alias}")));
        }
    }
    chosen
}

fn default_model(lookup: &Lookup<'_>) -> String {
    lookup.default_offline().unwrap_or_else(|built_in| built_in)
}

fn fallbacks(lookup: &Lookup<'_>) -> Vec<String> {
    reference::configured(lookup.config, lookup.agent).1
}

fn status(context: &Context, lookup: &Lookup<'_>, args: &StatusArgs) -> Outcome {
    let report = report(context, lookup);
    let missing = !report.auth.missing_providers_in_use.is_empty();
    let code = if args.check { report.auth.oauth.code(missing) } else { 0 };
    let outcome = if args.json {
        Outcome::json(&report)
    } else if args.plain {
        Outcome::text(report.resolved_default.clone())
    } else {
        Outcome::text(render(context, &report))
    };
    outcome.with_code(code)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    config_path: PathBuf,
    agent_dir: PathBuf,
    default_model: String,
    resolved_default: String,
    fallbacks: Vec<String>,
    image_model: Option<String>,
    image_fallbacks: Vec<String>,
    aliases: Map<String, Value>,
    allowed: Vec<String>,
    auth: Auth,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    store_path: PathBuf,
    shell_env_fallback: Value,
    #[serde(rename = "providersWithOAuth")]
    providers_with_oauth: Vec<String>,
    missing_providers_in_use: Vec<String>,
    providers: Vec<ProviderAuth>,
    unusable_profiles: Vec<Resting>,
    oauth: Health,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProviderAuth {
    provider: String,
    effective: Effective,
    profiles: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Found>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models_json: Option<Found>,
}

/// A key that was found somewhere.
#[derive(Debug, Serialize)]
struct Found {
    value: String,
    source: String,
}

/// Where the key comes from, and enough of it to recognise it.
#[derive(Debug, Serialize)]
struct Effective {
    kind: &'static str,
    detail: String,
}

fn report(context: &Context, lookup: &Lookup<'_>) -> Report {
    let defaults = &lookup.config.agents.defaults;
    let default_model = default_model(lookup);
    let resolved_default = Named::parse(
        reference::unaliased(lookup.config, &default_model),
        reference::DEFAULT_PROVIDER,
    )
    .map_or_else(|| default_model.clone(), |named| named.key());
    let aliases = defaults.models.iter().filter_map(|(key, entry)| {
        Some((entry["alias"].as_str()?.to_owned(), Value::from(key.as_str())))
    });
    let image = defaults.rest.get("imageModel").unwrap_or(&Value::Null);
    let agent_dir = lookup.agent_dir();
    Report {
        config_path: context.paths.config.clone(),
        fallbacks: fallbacks(lookup),
        image_model: image.as_str().or(image["primary"].as_str()).map(str::to_owned),
        image_fallbacks: image["fallbacks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|model| model.as_str().map(str::to_owned))
            .collect(),
        aliases: aliases.collect(),
        allowed: defaults.models.keys().cloned().collect(),
        auth: auth(lookup, &agent_dir),
        agent_dir,
        default_model,
        resolved_default,
    }
}

fn auth(lookup: &Lookup<'_>, agent_dir: &std::path::Path) -> Auth {
    let in_use = configured(lookup);
    let mut providers: Vec<(String, Option<String>)> = Vec::new();
    for (key, _) in &in_use {
        let provider = key.split('/').next().unwrap_or_default().to_owned();
        if !providers.iter().any(|(known, _)| *known == provider) {
            providers.push((provider, Some(key.clone())));
        }
    }
    for (provider, entry) in &lookup.config.models.providers {
        let provider = reference::canonical(provider);
        if !providers.iter().any(|(known, _)| *known == provider) {
            let model = entry.models.first().map(|model| format!("{provider}/{}", model.id));
            providers.push((provider, model));
        }
    }
    let profiles = Profiles::read(agent_dir, &lookup.paths.agent("main").join("agent"));
    for provider in profiles.stored().map(|stored| reference::canonical(stored.provider)) {
        if !providers.iter().any(|(known, _)| *known == provider) {
            providers.push((provider, None));
        }
    }
    let names: Vec<String> = providers.iter().map(|(name, _)| name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut missing = Vec::new();
    let mut shown: Vec<ProviderAuth> = Vec::new();
    for (provider, model) in providers {
        let resolved = model.and_then(|model| lookup.resolve(&model).ok());
        let used = in_use.iter().any(|(key, _)| key.starts_with(&format!("{provider}/")));
        let effective = resolved.as_ref().map(effective);
        if effective.is_none() && used {
            missing.push(provider.clone());
        }
        let counts = Counts::of(&profiles, &provider);
        let stored = || Effective {
            kind: "profiles",
            detail: auth_profiles::file(agent_dir).display().to_string(),
        };
        let Some(effective) = effective.or_else(|| (counts.count > 0).then(stored)) else {
            continue;
        };
        let masked = |found: &Resolved| {
            found.model.api_key.as_ref().map(|key| mask(key.expose())).unwrap_or_default()
        };
        let env = resolved.as_ref().and_then(|found| match &found.key {
            KeySource::Env(name) => {
                Some(Found { value: masked(found), source: format!("env: {name}") })
            }
            _ => None,
        });
        let models_json = resolved.as_ref().and_then(|found| {
            match &found.key {
                KeySource::Config => Some("models.providers in the configuration".to_owned()),
                KeySource::ModelsFile => Some("models.json of the agent".to_owned()),
                _ => None,
            }
            .map(|source| Found { value: masked(found), source })
        });
        shown.push(ProviderAuth { provider, effective, profiles: counts, env, models_json });
    }
    Auth {
        store_path: auth_profiles::file(agent_dir),
        shell_env_fallback: json!({ "enabled": false, "appliedKeys": [] }),
        providers_with_oauth: shown
            .iter()
            .filter_map(|entry| entry.profiles.signed_in(&entry.provider))
            .collect(),
        missing_providers_in_use: missing,
        unusable_profiles: model_keys::resting(&profiles, lookup.now),
        oauth: Health::of(&profiles, &names, lookup.now),
        providers: shown,
    }
}

fn effective(found: &Resolved) -> Effective {
    let masked = found.model.api_key.as_ref().map(|key| mask(key.expose())).unwrap_or_default();
    match &found.key {
        KeySource::Profile(id) => Effective { kind: "profiles", detail: id.clone() },
        KeySource::Env(name) => Effective { kind: "env", detail: format!("{masked} ({name})") },
        // One word for both: scripts know it.
        KeySource::Config | KeySource::ModelsFile => {
            Effective { kind: "models.json", detail: masked }
        }
        KeySource::None => Effective { kind: "none", detail: "no key needed".to_owned() },
    }
}

/// The ends of a key.
fn mask(key: &str) -> String {
    let key: Vec<char> = key.chars().collect();
    let shown = if key.len() <= 16 { 2 } else { 4 };
    if key.len() <= 2 * shown {
        return "…".to_owned();
    }
    let (start, end) = (&key[..shown], &key[key.len() - shown..]);
    format!("{}...{}", start.iter().collect::<String>(), end.iter().collect::<String>())
}

fn render(context: &Context, report: &Report) -> String {
    let or_none = |texts: &[String]| match texts {
        [] => "-".to_owned(),
        some => some.join(", "),
    };
    let aliases: Vec<String> = report
        .aliases
        .iter()
        .map(|(alias, model)| format!("{alias} -> {}", model.as_str().unwrap_or_default()))
        .collect();
    let allowed =
        if report.allowed.is_empty() { "all".to_owned() } else { report.allowed.join(", ") };
    let mut page = Page::default();
    page.line(format!("Config        : {}", context.short(&report.config_path)));
    page.line(format!("Agent dir     : {}", context.short(&report.agent_dir)));
    page.line(format!("Default       : {}", report.resolved_default));
    page.line(format!("Fallbacks ({}) : {}", report.fallbacks.len(), or_none(&report.fallbacks)));
    page.line(format!("Image model   : {}", report.image_model.as_deref().unwrap_or("-")));
    page.line(format!(
        "Image fallbacks ({}): {}",
        report.image_fallbacks.len(),
        or_none(&report.image_fallbacks)
    ));
    page.line(format!("Aliases ({})   : {}", aliases.len(), or_none(&aliases)));
    page.line(format!("Configured models ({}): {allowed}", report.allowed.len()));
    page.gap();
    page.line("Auth overview");
    page.line(format!("Auth store    : {}", context.short(&report.auth.store_path)));
    for entry in &report.auth.providers {
        let Effective { kind, detail } = &entry.effective;
        page.line(format!("- {} effective={kind}:{detail}", entry.provider));
    }
    if !report.auth.missing_providers_in_use.is_empty() {
        page.gap();
        page.line("Missing auth");
        page.lines(report.auth.missing_providers_in_use.iter().map(|provider| {
            format!("- {provider}: no key in the environment, the configuration or the auth store")
        }));
    }
    page.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_of_a_key_are_shown() {
        assert_eq!(mask("sk-fake"), "sk...ke");
        assert_eq!(mask("sk-1234567890abcdefghij"), "sk-1...ghij");
        assert_eq!(mask("abcd"), "…");
        assert_eq!(mask(""), "…");
    }

    #[test]
    fn a_model_of_this_host_is_local() {
        for url in ["http://127.0.0.1:11434/v1", "http://localhost", "http://[::1]:8/x", ""] {
            assert!(is_local(url), "{url}");
        }
        for url in ["https://api.openai.com/v1", "http://127.0.0.11/v1", "http://localhost.example"]
        {
            assert!(!is_local(url), "{url}");
        }
    }

    #[test]
    fn rows_line_up_under_their_headings() {
        let model = Listed {
            key: "fake/tiny-1".to_owned(),
            name: "Tiny".to_owned(),
            input: "text".to_owned(),
            context_window: Some(32_000),
            local: true,
            available: true,
            tags: vec!["default".to_owned()],
            missing: false,
        };
        assert_eq!(
            row_line(&model),
            "fake/tiny-1                                text       31k      yes   yes   default"
        );
    }
}
