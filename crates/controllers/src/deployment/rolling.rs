//! The arithmetic of a rolling update: sizes in, sizes out.

use super::bounds::Bounds;

/// One ReplicaSet's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Pods asked for.
    pub(super) asked: i32,
    /// Pods that are available.
    pub(super) available: i32,
    /// Pods that exist, those on their way out included.
    pub(super) standing: i32,
}

/// What may not move yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hold {
    /// The new set must not grow.
    pub(super) growth: bool,
    /// Available old pods must not be taken away.
    pub(super) shrinkage: bool,
}

/// The sizes to ask for next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Of the new set.
    pub(super) new: i32,
    /// Of the old ones, in the order given.
    pub(super) old: Vec<i32>,
}

/// The next sizes, where `old` is ordered from the oldest set to the youngest.
pub(super) fn step(bounds: &Bounds, new: Size, old: &[Size], hold: Hold) -> Step {
    let mut sizes: Vec<i32> = old.iter().map(|size| size.asked).collect();
    let grown = if hold.growth { new.asked } else { grow(bounds, new, old) };
    // Pods to come are unavailable: they widen what exists and what is missing alike.
    let total: i32 = grown + sizes.iter().sum::<i32>();
    let new_unavailable = (grown - new.available).max(0);
    let mut spare = total - bounds.fewest() - new_unavailable;
    for (size, old) in sizes.iter_mut().zip(old) {
        // Old pods that do not serve go first: nobody misses them.
        let unavailable = (*size - old.available).max(0).min(spare.max(0));
        *size -= unavailable;
        spare -= unavailable;
    }
    if !hold.shrinkage {
        let available: i32 =
            new.available.min(grown) + old.iter().map(|size| size.available.min(size.asked)).sum::<i32>();
        let mut spare = available - bounds.fewest();
        for size in &mut sizes {
            let taken = (*size).min(spare.max(0));
            *size -= taken;
            spare -= taken;
        }
    }
    Step { new: grown, old: sizes }
}

fn grow(bounds: &Bounds, new: Size, old: &[Size]) -> i32 {
    if new.asked >= bounds.replicas {
        return bounds.replicas;
    }
    let place = |size: &Size| if bounds.counts_leaving { size.asked.max(size.standing) } else { size.asked };
    let taken = place(&new) + old.iter().map(place).sum::<i32>();
    let room = (bounds.most() - taken).max(0);
    new.asked + room.min(bounds.replicas - new.asked)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settled(asked: i32) -> Size {
        Size { asked, available: asked, standing: asked }
    }

    fn fresh(asked: i32) -> Size {
        Size { asked, available: 0, standing: asked }
    }

    fn bounds(replicas: i32, surge: i32, unavailable: i32) -> Bounds {
        Bounds { replicas, surge, unavailable, counts_leaving: false }
    }

    #[test]
    fn steps_keep_to_surge_and_unavailability() {
        let none = Hold::default();
        for (name, bounds, new, old, expected) in [
            ("begins with the surge", bounds(4, 1, 0), fresh(0), vec![settled(4)], (1, vec![4])),
            ("takes the allowed ones at once", bounds(4, 1, 1), fresh(0), vec![settled(4)], (1, vec![3])),
            ("waits for the new one", bounds(4, 1, 0), fresh(1), vec![settled(4)], (1, vec![4])),
            ("one in, one out", bounds(4, 1, 0), settled(1), vec![settled(4)], (1, vec![3])),
            ("oldest first", bounds(4, 2, 0), settled(2), vec![settled(1), settled(3)], (2, vec![0, 2])),
            ("what does not serve goes first", bounds(4, 1, 1), fresh(0), vec![settled(1), fresh(3)], (1, vec![1, 2])),
            ("all of it", bounds(3, 3, 0), settled(3), vec![settled(3)], (3, vec![0])),
            ("down to nothing", bounds(0, 1, 0), settled(0), vec![settled(3)], (0, vec![0])),
            ("too many new ones", bounds(2, 1, 0), settled(5), vec![settled(0)], (2, vec![0])),
        ] {
            assert_eq!(step(&bounds, new, &old, none), Step { new: expected.0, old: expected.1 }, "{name}");
        }
    }

    #[test]
    fn stop_first_waits_until_the_old_ones_are_gone() {
        let bounds = Bounds { replicas: 2, surge: 0, unavailable: 1, counts_leaving: true };
        let begun = step(&bounds, fresh(0), &[settled(2)], Hold::default());
        assert_eq!(begun, Step { new: 0, old: vec![1] });
        let leaving = Size { asked: 1, available: 1, standing: 2 };
        assert_eq!(step(&bounds, fresh(0), &[leaving], Hold::default()), Step { new: 0, old: vec![1] });
        assert_eq!(step(&bounds, fresh(0), &[settled(1)], Hold::default()), Step { new: 1, old: vec![1] });
    }

    #[test]
    fn what_is_held_does_not_move() {
        let hold = Hold { growth: true, shrinkage: true };
        assert_eq!(step(&bounds(4, 2, 2), settled(1), &[settled(3)], hold), Step { new: 1, old: vec![3] });
    }

    fn any_bounds() -> impl Strategy<Value = Bounds> {
        (0..12_i32, 0..6_i32, 0..6_i32, any::<bool>()).prop_map(|(replicas, surge, unavailable, counts_leaving)| {
            let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
            Bounds { replicas, surge, unavailable: unavailable.min(replicas.max(1)), counts_leaving }
        })
    }

    fn any_old() -> impl Strategy<Value = Vec<Size>> {
        prop::collection::vec((0..8_i32, 0..8_i32, 0..3_i32), 0..4).prop_map(|sizes| {
            let size = |(asked, available, leaving): (i32, i32, i32)| Size {
                asked,
                available: available.min(asked),
                standing: asked + leaving,
            };
            sizes.into_iter().map(size).collect()
        })
    }

    proptest! {
        /// One step never asks for more than allowed (or than there was), nor takes what must stay available.
        #[test]
        fn a_step_is_safe(bounds in any_bounds(), asked in 0..12_i32, ready in 0..12_i32, old in any_old()) {
            let new = Size { asked, available: ready.min(asked), standing: asked };
            let next = step(&bounds, new, &old, Hold::default());
            let before: i32 = asked + old.iter().map(|size| size.asked).sum::<i32>();
            let after: i32 = next.new + next.old.iter().sum::<i32>();
            prop_assert!(after <= before.max(bounds.most()));
            let available = |new_size: i32, sizes: &[i32]| -> i32 {
                // The worst case: what is taken away was available, as far as anything was.
                new.available.min(new_size) + old.iter().zip(sizes).map(|(o, s)| o.available.min(*s)).sum::<i32>()
            };
            let had = available(asked, &old.iter().map(|size| size.asked).collect::<Vec<_>>());
            prop_assert!(available(next.new, &next.old) >= had.min(bounds.fewest()));
            for (size, old) in next.old.iter().zip(&old) {
                prop_assert!(*size <= old.asked && *size >= 0);
            }
        }

        /// Repeated, with every pod becoming available in time, it ends with the new set alone.
        #[test]
        fn steps_lead_to_the_end(bounds in any_bounds(), old in any_old()) {
            let (mut new, mut old) = (Size::default(), old);
            for _ in 0..100 {
                let next = step(&bounds, new, &old, Hold::default());
                new = settled(next.new);
                for (size, asked) in old.iter_mut().zip(next.old) {
                    *size = settled(asked);
                }
            }
            prop_assert_eq!(new, settled(bounds.replicas));
            prop_assert!(old.iter().all(|size| size.asked == 0));
        }
    }
}
