//! What stands between a client and Wacht: balancers and proxies, with TLS or without.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Of the servers here.
pub const CERTIFICATE: &[u8] = include_bytes!("../tls/certificate.pem");
const KEY: &[u8] = include_bytes!("../tls/key.pem");

/// What becomes of connections that were made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What is sent is taken, and nothing ever comes back.
    Swallow,
    /// Closed in place of the answer to what is sent next.
    Close,
    /// Reset, likewise.
    Reset,
}

/// A port that passes bytes on. Connections that were made before can be brought to an [`End`]; new
/// ones work.
pub struct Wire {
    address: SocketAddr,
    scheme: &'static str,
    accepted: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    swallowing: Arc<AtomicUsize>,
    /// The number of accepted connections that are to end, and how.
    ends: watch::Sender<(usize, End)>,
    serving: JoinHandle<()>,
}

impl Wire {
    pub async fn to(url: &str) -> Self {
        Self::lay(url, None).await
    }

    /// With TLS, and this protocol of HTTP within.
    pub async fn tls(url: &str, protocol: &str) -> Self {
        Self::lay(url, Some(acceptor(protocol))).await
    }

    async fn lay(url: &str, tls: Option<TlsAcceptor>) -> Self {
        let to: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ends, _) = watch::channel((0, End::Swallow));
        let accepted = Arc::<AtomicUsize>::default();
        let closed = Arc::<AtomicUsize>::default();
        let swallowing = Arc::<AtomicUsize>::default();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = listener.local_addr().unwrap();
        let (told, counted, gone) = (ends.clone(), Arc::clone(&accepted), Arc::clone(&closed));
        let stuck = Arc::clone(&swallowing);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let (ends, gone, tls) = (told.subscribe(), Arc::clone(&gone), tls.clone());
                let stuck = Arc::clone(&stuck);
                client.set_nodelay(true).unwrap();
                connections.spawn(async move {
                    let server = TcpStream::connect(to).await.unwrap();
                    server.set_nodelay(true).unwrap();
                    match tls {
                        None => carry(client, server, number, ends, &stuck, |client| client).await,
                        Some(tls) => {
                            let Ok(client) = tls.accept(client).await else {
                                return;
                            };
                            carry(client, server, number, ends, &stuck, |tls| tls.get_ref().0)
                                .await;
                        }
                    }
                    gone.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            scheme,
            accepted,
            closed,
            swallowing,
            ends,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// How many connections were made so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// How many of them are over.
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    /// How many of them have been sent something for [`End::Swallow`].
    pub fn swallowing(&self) -> usize {
        self.swallowing.load(Ordering::SeqCst)
    }

    /// Brings every connection of now to an end.
    pub fn end(&self, end: End) {
        self.ends.send_replace((self.accepted(), end));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn carry<C: AsyncRead + AsyncWrite + Unpin>(
    mut client: C,
    mut server: TcpStream,
    number: usize,
    ends: watch::Receiver<(usize, End)>,
    swallowing: &AtomicUsize,
    socket: impl Fn(&C) -> &TcpStream,
) {
    let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let (ending, end) = *ends.borrow();
                if number >= ending {
                    if server.write_all(&asked[..length]).await.is_err() {
                        return;
                    }
                    continue;
                }
                match end {
                    // Until the client gives up.
                    End::Swallow => {
                        swallowing.fetch_add(1, Ordering::SeqCst);
                        while matches!(client.read(&mut asked).await, Ok(1..)) {}
                    }
                    End::Close => {
                        let _ = client.shutdown().await;
                        while matches!(client.read(&mut asked).await, Ok(1..)) {}
                    }
                    End::Reset => socket(&client).set_zero_linger().unwrap(),
                }
                return;
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn acceptor(protocol: &str) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config).into()
}

/// An HTTP/2 server over TLS that has a Wacht behind it, and does not process every request.
pub struct Picky {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

/// What a [`Picky`] server does.
#[derive(Clone, Copy, Debug)]
pub enum Habit {
    /// Every second stream is refused.
    Refuses,
    /// After so many requests a connection is shut down as RFC 9113 has it: GOAWAY, and what was
    /// sent before is answered.
    Restarts(usize),
}

impl Picky {
    pub async fn before(url: &str, habit: Habit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, url) = (acceptor("h2"), url.to_owned());
        let accepted = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&accepted);
        let serving = tokio::spawn(async move {
            let client = Client::builder(TokioExecutor::new()).build_http();
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (tls, url, client) = (tls.clone(), url.clone(), client.clone());
                connections.spawn(async move {
                    // A client that goes away is no mistake of the server.
                    let _ = serve(tls.accept(stream).await.unwrap(), habit, url, client).await;
                });
            }
        });
        Self {
            address,
            accepted,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Picky {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    habit: Habit,
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut number = 0;
    while let Some(stream) = connection.accept().await {
        let (request, mut answer) = stream?;
        number += 1;
        match habit {
            Habit::Refuses if number % 2 == 0 => {
                answer.send_reset(Reason::REFUSED_STREAM);
                continue;
            }
            Habit::Restarts(after) if number == after => connection.graceful_shutdown(),
            _ => {}
        }
        tokio::spawn(pass_on(request, answer, url.clone(), client.clone()));
    }
    Ok(())
}

async fn pass_on(
    request: Request<h2::RecvStream>,
    mut answer: SendResponse<Bytes>,
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
) {
    let (mut parts, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        body.extend_from_slice(&data);
        let _ = stream.flow_control().release_capacity(data.len());
    }
    let path = parts.uri.path_and_query().unwrap().as_str();
    parts.uri = format!("{url}{path}").parse().unwrap();
    parts.version = http::Version::HTTP_11;
    let request = Request::from_parts(parts, Full::from(body));
    let (mut parts, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    parts.version = http::Version::HTTP_2;
    parts.headers.remove("connection");
    let response = http::Response::from_parts(parts, ());
    // Whoever asked may be gone.
    if let Ok(mut stream) = answer.send_response(response, false) {
        let _ = stream.send_data(body, true);
    }
}
