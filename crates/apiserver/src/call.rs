//! One request for a resource, parsed, authenticated and authorised.

use std::sync::Arc;

use http::{HeaderMap, Method};
use naru_api::{Format, Status, decode};
use serde_json::Value;

use crate::admission::notes::Notes;
use crate::passage::Passage;
use crate::routes::Route;
use crate::state::Core;
use crate::user::User;
use crate::verbs::WriteOptions;
use crate::wire::body::RequestBody;
use crate::wire::negotiate::{Accepted, Media, request_media};
use crate::wire::path::{ResourcePath, Verb};
use crate::wire::protobuf;
use crate::wire::query::Query;

/// One request for a resource.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) user: &'a Arc<User>,
    pub(crate) route: &'a Arc<Route>,
    pub(crate) path: &'a ResourcePath<'a>,
    pub(crate) query: &'a Query<'a>,
    /// The query as it was sent, for requests that are forwarded.
    pub(crate) raw_query: Option<&'a str>,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) verb: Verb,
    pub(crate) accepted: Accepted,
    /// What admission has to say.
    pub(crate) notes: Notes,
    /// Those who watch the request go by.
    pub(crate) passage: &'a Passage,
}

// === impl Call ===

impl Call<'_> {
    /// The namespace in the path, empty for none. A namespace itself is not in a namespace, whatever its path says.
    pub(crate) fn namespace(&self) -> &str {
        if self.route.kind.is_namespaced() { self.path.namespace.as_deref().unwrap_or_default() } else { "" }
    }

    /// The name in the path, empty for none.
    pub(crate) fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    /// Namespace and name.
    pub(crate) fn place(&self) -> (&str, &str) {
        (self.namespace(), self.name())
    }

    /// Reads an object of the route's kind, with the warnings that decoding it gave.
    ///
    /// # Errors
    /// 400, 413, 415 or 422 for what is no such object.
    pub(crate) async fn object(
        &self,
        body: RequestBody,
        options: WriteOptions<'_>,
    ) -> Result<(Value, Vec<String>), Status> {
        let media = request_media(self.headers)?;
        let bytes = body.read(self.headers).await?;
        let (kind, mode) = (&self.route.kind, options.validation);
        let decoded = match media {
            Media::Json => decode(kind, &bytes, Format::Json, mode)?,
            Media::Yaml => decode(kind, &bytes, Format::Yaml, mode)?,
            Media::Protobuf => decode::value(kind, protobuf::decode(Some(kind), &bytes)?, mode)?,
        };
        Ok((decoded.object, decoded.warnings))
    }

    /// Reads a document of another kind than the route's: options, scales, reviews of subresources. Null when empty.
    ///
    /// # Errors
    /// 400, 413 or 415 for what is no document.
    pub(crate) async fn document(&self, body: RequestBody) -> Result<Value, Status> {
        let media = request_media(self.headers)?;
        let bytes = body.read(self.headers).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        match media {
            Media::Json => decode::untyped(&bytes, Format::Json),
            Media::Yaml => decode::untyped(&bytes, Format::Yaml),
            Media::Protobuf => protobuf::decode(None, &bytes),
        }
    }
}
