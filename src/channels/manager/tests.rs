//! The health monitor and the task that keeps an account running, together,
//! over an account whose connection stays open but says nothing any more.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::*;
use crate::channels::channel::{Capabilities, Fault, SendError};
use crate::channels::message::{Inbound, Piece, Sent};
use crate::channels::policy::GroupRules;
use crate::config::Live;

/// The runtime's own time, which the test lets pass.
#[derive(Debug)]
struct Paused(Instant);

impl Clock for Paused {
    fn now_ms(&self) -> u64 {
        1_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

#[derive(Debug)]
struct Deaf;

impl Listener for Deaf {
    fn is_addressed(&self, _: &Inbound) -> bool {
        false
    }

    fn is_command(&self, _: &str) -> bool {
        false
    }

    fn history_limit(&self, _: &Inbound) -> usize {
        0
    }
}

/// Connections that were made.
static CONNECTED: AtomicUsize = AtomicUsize::new(0);

/// Connects, and then hears nothing for ever.
#[derive(Debug)]
struct Silent;

impl Account for Silent {
    fn run(
        self: Arc<Self>,
        link: Link,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            CONNECTED.fetch_add(1, Ordering::SeqCst);
            link.status.connected();
            stop.cancelled().await;
            Ok(())
        })
    }

    fn send<'a>(&'a self, _: &'a Piece) -> BoxFuture<'a, Result<Sent, SendError>> {
        Box::pin(async { Err(SendError::not_sent("silent")) })
    }

    fn probe(&self, _: Duration) -> BoxFuture<'_, Value> {
        Box::pin(async { json!({"ok": true}) })
    }

    fn facts(&self) -> Map<String, Value> {
        Map::new()
    }
}

static SILENT: Kind = Kind {
    id: "silent",
    label: "Silent",
    detail_label: "Silent",
    system_image: None,
    capabilities: Capabilities { chat_types: &[], features: &[] },
    text_limit: 1000,
    most_text: 4000,
    line_bytes: None,
    groups: GroupRules { senders_key: "users", senders_optional: false, falls_back: false },
    id_label: "Your id",
    idempotent: false,
    env_credential: None,
    has_credentials: |_| true,
    open: |_| Ok(Arc::new(Silent)),
};

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_open_but_dead_is_replaced_and_one_that_may_be_silent_is_not() {
    let home = tempfile::tempdir().unwrap();
    let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
    let paths = Paths::resolve(&env);
    let snapshot = crate::config::load::read(&paths, &env);
    let began = Instant::now();
    let deps = Deps {
        env: Arc::new(env),
        paths,
        lifecycle: Lifecycle::default(),
        clock: Arc::new(Paused(began)),
    };
    let (channels, _kept) = Channels::new(deps, Arc::new(Deaf));
    for (id, watched) in [("watched", true), ("left-alone", false)] {
        let settings = json!({"healthMonitor": {"enabled": watched}});
        let made_of = Value::Null;
        let wanted = Wanted { kind: &SILENT, id: id.into(), enabled: true, settings, made_of };
        let row = channels.open(wanted, &snapshot);
        channels.0.roster.lock().insert(("silent".to_owned(), id.to_owned()), row);
    }
    channels.watch_health(Live::new(snapshot));

    // Two at first; only the watched one again, after half an hour of silence each time.
    while CONNECTED.load(Ordering::SeqCst) < 4 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(began.elapsed() < Duration::from_secs(3 * 3600), "nothing was replaced");
    }
    assert!(began.elapsed() > Duration::from_secs(3600), "{:?}", began.elapsed());
    let started = |id| {
        let status = channels.account("silent", id).unwrap().status.clone();
        assert!(status.is_connected(), "{id}");
        status.known().last_start_at.unwrap()
    };
    assert_eq!(started("left-alone"), 1_000_000);
    assert!(started("watched") > 1_000_000 + 3_600_000);
    assert!(channels.failing().is_empty());
    channels.0.deps.lifecycle.stopping().cancel();
}
