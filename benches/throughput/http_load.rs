//! Load over HTTP/1.1, by hand: a full client would take more of the machine than some servers do.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;
use crate::window::{Order, Senders, Times, Window};

pub(crate) async fn start(
    order: &Order,
    window: &Arc<Window>,
    connections: usize,
) -> Result<Senders> {
    let request = |secret: &String| {
        let address = order.address;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: {address}\r\nuser-agent: throughput\r\naccept: */*\r\n\
             authorization: Bearer {secret}\r\n\r\n"
        );
        request.into_bytes()
    };
    let requests: Arc<[Vec<u8>]> = order.secrets.iter().map(request).collect();
    let mut senders = Senders::new();
    for _ in 0..connections {
        let connection = Connection::open(order).await?;
        senders.spawn(send(connection, Arc::clone(&requests), Arc::clone(window)));
    }
    Ok(senders)
}

async fn send(
    mut connection: Connection,
    requests: Arc<[Vec<u8>]>,
    window: Arc<Window>,
) -> Result<Times> {
    let mut times = Times::new();
    while let Some(number) = window.next() {
        let sent = Instant::now();
        let status = connection.ask(&requests[number % requests.len()]).await?;
        let took = sent.elapsed();
        if status != 200 {
            return Err(format!("a good key was answered {status}").into());
        }
        if window.is_open() {
            times.push(took);
        }
    }
    Ok(times)
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(order: &Order) -> Result<Self> {
        let stream = TcpStream::connect(order.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(4096),
        })
    }

    /// Sends a request and returns the status of the answer, which is read to its end.
    async fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("a connection was closed".into());
            }
            if let Some(status) = status_if_whole(&self.answer)? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer, once the body has arrived that `content-length` announces.
fn status_if_whole(answer: &[u8]) -> Result<Option<u16>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|bytes| bytes == END) else {
        return Ok(None);
    };
    let head = str::from_utf8(&answer[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.ok_or("an answer has no status")?.parse()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    let length: usize = length.ok_or("an answer has no length")?.trim().parse()?;
    let whole = answer.len() == end + END.len() + length;
    Ok(whole.then_some(status))
}
