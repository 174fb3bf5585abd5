//! Text that must never be printed.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A token, password or key. `Debug` hides it and comparison takes constant time.
/// Its memory is wiped when it goes, as all memory is (`wiping`).
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The text itself; name the reason at the call when it is not obvious.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares without telling by its duration how much was right.
    #[must_use]
    pub fn matches(&self, candidate: &str) -> bool {
        let own = Sha256::digest(self.0.as_bytes());
        let other = Sha256::digest(candidate.as_bytes());
        bool::from(own.as_slice().ct_eq(other.as_slice()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_compares_but_does_not_print() {
        let secret = Secret::new("sk-live");
        assert!(secret.matches("sk-live"));
        assert!(!secret.matches("sk-live "));
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }
}
