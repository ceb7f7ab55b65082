//! Which families of addresses a service has, and which addresses: `ipFamilyPolicy`, `ipFamilies` and `clusterIPs` as
//! Kubernetes completes and checks them.
//!
//! - A service has one family unless it says otherwise, and that is IPv4 unless it says otherwise.
//! - `PreferDualStack` takes what the cluster has, when it is made and when it is changed; a cluster that gets a second
//!   family later changes no service by itself.
//! - The first family and the first address never change; the second may come and go with the policy.

use std::net::IpAddr;

use ipnet::IpNet;
use naru_api::{FieldError, Kind, Status, meta};
use serde_json::{Value, json};

use super::{Pool, invalid};

const SINGLE: &str = "SingleStack";
const REQUIRED: &str = "RequireDualStack";
const FIELDS: [&str; 5] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"];

/// What a service asks for, or had.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    policy: String,
    families: Vec<String>,
    addresses: Vec<String>,
}

impl Wish {
    fn of(service: &Value) -> Self {
        let spec = &service["spec"];
        let texts = |field: &str| -> Vec<String> {
            let all = spec[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            all.filter(|text| !text.is_empty()).map(str::to_owned).collect()
        };
        let mut addresses = texts("clusterIPs");
        if addresses.is_empty() {
            addresses.extend(spec["clusterIP"].as_str().filter(|a| !a.is_empty()).map(str::to_owned));
        }
        let policy = spec["ipFamilyPolicy"].as_str().unwrap_or_default().to_owned();
        Self { policy, families: texts("ipFamilies"), addresses }
    }

    fn is_headless(&self) -> bool {
        self.addresses.first().is_some_and(|address| address == "None")
    }

    fn is_single(&self) -> bool {
        self.policy == SINGLE
    }
}

/// Completes the families and addresses of a service, keeping what it has.
///
/// # Errors
/// 422 for what cannot be had or may not change; 503 when no address is left.
pub(super) fn complete(pool: &Pool<'_>, kind: &Kind, old: Option<&Value>, service: &mut Value) -> Result<(), Status> {
    if service["spec"]["type"] == "ExternalName" {
        let said = ["ipFamilies", "ipFamilyPolicy"].map(|field| (field, !service["spec"][field].is_null()));
        // One that becomes external leaves behind what it had.
        if let Some((field, _)) = said.into_iter().find(|(_, said)| *said && old.is_none()) {
            let error = FieldError::forbidden(format!("spec.{field}"), "may not be used for ExternalName services");
            return Err(Status::invalid(kind, meta::name(service), vec![error]));
        }
        let spec = service["spec"].as_object_mut();
        if let Some(spec) = spec {
            FIELDS.iter().for_each(|field| drop(spec.remove(*field)));
        }
        return Ok(());
    }
    let before = old.filter(|old| old["spec"]["type"] != "ExternalName").map(Wish::of);
    let mut wish = Wish::of(service);
    let first = service["spec"]["clusterIP"].as_str().filter(|address| !address.is_empty());
    if first.is_some_and(|first| wish.addresses.first().is_some_and(|address| address != first)) {
        let addresses = json!(wish.addresses);
        return Err(invalid(kind, service, "spec.clusterIPs[0]", &addresses, "first value must match `clusterIP`"));
    }
    inherit(&mut wish, before.as_ref());
    check(pool, &wish, before.as_ref()).map_err(|errors| Status::invalid(kind, meta::name(service), errors))?;
    // What nobody changes stays, though the cluster may have got a second family since.
    if before.as_ref() != Some(&wish) {
        infer_families(pool, service, &mut wish);
        if !wish.is_headless() {
            give(pool, kind, service, &mut wish, before.as_ref())?;
        }
    }
    let spec = &mut service["spec"];
    spec["clusterIP"] = json!(wish.addresses[0]);
    spec["clusterIPs"] = json!(wish.addresses);
    spec["ipFamilies"] = json!(wish.families);
    spec["ipFamilyPolicy"] = json!(wish.policy);
    Ok(())
}

/// What is not said is what it was: the policy, and what the policy leaves of families and addresses.
fn inherit(wish: &mut Wish, before: Option<&Wish>) {
    if let Some(before) = before {
        if wish.policy.is_empty() {
            wish.policy.clone_from(&before.policy);
        }
        for (now, had) in [(&mut wish.families, &before.families), (&mut wish.addresses, &before.addresses)] {
            if now.is_empty() {
                now.clone_from(had);
            }
        }
        // Whoever goes back to one family by its policy alone gives the second back.
        if wish.policy == SINGLE && before.policy != SINGLE {
            for (now, had) in [(&mut wish.families, &before.families), (&mut wish.addresses, &before.addresses)] {
                if now == had {
                    now.truncate(1);
                }
            }
        }
    }
    if wish.policy.is_empty() {
        wish.policy = SINGLE.to_owned();
    }
}

fn family_of(address: &str) -> Option<&'static str> {
    Some(if address.parse::<IpAddr>().ok()?.is_ipv4() { "IPv4" } else { "IPv6" })
}

fn range(pool: &Pool<'_>, family: &str) -> Option<IpNet> {
    let network = &pool.settings.service_network;
    match family {
        "IPv4" => Some(network.v4.into()),
        "IPv6" => network.v6.map(IpNet::V6),
        _ => None,
    }
}

/// What is wrong with a wish.
fn check(pool: &Pool<'_>, wish: &Wish, before: Option<&Wish>) -> Result<(), Vec<FieldError>> {
    let mut errors = Vec::new();
    let (families, addresses) = (json!(wish.families), json!(wish.addresses));
    if wish.is_single() {
        for (what, field) in [("clusterIPs", &wish.addresses), ("ipFamilies", &wish.families)] {
            if field.len() > 1 {
                let detail =
                    format!("must be RequireDualStack or PreferDualStack when multiple '{what}' are specified");
                errors.push(FieldError::invalid("spec.ipFamilyPolicy", &json!(wish.policy), &detail));
            }
        }
    }
    for (index, address) in wish.addresses.iter().enumerate().filter(|(_, address)| *address != "None") {
        let Some(family) = family_of(address) else { continue };
        let path = format!("spec.clusterIPs[{index}]");
        match wish.families.get(index) {
            Some(wanted) if wanted != family => {
                let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`");
                errors.push(FieldError::invalid(&path, &json!(address), &detail));
            }
            None if range(pool, family).is_none() => {
                let detail = format!("{family} is not configured on this cluster");
                errors.push(FieldError::invalid(&path, &addresses, &detail));
            }
            _ => {}
        }
    }
    if let [first, second] = wish.addresses.as_slice()
        && family_of(first) == family_of(second)
    {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid("spec.clusterIPs", &addresses, detail));
    }
    if !wish.is_headless() {
        if wish.policy == REQUIRED && pool.settings.service_network.v6.is_none() {
            let detail = "this cluster is not configured for dual-stack services";
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", &json!(wish.policy), detail));
        }
        for (index, family) in wish.families.iter().enumerate().filter(|(_, family)| range(pool, family).is_none()) {
            let path = format!("spec.ipFamilies[{index}]");
            errors.push(FieldError::invalid(&path, &json!(family), "not configured on this cluster"));
        }
    }
    let Some(before) = before else { return if errors.is_empty() { Ok(()) } else { Err(errors) } };
    for (path, value, now, had) in [
        ("spec.clusterIP", &addresses[0], &wish.addresses, &before.addresses),
        ("spec.ipFamilies[0]", &families, &wish.families, &before.families),
    ] {
        if let (Some(now), Some(had)) = (now.first(), had.first())
            && now != had
        {
            let detail = if path == "spec.clusterIP" { "field is immutable" } else { "may not change once set" };
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
    if before.addresses.len() > 1 && wish.addresses.len() == 1 && !wish.is_single() {
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", &json!(wish.policy), detail));
    }
    if let (Some(now), Some(had)) = (wish.addresses.get(1), before.addresses.get(1))
        && now != had
    {
        errors.push(FieldError::invalid("spec.clusterIPs[1]", &addresses, "may not change once set"));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The families that were not said: those of the addresses, then the cluster's first, then the other one where both are
/// wanted.
fn infer_families(pool: &Pool<'_>, service: &Value, wish: &mut Wish) {
    for address in wish.addresses.iter().skip(wish.families.len()) {
        wish.families.extend(family_of(address).map(str::to_owned));
    }
    if wish.families.is_empty() {
        wish.families.push("IPv4".to_owned());
    }
    // A headless service without pods of its own choosing promises nothing that the cluster must have.
    let foreign = wish.is_headless() && service["spec"]["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    let both = pool.settings.service_network.v6.is_some() || foreign && wish.policy == REQUIRED;
    if !wish.is_single() && wish.families.len() == 1 && both {
        wish.families.push(if wish.families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
}

/// An address of each family: the one it has, the one it names, or one that is free.
fn give(pool: &Pool<'_>, kind: &Kind, service: &Value, wish: &mut Wish, before: Option<&Wish>) -> Result<(), Status> {
    for (index, family) in wish.families.iter().enumerate() {
        let had = before.and_then(|before| before.addresses.get(index));
        // Checked before: a family that is no range's was refused, unless the service had it already.
        let range = range(pool, family);
        match (wish.addresses.get(index), range) {
            (Some(named), _) if Some(named) == had => {}
            (Some(named), Some(range)) => claim(pool, kind, service, named, range)?,
            (None, Some(range)) => {
                let drawn = pool.draw_address(range).ok_or_else(|| {
                    let ranges = ranges(pool, range);
                    Status::unavailable(format!("every address of {ranges} is taken: add a ServiceCIDR"))
                })?;
                wish.addresses.push(drawn.to_string());
            }
            (_, None) => {}
        }
    }
    Ok(())
}

/// Whether a service may have the address it names.
fn claim(pool: &Pool<'_>, kind: &Kind, service: &Value, wanted: &str, range: IpNet) -> Result<(), Status> {
    let value = json!([wanted]);
    let refuse = |detail: String| Err(invalid(kind, service, "spec.clusterIPs", &value, &detail));
    match wanted.parse::<IpAddr>() {
        Ok(address) if pool.space.holding(address).is_none() => {
            let ranges = ranges(pool, range);
            return refuse(format!(
                "failed to allocate IP {wanted}: the provided IP is not in the valid range {ranges}"
            ));
        }
        // Written as it is kept: the reservation has one spelling.
        Ok(address) if address.to_string() == wanted => {}
        Ok(address) => return refuse(format!("failed to allocate IP {wanted}: it must be written as {address}")),
        Err(_) => return refuse(format!("failed to allocate IP {wanted}: it is no IP address")),
    }
    if pool.is_free_address(wanted) {
        return Ok(());
    }
    refuse(format!("failed to allocate IP {wanted}: provided IP is already allocated"))
}

/// The ranges of a family that give addresses, as people read them; `range` where none does.
fn ranges(pool: &Pool<'_>, range: IpNet) -> String {
    let all: Vec<_> = pool.space.of_family(range).map(|range| range.to_string()).collect();
    if all.is_empty() { range.to_string() } else { all.join(", ") }
}
