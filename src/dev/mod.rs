//! A stand-in for Wacht, for tests that need no network and no account.
//!
//! [`DevGateway`] is a real HTTP server on a loopback port: the gateway and the management API
//! of Wacht, answering in the shapes Wacht answers in. A test makes apps, keys and limits by
//! hand, lets its service ask, looks into the [`Journal`], and breaks things with [`Fault`]s.
//!
//! ```
//! use std::time::Duration;
//! use wacht_auth::dev::{DevGateway, DevRule, Fault, ManualClock, On};
//! use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::new();
//! let wacht = DevGateway::start().await.clock(&clock);
//! wacht.app("orders").scheme([DevRule::per_key(100, "minute", 1)]);
//! let key = wacht.issue_key("orders").permissions(["orders:read"]).issue();
//!
//! // The gate follows the same clock.
//! let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).build()?.app("orders");
//! let gate = gate.handle();
//! let context = AuthContext::new("/orders");
//! let caller = gate.authenticate_key(key.secret(), &context).await?;
//! assert!(caller.permissions().contains("orders:read"));
//! assert_eq!(wacht.journal().checks(), 1);
//!
//! // Six minutes later the verdict is too old even for an outage.
//! wacht.fault(On::Checks, Fault::Status(500));
//! clock.advance(Duration::from_secs(360));
//! let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
//! assert_eq!(refused.kind(), RejectionKind::Unavailable);
//! # Ok(()) }
//! ```
//!
//! # Time
//!
//! A test that moves the time gives the same [`ManualClock`] to the gateway
//! ([`DevGateway::clock`]) and to the gate
//! ([`WachtAuthLayerBuilder::clock`](crate::WachtAuthLayerBuilder::clock)). With it at the gateway alone, the
//! verdicts of the gate do not age; with it at the gate alone, keys end by the system's time.
//! Time-outs and the delays of a [`Fault`] are real time.
//!
//! # Requests without a server
//!
//! A request that a test hands to a service itself, such as by tower's `oneshot`, has come over no
//! connection. Where the address of the caller counts, put a [`PeerAddr`](crate::PeerAddr) into
//! its extensions.
//!
//! # What differs from Wacht
//!
//! - Counters are fixed windows aligned to the gateway's clock: enough for tests, without the
//!   quirks of the real ones, which forget at clock boundaries and admit more.
//! - A revocation, a deactivated app and a changed scheme are seen at once. Wacht takes up to
//!   60 seconds, for schemes up to an hour; see [`DevGateway::revocation_lag`].
//! - There are no users, organizations, plans or catalogues of permissions: any id and any name
//!   is taken for granted.
//! - The audit log is as old as the gateway, never lags and holds the last 10 000 rows. Where Wacht answers a cursor or a date
//!   with 500, as it does on a stock ClickHouse, it is answered as it is meant to be. OAuth apps are made through the
//!   management API; no domain is ever verified, nobody signs in, and tokens are
//!   [issued](DevGateway::issue_token) by hand.
//! - Both services share one port, where `/health` answers as the gateway's does.

mod answer;
mod app;
mod body;
mod call;
mod deployment;
mod dev_gateway;
mod dev_key;
mod dev_rule;
mod entry;
mod fault;
mod faults;
mod gateway_routes;
mod issue_key;
mod issue_token;
mod journal;
mod management_routes;
mod oauth;
mod records;
mod rule;
mod secret;
mod server;
mod shared;
mod state;

pub use self::app::DevApp;
pub use self::deployment::DevDeployment;
pub use self::dev_gateway::DevGateway;
pub use self::dev_key::DevKey;
pub use self::dev_rule::DevRule;
pub use self::entry::{Check, Entry};
pub use self::fault::{Fault, On};
pub use self::faults::Held;
pub use self::issue_key::IssueKey;
pub use self::issue_token::IssueToken;
pub use self::journal::Journal;
pub use crate::clock::ManualClock;
pub use crate::gate::principal::by_hand::{
    PrincipalBuilder, RejectionBuilder, anonymous, principal, rejection,
};
