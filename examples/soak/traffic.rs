//! Who comes: each with what it must meet, and must not.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::poll_immediate;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wacht_auth::api::api_keys::RevokeApiKeyRequest;
use wacht_auth::dev::DevDeployment;
use wacht_auth::{RejectionKind, WachtClient};

use crate::stage::{DEADLINE, FLIPPED, METERED, Soak, add, get, per_day};

/// Callers with keys that the gate has seen: nothing may keep them out.
pub(crate) async fn known(soak: Arc<Soak>) {
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
pub(crate) async fn newcomers(soak: Arc<Soak>) {
    while soak.goes_on() {
        let key = soak.wacht.issue_key("orders").issue();
        let restarts = soak.tally.restarts.load(Ordering::SeqCst);
        let met = soak.ask(key.secret()).await;
        let is_restarting =
            !restarts.is_multiple_of(2) && soak.tally.restarts.load(Ordering::SeqCst) == restarts;
        match met {
            None => add(&soak.tally.newcomers),
            Some(RejectionKind::Unavailable) if !is_restarting => add(&soak.tally.unavailable),
            Some(kind) => soak.tally.wrong_refusal("a new key", kind),
        }
        soak.wacht.revoke(key.key_id());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Whoever has no business here.
pub(crate) async fn intruders(soak: Arc<Soak>, strangers: DevDeployment) {
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
pub(crate) async fn metered(soak: Arc<Soak>) {
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
pub(crate) async fn revoker(soak: Arc<Soak>) {
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
pub(crate) async fn ghosts(soak: Arc<Soak>) {
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

/// One key of an app that only the gateway can count, asked for a thousand times at once: others
/// must not feel it.
pub(crate) async fn counted(soak: Arc<Soak>) {
    while soak.goes_on() {
        let mut callers = JoinSet::new();
        for _ in 0..1_000 {
            let soak = Arc::clone(&soak);
            callers.spawn(async move {
                match soak.ask(soak.counted.secret()).await {
                    None => add(&soak.tally.counted),
                    // Its own crowd, or an outage.
                    Some(RejectionKind::Unavailable) => {}
                    Some(kind) => soak
                        .tally
                        .wrong_refusal("a key that the gateway counts", kind),
                }
            });
        }
        callers.join_all().await;
        sleep(Duration::from_secs(1)).await;
    }
}

/// A caller whose app's scheme changes all the time: no change gives it more than the schemes do.
pub(crate) async fn flipped(soak: Arc<Soak>) {
    let begin = Instant::now();
    for max in FLIPPED.into_iter().cycle() {
        if !soak.goes_on() {
            break;
        }
        soak.wacht.set_scheme("flipped", [per_day(max)]);
        soak.gate.handle().invalidate_app("flipped");
        for _ in 0..50 {
            match soak.ask(soak.flipped.secret()).await {
                None => add(&soak.tally.flipped),
                // Forgotten in an outage, it is as unknown as any.
                Some(RejectionKind::RateLimited | RejectionKind::Unavailable) => {}
                Some(kind) => soak.tally.wrong_refusal("a key whose scheme changes", kind),
            }
        }
        sleep(Duration::from_millis(700)).await;
    }
    // The largest of them, the one that was asked for the warm-up, and what a day's limit gives
    // back meanwhile.
    let most = f64::from(FLIPPED[2]);
    let bound = most + 1.0 + most * begin.elapsed().as_secs_f64() / 86_400.0;
    if get(&soak.tally.flipped) as f64 > bound {
        soak.tally
            .wrong_admission("more of a key than any scheme of its app allows");
    }
}

/// Callers on a runtime of their own, of a kind that nobody drives most of the time: whoever waits
/// for something that was begun there must not be the worse for it.
pub(crate) fn of_another_runtime(soak: &Arc<Soak>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for key in 0..soak.known.len() {
        let soak = Arc::clone(soak);
        runtime.spawn(async move {
            while soak.goes_on() {
                match soak.ask(soak.known[key].secret()).await {
                    None => add(&soak.tally.elsewhere),
                    // Its own time-outs ran while nobody drove it.
                    Some(RejectionKind::Unavailable) => {}
                    Some(kind) => soak.tally.wrong_refusal("a known key elsewhere", kind),
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
    while soak.goes_on() {
        runtime.block_on(async { sleep(Duration::from_millis(200)).await });
        std::thread::sleep(2 * DEADLINE);
    }
    Ok(())
}

/// The gate's clock, which runs like any other.
pub(crate) async fn clock(soak: Arc<Soak>) {
    let mut last = Instant::now();
    while soak.goes_on() {
        sleep(Duration::from_millis(1)).await;
        soak.clock.advance(last.elapsed());
        last = Instant::now();
    }
}
