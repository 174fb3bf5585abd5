//! Whole runs over a scripted model and a temporary home.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::Value;
use serde_json::json;

use crate::agents::AbortTarget;
use crate::agents::Agents;
use crate::agents::AgentsDeps;
use crate::agents::RunStatus;
use crate::agents::choice::ModelSource;
use crate::agents::choice::Ready;
use crate::agents::failover::Chain;
use crate::agents::providers::FailReason;
use crate::agents::providers::ModelCall;
use crate::agents::providers::ModelRef;
use crate::agents::providers::Part;
use crate::agents::providers::Provider;
use crate::agents::providers::ProviderError;
use crate::agents::providers::Stop;
use crate::agents::run::EventSink;
use crate::agents::run::Queueing;
use crate::agents::run::RunBody;
use crate::agents::run::RunEvent;
use crate::agents::run::RunRequest;
use crate::agents::run::Usage;
use crate::agents::sessions::HistoryParams;
use crate::agents::sessions::ListParams;
use crate::agents::sessions::ResetReason;
use crate::base::clock::SystemClock;
use crate::base::id::SessionKey;
use crate::config::Live;
use crate::config::Snapshot;
use crate::lifecycle::Lifecycle;
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// One scripted answer.
#[derive(Debug, Clone)]
enum Script {
    Say(&'static str),
    Call(&'static str, Value),
    Fail(FailReason, u16),
    /// Says something and then hangs until dropped.
    Hang(&'static str),
}

#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<Script>>,
    calls: Mutex<Vec<ModelCall>>,
    window: Option<u64>,
}

impl Provider for Scripted {
    fn stream(
        &self,
        call: ModelCall,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Part, ProviderError>>, ProviderError>> {
        self.calls.lock().unwrap().push(call);
        let script = self.answers.lock().unwrap().pop_front().unwrap_or(Script::Say("done"));
        let usage = Usage { input: 10, output: 2, total_tokens: 12, ..Usage::default() };
        let done = |stop| Ok(Part::Done { stop, usage, response_id: Some("r1".into()) });
        let stream: BoxStream<'static, Result<Part, ProviderError>> = match script {
            Script::Say(text) => {
                let words: Vec<_> =
                    text.split_inclusive(' ').map(|word| Ok(Part::Text(word.into()))).collect();
                futures_util::stream::iter(words.into_iter().chain([done(Stop::Stop)])).boxed()
            }
            Script::Call(name, arguments) => futures_util::stream::iter([
                Ok(Part::ToolCall { id: "call_1".into(), name: name.into(), arguments }),
                done(Stop::ToolUse),
            ])
            .boxed(),
            Script::Fail(reason, status) => {
                let error = ProviderError {
                    reason,
                    status: Some(status),
                    message: "no".into(),
                    retry_after_ms: None,
                };
                return std::future::ready(Err(error)).boxed();
            }
            Script::Hang(text) => futures_util::stream::iter([Ok(Part::Text(text.into()))])
                .chain(futures_util::stream::pending())
                .boxed(),
        };
        std::future::ready(Ok(stream)).boxed()
    }
}

#[derive(Debug)]
struct Source {
    provider: Arc<Scripted>,
    models: Vec<&'static str>,
}

impl ModelSource for Source {
    fn chain<'a>(
        &'a self,
        _: &'a Arc<Snapshot>,
        _: &'a str,
        requested: Option<&'a str>,
        _: Option<&'a [String]>,
    ) -> BoxFuture<'a, Chain> {
        let fallbacks: Vec<String> = self.models[1..].iter().map(|m| (*m).to_owned()).collect();
        let chain = Chain::new(requested.unwrap_or(self.models[0]), &fallbacks, None);
        std::future::ready(chain).boxed()
    }

    fn resolve<'a>(
        &'a self,
        _: &'a Arc<Snapshot>,
        _: &'a str,
        reference: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Ready, ProviderError>> {
        let (provider, id) = reference.split_once('/').unwrap();
        let model = ModelRef {
            provider: provider.into(),
            id: id.into(),
            api: "openai-completions".into(),
            context_window: self.provider.window.unwrap_or(128_000),
            cost: [1.0, 2.0, 0.0, 0.0],
            ..ModelRef::default()
        };
        let provider: Arc<dyn Provider> = Arc::clone(&self.provider) as Arc<dyn Provider>;
        std::future::ready(Ok(Ready { provider, model: Arc::new(model), profile: None })).boxed()
    }

    fn report(&self, _: &Arc<Snapshot>, _: &str, _: &Ready, _: Option<&ProviderError>) {}
}

/// Writes down what it hears, one line per event.
#[derive(Debug, Default)]
struct Ear(Mutex<Vec<String>>);

impl EventSink for Ear {
    fn on_event(&self, event: RunEvent<'_>) {
        let line = match event.body {
            RunBody::Start { .. } => "start".to_owned(),
            RunBody::Assistant { text, .. } => format!("text {text}"),
            RunBody::Thinking { text, .. } => format!("thinking {text}"),
            RunBody::Tool(data) => {
                format!(
                    "tool {} {}",
                    data["phase"].as_str().unwrap(),
                    data["name"].as_str().unwrap()
                )
            }
            RunBody::Other { stream, data } => {
                format!("{stream} {}", data["phase"].as_str().unwrap())
            }
            RunBody::Aside { question, text, .. } => format!("aside {question}: {text}"),
            RunBody::Message { message, .. } => {
                format!("message {}", message["role"].as_str().unwrap())
            }
            RunBody::End { .. } => "end".to_owned(),
            RunBody::Error { outcome } => format!("error {}", outcome.error.clone().unwrap()),
            RunBody::Aborted { outcome } => {
                format!("aborted {} {:?}", outcome.stop_reason.clone().unwrap(), outcome.text)
            }
        };
        self.0.lock().unwrap().push(format!("{} {line}", event.run_id));
    }
}

struct World {
    agents: Agents,
    ear: Arc<Ear>,
    provider: Arc<Scripted>,
    home: tempfile::TempDir,
}

impl World {
    fn new(answers: Vec<Script>) -> Self {
        Self::with(answers, &json!({}), None)
    }

    fn with(answers: Vec<Script>, config: &Value, window: Option<u64>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap()), ("PATH", "/usr/bin:/bin")]
            .into_iter()
            .collect();
        let paths = Paths::resolve(&env);
        let snapshot = crate::config::load::evaluate(config.to_string(), &paths, &env);
        assert!(snapshot.is_valid(), "{:?}", snapshot.issues);
        let ear = Arc::new(Ear::default());
        let provider = Arc::new(Scripted {
            answers: Mutex::new(answers.into()),
            window,
            ..Scripted::default()
        });
        let models = Source { provider: Arc::clone(&provider), models: vec!["fake/a", "fake/b"] };
        let deps = AgentsDeps {
            config: Live::new(snapshot),
            env: Arc::new(env),
            paths,
            lifecycle: Lifecycle::default(),
            clock: Arc::new(SystemClock),
            sink: Arc::clone(&ear) as Arc<dyn EventSink>,
            raw_stream: None,
        };
        Self { agents: Agents::with_models(deps, Arc::new(models)), ear, provider, home }
    }

    async fn run(&self, id: &str, text: &str) -> Arc<crate::agents::RunOutcome> {
        self.agents.submit(request(id, text)).await.unwrap().outcome().await
    }

    fn heard(&self) -> Vec<String> {
        self.ear.0.lock().unwrap().clone()
    }

    /// Waits until an event has been heard.
    async fn hears(&self, line: &str) {
        let heard = async {
            while !self.heard().iter().any(|heard| heard == line) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    }

    fn workspace(&self) -> PathBuf {
        self.home.path().join(".openclaw/workspace")
    }

    async fn history(&self) -> Value {
        let params = HistoryParams { session_key: "main".into(), ..HistoryParams::default() };
        self.agents.sessions().history(params).await.unwrap()
    }
}

fn request(id: &str, text: &str) -> RunRequest {
    RunRequest {
        run_id: id.into(),
        session_key: Some(SessionKey::new("main")),
        message: text.into(),
        owner: true,
        ..RunRequest::default()
    }
}

#[tokio::test]
async fn a_turn_streams_and_is_found_in_history_and_list() {
    let world = World::new(vec![Script::Say("Hello there ")]);
    let outcome = world.run("r", "hi").await;
    assert_eq!((outcome.status, outcome.text.as_str()), (RunStatus::Ok, "Hello there"));
    assert_eq!(outcome.usage.input, 10);
    assert_eq!(
        world.heard(),
        [
            "r start",
            "r message user",
            "r text Hello",
            "r text Hello there",
            "r message assistant",
            "r end"
        ]
    );
    let history = world.history().await;
    assert_eq!(history["messages"][0]["content"][0]["text"], "hi");
    assert_eq!(history["messages"][1]["content"][0]["text"], "Hello there ");
    assert_eq!(history["messages"][1]["__openclaw"]["seq"], 2);
    let list = world.agents.sessions().list(ListParams::default()).await.unwrap();
    let row = &list["sessions"][0];
    assert_eq!((&row["key"], &row["status"]), (&json!("agent:main:main"), &json!("done")));
    assert_eq!(row["totalTokens"], 10);
    assert_eq!(world.agents.drain(Duration::from_secs(1)).await, 0);
    let stored = std::fs::read_to_string(
        world.home.path().join(".openclaw/agents/main/sessions/sessions.json"),
    )
    .unwrap();
    assert!(stored.contains("\"agent:main:main\""));
    assert!(world.agents.submit(request("late", "x")).await.is_err());
}

#[tokio::test]
async fn the_second_turn_sees_the_first() {
    let world = World::new(vec![Script::Say("one"), Script::Say("two")]);
    world.run("a", "first").await;
    world.run("b", "second").await;
    let calls = world.provider.calls.lock().unwrap();
    let texts: Vec<&str> = calls[1]
        .messages
        .iter()
        .map(|message| message["content"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["first", "one", "second"]);
    assert!(calls[0].system.contains("## Runtime"));
    assert!(calls[0].system.contains("# Project Context"));
}

#[tokio::test]
async fn tools_run_and_their_results_go_back() {
    let world = World::new(vec![
        Script::Call("write", json!({"path": "note.txt", "content": "data"})),
        Script::Call("exec", json!({"command": "cat note.txt; exit 3"})),
        Script::Call("nonsense", json!({})),
        Script::Say("finished"),
    ]);
    let outcome = world.run("r", "go").await;
    assert_eq!(outcome.text, "finished");
    assert_eq!(std::fs::read_to_string(world.workspace().join("note.txt")).unwrap(), "data");
    let calls = world.provider.calls.lock().unwrap();
    let results: Vec<(&str, bool)> = calls[3]
        .messages
        .iter()
        .filter(|message| message["role"] == "toolResult")
        .map(|message| {
            (message["content"][0]["text"].as_str().unwrap(), message["isError"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(
        results,
        [
            ("Successfully wrote 4 bytes to note.txt", false),
            ("data\n\n(Command exited with code 3)", false),
            ("Tool nonsense not found", true),
        ]
    );
    assert!(world.heard().contains(&"r tool result exec".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_failing_model_is_retried_and_then_replaced_with_one_terminal_event() {
    let fail = Script::Fail(FailReason::RateLimit, 429);
    let world = World::new(vec![fail.clone(), fail.clone(), fail.clone(), fail, Script::Say("ok")]);
    let outcome = world.run("r", "hi").await;
    assert_eq!((outcome.text.as_str(), outcome.model.as_str()), ("ok", "b"));
    let heard = world.heard();
    let terminal: Vec<&String> =
        heard.iter().filter(|line| line.ends_with(" end") || line.contains(" error")).collect();
    assert_eq!(terminal, ["r end"]);
    assert!(heard.contains(&"r lifecycle fallback".to_owned()));
    assert_eq!(heard.iter().filter(|line| *line == "r message user").count(), 1);
    assert_eq!(world.provider.calls.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn an_error_without_a_way_out_is_told_once_and_kept() {
    let fail = Script::Fail(FailReason::Auth, 401);
    let world = World::new(vec![fail.clone(), fail]);
    let outcome = world.run("r", "hi").await;
    assert_eq!(outcome.status, RunStatus::Error);
    assert_eq!(outcome.error.as_deref(), Some("401 no"));
    assert_eq!(world.heard().last().unwrap(), "r error 401 no");
    let history = world.history().await;
    assert_eq!(history["messages"][1]["stopReason"], "error");
    assert_eq!(history["messages"][1]["errorMessage"], "401 no");
}

#[tokio::test]
async fn an_abort_keeps_the_partial_reply_once() {
    let world = World::new(vec![Script::Hang("one two")]);
    let handle = world.agents.submit(request("r", "slow")).await.unwrap();
    world.hears("r text one two").await;
    let key = SessionKey::new("agent:main:main");
    assert_eq!(world.agents.abort(&AbortTarget::Session(key)), ["r"]);
    let outcome = handle.outcome().await;
    assert_eq!((outcome.status, outcome.text.as_str()), (RunStatus::Aborted, "one two"));
    assert_eq!(world.heard().last().unwrap(), "r aborted rpc \"one two\"");
    let history = world.history().await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 2);
    assert_eq!(history["messages"][1]["stopReason"], "aborted");
}

#[tokio::test]
async fn an_abort_ends_a_running_tool() {
    let world =
        World::new(vec![Script::Call("exec", json!({"command": "sleep 60", "yieldMs": 60000}))]);
    let handle = world.agents.submit(request("r", "slow")).await.unwrap();
    world.hears("r tool start exec").await;
    world.agents.abort(&AbortTarget::Run("r".into()));
    let outcome = tokio::time::timeout(Duration::from_secs(5), handle.outcome()).await.unwrap();
    assert_eq!(outcome.status, RunStatus::Aborted);
}

#[tokio::test]
async fn a_model_that_hangs_past_its_time_gives_way_to_the_next() {
    let world = World::new(vec![Script::Hang("…"), Script::Say("ok")]);
    let timeout = Some(Duration::from_millis(50));
    let handle = world.agents.submit(RunRequest { timeout, ..request("r", "hi") }).await.unwrap();
    let outcome = handle.outcome().await;
    assert_eq!((outcome.status, outcome.model.as_str()), (RunStatus::Ok, "b"));
}

#[tokio::test]
async fn of_models_that_hang_in_mid_answer_only_the_last_is_quoted() {
    let world = World::new(vec![Script::Hang("first "), Script::Hang("second ")]);
    let timeout = Some(Duration::from_millis(50));
    let handle = world.agents.submit(RunRequest { timeout, ..request("r", "hi") }).await.unwrap();
    let outcome = handle.outcome().await;
    assert_eq!((outcome.status, outcome.text.trim()), (RunStatus::TimedOut, "second"));
    {
        let calls = world.provider.calls.lock().unwrap();
        assert!(calls[1].messages.iter().all(|message| message["role"] == "user"), "{calls:?}");
    }
    let history = world.history().await.to_string();
    assert!(history.contains("second") && !history.contains("first "), "{history}");
}

#[tokio::test]
async fn the_same_run_id_joins_instead_of_running_again() {
    let world = World::new(vec![Script::Say("once")]);
    let first = world.agents.submit(request("r", "hi")).await.unwrap();
    first.outcome().await;
    let second = world.agents.submit(request("r", "hi")).await.unwrap();
    assert!(second.joined && second.outcome_now().is_some());
    assert_eq!(world.provider.calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn messages_to_a_busy_chat_are_collected_into_one_run() {
    let world = World::with(
        vec![Script::Hang("busy"), Script::Say("all")],
        &json!({"messages": {"queue": {"debounceMs": 10}}}),
        None,
    );
    let chat = |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
    world.agents.submit(chat("a", "one")).await.unwrap();
    world.hears("a text busy").await;
    let second = world.agents.submit(chat("b", "two")).await.unwrap();
    let third = world.agents.submit(chat("c", "three")).await.unwrap();
    world.agents.abort(&AbortTarget::Run("a".into()));
    assert!(second.outcome().await.silent);
    assert_eq!(third.outcome().await.text, "all");
    let calls = world.provider.calls.lock().unwrap();
    let last = calls[1].messages.last().unwrap()["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(last.contains("two") && last.contains("three"), "{last}");
}

#[tokio::test]
async fn a_steering_message_joins_the_active_run() {
    let world = World::with(
        vec![Script::Call("exec", json!({"command": "sleep 0.3"})), Script::Say("both")],
        &json!({"messages": {"queue": {"mode": "steer"}}}),
        None,
    );
    let chat = |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
    let first = world.agents.submit(chat("a", "one")).await.unwrap();
    world.hears("a tool start exec").await;
    let second = world.agents.submit(chat("b", "and this")).await.unwrap();
    assert!(second.outcome().await.silent);
    assert_eq!(first.outcome().await.text, "both");
    let calls = world.provider.calls.lock().unwrap();
    assert_eq!(calls[1].messages.last().unwrap()["content"][0]["text"], "and this");
}

#[tokio::test]
async fn what_was_to_steer_a_run_that_ended_is_answered_by_itself() {
    let world = World::with(
        vec![Script::Hang("busy"), Script::Say("late")],
        &json!({"messages": {"queue": {"mode": "steer"}}}),
        None,
    );
    let chat = |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
    world.agents.submit(chat("a", "one")).await.unwrap();
    world.hears("a text busy").await;
    let second = world.agents.submit(chat("b", "two")).await.unwrap();
    assert!(second.outcome_now().is_none(), "nobody answers for it yet");
    world.agents.abort(&AbortTarget::Run("a".into()));
    let outcome = second.outcome().await;
    assert_eq!((outcome.text.as_str(), &outcome.merged_into), ("late", &None));
}

#[tokio::test]
async fn what_was_stopped_while_it_waited_is_not_asked_with_the_next_message() {
    for mode in ["collect", "steer", "followup"] {
        let world = World::with(
            vec![Script::Hang("busy"), Script::Say("fresh")],
            &json!({"messages": {"queue": {"mode": mode, "debounceMs": 10}}}),
            None,
        );
        let chat =
            |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
        let first = world.agents.submit(chat("a", "one")).await.unwrap();
        world.hears("a text busy").await;
        let mut waiting = Vec::new();
        for id in ["b", "c"] {
            waiting.push(world.agents.submit(chat(id, "unwanted")).await.unwrap());
        }
        let main = SessionKey::new("agent:main:main");
        assert_eq!(world.agents.abort(&AbortTarget::Session(main)).len(), 3, "{mode}");
        let next = world.agents.submit(chat("d", "wanted")).await.unwrap();
        assert_eq!(next.outcome().await.text, "fresh", "{mode}");
        for handle in waiting.iter().chain([&first]) {
            assert_eq!(handle.outcome().await.status, RunStatus::Aborted, "{mode}");
        }
        let calls = world.provider.calls.lock().unwrap();
        let asked = serde_json::to_string(&calls[1].messages).unwrap();
        assert!(asked.contains("wanted") && !asked.contains("unwanted"), "{mode}: {asked}");
    }
}

#[tokio::test]
async fn an_interruption_ends_chats_and_nothing_else() {
    let world = World::with(
        vec![Script::Hang("busy"), Script::Say("job done"), Script::Say("answer")],
        &json!({"messages": {"queue": {"mode": "interrupt"}}}),
        None,
    );
    let chat = |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
    let first = world.agents.submit(chat("a", "one")).await.unwrap();
    world.hears("a text busy").await;
    let job = world.agents.submit(request("job", "a job")).await.unwrap();
    let last = world.agents.submit(chat("b", "two")).await.unwrap();
    assert_eq!(first.outcome().await.status, RunStatus::Aborted);
    assert_eq!(job.outcome().await.text, "job done");
    assert_eq!(last.outcome().await.text, "answer");
}

#[tokio::test]
async fn messages_that_did_not_fit_are_named_in_every_mode() {
    for mode in ["collect", "followup"] {
        let world = World::with(
            vec![Script::Hang("busy")],
            &json!({"messages": {"queue": {"mode": mode, "cap": 1, "debounceMs": 10}}}),
            None,
        );
        let chat =
            |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
        world.agents.submit(chat("a", "one")).await.unwrap();
        world.hears("a text busy").await;
        world.agents.submit(chat("b", "the first")).await.unwrap();
        let last = world.agents.submit(chat("c", "the second")).await.unwrap();
        world.agents.abort(&AbortTarget::Run("a".into()));
        last.outcome().await;
        let calls = world.provider.calls.lock().unwrap();
        let asked = serde_json::to_string(calls[1].messages.last().unwrap()).unwrap();
        assert!(asked.contains("- the first") && asked.contains("the second"), "{mode}: {asked}");
    }
}

#[tokio::test]
async fn an_overlong_conversation_is_compacted_and_goes_on() {
    let world = World::new(vec![
        Script::Say("one"),
        Script::Fail(FailReason::ContextLength, 400),
        Script::Say("SUMMARY"),
        Script::Say("two"),
    ]);
    let long = "x".repeat(200_000);
    world.run("a", &long).await;
    let outcome = world.run("b", "go on").await;
    assert_eq!(outcome.text, "two");
    let messages = world.provider.calls.lock().unwrap()[3].messages.clone();
    assert_eq!(messages.len(), 2);
    assert!(messages[0]["content"][0]["text"].as_str().unwrap().contains("SUMMARY"));
    assert_eq!(messages[1]["content"][0]["text"], "go on");
    world.run("c", "and again").await;
    let calls = world.provider.calls.lock().unwrap();
    let first = calls[4].messages[0]["content"][0]["text"].as_str().unwrap();
    assert!(first.contains("SUMMARY"), "the summary is read back from the transcript");
}

#[tokio::test]
async fn silence_is_not_shown_and_not_an_error() {
    let world = World::new(vec![Script::Say("NO_REPLY")]);
    let outcome = world.run("r", "hi").await;
    assert!(outcome.silent && outcome.text.is_empty());
    assert!(!world.heard().iter().any(|line| line.contains("text")));
}

#[tokio::test]
async fn system_events_precede_the_next_message() {
    let world = World::new(vec![Script::Say("ok")]);
    world.agents.system_event(&SessionKey::new("agent:main:main"), "disk is full");
    world.run("r", "hi").await;
    let calls = world.provider.calls.lock().unwrap();
    let text = calls[0].messages[0]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("System: [") && text.ends_with("disk is full\n\nhi"), "{text}");
}

#[tokio::test]
async fn a_reset_archives_and_a_deleted_session_is_gone() {
    let world = World::new(vec![Script::Say("one")]);
    let handle = world.agents.submit(request("r", "hi")).await.unwrap();
    handle.outcome().await;
    let sessions = world.agents.sessions();
    let reset = sessions.reset("main", ResetReason::New).await.unwrap();
    assert_ne!(reset["entry"]["sessionId"], json!(handle.session_id));
    assert_eq!(world.history().await["messages"], json!([]));
    let err = sessions.delete("main", true).await.unwrap_err();
    assert_eq!(err.to_string(), "Cannot delete the main session (agent:main:main).");
    let other = RunRequest { session_key: Some(SessionKey::new("side")), ..request("s", "x") };
    world.agents.submit(other).await.unwrap().outcome().await;
    let deleted = sessions.delete("side", true).await.unwrap();
    assert_eq!(
        (&deleted["deleted"], deleted["archived"].as_array().unwrap().len()),
        (&json!(true), 1)
    );
}

#[tokio::test]
async fn a_client_tool_ends_the_run_with_its_call() {
    let world = World::new(vec![Script::Call("lookup", json!({"q": 1}))]);
    let tool = crate::agents::providers::ToolSpec {
        name: "lookup".into(),
        description: "x".into(),
        parameters: json!({"type": "object"}),
    };
    let request = RunRequest { client_tools: vec![tool], ..request("r", "hi") };
    let outcome = world.agents.submit(request).await.unwrap().outcome().await;
    assert_eq!(outcome.status, RunStatus::Ok);
    assert_eq!(outcome.tool_calls[0].name, "lookup");
}

#[tokio::test]
async fn what_the_reference_wrote_is_gone_on_with() {
    let world = World::new(vec![Script::Say("ok")]);
    let dir = world.home.path().join(".openclaw/agents/main/sessions");
    std::fs::create_dir_all(&dir).unwrap();
    let now = crate::base::clock::now_ms();
    let index = json!({"agent:main:main": {"sessionId": "old", "updatedAt": now, "future": 1}});
    std::fs::write(dir.join("sessions.json"), index.to_string()).unwrap();
    let lines = [
        json!({"type": "session", "version": 3, "id": "old", "cwd": "/w"}),
        json!({"type": "message", "id": "aa", "parentId": null,
            "message": {"role": "user", "content": [{"type": "text", "text": "earlier"}]}}),
    ];
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(dir.join("old.jsonl"), text.join("\n")).unwrap();
    world.run("r", "hi").await;
    assert_eq!(world.provider.calls.lock().unwrap()[0].messages.len(), 2);
    world.agents.drain(Duration::from_secs(1)).await;
    let index: Value =
        serde_json::from_slice(&std::fs::read(dir.join("sessions.json")).unwrap()).unwrap();
    assert_eq!(index["agent:main:main"]["future"], 1);
    assert_eq!(index["agent:main:main"]["sessionId"], "old");
}

#[tokio::test]
async fn a_command_is_answered_without_a_model_and_kept_out_of_its_context() {
    let world = World::new(vec![Script::Say("hello")]);
    let chat = |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
    let outcome = world.agents.submit(chat("q", "/queue steer")).await.unwrap().outcome().await;
    assert_eq!(outcome.text, "⚙️ Queue mode set to steer.");
    assert!(outcome.injected && world.provider.calls.lock().unwrap().is_empty());
    let card = world.agents.submit(chat("s", "/status")).await.unwrap().outcome().await;
    assert!(card.text.contains("🪢 Queue: steer (depth 0)"), "{}", card.text);
    world.run("r", "hi").await;
    assert_eq!(world.provider.calls.lock().unwrap()[0].messages.len(), 1);
    assert_eq!(world.history().await["messages"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn new_starts_a_fresh_session_with_a_greeting() {
    let world = World::new(vec![Script::Say("one"), Script::Say("welcome")]);
    let chat = |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
    let first = world.agents.submit(chat("a", "hi")).await.unwrap();
    first.outcome().await;
    let second = world.agents.submit(chat("b", "/new")).await.unwrap();
    assert_ne!(first.session_id, second.session_id);
    assert_eq!(second.outcome().await.text, "welcome");
    assert_eq!(world.provider.calls.lock().unwrap()[1].messages.len(), 1);
}

#[tokio::test]
async fn compact_shortens_the_conversation_on_request() {
    let world = World::new(vec![Script::Say("one"), Script::Say("SUMMARY"), Script::Say("two")]);
    let chat = |id: &str, text: &str| RunRequest { queueing: Queueing::Chat, ..request(id, text) };
    world.run("a", &"x".repeat(8_000)).await;
    let outcome = world.agents.submit(chat("b", "/compact")).await.unwrap().outcome().await;
    assert!(outcome.text.starts_with("⚙️ Compacted (2k → "), "{}", outcome.text);
    world.run("c", "go on").await;
    let messages = world.provider.calls.lock().unwrap()[2].messages.clone();
    assert_eq!(messages.len(), 2);
}

#[tokio::test]
async fn a_tool_asks_another_session() {
    let world = World::with(
        vec![
            Script::Call("sessions_send", json!({"sessionKey": "side", "message": "ping"})),
            Script::Say("pong"),
            Script::Say("it said pong"),
        ],
        &json!({"tools": {"sessions": {"visibility": "agent"}}}),
        None,
    );
    assert_eq!(world.run("r", "ask").await.text, "it said pong");
    let messages = world.provider.calls.lock().unwrap()[2].messages.clone();
    let result = messages.last().unwrap()["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(result.contains("\"reply\": \"pong\""), "{result}");
}
