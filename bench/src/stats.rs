//! Medians, spreads and paired ratios. Pure.
//!
//! The median and the *median absolute deviation* (MAD) are used throughout, because timings have a
//! long tail on one side: a few samples that the scheduler spoiled move neither of them.

/// A median and its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    /// The middle value, or the mean of the two middle ones.
    pub(crate) median: f64,
    /// The median distance from the median.
    pub(crate) mad: f64,
}

/// The median of values and their spread.
///
/// # Panics
///
/// When there are no values: a measurement takes at least one round.
pub(crate) fn estimate(values: &[f64]) -> Estimate {
    let median = median(values);
    let distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    Estimate { median, mad: self::median(&distances) }
}

/// The ratio of two variants: the median over the rounds of the ratio within a round.
///
/// Both samples of a round were taken moments apart, so whatever slows the machine for longer than
/// a round (a neighbour, the clock frequency) is in both and drops out.
pub(crate) fn paired_ratio(values: &[f64], baseline: &[f64]) -> Estimate {
    let ratios: Vec<f64> = values.iter().zip(baseline).map(|(value, base)| value / base).collect();
    estimate(&ratios)
}

/// The exponent `k` of `y ~ x^k` between two points (x, y).
pub(crate) fn exponent(from: (f64, f64), to: (f64, f64)) -> f64 {
    (to.1 / from.1).ln() / (to.0 / from.0).ln()
}

pub(crate) fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "a median needs at least one value");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The median by its definition: as many values below as above.
    fn naive_median(values: &[f64]) -> f64 {
        let below = |v: f64| values.iter().filter(|&&w| w < v).count();
        let equal = |v: f64| values.iter().filter(|&&w| w == v).count();
        let at = |rank: usize| {
            let is_at = |&v: &f64| (below(v)..below(v) + equal(v)).contains(&rank);
            values.iter().copied().find(is_at).unwrap()
        };
        (at((values.len() - 1) / 2) + at(values.len() / 2)) / 2.0
    }

    #[test]
    fn small_cases_by_hand() {
        let of = |values: &[f64]| {
            let Estimate { median, mad } = estimate(values);
            (median, mad)
        };
        assert_eq!(of(&[7.0]), (7.0, 0.0));
        assert_eq!(of(&[1.0, 3.0]), (2.0, 1.0));
        assert_eq!(of(&[9.0, 1.0, 2.0]), (2.0, 1.0));
        assert_eq!(of(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), (2.0, 1.0));
    }

    #[test]
    fn one_spoiled_sample_changes_little() {
        let mut values = vec![10.0; 9];
        values.push(1e9);
        let Estimate { median, mad } = estimate(&values);
        assert_eq!((median, mad), (10.0, 0.0));
    }

    #[test]
    fn a_machine_that_slows_down_does_not_change_a_paired_ratio() {
        let base: Vec<f64> = (1..=50).map(f64::from).collect();
        let values: Vec<f64> = base.iter().map(|base| base * 1.25).collect();
        let ratio = paired_ratio(&values, &base);
        assert!((ratio.median - 1.25).abs() < 1e-12 && ratio.mad < 1e-12);
    }

    #[test]
    fn exponents_are_those_of_powers() {
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-12;
        assert!(close(exponent((10.0, 3.0), (1000.0, 3.0)), 0.0));
        assert!(close(exponent((10.0, 3.0), (1000.0, 300.0)), 1.0));
        assert!(close(exponent((2.0, 5.0), (8.0, 80.0)), 2.0));
    }

    proptest! {
        #[test]
        fn estimates_agree_with_the_definition(
            values in prop::collection::vec(0.0f64..1e9, 1..40),
        ) {
            let median = naive_median(&values);
            let distances: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
            let found = estimate(&values);
            prop_assert_eq!(found.median, median);
            prop_assert_eq!(found.mad, naive_median(&distances));
        }

        #[test]
        fn paired_ratios_agree_with_the_definition(
            pairs in prop::collection::vec((1.0f64..1e6, 1.0f64..1e6), 1..40),
        ) {
            let (values, base): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            let ratios: Vec<f64> = pairs.iter().map(|(value, base)| value / base).collect();
            prop_assert_eq!(paired_ratio(&values, &base).median, naive_median(&ratios));
        }
    }
}
