//! When the cluster gives a node other addresses than its pods have.
//!
//! That happens once: a cluster that was restored from before this node joined has given its subnet to another meanwhile.
//! Two nodes with the same addresses would answer for one another, so this one begins anew with its pods.

use std::process::ExitCode;

use anyhow::Context;
use ipnet::Ipv4Net;
use naru_api::View as _;
use naru_api::k8s::api::core::v1::Node;
use naru_client::{Informer, Resource};

use super::Worker;
use crate::cli::Place;
use crate::server::{self, network};

/// Waits until this node's subnet is another than `own`; gives that.
pub(super) async fn changed(worker: &Worker, own: Ipv4Net) -> Ipv4Net {
    let name = worker.membership.lock().cluster.node_name.clone();
    let node = Informer::builder(Resource::of::<Node>(), |json| {
        let given = Node::from_json(json)?.spec.and_then(|spec| spec.pod_cidr);
        Ok(given.and_then(|text| text.parse::<Ipv4Net>().ok()))
    });
    let node = node.fields(&format!("metadata.name={name}")).start(&worker.client);
    let mut changes = node.changed();
    loop {
        if let Some(other) = node.get("", &name).and_then(|node| *node.view).filter(|given| *given != own) {
            return other;
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Ends the pods, whose addresses are another node's, and starts this program again with the new ones.
///
/// # Errors
/// When it cannot be started.
pub(super) async fn begin_anew(place: &Place, own: Ipv4Net, other: Ipv4Net) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    tracing::warn!(%own, %other, "the cluster gives this node other addresses, since its own are another node's by now: its pods begin anew");
    if let Err(error) = server::remove_everything(place).await {
        tracing::warn!(error = format!("{error:#}"), "not everything of the former pods could be removed");
    }
    let path = network::subnet_file(place);
    std::fs::create_dir_all(path.parent().unwrap_or(&place.state_dir)).context("cannot write to the state folder")?;
    std::fs::write(&path, other.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    let program = std::env::current_exe().context("this program's own file is not found")?;
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    Err(error).context("cannot start anew")
}
