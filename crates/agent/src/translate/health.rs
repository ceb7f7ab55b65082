//! The health test that an image brings along, as probes.
//!
//! The same reading as that of a service's own `healthcheck`: the start probe carries the start period and asks often,
//! so that a container counts as healthy soon after it is; then one test decides readiness and, after its retries, the
//! restart.

use std::{sync::Arc, time::Duration};

use naru_api::{
    k8s::api::core::v1::{Container, ExecAction, Pod, Probe},
    naru::names,
};
use naru_runtime::image::{Healthcheck, ImageConfig};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
/// How often a start is looked at when nothing says how often.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// The pod with the probes of its images' health tests, and the names of the containers that got them: those of a
/// Compose project without a probe of their own, unless the project wants none.
#[must_use]
pub fn with_image_health<'a>(
    pod: &Arc<Pod>,
    image: impl Fn(&str) -> Option<&'a ImageConfig>,
) -> (Arc<Pod>, Vec<String>) {
    let compose = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(names::PROJECT));
    let off = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(names::NO_HEALTHCHECK));
    let Some(spec) = pod.spec.as_ref().filter(|_| compose && off.is_none_or(|off| off != "true")) else {
        return (pod.clone(), Vec::new());
    };
    let mut added = Vec::new();
    for (at, container) in spec.containers.iter().enumerate().filter(|(_, container)| !is_probed(container)) {
        let config = image(&container.name);
        if let Some((config, check)) = config.and_then(|config| Some((config, config.healthcheck.as_ref()?)))
            && let Some(command) = command(check, config)
        {
            added.push((at, probes(check, &command)));
        }
    }
    if added.is_empty() {
        return (pod.clone(), Vec::new());
    }
    let mut probed = Pod::clone(pod);
    let mut names = Vec::new();
    for (at, (startup, running)) in added {
        if let Some(container) = probed.spec.as_mut().and_then(|spec| spec.containers.get_mut(at)) {
            container.startup_probe = Some(startup);
            container.readiness_probe = Some(running.clone());
            container.liveness_probe = Some(running);
            names.push(container.name.clone());
        }
    }
    (Arc::new(probed), names)
}

fn is_probed(container: &Container) -> bool {
    container.startup_probe.is_some() || container.readiness_probe.is_some() || container.liveness_probe.is_some()
}

/// For the start, and for the time after.
fn probes(check: &Healthcheck, command: &[String]) -> (Probe, Probe) {
    let span = |given: Option<Duration>, otherwise| given.filter(|span| !span.is_zero()).unwrap_or(otherwise);
    // Whole seconds, upwards: a probe knows no finer time.
    let seconds = |span: Duration| i32::try_from(span.as_millis().div_ceil(1000)).unwrap_or(i32::MAX).max(1);
    let interval = span(check.interval, INTERVAL);
    let retries = i32::try_from(check.retries.filter(|count| *count > 0).unwrap_or(RETRIES)).unwrap_or(i32::MAX);
    let early = seconds(span(check.start_interval, interval.min(START_INTERVAL)));
    let grace = check.start_period.filter(|span| !span.is_zero()).map_or(0, seconds);
    let patience = grace.saturating_add(retries.saturating_mul(seconds(interval)));
    let probe = |period: i32, failures: i32| Probe {
        exec: Some(ExecAction { command: Some(command.to_vec()) }),
        period_seconds: Some(period),
        timeout_seconds: Some(seconds(span(check.timeout, TIMEOUT))),
        failure_threshold: Some(failures.max(1)),
        success_threshold: Some(1),
        ..Probe::default()
    };
    let failures = patience.saturating_add(early - 1) / early;
    (probe(early, failures), probe(seconds(interval), retries))
}

/// The words of the test; `None` when there is none.
fn command(check: &Healthcheck, image: &ImageConfig) -> Option<Vec<String>> {
    let (first, rest) = check.test.split_first()?;
    match first.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" => {
            let shell =
                if image.shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { image.shell.clone() };
            Some(shell.into_iter().chain(rest.iter().cloned()).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(labels: serde_json::Value, annotations: serde_json::Value, container: serde_json::Value) -> Arc<Pod> {
        let mut container = container;
        container["name"] = json!("c");
        let object = json!({"metadata": {"name": "p", "labels": labels, "annotations": annotations},
            "spec": {"containers": [container]}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn image(test: &[&str]) -> ImageConfig {
        let test = test.iter().map(|&word| word.to_owned()).collect();
        let check = Healthcheck {
            test,
            interval: Some(Duration::from_millis(1500)),
            start_period: Some(Duration::from_secs(5)),
            retries: Some(2),
            ..Healthcheck::default()
        };
        ImageConfig { healthcheck: Some(check), ..ImageConfig::default() }
    }

    #[test]
    fn a_compose_container_without_probes_gets_those_of_its_image() {
        let image = image(&["CMD-SHELL", "true"]);
        let labels = json!({"naru.io/project": "shop"});
        let (probed, names) = with_image_health(&pod(labels, json!({}), json!({})), |_| Some(&image));
        assert_eq!(names, ["c"]);
        let container = &probed.spec.as_ref().unwrap().containers[0];
        let startup = container.startup_probe.as_ref().unwrap();
        // 5 s and twice 2 s of patience, looked at every second.
        assert_eq!((startup.period_seconds, startup.failure_threshold), (Some(1), Some(9)));
        let running = container.readiness_probe.as_ref().unwrap();
        assert_eq!((running.period_seconds, running.failure_threshold), (Some(2), Some(2)));
        assert_eq!((container.liveness_probe.as_ref(), running.timeout_seconds), (Some(running), Some(30)));
        let words = running.exec.as_ref().unwrap().command.clone().unwrap();
        assert_eq!(words, ["/bin/sh", "-c", "true"]);
    }

    #[test]
    fn others_keep_what_they_have() {
        let tested = image(&["CMD", "/check"]);
        let untested = image(&["NONE"]);
        let compose = json!({"naru.io/project": "shop"});
        for (labels, notes, container, image) in [
            (json!({}), json!({}), json!({}), &tested),
            (compose.clone(), json!({"naru.io/no-healthcheck": "true"}), json!({}), &tested),
            (compose.clone(), json!({}), json!({"livenessProbe": {"tcpSocket": {"port": 1}}}), &tested),
            (compose, json!({}), json!({}), &untested),
        ] {
            let before = pod(labels, notes, container);
            let (after, names) = with_image_health(&before, |_| Some(image));
            assert!(Arc::ptr_eq(&before, &after) && names.is_empty(), "{before:?}");
        }
    }
}
