//! Names, networks and published ports, asked from containers, from the host and from another machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use naru_testkit::{Host, NEIGHBOUR, NODE, Project, eventually, shared_host, until};

fn host() -> Option<&'static Host> {
    shared_host(env!("CARGO_BIN_EXE_naru"))
}

/// What a service's container is answered by another server.
fn ask(project: &Project<'_>, from: &str, url: &str) -> Result<String, String> {
    let output = project.exec(from, &["/probe", "--get", url]);
    if output.code == 0 { Ok(output.text().to_owned()) } else { Err(output.to_string()) }
}

/// The addresses that a container finds for a name.
fn resolve(project: &Project<'_>, from: &str, name: &str) -> BTreeSet<String> {
    let output = project.exec(from, &["/probe", "--resolve", name]);
    output.lines().into_iter().map(str::to_owned).collect()
}

#[test]
fn services_are_found_by_name() {
    let Some(host) = host() else { return };
    let project = host.project(
        "names",
        r#"
services:
  web:
    image: naru.local/probe:1
    deploy: {replicas: 3}
    networks: {default: {aliases: [site]}}
  client: {image: naru.local/probe:1}
"#,
    );
    project.up(&[]);
    let one = until("a service has one address", || resolve(&project, "client", "web"), |found| found.len() == 1);
    for name in ["site", "web.names", "web.names.svc", "web.names.svc.cluster.local"] {
        until(name, || resolve(&project, "client", name), |found| *found == one);
    }
    until(
        "every replica",
        || resolve(&project, "client", "tasks.web"),
        |found| found.len() == 3 && found.is_disjoint(&one),
    );
    assert!(resolve(&project, "client", "nosuch").is_empty());
    let direct = project.exec("client", &["nslookup", "web", "127.0.0.11"]).ok();
    assert!(direct.stdout.contains(one.first().expect("one")), "Docker's resolver address answers too: {direct}");
    let address = resolve(&project, "client", "tasks.web").pop_first().expect("an address");
    project.exec("client", &["nslookup", &address]).ok().says(&["web"]);
    let home =
        until("the host has a name", || resolve(&project, "client", "host.docker.internal"), |found| !found.is_empty());
    assert_eq!(home.len(), 1);
}

#[test]
fn links_are_names() {
    let Some(host) = host() else { return };
    let project = host.project(
        "links",
        "services:\n  web: {image: naru.local/probe:1}\n  client: {image: naru.local/probe:1, links: ['web:linked']}\n",
    );
    project.up(&[]);
    let web = until("web", || resolve(&project, "client", "web"), |found| !found.is_empty());
    until("linked", || resolve(&project, "client", "linked"), |found| *found == web);
}

#[test]
fn replicas_share_the_requests() {
    let Some(host) = host() else { return };
    let project = host.project(
        "balance",
        r#"
services:
  web: {image: naru.local/probe:1, ports: ["8201:8080"], deploy: {replicas: 3}}
  client: {image: naru.local/probe:1}
"#,
    );
    project.up(&[]);
    let inside = |_: usize| ask(&project, "client", "web:8080/host");
    let outside = |_: usize| host.get_from_outside(NODE, 8201, "/host").map(|answer| answer.body);
    let here = |_: usize| host.get([127, 0, 0, 1], 8201, "/host").map(|answer| answer.body);
    type Way<'a> = &'a dyn Fn(usize) -> Result<String, String>;
    let ways: [(&str, Way<'_>); 3] = [("a pod", &inside), ("outside", &outside), ("localhost", &here)];
    for (who, way) in ways {
        eventually(&format!("{who} reaches all three"), || {
            let found: BTreeSet<String> = (0..12).filter_map(|at| way(at).ok()).collect();
            if found.len() == 3 { Ok(()) } else { Err(format!("{found:?} {:?}", way(0).err())) }
        });
    }
    project.naru(&["scale", "web=1"]).ok();
    // Whoever went away answers no more: not one request is lost on it.
    let left = host.fetch(8201, "/host");
    for _ in 0..20 {
        assert_eq!(host.get([127, 0, 0, 1], 8201, "/host").map(|answer| answer.body), Ok(left.clone()));
    }
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let Some(host) = host() else { return };
    let project = host.project(
        "ports",
        r#"
services:
  web:
    image: naru.local/probe:1
    ports: ["8211:8080", "127.0.0.1:8212:8080", "8213-8214:8080-8081", {target: 8080, published: "8215", protocol: tcp}, "8216:8080/udp"]
  client: {image: naru.local/probe:1}
"#,
    );
    project.up(&[]);
    let v4 = IpAddr::from([127, 0, 0, 1]);
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    for (port, address) in [(8211, v4), (8211, v6), (8211, NODE.into()), (8212, v4), (8213, v4), (8215, v4)] {
        eventually(&format!("{address} {port}"), || host.get(address, port, "/host"));
    }
    assert_eq!(
        host.get_from_outside(NODE, 8211, "/remote").map(|answer| answer.body),
        Ok(NEIGHBOUR.to_string()),
        "the client's address is kept"
    );
    assert!(host.get_from_outside(NODE, 8212, "/host").is_err(), "a port of 127.0.0.1 is not for others");
    eventually("a pod reaches it at the host's address", || ask(&project, "client", &format!("{NODE}:8211/host")));
    eventually("a pod reaches its own published port", || ask(&project, "web", &format!("{NODE}:8211/host")));
    let echo = |to: &str| {
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(Duration::from_secs(2))).map_err(|error| error.to_string())?;
        socket.send_to(b"hello", to).map_err(|error| error.to_string())?;
        let mut buffer = [0; 200];
        let count = socket.recv(&mut buffer).map_err(|error| error.to_string())?;
        Ok::<_, String>(String::from_utf8_lossy(&buffer[..count]).into_owned())
    };
    let answer = eventually("UDP from the host", || host.inside(|| echo("127.0.0.1:8216")));
    assert!(answer.ends_with("hello"), "{answer}");
    let answer = eventually("UDP from outside", || host.outside(|| echo(&format!("{NODE}:8216"))));
    assert!(answer.contains(&NEIGHBOUR.to_string()), "{answer}");
    project.naru(&["down", "-t", "0"]).ok();
    until(
        "the ports are closed",
        || host.get(v4, 8211, "/host").is_err() && host.get(v6, 8211, "/host").is_err(),
        |closed| *closed,
    );
}

#[test]
fn networks_are_apart() {
    let Some(host) = host() else { return };
    let project = host.project(
        "apart",
        r#"
services:
  front: {image: naru.local/probe:1, networks: [front]}
  both:
    image: naru.local/probe:1
    networks: {front: {aliases: [middle]}, back: {aliases: [storage]}}
  back: {image: naru.local/probe:1, networks: [back]}
  shut: {image: naru.local/probe:1, networks: [inside]}
networks: {front: {}, back: {}, inside: {internal: true}}
"#,
    );
    let other = host.project("apart2", "services:\n  stranger: {image: naru.local/probe:1}\n");
    project.up(&[]);
    other.up(&[]);
    for (from, to) in [("front", "both"), ("front", "middle"), ("both", "back"), ("back", "storage"), ("both", "front")]
    {
        eventually(&format!("{from} reaches {to}"), || ask(&project, from, &format!("{to}:8080/host")));
    }
    for (from, name) in [("front", "back"), ("back", "front"), ("front", "storage"), ("front", "shut")] {
        assert!(resolve(&project, from, name).is_empty(), "{from} must not find {name}");
    }
    let address =
        |project: &Project<'_>, service: &str| project.exec(service, &["hostname", "-i"]).ok().text().to_owned();
    let back = address(&project, "back");
    for (project, from) in [(&project, "front"), (&other, "stranger")] {
        let answer = ask(project, from, &format!("{back}:8080/host"));
        assert!(answer.is_err(), "{from} must not reach the network back by address: {answer:?}");
    }
    // The neighbour stands for the world.
    let world = |from: &str| project.exec(from, &["ping", "-c", "1", "-W", "2", &NEIGHBOUR.to_string()]).code == 0;
    assert!(world("front"), "a network leads out");
    assert!(!world("shut"), "an internal one does not");
}

#[test]
fn projects_meet_on_external_networks() {
    let Some(host) = host() else { return };
    let first = host.project(
        "meet1",
        "services:\n  one: {image: naru.local/probe:1, networks: [common]}\nnetworks: {common: {name: meeting}}\n",
    );
    let second = host.project(
        "meet2",
        "services:\n  two: {image: naru.local/probe:1, networks: [outer]}\nnetworks: {outer: {name: meeting, external: true}}\n",
    );
    second.naru(&["up", "-d"]).refuses(&["meeting"]);
    first.up(&[]);
    second.up(&[]);
    eventually("two finds one", || ask(&second, "two", "one:8080/host"));
    eventually("one finds two", || ask(&first, "one", "two:8080/host"));
    second.naru(&["down"]).ok();
}

#[test]
fn host_network_and_host_names() {
    let Some(host) = host() else { return };
    let project = host.project(
        "atthehost",
        r#"
services:
  server: {image: naru.local/probe:1, network_mode: host, environment: {PORT: "8231"}}
  client:
    image: naru.local/probe:1
    extra_hosts: ["myhost:host-gateway"]
"#,
    );
    project.up(&[]);
    assert!(!host.fetch(8231, "/host").is_empty());
    for name in ["host.docker.internal", "myhost"] {
        eventually(name, || ask(&project, "client", &format!("{name}:8231/health")));
    }
}

#[test]
fn services_without_ports_answer_on_every_port() {
    let Some(host) = host() else { return };
    let project = host.project(
        "every",
        "services:\n  web: {image: naru.local/probe:1, environment: {PORT: '5555'}}\n  client: {image: naru.local/probe:1}\n",
    );
    project.up(&[]);
    eventually("an undeclared port", || ask(&project, "client", "web:5555/host"));
}

#[test]
fn no_request_is_lost_on_a_dead_replica() {
    let Some(host) = host() else { return };
    let project = host.project(
        "dead",
        "services:\n  web: {image: naru.local/probe:1, ports: ['8241:8080'], restart: always, deploy: {replicas: 3}}\n",
    );
    project.up(&[]);
    let several = || (0..12).map(|_| host.fetch(8241, "/host")).collect::<BTreeSet<String>>();
    until("every replica answers", several, |from| from.len() == 3);
    let dead = project.ps()[0]["Pod"].as_str().expect("a pod").to_owned();
    project.kubectl(&["delete", "pod", &dead, "--grace-period=0", "--force"]).ok();
    eventually("only the living answer, twenty times in a row", || {
        for _ in 0..20 {
            let answer = host.get([127, 0, 0, 1], 8241, "/host")?;
            if answer.body == dead {
                return Err(format!("{dead} answered"));
            }
        }
        Ok(())
    });
}
