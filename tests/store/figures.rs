//! What a gate says of its store, to the program and to a recorder.

use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{AuthContext, AuthHandle, Limits, StoreStats};

use crate::limits::replica;
use crate::server::Redis;
use crate::stage::eventually;

async fn stage(server: &Redis) -> (DevGateway, AuthHandle) {
    let wacht = DevGateway::start().await;
    wacht.set_scheme("orders", [DevRule::per_key(1_000, "hour", 1)]);
    let gate = replica(&wacht, &server.url(), Limits::shared());
    (wacht, gate)
}

fn store(gate: &AuthHandle) -> StoreStats {
    gate.stats().store.unwrap()
}

#[tokio::test]
async fn leases_show_until_their_time_is_over() {
    let Some(server) = Redis::start() else { return };
    let (wacht, gate) = stage(&server).await;
    let key = wacht.issue_key("orders").issue();
    let context = AuthContext::new("/");
    assert_eq!((store(&gate).leases, store(&gate).leased_units), (0, 0));
    // The more there are, the more are granted at once.
    eventually("units are granted ahead", async || {
        gate.authenticate_key(key.secret(), &context).await.unwrap();
        let store = store(&gate);
        assert!(store.leased_units >= store.leases, "{store:?}");
        store.leases > 0 && store.leased_units > store.leases
    })
    .await;
    eventually("all of them end", async || {
        tokio::task::yield_now().await;
        let store = store(&gate);
        (store.leases, store.leased_units) == (0, 0)
    })
    .await;
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_time_of_each_call_is_told() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

    /// How many calls were told since this was last asked, by result.
    fn told(heard: &Snapshotter) -> [u64; 2] {
        let mut told = [0; 2];
        for (key, _, _, value) in heard.snapshot().into_vec() {
            let DebugValue::Histogram(times) = value else {
                continue;
            };
            if key.key().name() == "wacht_auth.store.call.duration" {
                assert!(times.iter().all(|time| time.into_inner() > 0.0));
                let labels: Vec<_> = key.key().labels().map(metrics::Label::value).collect();
                told[usize::from(labels == ["failed"])] += times.len() as u64;
            }
        }
        told
    }

    let Some(mut server) = Redis::start() else {
        return;
    };
    let recorder = DebuggingRecorder::new();
    let heard = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (wacht, gate) = stage(&server).await;
    let key = wacht.issue_key("orders").issue();
    let context = AuthContext::new("/");
    gate.authenticate_key(key.secret(), &context).await.unwrap();
    // All of it happens on this thread, so that none comes in between.
    let mut sum = told(&heard);
    let stats = store(&gate);
    assert_eq!(sum, [stats.calls, stats.failed_calls]);
    assert!(
        stats.calls >= 2,
        "the limit, and the list of apps: {stats:?}"
    );

    server.kill();
    eventually("a call fails", async || {
        let _ = gate.authenticate_key(key.secret(), &context).await;
        store(&gate).away
    })
    .await;
    let [answered, failed] = told(&heard);
    sum = [sum[0] + answered, sum[1] + failed];
    let stats = store(&gate);
    assert_eq!(sum, [stats.calls, stats.failed_calls]);
}
