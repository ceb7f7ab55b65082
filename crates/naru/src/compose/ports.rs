//! Published ports that somebody has: asked before anything is changed, and answered with who has them.

use std::net::IpAddr;

use anyhow::{Context, bail};
use naru_api::k8s::api::core::v1::Service;
use naru_api::naru::names as n;
use naru_client::{Client, ListOptions, Resource};
use naru_network::model::Protocol;
use serde_json::Value;

use super::project::Project;

/// Fails when something that the project only refers to is not there.
///
/// # Errors
/// Names it, and how it comes to be.
pub(crate) async fn externals(client: &Client, project: &Project) -> anyhow::Result<()> {
    let own = &project.loaded.project;
    let networks = client.dynamic(Resource::of::<naru_api::naru::Network>(), None);
    for (key, network) in own.networks.iter().filter(|(_, network)| network.external) {
        let object = naru_compose::translate::object_name(&network.name);
        if networks.get_opt(&object).await.context("cannot look for the project's external networks")?.is_none() {
            bail!(
                "networks.{key}: the external network {:?} is not there: start the project that makes it first (its \
                 `networks:` entry has `name: {}`), or take `external` away",
                network.name,
                network.name
            );
        }
    }
    for (key, volume) in own.volumes.iter().filter(|(_, volume)| volume.external) {
        let claims = Resource::of::<naru_api::k8s::api::core::v1::PersistentVolumeClaim>();
        let object = naru_compose::translate::object_name(&volume.name);
        let here = client.dynamic(claims.clone(), Some(&project.namespace));
        if here.get_opt(&object).await.context("cannot look for the project's external volumes")?.is_some() {
            continue;
        }
        let all = client.dynamic(claims, None).list(&ListOptions::default()).await.context("cannot list volumes")?;
        let title = |claim: &&Value| claim["metadata"]["annotations"][n::TITLE] == volume.name.as_str();
        match all.items.iter().find(title).and_then(|claim| claim["metadata"]["namespace"].as_str()) {
            Some(owner) => bail!(
                "volumes.{key}: the volume {:?} belongs to the project {owner}, and a volume belongs to one project here: \
                 move the services that share it into one project, or mount a folder of the machine in both",
                volume.name
            ),
            None => bail!(
                "volumes.{key}: the external volume {:?} is not there: take `external` away and it is made, or make it \
                 with kubectl as the PersistentVolumeClaim {object} in the namespace {}",
                volume.name,
                project.namespace
            ),
        }
    }
    Ok(())
}

/// A port that a project wants.
struct Wanted<'a> {
    service: &'a str,
    host: Option<IpAddr>,
    port: u16,
    protocol: Protocol,
}

/// Fails when a published port is another project's or another program's.
///
/// # Errors
/// Names the port, the service that wants it, and who has it.
pub(crate) async fn free(client: &Client, project: &Project) -> anyhow::Result<()> {
    let wanted = wanted(project);
    if wanted.is_empty() {
        return Ok(());
    }
    let services = client.dynamic(Resource::of::<Service>(), None);
    let all = services.list(&ListOptions::labels(n::PROJECT)).await.context("cannot list services")?.items;
    let (own, others): (Vec<Value>, Vec<Value>) =
        all.into_iter().partition(|service| service["metadata"]["namespace"] == project.namespace.as_str());
    for want in &wanted {
        for other in &others {
            if published(other).any(|(host, port, protocol)| clash(want, host, port, protocol)) {
                let meta = &other["metadata"];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                bail!(
                    "services.{}.ports: port {} is taken by the service {} of the project {}: publish another one, or \
                     stop that project with `naru -p {} down`",
                    want.service,
                    want.port,
                    text(&meta["labels"][n::SERVICE]),
                    text(&meta["labels"][n::PROJECT]),
                    text(&meta["labels"][n::PROJECT]),
                );
            }
        }
        // What this project publishes already is held for it, by the helper among others.
        if own.iter().any(|service| published(service).any(|(host, port, protocol)| clash(want, host, port, protocol)))
        {
            continue;
        }
        let holders = naru_network::port_holders(want.protocol, want.host, want.port, None);
        if let Some(holder) = holders.first() {
            let who = match (&holder.name, holder.pid) {
                (Some(name), Some(pid)) => format!("the process {pid} ({name})"),
                _ => "another process (run as root to see which)".to_owned(),
            };
            let protocol = if want.protocol == Protocol::Udp { "udp" } else { "tcp" };
            bail!(
                "services.{}.ports: port {}/{protocol} is taken by {who}: end it, or publish another port",
                want.service,
                want.port
            );
        }
    }
    Ok(())
}

fn wanted(project: &Project) -> Vec<Wanted<'_>> {
    let services = &project.loaded.project.services;
    let ports = services.iter().flat_map(|(name, service)| service.ports.iter().map(move |port| (name, port)));
    ports
        .filter_map(|(service, port)| {
            let number = port.published.as_deref()?.split('-').next()?.parse().ok()?;
            let host = port.host_ip.as_deref().and_then(|ip| ip.parse().ok());
            let protocol = if port.protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
            Some(Wanted { service, host, port: number, protocol })
        })
        .collect()
}

fn published(service: &Value) -> impl Iterator<Item = (Option<IpAddr>, u16, Protocol)> {
    let note = service["metadata"]["annotations"][n::PORTS].as_str().unwrap_or("[]");
    let ports: Vec<Value> = serde_json::from_str(note).unwrap_or_default();
    ports.into_iter().filter_map(|port| {
        let number = u16::try_from(port["hostPort"].as_u64()?).ok()?;
        let protocol = if port["protocol"] == "UDP" { Protocol::Udp } else { Protocol::Tcp };
        Some((port["hostIP"].as_str().and_then(|ip| ip.parse().ok()), number, protocol))
    })
}

fn clash(want: &Wanted<'_>, host: Option<IpAddr>, port: u16, protocol: Protocol) -> bool {
    let any = |host: Option<IpAddr>| host.is_none_or(|ip| ip.is_unspecified());
    want.port == port && want.protocol == protocol && (any(want.host) || any(host) || want.host == host)
}
