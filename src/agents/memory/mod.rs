//! The memory of an agent: Markdown files, found by words and, where a
//! provider of embeddings has a key, by meaning.
//!
//! A search first takes in what changed, so there is nothing to go stale and
//! nothing that watches; between searches an index is just a file.

mod files;
mod index;
mod rank;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agents::embeddings::Vectors;
use crate::config::Config;
use crate::lifecycle;
use crate::profile::paths::Paths;
use index::Index;
use rank::Finding;
use settings::Settings;

/// Texts of one request for vectors, and requests of one search. What is left
/// over is asked for by the next search.
const BATCH: usize = 64;
const MOST_BATCHES: usize = 32;
/// How long a search waits for a provider before words alone must do.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_RESULTS: usize = 50;
const MOST_SNIPPET: usize = 700;

/// Why a memory cannot be searched.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("`memorySearch.enabled` is false for agent `{0}`")]
    Disabled(String),
    #[error("memory index {path}: {source}")]
    Index { path: String, source: rusqlite::Error },
    #[error("the search was ended by the gateway's stop")]
    Stopped,
}

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pub text: String,
    pub max_results: Option<usize>,
    pub min_score: Option<f64>,
}

/// What a search found, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    results: Vec<Finding>,
    /// The model whose vectors were used.
    model: Option<String>,
    /// Why there are no vectors although a provider was to be asked.
    warning: Option<String>,
}

/// The memory of one agent.
#[derive(Debug, Clone)]
pub struct Memory {
    agent: String,
    workspace: PathBuf,
    index: PathBuf,
    settings: Settings,
}

impl Memory {
    pub fn of(config: &Config, agent: &str, paths: &Paths, workspace: PathBuf) -> Self {
        let settings = Settings::of(config, agent, paths, &workspace);
        let index = index::path_of(&paths.state, agent);
        Self { agent: agent.to_owned(), workspace, index, settings }
    }

    /// Searches; a provider that does not answer, or the reason why none can be
    /// asked, costs meaning, never words.
    pub(crate) async fn search(
        self,
        query: Query,
        vectors: Result<Option<&dyn Vectors>, String>,
    ) -> Result<Found, MemoryError> {
        if !self.settings.enabled {
            return Err(MemoryError::Disabled(self.agent));
        }
        let memory = Arc::new(self);
        at_work(&memory, |memory| memory.refresh(false)).await?;
        let asked = async {
            let vectors = match vectors {
                Ok(vectors) => vectors.filter(|_| memory.settings.vectors)?,
                Err(reason) => return memory.settings.vectors.then_some(Err(reason)),
            };
            let answer = tokio::time::timeout(PATIENCE, learn(&memory, vectors, &query.text)).await;
            Some(match answer {
                Ok(Ok(vector)) => Ok((vectors.model().to_owned(), vector)),
                Ok(Err(reason)) => Err(reason),
                Err(_) => Err(format!("{} did not answer in time", vectors.model())),
            })
        };
        let (meaning, warning) = match asked.await {
            None => (None, None),
            Some(Ok(meaning)) => (Some(meaning), None),
            Some(Err(reason)) => (None, Some(reason)),
        };
        let model = meaning.as_ref().map(|(model, _)| model.clone());
        let results =
            at_work(&memory, move |memory| memory.look_up(&query, meaning.as_ref())).await?;
        Ok(Found { results, model, warning })
    }

    /// Takes in what changed in the files; all of it with `force`. Returns how
    /// many files were read. Blocks.
    pub fn refresh(&self, force: bool) -> Result<usize, MemoryError> {
        self.with_index(|index| {
            if force {
                index.forget_files()?;
            }
            index.sync(&files::list(&self.workspace, &self.settings.extra), &self.settings)
        })
    }

    /// Asks for every vector that is missing.
    pub(crate) async fn learn_all(&self, vectors: &dyn Vectors) -> Result<(), String> {
        let memory = Arc::new(self.clone());
        while learn_some(&memory, vectors).await? {}
        Ok(())
    }

    /// The state of the index as `memory status --json` prints it. Blocks.
    pub fn status(&self, provider: &str, model: Option<&str>) -> Result<Value, MemoryError> {
        let on_disk = files::list(&self.workspace, &self.settings.extra);
        // A look must not make what is not there.
        let known = self.index.exists();
        let (counts, dirty) = if known {
            self.with_index(|index| Ok((index.counts(model)?, index.is_stale(&on_disk)?)))?
        } else {
            (index::Counts::default(), !on_disk.is_empty())
        };
        let provider = if model.is_some() { provider } else { "none" };
        Ok(json!({
            "backend": "builtin",
            "files": counts.files,
            "chunks": counts.passages,
            "dirty": dirty,
            "workspaceDir": self.workspace,
            "dbPath": self.index,
            "provider": provider,
            "model": model.and_then(|model| Some(model.split_once('/')?.1)),
            "sources": ["memory"],
            "extraPaths": self.settings.extra,
            "sourceCounts": [
                {"source": "memory", "files": counts.files, "chunks": counts.passages}],
            "fts": {"enabled": true, "available": true},
            "vector": {"enabled": self.settings.vectors, "available": self.settings.vectors,
                "entries": counts.vectors},
            "custom": {"searchMode": if model.is_some() { "hybrid" } else { "fts-only" },
                "totalFiles": on_disk.len()},
        }))
    }

    /// A memory file by the name that results carry; no other file is one.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        let wanted = Path::new(name.trim_start_matches("./"));
        let known = files::list(&self.workspace, &self.settings.extra);
        known.into_iter().find(|file| Path::new(&file.name) == wanted).map(|file| file.path)
    }

    fn with_index<T>(
        &self,
        work: impl FnOnce(&mut Index) -> Result<T, rusqlite::Error>,
    ) -> Result<T, MemoryError> {
        Index::open(&self.index, &self.settings)
            .and_then(|mut index| work(&mut index))
            .map_err(|source| MemoryError::Index { path: self.index.display().to_string(), source })
    }

    fn look_up(
        &self,
        query: &Query,
        meaning: Option<&(String, Vec<f64>)>,
    ) -> Result<Vec<Finding>, MemoryError> {
        let Settings { hybrid, max_results, min_score, .. } = &self.settings;
        let most = query.max_results.unwrap_or(*max_results).clamp(1, MOST_RESULTS);
        let candidates = (most * hybrid.candidates).min(200);
        let (mut findings, words) = self.with_index(|index| match meaning {
            None => Ok((index.by_words(&query.text, candidates)?, Vec::new())),
            Some((model, vector)) => {
                let near = index.by_meaning(model, vector, candidates)?;
                let words = if hybrid.enabled {
                    index.by_words(&query.text, candidates)?
                } else {
                    Vec::new()
                };
                let named = words.iter().map(|finding| finding.id).collect();
                Ok(if hybrid.enabled {
                    (rank::merge(near, words, hybrid), named)
                } else {
                    (near, named)
                })
            }
        })?;
        if let Some(half_life) = hybrid.half_life_days {
            findings = rank::decay(findings, half_life, today());
        }
        let least = query.min_score.unwrap_or(*min_score);
        let mut good: Vec<Finding> =
            findings.iter().filter(|finding| finding.score >= least).cloned().collect();
        if good.is_empty() {
            // Words that match exactly are worth showing even with a low score,
            // unless the caller set the bar.
            let floor = match (query.min_score, meaning) {
                (Some(least), _) => least,
                (None, None) => 0.0,
                (None, Some(_)) => least.min(hybrid.text_weight / 2.0),
            };
            good = findings
                .into_iter()
                .filter(|it| it.score >= floor && (meaning.is_none() || words.contains(&it.id)))
                .collect();
        }
        if let Some(lambda) = hybrid.diversity {
            return Ok(rank::diverse(good, lambda, most));
        }
        good.truncate(most);
        Ok(good)
    }
}

impl Found {
    /// As the tool and `memory search --json` give it.
    pub fn to_json(&self) -> Value {
        let results: Vec<Value> = self
            .results
            .iter()
            .map(|finding| {
                json!({
                    "path": finding.name, "startLine": finding.first, "endLine": finding.last,
                    "score": (finding.score * 1000.0).round() / 1000.0,
                    "snippet": crate::agents::sessions::ellipsis(&finding.text, MOST_SNIPPET),
                    "source": "memory",
                })
            })
            .collect();
        let (provider, model) = match self.model.as_deref().and_then(|it| it.split_once('/')) {
            Some((provider, model)) => (provider, Some(model)),
            None => ("none", None),
        };
        let mode = if model.is_some() { "hybrid" } else { "fts-only" };
        let mut found = json!({"results": results, "provider": provider, "mode": mode});
        if let Some(model) = model {
            found["model"] = json!(model);
        }
        if let Some(warning) = &self.warning {
            found["warning"] = json!(warning);
        }
        found
    }
}

/// Asks for missing vectors and for that of the query.
async fn learn(
    memory: &Arc<Memory>,
    vectors: &dyn Vectors,
    query: &str,
) -> Result<Vec<f64>, String> {
    let asked = [query.to_owned()];
    let answer = vectors.embed(&asked).await.map_err(|err| err.to_string())?;
    let wanted = answer.into_iter().next().filter(|vector| !vector.is_empty());
    let wanted = wanted.ok_or_else(|| "the provider gave no vector".to_owned())?;
    let (model, length) = (vectors.model().to_owned(), wanted.len());
    at_work(memory, move |memory| {
        memory.with_index(|index| index.forget_other_lengths(&model, length))
    })
    .await
    .map_err(|err| err.to_string())?;
    for _ in 0..MOST_BATCHES {
        if !learn_some(memory, vectors).await? {
            break;
        }
    }
    Ok(wanted)
}

/// Asks for the next missing vectors; `false` when there are none.
async fn learn_some(memory: &Arc<Memory>, vectors: &dyn Vectors) -> Result<bool, String> {
    let model = vectors.model().to_owned();
    let missing = at_work(memory, {
        let model = model.clone();
        move |memory| memory.with_index(|index| index.without_vector(&model, BATCH))
    });
    let texts = missing.await.map_err(|err| err.to_string())?;
    if texts.is_empty() {
        return Ok(false);
    }
    let answer = vectors.embed(&texts).await.map_err(|err| err.to_string())?;
    let learned: Vec<(String, Vec<f64>)> = texts.into_iter().zip(answer).collect();
    at_work(memory, move |memory| memory.with_index(|index| index.add_vectors(&model, &learned)))
        .await
        .map_err(|err| err.to_string())?;
    Ok(true)
}

/// Runs what blocks where it may.
async fn at_work<T: Send + 'static>(
    memory: &Arc<Memory>,
    work: impl FnOnce(&Memory) -> Result<T, MemoryError> + Send + 'static,
) -> Result<T, MemoryError> {
    let memory = Arc::clone(memory);
    lifecycle::spawn_blocking(move || work(&memory)).await.unwrap_or(Err(MemoryError::Stopped))
}

#[expect(clippy::cast_precision_loss, reason = "days since the epoch")]
fn today() -> f64 {
    (crate::base::clock::now_ms() / 86_400_000) as f64
}

#[cfg(test)]
mod tests;
