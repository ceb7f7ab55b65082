//! A program of Go's controller-runtime, twice, one of which leads.

use std::path::PathBuf;

use naru_testkit::{Host, Running, missing, until};
use serde_json::Value;

use crate::Space;
use crate::fetched::{Cost, fetched, go, source, step};

fn program() -> Option<PathBuf> {
    if missing(&["go"]) {
        return None;
    }
    let sources = ["go.mod", "go.sum", "main.go", "crew.go"].map(|file| source("operator").join(file));
    let folder = fetched("operator", "1", &sources, Cost::Much, |folder| {
        step(go().current_dir(source("operator")).args(["build", "-o"]).arg(folder.join("operator")))
    })?;
    Some(folder.join("operator"))
}

fn crew(name: &str, size: u32) -> String {
    format!("apiVersion: go.example.com/v1\nkind: Crew\nmetadata: {{name: {name}}}\nspec: {{size: {size}}}\n")
}

impl Space {
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.kubectl(&[&["get", "-o", "json"], arguments].concat());
        if output.code == 0 { output.json() } else { Value::Null }
    }

    fn members(&self, crew: &str) -> usize {
        self.json(&["configmaps", "-l", &format!("crew={crew}")])["items"].as_array().map_or(0, Vec::len)
    }

    fn apply(&self, text: &str) {
        self.host.kubectl_fed(text, &["-n", self.name, "apply", "-f", "-"]).ok();
    }

    fn start(&self, program: &PathBuf) -> Running {
        Host::spawn(self.command(program))
    }
}

#[test]
fn an_operator_leads_reconciles_cleans_up_and_hands_over() {
    let Some(program) = program() else { return };
    let Some(space) = Space::new("go-operator") else { return };
    let mut first = space.start(&program);
    first.shows("leading");
    // What it asks for unasked: definitions, leases and members in protobuf, and the changes of members as well.
    first.shows("answered in <application/vnd.kubernetes.protobuf>");
    first.shows("answered in <application/vnd.kubernetes.protobuf;stream=watch>");
    let mut second = space.start(&program);
    second.shows("waiting");

    space.apply(&crew("red", 3));
    until("three members", || space.members("red"), |count| *count == 3);
    let status = || space.json(&["crew", "red"])["status"].clone();
    until("the status tells", status, |status| status["members"] == 3 && status["observed"] == 1);
    space.kubectl(&["delete", "configmap", "red-001"]).ok();
    until("it is made again", || space.members("red"), |count| *count == 3);
    space.kubectl(&["patch", "configmap", "red-000", "-p", r#"{"data":{"number":"wrong"}}"#]).ok();
    let number = || space.json(&["configmap", "red-000"])["data"]["number"].clone();
    until("it is put right", number, |number| number == "0");
    space.apply(&crew("red", 1));
    until("two go", || space.members("red"), |count| *count == 1);
    assert!(!second.stdout().contains("leading"), "one leads");

    // As if its machine were gone: the other takes over when the lease has run out.
    let holder = || space.json(&["lease", "crews"])["spec"]["holderIdentity"].clone();
    let before = holder();
    drop(first);
    space.apply(&crew("blue", 2));
    second.shows("leading");
    assert_ne!(holder(), before);
    until("the other goes on", || space.members("blue"), |count| *count == 2);

    space.kubectl(&["delete", "crew", "red", "--timeout=60s"]).ok();
    assert_eq!(space.json(&["configmap", "farewell-red"])["data"]["crew"], "red", "it was said farewell to");
    until("its members go after it", || space.members("red"), |count| *count == 0);
    assert_eq!(space.members("blue"), 2);

    // One that ends in good order gives the lease back.
    second.interrupt();
    second.wait().ok();
    assert_eq!(holder().as_str().unwrap_or_default(), "");
    space.kubectl(&["patch", "crew", "blue", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).ok();
    space.kubectl(&["delete", "crd", "crews.go.example.com", "--timeout=60s"]).ok();
}
