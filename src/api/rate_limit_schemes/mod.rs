//! Rate limits as Wacht states them, and the named schemes that hold them.
//!
//! An app refers to a scheme by name, and has its rules from then on:
//!
//! ```
//! use wacht_auth::models::{CreateRateLimitSchemeRequest, UpdateApiAuthAppRequest};
//! # use wacht_auth::dev::DevGateway;
//! # use wacht_auth::models::{RateLimit, RateLimitMode, RateLimitUnit};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let wacht = DevGateway::start().await;
//! # let client = wacht.client();
//! # wacht.app("billing");
//! # let limit = RateLimit {
//! #     unit: RateLimitUnit::Minute,
//! #     duration: 1,
//! #     max_requests: 100,
//! #     mode: Some(RateLimitMode::PerKey),
//! # };
//! let scheme = CreateRateLimitSchemeRequest {
//!     slug: "standard".to_owned(),
//!     name: "Standard".to_owned(),
//!     rules: vec![limit], // a `RateLimit` of 100 requests a minute
//!     ..Default::default()
//! };
//! let api_keys = client.api_keys();
//! api_keys.create_rate_limit_scheme(scheme).send().await?;
//!
//! let attach = UpdateApiAuthAppRequest {
//!     rate_limit_scheme_slug: Some("standard".to_owned()),
//!     ..Default::default()
//! };
//! let app = api_keys.update_api_auth_app("billing", attach).send().await?;
//! assert_eq!(app.rate_limits[0].max_requests, 100);
//! # Ok(()) }
//! ```

mod calls;
mod check;
mod limit;
mod scheme;
mod words;

pub use self::calls::{
    CreateRateLimitSchemeBuilder, DeleteRateLimitSchemeBuilder, GetRateLimitSchemeBuilder,
    ListRateLimitSchemesBuilder, UpdateRateLimitSchemeBuilder,
};
pub use self::limit::{RateLimit, RateLimitRule};
pub use self::scheme::{
    CreateRateLimitSchemeRequest, RateLimitScheme, UpdateRateLimitSchemeRequest,
};
pub use self::words::{RateLimitMode, RateLimitUnit};

pub(crate) use self::limit::rules;
