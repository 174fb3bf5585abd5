//! The Markdown files that are an agent's memory, and the passages they are
//! searched by.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files and bytes that one search reads.
const MOST_FILES: usize = 2_000;
const MOST_FILE_BYTES: u64 = 1024 * 1024;
/// Characters of a token, as a rule of thumb for prose.
const TOKEN_CHARS: usize = 4;

/// A memory file: how results name it, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Relative to the workspace, or absolute for files outside.
    pub name: String,
    pub path: PathBuf,
}

/// What tells one state of a file from the next without reading it.
pub(crate) fn stamp(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    let small = meta.is_file() && meta.len() <= MOST_FILE_BYTES;
    small.then(|| format!("{}-{}.{}-{}", meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()))
}

/// `MEMORY.md` and `memory/**/*.md` of the workspace, then what `extra` adds.
/// Links are not followed: they may lead anywhere.
pub(crate) fn list(workspace: &Path, extra: &[PathBuf]) -> Vec<File> {
    let mut roots: Vec<PathBuf> =
        ["MEMORY.md", "memory.md", "memory"].map(|name| workspace.join(name)).to_vec();
    if same_file(&roots[0], &roots[1]) {
        roots.remove(1);
    }
    roots.extend(extra.iter().cloned());
    let mut found: Vec<PathBuf> = Vec::new();
    for root in roots {
        below(root, &mut found);
    }
    found.sort();
    found.dedup();
    found.truncate(MOST_FILES);
    let file = |path: PathBuf| {
        let name = path.strip_prefix(workspace).unwrap_or(&path).display().to_string();
        File { name, path }
    };
    found.into_iter().map(file).collect()
}

fn below(root: PathBuf, found: &mut Vec<PathBuf>) {
    let mut waiting = vec![root];
    while let Some(path) = waiting.pop() {
        if found.len() >= MOST_FILES {
            return;
        }
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        } else if meta.is_file() && path.extension().is_some_and(|ext| ext == "md") {
            found.push(path);
        }
    }
}

/// Whether both spellings are one file, as on disks that ignore case.
fn same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}

/// A passage with the lines it spans, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passage {
    pub first: usize,
    pub last: usize,
    pub text: String,
}

/// Cuts a text at line ends into passages of about `tokens`, of which
/// neighbours share about `overlap`. A line is never cut apart.
pub(crate) fn passages(text: &str, tokens: usize, overlap: usize) -> Vec<Passage> {
    let most = tokens.max(1) * TOKEN_CHARS;
    let shared = overlap.min(tokens / 2) * TOKEN_CHARS;
    let lines: Vec<&str> = text.lines().collect();
    let mut passages = Vec::new();
    let mut first = 0;
    while first < lines.len() {
        let mut size = 0;
        let mut last = first;
        while last < lines.len() && (last == first || size + lines[last].len() < most) {
            size += lines[last].len() + 1;
            last += 1;
        }
        let text = lines[first..last].join("\n");
        if !text.trim().is_empty() {
            passages.push(Passage { first: first + 1, last, text });
        }
        if last == lines.len() {
            break;
        }
        let mut next = last;
        let mut kept = 0;
        while next > first + 1 && kept + lines[next - 1].len() < shared {
            next -= 1;
            kept += lines[next].len() + 1;
        }
        first = next;
    }
    passages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_files_and_named_folders_belong() {
        let dir = tempfile::tempdir().unwrap();
        let (workspace, notes) = (dir.path().join("w"), dir.path().join("notes"));
        std::fs::create_dir_all(workspace.join("memory/deep")).unwrap();
        std::fs::create_dir(&notes).unwrap();
        for path in ["w/MEMORY.md", "w/secret.md", "w/memory/deep/b.md", "w/memory/a.txt"] {
            std::fs::write(dir.path().join(path), "x").unwrap();
        }
        std::fs::write(notes.join("n.md"), "x").unwrap();
        let link = workspace.join("memory/link.md");
        std::os::unix::fs::symlink(workspace.join("secret.md"), link).unwrap();
        let names = |extra: &[PathBuf]| -> Vec<String> {
            list(&workspace, extra).into_iter().map(|file| file.name).collect()
        };
        assert_eq!(names(&[]), ["MEMORY.md", "memory/deep/b.md"]);
        let outside = notes.join("n.md").display().to_string();
        assert_eq!(names(&[notes]), [outside.as_str(), "MEMORY.md", "memory/deep/b.md"]);
    }

    #[test]
    fn passages_cover_every_line_and_overlap() {
        let lines: Vec<String> =
            (1..=100).map(|n| format!("line number {n:03} of the text")).collect();
        let text = lines.join("\n");
        let cut = passages(&text, 50, 15);
        assert!(cut.len() > 10);
        assert_eq!((cut[0].first, cut.last().unwrap().last), (1, 100));
        for pair in cut.windows(2) {
            assert!(pair[1].first <= pair[0].last && pair[1].first > pair[0].first, "{pair:?}");
            assert!(pair[0].text.len() <= 200);
        }
        let long = passages(&"y".repeat(10_000), 50, 15);
        assert_eq!((long.len(), long[0].text.len()), (1, 10_000));
        assert!(passages("\n\n  \n", 50, 15).is_empty());
    }
}
