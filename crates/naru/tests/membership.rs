//! Joining, leaving and removing with what users get wrong: the whole text of every refusal, and nothing half done.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use naru_testkit::{Cluster, Host, Output, eventually, missing, until};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");
/// A range that an address can be put into.
const NARROW: &[&str] = &["--pod-network", "10.42.0.0/23"];

/// The whole of what is said, which is a refusal.
#[track_caller]
fn refused(output: &Output, expected: &str) {
    assert_ne!(output.code, 0, "must be refused: {output}");
    assert_eq!(output.stderr.trim_end(), format!("naru: {expected}"), "{output}");
}

/// Nothing of a refused join is on the machine, nor in the cluster.
#[track_caller]
fn untouched(cluster: &Cluster, machine: &Host, nodes: usize) {
    for name in ["node", "node.new", "pods", "network", "naru.sock"] {
        assert!(!machine.state_dir().join(name).exists(), "{name} was made");
    }
    let links = machine.ip("-o link show").expect("links");
    assert_eq!(links.lines().count(), 2, "{links}");
    assert_eq!(cluster.nodes().len(), nodes);
}

/// The token with something else in it.
fn altered(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let body = token.strip_prefix("NARU1.").expect("a token");
    let mut wire: Value = serde_json::from_slice(&BASE64.decode(body).expect("base64")).expect("JSON");
    change(&mut wire);
    format!("NARU1.{}", BASE64.encode(wire.to_string()))
}

#[test]
fn tokens_that_let_nobody_in() {
    let Some(cluster) = Cluster::apart(PROGRAM, 2, &[]) else { return };
    let (machine, second) = (&cluster.workers[0], &cluster.workers[1]);
    let good = cluster.token(&[]);
    let server = format!("{}:6443", cluster.server.address());
    let join = |token: &str| Cluster::join(machine, token, "w1");
    let no_token = "this is no join token: expected the line that `naru token create` prints, which begins with NARU1.";
    let damaged = "the join token is incomplete or was altered: copy the whole line again";
    let unknown = format!(
        "{server} refuses: the join token is not known here: it was removed or used up, or is another cluster's; make one \
         with `naru token create`"
    );
    let stranger = format!(
        "{server} is not the cluster that made this token: its authority's key is another one. Either the token is of \
         another cluster, or somebody stands in between; nothing was sent"
    );
    let word = |text: &str| text.to_owned();
    for (token, expected) in [
        ("hello", word(no_token)),
        ("", word(no_token)),
        ("나루 참가", word(no_token)),
        (&good[..good.len() - 9], word(damaged)),
        ("NARU1.!!!!", word(damaged)),
        (&altered(&good, |wire| wire["secret"] = "short".into()), word(damaged)),
        (
            &altered(&good, |wire| wire["v"] = 7.into()),
            word("the join token is of form 7, which this version does not know: install the server's version here"),
        ),
        (
            &altered(&good, |wire| wire["servers"] = json!([])),
            word("the join token names no server: make one with `naru token create --server HOST:PORT`"),
        ),
        (&altered(&good, |wire| wire["secret"] = "aaaaaaaaaaaaaaaa".into()), unknown.clone()),
        (&altered(&good, |wire| wire["id"] = "aaaaaa".into()), unknown.clone()),
        (&altered(&good, |wire| wire["ca"] = "0".repeat(64).into()), stranger),
    ] {
        refused(&join(token), &expected);
        untouched(&cluster, machine, 1);
    }

    let removed = cluster.token(&[]);
    cluster.server.naru(&["token", "rm", &removed]).ok();
    refused(&join(&removed), &unknown);
    let expired = cluster.token(&["--ttl", "1s"]);
    until("it expires", || cluster.server.naru(&["token", "ls"]).ok().stdout, |text| text.contains("expired"));
    let output = join(&expired);
    let (before, after) =
        (format!("naru: {server} refuses: the join token expired at "), ": make another with `naru token create`\n");
    assert!(output.stderr.starts_with(&before) && output.stderr.ends_with(after), "{output}");
    untouched(&cluster, machine, 1);

    // One machine only.
    let once = cluster.token(&["--once"]);
    join(&once).ok();
    refused(&Cluster::join(second, &once, "w2"), &unknown);
    untouched(&cluster, second, 2);
}

#[test]
fn machines_that_do_not_fit() {
    let Some(cluster) = Cluster::apart(PROGRAM, 1, NARROW) else { return };
    let machine = &cluster.workers[0];
    let (good, address) = (cluster.token(&[]), cluster.server.address());
    let join = |more: &[&str]| machine.naru(&[&["join", &good, "--node-name", "w1"], more].concat());

    // Words.
    for (more, expected) in [
        (&["--label", "disk"][..], "--label disk: expected KEY=VALUE".to_owned()),
        (
            &["--label", "a b=c"],
            "--label a b=c: \"a b\" is no label's key: expected [DOMAIN/]NAME of letters, digits, '-', '_' and '.'".to_owned(),
        ),
        (
            &["--zone", "Seoul 1"],
            "--zone Seoul 1: \"Seoul 1\" is no label's value: expected at most 63 letters, digits, '-', '_' and '.', with a \
             letter or digit at either end"
                .to_owned(),
        ),
        (
            &["--label", "kubernetes.io/role=x"],
            "--label kubernetes.io/role=x: labels of kubernetes.io, k8s.io, naru.io are not a machine's own to set: `naru node \
             label` on the server does"
                .to_owned(),
        ),
        (
            &["--address", "127.0.0.1"],
            "--address 127.0.0.1: expected an address by which other machines reach this one".to_owned(),
        ),
    ] {
        refused(&join(more), &expected);
        untouched(&cluster, machine, 1);
    }
    for name in ["Worker", "a_b", "-a", "a..b", &"x".repeat(64)] {
        refused(
            &machine.naru(&["join", &good, &format!("--node-name={name}")]),
            &format!(
                "{name:?} is no node's name: expected at most 63 lower-case letters, digits, '-' and '.'; give one with --node-name"
            ),
        );
    }
    untouched(&cluster, machine, 1);

    // Servers that are not there.
    let help = "It must answer from this machine; another address can be given with `naru token create --server HOST:PORT` \
                or here with --server";
    for (server, why) in [
        (format!("{address}:6444"), "Connection refused"),
        ("198.18.7.250:6443".to_owned(), "No route to host"),
        // Said by the resolver, or nothing where no name server answers at all.
        ("nosuch.invalid:6443".to_owned(), ""),
    ] {
        let nowhere = cluster.token(&["--server", &server]);
        let output = Cluster::join(machine, &nowhere, "w1");
        let text = output.stderr.trim_end();
        assert!(output.code != 0 && text.starts_with(&format!("naru: cannot reach {server}: ")), "{output}");
        assert!(text.contains(why) && text.ends_with(help), "{output}");
        untouched(&cluster, machine, 1);
    }

    // Addresses that would be somebody else's.
    machine.ip("address add 10.42.1.7/32 dev lo").expect("an address");
    refused(
        &join(&[]),
        "this machine's address 10.42.1.7 lies in 10.42.0.0/23, the cluster's addresses of pods: they would answer for one \
         another. Give the machine another address, or the cluster another range (--pod-network)",
    );
    machine.ip("address del 10.42.1.7/32 dev lo").expect("without");
    machine.ip("route add 10.43.5.0/24 dev eth0").expect("a route");
    join(&[]).refuses(&["this machine cannot join", "10.43.5.0/24", "eth0", "10.43.0.0/16"]);
    machine.ip("route del 10.43.5.0/24 dev eth0").expect("without");
    machine.ip("route add 10.42.1.0/24 via 198.18.7.1").expect("a route");
    refused(
        &join(&[]),
        "this machine cannot join: the cluster's ranges, chosen when its server began, do not fit it: the pod network \
         10.42.0.0/23 and the network 10.42.1.0/24 of this machine (eth0) have addresses in common, so one of them could not \
         be reached; choose another range with --pod-network, for instance --pod-network 10.44.0.0/16",
    );
    machine.ip("route del 10.42.1.0/24 via 198.18.7.1").expect("without");
    untouched(&cluster, machine, 1);

    // Names that are taken: by a machine, and by one that never came.
    refused(
        &machine.naru(&["join", &good, "--node-name", "node-1"]),
        &format!(
            "the name node-1 is taken by the machine at {address}: choose another with --node-name, or remove that node first \
             (`naru node rm node-1`)"
        ),
    );
    let ghost =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ghost"}, "spec": {"podCIDR": "10.99.0.0/24"}});
    cluster.server.kubectl_fed(&ghost.to_string(), &["apply", "-f", "-"]).ok();
    refused(
        &machine.naru(&["join", &good, "--node-name", "ghost"]),
        "the name ghost is taken: choose another with --node-name, or remove that node first (`naru node rm ghost`)",
    );
    cluster.server.naru(&["node", "rm", "--force", "ghost"]).ok();
    untouched(&cluster, machine, 1);

    join(&["--zone", "b", "--region", "kr", "--label", "disk=ssd"]).ok();
    let labels = &cluster.nodes()[1]["Labels"];
    for (key, value) in [
        ("topology.kubernetes.io/zone", "b"),
        ("topology.kubernetes.io/region", "kr"),
        ("disk", "ssd"),
        ("kubernetes.io/hostname", "w1"),
        ("kubernetes.io/os", "linux"),
        ("naru.io/role", "worker"),
    ] {
        assert_eq!(labels[key], value, "{labels}");
    }
    nothing_left_for_pods(&cluster, &good);
}

/// The cluster's range has two subnets, and both are taken.
fn nothing_left_for_pods(cluster: &Cluster, token: &str) {
    let Some(machine) = cluster.machine() else { return };
    for _ in 0..2 {
        refused(
            &Cluster::join(&machine, token, "w2"),
            "this machine did not become a node; what was begun is taken back: no subnet is left for node w2 in 10.42.0.0/23: \
             remove nodes that are gone (`naru node rm`), or found the cluster with a larger --pod-network",
        );
        untouched(cluster, &machine, 2);
    }
    assert_eq!(cluster.status_of("w1"), "Ready");
    cluster.server.naru(&["node", "rm", "--force", "w1"]).ok();
    Cluster::join(&machine, token, "w2").ok();
}

#[test]
fn a_clock_that_is_an_hour_off_is_told_before_anything_is_done() {
    let Some(cluster) = Cluster::apart(PROGRAM, 1, &[]) else { return };
    let (machine, token) = (&cluster.workers[0], cluster.token(&["--ttl", "24h"]));
    for (seconds, word) in
        [(3_600, "ahead of"), (-3_600, "behind"), (86_400 * 900, "ahead of"), (-86_400 * 900, "behind")]
    {
        if machine.set_clock(seconds).is_none() {
            return;
        }
        let output = Cluster::join(machine, &token, "w1").refuses(&["clock", "timedatectl set-ntp true", "join again"]);
        // Where even the server's certificate is not valid at that time, the time itself is told.
        let told =
            output.stderr.contains(word) || output.stderr.contains("is not valid at this machine's time, which is ");
        assert!(told, "{seconds}: {output}");
        untouched(&cluster, machine, 1);
    }
    machine.set_clock(60).expect("a clock");
    Cluster::join(machine, &token, "w1").ok();
}

#[test]
fn a_worker_whose_clock_goes_wrong_works_on_and_is_told() {
    let Some(cluster) = Cluster::apart(PROGRAM, 1, &["--pod-eviction", "1h"]) else { return };
    let worker = &cluster.workers[0];
    if worker.set_clock(0).is_none() {
        return;
    }
    cluster.welcome(worker, &cluster.token(&[]), "w1");
    cluster.deploy(2, "");
    until("one on each", || cluster.ready_on(["node-1", "w1"]), |counts| *counts == [1; 2]);
    let before = cluster.pods("default");
    for (seconds, how) in [(3_600, "ahead of"), (-3_600, "behind")] {
        worker.set_clock(seconds).expect("a clock");
        let said = || cluster.server.naru(&["status"]);
        let told = |output: &Output| output.stdout.contains("the clock of node w1 is ") && output.stdout.contains(how);
        until("the server tells of it", said, told);
        worker.naru(&["status"]).says(&["this machine's clock is", how]);
        // Cut off and back: it finds the server again whatever its clock says.
        worker.cut();
        until("it is lost", || cluster.status_of("w1"), |status| status == "Unknown");
        worker.mend();
        until("it is back", || cluster.status_of("w1"), |status| status == "Ready");
    }
    worker.set_clock(0).expect("a clock");
    until("all is well", || cluster.server.naru(&["status"]), |output| output.code == 0);
    assert_eq!(cluster.pods("default"), before, "nothing was replaced");
}

#[test]
fn machines_that_belong_somewhere_already() {
    let (Some(cluster), Some(other)) = (Cluster::apart(PROGRAM, 2, &[]), Cluster::apart(PROGRAM, 0, &[])) else {
        return;
    };
    let (worker, second) = (&cluster.workers[0], &cluster.workers[1]);
    let (token, elsewhere) = (cluster.token(&[]), other.token(&[]));
    let address = cluster.server.address();
    Cluster::join(worker, &token, "w1").ok();
    let belongs =
        format!("this machine belongs to the cluster at {address}:6443 already, as node w1: run `naru leave` first");
    for token in [&token, &elsewhere] {
        refused(&Cluster::join(worker, token, "w1"), &belongs);
        refused(&Cluster::join(worker, token, "w9"), &belongs);
    }
    let state = cluster.server.state_dir();
    for token in [&token, &elsewhere] {
        refused(
            &cluster.server.naru(&["join", token]),
            &format!(
                "this machine is the server of a cluster of its own ({}): `sudo naru uninstall --volumes` removes that with its \
                 data; another state folder can be named with NARU_STATE_DIR",
                state.display()
            ),
        );
    }
    refused(
        &cluster.server.naru(&["leave", "--yes"]),
        "this machine is a server, not a worker: `sudo naru uninstall` removes Naru from it",
    );
    refused(&second.naru(&["leave", "--yes"]), "this machine belongs to no cluster: there is nothing to leave");
    refused(
        &worker.naru(&["leave"]),
        "This ends all containers of node w1. Are you sure? Nobody is there to answer: give --force or --yes if it is meant",
    );
    assert_eq!(cluster.status_of("w1"), "Ready", "what was refused hurt nobody");
    refused(
        &cluster.server.naru(&["node", "rm", "node-1"]),
        "node-1 is a server: it cannot be removed from its own cluster",
    );
    refused(&cluster.server.naru(&["node", "rm", "w7"]), "there is no node w7: there are node-1, w1");

    without_root(second, &token);
    untouched(&cluster, second, 2);
    half_a_join(&cluster, second, &token);

    // The server is away: nobody leaves by mistake, and who must can.
    cluster.server.kill_server();
    let output =
        worker.naru(&["leave", "--yes"]).refuses(&["the cluster cannot be told", "with --force this machine leaves"]);
    assert!(worker.state_dir().join("node/cluster.json").exists(), "{output}");
    worker.naru(&["leave", "--force", "--yes"]).ok().says(&["w1 has left", "naru node rm w1"]);
    cluster.server.start_server();
    until("it is lost", || cluster.status_of("w1"), |status| status == "Unknown");
    refused(
        &Cluster::join(worker, &token, "w1"),
        &format!(
            "the name w1 is taken by the machine at {}: choose another with --node-name, or remove that node first (`naru node \
             rm w1`)",
            worker.address()
        ),
    );
    cluster.server.naru(&["node", "rm", "w1"]).ok();
    Cluster::join(worker, &token, "w1").ok();
}

fn without_root(machine: &Host, token: &str) {
    if missing(&["setpriv", "install"]) {
        return;
    }
    let copy = machine.folder().join("naru");
    let mut install = machine.command("install");
    install.args(["-m", "755", PROGRAM]).arg(&copy);
    machine.run(install, b"").ok();
    let nobody = |arguments: &[&str]| {
        let mut command = machine.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&copy).args(arguments);
        machine.run(command, b"")
    };
    refused(&nobody(&["join", token]), "a node runs containers, which needs root: run `sudo naru join …`");
    refused(&nobody(&["leave", "--yes"]), "leaving ends containers, which needs root: run `sudo naru leave`");
}

/// A join that is killed as soon as the machine is a member, and what its user does then.
fn half_a_join(cluster: &Cluster, machine: &Host, token: &str) {
    let mut command = machine.program();
    command.args(["join", token, "--node-name", "w2"]);
    let mut join = Host::spawn(command);
    let made = machine.state_dir().join("node/cluster.json");
    eventually("it is a member", || if made.exists() { Ok(()) } else { Err("not yet".into()) });
    join.signal(rustix::process::Signal::KILL);
    join.close_input();
    drop(join);
    Cluster::join(machine, token, "w2").refuses(&["belongs to the cluster at", "as node w2", "naru leave"]);
    machine.naru(&["leave", "--yes"]).ok();
    untouched(cluster, machine, 2);
    Cluster::join(machine, token, "w2").ok();
    machine.naru(&["leave", "--yes"]).ok();
}

#[test]
fn a_node_with_what_runs_nowhere_else_is_not_removed_in_passing() {
    let Some(cluster) = Cluster::start(PROGRAM, 1, &["--pod-eviction", "1h"]) else { return };
    let compose = "services:\n  db:\n    image: naru.local/probe:1\n    volumes: ['data:/data']\n    deploy: {placement: {constraints: [node.hostname==w1]}}\n  \
                   web: {image: naru.local/probe:1, deploy: {mode: global}}\nvolumes: {data: {}}\n";
    let shop = cluster.server.project("shop", compose);
    shop.up(&[]);
    let output = cluster.server.naru(&["node", "rm", "w1"]);
    output.refuses(&[
        "node w1 still runs ",
        "shop/db runs nowhere else",
        "the data of shop/shop-data",
        "naru node drain w1",
        "--force",
    ]);
    assert_eq!(cluster.status_of("w1"), "Ready");
    // The volume waits for its machine, and everybody is told.
    cluster.workers[0].cut();
    until("it is lost", || cluster.status_of("w1"), |status| status == "Unknown");
    cluster
        .server
        .naru(&["status"])
        .says(&["the data of shop-data", "is on node w1: what uses it waits for that machine"]);
    let pod = shop.container("db")["Pod"].as_str().unwrap_or_default().to_owned();
    shop.kubectl(&["delete", "pod", &pod, "--wait=false", "--grace-period=0", "--force"]).ok();
    let waits = until(
        "its successor waits",
        || shop.ps(),
        |rows| {
            rows.iter().any(|row| {
                row["Service"] == "db" && row["State"] == "created" && row["Status"].to_string().contains("w1")
            })
        },
    );
    assert!(waits.iter().any(|row| row["Service"] == "web" && row["Node"] == "node-1"), "{waits:?}");
    let events = shop.kubectl(&["get", "events"]).stdout;
    assert!(events.contains("FailedScheduling"), "{events}");
    cluster.workers[0].mend();
    shop.until("db", "it runs again where its data is", |rows| {
        rows.iter().any(|row| row["State"] == "running" && row["Node"] == "w1")
    });
}
