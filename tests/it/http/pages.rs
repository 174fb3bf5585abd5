//! Probes and pages for people.

use std::fs;

use serde_json::json;

use super::Bed;
use crate::support::program::TOKEN;

#[tokio::test]
async fn probes_tell_strangers_less() {
    let bed = Bed::start(json!({})).await;
    let live = bed.get("/healthz?x=1").await;
    assert_eq!(live.json(), json!({"ok": true, "status": "live"}));
    assert_eq!(live.header("cache-control"), "no-store");
    let local = bed.send(bed.client.get(bed.url("/readyz"))).await.json();
    assert_eq!((local["ready"].as_bool(), local["failing"].is_array()), (Some(true), true));
    let forwarded = bed.client.get(bed.url("/readyz")).header("x-forwarded-for", "1.2.3.4");
    assert_eq!(bed.send(forwarded).await.json(), json!({"ready": true}));
}

#[tokio::test]
async fn the_root_is_a_status_page_and_apis_are_never_pages() {
    let bed = Bed::start(json!({})).await;
    for path in ["/", "/chat"] {
        let page = bed.get(path).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert!(page.header("content-security-policy").contains("script-src 'self';"));
        assert!(page.text.contains(">serving</p>"), "{}", page.text);
        assert!(!page.text.contains("<script") && !page.text.contains(TOKEN));
    }
    let local = bed.get("/").await.text;
    assert!(local.contains("<dt>Model</dt><dd>fake/good-1</dd>"), "{local}");
    let request = bed.client.get(bed.url("/")).header("x-forwarded-for", "1.2.3.4");
    let forwarded = bed.send(request).await.text;
    assert!(!forwarded.contains("<dt>") && forwarded.contains(">serving</p>"), "{forwarded}");
    let style = bed.get("/chat/assets/status.css").await;
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8"));
    assert_eq!(bed.get("/favicon.svg").await.header("content-type"), "image/svg+xml");
    for path in
        ["/assets/nope.js", "/ui/", "/plugins/x", "/api/x", "/tools/x", "/..%2f..%2fetc/passwd"]
    {
        assert_eq!(bed.get(path).await.status, 404, "{path}");
    }
    let unknown = bed.get("/v1/foo").await;
    assert_eq!(
        (unknown.status, unknown.json()["error"]["type"].as_str()),
        (404, Some("not_found"))
    );
    let config = bed.get("/__openclaw/control-ui-config.json").await.json();
    assert_eq!(
        config,
        json!({"basePath": "", "assistantName": "Assistant", "assistantAvatar": "A"})
    );
    assert_eq!(bed.get("/avatar/main?meta=1").await.json(), json!({"avatarUrl": null}));
    assert_eq!(bed.get("/avatar/main/x").await.status, 404);
}

#[tokio::test]
async fn a_directory_is_served_below_its_base_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("index.html"), "<script>let a = 1;</script>").unwrap();
    fs::create_dir(dir.path().join("assets")).unwrap();
    fs::write(dir.path().join("assets/x.css"), "p{}").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("leak.txt")).unwrap();
    let config = json!({"gateway": {
        "controlUi": {"basePath": "openclaw/", "root": dir.path()},
        "http": {"securityHeaders": {"strictTransportSecurity": "max-age=300"}}}});
    let bed = Bed::start(config).await;
    let moved = bed.get("/openclaw?a=1").await;
    assert_eq!((moved.status, moved.header("location")), (302, "/openclaw/?a=1"));
    let page = bed.get("/openclaw/chat").await;
    assert_eq!(page.text, "<script>let a = 1;</script>");
    assert_eq!(page.header("strict-transport-security"), "max-age=300");
    let style = bed.get("/openclaw/chat/assets/x.css").await;
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8"));
    for path in ["/", "/openclawx", "/openclaw/leak.txt", "/openclaw/assets/nope.js"] {
        assert_eq!(bed.get(path).await.status, 404, "{path}");
    }
}
