//! One replica in a process of its own.

use std::env;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wacht_auth::models::{RateLimit, RateLimitMode, RateLimitUnit};
use wacht_auth::store::RedisStore;
use wacht_auth::{
    Algorithm, AuthContext, AuthHandle, Limits, RejectionKind, WachtAuthLayer, WachtClient,
};

use crate::log::{Admitted, now};

pub(crate) const TASK: &str = "WACHT_REPLICA";

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) wacht: String,
    pub(crate) management_key: String,
    pub(crate) redis: String,
    pub(crate) rule: Rule,
    pub(crate) keys: Vec<String>,
    pub(crate) requests: usize,
    pub(crate) threads: usize,
    pub(crate) lasts: Duration,
    pub(crate) out: PathBuf,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) is_sliding: bool,
    pub(crate) is_day: bool,
    pub(crate) max: u32,
    pub(crate) seconds: u32,
}

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) admitted: Vec<Admitted>,
    pub(crate) limited: u64,
    pub(crate) unavailable: u64,
    pub(crate) longest: u64,
}

impl Rule {
    pub(crate) fn limits(self, limits: Limits) -> Limits {
        let limit = RateLimit {
            unit: match self.is_day {
                true => RateLimitUnit::CalendarDay,
                false => RateLimitUnit::Second,
            },
            duration: if self.is_day {
                1
            } else {
                self.seconds.try_into().unwrap()
            },
            max_requests: self.max.try_into().unwrap(),
            mode: Some(RateLimitMode::PerKey),
        };
        let algorithm = match self.is_sliding {
            true => Algorithm::SlidingWindow,
            false => Algorithm::Gcra,
        };
        limits.algorithm(algorithm).rules([limit]).unwrap()
    }

    pub(crate) fn window(self) -> Duration {
        match self.is_day {
            true => Duration::from_secs(86_400),
            false => Duration::from_secs(self.seconds.into()),
        }
    }

    pub(crate) fn name(self) -> String {
        let kind = match (self.is_day, self.is_sliding) {
            (true, _) => "calendar day",
            (false, true) => "sliding",
            (false, false) => "gcra",
        };
        format!("{kind} {}/{} s", self.max, self.seconds)
    }
}

impl Task {
    pub(crate) fn start(&self) -> Child {
        Command::new(env::current_exe().unwrap())
            .env(TASK, serde_json::to_string(self).unwrap())
            .spawn()
            .unwrap()
    }

    fn gate(&self) -> AuthHandle {
        let client = WachtClient::builder(&self.management_key)
            .api_url(&self.wacht)
            .gateway_url(&self.wacht)
            .build()
            .unwrap();
        let store = RedisStore::connect(&self.redis).unwrap();
        WachtAuthLayer::builder(client)
            .store(store)
            .limits(self.rule.limits(Limits::shared()))
            .build()
            .unwrap()
            .app("orders")
            .handle()
    }
}

pub(crate) fn run(task: &str) {
    let task: Arc<Task> = Arc::new(serde_json::from_str(task).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(task.threads)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let gate = Arc::new(task.gate());
        let workers = task.threads * 4;
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                let (task, gate) = (Arc::clone(&task), Arc::clone(&gate));
                tokio::spawn(async move { work(&task, &gate, worker, workers).await })
            })
            .collect();
        let mut all = Outcome::default();
        for handle in handles {
            let outcome = handle.await.unwrap();
            all.admitted.extend(outcome.admitted);
            all.limited += outcome.limited;
            all.unavailable += outcome.unavailable;
            all.longest = all.longest.max(outcome.longest);
        }
        all.write(&task.out);
    });
}

async fn work(task: &Task, gate: &AuthHandle, worker: usize, workers: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let context = AuthContext::new("/");
    let mut chance = Chance(u64::from(std::process::id()) << 8 | worker as u64);
    let requests = task.requests / workers;
    let began = now();
    let lasts = u64::try_from(task.lasts.as_nanos()).unwrap();
    for number in 0..requests {
        let due = began + lasts * number as u64 / requests as u64;
        let ahead = due.saturating_sub(now());
        if ahead > 500_000 {
            tokio::time::sleep(Duration::from_nanos(ahead)).await;
        }
        let subject = chance.below(task.keys.len());
        let before = now();
        let answer = gate.authenticate_key(&task.keys[subject], &context).await;
        let after = now();
        outcome.longest = outcome.longest.max(after - before);
        match answer {
            Ok(_) => outcome.admitted.push(Admitted {
                subject: subject.try_into().unwrap(),
                before,
                after,
            }),
            Err(refused) if refused.kind() == RejectionKind::RateLimited => outcome.limited += 1,
            Err(refused) => {
                assert_eq!(refused.kind(), RejectionKind::Unavailable, "{refused:?}");
                outcome.unavailable += 1;
            }
        }
    }
    outcome
}

impl Outcome {
    fn write(&self, path: &Path) {
        let mut file = BufWriter::new(File::create(path).unwrap());
        for number in [self.limited, self.unavailable, self.longest] {
            file.write_all(&number.to_le_bytes()).unwrap();
        }
        for unit in &self.admitted {
            for number in [unit.subject.into(), unit.before, unit.after] {
                file.write_all(&number.to_le_bytes()).unwrap();
            }
        }
    }

    /// Adds what a replica has written.
    pub(crate) fn add(&mut self, path: &Path) {
        let mut bytes = Vec::new();
        BufReader::new(File::open(path).unwrap())
            .read_to_end(&mut bytes)
            .unwrap();
        let _ = std::fs::remove_file(path);
        let mut numbers = bytes
            .chunks_exact(8)
            .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()));
        let mut next = || numbers.next();
        self.limited += next().unwrap();
        self.unavailable += next().unwrap();
        self.longest = self.longest.max(next().unwrap());
        while let (Some(subject), Some(before), Some(after)) = (next(), next(), next()) {
            self.admitted.push(Admitted {
                subject: subject.try_into().unwrap(),
                before,
                after,
            });
        }
    }
}

/// A small generator: the same sequence for the same seed.
pub(crate) struct Chance(pub u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Above 0, at most 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}
