//! Whose turn it is: a client that floods the server keeps nobody else from being served.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use naru_apiserver::User;
use naru_client::BoxError;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Answer, Caller, MAPS, PATIENCE, World, within};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

/// Lets users do everything; their requests are as limited as anybody's.
async fn allow(world: &World, users: &[&str]) {
    let subjects: Vec<Value> = users
        .iter()
        .map(|name| json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}))
        .collect();
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "all"}, "subjects": subjects,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    world.root().post(path, &binding).await.expect(201);
}

/// A request whose body never ends: it keeps its turn.
fn stalled(caller: &Caller) -> JoinHandle<()> {
    let never = futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>();
    let request = caller.request(Method::POST, MAPS, StreamBody::new(never).boxed_unsync());
    let transport = caller.transport.clone();
    tokio::spawn(async move { drop(transport.call(request).await) })
}

/// Waits until the metrics say this.
async fn until(root: &Caller, line: &str) {
    let said = async {
        while !root.get("/metrics").await.text().lines().any(|known| known == line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, said).await.is_err() {
        let text = root.get("/metrics").await.text();
        let flows: Vec<&str> = text.lines().filter(|line| line.contains("flowcontrol")).collect();
        panic!("{line} was expected in\n{}", flows.join("\n"));
    }
}

fn of_default(what: &str) -> String {
    format!("apiserver_flowcontrol_{what}{{flow_schema=\"global-default\",priority_level=\"global-default\"}}")
}

/// How many requests of the default level run or wait.
async fn held(root: &Caller) -> i64 {
    let metrics = root.get("/metrics").await.text();
    let of = |what: &str| {
        let name = of_default(what);
        let line = metrics.lines().find(|line| line.starts_with(&name)).expect("a line");
        line.rsplit(' ').next().and_then(|count| count.parse::<i64>().ok()).expect("a count")
    };
    of("current_executing_requests") + of("current_inqueue_requests")
}

#[tokio::test]
async fn a_client_that_floods_the_server_stands_in_nobodys_way() {
    let world = World::with_seats(8).await;
    let root = world.root();
    allow(&world, &["loud", "quiet"]).await;
    let (loud, quiet) = (world.inside(User::new("loud", &[])), world.inside(User::new("quiet", &[])));
    let mut flood: Vec<JoinHandle<()>> = (0..40).map(|_| stalled(&loud)).collect();
    // All seats that may be lent are taken, and a queue is forming.
    let seats = 7;
    until(&root, &format!("{} {}", of_default("current_executing_requests"), seats)).await;
    until(&root, &format!("{} {}", of_default("current_inqueue_requests"), 40 - seats)).await;

    // Other levels have seats that nobody can take, and administrators are exempt.
    root.get(MAPS).await.expect(200);
    let node = world.inside(User::new("system:node:n", &["system:nodes"]));
    node.get("/apis").await.expect(200);
    let account = world.inside(User::service_account("shop", "web", "1"));
    account.get(MAPS).await.expect(403);

    // In the same level somebody else is next, before all those who came earlier.
    let next = {
        let quiet = quiet.clone();
        tokio::spawn(async move { quiet.get(MAPS).await })
    };
    until(&root, &format!("{} {}", of_default("current_inqueue_requests"), 41 - seats)).await;
    assert!(!next.is_finished());
    // Those that came first have their turns; who came last is served when a few of them have ended.
    while !next.is_finished() && !flood.is_empty() {
        flood.remove(0).abort();
        let there = flood.len() as i64 + 1;
        within(async {
            while !next.is_finished() && held(&root).await > there {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
    let answer: Answer = within(next).await.expect("answered");
    answer.expect(200);
    // No more than what the flood had running had to end.
    assert!(flood.len() >= 40 - 2 * seats, "{} of 40 had to go", 40 - flood.len());
    flood.iter().for_each(JoinHandle::abort);
    until(&root, &format!("{} 0", of_default("current_executing_requests"))).await;
    until(&root, &format!("{} 0", of_default("current_inqueue_requests"))).await;
}

#[tokio::test]
async fn who_finds_no_room_is_told_to_come_back() {
    let world = World::with_seats(8).await;
    let root = world.root();
    allow(&world, &["loud"]).await;
    // A level of one's own, with one queue of two.
    let queuing = json!({"queues": 1, "handSize": 1, "queueLengthLimit": 2});
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1,
            "borrowingLimitPercent": 0, "limitResponse": {"type": "Queue", "queuing": queuing}}}});
    let schema = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": "loud"}, "spec": {"priorityLevelConfiguration": {"name": "narrow"},
            "matchingPrecedence": 300, "rules": [{"subjects": [{"kind": "User", "user": {"name": "loud"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}});
    let schema = root.post(SCHEMAS, &schema).await.expect(201);

    // Without its level it counts for nothing, and says so.
    let dangling = |status: &'static str| {
        let root = root.clone();
        async move {
            let told = async {
                loop {
                    let schema = root.get(&format!("{SCHEMAS}/loud")).await.expect(200);
                    if schema["status"]["conditions"][0]["status"] == status {
                        return schema;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            within(told).await
        }
    };
    let told = dangling("True").await;
    assert_eq!(told["status"]["conditions"][0]["reason"], "NotFound");
    let level = root.post(LEVELS, &level).await.expect(201);
    dangling("False").await;

    let loud = world.inside(User::new("loud", &[]));
    let flow = "{flow_schema=\"loud\",priority_level=\"narrow\"}";
    let mut flood = vec![stalled(&loud)];
    until(&root, &format!("apiserver_flowcontrol_current_executing_requests{flow} 1")).await;
    flood.extend([stalled(&loud), stalled(&loud)]);
    until(&root, &format!("apiserver_flowcontrol_current_inqueue_requests{flow} 2")).await;
    let refused = loud.get(MAPS).await;
    let status = refused.expect(429);
    assert_eq!(
        (status["reason"].as_str(), status["details"]["retryAfterSeconds"].as_u64()),
        (Some("TooManyRequests"), Some(1))
    );
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.headers["x-kubernetes-pf-flowschema-uid"], schema["metadata"]["uid"].as_str().unwrap());
    assert_eq!(refused.headers["x-kubernetes-pf-prioritylevel-uid"], level["metadata"]["uid"].as_str().unwrap());
    until(
        &root,
        &format!("apiserver_flowcontrol_rejected_requests_total{} 1", flow.replace('}', ",reason=\"queue-full\"}")),
    )
    .await;
    flood.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn what_every_cluster_has_comes_back() {
    let world = World::start().await;
    let root = world.root();
    let read = |path: String| {
        let root = root.clone();
        async move { root.get(&path).await }
    };
    let names = |list: Value| -> Vec<String> {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(root.get(SCHEMAS).await.expect(200)).len(), 13);
    assert_eq!(
        names(root.get(LEVELS).await.expect(200)),
        [
            "catch-all",
            "exempt",
            "global-default",
            "leader-election",
            "node-high",
            "system",
            "workload-high",
            "workload-low"
        ]
    );
    let uid = |object: &Value| object["metadata"]["uid"].clone();
    let gone = uid(&root.delete(&format!("{SCHEMAS}/catch-all")).await.expect(200)["details"]);
    let back = async {
        loop {
            let answer = read(format!("{SCHEMAS}/catch-all")).await;
            if answer.code == 200 && uid(&answer.json()) != gone {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(back).await;

    // What is suggested comes back too, until its annotation says that it is the cluster's own.
    let low = format!("{LEVELS}/workload-low");
    let shares = |shares: u32| json!({"spec": {"limited": {"nominalConcurrencyShares": shares}}});
    let is = |wanted: u32| {
        let (root, low) = (root.clone(), low.clone());
        async move {
            let known = async {
                loop {
                    let level = root.get(&low).await.expect(200);
                    if level["spec"]["limited"]["nominalConcurrencyShares"] == wanted {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            within(known).await;
        }
    };
    root.patch(&low, "merge-patch", &shares(7)).await.expect(200);
    is(100).await;
    let mut own = shares(7);
    own["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = "false".into();
    root.patch(&low, "merge-patch", &own).await.expect(200);
    root.delete(&format!("{LEVELS}/system")).await.expect(200);
    let again = async {
        while read(format!("{LEVELS}/system")).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(again).await;
    is(7).await;
    let changed = root.patch(&format!("{LEVELS}/catch-all"), "merge-patch", &shares(500)).await;
    assert!(changed.refused(422).contains("spec of 'catch-all' must equal the fixed value"));
}
