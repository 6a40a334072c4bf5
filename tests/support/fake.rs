//! A server that is none: it shakes hands and then answers as a test wants it to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// Answers each request by `behave`, on a free port; returns the URL of a cache with the prefix `app`.
pub fn server_that(behave: impl Fn(&mut TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://127.0.0.1:{}?prefix=app", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let behave = behave.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                // HELLO and two times CLIENT SETINFO come in one write.
                if matches!(stream.read(&mut bytes), Ok(1..)) {
                    let _ = stream.write_all(b"+OK\r\n+OK\r\n+OK\r\n");
                }
                while matches!(stream.read(&mut bytes), Ok(1..)) {
                    behave(&mut stream);
                }
            });
        }
    });
    url
}
