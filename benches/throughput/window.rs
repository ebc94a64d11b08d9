//! What is ordered of a window of load, and what those share who send its requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Protocol {
    /// HTTP/1.1, a connection for each request that is on its way.
    Http,
    /// HTTP/2, one connection for all that a thread sends.
    Http2,
    Grpc,
}

/// How requests are sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Manner {
    pub(crate) protocol: Protocol,
    /// Requests on their way at any time.
    pub(crate) at_once: usize,
    /// Threads that send them.
    pub(crate) threads: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) manner: Manner,
    pub(crate) address: SocketAddr,
    /// The process of the server.
    pub(crate) process: u32,
    pub(crate) secrets: Vec<String>,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// What those who send requests have in common.
#[derive(Debug, Default)]
pub(crate) struct Window {
    sent: AtomicUsize,
    is_open: AtomicBool,
    is_over: AtomicBool,
}

impl Window {
    /// The number of the next request, until the window is over.
    pub(crate) fn next(&self) -> Option<usize> {
        let is_over = self.is_over.load(Ordering::Relaxed);
        (!is_over).then(|| self.sent.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether answers that come now count.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// For good.
    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// How long the counted requests of one connection took.
pub(crate) type Times = Vec<Duration>;

/// The tasks that send requests.
pub(crate) type Senders = JoinSet<Result<Times>>;
