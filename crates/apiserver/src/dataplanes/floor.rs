//! The lowest of what the nodes have reached: pure, and as cheap as a map's first key, however many nodes there are.

use std::collections::BTreeMap;

/// What a node has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Its rules are made from endpoints up to this revision; 0 before its first word.
    At(u64),
    /// It does not know the question: a node of an earlier version.
    Nothing,
}

/// How far each connected node is.
#[derive(Debug, Default)]
pub(super) struct Floor {
    nodes: BTreeMap<String, Said>,
    /// How many nodes are at each revision.
    at: BTreeMap<u64, usize>,
}

impl Floor {
    /// A node that has said nothing yet; one that is known keeps what it said.
    pub fn enter(&mut self, node: &str) {
        if !self.nodes.contains_key(node) {
            self.put(node, Said::At(0));
        }
    }

    /// A node has reached a revision. Nodes that are not followed are none of ours.
    pub fn reached(&mut self, node: &str, revision: u64) {
        if self.nodes.contains_key(node) {
            self.put(node, Said::At(revision));
        }
    }

    /// A node cannot say how far it is.
    pub fn cannot_say(&mut self, node: &str) {
        if self.nodes.contains_key(node) {
            self.put(node, Said::Nothing);
        }
    }

    /// Only nodes of which this holds are waited for from now on.
    pub fn keep(&mut self, present: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.nodes.keys().filter(|node| !present(node)).cloned().collect();
        for node in gone {
            let said = self.nodes.remove(&node);
            self.discount(said);
        }
    }

    /// What every node that can say so has reached; everything when there is none.
    pub fn lowest(&self) -> u64 {
        self.at.keys().next().copied().unwrap_or(u64::MAX)
    }

    /// The nodes that have not reached a revision, at most `most` of them.
    pub fn behind(&self, revision: u64, most: usize) -> Vec<String> {
        let late = self.nodes.iter().filter(|(_, said)| matches!(said, Said::At(at) if *at < revision));
        late.map(|(node, _)| node.clone()).take(most).collect()
    }

    /// The nodes that cannot say how far they are, at most `most` of them.
    pub fn unable(&self, most: usize) -> Vec<String> {
        let unable = self.nodes.iter().filter(|(_, said)| **said == Said::Nothing);
        unable.map(|(node, _)| node.clone()).take(most).collect()
    }

    fn put(&mut self, node: &str, said: Said) {
        let before = self.nodes.insert(node.to_owned(), said);
        self.discount(before);
        if let Said::At(revision) = said {
            *self.at.entry(revision).or_default() += 1;
        }
    }

    fn discount(&mut self, said: Option<Said>) {
        let Some(Said::At(revision)) = said else { return };
        if let Some(count) = self.at.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                self.at.remove(&revision);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_slowest_node_counts() {
        let mut floor = Floor::default();
        assert_eq!(floor.lowest(), u64::MAX, "nobody is waited for");
        floor.enter("a");
        floor.enter("b");
        assert_eq!((floor.lowest(), floor.behind(5, 9).len()), (0, 2), "neither has said anything");
        floor.reached("a", 7);
        floor.reached("b", 5);
        assert_eq!((floor.lowest(), floor.behind(6, 9)), (5, vec!["b".to_owned()]));
        floor.enter("b");
        assert_eq!(floor.lowest(), 5, "who is known keeps what it said");
        floor.reached("b", 8);
        assert_eq!(floor.lowest(), 7);
    }

    #[test]
    fn who_comes_late_is_waited_for_and_who_went_is_not() {
        let mut floor = Floor::default();
        floor.enter("a");
        floor.reached("a", 9);
        floor.enter("late");
        assert_eq!(floor.lowest(), 0, "its rules may be those of before");
        floor.keep(|node| node == "a");
        assert_eq!(floor.lowest(), 9);
        floor.reached("late", 3);
        assert_eq!(floor.lowest(), 9, "a word that was under way when it went changes nothing");
    }

    #[test]
    fn who_cannot_say_is_told_apart() {
        let mut floor = Floor::default();
        floor.enter("old");
        floor.enter("new");
        floor.cannot_say("old");
        floor.reached("new", 4);
        assert_eq!((floor.lowest(), floor.unable(9), floor.behind(5, 9)), (4, vec!["old".into()], vec!["new".into()]));
    }

    proptest! {
        #[test]
        fn the_count_is_that_of_the_nodes(steps in prop::collection::vec((0..4u8, 0..5usize, 0..6u64), 0..60)) {
            let names = ["a", "b", "c", "d", "e"];
            let mut floor = Floor::default();
            for (what, node, revision) in steps {
                let node = names[node];
                match what {
                    0 => floor.enter(node),
                    1 => floor.reached(node, revision),
                    2 => floor.cannot_say(node),
                    _ => floor.keep(|known| known != node),
                }
                let told = floor.nodes.values().filter_map(|said| match said {
                    Said::At(revision) => Some(*revision),
                    Said::Nothing => None,
                });
                prop_assert_eq!(floor.lowest(), told.min().unwrap_or(u64::MAX));
            }
        }
    }
}
