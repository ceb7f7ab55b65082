//! The task that keeps rules and names as the newest state wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::select_all;
use ipnet::Ipv4Net;
use naru_network::dns::Zone;
use naru_network::translate::facts::{EndpointFacts, PodFacts, SliceFacts};
use naru_network::translate::{Cluster, Translation, Viewpoint, translate};
use naru_network::{Applier, Helper, LinkRecord, PodUid};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::sources::Sources;

/// After a submission, further changes gather for this long: a rolling update is hundreds of events.
const GATHER: Duration = Duration::from_millis(2);
/// A translation that takes longer than this is made beside the executor's threads, and its price is paid less often ...
const LONG: Duration = Duration::from_millis(20);
/// ... namely for about this part of the time, ...
const REST: u32 = 5;
/// ... but changes never gather for longer than this.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// What is known of a pod here: its address, and its facts unless only the address is known.
pub(super) type Here = (Ipv4Addr, Option<Arc<PodFacts>>);

/// The pods attached to this node, whatever the API says of them.
#[derive(Debug, Default)]
pub(super) struct Attached {
    /// Each pod's facts with the address it really has; none when only the address is known (after a restart).
    pub pods: Mutex<BTreeMap<PodUid, Here>>,
    /// Pods that are about to stop: services lead nothing new to them.
    pub leaving: Mutex<BTreeSet<PodUid>>,
    /// Pods that were connected before this process began and have no link any more: the machine went down, or what ran
    /// them. What the API says of their readiness is of that time. Each with the run the API tells of, once that is known.
    pub lost: Mutex<BTreeMap<PodUid, Option<u64>>>,
    /// Wakes the feed.
    pub changed: Notify,
}

impl Attached {
    /// Takes up what an earlier process left: addresses, and the links that are still there.
    pub fn recall(&self, allocations: &[(Ipv4Addr, PodUid)], links: &[LinkRecord]) {
        let linked: BTreeSet<&PodUid> = links.iter().filter_map(|link| link.pod.as_ref()).collect();
        let lost = allocations.iter().filter(|(_, pod)| !linked.contains(pod));
        self.lost.lock().extend(lost.map(|(_, pod)| (pod.clone(), None)));
        self.pods.lock().extend(allocations.iter().map(|(address, pod)| (pod.clone(), (*address, None))));
    }

    /// Lets go of a pod.
    pub fn forget(&self, pod: &PodUid) {
        self.pods.lock().remove(pod);
        self.leaving.lock().remove(pod);
        self.lost.lock().remove(pod);
        self.changed.notify_one();
    }
}

/// Keeps of the lost pods those of which the API tells nothing newer: a pod is back when its status tells of another run,
/// and of readiness. Pure.
pub(super) fn still_lost(lost: &mut BTreeMap<PodUid, Option<u64>>, pods: &[Arc<PodFacts>]) {
    if lost.is_empty() {
        return;
    }
    let told: BTreeMap<&PodUid, &PodFacts> = pods.iter().map(|pod| (&pod.uid, &**pod)).collect();
    lost.retain(|uid, known| {
        let Some(pod) = told.get(uid) else { return true };
        let run = *known.get_or_insert(pod.run);
        run == pod.run || !pod.ready
    });
}

/// What the feed works with.
pub(super) struct Feed {
    pub sources: Arc<Sources>,
    pub attached: Arc<Attached>,
    pub viewpoint: Viewpoint,
    pub applier: Arc<Applier>,
    pub helper: Arc<Helper>,
    /// The number of the newest submission, and the endpoints' revision it was made from.
    pub submitted: watch::Sender<Submission>,
    /// Nodes that fell silent while no server is heard.
    pub absent: watch::Receiver<BTreeSet<String>>,
}

/// A submission to the applier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Submission {
    pub number: u64,
    pub endpoints: u64,
}

impl Feed {
    pub async fn run(mut self) {
        self.sources.synced().await;
        let mut changed = self.sources.changed();
        let mut nodes = self.sources.nodes.known();
        let mut last: Option<(Arc<Zone>, Vec<String>)> = None;
        let mut zones = 0;
        let mut took = Duration::ZERO;
        loop {
            let begun = Instant::now();
            changed.iter_mut().for_each(watch::Receiver::mark_unchanged);
            nodes.mark_unchanged();
            self.absent.mark_unchanged();
            let endpoints = self.sources.endpoints_revision();
            let Some(translation) = self.translation(took >= LONG).await else { return };
            let Translation { desired, zone, relays, problems } = translation;
            let number = self.submitted.borrow().number + 1;
            self.applier.submit(number, Arc::new(desired));
            self.submitted.send_replace(Submission { number, endpoints });
            let zone = match &last {
                Some((known, _)) if **known == zone => known.clone(),
                _ => {
                    zones += 1;
                    let zone = Arc::new(zone);
                    self.helper.set_zone(zones, zone.clone());
                    zone
                }
            };
            self.helper.set_relays(relays);
            for problem in &problems {
                if last.as_ref().is_none_or(|(_, known)| !known.contains(problem)) {
                    tracing::warn!("{problem}");
                }
            }
            last = Some((zone, problems));
            took = begun.elapsed();
            tokio::time::sleep(rest(took)).await;
            let any = select_all(changed.iter_mut().map(|signal| signal.changed().boxed()));
            tokio::select! {
                // An informer ends with this task's own handle on it, so the signal cannot fail before.
                _ = any => {}
                _ = nodes.changed() => {}
                Ok(()) = self.absent.changed() => {}
                () = self.attached.changed.notified() => {}
            }
        }
    }

    /// What the network should be now; none where the executor is shutting down.
    async fn translation(&self, long: bool) -> Option<Translation> {
        let (sources, attached, viewpoint) = (self.sources.clone(), self.attached.clone(), self.viewpoint.clone());
        let absent = self.absent.borrow().clone();
        let make = move || {
            let mut cluster = sources.cluster();
            let leaving = attached.leaving.lock().clone();
            let lost = {
                let mut lost = attached.lost.lock();
                still_lost(&mut lost, &cluster.pods);
                lost.keys().cloned().collect()
            };
            correct(&mut cluster, &attached.pods.lock(), &Parting { leaving, lost, absent }, &viewpoint);
            translate(&cluster, &viewpoint)
        };
        match long {
            true => tokio::task::spawn_blocking(make).await.ok(),
            false => Some(make()),
        }
    }
}

/// For how long changes gather after a translation: a few of them for as long as it took, and those of a large cluster so
/// long that they are no burden. Pure.
fn rest(took: Duration) -> Duration {
    match took < LONG {
        true => GATHER.max(took),
        false => (took * REST).min(LONGEST_REST.max(took)),
    }
}

/// Pods to which nothing new is led, whatever the API says.
#[derive(Debug, Default)]
pub(super) struct Parting {
    /// They are about to stop, and still answer.
    pub leaving: BTreeSet<PodUid>,
    /// Nothing of theirs answers yet.
    pub lost: BTreeSet<PodUid>,
    /// Nodes that are silent: where others answer, nothing is led to the pods there.
    pub absent: BTreeSet<String>,
}

/// Puts what is known here over what the API says: pure.
///
/// Pods of this node are those that are attached, with the addresses they have. An endpoint in this node's subnet that
/// is nobody's address is dead, and does not wait for a controller to say so.
pub(super) fn correct(
    cluster: &mut Cluster,
    attached: &BTreeMap<PodUid, Here>,
    parting: &Parting,
    viewpoint: &Viewpoint,
) {
    let mut known = BTreeSet::new();
    cluster.pods.retain_mut(|pod| {
        if pod.node.as_deref() != Some(&viewpoint.node) || pod.host_network {
            return true;
        }
        let Some((address, facts)) = attached.get(&pod.uid) else { return false };
        known.insert(pod.uid.clone());
        let address6 = facts.as_ref().and_then(|facts| facts.address6).or(pod.address6);
        if pod.address != Some(*address) || pod.address6 != address6 {
            let mut corrected = (**pod).clone();
            (corrected.address, corrected.address6) = (Some(*address), address6);
            *pod = Arc::new(corrected);
        }
        true
    });
    // The agent may know of a pod before this task's informer does.
    let early = attached.iter().filter(|(uid, _)| !known.contains(*uid)).filter_map(|(_, (_, facts))| facts.clone());
    cluster.pods.extend(early);
    let alive: BTreeSet<Ipv4Addr> = attached.values().map(|(address, _)| *address).collect();
    let subnet: Ipv4Net = viewpoint.pod_subnet;
    let dead = |address: &IpAddr| {
        let here = viewpoint.pod_at(address).filter(|address| subnet.contains(address));
        here.is_some_and(|address| address != viewpoint.gateway && !alive.contains(&address))
    };
    let addresses = |pods: &BTreeSet<PodUid>| -> BTreeSet<Ipv4Addr> {
        pods.iter().filter_map(|pod| attached.get(pod)).map(|(address, _)| *address).collect()
    };
    let (leaving, lost) = (addresses(&parting.leaving), addresses(&parting.lost));
    let within = |set: &BTreeSet<Ipv4Addr>, endpoint: &EndpointFacts| {
        endpoint.addresses.iter().filter_map(|address| viewpoint.pod_at(address)).any(|address| set.contains(&address))
    };
    for slice in &mut cluster.slices {
        pass_over(slice, &parting.absent);
        if slice.endpoints.iter().any(|endpoint| within(&leaving, endpoint) || within(&lost, endpoint)) {
            let mut corrected = (**slice).clone();
            for endpoint in &mut corrected.endpoints {
                if within(&leaving, endpoint) {
                    endpoint.ready = false;
                    endpoint.terminating = true;
                }
                if within(&lost, endpoint) {
                    endpoint.ready = false;
                    endpoint.serving = false;
                }
            }
            *slice = Arc::new(corrected);
        }
        if slice.endpoints.iter().any(|endpoint| endpoint.addresses.iter().any(dead)) {
            let mut corrected = (**slice).clone();
            corrected.endpoints.retain(|endpoint| !endpoint.addresses.iter().any(dead));
            *slice = Arc::new(corrected);
        }
    }
}

/// Endpoints on absent nodes are not ready, unless all are: then a way that may be there is better than none. Pure.
fn pass_over(slice: &mut Arc<SliceFacts>, absent: &BTreeSet<String>) {
    let gone = |endpoint: &EndpointFacts| endpoint.node.as_ref().is_some_and(|node| absent.contains(node));
    let (lost, left): (Vec<_>, Vec<_>) =
        slice.endpoints.iter().filter(|endpoint| endpoint.ready).partition(|e| gone(e));
    if lost.is_empty() || left.is_empty() {
        return;
    }
    let mut corrected = (**slice).clone();
    for endpoint in corrected.endpoints.iter_mut().filter(|endpoint| gone(endpoint)) {
        endpoint.ready = false;
        endpoint.serving = false;
    }
    *slice = Arc::new(corrected);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewpoint() -> Viewpoint {
        Viewpoint {
            node: "n1".into(),
            pod_subnet: Ipv4Net::new_assert(Ipv4Addr::new(10, 42, 0, 0), 24),
            gateway: ip(1),
            six: None,
            domain: "cluster.local".into(),
        }
    }

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 42, 0, last)
    }

    fn pod(uid: &str, node: &str, address: Option<Ipv4Addr>) -> Arc<PodFacts> {
        let node = Some(node.to_owned());
        Arc::new(PodFacts { uid: uid.into(), node, address, ..PodFacts::default() })
    }

    #[test]
    fn what_is_attached_here_counts_for_pods_of_this_node() {
        let mut cluster = Cluster {
            pods: vec![
                pod("slow-status", "n1", None),
                pod("let-go", "n1", Some(ip(7))),
                pod("elsewhere", "n2", Some(Ipv4Addr::new(10, 42, 1, 9))),
            ],
            ..Cluster::default()
        };
        let attached = BTreeMap::from([
            (PodUid::from("slow-status"), (ip(2), None)),
            (PodUid::from("early"), (ip(3), Some(pod("early", "n1", Some(ip(3)))))),
            (PodUid::from("unknown"), (ip(4), None)),
        ]);
        correct(&mut cluster, &attached, &Parting::default(), &viewpoint());
        let pods: Vec<(&str, Option<Ipv4Addr>)> = cluster.pods.iter().map(|p| (p.uid.as_str(), p.address)).collect();
        assert_eq!(
            pods,
            [("slow-status", Some(ip(2))), ("elsewhere", Some(Ipv4Addr::new(10, 42, 1, 9))), ("early", Some(ip(3)))]
        );
    }

    #[test]
    fn endpoints_nobody_has_are_dropped_at_once() {
        let endpoint =
            |address| EndpointFacts { addresses: vec![IpAddr::V4(address)], ready: true, ..EndpointFacts::default() };
        let all = [ip(1), ip(2), ip(9), Ipv4Addr::new(10, 42, 1, 9), Ipv4Addr::new(192, 0, 2, 2)];
        let slice = SliceFacts { endpoints: all.map(endpoint).to_vec(), ..SliceFacts::default() };
        let mut cluster = Cluster { slices: vec![Arc::new(slice)], ..Cluster::default() };
        let attached = BTreeMap::from([(PodUid::from("a"), (ip(2), None))]);
        correct(&mut cluster, &attached, &Parting::default(), &viewpoint());
        let left: Vec<IpAddr> = cluster.slices[0].endpoints.iter().map(|e| e.addresses[0]).collect();
        let kept = [ip(1), ip(2), Ipv4Addr::new(10, 42, 1, 9), Ipv4Addr::new(192, 0, 2, 2)];
        assert_eq!(left, kept.map(IpAddr::V4));
    }

    #[test]
    fn the_second_address_of_a_pod_is_as_dead_as_the_first() {
        let six = naru_network::model::Ipv6Config {
            pod_subnet: "fd00:42::/64".parse().unwrap(),
            cluster_cidr: "fd00:42::/48".parse().unwrap(),
            service_cidr: "fd00:43::/112".parse().unwrap(),
            gateway: "fd00:42::a2a:1".parse().unwrap(),
        };
        let viewpoint = Viewpoint { six: Some(six), ..viewpoint() };
        let all = ["fd00:42::a2a:1", "fd00:42::a2a:2", "fd00:42::a2a:9", "fd00:42:0:1::a2a:109", "2001:db8::1"];
        let endpoint = |address: &str| EndpointFacts {
            addresses: vec![address.parse().unwrap()],
            ready: true,
            ..EndpointFacts::default()
        };
        let slice = SliceFacts { endpoints: all.map(endpoint).to_vec(), ..SliceFacts::default() };
        let mut cluster = Cluster { slices: vec![Arc::new(slice)], ..Cluster::default() };
        let mut facts = (*pod("a", "n1", Some(ip(2)))).clone();
        facts.address6 = Some("fd00:42::a2a:2".parse().unwrap());
        cluster.pods.push(pod("a", "n1", None));
        let attached = BTreeMap::from([(PodUid::from("a"), (ip(2), Some(Arc::new(facts))))]);
        let parting = Parting { leaving: BTreeSet::from([PodUid::from("a")]), ..Parting::default() };
        correct(&mut cluster, &attached, &parting, &viewpoint);
        let left: Vec<(String, bool)> =
            cluster.slices[0].endpoints.iter().map(|e| (e.addresses[0].to_string(), e.ready)).collect();
        let is = |address: &str, ready| (address.to_owned(), ready);
        let kept = [is(all[0], true), is(all[1], false), is(all[3], true), is(all[4], true)];
        assert_eq!(left, kept, "and as leaving");
        assert_eq!(cluster.pods[0].address6, Some("fd00:42::a2a:2".parse().unwrap()), "also before its status says so");
    }

    #[test]
    fn a_pod_that_is_leaving_takes_nothing_new() {
        let endpoint = |address| EndpointFacts {
            addresses: vec![IpAddr::V4(address)],
            ready: true,
            serving: true,
            ..EndpointFacts::default()
        };
        let slice = SliceFacts { endpoints: [ip(2), ip(3)].map(endpoint).to_vec(), ..SliceFacts::default() };
        let mut cluster = Cluster { slices: vec![Arc::new(slice)], ..Cluster::default() };
        let attached = BTreeMap::from([(PodUid::from("a"), (ip(2), None)), (PodUid::from("b"), (ip(3), None))]);
        let parting = Parting { leaving: BTreeSet::from([PodUid::from("b")]), ..Parting::default() };
        correct(&mut cluster, &attached, &parting, &viewpoint());
        let seen: Vec<(bool, bool)> = cluster.slices[0].endpoints.iter().map(|e| (e.ready, e.terminating)).collect();
        assert_eq!(seen, [(true, false), (false, true)]);
    }

    #[test]
    fn pods_of_an_absent_node_are_passed_over_where_others_are_ready() {
        let endpoint = |(node, ready): (&str, bool)| EndpointFacts {
            node: Some(node.to_owned()),
            ready,
            serving: true,
            ..EndpointFacts::default()
        };
        let seen = |endpoints: &[(&str, bool)]| {
            let endpoints = endpoints.iter().copied().map(endpoint).collect();
            let mut slice = Arc::new(SliceFacts { endpoints, ..SliceFacts::default() });
            pass_over(&mut slice, &BTreeSet::from(["n2".to_owned()]));
            slice.endpoints.iter().map(|e| (e.ready, e.serving)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&[("n1", true), ("n2", true)]), [(true, true), (false, false)]);
        assert_eq!(seen(&[("n1", false), ("n2", true)]), [(false, true), (true, true)], "no other is ready");
        assert_eq!(seen(&[("n1", true), ("n3", true)]), [(true, true); 2]);
    }

    #[test]
    fn a_pod_lost_with_the_machine_is_not_ready_until_its_status_says_so_anew() {
        let allocations = [(ip(2), PodUid::from("lost")), (ip(3), PodUid::from("kept"))];
        let attached = Attached::default();
        let link = LinkRecord { interface: "naru0".into(), pod: Some(PodUid::from("kept")) };
        attached.recall(&allocations, &[link]);
        let ready = |attached: &Attached, run, ready| {
            let told = PodFacts { run, ready, ..(*pod("lost", "n1", Some(ip(2)))).clone() };
            let endpoint = |address| EndpointFacts {
                addresses: vec![IpAddr::V4(address)],
                ready: true,
                serving: true,
                ..EndpointFacts::default()
            };
            let slice = SliceFacts { endpoints: [ip(2), ip(3)].map(endpoint).to_vec(), ..SliceFacts::default() };
            let mut cluster =
                Cluster { slices: vec![Arc::new(slice)], pods: vec![Arc::new(told)], ..Cluster::default() };
            still_lost(&mut attached.lost.lock(), &cluster.pods);
            let lost = attached.lost.lock().keys().cloned().collect();
            let parting = Parting { lost, ..Parting::default() };
            correct(&mut cluster, &attached.pods.lock(), &parting, &viewpoint());
            cluster.slices[0].endpoints.iter().map(|e| (e.ready, e.serving)).collect::<Vec<_>>()
        };
        let (held, led) = ([(false, false), (true, true)], [(true, true), (true, true)]);
        assert_eq!(ready(&attached, 1, true), held, "the status is of the time before");
        assert_eq!(ready(&attached, 2, false), held, "it was started, and is not ready yet");
        assert_eq!(ready(&attached, 2, true), led);
        assert_eq!(ready(&attached, 3, true), led, "from then on the API's word counts");
    }
}
