//! The verbs of kubectl's reference that need no node, beyond what the other tests use in passing.

use serde_json::json;

use super::{Kubectl, MANIFEST};

#[tokio::test]
async fn create_knows_every_generator() {
    let Some(k) = Kubectl::find().await else { return };
    let issued = k.world.authority.client_certificate("x", &[]).expect("a certificate");
    std::fs::write(k.world.dir.path().join("own.crt"), issued.certificate).expect("a file");
    std::fs::write(k.world.dir.path().join("own.key"), issued.key).expect("a file");
    for (line, read) in [
        ("clusterrole reader --verb=get,list --resource=pods", "clusterrole/reader"),
        ("clusterrole health --verb=get --non-resource-url=/healthz", "clusterrole/health"),
        ("clusterrole all --aggregation-rule=a=b", "clusterrole/all"),
        ("clusterrolebinding readers --clusterrole=reader --group=devs", "clusterrolebinding/readers"),
        ("configmap files --from-file=web.yaml", "configmap/files"),
        ("cronjob nightly --image=web:1 --schedule=@daily", "cronjob/nightly"),
        ("deployment web --image=web:1 --replicas=2", "deployment/web"),
        ("ingress web --rule=a.b/*=web:80 --class=none", "ingress/web"),
        ("job once --image=web:1", "job/once"),
        ("job now --from=cronjob/nightly", "job/now"),
        ("namespace shop", "namespace/shop"),
        ("poddisruptionbudget web --selector=app=web --min-available=1", "pdb/web"),
        ("priorityclass high --value=1000 --description=high", "priorityclass/high"),
        ("quota small --hard=pods=3,cpu=2 --scopes=BestEffort --dry-run=client", ""),
        ("quota small --hard=pods=30", "quota/small"),
        ("role reader --verb=get --resource=pods,pods/log", "role/reader"),
        ("rolebinding readers --role=reader --user=kim", "rolebinding/readers"),
        ("secret generic words --from-literal=a=b", "secret/words"),
        ("secret docker-registry pull --docker-username=u --docker-password=p --docker-server=r", "secret/pull"),
        ("secret tls own --cert=own.crt --key=own.key", "secret/own"),
        ("service clusterip c --tcp=80:8080", "service/c"),
        ("service nodeport n --tcp=80:8080", "service/n"),
        ("service loadbalancer l --tcp=80:8080", "service/l"),
        ("service externalname e --external-name=example.com", "service/e"),
        ("serviceaccount robot", "serviceaccount/robot"),
    ] {
        k.ok(&format!("create {line}"), &["created"]).await;
        if !read.is_empty() {
            let (kind, name) = read.split_once('/').expect("kind and name");
            k.ok(&format!("get {kind} {name} -o name"), &[name]).await;
        }
    }
    k.ok("get secret pull own -o jsonpath={.items[*].type}", &["kubernetes.io/dockerconfigjson", "kubernetes.io/tls"])
        .await;
    k.ok("create token robot --audience=elsewhere --duration=10m", &["ey"]).await;
    let kinds = "cm,secret,deploy,job,cronjob,svc,ing,sa,role,rolebinding,pdb,quota";
    k.ok(&format!("get {kinds} -o wide"), &["configmap/files", "cronjob.batch/nightly", "resourcequota/small"]).await;
    for kind in kinds.split(',') {
        k.ok(&format!("describe {kind}"), &["Name:"]).await;
    }
    k.ok("describe clusterrole reader", &["pods", "[get list]"]).await;
}

#[tokio::test]
async fn set_changes_one_thing() {
    let Some(k) = Kubectl::find().await else { return };
    k.ok("apply -f web.yaml", &["created"]).await;
    k.ok("create serviceaccount robot", &["created"]).await;
    k.ok("create rolebinding readers --clusterrole=view --user=kim", &["created"]).await;
    k.ok("set image deploy/web web=web:2", &["image updated"]).await;
    k.ok("set env deploy/web COLOR=red", &["env updated"]).await;
    k.ok("set env deploy/web --from=configmap/conf", &["env updated"]).await;
    k.ok("set env deploy/web --list", &["COLOR=red", "KEY from configmap conf, key key"]).await;
    k.ok("set resources deploy web --requests=cpu=100m --limits=cpu=1,memory=64Mi", &["resource requirements updated"])
        .await;
    k.ok("set serviceaccount deploy web robot", &["serviceaccount updated"]).await;
    k.ok("set selector service web app=other", &["selector updated"]).await;
    k.ok("set subject rolebinding readers --group=devs", &["subjects updated"]).await;
    let path = "{.spec.template.spec.serviceAccountName}/{..resources.limits.memory}/{..image}";
    k.ok(&format!("get deploy web -o jsonpath={path}"), &["robot/64Mi/web:2"]).await;
    k.ok("get rolebinding readers -o jsonpath={.subjects[*].name}", &["kim devs"]).await;
    k.ok("rollout restart deploy web", &["restarted"]).await;
    k.ok("get deploy web -o yaml", &["kubectl.kubernetes.io/restartedAt"]).await;
    k.ok("rollout pause deploy web", &["paused"]).await;
    k.fails("rollout restart deploy web", "can't restart paused deployment").await;
    k.ok("rollout resume deploy web", &["resumed"]).await;
    k.ok("patch deploy web --subresource=status --type=merge -p {\"status\":{\"replicas\":1}}", &["patched"]).await;
    k.ok("get deploy web --subresource=status -o jsonpath={.status.replicas}", &["1"]).await;
    k.ok("scale deploy --all --replicas=0", &["scaled"]).await;
}

#[tokio::test]
async fn apply_prunes_and_remembers() {
    let Some(k) = Kubectl::find().await else { return };
    let file = |name: &str, text: &str| std::fs::write(k.world.dir.path().join(name), text).expect("a file");
    let map = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: one}}}}\n---\n")
    };
    file("two.yaml", &(map("a") + &map("b")));
    k.ok("apply -f two.yaml -l set=one", &["configmap/a created", "configmap/b created"]).await;
    file("two.yaml", &map("b"));
    k.ok(
        "apply --prune -l set=one -f two.yaml --prune-allowlist=core/v1/ConfigMap",
        &["configmap/b unchanged", "configmap/a pruned"],
    )
    .await;
    k.ok("apply view-last-applied cm b", &["set: one"]).await;
    file("set.yaml", &map("b").replace("set: one", "set: two").replace("---\n", ""));
    k.ok("apply set-last-applied -f set.yaml", &["configured"]).await;
    k.ok("apply view-last-applied cm b", &["set: two"]).await;
    file("web.yaml", MANIFEST);
    file("kustomization.yaml", "resources: [web.yaml]\nnamePrefix: my-\nlabels: [{pairs: {of: kustomize}}]\n");
    k.ok("apply -k .", &["deployment.apps/my-web created", "configmap/my-conf created"]).await;
    k.ok("get cm -l of=kustomize -o name", &["configmap/my-conf"]).await;
    k.ok("diff -k .", &[]).await;
    k.ok("delete -k .", &["my-web", "my-conf"]).await;
    let roles = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "namespace": "default"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    file("roles.json", &roles.to_string());
    for _ in 0..2 {
        k.ok("auth reconcile -f roles.json", &["role.rbac.authorization.k8s.io/r reconciled"]).await;
    }
}

#[tokio::test]
async fn certificates_nodes_events_and_raw_paths() {
    let Some(k) = Kubectl::find().await else { return };
    let file = |name: &str, object: serde_json::Value| {
        std::fs::write(k.world.dir.path().join(name), object.to_string()).expect("a file");
    };
    let request = |name: &str| {
        use base64::Engine;
        let csr = base64::engine::general_purpose::STANDARD.encode(include_str!("../../data/kim.csr"));
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": csr, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}})
    };
    for (name, verb, condition) in [("good", "approve", "Approved"), ("bad", "deny", "Denied")] {
        file("csr.json", request(name));
        k.ok("create -f csr.json", &["created"]).await;
        k.ok("get csr", &[name, "Pending", "kubernetes.io/kube-apiserver-client"]).await;
        k.ok(&format!("certificate {verb} {name}"), &[if verb == "approve" { "approved" } else { "denied" }]).await;
        k.ok(&format!("get csr {name}"), &[condition]).await;
        k.ok(&format!("describe csr {name}"), &["Requesting User:", "admin", "Common Name:", "kim"]).await;
    }
    k.ok("wait --for=condition=Approved csr/good --timeout=20s", &["condition met"]).await;

    file("node.json", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}));
    k.ok("create -f node.json", &["node/n1 created"]).await;
    k.ok("cordon n1", &["node/n1 cordoned"]).await;
    k.ok("get nodes", &["n1", "SchedulingDisabled"]).await;
    k.ok("uncordon n1", &["node/n1 uncordoned"]).await;
    k.ok("taint nodes n1 dedicated=db:NoSchedule", &["tainted"]).await;
    k.ok("describe node n1", &["dedicated=db:NoSchedule", "Unschedulable:      false"]).await;
    k.ok("taint nodes n1 dedicated-", &["untainted"]).await;
    k.ok("drain n1 --ignore-daemonsets --timeout=20s", &["node/n1 drained"]).await;

    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "it happened", "reason": "Test",
        "type": "Warning", "lastTimestamp": "2026-01-02T03:04:05Z",
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "default"}});
    file("event.json", event);
    k.ok("create -f event.json", &["created"]).await;
    k.ok("events", &["it happened", "Pod/p"]).await;
    k.ok("events --for=pod/p --types=Warning", &["it happened"]).await;

    k.ok("get --raw /apis", &["APIGroupList"]).await;
    file("map.json", json!({"metadata": {"name": "raw"}}));
    let maps = "/api/v1/namespaces/default/configmaps";
    k.ok(&format!("create --raw {maps} -f map.json"), &["\"name\":\"raw\""]).await;
    k.ok("wait --for=create cm/raw --timeout=20s", &["condition met"]).await;
    k.ok(&format!("delete --raw {maps}/raw"), &["Success"]).await;
    k.ok("wait --for=delete cm/raw --timeout=20s", &[]).await;
    k.ok("create cm a", &["created"]).await;
    k.ok("delete cm --all", &["\"a\" deleted", "\"kube-root-ca.crt\" deleted"]).await;
    k.fails("delete cm a", "NotFound").await;
    k.ok("delete cm a --ignore-not-found", &[]).await;
    k.ok("config view --minify", &["current-context: t"]).await;
    k.ok("cluster-info dump --namespaces=default", &["\"kind\": \"PodList\""]).await;
}
