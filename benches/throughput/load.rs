//! One window of load: as many requests as the server answers, always as many on their way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Result;
use crate::grpc_load;
use crate::http_load;
use crate::{cpu, process};

/// Requests on their way at any time.
pub(crate) const AT_ONCE: usize = 64;
/// Beyond its warm-up and its window, a lap may take as long as this.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    /// The process of the server.
    pub(crate) process: u32,
    pub(crate) secrets: Vec<String>,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// What the server spent.
    pub(crate) cpu_us_per_request: Option<f64>,
    /// What making the load took.
    pub(crate) load_cpu_us_per_request: Option<f64>,
    /// All that were answered, in the warm-up too.
    pub(crate) requests: usize,
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
}

/// How long the counted requests of one connection took.
pub(crate) type Times = Vec<Duration>;

pub(crate) fn play() -> Result<()> {
    process::answer_orders(|order: Order| load(&order))
}

fn load(order: &Order) -> Result<Figures> {
    let window = Arc::new(Window::default());
    let threads = thread::available_parallelism()?.get().min(AT_ONCE);
    let (watched, times) = thread::scope(|scope| {
        let senders: Vec<_> = (0..threads)
            .map(|thread| {
                // What does not go up evenly is for the first ones.
                let connections = (AT_ONCE + threads - 1 - thread) / threads;
                let window = Arc::clone(&window);
                scope.spawn(move || send(order, window, connections))
            })
            .collect();
        let watched = watch(order, &window, &senders);
        let times = senders.into_iter().map(|sender| {
            let times = sender.join();
            times.map_err(|_| "a thread of the load panicked")?
        });
        let times: Result<Vec<Times>> = times.collect();
        (watched, times)
    });

    let mut times = times?.concat();
    times.sort_unstable();
    let count = times.len() as f64;
    let per_request = |spent: Duration| 1e6 * spent.as_secs_f64() / count;
    Ok(Figures {
        requests_per_second: count / watched.open_for.as_secs_f64(),
        p50_us: at(&times, 0.5)?,
        p99_us: at(&times, 0.99)?,
        cpu_us_per_request: watched.spent_by_server.map(per_request),
        load_cpu_us_per_request: watched.spent_by_load.map(per_request),
        requests: window.sent.load(Ordering::Relaxed),
    })
}

/// One thread's part, over so many connections.
fn send(order: &Order, window: Arc<Window>, connections: usize) -> Result<Times> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let patience = order.warm_up + order.window + PATIENCE;
    runtime.block_on(async {
        let all = timeout(patience, async {
            let mut senders = match order.protocol {
                Protocol::Http => http_load::start(order, &window, connections).await?,
                Protocol::Grpc => grpc_load::start(order, &window, connections).await?,
            };
            let mut times = Times::new();
            while let Some(sender) = senders.join_next().await {
                times.extend(sender??);
            }
            Ok(times)
        });
        all.await?
    })
}

struct Watched {
    open_for: Duration,
    spent_by_server: Option<Duration>,
    spent_by_load: Option<Duration>,
}

/// Opens the window when every key was seen twice, and closes it.
fn watch(order: &Order, window: &Window, senders: &[Sender<'_>]) -> Watched {
    // Nobody is done before the window is over, unless something is wrong.
    while !senders.iter().any(Sender::is_finished) {
        thread::sleep(order.warm_up);
        if window.sent.load(Ordering::Relaxed) >= 2 * order.secrets.len() {
            break;
        }
    }
    let spent = || [order.process, std::process::id()].map(cpu::time_of);
    let spent_before = spent();
    let opened = Instant::now();
    window.is_open.store(true, Ordering::Relaxed);
    thread::sleep(order.window);
    window.is_open.store(false, Ordering::Relaxed);
    window.is_over.store(true, Ordering::Relaxed);
    let open_for = opened.elapsed();
    let [server, load] = spent();
    let since = |now: Option<Duration>, before: Option<Duration>| Some(now? - before?);
    Watched {
        open_for,
        spent_by_server: since(server, spent_before[0]),
        spent_by_load: since(load, spent_before[1]),
    }
}

type Sender<'s> = thread::ScopedJoinHandle<'s, Result<Times>>;

/// In microseconds, the time that `share` of the requests stay below.
fn at(sorted: &Times, share: f64) -> Result<f64> {
    let last = sorted
        .len()
        .checked_sub(1)
        .ok_or("no request was answered")?;
    Ok(1e6 * sorted[(last as f64 * share) as usize].as_secs_f64())
}

/// The tasks that send requests.
pub(crate) type Senders = JoinSet<Result<Times>>;
