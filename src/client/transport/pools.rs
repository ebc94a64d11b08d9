//! The connections to one service: a pool for each runtime, and a fresh one where those of a pool
//! seem to be dead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use reqwest::{Proxy, redirect};
use rustls::ClientConfig;
use tokio::runtime::{Handle, Id};

use crate::client::config::Pings;
use crate::client::config_error::{ConfigError, ConfigErrorKind};
use crate::client::request_error::innermost;
use crate::clock::Clock;

/// How connections are made and kept, whatever service they are to.
pub(super) struct Connections {
    /// Set up once: to load the platform's roots takes longer than to make a connection.
    pub(super) tls: ClientConfig,
    pub(super) proxy: Option<Proxy>,
    pub(super) user_agent: HeaderValue,
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) pings: Pings,
}

/// The pools of connections to one service.
///
/// A connection is driven by the runtime that opened it and by no other: a request that is given
/// one from elsewhere waits for a runtime that may stand still.
pub(super) struct Pools {
    connections: Arc<Connections>,
    clock: Clock,
    /// One a runtime; the one that was used last comes last.
    pools: Mutex<Vec<Pool>>,
}

/// The connections of one runtime.
#[derive(Clone)]
pub(super) struct Pool {
    runtime: Id,
    /// When it was made, by the clock of its [`Pools`].
    since: Duration,
    /// Whether it was made in place of another.
    is_fresh: bool,
    is_suspect: bool,
    pub(super) http: reqwest::Client,
}

// === impl Connections ===

impl Connections {
    /// A pool without a connection.
    fn open(&self) -> Result<reqwest::Client, ConfigError> {
        // Any of the HTTP library's optional features may be switched on by another crate of the
        // same build; what would change what is sent or accepted is therefore refused by name.
        //
        // What it does of its own accord stays on: a request of which the peer says that it did
        // not process it (REFUSED_STREAM, GOAWAY) is sent again.
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .no_proxy()
            .user_agent(self.user_agent.clone())
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.idle_timeout)
            .http2_keep_alive_interval(self.pings.interval)
            .http2_keep_alive_timeout(self.pings.timeout)
            .http2_keep_alive_while_idle(true);
        let http = match &self.proxy {
            Some(proxy) => http.proxy(proxy.clone()),
            None => http,
        };
        http.build().map_err(|error| {
            let message = format!("no HTTP client could be made: {}", innermost(&error));
            ConfigError::new(ConfigErrorKind::Tls, message)
        })
    }
}

// === impl Pools ===

impl Pools {
    pub(super) fn new(connections: &Arc<Connections>, clock: &Clock) -> Self {
        Self {
            connections: Arc::clone(connections),
            clock: clock.clone(),
            pools: Mutex::default(),
        }
    }

    /// The pool of the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// There is no runtime, or no HTTP client could be made.
    pub(super) fn of_this_runtime(&self) -> Result<Pool, ConfigError> {
        let runtime = Handle::try_current().map_err(|_| {
            let message =
                "calls need a tokio runtime: make them inside one, as under `#[tokio::main]`";
            ConfigError::new(ConfigErrorKind::Runtime, message)
        })?;
        let (runtime, now) = (runtime.id(), self.clock.now().monotonic);
        let is_usable = |pool: &Pool| {
            let is_too_soon = now.saturating_sub(pool.since) < BETWEEN_FRESH_POOLS;
            !pool.is_suspect || (pool.is_fresh && is_too_soon)
        };
        let mut pools = self.lock();
        let found = pools.iter().position(|pool| pool.runtime == runtime);
        let found = found.map(|place| pools.remove(place));
        let is_fresh = found.is_some();
        let pool = match found {
            Some(pool) if is_usable(&pool) => pool,
            // What runs on the old one may finish; nothing new is sent there.
            _ => Pool {
                runtime,
                since: now,
                is_fresh,
                is_suspect: false,
                http: self.connections.open()?,
            },
        };
        if pools.len() >= MOST_POOLS {
            pools.remove(0);
        }
        pools.push(pool.clone());
        Ok(pool)
    }

    /// Another pool for who got no answer from this one: what else is in there may be closed as well,
    /// by a balancer that closes all that it has.
    pub(super) fn instead_of(&self, failed: &Pool) -> Result<Pool, ConfigError> {
        let mut pools = self.lock();
        let is_its_runtime = |pool: &&Pool| pool.runtime == failed.runtime;
        let is_younger = |pool: &&Pool| !pool.is_suspect && pool.since > failed.since;
        if let Some(pool) = pools.iter().find(is_its_runtime).filter(is_younger) {
            return Ok(pool.clone());
        }
        let pool = Pool {
            runtime: failed.runtime,
            since: self.clock.now().monotonic,
            is_fresh: true,
            is_suspect: false,
            http: self.connections.open()?,
        };
        pools.retain(|pool| pool.runtime != failed.runtime);
        pools.push(pool.clone());
        Ok(pool)
    }

    /// A request of this pool got no answer: what else is in there may be as dead as its
    /// connection was.
    pub(super) fn suspect(&self, pool: &Pool) {
        let mut pools = self.lock();
        let is_it = |known: &&mut Pool| known.runtime == pool.runtime && known.since == pool.since;
        if let Some(pool) = pools.iter_mut().find(is_it) {
            pool.is_suspect = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of more runtimes than this, those that asked last keep their connections. More than a machine has
/// cores, for servers with a runtime on each.
const MOST_POOLS: usize = 256;
/// A service that answers nobody in time must not be greeted anew for each request.
const BETWEEN_FRESH_POOLS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
