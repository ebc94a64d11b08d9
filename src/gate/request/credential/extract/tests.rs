use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn header(name: &str) -> CredentialSource {
    CredentialSource::header(name).unwrap()
}

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
    let sources = Credentials::new(header("X-Api-Key"));
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
    let sources = Credentials::new([CredentialSource::bearer(), header("x-api-key")]);
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
    let sources = Credentials::new([header("x-api-key"), header("X-Api-Key")]);
    assert_eq!(sources.problem(), None);
    assert_eq!(
        extract(&sources, &headers(&[("x-api-key", b"key")])),
        Ok(Some("key"))
    );
}

#[test]
fn sources_that_cannot_work_say_so() {
    let problem =
        |sources: &[CredentialSource]| Credentials::new(sources.iter().cloned()).problem();
    assert!(problem(&[]).is_some());
    let bare = header("Authorization");
    assert!(problem(&[bare.clone(), CredentialSource::bearer()]).is_some());
    assert_eq!(problem(&[bare]), None);
    assert_eq!(Credentials::default().problem(), None);
}

#[test]
fn keys_are_marked_sensitive_on_every_line() {
    let sources = Credentials::new(header("x-api-key"));
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
    let sources = Credentials::new([CredentialSource::bearer(), header("x-api-key")]);
    let mut bearer = headers(&[("authorization", b"bearer one"), ("x-api-key", b"two")]);
    sources.strip(&mut bearer);
    assert!(bearer.is_empty());
    let mut basic = headers(&[("authorization", b"Basic abc"), ("accept", b"*/*")]);
    sources.strip(&mut basic);
    assert_eq!(basic.len(), 2);
}

#[test]
fn answers_vary_on_every_source() {
    let sources = Credentials::new([CredentialSource::bearer(), header("X-Api-Key")]);
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

proptest! {
    #[test]
    fn whatever_comes_out_is_visible_ascii(value: Vec<u8>, scheme in "(?i)bearer {0,2}|") {
        let value = [scheme.as_bytes(), &value].concat();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            let bare = Credentials::new(header("authorization"));
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
        let both = [CredentialSource::bearer(), header("x-api-key")];
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

}
