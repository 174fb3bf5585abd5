//! Where a secret may stand: in the configuration, in an agent's
//! `auth-profiles.json`, in a `.env` file.

use serde_json::Value;

use crate::config::edit;
use crate::config::validate::known::visit;

/// Every field of the configuration that accepts a reference, `*` for any key.
const FIELDS: &[&str] = &[
    "agents.defaults.memorySearch.remote.apiKey",
    "agents.list.[].memorySearch.remote.apiKey",
    "cron.webhookToken",
    "gateway.auth.token",
    "gateway.auth.password",
    "gateway.remote.token",
    "gateway.remote.password",
    "messages.tts.providers.*.apiKey",
    "models.providers.*.apiKey",
    "models.providers.*.headers.*",
    "plugins.entries.brave.config.webSearch.apiKey",
    "plugins.entries.firecrawl.config.webSearch.apiKey",
    "plugins.entries.google.config.webSearch.apiKey",
    "plugins.entries.moonshot.config.webSearch.apiKey",
    "plugins.entries.perplexity.config.webSearch.apiKey",
    "plugins.entries.tavily.config.webSearch.apiKey",
    "plugins.entries.xai.config.webSearch.apiKey",
    "skills.entries.*.apiKey",
    "talk.apiKey",
    "talk.providers.*.apiKey",
    "tools.web.fetch.firecrawl.apiKey",
    "tools.web.search.apiKey",
];

/// Fields that are resolved but that no plan may change.
const RUNTIME_ONLY: &[&str] = &[
    "agents.defaults.sandbox.ssh.identityData",
    "agents.defaults.sandbox.ssh.certificateData",
    "agents.defaults.sandbox.ssh.knownHostsData",
    "agents.list.[].sandbox.ssh.identityData",
    "agents.list.[].sandbox.ssh.certificateData",
    "agents.list.[].sandbox.ssh.knownHostsData",
];

/// The same for channels: channel, its name for people, its fields. Each field
/// may also stand under `accounts.*`.
pub const CHANNEL_TARGETS: &[(&str, &str, &[&str])] = &[
    ("telegram", "Telegram", &["botToken", "webhookSecret"]),
    ("slack", "Slack", &["botToken", "appToken", "userToken", "signingSecret"]),
    ("discord", "Discord", &["token", "pluralkit.token", "voice.tts.providers.*.apiKey"]),
    ("irc", "IRC", &["password", "nickserv.password"]),
    ("bluebubbles", "BlueBubbles", &["password"]),
    ("feishu", "Feishu", &["appSecret", "encryptKey", "verificationToken"]),
    ("msteams", "Microsoft Teams", &["appPassword"]),
    ("mattermost", "Mattermost", &["botToken"]),
    ("matrix", "Matrix", &["accessToken", "password"]),
    ("nextcloud-talk", "Nextcloud Talk", &["botSecret", "apiPassword"]),
    ("zalo", "Zalo", &["botToken", "webhookSecret"]),
    ("googlechat", "Google Chat", &["serviceAccount"]),
];

/// Variables that are known to hold the key of some service.
const VARIABLES: &[&str] = &[
    "AI_GATEWAY_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_OAUTH_TOKEN",
    "AZURE_OPENAI_API_KEY",
    "BRAVE_API_KEY",
    "BYTEPLUS_API_KEY",
    "CEREBRAS_API_KEY",
    "CHUTES_API_KEY",
    "CHUTES_OAUTH_TOKEN",
    "CLOUDFLARE_AI_GATEWAY_API_KEY",
    "COPILOT_GITHUB_TOKEN",
    "DASHSCOPE_API_KEY",
    "DEEPGRAM_API_KEY",
    "DEEPSEEK_API_KEY",
    "ELEVENLABS_API_KEY",
    "FAL_KEY",
    "FIRECRAWL_API_KEY",
    "GEMINI_API_KEY",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GOOGLE_API_KEY",
    "GROQ_API_KEY",
    "HF_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
    "KILOCODE_API_KEY",
    "KIMICODE_API_KEY",
    "KIMI_API_KEY",
    "LITELLM_API_KEY",
    "MINIMAX_API_KEY",
    "MINIMAX_OAUTH_TOKEN",
    "MISTRAL_API_KEY",
    "MODELSTUDIO_API_KEY",
    "MOONSHOT_API_KEY",
    "NVIDIA_API_KEY",
    "OLLAMA_API_KEY",
    "OPENAI_API_KEY",
    "OPENCODE_API_KEY",
    "OPENCODE_ZEN_API_KEY",
    "OPENROUTER_API_KEY",
    "PERPLEXITY_API_KEY",
    "QIANFAN_API_KEY",
    "SGLANG_API_KEY",
    "SYNTHETIC_API_KEY",
    "TAVILY_API_KEY",
    "TOGETHER_API_KEY",
    "VENICE_API_KEY",
    "VLLM_API_KEY",
    "VOLCANO_ENGINE_API_KEY",
    "VOYAGE_API_KEY",
    "XAI_API_KEY",
    "XIAOMI_API_KEY",
    "ZAI_API_KEY",
    "Z_AI_API_KEY",
];

/// Whether a variable of this name holds a secret.
pub fn is_secret_variable(name: &str) -> bool {
    VARIABLES.binary_search(&name).is_ok()
}

/// Every pattern that a plan may name, in alphabetical order.
pub fn patterns() -> Vec<String> {
    let mut patterns: Vec<String> = FIELDS.iter().map(|field| (*field).to_owned()).collect();
    for (channel, _, fields) in CHANNEL_TARGETS {
        for field in *fields {
            patterns.push(format!("channels.{channel}.{field}"));
            if *channel != "msteams" {
                patterns.push(format!("channels.{channel}.accounts.*.{field}"));
            }
        }
    }
    patterns.sort();
    patterns
}

/// The patterns outside `channels` that are resolved at run time.
pub fn own_patterns() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().chain(RUNTIME_ONLY).copied()
}

/// Whether `keys` is a place that `pattern` describes.
pub fn matches(pattern: &str, keys: &[String]) -> bool {
    let parts: Vec<&str> = pattern.split('.').collect();
    parts.len() == keys.len()
        && parts.iter().zip(keys).all(|(part, key)| match *part {
            "*" => !key.is_empty(),
            "[]" => !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit()),
            part => part == key,
        })
}

/// Shows every present value at a place that `pattern` describes: its dotted
/// path, its keys and the value.
pub fn each<'v>(
    document: &'v Value,
    pattern: &str,
    act: &mut dyn FnMut(String, Vec<String>, &'v Value),
) {
    let keys: Vec<&str> = pattern.split('.').collect();
    // A provider's name may hold a dot, so the keys are walked, not split again.
    visit(document, &keys, String::new(), &mut |path, value| {
        let keys = real_keys(document, &keys, &path);
        act(path, keys, value);
    });
}

/// The keys behind a dotted path that matched `pattern`.
fn real_keys(document: &Value, pattern: &[&str], path: &str) -> Vec<String> {
    let plain: Vec<String> = path.split('.').map(str::to_owned).collect();
    if plain.len() == pattern.len() {
        return plain;
    }
    // A key with dots: try each way to read it as one key.
    let extra = plain.len() - pattern.len();
    for (at, _) in pattern.iter().enumerate().filter(|(_, key)| **key == "*") {
        let joined = plain[at..=at + extra].join(".");
        let mut keys = plain[..at].to_vec();
        keys.push(joined);
        keys.extend_from_slice(&plain[at + extra + 1..]);
        if edit::get(document, &keys).is_some() {
            return keys;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_searched() {
        assert!(VARIABLES.is_sorted());
        assert!(is_secret_variable("OPENAI_API_KEY") && !is_secret_variable("PATH"));
        let patterns = patterns();
        assert!(patterns.contains(&"channels.telegram.accounts.*.botToken".to_owned()));
        assert!(!patterns.contains(&"channels.msteams.accounts.*.appPassword".to_owned()));
    }

    #[test]
    fn a_place_fits_its_pattern_key_by_key() {
        let keys = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert!(matches("models.providers.*.apiKey", &keys("models/providers/a.b/apiKey")));
        assert!(!matches("models.providers.*.apiKey", &keys("models/providers/a/b/apiKey")));
        let list = "agents.list.[].memorySearch.remote.apiKey";
        assert!(matches(list, &keys("agents/list/0/memorySearch/remote/apiKey")));
        assert!(!matches(list, &keys("agents/list/x/memorySearch/remote/apiKey")));
    }
}
