//! What a controller has decided: writes so specific that carrying them out leaves nothing to choose.
//!
//! One plan type serves every controller, and one executor carries all plans out. A plan prints as text, so tests
//! compare whole plans and a person can read what a controller is about to do.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use naru_client::{DeleteOptions, ObjectRef, PatchKind, Resource};
use serde_json::Value;

/// A controller's decision about one key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// To be carried out together, in no particular order.
    pub writes: Vec<Write>,
    /// To be told to people.
    pub notices: Vec<Notice>,
    /// When to look again although nothing may have changed.
    pub again: Option<Timestamp>,
    /// Why, in a few words, for the controller's status.
    pub reason: Cow<'static, str>,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Creates an object.
    Create {
        /// Its resource.
        resource: Resource,
        /// Its namespace, empty when cluster-scoped.
        namespace: String,
        /// The object.
        object: Value,
    },
    /// Changes a part of an object. A `metadata.resourceVersion` in the patch guards it.
    Patch {
        /// Its resource.
        resource: Resource,
        /// Which.
        key: ObjectRef,
        /// The subresource, or the object itself.
        subresource: Option<&'static str>,
        /// How to read the patch.
        kind: PatchKind,
        /// The patch.
        patch: Value,
    },
    /// Deletes an object.
    Delete {
        /// Its resource.
        resource: Resource,
        /// Which.
        key: ObjectRef,
        /// How; always with the uid that was seen.
        options: DeleteOptions,
    },
    /// Posts to a subresource, such as a pod's `binding`.
    Post {
        /// The resource.
        resource: Resource,
        /// Which object.
        key: ObjectRef,
        /// The subresource.
        subresource: &'static str,
        /// The body.
        body: Value,
    },
    /// Replaces a subresource, such as a namespace's `finalize`.
    Put {
        /// The resource.
        resource: Resource,
        /// Which object.
        key: ObjectRef,
        /// The subresource.
        subresource: &'static str,
        /// The body.
        body: Value,
    },
}

/// Something that people should see beside an object: it becomes an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The object's resource.
    pub resource: Resource,
    /// Which object.
    pub key: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// Whether something is wrong.
    pub warning: bool,
    /// A word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Plan {
    /// A plan that does nothing, for this reason.
    pub fn nothing(reason: impl Into<Cow<'static, str>>) -> Self {
        Plan { reason: reason.into(), ..Plan::default() }
    }

    /// Looks again at `at`, or earlier if that was already planned.
    pub fn again_at(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |known| known.min(at)));
    }

    /// Adds a write.
    pub fn push(&mut self, write: Write) {
        self.writes.push(write);
    }
}

impl Write {
    /// Creates an object in the namespace that its metadata names.
    pub fn create(resource: Resource, object: Value) -> Write {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        Write::Create { resource, namespace, object }
    }

    /// Lays an object over the present one.
    pub fn merge(resource: Resource, key: ObjectRef, patch: Value) -> Write {
        Write::Patch { resource, key, subresource: None, kind: PatchKind::Merge, patch }
    }

    /// Lays an object over the present status.
    pub fn status(resource: Resource, key: ObjectRef, patch: Value) -> Write {
        Write::Patch { resource, key, subresource: Some("status"), kind: PatchKind::Merge, patch }
    }

    /// Deletes exactly the object that was seen.
    pub fn delete(resource: Resource, key: ObjectRef, uid: &str) -> Write {
        Write::Delete { resource, key, options: DeleteOptions::exactly(uid) }
    }

    /// The resource that is written.
    pub fn resource(&self) -> &Resource {
        match self {
            Write::Create { resource, .. }
            | Write::Patch { resource, .. }
            | Write::Delete { resource, .. }
            | Write::Post { resource, .. }
            | Write::Put { resource, .. } => resource,
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Write::Create { resource, namespace, object } => {
                let meta = &object["metadata"];
                let name = meta["name"].as_str().or(meta["generateName"].as_str()).unwrap_or_default();
                write!(f, "create {} {}", resource.plural, ObjectRef::new(namespace, name))
            }
            Write::Patch { resource, key, subresource, patch, .. } => {
                write!(f, "patch {}", resource.plural)?;
                if let Some(subresource) = subresource {
                    write!(f, "/{subresource}")?;
                }
                write!(f, " {key} {patch}")
            }
            Write::Delete { resource, key, .. } => write!(f, "delete {} {key}", resource.plural),
            Write::Post { resource, key, subresource, body } => {
                write!(f, "post {}/{subresource} {key} {body}", resource.plural)
            }
            Write::Put { resource, key, subresource, body } => {
                write!(f, "put {}/{subresource} {key} {body}", resource.plural)
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "because: {}", self.reason)?;
        self.writes.iter().try_for_each(|write| writeln!(f, "{write}"))?;
        self.notices.iter().try_for_each(|notice| writeln!(f, "tell {}: {}", notice.reason, notice.message))?;
        match self.again {
            Some(again) => writeln!(f, "again at {again}"),
            None => Ok(()),
        }
    }
}
