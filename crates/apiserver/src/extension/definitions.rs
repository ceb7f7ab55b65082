//! Every definition as the server sees it, and the kinds that are served because of them.
//!
//! Of a definition only the essence is kept: its schema may be a megabyte of JSON, which is read when what it says changes
//! and not when only its status does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use naru_api::{Kind, Registry, meta};
use naru_crd::{Definition, Names, Taken};
use naru_store::{Entry, Key, Revision, Snapshot};
use serde_json::Value;

use super::judge::{self, Circumstances};
use super::kinds::Kinds;
use super::{COLLECTION, Custom, Customs, condition, ending};
use crate::follower::Picture;
use crate::object;
use crate::state::Core;

/// All definitions.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    known: BTreeMap<String, Known>,
}

/// The essence of one.
#[derive(Debug)]
struct Known {
    created: Revision,
    group: String,
    wanted: Names,
    accepted: Names,
    /// Somebody looked at its names.
    judged: bool,
    /// All of them were accepted.
    agreed: bool,
    /// It is to be deleted and its objects are not gone yet.
    ending: bool,
    /// Its status is what it should be.
    settled: bool,
    unreadable: Option<String>,
    served: Option<Served>,
}

/// What is served of one.
#[derive(Debug)]
struct Served {
    says: Says,
    kinds: Vec<Kind>,
    custom: Arc<Custom>,
}

/// What decides how a definition is served: when it stays, nothing changes.
#[derive(Debug, PartialEq, Eq)]
struct Says {
    uid: String,
    generation: i64,
    accepted: Names,
}

/// Keeps the definitions of a server in step with the store.
pub(super) struct Following {
    core: Arc<Core>,
    touched: BTreeMap<String, Option<Arc<Entry>>>,
    /// The beginning is over: what is served changes under requests.
    live: bool,
}

/// What changes in what is served.
#[derive(Default)]
struct Changes {
    /// Group and plural of kinds that are served otherwise, or no longer, and the definition's name.
    kinds: Vec<(String, String, String)>,
    /// What is no longer true.
    retired: Vec<Arc<Custom>>,
}

// === impl Following ===

impl Following {
    pub(super) fn new(core: Arc<Core>) -> Following {
        Following { core, touched: BTreeMap::new(), live: false }
    }
}

impl Picture for Following {
    fn forget(&mut self, _: &str) {
        let definitions = self.core.extensions.definitions.lock();
        self.touched = definitions.known.keys().map(|name| (name.clone(), None)).collect();
    }

    fn take(&mut self, key: &Key, object: Option<&Arc<Entry>>) {
        self.touched.insert(key.name().to_owned(), object.cloned());
    }

    fn publish(&mut self, revision: Revision) {
        let touched = std::mem::take(&mut self.touched);
        let snapshot = self.core.store.snapshot();
        let now = if self.live { snapshot.revision() } else { Revision(0) };
        self.live = true;
        let mut definitions = self.core.extensions.definitions.lock();
        let (mut objects, mut groups, mut changes) = (BTreeMap::new(), BTreeSet::new(), Changes::default());
        for (name, entry) in touched {
            match entry {
                Some(entry) => {
                    let object = object::parse(&entry.served);
                    let known = definitions.take(&name, &entry, &object, now, &mut changes);
                    groups.insert(known.group.clone());
                    objects.insert(name, object);
                }
                None => groups.extend(definitions.forget(&name, &mut changes)),
            }
        }
        // Names that are free by now may be what others wait for.
        for (name, known) in definitions.known.iter().filter(|(_, known)| groups.contains(&known.group)) {
            let agreed = known.judged && known.agreed;
            if !agreed && !objects.contains_key(name) {
                objects.extend(stored(&snapshot, name).map(|object| (name.clone(), object)));
            }
        }
        let serving = self.core.serving();
        let registry = definitions.register(&serving.registry, &changes);
        definitions.judge(&objects, registry.as_ref().unwrap_or(&serving.registry));
        if let Some(registry) = registry {
            self.core.serve(registry, &definitions.customs());
        }
        changes.retired.iter().for_each(|custom| custom.retire());
        self.core.extensions.progress.send_modify(|progress| {
            progress.revision = progress.revision.max(revision.0).max(1);
            progress.unsettled = definitions.names(|known| !known.settled);
            progress.ending = definitions.names(|known| known.ending);
        });
    }
}

/// A definition as it is in the store.
fn stored(snapshot: &Snapshot, name: &str) -> Option<Value> {
    snapshot.get(&Key::new(COLLECTION, "", name)).map(|entry| object::parse(&entry.served))
}

// === impl Definitions ===

impl Definitions {
    /// What decides about a definition besides itself. Of two that want the same name and were not looked at, the older
    /// has it: so every server says the same.
    pub(super) fn circumstances(&self, name: &str, registry: &Registry) -> Circumstances {
        let Some(own) = self.known.get(name) else { return Circumstances::default() };
        let mut taken = Taken::default();
        let builtin = registry.iter().filter(|kind| kind.group == own.group && kind.custom().is_none());
        builtin.for_each(|kind| taken.add(&names(kind)));
        for (other, known) in self.known.iter().filter(|(other, known)| *other != name && known.group == own.group) {
            taken.add(&known.accepted);
            if !known.judged && (known.created, other.as_str()) < (own.created, name) {
                taken.add(&known.wanted);
            }
        }
        Circumstances { taken, unreadable: own.unreadable.clone() }
    }

    /// What is served of a definition.
    pub(super) fn custom(&self, name: &str) -> Option<Arc<Custom>> {
        Some(self.known.get(name)?.served.as_ref()?.custom.clone())
    }

    fn names(&self, which: impl Fn(&Known) -> bool) -> BTreeSet<String> {
        self.known.iter().filter(|(_, known)| which(known)).map(|(name, _)| name.clone()).collect()
    }

    fn customs(&self) -> Customs {
        let served = self.known.iter().filter_map(|(name, known)| Some((name, known.served.as_ref()?)));
        served.map(|(name, served)| (name.clone(), served.custom.clone())).collect()
    }

    /// Takes in a definition's state. `now`: the revision up to which objects may have been written in its former sense.
    fn take(&mut self, name: &str, entry: &Entry, object: &Value, now: Revision, changes: &mut Changes) -> &Known {
        let before = self.known.remove(name);
        let mut known = Known {
            created: entry.created,
            group: meta::text(object, "spec.group").to_owned(),
            wanted: Names::read(&object["spec"]["names"]),
            accepted: Names::read(&object["status"]["acceptedNames"]),
            judged: condition::find(object, "NamesAccepted").is_some(),
            agreed: condition::holds(object, "NamesAccepted"),
            ending: ending::is_due(object),
            settled: false,
            unreadable: None,
            served: None,
        };
        let (served, unreadable) = before.map(|before| (before.served, before.unreadable)).unwrap_or_default();
        let says = Says {
            uid: meta::uid(object).to_owned(),
            generation: meta::generation(object),
            accepted: known.accepted.clone(),
        };
        // What is being deleted is served as it was, so that whoever watches its objects sees them go.
        let ends = meta::is_deleting(object);
        match served {
            Some(served) if served.says == says || (ends && served.says.uid == says.uid) => {
                (known.served, known.unreadable) = (Some(served), unreadable);
            }
            former => {
                let since = if says.generation <= 1 { entry.created } else { entry.modified.max(now) };
                // Once it is served it stays, whatever becomes of its names.
                if condition::holds(object, "Established") {
                    match read(name, object, says, since) {
                        Ok(served) => known.served = Some(served),
                        Err(why) => {
                            tracing::warn!(definition = name, why, "a definition cannot be served and is left out");
                            known.unreadable = Some(why);
                        }
                    }
                }
                changes.add(name, former.as_ref());
                changes.add(name, known.served.as_ref());
                changes.retired.extend(former.map(|former| former.custom));
            }
        }
        if let Some(served) = &known.served {
            served.custom.set_ending(ends);
        }
        self.known.entry(name.to_owned()).or_insert(known)
    }

    /// Takes in that a definition is gone; answers its group.
    fn forget(&mut self, name: &str, changes: &mut Changes) -> Option<String> {
        let gone = self.known.remove(name)?;
        changes.add(name, gone.served.as_ref());
        changes.retired.extend(gone.served.map(|served| served.custom));
        Some(gone.group)
    }

    /// The registry with what changes; none when nothing does.
    fn register(&mut self, registry: &Registry, changes: &Changes) -> Option<Registry> {
        if changes.kinds.is_empty() {
            return None;
        }
        let mut next = registry.clone();
        for (group, plural, _) in &changes.kinds {
            if next.iter().any(|kind| kind.group == *group && kind.plural == *plural && kind.custom().is_some()) {
                next = next.without(group, plural);
            }
        }
        let names: BTreeSet<&String> = changes.kinds.iter().map(|(_, _, name)| name).collect();
        for name in names {
            let Some(known) = self.known.get_mut(name) else { continue };
            let Some(served) = &known.served else { continue };
            let with = served.kinds.iter().try_fold(next.clone(), |registry, kind| registry.with(kind.clone()));
            match with {
                Ok(with) => next = with,
                Err(error) => {
                    tracing::warn!(definition = name, %error, "a definition cannot be served and is left out");
                    known.unreadable = Some(error.to_string());
                    known.served = None;
                }
            }
        }
        Some(next)
    }

    /// Notes which of these have a status that is not what it should be.
    fn judge(&mut self, objects: &BTreeMap<String, Value>, registry: &Registry) {
        let now = meta::time(Timestamp::now());
        for (name, object) in objects {
            let settled = judge::status(object, &self.circumstances(name, registry), &now) == object["status"];
            if let Some(known) = self.known.get_mut(name) {
                known.settled = settled;
            }
        }
    }
}

// === impl Changes ===

impl Changes {
    fn add(&mut self, name: &str, served: Option<&Served>) {
        let Some(kind) = served.map(|served| &served.custom.storage) else { return };
        self.kinds.push((kind.group.to_string(), kind.plural.to_string(), name.to_owned()));
    }
}

/// What a definition is served as.
fn read(name: &str, object: &Value, says: Says, since: Revision) -> Result<Served, String> {
    let Kinds { served, versions } = Kinds::of(name, Definition::read(object), &says.accepted)?;
    Ok(Served { says, kinds: served, custom: Arc::new(Custom::new(versions, since)) })
}

/// The names of a kind that nobody defined.
fn names(kind: &Kind) -> Names {
    Names {
        plural: kind.plural.to_string(),
        singular: kind.singular.to_string(),
        kind: kind.kind.to_string(),
        list_kind: kind.list_kind(),
        short_names: kind.short_names.iter().map(ToString::to_string).collect(),
        categories: Vec::new(),
    }
}
