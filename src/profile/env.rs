//! The only reader of environment variables. Read once, then a value.

use std::collections::BTreeMap;
use std::fmt;

/// A snapshot of the environment.
///
/// Values spelled `undefined` or `null`, which scripts sometimes export, count
/// as unset for the `OPENCLAW_*` variables.
#[derive(Clone, Default)]
pub struct Env {
    vars: BTreeMap<String, String>,
}

impl fmt::Debug for Env {
    /// Shows the names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

impl Env {
    /// Reads the process environment; non-UTF-8 entries are left out.
    #[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
    pub fn from_process() -> Self {
        let vars = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { vars }
    }

    /// The variable, trimmed; `None` when unset or blank.
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = self.vars.get(key)?.trim();
        let unset = value.is_empty()
            || (key.starts_with("OPENCLAW_") && matches!(value, "undefined" | "null"));
        (!unset).then_some(value)
    }

    /// The variable exactly as it is set.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.vars.get(key).map(String::as_str)
    }

    /// Whether a switch is on: `1`, `true`, `yes` or `on`, in any case.
    pub fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| {
            matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
        })
    }

    /// Sets a variable of this snapshot; the process environment stays as it is.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.vars.insert(key.into(), value.into());
    }

    /// Sets a variable unless it has a value already.
    pub fn set_default(&mut self, key: &str, value: impl Into<String>) {
        if self.get(key).is_none() {
            self.set(key, value);
        }
    }

    /// Every variable, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self { vars: pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_and_scripted_nulls_count_as_unset() {
        let env: Env =
            [("OPENCLAW_HOME", "undefined"), ("A", "  "), ("B", " x ")].into_iter().collect();
        assert_eq!(env.get("OPENCLAW_HOME"), None);
        assert_eq!(env.get("A"), None);
        assert_eq!(env.get("B"), Some("x"));
    }
}
