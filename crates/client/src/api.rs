//! Objects of one resource: as JSON values ([`DynamicApi`]) and typed ([`Api`]).
//!
//! The typed one is a thin shell, so that requests are compiled once and not once a kind. Typed views are for building
//! and reading; an object that others may have given fields we do not know is changed by a patch, never by reading it
//! typed and writing it back, which would drop them.

use std::marker::PhantomData;

use futures_util::Stream;
use http::Method;
use naru_api::view::{View, ViewError};
use serde_json::Value;

use crate::resource::Query;
use crate::watch::{self, WatchEvent};
use crate::{Client, ClientError, DeleteOptions, ListOptions, PatchKind, Resource};

const JSON: &str = "application/json";

/// Requests on one resource, in JSON values.
#[derive(Debug, Clone)]
pub struct DynamicApi {
    client: Client,
    resource: Resource,
    namespace: Option<String>,
}

/// Requests on one resource, in typed views.
#[derive(Debug)]
pub struct Api<V> {
    inner: DynamicApi,
    view: PhantomData<fn() -> V>,
}

/// A page of objects and the state it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T> {
    /// The objects.
    pub items: Vec<T>,
    /// The revision of the state.
    pub resource_version: String,
    /// Where the next page begins; empty when this is the last.
    pub next: String,
}

impl DynamicApi {
    pub(crate) fn new(client: Client, resource: Resource, namespace: Option<&str>) -> Self {
        DynamicApi { client, resource, namespace: namespace.map(Into::into) }
    }

    /// The resource.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    fn collection(&self) -> String {
        self.resource.collection_path(self.namespace.as_deref())
    }

    fn object(&self, name: &str, subresource: Option<&str>) -> String {
        self.resource.object_path(self.namespace.as_deref(), name, subresource)
    }

    /// Reads one object.
    ///
    /// # Errors
    /// Any of [`ClientError`], as for all requests.
    pub async fn get(&self, name: &str) -> Result<Value, ClientError> {
        self.client.json(Method::GET, &self.object(name, None), JSON, None).await
    }

    /// Reads one object, or nothing if it does not exist.
    ///
    /// # Errors
    /// Any of [`ClientError`] but "not found".
    pub async fn get_opt(&self, name: &str) -> Result<Option<Value>, ClientError> {
        absent(self.get(name).await)
    }

    /// Reads the objects that match.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn list(&self, options: &ListOptions) -> Result<List<Value>, ClientError> {
        let path = options.query().onto(&self.collection());
        let mut list = self.client.json(Method::GET, &path, JSON, None).await?;
        let text = |key: &str| list["metadata"][key].as_str().unwrap_or_default().to_owned();
        let (resource_version, next) = (text("resourceVersion"), text("continue"));
        let items = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        Ok(List { items, resource_version, next })
    }

    /// Creates an object and returns it as stored. A name may be left to `metadata.generateName`.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn create(&self, object: &Value) -> Result<Value, ClientError> {
        self.client.json(Method::POST, &self.collection(), JSON, Some(object)).await
    }

    /// Creates a subresource of an object, such as a pod's `binding` or `eviction`.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn create_subresource(&self, name: &str, which: &str, body: &Value) -> Result<Value, ClientError> {
        self.client.json(Method::POST, &self.object(name, Some(which)), JSON, Some(body)).await
    }

    /// Replaces an object; refused as a conflict when its resourceVersion is given and no longer current.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn replace(&self, name: &str, object: &Value) -> Result<Value, ClientError> {
        self.client.json(Method::PUT, &self.object(name, None), JSON, Some(object)).await
    }

    /// Replaces an object's subresource, such as `status` or a namespace's `finalize`.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn replace_subresource(&self, name: &str, which: &str, object: &Value) -> Result<Value, ClientError> {
        self.client.json(Method::PUT, &self.object(name, Some(which)), JSON, Some(object)).await
    }

    /// Changes a part of an object. A `metadata.resourceVersion` in the patch makes it conditional.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn patch(&self, name: &str, kind: PatchKind, patch: &Value) -> Result<Value, ClientError> {
        self.client.json(Method::PATCH, &self.object(name, None), kind.content_type(), Some(patch)).await
    }

    /// Changes a part of an object's subresource.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn patch_subresource(
        &self,
        name: &str,
        which: &str,
        kind: PatchKind,
        patch: &Value,
    ) -> Result<Value, ClientError> {
        self.client.json(Method::PATCH, &self.object(name, Some(which)), kind.content_type(), Some(patch)).await
    }

    /// Deletes an object: returns its last state, or the state in which it waits for its end.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Value, ClientError> {
        self.client.json(Method::DELETE, &self.object(name, None), JSON, Some(&options.to_value())).await
    }

    /// Deletes every object that matches.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn delete_all(&self, which: &ListOptions, options: &DeleteOptions) -> Result<(), ClientError> {
        let path = which.query().onto(&self.collection());
        self.client.json(Method::DELETE, &path, JSON, Some(&options.to_value())).await.map(drop)
    }

    /// Follows changes after a resourceVersion (empty: from now, with what exists as first events), for as long as the
    /// server keeps the stream open. Whoever needs a lasting view uses an [`Informer`](crate::Informer).
    ///
    /// # Errors
    /// Any of [`ClientError`]; [`ClientError::is_gone`] when the revision is no longer known.
    pub async fn watch(
        &self,
        options: &ListOptions,
        after: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, ClientError>> + Send + Unpin + use<>, ClientError> {
        let query: Query = options.query().flag("watch", true).add("resourceVersion", after);
        watch::open(&self.client, query.onto(&self.collection())).await
    }
}

impl<V> Clone for Api<V> {
    fn clone(&self) -> Self {
        Api { inner: self.inner.clone(), view: PhantomData }
    }
}

impl<V: View> Api<V> {
    pub(crate) fn new(inner: DynamicApi) -> Self {
        Api { inner, view: PhantomData }
    }

    /// The same requests in JSON values.
    pub fn dynamic(&self) -> &DynamicApi {
        &self.inner
    }

    /// Reads one object.
    ///
    /// # Errors
    /// Any of [`ClientError`], as for all requests.
    pub async fn get(&self, name: &str) -> Result<V, ClientError> {
        read(self.inner.get(name).await?)
    }

    /// Reads one object, or nothing if it does not exist.
    ///
    /// # Errors
    /// Any of [`ClientError`] but "not found".
    pub async fn get_opt(&self, name: &str) -> Result<Option<V>, ClientError> {
        self.inner.get_opt(name).await?.map(read).transpose()
    }

    /// Reads the objects that match.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn list(&self, options: &ListOptions) -> Result<List<V>, ClientError> {
        let List { items, resource_version, next } = self.inner.list(options).await?;
        let items = items.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(List { items, resource_version, next })
    }

    /// Creates an object and returns it as stored.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn create(&self, object: &V) -> Result<V, ClientError> {
        read(self.inner.create(&object.to_value()).await?)
    }

    /// Replaces an object; refused as a conflict when its resourceVersion is given and no longer current.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn replace(&self, object: &V) -> Result<V, ClientError> {
        read(self.inner.replace(object.name(), &object.to_value()).await?)
    }

    /// Replaces an object's status.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn replace_status(&self, object: &V) -> Result<V, ClientError> {
        read(self.inner.replace_subresource(object.name(), "status", &object.to_value()).await?)
    }

    /// Changes a part of an object.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn patch(&self, name: &str, kind: PatchKind, patch: &Value) -> Result<V, ClientError> {
        read(self.inner.patch(name, kind, patch).await?)
    }

    /// Changes a part of an object's status.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn patch_status(&self, name: &str, kind: PatchKind, patch: &Value) -> Result<V, ClientError> {
        read(self.inner.patch_subresource(name, "status", kind, patch).await?)
    }

    /// Deletes an object. Whether it is gone already or still ends is seen by reading it.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<(), ClientError> {
        self.inner.delete(name, options).await.map(drop)
    }

    /// Follows changes; see [`DynamicApi::watch`].
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn watch(
        &self,
        options: &ListOptions,
        after: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<V>, ClientError>> + Send + Unpin + use<V>, ClientError> {
        use futures_util::StreamExt;
        let events = self.inner.watch(options, after).await?;
        Ok(events.map(|event| event.and_then(|event| event.try_map(read))))
    }
}

fn absent(result: Result<Value, ClientError>) -> Result<Option<Value>, ClientError> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn read<V: View>(object: Value) -> Result<V, ClientError> {
    V::from_value(&object).map_err(|error: ViewError| ClientError::Answer {
        request: format!("a request on {}", V::PLURAL),
        source: error.into(),
    })
}
