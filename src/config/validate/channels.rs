//! Rules that tie several keys of one channel together.

use serde_json::Value;

use crate::config::validate::Checks;

/// Channels whose shape is part of the program; the others belong to plugins,
/// whose own shape may be newer than ours.
pub(super) const NATIVE: &[&str] = &[
    "bluebubbles",
    "discord",
    "googlechat",
    "imessage",
    "irc",
    "msteams",
    "signal",
    "slack",
    "telegram",
    "whatsapp",
];
/// Members of `channels` that are not channels.
pub(super) const SETTINGS: &[&str] = &["defaults", "modelByChannel"];
/// Channels where `dm.policy` and `dm.allowFrom` are older homes of the keys.
const NESTED_DM: &[&str] = &["discord", "slack"];

/// Checks every channel that the schema accepts.
pub(super) fn check(checks: &mut Checks<'_>) {
    let document = checks.document;
    for (name, channel) in document["channels"].as_object().into_iter().flatten() {
        let path = format!("channels.{name}");
        if SETTINGS.contains(&name.as_str()) || checks.complained(&path) {
            continue;
        }
        if NATIVE.contains(&name.as_str()) {
            direct_messages(checks, name, channel);
        }
        match name.as_str() {
            "telegram" => telegram(checks, channel),
            "slack" => slack(checks, channel),
            "discord" => discord(checks, channel),
            "irc" => irc(checks, channel),
            _ => {}
        }
    }
}

/// The accounts that are switched on.
fn accounts(channel: &Value) -> impl Iterator<Item = (&String, &Value)> {
    channel["accounts"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, account)| account.is_object() && account["enabled"] != false)
}

/// Whether a secret field holds anything.
fn has_secret(value: &Value) -> bool {
    value.is_object() || value.as_str().is_some_and(|text| !text.trim().is_empty())
}

fn direct_messages(checks: &mut Checks<'_>, name: &str, channel: &Value) {
    if name == "googlechat" {
        let dm = &channel["dm"];
        require(
            checks,
            &dm["policy"],
            &dm["allowFrom"],
            "channels.googlechat.dm.allowFrom",
            ["channels.googlechat.dm.policy", "channels.googlechat.dm.allowFrom"],
        );
        return;
    }
    let nested = NESTED_DM.contains(&name);
    let setting = |scope: &'_ Value, key: &str, old: &str| -> Value {
        let own = &scope[key];
        if own.is_null() && nested { scope["dm"][old].clone() } else { own.clone() }
    };
    let policy = setting(channel, "dmPolicy", "policy");
    let allow_from = setting(channel, "allowFrom", "allowFrom");
    let (place, named) = if nested {
        let place = if channel["allowFrom"].is_null() { "dm.allowFrom" } else { "allowFrom" };
        (place, format!("channels.{name}.allowFrom (or channels.{name}.dm.allowFrom)"))
    } else {
        ("allowFrom", format!("channels.{name}.allowFrom"))
    };
    let policy_name = format!("channels.{name}.dmPolicy");
    require(
        checks,
        &policy,
        &allow_from,
        &format!("channels.{name}.{place}"),
        [&policy_name, &named],
    );
    for (id, account) in accounts(channel) {
        let own = |value: Value, base: &Value| if value.is_null() { base.clone() } else { value };
        let account_policy = own(setting(account, "dmPolicy", "policy"), &policy);
        let account_allow = own(setting(account, "allowFrom", "allowFrom"), &allow_from);
        let path = format!("channels.{name}.accounts.{id}.allowFrom");
        let policy_name = format!("channels.{name}.accounts.*.dmPolicy");
        let named = format!("channels.{name}.accounts.*.allowFrom (or channels.{name}.allowFrom)");
        require(checks, &account_policy, &account_allow, &path, [&policy_name, &named]);
    }
}

/// An open door needs `*`, an allowlist needs somebody.
fn require(
    checks: &mut Checks<'_>,
    policy: &Value,
    allow_from: &Value,
    path: &str,
    [policy_name, allow_name]: [&str; 2],
) {
    let listed: Vec<String> = allow_from
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            entry.as_str().map_or_else(|| entry.to_string(), |text| text.trim().to_owned())
        })
        .filter(|entry| !entry.is_empty())
        .collect();
    if policy == "open" && !listed.iter().any(|entry| entry == "*") {
        checks
            .issue(path, format!("{policy_name}=\"open\" requires {allow_name} to include \"*\""));
    }
    if policy == "allowlist" && listed.is_empty() {
        checks.issue(path, format!("{policy_name}=\"allowlist\" requires {allow_name} to contain at least one sender ID"));
    }
}

fn telegram(checks: &mut Checks<'_>, channel: &Value) {
    let wants_hook =
        |scope: &Value| scope["webhookUrl"].as_str().is_some_and(|url| !url.trim().is_empty());
    let base_secret = has_secret(&channel["webhookSecret"]);
    if wants_hook(channel) && !base_secret {
        checks.issue(
            "channels.telegram.webhookSecret",
            "channels.telegram.webhookUrl requires channels.telegram.webhookSecret",
        );
    }
    for (id, account) in accounts(channel) {
        if wants_hook(account) && !has_secret(&account["webhookSecret"]) && !base_secret {
            checks.issue(format!("channels.telegram.accounts.{id}.webhookSecret"), "channels.telegram.accounts.*.webhookUrl requires channels.telegram.webhookSecret or channels.telegram.accounts.*.webhookSecret");
        }
    }
}

fn slack(checks: &mut Checks<'_>, channel: &Value) {
    let base_http = channel["mode"] == "http";
    if base_http && !has_secret(&channel["signingSecret"]) {
        checks.issue(
            "channels.slack.signingSecret",
            "channels.slack.mode=\"http\" requires channels.slack.signingSecret",
        );
    }
    for (id, account) in accounts(channel) {
        let http = account["mode"].as_str().map_or(base_http, |mode| mode == "http");
        let own = &account["signingSecret"];
        let secret = if own.is_null() { &channel["signingSecret"] } else { own };
        if http && !has_secret(secret) {
            checks.issue(format!("channels.slack.accounts.{id}.signingSecret"), "channels.slack.accounts.*.mode=\"http\" requires channels.slack.signingSecret or channels.slack.accounts.*.signingSecret");
        }
    }
}

fn discord(checks: &mut Checks<'_>, channel: &Value) {
    let mut scopes = vec![("channels.discord".to_owned(), channel)];
    let accounts = channel["accounts"].as_object().into_iter().flatten();
    scopes
        .extend(accounts.map(|(id, account)| (format!("channels.discord.accounts.{id}"), account)));
    for (path, scope) in scopes {
        let text = |key: &str| scope[key].as_str().is_some_and(|text| !text.trim().is_empty());
        let streaming = scope["activityType"] == 1;
        if (!scope["activityType"].is_null() || text("activityUrl")) && !text("activity") {
            checks.issue(
                format!("{path}.activity"),
                "channels.discord.activity is required when activityType or activityUrl is set",
            );
        }
        if streaming && !text("activityUrl") {
            checks.issue(
                format!("{path}.activityUrl"),
                "channels.discord.activityUrl is required when activityType is 1 (Streaming)",
            );
        }
        if text("activityUrl") && !streaming {
            checks.issue(
                format!("{path}.activityType"),
                "channels.discord.activityType must be 1 (Streaming) when activityUrl is set",
            );
        }
        let interval = |key: &str| scope["autoPresence"][key].as_f64();
        if interval("minUpdateIntervalMs")
            .zip(interval("intervalMs"))
            .is_some_and(|(min, max)| min > max)
        {
            checks.issue(format!("{path}.autoPresence.minUpdateIntervalMs"), "channels.discord.autoPresence.minUpdateIntervalMs must be less than or equal to channels.discord.autoPresence.intervalMs");
        }
    }
}

fn irc(checks: &mut Checks<'_>, channel: &Value) {
    let mut scopes = vec![("channels.irc".to_owned(), channel)];
    let accounts = channel["accounts"].as_object().into_iter().flatten();
    scopes.extend(accounts.map(|(id, account)| (format!("channels.irc.accounts.{id}"), account)));
    for (path, scope) in scopes {
        let nickserv = &scope["nickserv"];
        let mail = nickserv["registerEmail"].as_str().is_some_and(|mail| !mail.trim().is_empty());
        if nickserv["register"] == true && !mail {
            checks.issue(
                format!("{path}.nickserv.registerEmail"),
                "channels.irc.nickserv.register=true requires channels.irc.nickserv.registerEmail",
            );
        }
    }
}
