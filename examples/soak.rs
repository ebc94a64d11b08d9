//! What this shows: the gate under mixed traffic while Wacht comes and goes. Nobody gets in who
//! should not, and nobody is kept out whom the gate knows.
//!
//! ```sh
//! cargo run --release --example soak                   # a minute
//! cargo run --release --example soak -- --seconds 600
//! cargo run --example soak -- --self-test              # 5 seconds
//! ```
//!
//! Everything is in this one process, the `DevGateway` that stands in for Wacht included: its
//! memory is in the figures too.

use std::collections::HashSet;
use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::fmt::Display;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use wacht_auth::api::api_keys::RevokeApiKeyRequest;
use wacht_auth::dev::{DevDeployment, DevGateway, DevKey, DevRule, Fault, On};
use wacht_auth::{CachePolicy, Rejection, RejectionKind, WachtAuthLayer, WachtClient};

// Short, so that a verdict passes through all its ages in every round.
const FRESH: Duration = Duration::from_millis(300);
const STALE: Duration = Duration::from_millis(2500);
/// Longer than a verdict lives without the grace for outages.
const OUTAGE: Duration = Duration::from_millis(3200);
/// What a check may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Requests per key and second in the app `metered`.
const METERED: i32 = 20;
const KNOWN_KEYS: usize = 64;
/// How many revoked keys are tried again and again.
const GHOSTS: usize = 256;

// --- what everybody shares ---

struct Soak {
    wacht: DevGateway,
    client: WachtClient,
    gate: WachtAuthLayer,
    /// Keys of `orders` that the gate has seen.
    known: Vec<DevKey>,
    /// A key of `metered` that the gate has seen.
    metered: DevKey,
    /// Keys whose revocation has been sent.
    revoked: Mutex<Vec<Arc<DevKey>>>,
    tally: Tally,
    over: AtomicBool,
}

#[derive(Default)]
struct Tally {
    requests: AtomicU64,
    known: AtomicU64,
    known_in_outage: AtomicU64,
    newcomers: AtomicU64,
    unavailable: AtomicU64,
    bad: AtomicU64,
    revocations: AtomicU64,
    revoked: AtomicU64,
    metered: AtomicU64,
    limited: AtomicU64,
    checks: AtomicU64,
    management_calls: AtomicU64,
    outages: AtomicU64,
    in_outage: AtomicBool,
    renewing: AtomicBool,
    spans_are_over: AtomicBool,
    past_the_spans: AtomicU64,
    wrong_admissions: AtomicU64,
    wrong_refusals: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl Soak {
    async fn new() -> Arc<Self> {
        // As Wacht does: a yes stands for a while whatever is revoked meanwhile.
        let wacht = DevGateway::start().await;
        let wacht = wacht.revocation_lag(Duration::from_secs(60));
        let plenty = DevRule::per_key(1_000_000, "second", 1);
        wacht.app("orders").scheme([plenty]);
        let metered = DevRule::per_key(METERED, "second", 1);
        wacht.app("metered").scheme([metered]);
        wacht.app("elsewhere");
        let client = wacht.client();
        let ages = CachePolicy::default()
            .fresh_for(FRESH)
            .stale_while_revalidate(STALE)
            .negative_ttl(Duration::from_secs(1));
        let gate = WachtAuthLayer::builder(client.clone())
            .cache(ages)
            .deadline(DEADLINE)
            .build()
            .expect("nothing in it can be wrong")
            .apps(["orders", "metered"]);
        let issue = |app: &str| wacht.issue_key(app).issue();
        Arc::new(Self {
            known: (0..KNOWN_KEYS).map(|_| issue("orders")).collect(),
            metered: issue("metered"),
            wacht,
            client,
            gate,
            revoked: Mutex::default(),
            tally: Tally::default(),
            over: AtomicBool::new(false),
        })
    }

    /// Sends one request through the gate; `None` when it reached the service behind it.
    async fn ask(&self, key: &str) -> Option<RejectionKind> {
        let inner = service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let request = Request::get("/items")
            .header("authorization", format!("Bearer {key}"))
            .body(Full::<Bytes>::default());
        // No key here is anything but visible ASCII.
        let request = request.unwrap_or_default();
        let Ok(response) = self.gate.layer(inner).oneshot(request).await;
        add(&self.tally.requests);
        let refusal = response.extensions().get::<Rejection>();
        refusal.map(Rejection::kind)
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn revoked(&self) -> Vec<Arc<DevKey>> {
        let revoked = self.revoked.lock();
        revoked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn bury(&self, key: &Arc<DevKey>) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        if revoked.len() == GHOSTS {
            revoked.remove(0);
        }
        revoked.push(Arc::clone(key));
    }

    fn seen(&self) -> impl Iterator<Item = &DevKey> {
        self.known.iter().chain([&self.metered])
    }

    fn refused_a_known_key(&self, what: &str, kind: RejectionKind) {
        // The one thing a known key can meet: the gateway is up and says nothing of use for
        // longer than the spans go.
        let over = self.tally.spans_are_over.load(Ordering::SeqCst);
        match over && kind == RejectionKind::Unavailable {
            true => add(&self.tally.past_the_spans),
            false => {
                let outage = self.tally.in_outage.load(Ordering::SeqCst);
                let when = if outage { "in" } else { "outside" };
                let outages = get(&self.tally.outages);
                let what = format!("{what}, {when} an outage, after {outages} of them");
                self.tally.wrong_refusal(&what, kind);
            }
        }
    }

    /// Counts the calls of the gateway so far, and lets it forget them.
    fn take_journal(&self) {
        let journal = self.wacht.journal();
        let (checks, management) = (journal.checks(), journal.management_calls());
        journal.clear();
        let count = |of: &AtomicU64, new: usize| of.fetch_add(new as u64, Ordering::Relaxed);
        count(&self.tally.checks, checks);
        count(&self.tally.management_calls, management);
    }
}

impl Tally {
    fn wrong_admission(&self, what: &str) {
        add(&self.wrong_admissions);
        self.complain(format!("admitted: {what}"));
    }

    fn wrong_refusal(&self, what: &str, kind: RejectionKind) {
        add(&self.wrong_refusals);
        self.complain(format!("refused as {kind:?}: {what}"));
    }

    fn complain(&self, complaint: String) {
        let complaints = self.complaints.lock();
        let mut complaints = complaints.unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < 5 {
            complaints.push(complaint);
        }
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

// --- the traffic ---

/// Callers with keys that the gate has seen: nothing may keep them out.
async fn known(soak: Arc<Soak>) {
    while soak.goes_on() {
        for key in &soak.known {
            let outage = soak.tally.in_outage.load(Ordering::SeqCst);
            match soak.ask(key.secret()).await {
                None => {
                    add(&soak.tally.known);
                    if outage {
                        add(&soak.tally.known_in_outage);
                    }
                }
                Some(kind) => soak.refused_a_known_key("a known key", kind),
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Callers with good keys that the gate has never seen: they may have to come again, but must
/// not be told that their keys are bad.
async fn newcomers(soak: Arc<Soak>) {
    while soak.goes_on() {
        let key = soak.wacht.issue_key("orders").issue();
        match soak.ask(key.secret()).await {
            None => add(&soak.tally.newcomers),
            Some(RejectionKind::Unavailable) => add(&soak.tally.unavailable),
            Some(kind) => soak.tally.wrong_refusal("a new key", kind),
        }
        soak.wacht.revoke(key.key_id());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Whoever has no business here.
async fn intruders(soak: Arc<Soak>, strangers: DevDeployment) {
    let elsewhere = soak.wacht.issue_key("elsewhere").issue();
    let strange = strangers.issue_key("orders").issue();
    let mut number = 0_u64;
    while soak.goes_on() {
        number += 1;
        let newly_strange = strangers.issue_key(&format!("app-{number}")).issue();
        let bad = [
            ("a key nobody has", format!("sk_{number:043}")),
            ("a key nobody has, hammered", format!("sk_{:043}", 0)),
            ("no key at all", "sk_short".to_owned()),
            ("a stranger's key", strange.secret().to_owned()),
            ("a stranger's new key", newly_strange.secret().to_owned()),
            ("another app's key", elsewhere.secret().to_owned()),
        ];
        for (what, key) in bad {
            match soak.ask(&key).await {
                None => soak.tally.wrong_admission(what),
                Some(_) => add(&soak.tally.bad),
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A caller with a good key who asks too often: some of it passes, and never more than the rule.
async fn metered(soak: Arc<Soak>) {
    let begin = Instant::now();
    while soak.goes_on() {
        for _ in 0..5 {
            match soak.ask(soak.metered.secret()).await {
                None => add(&soak.tally.metered),
                Some(RejectionKind::RateLimited) => add(&soak.tally.limited),
                Some(kind) => soak.refused_a_known_key("a known, metered key", kind),
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    // A full bucket, what flowed into it since, and the one that was asked for the warm-up.
    let bound = f64::from(METERED) * (begin.elapsed().as_secs_f64() + 1.0);
    if get(&soak.tally.metered) as f64 > bound.ceil() {
        soak.tally
            .wrong_admission("more of a metered key than its rule allows");
    }
}

/// Keys that come, are used and are revoked through the gate's own client.
async fn revoker(soak: Arc<Soak>) {
    while soak.goes_on() {
        // Every revocation keeps the answers that are on their way out of the cache, those about
        // other keys too. When all is to be renewed, it had better be quiet for a moment.
        if soak.tally.renewing.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        let key = Arc::new(soak.wacht.issue_key("orders").issue());
        // In an outage it stays unknown, and then the revocation races the first yes.
        for _ in 0..3 {
            soak.ask(key.secret()).await;
        }
        // The first step of the call sends it. From there on the key is out.
        let mut call = pin!(revoke(&soak.client, key.key_id()));
        let done = poll_immediate(&mut call).await;
        soak.bury(&key);
        add(&soak.tally.revocations);
        let mut is_certain = match done {
            Some(answer) => soak.is_certain(answer),
            None => soak.is_revoked(call).await,
        };
        // Who does not know whether a key is revoked asks again, here as in a real service.
        while !is_certain && soak.goes_on() {
            sleep(Duration::from_millis(300)).await;
            is_certain = soak.is_revoked(revoke(&soak.client, key.key_id())).await;
        }
        // A management key is good for 1000 calls a minute. One more is refused, and then
        // nothing is revoked.
        sleep(Duration::from_millis(150)).await;
    }
}

async fn revoke(client: &WachtClient, key_id: i64) -> wacht_auth::Result<()> {
    let api_keys = client.api_keys();
    let call = api_keys.revoke_api_key("orders", key_id, RevokeApiKeyRequest::default());
    call.send().await.map(drop)
}

impl Soak {
    async fn is_revoked(&self, call: impl Future<Output = wacht_auth::Result<()>>) -> bool {
        let answer = timeout(DEADLINE, call).await;
        answer.is_ok_and(|answer| self.is_certain(answer))
    }

    /// Whether the key is revoked, and not just perhaps.
    fn is_certain(&self, answer: wacht_auth::Result<()>) -> bool {
        match answer {
            // "… or already revoked": an earlier call was served, and its answer lost.
            Err(error) if error.is_not_found() => true,
            Err(error) => {
                let status = error.status();
                if status.is_some_and(|status| status.is_client_error()) {
                    let complaint =
                        format!("a revocation was refused, which spoils the run: {error}");
                    self.tally.complain(complaint);
                }
                false
            }
            Ok(()) => true,
        }
    }
}

/// Callers with revoked keys, who come again as long as they can.
async fn ghosts(soak: Arc<Soak>) {
    while soak.goes_on() {
        // Latest first: it is the one whose revocation may still be under way.
        for key in soak.revoked().iter().rev() {
            match soak.ask(key.secret()).await {
                None => soak.tally.wrong_admission("a revoked key"),
                Some(_) => add(&soak.tally.revoked),
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

// --- Wacht, coming and going ---

/// Answers that are neither yes nor no. The gateway is up, so known keys have only the span of
/// `stale_while_revalidate` to get over them.
fn nonsense() -> [(On, Fault); 5] {
    let html = Fault::body(200, "text/html", "<h1>captive portal</h1>");
    let half_a_yes = Fault::body(200, "application/json", r#"{"allowed":true}"#);
    let checks = |fault| (On::Checks, fault);
    [
        checks(html),
        checks(half_a_yes),
        checks(Fault::Status(403)),
        checks(Fault::Huge(10 << 20)),
        checks(Fault::Redirect("http://127.0.0.1:9/".to_owned())),
    ]
}

fn outages() -> [(On, Option<Fault>); 9] {
    let drip = Fault::SlowDrip(Duration::from_millis(20));
    [
        // The port closes.
        (On::Everything, None),
        (On::Checks, Some(Fault::Status(503))),
        (On::Everything, Some(Fault::Status(500))),
        (On::Management, Some(Fault::Status(503))),
        (On::Checks, Some(Fault::Hang)),
        (On::Everything, Some(Fault::Drop)),
        (On::Checks, Some(Fault::Status(429))),
        (On::Everything, Some(Fault::HalfAnswer)),
        (On::Checks, Some(drip)),
    ]
}

async fn flap(soak: Arc<Soak>) {
    let rounds = nonsense()
        .into_iter()
        .cycle()
        .zip(outages().into_iter().cycle());
    for ((on, nonsense), (down, outage)) in rounds {
        sleep(Duration::from_millis(300)).await;
        let begin = Instant::now();
        soak.wacht.fault(on, nonsense);
        sleep(Duration::from_millis(300)).await;
        recovered(&soak, begin).await;

        add(&soak.tally.outages);
        let begin = Instant::now();
        match outage {
            Some(fault) => soak.wacht.fault(down, fault),
            None => soak.wacht.refuse_connections(true),
        }
        soak.tally.in_outage.store(true, Ordering::SeqCst);
        sleep(OUTAGE).await;
        soak.tally.in_outage.store(false, Ordering::SeqCst);
        // An outage ends no span here: the grace for it is 5 minutes.
        recovered(&soak, begin + Duration::from_secs(300)).await;
    }
}

/// Ends the faults, and waits until the gate has renewed all it knows.
async fn recovered(soak: &Soak, nonsense_since: Instant) {
    soak.tally.renewing.store(true, Ordering::SeqCst);
    soak.wacht.clear_faults();
    soak.wacht.refuse_connections(false);
    soak.take_journal();
    loop {
        sleep(Duration::from_millis(50)).await;
        // What was known then was a little older than `FRESH` at most.
        if nonsense_since.elapsed() > STALE - FRESH {
            soak.tally.spans_are_over.store(true, Ordering::SeqCst);
        }
        let answered: HashSet<String> = soak
            .wacht
            .journal()
            .entries()
            .into_iter()
            .filter(|entry| entry.status == Some(200))
            .filter_map(|entry| Some(entry.check?.key_sha256))
            .collect();
        if soak.seen().all(|key| answered.contains(&key.sha256())) {
            break;
        }
    }
    // The last answers are on their way.
    sleep(DEADLINE).await;
    soak.tally.spans_are_over.store(false, Ordering::SeqCst);
    soak.tally.renewing.store(false, Ordering::SeqCst);
}

// --- the run ---

async fn run(duration: Duration) -> Result<ExitCode, Box<dyn Error>> {
    let soak = Soak::new().await;
    let strangers = soak.wacht.other_deployment();
    for key in soak.seen() {
        // Slow machines get their time before it counts.
        while let Some(kind) = soak.ask(key.secret()).await {
            if kind != RejectionKind::Unavailable {
                return Err(format!("a good key was refused at the start: {kind:?}").into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    let rss_at_start = rss();
    soak.take_journal();
    let before = (
        get(&soak.tally.checks),
        get(&soak.tally.management_calls),
        get(&soak.tally.requests),
    );

    let begin = Instant::now();
    let flapping = tokio::spawn(flap(Arc::clone(&soak)));
    let mut traffic = JoinSet::new();
    traffic.spawn(known(Arc::clone(&soak)));
    traffic.spawn(known(Arc::clone(&soak)));
    traffic.spawn(newcomers(Arc::clone(&soak)));
    traffic.spawn(intruders(Arc::clone(&soak), strangers));
    traffic.spawn(metered(Arc::clone(&soak)));
    traffic.spawn(revoker(Arc::clone(&soak)));
    traffic.spawn(ghosts(Arc::clone(&soak)));
    sleep(duration).await;
    soak.over.store(true, Ordering::Relaxed);
    flapping.abort();
    while let Some(ended) = traffic.join_next().await {
        ended?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    soak.take_journal();

    let tally = &soak.tally;
    let per_second = |count: &AtomicU64, before: u64| {
        let count = get(count) - before;
        format!("{:.1} /s", count as f64 / seconds)
    };
    row("seconds", format!("{seconds:.1}"));
    row("outages", get(&tally.outages));
    row("requests", per_second(&tally.requests, before.2));
    row("gateway calls", per_second(&tally.checks, before.0));
    row(
        "management calls, revocations included",
        per_second(&tally.management_calls, before.1),
    );
    row("admitted: known keys", get(&tally.known));
    row("  of these in an outage", get(&tally.known_in_outage));
    row("put off, the spans over", get(&tally.past_the_spans));
    row("admitted: new keys", get(&tally.newcomers));
    row("put off: new keys", get(&tally.unavailable));
    row("admitted: the metered key", get(&tally.metered));
    row("limited: the metered key", get(&tally.limited));
    row("refused: bad and strangers' keys", get(&tally.bad));
    row("revocations sent", get(&tally.revocations));
    row("refused: revoked keys", get(&tally.revoked));
    let held = soak.gate.handle().stats();
    row("known keys held", held.cached_keys);
    row("refused keys held", held.refused_keys);
    row("RSS at the start", rss_at_start);
    row("RSS at the end", rss());
    let (admissions, refusals) = (get(&tally.wrong_admissions), get(&tally.wrong_refusals));
    row("wrong admissions, must be 0", admissions);
    row("wrong refusals, must be 0", refusals);
    let complaints = tally.complaints.lock();
    let complaints = complaints.unwrap_or_else(PoisonError::into_inner);
    for complaint in complaints.iter() {
        println!("  <- {complaint}");
    }
    // A run in which one of these did not happen has shown nothing.
    let idle = [
        &tally.known_in_outage,
        &tally.newcomers,
        &tally.bad,
        &tally.limited,
        &tally.revoked,
    ];
    let happened = idle.iter().all(|count| get(count) > 0);
    if !happened {
        println!("  <- some kind of traffic never came about");
    }
    Ok(match complaints.is_empty() && happened {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn row(what: &str, value: impl Display) {
    println!("{what:<42} {value:>14}");
}

/// The memory that this process holds, where the system says so.
fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u32>().ok());
    kilobytes.map_or_else(
        || "unknown".to_owned(),
        |kilobytes| format!("{:.1} MiB", f64::from(kilobytes) / 1024.0),
    )
}

fn duration_of(arguments: impl Iterator<Item = String>) -> Result<Duration, String> {
    const USAGE: &str = "usage: soak [--self-test | --seconds N]";
    let mut seconds = 60;
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        seconds = match argument.as_str() {
            "--self-test" => 5,
            "--seconds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                number.ok_or(USAGE)?
            }
            _ => return Err(USAGE.to_owned()),
        };
    }
    Ok(Duration::from_secs(seconds))
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match duration_of(env::args()) {
        Ok(duration) => run(duration).await,
        Err(usage) => Err(usage.into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
