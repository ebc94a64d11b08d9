//! What stands between a replica and the store: a network that can be slow, or cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to a port of this machine. It goes with this value.
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
}

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Good,
    /// Everything takes so long, each way.
    Slow(Duration),
    /// Connections break, and new ones are closed at once.
    Cut,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (link, watched) = watch::channel(Link::Good);
        tokio::spawn(async move {
            let mut ended = watched.clone();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    // The proxy is gone.
                    _ = ended.wait_for(|_| false) => return,
                };
                let (near, _) = accepted.unwrap();
                tokio::spawn(carry(near, port, watched.clone()));
            }
        });
        Self { address, link }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn is_now(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn carry(near: TcpStream, port: u16, link: watch::Receiver<Link>) {
    if *link.borrow() == Link::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let mut cut = link.clone();
    tokio::select! {
        () = one_way(near_read, far_write, link.clone()) => {}
        () = one_way(far_read, near_write, link) => {}
        _ = cut.wait_for(|link| *link == Link::Cut) => {}
    }
}

async fn one_way(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    link: watch::Receiver<Link>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let link = *link.borrow();
        if let Link::Slow(by) = link {
            // The slow network itself.
            tokio::time::sleep(by).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
