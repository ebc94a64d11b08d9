//! Where keys come from: every source, alone and together, and what a caller is told who missed it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{OriginalUri, Request, WebSocketUpgrade};
use axum::routing::{any, get};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use wacht_auth::dev::{DevKey, DevRule};
use wacht_auth::{
    CredentialSource, Principal, RejectionKind, RequirePermissionsLayer, WachtAuthLayer,
};

use crate::raw::{RawAnswer, send, serve};
use crate::scene::{Scene, made_up};

const GET: &str = "GET /orders HTTP/1.1";

fn header(name: &str) -> CredentialSource {
    CredentialSource::header(name).unwrap()
}

fn api_key() -> CredentialSource {
    header("authorization").scheme("ApiKey").unwrap()
}

fn cookie() -> CredentialSource {
    CredentialSource::cookie("api_key").unwrap()
}

fn query() -> CredentialSource {
    CredentialSource::query("api_key").unwrap()
}

fn protocol() -> CredentialSource {
    CredentialSource::websocket_protocol("key.").unwrap()
}

fn basic(user_pass: &str) -> String {
    format!("authorization: Basic {}", BASE64_STANDARD.encode(user_pass))
}

/// Answers with all that the handler sees of the request, its caller first.
async fn seen(request: Request) -> String {
    let (parts, _) = request.into_parts();
    let caller = parts.extensions.get::<Principal>();
    let name = caller.map_or("nobody", |caller| caller.key_name());
    let original = parts.extensions.get::<OriginalUri>();
    let original = original.map(|OriginalUri(uri)| uri.to_string());
    let lines = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        format!("{name}: {value}")
    });
    let lines: Vec<String> = lines.collect();
    let original = original.unwrap_or_default();
    format!("{name}\n{}\n{original}\n{}", parts.uri, lines.join("\n"))
}

fn echo(layer: WachtAuthLayer) -> Router {
    Router::new().route("/orders", any(seen)).layer(layer)
}

fn line(target: &str) -> String {
    format!("GET {target} HTTP/1.1")
}

#[tokio::test]
async fn each_source_takes_its_key_and_no_other() {
    let scene = Scene::new().await;
    let key = scene.key();
    let key = key.secret();
    let encoded = key.replace('_', "%5f").replace('a', "%61");
    let places: [(CredentialSource, String, Vec<String>); 11] = [
        (
            CredentialSource::bearer(),
            "/orders".into(),
            vec![format!("authorization: bearer {key}")],
        ),
        (
            api_key(),
            "/orders".into(),
            vec![format!("Authorization: APIKEY  {key}")],
        ),
        (
            header("authorization"),
            "/orders".into(),
            vec![format!("authorization: {key}")],
        ),
        (
            header("x-auth").scheme("Token").unwrap(),
            "/orders".into(),
            vec![format!("x-auth: token {key}")],
        ),
        (
            header("x-api-key"),
            "/orders".into(),
            vec![format!("X-Api-Key:{key}\t")],
        ),
        (
            CredentialSource::basic(),
            "/orders".into(),
            vec![basic(&format!("{key}:"))],
        ),
        (
            cookie(),
            "/orders".into(),
            vec![format!("cookie: a=1; api_key={key};b=2")],
        ),
        (
            cookie(),
            "/orders".into(),
            vec!["cookie: a=1".into(), format!("cookie: api_key={key}")],
        ),
        (
            query(),
            format!("/orders?a=1&api%5Fkey={encoded}&b=+"),
            vec![],
        ),
        (
            query(),
            format!("http://localhost/orders?api_key={key}"),
            vec![],
        ),
        (
            protocol(),
            "/orders".into(),
            vec![format!("sec-websocket-protocol: key.{key}, chat.v1")],
        ),
    ];
    for (source, ..) in &places {
        let address = serve(echo(scene.layer().credentials(source.clone()))).await;
        for (other, target, headers) in &places {
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let answer = send(address, &line(target), &headers).await;
            let is_ours = format!("{source:?}") == format!("{other:?}");
            if is_ours {
                assert_eq!(answer.status, 200, "{source:?} {headers:?}: {answer:?}");
                assert!(answer.body.starts_with("ci\n"), "{answer:?}");
            } else {
                let status = answer.status;
                assert!(
                    status == 401 || status == 400,
                    "{source:?} {other:?}: {answer:?}"
                );
            }
            assert!(is_ours || !answer.body.contains(key), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn basic_takes_the_part_that_could_be_a_key() {
    let scene = Scene::new().await;
    let (one, two) = (scene.key(), scene.key());
    let (one, two) = (one.secret(), two.secret());
    let address = serve(echo(scene.layer().credentials(CredentialSource::basic()))).await;
    for (user_pass, status) in [
        (format!("{one}:"), 200),
        (format!(":{one}"), 200),
        (format!("api:{one}"), 200),
        (format!("{one}:x"), 200),
        (format!("{one}:{one}"), 200),
        (format!("{one}:{two}"), 400),
        (one.to_owned(), 400),
        ("alice:secret".to_owned(), 401),
        (format!("{}:", made_up(1)), 401),
        (":".to_owned(), 400),
        ("\u{fc}:\n".to_owned(), 400),
    ] {
        let answer = send(address, GET, &[&basic(&user_pass)]).await;
        assert_eq!(answer.status, status, "{user_pass}: {answer:?}");
    }
    for broken in ["Basic", "Basic ", "Basic *", "Basic c2s=c2s=", "Basic a b"] {
        let answer = send(address, GET, &[&format!("authorization: {broken}")]).await;
        assert_eq!(answer.status, 400, "{broken}: {answer:?}");
    }
    // Of a pair that is none of a key nothing was asked.
    let asked = scene.wacht.journal().checks();
    send(address, GET, &[&basic("bob:hunter2")]).await;
    assert_eq!(scene.wacht.journal().checks(), asked);
}

#[tokio::test]
async fn one_key_may_come_in_several_places_and_two_keys_in_none() {
    let scene = Scene::new().await;
    let (one, two) = (scene.key(), scene.key());
    let (one, two) = (one.secret(), two.secret());
    let all = || {
        [
            CredentialSource::bearer(),
            header("x-api-key"),
            cookie(),
            query(),
            protocol(),
        ]
    };
    let layer = scene.layer().credentials(all()).strip_credential();
    let address = serve(echo(layer)).await;
    let headers = |key: &str| {
        [
            format!("authorization: Bearer {key}"),
            format!("x-api-key: {key}"),
            format!("cookie: a=1; api_key={key}; b=2"),
            format!("sec-websocket-protocol: chat.v1, key.{key}, chat.v2"),
        ]
    };
    let target = format!("/orders?a=1&api_key={one}&b=2");
    let answer = send(
        address,
        &line(&target),
        &headers(one).each_ref().map(String::as_str),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer.body.starts_with("ci\n/orders?a=1&b=2\n"),
        "{answer:?}"
    );
    for left in [
        "cookie: a=1; b=2",
        "sec-websocket-protocol: chat.v1, chat.v2",
    ] {
        assert!(answer.body.contains(left), "{answer:?}");
    }
    assert!(!answer.body.contains(one), "{answer:?}");

    for place in headers(two) {
        let answer = send(address, &line(&target), &[&place]).await;
        assert_eq!(answer.status, 400, "{place}: {answer:?}");
        let twice = headers(one)
            .into_iter()
            .find(|line| line[..5] == place[..5])
            .unwrap();
        let answer = send(address, GET, &[&twice, &twice]).await;
        assert_eq!(answer.status, 400, "{twice} twice: {answer:?}");
    }
    for twice in [
        format!("/orders?api_key={one}&api_key={one}"),
        format!("/orders?api_key={one}&a=1&api%5Fkey="),
    ] {
        assert_eq!(
            send(address, &line(&twice), &[]).await.status,
            400,
            "{twice}"
        );
    }
}

/// What the closures of a layer were shown.
type Shown = Arc<Mutex<Vec<String>>>;

#[tokio::test]
async fn a_key_of_the_query_is_gone_before_anything_inside_looks() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(3, "minute", 1)]);
    let key = scene.key();
    let secret = key.secret();
    let shown = Shown::default();
    let tell = {
        let shown = Arc::clone(&shown);
        move |parts: &http::request::Parts| {
            let original = parts.extensions.get::<OriginalUri>();
            let text = format!(
                "{parts:?} {} {:?}",
                parts.uri,
                original.map(|uri| uri.0.to_string())
            );
            shown
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(text);
        }
    };
    let (skip, resource, require, reject) = (tell.clone(), tell.clone(), tell.clone(), tell);
    let layer = scene
        .layer()
        .credentials(query())
        .skip(move |parts| {
            skip(parts);
            parts.uri.path().ends_with("/open")
        })
        .resource(move |parts| {
            resource(parts);
            parts.uri.to_string().into()
        })
        .require_with(move |parts| {
            require(parts);
            None
        })
        .on_reject(move |rejection, parts| {
            reject(parts);
            rejection.to_response(parts)
        });
    let routes = Router::new()
        .route("/orders", get(seen))
        .route("/open", get(seen))
        .layer(layer);
    let address = serve(Router::new().nest("/api", routes)).await;

    let orders = line(&format!("/api/orders?api_key={secret}&since=7"));
    let answer = send(address, &orders, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = "ci\n/orders?since=7\n/api/orders?since=7\n";
    assert!(answer.body.starts_with(expected), "{answer:?}");

    let open = line(&format!("/api/open?%61pi_key={secret}"));
    let answer = send(address, &open, &[]).await;
    assert!(
        answer.body.starts_with("nobody\n/open\n/api/open\n"),
        "{answer:?}"
    );

    let unknown = made_up(1);
    let bad = line(&format!("/api/orders?api_key={unknown}"));
    assert_eq!(send(address, &bad, &[]).await.status, 401);

    let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(shown.len() >= 6, "{shown:#?}");
    let journal = format!("{:?}", scene.wacht.journal().checks_asked());
    for text in shown.iter().chain([&journal]) {
        assert!(!text.contains(secret) && !text.contains(&unknown), "{text}");
    }
    let resources: Vec<String> = scene
        .wacht
        .journal()
        .checks_asked()
        .into_iter()
        .map(|check| check.resource)
        .collect();
    assert_eq!(resources, ["/orders?since=7", "/orders"]);
}

#[tokio::test]
async fn gates_further_in_find_the_key_that_an_outer_one_has_taken_out() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene
        .layer()
        .app("orders")
        .credentials([query(), protocol()]);
    // The outer gate lets the route pass unseen, the inner one does not.
    let outer = layer.clone().skip(|_| true);
    let inner = Router::new()
        .route("/orders", get(seen))
        .layer(layer.clone());
    let address = serve(inner.layer(outer)).await;
    let target = format!("/orders?api_key={}", key.secret());
    let answer = send(address, &line(&target), &[]).await;
    assert!(answer.body.starts_with("ci\n/orders\n"), "{answer:?}");
    let protocols = format!("sec-websocket-protocol: chat, key.{}", key.secret());
    let answer = send(address, GET, &[&protocols]).await;
    assert!(answer.body.starts_with("ci\n"), "{answer:?}");
    assert_eq!(send(address, GET, &[]).await.status, 401);

    // Forgotten between the two, the key is verified again.
    let forget = {
        let handle = layer.handle();
        axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
            handle.invalidate_all();
            next.run(request)
        })
    };
    let inner = Router::new()
        .route("/orders", get(seen))
        .layer(layer.clone());
    let address = serve(inner.layer(forget).layer(layer)).await;
    let before = scene.wacht.journal().checks();
    let answer = send(address, &line(&target), &[]).await;
    assert!(answer.body.starts_with("ci\n/orders\n"), "{answer:?}");
    assert_eq!(scene.wacht.journal().checks() - before, 1);
}

#[tokio::test]
async fn a_websocket_is_opened_with_a_protocol_that_is_not_the_key() {
    let scene = Scene::new().await;
    let key = scene.key();
    let live = async |upgrade: WebSocketUpgrade, caller: Principal| {
        assert_eq!(caller.key_name(), "ci");
        upgrade
            .protocols(["chat.v2", "chat.v1"])
            .on_upgrade(async |_| {})
    };
    let layer = scene.layer().credentials(protocol());
    let app = Router::new().route("/live", get(live)).layer(layer);
    let address = serve(app).await;
    let handshake = async |protocols: &[String]| {
        let mut headers = vec![
            "upgrade: websocket".to_owned(),
            "connection: upgrade, close".to_owned(),
            "sec-websocket-version: 13".to_owned(),
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        ];
        headers.extend(
            protocols
                .iter()
                .map(|line| format!("sec-websocket-protocol: {line}")),
        );
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        send(address, "GET /live HTTP/1.1", &headers).await
    };
    let ours = format!("key.{}", key.secret());
    for offered in [
        vec![format!("{ours}, chat.v1")],
        vec![format!("chat.v1,{ours}")],
        vec![ours.clone(), "chat.v1".to_owned()],
    ] {
        let answer = handshake(&offered).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.all("sec-websocket-protocol"), ["chat.v1"]);
        assert!(!format!("{answer:?}").contains(key.secret()));
    }
    for (offered, status) in [
        (vec![ours.clone()], 400),
        (vec![ours.clone(), ours.clone(), "chat.v1".to_owned()], 400),
        (vec!["chat.v1, key.".to_owned()], 400),
        (vec!["chat.v1".to_owned()], 401),
        (vec![format!("chat.v1, KEY.{}", key.secret())], 401),
        (vec![], 401),
    ] {
        let answer = handshake(&offered).await;
        assert_eq!(answer.status, status, "{offered:?} {answer:?}");
        assert!(answer.all("sec-websocket-protocol").is_empty());
    }
}

// --- what a caller is told ---

fn detail(answer: &RawAnswer) -> String {
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_source_has_its_challenge_and_the_detail_says_where_the_key_belongs() {
    let scene = Scene::new().await;
    let cases: [(Vec<CredentialSource>, &[&str], &str); 9] = [
        (
            vec![CredentialSource::bearer()],
            &[r#"Bearer realm="api""#],
            "as `Authorization: Bearer <key>`",
        ),
        (
            vec![api_key()],
            &[r#"ApiKey realm="api""#],
            "as `Authorization: ApiKey <key>`",
        ),
        (
            vec![header("Authorization")],
            &[r#"ApiKey realm="api", header="authorization""#],
            "as `Authorization: <key>`",
        ),
        (
            vec![header("X-Api-Key")],
            &[r#"ApiKey realm="api", header="x-api-key""#],
            "as `x-api-key: <key>`",
        ),
        (
            vec![header("x-auth").scheme("Token").unwrap()],
            &[r#"Token realm="api", header="x-auth""#],
            "as `x-auth: Token <key>`",
        ),
        (
            vec![CredentialSource::basic()],
            &[r#"Basic realm="api""#],
            "as user name or password of `Authorization: Basic`",
        ),
        (
            vec![cookie()],
            &[r#"ApiKey realm="api", cookie="api_key""#],
            "in the cookie `api_key`",
        ),
        (
            vec![query(), protocol()],
            &[
                r#"ApiKey realm="api", query="api_key""#,
                r#"ApiKey realm="api", protocol="key.""#,
            ],
            "in the query parameter `api_key` or as the websocket protocol `key.<key>` beside another one",
        ),
        (
            vec![CredentialSource::bearer(), header("x-api-key"), cookie()],
            &[
                r#"Bearer realm="api""#,
                r#"ApiKey realm="api", header="x-api-key""#,
                r#"ApiKey realm="api", cookie="api_key""#,
            ],
            "as `Authorization: Bearer <key>`, as `x-api-key: <key>` or in the cookie `api_key`",
        ),
    ];
    for (sources, challenges, place) in cases {
        let address = serve(echo(scene.layer().credentials(sources))).await;
        let answer = send(address, GET, &[]).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.all("www-authenticate"), challenges);
        let missing = format!("This request carries no API key: send it {place}.");
        assert_eq!(detail(&answer), missing);
        let grpc = ["content-type: application/grpc", "te: trailers"];
        let answer = send(address, "POST /orders HTTP/1.1", &grpc).await;
        assert_eq!(answer.header("grpc-message"), missing);
        assert!(answer.all("www-authenticate").is_empty());
    }
}

#[tokio::test]
async fn a_key_in_the_wrong_place_is_told_the_right_one() {
    let scene = Scene::new().await;
    let key = scene.key();
    let key = key.secret();
    let wrong = [
        ("/orders".to_owned(), format!("authorization: {key}")),
        ("/orders".to_owned(), format!("authorization: Token {key}")),
        ("/orders".to_owned(), basic(&format!("{key}:"))),
        ("/orders".to_owned(), format!("x-other: {key}")),
        ("/orders".to_owned(), format!("cookie: key={key}")),
        (format!("/orders?key={key}"), "accept: */*".to_owned()),
    ];
    for (source, place) in [
        (CredentialSource::bearer(), "`Authorization: Bearer <key>`"),
        (header("x-api-key"), "`x-api-key: <key>`"),
        (api_key(), "`Authorization: ApiKey <key>`"),
    ] {
        let address = serve(echo(scene.layer().credentials(source))).await;
        for (target, header) in &wrong {
            let answer = send(address, &line(target), &[header]).await;
            assert_eq!(answer.status, 401, "{header}: {answer:?}");
            assert!(detail(&answer).contains(place), "{header}: {answer:?}");
        }
    }
    // A word before the key, where none is asked for.
    let address = serve(echo(scene.layer().credentials(header("x-api-key")))).await;
    let answer = send(address, GET, &[&format!("x-api-key: Bearer {key}")]).await;
    assert_eq!(answer.status, 400);
    assert!(detail(&answer).contains("`x-api-key: <key>`"), "{answer:?}");
}

#[tokio::test]
async fn errors_are_named_in_every_challenge_that_has_a_word_for_them() {
    let scene = Scene::new().await;
    let key = scene.key();
    let sources = [CredentialSource::basic(), header("x-api-key")];
    let layer = scene.layer().realm("shop").credentials(sources);
    let guard = RequirePermissionsLayer::new("orders:write").unwrap();
    let app = Router::new()
        .route("/orders", any(seen))
        .route("/guarded", get(seen).route_layer(guard))
        .layer(layer);
    let address = serve(app).await;
    let bare = r#"ApiKey realm="shop", header="x-api-key""#;
    let unknown = format!("x-api-key: {}", made_up(1));
    let answer = send(address, GET, &[&unknown]).await;
    let invalid = format!(r#"{bare}, error="invalid_token""#);
    assert_eq!(
        answer.all("www-authenticate"),
        [r#"Basic realm="shop""#, &*invalid]
    );
    let answer = send(address, GET, &[&unknown, &unknown]).await;
    let malformed = format!(r#"{bare}, error="invalid_request""#);
    assert_eq!(answer.all("www-authenticate"), [malformed]);
    let known = format!("x-api-key: {}", key.secret());
    let answer = send(address, "GET /guarded HTTP/1.1", &[&known]).await;
    let denied = format!(r#"{bare}, error="insufficient_scope", scope="orders:write""#);
    assert_eq!(
        (answer.status, answer.all("www-authenticate")),
        (403, vec![&*denied])
    );
}

// --- caches ---

#[tokio::test]
async fn shared_caches_are_told_of_keys_that_they_do_not_know() {
    let scene = Scene::new().await;
    let key = scene.key();
    let key = key.secret();
    let own = async || ([("cache-control", "max-age=60"), ("vary", "accept")], "own");
    let app = |sources: Vec<CredentialSource>| {
        let layer = scene
            .layer()
            .credentials(sources)
            .skip(|parts| parts.uri.path() == "/open");
        let routes = Router::new()
            .route("/orders", get(seen))
            .route("/own", get(own));
        routes.route("/open", get(seen)).layer(layer)
    };
    let get = async |sources: Vec<CredentialSource>, target: &str, header: &str| {
        let answer = send(serve(app(sources)).await, &line(target), &[header]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let cache = answer.header("cache-control").to_owned();
        (cache, answer.all("vary").join("|"))
    };
    let none = || (String::new(), String::new());
    let private = |vary: &str| ("private".to_owned(), vary.to_owned());
    let bearer = format!("authorization: Bearer {key}");
    for (source, header) in [
        (CredentialSource::bearer(), &bearer),
        (api_key(), &format!("authorization: ApiKey {key}")),
        (CredentialSource::basic(), &basic(&format!("{key}:"))),
    ] {
        assert_eq!(get(vec![source], "/orders", header).await, none());
    }
    let in_query = format!("/orders?api_key={key}");
    let x = format!("x-api-key: {key}");
    let protocols = format!("sec-websocket-protocol: a, key.{key}");
    let in_cookie = format!("cookie: api_key={key}");
    let fields = get(vec![header("x-api-key")], "/orders", &x).await;
    assert_eq!(fields, private("x-api-key"));
    let fields = get(vec![cookie()], "/orders", &in_cookie).await;
    assert_eq!(fields, private("cookie"));
    let fields = get(vec![query()], &in_query, "accept: */*").await;
    assert_eq!(fields, private(""));
    let fields = get(vec![protocol()], "/orders", &protocols).await;
    assert_eq!(fields, private("sec-websocket-protocol"));
    let either = vec![CredentialSource::bearer(), query(), header("x-api-key")];
    let fields = get(either.clone(), "/orders", &bearer).await;
    assert_eq!(fields, private("authorization, x-api-key"));
    // Also where nobody looked at the key; and what the service says of caches stands.
    let fields = get(either, "/open", "accept: */*").await;
    assert_eq!(fields, private("authorization, x-api-key"));
    let fields = get(vec![header("x-api-key")], "/own", &x).await;
    assert_eq!(
        fields,
        ("max-age=60".to_owned(), "accept|x-api-key".to_owned())
    );

    // What a caller without a key was given is not for one with a bad key.
    for layer in [
        scene.layer().optional(),
        scene
            .layer()
            .optional()
            .credentials([CredentialSource::bearer()]),
    ] {
        let answer = send(serve(echo(layer)).await, GET, &[]).await;
        assert_eq!(answer.header("vary"), "authorization");
        assert_eq!(answer.header("cache-control"), "");
    }

    // A refusal is stored by nobody, and varies where it can.
    let answer = send(serve(app(vec![query()])).await, GET, &[]).await;
    assert_eq!(
        (answer.header("cache-control"), answer.header("vary")),
        ("no-store", "")
    );
}

// --- tokens of others ---

const JWT: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.\
                   c2lnbmF0dXJlLXRoYXQtbm9ib2R5LWNoZWNrcy1oZXJlLi4uLi4uLi4uLi4";

#[tokio::test]
async fn a_foreign_bearer_goes_on_to_the_layer_that_knows_it() {
    let scene = Scene::new().await;
    let key = scene.key();
    let theirs = format!("authorization: Bearer {JWT}");
    let ours = format!("authorization: Bearer {}", key.secret());
    let layer = scene.layer().strip_credential();

    // Without the option it is a bad key, and one that was looked up.
    let address = serve(echo(layer.clone().optional())).await;
    let answer = send(address, GET, &[&theirs]).await;
    assert_eq!((answer.status, scene.wacht.journal().checks()), (401, 1));
    scene.wacht.journal().clear();

    for layer in [
        layer.clone().ignore_foreign().optional(),
        layer
            .clone()
            .ignore_foreign()
            .optional()
            .credentials([CredentialSource::bearer(), query()]),
    ] {
        let address = serve(echo(layer)).await;
        let answer = send(address, GET, &[&theirs]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.starts_with("nobody\n"), "{answer:?}");
        assert!(
            answer.body.contains(&theirs),
            "it is not ours to strip: {answer:?}"
        );
        assert_eq!(scene.wacht.journal().checks(), 0);
        let answer = send(address, GET, &[&ours]).await;
        assert!(answer.body.starts_with("ci\n"), "{answer:?}");
        assert!(!answer.body.contains(key.secret()), "{answer:?}");
        let answer = send(address, GET, &[&theirs, &ours]).await;
        assert_eq!(answer.status, 400, "two lines are two credentials");
        scene.wacht.journal().clear();
    }

    let address = serve(echo(layer.ignore_foreign())).await;
    let answer = send(address, GET, &[&theirs]).await;
    assert_eq!((answer.status, scene.wacht.journal().checks()), (401, 0));
    assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="api""#);
    assert!(detail(&answer).contains("carries no API key"), "{answer:?}");
}

#[tokio::test]
async fn two_keys_in_one_line_are_none() {
    let scene = Scene::new().await;
    let (a, b) = (scene.key(), scene.key());
    let (a, b) = (a.secret(), b.secret());
    let good = format!("x-api-key: {a}");
    let layer = scene.layer().ignore_foreign().optional();
    let bare = header("authorization");
    for (sources, line) in [
        (
            vec![CredentialSource::bearer()],
            format!("Bearer {b}, Bearer {a}"),
        ),
        (
            vec![CredentialSource::bearer()],
            format!("Bearer {JWT}, Bearer {b}"),
        ),
        (
            vec![CredentialSource::bearer(), bare.clone()],
            format!("{b}, {a}"),
        ),
        (
            vec![CredentialSource::bearer(), bare.clone()],
            format!("{b},{a}"),
        ),
        (
            vec![CredentialSource::bearer(), bare.clone()],
            format!("{b} {a}"),
        ),
        (vec![api_key(), bare], format!("{b}, ApiKey {a}")),
    ] {
        let line = format!("authorization: {line}");
        let sources = sources.into_iter().chain([header("x-api-key")]);
        let address = serve(echo(layer.clone().credentials(sources))).await;
        for lines in [vec![&*line], vec![&*line, &*good]] {
            let answer = send(address, GET, &lines).await;
            assert_eq!(answer.status, 400, "{lines:?}: {answer:?}");
        }
        assert_eq!(send(address, GET, &[&good]).await.status, 200);
    }
}

#[tokio::test]
async fn a_key_is_taken_out_of_the_referrer_too() {
    let scene = Scene::new().await;
    let key = scene.key();
    let key = key.secret();
    let layer = scene.layer().optional().credentials(query());
    let address = serve(echo(layer)).await;
    for (referrer, left) in [
        (
            format!("https://example.com/report?page=2&api_key={key}"),
            "https://example.com/report?page=2",
        ),
        (
            format!("https://example.com/report?api%5Fkey={key}"),
            "https://example.com/report",
        ),
        (
            "https://example.com/report?page=2".to_owned(),
            "https://example.com/report?page=2",
        ),
        ("about:blank?x".to_owned(), "about:blank?x"),
    ] {
        let answer = send(address, GET, &[&format!("referer: {referrer}")]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = format!("referer: {left}");
        assert!(answer.body.lines().any(|line| line == seen), "{answer:?}");
        assert!(answer.body.starts_with("nobody\n"), "a page is no caller");
    }
}

#[test]
fn a_parameter_that_no_url_can_name_is_refused_at_once() {
    for name in ["a+b", "k%31", "a&b", "a#b", "a b", ""] {
        assert!(CredentialSource::query(name).is_err(), "{name:?}");
    }
    assert!(CredentialSource::query("api-key.v1~").is_ok());
}

// --- outside of requests on the wire ---

#[tokio::test]
async fn a_handle_reads_a_key_from_every_source_and_leaves_the_parts_alone() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene
        .layer()
        .app("orders")
        .credentials([query(), protocol()]);
    let target = format!("/orders?api_key={}", key.secret());
    let (parts, ()) = http::Request::get(&target).body(()).unwrap().into_parts();
    for _ in 0..2 {
        let caller = layer.handle().authenticate(&parts).await.unwrap();
        assert_eq!(caller.key_name(), "ci");
    }
    assert_eq!(parts.uri.to_string(), target);

    let none = layer.credentials([]).handle();
    let refused = none.authenticate(&parts).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Misconfigured);
}

#[tokio::test]
async fn no_debug_text_holds_a_key_that_was_taken_out() {
    let scene = Scene::new().await;
    let key: DevKey = scene.key();
    let layer = scene.layer().credentials([query(), protocol(), cookie()]);
    let shown = async |request: Request| {
        let (parts, _) = request.into_parts();
        format!("{parts:?} {:?}", parts.extensions)
    };
    let app = Router::new()
        .route("/orders", get(shown))
        .layer(layer.clone());
    let address = serve(app).await;
    let target = format!("/orders?api_key={}", key.secret());
    let headers = [
        format!("sec-websocket-protocol: a, key.{}", key.secret()),
        format!("cookie: api_key={}", key.secret()),
    ];
    let answer = send(
        address,
        &line(&target),
        &headers.each_ref().map(String::as_str),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for text in [
        answer.body,
        format!("{layer:?}"),
        format!("{:?}", layer.handle()),
    ] {
        assert!(!text.contains(key.secret()), "{text}");
    }
}
