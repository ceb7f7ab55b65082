//! The whole way, under load: one machine, several, one lost, one drained, no server for a while, another server.
//!
//! Requests go on from before the first machine joins until after the server has moved: through the published port of
//! every node, through the virtual address on two of them, and from pods. None may be lost but what the page about
//! clusters says: from the moment a machine loses its power until it has been noticed (`docs/cluster.md`). One test and not
//! eight, because what a step leaves behind is what the next one meets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::{Duration, Instant};

use naru_testkit::{Host, HostOptions, Lan, Project, eventually_within, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");
/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long requests that are led to a lost machine may fail: three seconds until it is noticed, one of `--node-grace`, one
/// until every node's rules have followed. As in `docs/cluster.md`.
const WINDOW: Duration = Duration::from_secs(5);
/// Between two requests on one road.
const PAUSE: Duration = Duration::from_millis(10);

/// Two services with health tests; `front` asks `web` by its name, from inside a pod. Both finish what is under way when
/// they are told to end, as a web server does.
const COMPOSE: &str = r#"
x-probe: &probe
  image: naru.local/probe:1
  command: ["--ignore-term"]
  restart: unless-stopped
  stop_grace_period: 3s
  healthcheck: {test: ["CMD", "/probe", "--get", "127.0.0.1:8080/health"], interval: 5s, timeout: 10s, retries: 5, start_period: 60s, start_interval: 500ms}
services:
  web: {<<: *probe, ports: ["8088:8080"], deploy: {replicas: 2}}
  front: {<<: *probe, ports: ["8089:8080"], deploy: {replicas: 2}}
"#;

/// One way to a service.
struct Road {
    name: String,
    asked: AtomicUsize,
    closed: AtomicBool,
    failed: Mutex<Vec<Failure>>,
}

struct Failure {
    begun: Instant,
    ended: Instant,
    text: String,
}

/// A time in which requests may fail.
struct Window {
    begun: Instant,
    ended: Instant,
}

/// All requests of the walk.
struct Traffic {
    begun: Instant,
    roads: Mutex<Vec<Arc<Road>>>,
    steps: Mutex<Vec<(Instant, &'static str)>>,
}

/// Closes all roads also when the walk ends in a panic.
struct Closing<'a>(&'a Traffic);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.roads.lock().expect("the roads").iter().for_each(|road| road.closed.store(true, Ordering::Relaxed));
    }
}

impl Traffic {
    fn new() -> Traffic {
        Traffic { begun: Instant::now(), roads: Mutex::default(), steps: Mutex::default() }
    }

    /// Says what begins now.
    fn step(&self, what: &'static str) {
        eprintln!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
        self.steps.lock().expect("the steps").push((Instant::now(), what));
    }

    /// Opens a road once it leads somewhere, and asks on it from then on; `walk` runs the requests where they start.
    fn open<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        name: &str,
        (address, port, path): (Ipv4Addr, u16, &'static str),
        walk: impl Fn(&mut (dyn FnMut() + Send)) + Send + Sync + 'scope,
    ) -> Arc<Road> {
        let ask = move || ask(SocketAddr::from((address, port)), path);
        eventually_within(PATIENCE, &format!("{name} leads somewhere"), || {
            let mut answer = Ok(());
            walk(&mut || answer = ask());
            answer
        });
        let (asked, closed, failed) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::default());
        let road = Arc::new(Road { name: name.to_owned(), asked, closed, failed });
        self.roads.lock().expect("the roads").push(road.clone());
        let travelled = road.clone();
        scope.spawn(move || {
            walk(&mut || {
                while !travelled.closed.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    if let Err(text) = ask() {
                        let failure = Failure { begun, ended: Instant::now(), text };
                        travelled.failed.lock().expect("the failures").push(failure);
                    }
                    travelled.asked.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(PAUSE);
                }
            });
        });
        road
    }

    /// The requests that were lost outside of every window, and how many within.
    fn judge(&self, windows: &[Window]) -> (Vec<String>, usize) {
        let steps = self.steps.lock().expect("the steps");
        let (mut lost, mut borne) = (Vec::new(), 0);
        for road in self.roads.lock().expect("the roads").iter() {
            let asked = road.asked.load(Ordering::Relaxed);
            let failed = road.failed.lock().expect("the failures");
            eprintln!("{asked:7} requests, {:3} failed: {}", failed.len(), road.name);
            assert!(asked > 50, "{} was hardly asked", road.name);
            for failure in failed.iter() {
                if windows.iter().any(|window| failure.ended >= window.begun && failure.begun <= window.ended) {
                    borne += 1;
                    continue;
                }
                let during = steps.iter().rev().find(|(at, _)| *at <= failure.begun).map_or("", |(_, what)| what);
                let at = (failure.begun - self.begun).as_secs_f64();
                let took = failure.ended - failure.begun;
                lost.push(format!("at {at:.2} s for {took:?} ({during}) {}: {}", road.name, failure.text));
            }
        }
        (lost, borne)
    }

    /// From a moment until the last request on any road that failed after it.
    fn last_failure_after(&self, moment: Instant) -> Option<Duration> {
        let roads = self.roads.lock().expect("the roads");
        let last = |road: &Arc<Road>| {
            let failed = road.failed.lock().expect("the failures");
            failed.iter().filter(|failure| failure.ended >= moment).map(|failure| failure.begun).max()
        };
        roads.iter().filter_map(last).max().map(|begun| begun.saturating_duration_since(moment))
    }
}

/// One request on a connection of its own. The kernels answer a connection, however busy programs are: a second and a half
/// without that is a loss, and the next request tells whether it still is. The first packet may be sent twice: where requests
/// of many share an address, a port comes to be used again that the other side still remembers.
fn ask(to: SocketAddr, path: &str) -> Result<(), String> {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(1_500))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    match asked() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Ok(()),
        Ok(other) => Err(format!("answered {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

impl Road {
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// Asks from another machine on the wire.
fn from_outside<'h>(host: &'h Host) -> impl Fn(&mut (dyn FnMut() + Send)) + Send + Sync + 'h {
    move |work| host.outside(work)
}

/// Asks from the machine itself.
fn from_inside<'h>(host: &'h Host) -> impl Fn(&mut (dyn FnMut() + Send)) + Send + Sync + 'h {
    move |work| host.inside(work)
}

fn machine(lan: &Lan, idle: bool) -> Option<Host> {
    Host::start_with(PROGRAM, HostOptions { idle, lan: Some(lan.clone()), ..HostOptions::default() })
}

/// Ready pods that stay, of a service: on each of these nodes, and in all.
fn ready(server: &Host, service: &str, nodes: &[&str]) -> (Vec<usize>, usize) {
    let selector = format!("naru.io/service={service}");
    let list = server.kubectl(&["get", "pods", "-n", "shop", "-l", &selector, "-o", "json"]).ok().json();
    let pods: Vec<_> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            ready && pod["metadata"].get("deletionTimestamp").is_none()
        })
        .collect();
    let on = |node: &&str| pods.iter().filter(|pod| pod["spec"]["nodeName"] == **node).count();
    (nodes.iter().map(on).collect(), pods.len())
}

/// Waits until so many of each service are ready, on these nodes and no others.
fn settled(server: &Host, wanted: &[(&str, usize)], nodes: &[&str]) {
    eventually_within(PATIENCE, &format!("{wanted:?} on {nodes:?}"), || {
        for (service, count) in wanted {
            let (on, all) = ready(server, service, nodes);
            if all != *count || on.iter().sum::<usize>() != *count {
                return Err(format!("{service}: {on:?} of {all}"));
            }
        }
        Ok(())
    });
}

fn nodes_ready(server: &Host, names: &[&str]) {
    eventually_within(PATIENCE, &format!("{names:?} are ready"), || {
        let rows = server.naru(&["node", "ls", "--format", "json"]).ok().json();
        let is = |name: &&str| {
            let row = rows.as_array().into_iter().flatten().find(|row| row["Name"] == **name);
            row.and_then(|row| row["Status"].as_str()).is_some_and(|status| status.starts_with("Ready"))
        };
        if names.iter().all(is) { Ok(()) } else { Err(rows.to_string()) }
    });
}

/// Waits until the server reaches these nodes. They are shown as ready for a while after its start; until one is connected,
/// stops of pods do not wait for its data plane.
fn connected(server: &Host, names: &[&str]) {
    for name in names {
        eventually_within(PATIENCE, &format!("{name} is connected"), || {
            let output = server.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{name}/proxy/healthz")]);
            if output.code == 0 { Ok(()) } else { Err(output.to_string()) }
        });
    }
}

fn virtual_address(server: &Host) -> Ipv4Addr {
    let path = "jsonpath={.spec.clusterIP}";
    let shown = server.kubectl(&["get", "service", "-n", "shop", "web", "-o", path]).ok();
    shown.text().trim().parse().expect("an address")
}

fn join(server: &Host, machines: &[(&Host, &str)]) {
    let line = server.naru(&["token", "create"]).ok().text().trim().to_owned();
    let line = line.strip_prefix("naru join ").expect("a command");
    for (machine, name) in machines {
        machine.naru(&["join", line, "--node-name", name]).ok();
    }
}

/// What a machine forgets when its power goes, besides its processes.
fn forget_kernel(host: &Host) {
    let mut flush = host.command("nft");
    flush.args(["flush", "ruleset"]);
    host.run(flush, b"").ok();
    for line in host.ip("-o link show").expect("links").lines() {
        let name = line.split(": ").nth(1).and_then(|name| name.split('@').next()).unwrap_or_default();
        if name != "lo" && name != "eth0" {
            // One end of a pair takes the other along.
            let _ = host.ip(&format!("link del {name}"));
        }
    }
    let _ = host.ip("route flush proto 110");
}

/// A backup, and its key's file.
fn backup(server: &Host) -> (PathBuf, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let (key, file) = (server.folder().join("backup.key"), server.folder().join("walk.backup"));
    std::fs::write(&key, server.naru(&["backup", "key"]).ok().stdout).expect("the key's file");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("its owner's alone");
    let (key_text, file_text) = (key.to_string_lossy(), file.to_string_lossy());
    server.naru(&["backup", "create", "--key-file", &key_text, "-o", &file_text]).ok();
    (file, key)
}

fn revision(host: &Host) -> u64 {
    let list = host.kubectl(&["get", "--raw", "/api/v1/namespaces"]).ok().json();
    list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

fn config_maps(host: &Host) -> Vec<String> {
    let list = host.kubectl(&["get", "configmaps", "-n", "default", "-o", "name"]).ok();
    list.lines().into_iter().filter_map(|line| line.strip_prefix("configmap/kept-")).map(str::to_owned).collect()
}

/// How long there is no server: a minute in the long form.
fn absence() -> Duration {
    Duration::from_secs(if std::env::var_os("NARU_LONG").is_some() { 60 } else { 12 })
}

/// Everything until the server moves; returns the windows in which requests may have failed.
fn one_cluster<'scope>(
    (server, w1, w2): (&'scope Host, &'scope Host, &'scope Host),
    project: &Project<'_>,
    traffic: &Traffic,
    scope: &'scope Scope<'scope, '_>,
) -> Vec<Window> {
    let published = |host: &Host| (host.address(), 8088, "/host");
    traffic.step("two machines join");
    join(server, &[(w1, "w1"), (w2, "w2")]);
    traffic.open(scope, "the port on w1", published(w1), from_outside(server));
    let through_w2 = traffic.open(scope, "the port on w2", published(w2), from_outside(server));
    traffic.open(scope, "the virtual address on w1", (virtual_address(server), 8080, "/host"), from_inside(w1));

    traffic.step("scaled out");
    project.up(&["--scale", "web=6", "--scale", "front=3"]);
    settled(server, &[("web", 6), ("front", 3)], &["node-1", "w1", "w2"]);
    let (on, _) = ready(server, "web", &["node-1", "w1", "w2"]);
    assert!(on.iter().all(|count| *count > 0), "some on each: {on:?}");
    traffic.open(
        scope,
        "a pod's way by name, over w1",
        (w1.address(), 8089, "/get/web:8080/host"),
        from_outside(server),
    );

    traffic.step("w2 loses its power");
    through_w2.close();
    let begun = Instant::now();
    w2.cut();
    w2.kill_everything();
    let window = Window { begun, ended: begun + WINDOW };
    settled(server, &[("web", 6), ("front", 3)], &["node-1", "w1"]);
    eprintln!(
        "power off to replaced: {:?}; the last request failed after {:?}",
        begun.elapsed(),
        traffic.last_failure_after(begun)
    );

    traffic.step("w2 has power again");
    forget_kernel(w2);
    w2.mend();
    w2.naru(&["image", "ls"]).ok();
    nodes_ready(server, &["node-1", "w1", "w2"]);
    traffic.open(scope, "the port on w2, again", published(w2), from_outside(server));

    traffic.step("w1 is drained");
    server.naru(&["node", "drain", "w1"]).ok();
    settled(server, &[("web", 6), ("front", 3)], &["node-1", "w2"]);

    traffic.step("the server stops");
    server.kill_server();
    std::thread::sleep(absence());
    traffic.step("the server is back");
    server.start_server();
    nodes_ready(server, &["node-1", "w1", "w2"]);
    connected(server, &["w1", "w2"]);
    settled(server, &[("web", 6), ("front", 3)], &["node-1", "w2"]);
    server.naru(&["node", "uncordon", "w1"]).ok();
    vec![window]
}

#[test]
fn the_way_from_one_machine_to_several_loses_no_request_and_nothing_that_was_acknowledged() {
    let Some(lan) = Lan::new() else { return };
    let Some(server) = machine(&lan, false) else { return };
    let others = (0..3).map(|_| machine(&lan, true)).collect::<Option<Vec<Host>>>();
    let Some([w1, w2, next]) = others.as_deref().and_then(|others| others.first_chunk()) else { return };
    let traffic = Traffic::new();
    traffic.step("one machine");
    let project = server.project("shop", COMPOSE);
    project.up(&[]);
    let windows = std::thread::scope(|scope| {
        let _closing = Closing(&traffic);
        let here = [
            traffic.open(scope, "the port on the server", (server.address(), 8088, "/host"), from_outside(&server)),
            traffic.open(
                scope,
                "the virtual address on the server",
                (virtual_address(&server), 8080, "/host"),
                from_inside(&server),
            ),
            traffic.open(
                scope,
                "a pod's way by name, over the server",
                (server.address(), 8089, "/get/web:8080/host"),
                from_outside(&server),
            ),
        ];
        let mut windows = one_cluster((&server, w1, w2), &project, &traffic, scope);

        traffic.step("the server is saved");
        for number in 0..20 {
            server.kubectl(&["create", "configmap", &format!("kept-{number}"), "-n", "default"]).ok();
        }
        let (file, key) = backup(&server);
        let issued = revision(&server);
        let on = |service| ready(&server, service, &["node-1"]).0[0];
        assert!(on("web") > 0, "the server's machine has a part in what is asked");
        here.iter().for_each(|road| road.close());

        traffic.step("the server's machine is gone");
        let lost = Instant::now();
        server.cut();
        server.kill_everything();
        windows.push(Window { begun: lost, ended: lost + WINDOW });
        // Nobody but the workers themselves can notice.
        std::thread::sleep(absence());
        eprintln!("the last request failed {:?} after that", traffic.last_failure_after(lost));

        traffic.step("another takes its place");
        next.ip(&format!("address add {}/24 dev eth0", server.address())).expect("the old address");
        // Whoever takes over an address announces it on the wire.
        for other in [w1, w2] {
            // A table in which entries come as fast as they go is flushed in more than one attempt.
            until("its neighbours are forgotten", || other.ip("neigh flush dev eth0").is_ok(), |done| *done);
        }
        next.naru(&["backup", "restore", &file.to_string_lossy(), "--key-file", &key.to_string_lossy()]).ok();
        next.start_server();
        nodes_ready(next, &["node-1", "w1", "w2"]);
        connected(next, &["w1", "w2"]);
        assert_eq!(config_maps(next).len(), 20, "acknowledged before the backup: {:?}", config_maps(next));
        assert!(revision(next) > issued, "{} after {issued}", revision(next));
        // A backup holds no images: other nodes have them.
        settled(next, &[("web", 6), ("front", 3)], &["node-1", "w1", "w2"]);

        traffic.step("the new server's machine serves too");
        let again = next.project("shop", COMPOSE);
        again.naru(&["scale", "web=8"]).ok();
        settled(next, &[("web", 8), ("front", 3)], &["node-1", "w1", "w2"]);
        assert!(ready(next, "web", &["node-1"]).1 >= 8 && ready(next, "web", &["node-1"]).0[0] > 0, "some here");
        let last =
            traffic.open(scope, "the port on the new server", (next.address(), 8088, "/host"), from_outside(next));
        eventually_within(PATIENCE, "requests through the new server", || {
            let asked = last.asked.load(Ordering::Relaxed);
            if asked > 100 { Ok(()) } else { Err(format!("{asked}")) }
        });
        traffic.step("the end");
        drop(_closing);
        windows
    });
    let (lost, borne) = traffic.judge(&windows);
    eprintln!("{borne} requests failed while a machine was lost and not noticed");
    assert!(lost.is_empty(), "{} requests were lost:\n{}", lost.len(), lost.join("\n"));
}
