//! Reads a text as an expression.

use crate::gate::permission::requirement::error::{RequirementError, RequirementErrorKind};
use crate::gate::permission::requirement::expression::Expression;

/// The longest requirement, in bytes.
pub(crate) const MAX_LENGTH: usize = 4096;
/// The deepest nesting of parentheses.
pub(crate) const MAX_NESTING: usize = 32;

/// Recursive descent, one function per level of binding.
pub(super) struct Parser<'t> {
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
    pub(super) fn parse(text: &'t str, nesting: usize) -> Result<Expression, RequirementError> {
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
