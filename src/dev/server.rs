//! The plumbing: accepts connections, writes the journal, applies faults, asks the routes.

use std::convert::Infallible;
use std::future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::answer::{Answer, JSON, status_code};
use super::body::Body;
use super::call::{Call, Side, Unread};
use super::fault::Fault;
use super::shared::Shared;
use super::{gateway_routes, management_routes};

/// A listener of the standard library, ready for a runtime that is yet to start.
pub(super) fn listen() -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => connect(&shared, stream, peer),
            // Out of file descriptors, most likely: others get the chance to close some.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn connect(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let mut connections = shared.connections();
    if connections.refused {
        return;
    }
    // Without it, a test would measure Nagle's algorithm; a socket that is gone shows up later.
    let _ = stream.set_nodelay(true);
    let cut = Arc::new(OnceLock::new());
    let service = {
        let (shared, cut) = (Arc::clone(shared), Arc::clone(&cut));
        service_fn(move |request| {
            let (shared, cut) = (Arc::clone(&shared), Arc::clone(&cut));
            async move { Ok::<_, Infallible>(serve(shared, cut, peer.ip(), request).await) }
        })
    };
    let task = tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        // A connection that fails is the client's to notice.
        let _ = builder
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    let _ = cut.set(task.abort_handle());
    connections.open.retain(|open| !open.is_finished());
    connections.open.push(task.abort_handle());
}

async fn serve(
    shared: Arc<Shared>,
    cut: Arc<OnceLock<AbortHandle>>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let call = receive(request, peer).await;
    let side = Side::of(call.uri.path());
    let fate = decide(&shared, side, &call);
    // Not before: who waits for this request may change what its answer depends on.
    let entry = shared.journal.record(side, &call);

    let response = match fate {
        Fate::Answered(response) => response,
        Fate::Late(delay, response) => {
            tokio::time::sleep(delay).await;
            response
        }
        Fate::Unanswered => future::pending().await,
        Fate::Cut => {
            if let Some(connection) = cut.get() {
                connection.abort();
            }
            future::pending().await
        }
    };

    shared.faults.released(side, call.uri.path()).await;
    shared.journal.answered(entry, response.status());
    response
}

/// What comes of a request.
enum Fate {
    Answered(Response<Body>),
    Late(Duration, Response<Body>),
    Unanswered,
    /// The connection ends.
    Cut,
}

fn decide(shared: &Shared, side: Side, call: &Call) -> Fate {
    let proper = || answer(shared, side, call);
    let response = match shared.faults.next(side, call.uri.path()) {
        None => proper().into_response(),
        Some(Fault::Delay(delay)) => return Fate::Late(delay, proper().into_response()),
        Some(Fault::HalfAnswer) => proper().into_half_response(),
        Some(Fault::SlowDrip(every)) => proper().into_response().map(|body| body.dripping(every)),
        Some(Fault::Status(status)) => Answer::of_fault(side, status).into_response(),
        Some(Fault::Body {
            status,
            content_type,
            text,
        }) => {
            let mut response = Response::new(Body::whole(text.into()));
            *response.status_mut() = status_code(status);
            if let Ok(content_type) = HeaderValue::from_str(&content_type) {
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            response
        }
        Some(Fault::Huge(length)) => {
            let mut response = Response::new(Body::padding(length));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
            response
        }
        Some(Fault::Redirect(to)) => {
            let mut response = Response::new(Body::whole(Bytes::new()));
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            if let Ok(to) = HeaderValue::from_str(&to) {
                response.headers_mut().insert(LOCATION, to);
            }
            response
        }
        Some(Fault::Hang) => return Fate::Unanswered,
        Some(Fault::Drop) => return Fate::Cut,
    };
    Fate::Answered(response)
}

async fn receive(request: Request<Incoming>, peer: IpAddr) -> Call {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Err(_) => Err(Unread::Broken),
    };
    Call {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body,
        peer,
    }
}

fn answer(shared: &Shared, side: Side, call: &Call) -> Answer {
    let mut state = shared.state();
    match side {
        Side::Management => management_routes::route(&mut state, call),
        Side::Check | Side::Elsewhere => gateway_routes::route(&mut state, call),
    }
}

/// What axum reads at most unless told otherwise.
const BODY_LIMIT: usize = 2 * 1024 * 1024;
