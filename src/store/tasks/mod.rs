//! What ran in the background: `tasks/runs.sqlite` and `flows/registry.sqlite`
//! of the reference, which both gateways and both command lines read and write.
//!
//! Every use opens the file anew: it is rarely asked, and others write to it.

pub mod audit;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::store::atomic;

/// How long a finished task stays in the list.
pub const RETENTION_MS: u64 = 7 * 24 * 60 * 60 * 1000;

const BUSY: Duration = Duration::from_secs(5);

const COLUMNS: &str = "task_id, runtime, source_id, owner_key, scope_kind, child_session_key, \
    parent_flow_id, parent_task_id, agent_id, run_id, label, task, status, delivery_status, \
    notify_policy, created_at, started_at, ended_at, last_event_at, cleanup_after, error, \
    progress_summary, terminal_summary, terminal_outcome";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS task_runs (
      task_id TEXT PRIMARY KEY, runtime TEXT NOT NULL, source_id TEXT, owner_key TEXT NOT NULL,
      scope_kind TEXT NOT NULL, child_session_key TEXT, parent_flow_id TEXT, parent_task_id TEXT,
      agent_id TEXT, run_id TEXT, label TEXT, task TEXT NOT NULL, status TEXT NOT NULL,
      delivery_status TEXT NOT NULL, notify_policy TEXT NOT NULL, created_at INTEGER NOT NULL,
      started_at INTEGER, ended_at INTEGER, last_event_at INTEGER, cleanup_after INTEGER,
      error TEXT, progress_summary TEXT, terminal_summary TEXT, terminal_outcome TEXT);
    CREATE TABLE IF NOT EXISTS task_delivery_state (
      task_id TEXT PRIMARY KEY, requester_origin_json TEXT, last_notified_event_at INTEGER);
    CREATE INDEX IF NOT EXISTS idx_task_runs_run_id ON task_runs(run_id);
    CREATE INDEX IF NOT EXISTS idx_task_runs_status ON task_runs(status);";

/// One task, as `tasks list --json` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub task_id: String,
    /// `cron`, `cli`, `subagent` or `acp`.
    pub runtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    pub requester_session_key: String,
    pub owner_key: String,
    pub scope_kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_session_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_flow_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub task: String,
    pub status: String,
    pub delivery_status: String,
    pub notify_policy: String,
    pub created_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal_summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal_outcome: Option<String>,
}

impl Task {
    pub fn is_active(&self) -> bool {
        matches!(self.status.as_str(), "queued" | "running")
    }

    /// When something last happened to it.
    pub fn last_sign(&self) -> u64 {
        self.last_event_at.or(self.started_at).unwrap_or(self.created_at)
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let owner: String = row.get(3)?;
        let scope: String = row.get(4)?;
        // Empty texts stand for nothing.
        let text = |at: usize| -> rusqlite::Result<Option<String>> {
            Ok(row.get::<_, Option<String>>(at)?.filter(|text| !text.is_empty()))
        };
        Ok(Self {
            task_id: row.get(0)?,
            runtime: row.get(1)?,
            source_id: text(2)?,
            requester_session_key: if scope == "system" { String::new() } else { owner.clone() },
            owner_key: owner,
            scope_kind: scope,
            child_session_key: text(5)?,
            parent_flow_id: text(6)?,
            parent_task_id: text(7)?,
            agent_id: text(8)?,
            run_id: text(9)?,
            label: text(10)?,
            task: row.get(11)?,
            status: row.get(12)?,
            delivery_status: row.get(13)?,
            notify_policy: row.get(14)?,
            created_at: row.get(15)?,
            started_at: row.get(16)?,
            ended_at: row.get(17)?,
            last_event_at: row.get(18)?,
            cleanup_after: row.get(19)?,
            error: text(20)?,
            progress_summary: text(21)?,
            terminal_summary: text(22)?,
            terminal_outcome: text(23)?,
        })
    }
}

/// The registry could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct TasksError {
    path: PathBuf,
    source: rusqlite::Error,
}

/// The list of tasks of one state directory. Blocking.
#[derive(Debug)]
pub struct Tasks {
    path: PathBuf,
    db: Option<Connection>,
}

impl Tasks {
    /// Opens the list; one that is not there is empty.
    pub fn open(state: &Path) -> Result<Self, TasksError> {
        let path = state.join("tasks/runs.sqlite");
        let db = existing(&path)?;
        Ok(Self { path, db })
    }

    /// Opens the list, and makes it if it is not there.
    pub fn create(state: &Path) -> Result<Self, TasksError> {
        let mut tasks = Self::open(state)?;
        let path = tasks.path.clone();
        let fail = |source| TasksError { path: path.clone(), source };
        if tasks.db.is_none() {
            // What fails here fails again below, with a reason.
            drop(path.parent().map(atomic::private_dir));
            drop(OpenOptions::new().create(true).append(true).mode(0o600).open(&path));
            let db = Connection::open(&path).map_err(fail)?;
            db.busy_timeout(BUSY).map_err(fail)?;
            tasks.db = Some(db);
        }
        if let Some(db) = &tasks.db {
            // Without waiting for the disk: a lost line is a lost note, not a lost job.
            db.pragma_update(None, "synchronous", "OFF").map_err(fail)?;
            db.execute_batch(SCHEMA).map_err(fail)?;
        }
        Ok(tasks)
    }

    /// Every task, the newest first.
    pub fn list(&self) -> Result<Vec<Task>, TasksError> {
        let Some(db) = &self.db else { return Ok(Vec::new()) };
        let query = format!("SELECT {COLUMNS} FROM task_runs ORDER BY created_at DESC, rowid DESC");
        let read = || -> rusqlite::Result<Vec<Task>> {
            db.prepare(&query)?.query_map([], Task::from_row)?.collect()
        };
        read().map_err(|source| self.fail(source))
    }

    /// Writes a task, over the one of the same id.
    pub fn put(&self, task: &Task) -> Result<(), TasksError> {
        let Some(db) = &self.db else { return Ok(()) };
        let marks = vec!["?"; 24].join(", ");
        let query = format!("INSERT OR REPLACE INTO task_runs ({COLUMNS}) VALUES ({marks})");
        let t = task;
        db.execute(
            &query,
            params![
                t.task_id,
                t.runtime,
                t.source_id,
                t.owner_key,
                t.scope_kind,
                t.child_session_key,
                t.parent_flow_id,
                t.parent_task_id,
                t.agent_id,
                t.run_id,
                t.label,
                t.task,
                t.status,
                t.delivery_status,
                t.notify_policy,
                t.created_at,
                t.started_at,
                t.ended_at,
                t.last_event_at,
                t.cleanup_after,
                t.error,
                t.progress_summary,
                t.terminal_summary,
                t.terminal_outcome,
            ],
        )
        .map(drop)
        .map_err(|source| self.fail(source))
    }

    pub fn remove(&self, id: &str) -> Result<(), TasksError> {
        let Some(db) = &self.db else { return Ok(()) };
        db.execute("DELETE FROM task_runs WHERE task_id = ?", [id])
            .and_then(|_| db.execute("DELETE FROM task_delivery_state WHERE task_id = ?", [id]))
            .map(drop)
            .map_err(|source| self.fail(source))
    }

    /// Takes finished tasks off the list whose time is over; says which.
    pub fn prune(&self, now: u64) -> Result<Vec<String>, TasksError> {
        const QUERY: &str = "DELETE FROM task_runs WHERE cleanup_after <= ? \
            AND status NOT IN ('queued', 'running') RETURNING task_id";
        let Some(db) = &self.db else { return Ok(Vec::new()) };
        let remove = || -> rusqlite::Result<Vec<String>> {
            db.prepare(QUERY)?.query_map([now], |row| row.get(0))?.collect()
        };
        remove().map_err(|source| self.fail(source))
    }

    /// Notes that no task of this kind can be running: its gateway has gone.
    pub fn lose_all(&self, runtime: &str, why: &str, now: u64) -> Result<(), TasksError> {
        for task in self.list()?.iter().filter(|task| task.runtime == runtime && task.is_active()) {
            self.put(&ended(task, "lost", Some(why), now))?;
        }
        Ok(())
    }

    fn fail(&self, source: rusqlite::Error) -> TasksError {
        TasksError { path: self.path.clone(), source }
    }
}

/// A task that has come to its end.
pub fn ended(task: &Task, status: &str, error: Option<&str>, now: u64) -> Task {
    let ended_at = task.ended_at.unwrap_or(now);
    Task {
        status: status.to_owned(),
        ended_at: Some(ended_at),
        last_event_at: Some(now),
        error: error.map(str::to_owned).or_else(|| task.error.clone()),
        cleanup_after: task.cleanup_after.or(Some(ended_at + RETENTION_MS)),
        ..task.clone()
    }
}

/// Flows of tasks, as `tasks flow list --json` shows them. Only the Node
/// gateway's plugins make any.
pub fn flows(state: &Path) -> Result<Vec<Map<String, Value>>, TasksError> {
    const QUERY: &str = "SELECT flow_id, sync_mode, owner_key, requester_origin_json, \
        controller_id, revision, status, notify_policy, goal, current_step, blocked_task_id, \
        blocked_summary, state_json, wait_json, cancel_requested_at, created_at, updated_at, \
        ended_at FROM flow_runs ORDER BY created_at DESC, flow_id";
    const KEYS: [&str; 18] = [
        "flowId",
        "syncMode",
        "ownerKey",
        "requesterOrigin",
        "controllerId",
        "revision",
        "status",
        "notifyPolicy",
        "goal",
        "currentStep",
        "blockedTaskId",
        "blockedSummary",
        "stateJson",
        "waitJson",
        "cancelRequestedAt",
        "createdAt",
        "updatedAt",
        "endedAt",
    ];
    let path = state.join("flows/registry.sqlite");
    let Some(db) = existing(&path)? else { return Ok(Vec::new()) };
    let read = || -> rusqlite::Result<Vec<Map<String, Value>>> {
        let table = "SELECT 1 FROM sqlite_master WHERE name = 'flow_runs'";
        if db.query_row(table, [], |_| Ok(())).optional()?.is_none() {
            return Ok(Vec::new());
        }
        let mut query = db.prepare(QUERY)?;
        let rows = query.query_map([], |row| {
            let mut flow = Map::new();
            for (at, key) in KEYS.iter().enumerate() {
                let value = match row.get_ref(at)? {
                    rusqlite::types::ValueRef::Integer(number) => number.into(),
                    rusqlite::types::ValueRef::Text(text) => {
                        let text = String::from_utf8_lossy(text).into_owned();
                        let document = key.ends_with("Json") || *key == "requesterOrigin";
                        let parsed = document.then(|| serde_json::from_str(&text).ok()).flatten();
                        parsed.unwrap_or(Value::String(text))
                    }
                    _ => continue,
                };
                flow.insert((*key).to_owned(), value);
            }
            Ok(flow)
        })?;
        rows.collect()
    };
    read().map_err(|source| TasksError { path: path.clone(), source })
}

/// A database that is there; it is never made.
fn existing(path: &Path) -> Result<Option<Connection>, TasksError> {
    if !path.exists() {
        return Ok(None);
    }
    let open = || {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(BUSY)?;
        Ok(db)
    };
    open().map(Some).map_err(|source| TasksError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, created_at: u64) -> Task {
        Task {
            task_id: id.to_owned(),
            runtime: "cron".to_owned(),
            owner_key: "system:cron:j".to_owned(),
            scope_kind: "system".to_owned(),
            task: "tidy up".to_owned(),
            status: "running".to_owned(),
            delivery_status: "not_applicable".to_owned(),
            notify_policy: "silent".to_owned(),
            created_at,
            started_at: Some(created_at),
            ..Task::default()
        }
    }

    #[test]
    fn tasks_are_kept_newest_first_and_none_is_made_by_looking() {
        let state = tempfile::tempdir().unwrap();
        assert!(Tasks::open(state.path()).unwrap().list().unwrap().is_empty());
        assert!(!state.path().join("tasks").exists());
        let tasks = Tasks::create(state.path()).unwrap();
        tasks.put(&task("a", 1)).unwrap();
        tasks.put(&task("b", 2)).unwrap();
        let again = Tasks::open(state.path()).unwrap();
        assert_eq!(again.list().unwrap(), [task("b", 2), task("a", 1)]);
        again.lose_all("cron", "gone", 9).unwrap();
        let lost = again.list().unwrap().remove(0);
        assert_eq!((lost.status.as_str(), lost.ended_at), ("lost", Some(9)));
        assert_eq!(lost.cleanup_after, Some(9 + RETENTION_MS));
        again.remove("a").unwrap();
        assert!(again.prune(8 + RETENTION_MS).unwrap().is_empty());
        assert_eq!(again.list().unwrap().len(), 1);
        assert_eq!(again.prune(9 + RETENTION_MS).unwrap(), ["b"]);
        assert!(again.list().unwrap().is_empty());
        assert!(flows(state.path()).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_database_is_named() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir(state.path().join("tasks")).unwrap();
        let path = state.path().join("tasks/runs.sqlite");
        std::fs::write(&path, "not a database, whatever its name says").unwrap();
        let err = Tasks::open(state.path()).unwrap().list().unwrap_err();
        assert!(err.to_string().starts_with(path.to_str().unwrap()), "{err}");
    }
}
