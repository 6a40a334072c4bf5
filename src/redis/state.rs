//! [`State`]: everything of a cache that has a lock or a socket, and [`Generations`], which gives each
//! process its own.
//!
//! # Fork
//! A child must neither lock what another thread of the parent may have held locked at the fork, nor
//! close or use the parent's connections. So each state carries the [`fork::generation`] it was made
//! in; a process that finds another number makes a state of its own behind it. The parent's stays
//! where it is, untouched, and is leaked with its sockets when the cache is dropped.
//!
//! # Invariants
//! - No lock is held during I/O or while awaiting.
//! - A connection is in `idle` only if its last call got exactly its replies.
//! - A connection whose epoch is not the state's is dropped instead of used: a new epoch begins where
//!   the server turned out to be no master any more.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use once_cell::race::OnceBox;
use tokio::runtime::{Handle, Id};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use super::abandoned::Abandoned;
use super::announce::Channel;
use super::connect::Resolver;
use super::direct::Direct;
use super::endpoint::{Address, Endpoint};
use super::gate::Gate;
use super::limit::Limit;
use super::pipe::Pipe;
use crate::clock;
use crate::config::HostPort;
use crate::error::Result;
use crate::fork;

/// Pipes of runtimes that a program may have had one after the other.
const PIPES_MAX: usize = 16;

/// A pipe that is being connected, or is.
pub(super) type Pending = watch::Receiver<Option<Result<Pipe>>>;

/// See the module.
pub(super) struct State {
    pub(super) gate: Gate,
    pub(super) resolver: Resolver,
    /// Calls that are under way.
    pub(super) calls: Limit,
    epoch: AtomicU64,
    idle: Mutex<Vec<Direct>>,
    idle_max: usize,
    /// Direct connections that are being made.
    connecting: AtomicUsize,
    /// Behind Sentinels: the master that connections go to, and when the Sentinels were last asked.
    master: Mutex<Option<HostPort>>,
    master_checked: AtomicU64,
    /// One for each runtime that callers live in: a pipe does not outlive the runtime that drives it.
    pipes: Mutex<Vec<(Id, Pending)>>,
    /// The connection on which the server tells of other clients' writes, while there is one.
    tracked: Mutex<Option<Pipe>>,
    /// Where writes are told of, if they are to be; made by the first that asks.
    channel: OnceBox<Channel>,
    /// Connections with writes that were given up.
    pub(super) abandoned: Abandoned,
    /// Connections that wait for locks and loads of others.
    pub(super) listeners: Arc<AtomicUsize>,
    /// The task of the invalidation stream.
    listening: Mutex<Option<AbortHandle>>,
}

impl State {
    fn new(endpoint: &Endpoint, idle_max: usize) -> Self {
        let options = &endpoint.options;
        Self {
            gate: Gate::new(options.max_backoff, options.connect_timeout),
            resolver: Resolver::default(),
            calls: Limit::default(),
            epoch: AtomicU64::new(0),
            idle: Mutex::new(Vec::new()),
            idle_max,
            connecting: AtomicUsize::new(0),
            master: Mutex::new(None),
            master_checked: AtomicU64::new(clock::now_ms()),
            pipes: Mutex::new(Vec::new()),
            tracked: Mutex::new(None),
            channel: OnceBox::new(),
            abandoned: Abandoned::default(),
            listeners: Arc::default(),
            listening: Mutex::new(None),
        }
    }

    /// Where this process tells of its writes below `prefix`, and hears of others'.
    pub(super) fn channel(&self, prefix: &[u8]) -> Result<&Channel> {
        self.channel.get_or_try_init(|| Channel::new(prefix).map(Box::new))
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// From now on every connection is made anew, to wherever the server is then.
    pub(super) fn new_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let idle = std::mem::take(&mut *lock(&self.idle));
        let pipes = std::mem::take(&mut *lock(&self.pipes));
        self.abandoned.forget();
        drop((idle, pipes));
    }

    /// Whether the Sentinels are to be asked again; true for one caller every `interval_ms`.
    pub(super) fn master_check_is_due(&self, interval_ms: u64) -> bool {
        let (now, last) = (clock::now_ms(), self.master_checked.load(Ordering::Relaxed));
        now.saturating_sub(last) >= interval_ms
            && self
                .master_checked
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// A connection was made to this server, the master as it seemed.
    pub(super) fn connected_to(&self, address: &Address) {
        if let Address::Tcp(server) = address {
            *lock(&self.master) = Some(server.clone());
        }
    }

    /// The server that connections were made to last.
    pub(super) fn server(&self) -> Option<HostPort> {
        lock(&self.master).clone()
    }

    /// The Sentinels name `master`. If connections go to another server, a new epoch begins.
    pub(super) fn master_is(&self, master: HostPort) {
        let before = lock(&self.master).replace(master.clone());
        if before.is_some_and(|before| before != master) {
            self.new_epoch();
        }
    }

    /// An idle connection, if there is one.
    pub(super) fn check_out(&self) -> Option<Direct> {
        let epoch = self.epoch();
        loop {
            let direct = lock(&self.idle).pop()?;
            if direct.epoch == epoch {
                return Some(direct);
            }
        }
    }

    /// Leave to make one more direct connection, unless as many as are kept are being made already: a
    /// server that takes long must not be met with ever more connections.
    pub(super) fn begin_connecting(self: &Arc<Self>) -> Option<Connecting> {
        let before = self.connecting.fetch_add(1, Ordering::Relaxed);
        let connecting = Connecting(self.clone());
        (before < self.idle_max).then_some(connecting)
    }

    /// Keeps a connection for the next call, if it may be used again.
    pub(super) fn check_in(&self, direct: Direct) {
        if direct.broken() || direct.epoch != self.epoch() {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() < self.idle_max {
            idle.push(direct);
        }
    }

    /// The server closed one: the others that lie idle are most likely closed too.
    pub(super) fn drop_idle(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        drop(idle);
    }

    /// The pipe of `home`, which `start` begins to connect if there is none that can be used.
    pub(super) fn pipe(
        &self,
        home: &Handle,
        start: impl FnOnce(watch::Sender<Option<Result<Pipe>>>),
    ) -> Result<Pending> {
        let epoch = self.epoch();
        let mut pipes = lock(&self.pipes);
        if let Some(at) = pipes.iter().position(|(id, _)| *id == home.id()) {
            let usable = match &*pipes[at].1.borrow() {
                Some(Ok(pipe)) => pipe.usable(epoch),
                Some(Err(_)) => false,
                // Still connecting, unless its task has ended without a word.
                None => pipes[at].1.has_changed().is_ok(),
            };
            if usable {
                return Ok(pipes[at].1.clone());
            }
            pipes.remove(at);
        }
        self.gate.enter()?;
        let (sender, pending) = watch::channel(None);
        if pipes.len() >= PIPES_MAX {
            pipes.remove(0);
        }
        pipes.push((home.id(), pending.clone()));
        drop(pipes);
        start(sender);
        Ok(pending)
    }

    /// The tracked connection, while it lives.
    pub(super) fn tracked(&self) -> Option<Pipe> {
        lock(&self.tracked).as_ref().filter(|pipe| pipe.usable(self.epoch())).cloned()
    }

    pub(super) fn set_tracked(&self, pipe: Option<Pipe>) {
        let before = std::mem::replace(&mut *lock(&self.tracked), pipe);
        drop(before);
    }
}

impl State {
    /// Has the task of the invalidation stream started, unless it runs.
    pub(super) fn keep_listening(
        &self,
        start: impl FnOnce() -> Result<JoinHandle<()>>,
    ) -> Result<()> {
        let mut task = lock(&self.listening);
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            *task = Some(start()?.abort_handle());
        }
        Ok(())
    }
}

/// One direct connection that is being made.
pub(super) struct Connecting(Arc<State>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of this process, behind those of the processes that it was forked from.
pub(super) struct Generations {
    generation: u32,
    /// Always there until it is dropped.
    state: Option<Arc<State>>,
    next: OnceBox<Generations>,
}

impl Generations {
    pub(super) fn new(endpoint: &Endpoint, idle_max: usize) -> Self {
        Self {
            generation: fork::generation(),
            state: Some(Arc::new(State::new(endpoint, idle_max))),
            next: OnceBox::new(),
        }
    }

    /// The state of this process, and whether this call has found that the process is a new one.
    pub(super) fn current(&self, endpoint: &Endpoint, idle_max: usize) -> (&Arc<State>, bool) {
        let generation = fork::generation();
        let (mut node, mut made) = (self, false);
        loop {
            if node.generation == generation
                && let Some(state) = &node.state
            {
                return (state, made);
            }
            node = node.next.get_or_init(|| {
                made = true;
                Box::new(Self::new(endpoint, idle_max))
            });
        }
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            std::mem::forget(self.state.take());
        }
    }
}
