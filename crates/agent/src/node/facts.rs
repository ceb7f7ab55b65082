//! What this machine is and has.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{Config, translate::Facts};

/// Facts that do not change while the program runs.
pub(super) struct Machine {
    pub cpus: i64,
    pub memory: i64,
    pub disk: i64,
    pub kernel: String,
    pub os: String,
    pub machine_id: String,
    pub boot_id: String,
    pub system_uuid: String,
}

/// The processor's name as Kubernetes has it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Machine {
    pub(super) fn read(state: &Path) -> Machine {
        let text = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let release = text("/etc/os-release");
        let os = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let machine_id = text("/etc/machine-id");
        let uuid = text("/sys/class/dmi/id/product_uuid");
        Machine {
            cpus: std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1)),
            memory: meminfo("MemTotal"),
            disk: disk(state).0,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            os: os.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned()),
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        }
    }
}

/// A line of `/proc/meminfo` in bytes.
pub(crate) fn meminfo(name: &str) -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: Option<i64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) * 1024
}

/// Total and available bytes of the filesystem below `path`.
pub(super) fn disk(path: &Path) -> (i64, i64) {
    let Ok(stat) = rustix::fs::statvfs(path) else { return (0, 0) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    (bytes(stat.f_blocks), bytes(stat.f_bavail))
}

/// The facts that pods can be told.
pub(crate) fn translate_facts(config: &Config) -> Facts {
    let machine = Machine::read(&config.state_dir);
    Facts {
        node_name: config.node_name.clone(),
        host_ips: config.addresses.borrow().clone(),
        pod_ips: Vec::new(),
        cpu_milli: machine.cpus * 1000,
        memory: machine.memory,
    }
}

/// Standard labels and those that the program was told.
pub(crate) fn labels(config: &Config) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}
