//! `naru join`: this machine becomes a worker, or stays what it is.
//!
//! Everything that can be found out before is: whether it belongs somewhere, whether the server is the one that the token
//! names, whether clock and addresses fit. Only then is anything asked for, and only with the certificate in hand is
//! anything written. What fails after that is taken back.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ipnet::Ipv4Net;
use jiff::Timestamp;
use naru_api::Ranges;
use naru_api::k8s::api::core::v1::Node;
use naru_client::{Client, DeleteOptions, DynamicApi, FailoverTransport, Resource};
use naru_identity::{JoinLine, request_certificate};
use naru_network::peers::{OverlapError, check_overlap, check_second_overlap};
use serde_json::Value;

use super::membership::{Cluster, Membership};
use super::{invitation, labels, process, token};
use crate::cli::{JoinOptions, Place};
use crate::{connect, server};

/// How long a worker that was just started may take until it is ready.
const READY: Duration = Duration::from_secs(60);
/// How long the cluster may take to give the node addresses for its pods, or to say that it has none.
const SUBNET: Duration = Duration::from_secs(10);

/// Runs `naru join`.
pub(crate) async fn join(place: &Place, options: &JoinOptions) -> anyhow::Result<ExitCode> {
    let mut line = JoinLine::parse(&options.token.join(" "))?;
    if !rustix::process::geteuid().is_root() {
        bail!("a node runs containers, which needs root: run `sudo naru join …`");
    }
    belongs_nowhere(place)?;
    let name = options.node_name.clone().map_or_else(server::host_name, Ok)?;
    if !is_name(&name) {
        bail!(
            "{name:?} is no node's name: expected at most 63 lower-case letters, digits, '-' and '.'; give one with --node-name"
        );
    }
    if let Some(address) = options.address.filter(|ip| ip.is_loopback() || ip.is_unspecified() || ip.is_multicast()) {
        bail!("--address {address}: expected an address by which other machines reach this one");
    }
    let labels = labels::of_join(options)?;
    // Those given here are asked beside those of the token: one of them answers.
    for server in options.servers.iter().rev() {
        line.servers.insert(0, token::with_port(server));
    }
    server::folders(place)?;
    let invitation = invitation::open(&line).await?;
    let own: Vec<Ipv4Addr> = server::network::local_addresses();
    let (pod_network, service_network) = invitation::networks(&invitation.about, &own)?;
    check_overlap(pod_network.v4, service_network.v4)
        .and_then(|()| second(&pod_network, &service_network))
        .context("this machine cannot join: the cluster's ranges, chosen when its server began, do not fit it")?;
    let seen = invitation::translated(&invitation.about, &own).filter(|_| options.address.is_none());
    let behind_nat = options.behind_nat.unwrap_or(seen.is_some());
    if behind_nat {
        can_encrypt(seen)?;
    }
    let wish = request_certificate(&format!("system:node:{name}"), &["system:nodes"])?;
    let certificate = invitation.certificate(&name, &wish).await?;
    // The one that answered is asked first from now on.
    line.servers.retain(|server| *server != invitation.server);
    line.servers.insert(0, invitation.server.clone());
    let text = |key: &str| invitation.about[key].as_str().unwrap_or_default().to_owned();
    let membership = Membership {
        cluster: Cluster {
            cluster_id: text("clusterId"),
            node_name: name.clone(),
            servers: line.servers.clone(),
            reported: reported(&invitation.about),
            pod_network,
            service_network,
            signed: Timestamp::now(),
            labels,
            address: options.address,
            behind_nat,
            removed: None,
        },
        authority: invitation.authority.clone(),
        certificate,
        key: wish.key.clone(),
    };
    match settle(place, &membership).await {
        Ok(address) => {
            println!("Node {name} is ready ({address}), of the cluster at {}", invitation.server);
            if behind_nat {
                let seen = seen.map(|seen| format!(" (the server sees {seen})")).unwrap_or_default();
                println!(
                    "Its address is hidden behind a translator{seen}: its ways to other nodes are encrypted and begin here, so \
                     their UDP port for that must be open (51820, unless the server was told another)"
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            take_back(place, &membership).await;
            Err(error.context("this machine did not become a node; what was begun is taken back"))
        }
    }
}

/// Whether the ranges of the second family fit this machine, where there are such.
fn second(pods: &Ranges, services: &Ranges) -> Result<(), OverlapError> {
    // Any block will do: the whole ranges are looked at.
    let block = Ipv4Net::new_assert(pods.v4.network(), pods.v4.prefix_len().max(24));
    match server::network::second_family(pods, services, block) {
        Ok(Some(second)) => check_second_overlap(&second),
        _ => Ok(()),
    }
}

/// Whether this machine can call others by itself, which is what encryption's ends do.
fn can_encrypt(seen: Option<Ipv4Addr>) -> anyhow::Result<()> {
    if naru_network::wireguard::available() {
        return Ok(());
    }
    let seen = seen.map(|seen| format!(" (the server sees {seen})")).unwrap_or_default();
    bail!(
        "this machine's address is hidden behind a translator{seen}, so its ways to other nodes must be encrypted, and it \
         cannot: load the kernel's WireGuard (`modprobe wireguard`), or /dev/net/tun (`modprobe tun`). If others do reach \
         its address: --behind-nat=false"
    )
}

/// Where servers say that they answer.
pub(crate) fn reported(about: &Value) -> Vec<String> {
    about["servers"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A name that objects and DNS can have.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 63 && name.split('.').all(label)
}

fn belongs_nowhere(place: &Place) -> anyhow::Result<()> {
    if let Some(there) = Membership::load(place)? {
        bail!(
            "this machine belongs to the cluster at {} already, as node {}: run `naru leave` first",
            there.cluster.servers.join(", "),
            there.cluster.node_name
        );
    }
    if place.state_dir.join("store").exists() || place.state_dir.join("pki").exists() {
        bail!(
            "this machine is the server of a cluster of its own ({}): `sudo naru uninstall --volumes` removes that with \
             its data; another state folder can be named with NARU_STATE_DIR",
            place.state_dir.display()
        );
    }
    Ok(())
}

/// Writes what makes a member, starts the worker, and waits until the cluster sees it ready; gives its address.
async fn settle(place: &Place, membership: &Membership) -> anyhow::Result<String> {
    let transport = FailoverTransport::new(membership.transports()?);
    let client = Client::new(Arc::new(transport));
    let nodes = client.dynamic(Resource::of::<Node>(), None);
    given_a_subnet(&nodes, &membership.cluster.node_name).await?;
    membership.save(place)?;
    crate::install::refresh_unit(place)?;
    connect::connect_or_start(place).await?;
    let deadline = Instant::now() + READY;
    loop {
        let node = nodes.get(&membership.cluster.node_name).await.unwrap_or_default();
        let condition = |kind| condition(&node, kind);
        if condition("Ready").is_some_and(|ready| ready["status"] == "True") {
            let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
            let address = addresses.into_iter().find_map(|a| a["address"].as_str()).unwrap_or("no address");
            return Ok(address.to_owned());
        }
        has_network(&node)?;
        if process::running(place).is_none() {
            bail!("the worker ended: {}", connect::what_it_said(place, 0));
        }
        if Instant::now() > deadline {
            bail!("the node is not ready after {} s: see {}", READY.as_secs(), connect::log_of(place));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the cluster has given the node addresses for its pods, before anything is begun here: a worker without any
/// would wait for them for ever. A cluster that takes long is left to the worker to wait for.
async fn given_a_subnet(nodes: &DynamicApi, name: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + SUBNET;
    while Instant::now() < deadline {
        let node = nodes.get(name).await.unwrap_or_default();
        if node["spec"]["podCIDR"].as_str().is_some_and(|subnet| !subnet.is_empty()) {
            break;
        }
        has_network(&node)?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == kind)
}

/// Whether the cluster says that it has no addresses for the node's pods.
fn has_network(node: &Value) -> anyhow::Result<()> {
    match condition(node, "NetworkUnavailable").filter(|network| network["status"] == "True") {
        None => Ok(()),
        Some(network) => {
            bail!("{}", network["message"].as_str().unwrap_or("the cluster has no addresses left for pods"))
        }
    }
}

/// Undoes what a failed join did, as far as it can.
async fn take_back(place: &Place, membership: &Membership) {
    if let Err(error) = process::stop_worker(place).await {
        crate::output::warn(format!("{error:#}"));
    }
    forget_node(membership).await.unwrap_or_else(|error| {
        crate::output::warn(format!("the server still knows the node ({error:#}): `naru node rm` there removes it"));
    });
    let _ = server::remove_everything(place).await;
    let _ = Membership::remove(place);
}

/// Removes the own Node from the cluster.
///
/// # Errors
/// When no server answers.
pub(super) async fn forget_node(membership: &Membership) -> anyhow::Result<()> {
    let client = Client::new(Arc::new(FailoverTransport::new(membership.transports()?)));
    let nodes = client.dynamic(Resource::of::<Node>(), None);
    let options = DeleteOptions::default();
    let deleted = nodes.delete(&membership.cluster.node_name, &options);
    match tokio::time::timeout(Duration::from_secs(15), deleted).await {
        Ok(Ok(_)) => Ok(()),
        // It was removed there first.
        Ok(Err(error)) if error.is_not_found() || error.status().is_some_and(|status| status.code() == 401) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => bail!("no server answered within 15 s"),
    }
}

/// The address by which this machine reaches a server; asked of the routing table, nothing is sent.
pub(crate) fn address_towards(server: &str) -> Option<IpAddr> {
    use std::net::{ToSocketAddrs, UdpSocket};
    let to = server.to_socket_addrs().ok()?.next()?;
    let own: (IpAddr, u16) = if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED.into(), 0) } else { ("::".parse().ok()?, 0) };
    let socket = UdpSocket::bind(own).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}
