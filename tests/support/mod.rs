//! Real servers for the Rust tests: `tests/servers.py` starts them on free ports and ends them when its
//! standard input closes, so a test that dies leaves none behind.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod chaos;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Both servers that the library is tested on.
pub const SERVERS: [&str; 2] = ["redis", "valkey"];

/// Bounds of a cache whose server is expected to answer, on however busy a machine.
const PATIENCE: [(&str, &str); 2] = [("timeout", "20s"), ("connect_timeout", "20s")];

/// `url` with options added, and with patience unless they bound the waits themselves.
pub fn with_options(url: &str, options: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    let mut whole = format!("{url}{joint}{options}");
    for (name, span) in PATIENCE {
        if ![format!("&{name}="), format!("?{name}=")].iter().any(|given| whole.contains(given)) {
            let joint = if whole.ends_with(['?', '&']) { "" } else { "&" };
            whole += &format!("{joint}{name}={span}");
        }
    }
    whole
}

/// Asks until it is true; panics after a minute. For states of a server that tell nobody.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running topology of servers.
pub struct Server {
    /// How the harness describes it: `url`, `urls`, `port`, `pids`, `certs`, …
    pub info: Value,
    talk: Mutex<Talk>,
}

struct Talk {
    process: Child,
    verbs: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// One Redis server.
    pub fn single() -> Self {
        Self::start("single", "redis")
    }

    /// `single`, `password`, `acl`, `unix`, `tls`, `cluster` or `sentinel`, of `redis` or `valkey`.
    pub fn start(topology: &str, server: &str) -> Self {
        let harness = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers.py");
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let mut process = Command::new(python)
            .args([harness, "run", topology, "--server", server])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs the test servers");
        let verbs = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let info = answer(&mut answers);
        assert_eq!(info["ok"], json!(true), "the test servers say: {info}");
        Self { info, talk: Mutex::new(Talk { process, verbs, answers }) }
    }

    /// The URL for a Redis cache, with the library's own bounds.
    pub fn url(&self) -> &str {
        self.info["url"].as_str().expect("each topology has a URL")
    }

    /// The URL with options added, as "prefix=app&timeout=100ms", and with patience.
    pub fn url_with(&self, options: &str) -> String {
        with_options(self.url(), options)
    }

    /// The URL for a Hybrid cache.
    pub fn hybrid_url(&self) -> String {
        format!("hybrid+{}", self.url())
    }

    /// Another URL of the topology, as `wrong_password`.
    pub fn url_of(&self, name: &str) -> &str {
        self.info["urls"][name].as_str().expect("a URL of that name")
    }

    /// A path of a certificate or key.
    pub fn cert(&self, name: &str) -> &str {
        self.info["certs"][name].as_str().expect("a certificate of that name")
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.verb("kill");
    }

    /// Starts what was killed, on the same port.
    pub fn restart(&self) {
        self.verb("restart");
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.verb("pause");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.verb("resume");
    }

    /// Makes a replica the master.
    pub fn failover(&self) {
        self.verb("failover");
    }

    /// Says a command to the primary, as an administrator, and returns its reply.
    pub fn call(&self, command: &[&str]) -> Value {
        self.verb(&format!("call {}", json!(command)))["reply"].take()
    }

    /// Says one verb of the harness and returns its answer.
    pub fn verb(&self, verb: &str) -> Value {
        let answer = self.try_verb(verb);
        assert_eq!(answer["ok"], json!(true), "the test servers say: {answer}");
        answer
    }

    /// As [`Server::verb`], of what may fail: then `ok` is false in the answer.
    pub fn try_verb(&self, verb: &str) -> Value {
        let mut talk = self.talk.lock().expect("no test panics while it talks");
        let verbs = talk.verbs.as_mut().expect("it is open until the end");
        writeln!(verbs, "{verb}").expect("the harness listens");
        answer(&mut talk.answers)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut talk) = self.talk.lock() {
            talk.verbs = None;
            let _ = talk.process.wait();
        }
    }
}

fn answer(answers: &mut impl BufRead) -> Value {
    let mut line = String::new();
    answers.read_line(&mut line).expect("the harness answers");
    serde_json::from_str(&line).expect("one JSON line")
}
