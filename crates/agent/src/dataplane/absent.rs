//! Nodes that fall silent while no server is there to say so.
//!
//! Which nodes work is the control plane's to say: it sees all of them, and a firewall that swallows echoes must not take
//! a node out of its services. But when the server's own machine goes, nobody is left to say that the pods there are gone
//! too, and every node would lead its share of connections into nothing until somebody has restored it. So a node that
//! hears no server looks after the others by itself, and believes a silence only of those that answered it before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// How often nodes are asked while no server is heard.
pub(super) const EVERY: Duration = Duration::from_millis(500);
/// How long an answer may take then.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// After how many such rounds a silent node is absent.
const ROUNDS: u32 = 2;

/// What is believed of other nodes, by name.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// Those that answered when they were last asked with a server there.
    answered: BTreeSet<String>,
    /// In how many rounds without a server each was silent.
    silent: BTreeMap<String, u32>,
    absent: BTreeSet<String>,
}

impl Absence {
    /// Nodes that were asked for by one round, and who answered it. `alone` says that no server is heard.
    ///
    /// A node becomes absent only while this one is alone; it stays so until it answers, or is not asked any more because
    /// the control plane says itself that it is not ready. So a server that comes back does not lead anybody to it again
    /// for as long as it takes that server to notice.
    pub fn round(&mut self, alone: bool, asked: &BTreeMap<String, Ipv4Addr>, answers: &BTreeSet<Ipv4Addr>) {
        for (name, gateway) in asked {
            if answers.contains(gateway) {
                self.silent.remove(name);
                self.absent.remove(name);
                self.answered.insert(name.clone());
            } else if !alone {
                self.answered.remove(name);
                self.silent.remove(name);
            } else if self.answered.contains(name) {
                let rounds = self.silent.entry(name.clone()).or_default();
                *rounds += 1;
                if *rounds >= ROUNDS {
                    self.absent.insert(name.clone());
                }
            }
        }
    }

    /// Forgets nodes that are not among `known`.
    pub fn keep(&mut self, known: &BTreeSet<&str>) {
        self.answered.retain(|name| known.contains(name.as_str()));
        self.silent.retain(|name, _| known.contains(name.as_str()));
        self.absent.retain(|name| known.contains(name.as_str()));
    }

    /// Nodes that are to be asked in every round.
    pub fn in_doubt(&self, name: &str) -> bool {
        self.silent.contains_key(name) || self.absent.contains(name)
    }

    /// Nodes to whose pods nothing is to be led.
    pub fn absent(&self) -> &BTreeSet<String> {
        &self.absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(names: &[&str]) -> BTreeMap<String, Ipv4Addr> {
        names.iter().map(|name| ((*name).to_owned(), gateway(name))).collect()
    }

    fn gateway(name: &str) -> Ipv4Addr {
        Ipv4Addr::new(10, 42, name.as_bytes()[0], 1)
    }

    fn answers(names: &[&str]) -> BTreeSet<Ipv4Addr> {
        names.iter().map(|name| gateway(name)).collect()
    }

    fn absent(absence: &Absence) -> Vec<&str> {
        absence.absent().iter().map(String::as_str).collect()
    }

    #[test]
    fn who_answered_before_and_is_silent_now_is_absent_until_it_answers() {
        let mut absence = Absence::default();
        absence.round(false, &asked(&["a", "b", "c"]), &answers(&["a", "b"]));
        absence.round(true, &asked(&["a", "b", "c"]), &answers(&["a"]));
        assert!(absence.in_doubt("b") && absence.absent().is_empty(), "one echo may be lost");
        absence.round(true, &asked(&["a", "b", "c"]), &answers(&["a"]));
        assert_eq!(absent(&absence), ["b"], "c never answered: a firewall may swallow echoes");
        absence.round(false, &asked(&["a", "b", "c"]), &answers(&["a"]));
        assert_eq!(absent(&absence), ["b"], "a server that is back has not noticed yet");
        absence.round(false, &asked(&["a", "b", "c"]), &answers(&["a", "b"]));
        assert!(absence.absent().is_empty());
    }

    #[test]
    fn with_a_server_nobody_is_absent() {
        let mut absence = Absence::default();
        absence.round(false, &asked(&["a"]), &answers(&["a"]));
        for _ in 0..5 {
            absence.round(false, &asked(&["a"]), &answers(&[]));
        }
        assert!(absence.absent().is_empty());
        for _ in 0..5 {
            absence.round(true, &asked(&["a"]), &answers(&[]));
        }
        assert!(absence.absent().is_empty(), "it was silent with the server there already");
    }

    #[test]
    fn the_control_plane_has_the_last_word() {
        let mut absence = Absence::default();
        absence.round(false, &asked(&["a"]), &answers(&["a"]));
        absence.round(true, &asked(&["a"]), &answers(&[]));
        absence.round(true, &asked(&["a"]), &answers(&[]));
        absence.keep(&BTreeSet::new());
        assert!(absence.absent().is_empty() && !absence.in_doubt("a"));
    }
}
