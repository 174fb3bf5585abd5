//! Commands that change an account: `channels add|remove|login|logout`.

use serde_json::{Value, json};

use crate::channels::channel::DEFAULT;
use crate::channels::{kind, kinds};
use crate::cli::args::channels::{AddArgs, LoginArgs, LogoutArgs, RemoveArgs};
use crate::cli::args::rpc::Rpc;
use crate::cli::commands::call;
use crate::cli::commands::config::{author, write_failure, written_notes};
use crate::cli::context::Context;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::edit;
use crate::config::write::{self, Before};

/// The channel that is meant, which must be one that this gateway speaks.
pub(super) fn channel(context: &Context, named: Option<&str>) -> Result<String, Failure> {
    let known: Vec<&str> = kinds().iter().map(|kind| kind.id).collect();
    let configured = || {
        let channels = &context.config().config.channels;
        known.iter().copied().filter(|id| channels.contains_key(*id)).collect::<Vec<_>>()
    };
    let name = match named.map(|name| name.trim().to_lowercase()).filter(|it| !it.is_empty()) {
        Some(name) => name,
        None => match configured().as_slice() {
            [only] => (*only).to_owned(),
            [] => {
                return Err(Failure::new("Channel is required (no configured channels detected)."));
            }
            several => {
                return Err(Failure::new(format!(
                    "Channel is required when multiple channels are configured: {}",
                    several.join(", ")
                )));
            }
        },
    };
    if kind(&name).is_none() {
        return Err(Failure::new(format!(
            "Channel {name} is not supported by this gateway (supported: {}). Its configuration is left as it is.",
            known.join(", ")
        )));
    }
    Ok(name)
}

/// Where an account's keys stand.
fn keys(channel: &str, account: Option<&str>) -> Vec<String> {
    let mut keys = vec!["channels".to_owned(), channel.to_owned()];
    if let Some(account) = account.filter(|account| *account != DEFAULT) {
        keys.extend(["accounts".to_owned(), account.to_owned()]);
    }
    keys
}

pub(super) fn add(context: &Context, args: &AddArgs) -> CommandResult {
    let Some(named) = args.channel.as_deref() else {
        return Err(Failure::new(
            "channels add needs --channel <name> here; the interactive set-up is not part of this gateway",
        ));
    };
    let channel = channel(context, Some(named))?;
    let account = args.account.as_deref().map(str::trim).filter(|account| !account.is_empty());
    let mut set: Vec<(&str, Value)> = vec![("enabled", json!(true))];
    let mut put = |key, value: Option<Value>| set.extend(value.map(|value| (key, value)));
    let text = |value: &Option<String>| value.clone().map(Value::String);
    put("name", text(&args.name));
    match channel.as_str() {
        "telegram" => {
            put("botToken", text(&args.token));
            put("tokenFile", text(&args.token_file));
        }
        "matrix" => {
            put("homeserver", text(&args.homeserver));
            put("userId", text(&args.user_id));
            put("accessToken", text(&args.access_token));
            put("password", text(&args.password));
            put("deviceName", text(&args.device_name));
        }
        _ => {
            put("host", text(&args.host));
            put("port", args.port.map(Value::from));
            put("nick", text(&args.nick));
            put("tls", args.no_tls.then(|| json!(false)));
            put("password", text(&args.password));
            let list = args.channels.as_deref().map(|list| {
                list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>()
            });
            put("channels", list.map(|list| json!(list)));
        }
    }
    let section = context.config().config.channels.get(&channel).cloned().unwrap_or_default();
    if let Some(missing) = missing(&channel, account, &section, &set).filter(|_| !args.use_env) {
        return Err(Failure::new(missing));
    }
    let base = keys(&channel, account);
    let written =
        write::update(&context.paths, &context.env, &author(), None, Before::Valid, |current| {
            let mut text = write::source_text(current).to_owned();
            for (key, value) in &set {
                let mut path = base.clone();
                path.push((*key).to_owned());
                text = edit::set(&text, &path, value)?;
            }
            Ok(text)
        })
        .map_err(write_failure)?;
    let label = kind(&channel).map_or(channel.as_str(), |kind| kind.label);
    let account = account.unwrap_or(DEFAULT);
    let said =
        format!("Added {label} account \"{account}\". A running gateway connects it at once.");
    Ok(Outcome::text(said).with_stderr(written_notes(&written)))
}

/// What an account cannot do without, if it has it neither now nor then.
fn missing(
    channel: &str,
    account: Option<&str>,
    section: &Value,
    set: &[(&str, Value)],
) -> Option<String> {
    let own = account.filter(|it| *it != DEFAULT).map(|account| &section["accounts"][account]);
    let has = |key: &str| {
        set.iter().any(|(name, _)| *name == key)
            || !section[key].is_null()
            || own.is_some_and(|own| !own[key].is_null())
    };
    match channel {
        "telegram" if !has("botToken") && !has("tokenFile") => {
            Some("Telegram requires --token or --token-file (or --use-env).".to_owned())
        }
        "matrix" if !has("homeserver") => Some("Matrix requires --homeserver.".to_owned()),
        "matrix" if !(has("accessToken") || (has("userId") && has("password"))) => {
            Some("Matrix requires --access-token, or --user-id and --password.".to_owned())
        }
        "irc" if !has("host") => Some("IRC requires --host.".to_owned()),
        "irc" if !has("nick") => Some("IRC requires --nick.".to_owned()),
        _ => None,
    }
}

pub(super) fn remove(context: &Context, args: &RemoveArgs) -> CommandResult {
    let Some(named) = args.channel.as_deref() else {
        return Err(Failure::new("Channel is required (--channel <name>)."));
    };
    // Also for channels that this gateway does not speak: the entry is there.
    let channel = named.trim().to_lowercase();
    let base = keys(&channel, args.account.as_deref());
    let account = args.account.as_deref().unwrap_or(DEFAULT);
    let snapshot = context.config();
    let document = json!({"channels": snapshot.config.channels});
    if edit::get(&document, &base).is_none() {
        return Err(Failure::new(format!("Channel {channel} has no account \"{account}\".")));
    }
    let written =
        write::update(&context.paths, &context.env, &author(), None, Before::Valid, |current| {
            let text = write::source_text(current);
            if args.delete {
                return Ok(edit::unset(text, &base)?.unwrap_or_else(|| text.to_owned()));
            }
            let mut path = base.clone();
            path.push("enabled".to_owned());
            Ok(edit::set(text, &path, &json!(false))?)
        })
        .map_err(write_failure)?;
    let did = if args.delete { "Deleted" } else { "Disabled" };
    let label = kind(&channel).map_or(channel.as_str(), |kind| kind.label);
    let said = format!("{did} {label} account \"{account}\".");
    Ok(Outcome::text(said).with_stderr(written_notes(&written)))
}

/// None of our networks has a sign-in that a person has to take part in.
pub(super) fn login(context: &Context, args: &LoginArgs) -> CommandResult {
    let channel = channel(context, args.channel.as_deref())?;
    let way_out = match channel.as_str() {
        "telegram" => "set channels.telegram.botToken to the token that @BotFather gives",
        "matrix" => "set channels.matrix.accessToken, or userId and password",
        _ => {
            "set channels.irc.password or channels.irc.nickserv.password where the network asks for one"
        }
    };
    Err(Failure::new(format!("Channel {channel} does not support login; {way_out}.")))
}

pub(super) fn logout(context: &Context, args: &LogoutArgs) -> CommandResult {
    let channel = channel(context, args.channel.as_deref())?;
    let mut params = json!({"channel": channel});
    if let Some(account) = &args.account {
        params["accountId"] = account.as_str().into();
    }
    let answer = call::call_or_fail(context, &Rpc::default(), "channels.logout", Some(params))?;
    let account = answer["accountId"].as_str().unwrap_or(DEFAULT);
    Ok(Outcome::text(if answer["cleared"] == true {
        format!("Logged out of {channel} account \"{account}\".")
    } else {
        format!("{channel} account \"{account}\" had no session to clear.")
    }))
}
