//! One window of load: as many requests as the server answers, always as many on their way.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::Result;
use crate::cpu::{self, Spent};
use crate::window::{Order, Protocol, Times, Window};
use crate::{grpc_load, http_load, http2_load, process};

/// Beyond its warm-up and its window, a lap may take as long as this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// What the server spent in its own code.
    pub(crate) user_us_per_request: Option<f64>,
    /// The same, and what the system spent for it.
    pub(crate) cpu_us_per_request: Option<f64>,
    /// What making the load took.
    pub(crate) load_cpu_us_per_request: Option<f64>,
    /// What all other programs used meanwhile, in processors.
    pub(crate) others: Option<f64>,
    /// All that were answered, in the warm-up too.
    pub(crate) requests: usize,
}

pub(crate) fn play() -> Result<()> {
    process::answer_orders(|order: Order| load(&order))
}

fn load(order: &Order) -> Result<Figures> {
    let window = Arc::new(Window::default());
    let threads = order.manner.threads;
    let (watched, times) = thread::scope(|scope| {
        let senders: Vec<_> = (0..threads)
            .map(|thread| {
                // What does not go up evenly is for the first ones.
                let connections = (order.manner.at_once + threads - 1 - thread) / threads;
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
        user_us_per_request: watched.spent_by_server.map(|spent| per_request(spent.user)),
        cpu_us_per_request: watched.spent_by_server.map(|spent| per_request(spent.all)),
        load_cpu_us_per_request: watched.spent_by_load.map(|spent| per_request(spent.all)),
        others: watched.others(),
        requests: window.sent(),
    })
}

/// One thread's part, over so many connections.
fn send(order: &Order, window: Arc<Window>, connections: usize) -> Result<Times> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let patience = order.warm_up + order.window + PATIENCE;
    runtime.block_on(async {
        let all = timeout(patience, async {
            let mut senders = match order.manner.protocol {
                Protocol::Http => http_load::start(order, &window, connections).await?,
                Protocol::Http2 => http2_load::start(order, &window, connections)?,
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
    spent_by_server: Option<Spent>,
    spent_by_load: Option<Spent>,
    spent_by_all: Option<Duration>,
}

impl Watched {
    fn others(&self) -> Option<f64> {
        let ours = self.spent_by_server?.all + self.spent_by_load?.all;
        let others = self.spent_by_all?.saturating_sub(ours);
        Some(others.as_secs_f64() / self.open_for.as_secs_f64())
    }
}

/// Opens the window when every key was seen twice, and closes it.
fn watch(order: &Order, window: &Window, senders: &[Sender<'_>]) -> Watched {
    // Nobody is done before the window is over, unless something is wrong.
    while !senders.iter().any(Sender::is_finished) {
        thread::sleep(order.warm_up);
        if window.sent() >= 2 * order.secrets.len() {
            break;
        }
    }
    let spent = || [order.process, std::process::id()].map(Spent::by);
    let spent_before = spent();
    let all_before = cpu::spent_by_all();
    let opened = Instant::now();
    window.open();
    thread::sleep(order.window);
    window.close();
    let open_for = opened.elapsed();
    let [server, load] = spent();
    let all = cpu::spent_by_all().zip(all_before);
    let since = |now: Option<Spent>, before: Option<Spent>| Some(now? - before?);
    Watched {
        open_for,
        spent_by_server: since(server, spent_before[0]),
        spent_by_load: since(load, spent_before[1]),
        spent_by_all: all.map(|(now, before)| now.saturating_sub(before)),
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
