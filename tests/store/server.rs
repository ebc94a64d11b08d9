//! A `redis-server` of a test's own.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A server on a port that was free, which keeps nothing on disk and goes with this value.
pub struct Redis {
    port: u16,
    args: Vec<String>,
    directory: PathBuf,
    process: Option<Child>,
}

impl Redis {
    /// A server with no settings of its own. `None`, and a line that says so, where there is none.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same, with these arguments besides.
    pub fn start_with(args: &[&str]) -> Option<Self> {
        if !is_installed() {
            left_out();
            return None;
        }
        // Somebody else may take the port between the look and the start.
        for _ in 0..10 {
            let port = free_port();
            let mut redis = Self {
                port,
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                directory: directory(port),
                process: None,
            };
            if redis.try_start() {
                return Some(redis);
            }
        }
        panic!("no redis-server could be started");
    }

    /// A sentinel that knows of no master yet.
    pub fn start_sentinel() -> Option<Self> {
        Self::start_with(&["--sentinel"])
    }

    /// A server that speaks TLS alone.
    pub fn start_with_tls(certificate: &str, key: &str) -> Option<Self> {
        let files = ["--tls-cert-file", certificate, "--tls-key-file", key];
        let clients = [
            "--tls-ca-cert-file",
            certificate,
            "--tls-auth-clients",
            "no",
        ];
        Self::start_with(&[&files[..], &clients].concat())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub fn connection(&self) -> redis::Connection {
        connection(&self.url()).expect("the server has just answered")
    }

    /// Ends it at once, with all that it holds.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again at the same place, empty.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.try_start(), "its port is free again");
    }

    /// Lets it hang: connections stay, and nothing is answered.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let signalled = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(signalled.unwrap().success());
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long a process takes to start is real time"
    )]
    fn try_start(&mut self) -> bool {
        fs::create_dir_all(&self.directory).unwrap();
        let mut command = Command::new("redis-server");
        if self.args.iter().any(|arg| arg == "--sentinel") {
            // It writes its settings down.
            let file = self.directory.join("sentinel.conf");
            fs::write(&file, "").unwrap();
            command.arg(file);
        } else {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        let is_tls = self.args.iter().any(|arg| arg == "--tls-cert-file");
        let port = self.port.to_string();
        let ports = match is_tls {
            true => ["--tls-port", &port, "--port", "0"],
            false => ["--port", &port, "--tls-port", "0"],
        };
        let mut process = command
            .args(ports)
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(&self.directory)
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            // A server that asks for a password has answered as well.
            let answers = match connection(&self.url()) {
                Ok(_) => true,
                Err(_) if is_tls => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
                Err(error) => !error.is_io_error() && !error.is_connection_refusal(),
            };
            if answers {
                self.process = Some(process);
                return true;
            }
            std::thread::yield_now();
        }
        process.kill().unwrap();
        process.wait().unwrap();
        false
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        // In vain: another test may have the port by now.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub fn connection(url: &str) -> redis::RedisResult<redis::Connection> {
    redis::Client::open(url)?.get_connection_with_timeout(Duration::from_secs(5))
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn directory(port: u16) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("wacht-auth-{}-{port}-{number}", std::process::id()))
}

fn is_installed() -> bool {
    let version = Command::new("redis-server").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

fn left_out() {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let is_required = env::var("WACHT_TEST_REDIS").is_ok_and(|value| value == "required");
    assert!(!is_required, "{test} needs a redis-server");
    println!("left out, as there is no redis-server: {test}");
}

/// Longer than anything takes here, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);
