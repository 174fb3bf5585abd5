//! `usage.*` and `sessions.usage*`: tokens and dollars out of the transcripts.
//!
//! Reads every transcript of the window on each call, off the async workers;
//! nothing is kept in memory between calls.

pub mod ledger;
pub mod report;
pub mod totals;
pub mod window;

use std::future::ready;

use serde_json::{Value, json};

use crate::gateway::rpc::params::{blocking, text, uint};
use crate::gateway::rpc::usage::ledger::{Record, Role, Transcript};
use crate::gateway::rpc::usage::totals::number;
use crate::gateway::rpc::usage::window::Window;
use crate::gateway::rpc::{Call, Method, Reply};
use crate::protocol::error::ErrorShape;

pub(crate) const METHODS: &[Method] = &[
    Method { name: "usage.status", run: |call| Box::pin(ready(Ok(status(&call)))) },
    Method { name: "usage.cost", run: |call| Box::pin(cost(call)) },
    Method { name: "sessions.usage", run: |call| Box::pin(sessions(call)) },
    Method { name: "sessions.usage.timeseries", run: |call| Box::pin(timeseries(call)) },
    Method { name: "sessions.usage.logs", run: |call| Box::pin(logs(call)) },
];

const DEFAULT_DAYS: i64 = 30;
const DEFAULT_SESSIONS: usize = 50;
const MAX_POINTS: usize = 200;
const MAX_LOG_CHARS: usize = 2000;

/// Quotas of subscription plans; none is looked up.
fn status(call: &Call) -> Value {
    json!({ "updatedAt": call.now(), "providers": [] })
}

async fn cost(call: Call) -> Reply {
    blocking(move || {
        let window = Window::of(&call.params, call.now(), DEFAULT_DAYS);
        let mut records = Vec::new();
        for transcript in all(&call) {
            // A transcript that vanished meanwhile cost nothing that can be shown.
            records.extend(ledger::read(&transcript.file).unwrap_or_default());
        }
        let mut cost = report::cost(&records, &window, call.now());
        if call.caller.protocol >= 4 {
            report::fill_days(&mut cost, &window);
        }
        Ok(cost)
    })
    .await
}

async fn sessions(call: Call) -> Reply {
    blocking(move || {
        let window = Window::of(&call.params, call.now(), DEFAULT_DAYS);
        let wanted = text(&call.params, "key").map(str::to_lowercase);
        let limit = uint(&call.params, "limit").and_then(|limit| usize::try_from(limit).ok());
        let read: Vec<(Transcript, Vec<Record>)> = all(&call)
            .into_iter()
            .filter(|transcript| !transcript.archived)
            .filter(|transcript| wanted.as_ref().is_none_or(|key| *key == transcript.key))
            .map(|transcript| {
                let records = ledger::read(&transcript.file).unwrap_or_default();
                (transcript, records)
            })
            .collect();
        let limit = limit.unwrap_or(DEFAULT_SESSIONS);
        let mut usage = report::sessions(&read, &window, limit, call.now());
        if call.caller.protocol >= 4 {
            let records = read.iter().flat_map(|(_, records)| records);
            usage["aggregates"]["costDaily"] =
                report::cost(records, &window, call.now())["daily"].take();
            usage["aggregates"]["sessionCount"] =
                usage["sessions"].as_array().map_or(0, Vec::len).into();
            for row in usage["sessions"].as_array_mut().into_iter().flatten() {
                // Each row is one session; what its prompt weighs is not kept.
                row["scope"] = "instance".into();
                row["hasContextWeight"] = false.into();
            }
        }
        Ok(usage)
    })
    .await
}

async fn timeseries(call: Call) -> Reply {
    blocking(move || {
        let (transcript, records) = one(&call)?.ok_or_else(|| no_transcript(&call))?;
        let (mut tokens, mut dollars) = (0, 0.0);
        let points: Vec<Value> = records
            .iter()
            .filter_map(|record| Some((record, record.totals.as_ref()?)))
            .map(|(record, used)| {
                tokens += used.total_tokens;
                dollars += used.total_cost;
                json!({
                    "timestamp": record.at,
                    "input": used.input,
                    "output": used.output,
                    "cacheRead": used.cache_read,
                    "cacheWrite": used.cache_write,
                    "totalTokens": used.total_tokens,
                    "cost": number(used.total_cost),
                    "cumulativeTokens": tokens,
                    "cumulativeCost": number(dollars),
                })
            })
            .collect();
        Ok(json!({ "sessionId": transcript.session_id, "points": thinned(points) }))
    })
    .await
}

/// At most [`MAX_POINTS`] points, evenly spread; the last one stays.
fn thinned(points: Vec<Value>) -> Vec<Value> {
    if points.len() <= MAX_POINTS {
        return points;
    }
    let step = points.len().div_ceil(MAX_POINTS);
    let last = points.len() - 1;
    points
        .into_iter()
        .enumerate()
        .filter(|(index, _)| index % step == step - 1 || *index == last)
        .map(|(_, point)| point)
        .collect()
}

async fn logs(call: Call) -> Reply {
    blocking(move || {
        let limit = uint(&call.params, "limit").unwrap_or(200).clamp(1, 1000);
        let limit = usize::try_from(limit).unwrap_or(200);
        let Some((_, records)) = one(&call)? else { return Ok(json!({ "logs": [] })) };
        let logs: Vec<Value> = records[records.len().saturating_sub(limit)..]
            .iter()
            .map(|record| {
                let mut entry = json!({
                    "timestamp": record.at,
                    "role": match record.role {
                        Role::User => "user",
                        Role::Assistant => "assistant",
                        Role::ToolResult => "toolResult",
                    },
                    "content": record.text.chars().take(MAX_LOG_CHARS).collect::<String>(),
                });
                if let Some(used) = &record.totals {
                    entry["tokens"] = used.total_tokens.into();
                    entry["cost"] = number(used.total_cost);
                }
                entry
            })
            .collect();
        Ok(json!({ "logs": logs }))
    })
    .await
}

fn all(call: &Call) -> Vec<Transcript> {
    ledger::transcripts(&call.state.paths.state.join("agents"))
}

/// The transcript of the session that `key` names.
fn one(call: &Call) -> Result<Option<(Transcript, Vec<Record>)>, ErrorShape> {
    let what = call.method.rsplit('.').next().unwrap_or(call.method);
    let key = text(&call.params, "key")
        .ok_or_else(|| ErrorShape::invalid(format!("key is required for {what}")))?;
    let key = call.state.agents.sessions().canonical(key);
    let mut found = all(call).into_iter().filter(|transcript| !transcript.archived);
    let Some(transcript) = found.find(|transcript| transcript.key == key.as_str()) else {
        return Ok(None);
    };
    let records = ledger::read(&transcript.file)
        .map_err(|err| ErrorShape::unavailable(format!("Error: {err}")))?;
    Ok(Some((transcript, records)))
}

fn no_transcript(call: &Call) -> ErrorShape {
    let key = text(&call.params, "key").unwrap_or_default();
    ErrorShape::invalid(format!("No transcript found for session: {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_series_is_thinned_but_keeps_its_end() {
        let points: Vec<Value> = (0..1001).map(Value::from).collect();
        let kept = thinned(points);
        assert!(kept.len() <= MAX_POINTS);
        assert_eq!(kept.last(), Some(&Value::from(1000)));
    }
}
