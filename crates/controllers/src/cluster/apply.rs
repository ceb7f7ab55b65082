//! Carrying plans out.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use naru_client::{BoxError, ClientError, ObjectRef, Resource};
use serde_json::Value;

use super::Cluster;
use crate::plan::{Notice, Write};

/// Writes of one plan that are under way at once.
const CONCURRENT: usize = 64;
/// How long to wait for one's own writes; beyond it the view is taken as it is, and guards catch what is stale.
const PATIENCE: Duration = Duration::from_secs(10);

/// A plan was not carried out wholly.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The view was stale: look and plan again.
    #[error("{what} has changed meanwhile")]
    Conflict {
        /// What was to be written.
        what: String,
    },
    /// A write failed.
    #[error("cannot {what}")]
    Write {
        /// What was to be written.
        what: String,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// Something outside the cluster failed.
    #[error("cannot {what}")]
    Outside {
        /// What was to be done.
        what: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The controller itself is at fault.
    #[error("{what}")]
    Bug {
        /// What happened.
        what: String,
    },
}

/// What to wait for after a write.
enum Expect {
    Nothing,
    Revision(Resource, u64),
    Leaving(Resource, ObjectRef, String),
}

impl Cluster {
    /// Makes all writes, a bounded number at once, then waits until they are visible in the informers.
    ///
    /// # Errors
    /// The first write that failed, if any did; the others are made nevertheless. Objects to be deleted that are gone
    /// are no error.
    pub async fn apply(&self, writes: Vec<Write>, notices: Vec<Notice>) -> Result<(), ApplyError> {
        for notice in notices {
            self.notices.tell(notice);
        }
        let mut outcome = Ok(());
        let mut expected = Vec::new();
        let mut writing = stream::iter(writes).map(|write| self.write(write)).buffer_unordered(CONCURRENT);
        while let Some(written) = writing.next().await {
            match written {
                Ok(expect) => expected.push(expect),
                // An error says more than a conflict.
                Err(error) if outcome.is_ok() || !matches!(error, ApplyError::Conflict { .. }) => outcome = Err(error),
                Err(_) => {}
            }
        }
        let visible = async {
            for expect in &expected {
                self.visible(expect).await;
            }
        };
        if tokio::time::timeout(PATIENCE, visible).await.is_err() {
            tracing::warn!("own writes are not visible yet; going on without them");
        }
        outcome
    }

    async fn write(&self, write: Write) -> Result<Expect, ApplyError> {
        let text = short(&write);
        match self.send(&write).await {
            Ok(expect) => Ok(expect),
            Err(error) if error.is_not_found() && matches!(write, Write::Delete { .. }) => Ok(Expect::Nothing),
            // A deletion guarded by uid: a successor of the same name is left alone.
            Err(error) if error.is_conflict() && matches!(write, Write::Delete { .. }) => Ok(Expect::Nothing),
            Err(error) if error.is_conflict() => Err(ApplyError::Conflict { what: text }),
            Err(error) if error.is_already_exists() => Err(ApplyError::Conflict { what: text }),
            Err(error) if error.is_not_found() && !matches!(write, Write::Create { .. }) => {
                Err(ApplyError::Conflict { what: text })
            }
            Err(source) => {
                if let Write::Create { object, .. } = &write {
                    self.notices.tell_owner(object, &source);
                }
                Err(ApplyError::Write { what: text, source })
            }
        }
    }

    async fn send(&self, write: &Write) -> Result<Expect, ClientError> {
        let at = |resource: &Resource, key: &ObjectRef| self.client.dynamic(resource.clone(), key.scope());
        let seen = |resource: &Resource, object: &Value| {
            let revision = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
            revision.map_or(Expect::Nothing, |revision| Expect::Revision(resource.clone(), revision))
        };
        Ok(match write {
            Write::Create { resource, namespace, object } => {
                let scope = (!namespace.is_empty()).then_some(namespace.as_str());
                seen(resource, &self.client.dynamic(resource.clone(), scope).create(object).await?)
            }
            Write::Patch { resource, key, subresource, kind, patch } => {
                let api = at(resource, key);
                let object = match subresource {
                    Some(which) => api.patch_subresource(&key.name, which, *kind, patch).await?,
                    None => api.patch(&key.name, *kind, patch).await?,
                };
                seen(resource, &object)
            }
            Write::Delete { resource, key, options } => {
                at(resource, key).delete(&key.name, options).await?;
                match &options.uid {
                    Some(uid) => Expect::Leaving(resource.clone(), key.clone(), uid.clone()),
                    None => Expect::Nothing,
                }
            }
            Write::Post { resource, key, subresource, body } => {
                at(resource, key).create_subresource(&key.name, subresource, body).await?;
                Expect::Nothing
            }
            Write::Put { resource, key, subresource, body } => {
                at(resource, key).replace_subresource(&key.name, subresource, body).await?;
                Expect::Nothing
            }
        })
    }

    async fn visible(&self, expect: &Expect) {
        match expect {
            Expect::Nothing => {}
            Expect::Revision(resource, revision) => {
                if let Some(followed) = self.followed.get(resource) {
                    followed.reached(*revision).await;
                }
            }
            Expect::Leaving(resource, key, uid) => {
                if let Some(followed) = self.followed.get(resource) {
                    followed.leaving(key, uid).await;
                }
            }
        }
    }
}

/// A write in a few words, for errors.
fn short(write: &Write) -> String {
    let text = write.to_string();
    match text.find('{') {
        Some(end) => text[..end].trim_end().to_owned(),
        None => text,
    }
}
