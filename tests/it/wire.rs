//! Recorded answers of a running Wacht, and faults of a connection, through the real client.

mod audit;
mod calls;
mod gateway;
mod management;
mod retries;

use std::convert::Infallible;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use wacht_auth::client::ConfigErrorKind;
use wacht_auth::models::{CheckRequest, CheckResponse};
use wacht_auth::{Error, Result, WachtClient};

pub(crate) const MANAGEMENT_KEY: &str = "sk_SYNTHETIC-management-0123456789abcdefghijklmnopqrst";
const CALLERS_KEY: &str = "sk_SYNTHETIC-callers-0123456789abcdefghijklmnopqrstuvw";

/// Gives whatever answer is set, and keeps what it was asked.
pub(crate) struct Canned {
    address: SocketAddr,
    answer: Arc<Mutex<Response<Bytes>>>,
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
    task: JoinHandle<()>,
}

impl Canned {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Response::new(Bytes::new())));
        let asked = Arc::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&answer), Arc::clone(&asked)));
        Self {
            address,
            answer,
            asked,
            task,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn client(&self) -> WachtClient {
        WachtClient::builder(MANAGEMENT_KEY)
            .api_url(self.url())
            .gateway_url(self.url())
            .no_retries()
            .build()
            .unwrap()
    }

    pub(crate) fn answer(&self, response: Response<Bytes>) {
        *self.answer.lock().unwrap() = response;
    }

    pub(crate) fn answer_line(&self, line: &Value) {
        self.answer(recorded(line));
    }

    pub(crate) fn take_asked(&self) -> Vec<Request<Bytes>> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The error says what the recorded refusal of the management API does.
fn assert_refused_as_recorded(error: &Error, line: &Value, name: &str) {
    let Error::Api { message, .. } = error else {
        panic!("{name}: {error:?}");
    };
    let said = &line["response"]["body"]["errors"][0]["message"];
    assert_eq!(error.status(), Some(status(line)), "{name}");
    assert_eq!(&json!(message), said, "{name}");
    assert_eq!(error.body(), Some(body(line).as_str()), "{name}");
    assert_eq!(error.is_not_found(), status(line) == 404, "{name}");
}

async fn serve(
    listener: TcpListener,
    answer: Arc<Mutex<Response<Bytes>>>,
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
        let service = service_fn(move |request: Request<Incoming>| {
            let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                asked.lock().unwrap().push(Request::from_parts(head, body));
                let response = answer.lock().unwrap().clone().map(Full::new);
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn status(line: &Value) -> StatusCode {
    let status = line["response"]["status"].as_u64().unwrap();
    StatusCode::from_u16(status.try_into().unwrap()).unwrap()
}

/// The text of a recorded body: strings were no JSON on the wire.
fn body(line: &Value) -> String {
    match &line["response"]["body"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        json => json.to_string(),
    }
}

fn recorded(line: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body(line)));
    *response.status_mut() = status(line);
    for (name, value) in line["response"]["headers"].as_object().unwrap() {
        response.headers_mut().insert(
            HeaderName::try_from(name).unwrap(),
            HeaderValue::try_from(value.as_str().unwrap()).unwrap(),
        );
    }
    response
}

pub(crate) fn with_status(code: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

async fn check(client: &WachtClient) -> Result<CheckResponse> {
    client
        .gateway()
        .check(CheckRequest::api_key(CALLERS_KEY).resource("/v1/items"))
        .send()
        .await
}

#[tokio::test]
async fn a_list_is_followed_to_its_end_without_duplicates() {
    let server = Canned::start().await;
    let app = |slug: &str| {
        json!({
            "deployment_id": "1", "app_slug": slug, "name": slug, "is_active": true,
            "key_prefix": "sk", "created_at": "2026-11-21T22:14:52Z",
            "updated_at": "2026-11-21T22:14:52Z",
        })
    };
    // This server ignores `offset` and always promises more.
    let page = json!({"data": [app("a"), app("b"), app("a")], "has_more": true});
    server.answer(with_status(200, page.to_string()));
    let client = server.client();
    let apps = client
        .api_keys()
        .list_api_auth_apps()
        .include_inactive(true)
        .send()
        .await
        .unwrap();
    let slugs: Vec<_> = apps.iter().map(|app| app.app_slug.as_str()).collect();
    assert_eq!(slugs, ["a", "b"]);
    let asked: Vec<Uri> = server
        .take_asked()
        .iter()
        .map(|asked| asked.uri().clone())
        .collect();
    assert_eq!(
        asked,
        [
            "/api-auth/apps?limit=100&offset=0&include_inactive=true",
            "/api-auth/apps?limit=100&offset=3&include_inactive=true",
        ]
    );

    server.answer(with_status(200, r#"{"data":[],"has_more":true}"#));
    let apps = client.api_keys().list_api_auth_apps().send().await.unwrap();
    assert!(apps.is_empty());
    assert_eq!(server.take_asked().len(), 1);
}

#[tokio::test]
async fn a_slug_stays_one_segment_and_a_bad_one_is_not_sent() {
    let server = Canned::start().await;
    server.answer(with_status(404, ""));
    let client = server.client();
    let error = client
        .api_keys()
        .get_api_auth_app("../a b?c")
        .send()
        .await
        .unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(
        server.take_asked()[0].uri(),
        "/api-auth/apps/..%2Fa%20b%3Fc"
    );
    for slug in ["", ".", ".."] {
        let result = client.api_keys().get_api_auth_app(slug).send().await;
        assert!(matches!(result, Err(Error::InvalidRequest(_))), "{slug:?}");
    }
    assert!(server.take_asked().is_empty());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let server = Canned::start().await;
    let elsewhere = Canned::start().await;
    let client = server.client();
    for code in [301, 302, 303, 307, 308] {
        let mut redirect = with_status(code, "");
        let location = HeaderValue::try_from(format!("{}/v1/authz/check", elsewhere.url()));
        redirect.headers_mut().insert(LOCATION, location.unwrap());
        server.answer(redirect);
        let error = check(&client).await.unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(code));
        let error = client
            .api_keys()
            .get_api_auth_app("a")
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(code));
    }
    assert!(elsewhere.take_asked().is_empty());
    assert_eq!(server.take_asked().len(), 10);
}

#[tokio::test]
async fn a_body_is_read_to_its_limit_and_no_further() {
    let server = Canned::start().await;
    let client = server.client();
    let padded = |size: usize| {
        let bare = json!({"allowed": true}).to_string();
        format!("{bare}{}", " ".repeat(size - bare.len()))
    };
    server.answer(with_status(200, padded(4 * 1024 * 1024)));
    assert!(check(&client).await.unwrap().allowed);
    server.answer(with_status(200, padded(4 * 1024 * 1024 + 1)));
    let error = check(&client).await.unwrap_err();
    assert!(matches!(error, Error::Decode(_)), "{error:?}");
    assert!(!error.is_transient());

    server.answer(with_status(200, " ".repeat(4 * 1024 * 1024 + 1)));
    let error = client
        .api_keys()
        .get_api_auth_app("a")
        .send()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");

    server.answer(with_status(502, "x".repeat(1024 * 1024)));
    let error = check(&client).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::BAD_GATEWAY));
    assert_eq!(error.body().map(str::len), Some(64 * 1024));
}

#[tokio::test]
async fn a_success_other_than_200_is_no_answer_to_a_check() {
    let server = Canned::start().await;
    for code in [201, 202, 206] {
        server.answer(with_status(code, r#"{"allowed":true}"#));
        let error = check(&server.client()).await.unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(code));
    }
}

#[tokio::test]
async fn no_key_is_in_any_text_of_an_error() {
    let server = Canned::start().await;
    let client = server.client();
    let nobody = WachtClient::builder(MANAGEMENT_KEY)
        .api_url("http://127.0.0.1:1")
        .gateway_url("http://127.0.0.1:1")
        .build()
        .unwrap();
    let mut errors = vec![
        check(&nobody).await.unwrap_err(),
        nobody
            .api_keys()
            .get_api_auth_app("a")
            .send()
            .await
            .unwrap_err(),
    ];
    let echo = format!("you sent {CALLERS_KEY} and {MANAGEMENT_KEY}");
    for (code, body) in [
        (200, json!({"allowed": CALLERS_KEY}).to_string()),
        (
            200,
            json!({"allowed": true, "identity": {"key_id": CALLERS_KEY}}).to_string(),
        ),
        (422, echo.replace(MANAGEMENT_KEY, "")),
        (
            401,
            json!({"allowed": false, "request_id": CALLERS_KEY}).to_string(),
        ),
    ] {
        server.answer(with_status(code, body));
        errors.push(check(&client).await.unwrap_err());
    }
    server.answer(with_status(500, echo.replace(CALLERS_KEY, "")));
    errors.push(
        client
            .api_keys()
            .get_api_auth_app("a")
            .send()
            .await
            .unwrap_err(),
    );
    for error in &errors {
        let mut text = format!("{error} {error:?} {:?}", error.body());
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(" {cause} {cause:?}"));
            source = cause.source();
        }
        assert!(!text.contains("SYNTHETIC"), "{text}");
        // Where it could not connect to, and nothing behind that.
        let rest = text.replace("at http://127.0.0.1:1:", "");
        let rest = rest.replace("place: \"http://127.0.0.1:1\"", "");
        assert!(!rest.contains("http://"), "{text}");
    }
    assert!(!format!("{client:?}").contains("SYNTHETIC"));
}

#[tokio::test]
async fn nobody_there_is_a_connect_error() {
    let client = WachtClient::builder(MANAGEMENT_KEY)
        .api_url("http://127.0.0.1:1")
        .gateway_url("http://127.0.0.1:1")
        .build()
        .unwrap();
    let error = check(&client).await.unwrap_err();
    assert!(error.is_transient() && !error.is_timeout(), "{error:?}");
    let Error::Request(error) = error else {
        panic!("{error:?}");
    };
    assert!(error.is_connect());
    assert_eq!(
        error.to_string(),
        "could not connect to the Wacht gateway at http://127.0.0.1:1: check the URL, the network and \
         the certificates"
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_or_does_not_end_is_a_timeout() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    for beginning in ["", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
            stream.write_all(beginning.as_bytes()).await.unwrap();
            let mut received = Vec::new();
            let _ = stream.read_to_end(&mut received).await;
            // Whether the client asked again.
            let again = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
            assert!(again.is_err());
        });
        let client = WachtClient::builder(MANAGEMENT_KEY)
            .api_url(&url)
            .gateway_url(&url)
            .timeout(Duration::from_millis(100))
            .build()
            .unwrap();
        let error = check(&client).await.unwrap_err();
        assert!(error.is_timeout() && error.is_transient(), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the Wacht gateway did not answer in time; what was asked may have been done"
        );
        drop(client);
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_check_whose_connection_ends_without_an_answer_is_sent_once_more() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(0));
    let count = Arc::clone(&requests);
    // Answers the first request of each connection, and hangs up when it has read the second.
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in [
                "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"allowed\":true}",
                "",
            ] {
                read_request(&mut stream).await;
                *count.lock().unwrap() += 1;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    let client = WachtClient::builder(MANAGEMENT_KEY)
        .api_url(&url)
        .gateway_url(&url)
        .build()
        .unwrap();
    assert!(check(&client).await.unwrap().allowed);
    // The second request of the first connection, and the first of the next.
    assert!(check(&client).await.unwrap().allowed);
    assert_eq!(*requests.lock().unwrap(), 3);
    server.abort();

    async fn read_request(stream: &mut tokio::net::TcpStream) {
        let mut received = Vec::new();
        while !received.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn an_unusable_client_says_so_at_every_call() {
    let client = WachtClient::new("");
    for _ in 0..2 {
        assert!(matches!(check(&client).await, Err(Error::Config(_))));
        let app = client.api_keys().get_api_auth_app("a").send().await;
        assert!(matches!(app, Err(Error::Config(_))));
    }
}

#[test]
fn a_call_without_a_runtime_is_an_error_and_no_panic() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let client = WachtClient::builder(MANAGEMENT_KEY)
        .api_url("http://127.0.0.1:1")
        .gateway_url("http://127.0.0.1:1")
        .build()
        .unwrap();
    let call = pin!(check(&client));
    let poll = call.poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(Error::Config(error))) = poll else {
        panic!("{poll:?}");
    };
    assert_eq!(error.kind(), ConfigErrorKind::Runtime);
}
