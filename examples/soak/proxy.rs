//! What stands between the gate and the gateway in a data centre: a proxy that knows connections
//! and nothing of what is said on them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of connections that are open already. New ones are always forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Forward,
    /// Nothing is forwarded any more, and nobody is told.
    Swallow,
    /// Closed as soon as no answer is under way, as a server does that is about to end.
    Drain,
}

/// A proxy of TCP connections, on a loopback port of its own.
pub(crate) struct Proxy {
    url: String,
    /// The order of the connections that are open now.
    order: Mutex<watch::Sender<Order>>,
    open: AtomicUsize,
}

impl Proxy {
    /// Forwards to `target` for as long as the program runs.
    pub(crate) async fn start(target: SocketAddr) -> std::io::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Arc::new(Self {
            url: format!("http://{}", listener.local_addr()?),
            order: Mutex::new(watch::Sender::new(Order::Forward)),
            open: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&proxy);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = Arc::clone(&accepting);
                tokio::spawn(async move {
                    proxy.open.fetch_add(1, Ordering::SeqCst);
                    // A connection that breaks is the caller's to notice.
                    let _ = forward(client, target, proxy.order()).await;
                    proxy.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(proxy)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many connections there are, those included on which nothing is forwarded any more.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Stops forwarding on the connections there are, and keeps them open.
    pub(crate) fn swallow_what_is_open(&self) {
        self.give(Order::Swallow);
    }

    /// Closes each connection there is when its answer is over.
    pub(crate) fn drain_what_is_open(&self) {
        self.give(Order::Drain);
    }

    fn order(&self) -> watch::Receiver<Order> {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.subscribe()
    }

    fn give(&self, order: Order) {
        let mut current = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that come later listen to another sender.
        current.send_replace(order);
        *current = watch::Sender::new(Order::Forward);
    }
}

async fn forward(
    mut client: TcpStream,
    target: SocketAddr,
    mut order: watch::Receiver<Order>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let (mut upstream, mut downstream) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    // Whether a request is under way that the server has not answered yet, as is the first from the
    // beginning. Answers here come in one piece.
    let mut is_asked = true;
    loop {
        let now = *order.borrow_and_update();
        match now {
            Order::Forward => {}
            Order::Swallow => return swallow(client).await,
            Order::Drain if is_asked => {}
            Order::Drain => return Ok(()),
        }
        tokio::select! {
            read = client.read(&mut upstream) => match read? {
                0 => return Ok(()),
                read => {
                    is_asked = true;
                    server.write_all(&upstream[..read]).await?;
                }
            },
            read = server.read(&mut downstream) => match read? {
                0 => return Ok(()),
                read => {
                    is_asked = false;
                    client.write_all(&downstream[..read]).await?;
                }
            },
            // The sender goes when it has given its one order.
            changed = order.changed(), if now == Order::Forward => drop(changed),
        }
    }
}

/// Takes what comes and says nothing, until the other side gives up.
async fn swallow(mut client: TcpStream) -> std::io::Result<()> {
    let mut nowhere = vec![0; 16 << 10];
    while client.read(&mut nowhere).await? > 0 {}
    Ok(())
}
