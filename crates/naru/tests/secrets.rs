//! Keys of what is sealed at rest, replaced through the program that users have.

use std::fs;
use std::path::PathBuf;

use naru_testkit::{Host, HostOptions, Output, missing};
use serde_json::Value;

/// A host of its own: its keys change.
fn host() -> Option<Host> {
    if missing(&["kubectl"]) {
        return None;
    }
    let options = HostOptions { images: Some(Vec::new()), ..HostOptions::default() };
    Host::start_with(env!("CARGO_BIN_EXE_naru"), options)
}

/// The keys for one purpose, the oldest first, as `naru secrets ls` tells.
fn keys(host: &Host, what: &str) -> Vec<String> {
    let told: Value = host.naru(&["secrets", "ls", "--format", "json"]).ok().json();
    let keys = told[what]["keys"].as_array().expect("keys").iter();
    keys.map(|key| key.as_str().expect("a name").to_owned()).collect()
}

fn value(host: &Host, name: &str) -> String {
    let path = "jsonpath={.data.word}";
    host.kubectl(&["get", "secret", name, "-o", path]).ok().text().trim().to_owned()
}

fn seal_file(host: &Host) -> PathBuf {
    host.state_dir().join("pki/seal.key")
}

fn token(host: &Host) -> String {
    host.kubectl(&["create", "token", "default"]).ok().text().trim().to_owned()
}

fn as_account(host: &Host, token: &str) -> Output {
    let mut command = host.command("kubectl");
    // Without the administrator's certificate, which counts first.
    command.args(["--kubeconfig=/dev/null", "--server=https://127.0.0.1:6443", "--insecure-skip-tls-verify"]);
    command.args(["--token", token, "auth", "whoami"]);
    host.run(command, b"")
}

#[test]
fn new_keys_take_over_and_old_ones_go() {
    let Some(host) = host() else { return };
    host.kubectl(&["create", "secret", "generic", "before", "--from-literal=word=one"]).ok();
    let [old] = keys(&host, "sealing").try_into().expect("one key");
    let file = fs::read_to_string(seal_file(&host)).expect("the key file");
    host.naru(&["secrets", "ls"]).ok().says(&["KEY", "FOR", &old, "seals", "signs"]);

    let rotated = host.naru(&["secrets", "rotate"]).ok();
    let new = rotated.stdout.trim().to_owned();
    assert!(rotated.stderr.contains("sealed with the new key"), "{rotated}");
    assert_eq!(keys(&host, "sealing"), [old.clone(), new.clone()]);
    host.naru(&["secrets", "ls"]).ok().says(&[&new, "opens"]);
    host.kubectl(&["create", "secret", "generic", "between", "--from-literal=word=two"]).ok();
    host.restart_server();
    assert_eq!((value(&host, "before").as_str(), value(&host, "between").as_str()), ("b25l", "dHdv"));

    let last = host.naru(&["secrets", "rotate", "--drop-old"]).ok();
    assert!(last.stderr.contains("2 old keys were taken away"), "{last}");
    assert_eq!(keys(&host, "sealing"), [last.stdout.trim()]);
    let left = fs::read_to_string(seal_file(&host)).expect("the key file");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(lines(&file).iter().all(|line| !lines(&left).contains(line)), "the first key is gone from the disk");
    host.restart_server();
    assert_eq!((value(&host, "before").as_str(), value(&host, "between").as_str()), ("b25l", "dHdv"));
    host.kubectl(&["delete", "secret", "before"]).ok();
    host.kubectl(&["create", "secret", "generic", "before", "--from-literal=word=new"]).ok();
    assert_eq!(value(&host, "before"), "bmV3");
}

#[test]
fn a_new_key_for_tokens_is_believed_beside_the_old_one_until_that_goes() {
    let Some(host) = host() else { return };
    let old = token(&host);
    as_account(&host, &old).ok().says(&["system:serviceaccount:default:default"]);
    host.naru(&["secrets", "rotate", "--tokens"]).ok();
    assert_eq!(keys(&host, "tokens").len(), 2);
    let new = token(&host);
    host.restart_server();
    for token in [&old, &new] {
        as_account(&host, token).ok();
    }
    host.naru(&["secrets", "rotate", "--tokens", "--drop-old"]).ok();
    assert_eq!(keys(&host, "tokens").len(), 1);
    for token in [&old, &new] {
        as_account(&host, token).refuses(&["Unauthorized"]);
    }
    as_account(&host, &token(&host)).ok();
}
