//! Finds the key of a request where the sources say, and takes it away again.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use crate::gate::request::credential::bearer::bearer_token;
use crate::gate::request::credential::identity_headers::{
    drop_identity_headers, is_identity_header,
};
use crate::gate::request::credential::key::{Credential, Malformed};
use crate::gate::request::credential::source::{CredentialSource, SourceKind};

/// The places a gate looks for a key, in order.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    sources: Arc<[SourceKind]>,
    problem: Option<&'static str>,
}

impl Credentials {
    /// Sources named twice count once.
    pub(crate) fn new(sources: impl IntoIterator<Item = CredentialSource>) -> Self {
        let mut distinct = Vec::new();
        for CredentialSource(source) in sources {
            if !distinct.contains(&source) {
                distinct.push(source);
            }
        }
        Self {
            problem: problem(&distinct),
            sources: distinct.into(),
        }
    }

    /// Why no request can be judged by these sources, in words for the log.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        self.problem
    }

    /// The one credential of a request, or `None` when no source has any.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for two credentials anywhere in the sources, for two lines of one header,
    /// and for a key that is empty or holds anything but visible ASCII. A comma counts as two:
    /// it is how proxies join two lines.
    pub(crate) fn extract<'h>(
        &self,
        headers: &'h HeaderMap,
    ) -> Result<Option<Credential<'h>>, Malformed> {
        let mut found = None;
        for source in self.sources.iter() {
            let mut lines = headers.get_all(source.header_name()).iter();
            let Some(line) = lines.next() else { continue };
            if lines.next().is_some() {
                return Err(Malformed);
            }
            let key = match source {
                SourceKind::Bearer => match bearer_token(trim(line.as_bytes())) {
                    Some(token) => token,
                    None => continue,
                },
                SourceKind::Header(_) => trim(line.as_bytes()),
            };
            let credential = Credential::parse(key)?;
            if found.replace(credential).is_some() {
                return Err(Malformed);
            }
        }
        Ok(found)
    }

    /// Removes forged identity headers, and keeps keys out of everything that prints headers: each
    /// line of each source, and `Authorization` whether it is a source or not.
    pub(crate) fn clean(&self, headers: &mut HeaderMap) {
        let mut forged = false;
        // One walk for both. `HeaderMap::entry` would be shorter for the marks, but may grow the
        // map of a request without the header.
        for (name, value) in headers.iter_mut() {
            forged |= is_identity_header(name);
            if name == AUTHORIZATION || self.header_names().any(|source| source == name) {
                value.set_sensitive(true);
            }
        }
        if forged {
            drop_identity_headers(headers);
        }
    }

    /// Removes the key before the request goes on. `Authorization` of another scheme stays.
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        for source in self.sources.iter() {
            match source {
                SourceKind::Bearer => {
                    let mut lines = headers.get_all(AUTHORIZATION).iter();
                    if lines.any(|line| bearer_token(trim(line.as_bytes())).is_some()) {
                        headers.remove(AUTHORIZATION);
                    }
                }
                SourceKind::Header(name) => {
                    headers.remove(name);
                }
            }
        }
    }

    /// The headers an answer depends on, for `Vary`; `Authorization` among them if it is a source.
    pub(crate) fn vary(&self) -> impl Iterator<Item = &HeaderName> {
        self.header_names()
    }

    fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.sources.iter().map(SourceKind::header_name)
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new(CredentialSource::bearer())
    }
}

/// Drops the white space that RFC 9110 allows around a header's value.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn problem(sources: &[SourceKind]) -> Option<&'static str> {
    let bare_authorization = SourceKind::Header(AUTHORIZATION);
    if sources.is_empty() {
        Some("no credential source is configured, so no request can carry a key")
    } else if sources.contains(&SourceKind::Bearer) && sources.contains(&bare_authorization) {
        Some("`Authorization` cannot hold a bearer token and a bare key at once")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
