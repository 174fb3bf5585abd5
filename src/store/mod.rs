//! Floor 2: durable state. Files are replaced whole, never half-written.

pub mod archive;
pub mod atomic;
pub mod exec_approvals;
pub mod lock;
pub mod tasks;
pub mod trash;
