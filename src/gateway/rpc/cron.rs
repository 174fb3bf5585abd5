//! `cron.*`: jobs that run by the clock.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::base::hex;
use crate::gateway::cron::job::Job;
use crate::gateway::cron::{Cron, CronError, runner, schedule, store};
use crate::gateway::rpc::params::{blocking, flag, text, texts, uint};
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "cron.list", run: |call| Box::pin(list(call)) },
    Method { name: "cron.status", run: |call| Box::pin(status(call)) },
    Method { name: "cron.add", run: |call| Box::pin(add(call)) },
    Method { name: "cron.update", run: |call| Box::pin(update(call)) },
    Method { name: "cron.remove", run: |call| Box::pin(remove(call)) },
    Method { name: "cron.run", run: |call| Box::pin(run(call)) },
    Method { name: "cron.runs", run: |call| Box::pin(runs(call)) },
];

const PAGE: usize = 50;
const LONGEST_PAGE: usize = 200;

impl From<CronError> for ErrorShape {
    fn from(err: CronError) -> Self {
        Self::unavailable(err.to_string())
    }
}

async fn list(call: Call) -> Reply {
    let (state, params) = (Arc::clone(&call.state), call.params.clone());
    let jobs = blocking(move || Ok(selected(state.services.cron.jobs()?, &params))).await?;
    let default = if jobs.is_empty() { PAGE } else { jobs.len() };
    let rows: Vec<Value> = jobs.iter().map(|job| json!(job)).collect();
    if call.caller.protocol < 4 {
        return Ok(page("jobs", rows, &call.params, default));
    }
    let revision = revision(&rows);
    let mut answer = page("jobs", jobs.iter().map(view).collect(), &call.params, default);
    answer["snapshotRevision"] = revision.into();
    let mut previews = json!({});
    for row in answer["jobs"].as_array_mut().into_iter().flatten() {
        if let Some(job) = jobs.iter().find(|job| row["id"] == job.id.as_str()) {
            row["effectiveAgentId"] = runner::agent_of(&call.state, job).into();
            previews[job.id.as_str()] = preview(&call, job).await;
        }
    }
    answer["deliveryPreviews"] = previews;
    Ok(answer)
}

/// A job as the caller's protocol shows it.
fn shown(call: &Call, job: &Job) -> Value {
    if call.caller.protocol >= 4 { view(job) } else { json!(job) }
}

/// A job of protocol 4: what became of it stands beside what it is, and a mark by
/// which a change of what it is can be told.
fn view(job: &Job) -> Value {
    let mut view = json!(job);
    view["configRevision"] = job.revision().into();
    for (name, of) in [
        ("nextRunAtMs", "nextRunAtMs"),
        ("lastRunAtMs", "lastRunAtMs"),
        ("lastRunStatus", "lastRunStatus"),
        ("lastRunError", "lastError"),
        ("lastDelivered", "lastDelivered"),
        ("lastDeliveryStatus", "lastDeliveryStatus"),
    ] {
        if let Some(value) = view["state"].get(of).cloned() {
            view[name] = value;
        }
    }
    view
}

/// Where a job's reply would go now.
async fn preview(call: &Call, job: &Job) -> Value {
    let delivery = job.delivery.as_ref().unwrap_or(&Value::Null);
    let part = |key: &str| text(delivery, key);
    let (label, detail) = match part("mode") {
        Some("announce") => match runner::place(&call.state, job).await {
            Ok(place) => {
                let named = part("channel").is_some_and(|channel| channel != "last");
                let detail = if named { "explicit" } else { "resolved from last, main session" };
                (format!("announce -> {}:{}", place.channel, place.to), detail.to_owned())
            }
            Err(why) => {
                let channel = part("channel").unwrap_or("last");
                let to = part("to").map(|to| format!(":{to}")).unwrap_or_default();
                (format!("announce -> {channel}{to}"), why)
            }
        },
        Some("webhook") => {
            let to = part("to").unwrap_or_default();
            (format!("webhook:{to}").trim_end_matches(':').to_owned(), "webhook".to_owned())
        }
        _ => ("not requested".to_owned(), "not requested".to_owned()),
    };
    json!({ "label": label, "detail": detail })
}

/// By which clients of protocol 4 notice that the jobs changed between two pages.
fn revision(rows: &[Value]) -> String {
    hex::encode(&Sha256::digest(json!(rows).to_string()))
}

/// One job, for clients of protocol 4.
pub(super) async fn get(call: Call) -> Reply {
    blocking(move || {
        let id = id_of(&call)?;
        let job = cron(&call).jobs()?.into_iter().find(|job| job.id == id);
        job.map(|job| view(&job)).ok_or_else(|| refusal(&call, CronError::Unknown(id)))
    })
    .await
}

/// The jobs a caller asks for, in the order asked for.
fn selected(mut jobs: Vec<Job>, params: &Value) -> Vec<Job> {
    let all = flag(params, "includeDisabled") == Some(true);
    let wanted = text(params, "enabled").unwrap_or(if all { "all" } else { "enabled" });
    jobs.retain(|job| match wanted {
        "enabled" => job.enabled,
        "disabled" => !job.enabled,
        _ => true,
    });
    if let Some(query) = text(params, "query").map(str::to_lowercase) {
        jobs.retain(|job| {
            let agent = job.agent_id.as_deref();
            let texts = [Some(job.name.as_str()), job.description.as_deref(), agent, Some(&job.id)];
            texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&query))
        });
    }
    match text(params, "sortBy") {
        Some("name") => jobs.sort_by_key(|job| job.name.to_lowercase()),
        Some("updatedAtMs") => jobs.sort_by_key(|job| job.updated_at_ms),
        // Jobs without a next run come last.
        _ => jobs.sort_by_key(|job| {
            (job.state.next_run_at_ms.unwrap_or(u64::MAX), job.name.to_lowercase())
        }),
    }
    if text(params, "sortDir") == Some("desc") {
        jobs.reverse();
    }
    jobs
}

/// One page of a list, with how to get the next one.
fn page(name: &str, items: Vec<Value>, params: &Value, default: usize) -> Value {
    let number = |key: &str| uint(params, key).and_then(|number| usize::try_from(number).ok());
    let total = items.len();
    let limit = number("limit").unwrap_or(default).clamp(1, LONGEST_PAGE);
    let offset = number("offset").unwrap_or(0).min(total);
    let items: Vec<Value> = items.into_iter().skip(offset).take(limit).collect();
    let end = offset + items.len();
    let more = end < total;
    json!({
        name: items,
        "total": total,
        "offset": offset,
        "limit": limit,
        "hasMore": more,
        "nextOffset": more.then_some(end),
    })
}

async fn status(call: Call) -> Reply {
    blocking(move || {
        let enabled = runner::is_enabled(&call.state);
        let cron = cron(&call);
        let next = if enabled { cron.next_wake()? } else { None };
        Ok(json!({
            "enabled": enabled,
            "storePath": cron.path(),
            "jobs": cron.jobs()?.len(),
            "nextWakeAtMs": next,
        }))
    })
    .await
}

async fn add(call: Call) -> Reply {
    in_time(&call, &call.params)?;
    let (call, job) = blocking(move || {
        let job = cron(&call).add(&call.params, call.now())?;
        announce(&call, &job, "added");
        Ok((call, job))
    })
    .await?;
    let mut added = shown(&call, &job);
    if call.caller.protocol >= 4 {
        added["deliveryPreview"] = preview(&call, &job).await;
    }
    Ok(added)
}

async fn update(call: Call) -> Reply {
    in_time(&call, &call.params["patch"])?;
    blocking(move || {
        let id = id_of(&call)?;
        let expected = text(&call.params, "expectedConfigRevision");
        let job = cron(&call).update(&id, &call.params["patch"], expected, call.now());
        let job = job.map_err(|err| refusal(&call, err))?;
        announce(&call, &job, "updated");
        Ok(shown(&call, &job))
    })
    .await
}

fn announce(call: &Call, job: &Job, action: &str) {
    let next = job.state.next_run_at_ms.map(|at| ("nextRunAtMs", Value::from(at)));
    runner::broadcast(&call.state, &job.id, action, next);
}

/// Refuses a single point in time at which nothing can run.
fn in_time(call: &Call, job: &Value) -> Result<(), ErrorShape> {
    let schedule = &job["schedule"];
    if schedule["kind"] != "at" {
        return Ok(());
    }
    let at = schedule["at"].as_str().unwrap_or_default();
    schedule::check_single(at, call.now()).map_err(ErrorShape::invalid)
}

/// An error as the caller's protocol tells it: in protocol 4 an unknown job has
/// a code of its own.
fn refusal(call: &Call, err: CronError) -> ErrorShape {
    match err {
        CronError::Unknown(id) if call.caller.protocol >= 4 => {
            ErrorShape::invalid(format!("Automation not found: {id}"))
                .with_details(json!({ "code": "CRON_JOB_NOT_FOUND", "jobId": id }))
        }
        CronError::Changed { ref expected, ref actual } => ErrorShape::invalid(err.to_string())
            .with_details(json!({
                "code": "CRON_JOB_CHANGED", "expectedConfigRevision": expected,
                "actualConfigRevision": actual,
            })),
        other => other.into(),
    }
}

async fn remove(call: Call) -> Reply {
    blocking(move || {
        let id = id_of(&call)?;
        let removed = cron(&call).remove(&id)?;
        if !removed && call.caller.protocol >= 4 {
            return Err(refusal(&call, CronError::Unknown(id)));
        }
        if removed {
            runner::broadcast(&call.state, &id, "removed", None::<(String, Value)>);
        }
        Ok(json!({ "ok": true, "removed": removed }))
    })
    .await
}

async fn run(call: Call) -> Reply {
    let id = id_of(&call)?;
    let force = text(&call.params, "mode") != Some("due");
    let state = Arc::clone(&call.state);
    let claimed = blocking(move || {
        let now = state.clock.now_ms();
        Ok(state.services.cron.claim(&id, force, now))
    })
    .await?
    .map_err(|err| refusal(&call, err))?;
    match claimed {
        Ok((job, run_id)) => {
            let (state, logged) = (Arc::clone(&call.state), Some(run_id.clone()));
            call.state.lifecycle.spawn("cron job", move |_stop| async move {
                runner::run_job(&state, job, logged).await;
            });
            let mut started = json!({ "ok": true, "enqueued": true, "runId": run_id });
            if call.caller.protocol >= 4 {
                started["processInstanceId"] = call.state.boot_id.as_str().into();
            }
            Ok(started)
        }
        Err(reason) => Ok(json!({ "ok": true, "ran": false, "reason": reason })),
    }
}

async fn runs(call: Call) -> Reply {
    blocking(move || {
        let cron = cron(&call);
        let id = text(&call.params, "id").or_else(|| text(&call.params, "jobId"));
        let all = text(&call.params, "scope").unwrap_or(if id.is_some() { "job" } else { "all" });
        let jobs = cron.jobs()?;
        let newer = call.caller.protocol >= 4;
        let mut entries = Vec::new();
        let ids = match (all, id) {
            ("job", None) => {
                return Err(ErrorShape::invalid("invalid cron.runs params: missing id"));
            }
            ("job", Some(id)) => vec![id.to_owned()],
            _ => store::logged_jobs(&cron.path()),
        };
        for id in ids {
            let name = jobs.iter().find(|job| job.id == id).map(|job| job.name.clone());
            for mut entry in store::read_runs(&cron.path(), &id) {
                if let Some(name) = name.as_ref().filter(|_| all == "all" || newer) {
                    entry["jobName"] = name.clone().into();
                }
                if newer {
                    let done = if entry["status"] == "ok" { "succeeded" } else { "failed" };
                    entry["completionStatus"] = done.into();
                } else if let Some(fields) = entry.as_object_mut() {
                    fields.shift_remove("runId");
                }
                entries.push(entry);
            }
        }
        Ok(page("entries", matching(entries, &call.params), &call.params, PAGE))
    })
    .await
}

/// The runs a caller asks for, newest first unless told otherwise.
fn matching(mut entries: Vec<Value>, params: &Value) -> Vec<Value> {
    for (list, one, field) in
        [("statuses", "status", "status"), ("deliveryStatuses", "deliveryStatus", "deliveryStatus")]
    {
        let wanted = texts(params, list).or_else(|| {
            text(params, one).filter(|one| *one != "all").map(|one| vec![one.to_owned()])
        });
        if let Some(wanted) = wanted {
            entries.retain(|entry| {
                entry[field].as_str().is_some_and(|value| wanted.iter().any(|one| one == value))
            });
        }
    }
    if let Some(query) = text(params, "query").map(str::to_lowercase) {
        entries.retain(|entry| {
            ["summary", "error", "jobName", "jobId"].iter().any(|key| {
                entry[*key].as_str().is_some_and(|text| text.to_lowercase().contains(&query))
            })
        });
    }
    entries.sort_by_key(|entry| entry["ts"].as_u64().unwrap_or(0));
    if text(params, "sortDir") != Some("asc") {
        entries.reverse();
    }
    entries
}

fn cron(call: &Call) -> &Cron {
    &call.state.services.cron
}

fn id_of(call: &Call) -> Result<String, ErrorShape> {
    let id = text(&call.params, "id").or_else(|| text(&call.params, "jobId"));
    id.map(str::to_owned)
        .ok_or_else(|| ErrorShape::invalid(format!("invalid {} params: missing id", call.method)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_paged_as_recorded() {
        let expected = json!({"jobs": [], "total": 0, "offset": 0, "limit": 50,
            "hasMore": false, "nextOffset": null});
        assert_eq!(page("jobs", Vec::new(), &json!({}), PAGE), expected);
        let items: Vec<Value> = (0..5).map(Value::from).collect();
        let second = page("jobs", items, &json!({"limit": 2, "offset": 2}), PAGE);
        assert_eq!(second["jobs"], json!([2, 3]));
        assert_eq!((&second["hasMore"], &second["nextOffset"]), (&json!(true), &json!(4)));
    }

    #[test]
    fn runs_are_filtered_and_newest_first() {
        let entries = vec![
            json!({"ts": 1, "status": "ok", "summary": "Alpha"}),
            json!({"ts": 2, "status": "error", "error": "beta"}),
            json!({"ts": 3, "status": "ok"}),
        ];
        let ids = |params: Value| -> Vec<u64> {
            matching(entries.clone(), &params).iter().map(|e| e["ts"].as_u64().unwrap()).collect()
        };
        assert_eq!(ids(json!({"status": "all"})), [3, 2, 1]);
        assert_eq!(ids(json!({"statuses": ["ok"], "sortDir": "asc"})), [1, 3]);
        assert_eq!(ids(json!({"query": "BETA"})), [2]);
    }
}
