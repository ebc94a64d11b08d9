//! What every answer of the gateway means: those on record, and those nobody wants to see.

use std::time::Duration;

use chrono::DateTime;
use serde_json::{Value, json};
use wacht_auth::dev::{DevGateway, Fault, ManualClock, On};
use wacht_auth::{
    CachePolicy, Limits, Principal, PrincipalKind, RejectionKind, WachtAuthLayer, WachtClient,
};

use crate::scene::{Echo, Met, Scene};

const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// One recorded answer of the gateway.
struct Line {
    name: String,
    /// Whose key was asked about, as far as the recorded request says.
    is_token: bool,
    required: Vec<String>,
    status: u16,
    content_type: String,
    text: String,
    body: Value,
}

impl Line {
    fn read(line: &str) -> Self {
        let line: Value = serde_json::from_str(line).unwrap();
        let (asked, answered) = (&line["request"]["body"], &line["response"]);
        let body = answered["body"].clone();
        let required = asked["required_permissions"].as_array();
        Self {
            name: line["name"].as_str().unwrap().to_owned(),
            is_token: asked["principal"]["type"] == "oauth_access_token",
            required: required
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            status: answered["status"].as_u64().unwrap().try_into().unwrap(),
            content_type: match &answered["headers"]["content-type"] {
                Value::String(value) => value.clone(),
                // No header value, so no header.
                _ => "\n".to_owned(),
            },
            text: match &body {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                json => json.to_string(),
            },
            body,
        }
    }

    fn kind(&self) -> PrincipalKind {
        match self.is_token {
            true => PrincipalKind::OauthAccessToken,
            false => PrincipalKind::ApiKey,
        }
    }

    fn key(&self) -> String {
        let prefix = if self.is_token { "oat" } else { "sk" };
        format!("{prefix}_{}", "a".repeat(43))
    }

    /// The row of the answer table that this line is an example of.
    fn row(&self) -> Row {
        let body = &self.body;
        match (self.status, body["allowed"].as_bool()) {
            (200, Some(true)) => Row::Yes,
            (200, Some(false)) if body["reason"] == "rate_limited" => {
                Row::RateLimited(body["retry_after"].as_u64().unwrap())
            }
            (200, Some(false)) if body["reason"] == "permission_denied" => Row::PermissionDenied,
            (401, Some(false)) if body["request_id"].is_string() => Row::No,
            (401, None) if self.text == "Invalid API key" => Row::No,
            (200 | 400 | 404 | 405 | 415 | 422, _) => Row::Undecided,
            (500, _) => Row::Outage,
            other => panic!("{}: {other:?} is in no row", self.name),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Row {
    Yes,
    /// With the milliseconds it names.
    RateLimited(u64),
    PermissionDenied,
    No,
    Undecided,
    Outage,
}

/// A gateway that gives recorded answers, of which many are about one and the same deployment.
struct Replay {
    wacht: DevGateway,
    client: WachtClient,
    clock: ManualClock,
}

impl Replay {
    async fn start() -> Self {
        // The access tokens on record end an hour after they were made.
        let recorded = DateTime::parse_from_rfc3339("2026-11-21T22:15:00Z").unwrap();
        let clock = ManualClock::at(Duration::from_secs(
            recorded.timestamp().try_into().unwrap(),
        ));
        let wacht = DevGateway::start().await.clock(&clock);
        let client = wacht.client();
        Self {
            wacht,
            client,
            clock,
        }
    }

    /// A gate that has never been asked anything, in front of a gateway that has only this to
    /// say.
    fn gate(&self, line: &Line, limits: Limits) -> WachtAuthLayer {
        if let Some(slug) = line.body["identity"]["app_slug"].as_str() {
            self.wacht.app(slug);
        }
        self.wacht.clear_faults();
        self.wacht.fault(
            On::Checks,
            Fault::body(line.status, &line.content_type, &line.text),
        );
        self.wacht.journal().clear();
        WachtAuthLayer::builder(self.client.clone())
            .clock(&self.clock)
            .deployment(7_000_000_000_000_001)
            .limits(limits)
            .build()
            .unwrap()
            .accept_oauth_tokens()
    }

    fn checks(&self) -> usize {
        self.wacht.journal().checks()
    }
}

fn number(id: &Value) -> Option<i64> {
    id.as_str().map(|id| id.parse().unwrap())
}

#[track_caller]
fn assert_identity(met: &Met, line: &Line) {
    let name = &line.name;
    assert_eq!(met.status, 200, "{name}: {met:?}");
    let caller: &Principal = met.caller.as_ref().expect(name);
    let of = &line.body["identity"];
    assert_eq!(caller.kind(), line.kind(), "{name}");
    assert_eq!(Some(caller.key_id()), number(&of["key_id"]), "{name}");
    assert_eq!(json!(caller.key_name()), of["key_name"], "{name}");
    let client_id = line.is_token.then(|| caller.key_name());
    assert_eq!(caller.client_id(), client_id, "{name}");
    assert_eq!(json!(caller.app_slug()), of["app_slug"], "{name}");
    let ids = [
        (Some(caller.deployment_id()), "deployment_id"),
        (caller.owner_user_id(), "owner_user_id"),
        (caller.organization_id(), "organization_id"),
        (caller.workspace_id(), "workspace_id"),
        (
            caller.organization_membership_id(),
            "organization_membership_id",
        ),
        (caller.workspace_membership_id(), "workspace_membership_id"),
    ];
    for (ours, theirs) in ids {
        assert_eq!(ours, number(&of[theirs]), "{name} {theirs}");
    }
    let mut permissions: Vec<&str> = caller.permissions().iter().collect();
    permissions.sort_unstable();
    let mut recorded: Vec<&str> = line.body["permissions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|permission| permission.as_str().unwrap())
        .collect();
    recorded.sort_unstable();
    recorded.dedup();
    assert_eq!(permissions, recorded, "{name}");
    assert_eq!(*caller.metadata(), line.body["metadata"], "{name}");
}

#[track_caller]
fn assert_refused(met: &Met, kind: RejectionKind, line: &Line) {
    assert_eq!(met.kind(), Some(kind), "{}: {met:?}", line.name);
    assert_eq!(met.status, kind.status(), "{}", line.name);
    // Nothing of the gateway's words reaches a stranger.
    for word in ["Database", "Failed", "deserialize", "req_"] {
        assert!(!met.body.contains(word), "{}: {}", line.name, met.body);
    }
}

#[tokio::test]
async fn every_recorded_answer_becomes_the_documented_verdict() {
    let replay = Replay::start().await;
    let mut lines = 0;
    let mut rows = std::collections::BTreeMap::<&str, usize>::new();
    for line in include_str!("../wire/gateway.jsonl").lines() {
        // Every line, those of other paths too: whatever stands between this process and the
        // gateway may give such an answer to a check.
        let line = Line::read(line);
        let row = line.row();
        let name = &line.name;
        let key = line.key();

        let local = Echo::behind(replay.gate(&line, Limits::local()));
        let first = local.get(&key).await;
        assert_eq!(replay.checks(), 1, "{name}");
        let asked = replay.wacht.journal().checks_asked().remove(0);
        let kind = if line.is_token {
            "oauth_access_token"
        } else {
            "api_key"
        };
        assert_eq!(asked.principal_type, kind, "{name}");
        let again = local.get(&key).await;
        let (answer, asked_again) = match row {
            Row::Yes | Row::RateLimited(_) => {
                assert_identity(&first, &line);
                assert_identity(&again, &line);
                assert!(!first.header("ratelimit").is_empty(), "{name}");
                ("admitted", false)
            }
            Row::No | Row::PermissionDenied => {
                assert_refused(&first, RejectionKind::InvalidKey, &line);
                assert_refused(&again, RejectionKind::InvalidKey, &line);
                ("invalid", false)
            }
            Row::Undecided => {
                assert_refused(&first, RejectionKind::Unavailable, &line);
                assert_refused(&again, RejectionKind::Unavailable, &line);
                assert_eq!(first.retry_after(), NEGATIVE_TTL.as_secs(), "{name}");
                ("undecided", false)
            }
            Row::Outage => {
                assert_refused(&first, RejectionKind::Unavailable, &line);
                assert_refused(&again, RejectionKind::Unavailable, &line);
                assert_eq!(first.retry_after(), 1, "{name}");
                ("outage", true)
            }
        };
        assert_eq!(replay.checks(), 1 + usize::from(asked_again), "{name}");
        *rows.entry(answer).or_default() += 1;

        // What is no yes is forgotten in time, and not before.
        if matches!(row, Row::No | Row::PermissionDenied | Row::Undecided) {
            replay
                .clock
                .advance(NEGATIVE_TTL - Duration::from_millis(1));
            local.get(&key).await;
            assert_eq!(replay.checks(), 1, "{name}");
            replay.clock.advance(Duration::from_millis(1));
            local.get(&key).await;
            assert_eq!(replay.checks(), 2, "{name}");
        }

        let off = Echo::behind(replay.gate(&line, Limits::off()));
        let met = off.get(&key).await;
        assert_eq!(met.status, first.status, "{name}");
        assert_eq!(met.kind(), first.kind(), "{name}");
        assert!(met.header("ratelimit").is_empty(), "{name}");

        under_the_gateways_limits(&replay, &line, row).await;
        lines += 1;
        replay.clock.advance(Duration::from_secs(1));
    }
    println!("{lines} recorded answers: {rows:?}");
    assert_eq!(lines, 266);
    let rows: Vec<_> = rows.into_iter().collect();
    assert_eq!(
        rows,
        [
            ("admitted", 183),
            ("invalid", 45),
            ("outage", 2),
            ("undecided", 36)
        ]
    );
}

async fn under_the_gateways_limits(replay: &Replay, line: &Line, row: Row) {
    let name = &line.name;
    let key = line.key();
    let gate = replay.gate(line, Limits::gateway());
    // Without a requirement, a permission that is missing is none that was asked for.
    let bare = Echo::behind(gate.clone()).get(&key).await;
    match row {
        Row::Yes => assert_identity(&bare, line),
        Row::RateLimited(milliseconds) => {
            assert_refused(&bare, RejectionKind::RateLimited, line);
            let seconds = milliseconds.div_ceil(1000).min(60);
            assert_eq!(bare.retry_after(), seconds, "{name}");
        }
        Row::No | Row::PermissionDenied => assert_refused(&bare, RejectionKind::InvalidKey, line),
        Row::Undecided | Row::Outage => assert_refused(&bare, RejectionKind::Unavailable, line),
    }
    assert_eq!(replay.checks(), 1, "{name}");
    let again = Echo::behind(gate).get(&key).await;
    assert_eq!(again.kind(), bare.kind(), "{name}");
    let remembered = matches!(row, Row::No | Row::PermissionDenied | Row::Undecided);
    assert_eq!(replay.checks(), 1 + usize::from(!remembered), "{name}");

    if row == Row::PermissionDenied {
        let gate = replay.gate(line, Limits::gateway());
        // What was required on record, where it is a plain name as a requirement goes.
        let is_plain = |name: &&String| !name.is_empty() && !name.contains([' ', '\t', '|', '&']);
        let plain: Vec<&str> = line
            .required
            .iter()
            .filter(is_plain)
            .map(|name| &**name)
            .collect();
        let required = if plain.is_empty() { vec!["x"] } else { plain };
        let gate = gate.require(required.as_slice()).unwrap();
        for checks in 1..=2 {
            let met = Echo::behind(gate.clone()).get(&key).await;
            assert_refused(&met, RejectionKind::PermissionDenied, line);
            assert_eq!(replay.checks(), checks, "{name}: nothing is remembered");
        }
        for asked in replay.wacht.journal().checks_asked() {
            assert_eq!(asked.required_permissions, required, "{name}");
        }
    }
}

/// Answers nobody has on record, and what becomes of a key known to be good when they come.
#[tokio::test]
async fn an_answer_that_means_nothing_is_no_verdict() {
    let identity = json!({
        "key_id": "8000000000000001", "deployment_id": "7000000000000001",
        "app_slug": "orders", "key_name": "ci",
    });
    let json = |value: Value| ("application/json", value.to_string());
    let text = |text: &str| ("text/plain", text.to_owned());
    let undecided = [
        (200, json(json!({"allowed": true}))),
        (200, json(json!({"allowed": true, "identity": null}))),
        (
            200,
            json(
                json!({"allowed": true, "identity": {"key_id": "x", "deployment_id": "7000000000000001", "app_slug": "orders"}}),
            ),
        ),
        (200, json(json!({"allowed": "true", "identity": identity}))),
        (
            200,
            json(json!({"allowed": false, "reason": "rate_limited"})),
        ),
        (200, json(json!([]))),
        (200, text("")),
        (200, text(r#"{"allowed":tr"#)),
        (
            200,
            ("text/html", "<p>Log in to the hotel's network</p>".into()),
        ),
        (
            200,
            (
                "application/json",
                format!(
                    "{}{}",
                    json!({"allowed": true, "identity": identity}),
                    " ".repeat(4 * 1024 * 1024)
                ),
            ),
        ),
        (201, json(json!({"allowed": true, "identity": identity}))),
        (204, text("")),
        (301, text("")),
        (304, text("")),
        (307, text("")),
        (400, json(json!({"allowed": false, "request_id": "req_1"}))),
        (401, text("")),
        (401, text("Unauthorized")),
        (401, json(json!({"allowed": false}))),
        (401, json(json!({"allowed": true, "request_id": "req_1"}))),
        (
            401,
            json(json!({"errors": [{"message": "Invalid API key"}]})),
        ),
        (403, text("Invalid API key")),
        (404, text("Invalid API key")),
        (410, text("")),
        (413, text("length limit exceeded")),
        (418, text("")),
        (451, text("")),
    ];
    for (status, (content_type, body)) in undecided {
        let fault = Fault::body(status, content_type, body);
        let scene = Scene::new().await;
        let (known, unknown) = (scene.key(), scene.key());
        let echo = Echo::behind(scene.layer().app("orders"));
        let journal = scene.wacht.journal();
        echo.get(known.secret()).await.assert_ok();

        scene.wacht.fault(On::Checks, fault.clone());
        let met = echo.get(unknown.secret()).await;
        assert_eq!(met.kind(), Some(RejectionKind::Unavailable), "{fault:?}");
        assert_eq!(met.retry_after(), NEGATIVE_TTL.as_secs());
        echo.get(unknown.secret()).await;
        assert_eq!(journal.checks(), 2, "{fault:?} is remembered");

        // Past `stale_while_revalidate` such an answer gives no more grace.
        scene.clock.advance(Duration::from_secs(61));
        let met = echo.get(known.secret()).await;
        assert_eq!(met.kind(), Some(RejectionKind::Unavailable), "{fault:?}");

        scene.wacht.clear_faults();
        scene.clock.advance(NEGATIVE_TTL);
        echo.get(known.secret()).await.assert_ok();
        echo.get(unknown.secret()).await.assert_ok();
    }
}

#[tokio::test]
async fn an_outage_is_never_a_no_and_not_remembered() {
    let statuses = [429, 500, 502, 503, 504, 599].map(Fault::Status);
    let invalid_key = Fault::body(503, "text/plain", "Invalid API key");
    for fault in statuses
        .into_iter()
        .chain([invalid_key, Fault::Drop, Fault::HalfAnswer])
    {
        let scene = Scene::new().await;
        let (known, unknown) = (scene.key(), scene.key());
        let echo = Echo::behind(scene.layer().app("orders"));
        let journal = scene.wacht.journal();
        echo.get(known.secret()).await.assert_ok();

        scene.wacht.fault(On::Checks, fault.clone());
        let met = echo.get(unknown.secret()).await;
        assert_eq!(met.kind(), Some(RejectionKind::Unavailable), "{fault:?}");
        assert_eq!(met.retry_after(), 1, "{fault:?}");
        // Without an answer a check is sent once more.
        let sent = if matches!(fault, Fault::Drop) { 2 } else { 1 };
        assert_eq!(journal.checks(), 1 + sent);
        echo.get(unknown.secret()).await;
        assert_eq!(
            journal.checks(),
            1 + 2 * sent,
            "{fault:?} is asked again at once"
        );

        // Known to be good: through the whole grace, and then no longer.
        for age in [61, 200, 68] {
            scene.clock.advance(Duration::from_secs(age));
            let met = echo.get(known.secret()).await;
            assert_eq!(met.status, 200, "{fault:?} at {age}: {met:?}");
        }
        scene.clock.advance(Duration::from_secs(1));
        let met = echo.get(known.secret()).await;
        assert_eq!(met.kind(), Some(RejectionKind::Unavailable), "{fault:?}");

        scene.wacht.clear_faults();
        // So many failures in a row have opened the breaker.
        scene.clock.advance(Duration::from_secs(2));
        echo.get(known.secret()).await.assert_ok();
        echo.get(unknown.secret()).await.assert_ok();
    }
}

#[tokio::test]
async fn a_definite_no_ends_a_yes_for_good() {
    let denied = json!({
        "request_id": "req_1", "allowed": false, "reason": "permission_denied",
        "identity": {"key_id": "8000000000000001", "deployment_id": "7000000000000001", "app_slug": "orders"},
    });
    let mut quarantined = denied.clone();
    quarantined["reason"] = json!("quarantined");
    let mut unexplained = denied.clone();
    unexplained["reason"] = Value::Null;
    let nos = [
        Fault::body(401, "text/plain", "Invalid API key"),
        Fault::body(
            401,
            "application/json",
            r#"{"request_id":"req_1","allowed":false}"#,
        ),
        Fault::body(200, "application/json", denied.to_string()),
        Fault::body(200, "application/json", quarantined.to_string()),
        Fault::body(200, "application/json", unexplained.to_string()),
    ];
    for no in nos {
        let scene = Scene::new().await;
        let key = scene.key();
        let echo = Echo::behind(scene.layer().app("orders"));
        echo.get(key.secret()).await.assert_ok();

        scene.wacht.fault_times(On::Checks, no.clone(), 1);
        scene.clock.advance(Duration::from_secs(61));
        let met = echo.get(key.secret()).await;
        assert_eq!(met.kind(), Some(RejectionKind::InvalidKey), "{no:?}");

        // The gateway goes down, and when the no is forgotten nobody remembers the yes.
        scene.wacht.refuse_connections(true);
        scene.clock.advance(Duration::from_secs(9));
        let met = echo.get(key.secret()).await;
        assert_eq!(met.kind(), Some(RejectionKind::InvalidKey), "{no:?}");
        scene.clock.advance(Duration::from_secs(1));
        let met = echo.get(key.secret()).await;
        assert_eq!(met.kind(), Some(RejectionKind::Unavailable), "{no:?}");
        assert_eq!(echo.reached(), 1);
    }
}

#[tokio::test]
async fn without_a_negative_ttl_nothing_but_a_yes_is_remembered() {
    let scene = Scene::new().await;
    let policy = CachePolicy::default().negative_ttl(Duration::ZERO);
    let echo = Echo::behind(scene.builder().cache(policy).build().unwrap());
    let key = scene.key();
    for fault in [
        Fault::body(401, "text/plain", "Invalid API key"),
        Fault::Status(400),
    ] {
        scene.wacht.journal().clear();
        scene.wacht.fault_times(On::Checks, fault, 2);
        for checks in 1..=2 {
            assert!(echo.get(key.secret()).await.refusal.is_some());
            assert_eq!(scene.wacht.journal().checks(), checks);
        }
    }
    echo.get(key.secret()).await.assert_ok();
}

#[tokio::test]
async fn an_access_token_is_not_used_past_its_end_nor_without_one() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().app("orders").accept_oauth_tokens());
    let end = scene.clock.unix_time() + Duration::from_secs(20);
    let end = DateTime::from_timestamp(end.as_secs().try_into().unwrap(), 0).unwrap();
    let token = scene.wacht.issue_token("orders").expires_at(end).issue();
    let journal = scene.wacht.journal();
    echo.get(token.secret()).await.assert_ok();
    echo.get(token.secret()).await.assert_ok();
    assert_eq!(journal.checks(), 1);
    // Its end comes sooner than that of the verdict, and an outage does not put it off.
    scene.wacht.refuse_connections(true);
    scene.clock.advance(Duration::from_secs(20));
    echo.get(token.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
    scene.wacht.refuse_connections(false);
    scene.clock.advance(Duration::from_secs(1));
    echo.get(token.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);

    let endless = json!({
        "request_id": "req_1", "allowed": true,
        "identity": {
            "key_id": "9101", "deployment_id": scene.wacht.deployment_id().to_string(),
            "app_slug": "orders", "key_name": "oc_1",
        },
        "metadata": {"scopes": []},
    });
    let endless = Fault::body(200, "application/json", endless.to_string());
    scene.wacht.fault(On::Checks, endless);
    let token = scene.wacht.issue_token("orders").issue();
    journal.clear();
    for checks in 1..=3 {
        echo.get(token.secret()).await.assert_ok();
        assert_eq!(journal.checks(), checks, "each answer is good for once");
    }
}

#[tokio::test]
async fn access_tokens_are_strangers_unless_accepted() {
    let scene = Scene::new().await;
    let token = scene.wacht.issue_token("orders").issue();
    let echo = Echo::behind(scene.layer().app("orders"));
    echo.get(token.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    let asked = scene.wacht.journal().checks_asked();
    assert_eq!(asked[0].principal_type, "api_key");
}
