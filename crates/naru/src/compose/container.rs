//! The containers of a project as its users see them, read from Pods.

use anyhow::{Context, bail};
use jiff::Timestamp;
use naru_api::naru::{health, names as n};
use naru_client::{Client, ListOptions, Resource};
use serde_json::Value;

use super::project::Target;

/// One container of a project.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    /// The pod.
    pub pod: String,
    /// The container's name in the pod.
    pub name: String,
    /// The service it belongs to.
    pub service: String,
    /// Its number among the service's, from 1.
    pub number: u32,
    /// `<project>-<service>-<number>`, or the name the user chose.
    pub title: String,
    /// The image it was started from, as its user wrote it.
    pub image: String,
    /// What it is doing.
    pub state: State,
    /// `healthy`, `unhealthy`, `starting`, or empty where nothing is tested.
    pub health: &'static str,
    /// How often it was started again.
    pub restarts: i64,
    /// Which start this is: another start has another one.
    pub attempt: String,
    /// What keeps it from being started, where something is known to.
    pub trouble: Option<String>,
    /// What its health test said, where it was found unhealthy, or was ended for that.
    pub unhealthy: Option<String>,
    /// The pod, as it is.
    pub object: Value,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    /// It was not started yet, with the reason.
    Waiting(String, String),
    /// Its processes run, since then.
    Running(Option<Timestamp>),
    /// Frozen.
    Paused,
    /// It ended: code, reason, when.
    Exited(i64, String, Option<Timestamp>),
    /// It is going away.
    Removing,
}

impl Container {
    /// Whether processes run.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_) | State::Paused)
    }

    /// The words of `docker compose ps`.
    pub fn status(&self) -> String {
        let now = Timestamp::now();
        let since = |at: &Option<Timestamp>| crate::output::ago(at.map_or(0, |at| now.as_second() - at.as_second()));
        match &self.state {
            State::Waiting(reason, _) => match &self.trouble {
                Some(why) => format!("Created ({why})"),
                None if reason.is_empty() => "Created".to_owned(),
                None => format!("Created ({reason})"),
            },
            State::Running(at) if self.health.is_empty() => format!("Up {}", since(at)),
            State::Running(at) if self.health == "starting" => format!("Up {} (health: starting)", since(at)),
            State::Running(at) => format!("Up {} ({})", since(at), self.health),
            State::Paused => "Up (Paused)".to_owned(),
            State::Exited(code, reason, at) => {
                let killed = if reason == "OOMKilled" { ", OOMKilled" } else { "" };
                let evicted = self.evicted().map(|why| format!("; evicted: {why}"));
                let again = || self.trouble.as_ref().map(|why| format!("; not started again: {why}"));
                let again = evicted.or_else(again).unwrap_or_default();
                format!("Exited ({code}{killed}) {} ago{again}", since(at))
            }
            State::Removing => "Removing".to_owned(),
        }
    }

    /// Why its node ended it, where that ran short of something.
    pub fn evicted(&self) -> Option<&str> {
        let status = &self.object["status"];
        (status["reason"] == "Evicted").then(|| status["message"].as_str().unwrap_or_default().trim())
    }

    /// How long ago it was made.
    pub fn age(&self) -> String {
        let made =
            self.object["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let now = Timestamp::now();
        made.map(|at| format!("{} ago", crate::output::ago(now.as_second() - at.as_second()))).unwrap_or_default()
    }

    /// What it was told to run, where the file says so.
    pub fn command(&self) -> String {
        let spec = self.object["spec"]["containers"].as_array().into_iter().flatten().find(|s| s["name"] == self.name);
        let words = |key: &str| -> Vec<String> {
            let list = spec.and_then(|spec| spec[key].as_array()).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        [words("command"), words("args")].concat().join(" ")
    }

    /// Its labels as `docker` writes them.
    pub fn labels(&self) -> String {
        let labels = self.object["metadata"]["labels"].as_object().into_iter().flatten();
        let pairs: Vec<String> =
            labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        pairs.join(",")
    }

    /// The one word of `docker compose ps --format json`.
    pub fn word(&self) -> &'static str {
        match &self.state {
            State::Waiting(..) => "created",
            State::Running(_) => "running",
            State::Paused => "paused",
            State::Exited(..) => "exited",
            State::Removing => "removing",
        }
    }
}

/// The project's containers, or those of some services, by service and number. Not those that were evicted: others are in
/// their place, and they never run again.
///
/// # Errors
/// When the server refuses, or a service has none and is not known either.
pub(crate) async fn containers(
    client: &Client,
    target: &Target,
    services: &[String],
) -> anyhow::Result<Vec<Container>> {
    let mut found = with_evicted(client, target, services).await?;
    found.retain(|container| container.evicted().is_none());
    Ok(found)
}

/// The same with those that were evicted.
///
/// # Errors
/// The same.
pub(crate) async fn with_evicted(
    client: &Client,
    target: &Target,
    services: &[String],
) -> anyhow::Result<Vec<Container>> {
    let pods = client.dynamic(pods(), Some(&target.namespace));
    let list = pods.list(&ListOptions::labels(n::PROJECT)).await.context("cannot list the project's pods")?;
    let mut found: Vec<Container> = list.items.iter().flat_map(|pod| of_pod(&target.name, pod)).collect();
    if found.iter().any(|c| matches!(c.state, State::Waiting(..) | State::Exited(..))) {
        // A listing is worth showing without them, too.
        let warnings = super::trouble::warnings(client, &target.namespace).await.unwrap_or_default();
        found.iter_mut().for_each(|container| container.trouble = warnings.of_container(container));
    }
    found.sort_by(|a, b| (&a.service, a.number, &a.pod).cmp(&(&b.service, b.number, &b.pod)));
    for service in services {
        let known = target.known.contains(service) || found.iter().any(|c| c.service == *service);
        if !known {
            bail!("no such service: {service}");
        }
    }
    if !services.is_empty() {
        found.retain(|container| services.contains(&container.service));
    }
    Ok(found)
}

/// The containers of one pod.
pub(crate) fn of_pod(project: &str, pod: &Value) -> Vec<Container> {
    let meta = &pod["metadata"];
    let label = |key: &str| meta["labels"][key].as_str().unwrap_or_default();
    let note = |key: &str| meta["annotations"][key].as_str().unwrap_or_default();
    let ordinal = Some(label(n::ORDINAL)).filter(|o| !o.is_empty()).unwrap_or(label(n::COMPOSE_NUMBER));
    let number = ordinal.parse().unwrap_or(1);
    let specs = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let statuses = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    specs
        .iter()
        .enumerate()
        .map(|(at, spec)| {
            let name = spec["name"].as_str().unwrap_or_default();
            // The first container is the service's own; others are services that live in its pod.
            let service = if at == 0 { label(n::SERVICE) } else { name };
            let status = statuses.iter().find(|s| s["name"] == name).unwrap_or(&Value::Null);
            let chosen = Some(note(n::CONTAINER_NAME)).filter(|c| !c.is_empty() && at == 0);
            Container {
                pod: meta["name"].as_str().unwrap_or_default().to_owned(),
                name: name.to_owned(),
                service: service.to_owned(),
                number,
                title: chosen.map_or_else(|| format!("{project}-{service}-{number}"), str::to_owned),
                image: super::nodes::unpinned(spec["image"].as_str().unwrap_or_default()).to_owned(),
                state: state(pod, status),
                health: health(pod, spec, status),
                unhealthy: unhealthy(pod, name, status),
                restarts: status["restartCount"].as_i64().unwrap_or(0),
                attempt: status["containerID"].as_str().unwrap_or_default().to_owned(),
                trouble: None,
                object: pod.clone(),
            }
        })
        .collect()
}

fn state(pod: &Value, status: &Value) -> State {
    let at = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if pod["metadata"].get("deletionTimestamp").is_some() {
        return State::Removing;
    }
    let now = &status["state"];
    if let Some(running) = now.get("running") {
        let paused = pod["metadata"]["annotations"][n::POWER] == "paused";
        return if paused { State::Paused } else { State::Running(at(&running["startedAt"])) };
    }
    // One that waits to be started again has ended: that is what its user asks about.
    let ended = now.get("terminated").or_else(|| status["lastState"].get("terminated"));
    if let Some(ended) = ended {
        return State::Exited(
            ended["exitCode"].as_i64().unwrap_or(0),
            text(&ended["reason"]),
            at(&ended["finishedAt"]),
        );
    }
    let reason = text(&now["waiting"]["reason"]);
    let reason = if reason == "ContainerCreating" || reason == "PodInitializing" { String::new() } else { reason };
    State::Waiting(reason, text(&now["waiting"]["message"]))
}

/// What the health test of a running container said that was found unhealthy: its node tells.
fn unhealthy(pod: &Value, name: &str, status: &Value) -> Option<String> {
    status["state"].get("running")?;
    let conditions = pod["status"]["conditions"].as_array()?;
    let told = conditions.iter().find(|c| c["type"] == n::UNHEALTHY && c["status"] == "True")?;
    let mut tests = health::tests(told["message"].as_str()?);
    tests.find(|(known, _)| *known == name).map(|(_, said)| said.to_owned())
}

/// As Docker has it: `starting` until the test passes for the first time or has failed too often, `unhealthy` after that.
fn health(pod: &Value, spec: &Value, status: &Value) -> &'static str {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    // A test that the image names is told by a condition, since it is not in the object's spec.
    let by_image = conditions
        .iter()
        .filter(|c| c["type"] == n::IMAGE_HEALTH)
        .any(|c| c["message"].as_str().unwrap_or_default().split(' ').any(|name| spec["name"] == name));
    let tested = by_image || spec.get("readinessProbe").is_some();
    let Some(running) = status["state"].get("running").filter(|_| tested) else {
        return "";
    };
    if status["ready"] == true {
        return "healthy";
    }
    if unhealthy(pod, spec["name"].as_str().unwrap_or_default(), status).is_some() {
        return "unhealthy";
    }
    let turned = conditions.iter().find(|c| c["type"] == "ContainersReady").map(|c| &c["lastTransitionTime"]);
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    match (turned.and_then(time), time(&running["startedAt"])) {
        (Some(turned), Some(started)) if turned > started && status["started"] == true => "unhealthy",
        _ => "starting",
    }
}

/// The resource of pods.
pub(crate) fn pods() -> Resource {
    Resource::of::<naru_api::k8s::api::core::v1::Pod>()
}

/// One running container of a service.
///
/// # Errors
/// When there is none with that number, or it does not run.
pub(crate) async fn running(client: &Client, target: &Target, service: &str, index: u32) -> anyhow::Result<Container> {
    let found = containers(client, target, &[service.to_owned()]).await?;
    match found.iter().find(|c| c.number == index && c.is_running()).or_else(|| {
        // Without a wish of their own, any running one will do.
        found.iter().find(|c| index == 1 && c.is_running())
    }) {
        Some(container) => Ok(container.clone()),
        None if found.is_empty() => {
            bail!("service {service:?} has no containers: start it with `naru up -d {service}`")
        }
        None => bail!("no running container of service {service:?} has the number {index}; see `naru ps -a`"),
    }
}
