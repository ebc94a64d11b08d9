//! What counts of many rounds, or of many keys.

/// Of nothing, no number.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let Some(last) = numbers.len().checked_sub(1) else {
        return f64::NAN;
    };
    (numbers[last / 2] + numbers[numbers.len() / 2]) / 2.0
}
