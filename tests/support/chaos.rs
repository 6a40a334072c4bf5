//! A proxy on loopback between a cache and its server, with faults that are switched on and off while
//! connections are open.
//!
//! Each connection has a thread for each direction. A fault is a number in an atomic that both look at for
//! every piece of data; whoever switches to [`Fault::None`] again lets everything go on that was held up.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Nothing passes, in either direction; connections are accepted.
    BlackHole,
    /// Requests arrive, replies do not.
    Deaf,
    /// Replies arrive, requests do not.
    Mute,
    /// All connections are reset, and new ones refused.
    Refuse,
    /// Replies come a byte at a time.
    Drip,
    /// Each piece is late by some milliseconds.
    Slow,
    /// The next reply of each connection is cut in the middle, and the connection reset.
    Cut,
}

impl Fault {
    /// All that is a fault.
    pub const ALL: [Self; 7] =
        [Self::BlackHole, Self::Deaf, Self::Mute, Self::Refuse, Self::Drip, Self::Slow, Self::Cut];

    /// For a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::BlackHole => "black hole",
            Self::Deaf => "replies lost",
            Self::Mute => "requests lost",
            Self::Refuse => "refused",
            Self::Drip => "drip",
            Self::Slow => "slow",
            Self::Cut => "reply cut",
        }
    }
}

/// See the module.
pub struct Chaos {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    /// Grows with every change, so that a thread notices that a fault has ended.
    changes: AtomicU64,
    fault: Mutex<Fault>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
}

impl Chaos {
    /// A proxy to the server on this port of loopback.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            changes: AtomicU64::new(0),
            fault: Mutex::new(Fault::None),
            changed: Condvar::new(),
            open: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                accepting.accept(client);
            }
        });
        Self { port, shared }
    }

    /// Where the cache connects to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were made through it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// From now on this is wrong.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        self.shared.changes.fetch_add(1, SeqCst);
        self.shared.changed.notify_all();
        if fault == Fault::Refuse {
            self.reset();
        }
    }

    /// Ends all connections with a reset.
    pub fn reset(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            reset(&stream);
        }
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    /// Waits while the fault is one of these.
    fn wait_while(&self, held: impl Fn(Fault) -> bool) {
        let fault = self.fault.lock().unwrap();
        drop(self.changed.wait_while(fault, |fault| held(*fault)));
    }

    fn accept(self: &Arc<Self>, client: TcpStream) {
        self.connections.fetch_add(1, SeqCst);
        if self.fault() == Fault::Refuse {
            return reset(&client);
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)) else {
            return reset(&client);
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
        }
        for (from, to, replies) in [(&client, &server, false), (&server, &client, true)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let shared = self.clone();
            std::thread::spawn(move || {
                let _ = shared.pass(from, &to, replies);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: &TcpStream, replies: bool) -> std::io::Result<()> {
        let mut bytes = [0; 16 << 10];
        loop {
            let count = from.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            self.wait_while(|fault| match fault {
                Fault::BlackHole => true,
                Fault::Deaf => replies,
                Fault::Mute => !replies,
                _ => false,
            });
            let piece = &bytes[..count];
            match self.fault() {
                Fault::Cut if replies => {
                    to.write_all(&piece[..count / 2])?;
                    reset(to);
                    reset(&from);
                    return Ok(());
                }
                Fault::Drip if replies => {
                    let began = self.changes.load(SeqCst);
                    for at in 0..count {
                        to.write_all(&piece[at..=at])?;
                        if self.changes.load(SeqCst) != began {
                            to.write_all(&piece[at + 1..])?;
                            break;
                        }
                        std::thread::sleep(Duration::from_micros(300));
                    }
                }
                Fault::Slow => {
                    std::thread::sleep(Duration::from_millis(3));
                    to.write_all(piece)?;
                }
                _ => to.write_all(piece)?,
            }
        }
    }
}

/// Has the peer see a reset rather than an orderly end.
fn reset(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}
