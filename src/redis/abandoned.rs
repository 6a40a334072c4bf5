//! Writes that were given up at their deadline must not be executed after a later one was acknowledged:
//! what the network or the server still holds of them would overtake it.
//!
//! So a connection with such a write is remembered by the number that the server knows it by, and before
//! the next write goes out the server is told to end it (`CLIENT KILL ID`), on a connection made for that.
//! Where the connection is shared and goes on, it is enough that it answers once more: the server
//! executes what came over one connection in its order.
//!
//! - Whoever finds an abandoned write ends it himself, however many do so at once: nobody's write may go
//!   out before the server has confirmed it. Only then it is forgotten.
//! - Numbers begin anew when a server is started. A connection made later has a larger one, or the
//!   server is another by now, which holds nothing of ours, and nobody's connection is ended there.
//! - A user who may not use the command is told once in the log; the connection is closed all the same.
//! - Not on a Cluster, whose connections are not ours, and not across a fail-over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ::redis::{Value as Reply, cmd};

use super::Shared;
use super::commands::Request;
use super::connect;
use super::pipe::Pipe;
use super::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::log::{self, Level};
use crate::runtime;

/// Most connections that are remembered. Each had a call that waited for its deadline in vain.
const MAX: usize = 256;

/// The connections of a process with abandoned writes.
#[derive(Default)]
pub(super) struct Abandoned {
    any: AtomicBool,
    refused: AtomicBool,
    connections: Mutex<Vec<Connection>>,
}

#[derive(Clone)]
struct Connection {
    /// How the server knows it.
    id: u64,
    /// Grows with every write that is given up on it.
    writes: u64,
    /// Where it is shared.
    pipe: Option<Pipe>,
}

impl Abandoned {
    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write was given up on a connection; `None` where its number is not known.
    pub(super) fn remember(&self, id: Option<u64>, pipe: Option<Pipe>) {
        let Some(id) = id else { return };
        let mut connections = self.lock();
        match connections.iter_mut().find(|connection| connection.id == id) {
            Some(known) => known.writes += 1,
            None => connections.push(Connection { id, writes: 1, pipe }),
        }
        connections.truncate(MAX);
        self.any.store(!connections.is_empty(), Ordering::Release);
    }

    /// The server is another one now.
    pub(super) fn forget(&self) {
        let before = std::mem::take(&mut *self.lock());
        self.any.store(false, Ordering::Release);
        drop(before);
    }

    fn settled(&self, ended: &[Connection]) {
        let mut connections = self.lock();
        let gone: Vec<Connection>;
        (gone, *connections) = connections.drain(..).partition(|connection| {
            let same =
                |other: &Connection| other.id == connection.id && other.writes == connection.writes;
            ended.iter().any(same)
        });
        self.any.store(!connections.is_empty(), Ordering::Release);
        drop(connections);
        drop(gone);
    }
}

/// The pipe that a task's request went over. Dropped while the request is under way, as where the task is
/// cancelled, a write on it counts as given up.
pub(super) struct Used<'a> {
    abandoned: &'a Abandoned,
    is_write: bool,
    pub(super) pipe: Option<Pipe>,
}

impl<'a> Used<'a> {
    pub(super) fn by(request: &Request, abandoned: &'a Abandoned) -> Self {
        Self { abandoned, is_write: !request.read_only, pipe: None }
    }

    /// The request is over.
    pub(super) fn ended(mut self) -> Option<Pipe> {
        self.pipe.take()
    }
}

impl Drop for Used<'_> {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take()
            && self.is_write
        {
            self.abandoned.remember(pipe.id(), Some(pipe));
        }
    }
}

impl Shared {
    /// Before a write of a caller without an event loop.
    pub(super) fn end_abandoned(self: &Arc<Self>, state: &State, deadline: Instant) -> Result<()> {
        if !state.abandoned.any.load(Ordering::Acquire) {
            return Ok(());
        }
        runtime::block_on(deadline, self.end_them(state, deadline))
            .and_then(|ended| ended)
            .map_err(not_sent)
    }

    /// Before a write of a task.
    pub(super) async fn end_abandoned_async(
        self: &Arc<Self>,
        state: &State,
        deadline: Instant,
    ) -> Result<()> {
        if !state.abandoned.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let ended =
            runtime::timeout_at(&runtime::home()?, deadline, self.end_them(state, deadline)).await;
        ended.unwrap_or_else(|| Err(ErrorKind::Timeout.into())).map_err(not_sent)
    }

    async fn end_them(self: &Arc<Self>, state: &State, deadline: Instant) -> Result<()> {
        let mut connections = state.abandoned.lock().clone();
        let all = connections.clone();
        let mut answered = Vec::new();
        for (at, connection) in connections.iter().enumerate() {
            let Some(pipe) = &connection.pipe else { continue };
            let ping = Request::read(cmd("PING"));
            // One that does not answer leaves time for the rest.
            let patience = deadline.saturating_duration_since(Instant::now()) / 4;
            match tokio::time::timeout(patience, pipe.call_server(&ping)).await {
                Ok(Ok(_)) => answered.push(at),
                _ => pipe.give_up(),
            }
        }
        answered.into_iter().rev().for_each(|at| drop(connections.remove(at)));
        if !connections.is_empty() {
            self.kill(state, &connections).await?;
        }
        state.abandoned.settled(&all);
        Ok(())
    }

    async fn kill(self: &Arc<Self>, state: &State, connections: &[Connection]) -> Result<()> {
        state.gate.enter()?;
        let until = connect::connect_deadline(self.endpoint.options.connect_timeout);
        let link = connect::connect(&self.endpoint, &state.resolver, until).await;
        state.gate.record(&link);
        let mut link = link?;
        let own = link.id.unwrap_or(0);
        let kills: Vec<_> = connections
            .iter()
            .filter(|connection| connection.id < own)
            .map(|connection| {
                let mut kill = cmd("CLIENT");
                kill.arg("KILL").arg("ID").arg(connection.id);
                kill
            })
            .collect();
        let replies = connect::converse(&mut link.stream, &kills).await;
        let replies = replies.map_err(|_| Error::from(ErrorKind::Connect))?;
        let refused = replies.iter().any(|reply| matches!(reply, Reply::ServerError(_)));
        if refused && !state.abandoned.refused.swap(true, Ordering::Relaxed) {
            log::emit(
                Level::Warn,
                "redis",
                format_args!(
                    "the user may not use CLIENT KILL: a write that timed out may be executed after \
                     a later one"
                ),
            );
        }
        Ok(())
    }
}

/// The write itself was not sent.
fn not_sent(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Timeout => Error::new(
            ErrorKind::Connect,
            "an earlier write that got no reply could not be ended by the deadline",
        ),
        _ => error,
    }
}
