//! What is decided about a subject that is known, and the limits in that.

use super::subject::{Kind, Subject};
use crate::clock::Now;
use crate::dev::rule::{Mode, Rule};
use crate::dev::state::{Counter, State, utc};

/// The outcome for a subject that is known.
#[derive(Default)]
pub(crate) struct Decision {
    /// Why not, if not.
    pub(crate) reason: Option<&'static str>,
    pub(crate) blocked_rule: Option<String>,
    /// The whole window of the shortest rule that blocked, in milliseconds.
    pub(crate) retry_after: Option<i64>,
    pub(crate) rules: Vec<Evaluated>,
}

pub(crate) struct Evaluated {
    pub(crate) rule: Rule,
    pub(crate) remaining: i64,
    pub(crate) blocked: bool,
}

/// Looks at every rule and charges each that has room, also when another one blocks.
pub(crate) fn limited(
    state: &mut State,
    subject: &Subject,
    resource: &str,
    address: &str,
    now: Now,
) -> Decision {
    let scheme = subject
        .scheme
        .as_deref()
        .and_then(|slug| state.scheme(subject.deployment, slug));
    let rules = match scheme {
        Some(scheme) => Rule::matching(&scheme.rules, resource),
        None => vec![Rule::default_limit()],
    };
    let mut decision = Decision::default();
    for rule in rules {
        let name = counter_name(subject, &rule, resource, address);
        let period = rule.period(utc(now));
        let counter = state
            .counters
            .entry(name)
            .or_insert(Counter { period, count: 0 });
        if counter.period != period {
            *counter = Counter { period, count: 0 };
        }
        let limit = i64::from(rule.max_requests);
        let blocked = counter.count >= limit;
        if blocked {
            decision.reason = Some("rate_limited");
            decision.blocked_rule.get_or_insert_with(|| rule.name());
            let window = rule.window_ms();
            decision.retry_after = Some(decision.retry_after.unwrap_or(window).min(window));
        } else {
            counter.count += 1;
        }
        let remaining = if blocked { 0 } else { limit - counter.count };
        decision.rules.push(Evaluated {
            rule,
            remaining,
            blocked,
        });
    }
    decision
}

fn counter_name(subject: &Subject, rule: &Rule, resource: &str, address: &str) -> String {
    let Subject {
        deployment,
        slug,
        key_id,
        ..
    } = subject;
    let window = rule.window_ms();
    let suffix = rule.counter_suffix();
    let key = match &subject.kind {
        Kind::ApiKey => format!("key:{key_id}"),
        Kind::AccessToken(token) => format!("oauth:grant:{}", token.grant),
    };
    match rule.mode() {
        Mode::App => format!("app:{deployment}:{slug}:{window}{suffix}"),
        Mode::AppAndIp => format!("app_ip:{deployment}:{slug}:{address}:{window}{suffix}"),
        Mode::Key => format!("{key}:{resource}:{window}{suffix}"),
        Mode::KeyAndIp => format!("ip:{key}:{address}:{resource}:{window}{suffix}"),
    }
}

pub(super) const PERMISSION_DENIED: &str = "permission_denied";
