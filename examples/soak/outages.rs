//! Wacht, coming and going.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use wacht_auth::dev::{Fault, On};

use crate::stage::{DEADLINE, FRESH, OUTAGE, STALE, Soak, add};

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

/// How Wacht is away.
#[derive(Clone)]
enum Outage {
    Fault(On, Fault),
    /// The port closes.
    Refuse,
    /// What is on its way and what is sent on connections there are is never heard of again.
    Swallow,
}

fn outages() -> [Outage; 10] {
    let drip = Fault::SlowDrip(Duration::from_millis(20));
    [
        Outage::Refuse,
        Outage::Fault(On::Checks, Fault::Status(503)),
        Outage::Fault(On::Everything, Fault::Status(500)),
        Outage::Fault(On::Management, Fault::Status(503)),
        Outage::Fault(On::Checks, Fault::Hang),
        Outage::Fault(On::Everything, Fault::Drop),
        Outage::Fault(On::Checks, Fault::Status(429)),
        Outage::Fault(On::Everything, Fault::HalfAnswer),
        Outage::Fault(On::Checks, drip),
        Outage::Swallow,
    ]
}

pub(crate) async fn flap(soak: Arc<Soak>) {
    let rounds = nonsense()
        .into_iter()
        .cycle()
        .zip(outages().into_iter().cycle());
    for ((on, nonsense), outage) in rounds {
        restart(&soak).await;
        step_the_wall_clock(&soak).await;
        sleep(Duration::from_millis(300)).await;
        let begin = Instant::now();
        soak.wacht.fault(on, nonsense);
        sleep(Duration::from_millis(300)).await;
        recovered(&soak, begin).await;

        add(&soak.tally.outages);
        let begin = Instant::now();
        match outage {
            Outage::Fault(on, fault) => soak.wacht.fault(on, fault),
            Outage::Refuse => soak.wacht.refuse_connections(true),
            Outage::Swallow => soak.proxy.swallow_what_is_open(),
        }
        soak.tally.in_outage.store(true, Ordering::SeqCst);
        sleep(OUTAGE).await;
        soak.tally.in_outage.store(false, Ordering::SeqCst);
        // An outage ends no span here: the grace for it is 5 minutes.
        recovered(&soak, begin + Duration::from_secs(300)).await;
    }
}

/// The gateway is replaced, instance by instance and with care: no key may feel it.
async fn restart(soak: &Soak) {
    soak.tally.restarts.fetch_add(1, Ordering::SeqCst);
    for _ in 0..4 {
        soak.proxy.drain_what_is_open();
        sleep(Duration::from_millis(300)).await;
    }
    soak.tally.restarts.fetch_add(1, Ordering::SeqCst);
}

/// An administrator sets the wall clock, forward and back by turns, past the age of every yes: with a
/// gateway that answers, no key may feel it.
async fn step_the_wall_clock(soak: &Soak) {
    const STEP: Duration = Duration::from_secs(400);
    let steps = soak.tally.clock_steps.fetch_add(1, Ordering::SeqCst);
    let now = soak.clock.unix_time();
    let set = if steps.is_multiple_of(2) {
        now + STEP
    } else {
        now - STEP
    };
    soak.clock.set_unix_time(set);
    // Until all that is known is known anew.
    sleep(DEADLINE).await;
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
