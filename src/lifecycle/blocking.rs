//! Work that blocks, on a thread for such work.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::{JoinError, JoinHandle};

type Anything = Box<dyn Any + Send>;

/// What [`tokio::task::spawn_blocking`] does. That one is compiled for each kind
/// of work, several kilobytes each time; this one leads all of it through one.
#[expect(clippy::disallowed_methods, reason = "the one place that does")]
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    let work: Box<dyn FnOnce() -> Anything + Send> = Box::new(|| Box::new(work()));
    Blocking { handle: tokio::task::spawn_blocking(work), result: PhantomData }
}

/// Work that was begun. It goes on when this is dropped.
#[derive(Debug)]
pub struct Blocking<T> {
    handle: JoinHandle<Anything>,
    result: PhantomData<fn() -> T>,
}

impl<T: 'static> Future for Blocking<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = ready!(Pin::new(&mut self.handle).poll(cx));
        Poll::Ready(done.map(|result| match result.downcast::<T>() {
            Ok(result) => *result,
            Err(_) => unreachable!("the work returns what it was made with"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_comes_back_and_a_panic_is_an_error() {
        assert_eq!(spawn_blocking(|| vec![1, 2]).await.unwrap(), [1, 2]);
        let failed = spawn_blocking(|| assert!(std::process::id() == 0)).await;
        assert!(failed.unwrap_err().is_panic());
    }
}
