//! The counters of keys and addresses: as many as fit, and no more.
//!
//! In: a [`LimitSubject`], which is what a rule counts a [`Caller`] by. Out: its
//! [`CounterState`](super::counters::CounterState).

mod known;
mod room;
mod subject;
mod table;

pub(crate) use self::known::KnownCounter;
pub(super) use self::subject::LimitSubject;
pub(crate) use self::subject::{Caller, KeySubject};
pub(super) use self::table::Subjects;
