//! Jobs that run by the clock.
//!
//! Keeps the jobs in step with their file, decides what is due and remembers
//! what became of each run. Running a job is [`runner`]'s part.

pub mod expr;
pub mod job;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod store;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::base::id::uuid;
use crate::config::Config;
use crate::gateway::cron::job::{Job, Payload, Schedule};
use crate::gateway::cron::schedule::ScheduleError;
use crate::profile::paths::{Paths, expand};

/// Pauses after failed runs, by number of failures in a row.
const BACKOFF_MS: [u64; 5] = [30_000, 60_000, 300_000, 900_000, 3_600_000];

/// How often a one-time job that failed for a passing reason is tried again.
const ONE_TIME_RETRIES: u64 = 3;

/// Missed jobs that run at once after a start; the others follow one by one.
const MISSED_AT_ONCE: u64 = 5;
const MISSED_PAUSE_MS: u64 = 5_000;

/// Why a cron operation failed. Texts are those that clients show.
#[derive(Debug, thiserror::Error)]
pub enum CronError {
    #[error("Error: unknown cron job id: {0}")]
    Unknown(String),
    #[error("{0}")]
    Schedule(#[from] ScheduleError),
    #[error("Error: {0}")]
    Invalid(String),
    #[error("the job changed since it was read; read it again before you retry")]
    Changed { expected: String, actual: String },
    #[error("Error: {}: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The jobs of one gateway.
#[derive(Debug)]
pub struct Cron {
    book: Mutex<Book>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Book {
    path: PathBuf,
    stamp: store::Stamp,
    loaded: bool,
    jobs: Vec<Job>,
    /// Counts manual runs, for their ids.
    manual: u64,
}

/// What became of a job after a run.
#[derive(Debug, Default, PartialEq)]
pub struct Finished {
    pub next: Option<u64>,
    /// Whether it is on the list no more.
    pub gone: bool,
    /// The job as it was left.
    pub job: Option<Job>,
    /// How often in a row it failed, if someone is to be told.
    pub alert: Option<u64>,
}

/// `cron.retry`: when a one-time job that failed runs again.
struct Retry<'c> {
    times: u64,
    pauses: Vec<u64>,
    /// Kinds of reasons that pass; `None` for all of them.
    on: Option<&'c Vec<Value>>,
}

impl<'c> Retry<'c> {
    fn of(cron: &'c Map<String, Value>) -> Self {
        let section = cron.get("retry").unwrap_or(&Value::Null);
        let list = |key: &str| section[key].as_array().filter(|list| !list.is_empty());
        let pauses = list("backoffMs").map(|list| list.iter().filter_map(Value::as_u64).collect());
        Self {
            times: section["maxAttempts"].as_u64().unwrap_or(ONE_TIME_RETRIES),
            pauses: pauses.unwrap_or_else(|| BACKOFF_MS[..3].to_vec()),
            on: list("retryOn"),
        }
    }

    /// Whether the reason of a failure may be gone the next time.
    fn is_passing(&self, error: &str) -> bool {
        const KINDS: [(&str, &[&str]); 5] = [
            ("rate_limit", &["rate limit", "rate_limit", "too many requests", "429", "exhausted"]),
            ("overloaded", &["529", "overloaded", "high demand", "capacity exceeded"]),
            ("network", &["network", "connection", "connect", "fetch failed", "socket"]),
            ("timeout", &["timeout", "timed out"]),
            ("server_error", &["500", "501", "502", "503", "504"]),
        ];
        let error = error.to_lowercase();
        KINDS.iter().any(|(kind, words)| {
            self.on.is_none_or(|on| on.iter().any(|it| it == kind))
                && words.iter().any(|word| error.contains(word))
        })
    }
}

/// How a run ended, as far as the job's state is concerned.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    pub status: &'static str,
    pub error: Option<String>,
    pub delivered: Option<bool>,
    pub delivery_status: &'static str,
}

impl Cron {
    /// Reads nothing yet.
    pub fn new(config: &Config, paths: &Paths) -> Self {
        let book = Book { path: store_path(config, paths), ..Book::default() };
        Self { book: Mutex::new(book), bell: Notify::new() }
    }

    /// Goes on with the jobs of the file that the configuration names now;
    /// whether it is another one.
    pub fn follow(&self, config: &Config, paths: &Paths) -> bool {
        let path = store_path(config, paths);
        let mut book = self.book();
        let moves = book.path != path;
        if moves {
            *book = Book { path, manual: book.manual, ..Book::default() };
        }
        moves
    }

    pub fn path(&self) -> PathBuf {
        self.book().path.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every job. Blocking, as are all operations.
    pub fn jobs(&self) -> Result<Vec<Job>, CronError> {
        Ok(self.open()?.jobs.clone())
    }

    pub fn add(&self, params: &Value, now: u64) -> Result<Job, CronError> {
        let mut fields = params.as_object().cloned().unwrap_or_default();
        fields.retain(|_, value| !value.is_null());
        fields.insert("id".into(), uuid().into());
        fields.entry("enabled").or_insert(json!(true));
        fields.insert("createdAtMs".into(), now.into());
        fields.insert("updatedAtMs".into(), now.into());
        fields.insert("state".into(), json!({}));
        let mut job: Job = read_job(fields)?;
        if matches!(job.schedule, Schedule::At { .. }) {
            job.delete_after_run.get_or_insert(true);
        }
        if matches!(job.payload, Payload::AgentTurn { .. }) && job.delivery.is_none() {
            job.delivery = Some(json!({ "mode": "announce" }));
        }
        settle(&mut job, now)?;
        let mut book = self.open()?;
        book.jobs.push(job.clone());
        self.save(&mut book)?;
        Ok(job)
    }

    pub fn update(
        &self,
        id: &str,
        patch: &Value,
        expected: Option<&str>,
        now: u64,
    ) -> Result<Job, CronError> {
        let mut book = self.open()?;
        let index = position(&book, id)?;
        let before = book.jobs[index].clone();
        let actual = expected.map(|_| before.revision());
        if let (Some(expected), Some(actual)) = (expected, actual)
            && expected != actual
        {
            return Err(CronError::Changed { expected: expected.to_owned(), actual });
        }
        let mut fields = as_map(serde_json::to_value(&before).unwrap_or_default());
        for (key, value) in patch.as_object().into_iter().flatten() {
            merge(&mut fields, key, value);
        }
        fields.insert("updatedAtMs".into(), now.into());
        let mut job: Job = read_job(fields)?;
        if job.session_target == "main" && mode_of(&job) != "webhook" {
            if job
                .delivery
                .as_ref()
                .is_some_and(|delivery| delivery.get("failureDestination").is_some())
            {
                return Err(CronError::Invalid(FAILURE_DESTINATION.into()));
            }
            job.delivery = None;
        }
        let rescheduled = job.schedule != before.schedule || job.enabled != before.enabled;
        if rescheduled || job.state.next_run_at_ms.is_none() {
            settle(&mut job, now)?;
        } else {
            check(&job)?;
        }
        book.jobs[index] = job.clone();
        self.save(&mut book)?;
        Ok(job)
    }

    /// Removes a job; whether it was there.
    pub fn remove(&self, id: &str) -> Result<bool, CronError> {
        let mut book = self.open()?;
        let before = book.jobs.len();
        book.jobs.retain(|job| job.id != id);
        let removed = book.jobs.len() < before;
        if removed {
            self.save(&mut book)?;
        }
        Ok(removed)
    }

    /// Claims a job for a run by hand. Returns the id of the run, or why not.
    pub fn claim(
        &self,
        id: &str,
        force: bool,
        now: u64,
    ) -> Result<Result<(Job, String), &'static str>, CronError> {
        let mut book = self.open()?;
        let index = position(&book, id)?;
        if book.jobs[index].state.running_at_ms.is_some() {
            return Ok(Err("already-running"));
        }
        let due = book.jobs[index].state.next_run_at_ms.is_some_and(|at| at <= now);
        let ready = due && book.jobs[index].enabled;
        if !force && !ready {
            return Ok(Err("not-due"));
        }
        book.manual += 1;
        let run = format!("manual:{id}:{now}:{}", book.manual);
        book.jobs[index].state.running_at_ms = Some(now);
        let job = book.jobs[index].clone();
        self.save(&mut book)?;
        Ok(Ok((job, run)))
    }

    /// Claims every job that is due.
    pub fn claim_due(&self, now: u64) -> Result<Vec<Job>, CronError> {
        let mut book = self.open()?;
        let mut due = Vec::new();
        for job in &mut book.jobs {
            let idle = job.enabled && job.state.running_at_ms.is_none();
            if idle && job.state.next_run_at_ms.is_some_and(|at| at <= now) {
                job.state.running_at_ms = Some(now);
                due.push(job.clone());
            }
        }
        if !due.is_empty() {
            self.save(&mut book)?;
        }
        Ok(due)
    }

    /// Notes how a run ended, by the rules of `config` (its `cron` section).
    pub fn finish(
        &self,
        id: &str,
        ran: &Ran,
        started: u64,
        now: u64,
        config: &Map<String, Value>,
    ) -> Result<Finished, CronError> {
        let mut book = self.open()?;
        let Ok(index) = position(&book, id) else {
            return Ok(Finished { gone: true, ..Finished::default() });
        };
        let job = &mut book.jobs[index];
        let failed = ran.status == "error";
        let errors = if failed { job.state.consecutive_errors.unwrap_or(0) + 1 } else { 0 };
        let state = &mut job.state;
        state.running_at_ms = None;
        state.last_run_at_ms = Some(started);
        state.last_run_status = Some(ran.status.into());
        state.last_status = Some(ran.status.into());
        state.last_duration_ms = Some(now.saturating_sub(started));
        state.last_error.clone_from(&ran.error);
        state.consecutive_errors = Some(errors);
        state.last_delivered = ran.delivered;
        state.last_delivery_status = Some(ran.delivery_status.into());
        if !failed {
            job.state.last_failure_alert_at_ms = None;
        }
        let alert = report::alert_rule(config, job).filter(|(after, quiet)| {
            let last = job.state.last_failure_alert_at_ms;
            failed && errors >= *after && last.is_none_or(|at| now.saturating_sub(at) >= *quiet)
        });
        if alert.is_some() {
            job.state.last_failure_alert_at_ms = Some(now);
        }
        let one_time = matches!(job.schedule, Schedule::At { .. });
        let retry = Retry::of(config);
        let step = |steps: &[u64]| {
            let at = usize::try_from(errors.saturating_sub(1)).unwrap_or(usize::MAX);
            now + steps.get(at).or(steps.last()).copied().unwrap_or(0)
        };
        let pause = (errors > 0).then(|| step(&BACKOFF_MS));
        let mut gone = false;
        if one_time && !failed {
            gone = job.delete_after_run == Some(true);
            job.enabled = false;
            job.state.next_run_at_ms = None;
        } else if one_time {
            let passing = retry.is_passing(ran.error.as_deref().unwrap_or_default());
            job.enabled = passing && errors <= retry.times;
            job.state.next_run_at_ms = job.enabled.then(|| step(&retry.pauses));
        } else if job.enabled {
            let next = job.schedule.next_after(&job.id, now)?;
            job.state.next_run_at_ms = next.map(|next| next.max(pause.unwrap_or(0)));
        }
        let next = job.state.next_run_at_ms;
        let told = job.clone();
        if gone {
            book.jobs.remove(index);
        }
        self.save(&mut book)?;
        Ok(Finished { next, gone, job: Some(told), alert: alert.map(|_| errors) })
    }

    /// After a start: runs that were interrupted are over, and what was missed
    /// meanwhile is made up for, once.
    pub fn recover(&self, now: u64) -> Result<(), CronError> {
        let mut book = self.open()?;
        let mut changed = false;
        let mut missed = 0;
        for job in &mut book.jobs {
            let interrupted = job.state.running_at_ms.take().is_some();
            changed |= interrupted;
            let due = job.state.next_run_at_ms;
            if !job.enabled || due.is_some_and(|at| at > now) {
                continue;
            }
            let next = match &job.schedule {
                Schedule::At { .. } if job.state.last_run_at_ms.is_none() => Some(now),
                Schedule::At { .. } if due.is_none() => continue,
                Schedule::At { .. } => Some(now),
                // What broke off is not begun again at once: it may be why.
                _ if due.is_some() && !interrupted => {
                    missed += 1;
                    Some(now + MISSED_PAUSE_MS * u64::saturating_sub(missed, MISSED_AT_ONCE))
                }
                schedule => schedule.next_after(&job.id, now).unwrap_or(None),
            };
            changed |= job.state.next_run_at_ms != next;
            job.state.next_run_at_ms = next;
        }
        if changed {
            self.save(&mut book)?;
        }
        Ok(())
    }

    /// When the next job is due.
    pub fn next_wake(&self) -> Result<Option<u64>, CronError> {
        let book = self.open()?;
        let waiting =
            book.jobs.iter().filter(|job| job.enabled && job.state.running_at_ms.is_none());
        Ok(waiting.filter_map(|job| job.state.next_run_at_ms).min())
    }

    /// The jobs, read anew when someone else changed the file.
    fn open(&self) -> Result<MutexGuard<'_, Book>, CronError> {
        let mut book = self.book();
        let stamp = store::stamp(&book.path);
        if !book.loaded || stamp != book.stamp {
            book.jobs = store::read(&book.path).map_err(|source| book.failed(source))?;
            book.stamp = stamp;
            book.loaded = true;
        }
        Ok(book)
    }

    fn save(&self, book: &mut Book) -> Result<(), CronError> {
        if let Err(source) = store::write(&book.path, &book.jobs) {
            // What is in the file counts.
            book.loaded = false;
            return Err(book.failed(source));
        }
        book.stamp = store::stamp(&book.path);
        self.bell.notify_one();
        Ok(())
    }
}

impl Book {
    fn failed(&self, source: io::Error) -> CronError {
        CronError::File { path: self.path.clone(), source }
    }
}

fn store_path(config: &Config, paths: &Paths) -> PathBuf {
    match config.cron.get("store").and_then(Value::as_str).map(str::trim) {
        Some(path) if !path.is_empty() => expand(path, &paths.home),
        _ => paths.state.join("cron/jobs.json"),
    }
}

fn position(book: &Book, id: &str) -> Result<usize, CronError> {
    let found = book.jobs.iter().position(|job| job.id == id);
    found.ok_or_else(|| CronError::Unknown(id.to_owned()))
}

fn read_job(fields: Map<String, Value>) -> Result<Job, CronError> {
    serde_json::from_value(Value::Object(fields))
        .map_err(|err| CronError::Invalid(format!("invalid cron job: {err}")))
}

/// Checks a job and plans its next run.
fn settle(job: &mut Job, now: u64) -> Result<(), CronError> {
    check(job)?;
    job.schedule.normalise(now)?;
    job.state.next_run_at_ms =
        if job.enabled { job.schedule.next_after(&job.id, now)? } else { None };
    Ok(())
}

/// Notices belong to the main session, turns to a session of their own.
fn check(job: &Job) -> Result<(), CronError> {
    let main = job.session_target == "main";
    let notice = matches!(job.payload, Payload::SystemEvent { .. });
    if main && !notice {
        return Err(CronError::Invalid(
            "main cron jobs require payload.kind=\"systemEvent\"".into(),
        ));
    }
    if !main && notice {
        return Err(CronError::Invalid(
            "isolated/current/session cron jobs require payload.kind=\"agentTurn\"".into(),
        ));
    }
    check_delivery(job, main).map_err(|why| CronError::Invalid(why.into()))
}

const FAILURE_DESTINATION: &str = "cron delivery.failureDestination is only supported for sessionTarget=\"isolated\" unless delivery.mode=\"webhook\"";

/// Where results go must be a place that can be reached from this kind of job.
fn check_delivery(job: &Job, main: bool) -> Result<(), &'static str> {
    let (mode, delivery) = (mode_of(job), job.delivery.as_ref().unwrap_or(&Value::Null));
    match mode {
        "webhook" if !is_web_address(&delivery["to"]) => {
            return Err("cron webhook delivery requires delivery.to to be a valid http(s) URL");
        }
        "announce" if main => {
            return Err(
                "cron channel delivery config is only supported for sessionTarget=\"isolated\"",
            );
        }
        "announce" if delivery["channel"] == "telegram" && is_slash_topic(&delivery["to"]) => {
            return Err(
                "Invalid Telegram delivery target: write a topic as chat:topic, not chat/topic",
            );
        }
        _ => {}
    }
    let on_failure = &delivery["failureDestination"];
    if on_failure.is_null() {
        return Ok(());
    }
    if main && mode != "webhook" {
        return Err(FAILURE_DESTINATION);
    }
    if on_failure["mode"] == "webhook" && !is_web_address(&on_failure["to"]) {
        return Err(
            "cron failure destination webhook requires delivery.failureDestination.to to be a valid http(s) URL",
        );
    }
    Ok(())
}

fn mode_of(job: &Job) -> &str {
    let mode = job.delivery.as_ref().and_then(|delivery| delivery.get("mode"));
    mode.and_then(Value::as_str).unwrap_or("none")
}

fn is_web_address(value: &Value) -> bool {
    let url = value.as_str().and_then(|text| reqwest::Url::parse(text.trim()).ok());
    url.is_some_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// `-100123/4`, which Telegram's own links suggest.
fn is_slash_topic(value: &Value) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = value.as_str().and_then(|text| text.trim().split_once('/'));
    parts.is_some_and(|(chat, topic)| {
        digits(chat.strip_prefix('-').unwrap_or(chat)) && digits(topic)
    })
}

/// Applies one key of a patch. Payload, delivery and state are merged, the
/// rest is replaced; `null` clears.
fn merge(fields: &mut Map<String, Value>, key: &str, value: &Value) {
    if value.is_null() {
        fields.shift_remove(key);
        return;
    }
    let old = fields.get(key).and_then(Value::as_object).cloned();
    let same_kind =
        |old: &Map<String, Value>| key != "payload" || old.get("kind") == value.get("kind");
    if let ("payload" | "delivery" | "state", Some(mut old), Some(new)) =
        (key, old.filter(same_kind), value.as_object())
    {
        for (key, value) in new {
            if value.is_null() {
                old.shift_remove(key);
            } else {
                old.insert(key.clone(), value.clone());
            }
        }
        fields.insert(key.to_owned(), Value::Object(old));
    } else {
        fields.insert(key.to_owned(), value.clone());
    }
}

fn as_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NOW: u64 = 1_795_349_471_140;

    fn cron(dir: &Path) -> Cron {
        let env = [("HOME", dir.to_str().unwrap())].into_iter().collect();
        Cron::new(&Config::default(), &Paths::resolve(&env))
    }

    fn hourly() -> Value {
        json!({"name": "job1", "schedule": {"kind": "every", "everyMs": 3_600_000},
            "sessionTarget": "isolated", "wakeMode": "now",
            "payload": {"kind": "agentTurn", "message": "cron hi"}, "delivery": {"mode": "none"}})
    }

    #[test]
    fn a_job_is_added_and_changed_as_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        let job = cron.add(&hourly(), NOW).unwrap();
        let mut shown = serde_json::to_value(&job).unwrap();
        shown["id"] = "x".into();
        let expected = json!({"id": "x", "name": "job1", "enabled": true, "createdAtMs": NOW,
            "updatedAtMs": NOW,
            "schedule": {"kind": "every", "everyMs": 3_600_000, "anchorMs": NOW},
            "sessionTarget": "isolated", "wakeMode": "now",
            "payload": {"kind": "agentTurn", "message": "cron hi"},
            "delivery": {"mode": "none"}, "state": {"nextRunAtMs": NOW + 3_600_000}});
        assert_eq!(shown, expected);
        assert_eq!(
            shown.as_object().unwrap().keys().collect::<Vec<_>>(),
            expected.as_object().unwrap().keys().collect::<Vec<_>>()
        );
        let off = cron.update(&job.id, &json!({"enabled": false}), None, NOW + 36).unwrap();
        assert_eq!((off.enabled, off.state.next_run_at_ms), (false, None));
        let renamed = json!({"payload": {"kind": "agentTurn", "model": "a/b"}});
        let payload =
            serde_json::to_value(cron.update(&job.id, &renamed, None, NOW).unwrap().payload);
        assert_eq!(payload.unwrap()["message"], "cron hi");
        assert!(cron.remove(&job.id).unwrap());
        assert!(!cron.remove(&job.id).unwrap());
        let unknown = cron.update("nope", &json!({}), None, NOW).unwrap_err().to_string();
        assert_eq!(unknown, "Error: unknown cron job id: nope");
    }

    #[test]
    fn a_failed_run_waits_longer_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        let mut params = hourly();
        params["schedule"]["everyMs"] = 1000.into();
        let job = cron.add(&params, NOW).unwrap();
        let finish = |ran: &Ran| cron.finish(&job.id, ran, NOW, NOW, &Map::new()).unwrap().next;
        assert_eq!(finish(&failed("401 no")), Some(NOW + 30_000));
        assert_eq!(finish(&failed("401 no")), Some(NOW + 60_000));
        assert_eq!(finish(&OK), Some(NOW + 1000));
    }

    const OK: Ran =
        Ran { status: "ok", error: None, delivered: None, delivery_status: "not-requested" };

    fn failed(error: &str) -> Ran {
        Ran { status: "error", error: Some(error.into()), ..OK }
    }

    #[test]
    fn a_one_time_job_is_tried_again_where_that_may_help() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        let at = json!({"kind": "at", "at": "2099-01-01T00:00:00Z"});
        let add = || {
            let mut params = hourly();
            params["schedule"] = at.clone();
            cron.add(&params, NOW).unwrap().id
        };
        let retry = json!({"retry": {"maxAttempts": 2, "backoffMs": [7], "retryOn": ["timeout"]}});
        let config = as_map(retry);
        let id = add();
        let finish = |id: &str, error: &str, config: &Map<String, Value>| {
            cron.finish(id, &failed(error), NOW, NOW, config).unwrap().next
        };
        assert_eq!(finish(&id, "the run timed out", &config), Some(NOW + 7));
        assert_eq!(finish(&id, "the run timed out", &config), Some(NOW + 7));
        assert_eq!(finish(&id, "the run timed out", &config), None);
        assert_eq!(finish(&add(), "HTTP 503: busy", &config), None, "not one of the reasons");
        assert_eq!(finish(&add(), "HTTP 503: busy", &Map::new()), Some(NOW + 30_000));
        assert_eq!(finish(&add(), "401 no such key", &Map::new()), None, "it would fail again");
        assert!(cron.jobs().unwrap().iter().any(|job| !job.enabled));
    }

    #[test]
    fn a_change_of_what_was_read_before_another_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        let job = cron.add(&hourly(), NOW).unwrap();
        let (read, patch) = (job.revision(), json!({"name": "other"}));
        cron.finish(&job.id, &OK, NOW, NOW, &Map::new()).unwrap();
        cron.update(&job.id, &patch, Some(&read), NOW).unwrap();
        let late = cron.update(&job.id, &json!({"name": "late"}), Some(&read), NOW);
        assert!(matches!(late, Err(CronError::Changed { .. })), "{late:?}");
        assert_eq!(cron.jobs().unwrap()[0].name, "other");
    }

    #[test]
    fn failures_in_a_row_are_told_once_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        let mut params = hourly();
        params["failureAlert"] = json!({"after": 2, "cooldownMs": 1000});
        let id = cron.add(&params, NOW).unwrap().id;
        let finish = |ran: &Ran, at: u64| cron.finish(&id, ran, at, at, &Map::new()).unwrap().alert;
        let no = failed("no");
        assert_eq!(
            [finish(&no, NOW), finish(&no, NOW + 1), finish(&no, NOW + 2)],
            [None, Some(2), None]
        );
        assert_eq!(finish(&no, NOW + 1001), Some(4));
        assert_eq!((finish(&OK, NOW + 1002), finish(&no, NOW + 1003)), (None, None));
    }

    #[test]
    fn what_was_missed_is_made_up_for_once_and_what_broke_off_waits() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        let ids: Vec<String> = (0..8).map(|_| cron.add(&hourly(), NOW).unwrap().id).collect();
        let later = NOW + 5 * 3_600_000 + 1;
        cron.claim(&ids[0], true, NOW).unwrap().unwrap();
        cron.recover(later).unwrap();
        let next: Vec<u64> = cron
            .jobs()
            .unwrap()
            .iter()
            .map(|job| job.state.next_run_at_ms.unwrap() - later)
            .collect();
        assert_eq!(next, [3_600_000 - 1, 0, 0, 0, 0, 0, 5000, 10_000]);
    }

    #[test]
    fn a_single_run_that_was_missed_is_made_up_for_and_then_gone() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        let mut params = hourly();
        params["schedule"] = json!({"kind": "at", "at": "2026-11-22T12:11:12Z"});
        let job = cron.add(&params, NOW).unwrap();
        let later = NOW + 86_400_000;
        cron.recover(later).unwrap();
        let due = cron.claim_due(later).unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(cron.claim(&job.id, true, later).unwrap().unwrap_err(), "already-running");
        let end = cron.finish(&job.id, &OK, later, later, &Map::new()).unwrap();
        assert_eq!((end.next, end.gone), (None, true));
        assert_eq!(cron.jobs().unwrap(), []);
    }

    #[test]
    fn a_broken_file_is_named_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        std::fs::create_dir_all(cron.path().parent().unwrap()).unwrap();
        std::fs::write(cron.path(), "{oops").unwrap();
        let err = cron.add(&hourly(), NOW).unwrap_err().to_string();
        assert!(err.contains("jobs.json"), "{err}");
        assert_eq!(std::fs::read_to_string(cron.path()).unwrap(), "{oops");
    }

    #[test]
    fn payload_and_session_must_fit() {
        let dir = tempfile::tempdir().unwrap();
        let mut params = hourly();
        params["sessionTarget"] = "main".into();
        let err = cron(dir.path()).add(&params, NOW).unwrap_err().to_string();
        assert_eq!(err, "Error: main cron jobs require payload.kind=\"systemEvent\"");
    }

    #[test]
    fn results_go_where_they_can_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let cron = cron(dir.path());
        let refused = |delivery: Value| {
            let mut job = hourly();
            job["delivery"] = delivery;
            cron.add(&job, NOW).unwrap_err().to_string()
        };
        assert!(refused(json!({"mode": "webhook", "to": "ftp://x"})).contains("valid http(s) URL"));
        let topic = json!({"mode": "announce", "channel": "telegram", "to": "-100123/4"});
        assert!(refused(topic).contains("not chat/topic"));
        let nowhere = json!({"mode": "announce", "failureDestination": {"mode": "webhook"}});
        assert!(refused(nowhere).contains("delivery.failureDestination.to"));

        let mut notice = hourly();
        notice["sessionTarget"] = "main".into();
        notice["payload"] = json!({"kind": "systemEvent", "text": "x"});
        notice["delivery"] = json!({"mode": "announce"});
        let err = cron.add(&notice, NOW).unwrap_err().to_string();
        assert!(err.contains("sessionTarget=\"isolated\""), "{err}");
        let job = cron.add(&hourly(), NOW).unwrap();
        let patch = json!({"sessionTarget": "main", "payload": {"kind": "systemEvent", "text": "x"},
            "delivery": {"mode": "announce"}});
        assert_eq!(cron.update(&job.id, &patch, None, NOW).unwrap().delivery, None);
    }
}
