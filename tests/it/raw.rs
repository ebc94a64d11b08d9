//! Requests as bytes over a real socket, for what a parser might read otherwise.

use std::net::SocketAddr;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves the router on a loopback port, for as long as the test's runtime lives.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// What was answered to one request.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl RawAnswer {
    /// The values of this header, a line each.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(here, _)| here.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of this header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }
}

/// Sends `line` (`GET / HTTP/1.1`) with these header lines, and reads the answer to its end. Without a
/// `connection:` among them, the connection is to be closed.
pub async fn send(address: SocketAddr, line: &str, headers: &[&str]) -> RawAnswer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = format!("{line}\r\nhost: localhost\r\n");
    let closes = headers
        .iter()
        .any(|header| header.starts_with("connection:"));
    let close = ["connection: close"];
    for header in headers.iter().chain(close.iter().filter(|_| !closes)) {
        request = request + header + "\r\n";
    }
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    RawAnswer {
        status: status.parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
