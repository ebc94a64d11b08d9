use http::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::client::transport::tls;
use crate::dev::ManualClock;

const MOMENT: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(20);

fn connections() -> Connections {
    Connections {
        tls: tls::client_config(false, &[]).unwrap(),
        proxy: None,
        user_agent: HeaderValue::from_static("tests"),
        connect_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        pings: Pings {
            interval: PATIENCE,
            timeout: PATIENCE,
        },
    }
}

/// Pools by a clock that stands still. A pool is told by when it was made.
fn pools() -> (Pools, ManualClock) {
    let clock = ManualClock::new();
    let pools = Pools::new(&Arc::new(connections()), &clock.clone().into());
    (pools, clock)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

#[test]
fn without_a_runtime_there_is_no_pool() {
    let (pools, _) = pools();
    let error = pools.of_this_runtime().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Runtime);
}

#[tokio::test]
async fn a_suspect_pool_is_replaced_at_most_once_a_second() {
    let (pools, clock) = pools();
    let pool = || pools.of_this_runtime().unwrap();
    let first = pool();
    clock.advance(MOMENT);
    assert_eq!(pool().since, first.since, "nothing speaks against it");
    pools.suspect(&first);
    let second = pool();
    assert_ne!(second.since, first.since);

    // What still ran on the first one says nothing of the second.
    clock.advance(PATIENCE);
    pools.suspect(&first);
    assert_eq!(pool().since, second.since);

    pools.suspect(&second);
    let third = pool();
    clock.advance(BETWEEN_FRESH_POOLS - MOMENT);
    pools.suspect(&third);
    assert_eq!(pool().since, third.since, "too soon");
    clock.advance(MOMENT);
    assert_ne!(pool().since, third.since);
}

#[test]
fn each_of_the_last_few_runtimes_has_its_own() {
    let (pools, clock) = pools();
    let pool_of = |runtime: &Runtime| {
        let _entered = runtime.enter();
        clock.advance(MOMENT);
        pools.of_this_runtime().unwrap().since
    };
    let runtimes: Vec<_> = (0..=MOST_POOLS).map(|_| runtime()).collect();
    let (extra, all) = runtimes.split_last().unwrap();
    let first: Vec<_> = all.iter().map(pool_of).collect();
    let again: Vec<_> = all.iter().map(pool_of).collect();
    assert_eq!(first, again);
    assert!(first.is_sorted_by(|a, b| a < b), "{first:?}");

    pool_of(&all[0]);
    pool_of(extra);
    assert_eq!(pool_of(&all[0]), first[0], "it was used since");
    assert_ne!(pool_of(&all[1]), first[1], "it was used longest ago");
}

#[tokio::test]
async fn over_http2_an_idle_connection_that_answers_no_ping_is_closed() {
    let path = |name| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let certificate = CertificateDer::from_pem_file(path("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(path("key.pem")).unwrap();
    let provider = tls::provider().expect("of a feature");
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut connections = connections();
    let alpn_protocols = std::mem::take(&mut connections.tls.alpn_protocols);
    connections.tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    connections.tls.alpn_protocols = alpn_protocols;
    connections.pings = Pings {
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(50),
    };
    let pools = Pools::new(&Arc::new(connections), &Clock::system());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(Arc::new(server)).accept(stream);
        answer_no_ping(stream.await.unwrap()).await
    });
    let answer = pools.of_this_runtime().unwrap().http.get(url).send().await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    let pings = tokio::time::timeout(PATIENCE, server).await;
    assert_eq!(pings.expect("the connection is closed").unwrap(), 1);
}

/// Answers requests, with a 200 and nothing else, and no ping. Says how many pings there were, when
/// the client has closed the connection.
async fn answer_no_ping<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> usize {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const ACKNOWLEDGED: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, PREFACE);
    stream.write_all(&SETTINGS).await.unwrap();
    let mut pings = 0;
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let [_, high, low, kind, flags, id @ ..] = head;
        let length = u16::from_be_bytes([high, low]);
        stream
            .read_exact(&mut vec![0; length.into()])
            .await
            .unwrap();
        match kind {
            1 => {
                let mut answer = vec![0, 0, 1, 1, 5];
                answer.extend(id);
                // `:status: 200`, number 8 of HPACK's static table.
                answer.push(0x88);
                stream.write_all(&answer).await.unwrap();
            }
            4 if flags == 0 => stream.write_all(&ACKNOWLEDGED).await.unwrap(),
            6 if flags == 0 => pings += 1,
            _ => {}
        }
    }
    pings
}
