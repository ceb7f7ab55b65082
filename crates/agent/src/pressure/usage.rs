//! What pods hold of what is short: read when somebody has to be chosen, never before.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use naru_api::{
    Quantity, View,
    k8s::api::core::v1::{Container, Pod},
};
use naru_runtime::pod::PodStats;

use super::{Candidate, Signal};
use crate::{fleet::Fleet, pod::Executor, translate::Paths};

/// From here on a pod's priority says that the node cannot do without it (`system-cluster-critical`).
const CRITICAL: i32 = 2_000_000_000;

/// Bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub bytes: i64,
    pub inodes: i64,
}

/// Every pod that might be evicted, with what it uses of a signal's resource. `here` says whether pods' folders are on the
/// filesystem in question.
pub(super) async fn candidates(fleet: &Fleet, signal: Signal, here: bool) -> Vec<Candidate> {
    let pods: Vec<(Arc<Executor>, Arc<Pod>)> = {
        let workers = fleet.workers();
        let live = workers.values().filter(|worker| {
            let pod = worker.pod();
            pod.metadata.deletion_timestamp.is_none() && !worker.executor.is_over(&worker.view.borrow())
        });
        live.map(|worker| (worker.executor.clone(), worker.pod())).collect()
    };
    let mut found = Vec::new();
    for (executor, pod) in pods {
        let uses = if signal.is_disk() {
            let paths = executor.paths.clone();
            let walked = tokio::task::spawn_blocking(move || if here { on_disk(&paths) } else { BTreeMap::new() });
            walked.await.unwrap_or_default().into_iter().map(|(name, held)| (name, part(signal, held))).collect()
        } else {
            // A pod that ended in between uses nothing.
            let stats = fleet.node.config.runtime.stats(&executor.uid).await;
            stats.map(|stats| running(signal, &stats)).unwrap_or_default()
        };
        found.push(candidate(signal, &pod, uses));
    }
    found
}

fn part(signal: Signal, held: Held) -> i64 {
    let inodes = matches!(signal, Signal::NodefsInodesFree | Signal::ImagefsInodesFree);
    if inodes { held.inodes } else { held.bytes }
}

/// By container; what the pod as a whole has beyond them stands under an empty name.
fn running(signal: Signal, stats: &PodStats) -> BTreeMap<String, i64> {
    let of = |usage: &naru_runtime::pod::Usage| {
        let amount = if signal == Signal::PidAvailable { usage.pids } else { usage.working_set };
        i64::try_from(amount).unwrap_or(i64::MAX)
    };
    let mut uses: BTreeMap<String, i64> =
        stats.containers.iter().map(|container| (container.name.to_string(), of(&container.usage))).collect();
    let sum: i64 = uses.values().sum();
    uses.insert(String::new(), (of(&stats.pod) - sum).max(0));
    uses
}

/// A pod with its use by container: pure.
pub(super) fn candidate(signal: Signal, pod: &Pod, uses: BTreeMap<String, i64>) -> Candidate {
    let spec = pod.spec.as_ref();
    let notes = pod.metadata.annotations.as_ref();
    let note = |name: &str| notes.and_then(|notes| notes.get(name)).map(String::as_str);
    let is_static = note("kubernetes.io/config.mirror").is_some()
        || note("kubernetes.io/config.source").is_some_and(|source| source != "api");
    let priority = spec.and_then(|spec| spec.priority).unwrap_or(0);
    let asked = |container: &Container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let quantity = requests.and_then(|requests| requests.get(signal.resource()));
        quantity.and_then(|quantity| Quantity::parse(&quantity.0).ok()).map_or(0, |quantity| quantity.value())
    };
    let all = spec.into_iter().flat_map(|spec| &spec.containers);
    let initial = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let largest = initial.map(asked).max().unwrap_or(0);
    let containers: Vec<(String, i64, i64)> = all
        .map(|container| {
            let usage = uses.get(&container.name).copied().unwrap_or(0);
            (container.name.clone(), usage, asked(container))
        })
        .collect();
    Candidate {
        uid: pod.uid().to_owned(),
        name: format!("{}/{}", pod.namespace(), pod.name()),
        critical: is_static || priority >= CRITICAL,
        priority,
        request: containers.iter().map(|(_, _, request)| request).sum::<i64>().max(largest),
        usage: uses.values().sum(),
        containers,
    }
}

/// What a pod's folders hold, by container: layers and logs; its volumes stand under an empty name. What is mounted there
/// (memory, other people's disks) is not counted.
pub(super) fn on_disk(paths: &Paths) -> BTreeMap<String, Held> {
    let mut uses: BTreeMap<String, Held> = BTreeMap::new();
    let mut add = |name: String, path: &Path| {
        let mut held = Held::default();
        if let Ok(meta) = fs::symlink_metadata(path) {
            walk(path, meta.dev(), &mut held);
        }
        let sum = uses.entry(name).or_default();
        sum.bytes += held.bytes;
        sum.inodes += held.inodes;
    };
    for folder in [paths.root.join("layers"), paths.logs.clone()] {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            add(entry.file_name().to_string_lossy().into_owned(), &entry.path());
        }
    }
    for folder in ["volumes", "anonymous", "etc"] {
        add(String::new(), &paths.root.join(folder));
    }
    uses
}

fn walk(path: &Path, device: u64, held: &mut Held) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    if meta.dev() != device {
        return;
    }
    held.bytes = held.bytes.saturating_add(i64::try_from(meta.blocks() * 512).unwrap_or(i64::MAX));
    held.inodes += 1;
    if meta.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            walk(&entry.path(), device, held);
        }
    }
}
