//! Where callers put their key.

use std::iter;

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::client::{ConfigError, ConfigErrorKind, Result};
use crate::gate::request::credential::identity_headers::is_identity_header;

/// Names a place in a request where callers put their API key.
///
/// A single source and a list of sources are both `impl IntoIterator<Item = CredentialSource>`,
/// so an option that takes several takes one as well:
///
/// ```
/// use http::Request;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{CredentialSource, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::new(wacht.client())
///     .app("orders")
///     .credentials([CredentialSource::bearer(), CredentialSource::header("x-api-key")?]);
/// let gate = gate.handle();
///
/// let request = Request::get("/orders").header("x-api-key", key.secret()).body(())?;
/// assert!(gate.authenticate(&request.into_parts().0).await.is_ok());
/// let bearer = format!("bearer {}", key.secret());
/// let request = Request::get("/orders").header("authorization", bearer).body(())?;
/// assert!(gate.authenticate(&request.into_parts().0).await.is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CredentialSource(pub(super) SourceKind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    Bearer,
    Header(HeaderName),
}

impl CredentialSource {
    /// The token of `Authorization: Bearer <key>` ([RFC 6750]). The word `Bearer` may be in any
    /// case; other schemes, such as `Basic`, count as no credential.
    ///
    /// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
    #[must_use]
    pub fn bearer() -> Self {
        Self(SourceKind::Bearer)
    }

    /// The whole value of the header `name`, in any case, with no scheme word before the key:
    /// usually `x-api-key`. `authorization` cannot be used next to [`bearer`](Self::bearer).
    ///
    /// ```
    /// use wacht_auth::CredentialSource;
    ///
    /// assert!(CredentialSource::header("X-Api-Key").is_ok());
    /// let unusable = CredentialSource::header("cookie").unwrap_err();
    /// assert!(unusable.to_string().contains("holds many values"), "{unusable}");
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) for what is no header name, and for names in which no key can arrive:
    ///
    /// - `x-wacht-*`: such headers are removed from every request, since services might believe
    ///   them;
    /// - `cookie`, which holds many values;
    /// - what belongs to one connection and ends at the next hop, such as `connection`, `te` and
    ///   `proxy-*`;
    /// - what browsers, proxies or gRPC write themselves, such as `forwarded`, `x-forwarded-*`,
    ///   `sec-*` and `grpc-*`;
    /// - what says something else in HTTP, such as `host`, `content-*`, `accept` and `user-agent`:
    ///   servers act on it, logs show it.
    pub fn header(name: impl TryInto<HeaderName>) -> Result<Self> {
        let Ok(name) = name.try_into() else {
            let message =
                "a header that holds a key is named by letters, digits and !#$%&'*+-.^_`|~";
            return Err(ConfigError::new(ConfigErrorKind::Credentials, message).into());
        };
        match unusable(&name) {
            None => Ok(Self(SourceKind::Header(name))),
            Some(reason) => {
                let message = format!("the header `{name}` cannot hold a key: {reason}");
                Err(ConfigError::new(ConfigErrorKind::Credentials, message).into())
            }
        }
    }
}

impl IntoIterator for CredentialSource {
    type Item = Self;
    type IntoIter = iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        iter::once(self)
    }
}

impl SourceKind {
    pub(super) fn header_name(&self) -> &HeaderName {
        match self {
            Self::Bearer => &AUTHORIZATION,
            Self::Header(name) => name,
        }
    }
}

/// Why no key can arrive in this header, if none can.
fn unusable(name: &HeaderName) -> Option<&'static str> {
    if is_identity_header(name) {
        return Some("such headers are removed from every request");
    }
    let name = name.as_str();
    let starts_with = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match name {
        "cookie" | "set-cookie" => Some("it holds many values, and browsers send them unasked"),
        // RFC 9110, section 7.6.1, and RFC 9113, section 8.2.2.
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade"
        | "http2-settings" => Some("it ends at the next hop"),
        _ if starts_with(&["proxy-"]) => Some("it ends at the next hop"),
        "forwarded" | "via" => Some("proxies write it"),
        _ if starts_with(&["x-forwarded-"]) => Some("proxies write it"),
        "origin" => Some("browsers write it"),
        // The prefixes are reserved: no script, and no gRPC application, can set them.
        _ if starts_with(&["sec-", "access-control-"]) => Some("browsers write it"),
        _ if starts_with(&["grpc-"]) => Some("gRPC writes it"),
        "accept" | "cache-control" | "date" | "expect" | "from" | "host" | "max-forwards"
        | "pragma" | "range" | "referer" | "user-agent" => Some("it says something else in HTTP"),
        _ if starts_with(&["accept-", "content-", "if-"]) => Some("it says something else in HTTP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str) -> String {
        match CredentialSource::header(name) {
            Err(crate::Error::Config(error)) => error.to_string(),
            other => panic!("{name:?}: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_header_name_is_said_at_once() {
        for name in ["", "x api key", "x-api-key:", "schlüssel"] {
            assert!(error(name).contains("is named by"), "{name:?}");
        }
    }

    #[test]
    fn a_header_in_which_no_key_can_arrive_is_said_at_once() {
        for (name, reason) in [
            ("x-wacht-key", "removed"),
            ("X_Wacht_Key", "removed"),
            ("Cookie", "many values"),
            ("Connection", "next hop"),
            ("TE", "next hop"),
            ("Transfer-Encoding", "next hop"),
            ("Proxy-Authorization", "next hop"),
            ("Forwarded", "proxies"),
            ("X-Forwarded-For", "proxies"),
            ("Origin", "browsers"),
            ("Sec-WebSocket-Protocol", "browsers"),
            ("grpc-timeout", "gRPC"),
            ("Host", "something else"),
            ("Content-Length", "something else"),
            ("Content-Type", "something else"),
            ("User-Agent", "something else"),
            ("If-Match", "something else"),
        ] {
            let said = error(name);
            let name = name.to_ascii_lowercase();
            assert!(said.contains(&format!("`{name}`")), "{said}");
            assert!(said.contains(reason), "{said}");
        }
    }

    #[test]
    fn names_of_every_type_that_can_be_a_header_name_are_taken() {
        let name = HeaderName::from_static("x-api-key");
        for source in [
            CredentialSource::header("X-Api-Key"),
            CredentialSource::header("X-Api-Key".to_owned()),
            CredentialSource::header(&b"X-Api-Key"[..]),
            CredentialSource::header(&name),
            CredentialSource::header(name.clone()),
        ] {
            assert_eq!(source.unwrap().0, SourceKind::Header(name.clone()));
        }
        for usable in [
            "authorization",
            "api-key",
            "x-wachtel",
            "ocp-apim-subscription-key",
            "token",
        ] {
            assert!(CredentialSource::header(usable).is_ok(), "{usable}");
        }
    }
}
