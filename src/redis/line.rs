//! [`Line`]: sends requests for an operation of several steps, so that the operation is written once for
//! callers with and without an event loop.
//!
//! On a blocking line every send does its work on the caller's thread and is ready when it returns: the
//! whole operation is ready at its first poll, which is all that [`now`] gives it.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ::redis::{Cmd, Value as Reply};

use super::Shared;
use super::commands::{Body, Replies, Request, surprise};
use super::error_map::is_tryagain;
use super::scripts::{Invocation, is_unknown};
use crate::error::{ErrorKind, Result};

/// What an operation sends its requests by.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    shared: &'a Arc<Shared>,
    blocking: bool,
    /// Over the connection of the invalidation stream.
    tracked: bool,
    deadline: Instant,
}

/// One command of a batch.
#[derive(Clone)]
pub(super) enum Item<'a> {
    Command(Cmd),
    Script(Invocation<'a>),
}

impl Shared {
    /// For a caller without an event loop; `timeout` where the call has one of its own.
    pub(super) fn blocking_line(self: &Arc<Self>, timeout: Option<Duration>) -> Line<'_> {
        Line {
            shared: self,
            blocking: true,
            tracked: false,
            deadline: self.deadline_after(timeout),
        }
    }

    /// For a task.
    pub(super) fn task_line(self: &Arc<Self>, timeout: Option<Duration>) -> Line<'_> {
        Line {
            shared: self,
            blocking: false,
            tracked: false,
            deadline: self.deadline_after(timeout),
        }
    }

    fn deadline_after(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.endpoint.options.timeout)
    }
}

impl<'a> Line<'a> {
    pub(super) fn shared(&self) -> &'a Arc<Shared> {
        self.shared
    }

    /// The same for the writes of the owner of the invalidation stream.
    pub(super) fn tracked(self) -> Self {
        Self { tracked: true, ..self }
    }

    /// One round trip.
    pub(super) async fn send(&self, request: &Request) -> Result<Replies> {
        if self.blocking {
            self.shared.run(request, self.deadline)
        } else if self.tracked {
            self.shared.run_tracked_async(request, self.deadline).await
        } else {
            self.shared.run_async(request, self.deadline).await
        }
    }

    /// Runs a script. `read_only` as in [`Request`].
    pub(super) async fn run(&self, call: &Invocation<'_>, read_only: bool) -> Result<Reply> {
        let request = |command| Request { body: Body::One(command), read_only };
        let replies = self.send(&request(call.by_hash())).await?;
        if replies.any(is_unknown) {
            return self.send(&request(call.whole())).await?.one();
        }
        replies.one()
    }

    /// As [`Line::run`], a script for two keys; `None` where the Cluster runs none for both, as their slot
    /// moves and not both are on one node.
    pub(super) async fn run_for_two(&self, call: &Invocation<'_>) -> Result<Option<Reply>> {
        let request = |command| Request { body: Body::One(command), read_only: false };
        let mut replies = self.send(&request(call.by_hash())).await?;
        if replies.any(is_unknown) {
            replies = self.send(&request(call.whole())).await?;
        }
        if replies.any(is_tryagain) { Ok(None) } else { replies.one().map(Some) }
    }

    /// Several commands in one write; their replies, error replies among them. Those that failed because
    /// the server does not know a script are sent once more.
    pub(super) async fn run_all(&self, items: &[Item<'_>], read_only: bool) -> Result<Vec<Reply>> {
        let commands = items.iter().map(Item::by_hash);
        let mut replies = self.batch(Request::batch(commands, read_only)).await?;
        let again: Vec<usize> =
            (0..replies.len()).filter(|place| is_unknown(&replies[*place])).collect();
        if again.is_empty() {
            return Ok(replies);
        }
        let commands = again.iter().map(|place| items[*place].whole());
        let second = self.batch(Request::batch(commands, read_only)).await?;
        for (place, reply) in std::iter::zip(again, second) {
            replies[place] = reply;
        }
        Ok(replies)
    }

    async fn batch(&self, request: Request) -> Result<Vec<Reply>> {
        let replies = self.send(&request).await?.many();
        if replies.len() == request.replies() {
            Ok(replies)
        } else {
            Err(surprise("another number of replies"))
        }
    }
}

impl Item<'_> {
    fn by_hash(&self) -> Cmd {
        match self {
            Self::Command(command) => command.clone(),
            Self::Script(call) => call.by_hash(),
        }
    }

    fn whole(&self) -> Cmd {
        match self {
            Self::Command(command) => command.clone(),
            Self::Script(call) => call.whole(),
        }
    }
}

/// The outcome of an operation on a blocking line.
pub(super) fn now<T>(operation: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        // No send on a blocking line waits for anything but its own I/O.
        Poll::Pending => Err(ErrorKind::Panic.into()),
    }
}
