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
