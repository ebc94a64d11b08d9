//! A client and its gates become one of the replicas that share a store.

use std::sync::{Arc, PoisonError, Weak};

use super::RedisStore;
use super::events::Replica;
use crate::client::events::{EventSink, EventStore};
use crate::client::{ConfigError, ConfigErrorKind, Error, Result, WachtClient, WachtClientBuilder};

/// Which replicas are one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those with the same management key.
    ManagementKey,
    /// Those that name the same deployment.
    Deployment(i64),
}

impl Scope {
    pub(super) fn of(deployment: Option<i64>) -> Self {
        deployment.map_or(Self::ManagementKey, Self::Deployment)
    }
}

impl RedisStore {
    /// Makes this the store of a client and its clones, which are one replica from then on.
    ///
    /// # Errors
    ///
    /// The client has another store, or cannot be used at all.
    pub(crate) fn join(&self, client: &WachtClient) -> Result<Arc<Replica>> {
        let scope = match self.scope {
            Scope::ManagementKey => client.fingerprint()?,
            Scope::Deployment(id) => format!("deployment-{id}"),
        };
        let events = client.events();
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        replicas.retain(|replica| replica.strong_count() > 0);
        let known = replicas.iter().filter_map(Weak::upgrade);
        if let Some(replica) = known.into_iter().find(|replica| replica.is_of(events)) {
            return Ok(replica);
        }
        let replica = Replica::new(&self.link, &scope, events);
        if !events.share(Arc::clone(&replica) as Arc<dyn EventSink>) {
            let message = "the client, or one that it is a clone of, has another store";
            return Err(ConfigError::new(ConfigErrorKind::Store, message).into());
        }
        replicas.push(Arc::downgrade(&replica));
        Ok(replica)
    }
}

impl EventStore for RedisStore {
    fn join(&self, client: &WachtClient) -> Result<()> {
        self.join(client).map(drop)
    }
}

impl WachtClientBuilder {
    /// Tells the gates of other replicas through this store what the client revokes and changes.
    /// Default: nobody is told but the gates built on this client and its clones.
    ///
    /// For a job that only revokes. A gate's [`store`](crate::WachtAuthLayerBuilder::store) is its
    /// client's as well.
    pub fn store(self, store: RedisStore) -> Self {
        self.event_store(Arc::new(store))
    }
}

impl WachtClient {
    /// Waits until the other replicas have been told of all that this client and its clones have
    /// revoked and changed so far, for as long as the [deadline] of the store.
    ///
    /// A call ends with what Wacht said of it, whether or not the others could be told: the new key of
    /// a rotation must not be lost because the store is away. What they were not told of is told
    /// to them again and again for a quarter of an hour, as long as the process runs. A job that ends
    /// before that asks here, and may ask again:
    ///
    /// ```no_run
    /// use wacht_auth::WachtClient;
    /// use wacht_auth::store::RedisStore;
    ///
    /// # async fn revoke(leaked: i64) -> wacht_auth::Result<()> {
    /// let store = RedisStore::connect("redis://cache.internal")?;
    /// let client = WachtClient::builder("wk_live_...").store(store).build()?;
    /// let keys = client.api_keys();
    /// keys.revoke_api_key("billing", leaked, Default::default()).send().await?;
    /// if let Err(error) = client.flush_events().await {
    ///     eprintln!("revoked, and seen elsewhere within 120 s: {error}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Store`](crate::Error::Store): some event is still to be told. A client without a store
    /// has nobody to tell.
    ///
    /// [deadline]: super::RedisStoreBuilder::deadline
    pub async fn flush_events(&self) -> Result<()> {
        match self.events().sink() {
            Some(sink) => sink.told().await.map_err(Error::Store),
            None => Ok(()),
        }
    }
}
