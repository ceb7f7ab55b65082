//! What a cluster role collects from others is written into it.
//!
//! Rights follow from the index alone, in the moment in which a role changes; this is for those who read roles. Refused: a
//! controller, which would need a picture of all roles that is here already.

use std::sync::Arc;
use std::time::Duration;

use naru_api::{Status, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::index::Rules;
use crate::state::Core;
use crate::user::{MASTERS, User};
use crate::verbs::WriteOptions;
use crate::verbs::update::{Part, update};

/// How long to wait after a write that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Brings the rules of collecting roles in step, and keeps them so until `ended`.
pub(crate) async fn write_back(core: &Arc<Core>, ended: &CancellationToken) {
    let (core, ended) = (core.clone(), ended.clone());
    let mut known = core.rbac_revision.subscribe();
    known.borrow_and_update();
    let mut failed = !write_all(&core).await;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                changed = known.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if failed => {}
            }
            known.borrow_and_update();
            failed = !write_all(&core).await;
        }
    });
}

/// Says whether all that was outdated could be written.
async fn write_all(core: &Core) -> bool {
    let outdated = core.rbac.load().outdated().to_vec();
    let mut written = true;
    for (name, rules) in outdated {
        if let Err(error) = write(core, &name, &rules).await {
            tracing::warn!(%error, role = name, "the rules that a role collects cannot be written into it");
            written = false;
        }
    }
    written
}

async fn write(core: &Core, name: &str, rules: &Rules) -> Result<(), Status> {
    let route = core.route("rbac.authorization.k8s.io", "v1", "clusterroles")?;
    let change = |role: &Value| {
        let mut new = role.clone();
        if role.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
            new["rules"] = json!(**rules);
            meta::unset(&mut new, "resourceVersion");
        }
        Ok(new)
    };
    let server = User::new("system:apiserver", &[MASTERS]);
    let options = WriteOptions { manager: "clusterrole-aggregation-controller", ..WriteOptions::default() };
    match update(core, &server, &route, ("", name), Part::Main, &change, options).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}
