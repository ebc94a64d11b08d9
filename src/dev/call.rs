//! A request, and which of the two services it is for.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Uri};

/// A request that has arrived whole.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, Unread>,
    pub(super) peer: IpAddr,
}

/// Why a body could not be read.
pub(super) enum Unread {
    TooLarge,
    Broken,
}

/// Which of the two services a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Check,
    Management,
    Elsewhere,
}

impl Side {
    pub(super) fn of(path: &str) -> Self {
        let starts_with = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if path == CHECK {
            Self::Check
        } else if starts_with("/api-auth") || starts_with("/oauth") {
            Self::Management
        } else {
            Self::Elsewhere
        }
    }
}

impl Call {
    /// Whether axum's `Json` extractor would look at the body at all.
    pub(super) fn is_json(&self) -> bool {
        let content_type = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let Some(content_type) = content_type else {
            return false;
        };
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Where the gateway is asked about a key.
pub(super) const CHECK: &str = "/v1/authz/check";
