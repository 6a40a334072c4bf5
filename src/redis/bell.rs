//! [`Bell`]: a connection that hears what is published on one channel, for as long as somebody waits: for a
//! lock to be given back, for a value that another process loads.
//!
//! A few of a process at a time, as connections are dear: who gets none asks from time to time instead, and
//! so does everybody else as a safety net, as nothing is published by a lease that runs out. Publishing
//! rather than a list to block on, because on a Cluster it is heard on every node, and because nobody is
//! the worse for a waiter that dies when it was woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::redis::{Value as Reply, cmd};
use tokio::io::AsyncReadExt;

use super::Shared;
use super::connect::{self, connect_deadline};
use super::endpoint::Address;
use super::gate::backoff;
use super::reply::{Scanner, parse};
use super::stream::Stream;
use crate::config::Endpoint as Place;

/// How many waiters of a process listen; further ones only ask.
const LISTENERS_MAX: usize = 16;
/// A waiter that listens asks this often all the same.
const SAFETY_NET: Duration = Duration::from_millis(500);
/// A waiter that does not listen asks at least this often.
const POLL_MAX: Duration = Duration::from_millis(100);
/// Longest message that is read.
const MESSAGE_MAX: usize = 1 << 17;

/// See the module.
pub(super) struct Bell {
    stream: Stream,
    scanner: Scanner,
    bytes: Vec<u8>,
    _place: Listening,
}

/// One of the listeners of a process, until it is dropped.
struct Listening(Arc<AtomicUsize>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bell {
    /// Subscribes to `channel`; `None` where that can't be had.
    pub(super) async fn on(shared: &Arc<Shared>, channel: &[u8], until: Instant) -> Option<Self> {
        let state = shared.state();
        let listeners = state.listeners.clone();
        let before = listeners.fetch_add(1, Ordering::Relaxed);
        let place = Listening(listeners);
        if before >= LISTENERS_MAX {
            return None;
        }
        let deadline = connect_deadline(shared.endpoint.options.connect_timeout).min(until.into());
        let subscribing = async {
            let mut link = match &shared.endpoint.options.endpoint {
                // What is published is heard on every node.
                Place::Cluster(nodes) => {
                    let mut found = None;
                    for node in nodes {
                        let address = Address::Tcp(node.clone());
                        let to = &shared.endpoint;
                        if let Ok(link) =
                            connect::connect_to(to, &state.resolver, address, deadline).await
                        {
                            found = Some(link);
                            break;
                        }
                    }
                    found?
                }
                _ => connect::connect(&shared.endpoint, &state.resolver, deadline).await.ok()?,
            };
            let mut subscribe = cmd("SUBSCRIBE");
            subscribe.arg(channel);
            let replies = connect::converse(&mut link.stream, &[subscribe]).await.ok()?;
            match replies.first() {
                Some(Reply::ServerError(_)) | None => None,
                Some(_) => Some(link.stream),
            }
        };
        let stream = tokio::time::timeout_at(deadline, subscribing).await.ok()??;
        Some(Self { stream, scanner: Scanner::new(MESSAGE_MAX), bytes: Vec::new(), _place: place })
    }

    /// The next message; `None` where nothing will be heard any more. Dropped while it waits, it loses
    /// nothing.
    async fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            let (used, ended) = self.scanner.feed(&self.bytes).ok()?;
            if ended {
                let frame: Vec<u8> = self.bytes.drain(..used).collect();
                return Some(payload(&frame).unwrap_or_default());
            }
            // The scanner has walked over the part of a frame that came: it is fed the whole anew.
            self.scanner = Scanner::new(MESSAGE_MAX);
            if self.bytes.len() > MESSAGE_MAX
                || self.stream.read_buf(&mut self.bytes).await.ok()? == 0
            {
                return None;
            }
        }
    }
}

/// What a push or, with RESP2, an array like it says.
fn payload(frame: &[u8]) -> Option<Vec<u8>> {
    let parts = match parse(frame).ok()? {
        Reply::Push { data, .. } | Reply::Array(data) => data,
        _ => return None,
    };
    match parts.into_iter().next_back() {
        Some(Reply::BulkString(text)) => Some(text),
        _ => None,
    }
}

/// The waiting for a channel, in rounds: after each the waiter asks whether it is over.
pub(super) struct Vigil<'a> {
    subscribing: std::pin::Pin<Box<dyn Future<Output = Option<Bell>> + Send + 'a>>,
    subscribed: bool,
    bell: Option<Bell>,
    rounds: u32,
    until: Instant,
}

impl<'a> Vigil<'a> {
    /// Waits until `until` at most.
    pub(super) fn new(shared: &'a Arc<Shared>, channel: &'a [u8], until: Instant) -> Self {
        Self {
            subscribing: Box::pin(Bell::on(shared, channel, until)),
            subscribed: false,
            bell: None,
            rounds: 0,
            until,
        }
    }

    /// Until it is worth asking again: something was said (which is returned), the lease that was seen,
    /// which has `rest` to run, has ended, or some time has passed.
    pub(super) async fn round(&mut self, rest: Duration) -> Option<Vec<u8>> {
        let often = if self.bell.is_some() { SAFETY_NET } else { backoff(self.rounds, POLL_MAX) };
        let again = Instant::now() + often.min(rest.saturating_add(Duration::from_millis(1)));
        self.rounds = (self.rounds + 1).min(16);
        let listens = self.bell.is_some();
        tokio::select! {
            made = &mut self.subscribing, if !self.subscribed => {
                // What was said before that is not told any more.
                (self.subscribed, self.bell) = (true, made);
                None
            }
            message = heard(&mut self.bell), if listens => {
                if message.is_none() {
                    self.bell = None;
                }
                message
            }
            () = tokio::time::sleep_until(again.min(self.until).into()) => None,
        }
    }
}

async fn heard(bell: &mut Option<Bell>) -> Option<Vec<u8>> {
    match bell {
        Some(bell) => bell.message().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_both_protocols() {
        let resp2 = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
        let resp3 = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n";
        assert_eq!(payload(resp2), Some(b"hi".to_vec()));
        assert_eq!(payload(resp3), Some(Vec::new()));
        assert_eq!(payload(b"+OK\r\n"), None);
    }
}
