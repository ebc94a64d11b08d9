//! The apps whose keys are let in.

use std::sync::Arc;

use super::Reserved;
use super::app::may_be_looked_up;

/// The apps whose keys are let in: those that were named, or every app that a customer made.
#[derive(Clone, Debug, Default)]
pub(crate) struct AcceptedApps(Option<Arc<[Box<str>]>>);

impl AcceptedApps {
    pub(crate) fn only(slugs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let slugs = slugs.into_iter().map(|slug| slug.into().into_boxed_str());
        Self(Some(slugs.collect()))
    }

    /// Those of `slugs` that these have, too.
    pub(crate) fn narrowed(&self, slugs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let slugs = slugs.into_iter().map(Into::into);
        Self::only(slugs.filter(|slug: &String| self.has(slug)))
    }

    /// The apps that were named; `None` if none was.
    pub(crate) fn named(&self) -> Option<&[Box<str>]> {
        self.0.as_deref()
    }

    /// Whether an app with this slug may be one of them. What the platform keeps for itself is not
    /// looked at.
    pub(super) fn has(&self, slug: &str) -> bool {
        let named = self.named();
        named.is_none_or(|apps| apps.iter().any(|app| **app == *slug))
    }

    /// Whether the management API can be asked for the keys of this app, and they are let in.
    pub(crate) fn may_be_listed(&self, slug: &str) -> bool {
        self.has(slug) && may_be_looked_up(slug)
    }

    /// Whether the keys of this app are let in; `is_token` for its access tokens.
    pub(crate) fn accept(&self, slug: &str, reserved: Option<Reserved>, is_token: bool) -> bool {
        match (self.named(), reserved) {
            (Some(_), _) => self.has(slug),
            (None, None) => true,
            // The app of the tokens that a user has consented to.
            (None, Some(Reserved::OauthIdentity)) => is_token,
            (None, Some(Reserved::Management)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(apps: &AcceptedApps, slug: &str, is_token: bool) -> bool {
        apps.accept(slug, Reserved::of(slug), is_token)
    }

    #[test]
    fn without_names_every_app_is_accepted_but_the_platforms_own() {
        let all = AcceptedApps::default();
        assert!(accepts(&all, "orders", false) && accepts(&all, "orders", true));
        assert!(!accepts(&all, "aa_7", false) && !accepts(&all, "aa_7", true));
        assert!(!accepts(&all, "oauth_7", false) && accepts(&all, "oauth_7", true));
    }

    #[test]
    fn names_are_narrowed_and_never_widened() {
        let both = AcceptedApps::only(["orders", "billing"]);
        let one = both.narrowed(["orders", "other"]);
        assert!(accepts(&one, "orders", false));
        assert!(!accepts(&one, "billing", false) && !accepts(&one, "other", false));
        let named = AcceptedApps::default().narrowed(["aa_7"]);
        assert!(accepts(&named, "aa_7", false), "named is named");
    }
}
