//! Bearer tokens that are no key of Wacht's by their form.

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};
use serde::de::IgnoredAny;

const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whether it is a signed token in compact form (RFC 7515, section 7.1), as identity providers
/// issue: three parts set apart by dots, the first of which holds a JSON object.
pub(super) fn is_foreign(token: &[u8]) -> bool {
    // Two tokens in one line, which a proxy has joined, are not one.
    let is_of_its_letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=.".contains(byte);
    if !token.iter().all(is_of_its_letters) {
        return false;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    BASE64_URL.decode(header).is_ok_and(|header| {
        header.trim_ascii_start().starts_with(b"{")
            && serde_json::from_slice::<IgnoredAny>(&header).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(header: &str) -> String {
        BASE64_URL.encode(header)
    }

    #[test]
    fn a_token_is_foreign_if_its_first_of_three_parts_is_an_object() {
        let header = encoded(r#"{"alg":"RS256","typ":"JWT"}"#);
        let bare = header.trim_end_matches('=').to_owned();
        for token in [
            format!("{bare}.e30.c2ln"),
            format!("{header}.e30.c2ln"),
            format!("{bare}.e30."),
            format!("{}.x.y", encoded("  {}")),
        ] {
            assert!(is_foreign(token.as_bytes()), "{token}");
        }
        for token in [
            String::new(),
            "..".to_owned(),
            bare.clone(),
            format!("{bare}.e30"),
            format!("{bare}.e30.a.b.c"),
            format!("{}.e30.c2ln", encoded("[1]")),
            format!("{}.e30.c2ln", encoded("\"{}\"")),
            format!("{}.e30.c2ln", encoded("{")),
            format!("{}.e30.c2ln", encoded("{} {}")),
            format!("{bare}*.e30.c2ln"),
            format!("{bare}.e30.c2ln, Bearer sk_{}", "a".repeat(43)),
            format!("{bare}.e30.c2ln,"),
            format!("sk_live.1.{}", "a".repeat(43)),
        ] {
            assert!(!is_foreign(token.as_bytes()), "{token}");
        }
    }

    proptest! {
        #[test]
        fn whatever_bytes_come_it_is_said_without_a_panic(token: Vec<u8>, dots in "[a-zA-Z0-9_=.-]{0,40}") {
            is_foreign(&token);
            let parts = dots.split('.').count();
            prop_assert!(!is_foreign(dots.as_bytes()) || parts == 3);
        }
    }
}
