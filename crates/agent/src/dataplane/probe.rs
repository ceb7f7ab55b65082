//! Whether other nodes answer through the ways to their pods: a firewall between two nodes is seen by nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_network::peers::{ClusterNetwork, EncryptedPeer, Mode, accepting, probe};
use naru_network::translate::facts::cluster_network;
use naru_network::wireguard::STALE;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::absent::{self, Absence};
use super::nodes::Known;
use super::overlay::Ways;
use super::sources::Sources;

/// How often nodes are asked.
const EVERY: Duration = Duration::from_secs(10);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nodes that are asked in one round; in larger clusters each has its turn.
const AT_ONCE: usize = 100;
/// After how many unanswered rounds it is told: machines start, and firewalls limit echoes.
const ROUNDS: u32 = 3;

/// What is known of encrypted peers, by name.
pub(super) type Encrypted = Arc<Mutex<BTreeMap<String, EncryptedPeer>>>;

/// What the task works with.
pub(super) struct Prober {
    pub node: String,
    /// This node's own address towards pods.
    pub gateway: Ipv4Addr,
    pub known: watch::Receiver<Known>,
    pub ways: watch::Receiver<Ways>,
    pub encrypted: Encrypted,
    pub sources: Arc<Sources>,
    /// Since when a server hears this node.
    pub heard_since: Option<Instant>,
    /// Whether a server hears this node.
    pub heard: watch::Receiver<bool>,
    /// Nodes to whose pods nothing is to be led, see [`Absence`].
    pub absent: watch::Sender<BTreeSet<String>>,
    /// Who does not answer, worded for people.
    pub silent: watch::Sender<Vec<String>>,
}

impl Prober {
    pub async fn run(mut self) {
        let mut unanswered: BTreeMap<String, u32> = BTreeMap::new();
        let mut absence = Absence::default();
        let mut turn = 0;
        loop {
            let alone = self.pause().await;
            let asked = self.turn(&mut turn, |name| unanswered.contains_key(name) || absence.in_doubt(name));
            let gateways: Vec<Ipv4Addr> = asked.values().copied().collect();
            let (own, patience) = (self.gateway, if alone { absent::PATIENCE } else { PATIENCE });
            let Ok(Ok(answered)) = tokio::task::spawn_blocking(move || probe(own, &gateways, patience)).await else {
                continue;
            };
            let sound = self.sound(&absence, &asked, &answered).await;
            absence.round(alone, &asked, &answered, &sound);
            self.tell_absent(&mut absence);
            if alone {
                // Nobody can be told, and what is silent now may be down.
                continue;
            }
            count(&mut unanswered, &asked, &answered);
            let told = self.tell(&unanswered);
            self.silent.send_if_modified(|silent| {
                for text in told.iter().filter(|text| !silent.contains(text)) {
                    tracing::warn!("{text}");
                }
                let differs = *silent != told;
                *silent = told;
                differs
            });
        }
    }

    /// Waits for the next round; tells whether it is one without a server.
    async fn pause(&mut self) -> bool {
        let hasty = !*self.heard.borrow_and_update() || !self.absent.borrow().is_empty();
        // A sender that is gone changes nothing any more.
        let changed = async {
            if self.heard.changed().await.is_err() {
                std::future::pending().await
            }
        };
        let _ = tokio::time::timeout(if hasty { absent::EVERY } else { EVERY }, changed).await;
        let heard = *self.heard.borrow();
        self.heard_since = heard.then(|| self.heard_since.unwrap_or_else(Instant::now));
        !heard
    }

    /// The absent nodes that answer again and whose pods take connections, as far as they are said to.
    async fn sound(
        &self,
        absence: &Absence,
        asked: &BTreeMap<String, Ipv4Addr>,
        answered: &BTreeSet<Ipv4Addr>,
    ) -> BTreeSet<String> {
        let back =
            asked.iter().filter(|(name, gateway)| absence.absent().contains(*name) && answered.contains(*gateway));
        let back: BTreeMap<String, Vec<SocketAddr>> =
            back.map(|(name, _)| (name.clone(), self.sources.led_to_at(name))).collect();
        let settled = self.heard_since.is_some_and(|since| since.elapsed() >= absent::SETTLED);
        if settled || back.is_empty() {
            return back.into_keys().collect();
        }
        let all: Vec<SocketAddr> = back.values().flatten().copied().collect();
        let there = tokio::task::spawn_blocking(move || accepting(&all, absent::PATIENCE)).await.unwrap_or_default();
        back.into_iter()
            .filter(|(_, places)| places.iter().all(|place| there.contains(place)))
            .map(|(name, _)| name)
            .collect()
    }

    /// Tells the feed of absent nodes, and whoever reads the log.
    fn tell_absent(&self, absence: &mut Absence) {
        absence.keep(&self.known.borrow().iter().map(|node| node.name.as_str()).collect());
        self.absent.send_if_modified(|absent| {
            let differs = absent != absence.absent();
            for name in absence.absent().difference(absent) {
                tracing::warn!(node = name, "no server is heard and this node is silent: nothing is led to its pods");
            }
            for name in absent.difference(absence.absent()) {
                tracing::info!(node = name, "this node's pods are led to again");
            }
            if differs {
                absent.clone_from(absence.absent());
            }
            differs
        });
    }

    /// Whom to ask now: those that are in doubt, and some of the others. Whoever is not ready need not answer.
    fn turn(&self, turn: &mut usize, in_doubt: impl Fn(&str) -> bool) -> BTreeMap<String, Ipv4Addr> {
        let ways = self.ways.borrow();
        let known = self.known.borrow();
        let all: Vec<(&str, Ipv4Addr)> = known
            .iter()
            .filter(|node| node.ready && node.name != self.node && ways.modes.contains_key(&node.name))
            .filter_map(|node| Some((node.name.as_str(), node.gateway()?)))
            .collect();
        let begin = if all.is_empty() { 0 } else { *turn % all.len() };
        *turn = begin + AT_ONCE;
        let (doubtful, others): (Vec<_>, Vec<_>) =
            all.iter().cycle().skip(begin).take(all.len()).partition(|(name, _)| in_doubt(name));
        let chosen = doubtful.into_iter().chain(others).take(AT_ONCE);
        chosen.map(|(name, gateway)| (name.to_owned(), gateway)).collect()
    }

    fn tell(&self, unanswered: &BTreeMap<String, u32>) -> Vec<String> {
        let (known, ways, encrypted) = (self.known.borrow(), self.ways.borrow(), self.encrypted.lock());
        let cluster = cluster_network(&known);
        let address = |name: &str| known.iter().find(|node| node.name == name).and_then(|node| node.address);
        let silent = unanswered.iter().filter(|(_, rounds)| **rounds >= ROUNDS);
        let told = silent.filter_map(|(name, _)| {
            let at = [address(&self.node), address(name)];
            let ends = Ends { here: &self.node, there: name, at, encrypted: encrypted.get(name).copied() };
            Some(explain(&ends, *ways.modes.get(name)?, &cluster))
        });
        told.collect()
    }
}

/// Counts unanswered rounds; whoever answers, or is not asked any more, is well.
fn count(unanswered: &mut BTreeMap<String, u32>, asked: &BTreeMap<String, Ipv4Addr>, answered: &BTreeSet<Ipv4Addr>) {
    for (name, gateway) in asked {
        if answered.contains(gateway) {
            unanswered.remove(name);
        } else {
            *unanswered.entry(name.clone()).or_default() += 1;
        }
    }
    // Doubtful ones are asked in every round: who was not is gone, or not ready.
    unanswered.retain(|name, _| asked.contains_key(name));
}

/// Two nodes that do not hear one another.
struct Ends<'a> {
    here: &'a str,
    there: &'a str,
    at: [Option<Ipv4Addr>; 2],
    encrypted: Option<EncryptedPeer>,
}

/// What is wrong and what to do: pure.
fn explain(ends: &Ends<'_>, mode: Mode, cluster: &ClusterNetwork) -> String {
    let place = |name: &str, at: Option<Ipv4Addr>| at.map_or_else(|| name.to_owned(), |at| format!("{name} ({at})"));
    let (here, there) = (place(ends.here, ends.at[0]), place(ends.there, ends.at[1]));
    match mode {
        Mode::Route => format!(
            "node {there} does not answer {here} on the plain route to its pods: what is between them drops pods' addresses; \
             let it pass them, or lead around it: kubectl annotate node {} naru.io/network-mode=vxlan",
            ends.there
        ),
        Mode::Vxlan => format!(
            "node {there} does not answer {here} through the tunnel: open UDP port {} between the two, both ways",
            cluster.vxlan_port
        ),
        Mode::Wireguard => {
            let handshake = match ends.encrypted.and_then(|peer| peer.handshake) {
                None => "no keys were ever agreed on".to_owned(),
                Some(age) if age > STALE => format!("keys were last agreed on {} minutes ago", age.as_secs() / 60),
                Some(_) => "though keys were agreed on".to_owned(),
            };
            let port = cluster.wireguard_port;
            match ends.encrypted.map(|peer| peer.endpoint) {
                Some(None) => format!(
                    "node {there} is behind address translation and has not come to {here} yet: open UDP port {port} of {}",
                    ends.here
                ),
                _ => format!(
                    "node {there} does not answer {here} through encryption, {handshake}: open UDP port {port} between the \
                     two, both ways"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use naru_network::wireguard::EngineKind;

    use super::*;

    fn gateway(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 42, n, 1)
    }

    #[test]
    fn who_answers_once_is_well() {
        let asked: BTreeMap<String, Ipv4Addr> = (1..4).map(|n| (format!("n{n}"), gateway(n))).collect();
        let mut unanswered = BTreeMap::from([("gone".to_owned(), 7)]);
        for _ in 0..3 {
            count(&mut unanswered, &asked, &BTreeSet::from([gateway(1)]));
        }
        assert_eq!(unanswered, BTreeMap::from([("n2".to_owned(), 3), ("n3".to_owned(), 3)]));
        count(&mut unanswered, &asked, &BTreeSet::from([gateway(1), gateway(2)]));
        assert_eq!(unanswered, BTreeMap::from([("n3".to_owned(), 4)]));
    }

    #[test]
    fn both_nodes_and_the_port_are_named() {
        let cluster = ClusterNetwork { vxlan_port: 4789, wireguard_port: 51999, ..ClusterNetwork::default() };
        let peer = |endpoint: Option<&str>, handshake: Option<u64>| EncryptedPeer {
            engine: EngineKind::Kernel,
            endpoint: endpoint.map(|text| text.parse().unwrap()),
            handshake: handshake.map(Duration::from_secs),
        };
        let said = |mode, encrypted| {
            let at = [Some(Ipv4Addr::new(192, 0, 2, 1)), Some(Ipv4Addr::new(192, 0, 2, 2))];
            explain(&Ends { here: "a", there: "b", at, encrypted }, mode, &cluster)
        };
        let far = Some("192.0.2.2:51999");
        for (text, words) in [
            (said(Mode::Route, None), vec!["network-mode=vxlan"]),
            (said(Mode::Vxlan, None), vec!["UDP port 4789"]),
            (said(Mode::Wireguard, Some(peer(far, None))), vec!["UDP port 51999", "no keys were ever agreed on"]),
            (said(Mode::Wireguard, Some(peer(far, Some(600)))), vec!["UDP port 51999", "10 minutes ago"]),
            (said(Mode::Wireguard, Some(peer(None, None))), vec!["has not come to", "UDP port 51999 of a"]),
        ] {
            assert!(["a (192.0.2.1)", "b (192.0.2.2)"].iter().all(|name| text.contains(name)), "{text}");
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }
}
