//! Stopping: whenever the signal comes, the gateway ends in order and soon.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::program::Gateway;

/// Far less than the limit after which a stop gives up on what still runs.
const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_stop_right_after_the_port_opened_ends_at_once() {
    for round in 0..20 {
        let mut gateway = Gateway::spawn(json!({}));
        while TcpStream::connect(("127.0.0.1", gateway.port)).await.is_err() {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        let status = gateway.stop().await;
        assert!(status.success(), "round {round}: {status}:\n{}", gateway.log());
        assert!(began.elapsed() < SOON, "round {round}: {:?}:\n{}", began.elapsed(), gateway.log());
    }
}
