//! Where an object is: its namespace and name, without its kind.

use std::fmt;
use std::sync::Arc;

/// Namespace (empty for cluster-scoped objects) and name. Ordered by namespace, then name, as lists are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// A reference to an object in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        ObjectRef { namespace: namespace.into(), name: name.into() }
    }

    /// A reference to a cluster-scoped object.
    pub fn cluster(name: &str) -> Self {
        ObjectRef::new("", name)
    }

    /// The namespace as the typed API wants it: `None` when cluster-scoped.
    pub fn scope(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(&*self.namespace)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope() {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
