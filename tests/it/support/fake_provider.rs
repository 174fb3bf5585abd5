//! A model server that does as it is told: five API dialects on one port.
//!
//! What it answers follows from the request, so that a test needs no set-up
//! beyond a model name and a message:
//!
//! - the model's name picks failures: `fail429`, `fail500`, `fail503`,
//!   `fail401`, `fail400`, `fail402`, `ctxover` (first call alone), `ctxthen`
//!   (second call alone), `hang`, `midcut` (closes in mid-answer), `midstall`
//!   (says no more in mid-answer), `flaky` (500 on the first two calls),
//!   `reason` (thinks first), `repeats` (401, or with `late` in an answer that
//!   began well, with the key and the header `x-note` in the complaint);
//! - the last message picks the answer: `SAY words`, `USE_TOOL name {json}`,
//!   `USE_TOOLS [[name, {json}], …]`, `SLOWLY` (40 words, 250 ms apart),
//!   `CHUNKS n`, `EMPTY`, `HOLD` (one word, the rest after
//!   [`FakeProvider::release`]); anything else gets `Hello from fake provider.`.
//!   A tool result gets `Tool said ok.`, with `STALL_RESULT` in it nothing ever.
//!
//! Every request is recorded. It listens on a free loopback port and stops
//! when dropped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};

/// The model of the recorded conversations.
const RECORDED: &str = "tiny-1";

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Value,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Recorded>>,
    calls: Mutex<HashMap<String, usize>>,
    open: AtomicUsize,
    cut_by_client: AtomicUsize,
    finished: AtomicUsize,
    released: tokio::sync::watch::Sender<bool>,
}

/// The server.
#[derive(Debug)]
pub struct FakeProvider {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeProvider {
    #[expect(clippy::disallowed_methods, reason = "a server of the test, aborted on drop")]
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, task }
    }

    /// `http://127.0.0.1:port`, the base of the Anthropic and Ollama dialects.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base of the OpenAI dialects.
    pub fn openai_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    /// Configuration with one provider per dialect: `fake`
    /// (openai-completions), `resp`, `claudish`, `gem` and `llama`. The default
    /// model is `fake/good-1`.
    pub fn config(&self) -> Value {
        let models = |names: &[&str]| {
            let entry = |id: &&str| {
                json!({"id": id, "name": id, "contextWindow": 128_000, "maxTokens": 4096,
                    "input": ["text", "image"],
                    "reasoning": id.contains("reason") || id.contains("think"),
                    "cost": {"input": 1, "output": 2, "cacheRead": 0.5, "cacheWrite": 0}})
            };
            names.iter().map(entry).collect::<Value>()
        };
        let names = [
            "good-1", "reason-1", "fail429", "fail500", "fail503", "fail401", "fail400", "fail402",
        ];
        json!({
            "models": {"providers": {
                "fake": {"baseUrl": self.openai_url(), "apiKey": "sk-fake", "api": "openai-completions", "models": models(&names)},
                "resp": {"baseUrl": self.openai_url(), "apiKey": "sk-fake", "api": "openai-responses", "models": models(&["resp-1", "think-1"])},
                "claudish": {"baseUrl": self.url(), "apiKey": "sk-ant-fake", "api": "anthropic-messages", "models": models(&["claude-x", "think-1"])},
                "gem": {"baseUrl": format!("{}/v1beta", self.url()), "apiKey": "gem-key", "api": "google-generative-ai", "models": models(&["gem-1"])},
                "llama": {"baseUrl": self.url(), "apiKey": "ollama-local", "api": "ollama", "models": models(&["llama3.3"])}}},
            "agents": {"defaults": {"model": {"primary": "fake/good-1"}}}
        })
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The bodies of the model calls so far.
    pub fn bodies(&self) -> Vec<Value> {
        self.requests().into_iter().map(|request| request.body).collect()
    }

    /// Answers that a client stopped reading before their end.
    pub fn cut_by_client(&self) -> usize {
        self.shared.cut_by_client.load(Ordering::SeqCst)
    }

    /// Answers that were written to their end.
    pub fn finished(&self) -> usize {
        self.shared.finished.load(Ordering::SeqCst)
    }

    /// Lets every held answer go on, and those to come.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Answers that are being written.
    pub fn open_streams(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

/// What the model is going to say.
enum Plan {
    /// Words, each with what follows it.
    Text(Vec<(String, Piece)>),
    Tools(Vec<(String, Value)>),
}

/// A piece of the answer on its way out.
enum Piece {
    Send(String),
    Wait(Duration),
    Hold,
    /// Nothing more comes.
    Stall,
    Cut,
}

/// Counts an answer that is dropped before its last piece.
struct Watch {
    shared: Arc<Shared>,
    whole: bool,
}

impl Watch {
    fn finish(&mut self) {
        self.whole = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
        let ends = if self.whole { &self.shared.finished } else { &self.shared.cut_by_client };
        ends.fetch_add(1, Ordering::SeqCst);
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
    shared.requests.lock().unwrap().push(Recorded {
        method: method.to_string(),
        path: path.clone(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned()))
            .collect(),
        body: body.clone(),
    });
    if method == Method::GET {
        return get(&path);
    }
    let model = body["model"].as_str().unwrap_or(&path).to_owned();
    let count = {
        let mut calls = shared.calls.lock().unwrap();
        let count = calls.entry(model.clone()).or_default();
        *count += 1;
        *count
    };
    let route = path.split('?').next().unwrap_or_default();
    if let Some(failure) = failure(route, &model, count).or_else(|| repeats(&model, &headers)) {
        return failure;
    }
    if model == RECORDED && last_text(&body).contains("PLEASE FAIL") {
        return json_answer(400, &json!({"error": {"message": "fake provider says no"}}));
    }
    if model.contains("hang") {
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    if let Some(vectors) = vectors(route, &body) {
        return json_answer(200, &vectors);
    }
    let (kind, pieces) = if route.ends_with("/chat/completions") {
        let pieces = if model == RECORDED { recorded(&body) } else { openai(&body, &model) };
        ("text/event-stream", pieces)
    } else if route.ends_with("/responses") {
        ("text/event-stream", responses(&body, &model))
    } else if route.ends_with("/messages") {
        ("text/event-stream", anthropic(&body, &model))
    } else if route.ends_with("/api/chat") {
        ("application/x-ndjson", ollama(&body, &model))
    } else if route.contains("streamGenerateContent") {
        ("text/event-stream", gemini(&body, &model))
    } else {
        return json_answer(404, &json!({"error": {"message": format!("no route {path}")}}));
    };
    shared.open.fetch_add(1, Ordering::SeqCst);
    let watch = Watch { shared, whole: false };
    let body = stream::unfold((pieces.into_iter(), watch), |(mut pieces, mut watch)| async move {
        loop {
            match pieces.next() {
                Some(Piece::Send(text)) => {
                    return Some((Ok::<_, std::io::Error>(Bytes::from(text)), (pieces, watch)));
                }
                Some(Piece::Wait(pause)) => tokio::time::sleep(pause).await,
                Some(Piece::Hold) => {
                    let mut released = watch.shared.released.subscribe();
                    drop(released.wait_for(|released| *released).await);
                }
                Some(Piece::Stall) => std::future::pending().await,
                Some(Piece::Cut) => {
                    // What was said goes out first.
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    watch.finish();
                    return Some((Err(std::io::Error::other("cut")), (pieces, watch)));
                }
                None => {
                    watch.finish();
                    return None;
                }
            }
        }
    });
    Response::builder().header("content-type", kind).body(Body::from_stream(body)).unwrap()
}

fn get(path: &str) -> Response {
    if path == "/api/tags" {
        return json_answer(200, &json!({"models": [{"name": "llama3.3:latest"}]}));
    }
    if path.ends_with("/models") {
        let list = json!({"object": "list", "data": [{"id": "good-1", "object": "model"}]});
        return json_answer(200, &list);
    }
    json_answer(404, &json!({"error": "nope"}))
}

fn json_answer(status: u16, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn failure(route: &str, model: &str, count: usize) -> Option<Response> {
    let error = |status: u16, message: &str, kind: &str| {
        Some(json_answer(status, &json!({"error": {"message": message, "type": kind}})))
    };
    let says = |mark: &str| model.contains(mark);
    if says("fail429") {
        let mut response = error(429, "Rate limit reached for requests", "rate_limit_error")?;
        response.headers_mut().insert("retry-after-ms", "5".parse().unwrap());
        return Some(response);
    }
    if says("fail500") || (says("flaky") && count <= 2) {
        return error(500, "Internal server error", "server_error");
    }
    if says("fail503") {
        return error(503, "The server is overloaded", "overloaded_error");
    }
    if says("fail401") {
        return error(401, "Incorrect API key provided", "invalid_request_error");
    }
    if says("fail400") {
        return error(400, "bad request: something", "invalid_request_error");
    }
    if says("fail402") {
        return error(402, "You have insufficient credits", "billing");
    }
    if (says("ctxover") && count <= 1) || (says("ctxthen") && count == 2) {
        return Some(json_answer(400, &too_long(route)));
    }
    None
}

/// A complaint that repeats what the caller sent in confidence.
fn repeats(model: &str, headers: &HeaderMap) -> Option<Response> {
    let sent = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
    let told = format!("Incorrect API key: {} ({})", sent("authorization"), sent("x-note"));
    let error = json!({"error": {"message": told, "type": "invalid_request_error"}});
    match model {
        "repeats-late" => {
            let mut response = Response::new(Body::from(format!("data: {error}\n\n")));
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            Some(response)
        }
        "repeats" => Some(json_answer(401, &error)),
        _ => None,
    }
}

/// How each vendor says that a conversation does not fit.
fn too_long(route: &str) -> Value {
    let message = if route.ends_with("/messages") {
        "prompt is too long: 210000 tokens > 200000 maximum"
    } else if route.contains("streamGenerateContent") {
        let message = "The input token count (1200000) exceeds the maximum number of tokens \
                       allowed (1048576).";
        return json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}});
    } else if route.ends_with("/api/chat") {
        return json!({"error": "the input length exceeds the context length"});
    } else if route.ends_with("/responses") {
        "Your input exceeds the context window of this model."
    } else {
        "This model's maximum context length is 8192 tokens."
    };
    json!({"error": {"message": message, "type": "invalid_request_error"}})
}

/// Vectors in the three shapes that providers have.
fn vectors(route: &str, body: &Value) -> Option<Value> {
    let vector = json!([3.0, 0.0, 4.0]);
    if route.ends_with(":batchEmbedContents") {
        let count = body["requests"].as_array().map_or(0, Vec::len);
        return Some(json!({"embeddings": vec![json!({"values": vector}); count]}));
    }
    let count = body["input"].as_array().map_or(1, Vec::len);
    if route.ends_with("/api/embed") {
        return Some(json!({"model": body["model"], "embeddings": vec![vector; count]}));
    }
    if !route.ends_with("/embeddings") {
        return None;
    }
    let data: Vec<Value> = (0..count)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": vector}))
        .collect();
    Some(json!({"object": "list", "model": body["model"], "data": data,
        "usage": {"prompt_tokens": 3, "total_tokens": 3}}))
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// Words with the space that follows each, as the recorded server sent them.
fn words(text: &str) -> Plan {
    slow_words(text, Duration::ZERO)
}

fn slow_words(text: &str, pause: Duration) -> Plan {
    Plan::Text(text.split(' ').map(|word| (format!("{word} "), Piece::Wait(pause))).collect())
}

/// What `model` says to the last message.
fn plan(last: &Value, is_tool_result: bool, model: &str) -> Plan {
    let text = text_of(&last["content"]);
    let mut plan = if is_tool_result {
        if last.to_string().contains("STALL_RESULT") {
            return Plan::Text(vec![(String::new(), Piece::Stall)]);
        }
        words("Tool said ok.")
    } else {
        spoken(&text)
    };
    if let Plan::Text(words) = &mut plan {
        if !is_tool_result && text.contains("HOLD") {
            words.insert(0, ("held ".to_owned(), Piece::Hold));
        }
        if let Some((_, then)) = words.first_mut() {
            if model.contains("midcut") {
                *then = Piece::Cut;
            } else if model.contains("midstall") {
                *then = Piece::Stall;
            }
        }
    }
    plan
}

/// The answer that a message asks for.
fn spoken(text: &str) -> Plan {
    if let Some((_, rest)) = text.split_once("USE_TOOLS ") {
        let calls: Vec<(String, Value)> = first_json(rest).unwrap_or_default();
        return Plan::Tools(calls);
    }
    if let Some((name, rest)) =
        text.split_once("USE_TOOL ").and_then(|(_, rest)| rest.split_once(' '))
    {
        return Plan::Tools(vec![(name.to_owned(), first_json(rest).unwrap_or_default())]);
    }
    if text.contains("SLOWLY") {
        let all = "one two three four five six seven eight nine ten ".repeat(4);
        return slow_words(all.trim_end(), Duration::from_millis(250));
    }
    if let Some((_, count)) = text.split_once("CHUNKS ") {
        let count: u32 = count.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(1);
        let word = |n| (format!("w{n} "), Piece::Wait(Duration::ZERO));
        return Plan::Text((0..count).map(word).collect());
    }
    if text.contains("EMPTY") {
        return Plan::Text(Vec::new());
    }
    // Neighbouring messages of the user may arrive as one: the last counts.
    match text.rsplit_once("SAY ") {
        Some((_, said)) => words(said.lines().next().unwrap_or_default()),
        None => words("Hello from fake provider."),
    }
}

fn first_json<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
}

fn last_text(body: &Value) -> String {
    let last = body["messages"].as_array().and_then(|all| all.last());
    last.map_or_else(String::new, |last| text_of(&last["content"]))
}

/// The answers that the model of the recorded conversations gave.
fn recorded(body: &Value) -> Vec<Piece> {
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({"id": "chatcmpl-fake1", "object": "chat.completion.chunk",
            "created": 1_700_000_000, "model": RECORDED,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        Piece::Send(format!("data: {chunk}\n\n"))
    };
    let text = last_text(body);
    let is_result = body["messages"]
        .as_array()
        .and_then(|all| all.last())
        .is_some_and(|last| last["role"] == "tool");
    let mut pieces = Vec::new();
    if let (false, Some((_, call))) = (is_result, text.split_once("USE TOOL ")) {
        let (name, arguments) = call.split_once(' ').unwrap_or((call, "{}"));
        let call = json!({"index": 0, "id": "call_1", "type": "function",
            "function": {"name": name, "arguments": arguments}});
        pieces.push(chunk(json!({"role": "assistant", "tool_calls": [call]}), Value::Null));
        pieces.push(chunk(json!({}), json!("tool_calls")));
    } else {
        let pause = if text.contains("SLOW") { 500 } else { 25 };
        for word in ["Echo:", " hello", " from", " the", " fake", " model.", " Done."] {
            pieces.push(chunk(json!({"role": "assistant", "content": word}), Value::Null));
            pieces.push(Piece::Wait(Duration::from_millis(pause)));
        }
        pieces.push(chunk(json!({}), json!("stop")));
    }
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7,
        "total_tokens": 18}});
    pieces.push(Piece::Send(format!("data: {usage}\n\n")));
    pieces.push(Piece::Send("data: [DONE]\n\n".to_owned()));
    pieces
}

fn openai(body: &Value, model: &str) -> Vec<Piece> {
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk",
            "created": 1_700_000_000, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        Piece::Send(format!("data: {chunk}\n\n"))
    };
    let last = body["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let mut pieces = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    if model.contains("reason") {
        pieces.push(chunk(json!({"reasoning_content": "Let me think. "}), Value::Null));
        pieces.push(chunk(json!({"reasoning_content": "Done thinking."}), Value::Null));
    }
    match plan(&last, last["role"] == "tool", model) {
        Plan::Text(words) => {
            for (word, then) in words {
                pieces.push(chunk(json!({"content": word}), Value::Null));
                pieces.push(then);
            }
            pieces.push(chunk(json!({}), json!("stop")));
        }
        Plan::Tools(calls) => {
            for (index, (name, arguments)) in calls.iter().enumerate() {
                let id = if index == 0 { "call_abc123".into() } else { format!("call_abc{index}") };
                let text = arguments.to_string();
                let (head, tail) = text.split_at(text.len() / 2);
                let call = json!({"index": index, "id": id, "type": "function",
                    "function": {"name": name, "arguments": ""}});
                pieces.push(chunk(json!({"tool_calls": [call]}), Value::Null));
                for part in [head, tail] {
                    let call = json!({"index": index, "function": {"arguments": part}});
                    pieces.push(chunk(json!({"tool_calls": [call]}), Value::Null));
                }
            }
            pieces.push(chunk(json!({}), json!("tool_calls")));
        }
    }
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 1200, "completion_tokens": 7,
        "total_tokens": 1207, "prompt_tokens_details": {"cached_tokens": 200}}});
    pieces.push(Piece::Send(format!("data: {usage}\n\n")));
    pieces.push(Piece::Send("data: [DONE]\n\n".to_owned()));
    pieces
}

fn event(kind: &str, mut body: Value) -> Piece {
    body["type"] = json!(kind);
    Piece::Send(format!("event: {kind}\ndata: {body}\n\n"))
}

fn anthropic(body: &Value, model: &str) -> Vec<Piece> {
    let last = body["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let answered = last["content"]
        .as_array()
        .and_then(|all| all.last())
        .is_some_and(|block| block["type"] == "tool_result");
    let usage = json!({"input_tokens": 900, "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50, "output_tokens": 1});
    let start = json!({"message": {"id": "msg_1", "role": "assistant", "model": model, "content": [], "usage": usage}});
    let mut pieces = vec![event("message_start", start), event("ping", json!({}))];
    let mut index = 0;
    if body["thinking"].is_object() {
        pieces.push(event("content_block_start", json!({"index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}})));
        pieces.push(event(
            "content_block_delta",
            json!({"index": 0, "delta": {"type": "thinking_delta", "thinking": "hmm ok"}}),
        ));
        pieces.push(event(
            "content_block_delta",
            json!({"index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}}),
        ));
        pieces.push(event("content_block_stop", json!({"index": 0})));
        index = 1;
    }
    let stop = match plan(&last, answered, model) {
        Plan::Text(words) => {
            pieces.push(event(
                "content_block_start",
                json!({"index": index, "content_block": {"type": "text", "text": ""}}),
            ));
            for (word, then) in words {
                pieces.push(event(
                    "content_block_delta",
                    json!({"index": index, "delta": {"type": "text_delta", "text": word}}),
                ));
                pieces.push(then);
            }
            pieces.push(event("content_block_stop", json!({"index": index})));
            "end_turn"
        }
        Plan::Tools(calls) => {
            for (at, (name, arguments)) in calls.iter().enumerate() {
                let index = index + at;
                let id = format!("toolu_{:02}", at + 1);
                pieces.push(event("content_block_start", json!({"index": index, "content_block": {"type": "tool_use", "id": id, "name": name, "input": {}}})));
                pieces.push(event("content_block_delta", json!({"index": index, "delta": {"type": "input_json_delta", "partial_json": arguments.to_string()}})));
                pieces.push(event("content_block_stop", json!({"index": index})));
            }
            "tool_use"
        }
    };
    pieces.push(event(
        "message_delta",
        json!({"delta": {"stop_reason": stop}, "usage": {"output_tokens": 9}}),
    ));
    pieces.push(event("message_stop", json!({})));
    pieces
}

fn responses(body: &Value, model: &str) -> Vec<Piece> {
    let last = body["input"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let shell =
        json!({"id": "resp_1", "object": "response", "status": "in_progress", "model": model});
    let mut pieces = vec![event("response.created", json!({"response": shell}))];
    match plan(&last, last["type"] == "function_call_output", model) {
        Plan::Text(words) => {
            pieces.push(event(
                "response.output_item.added",
                json!({"output_index": 0, "item": {"id": "msg_1", "type": "message"}}),
            ));
            let whole: String = words.iter().map(|(word, _)| word.as_str()).collect();
            for (word, then) in words {
                pieces.push(event(
                    "response.output_text.delta",
                    json!({"item_id": "msg_1", "delta": word}),
                ));
                pieces.push(then);
            }
            let item = json!({"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": whole}]});
            pieces
                .push(event("response.output_item.done", json!({"output_index": 0, "item": item})));
        }
        Plan::Tools(calls) => {
            for (at, (name, arguments)) in calls.iter().enumerate() {
                let item = json!({"id": format!("fc_{}", at + 1), "type": "function_call", "call_id": format!("call_r{}", at + 1), "name": name, "arguments": arguments.to_string()});
                pieces.push(event(
                    "response.output_item.added",
                    json!({"output_index": at, "item": item}),
                ));
                pieces.push(event(
                    "response.output_item.done",
                    json!({"output_index": at, "item": item}),
                ));
            }
        }
    }
    let usage = json!({"input_tokens": 800, "input_tokens_details": {"cached_tokens": 300}, "output_tokens": 5, "total_tokens": 805});
    let done = json!({"response": {"id": "resp_1", "status": "completed", "usage": usage}});
    pieces.push(event("response.completed", done));
    pieces
}

fn ollama(body: &Value, model: &str) -> Vec<Piece> {
    let last = body["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let line = |message: Value| {
        Piece::Send(format!("{}\n", json!({"model": model, "message": message, "done": false})))
    };
    let mut pieces = Vec::new();
    match plan(&last, last["role"] == "tool", model) {
        Plan::Text(words) => {
            for (word, then) in words {
                pieces.push(line(json!({"role": "assistant", "content": word})));
                pieces.push(then);
            }
        }
        Plan::Tools(calls) => {
            let calls: Vec<Value> = calls
                .iter()
                .map(
                    |(name, arguments)| json!({"function": {"name": name, "arguments": arguments}}),
                )
                .collect();
            pieces.push(line(json!({"role": "assistant", "content": "", "tool_calls": calls})));
        }
    }
    let end = json!({"model": model, "message": {"role": "assistant", "content": ""}, "done": true,
        "done_reason": "stop", "prompt_eval_count": 700, "eval_count": 6});
    pieces.push(Piece::Send(format!("{end}\n")));
    pieces
}

fn gemini(body: &Value, model: &str) -> Vec<Piece> {
    let last = body["contents"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let parts = last["parts"].as_array().cloned().unwrap_or_default();
    let answered = parts.last().is_some_and(|part| part["functionResponse"].is_object());
    let chunk = |parts: Value, finish: Option<&str>| {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish);
        }
        let usage = json!({"promptTokenCount": 600, "candidatesTokenCount": 4, "totalTokenCount": 604, "cachedContentTokenCount": 60});
        Piece::Send(format!(
            "data: {}\r\n\r\n",
            json!({"candidates": [candidate], "usageMetadata": usage})
        ))
    };
    let mut pieces = Vec::new();
    match plan(&json!({"content": parts}), answered, model) {
        Plan::Text(words) => {
            for (word, then) in words {
                pieces.push(chunk(json!([{"text": word}]), None));
                pieces.push(then);
            }
            pieces.push(chunk(json!([]), Some("STOP")));
        }
        Plan::Tools(calls) => {
            let parts: Vec<Value> = calls
                .iter()
                .map(|(name, args)| json!({"functionCall": {"name": name, "args": args}}))
                .collect();
            pieces.push(chunk(json!(parts), Some("STOP")));
        }
    }
    pieces
}
