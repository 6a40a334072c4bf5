//! The model: one server, the connections of each process, and time.
//!
//! What a real server does is kept: a process's tracked connection is in order both ways; reads go over
//! connections of their own, in any order; a push goes to every tracked connection but the writer's, a
//! script's to the writer's too; pushes leave at the end of the server's event-loop round, after the
//! replies of that round, and of several writes of one key in a round only the last writer is spared. A
//! request whose caller has given up may still be executed, until the process's next write is (the
//! connection below kills what it abandoned). A connection that is cut loses what was in it, from a random
//! point on.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use super::super::protections::{Protection, Protections};
use super::super::world::{Fetched, Remote, Replay, Replayed, World};
use super::check::Checker;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Remaining;
use crate::redis::Lifetime;
use crate::value::Value;

pub(super) const KEYS: [&[u8]; 2] = [b"a", b"b"];
/// Not a process: the plain client.
pub(super) const PLAIN: usize = usize::MAX;

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type Key = usize;

/// The place of a key in [`KEYS`].
pub(super) fn place(key: &[u8]) -> Key {
    usize::from(key == KEYS[1])
}

/// A value carries its number.
pub(super) fn id_of(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("eight bytes"))
}

fn value_of(id: u64) -> Value {
    Value::copy_from(&id.to_le_bytes()).expect("memory")
}

/// What the server holds under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) until: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Up,
    /// Executes nothing and answers nothing (SIGSTOP, a black hole).
    Stopped,
    /// Refuses connections.
    Down,
    /// Refuses writes for want of memory.
    Full,
}

#[derive(Clone, Debug)]
enum Command {
    Fetch(Vec<Key>),
    Set(Vec<(Key, u64)>, Option<u64>),
    Delete(Vec<Key>),
    Expire(Key, Option<u64>),
    /// One trip of a clear, and the keys still to come.
    Clear(Key),
    Replay(Key, ReplayOf, Vec<u64>),
    Probe,
    Track,
    Ping,
}

#[derive(Clone, Copy, Debug)]
enum ReplayOf {
    Set(u64, Option<u64>),
    Delete(bool),
    Expire(Option<u64>, bool),
}

#[derive(Clone, Debug)]
enum Reply {
    Fetched(Vec<Option<(u64, Option<u64>)>>),
    Done,
    Count(u64),
    Replayed(Replayed),
}

#[derive(Clone, Debug)]
struct Message {
    process: usize,
    slot: Option<usize>,
    command: Command,
    /// The operation that sent it.
    operation: Option<usize>,
    made_at: u64,
    sent_at: u64,
    /// The connection it is on; none of a tracked one.
    tracked: Option<u64>,
}

enum Downstream {
    /// A key, and the event that the push tells of.
    Push(Key, u64),
    PushAll(u64),
    Reply(usize, Result<Reply>),
    Tracked(u64),
    Pong(u64),
    /// The end of the connection.
    End,
}

struct Slot {
    process: usize,
    task: usize,
    deadline: u64,
    reply: Option<Result<Reply>>,
    abandoned: bool,
}

#[derive(Default)]
struct Process {
    now: Arc<AtomicU64>,
    /// The number of the tracked connection.
    tracked: Option<u64>,
    /// The stream is in place, and writes go over it.
    subscribed: bool,
    /// The server has executed CLIENT TRACKING for it.
    registered: bool,
    up: VecDeque<Message>,
    down: VecDeque<Downstream>,
    /// When the last subscription that the client has not digested yet was asked for.
    digested: Option<u64>,
    pings: VecDeque<u64>,
}

pub(in crate::hybrid) struct Universe {
    pub(super) now: u64,
    pub(super) mode: Mode,
    pub(super) check: Checker,
    protections: Protections,
    held: [Option<Held>; KEYS.len()],
    snapshot: [Option<Held>; KEYS.len()],
    processes: Vec<Process>,
    /// Begun by a caller, but not written to the tracked connection yet.
    unsent: Vec<Message>,
    /// On connections of their own: executed in any order.
    loose: Vec<Message>,
    /// Executed, the reply on its way.
    replies: Vec<(usize, Result<Reply>)>,
    slots: Vec<Slot>,
    timers: Vec<(u64, usize)>,
    /// Last writer of each key in this round of the server, and the event.
    round: BTreeMap<Key, (Option<usize>, u64)>,
    connections: u64,
    pub(super) ready: Vec<usize>,
    pub(super) spawned: Vec<(usize, Task)>,
    /// What is being polled: task, operation.
    pub(super) current: (usize, Option<usize>),
    /// Replays that found another value, which.
    foreign: Vec<(usize, Key, u64)>,
    /// The same, of those whose reply has arrived since the last look.
    pub(super) gave_way: Vec<(usize, Key, u64)>,
    dice: Dice,
    trace: bool,
}

/// A small generator, so that a seed is all there is to a schedule.
#[derive(Clone)]
pub(in crate::hybrid) struct Dice(u64);

impl Dice {
    pub(in crate::hybrid) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % sides as u64) as usize
    }
}

impl Universe {
    pub(in crate::hybrid) fn new(
        clocks: &[Arc<AtomicU64>],
        now: u64,
        protections: Protections,
        dice: Dice,
        trace: bool,
    ) -> Self {
        let processes: Vec<Process> =
            clocks.iter().map(|now| Process { now: now.clone(), ..Process::default() }).collect();
        let mut universe = Self {
            now,
            mode: Mode::Up,
            check: Checker::new(processes.len()),
            protections,
            held: [None; KEYS.len()],
            snapshot: [None; KEYS.len()],
            processes,
            unsent: Vec::new(),
            loose: Vec::new(),
            replies: Vec::new(),
            slots: Vec::new(),
            timers: Vec::new(),
            round: BTreeMap::new(),
            connections: 0,
            ready: Vec::new(),
            spawned: Vec::new(),
            current: (0, None),
            foreign: Vec::new(),
            gave_way: Vec::new(),
            dice,
            trace,
        };
        universe.advance(0);
        universe
    }

    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>8} {}", self.now, text());
        }
    }

    // --- time

    pub(super) fn advance(&mut self, ms: u64) {
        self.now += ms;
        for process in &self.processes {
            process.now.store(self.now, SeqCst);
        }
        for key in 0..KEYS.len() {
            if self.held[key].is_some_and(|held| held.until.is_some_and(|until| until <= self.now))
            {
                // Expired: told of, late and by nobody.
                self.change(key, None, None, false);
            }
        }
        let now = self.now;
        let ready = &mut self.ready;
        self.timers.retain(|&(at, task)| {
            if at <= now {
                ready.push(task);
            }
            at > now
        });
    }

    /// To the next moment at which something happens by itself.
    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.iter().map(|(at, _)| *at).min()
    }

    // --- the server

    fn change(&mut self, key: Key, held: Option<Held>, writer: Option<usize>, script: bool) {
        self.held[key] = held;
        let event = self.check.changed(key, held, self.now);
        let spared = if script { None } else { writer };
        self.round.insert(key, (spared, event));
    }

    /// The end of the server's event-loop round: pushes go out.
    pub(super) fn end_round(&mut self) {
        for (key, (spared, event)) in std::mem::take(&mut self.round) {
            for (number, process) in self.processes.iter_mut().enumerate() {
                if process.registered && spared != Some(number) {
                    process.down.push_back(Downstream::Push(key, event));
                }
            }
        }
    }

    pub(super) fn plain_write(&mut self, key: Key, held: Option<Held>) {
        if self.mode == Mode::Up {
            self.say(|| format!("plain client: {} = {held:?}", KEYS[key][0] as char));
            self.change(key, held, None, false);
        }
    }

    pub(super) fn flush(&mut self) {
        if self.mode != Mode::Up {
            return;
        }
        self.say(|| "FLUSHALL".into());
        let mut last = 0;
        for key in 0..KEYS.len() {
            self.held[key] = None;
            last = self.check.changed(key, None, self.now);
        }
        self.round.clear();
        for process in &mut self.processes {
            if process.registered {
                process.down.push_back(Downstream::PushAll(last));
            }
        }
    }

    pub(super) fn remember(&mut self) {
        self.snapshot = self.held;
    }

    /// Another server takes over, with older data (`empty`: with none).
    pub(super) fn fail_over(&mut self, empty: bool) {
        self.say(|| format!("fail-over, empty: {empty}"));
        for key in 0..KEYS.len() {
            let held = self.snapshot[key]
                .filter(|held| !empty && held.until.is_none_or(|until| until > self.now));
            if held != self.held[key] {
                self.held[key] = held;
                self.check.changed(key, held, self.now);
            }
        }
        self.round.clear();
        if !empty {
            self.check.failed_over();
        }
        // Nothing that was sent to the old server is executed by the new one.
        for message in std::mem::take(&mut self.loose) {
            self.answer(&message, Err(broken()));
        }
        (0..self.processes.len()).for_each(|process| self.cut(process));
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        if mode == self.mode {
            return;
        }
        self.say(|| format!("the server is {mode:?}"));
        self.mode = mode;
        if mode == Mode::Down {
            for message in std::mem::take(&mut self.loose) {
                self.answer(&message, Err(broken()));
            }
            (0..self.processes.len()).for_each(|process| self.cut(process));
        }
    }

    /// The server executes one message, if there is one.
    pub(super) fn execute(&mut self) -> bool {
        if !matches!(self.mode, Mode::Up | Mode::Full) {
            return false;
        }
        let tracked: Vec<usize> = (0..self.processes.len())
            .filter(|process| !self.processes[*process].up.is_empty())
            .collect();
        let choices = tracked.len() + self.loose.len();
        if choices == 0 {
            return false;
        }
        let choice = self.dice.roll(choices);
        let message = match tracked.get(choice) {
            Some(process) => self.processes[*process].up.pop_front(),
            None => Some(self.loose.swap_remove(choice - tracked.len())),
        };
        let Some(message) = message else { return false };
        self.run(message);
        if self.dice.roll(3) > 0 {
            self.end_round();
        }
        true
    }

    fn run(&mut self, message: Message) {
        let writes = matches!(
            message.command,
            Command::Set(..)
                | Command::Delete(_)
                | Command::Expire(..)
                | Command::Clear(_)
                | Command::Replay(..)
        );
        self.say(|| format!("executes {message:?}"));
        if writes {
            self.kill_abandoned(&message);
            if self.mode == Mode::Full {
                let full = "the server answered: OOM command not allowed";
                self.reply(&message, Err(Error::new(ErrorKind::Server, full)));
                return;
            }
        }
        let (process, operation) = (message.process, message.operation);
        let spared = message.tracked.map(|_| process);
        let reply = match &message.command {
            Command::Fetch(keys) => Reply::Fetched(
                keys.iter()
                    .map(|key| {
                        let left = |until: u64| until.saturating_sub(self.now);
                        self.held[*key].map(|held| (held.id, held.until.map(left)))
                    })
                    .collect(),
            ),
            Command::Set(items, ttl) => {
                let until = ttl.map(|ttl| self.now + ttl);
                for &(key, id) in items {
                    self.change(key, Some(Held { id, until }), spared, false);
                    self.check.executed_set(id, until);
                }
                Reply::Done
            }
            Command::Delete(keys) => {
                let mut count = 0;
                for &key in keys {
                    if self.held[key].is_some() {
                        count += 1;
                        self.change(key, None, spared, false);
                    }
                    self.check.executed_delete(operation, key);
                }
                Reply::Count(count)
            }
            Command::Expire(key, ttl) => {
                let there = self.held[*key].is_some();
                self.expire(*key, *ttl, spared, false);
                Reply::Count(there.into())
            }
            Command::Clear(key) => {
                if self.held[*key].is_some() {
                    self.change(*key, None, spared, false);
                }
                match operation {
                    Some(_) => self.check.executed_delete(operation, *key),
                    None => self.check.replayed_clear(process, *key),
                }
                let abandoned = message.slot.is_some_and(|slot| self.slots[slot].abandoned);
                if *key + 1 < KEYS.len() && !abandoned {
                    let next = Message { command: Command::Clear(key + 1), ..message };
                    if next.tracked.is_some() {
                        self.processes[process].up.push_back(next);
                    } else {
                        self.loose.push(next);
                    }
                    return;
                }
                Reply::Done
            }
            Command::Replay(key, write, known) => {
                let replayed = self.replay(process, *key, *write, known, message.made_at);
                Reply::Replayed(replayed)
            }
            Command::Probe => Reply::Done,
            Command::Track => {
                if message.tracked == self.processes[process].tracked {
                    self.processes[process].registered = true;
                    let tracked = Downstream::Tracked(message.sent_at);
                    self.processes[process].down.push_back(tracked);
                }
                return;
            }
            Command::Ping => {
                if message.tracked == self.processes[process].tracked {
                    self.processes[process].down.push_back(Downstream::Pong(message.sent_at));
                }
                return;
            }
        };
        self.reply(&message, Ok(reply));
    }

    fn expire(&mut self, key: Key, ttl: Option<u64>, spared: Option<usize>, script: bool) {
        if let Some(held) = self.held[key] {
            let until = ttl.map(|ttl| self.now + ttl);
            self.held[key] = Some(Held { until, ..held });
            self.check.touched(held.id);
            let event = self.check.order();
            let spared = if script { None } else { spared };
            self.round.insert(key, (spared, event));
        }
    }

    /// What `lua/replay.lua` does.
    fn replay(
        &mut self,
        process: usize,
        key: Key,
        write: ReplayOf,
        known: &[u64],
        made_at: u64,
    ) -> Replayed {
        let any = matches!(write, ReplayOf::Expire(_, true) | ReplayOf::Delete(true));
        if let Some(held) = self.held[key]
            && !any
            && !known.contains(&held.id)
            && self.protections.has(Protection::Condition)
        {
            self.foreign.push((process, key, held.id));
            return Replayed::Foreign;
        }
        self.check.replays_over(process, self.held[key].map(|held| held.id), any);
        match write {
            ReplayOf::Set(id, ttl) => {
                let until = ttl.map(|ttl| self.now + ttl);
                self.check.replayed_set(id, ttl.map(|ttl| made_at + ttl));
                self.change(key, Some(Held { id, until }), None, true);
                self.check.executed_set(id, until);
            }
            ReplayOf::Delete(_) => {
                if self.held[key].is_some() {
                    self.change(key, None, None, true);
                }
                self.check.replayed_delete(process, key, self.now);
            }
            ReplayOf::Expire(ttl, _) => self.expire(key, ttl, None, true),
        }
        Replayed::Applied
    }

    /// A process's write has reached the server: what it abandoned before can't land any more.
    fn kill_abandoned(&mut self, by: &Message) {
        let slots = &self.slots;
        self.loose.retain(|message| {
            let abandoned = message.slot.is_none_or(|slot| slots[slot].abandoned);
            message.process != by.process || !abandoned || message.sent_at > by.sent_at
        });
    }

    fn reply(&mut self, message: &Message, reply: Result<Reply>) {
        let Some(slot) = message.slot else { return };
        match message.tracked {
            Some(connection) if self.processes[message.process].tracked == Some(connection) => {
                self.processes[message.process].down.push_back(Downstream::Reply(slot, reply));
            }
            // It was executed after its connection had been cut.
            Some(_) => {}
            None => self.replies.push((slot, reply)),
        }
    }

    /// Answers by itself, without the server.
    fn answer(&mut self, message: &Message, reply: Result<Reply>) {
        if let Some(slot) = message.slot {
            self.replies.push((slot, reply));
        }
    }

    // --- the connections of a process

    pub(super) fn connect(&mut self, process: usize) {
        // The client has first to hear that the last connection ended.
        let one = &self.processes[process];
        if self.mode == Mode::Down || one.tracked.is_some() || !one.down.is_empty() {
            return;
        }
        self.connections += 1;
        let connection = Some(self.connections);
        let now = self.now;
        let one = &mut self.processes[process];
        one.tracked = connection;
        one.up.push_back(Message {
            process,
            slot: None,
            command: Command::Track,
            operation: None,
            made_at: now,
            sent_at: now,
            tracked: connection,
        });
    }

    /// The tracked connection of `process` is cut: what was in it is lost, or, what the server has
    /// received already, executed later. True if the client had been told that the stream is in place.
    pub(super) fn cut(&mut self, process: usize) {
        let kept = {
            let down = self.processes[process].down.len();
            self.dice.roll(down + 1)
        };
        let one = &mut self.processes[process];
        if one.tracked.take().is_none() {
            return;
        }
        one.registered = false;
        one.down.truncate(kept);
        one.down.push_back(Downstream::End);
        let up = std::mem::take(&mut one.up);
        self.say(|| format!("process {process} loses its connection"));
        let executed = self.dice.roll(up.len() + 1);
        for (place, message) in up.into_iter().enumerate() {
            self.answer(&message, Err(broken()));
            if place < executed && message.slot.is_some() && self.mode != Mode::Down {
                self.loose.push(Message { slot: None, ..message });
            }
        }
        // Replies that got lost.
        for slot in 0..self.slots.len() {
            let waits = self.slots[slot].reply.is_none() && !self.slots[slot].abandoned;
            if waits && self.waits_on(slot, process) {
                self.replies.push((slot, Err(broken())));
            }
        }
    }

    /// Whether a reply to `slot` can come no more: it was on the tracked connection.
    fn waits_on(&self, slot: usize, process: usize) -> bool {
        let elsewhere = |message: &Message| message.slot == Some(slot);
        let coming = |reply: &Downstream| matches!(reply, Downstream::Reply(of, _) if *of == slot);
        !self.unsent.iter().any(elsewhere)
            && !self.loose.iter().any(elsewhere)
            && !self.replies.iter().any(|(of, _)| *of == slot)
            && !self.processes.iter().any(|one| one.up.iter().any(elsewhere))
            && !self.processes.iter().any(|one| one.down.iter().any(coming))
            && self.slots[slot].process == process
    }

    pub(super) fn is_connected(&self, process: usize) -> bool {
        self.processes[process].tracked.is_some()
    }

    pub(super) fn ping(&mut self, process: usize) {
        let now = self.now;
        let one = &mut self.processes[process];
        if one.subscribed && one.tracked.is_some() {
            one.pings.push_back(now);
            one.up.push_back(Message {
                process,
                slot: None,
                command: Command::Ping,
                operation: None,
                made_at: now,
                sent_at: now,
                tracked: one.tracked,
            });
        }
    }

    /// The oldest question on the stream that has no answer.
    pub(super) fn unanswered(&self, process: usize) -> Option<u64> {
        self.processes[process].pings.front().copied()
    }

    /// One caller's message goes into its connection.
    pub(super) fn send(&mut self) -> bool {
        if self.unsent.is_empty() {
            return false;
        }
        let place = self.dice.roll(self.unsent.len());
        let mut message = self.unsent.swap_remove(place);
        let one = &mut self.processes[message.process];
        if message.slot.is_some_and(|slot| self.slots[slot].abandoned) {
            // Its caller has gone before anything was written.
            return true;
        }
        message.sent_at = self.now;
        if self.mode == Mode::Down {
            self.answer(&message, Err(Error::new(ErrorKind::Connect, "connection refused")));
        } else if one.subscribed && one.tracked.is_none() {
            // Into a connection that has ended, which the client does not know yet.
            self.answer(&message, Err(broken()));
        } else if one.subscribed {
            message.tracked = one.tracked;
            one.up.push_back(message);
        } else {
            self.loose.push(message);
        }
        true
    }

    /// A reply that is not on a tracked connection arrives.
    pub(super) fn arrive(&mut self) -> bool {
        if self.replies.is_empty() {
            return false;
        }
        let place = self.dice.roll(self.replies.len());
        let (slot, reply) = self.replies.swap_remove(place);
        self.take(slot, reply);
        true
    }

    fn take(&mut self, slot: usize, reply: Result<Reply>) {
        let one = &mut self.slots[slot];
        if !one.abandoned && one.reply.is_none() {
            one.reply = Some(reply);
            self.ready.push(one.task);
        }
    }

    /// The client takes the next message of the tracked connection of `process`; what it makes of it is
    /// returned for its Hybrid.
    pub(super) fn deliver(&mut self, process: usize) -> Option<Told> {
        let message = self.processes[process].down.pop_front()?;
        Some(match message {
            Downstream::Push(key, event) => {
                self.check.heard(process, key, event);
                Told::Key(key)
            }
            Downstream::PushAll(event) => {
                (0..KEYS.len()).for_each(|key| self.check.heard(process, key, event));
                Told::All
            }
            Downstream::Reply(slot, reply) => {
                self.take(slot, reply);
                Told::Nothing
            }
            Downstream::Tracked(sent_at) => {
                self.processes[process].digested = Some(sent_at);
                Told::Nothing
            }
            Downstream::End => {
                let one = &mut self.processes[process];
                (one.subscribed, one.digested) = (false, None);
                one.pings.clear();
                Told::Lost
            }
            Downstream::Pong(sent_at) => {
                self.processes[process].pings.pop_front();
                Told::Proven(sent_at)
            }
        })
    }

    /// The client's task learns that the stream is in place: some time after the reply.
    pub(super) fn digest(&mut self, process: usize) -> Option<u64> {
        let one = &mut self.processes[process];
        let sent_at = one.digested.take()?;
        one.subscribed = true;
        Some(sent_at)
    }

    /// Everything that is on its way: to the server, or back.
    pub(super) fn busy(&self) -> bool {
        !self.unsent.is_empty()
            || !self.loose.is_empty()
            || !self.replies.is_empty()
            || self
                .processes
                .iter()
                .any(|one| !one.up.is_empty() || !one.down.is_empty() || one.digested.is_some())
    }

    pub(super) fn held(&self, key: Key) -> Option<u64> {
        self.held[key].map(|held| held.id)
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Timeout, "the connection broke before the reply")
}

/// What a client has heard on its stream.
pub(super) enum Told {
    Nothing,
    Key(Key),
    All,
    Proven(u64),
    Lost,
}

/// The world of one process.
#[derive(Clone)]
pub(in crate::hybrid) struct Sim {
    pub(in crate::hybrid) process: usize,
    pub(in crate::hybrid) now: Arc<AtomicU64>,
    pub(in crate::hybrid) universe: Arc<Mutex<Universe>>,
}

impl Sim {
    fn universe(&self) -> MutexGuard<'_, Universe> {
        self.universe.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn call(&self, command: Command, patience: Duration) -> Result<Reply> {
        Call { sim: self, command: Some(command), patience, slot: None }.await
    }
}

impl Sim {
    /// The reply to a direct write of `keys` has reached its caller.
    fn acknowledged(&self, keys: &[Key], reply: Result<Reply>) -> Result<Reply> {
        if reply.is_ok() {
            let mut universe = self.universe();
            let operation = universe.current.1;
            keys.iter().for_each(|key| universe.check.acknowledged(operation, *key));
        }
        reply
    }
}

struct Call<'a> {
    sim: &'a Sim,
    command: Option<Command>,
    patience: Duration,
    slot: Option<usize>,
}

impl Future for Call<'_> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut universe = self.sim.universe();
        let now = universe.now;
        if let Some(slot) = self.slot {
            let one = &mut universe.slots[slot];
            if let Some(reply) = one.reply.take() {
                one.abandoned = true;
                drop(universe);
                self.slot = None;
                return Poll::Ready(reply);
            }
            if now < one.deadline {
                return Poll::Pending;
            }
            one.abandoned = true;
            drop(universe);
            self.slot = None;
            return Poll::Ready(Err(Error::new(ErrorKind::Timeout, "no reply by the deadline")));
        }
        drop(universe);
        let command = self.command.take().expect("it is polled until it is ready");
        let mut universe = self.sim.universe();
        let (task, operation) = universe.current;
        let deadline = now + self.patience.as_millis() as u64;
        let slot = universe.slots.len();
        let process = self.sim.process;
        universe.slots.push(Slot { process, task, deadline, reply: None, abandoned: false });
        universe.timers.push((deadline, task));
        let reads = matches!(command, Command::Fetch(_));
        let message = Message {
            process,
            slot: Some(slot),
            command,
            operation,
            made_at: now,
            sent_at: now,
            tracked: None,
        };
        if reads && universe.mode == Mode::Down {
            universe.answer(&message, Err(Error::new(ErrorKind::Connect, "connection refused")));
        } else if reads {
            universe.loose.push(message);
        } else {
            universe.unsent.push(message);
        }
        drop(universe);
        self.slot = Some(slot);
        Poll::Pending
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.sim.universe().slots[slot].abandoned = true;
        }
    }
}

struct Sleep<'a> {
    sim: &'a Sim,
    until: Option<u64>,
    span: Duration,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let mut universe = self.sim.universe();
        let now = universe.now;
        let until = match self.until {
            Some(until) if until <= now => return Poll::Ready(()),
            Some(until) => until,
            None => now + (self.span.as_millis() as u64).max(1),
        };
        let task = universe.current.0;
        universe.timers.push((until, task));
        drop(universe);
        self.until = Some(until);
        Poll::Pending
    }
}

impl World for Sim {
    type Remote = Self;

    fn now_ms(&self) -> u64 {
        self.now.load(SeqCst)
    }

    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send {
        Sleep { sim: self, until: None, span }
    }

    fn jitter(&self, span: Duration) -> Duration {
        span
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        self.universe().spawned.push((self.process, Box::pin(task)));
        true
    }
}

fn fetched(entry: Option<(u64, Option<u64>)>) -> Fetched {
    entry.map(|(id, left)| {
        let left = left.map_or(Remaining::Forever, |ms| Remaining::For(Duration::from_millis(ms)));
        (value_of(id), left).into()
    })
}

fn count(reply: Reply) -> u64 {
    match reply {
        Reply::Count(count) => count,
        _ => 0,
    }
}

impl Remote for Sim {
    async fn fetch(&self, key: &[u8], patience: Duration) -> Result<Fetched> {
        self.fetch_many(&[key], patience).await.map(|mut one| one.pop().flatten())
    }

    async fn fetch_many(&self, keys: &[&[u8]], patience: Duration) -> Result<Vec<Fetched>> {
        let keys: Vec<Key> = keys.iter().map(|key| place(key)).collect();
        match self.call(Command::Fetch(keys), patience).await? {
            Reply::Fetched(found) => {
                let mut universe = self.universe();
                for (id, _) in found.iter().flatten() {
                    universe.check.saw(self.process, *id);
                }
                Ok(found.into_iter().map(fetched).collect())
            }
            reply => panic!("{reply:?}"),
        }
    }

    async fn has(&self, key: &[u8], patience: Duration) -> Result<bool> {
        self.fetch(key, patience).await.map(|found| found.is_some())
    }

    async fn pttl(&self, key: &[u8], patience: Duration) -> Result<Option<Remaining>> {
        self.fetch(key, patience).await.map(|found| found.map(|got| got.left))
    }

    async fn put(
        &self,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<u64>,
        patience: Duration,
    ) -> Result<()> {
        self.put_many(&[(key, value)], &[Lifetime::plain(ttl_ms)], patience).await
    }

    async fn put_many(
        &self,
        items: &[(&[u8], &[u8])],
        lifetimes: &[Lifetime],
        patience: Duration,
    ) -> Result<()> {
        // Nothing here spreads them.
        let ttl_ms = lifetimes[0].ttl_ms;
        let items: Vec<_> = items.iter().map(|(key, value)| (place(key), id_of(value))).collect();
        let keys: Vec<Key> = items.iter().map(|(key, _)| *key).collect();
        let reply = self.call(Command::Set(items, ttl_ms), patience).await;
        self.acknowledged(&keys, reply).map(drop)
    }

    async fn unlink(&self, key: &[u8], patience: Duration) -> Result<bool> {
        self.unlink_many(&[key], patience).await.map(|count| count > 0)
    }

    async fn unlink_many(&self, keys: &[&[u8]], patience: Duration) -> Result<u64> {
        let keys: Vec<Key> = keys.iter().map(|key| place(key)).collect();
        let reply = self.call(Command::Delete(keys.clone()), patience).await;
        self.acknowledged(&keys, reply).map(count)
    }

    async fn pexpire(&self, key: &[u8], ttl_ms: Option<u64>, patience: Duration) -> Result<bool> {
        let reply = self.call(Command::Expire(place(key), ttl_ms), patience).await;
        reply.map(|reply| count(reply) > 0)
    }

    async fn unlink_all(&self, patience: Duration) -> Result<()> {
        self.call(Command::Clear(0), patience * KEYS.len() as u32).await.map(drop)
    }

    async fn replay(
        &self,
        key: &[u8],
        write: &Replay,
        known: &[Value],
        patience: Duration,
    ) -> Result<Replayed> {
        let original = write;
        let write = match write {
            Replay::Set(value, ttl_ms) => ReplayOf::Set(id_of(value), *ttl_ms),
            Replay::Delete { any } => ReplayOf::Delete(*any),
            Replay::Expire { ttl_ms, any } => ReplayOf::Expire(*ttl_ms, *any),
        };
        let known = known.iter().map(|value| id_of(value)).collect();
        match self.call(Command::Replay(place(key), write, known), patience).await? {
            Reply::Replayed(replayed) => {
                let mut universe = self.universe();
                let of = |one: &(usize, Key, u64)| (one.0, one.1) == (self.process, place(key));
                // One replay of a key at a time: the last is this one's.
                if replayed == Replayed::Foreign
                    && let Some(last) = universe.foreign.iter().rposition(of)
                {
                    let one = universe.foreign.swap_remove(last);
                    universe.gave_way.push(one);
                }
                if replayed == Replayed::Applied
                    && let Replay::Set(value, _) = original
                {
                    universe.check.confirmed(id_of(value));
                }
                Ok(replayed)
            }
            reply => panic!("{reply:?}"),
        }
    }

    async fn probe(&self, patience: Duration) -> Result<()> {
        self.call(Command::Probe, patience).await.map(drop)
    }
}
