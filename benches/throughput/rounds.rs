//! Contenders take turns under the same load.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::load::Figures;
use crate::process::{Process, Role};
use crate::server::{Kind, Serve};
use crate::wacht::{Stage, Wacht};
use crate::window::{Manner, Order};
use crate::{Result, Size};

/// One contender's part of a round.
#[derive(Clone)]
pub(crate) struct Lap {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) window: Duration,
    /// Threads of the server; none for as many as there are processors.
    pub(crate) threads: Option<usize>,
    /// The program that serves, which is this bench, but may be an earlier one.
    pub(crate) program: PathBuf,
}

/// A server, and how it did in each round.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    window: Duration,
    process: Process,
    address: SocketAddr,
    pub(crate) rounds: Vec<Figures>,
    /// Checks that the gateway was asked for meanwhile, warm-ups included.
    pub(crate) checks: usize,
}

impl Contender {
    pub(crate) fn start(lap: &Lap, stage: &Stage) -> Result<Self> {
        let mut process = Process::start_of(&lap.program, Role::Server)?;
        let address = process.ask(&Serve {
            kind: lap.kind,
            threads: lap.threads,
            stage: stage.clone(),
        })?;
        Ok(Self {
            name: lap.name,
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
    manner: Manner,
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
                manner,
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
