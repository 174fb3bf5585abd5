//! The task tree: every background task has a name, a stop token and someone
//! who waits for it. `tokio::spawn` is used nowhere else.
//!
//! It stands on floor 1, not in `supervise`, because agents, channels and the
//! gateway all own background work (see `docs/adr/002-lifecycle-floor.md`).

mod blocking;
pub mod child;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

pub use blocking::{Blocking, spawn_blocking};
pub use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owner of background tasks. Clones share one tree.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: TaskTracker,
    running: Running,
}

/// How many tasks of each name there are.
type Running = Arc<Mutex<BTreeMap<&'static str, usize>>>;

impl Lifecycle {
    /// Runs `task` until it ends or everything stops.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listed = Listed::new(name, &self.running);
        let task = Task { future: Box::pin(task(self.stop.child_token())), _listed: listed };
        tokio::spawn(self.tasks.track_future(task));
    }

    /// The token that is cancelled when everything stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Asks every task to stop and waits at most `grace` for them.
    ///
    /// Returns `false` if some task was still running at the deadline.
    #[must_use]
    pub async fn shut_down(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return true;
        }
        let left = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tracing::warn!(tasks = ?left, "tasks were still running when the grace ended");
        false
    }
}

/// Any task: what the runtime does with tasks is compiled for each type of them,
/// so there is one.
struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    _listed: Listed,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(cx)
    }
}

/// An entry in the list of running tasks, for as long as the task exists.
#[derive(Debug)]
struct Listed {
    name: &'static str,
    running: Running,
}

impl Listed {
    fn new(name: &'static str, running: &Running) -> Self {
        *running.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Self { name, running: Arc::clone(running) }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shut_down_reports_a_task_that_ignores_the_token() {
        let lifecycle = Lifecycle::default();
        lifecycle.spawn("stubborn", |_stop| std::future::pending());
        assert!(!lifecycle.shut_down(Duration::from_secs(5)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn shut_down_waits_for_a_task_that_cleans_up() {
        let lifecycle = Lifecycle::default();
        lifecycle.spawn("tidy", |stop| async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        assert!(lifecycle.shut_down(Duration::from_secs(5)).await);
    }
}
