//! Very many that wait.

use super::*;

const WAITERS: usize = 100_000;
/// A thousand streams of each key.
const KEYS: usize = 100;

/// What one that waits may take here, beside its own task and the memory of its caller.
const BYTES_EACH: u64 = 100;
/// The same, if nobody else waits with its key.
const BYTES_OF_A_KEY: i64 = 300;

#[tokio::test]
async fn a_hundred_thousand_wait_in_little_memory_and_an_event_wakes_its_own_alone() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let handle = layer.handle();
    let keys: Vec<_> = (0..KEYS).map(|_| scene.key()).collect();
    let mut callers = Vec::new();
    for key in &keys {
        callers.push(caller(&handle, key).await);
    }
    let woken: Vec<_> = (0..KEYS).map(|_| Arc::<Woken>::default()).collect();
    let mut waiting = Vec::with_capacity(WAITERS);
    let wait = || {
        for number in 0..WAITERS {
            let of = number % KEYS;
            let mut ended = callers[of].ended();
            let waker = Arc::clone(&woken[of]).into();
            let mut cx = Context::from_waker(&waker);
            assert!(Pin::new(&mut ended).poll(&mut cx).is_pending());
            waiting.push(ended);
        }
    };
    let measured = allocation_counter::measure(wait);
    let each = measured.bytes_current / WAITERS as i64;
    let all = measured.bytes_max / WAITERS as u64;
    let future = size_of_val(&waiting[0]);
    println!("{each} bytes each, {all} at most, {future} in the future itself");
    assert!(all <= BYTES_EACH, "{all} bytes each");
    assert_eq!(handle.stats().awaited_ends, WAITERS);

    // Requests wake nobody.
    let echo = Echo::behind(layer.clone());
    for key in &keys {
        echo.get(key.secret()).await.assert_ok();
    }
    assert!(woken.iter().all(|woken| woken.times() == 0));

    handle.revoke_key_id(keys[7].key_id());
    for (of, woken) in woken.iter().enumerate() {
        let own = if of == 7 { WAITERS / KEYS } else { 0 };
        assert_eq!(woken.times(), own);
    }
    let before = allocation_counter::measure(|| drop(waiting));
    assert!(before.bytes_current < 0, "it is given back");
    assert_eq!(handle.stats().awaited_ends, 0);
}

#[tokio::test]
async fn as_many_keys_as_waiters_take_little_memory() {
    let scene = Scene::new().await;
    let builder = scene.builder().limits(Limits::off());
    let layer = builder.build().unwrap().app("orders");
    let handle = layer.handle();
    let mut callers = Vec::new();
    // As many as one can wait for here; what each takes does not depend on their number.
    for _ in 0..2_000 {
        callers.push(caller(&handle, &scene.key()).await);
    }
    let mut waiting = Vec::with_capacity(callers.len());
    let measured = allocation_counter::measure(|| {
        for caller in &callers {
            let mut ended = caller.ended();
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(Pin::new(&mut ended).poll(&mut cx).is_pending());
            waiting.push(ended);
        }
    });
    let each = measured.bytes_current / callers.len() as i64;
    println!("{each} bytes for each key");
    assert!(each <= BYTES_OF_A_KEY, "{each} bytes for each key");
}
