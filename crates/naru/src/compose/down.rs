//! `down`: everything of a project goes; its volumes only when asked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use naru_api::k8s::api::apps::v1::{DaemonSet, Deployment};
use naru_api::k8s::api::batch::v1::Job;
use naru_api::k8s::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service};
use naru_api::naru::names as n;
use naru_client::{Client, DeleteOptions, ListOptions, Propagation, Resource};
use serde_json::Value;

use super::container::{Container, containers, pods};
use super::project::Target;

/// How long beyond the grace everything may take to go.
const SLACK: Duration = Duration::from_secs(60);

/// The kinds that run a service.
pub(crate) fn workloads() -> Vec<Resource> {
    vec![Resource::of::<Deployment>(), Resource::of::<DaemonSet>(), Resource::of::<Job>()]
}

/// What goes besides the containers.
pub(crate) struct Also<'a> {
    pub volumes: bool,
    /// `all` or `local`.
    pub images: Option<&'a str>,
    /// Seconds of grace.
    pub grace: Option<u32>,
}

/// `naru down`: of `services`, or of everything.
pub(crate) async fn down(client: &Client, target: &Target, services: &[String], also: &Also<'_>) -> anyhow::Result<()> {
    let namespaces = client.dynamic(Resource::of::<Namespace>(), None);
    let namespace = namespaces.get_opt(&target.namespace).await.context("cannot read the project's namespace")?;
    let Some(namespace) = namespace else {
        // Networks belong to the machine, not to the namespace: they outlive `kubectl delete namespace`.
        let networks = networks_of(client, target).await?;
        remove_networks(client, &networks).await?;
        if networks.is_empty() {
            eprintln!("warning: no resource found to remove for project {:?}", target.name);
        }
        return Ok(());
    };
    if namespace["metadata"]["labels"].get(n::PROJECT).is_none() {
        bail!(
            "the namespace {:?} is not a Compose project's: remove it with `kubectl delete namespace {}` if it is meant",
            target.namespace,
            target.namespace
        );
    }
    let found = containers(client, target, services).await?;
    let images: Vec<String> = found.iter().map(|c| c.image.clone()).collect();
    end(client, target, services, &found, also.grace).await?;
    if services.is_empty() {
        if started_again(client, target).await? {
            bail!("the project {:?} was started again meanwhile: the rest of it is left alone", target.name);
        }
        // Asked before the namespace goes: its controller takes the networks along, and people are told of each.
        let networks = networks_of(client, target).await?;
        remove_rest(client, target, also.volumes).await?;
        remove_networks(client, &networks).await?;
    }
    if also.images.is_some() {
        super::images::remove(client, &images, also.images == Some("local"), &target.name).await?;
    }
    Ok(())
}

/// Ends the containers of `services` (all unless given) and waits for their end.
async fn end(
    client: &Client,
    target: &Target,
    services: &[String],
    found: &[Container],
    grace: Option<u32>,
) -> anyhow::Result<()> {
    let background = DeleteOptions::default().propagation(Propagation::Background);
    let which: Vec<ListOptions> = match services.is_empty() {
        true => vec![ListOptions::labels(n::PROJECT)],
        false => {
            let value = naru_compose::translate::label_value;
            services.iter().map(|service| ListOptions::labels(format!("{}={}", n::SERVICE, value(service)))).collect()
        }
    };
    for own in &which {
        for resource in workloads() {
            let kind = resource.kind.clone();
            let all = client.dynamic(resource, Some(&target.namespace));
            all.delete_all(own, &background).await.with_context(|| format!("cannot remove the project's {kind}s"))?;
        }
        if let Some(grace) = grace {
            let options = DeleteOptions::default().grace(grace);
            let pods = client.dynamic(pods(), Some(&target.namespace));
            pods.delete_all(own, &options).await.context("cannot stop the pods")?;
        }
    }
    let slowest = found.iter().filter_map(|c| c.object["spec"]["terminationGracePeriodSeconds"].as_u64()).max();
    let patience = Duration::from_secs(grace.map_or(slowest.unwrap_or(10), u64::from)) + SLACK;
    pods_gone(client, target, services, patience).await?;
    let titles: BTreeSet<&str> = found.iter().map(|c| c.title.as_str()).collect();
    titles.iter().for_each(|title| eprintln!(" Container {title}  Removed"));
    Ok(())
}

/// What the namespace holds besides workloads: everything with its volumes, or all but them.
async fn remove_rest(client: &Client, target: &Target, volumes: bool) -> anyhow::Result<()> {
    let namespaces = client.dynamic(Resource::of::<Namespace>(), None);
    let background = DeleteOptions::default().propagation(Propagation::Background);
    let claims = claim_titles(client, target).await?;
    if volumes || claims.is_empty() {
        // The namespace holds nothing but the project: with its volumes gone, it goes as a whole.
        let data = super::volumes::to_erase(client, target).await?;
        remove_namespace(&namespaces, &target.namespace, &background).await?;
        gone(&namespaces, &target.namespace, SLACK).await?;
        let left = super::volumes::erased(client, target, &data).await?;
        for name in &claims {
            let more = left.get(name).map(|words| format!("; {words}")).unwrap_or_default();
            eprintln!(" Volume {name}  Removed{more}");
        }
        return Ok(());
    }
    for resource in [Resource::of::<Service>(), Resource::of::<ConfigMap>(), Resource::of::<Secret>()] {
        let kind = resource.kind.clone();
        let all = client.dynamic(resource, Some(&target.namespace));
        let removed = all.delete_all(&ListOptions::labels(n::PROJECT), &background).await;
        removed.with_context(|| format!("cannot remove the project's {kind}s"))?;
    }
    Ok(())
}

/// The project's networks.
async fn networks_of(client: &Client, target: &Target) -> anyhow::Result<Vec<Value>> {
    let networks = client.dynamic(Resource::of::<naru_api::naru::Network>(), None);
    let own = ListOptions::labels(format!("{}={}", n::PROJECT, naru_compose::translate::label_value(&target.name)));
    Ok(networks.list(&own).await.context("cannot list the project's networks")?.items)
}

/// Removes networks, and says so of each.
async fn remove_networks(client: &Client, found: &[Value]) -> anyhow::Result<()> {
    let networks = client.dynamic(Resource::of::<naru_api::naru::Network>(), None);
    for network in found {
        let name = network["metadata"]["name"].as_str().unwrap_or_default();
        match networks.delete(name, &DeleteOptions::default().propagation(Propagation::Background)).await {
            // Another `down` was faster: the wish is fulfilled.
            Err(error) if !error.is_not_found() => {
                return Err(error).with_context(|| format!("cannot remove the network {name}"));
            }
            _ => eprintln!(" Network {}  Removed", network["spec"]["title"].as_str().unwrap_or(name)),
        }
    }
    Ok(())
}

/// Whether somebody made workloads while this one waited for the old ones to end.
async fn started_again(client: &Client, target: &Target) -> anyhow::Result<bool> {
    for resource in workloads() {
        let list = client.dynamic(resource, Some(&target.namespace)).list(&ListOptions::labels(n::PROJECT)).await?;
        if list.items.iter().any(|workload| workload["metadata"].get("deletionTimestamp").is_none()) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn remove_namespace(
    namespaces: &naru_client::DynamicApi,
    name: &str,
    options: &DeleteOptions,
) -> anyhow::Result<()> {
    match namespaces.delete(name, options).await {
        Err(error) if !error.is_not_found() => Err(error).context("cannot remove the project's namespace"),
        _ => Ok(()),
    }
}

pub(crate) async fn claim_titles(client: &Client, target: &Target) -> anyhow::Result<Vec<String>> {
    let claims = client.dynamic(Resource::of::<PersistentVolumeClaim>(), Some(&target.namespace));
    let list = claims.list(&ListOptions::default()).await.context("cannot list the project's volumes")?;
    let title = |claim: &serde_json::Value| {
        let meta = &claim["metadata"];
        meta["annotations"][n::TITLE].as_str().or(meta["name"].as_str()).unwrap_or_default().to_owned()
    };
    Ok(list.items.iter().map(title).collect())
}

async fn pods_gone(client: &Client, target: &Target, services: &[String], patience: Duration) -> anyhow::Result<()> {
    let mut world = super::progress::World::follow(client, &target.name, &target.namespace);
    world.synced().await?;
    let deadline = Instant::now() + patience;
    loop {
        let mut left = world.containers();
        left.retain(|c| services.is_empty() || services.contains(&c.service));
        if left.is_empty() {
            return Ok(());
        }
        let time = deadline.saturating_duration_since(Instant::now());
        if time.is_zero() {
            let names: Vec<&str> = left.iter().map(|c| c.title.as_str()).collect();
            bail!("these do not end: {}; `naru doctor` and the server's log say more", names.join(", "));
        }
        world.tick(time).await?;
    }
}

async fn gone(api: &naru_client::DynamicApi, name: &str, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    while let Some(left) = api.get_opt(name).await? {
        if Instant::now() > deadline {
            bail!("{name} does not go: {}", left["status"]["conditions"]);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
