//! The scheme `Basic` (RFC 7617), with a key as user name or as password.

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};
use zeroize::Zeroizing;

use crate::gate::request::credential::key::{Credential, Malformed};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The user name and password, decoded: what stands around the first colon.
pub(super) fn decode(token: &[u8]) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    let decoded = BASE64.decode(token).map_err(|_| Malformed)?;
    Ok(Zeroizing::new(decoded))
}

/// The one of the two that could be a key of Wacht's.
///
/// # Errors
///
/// [`Malformed`] without a colon, and for two such keys that differ. Where neither could be one, it
/// is the user name, or the password if that is empty: a credential, and a bad one.
pub(super) fn key_of(user_pass: &[u8]) -> Result<&[u8], Malformed> {
    let colon = user_pass.iter().position(|byte| *byte == b':');
    let (user, password) = user_pass
        .split_at_checked(colon.ok_or(Malformed)?)
        .ok_or(Malformed)?;
    let password = password.get(1..).unwrap_or_default();
    let could_be_a_key =
        |part| Credential::parse(part).is_ok_and(|credential| credential.is_well_formed());
    match (could_be_a_key(user), could_be_a_key(password)) {
        (true, true) if user != password => Err(Malformed),
        (true, _) => Ok(user),
        (false, true) => Ok(password),
        (false, false) if user.is_empty() => Ok(password),
        (false, false) => Ok(user),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(letter: char) -> String {
        format!("sk_{}", letter.to_string().repeat(43))
    }

    #[test]
    fn the_part_that_could_be_a_key_is_the_key() {
        let (a, b) = (key('a'), key('b'));
        for (user_pass, expected) in [
            (format!("{a}:"), Ok(&*a)),
            (format!(":{a}"), Ok(&*a)),
            (format!("api:{a}"), Ok(&*a)),
            (format!("{a}:x"), Ok(&*a)),
            (format!("{a}:{a}"), Ok(&*a)),
            (format!("{a}:{b}"), Err(Malformed)),
            (format!("{a}:x:y"), Ok(&*a)),
            ("alice:secret".to_owned(), Ok("alice")),
            (":secret".to_owned(), Ok("secret")),
            (":".to_owned(), Ok("")),
            (a.clone(), Err(Malformed)),
            (String::new(), Err(Malformed)),
        ] {
            let met = key_of(user_pass.as_bytes());
            assert_eq!(met, expected.map(str::as_bytes), "{user_pass}");
        }
        // The colon is the first one, and the password all that follows.
        let password = format!("x:y:{a}");
        assert_eq!(key_of(password.as_bytes()), Ok(&password.as_bytes()[2..]));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_one_of_the_two_parts(user in "[^:]{0,9}", password in "(?s).{0,9}") {
            let user_pass = format!("{user}:{password}");
            let part = key_of(user_pass.as_bytes()).unwrap();
            prop_assert!([user.as_bytes(), password.as_bytes()].contains(&part));
        }

        #[test]
        fn what_is_encoded_is_decoded_padded_or_not(user_pass: Vec<u8>, noise: Vec<u8>) {
            let encoded = BASE64.encode(&user_pass);
            for encoded in [encoded.as_str(), encoded.trim_end_matches('=')] {
                prop_assert_eq!(&**decode(encoded.as_bytes()).unwrap(), &*user_pass);
            }
            let _ = decode(&noise);
        }
    }
}
