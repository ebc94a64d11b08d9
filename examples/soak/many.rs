//! What a watch costs with many keys: calls, memory, and the time of a reading.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;
use wacht_auth::dev::{DevGateway, ManualClock};
use wacht_auth::{AuthContext, AuthHandle, WachtAuthLayer, Watch, WatchStats};

use crate::{row, rss};

/// 10 000 keys in 200 apps, and so many in a single one.
const MANY: [(usize, usize); 2] = [(200, 50), (1, 5_000)];
/// How long each is looked at, by the gate's clock.
const MINUTES: u64 = 8;

pub(crate) async fn run() -> Result<ExitCode, Box<dyn Error>> {
    for (apps, keys) in MANY {
        row("apps in use", apps);
        row("keys in use", apps * keys);
        measure(apps, keys).await?;
        println!();
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(apps: usize, keys: usize) -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::new();
    let wacht = DevGateway::start().await.clock(&clock);
    let watch = Watch::every(Duration::from_secs(5));
    let gate = WachtAuthLayer::builder(wacht.client())
        .clock(&clock)
        .watch(watch)
        .build()?
        .handle();
    row("RSS before", rss());
    let mut secrets = Vec::new();
    for app in 0..apps {
        for _ in 0..keys {
            let key = wacht.issue_key(&format!("app-{app}")).permissions(["read"]);
            secrets.push(key.issue().secret().to_owned());
        }
    }
    row("RSS, the keys issued", rss());
    show(&gate, &secrets).await;
    row("RSS, the keys known", rss());
    let before = stats(&gate);
    let mut longest = Duration::ZERO;
    let mut took = Vec::new();
    for second in 0..60 * MINUTES {
        if second % 300 == 299 {
            // A verdict that is not used comes to its end, and its app goes.
            show(&gate, &secrets).await;
        }
        let lists = stats(&gate).lists;
        clock.advance(Duration::from_secs(1));
        let begin = Instant::now();
        // Every other second for many apps, every fifth for one.
        let is_due = (second + 1) % if apps > 2 { 2 } else { 5 } == 0;
        while is_due && stats(&gate).lists == lists && begin.elapsed() < PATIENCE {
            yield_now().await;
        }
        if stats(&gate).lists > lists {
            took.push(begin.elapsed());
        }
        longest = longest.max(stats(&gate).longest_unseen);
    }
    let after = stats(&gate);
    took.sort();
    let minutes = MINUTES as f64;
    let lists = (after.lists - before.lists) as f64 / minutes;
    row("lists a minute", format!("{lists:.1}"));
    row("longest unseen", seconds(longest));
    row("one reading, median", millis(took.get(took.len() / 2)));
    row("one reading, longest", millis(took.last()));
    row("RSS at the end", rss());
    Ok(())
}

async fn show(gate: &AuthHandle, secrets: &[String]) {
    let context = AuthContext::new("/");
    for secret in secrets {
        // Refused for the limit of its app or not: it is known then.
        let _ = gate.authenticate_key(secret, &context).await;
    }
}

fn stats(gate: &AuthHandle) -> WatchStats {
    gate.stats().watch.unwrap_or_default()
}

fn seconds(span: Duration) -> impl Display {
    format!("{:.0} s", span.as_secs_f64())
}

fn millis(span: Option<&Duration>) -> impl Display {
    let span = span.copied().unwrap_or_default();
    format!("{:.2} ms", span.as_secs_f64() * 1000.0)
}

/// What is not read by then is not due.
const PATIENCE: Duration = Duration::from_secs(1);
