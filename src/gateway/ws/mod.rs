//! The WebSocket control plane: greeting before `connect`, session after it,
//! one task per socket.

pub mod greeting;
pub mod outbox;
pub mod peer;
pub mod session;
pub mod socket;
pub mod traffic;
pub mod upgrade;
pub mod wire;

pub use outbox::Outbox;
pub use peer::Peer;
