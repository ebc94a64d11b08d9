//! Finds the key of a request where the sources say, and takes it away again.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::gate::request::credential::basic;
use crate::gate::request::credential::cookie;
use crate::gate::request::credential::foreign::is_foreign;
use crate::gate::request::credential::identity_headers::{
    drop_identity_headers, is_identity_header,
};
use crate::gate::request::credential::key::{Credential, Malformed};
use crate::gate::request::credential::scheme::{after_scheme, begins_with_scheme};
use crate::gate::request::credential::source::{CredentialSource, SourceKind};
use crate::gate::request::credential::taken::{TakenKeys, take};

/// The places a gate looks for a key, in order.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    sources: Arc<[SourceKind]>,
    /// The headers besides `Authorization` that may hold a key.
    other_headers: Arc<[HeaderName]>,
    /// The default: one source, and no key is anywhere but after `Bearer`.
    only_bearer: bool,
    /// Whether any of the sources is one whose key is taken out of the request.
    takes_out: bool,
    pub(crate) ignore_foreign: bool,
}

/// What a key is decoded into that does not stand in the request as it is.
pub(crate) type Decoded = Option<Zeroizing<Vec<u8>>>;

impl Credentials {
    /// Sources named twice count once.
    pub(crate) fn new(sources: impl IntoIterator<Item = CredentialSource>) -> Self {
        let mut distinct = Vec::new();
        for CredentialSource(source) in sources {
            if !distinct.contains(&source) {
                distinct.push(source);
            }
        }
        let mut other_headers: Vec<HeaderName> = Vec::new();
        for name in distinct.iter().filter_map(SourceKind::header_name) {
            if name != AUTHORIZATION && !other_headers.contains(name) {
                other_headers.push(name.clone());
            }
        }
        let is_taken_out = |source: &SourceKind| {
            matches!(
                source,
                SourceKind::Query(_) | SourceKind::WebsocketProtocol(_)
            )
        };
        Self {
            other_headers: other_headers.into(),
            only_bearer: matches!(&*distinct, [SourceKind::Bearer]),
            takes_out: distinct.iter().any(is_taken_out),
            sources: distinct.into(),
            ignore_foreign: false,
        }
    }

    pub(crate) fn ignoring_foreign(self, ignore_foreign: bool) -> Self {
        Self {
            ignore_foreign,
            ..self
        }
    }

    /// Why no request can be judged by these sources, in words for the log.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let is_empty = self.sources.is_empty();
        is_empty.then_some("no credential source is configured, so no request can carry a key")
    }

    pub(crate) fn sources(&self) -> &[SourceKind] {
        &self.sources
    }

    /// The one credential of a request, or `None` when no source has any. [`clean`](Self::clean)
    /// goes first.
    ///
    /// Where it is the only one there can be, its form is not looked at: of a key that turns out to be
    /// known, it need not be.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for two credentials in one source (two lines of one header count as two), for
    /// different ones in different sources, and, of several sources, for a key that is
    /// [malformed](Credential::parse). A comma counts as two: it is how proxies join two lines.
    pub(crate) fn extract<'h>(
        &self,
        parts: &'h Parts,
        decoded: &'h mut Decoded,
    ) -> Result<Option<Credential<'h>>, Malformed> {
        let headers = &parts.headers;
        // Without what only other sources need.
        if self.only_bearer {
            let line = only_line(&AUTHORIZATION, headers)?;
            return Ok(line.and_then(|line| self.bearer(line)).map(Credential));
        }
        let mut found: Option<Credential<'h>> = None;
        let mut user_pass = None;
        for source in self.sources.iter() {
            let key = match source {
                SourceKind::Bearer => self.in_line(source, &AUTHORIZATION, headers)?,
                SourceKind::Header { name, .. } => self.in_line(source, name, headers)?,
                SourceKind::Basic => {
                    // Looked at last: what it is decoded into is on loan from then on.
                    user_pass = self.in_line(source, &AUTHORIZATION, headers)?;
                    None
                }
                SourceKind::Cookie(name) => cookie::value(headers, name)?,
                SourceKind::Query(_) | SourceKind::WebsocketProtocol(_) => {
                    match parts.extensions.get::<TakenKeys>() {
                        Some(taken) => taken.of(source)?,
                        None => None,
                    }
                }
            };
            if let Some(key) = key {
                found = Some(one(found, key)?);
            }
        }
        if let Some(token) = user_pass {
            let user_pass = decoded.insert(basic::decode(token)?);
            found = Some(one(found, basic::key_of(user_pass)?)?);
        }
        Ok(found)
    }

    /// The key in the only line of the source's header.
    fn in_line<'h>(
        &self,
        source: &SourceKind,
        name: &HeaderName,
        headers: &'h HeaderMap,
    ) -> Result<Option<&'h [u8]>, Malformed> {
        let line = only_line(name, headers)?;
        Ok(line.and_then(|line| self.of_line(source, line)))
    }

    /// What this source takes for a key in a line of its header.
    fn of_line<'h>(&self, source: &SourceKind, line: &'h [u8]) -> Option<&'h [u8]> {
        match source {
            SourceKind::Basic => after_scheme(line, "Basic"),
            SourceKind::Bearer => self.bearer(line),
            SourceKind::Header {
                scheme: Some(scheme),
                ..
            } => after_scheme(line, scheme),
            SourceKind::Header { name, scheme: None } => {
                let is_another = begins_with_scheme(line) && self.has_schemes(name);
                (!is_another).then_some(line)
            }
            SourceKind::Cookie(_) | SourceKind::Query(_) | SourceKind::WebsocketProtocol(_) => None,
        }
    }

    fn bearer<'h>(&self, line: &'h [u8]) -> Option<&'h [u8]> {
        let token = after_scheme(line, "Bearer")?;
        (!self.ignore_foreign || !is_foreign(token)).then_some(token)
    }

    /// Whether keys in this header may have a scheme before them.
    fn has_schemes(&self, header: &HeaderName) -> bool {
        self.sources.iter().any(|source| match source {
            SourceKind::Basic | SourceKind::Bearer => header == AUTHORIZATION,
            SourceKind::Header { name, scheme } => scheme.is_some() && name == header,
            SourceKind::Cookie(_) | SourceKind::Query(_) | SourceKind::WebsocketProtocol(_) => {
                false
            }
        })
    }

    /// Removes forged identity headers, takes out keys that stand where everybody reads along, and
    /// keeps the others out of everything that prints headers: each line of each source, and
    /// `Authorization` whether it is a source or not.
    pub(crate) fn clean(&self, parts: &mut Parts) {
        if self.takes_out {
            take(&self.sources, parts);
        }
        let headers = &mut parts.headers;
        let mut forged = false;
        // One walk for both. `HeaderMap::entry` would be shorter for the marks, but may grow the
        // map of a request without the header.
        for (name, value) in headers.iter_mut() {
            forged |= is_identity_header(name);
            if name == AUTHORIZATION || self.other_headers.contains(name) {
                value.set_sensitive(true);
            }
        }
        if forged {
            drop_identity_headers(headers);
        }
    }

    /// Removes the key before the request goes on. `Authorization` of another scheme stays, and so
    /// do other cookies.
    pub(crate) fn strip(&self, parts: &mut Parts) {
        if self.takes_out {
            parts.extensions.remove::<TakenKeys>();
        }
        let headers = &mut parts.headers;
        for source in self.sources.iter() {
            match source {
                SourceKind::Bearer | SourceKind::Basic | SourceKind::Header { .. } => {
                    let Some(name) = source.header_name() else {
                        continue;
                    };
                    let mut lines = headers.get_all(name).iter();
                    if lines.any(|line| self.of_line(source, trim(line.as_bytes())).is_some()) {
                        headers.remove(name);
                    }
                }
                SourceKind::Cookie(name) => cookie::remove(headers, name),
                SourceKind::Query(_) | SourceKind::WebsocketProtocol(_) => {}
            }
        }
    }

    /// The headers an answer depends on, joined by commas for `Vary`; `Authorization` among them if
    /// it is a source. `None` if no header holds a key.
    pub(crate) fn vary(&self) -> Option<HeaderValue> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.sources.iter().filter_map(SourceKind::header_name) {
            if !names.contains(&name.as_str()) {
                names.push(name.as_str());
            }
        }
        // Header names and commas are always a header value.
        let joined = HeaderValue::try_from(names.join(", "));
        (!names.is_empty()).then(|| joined.unwrap_or(HeaderValue::from_static("*")))
    }

    /// Whether a key may come elsewhere than in `Authorization`, of which shared caches know by
    /// themselves.
    pub(crate) fn are_elsewhere(&self) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| source.header_name() != Some(&AUTHORIZATION))
    }
}

/// What the only line of a header holds.
#[inline]
fn only_line<'h>(name: &HeaderName, headers: &'h HeaderMap) -> Result<Option<&'h [u8]>, Malformed> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => Ok(Some(trim(line.as_bytes()))),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

/// The key, which must not be another one than what was found before.
fn one<'h>(found: Option<Credential<'h>>, key: &'h [u8]) -> Result<Credential<'h>, Malformed> {
    let credential = Credential::parse(key)?;
    match found {
        Some(other) if other != credential => Err(Malformed),
        _ => Ok(credential),
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

#[cfg(test)]
mod tests;
