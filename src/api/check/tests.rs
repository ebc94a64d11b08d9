//! Names that are taken and names that are not.

use super::*;

fn refused(result: Result<()>) -> bool {
    match result {
        Ok(()) => false,
        Err(Error::InvalidRequest(_)) => true,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn slugs_that_no_path_carries_or_that_wacht_keeps_for_itself_are_refused() {
    for slug in [
        "",
        " ",
        ".",
        "..",
        "aa_1",
        "aa_7000000000000001",
        "oauth_5001",
        "a\nb",
    ] {
        assert!(refused(app_slug(slug)), "{slug:?}");
    }
    assert!(refused(app_slug(&"x".repeat(256))));
    for slug in [
        "a",
        "aa_",
        "aa_x1",
        "aa-1",
        "oauth_me",
        "We ird/Slug",
        "...",
        "ü",
    ] {
        assert!(!refused(app_slug(slug)), "{slug:?}");
    }
    assert!(
        !refused(url_name("slug", "aa_1")),
        "a scheme may be called so"
    );
}

#[test]
fn prefixes_whose_keys_never_verify_are_refused() {
    for prefix in ["", "x", " sk", "s k", "sk\n", "\u{fc}ü", "sk\u{7f}"] {
        assert!(refused(key_prefix(prefix)), "{prefix:?}");
    }
    for prefix in ["sk", "sk_live", "a-", "~~"] {
        assert!(!refused(key_prefix(prefix)), "{prefix:?}");
    }
}

#[test]
fn permissions_that_cannot_be_required_by_their_name_are_refused() {
    let check = |name: &str| permissions(&["fine".to_owned(), name.to_owned()]);
    for name in [
        "", " ", " a", "a ", "a,b", "(a", "a)", "a AND b", "a OR b", "AND", "OR", "a OR", "AND a",
        "a\tb", "true", "false", "a\u{7f}",
    ] {
        assert!(refused(check(name)), "{name:?}");
    }
    for name in [
        "orders:read",
        "orders:*",
        "a and b",
        "ORDERS",
        "a b",
        "truely",
        "TRUE",
        "ü",
    ] {
        assert!(!refused(check(name)), "{name:?}");
    }
}
