//! Tables of what makes pods.

use jiff::Timestamp;
use serde_json::Value;

use super::age::span;
use super::cell::{containers, created, items, labels, name, number, plain, selector, since, text};
use super::{Table, table};
use crate::meta;

pub(super) const DEPLOYMENT: Table = table(
    &["Name", "Ready", "Up-to-date", "Available#", "Age", "+Containers", "+Images", "+Selector"],
    |object, now| {
        let (names, images) = containers(object, "spec.template.spec");
        vec![
            name(object),
            format!("{}/{}", number(object, "status.readyReplicas"), number(object, "spec.replicas")).into(),
            number(object, "status.updatedReplicas").into(),
            number(object, "status.availableReplicas").into(),
            created(object, now),
            names,
            images,
            selector(meta::at(object, "spec.selector")),
        ]
    },
);

pub(super) const REPLICA_SET: Table =
    table(&["Name", "Desired", "Current", "Ready#", "Age", "+Containers", "+Images", "+Selector"], |object, now| {
        let (names, images) = containers(object, "spec.template.spec");
        // A ReplicationController selects by a plain map.
        let plain_map = meta::kind(object) == "ReplicationController";
        let selector = match meta::at(object, "spec.selector") {
            map if plain_map => labels(map.as_object()),
            object => selector(object),
        };
        vec![
            name(object),
            number(object, "spec.replicas").into(),
            number(object, "status.replicas").into(),
            number(object, "status.readyReplicas").into(),
            created(object, now),
            names,
            images,
            selector,
        ]
    });

pub(super) const DAEMON_SET: Table = table(
    &[
        "Name",
        "Desired",
        "Current",
        "Ready#",
        "Up-to-date",
        "Available#",
        "Node Selector",
        "Age",
        "+Containers",
        "+Images",
        "+Selector",
    ],
    |object, now| {
        let (names, images) = containers(object, "spec.template.spec");
        vec![
            name(object),
            number(object, "status.desiredNumberScheduled").into(),
            number(object, "status.currentNumberScheduled").into(),
            number(object, "status.numberReady").into(),
            number(object, "status.updatedNumberScheduled").into(),
            number(object, "status.numberAvailable").into(),
            labels(meta::at(object, "spec.template.spec.nodeSelector").as_object()),
            created(object, now),
            names,
            images,
            selector(meta::at(object, "spec.selector")),
        ]
    },
);

pub(super) const STATEFUL_SET: Table = table(&["Name", "Ready", "Age", "+Containers", "+Images"], |object, now| {
    let (names, images) = containers(object, "spec.template.spec");
    vec![
        name(object),
        format!("{}/{}", number(object, "status.readyReplicas"), number(object, "spec.replicas")).into(),
        created(object, now),
        names,
        images,
    ]
});

pub(super) const CONTROLLER_REVISION: Table = table(&["Name", "Controller", "Revision", "Age"], |object, now| {
    let controller = match meta::controller_ref(object) {
        Some(owner) => {
            let kind = owner.kind.to_lowercase();
            match owner.api_version.split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
                None => format!("{kind}/{}", owner.name),
            }
        }
        None => "<none>".to_owned(),
    };
    vec![name(object), controller.into(), number(object, "revision").into(), created(object, now)]
});

pub(super) const POD_TEMPLATE: Table = table(&["Name", "Containers", "Images", "Pod Labels"], |object, _| {
    let (names, images) = containers(object, "template.spec");
    vec![name(object), names, images, labels(meta::at(object, "template.metadata.labels").as_object())]
});

pub(super) const JOB: Table = table(
    &["Name", "Status", "Completions", "Duration", "Age", "+Containers", "+Images", "+Selector"],
    |object, now| {
        let (names, images) = containers(object, "spec.template.spec");
        vec![
            name(object),
            job_status(object).into(),
            completions(object).into(),
            duration(object, now).into(),
            created(object, now),
            names,
            images,
            selector(meta::at(object, "spec.selector")),
        ]
    },
);

fn job_status(job: &Value) -> &'static str {
    let holds = |of: &str| {
        items(job, "status.conditions").any(|c| meta::text(c, "type") == of && meta::text(c, "status") == "True")
    };
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if meta::is_deleting(job) {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let done = number(job, "status.succeeded");
    match meta::at(job, "spec.completions").as_i64() {
        Some(wanted) => format!("{done}/{wanted}"),
        None => match number(job, "spec.parallelism") {
            parallel if parallel > 1 => format!("{done}/1 of {parallel}"),
            _ => format!("{done}/1"),
        },
    }
}

fn duration(job: &Value, now: Timestamp) -> String {
    let stamp = |path: &str| meta::text(job, path).parse::<Timestamp>().ok();
    let Some(start) = stamp("status.startTime") else { return String::new() };
    let failed = || {
        let failed = items(job, "status.conditions").find(|c| meta::text(c, "type") == "Failed")?;
        meta::text(failed, "lastTransitionTime").parse::<Timestamp>().ok()
    };
    let end = stamp("status.completionTime").or_else(failed).unwrap_or(now);
    span(end.as_second() - start.as_second())
}

pub(super) const CRON_JOB: Table = table(
    &[
        "Name",
        "Schedule",
        "Timezone",
        "Suspend",
        "Active",
        "Last Schedule",
        "Age",
        "+Containers",
        "+Images",
        "+Selector",
    ],
    |object, now| {
        let (names, images) = containers(object, "spec.jobTemplate.spec.template.spec");
        let last = meta::at(object, "status.lastScheduleTime");
        vec![
            name(object),
            text(object, "spec.schedule", ""),
            text(object, "spec.timeZone", "<none>"),
            if meta::at(object, "spec.suspend") == true { "True".into() } else { "False".into() },
            items(object, "status.active").count().into(),
            if last.is_string() { since(last, now) } else { "<none>".into() },
            created(object, now),
            names,
            images,
            selector(meta::at(object, "spec.jobTemplate.spec.selector")),
        ]
    },
);

pub(super) const DISRUPTION_BUDGET: Table =
    table(&["Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"], |object, now| {
        vec![
            name(object),
            plain(meta::at(object, "spec.minAvailable"), "N/A").into(),
            plain(meta::at(object, "spec.maxUnavailable"), "N/A").into(),
            number(object, "status.disruptionsAllowed").into(),
            created(object, now),
        ]
    });
