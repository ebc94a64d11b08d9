//! What most tests of the gate start from: a Wacht, a clock, and a service that echoes its caller.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinHandle;
use tower::{Layer, Service, ServiceExt};
use wacht_auth::dev::{DevGateway, DevKey, ManualClock};
use wacht_auth::{
    PeerAddr, Principal, Rejection, RejectionKind, ResponseBody, WachtAuthLayer,
    WachtAuthLayerBuilder,
};

/// A Wacht with the app `orders`, and a clock that both it and the gates follow.
pub struct Scene {
    pub wacht: DevGateway,
    pub clock: ManualClock,
}

impl Scene {
    pub async fn new() -> Self {
        let clock = ManualClock::new();
        let wacht = DevGateway::start().await.clock(&clock);
        wacht.app("orders");
        Self { wacht, clock }
    }

    /// The same where the gateway goes on saying yes for this long.
    pub async fn lagging(lag: Duration) -> Self {
        let Self { wacht, clock } = Self::new().await;
        let wacht = wacht.revocation_lag(lag);
        Self { wacht, clock }
    }

    /// A gate with every default but the clock.
    pub fn layer(&self) -> WachtAuthLayer {
        self.builder().build().unwrap()
    }

    /// The same, to be told more. A dev gateway's client is patient: time-outs are real time, and a
    /// busy machine must not look like a gateway that is down.
    pub fn builder(&self) -> WachtAuthLayerBuilder {
        WachtAuthLayer::builder(self.wacht.client()).clock(&self.clock)
    }

    pub fn key(&self) -> DevKey {
        self.wacht.issue_key("orders").name("ci").issue()
    }
}

/// What a request met: the status, the refusal if it was one, and who the handler saw.
#[derive(Debug)]
pub struct Met {
    pub status: StatusCode,
    pub refusal: Option<Rejection>,
    pub caller: Option<Principal>,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Met {
    pub async fn of<B>(response: Response<B>) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
    {
        let (mut parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status,
            refusal: parts.extensions.remove(),
            caller: parts.extensions.remove(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub fn kind(&self) -> Option<RejectionKind> {
        self.refusal.as_ref().map(Rejection::kind)
    }

    /// The whole seconds that `Retry-After` says.
    #[track_caller]
    pub fn retry_after(&self) -> u64 {
        self.header("retry-after").parse().unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn assert_ok(&self) {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
    }

    #[track_caller]
    pub fn assert_refused(&self, kind: RejectionKind) {
        assert_eq!(self.kind(), Some(kind), "{self:?}");
        assert_eq!(self.status, kind.status());
    }
}

/// A gated echo service that counts how often it was reached.
#[derive(Clone)]
pub struct Echo {
    layer: WachtAuthLayer,
    reached: Arc<AtomicUsize>,
}

impl Echo {
    pub fn behind(layer: WachtAuthLayer) -> Self {
        Self {
            layer,
            reached: Arc::default(),
        }
    }

    pub fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    pub async fn get(&self, secret: &str) -> Met {
        self.call(get(secret)).await
    }

    /// Sends [`get`](Self::get) on its way, for what happens while it waits.
    pub fn spawn_get(&self, secret: &str) -> JoinHandle<Met> {
        let (echo, secret) = (self.clone(), secret.to_owned());
        tokio::spawn(async move { echo.get(&secret).await })
    }

    pub async fn call(&self, request: Request<Full<Bytes>>) -> Met {
        let reached = Arc::clone(&self.reached);
        let inner = tower::service_fn(move |request: Request<Full<Bytes>>| {
            reached.fetch_add(1, Ordering::SeqCst);
            async move {
                let caller = request.extensions().get::<Principal>();
                let name = caller.map_or("nobody", |caller| caller.key_name());
                let mut response = Response::new(Full::new(Bytes::from(name.to_owned())));
                if let Some(caller) = caller {
                    response.extensions_mut().insert(caller.clone());
                }
                Ok::<_, Infallible>(response)
            }
        });
        met(self.layer.layer(inner), request).await
    }
}

/// Sends one request through a service and gathers what came of it.
pub async fn met<S, B>(service: S, request: Request<Full<Bytes>>) -> Met
where
    S: Service<Request<Full<Bytes>>, Response = Response<ResponseBody<B>>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Met::of(service.oneshot(request).await.unwrap()).await
}

/// Waits for the checks and refreshes on their way. Each ends by itself, at the gate's deadline if
/// not before.
pub async fn landed(layer: &WachtAuthLayer) {
    while layer.handle().stats().in_flight > 0 {
        tokio::task::yield_now().await;
    }
}

/// Does what waits in vain, without the test waiting. Time-outs of calls go by tokio's clock, which no
/// [`ManualClock`] moves: it stands still here, and leaps as far as `leap` says, which is asked again
/// and again and knows when all that is to wait does wait.
pub async fn in_vain<T>(
    mut leap: impl FnMut() -> Option<Duration>,
    work: impl Future<Output = T>,
) -> T {
    tokio::time::pause();
    let mut work = pin!(work);
    // It never rests: while nobody has anything to do, a clock that was stopped runs ahead by itself.
    let done = loop {
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            break done;
        }
        if let Some(span) = leap() {
            // A timer ends with a whole millisecond, the next one.
            tokio::time::advance(span + Duration::from_millis(1)).await;
        }
        tokio::task::yield_now().await;
    };
    tokio::time::resume();
    done
}

/// For [`in_vain`]: once for all, when so many are there.
pub fn once_at(
    count: impl Fn() -> usize,
    least: usize,
    span: Duration,
) -> impl FnMut() -> Option<Duration> {
    let mut left = Some(span);
    move || if count() >= least { left.take() } else { None }
}

pub const PEER: &str = "198.51.100.7:40000";

/// `GET /items` with this key, from [`PEER`].
pub fn get(secret: &str) -> Request<Full<Bytes>> {
    let mut request = anonymous();
    let bearer = format!("Bearer {secret}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    request
}

/// `GET /items` without a key, from [`PEER`].
pub fn anonymous() -> Request<Full<Bytes>> {
    let mut request = Request::get("/items").body(Full::default()).unwrap();
    request
        .extensions_mut()
        .insert(PeerAddr(PEER.parse().unwrap()));
    request
}

/// A key in the gateway's form that nobody has; another one for every number.
pub fn made_up(number: usize) -> String {
    format!("sk_{number:043}")
}

/// Tries until it comes true, as something in the background is on its way; fails when it never
/// comes.
pub async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let soon = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    });
    soon.await.expect("it never came true");
}
