//! Issuing a service account's token, bound to the account and, when asked, to a pod, a secret or a node.

use http::{Response, StatusCode};
use jiff::{Timestamp, ToSpan};
use naru_api::{FieldError, Status, meta};
use naru_identity::{BoundObject, Claims, KubernetesClaims, ServiceAccountRef};
use naru_store::{Key, Snapshot};
use serde_json::{Value, json};

use super::posted::Posted;
use crate::authentication::member;
use crate::authorization::nodes;
use crate::call::Call;
use crate::object;
use crate::verbs::WriteOptions;
use crate::wire::body::RequestBody;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// The shortest life a token may be asked for, in seconds.
const SHORTEST: i64 = 600;
/// The longest.
const LONGEST: i64 = 1 << 32;
const DEFAULT: i64 = 3600;

/// Answers POST of an `authentication.k8s.io/v1 TokenRequest`.
///
/// # Errors
/// 404 without the account, 409 when what it is to be bound to is gone or another one.
pub(crate) async fn answer(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let (namespace, name) = call.place();
    let mut request = match call.document(body).await? {
        Value::Null => json!({}),
        request => request,
    };
    if !request.is_object() {
        return Err(Status::bad_request("expected a TokenRequest object"));
    }
    let snapshot = call.core.store.snapshot();
    let key = call.route.key(namespace, name);
    let account = snapshot.get(&key).ok_or_else(|| Status::not_found(&call.route.kind, name))?;
    let account = object::parse(&account.served);
    let (route, api_version) = (call.route, "authentication.k8s.io/v1");
    let posted = Posted { route, subresource: "token", name, api_version, kind: "TokenRequest" };
    request = posted.admitted(call, request, WriteOptions::of(call)?).await?;
    let spec = request["spec"].clone();
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT);
    if !(SHORTEST..=LONGEST).contains(&seconds) {
        let detail = format!("may not specify a duration less than {SHORTEST} seconds or more than {LONGEST} seconds");
        let error = FieldError::invalid("spec.expirationSeconds", &json!(seconds), detail);
        return Err(Status::invalid(&call.route.kind, name, vec![error]));
    }
    let mut audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(call.core.settings.issuer.clone());
    }
    let mut kubernetes = KubernetesClaims {
        namespace: namespace.to_owned(),
        serviceaccount: ServiceAccountRef { name: name.to_owned(), uid: meta::uid(&account).to_owned() },
        pod: None,
        secret: None,
        node: None,
    };
    let bound = &spec["boundObjectRef"];
    if let Some(node) = member::node_of(call.user) {
        let pod = snapshot.get(&Key::new("pods", namespace, meta::text(bound, "name")));
        let pod = pod.map(|entry| object::parse(&entry.served));
        let judged = nodes::judge_token(node, name, bound, pod.as_ref());
        judged.map_err(|why| Status::forbidden(&call.route.kind, name, &why))?;
    }
    bind(call, &snapshot, bound, &mut kubernetes)?;
    let now = Timestamp::now();
    let expires = now.checked_add(seconds.seconds()).map_err(Status::internal)?;
    let claims = Claims {
        iss: call.core.settings.issuer.clone(),
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        aud: audiences.clone(),
        exp: expires.as_second(),
        iat: now.as_second(),
        nbf: now.as_second(),
        jti: uuid::Uuid::new_v4().to_string(),
        kubernetes,
    };
    let token = call.core.tokens.issue(&claims).map_err(Status::internal)?;
    request["kind"] = "TokenRequest".into();
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    meta::set(&mut request, "name", name);
    meta::set(&mut request, "namespace", namespace);
    meta::set(&mut request, "creationTimestamp", meta::time(now));
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({ "token": token, "expirationTimestamp": meta::time(expires) });
    Ok(respond::value(StatusCode::CREATED, call.accepted.media, &request))
}

fn bind(call: &Call<'_>, snapshot: &Snapshot, to: &Value, claims: &mut KubernetesClaims) -> Result<(), Status> {
    if to.is_null() {
        return Ok(());
    }
    let (kind, name, uid) = (meta::text(to, "kind"), meta::text(to, "name"), meta::text(to, "uid"));
    let (collection, namespace) = match kind {
        "Pod" => ("pods", call.namespace()),
        "Secret" => ("secrets", call.namespace()),
        "Node" => ("nodes", ""),
        other => {
            let error =
                FieldError::not_supported("spec.boundObjectRef.kind", &json!(other), &["Pod", "Secret", "Node"]);
            return Err(Status::invalid(&call.route.kind, call.name(), vec![error]));
        }
    };
    let route = call.core.route("", "v1", collection)?;
    let entry = snapshot.get(&route.key(namespace, name)).ok_or_else(|| Status::not_found(&route.kind, name))?;
    let bound = object::parse(&entry.served);
    if !uid.is_empty() && uid != meta::uid(&bound) {
        let why = format!("the UID in the bound object reference ({uid}) does not match the UID in record");
        return Err(Status::conflict(&route.kind, name, &why));
    }
    let reference = BoundObject { name: name.to_owned(), uid: meta::uid(&bound).to_owned() };
    match kind {
        "Pod" => {
            if meta::text(&bound, "spec.serviceAccountName") != call.name() {
                let text = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name()
                );
                return Err(Status::bad_request(text));
            }
            let node = meta::text(&bound, "spec.nodeName");
            if let Some(entry) = snapshot.get(&Key::new("nodes", "", node)) {
                let uid = object::uid(&entry.served).unwrap_or_default();
                claims.node = Some(BoundObject { name: node.to_owned(), uid });
            }
            claims.pod = Some(reference);
        }
        "Secret" => claims.secret = Some(reference),
        _ => claims.node = Some(reference),
    }
    Ok(())
}
