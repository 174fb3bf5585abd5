//! `memorySearch` of an agent over that of the defaults, key by key.

use std::path::PathBuf;

use crate::agents::embeddings::Layers;
use crate::config::Config;
use crate::profile::paths::{Paths, expand};

/// How an agent's memory is cut and searched; defaults are the Node gateway's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub enabled: bool,
    /// Files and folders outside the workspace's memory.
    pub extra: Vec<PathBuf>,
    pub chunk_tokens: usize,
    pub chunk_overlap: usize,
    pub tokenizer: Tokenizer,
    pub max_results: usize,
    pub min_score: f64,
    pub vectors: bool,
    pub hybrid: Hybrid,
}

/// How words are found in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokenizer {
    /// By word boundaries, accents ignored.
    Unicode,
    /// By any three letters, for scripts without spaces.
    Trigram,
}

/// How findings by words and by meaning become one list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hybrid {
    /// Whether words count where there are vectors.
    pub enabled: bool,
    pub vector_weight: f64,
    pub text_weight: f64,
    /// Findings looked at for each result asked for.
    pub candidates: usize,
    /// Days after which a dated note counts half.
    pub half_life_days: Option<f64>,
    /// Relevance against novelty, between 0 and 1.
    pub diversity: Option<f64>,
}

impl Settings {
    pub(crate) fn of(
        config: &Config,
        agent: &str,
        paths: &Paths,
        workspace: &std::path::Path,
    ) -> Self {
        let layers = Layers::of(config, agent);
        let flag = |pointer: &[&str], usual: bool| layers.flag(pointer).unwrap_or(usual);
        let number = |pointer: &[&str], usual: f64| layers.number(pointer).unwrap_or(usual);
        let whole = |pointer: &[&str], usual: usize| {
            let value = layers.get(pointer).and_then(serde_json::Value::as_u64);
            value.and_then(|value| usize::try_from(value).ok()).unwrap_or(usual)
        };
        let extra = layers.get(&["extraPaths"]).and_then(serde_json::Value::as_array);
        let extra = extra.into_iter().flatten().filter_map(serde_json::Value::as_str);
        let place = |path: &str| {
            if path.starts_with('~') { expand(path, &paths.home) } else { workspace.join(path) }
        };
        let decay = flag(&["query", "hybrid", "temporalDecay", "enabled"], false);
        let half_life = number(&["query", "hybrid", "temporalDecay", "halfLifeDays"], 30.0);
        let mmr = flag(&["query", "hybrid", "mmr", "enabled"], false);
        let lambda = number(&["query", "hybrid", "mmr", "lambda"], 0.7);
        let vector = number(&["query", "hybrid", "vectorWeight"], 0.7);
        let text = number(&["query", "hybrid", "textWeight"], 0.3);
        let sum = vector + text;
        let (vector, text) = if sum > 0.0 { (vector / sum, text / sum) } else { (0.7, 0.3) };
        Self {
            enabled: flag(&["enabled"], true),
            extra: extra.map(str::trim).filter(|path| !path.is_empty()).map(place).collect(),
            chunk_tokens: whole(&["chunking", "tokens"], 400),
            chunk_overlap: whole(&["chunking", "overlap"], 80),
            tokenizer: match layers.text(&["store", "fts", "tokenizer"]).as_deref() {
                Some("trigram") => Tokenizer::Trigram,
                _ => Tokenizer::Unicode,
            },
            max_results: whole(&["query", "maxResults"], 6),
            min_score: number(&["query", "minScore"], 0.35),
            vectors: flag(&["store", "vector", "enabled"], true),
            hybrid: Hybrid {
                enabled: flag(&["query", "hybrid", "enabled"], true),
                vector_weight: vector,
                text_weight: text,
                candidates: whole(&["query", "hybrid", "candidateMultiplier"], 4).max(1),
                half_life_days: decay.then_some(half_life),
                diversity: mmr.then_some(lambda),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agent_changes_single_keys_of_the_defaults() {
        let config = json!({"agents": {
            "defaults": {"memorySearch": {"extraPaths": ["~/notes", "more"],
                "query": {"maxResults": 9, "hybrid": {"vectorWeight": 1, "textWeight": 1}},
                "store": {"fts": {"tokenizer": "trigram"}}}},
            "list": [{"id": "main"}, {"id": "own", "memorySearch": {
                "enabled": false, "query": {"maxResults": 2}}}]}});
        let config: Config = serde_json::from_value(config).unwrap();
        let env = [("HOME", "/home/u")].into_iter().collect();
        let paths = Paths::resolve(&env);
        let of = |agent| Settings::of(&config, agent, &paths, "/w".as_ref());
        let main = of("main");
        assert_eq!(main.extra, [PathBuf::from("/home/u/notes"), PathBuf::from("/w/more")]);
        assert_eq!((main.max_results, main.tokenizer), (9, Tokenizer::Trigram));
        assert!((main.hybrid.vector_weight - 0.5).abs() < f64::EPSILON);
        let own = of("own");
        assert_eq!((own.enabled, own.max_results, own.tokenizer), (false, 2, Tokenizer::Trigram));
    }
}
