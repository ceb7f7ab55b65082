//! Changing an object: replacing it, or a part of it through a subresource.

use jiff::Timestamp;
use naru_api::apply::Owners;
use naru_api::{Status, admit, meta, validate};
use naru_store::{Entry, Snapshot};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

use super::owners::{Said, show_to_judges};
use super::{ATTEMPTS, WriteOptions, Written, warnings};
use crate::admission::chain::{self, Operation, Options, Review};
use crate::admission::quota::Charge;
use crate::admission::{self, Effects};
use crate::authentication::member;
use crate::authorization::{escalation, nodes};
use crate::encode;
use crate::kept;
use crate::object;
use crate::routes::Route;
use crate::state::Core;
use crate::subresource::{approval, scale};
use crate::user::User;
use crate::versions;
use crate::write::{Expect, Failure, Plan, Refusal, unavailable};

/// Which part of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but the status.
    Main,
    /// Only the status.
    Status,
    /// The number of replicas, which others are shown as a `Scale`.
    Scale,
    /// Only the field at this path below `spec`, for subresources that exist for one field.
    Spec(&'static str),
    /// Whatever the server itself decided (binding, finalize, approval).
    Trusted,
}

/// What an object is to become.
pub(crate) type Change<'a> = dyn Fn(&Value) -> Result<Value, Status> + Send + Sync + 'a;

/// Changes the object `name`: `change` answers the wanted object for the present one, in the form the route serves,
/// and is asked again when someone else was faster, unless what it answers names the resourceVersion it was made from.
///
/// # Errors
/// 404 without such an object, 409 when it is no longer what the writer had read, and whatever forbids the result.
pub(crate) async fn update(
    core: &Core,
    user: &User,
    route: &Route,
    (namespace, name): (&str, &str),
    part: Part,
    change: &Change<'_>,
    options: WriteOptions<'_>,
) -> Result<Written, Status> {
    let key = route.key(namespace, name);
    for _ in 0..ATTEMPTS {
        // What is refused by this state must be so for everybody: another server may have written.
        let snapshot = core.store.confirm().await.map_err(|error| unavailable(&error))?;
        let entry = snapshot.get(&key).ok_or_else(|| Status::not_found(&route.kind, name))?.clone();
        let (mut old, outdated) = versions::open(core, route, &entry).await?;
        let kept = kept::take(&mut old);
        let wanted = change(&presented(route, &old, &kept, options))?;
        let update = Update { core, user, route, namespace, name, part, options, outdated, kept };
        match update.attempt(&snapshot, &entry, old, wanted).await {
            Ok(written) => return Ok(written),
            Err(Failure::Status(status)) => return Err(status),
            Err(Failure::Refused(_)) => {}
        }
    }
    Err(Status::modified(&route.kind, name))
}

/// The object as whoever changes it sees it: without owners, unless they matter.
fn presented<'o>(route: &Route, old: &'o Value, kept: &Owners, options: WriteOptions<'_>) -> Cow<'o, Value> {
    let shown = versions::shown(route, old);
    if !options.sees_owners || kept.is_empty() {
        return shown;
    }
    let mut shown = shown.into_owned();
    meta::set(&mut shown, "managedFields", kept.to_json());
    Cow::Owned(shown)
}

struct Update<'a> {
    core: &'a Core,
    user: &'a User,
    route: &'a Route,
    namespace: &'a str,
    name: &'a str,
    part: Part,
    options: WriteOptions<'a>,
    /// What is stored has no longer the form of its kind: it is written also when nothing else changes.
    outdated: bool,
    /// Who owned what until now.
    kept: Owners,
}

impl Update<'_> {
    async fn attempt(
        &self,
        snapshot: &Snapshot,
        entry: &Arc<Entry>,
        mut old: Value,
        wanted: Value,
    ) -> Result<Written, Failure> {
        let Self { core, route, .. } = *self;
        let kind = route.working_kind();
        let pinned = self.check_identity(&old, &wanted)?;
        let mut new = versions::to_stored(route, wanted);
        let said = Said::take(&self.kept, &mut new, self.options);
        // Defaults first: a writer who leaves out what is the default changes nothing, also not the generation.
        admit::default(kind, &mut new);
        admit::date(kind, Some(&old), &mut new, Timestamp::now());
        self.prepare(&old, &mut new);
        object::tidy(&mut new);
        let owners = self.owners(said, &old, &new);
        for (object, owners) in [(&mut old, &self.kept), (&mut new, &owners)] {
            show_to_judges(core, snapshot, self.options, object, owners);
        }
        let (effects, charges) = self.admit(snapshot, &old, &mut new).await?;
        for object in [&mut old, &mut new] {
            meta::unset(object, "managedFields");
        }
        if new == old && owners == self.kept && !self.outdated {
            return Ok(Written { served: entry.served.clone(), changed: false });
        }
        if let Err(why) = escalation::check(&core.rbac.load(), self.user, &route.collection, self.namespace, &new) {
            return Err(Status::forbidden(kind, self.name, &why).into());
        }
        let gone = meta::is_deleting(&new)
            && meta::finalizers(&new).is_empty()
            && meta::deletion_grace_period(&new).unwrap_or(0) == 0
            && (kind.collection() != "namespaces" || finalized(&new));
        warnings::tell(route, self.options.notes, Some(&old), &new);
        // What goes is not stored: nobody needs to be asked what it would be.
        let mut new = if gone { new } else { versions::close(core, route, new).await? };
        kept::put(&mut new, &owners);
        if self.options.dry_run {
            let shown = encode::stamp(&encode::plain(&new), entry.modified);
            return Ok(Written { served: shown.unwrap_or_default(), changed: true });
        }
        let (key, expect) = (entry.key.clone(), Expect::At(entry.modified));
        let mut plan = if gone {
            let mut plan = Plan::delete(key, expect);
            plan.release = admission::remove(kind, &old);
            plan
        } else {
            let stored = encode::encode(&core.sealer, &key, &new).map_err(Status::internal)?;
            Plan::put(key, expect, stored)
        };
        if !gone {
            plan.reserve = effects.reserve;
            plan.release = effects.release;
            (plan.charges, plan.steady) = (charges, effects.steady);
        }
        match plan.commit(core).await {
            Ok(entry) => Ok(Written { served: entry.served.clone(), changed: true }),
            Err(Failure::Refused(Refusal::Changed)) if pinned => Err(Status::modified(&route.kind, self.name).into()),
            Err(other) => Err(other),
        }
    }

    /// Whether the wanted object is meant for exactly the present state.
    fn check_identity(&self, old: &Value, wanted: &Value) -> Result<bool, Status> {
        let kind = &self.route.kind;
        if meta::name(wanted) != self.name {
            let text = format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                meta::name(wanted),
                self.name
            );
            return Err(Status::bad_request(text));
        }
        if meta::namespace(wanted) != self.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let uid = meta::uid(wanted);
        if !uid.is_empty() && uid != meta::uid(old) {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", meta::uid(old));
            return Err(Status::conflict(kind, self.name, &why));
        }
        match meta::resource_version(wanted) {
            "" | "0" => Ok(false),
            version if version == meta::resource_version(old) => Ok(true),
            _ => Err(Status::modified(kind, self.name)),
        }
    }

    fn prepare(&self, old: &Value, new: &mut Value) {
        let kind = self.route.working_kind();
        match self.part {
            Part::Main | Part::Scale => admit::prepare_update(kind, old, new),
            Part::Status => admit::prepare_status(kind, old, new),
            Part::Spec(field) => {
                let value = new["spec"][field].take();
                *new = old.clone();
                new["spec"][field] = value;
                raise_generation(old, new);
            }
            Part::Trusted => {}
        }
        if self.part == Part::Main && kind.collection() == "namespaces" {
            // Only `finalize` takes them off: it is how the cluster says that the contents are gone.
            new["spec"] = old["spec"].clone();
        }
        // What no writer can change, whatever the part.
        for field in ["uid", "creationTimestamp", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"]
        {
            match old["metadata"].get(field) {
                Some(value) => meta::set(new, field, value.clone()),
                None => {
                    meta::unset(new, field);
                }
            }
        }
        meta::unset(new, "selfLink");
    }

    /// Who owns what from now on. What the server decides by itself, such as where a pod runs, is nobody's.
    fn owners(&self, said: Said, old: &Value, new: &Value) -> Owners {
        if self.part == Part::Trusted && matches!(self.options.subresource, "" | "binding") {
            return self.kept.clone();
        }
        said.settle(self.core, self.route, old, new, self.options.writer())
    }

    /// The request as admission sees it. What the server decides by itself is not asked about.
    fn review<'r>(&'r self, snapshot: &'r Snapshot, old: &'r Value) -> Option<Review<'r>> {
        let subresource = match self.part {
            Part::Status => "status",
            _ => self.options.subresource,
        };
        if subresource.is_empty() && self.part != Part::Main {
            return None;
        }
        Some(Review {
            core: self.core,
            snapshot,
            user: self.user,
            route: self.route,
            operation: Operation::Update,
            subresource,
            namespace: self.namespace,
            name: self.name,
            old: Some(old),
            options: Options::Write(self.options),
            notes: self.options.notes,
        })
    }

    async fn admit(&self, snapshot: &Snapshot, old: &Value, new: &mut Value) -> Result<(Effects, Vec<Charge>), Status> {
        let kind = self.route.working_kind();
        if let Some(node) = member::node_of(self.user) {
            let judged = nodes::judge_change(node, kind.collection(), old, new);
            judged.map_err(|why| Status::forbidden(kind, self.name, &why))?;
        }
        if self.part == Part::Status {
            approval::judge_status(self.core, self.user, kind, old, new)?;
        }
        let before = self.seen(old);
        let review = self.review(snapshot, before.as_ref().unwrap_or(old));
        let effects = match &review {
            Some(review) => self.mutate(review, old, new).await?,
            None => Effects::default(),
        };
        if let (Some(added), true) = (added_finalizer(old, new), meta::is_deleting(old)) {
            let error = naru_api::FieldError::forbidden(
                "metadata.finalizers",
                format!("no new finalizers can be added if the object is being deleted, found new finalizer {added:?}"),
            );
            return Err(Status::invalid(kind, self.name, vec![error]));
        }
        let errors = match self.part {
            Part::Main | Part::Scale => {
                let mut errors = validate::update(kind, old, new);
                errors.extend(validate::served_change(&self.route.kind, old, new));
                errors
            }
            Part::Status => validate::status(kind, old, new),
            // Rules about changes forbid to all others what these subresources are for.
            Part::Spec(_) => {
                let mut whole = new.clone();
                meta::unset(&mut whole, "resourceVersion");
                validate::create(kind, &whole)
            }
            Part::Trusted => vec![],
        };
        if !errors.is_empty() {
            return Err(Status::invalid(kind, self.name, errors));
        }
        let charges = match &review {
            Some(review) => chain::validate(review, Some(self.seen(new).as_ref().unwrap_or(new))).await?,
            None => Vec::new(),
        };
        Ok((effects, charges))
    }

    /// What others are shown of the object, when it is something else than the object.
    fn seen(&self, object: &Value) -> Option<Value> {
        (self.part == Part::Scale).then(|| scale::of(self.route.working_kind(), object))
    }

    /// Has those change the object who may.
    async fn mutate(&self, review: &Review<'_>, old: &Value, new: &mut Value) -> Result<Effects, Status> {
        let (effects, changed) = match self.seen(new) {
            None => chain::mutate(review, new).await?,
            Some(mut seen) => {
                let (effects, changed) = chain::mutate(review, &mut seen).await?;
                if changed {
                    scale::put(self.route.working_kind(), self.name, new, &seen)?;
                }
                (effects, changed)
            }
        };
        if changed {
            self.prepare(old, new);
        }
        Ok(effects)
    }
}

/// Raises the generation when the desired state differs. Kinds that count none have none.
pub(crate) fn raise_generation(old: &Value, new: &mut Value) {
    if old["spec"] != new["spec"] && meta::generation(old) > 0 {
        meta::set(new, "generation", meta::generation(old) + 1);
    }
}

/// Whether a namespace's contents are gone: its own finalizers were taken off.
pub(crate) fn finalized(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

fn added_finalizer(old: &Value, new: &Value) -> Option<String> {
    let before = meta::finalizers(old);
    meta::finalizers(new).into_iter().find(|f| !before.contains(f)).map(str::to_owned)
}
