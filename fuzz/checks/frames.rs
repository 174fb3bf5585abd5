//! The frames of strangers, before and after `connect`: no text makes the
//! conversation panic, and whatever is refused is refused with a code, a text
//! and a close reason that fits into a close frame. What the fuzzer runs, and
//! the tests with the inputs that it found.

use std::sync::{Arc, LazyLock};

use openclaw::gateway::rpc::Caller;
use openclaw::gateway::ws::greeting::Hello;
use openclaw::gateway::ws::session::{Refusal, Session, Step};
use openclaw::protocol::connect::Client;
use openclaw::protocol::frame;
use openclaw::protocol::scope::{Role, Scopes};

fn caller(protocol: u64, role: Role, scope: &str) -> Arc<Caller> {
    Arc::new(Caller {
        conn_id: "c".to_owned(),
        protocol,
        role,
        scopes: Scopes::new(vec![scope.to_owned()]),
        client: Client::default(),
        device_id: None,
        remote_ip: None,
        local: true,
        caps: Vec::new(),
        commands: Vec::new(),
        path_env: None,
        permissions: serde_json::Map::new(),
        connected_at: 0,
    })
}

static CALLERS: LazyLock<[Arc<Caller>; 4]> = LazyLock::new(|| {
    [
        caller(3, Role::Operator, "operator.admin"),
        caller(4, Role::Operator, "operator.admin"),
        caller(3, Role::Operator, "operator.read"),
        caller(4, Role::Node, ""),
    ]
});

fn check(refusal: Refusal) {
    let frame = frame::response(&refusal.id, &Err(refusal.error));
    let frame: serde_json::Value = serde_json::from_str(&frame).expect("an answer is JSON");
    assert_eq!(frame["ok"], false);
    let text = |name: &str| frame["error"][name].as_str().is_some_and(|text| !text.is_empty());
    assert!(text("code") && text("message"), "an error has a code and a text");
}

/// One conversation: each line is a frame.
pub fn hold(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(rejection) = Hello::read(&text) {
        assert!((1000..5000).contains(&rejection.code), "a close has a code");
    }
    for caller in CALLERS.iter() {
        let mut session = Session::new(Arc::clone(caller));
        for line in text.lines() {
            match session.on_text(line) {
                Step::Refuse(refusal) => check(refusal),
                Step::Close { last, reason, .. } => {
                    check(last);
                    assert!(reason.len() <= 123, "a close reason fits its frame");
                }
                Step::Run(..) => {}
            }
        }
    }
}
