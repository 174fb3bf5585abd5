//! The status card of a session, as `/status` and `session_status` show it.

use std::fmt::Write as _;

use crate::agents::choice;
use crate::agents::models::{KeySource, Lookup, ResolveError};
use crate::agents::queue::Settings;
use crate::agents::runtime::Inner;
use crate::agents::sessions::Entry;
use crate::base::VERSION;
use crate::base::id::SessionKey;

/// Renders the card. The shape of its lines is part of the contract.
pub(crate) fn status(inner: &Inner, key: &SessionKey, entry: Option<&Entry>) -> String {
    let snapshot = inner.config.load();
    let config = &snapshot.config;
    let agent = key.agent().unwrap_or_else(|| config.agents.default_id()).to_lowercase();
    let default = choice::default_choice(config, Some(&agent));
    let (provider, model) = match entry.and_then(Entry::model_override) {
        Some((provider, model)) => (provider.unwrap_or(&default.provider).to_owned(), model),
        None => (default.provider.clone(), default.model.as_str()),
    };
    let number = |name: &str| entry.and_then(|entry| entry.number(name)).unwrap_or_default();
    let window = choice::window_of(config, &provider, model);
    let mut card = format!("🦞 OpenClaw {VERSION}\n🧠 Model: {provider}/{model}");
    // Writing to a String cannot fail.
    let profile = entry.and_then(|entry| entry.text("authProfileOverride"));
    let profile = profile.map_or_else(String::new, |profile| format!("@{profile}"));
    let lookup = Lookup {
        config,
        env: &snapshot.env,
        secrets: &snapshot.secrets,
        paths: &inner.paths,
        agent: &agent,
        now: inner.clock.now_ms(),
    };
    if let Some(key) = key_of(&lookup, &format!("{provider}/{model}{profile}")) {
        let _ = write!(card, " · 🔑 {key}");
    }
    let (cached, fresh) = (number("cacheRead"), number("cacheWrite"));
    if let Some(percent) = (cached * 100).checked_div(cached + fresh) {
        let _ = write!(
            card,
            "\n🗄️ Cache: {percent}% hit · {} cached, {} new",
            short(cached),
            short(fresh)
        );
    }
    let used = number("totalTokens");
    let _ = write!(
        card,
        "\n📚 Context: {}/{} ({}%) · 🧹 Compactions: {}",
        short(used),
        short(window),
        used * 100 / window.max(1),
        number("compactionCount")
    );
    let updated = match entry.map(Entry::updated_at).filter(|at| *at > 0) {
        Some(at) => age(inner.clock.now_ms().saturating_sub(at)),
        None => "never".to_owned(),
    };
    let _ = write!(card, "\n🧵 Session: {key} • updated {updated}");
    let think = Inner::thinking_of(&snapshot, &agent, entry);
    let verbose =
        entry.and_then(|entry| entry.text("verboseLevel")).filter(|level| *level != "off");
    let _ = write!(card, "\n⚙️ Runtime: direct · Think: {think}");
    if verbose.is_some() {
        card.push_str(" · verbose");
    }
    let settings = Settings::of(config, entry, None);
    let depth = inner.session_lanes().get(key.as_str()).map_or(0, |lane| lane.waiting.len());
    let _ = write!(card, "\n🪢 Queue: {} (depth {depth})", settings.mode.name());
    card
}

/// Whose key a model is called with, and never the key.
fn key_of(lookup: &Lookup<'_>, name: &str) -> Option<String> {
    Some(match lookup.resolve(name) {
        Ok(resolved) => match resolved.key {
            KeySource::Profile(id) => format!("api-key ({id})"),
            KeySource::Env(name) => format!("api-key (env: {name})"),
            KeySource::Config | KeySource::ModelsFile => "api-key (models.json)".to_owned(),
            KeySource::None => return None,
        },
        Err(ResolveError::NoKey { .. }) => "no api-key".to_owned(),
        Err(_) => return None,
    })
}

/// `950`, `1.2k`, `128k`, `1.0m`.
pub(crate) fn short(tokens: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", tokens / unit, tokens % unit * 10 / unit);
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..10_000 if tokens % 1_000 >= 100 => format!("{}k", tenths(1_000)),
        1_000..1_000_000 => format!("{}k", tokens / 1_000),
        _ => format!("{}m", tenths(1_000_000)),
    }
}

fn age(ms: u64) -> String {
    match ms / 60_000 {
        0 => "just now".to_owned(),
        minutes @ 1..60 => format!("{minutes}m ago"),
        minutes @ 60..2_880 => format!("{}h ago", minutes / 60),
        minutes => format!("{}d ago", minutes / 1_440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ages_are_short() {
        let cases = [
            (0, "0"),
            (950, "950"),
            (1_200, "1.2k"),
            (10_050, "10k"),
            (200_000, "200k"),
            (1_048_576, "1.0m"),
        ];
        for (tokens, text) in cases {
            assert_eq!(short(tokens), text);
        }
        assert_eq!(age(59_000), "just now");
        assert_eq!(age(3 * 60_000), "3m ago");
        assert_eq!(age(3 * 3_600_000), "3h ago");
        assert_eq!(age(72 * 3_600_000), "3d ago");
    }
}
