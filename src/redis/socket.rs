//! A blocking socket whose reads and writes end at a deadline, also where bytes trickle in.
//!
//! The socket's own timeout is a slice of at most 100 ms, set once, so that the common case needs no
//! further system call. Whenever a slice passes without data, and before each further read or write of
//! one call, the clock, the caller's interrupt check and the mark of a shutdown are looked at, and the
//! socket's timeout is shortened where less than a slice is left.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::error_map::{broken, no_reply, plain_io};
use super::reply::Violation;
use crate::error::{Error, ErrorKind};
use crate::runtime;

/// Why a call on a socket ended early.
pub(super) enum Stop {
    Deadline,
    Interrupted,
    /// The library was shut down.
    Closed,
    NoMemory,
    Violation(Violation),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// After the request was sent.
impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Deadline => no_reply(),
            Stop::Interrupted => ErrorKind::Interrupted.into(),
            Stop::Closed => ErrorKind::Closed.into(),
            Stop::NoMemory => ErrorKind::NoMemory.into(),
            Stop::Violation(violation) => violation.into(),
            Stop::Io(error) => broken(&plain_io(&error)),
        }
    }
}

enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A blocking socket and the timeout that it has now.
pub(super) struct Socket {
    plain: Plain,
    slice: Duration,
    armed: Duration,
    /// [`runtime::shutdowns`] when the present call began.
    pub(super) shutdowns: u32,
}

impl Socket {
    pub(super) fn tcp(stream: io::Result<TcpStream>, slice: Duration) -> io::Result<Self> {
        let stream = stream?;
        stream.set_nonblocking(false)?;
        Self::armed(Plain::Tcp(stream), slice)
    }

    pub(super) fn unix(stream: io::Result<UnixStream>, slice: Duration) -> io::Result<Self> {
        let stream = stream?;
        stream.set_nonblocking(false)?;
        Self::armed(Plain::Unix(stream), slice)
    }

    fn armed(plain: Plain, slice: Duration) -> io::Result<Self> {
        let slice = slice.max(Duration::from_millis(1));
        let socket = Self { plain, slice, armed: slice, shutdowns: 0 };
        socket.as_ref().set_read_timeout(Some(slice))?;
        socket.as_ref().set_write_timeout(Some(slice))?;
        Ok(socket)
    }

    pub(super) fn as_ref(&self) -> SockRef<'_> {
        match &self.plain {
            Plain::Tcp(stream) => SockRef::from(stream),
            Plain::Unix(stream) => SockRef::from(stream),
        }
    }

    /// Makes the socket wait no longer than `left`.
    fn arm(&mut self, left: Duration) -> io::Result<()> {
        // A timeout of zero would mean none at all.
        let wanted = left.clamp(Duration::from_millis(1), self.slice);
        if wanted != self.armed {
            self.as_ref().set_read_timeout(Some(wanted))?;
            self.as_ref().set_write_timeout(Some(wanted))?;
            self.armed = wanted;
        }
        Ok(())
    }
}

/// A socket for the length of one call: reads and writes end at the deadline.
pub(super) struct Timed<'a> {
    socket: &'a mut Socket,
    deadline: Instant,
    stop: Option<Stop>,
    /// Some of what is waited for has come already.
    begun: bool,
    /// The time, where it was just asked for.
    pub(super) now: Option<Instant>,
}

impl<'a> Timed<'a> {
    pub(super) fn new(socket: &'a mut Socket, deadline: Instant, begun: bool) -> Self {
        Self { socket, deadline, stop: None, begun, now: None }
    }

    /// What a read or write came to; its reason for stopping goes before what TLS makes of it.
    pub(super) fn outcome<T>(self, result: io::Result<T>) -> Result<T, Stop> {
        match self.stop {
            Some(stop) => Err(stop),
            None => result.map_err(Stop::Io),
        }
    }

    fn attempt<T>(&mut self, op: &mut dyn FnMut(&mut Plain) -> io::Result<T>) -> io::Result<T> {
        loop {
            let now = self.now.take().unwrap_or_else(Instant::now);
            let left = self.deadline.saturating_duration_since(now);
            if self.begun || left < self.socket.slice || self.socket.armed != self.socket.slice {
                if self.begun && left.is_zero() {
                    return self.stopped(Stop::Deadline);
                }
                self.socket.arm(left)?;
            }
            match op(&mut self.socket.plain) {
                Err(error) if is_wait(&error) => {
                    self.begun = true;
                    if runtime::interrupted() {
                        return self.stopped(Stop::Interrupted);
                    }
                    if runtime::shutdowns() != self.socket.shutdowns {
                        return self.stopped(Stop::Closed);
                    }
                }
                done => {
                    self.begun = true;
                    return done;
                }
            }
        }
    }

    fn stopped<T>(&mut self, stop: Stop) -> io::Result<T> {
        self.stop = Some(stop);
        // Of a kind that TLS does not try again.
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

impl Read for Timed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.attempt(&mut |plain| match plain {
            Plain::Tcp(stream) => stream.read(buf),
            Plain::Unix(stream) => stream.read(buf),
        })
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(&mut |plain| match plain {
            Plain::Tcp(stream) => stream.write(bytes),
            Plain::Unix(stream) => stream.write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
