//! One container's configuration.

use std::{collections::BTreeMap, path::PathBuf};

use naru_api::k8s::api::core::v1::{Container, Pod};
use naru_runtime::{
    image::{ImageConfig, Rootfs},
    pod::{
        ContainerConfig, ContainerName, Devices, Join, LogConfig, Mount, MountSource, Overlay, Propagation, Stop,
        TerminalSize,
    },
};

use super::{Extras, Facts, Lookup, Paths, TranslateError, args, env, oom_score_adj, resources, security};

/// What a container's configuration is made from.
pub struct ContainerInput<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container, or an ephemeral one in its form.
    pub container: &'a Container,
    /// The container whose processes an ephemeral one sees.
    pub target: Option<&'a str>,
    /// How many times it was started before.
    pub attempt: u32,
    /// The image's defaults.
    pub image: &'a ImageConfig,
    /// The image's layers.
    pub rootfs: &'a Rootfs,
    /// What only the node knows.
    pub facts: &'a Facts,
    /// Objects that the environment names.
    pub lookup: &'a Lookup,
    /// Variables of the namespace's services.
    pub services: &'a BTreeMap<String, String>,
    /// The pod's folders.
    pub paths: &'a Paths,
    /// The host name that the pod sees.
    pub hostname: &'a str,
    /// The mounts of its volumes, in order.
    pub mounts: Vec<Mount>,
}

/// The variables that the spec sets, to which mounts and arguments may refer.
///
/// # Errors
/// When something they come from does not exist.
pub fn variables(input: &ContainerInput<'_>) -> Result<BTreeMap<String, String>, TranslateError> {
    let own = env::environment(input.pod, input.container, input.facts, input.lookup, input.services)?;
    Ok(own.into_values())
}

/// The configuration.
///
/// # Errors
/// When something it names does not exist or a value cannot be used.
pub fn container(input: ContainerInput<'_>) -> Result<ContainerConfig, TranslateError> {
    let ContainerInput { pod, container, paths, attempt, image, .. } = input;
    let extras = Extras::of(pod)?;
    let name = ContainerName::new(container.name.as_str())
        .map_err(|error| TranslateError::invalid("containers[].name", container.name.clone(), error.to_string()))?;
    let own = env::environment(pod, container, input.facts, input.lookup, input.services)?;
    let args = args::args(container, image, |name| own.get(name))?;
    let layer = paths.layer(&container.name, (!extras.keep_layer).then_some(attempt));
    let root = Overlay { lower: input.rootfs.lower.clone(), upper: layer.join("upper"), work: layer.join("work") };
    let mut config = ContainerConfig::new(name, attempt, root, args);
    config.env = environment(image, input.hostname, &own);
    config.cwd = workdir(container, image);
    config.user = security::run_as(pod, container, image, &extras);
    config.policy = security::policy(pod, container, &extras)?;
    config.readonly_root =
        container.security_context.as_ref().and_then(|own| own.read_only_root_filesystem) == Some(true);
    config.resources = resources::container(container, &extras)?;
    config.devices = Devices { host: false, list: extras.devices.clone(), rules: extras.device_rules() };
    let spec = pod.spec.as_ref();
    let score = spec.map(|spec| oom_score_adj(spec, container, input.facts.memory));
    // A Compose service without limits is no more expendable than any other process of the host.
    config.oom_score_adj = extras.oom_score_adj.or(if extras.compose { Some(0) } else { score });
    let terminal = container.tty == Some(true) || extras.tty;
    config.terminal = terminal.then(TerminalSize::default);
    config.stdin = container.stdin == Some(true);
    config.stdin_once = container.stdin_once == Some(true);
    let logging = extras.logging;
    let path = paths.log(&container.name, attempt);
    config.log = Some(LogConfig { path, max_size: logging.max_size, max_files: logging.max_files });
    config.init = extras.init;
    let grace = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    config.stop = Stop { signal: stop_signal(pod, container, Some(image)), grace: u32::try_from(grace).unwrap_or(0) };
    if let Some(target) = input.target
        && let Ok(target) = ContainerName::new(target)
    {
        config.join = Join::Container(target);
    }
    config.mounts = etc_mounts(container, paths, attempt, &input.mounts);
    config.mounts.extend(input.mounts);
    security::open_up(&mut config, container.security_context.as_ref());
    Ok(config)
}

/// The image's variables, then the node's, then the spec's.
fn environment(image: &ImageConfig, hostname: &str, own: &env::Environment) -> Vec<String> {
    let mut all = env::Environment::default();
    all.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    all.set("HOSTNAME", hostname.to_owned());
    all.extend_lines(&image.env);
    all.extend_lines(&own.lines());
    all.lines()
}

fn workdir(container: &Container, image: &ImageConfig) -> PathBuf {
    let chosen = container.working_dir.as_ref().filter(|path| !path.is_empty());
    chosen.cloned().unwrap_or_else(|| image.workdir.clone()).into()
}

/// Host table, resolver, host name and last words, except where a volume of the pod's own covers them.
fn etc_mounts(container: &Container, paths: &Paths, attempt: u32, volumes: &[Mount]) -> Vec<Mount> {
    let words = container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".to_owned());
    let etc = paths.etc();
    let files = [
        ("/etc/hosts".to_owned(), etc.join("hosts")),
        ("/etc/resolv.conf".to_owned(), etc.join("resolv.conf")),
        ("/etc/hostname".to_owned(), etc.join("hostname")),
        (words, paths.termination_log(&container.name, attempt)),
    ];
    let free = files.into_iter().filter(|(target, _)| !volumes.iter().any(|volume| volume.target == *target));
    free.map(|(target, path)| Mount {
        target: target.into(),
        source: MountSource::Bind { path, subpath: None, propagation: Propagation::Private },
        read_only: false,
        noexec: false,
    })
    .collect()
}

/// The signal that asks a container to stop: the annotation, the container's lifecycle, the image, else TERM.
#[must_use]
pub fn stop_signal(pod: &Pod, container: &Container, image: Option<&ImageConfig>) -> i32 {
    let note = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(naru_api::naru::names::STOP_SIGNAL));
    let own = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_ref());
    let image = image.and_then(|image| image.stop_signal.as_ref());
    own.or(note).or(image).and_then(|name| signal(name)).unwrap_or(15)
}

/// A signal by name (with or without `SIG`), number, or as an offset from the real-time ones.
#[must_use]
pub fn signal(name: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = name.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let word = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = word.strip_prefix("RTMIN+") {
        return offset.parse::<i32>().ok().map(|offset| 34 + offset).filter(|number| *number <= 64);
    }
    if let Some(offset) = word.strip_prefix("RTMAX-") {
        return offset.parse::<i32>().ok().map(|offset| 64 - offset).filter(|number| *number >= 34);
    }
    match word {
        "RTMIN" => Some(34),
        "RTMAX" => Some(64),
        "CLD" => Some(17),
        "POLL" => Some(29),
        "IOT" => Some(6),
        _ => NAMES.iter().position(|known| *known == word).and_then(|at| i32::try_from(at + 1).ok()),
    }
}
