//! How many units a subject can be expected to spend.

use super::super::reading::Moment;

/// The rate at which units were spent lately.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Since when units are counted for the next reading.
    since: u64,
    units: u32,
    /// Units a lease's length, as read last.
    rate: f64,
}

impl Demand {
    pub(super) fn note(&mut self, units: u32) {
        self.units = self.units.saturating_add(units);
    }

    /// Units that will be wanted within one lease of this length.
    pub(super) fn expected(&mut self, now: Moment, lease: u64) -> f64 {
        let since = now.0.saturating_sub(self.since);
        // Shorter than this, a few requests that come together would look like thousands a second.
        let shortest = (lease / 2).max(1);
        let latest = f64::from(self.units) * lease as f64 / since.max(shortest) as f64;
        if since >= shortest {
            self.rate = match since < 4 * lease {
                true => (self.rate + latest) / 2.0,
                false => latest,
            };
            self.since = now.0;
            self.units = 0;
        }
        self.rate.max(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: u64 = 1_000;

    #[test]
    fn a_steady_rate_is_expected_to_go_on() {
        let mut demand = Demand::default();
        let mut expected = 0.0;
        for step in 0..40 {
            demand.note(75);
            expected = demand.expected(Moment(step * 750), LEASE);
        }
        assert!((90.0..110.0).contains(&expected), "{expected}");
    }

    #[test]
    fn a_few_at_once_are_not_a_rate_and_who_was_away_is_new() {
        let mut demand = Demand::default();
        demand.expected(Moment(10_000), LEASE);
        demand.note(1);
        assert!(demand.expected(Moment(10_001), LEASE) <= 2.0);
        demand.note(1_000);
        assert!(demand.expected(Moment(11_000), LEASE) > 500.0);
        assert!(demand.expected(Moment(1_000_000), LEASE) < 1.1);
    }
}
