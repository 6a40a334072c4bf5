//! Round trips: which connection a request goes over, what is tried again, and when it is given up.
//!
//! - A blocking caller who is alone, or one of few, uses a connection directly ([`Direct`]); from
//!   `direct_max` calls in flight on they share a pipe, where many requests leave in one write.
//!   Asynchronous callers always share the pipe of their runtime. A Cluster has pipes only.
//! - What the server surely did not get is sent again on a new connection, reads also where that is
//!   not sure; always within the deadline, and each only as often as `retries` says, a connection that
//!   the server had closed while it lay idle not counted.
//! - READONLY is the answer of a master that was demoted: a new epoch begins, and behind Sentinels the
//!   request, which was not executed, is sent once more to the new master.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::Shared;
use super::abandoned::Used;
use super::announce::{Announced, followed, note_refusal, note_refusals, without_messages};
use super::commands::{Replies, Request};
use super::connect::{self, connect_deadline};
use super::direct::Direct;
use super::error_map::{Trip, is_readonly, no_reply, not_reached};
use super::pipe::Pipe;
use super::reads;
use super::state::{Connecting, State};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, home, timeout_at};

/// What a call may still try.
struct Budget {
    retries: u32,
    /// Connections that the server had closed: each costs one of the pool, so this is only a fence.
    stale: u32,
    readonly: bool,
    deadline: Instant,
}

impl Budget {
    fn new(shared: &Shared, deadline: Instant) -> Self {
        Self {
            retries: shared.endpoint.options.retries,
            stale: 2,
            readonly: shared.endpoint.is_sentinel(),
            deadline,
        }
    }

    /// Whether the request may be sent once more after `trip`.
    fn allows(&mut self, trip: &Trip, request: &Request, stale: bool) -> bool {
        let error = match trip {
            Trip::NotSent(error) => error,
            Trip::Unknown(error) if request.read_only => error,
            Trip::Unknown(_) => return false,
        };
        // Whoever could not connect has been told what there is to know; what comes back as another
        // class (the caller's interrupt, no memory) is no matter of trying again.
        let connection = matches!(error.kind(), ErrorKind::Connect | ErrorKind::Timeout);
        if !connection || Instant::now() >= self.deadline {
            return false;
        }
        let left = if stale { &mut self.stale } else { &mut self.retries };
        let allowed = *left > 0;
        *left = left.saturating_sub(1);
        allowed
    }

    /// Whether a request that a replica refused may be sent to the new master.
    fn allows_after_readonly(&mut self) -> bool {
        Instant::now() < self.deadline && std::mem::take(&mut self.readonly)
    }
}

/// A trip that failed, and whether its connection had been idle before.
struct Failed {
    trip: Trip,
    stale: bool,
}

impl From<Trip> for Failed {
    fn from(trip: Trip) -> Self {
        Self { trip, stale: false }
    }
}

impl Shared {
    /// Sends `request` from a thread without an event loop, and tells of it where that is to be done.
    pub(super) fn run(self: &Arc<Self>, request: &Request, deadline: Instant) -> Result<Replies> {
        match self.announced(request) {
            None => self.run_untold(request, deadline),
            Some(Announced::Together { request, replies, one }) => {
                Ok(without_messages(self.run_untold(&request, deadline)?, replies, one))
            }
            Some(Announced::After(messages)) => {
                let replies = self.run_untold(request, deadline)?;
                followed(replies, self.run_untold(&messages, deadline))
            }
        }
    }

    /// As [`Shared::run`], and tells nobody.
    pub(super) fn run_untold(
        self: &Arc<Self>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        runtime::refuse_library_thread()?;
        if request.replies() == 0 {
            return Ok(Replies::Many(Vec::new()));
        }
        if let Some(reader) = self.reader_of(request)
            && let Some(outcome) = reads::settled(reader.run(request, deadline))
        {
            return outcome;
        }
        let state = self.state();
        if !request.read_only {
            self.end_abandoned(state, deadline)?;
        }
        let call = state.calls.enter(deadline)?;
        let direct = self.direct_max > 0 && call.calls <= self.direct_max;
        let mut budget = Budget::new(self, deadline);
        loop {
            let outcome = if direct {
                self.run_directly(state, request, deadline)
            } else {
                self.run_on_pipe(state, request, deadline)
            };
            match outcome {
                Ok(replies) if replies.any(is_readonly) => {
                    state.new_epoch();
                    if !budget.allows_after_readonly() {
                        return Ok(replies);
                    }
                }
                Ok(replies) => return Ok(replies),
                Err(failed) => {
                    if !budget.allows(&failed.trip, request, failed.stale) {
                        return Err(failed.trip.into_error());
                    }
                }
            }
        }
    }

    fn run_directly(
        self: &Arc<Self>,
        state: &Arc<State>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies, Failed> {
        let mut direct = match state.check_out() {
            Some(direct) => direct,
            None => match state.begin_connecting() {
                Some(leave) => {
                    self.connect_directly(state, leave, deadline).map_err(Trip::NotSent)?
                }
                // The shared connection is made once, however many wait for it.
                None => return self.run_on_pipe(state, request, deadline),
            },
        };
        let fresh = direct.fresh;
        match direct.call(request, deadline) {
            Ok(replies) => {
                state.check_in(direct);
                Ok(replies)
            }
            Err(trip) => {
                let stale = !fresh && Instant::now() < deadline;
                if !request.read_only && trip.was_given_up() {
                    state.abandoned.remember(direct.id, None);
                }
                if stale {
                    state.drop_idle();
                }
                Err(Failed { trip, stale })
            }
        }
    }

    /// Connects on the runtime, which goes on when the caller's deadline comes first: the connection
    /// is then there for the next call.
    pub(super) fn connect_directly(
        self: &Arc<Self>,
        state: &Arc<State>,
        leave: Connecting,
        deadline: Instant,
    ) -> Result<Direct> {
        state.gate.enter()?;
        let (sender, receiver) = oneshot::channel();
        let (shared, connecting) = (self.clone(), state.clone());
        runtime::spawn(async move {
            let (state, _leave) = (connecting, leave);
            let epoch = state.epoch();
            let until = connect_deadline(shared.endpoint.options.connect_timeout);
            let link = connect::connect(&shared.endpoint, &state.resolver, until).await;
            state.gate.record(&link);
            if let Ok(link) = &link {
                state.connected_to(&link.address);
            }
            let timeout = shared.endpoint.options.timeout;
            let direct = link.and_then(|link| Direct::new(link, timeout, shared.limit, epoch));
            if let Err(Ok(direct)) = sender.send(direct) {
                state.check_in(direct);
            }
        })?;
        match runtime::block_on(deadline, receiver) {
            Ok(Ok(direct)) => direct,
            Ok(Err(_)) => Err(ErrorKind::Closed.into()),
            Err(error) => Err(self.unconnected(error)),
        }
    }

    fn unconnected(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Timeout => not_reached(&self.endpoint.describe(), &"no answer in time"),
            _ => error,
        }
    }

    fn run_on_pipe(
        self: &Arc<Self>,
        state: &Arc<State>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies, Failed> {
        let home = runtime::handle().map_err(Trip::NotSent)?;
        let began = Instant::now();
        let mut used = None;
        let outcome = runtime::block_on(deadline, self.call_pipe(state, request, &home, &mut used));
        self.judged(state, request, outcome, used, began)
    }

    /// What came of a call on a pipe: of `outcome`, unless it was ended from outside.
    fn judged(
        &self,
        state: &State,
        request: &Request,
        outcome: Result<Result<Replies, Trip>>,
        used: Option<Pipe>,
        began: Instant,
    ) -> Result<Replies, Failed> {
        match outcome {
            Ok(Ok(replies)) => Ok(replies),
            Ok(Err(trip)) => {
                let stale = used.is_some_and(|pipe| pipe.older_than(began));
                Err(Failed { trip, stale })
            }
            Err(error) => {
                if !request.read_only
                    && let Some(pipe) = &used
                {
                    state.abandoned.remember(pipe.id(), Some(pipe.clone()));
                }
                Err(self.ended(error, used, began).into())
            }
        }
    }

    async fn call_pipe(
        self: &Arc<Self>,
        state: &Arc<State>,
        request: &Request,
        home: &Handle,
        used: &mut Option<Pipe>,
    ) -> Result<Replies, Trip> {
        let mut pipe = self.pipe(state, home).await.map_err(Trip::NotSent)?;
        if !request.read_only && pipe.idle() {
            // The runtime may have slept since the server hung up. Before the write goes into the
            // unknown it gets a turn to hear of that, and one for the connection's task to end.
            for _turn in 0..2 {
                tokio::task::yield_now().await;
            }
            pipe = self.pipe(state, home).await.map_err(Trip::NotSent)?;
        }
        *used = Some(pipe.clone());
        pipe.call(request, home).await
    }

    /// The trip of a call that was ended from outside, by its deadline or otherwise.
    fn ended(&self, error: Error, used: Option<Pipe>, began: Instant) -> Trip {
        let Some(pipe) = used else { return Trip::NotSent(self.unconnected(error)) };
        if error.kind() != ErrorKind::Timeout {
            return Trip::Unknown(error);
        }
        if pipe.gave_nothing_since(began) {
            pipe.give_up();
        }
        Trip::Unknown(no_reply())
    }

    /// As [`Shared::run`], from a task. Uses the runtime that the task is in, and the library's where it
    /// is in none.
    pub(super) async fn run_async(
        self: &Arc<Self>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        match self.announced(request) {
            None => self.run_untold_async(request, deadline).await,
            Some(Announced::Together { request, replies, one }) => {
                let all = self.run_untold_async(&request, deadline).await?;
                Ok(without_messages(all, replies, one))
            }
            Some(Announced::After(messages)) => {
                let replies = self.run_untold_async(request, deadline).await?;
                followed(replies, self.run_untold_async(&messages, deadline).await)
            }
        }
    }

    /// The request with messages to other processes, where this cache's listener listens to such.
    pub(super) fn announced(self: &Arc<Self>, request: &Request) -> Option<Announced> {
        // Most caches have no listener, and are not asked for the state.
        if request.read_only || !self.is_on_channel() {
            return None;
        }
        let channel = self.state().channel(&self.keyspace.prefix).ok()?;
        channel.announce(request, self.endpoint.is_cluster())
    }

    /// Tells, where that is to be done, that any key may have changed.
    pub(super) async fn tell_of_all(self: &Arc<Self>, deadline: Instant) {
        if self.is_on_channel()
            && let Ok(channel) = self.state().channel(&self.keyspace.prefix)
        {
            match self.run_untold_async(&channel.all(), deadline).await {
                Ok(replies) => note_refusals(replies.many()),
                Err(error) => note_refusal(&error),
            }
        }
    }

    /// As [`Shared::run_async`], and tells nobody.
    pub(super) async fn run_untold_async(
        self: &Arc<Self>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        if request.replies() == 0 {
            return Ok(Replies::Many(Vec::new()));
        }
        if let Some(reader) = self.reader_of(request)
            && let Some(outcome) = reads::settled(reader.run_here_async(request, deadline).await)
        {
            return outcome;
        }
        self.run_here_async(request, deadline).await
    }

    async fn run_here_async(
        self: &Arc<Self>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Replies> {
        let state = self.state();
        if !request.read_only {
            self.end_abandoned_async(state, deadline).await?;
        }
        let _call = state.calls.enter_async(deadline).await?;
        let home = home()?;
        let mut budget = Budget::new(self, deadline);
        loop {
            let began = Instant::now();
            let mut used = Used::by(request, &state.abandoned);
            let call = self.call_pipe(state, request, &home, &mut used.pipe);
            let outcome = timeout_at(&home, deadline, call).await;
            let outcome = outcome.ok_or_else(|| ErrorKind::Timeout.into());
            match self.judged(state, request, outcome, used.ended(), began) {
                Ok(replies) if replies.any(is_readonly) => {
                    state.new_epoch();
                    if !budget.allows_after_readonly() {
                        return Ok(replies);
                    }
                }
                Ok(replies) => return Ok(replies),
                Err(failed) => {
                    if !budget.allows(&failed.trip, request, failed.stale) {
                        return Err(failed.trip.into_error());
                    }
                }
            }
        }
    }

    /// The pipe of `home`, connected now if need be.
    pub(super) async fn pipe(self: &Arc<Self>, state: &Arc<State>, home: &Handle) -> Result<Pipe> {
        let mut pending = state.pipe(home, |sender| {
            let (shared, state, task_home) = (self.clone(), state.clone(), home.clone());
            home.spawn(shared.connect_pipe(state, task_home, sender));
        })?;
        let connected = pending.wait_for(Option::is_some).await;
        match connected.map(|pipe| pipe.clone()) {
            Ok(Some(pipe)) => pipe,
            _ => Err(ErrorKind::Closed.into()),
        }
    }

    async fn connect_pipe(
        self: Arc<Self>,
        state: Arc<State>,
        home: Handle,
        sender: watch::Sender<Option<Result<Pipe>>>,
    ) {
        let epoch = state.epoch();
        let until = connect_deadline(self.endpoint.options.connect_timeout);
        let connecting = async {
            if self.endpoint.is_cluster() {
                return Pipe::cluster(&self.endpoint, self.limit, epoch).await;
            }
            if let Some(client) = &self.endpoint.client {
                return Pipe::by_client(client, epoch).await;
            }
            let link = connect::connect(&self.endpoint, &state.resolver, until).await?;
            state.connected_to(&link.address);
            Pipe::single(link, &home, self.limit, epoch, None).await
        };
        let pipe = match tokio::time::timeout_at(until, connecting).await {
            Ok(pipe) => pipe,
            Err(_) => Err(not_reached(&self.endpoint.describe(), &"no answer in time")),
        };
        state.gate.record(&pipe);
        sender.send_replace(Some(pipe));
    }
}
