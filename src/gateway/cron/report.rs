//! Who is told about a run that ended, besides clients: webhooks, and people
//! where a job fails. Deciding is pure.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::id::SessionKey;
use crate::gateway::State;
use crate::gateway::cron::job::Job;
use crate::gateway::routing::outbound;

/// How long a webhook may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures in a row after which someone is told, and how long not again.
const ALERT_AFTER: u64 = 2;
const ALERT_PAUSE_MS: u64 = 60 * 60 * 1000;

/// Something to be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    Post { url: String, body: Value },
    Say { channel: Option<String>, to: Option<String>, account: Option<String>, text: String },
}

/// When failures of a job are told: after how many in a row, and how long it
/// is quiet then. `None`: not at all.
pub fn alert_rule(cron: &Map<String, Value>, job: &Job) -> Option<(u64, u64)> {
    let general = cron.get("failureAlert").unwrap_or(&Value::Null);
    let own = job.failure_alert.as_ref().unwrap_or(&Value::Null);
    let wanted = own.is_object() || (*own != false && general["enabled"] == true);
    let best_effort = job.delivery.as_ref().is_some_and(|it| it["bestEffort"] == true);
    let number = |key: &str| own[key].as_u64().or_else(|| general[key].as_u64());
    (wanted && !best_effort).then(|| {
        let after = number("after").filter(|after| *after > 0).unwrap_or(ALERT_AFTER);
        (after, number("cooldownMs").unwrap_or(ALERT_PAUSE_MS))
    })
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value[key].as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// What is told about the run of `event`; `alert` says how often in a row the
/// job has failed, if someone is to know.
pub fn notices(
    cron: &Map<String, Value>,
    job: &Job,
    event: &Value,
    alert: Option<u64>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let delivery = job.delivery.as_ref().unwrap_or(&Value::Null);
    let webhook = if delivery["mode"] == "webhook" {
        text(delivery, "to")
    } else {
        // As jobs of early versions say it.
        let asked = job.rest.get("notify") == Some(&Value::Bool(true));
        cron.get("webhook").and_then(Value::as_str).filter(|_| asked)
    };
    if let Some(url) = webhook.filter(|_| event["summary"].is_string()) {
        notices.push(Notice::Post { url: url.to_owned(), body: event.clone() });
    }
    let error = text(event, "error").unwrap_or("unknown error");
    if let Some(count) = alert {
        let own = job.failure_alert.as_ref().unwrap_or(&Value::Null);
        let general = cron.get("failureAlert").unwrap_or(&Value::Null);
        let short: String = error.chars().take(200).collect();
        let message =
            format!("Cron job \"{}\" failed {count} times\nLast error: {short}", job.name);
        let mode = text(own, "mode").or_else(|| text(general, "mode"));
        notices.extend(addressed(
            mode,
            own,
            delivery,
            general,
            message,
            &json!({"jobId": job.id, "jobName": job.name}),
        ));
    }
    let general = cron.get("failureDestination").unwrap_or(&Value::Null);
    let own = &delivery["failureDestination"];
    if event["status"] == "error"
        && delivery["bestEffort"] != true
        && (own.is_object() || general.is_object())
    {
        let mode = text(own, "mode").or_else(|| text(general, "mode"));
        // A general address is no good for another way than its own.
        let same = mode.unwrap_or("announce") == text(general, "mode").unwrap_or("announce");
        let general = if same { general } else { &Value::Null };
        let message = format!("Cron job \"{}\" failed: {error}", job.name);
        let mut body = json!({"jobId": job.id, "jobName": job.name});
        for key in ["status", "error", "runAtMs", "durationMs", "nextRunAtMs"] {
            if !event[key].is_null() {
                body[key] = event[key].clone();
            }
        }
        let notice = addressed(mode, own, general, &Value::Null, message, &body);
        notices.extend(notice.filter(|notice| !is_delivery(notice, delivery)));
    }
    notices
}

/// Whether a notice goes where the job's own results go, which tell it already.
fn is_delivery(notice: &Notice, delivery: &Value) -> bool {
    match notice {
        Notice::Post { url, .. } => delivery["mode"] == "webhook" && delivery["to"] == url.as_str(),
        Notice::Say { channel, to, account, .. } => {
            delivery["mode"] == "announce"
                && [("channel", channel), ("to", to), ("accountId", account)]
                    .iter()
                    .all(|(key, value)| text(delivery, key) == value.as_deref())
        }
    }
}

/// A notice with the first address that is named.
fn addressed(
    mode: Option<&str>,
    own: &Value,
    second: &Value,
    third: &Value,
    message: String,
    body: &Value,
) -> Option<Notice> {
    let find = |key: &str| {
        text(own, key).or_else(|| text(second, key)).or_else(|| text(third, key)).map(str::to_owned)
    };
    if mode == Some("webhook") {
        let mut body = body.clone();
        body["message"] = message.into();
        // What a channel calls its address is none of the web's.
        let url = find("to").filter(|to| to.starts_with("http://") || to.starts_with("https://"));
        return Some(Notice::Post { url: url?, body });
    }
    let (channel, account) = (find("channel"), find("accountId"));
    Some(Notice::Say { channel, to: find("to"), account, text: message })
}

/// Tells it, without making the job wait.
pub fn tell(state: &Arc<State>, agent: &str, job: &Job, notices: Vec<Notice>) {
    for notice in notices {
        let (state, agent, id) = (Arc::clone(state), agent.to_owned(), job.id.clone());
        let lifecycle = state.lifecycle.clone();
        lifecycle.spawn("cron notice", move |_stop| async move {
            if let Err(err) = told(&state, &agent, &notice).await {
                let what = match notice {
                    Notice::Post { .. } => "webhook",
                    Notice::Say { .. } => "failure notice",
                };
                tracing::warn!(job = id, %err, "cron: {what} not delivered");
            }
        });
    }
}

async fn told(state: &State, agent: &str, notice: &Notice) -> Result<(), String> {
    match notice {
        Notice::Post { url, body } => {
            let snapshot = state.config.load();
            let token = snapshot.config.cron.get("webhookToken").and_then(Value::as_str);
            let token = token.map(str::trim).filter(|token| !token.is_empty());
            let posting = state.services.web.post(url, body, token);
            match tokio::time::timeout(PATIENCE, posting).await {
                Ok(answered) => answered,
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            }
        }
        Notice::Say { channel, to, account, text } => {
            let main = SessionKey::new(format!("agent:{agent}:main"));
            let main = state.agents.sessions().canonical(main.as_str());
            let (channel, to) = (channel.as_deref(), to.as_deref());
            let place = outbound::target(state, &main, channel, account.as_deref(), to).await?;
            outbound::deliver(state, place, text).await.map(|_| ())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(delivery: Value, alert: Value) -> Job {
        let alert = Some(alert).filter(|alert| !alert.is_null());
        Job {
            id: "j".into(),
            name: "n".into(),
            delivery: Some(delivery),
            failure_alert: alert,
            ..Job::default()
        }
    }

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_webhook_gets_the_event_of_a_run_that_has_something_to_say() {
        let job = job(json!({"mode": "webhook", "to": "https://x.example/h"}), Value::Null);
        let event = json!({"action": "finished", "jobId": "j", "status": "ok", "summary": "done"});
        let told = notices(&Map::new(), &job, &event, None);
        assert_eq!(told, [Notice::Post { url: "https://x.example/h".into(), body: event }]);
        assert_eq!(notices(&Map::new(), &job, &json!({"status": "ok"}), None), []);
    }

    #[test]
    fn failures_are_told_where_the_job_or_the_configuration_says() {
        let event = json!({"status": "error", "error": "no", "runAtMs": 1});
        let cron =
            map(&json!({"failureDestination": {"mode": "webhook", "to": "https://g.example"}}));
        let general = notices(&cron, &job(json!({"mode": "none"}), Value::Null), &event, None);
        let Notice::Post { url, body } = &general[0] else { panic!("{general:?}") };
        assert_eq!((url.as_str(), &body["status"]), ("https://g.example", &json!("error")));
        let own = json!({"mode": "none", "failureDestination": {"channel": "irc", "to": "#ops", "mode": "announce"}});
        let said = notices(&cron, &job(own, Value::Null), &event, None);
        let Notice::Say { channel, to, text, .. } = &said[0] else { panic!("{said:?}") };
        assert_eq!((channel.as_deref(), to.as_deref()), (Some("irc"), Some("#ops")));
        assert_eq!(text, "Cron job \"n\" failed: no");
        let quiet = job(json!({"mode": "none", "bestEffort": true}), Value::Null);
        assert_eq!(notices(&cron, &quiet, &event, None), []);
        let same = job(json!({"mode": "webhook", "to": "https://g.example"}), Value::Null);
        assert_eq!(notices(&cron, &same, &event, None), []);
    }

    #[test]
    fn alerts_have_their_number_and_pause() {
        let cron = map(&json!({"failureAlert": {"enabled": true, "after": 3}}));
        let plain = job(json!({"mode": "none"}), Value::Null);
        assert_eq!(alert_rule(&cron, &plain), Some((3, ALERT_PAUSE_MS)));
        assert_eq!(alert_rule(&Map::new(), &plain), None);
        let off = job(json!({"mode": "none"}), json!(false));
        assert_eq!(alert_rule(&cron, &off), None);
        let own = job(
            json!({"mode": "announce", "channel": "irc", "to": "#a"}),
            json!({"after": 1, "cooldownMs": 5}),
        );
        assert_eq!(alert_rule(&Map::new(), &own), Some((1, 5)));
        let event = json!({"status": "error", "error": "no"});
        let said = notices(&Map::new(), &own, &event, Some(4));
        let Notice::Say { channel, text, .. } = &said[0] else { panic!("{said:?}") };
        assert_eq!(channel.as_deref(), Some("irc"));
        assert_eq!(text, "Cron job \"n\" failed 4 times\nLast error: no");
    }
}
