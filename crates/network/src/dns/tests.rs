use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use proptest::prelude::*;

use super::answer::encode;
use super::*;
use crate::model::Protocol;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 0, last)
}

fn vip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 43, 0, last)
}

fn member(last: u8, ready: bool) -> Member {
    Member { address: ip(last).into(), hostname: None, ready, terminating: false }
}

fn pod(namespace: &str, name: &str, last: u8, networks: &[(&str, &[&str])]) -> PodNames {
    PodNames {
        namespace: namespace.into(),
        name: name.into(),
        address: Some(ip(last)),
        networks: networks
            .iter()
            .map(|(network, aliases)| Membership {
                network: (*network).into(),
                aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
            })
            .collect(),
        ..PodNames::default()
    }
}

fn service(namespace: &str, name: &str, addresses: &[u8], members: Vec<Member>) -> ServiceNames {
    ServiceNames {
        namespace: namespace.into(),
        name: name.into(),
        addresses: addresses.iter().map(|last| vip(*last).into()).collect(),
        ports: vec![PortName { name: "http".into(), protocol: Protocol::Tcp, port: 80 }],
        members,
        ..ServiceNames::default()
    }
}

/// Two flat namespaces, and a Compose project `shop` with networks `front` and `back`.
fn names() -> Names {
    let compose =
        |name: &str, vip: u8, members| ServiceNames { compose: true, ..service("shop", name, &[vip], members) };
    let of = |service: &str, mut pod: PodNames| {
        pod.service = Some(service.into());
        pod.names = vec![format!("shop-{service}-1")];
        pod
    };
    let mut headless = service(
        "data",
        "pg",
        &[],
        vec![
            Member { hostname: Some("pg-0".into()), ..member(20, true) },
            Member { hostname: Some("pg-1".into()), ..member(21, false) },
            member(22, true),
        ],
    );
    headless.ports[0].port = 5432;
    let mut early = headless.clone();
    early.name = "early".into();
    early.publish_not_ready = true;
    let mut away = service("data", "away", &[], vec![]);
    away.external_name = Some("example.com".into());
    Names::new(Zone {
        domain: "cluster.local".into(),
        host: Some(Ipv4Addr::new(10, 42, 0, 1)),
        host6: None,
        services: vec![
            service("default", "web", &[1], vec![member(10, true)]),
            service("data", "api", &[2], vec![member(11, true)]),
            headless,
            early,
            away,
            compose("front", 5, vec![member(30, true)]),
            compose("back", 6, vec![member(31, false), member(32, false)]),
            compose("gone", 7, vec![]),
        ],
        pods: vec![
            pod("default", "web-x", 10, &[]),
            pod("data", "api-x", 11, &[]),
            of("front", pod("shop", "front-x", 30, &[("shop_front", &["www"])])),
            of("back", pod("shop", "back-x", 31, &[("shop_back", &["db", "db.internal"])])),
            of("back", pod("shop", "back-y", 32, &[("shop_back", &["db", "second"])])),
            pod("shop", "both-x", 33, &[("shop_front", &[]), ("shop_back", &[])]),
        ],
    })
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 7;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_utf8(name).unwrap(), kind));
    message
}

/// The addresses `name` stands for; `Err` says why there are none.
fn ask(names: &Names, client: u8, name: &str) -> Result<Vec<Ipv4Addr>, &'static str> {
    match answer(names, IpAddr::V4(ip(client)), &query(name, RecordType::A), 0) {
        Outcome::Forward => Err("forward"),
        Outcome::Chase { .. } => Err("chase"),
        Outcome::Answer(message) if message.metadata.response_code == ResponseCode::NXDomain => Err("nothing"),
        Outcome::Answer(message) if message.answers.is_empty() => Err("empty"),
        Outcome::Answer(message) => Ok(message
            .answers
            .iter()
            .map(|record| match &record.data {
                RData::A(a) => a.0,
                other => panic!("{other}"),
            })
            .collect()),
    }
}

const DEFAULT: u8 = 10;
const DATA: u8 = 11;
const FRONT: u8 = 30;
const BACK: u8 = 31;
const BOTH: u8 = 33;
const NODE: u8 = 1;

#[test]
fn services_are_found_by_every_form_of_their_name() {
    let names = names();
    for name in ["web", "web.", "WEB", "web.default", "web.default.svc", "web.default.svc.cluster.local."] {
        assert_eq!(ask(&names, DEFAULT, name), Ok(vec![vip(1)]), "{name}");
    }
    for (client, name, expected) in [
        (DATA, "web.default", Ok(vec![vip(1)])),
        (DATA, "api", Ok(vec![vip(2)])),
        (DEFAULT, "api", Err("forward")),
        (NODE, "api", Err("forward")),
        (NODE, "api.data.svc.cluster.local", Ok(vec![vip(2)])),
        (NODE, "front.shop.svc.cluster.local", Ok(vec![vip(5)])),
        (DEFAULT, "nope.default.svc.cluster.local", Err("nothing")),
        (DEFAULT, "nope.default.svc", Err("nothing")),
        (DEFAULT, "www.example.com.default.svc.cluster.local", Err("nothing")),
        (DEFAULT, "default.svc.cluster.local", Err("empty")),
        (DEFAULT, "cluster.local", Err("empty")),
        (DEFAULT, "www.example.com", Err("forward")),
        (DEFAULT, "default", Err("forward")),
        (DEFAULT, "host.docker.internal", Ok(vec![ip(1)])),
        (DEFAULT, "gateway.docker.internal", Ok(vec![ip(1)])),
        (DEFAULT, "10-42-0-10.default.pod.cluster.local", Ok(vec![ip(10)])),
        (DEFAULT, "10-42-0-99.default.pod.cluster.local", Err("nothing")),
        (DEFAULT, "localhost", Ok(vec![Ipv4Addr::LOCALHOST])),
    ] {
        assert_eq!(ask(&names, client, name), expected, "{name} asked by {client}");
    }
}

#[test]
fn headless_services_are_their_ready_members() {
    let names = names();
    assert_eq!(ask(&names, DATA, "pg"), Ok(vec![ip(20), ip(22)]));
    assert_eq!(ask(&names, DATA, "early"), Ok(vec![ip(20), ip(21), ip(22)]));
    assert_eq!(ask(&names, DATA, "tasks.pg"), Ok(vec![ip(20), ip(21), ip(22)]));
    assert_eq!(ask(&names, DATA, "pg-0.pg"), Ok(vec![ip(20)]));
    assert_eq!(ask(&names, DEFAULT, "pg-0.pg.data.svc.cluster.local"), Ok(vec![ip(20)]));
    assert_eq!(ask(&names, DATA, "pg-1.pg"), Err("forward"), "a member that is not ready has no name");
    assert_eq!(ask(&names, DATA, "pg-1.pg.data.svc"), Err("nothing"));
    assert_eq!(ask(&names, DATA, "pg-1.early"), Ok(vec![ip(21)]));
    assert_eq!(ask(&names, DATA, "10-42-0-22.pg.data.svc"), Ok(vec![ip(22)]));
}

#[test]
fn compose_names_depend_on_the_askers_networks() {
    let names = names();
    assert_eq!(ask(&names, BOTH, "front"), Ok(vec![vip(5)]));
    assert_eq!(ask(&names, BOTH, "www"), Ok(vec![vip(5)]), "an alias of a whole service is the service");
    assert_eq!(ask(&names, BACK, "front"), Err("nothing"), "not in its network, and nobody else's business");
    assert_eq!(ask(&names, BACK, "www"), Err("forward"));
    assert_eq!(ask(&names, BACK, "front.shop.svc.cluster.local"), Err("nothing"));
    assert_eq!(ask(&names, DEFAULT, "front.shop"), Err("forward"), "flat pods share no network with it");
    assert_eq!(ask(&names, BOTH, "back"), Ok(vec![ip(31), ip(32)]), "nobody is ready: the replicas themselves");
    assert_eq!(ask(&names, BOTH, "db"), Ok(vec![ip(31), ip(32)]));
    assert_eq!(ask(&names, BOTH, "db.internal"), Ok(vec![ip(31), ip(32)]));
    assert_eq!(ask(&names, FRONT, "db"), Err("forward"));
    assert_eq!(ask(&names, BOTH, "tasks.back"), Ok(vec![ip(31), ip(32)]));
    assert_eq!(ask(&names, BOTH, "shop-front-1"), Ok(vec![ip(30)]));
    assert_eq!(ask(&names, BACK, "shop-front-1"), Err("forward"));
    assert_eq!(ask(&names, BOTH, "gone"), Ok(vec![vip(7)]), "scaled to nothing, the address still stands");
}

#[test]
fn a_ready_replica_brings_the_virtual_address_back() {
    let mut zone = names().zone().clone();
    let back = zone.services.iter_mut().find(|service| service.name == "back").unwrap();
    back.members[0].ready = true;
    let names = Names::new(zone);
    assert_eq!(ask(&names, BOTH, "back"), Ok(vec![vip(6)]));
    assert_eq!(ask(&names, BOTH, "tasks.back"), Ok(vec![ip(31), ip(32)]));
}

#[test]
fn ipv6_and_other_types_are_empty_not_missing() {
    let names = names();
    for kind in [RecordType::AAAA, RecordType::TXT, RecordType::MX, RecordType::SRV] {
        let Outcome::Answer(message) = answer(&names, ip(DEFAULT).into(), &query("web", kind), 0) else { panic!() };
        assert_eq!(message.metadata.response_code, ResponseCode::NoError, "{kind}");
        assert!(message.answers.is_empty() && message.metadata.authoritative);
        assert_eq!(message.authorities[0].record_type(), RecordType::SOA);
        assert_eq!(message.authorities[0].name.to_utf8(), "cluster.local.");
    }
    let Outcome::Answer(message) = answer(&names, ip(DEFAULT).into(), &query("nope.svc", RecordType::AAAA), 0) else {
        panic!()
    };
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(message.authorities[0].record_type(), RecordType::SOA, "negative answers say how long they hold");
}

#[test]
fn ports_are_found_by_name() {
    let names = names();
    let srv = |name: &str| {
        let Outcome::Answer(message) = answer(&names, ip(DATA).into(), &query(name, RecordType::SRV), 0) else {
            panic!("{name}")
        };
        let mut all: Vec<(String, u16)> = message
            .answers
            .iter()
            .map(|record| match &record.data {
                RData::SRV(srv) => (srv.target.to_utf8(), srv.port),
                other => panic!("{other}"),
            })
            .collect();
        all.sort();
        (all, message.additionals.len())
    };
    assert_eq!(srv("_http._tcp.api.data.svc.cluster.local"), (vec![("api.data.svc.cluster.local.".into(), 80)], 1));
    assert_eq!(srv("_http._tcp.api"), (vec![("api.data.svc.cluster.local.".into(), 80)], 1));
    assert_eq!(
        srv("_http._tcp.pg"),
        (
            vec![
                ("10-42-0-22.pg.data.svc.cluster.local.".into(), 5432),
                ("pg-0.pg.data.svc.cluster.local.".into(), 5432)
            ],
            2
        )
    );
    assert_eq!(srv("_http._udp.api.data.svc").0, vec![]);
}

#[test]
fn addresses_have_names() {
    let names = names();
    let ptr = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        match answer(&names, ip(DATA).into(), &query(&format!("{d}.{c}.{b}.{a}.in-addr.arpa."), RecordType::PTR), 0) {
            Outcome::Answer(message) => message.answers[0].data.to_string(),
            _ => "forward".into(),
        }
    };
    assert_eq!(ptr(vip(2)), "api.data.svc.cluster.local.");
    assert_eq!(ptr(ip(20)), "pg-0.pg.data.svc.cluster.local.");
    assert_eq!(ptr(ip(30)), "shop-front-1.");
    assert_eq!(ptr(ip(10)), "10-42-0-10.default.pod.cluster.local.");
    assert_eq!(ptr(Ipv4Addr::new(8, 8, 8, 8)), "forward");
}

#[test]
fn both_families_have_names() {
    let six = |last: u8| -> IpAddr { format!("fd00:42::a2a:{last:x}").parse().unwrap() };
    let mut both = service("data", "both", &[3], vec![member(11, true)]);
    let vip6: IpAddr = "fd00:43::3".parse().unwrap();
    both.addresses.push(vip6);
    let mut zone = names().zone().clone();
    let members = [member(20, true), Member { address: six(20), ..member(20, true) }];
    zone.services.extend([both, service("data", "members", &[], members.to_vec())]);
    zone.host6 = Some("fd00:42::a2a:1".parse().unwrap());
    for pod in &mut zone.pods {
        pod.address6 = pod.address.map(|address| format!("fd00:42::a2a:{:x}", address.octets()[3]).parse().unwrap());
    }
    let names = Names::new(zone);
    let ask = |kind: RecordType, name: &str| match answer(&names, ip(DATA).into(), &query(name, kind), 0) {
        Outcome::Answer(message) => message.answers.iter().map(|record| record.data.to_string()).collect(),
        _ => vec!["elsewhere".to_owned()],
    };
    assert_eq!(ask(RecordType::AAAA, "both"), ["fd00:43::3"]);
    assert_eq!(ask(RecordType::A, "both"), ["10.43.0.3"]);
    assert_eq!(ask(RecordType::AAAA, "api"), Vec::<String>::new(), "a service of one family has one");
    assert_eq!(ask(RecordType::AAAA, "members"), [six(20).to_string()]);
    assert_eq!(ask(RecordType::AAAA, "fd00-42--a2a-14.members"), [six(20).to_string()]);
    assert_eq!(ask(RecordType::AAAA, "fd00-42--a2a-b.data.pod.cluster.local"), [six(11).to_string()]);
    assert_eq!(ask(RecordType::AAAA, "host.docker.internal"), ["fd00:42::a2a:1"]);
    assert_eq!(ask(RecordType::AAAA, "localhost"), ["::1"]);
    let ptr = |address: IpAddr| {
        let IpAddr::V6(address) = address else { panic!("{address}") };
        let digits: Vec<String> =
            address.octets().iter().rev().flat_map(|o| [format!("{:x}", o & 15), format!("{:x}", o >> 4)]).collect();
        ask(RecordType::PTR, &format!("{}.ip6.arpa.", digits.join(".")))
    };
    assert_eq!(ptr(vip6), ["both.data.svc.cluster.local."]);
    assert_eq!(ptr(six(11)), ["fd00-42--a2a-b.data.pod.cluster.local."]);
    assert_eq!(ptr("2001:db8::1".parse().unwrap()), ["elsewhere"]);
    assert_eq!(ask(RecordType::PTR, "1.0.ip6.arpa."), ["elsewhere"], "a part of an address is none");
    // Who asks is known by either address: names of networks are for members alone.
    let asked = |from: IpAddr| match answer(&names, from, &query("front", RecordType::A), 0) {
        Outcome::Answer(message) => message.answers.len(),
        _ => 0,
    };
    assert_eq!((asked(six(FRONT)), asked(six(BACK))), (1, 0));
}

#[test]
fn external_names_are_aliases_to_chase() {
    let Outcome::Chase { begun, target } = answer(&names(), ip(DATA).into(), &query("away", RecordType::A), 0) else {
        panic!()
    };
    assert_eq!(target.to_utf8(), "example.com.");
    assert_eq!(begun.answers[0].record_type(), RecordType::CNAME);
}

#[test]
fn aliases_of_our_own_names_are_followed_here() {
    let alias = |name: &str, target: &str| ServiceNames {
        external_name: Some(target.into()),
        ..service("default", name, &[], vec![])
    };
    let names = Names::new(Zone {
        domain: "cluster.local".into(),
        services: vec![
            service("default", "web", &[1], vec![member(10, true)]),
            alias("near", "web.default.svc.cluster.local"),
            alias("twice", "near.default.svc.Cluster.Local."),
            alias("nowhere", "nosuch.default.svc.cluster.local"),
            alias("circle", "circle.default.svc.cluster.local"),
            alias("outside", "twice.example.com"),
            alias("detour", "outside.default.svc.cluster.local"),
        ],
        ..Zone::default()
    });
    let ask = |name: &str, kind| {
        let query = query(&format!("{name}.default.svc.cluster.local."), kind);
        answer(&names, IpAddr::V4(ip(10)), &query, 0)
    };
    let Outcome::Answer(message) = ask("twice", RecordType::A) else { panic!("it is ours") };
    let kinds: Vec<RecordType> = message.answers.iter().map(|record| record.record_type()).collect();
    assert_eq!(kinds, [RecordType::CNAME, RecordType::CNAME, RecordType::A]);
    assert_eq!(message.answers[2].name.to_string(), "web.default.svc.cluster.local.");
    assert!(message.metadata.authoritative);
    let Outcome::Answer(empty) = ask("near", RecordType::AAAA) else { panic!() };
    assert_eq!(empty.metadata.response_code, ResponseCode::NoError);
    assert_eq!((empty.answers.len(), empty.authorities.len()), (1, 1), "the alias, and that there is no IPv6");
    let Outcome::Answer(missing) = ask("nowhere", RecordType::A) else { panic!() };
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    let Outcome::Answer(circle) = ask("circle", RecordType::A) else { panic!() };
    assert_eq!(circle.metadata.response_code, ResponseCode::ServFail);
    let Outcome::Chase { begun, target } = ask("detour", RecordType::A) else { panic!() };
    assert_eq!((begun.answers.len(), target.to_string().as_str()), (2, "twice.example.com."));
}

#[test]
fn search_domains_end_here_and_never_upstream() {
    let names = names();
    for name in
        ["example.com.default.svc.cluster.local.", "example.com.svc.cluster.local.", "example.com.cluster.local."]
    {
        for kind in [RecordType::A, RecordType::AAAA] {
            let Outcome::Answer(message) = answer(&names, IpAddr::V4(ip(10)), &query(name, kind), 0) else {
                panic!("{name} was forwarded")
            };
            assert_eq!(message.metadata.response_code, ResponseCode::NXDomain, "{name}");
            assert_eq!(message.authorities.len(), 1, "for how long it may be believed");
        }
    }
    let Outcome::Answer(apex) = answer(&names, IpAddr::V4(ip(10)), &query("cluster.local.", RecordType::SOA), 0) else {
        panic!()
    };
    assert_eq!((apex.answers.len(), apex.authorities.len()), (1, 0));
}

#[test]
fn what_is_no_proper_question_is_refused() {
    let names = names();
    let code = |message: &Message| match answer(&names, ip(1).into(), message, 0) {
        Outcome::Answer(message) => message.metadata.response_code,
        other => panic!("{other:?}"),
    };
    let mut update = query("web", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut none = query("web", RecordType::A);
    none.queries.clear();
    assert_eq!(code(&none), ResponseCode::FormErr);
    assert_eq!(code(&query("cluster.local", RecordType::AXFR)), ResponseCode::Refused);
    let mut future = query("web", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(3);
    future.edns = Some(edns);
    assert_eq!(code(&future), ResponseCode::BADVERS);
}

#[test]
fn long_answers_are_cut_and_say_so() {
    let members = (0..200).map(|last| member(last, true)).collect();
    let zone = Zone {
        domain: "cluster.local".into(),
        services: vec![service("data", "big", &[], members)],
        pods: vec![pod("data", "api-x", 11, &[])],
        ..Zone::default()
    };
    let names = Names::new(zone);
    let Outcome::Answer(message) = answer(&names, ip(11).into(), &query("big", RecordType::A), 0) else { panic!() };
    for limit in [512, 1232, 65535] {
        let bytes = encode(message.clone(), limit).unwrap();
        assert!(bytes.len() <= limit);
        let read = Message::from_vec(&bytes).unwrap();
        assert_eq!(read.metadata.truncation, read.answers.len() < 200, "{limit}");
        assert!(!read.answers.is_empty());
    }
}

#[test]
fn addresses_take_turns() {
    let names = names();
    let first = |turn| match answer(&names, ip(DATA).into(), &query("pg", RecordType::A), turn) {
        Outcome::Answer(message) => message.answers[0].data.to_string(),
        _ => panic!(),
    };
    assert_eq!((first(0), first(1), first(2)), ("10.42.0.20".into(), "10.42.0.22".into(), "10.42.0.20".into()));
}

#[test]
fn a_pods_resolver_is_told_to_ask_us() {
    let resolv = PodResolv::cluster_first(IpAddr::V4(vip(10)), "shop", "cluster.local");
    let expected =
        "nameserver 10.43.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:1\n";
    assert_eq!(pod_resolv_conf(&resolv), expected);
}

#[test]
fn upstream_servers_are_read_as_resolvers_read_them() {
    let text = "# comment\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\nsearch x\nnameserver nonsense\n";
    let servers = super::upstream::parse_servers(text);
    assert_eq!(servers, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]);
}

proptest! {
    /// Whatever is asked: never a panic, the same question back, and never somebody else's member.
    #[test]
    fn any_question_gets_an_orderly_outcome(
        name in "([a-z_0-9-]{1,9}\\.){0,6}[a-z]{1,5}", client in 0u8..40, kind in 1u16..260, turn in 0usize..99,
    ) {
        let names = names();
        let Ok(name) = Name::from_utf8(&name) else { return Ok(()) };
        let mut message = Message::query();
        message.add_query(Query::query(name, RecordType::from(kind)));
        if let Outcome::Answer(response) = answer(&names, ip(client).into(), &message, turn) {
            prop_assert_eq!(&response.queries, &message.queries);
            prop_assert!(encode(response, 512).is_some_and(|bytes| bytes.len() <= 512));
        }
    }
}
