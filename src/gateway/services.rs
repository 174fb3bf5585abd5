//! What the method families keep between calls, besides what has its own owner.

use crate::agents::public_web::PublicWeb;
use crate::config::Config;
use crate::gateway::approvals::Desk;
use crate::gateway::cron::Cron;
use crate::gateway::heartbeat::Heartbeats;
use crate::gateway::nodes::Registry;
use crate::gateway::nodes::pairing::Book;
use crate::gateway::restart::Restart;
use crate::profile::paths::Paths;

/// State of the method families.
#[derive(Debug)]
pub struct Services {
    /// Commands that wait for an operator.
    pub exec_approvals: Desk,
    /// Plugin actions that wait for an operator.
    pub plugin_approvals: Desk,
    pub nodes: Registry,
    pub node_book: Book,
    pub heartbeats: Heartbeats,
    pub cron: Cron,
    pub restart: Restart,
    /// For webhooks.
    pub web: PublicWeb,
}

impl Services {
    /// Reads nothing yet.
    pub fn new(config: &Config, paths: &Paths) -> Self {
        Self {
            exec_approvals: Desk::default(),
            plugin_approvals: Desk::default(),
            nodes: Registry::default(),
            node_book: Book::new(&paths.state),
            heartbeats: Heartbeats::default(),
            cron: Cron::new(config, paths),
            restart: Restart::default(),
            web: PublicWeb::default(),
        }
    }
}
