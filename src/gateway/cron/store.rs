//! Where jobs and their run logs are kept: `cron/jobs.json` and
//! `cron/runs/<jobId>.jsonl`. Blocking.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::duration;
use crate::gateway::cron::job::Job;
use crate::store::atomic::{self, Sync};

/// `cron.runLog`: a log larger than this is cut to its newest lines.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    max_bytes: u64,
    kept_lines: usize,
}

impl LogLimits {
    pub fn of(cron: &Map<String, Value>) -> Self {
        let section = cron.get("runLog").unwrap_or(&Value::Null);
        let max_bytes = match &section["maxBytes"] {
            Value::String(text) => duration::parse_bytes(text),
            other => other.as_u64(),
        };
        let kept = section["keepLines"].as_u64().and_then(|it| usize::try_from(it).ok());
        Self {
            max_bytes: max_bytes.filter(|max| *max > 0).unwrap_or(2_000_000),
            kept_lines: kept.filter(|kept| *kept > 0).unwrap_or(2000),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(default)]
    jobs: Vec<Job>,
}

/// Tells one version of the file from the next.
pub type Stamp = Option<(u64, u64, Option<SystemTime>)>;

pub fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.modified().ok()))
}

/// The jobs of a file; none when it does not exist.
pub fn read(path: &Path) -> io::Result<Vec<Job>> {
    match fs::read(path) {
        Ok(bytes) => {
            let file: File = serde_json::from_slice(&bytes)?;
            Ok(file.jobs)
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(err) => Err(err),
    }
}

/// Replaces the file; the version before stays as `.bak`.
pub fn write(path: &Path, jobs: &[Job]) -> io::Result<()> {
    let file = File { version: 1, jobs: jobs.to_vec() };
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    if let Ok(before) = fs::read(path) {
        let backup = PathBuf::from(format!("{}.bak", path.display()));
        atomic::write(&backup, &before, Sync::No)?;
    }
    atomic::write(path, &bytes, Sync::Yes)
}

fn log_path(store: &Path, job_id: &str) -> Option<PathBuf> {
    // The id becomes a file name; ids of ours are UUIDs.
    let safe = !job_id.is_empty() && !job_id.contains(['/', '\\', '\0']) && job_id != "..";
    safe.then(|| store.with_file_name("runs").join(format!("{job_id}.jsonl")))
}

/// Appends an entry to a job's run log.
pub fn append_run(store: &Path, job_id: &str, entry: &Value, limits: LogLimits) -> io::Result<()> {
    let Some(path) = log_path(store, job_id) else { return Ok(()) };
    if let Some(dir) = path.parent() {
        atomic::private_dir(dir)?;
    }
    let mut file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    file.write_all(format!("{entry}\n").as_bytes())?;
    if file.metadata()?.len() > limits.max_bytes {
        let text = fs::read_to_string(&path)?;
        let lines: Vec<&str> = text.lines().collect();
        let kept = lines[lines.len().saturating_sub(limits.kept_lines)..].join("\n") + "\n";
        atomic::write(&path, kept.as_bytes(), Sync::No)?;
    }
    Ok(())
}

/// The run log of a job, oldest first; lines that cannot be read are skipped.
pub fn read_runs(store: &Path, job_id: &str) -> Vec<Value> {
    let Some(path) = log_path(store, job_id) else { return Vec::new() };
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|entry: &Value| entry["action"] == "finished")
        .collect()
}

/// Ids of all jobs with a run log.
pub fn logged_jobs(store: &Path) -> Vec<String> {
    let listing = fs::read_dir(store.with_file_name("runs")).into_iter().flatten().flatten();
    let mut ids: Vec<String> = listing
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".jsonl").map(str::to_owned))
        .collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn jobs_and_runs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cron/jobs.json");
        assert_eq!(read(&path).unwrap(), []);
        let job = Job { id: "j".into(), name: "n".into(), ..Job::default() };
        write(&path, std::slice::from_ref(&job)).unwrap();
        write(&path, &[]).unwrap();
        assert_eq!(read(&PathBuf::from(format!("{}.bak", path.display()))).unwrap(), [job]);
        let cron = json!({"runLog": {"maxBytes": 500, "keepLines": 3}});
        let limits = LogLimits::of(cron.as_object().unwrap());
        append_run(&path, "../j", &json!({"action": "finished"}), limits).unwrap();
        for at in 0..30 {
            append_run(&path, "j", &json!({"action": "finished", "ts": at}), limits).unwrap();
        }
        let runs = read_runs(&path, "j");
        assert!((3..30).contains(&runs.len()), "{}", runs.len());
        assert_eq!(runs.last().unwrap()["ts"], 29);
        assert_eq!(logged_jobs(&path), ["j"]);
        fs::write(&path, "{").unwrap();
        assert!(read(&path).is_err());
    }
}
