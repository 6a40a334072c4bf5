//! What must hold, whatever happens: the history of each key on the server, what each process has written
//! and heard, and the judgement of each read by them.
//!
//! - **G1**: a read never returns a value that this process had replaced, deleted or cleared by a call that
//!   returned before the read began (read your writes, no resurrection); nor another process's value that
//!   was overwritten by such a write.
//! - **R1**: nor a value whose invalidation this process had heard of before the read began.
//! - **G2**: nor, unless it is marked stale, one that was overwritten more than `watchdog` + 0.5 s before
//!   the read began; nor, marked or not, one whose TTL was over then.
//! - A write that waits in the queue is what its process reads, and is delivered in the end, unless another
//!   process's value wins. A replay replaces no value that its process does not know, and gives way to none
//!   that it does: what L1 held, and what this process wrote itself, unless an eviction made it forget that.
//!
//! Exempt, as in the contract: what a fail-over to older data brings back.

use std::collections::{HashMap, HashSet};

use super::universe::{Held, KEYS, Key, PLAIN};

/// Watchdog + 0.5 s, in milliseconds.
const BOUND: u64 = 1500;

struct Change {
    order: u64,
    id: Option<u64>,
    at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Set { id: u64, until: Option<u64> },
    Delete,
    Clear,
}

/// One write of one key by one process.
#[derive(Debug)]
struct Write {
    operation: usize,
    process: usize,
    key: Key,
    kind: Kind,
    /// What L1 held before.
    saw: Option<u64>,
    begun: u64,
    /// When its call returned, or was cancelled.
    ended: Option<u64>,
    /// It returned, and said that it is done.
    done: bool,
    /// Its direct leg was answered.
    acknowledged: bool,
    /// The server's order of its last execution.
    executed: Option<u64>,
    /// It lost against another process's value, or a fail-over came.
    void: bool,
}

struct Lifetime {
    writer: usize,
    until: Option<u64>,
    executed: bool,
    /// Its TTL was changed by somebody.
    touched: bool,
}

/// A read that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    process: usize,
    key: Key,
    tick: u64,
    at: u64,
    heard: u64,
}

pub(super) struct Checker {
    tick: u64,
    order: u64,
    changes: [Vec<Change>; KEYS.len()],
    values: HashMap<u64, Lifetime>,
    writes: Vec<Write>,
    heard: Vec<[u64; KEYS.len()]>,
    saw: Vec<HashSet<u64>>,
    /// The tick of the last eviction of each key.
    evicted: Vec<[u64; KEYS.len()]>,
    failed_over: bool,
    pub(super) foreign: u64,
    pub(super) replays: u64,
}

impl Checker {
    pub(super) fn new(processes: usize) -> Self {
        Self {
            tick: 0,
            order: 0,
            changes: Default::default(),
            values: HashMap::new(),
            writes: Vec::new(),
            heard: vec![[0; KEYS.len()]; processes],
            saw: vec![HashSet::new(); processes],
            evicted: vec![[0; KEYS.len()]; processes],
            failed_over: false,
            foreign: 0,
            replays: 0,
        }
    }

    fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    pub(super) fn order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    // --- what happens on the server

    /// A key has changed; the number of the event.
    pub(super) fn changed(&mut self, key: Key, held: Option<Held>, at: u64) -> u64 {
        let order = self.order();
        self.changes[key].push(Change { order, id: held.map(|held| held.id), at });
        order
    }

    pub(super) fn plain(&mut self, id: u64, until: Option<u64>) {
        let value = Lifetime { writer: PLAIN, until, executed: true, touched: false };
        self.values.insert(id, value);
    }

    pub(super) fn executed_set(&mut self, id: u64, until: Option<u64>) {
        let order = self.order;
        let Some(value) = self.values.get_mut(&id) else { return };
        // Executed twice, the later end counts.
        value.until = match (value.executed, value.until, until) {
            (true, Some(before), Some(now)) => Some(before.max(now)),
            (false, _, until) => until,
            _ => None,
        };
        value.executed = true;
        let set = |write: &&mut Write| matches!(write.kind, Kind::Set { id: of, .. } if of == id);
        if let Some(write) = self.writes.iter_mut().find(set) {
            write.executed = Some(order);
        }
    }

    pub(super) fn executed_delete(&mut self, operation: Option<usize>, key: Key) {
        let order = self.order;
        let of = |write: &&mut Write| Some(write.operation) == operation && write.key == key;
        if let Some(write) = self.writes.iter_mut().find(of) {
            write.executed = Some(order);
        }
    }

    pub(super) fn replayed_delete(&mut self, process: usize, key: Key, now: u64) {
        let order = self.order;
        let touched = |id| self.values.get(&id).is_some_and(|value| value.touched);
        let over: Vec<usize> = (0..self.writes.len())
            .filter(|place| match self.writes[*place].kind {
                Kind::Set { id, until } => until.is_some_and(|until| until <= now) || touched(id),
                _ => true,
            })
            .map(|place| self.writes[place].operation)
            .collect();
        for write in self.pending(process, key) {
            if over.contains(&write.operation) {
                write.executed = Some(order);
            }
        }
    }

    pub(super) fn replayed_clear(&mut self, process: usize, key: Key) {
        let order = self.order;
        for write in self.pending(process, key) {
            if write.kind == Kind::Clear {
                write.executed = Some(order);
            }
        }
    }

    /// Writes of which nobody knows that they were executed.
    fn pending(&mut self, process: usize, key: Key) -> impl Iterator<Item = &mut Write> {
        self.writes.iter_mut().filter(move |write| {
            write.process == process && write.key == key && write.executed.is_none()
        })
    }

    /// A set goes its way again, with a TTL that ends at `until`.
    pub(super) fn replayed_set(&mut self, id: u64, until: Option<u64>) {
        let of = |write: &&Write| matches!(write.kind, Kind::Set { id: of, .. } if of == id);
        let Some(write) = self.writes.iter().find(of) else { return };
        let Kind::Set { until: given, .. } = write.kind else { return };
        if self.values.get(&id).is_some_and(|value| value.touched) {
            return;
        }
        assert!(
            given.is_none_or(|given| until.is_some_and(|until| until <= given)),
            "G2: a queued write is given a TTL to {until:?}, and had one to {given:?}"
        );
    }

    pub(super) fn touched(&mut self, id: u64) {
        if let Some(value) = self.values.get_mut(&id) {
            value.touched = true;
        }
    }

    /// A replay is about to replace `held`.
    pub(super) fn replays_over(&mut self, process: usize, held: Option<u64>, any: bool) {
        self.replays += 1;
        let Some(held) = held.filter(|_| !any) else { return };
        let own = self.values.get(&held).is_some_and(|value| value.writer == process);
        assert!(
            own || self.saw[process].contains(&held),
            "a replay of process {process} replaces {held}, which it never saw"
        );
    }

    /// L1 has evicted a key.
    pub(super) fn evicted(&mut self, process: usize, key: Key) {
        self.evicted[process][key] = self.tick();
    }

    /// A replay of `process` gives way to `held`: not rightly, if that is what L1 held before one of the
    /// writes that are lost, or a write of its own that had ended before one of them began. (Of those that
    /// overlap either may be the last.) An acknowledged one may have been forgotten: where L1 has evicted
    /// the key since, or holds it for less long than the server.
    pub(super) fn lost_to(&mut self, process: usize, key: Key, held: u64) {
        self.foreign += 1;
        let is_held = |write: &&Write| matches!(write.kind, Kind::Set { id, .. } if id == held);
        let own = self.writes.iter().find(is_held);
        let own = own.filter(|write| write.process == process);
        let forgets = self.values.get(&held).is_some_and(|one| one.touched || one.until.is_some());
        let evicted = self.evicted[process][key];
        let own = own.map(|write| {
            let forgotten = write.acknowledged && (forgets || evicted > write.begun);
            (write.ended.unwrap_or(u64::MAX), forgotten)
        });
        let exempt = self.failed_over;
        for write in self.writes.iter_mut().filter(|w| w.process == process && w.key == key) {
            if write.acknowledged || write.void {
                continue;
            }
            write.void = true;
            let known = match own {
                Some((ended, forgotten)) => {
                    ended < write.begun && (!forgotten || write.saw == Some(held))
                }
                None => write.saw == Some(held),
            };
            assert!(
                exempt || !known || !write.done,
                "a replay of process {process} gives way to {held}, which it knows: {write:?}"
            );
        }
    }

    pub(super) fn failed_over(&mut self) {
        self.failed_over = true;
        for write in &mut self.writes {
            write.void = true;
        }
    }

    // --- what processes hear and see

    pub(super) fn heard(&mut self, process: usize, key: Key, event: u64) {
        let heard = &mut self.heard[process][key];
        *heard = event.max(*heard);
    }

    pub(super) fn saw(&mut self, process: usize, id: u64) {
        self.saw[process].insert(id);
    }

    // --- what processes do

    pub(super) fn begin_write(
        &mut self,
        operation: usize,
        process: usize,
        key: Key,
        kind: Kind,
        saw: Option<u64>,
    ) {
        let begun = self.tick();
        if let Kind::Set { id, until } = kind {
            let value = Lifetime { writer: process, until, executed: false, touched: false };
            self.values.insert(id, value);
        }
        self.writes.push(Write {
            operation,
            process,
            key,
            kind,
            saw,
            begun,
            ended: None,
            done: false,
            acknowledged: false,
            executed: None,
            void: false,
        });
    }

    pub(super) fn acknowledged(&mut self, operation: Option<usize>, key: Key) {
        for write in self.writes.iter_mut().filter(|write| write.key == key) {
            if Some(write.operation) == operation {
                (write.acknowledged, write.void) = (true, self.failed_over && write.void);
            }
        }
    }

    /// The reply to the replay of a set has reached its process.
    pub(super) fn confirmed(&mut self, id: u64) {
        let of = |write: &&mut Write| matches!(write.kind, Kind::Set { id: of, .. } if of == id);
        if let Some(write) = self.writes.iter_mut().find(of) {
            write.acknowledged = true;
        }
    }

    /// A call has returned (`done`: with success), or was cancelled.
    pub(super) fn end_write(&mut self, operation: usize, done: bool) {
        let tick = self.tick();
        for write in self.writes.iter_mut().filter(|write| write.operation == operation) {
            (write.ended, write.done) = (Some(tick), done);
        }
    }

    /// This process has changed the TTL of what it holds, which is its own writes and what L1 has.
    pub(super) fn expires(&mut self, process: usize, key: Key, held: Option<u64>) {
        held.into_iter().for_each(|held| self.touched(held));
        for write in &self.writes {
            if let (Kind::Set { id, .. }, true) =
                (write.kind, write.process == process && write.key == key)
                && let Some(value) = self.values.get_mut(&id)
            {
                value.touched = true;
            }
        }
    }

    pub(super) fn begin_read(&mut self, process: usize, key: Key, at: u64) -> Reading {
        let heard = self.heard[process][key];
        Reading { process, key, tick: self.tick(), at, heard }
    }

    pub(super) fn end_read(&mut self, reading: Reading, answer: Option<(u64, bool)>) {
        match answer {
            Some((id, stale)) => self.judge(reading, id, stale),
            None => self.judge_miss(reading),
        }
    }

    /// The writes of `process` that had returned when the read began.
    fn floor(&self, reading: Reading) -> impl Iterator<Item = &Write> {
        self.writes.iter().filter(move |write| {
            write.process == reading.process
                && write.key == reading.key
                && write.done
                && !write.void
                && write.ended.is_some_and(|ended| ended < reading.tick)
        })
    }

    /// Whether `write` may have been overtaken by another write of its process: by a later one, or by one
    /// that overlapped with it and took effect (or lost against another process's value).
    fn covered(&self, write: &Write) -> bool {
        self.writes.iter().any(|other| {
            other.operation != write.operation
                && other.process == write.process
                && other.key == write.key
                && (write.ended.is_some_and(|ended| other.begun > ended)
                    || (other.executed.is_some() || other.void)
                        && other.ended.is_none_or(|ended| ended > write.begun))
        })
    }

    fn judge(&self, reading: Reading, id: u64, stale: bool) {
        let Some(value) = self.values.get(&id) else { panic!("{id} was never written") };
        let own = value.writer == reading.process;
        let what = format!("{reading:?} returns {id} (own: {own}, stale: {stale})");
        let last = self.changes[reading.key].iter().rposition(|change| change.id == Some(id));
        assert!(own || last.is_some(), "{what}, which the server never held");
        let of = |write: &&Write| matches!(write.kind, Kind::Set { id: of, .. } if of == id);
        let written = self.writes.iter().find(of);
        for write in self.floor(reading) {
            match written.filter(|_| own) {
                Some(written) => assert!(
                    written.ended.is_none_or(|ended| write.begun <= ended)
                        || written.operation == write.operation
                        || self.failed_over,
                    "G1: {what}, which was replaced by {write:?}"
                ),
                None => {
                    let since = last.map_or(0, |last| self.changes[reading.key][last].order);
                    let covered = self.covered(write);
                    let before = write.executed.is_none_or(|executed| since < executed);
                    assert!(covered || !before, "G1: {what}, which was replaced by {write:?}");
                }
            }
        }
        let next = last.and_then(|last| self.changes[reading.key].get(last + 1));
        if let Some(next) = next {
            assert!(
                own && stale || next.order > reading.heard,
                "R1: {what}, and had heard of event {}, which replaced it",
                next.order
            );
            assert!(
                stale || next.at + BOUND >= reading.at,
                "G2: {what}, which was replaced {} ms before",
                reading.at - next.at
            );
        }
        if let Some(until) = value.until
            && !value.touched
        {
            assert!(reading.at < until, "G2: {what}, whose time was over at {until}");
        }
    }

    fn judge_miss(&self, reading: Reading) {
        for write in self.floor(reading) {
            let Kind::Set { id, until } = write.kind else { continue };
            let alone = !self.writes.iter().any(|other| {
                other.operation != write.operation
                    && other.process == reading.process
                    && other.key == reading.key
                    && other.ended.is_none_or(|ended| ended > write.begun)
            });
            let touched = self.values.get(&id).is_some_and(|value| value.touched);
            let lives = until.is_none_or(|until| until > reading.at + BOUND);
            assert!(
                !alone || touched || !lives || write.executed.is_some(),
                "G1: {reading:?} finds nothing, and {write:?} waits in the queue"
            );
        }
    }

    /// Nothing is under way, and no queue holds anything.
    pub(super) fn finish(&self) {
        for write in &self.writes {
            let overtaken = self.covered(write);
            assert!(
                !write.done || write.void || write.executed.is_some() || overtaken,
                "G3: {write:?} was lost"
            );
        }
    }
}
