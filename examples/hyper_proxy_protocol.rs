//! What this shows: limits per client address behind a balancer that speaks the PROXY protocol, as TCP
//! balancers do, which add nothing to the HTTP in their connections.
//!
//! ```text
//! cargo run --example hyper_proxy_protocol --features proxy-protocol
//! cargo run --example hyper_proxy_protocol --features proxy-protocol -- --self-test
//! ```
//!
//! The header stands before the first byte of a connection and says who is at its other end. The crate
//! `proxy-header` reads both versions of it, in the task of the connection, so that a peer that sends
//! none holds up nobody. Two things stay with the server. Only a balancer may send the header, since
//! anybody else would write what suits him. And it has to come within a time limit.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use proxy_header::io::ProxiedStream;
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceBuilder;
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{PeerAddr, Principal, WachtAuthLayer};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const HEADER_TIME: Duration = Duration::from_secs(2);

/// The connection without its header, and who is at the other end.
async fn unwrap(
    stream: TcpStream,
    peer: SocketAddr,
    balancers: &[IpAddr],
) -> io::Result<(ProxiedStream<TcpStream>, SocketAddr)> {
    // A listener for both families reports IPv4 peers as IPv6 ones.
    if !balancers.contains(&peer.ip().to_canonical()) {
        // Counted by its own address. A header would be no HTTP, and hyper answers that with 400.
        return Ok((ProxiedStream::unproxied(stream), peer));
    }
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let header = ProxiedStream::create_from_tokio(stream, config);
    let stream = tokio::time::timeout(HEADER_TIME, header).await??;
    // A balancer that calls for itself, to see whether the service is up, names nobody.
    let caller = stream.proxy_header().proxied_address();
    let caller = caller.map_or(peer, |address| address.source);
    Ok((stream, caller))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let name = match request.extensions().get::<Principal>() {
        Some(caller) => caller.key_name().to_owned(),
        None => "nobody".to_owned(),
    };
    Ok(Response::new(Full::from(name)))
}

async fn serve(
    listener: TcpListener,
    gate: WachtAuthLayer,
    balancers: &'static [IpAddr],
) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let gate = gate.clone();
        tokio::spawn(async move {
            let (stream, caller) = match unwrap(stream, peer, balancers).await {
                Ok(unwrapped) => unwrapped,
                Err(error) => return eprintln!("no PROXY header from {peer}: {error}"),
            };
            let service = ServiceBuilder::new()
                .map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(PeerAddr(caller));
                    request
                })
                .layer(gate)
                .service_fn(answer);
            let server = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("a connection from {caller} broke: {error}");
            }
        });
    }
}

/// This machine stands for the balancer.
const BALANCERS: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
];

#[tokio::main]
async fn main() -> Result<()> {
    let wacht = DevGateway::start().await;
    let rule = DevRule::per_app_and_ip(2, "hour", 1);
    wacht.app("shop").scheme([rule]);
    let key = wacht.issue_key("shop").name("reader").issue();
    let gate = WachtAuthLayer::new(wacht.client()).app("shop");

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    if std::env::args().any(|argument| argument == "--self-test") {
        tokio::spawn(serve(listener, gate.clone(), &BALANCERS));
        let open = TcpListener::bind("127.0.0.1:0").await?;
        let open_address = open.local_addr()?;
        tokio::spawn(serve(open, gate, &[]));
        return self_test(address, open_address, key.secret()).await;
    }
    println!("# two requests an hour for each address; curl speaks for the balancer:\n");
    println!("KEY={}", key.secret());
    println!("curl -i http://{address}/ -H \"Authorization: Bearer $KEY\" --haproxy-protocol");
    println!(
        "curl -i http://{address}/ -H \"Authorization: Bearer $KEY\" --haproxy-clientip 203.0.113.1"
    );
    serve(listener, gate, &BALANCERS).await
}

/// The header for a connection from this address.
fn header(caller: &str, version: u8) -> Result<Vec<u8>> {
    let destination: SocketAddr = match caller.starts_with('[') {
        true => "[2001:db8::1]:443".parse()?,
        false => "192.0.2.1:443".parse()?,
    };
    let address = ProxiedAddress::stream(caller.parse()?, destination);
    let (header, mut bytes) = (ProxyHeader::with_address(address), Vec::new());
    let written = match version {
        1 => header.encode_v1(&mut bytes),
        _ => header.encode_v2(&mut bytes),
    };
    written.map_err(|error| format!("{error:?}"))?;
    Ok(bytes)
}

/// The status that is answered to these bytes, or that the connection was closed without a word.
async fn send(address: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    // A connection that is closed with bytes unread is reset.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1);
    Ok(status.unwrap_or("closed").to_owned())
}

async fn self_test(balanced: SocketAddr, open: SocketAddr, key: &str) -> Result<()> {
    let request = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    let request = request.as_bytes();
    let with = |header: &[u8]| [header, request].concat();
    let mut local = Vec::new();
    let written = ProxyHeader::with_local().encode_v2(&mut local);
    written.map_err(|error| format!("{error:?}"))?;
    let (one, other) = ("203.0.113.1:40000", "203.0.113.2:40000");
    let ipv6 = "[2001:db8:1:1::1]:40000";
    let mut wrong = with(&header(one, 2)?);
    wrong[12] = 0xff;

    let mut broken = 0;
    println!("{:<44} promised  got", "case");
    for (case, to, bytes, promised) in [
        ("version 1", balanced, with(&header(one, 1)?), "200"),
        (
            "version 2, the same caller",
            balanced,
            with(&header(one, 2)?),
            "200",
        ),
        ("its third request", balanced, with(&header(one, 1)?), "429"),
        ("another caller", balanced, with(&header(other, 1)?), "200"),
        ("IPv6, version 1", balanced, with(&header(ipv6, 1)?), "200"),
        ("IPv6, version 2", balanced, with(&header(ipv6, 2)?), "200"),
        (
            "IPv6, its third request",
            balanced,
            with(&header(ipv6, 2)?),
            "429",
        ),
        ("the balancer for itself", balanced, with(&local), "200"),
        ("no header", balanced, request.to_vec(), "closed"),
        ("garbage", balanced, b"\0\x01garbage".to_vec(), "closed"),
        ("a version that there is not", balanced, wrong, "closed"),
        (
            "half a header, and no more",
            balanced,
            b"PROXY TCP4 203.".to_vec(),
            "closed",
        ),
        ("nothing", balanced, Vec::new(), "closed"),
        ("no balancer, no header", open, request.to_vec(), "200"),
        (
            "no balancer, with a header",
            open,
            with(&header(other, 1)?),
            "400",
        ),
        (
            "the address of no balancer is its own",
            open,
            request.to_vec(),
            "429",
        ),
    ] {
        let got = send(to, &bytes).await?;
        let mark = if got == promised { "" } else { "  <- not so" };
        println!("{case:<44} {promised:<8}  {got}{mark}");
        broken += usize::from(got != promised);
    }
    match broken {
        0 => Ok(()),
        _ => Err(format!("{broken} promises are not kept").into()),
    }
}
