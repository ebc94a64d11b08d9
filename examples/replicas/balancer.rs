//! A small balancer: one replica after the other, or the one that a client names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

/// Which replica a request is for, by a client that sticks; and which one has answered. Where a real
/// balancer has a cookie, or a hash of the address.
pub(crate) const REPLICA: &str = "x-replica";

struct Balancer {
    replicas: Vec<SocketAddr>,
    next: AtomicUsize,
    client: Client<HttpConnector, Body>,
}

pub(crate) async fn start(replicas: Vec<SocketAddr>) -> io::Result<SocketAddr> {
    let balancer = Balancer {
        replicas,
        next: AtomicUsize::new(0),
        client: Client::builder(TokioExecutor::new()).build_http(),
    };
    let app = Router::new()
        .fallback(pass_on)
        .with_state(Arc::new(balancer));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn pass_on(State(balancer): State<Arc<Balancer>>, mut request: Request) -> Response {
    let named = request.headers_mut().remove(REPLICA);
    let named = named.and_then(|number| number.to_str().ok()?.parse().ok());
    let number: usize = named.unwrap_or_else(|| balancer.next.fetch_add(1, Ordering::Relaxed));
    let number = number % balancer.replicas.len();
    let Ok(uri) = at(balancer.replicas[number], request.uri()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    match balancer.client.request(request).await {
        Ok(answer) => {
            let mut answer = answer.map(Body::new);
            let number = HeaderValue::from(number);
            answer.headers_mut().insert(REPLICA, number);
            answer
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

fn at(replica: SocketAddr, uri: &Uri) -> Result<Uri, axum::http::Error> {
    let authority = Authority::try_from(replica.to_string())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query(path)
        .build()
}
