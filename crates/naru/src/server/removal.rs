//! Taking everything of Naru's off a machine.

use anyhow::Context;
use naru_network::Helper;
use naru_network::model::NodeConfig;
use naru_runtime::pod::{Pods, Runtime};

use super::network;
use crate::cli::Place;

/// Ends every container, and removes links, rules, control groups and the helper. The server must have ended.
///
/// # Errors
/// When something does not go; what could be removed is removed all the same.
pub(crate) async fn remove_everything(place: &Place) -> anyhow::Result<()> {
    let mut left: Vec<String> = Vec::new();
    let mut note = |what: String, result: Result<(), String>| {
        if let Err(error) = result {
            left.push(format!("{what}: {error}"));
        }
    };
    if place.state_dir.join("pods").exists() {
        let pods = Pods::open(network::pods_config(place)?).context("the containers cannot be found")?;
        for record in pods.adopt().await.context("the containers cannot be found")? {
            let uid = record.config.uid.clone();
            let mut gone = pods.destroy(&uid).await;
            if gone.is_err() {
                gone = pods.sweep(&uid).await;
            }
            note(format!("pod {uid}"), gone.map_err(|error| chain(&error)));
        }
    }
    if place.run_dir.join("helper.sock").exists() {
        let helper = Helper::start(network::helper_config(place, NodeConfig::default().dns)?);
        note("the helper".to_owned(), helper.stop().await.map_err(|error| chain(&error)));
    }
    for folder in [&place.state_dir, &place.run_dir] {
        unmount_below(folder);
    }
    remove_groups(&network::cgroup(place));
    left.extend(naru_network::uninstall(&place.state_dir.join("network"), subnet(place)).await);
    if left.is_empty() { Ok(()) } else { anyhow::bail!("not everything could be removed:\n{}", left.join("\n")) }
}

/// Takes away what is still mounted below a folder, the innermost first.
fn unmount_below(folder: &std::path::Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(std::path::PathBuf::from);
    // The folder itself may be somebody's disk: that stays mounted.
    let own = |target: &std::path::PathBuf| target != folder && target.starts_with(folder);
    let mut below: Vec<std::path::PathBuf> = targets.filter(own).collect();
    below.sort();
    for target in below.into_iter().rev() {
        let _ = rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Removes the emptied control groups, in every hierarchy; what still holds a process stays, and was said already.
fn remove_groups(name: &str) {
    fn remove(group: &std::path::Path) {
        for inner in std::fs::read_dir(group).into_iter().flatten().flatten() {
            if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&inner.path());
            }
        }
        let _ = std::fs::remove_dir(group);
    }
    let root = std::path::Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies
        .chain([root.to_owned()])
        .map(|hierarchy| hierarchy.join(name))
        .filter(|g| g.exists())
        .for_each(|g| remove(&g));
}

/// The pod network that the server had, as it noted when it started.
fn subnet(place: &Place) -> ipnet::Ipv4Net {
    let noted = std::fs::read_to_string(place.state_dir.join("network").join("pod-subnet")).ok();
    noted.and_then(|text| text.trim().parse().ok()).unwrap_or(NodeConfig::default().pod_subnet)
}

fn chain(error: &dyn std::error::Error) -> String {
    naru_network::chain(error)
}
