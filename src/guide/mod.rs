//! How to choose, where to put it, and what to do before production.
//!
//! Each chapter answers one question and can be read alone. The code in it runs with the tests,
//! against the stand-in for Wacht that the feature `test-util` brings.
//!
//! | you want to | read |
//! |---|---|
//! | put the gate into an axum router, and know what a stranger sees | [`axum`] |
//! | serve with hyper alone | [`hyper`] |
//! | gate tonic services, all or one | [`grpc`] |
//! | take keys from other places, and say where they belong | [`credentials`] |
//! | choose how long a revoked key may still pass | [`staleness`] |
//! | end streams and websockets when their key ends | [`streams`] |
//! | choose who counts requests, and how exactly | [`limits`] |
//! | count the right addresses behind proxies | [`load_balancer`] |
//! | run several replicas that know of each other | [`replicas`] |
//! | test your service without Wacht | [`testing`] |
//! | put it into production | [`production`] |
//! | replace checks written by hand with Wacht's SDK | [`migrating`] |
//! | know where this crate and Wacht's documentation part | [`differences`] |
//! | look up what callers see in each kind of failure | [`faults`] |
//! | … what limits admit at most, and what counting costs | [`counting`] |
//! | … every call of the client, with its route | [`management`] |
//! | … every metric, span and event worth an alert | [`observability`] |
//! | … what is promised about security | [`security`] |
//!
//! Words used throughout:
//!
//! * The **gate** is the [`WachtAuthLayer`](crate::WachtAuthLayer) with the state that its clones
//!   share.
//! * The **gateway** is Wacht's service that says whether a key is good; the **management API** is
//!   its service that makes and revokes keys.
//! * A **check** is one call of the gateway. A **verdict** is what the gate remembers of a check.
//! * A **deployment** is one environment of a customer of Wacht. An **app** of it, in full an API
//!   auth app, is a set of keys under one slug.
//! * A **scheme** is the rate-limit rules of an app. The gate loads it as the app's **policy**.
//! * A **known** key is one with a verdict in memory; a **stranger** is a caller without a good key.

#[doc = include_str!("axum.md")]
#[doc = ""]
#[cfg_attr(feature = "axum", doc = "[Permitted]: crate::axum::Permitted")]
#[cfg_attr(feature = "axum", doc = "[matched_path]: crate::axum::matched_path")]
#[cfg_attr(not(feature = "axum"), doc = "[Permitted]: crate#features")]
#[cfg_attr(not(feature = "axum"), doc = "[matched_path]: crate#features")]
pub mod axum {}

#[doc = include_str!("hyper.md")]
pub mod hyper {}

#[cfg_attr(any(not(doctest), feature = "tonic"), doc = include_str!("grpc.md"))]
pub mod grpc {}

#[doc = include_str!("credentials.md")]
pub mod credentials {}

#[doc = include_str!("staleness.md")]
pub mod staleness {}

#[doc = include_str!("streams.md")]
pub mod streams {}

#[doc = include_str!("limits.md")]
#[cfg_attr(feature = "axum", doc = "[matched_path]: crate::axum::matched_path")]
#[cfg_attr(not(feature = "axum"), doc = "[matched_path]: crate#features")]
pub mod limits {}

#[doc = include_str!("load_balancer.md")]
pub mod load_balancer {}

#[cfg_attr(any(not(doctest), feature = "redis"), doc = include_str!("replicas.md"))]
#[cfg_attr(not(feature = "redis"), doc = "")]
#[cfg_attr(not(feature = "redis"), doc = "[`Limits::shared`]: crate#features")]
#[cfg_attr(
    not(feature = "redis"),
    doc = "[`RedisStoreBuilder::sentinel_password`]: crate#features"
)]
#[cfg_attr(
    not(feature = "redis"),
    doc = "[`RedisStoreBuilder::deadline`]: crate#features"
)]
#[cfg_attr(
    not(feature = "redis"),
    doc = "[`RedisStoreBuilder::deployment`]: crate#features"
)]
#[cfg_attr(
    not(feature = "redis"),
    doc = "[`WachtClient::flush_events`]: crate#features"
)]
#[cfg_attr(
    not(feature = "redis"),
    doc = "[`WachtClientBuilder::store`]: crate#features"
)]
#[cfg_attr(feature = "redis", doc = "[`Limits::shared`]: crate::Limits::shared")]
#[cfg_attr(
    feature = "redis",
    doc = "[`RedisStoreBuilder::sentinel_password`]: crate::store::RedisStoreBuilder::sentinel_password"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`RedisStoreBuilder::deadline`]: crate::store::RedisStoreBuilder::deadline"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`RedisStoreBuilder::deployment`]: crate::store::RedisStoreBuilder::deployment"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`WachtClient::flush_events`]: crate::WachtClient::flush_events"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`WachtClientBuilder::store`]: crate::client::WachtClientBuilder::store"
)]
pub mod replicas {}

#[doc = include_str!("testing.md")]
#[doc = ""]
#[cfg_attr(feature = "test-util", doc = "[`dev`]: crate::dev")]
#[cfg_attr(
    feature = "test-util",
    doc = "[`dev::principal`]: crate::dev::principal"
)]
#[cfg_attr(
    feature = "test-util",
    doc = "[`dev::anonymous`]: crate::dev::anonymous"
)]
#[cfg_attr(
    feature = "test-util",
    doc = "[`dev::rejection`]: crate::dev::rejection"
)]
#[cfg_attr(not(feature = "test-util"), doc = "[`dev`]: crate#features")]
#[cfg_attr(not(feature = "test-util"), doc = "[`dev::principal`]: crate#features")]
#[cfg_attr(not(feature = "test-util"), doc = "[`dev::anonymous`]: crate#features")]
#[cfg_attr(not(feature = "test-util"), doc = "[`dev::rejection`]: crate#features")]
pub mod testing {}

#[doc = include_str!("production.md")]
pub mod production {}

#[doc = include_str!("migrating.md")]
#[doc = ""]
#[cfg_attr(feature = "wacht", doc = "[interop]: crate::interop")]
#[cfg_attr(not(feature = "wacht"), doc = "[interop]: crate#features")]
pub mod migrating {}

#[doc = include_str!("differences.md")]
pub mod differences {}

#[doc = include_str!("../../docs/faults.md")]
pub mod faults {}

#[doc = include_str!("../../docs/limits.md")]
pub mod counting {}

#[doc = include_str!("../../docs/management.md")]
pub mod management {}

#[doc = include_str!("../../docs/observability.md")]
pub mod observability {}

#[doc = include_str!("../../SECURITY.md")]
pub mod security {}
