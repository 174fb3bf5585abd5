//! Counters for Prometheus: runs, tools, calls, requests, memory.
//!
//! Names and labels are those of the metrics plugin of release 2026.9.6 where
//! the thing is the same; a label whose value is not known here is left out.
//! No label holds a session, a user or a text.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    CounterVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use serde_json::Value;

use crate::agents::{EventSink, RunBody, RunEvent, RunOutcome, RunStatus};
use crate::gateway::State;
use crate::gateway::events::runs::RunEvents;

/// Upper bounds of the buckets, in seconds.
const SECONDS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Most combinations of labels that one metric keeps; a caller can make up
/// model names.
const MOST_SERIES: usize = 512;

/// What the gateway counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    runs: Series<IntCounterVec>,
    run_seconds: Series<HistogramVec>,
    tokens: Series<IntCounterVec>,
    cost: Series<CounterVec>,
    tools: Series<IntCounterVec>,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    call_outcomes: IntCounterVec,
    requests: IntCounterVec,
    build: IntGaugeVec,
    memory: IntGaugeVec,
    queue: IntGaugeVec,
    connections: IntGaugeVec,
}

/// A metric with labels from outside: once it has enough, new combinations
/// count as `other`.
#[derive(Debug)]
struct Series<M> {
    metric: M,
    known: std::sync::Mutex<std::collections::HashSet<Vec<String>>>,
}

impl<M> Series<M> {
    fn new(metric: M) -> Self {
        Self { metric, known: std::sync::Mutex::default() }
    }

    /// The labels to use for `labels`.
    fn labels(&self, labels: &[&str]) -> Vec<String> {
        let labels: Vec<String> = labels.iter().map(|label| plain(label)).collect();
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.contains(&labels) || known.len() < MOST_SERIES {
            known.insert(labels.clone());
            return labels;
        }
        vec!["other".to_owned(); labels.len()]
    }
}

/// A label without anything but the characters of names.
fn plain(label: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
    if label.is_empty() || label.len() > 96 || !label.chars().all(fits) {
        return "unknown".to_owned();
    }
    label.to_owned()
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let run = ["model", "outcome", "provider", "trigger"];
        let counter = |name: &str, help: &str, labels: &[&str]| {
            added(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            added(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let seconds = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            added(&registry, HistogramVec::new(options, labels))
        };
        let cost = Opts::new("openclaw_model_cost_usd_total", "Price of model calls in dollars.");
        Self {
            runs: Series::new(counter("openclaw_run_completed_total", "Runs that ended.", &run)),
            run_seconds: Series::new(seconds(
                "openclaw_run_duration_seconds",
                "Length of runs.",
                &run,
            )),
            tokens: Series::new(counter(
                "openclaw_model_tokens_total",
                "Tokens of model calls.",
                &["agent", "model", "provider", "token_type"],
            )),
            cost: Series::new(added(
                &registry,
                CounterVec::new(cost, &["agent", "model", "provider"]),
            )),
            tools: Series::new(counter(
                "openclaw_tool_execution_total",
                "Tool calls of runs.",
                &["outcome", "tool"],
            )),
            calls: counter(
                "openclaw_gateway_rpc_requests_total",
                "Calls of control-plane methods.",
                &["method"],
            ),
            call_seconds: seconds(
                "openclaw_gateway_rpc_handler_seconds",
                "Length of control-plane calls.",
                &["method"],
            ),
            call_outcomes: counter(
                "openclaw_gateway_rpc_outcomes_total",
                "Ends of control-plane calls.",
                &["outcome", "phase"],
            ),
            requests: counter(
                "openclaw_http_requests_total",
                "Answers to HTTP requests.",
                &["route", "status"],
            ),
            build: gauge(
                "openclaw_gateway_build_info",
                "The process that answers.",
                &["build_id", "process_instance_id"],
            ),
            memory: gauge("openclaw_memory_bytes", "Memory of the process.", &["kind"]),
            queue: gauge("openclaw_session_queue_depth", "Runs by state.", &["state"]),
            connections: gauge(
                "openclaw_gateway_connections",
                "Signed-in sockets of the control plane.",
                &["role"],
            ),
            registry,
        }
    }
}

/// A metric that has been registered. Names and labels are constants of this
/// file, so that only a mistake here can fail, and a test would.
fn added<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect("names and labels of metrics are valid");
    registry.register(Box::new(metric.clone())).expect("no metric has the name of another");
    metric
}

impl Metrics {
    /// A control-plane call has ended.
    pub fn call(&self, method: &'static str, took: Duration, ok: bool) {
        self.calls.with_label_values(&[method]).inc();
        self.call_seconds.with_label_values(&[method]).observe(took.as_secs_f64());
        let outcome = if ok { "completed" } else { "error" };
        self.call_outcomes.with_label_values(&[outcome, "handler"]).inc();
    }

    /// An HTTP request has been answered.
    pub fn request(&self, route: &'static str, status: u16) {
        self.requests.with_label_values(&[route, &status.to_string()]).inc();
    }

    fn run(&self, event: &RunEvent<'_>, outcome: &RunOutcome) {
        let end = match outcome.status {
            RunStatus::Ok => "completed",
            RunStatus::Error => "error",
            RunStatus::Aborted => "aborted",
            RunStatus::TimedOut => "timeout",
        };
        let trigger = trigger(event.session_key.map_or("", |key| key.as_str()));
        let RunOutcome { provider, model, usage, .. } = outcome;
        let labels = self.runs.labels(&[model, end, provider, trigger]);
        self.runs.metric.with_label_values(&labels).inc();
        let labels = self.run_seconds.labels(&[model, end, provider, trigger]);
        let took = Duration::from_millis(outcome.ended_at.saturating_sub(outcome.started_at));
        self.run_seconds.metric.with_label_values(&labels).observe(took.as_secs_f64());
        let tokens = [
            ("input", usage.input),
            ("output", usage.output),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
        ];
        for (kind, count) in tokens.into_iter().filter(|(_, count)| *count > 0) {
            let labels = self.tokens.labels(&[event.agent, model, provider, kind]);
            self.tokens.metric.with_label_values(&labels).inc_by(count);
        }
        if outcome.cost_usd > 0.0 {
            let labels = self.cost.labels(&[event.agent, model, provider]);
            self.cost.metric.with_label_values(&labels).inc_by(outcome.cost_usd);
        }
    }

    fn tool(&self, data: &Value) {
        if data["phase"] != "result" {
            return;
        }
        let outcome = if data["isError"] == true { "error" } else { "completed" };
        let labels = self.tools.labels(&[outcome, data["name"].as_str().unwrap_or_default()]);
        self.tools.metric.with_label_values(&labels).inc();
    }

    /// Everything, in the text format of Prometheus.
    pub fn render(&self, state: &State) -> String {
        let build = [concat!("native-", env!("CARGO_PKG_VERSION")), state.boot_id.as_str()];
        self.build.with_label_values(&build).set(1);
        if let Some(bytes) = resident_bytes() {
            self.memory.with_label_values(&["rss"]).set(bytes);
        }
        let active = state.agents.active();
        let running = active.iter().filter(|run| run.started_at.is_some()).count();
        for (name, count) in [("running", running), ("waiting", active.len() - running)] {
            self.queue.with_label_values(&[name]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let connected = i64::try_from(state.bus.len()).unwrap_or(i64::MAX);
        self.connections.with_label_values(&["any"]).set(connected);
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|err| {
            tracing::warn!(%err, "metrics not rendered");
            String::new()
        })
    }
}

/// What started a run, as far as its session tells.
fn trigger(session: &str) -> &'static str {
    let kinds = [
        (":cron:", "cron"),
        (":hook:", "hook"),
        (":subagent:", "subagent"),
        (":openai", "http"),
        (":openresponses", "http"),
    ];
    kinds.iter().find(|(mark, _)| session.contains(mark)).map_or("message", |(_, name)| name)
}

/// Resident memory, where the system has `/proc`.
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * size)
}

/// Run events on their way to the clients, counted.
#[derive(Debug)]
pub struct Counted {
    pub metrics: Arc<Metrics>,
    pub next: Arc<RunEvents>,
}

impl EventSink for Counted {
    fn on_event(&self, event: RunEvent<'_>) {
        match event.body {
            RunBody::End { outcome }
            | RunBody::Error { outcome }
            | RunBody::Aborted { outcome } => {
                self.metrics.run(&event, outcome);
            }
            RunBody::Tool(data) => self.metrics.tool(data),
            _ => {}
        }
        self.next.on_event(event);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::run::Usage;
    use crate::base::id::SessionKey;

    fn text(metrics: &Metrics) -> String {
        TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap()
    }

    #[test]
    fn a_run_counts_with_its_tokens_and_cost() {
        let metrics = Metrics::default();
        let outcome = RunOutcome {
            provider: "fake".into(),
            model: "m-1".into(),
            usage: Usage { input: 11, output: 7, ..Usage::default() },
            cost_usd: 0.5,
            started_at: 1_000,
            ended_at: 3_000,
            ..RunOutcome::default()
        };
        let key = SessionKey::new("agent:main:cron:j");
        let event = RunEvent {
            run_id: "r",
            session_key: Some(&key),
            agent: "main",
            seq: 1,
            ts: 0,
            body: RunBody::End { outcome: &outcome },
        };
        metrics.run(&event, &outcome);
        metrics.tool(&json!({"phase": "start", "name": "read"}));
        metrics.tool(&json!({"phase": "result", "name": "read", "isError": true}));
        metrics.call("health", Duration::from_millis(2), true);
        metrics.request("/v1/models", 200);
        let text = text(&metrics);
        for line in [
            "openclaw_run_completed_total{model=\"m-1\",outcome=\"completed\",provider=\"fake\",trigger=\"cron\"} 1",
            "openclaw_model_tokens_total{agent=\"main\",model=\"m-1\",provider=\"fake\",token_type=\"input\"} 11",
            "openclaw_model_cost_usd_total{agent=\"main\",model=\"m-1\",provider=\"fake\"} 0.5",
            "openclaw_tool_execution_total{outcome=\"error\",tool=\"read\"} 1",
            "openclaw_gateway_rpc_requests_total{method=\"health\"} 1",
            "openclaw_http_requests_total{route=\"/v1/models\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\nis not in\n{text}");
        }
        assert!(text.contains("openclaw_run_duration_seconds_sum"), "{text}");
    }

    #[test]
    fn labels_from_outside_are_plain_and_not_without_end() {
        assert_eq!(plain("openai/gpt-5.4"), "openai/gpt-5.4");
        for foreign in ["", "a\nb", "a\"b", &"x".repeat(97)] {
            assert_eq!(plain(foreign), "unknown", "{foreign}");
        }
        let series = Series::new(());
        for number in 0..MOST_SERIES {
            series.labels(&[&number.to_string()]);
        }
        assert_eq!(series.labels(&["one-more"]), ["other"]);
        assert_eq!(series.labels(&["7"]), ["7"]);
    }
}
