//! Every API in every situation that a run can get into, over a whole gateway:
//! first turn, tools, failover, a full context window, abort at each phase.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::client::{ALL_SCOPES, TestClient};
use crate::support::fake_provider::FakeProvider;
use crate::support::gateway::TestGateway;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a model that hangs is given, and the one after it as well.
const HANG_MS: u64 = 30_000;

/// Name of the API and what follows the server's address in its base URL.
const APIS: [(&str, &str); 5] = [
    ("openai-completions", "/v1"),
    ("openai-responses", "/v1"),
    ("anthropic-messages", ""),
    ("google-generative-ai", "/v1beta"),
    ("ollama", ""),
];

#[derive(Debug, Clone, Copy)]
enum Situation {
    FirstTurn,
    Tool,
    ParallelTools,
    /// With the reason that is told.
    Failover(&'static str),
    Overflow,
    Abort(Phase),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    BeforeFirstByte,
    MidText,
    DuringTool,
    /// After a tool, before the model's next word.
    Between,
}

/// The name is the agent's; the models that are part of it say how they fail.
const SITUATIONS: [(&str, Situation); 16] = [
    ("first-turn", Situation::FirstTurn),
    ("tool", Situation::Tool),
    ("parallel-tools", Situation::ParallelTools),
    ("fail401", Situation::Failover("auth")),
    ("fail402", Situation::Failover("billing")),
    ("fail429", Situation::Failover("rate_limit")),
    ("fail500", Situation::Failover("timeout")),
    ("fail503", Situation::Failover("overloaded")),
    ("hang", Situation::Failover("timeout")),
    ("midstall", Situation::Failover("timeout")),
    ("midcut", Situation::Failover("timeout")),
    ("ctxthen", Situation::Overflow),
    ("abort-before-hang", Situation::Abort(Phase::BeforeFirstByte)),
    ("abort-mid-text", Situation::Abort(Phase::MidText)),
    ("abort-during-tool", Situation::Abort(Phase::DuringTool)),
    ("abort-between", Situation::Abort(Phase::Between)),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_holds_in_every_situation() {
    let mut beds = Vec::new();
    for (api, base) in APIS {
        beds.push(Box::pin(Bed::start(api, base)).await);
    }
    // All at once: while some wait for a model that hangs, the others go on.
    let cases = beds.iter().flat_map(|bed| SITUATIONS.iter().map(move |it| Case::run(bed, *it)));
    join_all(cases).await;
    for bed in &beds {
        until("no answer is left open", || bed.provider.open_streams() == 0).await;
    }
    println!("scripted provider: {} APIs x {} situations hold", APIS.len(), SITUATIONS.len());
    for (name, _) in SITUATIONS {
        println!("  {name}: {}", APIS.map(|(api, _)| api).join(", "));
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// A model server that speaks one API, and a gateway with an agent per
/// situation.
struct Bed {
    api: &'static str,
    provider: FakeProvider,
    gateway: TestGateway,
}

impl Bed {
    async fn start(api: &'static str, base: &str) -> Self {
        let provider = FakeProvider::start().await;
        let model =
            |id: String| json!({"id": id, "name": id, "contextWindow": 32_000, "maxTokens": 4096});
        let models: Vec<Value> = SITUATIONS
            .iter()
            .flat_map(|(name, _)| [model((*name).into()), model(backup(name))])
            .collect();
        let agents: Vec<Value> = SITUATIONS
            .iter()
            .map(|(name, _)| {
                json!({"id": name, "model": {"primary": format!("scripted/{name}"),
                    "fallbacks": [format!("scripted/{}", backup(name))]}})
            })
            .collect();
        let config = json!({
            "models": {"providers": {"scripted": {"baseUrl": format!("{}{base}", provider.url()),
                "apiKey": "k", "api": api, "models": models}}},
            "agents": {"defaults": {"skipBootstrap": true, "maxConcurrent": SITUATIONS.len()},
                "list": agents}});
        Self { api, provider, gateway: TestGateway::start_with(config).await }
    }

    /// The bodies of the requests to one model, in order.
    fn asked(&self, model: &str) -> Vec<Value> {
        let requests = self.provider.requests().into_iter();
        let wanted = requests.filter(|request| match request.body["model"].as_str() {
            Some(name) => name == model,
            None => request.path.contains(&format!("/{model}:")),
        });
        wanted.map(|request| request.body).collect()
    }

    /// Ids of the tool calls and of the results in a request, or names where
    /// the API has no ids.
    fn calls_and_results(&self, body: &Value) -> (Vec<String>, Vec<String>) {
        let (calls, results): (&[&str], &[&str]) = match self.api {
            "openai-completions" => {
                (&["messages", "tool_calls", "id"], &["messages", "tool_call_id"])
            }
            "openai-responses" => (&["input", "function_call"], &["input", "function_call_output"]),
            "anthropic-messages" => {
                (&["messages", "content", "tool_use"], &["messages", "content", "tool_result"])
            }
            "google-generative-ai" => (
                &["contents", "parts", "functionCall", "name"],
                &["contents", "parts", "functionResponse", "name"],
            ),
            _ => (&["messages", "tool_calls", "function", "name"], &["messages", "tool_name"]),
        };
        (at(body, calls), at(body, results))
    }
}

fn hangs(name: &str) -> bool {
    matches!(name, "hang" | "midstall")
}

/// The model that an agent falls back on; its name says nothing of failures.
fn backup(name: &str) -> String {
    let at = SITUATIONS.iter().position(|(known, _)| *known == name);
    format!("other-{}", at.unwrap())
}

/// The texts at a path, through lists; the last step may be the type of a
/// block, which stands for its id.
fn at(value: &Value, path: &[&str]) -> Vec<String> {
    if let Value::Array(all) = value {
        return all.iter().flat_map(|one| at(one, path)).collect();
    }
    match path {
        [] => value.as_str().map(str::to_owned).into_iter().collect(),
        [kind] if value["type"] == *kind => {
            let ids = ["call_id", "tool_use_id", "id"];
            let id = ids.iter().find_map(|name| value[*name].as_str());
            id.map(str::to_owned).into_iter().collect()
        }
        [step, rest @ ..] => at(&value[*step], rest),
    }
}

/// One agent of a bed and a client that watches it.
struct Case<'a> {
    bed: &'a Bed,
    name: &'static str,
    client: TestClient,
    turns: u32,
    dir: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
struct End {
    state: String,
    text: String,
    stop_reason: Value,
    /// Payloads of the run's `lifecycle` events.
    phases: Vec<Value>,
}

impl<'a> Case<'a> {
    async fn run(bed: &'a Bed, (name, situation): (&'static str, Situation)) {
        let mut params =
            crate::support::client::connect_params("gateway-client", "backend", &ALL_SCOPES);
        params["caps"] = json!(["tool-events"]);
        let device = crate::support::client::Device::new();
        let client = TestClient::connect(bed.gateway.port, params, Some(&device)).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut case = Self { bed, name, client, turns: 0, dir };
        match situation {
            Situation::FirstTurn => case.first_turn().await,
            Situation::Tool => case.tools(&["alpha"]).await,
            Situation::ParallelTools => case.tools(&["alpha", "beta", "gamma"]).await,
            Situation::Failover(reason) => case.failover(reason).await,
            Situation::Overflow => case.overflow().await,
            Situation::Abort(phase) => case.abort(phase).await,
        }
    }

    fn label(&self) -> String {
        format!("{} / {}", self.bed.api, self.name)
    }

    fn key(&self) -> String {
        format!("agent:{}:main", self.name)
    }

    /// Writes a file that the agent can read; returns its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Sends a message; returns the run's id.
    async fn send(&mut self, message: &str) -> String {
        self.turns += 1;
        let id = format!("{}-{}", self.name, self.turns);
        let mut params =
            json!({"sessionKey": self.key(), "message": message, "idempotencyKey": id});
        if hangs(self.name) {
            params["timeoutMs"] = HANG_MS.into();
        }
        self.client.ask("chat.send", params).await;
        id
    }

    /// Waits for the end of a run, which is told exactly once.
    async fn end(&mut self, id: &str) -> End {
        let label = self.label();
        for _ in 0..100 {
            let wait = json!({"runId": id, "timeoutMs": 3_000});
            if self.client.ask("agent.wait", wait).await["status"] != "timeout" {
                break;
            }
        }
        // What was told before this answer has arrived with it.
        self.client.ask("health", json!({})).await;
        let heard = self.client.events.iter().map(|event| (&event["event"], &event["payload"]));
        let heard = heard.filter(|(_, payload)| payload["runId"] == id);
        let (mut ends, mut phases) = (Vec::new(), Vec::new());
        for (event, payload) in heard {
            if *event == "chat" && payload["state"] != "delta" {
                ends.push(payload);
            } else if *event == "agent" && payload["stream"] == "lifecycle" {
                phases.push(payload["data"].clone());
            }
        }
        assert_eq!(ends.len(), 1, "{label}: one end of {id}: {ends:?}");
        let over =
            phases.iter().filter(|data| matches!(data["phase"].as_str(), Some("end" | "error")));
        assert_eq!(over.count(), 1, "{label}: one end of the run's life: {phases:?}");
        let message = &ends[0]["message"]["content"][0]["text"];
        End {
            state: ends[0]["state"].as_str().unwrap().to_owned(),
            text: message.as_str().unwrap_or_default().to_owned(),
            stop_reason: ends[0]["stopReason"].clone(),
            phases,
        }
    }

    async fn turn(&mut self, message: &str) -> End {
        let id = self.send(message).await;
        let end = self.end(&id).await;
        assert_eq!(end.state, "final", "{}: {end:?}", self.label());
        end
    }

    /// The messages as clients are shown them.
    async fn history(&mut self) -> Vec<Value> {
        let params = json!({"sessionKey": self.key()});
        let history = self.client.ask("chat.history", params).await;
        history["messages"].as_array().unwrap().clone()
    }

    /// Waits for an event that `wanted` likes; keeps all.
    async fn until_event(&mut self, wanted: impl Fn(&Value) -> bool) {
        while !self.client.events.iter().any(&wanted) {
            let frame = self.client.frame().await.unwrap();
            self.client.events.push_back(frame);
        }
    }

    /// The latest request to `model` answers each tool call once.
    fn assert_paired(&self, model: &str, at_least: usize) {
        let bodies = self.bed.asked(model);
        let body = bodies.last().unwrap();
        let (mut calls, mut results) = self.bed.calls_and_results(body);
        calls.sort();
        results.sort();
        assert!(calls.len() >= at_least, "{}: {body}", self.label());
        assert_eq!(calls, results, "{}: {body}", self.label());
    }

    async fn first_turn(&mut self) {
        let end = self.turn("SAY one two three").await;
        assert_eq!(end.text, "one two three", "{}", self.label());
        let history = self.history().await;
        let last = history.last().unwrap();
        assert_eq!(last["content"][0]["text"].as_str().unwrap().trim(), "one two three", "{last}");
        assert!(last["usage"]["output"].as_u64().unwrap() > 0, "{}: {last}", self.label());
    }

    async fn tools(&mut self, texts: &[&str]) {
        let calls: Vec<Value> = texts
            .iter()
            .map(|text| json!(["read", {"path": self.file(&format!("{text}.txt"), text)}]))
            .collect();
        let message = match calls.as_slice() {
            [only] => format!("USE_TOOL read {}", only[1]),
            many => format!("USE_TOOLS {}", json!(many)),
        };
        let end = self.turn(&message).await;
        assert_eq!(end.text, "Tool said ok.", "{}", self.label());
        let bodies = self.bed.asked(self.name);
        assert_eq!(bodies.len(), 2, "{}: all results in one request", self.label());
        for text in texts {
            let last = bodies[1].to_string();
            assert!(last.contains(&format!("\"{text}\"")), "{}: {last}", self.label());
        }
        self.assert_paired(self.name, texts.len());
        // The next turn repeats the calls as they were answered.
        let end = self.turn("SAY and on").await;
        assert_eq!(end.text, "and on", "{}", self.label());
        self.assert_paired(self.name, texts.len());
    }

    async fn failover(&mut self, reason: &str) {
        let label = self.label();
        let end = self.turn("SAY from the other").await;
        assert_eq!(end.text, "from the other", "{label}");
        let told: Vec<&Value> =
            end.phases.iter().filter(|data| data["phase"] == "fallback").collect();
        assert_eq!(told.len(), 1, "{label}: {:?}", end.phases);
        let other = backup(self.name);
        assert_eq!(told[0]["selectedModel"], self.name, "{label}");
        assert_eq!(told[0]["activeModel"], other.as_str(), "{label}");
        assert_eq!(told[0]["attempts"][0]["reason"], reason, "{label}: {}", told[0]);
        let bodies = self.bed.asked(&other);
        assert_eq!(bodies.len(), 1, "{label}");
        let times = bodies[0].to_string().matches("from the other").count();
        assert_eq!(times, 1, "{label}: the message is sent once: {}", bodies[0]);
        let history = self.history().await;
        let asked = history.iter().filter(|message| message["role"] == "user").count();
        assert_eq!(asked, 1, "{label}: {history:?}");
        assert_eq!(history.last().unwrap()["model"], other.as_str(), "{label}");
    }

    async fn overflow(&mut self) {
        let label = self.label();
        self.turn(&format!("SAY noted\n{}", "word ".repeat(8_000))).await;
        let end = self.turn("SAY there is room again").await;
        assert_eq!(end.text, "there is room again", "{label}");
        // First turn, refused, summary, again.
        let bodies = self.bed.asked(self.name);
        assert_eq!(bodies.len(), 4, "{label}");
        assert!(bodies[2].to_string().contains("<conversation>"), "{label}: {}", bodies[2]);
        let sizes: Vec<usize> = bodies.iter().map(|body| body.to_string().len()).collect();
        assert!(sizes[3] + 30_000 < sizes[1], "{label}: {sizes:?}");
        let told = self.client.events.iter().any(|event| {
            event["payload"]["stream"] == "compaction"
                && event["payload"]["data"]["completed"] == true
        });
        assert!(told, "{label}");
    }

    async fn abort(&mut self, phase: Phase) {
        let label = self.label();
        let pid_file = self.dir.path().join("pid");
        let message = match phase {
            Phase::BeforeFirstByte => "SAY nothing".to_owned(),
            Phase::MidText => "HOLD SAY the rest".to_owned(),
            Phase::DuringTool => {
                let command = format!(
                    "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600",
                    pid_file.display()
                );
                format!("USE_TOOL exec {}", json!({"command": command}))
            }
            Phase::Between => {
                let path = self.file("stall.txt", "STALL_RESULT");
                format!("USE_TOOL read {}", json!({"path": path}))
            }
        };
        let id = self.send(&message).await;
        let (bed, name) = (self.bed, self.name);
        match phase {
            Phase::BeforeFirstByte => until(&label, || bed.asked(name).len() == 1).await,
            Phase::MidText => {
                let run = id.clone();
                self.until_event(|event| {
                    event["event"] == "chat"
                        && event["payload"]["runId"] == run.as_str()
                        && event.to_string().contains("held")
                })
                .await;
            }
            Phase::DuringTool => until(&label, || pid_file.exists()).await,
            Phase::Between => until(&label, || bed.asked(name).len() == 2).await,
        }
        let params = json!({"sessionKey": self.key(), "runId": id});
        let answer = self.client.ask("chat.abort", params).await;
        assert_eq!(answer["runIds"], json!([id]), "{label}: {answer}");
        let end = self.end(&id).await;
        assert_eq!((end.state.as_str(), &end.stop_reason), ("aborted", &json!("rpc")), "{label}");
        if phase == Phase::DuringTool {
            let pid = std::fs::read_to_string(&pid_file).unwrap();
            let alive = || {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
                stat.is_ok_and(|stat| !stat.contains(") Z "))
            };
            until("the tool's process is gone", || !alive()).await;
        }
        let history = json!(self.history().await).to_string();
        let partial = usize::from(phase == Phase::MidText);
        assert_eq!(history.matches("\"held").count(), partial, "{label}: {history}");

        // The conversation goes on, with every tool call answered.
        let asked = self.bed.asked(self.name).len();
        let patch = json!({"key": self.key(), "model": format!("scripted/{}", backup(self.name))});
        self.client.ask("sessions.patch", patch).await;
        let end = self.turn("SAY once more").await;
        assert_eq!(end.text, "once more", "{label}");
        let with_tool = matches!(phase, Phase::DuringTool | Phase::Between);
        self.assert_paired(&backup(self.name), usize::from(with_tool));
        assert_eq!(self.bed.asked(self.name).len(), asked, "{label}: nothing more was asked");
    }
}
