//! Rules of what makes pods.

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use super::check;
use super::schedule;

/// A template whose pods always restart.
fn always(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let template = spec.field("template");
    let pod = template.field("spec");
    let policy = pod.field("restartPolicy");
    if policy.exists() && policy.text() != "Always" {
        errors.push(policy.unsupported(&["Always"]));
    }
    let deadline = pod.field("activeDeadlineSeconds");
    if deadline.exists() {
        errors.push(deadline.forbidden("activeDeadlineSeconds in a template that runs for ever is not supported"));
    }
}

/// A Deployment.
pub(in super::super) fn deployment(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::selects_own_pods(spec, "deployment", errors);
    always(spec, errors);
    check::not_negative(
        spec,
        &["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"],
        errors,
    );
    let deadline = spec.field("progressDeadlineSeconds");
    if let (Some(deadline_s), Some(ready)) = (deadline.number(), spec.field("minReadySeconds").number())
        && deadline_s <= ready
    {
        errors.push(deadline.invalid("must be greater than minReadySeconds"));
    }
    let strategy = spec.field("strategy");
    let rolling = strategy.field("rollingUpdate");
    if strategy.field("type").text() == "Recreate" && rolling.exists() {
        errors.push(rolling.forbidden("may not be specified when strategy `type` is 'Recreate'"));
    }
    rolling_update(&rolling, errors);
}

fn rolling_update(rolling: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !rolling.exists() {
        return;
    }
    let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
    check::number_or_percent(&unavailable, errors);
    check::number_or_percent(&surge, errors);
    if check::is_zero(&unavailable) && check::is_zero(&surge) {
        errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
    }
    let percent = unavailable.text().strip_suffix('%').and_then(|p| p.parse::<i64>().ok());
    if percent.is_some_and(|p| p > 100) {
        errors.push(unavailable.invalid("must not be greater than 100%"));
    }
}

/// A ReplicaSet.
pub(in super::super) fn replica_set(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::selects_own_pods(spec, "replicaset", errors);
    always(spec, errors);
    check::not_negative(spec, &["replicas", "minReadySeconds"], errors);
}

/// A ReplicationController.
pub(in super::super) fn replication_controller(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let spec = root.field("spec");
    always(&spec, errors);
    check::not_negative(&spec, &["replicas", "minReadySeconds"], errors);
    let selector = spec.field("selector");
    if selector.value.as_object().is_none_or(serde_json::Map::is_empty) {
        errors.push(selector.required(""));
    }
    let template = spec.field("template");
    if !template.exists() {
        errors.push(template.required(""));
        return;
    }
    let metadata = template.field("metadata");
    let labels = metadata.field("labels");
    let missing = |(key, value): (&str, Spot<'_>)| labels.value.get(key) != Some(value.value);
    if selector.entries().any(missing) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
}

/// A DaemonSet.
pub(in super::super) fn daemon_set(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::selects_own_pods(spec, "daemonset", errors);
    always(spec, errors);
    check::not_negative(spec, &["minReadySeconds", "revisionHistoryLimit"], errors);
    let strategy = spec.field("updateStrategy");
    if strategy.field("type").text() == "RollingUpdate" {
        rolling_update(&strategy.field("rollingUpdate"), errors);
    }
}

/// A StatefulSet.
pub(in super::super) fn stateful_set(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::selects_own_pods(spec, "statefulset", errors);
    always(spec, errors);
    check::not_negative(spec, &["replicas", "minReadySeconds", "revisionHistoryLimit"], errors);
    let strategy = spec.field("updateStrategy");
    let rolling = strategy.field("rollingUpdate");
    if strategy.field("type").text() == "OnDelete" && rolling.exists() {
        errors.push(rolling.invalid("only allowed for updateStrategy 'RollingUpdate'"));
    }
    check::not_negative(&rolling, &["partition"], errors);
}

/// A Job.
pub(in super::super) fn job(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let numbers = ["parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex"];
    check::not_negative(spec, &numbers, errors);
    let deadline = spec.field("activeDeadlineSeconds");
    if deadline.number().is_some_and(|n| n < 1) {
        errors.push(deadline.invalid("must be greater than 0"));
    }
    if spec.field("completionMode").text() == "Indexed" && !spec.field("completions").exists() {
        errors.push(spec.field("completions").required("when completion mode is Indexed"));
    }
    let template = spec.field("template");
    let pod = template.field("spec");
    let policy = pod.field("restartPolicy");
    if !matches!(policy.text(), "OnFailure" | "Never") {
        errors.push(policy.required("valid values: \"OnFailure\", \"Never\""));
    }
    // The server writes the selector of a Job, unless the Job says otherwise.
    if spec.field("manualSelector").is_true() {
        check::selects_own_pods(spec, "job", errors);
    }
}

/// A CronJob.
pub(in super::super) fn cron_job(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let schedule = spec.field("schedule");
    if schedule.text().contains("TZ=") {
        errors.push(schedule.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
    } else if !schedule.is_empty()
        && let Err(why) = schedule::check(schedule.text())
    {
        errors.push(schedule.invalid(why));
    }
    let zone = spec.field("timeZone");
    let valid = |name: &str| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+')) && name != "Local"
    };
    if zone.exists() && (zone.is_empty() || !valid(zone.text())) {
        errors.push(zone.invalid("must be the name of a time zone of the IANA database, such as Asia/Seoul"));
    }
    check::not_negative(
        spec,
        &["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"],
        errors,
    );
}

/// A CronJob's name leaves room for the time that its Jobs' names end with.
pub(in super::super) fn cron_job_name(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let metadata = root.field("metadata");
    let name = metadata.field("name");
    if name.text().len() > 52 && names::dns_subdomain(name.text()).is_ok() {
        errors.push(name.invalid("must be no more than 52 characters"));
    }
}

/// A PodDisruptionBudget.
pub(in super::super) fn disruption_budget(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (least, most) = (spec.field("minAvailable"), spec.field("maxUnavailable"));
    if least.exists() && most.exists() {
        errors.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    check::number_or_percent(&least, errors);
    check::number_or_percent(&most, errors);
}
