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
pub(super) const EVERY: Duration = Duration::from_millis(300);
/// How long an answer may take then: a kernel's, however busy its programs are.
pub(super) const PATIENCE: Duration = Duration::from_millis(300);
/// How long after a server is heard again it may not know of every pod yet what it is: then its word counts.
pub(super) const SETTLED: Duration = Duration::from_secs(10);
/// After how many such rounds a silent node is absent.
const ROUNDS: u32 = 2;
/// After how many unanswered rounds with a server a node is not one that answers.
const MISSED: u32 = 3;

/// What is believed of other nodes, by name.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// Those that answer, and how often in a row they did not when there was a server: it takes seconds to miss that.
    answering: BTreeMap<String, u32>,
    /// In how many rounds without a server each was silent.
    silent: BTreeMap<String, u32>,
    absent: BTreeSet<String>,
}

impl Absence {
    /// One round: who was asked, and who answered. `alone` says that no server is heard, `sound` whether what is led to on a
    /// node that answers again is there again.
    ///
    /// A node becomes absent only while this one is alone; it stays so until it answers and is sound. So a server that comes back does not lead anybody
    /// to it again for as long as it takes that server to notice; nor does a machine that has power again but whose pods
    /// have not started.
    pub fn round(
        &mut self,
        alone: bool,
        asked: &BTreeMap<String, Ipv4Addr>,
        answers: &BTreeSet<Ipv4Addr>,
        sound: &BTreeSet<String>,
    ) {
        for (name, gateway) in asked {
            if answers.contains(gateway) {
                self.silent.remove(name);
                self.answering.insert(name.clone(), 0);
                if sound.contains(name) {
                    self.absent.remove(name);
                }
            } else if !alone {
                self.silent.remove(name);
                if let Some(missed) = self.answering.get_mut(name) {
                    *missed += 1;
                }
                self.answering.retain(|_, missed| *missed < MISSED);
            } else if self.answering.contains_key(name) {
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
        self.answering.retain(|name, _| known.contains(name.as_str()));
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

    /// A round in which `names` are asked and those of `there` answer, all of them sound.
    fn round(absence: &mut Absence, alone: bool, names: &[&str], there: &[&str]) {
        let sound = there.iter().map(|name| (*name).to_owned()).collect();
        absence.round(alone, &asked(names), &answers(there), &sound);
    }

    #[test]
    fn who_answered_before_and_is_silent_now_is_absent_until_it_answers() {
        let mut absence = Absence::default();
        round(&mut absence, false, &["a", "b", "c"], &["a", "b"]);
        round(&mut absence, true, &["a", "b", "c"], &["a"]);
        assert!(absence.in_doubt("b") && absence.absent().is_empty(), "one echo may be lost");
        round(&mut absence, true, &["a", "b", "c"], &["a"]);
        assert_eq!(absent(&absence), ["b"], "c never answered: a firewall may swallow echoes");
        round(&mut absence, false, &["a", "b", "c"], &["a"]);
        assert_eq!(absent(&absence), ["b"], "a server that is back has not noticed yet");
        absence.round(false, &asked(&["b"]), &answers(&["b"]), &BTreeSet::new());
        assert_eq!(absent(&absence), ["b"], "it has power again, and its pods have not started");
        round(&mut absence, false, &["a", "b", "c"], &["a", "b"]);
        assert!(absence.absent().is_empty());
    }

    #[test]
    fn with_a_server_nobody_is_absent() {
        let mut absence = Absence::default();
        round(&mut absence, false, &["a"], &["a"]);
        for _ in 0..5 {
            round(&mut absence, false, &["a"], &[]);
        }
        assert!(absence.absent().is_empty());
        for _ in 0..5 {
            round(&mut absence, true, &["a"], &[]);
        }
        assert!(absence.absent().is_empty(), "it was silent with the server there already");
        round(&mut absence, false, &["a"], &["a"]);
        round(&mut absence, false, &["a"], &[]);
        for _ in 0..2 {
            round(&mut absence, true, &["a"], &[]);
        }
        assert_eq!(absent(&absence), ["a"], "the server was lost with it, and that was noticed later");
    }

    #[test]
    fn a_node_that_was_removed_is_forgotten() {
        let mut absence = Absence::default();
        round(&mut absence, false, &["a"], &["a"]);
        round(&mut absence, true, &["a"], &[]);
        round(&mut absence, true, &["a"], &[]);
        absence.keep(&BTreeSet::new());
        assert!(absence.absent().is_empty() && !absence.in_doubt("a"));
    }
}
