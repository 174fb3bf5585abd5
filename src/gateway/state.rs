//! What handlers share.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::config::Live;
use crate::lifecycle::Lifecycle;
use crate::profile::env::Env;
use crate::profile::paths::Paths;

/// The running gateway as its handlers see it.
#[derive(Debug)]
pub struct State {
    pub config: Live,
    pub env: Arc<Env>,
    pub paths: Paths,
    pub clock: Arc<dyn Clock>,
    pub lifecycle: Lifecycle,
    /// Milliseconds since the Unix epoch.
    pub started_at: u64,
}
