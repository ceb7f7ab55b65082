//! The keys of networks, volumes, configs and secrets.

use super::{Key, Type, differs, refused, works};

const EXTERNAL: Type = Type::Either(&Type::Flag, &Type::Object(&[works("name", Type::Text)]));

pub(super) const NETWORK: &[Key] = &[
    works("name", Type::Text),
    differs(
        "driver",
        Type::Text,
        "every network is Naru's own (routed, isolated); `bridge`, `overlay` and `default` are taken, others refused",
    ),
    differs("driver_opts", Type::Map(&Type::Text), "kept, not used"),
    differs("ipam", Type::Object(IPAM), "checked and kept; pods have addresses of their node's range on every network"),
    works("external", EXTERNAL),
    works("internal", Type::Flag),
    differs("attachable", Type::Flag, "every network is"),
    differs("enable_ipv4", Type::Flag, "only `true` is taken"),
    differs(
        "enable_ipv6",
        Type::Flag,
        "services on it have IPv6 addresses too where the cluster has such (`--pod-network`); pods have them either way",
    ),
    works("labels", Type::MapOrAssignments),
];

const IPAM: &[Key] = &[
    works("driver", Type::Text),
    works(
        "config",
        Type::List(&Type::Object(&[
            works("subnet", Type::Text),
            works("ip_range", Type::Text),
            works("gateway", Type::Text),
            works("aux_addresses", Type::Map(&Type::Text)),
        ])),
    ),
    works("options", Type::Map(&Type::Text)),
];

pub(super) const VOLUME: &[Key] = &[
    works("name", Type::Text),
    differs("driver", Type::Text, "only `local` is taken: other drivers are storage classes"),
    differs(
        "driver_opts",
        Type::Map(&Type::Text),
        "of the local driver's: type, o and device of a bind; others refused",
    ),
    works("external", EXTERNAL),
    works("labels", Type::MapOrAssignments),
];

pub(super) const CONFIG: &[Key] = &[
    works("name", Type::Text),
    works("file", Type::Text),
    works("environment", Type::Text),
    works("content", Type::Text),
    works("external", EXTERNAL),
    works("labels", Type::MapOrAssignments),
    refused("template_driver", Type::Text, "templates are not expanded; write the content out"),
];

pub(super) const SECRET: &[Key] = &[
    works("name", Type::Text),
    works("file", Type::Text),
    works("environment", Type::Text),
    works("external", EXTERNAL),
    works("labels", Type::MapOrAssignments),
    refused("driver", Type::Text, "secrets are sealed in the cluster's own store"),
    refused("driver_opts", Type::Map(&Type::Text), "secrets are sealed in the cluster's own store"),
    refused("template_driver", Type::Text, "templates are not expanded; write the content out"),
];
