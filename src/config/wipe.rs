//! Overwrites what a configuration held in clear when the last reader lets go
//! of it, so that a replaced token does not stay in freed memory.

use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use crate::config::Config;

/// Every text of a document.
pub(super) fn value(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(self::value),
        Value::Object(fields) => map(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn map(fields: &mut Map<String, Value>) {
    fields.values_mut().for_each(value);
}

/// The sections of the typed view that may hold secrets.
pub(super) fn typed(config: &mut Config) {
    let auth = &mut config.gateway.auth;
    auth.token.iter_mut().chain(&mut auth.password).for_each(value);
    map(&mut config.gateway.remote);
    for provider in config.models.providers.values_mut() {
        provider.api_key.iter_mut().for_each(value);
        provider.headers.values_mut().for_each(value);
        map(&mut provider.rest);
    }
    for section in [
        &mut config.messages,
        &mut config.commands,
        &mut config.tools,
        &mut config.channels,
        &mut config.hooks,
        &mut config.cron,
        &mut config.auth,
        &mut config.env,
        &mut config.plugins,
        &mut config.skills,
        &mut config.agents.defaults.rest,
    ] {
        map(section);
    }
    config.agents.list.iter_mut().for_each(|agent| map(&mut agent.rest));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_clear_is_left() {
        let mut document = json!({
            "gateway": {"auth": {"token": "canary", "password": "canary"}, "remote": {"token": "canary"}},
            "models": {"providers": {"p": {"baseUrl": "http://h", "apiKey": "canary",
                "headers": {"x-api-key": "canary"}, "models": []}}},
            "channels": {"irc": {"accounts": {"a": {"password": "canary"}}}},
            "hooks": {"token": "canary"},
            "env": {"vars": {"KEY": "canary"}},
            "agents": {"defaults": {"memorySearch": {"remote": {"apiKey": "canary"}}}},
        });
        let mut config: Config = serde_json::from_value(document.clone()).unwrap();
        typed(&mut config);
        value(&mut document);
        for text in [document.to_string(), serde_json::to_string(&config).unwrap()] {
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
