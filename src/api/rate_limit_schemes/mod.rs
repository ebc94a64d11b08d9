//! Rate limits as Wacht states them, and the named schemes that hold them.

mod calls;
mod limit;
mod scheme;

pub use self::calls::{
    CreateRateLimitSchemeBuilder, DeleteRateLimitSchemeBuilder, GetRateLimitSchemeBuilder,
    ListRateLimitSchemesBuilder, UpdateRateLimitSchemeBuilder,
};
pub use self::limit::{RateLimit, RateLimitMode, RateLimitRule, RateLimitUnit};
pub use self::scheme::{
    CreateRateLimitSchemeRequest, RateLimitScheme, UpdateRateLimitSchemeRequest,
};

pub(crate) use self::limit::rules;
