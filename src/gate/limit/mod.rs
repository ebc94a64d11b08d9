//! Local rate limits: look at every matching rule, then charge them all.
//!
//! In: an app's scheme, and then one [`Caller`] after the other. Out: a [`ChargeOutcome`], and the
//! header fields that tell callers what is left. Before any of this, where the key is not known,
//! [`FailedLookups`] says whether the gateway may be asked. The next room is `refusal`.
//!
//! 1. [`limits`]: who counts at all, how, and with how much memory: the options.
//! 2. [`rule`]: one limit of a scheme in the gate's own terms, and whom it counts a caller as.
//! 3. [`rule_set`]: an app's rules, in order of priority. A rule that has not changed keeps its
//!    counters; one that goes has its say for one window, beside what is in its place.
//! 4. [`admit`]: finds the state of each rule that matches the resource, looks at all of them and,
//!    if none refuses, charges all. The look was advice: should a charge fail because another
//!    request came first, those before it are refunded.
//! 5. [`charge`]: what is charged to a request after it has passed.
//! 6. [`subjects`]: the states of keys and addresses, as many as fit.
//! 7. [`counters`]: how one state is looked at and charged, and what is asked of a store.
//! 8. [`fields`]: what is left, as header fields.
//! 9. [`lookups`]: look-ups of unknown keys, which are limited per address.

mod admit;
mod charge;
pub(crate) mod counters;
mod fields;
mod limits;
mod lookups;
mod rule;
mod rule_set;
mod subjects;

#[cfg(all(test, wacht_shuttle))]
mod interleavings;
#[cfg(test)]
mod tests;

pub(crate) use self::admit::{ChargeOutcome, CountedBy, LimitRefusal, Limiter};
pub use self::charge::Charge;
pub(crate) use self::counters::shared::{Asking, Held};
pub(crate) use self::fields::RateLimitFields;
pub use self::fields::RateLimitHeaders;
pub use self::limits::{Algorithm, Limits, WhenAway};
pub use self::lookups::UnknownKeyLimit;
pub(crate) use self::lookups::{FailedLookups, LookupSource};
pub(crate) use self::rule::{Mode, RuleSpec};
pub(crate) use self::rule_set::RuleSet;
pub(crate) use self::subjects::{Caller, KeySubject, KnownCounter};
