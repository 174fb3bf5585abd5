//! Feeds the manager's watchdog, but only after proof: the caller's probe goes
//! through the real accept path, handshake and dispatcher, and the state
//! directory takes a write. A process that merely runs is not fed.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::lifecycle::{self, CancellationToken};
use crate::logging::catalog;
use crate::supervise::notify::Notifier;

/// Name of the file whose writing proves that the state directory works.
const WRITE_PROBE: &str = ".watchdog";

/// Probes at half the period until `stop`, and feeds the watchdog after each
/// probe that succeeds within that half.
///
/// A failed probe is repeated at a quarter of the pace's remainder, so that one
/// slow moment does not cost the whole period.
pub async fn feed<F, P>(period: Duration, state_dir: PathBuf, probe: P, stop: CancellationToken)
where
    P: Fn() -> F + Send,
    F: Future<Output = Result<(), String>> + Send,
{
    let pace = period / 4;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let began = Instant::now();
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = timeout(period / 2, prove(&state_dir, &probe)) => outcome,
        };
        match outcome {
            Ok(Ok(())) => {
                Notifier.alive();
                if failures > 0 {
                    tracing::info!(
                        lifecycle = catalog::HEALTHY,
                        failures,
                        "the watchdog probe succeeds again"
                    );
                }
                failures = 0;
            }
            Ok(Err(problem)) => {
                failures += 1;
                tracing::warn!(lifecycle = catalog::UNHEALTHY, failures, err = %problem, "the watchdog probe failed; not feeding");
            }
            Err(_) => {
                failures += 1;
                let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    lifecycle = catalog::UNHEALTHY,
                    failures,
                    elapsed_ms,
                    "the watchdog probe got no answer in time"
                );
            }
        }
    }
}

async fn prove<F, P>(state_dir: &Path, probe: &P) -> Result<(), String>
where
    P: Fn() -> F,
    F: Future<Output = Result<(), String>>,
{
    probe().await?;
    let dir = state_dir.to_path_buf();
    let write = lifecycle::spawn_blocking(move || write_probe(&dir));
    match write.await {
        Ok(Ok(())) => Ok(()),
        // A full disk is the operator's problem and a restart does not free it:
        // the gateway still answers, so it goes on living and says so.
        Ok(Err(err)) if err.kind() == io::ErrorKind::StorageFull => {
            tracing::error!(%err, "the state directory is full");
            Ok(())
        }
        Ok(Err(err)) => Err(format!("the state directory is not writable: {err}")),
        Err(err) => Err(format!("the write probe ended: {err}")),
    }
}

/// Writes and reads back a small file in the state directory.
fn write_probe(dir: &Path) -> io::Result<()> {
    let path = dir.join(WRITE_PROBE);
    let stamp = std::process::id().to_string();
    crate::store::atomic::write(&path, stamp.as_bytes(), crate::store::atomic::Sync::No)?;
    if std::fs::read(&path)? == stamp.as_bytes() {
        Ok(())
    } else {
        Err(io::Error::other("the probe file does not hold what was written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_probe_or_directory_is_no_proof() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(prove(dir.path(), &|| async { Ok(()) }).await, Ok(()));
        assert_eq!(
            prove(dir.path(), &|| async { Err("dispatcher stuck".to_owned()) }).await,
            Err("dispatcher stuck".into())
        );
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(prove(&file.join("below"), &|| async { Ok(()) }).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn feeding_ends_with_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        feed(Duration::from_secs(60), dir.path().into(), || async { Ok(()) }, stop).await;
    }
}
