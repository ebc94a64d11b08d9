//! The rate-limit header fields, read back by a parser of structured fields that is not ours.

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use sfv::{BareItem, Item, List, ListEntry, Parameters, Parser};
use tower::Layer;
use wacht_auth::dev::DevRule;
use wacht_auth::{CachePolicy, RateLimitHeaders, RejectionKind};

use crate::scene::{Echo, Met, Scene, get, met};

/// One entry of `RateLimit-Policy`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    name: String,
    quota: i64,
    window: i64,
}

/// One entry of `RateLimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    name: String,
    remaining: i64,
    more_in: Option<i64>,
}

fn policy(name: &str, quota: i64, window: i64) -> Policy {
    Policy {
        name: name.to_owned(),
        quota,
        window,
    }
}

fn left(name: &str, remaining: i64, more_in: impl Into<Option<i64>>) -> Left {
    Left {
        name: name.to_owned(),
        remaining,
        more_in: more_in.into(),
    }
}

/// The list of strings that all lines of a field make together.
#[track_caller]
fn items(headers: &HeaderMap, field: &str) -> Vec<(String, Parameters)> {
    let lines: Vec<&str> = headers
        .get_all(field)
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    let list: List = match Parser::new(&lines.join(", ")).parse() {
        Ok(list) => list,
        Err(error) => panic!("{field}: {lines:?}: {error}"),
    };
    list.into_iter()
        .map(|entry| match entry {
            ListEntry::Item(Item {
                bare_item: BareItem::String(name),
                params,
            }) => (name.as_str().to_owned(), params),
            other => panic!("{field} has an entry that is no string: {other:?}"),
        })
        .collect()
}

/// The integer of a parameter, which is taken away.
#[track_caller]
fn take(parameters: &mut Parameters, key: &str) -> Option<i64> {
    match parameters.shift_remove(key)? {
        BareItem::Integer(value) => Some(value.into()),
        other => panic!("{key} is no integer: {other:?}"),
    }
}

/// Both fields of an answer, with everything checked that holds for all answers.
#[track_caller]
fn fields(headers: &HeaderMap) -> (Vec<Policy>, Vec<Left>) {
    let policies: Vec<_> = items(headers, "ratelimit-policy")
        .into_iter()
        .map(|(name, mut parameters)| {
            let policy = Policy {
                name,
                quota: take(&mut parameters, "q").expect("q is required"),
                window: take(&mut parameters, "w").expect("ours have a window"),
            };
            assert!(parameters.is_empty(), "{parameters:?}");
            policy
        })
        .collect();
    let left: Vec<_> = items(headers, "ratelimit")
        .into_iter()
        .map(|(name, mut parameters)| {
            let left = Left {
                name,
                remaining: take(&mut parameters, "r").expect("r is required"),
                more_in: take(&mut parameters, "t"),
            };
            assert!(parameters.is_empty(), "{parameters:?}");
            left
        })
        .collect();

    let names: HashSet<_> = policies.iter().map(|policy| &policy.name).collect();
    assert_eq!(
        names.len(),
        policies.len(),
        "a name is one policy's: {policies:?}"
    );
    assert_eq!(
        policies.len(),
        left.len(),
        "each policy has its state: {left:?}"
    );
    for (policy, left) in policies.iter().zip(&left) {
        assert_eq!(policy.name, left.name, "in the same order");
        assert!(policy.window >= 1, "{policy:?}");
        assert!(policy.quota >= 0, "{policy:?}");
        assert!(
            (0..=policy.quota).contains(&left.remaining),
            "{policy:?}: {left:?}"
        );
        match left.more_in {
            None => assert_eq!(left.remaining, policy.quota, "{left:?} is untouched"),
            Some(more_in) => assert!((1..=policy.window).contains(&more_in), "{left:?}"),
        }
    }
    (policies, left)
}

async fn scene_with(rules: impl IntoIterator<Item = DevRule>) -> Scene {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", rules);
    scene
}

async fn get_path(echo: &Echo, secret: &str, path: &str) -> Met {
    let mut request = get(secret);
    *request.uri_mut() = path.parse().unwrap();
    echo.call(request).await
}

#[track_caller]
fn assert_limited_by(met: &Met, names: &[&str]) {
    met.assert_refused(RejectionKind::RateLimited);
    let (policies, left) = fields(&met.headers);
    let problem: Value = serde_json::from_str(&met.body).unwrap();
    assert_eq!(problem["violated-policies"], json!(names));
    assert_eq!(problem["status"], 429);
    assert_eq!(met.header("content-type"), "application/problem+json");
    for name in names {
        assert!(
            policies.iter().any(|policy| policy.name == *name),
            "{name}: {policies:?}"
        );
    }
    // The fields, the problem and the extension tell one story.
    let refusal = met.refusal.as_ref().unwrap();
    assert!(refusal.violated_policies().eq(names.iter().copied()));
    let slowest = left
        .iter()
        .filter(|left| names.contains(&left.name.as_str()))
        .map(|left| left.more_in.unwrap())
        .max();
    assert_eq!(slowest.unwrap(), i64::try_from(met.retry_after()).unwrap());
}

#[tokio::test]
async fn every_mode_has_a_policy_of_its_name() {
    for mode in [
        "per_app",
        "per_key",
        "per_key_and_ip",
        "per_app_and_ip",
        "per_ip",
    ] {
        let rule = json!({
            "unit": "minute", "duration": 1, "max_requests": 3, "mode": mode, "priority": 0,
        });
        let scene = scene_with([DevRule::raw(rule)]).await;
        let echo = Echo::behind(scene.layer());
        let key = scene.key();
        let name = format!("{mode}:3/60s");
        for remaining in [2, 1, 0] {
            let (policies, states) = fields(&echo.get(key.secret()).await.headers);
            assert_eq!(policies, [policy(&name, 3, 60)]);
            assert_eq!(states, [left(&name, remaining, 20)]);
        }
        assert_limited_by(&echo.get(key.secret()).await, &[&name]);
    }
}

#[tokio::test]
async fn every_rolling_unit_has_its_window_in_seconds_rounded_up() {
    for (unit, duration, short, window) in [
        ("millisecond", 1, "1ms", 1),
        ("millisecond", 250, "250ms", 1),
        ("millisecond", 1000, "1s", 1),
        ("millisecond", 1500, "1s", 2),
        ("second", 1, "1s", 1),
        ("minute", 5, "300s", 300),
        ("hour", 1, "3600s", 3600),
        ("day", 1, "86400s", 86_400),
        ("month", 2, "5184000s", 5_184_000),
    ] {
        let scene = scene_with([DevRule::per_key(1, unit, duration)]).await;
        let echo = Echo::behind(scene.layer());
        let key = scene.key();
        let name = format!("per_key:1/{short}");
        let (policies, states) = fields(&echo.get(key.secret()).await.headers);
        assert_eq!(policies, [policy(&name, 1, window)], "{duration} {unit}");
        assert_eq!(states, [left(&name, 0, window)], "{duration} {unit}");
        assert_limited_by(&echo.get(key.secret()).await, &[&name]);
    }
}

#[tokio::test]
async fn calendar_units_have_the_length_of_the_day_or_month_at_hand_at_most() {
    for (unit, longest) in [("calendar_day", 86_400), ("calendar_month", 31 * 86_400)] {
        let scene = scene_with([DevRule::per_key(2, unit, 1)]).await;
        let echo = Echo::behind(scene.layer());
        let key = scene.key();
        let name = format!("per_key:2/{unit}");
        for remaining in [1, 0] {
            let (policies, states) = fields(&echo.get(key.secret()).await.headers);
            assert_eq!(policies, [policy(&name, 2, policies[0].window)]);
            assert!(policies[0].window <= longest, "{policies:?}");
            assert_eq!(states[0].remaining, remaining);
        }
        assert_limited_by(&echo.get(key.secret()).await, &[&name]);
    }
}

#[tokio::test]
async fn the_largest_numbers_are_integers_of_structured_fields() {
    let scene = scene_with([DevRule::per_key(i32::MAX, "month", i32::MAX)]).await;
    let echo = Echo::behind(scene.layer());
    let (policies, states) = fields(&echo.get(scene.key().secret()).await.headers);
    let quota = i64::from(i32::MAX);
    assert_eq!(policies[0].quota, quota);
    assert_eq!(states[0].remaining, quota - 1);
}

#[tokio::test]
async fn several_rules_stand_in_order_of_priority_and_those_that_refuse_are_named() {
    let scene = scene_with([
        DevRule::per_app(5, "hour", 1).priority(30),
        DevRule::per_key_and_ip(100, "day", 1).priority(20),
        DevRule::per_key(2, "minute", 1).priority(10),
    ])
    .await;
    let hour = std::time::Duration::from_secs(3600);
    let echo = Echo::behind(
        scene
            .builder()
            .cache(CachePolicy::default().fresh_for(hour))
            .build()
            .unwrap(),
    );
    let key = scene.key();
    let names = [
        "per_key:2/60s",
        "per_key_and_ip:100/86400s",
        "per_app:5/3600s",
    ];
    let (policies, states) = fields(&echo.get(key.secret()).await.headers);
    assert_eq!(
        policies,
        [
            policy(names[0], 2, 60),
            policy(names[1], 100, 86_400),
            policy(names[2], 5, 3600)
        ]
    );
    assert_eq!(
        states,
        [
            left(names[0], 1, 30),
            left(names[1], 99, 864),
            left(names[2], 4, 720)
        ]
    );
    echo.get(key.secret()).await.assert_ok();
    assert_limited_by(&echo.get(key.secret()).await, &names[..1]);
    for _ in 0..3 {
        echo.get(scene.key().secret()).await.assert_ok();
    }
    assert_limited_by(&echo.get(key.secret()).await, &[names[0], names[2]]);
    assert_limited_by(&echo.get(scene.key().secret()).await, &names[2..]);
}

#[tokio::test]
async fn only_the_rules_of_the_endpoint_show() {
    let scene = scene_with([
        DevRule::per_key(10, "minute", 1).priority(1),
        DevRule::per_key(3, "minute", 1)
            .endpoints(["/export"])
            .priority(2),
        DevRule::per_app(3, "minute", 1)
            .endpoints(["/import", "/export"])
            .priority(3),
    ])
    .await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    for (path, shown) in [
        ("/items", &["per_key:10/60s"][..]),
        ("/import", &["per_key:10/60s", "per_app:3/60s"]),
        (
            "/export",
            &["per_key:10/60s", "per_key:3/60s", "per_app:3/60s"],
        ),
    ] {
        let (policies, _) = fields(&get_path(&echo, key.secret(), path).await.headers);
        let names: Vec<_> = policies.iter().map(|policy| policy.name.as_str()).collect();
        assert_eq!(names, shown, "{path}");
    }

    let scene = scene_with([DevRule::per_key(1, "minute", 1).endpoints(["/export"])]).await;
    let echo = Echo::behind(scene.layer());
    let met = get_path(&echo, scene.key().secret(), "/items").await;
    assert_eq!(fields(&met.headers), (vec![], vec![]));
}

#[tokio::test]
async fn rules_alike_but_for_their_endpoints_have_names_of_their_own() {
    let alike = || DevRule::per_key(2, "minute", 1);
    let scene = scene_with([
        alike().endpoints(["/a"]).priority(1),
        alike().endpoints(["/b"]).priority(2),
        alike().priority(3),
    ])
    .await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    let names = async |path: &str| {
        let met = get_path(&echo, key.secret(), path).await;
        let (policies, _) = fields(&met.headers);
        let names = policies.into_iter().map(|policy| policy.name);
        (names.collect::<Vec<_>>(), met)
    };
    let (a, b, all) = ("per_key:2/60s", "per_key:2/60s#2", "per_key:2/60s#3");
    assert_eq!(names("/a").await.0, [a, all]);
    assert_eq!(names("/b").await.0, [b, all]);
    // A name is a rule's, wherever it shows.
    let (shown, met) = names("/b").await;
    assert_eq!(shown, [b, all]);
    assert_limited_by(&met, &[all]);
}

#[tokio::test]
async fn an_untouched_limit_of_zero_never_says_that_there_is_more() {
    let scene = scene_with([DevRule::per_key(0, "minute", 1)]).await;
    let echo = Echo::behind(scene.layer());
    let met = echo.get(scene.key().secret()).await;
    met.assert_refused(RejectionKind::RateLimited);
    assert!(
        met.refusal
            .as_ref()
            .unwrap()
            .violated_policies()
            .eq(["per_key:0/60s"])
    );
    assert_eq!(met.header("retry-after"), "", "no time would help");
    assert_eq!(fields(&met.headers).1, [left("per_key:0/60s", 0, 60)]);
}

#[tokio::test]
async fn wachts_own_fields_are_plain_numbers_that_agree_with_the_others() {
    let scene = scene_with([
        DevRule::per_key(20, "minute", 1).priority(1),
        DevRule::per_app(4, "minute", 1).priority(2),
        DevRule::per_key(7, "millisecond", 250).priority(3),
    ])
    .await;
    let layer = scene.layer();
    let both = Echo::behind(layer.clone().rate_limit_headers(RateLimitHeaders::Both));
    let wacht = Echo::behind(layer.rate_limit_headers(RateLimitHeaders::Wacht));
    let key = scene.key();
    let number = |met: &Met, name: &str| -> i64 {
        let values: Vec<_> = met.headers.get_all(name).iter().collect();
        let [value] = &values[..] else {
            panic!("{name} is there once: {met:?}");
        };
        let item: Item = Parser::new(value.to_str().unwrap()).parse().unwrap();
        match item.bare_item {
            BareItem::Integer(number) => number.into(),
            other => panic!("{name}: {other:?}"),
        }
    };
    for spent in 1..=5 {
        let met = both.get(key.secret()).await;
        let (policies, states) = fields(&met.headers);
        assert_eq!(policies.len(), 3);
        // Of the two rules with one window, the tighter shows.
        for (window, rule) in [("60s", 1), ("250ms", 2)] {
            let field = |what: &str| number(&met, &format!("x-ratelimit-{window}-{what}"));
            assert_eq!(field("limit"), policies[rule].quota);
            assert_eq!(field("remaining"), states[rule].remaining);
            assert_eq!(field("reset"), states[rule].more_in.unwrap_or(0));
        }
        assert_eq!(met.status, if spent <= 4 { 200 } else { 429 });
    }
    let met = wacht.get(key.secret()).await;
    assert_eq!(fields(&met.headers), (vec![], vec![]));
    assert_eq!(number(&met, "x-ratelimit-60s-limit"), 4);
    assert_eq!(met.header("retry-after"), "15");
}

#[tokio::test]
async fn a_policy_of_the_services_own_is_one_list_with_the_gates() {
    let scene = scene_with([DevRule::per_key(3, "minute", 1)]).await;
    let inner = tower::service_fn(|_| async {
        Ok(Response::builder()
            .header("ratelimit-policy", r#""exports";q=2;w=10"#)
            .header("ratelimit", r#""exports";r=1;t=5"#)
            .body(Full::<Bytes>::default())
            .unwrap())
    });
    let met = met(scene.layer().layer(inner), get(scene.key().secret())).await;
    let (policies, states) = fields(&met.headers);
    assert_eq!(
        policies,
        [policy("exports", 2, 10), policy("per_key:3/60s", 3, 60)]
    );
    assert_eq!(
        states,
        [left("exports", 1, 5), left("per_key:3/60s", 2, 20)]
    );
}

#[tokio::test]
async fn a_grpc_answer_has_the_fields_in_its_headers_and_never_where_trailers_are_read() {
    let scene = scene_with([DevRule::per_key(2, "minute", 1)]).await;
    let layer = scene.layer().rate_limit_headers(RateLimitHeaders::Both);
    let grpc = |secret: &str| {
        let mut request = get(secret);
        let content_type = "application/grpc".parse().unwrap();
        request.headers_mut().insert("content-type", content_type);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        request
    };
    let answer = |trailers_only: bool| {
        tower::service_fn(move |_| async move {
            let mut response = Response::builder().header("content-type", "application/grpc");
            if trailers_only {
                response = response.header("grpc-status", "5");
            }
            Ok(response.body(Full::<Bytes>::default()).unwrap())
        })
    };
    let key = scene.key();
    let met_with =
        async |trailers_only| met(layer.layer(answer(trailers_only)), grpc(key.secret())).await;
    let limits = |met: &Met| {
        let names = met.headers.keys().map(|name| name.as_str().to_owned());
        names.filter(|name| name.contains("ratelimit")).count()
    };

    let met = met_with(false).await;
    assert_eq!(fields(&met.headers).1, [left("per_key:2/60s", 1, 30)]);
    assert_eq!(limits(&met), 5);
    // An answer of the service's own that is all trailers.
    let met = met_with(true).await;
    assert_eq!(
        (met.header("grpc-status"), limits(&met)),
        ("5", 0),
        "{met:?}"
    );
    // A refusal of the gate.
    let met = met_with(false).await;
    assert_eq!(
        (met.header("grpc-status"), limits(&met)),
        ("8", 0),
        "{met:?}"
    );
    assert_eq!(met.header("retry-after"), "30");
}
