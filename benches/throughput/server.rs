//! The servers: axum's and tonic's, bare and behind the gate.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::Layer;
use tower::util::MapRequestLayer;
use wacht_auth::{Limits, WachtAuthLayer};

use crate::Result;
use crate::process;
use crate::wacht::{APP, Stage};
use crate::window::Protocol;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Axum,
    AxumLayer,
    AxumGate,
    AxumGateway,
    Tonic,
    TonicGate,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serve {
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
}

impl Kind {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Axum | Self::AxumLayer | Self::AxumGate | Self::AxumGateway => Protocol::Http,
            Self::Tonic | Self::TonicGate => Protocol::Grpc,
        }
    }

    fn gate(self, stage: &Stage) -> Result<Option<WachtAuthLayer>> {
        Ok(match self {
            Self::Axum | Self::AxumLayer | Self::Tonic => None,
            Self::AxumGate | Self::TonicGate => Some(stage.gate()?),
            Self::AxumGateway => {
                let asks = WachtAuthLayer::builder(stage.client()?).limits(Limits::gateway());
                Some(asks.build()?.app(APP))
            }
        })
    }
}

pub(crate) fn play() -> Result<()> {
    let runtime = Runtime::new()?;
    process::answer_orders(|Serve { kind, stage }| {
        let gate = kind.gate(&stage)?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        match kind.protocol() {
            Protocol::Http => {
                let mut app = Router::new().route("/", get(async || "ok"));
                if let Some(gate) = gate {
                    app = app.layer(gate);
                } else if matches!(kind, Kind::AxumLayer) {
                    app = app.layer(MapRequestLayer::new(|request: Request| request));
                }
                drop(runtime.spawn(serve_axum(listener, app)));
            }
            Protocol::Grpc => drop(runtime.spawn(serve_tonic(listener, gate))),
        }
        Ok(address)
    })
}

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
