//! Secrets that hold a service account's token go with the account. What is in them is made where they are written.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use naru_client::{Client, Informer, ObjectRef};
use serde::Deserialize;

use crate::cluster::{ApplyError, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::{SECRETS, SERVICE_ACCOUNTS};
use crate::views::{self, Meta};

/// Annotations of such a secret: its account's name and unique identifier.
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Takes away the secrets of accounts that are gone.
pub(crate) struct TokenSecrets {
    cluster: Arc<Cluster>,
    secrets: Informer<TokenSecret>,
}

/// What matters of a secret.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TokenSecret {
    metadata: Meta,
}

/// A secret, and the identifier of the account that it names.
pub(crate) struct View {
    secret: Arc<TokenSecret>,
    account: Option<String>,
}

// === impl TokenSecrets ===

impl TokenSecrets {
    /// Starts to follow the secrets.
    pub(crate) fn start(cluster: Arc<Cluster>, client: &Client) -> TokenSecrets {
        let secrets = Informer::builder(SECRETS, views::read::<TokenSecret>);
        let secrets = secrets.fields("type=kubernetes.io/service-account-token").start(client);
        TokenSecrets { cluster, secrets }
    }
}

impl Controller for TokenSecrets {
    type View = View;

    fn name(&self) -> &'static str {
        "serviceaccount-token"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.secrets.listen(move |change| own.add(change.key()));
        let (keys, secrets) = (keys.clone(), self.secrets.clone());
        self.cluster.service_accounts.listen(move |change| {
            if change.after.is_none() {
                secrets.list_in(&change.key().namespace).iter().for_each(|secret| keys.add(&secret.key));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.secrets.list().iter().map(|secret| secret.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let secret = self.secrets.get_ref(key)?.view.clone();
        let name = secret.metadata.annotation(NAME).unwrap_or_default();
        let account = self.cluster.service_accounts.get(&key.namespace, name);
        Some(View { account: account.map(|account| account.uid.to_string()), secret })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            if plan.writes.is_empty() || self.is_there(key).await? {
                return Ok(());
            }
            self.cluster.apply(plan.writes, plan.notices).await
        })
    }
}

impl TokenSecrets {
    /// Whether the account is there after all: a secret that was made with its account may be seen before it.
    async fn is_there(&self, key: &ObjectRef) -> Result<bool, ApplyError> {
        let Some(secret) = self.secrets.get_ref(key) else { return Ok(false) };
        let meta = &secret.view.metadata;
        let accounts = self.cluster.client.dynamic(SERVICE_ACCOUNTS, Some(&key.namespace));
        let account = accounts.get_opt(meta.annotation(NAME).unwrap_or_default()).await;
        let account = account.map_err(|source| ApplyError::Write { what: "get a service account".into(), source })?;
        let uid = account.as_ref().map(|account| naru_api::meta::uid(account).to_owned());
        Ok(plan(&View { secret: secret.view.clone(), account: uid }).writes.is_empty())
    }
}

fn plan(view: &View) -> Plan {
    let meta = &view.secret.metadata;
    let own = meta.annotation(UID).filter(|uid| !uid.is_empty());
    let kept = match (&view.account, own) {
        (None, _) => false,
        (Some(account), Some(own)) => account == own,
        (Some(_), None) => true,
    };
    if kept || meta.is_deleting() {
        return Plan::nothing("its account is there");
    }
    let mut plan = Plan::nothing("its account is gone");
    plan.push(Write::delete(SECRETS, ObjectRef::new(&meta.namespace, &meta.name), &meta.uid));
    plan
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::view;

    #[test]
    fn a_secret_goes_with_the_account_whose_token_it_holds() {
        let goes = |uid: &str, account: Option<&str>| {
            let metadata =
                json!({ "name": "t", "namespace": "n", "uid": "s", "annotations": { NAME: "robot", UID: uid } });
            let secret = Arc::new(view(json!({ "metadata": metadata })));
            plan(&View { secret, account: account.map(str::to_owned) }).writes.iter().map(ToString::to_string).collect()
        };
        let none: Vec<String> = vec![];
        assert_eq!(goes("a", Some("a")), none);
        assert_eq!(goes("", Some("a")), none, "it is about to be filled");
        for account in [None, Some("b")] {
            let gone: Vec<String> = goes("a", account);
            assert_eq!(gone, ["delete secrets n/t"]);
        }
    }
}
