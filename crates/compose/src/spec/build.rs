//! The keys of `build`: handed to the builder that is there (docker, buildah or buildctl).

use super::{Key, Type, differs, works};

const TEXTS: Type = Type::List(&Type::Text);
const IF_BUILDER: &str = "handed to the builder; one that lacks it refuses it";

pub(super) const BUILD: &[Key] = &[
    works("context", Type::Text),
    works("dockerfile", Type::Text),
    works("dockerfile_inline", Type::Text),
    works("args", Type::MapOrAssignments),
    works("labels", Type::MapOrAssignments),
    works("target", Type::Text),
    works("tags", TEXTS),
    works("no_cache", Type::Flag),
    works("pull", Type::Flag),
    works("network", Type::Text),
    differs("additional_contexts", Type::MapOrAssignments, IF_BUILDER),
    differs("cache_from", TEXTS, IF_BUILDER),
    differs("cache_to", TEXTS, IF_BUILDER),
    differs("entitlements", TEXTS, IF_BUILDER),
    differs("extra_hosts", Type::Either(&TEXTS, &Type::Map(&Type::TextOrList)), IF_BUILDER),
    differs("isolation", Type::Text, IF_BUILDER),
    differs("platforms", TEXTS, IF_BUILDER),
    differs("privileged", Type::Flag, IF_BUILDER),
    differs("provenance", Type::Text, IF_BUILDER),
    differs("sbom", Type::Text, IF_BUILDER),
    differs("secrets", Type::List(&Type::Either(&Type::Text, &Type::Any)), IF_BUILDER),
    differs("shm_size", Type::Bytes, IF_BUILDER),
    differs("ssh", Type::MapOrAssignments, IF_BUILDER),
    differs("ulimits", Type::Map(&Type::Any), IF_BUILDER),
];
