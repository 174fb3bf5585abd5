//! `memory_search` and `memory_get`: the Markdown memory of a workspace.
//! Searched by words, straight from the files; there is no index to go stale.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::json;

use crate::agents::providers::ToolSpec;
use crate::agents::tools::Tool;
use crate::agents::tools::ToolContext;
use crate::agents::tools::ToolResult;
use crate::agents::tools::number_argument;
use crate::agents::tools::text_argument;

/// Files and bytes that one search reads.
const MOST_FILES: usize = 2_000;
const MOST_FILE_BYTES: u64 = 1024 * 1024;
/// Lines of one result.
const CHUNK_LINES: usize = 24;
/// Lines that neighbouring chunks share, so that nothing is cut apart.
const OVERLAP: usize = 6;
const DEFAULT_RESULTS: u64 = 6;
const MOST_SNIPPET: usize = 700;

/// The `memory_search` tool.
#[derive(Debug)]
pub(crate) struct Search;

/// The `memory_get` tool.
#[derive(Debug)]
pub(crate) struct Get;

impl Tool for Search {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "memory_search".to_owned(),
            description:
                "Search MEMORY.md and memory/*.md by words. Returns the best passages with \
                          path and line numbers; use memory_get to read more of a file."
                    .to_owned(),
            parameters: json!({"type": "object", "required": ["query"], "properties": {
                "query": {"type": "string"},
                "maxResults": {"type": "number"},
                "minScore": {"type": "number"}}}),
        }
    }

    fn summary(&self) -> &'static str {
        "Search memory files"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let query = text_argument(&arguments, &["query"]).unwrap_or_default().to_owned();
            if query.trim().is_empty() {
                return ToolResult::error("Missing required parameter: query");
            }
            let most = number_argument(&arguments, "maxResults").unwrap_or(DEFAULT_RESULTS);
            let most = usize::try_from(most).unwrap_or(50).clamp(1, 50);
            let least = arguments["minScore"].as_f64().unwrap_or(0.0);
            let workspace = context.workspace.clone();
            let found =
                tokio::task::spawn_blocking(move || search(&workspace, &query, most, least));
            match found.await {
                Ok(results) => ToolResult::json(json!({"results": results, "provider": "words"})),
                Err(_) => ToolResult::error("internal error while searching the memory"),
            }
        })
    }
}

impl Tool for Get {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "memory_get".to_owned(),
            description: "Read MEMORY.md or a file below memory/, from a line on.".to_owned(),
            parameters: json!({"type": "object", "required": ["path"], "properties": {
                "path": {"type": "string"},
                "from": {"type": "number"},
                "lines": {"type": "number"}}}),
        }
    }

    fn summary(&self) -> &'static str {
        "Read memory files"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let named = text_argument(&arguments, &["path"]).unwrap_or_default().trim().to_owned();
            let from = number_argument(&arguments, "from").unwrap_or(1).max(1);
            let lines = number_argument(&arguments, "lines").unwrap_or(200).clamp(1, 2_000);
            let workspace = context.workspace.clone();
            let read = tokio::task::spawn_blocking(move || get(&workspace, &named, from, lines));
            read.await
                .unwrap_or_else(|_| ToolResult::error("internal error while reading the memory"))
        })
    }
}

/// The memory files, relative to the workspace.
fn files(workspace: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["MEMORY.md", "memory.md"].map(PathBuf::from).to_vec();
    found.retain(|name| workspace.join(name).is_file());
    if found.len() == 2 && same_file(workspace) {
        found.pop();
    }
    let mut folders = vec![PathBuf::from("memory")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(workspace.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            // Links are not followed: they may lead anywhere.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|ext| ext == "md") {
                found.push(path);
            }
            if found.len() >= MOST_FILES {
                return found;
            }
        }
    }
    found.sort();
    found
}

/// Whether both spellings are one file, as on disks that ignore case.
fn same_file(workspace: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |name: &str| std::fs::metadata(workspace.join(name)).map(|meta| meta.ino()).ok();
    inode("MEMORY.md") == inode("memory.md")
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 1)
        .map(str::to_lowercase)
}

struct Chunk {
    path: String,
    first: usize,
    last: usize,
    text: String,
    counts: HashMap<String, f64>,
    length: f64,
}

fn chunks(workspace: &Path) -> Vec<Chunk> {
    let mut all = Vec::new();
    for path in files(workspace) {
        let full = workspace.join(&path);
        let small = std::fs::metadata(&full).is_ok_and(|meta| meta.len() <= MOST_FILE_BYTES);
        let Some(text) = small.then(|| std::fs::read_to_string(&full).ok()).flatten() else {
            continue;
        };
        let lines: Vec<&str> = text.lines().collect();
        let mut first = 0;
        while first < lines.len() {
            let last = (first + CHUNK_LINES).min(lines.len());
            let text = lines[first..last].join("\n");
            let mut counts: HashMap<String, f64> = HashMap::new();
            let mut length = 0.0;
            for word in words(&text) {
                *counts.entry(word).or_default() += 1.0;
                length += 1.0;
            }
            let path = path.display().to_string();
            all.push(Chunk { path, first: first + 1, last, text, counts, length });
            if last == lines.len() {
                break;
            }
            first = last - OVERLAP;
        }
    }
    all
}

/// The best passages by BM25, scores between 0 and 1.
fn search(workspace: &Path, query: &str, most: usize, least: f64) -> Vec<Value> {
    let chunks = chunks(workspace);
    let terms: std::collections::BTreeSet<String> = words(query).collect();
    if chunks.is_empty() || terms.is_empty() {
        return Vec::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of passages")]
    let total = chunks.len() as f64;
    let average = chunks.iter().map(|chunk| chunk.length).sum::<f64>() / total;
    let weights: Vec<(&String, f64)> = terms
        .iter()
        .map(|term| {
            let with = chunks.iter().filter(|chunk| chunk.counts.contains_key(term)).count();
            #[expect(clippy::cast_precision_loss, reason = "a count of passages")]
            let with = with as f64;
            (term, ((total - with + 0.5) / (with + 0.5) + 1.0).ln())
        })
        .collect();
    let best: f64 = weights.iter().map(|(_, weight)| weight * 2.2).sum();
    let mut scored: Vec<(f64, &Chunk)> = chunks
        .iter()
        .filter_map(|chunk| {
            let score: f64 = weights
                .iter()
                .filter_map(|(term, weight)| {
                    let count = chunk.counts.get(*term)?;
                    let norm = 0.25 + 0.75 * chunk.length / average.max(1.0);
                    Some(weight * count * 2.2 / (count + 1.2 * norm))
                })
                .sum();
            (score > 0.0).then(|| (score / best.max(f64::EPSILON), chunk))
        })
        .filter(|(score, _)| *score >= least)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.path.cmp(&b.1.path)));
    scored
        .into_iter()
        .take(most)
        .map(|(score, chunk)| {
            json!({
                "path": chunk.path, "startLine": chunk.first, "endLine": chunk.last,
                "score": (score * 1000.0).round() / 1000.0,
                "snippet": crate::agents::sessions::ellipsis(&chunk.text, MOST_SNIPPET),
                "source": "memory",
            })
        })
        .collect()
}

fn get(workspace: &Path, named: &str, from: u64, count: u64) -> ToolResult {
    let wanted = Path::new(named.trim_start_matches("./"));
    // Only what a search can return: no other file, no link out of the folder.
    if !files(workspace).iter().any(|known| known == wanted) {
        return ToolResult::error(format!("{named} is no memory file (MEMORY.md or memory/*.md)"));
    }
    match std::fs::read_to_string(workspace.join(wanted)) {
        Ok(text) => {
            let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            let lines: Vec<&str> = text.lines().skip(index(from) - 1).take(index(count)).collect();
            ToolResult::json(json!({"path": named, "from": from, "text": lines.join("\n")}))
        }
        Err(err) => ToolResult::error(format!("Cannot read {named}: {err}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("memory")).unwrap();
        std::fs::write(dir.path().join("MEMORY.md"), "# Facts\n- The cat is called Minka.\n")
            .unwrap();
        std::fs::write(dir.path().join("memory/2026-11-20.md"), "Bought a bicycle.\nParis trip.\n")
            .unwrap();
        std::fs::write(dir.path().join("secret.md"), "cat cat cat").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret.md"), dir.path().join("memory/link.md"))
            .unwrap();
        dir
    }

    #[test]
    fn the_passage_with_the_words_comes_first() {
        let dir = workspace();
        let results = search(dir.path(), "what is the CAT's name? Minka", 5, 0.0);
        assert_eq!(results[0]["path"], "MEMORY.md");
        assert_eq!((&results[0]["startLine"], &results[0]["endLine"]), (&json!(1), &json!(2)));
        let score = results[0]["score"].as_f64().unwrap();
        assert!(score > 0.0 && score <= 1.0, "{score}");
        assert!(search(dir.path(), "submarine", 5, 0.0).is_empty());
        assert!(search(dir.path(), "bicycle", 5, 2.0).is_empty());
    }

    #[test]
    fn only_memory_files_are_read() {
        let dir = workspace();
        assert!(!get(dir.path(), "memory/2026-11-20.md", 2, 1).is_error);
        for other in ["secret.md", "memory/link.md", "memory/../secret.md", "/etc/passwd"] {
            assert!(get(dir.path(), other, 1, 10).is_error, "{other}");
        }
    }
}
