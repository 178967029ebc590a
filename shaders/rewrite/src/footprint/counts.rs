//! Counters of loops: how often a loop runs at most, and what a counter may be then.

use crate::footprint::plan::{Change, Counter};
use crate::footprint::value::{Trust, Value, least, most, top};

/// How often a loop goes back to its start at most, by a counter whose value before each step is
/// this.
pub(super) fn returns(change: Change, value: Value, step: Value, width: u8) -> Option<u64> {
    let is_usable = |of: Value| of.trust == Trust::Fixed && of.root.is_none();
    if !is_usable(value) || step.trust == Trust::Void || step.root.is_some() {
        return None;
    }
    let times = |distance: i128, step: i128| {
        (step > 0 && distance >= 0)
            .then(|| distance / step + 1)
            .and_then(|of| u64::try_from(of).ok())
    };
    let [low, high, least_step, most_step] =
        [value.low.into(), value.high.into(), i128::from(step.low), i128::from(step.high)];
    let (first, last) = (i128::from(value.least), i128::from(value.most));
    let (slow, fast) = match change {
        Change::Plus => (i128::from(step.least), i128::from(step.most)),
        Change::Minus => (-i128::from(step.most), -i128::from(step.least)),
        _ => return halvings(change, value, step, width),
    };
    let (lowest, highest) = (i128::from(least(width)), i128::from(most(width)));
    let limit = i128::from(top(width));
    let mut found = Vec::with_capacity(4);
    // With a sign, upwards and downwards.
    if slow > 0 && last + fast <= highest {
        found.extend(times(last - first, slow));
    }
    if fast < 0 && first + slow >= lowest {
        found.extend(times(last - first, -fast));
    }
    // Without a sign, upwards and downwards. A sum that goes down is one with a negative number.
    if change == Change::Plus && least_step > 0 && high + most_step <= limit {
        found.extend(times(high - low, least_step));
    }
    if change == Change::Minus && least_step > 0 && low - most_step >= 0 {
        found.extend(times(high - low, least_step));
    }
    if change == Change::Plus && fast < 0 && low + slow >= 0 {
        found.extend(times(high - low, -fast));
    }
    found.into_iter().min()
}

/// How often a number can be halved, or doubled, or more than that.
fn halvings(change: Change, value: Value, step: Value, width: u8) -> Option<u64> {
    let most_bits = u64::from(width);
    match change {
        Change::Shrinks if value.low > 0 && step.low > 0 && step.high < most_bits => {
            Some(u64::from(64 - value.high.leading_zeros()))
        }
        Change::Divided if value.low > 0 && step.low > 1 => {
            Some(u64::from(64 - value.high.leading_zeros()))
        }
        Change::Grows if value.low > 0 && step.low > 0 && step.high < most_bits => {
            let largest = u128::from(value.high) << step.high;
            (largest <= u128::from(top(width))).then_some(most_bits)
        }
        Change::Multiplied if value.low > 0 && step.low > 1 => {
            let largest = u128::from(value.high) * u128::from(step.high);
            (largest <= u128::from(top(width))).then_some(most_bits)
        }
        _ => None,
    }
}

/// The values of a counter at a loop's start that runs so often at most.
pub(super) fn reached(
    counter: &Counter,
    first: Value,
    step: Value,
    runs: u64,
    width: u8,
) -> Option<Value> {
    let (slow, fast) = match counter.change {
        Change::Plus => (i128::from(step.least), i128::from(step.most)),
        Change::Minus => (-i128::from(step.most), -i128::from(step.least)),
        _ => return None,
    };
    if first.trust != Trust::Fixed || step.trust != Trust::Fixed || step.root.is_some() {
        return None;
    }
    let steps = i128::from(runs) - 1;
    let down = steps.checked_mul(slow.min(0))?;
    let up = steps.checked_mul(fast.max(0))?;
    if first.root.is_some() {
        let least = i64::try_from(i128::from(first.least).checked_add(down)?).ok()?;
        let most = i64::try_from(i128::from(first.most).checked_add(up)?).ok()?;
        return Some(Value { least, most, ..first });
    }
    let moved = |from: i128, by: i128| from.saturating_add(by);
    let (low, high) = (moved(first.low.into(), down), moved(first.high.into(), up));
    let (least_value, most_value) = (moved(first.least.into(), down), moved(first.most.into(), up));
    let fits = 0 <= low && high <= i128::from(top(width));
    let fits_signed =
        i128::from(least(width)) <= least_value && most_value <= i128::from(most(width));
    match (fits, fits_signed) {
        (true, true) => Value::unsigned(low, high, width)
            .meet(Value::signed(least_value, most_value, width), width),
        (true, false) => Some(Value::unsigned(low, high, width)),
        (false, true) => Some(Value::signed(least_value, most_value, width)),
        (false, false) => None,
    }
}
