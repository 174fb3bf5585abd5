//! `dev/echo`: the built-in model of the dev profile.
//!
//! It needs no key and no network, repeats what it was told, says that it is
//! not a real model, and streams word by word like any other.

use std::fmt::Write as _;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};

use crate::agents::providers::replay::{self, Turn};
use crate::agents::providers::{ModelCall, ModelRef, Part, Provider, ProviderError, Stop};
use crate::agents::run::Usage;

/// The dialect's name in `ModelRef::api`.
pub const API: &str = "dev-echo";
/// The provider and the model.
pub const PROVIDER: &str = "dev";
pub const MODEL: &str = "echo";

/// The built-in model.
#[derive(Debug)]
pub(super) struct Echo;

impl Provider for Echo {
    fn stream(
        &self,
        call: ModelCall,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Part, ProviderError>>, ProviderError>> {
        let text = answer(&call);
        let words = text.chars().filter(|c| *c == ' ').count() as u64 + 1;
        let read: usize = call.messages.iter().map(|message| message.to_string().len()).sum();
        let input = ((call.system.len() + read) / 4) as u64;
        let usage = Usage { input, output: words, total_tokens: input + words, ..Usage::default() };
        let done = Part::Done { stop: Stop::Stop, usage, response_id: None };
        let parts: Vec<_> = text
            .split_inclusive(' ')
            .map(|word| Part::Text(word.to_owned()))
            .chain([done])
            .map(Ok)
            .collect();
        let words = stream::iter(parts).then(|part| async move {
            // Each word is a step of its own, as if it came over a network.
            tokio::task::yield_now().await;
            part
        });
        async move { Ok(words.boxed()) }.boxed()
    }
}

/// How the model is known to the rest of the gateway.
pub fn model() -> ModelRef {
    ModelRef {
        provider: PROVIDER.to_owned(),
        id: MODEL.to_owned(),
        api: API.to_owned(),
        input: vec!["text".to_owned(), "image".to_owned()],
        context_window: 200_000,
        max_tokens: 4096,
        ..ModelRef::default()
    }
}

fn answer(call: &ModelCall) -> String {
    let turns = replay::turns(&call.messages, &call.model);
    let last = turns.iter().rev().find_map(|turn| match turn {
        Turn::User(content) => Some(content),
        _ => None,
    });
    let said = last.map(|content| replay::joined(content)).unwrap_or_default();
    let images = last.map_or(0, |content| {
        content.iter().filter(|part| matches!(part, replay::Content::Image { .. })).count()
    });
    let mut text = format!("dev/echo (built-in test model, no AI): {}", spoken(&said));
    if images > 0 {
        // Writing to a string cannot fail.
        write!(text, " [+{images} image(s)]").unwrap_or_default();
    }
    text
}

/// The words of the sender without the metadata in front of them.
fn spoken(text: &str) -> &str {
    let words = match text.rsplit_once("```\n\n") {
        Some((head, words)) if head.contains("(untrusted metadata)") => words,
        _ => text,
    };
    let stamped = words.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    match stamped {
        Some((stamp, rest)) if stamp.len() < 40 && stamp.contains(':') => rest,
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn it_streams_words_and_says_what_it_is() {
        let call = ModelCall {
            model: Arc::new(model()),
            messages: vec![json!({"role":"user","content":[{"type":"text","text":
                "Sender (untrusted metadata):\n```json\n{}\n```\n\n[Sun 2026-11-22 12:07 UTC] hi there"}]})],
            ..ModelCall::default()
        };
        let parts: Vec<_> = Echo.stream(call).await.unwrap().collect().await;
        let text: String = parts
            .iter()
            .filter_map(|part| match part {
                Ok(Part::Text(text)) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(text, "dev/echo (built-in test model, no AI): hi there");
        assert!(parts.len() > 4);
        assert!(matches!(parts.last(), Some(Ok(Part::Done { stop: Stop::Stop, .. }))));
    }
}
