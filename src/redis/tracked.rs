//! Writes of the owner of the invalidation stream: over the tracked connection, so that the server does not
//! echo them. What round trips are otherwise is the matter of `trip`.

use std::sync::Arc;
use std::time::Instant;

use super::abandoned::Used;
use super::announce::{Announced, without_messages};
use super::commands::{Replies, Request};
use super::error_map::no_reply;
use super::{Shared, listen};
use crate::error::{ErrorKind, Result};
use crate::runtime;
use crate::runtime::{home, timeout_at};

impl Shared {
    /// A write of the owner of the invalidation stream: over the tracked connection while there is
    /// one, so that the server does not echo it.
    pub(super) fn run_tracked(
        self: &Arc<Self>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        runtime::refuse_library_thread()?;
        if let Some(Announced::Together { request, replies, one }) = self.announced(request) {
            let all = self.run_tracked_untold(&request, deadline)?;
            return Ok(without_messages(all, replies, one));
        }
        self.run_tracked_untold(request, deadline)
    }

    /// What is to be told of is in the request already, but on a Cluster, where no connection is tracked.
    fn run_tracked_untold(
        self: &Arc<Self>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        let state = self.state();
        let Some(pipe) = state.tracked() else {
            return match self.endpoint.is_cluster() {
                true => self.run(request, deadline),
                false => self.run_untold(request, deadline),
            };
        };
        if !request.read_only {
            self.end_abandoned(state, deadline)?;
        }
        let _call = state.calls.enter(deadline)?;
        let home = runtime::handle()?;
        let sent_at = Instant::now();
        match runtime::block_on(deadline, pipe.call(request, &home)) {
            Ok(replied) => listen::replied(self, state, replied, sent_at),
            Err(error) => {
                if !request.read_only {
                    state.abandoned.remember(pipe.id(), Some(pipe));
                }
                Err(if error.kind() == ErrorKind::Timeout { no_reply() } else { error })
            }
        }
    }

    /// As [`Shared::run_tracked`], from a task.
    pub(super) async fn run_tracked_async(
        self: &Arc<Self>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        if let Some(Announced::Together { request, replies, one }) = self.announced(request) {
            let all = self.run_tracked_untold_async(&request, deadline).await?;
            return Ok(without_messages(all, replies, one));
        }
        self.run_tracked_untold_async(request, deadline).await
    }

    async fn run_tracked_untold_async(
        self: &Arc<Self>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        let state = self.state();
        let Some(pipe) = state.tracked() else {
            return match self.endpoint.is_cluster() {
                true => self.run_async(request, deadline).await,
                false => self.run_untold_async(request, deadline).await,
            };
        };
        if !request.read_only {
            self.end_abandoned_async(state, deadline).await?;
        }
        let _call = state.calls.enter_async(deadline).await?;
        let home = home()?;
        let sent_at = Instant::now();
        let mut used = Used::by(request, &state.abandoned);
        used.pipe = Some(pipe.clone());
        match timeout_at(&home, deadline, pipe.call(request, &home)).await {
            Some(replied) => {
                used.ended();
                listen::replied(self, state, replied, sent_at)
            }
            // Dropped, it remembers the write.
            None => Err(no_reply()),
        }
    }
}
