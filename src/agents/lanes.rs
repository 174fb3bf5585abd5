//! Where runs wait: one queue per session, then a global lane with a limited
//! number of runs at a time.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::agents::run::Lane;
use crate::agents::runtime::Run;
use crate::config::Config;

/// Runs at a time in the main lane unless configured.
const MAIN_LIMIT: usize = 4;
const CRON_LIMIT: usize = 1;
const SUBAGENT_LIMIT: usize = 8;
/// Nested runs wait for nobody, or two sessions that ask each other would.
const NESTED_LIMIT: usize = 1024;

/// A lane whose width follows the configuration.
#[derive(Debug)]
struct Gate {
    permits: Arc<Semaphore>,
    width: Mutex<usize>,
}

impl Gate {
    fn new(width: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(width)), width: Mutex::new(width) }
    }

    /// Widens at once; narrows as far as permits are free.
    fn resize(&self, wanted: usize) {
        let mut width = self.width.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted > *width {
            self.permits.add_permits(wanted - *width);
            *width = wanted;
        } else if wanted < *width {
            *width -= self.permits.forget_permits(*width - wanted);
        }
    }
}

/// The global lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    main: Gate,
    cron: Gate,
    subagent: Gate,
    nested: Gate,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            main: Gate::new(MAIN_LIMIT),
            cron: Gate::new(CRON_LIMIT),
            subagent: Gate::new(SUBAGENT_LIMIT),
            nested: Gate::new(NESTED_LIMIT),
        }
    }
}

impl Lanes {
    /// Waits for a place; first come, first served.
    pub(crate) async fn enter(&self, lane: Lane, config: &Config) -> Option<OwnedSemaphorePermit> {
        let gate = match lane {
            Lane::Main => &self.main,
            Lane::Cron => &self.cron,
            Lane::Subagent => &self.subagent,
            Lane::Nested => &self.nested,
        };
        gate.resize(limit(lane, config));
        Arc::clone(&gate.permits).acquire_owned().await.ok()
    }
}

fn limit(lane: Lane, config: &Config) -> usize {
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
    };
    let wanted = match lane {
        Lane::Main => config.agents.defaults.max_concurrent.unwrap_or(MAIN_LIMIT),
        Lane::Cron => number(config.cron.get("maxConcurrentRuns")).unwrap_or(CRON_LIMIT),
        Lane::Subagent => {
            number(config.agents.defaults.subagents.get("maxConcurrent")).unwrap_or(SUBAGENT_LIMIT)
        }
        Lane::Nested => NESTED_LIMIT,
    };
    wanted.clamp(1, NESTED_LIMIT)
}

/// One session's queue. It exists as long as something runs or waits.
#[derive(Debug, Default)]
pub(crate) struct SessionLane {
    pub(crate) active: Option<Arc<Run>>,
    pub(crate) waiting: VecDeque<Arc<Run>>,
    /// First lines of messages that a full queue dropped.
    pub(crate) dropped: Vec<String>,
}

/// All sessions with something to do.
pub(crate) type SessionLanes = Mutex<HashMap<String, SessionLane>>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_lane_lets_in_as_many_as_configured_and_follows_changes() {
        let config = |width: u64| -> Config {
            serde_json::from_value(json!({"agents": {"defaults": {"maxConcurrent": width}}}))
                .unwrap()
        };
        let lanes = Lanes::default();
        let first = lanes.enter(Lane::Main, &config(1)).await;
        assert!(first.is_some());
        let narrow = config(1);
        let waiting = lanes.enter(Lane::Main, &narrow);
        assert!(futures_util::FutureExt::now_or_never(waiting).is_none());
        assert!(lanes.enter(Lane::Main, &config(2)).await.is_some());
    }
}
