//! Node selector terms and tolerations.

use naru_api::k8s::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};

use crate::bits::Bits;
use crate::cluster::Cluster;

/// The nodes that one term selects.
pub(crate) fn term(cluster: &Cluster, term: &NodeSelectorTerm) -> Bits {
    let mut found = cluster.all();
    let mut said = false;
    for requirement in term.match_expressions.iter().flatten() {
        said = true;
        found.intersect(&label(cluster, requirement));
    }
    for requirement in term.match_fields.iter().flatten() {
        said = true;
        // The only field there is: the node's name.
        let mut named = Bits::default();
        requirement.values.iter().flatten().filter_map(|name| cluster.at(name)).for_each(|at| named.insert(at));
        match requirement.operator.as_str() {
            "In" => found.intersect(&named),
            _ => found.subtract(&named),
        }
    }
    // A term that says nothing selects nothing (Kubernetes API, NodeSelectorTerm).
    if said { found } else { Bits::default() }
}

fn label(cluster: &Cluster, requirement: &NodeSelectorRequirement) -> Bits {
    let values = requirement.values.as_deref().unwrap_or_default();
    let with = |values: &[String]| {
        let mut found = Bits::default();
        values.iter().for_each(|value| found.unite(&cluster.with_label(&requirement.key, value)));
        found
    };
    let without = |some: Bits| {
        let mut found = cluster.all();
        found.subtract(&some);
        found
    };
    match requirement.operator.as_str() {
        "In" => with(values),
        "NotIn" => without(with(values)),
        "Exists" => cluster.with_key(&requirement.key),
        "DoesNotExist" => without(cluster.with_key(&requirement.key)),
        operator @ ("Gt" | "Lt") => {
            let mut found = Bits::default();
            let Some(bound) = values.first().and_then(|value| value.parse::<i64>().ok()) else { return found };
            for (at, node) in cluster.nodes() {
                let number = node.labels.get(&requirement.key).and_then(|value| value.parse::<i64>().ok());
                if number.is_some_and(|n| if operator == "Gt" { n > bound } else { n < bound }) {
                    found.insert(at);
                }
            }
            found
        }
        _ => Bits::default(),
    }
}

/// Whether one of the tolerations bears a taint.
pub(crate) fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
        let key = toleration.key.as_deref().filter(|key| !key.is_empty());
        let exists = toleration.operator.as_deref() == Some("Exists");
        effect.is_none_or(|effect| effect == taint.effect)
            && key.is_none_or(|key| key == taint.key)
            && (key.is_some() || exists)
            && (exists || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default())
    })
}
