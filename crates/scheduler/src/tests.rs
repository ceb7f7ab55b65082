//! Placement against tables, and against a slow, obvious reference.

use naru_api::k8s::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{Cluster, Demand, Policy, Rule};

fn node(name: &str, cpu: &str, memory: &str, labels: Value, taints: Value) -> Node {
    let value = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    serde_json::from_value(value).expect("a node")
}

fn pod(name: &str, spec: Value, labels: Value) -> Demand {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "a"}]);
    }
    let value = json!({"metadata": {"name": name, "namespace": "n", "labels": labels}, "spec": spec});
    Demand::of(&serde_json::from_value::<Pod>(value).expect("a pod")).expect("a demand")
}

fn sized(name: &str, cpu: &str) -> Demand {
    pod(name, json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}), json!({}))
}

fn cluster(nodes: &[Node]) -> Cluster {
    let mut cluster = Cluster::default();
    nodes.iter().for_each(|node| cluster.set_node(node));
    cluster
}

fn three() -> Cluster {
    cluster(&[
        node("a", "1", "1Gi", json!({"zone": "x", "disk": "ssd"}), json!([])),
        node("b", "2", "2Gi", json!({"zone": "y"}), json!([])),
        node("c", "4", "4Gi", json!({"zone": "y"}), json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])),
    ])
}

#[test]
fn each_rule_counts_and_words_what_it_takes() {
    let mut cluster = three();
    let rejection = cluster.place(&sized("p", "3")).expect_err("too large");
    assert_eq!(
        rejection.to_string(),
        "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 Insufficient cpu."
    );
    let rejection =
        cluster.place(&pod("p", json!({"nodeSelector": {"disk": "tape"}}), json!({}))).expect_err("no such");
    assert_eq!(rejection.reasons.iter().map(|r| r.0).collect::<Vec<_>>(), [Rule::Taints, Rule::NodeAffinity]);
    assert_eq!(
        Cluster::default().place(&sized("p", "1")).expect_err("none").to_string(),
        "no nodes available to schedule pods"
    );
}

#[test]
fn what_is_set_aside_is_not_given_twice_and_comes_back() {
    let mut cluster = cluster(&[node("a", "1", "1Gi", json!({}), json!([]))]);
    assert_eq!(cluster.place(&sized("p", "600m")).expect("fits").node, "a");
    cluster.place(&sized("q", "600m")).expect_err("full");
    cluster.remove_pod("n", "p");
    cluster.place(&sized("q", "600m")).expect("fits again");
}

#[test]
fn tolerations_and_selectors() {
    let toleration = |t: Value| {
        pod(
            "p",
            json!({"tolerations": [t], "nodeSelector": {"zone": "y"}, "containers": [{"name": "a", "resources": {"requests": {"cpu": "3"}}}]}),
            json!({}),
        )
    };
    for t in [
        json!({"operator": "Exists"}),
        json!({"key": "gpu", "value": "yes"}),
        json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}),
    ] {
        assert_eq!(three().place(&toleration(t.clone())).expect("tolerated").node, "c", "{t}");
    }
    for t in [json!({"key": "gpu", "value": "no"}), json!({"key": "gpu", "operator": "Exists", "effect": "NoExecute"})]
    {
        three().place(&toleration(t)).expect_err("not tolerated");
    }
}

#[test]
fn a_cordoned_or_unready_node_takes_nothing() {
    let mut cordoned = node("a", "1", "1Gi", json!({}), json!([]));
    cordoned.spec.as_mut().expect("a spec").unschedulable = Some(true);
    assert!(cluster(&[cordoned]).place(&sized("p", "1m")).expect_err("cordoned").to_string().contains("unschedulable"));
    let mut unready = node("a", "1", "1Gi", json!({}), json!([]));
    unready.status.as_mut().expect("a status").conditions = None;
    assert!(cluster(&[unready]).place(&sized("p", "1m")).expect_err("not ready").to_string().contains("not ready"));
}

#[test]
fn anti_affinity_holds_both_ways_and_affinity_starts_itself() {
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}]}}});
    let mut c = three();
    let first = c.place(&pod("p", apart.clone(), json!({"app": "db"}))).expect("fits").node;
    let second = c.place(&pod("q", apart, json!({"app": "db"}))).expect("fits").node;
    assert_ne!((first == "a"), (second == "a"), "one in each zone");
    // One without a wish of its own is kept away by those that have one.
    let rejection = c.place(&pod("r", json!({}), json!({"app": "db"}))).expect_err("kept away");
    assert!(rejection.to_string().contains("existing pods anti-affinity"), "{rejection}");
    let together = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}]}}});
    let mut c = three();
    let first = c.place(&pod("p", together.clone(), json!({"app": "x"}))).expect("the first of its kind").node;
    let second = c.place(&pod("q", together.clone(), json!({"app": "x"}))).expect("near").node;
    assert_eq!(first == "a", second == "a");
    three().place(&pod("s", together, json!({}))).expect_err("none is near, and it is not one itself");
}

#[test]
fn hard_spreads_keep_the_skew() {
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "w"}}}], "tolerations": [{"operator": "Exists"}]});
    let mut c = three();
    let mut zones = [0i32, 0];
    for i in 0..10 {
        let at = c.place(&pod(&format!("p{i}"), spread.clone(), json!({"app": "w"}))).expect("fits").node;
        zones[usize::from(at != "a")] += 1;
        assert!((zones[0] - zones[1]).abs() <= 1, "{zones:?}");
    }
}

#[test]
fn host_ports_are_taken_once_a_node() {
    let wants = |name: &str| {
        pod(name, json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]}), json!({}))
    };
    let mut c = three();
    c.place(&wants("p")).expect("fits");
    c.place(&wants("q")).expect("the other node");
    assert!(c.place(&wants("r")).expect_err("taken").to_string().contains("free ports"));
}

#[test]
fn of_nodes_that_are_alike_the_first_by_name_is_taken() {
    let alike = |name: &str| node(name, "4", "4Gi", json!({}), json!([]));
    let mut cluster = cluster(&[alike("c"), alike("b"), alike("d")]);
    assert_eq!(cluster.place(&sized("p", "1")).expect("fits").node, "b");
    // Another node takes the place of one that is gone, under another name.
    cluster.remove_node("c");
    cluster.set_node(&alike("a"));
    assert_eq!(cluster.place(&sized("q", "1")).expect("fits").node, "a");
    cluster.set_node(&alike("0"));
    cluster.remove_node("0");
    cluster.set_node(&alike("e"));
    assert_eq!(cluster.place(&sized("r", "1")).expect("fits").node, "d");
    assert_eq!(cluster.place(&sized("s", "1")).expect("fits").node, "e");
}

#[test]
fn policies_choose_between_even_and_full() {
    let nodes = [node("a", "4", "4Gi", json!({}), json!([])), node("b", "4", "4Gi", json!({}), json!([]))];
    let run = |policy| {
        let mut c = cluster(&nodes);
        c.policy = policy;
        let first = c.place(&sized("p", "1")).expect("fits").node;
        (first, c.place(&sized("q", "1")).expect("fits").node)
    };
    let (first, second) = run(Policy::Spread);
    assert_ne!(first, second);
    let (first, second) = run(Policy::Binpack);
    assert_eq!(first, second);
}

#[test]
fn a_node_that_lacks_two_things_is_counted_in_both() {
    let big = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "3", "memory": "3Gi"}}}]});
    let rejection = three().place(&pod("p", big, json!({}))).expect_err("too large");
    assert_eq!(
        rejection.to_string(),
        "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 Insufficient cpu, 2 Insufficient memory."
    );
    let mut one = cluster(&[node("a", "1", "1Gi", json!({}), json!([]))]);
    let rejection = one.place(&pod(
        "p",
        json!({"containers": [{"name": "a", "resources": {"requests": {"memory": "2Gi"}}}]}),
        json!({}),
    ));
    assert_eq!(rejection.expect_err("too large").to_string(), "0/1 nodes are available: 1 Insufficient memory.");
}

#[test]
fn node_affinity_joins_terms_by_or_and_expressions_by_and() {
    let wants = |terms: Value| {
        pod(
            "p",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}, "tolerations": [{"operator": "Exists"}]}),
            json!({}),
        )
    };
    let term = |key: &str, operator: &str, values: Value| json!({"key": key, "operator": operator, "values": values});
    let fit = |terms: Value| three().would_fit(&wants(terms)).unwrap_or(0);
    assert_eq!(fit(json!([{"matchExpressions": [term("zone", "In", json!(["y"]))]}])), 2);
    assert_eq!(
        fit(
            json!([{"matchExpressions": [term("disk", "Exists", json!([]))]}, {"matchExpressions": [term("zone", "In", json!(["y"]))]}])
        ),
        3
    );
    assert_eq!(
        fit(json!([{"matchExpressions": [term("zone", "In", json!(["x"])), term("disk", "DoesNotExist", json!([]))]}])),
        0
    );
    assert_eq!(fit(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}])), 1);
    assert_eq!(fit(json!([{}])), 0, "a term that says nothing selects nothing");
}

#[test]
fn a_spread_leaves_out_nodes_without_its_label() {
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "w"}}}]});
    let rejection = three().place(&pod("p", spread, json!({"app": "w"}))).expect_err("no rack");
    assert!(rejection.to_string().contains("topology spread constraints (missing required label)"), "{rejection}");
}

#[test]
fn a_spread_with_too_few_domains_counts_from_nothing() {
    let spread = |least: i32| json!({"topologySpreadConstraints": [{"maxSkew": 1, "minDomains": least, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "w"}}}]});
    let mut c = three();
    for name in ["p", "q"] {
        c.place(&pod(name, spread(3), json!({"app": "w"}))).expect("one a zone");
    }
    c.clone().place(&pod("r", spread(3), json!({"app": "w"}))).expect_err("a third zone is missing");
    c.place(&pod("r", spread(2), json!({"app": "w"}))).expect("two zones are enough");
}

#[test]
fn a_spread_may_leave_out_nodes_that_the_pod_cannot_use() {
    let spread = |taints: &str| json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": taints, "labelSelector": {"matchLabels": {"app": "w"}}}]});
    let host = |name: &str, taints: Value| node(name, "4", "4Gi", json!({"kubernetes.io/hostname": name}), taints);
    let closed = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
    for (policy, places) in [("Honor", 4), ("Ignore", 1)] {
        let mut c = cluster(&[host("a", json!([])), host("b", closed.clone())]);
        let fit =
            (0..4).filter(|i| c.place(&pod(&format!("p{i}"), spread(policy), json!({"app": "w"}))).is_ok()).count();
        assert_eq!(fit, places, "{policy}: a domain that stays empty holds the others back unless it is left out");
    }
}

#[test]
fn affinity_wants_one_pod_that_matches_every_term() {
    let both = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"},
        {"labelSelector": {"matchLabels": {"tier": "1"}}, "topologyKey": "zone"}]}}});
    let mut c = three();
    c.place(&pod("p", json!({}), json!({"app": "x"}))).expect("fits");
    c.place(&pod("q", json!({}), json!({"tier": "1"}))).expect("fits");
    c.place(&pod("r", both.clone(), json!({})))
        .expect_err("two pods that match one term each are none that matches both");
    c.place(&pod("s", json!({}), json!({"app": "x", "tier": "1"}))).expect("fits");
    c.place(&pod("r", both, json!({}))).expect("one matches both");
}

#[test]
fn affinity_reaches_into_namespaces_by_their_labels() {
    let near = |more: Value| {
        let mut term = json!({"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"});
        more.as_object().into_iter().flatten().for_each(|(key, value)| term[key] = value.clone());
        let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        pod("p", json!({"affinity": affinity}), json!({}))
    };
    let mut c = three();
    let mut other = pod("q", json!({}), json!({"app": "x"}));
    other.namespace = "other".into();
    c.set_pod("b", other);
    c.set_namespace("other", Some([("team".to_owned(), "a".to_owned())].into()));
    let fit = |more: Value| c.would_fit(&near(more)).is_ok();
    assert!(!fit(json!({})), "the pod's own namespace is meant");
    assert!(fit(json!({"namespaces": ["other"]})));
    assert!(fit(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}})));
    assert!(fit(json!({"namespaceSelector": {}})), "every namespace");
    assert!(!fit(json!({"namespaceSelector": {"matchLabels": {"team": "b"}}})));
}

#[test]
fn no_more_replicas_on_a_node_than_the_service_allows() {
    let replica = |name: &str| {
        let value = json!({
            "metadata": {"name": name, "namespace": "n", "labels": {"naru.io/service": "web"}, "annotations": {"naru.io/max-replicas-per-node": "1"}},
            "spec": {"containers": [{"name": "a"}]},
        });
        Demand::of(&serde_json::from_value::<Pod>(value).expect("a pod")).expect("a demand")
    };
    let mut c = three();
    let first = c.place(&replica("p")).expect("fits").node;
    assert_ne!(c.place(&replica("q")).expect("the other node").node, first);
    let rejection = c.place(&replica("r")).expect_err("both have one").to_string();
    assert!(rejection.contains("2 node(s) had 1 replicas of the service already"), "{rejection}");
}

fn ranked(name: &str, cpu: &str, priority: i32, more: Value) -> Demand {
    let mut spec =
        json!({"priority": priority, "containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    pod(name, spec, json!({}))
}

#[test]
fn the_fewest_and_least_important_are_pushed_away() {
    let nodes = [node("a", "2", "8Gi", json!({}), json!([])), node("b", "2", "8Gi", json!({}), json!([]))];
    let mut c = cluster(&nodes);
    c.set_pod("a", ranked("a-low", "1", 1, json!({})));
    c.set_pod("a", ranked("a-high", "1", 50, json!({})));
    c.set_pod("b", ranked("b-low", "1", 1, json!({})));
    c.set_pod("b", ranked("b-mid", "1", 5, json!({})));
    let before = c.would_fit(&ranked("x", "1", 0, json!({})));
    let found = c.preempt(&ranked("p", "1", 100, json!({}))).expect("one is enough");
    assert_eq!(found.victims.len(), 1);
    assert!(found.victims[0].1.ends_with("-low"), "{found:?}");
    let found = c.preempt(&ranked("p", "2", 100, json!({}))).expect("two must go");
    assert_eq!(found.node, "b", "its most important victim is the less important one");
    assert_eq!(found.victims, [("n".to_owned(), "b-mid".to_owned()), ("n".to_owned(), "b-low".to_owned())]);
    assert_eq!(c.would_fit(&ranked("x", "1", 0, json!({}))), before, "nothing is changed by asking");
}

#[test]
fn where_pushing_away_does_not_help_it_is_said() {
    let nodes = [
        node("a", "1", "8Gi", json!({}), json!([])),
        node("b", "1", "8Gi", json!({}), json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])),
    ];
    let mut c = cluster(&nodes);
    c.set_pod("a", ranked("low", "1", 1, json!({})));
    let why = |c: &mut crate::Cluster, demand: &Demand| c.preempt(demand).expect_err("no help").to_string();
    assert_eq!(
        why(&mut c, &ranked("p", "1", 1, json!({}))),
        "preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    );
    assert!(why(&mut c, &ranked("p", "4", 100, json!({}))).contains("1 No preemption victims"));
    assert_eq!(
        why(&mut c, &ranked("p", "1", 100, json!({"preemptionPolicy": "Never"}))),
        "preemption: not eligible due to preemptionPolicy=Never."
    );
    assert_eq!(
        c.preempt(&ranked("p", "1", 100, json!({}))).expect("helps").victims,
        [("n".to_owned(), "low".to_owned())]
    );
}

proptest! {
    /// No placement ever oversteps what a node has, and a refusal means that truly no node has enough.
    #[test]
    fn nothing_is_overcommitted_and_nothing_is_refused_in_vain(
        sizes in proptest::collection::vec(1i64..8, 1..6),
        wants in proptest::collection::vec((1i64..5, any::<bool>()), 1..40),
    ) {
        let nodes: Vec<Node> = sizes.iter().enumerate()
            .map(|(at, cpu)| node(&format!("n{at}"), &cpu.to_string(), "64Gi", json!({}), json!([]))).collect();
        let mut c = cluster(&nodes);
        let mut left = sizes.clone();
        let mut running: Vec<(String, usize, i64)> = Vec::new();
        for (at, (cpu, end_one)) in wants.iter().enumerate() {
            if *end_one && !running.is_empty() {
                let (name, node, size) = running.remove(at % running.len());
                c.remove_pod("n", &name);
                left[node] += size;
            }
            let name = format!("p{at}");
            match c.place(&sized(&name, &cpu.to_string())) {
                Ok(placement) => {
                    let node: usize = placement.node[1..].parse().expect("an index");
                    left[node] -= cpu;
                    prop_assert!(left[node] >= 0);
                    running.push((name, node, *cpu));
                }
                Err(_) => prop_assert!(left.iter().all(|free| free < cpu)),
            }
        }
    }
}
