//! Floor 4: the composition root. `build()` binds and wires, `run()` serves.

pub mod rpc;
pub mod state;

pub use state::State;
