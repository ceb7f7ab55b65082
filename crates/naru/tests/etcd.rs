//! A cluster whose state moves to etcd, and lives there.

use std::process::{Child, Stdio};

use naru_testkit::{Etcd, Host, HostOptions, until};

/// An etcd on the host's own loopback.
struct OnHost(Child);

impl Drop for OnHost {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn etcd(host: &Host) -> Option<OnHost> {
    let program = Etcd::program("etcd")?;
    let mut command = host.command("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).args(["--log-level", "error"]);
    command.arg("--data-dir").arg(host.folder().join("etcd"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Some(OnHost(child.expect("setpriv, of util-linux")))
}

fn revision(host: &Host) -> u64 {
    let text = host.kubectl(&["get", "namespace", "default", "-o", "jsonpath={.metadata.resourceVersion}"]).ok().stdout;
    text.trim().parse().expect("a revision")
}

#[test]
fn the_state_moves_to_etcd_and_stays_there() {
    let options = HostOptions { idle: true, ..HostOptions::default() };
    let Some(host) = Host::start_with(env!("CARGO_BIN_EXE_naru"), options) else { return };
    host.start_server();
    let project = host.project("moves", "services:\n  web: {image: naru.local/probe:1, ports: ['8401:8080']}\n");
    let archive = naru_testkit::Image::Probe.archive().expect("an archive");
    host.naru(&["image", "load", "-i", &archive.to_string_lossy()]).ok();
    project.up(&[]);
    let before = project.container("web");
    let issued = revision(&host);
    host.stop_server();

    // Nobody answers there: nothing is moved, and the server runs on as it was.
    let at = "http://127.0.0.1:2379";
    let mut command = host.server_command();
    command.args(["--etcd-servers", at]);
    host.run(command, b"").refuses(&["etcd", "untouched"]);
    host.start_server();
    assert_eq!(project.container("web")["ID"], before["ID"]);
    host.stop_server();

    let Some(etcd) = etcd(&host) else { return };
    until("etcd listens", || host.get([127, 0, 0, 1], 2379, "/health").is_ok(), |listens| *listens);
    host.start_server_with(&["--etcd-servers", at]);
    assert_eq!(project.container("web")["ID"], before["ID"], "what runs goes on");
    assert!(revision(&host) > issued, "no revision is issued twice");
    host.fetch(8401, "/host");
    assert!(host.state_dir().join("store.moved-to-etcd").exists());

    // A start that says nothing of etcd finds the state all the same.
    host.stop_server();
    host.start_server();
    host.kubectl(&["create", "configmap", "there", "-n", "default"]).ok();
    let second = host.run(host.server_command(), b"");
    second.refuses(&["in use"]);

    // Without etcd the server says so, and nothing ends.
    drop(etcd);
    let refused = host.kubectl(&["create", "configmap", "nowhere", "-n", "default", "--request-timeout=5s"]);
    assert_ne!(refused.code, 0, "{refused}");
    host.fetch(8401, "/host");
    let _etcd = self::etcd(&host);
    let there = || host.kubectl(&["get", "configmap", "there", "-n", "default"]).code;
    until("the server finds etcd again", there, |code| *code == 0);
    drop(project);
}
