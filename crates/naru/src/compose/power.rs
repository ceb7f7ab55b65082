//! `stop`, `start`, `restart`, `kill`, `pause`, `unpause`, `rm`.
//!
//! All but `kill` are one annotation on the pods, which their node obeys: the pod stays, with its address and its
//! writable layer, as a stopped container of Docker's does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Method;
use naru_api::naru::names as n;
use naru_client::{Client, DeleteOptions, PatchKind, Propagation, Resource, empty_body};
use serde_json::json;

use super::container::{Container, State, containers, pods};
use super::patience::TELL;
use super::progress::{Goal, World};
use super::project::Target;

/// How long beyond its grace a container may take to stop.
const SLACK: Duration = Duration::from_secs(30);

async fn set(
    client: &Client,
    target: &Target,
    found: &[Container],
    power: &str,
    grace: Option<u32>,
) -> anyhow::Result<()> {
    let pods = client.dynamic(pods(), Some(&target.namespace));
    let mut names: Vec<&str> = found.iter().map(|c| c.pod.as_str()).collect();
    names.dedup();
    for name in names {
        // Null takes away what an earlier call asked for.
        let annotations = json!({n::POWER: power, n::POWER_GRACE: grace.map(|seconds| seconds.to_string())});
        let patch = json!({"metadata": {"annotations": annotations}});
        match pods.patch(name, PatchKind::Merge, &patch).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error).with_context(|| format!("cannot change the pod {name}")),
        }
    }
    Ok(())
}

/// Waits until every container of `found` is as wanted, saying so of each.
async fn until(
    client: &Client,
    target: &Target,
    found: &[Container],
    word: &str,
    deadline: Duration,
    good: impl Fn(&Container) -> bool,
) -> anyhow::Result<()> {
    let mut world = World::follow(client, &target.name, &target.namespace);
    world.synced().await?;
    let begun = Instant::now();
    let end = begun + deadline;
    let mut open: Vec<&Container> = found.iter().collect();
    let mut told = BTreeSet::new();
    loop {
        let now = world.containers();
        open.retain(|wanted| {
            let done = now.iter().find(|c| c.pod == wanted.pod && c.name == wanted.name).is_none_or(&good);
            if done {
                eprintln!(" Container {}  {word}", wanted.title);
            }
            !done
        });
        if open.is_empty() {
            return Ok(());
        }
        let left = end.saturating_duration_since(Instant::now());
        let trouble =
            |wanted: &Container| now.iter().find(|c| c.pod == wanted.pod && c.name == wanted.name)?.trouble.clone();
        if left.is_zero() {
            let names: Vec<String> = open
                .iter()
                .map(|c| trouble(c).map_or_else(|| c.title.clone(), |why| format!("{} ({why})", c.title)))
                .collect();
            bail!("not {} in time: {}", word.to_lowercase(), names.join(", "));
        }
        if begun.elapsed() > TELL {
            for container in &open {
                if let Some(why) = trouble(container).filter(|_| told.insert(&container.title)) {
                    eprintln!(" Container {}  Waiting: {why}", container.title);
                }
            }
        }
        world.tick(left).await?;
    }
}

fn grace_of(found: &[Container], given: Option<u32>) -> Duration {
    let own = found.iter().filter_map(|c| c.object["spec"]["terminationGracePeriodSeconds"].as_u64()).max();
    Duration::from_secs(given.map_or(own.unwrap_or(10), u64::from)) + SLACK
}

/// `naru stop`.
pub(crate) async fn stop(
    client: &Client,
    target: &Target,
    services: &[String],
    grace: Option<u32>,
) -> anyhow::Result<()> {
    let found = containers(client, target, services).await?;
    set(client, target, &found, "stopped", grace).await?;
    until(client, target, &found, "Stopped", grace_of(&found, grace), |c| !c.is_running()).await
}

/// `naru start`; with `ready` it waits until the services are, at most so long.
pub(crate) async fn start(
    client: &Client,
    target: &Target,
    services: &[String],
    ready: Option<Option<Duration>>,
) -> anyhow::Result<()> {
    let found = containers(client, target, services).await?;
    if found.is_empty() {
        bail!("nothing to start: make it with `naru up`");
    }
    let ended: Vec<Container> = found.into_iter().filter(|c| !c.is_running()).collect();
    // A container that ended by itself is started again only by another word than the one it has.
    let word = format!("running@{}", jiff::Timestamp::now().as_millisecond());
    set(client, target, &ended, &word, None).await?;
    let before =
        |c: &Container| ended.iter().find(|old| old.pod == c.pod && old.name == c.name).map(|old| &old.attempt);
    until(client, target, &ended, "Started", SLACK, |c| {
        c.is_running() || (before(c) != Some(&c.attempt) && matches!(c.state, State::Exited(..)))
    })
    .await?;
    let Some(timeout) = ready else { return Ok(()) };
    let started: BTreeSet<String> = ended.iter().map(|c| c.service.clone()).collect();
    let mut world = World::follow(client, &target.name, &target.namespace);
    world.forget(ended.iter().map(|c| c.attempt.clone()).filter(|attempt| !attempt.is_empty()).collect());
    super::progress::until(client, &mut world, &target.namespace, &started, Goal::Ready, timeout).await
}

/// `naru restart`.
pub(crate) async fn restart(
    client: &Client,
    target: &Target,
    services: &[String],
    grace: Option<u32>,
) -> anyhow::Result<()> {
    let found = containers(client, target, services).await?;
    let word = format!("restart@{}", jiff::Timestamp::now().as_millisecond());
    set(client, target, &found, &word, grace).await?;
    let before =
        |c: &Container| found.iter().find(|old| old.pod == c.pod && old.name == c.name).map(|old| &old.attempt);
    until(client, target, &found, "Restarted", grace_of(&found, grace), |c| {
        before(c) != Some(&c.attempt) && (c.is_running() || matches!(c.state, State::Exited(..)))
    })
    .await
}

/// `naru pause`.
pub(crate) async fn pause(client: &Client, target: &Target, services: &[String]) -> anyhow::Result<()> {
    let found = containers(client, target, services).await?;
    set(client, target, &found, "paused", None).await?;
    until(client, target, &found, "Paused", SLACK, |c| c.state == State::Paused || !c.is_running()).await
}

/// `naru unpause`.
pub(crate) async fn unpause(client: &Client, target: &Target, services: &[String]) -> anyhow::Result<()> {
    let found = containers(client, target, services).await?;
    let frozen: Vec<Container> = found.into_iter().filter(|c| c.state == State::Paused).collect();
    set(client, target, &frozen, "running", None).await?;
    until(client, target, &frozen, "Unpaused", SLACK, |c| c.state != State::Paused).await
}

/// `naru kill`.
pub(crate) async fn kill(client: &Client, target: &Target, services: &[String], signal: &str) -> anyhow::Result<()> {
    for container in containers(client, target, services).await?.iter().filter(|c| c.is_running()) {
        let node = container.object["spec"]["nodeName"].as_str().unwrap_or_default();
        let path = format!(
            "/api/v1/nodes/{node}/proxy/signal/{}/{}/{}?signal={signal}",
            target.namespace, container.pod, container.name
        );
        client
            .send(Method::POST, &path, None, empty_body())
            .await
            .with_context(|| format!("cannot send {signal} to {}", container.title))?;
        eprintln!(" Container {}  Killed", container.title);
    }
    Ok(())
}

/// `naru rm`: the services' workloads go once their containers have ended, so that nothing makes them anew.
pub(crate) async fn remove(
    client: &Client,
    target: &Target,
    services: &[String],
    force: bool,
    stop_first: bool,
    volumes: bool,
) -> anyhow::Result<()> {
    if stop_first {
        stop(client, target, services, None).await?;
    }
    let found = containers(client, target, services).await?;
    let running: Vec<&str> = found.iter().filter(|c| c.is_running()).map(|c| c.service.as_str()).collect();
    let mut gone: Vec<&Container> = found.iter().filter(|c| !running.contains(&c.service.as_str())).collect();
    gone.dedup_by(|a, b| a.service == b.service);
    if gone.is_empty() {
        eprintln!("No stopped containers");
        return Ok(());
    }
    if !force {
        let names: Vec<&str> = gone.iter().map(|c| c.service.as_str()).collect();
        if !crate::install::confirm(&format!("Going to remove {}. Are you sure?", names.join(", ")))? {
            return Ok(());
        }
    }
    for container in gone {
        let name = naru_compose::translate::object_name(&container.service);
        for resource in super::down::workloads() {
            let options = DeleteOptions::default().propagation(Propagation::Background);
            match client.dynamic(resource, Some(&target.namespace)).delete(&name, &options).await {
                Err(error) if !error.is_not_found() => return Err(error).context("cannot remove the service"),
                _ => {}
            }
        }
        if volumes {
            remove_anonymous(client, target, &container.service).await?;
        }
        eprintln!(" Container {}  Removed", container.title);
    }
    Ok(())
}

/// Anonymous volumes carry the label of their service; named ones do not.
async fn remove_anonymous(client: &Client, target: &Target, service: &str) -> anyhow::Result<()> {
    let claims = Resource::of::<naru_api::k8s::api::core::v1::PersistentVolumeClaim>();
    let which =
        naru_client::ListOptions::labels(format!("{}={}", n::SERVICE, naru_compose::translate::label_value(service)));
    let claims = client.dynamic(claims, Some(&target.namespace));
    claims.delete_all(&which, &DeleteOptions::default()).await.context("cannot remove the anonymous volumes")
}
