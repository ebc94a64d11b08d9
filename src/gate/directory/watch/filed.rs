//! When verdicts were filed, to know of which of them a list says something that another replica has
//! asked for.
//!
//! A number tells what was filed before it was given from what was filed after. A gate that asks itself
//! gives one just before it asks; for a list of another it has to know which one it would have given.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Filed(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    /// When the last verdict was filed.
    last: Duration,
    /// A number, and when the last verdict was filed before it was given; oldest first.
    given: VecDeque<(Duration, u32)>,
    spacing: Duration,
}

impl Filed {
    /// Lists of others are of use for so long.
    pub(super) fn keep_for(&self, period: Duration) {
        self.with(|numbers| numbers.spacing = period / (KEPT / 2));
    }

    /// A verdict has been filed, some time before `now`. `give` gives a number, and is not asked for one
    /// more often than is of use.
    pub(super) fn note(&self, now: Duration, give: impl FnOnce() -> u32) {
        self.with(|numbers| {
            numbers.last = numbers.last.max(now);
            let last = numbers.given.back().map(|(filed, _)| *filed);
            let spacing = numbers.spacing.max(SHORTEST);
            if last.is_none_or(|last| now.saturating_sub(last) >= spacing) {
                let number = give();
                numbers.push(number);
            }
        });
    }

    /// This number was given just now.
    pub(super) fn given(&self, number: u32) {
        self.with(|numbers| numbers.push(number));
    }

    /// The number for a list that was sent then: all that was filed before the number was given was
    /// filed before that. 0 where none of those that are kept will do: then all was filed later, as far as
    /// is known.
    pub(super) fn number_at(&self, sent: Duration) -> u32 {
        self.with(|numbers| {
            let mut given = numbers.given.iter().rev();
            let number = given.find(|(filed, _)| *filed <= sent);
            number.map_or(0, |(_, number)| *number)
        })
    }

    fn with<T>(&self, then: impl FnOnce(&mut Numbers) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Numbers {
    fn push(&mut self, number: u32) {
        let filed = self.last;
        match self.given.back_mut() {
            // Nothing was filed in between.
            Some((last, given)) if *last == filed => *given = number,
            _ => self.given.push_back((filed, number)),
        }
        if self.given.len() > KEPT as usize {
            self.given.pop_front();
        }
    }
}

/// There are four thousand million numbers: enough for six years of this.
const SHORTEST: Duration = Duration::from_millis(50);
/// Twice as many as are needed, as those that are given for lists come between them.
const KEPT: u32 = 600;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_list_of_another_speaks_of_what_was_filed_before_it_was_sent() {
        let filed = Filed::default();
        assert_eq!(filed.number_at(at(1_000)), 0);
        filed.note(at(100), || 1);
        filed.note(at(5_000), || 2);
        assert_eq!(filed.number_at(at(99)), 0);
        assert_eq!(filed.number_at(at(4_999)), 1);
        assert_eq!(filed.number_at(at(5_000)), 2);
    }

    #[test]
    fn what_is_filed_between_two_numbers_is_known_from_the_next_on() {
        let filed = Filed::default();
        filed.note(at(100), || 1);
        filed.note(at(120), || unreachable!("it has just given one"));
        // The second may have come after a list that was sent at 110.
        assert_eq!(filed.number_at(at(110)), 1);
        filed.given(2);
        assert_eq!(filed.number_at(at(110)), 1);
        assert_eq!(filed.number_at(at(120)), 2);
        // Nothing has been filed since: the younger number is as good for the same lists.
        filed.given(3);
        assert_eq!(filed.number_at(at(120)), 3);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let filed = Filed::default();
        for number in 0..2_000_u32 {
            filed.note(at(u64::from(number) * 50), || number);
        }
        assert_eq!(filed.number_at(at(50 * 1_000)), 0);
        assert_eq!(filed.number_at(at(50 * 1_500)), 1_500);
    }
}
