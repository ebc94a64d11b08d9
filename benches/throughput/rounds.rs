//! Contenders take turns under the same load.

use std::net::SocketAddr;
use std::time::Duration;

use crate::load::Figures;
use crate::process::{Process, Role};
use crate::server::{Kind, Serve};
use crate::wacht::{Stage, Wacht};
use crate::window::Order;
use crate::{Result, Size};

/// One contender's part of a round.
pub(crate) struct Lap {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) window: Duration,
}

/// A server, and how it did in each round.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    kind: Kind,
    window: Duration,
    process: Process,
    address: SocketAddr,
    pub(crate) rounds: Vec<Figures>,
    /// Checks that the gateway was asked for meanwhile, warm-ups included.
    pub(crate) checks: usize,
}

impl Contender {
    pub(crate) fn start(lap: &Lap, stage: &Stage) -> Result<Self> {
        let mut process = Process::start(Role::Server)?;
        let address = process.ask(&Serve {
            kind: lap.kind,
            stage: stage.clone(),
        })?;
        Ok(Self {
            name: lap.name,
            kind: lap.kind,
            window: lap.window,
            process,
            address,
            rounds: Vec::new(),
            checks: 0,
        })
    }

    pub(crate) fn requests(&self) -> usize {
        self.rounds.iter().map(|figures| figures.requests).sum()
    }
}

/// Forward in every second round and back in the others: nobody is always the first.
pub(crate) fn run(
    size: Size,
    contenders: &mut [Contender],
    load: &mut Process,
    wacht: &mut Wacht,
) -> Result<()> {
    for round in 0..size.rounds {
        let count = contenders.len();
        for turn in 0..count {
            let place = if round % 2 == 0 {
                turn
            } else {
                count - 1 - turn
            };
            let contender = &mut contenders[place];
            wacht.count_checks()?;
            let figures = load.ask(&Order {
                protocol: contender.kind.protocol(),
                address: contender.address,
                process: contender.process.id(),
                secrets: wacht.stage.secrets.clone(),
                warm_up: size.warm_up,
                window: contender.window,
            });
            let figures = figures.map_err(|error| format!("{}: {error}", contender.name))?;
            contender.rounds.push(figures);
            contender.checks += wacht.count_checks()?;
        }
    }
    Ok(())
}
