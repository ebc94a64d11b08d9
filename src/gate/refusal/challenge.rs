//! `WWW-Authenticate` and `Vary` of a refusal, and the words that say where a key belongs.

use std::borrow::Cow;
use std::slice;

use bytes::Bytes;
use http::HeaderValue;
use http::header::AUTHORIZATION;

use crate::gate::refusal::kind::RejectionKind;
use crate::gate::request::credential::{Credentials, SourceKind};

/// The fields of a refusal that only the layer's options decide, rendered once.
#[derive(Clone)]
pub(super) struct Challenge {
    missing: Lines,
    malformed: Lines,
    invalid: Lines,
    denied: Lines,
    // Quoted.
    realm: Cow<'static, str>,
    /// `None` is the bearer token alone, of which the table of kinds speaks.
    places: Option<Places>,
    vary: Option<HeaderValue>,
}

/// Where a gate looks for keys, and what it says of that.
#[derive(Clone)]
struct Places {
    credentials: Credentials,
    missing: Text,
    malformed: Text,
}

/// The sentence for a caller, in each of its forms.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) detail: Box<str>,
    /// The RFC 9457 body.
    pub(super) problem: Bytes,
    pub(super) grpc_message: HeaderValue,
}

/// The values of one field, each a line.
#[derive(Clone)]
pub(super) enum Lines {
    One(HeaderValue),
    Many(Vec<HeaderValue>),
}

/// That of a gate whose options say nothing of it. Static values are cloned at no cost.
static STANDARD: Challenge = Challenge {
    missing: Lines::One(HeaderValue::from_static(r#"Bearer realm="api""#)),
    malformed: Lines::One(HeaderValue::from_static(
        r#"Bearer realm="api", error="invalid_request""#,
    )),
    invalid: Lines::One(HeaderValue::from_static(
        r#"Bearer realm="api", error="invalid_token""#,
    )),
    denied: Lines::One(HeaderValue::from_static(
        r#"Bearer realm="api", error="insufficient_scope""#,
    )),
    realm: Cow::Borrowed("api"),
    places: None,
    vary: Some(HeaderValue::from_static("authorization")),
};

// === impl Challenge ===

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
        Self::rendered(quoted.into(), self.places.clone(), self.vary.clone())
    }

    pub(super) fn with_credentials(&self, credentials: &Credentials) -> Self {
        let places = Places::of(credentials);
        Self::rendered(self.realm.clone(), Some(places), credentials.vary())
    }

    fn rendered(
        realm: Cow<'static, str>,
        places: Option<Places>,
        vary: Option<HeaderValue>,
    ) -> Self {
        let sources = sources(places.as_ref());
        Self {
            missing: challenges(sources, &realm, None, None),
            malformed: challenges(sources, &realm, Some("invalid_request"), None),
            invalid: challenges(sources, &realm, Some("invalid_token"), None),
            denied: challenges(sources, &realm, Some("insufficient_scope"), None),
            realm,
            places,
            vary,
        }
    }

    /// The names of the headers that the answer depends on.
    pub(super) fn vary(&self) -> Option<&HeaderValue> {
        self.vary.as_ref()
    }

    /// What is said in place of the row of this kind.
    pub(super) fn text(&self, kind: RejectionKind) -> Option<&Text> {
        let places = self.places.as_ref()?;
        match kind {
            RejectionKind::MissingCredential => Some(&places.missing),
            RejectionKind::MalformedCredential => Some(&places.malformed),
            RejectionKind::InvalidKey
            | RejectionKind::PermissionDenied
            | RejectionKind::RateLimited
            | RejectionKind::Unavailable
            | RejectionKind::Misconfigured => None,
        }
    }

    /// `WWW-Authenticate` as in RFC 6750, section 3, for each source.
    pub(super) fn of(&self, kind: RejectionKind, scope: Option<&str>) -> Cow<'_, Lines> {
        match kind {
            RejectionKind::MissingCredential => Cow::Borrowed(&self.missing),
            RejectionKind::MalformedCredential => Cow::Borrowed(&self.malformed),
            RejectionKind::InvalidKey => Cow::Borrowed(&self.invalid),
            RejectionKind::PermissionDenied => match scope {
                None => Cow::Borrowed(&self.denied),
                Some(_) => {
                    let sources = sources(self.places.as_ref());
                    let error = Some("insufficient_scope");
                    Cow::Owned(challenges(sources, &self.realm, error, scope))
                }
            },
            RejectionKind::RateLimited
            | RejectionKind::Unavailable
            | RejectionKind::Misconfigured => Cow::Owned(Lines::Many(Vec::new())),
        }
    }
}

fn sources(places: Option<&Places>) -> &[SourceKind] {
    places.map_or(&[SourceKind::Bearer], |places| places.credentials.sources())
}

/// One challenge for each source. `Basic` has no word for an error: it stands on a 401 alone.
fn challenges(
    sources: &[SourceKind],
    realm: &str,
    error: Option<&str>,
    scope: Option<&str>,
) -> Lines {
    let is_401 = matches!(error, None | Some("invalid_token"));
    let told = sources
        .iter()
        .filter(|source| is_401 || **source != SourceKind::Basic)
        .map(|source| challenge(source, realm, error, scope));
    let mut told: Vec<HeaderValue> = told.collect();
    match (told.pop(), told.is_empty()) {
        (Some(only), true) => Lines::One(only),
        (last, _) => {
            told.extend(last);
            Lines::Many(told)
        }
    }
}

fn challenge(
    source: &SourceKind,
    realm: &str,
    error: Option<&str>,
    scope: Option<&str>,
) -> HeaderValue {
    let (scheme, place) = match source {
        SourceKind::Basic => ("Basic", None),
        SourceKind::Bearer => ("Bearer", None),
        SourceKind::Cookie(name) => ("ApiKey", Some(("cookie", &**name))),
        SourceKind::Header { name, scheme } => (
            scheme.as_deref().unwrap_or("ApiKey"),
            // A scheme belongs into `Authorization`, unless something else is said.
            (scheme.is_none() || name != AUTHORIZATION).then(|| ("header", name.as_str())),
        ),
        SourceKind::Query(name) => ("ApiKey", Some(("query", &**name))),
        SourceKind::WebsocketProtocol(prefix) => ("ApiKey", Some(("protocol", &**prefix))),
    };
    let error = error.filter(|_| *source != SourceKind::Basic);
    let parameters = [
        place,
        error.map(|error| ("error", error)),
        scope.map(|scope| ("scope", scope)),
    ];
    let mut text = format!("{scheme} realm=\"{realm}\"");
    for (name, value) in parameters.into_iter().flatten() {
        text = text + ", " + name + "=\"" + value + "\"";
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
}

// === impl Places ===

impl Places {
    fn of(credentials: &Credentials) -> Self {
        let places: Vec<String> = credentials.sources().iter().map(place).collect();
        let places = match places.split_last() {
            None => "nowhere".to_owned(),
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
        };
        let text =
            |kind: RejectionKind, before: &str| Text::of(kind, format!("{before} {places}."));
        Self {
            missing: text(
                RejectionKind::MissingCredential,
                "This request carries no API key: send it",
            ),
            malformed: text(
                RejectionKind::MalformedCredential,
                "The credentials of this request cannot be read: send exactly one API key,",
            ),
            credentials: credentials.clone(),
        }
    }
}

/// Where a key belongs, in words. The names in them are tokens, with nothing that JSON escapes.
fn place(source: &SourceKind) -> String {
    match source {
        SourceKind::Basic => "as user name or password of `Authorization: Basic`".to_owned(),
        SourceKind::Bearer => "as `Authorization: Bearer <key>`".to_owned(),
        SourceKind::Cookie(name) => format!("in the cookie `{name}`"),
        SourceKind::Header { name, scheme } => {
            let name = match name {
                name if *name == AUTHORIZATION => "Authorization",
                name => name.as_str(),
            };
            match scheme {
                Some(scheme) => format!("as `{name}: {scheme} <key>`"),
                None => format!("as `{name}: <key>`"),
            }
        }
        SourceKind::Query(name) => format!("in the query parameter `{name}`"),
        SourceKind::WebsocketProtocol(prefix) => {
            format!("as the websocket protocol `{prefix}<key>` beside another one")
        }
    }
}

// === impl Text ===

impl Text {
    fn of(kind: RejectionKind, detail: String) -> Self {
        let row = kind.row();
        // A gRPC message is percent-encoded, and of what can stand here only `%` itself has to be.
        let message = HeaderValue::try_from(detail.replace('%', "%25"));
        Self {
            problem: row.problem.replacen(row.detail, &detail, 1).into(),
            grpc_message: message.unwrap_or_else(|_| HeaderValue::from_static(row.detail)),
            detail: detail.into(),
        }
    }
}

// === impl Lines ===

impl Lines {
    pub(super) fn as_slice(&self) -> &[HeaderValue] {
        match self {
            Self::One(line) => slice::from_ref(line),
            Self::Many(lines) => lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::request::credential::CredentialSource;

    const KINDS: [RejectionKind; 5] = [
        RejectionKind::MissingCredential,
        RejectionKind::MalformedCredential,
        RejectionKind::InvalidKey,
        RejectionKind::PermissionDenied,
        RejectionKind::RateLimited,
    ];

    #[test]
    fn the_standard_challenge_is_what_the_realm_api_makes_of_another() {
        let rendered = STANDARD.with_realm("other").with_realm("api");
        let bearer = Credentials::new(CredentialSource::bearer());
        let named = STANDARD.with_credentials(&bearer);
        for kind in KINDS {
            for scope in [None, Some("a b")] {
                let standard = STANDARD.of(kind, scope);
                for other in [&rendered, &named] {
                    let other = other.of(kind, scope);
                    assert_eq!(standard.as_slice(), other.as_slice(), "{kind:?}");
                }
            }
            if let Some(text) = named.text(kind) {
                assert_eq!(*text.detail, *kind.row().detail);
                assert_eq!(text.problem, kind.row().problem);
                assert_eq!(text.grpc_message, kind.row().detail);
            }
        }
        assert_eq!(STANDARD.vary(), rendered.vary());
        assert_eq!(STANDARD.vary(), named.vary());
    }

    #[test]
    fn a_gates_own_text_is_json_and_a_grpc_message_whatever_the_names_are() {
        let source = CredentialSource::cookie("a%b'`|~").unwrap();
        let challenge = STANDARD.with_credentials(&Credentials::new(source));
        let text = challenge.text(RejectionKind::MissingCredential).unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&text.problem).unwrap();
        assert_eq!(problem["detail"], *text.detail);
        assert_eq!(problem["status"], 401);
        assert!(text.detail.contains("`a%b'`|~`"), "{}", text.detail);
        let message = text.grpc_message.to_str().unwrap();
        assert!(message.contains("`a%25b'`|~`"), "{message}");
    }
}
