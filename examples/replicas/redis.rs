//! A `redis-server` of the example's own, which keeps nothing on disk.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

pub(crate) struct Redis {
    address: SocketAddr,
    process: Child,
}

/// Whether this machine has a `redis-server`.
pub(crate) async fn is_installed() -> bool {
    let version = Command::new(SERVER).arg("--version").output().await;
    version.is_ok_and(|output| output.status.success())
}

impl Redis {
    /// One on a port that was free.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        drop(listener);
        let process = run(address).await?;
        Ok(Self { address, process })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Ends it at once, with all that it holds.
    #[allow(dead_code, reason = "some examples never do")]
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.process.kill().await
    }

    /// Starts it again at the same place, empty.
    #[allow(dead_code, reason = "some examples never do")]
    pub(crate) async fn come_back(&mut self) -> io::Result<()> {
        self.process = run(self.address).await?;
        Ok(())
    }
}

async fn run(address: SocketAddr) -> io::Result<Child> {
    let port = address.port().to_string();
    let mut process = Command::new(SERVER)
        .args(["--port", &port, "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(env::temp_dir())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    while !answers(address).await {
        if let Some(status) = process.try_wait()? {
            return Err(io::Error::other(format!("{SERVER} ended: {status}")));
        }
    }
    Ok(process)
}

async fn answers(address: SocketAddr) -> bool {
    let ping = async {
        let mut wire = TcpStream::connect(address).await?;
        wire.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        wire.read_exact(&mut answer).await?;
        io::Result::Ok(answer == *b"+PONG")
    };
    ping.await.unwrap_or(false)
}

const SERVER: &str = "redis-server";
