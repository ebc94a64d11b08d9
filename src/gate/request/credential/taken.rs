//! Keys that stand where everybody reads along: they are taken out of the request.

use http::header::{REFERER, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use crate::gate::request::credential::key::Malformed;
use crate::gate::request::credential::source::SourceKind;
use crate::gate::request::peer;

/// The keys that were taken out of a request, in its extensions: a gate further in finds them here.
#[derive(Clone, Default)]
pub(super) struct TakenKeys(Vec<TakenKey>);

#[derive(Clone)]
struct TakenKey {
    source: SourceKind,
    key: Result<Zeroizing<Vec<u8>>, Malformed>,
}

impl TakenKeys {
    /// The key from this source.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for more than one, and for one that came in a way that cannot work.
    pub(super) fn of(&self, source: &SourceKind) -> Result<Option<&[u8]>, Malformed> {
        let mut ours = self.0.iter().filter(|taken| taken.source == *source);
        let Some(first) = ours.next() else {
            return Ok(None);
        };
        match (&first.key, ours.next()) {
            (Ok(key), None) => Ok(Some(key)),
            _ => Err(Malformed),
        }
    }

    fn add(&mut self, source: &SourceKind, key: Result<Zeroizing<Vec<u8>>, Malformed>) {
        let source = source.clone();
        self.0.push(TakenKey { source, key });
    }
}

/// Takes the keys of these sources out of the URI, axum's copy of it, the URI that the request came
/// from, and the offered protocols.
pub(super) fn take(sources: &[SourceKind], parts: &mut Parts) {
    let mut taken = TakenKeys::default();
    take_parameters(sources, &mut parts.uri, &mut taken);
    if let Some(original) = peer::original_uri_mut(&mut parts.extensions) {
        // The same parameters once more.
        take_parameters(sources, original, &mut TakenKeys::default());
    }
    take_from_referrer(sources, &mut parts.headers);
    take_protocols(sources, &mut parts.headers, &mut taken);
    if !taken.0.is_empty() {
        let before = parts.extensions.get_or_insert_default::<TakenKeys>();
        before.0.append(&mut taken.0);
    }
}

/// A page of this service that was asked for with a key in its query sends that along.
fn take_from_referrer(sources: &[SourceKind], headers: &mut HeaderMap) {
    let Some(referrer) = headers.get(REFERER) else {
        return;
    };
    let Ok(mut uri) = Uri::try_from(referrer.as_bytes()) else {
        return;
    };
    let mut taken = TakenKeys::default();
    take_parameters(sources, &mut uri, &mut taken);
    if taken.0.is_empty() {
        return;
    }
    // A URI is always a header value.
    match HeaderValue::try_from(uri.to_string()) {
        Ok(rest) => drop(headers.insert(REFERER, rest)),
        Err(_) => drop(headers.remove(REFERER)),
    }
}

fn take_parameters(sources: &[SourceKind], uri: &mut Uri, taken: &mut TakenKeys) {
    let Some(query) = uri.query() else { return };
    let mut others = Vec::new();
    let before = taken.0.len();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut sources = sources.iter();
        let is_named = |source: &&SourceKind| match source {
            SourceKind::Query(wanted) if name.contains(['%', '+']) => {
                form_decoded(name).as_slice() == wanted.as_bytes()
            }
            SourceKind::Query(wanted) => name == &**wanted,
            _ => false,
        };
        match sources.find(is_named) {
            Some(source) => taken.add(source, Ok(form_decoded(value))),
            None => others.push(pair),
        }
    }
    if taken.0.len() > before {
        *uri = with_query(uri, &others.join("&"));
    }
}

/// As in `application/x-www-form-urlencoded`.
fn form_decoded(text: &str) -> Zeroizing<Vec<u8>> {
    let spaced = text
        .bytes()
        .map(|byte| if byte == b'+' { b' ' } else { byte });
    let spaced: Zeroizing<Vec<u8>> = Zeroizing::new(spaced.collect());
    // All at once: a vector that grows leaves pieces of the key behind.
    let mut decoded = Zeroizing::new(Vec::with_capacity(spaced.len()));
    decoded.extend(percent_decode(&spaced));
    decoded
}

fn with_query(uri: &Uri, query: &str) -> Uri {
    let path = uri.path();
    let path_and_query = match query {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    };
    let mut parts = uri.clone().into_parts();
    // Less of what was a path and query is one still. Were it none, nothing of it goes on.
    parts.path_and_query =
        Some(PathAndQuery::try_from(path_and_query).unwrap_or(PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

fn take_protocols(sources: &[SourceKind], headers: &mut HeaderMap, taken: &mut TakenKeys) {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut others: Vec<&[u8]> = Vec::new();
    let mut ours = Vec::new();
    for protocol in offered.map(<[u8]>::trim_ascii) {
        let mut sources = sources.iter();
        match sources.find_map(|source| Some((source, key_in(protocol, source)?))) {
            Some(found) => ours.push(found),
            None if protocol.is_empty() => {}
            None => others.push(protocol),
        }
    }
    if ours.is_empty() {
        return;
    }
    // A server must answer with one of the protocols, and the key must not be it.
    let is_alone = others.is_empty();
    for (source, key) in ours {
        let key = Zeroizing::new(key.to_vec());
        taken.add(source, if is_alone { Err(Malformed) } else { Ok(key) });
    }
    let rest = HeaderValue::from_bytes(&others.join(&b", "[..]));
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(rest) = rest
        && !rest.is_empty()
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, rest);
    }
}

fn key_in<'h>(protocol: &'h [u8], source: &SourceKind) -> Option<&'h [u8]> {
    match source {
        SourceKind::WebsocketProtocol(prefix) => protocol.strip_prefix(prefix.as_bytes()),
        _ => None,
    }
}
