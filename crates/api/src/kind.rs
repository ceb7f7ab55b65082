//! The registry of kinds: one declarative entry a kind.
//!
//! Everything the rest of the program knows about a kind — where it lives, what it is called, which subresources it has,
//! which schema its objects follow — stands in one entry of a table ([`Kind`]), and every kind, built in or added at run
//! time, takes the same path through decoding, defaulting, validation, patching and printing. Refused alternative: a
//! Rust type a kind with a trait implementation each, which cannot hold a kind that a user defines at run time and
//! compiles every generic path once a kind.

mod apps;
mod core;
#[cfg(test)]
pub(crate) mod fixture;
pub mod form;
mod groups;
mod own;
mod registry;

pub use registry::{Registry, RegistryError};

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// A string that is static for built-in kinds and owned for kinds added at run time.
pub type Str = Cow<'static, str>;

/// Whether objects of a kind live inside a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Objects are named within a namespace.
    Namespaced,
    /// Objects are named across the whole cluster.
    Cluster,
}

/// One subresource of a kind: a path segment below an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subresource {
    /// `status`: the observed part, written apart from the desired one.
    Status,
    /// `scale`: the replica count seen as `autoscaling/v1 Scale`.
    Scale,
    /// `binding`: assigns a pod to a node.
    Binding,
    /// `eviction`: deletes a pod unless a disruption budget refuses.
    Eviction,
    /// `token`: issues a service-account token.
    Token,
    /// `log`: a container's log.
    Log,
    /// `exec`: runs a process in a container.
    Exec,
    /// `attach`: joins a container's streams.
    Attach,
    /// `portforward`: carries TCP streams into a pod.
    PortForward,
    /// `proxy`: carries HTTP requests to a node, pod or service.
    Proxy,
    /// `ephemeralcontainers`: adds debugging containers.
    EphemeralContainers,
    /// `resize`: changes a running pod's resources.
    Resize,
    /// `finalize`: removes a namespace's own finalizers.
    Finalize,
    /// `approval`: approves or denies a certificate signing request.
    Approval,
}

impl Subresource {
    /// All subresources, in the order of their paths.
    pub const ALL: [Subresource; 14] = [
        Subresource::Approval,
        Subresource::Attach,
        Subresource::Binding,
        Subresource::EphemeralContainers,
        Subresource::Eviction,
        Subresource::Exec,
        Subresource::Finalize,
        Subresource::Log,
        Subresource::PortForward,
        Subresource::Proxy,
        Subresource::Resize,
        Subresource::Scale,
        Subresource::Status,
        Subresource::Token,
    ];

    /// The path segment.
    pub fn path(self) -> &'static str {
        match self {
            Subresource::Status => "status",
            Subresource::Scale => "scale",
            Subresource::Binding => "binding",
            Subresource::Eviction => "eviction",
            Subresource::Token => "token",
            Subresource::Log => "log",
            Subresource::Exec => "exec",
            Subresource::Attach => "attach",
            Subresource::PortForward => "portforward",
            Subresource::Proxy => "proxy",
            Subresource::EphemeralContainers => "ephemeralcontainers",
            Subresource::Resize => "resize",
            Subresource::Finalize => "finalize",
            Subresource::Approval => "approval",
        }
    }

    /// The subresource of a path segment.
    pub fn from_path(segment: &str) -> Option<Subresource> {
        Subresource::ALL.into_iter().find(|s| s.path() == segment)
    }
}

/// The set of subresources that a kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Subresources(u16);

impl Subresources {
    /// No subresource.
    pub const NONE: Subresources = Subresources(0);

    /// The set of the given subresources.
    pub const fn of(list: &[Subresource]) -> Subresources {
        let mut bits = 0;
        let mut i = 0;
        while i < list.len() {
            bits |= 1 << list[i] as u16;
            i += 1;
        }
        Subresources(bits)
    }

    /// Whether the set holds `subresource`.
    pub fn has(self, subresource: Subresource) -> bool {
        self.0 & (1 << subresource as u16) != 0
    }

    /// The members, in the order of their paths.
    pub fn iter(self) -> impl Iterator<Item = Subresource> {
        Subresource::ALL.into_iter().filter(move |s| self.has(*s))
    }
}

/// What a request may do with a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Objects are stored: all verbs.
    Stored,
    /// A review that is answered and forgotten: only `create`.
    Review,
    /// Made when it is asked for, from what the server sees: only `get` and `list`.
    Observed,
}

/// Where a kind's objects are described.
#[derive(Clone, Debug)]
pub enum SchemaRef {
    /// A type of the built-in table of schema facts, by its full name (`io.k8s.api.core.v1.Pod`).
    Builtin(Str),
    /// The version of a definition that a user wrote (a kind added at run time).
    Own(Arc<naru_crd::Version>),
}

/// What object names of a kind must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// A DNS subdomain (RFC 1123): lower case, digits, `-` and `.`, at most 253.
    Subdomain,
    /// A DNS label (RFC 1123): lower case, digits and `-`, at most 63.
    Label,
    /// A DNS label (RFC 1035): as [`NameRule::Label`] but beginning with a letter.
    ServiceLabel,
    /// A path segment: anything but `.`, `..`, `/` and `%` (RBAC names such as `system:node`).
    PathSegment,
}

/// One entry of the registry: all that is declared about a kind.
#[derive(Clone, Debug)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: Str,
    /// The version that is served (`v1`).
    pub version: Str,
    /// The kind's name (`Deployment`).
    pub kind: Str,
    /// The name in paths (`deployments`).
    pub plural: Str,
    /// The name for one object (`deployment`).
    pub singular: Str,
    /// The kind of lists, where it is not the kind and `List`.
    pub list_kind: Option<Str>,
    /// Short names that clients accept (`deploy`).
    pub short_names: Vec<Str>,
    /// Groups of kinds that clients ask for together (`all`).
    pub categories: Vec<Str>,
    /// Namespaced or cluster-wide.
    pub scope: Scope,
    /// Which subresources objects have.
    pub subresources: Subresources,
    /// Whether objects are stored or answered at once.
    pub storage: Storage,
    /// The rule for names.
    pub names: NameRule,
    /// Where the schema stands.
    pub schema: SchemaRef,
    /// The kind of the top-level schema's fields that field selectors may name, besides `metadata.name` and
    /// `metadata.namespace`.
    pub selectable: Vec<Str>,
    /// The group that stored objects of this kind are kept under, when several groups serve the same objects (Event).
    pub stored_as: Option<StoredAs>,
    pub(crate) collection: OnceLock<String>,
}

/// The group, version and plural under which a kind's objects are really kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAs {
    /// The group of the stored form.
    pub group: Str,
    /// The version of the stored form.
    pub version: Str,
    /// The kind of the stored form.
    pub kind: Str,
    /// The plural of the stored form.
    pub plural: Str,
}

// === impl Kind ===

impl Kind {
    /// A namespaced, stored kind without subresources, with names following [`NameRule::Subdomain`].
    pub fn new(
        group: impl Into<Str>,
        version: impl Into<Str>,
        kind: impl Into<Str>,
        plural: impl Into<Str>,
        schema: SchemaRef,
    ) -> Kind {
        let kind = kind.into();
        Kind {
            group: group.into(),
            version: version.into(),
            singular: kind.to_lowercase().into(),
            kind,
            plural: plural.into(),
            list_kind: None,
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: Scope::Namespaced,
            subresources: Subresources::NONE,
            storage: Storage::Stored,
            names: NameRule::Subdomain,
            schema,
            selectable: Vec::new(),
            stored_as: None,
            collection: OnceLock::new(),
        }
    }

    /// The prefix under which objects are stored: `pods`, `deployments.apps`. Kinds that share their objects with
    /// another group (`events.k8s.io`) answer the collection of the stored form.
    pub fn collection(&self) -> &str {
        self.collection.get_or_init(|| match &self.stored_as {
            Some(stored) => group_resource(&stored.plural, &stored.group),
            None => group_resource(&self.plural, &self.group),
        })
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether objects live inside a namespace.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether objects have `subresource`.
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.has(subresource)
    }

    /// Whether objects are stored (reviews and what the server sees are not).
    pub fn is_stored(&self) -> bool {
        self.storage == Storage::Stored
    }

    /// `pods`, `deployments.apps`: how error messages name the resource.
    pub fn group_resource(&self) -> String {
        group_resource(&self.plural, &self.group)
    }

    /// `Pod`, `Deployment.apps`: how error messages name the kind.
    pub fn group_kind(&self) -> String {
        group_resource(&self.kind, &self.group)
    }

    /// The name of the list kind (`PodList`).
    pub fn list_kind(&self) -> String {
        self.list_kind.as_ref().map_or_else(|| format!("{}List", self.kind), ToString::to_string)
    }

    /// The version of the definition that a user wrote, if the kind was added at run time.
    pub fn custom(&self) -> Option<&Arc<naru_crd::Version>> {
        match &self.schema {
            SchemaRef::Own(version) => Some(version),
            SchemaRef::Builtin(_) => None,
        }
    }

    /// Whether its objects define other kinds.
    pub fn is_definition(&self) -> bool {
        self.is("apiextensions.k8s.io", "CustomResourceDefinition")
    }

    /// Whether the kind is group `group` and kind `kind`, whatever the version.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// What Kubernetes says to everyone who uses a built-in kind that has a better successor, or none.
    pub fn deprecation(&self) -> Option<&'static str> {
        match (self.group.as_ref(), self.kind.as_ref()) {
            ("", "Endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
            ("", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
            _ => None,
        }
    }

    /// The verbs that discovery lists.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self.storage {
            // Kubernetes has no way of deleting all namespaces at once.
            Storage::Stored if self.is("", "Namespace") => {
                &["create", "delete", "get", "list", "patch", "update", "watch"]
            }
            Storage::Stored => &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            Storage::Review => &["create"],
            Storage::Observed => &["get", "list"],
        }
    }

    pub(crate) fn cluster(mut self) -> Kind {
        self.scope = Scope::Cluster;
        self
    }

    pub(crate) fn short(mut self, names: &[&'static str]) -> Kind {
        self.short_names = names.iter().map(|n| Str::Borrowed(n)).collect();
        self
    }

    pub(crate) fn singular(mut self, name: &'static str) -> Kind {
        self.singular = name.into();
        self
    }

    pub(crate) fn all(self) -> Kind {
        self.category("all")
    }

    pub(crate) fn category(mut self, name: &'static str) -> Kind {
        self.categories = vec![name.into()];
        self
    }

    pub(crate) fn sub(mut self, list: &[Subresource]) -> Kind {
        self.subresources = Subresources::of(list);
        self
    }

    pub(crate) fn review(mut self) -> Kind {
        self.storage = Storage::Review;
        self
    }

    pub(crate) fn observed(mut self) -> Kind {
        self.storage = Storage::Observed;
        self
    }

    pub(crate) fn named(mut self, rule: NameRule) -> Kind {
        self.names = rule;
        self
    }

    pub(crate) fn select(mut self, fields: &[&'static str]) -> Kind {
        self.selectable = fields.iter().map(|n| Str::Borrowed(n)).collect();
        self
    }
}

fn group_resource(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

#[cfg(test)]
mod tests;
