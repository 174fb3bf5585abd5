//! From an edited file to what has to happen in the running gateway: noticing
//! it, finding what differs, planning. Applying is the gateway's business.

pub mod diff;
pub mod plan;
pub mod watch;
