//! Taking everything of Naru's off a machine.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    note("control groups".to_owned(), remove_groups(&network::cgroup(place)).await);
    left.extend(naru_network::uninstall(&place.state_dir.join("network"), subnet(place)).await);
    if left.is_empty() { Ok(()) } else { anyhow::bail!("not everything could be removed:\n{}", left.join("\n")) }
}

/// Takes away what is still mounted below a folder, the innermost first.
fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    // The folder itself may be somebody's disk: that stays mounted.
    let own = |target: &PathBuf| target != folder && target.starts_with(folder);
    let mut below: Vec<PathBuf> = targets.filter(own).collect();
    below.sort();
    for target in below.into_iter().rev() {
        let _ = rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH);
    }
}

/// How long a process that was ended may take to leave its control group.
const EMPTY: Duration = Duration::from_secs(10);

/// Removes the emptied control groups, in every tree.
///
/// # Errors
/// When one stays, with its path and the processes that it still holds.
async fn remove_groups(name: &str) -> Result<(), String> {
    let root = Path::new("/sys/fs/cgroup");
    let trees = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let groups = trees.chain([root.to_owned()]).map(|tree| tree.join(name));
    let groups: Vec<PathBuf> = groups.filter(|group| group.exists()).collect();
    let deadline = Instant::now() + EMPTY;
    loop {
        let left: Vec<PathBuf> = groups.iter().flat_map(|group| remove_group(group)).collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let text = |group: &PathBuf| {
                let holds = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                format!(
                    "{} holds processes {}",
                    group.display(),
                    holds.split_whitespace().collect::<Vec<_>>().join(" ")
                )
            };
            return Err(left.iter().map(text).collect::<Vec<_>>().join(", "));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Removes a group with those below it; gives the innermost that stay.
fn remove_group(group: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let left: Vec<PathBuf> = below.flat_map(|entry| remove_group(&entry.path())).collect();
    match fs::remove_dir(group) {
        Err(error) if error.kind() != ErrorKind::NotFound && left.is_empty() => vec![group.to_owned()],
        _ => left,
    }
}

/// The pod network that the server had, as it noted when it started.
fn subnet(place: &Place) -> ipnet::Ipv4Net {
    let noted = fs::read_to_string(place.state_dir.join("network").join("pod-subnet")).ok();
    noted.and_then(|text| text.trim().parse().ok()).unwrap_or(NodeConfig::default().pod_subnet)
}

fn chain(error: &dyn std::error::Error) -> String {
    naru_network::chain(error)
}
