//! One form for all spellings of a resource, as limits compare and count it.

use std::borrow::Cow;

/// The path with escaped *unreserved* characters decoded and the digits of all other escapes in
/// upper case (RFC 3986, sections 6.2.2.1 and 6.2.2.2).
///
/// Nothing else is folded: not `.` and `..`, `//`, a slash at the end, nor case. A router tells such
/// paths apart, and a form that merged them would let a caller choose whose rule it is counted by.
pub(crate) fn normal_form<'p>(path: impl Into<Cow<'p, str>>) -> Cow<'p, str> {
    let path = path.into();
    match changed(&path) {
        Some(normal) => Cow::Owned(normal),
        None => path,
    }
}

/// The normal form of a path that is not in it.
fn changed(path: &str) -> Option<String> {
    // Most paths end here, and a plain look at the bytes is the quickest.
    if !path.bytes().any(|byte| byte == b'%') {
        return None;
    }
    let mut normal = String::new();
    // Up to here `path` is in `normal`.
    let mut copied = 0;
    // Where in the result the last `%` is that begins no escape.
    let mut stray: Option<usize> = None;
    let mut next = 0;
    while let Some(found) = path.get(next..).and_then(|rest| rest.find('%')) {
        let here = next + found;
        let place = normal.len() + (here - copied);
        let Some(value) = escaped(&path.as_bytes()[here..]) else {
            stray = Some(place);
            next = here + 1;
            continue;
        };
        next = here + 3;
        let escape = &path[here..next];
        // `%4%31` must not become `%41`, an escape that nobody has written.
        let completes = stray.is_some_and(|stray| place - stray <= 2) && value.is_ascii_hexdigit();
        let is_decoded = is_unreserved(value) && !completes;
        if !is_decoded && !escape.bytes().any(|byte| byte.is_ascii_lowercase()) {
            continue;
        }
        normal.push_str(&path[copied..here]);
        if is_decoded {
            normal.push(char::from(value));
        } else {
            normal.push_str(&escape.to_ascii_uppercase());
        }
        copied = next;
    }
    (copied > 0).then(|| normal + &path[copied..])
}

/// What the escape at the beginning stands for, if there is one.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*high)? * 16 + digit(*low)?;
    u8::try_from(value).ok()
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unreserved_characters_are_decoded_and_nothing_else_is_folded() {
        for (path, normal) in [
            ("/orders", "/orders"),
            ("/%6Frders", "/orders"),
            ("/%6frd%65rs", "/orders"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%7euser/%2d%5F%2e", "/~user/-_."),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café/%41", "/café/A"),
            ("/a%20b", "/a%20b"),
            ("/%2E%2e/x", "/../x"),
            ("//a/./b/../c/", "//a/./b/../c/"),
            ("/Orders", "/Orders"),
            ("/%2541", "/%2541"),
            ("/%2a", "/%2A"),
            ("*", "*"),
            ("", ""),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%41", "/%zzA"),
            ("/%4%31", "/%4%31"),
            ("/%%341", "/%%341"),
        ] {
            assert_eq!(normal_form(path), normal, "{path}");
        }
    }

    #[test]
    fn a_path_in_normal_form_is_not_copied() {
        for path in ["/orders", "/a%20b/%2F", "/%", "/%4%31", ""] {
            assert!(matches!(normal_form(path), Cow::Borrowed(_)), "{path}");
        }
    }

    fn segments(path: &str) -> Vec<Vec<u8>> {
        let segments = path.split('/');
        segments
            .map(|segment| percent_decode_str(segment).collect())
            .collect()
    }

    /// Any text, and text in which escapes of all kinds are likely.
    fn path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "%[0-9a-fA-F]{2}",
            "%[2-7][0-9a-fA-F]",
            Just("%".to_owned()),
            "[0-9a-fA-F./~*é-]",
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        /// So no two paths whose segments differ once decoded ever have one form.
        #[test]
        fn the_segments_decode_to_what_they_did_before(path in path()) {
            prop_assert_eq!(segments(&normal_form(&*path)), segments(&path));
        }

        #[test]
        fn the_normal_form_is_its_own(path in path()) {
            let once = normal_form(path);
            let twice = normal_form(&*once);
            prop_assert!(matches!(twice, Cow::Borrowed(_)));
            prop_assert_eq!(&twice, &once);
        }

        #[test]
        fn a_path_has_one_form_however_its_unreserved_characters_are_written(
            characters in prop::collection::vec(("[a-zA-Z0-9._~/-]", 0..3_u8), 0..20),
        ) {
            let plain: String = characters.iter().map(|(c, _)| c.as_str()).collect();
            let spelt: String = characters
                .iter()
                .map(|(c, how)| match (c.as_str(), how) {
                    ("/", _) | (_, 0) => c.clone(),
                    (_, 1) => format!("%{:02x}", c.as_bytes()[0]),
                    _ => format!("%{:02X}", c.as_bytes()[0]),
                })
                .collect();
            prop_assert_eq!(normal_form(spelt), plain);
        }
    }
}
