use proptest::prelude::*;

use super::*;

const KEY: &str = "wk_live_0123456789abcdefghijABCDEFGHIJ_-0123456789012";

fn is_well_formed(key: &str) -> bool {
    Credential(key.as_bytes()).is_well_formed()
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
fn every_byte_is_told_apart_in_every_place() {
    for (byte, place) in (0..=u8::MAX).flat_map(|byte| (0..20).map(move |place| (byte, place))) {
        for length in place + 1..=20 {
            let mut bytes = vec![b'k'; length];
            bytes[place] = byte;
            let is_visible = byte.is_ascii_graphic() && byte != b',';
            assert_eq!(all(&bytes, visible), is_visible, "{byte} at {place}");
            let is_base64 = byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert_eq!(all(&bytes, base64), is_base64, "{byte} at {place}");
        }
    }
}

#[test]
fn keys_of_every_length_have_the_digest_of_the_standard() {
    for length in 0..=130 {
        let key = "k".repeat(length);
        let digest = Credential(key.as_bytes()).digest();
        assert_eq!(digest, KeyDigest::of(&key), "{length}");
    }
}

#[test]
fn a_digest_is_the_sha_256_of_the_trimmed_key() {
    let abc = [
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22,
        0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00,
        0x15, 0xad,
    ];
    assert_eq!(KeyDigest::of("abc").0, abc);
    assert_eq!(KeyDigest::of(" abc\n"), KeyDigest::of("abc"));
    assert_ne!(KeyDigest::of("abd"), KeyDigest::of("abc"));
}

#[test]
fn neither_key_nor_digest_is_printed() {
    let credential = Credential::parse(KEY.as_bytes()).unwrap();
    assert_eq!(format!("{credential:?}"), "Credential(..)");
    assert_eq!(format!("{:?}", credential.digest()), "KeyDigest(..)");
}

proptest! {
    #[test]
    fn a_key_is_what_it_was_and_has_one_digest(key in "[ -~é]{0,60}") {
        let parsed = Credential::parse(key.as_bytes());
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        prop_assert_eq!(parsed.is_ok(), visible && !key.is_empty());
        if let Ok(parsed) = parsed {
            prop_assert_eq!(parsed.expose(), Some(&*key));
            prop_assert_eq!(parsed.digest(), KeyDigest::of(&key));
            prop_assert_eq!(parsed.digest(), KeyDigest::of(&format!("\u{a0} {key}\r\n")));
        }
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
