//! Helm: a chart with hooks, a definition of a kind, a lookup and a test, through its whole life.

use std::path::PathBuf;
use std::process::Command;

use naru_testkit::{Output, missing, until};

use crate::Space;
use crate::fetched::{Cost, fetched, go, source, step};

const VERSION: &str = "v3.22.0";

struct Helm {
    space: Space,
    program: PathBuf,
}

impl Helm {
    fn find(namespace: &'static str) -> Option<Helm> {
        if missing(&["go"]) {
            return None;
        }
        let folder = fetched("helm", VERSION, &[], Cost::Much, |folder| {
            step(go().env("GOBIN", folder).args(["install", &format!("helm.sh/helm/v3/cmd/helm@{VERSION}")]))
        })?;
        Some(Helm { space: Space::new(namespace)?, program: folder.join("helm") })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.space.command(&self.program);
        command.args(["--namespace", self.space.name]).args(arguments);
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Output {
        self.space.host.run(self.command(arguments), b"")
    }

    /// One value of an object.
    #[track_caller]
    fn read(&self, what: &str, path: &str) -> String {
        self.space.kubectl(&["get", what, "-o", &format!("jsonpath={path}")]).ok().stdout
    }
}

#[test]
fn a_release_is_installed_upgraded_rolled_back_tested_and_removed() {
    let Some(helm) = Helm::find("helm-life") else { return };
    let chart = source("chart");
    let chart = chart.to_string_lossy();
    helm.run(&["lint", &chart]).ok();
    helm.run(&["template", "shop", &chart]).ok().says(&["kind: Deployment", "kind: Gadget"]);
    helm.run(&["install", "shop", &chart, "--wait", "--timeout", "120s"])
        .ok()
        .says(&["STATUS: deployed", "REVISION: 1"]);
    assert_eq!(helm.read("configmap/shop-hooks", "{.data}"), r#"{"pre-install":"done"}"#, "a hook ran before");
    assert_eq!(helm.read("gadget/shop", "{.spec.size}"), "3", "of the kind that the chart defines");
    assert_eq!(helm.read("deployment/shop", "{.metadata.annotations.first}"), "true", "nothing was looked up yet");
    assert_eq!(helm.read("deployment/shop", "{.status.readyReplicas}"), "1");
    let token = helm.read("secret/shop-token", "{.data.token}");
    helm.run(&["upgrade", "shop", &chart, "--dry-run=server"])
        .ok()
        .says(&["STATUS: pending-upgrade", "first: \"false\""]);
    assert_eq!(helm.read("deployment/shop", "{.metadata.annotations.first}"), "true", "that was a dry run");

    helm.run(&["test", "shop", "--timeout", "120s"])
        .ok()
        .says(&["TEST SUITE:     shop-answers", "Phase:          Succeeded"]);
    let upgrade = ["upgrade", "shop", &chart, "--set", "replicas=2,color=blue", "--wait", "--timeout", "120s"];
    helm.run(&upgrade).ok().says(&["REVISION: 2"]);
    assert_eq!(helm.read("deployment/shop", "{.status.readyReplicas}"), "2");
    assert_eq!(helm.read("deployment/shop", "{..env[0].value}"), "blue");
    assert_eq!(helm.read("deployment/shop", "{.metadata.annotations.first}"), "false", "the secret is found");
    assert_eq!(helm.read("secret/shop-token", "{.data.token}"), token, "looked up, and kept");
    helm.run(&["get", "values", "shop"]).ok().says(&["color: blue"]);
    helm.run(&["history", "shop"]).ok().says(&["superseded", "deployed", "Upgrade complete"]);

    // Somebody changes what the chart says; an upgrade takes back what it names.
    helm.space.kubectl(&["scale", "deployment", "shop", "--replicas=1"]).ok();
    helm.run(&["rollback", "shop", "1", "--wait", "--timeout", "120s"]).ok().says(&["Rollback was a success"]);
    assert_eq!(helm.read("deployment/shop", "{.spec.replicas}"), "1");
    assert_eq!(helm.read("deployment/shop", "{..env[0].value}"), "red");
    helm.run(&["status", "shop", "-o", "json"]).ok().says(&["\"version\":3", "\"status\":\"deployed\""]);
    helm.run(&["list"]).ok().says(&["shop", "deployed"]);

    helm.run(&["uninstall", "shop", "--wait", "--timeout", "120s"]).ok().says(&["release \"shop\" uninstalled"]);
    let left = || helm.space.kubectl(&["get", "deployment,service,gadget,pod", "-o", "name"]).ok().stdout;
    until("all of it goes", left, |names| names.lines().all(|name| name.starts_with("pod/shop-answers")));
    assert_eq!(helm.read("configmap/shop-hooks", "{.data.post-delete}"), "done", "a hook ran after");
    helm.run(&["status", "shop"]).refuses(&["not found"]);
}

#[test]
fn a_release_that_fails_is_told_and_taken_back() {
    let Some(helm) = Helm::find("helm-fails") else { return };
    let chart = source("chart");
    let chart = chart.to_string_lossy();
    let broken = ["install", "bad", &chart, "--no-hooks", "--set", "replicas=-1"];
    helm.run(&broken).refuses(&["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]);
    helm.run(&["list", "--all"]).ok().says(&["bad", "failed"]);
    helm.run(&["uninstall", "bad", "--no-hooks"]).ok();
    helm.run(&[
        "install",
        "bad",
        &chart,
        "--set",
        "image=naru.local/nosuch:1",
        "--wait",
        "--timeout",
        "5s",
        "--atomic",
        "--no-hooks",
    ])
    .refuses(&["release bad failed, and has been uninstalled due to atomic being set"]);
    helm.space.kubectl(&["get", "deployment", "bad"]).refuses(&["NotFound"]);
    helm.run(&["upgrade", "--install", "good", &chart, "--no-hooks"]).ok().says(&["STATUS: deployed"]);
    // What another release owns is not taken over.
    helm.run(&["install", "other", &chart, "--no-hooks", "--set", "name=good"])
        .refuses(&["invalid ownership metadata"]);
}
