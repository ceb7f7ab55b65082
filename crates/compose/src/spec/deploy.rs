//! The keys of `deploy`.

use super::{Key, Type, differs, refused, works};

const TEXTS: Type = Type::List(&Type::Text);

pub(super) const DEPLOY: &[Key] = &[
    differs(
        "mode",
        Type::Word(&["replicated", "global", "replicated-job", "global-job"]),
        "a Deployment, a DaemonSet or a Job; `global-job` is refused",
    ),
    works("replicas", Type::Int),
    works("endpoint_mode", Type::Word(&["vip", "dnsrr"])),
    works("labels", Type::MapOrAssignments),
    works("placement", Type::Object(PLACEMENT)),
    works("resources", Type::Object(RESOURCES)),
    works("restart_policy", Type::Object(RESTART)),
    works("update_config", Type::Object(UPDATE)),
    differs(
        "rollback_config",
        Type::Object(UPDATE),
        "order, parallelism and delay; a rollback is always carried to its end",
    ),
];

const PLACEMENT: &[Key] = &[
    works("constraints", TEXTS),
    works("preferences", Type::List(&Type::Object(&[works("spread", Type::Text)]))),
    works("max_replicas_per_node", Type::Int),
];

const RESOURCES: &[Key] = &[
    works(
        "limits",
        Type::Object(&[works("cpus", Type::Number), works("memory", Type::Bytes), works("pids", Type::Int)]),
    ),
    works(
        "reservations",
        Type::Object(&[
            works("cpus", Type::Number),
            works("memory", Type::Bytes),
            refused("generic_resources", Type::Any, "no inventory of generic resources yet"),
            refused(
                "devices",
                Type::List(&Type::Object(DEVICES)),
                "no device inventory yet; map the device files with `devices`",
            ),
        ]),
    ),
];

const RESTART: &[Key] = &[
    works("condition", Type::Word(&["none", "on-failure", "any"])),
    differs("delay", Type::Duration, "noted: restarts wait 100 ms, then twice as long each time, as Docker's do"),
    works("max_attempts", Type::Int),
    differs("window", Type::Duration, "noted: ten seconds of running count as a good start"),
];

const UPDATE: &[Key] = &[
    works("parallelism", Type::Int),
    works("delay", Type::Duration),
    works("failure_action", Type::Word(&["continue", "pause", "rollback"])),
    works("monitor", Type::Duration),
    works("max_failure_ratio", Type::Number),
    works("order", Type::Word(&["stop-first", "start-first"])),
];

/// A device request.
pub(super) const DEVICES: &[Key] = &[
    works("capabilities", TEXTS),
    works("count", Type::Text),
    works("device_ids", TEXTS),
    works("driver", Type::Text),
    works("options", Type::MapOrAssignments),
];
