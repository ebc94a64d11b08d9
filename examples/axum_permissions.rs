//! What this shows: the five places where permissions can be asked for.
//!
//! ```sh
//! cargo run --example axum_permissions                  # serves, and prints curl lines to paste
//! cargo run --example axum_permissions -- --self-test   # sends such requests itself
//! ```
//!
//! | place | when |
//! |---|---|
//! | `.require_with(..)` on the layer | before any rate limit is charged, by looking at the request |
//! | `RequirePermissionsLayer` on a route | after the charge, where the route is |
//! | `Permitted<P>` in a handler's signature | after the charge, and cannot be forgotten elsewhere |
//! | `caller.require(..)` in a handler | when it depends on the data |
//! | `Option<Principal>` in a handler | never refused: strangers are served too |

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing;
use http::Method;
use http::request::Parts;
use tokio::net::TcpListener;
use wacht_auth::axum::{Permission, Permitted};
use wacht_auth::dev::{DevGateway, DevKey, DevRule};
use wacht_auth::{Principal, RequirePermissionsLayer, Requirement, WachtAuthLayer};

use self_test::SelfTest;

mod self_test;

fn service(gate: WachtAuthLayer) -> Result<Router, wacht_auth::Error> {
    // Whatever changes something, wherever it is routed to.
    let write = Arc::new(Requirement::try_from("books:write")?);
    let gate = gate
        .optional()
        .require_with(move |parts| (!parts.method.is_safe()).then(|| Arc::clone(&write)));

    // On one route, with an alternative. It guards what the method router has so far, which is
    // GET alone; the gate has looked at POST.
    let read = RequirePermissionsLayer::new("books:read OR books:audit")?;
    let books = routing::get(list).route_layer(read).post(add);

    // Parsed once and handed to the handler as its state.
    let rare = Arc::new(Requirement::try_from("books:read AND books:rare")?);
    Ok(Router::new()
        .route("/", routing::get(welcome))
        .route("/books", books)
        .route("/books/{title}", routing::get(read_one))
        .route("/audit", routing::get(audit))
        .with_state(rare)
        .layer(gate))
}

/// For everybody. Were the gate forgotten, this would be a 500 and not a stranger's welcome.
async fn welcome(caller: Option<Principal>) -> String {
    match caller {
        Some(caller) => format!("welcome, {}", caller.key_name()),
        None => "welcome, stranger".to_owned(),
    }
}

async fn list() -> &'static str {
    "Dune, Emma, the First Folio"
}

async fn add(caller: Principal) -> String {
    format!("added by {}", caller.key_name())
}

struct Audit;

impl Permission for Audit {
    const REQUIREMENT: &'static str = "books:audit OR (books:read AND books:rare)";
}

/// Whoever reads this line knows who gets here, wherever it is routed to.
async fn audit(caller: Permitted<Audit>) -> String {
    format!("the loans, audited by {}", caller.key_name())
}

/// Which permissions it takes depends on the book.
async fn read_one(
    caller: Principal,
    Path(title): Path<String>,
    State(rare): State<Arc<Requirement>>,
    parts: Parts,
) -> Response {
    if title == "first-folio"
        && let Err(rejection) = caller.require(&rare)
    {
        return rejection.to_response(&parts).map(Body::from);
    }
    format!("{title}, read by {}", caller.key_name()).into_response()
}

// --- trying it out ---

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let wacht = DevGateway::start().await;
    wacht
        .app("library")
        .scheme([DevRule::per_key(100, "minute", 1)]);
    let issue = |name: &str, permissions: &[&str]| {
        let key = wacht.issue_key("library").name(name);
        key.permissions(permissions.iter().copied()).issue()
    };
    let visitor = issue("visitor", &[]);
    let reader = issue("reader", &["books:read"]);
    let curator = issue("curator", &["books:read", "books:rare", "books:write"]);
    let [visitor, reader, curator] = [&visitor, &reader, &curator].map(DevKey::secret);

    let app = service(WachtAuthLayer::new(wacht.client()).app("library"))?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = async { axum::serve(listener, app).await };

    if !env::args().any(|argument| argument == "--self-test") {
        println!("# paste these into another terminal, with any of the keys or none:\n");
        println!("VISITOR={visitor}\nREADER={reader}\nCURATOR={curator}\n");
        let url = format!("http://{address}");
        let curl = "curl -i -H \"Authorization: Bearer $READER\"";
        println!("{curl} {url}/");
        println!("{curl} {url}/books");
        println!("{curl} {url}/books -X POST");
        println!("{curl} {url}/books/emma");
        println!("{curl} {url}/books/first-folio");
        println!("{curl} {url}/audit");
        serving.await?;
        return Ok(ExitCode::SUCCESS);
    }

    tokio::spawn(serving);
    let mut test = SelfTest::of(address);
    for (what, key, promised) in [
        ("Option<Principal>, no key", None, "welcome, stranger"),
        ("Option<Principal>, reader", Some(reader), "welcome, reader"),
    ] {
        let answer = test.ask(&Method::GET, "/", key).await?;
        test.row(what, promised, answer.into_body());
    }
    let (get, post) = (&Method::GET, &Method::POST);
    let (books, emma, rare) = ("/books", "/books/emma", "/books/first-folio");
    let loans = "/audit";
    let [visitor, reader, curator] = [visitor, reader, curator].map(Some);
    for (what, method, path, key, promised) in [
        ("guard, no key", get, books, None, "401"),
        ("guard, visitor", get, books, visitor, "403 charged"),
        ("guard, reader", get, books, reader, "200 charged"),
        ("require_with, no key", post, books, None, "401"),
        ("require_with, reader", post, books, reader, "403"),
        ("require_with, curator", post, books, curator, "200 charged"),
        ("signature, no key", get, loans, None, "401"),
        ("signature, reader", get, loans, reader, "403 charged"),
        ("signature, curator", get, loans, curator, "200 charged"),
        ("handler, visitor", get, emma, visitor, "200 charged"),
        ("handler, rare, reader", get, rare, reader, "403 charged"),
        ("handler, rare, curator", get, rare, curator, "200 charged"),
    ] {
        let answer = test.ask(method, path, key).await?;
        // The answer to a request that was not charged says nothing of rate limits.
        let charged = match answer.headers().contains_key("ratelimit") {
            true => " charged",
            false => "",
        };
        let got = format!("{}{charged}", answer.status().as_u16());
        test.row(what, promised, got);
    }
    Ok(test.finish())
}
