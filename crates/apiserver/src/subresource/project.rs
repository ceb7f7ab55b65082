//! `POST …/projects/{name}/apply`: a Compose project compiled into objects, and those applied, in one call.
//!
//! Who may do this in a namespace may do it with everything a project is made of there, its networks included, which
//! lie outside of namespaces: a network belongs to the project that made it and no other project can take it over.

use http::{Response, StatusCode};
use naru_api::naru::names::{COMPOSE_ONEOFF, PROJECT, SERVICE, TITLE};
use naru_api::{FieldValidation, Status, admit, decode, meta, validate};
use naru_compose::translate::{label_value, object_name};
use naru_compose::{Project, translate};
use serde_json::{Value, json};

use crate::apply::{self, ApplyOptions, Change, Prune};
use crate::authorization::Attributes;
use crate::call::Call;
use crate::object;
use crate::user::{MASTERS, User};
use crate::verbs::WriteOptions;
use crate::wire::body::RequestBody;
use crate::wire::path::Verb;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// On a project's namespace: the files it came from.
const CONFIG_FILES: &str = "naru.io/config-files";
/// What runs services. A service that becomes another of these leaves the old one behind.
const WORKLOADS: [(&str, &str); 4] =
    [("apps/v1", "Deployment"), ("apps/v1", "DaemonSet"), ("apps/v1", "StatefulSet"), ("batch/v1", "Job")];
/// What else goes with a service or a network that the file no longer has. Never volumes: they hold data.
const OTHERS: [(&str, &str); 4] = [("v1", "Service"), ("v1", "ConfigMap"), ("v1", "Secret"), ("naru.io/v1", "Network")];

/// Answers the request.
///
/// # Errors
/// 400 and 422 for a project that cannot become objects (nothing is changed then), and whatever refuses an object.
pub(crate) async fn answer(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    if call.verb != Verb::Create {
        return Err(Status::method_not_allowed(&call.route.kind, call.method.as_str()));
    }
    let (source, mut warnings) = call.object(body, options).await?;
    let (namespace, name) = call.place();
    let project: Project = serde_json::from_str(meta::text(&source, "spec.model"))
        .map_err(|e| Status::bad_request(format!("spec.model is not a resolved Compose project: {e}")))?;
    if object_name(&project.name) != namespace || name != namespace {
        let text = format!(
            "the project {:?} belongs in the namespace {:?} under that name, not in {namespace:?} as {name:?}",
            project.name,
            object_name(&project.name)
        );
        return Err(Status::bad_request(text));
    }
    own_namespace(call, &project.name)?;
    let mut translation = translate(&project).map_err(|e| Status::bad_request(e.to_string()))?;
    warnings.extend(translation.warnings.iter().map(ToString::to_string));
    let files = source["spec"]["files"].as_array().into_iter().flatten();
    let files: Vec<&str> = files.filter_map(|file| file["path"].as_str()).collect();
    if let Some(first) = translation.objects.first_mut() {
        meta::set_annotation(first, CONFIG_FILES, &files.join(","));
    }
    for object in &translation.objects {
        check(call, object)?;
    }
    let applied = Applied { call, project: &project, prune: call.query.flag("prune")?, dry_run: options.dry_run };
    let changes = applied.apply(translation.objects, &source).await?;
    let changes: Vec<Value> = changes.iter().map(describe).collect();
    let answer = json!({ "kind": "ProjectChanges", "apiVersion": "naru.io/v1", "metadata": { "name": name,
        "namespace": namespace }, "changes": changes, "warnings": warnings });
    Ok(respond::value(StatusCode::OK, call.accepted.media, &answer))
}

struct Applied<'a> {
    call: &'a Call<'a>,
    project: &'a Project,
    prune: bool,
    dry_run: bool,
}

impl Applied<'_> {
    async fn apply(&self, objects: Vec<Value>, source: &Value) -> Result<Vec<Change>, Status> {
        let (core, user, namespace) = (self.call.core, self.call.user, self.call.namespace());
        // The right to apply a project was asked for; it stands for all that a project consists of.
        let own = User::new(user.name.clone(), &[MASTERS]);
        let there = core.store.snapshot().get(&core.route("", "v1", "namespaces")?.key("", namespace)).is_some();
        if !there {
            self.may_found(namespace)?;
        }
        let services: Vec<String> = self.project.services.keys().map(|s| label_value(s)).collect();
        let project = format!("{PROJECT}={},{COMPOSE_ONEOFF}!=True", label_value(&self.project.name));
        let kinds = |list: &[(&str, &str)]| list.iter().map(|(v, k)| ((*v).to_owned(), (*k).to_owned())).collect();
        let prune = |labels: String, list: &[(&str, &str)]| Prune {
            namespace: namespace.to_owned(),
            labels,
            kinds: kinds(list),
        };
        let mut prunes = Vec::new();
        if self.prune {
            prunes.push(prune(project.clone(), &[&WORKLOADS[..], &OTHERS[..]].concat()));
        } else if !services.is_empty() {
            prunes.push(prune(format!("{project},{SERVICE} in ({})", services.join(",")), &WORKLOADS));
        }
        let options = ApplyOptions { dry_run: self.dry_run, recreate: true, prune: prunes };
        if self.dry_run && !there {
            // Nothing can be tried inside a namespace that is not there; the objects themselves were checked.
            return Ok(vec![]);
        }
        let changes = apply::apply(core, &own, objects, &options).await?;
        self.keep(&own, source, &changes).await?;
        Ok(changes)
    }

    /// Keeps the source beside what was made of it.
    async fn keep(&self, user: &User, source: &Value, changes: &[Change]) -> Result<(), Status> {
        let mut kept = source.clone();
        let title = self.project.name.as_str();
        meta::set(&mut kept, "namespace", self.call.namespace());
        meta::set(&mut kept, "name", self.call.name());
        meta::set_label(&mut kept, PROJECT, &label_value(title));
        kept["apiVersion"] = "naru.io/v1".into();
        kept["kind"] = "Project".into();
        let options = ApplyOptions { dry_run: self.dry_run, ..ApplyOptions::default() };
        apply::apply(self.call.core, user, vec![kept], &options).await?;
        let objects: Vec<Value> = changes
            .iter()
            .filter(|c| c.action != apply::Action::Removed)
            .map(|c| json!({ "apiVersion": c.api_version, "kind": c.kind, "namespace": c.namespace, "name": c.name }))
            .collect();
        let change = |present: &Value| {
            let mut new = present.clone();
            meta::unset(&mut new, "resourceVersion");
            new["status"] = json!({ "observedGeneration": meta::generation(present), "objects": objects });
            Ok(new)
        };
        let options = WriteOptions { dry_run: self.dry_run, ..WriteOptions::default() };
        let part = crate::verbs::update::Part::Status;
        let place = self.call.place();
        crate::verbs::update::update(self.call.core, user, self.call.route, place, part, &change, options)
            .await
            .map(drop)
    }

    fn may_found(&self, namespace: &str) -> Result<(), Status> {
        let user = self.call.user;
        let asked = Attributes { verb: "create", resource: "namespaces", name: namespace, ..Attributes::default() };
        if self.call.core.rbac.load().allows(user, &asked) {
            return Ok(());
        }
        let kind = &self.call.core.route("", "v1", "namespaces")?.kind;
        Err(Status::forbidden(kind, namespace, &asked.refusal(&user.name)))
    }
}

/// A project may make its namespace, and use one that a project made; no other.
fn own_namespace(call: &Call<'_>, project: &str) -> Result<(), Status> {
    let namespace = call.namespace();
    let route = call.core.route("", "v1", "namespaces")?;
    let snapshot = call.core.store.snapshot();
    let Some(entry) = snapshot.get(&route.key("", namespace)) else { return Ok(()) };
    let found = object::parse(&entry.served);
    if meta::is_deleting(&found) {
        let why = format!("the project {project:?} is being removed; wait until it is gone and try again");
        return Err(Status::conflict(&route.kind, namespace, &why));
    }
    if meta::label(&found, PROJECT).is_none() {
        let text = format!(
            "the namespace {namespace:?} exists and is not a Compose project's: choose another project name with -p"
        );
        return Err(Status::bad_request(text));
    }
    Ok(())
}

/// Whether an object would be accepted for what it is, so that a project is refused as a whole.
fn check(call: &Call<'_>, object: &Value) -> Result<(), Status> {
    let route = call.core.route_of(meta::api_version(object), meta::kind(object))?;
    let kind = &route.kind;
    let mut decoded = decode::value(kind, object.clone(), FieldValidation::Strict)?.object;
    admit::prepare_create(kind, &mut decoded);
    admit::default(kind, &mut decoded);
    let errors = validate::create(kind, &decoded);
    let name = meta::name(object);
    if !errors.is_empty() {
        return Err(Status::invalid(kind, name, errors));
    }
    if kind.is("naru.io", "Network")
        && let Some(entry) = call.core.store.snapshot().get(&route.key("", name))
        && meta::text(&object::parse(&entry.served), "spec.namespace") != call.namespace()
    {
        let why = "the network belongs to another project: name it differently, or declare it external";
        return Err(Status::conflict(kind, name, why));
    }
    Ok(())
}

fn describe(change: &Change) -> Value {
    let object = object::parse(&change.object);
    let title = match meta::annotation(&object, TITLE) {
        Some(title) => title,
        None => Some(meta::text(&object, "spec.title")).filter(|t| !t.is_empty()).unwrap_or(&change.name),
    };
    json!({ "action": change.action.as_str(), "apiVersion": change.api_version, "kind": change.kind,
        "namespace": change.namespace, "name": change.name, "title": title, "service": meta::label(&object, SERVICE) })
}
