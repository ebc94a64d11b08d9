//! Very many keys.

use tokio::runtime::Builder;

use super::*;

const APPS: usize = 50;
const KEYS: usize = 2_000;
/// What a watch may take for each key beside what the gate takes anyhow.
const BYTES_EACH: i64 = 80;

/// What a gate takes for all keys when they have been shown, watched or not.
fn taken(watch: Option<Watch>) -> i64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let scene = runtime.block_on(Scene::new());
    let builder = match watch {
        Some(watch) => scene.builder().watch(watch),
        None => scene.builder(),
    };
    let gate = builder.build().unwrap().handle();
    let key = |number: usize| {
        let app = format!("app-{}", number % APPS);
        scene.wacht.issue_key(&app).issue().secret().to_owned()
    };
    let secrets: Vec<String> = (0..KEYS).map(key).collect();
    let context = AuthContext::new("/");
    let show = |secrets: &[String]| {
        runtime.block_on(async {
            for secret in secrets {
                gate.authenticate_key(secret, &context).await.unwrap();
            }
            // The cache does what it has put off.
            assert!(gate.stats().cached_keys > 0);
        });
    };
    // The apps are there before, and what is made once.
    let (first, others) = secrets.split_at(APPS);
    show(first);
    let measured = allocation_counter::measure(|| show(others));
    measured.bytes_current
}

#[test]
fn the_index_of_keys_takes_little_for_each() {
    let keys = (KEYS - APPS) as i64;
    let (without, with) = (
        taken(None) / keys,
        taken(Some(Watch::every(INTERVAL))) / keys,
    );
    println!("{without} bytes a key without a watch, {with} with one");
    assert!(with - without <= BYTES_EACH, "{without} and {with} bytes");
}
