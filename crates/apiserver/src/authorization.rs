//! May this user do this? Kubernetes' role-based access control over an index that follows the store.
//!
//! Every question is answered from memory by an immutable index; the index is made anew when a role or binding
//! changes, which is rare, so that asking, which is constant, takes no lock.

mod aggregate;
pub(crate) mod escalation;
mod follow;
pub(crate) mod index;
pub(crate) mod nodes;
pub(crate) mod reviews;
pub(crate) mod rules;

pub(crate) use aggregate::write_back;
pub(crate) use follow::follow;
pub(crate) use index::Rbac;
pub(crate) use rules::Attributes;
