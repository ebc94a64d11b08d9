//! Never more than the bound, over all replicas.

use std::thread;
use std::time::Duration;

use wacht_auth::dev::DevGateway;

use crate::log::{most_in_a_window, now};
use crate::process::{Chance, Outcome, Rule, Task};
use crate::server::{Redis, Wire};

const SUBJECTS: u32 = 100;
const REPLICAS: usize = 4;

pub(crate) fn run(is_test: bool, has_faults: bool) {
    let lasts = Duration::from_secs(if is_test { 3 } else { 40 });
    let requests = if is_test { 100_000 } else { 1_000_000 };
    println!(
        "# bounds: {REPLICAS} processes of 2 threads, {SUBJECTS} subjects, {requests} requests"
    );
    let rolling = |is_sliding, seconds| Rule {
        is_sliding,
        is_day: false,
        max: 100 * seconds,
        seconds,
    };
    let day = Rule {
        is_sliding: false,
        is_day: true,
        max: u32::try_from(requests).unwrap() / (SUBJECTS * 8),
        seconds: 86_400,
    };
    let rules = [
        rolling(false, 1),
        rolling(true, 1),
        rolling(false, 5),
        rolling(true, 5),
        day,
    ];
    for rule in rules {
        one(rule, requests, lasts, has_faults);
    }
}

fn one(rule: Rule, requests: usize, lasts: Duration, has_faults: bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (wacht, keys) = runtime.block_on(async {
        let wacht = DevGateway::start().await;
        let keys = (0..SUBJECTS).map(|_| wacht.issue_key("orders").issue());
        let keys: Vec<String> = keys.map(|key| key.secret().to_owned()).collect();
        (wacht, keys)
    });
    let mut redis = Redis::start();
    let wire = Wire::to(redis.port());
    let task = |number: usize| Task {
        wacht: wacht.url().to_owned(),
        management_key: wacht.management_key().to_owned(),
        redis: match number {
            0 => format!("redis://127.0.0.1:{}", wire.port),
            _ => redis.url(),
        },
        rule,
        keys: keys.clone(),
        requests: requests / REPLICAS,
        threads: 2,
        lasts,
        out: std::env::temp_dir().join(format!("replica-{}-{number}", std::process::id())),
    };
    let tasks: Vec<Task> = (0..REPLICAS).map(task).collect();
    let mut children: Vec<_> = tasks.iter().map(Task::start).collect();
    let mut faults = Vec::new();
    if has_faults {
        faults = break_things(&mut redis, &wire, lasts);
    }
    for child in &mut children {
        assert!(child.wait().unwrap().success(), "a replica has failed");
    }
    let mut all = Outcome::default();
    for task in &tasks {
        all.add(&task.out);
    }
    let most = most_in_a_window(&all.admitted, SUBJECTS, rule.window());
    let max = rule.max as usize;
    let bound = match (has_faults, rule.is_day || rule.is_sliding) {
        (true, true) => 2 * max,
        (true, false) => 3 * max - 1,
        (false, true) => max,
        (false, false) => 2 * max - 1,
    };
    println!(
        "{:<22} {:<28} admitted {:>7}, limited {:>7}, 503 {:>6}, most {most:>5} of {max} (bound {bound}) {}, longest {} ms",
        rule.name(),
        match has_faults {
            false => "no faults".to_owned(),
            true => faults.join(" "),
        },
        all.admitted.len(),
        all.limited,
        all.unavailable,
        if most <= bound { "held" } else { "BROKEN" },
        all.longest / 1_000_000,
    );
}

fn break_things(redis: &mut Redis, wire: &Wire, lasts: Duration) -> Vec<String> {
    let until = now() + u64::try_from(lasts.as_nanos()).unwrap();
    let mut chance = Chance(now());
    let mut counts = [0; 3];
    let pause = |chance: &mut Chance, from: u64, to: u64| {
        let millis = from + chance.next() % (to - from);
        thread::sleep(Duration::from_millis(millis));
    };
    pause(&mut chance, 1_500, 2_000);
    while now() < until {
        let fault = chance.below(3);
        counts[fault] += 1;
        match fault {
            0 => {
                redis.kill();
                pause(&mut chance, 1, 1_500);
                redis.come_back();
            }
            1 => {
                redis.signal("STOP");
                pause(&mut chance, 50, 1_500);
                redis.signal("CONT");
            }
            _ => {
                wire.cut();
                pause(&mut chance, 100, 2_500);
                wire.mend();
            }
        }
        pause(&mut chance, 200, 2_000);
    }
    let words = ["kills", "stops", "cuts"];
    words
        .iter()
        .zip(counts)
        .map(|(word, count)| format!("{count} {word}"))
        .collect()
}
