//! The calls of a [`WachtClient`](crate::WachtClient), one resource a module.
//!
//! Each call is a builder that does nothing until it is sent: `….send().await?`.
//!
//! ```
//! use wacht_auth::dev::DevGateway;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wacht = DevGateway::start().await;
//! let client = wacht.client();
//! wacht.app("orders");
//!
//! let call = client.api_keys().get_api_auth_app("orders");
//! assert_eq!(wacht.journal().management_calls(), 0, "not sent yet");
//! let app = call.send().await?;
//! assert_eq!(app.app_slug, "orders");
//! # Ok(()) }
//! ```
//!
//! # Errors
//!
//! Every call can fail with
//!
//! - [`Error::Config`](crate::Error::Config): the client cannot be used, or the process's client
//!   was not set; nothing was sent;
//! - [`Error::InvalidRequest`](crate::Error::InvalidRequest): an argument that stands in the path
//!   is empty, `.` or `..`, or one that is named at the call is of no use; nothing was sent.
//!   Where that is a judgement, `.unchecked()` sends the request all the same;
//! - [`Error::Request`](crate::Error::Request): there was no complete answer. A call that changes
//!   something may have done so, unless no connection came about;
//! - [`Error::Api`](crate::Error::Api): Wacht refused, and says why in `message`;
//! - [`Error::Decode`](crate::Error::Decode): Wacht did what was asked, and its answer is not
//!   understood or longer than 4 MiB.
//!
//! Calls that only read are repeated as the client's
//! [`RetryPolicy`](crate::client::RetryPolicy) says; all others are sent once. What the
//! server says it has not processed (HTTP/2's REFUSED_STREAM and GOAWAY) counts as not sent.

pub mod api_keys;
pub mod audit;
pub mod gateway;
pub mod oauth;
pub mod rate_limit_schemes;

mod api_auth;
mod call;
mod check;
pub(crate) mod id;
mod named;
mod nullable;
mod page;

pub use self::page::Page;

pub(crate) use self::call::Call;
