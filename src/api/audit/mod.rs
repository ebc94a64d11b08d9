//! What Wacht noted about the checks its gateway answered.
//!
//! Only checks that reached the gateway are in here. A gate answers most requests from its
//! cache, so that these figures count keys in use, not requests served.
//!
//! ```
//! use wacht_auth::dev::DevGateway;
//! use wacht_auth::{AuthContext, WachtAuthLayer};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wacht = DevGateway::start().await;
//! let client = wacht.client();
//! let key = wacht.issue_key("billing").issue();
//! let gate = WachtAuthLayer::new(client.clone()).app("billing");
//! let gate = gate.handle();
//! for _ in 0..3 {
//!     gate.authenticate_key(key.secret(), &AuthContext::new("/invoices")).await?;
//! }
//! let all = Default::default();
//! let page = client.api_keys().get_api_audit_logs("billing", all).send().await?;
//! assert_eq!(page.items.len(), 1, "three requests, one check");
//! # Ok(()) }
//! ```

mod calls;
mod model;
mod query;
mod stream;

pub use self::calls::{
    GetApiAuditAnalyticsBuilder, GetApiAuditLogsBuilder, GetApiAuditTimeseriesBuilder,
};
pub use self::model::{
    ApiAuditAnalytics, ApiAuditLogsPage, ApiAuditTimeseries, AuditBlockedReason, AuditInterval,
    AuditLog, AuditOutcome, AuditRateLimitStats, AuditRuleHits, AuditTimeseriesPoint, AuditTopKey,
    AuditTopPath,
};
pub use self::query::{
    GetApiAuditAnalyticsQuery, GetApiAuditTimeseriesQuery, ListApiAuditLogsQuery,
};
pub use self::stream::ApiAuditLogsStream;
