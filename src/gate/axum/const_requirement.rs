//! Whether a text is a requirement, said when the program is compiled.

use crate::gate::permission::requirement::parser::{MAX_LENGTH, MAX_NESTING};

/// Whether a text is a requirement, for the compiler to find out. In ASCII it agrees with the
/// parser; a byte outside ASCII counts as part of a name, and the parser has the last word.
pub(super) const fn is_requirement(text: &str) -> bool {
    let text = text.as_bytes();
    let mut nesting = 0;
    let mut needs_name = true;
    let mut at = 0;
    while at < text.len() {
        let start = at;
        at += 1;
        match text[start] {
            b'\t'..=b'\r' | b' ' => {}
            b'(' if needs_name && nesting < MAX_NESTING => nesting += 1,
            b')' if !needs_name && nesting > 0 => nesting -= 1,
            b'(' | b')' | b',' => return false,
            _ => {
                while at < text.len()
                    && !matches!(text[at], b'\t'..=b'\r' | b' ' | b'(' | b')' | b',')
                {
                    at += 1;
                }
                let (_, word) = text.split_at(start);
                let (word, _) = word.split_at(at - start);
                match word {
                    b"AND" | b"OR" => {
                        if needs_name {
                            return false;
                        }
                        needs_name = true;
                    }
                    word if !needs_name || !is_ascii_name(word) => return false,
                    _ => needs_name = false,
                }
            }
        }
    }
    !needs_name && nesting == 0 && text.len() <= MAX_LENGTH
}

const fn is_ascii_name(word: &[u8]) -> bool {
    let mut at = 0;
    while at < word.len() {
        if word[at].is_ascii_control() {
            return false;
        }
        at += 1;
    }
    !matches!(
        word,
        b"true" | b"false" | [b'A' | b'a', b'N' | b'n', b'D' | b'd'] | [b'O' | b'o', b'R' | b'r']
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gate::permission::requirement::Requirement;

    #[test]
    fn the_compiler_and_the_parser_agree_on_where_a_requirement_ends() {
        let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
        for (text, holds) in [
            (nested(MAX_NESTING), true),
            (nested(MAX_NESTING + 1), false),
            ("a".repeat(MAX_LENGTH), true),
            ("a".repeat(MAX_LENGTH + 1), false),
            (String::new(), false),
            (" ".to_owned(), false),
            ("a AND(b)OR\tc".to_owned(), true),
            ("a\u{b}OR b".to_owned(), true),
            ("a\u{7f}".to_owned(), false),
            ("a AND And".to_owned(), false),
            ("truely OR ANDROID".to_owned(), true),
        ] {
            assert_eq!(is_requirement(&text), holds, "{text:?}");
            assert_eq!(Requirement::try_from(&text).is_ok(), holds, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_compiler_and_the_parser_agree_on_ascii(text in "[\\x00-\\x7f]{0,12}") {
            prop_assert_eq!(is_requirement(&text), Requirement::try_from(&text).is_ok());
        }

        #[test]
        fn the_compiler_and_the_parser_agree_on_words(
            words in prop::collection::vec("a|b|AND|OR|and|Or|true|\\(|\\)|,| |\n|\x0b", 0..12),
            separator in " ?",
        ) {
            let text = words.join(&separator);
            prop_assert_eq!(is_requirement(&text), Requirement::try_from(&text).is_ok());
        }
    }
}
