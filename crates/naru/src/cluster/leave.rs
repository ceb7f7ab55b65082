//! `naru leave`: this machine stops being a worker, and keeps its images and the data of its volumes.

use std::process::ExitCode;

use anyhow::bail;

use super::membership::Membership;
use super::{join, process};
use crate::cli::{LeaveOptions, Place};

/// Tells the cluster that this machine is a node no more; warns where that does not work.
pub(crate) async fn tell_of_leaving(place: &Place) {
    let told = match Membership::load(place) {
        Ok(Some(membership)) => {
            let told = join::forget_node(&membership).await;
            told.map_err(|error| {
                error.context(format!("`naru node rm --force {}` there does it", membership.cluster.node_name))
            })
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        crate::output::warn(format!("the cluster was not told that this machine is gone: {error:#}"));
    }
}

/// Runs `naru leave`.
pub(crate) async fn leave(place: &Place, options: &LeaveOptions) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("leaving ends containers, which needs root: run `sudo naru leave`");
    }
    let Some(membership) = Membership::load(place)? else {
        if place.state_dir.join("store").exists() {
            bail!("this machine is a server, not a worker: `sudo naru uninstall` removes Naru from it");
        }
        bail!("this machine belongs to no cluster: there is nothing to leave");
    };
    let name = membership.cluster.node_name.clone();
    if !options.yes && !crate::install::confirm(&format!("This ends all containers of node {name}. Are you sure?"))? {
        return Ok(ExitCode::FAILURE);
    }
    // The cluster first: once the node is gone there, its pods are replaced elsewhere.
    let told = join::forget_node(&membership).await;
    if let (Err(error), false) = (&told, options.force) {
        bail!("the cluster cannot be told ({error:#}): with --force this machine leaves all the same");
    }
    crate::install::stop_unit(place)?;
    process::stop_worker(place).await?;
    crate::server::remove_everything(place).await?;
    Membership::remove(place)?;
    crate::install::refresh_unit(place)?;
    // Pods of this node mean nothing any more; images and volumes may.
    for folder in ["agent", "pods", "logs", "network"] {
        let _ = std::fs::remove_dir_all(place.state_dir.join(folder));
    }
    for file in ["node.lock", "helper.log"] {
        let _ = std::fs::remove_file(place.state_dir.join(file));
    }
    let _ = std::fs::remove_dir_all(&place.run_dir);
    match told {
        Ok(()) => println!("Node {name} has left the cluster"),
        Err(_) => println!("Node {name} has left; remove it from the cluster with `naru node rm {name}` on a server"),
    }
    Ok(ExitCode::SUCCESS)
}
