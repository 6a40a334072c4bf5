//! The invalidation stream: one RESP3 connection (on a Cluster one to each master) on which the server
//! tells of every write below the prefix, whoever made it; or, with `on_channel`, passes on what other
//! caches tell of theirs (`announce`).
//!
//! # Protocol
//! One task per cache: connect, `CLIENT TRACKING ON BCAST PREFIX p: NOLOOP`, tell the sink
//! `subscribed`, then every `watchdog` send a PING and tell `proven` when its answer is there. As
//! pushes and replies come in one order on one connection, every write that the server executed before
//! it answered has been told of before `proven`. When anything fails: `lost`, and from the beginning,
//! with back-off. `subscribed` and `lost` alternate, beginning with `subscribed`.
//! - NOLOOP spares the connection its own writes, so a Hybrid's writes go over it too
//!   (`Shared::run_tracked`). On a Cluster they do not: own writes are echoed there.
//! - The prefix is always given. Without one a server tells the names of all keys, also of those that
//!   the user may not read.
//! - On a channel, `SUBSCRIBE` takes the place of `CLIENT TRACKING`, and all else is the same. On a Cluster,
//!   whose nodes pass messages on to each other, it is one connection, to any master.
//! - Pushes are handed to the sink on a thread of the runtime while replies wait: it must be quick.
//! - The task and the pushes hold the cache and the sink weakly, and end with either of them.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ::redis::{PushInfo, PushKind, Value as Reply, cmd};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::announce::Heard;
use super::commands::{Replies, Request};
use super::connect::{self, connect_deadline};
use super::endpoint::Address;
use super::error_map::{Trip, is_readonly};
use super::gate::backoff;
use super::pipe::{OnPush, Pipe};
use super::state::State;
use super::{Shared, api, tags};
use crate::config::{Endpoint as Place, HostPort};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RESERVED_PREFIX;
use crate::log::{self, Level};
use crate::runtime;

/// Time until a server that has no tracking is asked again: it may be another one then.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What hears of other clients' writes. Called on threads of the runtime; must neither block nor take
/// long.
pub(crate) trait InvalidationSink: Send + Sync {
    /// From now on writes are told of.
    fn subscribed(&self);
    /// All writes that the server executed before `sent_at` have been told of.
    fn proven(&self, sent_at: Instant);
    /// `key`, without the prefix, was written, removed or evicted, or has expired.
    fn invalidated(&self, key: &[u8]);
    /// The record of `tag` was.
    fn tag_changed(&self, _tag: &[u8]) {}
    /// Every key may have changed, and every tag.
    fn invalidated_all(&self);
    /// Writes are not told of any more.
    fn lost(&self);
    /// The server does not answer on the stream; `lost` follows.
    fn silent(&self);
    /// This server can't tell of writes, or this user may not ask it to. Asked again from time to time.
    fn unavailable(&self);
}

/// The stream of one cache.
pub(super) struct Listener {
    sink: Weak<dyn InvalidationSink>,
    watchdog: Duration,
    /// It hears what other caches tell on a channel, and not what the server tells.
    on_channel: bool,
}

impl Shared {
    /// Has `sink` told of other clients' writes, for as long as both it and the cache live. Only the
    /// first sink of a cache is taken.
    pub(super) fn listen(
        self: &Arc<Self>,
        sink: &Arc<dyn InvalidationSink>,
        watchdog: Duration,
        on_channel: bool,
    ) -> Result<()> {
        if self.keyspace.prefix.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the invalidation stream needs a prefix"));
        }
        let listener = Listener { sink: Arc::downgrade(sink), watchdog, on_channel };
        if self.listener.set(Box::new(listener)).is_err() {
            return Err(Error::new(ErrorKind::Invalid, "the cache has a listener already"));
        }
        self.keep_listening()
    }

    /// Whether this cache hears what others tell on a channel, and tells of its own writes there.
    pub(super) fn is_on_channel(&self) -> bool {
        self.listener.get().is_some_and(|listener| listener.on_channel)
    }

    /// Starts the task again where it ended with a runtime that was shut down.
    pub(super) fn keep_listening(self: &Arc<Self>) -> Result<()> {
        if self.listener.get().is_none() {
            return Ok(());
        }
        let state = self.state();
        state.keep_listening(|| runtime::spawn(run(Arc::downgrade(self), state.clone())))
    }

    /// In a child of `fork()` the parent's stream is not ours: it is lost, and taken up anew.
    pub(super) fn listen_in_child(self: &Arc<Self>, state: &Arc<State>) {
        let Some(listener) = self.listener.get() else { return };
        let Some(sink) = listener.sink.upgrade() else { return };
        sink.lost();
        let start = || runtime::spawn(run(Arc::downgrade(self), state.clone()));
        if let Err(error) = state.keep_listening(start) {
            log::emit(Level::Warn, "redis", format_args!("no invalidation stream: {error}"));
        }
    }
}

/// What a tracked write came to. Its reply proves the stream as a PING does.
pub(super) fn replied(
    shared: &Shared,
    state: &State,
    replied: Result<Replies, Trip>,
    sent_at: Instant,
) -> Result<Replies> {
    let replies = replied.map_err(Trip::into_error)?;
    if replies.any(is_readonly) {
        state.new_epoch();
    } else if let Some(sink) = shared.listener.get().and_then(|listener| listener.sink.upgrade()) {
        sink.proven(sent_at);
    }
    Ok(replies)
}

async fn run(cache: Weak<Shared>, state: Arc<State>) {
    let mut failures = 0;
    let mut told_unavailable = false;
    loop {
        let Some(shared) = cache.upgrade() else { return };
        let Some(listener) = shared.listener.get() else { return };
        let (watchdog, weak_sink) = (listener.watchdog, listener.sink.clone());
        let max_backoff = shared.endpoint.options.max_backoff;
        let Some(sink) = weak_sink.upgrade() else { return };
        let began = Instant::now();
        let subscribed = subscribe(&shared, &state, &weak_sink).await;
        let wait = match subscribed {
            Ok(stream) => {
                failures = 0;
                told_unavailable = false;
                sink.subscribed();
                sink.proven(began);
                let _lost = Lost { state: state.clone(), sink: weak_sink.clone() };
                if let [only] = &stream.pipes[..]
                    && !shared.endpoint.is_cluster()
                {
                    state.set_tracked(Some(only.clone()));
                }
                drop((sink, shared));
                stream.watch(&cache, &state, &weak_sink, watchdog).await;
                Duration::ZERO
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                if !std::mem::replace(&mut told_unavailable, true) {
                    log::emit(
                        Level::Warn,
                        "redis",
                        format_args!("no invalidation stream: {}", error.message()),
                    );
                    sink.unavailable();
                }
                ASK_AGAIN
            }
            Err(error) => {
                failures += 1;
                log::emit(
                    Level::Debug,
                    "redis",
                    format_args!("invalidation stream: {}", error.message()),
                );
                backoff(failures, max_backoff)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Says that the stream is lost however watching it ends, the end of the runtime included.
struct Lost {
    state: Arc<State>,
    sink: Weak<dyn InvalidationSink>,
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.state.set_tracked(None);
        if let Some(sink) = self.sink.upgrade() {
            sink.lost();
        }
    }
}

/// An open stream.
struct Subscription {
    pipes: Vec<Pipe>,
    /// On a Cluster: the masters that `pipes` go to.
    masters: Option<Vec<HostPort>>,
    ended: Arc<Notify>,
    probe: Request,
    patience: Duration,
}

async fn subscribe(
    shared: &Arc<Shared>,
    state: &Arc<State>,
    sink: &Weak<dyn InvalidationSink>,
) -> Result<Subscription> {
    let ended = Arc::new(Notify::new());
    let on_channel = shared.is_on_channel();
    let on_push = match on_channel {
        true => {
            on_message(state.clone(), shared.keyspace.prefix.clone(), sink.clone(), ended.clone())
        }
        false => on_push(shared.keyspace.prefix.clone(), sink.clone(), ended.clone()),
    };
    let patience = shared.endpoint.options.timeout;
    let mut pipes = Vec::new();
    let Place::Cluster(nodes) = &shared.endpoint.options.endpoint else {
        let until = connect_deadline(shared.endpoint.options.connect_timeout);
        let link = connect::connect(&shared.endpoint, &state.resolver, until).await?;
        state.connected_to(&link.address);
        pipes.push(track(shared, state, link, &on_push).await?);
        let probe = if shared.endpoint.is_sentinel() { ::redis::cmd("ROLE") } else { cmd("PING") };
        let probe = Request::read(probe);
        return Ok(Subscription { pipes, masters: None, ended, probe, patience });
    };
    let masters = find_masters(shared, state, nodes).await?;
    let heard = if on_channel { 1 } else { masters.len() };
    for master in masters.iter().take(heard) {
        let until = connect_deadline(shared.endpoint.options.connect_timeout);
        let address = Address::Tcp(master.clone());
        let link = connect::connect_to(&shared.endpoint, &state.resolver, address, until).await?;
        pipes.push(track(shared, state, link, &on_push).await?);
    }
    let mut slots = cmd("CLUSTER");
    slots.arg("SLOTS");
    let probe = Request::read(slots);
    Ok(Subscription { pipes, masters: Some(masters), ended, probe, patience })
}

async fn track(
    shared: &Arc<Shared>,
    state: &Arc<State>,
    link: connect::Link,
    on_push: &OnPush,
) -> Result<Pipe> {
    if !link.resp3 {
        return Err(Error::new(ErrorKind::Unsupported, "the server does not speak RESP3"));
    }
    let home = tokio::runtime::Handle::current();
    let push = Some(on_push.clone());
    let pipe = Pipe::single(link, &home, shared.limit, state.epoch(), push).await?;
    let prefix = &shared.keyspace.prefix;
    let request = if shared.is_on_channel() {
        let mut subscribe = cmd("SUBSCRIBE");
        subscribe.arg(&state.channel(prefix)?.name[..]);
        subscribe
    } else {
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(prefix).arg("NOLOOP");
        tracking
    };
    let request = Request::write(request);
    let replied = timeout(shared.endpoint.options.timeout, pipe.call(&request, &home)).await;
    let replies =
        replied.map_err(|_| Error::from(ErrorKind::Timeout))?.map_err(Trip::into_error)?;
    match replies.one() {
        Ok(_) => Ok(pipe),
        // Unknown to the server, or forbidden to the user.
        Err(error) => Err(Error::new(ErrorKind::Unsupported, error.message().to_owned())),
    }
}

/// The masters of a Cluster, from the first of `nodes` that answers.
async fn find_masters(
    shared: &Arc<Shared>,
    state: &Arc<State>,
    nodes: &[HostPort],
) -> Result<Vec<HostPort>> {
    let mut slots = cmd("CLUSTER");
    slots.arg("SLOTS");
    let mut last = Error::new(ErrorKind::Connect, "the Cluster has no nodes");
    for node in nodes {
        let until = connect_deadline(shared.endpoint.options.connect_timeout);
        let address = Address::Tcp(node.clone());
        let asking = async {
            let mut link =
                connect::connect_to(&shared.endpoint, &state.resolver, address, until).await?;
            let replies = connect::converse(&mut link.stream, std::slice::from_ref(&slots)).await;
            let replies = replies.map_err(|_| Error::from(ErrorKind::Connect))?;
            replies
                .first()
                .and_then(|reply| masters(reply, Some(&node.host)))
                .filter(|masters| !masters.is_empty())
                .ok_or_else(|| Error::new(ErrorKind::Connect, "the node knows no masters"))
        };
        match tokio::time::timeout_at(until, asking).await {
            Ok(Ok(masters)) => return Ok(masters),
            Ok(Err(error)) => last = error,
            Err(_) => last = ErrorKind::Timeout.into(),
        }
    }
    Err(last)
}

impl Subscription {
    /// Proves the stream every `watchdog`; returns when it is lost or nobody wants it any more.
    async fn watch(
        &self,
        cache: &Weak<Shared>,
        state: &State,
        sink: &Weak<dyn InvalidationSink>,
        watchdog: Duration,
    ) {
        let home = tokio::runtime::Handle::current();
        loop {
            let pause = tokio::time::sleep(watchdog);
            tokio::select! {
                () = pause => {}
                () = self.ended.notified() => return,
            }
            // Taken for a moment only. Asking for the state also has the Sentinels watched.
            match cache.upgrade() {
                Some(shared) => drop(shared.state().clone()),
                None => return,
            }
            let Some(sink) = sink.upgrade() else { return };
            if !self.pipes.iter().all(|pipe| pipe.usable(state.epoch())) {
                return;
            }
            let sent_at = Instant::now();
            for pipe in &self.pipes {
                let answer = timeout(self.patience, pipe.call(&self.probe, &home)).await;
                if answer.is_err() {
                    sink.silent();
                }
                if !matches!(answer, Ok(Ok(replies)) if self.as_before(&replies)) {
                    state.new_epoch();
                    return;
                }
            }
            sink.proven(sent_at);
        }
    }

    /// Whether a probe's answer says that these are still the masters.
    fn as_before(&self, replies: &Replies) -> bool {
        let Replies::One(reply) = replies else { return false };
        match (&self.masters, reply) {
            (Some(before), reply) => {
                let host = before.first().map(|master| master.host.as_str());
                masters(reply, host).is_some_and(|now| now == *before)
            }
            (None, Reply::Array(role)) => {
                matches!(role.first(), Some(Reply::BulkString(role)) if role == b"master")
            }
            // To PING; or a user who may not ask ROLE has at least got an answer.
            (None, _) => true,
        }
    }
}

fn on_push(prefix: Vec<u8>, sink: Weak<dyn InvalidationSink>, ended: Arc<Notify>) -> OnPush {
    Arc::new(move |push: PushInfo| match push.kind {
        PushKind::Disconnection => ended.notify_one(),
        PushKind::Invalidate => {
            let Some(sink) = sink.upgrade() else { return };
            match push.data.first() {
                Some(Reply::Array(keys)) => {
                    for key in keys {
                        let Reply::BulkString(key) = key else { continue };
                        if let Some(key) = key.strip_prefix(&prefix[..]) {
                            changed(&*sink, key);
                        }
                    }
                }
                _ => sink.invalidated_all(),
            }
        }
        _ => {}
    })
}

fn on_message(
    state: Arc<State>,
    prefix: Vec<u8>,
    sink: Weak<dyn InvalidationSink>,
    ended: Arc<Notify>,
) -> OnPush {
    Arc::new(move |push: PushInfo| match push.kind {
        PushKind::Disconnection => ended.notify_one(),
        PushKind::Message => {
            let (Some(sink), Ok(channel)) = (sink.upgrade(), state.channel(&prefix)) else {
                return;
            };
            let [_, Reply::BulkString(message)] = &push.data[..] else { return };
            match channel.heard(message) {
                Heard::Key(key) => changed(&*sink, key),
                Heard::All => sink.invalidated_all(),
                Heard::Nothing => {}
            }
        }
        _ => {}
    })
}

/// A key without its prefix has changed.
fn changed(sink: &dyn InvalidationSink, key: &[u8]) {
    if !key.starts_with(RESERVED_PREFIX) {
        sink.invalidated(key);
    } else if let Some(tag) = tags::of_record(key) {
        sink.tag_changed(tag);
    }
}

/// The masters in the answer to CLUSTER SLOTS, in a fixed order. A node that does not know its own
/// address is reached by `asked`, the host that was asked.
pub(super) fn masters(slots: &Reply, asked: Option<&str>) -> Option<Vec<HostPort>> {
    let Reply::Array(ranges) = slots else { return None };
    let mut masters = Vec::new();
    for range in ranges {
        let Reply::Array(range) = range else { return None };
        let Some(Reply::Array(node)) = range.get(2) else { return None };
        let host = match node.first() {
            Some(Reply::BulkString(host)) if !host.is_empty() => {
                std::str::from_utf8(host).ok()?.to_owned()
            }
            _ => asked?.to_owned(),
        };
        let Some(Reply::Int(port)) = node.get(1) else { return None };
        masters.push(HostPort { host, port: u16::try_from(*port).ok()? });
    }
    masters.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
    masters.dedup();
    Some(masters)
}

/// A reply from the server, whatever it is, on the tracked connection if there is one.
pub(super) fn probe_request() -> Request {
    api::ping()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Reply {
        ::redis::parse_redis_value(text).unwrap()
    }

    #[test]
    fn masters_of_slots() {
        let slots = parse(
            b"*2\r\n*3\r\n:0\r\n:99\r\n*3\r\n$2\r\nh2\r\n:7001\r\n$1\r\na\r\n\
              *3\r\n:100\r\n:199\r\n*3\r\n$0\r\n\r\n:7000\r\n$1\r\nb\r\n",
        );
        let found = masters(&slots, Some("h1")).unwrap();
        let names: Vec<String> = found.iter().map(HostPort::to_string).collect();
        assert_eq!(names, ["h1:7000", "h2:7001"]);
        assert!(masters(&slots, None).is_none());
        assert!(masters(&Reply::Nil, None).is_none());
    }
}
