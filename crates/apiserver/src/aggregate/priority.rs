//! In which order groups, and versions of a group, are told: the numbers of Kubernetes.
//!
//! Clients that look for a name without a group take the first group that has it, so the order decides what
//! `kubectl get deployments` means.

use std::cmp::Reverse;

use naru_crd::version_order;

/// Of a kind that users define, and of what nobody gave one.
const CUSTOM: (i64, i64) = (1000, 100);
/// Of our own groups: after all of Kubernetes, before what is added.
const OURS: (i64, i64) = (15_000, 15);
/// Of the one version of most groups.
const ONLY: i64 = 15;

/// The groups of Kubernetes, from the first to the last.
const GROUPS: [(&str, i64); 21] = [
    // First of all by itself, as in Kubernetes.
    ("apiregistration.k8s.io", 20_001),
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_150),
    ("flowcontrol.apiserver.k8s.io", 16_100),
];

/// The priorities of a group and of a version in it that this server answers itself.
pub(super) fn of(group: &str, version: &str) -> (i64, i64) {
    if group == "naru.io" {
        return OURS;
    }
    let Some((_, priority)) = GROUPS.iter().find(|(name, _)| *name == group) else { return CUSTOM };
    let of_version = match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", _) => 21,
        _ => ONLY,
    };
    (*priority, of_version)
}

/// Sorts versions with their priorities, the one to be preferred first.
pub(super) fn sort(versions: &mut [(String, i64)]) {
    versions.sort_by(|(a, of_a), (b, of_b)| Reverse(of_a).cmp(&Reverse(of_b)).then_with(|| version_order(a, b)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_api::Registry;

    #[test]
    fn discovery_tells_groups_in_the_order_of_their_priorities() {
        let list = naru_api::discovery::api_group_list(&Registry::builtin());
        let groups = list["groups"].as_array().expect("groups").iter().map(|g| g["name"].as_str().expect("a name"));
        let priorities: Vec<i64> = groups.map(|group| of(group, "v1").0).collect();
        assert!(priorities.is_sorted_by(|a, b| a >= b), "{priorities:?}");
    }

    #[test]
    fn a_version_of_more_weight_comes_first_and_a_stable_one_before_a_trial() {
        let mut versions: Vec<(String, i64)> =
            [("v1beta1", 100), ("v1", 100), ("v3alpha1", 200)].map(|(name, weight)| (name.to_owned(), weight)).to_vec();
        sort(&mut versions);
        assert_eq!(versions.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["v3alpha1", "v1", "v1beta1"]);
    }
}
