//! The keys of a service.

use super::build::BUILD;
use super::deploy::{DEPLOY, DEVICES};
use super::{Key, Type, differs, refused, works};

const TEXTS: Type = Type::List(&Type::Text);
const COMMAND: Type = Type::Command;
const WINDOWS: &str = "it concerns Windows containers only; remove it";

/// All 92 of them.
pub(super) const SERVICE: &[Key] = &[
    works("annotations", Type::MapOrAssignments),
    works("attach", Type::Flag),
    works("blkio_config", Type::Object(BLKIO)),
    works("build", Type::Either(&Type::Text, &Type::Object(BUILD))),
    works("cap_add", TEXTS),
    works("cap_drop", TEXTS),
    differs("cgroup", Type::Word(&["host", "private"]), "only `private` (the default here) is taken"),
    refused(
        "cgroup_parent",
        Type::Text,
        "the pod's place in the control groups is Naru's; use `deploy.resources` for limits",
    ),
    works("command", COMMAND),
    works("configs", Type::List(&Type::Either(&Type::Text, &Type::Object(FILE_REFERENCE)))),
    differs(
        "container_name",
        Type::Text,
        "names the container in `naru ps` and answers in DNS; more than one replica is refused, as in Docker Compose",
    ),
    refused("cpu_count", Type::Int, WINDOWS),
    refused("cpu_percent", Type::Int, WINDOWS),
    works("cpu_period", Type::Number),
    works("cpu_quota", Type::Number),
    refused(
        "cpu_rt_period",
        Type::Number,
        "kernels of today's distributions have no real-time group scheduling; remove it",
    ),
    refused(
        "cpu_rt_runtime",
        Type::Number,
        "kernels of today's distributions have no real-time group scheduling; remove it",
    ),
    works("cpu_shares", Type::Number),
    works("cpus", Type::Number),
    works("cpuset", Type::Text),
    refused("credential_spec", Type::Any, WINDOWS),
    works("depends_on", Type::Either(&TEXTS, &Type::Map(&Type::Object(DEPENDENCY)))),
    works("deploy", Type::Object(DEPLOY)),
    differs(
        "develop",
        Type::Any,
        "checked and kept, but `naru up` does not watch files, just as `docker compose up` without --watch",
    ),
    works("device_cgroup_rules", TEXTS),
    works("devices", Type::List(&Type::Either(&Type::Text, &Type::Object(DEVICE)))),
    works("dns", Type::TextOrList),
    works("dns_opt", TEXTS),
    works("dns_search", Type::TextOrList),
    works("domainname", Type::Text),
    works("entrypoint", COMMAND),
    works("env_file", Type::Either(&Type::Text, &Type::List(&Type::Either(&Type::Text, &Type::Object(ENV_FILE))))),
    works("environment", Type::MapOrAssignments),
    works("expose", TEXTS),
    works("extends", Type::Either(&Type::Text, &Type::Object(EXTENDS))),
    refused("external_links", TEXTS, "put both services on one external network and use the service's name"),
    works("extra_hosts", Type::Either(&TEXTS, &Type::Map(&Type::TextOrList))),
    refused(
        "gpus",
        Type::Either(&Type::Text, &Type::List(&Type::Object(DEVICES))),
        "no device inventory yet; map the device files with `devices`",
    ),
    works("group_add", TEXTS),
    differs(
        "healthcheck",
        Type::Object(HEALTHCHECK),
        "an unhealthy container is also restarted, once it has been healthy; one that has not been yet is told unhealthy, as Docker does, and goes on (a start that takes long is never cut off); the label naru.io/healthcheck-restart: \"false\" turns that off. Times are rounded up to whole seconds",
    ),
    works("hostname", Type::Text),
    works("image", Type::Text),
    works("init", Type::Flag),
    differs(
        "ipc",
        Type::Text,
        "`host`, `shareable` and `private` as in Docker; with `service:x` the two services become containers of one pod",
    ),
    differs(
        "isolation",
        Type::Word(&["default", "process", "hyperv"]),
        "only `default` is taken, as Docker does on Linux",
    ),
    works("label_file", Type::TextOrList),
    works("labels", Type::MapOrAssignments),
    differs(
        "links",
        TEXTS,
        "gives the alias on the services' common networks, and starts the other first; no environment variables",
    ),
    differs(
        "logging",
        Type::Object(LOGGING),
        "logs are always kept by Naru, with `max-size` and `max-file`; of the drivers only `json-file`, `local` and `none` are taken",
    ),
    refused("mac_address", Type::Text, "pods have routed links whose hardware address nothing else sees"),
    works("mem_limit", Type::Bytes),
    works("mem_reservation", Type::Bytes),
    works("mem_swappiness", Type::Int),
    works("memswap_limit", Type::Bytes),
    refused(
        "models",
        Type::Any,
        "no model runner is built in: run the model as a service and pass its URL in `environment`",
    ),
    differs(
        "network_mode",
        Type::Text,
        "`host`, `none`, `bridge` and `service:x` (the two services become containers of one pod); `container:x` is refused",
    ),
    works("networks", Type::Either(&TEXTS, &Type::Map(&Type::Object(NETWORK_REFERENCE)))),
    differs(
        "oom_kill_disable",
        Type::Flag,
        "only `false` is taken: a container that cannot be killed when memory ends freezes its machine",
    ),
    works("oom_score_adj", Type::Int),
    differs(
        "pid",
        Type::Text,
        "`host` as in Docker; `service:x`: the two services become containers of one pod that shares its processes",
    ),
    works("pids_limit", Type::Int),
    differs("platform", Type::Text, "selects the image's platform and the nodes that may run it"),
    differs(
        "ports",
        Type::List(&Type::Either(&Type::Text, &Type::Object(PORT))),
        "a published port is balanced over all replicas, so scaling needs no port range",
    ),
    works("post_start", Type::List(&Type::Object(HOOK))),
    works("pre_stop", Type::List(&Type::Object(HOOK))),
    works("privileged", Type::Flag),
    works("profiles", TEXTS),
    refused("provider", Type::Any, "no provider plugins are called; start what it provides as a service"),
    differs(
        "pull_policy",
        Type::Text,
        "`daily`, `weekly` and `every_<time>` pull what is missing and nothing more; `naru pull` looks for newer images",
    ),
    refused("pull_refresh_after", Type::Duration, "images are not looked for again by time; `naru pull` does it now"),
    works("read_only", Type::Flag),
    differs(
        "restart",
        Type::Text,
        "a container that was stopped by hand stays stopped when the machine starts again, also with `always`: as with `unless-stopped`",
    ),
    differs("runtime", Type::Text, "only `runc` is taken, and means Naru's own way of running containers"),
    works("scale", Type::Int),
    works("secrets", Type::List(&Type::Either(&Type::Text, &Type::Object(FILE_REFERENCE)))),
    differs(
        "security_opt",
        TEXTS,
        "`no-new-privileges`, `seccomp=unconfined`, `seccomp=<file>`, `apparmor=<profile>`, `systempaths=unconfined` and `label:disable` (no labels are ever set); other labels are refused",
    ),
    works("shm_size", Type::Bytes),
    works("stdin_open", Type::Flag),
    works("stop_grace_period", Type::Duration),
    works("stop_signal", Type::Text),
    refused("storage_opt", Type::Map(&Type::Text), "the writable layer has no size of its own; use a volume"),
    works("sysctls", Type::MapOrAssignments),
    differs(
        "tmpfs",
        Type::TextOrList,
        "of the options, `size`, `mode`, `uid` and `gid` are applied; `noexec` is taken without effect",
    ),
    works("tty", Type::Flag),
    works("ulimits", Type::Map(&Type::Either(&Type::Int, &Type::Object(ULIMIT)))),
    refused("use_api_socket", Type::Flag, "give the service a service account's token through `kubectl` instead"),
    works("user", Type::Text),
    differs("userns_mode", Type::Text, "only `host` (the default here) is taken"),
    works("uts", Type::Word(&["host"])),
    differs(
        "volumes",
        Type::List(&Type::Either(&Type::Text, &Type::Object(MOUNT))),
        "named and anonymous volumes are filled from the image as Docker does; an anonymous one is kept when its container is replaced and over `down`, unless the service has several replicas; `down -v` removes it. Types `image`, `cluster` and `npipe` are refused",
    ),
    differs(
        "volumes_from",
        TEXTS,
        "mounts the other service's named volumes and binds; anonymous volumes are not shared",
    ),
    works("working_dir", Type::Text),
];

const BLKIO: &[Key] = &[
    works("weight", Type::Int),
    refused(
        "weight_device",
        Type::List(&Type::Object(&[works("path", Type::Text), works("weight", Type::Int)])),
        "weights of single devices are not set; use `weight`",
    ),
    works("device_read_bps", Type::List(&Type::Object(BLKIO_RATE))),
    works("device_read_iops", Type::List(&Type::Object(BLKIO_RATE))),
    works("device_write_bps", Type::List(&Type::Object(BLKIO_RATE))),
    works("device_write_iops", Type::List(&Type::Object(BLKIO_RATE))),
];
const BLKIO_RATE: &[Key] = &[works("path", Type::Text), works("rate", Type::Bytes)];

const FILE_REFERENCE: &[Key] = &[
    works("source", Type::Text),
    works("target", Type::Text),
    works("uid", Type::Text),
    works("gid", Type::Text),
    works("mode", Type::Mode),
];

const DEPENDENCY: &[Key] = &[
    works("condition", Type::Word(&["service_started", "service_healthy", "service_completed_successfully"])),
    differs(
        "restart",
        Type::Flag,
        "a change of the other service replaces this one's containers, after the other's have met the condition",
    ),
    works("required", Type::Flag),
];

const DEVICE: &[Key] = &[works("source", Type::Text), works("target", Type::Text), works("permissions", Type::Text)];

const ENV_FILE: &[Key] =
    &[works("path", Type::Text), works("required", Type::Flag), works("format", Type::Word(&["raw"]))];

const EXTENDS: &[Key] = &[works("service", Type::Text), works("file", Type::Text)];

const HEALTHCHECK: &[Key] = &[
    works("test", Type::HealthTest),
    works("interval", Type::Duration),
    works("timeout", Type::Duration),
    works("retries", Type::Int),
    works("start_period", Type::Duration),
    works("start_interval", Type::Duration),
    works("disable", Type::Flag),
];

const HOOK: &[Key] = &[
    works("command", COMMAND),
    works("user", Type::Text),
    works("privileged", Type::Flag),
    works("working_dir", Type::Text),
    works("environment", Type::MapOrAssignments),
];

const LOGGING: &[Key] = &[works("driver", Type::Text), works("options", Type::Map(&Type::Text))];

const NETWORK_REFERENCE: &[Key] = &[
    works("aliases", TEXTS),
    differs("ipv4_address", Type::Text, "checked and noted, but a pod keeps the address of its node's range"),
    refused("ipv6_address", Type::Text, "a pod's IPv6 address follows from its IPv4 address and its node"),
    refused("link_local_ips", TEXTS, "pods have routed links"),
    refused("mac_address", Type::Text, "pods have routed links"),
    refused("interface_name", Type::Text, "a pod has one link, `eth0`, for all its networks"),
    differs("driver_opts", Type::Map(&Type::Text), "kept, not used"),
    differs("priority", Type::Number, "kept, not used: a pod has one link for all its networks"),
    differs("gw_priority", Type::Number, "kept, not used: a pod has one link for all its networks"),
];

const PORT: &[Key] = &[
    works("name", Type::Text),
    differs(
        "mode",
        Type::Word(&["host", "ingress"]),
        "both publish on the machine; `host` keeps to the replica of that machine",
    ),
    works("host_ip", Type::Text),
    works("target", Type::Int),
    works("published", Type::Text),
    works("protocol", Type::Word(&["tcp", "udp"])),
    works("app_protocol", Type::Text),
];

const ULIMIT: &[Key] = &[works("soft", Type::Int), works("hard", Type::Int)];

const MOUNT: &[Key] = &[
    works("type", Type::Word(&["bind", "volume", "tmpfs", "image", "cluster", "npipe"])),
    works("source", Type::Text),
    works("target", Type::Text),
    works("read_only", Type::Flag),
    differs("consistency", Type::Text, "without meaning on Linux, as in Docker"),
    works(
        "bind",
        Type::Object(&[
            works("propagation", Type::Word(&["private", "rprivate", "shared", "rshared", "slave", "rslave"])),
            works("create_host_path", Type::Flag),
            differs(
                "recursive",
                Type::Word(&["enabled", "disabled", "writable", "readonly"]),
                "only `enabled` is taken: what is mounted below is seen too",
            ),
            differs("selinux", Type::Word(&["z", "Z"]), "taken, without effect: labels are not changed"),
        ]),
    ),
    works(
        "volume",
        Type::Object(&[
            works("nocopy", Type::Flag),
            works("subpath", Type::Text),
            works("labels", Type::MapOrAssignments),
        ]),
    ),
    works("tmpfs", Type::Object(&[works("size", Type::Bytes), works("mode", Type::Mode)])),
    refused(
        "image",
        Type::Object(&[works("subpath", Type::Text)]),
        "images are not mounted; copy the files into a volume",
    ),
];
