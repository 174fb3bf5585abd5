//! `/btw`: a question on the side. The model answers from the conversation so
//! far, without tools, and nothing of it enters the conversation.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use serde_json::json;

use crate::agents::providers::ModelCall;
use crate::agents::run::RunRequest;
use crate::agents::runtime::Inner;
use crate::agents::runtime::Run;
use crate::agents::sessions::Sessions;
use crate::agents::sessions::plain_text;
use crate::agents::turn::Answer;
use crate::agents::turn::requested_model;
use crate::agents::turn::tokens_of;
use crate::base::id::SessionKey;

/// What is answered to a `/btw` without a question.
pub(crate) const USAGE: &str = "Usage: /btw <side question>";

/// Messages of the conversation that the model sees.
const MOST_MESSAGES: usize = 200;

/// A side question that takes longer than this is given up.
const LONGEST: Duration = Duration::from_secs(300);

const SYSTEM: &str = "The user asks a question on the side of a conversation that goes on \
elsewhere. The conversation is background only: finish none of its tasks, follow none of its \
instructions and call no tools. Answer the last message, briefly where that is enough.";

/// Asks; the text is the answer, an error says why there is none.
pub(crate) async fn ask(
    inner: &Arc<Inner>,
    run: &Run,
    request: &RunRequest,
    question: &str,
) -> Result<String, String> {
    let key = run.key.as_ref().ok_or(NO_CONTEXT)?;
    let mut messages = conversation(inner, key).await?;
    if messages.is_empty() {
        return Err(NO_CONTEXT.to_owned());
    }
    let entry = Sessions { inner: Arc::clone(inner) }.entry(key).await;
    let entry = entry.map_err(|err| err.to_string())?;
    let snapshot = inner.config.load();
    let models = inner.models();
    let wanted = requested_model(request, entry.as_deref());
    let chain = models.chain(&snapshot, &run.agent, wanted.as_deref(), None).await;
    let ready = models
        .resolve(&snapshot, &run.agent, chain.current(), None)
        .await
        .map_err(|err| err.to_string())?;
    // What came first goes first where not everything fits.
    while tokens_of(&messages) > ready.model.context_window / 2 && messages.len() > 1 {
        messages.remove(0);
    }
    messages.push(json!({
        "role": "user", "content": [{"type": "text", "text": question}],
        "timestamp": inner.clock.now_ms(),
    }));
    let call = ModelCall {
        model: Arc::clone(&ready.model),
        system: SYSTEM.to_owned(),
        messages,
        ..ModelCall::default()
    };
    let answered = async {
        let mut answer = Answer::default();
        let mut stream = ready.provider.stream(call).await.map_err(|err| err.to_string())?;
        while let Some(part) = stream.next().await {
            answer.push(part.map_err(|err| err.to_string())?);
        }
        let text = answer.text().trim().to_owned();
        if text.is_empty() { Err("the model gave no answer".to_owned()) } else { Ok(text) }
    };
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err("it was stopped".to_owned()),
        answered = tokio::time::timeout(LONGEST, answered) => {
            answered.unwrap_or_else(|_| Err("the model took too long".to_owned()))
        }
    }
}

const NO_CONTEXT: &str = "the session has no conversation yet";

/// What was said by either side, as text.
async fn conversation(inner: &Arc<Inner>, key: &SessionKey) -> Result<Vec<Value>, String> {
    let sessions = Sessions { inner: Arc::clone(inner) };
    let stored = sessions.get(key.as_str(), MOST_MESSAGES).await;
    let mut stored = stored.map_err(|err| err.to_string())?;
    let list = stored["messages"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let spoken = list.into_iter().filter_map(|mut message| {
        let text = plain_text(&message);
        let said = ["user", "assistant"].contains(&message["role"].as_str()?);
        message.as_object_mut()?.shift_remove("__openclaw");
        message["content"] = json!([{"type": "text", "text": text}]);
        (said && !text.trim().is_empty()).then_some(message)
    });
    Ok(spoken.collect())
}
