//! Why a text is no requirement, and where.

use std::error::Error as StdError;
use std::fmt;

use crate::client::{ConfigError, ConfigErrorKind, Error};

/// Why a text is no [`Requirement`](crate::Requirement), and where.
///
/// ```
/// use wacht_auth::{Requirement, RequirementErrorKind};
///
/// let error = Requirement::try_from(["orders:read", "staff or admin"]).unwrap_err();
/// assert_eq!(error.kind(), RequirementErrorKind::OperatorCase);
/// assert_eq!((error.entry(), error.position()), (Some(1), 6));
/// assert!(error.to_string().contains("upper case"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequirementError {
    kind: RequirementErrorKind,
    position: usize,
    entry: Option<usize>,
    found: Option<Box<str>>,
}

/// What is wrong with a text that is no [`Requirement`](crate::Requirement).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequirementErrorKind {
    /// No name at all: an empty list, an empty text or only white space.
    Empty,
    /// A name or `(` should stand here.
    ExpectedName,
    /// `AND`, `OR`, `)` or the end should stand here.
    ExpectedOperator,
    /// `and` or `or` not in upper case. Neither is taken for a name.
    OperatorCase,
    /// A comma. The gateway takes it for AND in one place and for a letter in another.
    Comma,
    /// `true` or `false`, which the gateway uses for its own purposes.
    ReservedName,
    /// A character that cannot be seen, such as a control character or a zero-width space.
    InvisibleCharacter,
    /// `(` without `)`.
    Unclosed,
    /// `)` without `(`.
    Unopened,
    /// Parentheses more than 32 deep.
    TooDeep,
    /// More than 4096 bytes.
    TooLong,
}

impl RequirementError {
    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> RequirementErrorKind {
        self.kind
    }

    /// The byte of the text, or of the entry of a list, at which it is wrong, from 0.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Which entry of a list is wrong, from 0. `None` for a single text or the list as a whole.
    #[must_use]
    pub fn entry(&self) -> Option<usize> {
        self.entry
    }

    pub(super) fn new(kind: RequirementErrorKind, position: usize) -> Self {
        Self {
            kind,
            position,
            entry: None,
            found: None,
        }
    }

    /// The same, found in this entry of a list.
    pub(super) fn of_entry(self, index: usize) -> Self {
        Self {
            entry: Some(index),
            ..self
        }
    }

    pub(super) fn found(kind: RequirementErrorKind, position: usize, found: &str) -> Self {
        const SHOWN: usize = 40;
        let shown = match found.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", found.get(..end).unwrap_or_default()),
            None => found.to_owned(),
        };
        Self {
            found: Some(shown.into()),
            ..Self::new(kind, position)
        }
    }
}

impl fmt::Display for RequirementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RequirementErrorKind::Empty => "a requirement needs at least one permission",
            RequirementErrorKind::ExpectedName => "expected a permission or `(`",
            RequirementErrorKind::ExpectedOperator => "expected AND, OR, `)` or the end",
            RequirementErrorKind::OperatorCase => "AND and OR are written in upper case",
            RequirementErrorKind::Comma => "a comma is ambiguous: use AND, OR or a list",
            RequirementErrorKind::ReservedName => "`true` and `false` cannot be permissions",
            RequirementErrorKind::InvisibleCharacter => "a permission has only visible characters",
            RequirementErrorKind::Unclosed => "`(` without `)`",
            RequirementErrorKind::Unopened => "`)` without `(`",
            RequirementErrorKind::TooDeep => "parentheses more than 32 deep",
            RequirementErrorKind::TooLong => "a requirement has at most 4096 bytes",
        })?;
        if let Some(found) = &self.found {
            write!(f, ", found {found:?}")?;
        }
        write!(f, " (at byte {}", self.position)?;
        if let Some(entry) = self.entry {
            write!(f, " of entry {entry}")?;
        }
        f.write_str(")")
    }
}

impl StdError for RequirementError {}

impl From<RequirementError> for Error {
    fn from(error: RequirementError) -> Self {
        ConfigError::new(ConfigErrorKind::Requirement, error.to_string()).into()
    }
}
