use std::{collections::BTreeMap, time::Duration};

use naru_api::k8s::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(hard: &str, soft: &str, graces: &str, reclaim: &str) -> Eviction {
    Eviction::parse(hard, soft, graces, reclaim, seconds(300), seconds(20)).expect("settings")
}

/// Hundredths of everything that are left, read at a time.
fn left(at: u64, signals: &[(Signal, i64)]) -> Figures {
    let figure = |available: &i64| Figure { available: *available, capacity: 100 };
    Figures { at: seconds(at), signals: signals.iter().map(|(signal, left)| (*signal, figure(left))).collect() }
}

/// Judges a series of figures, each at its own time.
fn series(settings: &Eviction, series: &[(u64, i64)]) -> Vec<(bool, Option<Signal>)> {
    let mut state = State::default();
    let judged = series.iter().map(|(at, available)| {
        let (after, acts) =
            decide(&state, settings, &left(*at, &[(Signal::NodefsAvailable, *available)]), seconds(*at));
        state = after;
        (state.pressures(settings).disk.is_some(), acts.map(|threshold| threshold.signal))
    });
    judged.collect()
}

#[test]
fn the_words_are_kubelets() {
    let all = settings(Eviction::HARD, "", "", "");
    assert_eq!(all, Eviction { pod_grace: seconds(20), ..Eviction::default() });
    let words: Vec<String> = Eviction::default().thresholds.iter().map(ToString::to_string).collect();
    assert_eq!(
        words[..5],
        [
            "memory.available<100Mi",
            "nodefs.available<10%",
            "nodefs.inodesFree<5%",
            "imagefs.available<15%",
            "imagefs.inodesFree<5%"
        ]
    );
    let soft = settings("", "memory.available<1.5Gi", "memory.available=1m30s", "memory.available=500Mi");
    assert_eq!(soft.thresholds[0].grace, Some(seconds(90)));
    assert_eq!(soft.thresholds[0].reclaim, Amount::Absolute(500 << 20));
    let parse = |hard: &str, soft: &str, graces: &str| Eviction::parse(hard, soft, graces, "", seconds(1), seconds(1));
    for wrong in
        ["memory<1Gi", "memory.available=1Gi", "memory.available<-1", "nodefs.available<101%", "nodefs.available<x"]
    {
        let error = parse(wrong, "", "").expect_err(wrong).to_string();
        assert!(error.contains(wrong) && error.contains("memory.available, nodefs.available"), "{error}");
    }
    let error = parse("", "memory.available<1Gi", "").expect_err("no grace").to_string();
    assert!(error.contains("--eviction-soft-grace-period"), "{error}");
    parse("", "memory.available<1Gi", "memory.available=1x").expect_err("no duration");
    // Nothing is a way to have no eviction at all.
    assert!(settings("", "", "", "").thresholds.is_empty());
}

#[test]
fn a_condition_begins_at_once_and_ends_a_while_after_the_pressure() {
    let settings = settings("nodefs.available<10%", "", "", "");
    let acts = Some(Signal::NodefsAvailable);
    assert_eq!(
        series(&settings, &[(0, 10), (10, 9), (20, 11), (200, 9), (210, 50), (499, 50), (500, 50)]),
        [(false, None), (true, acts), (true, None), (true, acts), (true, None), (true, None), (false, None)],
        "it hovers, and the condition stays"
    );
    assert_eq!(
        series(&settings, &[(0, 9), (10, 50), (299, 50), (300, 50)]),
        [(true, acts), (true, None), (true, None), (false, None)]
    );
}

#[test]
fn soft_thresholds_wait_for_their_grace_and_start_anew_when_interrupted() {
    let settings = settings("", "nodefs.available<20%", "nodefs.available=1m", "");
    let acts = Some(Signal::NodefsAvailable);
    assert_eq!(
        series(&settings, &[(0, 19), (59, 19), (60, 20), (70, 19), (129, 19), (130, 19)]),
        [(true, None), (true, None), (true, None), (true, None), (true, None), (true, acts)]
    );
}

#[test]
fn once_it_is_acted_upon_more_than_the_limit_is_freed() {
    let settings = settings("nodefs.available<10%", "", "", "nodefs.available=5%");
    let acts = Some(Signal::NodefsAvailable);
    let judged = series(&settings, &[(0, 12), (10, 9), (20, 12), (30, 14), (40, 15), (50, 12)]);
    let acted: Vec<_> = judged.into_iter().map(|(_, acts)| acts).collect();
    assert_eq!(acted, [None, acts, acts, acts, None, None], "done with at 15, and not begun again at 12");
}

#[test]
fn what_is_old_or_unknown_decides_nothing() {
    let settings = settings("nodefs.available<10%,memory.available<10%", "", "", "");
    let figures = left(100, &[(Signal::NodefsAvailable, 5)]);
    let (fresh, acts) = decide(&State::default(), &settings, &figures, seconds(100));
    assert_eq!(acts.map(|threshold| threshold.signal), Some(Signal::NodefsAvailable));
    let (after, acts) = decide(&State::default(), &settings, &figures, seconds(131));
    assert_eq!((after, acts), (State::default(), None), "half a minute old");
    // From before the last act: what that has freed does not show yet.
    let mut acted = fresh.clone();
    acted.acted(seconds(101));
    let (after, acts) = decide(&acted, &settings, &figures, seconds(102));
    assert_eq!(acts, None);
    assert!(after.pressures(&settings).disk.is_some(), "the condition stays as it was");
    let (_, acts) = decide(&acted, &settings, &left(102, &[(Signal::NodefsAvailable, 5)]), seconds(102));
    assert!(acts.is_some());
    // A disk that cannot be asked keeps its state, and is not acted upon.
    let (after, acts) = decide(&fresh, &settings, &left(110, &[]), seconds(110));
    assert_eq!(acts, None);
    assert_eq!(after.pressures(&settings), fresh.pressures(&settings));
}

#[test]
fn memory_comes_first_and_each_signal_has_its_condition() {
    let settings = settings(Eviction::HARD, "memory.available<50%", "memory.available=0s", "");
    let short = left(0, &Signal::ALL.map(|signal| (signal, 1)));
    let (state, acts) = decide(&State::default(), &settings, &short, seconds(0));
    assert_eq!(acts.map(|threshold| (threshold.signal, threshold.grace)), Some((Signal::MemoryAvailable, None)));
    let pressures = state.pressures(&settings);
    assert!(pressures.memory.is_some() && pressures.disk.is_some() && pressures.pid.is_some());
    let (state, acts) = decide(&State::default(), &settings, &left(0, &[(Signal::PidAvailable, 9)]), seconds(0));
    assert_eq!(acts.map(|threshold| threshold.signal), Some(Signal::PidAvailable));
    let pressures = state.pressures(&settings);
    assert!(pressures.memory.is_none() && pressures.disk.is_none());
    assert_eq!(pressures.pid.as_deref(), Some("pid.available<10%"));
}

fn pod(name: &str, priority: i32, request: i64, usage: i64) -> Candidate {
    Candidate { uid: name.into(), name: name.into(), priority, request, usage, ..Candidate::default() }
}

fn order(signal: Signal, pods: &[Candidate]) -> Vec<String> {
    rank(signal, 1, pods.to_vec()).into_iter().map(|pod| pod.name).collect()
}

#[test]
fn whoever_exceeds_what_they_asked_for_goes_first_then_priority_then_use() {
    let pods = [
        pod("within", 0, 100, 90),
        pod("important", 10, 0, 500),
        pod("small", 0, 0, 10),
        pod("large", 0, 50, 200),
        pod("larger", 0, 0, 190),
    ];
    assert_eq!(order(Signal::MemoryAvailable, &pods), ["larger", "large", "small", "important", "within"]);
    assert_eq!(order(Signal::NodefsAvailable, &pods), ["larger", "large", "small", "important", "within"]);
    // Nobody asks for processes.
    let pods = [pod("a", 0, 0, 3), pod("b", 0, 0, 300), pod("c", -1, 0, 1)];
    assert_eq!(order(Signal::PidAvailable, &pods), ["c", "b", "a"]);
}

#[test]
fn critical_pods_and_those_whose_end_would_free_nothing_are_left() {
    let critical = Candidate { critical: true, ..pod("critical", 0, 0, 1000) };
    assert_eq!(
        rank(Signal::NodefsAvailable, 50, vec![critical, pod("tiny", 0, 0, 49), pod("big", 9, 900, 50)]).len(),
        1
    );
}

#[test]
fn images_that_may_be_nowhere_else_stay() {
    let image = |name: &str, pulled: bool, stored: &str| -> naru_runtime::image::ImageRecord {
        let number = name.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let digest = format!("sha256:{number:064x}");
        let digests: Vec<String> = pulled.then(|| format!("reg/{name}@{digest}")).into_iter().collect();
        let tags: Vec<String> = (name != "nameless").then(|| format!("reg/{name}:1")).into_iter().collect();
        serde_json::from_value(json!({
            "id": digest, "tags": tags, "digests": digests, "manifest": digest,
            "config": naru_runtime::image::ImageConfig::default(), "layers": [], "created": null, "author": null,
            "platform": {"os": "linux", "architecture": "amd64"}, "history": [], "size": 1, "storedAt": stored,
        }))
        .expect("an image")
    };
    let (young, old, used) =
        (image("young", true, "2026-02"), image("old", true, "2026-01"), image("used", true, "2025"));
    let (built, nameless) = (image("built", false, "2024"), image("nameless", false, "2026-03"));
    let in_use = std::collections::HashSet::from([used.id.clone()]);
    let all = vec![young.clone(), built, used, nameless.clone(), old.clone()];
    let going: Vec<_> = images::dispensable(all, &in_use).into_iter().map(|image| image.id).collect();
    assert_eq!(going, [old.id, young.id, nameless.id]);
}

#[test]
fn a_pods_use_and_wishes_are_read_from_its_spec() {
    let pod = |meta: Value, priority: i32| -> Pod {
        let asks = |amount: &str| json!({"requests": {"memory": amount, "ephemeral-storage": "1Gi"}});
        serde_json::from_value(json!({"metadata": meta, "spec": {"priority": priority,
            "initContainers": [{"name": "i", "resources": asks("700Mi")}],
            "containers": [{"name": "a", "resources": asks("100Mi")}, {"name": "b", "resources": asks("200Mi")}]}}))
        .expect("a pod")
    };
    let uses = BTreeMap::from([("a".to_owned(), 5), ("b".to_owned(), 1), (String::new(), 2)]);
    let seen = usage::candidate(Signal::MemoryAvailable, &pod(json!({"name": "p", "namespace": "n"}), 7), uses.clone());
    assert_eq!((seen.request, seen.usage, seen.priority, seen.critical), (700 << 20, 8, 7, false));
    assert_eq!(seen.containers, [("a".to_owned(), 5, 100 << 20), ("b".to_owned(), 1, 200 << 20)]);
    let disk = usage::candidate(Signal::NodefsAvailable, &pod(json!({}), 0), uses.clone());
    assert_eq!(disk.request, 2 << 30);
    let critical =
        |meta: Value, priority| usage::candidate(Signal::MemoryAvailable, &pod(meta, priority), uses.clone()).critical;
    assert!(critical(json!({}), 2_000_000_000));
    assert!(critical(json!({"annotations": {"kubernetes.io/config.source": "file"}}), 0));
    assert!(critical(json!({"annotations": {"kubernetes.io/config.mirror": "x"}}), 0));
    assert!(!critical(json!({"annotations": {"kubernetes.io/config.source": "api"}}), 1_999_999_999));
}

#[test]
fn who_is_evicted_is_told_why_in_kubelets_words() {
    let threshold = Eviction::default().thresholds[0];
    let figure = Figure { available: 50 << 20, capacity: 8 << 30 };
    let containers = vec![("web".into(), 300 << 20, 0), ("side".into(), 5, 10)];
    let text = victim_message(&threshold, figure, &Candidate { containers, ..pod("p", 0, 0, 1) });
    assert_eq!(
        text,
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. Container web was using \
         307200Ki, request is 0, has larger consumption of memory. "
    );
}

#[test]
fn disk_is_counted_by_container_and_not_through_links() {
    let scratch = tempfile::tempdir().unwrap();
    let paths = crate::translate::Paths::new(scratch.path(), "n", "p", "u");
    let layer = paths.root.join("layers/web/0");
    std::fs::create_dir_all(&layer).unwrap();
    std::fs::create_dir_all(paths.volumes().join("cache")).unwrap();
    std::fs::create_dir_all(paths.logs.join("web")).unwrap();
    std::fs::write(layer.join("file"), vec![1; 64 << 10]).unwrap();
    std::fs::write(paths.logs.join("web/0.log"), vec![1; 32 << 10]).unwrap();
    std::fs::write(paths.volumes().join("cache/file"), vec![1; 16 << 10]).unwrap();
    std::os::unix::fs::symlink("/usr", layer.join("link")).unwrap();
    let uses = usage::on_disk(&paths);
    let (web, rest) = (uses["web"], uses[""]);
    assert!(web.bytes >= 96 << 10 && web.bytes < 160 << 10, "{web:?}");
    assert!(rest.bytes >= 16 << 10 && rest.bytes < 64 << 10, "{rest:?}");
    // A layer with a file and a link, the folder above, the log and its folder.
    assert_eq!((web.inodes, rest.inodes), (6, 3));
}

proptest! {
    #[test]
    fn whatever_the_figures_nothing_is_done_without_a_crossed_threshold_and_no_critical_pod_goes(
        figures in prop::collection::vec((0u64..20, 0i64..30), 1..60),
        acts_at in prop::collection::vec(any::<bool>(), 60),
    ) {
        let settings = settings("nodefs.available<10%", "nodefs.available<20%", "nodefs.available=30s", "");
        let (mut state, mut now, mut since) = (State::default(), 0u64, None);
        for ((step, available), acted) in figures.iter().zip(acts_at) {
            now += step;
            let seen = left(now, &[(Signal::NodefsAvailable, *available)]);
            let (after, acts) = decide(&state, &settings, &seen, seconds(now));
            since = if *available < 20 { since.or(Some(now)) } else { None };
            let due = *available < 10 || since.is_some_and(|since| now - since >= 30);
            prop_assert_eq!(acts.is_some(), due);
            prop_assert!(acts.is_none() || after.pressures(&settings).disk.is_some());
            state = after;
            if acted && acts.is_some() {
                state.acted(seconds(now));
            }
        }
    }

    #[test]
    fn the_order_is_total_and_keeps_everybody_who_may_go(
        pods in prop::collection::vec((any::<bool>(), -5i32..5, 0i64..50, 1i64..50), 0..20)
    ) {
        let pods: Vec<Candidate> = pods.into_iter().enumerate().map(|(at, (critical, priority, request, usage))| {
            Candidate { critical, ..pod(&format!("p{at:02}"), priority, request, usage) }
        }).collect();
        let ranked = rank(Signal::MemoryAvailable, 1, pods.clone());
        prop_assert_eq!(ranked.len(), pods.iter().filter(|pod| !pod.critical).count());
        for pair in ranked.windows(2) {
            let [first, second] = pair else { continue };
            let exceeds = |pod: &Candidate| pod.usage > pod.request;
            prop_assert!(exceeds(first) >= exceeds(second));
            if exceeds(first) == exceeds(second) {
                prop_assert!(first.priority <= second.priority);
                if first.priority == second.priority {
                    prop_assert!(first.usage - first.request >= second.usage - second.request);
                }
            }
        }
    }
}
