//! The arithmetic of scaling in the middle of a rollout: every set keeps its share.

/// One set that has pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Pods asked for.
    pub(super) asked: i32,
    /// The most pods that all sets together might have had when this one was sized.
    pub(super) of: i32,
}

/// The sizes that add up to `total`, where `shares` is ordered from the oldest set to the youngest. What rounding
/// leaves over goes to the largest, among equal ones to the youngest when growing and the oldest when shrinking.
pub(super) fn proportional(shares: &[Share], total: i32) -> Vec<i32> {
    let mut sizes: Vec<i32> = shares.iter().map(|share| share.asked).collect();
    let missing = total - sizes.iter().sum::<i32>();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    if missing > 0 {
        order.sort_by_key(|index| (-shares[*index].asked, std::cmp::Reverse(*index)));
    } else {
        order.sort_by_key(|index| (-shares[*index].asked, *index));
    }
    let mut left = missing;
    for &index in &order {
        let Share { asked, of } = shares[index];
        let share = if of <= 0 { 0 } else { rounded(i64::from(asked) * i64::from(total), i64::from(of)) - asked };
        // Never against the direction, never beyond what is left.
        let change = if missing > 0 { share.clamp(0, left) } else { share.clamp(left, 0) };
        let change = change.max(-sizes[index]);
        sizes[index] += change;
        left -= change;
    }
    for index in order {
        let change = left.max(-sizes[index]);
        sizes[index] += change;
        left -= change;
    }
    sizes
}

fn rounded(numerator: i64, denominator: i64) -> i32 {
    i32::try_from((numerator * 2 + denominator) / (denominator * 2)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(shares: &[(i32, i32)], total: i32) -> Vec<i32> {
        let shares: Vec<_> = shares.iter().map(|(asked, of)| Share { asked: *asked, of: *of }).collect();
        proportional(&shares, total)
    }

    #[test]
    fn shares_are_kept() {
        assert_eq!(sizes(&[(8, 13), (5, 13)], 18), [11, 7], "the documented example of Kubernetes, bar rounding");
        assert_eq!(sizes(&[(5, 10), (5, 10)], 11), [5, 6], "growth goes to the youngest of equals");
        assert_eq!(sizes(&[(5, 10), (5, 10)], 9), [4, 5], "shrinkage to the oldest");
        assert_eq!(sizes(&[(4, 6), (2, 6)], 0), [0, 0]);
    }

    proptest! {
        /// Whatever the shares, the sizes add up and none is negative.
        #[test]
        fn sizes_add_up(shares in prop::collection::vec((1..20_i32, 0..40_i32), 1..5), total in 0..60_i32) {
            let sizes = sizes(&shares, total);
            prop_assert_eq!(sizes.iter().sum::<i32>(), total);
            prop_assert!(sizes.iter().all(|size| *size >= 0));
        }
    }
}
