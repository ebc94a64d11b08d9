//! What all traffic shares: Wacht, the gate before it, and what has been counted.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use wacht_auth::dev::{DevGateway, DevKey, DevRule, ManualClock};
use wacht_auth::{CachePolicy, Rejection, RejectionKind, WachtAuthLayer, WachtClient, Watch};

use crate::proxy::Proxy;

// Short, so that a verdict passes through all its ages in every round.
pub(crate) const FRESH: Duration = Duration::from_millis(300);
pub(crate) const STALE: Duration = Duration::from_millis(2500);
/// Longer than a verdict lives without the grace for outages.
pub(crate) const OUTAGE: Duration = Duration::from_millis(3200);
/// What a check may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// Requests per key and second in the app `metered`.
pub(crate) const METERED: i32 = 20;
/// What a key of the app `flipped` may use in a day, one after the other.
pub(crate) const FLIPPED: [i32; 3] = [100, 101, 102];
const KNOWN_KEYS: usize = 64;
/// How many revoked keys are tried again and again.
const GHOSTS: usize = 256;

pub(crate) struct Soak {
    pub(crate) wacht: DevGateway,
    pub(crate) proxy: Arc<Proxy>,
    /// The gate's time: it runs like any other, until the wall clock is set.
    pub(crate) clock: ManualClock,
    pub(crate) client: WachtClient,
    pub(crate) gate: WachtAuthLayer,
    /// Keys of `orders` that the gate has seen.
    pub(crate) known: Vec<DevKey>,
    /// A key of `metered` that the gate has seen.
    pub(crate) metered: DevKey,
    /// Keys that the gate has seen, of an app that only the gateway can count and of one whose scheme
    /// changes all the time.
    pub(crate) counted: DevKey,
    pub(crate) flipped: DevKey,
    /// Keys whose revocation has been sent.
    pub(crate) revoked: Mutex<Vec<Arc<DevKey>>>,
    pub(crate) tally: Tally,
    pub(crate) over: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: AtomicU64,
    pub(crate) known: AtomicU64,
    pub(crate) known_in_outage: AtomicU64,
    pub(crate) newcomers: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) bad: AtomicU64,
    pub(crate) revocations: AtomicU64,
    pub(crate) revoked: AtomicU64,
    pub(crate) metered: AtomicU64,
    pub(crate) limited: AtomicU64,
    pub(crate) counted: AtomicU64,
    pub(crate) flipped: AtomicU64,
    pub(crate) elsewhere: AtomicU64,
    pub(crate) clock_steps: AtomicU64,
    /// Keys that were refused after they were revoked elsewhere, and the longest that took, in ms.
    pub(crate) seen_elsewhere: AtomicU64,
    pub(crate) longest_elsewhere: AtomicU64,
    pub(crate) checks: AtomicU64,
    pub(crate) management_calls: AtomicU64,
    pub(crate) outages: AtomicU64,
    pub(crate) in_outage: AtomicBool,
    /// Odd while the gateway is being restarted with care.
    pub(crate) restarts: AtomicU64,
    pub(crate) renewing: AtomicBool,
    pub(crate) spans_are_over: AtomicBool,
    pub(crate) past_the_spans: AtomicU64,
    pub(crate) wrong_admissions: AtomicU64,
    pub(crate) wrong_refusals: AtomicU64,
    pub(crate) complaints: Mutex<Vec<String>>,
}

impl Soak {
    pub(crate) async fn new() -> Result<Arc<Self>, Box<dyn Error>> {
        // As Wacht does: a yes stands for a while whatever is revoked meanwhile.
        let wacht = DevGateway::start().await;
        let wacht = wacht.revocation_lag(Duration::from_secs(60));
        let plenty = DevRule::per_key(1_000_000, "second", 1);
        wacht.app("orders").scheme([plenty]);
        let metered = DevRule::per_key(METERED, "second", 1);
        wacht.app("metered").scheme([metered]);
        wacht.app("elsewhere");
        // For the gateway to say, not for the gate: it knows no such unit.
        let nobody_knows = DevRule::per_key(1_000_000, "fortnight", 1);
        wacht.app("counted").scheme([nobody_knows]);
        wacht.app("flipped").scheme([per_day(FLIPPED[0])]);
        let target: SocketAddr = wacht.url().trim_start_matches("http://").parse()?;
        let proxy = Proxy::start(target).await?;
        let client = WachtClient::builder(wacht.management_key())
            .api_url(proxy.url())
            .gateway_url(proxy.url())
            .build()?;
        let clock = ManualClock::new();
        let ages = CachePolicy::default()
            .fresh_for(FRESH)
            .stale_while_revalidate(STALE)
            .negative_ttl(Duration::from_secs(1));
        let gate = WachtAuthLayer::builder(client.clone())
            .cache(ages)
            .deadline(DEADLINE)
            .watch(Watch::every(Duration::from_secs(1)).answer_limit(16 << 20))
            .clock(&clock)
            .build()?
            .apps(["orders", "metered", "counted", "flipped"]);
        let issue = |app: &str| wacht.issue_key(app).issue();
        Ok(Arc::new(Self {
            known: (0..KNOWN_KEYS).map(|_| issue("orders")).collect(),
            metered: issue("metered"),
            counted: issue("counted"),
            flipped: issue("flipped"),
            proxy,
            clock,
            wacht,
            client,
            gate,
            revoked: Mutex::default(),
            tally: Tally::default(),
            over: AtomicBool::new(false),
        }))
    }

    /// Sends one request through the gate; `None` when it reached the service behind it.
    pub(crate) async fn ask(&self, key: &str) -> Option<RejectionKind> {
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

    pub(crate) fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn revoked(&self) -> Vec<Arc<DevKey>> {
        let revoked = self.revoked.lock();
        revoked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn bury(&self, key: &Arc<DevKey>) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        if revoked.len() == GHOSTS {
            revoked.remove(0);
        }
        revoked.push(Arc::clone(key));
    }

    pub(crate) fn seen(&self) -> impl Iterator<Item = &DevKey> {
        self.known.iter().chain([&self.metered])
    }

    pub(crate) fn refused_a_known_key(&self, what: &str, kind: RejectionKind) {
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
    pub(crate) fn take_journal(&self) {
        let journal = self.wacht.journal();
        let (checks, management) = (journal.checks(), journal.management_calls());
        journal.clear();
        let count = |of: &AtomicU64, new: usize| of.fetch_add(new as u64, Ordering::Relaxed);
        count(&self.tally.checks, checks);
        count(&self.tally.management_calls, management);
    }
}

impl Tally {
    pub(crate) fn wrong_admission(&self, what: &str) {
        add(&self.wrong_admissions);
        self.complain(format!("admitted: {what}"));
    }

    pub(crate) fn wrong_refusal(&self, what: &str, kind: RejectionKind) {
        add(&self.wrong_refusals);
        self.complain(format!("refused as {kind:?}: {what}"));
    }

    pub(crate) fn complain(&self, complaint: String) {
        let complaints = self.complaints.lock();
        let mut complaints = complaints.unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < 5 {
            complaints.push(complaint);
        }
    }
}

pub(crate) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// The scheme of the app `flipped`, one of them.
pub(crate) fn per_day(max: i32) -> DevRule {
    DevRule::per_key(max, "day", 1)
}
