//! Floor 4: the composition root. `build()` binds and wires, `run()` serves.

pub mod approvals;
pub mod blocked;
pub mod boots;
pub mod nodes;
pub mod options;
pub mod rpc;
pub mod state;

pub use options::RunOptions;
pub use state::State;
