//! Acting as someone else (`kubectl --as`): allowed where RBAC grants the verb `impersonate` on every part of it.

use std::sync::Arc;

use http::HeaderMap;
use naru_api::status::Status;

use crate::authorization::{Attributes, Rbac};
use crate::state::Core;
use crate::user::{AUTHENTICATED, SERVICE_ACCOUNTS, UNAUTHENTICATED, User, service_account_of};
use crate::wire::path::percent_decode;

const EXTRA: &str = "impersonate-extra-";

/// The user a request acts as: the one given, or the one its headers name.
///
/// # Errors
/// 403 when the user may not act as that one, 400 for headers that name nobody.
pub(crate) fn apply(core: &Core, user: Arc<User>, headers: &HeaderMap) -> Result<Arc<User>, Status> {
    // Looked for first: it is rare, and every request passes here.
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(user);
    }
    let wanted = wanted(headers)?;
    check(&core.rbac.load(), &user, &wanted)?;
    Ok(Arc::new(with_default_groups(wanted)))
}

fn wanted(headers: &HeaderMap) -> Result<User, Status> {
    let bad = |name: &str| Status::bad_request(format!("the header {name} is not readable text"));
    let text = |name: &str| headers.get(name).map(|v| v.to_str().map(str::to_owned).map_err(|_| bad(name))).transpose();
    let name = text("impersonate-user")?.filter(|n| !n.is_empty()).ok_or_else(|| {
        Status::bad_request("requested impersonation headers without Impersonate-User: name the user to act as")
    })?;
    let mut user = User { name, uid: text("impersonate-uid")?.unwrap_or_default(), ..User::default() };
    for group in headers.get_all("impersonate-group") {
        user.groups.push(group.to_str().map_err(|_| bad("Impersonate-Group"))?.to_owned());
    }
    for (header, value) in headers.iter().filter(|(h, _)| h.as_str().starts_with(EXTRA)) {
        let key = percent_decode(&header.as_str()[EXTRA.len()..], false).ok_or_else(|| bad(header.as_str()))?;
        let value = value.to_str().map_err(|_| bad(header.as_str()))?.to_owned();
        user.extra.entry(key.into_owned()).or_default().push(value);
    }
    Ok(user)
}

fn check(rbac: &Rbac, user: &User, wanted: &User) -> Result<(), Status> {
    let ask = |asked: Attributes<'_>| {
        if rbac.allows(user, &asked) {
            return Ok(());
        }
        let what = Attributes { name: asked.name, ..asked };
        Err(Status::new(
            naru_api::status::Reason::Forbidden,
            format!("{} {:?} is forbidden: {}", what.resource, what.name, what.refusal(&user.name)),
        ))
    };
    let asked = Attributes { verb: "impersonate", ..Attributes::default() };
    match service_account_of(&wanted.name) {
        Some((namespace, name)) => ask(Attributes { resource: "serviceaccounts", namespace, name, ..asked })?,
        None => ask(Attributes { resource: "users", name: &wanted.name, ..asked })?,
    }
    for group in &wanted.groups {
        ask(Attributes { resource: "groups", name: group, ..asked })?;
    }
    let review = Attributes { group: "authentication.k8s.io", ..asked };
    if !wanted.uid.is_empty() {
        ask(Attributes { resource: "uids", name: &wanted.uid, ..review })?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            ask(Attributes { resource: "userextras", subresource: key, name: value, ..review })?;
        }
    }
    Ok(())
}

/// Groups that a user has by being who they are; for service accounts only when no group was named.
fn with_default_groups(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = service_account_of(&user.name)
    {
        user.groups = vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")];
    }
    if !user.groups.iter().any(|g| g == AUTHENTICATED || g == UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), http::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn only_who_may_impersonate_does() {
        let wanted =
            wanted(&headers(&[("impersonate-user", "lee"), ("impersonate-group", "system:masters")])).expect("a user");
        let rbac = Rbac::default();
        check(&rbac, &User::new("kim", &[]), &wanted).expect_err("no right");
        check(&rbac, &User::master("root"), &wanted).expect("masters may");
    }

    #[test]
    fn a_group_without_a_user_is_refused() {
        wanted(&headers(&[("impersonate-group", "ops")])).expect_err("whom?");
    }

    #[test]
    fn service_accounts_come_with_their_groups() {
        let user = with_default_groups(User { name: "system:serviceaccount:shop:web".into(), ..User::default() });
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]);
    }
}
