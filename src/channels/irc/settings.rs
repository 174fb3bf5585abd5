//! What an IRC account is configured with.

use std::fmt;

use serde_json::Value;

use crate::base::secret::Secret;
use crate::channels::channel::AccountSpec;
use crate::profile::paths;

/// An account's settings, complete.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) account: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) nick: String,
    pub(super) username: String,
    pub(super) realname: String,
    pub(super) password: Option<Secret>,
    pub(super) password_source: &'static str,
    pub(super) channels: Vec<String>,
    pub(super) service: Option<Service>,
    pub(super) match_names: bool,
    /// Where `host` is configured, for messages.
    pub(super) path: String,
}

/// The network's account service.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) password: Secret,
    /// Address to register the nick with.
    pub(super) register: Option<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("nick", &self.nick)
            .finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn read(spec: &AccountSpec) -> Result<Self, String> {
        let missing =
            |key: &str, what: &str| format!("not configured: set {} ({what})", spec.path_of(key));
        let host = spec.text_or_env("host", "IRC_HOST");
        let host = host.ok_or_else(|| missing("host", "the server's name"))?;
        let nick = spec.text_or_env("nick", "IRC_NICK");
        let nick = nick.ok_or_else(|| missing("nick", "the bot's nick name"))?;
        let tls = match spec.settings["tls"].as_bool() {
            Some(tls) => tls,
            None => spec.text_or_env("tls", "IRC_TLS").is_none_or(|text| {
                !matches!(text.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off")
            }),
        };
        let port = spec.settings["port"].as_u64().map_or_else(
            || spec.text_or_env("port", "IRC_PORT").and_then(|text| text.parse().ok()),
            |port| u16::try_from(port).ok(),
        );
        let (password, password_source) = password(spec)?;
        let mut channels: Vec<String> = texts(&spec.settings["channels"]);
        if channels.is_empty()
            && let Some(list) = spec.text_or_env("channels", "IRC_CHANNELS")
        {
            channels = list.split(',').map(|name| name.trim().to_owned()).collect();
        }
        channels.retain(|name| !name.is_empty());
        Ok(Self {
            account: spec.id.clone(),
            port: port.unwrap_or(if tls { 6697 } else { 6667 }),
            tls,
            username: spec.text_or_env("username", "IRC_USERNAME").unwrap_or_else(|| nick.clone()),
            realname: spec
                .text_or_env("realname", "IRC_REALNAME")
                .unwrap_or_else(|| "OpenClaw".to_owned()),
            password,
            password_source,
            channels,
            service: service(spec),
            match_names: spec.settings["dangerouslyAllowNameMatching"] == true,
            path: spec.path_of("host"),
            host,
            nick,
        })
    }
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|entry| entry.as_str().map(|text| text.trim().to_owned())).collect()
}

fn password(spec: &AccountSpec) -> Result<(Option<Secret>, &'static str), String> {
    if let Some(own) = spec.text("password") {
        return Ok((Some(Secret::new(own)), "config"));
    }
    if let Some(file) = spec.text("passwordFile") {
        let path = paths::expand(file, &spec.paths.home);
        let text = std::fs::read_to_string(&path).map_err(|err| {
            format!("{}: {}: {err}", spec.path_of("passwordFile"), path.display())
        })?;
        return Ok((Some(Secret::new(text.trim())), "passwordFile"));
    }
    match spec.text_or_env("password", "IRC_PASSWORD") {
        Some(text) => Ok((Some(Secret::new(text)), "env")),
        None => Ok((None, "none")),
    }
}

fn service(spec: &AccountSpec) -> Option<Service> {
    let section = &spec.settings["nickserv"];
    if section["enabled"] == false {
        return None;
    }
    let text = |key: &str| {
        section[key].as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let from_env =
        |name: &str| spec.env.get(name).filter(|_| spec.id == "default").map(str::to_owned);
    let from_file = || {
        let path = paths::expand(&text("passwordFile")?, &spec.paths.home);
        Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
    };
    let password = text("password")
        .or_else(from_file)
        .or_else(|| from_env("IRC_NICKSERV_PASSWORD"))
        .filter(|password| !password.is_empty())?;
    let mail = || text("registerEmail").or_else(|| from_env("IRC_NICKSERV_REGISTER_EMAIL"));
    Some(Service {
        name: text("service").unwrap_or_else(|| "NickServ".to_owned()),
        password: Secret::new(password),
        register: (section["register"] == true).then(mail).flatten(),
    })
}
