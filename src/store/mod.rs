//! What replicas of a service share: a Redis or Valkey that all of them reach.
//!
//! [`RedisStore`] says where it is and how it is asked. Give it to
//! [`WachtAuthLayerBuilder::store`](crate::WachtAuthLayerBuilder::store) in every replica.
//!
//! # The rooms
//!
//! In the order of reading. None imports one that stands before it.
//!
//! | file | what is there |
//! |---|---|
//! | `share.rs` | a client and its gates become one of the replicas |
//! | `builder.rs` | the settings of a store |
//! | `events/` | what is revoked and changed, told to all replicas |
//! | `leases.rs` | limits that all replicas count |
//! | `link.rs` | one script call: the connections, the deadline, whether the store is away |
//! | `script.rs` | what is sent, and what comes back |
//! | `server.rs` | where the store is: one server, a cluster, or behind sentinels |
//! | `error.rs` | why a call did not succeed |
//! | `scripts/` | the scripts, in Lua |

mod builder;
mod error;
mod events;
mod leases;
mod link;
mod script;
mod server;
mod share;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use crate::client::Result;

pub use self::builder::RedisStoreBuilder;

use self::share::Scope;

pub(crate) use self::events::Replica;

pub(crate) use self::leases::Leases;
pub(crate) use self::link::Link;

/// A Redis or Valkey, in which the replicas of a service share what each of them has to know.
///
/// Cheap to clone: clones share their connections, and each runtime has one of its own. Nothing is
/// connected before it is used.
///
/// ```
/// use wacht_auth::store::RedisStore;
///
/// # fn main() -> Result<(), wacht_auth::Error> {
/// let store = RedisStore::connect("redis://:a-password@127.0.0.1:6379/2")?;
/// assert!(!format!("{store:?}").contains("a-password"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    scope: Scope,
    replicas: Arc<Mutex<Vec<Weak<Replica>>>>,
}

impl RedisStore {
    /// A store at this URL, with the defaults of [`RedisStoreBuilder`]. The network is not touched.
    ///
    /// | URL | store |
    /// |---|---|
    /// | `redis://[user:password@]host[:port][/database]` | one server |
    /// | `redis+cluster://[user:password@]host[:port],host[:port],…` | a cluster, found through any of these nodes |
    /// | `redis+sentinel://[user:password@]host[:port],…/name[/database]` | the master of that name, found through any of these sentinels |
    ///
    /// With `rediss` in place of `redis` the connections are encrypted, those to sentinels too, and
    /// the server has to show a certificate that the machine trusts, or
    /// [one of your own](RedisStoreBuilder::root_certificates). `valkey` and `valkeys` mean the same.
    /// Redis has to be of version 7.0 or later. Any Valkey is, as it began with Redis 7.2; the tests know Redis
    /// alone. User and password are the server's; sentinels may have
    /// [others](RedisStoreBuilder::sentinel_password).
    ///
    /// TLS goes by rustls' cryptography of the process; where none was chosen, the crate's own becomes it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) of the kind
    /// [`Store`](crate::client::ConfigErrorKind::Store) where the URL is none of these. What is in it
    /// is not repeated.
    pub fn connect(url: impl AsRef<str>) -> Result<Self> {
        Self::builder(url).build()
    }

    /// Starts a store at this URL whose settings differ from the defaults.
    pub fn builder(url: impl AsRef<str>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url.as_ref())
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl fmt::Debug for RedisStore {
    // Not where it is: a URL may be all that protects it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("deadline", &self.link.deadline())
            .field("is_away", &self.link.is_away())
            .finish_non_exhaustive()
    }
}
