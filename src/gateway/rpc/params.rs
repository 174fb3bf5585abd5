//! Reading parameters whose shape has been checked, and doing blocking work.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::lifecycle;
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

tokio::task_local! {
    /// The desk of the peer whose request this task answers.
    static DESK: Desk;
}

/// Where the blocking work of one peer is done: so much of it at once, the rest
/// waits without a thread, and is forgotten when the request is.
#[derive(Debug, Clone)]
pub struct Desk(Arc<Semaphore>);

impl Default for Desk {
    fn default() -> Self {
        /// More would leave none of the processors to other peers.
        const AT_ONCE: usize = 8;
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Desk {
    /// Has the [`blocking`] work of `request` done here.
    pub fn serve<F: Future>(&self, request: F) -> impl Future<Output = F::Output> + use<F> {
        DESK.scope(self.clone(), request)
    }
}

/// Runs blocking work off the async workers, at the desk of the peer who asks.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorShape> + Send + 'static,
) -> Result<T, ErrorShape> {
    let place = match DESK.try_with(|desk| Arc::clone(&desk.0)) {
        Ok(places) => places.acquire_owned().await.ok(),
        // The gateway itself asks.
        Err(_) => None,
    };
    let at_desk = move || {
        let _place = place;
        work()
    };
    lifecycle::spawn_blocking(at_desk)
        .await
        .unwrap_or_else(|err| Err(ErrorShape::unavailable(format!("Error: {err}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_work_of_one_peer_waits_for_its_own_desk_only() {
        let (busy, other) = (Desk::default(), Desk::default());
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let finished = Arc::new(std::sync::Mutex::new(finished));
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let job = || {
            let (began, finished) = (began.clone(), Arc::clone(&finished));
            Box::pin(busy.serve(blocking(move || {
                began.send(()).unwrap();
                finished.lock().unwrap().recv().unwrap();
                Ok(())
            })))
        };
        let mut jobs = futures_util::future::join_all((0..100).map(|_| job()));
        assert!(futures_util::poll!(&mut jobs).is_pending());
        for _ in 0..8 {
            begun.recv().await;
        }
        assert_eq!(other.serve(blocking(|| Ok(1))).await.unwrap(), 1);
        // Forgotten with its request; what has begun is let go.
        drop(jobs);
        for _ in 0..8 {
            finish.send(()).unwrap();
        }
        assert!(busy.serve(blocking(|| Ok(()))).await.is_ok());
        assert!(begun.try_recv().is_err(), "work began that nobody asks for any more");
    }

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
