//! What becomes of a definition among the names that are taken.
//!
//! A kind is served once its names are accepted, and stays so: names that are taken later do not take it away. Who asks is
//! whoever follows all definitions; the answer depends on nothing else, so that two servers come to the same.

use serde_json::{Value, json};

use super::Names;
use super::check::{APPROVAL, Approval};
use super::read::{list, text};

/// The names of one group that others have.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Plurals, singulars and short names, which share one space.
    pub resources: Vec<String>,
    /// Kinds and kinds of lists.
    pub kinds: Vec<String>,
}

// === impl Taken ===

impl Taken {
    /// Adds the names that somebody has.
    pub fn add(&mut self, names: &Names) {
        let resources = [&names.plural, &names.singular].into_iter().chain(&names.short_names);
        self.resources.extend(resources.filter(|name| !name.is_empty()).cloned());
        self.kinds.extend([&names.kind, &names.list_kind].into_iter().filter(|name| !name.is_empty()).cloned());
    }
}

/// The status that a definition should have; `taken` are the accepted names of all other definitions of its group, and of
/// built-in kinds. `now` is a time stamp in words.
pub fn status(crd: &Value, taken: &Taken, now: &str) -> Value {
    let mut status = if crd["status"].is_object() { crd["status"].clone() } else { json!({}) };
    let wanted = Names::read(&crd["spec"]["names"]);
    let mut accepted = Names::read(&status["acceptedNames"]);
    let refusal = accept(&wanted, &mut accepted, taken);
    status["acceptedNames"] = write(&accepted);
    let generation = crd["metadata"].get("generation").cloned();
    let set = |status: &mut Value, kind: &str, holds: bool, reason: &str, message: &str| {
        condition(status, (kind, holds, reason, message), generation.as_ref(), now);
    };
    match &refusal {
        None => set(&mut status, "NamesAccepted", true, "NoConflicts", "no conflicts found"),
        Some((reason, message)) => set(&mut status, "NamesAccepted", false, reason, message),
    }
    let established = is_true(&crd["status"], "Established");
    match (&refusal, established) {
        // Once it is served, it stays.
        (_, true) => {}
        (None, false) => {
            set(&mut status, "Established", true, "InitialNamesAccepted", "the initial names have been accepted")
        }
        (Some(_), false) => set(&mut status, "Established", false, "NotAccepted", "not all names are accepted"),
    }
    let (holds, reason, message) = match Approval::of(crd) {
        Approval::Needless => return status,
        Approval::Given(place) => (true, "ApprovedAnnotation", format!("approved in {place}")),
        Approval::Bypassed(why) => (false, "UnapprovedAnnotation", format!("not approved: {why:?}")),
        Approval::Unclear(given) => (false, "InvalidAnnotation", format!("{given:?} is neither a URL nor a reason")),
        Approval::Missing => (false, "MissingAnnotation", format!("the annotation {APPROVAL} is missing")),
    };
    set(&mut status, "KubernetesAPIApprovalPolicyConformant", holds, reason, &message);
    status
}

/// Whether a condition holds.
fn is_true(status: &Value, kind: &str) -> bool {
    list(&status["conditions"]).iter().any(|c| text(&c["type"]) == kind && text(&c["status"]) == "True")
}

/// Takes the wanted names that are free; the first that is not says why. What is taken by others is not accepted, what was
/// accepted before stays.
fn accept(wanted: &Names, accepted: &mut Names, taken: &Taken) -> Option<(&'static str, String)> {
    let mut refusal = None;
    let mut refuse = |reason, name: &str| {
        refusal.get_or_insert((reason, format!("{name:?} is already in use")));
    };
    let resource = |name: &String| taken.resources.contains(name);
    let kind = |name: &String| taken.kinds.contains(name);
    for (wanted, accepted, is_taken, reason) in [
        (&wanted.plural, &mut accepted.plural, resource(&wanted.plural), "PluralConflict"),
        (&wanted.singular, &mut accepted.singular, resource(&wanted.singular), "SingularConflict"),
        (&wanted.kind, &mut accepted.kind, kind(&wanted.kind), "KindConflict"),
        (&wanted.list_kind, &mut accepted.list_kind, kind(&wanted.list_kind), "ListKindConflict"),
    ] {
        if is_taken {
            refuse(reason, wanted);
        } else {
            accepted.clone_from(wanted);
        }
    }
    let conflicts: Vec<&String> = wanted.short_names.iter().filter(|name| resource(name)).collect();
    match conflicts.first() {
        Some(name) => refuse("ShortNamesConflict", name),
        None => accepted.short_names.clone_from(&wanted.short_names),
    }
    accepted.categories.clone_from(&wanted.categories);
    refusal
}

fn write(names: &Names) -> Value {
    let mut out = json!({"plural": names.plural, "kind": names.kind});
    for (key, name) in [("singular", &names.singular), ("listKind", &names.list_kind)] {
        if !name.is_empty() {
            out[key] = json!(name);
        }
    }
    for (key, list) in [("shortNames", &names.short_names), ("categories", &names.categories)] {
        if !list.is_empty() {
            out[key] = json!(list);
        }
    }
    out
}

/// Sets a condition; its time is that of its last change.
fn condition(
    status: &mut Value,
    (kind, holds, reason, message): (&str, bool, &str, &str),
    generation: Option<&Value>,
    now: &str,
) {
    let holds = if holds { "True" } else { "False" };
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let at = conditions.iter().position(|c| text(&c["type"]) == kind);
    let same = at.and_then(|at| conditions.get(at)).filter(|c| text(&c["status"]) == holds);
    let since = same.and_then(|c| c["lastTransitionTime"].as_str()).unwrap_or(now);
    let mut next = json!({
        "type": kind, "status": holds, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    if let Some(generation) = generation {
        next["observedGeneration"] = generation.clone();
    }
    match at {
        Some(at) => conditions[at] = next,
        None => conditions.push(next),
    }
}
