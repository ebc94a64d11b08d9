//! What is logged, and that it is what the documentation says.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use wacht_auth::dev::DevGateway;
use wacht_auth::store::RedisStore;

use crate::server::Redis;
use crate::stage::{Replica, eventually};

/// All that is logged, at every level.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const ALONE: &str = "WACHT_AUTH_TEST_ALONE";
const DOCS: &str = include_str!("../../docs/observability.md");

/// Level and text of each event that the page says the store has.
fn documented() -> BTreeSet<(String, String)> {
    let (_, of_store) = DOCS.split_once("### Of the store").unwrap();
    let (of_store, _) = of_store.split_once("\n## ").unwrap();
    let rows = of_store.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (level, message) = (cells.next()?, cells.next()?);
        let is_row = matches!(level, "error" | "warn" | "info");
        is_row.then(|| (level.to_uppercase(), message.to_owned()))
    });
    rows.collect()
}

#[tokio::test]
async fn every_event_of_the_store_is_documented_and_comes() {
    // In a process of its own: whether an event is looked at may be decided by a test beside this one.
    if std::env::var_os(ALONE).is_none() {
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "log::every_event_of_the_store_is_documented_and_comes",
            ])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(
            alone.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let log = Log::default();
    let _guard = log.listen();
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let [here, there] =
        [(); 2].map(|()| Replica::with(&wacht, RedisStore::connect(redis.url()).unwrap()));
    there.hears(&here, &wacht).await;
    here.hears(&there, &wacht).await;
    let mut hand = redis.connection();
    let streams: Vec<String> = redis::cmd("KEYS")
        .arg("wacht:events:stream:*")
        .query(&mut hand)
        .unwrap();
    redis::cmd("XADD")
        .arg(&streams[0])
        .arg(&["*", "x", "y"])
        .exec(&mut hand)
        .unwrap();
    there.hears(&here, &wacht).await;
    redis.kill();
    eventually("the store is away", async || {
        there.gate.stats().store.unwrap().away
    })
    .await;
    here.revoke(&wacht.issue_key("orders").issue()).await;
    redis.restart();
    there.hears(&here, &wacht).await;
    eventually("the store is back for both", async || {
        let stats = [&here, &there].map(|replica| replica.gate.stats().store.unwrap());
        stats
            .iter()
            .all(|stats| !stats.away && stats.events_untold == 0)
    })
    .await;

    let come = || -> BTreeSet<(String, String)> {
        let text = log.text();
        let lines = text.lines();
        let ours = lines.filter_map(|line| line.split_once(" wacht_auth::gate: "));
        ours.filter_map(|(head, message)| {
            let level = head.split_whitespace().nth(1)?;
            let is_notable = matches!(level, "ERROR" | "WARN" | "INFO");
            is_notable.then(|| (level.to_owned(), message.to_owned()))
        })
        .collect()
    };
    // That a store answers is said by whoever notices it first, a moment after it is so.
    eventually("every event has come", async || {
        let come = come();
        documented().iter().all(|(level, message)| {
            come.iter()
                .any(|come| come.0 == *level && come.1.starts_with(message))
        })
    })
    .await;
    for (level, message) in come() {
        let documented = documented();
        let is_documented = documented
            .iter()
            .any(|row| row.0 == level && message.starts_with(&row.1));
        assert!(is_documented, "{level} {message}");
    }
}
