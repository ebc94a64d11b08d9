//! Keys that are revoked behind the gate's back: the watch finds them within its bound.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use wacht_auth::RejectionKind;

use crate::stage::{DEADLINE, Soak, add};

/// So many at the same time.
pub(crate) const AT_ONCE: usize = 8;

/// A key comes, is used and is revoked elsewhere, and comes again until it is refused. The gateway
/// would say yes to it for a minute.
pub(crate) async fn revoked_elsewhere(soak: Arc<Soak>) {
    while soak.goes_on() {
        let key = soak.wacht.issue_key("orders").issue();
        if soak.ask(key.secret()).await.is_some() {
            // An outage.
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let mut bound = longest_unseen(&soak);
        soak.wacht.revoke(key.key_id());
        let revoked = Instant::now();
        loop {
            bound = bound.max(longest_unseen(&soak));
            // Looked at before the request is sent.
            let age = revoked.elapsed();
            match soak.ask(key.secret()).await {
                Some(RejectionKind::InvalidKey) => break,
                None if age > bound + 2 * DEADLINE => {
                    let what = format!("a key revoked elsewhere {age:?} ago, the bound {bound:?}");
                    soak.tally.wrong_admission(&what);
                    break;
                }
                _ if soak.over.load(Ordering::Relaxed) => return,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
        add(&soak.tally.seen_elsewhere);
        let millis = u64::try_from(revoked.elapsed().as_millis()).unwrap_or(u64::MAX);
        soak.tally
            .longest_elsewhere
            .fetch_max(millis, Ordering::Relaxed);
    }
}

fn longest_unseen(soak: &Soak) -> Duration {
    let watch = soak.gate.handle().stats().watch;
    watch.map_or(Duration::ZERO, |watch| watch.longest_unseen)
}
