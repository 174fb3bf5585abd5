//! Who gets in, in which order things are checked, and how refusals look.

use openclaw::agents::providers::http::Http;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Bed, user};
use crate::support::program::{Gateway, TOKEN};

#[tokio::test]
async fn only_the_bearer_of_the_token_gets_in() {
    let bed = Bed::start(json!({})).await;
    let url = bed.url("/v1/models");
    let cases = [
        (bed.client.get(&url), 401),
        (bed.client.get(&url).bearer_auth("wrong"), 401),
        (bed.client.get(&url).basic_auth("u", Some(TOKEN)), 401),
        (bed.client.get(&url).header("x-api-key", TOKEN), 401),
        (bed.client.get(format!("{url}?token={TOKEN}")), 401),
        (bed.client.get(&url).header("authorization", format!("bearer   {TOKEN}  ")), 200),
    ];
    for (request, status) in cases {
        let reply = bed.send(request).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        if status == 401 {
            let body = json!({"error": {"message": "Unauthorized", "type": "unauthorized"}});
            assert_eq!(reply.json(), body);
            assert_eq!(reply.header("www-authenticate"), "");
        }
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_before_the_credential_is_looked_at() {
    let bed = Bed::start(json!({})).await;
    let cases = [
        ("POST", "/v1/models", "GET"),
        ("HEAD", "/v1/models", "GET"),
        ("OPTIONS", "/v1/models", "GET"),
        ("GET", "/v1/chat/completions", "POST"),
        ("GET", "/v1/responses", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ];
    for (method, path, allow) in cases {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let reply = bed.send(bed.client.request(method.clone(), bed.url(path))).await;
        assert_eq!((reply.status, reply.header("allow")), (405, allow), "{method} {path}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_off_is_not_there() {
    let off = json!({"gateway": {"http": {"endpoints": {
        "chatCompletions": {"enabled": false}, "responses": {"enabled": false}}}}});
    let bed = Bed::start(off).await;
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/hooks/wake"] {
        let reply = bed.post(path, &json!({})).await;
        assert_eq!((reply.status, reply.text.as_str()), (404, "Not Found"), "{path}");
    }
    assert_eq!(bed.get("/v1/models").await.status, 404);
}

#[tokio::test]
async fn the_models_are_the_agents() {
    let agents = json!({"agents": {"list": [{"id": "main", "default": true}, {"id": "research"}]}});
    let bed = Bed::start(agents).await;
    let list = bed.get("/v1/models?limit=1").await.json();
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["openclaw", "openclaw/default", "openclaw/main", "openclaw/research"]);
    let cases = [
        ("openclaw%2Fdefault", 200, "openclaw/default"),
        ("openclaw/research", 200, "openclaw/research"),
        ("openclaw%2Fnope", 404, "Model 'openclaw/nope' not found."),
        ("openclaw:research", 404, "Model 'openclaw:research' not found."),
        ("gpt-4o", 400, "Invalid model id."),
        ("", 400, "Missing model id."),
        ("%E0%A4%A", 400, "Invalid model id encoding."),
    ];
    for (id, status, text) in cases {
        let reply = bed.get(&format!("/v1/models/{id}")).await;
        assert_eq!(reply.status, status, "{id}");
        let body = reply.json();
        let said = if status == 200 { &body["id"] } else { &body["error"]["message"] };
        assert_eq!(said, text, "{id}");
    }
}

#[tokio::test]
async fn guessing_locks_out_even_the_right_secret_for_a_while() {
    let limit = json!({"gateway": {"auth": {"rateLimit": {
        "maxAttempts": 3, "windowMs": 3_600_000, "lockoutMs": 3_600_000, "exemptLoopback": false}}}});
    let bed = Bed::start(limit).await;
    let ask =
        |secret: &'static str| bed.send(bed.client.get(bed.url("/v1/models")).bearer_auth(secret));
    assert_eq!(bed.send(bed.client.get(bed.url("/v1/models"))).await.status, 401);
    for _ in 0..3 {
        assert_eq!(ask("wrong").await.status, 401);
    }
    let locked = ask(TOKEN).await;
    assert_eq!(locked.status, 429);
    assert_eq!(locked.json()["error"]["type"], "rate_limited");
    assert!((1..=3600).contains(&locked.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(bed.get("/healthz").await.status, 200);
    assert_eq!(bed.post("/v1/models", &json!({})).await.status, 405);
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_and_the_gateway_goes_on() {
    let limit = json!({"gateway": {"http": {"endpoints": {
        "chatCompletions": {"enabled": true, "maxBodyBytes": 2000}}}}});
    let bed = Bed::start(limit).await;
    let reply = bed.post("/v1/chat/completions", &user(&"x".repeat(3_000_000))).await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.json()["error"]["message"], "Payload too large");
    assert_eq!(bed.post("/v1/chat/completions", &user("SAY ok")).await.status, 200);
}

#[tokio::test]
async fn a_page_is_let_in_only_if_its_origin_is_named() {
    let origins = json!(["https://chat.example.com", "*"]);
    let bed = Bed::start(json!({"gateway": {"controlUi": {"allowedOrigins": origins}}})).await;
    let preflight = async |origin: &'static str| {
        let request = bed.client.request(reqwest::Method::OPTIONS, bed.url("/v1/models"));
        let request = request
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization,x-stainless-lang");
        bed.send(request).await
    };
    let named = preflight("https://chat.example.com").await;
    assert_eq!(named.status, 204);
    assert_eq!(named.header("access-control-allow-origin"), "https://chat.example.com");
    assert!(named.header("access-control-allow-headers").contains("authorization"));
    let other = preflight("https://elsewhere.example").await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (405, ""));
    let request = bed.client.get(bed.url("/v1/models")).bearer_auth(TOKEN);
    let read = bed.send(request.header("origin", "https://chat.example.com")).await;
    assert_eq!(read.header("access-control-allow-origin"), "https://chat.example.com");
    assert_eq!(read.header("vary"), "Origin");
}

#[tokio::test]
async fn a_proxy_on_this_host_is_believed_only_where_the_operator_said_so() {
    let config = json!({"gateway": {
        "bind": "lan",
        "auth": {"mode": "trusted-proxy", "token": null, "trustedProxy": {"userHeader": "x-user"}},
        "trustedProxies": ["127.0.0.1"],
        "controlUi": {"allowedOrigins": ["https://ui.example.com"]},
        "http": {"endpoints": {"chatCompletions": {"enabled": true}}}}});
    for (env, status) in [(&[][..], 401), (&[("OPENCLAW_TRUSTED_PROXY_ALLOW_LOOPBACK", "1")], 200)]
    {
        let gateway = Gateway::start_with(config.clone(), env).await;
        let url = format!("http://127.0.0.1:{}/v1/models", gateway.port);
        let client = Http::default().client(&url).unwrap();
        let answer = client.get(&url).header("x-user", "ann").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{}", gateway.log());
        let nobody = client.get(&url).send().await.unwrap();
        assert_eq!(nobody.status().as_u16(), 401);
    }
}

#[tokio::test]
async fn half_a_request_is_answered_when_its_sender_stops() {
    let bed = Bed::start(json!({})).await;
    for half in ["GET /heal", "GET /healthz HTTP/1.1\r\nHost: x\r\nAuth"] {
        let mut stream = TcpStream::connect(("127.0.0.1", bed.gateway.port)).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{half:?}: {answer:?}");
        assert!(answer.contains("\"type\":\"invalid_request_error\""), "{answer}");
    }
}
