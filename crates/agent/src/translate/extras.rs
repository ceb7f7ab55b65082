//! What Compose knows and Kubernetes has no field for: annotations of the pod, for its application containers.

use std::collections::BTreeMap;

use naru_api::{Quantity, k8s::api::core::v1::Pod, naru::names};
use naru_runtime::pod::{DeviceSpec, Resources, Rlimit, Throttle};
use serde::Deserialize;
use serde_json::Value;

use super::TranslateError;

/// Every annotation, parsed once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// Process limits.
    pub ulimits: Vec<Rlimit>,
    /// `user[:group]`, names or numbers of the image's.
    pub user: Option<String>,
    /// Further groups, names or numbers of the image's.
    pub group_add: Vec<String>,
    /// The domain name.
    pub domainname: Option<String>,
    /// The pod has the machine's own host name.
    pub host_uts: bool,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// A small init as the first process.
    pub init: bool,
    /// When logs are rotated.
    pub logging: LogLimits,
    /// Host devices.
    pub devices: Vec<DeviceSpec>,
    /// A terminal.
    pub tty: bool,
    /// The out-of-memory score, when it was asked for.
    pub oom_score_adj: Option<i32>,
    /// A signal's name or number.
    pub stop_signal: Option<String>,
    /// Containers keep their writable layer when they are restarted, as Docker's do.
    pub keep_layer: bool,
    /// The pod belongs to a Compose project.
    pub compose: bool,
    /// Control group values under their Compose names.
    pub cgroup: BTreeMap<String, Value>,
}

/// When a log file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one file; 0 is no limit.
    pub max_size: u64,
    /// Files in all.
    pub max_files: u32,
}

impl Default for LogLimits {
    /// kubelet's: five files of 10 MiB.
    fn default() -> LogLimits {
        LogLimits { max_size: 10 << 20, max_files: 5 }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Limit {
    Both(i64),
    Each { soft: i64, hard: i64 },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Device {
    Text(String),
    Parts { source: String, target: Option<String>, permissions: Option<String> },
}

impl Extras {
    /// Reads a pod's annotations.
    ///
    /// # Errors
    /// When a value is not of its documented form.
    pub fn of(pod: &Pod) -> Result<Extras, TranslateError> {
        let none = BTreeMap::new();
        let notes = pod.metadata.annotations.as_ref().unwrap_or(&none);
        let text = |name: &str| notes.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let labels = pod.metadata.labels.as_ref();
        Ok(Extras {
            ulimits: text(names::ULIMITS).map_or(Ok(Vec::new()), ulimits)?,
            user: text(names::USER).map(str::to_owned),
            group_add: text(names::GROUP_ADD).map_or(Ok(Vec::new()), groups)?,
            domainname: text(names::DOMAINNAME).map(str::to_owned),
            host_uts: text(names::UTS) == Some("host"),
            shm_size: text(names::SHM_SIZE).map(|size| bytes(names::SHM_SIZE, size)).transpose()?,
            init: text(names::INIT) == Some("true"),
            logging: text(names::LOGGING).map_or(Ok(LogLimits::default()), logging)?,
            devices: text(names::DEVICES).map_or(Ok(Vec::new()), devices)?,
            tty: text(names::TTY) == Some("true"),
            oom_score_adj: text(names::OOM_SCORE_ADJ)
                .map(|text| text.parse().map_err(|_| invalid(names::OOM_SCORE_ADJ, text, "expected −1000 to 1000")))
                .transpose()?,
            stop_signal: text(names::STOP_SIGNAL).map(str::to_owned),
            keep_layer: notes.contains_key(names::RESTART) || notes.contains_key(names::POWER),
            compose: labels.is_some_and(|labels| labels.contains_key(names::PROJECT)),
            cgroup: text(names::CGROUP).map_or(Ok(BTreeMap::new()), |text| json(names::CGROUP, text))?,
        })
    }

    /// Adds the control group values to a container's limits.
    pub(super) fn apply(&self, resources: &mut Resources) -> Result<(), TranslateError> {
        let number = |key: &str| self.cgroup.get(key).map(|value| size(names::CGROUP, value)).transpose();
        let word = |key: &str| self.cgroup.get(key).and_then(Value::as_str).map(str::to_owned);
        resources.cpu_shares = number("cpu_shares")?.or(resources.cpu_shares);
        resources.cpu_quota_us = number("cpu_quota")?.or(resources.cpu_quota_us);
        resources.cpu_period_us = number("cpu_period")?.or(resources.cpu_period_us);
        resources.cpuset_cpus = word("cpuset").or_else(|| resources.cpuset_cpus.take());
        resources.cpuset_mems = word("cpuset_mems").or_else(|| resources.cpuset_mems.take());
        resources.memory_reservation = number("mem_reservation")?.or(resources.memory_reservation);
        resources.memory_swappiness = number("mem_swappiness")?;
        let unlimited = self.cgroup.get("memswap_limit").and_then(Value::as_i64) == Some(-1);
        let swap = if unlimited { Some(u64::MAX) } else { number("memswap_limit")? };
        resources.memory_swap_limit = swap.or(resources.memory_swap_limit);
        // Docker and Compose write −1 for no limit.
        let pids = self.cgroup.get("pids_limit").or_else(|| self.cgroup.get("pids")).and_then(Value::as_i64);
        resources.pids_limit =
            pids.and_then(|pids| u64::try_from(pids).ok()).filter(|pids| *pids > 0).or(resources.pids_limit);
        let blkio = self.cgroup.get("blkio_config").or_else(|| self.cgroup.get("blkio"));
        if let Some(blkio) = blkio {
            resources.blkio_weight = blkio["weight"].as_u64().and_then(|weight| u16::try_from(weight).ok());
            resources.throttles = throttles(blkio)?;
        }
        Ok(())
    }

    /// Further device rules in the kernel's words.
    #[must_use]
    pub fn device_rules(&self) -> Vec<String> {
        let rules = self.cgroup.get("device_cgroup_rules").and_then(Value::as_array);
        rules.into_iter().flatten().filter_map(|rule| rule.as_str().map(str::to_owned)).collect()
    }
}

fn invalid(name: &'static str, value: impl ToString, problem: &str) -> TranslateError {
    TranslateError::invalid(name, value.to_string(), problem)
}

fn json<T: serde::de::DeserializeOwned>(name: &'static str, text: &str) -> Result<T, TranslateError> {
    serde_json::from_str(text).map_err(|error| invalid(name, text, &format!("not the expected JSON: {error}")))
}

fn ulimits(text: &str) -> Result<Vec<Rlimit>, TranslateError> {
    let limits: BTreeMap<String, Limit> = json(names::ULIMITS, text)?;
    let amount = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let limits = limits.into_iter().map(|(name, limit)| {
        let (soft, hard) = match limit {
            Limit::Both(value) => (value, value),
            Limit::Each { soft, hard } => (soft, hard),
        };
        Rlimit { name, soft: amount(soft), hard: amount(hard) }
    });
    Ok(limits.collect())
}

fn groups(text: &str) -> Result<Vec<String>, TranslateError> {
    let list: Vec<Value> = json(names::GROUP_ADD, text)?;
    let one = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(list.iter().map(one).collect())
}

fn logging(text: &str) -> Result<LogLimits, TranslateError> {
    let options: BTreeMap<String, Value> = json(names::LOGGING, text)?;
    let mut limits = LogLimits::default();
    if let Some(value) = options.get("max-size") {
        // Docker's word for no limit.
        let unlimited = value == "-1" || *value == -1;
        limits.max_size = if unlimited { 0 } else { size(names::LOGGING, value)? };
    }
    if let Some(value) = options.get("max-file") {
        let files = size(names::LOGGING, value)?;
        limits.max_files = u32::try_from(files).unwrap_or(u32::MAX).max(1);
    }
    Ok(limits)
}

fn devices(text: &str) -> Result<Vec<DeviceSpec>, TranslateError> {
    let list: Vec<Device> = json(names::DEVICES, text)?;
    let devices = list.into_iter().map(|device| {
        let (host, inside, access) = match device {
            Device::Parts { source, target, permissions } => {
                (source, target.unwrap_or_default(), permissions.unwrap_or_default())
            }
            Device::Text(text) => {
                let mut parts = text.split(':').map(str::to_owned);
                let host = parts.next().unwrap_or_default();
                match (parts.next(), parts.next()) {
                    (Some(access), None) if !access.starts_with('/') => (host, String::new(), access),
                    (inside, access) => (host, inside.unwrap_or_default(), access.unwrap_or_default()),
                }
            }
        };
        let access = if access.is_empty() { "rwm".to_owned() } else { access };
        DeviceSpec { host_path: host.into(), container_path: inside.into(), access }
    });
    Ok(devices.collect())
}

/// A number, or a size as Docker (`64m`) or Kubernetes (`64Mi`) writes it.
fn size(name: &'static str, value: &Value) -> Result<u64, TranslateError> {
    match value {
        Value::Number(number) => number.as_u64().ok_or_else(|| invalid(name, number, "expected a number from 0")),
        Value::String(text) => bytes(name, text),
        other => Err(invalid(name, other, "expected a number or a size such as 64m")),
    }
}

fn bytes(name: &'static str, text: &str) -> Result<u64, TranslateError> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: Option<u64> = match &lower[digits.len()..] {
        "" | "b" => Some(1),
        "k" | "kb" | "ki" | "kib" => Some(1 << 10),
        "m" | "mb" | "mi" | "mib" => Some(1 << 20),
        "g" | "gb" | "gi" | "gib" => Some(1 << 30),
        "t" | "tb" | "ti" | "tib" => Some(1 << 40),
        _ => None,
    };
    let whole = digits.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    whole
        .or_else(|| Quantity::parse(text).ok().and_then(|quantity| u64::try_from(quantity.value()).ok()))
        .ok_or_else(|| invalid(name, text, "expected a size such as 67108864, 64m or 64Mi"))
}

fn throttles(blkio: &Value) -> Result<Vec<Throttle>, TranslateError> {
    let mut found: BTreeMap<(u32, u32), Throttle> = BTreeMap::new();
    type Set = fn(&mut Throttle, u64);
    let kinds: [(&str, Set); 4] = [
        ("device_read_bps", |throttle, rate| throttle.read_bps = rate),
        ("device_write_bps", |throttle, rate| throttle.write_bps = rate),
        ("device_read_iops", |throttle, rate| throttle.read_iops = rate),
        ("device_write_iops", |throttle, rate| throttle.write_iops = rate),
    ];
    for (key, set) in kinds {
        for entry in blkio[key].as_array().into_iter().flatten() {
            let path = entry["path"].as_str().unwrap_or_default();
            let rate = size(names::CGROUP, &entry["rate"])?;
            let (major, minor) = device_number(path)?;
            set(found.entry((major, minor)).or_insert_with(|| Throttle { major, minor, ..Throttle::default() }), rate);
        }
    }
    Ok(found.into_values().collect())
}

/// The one look at this machine that a translation takes: device numbers have no other source.
fn device_number(path: &str) -> Result<(u32, u32), TranslateError> {
    let stat =
        rustix::fs::stat(path).map_err(|error| invalid(names::CGROUP, path, &format!("no such device: {error}")))?;
    Ok((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
}
