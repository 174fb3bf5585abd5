//! Floor 2: durable state. Files are replaced whole, never half-written.

pub mod atomic;
pub mod exec_approvals;
pub mod lock;
pub mod trash;
