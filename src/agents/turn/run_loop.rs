//! The loop of a turn: model, tools, model, until the model has nothing more
//! to ask for. A failed call is tried again, then on the next model.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::agents::choice::Ready;
use crate::agents::failover::Next;
use crate::agents::mcp::Patience;
use crate::agents::prompt::Parts;
use crate::agents::prompt::Scope;
use crate::agents::providers::ModelCall;
use crate::agents::providers::ModelRef;
use crate::agents::providers::Part;
use crate::agents::providers::ProviderError;
use crate::agents::providers::Stop;
use crate::agents::providers::ToolSpec;
use crate::agents::providers::classify;
use crate::agents::raw_stream::Tap;
use crate::agents::run::ClientToolCall;
use crate::agents::run::Lane;
use crate::agents::run::RunBody;
use crate::agents::sessions::main_session;
use crate::agents::tools::Tool;
use crate::agents::tools::ToolContext;
use crate::agents::tools::ToolResult;
use crate::agents::tools::{Policy, is_boxed};
use crate::agents::turn::Halt;
use crate::agents::turn::answer::Answer;
use crate::agents::turn::answer::Call;
use crate::agents::turn::answer::Shown;
use crate::agents::turn::prepare::Turn;

/// Longest silence of a provider, above the limits of its HTTP client.
const IDLE_LIMIT: Duration = Duration::from_secs(660);
/// Model calls of one turn; a loop that needs more has lost its way.
const MOST_STEPS: usize = 200;
/// Characters of one tool result, whatever the model's window.
const MOST_RESULT_CHARS: usize = 200_000;
/// Characters per token, for estimates.
pub(crate) const CHARS_PER_TOKEN: u64 = 4;

/// The tools of one model call.
struct Bench {
    tools: Vec<Arc<dyn Tool>>,
    specs: Arc<[ToolSpec]>,
}

impl Turn<'_> {
    /// Runs the turn to its end.
    pub(crate) async fn drive(&mut self) -> Result<(), Halt> {
        let mut begun = false;
        // A model that hangs does not eat the time of the next one.
        let mut deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        loop {
            match self.attempt(&mut begun, deadline).await {
                Ok(()) => {
                    self.chain.on_success();
                    if self.chain.fell_over() {
                        self.run.reporter.other("lifecycle", &self.chain.event());
                    }
                    return Ok(());
                }
                Err(halt) => {
                    let error = match halt {
                        Halt::Provider(error) => error,
                        Halt::TimedOut => classify::transport("the model did not answer in time"),
                        other => return Err(other),
                    };
                    let timed_out = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    let (provider, model) = self.model_name();
                    let text = error.user_text(&provider, &model);
                    match self.chain.on_failure(&error, &text, true) {
                        Next::Again(pause) if !timed_out => {
                            tracing::debug!(run_id = %self.run.id, reason = error.reason.as_str(),
                                "model call is tried again");
                            self.pause(pause).await?;
                        }
                        Next::Again(_) => {
                            // The time of this model is over: on to the next.
                            if !self.skip_retries(&error, &text) {
                                return Err(self.timed_out());
                            }
                            deadline = self.timeout.map(|timeout| Instant::now() + timeout);
                        }
                        Next::Fallback => {
                            deadline = self.timeout.map(|timeout| Instant::now() + timeout);
                        }
                        Next::GiveUp if timed_out => return Err(self.timed_out()),
                        Next::GiveUp => return Err(Halt::Provider(error)),
                    }
                }
            }
        }
    }

    /// The end of the last model's time: keeps what it said.
    fn timed_out(&mut self) -> Halt {
        if let Some((answer, model)) = self.unfinished.take() {
            self.keep_partial(&answer, &model);
        }
        Halt::TimedOut
    }

    /// Uses up the retries of the current model; `false` if no other is left.
    fn skip_retries(&mut self, error: &ProviderError, text: &str) -> bool {
        loop {
            match self.chain.on_failure(error, text, true) {
                Next::Again(_) => {}
                Next::Fallback => return true,
                Next::GiveUp => return false,
            }
        }
    }

    pub(crate) fn model_name(&self) -> (String, String) {
        if let Some(model) = &self.model
            && self.chain.current() == format!("{}/{}", model.provider, model.id)
        {
            return (model.provider.clone(), model.id.clone());
        }
        let current = self.chain.current();
        let (provider, model) = current.split_once('/').unwrap_or(("", current));
        (provider.to_owned(), model.to_owned())
    }

    async fn pause(&self, pause: Duration) -> Result<(), Halt> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.run.cancel.cancelled() => Err(Halt::Aborted),
        }
    }

    /// Goes on with the current model until it is done or fails.
    async fn attempt(&mut self, begun: &mut bool, deadline: Option<Instant>) -> Result<(), Halt> {
        let models = self.inner.models();
        let ready = models
            .resolve(&self.snapshot, &self.run.agent, self.chain.current(), self.profile())
            .await
            .map_err(Halt::Provider)?;
        let model = Arc::clone(&ready.model);
        self.model = Some(Arc::clone(&model));
        self.thinking = Some(self.thinking_level(&model));
        if !*begun {
            self.begin_transcript(&model).await.map_err(Halt::Internal)?;
            *begun = true;
        }
        tokio::select! {
            () = self.inner.servers.ensure(self.inner, &self.snapshot, Patience::Little) => {}
            () = self.run.cancel.cancelled() => return Err(Halt::Aborted),
        }
        let bench = self.bench(&model);
        let system: Arc<str> = self.system_prompt(&model, &bench).into();
        for _ in 0..MOST_STEPS {
            self.fit_context(&ready, &system, &bench.specs, deadline).await?;
            let call = self.model_call(&model, &system, &bench.specs);
            let answer = match self.listen(&ready, call, deadline).await {
                Ok(mut answer) => {
                    answer.correct_names(&bench.specs);
                    answer
                }
                Err(Halt::Provider(error)) => {
                    models.report(&self.snapshot, &self.run.agent, &ready, Some(&error));
                    if self.shrink_after(&error, &ready, deadline).await? {
                        continue;
                    }
                    return Err(Halt::Provider(error));
                }
                Err(halt) => return Err(halt),
            };
            models.report(&self.snapshot, &self.run.agent, &ready, None);
            self.note_model(&model);
            self.keep(&answer, &model);
            self.flush().await.map_err(Halt::Internal)?;
            if answer.calls.is_empty() {
                if !self.steered(true) {
                    return Ok(());
                }
                self.flush().await.map_err(Halt::Internal)?;
                continue;
            }
            if self.run_calls(&bench, &answer.calls, &model).await? {
                return Ok(());
            }
            self.steered(false);
            self.flush().await.map_err(Halt::Internal)?;
        }
        Err(Halt::Internal(format!("the run was ended after {MOST_STEPS} model calls")))
    }

    /// The auth profile that the session insists on.
    fn profile(&self) -> Option<&str> {
        self.entry.as_ref().and_then(|entry| entry.text("authProfileOverride"))
    }

    fn thinking_level(&self, model: &ModelRef) -> String {
        if !model.reasoning {
            return "off".to_owned();
        }
        let asked =
            self.request.thinking.as_deref().and_then(crate::agents::sessions::thinking_level);
        asked.map_or_else(
            || {
                crate::agents::choice::thinking(
                    &self.snapshot.config,
                    &self.run.agent,
                    self.entry.as_deref(),
                    true,
                )
            },
            str::to_owned,
        )
    }

    /// Whether the configuration wants this session's tools in a sandbox.
    fn is_boxed(&self) -> bool {
        let (config, agent) = (&self.snapshot.config, &self.run.agent);
        let is_main = self.run.key.as_ref() == Some(&main_session(config, agent));
        is_boxed(config, agent, is_main)
    }

    fn bench(&self, model: &ModelRef) -> Bench {
        let is_boxed = self.is_boxed();
        if is_boxed {
            tracing::warn!(
                agent = self.run.agent,
                "commands and files are left out: agents.defaults.sandbox.mode wants a sandbox, and there is none"
            );
        }
        let policy = Policy::of(
            &self.snapshot.config,
            &self.run.agent,
            &model.provider,
            &model.id,
            self.request.owner,
        )
        .within(self.request.group_tools.as_ref())
        .unless_boxed(is_boxed)
        .only(self.request.tools_allow.as_deref());
        let tools = self.inner.toolbox.allowed(&policy);
        let client = &self.request.client_tools;
        let own = tools.iter().map(|tool| tool.spec());
        let specs: Vec<ToolSpec> = own
            .filter(|spec| client.iter().all(|theirs| theirs.name != spec.name))
            .chain(client.iter().cloned())
            .collect();
        Bench { tools, specs: specs.into() }
    }

    fn system_prompt(&self, model: &ModelRef, bench: &Bench) -> String {
        let tools: Vec<(String, &'static str)> =
            bench.tools.iter().map(|tool| (tool.spec().name, tool.summary())).collect();
        let zone = crate::agents::turn::time_zone(&self.snapshot.config);
        let shell = self.inner.env.get("SHELL").unwrap_or("sh");
        let shell = shell.rsplit('/').next().unwrap_or("sh");
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let (primary, _, _) = self.default_model_name();
        Parts {
            scope: if self.request.lane == Lane::Subagent { Scope::Minimal } else { Scope::Full },
            agent: &self.run.agent,
            workspace: &self.workspace,
            tools: &tools,
            skills: &self.skills,
            timezone: zone.iana_name().unwrap_or("UTC"),
            origin: &self.request.origin,
            extra: self.request.extra_system_prompt.as_deref(),
            context: &self.context,
            host: host.as_deref().unwrap_or("unknown"),
            shell,
            model: &format!("{}/{}", model.provider, model.id),
            default_model: &primary,
            thinking: self.thinking.as_deref().unwrap_or("off"),
            reasoning: self
                .entry
                .as_ref()
                .and_then(|entry| entry.text("reasoningLevel"))
                .unwrap_or("off"),
        }
        .render()
    }

    fn default_model_name(&self) -> (String, String, u64) {
        let default =
            crate::agents::choice::default_choice(&self.snapshot.config, Some(&self.run.agent));
        let name = format!("{}/{}", default.provider, default.model);
        (name, default.model, default.context_tokens)
    }

    pub(crate) fn model_call(
        &self,
        model: &Arc<ModelRef>,
        system: &str,
        specs: &Arc<[ToolSpec]>,
    ) -> ModelCall {
        ModelCall {
            model: Arc::clone(model),
            system: system.to_owned(),
            messages: self.branch.messages.clone(),
            tools: Arc::clone(specs),
            thinking: self.thinking.clone(),
            max_tokens: self.request.max_tokens,
            params: Arc::new(self.request.params.clone()),
        }
    }

    /// Reads one answer, telling listeners as it grows.
    async fn listen(
        &mut self,
        ready: &Ready,
        call: ModelCall,
        deadline: Option<Instant>,
    ) -> Result<Answer, Halt> {
        self.run.steerable.store(true, Ordering::Release);
        self.unfinished = None;
        let shows_thinking =
            self.entry.as_ref().is_some_and(|entry| entry.text("reasoningLevel") == Some("stream"));
        let mut answer = Answer::default();
        let result = self.read_parts(ready, call, deadline, &mut answer, shows_thinking).await;
        let Err(halt) = result else { return Ok(answer) };
        match halt {
            Halt::Aborted => self.keep_partial(&answer, &ready.model),
            // The next model begins anew; these words stay only if there is none.
            Halt::TimedOut => self.unfinished = Some((answer, Arc::clone(&ready.model))),
            Halt::Provider(_) | Halt::Internal(_) => {}
        }
        Err(halt)
    }

    async fn read_parts(
        &self,
        ready: &Ready,
        call: ModelCall,
        deadline: Option<Instant>,
        answer: &mut Answer,
        shows_thinking: bool,
    ) -> Result<(), Halt> {
        let raw = self.inner.raw_stream.as_ref();
        let mut tap = raw.map(|raw| Tap::new(raw, &self.run.id, &self.run.session_id));
        let mut stream =
            self.bounded(deadline, ready.provider.stream(call)).await?.map_err(Halt::Provider)?;
        loop {
            let part = self.bounded(deadline, stream.next()).await?;
            let Some(part) = part else {
                return if answer.stop.is_some() {
                    Ok(())
                } else {
                    Err(Halt::Provider(classify::cut_short()))
                };
            };
            let part = part.map_err(Halt::Provider)?;
            let is_last = matches!(part, Part::Done { .. });
            if let Some(tap) = &mut tap {
                tap.part(&part, self.inner.clock.now_ms());
            }
            match answer.push(part) {
                Shown::Text { from } => {
                    let text = answer.visible();
                    self.run.reporter.send(RunBody::Assistant { text, delta: &text[from..] });
                }
                Shown::Thinking { from } if shows_thinking => {
                    let text = answer.thinking();
                    self.run.reporter.send(RunBody::Thinking { text, delta: &text[from..] });
                }
                Shown::Thinking { .. } | Shown::Nothing => {}
            }
            if is_last {
                if let Some(tap) = &tap {
                    tap.end(answer, self.inner.clock.now_ms());
                }
                return Ok(());
            }
        }
    }

    /// Waits for the provider, but neither past an abort nor for ever.
    pub(crate) async fn bounded<T>(
        &self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
    ) -> Result<T, Halt> {
        let time_over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.run.cancel.cancelled() => Err(Halt::Aborted),
            result = tokio::time::timeout(IDLE_LIMIT, work) => result.map_err(|_| {
                Halt::Provider(classify::transport("the provider went silent"))
            }),
            () = time_over => Err(Halt::TimedOut),
        }
    }

    /// Adds a finished answer to the conversation.
    fn keep(&mut self, answer: &Answer, model: &ModelRef) {
        let usage = self.account(answer.usage, model);
        let stop = match answer.stop {
            Some(Stop::ToolUse) => "toolUse",
            Some(Stop::Length) => "length",
            _ if !answer.calls.is_empty() => "toolUse",
            _ => "stop",
        };
        let mut message = self.assistant_message(&answer.blocks, &usage, stop, model);
        if let Some(id) = &answer.response_id {
            message["responseId"] = id.as_str().into();
        }
        self.add_message(message);
        let text = answer.final_text();
        if !text.is_empty() {
            // A short answer was held back because it could have become a tag.
            let shown = answer.visible();
            if shown.is_empty() {
                self.run.reporter.send(RunBody::Assistant { text, delta: text });
            }
            text.clone_into(&mut self.reply);
            self.silent = false;
        } else if answer.calls.is_empty() {
            self.silent = true;
            if !answer.text().trim().is_empty() {
                self.reply.clear();
            }
        }
    }

    /// Keeps what an ended run had said so far.
    fn keep_partial(&mut self, answer: &Answer, model: &ModelRef) {
        let blocks = answer.partial_blocks();
        answer.final_text().clone_into(&mut self.reply);
        if blocks.is_empty() {
            return;
        }
        let usage = crate::agents::turn::empty_usage();
        let mut message = self.assistant_message(&blocks, &usage, "aborted", model);
        message["errorMessage"] = "Request was aborted".into();
        self.add_message(message);
    }

    pub(crate) fn assistant_message(
        &self,
        blocks: &[Value],
        usage: &Value,
        stop: &str,
        model: &ModelRef,
    ) -> Value {
        json!({
            "role": "assistant",
            "content": blocks,
            "api": model.api,
            "provider": model.provider,
            "model": model.id,
            "usage": usage,
            "stopReason": stop,
            "timestamp": self.now(),
        })
    }

    /// Runs the calls of an answer; `true` if one of them is the client's to
    /// run, which ends the turn.
    async fn run_calls(
        &mut self,
        bench: &Bench,
        calls: &[Call],
        model: &ModelRef,
    ) -> Result<bool, Halt> {
        let mut is_clients = false;
        for call in calls {
            if self.request.client_tools.iter().any(|tool| tool.name == call.name) {
                self.client_calls.push(ClientToolCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    arguments: call.arguments.clone(),
                });
                is_clients = true;
                continue;
            }
            self.announce(&json!({
                "phase": "start", "name": call.name, "toolCallId": call.id, "args": call.arguments,
            }));
            let mut result = self.run_call(bench, call).await;
            limit(&mut result, model);
            let mut event = json!({
                "phase": "result", "name": call.name, "toolCallId": call.id,
                "isError": result.is_error,
            });
            if let Some(meta) = &result.meta {
                event["meta"] = meta.as_str().into();
            }
            event["result"] = json!({"content": result.content});
            if let Some(details) = &result.details {
                event["result"]["details"] = details.clone();
            }
            self.announce(&event);
            let mut message = json!({
                "role": "toolResult", "toolCallId": call.id, "toolName": call.name,
                "content": result.content,
            });
            if let Some(details) = result.details {
                message["details"] = details;
            }
            message["isError"] = result.is_error.into();
            message["timestamp"] = self.now().into();
            self.add_message(message);
            if self.run.cancel.is_cancelled() {
                return Err(Halt::Aborted);
            }
        }
        Ok(is_clients)
    }

    fn announce(&self, data: &Value) {
        self.run.reporter.tool(data);
    }

    async fn run_call(&self, bench: &Bench, call: &Call) -> ToolResult {
        let name = call.name.trim();
        let found = bench.tools.iter().find(|tool| tool.spec().name == name);
        let Some(tool) = found else {
            let known = self.inner.toolbox.get(name);
            return ToolResult::error(match known {
                Some(tool) if tool.owner_only() && !self.request.owner => {
                    "Tool restricted to owner senders.".to_owned()
                }
                Some(_) if self.is_boxed() => format!(
                    "Tool {name} is to run in a sandbox (agents.defaults.sandbox.mode), and this \
                     gateway has none"
                ),
                Some(_) => format!("Tool {name} is not allowed here"),
                None => format!("Tool {name} not found"),
            });
        };
        if let Value::String(text) = &call.arguments {
            return ToolResult::error(format!(
                "The arguments of {name} are not valid JSON: {}",
                crate::agents::sessions::ellipsis(text, 300)
            ));
        }
        let context = ToolContext {
            inner: Arc::clone(self.inner),
            snapshot: Arc::clone(&self.snapshot),
            agent: self.run.agent.clone(),
            workspace: self.workspace.clone(),
            session_key: self.run.key.clone(),
            run_id: self.run.id.clone(),
            tool_call_id: call.id.clone(),
            owner: self.request.owner,
            lane: self.request.lane,
            origin: self.request.origin.clone(),
            answered: Arc::clone(&self.answered),
            cancel: self.run.cancel.clone(),
        };
        tool.call(&context, call.arguments.clone()).await
    }

    /// Adds messages that arrived meanwhile; `false` if there were none.
    fn steered(&mut self, last: bool) -> bool {
        let joined = crate::agents::queue::joined(self.inner, self.run, last);
        for request in &joined {
            let text = crate::agents::turn::framed_message(self.inner, request);
            let message = crate::agents::turn::user_message(&text, &request.images, self.now());
            self.add_message(message);
        }
        !joined.is_empty()
    }
}

/// Cuts the middle out of a result that would fill the model's window.
fn limit(result: &mut ToolResult, model: &ModelRef) {
    let share = model.context_window.max(16_000) * CHARS_PER_TOKEN * 3 / 10;
    let most = usize::try_from(share).unwrap_or(usize::MAX).min(MOST_RESULT_CHARS);
    for block in &mut result.content {
        if let Some(Value::String(text)) = block.get_mut("text")
            && text.len() > most
        {
            let chars = text.chars().count();
            if chars <= most {
                continue;
            }
            let at = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
            let short = format!(
                "{}\n\n[… {} characters left out …]\n\n{}",
                &text[..at(most / 2)],
                chars - most,
                &text[at(chars - most / 2)..]
            );
            *text = short;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_result_loses_its_middle() {
        let model = ModelRef { context_window: 16_000, ..ModelRef::default() };
        let mut result = ToolResult::text(format!("START{}END", "ä".repeat(100_000)));
        limit(&mut result, &model);
        let text = result.content[0]["text"].as_str().unwrap();
        assert!(text.starts_with("START") && text.ends_with("END"));
        assert!(text.chars().count() < 20_000);
    }
}
