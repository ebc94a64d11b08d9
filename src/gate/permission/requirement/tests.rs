use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn held(names: &str) -> Permissions {
    names.split_whitespace().collect()
}

fn requirement(text: &str) -> Requirement {
    Requirement::try_from(text).unwrap()
}

#[test]
fn requirements_follow_their_truth_tables() {
    let cases = [
        ("a", "a", true),
        ("a", "A", false),
        ("a", "", false),
        ("a AND b", "a b", true),
        ("a AND b", "a", false),
        ("a OR b", "b", true),
        ("a OR b", "c", false),
        ("a OR b AND c", "a", true),
        ("a OR b AND c", "b c", true),
        ("a OR b AND c", "b", false),
        ("a OR b AND c", "c", false),
        ("(a OR b) AND c", "a", false),
        ("(a OR b) AND c", "a c", true),
        ("a AND b OR c AND d", "c d", true),
        ("a AND b OR c AND d", "b c", false),
        ("c AND (a OR b)", "a c", true),
        ("(a AND b) OR (c AND d)", "a b", true),
        ("((a))", "a", true),
        ("\ta \n AND\u{a0}b ", "a b", true),
        ("a AND(b)OR c", "c", true),
        ("orders:*", "orders:read", false),
        ("orders:*", "orders:*", true),
        ("*", "a", false),
        ("ANDROID AND ORACLE", "ANDROID ORACLE", true),
        ("truely", "truely", true),
        ("größe", "größe", true),
    ];
    for (text, names, expected) in cases {
        let requirement = requirement(text);
        assert_eq!(
            held(names).satisfies(&requirement),
            expected,
            "{text} with {names}"
        );
    }
}

#[test]
fn a_list_asks_for_all_of_its_entries() {
    let list = Requirement::try_from(["a OR b", "c"]).unwrap();
    assert_eq!(list.to_string(), "(a OR b) AND c");
    assert!(!list.satisfied_by(&held("a")));
    assert!(list.satisfied_by(&held("a c")));
    let same = [
        Requirement::try_from(vec!["a OR b", "c"]),
        Requirement::try_from(vec!["a OR b".to_owned(), "c".to_owned()]),
        Requirement::try_from(&["a OR b", "c"][..]),
        Requirement::try_from(&["a OR b", "c"]),
        Requirement::try_from("(a OR b) AND c"),
        Requirement::try_from("(a OR b) AND c".to_owned()),
        Requirement::try_from(&"(a OR b) AND c".to_owned()),
    ];
    assert!(same.into_iter().all(|other| other.unwrap() == list));
    assert_eq!(
        Requirement::try_from(["a OR b"]).unwrap(),
        requirement("a OR b")
    );
}

#[test]
fn the_text_is_normal_and_comes_back() {
    let cases = [
        (" a ", "a"),
        ("((a AND b)) AND (c)", "a AND b AND c"),
        ("(a OR (b OR c)) OR d", "a OR b OR c OR d"),
        ("(a AND b) OR c", "a AND b OR c"),
        ("a AND (b OR c)", "a AND (b OR c)"),
        ("a  AND(b OR(c AND(d OR e)))", "a AND (b OR c AND (d OR e))"),
    ];
    for (text, expected) in cases {
        assert_eq!(requirement(text).to_string(), expected);
        assert_eq!(requirement(expected), requirement(text));
    }
    assert_eq!(
        format!("{:?}", requirement("a OR b")),
        r#"Requirement("a OR b")"#
    );
}

#[test]
fn errors_name_what_is_wrong_and_where() {
    use RequirementErrorKind as Kind;

    let cases = [
        ("", Kind::Empty, 0),
        (" \t", Kind::Empty, 0),
        ("a b", Kind::ExpectedOperator, 2),
        ("a && b", Kind::ExpectedOperator, 2),
        ("a AND", Kind::ExpectedName, 5),
        ("AND a", Kind::ExpectedName, 0),
        ("a AND OR b", Kind::ExpectedName, 6),
        ("a and b", Kind::OperatorCase, 2),
        ("a Or b", Kind::OperatorCase, 2),
        ("a AND or", Kind::OperatorCase, 6),
        ("a, b", Kind::Comma, 1),
        ("a,b", Kind::Comma, 1),
        (",", Kind::Comma, 0),
        ("a AND ,b", Kind::Comma, 6),
        ("()", Kind::ExpectedName, 1),
        ("(a", Kind::Unclosed, 0),
        ("a AND ((b)", Kind::Unclosed, 6),
        ("a)", Kind::Unopened, 1),
        (")", Kind::ExpectedName, 0),
        ("(a b)", Kind::ExpectedOperator, 3),
        ("a (b)", Kind::ExpectedOperator, 2),
        ("(a) b", Kind::ExpectedOperator, 4),
        ("true", Kind::ReservedName, 0),
        ("é AND false", Kind::ReservedName, 7),
        ("a\0b", Kind::InvisibleCharacter, 1),
        ("a AND b\u{200b}", Kind::InvisibleCharacter, 7),
    ];
    for (text, kind, position) in cases {
        let error = Requirement::try_from(text).unwrap_err();
        assert_eq!(
            (error.kind(), error.position()),
            (kind, position),
            "{text:?}"
        );
        assert_eq!(error.entry(), None);
    }
}

#[test]
fn errors_read_well() {
    let text = |entries: &[&str]| Requirement::try_from(entries).unwrap_err().to_string();
    assert_eq!(
        text(&["a", "b and c"]),
        "AND and OR are written in upper case, found \"and\" (at byte 2 of entry 1)"
    );
    assert_eq!(
        text(&["a", " "]),
        "a requirement needs at least one permission (at byte 0 of entry 1)"
    );
    let error = Requirement::try_from([""; 0]).unwrap_err();
    assert_eq!(
        (error.kind(), error.entry()),
        (RequirementErrorKind::Empty, None)
    );
    let long = format!("a {}", "é".repeat(100));
    assert!(text(&[&long]).contains(&format!("{}…", "é".repeat(40))));
}

#[test]
fn length_and_nesting_are_bounded() {
    use RequirementErrorKind as Kind;

    let kind = |text: &str| Requirement::try_from(text).map_err(|error| error.kind());
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(kind(&nested(32)).is_ok());
    assert_eq!(kind(&nested(33)), Err(Kind::TooDeep));
    assert_eq!(kind(&"(".repeat(4096)), Err(Kind::TooDeep));
    assert!(kind(&"a".repeat(4096)).is_ok());
    assert_eq!(kind(&"a".repeat(4097)), Err(Kind::TooLong));
    let list = Requirement::try_from(["a".repeat(2048), "b".repeat(2048)]);
    assert_eq!(list.map_err(|error| error.kind()), Err(Kind::TooLong));

    let deep = (0..32).fold("z".to_owned(), |inner, _| format!("a AND (b OR {inner})"));
    let alone = Requirement::try_from([&deep]).unwrap();
    assert_eq!(requirement(&alone.to_string()), alone);
    let listed = Requirement::try_from([deep.as_str(), "c"]);
    assert_eq!(listed.map_err(|error| error.kind()), Err(Kind::TooDeep));
}

#[test]
fn only_a_plain_and_is_a_scope() {
    let names = |text| {
        let requirement = requirement(text);
        requirement
            .plain_all()
            .map(|names| names.map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(names("a"), Some(vec!["a".to_owned()]));
    assert_eq!(names("a AND (b AND c)").map(|names| names.len()), Some(3));
    assert_eq!(names("a OR b"), None);
    assert_eq!(names("a AND (b OR c)"), None);
    assert_eq!(requirement("a AND b:c").scope().as_deref(), Some("a b:c"));
    assert_eq!(requirement("a OR b").scope(), None);
    for unsayable in ["a\"", "a\\b", "größe"] {
        assert_eq!(requirement(unsayable).scope(), None, "{unsayable}");
    }
}

#[test]
fn a_file_holds_the_text_and_a_wrong_one_says_where() {
    let read: Requirement = serde_json::from_str(r#""a AND(b OR  c)""#).unwrap();
    assert_eq!(read, requirement("a AND (b OR c)"));
    assert_eq!(serde_json::to_string(&read).unwrap(), r#""a AND (b OR c)""#);

    let wrong = serde_json::from_str::<Requirement>(r#""a and b""#).unwrap_err();
    let said = Requirement::try_from("a and b").unwrap_err().to_string();
    assert!(wrong.to_string().contains(&said), "{wrong}");
    let wrong = serde_json::from_str::<Requirement>("7").unwrap_err();
    assert!(wrong.to_string().contains("joined by AND"), "{wrong}");
}

#[test]
fn equal_requirements_are_one_in_a_set() {
    let texts = ["a AND (b AND c)", "(a AND b) AND c", "a OR b"];
    let set: HashSet<Requirement> = texts.into_iter().map(requirement).collect();
    assert_eq!(set.len(), 2);
    assert!(set.contains(&Requirement::try_from(["a", "b", "c"]).unwrap()));
}

/// Splits at the weakest operator outside parentheses, again and again.
fn naive(text: &str, held: &Permissions) -> bool {
    let text = text.trim();
    for operator in [" OR ", " AND "] {
        let mut depth = 0;
        for (at, c) in text.char_indices() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 && text[at..].starts_with(operator) {
                let (left, right) = (&text[..at], &text[at + operator.len()..]);
                let (left, right) = (naive(left, held), naive(right, held));
                return if operator == " OR " {
                    left || right
                } else {
                    left && right
                };
            }
        }
    }
    match text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
    {
        Some(inner) => naive(inner, held),
        None => held.contains(text),
    }
}

fn expression() -> impl Strategy<Value = String> {
    "[a-e]".prop_recursive(6, 48, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("( {inner})")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| parts.join(" AND ")),
            prop::collection::vec(inner, 2..4).prop_map(|parts| parts.join(" OR ")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_a_requirement_or_an_error_within_it(text: String) {
        match Requirement::try_from(text.as_str()) {
            Ok(parsed) => prop_assert_eq!(requirement(&parsed.to_string()), parsed),
            Err(error) => prop_assert!(text.is_char_boundary(error.position())),
        }
    }

    #[test]
    fn any_words_are_a_requirement_or_an_error(
        words in prop::collection::vec("a|b|AND|OR|and|\\(|\\)|,| |\u{200b}|é", 0..24),
        separator in " ?",
    ) {
        let text = words.join(&separator);
        match Requirement::try_from(text.as_str()) {
            Ok(parsed) => prop_assert_eq!(requirement(&parsed.to_string()), parsed),
            Err(error) => prop_assert!(text.is_char_boundary(error.position())),
        }
    }

    #[test]
    fn the_verdict_is_that_of_a_naive_evaluator(text in expression(), names in "[a-e ]{0,9}") {
        let held: Permissions = names.chars().map(String::from).collect();
        let parsed = requirement(&text);
        prop_assert_eq!(parsed.satisfied_by(&held), naive(&text, &held), "{}", text);
        let again = requirement(&parsed.to_string());
        prop_assert_eq!(again.satisfied_by(&held), naive(&text, &held));
        prop_assert_eq!(again, parsed);
    }

    #[test]
    fn what_is_written_to_a_file_is_read_from_it(text in expression()) {
        let parsed = requirement(&text);
        let written = serde_json::to_string(&parsed).unwrap();
        let read = serde_json::from_str::<Requirement>(&written).unwrap();
        prop_assert_eq!(&read, &parsed);
        // Also where the text cannot be borrowed from what is read.
        let value = serde_json::to_value(&parsed).unwrap();
        let read = serde_json::from_value::<Requirement>(value).unwrap();
        prop_assert_eq!(&read, &parsed);
    }
}
