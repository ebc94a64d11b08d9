//! The headers that services behind the gate might take for its word.

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

/// Removes every inbound `x-wacht-*` header, also when spelt with `_`: a service behind the
/// gate, or a CGI-like server that folds both into one, might take it for the gate's word.
pub(super) fn drop_identity_headers(headers: &mut HeaderMap) {
    let forged: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| is_identity_header(name))
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
}

pub(super) fn is_identity_header(name: &HeaderName) -> bool {
    matches!(
        name.as_str().as_bytes(),
        [
            b'x',
            b'-' | b'_',
            b'w',
            b'a',
            b'c',
            b'h',
            b't',
            b'-' | b'_',
            ..
        ]
    )
}
