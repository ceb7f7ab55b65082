//! `ps`, `ls`, `port`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use naru_api::k8s::api::core::v1::Node;
use naru_api::naru::names as n;
use naru_client::{Client, ListOptions, Resource};
use serde_json::{Value, json};

use super::container::{self, Container, State, pods};
use super::project::Target;
use crate::output::Table;

/// How `ps` shows.
pub(crate) struct Show {
    pub all: bool,
    pub quiet: bool,
    pub services_only: bool,
    pub format: String,
    /// Only containers in these states; all unless given.
    pub states: Vec<String>,
    pub no_trunc: bool,
}

/// The states that `--status` and `--filter status=…` name.
pub(crate) fn states(mut named: Vec<String>, filters: &[String]) -> anyhow::Result<Vec<String>> {
    for filter in filters {
        match filter.split_once('=') {
            Some(("status", state)) => named.push(state.to_owned()),
            _ => bail!("--filter {filter}: only status=STATE is known here"),
        }
    }
    Ok(named)
}

/// So much of a status is shown in a table.
const STATUS_WIDTH: usize = 100;

/// The containers that `ps` shows.
async fn shown(client: &Client, target: &Target, services: &[String], show: &Show) -> anyhow::Result<Vec<Container>> {
    let mut found = container::with_evicted(client, target, services).await?;
    if !show.states.is_empty() {
        found.retain(|c| show.states.iter().any(|state| state == c.word()));
    } else if !show.all {
        found.retain(|c| c.is_running() || matches!(c.state, State::Waiting(..)));
    }
    Ok(found)
}

/// `naru ps`.
pub(crate) async fn containers(
    client: &Client,
    target: &Target,
    services: &[String],
    show: &Show,
) -> anyhow::Result<()> {
    let found = shown(client, target, services, show).await?;
    let published = published(client, &target.namespace).await?;
    if show.quiet {
        found.iter().for_each(|c| println!("{}", c.pod));
        return Ok(());
    }
    if show.services_only {
        let mut names: Vec<&str> = found.iter().map(|c| c.service.as_str()).collect();
        names.dedup();
        names.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let ports = |container: &Container| published.get(&container.service).cloned().unwrap_or_default();
    if show.format == "json" {
        for c in &found {
            let code = match c.state {
                State::Exited(code, ..) => code,
                _ => 0,
            };
            let row = json!({
                "ID": c.object["metadata"]["uid"], "Name": c.title, "Names": c.title, "Service": c.service, "Project": target.name,
                "Image": c.image, "State": c.word(), "Status": c.status(), "Health": c.health, "ExitCode": code,
                "Pod": c.pod, "Node": c.object["spec"]["nodeName"], "RestartCount": c.restarts, "CreatedAt": c.object["metadata"]["creationTimestamp"],
                "RunningFor": c.age(), "Command": c.command(), "Labels": c.labels(), "Reason": c.trouble,
                "Ports": ports(c).iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                "Publishers": ports(c).iter().map(Published::to_json).collect::<Vec<_>>(),
            });
            println!("{row}");
        }
        return Ok(());
    }
    let several = several_nodes(client).await;
    let mut table = match several {
        true => Table::new(&["NAME", "IMAGE", "SERVICE", "NODE", "STATUS", "PORTS"]),
        false => Table::new(&["NAME", "IMAGE", "SERVICE", "STATUS", "PORTS"]),
    };
    for c in &found {
        let published = ports(c);
        let mut ports: Vec<String> = published.iter().map(ToString::to_string).collect();
        let open = c.object["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|spec| spec["name"] == c.name.as_str());
        for port in open.flat_map(|spec| spec["ports"].as_array().into_iter().flatten()) {
            let (number, protocol) =
                (port["containerPort"].as_i64().unwrap_or(0), port["protocol"].as_str().unwrap_or("TCP"));
            if !published.iter().any(|p| p.port == number) {
                ports.push(format!("{number}/{}", protocol.to_lowercase()));
            }
        }
        let ports = ports.join(", ");
        let mut status = c.status();
        if !show.no_trunc && status.chars().count() > STATUS_WIDTH {
            status = status.chars().take(STATUS_WIDTH - 1).chain(['…']).collect();
        }
        let mut row = vec![c.title.clone(), c.image.clone(), c.service.clone(), status, ports];
        if several {
            row.insert(3, c.object["spec"]["nodeName"].as_str().unwrap_or("-").to_owned());
        }
        table.row(row);
    }
    table.print();
    Ok(())
}

/// Whether containers may be on different machines: only then is it worth a column where they are.
async fn several_nodes(client: &Client) -> bool {
    let nodes = client.dynamic(Resource::of::<Node>(), None);
    nodes.list(&ListOptions::default()).await.is_ok_and(|list| list.items.len() > 1)
}

/// A published port.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Published {
    pub host_ip: String,
    pub host_port: i64,
    pub port: i64,
    pub protocol: String,
}

impl Published {
    fn to_json(&self) -> Value {
        json!({"URL": self.host_ip, "TargetPort": self.port, "PublishedPort": self.host_port, "Protocol": self.protocol})
    }
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ip = if self.host_ip.contains(':') { format!("[{}]", self.host_ip) } else { self.host_ip.clone() };
        write!(f, "{ip}:{}->{}/{}", self.host_port, self.port, self.protocol)
    }
}

/// The published ports of each service of a namespace.
pub(crate) async fn published(client: &Client, namespace: &str) -> anyhow::Result<BTreeMap<String, Vec<Published>>> {
    let services = client.dynamic(Resource::of::<naru_api::k8s::api::core::v1::Service>(), Some(namespace));
    let list = services.list(&ListOptions::labels(n::SERVICE)).await.context("cannot list the project's services")?;
    let mut found = BTreeMap::new();
    for service in list.items {
        let name = service["metadata"]["labels"][n::SERVICE].as_str().unwrap_or_default().to_owned();
        let note = service["metadata"]["annotations"][n::PORTS].as_str().unwrap_or("[]");
        let chosen: Vec<Value> = serde_json::from_str(note).unwrap_or_default();
        let mut ports: Vec<Published> = chosen
            .iter()
            .map(|port| Published {
                host_ip: Some(port["hostIP"].as_str().unwrap_or_default())
                    .filter(|ip| !ip.is_empty())
                    .unwrap_or("0.0.0.0")
                    .to_owned(),
                host_port: port["hostPort"].as_i64().unwrap_or(0),
                port: port["containerPort"].as_i64().unwrap_or(0),
                protocol: port["protocol"].as_str().unwrap_or("TCP").to_lowercase(),
            })
            .collect();
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            let number = port["port"].as_i64().unwrap_or(0);
            if let Some(node_port) = port["nodePort"].as_i64()
                && !ports.iter().any(|p| p.port == number)
            {
                ports.push(Published {
                    host_ip: "0.0.0.0".to_owned(),
                    host_port: node_port,
                    port: number,
                    protocol: port["protocol"].as_str().unwrap_or("TCP").to_lowercase(),
                });
            }
        }
        found.insert(name, ports);
    }
    Ok(found)
}

/// `naru port`.
pub(crate) async fn port(
    client: &Client,
    target: &Target,
    service: &str,
    private: u16,
    protocol: &str,
) -> anyhow::Result<()> {
    let published = published(client, &target.namespace).await?;
    let Some(ports) = published.get(service) else { bail!("no such service: {service}") };
    match ports.iter().find(|p| p.port == i64::from(private) && p.protocol == protocol) {
        Some(port) => println!("{}:{}", port.host_ip, port.host_port),
        None => bail!("service {service:?} publishes no {private}/{protocol}"),
    }
    Ok(())
}

/// `naru ls`.
pub(crate) async fn projects(
    client: &Client,
    all: bool,
    quiet: bool,
    format: &str,
    filters: &[String],
) -> anyhow::Result<()> {
    let parts = filters.iter().map(|filter| match filter.split_once('=') {
        Some(("name", part)) => Ok(part),
        _ => bail!("--filter {filter}: only name=TEXT is known here"),
    });
    let parts: Vec<&str> = parts.collect::<Result<_, _>>()?;
    let namespaces = client.dynamic(Resource::of::<naru_api::k8s::api::core::v1::Namespace>(), None);
    let namespaces = namespaces.list(&ListOptions::labels(n::PROJECT)).await.context("cannot list namespaces")?;
    let everywhere = client.dynamic(pods(), None);
    let every_pod = everywhere.list(&ListOptions::labels(n::PROJECT)).await.context("cannot list pods")?;
    let mut rows = Vec::new();
    for namespace in &namespaces.items {
        let name = namespace["metadata"]["labels"][n::PROJECT].as_str().unwrap_or_default();
        if !parts.is_empty() && !parts.iter().any(|part| name.contains(part)) {
            continue;
        }
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for pod in every_pod.items.iter().filter(|p| p["metadata"]["namespace"] == namespace["metadata"]["name"]) {
            for container in container::of_pod(name, pod) {
                *counts.entry(container.word()).or_default() += 1;
            }
        }
        let running = counts.get("running").is_some_and(|count| *count > 0);
        if running || all {
            let status = counts.iter().map(|(word, count)| format!("{word}({count})")).collect::<Vec<_>>().join(", ");
            let folder = namespace["metadata"]["annotations"]["naru.io/config-files"].as_str().unwrap_or_default();
            rows.push((name.to_owned(), status, folder.to_owned()));
        }
    }
    if quiet {
        rows.iter().for_each(|(name, ..)| println!("{name}"));
    } else if format == "json" {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, status, files)| json!({"Name": name, "Status": status, "ConfigFiles": files}))
            .collect();
        println!("{}", Value::from(rows));
    } else {
        let mut table = Table::new(&["NAME", "STATUS", "CONFIG FILES"]);
        rows.into_iter().for_each(|(name, status, files)| table.row(vec![name, status, files]));
        table.print();
    }
    Ok(())
}
