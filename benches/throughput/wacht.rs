//! Wacht's stand-in: who has keys, and how often it was asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use wacht_auth::dev::{DevGateway, DevRule, Fault, On};
use wacht_auth::{Limits, WachtAuthLayer, WachtClient};

use crate::Result;
use crate::process::{self, Process, Role};

/// The app of the keys that take turns.
pub(crate) const APP: &str = "orders";

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Makes that many keys of one app, and that many of an app of their own.
    Issue { keys: usize, newcomers: usize },
    /// Counts the checks since this was asked last.
    CountChecks,
    /// Answers every check so much later than at once.
    Delay(Duration),
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Stage(Stage),
    Checks(usize),
}

/// What there is to play with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) url: String,
    pub(crate) management_key: String,
    pub(crate) secrets: Vec<String>,
    pub(crate) newcomers: Vec<Newcomer>,
}

/// A key that nobody has seen, of an app that nobody has heard of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Newcomer {
    pub(crate) app: String,
    pub(crate) secret: String,
}

impl Stage {
    pub(crate) fn client(&self) -> Result<WachtClient> {
        let client = WachtClient::builder(self.management_key.as_str())
            .api_url(self.url.as_str())
            .gateway_url(self.url.as_str());
        Ok(client.build()?)
    }

    /// The gate as a user makes it.
    pub(crate) fn gate(&self) -> Result<WachtAuthLayer> {
        Ok(WachtAuthLayer::new(self.client()?).app(APP))
    }

    /// The same, but that it counts like this.
    pub(crate) fn gate_with(&self, limits: Limits) -> Result<WachtAuthLayer> {
        let builder = WachtAuthLayer::builder(self.client()?).limits(limits);
        Ok(builder.build()?.app(APP))
    }
}

/// The process, seen from outside.
#[derive(Debug)]
pub(crate) struct Wacht {
    process: Process,
    pub(crate) stage: Stage,
}

impl Wacht {
    pub(crate) fn start(keys: usize, newcomers: usize) -> Result<Self> {
        let mut process = Process::start(Role::Wacht)?;
        match process.ask(&Order::Issue { keys, newcomers })? {
            Answer::Stage(stage) => Ok(Self { process, stage }),
            Answer::Checks(_) => Err("a stage was asked for".into()),
        }
    }

    pub(crate) fn delay_checks(&mut self, delay: Duration) -> Result<()> {
        self.process.ask(&Order::Delay(delay)).map(|_: Answer| ())
    }

    pub(crate) fn count_checks(&mut self) -> Result<usize> {
        match self.process.ask(&Order::CountChecks)? {
            Answer::Checks(checks) => Ok(checks),
            Answer::Stage(_) => Err("a number was asked for".into()),
        }
    }
}

pub(crate) fn play() -> Result<()> {
    let runtime = Runtime::new()?;
    let wacht = runtime.block_on(DevGateway::start());
    // Counted, and never reached.
    let plenty = || [DevRule::per_key(2_000_000_000, "minute", 1)];
    process::answer_orders(|order| {
        Ok(match order {
            Order::Issue { keys, newcomers } => {
                wacht.app(APP).scheme(plenty());
                let secret = |app: &str| wacht.issue_key(app).issue().secret().to_owned();
                let newcomer = |number| {
                    let app = format!("newcomer-{number}");
                    wacht.app(&app).scheme(plenty());
                    let secret = secret(&app);
                    Newcomer { app, secret }
                };
                Answer::Stage(Stage {
                    url: wacht.url().to_owned(),
                    management_key: wacht.management_key().to_owned(),
                    secrets: (0..keys).map(|_| secret(APP)).collect(),
                    newcomers: (0..newcomers).map(newcomer).collect(),
                })
            }
            Order::Delay(delay) => {
                wacht.clear_faults();
                if !delay.is_zero() {
                    wacht.fault(On::Checks, Fault::Delay(delay));
                }
                Answer::Checks(0)
            }
            Order::CountChecks => {
                let journal = wacht.journal();
                let checks = journal.checks();
                // It keeps every request, and would go on to.
                journal.clear();
                Answer::Checks(checks)
            }
        })
    })
}
