//! Who makes a request.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The group whose members may do everything; a certificate or the unix socket confers it, no object can.
pub const MASTERS: &str = "system:masters";
/// The group of everyone who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of every service account.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// An authenticated user: what authorisation judges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The name, such as `kim` or `system:serviceaccount:shop:web`.
    pub name: String,
    /// The unique identifier, empty when the credential carries none.
    pub uid: String,
    /// The groups, [`AUTHENTICATED`] included.
    pub groups: Vec<String>,
    /// Further facts that the credential carries.
    pub extra: BTreeMap<String, Vec<String>>,
}

// === impl User ===

impl User {
    /// A user with these groups and [`AUTHENTICATED`].
    pub fn new(name: impl Into<String>, groups: &[&str]) -> User {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        groups.push(AUTHENTICATED.to_owned());
        User { name: name.into(), groups, ..User::default() }
    }

    /// A user who may do everything: components in the server's process, root on the unix socket.
    pub fn master(name: impl Into<String>) -> Arc<User> {
        Arc::new(User::new(name, &[MASTERS]))
    }

    /// The user of a service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> User {
        let own = format!("{SERVICE_ACCOUNTS}:{namespace}");
        let mut user = User::new(format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"), &[SERVICE_ACCOUNTS, &own]);
        user.uid = uid.to_owned();
        user
    }

    /// The user of a request without credentials.
    pub(crate) fn anonymous() -> User {
        User { name: "system:anonymous".into(), groups: vec![UNAUTHENTICATED.into()], ..User::default() }
    }

    /// Whether the user may do everything.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|g| g == MASTERS)
    }
}

/// Namespace and name of the service account that a user name stands for.
pub(crate) fn service_account_of(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')
}
