//! [`Work`]: the future of an operation, as the core makes it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use lighter_cache::Result;
use lighter_cache::runtime::{self, Hosted};

use super::answer::Answer;

type Boxed = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// A future of the core that the event loop polls.
pub(super) enum Work {
    /// Of a Local cache: it needs no thread of the library.
    Local(Boxed),
    Remote(Hosted<Boxed>),
}

impl Work {
    pub(super) fn new(
        local: bool,
        future: impl Future<Output = Result<Answer>> + Send + 'static,
    ) -> Result<Self> {
        let future: Boxed = Box::pin(future);
        if local { Ok(Self::Local(future)) } else { runtime::hosted(future).map(Self::Remote) }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer>> {
        match self {
            Self::Local(future) => future.as_mut().poll(context),
            Self::Remote(future) => {
                Pin::new(future).poll(context).map(|outcome| outcome.and_then(|answer| answer))
            }
        }
    }
}
