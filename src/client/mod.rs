//! Floor 3: our own WebSocket client, used by the command line, by probes and
//! by tests. One connection serves one command: dial, prove who we are, call,
//! hang up. Knows nothing of the server's insides.

pub mod connection;
pub mod credentials;
pub mod dial;
pub mod discover;
pub mod error;
pub mod handshake;
pub mod identity;
pub mod target;
pub mod tls;
pub mod tunnel;

pub use connection::{Connection, Expect, Incoming};
pub use credentials::Credentials;
pub use error::ClientError;
pub use handshake::{Caller, Connector};
pub use identity::Identity;
pub use target::Target;
