//! What goes wrong on the way to a model, and what is made of it.

use futures_util::StreamExt;
use openclaw::agents::providers::FailReason;
use openclaw::base::secret::Secret;

use super::{ask, call, models, user};
use crate::support::fake_provider::FakeProvider;

#[tokio::test]
async fn passing_failures_are_tried_three_times_and_others_once() {
    let cases = [
        ("fake/fail429", FailReason::RateLimit, 3),
        ("fake/fail500", FailReason::Timeout, 3),
        ("fake/fail503", FailReason::Overloaded, 3),
        ("fake/fail401", FailReason::Auth, 1),
        ("fake/fail400", FailReason::Format, 1),
        ("fake/fail402", FailReason::Billing, 1),
        ("fake/ctxover", FailReason::ContextLength, 1),
    ];
    for (model, reason, requests) in cases {
        let server = FakeProvider::start().await;
        let error = ask(call(&server, model, vec![user("hi")]).await).await.unwrap_err();
        assert_eq!(error.reason, reason, "{model}");
        assert_eq!(server.requests().len(), requests, "{model}");
    }
}

#[tokio::test]
async fn what_a_server_was_told_in_confidence_is_not_repeated() {
    for model in ["fake/repeats", "fake/repeats-late"] {
        let server = FakeProvider::start().await;
        let mut call = call(&server, model, vec![user("hi")]).await;
        let mut confided = (*call.model).clone();
        confided.api_key = Some(Secret::new("key-in-confidence"));
        confided.headers.push(("x-note".into(), "note-in-confidence".into()));
        call.model = confided.into();
        let error = ask(call).await.unwrap_err();
        assert_eq!(error.message, "Incorrect API key: Bearer *** (***)", "{model}");
        let sent = &server.requests()[0].headers;
        assert_eq!(sent["authorization"], "Bearer key-in-confidence");
        assert_eq!(sent["x-note"], "note-in-confidence");
    }
}

#[tokio::test]
async fn a_server_that_recovers_is_not_noticed() {
    let server = FakeProvider::start().await;
    let parts = ask(call(&server, "fake/flaky-1", vec![user("SAY ok")]).await).await.unwrap();
    assert!(!parts.is_empty());
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_stream_that_is_cut_says_what_came_and_then_fails() {
    let server = FakeProvider::start().await;
    let call = call(&server, "fake/midcut-1", vec![user("hi")]).await;
    let models = models();
    let provider = models.registry.get("openai-completions").unwrap();
    let mut stream = provider.stream(call).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first, openclaw::agents::providers::Part::Text("Hello ".into()));
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason, FailReason::Timeout);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_server_that_hangs_fails_after_the_time_it_was_given() {
    let server = FakeProvider::start().await;
    let error = ask(call(&server, "fake/hang-1", vec![user("hi")]).await).await.unwrap_err();
    assert_eq!(error.reason, FailReason::Timeout);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn nobody_listening_is_a_connection_error() {
    let server = FakeProvider::start().await;
    let mut call = call(&server, "fake/good-1", vec![user("hi")]).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut model = (*call.model).clone();
    model.base_url = format!("http://{closed}/v1");
    call.model = model.into();
    let error = ask(call).await.unwrap_err();
    assert_eq!((error.reason, error.status), (FailReason::Timeout, None));
    assert!(error.message.starts_with("Connection error: "), "{}", error.message);
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let server = FakeProvider::start().await;
    let models = models();
    let call = call(&server, "fake/good-1", vec![user("SLOWLY")]).await;
    let provider = models.registry.get("openai-completions").unwrap();
    let mut stream = provider.stream(call).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(server.open_streams(), 1);
    drop(stream);
    let gone = async {
        while server.cut_by_client() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), gone).await.unwrap();
}
