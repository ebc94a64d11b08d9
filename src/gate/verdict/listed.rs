//! What a list of keys says of the verdicts of an app.
//!
//! A list comes from the database, which is up to 60 s ahead of the gateway, and was sent at some
//! moment. Of a key whose verdict was filed after that moment it says nothing but that it was or was
//! not there.

use std::sync::Arc;

use crate::api::api_keys::{KeyList, ListedKey};
use crate::clock::Now;
use crate::gate::directory::{Asked, Judged};
use crate::gate::permission::Permissions;
use crate::gate::verdict::cache::VerdictCache;
use crate::gate::verdict::identity::PrincipalKind;
use crate::gate::verdict::key_index::{Difference, KeyInUse, KeyIndex, seen_by_gateway};
use crate::gate::verdict::revocations::EventNumber;
use crate::gate::verdict::verdict::{Age, Verdict};

impl VerdictCache {
    /// Takes what a list says that was sent then, under this number. Gives what is left to do, and the
    /// keys that it shows as revoked.
    ///
    /// Of a key that was verified while the list was on its way it says nothing yet, unless it is read
    /// again for that: then what it lacks is taken all the same, and the next list gives it back.
    pub(crate) fn take_list(
        &self,
        app: &str,
        list: &KeyList,
        Asked {
            number,
            sent,
            is_again,
        }: Asked,
        now: Now,
    ) -> (Judged, Vec<i64>) {
        let mut judged = Judged::default();
        let mut revoked = Vec::new();
        let Some(index) = self.index() else {
            return (judged, revoked);
        };
        let mut after = None;
        loop {
            let some = index.keys_after(app, after);
            for key in &some.keys {
                if !self.is_in_use(&key.verdict, now) {
                    continue;
                }
                match list.get(key.key_id) {
                    Some(row) if row.is_revoked() => revoked.push(key.key_id),
                    Some(row) if !is_again && key.last >= number && is_disputed(key, row) => {
                        judged.is_overtaken = true;
                    }
                    Some(row) => self.follow(index, key, row, sent, now),
                    None if key.first < number && !key.is_unlisted => {
                        judged.missing.push(key.key_id);
                    }
                    None => {}
                }
            }
            if some.last.is_none() {
                return (judged, revoked);
            }
            after = some.last;
        }
    }

    /// The same yes without what a list has taken from its key since the gateway looked, if it has any
    /// of that.
    pub(super) fn with_less(&self, verdict: &Verdict) -> Option<Arc<Verdict>> {
        let identity = &verdict.identity;
        if identity.kind != PrincipalKind::ApiKey {
            return None;
        }
        let (app, sent) = (&identity.app_slug, verdict.sent());
        let index = self.index()?;
        let kept = index.still_held(app, identity.key_id, sent, &identity.permissions)?;
        let kept = verdict.app.permission_sets.share(kept);
        Some(Arc::new(verdict.with_permissions(kept)))
    }

    /// No list has this key, not even one with the revoked keys. It is verified again, and not looked
    /// for before that.
    pub(crate) fn in_no_list(&self, app: &str, key_id: i64, now: Now) {
        if let Some(index) = self.index() {
            index.set_unlisted(app, key_id);
        }
        self.verify_again(app, key_id, now);
    }

    /// Nobody knows what has become of this key: it is verified again, some time within
    /// `stale_while_revalidate`.
    pub(crate) fn verify_again(&self, app: &str, key_id: i64, now: Now) {
        let index = self.index();
        if let Some(verdict) = index.and_then(|index| index.verdict(app, key_id)) {
            let spread = self.policy.stale_while_revalidate;
            verdict.set_due(verdict.elapsed(now).saturating_add(share(key_id, spread)));
        }
    }

    /// Forgets which keys no list has, but for those in use and those whose end is waited for.
    pub(crate) fn keep_unlisted(&self, app: &str, waited_for: &[i64]) {
        if let Some(index) = self.index() {
            index.keep_unlisted(app, waited_for);
        }
    }

    /// Whether neither list has this key, which no request has shown since.
    pub(crate) fn is_unlisted(&self, app: &str, key_id: i64) -> bool {
        let index = self.index();
        index.is_some_and(|index| index.is_unlisted(app, key_id))
    }

    /// Whether a request could be let in by it without anybody being asked.
    fn is_in_use(&self, verdict: &Verdict, now: Now) -> bool {
        let contradiction = verdict.contradiction(&self.revocations, EventNumber::LAST, now);
        contradiction.is_none() && verdict.age(&self.policy, true, now) != Age::Over
    }

    /// What the list says of a key goes into its verdict, and into those that follow.
    fn follow(&self, index: &KeyIndex, key: &KeyInUse, row: &ListedKey, sent: Now, now: Now) {
        let verdict = &key.verdict;
        let identity = &verdict.identity;
        let end = row.ends_at();
        verdict.set_end(end);
        let listed = row.permissions();
        let held = &identity.permissions;
        let is_listed = |name: &str| listed.binary_search(&name).is_ok();
        // What was taken and given back is no longer taken.
        let withdrawn = key.difference.withdrawn.clone().and_then(|(names, at)| {
            let names: Permissions = names.iter().filter(|name| !is_listed(name)).collect();
            (!names.is_empty()).then_some((names, at))
        });
        let mut difference = Difference {
            withdrawn,
            added_at: None,
            end: end.map(|end| (end, sent.monotonic)),
        };
        if !held.contains_all(&listed) {
            let added_at = key.difference.added_at.unwrap_or(sent.monotonic);
            difference.added_at = Some(added_at);
            self.ask_for_more(verdict, added_at, now);
        }
        let has_less = !held.iter().all(is_listed);
        if has_less {
            let gone = held.iter().filter(|name| !is_listed(name));
            let before = difference.withdrawn.iter();
            let before = before.flat_map(|(names, _)| names.iter());
            let gone: Permissions = gone.chain(before).collect();
            difference.withdrawn = Some((gone, sent.monotonic));
        }
        if difference != key.difference {
            index.set_difference(&identity.app_slug, key.key_id, difference);
        }
        // After that: what is filed from now on goes by it, what was filed before is looked at.
        if has_less {
            self.replace_by_less(&verdict.key());
        }
    }

    /// The list has a permission that the verdict lacks: the gateway is asked now, and once more when
    /// it must have seen what the list showed. If it still does not say so then, it never will.
    fn ask_for_more(&self, verdict: &Verdict, added_at: std::time::Duration, now: Now) {
        let sent = verdict.sent().monotonic;
        let seen_at = seen_by_gateway(added_at);
        if sent < added_at {
            verdict.set_due(verdict.elapsed(now));
        } else if sent < seen_at {
            verdict.set_due(seen_at.saturating_sub(sent));
        }
    }
}

/// Whether the verdict holds what the list lacks or the other way round. When a key ends only lists say.
fn is_disputed(key: &KeyInUse, row: &ListedKey) -> bool {
    let held = key.verdict.identity.permissions.iter();
    !held.eq(row.permissions())
}

/// A part of the span that differs from key to key.
fn share(key_id: i64, span: std::time::Duration) -> std::time::Duration {
    const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
    let scattered = key_id.cast_unsigned().wrapping_mul(GOLDEN_RATIO) >> 54;
    // Ten bits are left.
    span.mul_f64(scattered as f64 / 1024.0)
}

#[cfg(test)]
mod tests;
