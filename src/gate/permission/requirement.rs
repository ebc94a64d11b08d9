//! What a route asks for: an expression over permission names, parsed once.

use std::error::Error as StdError;
use std::fmt;
use std::slice;
use std::str::FromStr;
use std::sync::Arc;

use crate::client::{ConfigError, ConfigErrorKind, Error};
use crate::gate::permission::Permissions;

/// The longest requirement, in bytes.
pub(crate) const MAX_LENGTH: usize = 4096;
/// The deepest nesting of parentheses.
pub(crate) const MAX_NESTING: usize = 32;

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

/// `All` and `Any` hold two or more, none of them of their own kind, so that equal text and
/// equal trees are the same thing.
#[derive(Debug)]
enum Expression {
    Name(Box<str>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// Why a text is no [`Requirement`], and where.
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

/// What is wrong with a text that is no [`Requirement`].
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

// === impl Requirement ===

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
        let all = match &self.0.expression {
            Expression::All(all) => all,
            name => slice::from_ref(name),
        };
        all.iter()
            .all(|each| each.name().is_some())
            .then(|| all.iter().filter_map(Expression::name))
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
            all.push(parsed.map_err(|error| RequirementError {
                entry: Some(index),
                ..error
            })?);
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

// === impl Expression ===

impl Expression {
    fn all(parts: Vec<Self>) -> Self {
        let parts = parts.into_iter().flat_map(|part| match part {
            Self::All(inner) => inner,
            other => vec![other],
        });
        Self::only(parts.collect()).unwrap_or_else(Self::All)
    }

    fn any(parts: Vec<Self>) -> Self {
        let parts = parts.into_iter().flat_map(|part| match part {
            Self::Any(inner) => inner,
            other => vec![other],
        });
        Self::only(parts.collect()).unwrap_or_else(Self::Any)
    }

    /// The part itself if it is alone.
    fn only(parts: Vec<Self>) -> Result<Self, Vec<Self>> {
        <[Self; 1]>::try_from(parts).map(|[part]| part)
    }

    fn satisfied_by(&self, held: &Permissions) -> bool {
        match self {
            Self::Name(name) => held.contains(name),
            Self::All(parts) => parts.iter().all(|part| part.satisfied_by(held)),
            Self::Any(parts) => parts.iter().any(|part| part.satisfied_by(held)),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::All(_) | Self::Any(_) => None,
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, operator) = match self {
            Self::Name(name) => return f.write_str(name),
            Self::All(parts) => (parts, " AND "),
            Self::Any(parts) => (parts, " OR "),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(operator)?;
            }
            match (self, part) {
                (Self::All(_), Self::Any(_)) => write!(f, "({part})")?,
                _ => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

// === impl RequirementError ===

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

    fn new(kind: RequirementErrorKind, position: usize) -> Self {
        Self {
            kind,
            position,
            entry: None,
            found: None,
        }
    }

    fn found(kind: RequirementErrorKind, position: usize, found: &str) -> Self {
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

/// Recursive descent, one function per level of binding.
struct Parser<'t> {
    text: &'t str,
    position: usize,
    nesting: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Open,
    Close,
    Comma,
    End,
}

impl<'t> Parser<'t> {
    fn parse(text: &'t str, nesting: usize) -> Result<Expression, RequirementError> {
        if text.len() > MAX_LENGTH {
            return Err(RequirementError::new(
                RequirementErrorKind::TooLong,
                MAX_LENGTH,
            ));
        }
        let mut parser = Parser {
            text,
            position: 0,
            nesting,
        };
        if let (Token::End, _) = parser.peek() {
            return Err(RequirementError::new(RequirementErrorKind::Empty, 0));
        }
        let expression = parser.any()?;
        match parser.peek() {
            (Token::End, _) => Ok(expression),
            (Token::Close, at) => Err(RequirementError::new(RequirementErrorKind::Unopened, at)),
            (token, at) => Err(no_operator(token, at)),
        }
    }

    fn any(&mut self) -> Result<Expression, RequirementError> {
        let mut parts = vec![self.all()?];
        while self.take(Token::Word("OR")) {
            parts.push(self.all()?);
        }
        Ok(Expression::any(parts))
    }

    fn all(&mut self) -> Result<Expression, RequirementError> {
        let mut parts = vec![self.operand()?];
        while self.take(Token::Word("AND")) {
            parts.push(self.operand()?);
        }
        Ok(Expression::all(parts))
    }

    fn operand(&mut self) -> Result<Expression, RequirementError> {
        use RequirementErrorKind as Kind;

        let (token, at) = self.peek();
        match token {
            Token::Word(name) => {
                check_name(name, at)?;
                self.take(token);
                Ok(Expression::Name(name.into()))
            }
            Token::Open if self.nesting >= MAX_NESTING => {
                Err(RequirementError::new(Kind::TooDeep, at))
            }
            Token::Open => {
                self.take(token);
                self.nesting = self.nesting.saturating_add(1);
                let inner = self.any()?;
                self.nesting = self.nesting.saturating_sub(1);
                match self.peek() {
                    (Token::End, _) => Err(RequirementError::new(Kind::Unclosed, at)),
                    (Token::Close, _) => {
                        self.take(Token::Close);
                        Ok(inner)
                    }
                    (token, at) => Err(no_operator(token, at)),
                }
            }
            Token::Close => Err(RequirementError::found(Kind::ExpectedName, at, ")")),
            Token::Comma => Err(RequirementError::new(Kind::Comma, at)),
            Token::End => Err(RequirementError::new(Kind::ExpectedName, at)),
        }
    }

    /// Steps over the next token if it is this one.
    fn take(&mut self, expected: Token<'_>) -> bool {
        let (token, at) = self.peek();
        let taken = token == expected;
        if taken {
            self.position = at.saturating_add(match token {
                Token::Word(word) => word.len(),
                Token::Open | Token::Close | Token::Comma => 1,
                Token::End => 0,
            });
        }
        taken
    }

    /// The next token, and the byte at which it starts.
    fn peek(&self) -> (Token<'t>, usize) {
        let rest = self.text.get(self.position..).unwrap_or_default();
        let word = rest.trim_start();
        let at = self.text.len().saturating_sub(word.len());
        let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',');
        let token = match word.chars().next() {
            None => Token::End,
            Some('(') => Token::Open,
            Some(')') => Token::Close,
            Some(',') => Token::Comma,
            Some(_) => Token::Word(word.split(ends).next().unwrap_or_default()),
        };
        (token, at)
    }
}

/// Refuses a word where a name must stand.
fn check_name(name: &str, at: usize) -> Result<(), RequirementError> {
    use RequirementErrorKind as Kind;

    if let Some((offset, character)) = name.char_indices().find(|(_, c)| is_invisible(*c)) {
        let found = character.to_string();
        let at = at.saturating_add(offset);
        return Err(RequirementError::found(
            Kind::InvisibleCharacter,
            at,
            &found,
        ));
    }
    let kind = match name {
        "AND" | "OR" => Kind::ExpectedName,
        _ if is_operator_in_any_case(name) => Kind::OperatorCase,
        "true" | "false" => Kind::ReservedName,
        _ => return Ok(()),
    };
    Err(RequirementError::found(kind, at, name))
}

/// Names what stands where an operator must.
fn no_operator(token: Token<'_>, at: usize) -> RequirementError {
    use RequirementErrorKind as Kind;

    match token {
        Token::Word(word) if is_operator_in_any_case(word) => {
            RequirementError::found(Kind::OperatorCase, at, word)
        }
        Token::Word(word) => RequirementError::found(Kind::ExpectedOperator, at, word),
        Token::Open => RequirementError::found(Kind::ExpectedOperator, at, "("),
        Token::Close => RequirementError::found(Kind::ExpectedOperator, at, ")"),
        Token::Comma => RequirementError::new(Kind::Comma, at),
        Token::End => RequirementError::new(Kind::ExpectedOperator, at),
    }
}

fn is_operator_in_any_case(word: &str) -> bool {
    word.eq_ignore_ascii_case("and") || word.eq_ignore_ascii_case("or")
}

/// Control characters, and those that take no room: they come with copied text and make two
/// names that look alike differ.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
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
    }
}
