//! The plumbing: accepts connections, writes the journal, applies faults, asks the routes.

use std::convert::Infallible;
use std::future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::faults::{Body, Fault, Faults};
use super::journal::Journal;
use super::state::State;
use super::{gateway_routes, management_routes};

/// What the handles of a test and the server thread have in common.
pub(super) struct Shared {
    state: Mutex<State>,
    connections: Mutex<Connections>,
    pub(super) faults: Faults,
    pub(super) journal: Journal,
}

#[derive(Default)]
struct Connections {
    refused: bool,
    open: Vec<AbortHandle>,
}

/// A request that has arrived whole.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, Unread>,
    pub(super) peer: IpAddr,
}

/// Why a body could not be read.
pub(super) enum Unread {
    TooLarge,
    Broken,
}

/// Which of the two services a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Check,
    Management,
    Elsewhere,
}

/// What the routes answer, before any fault.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    content_type: Option<&'static str>,
    allow: Option<&'static str>,
    body: Bytes,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            connections: Mutex::default(),
            faults: Faults::new(),
            journal: Journal::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refuse_connections(&self, refused: bool) {
        let mut connections = self.connections();
        connections.refused = refused;
        if refused {
            connections.open.drain(..).for_each(|open| open.abort());
        }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
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
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl Side {
    pub(super) fn of(path: &str) -> Self {
        let starts_with = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if path == gateway_routes::CHECK {
            Self::Check
        } else if starts_with("/api-auth") || starts_with("/oauth") {
            Self::Management
        } else {
            Self::Elsewhere
        }
    }
}

impl Call {
    /// Whether axum's `Json` extractor would look at the body at all.
    pub(super) fn is_json(&self) -> bool {
        let content_type = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let Some(content_type) = content_type else {
            return false;
        };
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        essence == JSON || (essence.starts_with("application/") && essence.ends_with("+json"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Answer {
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        let body = Bytes::from(body.to_string());
        Self {
            status,
            content_type: Some(JSON),
            allow: None,
            body,
        }
    }

    pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: Some(TEXT),
            allow: None,
            body: body.into(),
        }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content_type: None,
            allow: None,
            body: Bytes::new(),
        }
    }

    /// As the management API says that there is nothing to say.
    pub(super) fn no_content() -> Self {
        Self {
            content_type: Some(JSON),
            ..Self::empty(StatusCode::NO_CONTENT)
        }
    }

    pub(super) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The management API's envelope around one message.
    pub(super) fn error(status: StatusCode, message: &str) -> Self {
        let error = json!({ "message": message, "code": status.as_u16() });
        Self::json(status, &json!({ "errors": [error] }))
    }

    fn of_fault(side: Side, status: u16) -> Self {
        let status = status_code(status);
        match side {
            Side::Management => Self::error(status, management_routes::generic_message(status)),
            Side::Check | Side::Elsewhere => {
                Self::text(status, status.canonical_reason().unwrap_or_default())
            }
        }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::whole(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    fn into_half_response(mut self) -> Response<Body> {
        let length = self.body.len();
        let half = self.body.split_to(length / 2);
        let mut response = self.into_response().map(|_| Body::half(half));
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

/// A number that is no final status becomes 500: hyper could not send it.
fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A listener of the standard library, ready for a runtime that is yet to start.
pub(super) fn listen() -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
