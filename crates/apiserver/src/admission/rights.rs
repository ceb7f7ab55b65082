//! Who may do what, as expressions ask it: the same answer that a request of that user would get.

use std::fmt;
use std::sync::Arc;

use naru_cel::{Decision, Judge, Question};
use naru_store::Snapshot;

use super::chain::Review;
use crate::authentication::member;
use crate::authorization::{Attributes, Rbac, nodes};
use crate::user::User;

/// The rights of all users, and the user who makes the request.
pub(super) struct Rights {
    rbac: Arc<Rbac>,
    user: User,
    /// What nodes may touch depends on where pods are.
    snapshot: Snapshot,
}

// === impl Rights ===

impl Rights {
    pub(super) fn of(review: &Review<'_>) -> Rights {
        Rights { rbac: review.core.rbac.load_full(), user: review.user.clone(), snapshot: review.snapshot.clone() }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({})", self.user.name)
    }
}

impl Judge for Rights {
    fn decide(&self, question: &Question) -> Decision {
        let account = question.account.as_ref().map(|(namespace, name)| User::service_account(namespace, name, ""));
        let user = account.as_ref().unwrap_or(&self.user);
        let asked = Attributes {
            verb: &question.verb,
            group: &question.group,
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            path: question.path.as_deref(),
        };
        let mut decision = Decision { allowed: self.rbac.allows(user, &asked), ..Decision::default() };
        if let Some(node) = member::node_of(user).filter(|_| decision.allowed && asked.path.is_none())
            && let Err(why) = nodes::judge(node, &asked, &self.snapshot)
        {
            decision = Decision { allowed: false, reason: why, error: None };
        }
        decision
    }
}
