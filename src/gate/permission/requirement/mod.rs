//! What a route asks for: an expression over permission names, parsed once.
//!
//! A text or a list of texts comes in. The `parser` makes an `expression` of each, or an `error`
//! that says what is wrong and where; what goes out is a [`Requirement`].

pub(crate) mod error;
mod expression;
pub(crate) mod parser;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::gate::permission::permissions::Permissions;
use crate::gate::permission::requirement::error::{RequirementError, RequirementErrorKind};
use crate::gate::permission::requirement::expression::Expression;
use crate::gate::permission::requirement::parser::{MAX_LENGTH, Parser};

/// What a caller must hold: permission names joined by `AND`, `OR` and parentheses. Parsed once,
/// cheap to clone.
///
/// * `AND` binds tighter than `OR`; both are upper-case words with white space around them.
/// * A list asks for all of its entries, each an expression of its own: `["a OR b", "c"]` is
///   `(a OR b) AND c`.
/// * A name is anything visible without white space, parentheses and commas. There are no
///   wildcards: `orders:*` asks for a permission of exactly that name.
/// * Refused, because the Wacht gateway reads them in ways nobody means: commas, and names
///   spelt `and` or `or` in any case, or `true` or `false`.
/// * At most 4096 bytes, and 32 parentheses deep.
///
/// Two requirements are equal if `Display` writes the same text for both: `a AND b` is not
/// `b AND a`. That text is also what serde writes and reads, so requirements can stand in
/// configuration files.
///
/// ```
/// use wacht_auth::Requirement;
///
/// let requirement = Requirement::try_from("orders:read AND (staff OR admin)")?;
/// assert_eq!(requirement.to_string(), "orders:read AND (staff OR admin)");
/// assert_eq!(Requirement::try_from(["orders:read", "staff OR admin"])?, requirement);
/// # Ok::<(), wacht_auth::RequirementError>(())
/// ```
#[derive(Clone)]
pub struct Requirement(Arc<Parsed>);

struct Parsed {
    expression: Expression,
    text: Box<str>,
}

impl Requirement {
    /// Whether these permissions are enough.
    ///
    /// ```
    /// use wacht_auth::{Permissions, Requirement};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let requirement: Requirement = "orders:read AND (staff OR admin)".parse()?;
    /// let held = |names: &[&str]| names.iter().copied().collect::<Permissions>();
    /// assert!(requirement.satisfied_by(&held(&["orders:read", "staff"])));
    /// assert!(!requirement.satisfied_by(&held(&["staff", "admin"])));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn satisfied_by(&self, held: &Permissions) -> bool {
        self.0.expression.satisfied_by(held)
    }

    /// The names, when the caller must hold all of them and nothing else is asked.
    pub(crate) fn plain_all(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.expression.plain_all()
    }

    /// The value of `scope` in a `WWW-Authenticate` header, when the requirement can be said so.
    pub(crate) fn scope(&self) -> Option<String> {
        // `scope-token` of RFC 6749, section 3.3.
        let is_token = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        };
        let mut scope = String::new();
        for name in self.plain_all()? {
            if !is_token(name) {
                return None;
            }
            if !scope.is_empty() {
                scope.push(' ');
            }
            scope.push_str(name);
        }
        Some(scope)
    }

    fn all_of(entries: impl ExactSizeIterator<Item: AsRef<str>>) -> Result<Self, RequirementError> {
        // Each of several entries will stand in parentheses of its own.
        let nesting = usize::from(entries.len() > 1);
        let mut all = Vec::with_capacity(entries.len());
        for (index, entry) in entries.enumerate() {
            let parsed = Parser::parse(entry.as_ref(), nesting);
            all.push(parsed.map_err(|error| error.of_entry(index))?);
        }
        if all.is_empty() {
            return Err(RequirementError::new(RequirementErrorKind::Empty, 0));
        }
        Self::new(Expression::all(all))
    }

    fn new(expression: Expression) -> Result<Self, RequirementError> {
        let text = expression.to_string();
        if text.len() > MAX_LENGTH {
            return Err(RequirementError::new(
                RequirementErrorKind::TooLong,
                MAX_LENGTH,
            ));
        }
        Ok(Self(Arc::new(Parsed {
            expression,
            text: text.into(),
        })))
    }
}

// Not beside the type: the two files would import each other.
impl Permissions {
    /// Whether the caller holds what the requirement asks for.
    #[must_use]
    pub fn satisfies(&self, requirement: &Requirement) -> bool {
        requirement.satisfied_by(self)
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        Self::new(Parser::parse(text, 0)?)
    }
}

impl From<&Self> for Requirement {
    fn from(requirement: &Self) -> Self {
        requirement.clone()
    }
}

impl From<&Arc<Self>> for Requirement {
    fn from(requirement: &Arc<Self>) -> Self {
        Self::clone(requirement)
    }
}

impl TryFrom<&str> for Requirement {
    type Error = RequirementError;

    fn try_from(text: &str) -> Result<Self, RequirementError> {
        text.parse()
    }
}

impl TryFrom<String> for Requirement {
    type Error = RequirementError;

    fn try_from(text: String) -> Result<Self, RequirementError> {
        text.parse()
    }
}

impl TryFrom<&String> for Requirement {
    type Error = RequirementError;

    fn try_from(text: &String) -> Result<Self, RequirementError> {
        text.parse()
    }
}

impl<S: AsRef<str>, const N: usize> TryFrom<[S; N]> for Requirement {
    type Error = RequirementError;

    fn try_from(entries: [S; N]) -> Result<Self, RequirementError> {
        Self::all_of(entries.iter())
    }
}

impl<S: AsRef<str>, const N: usize> TryFrom<&[S; N]> for Requirement {
    type Error = RequirementError;

    fn try_from(entries: &[S; N]) -> Result<Self, RequirementError> {
        Self::all_of(entries.iter())
    }
}

impl<S: AsRef<str>> TryFrom<&[S]> for Requirement {
    type Error = RequirementError;

    fn try_from(entries: &[S]) -> Result<Self, RequirementError> {
        Self::all_of(entries.iter())
    }
}

impl<S: AsRef<str>> TryFrom<Vec<S>> for Requirement {
    type Error = RequirementError;

    fn try_from(entries: Vec<S>) -> Result<Self, RequirementError> {
        Self::all_of(entries.iter())
    }
}

impl PartialEq for Requirement {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Requirement {}

impl Hash for Requirement {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Requirement").field(&self.0.text).finish()
    }
}
