//! What pods of Compose projects have beyond Kubernetes', with real containers.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    interface::{ask, exec},
    life::{ready, running, script},
    machine::{Machine, machine},
};

const STAYS: &str = "echo run; trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn ended(pod: &Value) -> bool {
    !pod["status"]["containerStatuses"][0]["state"]["terminated"].is_null()
}

fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1)
}

async fn signal(machine: &Machine, pod: &str, signal: &str) -> StatusCode {
    let path = format!("/signal/default/{pod}/c?signal={signal}");
    ask(machine.agent(), Method::POST, &path, Vec::new()).await.status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_container_stays_down_until_it_is_started() {
    let Some(mut machine) = machine().await else { return };
    machine.api.run_compose("web", script(STAYS), json!({"naru.io/restart": "always"}));
    machine.api.run("plain", script(STAYS), json!({}));
    machine.api.until("web", "ready", ready).await;
    machine.until_log("web", "c", "run\n").await;
    assert_eq!(signal(&machine, "web", "WINCH").await, StatusCode::OK);
    assert_eq!(signal(&machine, "web", "NONE").await, StatusCode::BAD_REQUEST);
    assert_eq!(signal(&machine, "web", "SIGKILL").await, StatusCode::OK);
    let pod = machine.api.until("web", "killed", ended).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137);
    assert_eq!(signal(&machine, "web", "9").await, StatusCode::CONFLICT, "it does not run");
    // Nor does the agent's next life start it.
    machine.crash();
    machine.start().await;
    machine.api.until("plain", "ready", ready).await;
    machine.until_log("plain", "c", "run\n").await;
    machine.api.annotate("web", "naru.io/power", "running@1");
    let pod = machine.api.until("web", "running", |pod| running(pod) && ready(pod)).await;
    assert_eq!(restarts(&pod), 1);
    machine.until_log("web", "c", "run\nrun\n").await;
    assert_eq!(signal(&machine, "plain", "9").await, StatusCode::OK);
    machine.api.until("plain", "restarted", |pod| restarts(pod) == 1 && ready(pod)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_says_how_its_health_is_tested() {
    let Some(mut machine) = machine().await else { return };
    let mut spec = script(STAYS);
    spec["containers"][0]["image"] = json!("tested:1");
    machine.api.run_compose("web", spec.clone(), json!({"naru.io/restart": "no"}));
    machine.api.run_compose("off", spec, json!({"naru.io/restart": "no", "naru.io/no-healthcheck": "true"}));
    machine.api.until("off", "ready", ready).await;
    machine.api.until("web", "running", running).await;
    let failed = |pod: &Value| {
        machine.api.events("Unhealthy").iter().any(|event| event["involvedObject"]["name"] == pod["metadata"]["name"])
    };
    let pod = machine.api.until("web", "tested", |pod| running(pod) && failed(pod)).await;
    assert!(!ready(&pod), "{pod:#}");
    exec(&machine, "web", &["touch", "/well"]).await;
    let pod = machine.api.until("web", "healthy", ready).await;
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let told = conditions.iter().find(|condition| condition["type"] == "naru.io/ImageHealth").unwrap();
    assert_eq!(told["message"], "c");
    // The agent's next life knows the test, and what fails it is restarted whatever its rule says.
    machine.crash();
    machine.start().await;
    machine.api.until("web", "ready", ready).await;
    exec(&machine, "web", &["rm", "/well"]).await;
    machine.api.until("web", "restarted", |pod| restarts(pod) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_shape_the_process() {
    let Some(machine) = machine().await else { return };
    let text = "id; cat /etc/hosts /proc/1/oom_score_adj; ulimit -n; ls /dev; cat /data/seed; echo own > /data/own; \
                mount | grep shm; test -t 1 && echo terminal; cat /proc/1/comm; echo end; while :; do sleep 0.05; done";
    let mut spec = script(text);
    spec["containers"][0]["securityContext"] = json!({"runAsUser": 7});
    let notes = json!({
        "naru.io/restart": "unless-stopped", "naru.io/user": "web:root", "naru.io/group-add": "[\"44\", \"web\", 45]",
        "naru.io/host-gateway-names": "[\"host.docker.internal\"]", "naru.io/oom-score-adj": "500",
        "naru.io/ulimits": "{\"nofile\": {\"soft\": 77, \"hard\": 99}}", "naru.io/shm-size": "1048576",
        "naru.io/tty": "true", "naru.io/logging": "{\"max-size\": \"-1\", \"max-file\": \"2\"}",
        "naru.io/devices": "[\"/dev/null:/dev/other:rw\", {\"source\": \"/dev/zero\", \"target\": \"/dev/nought\"}]",
        "naru.io/cgroup": "{\"mem_swappiness\": 7, \"cpu_shares\": 77, \"pids_limit\": -1, \"memswap_limit\": -1}",
    });
    let mut owned = spec.clone();
    owned["containers"][0]["command"][2] = json!("exec sleep 1000");
    machine.api.run_compose("web", spec, notes);
    let log = machine.until_log("web", "c", "end").await.replace('\r', "");
    for wanted in [
        "uid=101(web) gid=0(root) groups=0(root),44,45,102(web)",
        "192.0.2.1\thost.docker.internal",
        "\n500\n77\n",
        "nought",
        "other",
        "from the image",
        "size=1024k",
        "terminal\n",
    ] {
        assert!(log.contains(wanted), "{wanted}: {log}");
    }
    // The stop signal and an init: a shell as the first process would not pass a signal on.
    let notes = json!({"naru.io/restart": "no", "naru.io/init": "true", "naru.io/stop-signal": "SIGUSR1", "naru.io/network-mode": "none"});
    machine.api.run_compose("init", owned, notes);
    let pod = machine.api.until("init", "running", running).await;
    assert!(pod["status"].get("podIP").is_none_or(Value::is_null), "{pod:#}");
    machine.api.annotate("init", "naru.io/power-grace", "300");
    machine.api.annotate("init", "naru.io/power", "stopped");
    let pod = machine.api.until("init", "stopped", ended).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 128 + 10, "{pod:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_volume_lives_as_long_as_its_pod() {
    let Some(machine) = machine().await else { return };
    // Each attempt has the layer of the one before only where Docker's rules hold; the volume is there in any case.
    machine.api.run_compose("web", script("cat /data/*; echo own > /data/own; sleep 0.2; exit 1"), json!({}));
    machine.until_log("web", "c", "from the image\nown\nfrom the image\n").await;
    let host = machine.state().join("agent/uid-web/anonymous/c/data");
    assert!(host.join("own").exists(), "it is the pod's own folder");
    machine.api.delete("web", 0);
    machine.api.until_gone("web").await;
    assert_eq!(machine.leftovers(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_healthy_is_not_killed_for_its_health() {
    let Some(machine) = machine().await else { return };
    let mut spec = script("echo begun; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    let probe = json!({"exec": {"command": ["test", "-e", "/tmp/well"]}, "periodSeconds": 1, "failureThreshold": 1});
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        spec["containers"][0][kind] = probe.clone();
    }
    machine.api.run_compose("db", spec, json!({"naru.io/restart": "no"}));
    machine.until_log("db", "c", "begun").await;
    let failures = |machine: &Machine| {
        let counts = machine.api.events("Unhealthy");
        counts.iter().map(|event| event["count"].as_u64().unwrap_or(0)).sum::<u64>()
    };
    // Thrice as often as the probe of a Kubernetes pod would need.
    let deadline = std::time::Instant::now() + super::api::PATIENCE;
    while failures(&machine) < 3 {
        assert!(std::time::Instant::now() < deadline, "it is not probed any more");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(machine.log("db", "c"), "begun\n");
    let unhealthy = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let told = conditions.into_iter().find(|condition| condition["type"] == "naru.io/Unhealthy");
        told.is_some_and(|told| told["status"] == "True" && told["message"].as_str().unwrap().starts_with("c: "))
    };
    machine.api.until("db", "told unhealthy", unhealthy).await;
    exec(&machine, "db", &["touch", "/tmp/well"]).await;
    machine.api.until("db", "ready, and no longer unhealthy", |pod| ready(pod) && !unhealthy(pod)).await;
    assert_eq!(machine.log("db", "c"), "begun\n", "it was restarted");
    // What was healthy once is restarted, whatever its restart rule says.
    exec(&machine, "db", &["rm", "/tmp/well"]).await;
    machine.api.until("db", "restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    machine.api.delete("db", 0);
    machine.api.until_gone("db").await;
    assert_eq!(machine.leftovers(), Default::default());
}
