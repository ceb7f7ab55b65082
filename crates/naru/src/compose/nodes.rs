//! What a project needs to know of several machines: which bytes its images are, and where its files are.
//!
//! Each image is pinned to the digest that its name means now, so that every node runs the same bytes though a tag moves,
//! and services that use files of this machine stay on it. So it is with one node, too: the first `up` after another
//! machine joined changes nothing then, and replaces nothing. Copying those files to other nodes was refused: a bind mount is meant to be written to.

use anyhow::Context;
use naru_client::Client;
use naru_compose::model::{Deploy, Placement, Service};
use serde_json::Value;

use super::images::image_of;
use super::project::Project;
use crate::image::node::{NodeImages, nodes, own};
use crate::output;

/// Paths that every machine has, and that mean the machine.
const EVERYWHERE: [&str; 6] = ["/proc", "/sys", "/dev", "/etc/localtime", "/etc/timezone", "/lib/modules"];

/// Fits a project to a cluster of several nodes.
///
/// # Errors
/// When the server does not say what it has.
pub(crate) async fn settle(client: &Client, project: &mut Project) -> anyhow::Result<()> {
    let several = nodes(client).await?.len() > 1;
    if let Some(own) = own(client).await {
        for (name, service) in &mut project.loaded.project.services {
            if let Some(warning) = keep(name, service, &own).filter(|_| several) {
                output::warn(warning);
            }
        }
    }
    let images = NodeImages::find(client).await?;
    let names: Vec<String> = project.loaded.project.services.keys().cloned().collect();
    for name in names {
        let image = image_of(&project.loaded.project, &name);
        let record = images.anywhere(&image).await.with_context(|| format!("services.{name}.image"))?;
        let pinned = record.and_then(|record| pinned(&image, &record));
        if let (Some(service), Some(pinned)) = (project.loaded.project.services.get_mut(&name), pinned) {
            service.image = Some(pinned);
        }
    }
    Ok(())
}

/// Keeps a service where its files are; says so.
fn keep(name: &str, service: &mut Service, node: &str) -> Option<String> {
    let deploy = service.deploy.as_ref();
    let chosen = |constraint: &String| constraint.starts_with("node.hostname") || constraint.starts_with("node.id");
    let placed = deploy.and_then(|deploy| deploy.placement.as_ref()).is_some_and(|p| p.constraints.iter().any(chosen));
    if placed || deploy.and_then(|deploy| deploy.mode.as_deref()).is_some_and(|mode| mode.starts_with("global")) {
        return None;
    }
    let paths = service.volumes.iter().filter(|mount| mount.kind == "bind").filter_map(|mount| mount.source.as_deref());
    let below =
        |path: &str, base: &str| path == base || path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
    let own: Vec<&str> = paths.filter(|path| !EVERYWHERE.iter().any(|base| below(path, base))).collect();
    if own.is_empty() {
        return None;
    }
    let (verb, files) = (if own.len() == 1 { "is" } else { "are" }, own.join(", "));
    let deploy = service.deploy.get_or_insert_with(Deploy::default);
    let placement = deploy.placement.get_or_insert_with(Placement::default);
    placement.constraints.push(format!("node.hostname=={node}"));
    Some(format!(
        "services.{name}.volumes: {files} {verb} on node {node}, so the service stays there; named volumes, configs \
         and secrets go along to other nodes, and a constraint on node.hostname or `mode: global` says otherwise"
    ))
}

/// An image's name with the digest that it means now; `None` where it has one already.
fn pinned(image: &str, record: &Value) -> Option<String> {
    if image.contains('@') || image.starts_with("sha256:") {
        return None;
    }
    let manifest = record["manifest"].as_str()?;
    let (repository, tag) = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, "latest"),
    };
    // The index of all platforms, where a registry gave one: nodes may differ in their processors.
    let same = |name: &str| name == repository || name.strip_suffix(repository).is_some_and(|rest| rest.ends_with('/'));
    let digests = record["digests"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut known = digests.filter_map(|text| text.split_once('@')).filter(|(name, _)| same(name));
    let digest = known.find(|(_, digest)| *digest != manifest).map_or(manifest, |(_, digest)| digest);
    Some(format!("{repository}:{tag}@{digest}"))
}

/// An image's name as its user wrote it: without the digest that stands behind a tag.
pub(crate) fn unpinned(image: &str) -> &str {
    match image.split_once('@') {
        Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    #[test]
    fn an_image_is_pinned_to_what_its_name_means() {
        let (manifest, index) = (digest("a"), digest("b"));
        let built = json!({"manifest": manifest, "digests": []});
        assert_eq!(pinned("shop-web", &built), Some(format!("shop-web:latest@{manifest}")));
        assert_eq!(pinned("host:5000/web", &built), Some(format!("host:5000/web:latest@{manifest}")));
        assert_eq!(pinned("host:5000/web:2", &built), Some(format!("host:5000/web:2@{manifest}")));
        assert_eq!(pinned(&format!("web@{manifest}"), &built), None);
        let pulled = json!({"manifest": manifest, "digests": [
            format!("docker.io/library/redis@{manifest}"), format!("docker.io/library/redis@{index}"),
            format!("docker.io/other/predis@{}", digest("c"))]});
        assert_eq!(pinned("redis:7", &pulled), Some(format!("redis:7@{index}")));
        assert_eq!(unpinned(&format!("redis:7@{index}")), "redis:7");
        assert_eq!(unpinned(&format!("host:5000/redis@{index}")), format!("host:5000/redis@{index}"));
        assert_eq!(unpinned("redis"), "redis");
    }

    fn service(text: Value) -> Service {
        serde_json::from_value(text).expect("a service")
    }

    #[test]
    fn only_files_of_this_machine_keep_a_service_on_it() {
        let bind = |source: &str| json!({"type": "bind", "source": source, "target": "/x"});
        let mut web =
            service(json!({"volumes": [bind("/srv/a"), bind("/sys/fs"), bind("/srv/b"), bind("/etc/localtime")]}));
        let warning = keep("web", &mut web, "n1").expect("a warning");
        assert!(warning.starts_with("services.web.volumes: /srv/a, /srv/b are on node n1"), "{warning}");
        let constraints = web.deploy.clone().and_then(|deploy| deploy.placement).map(|placement| placement.constraints);
        assert_eq!(constraints, Some(vec!["node.hostname==n1".to_owned()]));
        assert_eq!(keep("web", &mut web, "n1"), None, "it is placed already");
        for free in [
            json!({"volumes": [bind("/proc"), {"type": "volume", "source": "data", "target": "/x"}]}),
            json!({"volumes": [bind("/")], "deploy": {"mode": "global"}}),
            json!({"volumes": [bind("/srv")], "deploy": {"placement": {"constraints": ["node.hostname != n2"]}}}),
        ] {
            let mut free = service(free);
            let before = free.clone();
            assert_eq!(keep("web", &mut free, "n1"), None);
            assert_eq!(free, before);
        }
    }
}
