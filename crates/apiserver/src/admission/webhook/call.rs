//! Asking one webhook.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use naru_api::{Kind, Reason, Status, patch};
use serde_json::{Value, json};

use super::config::Hook;
use crate::admission::chain::Review;
use crate::admission::expression::request;
use crate::admission::matching::Match;
use crate::calls::CallError;
use crate::extension;
use crate::versions;

/// What a webhook answered.
struct Verdict {
    response: Value,
}

/// Has a webhook change the object, which has the form in which the request names it. `None`: it changes nothing.
///
/// # Errors
/// When it refuses, or cannot be asked and must not be passed over.
pub(super) async fn mutate(
    review: &Review<'_>,
    hook: &Hook,
    ask: &Match,
    object: &Value,
    round: usize,
) -> Result<Option<Value>, Status> {
    let mut shown = shown(review, ask, object).await?;
    let Some(verdict) = consult(review, hook, ask, Some(&shown)).await? else { return Ok(None) };
    let patched = match verdict.patch() {
        Ok(None) => None,
        Ok(Some(bytes)) => match patch::json(&mut shown, &bytes) {
            Ok(()) => Some(own(review, ask, shown).await?),
            Err(status) => return Err(failure(hook, &status.message)),
        },
        Err(why) => return missed(review, hook, &why).map(|()| None),
    };
    let changed = patched.filter(|patched| patched != object);
    if let Some(notes) = review.notes {
        let key = format!("mutation.webhook.admission.k8s.io/round_{round}_index_{}", hook.name);
        let said = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": changed.is_some()});
        notes.annotate(key, said.to_string());
    }
    Ok(changed)
}

/// Has a webhook judge the object.
///
/// # Errors
/// When it refuses, or cannot be asked and must not be passed over.
pub(super) async fn validate(
    review: &Review<'_>,
    hook: &Hook,
    ask: &Match,
    object: Option<&Value>,
) -> Result<(), Status> {
    let shown = match object {
        Some(object) => Some(shown(review, ask, object).await?),
        None => None,
    };
    consult(review, hook, ask, shown.as_ref()).await.map(drop)
}

/// The object in the version that the webhook knows.
async fn shown(review: &Review<'_>, ask: &Match, object: &Value) -> Result<Value, Status> {
    match &ask.other {
        Some(other) if !review.is_about_another_kind() => {
            converted(review, &review.route.kind, other, object.clone()).await
        }
        _ => Ok(object.clone()),
    }
}

/// What a webhook made of an object, in the version that the request names.
async fn own(review: &Review<'_>, ask: &Match, mut object: Value) -> Result<Value, Status> {
    if review.is_about_another_kind() {
        return Ok(object);
    }
    // It is the webhook's no more than the request's to say what is an object of which version.
    let kind = &review.route.kind;
    object["apiVersion"] = ask.other.as_ref().unwrap_or(kind).api_version().into();
    match &ask.other {
        Some(other) => converted(review, other, kind, object).await,
        None => Ok(object),
    }
}

/// An object of one version in another.
pub(in crate::admission) async fn converted(
    review: &Review<'_>,
    from: &Kind,
    to: &Kind,
    object: Value,
) -> Result<Value, Status> {
    match &review.route.custom {
        None => Ok(naru_api::convert::convert(from, to, object)),
        Some(custom) => {
            let converted = extension::convert::convert(review.core, custom, to, vec![object]).await?;
            Ok(converted.into_iter().next().unwrap_or_default())
        }
    }
}

/// Asks, and passes a refusal on; nothing where the webhook could not be asked and may be passed over.
async fn consult(
    review: &Review<'_>,
    hook: &Hook,
    ask: &Match,
    object: Option<&Value>,
) -> Result<Option<Verdict>, Status> {
    if review.options.dry_run() && !hook.dry_runs {
        let text = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Status::bad_request(text));
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let asked = ask.other.as_ref().unwrap_or(&review.route.kind);
    let mut question = request(review, asked, object);
    question["uid"] = uid.as_str().into();
    question["object"] = object.cloned().unwrap_or_default();
    question["oldObject"] = match review.old {
        Some(old) => shown(review, ask, &versions::shown(review.route, old)).await?,
        None => Value::Null,
    };
    let body = json!({"kind": "AdmissionReview", "apiVersion": hook.version, "request": question});
    let answer = review.core.caller.post(review.snapshot, &hook.client, &body, hook.patience).await;
    let read = answer.map_err(|error| unasked(&error)).and_then(|answer| read(answer, hook.version, &uid));
    let verdict = match read {
        Ok(verdict) => verdict,
        Err(why) => return missed(review, hook, &why).map(|()| None),
    };
    for warning in verdict.response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        review.warn(warning);
    }
    if let Some(notes) = review.notes {
        for (key, value) in verdict.response["auditAnnotations"].as_object().into_iter().flatten() {
            notes.annotate(format!("{}/{key}", hook.name), value.as_str().unwrap_or_default());
        }
    }
    if verdict.response["allowed"] == true { Ok(Some(verdict)) } else { Err(verdict.refusal(hook)) }
}

fn unasked(error: &CallError) -> String {
    match error {
        CallError::Answer(text) => text.clone(),
        error => format!("failed to call webhook: {error}"),
    }
}

/// Reads an answer.
fn read(mut answer: Value, version: &str, uid: &str) -> Result<Verdict, String> {
    if answer["kind"] != "AdmissionReview" || answer["apiVersion"] != version {
        let (kind, api) = (&answer["kind"], &answer["apiVersion"]);
        return Err(format!("expected webhook response of {version}, Kind=AdmissionReview, got {api}, Kind={kind}"));
    }
    let response = answer["response"].take();
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    // The older form may leave it out.
    let named = response["uid"].as_str().unwrap_or_default();
    if named != uid && !(named.is_empty() && version.ends_with("v1beta1")) {
        return Err(format!("expected response.uid={uid:?}, got {named:?}"));
    }
    if !response["allowed"].is_boolean() {
        return Err("response.allowed: expected true or false".to_owned());
    }
    Ok(Verdict { response })
}

/// A webhook could not be asked: the request fails, unless it may be passed over.
fn missed(review: &Review<'_>, hook: &Hook, why: &str) -> Result<(), Status> {
    if hook.required {
        return Err(failure(hook, why));
    }
    tracing::warn!(webhook = hook.name, why, "a webhook cannot be asked and is passed over");
    if let Some(notes) = review.notes {
        notes.annotate(format!("failed-open.webhook.admission.k8s.io/{}", hook.name), why);
    }
    Ok(())
}

fn failure(hook: &Hook, why: &str) -> Status {
    Status::internal(format!("failed calling webhook {:?}: {why}", hook.name))
}

impl Verdict {
    /// The patch, if there is one.
    fn patch(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(text) = self.response["patch"].as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
        match self.response["patchType"].as_str() {
            Some("JSONPatch") => {}
            None if self.response["patchType"].is_null() => {
                return Err("webhook returned response.patch but not response.patchType".to_owned());
            }
            other => return Err(format!("unsupported patch type {:?}, expected JSONPatch", other.unwrap_or_default())),
        }
        STANDARD.decode(text).map(Some).map_err(|error| format!("response.patch is no base64: {error}"))
    }

    /// The refusal, in the webhook's own words.
    fn refusal(&self, hook: &Hook) -> Status {
        let status = &self.response["status"];
        let said = status["message"].as_str().or(status["reason"].as_str()).filter(|text| !text.is_empty());
        let text = match said {
            Some(said) => format!("admission webhook {:?} denied the request: {said}", hook.name),
            None => format!("admission webhook {:?} denied the request without explanation", hook.name),
        };
        let mut refusal = Status::from_json(status).unwrap_or_else(|| Status::new(Reason::Forbidden, ""));
        refusal.message = text;
        match status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400) {
            Some(code) => refusal.code = code,
            None => (refusal.code, refusal.reason) = (403, Reason::Forbidden),
        }
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: Value) -> Value {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    }

    #[test]
    fn answers_to_something_else_are_no_answers() {
        let version = "admission.k8s.io/v1";
        assert!(read(review(json!({"uid": "u", "allowed": true})), version, "u").is_ok());
        for (answer, says) in [
            (review(json!({"uid": "other", "allowed": true})), "response.uid"),
            (review(json!({"uid": "u"})), "response.allowed"),
            (review(Value::Null), "absent"),
            (json!({"kind": "Pod", "apiVersion": "v1"}), "AdmissionReview"),
        ] {
            let why = read(answer, version, "u").err().unwrap();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn patches_need_their_type() {
        let of = |response| Verdict { response }.patch();
        assert_eq!(of(json!({})), Ok(None));
        assert_eq!(of(json!({"patch": "W10=", "patchType": "JSONPatch"})), Ok(Some(b"[]".to_vec())));
        assert!(of(json!({"patch": "W10="})).is_err() && of(json!({"patch": "W10=", "patchType": "Merge"})).is_err());
    }
}
