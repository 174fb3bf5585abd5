//! Floor 3: chat networks. Knows no agent and no gateway: it emits [`Kept`]
//! messages and takes [`Outbound`] ones.
//!
//! In: `account → gate (dedupe, policy, mention) → inbox on disk → out`.
//! Out: `accept (queue on disk) → lane of the place → account`.

pub mod action;
pub mod channel;
pub mod chunk;
pub mod delivery;
pub mod gate;
mod http;
pub mod inbox;
pub mod irc;
pub mod link;
pub mod manager;
pub mod markdown;
mod matrix;
pub mod message;
pub mod pairing;
pub mod policy;
pub mod status;
mod supervise;
mod telegram;
mod tls;

pub use channel::{Kind, is_known, kind, kinds};
pub use inbox::Kept;
pub use manager::Channels;
pub use message::{Inbound, Outbound};
