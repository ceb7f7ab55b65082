//! What a program leaves behind on a host: compared with what was there before, so that nothing has to be named.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{DEADLINE, Host, eventually_within};

/// Everything on a host that could be left behind, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaks(BTreeSet<String>);

impl Leaks {
    /// What is there now.
    pub fn of(host: &Host) -> Self {
        let mut found = BTreeSet::new();
        found.extend(processes(host));
        found.extend(mounts(host));
        found.extend(groups(host.cgroup()));
        found.extend(links(host));
        found.extend(rules(host));
        // Folders whose entries are each a pod's or a volume's.
        for folder in ["pods", "logs", "volumes", "network"] {
            found.extend(entries(&host.state_dir().join(folder)));
        }
        found.extend(entries(&host.run_dir().join("pods")));
        found.retain(|line| !line.ends_with("/network/helper.json"));
        Self(found)
    }

    /// Waits until everything that came since has gone.
    ///
    /// # Panics
    /// With what is left, when the deadline passes.
    #[track_caller]
    pub fn none_since(host: &Host, before: &Self) {
        eventually_within(DEADLINE, "nothing is left behind", || {
            let now = Self::of(host);
            let left: Vec<&String> = now.0.difference(&before.0).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
        });
    }
}

/// Processes of this host, but for the commands that the test itself runs.
fn processes(host: &Host) -> Vec<String> {
    let folder = host.folder().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let read = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let group = String::from_utf8_lossy(&read("cgroup")).into_owned();
        let ours = arguments.contains(&folder) && arguments.contains(" supervisor");
        // The helper may be started again at any time.
        if ours || (group.contains(host.cgroup()) && !arguments.contains(" helper ")) {
            found.push(format!("process {} {arguments}", process.file_name().to_string_lossy()));
        }
    }
    found
}

/// Mounts below the host's folder, as this process and the server see them.
fn mounts(host: &Host) -> BTreeSet<String> {
    let folder = host.folder().to_string_lossy().into_owned();
    let server = host.server_pid().map(|pid| format!("/proc/{pid}/mountinfo"));
    let tables = ["/proc/self/mountinfo".to_owned()].into_iter().chain(server);
    let texts: Vec<String> = tables.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let points = texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(&folder)).map(|point| format!("mount {point}")).collect()
}

/// Control groups of pods, in every hierarchy; their parents by quality of service stay, as does the supervisors'.
fn groups(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![("/sys/fs/cgroup".into(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let folder: std::path::PathBuf = folder;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let inside = entry.path().to_string_lossy().contains(name);
            let parent = ["besteffort", "burstable", "guaranteed", "supervisors"]
                .iter()
                .any(|class| entry.file_name() == *class);
            if inside && !parent {
                found.push(format!("control group {}", entry.path().display()));
            }
            if inside || depth < 2 {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

fn links(host: &Host) -> Vec<String> {
    let text = host.ip("-o link show").unwrap_or_default();
    text.lines().filter_map(|line| Some(format!("link {}", line.split(": ").nth(1)?.split('@').next()?))).collect()
}

/// Elements of rule sets: addresses of pods that are gone must be in none.
fn rules(host: &Host) -> BTreeSet<String> {
    let output = host.command("nft").args(["-s", "list", "ruleset"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let words = text.split(|c: char| c.is_whitespace() || ",{}".contains(c));
    words.filter(|word| word.starts_with("10.42.")).map(|word| format!("rule about {word}")).collect()
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}
