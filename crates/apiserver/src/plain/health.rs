//! Whether the server lives and is ready, check by check, under the names and in the form of Kubernetes.
//!
//! A check asks something that can fail here. Names of hooks that run after the start of a Kubernetes server are kept where
//! this one has something of the kind, since clients leave checks out, or ask for one, by name.

use std::time::Duration;

use http::{Response, StatusCode};
use naru_api::Status;

use crate::aggregate;
use crate::state::Core;
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Check {
    name: &'static str,
    asks: Asks,
    /// Whether a server that fails at it is to be started anew: it belongs to `livez`.
    vital: bool,
}

/// What a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// Whether anybody answers at all.
    Nothing,
    /// Whether the store answers.
    Store,
    /// Whether roles and bindings are followed.
    Roles,
    /// Whether definitions of kinds are followed, and what they define is served.
    Definitions,
    /// Whether further servers are followed.
    Servers,
    /// Whether everything is followed.
    Followers,
    /// Whether the objects of all groups and versions are there.
    Registration,
}

const CHECKS: [Check; 17] = [
    vital("ping", Asks::Nothing),
    vital("log", Asks::Nothing),
    vital("etcd", Asks::Store),
    ready("etcd-readiness", Asks::Store),
    ready("informer-sync", Asks::Followers),
    vital("poststarthook/generic-apiserver-start-informers", Asks::Followers),
    vital("poststarthook/priority-and-fairness-config-consumer", Asks::Nothing),
    vital("poststarthook/start-apiextensions-informers", Asks::Definitions),
    vital("poststarthook/start-apiextensions-controllers", Asks::Definitions),
    vital("poststarthook/crd-informer-synced", Asks::Definitions),
    vital("poststarthook/rbac/bootstrap-roles", Asks::Roles),
    vital("poststarthook/scheduling/bootstrap-system-priority-classes", Asks::Nothing),
    vital("poststarthook/start-kube-aggregator-informers", Asks::Servers),
    vital("poststarthook/apiservice-registration-controller", Asks::Servers),
    vital("poststarthook/apiservice-discovery-controller", Asks::Servers),
    vital("autoregister-completion", Asks::Registration),
    ready("shutdown", Asks::Nothing),
];

/// Names that this server had for the same before.
const OLDER: [(&str, &str); 3] = [
    ("store", "etcd"),
    ("rbac", "poststarthook/rbac/bootstrap-roles"),
    ("definitions", "poststarthook/crd-informer-synced"),
];

const fn vital(name: &'static str, asks: Asks) -> Check {
    Check { name, asks, vital: true }
}

const fn ready(name: &'static str, asks: Asks) -> Check {
    Check { name, asks, vital: false }
}

/// Answers `/livez`, `/readyz` and `/healthz`: `?verbose` lists the checks, `?exclude=` leaves some out, and one is asked by
/// its name.
///
/// # Errors
/// 404 for a name that no check has.
pub(super) async fn answer(
    core: &Core,
    which: &str,
    only: &[&str],
    query: &Query<'_>,
) -> Result<Response<Payload>, Status> {
    let all = CHECKS.iter().filter(|check| check.vital || which == "readyz");
    if !only.is_empty() {
        let name = only.join("/");
        let name = OLDER.iter().find(|(old, _)| *old == name).map_or(name.as_str(), |(_, new)| new);
        let check = all.into_iter().find(|check| check.name == name).ok_or_else(Status::no_such_path)?;
        return Ok(match check.ask(core).await {
            Ok(()) => respond::text(StatusCode::OK, "ok"),
            Err(why) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
        });
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut results = Vec::new();
    for check in all {
        let result = if excluded.contains(&check.name) { None } else { Some(check.ask(core).await) };
        if let Some(Err(why)) = &result {
            tracing::warn!(check = check.name, why, "{which} failed");
        }
        results.push((check.name, result));
    }
    let unknown: Vec<&str> =
        excluded.into_iter().filter(|name| !results.iter().any(|(known, _)| known == name)).collect();
    let healthy = results.iter().all(|(_, result)| !matches!(result, Some(Err(_))));
    let verbose = query.get("verbose").is_some() || query.flag("verbose")?;
    if healthy && !verbose {
        return Ok(respond::text(StatusCode::OK, "ok"));
    }
    let code = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    Ok(respond::text(code, listing(which, &results, &unknown)))
}

/// The checks in words. Why one failed is for the server's log: anybody may ask. Pure.
fn listing(which: &str, results: &[(&str, Option<Result<(), String>>)], unknown: &[&str]) -> String {
    let mut lines: Vec<String> = results
        .iter()
        .map(|(name, result)| match result {
            None => format!("[+]{name} excluded: ok"),
            Some(Ok(())) => format!("[+]{name} ok"),
            Some(Err(_)) => format!("[-]{name} failed: reason withheld"),
        })
        .collect();
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        lines.push(format!("warn: some health checks cannot be excluded: no matches for {}", names.join(",")));
    }
    let failed = results.iter().any(|(_, result)| matches!(result, Some(Err(_))));
    lines.push(format!("{which} check {}\n", if failed { "failed" } else { "passed" }));
    lines.join("\n")
}

// === impl Check ===

impl Check {
    async fn ask(&self, core: &Core) -> Result<(), String> {
        let follows = |is: bool, what: &str| if is { Ok(()) } else { Err(format!("{what} are not read yet")) };
        let roles = || follows(*core.rbac_revision.borrow() > 0, "roles and bindings");
        let definitions = || follows(core.extensions.is_following(), "definitions of kinds");
        let servers = || follows(core.aggregate.is_following(), "further servers");
        match self.asks {
            Asks::Nothing => Ok(()),
            Asks::Store => match tokio::time::timeout(PATIENCE, core.store.confirm()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("the store did not answer within {} s", PATIENCE.as_secs())),
            },
            Asks::Roles => roles(),
            Asks::Definitions => definitions(),
            Asks::Servers => servers(),
            Asks::Followers => roles().and_then(|()| definitions()).and_then(|()| servers()),
            Asks::Registration => match aggregate::unregistered(core).as_slice() {
                [] => Ok(()),
                missing => Err(format!("missing APIService: {missing:?}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_once_and_older_ones_lead_somewhere() {
        let mut names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        assert!(OLDER.iter().all(|(old, new)| names.contains(new) && !names.contains(old)));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHECKS.len());
    }

    #[test]
    fn a_listing_tells_each_check_and_withholds_reasons() {
        let results = [("ping", Some(Ok(()))), ("etcd", Some(Err("secret".to_owned()))), ("log", None)];
        assert_eq!(
            listing("readyz", &results, &["none"]),
            "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"none\"\nreadyz check failed\n"
        );
        assert_eq!(listing("livez", &results[..1], &[]), "[+]ping ok\nlivez check passed\n");
    }
}
