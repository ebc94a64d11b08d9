//! What this shows: an OpenAPI document that says how the gate is passed and what it answers, and a
//! self-test that holds the document against real answers.
//!
//! ```text
//! cargo run --example axum_openapi --features openapi                  # serves, with /openapi.json
//! cargo run --example axum_openapi --features openapi -- --self-test
//! ```
//!
//! utoipa documents handlers, and the gate answers before any handler. So a `Modify` adds what the gate
//! answers to every operation, in one place: `REFUSALS`. The statuses in it are the crate's own, by
//! `RejectionKind::status`. All else that it states is compared in the self-test, each way: what the
//! document has must be in an answer, and what is in an answer must be in the document.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::{Json, Router};
use http::{Request, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::{Response as Documented, ResponseBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Object, Ref, RefOr, Type};
use utoipa::{Modify, OpenApi, ToSchema};
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{
    CredentialSource, Principal, RejectionKind, RequirePermissionsLayer, WachtAuthLayer,
};

use self_test::SelfTest;

mod self_test;

#[derive(OpenApi)]
#[openapi(
    info(title = "Shop", version = "1.0.0"),
    paths(orders, order),
    components(schemas(Problem)),
    modifiers(&Gate),
    // Either of them.
    security(("bearer" = []), ("header" = []))
)]
struct Contract;

/// Why a request was refused (RFC 9457).
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: the gate writes the body"
)]
struct Problem {
    #[schema(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    /// The limits that are reached, by the names that `RateLimit-Policy` has for them.
    #[schema(rename = "violated-policies", nullable = false)]
    violated_policies: Option<Vec<String>>,
}

const CHALLENGE: &str = "WWW-Authenticate";
const LIMITS: [&str; 2] = ["RateLimit", "RateLimit-Policy"];

/// What the gate answers in place of a handler, and with which headers.
const REFUSALS: [(RejectionKind, &str, &[&str]); 5] = [
    (
        RejectionKind::MalformedCredential,
        "More than one key, or something that is none.",
        &[CHALLENGE],
    ),
    (
        RejectionKind::InvalidKey,
        "No key, or none that is valid.",
        &[CHALLENGE],
    ),
    (
        RejectionKind::PermissionDenied,
        "The key does not permit this.",
        &[CHALLENGE, LIMITS[0], LIMITS[1]],
    ),
    (
        RejectionKind::RateLimited,
        "A limit is reached.",
        &["Retry-After", LIMITS[0], LIMITS[1]],
    ),
    (
        RejectionKind::Unavailable,
        "Whether the key is valid cannot be told now.",
        &["Retry-After"],
    ),
];

/// Adds to the document what stands in front of the handlers.
struct Gate;

impl Modify for Gate {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("X-Api-Key"));
        components.add_security_scheme("header", SecurityScheme::ApiKey(header));

        for item in document.paths.paths.values_mut() {
            for operation in operations(item) {
                for answer in operation.responses.responses.values_mut() {
                    if let RefOr::T(answer) = answer {
                        add_headers(answer, &LIMITS);
                    }
                }
                let permissions = operation.security.is_some();
                for (kind, description, headers) in REFUSALS {
                    if kind == RejectionKind::PermissionDenied && !permissions {
                        continue;
                    }
                    let problem = Ref::from_schema_name("Problem");
                    let problem = ContentBuilder::new().schema(Some(problem)).build();
                    let mut answer = ResponseBuilder::new()
                        .description(description)
                        .content("application/problem+json", problem)
                        .build();
                    add_headers(&mut answer, headers);
                    let status = kind.status().as_str().to_owned();
                    operation.responses.responses.insert(status, answer.into());
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let all = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ];
    all.into_iter().flatten()
}

fn add_headers(answer: &mut Documented, names: &[&str]) {
    for name in names {
        let header = described(name);
        answer.headers.insert((*name).to_owned(), header.into());
    }
}

fn described(name: &str) -> Header {
    let (kind, description) = match name {
        "Retry-After" => (Type::Integer, "Seconds until another try is worth while."),
        "RateLimit" => (
            Type::String,
            "What is left, and when there is more: draft-ietf-httpapi-ratelimit-headers.",
        ),
        "RateLimit-Policy" => (Type::String, "The limits that apply, by name."),
        _ => (
            Type::String,
            "Where a key belongs, and what is wrong (RFC 6750). One line for each scheme.",
        ),
    };
    HeaderBuilder::new()
        .schema(Some(Object::with_type(kind)))
        .description(Some(description))
        .build()
}

/// All orders.
#[utoipa::path(
    get,
    path = "/orders",
    responses((status = 200, description = "The orders of the caller.", body = String))
)]
async fn orders(caller: Principal) -> String {
    format!("the orders of {}", caller.key_name())
}

/// Order something.
#[utoipa::path(
    post,
    path = "/orders",
    // The permissions that the key has to have, which OpenAPI calls roles.
    security(("bearer" = ["orders:write"]), ("header" = ["orders:write"])),
    responses((status = 200, description = "It is ordered.", body = String))
)]
async fn order(caller: Principal) -> String {
    format!("ordered by {}", caller.key_name())
}

fn service(gate: WachtAuthLayer) -> Result<Router, Box<dyn Error>> {
    let gate = gate.credentials([
        CredentialSource::bearer(),
        CredentialSource::header("x-api-key")?,
    ]);
    let write = RequirePermissionsLayer::new("orders:write")?;
    let orders = axum::routing::post(order)
        .route_layer(write)
        .get(self::orders);
    let document = Contract::openapi();
    Ok(Router::new()
        .route("/orders", orders)
        .layer(gate)
        // Behind no gate: who has no key yet wants to read how one is used.
        .route("/openapi.json", axum::routing::get(async || Json(document))))
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let wacht = DevGateway::start().await;
    wacht.app("shop").scheme([DevRule::per_key(4, "hour", 1)]);
    let reader = wacht.issue_key("shop").name("reader").issue();
    let writer = wacht.issue_key("shop").name("writer");
    let writer = writer.permissions(["orders:write"]).issue();
    let unseen = wacht.issue_key("shop").issue();

    let app = service(WachtAuthLayer::new(wacht.client()).app("shop"))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let serving = async { axum::serve(listener, app).await };
    if !env::args().any(|argument| argument == "--self-test") {
        println!("curl http://{address}/openapi.json");
        println!(
            "curl -i http://{address}/orders -H 'X-Api-Key: {}'",
            reader.secret()
        );
        serving.await?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::spawn(serving);

    let mut test = SelfTest::of(address);
    let contract = test.send(Request::get("/openapi.json").body(String::new())?);
    let contract: Value = serde_json::from_str(contract.await?.body())?;
    let (reader, writer) = (reader.secret(), writer.secret());
    let bearer = |key| ("authorization", format!("Bearer {key}"));
    let header = |key: &str| ("x-api-key", key.to_owned());
    let unknown = "sk_test_0000000000000000000000000000000000000000000";
    let mut seen = BTreeSet::new();
    for (what, method, keys, promised) in [
        ("no key", "get", vec![], 401),
        ("no key, and no permission", "post", vec![], 401),
        ("unknown key", "get", vec![bearer(unknown)], 401),
        ("bearer", "get", vec![bearer(reader)], 200),
        ("header", "get", vec![header(reader)], 200),
        ("two keys", "get", vec![bearer(reader), header(writer)], 400),
        (
            "two keys, to write",
            "post",
            vec![bearer(reader), header(writer)],
            400,
        ),
        ("permitted", "post", vec![bearer(writer)], 200),
        ("not permitted", "post", vec![header(reader)], 403),
        (
            "the last within the limit",
            "get",
            vec![bearer(reader)],
            200,
        ),
        ("one too many", "get", vec![header(reader)], 429),
        ("one too many, to write", "post", vec![header(reader)], 429),
        ("Wacht is away", "get", vec![bearer(unseen.secret())], 503),
        (
            "Wacht is away, to write",
            "post",
            vec![bearer(unseen.secret())],
            503,
        ),
    ] {
        wacht.refuse_connections(promised == 503);
        let mut request = Request::builder()
            .method(method.to_ascii_uppercase().as_str())
            .uri("/orders");
        for (name, value) in keys {
            request = request.header(name, value);
        }
        let answer = test.send(request.body(String::new())?).await?;
        let status = answer.status().as_str().to_owned();
        let documented = &contract["paths"]["/orders"][method]["responses"][&status];
        let got = match compare(&contract, documented, &answer) {
            Ok(()) => status.clone(),
            Err(difference) => format!("{status}, {difference}"),
        };
        seen.insert((method, status));
        test.row(what, promised, got);
    }
    // And the document promises nothing that was not seen.
    for method in ["get", "post"] {
        let documented = contract["paths"]["/orders"][method]["responses"].as_object();
        let documented = documented.into_iter().flat_map(|answers| answers.keys());
        let unseen = documented.filter(|status| !seen.contains(&(method, (*status).clone())));
        test.row(
            &format!("answers to {method} never seen"),
            0,
            unseen.count(),
        );
    }
    let schemes = contract["components"]["securitySchemes"].as_object();
    test.row("ways to show a key", 2, schemes.map_or(0, |all| all.len()));
    Ok(test.finish())
}

/// Headers that any answer may have, which no contract lists.
const GENERAL: [&str; 6] = [
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "vary",
];

/// Compares an answer with its document; the error says where they part.
fn compare(
    contract: &Value,
    documented: &Value,
    answer: &Response<String>,
) -> Result<(), Box<dyn Error>> {
    if documented.is_null() {
        return Err("which is not documented".into());
    }
    let listed = documented["headers"].as_object();
    let listed = listed.into_iter().flat_map(|headers| headers.keys());
    let listed: BTreeSet<_> = listed.map(|name| name.to_ascii_lowercase()).collect();
    let came = answer.headers().keys().map(|name| name.as_str().to_owned());
    let came: BTreeSet<_> = came.filter(|name| !GENERAL.contains(&&**name)).collect();
    if listed != came {
        return Err(format!("with headers {came:?}, documented {listed:?}").into());
    }
    if let Some(wait) = answer.headers().get("retry-after") {
        wait.to_str()?.parse::<u32>()?;
    }
    let kind = answer.headers().get("content-type").ok_or("no type")?;
    let kind = kind.to_str()?;
    let (kind, _) = kind.split_once(';').unwrap_or((kind, ""));
    let schema = &documented["content"][kind]["schema"];
    if schema["type"] == "string" {
        return Ok(());
    }
    let named = schema["$ref"].as_str().and_then(|name| name.get(1..));
    let named = named.ok_or_else(|| format!("of type {kind}, which is not documented"))?;
    let schema = contract.pointer(named).ok_or("no such schema")?;
    let body: Value = serde_json::from_str(answer.body())?;
    let body = body.as_object().ok_or("no object")?;
    let required = schema["required"].as_array().ok_or("nothing is required")?;
    for name in required.iter().filter_map(Value::as_str) {
        if !body.contains_key(name) {
            return Err(format!("without {name}").into());
        }
    }
    for (name, value) in body {
        let kind = schema["properties"][name]["type"].as_str();
        let fits = match kind {
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64(),
            Some("array") => value.is_array(),
            _ => false,
        };
        if !fits {
            return Err(format!("where {name} is {value}, documented as {kind:?}").into());
        }
    }
    Ok(())
}
