//! A connection on which the caller's own thread writes the request and reads the reply, for a caller
//! who is alone: one system call to send, one to receive, no other thread.
//!
//! How a call keeps its deadline is the matter of `socket`.
//!
//! # When a connection may be used again
//! Only after a call that got all its replies and nothing more. Every other end, a timeout included,
//! leaves [`Direct::broken`] set, and the owner drops the connection: the reply to a forgotten request
//! can't reach a later caller.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use ::redis::Value as Reply;
use rustls::{ClientConnection, Stream as TlsStream};

use super::commands::{Body, Replies, Request};
use super::connect::Link;
use super::error_map::{Trip, not_reached, plain_io};
use super::reply::{Scanner, Violation, bulk_head, parse};
use super::socket::{Socket, Stop, Timed};
use super::stream::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, SLICE};

/// What is read at once, and what an idle connection keeps.
const BUFFER: usize = 16 << 10;
/// A request on a connection that was used within this time goes out without a look whether the server
/// has closed it, or said something unasked: who sends that often pays no system call more, and the
/// chance is small.
const IDLE: Duration = Duration::from_micros(100);
/// A larger string is only allocated after it is known that there is memory for it.
const PROBE: usize = 1 << 20;

/// One blocking connection.
pub(super) struct Direct {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    /// It was made for this state of the topology.
    pub(super) epoch: u64,
    /// The number by which the server knows it.
    pub(super) id: Option<u64>,
    /// No call got a reply on it yet.
    pub(super) fresh: bool,
    /// It must not be used again.
    broken: bool,
    /// When the last call began.
    last_call: Instant,
    limit: usize,
    out: Vec<u8>,
    input: Input,
}

impl Direct {
    /// Takes a link out of tokio's hands. `limit`: bytes of the longest string in a reply.
    pub(super) fn new(link: Link, timeout: Duration, limit: usize, epoch: u64) -> Result<Self> {
        let failed = |error: io::Error| not_reached(&link.address.to_string(), &plain_io(&error));
        let slice = timeout.min(SLICE);
        let (socket, tls) = match link.stream {
            Stream::Tcp(stream) => (Socket::tcp(stream.into_std(), slice), None),
            Stream::Unix(stream) => (Socket::unix(stream.into_std(), slice), None),
            Stream::Tls(stream) => {
                let (stream, session) = stream.into_inner();
                (Socket::tcp(stream.into_std(), slice), Some(Box::new(session)))
            }
        };
        Ok(Self {
            socket: socket.map_err(failed)?,
            tls,
            epoch,
            id: link.id,
            fresh: true,
            broken: false,
            last_call: Instant::now(),
            limit,
            out: Vec::new(),
            input: Input::new(),
        })
    }

    /// Whether it must be dropped.
    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    /// Sends `request` and reads its replies by `deadline`.
    pub(super) fn call(&mut self, request: &Request, deadline: Instant) -> Result<Replies, Trip> {
        let now = Instant::now();
        let idle = now.saturating_duration_since(std::mem::replace(&mut self.last_call, now));
        if idle > IDLE && self.closed_by_server() {
            self.broken = true;
            return Err(Trip::NotSent(Error::new(
                ErrorKind::Connect,
                "the server had closed the connection, or said something unasked",
            )));
        }
        self.broken = true;
        self.socket.shutdowns = runtime::shutdowns();
        self.out.clear();
        request.pack(&mut self.out);
        self.send(deadline, now).map_err(|stop| match stop {
            // The last command was not complete, and a single one is surely not executed.
            Stop::Io(error) if request.replies() == 1 => {
                Trip::NotSent(Error::new(ErrorKind::Connect, plain_io(&error)))
            }
            stop => Trip::Unknown(stop.into()),
        })?;
        let replies = self.receive(request, deadline).map_err(|stop| Trip::Unknown(stop.into()))?;
        // Anything left over belongs to nobody: then it stays broken.
        self.broken = !self.input.filled().is_empty();
        self.fresh = false;
        if self.out.capacity() > 4 * BUFFER {
            self.out = Vec::new();
        }
        self.input.shrink();
        Ok(replies)
    }

    /// Looks without waiting for the server's farewell, or for bytes that answer nothing. Asked on a
    /// connection that was idle, so that a write goes to a living one instead of into the unknown, and a
    /// read does not take a second answer to the request before it for its own.
    fn closed_by_server(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match self.socket.as_ref().recv_with_flags(&mut byte, flags) {
            // Bytes that nobody asked for: over TLS the server may say something of its own.
            Ok(n) => n == 0 || self.tls.is_none(),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn send(&mut self, deadline: Instant, now: Instant) -> Result<(), Stop> {
        let mut timed = Timed::new(&mut self.socket, deadline, false);
        timed.now = Some(now);
        let sent = match &mut self.tls {
            None => timed.write_all(&self.out),
            Some(session) => {
                let mut stream = TlsStream::new(session.as_mut(), &mut timed);
                stream.write_all(&self.out).and_then(|()| stream.flush())
            }
        };
        timed.outcome(sent)
    }

    /// One read into the buffer.
    fn fill(&mut self, deadline: Instant, begun: bool) -> Result<(), Stop> {
        let space = self.input.space();
        let n = read(&mut self.socket, &mut self.tls, space, deadline, begun)?;
        self.input.end += n;
        Ok(())
    }

    fn receive(&mut self, request: &Request, deadline: Instant) -> Result<Replies, Stop> {
        self.input.end = 0;
        self.fill(deadline, false)?;
        let Body::One(_) = request.body else {
            return self.replies(request.replies(), deadline).map(Replies::Many);
        };
        while self.input.filled().first() == Some(&b'$') && !self.input.filled().contains(&b'\n') {
            self.fill(deadline, true)?;
        }
        if let Some((length, start)) = bulk_head(self.input.filled()) {
            return self.string(length, start, deadline).map(Replies::One);
        }
        let reply = self.replies(1, deadline)?.pop();
        reply.map(Replies::One).ok_or_else(|| Stop::Io(io::ErrorKind::UnexpectedEof.into()))
    }

    /// A reply that is one string: straight into the buffer that becomes the value.
    fn string(&mut self, length: usize, start: usize, deadline: Instant) -> Result<Reply, Stop> {
        if length > self.limit {
            return Err(Violation::TooBig.into());
        }
        let whole = start + length + 2;
        let filled = self.input.filled();
        if filled.len() >= whole {
            if !filled[start + length..whole].ends_with(b"\r\n") {
                return Err(Violation::Malformed.into());
            }
            let value = filled[start..start + length].to_vec();
            self.input.consume(whole);
            return Ok(Reply::BulkString(value));
        }
        if length > PROBE {
            Vec::<u8>::new().try_reserve_exact(length).map_err(|_| Stop::NoMemory)?;
        }
        // Zeroed memory of this size comes from the system as it is, without being written.
        let mut value = vec![0; length];
        let mut have = (filled.len() - start).min(length);
        value[..have].copy_from_slice(&filled[start..start + have]);
        self.input.consume(start + have);
        while have < length {
            have += read(&mut self.socket, &mut self.tls, &mut value[have..], deadline, true)?;
        }
        while self.input.filled().len() < 2 {
            self.fill(deadline, true)?;
        }
        if !self.input.filled().starts_with(b"\r\n") {
            return Err(Violation::Malformed.into());
        }
        self.input.consume(2);
        Ok(Reply::BulkString(value))
    }

    /// Replies of any shape.
    fn replies(&mut self, count: usize, deadline: Instant) -> Result<Vec<Reply>, Stop> {
        let mut replies = Vec::with_capacity(count.min(BUFFER));
        let mut scanner = Scanner::new(self.limit);
        // `begun..seen` is the part of a reply that the scanner has walked over.
        let (mut begun, mut seen) = (0, 0);
        while replies.len() < count {
            if seen == self.input.end {
                self.input.consume(begun);
                (begun, seen) = (0, seen - begun);
                self.fill(deadline, true)?;
            }
            let filled = self.input.filled();
            let (used, ended) = scanner.feed(&filled[seen..])?;
            seen += used;
            if ended {
                // A push that nobody asked for is no reply.
                if filled[begun] != b'>' {
                    replies.push(parse(&filled[begun..seen])?);
                }
                begun = seen;
            }
        }
        self.input.consume(begun);
        Ok(replies)
    }
}

/// Bytes that were received and not yet used.
struct Input {
    /// Initialised throughout, so that reading needs no zeroing.
    bytes: Vec<u8>,
    end: usize,
}

impl Input {
    fn new() -> Self {
        Self { bytes: vec![0; BUFFER], end: 0 }
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// Room for the next read, never empty.
    fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            self.bytes.resize(2 * self.end, 0);
        }
        &mut self.bytes[self.end..]
    }

    fn consume(&mut self, n: usize) {
        self.bytes.copy_within(n..self.end, 0);
        self.end -= n;
    }

    fn shrink(&mut self) {
        if self.bytes.len() > 2 * BUFFER && self.end == 0 {
            *self = Self::new();
        }
    }
}

fn read(
    socket: &mut Socket,
    tls: &mut Option<Box<ClientConnection>>,
    buf: &mut [u8],
    deadline: Instant,
    begun: bool,
) -> Result<usize, Stop> {
    let mut timed = Timed::new(socket, deadline, begun);
    let read = match tls {
        None => timed.read(buf),
        Some(session) => TlsStream::new(session.as_mut(), &mut timed).read(buf),
    };
    match timed.outcome(read)? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        n => Ok(n),
    }
}
