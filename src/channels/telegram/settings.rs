//! What a Telegram account is configured with.

use crate::base::secret::Secret;
use crate::channels::action::Gates;
use crate::channels::channel::AccountSpec;
use crate::channels::telegram::api;
use crate::profile::paths;

/// Reference's defaults for the webhook's listener.
const WEBHOOK_PORT: u16 = 8787;
const WEBHOOK_PATH: &str = "/telegram-webhook";

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) account: String,
    pub(super) root: String,
    pub(super) token: Secret,
    pub(super) token_source: &'static str,
    pub(super) webhook: Option<Webhook>,
    pub(super) link_preview: bool,
    pub(super) gates: Gates,
    /// Where the token is configured, for messages.
    pub(super) path: String,
}

#[derive(Debug, Clone)]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) secret: Secret,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Settings {
    pub(super) fn read(spec: &AccountSpec) -> Result<Self, String> {
        let (token, token_source) = token(spec)?;
        let root = spec.text("apiRoot").unwrap_or(api::ROOT);
        if !root.starts_with("https://") && !root.starts_with("http://") {
            return Err(format!("{}: `{root}` is no http address", spec.path_of("apiRoot")));
        }
        Ok(Self {
            account: spec.id.clone(),
            root: root.to_owned(),
            token,
            token_source,
            webhook: webhook(spec)?,
            gates: Gates::of(&spec.settings),
            link_preview: spec.settings["linkPreview"] != false,
            path: spec.path_of("botToken"),
        })
    }
}

fn token(spec: &AccountSpec) -> Result<(Secret, &'static str), String> {
    if let Some(file) = spec.text("tokenFile") {
        let path = paths::expand(file, &spec.paths.home);
        let text = std::fs::read_to_string(&path)
            .map_err(|err| format!("{}: {}: {err}", spec.path_of("tokenFile"), path.display()))?;
        return checked(spec, "tokenFile", text.trim()).map(|token| (token, "tokenFile"));
    }
    if let Some(own) = spec.text("botToken") {
        return checked(spec, "botToken", own).map(|token| (token, "config"));
    }
    match spec.text_or_env("botToken", "TELEGRAM_BOT_TOKEN") {
        Some(text) => checked(spec, "botToken", &text).map(|token| (token, "env")),
        None => Err(format!(
            "not configured: set {} to the token that @BotFather gives",
            spec.path_of("botToken")
        )),
    }
}

/// A token goes into an address: anything but its own letters is a mistake.
fn checked(spec: &AccountSpec, key: &str, text: &str) -> Result<Secret, String> {
    let shape = text.split_once(':').is_some_and(|(id, rest)| {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !id.is_empty()
            && id.chars().all(|c| c.is_ascii_digit())
            && !rest.is_empty()
            && rest.chars().all(letter)
    });
    if shape {
        Ok(Secret::new(text))
    } else {
        Err(format!(
            "{}: this is no bot token (digits, a colon, then letters); copy it from @BotFather again",
            spec.path_of(key)
        ))
    }
}

fn webhook(spec: &AccountSpec) -> Result<Option<Webhook>, String> {
    let Some(url) = spec.text("webhookUrl") else { return Ok(None) };
    let secret = spec.text("webhookSecret").ok_or_else(|| {
        format!("{} requires {}", spec.path_of("webhookUrl"), spec.path_of("webhookSecret"))
    })?;
    let port = spec.settings["webhookPort"].as_u64().map(u16::try_from);
    let path = spec.text("webhookPath").unwrap_or(WEBHOOK_PATH);
    if !path.starts_with('/') || path.contains(['{', '}', '*']) {
        return Err(format!("{}: `{path}` is no plain path", spec.path_of("webhookPath")));
    }
    Ok(Some(Webhook {
        url: url.to_owned(),
        secret: Secret::new(secret),
        path: path.to_owned(),
        host: spec.text("webhookHost").unwrap_or("127.0.0.1").to_owned(),
        port: port.transpose().ok().flatten().unwrap_or(WEBHOOK_PORT),
    }))
}
