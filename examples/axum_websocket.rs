//! What this shows: a websocket that is closed when the key that opened it is revoked, with code 1008
//! and a reason.
//!
//! ```text
//! cargo run --example axum_websocket --features browser                  # serves
//! cargo run --example axum_websocket --features browser -- --self-test
//! ```
//!
//! After the upgrade there is no request any more, and no body that a layer could end: the handler
//! itself waits for `ended` beside the messages. What is revoked elsewhere, the watch sees.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use axum::response::Response;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::models::RevokeApiKeyRequest;
use wacht_auth::{Principal, WachtAuthLayer, Watch};

const REASON: &str = "the key has ended";

async fn open(caller: Principal, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |socket| echo(caller, socket).await)
}

/// Sends back what comes, until either side has ended.
async fn echo(caller: Principal, mut socket: WebSocket) {
    let mut ended = caller.ended();
    let mut answer = Some(Message::from(format!("hello {}", caller.key_name())));
    loop {
        if let Some(answer) = answer.take()
            && socket.send(answer).await.is_err()
        {
            return;
        }
        tokio::select! {
            _ = &mut ended => {
                let close = CloseFrame { code: close_code::POLICY, reason: REASON.into() };
                let _ = socket.send(Message::Close(Some(close))).await;
                return;
            }
            message = socket.recv() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => answer = Some(message),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let wacht = DevGateway::start().await;
    let client = wacht.client();
    let gate = WachtAuthLayer::builder(client.clone())
        .watch(Watch::every(Duration::from_secs(1)))
        .build()?
        .app("shop");
    let figures = gate.handle();
    let app = Router::new().route("/socket", get(open)).layer(gate);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = async { axum::serve(listener, app).await };

    let [key, other] = [(); 2].map(|()| wacht.issue_key("shop").name("feed").issue());
    if !env::args().any(|argument| argument == "--self-test") {
        println!(
            "websocat -H 'authorization: Bearer {}' ws://{address}/socket",
            key.secret()
        );
        serving.await?;
        return Ok(ExitCode::SUCCESS);
    }

    tokio::spawn(serving);
    let mut socket = connect(address, &key).await?;
    let calls = client.api_keys();
    let why = RevokeApiKeyRequest::default();
    calls
        .revoke_api_key("shop", key.key_id(), why)
        .send()
        .await?;
    assert_eq!(closed(&mut socket).await?, (1008, REASON.to_owned()));
    println!("revoked through the client: closed at once");

    let mut socket = connect(address, &other).await?;
    let watch = figures.stats().watch.ok_or("there is a watch")?;
    // And two calls, of 2 s at most.
    let bound = watch.longest_unseen + Duration::from_secs(4);
    wacht.revoke(other.key_id());
    let closed = tokio::time::timeout(bound, closed(&mut socket)).await??;
    assert_eq!(closed, (1008, REASON.to_owned()));
    println!("revoked elsewhere: closed within {bound:?}");
    Ok(ExitCode::SUCCESS)
}

/// Opens a websocket and reads the greeting.
async fn connect(address: SocketAddr, key: &DevKey) -> Result<TcpStream, Box<dyn Error>> {
    let mut socket = TcpStream::connect(address).await?;
    let handshake = format!(
        "GET /socket HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        key.secret()
    );
    socket.write_all(handshake.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    assert_eq!(frame(&mut socket).await?, (TEXT, b"hello feed".to_vec()));
    Ok(socket)
}

/// The code and the reason that the server closes it with.
async fn closed(socket: &mut TcpStream) -> Result<(u16, String), Box<dyn Error>> {
    let (opcode, close) = frame(socket).await?;
    assert_eq!(opcode, CLOSE);
    let (code, reason) = close.split_first_chunk().ok_or("no code")?;
    Ok((
        u16::from_be_bytes(*code),
        String::from_utf8(reason.to_vec())?,
    ))
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// One short frame of a server (RFC 6455, section 5.2): its opcode, and what is in it.
async fn frame(socket: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let opcode = socket.read_u8().await? & 0x0f;
    let length = socket.read_u8().await?;
    let mut payload = vec![0; usize::from(length)];
    socket.read_exact(&mut payload).await?;
    Ok((opcode, payload))
}
