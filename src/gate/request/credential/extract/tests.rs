use base64::Engine;
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

fn parts(uri: &str, headers: &HeaderMap) -> Parts {
    let request = http::Request::get(uri).body(()).unwrap();
    let (mut parts, ()) = request.into_parts();
    parts.headers = headers.clone();
    parts
}

fn extract(sources: &Credentials, headers: &HeaderMap) -> Result<Option<String>, Malformed> {
    extract_from(sources, &mut parts("/orders", headers))
}

fn extract_from(sources: &Credentials, parts: &mut Parts) -> Result<Option<String>, Malformed> {
    sources.clean(parts);
    let mut decoded = None;
    let found = sources.extract(parts, &mut decoded)?;
    // As of a key that is not known.
    match found {
        Some(key) if !key.is_visible() => Err(Malformed),
        found => Ok(found.map(|key| key.expose().unwrap().to_owned())),
    }
}

fn key(letter: char) -> String {
    format!("sk_{}", letter.to_string().repeat(43))
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
        let found = extract(&Credentials::default(), &headers);
        assert_eq!(
            found,
            expected.map(|key| key.map(str::to_owned)),
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
        extract(&sources, &headers)
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
    assert_eq!(extract(&sources, &second), Ok(Some("two".to_owned())));
    let beside_basic = headers(&[("authorization", b"Basic abc"), ("x-api-key", b"two")]);
    assert_eq!(extract(&sources, &beside_basic), Ok(Some("two".to_owned())));
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
        Ok(Some("key".to_owned()))
    );
}

#[test]
fn sources_that_cannot_work_say_so() {
    let problem =
        |sources: &[CredentialSource]| Credentials::new(sources.iter().cloned()).problem();
    assert!(problem(&[]).is_some());
    assert_eq!(problem(&[header("Authorization")]), None);
    assert_eq!(Credentials::default().problem(), None);
}

#[test]
fn keys_are_marked_sensitive_on_every_line() {
    let sources = Credentials::new(header("x-api-key"));
    let headers = headers(&[
        ("x-api-key", b"one"),
        ("x-api-key", b"two"),
        ("authorization", b"Basic abc"),
        ("accept", b"*/*"),
    ]);
    let mut parts = parts("/", &headers);
    sources.clean(&mut parts);
    let headers = parts.headers;
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
    let stripped = |lines: &[(&str, &[u8])]| {
        let mut parts = parts("/", &headers(lines));
        sources.strip(&mut parts);
        parts.headers
    };
    assert!(stripped(&[("authorization", b"bearer one"), ("x-api-key", b"two")]).is_empty());
    let basic = stripped(&[("authorization", b"Basic abc"), ("accept", b"*/*")]);
    assert_eq!(basic.len(), 2);
}

#[test]
fn answers_vary_on_every_source() {
    let sources = Credentials::new([CredentialSource::bearer(), header("X-Api-Key")]);
    assert_eq!(sources.vary().unwrap(), "authorization, x-api-key");
    let all = [
        CredentialSource::basic(),
        CredentialSource::bearer(),
        CredentialSource::cookie("key").unwrap(),
        CredentialSource::cookie("old_key").unwrap(),
        CredentialSource::query("key").unwrap(),
        CredentialSource::websocket_protocol("key.").unwrap(),
    ];
    let vary = "authorization, cookie, sec-websocket-protocol";
    assert_eq!(Credentials::new(all).vary().unwrap(), vary);
    let query = Credentials::new(CredentialSource::query("key").unwrap());
    assert_eq!((query.vary(), query.are_elsewhere()), (None, true));
    let authorization = [
        CredentialSource::basic(),
        CredentialSource::bearer(),
        header("Authorization"),
    ];
    assert!(!Credentials::new(authorization).are_elsewhere());
}

#[test]
fn forged_identity_headers_are_dropped_in_every_spelling() {
    let forged = headers(&[
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
    let mut parts = parts("/", &forged);
    Credentials::default().clean(&mut parts);
    let forged = parts.headers;
    assert_eq!(forged.len(), 3);
    assert!(forged.values().all(|value| value == "stays"));
}

#[test]
fn schemes_share_a_header_and_a_bare_key_is_what_has_none() {
    let sources = Credentials::new([
        CredentialSource::bearer(),
        header("authorization").scheme("ApiKey").unwrap(),
        header("authorization"),
    ]);
    for (value, expected) in [
        ("Bearer one", Ok(Some("one"))),
        ("apikey  one", Ok(Some("one"))),
        ("one", Ok(Some("one"))),
        ("Token one", Ok(None)),
        ("Bearer", Err(Malformed)),
        ("ApiKey one two", Err(Malformed)),
        ("one,two", Err(Malformed)),
        ("", Err(Malformed)),
    ] {
        let headers = headers(&[("authorization", value.as_bytes())]);
        let expected = expected.map(|key| key.map(str::to_owned));
        assert_eq!(extract(&sources, &headers), expected, "{value}");
        let mut parts = parts("/", &headers);
        sources.strip(&mut parts);
        assert_eq!(parts.headers.is_empty(), expected != Ok(None), "{value}");
    }
}

#[test]
fn one_source_shows_a_key_once_and_several_the_same() {
    let all = [
        CredentialSource::bearer(),
        header("x-api-key").scheme("Token").unwrap(),
        CredentialSource::cookie("key").unwrap(),
        CredentialSource::query("key").unwrap(),
        CredentialSource::query("k").unwrap(),
        CredentialSource::websocket_protocol("key.").unwrap(),
    ];
    let sources = Credentials::new(all);
    let (a, b) = (key('a'), key('b'));
    let places = |key: &str| -> [(&'static str, String); 6] {
        [
            ("authorization", format!("Bearer {key}")),
            ("x-api-key", format!("token {key}")),
            ("cookie", format!("key={key}")),
            ("?", format!("key={key}")),
            ("?", format!("k={key}")),
            ("sec-websocket-protocol", format!("chat, key.{key}")),
        ]
    };
    let extracted = |placed: &[&(&'static str, String)]| {
        let (query, lines): (Vec<_>, Vec<_>) =
            placed.iter().copied().partition(|(name, _)| *name == "?");
        let query: Vec<&str> = query.iter().map(|(_, pair)| pair.as_str()).collect();
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, line)| (*name, line.as_bytes()))
            .collect();
        let mut parts = parts(&format!("/orders?{}", query.join("&")), &headers(&lines));
        extract_from(&sources, &mut parts)
    };
    let found = || Ok(Some(a.clone()));
    for (here, first) in places(&a).iter().enumerate() {
        assert_eq!(extracted(&[first]), found());
        assert_eq!(
            extracted(&[first, first]),
            Err(Malformed),
            "{first:?} twice"
        );
        for (there, (same, other)) in places(&a).iter().zip(&places(&b)).enumerate() {
            if here != there {
                assert_eq!(extracted(&[first, same]), found(), "{first:?} {same:?}");
                assert_eq!(
                    extracted(&[first, other]),
                    Err(Malformed),
                    "{first:?} {other:?}"
                );
            }
        }
    }
    assert_eq!(extracted(&places(&a).each_ref()), found());
}

#[test]
fn a_foreign_bearer_is_no_credential_and_is_not_stripped() {
    let both = [CredentialSource::bearer(), header("x-api-key")];
    let sources = Credentials::new(both).ignoring_foreign(true);
    let foreign: &[u8] = b"Bearer eyJhbGciOiJub25lIn0.e30.";
    let alone = headers(&[("authorization", foreign)]);
    assert_eq!(extract(&sources, &alone), Ok(None));
    let beside = headers(&[("authorization", foreign), ("x-api-key", b"key")]);
    assert_eq!(extract(&sources, &beside), Ok(Some("key".to_owned())));
    let mut parts = parts("/", &beside);
    sources.strip(&mut parts);
    assert_eq!(parts.headers, alone);
    // In another source it is what it looks like: a bad key.
    let elsewhere = headers(&[("x-api-key", &foreign[7..])]);
    assert!(matches!(extract(&sources, &elsewhere), Ok(Some(_))));
}

proptest! {
    #[test]
    fn whatever_comes_out_is_visible_ascii(value: Vec<u8>, scheme in "(?i)bearer {0,2}|") {
        let value = [scheme.as_bytes(), &value].concat();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            let bare = Credentials::new(header("authorization"));
            for sources in [Credentials::default(), bare] {
                if let Ok(Some(key)) = extract(&sources, &headers) {
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
        prop_assert_eq!(extract(&sources, &one), Ok(Some(key.clone())));
        let lines = headers(&[(name, first.as_bytes()), (name, second.as_bytes())]);
        prop_assert_eq!(extract(&sources, &lines), Err(Malformed));
        let places = headers(&[("authorization", bearer.as_bytes()), ("x-api-key", second.as_bytes())]);
        let expected = if second == key { Ok(Some(key)) } else { Err(Malformed) };
        prop_assert_eq!(extract(&sources, &places), expected);
    }

    /// Of what a query says nothing is lost but the key, and of the key nothing is left.
    #[test]
    fn a_key_leaves_the_query_and_nothing_else_does(
        before in "([a-jl-z%+=&0-9]{0,9}&)?",
        name in "key|%6Bey|k%65y|ke%79",
        letter in "[a-z]",
        after in "(&[a-jl-z%+=&0-9]{0,9})?",
    ) {
        let key = key(letter.chars().next().unwrap());
        let sources = Credentials::new(CredentialSource::query("key").unwrap());
        let mut parts = parts(&format!("/orders?{before}{name}={key}{after}"), &HeaderMap::new());
        prop_assert_eq!(extract_from(&sources, &mut parts), Ok(Some(key.clone())));
        let left = parts.uri.to_string();
        prop_assert!(!left.contains(&key));
        let pairs = |query: &str| -> Vec<String> {
            let pairs = query.split('&').filter(|pair| !pair.is_empty());
            pairs.map(str::to_owned).collect()
        };
        let mut expected_pairs = pairs(&before);
        expected_pairs.extend(pairs(&after));
        prop_assert_eq!(pairs(parts.uri.query().unwrap_or_default()), expected_pairs);
        prop_assert_eq!(parts.uri.path(), "/orders");
        // What was taken once is there for whoever asks again.
        prop_assert_eq!(extract_from(&sources, &mut parts), Ok(Some(key)));
    }

    #[test]
    fn a_cookie_leaves_its_line_and_the_others_stay(
        before in prop::collection::vec("[a-j]{1,3}=[a-z0-9]{0,5}", 0..3),
        after in prop::collection::vec("[a-j]{1,3}=[a-z0-9]{0,5}", 0..3),
        separator in "; ?",
    ) {
        let key = key('k');
        let ours = format!("key={key}");
        let all: Vec<&str> = before.iter().map(String::as_str).chain([&*ours]).chain(after.iter().map(String::as_str)).collect();
        let sources = Credentials::new(CredentialSource::cookie("key").unwrap());
        let line = all.join(&separator);
        let one_line = headers(&[("cookie", line.as_bytes())]);
        let lines: Vec<(&str, &[u8])> = all.iter().map(|pair| ("cookie", pair.as_bytes())).collect();
        for headers in [one_line, headers(&lines)] {
            let mut parts = parts("/orders", &headers);
            prop_assert_eq!(extract_from(&sources, &mut parts), Ok(Some(key.clone())));
            sources.strip(&mut parts);
            let left = parts.headers.get_all("cookie").iter();
            let left: Vec<&str> = left.map(|line| line.to_str().unwrap()).collect();
            let expected: Vec<&str> = before.iter().chain(&after).map(String::as_str).collect();
            prop_assert_eq!(left.join("; "), expected.join("; "));
            prop_assert_eq!(extract_from(&sources, &mut parts), Ok(None));
        }
    }

    #[test]
    fn a_key_leaves_the_protocols_and_needs_another_beside_it(
        others in prop::collection::vec("[a-jl-z][a-z0-9.]{0,5}", 0..3),
        place in 0..4_usize,
        is_one_line: bool,
    ) {
        let key = key('k');
        let mut all = others.clone();
        all.insert(place.min(all.len()), format!("key.{key}"));
        let sources = Credentials::new(CredentialSource::websocket_protocol("key.").unwrap());
        let name = "sec-websocket-protocol";
        let line = all.join(" ,");
        let headers = match is_one_line {
            true => headers(&[(name, line.as_bytes())]),
            false => headers(&all.iter().map(|p| (name, p.as_bytes())).collect::<Vec<_>>()),
        };
        let mut parts = parts("/live", &headers);
        let expected = if others.is_empty() { Err(Malformed) } else { Ok(Some(key)) };
        prop_assert_eq!(extract_from(&sources, &mut parts), expected);
        let left = parts.headers.get_all(name).iter();
        let left: Vec<&str> = left.map(|line| line.to_str().unwrap()).collect();
        prop_assert_eq!(left.join(", "), others.join(", "));
    }

    /// However many keys come in however many places: one key, each place once, or nothing.
    #[test]
    fn all_places_agree_on_one_key_or_none_counts(
        placed in prop::collection::vec((0..7_usize, prop::sample::select(vec!['a', 'a', 'a', 'b'])), 0..5),
        is_stripped: bool,
    ) {
        let sources = Credentials::new([
            CredentialSource::bearer(),
            CredentialSource::basic(),
            header("x-api-key").scheme("Token").unwrap(),
            CredentialSource::cookie("key").unwrap(),
            CredentialSource::query("key").unwrap(),
            CredentialSource::query("k").unwrap(),
            CredentialSource::websocket_protocol("key.").unwrap(),
        ]);
        let mut lines = headers(&[("sec-websocket-protocol", b"chat"), ("cookie", b"a=1")]);
        let mut query = vec!["since=7".to_owned()];
        for (place, letter) in &placed {
            let key = key(*letter);
            let basic = base64::prelude::BASE64_STANDARD.encode(format!("api:{key}"));
            let (name, value) = match place {
                0 => ("authorization", format!("Bearer {key}")),
                1 => ("authorization", format!("Basic {basic}")),
                2 => ("x-api-key", format!("Token {key}")),
                3 => ("cookie", format!("key={key}; b=2")),
                4 => ("?", format!("%6bey={key}")),
                5 => ("?", format!("k={key}")),
                _ => ("sec-websocket-protocol", format!("key.{key}")),
            };
            match name {
                "?" => query.push(value),
                name => _ = lines.append(name, HeaderValue::try_from(value).unwrap()),
            }
        }
        // Both schemes of `Authorization` are in one header.
        let place_of = |place: &usize| if *place == 1 { 0 } else { *place };
        let mut places: Vec<usize> = placed.iter().map(|(place, _)| place_of(place)).collect();
        places.sort_unstable();
        let is_twice = places.windows(2).any(|pair| pair[0] == pair[1]);
        let mut letters: Vec<char> = placed.iter().map(|(_, letter)| *letter).collect();
        letters.dedup();
        let expected = match letters[..] {
            [] => Ok(None),
            [letter] if !is_twice => Ok(Some(key(letter))),
            _ => Err(Malformed),
        };
        let mut parts = parts(&format!("/orders?{}", query.join("&")), &lines);
        prop_assert_eq!(extract_from(&sources, &mut parts), expected);
        if is_stripped {
            sources.strip(&mut parts);
            prop_assert_eq!(extract_from(&sources, &mut parts), Ok(None));
            let left = parts.headers.values().map(|value| value.to_str().unwrap());
            let left: Vec<&str> = left.collect();
            prop_assert!(!left.join("\n").contains("sk_"), "{:?}", left);
            prop_assert!(left.join("\n").contains("a=1"), "{:?}", left);
        }
        prop_assert_eq!(parts.uri.query(), Some("since=7"));
        prop_assert_eq!(&parts.headers["sec-websocket-protocol"], "chat");
    }
}
