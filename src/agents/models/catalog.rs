//! Models that are known without asking anyone, as data.
//!
//! Deliberately short: what users of the three big vendors pick. Everything
//! else works too, with defaults, as soon as its provider is configured.

use std::sync::OnceLock;

use serde::Deserialize;

/// One known model.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub provider: String,
    pub id: String,
    pub name: String,
    pub reasoning: bool,
    pub input: Vec<String>,
    pub context_window: u64,
    pub max_tokens: u64,
    /// Dollars per million tokens: input, output, cache read, cache write.
    pub cost: [f64; 4],
}

/// All known models, parsed when first asked for.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        serde_json::from_str(include_str!("catalog.json")).expect("the catalogue is valid JSON")
    })
}

/// The known model of that name.
pub fn find(provider: &str, id: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.provider == provider && entry.id == id)
}

/// A provider whose address and variables are common knowledge.
#[derive(Debug, Clone, Copy)]
pub struct Vendor {
    pub id: &'static str,
    /// Variables that may hold the key; the first one set wins.
    pub env: &'static [&'static str],
    pub base_url: &'static str,
    pub api: &'static str,
}

const fn vendor(
    id: &'static str,
    env: &'static [&'static str],
    base_url: &'static str,
    api: &'static str,
) -> Vendor {
    Vendor { id, env, base_url, api }
}

const CHAT: &str = "openai-completions";
const MESSAGES: &str = "anthropic-messages";

/// Providers that need nothing but a key. An empty address must be configured.
pub const VENDORS: &[Vendor] = &[
    vendor("openai", &["OPENAI_API_KEY"], "https://api.openai.com/v1", "openai-responses"),
    vendor(
        "anthropic",
        &["ANTHROPIC_OAUTH_TOKEN", "ANTHROPIC_API_KEY"],
        "https://api.anthropic.com",
        MESSAGES,
    ),
    vendor(
        "google",
        &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        "https://generativelanguage.googleapis.com/v1beta",
        "google-generative-ai",
    ),
    vendor("ollama", &["OLLAMA_API_KEY"], "http://127.0.0.1:11434", "ollama"),
    vendor("openrouter", &["OPENROUTER_API_KEY"], "https://openrouter.ai/api/v1", CHAT),
    vendor("groq", &["GROQ_API_KEY"], "https://api.groq.com/openai/v1", CHAT),
    vendor("mistral", &["MISTRAL_API_KEY"], "https://api.mistral.ai/v1", CHAT),
    vendor("voyage", &["VOYAGE_API_KEY"], "https://api.voyageai.com/v1", CHAT),
    vendor("deepseek", &["DEEPSEEK_API_KEY"], "https://api.deepseek.com/v1", CHAT),
    vendor("xai", &["XAI_API_KEY"], "https://api.x.ai/v1", CHAT),
    vendor("together", &["TOGETHER_API_KEY"], "https://api.together.xyz/v1", CHAT),
    vendor("zai", &["ZAI_API_KEY", "Z_AI_API_KEY"], "https://api.z.ai/api/paas/v4", CHAT),
    vendor("moonshot", &["MOONSHOT_API_KEY"], "https://api.moonshot.ai/v1", CHAT),
    vendor("nvidia", &["NVIDIA_API_KEY"], "https://integrate.api.nvidia.com/v1", CHAT),
    vendor(
        "huggingface",
        &["HUGGINGFACE_HUB_TOKEN", "HF_TOKEN"],
        "https://router.huggingface.co/v1",
        CHAT,
    ),
    vendor("venice", &["VENICE_API_KEY"], "https://api.venice.ai/api/v1", CHAT),
    vendor("litellm", &["LITELLM_API_KEY"], "http://localhost:4000", CHAT),
    vendor("vllm", &["VLLM_API_KEY"], "http://127.0.0.1:8000/v1", CHAT),
    vendor("sglang", &["SGLANG_API_KEY"], "http://127.0.0.1:30000/v1", CHAT),
    vendor("kilocode", &["KILOCODE_API_KEY"], "https://api.kilo.ai/api/gateway", CHAT),
    vendor("cerebras", &["CEREBRAS_API_KEY"], "https://api.cerebras.ai/v1", CHAT),
    vendor("minimax", &["MINIMAX_API_KEY"], "https://api.minimax.io/anthropic", MESSAGES),
    vendor("kimi", &["KIMI_API_KEY", "KIMICODE_API_KEY"], "https://api.kimi.com/coding", MESSAGES),
    vendor(
        "kimi-coding",
        &["KIMI_API_KEY", "KIMICODE_API_KEY"],
        "https://api.kimi.com/coding",
        MESSAGES,
    ),
    vendor("synthetic", &["SYNTHETIC_API_KEY"], "https://api.synthetic.new/anthropic", MESSAGES),
    vendor("xiaomi", &["XIAOMI_API_KEY"], "https://api.xiaomimimo.com/anthropic", MESSAGES),
    vendor("vercel-ai-gateway", &["AI_GATEWAY_API_KEY"], "https://ai-gateway.vercel.sh", MESSAGES),
    vendor("cloudflare-ai-gateway", &["CLOUDFLARE_AI_GATEWAY_API_KEY"], "", MESSAGES),
    vendor(
        "opencode",
        &["OPENCODE_API_KEY", "OPENCODE_ZEN_API_KEY"],
        "https://opencode.ai/zen",
        MESSAGES,
    ),
];

/// The vendor of that id.
pub fn vendor_of(provider: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.id == provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_catalogue_entry_belongs_to_a_known_vendor() {
        assert!(entries().len() > 20);
        for entry in entries() {
            assert!(vendor_of(&entry.provider).is_some(), "{}", entry.provider);
            assert!(entry.context_window >= 100_000, "{}", entry.id);
        }
    }
}
