//! Dealing hands of queues: two flows rarely have the same hand, so that one that floods leaves the others a free queue.

/// The `hand` different queues among `queues` that a hash stands for, in the order in which they were dealt.
pub(super) fn deal(mut hash: u64, queues: usize, hand: usize) -> Vec<usize> {
    let mut dealt: Vec<usize> = Vec::with_capacity(hand);
    for left in (1..=queues).rev().take(hand) {
        let mut card = (hash % left as u64) as usize;
        hash /= left as u64;
        // The n-th of those that are not dealt yet.
        let mut sorted = dealt.clone();
        sorted.sort_unstable();
        for other in sorted {
            card += usize::from(other <= card);
        }
        dealt.push(card);
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hand_has_different_queues(hash: u64, queues in 1..200_usize, hand in 1..9_usize) {
            let dealt = deal(hash, queues, hand);
            prop_assert_eq!(dealt.len(), hand.min(queues));
            let mut sorted = dealt.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), dealt.len());
            prop_assert!(sorted.iter().all(|card| *card < queues));
        }
    }

    #[test]
    fn every_hand_is_dealt() {
        let hands: std::collections::BTreeSet<Vec<usize>> = (0..5 * 4 * 3).map(|hash| deal(hash, 5, 3)).collect();
        assert_eq!(hands.len(), 5 * 4 * 3);
    }
}
