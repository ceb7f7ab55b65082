//! Which pods each Service selects, kept as either changes: a pod is compared with the few Services that ask for one of
//! its labels, and a Service with the pods of its namespace only when its selector changes. Looking through all pods of a
//! namespace at each change of one would cost pods times pods.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use naru_client::ObjectRef;

type Labels = BTreeMap<String, String>;
/// Namespace, name and value of a label.
type Pair = (Arc<str>, Arc<str>, Arc<str>);

/// Services and the pods that they select, by name.
#[derive(Debug, Default)]
pub(super) struct Membership {
    services: HashMap<ObjectRef, Selected>,
    /// Services by the first pair of their selectors.
    by_pair: HashMap<Pair, BTreeSet<ObjectRef>>,
}

#[derive(Debug, Default)]
struct Selected {
    selector: Labels,
    pods: HashSet<ObjectRef>,
}

impl Membership {
    /// Takes a Service's selector; `None`, or an empty one, selects nothing. `pods` finds those of its namespace whose
    /// labels do.
    pub(super) fn set_service(
        &mut self,
        service: &ObjectRef,
        selector: Option<&Labels>,
        pods: impl FnOnce(&dyn Fn(&Labels) -> bool) -> HashSet<ObjectRef>,
    ) {
        let wanted = selector.filter(|selector| !selector.is_empty());
        if wanted.is_some() && wanted == self.services.get(service).map(|known| &known.selector) {
            return;
        }
        self.forget(service);
        let Some(selector) = wanted else { return };
        if let Some(pair) = pair(service, selector) {
            self.by_pair.entry(pair).or_default().insert(service.clone());
        }
        let pods = pods(&|labels| matches(selector, labels));
        self.services.insert(service.clone(), Selected { selector: selector.clone(), pods });
    }

    fn forget(&mut self, service: &ObjectRef) {
        let Some(known) = self.services.remove(service) else { return };
        if let Some(pair) = pair(service, &known.selector)
            && let Some(services) = self.by_pair.get_mut(&pair)
        {
            services.remove(service);
            if services.is_empty() {
                self.by_pair.remove(&pair);
            }
        }
    }

    /// Takes a pod's labels before and after a change; gives the Services that it concerns.
    pub(super) fn set_pod(
        &mut self,
        pod: &ObjectRef,
        before: Option<&Labels>,
        after: Option<&Labels>,
    ) -> BTreeSet<ObjectRef> {
        let mut concerned = BTreeSet::new();
        for labels in before.into_iter().chain(after.filter(|after| before != Some(after))) {
            for (name, value) in labels {
                let pair = (pod.namespace.clone(), name.as_str().into(), value.as_str().into());
                concerned.extend(self.by_pair.get(&pair).into_iter().flatten().cloned());
            }
        }
        concerned.retain(|service| {
            let Some(selected) = self.services.get_mut(service) else { return false };
            match after.is_some_and(|labels| matches(&selected.selector, labels)) {
                true => {
                    selected.pods.insert(pod.clone());
                    true
                }
                // Also one that left it, or is gone.
                false => selected.pods.remove(pod),
            }
        });
        concerned
    }

    /// The pods that a Service selects, by name.
    pub(super) fn pods(&self, service: &ObjectRef) -> Vec<ObjectRef> {
        let mut pods: Vec<_> =
            self.services.get(service).map(|known| known.pods.iter().cloned().collect()).unwrap_or_default();
        pods.sort();
        pods
    }
}

fn matches(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn pair(service: &ObjectRef, selector: &Labels) -> Option<Pair> {
    let (name, value) = selector.first_key_value()?;
    Some((service.namespace.clone(), name.as_str().into(), value.as_str().into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(of: &[(u8, u8)]) -> Labels {
        of.iter().map(|(name, value)| (format!("k{name}"), value.to_string())).collect()
    }

    proptest! {
        /// Whatever changes in whatever order, a Service has the pods of its namespace that its selector matches, and
        /// whoever gains or loses one is told.
        #[test]
        fn members_are_those_that_a_look_at_all_pods_would_find(
            steps in prop::collection::vec(
                (any::<bool>(), 0..3_u8, 0..2_u8, prop::option::of(prop::collection::vec((0..3_u8, 0..2_u8), 0..4))), 1..60)
        ) {
            let mut membership = Membership::default();
            let mut pods: BTreeMap<ObjectRef, Labels> = BTreeMap::new();
            let mut services: BTreeMap<ObjectRef, Labels> = BTreeMap::new();
            for (is_pod, number, namespace, wanted) in steps {
                let key = ObjectRef::new(&format!("n{namespace}"), &format!("o{number}"));
                let wanted = wanted.map(|wanted| labels(&wanted));
                let found = |services: &BTreeMap<ObjectRef, Labels>, pods: &BTreeMap<ObjectRef, Labels>| {
                    services.iter().map(|(service, selector)| {
                        let of = |(pod, labels): (&ObjectRef, &Labels)| {
                            let selected = pod.namespace == service.namespace && !selector.is_empty()
                                && matches(selector, labels);
                            selected.then(|| pod.clone())
                        };
                        (service.clone(), pods.iter().filter_map(of).collect::<Vec<_>>())
                    }).collect::<BTreeMap<_, _>>()
                };
                let before = found(&services, &pods);
                if is_pod {
                    let told = membership.set_pod(&key, pods.get(&key), wanted.as_ref());
                    match wanted {
                        Some(labels) => pods.insert(key.clone(), labels),
                        None => pods.remove(&key),
                    };
                    for (service, now) in found(&services, &pods) {
                        prop_assert!(told.contains(&service) || before[&service] == now);
                        prop_assert!(told.contains(&service) || !now.contains(&key), "changes of members are told");
                    }
                } else {
                    membership.set_service(&key, wanted.as_ref(), |wanted| {
                        let here = |pod: &ObjectRef| pod.namespace == key.namespace;
                        pods.iter().filter(|(pod, labels)| here(pod) && wanted(labels)).map(|(pod, _)| pod.clone()).collect()
                    });
                    match wanted {
                        Some(selector) => services.insert(key.clone(), selector),
                        None => services.remove(&key),
                    };
                }
                for (service, pods) in found(&services, &pods) {
                    prop_assert_eq!(membership.pods(&service), pods);
                }
            }
        }
    }
}
