//! What a failure means: which class it is of, whether trying again can help,
//! and the words users read.
//!
//! The texts are part of the contract with clients and with scripts that read
//! logs. It decides nothing about *when* to try again.

use serde_json::Value;

use crate::agents::providers::{FailReason, ProviderError};

/// Text of a `rate_limit` failure.
pub const RATE_LIMIT_TEXT: &str = "⚠️ API rate limit reached. Please try again later.";
/// Text of an `overloaded` failure.
pub const OVERLOADED_TEXT: &str =
    "The AI service is temporarily overloaded. Please try again in a moment.";

const CONTEXT_MARKS: &[&str] = &[
    "context_length_exceeded",
    "maximum context length",
    "context length",
    "context window",
    "prompt is too long",
    "input is too long",
    "request_too_large",
    "exceeds the maximum number of tokens",
    "too many tokens",
];
const BILLING_MARKS: &[&str] = &[
    "insufficient credit",
    "insufficient_quota",
    "insufficient balance",
    "credit balance",
    "out of credits",
    "payment required",
    "billing_hard_limit",
    "requires more credits",
];
const RATE_MARKS: &[&str] =
    &["rate limit", "rate_limit", "too many requests", "resource_exhausted", "quota exceeded"];
const OVERLOAD_MARKS: &[&str] = &["overloaded", "high demand", "capacity"];
const MODEL_MARKS: &[&str] = &[
    "model not found",
    "model_not_found",
    "unknown model",
    "does not exist",
    "is not a valid model",
    "not_found_error",
    "try pulling it",
];

/// The error of an HTTP answer that is not 2xx.
pub fn http_error(status: u16, body: &str, retry_after_ms: Option<u64>) -> ProviderError {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let message = parsed.as_ref().and_then(error_message).unwrap_or_else(|| {
        let plain = body.trim();
        if plain.is_empty() || plain.starts_with('<') {
            "(no body)".to_owned()
        } else {
            plain.chars().take(500).collect()
        }
    });
    let code = parsed.as_ref().map(error_codes).unwrap_or_default();
    ProviderError {
        reason: reason_for(Some(status), &format!("{code} {message}")),
        status: Some(status),
        message,
        retry_after_ms,
    }
}

/// The error object inside a stream that began well.
pub fn stream_error(error: &Value) -> ProviderError {
    let message = error_message(error)
        .or_else(|| error.as_str().map(str::to_owned))
        .unwrap_or_else(|| "the provider reported an error without a message".to_owned());
    let codes = error_codes(error);
    let reason = match reason_for(None, &format!("{codes} {message}")) {
        FailReason::Unknown if codes.contains("server_error") || codes.contains("api_error") => {
            FailReason::Timeout
        }
        reason => reason,
    };
    ProviderError { reason, status: None, message, retry_after_ms: None }
}

/// The stream ended before the model had finished.
pub fn cut_short() -> ProviderError {
    transport("the provider closed the stream before the answer was complete")
}

/// The connection failed, or went silent.
pub fn transport(message: impl Into<String>) -> ProviderError {
    ProviderError {
        reason: FailReason::Timeout,
        status: None,
        message: message.into(),
        retry_after_ms: None,
    }
}

/// The provider sent something that is not its protocol.
pub fn malformed(detail: impl std::fmt::Display) -> ProviderError {
    ProviderError {
        reason: FailReason::Format,
        status: None,
        message: format!("the provider's answer is malformed: {detail}"),
        retry_after_ms: None,
    }
}

/// The model's configuration does not do; asking again cannot help.
pub fn unusable(message: impl Into<String>) -> ProviderError {
    ProviderError { reason: FailReason::Format, ..transport(message) }
}

fn reason_for(status: Option<u16>, text: &str) -> FailReason {
    let text = text.to_lowercase();
    let says = |marks: &[&str]| marks.iter().any(|mark| text.contains(mark));
    match status {
        Some(400 | 413 | 422) if says(CONTEXT_MARKS) => FailReason::ContextLength,
        Some(402) => FailReason::Billing,
        Some(400 | 403 | 429) if says(BILLING_MARKS) => FailReason::Billing,
        Some(429) => FailReason::RateLimit,
        Some(503 | 529) => FailReason::Overloaded,
        Some(403) if text.contains("revoked") || text.contains("disabled") => {
            FailReason::AuthPermanent
        }
        Some(401 | 403) => FailReason::Auth,
        Some(400 | 404 | 422) if says(MODEL_MARKS) => FailReason::ModelNotFound,
        Some(410) => FailReason::SessionExpired,
        Some(500..=599) if says(OVERLOAD_MARKS) => FailReason::Overloaded,
        Some(408 | 500..=599) => FailReason::Timeout,
        Some(400..=499) => FailReason::Format,
        _ if says(CONTEXT_MARKS) => FailReason::ContextLength,
        _ if says(BILLING_MARKS) => FailReason::Billing,
        _ if says(RATE_MARKS) => FailReason::RateLimit,
        _ if says(OVERLOAD_MARKS) => FailReason::Overloaded,
        _ => FailReason::Unknown,
    }
}

fn error_message(body: &Value) -> Option<String> {
    // Gemini wraps its error in a list when it fails before the first event.
    let body = body.get(0).unwrap_or(body);
    let error = body.get("error").unwrap_or(body);
    [error.get("message"), body.get("message"), body.get("detail"), Some(error)]
        .into_iter()
        .flatten()
        .find_map(Value::as_str)
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn error_codes(body: &Value) -> String {
    let body = body.get(0).unwrap_or(body);
    let error = body.get("error").unwrap_or(body);
    ["type", "code", "status"]
        .iter()
        .filter_map(|key| error.get(key).and_then(Value::as_str))
        .collect::<Vec<_>>()
        .join(" ")
}

impl FailReason {
    /// The spelling in logs, events and `auth-profiles.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::AuthPermanent => "auth_permanent",
            Self::Billing => "billing",
            Self::Format => "format",
            Self::ModelNotFound => "model_not_found",
            Self::SessionExpired => "session_expired",
            Self::ContextLength => "context_length",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the same request can succeed a moment later.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimit | Self::Overloaded | Self::Timeout)
    }

    /// Whether the next model of the chain should have a go.
    ///
    /// A conversation that is too long for one model is shortened instead.
    pub fn falls_over(self) -> bool {
        self != Self::ContextLength
    }
}

impl ProviderError {
    /// What users read.
    pub fn user_text(&self, provider: &str, model: &str) -> String {
        match (self.reason, self.status) {
            (FailReason::RateLimit, _) => RATE_LIMIT_TEXT.to_owned(),
            (FailReason::Overloaded, _) => OVERLOADED_TEXT.to_owned(),
            (FailReason::Billing, _) => format!(
                "⚠️ {provider} ({model}) returned a billing error — your API key has run out of \
                 credits or has an insufficient balance. Check your {provider} billing dashboard \
                 and top up or switch to a different API key."
            ),
            (_, Some(status @ (401 | 403))) => format!("{status} {}", self.message),
            (_, Some(status)) => format!("HTTP {status}: {}", self.message),
            (_, None) => self.message.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_answer_has_its_class_and_its_text() {
        let cases = [
            (429, "Rate limit reached for requests", "rate_limit", RATE_LIMIT_TEXT),
            (500, "Internal server error", "timeout", "HTTP 500: Internal server error"),
            (503, "The server is overloaded", "overloaded", OVERLOADED_TEXT),
            (529, "Overloaded", "overloaded", OVERLOADED_TEXT),
            (401, "Incorrect API key provided", "auth", "401 Incorrect API key provided"),
            (400, "bad request: something", "format", "HTTP 400: bad request: something"),
        ];
        for (status, message, reason, text) in cases {
            let body = serde_json::json!({"error": {"message": message}}).to_string();
            let error = http_error(status, &body, None);
            assert_eq!(error.reason.as_str(), reason, "{status}");
            assert_eq!(error.user_text("fake", "m"), text);
        }
        let broke =
            http_error(402, r#"{"error":{"message":"You have insufficient credits"}}"#, None);
        assert_eq!(broke.reason, FailReason::Billing);
        assert!(broke.user_text("fake", "pay-1").starts_with("⚠️ fake (pay-1) returned a billing"));
    }

    #[test]
    fn a_conversation_that_is_too_long_does_not_fall_over() {
        let body = r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","code":"context_length_exceeded"}}"#;
        let error = http_error(400, body, None);
        assert_eq!(error.reason, FailReason::ContextLength);
        assert!(!error.reason.falls_over());
    }

    #[test]
    fn bodies_of_any_shape_give_a_message() {
        let cases = [
            ("", "(no body)"),
            ("<html>bad gateway</html>", "(no body)"),
            ("plain words", "plain words"),
            (r#"{"error":"model 'x' not found"}"#, "model 'x' not found"),
            (r#"[{"error":{"message":"gemini says no"}}]"#, "gemini says no"),
        ];
        for (body, message) in cases {
            assert_eq!(http_error(400, body, None).message, message);
        }
    }

    #[test]
    fn an_error_inside_a_stream_is_classified_by_its_words() {
        let error =
            stream_error(&serde_json::json!({"type":"overloaded_error","message":"Overloaded"}));
        assert_eq!(error.reason, FailReason::Overloaded);
    }
}
