//! Users, capabilities, filters: the container's security context over the pod's, over the image's.

use naru_api::k8s::api::core::v1::{AppArmorProfile, Container, Pod, SeccompProfile, SecurityContext};
use naru_runtime::{
    image::ImageConfig,
    pod::{AppArmor, Capabilities, ContainerConfig, ProcessPolicy, RunAs, Seccomp},
};

use super::{Extras, TranslateError};

/// User and groups.
pub(super) fn run_as(pod: &Pod, container: &Container, image: &ImageConfig, extras: &Extras) -> RunAs {
    let outer = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let inner = container.security_context.as_ref();
    let uid = inner.and_then(|own| own.run_as_user).or_else(|| outer.and_then(|outer| outer.run_as_user));
    let gid = inner.and_then(|own| own.run_as_group).or_else(|| outer.and_then(|outer| outer.run_as_group));
    let base = uid.map_or_else(|| image.user.clone(), |uid| uid.to_string());
    let user = match (&extras.user, gid) {
        (Some(named), _) => named.clone(),
        (None, Some(gid)) => {
            let name = base.split(':').next().filter(|name| !name.is_empty()).unwrap_or("0").to_owned();
            format!("{name}:{gid}")
        }
        (None, None) => base,
    };
    let number = |group: i64| u32::try_from(group).ok();
    let mut groups: Vec<u32> =
        outer.iter().flat_map(|outer| outer.supplemental_groups.iter().flatten()).copied().filter_map(number).collect();
    groups.extend(outer.and_then(|outer| outer.fs_group).and_then(number));
    let non_root = inner.and_then(|own| own.run_as_non_root).or_else(|| outer.and_then(|outer| outer.run_as_non_root));
    RunAs { user, groups, group_names: extras.group_add.clone(), must_not_be_root: non_root == Some(true) }
}

/// Capabilities, filter, profile and limits of processes.
pub(super) fn policy(pod: &Pod, container: &Container, extras: &Extras) -> Result<ProcessPolicy, TranslateError> {
    let outer = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let inner = container.security_context.as_ref();
    let lists = inner.and_then(|own| own.capabilities.as_ref());
    let list = |pick: fn(&naru_api::k8s::api::core::v1::Capabilities) -> &Option<Vec<String>>| {
        lists.and_then(|lists| pick(lists).clone()).unwrap_or_default()
    };
    let (add, drop) = (list(|lists| &lists.add), list(|lists| &lists.drop));
    let capabilities = Capabilities::adjusted(&add, &drop).map_err(|error| {
        TranslateError::invalid("securityContext.capabilities", format!("{add:?} {drop:?}"), error.to_string())
    })?;
    let seccomp = inner
        .and_then(|own| own.seccomp_profile.as_ref())
        .or_else(|| outer.and_then(|outer| outer.seccomp_profile.as_ref()));
    let apparmor = inner
        .and_then(|own| own.app_armor_profile.as_ref())
        .or_else(|| outer.and_then(|outer| outer.app_armor_profile.as_ref()));
    Ok(ProcessPolicy {
        capabilities,
        seccomp: self::seccomp(seccomp)?,
        apparmor: self::apparmor(apparmor),
        no_new_privileges: inner.and_then(|own| own.allow_privilege_escalation) == Some(false),
        rlimits: extras.ulimits.clone(),
        ..ProcessPolicy::default()
    })
}

/// Lifts what `privileged` lifts, and what `procMount: Unmasked` does.
pub(super) fn open_up(config: &mut ContainerConfig, own: Option<&SecurityContext>) {
    if own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked") {
        config.masked_paths.clear();
        config.readonly_paths.clear();
    }
    if own.and_then(|own| own.privileged) == Some(true) {
        config.make_privileged();
    }
}

fn seccomp(profile: Option<&SeccompProfile>) -> Result<Seccomp, TranslateError> {
    match profile.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_deref())) {
        None | Some(("RuntimeDefault", _)) => Ok(Seccomp::Default),
        Some(("Unconfined", _)) => Ok(Seccomp::Unconfined),
        // A profile is a file on the node: Kubernetes looks below kubelet's folder, Compose names any path.
        Some(("Localhost", Some(path))) => {
            let full = if path.starts_with('/') { path.to_owned() } else { format!("/var/lib/naru/seccomp/{path}") };
            let text = std::fs::read_to_string(&full).map_err(|error| {
                TranslateError::invalid(
                    "seccompProfile.localhostProfile",
                    full.clone(),
                    format!("cannot be read: {error}"),
                )
            })?;
            Ok(Seccomp::Profile(text))
        }
        Some((kind, _)) => Err(TranslateError::invalid(
            "seccompProfile.type",
            kind,
            "expected RuntimeDefault, Unconfined or Localhost",
        )),
    }
}

fn apparmor(profile: Option<&AppArmorProfile>) -> AppArmor {
    match profile.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_ref())) {
        Some(("Unconfined", _)) => AppArmor::Unconfined,
        Some(("Localhost", Some(name))) => AppArmor::Named(name.clone()),
        _ => AppArmor::Default,
    }
}
