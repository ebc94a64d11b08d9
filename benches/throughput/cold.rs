//! A key that the gate has never seen: what it costs beyond the two round trips it needs.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt, service_fn};
use wacht_auth::WachtAuthLayer;

use crate::Result;
use crate::median::median;
use crate::process::{self, Process, Role};
use crate::wacht::{Newcomer, Stage};

/// How many newcomers one gate meets. The first of them warms it up. A gate asks the management
/// API no more than 15 times at once.
const PER_GATE: usize = 10;

/// In microseconds, the medians over all keys.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cold {
    pub(crate) keys: usize,
    pub(crate) first_request_us: f64,
    /// A check and a look-up of the app, one after the other.
    pub(crate) round_trips_us: f64,
    /// The first request beyond its two round trips.
    pub(crate) over_us: f64,
}

/// Has a process of its own measure it.
pub(crate) fn measure(stage: &Stage) -> Result<Cold> {
    Process::start(Role::Cold)?.ask(stage)
}

pub(crate) fn play() -> Result<()> {
    let runtime = Runtime::new()?;
    process::answer_orders(|stage: Stage| {
        // In a task, as a request of a server is.
        runtime.block_on(async { tokio::spawn(meet_newcomers(stage)).await? })
    })
}

async fn meet_newcomers(stage: Stage) -> Result<Cold> {
    let client = stage.client()?;
    let plain = PlainClient::new(&stage);
    let (mut gates, mut plains, mut overs) = (Vec::new(), Vec::new(), Vec::new());
    for newcomers in stage.newcomers.chunks(PER_GATE) {
        let gate = WachtAuthLayer::new(client.clone());
        for (place, newcomer) in newcomers.iter().enumerate() {
            // Nobody is always the first here either.
            let (asked, passed) = if place % 2 == 0 {
                let asked = plain.ask(newcomer).await?;
                (asked, pass(&gate, newcomer).await?)
            } else {
                let passed = pass(&gate, newcomer).await?;
                (plain.ask(newcomer).await?, passed)
            };
            if place > 0 {
                let (asked, passed) = (micros(asked), micros(passed));
                gates.push(passed);
                plains.push(asked);
                overs.push(passed - asked);
            }
        }
    }
    Ok(Cold {
        keys: overs.len(),
        first_request_us: median(gates),
        round_trips_us: median(plains),
        over_us: median(overs),
    })
}

/// How long the first request of this newcomer takes.
async fn pass(gate: &WachtAuthLayer, newcomer: &Newcomer) -> Result<Duration> {
    let service = gate.layer(service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let request = Request::get("/")
        .header("authorization", format!("Bearer {}", newcomer.secret))
        .body(Empty::new())?;
    let sent = Instant::now();
    let answer = service.oneshot(request).await?;
    let took = sent.elapsed();
    as_expected(answer.status())?;
    Ok(took)
}

/// Makes the calls that a verification needs, and nothing else.
struct PlainClient<'s> {
    stage: &'s Stage,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl<'s> PlainClient<'s> {
    fn new(stage: &'s Stage) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            stage,
            http: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// How long a check takes, and after it a look-up of the app.
    async fn ask(&self, newcomer: &Newcomer) -> Result<Duration> {
        let Stage {
            url,
            management_key,
            ..
        } = self.stage;
        let check = json!({
            "principal": { "type": "api_key", "value": newcomer.secret },
            "resource": "/",
            "method": "GET",
        });
        let check = Request::post(format!("{url}/v1/authz/check"))
            .header("content-type", "application/json")
            .body(Full::from(check.to_string()))?;
        let app = Request::get(format!("{url}/api-auth/apps/{}", newcomer.app))
            .header("authorization", format!("Bearer {management_key}"))
            .body(Full::default())?;
        let sent = Instant::now();
        self.exchange(check).await?;
        self.exchange(app).await?;
        Ok(sent.elapsed())
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<()> {
        let answer = self.http.request(request).await?;
        as_expected(answer.status())?;
        answer.into_body().collect().await?;
        Ok(())
    }
}

fn as_expected(status: StatusCode) -> Result<()> {
    match status {
        StatusCode::OK => Ok(()),
        status => Err(format!("a newcomer was answered {status}").into()),
    }
}

fn micros(duration: Duration) -> f64 {
    1e6 * duration.as_secs_f64()
}
