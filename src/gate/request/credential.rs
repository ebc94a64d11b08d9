//! Finds the API key in a request's headers, and cleans the headers around it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

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
///     .credentials([CredentialSource::bearer(), CredentialSource::header("x-api-key")]);
/// # let gate = gate.deadline(std::time::Duration::from_secs(60));
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
pub struct CredentialSource(Source);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Bearer,
    Header(HeaderName),
    Unusable(Box<str>),
}

impl CredentialSource {
    /// The token of `Authorization: Bearer <key>` ([RFC 6750]). The word `Bearer` may be in any
    /// case; other schemes, such as `Basic`, count as no credential.
    ///
    /// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
    #[must_use]
    pub fn bearer() -> Self {
        Self(Source::Bearer)
    }

    /// The whole value of the header `name`, in any case, with no scheme word before the key.
    ///
    /// Three names cannot be used: what is no header name at all, what starts with `x-wacht-`
    /// (such headers are removed from every request, since services might believe them), and
    /// `authorization` next to [`bearer`](Self::bearer). A gate with such a source refuses
    /// every request as misconfigured, and says why in its log.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{CredentialSource, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.app("orders");
    /// let gate = |source| {
    ///     let gate = WachtAuthLayer::new(wacht.client()).app("orders").credentials(source);
    /// #     let gate = gate.deadline(std::time::Duration::from_secs(60));
    ///     gate.handle()
    /// };
    /// assert!(gate(CredentialSource::header("x-api-key")).check().await.is_ok());
    /// assert!(gate(CredentialSource::header("x api key")).check().await.is_err());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn header(name: &str) -> Self {
        Self(match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if !is_identity_header(&name) => Source::Header(name),
            _ => Source::Unusable(name.into()),
        })
    }
}

impl IntoIterator for CredentialSource {
    type Item = Self;
    type IntoIter = iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        iter::once(self)
    }
}

/// The places a gate looks for a key, in order.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    sources: Arc<[Source]>,
    problem: Option<Arc<str>>,
}

/// More than one credential, or one that no Wacht key can look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

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
            problem: problem(&distinct).map(Arc::from),
            sources: distinct.into(),
        }
    }

    /// Why no request can be judged by these sources, in words for the log.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
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
            let Some(name) = source.header_name() else {
                continue;
            };
            let mut lines = headers.get_all(name).iter();
            let Some(line) = lines.next() else { continue };
            if lines.next().is_some() {
                return Err(Malformed);
            }
            let key = match source {
                Source::Bearer => match bearer_token(line) {
                    Some(token) => token,
                    None => continue,
                },
                Source::Header(_) | Source::Unusable(_) => trim(line.as_bytes()),
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
                Source::Bearer => {
                    let mut lines = headers.get_all(AUTHORIZATION).iter();
                    if lines.any(|line| bearer_token(line).is_some()) {
                        headers.remove(AUTHORIZATION);
                    }
                }
                Source::Header(name) => {
                    headers.remove(name);
                }
                Source::Unusable(_) => {}
            }
        }
    }

    /// The headers an answer depends on, for `Vary`; `Authorization` among them if it is a source.
    pub(crate) fn vary(&self) -> impl Iterator<Item = &HeaderName> {
        self.header_names()
    }

    fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.sources.iter().filter_map(Source::header_name)
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new(CredentialSource::bearer())
    }
}

impl Source {
    fn header_name(&self) -> Option<&HeaderName> {
        match self {
            Self::Bearer => Some(&AUTHORIZATION),
            Self::Header(name) => Some(name),
            Self::Unusable(_) => None,
        }
    }
}

/// A key as it stands in a request: visible ASCII, nothing more is known.
#[derive(Clone, Copy)]
pub(crate) struct Credential<'h>(&'h [u8]);

impl<'h> Credential<'h> {
    pub(crate) fn parse(key: &'h [u8]) -> Result<Self, Malformed> {
        let visible = |byte: u8| byte.is_ascii_graphic() & (byte != b',');
        if key.is_empty() || !all(key, visible) {
            return Err(Malformed);
        }
        Ok(Self(key))
    }

    /// The key itself. For the one call that verifies it.
    #[expect(clippy::expect_used, reason = "`parse` lets visible ASCII pass alone")]
    pub(crate) fn expose(&self) -> &'h str {
        std::str::from_utf8(self.0).expect("visible ASCII")
    }

    /// Whether Wacht could have issued it. If not, there is no need to ask.
    ///
    /// The format of the gateway, with an upper bound of ours: 46 to 512 bytes, of which the last
    /// 43 are URL-safe base64.
    pub(crate) fn is_well_formed(&self) -> bool {
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_');
        (46..=512).contains(&self.0.len())
            && self
                .0
                .last_chunk::<43>()
                .is_some_and(|tail| all(tail, base64))
    }

    /// Whether it is an OAuth access token by its first letters.
    pub(crate) fn is_oauth_access_token(&self) -> bool {
        self.0.starts_with(b"oat_")
    }

    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(self.0).into())
    }
}

/// Looks at every byte even after one that fails: without a way out, the compiler looks at
/// sixteen at a time.
fn all(bytes: &[u8], accepts: impl Fn(u8) -> bool) -> bool {
    bytes
        .iter()
        .fold(true, |so_far, byte| so_far & accepts(*byte))
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// SHA-256 of a key: what stands for it wherever something is remembered about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyDigest(pub(crate) [u8; 32]);

impl KeyDigest {
    /// White space around the key is dropped first, as the gateway does.
    pub(crate) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.trim().as_bytes()).into())
    }

    /// Where the digest belongs in a table of verdicts, by bits that its [`Hash`] does not use.
    pub(crate) fn place(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The bytes of a digest are evenly spread: eight of them tell entries apart as well as 32.
        // Who chooses keys chooses them all the same, so maps hash them with a secret seed.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// Removes every inbound `x-wacht-*` header, also when spelt with `_`: a service behind the
/// gate, or a CGI-like server that folds both into one, might take it for the gate's word.
fn drop_identity_headers(headers: &mut HeaderMap) {
    let forged: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| is_identity_header(name))
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
}

fn is_identity_header(name: &HeaderName) -> bool {
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

/// What follows the scheme word, if that is `Bearer`; empty when the two are not set apart by
/// spaces, so that it is malformed and not merely absent.
fn bearer_token(line: &HeaderValue) -> Option<&[u8]> {
    const BEARER: &[u8] = b"bearer";
    let (scheme, rest) = trim(line.as_bytes()).split_at_checked(BEARER.len())?;
    if !scheme.eq_ignore_ascii_case(BEARER) {
        return None;
    }
    match rest {
        [b' ', token @ ..] => Some(without_leading_spaces(token)),
        // The word goes on: another scheme.
        [byte, ..] if is_token_byte(*byte) => None,
        _ => Some(&[]),
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn without_leading_spaces(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = value {
        value = rest;
    }
    value
}

/// Drops the white space that RFC 9110 allows around a header's value.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn problem(sources: &[Source]) -> Option<String> {
    let bare_authorization = Source::Header(AUTHORIZATION);
    if sources.is_empty() {
        Some("no credential source is configured, so no request can carry a key".to_owned())
    } else if sources.contains(&Source::Bearer) && sources.contains(&bare_authorization) {
        Some("`Authorization` cannot hold a bearer token and a bare key at once".to_owned())
    } else {
        sources.iter().find_map(|source| match source {
            Source::Unusable(name) => Some(format!(
                "{name:?} cannot be a credential header: not a header name, or reserved"
            )),
            Source::Bearer | Source::Header(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "wk_live_0123456789abcdefghijABCDEFGHIJ_-0123456789012";

    fn headers(lines: &[(&str, &[u8])]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_bytes(value).unwrap())
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    fn extract<'h>(
        sources: &Credentials,
        headers: &'h HeaderMap,
    ) -> Result<Option<&'h str>, Malformed> {
        sources
            .extract(headers)
            .map(|found| found.map(|credential| credential.expose()))
    }

    #[test]
    fn a_bearer_header_is_a_key_nothing_or_malformed() {
        type Outcome = Result<Option<&'static str>, Malformed>;
        const MALFORMED: Outcome = Err(Malformed);
        let cases: &[(&[u8], Outcome)] = &[
            (b"Bearer key", Ok(Some("key"))),
            (b"bearer key", Ok(Some("key"))),
            (b"BEARER   key", Ok(Some("key"))),
            (b" Bearer key\t ", Ok(Some("key"))),
            (b"Bearer k\x21\x7e", Ok(Some("k!~"))),
            (b"Basic dXNlcjpwYXNz", Ok(None)),
            (b"BearerX key", Ok(None)),
            (b"Digest Bearer key", Ok(None)),
            (b"", Ok(None)),
            (b"Bearer", MALFORMED),
            (b"Bearer ", MALFORMED),
            (b"Bearer\tkey", MALFORMED),
            (b"Bearer \tkey", MALFORMED),
            (b"Bearer,key", MALFORMED),
            (b"Bearer=key", MALFORMED),
            (b"Bearer key key", MALFORMED),
            (b"Bearer key\tkey", MALFORMED),
            (b"Bearer key,key", MALFORMED),
            (b"Bearer key, Bearer key", MALFORMED),
            (b"Bearer k\xc3\xa9y", MALFORMED),
            (b"Bearer k\xffy", MALFORMED),
        ];
        for (value, expected) in cases {
            let headers = headers(&[("authorization", value)]);
            let shown = String::from_utf8_lossy(value);
            assert_eq!(
                &extract(&Credentials::default(), &headers),
                expected,
                "{shown:?}"
            );
        }
    }

    proptest! {
        /// RFC 9110, section 11.4: the scheme is a token, and what follows stands after spaces.
        #[test]
        fn the_scheme_is_all_that_stands_before_the_first_byte_that_is_none_of_a_token(
            value in r"[ \t]{0,2}([Bb][Ee][Aa][Rr][Ee][Rr]|Bear|Basic|)[ \t,=/X~\xe9]{0,3}[ -~\t]{0,8}"
        ) {
            let line = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            let trimmed = value.trim_matches([' ', '\t']);
            let is_of_token = |c: char| c.is_ascii() && is_token_byte(c as u8);
            let end = trimmed.find(|c| !is_of_token(c)).unwrap_or(trimmed.len());
            let (scheme, rest) = trimmed.split_at(end);
            let expected = scheme.eq_ignore_ascii_case("bearer").then(|| {
                let token = rest.trim_start_matches(' ');
                if token.len() < rest.len() { token } else { "" }
            });
            prop_assert_eq!(bearer_token(&line), expected.map(str::as_bytes));
        }

        #[test]
        fn a_key_is_what_it_was_and_has_one_digest(key in "[ -~é]{0,60}") {
            let parsed = Credential::parse(key.as_bytes());
            let visible = key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
            prop_assert_eq!(parsed.is_ok(), visible && !key.is_empty());
            if let Ok(parsed) = parsed {
                prop_assert_eq!(parsed.expose(), &*key);
                prop_assert_eq!(parsed.digest(), KeyDigest::of(&key));
                prop_assert_eq!(parsed.digest(), KeyDigest::of(&format!("\u{a0} {key}\r\n")));
            }
        }
    }

    fn is_well_formed(key: &str) -> bool {
        Credential(key.as_bytes()).is_well_formed()
    }

    #[test]
    fn a_request_without_the_source_headers_has_no_credential() {
        let headers = headers(&[("x-api-key", b"key"), ("cookie", b"key")]);
        assert_eq!(extract(&Credentials::default(), &headers), Ok(None));
    }

    #[test]
    fn two_authorization_lines_are_malformed_whatever_their_schemes() {
        for second in ["Bearer key", "Basic abc", ""] {
            let headers = headers(&[
                ("authorization", b"Basic abc"),
                ("authorization", second.as_bytes()),
            ]);
            assert_eq!(extract(&Credentials::default(), &headers), Err(Malformed));
        }
    }

    #[test]
    fn a_header_source_takes_the_whole_value() {
        let sources = Credentials::new(CredentialSource::header("X-Api-Key"));
        let one = |value: &[u8]| {
            let headers = headers(&[("x-api-key", value)]);
            extract(&sources, &headers).map(|found| found.map(str::to_owned))
        };
        assert_eq!(one(b"key"), Ok(Some("key".to_owned())));
        assert_eq!(one(b""), Err(Malformed));
        assert_eq!(one(b"Bearer key"), Err(Malformed));
        assert_eq!(one(b"key,key"), Err(Malformed));
        let two = headers(&[("x-api-key", b"key"), ("x-api-key", b"key")]);
        assert_eq!(extract(&sources, &two), Err(Malformed));
        let elsewhere = headers(&[("authorization", b"Bearer key")]);
        assert_eq!(extract(&sources, &elsewhere), Ok(None));
    }

    #[test]
    fn several_sources_hold_at_most_one_credential() {
        let sources = Credentials::new([
            CredentialSource::bearer(),
            CredentialSource::header("x-api-key"),
        ]);
        let second = headers(&[("x-api-key", b"two")]);
        assert_eq!(extract(&sources, &second), Ok(Some("two")));
        let beside_basic = headers(&[("authorization", b"Basic abc"), ("x-api-key", b"two")]);
        assert_eq!(extract(&sources, &beside_basic), Ok(Some("two")));
        let both = headers(&[("authorization", b"Bearer one"), ("x-api-key", b"two")]);
        assert_eq!(extract(&sources, &both), Err(Malformed));
        let broken_second = headers(&[("authorization", b"Bearer one"), ("x-api-key", b"")]);
        assert_eq!(extract(&sources, &broken_second), Err(Malformed));
    }

    #[test]
    fn a_source_named_twice_counts_once() {
        let header = CredentialSource::header("x-api-key");
        let sources = Credentials::new([header.clone(), header]);
        assert_eq!(sources.problem(), None);
        assert_eq!(
            extract(&sources, &headers(&[("x-api-key", b"key")])),
            Ok(Some("key"))
        );
    }

    #[test]
    fn sources_that_cannot_work_say_so() {
        let problem = |sources: &[CredentialSource]| {
            Credentials::new(sources.iter().cloned())
                .problem()
                .map(str::to_owned)
        };
        for name in [
            "",
            "x api key",
            "x-api-key:",
            "schlüssel",
            "x-wacht-key",
            "X_Wacht_Key",
        ] {
            let source = CredentialSource::header(name);
            let text = problem(&[CredentialSource::bearer(), source]).unwrap();
            assert!(text.contains(&format!("{name:?}")), "{text}");
        }
        assert!(problem(&[]).is_some());
        let bare = CredentialSource::header("Authorization");
        assert!(problem(&[bare.clone(), CredentialSource::bearer()]).is_some());
        assert_eq!(problem(&[bare]), None);
        assert_eq!(Credentials::default().problem(), None);
    }

    #[test]
    fn keys_are_marked_sensitive_on_every_line() {
        let sources = Credentials::new(CredentialSource::header("x-api-key"));
        let mut headers = headers(&[
            ("x-api-key", b"one"),
            ("x-api-key", b"two"),
            ("authorization", b"Basic abc"),
            ("accept", b"*/*"),
        ]);
        sources.clean(&mut headers);
        assert!(
            headers
                .get_all("x-api-key")
                .iter()
                .all(HeaderValue::is_sensitive)
        );
        assert!(headers["authorization"].is_sensitive());
        assert!(!headers["accept"].is_sensitive());
    }

    #[test]
    fn stripping_leaves_what_is_not_the_key() {
        let sources = Credentials::new([
            CredentialSource::bearer(),
            CredentialSource::header("x-api-key"),
        ]);
        let mut bearer = headers(&[("authorization", b"bearer one"), ("x-api-key", b"two")]);
        sources.strip(&mut bearer);
        assert!(bearer.is_empty());
        let mut basic = headers(&[("authorization", b"Basic abc"), ("accept", b"*/*")]);
        sources.strip(&mut basic);
        assert_eq!(basic.len(), 2);
    }

    #[test]
    fn answers_vary_on_every_source() {
        let sources = Credentials::new([
            CredentialSource::bearer(),
            CredentialSource::header("X-Api-Key"),
        ]);
        let names: Vec<_> = sources.vary().map(HeaderName::as_str).collect();
        assert_eq!(names, ["authorization", "x-api-key"]);
    }

    #[test]
    fn forged_identity_headers_are_dropped_in_every_spelling() {
        let mut forged = headers(&[
            ("X-Wacht-Key-Id", b"1"),
            ("x-wacht-key-id", b"2"),
            ("x_wacht_key_id", b"3"),
            ("x-wacht_permissions", b"4"),
            ("x_wacht-", b"5"),
            ("x-wacht-a", b"6"),
            ("x-wachtel", b"stays"),
            ("x-wacht", b"stays"),
            ("authorization", b"stays"),
        ]);
        Credentials::default().clean(&mut forged);
        assert_eq!(forged.len(), 3);
        assert!(forged.values().all(|value| value == "stays"));
    }

    #[test]
    fn a_key_is_well_formed_only_as_wacht_issues_it() {
        let tail = "a".repeat(43);
        let cases = [
            (KEY.to_owned(), true),
            (format!("ab_{tail}"), true),
            (format!("a_{tail}"), false),
            (format!("!!!{tail}"), true),
            (format!("{}{tail}", "p".repeat(469)), true),
            (format!("{}{tail}", "p".repeat(470)), false),
            (format!("wk_live_{}+", &tail[1..]), false),
            (format!("wk_live_+{}", &tail[1..]), false),
            (format!("wk_live+{tail}"), true),
            (String::new(), false),
        ];
        for (key, expected) in cases {
            assert_eq!(is_well_formed(&key), expected, "{key}");
        }
    }

    #[test]
    fn a_digest_is_the_sha_256_of_the_trimmed_key() {
        let abc = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
            0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61,
            0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(KeyDigest::of("abc").0, abc);
        assert_eq!(KeyDigest::of(" abc\n"), KeyDigest::of("abc"));
        assert_ne!(KeyDigest::of("abd"), KeyDigest::of("abc"));
    }

    #[test]
    fn neither_key_nor_digest_is_printed() {
        let headers = headers(&[("authorization", format!("Bearer {KEY}").as_bytes())]);
        let credential = Credentials::default().extract(&headers).unwrap().unwrap();
        assert_eq!(format!("{credential:?}"), "Credential(..)");
        assert_eq!(format!("{:?}", credential.digest()), "KeyDigest(..)");
    }

    proptest! {
        #[test]
        fn whatever_comes_out_is_visible_ascii(value: Vec<u8>, scheme in "(?i)bearer {0,2}|") {
            let value = [scheme.as_bytes(), &value].concat();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
                let bare = Credentials::new(CredentialSource::header("authorization"));
                for sources in [Credentials::default(), bare] {
                    if let Ok(Some(credential)) = sources.extract(&headers) {
                        let key = credential.expose();
                        prop_assert!(!key.is_empty());
                        prop_assert!(key.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
                    }
                }
            }
        }

        #[test]
        fn a_second_line_or_place_never_leaves_a_key_standing(
            key in "[!-+\\--~]{1,80}",
            place: bool,
            second in prop_oneof![
                Just("Basic abc".to_owned()), Just(String::new()), "(?i:bearer )?[!-~]{0,9}",
            ],
        ) {
            let both = [CredentialSource::bearer(), CredentialSource::header("x-api-key")];
            let sources = Credentials::new(both);
            let bearer = format!("Bearer {key}");
            let (name, first) = match place {
                true => ("authorization", bearer.as_str()),
                false => ("x-api-key", key.as_str()),
            };
            let one = headers(&[(name, first.as_bytes())]);
            prop_assert_eq!(extract(&sources, &one), Ok(Some(key.as_str())));
            let lines = headers(&[(name, first.as_bytes()), (name, second.as_bytes())]);
            prop_assert_eq!(extract(&sources, &lines), Err(Malformed));
            let places = headers(&[("authorization", bearer.as_bytes()), ("x-api-key", second.as_bytes())]);
            prop_assert_eq!(extract(&sources, &places), Err(Malformed));
        }

        #[test]
        fn one_wrong_byte_in_the_tail_spoils_a_key(
            front in "[!-~]{3,469}",
            tail in "[A-Za-z0-9_-]{43}",
            place in 0..43_usize,
            wrong in "[!-,./:-@\\[-^`{-~]",
        ) {
            let key = format!("{front}{tail}");
            prop_assert!(is_well_formed(&key));
            let mut spoilt = key.clone();
            let place = front.len() + place;
            spoilt.replace_range(place..=place, &wrong);
            prop_assert!(!is_well_formed(&spoilt));
            let too_long = format!("{}{key}", "x".repeat(513 - key.len()));
            prop_assert!(!is_well_formed(&too_long));
        }
    }
}
