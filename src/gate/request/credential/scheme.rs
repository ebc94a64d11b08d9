//! The scheme word before a key, and the words that may stand for one.

use crate::gate::request::credential::key::Credential;

/// What follows the scheme word, if that is `scheme`, in any case; empty when the two are not set
/// apart by spaces, so that it is malformed and not merely absent.
#[inline]
pub(super) fn after_scheme<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let (word, rest) = value.split_at_checked(scheme.len())?;
    // As it is written almost always, first.
    if word != scheme.as_bytes() && !word.eq_ignore_ascii_case(scheme.as_bytes()) {
        return None;
    }
    match rest {
        [b' ', token @ ..] => Some(without_leading_spaces(token)),
        // The word goes on: another scheme.
        [byte, ..] if is_token_byte(*byte) => None,
        _ => Some(&[]),
    }
}

/// Whether it is a word and something after it, as with a scheme; a key before the space is none,
/// nor is what ends with a comma: those are two keys in one line.
pub(super) fn begins_with_scheme(value: &[u8]) -> bool {
    let space = value.iter().position(|byte| *byte == b' ');
    let word = space.and_then(|space| value.get(..space));
    let could_be_a_key =
        |word| Credential::parse(word).is_ok_and(|credential| credential.is_well_formed());
    word.is_some_and(|word| {
        !word.is_empty() && word.iter().copied().all(is_token_byte) && !could_be_a_key(word)
    })
}

/// Whether it is a `token` of RFC 9110, section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// RFC 9110, section 11.4: the scheme is a token, and what follows stands after spaces.
        #[test]
        fn the_scheme_is_all_that_stands_before_the_first_byte_that_is_none_of_a_token(
            value in r"[ \t]{0,2}([Bb][Ee][Aa][Rr][Ee][Rr]|Bear|Basic|)[ \t,=/X~\xe9]{0,3}[ -~\t]{0,8}"
        ) {
            let trimmed = value.trim_matches([' ', '\t']);
            let is_of_token = |c: char| c.is_ascii() && is_token_byte(c as u8);
            let end = trimmed.find(|c| !is_of_token(c)).unwrap_or(trimmed.len());
            let (scheme, rest) = trimmed.split_at(end);
            let expected = scheme.eq_ignore_ascii_case("bearer").then(|| {
                let token = rest.trim_start_matches(' ');
                if token.len() < rest.len() { token } else { "" }
            });
            prop_assert_eq!(after_scheme(trimmed.as_bytes(), "Bearer"), expected.map(str::as_bytes));
        }
    }
}
