//! Keys stay where they belong: in no log, no text of any type, no URL, nobody else's hands.

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt::{Debug, Display, Write as _};
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;
use wacht_auth::dev::{DevGateway, DevRule, Fault, On};
use wacht_auth::models::CheckRequest;
use wacht_auth::{
    AuthContext, AuthHandle, CredentialSource, Error, Limits, RejectionKind, WachtAuthLayer,
    WachtClient,
};

use crate::scene::{Echo, Met, Scene, anonymous, get, made_up, met};

/// Every log line of this thread, of all targets and levels.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to log this thread, for as long as the guard lives.
    pub fn begin() -> (Self, DefaultGuard) {
        // While tracing knows of one subscriber alone, a line of code that is met first on the
        // thread of another test is asked about there, and stays unheard. So there is a second.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| subscriber(io::sink).into());
        LazyLock::force(&SECOND);
        let log = Self::default();
        let guard = subscriber(log.clone()).set_default();
        (log, guard)
    }

    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(writer)
        .finish()
}

/// The keys that must not show, and all text in which they must not.
#[derive(Default)]
struct Watch {
    secrets: Vec<String>,
    text: String,
}

impl Watch {
    fn secret(&mut self, secret: &str) -> String {
        self.secrets.push(secret.to_owned());
        secret.to_owned()
    }

    fn debug(&mut self, what: &impl Debug) {
        writeln!(self.text, "{what:?} {what:#?}").unwrap();
    }

    fn display(&mut self, what: &impl Display) {
        writeln!(self.text, "{what}").unwrap();
    }

    fn error(&mut self, error: &Error) {
        self.debug(error);
        self.display(error);
        self.debug(&error.body());
        let mut source = error.source();
        while let Some(cause) = source {
            writeln!(self.text, "{cause} {cause:?}").unwrap();
            source = cause.source();
        }
    }

    /// What the caller got, and what a service around the gate can see of it.
    fn met(&mut self, met: &Met) {
        self.debug(met);
        if let Some(refusal) = &met.refusal {
            self.display(&refusal.message());
        }
    }

    fn assert_hidden_in(&self, where_: &str, text: &str) {
        for secret in &self.secrets {
            for form in forms(secret) {
                if let Some(at) = text.find(&form) {
                    let line = text[..at].lines().count();
                    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
                    let before: String = text[start..at].chars().take(400).collect();
                    panic!("a key shows in {where_}, line {line}: {before}…");
                }
            }
        }
    }
}

/// A key as it might show: whole, without its prefix, and as a list of bytes.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    if let Some(start) = secret.len().checked_sub(43) {
        let random = &secret[start..];
        let bytes: Vec<String> = random.bytes().map(|byte| byte.to_string()).collect();
        forms.push(random.to_owned());
        // Enough of it to be nothing else, and short enough for a list broken off early.
        forms.push(bytes[..16].join(", "));
        forms.push(bytes[..16].join(",\n"));
    }
    forms
}

#[test]
fn the_watch_sees_a_key_in_each_of_its_forms() {
    let key = made_up(1) + "abc";
    let watch = Watch {
        secrets: vec![key.clone()],
        text: String::new(),
    };
    let tail = &key[key.len() - 43..];
    for text in [
        format!("key={key}"),
        format!("…{tail}"),
        format!("{:?}", tail.as_bytes()),
    ] {
        let found = std::panic::catch_unwind(|| watch.assert_hidden_in("a test", &text));
        assert!(found.is_err(), "{text}");
    }
    watch.assert_hidden_in("a test", &key[..key.len() - 1]);
}

#[tokio::test]
async fn no_key_shows_in_any_log_line_or_text() {
    let (log, _logging) = Log::begin();
    let mut watch = Watch::default();

    let scene = Scene::new().await;
    scene.wacht.set_scheme(
        "orders",
        [
            DevRule::per_key(3, "hour", 1).endpoints(["/items"]),
            DevRule::per_app(10_000, "hour", 1),
        ],
    );
    watch.secret(scene.wacht.management_key());
    let client = scene.wacht.client();
    let layer = WachtAuthLayer::builder(client.clone())
        .clock(&scene.clock)
        .build()
        .unwrap()
        .credentials([
            CredentialSource::bearer(),
            CredentialSource::header("x-api-key").unwrap(),
            CredentialSource::query("api_key").unwrap(),
            CredentialSource::basic(),
        ])
        .accept_oauth_tokens();
    let handle = layer.handle();
    let echo = Echo::behind(layer.clone());

    // What can be shown before anything was asked.
    watch.debug(&client);
    watch.debug(&client.gateway());
    watch.debug(&client.api_keys());
    watch.debug(&WachtClient::builder(scene.wacht.management_key()));
    watch.debug(&layer);
    watch.debug(&handle);

    good_and_bad_keys(&scene, &echo, &mut watch).await;
    in_other_places(&scene, &echo, &mut watch).await;
    watch.debug(&handle.stats());
    by_the_handle(&scene, &handle, &mut watch).await;
    all_kinds_of_failure(&scene, &layer, &client, &mut watch).await;
    by_the_gateways_limits(&scene, &mut watch).await;
    clients_that_cannot_be_used(&mut watch).await;
    watch.debug(&layer);
    watch.debug(&handle);
    watch.debug(&handle.stats());

    let logged = log.text();
    // Were it not listening, it would prove nothing: to us, to what is below, at every level.
    for heard in [
        "wacht_auth::gate",
        "hyper_util::client",
        "reqwest::connect",
        "TRACE",
        "WARN",
        "ERROR",
    ] {
        assert!(logged.contains(heard), "nothing of {heard} in the log");
    }
    watch.assert_hidden_in("the log", &logged);
    watch.assert_hidden_in("a text", &watch.text);
    the_journal_has_no_keys(&scene.wacht, &watch);
}

async fn good_and_bad_keys(scene: &Scene, echo: &Echo, watch: &mut Watch) {
    let good = scene.key();
    watch.secret(good.secret());
    // Fresh, limited, stale with a refresh behind it, past that.
    for wait in [0, 0, 0, 0, 31, 31, 61] {
        scene.clock.advance(Duration::from_secs(wait));
        let met = echo.get(good.secret()).await;
        watch.met(&met);
    }
    let token = scene.wacht.issue_token("orders").issue();
    watch.secret(token.secret());
    watch.met(&echo.get(token.secret()).await);

    let revoked = scene.key();
    watch.secret(revoked.secret());
    watch.met(&echo.get(revoked.secret()).await);
    scene.wacht.revoke(revoked.key_id());
    scene.clock.advance(Duration::from_secs(61));
    let met = echo.get(revoked.secret()).await;
    met.assert_refused(RejectionKind::InvalidKey);
    watch.met(&met);

    let expired = scene.key();
    scene.wacht.expire(expired.key_id());
    let stranger = scene.wacht.other_deployment().issue_key("theirs").issue();
    let unknown = format!("sk_live_{}", "Unknown-Key".repeat(4).split_off(1));
    for secret in [expired.secret(), stranger.secret(), &unknown] {
        watch.secret(secret);
        let met = echo.get(secret).await;
        met.assert_refused(RejectionKind::InvalidKey);
        watch.met(&met);
    }

    // What could be no key is somebody's secret all the same.
    for odd in [
        "hunter2-SYNTHETIC".to_owned(),
        format!("SYNTHETIC-{}", "too-long-".repeat(70)),
        format!("SYNTHETIC-{}!", "x".repeat(50)),
        format!("SYNTHETIC two {}", "x".repeat(43)),
        format!("SYNTHETIC,{}", "x".repeat(43)),
    ] {
        watch.secret(&odd);
        watch.met(&echo.get(&odd).await);
        let mut request = anonymous();
        request
            .headers_mut()
            .insert("x-api-key", odd.parse().unwrap());
        watch.met(&echo.call(request).await);
    }
    let latin = HeaderValue::from_bytes(b"Bearer SYNTHETIC-\xfc-latin").unwrap();
    watch.secret("SYNTHETIC-\u{fc}-latin");
    watch.secret("-latin");
    let mut request = anonymous();
    request.headers_mut().insert("authorization", latin);
    watch.met(&echo.call(request).await);
    let mut twice = get(good.secret());
    let again = twice.headers()["authorization"].clone();
    twice.headers_mut().append("authorization", again);
    let met = echo.call(twice).await;
    met.assert_refused(RejectionKind::MalformedCredential);
    watch.met(&met);
}

async fn in_other_places(scene: &Scene, echo: &Echo, watch: &mut Watch) {
    let unknown = format!("sk_live_{}", "In-The-Query".repeat(4).split_off(5));
    for secret in [scene.key().secret(), &unknown] {
        watch.secret(secret);
        // Known, and stale with a refresh behind it.
        for wait in [0, 0, 31] {
            scene.clock.advance(Duration::from_secs(wait));
            let mut request = anonymous();
            *request.uri_mut() = format!("/others?api_key={secret}&x=1").parse().unwrap();
            watch.met(&echo.call(request).await);
            let user_pass = BASE64_STANDARD.encode(format!("{secret}:"));
            watch.secret(&user_pass);
            let mut request = anonymous();
            let basic = format!("Basic {user_pass}").parse().unwrap();
            request.headers_mut().insert("authorization", basic);
            watch.met(&echo.call(request).await);
        }
    }
}

async fn by_the_handle(scene: &Scene, handle: &AuthHandle, watch: &mut Watch) {
    let key = scene.key();
    watch.secret(key.secret());
    let context = AuthContext::new("/jobs").user_agent("tests");
    watch.debug(&context);
    let principal = handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap();
    watch.debug(&principal);
    watch.debug(&principal.permissions());
    handle.invalidate_secret(key.secret());
    handle.revoke_secret(key.secret());
    let refused = handle.authenticate_key(key.secret(), &context).await;
    watch.debug(&refused.unwrap_err());
    watch.debug(&handle);
    watch.debug(&CheckRequest::api_key(key.secret()));
    watch.debug(&CheckRequest::oauth_access_token(key.secret()));
    handle.check().await.unwrap();
}

/// Both services down in every way, and one that says back what it was told.
async fn all_kinds_of_failure(
    scene: &Scene,
    layer: &WachtAuthLayer,
    client: &WachtClient,
    watch: &mut Watch,
) {
    let echo = Echo::behind(layer.clone());
    let management_key = scene.wacht.management_key().to_owned();
    let known = scene.key();
    watch.secret(known.secret());
    watch.met(&echo.get(known.secret()).await);
    let key = watch.secret(&format!("sk_test_{}", "Echoed_".repeat(7).split_off(6)));
    let quoted = watch.secret(&format!("sk_\"te\\st_{}", "Quoted_".repeat(7).split_off(6)));
    // Each service can repeat what it was sent, and nothing else.
    for (on, key, echoed) in [
        (On::Checks, &key, &key),
        (On::Checks, &quoted, &quoted),
        (On::Management, &key, &management_key),
    ] {
        for fault in failures(echoed) {
            scene.wacht.fault(on.clone(), fault);
            // A gate that has to learn everything, and one that knows the first key.
            let fresh = WachtAuthLayer::builder(scene.wacht.client())
                .clock(&scene.clock)
                .build()
                .unwrap();
            let fresh_handle = fresh.handle();
            watch.met(&Echo::behind(fresh).get(key).await);
            watch.met(&echo.get(key).await);
            watch.met(&echo.get(known.secret()).await);
            // It shows the gateway a key of its own, so that there is nothing to repeat.
            if on == On::Management
                && let Err(error) = fresh_handle.check().await
            {
                watch.error(&error);
            }
            let check = client.gateway().check(CheckRequest::api_key(key));
            if let Err(error) = check.send().await {
                watch.error(&error);
            }
            if let Err(error) = client.api_keys().get_api_auth_app("orders").send().await {
                watch.error(&error);
            }
            if let Err(error) = client.api_keys().list_api_auth_apps().send().await {
                watch.error(&error);
            }
            scene.wacht.clear_faults();
            scene.clock.advance(Duration::from_secs(75));
        }
    }

    // Nobody there, and an answer that is still to come.
    scene.wacht.refuse_connections(true);
    watch.met(&echo.get(&key).await);
    scene.wacht.refuse_connections(false);
    let held = scene.wacht.hold_checks();
    let journal = scene.wacht.journal();
    let checks = journal.checks();
    let waiting = scene.key();
    watch.secret(waiting.secret());
    let inner = tower::service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let mut service = layer.layer(inner);
    let pending = service.ready().await.unwrap().call(get(waiting.secret()));
    watch.debug(&pending);
    let pending = tokio::spawn(pending);
    journal.wait_for_checks(checks + 1).await;
    watch.debug(layer);
    held.release();
    assert_eq!(pending.await.unwrap().unwrap().status(), 200);
}

/// Everything that can go wrong with an answer, with `echoed` wherever there is room for it.
fn failures(echoed: &str) -> Vec<Fault> {
    let text = |status, text: &str| Fault::body(status, "text/plain", text.replace("KEY", echoed));
    let escaped = serde_json::to_string(echoed).unwrap();
    let escaped = &escaped[1..escaped.len() - 1];
    let unicode: String = echoed
        .bytes()
        .map(|byte| format!("\\u{byte:04x}"))
        .collect();
    let json =
        |status, text: &str| Fault::body(status, "application/json", text.replace("KEY", escaped));
    let refusal = r#"{"request_id":"KEY","allowed":false,"reason":"KEY","blocked_rule":"KEY"}"#;
    let denial = r#"{"request_id":"KEY","allowed":false,"reason":"KEY",
        "identity":{"key_id":"1","deployment_id":"1","app_slug":"orders"}}"#;
    vec![
        Fault::Status(500),
        Fault::Status(401),
        Fault::Drop,
        Fault::HalfAnswer,
        Fault::Huge(512 * 1024),
        Fault::Redirect(format!("http://127.0.0.1:1/{echoed}?key={echoed}")),
        text(422, &format!(r#"{{"message":"{unicode}"}}"#)),
        text(404, &format!(r#"{{"errors":[{{"message":"{unicode}"}}]}}"#)),
        text(400, "cannot parse `KEY`"),
        text(401, "Invalid API key KEY"),
        text(404, "KEY"),
        text(500, "KEY KEY"),
        json(200, r#"{"allowed":"KEY"}"#),
        json(200, r#"{"allowed":true,"identity":{"key_id":"KEY"}}"#),
        json(200, r#"{"data":"KEY"}"#),
        json(200, r#"{"data":[{"deployment_id":"KEY"}]}"#),
        json(200, "KEY"),
        json(404, r#"{"errors":[{"message":"KEY"}]}"#),
        json(422, r#"{"errors":[{"message":"KEY","code":"KEY"}]}"#),
        json(200, refusal),
        json(200, denial),
        json(401, refusal),
    ]
}

async fn by_the_gateways_limits(scene: &Scene, watch: &mut Watch) {
    let layer = scene.builder().limits(Limits::gateway()).build().unwrap();
    let echo = Echo::behind(layer.require("orders:read").unwrap());
    let key = scene.wacht.issue_key("orders");
    let key = key.permissions(["orders:read"]).issue();
    watch.secret(key.secret());
    for _ in 0..5 {
        watch.met(&echo.get(key.secret()).await);
    }
    let poor = scene.key();
    watch.secret(poor.secret());
    let met = echo.get(poor.secret()).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    watch.met(&met);
}

async fn clients_that_cannot_be_used(watch: &mut Watch) {
    let caller = watch.secret(&made_up(77));
    for key in [
        format!("sk_live_SYNTHETIC\n{}", "m".repeat(43)),
        format!("sk_live_SYNTHETIC-\u{fc}{}", "n".repeat(43)),
    ] {
        watch.secret(&key);
        watch.secret(key.split_at(18).0);
        if let Err(error) = WachtClient::builder(&key).build() {
            watch.error(&error);
        }
        let client = WachtClient::new(&key);
        watch.debug(&client);
        let echo = Echo::behind(WachtAuthLayer::new(client));
        let met = echo.get(&caller).await;
        met.assert_refused(RejectionKind::Misconfigured);
        watch.met(&met);
    }
    let key = watch.secret(&format!("sk_live_{}", "UrlSecret".repeat(5)));
    for url in [
        format!("http://user:{key}@127.0.0.1:1"),
        format!("http://127.0.0.1:1/?key={key}"),
        format!("http://127.0.0.1:1/#{key}"),
        format!("http://[{key}"),
        format!("http://{key}.example"),
    ] {
        let built = WachtClient::builder(&key).gateway_url(url).build();
        watch.error(&built.unwrap_err());
    }
}

#[track_caller]
fn the_journal_has_no_keys(wacht: &DevGateway, watch: &Watch) {
    let entries = wacht.journal().entries();
    assert!(entries.iter().any(|entry| entry.is_check()));
    assert!(entries.iter().any(|entry| entry.is_management()));
    let management = format!("Bearer {}", wacht.management_key());
    for entry in &entries {
        let mut text = format!("{} {:?} {entry:?}", entry.path, entry.query);
        for (name, value) in &entry.headers {
            if (&**name, entry.is_management()) == ("authorization", true) {
                assert_eq!(*value, management);
            } else {
                write!(text, " {name}: {value}").unwrap();
            }
        }
        watch.assert_hidden_in("a request's address or headers", &text);
        assert_eq!(entry.header("cookie"), None);
        assert_eq!(entry.header("referer"), None);
        if entry.is_check() {
            assert_eq!(entry.header("authorization"), None);
            assert_eq!(entry.query, None);
            assert_eq!(entry.path, "/v1/authz/check");
        }
    }
}

#[tokio::test]
async fn the_gateway_never_gets_the_management_key_nor_the_management_api_a_callers() {
    let scene = Scene::new().await;
    let gateway = &scene.wacht;
    // The same deployment id, other keys: two services at two addresses.
    let management = DevGateway::start().await.clock(&scene.clock);
    management.app("orders");
    assert_eq!(management.deployment_id(), gateway.deployment_id());
    let client = WachtClient::builder(management.management_key())
        .api_url(management.url())
        .gateway_url(gateway.url())
        .build()
        .unwrap();
    let key = scene.key();
    let echo = Echo::behind(
        WachtAuthLayer::builder(client)
            .clock(&scene.clock)
            .build()
            .unwrap(),
    );
    echo.get(key.secret()).await.assert_ok();

    let asked = gateway.journal().entries();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].is_check());
    let watch = Watch {
        secrets: vec![management.management_key().to_owned()],
        ..Watch::default()
    };
    watch.assert_hidden_in("the gateway's mail", &format!("{:?}", asked[0].headers));

    // An app that the list does not have, to be looked up.
    management.app("since");
    let since = gateway.issue_key("since").issue();
    echo.get(since.secret()).await.assert_ok();
    let asked = management.journal().entries();
    assert_eq!(asked.len(), 2);
    let watch = Watch {
        secrets: vec![key.secret().to_owned(), since.secret().to_owned()],
        ..Watch::default()
    };
    for entry in asked {
        assert!(entry.is_management());
        let text = format!("{:?} {} {entry:?}", entry.headers, entry.body);
        watch.assert_hidden_in("the management API's mail", &text);
    }
}

#[tokio::test]
async fn a_redirect_is_followed_by_neither_service() {
    let elsewhere = DevGateway::start().await;
    for on in [On::Checks, On::Management] {
        let scene = Scene::new().await;
        let echo = Echo::behind(scene.layer());
        let to = match on {
            On::Checks => "/v1/authz/check",
            _ => "/api-auth/apps",
        };
        let redirect = Fault::Redirect(format!("{}{to}", elsewhere.url()));
        scene.wacht.fault(on, redirect);
        for _ in 0..2 {
            echo.get(scene.key().secret())
                .await
                .assert_refused(RejectionKind::Unavailable);
        }
        assert!(scene.wacht.journal().entries().len() > 1);
    }
    assert!(elsewhere.journal().entries().is_empty());
}

// --- what the handler sees ---

/// The headers with which a request reaches the handler.
async fn passed(layer: &WachtAuthLayer, request: Request<Full<Bytes>>) -> HeaderMap {
    let seen = Arc::new(Mutex::new(None));
    let inner = {
        let seen = Arc::clone(&seen);
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            *seen.lock().unwrap() = Some(request.headers().clone());
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        })
    };
    met(layer.layer(inner), request).await.assert_ok();
    seen.lock().unwrap().take().unwrap()
}

#[tokio::test]
async fn no_identity_header_of_a_caller_reaches_the_handler_on_any_way() {
    let scene = Scene::new().await;
    let key = scene.key();
    let open = scene.layer().optional();
    let skipping = scene.layer().skip(|parts| parts.uri.path() == "/items");
    let outer = scene.layer();
    // Each twice where it matters: the second time the key is known.
    for (layer, request) in [
        (&outer, get(key.secret())),
        (&outer, get(key.secret())),
        (&open, get(key.secret())),
        (&open, anonymous()),
        (&skipping, anonymous()),
        (&skipping, get(key.secret())),
    ] {
        let mut request = request;
        for name in [
            "x-wacht-key-id",
            "X-Wacht-Permissions",
            "x_wacht_key_id",
            "X_Wacht-App_Slug",
            "x-wacht-",
            "x-wacht_anything",
        ] {
            let name = http::HeaderName::try_from(name).unwrap();
            for value in ["1", "2"] {
                let value = HeaderValue::from_static(value);
                request.headers_mut().append(&name, value);
            }
        }
        for name in ["x-wachter", "x-request-id", "wacht-key-id"] {
            let value = HeaderValue::from_static("stays");
            request.headers_mut().insert(name, value);
        }
        let headers = passed(layer, request).await;
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
        names.retain(|name| *name != "authorization");
        names.sort_unstable();
        assert_eq!(names, ["wacht-key-id", "x-request-id", "x-wachter"]);
    }
}

#[tokio::test]
async fn the_credential_stays_marked_as_sensitive_or_goes() {
    let scene = Scene::new().await;
    let key = scene.key();
    let bearer = format!("Bearer {}", key.secret());
    let sources = [
        CredentialSource::bearer(),
        CredentialSource::header("x-api-key").unwrap(),
    ];
    let staying = scene.layer().credentials(sources);
    let going = staying.clone().strip_credential();
    let with = |fields: &[(&'static str, &str)]| {
        let mut request = anonymous();
        for (name, value) in fields {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    };
    let basic = "Basic dXNlcjpwYXNzd29yZA==";
    for fields in [
        &[("authorization", &*bearer)][..],
        &[("x-api-key", key.secret())],
        &[("x-api-key", key.secret()), ("authorization", basic)],
    ] {
        // A verification, and a hit.
        for _ in 0..2 {
            let headers = passed(&staying, with(fields)).await;
            for (name, value) in fields {
                assert_eq!(headers[*name], value);
                assert!(headers[*name].is_sensitive(), "{name}");
            }
            assert!(!format!("{headers:?}").contains(key.secret()));
            assert!(!format!("{headers:?}").contains("dXNlcj"));

            let headers = passed(&going, with(fields)).await;
            let left: Vec<_> = headers.iter().collect();
            let basic = HeaderValue::from_static(basic);
            match fields {
                [_, _] => assert_eq!(left, [(&http::header::AUTHORIZATION, &basic)]),
                _ => assert!(left.is_empty(), "{left:?}"),
            }
        }
    }
    // Also where nobody looks at it.
    let skipping = staying.clone().skip(|_| true);
    let headers = passed(&skipping, with(&[("x-api-key", "anything")])).await;
    assert!(headers["x-api-key"].is_sensitive());
    let headers = passed(&going.skip(|_| true), with(&[("x-api-key", "anything")])).await;
    assert!(headers.is_empty());
}
