//! A TCP proxy in front of a server, whose wire can be cut: for one cache the server is away, while
//! others reach it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy on a port of its own. It ends with the test's process.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    wire: Arc<Wire>,
}

struct Wire {
    cut: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// In front of `127.0.0.1:server`.
    pub fn new(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let wire = Arc::new(Wire { cut: AtomicBool::new(false), open: Mutex::default() });
        let accepting = wire.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !accepting.cut.load(SeqCst)
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", server))
                {
                    accepting.join(client, server);
                }
            }
        });
        Self { port, wire }
    }

    /// Ends all connections, and every new one at once.
    pub fn cut(&self) {
        self.wire.cut.store(true, SeqCst);
        self.reset();
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.wire.cut.store(false, SeqCst);
    }

    /// Ends all connections; new ones are let through.
    pub fn reset(&self) {
        let mut open = self.wire.open.lock().expect("nobody panics with it");
        open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

impl Wire {
    fn join(&self, client: TcpStream, server: TcpStream) {
        let copies =
            (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone());
        let (Ok(from_client), Ok(to_server), Ok(to_client), Ok(from_server)) = copies else {
            return;
        };
        self.open.lock().expect("nobody panics with it").extend([client, server]);
        thread::spawn(move || pump(from_client, to_server));
        thread::spawn(move || pump(from_server, to_client));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
