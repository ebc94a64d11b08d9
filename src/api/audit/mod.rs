//! What Wacht noted about the checks its gateway answered.
//!
//! Only checks that reached the gateway are in here. A gate answers most requests from its
//! cache, so that these figures count keys in use, not requests served.

mod calls;
mod model;
mod stream;

pub use self::calls::{
    GetApiAuditAnalyticsBuilder, GetApiAuditAnalyticsQuery, GetApiAuditLogsBuilder,
    GetApiAuditTimeseriesBuilder, GetApiAuditTimeseriesQuery, ListApiAuditLogsQuery,
};
pub use self::model::{
    ApiAuditAnalytics, ApiAuditLogsPage, ApiAuditTimeseries, AuditBlockedReason, AuditInterval,
    AuditLog, AuditOutcome, AuditRateLimitStats, AuditRuleHits, AuditTimeseriesPoint, AuditTopKey,
    AuditTopPath,
};
pub use self::stream::ApiAuditLogsStream;
