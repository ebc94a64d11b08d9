//! The tree that a requirement is read into.

use std::fmt;
use std::slice;

use crate::gate::permission::permissions::Permissions;

/// `All` and `Any` hold two or more, none of them of their own kind, so that equal text and
/// equal trees are the same thing.
#[derive(Debug)]
pub(super) enum Expression {
    Name(Box<str>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl Expression {
    pub(super) fn all(parts: Vec<Self>) -> Self {
        let parts = parts.into_iter().flat_map(|part| match part {
            Self::All(inner) => inner,
            other => vec![other],
        });
        Self::only(parts.collect()).unwrap_or_else(Self::All)
    }

    pub(super) fn any(parts: Vec<Self>) -> Self {
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

    pub(super) fn satisfied_by(&self, held: &Permissions) -> bool {
        match self {
            Self::Name(name) => held.contains(name),
            Self::All(parts) => parts.iter().all(|part| part.satisfied_by(held)),
            Self::Any(parts) => parts.iter().any(|part| part.satisfied_by(held)),
        }
    }

    /// The names, if all of them must be held and nothing else is asked.
    pub(super) fn plain_all(&self) -> Option<impl Iterator<Item = &str>> {
        let all = match self {
            Self::All(all) => all,
            name => slice::from_ref(name),
        };
        all.iter()
            .all(|each| each.name().is_some())
            .then(|| all.iter().filter_map(Self::name))
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
