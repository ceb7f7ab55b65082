//! Defaults of the group `batch`.

use super::edit::{Object, child, each, make, set};
use super::pod;

/// A Job.
pub(super) fn job(object: &mut Object) {
    make(object, "spec", |spec| {
        // Completions alone absent means a work queue: it ends when its pods say so.
        if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
            set(spec, "completions", 1);
        }
        set(spec, "parallelism", 1);
        set(spec, "completionMode", "NonIndexed");
        set(spec, "suspend", false);
        let limit = if spec.contains_key("backoffLimitPerIndex") { i32::MAX } else { 6 };
        set(spec, "backoffLimit", limit);
        let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        set(spec, "podReplacementPolicy", replacement);
        child(spec, "podFailurePolicy", |policy| {
            each(policy, "rules", |rule| each(rule, "onPodConditions", |condition| set(condition, "status", "True")));
        });
        make(spec, "template", pod::template);
    });
}

/// A CronJob.
pub(super) fn cron_job(object: &mut Object) {
    make(object, "spec", |spec| {
        set(spec, "concurrencyPolicy", "Allow");
        set(spec, "suspend", false);
        set(spec, "successfulJobsHistoryLimit", 3);
        set(spec, "failedJobsHistoryLimit", 1);
        make(spec, "jobTemplate", |job| make(job, "spec", |spec| make(spec, "template", pod::template)));
    });
}
