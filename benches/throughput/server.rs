//! The servers: axum's and tonic's, bare and behind the gate.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::Layer;
use tower::util::MapRequestLayer;
use wacht_auth::{Limits, RateLimitHeaders, WachtAuthLayer};

use crate::Result;
use crate::process;
use crate::wacht::Stage;
use crate::written;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Axum,
    AxumLayer,
    /// Bare, and the handler sends two fields as the gate does.
    AxumFields,
    /// What a user would write, see `written.rs`: without limits, and with them.
    AxumAuthorization,
    AxumWritten,
    AxumGate,
    AxumGateOff,
    AxumGateWithoutFields,
    AxumGateway,
    Tonic,
    TonicGate,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serve {
    pub(crate) kind: Kind,
    pub(crate) threads: Option<usize>,
    pub(crate) stage: Stage,
}

pub(crate) fn play() -> Result<()> {
    let mut runtimes = Vec::new();
    process::answer_orders(|order: Serve| {
        let mut builder = Builder::new_multi_thread();
        if let Some(threads) = order.threads {
            builder.worker_threads(threads);
        }
        let runtime = builder.enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let _guard = runtime.enter();
        match order.kind {
            Kind::Tonic => drop(runtime.spawn(serve_tonic(listener, None))),
            Kind::TonicGate => {
                let gate = order.stage.gate()?;
                drop(runtime.spawn(serve_tonic(listener, Some(gate))));
            }
            _ => drop(runtime.spawn(serve_axum(listener, app(&order)?))),
        }
        runtimes.push(runtime);
        Ok(address)
    })
}

fn app(Serve { kind, stage, .. }: &Serve) -> Result<Router> {
    let answer = match kind {
        Kind::AxumFields => get(async || (FIELDS, "ok")),
        _ => get(async || "ok"),
    };
    let app = Router::new().route("/", answer);
    Ok(match kind {
        Kind::AxumLayer => app.layer(MapRequestLayer::new(|request: Request| request)),
        Kind::AxumAuthorization => written::authorized(app, &stage.secrets),
        // What is added last is met first.
        Kind::AxumWritten => written::authorized(written::limited(app)?, &stage.secrets),
        Kind::AxumGate => app.layer(stage.gate()?),
        Kind::AxumGateWithoutFields => {
            app.layer(stage.gate()?.rate_limit_headers(RateLimitHeaders::None))
        }
        Kind::AxumGateOff => app.layer(stage.gate_with(Limits::off())?),
        Kind::AxumGateway => app.layer(stage.gate_with(Limits::gateway())?),
        _ => app,
    })
}

/// As long as those of the gate are.
const FIELDS: [(&str, &str); 2] = [
    (
        "ratelimit-policy",
        "\"per_key:2000000000/60s\";q=2000000000;w=60",
    ),
    ("ratelimit", "\"per_key:2000000000/60s\";r=1999999999;t=1"),
];

async fn serve_axum(listener: TcpListener, app: Router) -> Result<()> {
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, app).await?)
}

async fn serve_tonic(listener: TcpListener, gate: Option<WachtAuthLayer>) -> Result<()> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let mut server = Server::builder();
    let server = match gate {
        None => server.add_service(health),
        Some(gate) => server.add_service(gate.layer(health)),
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(server.serve_with_incoming(incoming).await?)
}
