//! Rules of whose turn it is: flow schemas and priority levels.

use serde_json::Value;

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use super::check;
use crate::{flow, meta};

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// The lowest precedence that a schema can have.
const PRECEDENCE: i64 = 10_000;
const QUEUES: i64 = 10_000_000;
/// How many bits of a flow's hash choose its queues.
const HASH_BITS: i64 = 60;

/// A FlowSchema.
pub(in super::super) fn schema(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (metadata, spec) = (root.field("metadata"), root.field("spec"));
    let precedence = spec.field("matchingPrecedence");
    let tell = |why: &str| precedence.invalid(why);
    match precedence.number().unwrap_or(0) {
        ..=0 => errors.push(tell("must be a positive value")),
        1 if metadata.field("name").text() != "exempt" => {
            errors.push(tell("only the schema named 'exempt' may have matchingPrecedence 1"));
        }
        n if n > PRECEDENCE => errors.push(tell(&format!("must not be greater than {PRECEDENCE}"))),
        _ => {}
    }
    let level = spec.field("priorityLevelConfiguration");
    let name = level.field("name");
    if name.is_empty() {
        errors.push(name.required("must reference a priority level"));
    }
    check::subdomain(&name, errors);
    fixed(metadata.field("name").text(), &spec, &flow::schemas(), errors);
}

/// What the server needs to be reachable at all stays as it is.
fn fixed(name: &str, spec: &Spot<'_>, known: &[Value], errors: &mut Vec<FieldError>) {
    if !flow::is_mandatory(name) {
        return;
    }
    let own = |spec: &Value| {
        let mut spec = spec.clone();
        // How much the exempt get of the others' seats is the cluster's own matter.
        let exempt = spec.as_object_mut().and_then(|spec| spec.remove("exempt")).is_some();
        (spec, exempt)
    };
    let Some(known) = known.iter().find(|known| meta::name(known) == name) else { return };
    let ((wanted, exempt), (present, _)) = (own(&known["spec"]), own(spec.value));
    if wanted != present {
        let but = if exempt { " except the 'spec.exempt' field" } else { "" };
        errors.push(spec.invalid(format!("spec of '{name}'{but} must equal the fixed value")));
    }
}

/// Whose requests a schema means, and which.
pub(in super::super) fn rules(rule: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let subjects = rule.field("subjects");
    if subjects.is_empty() {
        errors.push(subjects.required("subjects must contain at least one value"));
    }
    if rule.field("resourceRules").is_empty() && rule.field("nonResourceRules").is_empty() {
        errors.push(rule.required("at least one of resourceRules and nonResourceRules has to be non-empty"));
    }
}

/// Whose requests they are.
pub(in super::super) fn subject(subject: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let kind = subject.field("kind");
    let known = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    if !known.iter().any(|(name, _)| *name == kind.text()) {
        return;
    }
    for (name, field) in known {
        let of = subject.field(field);
        if name != kind.text() {
            if of.exists() {
                errors.push(of.forbidden(format!("{field} is forbidden when subject kind is not '{name}'")));
            }
        } else if !of.exists() {
            errors.push(of.required(&format!("{field} is required when subject kind is '{name}'")));
        } else if name == "ServiceAccount" {
            let (account, namespace) = (of.field("name"), of.field("namespace"));
            if account.text() != "*" {
                check::subdomain(&account, errors);
            }
            if namespace.is_empty() {
                errors.push(namespace.required("must specify namespace for service account"));
            }
            check::label(&namespace, errors);
        }
    }
}

/// Requests for resources.
pub(in super::super) fn resources(rule: &Spot<'_>, errors: &mut Vec<FieldError>) {
    verbs(rule, errors);
    for (field, what, missing) in [
        ("apiGroups", "api groups", "resource rules must supply at least one api group"),
        ("resources", "resources", "resource rules must supply at least one resource"),
    ] {
        let list = rule.field(field);
        if list.is_empty() {
            errors.push(list.required(missing));
        }
        check::alone(&list, what, errors);
    }
    let namespaces = rule.field("namespaces");
    if namespaces.is_empty() && !rule.field("clusterScope").is_true() {
        let text = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(namespaces.required(text));
    }
    check::alone(&namespaces, "namespaces", errors);
    for namespace in namespaces.items().filter(|n| n.text() != "*") {
        if let Err(why) = names::dns_label(namespace.text()) {
            errors.push(namespace.invalid(format!("each member of this list must be '*' or a DNS-1123 label; {why}")));
        }
    }
}

/// Requests for other paths.
pub(in super::super) fn paths(rule: &Spot<'_>, errors: &mut Vec<FieldError>) {
    verbs(rule, errors);
    let urls = rule.field("nonResourceURLs");
    if urls.is_empty() {
        errors.push(urls.required("nonResourceURLs must contain at least one value"));
    }
    check::alone(&urls, "non-resource URLs", errors);
    for url in urls.items().filter(|url| !matches!(url.text(), "*" | "/")) {
        let text = url.text();
        let stars = text.matches('*').count();
        let why = if text.is_empty() {
            "must not be empty"
        } else if !text.starts_with('/') {
            "must start with slash"
        } else if text.contains(' ') {
            "must not contain white-space"
        } else if text.contains("//") {
            "must not contain double slash"
        } else if stars > 1 || (stars == 1 && !text.ends_with("/*")) {
            "wildcard can only do suffix matching"
        } else {
            continue;
        };
        errors.push(url.invalid(why));
    }
}

fn verbs(rule: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let verbs = rule.field("verbs");
    if verbs.is_empty() {
        errors.push(verbs.required("verbs must contain at least one value"));
    }
    check::alone(&verbs, "verbs", errors);
    let wild = verbs.items().any(|verb| verb.text() == "*");
    if !wild && verbs.items().any(|verb| !VERBS.contains(&verb.text())) {
        errors.push(verbs.unsupported(VERBS));
    }
}

/// A PriorityLevelConfiguration.
pub(in super::super) fn level(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (metadata, spec) = (root.field("metadata"), root.field("spec"));
    let sort = spec.field("type");
    let named = metadata.field("name").text() == "exempt";
    if named != (sort.text() == "Exempt") {
        errors.push(sort.invalid("type must be 'Exempt' if and only if name is 'exempt'"));
    }
    let (limited, exempt) = (spec.field("limited"), spec.field("exempt"));
    match sort.text() {
        "Exempt" if limited.exists() => errors.push(limited.forbidden("must be nil if the type is not Limited")),
        "Limited" => {
            if exempt.exists() {
                errors.push(exempt.forbidden("must be nil if the type is Limited"));
            }
            if limited.exists() {
                response(&limited, errors);
            } else {
                errors.push(limited.required("must not be empty when type is Limited"));
            }
        }
        "" => errors.push(sort.unsupported(&["Exempt", "Limited"])),
        _ => {}
    }
    for of in [limited, exempt] {
        let (shares, lendable) = (of.field("nominalConcurrencyShares"), of.field("lendablePercent"));
        if shares.number().is_some_and(|n| n < 0) {
            errors.push(shares.invalid("must be a non-negative integer"));
        }
        if lendable.number().is_some_and(|n| !(0..=100).contains(&n)) {
            errors.push(lendable.invalid("must be between 0 and 100, inclusive"));
        }
        let borrowed = of.field("borrowingLimitPercent");
        if borrowed.number().is_some_and(|n| n < 0) {
            errors.push(borrowed.invalid("if specified, must be a non-negative integer"));
        }
    }
    fixed(metadata.field("name").text(), &spec, &flow::levels(), errors);
}

/// What happens to requests that must wait.
fn response(limited: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let response = limited.field("limitResponse");
    let queuing = response.field("queuing");
    match response.field("type").text() {
        "Reject" if queuing.exists() => {
            errors.push(queuing.forbidden("must be nil if limited.limitResponse.type is not Limited"));
        }
        "Queue" if queuing.exists() => queues(&queuing, errors),
        "Queue" => errors.push(queuing.required("must not be empty if limited.limitResponse.type is Limited")),
        "" => errors.push(response.field("type").unsupported(&["Queue", "Reject"])),
        _ => {}
    }
}

fn queues(queuing: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (length, queues, hand) =
        (queuing.field("queueLengthLimit"), queuing.field("queues"), queuing.field("handSize"));
    let number = |spot: &Spot<'_>| spot.number().unwrap_or(0);
    if number(&length) <= 0 {
        errors.push(length.invalid("must be positive"));
    }
    let (deck, dealt) = (number(&queues), number(&hand));
    if deck <= 0 {
        errors.push(queues.invalid("must be positive"));
    } else if deck > QUEUES {
        errors.push(queues.invalid(format!("must not be greater than {QUEUES}")));
    }
    if dealt <= 0 {
        errors.push(hand.invalid("must be positive"));
    } else if dealt > deck {
        errors.push(hand.invalid(format!("should not be greater than queues ({deck})")));
    } else if entropy(deck, dealt) > HASH_BITS {
        let text = format!(
            "required entropy bits of deckSize {deck} and handSize {dealt} should not be greater than {HASH_BITS}"
        );
        errors.push(hand.invalid(text));
    }
}

/// How many bits it takes to deal a hand from a deck.
fn entropy(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}

/// The state of either: each condition stands there once.
pub(in super::super) fn conditions(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let status = root.field("status");
    let conditions = status.field("conditions");
    check::unique(&conditions, "type", errors);
    for condition in conditions.items() {
        let sort = condition.field("type");
        if sort.is_empty() {
            errors.push(sort.required("must not be empty"));
        }
    }
}
