//! What the self-tests of the axum examples share: an HTTP client, and a table of what was
//! promised and what came.

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub(crate) struct SelfTest {
    service: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    all_as_promised: bool,
}

impl SelfTest {
    pub(crate) fn of(service: SocketAddr) -> Self {
        println!("{:<40} {:<18} {:<18}", "what", "promised", "got");
        Self {
            service,
            client: Client::builder(TokioExecutor::new()).build_http(),
            all_as_promised: true,
        }
    }

    #[allow(dead_code, reason = "some examples send requests of their own alone")]
    pub(crate) async fn ask(
        &self,
        method: &Method,
        path: &str,
        key: Option<&str>,
    ) -> Result<Response<String>, Box<dyn Error>> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.send(request.body(String::new())?).await
    }

    /// Sends a request whose URI is a path.
    pub(crate) async fn send(
        &self,
        request: Request<String>,
    ) -> Result<Response<String>, Box<dyn Error>> {
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("http://{}{}", self.service, parts.uri).parse()?;
        let request = Request::from_parts(parts, Full::from(body));
        let (parts, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Response::from_parts(parts, body))
    }

    pub(crate) fn row(&mut self, what: &str, promised: impl Display, got: impl Display) {
        let (promised, got) = (promised.to_string(), got.to_string());
        let mark = if promised == got { "" } else { "  <- not so" };
        println!("{what:<40} {promised:<18} {got:<18}{mark}");
        self.all_as_promised &= promised == got;
    }

    pub(crate) fn finish(self) -> ExitCode {
        match self.all_as_promised {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}
