//! Every way in which Wacht can fail, and what callers see of it: the table of `docs/faults.md`,
//! a test for each row.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use wacht_auth::dev::On::{Checks, Everything, Management};
use wacht_auth::dev::{DevKey, DevRule, Fault, On};
use wacht_auth::{Limits, RejectionKind, WachtAuthLayer, WachtClient};

use crate::scene::{Echo, Met, Scene, eventually, get, in_vain, landed, made_up};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);
/// How long the breaker stays open.
const OPEN_FOR: Duration = Duration::from_secs(2);
const NEGATIVE_TTL: Duration = Duration::from_secs(10);
/// Failures in a row that open the breaker.
const IN_A_ROW: usize = 5;
/// How long a call may take that is waited for [`in_vain`].
const SHORT: Duration = Duration::from_secs(1);

/// A row of the table. What it says is measured; its words are made from what was expected.
struct Row {
    fault: &'static str,
    cause: Cause,
    start: Start,
    sees: Sees,
}

/// What goes wrong.
enum Cause {
    With(fn() -> Vec<(On, Fault)>),
    /// Everything accepted is closed at once.
    Closing,
    /// What stands between the gate and the gateway does this.
    Between(Line),
    /// The gateway is asked over TLS and has none.
    Tls,
    /// It comes and goes.
    Flapping(&'static [On]),
}

/// What was known before it went wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// A key and its app; others ask with keys of the same app.
    Known,
    /// The same, where the gateway counts.
    GatewayLimits,
    /// The same, where the app has a rule that only the gateway can count.
    GatewayRule,
    /// A key and its app; others ask with keys of an app made since.
    NewApp,
    /// Nothing.
    Nothing,
    /// Nothing but the deployment.
    Deployment,
}

/// What comes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// No answer that could be used: the breaker's business.
    Outage,
    /// An answer that is neither yes nor no.
    Undecided,
    /// A definite no to everybody.
    No,
    /// The right answer, late.
    Late,
    /// The gateway is well; what is known of its apps is as old as it is.
    OldRules,
    /// The gateway is well; there are no rules to count by.
    NoRules,
    /// Nobody knows whose keys are ours.
    NoDeployment,
    OutageNow,
    OnAndOff,
}

impl Row {
    const fn gateway(fault: &'static str, with: fn() -> Vec<(On, Fault)>, sees: Sees) -> Self {
        let cause = Cause::With(with);
        Self::new(fault, cause, Start::Known, sees)
    }

    const fn new(fault: &'static str, cause: Cause, start: Start, sees: Sees) -> Self {
        Self {
            fault,
            cause,
            start,
            sees,
        }
    }

    /// Whether the management API says that it is called too often.
    fn is_told_to_wait(&self) -> bool {
        let Cause::With(faults) = self.cause else {
            return false;
        };
        let is_429 = |fault: &(On, Fault)| matches!(fault, (Management, Fault::Status(429)));
        faults().iter().any(is_429)
    }

    /// Whether each check is sent twice: its connection ends before an answer.
    fn is_sent_twice(&self) -> bool {
        match self.cause {
            Cause::With(faults) => matches!(*faults(), [(Checks, Fault::Drop)]),
            Cause::Closing => true,
            _ => false,
        }
    }

    /// When the management API is called again after its first failure.
    fn retry(&self) -> Duration {
        match self.is_told_to_wait() {
            true => 60 * SECOND,
            false => SECOND,
        }
    }

    /// The row as it stands in the document.
    fn line(&self) -> String {
        let nothing_known = matches!(self.start, Start::Nothing | Start::Deployment);
        let known = match self.sees {
            _ if nothing_known => "none is known",
            Sees::Outage => "passes for 330 s",
            Sees::Undecided => "passes for 60 s",
            Sees::No => "401 once it is asked about, after 30 to 60 s",
            Sees::OutageNow => "503",
            _ => "passes",
        };
        let unknown = match self.sees {
            Sees::Outage | Sees::OutageNow => "503, again in 1 or 2 s",
            Sees::NoDeployment => "503, again in 1 s",
            Sees::Undecided => "503, again in 10 s",
            Sees::No => "401",
            Sees::Late => "waits and passes",
            Sees::OldRules => "passes, under the limits last heard of",
            Sees::NoRules => "passes, under the limits that the gateway counts",
            Sees::OnAndOff => "503 while the gateway is off",
        };
        let calls = match self.sees {
            Sees::Outage if self.is_sent_twice() => "10, then 2 in 2 s",
            Sees::Outage | Sees::OutageNow => "5, then 1 in 2 s",
            Sees::Undecided | Sees::No => "1 per key in 10 s",
            Sees::Late | Sees::OldRules => "1 per key",
            Sees::NoRules | Sees::NoDeployment => "1 per request",
            Sees::OnAndOff => "each time 5, then 1 in 2 s",
        };
        let recovers = match self.sees {
            Sees::Outage | Sees::OutageNow if matches!(self.cause, Cause::Tls) => "a restart",
            Sees::Outage | Sees::OutageNow | Sees::OnAndOff => "2 s",
            Sees::Undecided | Sees::No => "10 s",
            Sees::Late => "at once",
            _ if self.is_told_to_wait() => "60 s",
            Sees::OldRules | Sees::NoRules | Sees::NoDeployment => "1 s, doubling to 60 s",
        };
        format!(
            "| {} | {known} | {unknown} | {calls} | {recovers} |",
            self.fault
        )
    }
}

/// A row for each name: the test of that name, and a line of the document.
macro_rules! rows {
    ($($name:ident: $row:expr;)*) => {
        const ROWS: &[Row] = &[$($row),*];

        /// One test for each row of the table.
        mod row {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    try_out(&$row).await;
                }
            )*
        }
    };
}

macro_rules! on {
    ($on:expr, $fault:expr) => {
        || vec![($on, $fault)]
    };
}

use self::Cause as C;
use self::Sees as S;
use self::Start as St;

rows! {
    refused: Row::new("gateway refuses connections", C::Between(Line::Refuse), St::Known, S::Outage);
    closing: Row::new("gateway and management API close every connection", C::Closing, St::Known, S::Outage);
    dropped: Row::gateway("gateway closes the connection in place of an answer", on!(Checks, Fault::Drop), S::Outage);
    hangs: Row::gateway("gateway hangs", on!(Checks, Fault::Hang), S::Outage);
    status_500: Row::gateway("gateway: 500", on!(Checks, Fault::Status(500)), S::Outage);
    status_502: Row::gateway("gateway: 502", on!(Checks, Fault::Status(502)), S::Outage);
    status_503: Row::gateway("gateway: 503", on!(Checks, Fault::Status(503)), S::Outage);
    status_504: Row::gateway("gateway: 504", on!(Checks, Fault::Status(504)), S::Outage);
    status_429: Row::gateway("gateway: 429", on!(Checks, Fault::Status(429)), S::Outage);
    half_an_answer: Row::gateway("gateway: half an answer", on!(Checks, Fault::HalfAnswer), S::Outage);
    slow_drip: Row::gateway("gateway: an answer byte by byte, past the deadline", on!(Checks, Fault::SlowDrip(SECOND)), S::Outage);
    not_http: Row::new("gateway does not speak HTTP", C::Between(Line::Babble), St::Known, S::Outage);
    no_tls: Row::new("gateway does not speak TLS where it should", C::Tls, St::Deployment, S::Outage);
    late: Row::gateway("gateway is slow, within the deadline", on!(Checks, Fault::Delay(Duration::from_millis(30))), S::Late);
    garbage: Row::gateway("gateway: 200 with garbage", on!(Checks, Fault::body(200, "application/json", r#"{"allowed":tr"#)), S::Undecided);
    hotel: Row::gateway("gateway: 200 with somebody's login page", on!(Checks, Fault::body(200, "text/html", "<p>Room number?</p>")), S::Undecided);
    nobody: Row::gateway("gateway: yes, without saying to whom", on!(Checks, Fault::body(200, "application/json", r#"{"allowed":true}"#)), S::Undecided);
    ten_megabytes: Row::gateway("gateway: 200 with 10 MB", on!(Checks, Fault::Huge(10 << 20)), S::Undecided);
    redirect: Row::gateway("gateway: 307", on!(Checks, Fault::Redirect("http://127.0.0.1:1/".to_owned())), S::Undecided);
    status_202: Row::gateway("gateway: 202", on!(Checks, Fault::body(202, "application/json", r#"{"allowed":true}"#)), S::Undecided);
    status_400: Row::gateway("gateway: 400", on!(Checks, Fault::Status(400)), S::Undecided);
    status_403: Row::gateway("gateway: 403", on!(Checks, Fault::Status(403)), S::Undecided);
    status_404: Row::gateway("gateway: 404", on!(Checks, Fault::Status(404)), S::Undecided);
    status_413: Row::gateway("gateway: 413", on!(Checks, Fault::Status(413)), S::Undecided);
    status_415: Row::gateway("gateway: 415", on!(Checks, Fault::Status(415)), S::Undecided);
    status_422: Row::gateway("gateway: 422", on!(Checks, Fault::Status(422)), S::Undecided);
    status_401: Row::gateway("gateway: 401 that is not Wacht's", on!(Checks, Fault::body(401, "text/plain", "Unauthorized")), S::Undecided);
    odd_reason: Row::gateway("gateway: no, for a reason not heard of before", on!(Checks, Fault::body(200, "application/json", r#"{"allowed":false,"reason":"full_moon"}"#)), S::No);
    denied: Row::gateway("gateway has lost its keys: `Invalid API key` to everybody", on!(Checks, Fault::body(401, "text/plain", "Invalid API key")), S::No);
    counts_and_fails: Row::new("gateway: 503, under `Limits::gateway()`", C::With(on!(Checks, Fault::Status(503))), St::GatewayLimits, S::OutageNow);
    counts_a_rule_and_fails: Row::new("gateway: 503, under a rule that only the gateway can count", C::With(on!(Checks, Fault::Status(503))), St::GatewayRule, S::OutageNow);
    gateway_at_start: Row::new("gateway: 503, at start", C::With(on!(Checks, Fault::Status(503))), St::Nothing, S::Outage);
    gateway_flaps: Row::new("gateway is off and on", C::Flapping(&[Checks]), St::Known, S::OnAndOff);
    management_500: Row::gateway("management API: 500", on!(Management, Fault::Status(500)), S::OldRules);
    management_hangs: Row::gateway("management API hangs", on!(Management, Fault::Hang), S::OldRules);
    management_dropped: Row::gateway("management API closes the connection", on!(Management, Fault::Drop), S::OldRules);
    management_401: Row::gateway("management API: 401", on!(Management, Fault::Status(401)), S::OldRules);
    management_403: Row::gateway("management API: 403", on!(Management, Fault::Status(403)), S::OldRules);
    management_404: Row::gateway("management API: 404 without its envelope", on!(Management, Fault::body(404, "text/plain", "Not Found")), S::OldRules);
    management_429: Row::gateway("management API: 429", on!(Management, Fault::Status(429)), S::OldRules);
    management_garbage: Row::gateway("management API: 200 with garbage", on!(Management, Fault::body(200, "application/json", r#"{"data":{"#)), S::OldRules);
    management_half: Row::gateway("management API: half an answer", on!(Management, Fault::HalfAnswer), S::OldRules);
    management_new_app: Row::new("management API: 500, and an app made since", C::With(on!(Management, Fault::Status(500))), St::NewApp, S::NoRules);
    management_new_app_429: Row::new("management API: 429, and an app made since", C::With(on!(Management, Fault::Status(429))), St::NewApp, S::NoRules);
    management_at_start: Row::new("management API: 500, at start, the deployment not named", C::With(on!(Management, Fault::Status(500))), St::Nothing, S::NoDeployment);
    management_401_at_start: Row::new("management API: 401, at start, the deployment not named", C::With(on!(Management, Fault::Status(401))), St::Nothing, S::NoDeployment);
    management_at_start_named: Row::new("management API: 500, at start, with `.deployment(id)`", C::With(on!(Management, Fault::Status(500))), St::Deployment, S::NoRules);
    management_flaps: Row::new("management API is off and on", C::Flapping(&[Management]), St::Known, S::OldRules);
    both_503: Row::gateway("both: 503", on!(Everything, Fault::Status(503)), S::Outage);
    both_hang: Row::gateway("both hang", on!(Everything, Fault::Hang), S::Outage);
    coupled_503: Row::gateway("gateway: 503, so that the management API answers 401", || vec![(Checks, Fault::Status(503)), (Management, Fault::Status(401))], S::Outage);
    coupled_hangs: Row::gateway("gateway hangs, so that the management API answers 401", || vec![(Checks, Fault::Hang), (Management, Fault::Status(401))], S::Outage);
    both_at_start: Row::new("both: 503, at start", C::With(on!(Everything, Fault::Status(503))), St::Nothing, S::Outage);
    coupled_at_start: Row::new("gateway: 503, so that the management API answers 401, at start", C::With(|| vec![(Checks, Fault::Status(503)), (Management, Fault::Status(401))]), St::Nothing, S::Outage);
    both_flap: Row::new("both are off and on", C::Flapping(&[Everything]), St::Known, S::OnAndOff);
    in_turns: Row::new("one is off while the other is on", C::Flapping(&[Checks, Management]), St::Known, S::OnAndOff);
}

/// One row, with a Wacht of its own for each of its columns.
async fn try_out(row: &Row) {
    if let Cause::Flapping(sides) = row.cause {
        return flapping(row, sides).await;
    }
    match row.sees {
        Sees::Outage | Sees::Undecided | Sees::No => {
            if row.start == Start::Known {
                known_key(row).await;
            }
            unknown_keys(row).await;
        }
        Sees::OutageNow => unknown_keys(row).await,
        Sees::Late => late(row).await,
        Sees::OldRules => old_rules(row).await,
        Sees::NoRules => no_rules(row).await,
        Sees::NoDeployment => no_deployment(row).await,
        Sees::OnAndOff => unreachable!("it flaps"),
    }
}

/// A Wacht that fails in the row's way when told to.
struct Stage {
    scene: Scene,
    wire: Option<Wire>,
    layer: WachtAuthLayer,
    echo: Echo,
    known: DevKey,
    /// Whether calls end when their time is over.
    waits: bool,
    /// Checks that were sent before it failed.
    sound: u64,
}

impl Stage {
    async fn before(row: &Row) -> Self {
        let scene = Scene::new().await;
        let builder = || {
            WachtClient::builder(scene.wacht.management_key())
                .api_url(scene.wacht.url())
                .gateway_url(scene.wacht.url())
        };
        let mut wire = None;
        let client = match &row.cause {
            Cause::Between(_) => {
                let laid = Wire::to(scene.wacht.url()).await;
                let client = builder().gateway_url(laid.url()).build().unwrap();
                wire = Some(laid);
                client
            }
            Cause::Tls => {
                let url = scene.wacht.url().replacen("http://", "https://", 1);
                builder().gateway_url(url).build().unwrap()
            }
            _ => scene.wacht.client(),
        };
        let waits = match &row.cause {
            Cause::With(faults) => faults()
                .iter()
                .any(|(_, fault)| matches!(fault, Fault::Hang | Fault::SlowDrip(_))),
            _ => false,
        };
        let mut builder = WachtAuthLayer::builder(client)
            .clock(&scene.clock)
            .deadline(if waits { SHORT } else { 60 * SECOND });
        match row.start {
            Start::Deployment => builder = builder.deployment(scene.wacht.deployment_id()),
            Start::GatewayLimits => builder = builder.limits(Limits::gateway()),
            Start::GatewayRule => {
                let rule = DevRule::per_app(1_000, "fortnight", 1);
                scene.wacht.set_scheme("orders", [rule]);
            }
            Start::Known | Start::NewApp | Start::Nothing => {}
        }
        let layer = builder.build().unwrap().apps(["orders", "invoices"]);
        let stage = Self {
            known: scene.key(),
            echo: Echo::behind(layer.clone()),
            scene,
            wire,
            layer,
            waits,
            sound: 0,
        };
        if !matches!(row.start, Start::Nothing | Start::Deployment) {
            stage.echo.get(stage.known.secret()).await.assert_ok();
        }
        stage
    }

    async fn fail(&mut self, row: &Row) {
        match &row.cause {
            Cause::With(faults) => {
                for (on, fault) in faults() {
                    self.scene.wacht.fault(on, fault);
                }
            }
            Cause::Closing => self.scene.wacht.refuse_connections(true),
            Cause::Between(line) => self.wire.as_mut().unwrap().switch(*line).await,
            Cause::Tls | Cause::Flapping(_) => {}
        }
        self.scene.wacht.journal().clear();
        self.sound = self.calls();
    }

    /// What depends on the checks that fail now, which may be by the time they take.
    async fn failing<T>(&self, work: impl Future<Output = T>) -> T {
        if !self.waits {
            return work.await;
        }
        let mut ended = self.calls();
        let leap = || {
            let calls = self.calls();
            let arrived = self.scene.wacht.journal().checks();
            let all_wait = calls > ended && calls - self.sound == arrived as u64;
            all_wait.then(|| {
                ended = calls;
                SHORT
            })
        };
        in_vain(leap, work).await
    }

    async fn recover(&mut self) {
        self.scene.wacht.clear_faults();
        self.scene.wacht.refuse_connections(false);
        if let Some(wire) = &mut self.wire {
            wire.switch(Line::Forward).await;
        }
    }

    /// Checks that were sent, arrived or not.
    fn calls(&self) -> u64 {
        self.layer.handle().stats().checks
    }

    async fn landed(&self) {
        landed(&self.layer).await;
    }

    /// What the known key meets; the answer must be there when it is asked for.
    #[track_caller]
    fn at_once(&self, row: &Row) -> Met {
        let met = self.echo.get(self.known.secret()).now_or_never();
        met.unwrap_or_else(|| panic!("{}: a known key had to wait", row.fault))
    }

    /// The same, when it must pass.
    #[track_caller]
    fn passes(&self, row: &Row) {
        assert_met(row, "a known key", &self.at_once(row), None);
    }

    fn newcomers(&self, row: &Row, count: usize) -> Vec<DevKey> {
        let app = match row.start {
            Start::NewApp => "invoices",
            _ => "orders",
        };
        let issue = || self.scene.wacht.issue_key(app).issue();
        (0..count).map(|_| issue()).collect()
    }

    async fn all(&self, keys: &[DevKey]) -> Vec<Met> {
        join_all(keys.iter().map(|key| self.echo.get(key.secret()))).await
    }

    fn advance(&self, by: Duration) {
        self.scene.clock.advance(by);
    }
}

#[track_caller]
fn assert_met(row: &Row, who: &str, met: &Met, refusal: Option<RejectionKind>) {
    assert_eq!(met.kind(), refusal, "{}: {who}: {met:?}", row.fault);
    let status = refusal.map_or(http::StatusCode::OK, RejectionKind::status);
    assert_eq!(met.status, status, "{}: {who}", row.fault);
}

/// A key that passed before the fault, second by second of its age.
async fn known_key(row: &Row) {
    let mut stage = Stage::before(row).await;
    stage.fail(row).await;
    stage.passes(row);
    assert_eq!(
        stage.calls(),
        1,
        "{}: fresh, it is not asked about",
        row.fault
    );

    stage.advance(45 * SECOND);
    for _ in 0..50 {
        stage.passes(row);
    }
    stage.failing(stage.landed()).await;
    let name = row.fault;
    assert!(stage.calls() <= 2, "{name}: one refresh, {}", stage.calls());
    if row.sees == Sees::No {
        let met = stage.at_once(row);
        assert_met(row, "its end", &met, Some(RejectionKind::InvalidKey));
        stage.recover().await;
        stage.advance(NEGATIVE_TTL - MOMENT);
        let met = stage.at_once(row);
        assert_met(row, "remembered", &met, Some(RejectionKind::InvalidKey));
        stage.advance(MOMENT);
        let met = stage.echo.get(stage.known.secret()).await;
        return assert_met(row, "recovered", &met, None);
    }

    stage.advance(15 * SECOND - MOMENT);
    stage.passes(row);
    stage.failing(stage.landed()).await;
    stage.advance(MOMENT);
    if row.sees == Sees::Outage {
        // The outage is known as long as the last check has failed within half a minute.
        let waits = [25 * SECOND; 10]
            .into_iter()
            .chain([20 * SECOND - MOMENT, MOMENT]);
        for wait in waits {
            stage.passes(row);
            stage.failing(stage.landed()).await;
            stage.advance(wait);
        }
    }
    let met = stage.failing(stage.echo.get(stage.known.secret())).await;
    assert_met(row, "over", &met, Some(RejectionKind::Unavailable));
}

/// Keys that were never asked about, ten of them, half of them at the same moment.
async fn unknown_keys(row: &Row) {
    let name = row.fault;
    let mut stage = Stage::before(row).await;
    let newcomers = stage.newcomers(row, 2 * IN_A_ROW);
    stage.fail(row).await;
    let before = stage.calls();
    let is_outage = matches!(row.sees, Sees::Outage | Sees::OutageNow);
    let (refusal, wait, calls, after) = match row.sees {
        Sees::No => (RejectionKind::InvalidKey, [0, 0], 10, NEGATIVE_TTL),
        Sees::Undecided => (RejectionKind::Unavailable, [10, 10], 10, NEGATIVE_TTL),
        _ => (RejectionKind::Unavailable, [1, 2], 5, OPEN_FOR),
    };
    let (first, rest) = newcomers.split_at(IN_A_ROW);
    for (keys, wait) in [first, rest].into_iter().zip(wait) {
        for met in stage.failing(stage.all(keys)).await {
            assert_met(row, "an unknown key", &met, Some(refusal));
            if wait > 0 {
                assert_eq!(met.retry_after(), wait, "{name}");
            }
        }
    }
    stage.failing(stage.all(&newcomers)).await;
    assert_eq!(stage.calls() - before, calls, "{name}: calls");
    if matches!(row.cause, Cause::With(_)) {
        let arrived = stage.scene.wacht.journal().checks();
        let times = if row.is_sent_twice() { 2 } else { 1 };
        let sent = calls * times;
        assert_eq!(u64::try_from(arrived).unwrap(), sent, "{name}: arrived");
    }
    let stats = stage.layer.handle().stats();
    assert_eq!(stats.gateway_trusted, !is_outage, "{name}");
    assert_eq!(stats.refused_keys, if is_outage { 0 } else { 10 }, "{name}");
    match row.start {
        Start::Known => stage.passes(row),
        Start::GatewayLimits | Start::GatewayRule => {
            let met = stage.echo.get(stage.known.secret()).await;
            assert_met(row, "a known key", &met, Some(refusal));
        }
        _ => {}
    }

    if matches!(row.cause, Cause::Tls) {
        return;
    }
    stage.recover().await;
    stage.advance(after - MOMENT);
    for met in stage.all(&newcomers).await {
        assert_met(row, "not yet", &met, Some(refusal));
    }
    assert_eq!(stage.calls() - before, calls, "{name}: not yet");
    stage.advance(MOMENT);
    let met = stage.echo.get(newcomers[0].secret()).await;
    assert_met(row, "the first again", &met, None);
    for met in stage.all(&newcomers).await {
        assert_met(row, "recovered", &met, None);
    }
}

async fn late(row: &Row) {
    let mut stage = Stage::before(row).await;
    let newcomers = stage.newcomers(row, 10);
    stage.fail(row).await;
    let before = stage.calls();
    for met in stage.all(&newcomers).await {
        assert_met(row, "an unknown key", &met, None);
    }
    assert_eq!(stage.calls() - before, 10, "{}", row.fault);
    stage.advance(45 * SECOND);
    stage.passes(row);
    stage.landed().await;
    assert_eq!(stage.calls() - before, 11, "{}", row.fault);
}

/// The apps were known and cannot be read any more.
async fn old_rules(row: &Row) {
    let name = row.fault;
    let mut stage = Stage::before(row).await;
    let newcomers = stage.newcomers(row, 10);
    let journal = stage.scene.wacht.journal();
    stage.fail(row).await;
    for wait in [45, 44] {
        stage.advance(wait * SECOND);
        stage.passes(row);
        stage.landed().await;
    }
    // They are older than they should be, and are asked for behind the requests.
    journal.wait_for_management_calls(1).await;
    let before = stage.calls();
    for _ in 0..3 {
        for met in stage.all(&newcomers).await {
            assert_met(row, "an unknown key", &met, None);
        }
    }
    assert_eq!(stage.calls() - before, 10, "{name}: calls");
    stage.advance(row.retry() - MOMENT);
    stage.passes(row);
    stage.landed().await;
    assert_eq!(journal.management_calls(), 1, "{name}");
    stage.advance(MOMENT);
    stage.passes(row);
    journal.wait_for_management_calls(2).await;
    for _ in 0..5 {
        stage.advance(50 * SECOND);
        stage.passes(row);
        stage.landed().await;
    }
    let stats = stage.layer.handle().stats();
    assert!(stats.gateway_trusted, "{name}");
    assert_eq!(stats.refused_keys, 0, "{name}");
    assert!(journal.management_calls() <= 7, "{name}");

    stage.recover().await;
    journal.clear();
    stage.advance(60 * SECOND);
    let met = stage.echo.get(stage.known.secret()).await;
    assert_met(row, "recovered", &met, None);
    let is_heard = || {
        journal
            .entries()
            .iter()
            .any(|call| call.is_management() && call.status == Some(200))
    };
    eventually(async || is_heard()).await;
}

/// The deployment is known, and nothing of the app.
async fn no_rules(row: &Row) {
    let name = row.fault;
    let mut stage = Stage::before(row).await;
    let newcomers = stage.newcomers(row, 3);
    let journal = stage.scene.wacht.journal();
    stage.fail(row).await;
    let before = stage.calls();
    for _ in 0..3 {
        for met in stage.all(&newcomers).await {
            assert_met(row, "an unknown key", &met, None);
        }
    }
    assert_eq!(stage.calls() - before, 9, "{name}: calls");
    assert_eq!(journal.management_calls(), 1, "{name}");
    if row.start == Start::NewApp {
        stage.passes(row);
    }

    stage.recover().await;
    for (wait, is_over) in [(row.retry() - MOMENT, false), (MOMENT, true)] {
        stage.advance(wait);
        for met in stage.all(&newcomers).await {
            assert_met(row, "recovering", &met, None);
        }
        assert_eq!(journal.management_calls() > 1, is_over, "{name}");
    }
    let before = stage.calls();
    for met in stage.all(&newcomers).await {
        assert_met(row, "recovered", &met, None);
    }
    assert_eq!(stage.calls(), before, "{name}: recovered");
}

/// Whose keys are ours was never learned.
async fn no_deployment(row: &Row) {
    let name = row.fault;
    let mut stage = Stage::before(row).await;
    let newcomers = stage.newcomers(row, 3);
    let journal = stage.scene.wacht.journal();
    stage.fail(row).await;
    for _ in 0..3 {
        for met in stage.all(&newcomers).await {
            assert_met(
                row,
                "an unknown key",
                &met,
                Some(RejectionKind::Unavailable),
            );
            assert_eq!(met.retry_after(), 1, "{name}");
        }
    }
    assert_eq!(stage.calls(), 9, "{name}: calls");
    assert_eq!(journal.management_calls(), 1, "{name}");
    let stats = stage.layer.handle().stats();
    assert_eq!((stats.cached_keys, stats.refused_keys), (0, 0), "{name}");

    stage.recover().await;
    stage.advance(SECOND - MOMENT);
    for met in stage.all(&newcomers).await {
        assert_met(row, "not yet", &met, Some(RejectionKind::Unavailable));
    }
    stage.advance(MOMENT);
    for met in stage.all(&newcomers).await {
        assert_met(row, "recovered", &met, None);
    }
}

/// Twenty seconds off, twenty seconds on; of several sides one at a time.
async fn flapping(row: &Row, sides: &[On]) {
    let name = row.fault;
    let stage = Stage::before(row).await;
    for round in 0..8 {
        let off = sides[round % sides.len()].clone();
        let refusal = (off != Management).then_some(RejectionKind::Unavailable);
        stage.scene.wacht.fault(off, Fault::Status(503));
        let newcomers = stage.newcomers(row, 8);
        let before = stage.calls();
        let (first, rest) = newcomers.split_at(IN_A_ROW);
        for keys in [first, rest] {
            for met in stage.all(keys).await {
                assert_met(row, "an unknown key", &met, refusal);
            }
        }
        let calls = if refusal.is_some() { 5 } else { 8 };
        assert_eq!(stage.calls() - before, calls, "{name}: round {round}");
        for is_off in [true, false] {
            for _ in 0..4 {
                stage.passes(row);
                stage.landed().await;
                stage.advance(5 * SECOND);
            }
            if is_off {
                stage.scene.wacht.clear_faults();
            }
        }
        let met = stage.echo.get(newcomers[0].secret()).await;
        assert_met(row, "recovered", &met, None);
        for met in stage.all(&newcomers).await {
            assert_met(row, "recovered", &met, None);
        }
        stage.landed().await;
    }
}

#[test]
fn the_document_has_exactly_these_rows() {
    let page = include_str!("../../docs/faults.md");
    // The faults of connections and of the process name their tests themselves.
    let (tables, _) = page.split_once("\n## Connections\n").unwrap();
    let written: Vec<&str> = tables
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| fault"))
        .collect();
    let tried: Vec<String> = ROWS.iter().map(Row::line).collect();
    assert_eq!(written, tried, "as it should be:\n{}", tried.join("\n"));
}

#[tokio::test]
async fn a_known_key_that_nobody_used_waits_once_for_a_gateway_that_is_down() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.fault(Checks, Fault::Status(503));
    scene.clock.advance(61 * SECOND);
    let held = scene.wacht.hold_checks();
    assert!(echo.get(key.secret()).now_or_never().is_none());
    held.release();
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(29 * SECOND);
    let met = echo.get(key.secret()).now_or_never();
    met.expect("the outage is known").assert_ok();
    landed(&layer).await;
    scene.clock.advance(170 * SECOND);
    let held = scene.wacht.hold_checks();
    let waits = echo.get(key.secret()).now_or_never();
    assert!(waits.is_none(), "nothing is known of the gateway now");
    held.release();
    echo.get(key.secret()).await.assert_ok();
}

#[tokio::test]
async fn a_failure_of_the_past_buys_a_key_no_time() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let (key, other) = (scene.key(), scene.key());
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(35 * SECOND);
    scene.wacht.fault(Checks, Fault::Status(503));
    echo.get(key.secret()).await.assert_ok();
    landed(&layer).await;
    scene.wacht.clear_faults();
    // The gateway answers again, for this key or for another.
    scene.clock.advance(5 * SECOND);
    echo.get(other.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    scene.clock.advance(60 * SECOND);
    let met = echo.get(key.secret()).await;
    met.assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn a_caller_cannot_choose_an_error_that_would_buy_time() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().app("orders"));
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    // Past the age at which it is refreshed behind the request: this one waits for it.
    scene.clock.advance(61 * SECOND);
    let mut odd = get(key.secret());
    *odd.method_mut() = http::Method::DELETE;
    *odd.uri_mut() = "/chosen-by-the-caller".parse().unwrap();
    let agent = "chosen-by-the-caller".parse().unwrap();
    odd.headers_mut().insert("user-agent", agent);
    echo.call(odd).await.assert_ok();
    let asked = scene.wacht.journal().checks_asked().remove(1);
    assert_eq!((&*asked.method, &*asked.resource), ("POST", "/"));
    assert_eq!((asked.client_ip, asked.user_agent), (None, None));
}

// --- the breaker ---

/// A gate whose gateway has just failed often enough, with one key that it knows.
async fn broken() -> (Scene, WachtAuthLayer, Echo, DevKey) {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let known = scene.key();
    echo.get(known.secret()).await.assert_ok();
    scene.wacht.fault(Checks, Fault::Status(503));
    for number in 0..IN_A_ROW {
        let met = echo.get(&made_up(number)).await;
        met.assert_refused(RejectionKind::Unavailable);
    }
    assert!(!layer.handle().stats().gateway_trusted);
    scene.wacht.journal().clear();
    (scene, layer, echo, known)
}

#[tokio::test]
async fn recovery_begins_with_one_probe_whoever_comes() {
    let (scene, layer, echo, known) = broken().await;
    let journal = scene.wacht.journal();
    let keys: Vec<DevKey> = (0..50).map(|_| scene.key()).collect();
    scene.wacht.clear_faults();
    scene.clock.advance(OPEN_FOR);
    let held = scene.wacht.hold_checks();
    let mut callers = JoinSet::new();
    for key in &keys {
        let (echo, secret) = (echo.clone(), key.secret().to_owned());
        callers.spawn(async move { echo.get(&secret).await });
    }
    // The answer is held, and all but the one who waits for it come back.
    for _ in 1..keys.len() {
        let met = callers.join_next().await.unwrap().unwrap();
        met.assert_refused(RejectionKind::Unavailable);
        assert_eq!(met.retry_after(), 2);
    }
    journal.wait_for_checks(1).await;
    assert_eq!(journal.checks(), 1);
    let met = echo.get(known.secret()).now_or_never();
    met.expect("a known key waits for nobody").assert_ok();
    held.release();
    callers.join_next().await.unwrap().unwrap().assert_ok();
    assert!(layer.handle().stats().gateway_trusted);
    for met in join_all(keys.iter().map(|key| echo.get(key.secret()))).await {
        met.assert_ok();
    }
    assert_eq!(journal.checks(), keys.len(), "one for each key");
}

#[tokio::test]
async fn a_gateway_that_stays_down_gets_one_probe_every_two_seconds() {
    let (scene, layer, echo, known) = broken().await;
    let journal = scene.wacht.journal();
    for probes in 1..=20 {
        scene.clock.advance(OPEN_FOR);
        // Known keys in need of a refresh ask no more often than all others.
        echo.get(known.secret()).await.assert_ok();
        for number in 0..10 {
            let met = echo.get(&made_up(number)).await;
            met.assert_refused(RejectionKind::Unavailable);
        }
        landed(&layer).await;
        assert_eq!(journal.checks(), probes);
    }
}

#[tokio::test]
async fn a_gateway_that_fails_every_other_time_is_left_alone() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    for _ in 0..IN_A_ROW {
        assert!(layer.handle().stats().gateway_trusted);
        echo.get(scene.key().secret()).await.assert_ok();
        scene.wacht.fault_times(Checks, Fault::Status(503), 1);
        let met = echo.get(scene.key().secret()).await;
        met.assert_refused(RejectionKind::Unavailable);
    }
    let met = echo.get(scene.key().secret()).await;
    met.assert_refused(RejectionKind::Unavailable);
    assert_eq!(scene.wacht.journal().checks(), 10);
}

#[tokio::test]
async fn what_a_caller_could_bring_about_never_counts_as_an_outage() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    for status in [400, 403, 404, 405, 413, 414, 415, 422, 431] {
        scene.wacht.fault(Checks, Fault::Status(status));
        for number in 0..20 {
            let met = echo.get(&made_up(number + usize::from(status) * 100)).await;
            met.assert_refused(RejectionKind::Unavailable);
        }
        assert!(layer.handle().stats().gateway_trusted, "{status}");
        scene.wacht.clear_faults();
        echo.get(scene.key().secret()).await.assert_ok();
    }
}

#[tokio::test]
async fn checks_that_wait_for_a_place_are_not_sent_to_a_gateway_known_to_be_down() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().app("orders"));
    let journal = scene.wacht.journal();
    scene.wacht.fault(Checks, Fault::Status(503));
    let held = scene.wacht.hold_checks();
    let callers: Vec<_> = (0..400)
        .map(|number| {
            let echo = echo.clone();
            tokio::spawn(async move { echo.get(&made_up(number)).await })
        })
        .collect();
    journal.wait_for_checks(128).await;
    held.release();
    for met in join_all(callers).await {
        met.unwrap().assert_refused(RejectionKind::Unavailable);
    }
    assert!(journal.checks() < 128 + IN_A_ROW, "{}", journal.checks());
}

#[tokio::test]
async fn too_many_callers_for_a_slow_gateway_do_not_look_like_an_outage() {
    let scene = Scene::new().await;
    let builder = scene.builder().deadline(Duration::from_millis(4_000));
    let layer = builder.build().unwrap().app("orders");
    let echo = Echo::behind(layer.clone());
    // Those for whom there was a place at first are answered within the deadline. The others wait no
    // longer than that; what the gateway says of their keys is good for the next time.
    scene
        .wacht
        .fault(Checks, Fault::Delay(Duration::from_millis(2_500)));
    // In real time, five seconds of it: who waits for a place looks at both clocks in turn.
    let all = join_all((0..256).map(async |number| echo.get(&made_up(number)).await)).await;
    let is = |kind| all.iter().filter(|met| met.kind() == Some(kind)).count();
    assert_eq!(is(RejectionKind::InvalidKey), 128);
    assert_eq!(is(RejectionKind::Unavailable), 128);
    landed(&layer).await;
    assert!(layer.handle().stats().gateway_trusted);
    for number in 0..256 {
        let met = echo.get(&made_up(number)).now_or_never();
        let met = met.expect("it was asked about");
        met.assert_refused(RejectionKind::InvalidKey);
    }
}

// --- what stands between ---

/// What a [`Wire`] does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Forward,
    /// Nobody listens.
    Refuse,
    /// It answers with what is no HTTP: the alert of a TLS server that was not greeted as one.
    Babble,
}

/// A port that passes everything on, until it is switched.
struct Wire {
    to: SocketAddr,
    port: SocketAddr,
    // Bound and not listening, so that the port stays ours.
    refusing: Option<TcpSocket>,
    serving: Option<JoinHandle<()>>,
}

impl Wire {
    async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut wire = Self {
            to: url.strip_prefix("http://").unwrap().parse().unwrap(),
            port: listener.local_addr().unwrap(),
            refusing: None,
            serving: None,
        };
        wire.serve(listener, Line::Forward);
        wire
    }

    fn url(&self) -> String {
        format!("http://{}", self.port)
    }

    async fn switch(&mut self, line: Line) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        let socket = self.refusing.take().unwrap_or_else(|| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(self.port).unwrap();
            socket
        });
        match line {
            Line::Refuse => self.refusing = Some(socket),
            Line::Forward | Line::Babble => self.serve(socket.listen(64).unwrap(), line),
        }
    }

    fn serve(&mut self, listener: TcpListener, line: Line) {
        let to = self.to;
        self.serving = Some(tokio::spawn(async move {
            // With this task go its connections.
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    if line == Line::Babble {
                        let _ = stream.read(&mut [0; 1024]).await;
                        let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x28").await;
                        return;
                    }
                    let mut onward = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
                });
            }
        }));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}
