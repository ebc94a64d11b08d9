//! What holds whatever Wacht answers and whatever callers send.
//!
//! `PROPTEST_CASES=20000 cargo test --all-features properties` looks harder than the few cases of
//! a usual run.

use std::cell::Cell;
use std::future::Future;
use std::panic;
use std::sync::Once;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wacht_auth::dev::{Fault, On};
use wacht_auth::{ClientIp, CredentialSource, RejectionKind, WachtClient};

use crate::mangled::{any_json, mangled, recorded, runner};
use crate::scene::{Echo, Scene, anonymous, eventually, made_up};

const GATEWAY: &str = include_str!("../wire/gateway.jsonl");
const MANAGEMENT: &str = include_str!("../wire/management.jsonl");
const OAUTH: &str = include_str!("../wire/oauth-management.jsonl");

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Everything on one thread, so that a panic in a task is noticed too: the gate outlives it.
fn on_one_thread() -> Runtime {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            before(panic);
        }));
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

/// Runs it to its end, and fails if anything panicked on the way.
fn without_a_panic<T>(runtime: &Runtime, case: impl Future<Output = T>) -> T {
    let before = PANICS.get();
    let outcome = runtime.block_on(case);
    assert_eq!(PANICS.get(), before, "something panicked");
    outcome
}

/// The recorded answers to checks, about keys of this deployment and app.
fn checks(scene: &Scene) -> Vec<Value> {
    let mut answers = recorded(GATEWAY);
    for identity in answers
        .iter_mut()
        .filter_map(|answer| answer.get_mut("identity"))
        .filter(|identity| identity.is_object())
    {
        identity["deployment_id"] = json!(scene.wacht.deployment_id().to_string());
        identity["app_slug"] = json!("orders");
    }
    answers
}

fn any_status() -> impl Strategy<Value = u16> {
    let others = [
        201, 202, 204, 206, 301, 304, 307, 400, 403, 404, 408, 413, 422, 429, 500, 502, 503, 599,
    ];
    prop_oneof![5 => Just(200), 2 => Just(401), 3 => select(others.to_vec())]
}

fn any_content_type() -> impl Strategy<Value = &'static str> {
    select(vec!["application/json", "text/plain", "text/html", ""])
}

/// The answer as JSON, if it is an object as a whole.
fn object(body: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(body).ok()?;
    value.is_object().then_some(value)
}

/// Whether this answer says that the key is one of ours, and good.
fn is_a_yes(scene: &Scene, status: u16, body: &str) -> bool {
    let Some(answer) = object(body) else {
        return false;
    };
    let good = answer["allowed"] == json!(true)
        || answer["allowed"] == json!(false) && answer["reason"] == "rate_limited";
    let identity = &answer["identity"];
    let ours = scene.wacht.deployment_id();
    let is_ours = [json!(ours), json!(ours.to_string())].contains(&identity["deployment_id"]);
    status == 200 && good && is_ours && identity["app_slug"] == "orders"
}

/// Whether this answer may end a yes.
fn may_be_a_no(scene: &Scene, status: u16, body: &str) -> bool {
    let answer = object(body).unwrap_or_default();
    match status {
        // Somebody else's, another app's, or refused.
        200 => answer["allowed"].is_boolean() && !is_a_yes(scene, status, body),
        401 => {
            body.trim() == "Invalid API key"
                || answer["allowed"] == json!(false) && answer["request_id"].is_string()
        }
        _ => false,
    }
}

#[test]
fn no_answer_but_a_yes_about_a_key_of_ours_admits_anybody() {
    let runtime = on_one_thread();
    let scene = runtime.block_on(Scene::new());
    let answers = (any_status(), any_content_type(), mangled(checks(&scene)));
    let property = |(status, content_type, body): (u16, &str, String)| {
        scene.clock.advance(Duration::from_secs(61));
        scene.wacht.clear_faults();
        let fault = Fault::body(status, content_type, body.as_str());
        scene.wacht.fault(On::Checks, fault);
        let echo = Echo::behind(scene.layer().app("orders"));
        let met = without_a_panic(&runtime, echo.get(&made_up(1)));
        match met.kind() {
            None => prop_assert!(is_a_yes(&scene, status, &body), "{:?}", met),
            Some(RejectionKind::InvalidKey) => {
                prop_assert!(may_be_a_no(&scene, status, &body), "{:?}", met);
            }
            Some(kind) => prop_assert_eq!(kind, RejectionKind::Unavailable),
        }
        Ok(())
    };
    runner(300).run(&answers, property).unwrap();
}

#[test]
fn no_answer_but_a_no_ends_a_yes() {
    let runtime = on_one_thread();
    let scene = runtime.block_on(Scene::new());
    let key = scene.key();
    let answers = (any_status(), any_content_type(), mangled(checks(&scene)));
    let property = |(status, content_type, body): (u16, &str, String)| {
        scene.clock.advance(Duration::from_secs(61));
        scene.wacht.clear_faults();
        let layer = scene.layer().app("orders");
        let echo = Echo::behind(layer.clone());
        let met = without_a_panic(&runtime, async {
            echo.get(key.secret()).await.assert_ok();
            scene.clock.advance(Duration::from_secs(31));
            let fault = Fault::body(status, content_type, body.as_str());
            scene.wacht.fault(On::Checks, fault);
            // Stale: what is known answers, and the refresh meets the fault.
            echo.get(key.secret()).await.assert_ok();
            eventually(async || layer.handle().stats().in_flight == 0).await;
            echo.get(key.secret()).await
        });
        if met.refusal.is_some() {
            met.assert_refused(RejectionKind::InvalidKey);
            prop_assert!(may_be_a_no(&scene, status, &body), "{:?}", met);
        }
        Ok(())
    };
    runner(150).run(&answers, property).unwrap();
}

#[test]
fn nothing_the_management_api_says_lets_a_stranger_in() {
    let runtime = on_one_thread();
    let scene = runtime.block_on(Scene::new());
    let stranger = scene.wacht.other_deployment().issue_key("orders").issue();
    let answers = (any_status(), mangled(recorded(MANAGEMENT)));
    let property = |(status, body): (u16, String)| {
        scene.clock.advance(Duration::from_secs(61));
        scene.wacht.clear_faults();
        let fault = Fault::body(status, "application/json", body);
        scene.wacht.fault(On::Management, fault);
        // The deployment is learned once per client: each case has one of its own.
        let echo = Echo::behind(scene.layer());
        let met = without_a_panic(&runtime, echo.get(stranger.secret()));
        let refused = [RejectionKind::InvalidKey, RejectionKind::Unavailable];
        prop_assert!(
            met.kind().is_some_and(|kind| refused.contains(&kind)),
            "{:?}",
            met
        );
        Ok(())
    };
    runner(150).run(&answers, property).unwrap();
}

#[test]
fn no_scheme_makes_a_gate_panic_or_tells_a_good_key_that_it_is_bad() {
    let runtime = on_one_thread();
    let scene = runtime.block_on(Scene::new());
    let key = scene.key();
    let rule = json!({
        "unit": "minute", "duration": 1, "max_requests": 3, "mode": "per_key",
        "priority": 0, "endpoints": ["/items"],
    });
    let app = recorded(MANAGEMENT)
        .into_iter()
        .find(|body| body["is_active"] == json!(true) && body["app_slug"].is_string())
        .unwrap();
    let apps = [json!([rule]), json!([rule, rule, rule]), json!([])].map(|rules| {
        let mut app = app.clone();
        app["deployment_id"] = json!(scene.wacht.deployment_id().to_string());
        app["rate_limits"] = rules;
        app
    });
    let answers = (
        any_status(),
        mangled(apps.to_vec()),
        prop::collection::vec(any_json(), 0..3),
    );
    let property = |(status, body, more_rules): (u16, String, Vec<Value>)| {
        scene.clock.advance(Duration::from_secs(61));
        scene.wacht.clear_faults();
        let body = match object(&body) {
            Some(mut app) if !more_rules.is_empty() => {
                if let Some(rules) = app["rate_limits"].as_array_mut() {
                    rules.extend(more_rules);
                }
                app.to_string()
            }
            _ => body,
        };
        let fault = Fault::body(status, "application/json", body.as_str());
        scene.wacht.fault(On::Management, fault);
        let layer = scene
            .builder()
            .deployment(scene.wacht.deployment_id())
            .build()
            .unwrap();
        let echo = Echo::behind(layer);
        for _ in 0..3 {
            let met = without_a_panic(&runtime, echo.get(key.secret()));
            let is_closed = object(&body).is_some_and(|app| app["is_active"] == json!(false));
            match met.kind() {
                None | Some(RejectionKind::RateLimited) => {}
                Some(RejectionKind::InvalidKey) => prop_assert!(is_closed, "{:?}", met),
                Some(_) => prop_assert!(false, "{met:?}"),
            }
            scene.clock.advance(Duration::from_millis(1));
        }
        Ok(())
    };
    runner(150).run(&answers, property).unwrap();
}

#[test]
fn no_answer_of_the_management_api_makes_the_client_panic() {
    let runtime = on_one_thread();
    let scene = runtime.block_on(Scene::new());
    let mut bodies = recorded(MANAGEMENT);
    bodies.extend(recorded(OAUTH));
    let client = WachtClient::builder(scene.wacht.management_key())
        .api_url(scene.wacht.url())
        .gateway_url(scene.wacht.url())
        .no_retries();
    let client = client.build().unwrap();
    let answers = (any_status(), any_content_type(), mangled(bodies));
    let property = |(status, content_type, body): (u16, &str, String)| {
        scene.wacht.clear_faults();
        let fault = Fault::body(status, content_type, body);
        scene.wacht.fault(On::Management, fault);
        without_a_panic(&runtime, async {
            let (keys, oauth) = (client.api_keys(), client.oauth());
            let shown = [
                format!("{:?}", keys.list_api_auth_apps().page(9, 0).send().await),
                format!("{:?}", keys.get_api_auth_app("a").send().await),
                format!(
                    "{:?}",
                    keys.create_api_key("a", Default::default()).send().await
                ),
                format!("{:?}", keys.rotate_api_key("a", 1).send().await),
                format!(
                    "{:?}",
                    oauth.create_oauth_app(Default::default()).send().await
                ),
            ];
            assert!(!shown.concat().contains(scene.wacht.management_key()));
        });
        Ok(())
    };
    runner(100).run(&answers, property).unwrap();
}

#[test]
fn nothing_but_the_key_itself_in_one_place_comes_in() {
    let runtime = on_one_thread();
    let scene = runtime.block_on(Scene::new());
    let key = scene.key();
    let other = scene.key();
    let layer = scene
        .builder()
        .client_ip(ClientIp::trusted_proxies(["198.51.100.0/24"]).unwrap())
        .build()
        .unwrap()
        .app("orders")
        .credentials([
            CredentialSource::bearer(),
            CredentialSource::header("x-api-key").unwrap(),
        ]);
    let echo = Echo::behind(layer);
    without_a_panic(&runtime, async {
        for known in [&key, &other] {
            echo.get(known.secret()).await.assert_ok();
        }
    });
    let known = [key.secret(), other.secret()];
    let names = [
        "authorization",
        "x-api-key",
        "proxy-authorization",
        "cookie",
        "x-forwarded-for",
        "forwarded",
        "x-wacht-key-id",
        "x_wacht_app_slug",
        "user-agent",
        "content-type",
        "x-original-uri",
    ];
    let secret = key.secret().to_owned();
    let pieces = vec![
        secret.clone(),
        known[1].to_owned(),
        secret.to_uppercase(),
        secret[1..].to_owned(),
        secret[..45].to_owned(),
        "Bearer ".into(),
        "bearer  ".into(),
        "Basic ".into(),
        "BearerX ".into(),
        ",".into(),
        ", ".into(),
        " ".into(),
        "\t".into(),
        "\u{e9}".into(),
        "=".into(),
        "for=".into(),
        "\"".into(),
        "[::1]".into(),
        "10.0.0.1".into(),
        "application/grpc".into(),
    ];
    let piece = prop_oneof![5 => select(pieces), 1 => "[ -~\\t]{0,9}"];
    let line = prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat());
    let bearer = Just(("authorization", format!("Bearer {secret}")));
    let lines = prop_oneof![2 => (select(names.to_vec()), line), 1 => bearer];
    let property = |lines: Vec<(&'static str, String)>| {
        let mut request = anonymous();
        for (name, value) in &lines {
            let name = HeaderName::from_static(name);
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(name, value);
        }
        let met = without_a_panic(&runtime, echo.call(request));
        if met.refusal.is_none() {
            let of = |wanted: &str| {
                let values = lines.iter().filter(|(name, _)| *name == wanted);
                values.map(|(_, value)| value.trim()).collect::<Vec<_>>()
            };
            let (authorization, bare) = (of("authorization"), of("x-api-key"));
            prop_assert!(authorization.len() <= 1 && bare.len() <= 1, "{:?}", met);
            let bearer = authorization.iter().filter_map(|value| {
                let (scheme, key) = value.split_once(' ')?;
                scheme
                    .eq_ignore_ascii_case("bearer")
                    .then(|| key.trim_start_matches(' '))
            });
            let shown: Vec<&str> = bearer.chain(bare.iter().copied()).collect();
            prop_assert!(!shown.is_empty());
            prop_assert!(shown.iter().all(|key| *key == shown[0]), "{:?}", shown);
            prop_assert!(known.contains(&shown[0]), "{:?}", met);
        }
        Ok(())
    };
    let requests = prop::collection::vec(lines, 0..4);
    runner(500).run(&requests, property).unwrap();
}
