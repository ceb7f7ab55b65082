//! Questions about rights and identities that clients ask: the reviews. They are answered and forgotten.

use http::{Response, StatusCode};
use naru_api::{Status, meta, validate};
use serde_json::{Value, json};

use super::nodes;
use super::rules::{Attributes, Rule};
use crate::authentication::member;
use crate::call::Call;
use crate::object::strings;
use crate::user::User;
use crate::verbs::{WriteOptions, create};
use crate::wire::body::RequestBody;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// Answers a review.
///
/// # Errors
/// 400 or 422 for a review that asks nothing.
pub(crate) async fn answer(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    let (mut review, warnings) = call.object(body, options).await?;
    create::place(call.route, call.namespace(), &mut review)?;
    if call.route.kind.group == "authorization.k8s.io" {
        let faults = validate::create(&call.route.kind, &review);
        if !faults.is_empty() {
            return Err(Status::invalid(&call.route.kind, "", faults));
        }
    }
    let status = match call.route.kind.kind.as_ref() {
        "SelfSubjectReview" => json!({ "userInfo": info(call.user) }),
        "SelfSubjectAccessReview" => access(call, call.user, &review["spec"])?,
        "SubjectAccessReview" => access(call, &subject(&review["spec"]), &review["spec"])?,
        "LocalSubjectAccessReview" => {
            let asked = meta::text(&review, "spec.resourceAttributes.namespace");
            if asked != call.namespace() {
                return Err(Status::bad_request("spec.resourceAttributes.namespace must match metadata.namespace"));
            }
            access(call, &subject(&review["spec"]), &review["spec"])?
        }
        "SelfSubjectRulesReview" => match meta::text(&review, "spec.namespace") {
            "" => return Err(Status::bad_request("no namespace on request")),
            namespace => rules(call, namespace),
        },
        "TokenReview" => token(call, &review["spec"]).await?,
        other => return Err(Status::internal(format!("no answer to {other}"))),
    };
    review["status"] = status;
    let mut response = respond::value(StatusCode::CREATED, call.accepted.media, &review);
    respond::warn(&mut response, &warnings);
    Ok(response)
}

fn info(user: &User) -> Value {
    let mut info = json!({ "username": user.name, "groups": user.groups });
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn subject(spec: &Value) -> User {
    let list = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    User {
        name: meta::text(spec, "user").to_owned(),
        uid: meta::text(spec, "uid").to_owned(),
        groups: list(&spec["groups"]),
        extra: spec["extra"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), list(v))).collect(),
    }
}

fn access(call: &Call<'_>, user: &User, spec: &Value) -> Result<Value, Status> {
    let resource = strings(&spec["resourceAttributes"]);
    let plain = strings(&spec["nonResourceAttributes"]);
    let text = |key: &str| resource.get(key).map(String::as_str).unwrap_or_default();
    let asked = match (spec["resourceAttributes"].is_object(), spec["nonResourceAttributes"].is_object()) {
        (true, false) => Attributes {
            verb: text("verb"),
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            path: None,
        },
        (false, true) => {
            let text = |key: &str| plain.get(key).map(String::as_str).unwrap_or_default();
            Attributes { verb: text("verb"), path: Some(text("path")), ..Attributes::default() }
        }
        _ => {
            let text = "exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be given";
            return Err(Status::bad_request(text));
        }
    };
    // Selectors narrow what is asked for, and roles know nothing so narrow: as in Kubernetes, they change no answer here.
    let rbac = call.core.rbac.load();
    let mut refusal = (!rbac.allows(user, &asked)).then(|| asked.refusal(&user.name));
    if let (None, None, Some(node)) = (&refusal, asked.path, member::node_of(user)) {
        refusal = nodes::judge(node, &asked, &call.core.store.snapshot()).err();
    }
    let mut status = json!({ "allowed": refusal.is_none() });
    let why = refusal.unwrap_or_else(|| rbac.reason(user, &asked));
    if !why.is_empty() {
        status["reason"] = why.into();
    }
    Ok(status)
}

fn rules(call: &Call<'_>, namespace: &str) -> Value {
    let rbac = call.core.rbac.load();
    let every = |paths: bool| {
        let all = || vec!["*".to_owned()];
        if paths {
            Rule { verbs: all(), paths: all(), ..Rule::default() }
        } else {
            Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() }
        }
    };
    let rules: Vec<Rule> = if call.user.is_master() {
        vec![every(false), every(true)]
    } else {
        rbac.rules_of(call.user, namespace).cloned().collect()
    };
    let (plain, resources): (Vec<Rule>, Vec<Rule>) = rules.into_iter().partition(|r| !r.paths.is_empty());
    let mut status = json!({ "resourceRules": resources, "nonResourceRules": plain, "incomplete": false });
    if member::node_of(call.user).is_some() {
        // What its pods refer to is a node's, too, which no rule says.
        status["incomplete"] = true.into();
        status["evaluationError"] = "node authorizer does not support user rule resolution".into();
    }
    status
}

async fn token(call: &Call<'_>, spec: &Value) -> Result<Value, Status> {
    let audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    Ok(match call.core.authenticator.review(call.core, token, &audiences).await {
        Ok((user, audiences)) => json!({ "authenticated": true, "user": info(&user), "audiences": audiences }),
        Err(refusal) => {
            let cause = std::error::Error::source(&refusal).map(|s| format!(": {s}")).unwrap_or_default();
            json!({ "authenticated": false, "user": {}, "error": format!("{refusal}{cause}") })
        }
    })
}
