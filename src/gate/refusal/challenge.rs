//! `WWW-Authenticate` and `Vary` of a refusal.

use std::borrow::Cow;

use http::HeaderValue;

use crate::gate::refusal::kind::RejectionKind;

/// The fields of a refusal that only the layer's options decide, rendered once.
#[derive(Clone)]
pub(super) struct Challenge {
    missing: HeaderValue,
    malformed: HeaderValue,
    invalid: HeaderValue,
    denied: HeaderValue,
    // Quoted.
    realm: Cow<'static, str>,
    vary: HeaderValue,
}

/// That of a gate whose options say nothing of it. Static values are cloned at no cost.
static STANDARD: Challenge = Challenge {
    missing: HeaderValue::from_static(r#"Bearer realm="api""#),
    malformed: HeaderValue::from_static(r#"Bearer realm="api", error="invalid_request""#),
    invalid: HeaderValue::from_static(r#"Bearer realm="api", error="invalid_token""#),
    denied: HeaderValue::from_static(r#"Bearer realm="api", error="insufficient_scope""#),
    realm: Cow::Borrowed("api"),
    vary: HeaderValue::from_static("authorization"),
};

impl Challenge {
    pub(super) fn standard() -> &'static Self {
        &STANDARD
    }

    pub(super) fn with_realm(&self, realm: &str) -> Self {
        // What a quoted-string cannot hold is left out (RFC 9110, section 5.6.4).
        let mut quoted = String::with_capacity(realm.len());
        for c in realm.chars().filter(|c| matches!(c, ' '..='~')) {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        Self {
            missing: challenge(&quoted, "", None),
            malformed: challenge(&quoted, "invalid_request", None),
            invalid: challenge(&quoted, "invalid_token", None),
            denied: challenge(&quoted, "insufficient_scope", None),
            realm: quoted.into(),
            vary: self.vary.clone(),
        }
    }

    pub(super) fn with_vary(&self, vary: HeaderValue) -> Self {
        Self {
            vary,
            ..self.clone()
        }
    }

    /// The names of the headers that the answer depends on.
    pub(super) fn vary(&self) -> &HeaderValue {
        &self.vary
    }

    /// `WWW-Authenticate` as in RFC 6750, section 3.
    pub(super) fn of(&self, kind: RejectionKind, scope: Option<&str>) -> Option<HeaderValue> {
        match kind {
            RejectionKind::MissingCredential => Some(self.missing.clone()),
            RejectionKind::MalformedCredential => Some(self.malformed.clone()),
            RejectionKind::InvalidKey => Some(self.invalid.clone()),
            RejectionKind::PermissionDenied => Some(match scope {
                None => self.denied.clone(),
                Some(scope) => challenge(&self.realm, "insufficient_scope", Some(scope)),
            }),
            RejectionKind::RateLimited
            | RejectionKind::Unavailable
            | RejectionKind::Misconfigured => None,
        }
    }
}

fn challenge(realm: &str, error: &str, scope: Option<&str>) -> HeaderValue {
    let mut text = format!("Bearer realm=\"{realm}\"");
    if !error.is_empty() {
        text = text + ", error=\"" + error + "\"";
    }
    if let Some(scope) = scope {
        text = text + ", scope=\"" + scope + "\"";
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_challenge_is_what_the_realm_api_makes_of_another() {
        use RejectionKind as Kind;

        let rendered = STANDARD.with_realm("other").with_realm("api");
        for kind in [
            Kind::MissingCredential,
            Kind::MalformedCredential,
            Kind::InvalidKey,
            Kind::PermissionDenied,
            Kind::RateLimited,
        ] {
            for scope in [None, Some("a b")] {
                assert_eq!(
                    STANDARD.of(kind, scope),
                    rendered.of(kind, scope),
                    "{kind:?}"
                );
            }
        }
        assert_eq!(STANDARD.vary(), rendered.vary());
    }
}
