//! The one error type of the library. Its kinds are the classes that the C API numbers as `lc_status`
//! (`ffi/status.rs` holds the only table between the two).
//!
//! Messages are written for the person who reads a log: they name the option, address or server
//! reply that is at fault, and never a key, a value or a secret.

use std::borrow::Cow;
use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a class. A miss, a lost compare-and-set and the like are no errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is out of its domain: an empty key, a key beginning with `__lc:`, a bad number.
    Invalid,
    /// A handle that was never issued, is already closed, or is of another generation.
    Handle,
    /// An unknown scheme, an unknown or malformed option, or a contradiction between options.
    Config,
    /// The server could not be reached: the operation was surely not executed.
    Connect,
    /// Sent, but no reply by the deadline or the connection broke: it may or may not have been executed.
    Timeout,
    /// The server refused the credentials or the permission (NOAUTH, WRONGPASS, NOPERM).
    Auth,
    /// Any other error reply of the server; its text is in the message.
    Server,
    /// Stored bytes are not a valid envelope.
    Corrupt,
    /// A key or a value is larger than allowed.
    TooBig,
    /// The caller's buffer is too small.
    Range,
    /// The stored value has not the type that the operation needs.
    Type,
    /// This kind of cache, configuration or server can't do it.
    Unsupported,
    /// The loader callback failed.
    Loader,
    /// A blocking call from one of the library's own threads.
    Reentrant,
    /// Closed or shut down while the call was waiting.
    Closed,
    /// No memory for a key or a value buffer.
    NoMemory,
    /// A file can't be read or written.
    Io,
    /// A wait was ended early because the caller's interrupt check asked for it (Ctrl-C in Python).
    Interrupted,
    /// A bug in the library, caught at its boundary.
    Panic,
}

impl ErrorKind {
    /// A short description of the class, without a full stop.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Invalid => "invalid argument",
            Self::Handle => "invalid handle",
            Self::Config => "invalid configuration",
            Self::Connect => "server not reachable",
            Self::Timeout => "no reply in time",
            Self::Auth => "authentication or permission refused",
            Self::Server => "error reply from the server",
            Self::Corrupt => "stored value is corrupt",
            Self::TooBig => "key or value too big",
            Self::Range => "buffer too small",
            Self::Type => "stored value has the wrong type",
            Self::Unsupported => "not supported here",
            Self::Loader => "loader failed",
            Self::Reentrant => "blocking call from a library thread",
            Self::Closed => "cache is closed",
            Self::NoMemory => "out of memory",
            Self::Io => "file error",
            Self::Interrupted => "interrupted",
            Self::Panic => "internal error",
        }
    }
}

/// An error: its [`ErrorKind`] and a message in one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

impl Error {
    /// An error of `kind` with a message that must not hold a key, a value or a secret.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The class of the error.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message, one line, without the class.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, message: Cow::Borrowed(kind.description()) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Error {}
