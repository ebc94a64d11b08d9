//! A permission as part of a handler's signature.

use std::any;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::Response;
use http::request::Parts;

use crate::gate::permission::requirement::Requirement;
use crate::gate::permission::requirement::parser::{MAX_LENGTH, MAX_NESTING};
use crate::gate::principal::{Anonymous, Principal};
use crate::gate::refusal::{Rejection, RejectionKind};
use crate::gate::service::guard::caller;

/// The caller, who holds what `P` asks for: an axum extractor.
///
/// A handler that takes it cannot be reached without the permission, and its signature says so. It
/// derefs to the [`Principal`]. Like every extractor it runs behind the gate, so *after* the rate
/// limits were charged; [`require_with`](crate::WachtAuthLayer::require_with) on the layer decides
/// before.
///
/// | the request has | `Permitted<P>` | `Option<Permitted<P>>` |
/// |---|---|---|
/// | a caller with the permissions | the caller | `Some` |
/// | a caller without them | 403 | `None` |
/// | no caller, because the gate let it pass anonymously | 401 | `None` |
/// | no gate in front | 500; the log says so | the same |
///
/// The refusals are in the gate's own words: its realm and its
/// [`on_reject`](crate::WachtAuthLayer::on_reject). The optional form refuses nobody; it is for
/// answers that show some callers more than others.
///
/// With the feature `test-util`, the example runs as it stands:
///
#[cfg_attr(feature = "test-util", doc = "```")]
#[cfg_attr(not(feature = "test-util"), doc = "```ignore")]
/// use axum::{Router, body::Body, http::{Request, StatusCode}, routing::get};
/// use tower::ServiceExt;
/// use wacht_auth::WachtAuthLayer;
/// use wacht_auth::axum::{Permission, Permitted};
/// use wacht_auth::dev::DevGateway;
///
/// struct ReadOrders;
///
/// impl Permission for ReadOrders {
///     const REQUIREMENT: &'static str = "orders:read OR orders:audit";
/// }
///
/// async fn orders(caller: Permitted<ReadOrders>) -> String {
///     format!("the orders of {}", caller.key_name())
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let app = Router::new()
///     .route("/orders", get(orders))
///     .layer(WachtAuthLayer::new(wacht.client()).app("shop"));
///
/// let auditor = wacht.issue_key("shop").permissions(["orders:audit"]).issue();
/// let clerk = wacht.issue_key("shop").permissions(["stock:read"]).issue();
/// for (key, status) in [(auditor, StatusCode::OK), (clerk, StatusCode::FORBIDDEN)] {
///     let bearer = format!("Bearer {}", key.secret());
///     let request = Request::get("/orders").header("authorization", bearer);
///     let answer = app.clone().oneshot(request.body(Body::empty())?).await?;
///     assert_eq!(answer.status(), status);
/// }
/// # Ok(()) }
/// ```
pub struct Permitted<P> {
    principal: Principal,
    permission: PhantomData<fn() -> P>,
}

/// Names what a caller must hold, for [`Permitted`].
///
/// ```
/// use wacht_auth::axum::Permission;
///
/// struct CloseBooks;
///
/// impl Permission for CloseBooks {
///     const REQUIREMENT: &'static str = "books:write AND (books:close OR admin)";
/// }
/// ```
pub trait Permission {
    /// The text of a [`Requirement`](crate::Requirement).
    ///
    /// A text that is no requirement does not compile where a handler takes it. `cargo build` and
    /// `cargo test` find it; `cargo check` does not look that far.
    ///
    /// ```compile_fail,E0080
    /// use axum::{Router, routing::get};
    /// use wacht_auth::axum::{Permission, Permitted};
    ///
    /// struct Broken;
    ///
    /// impl Permission for Broken {
    ///     const REQUIREMENT: &'static str = "orders:read, orders:write";
    /// }
    ///
    /// async fn orders(_: Permitted<Broken>) {}
    ///
    /// let app: Router = Router::new().route("/orders", get(orders));
    /// ```
    ///
    /// What the compiler does not judge is a character outside ASCII. Where a text is no
    /// requirement because of one, such as a zero-width space in a name, every request is a 500,
    /// and the log says why at the first.
    const REQUIREMENT: &'static str;
}

impl<P> Permitted<P> {
    /// The caller without the proof.
    #[must_use]
    pub fn into_principal(self) -> Principal {
        self.principal
    }
}

impl<P: Permission> Permitted<P> {
    fn of(parts: &Parts) -> Result<Self, Rejection> {
        const {
            assert!(
                is_requirement(P::REQUIREMENT),
                "`Permission::REQUIREMENT` is no requirement: permission names joined by AND, OR \
                 and parentheses, without commas"
            );
        }
        let principal = caller(parts)?;
        match requirement::<P>() {
            Some(requirement) => principal.require(&requirement)?,
            None => return Err(Rejection::misconfigured().of(principal.gate())),
        }
        Ok(Self {
            principal: principal.clone(),
            permission: PhantomData,
        })
    }
}

impl<P: Permission, S: Sync> FromRequestParts<S> for Permitted<P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        Self::of(parts).map_err(|rejection| rejection.answer(parts).map(Into::into))
    }
}

impl<P: Permission, S: Sync> OptionalFromRequestParts<S> for Permitted<P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Response> {
        if parts.extensions.get::<Anonymous>().is_some() {
            return Ok(None);
        }
        match Self::of(parts) {
            Ok(permitted) => Ok(Some(permitted)),
            Err(rejection) if rejection.kind() == RejectionKind::PermissionDenied => Ok(None),
            Err(rejection) => Err(rejection.answer(parts).map(Into::into)),
        }
    }
}

impl<P> Deref for Permitted<P> {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

impl<P> Clone for Permitted<P> {
    fn clone(&self) -> Self {
        Self {
            principal: self.principal.clone(),
            permission: PhantomData,
        }
    }
}

impl<P> From<Permitted<P>> for Principal {
    fn from(permitted: Permitted<P>) -> Self {
        permitted.principal
    }
}

impl<P> fmt::Debug for Permitted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permitted").field(&self.principal).finish()
    }
}

/// What `P` asks for, parsed at its first use. `None` when it is no requirement.
fn requirement<P: Permission>() -> Option<Requirement> {
    // As many entries as the program has texts. A static cannot be generic, so one map holds
    // what would be a static of each `P`.
    type Parsed = HashMap<&'static str, Option<Requirement>>;
    static PARSED: LazyLock<ArcSwap<Parsed>> = LazyLock::new(ArcSwap::default);

    let text = P::REQUIREMENT;
    if let Some(parsed) = PARSED.load().get(text) {
        return parsed.clone();
    }
    let parsed = Requirement::try_from(text)
        .inspect_err(|error| {
            let permission = any::type_name::<P>();
            tracing::error!(%error, permission, "a `Permission` names what is no requirement");
        })
        .ok();
    PARSED.rcu(|known| {
        let mut known = Parsed::clone(known);
        known.insert(text, parsed.clone());
        Arc::new(known)
    });
    parsed
}

/// Whether a text is a requirement, for the compiler to find out. In ASCII it agrees with the
/// parser; a byte outside ASCII counts as part of a name, and the parser has the last word.
const fn is_requirement(text: &str) -> bool {
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
