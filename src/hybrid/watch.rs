//! The background of a Hybrid: what it hears from the invalidation stream, the prober that finds the way
//! back to a lost L2, and the task that replays the queue. The stream holds the cache weakly. The others end
//! with its last user once nothing is queued any more: a cache that was closed still delivers its writes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::core::{Core, Verdict};
use super::protections::Protection;
use super::queue::{Because, End, Job, Step};
use super::world::{Remote, Replay, Replayed, System, World};
use crate::config::Invalidation;
use crate::error::Result;
use crate::log::{self, Level};
use crate::redis::{InvalidationSink, RedisCache};
use crate::stats::Counter;

/// How often [`proven`] looks. Only `open` waits so, once.
const GLANCE: Duration = Duration::from_millis(1);
/// Time until a key is tried again whose own direct write, or a clear, is under way.
const LATER: Duration = Duration::from_millis(5);
/// Most keys that are replayed at a time.
const BATCH: usize = 32;

/// How many batches are replayed before L2 is used again; what comes in meanwhile follows later.
const ROUNDS: usize = 512;

/// What came of a batch of replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Nothing was left.
    Idle,
    More,
    /// L2 does not answer.
    Away,
}

/// Subscribes to the invalidations of L2.
pub(super) fn listen(core: &Arc<Core<System>>, l2: &RedisCache) {
    let sink: Arc<dyn InvalidationSink> = core.clone();
    let on_channel = core.options.invalidation == Invalidation::PubSub;
    if let Err(error) = l2.listen(&sink, core.options.watchdog, on_channel) {
        log::emit(Level::Error, "hybrid", format_args!("no invalidation stream: {error}"));
    }
}

/// Ends when the invalidation stream is proven; `open` waits for it so that the first writes are L1
/// hits.
pub(super) async fn proven(core: &Core<System>) {
    while !core.proven_now() {
        tokio::time::sleep(GLANCE).await;
    }
}

/// Starts the prober of a breaker that has just opened.
pub(super) fn probe<W: World>(core: &Weak<Core<W>>) {
    let Some(core) = core.upgrade() else { return };
    let first = core.clone();
    core.world.spawn(async move {
        let mut core = Some(first);
        // Held over the pause too: writes may be queued in it, and the cache closed right after.
        while let Some(held) = core.take() {
            let Some(l2) = &held.l2 else { return };
            let answered = l2.probe(held.options.l2_timeout).await.is_ok();
            held.breaker.answers(answered);
            if answered && held.catch_up().await {
                if held.breaker.close() {
                    log::emit(Level::Info, "hybrid", format_args!("L2 answers again"));
                }
                held.announce();
                held.start_replay();
                return;
            }
            held.breaker.answers(false);
            held.world.sleep(held.world.jitter(held.options.breaker_open)).await;
            let wanted = held.waits() || Arc::strong_count(&held) > 1;
            core = wanted.then_some(held);
        }
    });
}

impl<W: World> Core<W> {
    /// Has the queue replayed, where L2 may be asked and nobody does it yet.
    pub(super) fn start_replay(&self) {
        if !self.waits() || !self.breaker.allows() || self.replaying.swap(true, SeqCst) {
            return;
        }
        let started = self.me.upgrade().is_some_and(|core| {
            let task = core.clone();
            core.world.spawn(async move { task.replay().await })
        });
        if !started {
            self.replaying.store(false, SeqCst);
        }
    }

    async fn replay(&self) {
        loop {
            while self.breaker.allows() && self.replay_some().await != Round::Idle {}
            self.replaying.store(false, SeqCst);
            // What came since the last look has found this task still there.
            let more = self.waits() && self.breaker.allows();
            if !more || self.replaying.swap(true, SeqCst) {
                return;
            }
        }
    }

    /// Replays what waits before L2 is asked for anything again, so that its way back ends with an empty
    /// queue as a rule. False if L2 is away again.
    async fn catch_up(&self) -> bool {
        if self.replaying.swap(true, SeqCst) {
            return true;
        }
        let mut round = Round::More;
        for _ in 0..ROUNDS {
            round = self.replay_some().await;
            if round != Round::More {
                break;
            }
        }
        self.replaying.store(false, SeqCst);
        round != Round::Away
    }

    /// Replays what it can at once.
    async fn replay_some(&self) -> Round {
        let Some(l2) = &self.l2 else { return Round::Idle };
        let mut round = Round::More;
        let patience = self.options.l2_timeout;
        if !self.replay_tags(l2).await {
            self.world.sleep(self.world.jitter(self.options.breaker_open)).await;
            return Round::Away;
        }
        let mut jobs: Vec<Job> = Vec::new();
        let mut pause = None;
        while jobs.len() < BATCH {
            match self.queue.next(self.world.now_ms()) {
                Step::Write(job) => jobs.push(job),
                Step::Clear(version) => {
                    let reply = self.replay_clear(l2, version).await;
                    if reply.is_err() {
                        (round, pause) = (Round::Away, Some(self.options.breaker_open));
                    }
                    break;
                }
                Step::Later => {
                    pause = Some(LATER);
                    break;
                }
                Step::Idle if jobs.is_empty() => return Round::Idle,
                Step::Idle => break,
            }
        }
        if !jobs.is_empty() {
            let trips =
                jobs.iter().map(|job| l2.replay(&job.key, &job.write, &job.known, patience));
            if together(trips, |place, reply| self.replayed(&jobs[place], reply)).await {
                (round, pause) = (Round::Away, Some(self.options.breaker_open));
            }
        }
        if let Some(pause) = pause {
            self.world.sleep(self.world.jitter(pause)).await;
        }
        round
    }

    async fn replay_clear(&self, l2: &W::Remote, version: u64) -> Result<()> {
        // A set that began before the clear was queued may have reached L2 since, and L1: it goes too.
        self.stripes.begin_write_all();
        let reply = l2.unlink_all(self.options.l2_timeout).await;
        if let Err(error) = &reply {
            let _ = self.judge(error);
        } else {
            self.breaker.succeeded();
            self.counters.count(Counter::ReplayedWrites);
            self.l1.remove_all();
        }
        self.queue.cleared(version, reply.is_ok());
        self.stripes.finish_all();
        reply
    }

    /// Takes the end of one replay; true if L2 is away.
    fn replayed(&self, job: &Job, reply: Result<Replayed>) -> bool {
        let let_go = || {
            if self.protections.has(Protection::LetGo) {
                self.stripes.void(&job.key);
                self.l1.remove(&job.key);
            }
        };
        match reply {
            Ok(reply) => {
                self.breaker.succeeded();
                if reply == Replayed::Foreign {
                    // L1 first: a read that finds nothing there finds our value in the queue.
                    let_go();
                } else {
                    self.counters.count(Counter::ReplayedWrites);
                    // A script's write is told to its own writer too, upon which L1 lets go of the key.
                    if let Replay::Set(value, _) = &job.write {
                        self.queue.remember(&job.key, value.clone(), Because::Own);
                    }
                }
                if self.queue.ended(job, End::Replied(reply)) {
                    self.count_dropped(1, "another process has written the key");
                }
                false
            }
            Err(error) => match self.judge(&error) {
                Verdict::Away { landed } => {
                    self.queue.ended(job, End::Away { landed });
                    true
                }
                Verdict::Corrupt | Verdict::Fails => {
                    let_go();
                    if self.queue.ended(job, End::Refused) {
                        self.count_dropped(1, error.message());
                    }
                    false
                }
            },
        }
    }
}

/// Awaits all of `trips` at once, and hands each answer to `take` as it comes. True if `take` ever said
/// so.
async fn together<F: Future>(
    trips: impl Iterator<Item = F>,
    mut take: impl FnMut(usize, F::Output) -> bool,
) -> bool {
    let mut open: Vec<Option<Pin<Box<F>>>> = trips.map(|trip| Some(Box::pin(trip))).collect();
    let mut said = false;
    poll_fn(|context| {
        let mut pending = false;
        for (place, slot) in open.iter_mut().enumerate() {
            let Some(trip) = slot else { continue };
            match trip.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    *slot = None;
                    said |= take(place, answer);
                }
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    said
}

/// What the stream tells, in the Hybrid's own time.
impl<W: World> Core<W> {
    /// The stream answered something that was sent at `sent_at`.
    pub(super) fn proven(&self, sent_at: u64) {
        self.trust.proven(sent_at);
        self.announce();
    }

    /// The stream is gone.
    pub(super) fn lost(&self) {
        self.trust.lost();
        self.announce();
    }

    /// The server did not answer on the stream.
    pub(super) fn silent(&self) {
        if self.breaker.trip() {
            self.bypass(&"no answer on the invalidation stream");
        }
    }
}

impl InvalidationSink for Core<System> {
    fn subscribed(&self) {
        self.trust.subscribed();
    }

    fn proven(&self, sent_at: Instant) {
        // Rounded so that the proof never counts for longer than it should.
        let ago = sent_at.elapsed().as_millis() as u64 + 1;
        Core::proven(self, self.world.now_ms().saturating_sub(ago));
    }

    fn invalidated(&self, key: &[u8]) {
        self.forget(key);
    }

    fn tag_changed(&self, tag: &[u8]) {
        Core::tag_changed(self, tag);
    }

    fn invalidated_all(&self) {
        self.forget_all();
    }

    fn lost(&self) {
        Core::lost(self);
    }

    fn silent(&self) {
        Core::silent(self);
    }

    fn unavailable(&self) {
        // What this process reads is asked of L2 each time; `degraded` says so.
        Core::lost(self);
    }
}
