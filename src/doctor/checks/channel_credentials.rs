//! Channels that are switched on and have no credentials.

use serde_json::Value;

use crate::doctor::checks::{Check, Scope};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Severity};

pub(super) const CHECK: Check = Check {
    id: "channel-credentials",
    section: "Channel warnings",
    scope: Scope::Everywhere,
    severity: Severity::Warning,
    finds: "channels that are configured and enabled without the token, password or server they need",
    matters: "such a channel does not connect",
    repairs: "",
    inspect,
};

/// Channel, alternatives of fields that are enough together, variables that
/// stand in for the first of them.
type Needs = (&'static str, &'static [&'static [&'static str]], &'static [&'static str]);

const NEEDS: &[Needs] = &[
    ("telegram", &[&["botToken", "tokenFile"]], &["TELEGRAM_BOT_TOKEN"]),
    ("discord", &[&["token"]], &["DISCORD_BOT_TOKEN"]),
    ("slack", &[&["botToken"], &["appToken", "signingSecret"]], &["SLACK_BOT_TOKEN"]),
    ("matrix", &[&["accessToken", "password"], &["homeserver"]], &["MATRIX_ACCESS_TOKEN"]),
    ("irc", &[&["host"]], &["IRC_HOST"]),
    ("mattermost", &[&["botToken"], &["baseUrl"]], &["MATTERMOST_BOT_TOKEN"]),
    ("msteams", &[&["appPassword"], &["appId"]], &["MSTEAMS_APP_PASSWORD"]),
    ("googlechat", &[&["serviceAccount", "serviceAccountFile", "serviceAccountRef"]], &[]),
    ("signal", &[&["account"]], &[]),
];

fn inspect(facts: &Facts<'_>) -> Vec<Finding> {
    let snapshot = facts.snapshot();
    let mut found = Vec::new();
    for (name, needs, variables) in NEEDS {
        let Some(channel) =
            snapshot.config.channels.get(*name).filter(|channel| channel.is_object())
        else {
            continue;
        };
        if channel["enabled"] == false || channel.as_object().is_some_and(serde_json::Map::is_empty)
        {
            continue;
        }
        let by_variable = variables.iter().any(|name| snapshot.env.get(name).is_some());
        let accounts = channel["accounts"].as_object();
        let complete = |section: &Value| {
            needs.iter().enumerate().find_map(|(index, any)| {
                let given =
                    any.iter().any(|field| given(&section[*field]) || given(&channel[*field]));
                (!(given || index == 0 && by_variable)).then_some(any[0])
            })
        };
        let missing = match accounts.filter(|accounts| !accounts.is_empty()) {
            None => complete(channel),
            // One account that can connect is a channel that works.
            Some(accounts) => {
                let mut open = accounts.values().filter(|account| account["enabled"] != false);
                let first = open.clone().find_map(complete);
                if open.any(|account| complete(account).is_none()) { None } else { first }
            }
        };
        if let Some(field) = missing {
            let path = format!("channels.{name}.{field}");
            found.push(
                Finding::warning(format!("{name} is enabled without {field}"))
                    .at(&path)
                    .advise(format!("{} config set {path} …", facts.program())),
            );
        }
    }
    found
}

fn given(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Object(_) => true,
        _ => false,
    }
}
