//! Floor 0: values without I/O that every other module may use.

pub mod backoff;
pub mod cause;
pub mod clock;
pub mod duration;
pub mod ed25519;
pub mod embedded;
pub mod hex;
pub mod id;
pub mod json;
pub mod nearest;
pub mod redact;
pub mod secret;
mod wiping;

/// The release whose wire protocol, files and command line this binary speaks.
///
/// Part of the wire contract: `hello-ok.server.version`, `status.runtimeVersion`
/// and `--version` show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
