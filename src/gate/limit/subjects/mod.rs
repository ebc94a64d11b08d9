//! The counters of keys and addresses: as many as fit, and no more.
//!
//! In: a [`Subject`], which is what a rule counts a [`Caller`] by. Out: its
//! [`CounterState`](super::counters::CounterState).

mod subject;
mod table;

pub(super) use self::subject::Subject;
pub(crate) use self::subject::{Caller, KeySubject};
pub(super) use self::table::Subjects;
