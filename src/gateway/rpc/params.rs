//! Reading parameters whose shape has been checked, and doing blocking work.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::protocol::error::ErrorShape;

/// The text under `key`, trimmed; `None` when absent, blank or not text.
pub fn text<'v>(params: &'v Value, key: &str) -> Option<&'v str> {
    params.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// The whole number under `key`. JavaScript may write it as `3.0`.
pub fn uint(params: &Value, key: &str) -> Option<u64> {
    let value = params.get(key)?;
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and not negative"
        )]
        (float >= 0.0 && float.fract() == 0.0).then_some(float as u64)
    })
}

/// The switch under `key`.
pub fn flag(params: &Value, key: &str) -> Option<bool> {
    params.get(key)?.as_bool()
}

/// The texts of the list under `key`.
pub fn texts(params: &Value, key: &str) -> Option<Vec<String>> {
    let list = params.get(key)?.as_array()?;
    Some(list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
}

/// All parameters as a typed value.
pub fn typed<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, ErrorShape> {
    serde_json::from_value(params)
        .map_err(|err| ErrorShape::invalid(format!("invalid {method} params: {err}")))
}

/// Runs blocking work off the async workers.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorShape> + Send + 'static,
) -> Result<T, ErrorShape> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|err| Err(ErrorShape::unavailable(format!("Error: {err}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_as_javascript_writes_them() {
        let params = json!({"a": 3, "b": 3.0, "c": 3.5, "d": -1, "e": " x ", "f": " "});
        assert_eq!(uint(&params, "a"), Some(3));
        assert_eq!(uint(&params, "b"), Some(3));
        assert_eq!(uint(&params, "c"), None);
        assert_eq!(uint(&params, "d"), None);
        assert_eq!(text(&params, "e"), Some("x"));
        assert_eq!(text(&params, "f"), None);
    }
}
